"""Files are saved before anything may go: never done without READY and manifest; and the last copy is never deleted too early."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.making import ANA, NOW, RETENTION, UID, ZONES, notebook, operation, person, policy, saved, seen, snapshot_seen
from msgspec.structs import replace

from shared.domain.plan.step import Scene
from shared.domain.record.record import Hold, Power, Presence
from shared.domain.record.status import ConditionStatus, Verb
from shared.domain.snapshot.actions import CreateSnapshot, DeleteSnapshot, WriteManifest
from shared.domain.snapshot.step import is_saved, keeping_step, retention_end, save_data, without_deleted
from shared.domain.things.catalog import Disk, VmImage
from shared.domain.things.errors import AccessDeniedError, CloudUnavailableError, Reason
from shared.domain.things.identity import instance_id_for, user_key_for
from shared.domain.things.notebook import Absent, NotebookState, NotLooked, Unreadable
from shared.domain.things.snapshots import Former, Restoring, Snapshot, SnapshotSeen, SnapshotState

KEY, INSTANCE = user_key_for(ANA), instance_id_for(ANA)
FIRST, SECOND = f"{INSTANCE}-s1", f"{INSTANCE}-s2"
RESTS, RUNS = notebook(NotebookState.STOPPED), notebook(NotebookState.ACTIVE)
HELD = Hold(reason="case 1", since=NOW)
DOWN = CloudUnavailableError(user_message="It does not answer.", detail="503", retry_after=timedelta(minutes=9))
DENIED = AccessDeniedError(user_message="no", detail="403")
POLL, MINUTE, TICK = timedelta(seconds=60), timedelta(minutes=1), timedelta(seconds=1)
KEPT = timedelta(days=90)
READY = snapshot_seen(FIRST)


def gone(*, hold=None, absent_for=timedelta(days=1), **status):
    return replace(person(Presence.ABSENT, Power.STOPPED, absent_for=absent_for, **status), hold=hold)


def scene_of(record, sight=RESTS, snapshots=None, now=NOW):
    observed = replace(seen(sight, record=record), snapshots=snapshots if snapshots is not None else {})
    return Scene(seen=observed, policy=policy(snapshot_retention=KEPT), now=now)


def saving_of(record, snapshots=None, *, sight=RESTS, now=NOW):
    return save_data(record, sight, scene_of(record, sight, snapshots, now))


# --- saving


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"snapshots_taken": 1},
        {**saved("of another"), "snapshots_taken": 1},  # of what had this name before
    ],
)
def test_a_snapshot_is_asked_for_under_the_next_name(status):
    result = saving_of(gone(**status))
    number = status.get("snapshots_taken", 0) + 1
    (action,) = result.actions
    assert isinstance(action, CreateSnapshot)
    assert (action.name, action.source) == (f"{INSTANCE}-s{number}", RESTS.ref)
    assert action.labels["benchkeeper-user"] == KEY
    assert action.labels["benchkeeper-instance"] == INSTANCE
    assert (result.done, result.requeue_after) == (False, POLL)
    noted = result.record.status.data.snapshots[-1]
    assert noted == Snapshot(name=action.name, instance_id=INSTANCE, zone=ZONES[0], instance_uid=UID, asked_at=NOW)
    assert result.record.status.data.saved_in == action.name
    assert result.record.status.data.snapshots_taken == number
    assert len(result.record.status.data.snapshots) == len(status.get("snapshots", ())) + 1


def test_its_cost_goes_where_the_persons_goes():
    (action,) = saving_of(replace(gone(), cost_center="CC 7")).actions
    assert action.labels["cost-center"] == "cc-7"
    assert "cost-center" not in saving_of(gone()).actions[0].labels


def test_it_is_asked_for_again_when_it_is_not_there():
    record = gone(**saved(ready=False))
    result = saving_of(record, {FIRST: Absent()})
    (action,) = result.actions
    assert (action.name, result.record, result.done, result.requeue_after) == (FIRST, record, False, POLL)


def test_one_that_somebody_deleted_is_taken_again_while_the_disk_is_there():
    result = saving_of(gone(**saved()), {FIRST: Absent()})
    assert [action.name for action in result.actions] == [SECOND]
    assert (result.record.status.data.saved_in, result.done) == (SECOND, False)


@pytest.mark.parametrize("error", [DOWN, DENIED])
def test_one_that_cannot_be_read_is_waited_for(error):
    record = gone(**saved())
    result = saving_of(record, {FIRST: Unreadable(error)})
    at_least = timedelta(minutes=9 if error is DOWN else 5)
    assert (result.actions, result.done, result.record) == ((), False, record)
    assert at_least <= result.requeue_after <= at_least * 1.25


@pytest.mark.parametrize("state", [SnapshotState.CREATING, SnapshotState.UPLOADING, SnapshotState.UNKNOWN])
def test_one_on_its_way_is_waited_for(state):
    result = saving_of(gone(**saved(ready=False)), {FIRST: snapshot_seen(FIRST, state)})
    assert (result.actions, result.done, result.requeue_after) == ((), False, POLL)


def test_one_that_is_ready_gets_its_manifest_and_then_it_is_done():
    sight = notebook(
        NotebookState.STOPPED,
        image=VmImage(project="p", family="f"),
        data_disk=Disk(size_gb=100, type="PD_SSD"),
    )
    first = saving_of(gone(**saved(ready=False)), {FIRST: READY}, sight=sight)
    (action,) = first.actions
    assert isinstance(action, WriteManifest)
    assert (action.deleted_at, first.done, first.requeue_after) == (None, False, POLL)
    noted = first.record.status.data.snapshots[0]
    assert action.snapshot == noted
    assert (noted.ready_at, noted.size_bytes, noted.disk_size_gb, noted.snapshot_id) == (NOW, 1_000, 100, "1")
    assert action.snapshot.spec == {
        "id": INSTANCE, "uid": UID, "zone": ZONES[0], "profile": "analyst", "machine_type": "e2-standard-4",
        "image": "p/f", "data_disk": "PD_SSD 100 GB",
    }  # fmt: skip
    assert "@" not in str(action.snapshot.spec)
    done = saving_of(gone(**saved()), {FIRST: READY})
    assert (done.done, done.actions, done.requeue_after) == (True, (), None)


def test_when_it_became_ready_is_noted_once():
    early = gone(**saved(manifest=False))
    (action,) = saving_of(early, {FIRST: READY}).actions
    assert action.snapshot.ready_at == early.status.data.snapshots[0].ready_at != NOW
    known = replace(early.status.data.snapshots[0], size_bytes=7, spec={"machine_type": "n1-standard-1"})
    (action,) = saving_of(early.with_status(snapshots=(known,)), {FIRST: READY}).actions
    assert action.snapshot == known


def test_a_manifest_says_nothing_of_what_could_not_be_read():
    (action,) = saving_of(gone(**saved(manifest=False)), {FIRST: READY}).actions
    assert (action.snapshot.spec["image"], action.snapshot.spec["data_disk"]) == ("", "")


def test_a_failed_one_is_taken_again_later_and_the_waits_grow():
    result = saving_of(gone(**saved(ready=False)), {FIRST: snapshot_seen(FIRST, SnapshotState.FAILED)})
    status = result.record.status
    assert (result.actions, result.done, status.data.saved_in, status.attempts) == ((), False, "", 1)
    assert status.notebook.not_before == NOW + result.requeue_after
    assert timedelta(minutes=5) <= result.requeue_after <= timedelta(minutes=6.25)
    waiting = saving_of(result.record, {}, now=status.notebook.not_before - TICK)
    assert (waiting.actions, waiting.requeue_after, waiting.done) == ((), TICK, False)
    again = saving_of(result.record, {}, now=status.notebook.not_before)
    assert [action.name for action in again.actions] == [SECOND]
    worse = saving_of(gone(**saved(ready=False), attempts=9), {FIRST: snapshot_seen(FIRST, SnapshotState.FAILED)})
    assert worse.requeue_after > result.requeue_after


sights = st.sampled_from(
    [Absent(), Unreadable(DOWN), *(snapshot_seen(FIRST, state) for state in SnapshotState)]
)  # fmt: skip
kept = st.sampled_from(
    [{}, saved(), saved(ready=False), saved(manifest=False), saved("of another"), {**saved(), "saved_in": ""}]
)


@given(kept, sights, st.sampled_from([gone, person]))
def test_it_is_never_done_without_a_ready_snapshot_of_this_disk_and_its_manifest(status, sight, make):
    result = saving_of(make(**status), {FIRST: sight})
    if not result.done:
        assert result.actions or result.requeue_after is not None  # never stuck
        return
    assert is_saved(result.record)
    snapshot = result.record.status.snapshot(result.record.status.data.saved_in)
    assert snapshot.instance_uid == UID
    assert snapshot.manifest
    assert isinstance(sight, SnapshotSeen)
    assert sight.state is SnapshotState.READY


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, False),
        (saved(), True),
        (saved(ready=False), False),
        (saved(manifest=False), False),
        ({**saved(), "saved_in": ""}, False),
        ({**saved(), "saved_in": "lost"}, False),
    ],
)
def test_what_counts_as_saved(status, expected):
    assert is_saved(person(**status)) is expected


# --- keeping


def kept_of(record, snapshots, *, sight=RESTS, now=NOW):
    return keeping_step(record, scene_of(record, sight, snapshots, now))


def two(*, saved_in=SECOND, newer_ready=True):
    """Status fields of somebody with an older and a newer snapshot."""
    older, newer = (saved(name=name)["snapshots"][0] for name in (FIRST, SECOND))
    if not newer_ready:
        newer = replace(newer, ready_at=None, manifest=False)
    return {"snapshots": (older, newer), "snapshots_taken": 2, "saved_in": saved_in}


BOTH = {FIRST: READY, SECOND: snapshot_seen(SECOND)}


def deleted(step):
    return [action.name for action in step.actions if isinstance(action, DeleteSnapshot)]


AGE = [
    # left ago, what is there, deleted
    (KEPT - TICK, Absent(), []),
    (KEPT, Absent(), [FIRST]),
    (KEPT + TICK, Absent(), [FIRST]),
    (KEPT, RESTS, []),  # the instance goes first
    (KEPT, Unreadable(DOWN), []),
    (KEPT, NotLooked(), []),
    (RETENTION, Absent(), []),
]


@pytest.mark.parametrize(("ago", "sight", "names"), AGE)
def test_the_retention_of_a_leavers_snapshot_ends_to_the_second(ago, sight, names):
    record = gone(absent_for=ago, **saved())
    step = kept_of(record, {FIRST: READY}, sight=sight)
    assert deleted(step) == names
    assert retention_end(record, scene_of(record)) == NOW - ago + KEPT
    if names:
        assert (step.requeue_after, step.record.status.data.saved_in) == (POLL, "")
        assert "retention" in step.because[0]
    elif ago < KEPT:
        assert step.requeue_after == KEPT - ago
        assert (step.condition, step.reason) == (ConditionStatus.TRUE, Reason.SAVED)
        assert f"kept until {NOW - ago + KEPT:%Y-%m-%d %H:%M} UTC" in step.message


def test_who_is_entitled_has_no_end_of_retention():
    assert retention_end(person(), scene_of(person())) is None


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"hold": HELD}, {}),
        ({}, {"former": Former(instance_id=INSTANCE, zone="z", uid="u")}),
        ({}, {"restoring": Restoring(snapshot=FIRST, instance_uid="u", asked_at=NOW)}),
    ],
)
@pytest.mark.parametrize("sight", [Absent(), RESTS, RUNS])
def test_nothing_is_deleted_under_a_hold_or_while_files_are_on_their_way(change, status, sight):
    for record in (gone(absent_for=KEPT * 2, **two(), **status), person(**two(saved_in=""), **status)):
        step = kept_of(replace(record, **change), BOTH, sight=sight)
        assert deleted(step) == []


OLDER = [
    # record, what is there, snapshots deleted
    (person(**two(saved_in="")), RUNS, [FIRST, SECOND]),
    (person(**two(saved_in="")), RESTS, [FIRST, SECOND]),
    (person(**two(saved_in=""), settled=False), RESTS, []),  # an older pass may still delete the disk
    (person(**two(saved_in=""), settled=False), RUNS, []),
    (person(**two()), RESTS, [FIRST]),
    (person(**two(newer_ready=False)), RESTS, []),  # the older may be the last that holds anything
    (person(**two(saved_in="")), notebook(NotebookState.STOPPING), []),
    (person(**two(saved_in="")), Absent(), []),
    (person(**two(saved_in="")), Unreadable(DOWN), []),
    (person(**two(saved_in=""), operation=operation(Verb.START)), RUNS, []),
    (gone(**two()), RESTS, [FIRST]),
    (gone(**two(saved_in="")), RESTS, []),  # nothing new is saved yet
    (gone(**two(newer_ready=False)), RESTS, []),
    (gone(**two()), Absent(), []),
]


@pytest.mark.parametrize(("record", "sight", "names"), OLDER)
def test_what_is_older_than_the_disk_goes_once_the_disk_is_sure(record, sight, names):
    step = kept_of(record, BOTH, sight=sight)
    assert deleted(step) == names
    assert all("older than the files on the disk" in line for line in step.because)


def test_what_was_asked_for_in_this_very_pass_is_left_alone():
    assert deleted(kept_of(person(**two(saved_in="")), {SECOND: snapshot_seen(SECOND)}, sight=RUNS)) == [SECOND]


@pytest.mark.parametrize(
    ("sight", "waits"), [(Unreadable(DOWN), timedelta(minutes=9)), (snapshot_seen(FIRST, SnapshotState.DELETING), POLL)]
)
def test_one_that_goes_or_cannot_be_read_is_looked_at_again(sight, waits):
    step = kept_of(gone(absent_for=KEPT, **saved()), {FIRST: sight}, sight=Absent())
    assert step.actions == ()
    assert waits <= step.requeue_after <= waits * 1.25
    assert step.record.status.data.snapshots


def test_the_manifest_outlives_the_snapshot_and_says_when_it_went():
    step = kept_of(gone(absent_for=KEPT, **saved()), {FIRST: Absent()}, sight=Absent())
    (action,) = step.actions
    assert isinstance(action, WriteManifest)
    assert (action.snapshot.name, action.deleted_at, step.requeue_after) == (FIRST, NOW, POLL)
    assert step.record.status.data.snapshots  # until the manifest is written
    over = without_deleted(step.record, FIRST)
    assert (over.status.data.snapshots, over.status.data.saved_in) == ((), "")
    assert without_deleted(over, FIRST) is over


def test_one_that_failed_and_is_gone_is_forgotten_although_the_instance_is_gone_too():
    """Its name in the record would bring back every hourly sweep until the retention is over."""
    record = gone(**two(newer_ready=True))
    failed = replace(record.status.snapshot(FIRST), ready_at=None, manifest=False)
    record = record.with_status(snapshots=(failed, record.status.snapshot(SECOND)))
    step = kept_of(record, {FIRST: Absent(), SECOND: snapshot_seen(SECOND)}, sight=Absent())
    assert [each.name for each in step.record.status.data.snapshots] == [SECOND]
    assert step.actions == ()


def test_one_that_never_came_is_forgotten_when_its_disk_is_gone():
    step = kept_of(gone(**saved(ready=False)), {FIRST: Absent()}, sight=Absent())
    assert (step.record.status.data.snapshots, step.record.status.data.saved_in, step.reason) == (
        (),
        "",
        Reason.DATA_MISSING,
    )
    still = kept_of(gone(**saved(ready=False)), {FIRST: Absent()})  # its disk is there: it is asked for again
    assert [each.name for each in still.record.status.data.snapshots] == [FIRST]


@pytest.mark.parametrize(("sight", "saved_in"), [(RUNS, ""), (Absent(), FIRST)])
def test_one_that_another_pass_may_still_ask_for_is_remembered_until_it_cannot(sight, saved_in):
    """Another pass wrote it down just now, and is about to make it: a forgotten one would be nobody's, and stay."""
    status = saved(ready=False)
    asked = replace(status["snapshots"][0], asked_at=NOW - 4 * MINUTE)
    record = person(**{**status, "snapshots": (asked,), "saved_in": saved_in})
    step = kept_of(record, {FIRST: Absent()}, sight=sight)
    assert step.record.status.data.snapshots == (asked,)
    assert step.requeue_after == 6 * MINUTE
    late = kept_of(record, {FIRST: Absent()}, sight=sight, now=NOW + 6 * MINUTE)
    assert late.record.status.data.snapshots == ()
    came = kept_of(record, {FIRST: READY}, sight=RUNS, now=NOW + 6 * MINUTE)
    assert deleted(came) == ([FIRST] if not saved_in else [])


