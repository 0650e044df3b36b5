"""The REST API of Cloud Identity v1: groups, direct and transitive memberships.

The caller's rights follow from the caller's role in the group (owner, manager), not from an IAM permission, so the
journal names no permission.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from emulator.wire.http import Call, Handler, Route, read_int, with_query
from emulator.world import CallSpec

if TYPE_CHECKING:
    from emulator.model.cloudidentity import CloudIdentityModel

_GROUP = r"^/v1/(?P<name>groups/[^/:]+)"
_MEMBERSHIP = _GROUP.replace("+)", "+/memberships/[^/:]+)")


def routes(model: CloudIdentityModel) -> list[Route]:
    """Return the service's routes. The lookups come first, because other patterns would match their last word as a name."""

    def members(call: Call, query: dict[str, str]) -> Any:
        return model.members(
            call.params["name"],
            size=read_int(query, "pageSize"),
            token=query.get("pageToken", ""),
            view=query.get("view", ""),
        )

    def transitive(call: Call, query: dict[str, str]) -> Any:
        return model.search_transitive(
            call.params["name"], size=read_int(query, "pageSize"), token=query.get("pageToken", "")
        )

    # verb, path, method, the resource that the journal names, handler
    table: list[tuple[str, str, str, str, Handler]] = [
        ("GET", r"^/v1/groups:lookup", "groups.lookup", "groups",
         with_query(lambda _, query: model.lookup(query.get("groupKey.id", "")), "groupKey.id")),
        ("POST", r"^/v1/groups", "groups.create", "groups",
         with_query(lambda call, _: model.create(call.json()), "initialGroupConfig")),
        ("GET", f"{_GROUP}/memberships:lookup", "memberships.lookup", "{name}",
         with_query(lambda call, query: model.lookup_member(call.params["name"], query.get("memberKey.id", "")), "memberKey.id")),
        ("GET", f"{_GROUP}/memberships:searchTransitiveMemberships", "memberships.searchTransitiveMemberships", "{name}",
         with_query(transitive, "pageSize", "pageToken")),
        ("GET", f"{_GROUP}/memberships:checkTransitiveMembership", "memberships.checkTransitiveMembership", "{name}",
         with_query(lambda call, query: model.check_transitive(call.params["name"], query.get("query", "")), "query")),
        ("GET", f"{_GROUP}/memberships", "memberships.list", "{name}", with_query(members, "pageSize", "pageToken", "view")),
        ("POST", f"{_GROUP}/memberships", "memberships.create", "{name}",
         with_query(lambda call, _: model.join(call.params["name"], call.json()))),
        ("POST", f"{_MEMBERSHIP}:modifyMembershipRoles", "memberships.modifyMembershipRoles", "{name}",
         with_query(lambda call, _: model.modify_roles(call.params["name"], call.json()))),
        ("GET", _MEMBERSHIP, "memberships.get", "{name}", with_query(lambda call, _: model.get_member(call.params["name"]))),
        ("DELETE", _MEMBERSHIP, "memberships.delete", "{name}", with_query(lambda call, _: model.leave(call.params["name"]))),
        ("GET", _GROUP, "groups.get", "{name}", with_query(lambda call, _: model.get(call.params["name"]))),
        ("DELETE", _GROUP, "groups.delete", "{name}", with_query(lambda call, _: model.delete(call.params["name"]))),
    ]  # fmt: skip
    return [
        Route(verb, re.compile(f"{path}$"), CallSpec("cloudidentity", method, mutates=verb != "GET"), handler, resource)
        for verb, path, method, resource, handler in table
    ]
