"""Cloud Identity v1 over REST: groups and direct memberships.

What a caller may do here is decided by its role in the group (owner, manager), by no IAM permission: the journal names none.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from emulator.wire.http import Call, Route
from emulator.wire.notebooks import read_int, read_query
from emulator.world import CallSpec

if TYPE_CHECKING:
    from emulator.model.cloudidentity import CloudIdentityModel

_GROUP = r"^/v1/(?P<name>groups/[^/:]+)"
_MEMBERSHIP = _GROUP.replace("+)", "+/memberships/[^/:]+)")
_INITIAL = ("EMPTY", "WITH_INITIAL_OWNER")


def routes(model: CloudIdentityModel) -> list[Route]:
    """Return the service's routes. The lookups stand before what would take their last word for a name."""
    calls = _Calls(model)
    # verb, path, method, handler, the resource that the journal names
    table: list[tuple[str, str, str, Callable[[Call], Any], str]] = [
        ("GET", r"^/v1/groups:lookup", "groups.lookup", calls.lookup, "groups"),
        ("POST", r"^/v1/groups", "groups.create", calls.create, "groups"),
        ("GET", f"{_GROUP}/memberships:lookup", "memberships.lookup", calls.lookup_member, "{name}"),
        ("GET", f"{_GROUP}/memberships", "memberships.list", calls.members, "{name}"),
        ("POST", f"{_GROUP}/memberships", "memberships.create", calls.join, "{name}"),
        ("DELETE", _MEMBERSHIP, "memberships.delete", calls.leave, "{name}"),
        ("GET", _GROUP, "groups.get", calls.get, "{name}"),
        ("DELETE", _GROUP, "groups.delete", calls.delete, "{name}"),
    ]
    return [
        Route(verb, re.compile(f"{path}$"), CallSpec("cloudidentity", method, mutates=verb != "GET"), handler, resource)
        for verb, path, method, handler, resource in table
    ]


class _Calls:
    """The handlers."""

    def __init__(self, model: CloudIdentityModel) -> None:
        self._model = model

    def lookup(self, call: Call) -> Any:
        return self._model.lookup(read_query(call, ("groupKey.id",)).get("groupKey.id", ""))

    def create(self, call: Call) -> Any:
        read_query(call, ("initialGroupConfig",))
        return self._model.create(call.json())

    def get(self, call: Call) -> Any:
        read_query(call, ())
        return self._model.get(call.params["name"])

    def delete(self, call: Call) -> Any:
        read_query(call, ())
        return self._model.delete(call.params["name"])

    def lookup_member(self, call: Call) -> Any:
        key = read_query(call, ("memberKey.id",)).get("memberKey.id", "")
        return self._model.lookup_member(call.params["name"], key)

    def members(self, call: Call) -> Any:
        query = read_query(call, ("pageSize", "pageToken", "view"))
        return self._model.members(
            call.params["name"], size=read_int(query, "pageSize"), token=query.get("pageToken", "")
        )

    def join(self, call: Call) -> Any:
        read_query(call, ())
        return self._model.join(call.params["name"], call.json())

    def leave(self, call: Call) -> Any:
        read_query(call, ())
        return self._model.leave(call.params["name"])
