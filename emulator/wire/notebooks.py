"""The REST face of the Notebooks API v2: routes taken from the official client, each going to `NotebooksModel`."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

from google.cloud.notebooks_v2.services.notebook_service.transports.grpc import NotebookServiceGrpcTransport
from google.cloud.notebooks_v2.services.notebook_service.transports.rest_base import _BaseNotebookServiceRestTransport

from emulator.clock import rfc3339
from emulator.journal import Entry
from emulator.model.notebooks_pages import page_of
from emulator.model.notebooks_rules import check_location, invalid
from emulator.wire.http import Call, Route
from emulator.wire.rpc import HttpBinding, derive
from emulator.world import CallSpec, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from emulator.model.notebooks import NotebooksModel

_INSTANCE = "{name=projects/*/locations/*/instances/*}"
# What the REST API has and the client 1.18.0 lacks (docs/platform-facts.md#21-calls-and-permissions).
_REST_ONLY: dict[str, HttpBinding] = {
    "ResizeDisk": HttpBinding("POST", f"/v2/{_INSTANCE}:resizeDisk", "*"),
    "RestoreInstance": HttpBinding("POST", f"/v2/{_INSTANCE}:restore", "*"),
}
# method -> (mutates, IAM permission)
_CALLS: dict[str, tuple[bool, str]] = {
    "ListInstances": (False, "notebooks.instances.list"),
    "GetInstance": (False, "notebooks.instances.get"),
    "CreateInstance": (True, "notebooks.instances.create"),
    "UpdateInstance": (True, "notebooks.instances.update"),
    "DeleteInstance": (True, "notebooks.instances.delete"),
    "StartInstance": (True, "notebooks.instances.start"),
    "StopInstance": (True, "notebooks.instances.stop"),
    "ResetInstance": (True, "notebooks.instances.reset"),
    "UpgradeInstance": (True, "notebooks.instances.upgrade"),
    "ResizeDisk": (True, "notebooks.instances.update"),
    "RestoreInstance": (True, "notebooks.instances.update"),
    "GetOperation": (False, "notebooks.operations.get"),
    "ListOperations": (False, "notebooks.operations.list"),
}
# Query parameters that every Google API takes.
SYSTEM_PARAMETERS = frozenset(
    [
        "$alt",
        "alt",
        "$fields",
        "fields",
        "$prettyPrint",
        "prettyPrint",
        "$callback",
        "callback",
        "key",
        "access_token",
        "oauth_token",
        "quotaUser",
        "userProject",
        "uploadType",
        "upload_protocol",
        "$.xgafv",
    ]
)


def read_query(call: Call, known: Iterable[str]) -> dict[str, str]:
    """Return the request's own query parameters under their camelCase names; 400 for one that the method has not."""
    names = {name: name for name in known}
    names |= {"".join("_" + c.lower() if c.isupper() else c for c in name): name for name in known}
    found: dict[str, str] = {}
    for name, value in call.request.args.items():
        if name in names:
            found[names[name]] = str(value)
        elif name not in SYSTEM_PARAMETERS:
            raise invalid(
                f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter. '
                f"Field '{name}' could not be found in request message."
            )
    return found


def read_int(query: dict[str, str], name: str) -> int:
    """Return an int32 query parameter, 0 when absent; 400 otherwise."""
    text = query.get(name, "0") or "0"
    try:
        return int(text)
    except ValueError:
        raise invalid(f"Invalid value at '{name}' (TYPE_INT32), \"{text}\"") from None