def test_one_that_never_had_a_manifest_is_just_forgotten():
    step = kept_of(gone(absent_for=KEPT, **saved(ready=False)), {FIRST: Absent()}, sight=Absent())
    assert (step.actions, step.record.status.data.snapshots, step.record.status.data.saved_in) == ((), (), "")
    assert (step.reason, step.requeue_after) == (Reason.REMOVED, None)


LATE = timedelta(minutes=45) - timedelta(minutes=10)  # `saved` asks ten minutes ago
SAID = [
    # record, snapshots, instance, now, condition, reason, in the message
    (gone(**saved()), {FIRST: READY}, RESTS, NOW, ConditionStatus.TRUE, Reason.SAVED, f"in snapshot {FIRST}, kept until"),
    (gone(hold=HELD, **saved()), {FIRST: READY}, RESTS, NOW, ConditionStatus.TRUE, Reason.SAVED, "on hold until it is"),
    (person(**saved()), {FIRST: READY}, RESTS, NOW, ConditionStatus.TRUE, Reason.SAVED, f"in snapshot {FIRST}."),
    (gone(**saved(ready=False)), {}, RESTS, NOW, ConditionStatus.FALSE, Reason.SAVING, "are being saved"),
    (gone(**saved(ready=False)), {}, RESTS, NOW + LATE, ConditionStatus.FALSE, Reason.SAVING, "are being saved"),
    (gone(**saved(ready=False)), {}, RESTS, NOW + LATE + TICK, ConditionStatus.FALSE, Reason.STUCK, "administrator"),
    (gone(**saved()), {FIRST: Absent()}, RESTS, NOW, ConditionStatus.FALSE, Reason.DATA_MISSING, f"{FIRST}, which held"),
    (gone(**saved()), {FIRST: Unreadable(DOWN)}, RESTS, NOW, ConditionStatus.UNKNOWN, Reason.UNREADABLE, "not answer"),
    (person(**two(saved_in="")), BOTH, RUNS, NOW, ConditionStatus.TRUE, Reason.SAVED, "own disk"),
    (gone(absent_for=KEPT, **saved()), {FIRST: READY}, Absent(), NOW, ConditionStatus.FALSE, Reason.REMOVED, "deleted"),
    (
        gone(**two(saved_in=""), not_before=NOW + TICK), BOTH, RESTS, NOW,
        ConditionStatus.FALSE, Reason.SNAPSHOT_FAILED, "tries again",
    ),
    (gone(**two(saved_in=""), not_before=NOW), BOTH, RESTS, NOW, ConditionStatus.TRUE, Reason.SAVED, "own disk"),
]  # fmt: skip


