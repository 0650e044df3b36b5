"""The calls of the official clients, read from the clients themselves: every RPC's path, message classes and REST routes.

The generated gRPC transport is built on a channel that only records the calls that the transport would make. The HTTP
bindings come from the generated REST base class. So no path is copied by hand, and the calls of a newer client are
found automatically.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor

_SEGMENT = "[^/]+?"


@dataclass(frozen=True, slots=True)
class HttpBinding:
    """An HTTP binding of an RPC: `POST`, `/v2/{parent=projects/*/locations/*}/instances`, body field (`*` = whole, `` = none)."""

    verb: str
    uri: str
    body: str

    def pattern(self) -> re.Pattern[str]:
        """Return the path as a regular expression; a field path `topic.name` becomes group `topic__name`."""
        return _pattern(self.uri)


@functools.cache
def _pattern(uri: str) -> re.Pattern[str]:
    out = ""
    for part in re.split(r"(\{[^}]+\})", uri):
        if not part.startswith("{"):
            out += re.escape(part)
            continue
        name, _, template = part[1:-1].partition("=")
        body = "".join(
            {"*": _SEGMENT, "**": ".+"}.get(piece, re.escape(piece))
            for piece in re.split(r"(\*\*|\*)", template or "*")
        )
        out += f"(?P<{name.replace('.', '__')}>{body})"
    return re.compile(f"^{out}$")


@dataclass(frozen=True, slots=True)
class Rpc:
    """An RPC: `service` (`google.pubsub.v1.Publisher`), `method` (`Publish`), its message types, and its HTTP forms.

    `kind` is grpc's: `unary_unary`, `stream_stream`... For proto-plus services the types are proto-plus types.
    """

    service: str
    method: str
    kind: str
    request_type: Any
    response_type: Any
    bindings: tuple[HttpBinding, ...] = ()

    @property
    def path(self) -> str:
        """The path `/google.pubsub.v1.Publisher/Publish`."""
        return f"/{self.service}/{self.method}"


class _RecordingChannel(grpc.Channel):  # type: ignore[misc]  # grpc ships no types
    """A gRPC channel that only notes every method that the transport builds."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, Any, Any]] = []

    def _note(self, kind: str, path: str, serializer: Any, deserializer: Any) -> Callable[..., None]:
        self.calls.append((kind, path, serializer, deserializer))
        return lambda *_a, **_k: None

    def unary_unary(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, *_a: Any, **_k: Any
    ) -> Callable[..., None]:
        """Note a unary call."""
        return self._note("unary_unary", method, request_serializer, response_deserializer)

    def unary_stream(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, *_a: Any, **_k: Any
    ) -> Callable[..., None]:
        """Note a server stream."""
        return self._note("unary_stream", method, request_serializer, response_deserializer)

    def stream_unary(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, *_a: Any, **_k: Any
    ) -> Callable[..., None]:
        """Note a client stream."""
        return self._note("stream_unary", method, request_serializer, response_deserializer)

    def stream_stream(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, *_a: Any, **_k: Any
    ) -> Callable[..., None]:
        """Note a stream both ways."""
        return self._note("stream_stream", method, request_serializer, response_deserializer)

    def subscribe(self, callback: Any, try_to_connect: bool = False) -> None:  # noqa: FBT001, FBT002 - grpc's signature
        """Do nothing: there is no connection to watch."""

    def unsubscribe(self, callback: Any) -> None:
        """Do nothing: there is no connection to watch."""

    def close(self) -> None:
        """Do nothing: there is nothing to close."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


def _owner(function: Any) -> Any:
    """Return the message class behind `Message.serialize`, `Message.FromString` or `Message.SerializeToString`."""
    bound = getattr(function, "__self__", None)
    if bound is not None:
        return bound if isinstance(bound, type) else type(bound)
    return getattr(function, "__objclass__", None)


@functools.cache
def derive(grpc_transport: Any, rest_base: Any | None = None) -> Mapping[str, Rpc]:
    """Return all RPCs of a service by method name, read from its `...GrpcTransport` class and, if given, `_Base...RestTransport`.

    The result is cached for the life of the process, because the tests create thousands of clouds in one process.
    """
    channel = _RecordingChannel()
    transport = grpc_transport(channel=channel)
    # The transport wraps the channel in a logging interceptor, which only builds calls when they are made: remove it.
    transport._logged_channel, transport._stubs = channel, {}  # noqa: SLF001 - the generated class has no other seam
    channel.calls.clear()
    for name, member in vars(grpc_transport).items():
        if (
            isinstance(member, property)
            and not name.startswith("_")
            and name not in {"grpc_channel", "kind", "operations_client"}
        ):
            getattr(transport, name)
    found: dict[str, Rpc] = {}
    for kind, path, serializer, deserializer in channel.calls:
        _, service, method = path.split("/")
        found[method] = Rpc(
            service=service,
            method=method,
            kind=kind,
            request_type=_owner(serializer),
            response_type=_owner(deserializer),
            bindings=_bindings(rest_base, method),
        )
    return MappingProxyType(found)


def _bindings(rest_base: Any | None, method: str) -> tuple[HttpBinding, ...]:
    inner = getattr(rest_base, f"_Base{method}", None) if rest_base is not None else None
    if inner is None or not hasattr(inner, "_get_http_options"):  # a stream has no REST form
        return ()
    return tuple(
        HttpBinding(option["method"].upper(), option["uri"], option.get("body", ""))
        for option in inner._get_http_options()  # noqa: SLF001 - the generated class is the only source of the routes
    )


def with_numbers(descriptor: Descriptor, body: dict[str, Any]) -> dict[str, Any]:
    """Return a message's JSON with its enums as numbers. The message of an `Any` is found by its `@type`."""
    if "@type" in body and descriptor.full_name == "google.protobuf.Any":
        name = str(body["@type"]).rpartition("/")[2]
        descriptor = descriptor_pool.Default().FindMessageTypeByName(name)
    fields = {field.json_name: field for field in descriptor.fields}
    return {name: _numbered(fields[name], value) if name in fields else value for name, value in body.items()}


def _numbered(field: FieldDescriptor, value: Any) -> Any:
    if isinstance(value, list):
        return [_numbered(field, item) for item in value]
    if field.enum_type is not None and isinstance(value, str):
        return field.enum_type.values_by_name[value].number
    message = field.message_type
    if message is None or not isinstance(value, dict):
        return value
    if message.GetOptions().map_entry:
        return {key: _numbered(message.fields_by_name["value"], item) for key, item in value.items()}
    return with_numbers(message, value)
