"""The size of a master template's clusters, from the template alone: machines, vCPUs, memory, GPUs. Pure.

Machine types have their vCPUs in their name; memory follows from the family (Compute Engine's machine-type pages). A
figure that the name does not contain is None.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any

from msgspec import Struct

from shared.domain.things.catalog import MasterTemplate

# GB of memory for each vCPU, for families that differ from _USUAL.
_GB_PER_VCPU = {
    ("n1", "standard"): 3.75, ("n1", "highmem"): 6.5, ("n1", "highcpu"): 0.9,
    ("c2d", "highcpu"): 2.0, ("c3", "highcpu"): 2.0, ("c3d", "highcpu"): 2.0, ("c4", "highcpu"): 2.0, ("n4", "highcpu"): 2.0,
    ("c4", "standard"): 3.75, ("c4", "highmem"): 7.75, ("c4a", "highcpu"): 2.0,
}  # fmt: skip
_USUAL = {"standard": 4.0, "highmem": 8.0, "highcpu": 1.0}
_FAMILIES = frozenset(["n1", "n2", "n2d", "n4", "e2", "c2", "c2d", "c3", "c3d", "c4", "c4a", "t2d", "t2a", "g2"])
_SHARED_CORE = {
    "e2-micro": (2, 1.0),
    "e2-small": (2, 2.0),
    "e2-medium": (2, 4.0),
    "f1-micro": (1, 0.6),
    "g1-small": (1, 1.7),
}
_PREDEFINED = re.compile(r"([a-z]\d[a-z]?)-(standard|highmem|highcpu)-(\d{1,3})(-lssd)?")
_CUSTOM = re.compile(r"(?:([a-z]\d[a-z]?)-)?custom-(\d{1,3})-(\d{3,7})(-ext)?")
_OTHER = re.compile(r"[a-z]\d[a-z]?-[a-z]+-(\d{1,3})")
_SECONDS = re.compile(r"(\d{1,9})(?:\.\d+)?s", re.ASCII)
_WITHOUT_WORKERS = "dataproc:dataproc.allow.zero.workers"
_USUAL_WORKERS = 2  # Dataproc's default if a template names no number of workers [PY: clusters.py InstanceGroupConfig]


class PriceClass(StrEnum):
    """The rough cost of an hour, by the size of the machines."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


_LOW_UP_TO, _MEDIUM_UP_TO = 8, 32  # vCPUs of the whole cluster


class ClusterSize(Struct, frozen=True, kw_only=True):
    """The size of a cluster as its template describes it. None means unknown.

    `unused_for` is the time without a job after which Dataproc deletes the cluster, `longest` the age at which it
    deletes the cluster in any case. `grows` is True if an autoscaling policy may add workers.
    """

    machines: int
    vcpus: int | None
    memory_gb: float | None
    gpus: int = 0
    grows: bool = False
    unused_for: timedelta | None = None
    longest: timedelta | None = None

    @property
    def price_class(self) -> PriceClass | None:
        """The price class: low up to 8 vCPUs, medium up to 32, otherwise high. GPUs or autoscaling raise it by one class. None if unknown."""
        if self.vcpus is None:
            return None
        order = list(PriceClass)
        step = 0 if self.vcpus <= _LOW_UP_TO else 1 if self.vcpus <= _MEDIUM_UP_TO else 2
        return order[min(step + (1 if self.gpus or self.grows else 0), len(order) - 1)]


def size_of(master: MasterTemplate) -> ClusterSize | None:
    """Return the size of a template's clusters; None for templates of sessions and for invalid YAML."""
    from shared.yaml_lines import YamlFaultError, load_yaml

    if master.is_session:
        return None
    try:
        data, _ = load_yaml(master.text)
    except YamlFaultError:
        return None
    config = _section(data, "config")
    workers = _section(config, "workerConfig")
    # Secondary workers are machines like the primary ones (docs.cloud.google.com/managed-spark, Secondary workers).
    secondary = {"machineTypeUri": workers.get("machineTypeUri", ""), **_section(config, "secondaryWorkerConfig")}
    groups = [
        (_section(config, "masterConfig"), 1),
        (workers, 0 if _is_alone(config) else _USUAL_WORKERS),
        (secondary, 0),
    ]
    sizes = [_group(group, usual) for group, usual in groups]
    known = [size for size in sizes if size.machines]
    vcpus = [size.vcpus for size in known]
    memory = [size.memory_gb for size in known]
    return ClusterSize(
        machines=sum(size.machines for size in known),
        vcpus=None if None in vcpus else sum(each or 0 for each in vcpus),
        memory_gb=None if None in memory else sum(each or 0.0 for each in memory),
        gpus=sum(size.gpus for size in known),
        grows=bool(_section(config, "autoscalingConfig").get("policyUri")),
        unused_for=_time(_section(config, "lifecycleConfig").get("idleDeleteTtl")),
        longest=_time(_section(config, "lifecycleConfig").get("autoDeleteTtl")),
    )


def _time(value: object) -> timedelta | None:
    """Return a duration as Dataproc writes it, such as `7200s`; None for any other value."""
    found = _SECONDS.fullmatch(value) if isinstance(value, str) else None
    return timedelta(seconds=int(found[1])) if found is not None else None


def machine_size(machine_type: str) -> tuple[int | None, float | None]:
    """Return (vCPUs, GB of memory) of a machine type by its name or full address.

    Return None for a figure that the name does not contain.
    """
    name = machine_type.rpartition("/")[2]
    if name in _SHARED_CORE:
        return _SHARED_CORE[name]
    if (match := _CUSTOM.fullmatch(name)) is not None:
        return int(match[2]), int(match[3]) / 1024
    if (match := _PREDEFINED.fullmatch(name)) is not None and match[1] in _FAMILIES:
        vcpus = int(match[3])
        return vcpus, vcpus * _GB_PER_VCPU.get((match[1], match[2]), _USUAL[match[2]])
    match = _OTHER.fullmatch(name)
    return (int(match[1]) if match is not None else None), None


def _is_alone(config: Mapping[str, Any]) -> bool:
    """Return True if the cluster may have no workers, so that it is a single machine."""
    properties = _section(config, "softwareConfig", "properties")
    return str(properties.get(_WITHOUT_WORKERS, "")).lower() == "true"


def _group(group: Mapping[str, Any], usual: int) -> ClusterSize:
    number = group.get("numInstances", usual)
    machines = number if isinstance(number, int) and number > 0 else usual  # the API cannot tell 0 from a missing value
    vcpus, memory_gb = machine_size(str(group.get("machineTypeUri", "")))
    accelerators = group.get("accelerators")
    gpus = sum(
        count
        for each in (accelerators if isinstance(accelerators, list) else [])
        if isinstance(each, dict) and isinstance(count := each.get("acceleratorCount"), int)
    )
    return ClusterSize(
        machines=machines,
        vcpus=None if vcpus is None else vcpus * machines,
        memory_gb=None if memory_gb is None else memory_gb * machines,
        gpus=gpus * machines,
    )


def _section(data: Any, *path: str) -> Mapping[str, Any]:
    for part in path:
        data = data.get(part) if isinstance(data, dict) else None
    return data if isinstance(data, dict) else {}
