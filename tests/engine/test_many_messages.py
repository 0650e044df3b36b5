"""Hundreds of messages about one person in a day: each costs what the first one cost, and the record stays small."""

from __future__ import annotations

from kit.inprocess import Bench, impatient, make_bench

from shared.domain.people.events import Joined, Moved
from shared.domain.things.identity import parse_email, user_key_for
from shared.engine.news.deliver import deliver

ANA = parse_email("ana.silva@example.com")
MESSAGES = 500


def moved(bench: Bench, number: int) -> int:
    """One message of a feed that repeats itself every three minutes. Returns how many calls it cost."""
    bench.advance(seconds=170)
    bench.cloud.world.journal.clear()
    now = bench.now
    facts = {"cost_center": f"CC-{number % 50}"}
    deliver(
        Moved(event_id=f"m{number}", user=ANA, occurred_at=now, effective_at=now, source="hr", attributes=facts),
        bench.deps,
    )
    return len(bench.calls())


def test_the_five_hundredth_message_costs_what_the_tenth_did() -> None:
    with impatient():
        bench = make_bench()
        deliver(Joined(event_id="j", user=ANA, occurred_at=bench.now, effective_at=bench.now, source="hr"), bench.deps)
        costs, sizes = [], []
        for number in range(MESSAGES):
            costs.append(moved(bench, number))
            stored = bench.deps.records.load(user_key_for(ANA))
            assert stored is not None
            sizes.append(sum(len(timeline) for timeline in stored.record.facts.timelines.values()))
    assert sum(costs[-50:]) <= sum(costs[50:100])
    assert max(sizes[100:]) <= max(sizes[:100])