@pytest.mark.parametrize(("record", "snapshots", "sight", "now", "condition", "reason", "text"), SAID)
def test_what_is_said_of_the_files(record, snapshots, sight, now, condition, reason, text):
    step = kept_of(record, snapshots, sight=sight, now=now)
    assert (step.condition, step.reason) == (condition, reason)
    assert text in step.message
    assert step.message.endswith(".")


instances = st.sampled_from(
    [Absent(), NotLooked(), Unreadable(DOWN), *(notebook(state) for state in NotebookState), notebook(uid="another")]
)
records = st.builds(
    lambda make, ago, hold, status, former, restoring, busy: replace(
        make(
            absent_for=ago,
            **status,
            operation=busy,
            former=Former(instance_id=INSTANCE, zone="z", uid="u") if former else None,
            restoring=Restoring(snapshot=FIRST, instance_uid=UID, asked_at=NOW) if restoring else None,
        ),
        hold=hold,
    ),
    st.sampled_from([lambda **s: person(Presence.ABSENT, Power.STOPPED, **s), person]),
    st.sampled_from([timedelta(0), RETENTION, KEPT - TICK, KEPT, KEPT + TICK]),
    st.none() | st.just(HELD),
    st.sampled_from(
        [saved(), saved(ready=False), two(), two(newer_ready=False), two(saved_in=""), two(saved_in=FIRST)]
    ),
    st.booleans(),
    st.booleans(),
    st.none() | st.just(operation(Verb.STOP)),
)


@given(records, instances, sights, sights)
def test_the_last_copy_is_never_deleted_before_its_time(record, sight, first, second):
    step = kept_of(record, {FIRST: first, SECOND: second}, sight=sight)
    names = deleted(step)
    if not names:
        return
    assert record.hold is None
    assert record.status.notebook.former is None
    assert record.status.data.restoring is None
    on_disk = isinstance(sight, type(RUNS)) and sight.state in {
        NotebookState.ACTIVE,
        NotebookState.STOPPED,
        NotebookState.SUSPENDED,
    }
    if record.spec.presence is Presence.ABSENT:
        is_over = record.spec.absent_since + KEPT <= NOW
        assert isinstance(sight, Absent) if is_over and not on_disk else on_disk
        if not (is_over and isinstance(sight, Absent)):
            # An older one goes only when the files are in another that is known to be whole.
            assert is_saved(record)
            assert record.status.data.saved_in not in names
    else:
        assert on_disk
        assert record.status.data.saved_in not in names
