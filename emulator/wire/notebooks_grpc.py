"""The gRPC API of the Notebooks API v2, which the official client uses unless it is created with `transport="rest"`.

The client's messages lack some fields of the REST API (`enableManagedEuc`...), which are left out of answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from google.cloud.notebooks_v2.services.notebook_service.transports.grpc import NotebookServiceGrpcTransport

from emulator.wire.grpc_calls import Json, Work, unary
from emulator.wire.notebooks import list_operations, spec_of
from emulator.wire.rpc import derive

if TYPE_CHECKING:
    from emulator.model.notebooks import NotebooksModel
    from emulator.world import World


def operations(model: NotebooksModel) -> dict[str, Work]:
    """Return the functions that answer `google.longrunning.Operations` for operations of Notebooks."""

    def get(asked: Json, _principal: str) -> Json:
        model.settle()
        return model.fleet.operations.get(asked["name"]).view()

    def listing(asked: Json, _principal: str) -> Json:
        return list_operations(model, asked["name"].removesuffix("/operations"), _paging(asked))

    return {"GetOperation": get, "ListOperations": listing}


def _paging(asked: Json) -> dict[str, str]:
    return {key: str(asked[key]) for key in ("pageSize", "pageToken", "filter") if key in asked}


def _work(model: NotebooksModel) -> dict[str, Work]:
    def create(asked: Json, principal: str) -> Json:
        return model.create(
            asked.get("parent", ""),
            asked.get("instanceId", ""),
            asked.get("instance", {}),
            request_id=asked.get("requestId", ""),
            creator=principal,
        )

    def update(asked: Json, _principal: str) -> Json:
        instance = asked.get("instance", {})
        mask, request_id = asked.get("updateMask", ""), asked.get("requestId", "")
        return model.patch(instance.get("name", ""), instance, mask=mask, request_id=request_id)

    def listing(asked: Json, _principal: str) -> Json:
        return model.list_instances(
            asked.get("parent", ""),
            page_size=asked.get("pageSize", 0),
            page_token=asked.get("pageToken", ""),
            order_by=asked.get("orderBy", ""),
            filter_=asked.get("filter", ""),
        )

    return {
        "ListInstances": listing,
        "GetInstance": lambda asked, _: model.get(asked.get("name", "")),
        "CreateInstance": create,
        "UpdateInstance": update,
        "DeleteInstance": lambda asked, _: model.delete(asked.get("name", ""), request_id=asked.get("requestId", "")),
        "StartInstance": lambda asked, _: model.start(asked.get("name", "")),
        "StopInstance": lambda asked, _: model.stop(asked.get("name", "")),
        "ResetInstance": lambda asked, _: model.reset(asked.get("name", "")),
        "UpgradeInstance": lambda asked, _: model.upgrade(asked.get("name", "")),
    }


def _resource(name: str, asked: Json) -> str:
    if name == "CreateInstance":
        return f"{asked.get('parent', '')}/instances/{asked.get('instanceId', '')}"
    return str(asked.get("name") or asked.get("parent") or asked.get("instance", {}).get("name", ""))


class NotebooksGrpc(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc ships no types
    """The gRPC handlers of the Notebooks API, by path. Other calls of the client are answered with UNIMPLEMENTED."""

    def __init__(self, world: World, model: NotebooksModel) -> None:
        self._world = world
        self._work = _work(model)
        rpcs = derive(NotebookServiceGrpcTransport)
        self._rpcs = {rpcs[name].path: (name, rpcs[name]) for name in self._work}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of a call, or None if the call is not served."""
        found = self._rpcs.get(handler_call_details.method)
        if found is None:
            return None
        name, rpc = found
        work, spec = self._work[name], spec_of(name)
        return unary(
            self._world,
            lambda asked: (spec, _resource(name, asked), work),
            _proto(rpc.request_type),
            _proto(rpc.response_type),
        )


def _proto(kind: Any) -> Any:
    """Return the protobuf class behind a type of the client, which may be a proto-plus type."""
    return kind.pb() if hasattr(kind, "pb") else kind
