"""Untrusted bytes -> lifecycle events. The only place that knows the shapes of incoming messages (logs: `shared.wire_logs`).

Four shapes, told apart by their content: the neutral HR schema (`workbench.lifecycle/v1`), Google Workspace admin log
entries, Cloud Identity group log entries, and Notebooks audit log entries (which only wake). What cannot be understood
raises `InvalidMessageError`; what is understood and not acted on by this version raises `UnsupportedMessageError`: both go to
the dead-letter topic with their text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from shared.domain.errors import InvalidMessageError, UnsupportedMessageError
from shared.domain.events import Joined, Left, LifecycleEvent, Moved, Renamed, Woken
from shared.domain.facts import parse_value
from shared.domain.identity import UserEmail, UserKey, parse_email, parse_user_key
from shared.domain.times import to_utc
from shared.wire_logs import LOG_PARSERS

SCHEMA = "workbench.lifecycle/v1"
MAX_ATTRIBUTES = 64
MAX_EVENT_ID = 256
Type = Literal["joiner", "mover", "leaver", "renamed"]
_TYPES = get_args(Type)
WAKE_SCHEMA = "workbench.wake/v1"  # what the page sends after it changed what is wanted
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A Pub/Sub message as it arrived: raw `data`, attributes, its id and publish time."""

    data: bytes
    attributes: Mapping[str, str]
    message_id: str
    publish_time: datetime


News = LifecycleEvent | Woken


def parse_lifecycle(message: Message, *, max_bytes: int) -> list[News]:
    """What a message says; empty when it is understood and concerns nobody (a role that is not membership)."""
    body = _json_object(message, max_bytes)
    if body.get("schema") == WAKE_SCHEMA:
        return [_wake(body, message)]
    if "schema" in body:
        return _hr(body, message)
    payload = body.get("protoPayload")
    if isinstance(payload, dict):
        parser = LOG_PARSERS.get(str(payload.get("serviceName")))
        if parser is not None:
            return parser(body, payload, message)
        raise UnsupportedMessageError(
            user_message=f"A log entry of service '{payload.get('serviceName')}' says nothing about people.",
            detail=f"log entry of service {str(payload.get('serviceName'))[:80]!r}; known: {sorted(LOG_PARSERS)}",
        )
    keys = ", ".join(sorted(map(str, body))[:8]) or "nothing"
    raise InvalidMessageError(
        user_message=f"The message is of no known shape (its fields: {keys}). "
        f'Send {{"schema": "{SCHEMA}", ...}} or a Workspace or Cloud Identity log entry.',
        detail=f"unknown shape with fields {keys}",
    )


def wake_message(user_key: UserKey) -> bytes:
    """What `parse_lifecycle` reads as: look at this person now. It carries no address."""
    return json.dumps({"schema": WAKE_SCHEMA, "user_key": user_key}).encode()


def _wake(body: dict[str, Any], message: Message) -> Woken:
    user_key = body.get("user_key")
    if set(body) != {"schema", "user_key"} or not isinstance(user_key, str):
        raise InvalidMessageError(
            user_message=f'A wake-up is {{"schema": "{WAKE_SCHEMA}", "user_key": "..."}} and nothing else.',
            detail=f"wake-up with fields {sorted(map(str, body))[:8]}",
        )
    return Woken(event_id=message.message_id, user_key=parse_user_key(user_key), occurred_at=message.publish_time)


def parse_tick(message: Message) -> str:
    """Which sweep a tick asks for: `due`, `idle` or `drift`."""
    body = _json_object(message, 4096)
    kind = body.get("sweep")
    if kind not in ("due", "idle", "drift"):
        raise InvalidMessageError(
            user_message='A tick is {"sweep": "due"}, {"sweep": "idle"} or {"sweep": "drift"}.',
            detail=f"tick asks for sweep {str(kind)[:40]!r}",
        )
    return str(kind)


def _json_object(message: Message, max_bytes: int) -> dict[str, Any]:
    if not message.data:
        raise InvalidMessageError(
            user_message="The message has no data, only attributes. Put the JSON into the message's data.",
            detail=f"message without data; attributes {sorted(message.attributes)[:8]}",
        )
    if len(message.data) > max_bytes:
        raise InvalidMessageError(
            user_message=f"The message is {len(message.data):,} bytes; at most {max_bytes:,} are read.",
            detail=f"message of {len(message.data)} bytes, limit {max_bytes}",
        )
    try:
        body = json.loads(message.data.decode("utf-8-sig"), parse_constant=_no_constant, parse_float=_finite)
        if b"\\u" in message.data:  # half a surrogate pair is no text: it could not be written down again
            json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise InvalidMessageError(
            user_message=f"The message is not JSON: {error}.", detail=f"not JSON: {error}"
        ) from error
    if not isinstance(body, dict):
        raise InvalidMessageError(
            user_message="The message is JSON, but not an object.", detail=f"JSON {type(body).__name__}, not an object"
        )
    return body


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is too large a number")
    return number


@dataclass(frozen=True, slots=True)
class _Said:
    """What a message of the neutral schema says."""

    event_id: str
    type: Type
    user: str
    occurred_at: datetime | None
    effective_time: datetime | None
    attributes: Mapping[str, Any]
    reason: str
    new_user: str | None


