"""Copies of people's files, taken by the idle sweep, and files of an earlier day in place of the present ones, with an undo."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import pytest
from kit.life import Life, life, settings_with
from kit.policies import in_force
from msgspec.structs import replace

from emulator.model.disks import DATA, Snapshot, disk_path
from shared.domain.intent.restoring import undoable
from shared.domain.intent.wish import Asked, WishKind
from shared.domain.record.copies import copies_of
from shared.domain.record.record import Power, row_of
from shared.domain.record.status import ConditionStatus, ConditionType
from shared.domain.things.catalog import Disk, IdleSettings, SnapshotSettings
from shared.domain.things.errors import Reason, RefusedError
from shared.domain.things.snapshots import RestoreEnd
from shared.engine.news.requests import ask_power, ask_restore
from shared.engine.reconcile.changing import want_hold
from shared.engine.sweeps.copies import MOST_AT_ONCE
from shared.engine.sweeps.sweeps import sweep
from shared.wiring import wire

# Nobody is stopped for want of evidence: these tests look at files.
BY_POLICY = {
    "code": "FAILED_PRECONDITION",
    "http_status": 412,
    "reason": "conditionNotMet",
    "message": "Constraint constraints/compute.storageResourceUseRestrictions violated for project 123.",
}
PROFILE = {"snapshots": SnapshotSettings(keep=3), "idle": IdleSettings(max_blind=timedelta(days=400))}


@pytest.fixture
def ana() -> Life:
    person = life(settings_with({"analyst": PROFILE}))
    person.join()
    person.write(b"day 0")
    return person


def calls(person: Life, method: str) -> int:
    return sum(call["method"] == method for call in person.bench.calls())


def taken(person: Life) -> int:
    return calls(person, "disks.createSnapshot")


def a_day(person: Life) -> None:
    person.bench.advance(hours=24)
    sweep("due", person.bench.deps)
    sweep("idle", person.bench.deps)
    person.minutes(12)


def copy(person: Life, content: bytes) -> str:
    """A day with this work, and its copy. Returns the copy's name."""
    running(person)
    person.write(content)
    a_day(person)
    return copies_of(person.record.status)[-1].name


def running(person: Life) -> None:
    if list(person.states().values()) != ["ACTIVE"]:
        ask_power(person.key, Power.RUNNING, person.bench.deps, by="ana")
        person.minutes(6)


def contents(person: Life) -> dict[str, bytes]:
    """What each READY snapshot of the person holds."""
    now = person.bench.now
    return {name: s.content for name, s in person.snapshots().items() if s.status(now) == "READY"}


def restore(person: Life, name: str) -> None:
    ask_restore(person.key, Asked(kind=WishKind.RESTORE, snapshot=name), person.bench.deps, by="ana")


def undo(person: Life) -> None:
    before = person.record.status.data.restored.before
    ask_restore(person.key, Asked(kind=WishKind.UNDO_RESTORE, snapshot=before), person.bench.deps, by="ana")


def ready(person: Life):
    found = person.condition(ConditionType.NOTEBOOK_READY)
    assert found is not None
    return found


def kept(person: Life):
    found = person.condition(ConditionType.COPIES_KEPT)
    assert found is not None
    return found


# --- copies


def test_a_copy_is_taken_of_a_machine_that_runs_and_named_apart_from_a_leavers(ana):
    name = copy(ana, b"day 1")
    assert contents(ana) == {name: b"day 1"}
    assert "-d" in name
    assert (kept(ana).status, kept(ana).reason) == (ConditionStatus.TRUE, Reason.SAVED)
    labels = ana.snapshots()[name].labels
    assert labels["benchkeeper-user"] == ana.key
    assert "@" not in str(labels)
    assert ready(ana).status is ConditionStatus.TRUE, "who works is not interrupted"


def test_a_machine_that_rested_since_its_copy_is_not_copied_again(ana):
    copy(ana, b"day 1")
    ask_power(ana.key, Power.STOPPED, ana.bench.deps, by="ana")
    ana.minutes(5)
    a_day(ana)
    assert (taken(ana), ana.record.status.data.is_copied) == (2, True)
    for _ in range(4):
        ana.bench.advance(hours=24)
        sweep("idle", ana.bench.deps)
        ana.minutes(3)
    assert taken(ana) == 2
    ask_power(ana.key, Power.RUNNING, ana.bench.deps, by="ana")
    ana.minutes(6)
    sweep("idle", ana.bench.deps)
    assert taken(ana) == 3


