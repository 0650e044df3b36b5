"""Kinds of input that real sources send, as messages of our own making, with what must come of each. See tests/engine/test_cases.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

ANALYSTS, ENGINEERS = "data-analysts@example.com", "data-engineers@example.com"
ORGANIZATION = "123456789012"
_SERIAL = [0]


class Said(Struct, frozen=True):
    """One message: whose it is, its bytes, and how long after the case's beginning it is published."""

    source: str
    body: bytes
    after: timedelta = timedelta(0)


def _number() -> int:
    _SERIAL[0] += 1
    return _SERIAL[0]


def hr(kind: str, user: str | None, at: datetime | None, *, source: str = "hr", **more: Any) -> Said:
    """A message of the neutral schema; `at` is when it says that it happened."""
    body: dict[str, Any] = {"schema": "workbench.lifecycle/v1", "event_id": f"case-{_number()}", "type": kind, **more}
    if user is not None:
        body["user"] = user
    if at is not None:
        body["occurred_at"] = at.isoformat()
    return Said(source, json.dumps({key: value for key, value in body.items() if value is not ...}).encode())


def event(name: str, **parameters: str) -> dict[str, Any]:
    listed = [{"name": key, "value": value, "type": "TYPE_STRING"} for key, value in parameters.items()]
    return {"eventName": name, "eventType": "USER_SETTINGS", "parameter": listed}


def log(at: datetime, *events: dict[str, Any], service: str = "admin.googleapis.com", **payload: Any) -> Said:
    """An entry of the Workspace admin log, or of the login log."""
    kind = "data_access" if service == "login.googleapis.com" else "activity"
    name = events[0]["eventName"]
    first, *rest = name.lower().split("_")
    owner = "google.login.LoginService" if service == "login.googleapis.com" else "google.admin.AdminService"
    body = {
        "insertId": f"case-{_number()}",
        "logName": f"organizations/{ORGANIZATION}/logs/cloudaudit.googleapis.com%2F{kind}",
        "timestamp": at.isoformat(),
        "protoPayload": {
            "serviceName": service,
            "methodName": f"{owner}.{first}{''.join(word.capitalize() for word in rest)}",
            "authenticationInfo": {"principalEmail": "admin@example.com"} if kind == "activity" else {},
            "metadata": {"event": list(events)},
            **payload,
        },
    }
    return Said("directory", json.dumps(body).encode())


def of(name: str, user: str) -> dict[str, Any]:
    return event(name, USER_EMAIL=user)


def member(user: str, group: str = ANALYSTS, *, enters: bool = True) -> dict[str, Any]:
    return event("ADD_GROUP_MEMBER" if enters else "REMOVE_GROUP_MEMBER", USER_EMAIL=user, GROUP_EMAIL=group)


def group_log(at: datetime, who: str, action: str, group: str = ANALYSTS, **payload: Any) -> Said:
    """An entry of the Cloud Identity group log."""
    body = {
        "insertId": f"case-{_number()}",
        "logName": f"organizations/{ORGANIZATION}/logs/cloudaudit.googleapis.com%2Factivity",
        "timestamp": at.isoformat(),
        "protoPayload": {
            "serviceName": "cloudidentity.googleapis.com",
            "methodName": "google.apps.cloudidentity.groups.v1.MembershipsService.UpdateMembership",
            "authenticationInfo": {"principalEmail": "cloud-support@google.com"},
            "authorizationInfo": [{"permission": "cloudidentity.membership.update", "granted": True}],
            "metadata": {
                "group": f"group:{group}",
                "membershipDelta": {"member": who, "roleDeltas": [{"action": action, "role": "MEMBER"}]},
            },
            **payload,
        },
    }
    return Said("directory", json.dumps(body).encode())


class Case(Struct, frozen=True):
    """`make(user, t)` gives the messages, `t` being "n hours from now". Whether access is `cut` at the end, whether the person is
    `marked`. `orderly`: the order of arrival is part of the case, so that it is not mixed up."""

    make: Callable[[str, Callable[[float], datetime]], list[Said]]
    cut: bool
    marked: bool = False
    orderly: bool = False


