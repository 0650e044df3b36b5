"""The handler of unary gRPC calls. The work of a call is a function from JSON to JSON, which the REST API uses, too."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import json_format

from emulator.errors import ApiError
from emulator.wire.http import principal_of_header

if TYPE_CHECKING:
    from google.protobuf.message import Message as Proto

    from emulator.world import CallSpec, World

Json = dict[str, Any]
Work = Callable[[Json, str], Json]  # takes the request and the caller


def unary(
    world: World, choose: Callable[[Json], tuple[CallSpec, str, Work]], request: Any, answer: Any
) -> grpc.RpcMethodHandler:
    """Return the handler of a call. For a request, `choose` returns the call's description, its resource and its work.

    `request` and `answer` are protobuf classes. Fields that the answer's class does not know are left out, as gRPC
    does. An `ApiError` of the work ends the call with its gRPC status.
    """

    def handle(message: Any, context: grpc.ServicerContext) -> Any:
        asked, principal = json_format.MessageToDict(message), _principal(context)
        spec, resource, work = choose(asked)
        try:
            done = world.perform(spec, resource, principal, lambda: work(asked, principal))
        except ApiError as error:
            context.abort(grpc.StatusCode[error.code], error.message)
        else:
            return json_format.ParseDict(done, answer(), ignore_unknown_fields=True)

    return grpc.unary_unary_rpc_method_handler(
        handle, request_deserializer=request.FromString, response_serializer=_serialize
    )


def _serialize(message: Proto) -> bytes:
    return bytes(message.SerializeToString())


def _principal(context: grpc.ServicerContext) -> str:
    for key, value in context.invocation_metadata():
        if key == "authorization":
            return principal_of_header(str(value))
    return "anonymous"
