"""The step for saved files: it saves data disks before deletions, and deletes snapshots after their retention.

A disk counts as saved if its snapshot was observed as READY and its manifest is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TypedDict

from msgspec import Struct
from msgspec.structs import replace

from shared.domain.people.entitlement import Cause
from shared.domain.plan.plan import Action, SnapshotSight
from shared.domain.plan.step import Scene, Step, backoff, patience
from shared.domain.record.record import Presence, UserRecord
from shared.domain.record.status import ConditionStatus, ConditionType
from shared.domain.snapshot.actions import CreateSnapshot, DeleteSnapshot, WriteManifest
from shared.domain.snapshot.warned import is_warned, wait_for_warned
from shared.domain.things.errors import Reason
from shared.domain.things.identity import label_value
from shared.domain.things.notebook import (
    LABEL_COST_CENTER,
    LABEL_MANAGED_BY,
    MANAGED_BY,
    RESTING,
    Absent,
    InstanceRef,
    NotebookState,
    ObservedNotebook,
    Unreadable,
)
from shared.domain.things.snapshots import (
    Snapshot,
    SnapshotKind,
    SnapshotSeen,
    SnapshotState,
    snapshot_labels,
    snapshot_name,
)

_LOOK_AGAIN = timedelta(minutes=5)


class Saving(Struct, frozen=True, kw_only=True):
    """The progress of saving a disk: `done`, or the actions to take and the wait until the next pass."""

    record: UserRecord
    done: bool
    actions: tuple[Action, ...] = ()
    requeue_after: timedelta | None = None
    because: tuple[str, ...] = ()


def save_data(
    record: UserRecord, notebook: ObservedNotebook, scene: Scene, kind: SnapshotKind = SnapshotKind.LAST
) -> Saving:
    """Return the progress of saving the data disk of a stopped instance in a snapshot of that kind.

    Saving counts as done only if the snapshot is READY now and its manifest is written.
    """
    snapshot = record.status.snapshot(record.status.data.saved_in)
    if snapshot is None or snapshot.instance_uid != notebook.uid:
        return _ask(record, notebook, scene, kind)
    sight = scene.seen.snapshots.get(snapshot.name, Absent())
    match sight:
        case Unreadable():
            return Saving(record=record, done=False, requeue_after=patience(record, sight.error, _LOOK_AGAIN))
        case Absent() if snapshot.ready_at is not None:  # deleted from outside; the disk still exists
            return _ask(record.with_status(saved_in=""), notebook, scene, kind)
        case Absent() if (wait := _held_for(record, scene)) is not None:
            return Saving(record=record, done=False, requeue_after=wait)
        case Absent():
            action = CreateSnapshot(**creation_of(record, snapshot))
            because = ("The snapshot was requested but does not exist.",)
            return Saving(
                record=record, done=False, actions=(action,), requeue_after=scene.policy.poll, because=because
            )
        case SnapshotSeen(state=SnapshotState.READY):
            return _ready(record, snapshot, sight, notebook, scene)
        case SnapshotSeen(state=SnapshotState.FAILED):
            return _failed(record, scene.now)
        case SnapshotSeen():
            return Saving(record=record, done=False, requeue_after=scene.policy.poll)


def kept_elsewhere(record: UserRecord, notebook: ObservedNotebook, scene: Scene) -> Saving:
    """Return the progress of saving files that only a snapshot of an earlier instance has: done once its manifest is written."""
    snapshot = record.status.snapshot(record.status.data.saved_in)
    sight = scene.seen.snapshots.get(record.status.data.saved_in)
    if snapshot is None or not isinstance(sight, SnapshotSeen) or sight.state is not SnapshotState.READY:
        return Saving(record=record, done=False, requeue_after=timedelta(hours=1))
    return _ready(record, snapshot, sight, notebook, scene)


def _held_for(record: UserRecord, scene: Scene) -> timedelta | None:
    """Return the wait before another snapshot is requested after a refusal or failure; None if no wait is due."""
    not_before = record.status.notebook.not_before
    return not_before - scene.now if not_before is not None and not_before > scene.now else None


def _ask(record: UserRecord, notebook: ObservedNotebook, scene: Scene, kind: SnapshotKind) -> Saving:
    wait = _held_for(record, scene)
    if wait is not None:
        return Saving(record=record, done=False, requeue_after=wait)
    record, snapshot = with_named(record, notebook.ref, notebook.uid, kind, scene.now)
    record = record.with_status(saved_in=snapshot.name)
    return Saving(
        record=record,
        done=False,
        actions=(CreateSnapshot(**creation_of(record, snapshot)),),
        requeue_after=scene.policy.poll,
        because=("The files are saved in a snapshot before anything is deleted.",),
    )


def with_named(
    record: UserRecord, ref: InstanceRef, uid: str, kind: SnapshotKind, now: datetime
) -> tuple[UserRecord, Snapshot]:
    """Return the record with one more named snapshot of an instance's disk, and the snapshot. No number is used twice."""
    number = record.status.data.snapshots_taken + 1
    snapshot = Snapshot(
        name=snapshot_name(ref.instance_id, number, kind),
        instance_id=ref.instance_id,
        zone=ref.zone,
        instance_uid=uid,
        asked_at=now,
        kind=kind,
    )
    return record.with_status(snapshots=(*record.status.data.snapshots, snapshot), snapshots_taken=number), snapshot


