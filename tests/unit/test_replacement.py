"""Bringing files onto another instance: asked for once, one name after the other, the former deleted only when it is done with."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.making import ANA, NOW, RETENTION, UID, ZONES, notebook, operation, person, policy, saved, seen, snapshot_seen
from msgspec.structs import replace

from shared.domain.notebook.actions import CreateInstance, DeleteInstance, RestoreData, StopInstance
from shared.domain.notebook.differences import Change, Difference, digest
from shared.domain.notebook.replacement import former_step, go_back, is_to_restore, replace_step, restore_step
from shared.domain.notebook.rollback import after_refused_restore
from shared.domain.notebook.states import observed_step
from shared.domain.plan.plan import OperationSeen
from shared.domain.plan.step import Scene
from shared.domain.record.record import Hold, Power, Presence
from shared.domain.record.status import ConditionStatus, Verb
from shared.domain.snapshot.actions import CreateSnapshot
from shared.domain.things.errors import AccessDeniedError, CloudUnavailableError, OperationFailedError, Reason
from shared.domain.things.identity import instance_id_for
from shared.domain.things.notebook import Absent, InstanceRef, NotebookState, NotLooked, Unreadable
from shared.domain.things.snapshots import Former, RestoreWish, Restoring, Rollback, SnapshotState

S = NotebookState
INSTANCE = instance_id_for(ANA)
NAME = saved()["saved_in"]
NEW = "11111111-1111-5111-8111-111111111111"
FRESH = notebook(S.ACTIVE, uid=NEW)
TICK, POLL = timedelta(seconds=1), timedelta(seconds=60)
KEPT = timedelta(days=90)
HELD = Hold(reason="case 1", since=NOW)
DOWN = CloudUnavailableError(user_message="down", detail="503", retry_after=timedelta(minutes=9))
DENIED = AccessDeniedError(user_message="no", detail="403")
ASKED = Restoring(snapshot=NAME, instance_uid=NEW, asked_at=NOW - timedelta(minutes=3))
RESTORE = operation(Verb.RESTORE)


def scene_of(record, sight, *, snapshots=None, op=None, former=None, ready=True, now=NOW):
    observed = seen(sight, op, record=record)
    observed = replace(observed, former=former if former is not None else NotLooked())
    if snapshots is not None:
        observed = replace(observed, snapshots=snapshots)
    return Scene(seen=observed, policy=policy(snapshot_retention=KEPT), now=now, identity_ready=ready)


# --- restoring


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, False),
        (saved(), True),  # of the disk that was before this one
        (saved(NEW), False),
        ({**saved(), "saved_in": ""}, False),
        ({**saved(), "saved_in": "lost"}, False),
    ],
)
def test_what_is_to_be_brought_back(status, expected):
    assert is_to_restore(person(**status), FRESH) is expected


def restored(*, op=None, sight=None, now=NOW, **status):
    record = person(**{**saved(), **status})
    snapshots = {NAME: sight if sight is not None else snapshot_seen(NAME)}
    return restore_step(record, FRESH, scene_of(record, FRESH, snapshots=snapshots, op=op, now=now))


@pytest.mark.parametrize(
    ("presence", "reason"), [(Presence.PRESENT, Reason.RESTORING), (Presence.ABSENT, Reason.STOPPING)]
)
def test_a_leaver_whose_notebook_is_stopping_is_not_told_of_files_that_are_brought_back(presence, reason):
    record = person(presence, Power.STOPPED, restoring=ASKED, was_active=True)
    sight = notebook(S.STOPPING, uid=NEW)
    assert observed_step(record, sight, scene_of(record, sight)).reason is reason


@pytest.mark.parametrize(
    ("error", "failures", "is_hurt", "target"),
    [
        (DENIED, 0, True, "before"),  # for good: the disk may hold neither state
        (DOWN, 0, True, "wished"),
        (DOWN, 99, True, "before"),
        (DENIED, 0, False, None),  # nothing was changed: the wish has ended
    ],
)
def test_a_restore_that_is_refused_goes_back_only_if_the_disk_was_touched(error, failures, is_hurt, target):
    wish = RestoreWish(snapshot="wished", asked_at=NOW)
    begun = Rollback(wish=wish, instance_uid=NEW, begun_at=NOW, before="before", failures=failures, is_hurt=is_hurt)
    found = after_refused_restore(person(rollback=begun, restoring=ASKED), error, NOW).status.data.rollback
    assert (None if found is None else found.target) == target
    if found is not None and found.goes_back:
        again = after_refused_restore(person(rollback=replace(found, failures=0)), DOWN, NOW).status.data.rollback
        assert again.target == target, "once it goes back, it goes on going back"


def test_a_restore_is_noted_before_it_is_asked_for():
    step = restored()
    assert step.actions == (RestoreData(ref=FRESH.ref, snapshot=NAME),)
    assert step.record.status.data.restoring == Restoring(snapshot=NAME, instance_uid=NEW, asked_at=NOW)
    assert (step.condition, step.reason, step.requeue_after) == (ConditionStatus.FALSE, Reason.RESTORING, POLL)
    assert step.record.status.data.saved_in == NAME  # until it is done


def test_one_that_is_done_is_not_asked_for_again():
    assert restored(restoring=ASKED, op=OperationSeen(ref=RESTORE, done=True)) is None


@pytest.mark.parametrize(
    "marker",
    [None, replace(ASKED, snapshot="another"), replace(ASKED, instance_uid="another")],
)
def test_an_operation_that_is_not_our_restore_says_nothing(marker):
    step = restored(restoring=marker, op=OperationSeen(ref=RESTORE, done=True))
    assert [type(action) for action in step.actions] == [RestoreData]


@pytest.mark.parametrize("verb", [Verb.START, Verb.STOP])
def test_the_end_of_another_operation_is_not_that_of_the_restore(verb):
    """A leaver's pass stopped the instance in the moment in which the restore was refused: the files are not there."""
    step = restored(restoring=ASKED, op=OperationSeen(ref=operation(verb, started=NOW), done=True))
    assert (step.actions, step.record.status.data.saved_in, step.record.status.data.restoring) == ((), NAME, ASKED)
    assert (step.reason, step.requeue_after) == (Reason.RESTORING, POLL)


