"""The check of values of Compute Engine in a configuration: zones, network, machine types, disks, accelerators and images.

The values are compared with the shipped table, or the project itself is queried (`shared.compute_live`). `shared.checking`
calls this module; the functions do not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from shared.compute_table import Table, Verdict
from shared.faults import ConfigFault, Loc, Place

ZONE = re.compile(r"^[a-z]+-[a-z]+\d+-[a-z]$")
_DEFAULT_PROJECT, _DEFAULT_FAMILY = "cloud-notebooks-managed", "workbench-instances-2603"
_DEFAULT_DISK = "PD_BALANCED"


def zones_of(settings: Place) -> tuple[str, ...]:
    """Return the zones in the raw settings, without checks."""
    return tuple(zone.strip() for zone in settings.items("zones") if isinstance(zone, str))


def offer_faults(settings: Place, profiles: Place, judge: Table) -> Iterator[ConfigFault]:
    """Yield a fault or a note for each value that Compute Engine does not offer. `judge` decides about each value."""
    zones = zones_of(settings)
    for index, zone in enumerate(settings.items("zones")):
        if isinstance(zone, str) and ZONE.match(zone.strip()):  # any other text is a fault of the file's shape
            yield from _judged(settings, ("zones", index), judge.zone(zone.strip()))
    region = zones[0].rpartition("-")[0] if zones else ""
    for field, verdict in (("network", judge.network), ("subnet", judge.subnet)):
        said = settings.at("network", field)
        if isinstance(said, str) and said:
            yield from _judged(settings, ("network", field), _region_of(said, region) or verdict(said))
    for name in profiles.section("profiles"):
        yield from _profile(profiles, ("profiles", name), zones, judge)


def _region_of(said: str, region: str) -> Verdict | None:
    """Return a verdict if the subnetwork is in another region than the zones; None otherwise, or without a region."""
    parts = said.split("/")
    other = parts[parts.index("regions") + 1] if "regions" in parts[:-1] else region
    if not region or other == region:
        return None
    return Verdict(f"it is in {other}, and the zones are in {region}", f"Name a subnetwork of {region}.")


def _profile(place: Place, loc: Loc, zones: tuple[str, ...], judge: Table) -> Iterator[ConfigFault]:
    machine = _text(place.at(*loc, "machine_type"))
    if machine:
        yield from _judged(place, (*loc, "machine_type"), judge.machine(machine, zones))
    for field in ("boot_disk", "data_disk"):
        here = (*loc, field, "type") if place.at(*loc, field, "type") is not None else (*loc, "machine_type")
        disk = _text(place.at(*loc, field, "type")) or _DEFAULT_DISK
        verdict = _in_capitals(
            "disk type", disk, partial(judge.disk, machine=machine, zones=zones, boots=field == "boot_disk")
        )
        if (
            verdict is not None and here[-1] != "type"
        ):  # the default does not fit: the fault is that the field is missing
            verdict = Verdict(
                f"the {field} is {_DEFAULT_DISK} by default: {verdict.problem}",
                f"Write {field}: {{type: …}}. {verdict.hint}",
                verdict.is_note,
            )
        yield from _judged(place, here, verdict)
    kind, count = _text(place.at(*loc, "accelerator", "type")), place.at(*loc, "accelerator", "count")
    number = 1 if count is None else count
    if kind and isinstance(number, int):
        verdict = _in_capitals("accelerator type", kind, lambda name: judge.accelerator(name, number, machine, zones))
        at = (
            "count"
            if verdict is not None and verdict.problem.startswith(f"{number} of") and count is not None
            else "type"
        )
        yield from _judged(place, (*loc, "accelerator", at), verdict)
    yield from _image(place, (*loc, "image"), judge)


def _in_capitals(what: str, said: str, judged: Callable[[str], Verdict | None]) -> Verdict | None:
    """Return the verdict on a name that must have the form of Workbench's API, such as `PD_SSD`; None if the name is valid.

    For Compute Engine's form `pd-ssd`, the verdict suggests the right form.
    """
    name = said.upper().replace("-", "_")
    verdict = judged(name)
    if name == said:
        return verdict
    return Verdict(
        f"no {what} '{said}'", f"Did you mean '{name}'?" if verdict is None or verdict.is_note else verdict.hint
    )


def _image(place: Place, loc: Loc, judge: Table) -> Iterator[ConfigFault]:
    image = place.section(*loc)
    project = _text(image.get("project")) or _DEFAULT_PROJECT
    name, family = _text(image.get("name")), _text(image.get("family"))
    if name:
        yield from _judged(place, (*loc, "name"), judge.image_name(project, name))
    elif family or not image:
        verdict = judge.image(project, family or _DEFAULT_FAMILY)
        at = "project" if verdict is not None and "project" in verdict.problem and "project" in image else "family"
        yield from _judged(place, (*loc, at), verdict)


def _judged(place: Place, loc: Loc, verdict: Verdict | None) -> Iterator[ConfigFault]:
    if verdict is not None:
        yield place.fault(loc, verdict.problem, verdict.hint, is_note=verdict.is_note)


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""
