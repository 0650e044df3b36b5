"""Workbench instances between the domain's words and the Notebooks API's JSON: create bodies, patches, and what a read gives."""

from __future__ import annotations

import re
from typing import Any

from shared.domain.catalog import Accelerator, Disk, Identity, ShieldedVm, VmImage
from shared.domain.identity import InstanceId
from shared.domain.notebook import InstanceRef, Network, NotebookSpec, NotebookState, ObservedNotebook, Patch
from shared.domain.times import parse_time

_HOST = re.compile(r"^https?://[^/]+/(?:compute/)?v1/")


def instance_body(spec: NotebookSpec) -> dict[str, Any]:
    """The create request's JSON. The API's own defaults are a public IP and a shared service account; ours are neither."""
    setup: dict[str, Any] = {
        "machineType": spec.machine_type,
        "vmImage": {
            "project": spec.image.project,
            **({"family": spec.image.family} if spec.image.family is not None else {"name": spec.image.name}),
        },
        "bootDisk": {"diskSizeGb": str(spec.boot_disk.size_gb), "diskType": spec.boot_disk.type},
        "dataDisks": [{"diskSizeGb": str(spec.data_disk.size_gb), "diskType": spec.data_disk.type}],
        "shieldedInstanceConfig": _shielded_body(spec.shielded),
        "disablePublicIp": True,
        "metadata": dict(spec.metadata),
    }
    if spec.accelerator is not None:
        setup |= _accelerator_body((spec.accelerator,))
    if spec.network.network or spec.network.subnet:
        setup["networkInterfaces"] = [{"network": spec.network.network, "subnet": spec.network.subnet}]
    if spec.tags:
        setup["tags"] = list(spec.tags)
    body: dict[str, Any] = {"instanceOwners": [spec.owner], "labels": dict(spec.labels), "gceSetup": setup}
    match spec.identity:
        case Identity.END_USER_CREDENTIALS:
            body["enableManagedEuc"] = True
        case Identity.PERSONAL_SERVICE_ACCOUNT:
            setup["serviceAccounts"] = [{"email": spec.service_account}]
    return body


def patch_body(patch: Patch) -> tuple[dict[str, Any], list[str]]:
    """The patch request's JSON and its update mask, empty when there is nothing to change.

    `gce_setup` alone is no valid mask. A GPU that is added brings its driver along, as at creation.
    """
    setup: dict[str, Any] = {}
    body: dict[str, Any] = {}
    mask = []
    if patch.labels:
        mask.append("labels")
        body["labels"] = dict(patch.labels)
    if patch.metadata:
        setup["metadata"] = dict(patch.metadata)
    if patch.machine_type is not None:
        setup["machineType"] = patch.machine_type
    if patch.accelerators is not None:
        setup |= _accelerator_body(patch.accelerators)
    if patch.shielded is not None:
        setup["shieldedInstanceConfig"] = _shielded_body(patch.shielded)
    if patch.tags is not None:
        setup["tags"] = list(patch.tags)
    if patch.disable_public_ip:
        setup["disablePublicIp"] = True
    mask += [f"gce_setup.{_snake(name)}" for name in setup]
    return ({**body, "gceSetup": setup} if setup else body), mask


def observed_from(raw: dict[str, Any]) -> ObservedNotebook:
    """An instance's JSON in the domain's words. `updateTime` moves with health reports and says nothing about use.

    A listing leaves out the image and the disks' types (recorded), reads leave out the owner: unknown, not absent.
    """
    parts = str(raw["name"]).split("/")
    setup = raw.get("gceSetup", {})
    interfaces = setup.get("networkInterfaces", [])
    accounts = setup.get("serviceAccounts", [])
    return ObservedNotebook(
        ref=InstanceRef(instance_id=InstanceId(parts[5]), zone=parts[3]),
        state=_state(str(raw.get("state", ""))),
        machine_type=str(setup.get("machineType", "")).rpartition("/")[2],
        labels=dict(raw.get("labels", {})),
        metadata=dict(setup.get("metadata", {})),
        proxy_uri=str(raw.get("proxyUri", "")),
        health=str(raw.get("healthState", "")),
        gce_instance_id=str(setup.get("instanceId", "")),
        uid=str(raw.get("id", "")),
        create_time=parse_time(raw["createTime"]) if raw.get("createTime") else None,
        has_public_ip=any(interface.get("accessConfigs") for interface in interfaces),
        owners=_owners(raw),
        service_account=str(accounts[0].get("email", "")) if accounts else "",
        managed_euc=bool(raw["enableManagedEuc"]) if "enableManagedEuc" in raw else None,
        network=_network(interfaces[0]) if interfaces else Network(),
        image=_image(setup.get("vmImage")),
        boot_disk=_disk(setup.get("bootDisk")),
        data_disk=_disk(next(iter(setup.get("dataDisks", [])), None)),
        accelerators=tuple(
            Accelerator(type=str(each["type"]), count=int(each.get("coreCount", 0)))
            for each in setup.get("acceleratorConfigs", [])
        ),
        shielded=_shielded(setup.get("shieldedInstanceConfig")),
        tags=tuple(setup.get("tags", [])),
    )


def _accelerator_body(accelerators: tuple[Accelerator, ...]) -> dict[str, Any]:
    body: dict[str, Any] = {
        "acceleratorConfigs": [{"type": each.type, "coreCount": str(each.count)} for each in accelerators]
    }
    return {**body, "gpuDriverConfig": {"enableGpuDriver": True}} if accelerators else body


def _shielded_body(shielded: ShieldedVm) -> dict[str, bool]:
    return {
        "enableSecureBoot": shielded.secure_boot,
        "enableVtpm": shielded.vtpm,
        "enableIntegrityMonitoring": shielded.integrity_monitoring,
    }


def _snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda found: f"_{found[0].lower()}", name)


def _network(interface: dict[str, Any]) -> Network:
    """Both as `projects/...`: reads give whole URLs."""
    network, subnet = (_HOST.sub("", str(interface.get(name, ""))) for name in ("network", "subnet"))
    return Network(network=network, subnet=subnet)


def _image(raw: dict[str, Any] | None) -> VmImage | None:
    if not raw:
        return None
    return VmImage(project=str(raw.get("project", "")), family=raw.get("family"), name=raw.get("name"))


def _disk(raw: dict[str, Any] | None) -> Disk | None:
    if not raw or "diskSizeGb" not in raw or "diskType" not in raw:
        return None
    return Disk(size_gb=int(raw["diskSizeGb"]), type=str(raw["diskType"]))


def _shielded(raw: dict[str, Any] | None) -> ShieldedVm | None:
    """What is false is left out of JSON; without the whole key nothing is known."""
    if raw is None:
        return None
    return ShieldedVm(
        secure_boot=bool(raw.get("enableSecureBoot")),
        vtpm=bool(raw.get("enableVtpm")),
        integrity_monitoring=bool(raw.get("enableIntegrityMonitoring")),
    )


def _state(text: str) -> NotebookState:
    try:
        return NotebookState(text)
    except ValueError:
        return NotebookState.UNSPECIFIED  # a state newer than this product: treated as "in transition"


def _owners(raw: dict[str, Any]) -> tuple[str, ...] | None:
    """Reads do not return `instanceOwners` (recorded); in single-user mode the system writes the one owner into the metadata."""
    if "instanceOwners" in raw:
        return tuple(raw["instanceOwners"])
    mail = raw.get("gceSetup", {}).get("metadata", {}).get("proxy-user-mail")
    return (str(mail),) if mail else None
