"""The model of Compute Engine v1 for the data of leavers: zonal disks of Workbench instances, and global snapshots.

All methods take and return the REST API's JSON, and are called under the world's lock. State that depends on time is
computed when it is read. Disks are only created and deleted with their instance: there is no `disks.insert`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emulator.errors import CODES, ApiError, not_served
from emulator.model import compute_rules as rules
from emulator.model.compute_ops import ComputeOperation, stamp
from emulator.model.disks import BOOT, Disk, Disks, DiskTimings, Draft, Snapshot
from emulator.model.filters import resource_filter
from emulator.model.machine_types import ZONES
from emulator.model.notebooks_rules import COMPUTE
from emulator.model.pages import listed

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from emulator.world import World

_MAX_RESULTS = 500
_ORDERS = ("", "name", "creationTimestamp desc")
_SNAPSHOT_TYPES = ("STANDARD", "ARCHIVE")
# The fields of a snapshot that a caller may write. Other fields of the API are refused as not served, all others as unknown.
_WRITABLE = ("name", "description", "labels", "storageLocations", "snapshotType", "sourceDisk")
_NOT_SERVED = (
    "chainName", "guestFlush", "locationHint", "params", "snapshotEncryptionKey", "sourceDiskEncryptionKey",
    "sourceDiskForRecoveryCheckpoint", "sourceInstantSnapshot", "sourceInstantSnapshotEncryptionKey",
)  # fmt: skip
_OUTPUT = (
    "architecture", "autoCreated", "creationSizeBytes", "creationTimestamp", "diskSizeGb", "downloadBytes",
    "enableConfidentialCompute", "guestOsFeatures", "id", "kind", "labelFingerprint", "licenseCodes", "licenses",
    "satisfiesPzi", "satisfiesPzs", "selfLink", "sourceDiskId", "sourceInstantSnapshotId", "sourceSnapshotSchedulePolicy",
    "sourceSnapshotSchedulePolicyId", "status", "storageBytes", "storageBytesStatus",
)  # fmt: skip


class ComputeModel:
    """The model of the project's disks, snapshots and operations. `settle` applies all due changes of instances before a read."""

    def __init__(self, world: World, disks: Disks, settle: Callable[[], datetime]) -> None:
        self.world = world
        self.disks = disks
        self._settle = settle

    @property
    def timings(self) -> DiskTimings:
        """The durations of operations; tests may set them."""
        return self.disks.timings

    def dump(self) -> Any:
        """Return the state as JSON-able data."""
        return self.disks.dump()

    def load(self, state: Any) -> None:
        """Restore the state from a result of `dump`."""
        self.disks.load(state)

    # --- disks

    def get_disk(self, path: str) -> dict[str, Any]:
        """Answer `disks.get`."""
        self._look(path)
        return _disk_view(self.disks.find_disk(path))

    def list_disks(self, parent: str, query: dict[str, str]) -> dict[str, Any]:
        """Answer `disks.list` of a zone (`projects/P/zones/Z`)."""
        self._look(parent)
        views = [_disk_view(disk) for path, disk in self.disks.disks.items() if path.startswith(f"{parent}/")]
        return _listed("disk", parent, views, query)

    def aggregated_disks(self, project: str, query: dict[str, str]) -> dict[str, Any]:
        """Answer `disks.aggregatedList` of `projects/P`: the disks by scope, with a warning for each zone without disks."""
        self._look(f"{project}/global")
        page = _listed("disk", f"{project}/aggregated", [_disk_view(disk) for disk in self.disks.disks.values()], query)
        scopes: dict[str, dict[str, Any]] = {f"zones/{zone}": {} for zone in ZONES}
        for view in page.pop("items", []):
            scopes[f"zones/{view['zone'].rpartition('/')[2]}"].setdefault("disks", []).append(view)
        for scope, held in scopes.items():
            if not held:
                text = f"There are no results for scope '{scope}' on this page."
                data = [{"key": "scope", "value": scope}]
                held["warning"] = {"code": "NO_RESULTS_ON_PAGE", "message": text, "data": data}
        return {**page, "kind": "compute#diskAggregatedList", "items": scopes}

    def delete_disk(self, path: str) -> dict[str, Any]:
        """Answer `disks.delete` with an error: every disk here belongs to an instance, and is deleted with the instance only."""
        self._look(path)
        raise rules.in_use(path, _user_of(self.disks.find_disk(path)))

    def content(self, path: str) -> bytes:
        """Return the content of a disk, for tests and the control API."""
        self._look(path)
        return self.disks.find_disk(path).content

    def write(self, path: str, content: bytes) -> None:
        """Replace the content of a disk, as a user of the notebook would."""
        self._look(path)
        self.disks.find_disk(path).content = content

    # --- snapshots

    def create_snapshot(
        self, scope: str, body: dict[str, Any], *, disk: str = "", user: str, request_id: str = ""
    ) -> dict[str, Any]:
        """Answer `snapshots.insert` (with `disk` empty, the body names the disk) and `disks.createSnapshot`.

        `scope` is the parent of the operation.
        """
        now = self._look(scope)
        verb = "createSnapshot" if disk else "insert"
        earlier = self.disks.operations.repeated(verb, rules.read_request_id(request_id))
        if earlier is not None:
            return earlier.view(now)
        _check_fields(body)
        name = rules.check_name(body.get("name"))
        if not disk and not body.get("sourceDisk"):
            raise rules.required("resource.sourceDisk")
        source = self.disks.find_disk(disk or rules.read_disk(body["sourceDisk"], project=self.world.project))
        draft = self._draft(name, body, source)
        if draft.labels:
            self.world.need("compute.snapshots.setLabels")
        self.disks.sweep(now)
        if draft.path in self.disks.snapshots:
            raise rules.already_exists(draft.path)
        operation = self.disks.operations.start(
            scope,
            verb,
            source.path if disk else draft.path,
            target_id="",
            user=user,
            now=now,
            ends=now + self.timings.ready,
            request_id=request_id,
        )
        fault = "compute.disks.createSnapshot" if disk else "compute.snapshots.insert"
        self._perhaps_fail(operation, fault, draft.path)
        made = self.disks.freeze(source, draft, operation, now=now)
        operation.target_id = source.gce_id if disk else made.gce_id
        return operation.view(now)

    def get_snapshot(self, path: str) -> dict[str, Any]:
        """Answer `snapshots.get`, by name or numeric id."""
        now = self._look(path)
        return _snapshot_view(self.disks.find_snapshot(path, now), now)

    def list_snapshots(self, parent: str, query: dict[str, str]) -> dict[str, Any]:
        """Answer `snapshots.list`."""
        now = self._look(parent)
        self.disks.sweep(now)
        views = [_snapshot_view(snapshot, now) for snapshot in self.disks.snapshots.values()]
        return _listed("snapshot", parent, views, query)

    def delete_snapshot(self, path: str, *, user: str, request_id: str = "") -> dict[str, Any]:
        """Answer `snapshots.delete`: DELETING until the operation is done; 400 while the snapshot is being created or deleted."""
        now = self._look(path)
        earlier = self.disks.operations.repeated("delete", rules.read_request_id(request_id))
        if earlier is not None:
            return earlier.view(now)
        snapshot = self.disks.find_snapshot(path, now)
        if snapshot.status(now) not in ("READY", "FAILED"):
            raise rules.not_ready(snapshot.path)
        operation = self._start(snapshot, "delete", user, self.timings.delete, request_id=request_id)
        self._perhaps_fail(operation, "compute.snapshots.delete", snapshot.path)
        if operation.error is None:
            self.disks.leave(snapshot, operation.ends)
        return operation.view(now)

    def set_labels(self, path: str, body: dict[str, Any], *, user: str) -> dict[str, Any]:
        """Answer `snapshots.setLabels`: replace all labels, if the fingerprint is that of the present labels."""
        now = self._look(path)
        unknown = sorted(set(body) - {"labels", "labelFingerprint"})
        if unknown:
            raise _unknown(unknown[0])
        snapshot = self.disks.find_snapshot(path, now)
        if not rules.same_bytes(body.get("labelFingerprint"), rules.fingerprint(snapshot.labels)):
            raise rules.stale_labels()
        labels = rules.read_labels(body.get("labels", {}))
        operation = self._start(snapshot, "setLabels", user, self.timings.labels)
        self._perhaps_fail(operation, "compute.snapshots.setLabels", snapshot.path)
        if operation.error is None:
            snapshot.labels = labels
        return operation.view(now)

    def snapshot_content(self, path: str) -> bytes:
        """Return the content of a snapshot, for tests and the control API."""
        return self.disks.find_snapshot(path, self._look(path)).content

    # --- operations

    def get_operation(self, path: str) -> dict[str, Any]:
        """Answer `globalOperations.get` and `zoneOperations.get`."""
        now = self._look(path)
        return self.disks.operations.find(path).view(now)

    def operation_ends(self, path: str) -> datetime:
        """Return the time at which the operation is done."""
        self._look(path)
        return self.disks.operations.find(path).ends

    # --- inner

    def _look(self, path: str) -> datetime:
        """Apply all due changes, and return the virtual time; raise 403 or 400 for a path of another project or unknown zone."""
        _, project, scope, *rest = path.split("/")
        if project != self.world.project:
            text = f"Required 'compute.projects.get' permission for 'projects/{project}'"
            raise ApiError("PERMISSION_DENIED", text, reason="forbidden")
        if scope == "zones":
            rules.check_zone(rest[0])
        return self._settle()

    def _draft(self, name: str, body: dict[str, Any], source: Disk) -> Draft:
        kind = body.get("snapshotType", "STANDARD")
        if kind not in _SNAPSHOT_TYPES:
            raise rules.invalid("resource.snapshotType", kind, f"Must be one of {', '.join(_SNAPSHOT_TYPES)}.")
        description = body.get("description", "")
        if not isinstance(description, str):
            raise rules.invalid("resource.description", description, "Must be a text.")
        zone = source.path.split("/")[3]
        return Draft(
            path=f"projects/{self.world.project}/global/snapshots/{name}",
            location=rules.storage_location(body.get("storageLocations"), zone),
            kind=kind,
            description=description,
            labels=rules.read_labels(body.get("labels", {})),
        )

    def _start(self, snapshot: Snapshot, verb: str, user: str, takes: Any, *, request_id: str = "") -> ComputeOperation:
        now = self._settle()
        return self.disks.operations.start(
            f"projects/{self.world.project}/global",
            verb,
            snapshot.path,
            target_id=snapshot.gce_id,
            user=user,
            now=now,
            ends=now + takes,
            request_id=request_id,
        )

    def _perhaps_fail(self, operation: ComputeOperation, call: str, resource: str) -> None:
        """Let the operation fail if an `operation_error` {code, message, reason?} is scripted; `reason` is Compute's own code."""
        fault = self.world.faults.take(call, resource, wanted="operation_error")
        if fault is not None and fault.operation_error is not None:
            told = fault.operation_error
            code, message = told.get("reason", told["code"]), told.get("message", "scripted fault")
            operation.error = {"code": code, "message": message}
            operation.http_status = CODES[told["code"]][1]