def test_one_a_day_whatever_the_number_of_sweeps(ana):
    sweep("idle", ana.bench.deps)
    ana.minutes(12)
    for _ in range(6 * 23):
        ana.bench.advance(minutes=10)
        sweep("idle", ana.bench.deps)
    assert taken(ana) == 1


def test_the_newest_are_kept_and_the_rest_deleted(ana):
    names = [copy(ana, b"day %d" % day) for day in range(6)]
    assert sorted(contents(ana)) == sorted(names[-3:])
    assert [s.name for s in copies_of(ana.record.status)] == names[-3:]
    assert len(set(names)) == 6


def test_a_steady_person_costs_nothing_more(ana):
    copy(ana, b"day 1")
    ask_power(ana.key, Power.STOPPED, ana.bench.deps, by="ana")
    ana.minutes(5)
    a_day(ana)
    ana.bench.cloud.world.journal.clear()
    ana.bench.advance(hours=30)
    sweep("idle", ana.bench.deps)
    sweep("drift", ana.bench.deps)
    sweep("due", ana.bench.deps)
    assert not [call for call in ana.bench.calls() if call["method"] in {"snapshots.get", "GetInstance"}]


def test_a_profile_without_snapshots_takes_none_and_deletes_none_at_once(ana):
    copy(ana, b"day 1")
    bench = ana.bench
    wired = wire(settings_with({"analyst": {**PROFILE, "snapshots": None}}), log=bench.log, clients=bench.clients)
    bench.deps = in_force(replace(wired, clock=bench.deps.clock))
    for _ in range(3):
        bench.advance(hours=24)
        sweep("idle", bench.deps)
        sweep("drift", bench.deps)
        ana.minutes(5)
    assert (taken(ana), len(contents(ana))) == (1, 1)


@pytest.mark.parametrize("people", [MOST_AT_ONCE + 5])
def test_a_sweep_takes_so_many_at_once(people):
    first = life(settings_with({"analyst": PROFILE}))
    everybody = [Life(first.bench, f"p{number}@example.com") for number in range(people)]
    for person in everybody:
        person.join(minutes=0)
    first.minutes(10)
    sweep("idle", first.bench.deps)
    assert taken(first) == MOST_AT_ONCE
    sweep("idle", first.bench.deps)
    assert taken(first) == people


# --- copies that fail


def test_a_copy_that_is_refused_is_not_asked_for_at_each_sweep_and_the_notebook_runs_on(ana):
    ana.bench.fault(call="compute.disks.createSnapshot", times=0, error=BY_POLICY)
    for _ in range(6 * 12):
        ana.bench.advance(minutes=10)
        sweep("idle", ana.bench.deps)
        sweep("due", ana.bench.deps)
    assert 1 <= taken(ana) <= 5
    assert kept(ana).reason is Reason.ORGANIZATION_POLICY
    assert any(line[1] == "Found a condition for an administrator" for line in ana.bench.log.lines)
    assert list(ana.states().values()) == ["ACTIVE"]
    ana.bench.cloud.world.faults.clear()
    name = copy(ana, b"later")
    assert contents(ana) == {name: b"later"}
    assert kept(ana).status is ConditionStatus.TRUE


def test_a_copy_that_failed_is_deleted_and_another_is_taken_later(ana):
    ana.bench.fault(call="compute.disks.createSnapshot", operation_error={"code": "INTERNAL", "message": "no"})
    sweep("idle", ana.bench.deps)
    ana.minutes(15)
    assert (taken(ana), kept(ana).reason) == (1, Reason.SNAPSHOT_FAILED)
    assert ana.snapshots() == {}
    for _ in range(3):
        ana.bench.advance(minutes=10)
        sweep("idle", ana.bench.deps)
    assert taken(ana) == 1
    ana.bench.advance(hours=2)
    sweep("idle", ana.bench.deps)
    ana.minutes(12)
    assert list(contents(ana).values()) == [b"day 0"]
    assert (taken(ana), kept(ana).status) == (2, ConditionStatus.TRUE)


