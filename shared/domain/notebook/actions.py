"""The actions on an instance."""

from __future__ import annotations

from shared.domain.plan.plan import Action, Activity
from shared.domain.record.status import ConditionType
from shared.domain.things.notebook import InstanceRef, NotebookSpec, Patch


class CreateInstance(Action, frozen=True, kw_only=True):
    """The action that creates an instance in a zone."""

    condition = ConditionType.NOTEBOOK_READY
    target = "spec.instance_id"
    activity = Activity.CREATE
    words = "create instance {0.spec.instance_id} in {0.zone} ({0.spec.machine_type})"

    spec: NotebookSpec
    zone: str
    request_id: str


class StartInstance(Action, frozen=True, kw_only=True):
    """The action that starts a stopped instance."""

    condition = ConditionType.NOTEBOOK_READY
    target = "ref.instance_id"
    activity = Activity.ENABLE
    words = "start instance {0.ref.instance_id}"

    ref: InstanceRef


class StopInstance(Action, frozen=True, kw_only=True):
    """The action that stops a running instance."""

    condition = ConditionType.NOTEBOOK_READY
    target = "ref.instance_id"
    activity = Activity.DISABLE
    words = "stop instance {0.ref.instance_id}"

    ref: InstanceRef


class ResetInstance(Action, frozen=True, kw_only=True):
    """The action that restarts a running instance on its machine.

    The record is saved before the call: the call has no request id, and a second call would restart the notebook again.
    """

    condition = ConditionType.NOTEBOOK_READY
    target = "ref.instance_id"
    activity = Activity.ENABLE
    words = "restart instance {0.ref.instance_id}"
    written_first = True

    ref: InstanceRef


class ResizeDisk(Action, frozen=True, kw_only=True):
    """The action that makes a disk larger.

    `disk` is "boot" or "data"; `change` is the digest of all wanted larger disks.
    """

    condition = ConditionType.NOTEBOOK_READY
    target = "ref.instance_id"
    activity = Activity.ENABLE
    words = "make the {0.disk} disk of {0.ref.instance_id} {0.size_gb} GB large"

    ref: InstanceRef
    disk: str
    size_gb: int
    change: str


class DeleteInstance(Action, frozen=True, kw_only=True):
    """The action that deletes an instance and its disks."""

    condition = ConditionType.NOTEBOOK_READY
    target = "ref.instance_id"
    activity = Activity.DELETE
    words = "delete instance {0.ref.instance_id} in {0.ref.zone}"
    written_first = True

    ref: InstanceRef
    request_id: str


class UpdateInstance(Action, frozen=True, kw_only=True):
    """The action that patches an instance. `disruptive` is the digest of those changes that need a stopped instance, "" for none."""

    condition = ConditionType.NOTEBOOK_READY
    target = "ref.instance_id"
    activity = Activity.ENABLE

    ref: InstanceRef
    patch: Patch
    disruptive: str
    request_id: str

    def describe(self) -> str:
        """Return the action in words."""
        return f"update instance {self.ref.instance_id}: {', '.join(_patched(self.patch))}"


class RestoreData(Action, frozen=True, kw_only=True):
    """The action that replaces the content of the instance's data disk by the content of a snapshot."""

    condition = ConditionType.NOTEBOOK_READY
    target = "ref.instance_id"
    activity = Activity.ENABLE
    words = "restore instance {0.ref.instance_id} from snapshot {0.snapshot}"
    written_first = True

    ref: InstanceRef
    snapshot: str


NotebookAction = (
    CreateInstance
    | StartInstance
    | StopInstance
    | ResetInstance
    | ResizeDisk
    | DeleteInstance
    | UpdateInstance
    | RestoreData
)


def _patched(patch: Patch) -> list[str]:
    names = [f"label {name}" for name in patch.labels] + [f"metadata {name}" for name in patch.metadata]
    whole = {
        "machine type": patch.machine_type is not None,
        "accelerators": patch.accelerators is not None,
        "shielded VM": patch.shielded is not None,
        "network tags": patch.tags is not None,
        "public IP": patch.disable_public_ip,
    }
    return sorted(names + [name for name, is_patched in whole.items() if is_patched])