def _check_fields(body: dict[str, Any]) -> None:
    for key in body:
        if key in _NOT_SERVED:
            text = f"The embedded cloud does not serve the snapshot field '{key}'."
            raise not_served(text, reason="notFound")
        if key not in _WRITABLE and key not in _OUTPUT:
            raise _unknown(key)


def _unknown(key: str) -> ApiError:
    text = f'Invalid JSON payload received. Unknown name "{key}": Cannot find field.'
    return ApiError("INVALID_ARGUMENT", text, reason="badRequest")


def _user_of(disk: Disk) -> str:
    _, project, _, zone, _, name = disk.instance.split("/")
    return f"projects/{project}/zones/{zone}/instances/{name}"


def _disk_view(disk: Disk) -> dict[str, Any]:
    _, project, _, zone, _, name = disk.path.split("/")
    place = f"{COMPUTE}projects/{project}/zones/{zone}"
    body: dict[str, Any] = {
        "kind": "compute#disk",
        "id": disk.gce_id,
        "creationTimestamp": stamp(disk.created),
        "name": name,
        "sizeGb": str(disk.size_gb),
        "zone": place,
        "status": "READY",
        "selfLink": f"{COMPUTE}{disk.path}",
        "type": f"{place}/diskTypes/{disk.kind}",
        "lastAttachTimestamp": stamp(disk.created),
        "users": [f"{COMPUTE}{_user_of(disk)}"],
        "labels": dict(disk.labels),
        "labelFingerprint": rules.fingerprint(disk.labels),
        "physicalBlockSizeBytes": "4096",
    }
    if disk.role == BOOT:
        body["guestOsFeatures"] = [{"type": kind} for kind in ("VIRTIO_SCSI_MULTIQUEUE", "UEFI_COMPATIBLE", "GVNIC")]
    if disk.source:
        body |= {"sourceSnapshot": f"{COMPUTE}{disk.source}", "sourceSnapshotId": disk.source_id}
    return body


