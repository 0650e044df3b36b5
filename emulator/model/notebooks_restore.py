"""The checks of RestoreInstance: the snapshots from which an instance can be restored.

Google documents the body, and that the existing data disk is deleted and a new disk from the snapshot is attached. Only
snapshots of Workbench data disks are supported ("can cause the instance to function incorrectly").

The following is not documented, so it is our own decision. An instance can be restored while ACTIVE or STOPPED, unless
a test limits `NotebooksModel.restore_from`. A snapshot that is unknown, not READY or not of a data disk is refused at
once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emulator.errors import ApiError
from emulator.model.disks import DATA, Disks, Snapshot
from emulator.model.notebooks_rules import invalid

if TYPE_CHECKING:
    from datetime import datetime

RESTORE_FROM = frozenset({"ACTIVE", "STOPPED"})
_FIELDS = {"projectId": "project_id", "snapshotId": "snapshot_id"}


def restore_source(body: dict[str, Any], disks: Disks, *, project: str, now: datetime) -> Snapshot:
    """Return the snapshot that the body `{snapshot: {projectId, snapshotId}}` names by its name or numeric id.

    Raise `ApiError`: 400 for an invalid body, 403 for another project, 404 for a missing snapshot, or
    FAILED_PRECONDITION for an unusable snapshot.
    """
    asked = body.get("snapshot")
    if not isinstance(asked, dict):
        raise invalid("snapshot must be specified.")
    for key in asked:
        if key not in _FIELDS:
            raise invalid(f"Invalid JSON payload received. Unknown name \"{key}\" at 'snapshot': Cannot find field.")
    for key, snake in _FIELDS.items():
        if not isinstance(asked.get(key), str) or not asked[key]:
            raise invalid(f"snapshot.{snake} must be specified.")
    path = f"projects/{asked['projectId']}/global/snapshots/{asked['snapshotId']}"
    if asked["projectId"] != project:
        raise ApiError("PERMISSION_DENIED", f"Required 'compute.snapshots.useReadOnly' permission for '{path}'")
    try:
        snapshot = disks.find_snapshot(path, now)
    except ApiError as error:
        raise ApiError("NOT_FOUND", error.message) from error  # in this API's shape, not in Compute Engine's
    if snapshot.status(now) != "READY":
        raise ApiError(
            "FAILED_PRECONDITION", f"Snapshot '{path}' is in state {snapshot.status(now)}; it must be READY."
        )
    if snapshot.role != DATA:
        raise ApiError("FAILED_PRECONDITION", f"Snapshot '{path}' is not of the data disk of a Workbench instance.")
    return snapshot
