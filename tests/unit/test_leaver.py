"""Somebody who is not entitled: stopped, saved, kept to the second, deleted; under a hold only kept."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.making import NOW, RETENTION, UID, notebook, person, policy, saved, seen, snapshot_seen
from msgspec.structs import replace

from shared.domain.notebook.actions import DeleteInstance, StopInstance
from shared.domain.notebook.leaver import gone, retained, stop
from shared.domain.plan.step import Scene
from shared.domain.record.record import Hold, Power, Presence
from shared.domain.record.status import ConditionStatus
from shared.domain.snapshot.actions import CreateSnapshot, WriteManifest
from shared.domain.things.errors import Reason
from shared.domain.things.identity import instance_id_for
from shared.domain.things.notebook import Absent, NotebookState
from shared.domain.things.snapshots import Restoring, SnapshotState

RESTS = notebook(NotebookState.STOPPED)
TICK = timedelta(seconds=1)
KEPT = timedelta(days=90)
HELD = Hold(reason="case 1", since=NOW - timedelta(days=2))
NAME = saved()["saved_in"]


def leaver(*, absent_for=timedelta(days=1), hold=None, **status):
    return replace(person(Presence.ABSENT, Power.STOPPED, absent_for=absent_for, **status), hold=hold)


def scene_of(record, *, state=SnapshotState.READY, kept=KEPT):
    observed = replace(seen(RESTS, record=record), snapshots={NAME: snapshot_seen(NAME, state)})
    return Scene(seen=observed, policy=policy(snapshot_retention=kept), now=NOW)


def kinds(step):
    return [type(action) for action in step.actions]


def test_a_stop_says_why():
    record = leaver()
    step = stop(record, RESTS.ref, ("Because.",), "access has ended.", scene_of(record))
    assert step.actions == (StopInstance(ref=RESTS.ref),)
    assert step.message == "Access has ended. The notebook is being stopped."
    assert (step.condition, step.reason) == (ConditionStatus.FALSE, Reason.STOPPING)
    assert (step.requeue_after, step.because) == (timedelta(seconds=60), ("Because.",))


@pytest.mark.parametrize(
    ("ago", "deletes"), [(timedelta(0), False), (RETENTION - TICK, False), (RETENTION, True), (RETENTION + TICK, True)]
)
def test_the_instance_is_deleted_when_the_retention_is_over_to_the_second(ago, deletes):
    record = leaver(absent_for=ago, **saved())
    step = retained(record, RESTS, scene_of(record))
    assert kinds(step) == ([DeleteInstance] if deletes else [])
    assert step.reason is (Reason.DELETING if deletes else Reason.RETAINED)
    if deletes:
        assert step.actions[0].ref == RESTS.ref
        assert step.because == (f"Not entitled since {NOW - ago:%Y-%m-%d}; the retention is over.",)
    else:
        assert step.requeue_after == RETENTION - ago


@pytest.mark.parametrize(
    ("status", "state", "action"),
    [
        ({}, SnapshotState.READY, CreateSnapshot),
        (saved(ready=False), SnapshotState.CREATING, None),
        (saved(manifest=False), SnapshotState.READY, WriteManifest),
        (saved(), SnapshotState.UNKNOWN, None),
        (saved(), SnapshotState.FAILED, None),
    ],
)
@pytest.mark.parametrize("hold", [None, HELD])
def test_however_long_ago_it_was_nothing_is_deleted_before_the_files_are_saved(status, state, action, hold):
    record = leaver(absent_for=RETENTION * 10, hold=hold, **status)
    step = retained(record, RESTS, scene_of(record, state=state))
    assert kinds(step) == ([action] if action else [])
    assert step.requeue_after is not None
    assert step.reason is (Reason.ON_HOLD if hold else Reason.RETAINED)
    assert ("on hold since 2026-11-21 (case 1)" in step.message) is (hold is not None)


@pytest.mark.parametrize("ago", [timedelta(0), RETENTION, KEPT * 4])
def test_a_hold_keeps_the_instance_for_ever(ago):
    record = leaver(absent_for=ago, hold=HELD, **saved())
    step = retained(record, RESTS, scene_of(record))
    assert (step.actions, step.requeue_after, step.reason) == ((), None, Reason.ON_HOLD)
    assert step.because == ("On hold: nothing is deleted, even after the retention.",)


@pytest.mark.parametrize(("kept", "until"), [(KEPT, KEPT), (timedelta(days=7), RETENTION)])
def test_until_when_the_data_is_kept_is_the_later_of_the_two(kept, until):
    record = leaver(**saved())
    step = retained(record, RESTS, scene_of(record, kept=kept))
    assert step.message.endswith(f"its files until {NOW - timedelta(days=1) + until:%Y-%m-%d %H:%M} UTC.")
    assert f"The notebook is kept until {NOW - timedelta(days=1) + RETENTION:%Y-%m-%d %H:%M} UTC" in step.message


def test_a_success_ends_the_count_of_failures():
    record = leaver(attempts=4, not_before=NOW + timedelta(hours=1), power_settled=False, **saved())
    status = retained(record, RESTS, scene_of(record)).record.status
    assert (status.attempts, status.notebook.not_before, status.notebook.power_settled) == (0, None, True)


@pytest.mark.parametrize(
    ("status", "does"),
    [(saved("the former disk"), DeleteInstance), (saved("the former disk", ready=False), WriteManifest)],
)
def test_files_that_never_came_onto_this_instance_are_not_saved_from_it_again(status, does):
    """Left before the restore: an empty disk must not be saved as the person's files. What holds them needs its manifest first."""
    record = leaver(absent_for=RETENTION, **status)
    step = retained(record, RESTS, scene_of(record))
    assert kinds(step) == [does]
    assert step.record.status.data.saved_in == NAME
    assert len(step.record.status.data.snapshots) == 1


