"""The check of a configuration's values by queries to the project, for `validate-config --live` and every deployment.

The project's answer takes precedence over the shipped table, so that a type newer than the table is not a fault. If the
project does not answer (a missing permission, a disabled service), the table decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from urllib.parse import quote

from msgspec import field

from shared.compute_table import Table, Verdict

# A GET of Compute Engine's API by the path behind `/compute/v1/`. Returns True if the thing exists, False if the API says that it does not.
# Raises `NoAnswerError` for everything else.
Ask = Callable[[str], bool]


_TRIES = 2  # questions; a project that answered none of them is not asked further: each may take a minute


class NoAnswerError(Exception):
    """The error of a project that did not answer, or refused the call.

    The text of the error is a sentence for the user, without an address.
    """


class LiveTable(Table, frozen=True, kw_only=True, dict=True):
    """The shipped table, corrected by the project's answers. `ask` returns True if the resource at a path exists.

    `kept` has the answer for each path, None for a missing answer, and `reasons` the reasons of missing answers. Each method that
    judges a value returns None if the value is valid. Without an answer, the shipped table decides.
    """

    ask: Ask
    project: str
    kept: dict[str, bool | None] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)

    @property
    def why_not(self) -> str:
        """Return the first reason why the project did not answer; "" if it answered every question."""
        return self.reasons[0] if self.reasons else ""

    def _exists(self, path: str) -> bool | None:
        if path not in self.kept and len(self.reasons) >= _TRIES and not self._answered:
            return None
        if path not in self.kept:
            try:
                self.kept[path] = self.ask(quote(path))
            except NoAnswerError as error:
                self.kept[path] = None
                self.reasons.append(str(error))
        return self.kept[path]

    @property
    def _answered(self) -> bool:
        return any(found is not None for found in self.kept.values())

    def _there(self, zones: Iterable[str]) -> list[str]:
        """Return the zones that exist according to the project."""
        return [zone for zone in zones if self._exists(f"projects/{self.project}/zones/{zone}")]

    def _in_zones(self, what: str, path: str, zones: Iterable[str], by_table: Verdict | None) -> Verdict | None:
        """Return the project's verdict on a zonal type: a note if only some of the existing zones have the type."""
        answers = {zone: self._exists(f"projects/{self.project}/zones/{zone}/{path}") for zone in self._there(zones)}
        absent = [zone for zone, found in answers.items() if found is False]
        if not answers or None in answers.values():
            return by_table
        if not absent:
            return None
        problem = f"the project has no {what} in {', '.join(absent)}"
        if len(absent) < len(answers):
            there = ", ".join(zone for zone in answers if zone not in absent)
            return Verdict(problem, f"It is only in {there}: in other zones, a start fails.", is_note=True)
        return Verdict(problem, _hint_of(by_table) or "Choose another, or change the zones.")

    def zone(self, name: str) -> Verdict | None:
        """Return the project's verdict on a zone's name."""
        by_table = super().zone(name)
        found = self._exists(f"projects/{self.project}/zones/{name}")
        if found is False and by_table is None:  # Google's own zones are in every project
            self.kept[f"projects/{self.project}/zones/{name}"] = found = None
            self.reasons.append(f"Compute Engine does not know the project {self.project}.")
        if found is False:
            return Verdict(f"the project has no zone '{name}'", _hint_of(by_table) or "Choose another zone.")
        return None if found else by_table

    def machine(self, name: str, zones: Iterable[str] = ()) -> Verdict | None:
        """Return the project's verdict on a machine type."""
        zones = tuple(zones)
        return self._in_zones(f"machine type '{name}'", f"machineTypes/{name}", zones, super().machine(name, zones))

    def accelerator_type(self, name: str, machine: str, zones: Iterable[str] = ()) -> Verdict | None:
        """Return the project's verdict on an accelerator type."""
        by_api = {kind.api: short for short, kind in self.accelerators.items()}
        short = by_api.get(name, name.lower().replace("_", "-"))
        by_table = super().accelerator_type(name, machine, zones)
        return self._in_zones(f"accelerator type '{name}'", f"acceleratorTypes/{short}", zones, by_table)

    def disk_type(self, name: str, zones: Iterable[str] = ()) -> Verdict | None:
        """Return the project's verdict on a disk type."""
        short = name.lower().replace("_", "-")
        return self._in_zones(f"disk type '{name}'", f"diskTypes/{short}", zones, super().disk_type(name, zones))

    def fit(self, verdict: Verdict, zones: Iterable[str] = ()) -> Verdict:
        """Return the table's verdict that two values do not fit as a note, because the project may offer more than the table."""
        if not self._there(zones):
            return verdict
        return Verdict(f"{verdict.problem}, according to the table of {self.date}", verdict.hint, is_note=True)

    def image(self, project: str, family: str) -> Verdict | None:
        """Return the verdict on an image family. The project that owns the image family is queried."""
        what = f"image family '{family}' in {project}"
        return self._one(f"projects/{project}/global/images/family/{family}", what, super().image(project, family))

    def image_name(self, project: str, name: str) -> Verdict | None:
        """Return the verdict on an image; None if it exists, or without an answer. The project that owns the image is queried."""
        return self._one(f"projects/{project}/global/images/{name}", f"image '{name}' in {project}", None)

    def network(self, name: str) -> Verdict | None:
        """Return the verdict on a network; None if it exists, or without an answer. The network's own project is queried."""
        return self._one(name, f"network '{name}'", None)

    def subnet(self, name: str) -> Verdict | None:
        """Return the verdict on a subnetwork; None if it exists, or without an answer. The subnetwork's own project is queried."""
        return self._one(name, f"subnetwork '{name}'", None)

    def _one(self, path: str, what: str, by_table: Verdict | None) -> Verdict | None:
        found = self._exists(path)
        if found is False:
            return Verdict(f"there is no {what}", _hint_of(by_table) or "Check the spelling.")
        return None if found else by_table


def _hint_of(verdict: Verdict | None) -> str:
    """Return the hint of the table's verdict; "" for a note and for a valid value."""
    return "" if verdict is None or verdict.is_note else verdict.hint


def live(by: Table, ask: Ask, project: str) -> LiveTable:
    """Return a copy of the table that queries the project before it decides."""
    return LiveTable(**{name: getattr(by, name) for name in Table.__struct_fields__}, ask=ask, project=project)
