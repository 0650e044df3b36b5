"""The table of log events: what an event states, its parameters with addresses, its log, and a flag for export by the sink.

The parser of log entries, the search for users named in dead letters, and the filters of the sinks use the table.
Sources: Google's Admin SDK reference of admin and login events, and published samples of the entries.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct

ACTIVITY, DATA_ACCESS = "activity", "data_access"
ADMIN, LOGIN, CLOUD_IDENTITY, NOTEBOOKS = (
    "admin.googleapis.com",
    "login.googleapis.com",
    "cloudidentity.googleapis.com",
    "notebooks.googleapis.com",
)
MEMBERSHIP_METHOD = "google.apps.cloudidentity.groups.v1.MembershipsService.UpdateMembership"


class States(StrEnum):
    """The kind of statement that an event makes about a user or group."""

    MEMBER = "member"
    NO_MEMBER = "no-member"
    SUSPENDED = "suspended"
    NOT_SUSPENDED = "not-suspended"
    ARCHIVED = "archived"
    NOT_ARCHIVED = "not-archived"
    DELETED = "deleted"
    NOT_DELETED = "not-deleted"
    DISABLED = "disabled"
    CREATED = "created"
    RENAMED = "renamed"
    GROUP_DELETED = "group-deleted"
    GROUP_RENAMED = "group-renamed"
    GROUP_CREATED = "group-created"
    NOTHING = "nothing"
    UNSUPPORTED = "unsupported"


class LogEvent(Struct, frozen=True, kw_only=True):
    """An event of a log: its name, its service, the method of the log entry, and the kind of its statement (`states`).

    `user`, `group` and `new` are the names of the parameters with an address. `exported` is True if the sink exports the event.
    `why` is the text for an unsupported event.
    """

    name: str
    service: str
    method: str
    states: States
    log: str = ACTIVITY
    user: str = ""
    group: str = ""
    new: str = ""
    exported: bool = True
    why: str = ""


def _admin(name: str, states: States, **more: object) -> LogEvent:
    """Return an event of the Workspace admin log. The method is made from the event's name."""
    first, *rest = name.lower().split("_")
    method = f"google.admin.AdminService.{first}{''.join(word.capitalize() for word in rest)}"
    return LogEvent(**{"name": name, "service": ADMIN, "method": method, "states": states, **more})  # type: ignore[arg-type]  # one dict of all fields


def _of_user(name: str, states: States, **more: object) -> LogEvent:
    return _admin(name, states, user="USER_EMAIL", **more)


def _login(name: str) -> LogEvent:
    first, *rest = name.split("_")
    method = f"google.login.LoginService.{first}{''.join(word.capitalize() for word in rest)}"
    return LogEvent(
        name=name,
        service=LOGIN,
        method=method,
        states=States.DISABLED,
        log=DATA_ACCESS,
        user="affected_email_address",
    )


_BULK = (
    "A bulk upload of group members names nobody. The roster of groups finds them (settings: roster.groups); without it, publish the "
    "members' own messages."
)
EVENTS: tuple[LogEvent, ...] = (
    _of_user("ADD_GROUP_MEMBER", States.MEMBER, group="GROUP_EMAIL"),
    _of_user("REMOVE_GROUP_MEMBER", States.NO_MEMBER, group="GROUP_EMAIL"),
    _of_user("UPDATE_GROUP_MEMBER", States.NOTHING, group="GROUP_EMAIL", exported=False),
    _admin("GROUP_MEMBER_BULK_UPLOAD", States.UNSUPPORTED, group="GROUP_EMAIL", why=_BULK),
    _admin("CREATE_GROUP", States.GROUP_CREATED, group="GROUP_EMAIL"),
    _admin("DELETE_GROUP", States.GROUP_DELETED, group="GROUP_EMAIL"),
    _admin("CHANGE_GROUP_EMAIL", States.GROUP_RENAMED, group="GROUP_EMAIL", new="NEW_VALUE"),
    _of_user("SUSPEND_USER", States.SUSPENDED),
    _of_user("UNSUSPEND_USER", States.NOT_SUSPENDED),
    _of_user("ARCHIVE_USER", States.ARCHIVED),
    _of_user("UNARCHIVE_USER", States.NOT_ARCHIVED),
    _of_user("DELETE_USER", States.DELETED),
    _of_user("UNDELETE_USER", States.NOT_DELETED),
    _of_user("CREATE_USER", States.CREATED),
    _of_user("RENAME_USER", States.RENAMED, new="NEW_VALUE"),
    # An account in another application, made by Google for the same user: it says nothing about the Google account.
    _of_user("SUSPEND_AUTO_PROVISIONED_USER", States.NOTHING, exported=False),
    _of_user("UNSUSPEND_AUTO_PROVISIONED_USER", States.NOTHING, exported=False),
    _of_user("MOVE_USER_TO_ORG_UNIT", States.NOTHING, exported=False),
    _of_user("CHANGE_USER_ORGANIZATION", States.NOTHING, exported=False),
    # Google itself locks an account out. These come in the log of data access and name no principal.
    _login("account_disabled_hijacked"),
    _login("account_disabled_password_leak"),
    _login("account_disabled_spamming"),
    _login("account_disabled_spamming_through_relay"),
    _login("account_disabled_generic"),
)
# The sink exports the named events; an event with another suffix states the same.
ANY_DISABLED = EVENTS[-1]
BY_NAME = {event.name: event for event in EVENTS}


def render_people_filter(organization: str) -> str:
    """Return the filter of the organization's sink: the exported events, each in its log, and changed memberships of groups."""
    parts = [_in_log(organization, log) for log in (ACTIVITY, DATA_ACCESS)]
    return "(" + ")\nOR (".join(parts) + ")"


def _in_log(organization: str, log: str) -> str:
    by_service: dict[str, list[LogEvent]] = {}
    for event in EVENTS:
        if event.exported and event.log == log:
            by_service.setdefault(event.service, []).append(event)
    parts = [f'(protoPayload.serviceName="{service}" AND {_any_of(events)})' for service, events in by_service.items()]
    if log == ACTIVITY:
        parts.append(f'(protoPayload.serviceName="{CLOUD_IDENTITY}" AND protoPayload.methodName="{MEMBERSHIP_METHOD}")')
    name = f"organizations/{organization}/logs/cloudaudit.googleapis.com%2F{log}"
    services = "\n  OR ".join(parts)
    return f'logName="{name}"\n  AND ({services})'


def _any_of(events: list[LogEvent]) -> str:
    """Return a filter by method or by event name: an entry may have several events, but has the method of only one of them."""
    methods, names = _either(event.method for event in events), _either(event.name for event in events)
    return f"(protoPayload.methodName=({methods}) OR protoPayload.metadata.event.eventName=({names}))"


def _either(names: Iterable[str]) -> str:
    return " OR ".join(f'"{name}"' for name in names)


def render_notebooks_filter(project: str) -> str:
    """Return the filter of the project's sink: the last entry of each operation on Workbench instances."""
    return (
        f'logName="projects/{project}/logs/cloudaudit.googleapis.com%2F{ACTIVITY}"\n'
        f'AND protoPayload.serviceName="{NOTEBOOKS}"\nAND operation.last=true'
    )