CASES: dict[str, Case] = {
    "an event id that is used twice": Case(
        lambda u, t: [hr("joiner", u, t(-2), event_id="100245"), hr("leaver", u, t(-1), event_id="100245")], cut=True
    ),
    "a group that is deleted": Case(
        lambda u, t: [log(t(-2), member(u)), log(t(-1), event("DELETE_GROUP", GROUP_EMAIL=ANALYSTS))], cut=True
    ),
    "a group that is deleted, another one held": Case(
        lambda u, t: [
            log(t(-3), member(u)), log(t(-2.5), member(u, ENGINEERS)), log(t(-1), event("DELETE_GROUP", GROUP_EMAIL=ANALYSTS)),
        ], cut=False,
    ),
    "a group whose address changed, then removed from it": Case(
        lambda u, t: [
            log(t(-3), member(u)),
            log(t(-2), event("CHANGE_GROUP_EMAIL", GROUP_EMAIL=ANALYSTS, NEW_VALUE="analysts-emea@example.com")),
            log(t(-1), member(u, "analysts-emea@example.com", enters=False)),
        ], cut=True,
    ),
    "suspended, deleted, undeleted": Case(
        lambda u, t: [
            log(t(-4), member(u)), log(t(-3), of("SUSPEND_USER", u)), log(t(-2), of("DELETE_USER", u)),
            log(t(-1), of("UNDELETE_USER", u)),
        ], cut=True,
    ),
    "suspended, archived, unsuspended": Case(
        lambda u, t: [
            log(t(-4), member(u)), log(t(-3), of("SUSPEND_USER", u)), log(t(-2), of("ARCHIVE_USER", u)),
            log(t(-1), of("UNSUSPEND_USER", u)),
        ], cut=True,
    ),
    "suspended and unsuspended": Case(
        lambda u, t: [log(t(-4), member(u)), log(t(-3), of("SUSPEND_USER", u)), log(t(-1), of("UNSUSPEND_USER", u))],
        cut=False,
    ),
    "a suspension beside an unknown event": Case(
        lambda u, t: [log(t(-2), member(u)), log(t(-1), of("CHANGE_PASSWORD", u), of("SUSPEND_USER", u))], cut=True,
        marked=True,
    ),
    "disabled by Google": Case(
        lambda u, t: [
            log(t(-2), member(u)),
            log(t(-1), event("account_disabled_hijacked", affected_email_address=u), service="login.googleapis.com"),
        ], cut=True,
    ),
    "disabled by Google, then usable by an operator's word": Case(
        lambda u, t: [
            log(t(-3), member(u)),
            log(t(-2), event("account_disabled_generic", affected_email_address=u), service="login.googleapis.com"),
            hr("account", u, t(-1), source="operator", account="usable"),
        ], cut=False,
    ),
    "deleted and hired again": Case(
        lambda u, t: [log(t(-3), member(u)), log(t(-2), of("DELETE_USER", u)), hr("joiner", u, t(-1), attributes={"groups": [ANALYSTS]})],
        cut=True,
    ),
    "suspended in another application": Case(
        lambda u, t: [log(t(-2), member(u)), log(t(-1), of("SUSPEND_AUTO_PROVISIONED_USER", u))], cut=False
    ),
    "a nightly joiner after an announced leave": Case(
        lambda u, t: [
            hr("joiner", u, t(-9)), hr("leaver", u, t(-8), effective_time=t(-1).isoformat()), hr("joiner", u, t(-0.5)),
        ], cut=True,
    ),
    "a hire date as occurred_at": Case(
        lambda u, t: [
            hr("joiner", u, t(1200), effective_time=t(-9).isoformat()), hr("leaver", u, t(-1)),
        ], cut=True,
    ),
    "the end of a contract in a joiner": Case(
        lambda u, t: [hr("joiner", u, t(-60), attributes={"contract_end_date": f"{t(-48):%Y-%m-%d}"})], cut=True
    ),
    "an extension after the end": Case(
        lambda u, t: [
            hr("joiner", u, t(-60), access_until=f"{t(-48):%Y-%m-%d}", attributes={"groups": [ANALYSTS]}),
            hr("mover", u, t(-1), access_until=f"{t(4800):%Y-%m-%d}"),
        ], cut=False,
    ),
    "a leaver with a bare date that is over": Case(
        lambda u, t: [hr("joiner", u, t(-60)), hr("leaver", u, None, effective_time=f"{t(-26):%Y-%m-%d}")], cut=True
    ),
    "a leaver with a bare date to come": Case(
        lambda u, t: [hr("joiner", u, t(-60)), hr("leaver", u, None, effective_time=f"{t(48):%Y-%m-%d}")], cut=False
    ),
    "a leaver under a plus address": Case(
        lambda u, t: [hr("joiner", u, t(-2)), hr("leaver", u.replace("@", "+payroll@"), t(-1))], cut=True
    ),
    "a joiner under a plus address": Case(
        lambda u, t: [hr("leaver", u, t(-2)), hr("joiner", u.replace("@", "+x@"), t(-1), effective_time=t(-1).isoformat())], cut=True,
        marked=True,
    ),
    "without explicit times the tie is the leaver's": Case(
        lambda u, t: [hr("joiner", u, t(-1)), hr("leaver", u, t(-1))], cut=True
    ),
    "a conversion at one moment": Case(
        lambda u, t: [
            hr("joiner", u, t(-9)), hr("leaver", u, t(-1), effective_time=t(-1).isoformat()),
            hr("joiner", u, t(-1), effective_time=t(-1).isoformat()),
        ], cut=False,
    ),
    "two removals, one unreadable": Case(
        lambda u, t: [log(t(-2), member(u)), log(t(-1), member("*", enters=False), member(u, enters=False))], cut=True
    ),
    "an empty list of groups": Case(
        lambda u, t: [hr("joiner", u, t(-2), attributes={"groups": [ANALYSTS]}), hr("mover", u, t(-1), attributes={"groups": []})],
        cut=True,
    ),
    "a leave that is cancelled": Case(
        lambda u, t: [
            hr("joiner", u, t(-9), attributes={"profile": "engineer"}), hr("leaver", u, t(-8)),
            Said("hr", hr("leave_cancelled", u, t(-0.01)).body, timedelta(minutes=5)),
        ], cut=False, orderly=True,
    ),
    "another service's report": Case(
        lambda u, t: [
            log(t(-2), member(u)),
            Said("directory", json.dumps({"kind": "admin#reports#activity", "actor": {"email": "admin@example.com"}, "events": [
                {"type": "USER_SETTINGS", "name": "SUSPEND_USER", "parameters": [{"name": "USER_EMAIL", "value": u}]}]}).encode()),
        ], cut=False, marked=True, orderly=True,
    ),
    "a hook of an identity provider": Case(
        lambda u, t: [
            log(t(-2), member(u)),
            Said("hr", json.dumps({"eventType": "com.okta.event_hook", "data": {"events": [
                {"eventType": "user.lifecycle.deactivate", "target": [{"type": "User", "alternateId": u}]}]}}).encode()),
        ], cut=False, marked=True, orderly=True,
    ),
    "a leaver with a display name": Case(
        lambda u, t: [hr("joiner", u, t(-2)), hr("leaver", f"Some Body <{u}>", t(-1))], cut=True
    ),
    "a batch of leavers": Case(
        lambda u, t: [
            hr("joiner", u, t(-2)),
            Said("hr", json.dumps([json.loads(hr("leaver", who, t(-1)).body) for who in ("else@example.com", u)]).encode()),
        ], cut=True,
    ),
    "a refused change": Case(
        lambda u, t: [log(t(-2), member(u), status={"code": 7, "message": "PERMISSION_DENIED"})], cut=True
    ),
    "a change that was not granted": Case(
        lambda u, t: [group_log(t(-2), f"user:{u}", "ADD", authorizationInfo=[{"permission": "x"}])], cut=True
    ),
    "an event that failed": Case(lambda u, t: [log(t(-2), {**member(u), "status": {"success": False}})], cut=True),
    "a leaver that is dated back, after a nightly joiner": Case(
        lambda u, t: [
            hr("joiner", u, t(-33), attributes={"groups": [ANALYSTS]}), hr("joiner", u, t(-9), attributes={"groups": [ANALYSTS]}),
            hr("leaver", u, t(-17)),
        ], cut=True,
    ),
    "a nightly joiner after the last day": Case(
        lambda u, t: [
            hr("joiner", u, t(-60), attributes={"groups": [ANALYSTS]}), hr("leaver", u, t(-50), effective_time=t(-20).isoformat()),
            hr("joiner", u, t(-9), attributes={"groups": [ANALYSTS]}),
        ], cut=True,
    ),
    "a leaver with faults beside": Case(
        lambda u, t: [
            hr("joiner", u, t(-2), attributes={"groups": [ANALYSTS]}),
            hr("leaver", u, t(-1), profile=7, attributes={"groups": "none"}),
        ], cut=True, marked=True, orderly=True,
    ),
    "a service account as a member": Case(
        lambda _, t: [log(t(-2), member("etl@acme-data.iam.gserviceaccount.com"))], cut=True
    ),
    "a stale list after a directory's removal": Case(
        lambda u, t: [
            log(t(-3), member(u)), log(t(-2), member(u, enters=False)), hr("mover", u, t(-1), attributes={"groups": [ANALYSTS]}),
        ], cut=True,
    ),
    "a leaver by the person's number": Case(
        lambda u, t: [
            hr("joiner", u, t(-2), person_id="P-10034", attributes={"groups": [ANALYSTS]}),
            hr("leaver", None, t(-1), person_id="P-10034"),
        ], cut=True,
    ),
    "a leave of absence and the return": Case(
        lambda u, t: [log(t(-49), member(u)), log(t(-25), of("SUSPEND_USER", u)), log(t(-1), of("UNSUSPEND_USER", u))], cut=False
    ),
    "a membership that expired": Case(
        lambda u, t: [log(t(-2), member(u)), group_log(t(-1), f"user:{u}", "REMOVE")], cut=True
    ),
    "all members of the organization": Case(
        lambda u, t: [log(t(-2), member(u)), group_log(t(-1), "customer:C0123", "ADD")], cut=False
    ),
}  # fmt: skip
