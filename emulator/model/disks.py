"""The disks of the Workbench instances with their content, and their snapshots.

Notebooks attaches, deletes and restores disks (`notebooks_fleet`); Compute Engine shows them and takes snapshots (`compute`).
Nothing runs: the state of a snapshot follows from its times and the time of the read.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from emulator.clock import parse_rfc3339, rfc3339
from emulator.model.compute_ops import ComputeOperations
from emulator.model.compute_rules import not_found
from emulator.model.notebooks_fresh import Instance, digest
from emulator.model.storage_rules import crc32c_of

if TYPE_CHECKING:
    from emulator.model.compute_ops import ComputeOperation

# The names that Workbench gives its disks (docs/platform-facts.md#24-names).
BOOT, DATA = "boot", "data-workspace"


@dataclass(slots=True)
class DiskTimings:
    """The durations of operations, in virtual time."""

    creating: timedelta = timedelta(seconds=5)
    ready: timedelta = timedelta(seconds=60)
    delete: timedelta = timedelta(seconds=10)
    labels: timedelta = timedelta(seconds=2)


@dataclass(slots=True)
class Disk:
    """A zonal disk. `instance` is the full name of the disk's Workbench instance, `role` the disk's purpose there.

    `kind` is the disk's type. `source` and `source_id` are path and id of the snapshot that the disk was made from, ""
    for none.
    """

    path: str
    gce_id: str
    instance: str
    role: str
    size_gb: int
    kind: str
    labels: dict[str, str]
    created: datetime
    content: bytes = b""
    source: str = ""
    source_id: str = ""


@dataclass(slots=True)
class Snapshot:
    """A global snapshot: `content` is the disk's content at the time of the request.

    It is CREATING until `uploading`, UPLOADING until `ends`, then READY, or FAILED with a `failure`. `operation` created it.
    """

    path: str
    gce_id: str
    disk: str
    disk_id: str
    role: str
    size_gb: int
    location: str
    kind: str
    description: str
    labels: dict[str, str]
    created: datetime
    uploading: datetime
    ends: datetime
    operation: str
    failure: dict[str, Any] | None = None
    deleting: bool = False
    gone: datetime | None = None
    content: bytes = b""

    def status(self, now: datetime) -> str:
        """Return the snapshot's state, by its name in the API."""
        if self.deleting:
            return "DELETING"
        if now < self.ends:
            return "CREATING" if now < self.uploading else "UPLOADING"
        return "READY" if self.failure is None else "FAILED"


T = TypeVar("T", Disk, Snapshot)


@dataclass(frozen=True, slots=True)
class Draft:
    """The properties that a request for a snapshot states."""

    path: str
    location: str
    kind: str = "STANDARD"
    description: str = ""
    labels: dict[str, str] = field(default_factory=dict)


