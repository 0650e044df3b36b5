"""The gRPC API of Dataproc's clusters, session templates and sessions, which the official client uses by default.

The message classes are looked up at the first call of a method, because importing the client takes most of a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from emulator.wire.dataproc_calls import METHODS, OPERATIONS, functions, message_class, resource_of
from emulator.wire.grpc_calls import unary

if TYPE_CHECKING:
    from emulator.model.dataproc import DataprocModel
    from emulator.world import World


class DataprocGrpc(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc ships no types
    """The lookup from a path to its handler. Operations are a service of several APIs: `operations_grpc.py` has them."""

    def __init__(self, world: World, model: DataprocModel) -> None:
        self._world = world
        self._functions = functions(model)
        self._names = {
            f"/{method.service}/{name}": name for name, method in METHODS.items() if method.service != OPERATIONS
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of a call, or None if the call is not Dataproc's."""
        name = self._names.get(handler_call_details.method)
        if name is None:
            return None
        spec, work = METHODS[name].spec(name), self._functions[name]
        return unary(
            self._world,
            lambda asked: (spec, resource_of(asked), work),
            message_class(f"{name}Request"),
            message_class(METHODS[name].answer),
        )