def test_where_the_snapshot_is_gone_that_was_to_come_onto_this_instance_its_own_disk_is_saved():
    record = leaver(**saved("the former disk"))
    scene = scene_of(record)
    step = retained(record, RESTS, replace(scene, seen=replace(scene.seen, snapshots={NAME: Absent()})))
    assert kinds(step) == [CreateSnapshot]
    assert step.record.status.data.saved_in != NAME


def test_an_end_that_nobody_wrote_down_counts_from_now():
    record = leaver(**saved())
    record = replace(record, spec=replace(record.spec, absent_since=None))
    step = retained(record, RESTS, scene_of(record))
    assert (step.actions, step.requeue_after) == ((), RETENTION)


GONE = [
    # status, hold, reason, message
    ({}, None, Reason.REMOVED, "There is no notebook."),
    ({"instance_id": None}, None, Reason.NOT_ENTITLED, "There is no notebook."),
    (saved(), None, Reason.RETAINED, f"kept in a snapshot until {NOW + timedelta(days=89):%Y-%m-%d %H:%M} UTC."),
    (saved(), HELD, Reason.ON_HOLD, "kept in a snapshot until it is released from hold."),
    ({}, HELD, Reason.REMOVED, "There is no notebook."),
]


@pytest.mark.parametrize(("status", "hold", "reason", "message"), GONE)
def test_what_is_left_when_the_instance_is_gone(status, hold, reason, message):
    record = leaver(hold=hold, **status)
    step = gone(record, scene_of(record))
    assert (step.actions, step.condition, step.reason) == ((), ConditionStatus.FALSE, reason)
    assert step.message.endswith(message)


def test_the_record_forgets_the_instance_and_not_the_files():
    record = leaver(
        was_active=True,
        instance_uid=UID,
        proxy_uri="x",
        not_before=NOW,
        attempts=3,
        power_settled=False,
        restoring=Restoring(snapshot=NAME, instance_uid=UID, asked_at=NOW),
        built_from={"image": "x"},
        refused="x",
        **saved(),
    )
    before, after = record.status, gone(record, scene_of(record)).record.status
    assert after == before.changed(
        was_active=False,
        instance_uid="",
        proxy_uri="",
        not_before=None,
        attempts=0,
        power_settled=True,
        restoring=None,
        built_from={},
        refused="",
    )
    assert (after.data.snapshots, after.data.saved_in, after.notebook.instance_id) == (
        before.data.snapshots,
        NAME,
        instance_id_for(record.email),
    )


def test_a_snapshot_of_somebody_without_an_end_has_no_date():
    record = leaver(**saved())
    record = replace(record, spec=replace(record.spec, absent_since=None))
    assert gone(record, scene_of(record)).message.endswith("its files are kept in a snapshot.")


def test_where_nothing_is_known_nothing_is_there():
    record = leaver()
    scene = Scene(seen=seen(Absent(), record=record), policy=policy(), now=NOW)
    assert gone(record, scene).requeue_after is None


@given(
    st.timedeltas(timedelta(0), KEPT * 2),
    st.none() | st.just(HELD),
    st.sampled_from([{}, saved(), saved(ready=False), saved(manifest=False), saved("of another")]),
    st.sampled_from(SnapshotState),
)
def test_access_ends_first_and_data_last(ago, hold, status, state):
    record = leaver(absent_for=ago, hold=hold, **status)
    step = retained(record, RESTS, scene_of(record, state=state))
    assert {type(a) for a in step.actions} <= {CreateSnapshot, WriteManifest, DeleteInstance}
    assert len(step.actions) <= 1
    if DeleteInstance in kinds(step):
        assert hold is None
        assert ago >= RETENTION
        assert status["snapshots"][0].manifest
    assert step.condition is ConditionStatus.FALSE
