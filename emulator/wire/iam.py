"""The REST API of IAM v1: service accounts and their policies. `POST /_emulator/iam {"quota": 1000}` sets the project's quota."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from emulator.model.iam_policy import invalid
from emulator.wire.http import Call, Handler, Route, read_int, route, with_body, with_query
from emulator.world import CallSpec, World

if TYPE_CHECKING:
    from emulator.model.iam import IamModel

_PROJECT = r"^/v1/projects/(?P<project>[^/:]+)/serviceAccounts"
_ACCOUNT = r"^/v1/(?P<name>projects/[^/:]+/serviceAccounts/[^/:]+)"


def routes(world: World, model: IamModel) -> list[Route]:
    """Return the service's routes and the route of the control API."""

    def listing(call: Call, query: dict[str, str]) -> Any:
        size, token = read_int(query, "pageSize"), query.get("pageToken", "")
        return model.listing(call.params["project"], size=size, token=token)

    def get_policy(call: Call, query: dict[str, str]) -> Any:
        return model.get_policy(call.params["name"], version=read_int(query, "options.requestedPolicyVersion"))

    def keys(call: Call, _query: dict[str, str]) -> Any:
        return model.keys(call.params["name"], call.request.args.getlist("keyTypes"))

    def switch(*, disabled: bool) -> Handler:
        return with_body(lambda call, _: model.switch(call.params["name"], disabled=disabled))

    # verb, path, method, permission, handler
    table: list[tuple[str, str, str, str, Handler]] = [
        ("POST", _PROJECT, "create", "create", with_query(lambda call, _: model.create(call.params["project"], call.json()))),
        ("GET", _PROJECT, "list", "list", with_query(listing, "pageSize", "pageToken")),
        ("GET", _ACCOUNT, "get", "get", with_query(lambda call, _: model.get(call.params["name"]))),
        ("GET", f"{_ACCOUNT}/keys", "keys.list", "keys.list", with_query(keys, "keyTypes")),
        ("PATCH", _ACCOUNT, "patch", "update", with_query(lambda call, _: model.patch(call.params["name"], call.json()))),
        ("DELETE", _ACCOUNT, "delete", "delete", with_query(lambda call, _: model.delete(call.params["name"]))),
        ("POST", f"{_ACCOUNT}:enable", "enable", "enable", switch(disabled=False)),
        ("POST", f"{_ACCOUNT}:disable", "disable", "disable", switch(disabled=True)),
        ("POST", f"{_ACCOUNT}:getIamPolicy", "getIamPolicy", "getIamPolicy",
         with_query(get_policy, "options.requestedPolicyVersion")),
        ("POST", f"{_ACCOUNT}:setIamPolicy", "setIamPolicy", "setIamPolicy",
         lambda call: model.set_policy(call.params["name"], call.json())),
    ]  # fmt: skip
    return [
        *(
            Route(verb, re.compile(f"{path}$"), _spec(method, permission), handler, _resource(world, path))
            for verb, path, method, permission, handler in table
        ),
        route("POST", "/_emulator/iam", None, _quota(world, model)),
    ]


def _spec(method: str, permission: str) -> CallSpec:
    reads = method in ("list", "get", "getIamPolicy", "keys.list")
    needed = f"iam.serviceAccounts.{permission}".replace("serviceAccounts.keys", "serviceAccountKeys")
    return CallSpec("iam", f"serviceAccounts.{method}", mutates=not reads, permission=needed)


def _resource(world: World, path: str) -> Callable[[Call], str]:
    """Return a function that names the resource of a call, for the journal and for faults.

    The resource is the account (also of a create) or, for a list, the project. An account is named with its project,
    even if the call has `-` instead.
    """

    def of(call: Call) -> str:
        if path != _PROJECT:
            return call.params["name"].replace("projects/-/", f"projects/{world.project}/", 1)
        project = call.params["project"]
        if call.request.method == "GET":
            return f"projects/{project}"
        wanted = call.json().get("accountId", "")
        return f"projects/{project}/serviceAccounts/{wanted}@{project}.iam.gserviceaccount.com"

    return of


def _quota(world: World, model: IamModel) -> Callable[[Call], dict[str, int]]:
    def set_quota(call: Call) -> dict[str, int]:
        body = call.json()
        quota = body.get("quota")
        if set(body) != {"quota"} or isinstance(quota, bool) or not isinstance(quota, int) or quota < 0:
            raise invalid(f'Not understood: {body}. Valid: {{"quota": 1000}}, a whole number, 0 or more.')
        with world.lock:
            model.quota = quota
            world.touch()
        return {"quota": quota}

    return set_quota