def test_three_failures_in_a_row_need_an_administrator(ana):
    ana.bench.fault(call="compute.disks.createSnapshot", times=0, operation_error={"code": "INTERNAL", "message": "no"})
    for _ in range(5):
        ana.bench.advance(hours=25)
        sweep("idle", ana.bench.deps)
        ana.minutes(12)
    assert kept(ana).reason is Reason.STUCK
    assert [
        line
        for line in ana.bench.log.lines
        if line[1] == "Found a condition for an administrator" and line[2]["about"] == "CopiesKept"
    ]


def test_a_copy_that_google_never_finishes_is_said_and_costs_no_call_a_minute(ana):
    ana.bench.cloud.compute.timings.ready = timedelta(days=400)
    sweep("idle", ana.bench.deps)
    ana.bench.advance(hours=7)
    ana.minutes(10)
    assert kept(ana).reason is Reason.STUCK
    ana.bench.cloud.world.journal.clear()
    ana.minutes(59)
    assert calls(ana, "snapshots.get") <= 1
    for _ in range(8):
        ana.bench.advance(hours=24)
        sweep("idle", ana.bench.deps)
        ana.minutes(3)
    assert len(ana.snapshots()) <= 3


def test_a_copy_that_was_deleted_by_hand_is_noticed_and_made_good(ana):
    first, second = copy(ana, b"day 1"), copy(ana, b"day 2")
    del ana.bench.cloud.compute.disks.snapshots[disk_snapshot(ana, second)]
    sweep("drift", ana.bench.deps)
    assert [s.name for s in copies_of(ana.record.status)] == [first]
    third = copy(ana, b"day 3")
    assert contents(ana) == {first: b"day 1", third: b"day 3"}


def disk_snapshot(person: Life, name: str) -> str:
    return next(path for path in person.bench.cloud.compute.disks.snapshots if path.endswith(f"/{name}"))


def test_a_copy_that_vanishes_while_it_is_made_is_no_copy(ana):
    sweep("idle", ana.bench.deps)
    (name,) = ana.snapshots()
    del ana.bench.cloud.compute.disks.snapshots[disk_snapshot(ana, name)]
    ana.bench.advance(hours=2)
    ana.minutes(10)
    assert copies_of(ana.record.status) == ()
    assert name not in row_of(ana.record).copies


@pytest.mark.parametrize("crash_at", range(0, 40, 2))
def test_a_crash_at_any_call_costs_no_copy_and_no_orphan(ana, crash_at):
    crashing(ana, crash_at, lambda: sweep("idle", ana.bench.deps))
    ana.minutes(12)
    sweep("idle", ana.bench.deps)
    ana.minutes(12)
    assert list(contents(ana).values()) == [b"day 0"]
    assert taken(ana) <= 2
    assert set(ana.snapshots()) == {s.name for s in copies_of(ana.record.status)}


def crashing(person: Life, left: int, act) -> None:
    """Run `act` in a process that ends before or after the call number `left`."""

    def around() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt

    person.bench.adapter.around = around
    with suppress(KeyboardInterrupt):
        act()
    person.bench.adapter.around = lambda: None


def test_a_hold_keeps_every_copy_and_a_release_lets_the_old_ones_go(ana):
    for day in range(3):
        copy(ana, b"day %d" % day)
    want_hold(ana.key, "case 1", ana.bench.deps)
    for day in range(3, 6):
        copy(ana, b"day %d" % day)
    assert len(contents(ana)) == 6
    want_hold(ana.key, None, ana.bench.deps)
    ana.minutes(20)
    assert sorted(contents(ana).values()) == [b"day 3", b"day 4", b"day 5"]


def test_a_leavers_copies_stay_until_the_retention_is_over_beside_the_last_state(ana):
    copies = {copy(ana, b"day 1"), copy(ana, b"day 2")}
    ana.write(b"the last day")
    ana.leave(minutes=15)
    assert set(contents(ana)) > copies
    assert b"the last day" in contents(ana).values()
    ana.days(31)
    assert ana.mine() == {}
    assert set(contents(ana)) > copies
    ana.days(60)
    ana.days(1)
    assert contents(ana) == {}
    sweep("drift", ana.bench.deps)
    assert ana.record.status.data.snapshots == ()


