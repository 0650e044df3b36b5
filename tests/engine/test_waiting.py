"""What the hourly sweep says of those who wait, and which entries of their index it forgets."""

from __future__ import annotations

from datetime import timedelta

import pytest
from kit.inprocess import Bench, make_bench
from kit.life import Life, settings_with

from shared.domain.intent.batches import WaitingPerson, batches_of
from shared.domain.people.events import Joined, Left
from shared.domain.plan.guard_settings import GuardSettings
from shared.domain.record.cuts import CutClass, StepKind
from shared.domain.things.identity import parse_email, user_key_for
from shared.engine.sweeps.sweeps import sweep
from shared.engine.sweeps.waiting import keep_waiting

GONE = user_key_for(parse_email("gone@example.com"))
WAITS, FOR_NOW = "The end of access waits", "Access ended for now"


@pytest.fixture
def bench() -> Bench:
    """Six people left at once, two may go in an hour."""
    return world_of(GuardSettings(per_hour=2, share=1e-9))


def world_of(guard: GuardSettings) -> Bench:
    """Six people who have left at once."""
    made = make_bench(settings=settings_with(guard=guard))
    people = [Life(made, parse_email(f"user{number}@example.com")) for number in range(6)]
    for person in people:
        person.tell(Joined, profile="analyst")
    for _ in range(7):
        made.advance(minutes=1)
        sweep("due", made.deps)
    for person in people:
        person.tell(Left, source="hr")
    return made


def lines(bench: Bench, message: str) -> list[dict]:
    return [facts for _, said, facts in bench.log.lines if said == message]


def ghost(bench: Bench, *, age: timedelta) -> None:
    bench.deps.guard.note_waiting(
        WaitingPerson(
            user_key=GONE, ref="0" * 16, steps=(StepKind.STOP,), cause=CutClass.GROUP, source="x", since=bench.now - age
        )
    )


def test_one_line_for_each_batch_and_two_measures(bench: Bench) -> None:
    (batch,) = batches_of(bench.deps.guard.waiting())
    bench.advance(minutes=10)
    summary = sweep("drift", bench.deps)
    (line,) = lines(bench, "Found a waiting batch of cuts")
    people = len(batch.entries)
    assert people >= 3
    assert line == {
        "digest": batch.digest, "cause": "Employment", "source": "hr", "people": people, "oldest_s": 600, "undone": 0,
    }  # fmt: skip
    assert (summary.measures["cuts_waiting"], summary.measures["oldest_cut_wait_s"]) == (people, 600)


def test_nobody_waits_says_nothing() -> None:
    made = make_bench()
    assert keep_waiting(made.deps, made.now) == {"cuts_waiting": 0, "oldest_cut_wait_s": 0}
    assert lines(made, "Found a waiting batch of cuts") == []


def test_an_entry_of_somebody_who_does_not_wait_is_forgotten_once_it_is_old(bench: Bench) -> None:
    ghost(bench, age=timedelta(minutes=59))
    keep_waiting(bench.deps, bench.now)
    assert GONE in {person.user_key for person in bench.deps.guard.waiting()}
    ghost(bench, age=timedelta(hours=2))
    keep_waiting(bench.deps, bench.now, dry_run=True)
    assert GONE in {person.user_key for person in bench.deps.guard.waiting()}
    before = {person.user_key for person in bench.deps.guard.waiting()}
    keep_waiting(bench.deps, bench.now)
    assert {person.user_key for person in bench.deps.guard.waiting()} == before - {GONE}
    assert [line["user"] for line in lines(bench, "Removed the entry of a user who waited no longer")] == [GONE]


def test_who_still_waits_is_not_forgotten_however_old_the_entry_is(bench: Bench) -> None:
    before = {person.user_key for person in bench.deps.guard.waiting()}
    bench.advance(hours=3)
    assert keep_waiting(bench.deps, bench.now)["cuts_waiting"] == len(before)
    assert {person.user_key for person in bench.deps.guard.waiting()} == before


def test_a_record_that_cannot_be_read_keeps_its_entry(bench: Bench) -> None:
    ghost(bench, age=timedelta(hours=2))
    bench.fault(call="storage.objects.get", error={"code": "PERMISSION_DENIED"}, times=0)
    keep_waiting(bench.deps, bench.now)
    bench.cloud.world.faults.clear()
    assert GONE in {person.user_key for person in bench.deps.guard.waiting()}
    assert lines(bench, "Entry of a waiting user could not be checked")


def test_an_index_that_cannot_be_listed_is_no_empty_one(bench: Bench) -> None:
    bench.fault(call="storage.objects.list", resource="*", error={"code": "PERMISSION_DENIED"}, times=0)
    assert keep_waiting(bench.deps, bench.now) == {}
    assert len(lines(bench, "Waiting users could not be listed")) == 1


def told_of(person: Life) -> list[str]:
    return [line.text for line in person.record.status.story if line.text in {WAITS, FOR_NOW}]


def test_whose_end_of_access_waits_has_it_in_the_history_once(bench: Bench) -> None:
    waits = {person.user_key for person in bench.deps.guard.waiting()}
    people = [Life(bench, parse_email(f"user{number}@example.com")) for number in range(6)]
    for _ in range(3):
        bench.advance(minutes=10)
        sweep("due", bench.deps)
    assert {p.key: told_of(p) for p in people} == {p.key: [WAITS] if p.key in waits else [] for p in people}
    assert len(waits) >= 3


def test_and_what_was_done_because_nobody_decided() -> None:
    bench = world_of(GuardSettings(per_hour=2, share=1e-9, day_factor=1))
    waits = {person.user_key for person in bench.deps.guard.waiting()}
    for _ in range(5):
        bench.advance(hours=1)
        sweep("due", bench.deps)
        sweep("due", bench.deps)
    people = [Life(bench, parse_email(f"user{number}@example.com")) for number in range(6)]
    assert {p.key: told_of(p) for p in people if p.key in waits} == {key: [WAITS, FOR_NOW] for key in waits}
    assert len(waits) >= 3
