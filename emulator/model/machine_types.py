"""The hardware of Compute Engine: machine types, the series of each zone, and the accelerators and disks that fit them.

The tables in `data/` name their sources and dates. A check returns an error in Compute Engine's words, or None.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_DATA = Path(__file__).with_name("data")
_CUSTOM = re.compile(r"^(?:(?P<series>[a-z]\w+)-)?custom-(?P<vcpus>\d{1,3})-(?P<mb>\d{3,7})(?P<ext>-ext)?$")
_NOT_BOOTABLE = frozenset(["pd-extreme", "hyperdisk-throughput", "hyperdisk-ml"])
_LIKE_N1 = {"F1": "N1", "G1": "N1"}


@dataclass(frozen=True, slots=True)
class MachineType:
    """A machine type: its series (`N2`), its vCPUs, and the accelerators that it includes."""

    name: str
    series: str
    vcpus: int
    accelerator: str = ""
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class _Custom:
    """The limits of a series' custom machine types: the most vCPUs, and the memory in MB for each vCPU."""

    most: int
    low: int
    high: int


# https://docs.cloud.google.com/compute/docs/instances/creating-instance-with-custom-machine-type, read 2026-11-29
_CUSTOMS = {
    "N1": _Custom(96, 922, 6656),
    "N2": _Custom(128, 512, 8192),
    "N2D": _Custom(96, 512, 8192),
    "E2": _Custom(32, 512, 8192),
    "N4": _Custom(80, 2048, 8192),
    "N4A": _Custom(64, 2048, 8192),
    "N4D": _Custom(96, 2048, 8192),
}
_BLOCK_MB = 256
_STEP_OF_FOUR_FROM = 32  # vCPUs of an N2 beyond this number come in fours
_EXTENDED_HIGH_MB = 640 * 1024


def _rows(name: str) -> list[list[str]]:
    """Return the rows of a table, without comments and header."""
    lines = (_DATA / name).read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines if not line.startswith("#")][1:]


def _numbers(text: str) -> dict[str, int]:
    """Return the mapping in a text such as `8 1g=12`. A key without `=` is its own number."""
    return {key: int(number or key) for key, _, number in (part.partition("=") for part in text.split())}


@functools.cache
def _types() -> Mapping[str, MachineType]:
    found: dict[str, MachineType] = {}
    for kind, sizes, *gpu in _rows("machine-types.tsv"):
        series = kind.partition("-")[0].upper()
        counts = _numbers(gpu[1]) if gpu else {}
        for size, vcpus in _numbers(sizes).items():
            name = f"{kind}-{size}"
            accelerator = gpu[0] if gpu else ""
            found[name] = MachineType(name, _LIKE_N1.get(series, series), vcpus, accelerator, counts.get(size, 0))
    return found


# The series of each zone, such as `N2`; `N1*` is an N1 that needs a T4.
_SERIES: Mapping[str, frozenset[str]] = {zone: frozenset(series.split()) for zone, series in _rows("zones.tsv")}
ZONES: tuple[str, ...] = tuple(_SERIES)


@functools.cache
def machine_type(name: str) -> MachineType | None:
    """Return the machine type of this name, predefined or custom; None for an unknown name."""
    return _types().get(name) or _custom(name)


def _custom(name: str) -> MachineType | None:
    match = _CUSTOM.match(name)
    if match is None:
        return None
    series = (match["series"] or "n1").upper()
    limits = _CUSTOMS.get(series)
    vcpus, mb = int(match["vcpus"]), int(match["mb"])
    if limits is None or not 0 < vcpus <= limits.most or mb % _BLOCK_MB:
        return None
    if (vcpus % 2 and (vcpus > 1 or series != "N1")) or (series == "N2" and vcpus > _STEP_OF_FOUR_FROM and vcpus % 4):
        return None
    high = _EXTENDED_HIGH_MB if match["ext"] and series != "E2" else limits.high * vcpus
    return MachineType(name, series, vcpus) if limits.low * vcpus <= mb <= high else None


def vcpus_of(machine: str) -> int:
    """Return the vCPUs of a machine type's name or URL, 4 if the table does not have the type."""
    found = machine_type(machine.rpartition("/")[2])
    return found.vcpus if found is not None else 4


