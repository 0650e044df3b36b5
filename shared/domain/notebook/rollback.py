"""The restore that a user requested: the files of a copy replace the present ones on the same instance.

The machine is stopped, so that nothing is written meanwhile. The present files are saved in a snapshot. Once this snapshot
is READY, the data disk is restored. So a failed restore loses neither the present files nor the files of the copy: until the
end, both are on the disk or in a READY snapshot, unless somebody deletes a snapshot. `restoring` is set before the restore
is sent, as in `shared.domain.notebook.replacement`; `Rollback` names the snapshot to restore.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec.structs import replace

from shared.domain.notebook.actions import RestoreData
from shared.domain.notebook.creation import held
from shared.domain.notebook.leaver import stop
from shared.domain.notebook.replacement import may_be_restore
from shared.domain.plan.plan import OperationSeen, SnapshotSight
from shared.domain.plan.step import RESTORING_TEXT, WHAT_IS_RESTORED, Scene, Step, patience
from shared.domain.record.copies import UNDO_FOR
from shared.domain.record.record import UserRecord
from shared.domain.record.status import ConditionStatus
from shared.domain.snapshot.step import save_data
from shared.domain.things.errors import BenchkeeperError, PermanentError, Reason
from shared.domain.things.notebook import Absent, NotebookState, ObservedNotebook, Unreadable
from shared.domain.things.snapshots import (
    Restored,
    RestoreEnd,
    Restoring,
    Rollback,
    SnapshotKind,
    SnapshotSeen,
    SnapshotState,
)

_SAVED_WITHIN = timedelta(minutes=30)  # if Google does not begin to save the present files by then, nothing is restored
_SAVED_AT_LAST = timedelta(hours=6)  # a large disk that was never saved before takes a while
_TRIES = 3  # attempts before the files from before are put back
_MANY = 6  # failed attempts after which an administrator must look
_LOOK_AGAIN = timedelta(minutes=5)
_TOLD_FOR = timedelta(days=1)
_ON_ITS_WAY = frozenset({SnapshotState.CREATING, SnapshotState.UPLOADING, SnapshotState.READY})
_GONE = frozenset({SnapshotState.FAILED, SnapshotState.DELETING})
_ENDS = {
    RestoreEnd.COPY_GONE: "The copy that you wanted back does not exist any more, so nothing was changed.",
    RestoreEnd.NOT_SAVED: "Your present files could not be saved first, so nothing was restored and nothing was changed.",
    RestoreEnd.REFUSED: "Google Cloud refused to restore the copy; your files are as they were. An administrator should look.",
    RestoreEnd.PUT_BACK: "Restoring the copy failed, and your files from before it were put back. An administrator should look.",
}


def rollback_step(record: UserRecord, notebook: ObservedNotebook, scene: Scene) -> tuple[UserRecord, Step | None]:
    """Return the record and the next step of a requested restore of an instance that is ACTIVE or stopped.

    The step is None if no restore is under way, or if the restore has just ended.
    """
    record = _begun(record, notebook, scene.now)
    rollback = record.status.data.rollback
    if rollback is None:
        return record, None
    marker = record.status.data.restoring
    asked = marker if marker is not None and (marker.snapshot, marker.instance_uid) == _now(rollback) else None
    operation, sight = scene.seen.operation, _sight(rollback.target, scene)
    if asked is not None and isinstance(operation, OperationSeen) and operation.done and operation.error is None:
        if not may_be_restore(operation.ref, asked):
            return record, _waiting(record, scene.policy.poll)
        end = RestoreEnd.PUT_BACK if rollback.goes_back else RestoreEnd.DONE
        return _ended(record, end, scene.now), None
    for unread in (operation, sight):
        if isinstance(unread, Unreadable):
            return record, _waiting(record, patience(record, unread.error, _LOOK_AGAIN))
    if not isinstance(sight, SnapshotSeen) or sight.state in _GONE:
        return _without_target(record, rollback, scene)
    if not _is_ready(sight) and not rollback.is_hurt:  # not known to be gone: nothing is stopped for it yet
        if scene.now - rollback.begun_at > _SAVED_WITHIN:
            return _ended(record, RestoreEnd.REFUSED, scene.now), None
        return record, _waiting(record, _LOOK_AGAIN)
    if not rollback.before:
        record, step = _save(record, rollback, notebook, scene)
        rollback = record.status.data.rollback
        if step is not None or rollback is None:
            return record, step
    return _restore(record, rollback, notebook, scene)


def _now(rollback: Rollback) -> tuple[str, str]:
    return rollback.target, rollback.instance_uid


def _sight(name: str, scene: Scene) -> SnapshotSight:
    return scene.seen.snapshots.get(name, Absent())


def _is_ready(sight: SnapshotSight) -> bool:
    return isinstance(sight, SnapshotSeen) and sight.state is SnapshotState.READY


def _begun(record: UserRecord, notebook: ObservedNotebook, now: datetime) -> UserRecord:
    """Return the record with the restore that its user requests now.

    A restore that may have been sent to this instance is not replaced by another before it ends.
    """
    data, wish = record.status.data, record.spec.restore
    rollback = data.rollback
    if rollback is not None:
        is_sent = data.restoring is not None or rollback.is_hurt
        if rollback.instance_uid != notebook.uid:  # the instance was lost, and another got the files
            record = record.with_status(rollback=None)
        elif rollback.wish != wish and not is_sent:  # access ended in between, and began again
            record = record.with_status(rollback=None, saved_in="")
        else:
            return record
    if wish is None or (data.restored is not None and data.restored.wish == wish):
        return record
    return record.with_status(rollback=Rollback(wish=wish, instance_uid=notebook.uid, begun_at=now))


def _without_target(record: UserRecord, rollback: Rollback, scene: Scene) -> tuple[UserRecord, Step | None]:
    """Return the record and the step if the snapshot to restore is missing.

    If the disk was not changed yet, the restore ends and the step is None. Otherwise the restore goes on with the other
    snapshot: the requested copy, or the files from before. If that snapshot is not READY, the step asks for an administrator.
    """
    if not rollback.is_hurt:
        return _ended(record, RestoreEnd.COPY_GONE, scene.now), None
    other = rollback.wish.snapshot if rollback.goes_back else rollback.before
    if _is_ready(_sight(other, scene)):
        turned = replace(rollback, goes_back=not rollback.goes_back)
        return record, _waiting(record.with_status(rollback=turned, restoring=None), scene.policy.poll)
    step = _waiting(record, _LOOK_AGAIN)
    text = "Both copies of the files are gone after a restore that failed. An administrator should look."
    return record, replace(step, reason=Reason.DATA_MISSING, message=text)


def _save(
    record: UserRecord, rollback: Rollback, notebook: ObservedNotebook, scene: Scene
) -> tuple[UserRecord, Step | None]:
    """Return the record and the step that stops the machine or saves the present files.

    The step is None if the files are saved, or if the restore ends because the files could not be saved in time.
    """
    if notebook.state is NotebookState.ACTIVE:
        # Not settled: it must end in a running notebook again.
        record = record.with_status(power_settled=False, saved_in="")
        why = "Files will be restored; the present files are saved first."
        return record, stop(record, notebook.ref, ("A restore of files was requested.",), why, scene)
    saved_in = record.status.data.saved_in
    saving = save_data(record, notebook, scene, SnapshotKind.BEFORE)
    if saving.done:
        saved = saving.record
        return saved.with_status(rollback=replace(rollback, before=saved.status.data.saved_in)), None
    waited, sight = scene.now - rollback.begun_at, _sight(saved_in, scene)
    is_on_its_way = isinstance(sight, SnapshotSeen) and sight.state in _ON_ITS_WAY
    is_unknown = isinstance(sight, Unreadable)
    if waited > _SAVED_AT_LAST or (saved_in and waited > _SAVED_WITHIN and not is_on_its_way and not is_unknown):
        return _ended(record, RestoreEnd.NOT_SAVED, scene.now), None
    step = Step(
        record=saving.record,
        actions=saving.actions,
        condition=ConditionStatus.FALSE,
        reason=Reason.RESTORING,
        message=f"Your present files are being saved before older files replace them. {WHAT_IS_RESTORED}",
        requeue_after=saving.requeue_after,
        because=("A restore of files was requested.", *saving.because),
    )
    return saving.record, step


def _restore(
    record: UserRecord, rollback: Rollback, notebook: ObservedNotebook, scene: Scene
) -> tuple[UserRecord, Step | None]:
    """Return the record and the step that waits, stops the machine, or sends the restore.

    The restore is sent once both snapshots are READY. If an earlier restore was sent or may have damaged the disk, only the
    snapshot to restore must be READY.
    """
    kept, target = _sight(rollback.before, scene), _sight(rollback.target, scene)
    if isinstance(kept, Unreadable):
        return record, _waiting(record, patience(record, kept.error, _LOOK_AGAIN))
    if not _is_ready(target):
        return record, _waiting(record, _LOOK_AGAIN)
    is_used = notebook.state is NotebookState.ACTIVE
    if not rollback.is_hurt and record.status.data.restoring is None and (is_used or not _is_ready(kept)):
        # Started again, or its snapshot was deleted: what is on the disk now is in no snapshot.
        record = record.with_status(rollback=replace(rollback, before=""), saved_in="")
        return record, _waiting(record, scene.policy.poll)
    wait = held(record, scene)
    if wait is not None:
        return record, wait
    if is_used:
        because = "The disk is restored while the machine is stopped."
        return record, stop(record, notebook.ref, (because,), "Files are being restored.", scene)
    marker = Restoring(snapshot=rollback.target, instance_uid=notebook.uid, asked_at=scene.now)
    record = record.with_status(restoring=marker)
    step = replace(
        _waiting(record, scene.policy.poll),
        actions=(RestoreData(ref=notebook.ref, snapshot=rollback.target),),
        because=("A restore of files was requested.", f"The present files are in snapshot {rollback.before}."),
    )
    return record, step


def left_during(record: UserRecord, notebook: ObservedNotebook, scene: Scene) -> UserRecord:
    """Return the record of a leaver whose instance is stopped, with the result of a restore that was under way.

    If the restore was observed to succeed, it has ended, and the disk has the requested files. If the restore failed after
    it began, the disk may be damaged: the snapshot from before the restore is then used as the user's files.
    """
    data, operation = record.status.data, scene.seen.operation
    rollback, marker = data.rollback, data.restoring
    if rollback is None or rollback.instance_uid != notebook.uid:
        return record
    asked = marker if marker is not None and (marker.snapshot, marker.instance_uid) == _now(rollback) else None
    done = operation if isinstance(operation, OperationSeen) and operation.done and operation.error is None else None
    if asked is not None and done is not None and may_be_restore(done.ref, asked):
        return _ended(record, RestoreEnd.PUT_BACK if rollback.goes_back else RestoreEnd.DONE, scene.now)
    if rollback.is_hurt and not data.saved_in:
        return record.with_status(saved_in=rollback.before)
    return record


def _waiting(record: UserRecord, wait: timedelta) -> Step:
    rollback = record.status.data.rollback
    is_late = rollback is not None and rollback.failures >= _MANY
    return Step(
        record=record,
        condition=ConditionStatus.FALSE,
        reason=Reason.STUCK if is_late else Reason.RESTORING,
        message="Restoring the files has failed several times; an administrator should look."
        if is_late
        else RESTORING_TEXT,
        requeue_after=wait,
    )


def _ended(record: UserRecord, end: RestoreEnd, now: datetime) -> UserRecord:
    """Return the record after the end of the restore. The snapshot of the replaced files is kept for a week.

    If this restore replaced no files, the previous restore can still be undone.
    """
    data = record.status.data
    rollback, last = data.rollback, data.restored
    if rollback is None:  # the callers exclude this
        raise AssertionError("no restore is under way")
    chosen = record.status.snapshot(rollback.wish.snapshot)
    is_done = end is RestoreEnd.DONE
    restored = Restored(
        wish=rollback.wish,
        of=chosen.asked_at if chosen is not None else None,
        end=end,
        ended_at=now,
        before=rollback.before if is_done else last.before if last is not None else "",
        undo_until=now + UNDO_FOR if is_done else last.undo_until if last is not None else None,
    )
    return record.with_status(
        rollback=None, restoring=None, restored=restored, saved_in="", is_copied=False, not_before=None, attempts=0
    )


def after_refused_save(record: UserRecord, error: BenchkeeperError, now: datetime) -> UserRecord | None:
    """Return the record after the cloud permanently refused to save the present files.

    Return None if no restore waits for the save, or if the error is not permanent.
    """
    rollback = record.status.data.rollback
    if rollback is None or rollback.before or not isinstance(error, PermanentError):
        return None
    return _ended(record, RestoreEnd.NOT_SAVED, now)


def after_refused_restore(record: UserRecord, error: BenchkeeperError, now: datetime) -> UserRecord:
    """Return the record after the cloud refused the request to restore, which changed nothing.

    After a permanent refusal or the third failure, the restore ends. If an earlier attempt may have damaged the disk, the
    files from before are restored instead.
    """
    rollback = record.status.data.rollback
    if rollback is None:
        return record
    failures = rollback.failures + 1
    is_over = isinstance(error, PermanentError) or failures >= _TRIES
    record = record.with_status(restoring=None)
    if is_over and not rollback.is_hurt:
        return _ended(record, RestoreEnd.REFUSED, now)
    return record.with_status(
        rollback=replace(rollback, failures=failures, goes_back=rollback.goes_back or is_over),
    )


def after_failed_restore(record: UserRecord, error: BenchkeeperError) -> tuple[UserRecord, bool]:
    """Return the record after a restore that began and failed, and True if the files from before must be restored now."""
    rollback = record.status.data.rollback
    if rollback is None:
        return record, False
    failures = rollback.failures + 1
    turns = not rollback.goes_back and (isinstance(error, PermanentError) or failures >= _TRIES)
    changed = replace(rollback, failures=failures, is_hurt=True, goes_back=rollback.goes_back or turns)
    return record.with_status(rollback=changed), turns


def failed_note(record: UserRecord, now: datetime) -> str:
    """Return a text that says why the last restore failed; "" if none failed, or if it ended at least a day ago."""
    last = record.status.data.restored
    if last is None or last.is_done or now - last.ended_at >= _TOLD_FOR:
        return ""
    return f" {_ENDS[last.end]}"
