"""The checks across files: names that refer to nothing, and keys that contradict each other.

The checks read the raw content of the files, so that a fault elsewhere in a file does not hide others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from shared.domain.template.sessions import MAX_LABELS, OUR_LABELS
from shared.domain.things.catalog import MasterTemplate
from shared.faults import ConfigFault, Loc, Place, nearest

_KINDS = ("templates", "session_templates")


def _unknown(place: Place, loc: Loc, kind: str, name: str, valid: Iterable[str]) -> ConfigFault:
    """Return the fault of a name that refers to nothing, with the nearest valid name."""
    return place.fault(loc, f"no {kind} '{name}'", nearest(name, valid))


def cross_faults(place: Place, masters: Mapping[str, MasterTemplate]) -> Iterator[ConfigFault]:
    """Yield the faults of names in config/profiles.yaml: missing or unsuitable templates and profiles, and bad labels."""
    profiles = place.section("profiles")
    for name in profiles:
        loc: Loc = ("profiles", name)
        for field in _KINDS:
            for index, template in enumerate(place.items(*loc, field)):
                if isinstance(template, str):
                    yield from _template_faults(place, masters, (*loc, field, index), template.strip())
        if place.items(*loc, "session_templates"):
            yield from _session_label_faults(place, (*loc, "labels"), place.section(*loc, "labels"))
    for template in place.section("environments"):
        yield from _template_faults(place, masters, ("environments", template), template)
    if not profiles:
        return  # the missing profiles are the fault
    for index in range(len(place.items("assignments"))):
        yield from _profile_fault(place, ("assignments", index, "profile"), profiles)
    yield from _profile_fault(place, ("default",), profiles)


def _profile_fault(place: Place, loc: Loc, profiles: Mapping[str, object]) -> Iterator[ConfigFault]:
    name = place.at(*loc)
    if isinstance(name, str) and name.strip() not in profiles:
        yield _unknown(place, loc, "profile", name.strip(), profiles)


def _session_label_faults(place: Place, loc: Loc, labels: Mapping[str, object]) -> Iterator[ConfigFault]:
    """Yield the faults of a profile's labels for its session templates: keys that Benchkeeper sets itself, and too many labels."""
    for key in OUR_LABELS:
        if key in labels:
            problem = f"the label '{key}' is set by Benchkeeper on session templates"
            yield place.fault((*loc, key), problem, "Remove it.")
    most = MAX_LABELS - len(OUR_LABELS)
    if len(labels) > most:
        yield place.fault(loc, f"{len(labels)} labels are too many for session templates", f"Valid: at most {most}.")


def _template_faults(
    place: Place, masters: Mapping[str, MasterTemplate], loc: Loc, template: str
) -> Iterator[ConfigFault]:
    """Yield a fault if a named template is missing or of the wrong kind. `environments` may name both kinds."""
    if template not in masters:
        yield _unknown(place, loc, "template", template, masters)
    elif loc[2:3] == ("templates",) and masters[template].is_session:
        yield place.fault(loc, f"'{template}' is a template of serverless sessions", "Name it under session_templates.")
    elif loc[2:3] == ("session_templates",) and not masters[template].is_session:
        yield place.fault(loc, f"'{template}' is a template of clusters", "Name it under templates.")


def source_faults(place: Place, profiles: Place) -> Iterator[ConfigFault]:
    """Yield a fault for each profile that a source may request and that does not exist."""
    known = profiles.section("profiles")
    for name in place.section("sources") if known else ():
        for index in range(len(place.items("sources", name, "profiles"))):
            yield from _profile_fault(place, ("sources", name, "profiles", index), known)