def _said(body: dict[str, Any]) -> _Said:
    """The checked fields. `shared.wire_schema` decides; a message that is plainly right is read without it.

    Plainly right = nothing that the model would turn into something else. Importing pydantic for it would be a tenth of a cold start.
    """
    plain = _plainly(body)
    if plain is not None:
        return plain
    from pydantic import ValidationError  # noqa: PLC0415 - see above

    from shared.wire_schema import HrMessage  # noqa: PLC0415 - see above

    try:
        said = HrMessage.model_validate(body)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}"
            for e in error.errors(include_url=False, include_input=False)
        )
        raise _breaks(faults) from error
    return _Said(
        said.event_id, said.type, said.user, said.occurred_at, said.effective_time, said.attributes, said.reason,
        said.new_user,
    )  # fmt: skip


def _plainly(body: dict[str, Any]) -> _Said | None:
    attributes = body.get("attributes", {})
    texts = (body.get("event_id"), body.get("user"), body.get("reason", ""))
    new_user = body.get("new_user")
    moments = (body.get("occurred_at"), body.get("effective_time"))
    is_plain = (
        body.get("type") in _TYPES
        and isinstance(attributes, dict)
        and len(attributes) <= MAX_ATTRIBUTES
        and all(_is_plain(text) for text in (*texts, *attributes))
        and (new_user is None or _is_plain(new_user))
        and 1 <= len(str(texts[0])) <= MAX_EVENT_ID
        and all(moment is None or (isinstance(moment, str) and _MOMENT.fullmatch(moment)) for moment in moments)
    )
    if not is_plain:
        return None
    try:
        occurred_at, effective_time = (None if m is None else datetime.fromisoformat(m) for m in moments)
    except ValueError:
        return None
    event_id, user, reason = map(str, texts)
    return _Said(event_id, body["type"], user, occurred_at, effective_time, attributes, reason, new_user)


def _is_plain(text: object) -> bool:
    """A text that stripping leaves as it is, without control characters and halves of surrogate pairs."""
    return isinstance(text, str) and text == text.strip() and text.isprintable()


def _hr(body: dict[str, Any], message: Message) -> list[News]:
    if body["schema"] != SCHEMA:
        raise InvalidMessageError(
            user_message=f"The schema '{str(body['schema'])[:60]}' is not known; this version reads '{SCHEMA}'.",
            detail=f"unknown schema {str(body['schema'])[:60]!r}",
        )
    said = _said(body)
    user = parse_email(said.user)
    try:
        occurred_at = to_utc(said.occurred_at or message.publish_time)
        effective_at = to_utc(said.effective_time or occurred_at)
    except ValueError as error:
        raise _breaks(f"time out of range: {error}") from error
    if said.type == "renamed":
        return _renamed(said, user, occurred_at, begins_later=effective_at > max(occurred_at, message.publish_time))
    if said.new_user is not None:
        raise _breaks("new_user goes with type 'renamed' only")
    attributes = dict(said.attributes)
    groups = _groups(attributes.pop("groups", None))
    profile_said = "profile" in attributes
    profile = attributes.pop("profile", None)
    if profile is not None and not isinstance(profile, str):
        raise InvalidMessageError(
            user_message="attributes.profile must be a profile's name or null.", detail="attributes.profile is no text"
        )
    kept = {str(name)[:128]: parse_value(value) for name, value in attributes.items()}
    match said.type:
        case "joiner":
            return [Joined(
                event_id=said.event_id, user=user, occurred_at=occurred_at, effective_at=effective_at,
                groups=groups, profile=profile, attributes=kept,
            )]  # fmt: skip
        case "mover":
            return [Moved(
                event_id=said.event_id, user=user, occurred_at=occurred_at, effective_at=effective_at,
                groups=groups, profile=profile, profile_said=profile_said, attributes=kept,
            )]  # fmt: skip
        case "leaver":
            return [Left(
                event_id=said.event_id, user=user, occurred_at=occurred_at, effective_at=effective_at, cause=said.reason
            )]  # fmt: skip


def _renamed(said: _Said, user: UserEmail, occurred_at: datetime, *, begins_later: bool) -> list[News]:
    """Nothing when the two differ in case only: that is one address."""
    if said.new_user is None:
        raise _breaks("type 'renamed' needs new_user, the address from now on")
    if said.attributes:
        raise _breaks("type 'renamed' takes no attributes; what else changed is a message of type 'mover'")
    try:
        new_user = parse_email(said.new_user)
    except InvalidMessageError as error:
        raise _breaks(f"new_user: {error.user_message.rstrip('.')}") from error
    if begins_later:
        raise _breaks("type 'renamed' takes no effective_time to come; send it when the address has changed")
    if new_user == user:
        return []
    return [
        Renamed(event_id=said.event_id, user=user, occurred_at=occurred_at, effective_at=occurred_at, new_user=new_user)
    ]


def _breaks(why: str) -> InvalidMessageError:
    return InvalidMessageError(user_message=f"The message breaks {SCHEMA}: {why}.", detail=why)


def _groups(raw: object) -> tuple[str, ...] | None:
    if raw is None:
        return None
    if not isinstance(raw, list):
        raise InvalidMessageError(
            user_message="attributes.groups must be a list of group addresses.", detail="attributes.groups is no list"
        )
    return tuple(sorted({parse_email(item) for item in raw}))