def test_files_of_a_disk_that_somebody_deleted_come_back_from_the_newest_copy(ana):
    copy(ana, b"day 1")
    copy(ana, b"day 2")
    instance = ana.only()
    ana.bench.cloud.notebooks.fleet.remove(instance, ana.bench.now)
    sweep("drift", ana.bench.deps)
    ana.minutes(20)
    assert (ana.files(), ready(ana).status) == (b"day 2", ConditionStatus.TRUE)
    assert "Its files are those of" in ready(ana).message


# --- files of an earlier day


def test_files_of_an_earlier_day_come_back_and_the_present_ones_are_kept(ana):
    first = copy(ana, b"day 1")
    copy(ana, b"day 2")
    ana.write(b"now")
    restore(ana, first)
    ana.minutes(15)
    assert ana.files() == b"day 1"
    assert list(ana.states().values()) == ["ACTIVE"]
    assert b"now" in contents(ana).values()
    last = ana.record.status.data.restored
    assert (last.end, calls(ana, "RestoreInstance")) == (RestoreEnd.DONE, 1)
    assert last.undo_until - last.ended_at == timedelta(days=7)


def test_an_undo_brings_the_present_ones_back_and_can_be_undone(ana):
    first = copy(ana, b"day 1")
    ana.write(b"now")
    restore(ana, first)
    ana.minutes(15)
    ana.write(b"after it")
    undo(ana)
    ana.minutes(15)
    assert ana.files() == b"now"
    undo(ana)
    ana.minutes(15)
    assert ana.files() == b"after it"


def test_a_stopped_notebook_stays_stopped(ana):
    first = copy(ana, b"day 1")
    ana.write(b"now")
    ask_power(ana.key, Power.STOPPED, ana.bench.deps, by="ana")
    ana.minutes(5)
    restore(ana, first)
    ana.minutes(15)
    assert (ana.files(), list(ana.states().values())) == (b"day 1", ["STOPPED"])


def test_what_was_replaced_goes_after_a_week(ana):
    first = copy(ana, b"day 1")
    ana.write(b"now")
    restore(ana, first)
    ana.minutes(15)
    ask_power(ana.key, Power.STOPPED, ana.bench.deps, by="ana")
    ana.minutes(5)
    ana.days(6)
    assert undoable(ana.record, ana.bench.now) is not None
    assert b"now" in contents(ana).values()
    ana.days(2)
    assert undoable(ana.record, ana.bench.now) is None
    assert b"now" not in contents(ana).values()


def test_both_states_stay_while_a_restore_can_be_undone_however_many_copies_follow(ana):
    first = copy(ana, b"day 1")
    ana.write(b"now")
    restore(ana, first)
    ana.minutes(15)
    for day in range(2, 7):
        copy(ana, b"day %d" % day)
    assert {b"day 1", b"now"} <= set(contents(ana).values())


def test_a_restore_asked_for_twice_is_one_and_another_meanwhile_is_refused(ana):
    first, second = copy(ana, b"day 1"), copy(ana, b"day 2")
    restore(ana, first)
    restore(ana, first)
    with pytest.raises(RefusedError):
        restore(ana, second)
    ana.minutes(4)
    restore(ana, first)
    ana.minutes(15)
    assert calls(ana, "RestoreInstance") == 1
    restore(ana, second)
    ana.minutes(15)
    assert (ana.files(), calls(ana, "RestoreInstance")) == (b"day 2", 2)


def test_a_copy_that_does_not_exist_is_refused_with_what_there_is(ana):
    copy(ana, b"day 1")
    with pytest.raises(RefusedError) as refused:
        restore(ana, "nb-somebody-else-d1")
    assert "There are copies of: 2026-11-2" in refused.value.user_message


class Witness:
    """Looks after each call whether both states are in a READY snapshot, or on the disk where they belong."""

    def __init__(self, person: Life, *states: bytes) -> None:
        self.person, self.states, self.looks = person, states, 0

    def __call__(self) -> None:
        self.looks += 1
        held = set(contents(self.person).values())
        disk = self.person.bench.cloud.compute.disks.disks.get(disk_path(self.person.only(), DATA))
        if disk is not None:
            held.add(disk.content)
        assert set(self.states) <= held, f"lost: {set(self.states) - held}"


