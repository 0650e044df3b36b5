"""The shipped table of Compute Engine's offer (compute_table.yaml), and the checks of values against it.

The checks of the whole configuration (`shared.settings.offers`, `shared.cloud.dataproc`) call this module; running functions never do.
The table may be older than the platform, so an unlisted family is only a note. A misspelled name, or an unlisted size of a
listed family, is a fault with the nearest valid value.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from pathlib import Path

from msgspec import Struct, convert

FILE = Path(__file__).with_name("compute_table.yaml")
_ASK = "The table may be outdated: benchkeeper validate-config --live asks the project."
_FAMILY = re.compile(r"[a-z]\d{1,2}[a-z]?")
_KINDS = re.compile(r"(pd|hyperdisk|nvidia|ct\d)-", re.IGNORECASE)  # how names of disk and accelerator types begin
_REGION = re.compile(
    r"(africa|asia|australia|europe|me|northamerica|southamerica|us)-(north|south|east|west|central|northeast|southeast"
    r"|northwest|southwest)\d{1,2}"
)
_STEM = re.compile(r"(?P<stem>.*-)(?P<number>\d+)(?P<unit>g?)")
_CUSTOM = re.compile(r"(?:(?P<family>[a-z]\d+[a-z]?)-)?custom-(?P<vcpus>\d+)-(?P<mb>\d+)(?P<ext>-ext)?")
_MB_STEP, _EXT_MB = 256, 640 * 1024  # extended memory ends there
_LIKE_N1 = {"f1": "n1", "g1": "n1"}
_SHARED = ("f1-micro", "g1-small")  # of a shared core, which takes no GPU
_UNKNOWN = 0
_BEFORE_FAMILIES = "n1"  # the family of `custom-4-16384`


class Verdict(Struct, frozen=True):
    """The verdict on a value, with a hint at valid values. With `is_note`, the table cannot decide, so the value is not refused."""

    problem: str
    hint: str = ""
    is_note: bool = False


class Custom(Struct, frozen=True, forbid_unknown_fields=True):
    """The bounds of a family's custom types: the maximum vCPUs, and the minimum and maximum memory (MB) for each vCPU.

    `ext` is True if there are types with more memory (`-ext`). Above `fours_above` vCPUs, the number must be a multiple of
    four; 0 means that there is no such rule.
    """

    vcpus: int
    mb: tuple[int, int]
    ext: bool = True
    fours_above: int = 0


class BuiltIn(Struct, frozen=True, forbid_unknown_fields=True):
    """The GPU that the machine types of a class include, and the number of GPUs by the type's suffix: `1g=1 2g=2`."""

    gpu: str
    counts: str


class Accelerator(Struct, frozen=True, forbid_unknown_fields=True):
    """An accelerator type: its Workbench name, its valid numbers on an N1 (`1=48`: one, with up to 48 vCPUs), and its zones."""

    api: str
    counts: str = ""
    zones: str = ""


class Machine(Struct, frozen=True):
    """A machine type: its family, its vCPUs, and the GPUs that it includes."""

    family: str
    vcpus: int
    gpu: str = ""
    gpus: int = 0


