"""The parts of a log entry that every reader of Google's logs needs: time, id, parameters, and the success of the action."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from shared.domain.things.errors import InvalidMessageError
from shared.domain.things.times import parse_time
from shared.messages.message import Message


def is_refused(entry: dict[str, Any]) -> bool:
    """Return True if the entry's action did not happen: its status is not OK, or a permission was not granted."""
    payload = entry["protoPayload"]
    status = payload.get("status")
    if isinstance(status, dict) and str(status.get("code")) not in {"None", "0", "OK"}:
        return True
    asked = payload.get("authorizationInfo")
    # Google's JSON leaves out false fields: without `granted` the permission was not granted.
    return isinstance(asked, list) and any(
        not (isinstance(each, dict) and each.get("granted") is True) for each in asked
    )


def has_failed(event: dict[str, Any]) -> bool:
    """Return True if the event has a status that reports a failure."""
    status = event.get("status")
    if not isinstance(status, dict):
        return False
    word = str(status.get("eventStatus", "")).upper()
    return status.get("success") is False or bool(word and "SUCCE" not in word) or bool(status.get("errorCode"))


def parameter(event: dict[str, Any], name: str, *, is_cut: bool = False) -> object:
    """Return the value of the event's parameter `name`. Raise `InvalidMessageError` if the event does not have the parameter.

    For a cut, a list with a single value is accepted, too.
    """
    parameters = event.get("parameter")
    for parameter in parameters if isinstance(parameters, list) else []:
        if isinstance(parameter, dict) and parameter.get("name") == name:
            several = parameter.get("multiStrValue")
            if is_cut and parameter.get("value") is None and isinstance(several, list) and len(several) == 1:
                return several[0]
            return parameter.get("value")
    raise InvalidMessageError(
        user_message=f"The event {event.get('eventName')} has no parameter {name}.",
        detail=f"{event.get('eventName')} without {name}",
    )


def entry_time(entry: dict[str, Any], message: Message) -> datetime:
    """Return the log entry's timestamp, but at most the publish time; without a timestamp, return the publish time.

    Raise `InvalidMessageError` for a timestamp that is not an RFC 3339 time.
    """
    published = message.publish_time.astimezone(UTC)
    raw = entry.get("timestamp")
    if raw is None:
        return published
    try:
        return min(parse_time(str(raw)), published)
    except ValueError as error:
        raise InvalidMessageError(
            user_message=f"The log entry's timestamp '{str(raw)[:40]}' is not an RFC 3339 time.", detail="bad timestamp"
        ) from error


def entry_id(entry: dict[str, Any], message: Message) -> str:
    """Return the entry's insertId with its timestamp, because an insertId alone is not unique; else the message's id."""
    insert_id = entry.get("insertId")
    return f"{insert_id}@{entry.get('timestamp')}" if insert_id else message.origin_id


def digest(event: object) -> str:
    """Return a digest that distinguishes the events of an entry.

    The digest depends neither on the event's place in the entry nor on the order of its parameters.
    """
    if isinstance(event, dict) and isinstance(event.get("parameter"), list):
        event = {**event, "parameter": sorted(event["parameter"], key=lambda each: json.dumps(each, sort_keys=True))}
    return hashlib.sha256(json.dumps(event, sort_keys=True).encode("utf-8", "replace")).hexdigest()[:12]