@pytest.mark.parametrize("crash_at", range(0, 130, 5))
def test_a_crash_at_any_call_of_a_restore_loses_neither_state(ana, crash_at):
    first = copy(ana, b"day 1")
    ana.write(b"now")
    restore(ana, first)
    witness = Witness(ana, b"day 1", b"now")
    left = crash_at

    def around() -> None:
        nonlocal left
        witness()
        left -= 1
        if left == 0:
            raise KeyboardInterrupt

    ana.bench.adapter.around = around
    for _ in range(25):
        with suppress(KeyboardInterrupt):
            ana.minutes(1)
    ana.bench.adapter.around = lambda: None
    ana.minutes(5)
    assert (ana.files(), list(ana.states().values())) == (b"day 1", ["ACTIVE"])
    assert calls(ana, "RestoreInstance") == 1
    assert {b"day 1", b"now"} <= set(contents(ana).values())
    assert witness.looks > 20


@pytest.mark.parametrize("lost", [True, False])
@pytest.mark.parametrize("times", [1, 3, 5])
def test_a_restore_that_fails_half_way_ends_in_one_of_the_two_states(ana, lost, times):
    first = copy(ana, b"day 1")
    ana.write(b"now")
    ana.bench.fault(
        call="notebooks.RestoreInstance",
        times=times,
        operation_error={"code": "INTERNAL", "message": "disk"},
        payload={"disk_lost": True} if lost else {},
    )
    restore(ana, first)
    ana.minutes(15)
    for _ in range(10):
        ana.bench.advance(minutes=45)
        ana.minutes(3)
    ana.minutes(10)
    expected = (b"day 1", RestoreEnd.DONE) if times < 3 else (b"now", RestoreEnd.PUT_BACK)
    assert (ana.files(), ana.record.status.data.restored.end) == expected
    assert list(ana.states().values()) == ["ACTIVE"]


@pytest.mark.parametrize("code", ["PERMISSION_DENIED", "FAILED_PRECONDITION", "INVALID_ARGUMENT"])
def test_a_restore_that_is_refused_changes_nothing(ana, code):
    first = copy(ana, b"day 1")
    ana.write(b"now")
    ana.bench.fault(call="notebooks.RestoreInstance", times=0, error={"code": code, "message": "no"})
    restore(ana, first)
    ana.minutes(20)
    assert (ana.files(), list(ana.states().values())) == (b"now", ["ACTIVE"])
    assert ana.record.status.data.restored.end is RestoreEnd.REFUSED
    assert "your files are as they were" in ready(ana).message


@pytest.mark.parametrize("code", ["UNAVAILABLE", "RESOURCE_EXHAUSTED"])
def test_a_restore_that_could_not_be_sent_is_sent_later(ana, code):
    first = copy(ana, b"day 1")
    ana.write(b"now")
    ana.bench.fault(call="notebooks.RestoreInstance", times=1, error={"code": code, "message": "no"})
    restore(ana, first)
    ana.minutes(30)
    assert ana.files() == b"day 1"


def test_present_files_that_may_not_be_saved_stay_as_they_are(ana):
    first = copy(ana, b"day 1")
    ana.write(b"now")
    ana.bench.fault(call="compute.disks.createSnapshot", times=0, error=BY_POLICY)
    restore(ana, first)
    ana.minutes(15)
    assert (ana.files(), list(ana.states().values())) == (b"now", ["ACTIVE"])
    assert (calls(ana, "RestoreInstance"), ana.record.status.data.restored.end) == (0, RestoreEnd.NOT_SAVED)


@pytest.mark.parametrize("stuck", [True, False])
def test_present_files_whose_saving_fails_or_never_ends_stay_as_they_are(ana, stuck):
    first = copy(ana, b"day 1")
    ana.write(b"now")
    if stuck:
        ana.bench.cloud.compute.timings.ready = timedelta(days=400)
    else:
        ana.bench.fault(
            call="compute.disks.createSnapshot", times=0, operation_error={"code": "INTERNAL", "message": "no"}
        )
    restore(ana, first)
    for _ in range(10):
        ana.minutes(5)
        ana.bench.advance(minutes=50)
    ana.minutes(10)
    assert (ana.files(), list(ana.states().values())) == (b"now", ["ACTIVE"])
    assert (calls(ana, "RestoreInstance"), ana.record.status.data.restored.end) == (0, RestoreEnd.NOT_SAVED)


