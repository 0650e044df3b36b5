"""The conversion between HTTP/JSON and protobuf for a service whose RPCs were derived from its client.

The parsing is as strict as that of Google's front end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format
from google.protobuf.message import Message
from werkzeug.wrappers import Response

from emulator.errors import ApiError
from emulator.wire.http import Call, Route, wants_numbers

if TYPE_CHECKING:
    from emulator.wire.rpc import HttpBinding

# The parameters that Google's front end accepts on every call, in addition to the fields of the request.
_SYSTEM_PARAMETERS = {
    "$.xgafv", "$alt", "access_token", "alt", "callback", "fields", "key", "oauth_token", "prettyPrint", "quotaUser",
    "upload_protocol", "uploadType",
}  # fmt: skip
_UNKNOWN = re.compile(r'has no field named "(?P<name>[^"]+)"(?: at "(?P<at>[^"]*)")?')

Perform = Callable[[Message, Call], Message]


def rest_routes(bindings: Iterable[HttpBinding], request_class: type[Message], perform: Perform) -> Iterator[Route]:
    """Yield the routes of an RPC. `perform` gets the parsed request and calls `World.perform` itself."""
    for binding in bindings:
        yield Route(binding.verb, binding.pattern(), None, _handler(binding, request_class, perform))


def _handler(binding: HttpBinding, request_class: type[Message], perform: Perform) -> Callable[[Call], Response]:
    def handle(call: Call) -> Response:
        request = _parse(call, binding, request_class)
        return _json(perform(request, call), call)

    return handle


def _parse(call: Call, binding: HttpBinding, request_class: type[Message]) -> Message:
    fields: dict[str, Any] = {}
    if binding.body == "*":
        fields = call.json()
    elif binding.body:
        fields = {binding.body: call.json()}
    elif call.request.get_data().strip():
        call.json()  # an empty object is accepted; other content is not JSON, or no body of this call
    for name in call.request.args:
        if name not in _SYSTEM_PARAMETERS:
            values = call.request.args.getlist(name)
            _put(fields, name.split("."), values if len(values) > 1 else values[0])
    for group, value in call.params.items():
        _put(fields, group.split("__"), value)
    request = request_class()
    try:
        json_format.ParseDict(fields, request)
    except (json_format.ParseError, TypeError, ValueError) as error:
        raise _refusal(str(error)) from error
    return request


def _put(fields: dict[str, Any], path: list[str], value: Any) -> None:
    """Set a nested field under its camelCase key if that key exists, so that no field appears twice."""
    for key in path[:-1]:
        inner = fields.setdefault(key, {})
        if not isinstance(inner, dict):
            raise _refusal(f"{key} is no object")
        fields = inner
    fields[path[-1]] = value


def _refusal(detail: str) -> ApiError:
    match = _UNKNOWN.search(detail)
    text = f'Unknown name "{match["name"]}": Cannot find field.' if match else detail
    if match and match["at"] and "." in match["at"]:
        text = f"Unknown name \"{match['name']}\" at '{match['at'].rpartition('.')[0]}': Cannot find field."
    message = f"Invalid JSON payload received. {text}"
    violation = {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [{"description": message}]}
    return ApiError("INVALID_ARGUMENT", message, details=[violation])


def _json(answer: Message, call: Call) -> Response:
    body = json_format.MessageToDict(answer, use_integers_for_enums=wants_numbers(call))
    if answer.DESCRIPTOR.name == "Topic":
        body.pop("state", None)  # REST does not show it; gRPC does
    for topic in body.get("topics", []):
        if isinstance(topic, dict):  # `topics.list` of a snapshot or subscription has names
            topic.pop("state", None)
    return Response(json.dumps(body, separators=(",", ":")), content_type="application/json; charset=UTF-8")