def machine_problem(project: str, zone: str, name: str, *, accelerator: str = "") -> str | None:
    """Return why the zone has no such machine type, in Compute Engine's words; None if the zone has the type.

    In some zones, N1 machines exist only with a T4.
    """
    kind, offered = machine_type(name), _SERIES.get(zone, frozenset[str]())
    if kind is not None and kind.series in offered:
        return None
    if kind is not None and f"{kind.series}*" in offered and accelerator.startswith("NVIDIA_TESLA_T4"):
        return None
    url = f"https://www.googleapis.com/compute/v1/projects/{project}/zones/{zone}/machineTypes/{name}"
    return (
        f"Invalid value for field 'resource.machineType': '{url}'. Machine type with name '{name}' does not exist in zone "
        f"'{zone}'."
    )


def compute_name(accelerator: str) -> str:
    """Return Compute Engine's name of an accelerator: `nvidia-tesla-t4`."""
    return accelerator.lower().replace("_", "-")


@functools.cache
def _attachable() -> Mapping[str, tuple[Mapping[str, int], frozenset[str]]]:
    return {name: (_numbers(counts), frozenset(zones.split())) for name, counts, zones in _rows("accelerators.tsv")}


def accelerator_problem(project: str, zone: str, machine: MachineType, accelerator: str, count: int) -> str | None:
    """Return why these accelerators do not fit the machine or the zone; None if they fit.

    Only N1 machines take accelerators. A2, A3, A4, G2 and G4 machines include accelerators, which may be named with the
    included number.
    """
    shown = compute_name(accelerator)
    incompatible = f"[{shown}, {machine.name}] features are not compatible for creating instance."
    if machine.accelerator:
        return None if (accelerator, count) == (machine.accelerator, machine.gpus) else incompatible
    base = accelerator.removesuffix("_VWS")
    counts, zones = _attachable().get(base, ({}, frozenset[str]()))
    known = any(accelerator == kind.accelerator for kind in _types().values())
    if not counts and not known:
        return f"The resource 'projects/{project}/zones/{zone}/acceleratorTypes/{shown}' was not found"
    if machine.series != "N1" or machine.name in {"f1-micro", "g1-small"} or not counts:
        return incompatible
    if zone not in zones:
        return f"The resource 'projects/{project}/zones/{zone}/acceleratorTypes/{shown}' was not found"
    most = counts.get(str(count))
    if most is None:
        return f"[{shown}={count}, {machine.name}] features are not compatible for creating instance."
    return None if machine.vcpus <= most else incompatible


@functools.cache
def _disk_types() -> Mapping[str, Mapping[str, int]]:
    return {
        series: {kind: int(least or 0) for kind, _, least in (part.partition(">=") for part in types.split())}
        for series, types in _rows("disk-types.tsv")
    }


def has_accelerator(zone: str, name: str) -> bool:
    """Return True if the zone has this accelerator (`nvidia-l4`), on its own or as part of a machine type."""
    bound = {kind.series for kind in _types().values() if kind.accelerator and compute_name(kind.accelerator) == name}
    attached = any(compute_name(base) == name and zone in zones for base, (_, zones) in _attachable().items())
    return attached or bool(bound & _SERIES[zone])


def has_disk_type(zone: str, name: str) -> bool:
    """Return True if any machine series of the zone supports this disk type (`pd-ssd`)."""
    return any(name in _disk_types().get(series.rstrip("*"), {}) for series in _SERIES[zone])


def default_disk(machine: MachineType) -> str:
    """Return the default disk type, as the API names it: the most basic one that fits the machine."""
    kinds = _disk_types()[machine.series]
    plain = next(kind for kind in ("pd-standard", "pd-balanced", "hyperdisk-balanced") if kind in kinds)
    return plain.upper().replace("-", "_")


def disk_problem(machine: MachineType, disk_type: str, *, boot: bool = False) -> str | None:
    """Return why the machine cannot have a disk of this type (`PD_SSD`), in Compute Engine's words; None if the disk fits."""
    kind = disk_type.lower().replace("_", "-")
    least = _disk_types()[machine.series].get(kind)
    if least is None or machine.vcpus < least or (machine.name == "a3-ultragpu-8g" and kind.startswith("pd-")):
        return f"{kind} disk type cannot be used by {machine.name} machine type."
    if boot and kind in _NOT_BOOTABLE:
        return f"{kind} disk type cannot be used for boot disks."
    return None
