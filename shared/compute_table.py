"""The shipped table of what Compute Engine offers (compute_table.yaml), and the judgement of a configuration's values by it.

Called by the checks of the whole configuration (`shared.settings.offers`, `shared.cloud.dataproc`), never by a running function. The
table may be older than the platform, so a family that it lacks is a note. A misspelled name, or a size that a listed family lacks,
is a fault with the nearest valid value.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from pathlib import Path

from msgspec import Struct, convert

from shared.yaml_lines import load_yaml

FILE = Path(__file__).with_name("compute_table.yaml")
_FIRST = "The table may be older; the first start tells."
_ASK = "The table may be older: benchkeeper validate-config --live asks the project."
_FAMILY = re.compile(r"[a-z]\d{1,2}[a-z]?")
_KINDS = re.compile(r"(pd|hyperdisk|nvidia|ct\d)-", re.IGNORECASE)  # how names of disk and accelerator types begin
_REGION = re.compile(
    r"(africa|asia|australia|europe|me|northamerica|southamerica|us)-(north|south|east|west|central|northeast|southeast"
    r"|northwest|southwest)\d{1,2}"
)
_STEM = re.compile(r"(?P<stem>.*-)(?P<number>\d+)(?P<unit>g?)")
_CUSTOM = re.compile(r"(?:(?P<family>[a-z]\d+[a-z]?)-)?custom-(?P<vcpus>\d+)-(?P<mb>\d+)(?P<ext>-ext)?")
_MB_STEP = 256
_BEFORE_FAMILIES = "n1"  # the family of `custom-4-16384`


class Verdict(Struct, frozen=True):
    """The judgement of a value: what is wrong and what is valid. `is_note`: the table cannot tell, so the value is not refused."""

    problem: str
    hint: str = ""
    is_note: bool = False


class Custom(Struct, frozen=True):
    """The bounds of a family's custom types: vCPUs, and GB of memory for each."""

    vcpus: tuple[int, int]
    gb: tuple[float, float]