def test_one_that_failed_is_asked_for_again():
    failed = OperationSeen(ref=RESTORE, done=True, error=OperationFailedError(user_message="x", detail="x"))
    assert [type(action) for action in restored(restoring=ASKED, op=failed).actions] == [RestoreData]


def test_one_that_was_never_heard_is_asked_for_again():
    """The marker was saved and the process died before the call: no operation is found."""
    assert [type(action) for action in restored(restoring=ASKED, op=NotLooked()).actions] == [RestoreData]


@pytest.mark.parametrize(("error", "at_least"), [(DOWN, timedelta(minutes=9)), (DENIED, timedelta(minutes=5))])
@pytest.mark.parametrize("where", ["op", "sight"])
def test_what_cannot_be_read_is_never_written_over(error, at_least, where):
    step = restored(restoring=ASKED, **{where: Unreadable(error)})
    assert (step.actions, step.reason) == ((), Reason.RESTORING)
    assert at_least <= step.requeue_after <= at_least * 1.25


@pytest.mark.parametrize("sight", [Absent(), snapshot_seen(NAME, SnapshotState.FAILED)], ids=["gone", "failed"])
def test_a_snapshot_that_is_gone_or_failed_leaves_nothing_to_bring_back(sight):
    assert restored(sight=sight) is None


@pytest.mark.parametrize("state", sorted(set(SnapshotState) - {SnapshotState.READY, SnapshotState.FAILED}))
def test_a_snapshot_that_is_not_ready_is_waited_for(state):
    step = restored(sight=snapshot_seen(NAME, state))
    assert (step.actions, step.requeue_after) == ((), POLL * 10)


