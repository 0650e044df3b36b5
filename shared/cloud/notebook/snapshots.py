"""The adapter to snapshots of data disks in Compute Engine, and to the manifests that describe their content.

`manifests/<user_key>/<snapshot>.json` outlives its snapshot. Plain REST: google-cloud-compute is a large client for four calls.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from shared.cloud.http.clients import Clients
from shared.domain.snapshot.actions import WriteManifest
from shared.domain.things.errors import (
    BusyError,
    ConflictError,
    NotOursError,
    PermanentError,
    QuotaExhaustedError,
    Reason,
)
from shared.domain.things.identity import UserKey
from shared.domain.things.notebook import LABEL_MANAGED_BY, LABEL_USER, MANAGED_BY, Absent, InstanceRef
from shared.domain.things.snapshots import LABEL_SOURCE, SnapshotSeen, SnapshotState, data_disk_of
from shared.domain.things.times import parse_time, rfc3339

SCHEMA = "benchkeeper.manifest/v1"
_PAGE = 500  # the API's largest page
_WHOSE = (LABEL_MANAGED_BY, LABEL_USER, LABEL_SOURCE)


class ComputeSnapshots:
    """The adapter of the port `Snapshots`."""

    def __init__(self, clients: Clients, *, project: str) -> None:
        self._clients = clients
        self._project = f"/compute/v1/projects/{project}"

    def get(self, name: str) -> SnapshotSeen | Absent:
        """Return the snapshot by one GET; `Absent` if there is none."""
        raw = self._clients.json("compute").call_or_none("GET", self._path(name))
        return Absent() if raw is None else _seen(raw)

    def create(self, name: str, source: InstanceRef, labels: Mapping[str, str]) -> None:
        """Start a snapshot, stored in the region of the disk.

        By default it would be stored anywhere on the continent, which may be another jurisdiction. An existing snapshot of that name is not
        an error if it carries our labels. Raise `NotOursError` if it does not, and `PermanentError` if the disk is missing.

        The call is `disks.createSnapshot`, not `snapshots.insert`, so that a 404 can only mean a missing disk. The permissions are the same.
        """
        disk = f"zones/{source.zone}/disks/{data_disk_of(source.instance_id)}"
        body = {
            "name": name,
            "description": f"Data disk of {source.instance_id}, saved by Benchkeeper.",
            "labels": dict(labels),
            "storageLocations": [source.zone.rpartition("-")[0]],
        }
        try:
            path = f"{self._project}/{disk}/createSnapshot"
            started = self._clients.json("compute").call_or_none("POST", path, body=body)
        except ConflictError as conflict:
            self._check_ours(name, labels, conflict)
            return
        except QuotaExhaustedError as error:
            raise QuotaExhaustedError(
                user_message="The project's quota for disk snapshots is used up, so the files cannot be saved yet. "
                "Benchkeeper tries again every 30 minutes; an administrator can raise the quota.",
                detail=error.detail,
                quota=error.quota,
                is_zero=error.is_zero,
            ) from error
        if started is None:
            raise PermanentError(
                user_message=f"The disk with the files ({data_disk_of(source.instance_id)} in {source.zone}) is not "
                "there, so they cannot be saved. An administrator must find out what happened to it.",
                detail=f"snapshot {name}: there is no disk {disk}",
                reason=Reason.DATA_MISSING,
            )

    def delete(self, name: str) -> None:
        """Delete the snapshot; a snapshot that is missing or being deleted is not an error.

        Raise `BusyError` for a snapshot that is being created.
        """
        try:
            self._clients.json("compute").call_or_none("DELETE", self._path(name))
        except BusyError:
            seen = self.get(name)
            if isinstance(seen, SnapshotSeen) and seen.state is not SnapshotState.DELETING:
                raise

    def rows(self) -> Iterator[SnapshotSeen]:
        """Yield the snapshots with our label, from all pages."""
        query = {"filter": f"labels.{LABEL_MANAGED_BY}={MANAGED_BY}", "maxResults": _PAGE}
        token = ""
        while True:
            page = self._clients.json("compute").call(
                "GET",
                f"{self._project}/global/snapshots",
                params={**query, **({"pageToken": token} if token else {})},
            )
            yield from (_seen(raw) for raw in page.get("items", []))
            token = page.get("nextPageToken", "")
            if not token:
                return

    def write_manifest(self, user_key: UserKey, manifest: WriteManifest) -> None:
        """Write the manifest without a precondition: its content depends on the action alone."""
        name = manifest.snapshot.name
        self._clients.bucket().write(
            f"manifests/{user_key}/{name}.json", _manifest(user_key, manifest), what=f"write manifest of {name}"
        )

    def manifests(self, user_key: UserKey) -> Iterator[str]:
        """Yield the names by pages of a listing; the prefix ends in `/`, so that it cannot match another user's manifests."""
        prefix = f"manifests/{user_key}/"
        for listed in self._clients.bucket().objects(prefix=prefix, what="list manifests"):
            yield listed.name.removeprefix(prefix).removesuffix(".json")

    def forget_manifest(self, user_key: UserKey, name: str) -> None:
        """Delete the manifest by one call; a missing one is not an error."""
        self._clients.bucket().delete(f"manifests/{user_key}/{name}.json", what=f"delete manifest of {name}")

    def _check_ours(self, name: str, labels: Mapping[str, str], conflict: ConflictError) -> None:
        seen = self.get(name)
        if isinstance(seen, Absent):
            raise conflict  # the snapshot was deleted between the two calls; the next pass observes the new state
        if any(seen.labels.get(label) != labels.get(label) for label in _WHOSE):
            raise NotOursError(
                user_message=f"A snapshot named {name} exists that Benchkeeper did not make for this person. "
                "An administrator must rename or remove it.",
                detail=f"snapshot {name} exists without our labels",
            ) from conflict

    def _path(self, name: str) -> str:
        return f"{self._project}/global/snapshots/{name}"


def _seen(raw: Mapping[str, Any]) -> SnapshotSeen:
    source = str(raw.get("sourceDisk", ""))
    return SnapshotSeen(
        name=str(raw["name"]),
        state=_state(str(raw.get("status", ""))),
        labels=dict(raw.get("labels", {})),
        source_disk=source[source.index("zones/") :] if "zones/" in source else source,
        snapshot_id=str(raw.get("id", "")),
        size_bytes=int(raw.get("storageBytes", 0)),
        disk_size_gb=int(raw.get("diskSizeGb", 0)),
        created_at=parse_time(raw["creationTimestamp"]) if raw.get("creationTimestamp") else None,
    )


def _state(text: str) -> SnapshotState:
    try:
        return SnapshotState(text)
    except ValueError:
        return SnapshotState.UNKNOWN


def _manifest(user_key: UserKey, manifest: WriteManifest) -> bytes:
    snapshot = manifest.snapshot
    content = {
        "schema": SCHEMA,
        "user_key": user_key,
        "snapshot": {
            "name": snapshot.name,
            "id": snapshot.snapshot_id,
            "created_at": rfc3339(snapshot.asked_at),
            "ready_at": None if snapshot.ready_at is None else rfc3339(snapshot.ready_at),
            "size_bytes": snapshot.size_bytes,
            "disk_size_gb": snapshot.disk_size_gb,
            "source_disk": f"zones/{snapshot.zone}/disks/{data_disk_of(snapshot.instance_id)}",
        },
        "instance": dict(manifest.snapshot.spec),
        "deleted_at": None if manifest.deleted_at is None else rfc3339(manifest.deleted_at),
    }
    return (json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
