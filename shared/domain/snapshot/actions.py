"""What can be asked of the cloud about saved files."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from shared.domain.plan.plan import Action
from shared.domain.record.status import ConditionType
from shared.domain.things.notebook import InstanceRef
from shared.domain.things.snapshots import Snapshot


class CreateSnapshot(Action, frozen=True, kw_only=True):
    """Save the data disk of an instance."""

    condition = ConditionType.DATA_SAVED
    target = "name"
    words = "save the files of {0.source.instance_id} in snapshot {0.name}"
    written_first = True

    name: str
    source: InstanceRef
    labels: Mapping[str, str]


class DeleteSnapshot(Action, frozen=True, kw_only=True):
    """Delete a snapshot; its manifest then says when."""

    condition = ConditionType.DATA_SAVED
    target = "name"
    words = "delete snapshot {0.name}"
    written_first = True

    name: str


class WriteManifest(Action, frozen=True, kw_only=True):
    """Write down what a snapshot holds, or (`deleted_at`) that it was deleted."""

    condition = ConditionType.DATA_SAVED
    target = "snapshot.name"

    snapshot: Snapshot
    deleted_at: datetime | None = None

    def describe(self) -> str:
        """Return the action in words."""
        done = "its deletion" if self.deleted_at is not None else "what it holds"
        return f"write manifest of snapshot {self.snapshot.name}: {done}"


SnapshotAction = CreateSnapshot | DeleteSnapshot | WriteManifest
