"""The move of a user's files to another instance.

A move is needed if a new instance must get saved files, for example after the retention, or if a patch cannot make a change.
A replacement has these steps: stop the instance, save its files, create an instance under the next name, restore the files,
observe the new instance ACTIVE or stopped as wanted, and delete the predecessor. Benchkeeper never starts both instances, and
it keeps the predecessor until the new instance has all files.
"""

from __future__ import annotations

from datetime import timedelta

from msgspec.structs import replace

from shared.domain.notebook.actions import DeleteInstance, RestoreData, StopInstance
from shared.domain.notebook.creation import create_step, held
from shared.domain.notebook.differences import Difference, digest, say
from shared.domain.notebook.waiting import with_refusal
from shared.domain.plan.plan import Action, OperationSeen, request_id
from shared.domain.plan.step import VERB_TEXT, WHAT_STAYS, Scene, Step, patience, wait_for_identity
from shared.domain.record.record import Presence, UserRecord
from shared.domain.record.status import ConditionStatus, OperationRef, Verb
from shared.domain.snapshot.copies import newest_ready
from shared.domain.snapshot.step import is_kept, is_paused, save_data
from shared.domain.things.errors import Reason
from shared.domain.things.identity import next_instance_id
from shared.domain.things.notebook import RESTING, Absent, NotebookState, NotLooked, ObservedNotebook, Unreadable
from shared.domain.things.snapshots import Former, Restoring, SnapshotSeen, SnapshotState

_OTHERS = frozenset({Verb.CREATE, Verb.DELETE, Verb.START, Verb.STOP})
_SKEW = timedelta(seconds=30)  # between Google's clock and this machine's


def is_to_restore(record: UserRecord, notebook: ObservedNotebook) -> bool:
    """Return True if the user's files are in a snapshot of another instance, but not yet on this instance."""
    snapshot = record.status.snapshot(record.status.data.saved_in)
    return snapshot is not None and snapshot.instance_uid != notebook.uid


def may_be_restore(operation: OperationRef, asked: Restoring) -> bool:
    """Return True for an operation that may be the requested restore.

    The API does not document the verb of a restore. So all operations count except creations, deletions, starts and stops,
    and except those that started more than 30 seconds before the request.
    """
    return operation.verb not in _OTHERS and operation.started_at >= asked.asked_at - _SKEW


def restore_step(record: UserRecord, notebook: ObservedNotebook, scene: Scene) -> Step | None:
    """Return a step that restores the files onto an instance that is ACTIVE or stopped, or that waits for the restore.

    Return None if nothing is left to restore.
    """
    name = record.status.data.saved_in
    sight = scene.seen.snapshots.get(name, Absent())
    marker = record.status.data.restoring
    asked = marker if marker is not None and (marker.snapshot, marker.instance_uid) == (name, notebook.uid) else None
    operation = scene.seen.operation
    if asked is not None and isinstance(operation, OperationSeen) and operation.done and operation.error is None:
        # After another operation the restore is still waited for: a second restore would undo the user's later work.
        return None if may_be_restore(operation.ref, asked) else _waiting(record, scene.policy.poll)
    for unread in (operation, sight):
        if isinstance(unread, Unreadable):
            return _waiting(record, patience(record, unread.error, timedelta(minutes=5)))
    has_failed = isinstance(sight, SnapshotSeen) and sight.state is SnapshotState.FAILED
    # The snapshot is lost, or its disk was deleted meanwhile: an older snapshot is better than none.
    if isinstance(sight, Absent) or has_failed:
        older = record.with_status(saved_in=newest_ready(record, scene), restoring=None)
        return restore_step(older, notebook, scene) if is_to_restore(older, notebook) else None
    if not isinstance(sight, SnapshotSeen) or sight.state is not SnapshotState.READY:
        return _waiting(record, scene.policy.poll * 10)
    wait = held(record, scene)
    if wait is not None:
        return wait
    record = record.with_status(restoring=Restoring(snapshot=name, instance_uid=notebook.uid, asked_at=scene.now))
    return replace(
        _waiting(record, scene.policy.poll),
        actions=(RestoreData(ref=notebook.ref, snapshot=name),),
        because=(f"The person's files are in snapshot {name}.",),
    )


def _waiting(record: UserRecord, wait: timedelta) -> Step:
    return Step(
        record=record,
        condition=ConditionStatus.FALSE,
        reason=Reason.RESTORING,
        message=VERB_TEXT[Verb.RESTORE],
        requeue_after=wait,
    )