def test_a_copy_that_vanishes_before_it_is_restored_changes_nothing(ana):
    first = copy(ana, b"day 1")
    ana.write(b"now")
    restore(ana, first)
    ana.minutes(2)
    del ana.bench.cloud.compute.disks.snapshots[disk_snapshot(ana, first)]
    ana.minutes(15)
    assert (ana.files(), list(ana.states().values())) == (b"now", ["ACTIVE"])
    assert (calls(ana, "RestoreInstance"), ana.record.status.data.restored.end) == (0, RestoreEnd.COPY_GONE)


def test_what_was_saved_first_and_deleted_by_hand_is_saved_again(ana):
    first = copy(ana, b"day 1")
    ana.write(b"now")
    restore(ana, first)
    ana.minutes(3)
    (before,) = [name for name in ana.snapshots() if name != first]
    del ana.bench.cloud.compute.disks.snapshots[disk_snapshot(ana, before)]
    ana.minutes(20)
    assert ana.files() == b"day 1"
    assert {b"day 1", b"now"} <= set(contents(ana).values())


def test_work_that_is_done_while_the_present_files_are_saved_is_saved_too(ana):
    first = copy(ana, b"day 1")
    ana.write(b"now")
    restore(ana, first)
    ana.minutes(3)
    instance = ana.only()
    instance.state = "ACTIVE"  # somebody starts it in the console
    ana.write(b"later")
    ana.minutes(25)
    assert ana.files() == b"day 1"
    assert b"later" in contents(ana).values()


@pytest.mark.parametrize("minutes", [0, 1, 3, 5])
def test_what_cannot_be_read_for_a_while_is_not_gone(ana, minutes):
    first = copy(ana, b"day 1")
    ana.write(b"now")
    restore(ana, first)
    ana.minutes(minutes)
    ana.bench.fault(call="compute.snapshots.get", times=6, error={"code": "PERMISSION_DENIED", "message": "no"})
    ana.minutes(60)
    assert (ana.files(), ana.record.status.data.restored.end) == (b"day 1", RestoreEnd.DONE)
    assert b"now" in contents(ana).values()


@pytest.mark.parametrize("state", ["ARCHIVING", "CREATING"])
def test_a_copy_in_a_state_that_nobody_knows_stops_nothing(ana, state, monkeypatch):
    first = copy(ana, b"day 1")
    ana.write(b"now")
    monkeypatch.setattr(Snapshot, "status", lambda _self, _now: state)
    restore(ana, first)
    ana.minutes(10)
    assert list(ana.states().values()) == ["ACTIVE"]
    ana.minutes(40)
    assert ana.record.status.data.restored.end is RestoreEnd.REFUSED
    assert [s.name for s in copies_of(ana.record.status)] == [first]
    assert calls(ana, "StopInstance") == 0


# --- what comes in between


@pytest.mark.parametrize("minutes", range(1, 9))
def test_a_leaver_in_between_loses_neither_state_and_who_comes_back_has_one_of_them(ana, minutes):
    first = copy(ana, b"day 1")
    ana.write(b"now")
    restore(ana, first)
    ana.minutes(minutes)
    ana.leave(minutes=20)
    assert set(ana.states().values()) == {"STOPPED"}
    assert {b"day 1", b"now"} <= set(contents(ana).values())
    ana.bench.advance(days=2)
    ana.join(minutes=25)
    assert ana.files() in {b"day 1", b"now"}
    assert (list(ana.states().values()), ready(ana).status) == (["ACTIVE"], ConditionStatus.TRUE)
    assert ana.record.status.data.rollback is None


def of_last(person: Life) -> bytes:
    """What the record says to be the person's files, as bytes."""
    return contents(person)[person.record.status.data.saved_in]


@pytest.mark.parametrize("minutes", range(1, 9))
def test_a_leaver_in_between_is_at_rest_and_returns_to_the_files_of_the_disk(ana, minutes):
    """At rest: no sweep finds anything to do, and what counts as the person's files is what the disk holds."""
    first = copy(ana, b"day 1")
    ana.write(b"now")
    restore(ana, first)
    ana.minutes(minutes)
    ana.leave(minutes=20)
    on_disk = ana.files()
    assert of_last(ana) == on_disk
    ana.bench.advance(minutes=70)
    found = sweep("drift", ana.bench.deps)
    assert not found.decisions
    assert not found.strays
    ana.days(31)
    assert ana.mine() == {}
    assert {b"day 1", b"now"} <= set(contents(ana).values())
    ana.join(minutes=25)
    assert (ana.files(), ready(ana).status) == (on_disk, ConditionStatus.TRUE)


