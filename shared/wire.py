"""Untrusted bytes -> lifecycle events. The only place that knows the shapes of incoming messages.

Four shapes, told apart by their content: the neutral HR schema (`workbench.lifecycle/v1`), Google Workspace admin log
entries, Cloud Identity group log entries, and Notebooks audit log entries (which only wake). What cannot be understood
raises `InvalidMessageError`; what is understood and not acted on by this version raises `UnsupportedMessageError`: both go to
the dead-letter topic with their text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from shared.domain.errors import InvalidMessageError, UnsupportedMessageError
from shared.domain.events import AccountChanged, GroupChanged, Joined, Left, LifecycleEvent, Moved, Woken
from shared.domain.facts import parse_value
from shared.domain.identity import parse_email, user_key_of_instance
from shared.domain.times import parse_time, to_utc

SCHEMA = "workbench.lifecycle/v1"
MAX_ATTRIBUTES = 64
MAX_EVENT_ID = 256
_TYPES = ("joiner", "mover", "leaver")
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
    if "schema" in body:
        return [_hr(body, message)]
    payload = body.get("protoPayload")
    if isinstance(payload, dict):
        parser = _LOG_PARSERS.get(str(payload.get("serviceName")))
        if parser is not None:
            return parser(body, payload, message)
        raise UnsupportedMessageError(
            user_message=f"A log entry of service '{payload.get('serviceName')}' says nothing about people.",
            detail=f"log entry of service {str(payload.get('serviceName'))[:80]!r}; known: {sorted(_LOG_PARSERS)}",
        )
    keys = ", ".join(sorted(map(str, body))[:8]) or "nothing"
    raise InvalidMessageError(
        user_message=f"The message is of no known shape (its fields: {keys}). "
        f'Send {{"schema": "{SCHEMA}", ...}} or a Workspace or Cloud Identity log entry.',
        detail=f"unknown shape with fields {keys}",
    )


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
    type: Literal["joiner", "mover", "leaver"]
    user: str
    occurred_at: datetime | None
    effective_time: datetime | None
    attributes: Mapping[str, Any]
    reason: str


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
        raise InvalidMessageError(user_message=f"The message breaks {SCHEMA}: {faults}.", detail=faults) from error
    return _Said(
        said.event_id, said.type, said.user, said.occurred_at, said.effective_time, said.attributes, said.reason
    )


def _plainly(body: dict[str, Any]) -> _Said | None:
    attributes = body.get("attributes", {})
    texts = (body.get("event_id"), body.get("user"), body.get("reason", ""))
    moments = (body.get("occurred_at"), body.get("effective_time"))
    is_plain = (
        body.get("type") in _TYPES
        and isinstance(attributes, dict)
        and len(attributes) <= MAX_ATTRIBUTES
        and all(_is_plain(text) for text in (*texts, *attributes))
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
    return _Said(event_id, body["type"], user, occurred_at, effective_time, attributes, reason)


def _is_plain(text: object) -> bool:
    """A text that stripping leaves as it is, without control characters and halves of surrogate pairs."""
    return isinstance(text, str) and text == text.strip() and text.isprintable()


def _hr(body: dict[str, Any], message: Message) -> LifecycleEvent:
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
        raise InvalidMessageError(
            user_message=f"The message breaks {SCHEMA}: {error}.", detail=f"time out of range: {error}"
        ) from error
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
            return Joined(
                event_id=said.event_id, user=user, occurred_at=occurred_at, effective_at=effective_at,
                groups=groups, profile=profile, attributes=kept,
            )  # fmt: skip
        case "mover":
            return Moved(
                event_id=said.event_id, user=user, occurred_at=occurred_at, effective_at=effective_at,
                groups=groups, profile=profile, profile_said=profile_said, attributes=kept,
            )  # fmt: skip
        case "leaver":
            return Left(
                event_id=said.event_id, user=user, occurred_at=occurred_at, effective_at=effective_at, cause=said.reason
            )


def _groups(raw: object) -> tuple[str, ...] | None:
    if raw is None:
        return None
    if not isinstance(raw, list):
        raise InvalidMessageError(
            user_message="attributes.groups must be a list of group addresses.", detail="attributes.groups is no list"
        )
    return tuple(sorted({parse_email(item) for item in raw}))


# --- Google Workspace admin log (facts: event sources, 7.1) ---

_ACCOUNT_EVENTS = {
    "SUSPEND_USER": (False, "suspended"),
    "SUSPEND_AUTO_PROVISIONED_USER": (False, "suspended"),
    "ARCHIVE_USER": (False, "archived"),
    "DELETE_USER": (False, "deleted"),
    "UNSUSPEND_USER": (True, "unsuspended"),
    "UNARCHIVE_USER": (True, "unarchived"),
    "UNDELETE_USER": (True, "undeleted"),
    "CREATE_USER": (True, "created"),
}
_GROUP_EVENTS = {"ADD_GROUP_MEMBER": True, "REMOVE_GROUP_MEMBER": False}
_NOTHING = {"UPDATE_GROUP_MEMBER", "MOVE_USER_TO_ORG_UNIT", "CHANGE_USER_ORGANIZATION"}
_WHY_UNSUPPORTED = {
    "GROUP_MEMBER_BULK_UPLOAD": "A bulk upload of group members names nobody; publish the members' own messages instead.",
    "RENAME_USER": "A changed address is not carried over by this version; announce the new address as a joiner.",
}


def _workspace(entry: dict[str, Any], payload: dict[str, Any], message: Message) -> list[News]:
    metadata = payload.get("metadata")
    events = metadata.get("event") if isinstance(metadata, dict) else None
    if not isinstance(events, list) or not events:
        raise InvalidMessageError(
            user_message="The Workspace log entry carries no protoPayload.metadata.event list.",
            detail="Workspace entry without metadata.event",
        )
    occurred_at = _entry_time(entry, message)
    return [
        news
        for index, event in enumerate(events)
        for news in _workspace_event(event, f"{_entry_id(entry, message)}/{index}", occurred_at)
    ]


def _workspace_event(event: Any, event_id: str, occurred_at: datetime) -> list[News]:
    name = str(event.get("eventName")) if isinstance(event, dict) else ""
    if name in _NOTHING:
        return []
    if name in _GROUP_EVENTS:
        return [
            GroupChanged(
                event_id=event_id,
                user=parse_email(_parameter(event, "USER_EMAIL")),
                occurred_at=occurred_at,
                effective_at=occurred_at,
                group=parse_email(_parameter(event, "GROUP_EMAIL")),
                member=_GROUP_EVENTS[name],
            )
        ]
    if name in _ACCOUNT_EVENTS:
        usable, what = _ACCOUNT_EVENTS[name]
        return [
            AccountChanged(
                event_id=event_id,
                user=parse_email(_parameter(event, "USER_EMAIL")),
                occurred_at=occurred_at,
                effective_at=occurred_at,
                usable=usable,
                what=what,
            )
        ]
    why = _WHY_UNSUPPORTED.get(name, f"The Workspace event '{name[:60]}' is not one that Benchkeeper acts on.")
    raise UnsupportedMessageError(user_message=why, detail=f"Workspace event {name[:60]!r}")


def _parameter(event: dict[str, Any], name: str) -> object:
    """A parameter by its name: the order differs between samples."""
    parameters = event.get("parameter")
    for parameter in parameters if isinstance(parameters, list) else []:
        if isinstance(parameter, dict) and parameter.get("name") == name:
            return parameter.get("value")
    raise InvalidMessageError(
        user_message=f"The Workspace event {event.get('eventName')} has no parameter {name}.",
        detail=f"{event.get('eventName')} without {name}",
    )


# --- Cloud Identity group log (facts: 7.2) ---


def _cloud_identity(entry: dict[str, Any], payload: dict[str, Any], message: Message) -> list[News]:
    metadata = payload.get("metadata")
    delta = metadata.get("membershipDelta") if isinstance(metadata, dict) else None
    if not isinstance(metadata, dict) or not isinstance(delta, dict):
        raise InvalidMessageError(
            user_message="The Cloud Identity log entry carries no protoPayload.metadata.membershipDelta.",
            detail="Cloud Identity entry without membershipDelta",
        )
    deltas = delta.get("roleDeltas")
    actions = [
        str(d.get("action"))
        for d in (deltas if isinstance(deltas, list) else [])
        if isinstance(d, dict) and d.get("role") == "MEMBER"
    ]
    if not actions:
        return []  # OWNER and MANAGER come and go without the membership
    kind, _, member = str(delta.get("member")).partition(":")
    if kind != "user":
        raise UnsupportedMessageError(
            user_message=f"A {kind} became or left a member of a group; this version does not expand nested groups.",
            detail=f"membership of kind {kind[:20]!r}",
        )
    unknown = sorted(set(actions) - {"ADD", "REMOVE"})
    if unknown:
        raise InvalidMessageError(
            user_message=f"The role action '{unknown[0][:20]}' is not ADD or REMOVE.",
            detail=f"role action {unknown[0][:20]!r}",
        )
    occurred_at = _entry_time(entry, message)
    return [
        GroupChanged(
            event_id=_entry_id(entry, message),
            user=parse_email(member),
            occurred_at=occurred_at,
            effective_at=occurred_at,
            group=parse_email(str(metadata.get("group")).removeprefix("group:")),
            member=actions[-1] == "ADD",
        )
    ]


# --- Notebooks audit log (facts: 7.5) ---


def _notebooks(entry: dict[str, Any], payload: dict[str, Any], message: Message) -> list[News]:
    operation = entry.get("operation")
    if not (isinstance(operation, dict) and operation.get("last")):
        return []
    user_key = user_key_of_instance(str(payload.get("resourceName")).rpartition("/")[2])
    if user_key is None:
        return []  # somebody else's instance
    return [Woken(event_id=_entry_id(entry, message), user_key=user_key, occurred_at=_entry_time(entry, message))]


_LOG_PARSERS: dict[str, Callable[[dict[str, Any], dict[str, Any], Message], list[News]]] = {
    "admin.googleapis.com": _workspace,
    "cloudidentity.googleapis.com": _cloud_identity,
    "notebooks.googleapis.com": _notebooks,
}


def _entry_time(entry: dict[str, Any], message: Message) -> datetime:
    """When it happened: the log entry's timestamp, else when it was published."""
    raw = entry.get("timestamp")
    if raw is None:
        return message.publish_time.astimezone(UTC)
    try:
        return parse_time(str(raw))
    except ValueError as error:
        raise InvalidMessageError(
            user_message=f"The log entry's timestamp '{str(raw)[:40]}' is no RFC 3339 time.", detail="bad timestamp"
        ) from error


def _entry_id(entry: dict[str, Any], message: Message) -> str:
    """InsertId is unique only together with the timestamp."""
    insert_id = entry.get("insertId")
    return f"{insert_id}@{entry.get('timestamp')}" if insert_id else message.message_id
