"""The gRPC service `google.longrunning.Operations`, of Dataproc (`…/regions/…`) and of Notebooks (`…/locations/…`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from emulator.wire.dataproc_calls import METHODS, OPERATIONS, functions, message_class, resource_of
from emulator.wire.grpc_calls import Json, Work, unary
from emulator.wire.notebooks import spec_of
from emulator.wire.notebooks_grpc import operations

if TYPE_CHECKING:
    from emulator.model.dataproc import DataprocModel
    from emulator.model.notebooks import NotebooksModel
    from emulator.world import CallSpec, World


class OperationsGrpc(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc ships no types
    """The gRPC handlers of operations, by path. The operation's name in a request tells which service's operation is meant."""

    def __init__(self, world: World, dataproc: DataprocModel, notebooks: NotebooksModel) -> None:
        self._world = world
        self._dataproc = functions(dataproc)
        self._notebooks = operations(notebooks)
        self._names = {f"/{OPERATIONS}/{name}": name for name, each in METHODS.items() if each.service == OPERATIONS}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of a call, or None for another service."""
        name = self._names.get(handler_call_details.method)
        if name is None:
            return None

        def choose(asked: Json) -> tuple[CallSpec, str, Work]:
            if "/locations/" in str(asked.get("name", "")) and name in self._notebooks:
                return spec_of(name), str(asked["name"]), self._notebooks[name]
            return METHODS[name].spec(name), resource_of(asked), self._dataproc[name]

        return unary(self._world, choose, message_class(f"{name}Request"), message_class(METHODS[name].answer))