def test_a_refused_restore_waits_for_its_time():
    assert restored(not_before=NOW + TICK).requeue_after == TICK
    assert restored(not_before=NOW + TICK).actions == ()
    assert restored(not_before=NOW).actions


# --- replacing

LARGER = Difference(what="data disk", have="PD of 100 GB", want="PD of 500 GB", change=Change.REPLACE)
RESTS = notebook(S.STOPPED)
SAID = "data disk PD of 100 GB to PD of 500 GB (replace, files kept)"


def replaced(record, *, ready=True, now=NOW, snapshots=None):
    return replace_step(record, RESTS, (LARGER,), scene_of(record, RESTS, ready=ready, now=now, snapshots=snapshots))


def test_the_files_are_saved_first():
    step = replaced(person())
    assert [type(action) for action in step.actions] == [CreateSnapshot]
    assert (step.reason, step.record.status.notebook.naming, step.record.status.notebook.former) == (
        Reason.REPLACING,
        1,
        None,
    )
    assert step.because[0] == f"To be replaced: {SAID}."
    assert step.record.status.notebook.instance_id == INSTANCE


@pytest.mark.parametrize(("naming", "name"), [(1, f"{INSTANCE}-2"), (2, f"{INSTANCE}-3"), (999, f"{INSTANCE}-2")])
def test_then_another_is_created_under_the_next_name(naming, name):
    step = replaced(person(naming=naming, attempts=3, built_from={"image": "old"}, **saved()))
    (action,) = step.actions
    assert isinstance(action, CreateInstance)
    assert (action.spec.instance_id, action.zone) == (name, ZONES[0])
    status = step.record.status
    assert status.notebook.former == Former(instance_id=INSTANCE, zone=ZONES[0], uid=UID, built_from={"image": "old"})
    assert (status.notebook.instance_id, status.notebook.naming, status.notebook.refused, status.data.saved_in) == (
        name,
        naming + 1,
        digest((LARGER,)),
        NAME,
    )
    assert (
        status.attempts,
        status.notebook.instance_uid,
        status.notebook.was_active,
        status.notebook.power_settled,
    ) == (0, "", False, False)
    assert status.notebook.built_from["data disk"] == "PD_BALANCED of 100 GB"
    assert (step.condition, step.reason) == (ConditionStatus.FALSE, Reason.REPLACING)


def test_nothing_is_replaced_before_its_time_or_without_the_account():
    waiting = replaced(person(not_before=NOW + TICK, **saved()))
    assert (waiting.actions, waiting.requeue_after) == ((), TICK)
    without = replaced(person(**saved()), ready=False)
    assert (without.actions, without.reason, without.record.status.notebook.naming) == ((), Reason.WAITING, 1)


def test_a_replacement_that_cannot_be_built_gives_back_what_was():
    record = replaced(person(**saved())).record.with_status(
        operation=operation(Verb.CREATE), failed_zones=ZONES, attempts=2, not_before=NOW
    )
    remnant = notebook(S.PROVISIONING, uid=NEW, ref=InstanceRef(instance_id=f"{INSTANCE}-2", zone=ZONES[1]))
    for seen_, left in (
        (None, None),
        (remnant, Former(instance_id=f"{INSTANCE}-2", zone=ZONES[1], uid=NEW, is_remnant=True)),
    ):
        status = go_back(record, seen_).status
        assert (status.notebook.instance_id, status.notebook.zone, status.notebook.instance_uid) == (
            INSTANCE,
            ZONES[0],
            UID,
        )
        assert status.notebook.former == left
        assert (
            status.notebook.operation,
            status.notebook.failed_zones,
            status.attempts,
            status.notebook.not_before,
        ) == (None, (), 0, None)
        assert (status.notebook.was_active, status.notebook.power_settled, status.notebook.built_from) == (
            True,
            False,
            {},
        )
        assert (status.notebook.naming, status.notebook.refused, status.data.saved_in) == (
            2,
            digest((LARGER,)),
            NAME,
        )  # not tried again, no name twice


