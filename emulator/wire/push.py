"""The pusher of messages to HTTP endpoints: one event loop in one thread, a new connection for each push, at most 100 in flight for each subscription.

Each push needs a new connection, because gunicorn closes idle connections, and a push on a closed connection would count as
a failure.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import json
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from emulator.clock import rfc3339
from emulator.journal import Entry
from emulator.model.pubsub_names import milliseconds

if TYPE_CHECKING:
    from emulator.model.pubsub import Delivery, PubSubModel
    from emulator.world import World

IN_FLIGHT = 100
NO_ANSWER = 0
_ACKED = frozenset({102, 200, 201, 202, 204})
_CONTINUE = 100
_MAX_HEAD_BYTES = 65_536
_USER_AGENT = "APIs-Google; (+https://developers.google.com/webmasters/APIs-Google)"

Signer = Callable[[str, str], str]


@dataclass(frozen=True, slots=True)
class PushRequest:
    """A POST that is ready to be sent. With `forgive`, any response counts as an acknowledgement, even an error."""

    url: str
    headers: dict[str, str]
    body: bytes
    forgive: bool = False


# A function that may take over a push before it is sent. It returns another request to send, a status as the response, or None.
Rewrite = Callable[[PushRequest], "PushRequest | int | None"]


def envelope(delivery: Delivery) -> bytes:
    """Return the JSON body of a wrapped push. Like the real service, a message without data has no `data` key."""
    message = delivery.message
    published = milliseconds(message.publish_time)
    inner: dict[str, Any] = {
        "messageId": message.id,
        "message_id": message.id,
        "publishTime": published,
        "publish_time": published,
    }
    if message.attributes:
        inner["attributes"] = message.attributes
    if message.data:
        inner["data"] = base64.b64encode(message.data).decode()
    if message.ordering_key:
        inner["orderingKey"] = message.ordering_key
    body: dict[str, Any] = {"message": inner, "subscription": delivery.subscription}
    if delivery.attempt:
        body["deliveryAttempt"] = delivery.attempt
    return json.dumps(body, separators=(",", ":")).encode()


def push_request(delivery: Delivery, push: dict[str, Any], *, signer: Signer | None) -> PushRequest:
    """Return the POST that delivers a message according to the push config `push`."""
    url = push["pushEndpoint"]
    headers = {"User-Agent": _USER_AGENT, "From": "noreply@google.com", "Accept": "application/json"}
    token = push.get("oidcToken")
    if token is not None and signer is not None:
        headers["Authorization"] = f"Bearer {signer(token['serviceAccountEmail'], token.get('audience') or url)}"
    if "noWrapper" not in push:
        return PushRequest(url, {**headers, "Content-Type": "application/json"}, envelope(delivery))
    message = delivery.message
    if push["noWrapper"].get("writeMetadata"):
        headers |= {
            "x-goog-pubsub-subscription-name": delivery.subscription,
            "x-goog-pubsub-message-id": message.id,
            "x-goog-pubsub-publish-time": milliseconds(message.publish_time),
        }
        if message.ordering_key:
            headers["x-goog-pubsub-ordering-key"] = message.ordering_key
        if delivery.attempt:
            headers["x-goog-pubsub-delivery-attempt"] = str(delivery.attempt)
        safe = {key: value for key, value in message.attributes.items() if _fits_header(key, value)}
        headers |= safe
    return PushRequest(url, headers, message.data)


def _fits_header(key: str, value: str) -> bool:
    return key.isascii() and key.replace("-", "").replace("_", "").isalnum() and value.isascii() and value.isprintable()


class _Exchange(asyncio.Protocol):
    """A request and the status of its response. `answer` is set when the response is complete or the connection ended."""

    def __init__(self, payload: bytes, answer: asyncio.Future[int]) -> None:
        self._payload = payload
        self._answer = answer
        self._transport: asyncio.Transport | None = None
        self._head = b""
        self._status = NO_ANSWER
        self._left: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the whole request."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a TCP connection is one; for the type checker
        self._transport = transport
        transport.write(self._payload)

    def data_received(self, data: bytes) -> None:
        """Read the head, then count the bytes of the body."""
        while self._status == NO_ANSWER:
            self._head += data
            head, mark, data = self._head.partition(b"\r\n\r\n")
            if not mark:
                if len(head) > _MAX_HEAD_BYTES:
                    self._finish()
                return
            self._head = b""
            self._read_head(head)
            if self._left == -1:
                return
        if self._left is not None:
            self._left -= len(data)
            if self._left <= 0:
                self._finish()

    def _read_head(self, head: bytes) -> None:
        first, *lines = head.decode("latin-1").split("\r\n")
        parts = first.split(" ", 2)
        if not parts[0].startswith("HTTP/1.") or len(parts) == 1 or not parts[1].isdigit():
            self._left = -1
            self._finish()
            return
        status = int(parts[1])
        if status == _CONTINUE:
            return
        self._status = status
        if status < 200 or status in {204, 304}:  # noqa: PLR2004 - these have no body; 102 counts as a response
            self._left = 0
            return
        for line in lines:
            name, _, value = line.partition(":")
            if name.strip().lower() == "content-length" and value.strip().isdigit():
                self._left = int(value)

    def _finish(self) -> None:
        if not self._answer.done():
            self._answer.set_result(self._status)
        if self._transport is not None:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Finish the exchange.

        If the body is truncated, the status of the head still counts; without a head there is no answer.
        """
        del exc
        self._finish()