class Family(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A machine family. `sizes` are by shape, separated by spaces; `only_in` has zones, `not_in` regions."""

    sizes: Mapping[str, str | int]
    disks: tuple[str, ...]
    also: tuple[str, ...] = ()
    custom: Custom | None = None
    gpus: tuple[str, ...] = ()
    built_in: str = ""
    only_in: str = ""
    not_in: tuple[str, ...] = ()


class Accelerator(Struct, frozen=True, forbid_unknown_fields=True):
    """An accelerator type: its name in Workbench's API, and the numbers that one machine may have."""

    api: str
    counts: tuple[int, ...]


class Table(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """The table, as the file has it."""

    date: date
    source: str
    zones: str
    families: Mapping[str, Family]
    known: tuple[str, ...]
    accelerators: Mapping[str, Accelerator]
    disks: tuple[str, ...]
    images: Mapping[str, tuple[str, ...]]
    cluster_images: Mapping[str, tuple[str, ...]]
    session_runtimes: tuple[str, ...]

    @functools.cached_property
    def all_zones(self) -> tuple[str, ...]:
        """The names of all zones."""
        return tuple(_zones(self.zones))

    @functools.cached_property
    def types(self) -> Mapping[str, str]:
        """The names of all predefined machine types, and the family of each."""
        found: dict[str, str] = {}
        for name, family in self.families.items():
            stem = name.partition("-")[0]
            found |= {
                f"{stem}-{shape}-{size}": name for shape, all_ in family.sizes.items() for size in str(all_).split()
            }
            found |= dict.fromkeys(family.also, name)
        return found

    def family_of(self, machine: str) -> Family | None:
        """Return the family of a machine type, also of one that its family lacks; None if the table does not know the family."""
        custom = _CUSTOM.fullmatch(machine)
        name = (custom["family"] or _BEFORE_FAMILIES) if custom else self.types.get(machine, machine.partition("-")[0])
        return self.families.get(name)

    def zone(self, name: str) -> Verdict | None:
        """Return the judgement of a zone's name; None if the zone exists."""
        if name in self.all_zones:
            return None
        region = name.rpartition("-")[0]
        letters = [zone for zone in self.all_zones if zone.rpartition("-")[0] == region]
        if letters:
            return Verdict(
                f"no zone '{name}'", f"Did you mean '{letters[0]}'? The zones of {region}: {', '.join(letters)}."
            )
        close = _close(name, self.all_zones)
        if _REGION.fullmatch(region):
            return Verdict(f"the region '{region}' is not in the table of {self.date}", _ASK, is_note=True)
        return Verdict(f"no zone '{name}'", f"{close}A zone looks like europe-west1-b.")

    def machine(self, name: str, zones: Iterable[str] = ()) -> Verdict | None:
        """Return the judgement of a machine type's short name, for these zones; None if it is valid."""
        family, custom = self.family_of(name), _CUSTOM.fullmatch(name)
        if family is not None and (custom is not None or name in self.types):
            wrong = self._custom(name, family.custom, custom) if custom is not None else None
            return wrong or self._place(name, family, tuple(zones))
        return self._unknown(name)

    def _unknown(self, name: str) -> Verdict:
        stem, _, rest = name.partition("-")
        of_family = [each for each in self.types if each.startswith(f"{stem}-")]
        if of_family:
            return Verdict(f"no machine type '{name}'", self._nearest_size(name, of_family))
        if stem in self.known and rest:
            return Verdict(
                f"the sizes of the machine family '{stem}' are not in the table of {self.date}", _ASK, is_note=True
            )
        if _FAMILY.fullmatch(stem) and rest:
            return Verdict(f"the machine family '{stem}' is not in the table of {self.date}", _ASK, is_note=True)
        return Verdict(
            f"no machine type '{name}'", f"{_close(name, self.types)}A machine type looks like e2-standard-4."
        )

    def _nearest_size(self, name: str, of_family: list[str]) -> str:
        """Return the hint for a type whose family is known: the next larger size of the same shape, or the nearest name."""
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
        return f"{_close(name, of_family)}Valid: {', '.join(f'{shape}-…' for shape in shapes)}."

    def _custom(self, name: str, bounds: Custom | None, match: re.Match[str]) -> Verdict | None:
        problem = f"no machine type '{name}'"
        if bounds is None:
            family = name.partition("-")[0]
            like = next(each for each in self.types if each.startswith(f"{family}-"))
            return Verdict(problem, f"The family {family} has no custom types. Valid: for example {like}.")
        vcpus, memory = int(match["vcpus"]), int(match["mb"])
        low, high = bounds.vcpus
        stem = name[: match.start("vcpus")]
        if not low <= vcpus <= high or (vcpus % 2 and vcpus != 1):
            near = max(low, min(high, vcpus + vcpus % 2))
            return Verdict(
                problem, f"Did you mean '{stem}{near}-{near * 4096}'? Valid: an even number of vCPUs, {low} to {high}."
            )
        least, most = (int(vcpus * gb * 1024) for gb in bounds.gb)
        if memory % _MB_STEP or memory < least or (memory > most and not match["ext"]):
            step = round(max(least, min(most, memory)) / _MB_STEP) * _MB_STEP
            return Verdict(
                problem,
                f"Did you mean '{stem}{vcpus}-{step}'? Valid: {least} to {most} MB for {vcpus} vCPUs, in steps of {_MB_STEP}.",
            )
        return None

    def _place(self, name: str, family: Family, zones: tuple[str, ...]) -> Verdict | None:
        only = tuple(_zones(family.only_in)) if family.only_in else self.all_zones
        regions = [zone for zone in zones if zone.rpartition("-")[0] in family.not_in]
        outside = [*regions, *(zone for zone in zones if zone in self.all_zones and zone not in only)]
        if not outside:
            return None
        return Verdict(f"'{name}' is not in {', '.join(outside)} by the table of {self.date}", _ASK, is_note=True)

    def accelerator(self, name: str, count: int, machine: str, zones: Iterable[str] = ()) -> Verdict | None:
        """Return the judgement of an accelerator by either name (`NVIDIA_TESLA_T4`, `nvidia-tesla-t4`) on a machine; None if it fits."""
        wrong = self.accelerator_type(name, machine, zones)
        short = next((each for each, kind in self.accelerators.items() if name in {each, kind.api}), "")
        if wrong is not None or not short:
            return wrong
        counts, family = self.accelerators[short].counts, self.family_of(machine)
        if count not in counts:
            near = min(counts, key=lambda each: (abs(each - count), each))
            hint = f"The nearest number is {near}. Valid: {', '.join(map(str, counts))}."
            return self.fit(Verdict(f"{count} of '{name}' are not possible", hint), zones)
        if family is None or short == family.built_in or short in family.gpus:
            return None
        fitting = [each for each, found in self.families.items() if short == found.built_in or short in found.gpus]
        hint = f"It fits {', '.join(fitting)}." if fitting else _ASK
        return self.fit(Verdict(f"'{name}' does not fit {machine}", hint, is_note=not fitting), zones)

    def accelerator_type(self, name: str, machine: str, zones: Iterable[str] = ()) -> Verdict | None:  # noqa: ARG002 - the project needs the zones
        """Return the judgement of an accelerator type alone. `machine` narrows the valid names to those that fit it."""
        if any(name in {each, kind.api} for each, kind in self.accelerators.items()):
            return None
        family = self.family_of(machine)
        fitting = [each for each in self.accelerators if family is None or each in (*family.gpus, family.built_in)]
        valid = [self.accelerators[each].api if name.isupper() else each for each in fitting or self.accelerators]
        return _unlisted("accelerator type", name, valid, self.date)

    def disk(self, name: str, machine: str, zones: Iterable[str] = ()) -> Verdict | None:
        """Return the judgement of a disk type by either name (`PD_SSD`, `pd-ssd`) on a machine; None if it fits."""
        wrong, family = self.disk_type(name, zones), self.family_of(machine)
        short = name.lower().replace("_", "-")
        if wrong is not None or family is None or short not in self.disks or short in family.disks:
            return wrong
        fitting = [_written(each, upper=name.isupper()) for each in family.disks]
        close = difflib.get_close_matches(name, fitting, n=1, cutoff=0.0)
        hint = f"Did you mean '{close[0]}'? Valid: {', '.join(fitting)}."
        return self.fit(Verdict(f"'{name}' does not fit {machine}", hint), zones)

    def disk_type(self, name: str, zones: Iterable[str] = ()) -> Verdict | None:  # noqa: ARG002 - the project needs the zones
        """Return the judgement of a disk type alone."""
        valid = [_written(each, upper=name.isupper()) for each in self.disks]
        return None if name in valid else _unlisted("disk type", name, valid, self.date)

    def fit(self, verdict: Verdict, zones: Iterable[str] = ()) -> Verdict:  # noqa: ARG002 - same
        """Return the judgement that two values do not fit each other."""
        return verdict

    def network(self, name: str) -> Verdict | None:  # noqa: ARG002 - the project's answer
        """Return the judgement of a network; the table knows none."""
        return None

    def subnet(self, name: str) -> Verdict | None:  # noqa: ARG002 - same
        """Return the judgement of a subnetwork; the table knows none."""
        return None

    def image_name(self, project: str, name: str) -> Verdict | None:  # noqa: ARG002 - same
        """Return the judgement of a single image; the table knows none."""
        return None

    def image(self, project: str, family: str) -> Verdict | None:
        """Return the judgement of an image family; None if it is valid, or of a project of one's own."""
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
            f"no image family '{family}' in {project}", f"{_close(family, ours, cutoff=0.0)}Valid: {', '.join(ours)}."
        )

    def cluster_image(self, version: str) -> Verdict | None:
        """Return the judgement of a Dataproc image version, such as `2.2-debian12`; None if it is valid."""
        match = re.fullmatch(r"(\d+\.\d+)(?:\.\d+)?(?:-([a-z0-9-]+))?", version)
        whole = [f"{number}-{systems[0]}" for number, systems in self.cluster_images.items()]
        if match is None:
            return Verdict(f"no image version '{version}'", f"{_close(version, whole)}Valid: for example 2.2-debian12.")
        number, system = match[1], match[2]
        systems = self.cluster_images.get(number)
        if systems is None:
            if _parts(number) > min(_parts(each) for each in self.cluster_images):
                return Verdict(
                    f"the image version '{version}' is not in the table of {self.date}", _FIRST, is_note=True
                )
            hint = f"Did you mean '{whole[0]}'? Valid: {', '.join(self.cluster_images)}."
            return Verdict(f"the image version '{version}' is not supported any more", hint)
        if system is None or system in systems:
            return None
        close = difflib.get_close_matches(system, systems, n=1, cutoff=0.0)
        return Verdict(
            f"no image version '{version}'",
            f"Did you mean '{number}-{close[0]}'? Valid with {number}: {', '.join(systems)}.",
        )

    def session_runtime(self, version: str) -> Verdict | None:
        """Return the judgement of a serverless runtime version, such as `2.3`; None if it is valid."""
        match = re.fullmatch(r"(\d+\.\d+)(?:\.\d+)?", version)
        if match is not None and match[1] in self.session_runtimes:
            return None
        if match is not None and _parts(match[1]) > min(_parts(each) for each in self.session_runtimes):
            return Verdict(f"the runtime version '{version}' is not in the table of {self.date}", _FIRST, is_note=True)
        close = _close(version, self.session_runtimes, cutoff=0.0)
        return Verdict(f"no runtime version '{version}'", f"{close}Valid: {', '.join(self.session_runtimes)}.")


@functools.cache
def table() -> Table:
    """Return the shipped table, read on first use."""
    data, _ = load_yaml(FILE.read_text(encoding="utf-8"))
    return convert(data, Table)


def _zones(text: str) -> Iterator[str]:
    for region, _, letters in (entry.rpartition("-") for entry in text.split()):
        yield from (f"{region}-{letter}" for letter in letters)


def _unlisted(kind: str, name: str, valid: list[str], day: date) -> Verdict:
    """Return the judgement of a name that is not in the table: misspelled, or perhaps newer than the table."""
    if _KINDS.match(name.replace("_", "-")) and not _near(name, valid, cutoff=0.8):
        return Verdict(f"the {kind} '{name}' is not in the table of {day}", _ASK, is_note=True)
    return Verdict(f"no {kind} '{name}'", f"{_close(name, valid, cutoff=0.0)}Valid: {', '.join(valid)}.")


def _near(name: str, valid: Iterable[str], *, cutoff: float) -> str:
    """Return the valid name that is the nearest, whatever its case and its dashes; empty if none is."""
    plain = {each.lower().replace("_", "-"): each for each in valid}
    close = difflib.get_close_matches(name.lower().replace("_", "-"), plain, n=1, cutoff=cutoff)
    return plain[close[0]] if close else ""


def _close(name: str, valid: Iterable[str], *, cutoff: float = 0.6) -> str:
    near = _near(name, valid, cutoff=cutoff)
    return f"Did you mean '{near}'? " if near else ""


def _written(disk: str, *, upper: bool) -> str:
    return disk.upper().replace("-", "_") if upper else disk


def _parts(number: str) -> tuple[int, ...]:
    return tuple(int(part) for part in number.split("."))
