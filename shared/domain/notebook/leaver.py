"""The instance of a user who is not entitled: stopped at once, files saved, kept for the retention, then deleted.

The order follows rule R9 of docs/architecture.md: access ends first, and data is deleted last. The steps that end access in
other ways (account, templates, clusters) are planned separately, so that a failure in one step does not block another.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec.structs import replace

from shared.domain.notebook.actions import DeleteInstance, StopInstance
from shared.domain.notebook.creation import lost_note
from shared.domain.plan.plan import request_id
from shared.domain.plan.step import Scene, Step
from shared.domain.record.record import UserRecord
from shared.domain.record.status import ConditionStatus, Verb
from shared.domain.snapshot.copies import newest_ready
from shared.domain.snapshot.step import Saving, is_paused, kept_elsewhere, retention_end, save_data
from shared.domain.things.errors import Reason
from shared.domain.things.notebook import Absent, InstanceRef, ObservedNotebook
from shared.domain.things.snapshots import SnapshotSeen, SnapshotState

_PAUSED = "The account is suspended. The notebook is stopped and kept with its files until the suspension ends."
_UNDECIDED = "Access is about to end for many people at once. The notebook is stopped and kept with its files until an administrator decides."


def stop(record: UserRecord, ref: InstanceRef, because: tuple[str, ...], why: str, scene: Scene) -> Step:
    """Return a step that stops a running instance. `why` is shown to the user, if it is not empty."""
    return Step(
        record=record,
        actions=(StopInstance(ref=ref),),
        condition=ConditionStatus.FALSE,
        reason=Reason.STOPPING,
        message=f"{why[:1].upper()}{why[1:].rstrip('.')}. The notebook is being stopped.".removeprefix(". "),
        requeue_after=scene.policy.poll,
        because=because,
    )


def delete(record: UserRecord, ref: InstanceRef, reason: Reason, message: str, because: tuple[str, ...]) -> Step:
    """Return a step that deletes the instance with its disks; `reason` and `message` give the cause."""
    return Step(
        record=record,
        actions=(DeleteInstance(ref=ref, request_id=request_id(record, Verb.DELETE)),),
        condition=ConditionStatus.FALSE,
        reason=reason,
        message=message,
        requeue_after=timedelta(seconds=60),
        because=because,
    )


def retained(record: UserRecord, notebook: ObservedNotebook, scene: Scene) -> Step:
    """Return the step for a leaver's stopped instance: its files are saved, and it is deleted after the retention.

    It is not deleted while there is a hold, while the account is suspended, or before an administrator decided about the cut.
    """
    record = _with_source(record.with_status(power_settled=True), notebook, scene)
    is_elsewhere = _is_elsewhere(record, notebook)
    saving = kept_elsewhere(record, notebook, scene) if is_elsewhere else save_data(record, notebook, scene)
    record = saving.record
    ends = (record.spec.absent_since or scene.now) + scene.policy.retention
    if not saving.done:
        return _saving(saving, ends, scene)
    record = record.with_status(attempts=0, not_before=None)
    if record.hold is not None:
        return _on_hold(record)
    if is_paused(record):
        return Step(
            record=record,
            condition=ConditionStatus.FALSE,
            reason=Reason.RETAINED,
            message=_paused(record),
            requeue_after=ends - scene.now if ends > scene.now else None,
        )
    if ends <= scene.now:
        since = record.spec.absent_since
        because = (
            f"Not entitled since {since:%Y-%m-%d}; the retention is over." if since is not None else "Not entitled."
        )
        message = "The retention is over; the notebook is deleted. The files are in a snapshot."
        return delete(record, notebook.ref, Reason.DELETING, message, (because,))
    return Step(
        record=record,
        condition=ConditionStatus.FALSE,
        reason=Reason.RETAINED,
        message=_kept_until(record, ends, scene),
        requeue_after=ends - scene.now,
    )


def _is_elsewhere(record: UserRecord, notebook: ObservedNotebook) -> bool:
    """Return True if only a snapshot of an earlier instance has the files, because they were not restored onto this one."""
    holds = record.status.snapshot(record.status.data.saved_in)
    return holds is not None and holds.instance_uid != notebook.uid


def _with_source(record: UserRecord, notebook: ObservedNotebook, scene: Scene) -> UserRecord:
    """Return the record with the newest READY snapshot as the source of the files, if the snapshot of an earlier instance is lost.

    Without a READY snapshot, only the disk of this instance still has data.
    """
    sight = scene.seen.snapshots.get(record.status.data.saved_in)
    has_failed = isinstance(sight, SnapshotSeen) and sight.state is SnapshotState.FAILED
    if not _is_elsewhere(record, notebook) or not (isinstance(sight, Absent) or has_failed):
        return record
    return record.with_status(saved_in=newest_ready(record, scene), restoring=None)


def _saving(saving: Saving, ends: datetime, scene: Scene) -> Step:
    step = Step(
        record=saving.record,
        actions=saving.actions,
        condition=ConditionStatus.FALSE,
        reason=Reason.RETAINED,
        message=_kept_until(saving.record, ends, scene),
        requeue_after=saving.requeue_after,
        because=saving.because,
    )
    if saving.record.hold is None:
        return step
    held = _on_hold(saving.record)
    return replace(step, reason=held.reason, message=held.message)


def _kept_until(record: UserRecord, ends: datetime, scene: Scene) -> str:
    if is_paused(record):
        return _paused(record)
    last = max(ends, retention_end(record, scene) or ends)
    return f"Access has ended. The notebook is kept until {ends:%Y-%m-%d %H:%M} UTC, its files until {last:%Y-%m-%d %H:%M} UTC."


def _paused(record: UserRecord) -> str:
    return _UNDECIDED if record.is_undecided else _PAUSED


def _on_hold(record: UserRecord) -> Step:
    hold = record.hold
    if hold is None:  # the caller excludes this
        raise AssertionError("not on hold")
    return Step(
        record=record,
        condition=ConditionStatus.FALSE,
        reason=Reason.ON_HOLD,
        message=f"Access has ended. The data is on hold since {hold.since:%Y-%m-%d} ({hold.reason}) and is "
        "kept until it is released.",
        because=("On hold: nothing is deleted, even after the retention.",),
    )


def gone(record: UserRecord, scene: Scene) -> Step:
    """Return the step for a missing instance; a snapshot may still hold the files of its disk."""
    snapshots = bool(record.status.data.snapshots)
    if (
        record.status.notebook.was_active and not snapshots
    ):  # nothing of ours deletes an instance before its files are saved
        record = record.with_status(lost_at=scene.now, files_of=None)
    elif record.status.notebook.was_active and not record.status.data.saved_in:
        record = record.with_status(saved_in=newest_ready(record, scene))
        newest = record.status.snapshot(record.status.data.saved_in)
        record = record.with_status(lost_at=scene.now, files_of=newest.ready_at if newest is not None else None)
    removed = record.with_status(
        operation=None,
        was_active=False,
        instance_uid="",
        proxy_uri="",
        not_before=None,
        attempts=0,
        power_settled=True,
        restoring=None,
        built_from={},
        refused="",
        refused_spec="",
        wrong_zones=(),
        offered_zones=(),
        unwell_since=None,
        dormancy=None,
    )
    if not snapshots:
        return Step(
            record=removed,
            condition=ConditionStatus.FALSE,
            reason=Reason.REMOVED if record.status.notebook.instance_id is not None else Reason.NOT_ENTITLED,
            message=f"There is no notebook.{lost_note(record, scene.now)}",
        )
    end = retention_end(record, scene)
    until = (
        "until it is released from hold"
        if record.hold is not None
        else f"until {end:%Y-%m-%d %H:%M} UTC"
        if end
        else (
            "until an administrator approves the end of access"
            if record.is_undecided
            else "as long as the account is suspended"
        )
        if is_paused(record)
        else ""
    )
    return Step(
        record=removed,
        condition=ConditionStatus.FALSE,
        reason=Reason.ON_HOLD if record.hold is not None else Reason.RETAINED,
        message=f"Access has ended. The notebook is deleted; its files are kept in a snapshot {until}.".replace(
            " .", "."
        ),
    )
