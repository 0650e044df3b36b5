"""The checks across files: names that refer to nothing, and keys that contradict each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from shared.domain.template.sessions import MAX_LABELS, OUR_LABELS
from shared.domain.things.catalog import MasterTemplate
from shared.faults import ConfigFault, Loc, dotted, line_of, nearest
from shared.settings.models import ProfilesFile
from shared.settings.sources import SourcesFile


class Place(Struct, frozen=True):
    """A configuration file and the line of each of its keys."""

    path: Path
    lines: dict[Loc, int]

    def fault(self, loc: Loc, problem: str, hint: str = "") -> ConfigFault:
        """Return a fault at a place of this file."""
        return ConfigFault(str(self.path), line_of(self.lines, loc), dotted(loc), problem, hint)

    def unknown(self, loc: Loc, kind: str, name: str, valid: Iterable[str]) -> ConfigFault:
        """Return the fault of a name that refers to nothing."""
        return self.fault(loc, f"no {kind} '{name}'", nearest(name, valid))


def cross_faults(place: Place, profiles: ProfilesFile, masters: Mapping[str, MasterTemplate]) -> Iterator[ConfigFault]:
    """Yield the faults of config/profiles.yaml in itself and against the templates."""
    for name, profile in profiles.profiles.items():
        loc: Loc = ("profiles", name)
        yield from (place.fault((*loc, field), problem) for field, problem in profile.across())
        for field in ("templates", "session_templates"):
            for index, template in enumerate(getattr(profile, field)):
                yield from _template_faults(place, masters, (*loc, field, index), template)
        if profile.session_templates:
            yield from _session_label_faults(place, (*loc, "labels"), profile.labels)
    for template in profiles.environments:
        yield from _template_faults(place, masters, ("environments", template), template)
    for index, assignment in enumerate(profiles.assignments):
        if assignment.profile not in profiles.profiles:
            where = ("assignments", index, "profile")
            yield place.unknown(where, "profile", assignment.profile, profiles.profiles)
    if profiles.default is not None and profiles.default not in profiles.profiles:
        yield place.unknown(("default",), "profile", profiles.default, profiles.profiles)


def _session_label_faults(place: Place, loc: Loc, labels: Mapping[str, str]) -> Iterator[ConfigFault]:
    """Yield a fault if a profile's labels do not fit on its session templates beside ours."""
    for key in OUR_LABELS:
        if key in labels:
            problem = f"the label '{key}' is written by Benchkeeper on session templates"
            yield place.fault((*loc, key), problem, "Remove it.")
    most = MAX_LABELS - len(OUR_LABELS)
    if len(labels) > most:
        yield place.fault(loc, f"{len(labels)} labels are too many for session templates", f"Valid: at most {most}.")


def _template_faults(
    place: Place, masters: Mapping[str, MasterTemplate], loc: Loc, template: str
) -> Iterator[ConfigFault]:
    """Yield the fault of a named template that is missing or of the other kind; an environment may name both kinds."""
    if template not in masters:
        yield place.unknown(loc, "template", template, masters)
    elif loc[2:3] == ("templates",) and masters[template].is_session:
        yield place.fault(loc, f"'{template}' is a template of serverless sessions", "Name it under session_templates.")
    elif loc[2:3] == ("session_templates",) and not masters[template].is_session:
        yield place.fault(loc, f"'{template}' is a template of clusters", "Name it under templates.")


def source_faults(place: Place, sources: SourcesFile, profiles: ProfilesFile) -> Iterator[ConfigFault]:
    """Yield a fault for each profile that a source may request and that does not exist."""
    for name, source in sources.sources.items():
        for index, profile in enumerate(source.profiles or ()):
            if profile not in profiles.profiles:
                yield place.unknown(("sources", name, "profiles", index), "profile", profile, profiles.profiles)
