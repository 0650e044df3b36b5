"""The actions on saved files."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from shared.domain.plan.plan import Action, Activity
from shared.domain.record.status import ConditionType
from shared.domain.things.notebook import InstanceRef
from shared.domain.things.snapshots import Snapshot


class CreateSnapshot(Action, frozen=True, kw_only=True):
    """The action that saves the data disk of an instance."""

    condition = ConditionType.DATA_SAVED
    target = "name"
    activity = Activity.CREATE
    words = "save the files of {0.source.instance_id} in snapshot {0.name}"
    written_first = True

    name: str
    source: InstanceRef
    labels: Mapping[str, str]


class DeleteSnapshot(Action, frozen=True, kw_only=True):
    """The action that deletes a snapshot. If the snapshot has a manifest, the time of the deletion is then written into it."""

    condition = ConditionType.DATA_SAVED
    target = "name"
    activity = Activity.DELETE
    words = "delete snapshot {0.name}"
    written_first = True

    name: str


class SaveCopy(CreateSnapshot, frozen=True, kw_only=True):
    """The action that takes a copy of a user's files. Its failure does not delay anything else."""

    condition = ConditionType.COPIES_KEPT
    words = "save a copy of the files of {0.source.instance_id} in snapshot {0.name}"
    written_first = False  # the record names the copy before a pass plans this
    is_routine = True


class DropCopy(DeleteSnapshot, frozen=True, kw_only=True):
    """The action that deletes a copy that is no longer needed."""

    condition = ConditionType.COPIES_KEPT
    is_routine = True


class WriteManifest(Action, frozen=True, kw_only=True):
    """The action that writes the manifest of a snapshot: its content, or (`deleted_at`) its deletion."""

    condition = ConditionType.DATA_SAVED
    target = "snapshot.name"
    activity = Activity.CREATE

    snapshot: Snapshot
    deleted_at: datetime | None = None

    def does(self) -> Activity:
        """Return the activity that the manifest records: the creation of the snapshot or its deletion."""
        return Activity.DELETE if self.deleted_at is not None else Activity.CREATE

    def describe(self) -> str:
        """Return the action in words."""
        done = "its deletion" if self.deleted_at is not None else "what it holds"
        return f"write manifest of snapshot {self.snapshot.name}: {done}"


SnapshotAction = CreateSnapshot | DeleteSnapshot | WriteManifest
