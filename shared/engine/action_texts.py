"""Actions in words: what a plan prints, and what the log says of it."""

from __future__ import annotations

from typing import assert_never

from shared.domain.notebook import Patch
from shared.domain.plan import (
    AccountAction,
    Action,
    ClusterAction,
    CreateAccount,
    CreateCluster,
    CreateInstance,
    CreateSnapshot,
    DeleteAccount,
    DeleteCluster,
    DeleteInstance,
    DeleteSnapshot,
    DisableAccount,
    EnableAccount,
    EndSession,
    JoinGroup,
    KeepingAction,
    LeaveGroup,
    PutTemplate,
    RemoveTemplate,
    RestoreData,
    ShareAccount,
    StartInstance,
    StopInstance,
    UpdateInstance,
    WriteManifest,
)


def action_text(action: Action) -> str:
    """One action in a line."""
    match action:
        case CreateInstance():
            return f"create instance {action.spec.instance_id} in {action.zone} ({action.spec.machine_type})"
        case StartInstance():
            return f"start instance {action.ref.instance_id}"
        case StopInstance():
            return f"stop instance {action.ref.instance_id}"
        case DeleteInstance():
            return f"delete instance {action.ref.instance_id} in {action.ref.zone}"
        case UpdateInstance():
            return f"update instance {action.ref.instance_id}: {', '.join(_patched(action.patch))}"
        case RestoreData():
            return f"restore instance {action.ref.instance_id} from snapshot {action.snapshot}"
        case PutTemplate():
            return f"write template {action.template}"
        case RemoveTemplate():
            return f"remove template {action.template}"
        case CreateCluster() | DeleteCluster() | EndSession():
            return _spark_text(action)
        case CreateSnapshot() | DeleteSnapshot() | WriteManifest():
            return _keeping_text(action)
        case _:
            return _account_text(action)


def _spark_text(action: ClusterAction | EndSession) -> str:
    match action:
        case CreateCluster():
            where = f" in {action.zone}" if action.zone else ""
            return f"create Spark cluster {action.name}{where} from template {action.template}"
        case DeleteCluster():
            return f"delete Spark cluster {action.name}"
        case EndSession():
            return f"end Spark session {action.name}"
        case _:
            assert_never(action)


def _keeping_text(action: KeepingAction) -> str:
    match action:
        case CreateSnapshot():
            return f"save the files of {action.source.instance_id} in snapshot {action.name}"
        case DeleteSnapshot():
            return f"delete snapshot {action.name}"
        case WriteManifest():
            done = "its deletion" if action.deleted_at is not None else "what it holds"
            return f"write manifest of snapshot {action.snapshot.name}: {done}"
        case _:
            assert_never(action)


def _account_text(action: AccountAction) -> str:
    match action:
        case CreateAccount():
            return f"create service account {action.account_id}"
        case ShareAccount():
            whom = "its owner, and nobody else" if action.user is not None else "nobody"
            return f"share service account {action.account_id} with {whom}"
        case EnableAccount():
            return f"enable service account {action.account_id}"
        case DisableAccount():
            return f"disable service account {action.account_id}"
        case DeleteAccount():
            return f"delete service account {action.account_id}"
        case JoinGroup():
            return f"add service account {action.account_id} to {action.group}"
        case LeaveGroup():
            return f"take service account {action.account_id} out of {action.group}"
        case _:
            assert_never(action)


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