class Table(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """The table as read from compute_table.yaml, where comments describe the fields.

    A method that judges a value returns None if it finds no fault.
    """

    date: date
    source: str
    zones: Mapping[str, str]
    known: tuple[str, ...]
    classes: Mapping[str, str | int]
    built_in: Mapping[str, BuiltIn]
    custom: Mapping[str, Custom]
    disks: Mapping[str, str]
    not_bootable: tuple[str, ...]
    accelerators: Mapping[str, Accelerator]
    images: Mapping[str, tuple[str, ...]]
    cluster_images: Mapping[str, tuple[str, ...]]
    session_runtimes: tuple[str, ...]

    @functools.cached_property
    def machines(self) -> Mapping[str, Machine]:
        """Return the predefined machine types by name."""
        found: dict[str, Machine] = {}
        for kind, sizes in self.classes.items():
            family, brings = kind.partition("-")[0], self.built_in.get(kind)
            gpus = {} if brings is None else _numbers(brings.counts)
            for size, vcpus in _numbers(str(sizes)).items():
                gpu = "" if brings is None else brings.gpu
                found[f"{kind}-{size}"] = Machine(_LIKE_N1.get(family, family), vcpus, gpu, gpus.get(size, 0))
        return found

    @functools.cached_property
    def all_disks(self) -> tuple[str, ...]:
        """Return the names of all disk types."""
        return tuple(dict.fromkeys(kind for kinds in self.disks.values() for kind in _least(kinds)))

    def sized(self, name: str) -> Machine | None:
        """Return a machine type; for an unlisted size of a listed family, with 0 vCPUs; None for an unknown family."""
        custom = _CUSTOM.fullmatch(name)
        if custom is not None and (custom["family"] or _BEFORE_FAMILIES) in self.disks:
            return Machine(custom["family"] or _BEFORE_FAMILIES, int(custom["vcpus"]))
        stem = name.partition("-")[0]
        return self.machines.get(name) or (Machine(stem, _UNKNOWN) if stem in self.disks else None)

    def zone(self, name: str) -> Verdict | None:
        """Return the verdict on a zone's name; None if the zone exists."""
        if name in self.zones:
            return None
        region = name.rpartition("-")[0]
        letters = [zone for zone in self.zones if zone.rpartition("-")[0] == region]
        if letters:
            return Verdict(
                f"no zone '{name}'", f"Did you mean '{letters[0]}'? The zones of {region}: {', '.join(letters)}."
            )
        close = close_to(name, self.zones)
        if _REGION.fullmatch(region):
            return Verdict(f"the region '{region}' is not in the table of {self.date}", _ASK, is_note=True)
        return Verdict(f"no zone '{name}'", f"{close}A zone looks like europe-west1-b.")

    def machine(self, name: str, zones: Iterable[str] = ()) -> Verdict | None:
        """Return the verdict on a machine type's short name, for these zones; None if it is valid."""
        kind, custom = self.sized(name), _CUSTOM.fullmatch(name)
        if kind is not None and (custom is not None or name in self.machines):
            wrong = self._custom(name, self.custom.get(kind.family), custom) if custom is not None else None
            return wrong or self._place(name, kind.family, tuple(zones))
        return self._unknown(name)

    def _unknown(self, name: str) -> Verdict:
        stem, _, rest = name.partition("-")
        of_family = [each for each in self.machines if each.startswith(f"{stem}-")]
        if of_family:
            return Verdict(f"no machine type '{name}'", self._nearest_size(name, of_family))
        if stem in self.known and rest:
            return Verdict(
                f"the sizes of the machine family '{stem}' are not in the table of {self.date}", _ASK, is_note=True
            )
        if _FAMILY.fullmatch(stem) and rest:
            return Verdict(f"the machine family '{stem}' is not in the table of {self.date}", _ASK, is_note=True)
        return Verdict(
            f"no machine type '{name}'", f"{close_to(name, self.machines)}A machine type looks like e2-standard-4."
        )

    def _nearest_size(self, name: str, of_family: list[str]) -> str:
        """Return the hint for an unlisted type of a listed family: the next larger or largest size, or the nearest name."""
        match = _STEM.fullmatch(name)
        if match is not None:
            sizes = {
                int(m["number"]): each
                for each in of_family
                if (m := _STEM.fullmatch(each)) and m["stem"] == match["stem"]
            }
            if sizes:
                wanted = int(match["number"])
                best = min((size for size in sizes if size >= wanted), default=max(sizes))
                shape = match["stem"].rstrip("-")
                return f"Did you mean '{sizes[best]}'? {shape} has {', '.join(map(str, sorted(sizes)))}."
        shapes = sorted({each.rpartition("-")[0] for each in of_family if each.count("-") > 1})
        return f"{close_to(name, of_family)}Valid: {', '.join(f'{shape}-…' for shape in shapes)}."

    def _custom(self, name: str, bounds: Custom | None, match: re.Match[str]) -> Verdict | None:
        problem = f"no machine type '{name}'"
        if bounds is None:
            family = name.partition("-")[0]
            like = next(each for each in self.machines if each.startswith(f"{family}-"))
            return Verdict(problem, f"The family {family} has no custom types. Valid: for example {like}.")
        stem, vcpus, memory = name[: match.start("vcpus")], int(match["vcpus"]), int(match["mb"])
        low, high = 1 if stem in {"custom-", "n1-custom-"} else 2, bounds.vcpus
        step = 4 if bounds.fours_above and vcpus > bounds.fours_above else 2
        if not low <= vcpus <= high or (vcpus % step and vcpus != 1):
            near = max(low, min(high, vcpus + -vcpus % step))
            return Verdict(
                problem, f"Did you mean '{stem}{near}-{near * 4096}'? Valid: an even number of vCPUs, {low} to {high}."
            )
        least, most = (vcpus * mb for mb in bounds.mb)
        most = _EXT_MB if match["ext"] and bounds.ext else most
        if memory % _MB_STEP or memory < least or memory > most:
            step = round(max(least, min(most, memory)) / _MB_STEP) * _MB_STEP
            return Verdict(
                problem,
                f"Did you mean '{stem}{vcpus}-{step}'? Valid: {least} to {most} MB for {vcpus} vCPUs, in steps of {_MB_STEP}.",
            )
        return None

    def _place(self, name: str, family: str, zones: tuple[str, ...]) -> Verdict | None:
        known = [zone for zone in zones if zone in self.zones]
        outside = [zone for zone in known if family not in self.zones[zone].split()]
        if not outside:
            return None
        problem = f"'{name}' is not in {', '.join(outside)}, according to the table of {self.date}"
        if len(outside) < len(known):
            return Verdict(
                problem, f"It is in {', '.join(zone for zone in known if zone not in outside)}. {_ASK}", is_note=True
            )
        like = next((each for each in self._siblings(name) if self.sized_in(each, outside[0])), "")
        return Verdict(problem, f"{f'Did you mean {like!r}? ' if like else ''}{_ASK}")

    def _siblings(self, name: str) -> Iterator[str]:
        """Yield the types of other families with the same shape and size."""
        rest = name.partition("-")[2]
        yield from (each for each in self.machines if each.partition("-")[2] == rest)

    def sized_in(self, name: str, zone: str) -> bool:
        """Return True if the zone has the family of a machine type."""
        kind = self.machines.get(name)
        return kind is not None and kind.family in self.zones.get(zone, "").split()

    def accelerator(self, name: str, count: int, machine: str, zones: Iterable[str] = ()) -> Verdict | None:
        """Return the verdict on an accelerator by either name (`NVIDIA_TESLA_T4`, `nvidia-tesla-t4`) on a machine; None if it fits."""
        zones = tuple(zones)
        wrong, kind = self.accelerator_type(name, machine, zones), self.sized(machine)
        short = self._short(name)
        if wrong is not None or short not in self.accelerators or kind is None:
            return wrong
        takes = self.accelerators[short].counts if kind.family == _BEFORE_FAMILIES and machine not in _SHARED else ""
        counts = _numbers(takes) if takes else {str(kind.gpus): kind.vcpus} if kind.gpu == short else {}
        if not counts:
            fitting = sorted({each.partition("-")[0] for each, found in self.built_in.items() if found.gpu == short})
            families = [_BEFORE_FAMILIES] if self.accelerators[short].counts else fitting
            return self.fit(Verdict(f"'{name}' does not fit {machine}", f"It fits {', '.join(families)}."), zones)
        if str(count) not in counts:
            near = min(counts, key=lambda each: (abs(int(each) - count), each))
            hint = f"The nearest number is {near}. Valid: {', '.join(counts)}."
            return self.fit(Verdict(f"{count} of '{name}' are not possible with {machine}", hint), zones)
        if counts[str(count)] < kind.vcpus:
            hint = f"Valid: at most {counts[str(count)]} vCPUs with {count}."
            return self.fit(
                Verdict(f"{count} of '{name}' do not fit {machine}, which has {kind.vcpus} vCPUs", hint), zones
            )
        return None

    def accelerator_type(self, name: str, machine: str, zones: Iterable[str] = ()) -> Verdict | None:
        """Return the verdict on an accelerator type without its number; None if the type is valid. Hints fit `machine`."""
        short = self._short(name)
        if name not in {short, self.accelerators[short].api if short in self.accelerators else ""}:
            short = ""
        if short not in self.accelerators:
            kind = self.sized(machine)
            fitting = [
                each
                for each, found in self.accelerators.items()
                if kind is None or each == kind.gpu or (found.counts and kind.family == _BEFORE_FAMILIES)
            ]
            valid = [self.accelerators[each].api if name.isupper() else each for each in fitting or self.accelerators]
            return _unlisted("accelerator type", name, valid, self.date)
        there = tuple(_zones(self.accelerators[short].zones))
        known = [zone for zone in zones if zone in self.zones]
        outside = [zone for zone in known if there and zone not in there]
        if not outside:
            return None
        return Verdict(
            f"'{name}' is not in {', '.join(outside)}, according to the table of {self.date}",
            _ASK,
            is_note=len(outside) < len(known),
        )

    def _short(self, name: str) -> str:
        """Return Compute Engine's name of an accelerator type; for an unlisted type, the name in lower case with hyphens."""
        return next(
            (each for each, kind in self.accelerators.items() if kind.api == name), name.lower().replace("_", "-")
        )

    def disk(self, name: str, machine: str, zones: Iterable[str] = (), *, boots: bool = False) -> Verdict | None:
        """Return the verdict on a disk type by either name (`PD_SSD`, `pd-ssd`) on a machine; None if it fits.

        `boots` is True for a boot disk.
        """
        wrong, kind = self.disk_type(name, zones), self.sized(machine)
        short = name.lower().replace("_", "-")
        if wrong is not None or short not in self.all_disks:
            return wrong
        least = (
            _least(self.disks.get(machine.rpartition("-")[0]) or self.disks[kind.family])
            if kind is not None
            else dict.fromkeys(self.all_disks, 0)
        )
        vcpus = _UNKNOWN if kind is None or not kind.vcpus else kind.vcpus
        valid = [
            each
            for each, from_ in least.items()
            if from_ <= (vcpus or from_) and not (boots and each in self.not_bootable)
        ]
        if short in valid:
            return None
        fitting = [_written(each, upper=name.isupper()) for each in valid]
        close = difflib.get_close_matches(name, fitting, n=1, cutoff=0.0)
        problem = (
            f"'{name}' cannot be a boot disk"
            if boots and short in least and short in self.not_bootable
            else f"'{name}' does not fit {machine}"
        )
        return self.fit(Verdict(problem, f"Did you mean '{close[0]}'? Valid: {', '.join(fitting)}."), tuple(zones))

    def disk_type(self, name: str, zones: Iterable[str] = ()) -> Verdict | None:  # noqa: ARG002 - the project needs the zones
        """Return the verdict on a disk type for any machine; None if the type is valid."""
        valid = [_written(each, upper=name.isupper()) for each in self.all_disks]
        return None if name in valid else _unlisted("disk type", name, valid, self.date)

    def fit(self, verdict: Verdict, zones: Iterable[str] = ()) -> Verdict:  # noqa: ARG002 - same
        """Return `verdict`, which says that two values do not fit each other. `LiveTable` makes the verdict a note."""
        return verdict

    def network(self, name: str) -> Verdict | None:  # noqa: ARG002 - the project's answer
        """Return None, because the table lists no networks."""
        return None

    def subnet(self, name: str) -> Verdict | None:  # noqa: ARG002 - same
        """Return None, because the table lists no subnetworks."""
        return None

    def image_name(self, project: str, name: str) -> Verdict | None:  # noqa: ARG002 - same
        """Return None, because the table lists no single images."""
        return None

    def image(self, project: str, family: str) -> Verdict | None:
        """Return the verdict on an image family; None if it is valid, or if the table does not list its project."""
        ours = self.images.get(project)
        if ours is None:
            close = difflib.get_close_matches(project, self.images, n=1, cutoff=0.85)
            if close:
                return Verdict(f"no image project '{project}'", f"Did you mean '{close[0]}'?")
            return None
        if family in ours:
            return None
        newest = re.match(r"(.*-)\d{4}$", ours[0])
        if newest is not None and re.fullmatch(rf"{re.escape(newest[1])}\d{{4}}", family):
            return Verdict(f"the image family '{family}' is not in the table of {self.date}", _ASK, is_note=True)
        return Verdict(
            f"no image family '{family}' in {project}", f"{close_to(family, ours, cutoff=0.0)}Valid: {', '.join(ours)}."
        )


@functools.cache
def table() -> Table:
    """Return the shipped table, read on first use."""
    from shared.yaml_lines import load_yaml  # noqa: PLC0415 - a function that renders a template reads no table

    data, _ = load_yaml(FILE.read_text(encoding="utf-8"))
    return convert(data, Table)


def _numbers(text: str) -> dict[str, int]:
    """Return the numbers by key in a text such as `8 1g=12`. A key without `=` is itself the number."""
    pairs = (part.partition("=") for part in text.split())
    return {key: int(number or key) for key, _, number in pairs}


def _least(kinds: str) -> dict[str, int]:
    """Return the minimum vCPUs of each disk type in a text such as `pd-ssd pd-extreme>=64`."""
    pairs = (part.partition(">=") for part in kinds.split())
    return {kind: int(least or 0) for kind, _, least in pairs}


def _zones(text: str) -> Iterator[str]:
    for region, _, letters in (entry.rpartition("-") for entry in text.split()):
        yield from (f"{region}-{letter}" for letter in letters)


def _unlisted(kind: str, name: str, valid: list[str], day: date) -> Verdict:
    """Return the verdict on an unlisted name: a note if the name may be newer than the table, otherwise a fault."""
    if _KINDS.match(name.replace("_", "-")) and not _near(name, valid, cutoff=0.8):
        return Verdict(f"the {kind} '{name}' is not in the table of {day}", _ASK, is_note=True)
    return Verdict(f"no {kind} '{name}'", f"{close_to(name, valid, cutoff=0.0)}Valid: {', '.join(valid)}.")


def _near(name: str, valid: Iterable[str], *, cutoff: float) -> str:
    """Return the nearest valid name; "" if none is near. Case is ignored, and `_` counts as `-`."""
    plain = {each.lower().replace("_", "-"): each for each in valid}
    close = difflib.get_close_matches(name.lower().replace("_", "-"), plain, n=1, cutoff=cutoff)
    return plain[close[0]] if close else ""


def close_to(name: str, valid: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return the beginning of a hint, `Did you mean 'x'? `; "" if no valid name is near."""
    near = _near(name, valid, cutoff=cutoff)
    return f"Did you mean '{near}'? " if near else ""


def _written(disk: str, *, upper: bool) -> str:
    return disk.upper().replace("-", "_") if upper else disk
