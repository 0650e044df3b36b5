"""The REST API of the Notebooks API v2: routes taken from the official client, each calling `NotebooksModel`."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

from google.cloud.notebooks_v2.services.notebook_service.transports.grpc import NotebookServiceGrpcTransport
from google.cloud.notebooks_v2.services.notebook_service.transports.rest_base import _BaseNotebookServiceRestTransport

from emulator.clock import rfc3339
from emulator.journal import Entry
from emulator.model.notebooks_rules import check_location, invalid
from emulator.model.notebooks_schema import with_numbers
from emulator.model.pages import listed
from emulator.wire.http import Call, Handler, Route, read_int, wants_numbers, with_body, with_query
from emulator.wire.rpc import HttpBinding, derive
from emulator.world import CallSpec, World

if TYPE_CHECKING:
    from collections.abc import Callable

    from emulator.model.notebooks import NotebooksModel

_INSTANCE = "{name=projects/*/locations/*/instances/*}"
# The calls that the REST API has and the client 1.18.0 lacks (docs/platform-facts.md#21-calls-and-permissions).
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


def spec_of(method: str) -> CallSpec:
    """Return the description of a call for the journal and the faults."""
    mutates, permission = _CALLS[method]
    return CallSpec("notebooks", method, mutates=mutates, permission=permission)


def _handlers(model: NotebooksModel) -> dict[str, Handler]:
    """Return the handler of each method."""

    def list_instances(call: Call, query: dict[str, str]) -> Any:
        return model.list_instances(
            call.params["parent"],
            page_size=read_int(query, "pageSize"),
            page_token=query.get("pageToken", ""),
            order_by=query.get("orderBy", ""),
            filter_=query.get("filter", ""),
        )

    def create_instance(call: Call, query: dict[str, str]) -> Any:
        ident, request_id = query.get("instanceId", ""), query.get("requestId", "")
        return model.create(call.params["parent"], ident, call.json(), request_id=request_id, creator=call.principal)

    def update_instance(call: Call, query: dict[str, str]) -> Any:
        mask, request_id = query.get("updateMask", ""), query.get("requestId", "")
        return model.patch(call.params["instance__name"], call.json(), mask=mask, request_id=request_id)

    def delete_instance(call: Call, query: dict[str, str]) -> Any:
        return model.delete(call.params["name"], request_id=query.get("requestId", ""))

    def get_operation(call: Call) -> Any:
        model.settle()
        return model.fleet.operations.get(call.params["name"]).view()

    return {
        "ListInstances": with_query(list_instances, "pageSize", "pageToken", "orderBy", "filter"),
        "GetInstance": with_query(lambda call, _: model.get(call.params["name"])),
        "CreateInstance": with_query(create_instance, "instanceId", "requestId"),
        "UpdateInstance": with_query(update_instance, "updateMask", "requestId"),
        "DeleteInstance": with_query(delete_instance, "requestId"),
        "StartInstance": with_body(lambda call, _: model.start(call.params["name"]), "name"),
        "StopInstance": with_body(lambda call, _: model.stop(call.params["name"]), "name"),
        "ResetInstance": with_body(lambda call, _: model.reset(call.params["name"]), "name"),
        "UpgradeInstance": with_body(lambda call, _: model.upgrade(call.params["name"]), "name"),
        "ResizeDisk": with_body(
            lambda call, body: model.resize_disk(call.params["name"], body), "bootDisk", "dataDisk"
        ),
        "RestoreInstance": with_body(lambda call, body: model.restore(call.params["name"], body), "name", "snapshot"),
        "GetOperation": get_operation,
        "ListOperations": with_query(
            lambda call, query: list_operations(model, call.params["name"], query),
            "pageSize",
            "pageToken",
            "filter",
            "returnPartialSuccess",
        ),
    }


def list_operations(model: NotebooksModel, parent: str, query: dict[str, str]) -> dict[str, Any]:
    """Answer `ListOperations` of `projects/P/locations/L`."""
    if query.get("filter"):
        raise invalid(f"Invalid filter: '{query['filter']}'.")
    model.settle()
    _, project, _, location = parent.split("/")
    check_location(project, location, ours={model.world.project}, wildcard=True)
    return listed(
        "operations",
        model.fleet.operations.listing(parent),
        size=read_int(query, "pageSize"),
        token=query.get("pageToken", ""),
        scope=f"operations {parent}",
        key=lambda operation: f"{rfc3339(operation.created)} {operation.name}",
        descending=True,
        view=lambda operation: operation.view(),
    )


_INSTANCE_TYPE = "type.googleapis.com/google.cloud.notebooks.v2.Instance"
# method -> where instances or operations are in its answer
_LISTS = {"ListInstances": "instances", "ListOperations": "operations"}


def _encoded(method: str, handler: Handler) -> Handler:
    """Return a handler whose answers have enums as numbers if the caller requests numbers."""

    def one(body: dict[str, Any]) -> dict[str, Any]:
        if "gceSetup" in body:
            return with_numbers("Instance", body)
        response = body.get("response")
        if response is None or response.get("@type") != _INSTANCE_TYPE:
            return body
        return {**body, "response": with_numbers("Instance", response)}

    def handle(call: Call) -> Any:
        answer = handler(call)
        if not wants_numbers(call):
            return answer
        key = _LISTS.get(method)
        return one(answer) if key is None else {**answer, key: [one(each) for each in answer.get(key, [])]}

    return handle


def _resource(method: str) -> Callable[[Call], str]:
    """Return a function that names the resource of a call, for the journal and for faults: the instance, the operation, or a list's parent."""

    def of(call: Call) -> str:
        if method == "CreateInstance":
            wanted = call.query("instanceId") or call.query("instance_id")
            return f"{call.params['parent']}/instances/{wanted}"
        return next(iter(call.params.values()))

    return of


def _outside(world: World, model: NotebooksModel, verb: str, call: Call) -> dict[str, Any]:
    """Make a change that does not come through the API, and return the instance's name.

    The journal records the change with the principal `outside`, and no fault applies to it.
    """
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
    """Return all routes of the service, the more specific ones first, and its control routes."""
    handlers = _handlers(model)
    bindings = {
        name: rpc.bindings
        for name, rpc in derive(NotebookServiceGrpcTransport, _BaseNotebookServiceRestTransport).items()
    }
    bindings |= {name: (binding,) for name, binding in _REST_ONLY.items()}
    found = [
        Route(
            binding.verb,
            binding.pattern(),
            spec_of(method),
            _encoded(method, handlers[method]),
            _resource(method),
        )
        for method, forms in bindings.items()
        if method in _CALLS  # the client's other calls are not needed here
        for binding in forms
    ]
    # `[^/]+?` also matches a colon, so paths that end in a verb come before paths that end in a name.
    found.sort(key=lambda entry: -entry.pattern.pattern.count(":"))
    return found + _control(world, model)
