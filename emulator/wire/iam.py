"""IAM v1 over REST: service accounts and their policies. `POST /_emulator/iam {"quota": 1000}` raises the project's quota."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from emulator.model.iam_policy import invalid
from emulator.wire.http import Call, Route, route
from emulator.wire.notebooks import read_body, read_int, read_query
from emulator.world import CallSpec, World

if TYPE_CHECKING:
    from emulator.model.iam import IamModel

_PROJECT = r"^/v1/projects/(?P<project>[^/:]+)/serviceAccounts"
_ACCOUNT = r"^/v1/(?P<name>projects/[^/:]+/serviceAccounts/[^/:]+)"


def routes(world: World, model: IamModel) -> list[Route]:
    """Return the service's routes, and the one of the control API."""
    calls = _Calls(model)
    # verb, path, method, mutates, permission
    table: list[tuple[str, str, str, Callable[[Call], Any], str]] = [
        ("POST", _PROJECT, "create", calls.create, "create"),
        ("GET", _PROJECT, "list", calls.listing, "list"),
        ("GET", _ACCOUNT, "get", calls.get, "get"),
        ("PATCH", _ACCOUNT, "patch", calls.patch, "update"),
        ("DELETE", _ACCOUNT, "delete", calls.delete, "delete"),
        ("POST", f"{_ACCOUNT}:enable", "enable", calls.enable, "enable"),
        ("POST", f"{_ACCOUNT}:disable", "disable", calls.disable, "disable"),
        ("POST", f"{_ACCOUNT}:undelete", "undelete", calls.undelete, "undelete"),
        ("POST", f"{_ACCOUNT}:getIamPolicy", "getIamPolicy", calls.get_policy, "getIamPolicy"),
        ("POST", f"{_ACCOUNT}:setIamPolicy", "setIamPolicy", calls.set_policy, "setIamPolicy"),
    ]
    return [
        *(
            Route(verb, re.compile(f"{path}$"), _spec(method, permission), handler, _resource(world, path))
            for verb, path, method, handler, permission in table
        ),
        route("POST", "/_emulator/iam", None, _quota(world, model)),
    ]


def _spec(method: str, permission: str) -> CallSpec:
    reads = method in ("list", "get", "getIamPolicy")
    return CallSpec(
        "iam", f"serviceAccounts.{method}", mutates=not reads, permission=f"iam.serviceAccounts.{permission}"
    )


def _resource(world: World, path: str) -> Callable[[Call], str]:
    """Return what the journal and the faults name: the account, by its project even where the call says `-`; or the list's parent."""

    def of(call: Call) -> str:
        if path != _PROJECT:
            return call.params["name"].replace("projects/-/", f"projects/{world.project}/", 1)
        project = call.params["project"]
        if call.request.method == "GET":
            return f"projects/{project}"
        wanted = call.json().get("accountId", "")
        return f"projects/{project}/serviceAccounts/{wanted}@{project}.iam.gserviceaccount.com"

    return of


class _Calls:
    """The handlers."""

    def __init__(self, model: IamModel) -> None:
        self._model = model

    def create(self, call: Call) -> Any:
        read_query(call, ())
        return self._model.create(call.params["project"], call.json())

    def listing(self, call: Call) -> Any:
        query = read_query(call, ("pageSize", "pageToken"))
        size, token = read_int(query, "pageSize"), query.get("pageToken", "")
        return self._model.listing(call.params["project"], size=size, token=token)

    def get(self, call: Call) -> Any:
        read_query(call, ())
        return self._model.get(call.params["name"])

    def patch(self, call: Call) -> Any:
        read_query(call, ())
        return self._model.patch(call.params["name"], call.json())

    def delete(self, call: Call) -> Any:
        read_query(call, ())
        self._model.delete(call.params["name"])
        return {}

    def enable(self, call: Call) -> Any:
        read_body(call, ())
        self._model.switch(call.params["name"], disabled=False)
        return {}

    def disable(self, call: Call) -> Any:
        read_body(call, ())
        self._model.switch(call.params["name"], disabled=True)
        return {}

    def undelete(self, call: Call) -> Any:
        read_body(call, ())
        return self._model.undelete(call.params["name"])

    def get_policy(self, call: Call) -> Any:
        query = read_query(call, ("options.requestedPolicyVersion",))
        version = read_int(query, "options.requestedPolicyVersion")
        return self._model.get_policy(call.params["name"], version=version)

    def set_policy(self, call: Call) -> Any:
        return self._model.set_policy(call.params["name"], call.json())


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