@pytest.mark.parametrize("lost", [True, False])
def test_a_leaver_whose_restore_failed_half_way_returns_to_the_files_from_before(ana, lost):
    first = copy(ana, b"day 1")
    ana.write(b"now")
    ana.bench.fault(
        call="notebooks.RestoreInstance",
        operation_error={"code": "INTERNAL", "message": "disk"},
        payload={"disk_lost": True} if lost else {},
    )
    restore(ana, first)
    while not calls(ana, "RestoreInstance"):
        ana.minutes(1)
    ana.leave(minutes=20)
    assert of_last(ana) == b"now"
    ana.days(31)
    assert ana.mine() == {}
    ana.join(minutes=25)
    assert (ana.files(), ready(ana).status) == (b"now", ConditionStatus.TRUE)


def test_a_leaver_whose_restore_failed_and_whose_machine_others_started_keeps_the_files_from_before(ana):
    first = copy(ana, b"day 1")
    ana.write(b"now")
    error = {"code": "INTERNAL", "message": "disk"}
    ana.bench.fault(call="notebooks.RestoreInstance", operation_error=error, payload={"disk_lost": True})
    restore(ana, first)
    while not (rollback := ana.record.status.data.rollback) or not rollback.is_hurt:
        ana.minutes(1)
    ana.bench.cloud.notebooks.start(ana.only().name)
    ana.leave(minutes=20)
    assert list(ana.states().values()) == ["STOPPED"]
    assert of_last(ana) == b"now"


@pytest.mark.parametrize("crash_at", range(0, 90, 6))
def test_a_crash_at_any_call_while_somebody_leaves_during_a_restore_changes_nothing(ana, crash_at):
    first = copy(ana, b"day 1")
    ana.write(b"now")
    restore(ana, first)
    ana.minutes(3)
    left = crash_at

    def around() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt

    ana.bench.adapter.around = around
    with suppress(KeyboardInterrupt):
        ana.leave()
    for _ in range(20):
        with suppress(KeyboardInterrupt):
            ana.minutes(1)
    ana.bench.adapter.around = lambda: None
    ana.leave(minutes=20)  # the message comes again
    assert list(ana.states().values()) == ["STOPPED"]
    assert of_last(ana) == ana.files()
    assert {b"day 1", b"now"} <= set(contents(ana).values())
    ana.bench.advance(minutes=70)
    assert not sweep("drift", ana.bench.deps).decisions


def test_a_leaver_whose_restore_cannot_be_read_is_looked_at_until_it_can(ana):
    first = copy(ana, b"day 1")
    ana.write(b"now")
    restore(ana, first)
    while not calls(ana, "RestoreInstance"):
        ana.minutes(1)
    fault = {"code": "UNAVAILABLE"}
    ana.bench.fault(call="notebooks.GetOperation", error=fault, times=8)
    ana.bench.fault(call="notebooks.ListOperations", error=fault, times=8)
    ana.leave(minutes=20)
    ana.bench.cloud.world.faults.clear()
    ana.minutes(20)
    assert (ana.files(), of_last(ana)) == (b"day 1", b"day 1")


def lost_disk(person: Life) -> None:
    """Other hands delete the instance, and another is on its way."""
    person.bench.cloud.notebooks.fleet.remove(person.only(), person.bench.now)
    sweep("drift", person.bench.deps)
    person.minutes(2)


def test_a_leaver_whose_files_are_in_a_copy_alone_is_at_rest_and_goes_with_the_retention(ana):
    copy(ana, b"day 1")
    lost_disk(ana)
    ana.leave(minutes=20)
    assert set(ana.states().values()) == {"STOPPED"}
    assert of_last(ana) == b"day 1"
    saved = ana.record.status.snapshot(ana.record.status.data.saved_in)
    assert saved.manifest
    assert saved.spec["uid"] == saved.instance_uid
    ana.bench.advance(minutes=70)
    assert not sweep("drift", ana.bench.deps).decisions
    next_look = ana.record.status.next_attempt_at
    assert next_look - ana.bench.now > timedelta(days=20), "nothing to do before the end of the retention"
    ana.days(31)
    assert ana.mine() == {}
    ana.join(minutes=25)
    assert (ana.files(), ready(ana).status) == (b"day 1", ConditionStatus.TRUE)


