"""The APIs of Dataproc's clusters, operations, session templates and sessions: REST, and gRPC, which the client uses by default.

The message classes are looked up at the first call of a method, because importing the client takes most of a second.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc

from emulator.wire.dataproc_calls import (
    METHODS,
    OPERATIONS,
    Function,
    Method,
    Request,
    functions,
    message_class,
    resource_of,
)
from emulator.wire.grpc_calls import unary
from emulator.wire.http import Call, Route, read_query, wants_numbers
from emulator.wire.rpc import with_numbers

if TYPE_CHECKING:
    from emulator.model.dataproc import DataprocModel
    from emulator.world import World


def routes(model: DataprocModel) -> list[Route]:
    """Return the service's routes."""
    work = functions(model)
    return [
        Route(
            method.binding.verb,
            method.binding.pattern(),
            method.spec(name),
            _handler(method, work[name]),
            _resource(method),
        )
        for name, method in METHODS.items()
    ]


def _handler(method: Method, function: Function) -> Callable[[Call], Any]:
    def handle(call: Call) -> Any:
        answer = function(_request(method, call) | read_query(call, method.query), call.principal)
        return with_numbers(message_class(method.answer).DESCRIPTOR, answer) if wants_numbers(call) else answer

    return handle


def _resource(method: Method) -> Callable[[Call], str]:
    return lambda call: resource_of(_request(method, call))


def _request(method: Method, call: Call) -> Request:
    """Return the request message as JSON without the query: the path's fields, and the body if the method has one."""
    asked: Request = {}
    if method.binding.body:
        asked = dict(call.json() or {}) if method.binding.body == "*" else {_camel(method.binding.body): call.json()}
    for group, value in call.params.items():
        *outer, last = (_camel(part) for part in group.split("__"))
        holder = asked
        for key in outer:
            holder = holder[key]
        holder[last] = value
    return asked


def _camel(name: str) -> str:
    return re.sub(r"_(\w)", lambda match: match[1].upper(), name)


class DataprocGrpc(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc ships no types
    """The gRPC handlers of Dataproc's calls, by path. Operations are a service of several APIs: `operations_grpc.py` has them."""

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