class Creation(TypedDict):
    """The fields of the request for a snapshot."""

    name: str
    source: InstanceRef
    labels: Mapping[str, str]


def creation_of(record: UserRecord, snapshot: Snapshot) -> Creation:
    """Return the request for a snapshot. Its labels contain the user's key, never an address."""
    carries = {LABEL_MANAGED_BY: MANAGED_BY}
    if record.cost_center:
        carries[LABEL_COST_CENTER] = label_value(record.cost_center)
    return Creation(
        name=snapshot.name,
        source=InstanceRef(instance_id=snapshot.instance_id, zone=snapshot.zone),
        labels=snapshot_labels(record.user_key, snapshot.instance_id, carries),
    )


def _ready(
    record: UserRecord, snapshot: Snapshot, seen: SnapshotSeen, notebook: ObservedNotebook, scene: Scene
) -> Saving:
    if snapshot.ready_at is None or not snapshot.spec:
        snapshot = replace(as_ready(snapshot, seen, scene.now), spec=_spec_of(notebook, record, snapshot))
        record = with_snapshot(record, snapshot)
    if snapshot.manifest:
        return Saving(record=record, done=True)
    action = WriteManifest(snapshot=snapshot)
    because = ("The snapshot is ready; its manifest is written.",)
    return Saving(record=record, done=False, actions=(action,), requeue_after=scene.policy.poll, because=because)


def as_ready(snapshot: Snapshot, seen: SnapshotSeen, now: datetime) -> Snapshot:
    """Return the snapshot with the values of its first observation as READY: time, sizes and id."""
    return replace(
        snapshot,
        ready_at=snapshot.ready_at or now,
        size_bytes=seen.size_bytes,
        disk_size_gb=seen.disk_size_gb,
        snapshot_id=seen.snapshot_id,
    )


def _spec_of(notebook: ObservedNotebook, record: UserRecord, snapshot: Snapshot) -> dict[str, str]:
    """Return the properties of the instance and its disk, for the manifest. No value contains an address."""
    image = notebook.image
    return {
        "id": snapshot.instance_id,
        "uid": snapshot.instance_uid,
        "zone": snapshot.zone,
        "profile": record.spec.profile or "",
        "machine_type": notebook.machine_type,
        "image": f"{image.project}/{image.family or image.name}" if image is not None else "",
        "data_disk": f"{notebook.data_disk.type} {notebook.data_disk.size_gb} GB" if notebook.data_disk else "",
    }


def with_snapshot(record: UserRecord, snapshot: Snapshot) -> UserRecord:
    """Return the record with this snapshot in place of the snapshot of the same name."""
    kept = tuple(snapshot if s.name == snapshot.name else s for s in record.status.data.snapshots)
    return record.with_status(snapshots=kept)


def _failed(record: UserRecord, now: datetime) -> Saving:
    attempts = record.status.attempts + 1
    wait = backoff(attempts, at_least=timedelta(minutes=5), spread_by=record.user_key)
    record = record.with_status(saved_in="", attempts=attempts, not_before=now + wait)
    because = ("The snapshot failed; nothing is deleted, and another is taken later.",)
    return Saving(record=record, done=False, requeue_after=wait, because=because)


