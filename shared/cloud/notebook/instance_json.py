"""The conversion of Workbench instances between the domain's types and the Notebooks API's JSON: create bodies, patches, and reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from typing import Any

from msgspec import Struct, convert, field

from shared.domain.things.catalog import Accelerator, Disk, Identity, ShieldedVm, VmImage
from shared.domain.things.identity import InstanceId
from shared.domain.things.late import late
from shared.domain.things.notebook import InstanceRef, Network, NotebookSpec, NotebookState, ObservedNotebook, Patch
from shared.domain.things.times import parse_time

_MOST_KEPT = 256  # values that many instances share are made once
# A state newer than this product is none of these; it is treated as "in transition".
_STATES = {state.value: state for state in NotebookState}
_HOST = late(lambda: re.compile(r"^https?://[^/]+/(?:compute/)?v1/"))


def instance_body(spec: NotebookSpec) -> dict[str, Any]:
    """Return the create request's JSON. It switches off two defaults of the API: a public IP, and a shared service account."""
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
    """Return the patch request's JSON and its update mask; both are empty if there is nothing to change.

    `gce_setup` alone is not a valid mask. Adding a GPU also installs its driver, as at creation.
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


class _Email(Struct, frozen=True):
    email: str = ""


class _Interface(Struct, frozen=True):
    network: str = ""
    subnet: str = ""
    accessConfigs: tuple[Any, ...] = ()  # noqa: N815 - as the API writes it, here and below


class _Image(Struct, frozen=True):
    project: str = ""
    family: str | None = None
    name: str | None = None


class _Disk(Struct, frozen=True):
    diskSizeGb: int | None = None  # noqa: N815
    diskType: str | None = None  # noqa: N815


class _Accelerator(Struct, frozen=True):
    type: str
    coreCount: int = 0  # noqa: N815


class _Shielded(Struct, frozen=True):
    enableSecureBoot: bool = False  # noqa: N815
    enableVtpm: bool = False  # noqa: N815
    enableIntegrityMonitoring: bool = False  # noqa: N815


class _Setup(Struct, frozen=True):
    machineType: str = ""  # noqa: N815
    metadata: dict[str, str] = field(default_factory=dict)
    instanceId: str = ""  # noqa: N815
    networkInterfaces: tuple[_Interface, ...] = ()  # noqa: N815
    serviceAccounts: tuple[_Email, ...] = ()  # noqa: N815
    vmImage: _Image | None = None  # noqa: N815
    bootDisk: _Disk | None = None  # noqa: N815
    dataDisks: tuple[_Disk, ...] = ()  # noqa: N815
    acceleratorConfigs: tuple[_Accelerator, ...] = ()  # noqa: N815
    shieldedInstanceConfig: _Shielded | None = None  # noqa: N815
    tags: tuple[str, ...] = ()


class InstanceJson(Struct, frozen=True):
    """The fields of an instance's JSON that are read; all others are skipped without decoding."""

    name: str
    state: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    proxyUri: str = ""  # noqa: N815
    healthState: str = ""  # noqa: N815
    healthInfo: dict[str, Any] = field(default_factory=dict)  # noqa: N815
    id: str = ""
    createTime: str = ""  # noqa: N815
    instanceOwners: tuple[str, ...] | None = None  # noqa: N815
    enableManagedEuc: bool | None = None  # noqa: N815
    gceSetup: _Setup = _Setup()  # noqa: N815


def observed_from(raw: Mapping[str, Any]) -> ObservedNotebook:
    """Return an instance's parsed JSON as the domain's type."""
    return observed(convert(raw, InstanceJson, strict=False))


def observed(raw: InstanceJson) -> ObservedNotebook:
    """Return an instance as the domain's type. `updateTime` changes with health reports and says nothing about use.

    A listing leaves out the image and the disks' types (recorded), and reads leave out the owner: these are unknown, not absent.
    """
    parts, setup = raw.name.split("/"), raw.gceSetup
    return ObservedNotebook(
        ref=InstanceRef(instance_id=InstanceId(parts[5]), zone=parts[3]),
        state=_STATES.get(raw.state, NotebookState.UNSPECIFIED),
        machine_type=setup.machineType.rpartition("/")[2],
        labels=raw.labels,
        metadata=setup.metadata,
        proxy_uri=raw.proxyUri,
        health=raw.healthState,
        health_at=_reported(raw.healthInfo),
        proxy_agent_up={"1": True, "-1": False}.get(str(raw.healthInfo.get("docker_proxy_agent_status"))),
        gce_instance_id=setup.instanceId,
        uid=raw.id,
        create_time=parse_time(raw.createTime) if raw.createTime else None,
        has_public_ip=any(interface.accessConfigs for interface in setup.networkInterfaces),
        owners=_owners(raw),
        service_account=setup.serviceAccounts[0].email if setup.serviceAccounts else "",
        managed_euc=raw.enableManagedEuc,
        network=_network(setup.networkInterfaces[0]) if setup.networkInterfaces else Network(),
        image=_image(setup.vmImage),
        boot_disk=_disk(setup.bootDisk),
        data_disk=_disk(setup.dataDisks[0]) if setup.dataDisks else None,
        accelerators=tuple(Accelerator(type=each.type, count=each.coreCount) for each in setup.acceleratorConfigs),
        shielded=_shielded(setup.shieldedInstanceConfig),
        tags=setup.tags,
    )


def _reported(health: Mapping[str, Any]) -> datetime | None:
    """Return the time of the report: `last_updated` in recorded answers, `updated` in Google's documents. None if there is no valid time."""
    with suppress(ValueError):
        return parse_time(str(health.get("last_updated") or health.get("updated")))
    return None


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


def _network(interface: _Interface) -> Network:
    """Return network and subnetwork as `projects/...`, because reads return full URLs."""
    return _network_of(interface.network, interface.subnet)


@lru_cache(_MOST_KEPT)
def _network_of(network: str, subnet: str) -> Network:
    return Network(network=_HOST.sub("", network), subnet=_HOST.sub("", subnet))


@lru_cache(_MOST_KEPT)
def _image(raw: _Image | None) -> VmImage | None:
    if raw is None or raw == _Image():
        return None
    return VmImage(project=raw.project, family=raw.family, name=raw.name)


@lru_cache(_MOST_KEPT)
def _disk(raw: _Disk | None) -> Disk | None:
    if raw is None or raw.diskSizeGb is None or raw.diskType is None:
        return None
    return Disk(size_gb=raw.diskSizeGb, type=raw.diskType)


@lru_cache(_MOST_KEPT)
def _shielded(raw: _Shielded | None) -> ShieldedVm | None:
    """Return the shielded settings; None if the key is missing. JSON leaves out false fields."""
    if raw is None:
        return None
    return ShieldedVm(
        secure_boot=raw.enableSecureBoot,
        vtpm=raw.enableVtpm,
        integrity_monitoring=raw.enableIntegrityMonitoring,
    )


def _owners(raw: InstanceJson) -> tuple[str, ...] | None:
    """Return the owners; None if unknown.

    Reads do not return `instanceOwners` (recorded). In single-user mode the system writes the owner into the metadata.
    """
    if raw.instanceOwners is not None:
        return raw.instanceOwners
    mail = raw.gceSetup.metadata.get("proxy-user-mail")
    return (mail,) if mail else None
