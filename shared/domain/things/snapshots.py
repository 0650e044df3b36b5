"""The saved data of a user: snapshots of the data disk, their manifests, and the predecessor of a replacement."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from msgspec import Struct, field

from shared.domain.things.identity import InstanceId, UserKey

LABEL_SOURCE = "benchkeeper-instance"
DATA_DISK_SUFFIX = (
    "-data-workspace"  # how Workbench names the data disk (recorded: gcpdiag, compute-instances-us-west1-a)
)


class Former(Struct, frozen=True, kw_only=True):
    """The predecessor: the instance that a replacement replaces.

    The predecessor is stopped, saved, and deleted once the new instance has its data. `touched` is True if the predecessor was
    observed to run after it was saved, so that it may have data that no snapshot has. `is_remnant` is True for an instance
    that a failed replacement left behind and that never had data. `built_from` has the immutable values of its creation, as
    in the record's status.
    """

    instance_id: InstanceId
    zone: str
    uid: str
    touched: bool = False
    is_remnant: bool = False
    built_from: Mapping[str, str] = field(default_factory=dict)


class SnapshotKind(StrEnum):
    """The purpose of a snapshot. It decides how long the snapshot is kept, and the letter in its name.

    LAST: the last state of a disk that is deleted or replaced. DAILY: a copy of the files, for their user. BEFORE: the state that a
    restore on request replaces. DAILY and BEFORE are called copies.
    """

    LAST = "last"
    DAILY = "daily"
    BEFORE = "before"


_LETTERS = {SnapshotKind.LAST: "s", SnapshotKind.DAILY: "d", SnapshotKind.BEFORE: "b"}


class Snapshot(Struct, frozen=True, kw_only=True):
    """A requested snapshot of the data disk of the instance `instance_uid`, even if another instance has its name now.

    `ready_at` is set once the snapshot was observed as READY, together with the stored size in bytes, Compute Engine's numeric id,
    and the properties of the instance (`spec`, for the manifest). `manifest` is True once the manifest was written. `lost` is
    True if the snapshot failed, or was READY and is missing although we did not delete it.
    """

    name: str
    instance_id: InstanceId
    zone: str
    instance_uid: str
    asked_at: datetime
    ready_at: datetime | None = None
    size_bytes: int = 0
    disk_size_gb: int = 0
    snapshot_id: str = ""
    spec: Mapping[str, str] = field(default_factory=dict)
    manifest: bool = False
    lost: bool = False
    kind: SnapshotKind = SnapshotKind.LAST

    @property
    def is_copy(self) -> bool:
        """Return True for a copy that its user may choose to restore."""
        return self.kind is not SnapshotKind.LAST


class Restoring(Struct, frozen=True, kw_only=True):
    """A request to the cloud to restore a snapshot onto the instance with this uid. The record is saved before the request is sent."""

    snapshot: str
    instance_uid: str
    asked_at: datetime


class RestoreWish(Struct, frozen=True, kw_only=True):
    """A request to replace the present files by the files of a copy. `asked_at` distinguishes requests."""

    snapshot: str
    asked_at: datetime


class Rollback(Struct, frozen=True, kw_only=True):
    """A requested restore that is under way on the instance `instance_uid`.

    `wish` is the request. `before` is the snapshot of the present files, "" until that snapshot is READY. `failures` counts
    failed attempts. `is_hurt` is True if an attempt failed after it began: the disk may be damaged, and one of the two
    snapshots must be restored. `goes_back` is True if `before` is restored instead of the requested copy.
    """

    wish: RestoreWish
    instance_uid: str
    begun_at: datetime
    before: str = ""
    failures: int = 0
    is_hurt: bool = False
    goes_back: bool = False

    @property
    def target(self) -> str:
        """Return the name of the snapshot to restore."""
        return self.before if self.goes_back else self.wish.snapshot


class RestoreEnd(StrEnum):
    """The end of a requested restore."""

    DONE = "Done"
    COPY_GONE = "CopyGone"  # nothing was changed
    NOT_SAVED = "NotSaved"  # the present files could not be saved, so nothing was changed
    REFUSED = "Refused"  # Google Cloud refused it; nothing was changed
    PUT_BACK = "PutBack"  # it failed half-way; the files are those from before it


class Restored(Struct, frozen=True, kw_only=True):
    """The end of the last requested restore: its outcome and time, and the time at which its files were saved (`of`).

    `before` is the snapshot of the files that the last successful restore replaced, which is kept until `undo_until`. Before
    the first success, `before` is "" and `undo_until` is None.
    """

    wish: RestoreWish
    of: datetime | None
    end: RestoreEnd
    ended_at: datetime
    before: str = ""
    undo_until: datetime | None = None

    @property
    def is_done(self) -> bool:
        """Return True if the restore succeeded, so that the user has the requested files."""
        return self.end is RestoreEnd.DONE


class Dormancy(Struct, frozen=True, kw_only=True):
    """The dormancy of an unused notebook.

    When it is put away, its files are in a snapshot and its instance is deleted until its owner starts it.

    `unused_since` is the time of the last use, or of the stop. `warned` has the warnings that were given, in days before the
    notebook is put away. It is not put away before `promised`, the time that the last warning announced. `away_since` is the
    time at which the deletion was decided, None before.
    """

    unused_since: datetime
    warned: tuple[int, ...] = ()
    promised: datetime | None = None
    away_since: datetime | None = None


class SnapshotState(StrEnum):
    """The states of a snapshot: `Snapshot.status` of the Compute API."""

    CREATING = "CREATING"
    UPLOADING = "UPLOADING"
    READY = "READY"
    FAILED = "FAILED"
    DELETING = "DELETING"
    UNKNOWN = "UNKNOWN"


class SnapshotSeen(Struct, frozen=True, kw_only=True):
    """A snapshot as it was read. `source_disk` has the form `zones/Z/disks/D`, and `snapshot_id` is Compute Engine's numeric id."""

    name: str
    state: SnapshotState
    labels: Mapping[str, str]
    source_disk: str
    snapshot_id: str
    size_bytes: int
    disk_size_gb: int
    created_at: datetime | None


def data_disk_of(instance_id: InstanceId) -> str:
    """Return the name of an instance's data disk."""
    return f"{instance_id}{DATA_DISK_SUFFIX}"


def snapshot_name(instance_id: InstanceId, number: int, kind: SnapshotKind = SnapshotKind.LAST) -> str:
    """Return `<instance id>-<letter of the kind><number>`: at most 48 + 2 + 6 of the 63 characters that Compute Engine allows."""
    return f"{instance_id}-{_LETTERS[kind]}{number}"


def snapshot_labels(user_key: UserKey, instance_id: InstanceId, managed_by: Mapping[str, str]) -> dict[str, str]:
    """Return the labels of a snapshot: its user, its instance, and the labels in `managed_by`."""
    return {**managed_by, LABEL_SOURCE: instance_id, "benchkeeper-user": user_key}
