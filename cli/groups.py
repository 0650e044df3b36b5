"""Whether the groups that the configuration assigns exist and have members; a slip in an address entitles nobody, in silence.

Asked by `validate-config` with the product's own clients and by a deployment's plan with gcloud's login. A look that is refused says
nothing about the group: Cloud Identity answers 403 for one that is not there and for one that may not be seen (docs/traps.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any
from urllib.parse import urlencode

# A GET of Cloud Identity's API: the answer, None for 404. Raises `NotSeenError` for everything else.
Ask = Callable[[str], Mapping[str, Any] | None]


class NotSeenError(Exception):
    """The directory did not answer, or refused."""


class GroupFault(StrEnum):
    """What is odd about an assigned group."""

    EMPTY = "Empty"
    UNKNOWN = "Unknown"
    NOT_SEEN = "NotSeen"


_WORDS = {
    GroupFault.EMPTY: "The group {group} is assigned a profile, and nobody is in it: it entitles nobody.",
    GroupFault.UNKNOWN: "The directory knows no group {group}, which is assigned a profile: it entitles nobody. Look at its spelling.",
    GroupFault.NOT_SEEN: "The group {group} could not be looked up: it does not exist, or whoever asks may not see it.",
}


def look_at(groups: Iterable[str], ask: Ask) -> Iterator[tuple[str, GroupFault]]:
    """Yield what is odd about each group, in the order given."""
    for group in dict.fromkeys(groups):
        fault = _fault(group, ask)
        if fault is not None:
            yield group, fault


def warning(group: str, fault: GroupFault) -> str:
    """Return the sentence for a person."""
    return _WORDS[fault].format(group=group)


def _fault(group: str, ask: Ask) -> GroupFault | None:
    try:
        found = ask(f"/v1/groups:lookup?{urlencode({'groupKey.id': group})}")
        if found is None:
            return GroupFault.UNKNOWN
        name = str(found.get("name", ""))
        if not name.startswith("groups/"):
            return GroupFault.NOT_SEEN
        members = ask(f"/v1/{name}/memberships?pageSize=1")
    except NotSeenError:
        return GroupFault.NOT_SEEN
    if members is None:
        return GroupFault.UNKNOWN  # deleted between the two calls
    return None if members.get("memberships") else GroupFault.EMPTY
