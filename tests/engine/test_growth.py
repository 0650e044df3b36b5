"""No call whose answer grows with the fleet is made for one person: each costs the same whatever the number of the others."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from kit.inprocess import make_bench
from kit.life import Life, settings_with

from shared.domain.guard_settings import GuardSettings
from shared.domain.identity import parse_email
from shared.domain.record import ConditionStatus, ConditionType
from shared.engine.sweeps import sweep

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