class PushDispatcher:
    """The sender of pushes, which leases messages of push subscriptions. `rewrites` may take over pushes (the Eventarc bridge)."""

    def __init__(self, world: World, model: PubSubModel, *, signer: Signer | None) -> None:
        self._world = world
        self._model = model
        self._signer = signer
        self.rewrites: list[Rewrite] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._in_flight: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._woken = False
        self._tls = functools.cache(ssl.create_default_context)

    def start(self) -> None:
        """Start the thread."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="pubsub-push", daemon=True)
        self._thread.start()
        self.wake()

    def stop(self) -> None:
        """Cancel pushes in flight and end the thread. Their messages are redelivered once their leases end or a saved state is loaded."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        self._loop = None
        asyncio.run_coroutine_threadsafe(self._drain(), loop).result(timeout=10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        loop.close()

    async def _drain(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.get_running_loop().shutdown_default_executor()
        await asyncio.sleep(0)  # one turn of the loop, in which closed transports release their sockets

    def wake(self) -> None:
        """Tell the thread that a message may have become deliverable. May be called from any thread; several calls cause one check."""
        loop = self._loop
        if loop is None or self._woken:
            return
        self._woken = True
        with contextlib.suppress(RuntimeError):  # the loop was closed in the meantime
            loop.call_soon_threadsafe(self._dispatch)

    def _dispatch(self) -> None:
        self._woken = False
        if self._loop is None:
            return
        ready: list[tuple[Delivery, dict[str, Any], float]] = []
        with self._world.lock:
            now = self._world.clock.now()
            for name, subscription in self._model.subscriptions.items():
                room = IN_FLIGHT - self._in_flight.get(name, 0)
                if room <= 0 or not subscription.pushes or not subscription.backlog.has_ready(now):
                    continue
                push, deadline_s = subscription.config["pushConfig"], subscription.config["ackDeadlineSeconds"]
                leased = self._model.lease(name, limit=room, per_key=1)
                ready += [(delivery, push, deadline_s) for delivery in leased]
        for delivery, push, deadline_s in ready:
            name = delivery.subscription
            self._in_flight[name] = self._in_flight.get(name, 0) + 1
            task = self._loop.create_task(self._deliver(delivery, push, deadline_s))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _deliver(self, delivery: Delivery, push: dict[str, Any], deadline_s: float) -> None:
        """Make a push, record it in the journal, and settle its message. If `stop` cancels the push, only the lease stays."""
        name = delivery.subscription
        acked = False
        try:
            fault = self._world.faults.take("pubsub.Push", name, wanted="before")
            if fault is not None:
                status = fault.as_error().http_status
            else:
                request = self._rewritten(push_request(delivery, push, signer=self._signer))
                status = request if isinstance(request, int) else await self._answer(request, deadline_s)
                acked = status in _ACKED or (
                    isinstance(request, PushRequest) and request.forgive and status != NO_ANSWER
                )
                fault = self._world.faults.take("pubsub.Push", name, wanted="after")
                if fault is not None:
                    status, acked = fault.as_error().http_status, False
        finally:
            self._in_flight[name] -= 1
        self._record(name, status)
        with self._world.lock:
            self._model.settle(delivery, acked=acked)
        self.wake()

    def _rewritten(self, request: PushRequest) -> PushRequest | int:
        for rewrite in self.rewrites:
            taken = rewrite(request)
            if taken is not None:
                return taken
        return request

    async def _answer(self, request: PushRequest, deadline_s: float) -> int:
        try:
            async with asyncio.timeout(deadline_s):
                return await self._post(request)
        except (OSError, TimeoutError):
            return NO_ANSWER

    async def _post(self, request: PushRequest) -> int:
        loop = asyncio.get_running_loop()
        url = urlsplit(request.url)
        secure = url.scheme == "https"
        answer: asyncio.Future[int] = loop.create_future()
        transport, _ = await loop.create_connection(
            lambda: _Exchange(_payload(request), answer),
            url.hostname or "",
            url.port or (443 if secure else 80),
            ssl=self._tls() if secure else None,
        )
        try:
            return await answer
        finally:
            transport.abort() if not answer.done() or answer.cancelled() else transport.close()

    def _record(self, subscription: str, status: int) -> None:
        self._world.journal.record(
            Entry(
                time=rfc3339(self._world.clock.now()),
                service="pubsub",
                method="Push",
                resource=subscription,
                principal=f"service-{self._world.project_number}@gcp-sa-pubsub.iam.gserviceaccount.com",
                status=status,
                mutates=False,
                permission="",
            )
        )


def _payload(request: PushRequest) -> bytes:
    """Return the bytes of the request."""
    url = urlsplit(request.url)
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    host = url.netloc.rpartition("@")[2]
    headers = {"Host": host, **request.headers, "Content-Length": str(len(request.body)), "Connection": "close"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + request.body


def with_headers(request: PushRequest, *, url: str, headers: dict[str, str], forgive: bool) -> PushRequest:
    """Return `request` with another `url` and `forgive`, and with further `headers`."""
    return replace(request, url=url, headers={**request.headers, **headers}, forgive=forgive)