def test_a_leaver_whose_copy_is_deleted_by_hand_keeps_an_older_one(ana):
    copy(ana, b"day 1")
    newest = copy(ana, b"day 2")
    lost_disk(ana)
    ana.leave(minutes=20)
    assert of_last(ana) == b"day 2"
    del ana.bench.cloud.compute.disks.snapshots[disk_snapshot(ana, newest)]
    ana.bench.advance(minutes=70)
    sweep("drift", ana.bench.deps)
    ana.minutes(10)
    assert of_last(ana) == b"day 1", "a disk that never had the files is not what is kept"


@pytest.mark.parametrize("minutes", range(1, 9))
def test_an_instance_that_is_deleted_in_between_loses_neither_state(ana, minutes):
    first = copy(ana, b"day 1")
    ana.write(b"now")
    restore(ana, first)
    ana.minutes(minutes)
    saved = set(contents(ana).values())
    ana.bench.cloud.notebooks.fleet.remove(ana.only(), ana.bench.now)
    sweep("drift", ana.bench.deps)
    ana.minutes(45)
    assert saved <= set(contents(ana).values())
    assert ana.files() == b"day 1"
    assert ready(ana).status is ConditionStatus.TRUE


@pytest.mark.parametrize("minutes", [0, 2, 4, 6])
def test_a_replacement_in_between_comes_after_the_restore(ana, minutes):
    first = copy(ana, b"day 1")
    ana.write(b"now")
    restore(ana, first)
    ana.minutes(minutes)
    bench = ana.bench
    changed = {**PROFILE, "data_disk": Disk(size_gb=200, type="PD_SSD")}
    wired = wire(settings_with({"analyst": changed}), log=bench.log, clients=bench.clients)
    bench.deps = in_force(replace(wired, clock=bench.deps.clock))
    sweep("drift", bench.deps)
    ana.minutes(20)
    ask_power(ana.key, Power.STOPPED, bench.deps, by="ana")
    ana.minutes(40)
    assert len(ana.mine()) == 1
    assert ana.files() == b"day 1"
    assert b"now" in contents(ana).values()


def test_a_copy_of_a_replaced_machine_can_be_restored(ana):
    first = copy(ana, b"day 1")
    bench = ana.bench
    changed = {**PROFILE, "data_disk": Disk(size_gb=200, type="PD_SSD")}
    wired = wire(settings_with({"analyst": changed}), log=bench.log, clients=bench.clients)
    bench.deps = in_force(replace(wired, clock=bench.deps.clock))
    ana.write(b"now")
    ask_power(ana.key, Power.STOPPED, bench.deps, by="ana")
    ana.minutes(5)
    sweep("drift", bench.deps)
    ana.minutes(30)
    assert ana.files() == b"now"
    restore(ana, first)
    ana.minutes(15)
    assert ana.files() == b"day 1"


def test_a_hold_in_between_keeps_both(ana):
    first = copy(ana, b"day 1")
    ana.write(b"now")
    restore(ana, first)
    ana.minutes(3)
    want_hold(ana.key, "case 1", ana.bench.deps)
    ana.minutes(15)
    ana.days(10)
    assert ana.files() == b"day 1"
    assert {b"day 1", b"now"} <= set(contents(ana).values())


def test_only_the_data_disk_is_copied_and_restored(ana):
    boot = ana.bench.cloud.compute.disks.find_disk(disk_path(ana.only(), "boot"))
    boot.content = b"packages"
    first = copy(ana, b"day 1")
    restore(ana, first)
    ana.minutes(15)
    assert boot.content == b"packages"
    assert all(s.role == DATA for s in ana.snapshots().values())


def test_a_restore_of_a_leaver_is_refused(ana):
    first = copy(ana, b"day 1")
    ana.leave()
    with pytest.raises(RefusedError):
        restore(ana, first)