def test_there_must_be_something_to_go_back_to():
    with pytest.raises(AssertionError):
        go_back(person(), None)


# --- the former

FORMER = Former(instance_id=INSTANCE, zone=ZONES[0], uid=UID)
OLD = notebook(S.STOPPED)
DONE = {"naming": 2, "instance_id": f"{INSTANCE}-2", "former": FORMER}


def former_of(record, former, *, sight=FRESH):
    return former_step(record, scene_of(record, sight, former=former), record.status.notebook.former)


def kinds(result):
    return [type(action) for action in result[1]]


def test_no_former_no_step():
    record = person()
    assert former_of(record, OLD) == (record, (), None, ())


@pytest.mark.parametrize(
    ("sight", "looked_at"),
    [
        (NotLooked(), FORMER),
        (Absent(), None),  # this very plan made it the former one: the sight is of nothing
        (OLD, None),
        (Absent(), replace(FORMER, uid=NEW)),  # the sight is of the one before
        (replace(OLD, uid=NEW), replace(FORMER, uid=NEW)),
    ],
)
def test_a_sight_of_another_says_nothing(sight, looked_at):
    record = person(**DONE)
    assert former_step(record, scene_of(record, FRESH, former=sight), looked_at) == (record, (), POLL, ())


def test_one_that_cannot_be_read_is_left():
    record = person(**DONE)
    assert former_of(record, Unreadable(DENIED)) == (record, (), POLL, ())


@pytest.mark.parametrize("sight", [Absent(), replace(OLD, uid="another's")])
def test_one_that_is_gone_is_forgotten(sight):
    record, actions, wait, because = former_of(person(**DONE), sight)
    assert (record.status.notebook.former, actions, wait, because) == (None, (), None, ())


def test_one_that_somebody_started_is_stopped_and_kept():
    record, actions, wait, because = former_of(person(**DONE), replace(OLD, state=S.ACTIVE))
    assert actions == (StopInstance(ref=OLD.ref),)
    assert record.status.notebook.former == replace(FORMER, touched=True)
    assert (wait, len(because)) == (POLL, 1)
    assert kinds(former_of(record, OLD)) == []  # never deleted on its own any more


@pytest.mark.parametrize("state", [s for s in S if s not in {S.ACTIVE, S.STOPPED, S.SUSPENDED}])
def test_one_on_its_way_is_waited_for(state):
    record = person(**DONE)
    assert former_of(record, replace(OLD, state=state)) == (record, (), POLL, ())


@pytest.mark.parametrize("state", S)
@pytest.mark.parametrize("hold", [None, HELD])
def test_a_remnant_goes_whatever_it_does(state, hold):
    record = replace(person(**{**DONE, "former": replace(FORMER, is_remnant=True)}), hold=hold)
    assert kinds(former_of(record, replace(OLD, state=state))) == [DeleteInstance]


VERIFIED = [
    # status, what there is in its place, deleted
    ({}, FRESH, True),
    ({}, replace(FRESH, state=S.STOPPED), True),
    ({}, replace(FRESH, state=S.SUSPENDED), True),
    ({"power_settled": False}, FRESH, True),
    ({"power_settled": False}, replace(FRESH, state=S.STOPPED), False),  # never seen to run
    ({}, replace(FRESH, state=S.PROVISIONING), False),
    ({}, replace(FRESH, state=S.STOPPING), False),
    ({}, Absent(), False),
    ({}, Unreadable(DOWN), False),
    ({}, NotLooked(), False),
    ({"restoring": ASKED}, FRESH, False),
    ({"operation": RESTORE}, FRESH, False),
    (saved(), FRESH, False),  # the files are still to be brought back
    (saved(NEW), FRESH, True),
]


