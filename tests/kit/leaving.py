"""A crowd that leaves within a minute, in virtual time alone: how long it takes from the news to the verified end."""

from __future__ import annotations

from datetime import timedelta

from msgspec.structs import replace

from kit.inprocess import make_bench
from kit.life import NO_LIMIT, personal
from kit.oracle import instances
from shared.domain.people.events import Joined, Left, LifecycleEvent
from shared.domain.things.identity import UserEmail, parse_email, user_key_for
from shared.engine.news.deliver import deliver
from shared.engine.reconcile.reconciler import reconcile
from shared.engine.sweeps.sweeps import sweep


def gone_after_s(people: int, *, wakes: bool) -> list[float]:
    """Seconds of each person, ascending. All have an account of their own and a running notebook, which takes 60 s to stop.

    A tick comes each minute; with `wakes` also the completion entry of each stop, 62 s after the news.
    """
    bench = make_bench(settings=replace(personal(), guard=replace(NO_LIMIT, creations=1000)))
    bench.cloud.iam.quota = 10_000  # Google gives 100 service accounts until asked for more
    deps = bench.deps
    everybody = [parse_email(f"p{number:04}@example.com") for number in range(people)]

    def tell(kind: type[LifecycleEvent], number: int, email: UserEmail) -> None:
        now = bench.now
        deliver(kind(event_id=f"{kind.__name__}-{number}", user=email, occurred_at=now, effective_at=now), deps)

    for number, email in enumerate(everybody):
        tell(Joined, number, email)
    for _ in range(8):
        bench.advance(minutes=1)
        sweep("due", deps)
    assert [each.state for each in instances(bench.cloud).values()] == ["ACTIVE"] * people
    bench.log.lines.clear()
    gaps = [number * 60 / people for number in range(people)]
    events = [(gap, "left", number) for number, gap in enumerate(gaps)]
    events += [(gap + 62, "woken", number) for number, gap in enumerate(gaps) if wakes]
    events += [(minute * 60.0, "tick", 0) for minute in range(1, 8)]
    began = bench.now
    for at, what, number in sorted(events):
        bench.advance(seconds=(began + timedelta(seconds=at) - bench.now).total_seconds())
        if what == "tick":
            sweep("due", deps)
        elif what == "woken":
            reconcile(user_key_for(everybody[number]), deps)
        else:
            tell(Left, number, everybody[number])
    return sorted(
        facts["event_to_gone_s"]
        for _, message, facts in bench.log.lines
        if message == "Verified that a leaver has no access"
    )