def keeping_step(record: UserRecord, scene: Scene) -> Step:
    """Return a step that deletes snapshots that are no longer needed. The condition tells where the files are saved."""
    record = _with_losses(record, scene)
    status = record.status
    actions: list[Action] = []
    coming = [each for each in status.data.snapshots if _may_come(each, scene)]
    waits = [each.asked_at + scene.policy.confirm_absence_after - scene.now for each in coming]
    because: list[str] = []
    for snapshot in status.data.snapshots:
        sight = scene.seen.snapshots.get(snapshot.name)  # None: requested in this pass
        why = _why_over(record, snapshot, scene)
        if sight is None or why is None or snapshot in coming:
            continue
        match sight:
            case Unreadable():
                waits.append(patience(record, sight.error, _LOOK_AGAIN))
            case Absent():
                if snapshot.manifest:
                    actions.append(WriteManifest(snapshot=snapshot, deleted_at=scene.now))
                else:
                    record = without_snapshot(record, snapshot)
            case SnapshotSeen(state=SnapshotState.DELETING):
                waits.append(scene.policy.poll)
            case SnapshotSeen():
                actions.append(DeleteSnapshot(name=snapshot.name))
                because.append(why)
                if snapshot.name == status.data.saved_in:
                    record = record.with_status(saved_in="")
    if actions:
        waits.append(scene.policy.poll)
    end = retention_end(record, scene)
    if record.spec.presence is Presence.ABSENT and end is not None and end > scene.now and record.hold is None:
        waits.append(end - scene.now)
    waits += wait_for_warned(record, scene)
    condition, reason, message = _say(record, scene)
    return Step(
        record=record,
        actions=tuple(actions),
        condition=condition,
        reason=reason,
        message=message,
        requeue_after=min(waits, default=None),
        because=tuple(because),
    )


def _with_losses(record: UserRecord, scene: Scene) -> UserRecord:
    """Return the record with missing snapshots marked as lost, and without snapshots that never had data.

    A sweep then need not examine these snapshots again. The copies of an entitled user are left as they are.
    """
    for snapshot in record.status.data.snapshots:
        if not isinstance(scene.seen.snapshots.get(snapshot.name), Absent):
            continue
        if snapshot.is_copy and record.spec.presence is Presence.PRESENT:
            continue
        if snapshot.ready_at is not None:
            record = with_snapshot(record, replace(snapshot, lost=True))
        elif _may_come(snapshot, scene):
            continue
        elif snapshot.name != record.status.data.saved_in or isinstance(scene.seen.notebook, Absent):
            # The snapshot failed and was deleted. Another snapshot took its place, or the disk is gone and no snapshot can.
            record = without_snapshot(record, snapshot)
    return record


def _may_come(snapshot: Snapshot, scene: Scene) -> bool:
    """Return True for a missing snapshot that may still be created, because it was recorded only a short time ago.

    The pass that recorded the snapshot may not have requested it yet. If the record forgot the snapshot, it would stay in the
    cloud for ever.
    """
    is_absent = isinstance(scene.seen.snapshots.get(snapshot.name), Absent)
    asked_now = scene.now - snapshot.asked_at < scene.policy.confirm_absence_after
    return is_absent and asked_now and snapshot.ready_at is None


def is_paused(record: UserRecord) -> bool:
    """Return True if nothing may be deleted, because access has ended only for a suspension or without an approval."""
    if record.is_undecided:
        return True
    return record.spec.presence is Presence.ABSENT and record.spec.cause is Cause.ACCOUNT_SUSPENDED


def retention_end(record: UserRecord, scene: Scene) -> datetime | None:
    """Return the end of the retention of a leaver's snapshots; None for an entitled user, or while paused."""
    since = None if is_paused(record) else record.spec.absent_since
    return None if since is None else since + scene.policy.snapshot_retention


def without_snapshot(record: UserRecord, snapshot: Snapshot) -> UserRecord:
    """Return the record without this snapshot."""
    kept = tuple(s for s in record.status.data.snapshots if s.name != snapshot.name)
    saved_in = "" if record.status.data.saved_in == snapshot.name else record.status.data.saved_in
    return record.with_status(snapshots=kept, saved_in=saved_in)


def without_deleted(record: UserRecord, name: str) -> UserRecord:
    """Return the record after the manifest of a deleted snapshot was written."""
    snapshot = record.status.snapshot(name)
    return record if snapshot is None else without_snapshot(record, snapshot)