def read_body(call: Call, known: Iterable[str]) -> dict[str, Any]:
    """Return the JSON body with only known fields; 400 otherwise. The path already names the resource."""
    body = call.json()
    for name in body:
        if name not in known:
            raise invalid(f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.')
    return body


class _Handlers:
    """One method per RPC, under the RPC's own name in snake_case."""

    def __init__(self, world: World, model: NotebooksModel) -> None:
        self._world = world
        self._model = model

    def list_instances(self, call: Call) -> Any:
        query = read_query(call, ("pageSize", "pageToken", "orderBy", "filter"))
        return self._model.list_instances(
            call.params["parent"],
            page_size=read_int(query, "pageSize"),
            page_token=query.get("pageToken", ""),
            order_by=query.get("orderBy", ""),
            filter_=query.get("filter", ""),
        )

    def get_instance(self, call: Call) -> Any:
        read_query(call, ())
        return self._model.get(call.params["name"])

    def create_instance(self, call: Call) -> Any:
        query = read_query(call, ("instanceId", "requestId"))
        return self._model.create(
            call.params["parent"],
            query.get("instanceId", ""),
            call.json(),
            request_id=query.get("requestId", ""),
            creator=call.principal,
        )

    def update_instance(self, call: Call) -> Any:
        query = read_query(call, ("updateMask", "requestId"))
        mask, request_id = query.get("updateMask", ""), query.get("requestId", "")
        return self._model.patch(call.params["instance__name"], call.json(), mask=mask, request_id=request_id)

    def delete_instance(self, call: Call) -> Any:
        return self._model.delete(call.params["name"], request_id=read_query(call, ("requestId",)).get("requestId", ""))

    def start_instance(self, call: Call) -> Any:
        read_body(call, ("name",))
        return self._model.start(call.params["name"])

    def stop_instance(self, call: Call) -> Any:
        read_body(call, ("name",))
        return self._model.stop(call.params["name"])

    def reset_instance(self, call: Call) -> Any:
        read_body(call, ("name",))
        return self._model.reset(call.params["name"])

    def upgrade_instance(self, call: Call) -> Any:
        read_body(call, ("name",))
        return self._model.upgrade(call.params["name"])

    def resize_disk(self, call: Call) -> Any:
        return self._model.resize_disk(call.params["name"], read_body(call, ("bootDisk", "dataDisk")))

    def restore_instance(self, call: Call) -> Any:
        return self._model.restore(call.params["name"], read_body(call, ("name", "snapshot")))

    def get_operation(self, call: Call) -> Any:
        self._model.settle()
        return self._model.fleet.operations.get(call.params["name"]).view()

    def list_operations(self, call: Call) -> Any:
        query = read_query(call, ("pageSize", "pageToken", "filter", "returnPartialSuccess"))
        if query.get("filter"):
            raise invalid(f"Invalid filter: '{query['filter']}'.")
        parent = call.params["name"]
        self._model.settle()
        _, project, _, location = parent.split("/")
        check_location(project, location, ours={self._world.project}, wildcard=True)
        page, token = page_of(
            self._model.fleet.operations.listing(parent),
            size=read_int(query, "pageSize"),
            token=query.get("pageToken", ""),
            scope=f"operations {parent}",
            key=lambda operation: f"{rfc3339(operation.created)} {operation.name}",
            descending=True,
        )
        found: dict[str, Any] = {"operations": [operation.view() for operation in page]} if page else {}
        return found | ({"nextPageToken": token} if token else {})


def _resource(method: str) -> Callable[[Call], str]:
    """Return what the journal and the faults call the resource: the instance, the operation, or the parent that is listed."""

    def of(call: Call) -> str:
        if method == "CreateInstance":
            wanted = call.query("instanceId") or call.query("instance_id")
            return f"{call.params['parent']}/instances/{wanted}"
        return next(iter(call.params.values()))

    return of


def _snake(method: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in method).lstrip("_")


def _outside(world: World, model: NotebooksModel, verb: str, call: Call) -> dict[str, Any]:
    """Return a change that does not come through the API: journalled with the principal `outside`, open to no fault."""
    method = {"stop-outside": "StopInstance", "delete-outside": "DeleteInstance"}[verb]
    with world.lock:
        act = model.stop_outside if verb == "stop-outside" else model.delete_outside
        name = act(call.params["instance"])
        world.touch()
        now = rfc3339(world.clock.now())
    entry = Entry(now, "notebooks", method, name, "outside", 200, mutates=True, permission=_CALLS[method][1])
    world.journal.record(entry)
    return {"name": name}


def _control(world: World, model: NotebooksModel) -> list[Route]:
    return [
        Route(
            "POST",
            re.compile(rf"^/_emulator/notebooks/(?P<instance>.+):{verb}$"),
            None,
            functools.partial(_outside, world, model, verb),
        )
        for verb in ("stop-outside", "delete-outside")
    ]


def routes(world: World, model: NotebooksModel) -> list[Route]:
    """All routes of the service, the more specific ones first, and the control routes of this service."""
    handlers = _Handlers(world, model)
    bindings = {
        name: rpc.bindings
        for name, rpc in derive(NotebookServiceGrpcTransport, _BaseNotebookServiceRestTransport).items()
    }
    bindings |= {name: (binding,) for name, binding in _REST_ONLY.items()}
    found = [
        Route(
            binding.verb,
            binding.pattern(),
            CallSpec("notebooks", method, mutates=_CALLS[method][0], permission=_CALLS[method][1]),
            getattr(handlers, _snake(method)),
            _resource(method),
        )
        for method, forms in bindings.items()
        if method in _CALLS  # what else the client knows, nobody needs here
        for binding in forms
    ]
    # `[^/]+?` also matches a colon: what ends in a verb goes before what ends in a name.
    found.sort(key=lambda entry: -entry.pattern.pattern.count(":"))
    return found + _control(world, model)
