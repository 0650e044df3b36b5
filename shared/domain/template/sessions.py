"""The templates of serverless Spark sessions in the project's region: one for each session template that a profile lists.

The templates belong to profiles, not to users. A user who may see one template of the project sees all its templates, and a
session runs as the user who starts it. The bill therefore shows the profile of a session, but no user's name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping

from msgspec import Struct

from shared.domain.things.catalog import Catalog, Profile
from shared.domain.things.identity import label_value
from shared.domain.things.notebook import LABEL_MANAGED_BY, LABEL_PROFILE, LABEL_TEMPLATE, MANAGED_BY

LABEL_DIGEST = "benchkeeper-digest"
OUR_LABELS = (LABEL_MANAGED_BY, LABEL_PROFILE, LABEL_TEMPLATE, LABEL_DIGEST)
MAX_LABELS = 32  # [PY: dataproc_v1/types/session_templates.py SessionTemplate.labels]
# 4 to 63 of a-z, 0-9 and dash: the rule for sessions; no rule for templates is documented [PY: sessions.py CreateSessionRequest].
MAX_SESSION_ID = 63
_HEX = 12


class SessionOffer(Struct, frozen=True, kw_only=True):
    """A session template of a profile.

    `is_shared` is True if other profiles offer the template, too, so that its name must contain the profile.
    """

    session_id: str
    profile: str
    template: str
    is_shared: bool = False


class WantedSession(Struct, frozen=True, kw_only=True):
    """A session template that Dataproc should have. `body` is the canonical JSON of a `SessionTemplate`, including its digest label."""

    session_id: str
    body: Mapping[str, object]


class SessionSeen(Struct, frozen=True, kw_only=True):
    """A session template as it was read. `body` has the canonical form of `WantedSession.body`."""

    session_id: str
    labels: Mapping[str, str]
    body: Mapping[str, object]

    @property
    def is_ours(self) -> bool:
        """Return True if the template carries Benchkeeper's label."""
        return self.labels.get(LABEL_MANAGED_BY) == MANAGED_BY

    @property
    def is_as_named(self) -> bool:
        """Return True if the digest was computed for this name. It is False for a copy made by export and import."""
        return self.labels.get(LABEL_DIGEST, "").endswith(f"-{_name_mark(self.session_id)}")


class CreateSession(Struct, frozen=True, kw_only=True):
    """The action that creates a missing template."""

    wanted: WantedSession
    because: str


class UpdateSession(Struct, frozen=True, kw_only=True):
    """The action that replaces the content of one of our templates."""

    wanted: WantedSession
    because: str


class RemoveSession(Struct, frozen=True, kw_only=True):
    """The action that deletes one of our templates; sessions that were started from it continue."""

    session_id: str
    because: str


class LeaveSession(Struct, frozen=True, kw_only=True):
    """A report without a change: a template has one of Benchkeeper's names but not its label."""

    session_id: str
    because: str


SessionAction = CreateSession | UpdateSession | RemoveSession | LeaveSession


def session_id_for(profile: str, template: str) -> str:
    """Return `<profile>-<template>-<12 hex digits over both>`: at most 63 of a-z, 0-9 and dash, a letter first.

    The digits keep the ids of two offers different.
    """
    digits = hashlib.sha256(f"{profile}\n{template}".encode()).hexdigest()[:_HEX]
    stem = re.sub(r"[^a-z0-9]+", "-", f"{profile}-{template}".lower()).strip("-")
    return f"{stem[: MAX_SESSION_ID - _HEX - 1].rstrip('-')}-{digits}"


def offers(catalog: Catalog) -> tuple[SessionOffer, ...]:
    """Return the session templates that profiles offer, in the order of the configuration."""
    listed = [(name, each) for name, profile in catalog.profiles.items() for each in _listed(profile)]
    named = [template for _, template in listed]
    return tuple(
        SessionOffer(
            session_id=session_id_for(profile, template),
            profile=profile,
            template=template,
            is_shared=named.count(template) > 1,
        )
        for profile, template in listed
    )


def _listed(profile: Profile) -> Iterable[str]:
    return dict.fromkeys(profile.session_templates)


def labels_of(offer: SessionOffer, profile: Profile) -> dict[str, str]:
    """Return the labels of the profile and of Benchkeeper, without the digest label.

    Sessions inherit these labels, and the bill shows them.
    """
    ours = {
        LABEL_MANAGED_BY: MANAGED_BY,
        LABEL_PROFILE: offer.profile,
        LABEL_TEMPLATE: label_value(offer.template),
    }
    return {**profile.labels, **ours}


def digest_label(session_id: str, body: Mapping[str, object]) -> str:
    """Return the value of the digest label: a digest of the body, then a mark of the template's name.

    A letter comes first, because Dataproc's labels must follow RFC 1035.
    """
    text = json.dumps(body, sort_keys=True, ensure_ascii=True)
    return f"d{hashlib.sha256(text.encode()).hexdigest()[:16]}-{_name_mark(session_id)}"


def _name_mark(session_id: str) -> str:
    return hashlib.sha256(session_id.encode()).hexdigest()[:8]


def plan_sessions(
    wanted: Iterable[WantedSession], seen: Iterable[SessionSeen], *, unknown: frozenset[str] = frozenset()
) -> tuple[SessionAction, ...]:
    """Return the actions, with reasons, that turn the templates `seen` into the templates `wanted`; empty if they are equal.

    Only templates with our labels are updated, and only those whose digest belongs to their name are removed. `unknown` are
    wanted ids that cannot be rendered now, because their master is invalid. Existing templates with these ids stay.
    """
    by_id = {each.session_id: each for each in seen}
    asked = {each.session_id: each for each in wanted}
    actions: list[SessionAction] = []
    for session_id, each in asked.items():
        action = _bring_about(each, by_id.get(session_id))
        if action is not None:
            actions.append(action)
    actions += [
        RemoveSession(session_id=session_id, because="no profile offers it any more")
        for session_id, there in sorted(by_id.items())
        if session_id not in asked and session_id not in unknown and there.is_ours and there.is_as_named
    ]
    return tuple(actions)


def _bring_about(wanted: WantedSession, seen: SessionSeen | None) -> SessionAction | None:
    if seen is None:
        return CreateSession(wanted=wanted, because="it does not exist")
    if not seen.is_ours:
        return LeaveSession(session_id=wanted.session_id, because="it exists without Benchkeeper's labels")
    labels = wanted.body.get("labels")
    if isinstance(labels, Mapping) and seen.labels.get(LABEL_DIGEST) != labels.get(LABEL_DIGEST):
        return UpdateSession(wanted=wanted, because="the configuration changed")
    differs = _difference(wanted.body, seen.body, "")
    if differs is not None:
        return UpdateSession(wanted=wanted, because=f"{differs} was changed outside Benchkeeper")
    return None


def _difference(wanted: object, seen: object, path: str) -> str | None:
    """Return the path of the first field that differs from the wanted body, or None if no field differs.

    Fields that the service adds are ignored.
    """
    if isinstance(wanted, Mapping):
        held = seen if isinstance(seen, Mapping) else {}
        for key, inner in wanted.items():
            here = f"{path}.{key}" if path else str(key)
            if key not in held:
                return here
            found = _difference(inner, held[key], here)
            if found is not None:
                return found
        return None
    same = wanted == seen
    if isinstance(wanted, str) and isinstance(seen, str):
        same = same or seen.endswith(f"/{wanted}")  # a resource may be read back by its full name
    return None if same else path