def _why_over(record: UserRecord, snapshot: Snapshot, scene: Scene) -> str | None:
    """Return the reason why this snapshot is no longer needed, in words; None while the snapshot is needed."""
    if record.hold is not None or record.status.notebook.former is not None or record.status.data.restoring is not None:
        return None
    if snapshot.is_copy and record.spec.presence is Presence.PRESENT:
        return None  # `shared.domain.snapshot.copies` decides
    notebook = scene.seen.notebook
    if record.spec.presence is Presence.ABSENT:
        end = retention_end(record, scene)
        is_over = end is not None and end <= scene.now
        if is_over and isinstance(notebook, Absent) and is_warned(record, scene):
            return f"The retention of snapshot {snapshot.name} is over."
        if snapshot.is_copy:
            return None
    elif not record.status.notebook.power_settled:
        return None  # a pass that was planned before the user came back may still delete the disk
    if snapshot.name == record.status.data.saved_in:
        return None
    settled = isinstance(notebook, ObservedNotebook) and notebook.state in RESTING | {NotebookState.ACTIVE}
    if not settled or record.status.notebook.operation is not None:
        return None
    newest = record.status.snapshot(record.status.data.saved_in)
    if isinstance(notebook, ObservedNotebook) and newest is not None and newest.instance_uid != notebook.uid:
        return None  # the files are not on this disk yet: an older copy is needed if the newest is lost
    if record.status.data.saved_in and not is_saved(record):
        return None  # a newer snapshot is on its way; until then this may be the last one with data
    if record.spec.presence is Presence.ABSENT and not record.status.data.saved_in:
        return None
    return f"Snapshot {snapshot.name} is older than the files on the disk."


def is_saved(record: UserRecord) -> bool:
    """Return True if the record says that the data disk is in a snapshot that was READY, with its manifest."""
    snapshot = record.status.snapshot(record.status.data.saved_in)
    return snapshot is not None and snapshot.ready_at is not None and snapshot.manifest


def is_kept(record: UserRecord, scene: Scene) -> bool:
    """Return True if this pass observed the snapshot of the data disk as READY, and its manifest is written."""
    sight = scene.seen.snapshots.get(record.status.data.saved_in)
    return is_saved(record) and isinstance(sight, SnapshotSeen) and sight.state is SnapshotState.READY


def _say(record: UserRecord, scene: Scene) -> tuple[ConditionStatus, Reason, str]:
    status = record.status
    snapshot = status.snapshot(status.data.saved_in)
    if snapshot is None:
        if status.notebook.not_before is not None and status.notebook.not_before > scene.now:
            return ConditionStatus.FALSE, Reason.SNAPSHOT_FAILED, "Saving the files failed; Benchkeeper tries again."
        end = retention_end(record, scene)
        if not status.data.snapshots and (end is None or end > scene.now):
            text = "The notebook was deleted from outside before its files were saved; nothing is kept."
            return ConditionStatus.FALSE, Reason.DATA_MISSING, text
        if isinstance(scene.seen.notebook, Absent):
            return ConditionStatus.FALSE, Reason.REMOVED, "The retention is over; the saved files are deleted."
        return ConditionStatus.TRUE, Reason.SAVED, "The files are on the notebook's own disk."
    sight: SnapshotSight | None = scene.seen.snapshots.get(snapshot.name)
    if isinstance(sight, Unreadable):
        return ConditionStatus.UNKNOWN, Reason.UNREADABLE, f"The snapshot could not be read. {sight.error.user_message}"
    if snapshot.ready_at is None:
        refused = status.condition(ConditionType.DATA_SAVED)
        if isinstance(sight, Absent) and _held_for(record, scene) is not None and refused is not None:
            return refused.status, refused.reason, refused.message  # nothing is being saved before the next attempt
        late = scene.now - snapshot.asked_at > scene.policy.stuck_after
        if late:
            return ConditionStatus.FALSE, Reason.STUCK, "Saving the files takes too long; an administrator should look."
        return ConditionStatus.FALSE, Reason.SAVING, "The files are being saved in a snapshot."
    if isinstance(sight, Absent):
        text = f"Snapshot {snapshot.name}, which held the files, is gone. An administrator should look."
        return ConditionStatus.FALSE, Reason.DATA_MISSING, text
    return (
        ConditionStatus.TRUE,
        Reason.SAVED,
        f"Saved at {snapshot.ready_at:%Y-%m-%d %H:%M} UTC in snapshot {snapshot.name}{_until(record, scene)}.",
    )


def _until(record: UserRecord, scene: Scene) -> str:
    end = retention_end(record, scene)
    if record.hold is not None:
        return ", on hold until it is released"
    if record.spec.presence is not Presence.ABSENT or end is None:
        return ""
    if end <= scene.now and not is_warned(record, scene):
        return ", kept until the last warning of its deletion was sent"
    return f", kept until {end:%Y-%m-%d %H:%M} UTC"
