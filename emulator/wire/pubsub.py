"""The REST and gRPC APIs of Pub/Sub, and their background work: ack deadlines, retries, pushes, streaming pulls.

`routes` are the REST form, whose HTTP/JSON is converted to protobuf and back as strictly as Google's front end does it;
`PubSubRuntime` gives the gRPC handlers and owns the threads.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import json_format
from google.protobuf.message import Message
from google.pubsub_v1.types import pubsub as types
from werkzeug.wrappers import Response

from emulator.clock import real_now
from emulator.errors import CODES, ApiError
from emulator.wire.http import Call, Route, principal_of_header, wants_numbers
from emulator.wire.oidc import TokenIssuer
from emulator.wire.pubsub_calls import Served, received, resource_of, served_calls, spec_of
from emulator.wire.push import PushDispatcher, Rewrite, Signer

if TYPE_CHECKING:
    from datetime import datetime

    from google.protobuf.message import Message as Proto

    from emulator.model.pubsub import PubSubModel
    from emulator.wire.rpc import HttpBinding
    from emulator.world import World


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
    """Set the field at a path of keys, and create missing objects on the path; raise 400 if a part of the path is no object."""
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


_UNSERVED = re.compile("/(schemas|snapshots)/")  # the client has calls for their policies, which are not served
_LOOK_AT_LEAST_EVERY_S = 1.0
_STREAM_BATCH = 1000
_STREAM_DEADLINE_S = (10, 600)
_STREAMING_PULL = "/google.pubsub.v1.Subscriber/StreamingPull"
_IAM_PREFIX = "/google.iam.v1.IAMPolicy/"
_GRPC_CODES = {code.value[0]: code for code in grpc.StatusCode}

_StreamRequest = types.StreamingPullRequest.pb()
_StreamResponse = types.StreamingPullResponse.pb()


def routes(world: World, model: PubSubModel) -> list[Route]:
    """Return the REST routes. Paths with a verb (`:publish`) come before plain paths that would also match."""
    found: list[Route] = []
    for served in served_calls(world, model):
        found += rest_routes(served.rpc.bindings, served.request_class, _rest(world, served))
    kept = [entry for entry in found if not _UNSERVED.search(entry.pattern.pattern)]
    return sorted(kept, key=lambda entry: entry.pattern.pattern.endswith(")$"))


def _rest(world: World, served: Served) -> Callable[[Proto, Call], Proto]:
    def perform(request: Proto, call: Call) -> Proto:
        return world.perform(served.spec, resource_of(request), call.principal, lambda: served.function(request))

    return perform


class PubSubRuntime:
    """The background work from `start` to `stop`: pushes, streams and deadlines.

    `push_signer(email, audience)` signs the tokens of authenticated pushes. By default, the runtime's own `issuer`
    signs them; `issuer.routes()` serve its certificates. A function in `rewrites` may take over a push before it is sent.
    """

    def __init__(self, world: World, model: PubSubModel, *, push_signer: Signer | None = None) -> None:
        self.world = world
        self.model = model
        self.issuer = TokenIssuer()
        self._pusher = PushDispatcher(world, model, signer=push_signer or self.issuer.token)
        self._stopping = threading.Event()
        self._watch_thread: threading.Thread | None = None
        self._awaited: datetime | None = None

    @property
    def rewrites(self) -> list[Rewrite]:
        """The functions that may take over a push, tried in order."""
        return self._pusher.rewrites

    def start(self) -> None:
        """Start the threads."""
        self._stopping.clear()
        self.model.on_change = self._changed
        self._pusher.start()
        self._watch_thread = threading.Thread(target=self._watch, name="pubsub-watch", daemon=True)
        self._watch_thread.start()

    def stop(self) -> None:
        """Stop all threads and streams; safe to call twice."""
        self._stopping.set()
        with self.world.lock:
            self.model.changed.notify_all()
        self.world.clock.poke()
        if self._watch_thread is not None:
            self._watch_thread.join(timeout=10)
            self._watch_thread = None
        self._pusher.stop()

    def grpc_handlers(self) -> list[grpc.GenericRpcHandler]:
        """Return the handlers of Publisher, Subscriber and, for topics and subscriptions, IAMPolicy."""
        return [_GrpcHandlers(self)]

    @property
    def stopping(self) -> bool:
        """Return True after `stop` was called."""
        return self._stopping.is_set()

    def _changed(self) -> None:
        """Wake the pusher. The model calls this under the lock."""
        self._pusher.wake()
        moment = self.model.next_retry()
        if moment is not None and (self._awaited is None or moment < self._awaited):
            self._awaited = moment
            self.world.clock.poke()

    def _watch(self) -> None:
        clock = self.world.clock
        while not self.stopping:
            seen = clock.changes
            with self.world.lock:
                self.model.take_back_late()
                self._awaited = self.model.next_retry()
                deadline = self.model.next_deadline()
            patience = _LOOK_AT_LEAST_EVERY_S
            if deadline is not None:
                patience = min(patience, max(0.001, deadline - real_now()))
            clock.wait_until(self._awaited, at_most_real_s=patience, since=seen)

    # ---- streaming pull

    def streaming_pull(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        """Serve a stream of messages. The first request names the subscription; later ones acknowledge messages and set ack deadlines."""
        first = next(requests, None)
        if first is None:
            return
        principal = _principal(context)
        try:
            self.world.perform(
                spec_of("StreamingPull"), first.subscription, principal, lambda: self._check_first(first)
            )
            stream = _Stream(self, first)
            context.add_callback(stream.wake)
            threading.Thread(target=stream.read, args=(requests,), name="pubsub-stream-read", daemon=True).start()
            yield from stream.responses(context)
        except ApiError as error:
            _abort(context, error)

    def _check_first(self, first: Any) -> None:
        self.model.pullable(first.subscription)
        low, high = _STREAM_DEADLINE_S
        if not low <= first.stream_ack_deadline_seconds <= high:
            seconds = first.stream_ack_deadline_seconds
            raise ApiError("INVALID_ARGUMENT", f"Invalid ack deadline given (ack_deadline_secs={seconds}).")


class _Stream:
    """A StreamingPull. `responses` runs in the thread of the gRPC call, `read` in a second thread."""

    def __init__(self, runtime: PubSubRuntime, first: Any) -> None:
        self._runtime = runtime
        self._model = runtime.model
        self._name: str = first.subscription
        self._deadline_s: int = first.stream_ack_deadline_seconds
        self._max_messages: int = first.max_outstanding_messages
        self._max_bytes: int = first.max_outstanding_bytes
        self._outstanding: dict[str, int] = {}
        self._error: ApiError | None = None

    def wake(self) -> None:
        """Let `responses` check again, for example because the client may have disconnected."""
        with self._runtime.world.lock:
            self._model.changed.notify_all()

    def read(self, requests: Iterator[Any]) -> None:
        """Apply the client's acknowledgements and deadlines until the client closes the stream."""
        try:
            for request in requests:
                with self._runtime.world.lock:
                    self._apply(request)
        except ApiError as error:
            self._error = error
        except Exception as error:  # noqa: BLE001 - grpc raises a bare Exception when the client goes away
            del error
        self.wake()

    def _apply(self, request: Any) -> None:
        if request.stream_ack_deadline_seconds:
            self._deadline_s = request.stream_ack_deadline_seconds
        if request.ack_ids:
            self._model.acknowledge(self._name, request.ack_ids)
        if len(request.modify_deadline_ack_ids) != len(request.modify_deadline_seconds):
            raise ApiError("INVALID_ARGUMENT", "modify_deadline_ack_ids and modify_deadline_seconds differ in length.")
        for ack_id, seconds in zip(request.modify_deadline_ack_ids, request.modify_deadline_seconds, strict=True):
            self._model.modify_ack_deadline(self._name, [ack_id], seconds)

    def responses(self, context: grpc.ServicerContext) -> Iterator[Any]:
        """Yield batches of messages as they become ready, within the client's flow control, until the client disconnects.

        Raise the error of the client's own stream, and UNAVAILABLE when the runtime stops.
        """
        lock, changed = self._runtime.world.lock, self._model.changed
        while True:
            with lock:
                deliveries = self._take()
                while not deliveries and context.is_active() and not self._runtime.stopping and self._error is None:
                    changed.wait(_LOOK_AT_LEAST_EVERY_S)
                    deliveries = self._take()
                ordered = self._model.subscription(self._name).backlog.rules.ordered
            if self._error is not None:
                raise self._error
            if self._runtime.stopping:
                raise ApiError("UNAVAILABLE", "The service was unable to fulfill your request. Please try again.")
            if not context.is_active():
                return
            answer = _StreamResponse(received_messages=map(received, deliveries))
            answer.subscription_properties.message_ordering_enabled = ordered
            yield answer

    def _take(self) -> list[Any]:
        subscription = self._model.pullable(self._name)
        backlog = subscription.backlog
        self._outstanding = {key: size for key, size in self._outstanding.items() if backlog.leased(key) is not None}
        limit = _STREAM_BATCH
        if self._max_messages > 0:
            limit = min(limit, self._max_messages - len(self._outstanding))
        if limit <= 0 or (self._max_bytes > 0 and sum(self._outstanding.values()) >= self._max_bytes):
            return []
        deliveries = self._model.lease(self._name, limit=limit, ack_deadline_s=self._deadline_s)
        self._outstanding |= {d.ack_id: len(d.message.data) for d in deliveries}
        return deliveries


