"""The check that the assigned groups exist and have members.

A typing error in a group's address causes no error, but gives access to no user. `validate-config` checks with the
product's own clients; a deployment's plan checks with gcloud's login. A refused call tells nothing about the group:
Cloud Identity answers 403 both for a missing group and for a group that the caller may not see (docs/traps.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any
from urllib.parse import urlencode

# A GET of Cloud Identity's API. Returns the response, or None for 404. Raises `NotSeenError` for every other error.
Ask = Callable[[str], Mapping[str, Any] | None]


class NotSeenError(Exception):
    """The error of a directory that did not answer or refused the call."""


class GroupFault(StrEnum):
    """The fault of an assigned group."""

    EMPTY = "Empty"
    UNKNOWN = "Unknown"
    NOT_SEEN = "NotSeen"


_WORDS = {
    GroupFault.EMPTY: "The group {group} is assigned a profile, but has no members: it gives access to no one.",
    GroupFault.UNKNOWN: "The directory knows no group {group}, which is assigned a profile: it gives access to no one. Check its spelling.",
    GroupFault.NOT_SEEN: "The group {group} could not be looked up: it does not exist, or your account may not see it.",
}


def look_at(groups: Iterable[str], ask: Ask) -> Iterator[tuple[str, GroupFault]]:
    """Yield a fault for each group that is missing, has no members or could not be looked up, in the given order."""
    for group in dict.fromkeys(groups):
        fault = _fault(group, ask)
        if fault is not None:
            yield group, fault


def warning(group: str, fault: GroupFault) -> str:
    """Return the warning for the user of the command."""
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