@pytest.mark.parametrize(("status", "sight", "deleted"), VERIFIED)
@pytest.mark.parametrize("state", [S.STOPPED, S.SUSPENDED])
@pytest.mark.parametrize(("touched", "hold"), [(False, None), (True, None), (False, HELD)])
def test_it_is_deleted_only_when_the_new_one_is_verified(status, sight, deleted, state, touched, hold):
    own = {"settled": status["power_settled"]} if "power_settled" in status else {}
    rest = {key: value for key, value in status.items() if key != "power_settled"}
    record = replace(person(**own, **{**DONE, "former": replace(FORMER, touched=touched), **rest}), hold=hold)
    result = former_of(record, replace(OLD, state=state), sight=sight)
    expected = deleted and not touched and hold is None
    assert kinds(result) == ([DeleteInstance] if expected else [])
    assert result[2] == (POLL if expected else None)
    assert result[0] is record
    if expected:
        assert result[1][0].ref == OLD.ref


@pytest.mark.parametrize(
    ("touched", "ago", "hold", "deleted"),
    [
        (False, RETENTION - TICK, None, False),
        (False, RETENTION, None, True),
        (False, RETENTION, HELD, False),
        (True, RETENTION, None, False),
        (True, KEPT - TICK, None, False),
        (True, KEPT, None, True),
        (True, KEPT, HELD, False),
    ],
)
@pytest.mark.parametrize("sight", [Absent(), FRESH])
def test_a_leavers_former_is_kept_as_long_as_what_it_may_hold(touched, ago, hold, deleted, sight):
    status = {**DONE, "former": replace(FORMER, touched=touched)}
    record = replace(person(Presence.ABSENT, Power.STOPPED, absent_for=ago, **status), hold=hold)
    assert kinds(former_of(record, OLD, sight=sight)) == ([DeleteInstance] if deleted else [])


def test_a_leaver_without_an_end_keeps_it():
    record = person(Presence.ABSENT, Power.STOPPED, absent_for=KEPT * 2, **DONE)
    record = replace(record, spec=replace(record.spec, absent_since=None))
    assert kinds(former_of(record, OLD)) == []


def test_deleting_the_former_is_another_request_than_deleting_the_present():
    record = person(**DONE)
    (action,) = former_of(record, OLD)[1]
    other = former_of(person(**{**DONE, "former": replace(FORMER, uid=NEW)}), replace(OLD, uid=NEW))[1][0]
    assert action.request_id != other.request_id


everything = st.sampled_from([Absent(), NotLooked(), Unreadable(DOWN), *(notebook(s, uid=NEW) for s in S)])


@given(
    everything,
    everything,
    st.sampled_from([{}, saved(), saved(NEW), saved(ready=False)]),
    st.booleans(),
    st.none() | st.just(ASKED),
    st.none() | st.just(RESTORE),
    st.none() | st.just(HELD),
    st.booleans(),
)
def test_the_former_is_never_deleted_before_the_files_are_elsewhere(
    former, sight, status, settled, marker, op, hold, touched
):
    named = replace(FORMER, uid=NEW, touched=touched)
    record = person(settled=settled, **{**DONE, "former": named}, **status, restoring=marker, operation=op)
    result = former_of(replace(record, hold=hold), former, sight=sight)
    if DeleteInstance not in kinds(result):
        return
    assert former.state in {S.STOPPED, S.SUSPENDED}
    assert (hold, marker, op, touched) == (None, None, None, False)
    assert sight.state is S.ACTIVE or (sight.state in {S.STOPPED, S.SUSPENDED} and settled)
    assert record.status.snapshot(record.status.data.saved_in) is None or status == saved(NEW)


@given(everything, st.sampled_from(Presence), st.booleans())
def test_nobody_has_two_that_run(former, presence, touched):
    power = Power.RUNNING if presence is Presence.PRESENT else Power.STOPPED
    record = person(presence, power, **{**DONE, "former": replace(FORMER, uid=NEW, touched=touched)})
    result = former_of(record, former)
    if former == notebook(S.ACTIVE, uid=NEW):
        assert kinds(result) == [StopInstance]
        assert result[0].status.notebook.former.touched
    else:
        assert StopInstance not in kinds(result)
