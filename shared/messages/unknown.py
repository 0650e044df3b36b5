"""The search for hints in messages of an unknown shape: named users, and words for leaving. No decision depends on a hint."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from shared.domain.things.late import late

# Subtrees about the person who acted, not about the user concerned.
_DOERS = frozenset(
    {
        "actor", "authenticationinfo", "client", "requestmetadata", "debugcontext", "initiatedby", "performedby", "principal",
        "principalemail", "operator", "by", "author", "sender", "request", "manager", "source",
    }
)  # fmt: skip
_LEAVES = late(
    lambda: re.compile(
        r"deactivat|suspend|terminat|leaver|offboard|disabl|deprovision|archive|"
        r"(delete|remove)_?(user|account|member)|(user|account|member\w*)\.?_?(delete|remove)",
        re.IGNORECASE,
    )
)
_WORDS = frozenset(
    {"eventtype", "event_type", "type", "eventname", "event", "action", "name", "op", "reason", "status", "kind"}
)
# Bounded, so that long bytes are scanned once, not once for each letter.
_KEY = late(lambda: re.compile(r"""\b(\w{1,40})["']?\s{0,8}[:=]\s{0,8}["']([^"']{1,80})"""))
_USER = late(lambda: re.compile(r"""["']?\b(?:user|email)["']?\s{0,8}[:=]\s{0,8}["']([^"']{3,320})""", re.IGNORECASE))
_MOST = 400  # values that are read


def looks_like_a_leaver(body: Any) -> bool:
    """Return True if a field that names a kind of event has a word for leaving, or if `active` is false or patched (SCIM)."""
    for key, value in _pairs(body):
        if key in _WORDS and isinstance(value, str) and _LEAVES.search(value):
            return True
        if key == "active" and str(value).lower() == "false":
            return True
        if key == "path" and value == "active":
            return True
    return False


def states_a_leaver(data: bytes) -> bool:
    """Return True if bytes that are not JSON have a key that names a kind of event, followed by a word for leaving."""
    return any(key.lower() in _WORDS and _LEAVES.search(value) for key, value in _KEY.findall(_text(data)))


def users_in(data: bytes) -> Iterator[str]:
    """Yield the texts after a user's key in bytes that are not JSON."""
    yield from _USER.findall(_text(data))[:_MOST]


def _text(data: bytes) -> str:
    return data.decode(json.detect_encoding(data), "replace")


def texts_about_people(body: Any) -> Iterator[str]:
    """Yield the texts in the message that may be addresses, without the parts about the person who acted."""
    for _, value in _pairs(body):
        if isinstance(value, str) and "@" in value and len(value) <= 320:  # noqa: PLR2004 - the longest address, with a name
            yield value


def _pairs(body: Any) -> Iterator[tuple[str, Any]]:
    """Yield each simple value with its key in lower case, in the order of the message.

    At most `_MOST` values are read, and none about the person who acted.
    """
    left = _MOST
    open_: list[tuple[str, Any]] = [("", body)]
    while open_ and left > 0:
        key, value = open_.pop(0)
        left -= 1
        match value:
            case dict():
                open_[:0] = [(str(k).lower(), v) for k, v in value.items() if str(k).lower() not in _DOERS]
            case list():
                open_[:0] = [(key, v) for v in value]
            case _:
                yield key, value