def _snapshot_view(snapshot: Snapshot, now: datetime) -> dict[str, Any]:
    status = snapshot.status(now)
    body: dict[str, Any] = {
        "kind": "compute#snapshot",
        "id": snapshot.gce_id,
        "creationTimestamp": stamp(snapshot.created),
        "name": snapshot.path.rpartition("/")[2],
        "status": status,
        "sourceDisk": f"{COMPUTE}{snapshot.disk}",
        "sourceDiskId": snapshot.disk_id,
        "diskSizeGb": str(snapshot.size_gb),
        "selfLink": f"{COMPUTE}{snapshot.path}",
        "labelFingerprint": rules.fingerprint(snapshot.labels),
        "storageLocations": [snapshot.location],
        "snapshotType": snapshot.kind,
    }
    if snapshot.description:
        body["description"] = snapshot.description
    if snapshot.labels:
        body["labels"] = dict(snapshot.labels)
    if status == "READY":
        size = str(len(snapshot.content))
        body |= {"storageBytes": size, "downloadBytes": size, "creationSizeBytes": size}
        body["storageBytesStatus"] = "UP_TO_DATE"
    return body


def _listed(kind: str, parent: str, views: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
    """Return `{kind: compute#snapshotList, items, nextPageToken}`, filtered and paged; raise 400 for an invalid query."""
    order, limit = query.get("orderBy", ""), query.get("maxResults", str(_MAX_RESULTS))
    if order not in _ORDERS:
        raise rules.invalid("orderBy", order, f"Must be one of {', '.join(filter(None, _ORDERS))}.")
    if not limit.isdigit() or int(limit) > _MAX_RESULTS:
        raise rules.invalid("maxResults", limit, f"Must be a number from 0 to {_MAX_RESULTS}.")
    passes = resource_filter(query.get("filter", ""))
    newest = order.endswith("desc")
    found = listed(
        "items",
        [view for view in views if passes(view)],
        size=int(limit),
        token=query.get("pageToken", ""),
        scope=f"{kind} {parent} {order} {query.get('filter', '')}",
        key=lambda view: f"{view['creationTimestamp']} {view['name']}" if newest else str(view["name"]),
        descending=newest,
    )
    link = f"{COMPUTE}{parent}/{kind}s"
    return {"kind": f"compute#{kind}List", "id": f"{parent}/{kind}s", "selfLink": link, **found}
