"""The gRPC API of Dataproc's clusters, operations, session templates and sessions, which the official client uses by default.

The message classes are looked up at the first call of a method, because importing the client takes most of a second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import json_format

from emulator.errors import ApiError
from emulator.wire.dataproc_calls import METHODS, Function, functions, message_class, resource_of
from emulator.wire.http import principal_of_header

if TYPE_CHECKING:
    from google.protobuf.message import Message as Proto

    from emulator.model.dataproc import DataprocModel
    from emulator.world import World


class DataprocGrpc(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc ships no types
    """The lookup from a path to its handler.

    `google.longrunning.Operations` is a service of many APIs; Dataproc is the only one here that has it over gRPC.
    """

    def __init__(self, world: World, model: DataprocModel) -> None:
        self._world = world
        self._functions = functions(model)
        self._names = {f"/{method.service}/{name}": name for name, method in METHODS.items()}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of a call, or None if the call is not Dataproc's."""
        name = self._names.get(handler_call_details.method)
        if name is None:
            return None
        request, answer = message_class(f"{name}Request"), message_class(METHODS[name].answer)
        return grpc.unary_unary_rpc_method_handler(
            self._unary(name, self._functions[name], answer),
            request_deserializer=request.FromString,
            response_serializer=_serialize,
        )

    def _unary(self, name: str, function: Function, answer: Any) -> Callable[[Any, grpc.ServicerContext], Any]:
        spec = METHODS[name].spec(name)

        def handle(request: Any, context: grpc.ServicerContext) -> Any:
            asked, principal = json_format.MessageToDict(request), _principal(context)
            try:
                done = self._world.perform(spec, resource_of(asked), principal, lambda: function(asked, principal))
            except ApiError as error:
                context.abort(grpc.StatusCode[error.code], error.message)
            else:
                return json_format.ParseDict(done, answer())

        return handle


def _serialize(message: Proto) -> bytes:
    return bytes(message.SerializeToString())


def _principal(context: grpc.ServicerContext) -> str:
    for key, value in context.invocation_metadata():
        if key == "authorization":
            return principal_of_header(str(value))
    return "anonymous"
