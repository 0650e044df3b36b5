"""A running Pub/Sub and the endpoints that it pushes to, for the tests beside this file."""

from __future__ import annotations

import base64
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import grpc
from google.cloud import pubsub_v1
from google.pubsub_v1.services.publisher.transports.grpc import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports.grpc import SubscriberGrpcTransport

from emulator.app import EmbeddedCloud
from emulator.clock import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from emulator.host import FunctionHost
    from emulator.model.pubsub import PubSubModel
    from emulator.wire.pubsub import PubSubRuntime
    from emulator.world import World

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
PROJECT = "projects/benchkeeper-local"


@dataclass
class PubSubCloud:
    """A running embedded cloud and the official clients of its Pub/Sub."""

    cloud: EmbeddedCloud
    publisher: pubsub_v1.PublisherClient
    subscriber: pubsub_v1.SubscriberClient

    @property
    def world(self) -> World:
        return self.cloud.world

    @property
    def model(self) -> PubSubModel:
        return self.cloud.pubsub

    @property
    def runtime(self) -> PubSubRuntime:
        return self.cloud.pubsub_runtime

    @property
    def host(self) -> FunctionHost:
        return self.cloud.functions

    @property
    def url(self) -> str:
        return self.cloud.url

    def topic(self, name: str) -> str:
        """Create a topic; its full name."""
        return self.publisher.create_topic(name=f"{PROJECT}/topics/{name}").name

    def subscription(self, name: str, topic: str, **settings: Any) -> str:
        """Create a subscription; its full name."""
        path = f"{PROJECT}/subscriptions/{name}"
        return self.subscriber.create_subscription(request={"name": path, "topic": topic, **settings}).name

    def backlog(self, subscription: str) -> int:
        with self.world.lock:
            return len(self.model.subscriptions[subscription].backlog.entries)

    def until(self, condition: Callable[[], bool], *, seconds: float = 10.0) -> None:
        """Wait until `condition` holds, looked at 20 times a second."""
        pause = threading.Event()
        for _ in range(int(seconds * 20)):
            if condition():
                return
            pause.wait(0.05)
        raise AssertionError("it did not come to hold")


@contextmanager
def pubsub_cloud(
    clock: VirtualClock | None = None, state: dict[str, Any] | None = None, log_folder: Path | None = None
) -> Iterator[PubSubCloud]:
    cloud = EmbeddedCloud.build(clock=clock or VirtualClock(start=START, speed=1), log_folder=log_folder)
    if state is not None:
        cloud.world.load(state)
    with cloud, grpc.insecure_channel(f"127.0.0.1:{cloud.port}") as channel:
        publisher = pubsub_v1.PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        subscriber = pubsub_v1.SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        yield PubSubCloud(cloud, publisher, subscriber)


@dataclass
class Seen:
    """One request that an endpoint got."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.body))

    @property
    def data(self) -> str:
        return base64.b64decode(self.json["message"].get("data", "")).decode()


@dataclass
class Endpoint:
    """A push endpoint; `answer` decides the status of each request."""

    url: str
    seen: list[Seen] = field(default_factory=list)
    answer: Callable[[Seen], int] = lambda _seen: 204

    @property
    def texts(self) -> list[str]:
        return [seen.data for seen in self.seen]


@contextmanager
def endpoint(answer: Callable[[Seen], int] | None = None) -> Iterator[Endpoint]:
    made = Endpoint("")
    if answer is not None:
        made.answer = answer

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen = Seen(self.path, dict(self.headers.items()), body)
            made.seen.append(seen)
            self.send_response_only(made.answer(seen))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            """Quiet."""

    class Listener(ThreadingHTTPServer):
        request_queue_size = 256
        daemon_threads = True

    listener = Listener(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{listener.server_address[1]}/push"
    thread = threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()
