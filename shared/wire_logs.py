"""Google's log entries -> lifecycle events: Workspace admin log, Cloud Identity group log, Notebooks audit log. For `shared.wire`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from shared.domain.errors import InvalidMessageError, UnsupportedMessageError
from shared.domain.events import AccountChanged, GroupChanged, LifecycleEvent, Renamed, Woken
from shared.domain.identity import parse_email, user_key_of_instance
from shared.domain.times import parse_time

if TYPE_CHECKING:
    from shared.wire import Message

News = LifecycleEvent | Woken

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
    if name == "RENAME_USER":
        return _renamed(event, event_id, occurred_at)
    why = _WHY_UNSUPPORTED.get(name, f"The Workspace event '{name[:60]}' is not one that Benchkeeper acts on.")
    raise UnsupportedMessageError(user_message=why, detail=f"Workspace event {name[:60]!r}")


def _renamed(event: dict[str, Any], event_id: str, occurred_at: datetime) -> list[News]:
    """Nothing when the two differ in case only: that is one address."""
    user, new_user = (parse_email(_parameter(event, name)) for name in ("USER_EMAIL", "NEW_VALUE"))
    if user == new_user:
        return []
    return [Renamed(event_id=event_id, user=user, occurred_at=occurred_at, effective_at=occurred_at, new_user=new_user)]


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


# By the entry's protoPayload.serviceName.
LOG_PARSERS: dict[str, Callable[[dict[str, Any], dict[str, Any], Message], list[News]]] = {
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