class _GrpcHandlers(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc ships no types
    """The gRPC handlers of Pub/Sub's calls, by path. IAMPolicy is a service of many APIs: only calls on Pub/Sub resources are handled here."""

    def __init__(self, runtime: PubSubRuntime) -> None:
        self._table: dict[str, Any] = {
            _STREAMING_PULL: grpc.stream_stream_rpc_method_handler(
                runtime.streaming_pull,
                request_deserializer=_StreamRequest.FromString,
                response_serializer=_StreamResponse.SerializeToString,
            )
        }
        for served in served_calls(runtime.world, runtime.model):
            self._table[served.rpc.path] = grpc.unary_unary_rpc_method_handler(
                _unary(runtime.world, served),
                request_deserializer=served.request_class.FromString,
                response_serializer=_serialize,
            )

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of a call, or None if the call is not Pub/Sub's."""
        path = handler_call_details.method
        if path.startswith(_IAM_PREFIX) and not _about_pubsub(handler_call_details.invocation_metadata):
            return None
        return self._table.get(path)


def _about_pubsub(metadata: Any) -> bool:
    asked = "".join(str(value) for key, value in metadata or () if key == "x-goog-request-params").replace("%2F", "/")
    return any(f"/{collection}/" in asked for collection in ("topics", "subscriptions", "snapshots", "schemas"))


def _serialize(message: Proto) -> bytes:
    return bytes(message.SerializeToString())


def _unary(world: World, served: Served) -> Callable[[Any, grpc.ServicerContext], Any]:
    def handle(request: Any, context: grpc.ServicerContext) -> Any:
        principal = _principal(context)
        try:
            return world.perform(served.spec, resource_of(request), principal, lambda: served.function(request))
        except ApiError as error:
            _abort(context, error)

    return handle


def _principal(context: grpc.ServicerContext) -> str:
    for key, value in context.invocation_metadata():
        if key == "authorization":
            return principal_of_header(str(value))
    return "anonymous"


def _abort(context: grpc.ServicerContext, error: ApiError) -> None:
    context.abort(_GRPC_CODES[CODES[error.code][0]], error.message)
