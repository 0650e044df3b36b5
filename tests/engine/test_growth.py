"""No call whose answer grows with the fleet is made for one person: each costs the same whatever the number of the others."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest
from kit import audit
from kit.inprocess import make_bench
from kit.life import Life, settings_with

from shared.domain.people.events import GroupChanged, LeaveCancelled, Left, Moved
from shared.domain.plan.guard_settings import GuardSettings
from shared.domain.record import codec
from shared.domain.record.status import ConditionStatus, ConditionType
from shared.domain.things.history import MAX_WAITING
from shared.domain.things.identity import UserEmail, parse_email
from shared.engine.news.deliver import deliver
from shared.engine.reconcile.reconciler import reconcile
from shared.engine.sweeps.sweeps import sweep

ROOM = GuardSettings(per_hour=1000, most=1000, group_share=1.0)


def lived(size: int) -> Counter[str]:
    """Everybody joins at once, works, and leaves at once; the calls of it by method, without what the minutes cost."""
    bench = make_bench(settings=settings_with(guard=ROOM))
    people = [Life(bench, parse_email(f"user{number}@example.com")) for number in range(size)]
    bench.cloud.world.journal.clear()
    for person in people:
        person.join(profile="analyst", minutes=0)
    minutes(bench, 9)
    for person in people:
        person.leave()
    minutes(bench, 9)
    return Counter(f"{call['service']}.{call['method']}" for call in bench.calls())


def minutes(bench, count: int) -> None:
    """In steps that meet instances between the end of an operation and what it leads to."""
    for _ in range(count * 60 // 25):
        bench.advance(seconds=25)
        sweep("due", bench.deps)


@pytest.fixture(scope="module")
def calls() -> dict[int, Counter[str]]:
    return {size: lived(size) for size in (4, 12)}


def test_a_life_costs_the_same_whatever_the_number_of_the_others(calls):
    by_person = {size: {m: n / size for m, n in found.items() if m not in TICKS} for size, found in calls.items()}
    assert {m: n for m, n in by_person[12].items() if n > by_person[4].get(m, 0)} == {}


# The listings of a tick: of due hints and of the inbox, two a minute, whoever is there.
TICKS = {"storage.objects.list"}


def test_nobodys_operations_are_listed(calls):
    assert [m for m in calls[12] if "operations.list" in m or "ListOperations" in m] == []


def test_a_look_at_somebody_whose_notebook_is_on_its_way_takes_three_calls_and_no_write():
    bench = make_bench()
    person = Life(bench, parse_email("ana@example.com"))
    person.join(profile="analyst", minutes=0)
    bench.advance(minutes=1)
    sweep("due", bench.deps)
    kept = person.record
    bench.cloud.world.journal.clear()
    bench.advance(seconds=20)
    sweep("due", bench.deps)
    about = [call for call in bench.calls() if call["method"] != "objects.list"]
    assert [call["method"] for call in about] == ["objects.get", "GetInstance", "GetOperation"]
    assert person.record == kept


def test_who_stays_due_comes_with_each_tick_until_ready_and_leaves_no_hint_behind():
    bench = make_bench()
    person = Life(bench, parse_email("ana@example.com"))
    person.join(profile="analyst", minutes=0)
    for _ in range(12):
        bench.advance(minutes=1)
        sweep("due", bench.deps)
    assert person.record.status.next_attempt_at is None
    assert list(bench.deps.records.due(bench.now)) == []
    assert person.condition(ConditionType.NOTEBOOK_READY).status is ConditionStatus.TRUE
    bench.cloud.world.journal.clear()
    sweep("due", bench.deps)
    assert {call["method"] for call in bench.calls()} == {"objects.list"}


def test_a_stay_that_lasts_is_noted_anew_so_that_the_sweep_does_not_look_late():
    bench = make_bench()
    bench.fault(call="notebooks.GetOperation", error={"code": "PERMISSION_DENIED"}, times=0)
    person = Life(bench, parse_email("ana@example.com"))
    person.join(profile="analyst", minutes=0)
    for _ in range(20):
        bench.advance(minutes=1)
        sweep("due", bench.deps)
        due = person.record.status.next_attempt_at
        assert due is None or bench.now - due < timedelta(minutes=5)


@pytest.mark.parametrize("kind", ["attributes to come", "groups", "many groups", "lists of groups", "leaves"])
def test_a_person_of_whom_much_is_said_stays_small(kind):
    """Five hundred messages in a day: the record fits 32 KiB, and each costs the calls of the first."""
    bench = make_bench()
    person = Life(bench, parse_email("ana@example.com"))
    person.join(profile="analyst")
    costs = []
    for number in range(500):
        bench.advance(seconds=170)
        bench.cloud.world.journal.clear()
        deliver(NEWS[kind](number, person.email, bench.now), bench.deps)
        # The policy is read again after a minute of real time: how often depends on how fast this machine is.
        costs.append(sum("/policy/" not in call["resource"] for call in bench.calls()))
    assert len(json.dumps(codec.to_json(person.record))) <= 32 * 1024
    assert max(costs[-100:]) <= max(costs[:100])


def said(number: int, email: UserEmail, now: datetime, **later: Any) -> dict[str, Any]:
    return {
        "event_id": f"e{number}", "user": email, "occurred_at": now, "effective_at": now, "source": "hr", **later
    }  # fmt: skip


NEWS = {
    "attributes to come": lambda n, email, now: Moved(
        **said(n, email, now, effective_at=now + timedelta(days=1 + n % 97), explicit=True),
        attributes={f"a{place}": f"value {n}" for place in range(24)},
    ),
    "groups": lambda n, email, now: GroupChanged(**said(n, email, now), group=f"g{n % 40}@example.com", member=n % 3 > 0),
    "many groups": lambda n, email, now: GroupChanged(**said(n, email, now), group=f"g{n}@example.com", member=True),
    "lists of groups": lambda n, email, now: Moved(
        **said(n, email, now), groups=tuple(f"group{place}@example.com" for place in range(40) if (n >> place % 8) & 1)
    ),
    "leaves": lambda n, email, now: (Left if n % 2 else LeaveCancelled)(**said(n, email, now)),
}  # fmt: skip


def refusing(life):
    bucket = life.bench.settings.audit_bucket
    life.bench.fault(call="storage.objects.insert", resource=f"{bucket}*", times=0, error={"code": "PERMISSION_DENIED"})


def due_for_days(life, days):
    """Each pass that is due, as the sweep makes it: only the minutes in between are left out."""
    end = life.bench.now + timedelta(days=days)
    while life.bench.now < end and (at := life.record.status.next_attempt_at) is not None:
        life.bench.advance(seconds=max(60.0, (at - life.bench.now).total_seconds()))
        reconcile(life.key, life.bench.deps)


@pytest.mark.parametrize("code", ["PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "UNAVAILABLE"])
def test_while_the_audit_refuses_for_days_a_person_whose_calls_fail_stays_small_and_nothing_is_lost(code):
    person = Life(make_bench(), parse_email("ana.silva@example.com"))
    refusing(person)
    person.bench.fault(call="notebooks.CreateInstance", times=0, error={"code": code})
    person.join()
    due_for_days(person, 3)
    assert len(json.dumps(codec.to_json(person.record))) <= 32 * 1024
    assert sum(line.waits for line in person.record.status.story) <= 2 * MAX_WAITING
    tries = sum(call["method"] == "CreateInstance" for call in person.bench.calls())
    assert tries > 2 * MAX_WAITING
    person.bench.cloud.world.faults.clear()
    due_for_days(person, 0.1)
    person.minutes(15)
    assert not any(line.waits for line in person.record.status.story)
    assert audit.broken_chains(person.bench) == []
    assert audit.unmatched(person.bench, {person.record.status.audit.alias: person.key}) == []
    assert sum(each.get("count", 1) for each in audit.entries(person.bench) if creates(each)) == tries + 1


def creates(entry):
    return entry["unmapped"].get("act", "").startswith("CreateInstance")


def test_while_the_audit_refuses_a_leaver_whose_stop_fails_is_cut_as_soon_as_it_can_be():
    person = Life(make_bench(), parse_email("ana.silva@example.com"))
    person.join()
    refusing(person)
    person.bench.fault(call="notebooks.StopInstance", times=0, error={"code": "PERMISSION_DENIED"})
    person.leave()
    due_for_days(person, 1)
    assert len(json.dumps(codec.to_json(person.record))) <= 32 * 1024
    person.bench.cloud.world.faults.clear()
    refusing(person)
    due_for_days(person, 0.05)
    assert person.only().state == "STOPPED"
