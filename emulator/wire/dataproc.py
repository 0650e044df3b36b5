"""The REST API of Dataproc's clusters, operations, session templates and sessions; `dataproc_grpc.py` has the gRPC API."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from emulator.wire.dataproc_calls import METHODS, Function, Method, Request, functions, message_class, resource_of
from emulator.wire.http import Call, Route, read_query, wants_numbers
from emulator.wire.rpc import with_numbers

if TYPE_CHECKING:
    from emulator.model.dataproc import DataprocModel


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