def replace_step(record: UserRecord, notebook: ObservedNotebook, wanted: tuple[Difference, ...], scene: Scene) -> Step:
    """Return the step that saves the files of a stopped instance or, once the files are saved, creates the replacement.

    The replacement gets the next name. The step only waits if an earlier failure forbids an attempt now, or if the user's own
    account is not ready.
    """
    wait = held(record, scene)
    if wait is not None:
        return wait
    if not scene.identity_ready:
        return wait_for_identity(record, scene.policy)
    saving = save_data(record, notebook, scene)
    record = saving.record
    because = f"To be replaced: {say(wanted)}."
    if not saving.done:
        return Step(
            record=record,
            actions=saving.actions,
            condition=ConditionStatus.FALSE,
            reason=Reason.REPLACING,
            message=f"Your notebook is being replaced; the files are saved first. {WHAT_STAYS}",
            requeue_after=saving.requeue_after,
            because=(because, *saving.because),
        )
    status = record.status
    record = record.with_status(
        former=Former(
            instance_id=notebook.ref.instance_id,
            zone=notebook.ref.zone,
            uid=notebook.uid,
            built_from=status.notebook.built_from,
        ),
        naming=status.notebook.naming + 1,
        instance_id=next_instance_id(record.user_key, status.notebook.naming + 1),
        refused=digest(wanted),  # provisional: cleared once the new instance is as wanted
        attempts=0,
    )
    step = create_step(record, scene, (because, "The files are saved."))
    return replace(step, reason=Reason.REPLACING)


def go_back(record: UserRecord, remnant: ObservedNotebook | None) -> UserRecord:
    """Return the record with the predecessor as the present instance again, because the replacement cannot be created.

    The predecessor still has all files. A remnant of the replacement takes the place of `former`, so that it is deleted.
    """
    former = record.status.notebook.former
    if former is None:  # the caller excludes this
        raise AssertionError("there is nothing to go back to")
    left = None
    if remnant is not None:
        ref = remnant.ref
        left = Former(instance_id=ref.instance_id, zone=ref.zone, uid=remnant.uid, is_remnant=True)
    return with_refusal(record).with_status(
        instance_id=former.instance_id,
        zone=former.zone,
        instance_uid=former.uid,
        former=left,
        operation=None,
        was_active=True,
        power_settled=False,
        built_from=former.built_from,
        failed_zones=(),
        wrong_zones=(),
        offered_zones=(),
        refused_spec="",
        attempts=0,
        not_before=None,
    )


def former_step(
    record: UserRecord, scene: Scene, looked_at: Former | None
) -> tuple[UserRecord, tuple[Action, ...], timedelta | None, tuple[str, ...]]:
    """Return the record, the actions on the predecessor, the time until its next pass (None: it needs none), and the reasons.

    `looked_at` is the predecessor that was observed. The record may name another, because this plan can make another
    instance the predecessor.
    """
    former = record.status.notebook.former
    seen = scene.seen.former
    if former is None:
        return record, (), None, ()
    if looked_at is None or looked_at.uid != former.uid or isinstance(seen, NotLooked):
        return record, (), scene.policy.poll, ()
    if isinstance(seen, Unreadable):
        return record, (), scene.policy.poll, ()
    if isinstance(seen, Absent) or seen.uid != former.uid:
        return record.with_status(former=None), (), None, ()
    if seen.state is NotebookState.ACTIVE and not former.is_remnant:
        # It was started from outside: new data on it is in no snapshot, so it is not deleted automatically any more.
        record = record.with_status(former=replace(former, touched=True))
        because = "The former instance runs although it was replaced: a user has only one notebook."
        return record, (StopInstance(ref=seen.ref),), scene.policy.poll, (because,)
    if seen.state not in RESTING and not former.is_remnant:
        return record, (), scene.policy.poll, ()
    if not _is_done_with(record, scene):
        return record, (), None, ()
    action = DeleteInstance(ref=seen.ref, request_id=request_id(record, Verb.DELETE, former.uid))
    return record, (action,), scene.policy.poll, ("The files are on the new instance; the former one is deleted.",)


def _is_done_with(record: UserRecord, scene: Scene) -> bool:
    """Return True if the predecessor may be deleted: its files are not needed any more, and no hold or pause keeps it."""
    status = record.status
    if status.notebook.former is None:
        return False
    if status.notebook.former.is_remnant:
        return True
    if record.hold is not None:
        return False
    notebook = scene.seen.notebook
    if record.spec.presence is Presence.ABSENT:
        # The predecessor may be the last to hold the files; data written on it later is in no snapshot at all.
        alone = status.notebook.former.touched or (bool(status.data.saved_in) and not is_kept(record, scene))
        if is_paused(record):
            return False
        since = record.spec.absent_since
        retention = scene.policy.snapshot_retention if alone else scene.policy.retention
        return since is not None and since + retention <= scene.now
    if status.notebook.former.touched or status.data.restoring is not None or status.notebook.operation is not None:
        return False
    if not isinstance(notebook, ObservedNotebook) or is_to_restore(record, notebook):
        return False
    return notebook.state is NotebookState.ACTIVE or (notebook.state in RESTING and status.notebook.power_settled)
