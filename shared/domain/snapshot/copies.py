"""The step for the copies of an entitled user's files: requested copies are taken, and old ones are deleted.

The idle sweep requests copies (`with_copy_asked`), a limited number in each sweep. A pass takes the requested copies, and
never requests a copy itself. A leaver's copies are kept until the retention is over (`shared.domain.snapshot.step`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from msgspec.structs import replace

from shared.domain.plan.plan import Action, Policy
from shared.domain.plan.step import A_DAY, Scene, Step, patience, slow_backoff
from shared.domain.record.copies import UNDO_FOR, dailies_of, next_copy_at
from shared.domain.record.record import Presence, UserRecord
from shared.domain.record.status import ConditionStatus, ConditionType
from shared.domain.snapshot.actions import DropCopy, SaveCopy
from shared.domain.snapshot.step import as_ready, creation_of, with_named, with_snapshot, without_snapshot
from shared.domain.things.errors import FOR_ADMINISTRATORS, BenchkeeperError, CloudUnavailableError, Reason
from shared.domain.things.notebook import (
    RESTING,
    Absent,
    InstanceRef,
    NotebookSight,
    NotebookState,
    ObservedNotebook,
    Unreadable,
)
from shared.domain.things.snapshots import Snapshot, SnapshotKind, SnapshotSeen, SnapshotState

_WITHIN = timedelta(hours=1)  # a copy that is not there by then does not come
_SLOW = timedelta(hours=6)  # the first copy of a large, full disk takes a while
_LOOK_AGAIN = timedelta(minutes=5)
_ORPHANED_FOR = timedelta(days=30)  # how long copies stay after their profile's `snapshots` was taken out
_MOST_OPEN = 3  # copies that Google has not finished; more are not asked for
_MANY = 3  # failures in a row after which an administrator must look


def to_look_at(
    record: UserRecord, notebook: NotebookSight, policy: Policy, now: datetime, *, thorough: bool
) -> tuple[str, ...]:
    """Return the names of the snapshots that a pass must read. A copy that is in order and not needed is not read.

    All snapshots are read for a leaver, if the instance is absent, while files are copied, saved or restored, and if
    `thorough`.
    """
    data = record.status.data
    if (
        thorough
        or record.spec.presence is Presence.ABSENT
        or isinstance(notebook, Absent)
        or data.saved_in
        or any(_is_open(s) for s in data.snapshots)
    ):
        return tuple(s.name for s in data.snapshots)
    needed = _named(record) | _over(record, policy, now).keys()
    return tuple(s.name for s in data.snapshots if not s.is_copy or s.name in needed)


def with_copy_asked(record: UserRecord, policy: Policy, now: datetime) -> UserRecord:
    """Return the record with one more requested copy; the same object if no copy is due now."""
    notebook, data = record.status.notebook, record.status.data
    profile = policy.catalog.profiles.get(record.spec.profile or "")
    due = next_copy_at(record.status, record.created_at)
    if (
        record.spec.presence is Presence.ABSENT
        or profile is None
        or profile.snapshots is None
        or due is None
        or due > now
        or notebook.instance_id is None
        or notebook.zone is None
        or notebook.operation is not None
        or _is_restoring(record)
        or sum(_is_open(s) for s in data.snapshots) >= _MOST_OPEN
    ):
        return record
    ref = InstanceRef(instance_id=notebook.instance_id, zone=notebook.zone)
    return with_named(record, ref, notebook.instance_uid, SnapshotKind.DAILY, now)[0]


def copies_step(record: UserRecord, scene: Scene) -> tuple[UserRecord, Step | None]:
    """Return the record, and the step that takes and deletes copies of an entitled user's files.

    The step is None for a leaver, and if there are neither copies nor failures.
    """
    if record.spec.presence is Presence.ABSENT:
        return record, None
    failures = record.status.data.copy_failures
    record = _observed(record, scene)
    data = record.status.data
    if not any(s.is_copy for s in data.snapshots) and not data.copy_failures:
        return record, None
    record, actions, waits = _taken(record, scene)
    record, drops, later = _dropped(record, scene)
    actions, waits = [*actions, *drops], [*waits, *later]
    status, reason, message = _say(record, scene, failed_now=record.status.data.copy_failures > failures)
    step = Step(
        record=record,
        actions=tuple(actions),
        condition=status,
        reason=reason,
        message=message,
        requeue_after=min(waits, default=None),
        because=("A copy of the files was requested.",) if any(isinstance(a, SaveCopy) for a in actions) else (),
    )
    return record, step


def with_refused_copy(record: UserRecord, name: str, error: BenchkeeperError, now: datetime) -> UserRecord:
    """Return the record after the cloud refused to take a copy. Another copy is taken later.

    If the cloud did not answer, the record still names the copy, because the copy may still appear.
    """
    snapshot = record.status.snapshot(name)
    if snapshot is None or isinstance(error, CloudUnavailableError):
        return record.with_status(is_copied=False)
    return _with_failure(without_snapshot(record, snapshot), now)


def newest_ready(record: UserRecord, scene: Scene) -> str:
    """Return the name of the newest snapshot that was observed as READY; "" if no snapshot was.

    After a requested restore, the restored files count as newer than the files that they replaced.
    """
    last = record.status.data.restored
    found: tuple[datetime, str] | None = None
    for snapshot in record.status.data.snapshots:
        sight = scene.seen.snapshots.get(snapshot.name)
        if not isinstance(sight, SnapshotSeen) or sight.state is not SnapshotState.READY:
            continue
        at = snapshot.asked_at
        if last is not None and last.is_done and last.wish.snapshot == snapshot.name:
            at = last.ended_at
        if found is None or at >= found[0]:
            found = (at, snapshot.name)
    return "" if found is None else found[1]


def _is_open(snapshot: Snapshot) -> bool:
    return snapshot.is_copy and snapshot.ready_at is None and not snapshot.lost


def _is_restoring(record: UserRecord) -> bool:
    """Return True if the content of the disk may be replaced soon, so that no copy is started."""
    data, wish = record.status.data, record.spec.restore
    is_asked = wish is not None and (data.restored is None or data.restored.wish != wish)
    return is_asked or data.rollback is not None or data.restoring is not None or bool(data.saved_in)


def _named(record: UserRecord) -> set[str]:
    """Return the names of the snapshots that a restore or its undo needs."""
    data, wish = record.status.data, record.spec.restore
    names = {data.saved_in, data.restoring.snapshot if data.restoring is not None else ""}
    if _is_restoring(record) and wish is not None:
        names.add(wish.snapshot)
    if data.rollback is not None:
        names |= {data.rollback.wish.snapshot, data.rollback.before}
    return names - {""}


def _protected(record: UserRecord, now: datetime) -> set[str]:
    """Return the names of snapshots that are kept regardless of their age: those that a restore, or its undo, needs."""
    names, last = _named(record), record.status.data.restored
    if last is not None and last.undo_until is not None and now < last.undo_until:
        names |= {last.before, last.wish.snapshot}
    return names


def _over(record: UserRecord, policy: Policy, now: datetime) -> Mapping[str, str]:
    """Return the names of the copies that are no longer needed, with the reason in words.

    Return no copies if there is a hold, for a leaver, and if the profile is unknown. Copies that a restore or its undo needs
    are left out.
    """
    profile = policy.catalog.profiles.get(record.spec.profile or "")
    if record.hold is not None or record.spec.presence is Presence.ABSENT or profile is None:
        return {}
    dailies = dailies_of(record.status)
    if profile.snapshots is None:
        old = tuple(s for s in dailies if s.asked_at + _ORPHANED_FOR <= now)
    else:
        old = dailies[: -profile.snapshots.keep]
    found = {s.name: f"Copy {s.name} is older than the copies that the profile keeps." for s in old}
    for s in record.status.data.snapshots:
        if s.lost and s.is_copy:
            found[s.name] = f"Copy {s.name} failed."
        elif s.kind is SnapshotKind.BEFORE and s.asked_at + UNDO_FOR <= now:
            found[s.name] = f"The restore that copy {s.name} was taken before cannot be undone any more."
    return {name: why for name, why in found.items() if name not in _protected(record, now)}


def _observed(record: UserRecord, scene: Scene) -> UserRecord:
    """Return the record with the observed state of each copy: READY, failed, or gone."""
    for snapshot in record.status.data.snapshots:
        if not snapshot.is_copy:
            continue
        sight = scene.seen.snapshots.get(snapshot.name)
        match sight:
            case SnapshotSeen(state=SnapshotState.READY) if snapshot.ready_at is None:
                record = with_snapshot(record, as_ready(snapshot, sight, scene.now))
                if snapshot.kind is SnapshotKind.DAILY:
                    record = record.with_status(copy_failures=0, copy_after=None)
            case SnapshotSeen(state=SnapshotState.FAILED) if not snapshot.lost:
                record = with_snapshot(record, replace(snapshot, lost=True))
                if snapshot.kind is SnapshotKind.DAILY:
                    record = _with_failure(record, scene.now)
            case Absent() if snapshot.ready_at is not None or snapshot.lost:
                # Deleted: by this program, because it was not needed, or by somebody else.
                record = without_snapshot(record, snapshot).with_status(is_copied=False)
            case Absent() if snapshot.kind is SnapshotKind.BEFORE and snapshot.name not in _named(record):
                if scene.now - snapshot.asked_at >= scene.policy.confirm_absence_after:
                    record = without_snapshot(record, snapshot)
    return record


def _with_failure(record: UserRecord, now: datetime) -> UserRecord:
    failures = record.status.data.copy_failures + 1
    wait = slow_backoff(failures, first=timedelta(hours=1), longest=A_DAY, spread_by=record.user_key)
    return record.with_status(copy_failures=failures, copy_after=now + wait, is_copied=False)


def _taken(record: UserRecord, scene: Scene) -> tuple[UserRecord, list[Action], list[timedelta]]:
    """Return the record, the actions that take requested copies, and the waits until the next pass."""
    actions: list[Action] = []
    waits: list[timedelta] = []
    for snapshot in record.status.data.snapshots:
        if not _is_open(snapshot) or snapshot.kind is not SnapshotKind.DAILY:
            continue
        sight, age = scene.seen.snapshots.get(snapshot.name), scene.now - snapshot.asked_at
        if isinstance(sight, Unreadable):
            waits.append(patience(record, sight.error, _LOOK_AGAIN))
        elif not isinstance(sight, Absent):
            waits.append(_LOOK_AGAIN if age < _SLOW else A_DAY / 24)
        elif age >= _WITHIN or _is_of_another(snapshot, scene):
            record = _with_failure(without_snapshot(record, snapshot), scene.now)
        elif (state := _takeable(record, scene)) is not None:
            actions.append(SaveCopy(**creation_of(record, snapshot)))
            record = record.with_status(is_copied=state in RESTING)
            waits.append(_LOOK_AGAIN)
        else:
            waits.append(scene.policy.poll)
    return record, actions, waits


def _is_of_another(snapshot: Snapshot, scene: Scene) -> bool:
    notebook = scene.seen.notebook
    return isinstance(notebook, Absent) or (
        isinstance(notebook, ObservedNotebook) and notebook.uid != snapshot.instance_uid
    )


def _takeable(record: UserRecord, scene: Scene) -> NotebookState | None:
    """Return the state of an instance whose disk can be copied now.

    Return None for an instance that is being changed, or whose files are being restored.
    """
    notebook = scene.seen.notebook
    if not isinstance(notebook, ObservedNotebook) or _is_restoring(record):
        return None
    is_settled = notebook.state is NotebookState.ACTIVE or notebook.state in RESTING
    return notebook.state if is_settled and record.status.notebook.operation is None else None


def _dropped(record: UserRecord, scene: Scene) -> tuple[UserRecord, list[Action], list[timedelta]]:
    """Return the record, the actions that delete copies that are no longer needed, and the waits until the next pass."""
    actions: list[Action] = []
    waits: list[timedelta] = []
    for name in _over(record, scene.policy, scene.now):
        sight = scene.seen.snapshots.get(name)
        if isinstance(sight, SnapshotSeen) and sight.state in {SnapshotState.READY, SnapshotState.FAILED}:
            actions.append(DropCopy(name=name))
            waits.append(_LOOK_AGAIN)
        elif isinstance(sight, Unreadable):
            waits.append(patience(record, sight.error, _LOOK_AGAIN))
        else:
            waits.append(_LOOK_AGAIN if sight is not None else scene.policy.poll)
    return record, actions, [*waits, *_dates(record, scene)]


def _dates(record: UserRecord, scene: Scene) -> list[timedelta]:
    """Return the waits until copies will no longer be needed because of their age."""
    profile = scene.policy.catalog.profiles.get(record.spec.profile or "")
    if record.hold is not None or profile is None:
        return []
    last = record.status.data.restored
    ends = [last.undo_until] if last is not None and last.undo_until is not None else []
    for s in record.status.data.snapshots:
        if s.kind is SnapshotKind.BEFORE:
            ends.append(s.asked_at + UNDO_FOR)
        elif s.kind is SnapshotKind.DAILY and profile.snapshots is None:
            ends.append(s.asked_at + _ORPHANED_FOR)
    return [end - scene.now for end in ends if end > scene.now]


def _say(record: UserRecord, scene: Scene, *, failed_now: bool) -> tuple[ConditionStatus, Reason, str]:
    data, before = record.status.data, record.status.condition(ConditionType.COPIES_KEPT)
    ready = dailies_of(record.status)
    newest = f"The newest is of {ready[-1].asked_at:%Y-%m-%d %H:%M} UTC." if ready else "There is none yet."
    if data.copy_failures:
        reason, text = Reason.SNAPSHOT_FAILED, "A copy of the files failed; another is taken later."
        if not failed_now and before is not None and before.status is ConditionStatus.FALSE:
            reason, text = before.reason, before.message
        if data.copy_failures >= _MANY and reason not in FOR_ADMINISTRATORS:
            reason = Reason.STUCK
        return ConditionStatus.FALSE, reason, text
    if any(_is_open(s) and scene.now - s.asked_at > _SLOW for s in data.snapshots):
        text = f"Google Cloud does not finish a copy of the files; an administrator should look. {newest}"
        return ConditionStatus.FALSE, Reason.STUCK, text
    if not ready:
        return ConditionStatus.FALSE, Reason.SAVING, "The first copy of the files is being taken."
    number = f"{len(ready)} {'copies' if len(ready) > 1 else 'copy'}"
    return ConditionStatus.TRUE, Reason.SAVED, f"{number} of the files. {newest}"