class Disks:
    """The store of all disks and snapshots, by path, and of Compute Engine's operations.

    Paths are `projects/P/zones/Z/disks/D` and `projects/P/global/snapshots/S`.
    """

    def __init__(self) -> None:
        self.disks: dict[str, Disk] = {}
        self.snapshots: dict[str, Snapshot] = {}
        self.operations = ComputeOperations()
        self.timings = DiskTimings()
        self._serial = 0
        self._unfinished: set[str] = set()  # snapshots that may still read their disk
        self._leaving: set[str] = set()  # snapshots that are being deleted

    # --- for Notebooks

    def attach(self, instance: Instance, at: datetime) -> None:
        """Create the two disks of a new VM."""
        setup = instance.body["gceSetup"]
        for role, asked in ((BOOT, setup["bootDisk"]), (DATA, setup["dataDisks"][0])):
            self._add(instance, role, asked, at=at)

    def follow(self, instance: Instance) -> None:
        """Copy the labels and disk sizes from the instance after they have changed there."""
        setup = instance.body["gceSetup"]
        for role, asked in ((BOOT, setup["bootDisk"]), (DATA, setup["dataDisks"][0])):
            disk = self.disks.get(disk_path(instance, role))
            if disk is not None:
                disk.labels, disk.size_gb = dict(instance.body["labels"]), int(asked["diskSizeGb"])

    def drop(self, instance: Instance, at: datetime) -> None:
        """Delete the boot disk and the data disk with their VM (`autoDelete` is true for both, as recorded); their content is lost."""
        for role in (BOOT, DATA):
            self._remove(disk_path(instance, role), at)

    def lose(self, instance: Instance, at: datetime) -> None:
        """Delete only the data disk."""
        self._remove(disk_path(instance, DATA), at)

    def restore(self, instance: Instance, snapshot: str, at: datetime) -> None:
        """Replace the data disk with a new disk from the snapshot, at least as large as the snapshot.

        Raise 404 if the snapshot is gone.
        """
        source = self.find_snapshot(snapshot, at)
        asked = instance.body["gceSetup"]["dataDisks"][0]
        asked["diskSizeGb"] = str(max(int(asked["diskSizeGb"]), source.size_gb))
        self.lose(instance, at)
        made = self._add(instance, DATA, asked, at=at)
        made.content, made.source, made.source_id = source.content, source.path, source.gce_id

    # --- for Compute Engine

    def find_disk(self, path: str) -> Disk:
        """Return the disk by a path with its name or numeric id, or raise 404."""
        return _found(self.disks, path)

    def find_snapshot(self, path: str, now: datetime) -> Snapshot:
        """Return the snapshot by a path with its name or numeric id, or raise 404."""
        self.sweep(now)
        return _found(self.snapshots, path)

    def sweep(self, now: datetime) -> None:
        """Remove the snapshots whose deletion is done."""
        for path in sorted(self._leaving):
            gone = self.snapshots[path].gone
            if gone is not None and gone <= now:
                del self.snapshots[path]
                self._leaving.discard(path)

    def leave(self, snapshot: Snapshot, gone: datetime) -> None:
        """Mark the snapshot as DELETING until `gone`."""
        snapshot.deleting, snapshot.gone = True, gone
        self._leaving.add(snapshot.path)

    def freeze(self, disk: Disk, draft: Draft, operation: ComputeOperation, *, now: datetime) -> Snapshot:
        """Return a new snapshot of the disk's present content. It becomes READY when its operation ends, or FAILED if the operation fails.

        The operation also fails if the disk is deleted before its end.
        """
        made = Snapshot(
            path=draft.path,
            gce_id=self._gce_id(draft.path),
            disk=disk.path,
            disk_id=disk.gce_id,
            role=disk.role,
            size_gb=disk.size_gb,
            location=draft.location,
            kind=draft.kind,
            description=draft.description,
            labels=dict(draft.labels),
            created=now,
            uploading=now + self.timings.creating,
            ends=operation.ends,
            operation=operation.path,
            failure=operation.error,
            content=disk.content,
        )
        self.snapshots[made.path] = made
        self._unfinished.add(made.path)
        return made

    # --- inner

    def _gce_id(self, path: str) -> str:
        self._serial += 1
        return str(10**18 + int(digest(path, self._serial)[:16], 16) % (8 * 10**18))

    def _add(self, instance: Instance, role: str, asked: dict[str, Any], *, at: datetime) -> Disk:
        path = disk_path(instance, role)
        kind = str(asked["diskType"]).lower().replace("_", "-")
        size, labels = int(asked["diskSizeGb"]), dict(instance.body["labels"])
        made = Disk(path, self._gce_id(path), instance.name, role, size, kind, labels, at)
        self.disks[path] = made
        return made

    def _remove(self, path: str, at: datetime) -> None:
        """Remove a disk, and fail the snapshots that still read it.

        Compute Engine's behaviour in that case is not documented; the model assumes the worse one.
        """
        disk = self.disks.pop(path, None)
        if disk is None:
            return
        for snapshot in [self.snapshots[each] for each in sorted(self._unfinished) if each in self.snapshots]:
            if snapshot.ends <= at:
                self._unfinished.discard(snapshot.path)
            elif snapshot.disk_id == disk.gce_id:
                text = f"The resource '{path}' was deleted while its snapshot '{snapshot.path}' was being created."
                snapshot.ends, snapshot.failure = at, {"code": "RESOURCE_NOT_FOUND", "message": text}
                self.operations.end_badly(snapshot.operation, at, snapshot.failure)

    def dump(self) -> dict[str, Any]:
        """Return the state as JSON-able data; equal contents are stored once."""
        contents: dict[str, str] = {}
        rows = {
            "disks": [_row(each, contents) for each in self.disks.values()],
            "snapshots": [_row(each, contents) for each in self.snapshots.values()],
        }
        return {**rows, "serial": self._serial, "contents": contents, "operations": self.operations.dump()}

    def load(self, state: dict[str, Any]) -> None:
        """Restore the state from a result of `dump`."""
        contents = {key: base64.b64decode(text) for key, text in state["contents"].items()}
        self.disks = {row["path"]: Disk(**_read(row, contents)) for row in state["disks"]}
        self.snapshots = {row["path"]: Snapshot(**_read(row, contents)) for row in state["snapshots"]}
        self._serial = state["serial"]
        self._unfinished = set(self.snapshots)
        self._leaving = {snapshot.path for snapshot in self.snapshots.values() if snapshot.deleting}
        self.operations.load(state["operations"])

    def begin_anew(self, instances: list[Instance]) -> None:
        """Remove all disks and snapshots, and create empty disks for those of these instances that have a VM.

        A world that is loaded begins so, because a world that was saved before disks were modelled has no disks.
        """
        self.disks, self.snapshots, self.operations = {}, {}, ComputeOperations()
        self._unfinished, self._leaving = set(), set()
        for instance in instances:
            if instance.vm_exists:
                self.attach(instance, instance.created)


def disk_path(instance: Instance, role: str) -> str:
    """Return the path of the instance's disk in Compute Engine."""
    return f"projects/{instance.project}/zones/{instance.zone}/disks/{instance.short}-{role}"


def checksum(content: bytes) -> str:
    """Return the CRC32C as Cloud Storage writes it: base64 of four bytes, big-endian."""
    return crc32c_of(content)


def _found(held: dict[str, T], path: str) -> T:
    folder, _, name = path.rpartition("/")
    found = held.get(path)
    if found is None and name.isdigit():
        found = next((e for e in held.values() if e.gce_id == name and e.path.rpartition("/")[0] == folder), None)
    if found is None:
        raise not_found(path)
    return found


def _row(each: Disk | Snapshot, contents: dict[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for known in fields(each):
        value = getattr(each, known.name)
        if isinstance(value, bytes):
            key = digest(value.hex())
            contents[key] = base64.b64encode(value).decode()
            value = key
        row[known.name] = rfc3339(value) if isinstance(value, datetime) else value
    return row


_TIMES = ("created", "uploading", "ends", "gone")


def _read(row: dict[str, Any], contents: dict[str, bytes]) -> dict[str, Any]:
    times = {key: parse_rfc3339(row[key]) for key in _TIMES if row.get(key)}
    return {**row, **times, "content": contents[row["content"]]}
