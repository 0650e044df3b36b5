"""The people of the local directory: the users on the sign-in page, and the holders of roles."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from shared.domain.intent.roles import Role
from shared.domain.things.identity import parse_email
from shared.domain.things.structs import to_dict
from shared.settings import Settings

ADMINISTRATOR = "mia.chen@example.com"
# Two, to switch between: a change that ends many people's access needs the approval of both.
ADMINISTRATORS = (ADMINISTRATOR, "tom.berger@example.com")
_OPERATOR, _HELPER, _AUDITOR = "olga.petrov@example.com", "hana.novak@example.com", "omar.haddad@example.com"
WITH_ROLE: Mapping[Role, tuple[str, ...]] = {
    Role.OWNER: ADMINISTRATORS,
    Role.OPERATOR: (_OPERATOR,),
    Role.HELP_DESK: (_HELPER,),
    Role.AUDITOR: (_AUDITOR,),
}
_NOTES = {
    ADMINISTRATORS[0]: "Administrator: sees everybody",
    ADMINISTRATORS[1]: "Administrator: the second approval",
    _OPERATOR: "Operator: may do everything except lift a block",
    _HELPER: "Help desk: starts and stops others' notebooks",
    _AUDITOR: "Auditor: sees everything, changes nothing",
}
NOBODY = "noah.weber@example.com"


class Person(Struct, frozen=True):
    """A person on the sign-in page."""

    email: str
    name: str
    note: str


def offered(settings: Settings, *, examples: bool) -> list[dict[str, str]]:
    """Return the people on the sign-in page, each with the fields of `Person`.

    The list has the people of config/examples/ (with `examples`), the members of each role that has a group, and one
    person without access.
    """
    people = _announced(settings) if examples else []
    for role, _ in settings.roles.groups():
        people += [Person(email, name_of(email), _NOTES[email]) for email in WITH_ROLE[role]]
    people.append(Person(NOBODY, name_of(NOBODY), "A person without an environment"))
    return [to_dict(person) for person in people]


def _announced(settings: Settings) -> list[Person]:
    found = []
    for path in sorted((settings.config_dir / "examples").glob("*.json")):
        body = json.loads(Path(path).read_bytes())
        email = parse_email(body["user"])
        found.append(Person(email, name_of(email), _note(settings, body.get("attributes", {}))))
    return found


def _note(settings: Settings, attributes: dict[str, Any]) -> str:
    """Return the title of the profile that a person with these attributes gets; "" if there is no such profile."""
    catalog = settings.catalog
    assigned = [catalog.assignment_for(group) for group in attributes.get("groups", ())]
    best = max((each for each in assigned if each is not None), key=lambda each: each.priority, default=None)
    name = attributes.get("profile") or (best.profile if best is not None else catalog.default_profile)
    profile = catalog.profiles.get(str(name))
    return profile.title if profile is not None else ""


def name_of(email: str) -> str:
    """Return a readable name for an address: `ana.silva@…` is Ana Silva."""
    words = email.partition("@")[0].partition("+")[0].replace("_", ".").split(".")
    return " ".join(word.capitalize() for word in words if word) or email
