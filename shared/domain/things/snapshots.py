"""What is kept of a person's data: snapshots of the data disk, their manifests, and the instance that a replacement supersedes."""

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
    """The instance that a replacement takes the place of. Stopped, saved, and deleted once the new one has its data.

    `touched` = it was seen to run after it was saved, so it may hold what nothing else does. `is_remnant` = it is what a failed
    replacement left, and never held anything. `built_from` is what it was created with, as in the record's status.
    """

    instance_id: InstanceId
    zone: str
    uid: str
    touched: bool = False
    is_remnant: bool = False
    built_from: Mapping[str, str] = field(default_factory=dict)


class Snapshot(Struct, frozen=True, kw_only=True):
    """A snapshot of a data disk that was asked for. It is of the instance `instance_uid`, whatever has that name now.

    `ready_at` is set once it was seen READY, with its size in bytes as stored, Compute Engine's numeric id, and what the instance
    was (`spec`, for the manifest); `manifest` is True once its manifest was written. `lost` = it was READY, and then seen to be gone
    although nobody of ours deleted it.
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


class Restoring(Struct, frozen=True, kw_only=True):
    """The cloud is, or was, asked to bring a snapshot back onto the instance with this uid. Saved before it is asked."""

    snapshot: str
    instance_uid: str
    asked_at: datetime


class SnapshotState(StrEnum):
    """`Snapshot.status` of the Compute API."""

    CREATING = "CREATING"
    UPLOADING = "UPLOADING"
    READY = "READY"
    FAILED = "FAILED"
    DELETING = "DELETING"
    UNKNOWN = "UNKNOWN"


class SnapshotSeen(Struct, frozen=True, kw_only=True):
    """A snapshot as it was read: sizes in bytes and GB, `source_disk` as `zones/Z/disks/D`, Compute Engine's own numeric id."""

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


def snapshot_name(instance_id: InstanceId, number: int) -> str:
    """`<instance id>-s<number>`: at most 48 + 2 + 6 of the 63 characters that Compute Engine allows."""
    return f"{instance_id}-s{number}"


def snapshot_labels(user_key: UserKey, instance_id: InstanceId, managed_by: Mapping[str, str]) -> dict[str, str]:
    """Return the labels of a snapshot: whose it is, of which instance, and what carries its cost."""
    return {**managed_by, LABEL_SOURCE: instance_id, "benchkeeper-user": user_key}
