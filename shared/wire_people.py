"""Whom a message names that could not be used: `functions.dead_letter` marks the records of people who are known.

The body is not trusted and nothing is guessed: where the message parses, its news say it; where it does not, only the places
where the known shapes carry a person's address are looked at, and only a valid address counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from shared.domain.errors import InvalidMessageError, PoisonError
from shared.domain.events import LifecycleEvent, Renamed, Woken
from shared.domain.identity import UserKey, parse_email, user_key_for
from shared.wire import SCHEMA, Message, parse_lifecycle

_FAMILY = SCHEMA.rpartition("/")[0] + "/"  # another version of the schema names its user in the same place
_MOST = 50  # of one message; a log entry may carry hundreds of events


def people_named(message: Message) -> tuple[UserKey, ...]:
    """User keys, each once, in the order of the message; empty when it names nobody whom this version could find."""
    try:
        news = parse_lifecycle(message, max_bytes=len(message.data))
    except PoisonError:
        found = _looked_up(message.data)
    else:
        found = (key for piece in news for key in _keys(piece))
    return tuple(dict.fromkeys(found))[:_MOST]


def _keys(piece: LifecycleEvent | Woken) -> tuple[UserKey, ...]:
    match piece:
        case Woken():
            return (piece.user_key,)
        case Renamed():
            return user_key_for(piece.user), user_key_for(piece.new_user)
        case _:
            return (user_key_for(piece.user),)


def _looked_up(data: bytes) -> Iterator[UserKey]:
    try:
        body = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return
    for raw in _places(body) if isinstance(body, dict) else ():
        try:
            yield user_key_for(parse_email(raw))
        except InvalidMessageError:
            continue


def _places(body: dict[str, Any]) -> Iterator[object]:
    if str(body.get("schema")).startswith(_FAMILY):
        yield body.get("user")
        return
    payload = body.get("protoPayload")
    metadata = payload.get("metadata") if isinstance(payload, dict) else None
    if not isinstance(payload, dict) or not isinstance(metadata, dict):
        return
    if payload.get("serviceName") == "admin.googleapis.com":
        events = metadata.get("event")
        for event in events if isinstance(events, list) else ():
            parameters = event.get("parameter") if isinstance(event, dict) else None
            for parameter in parameters if isinstance(parameters, list) else ():
                if isinstance(parameter, dict) and parameter.get("name") == "USER_EMAIL":
                    yield parameter.get("value")
    elif payload.get("serviceName") == "cloudidentity.googleapis.com":
        delta = metadata.get("membershipDelta")
        kind, _, member = str(delta.get("member") if isinstance(delta, dict) else "").partition(":")
        if kind == "user":
            yield member
