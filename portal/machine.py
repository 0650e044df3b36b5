"""The machine of a notebook in words, for the owner's page: the present machine and its size."""

from __future__ import annotations

from msgspec.structs import replace

from shared.cloud.dataproc.template_size import machine_size
from shared.domain.fleet.spent import machine_in_use
from shared.domain.record.record import UserRecord
from shared.domain.things.catalog import Profile
from shared.domain.things.meter import MeterKind, What


def machine_of_now(record: UserRecord, profile: Profile | None, *, changes: bool) -> What:
    """Return the present machine, without its GPUs, and the size of its data disk.

    While a change waits (`changes`), return the metered machine and disk, else those of the profile.
    """
    if changes:
        metered = machine_in_use(record)
        return replace(metered, machine=metered.machine.partition("+")[0])  # without its GPUs
    disk = 0 if profile is None else profile.data_disk.size_gb
    return What(kind=MeterKind.NOTEBOOK, machine="" if profile is None else profile.machine_type, disk_gb=disk)


def size_text(machine_type: str) -> str:
    """Return the size of a machine as `4 vCPU · 16 GB`, without figures that the type's name does not contain."""
    vcpus, memory_gb = machine_size(machine_type)
    parts = [f"{vcpus} vCPU" if vcpus is not None else "", f"{memory_gb:.4g} GB" if memory_gb is not None else ""]
    return " · ".join(part for part in parts if part)


def named_machine(machine_type: str) -> str:
    """Return the machine type with its size, such as `n2-standard-8 (8 vCPU, 32 GB)`; without the size if it is unknown."""
    size = size_text(machine_type).replace(" · ", ", ")
    return f"{machine_type} ({size})" if size else machine_type
