"""The same join with Google's own Pub/Sub emulator in place of ours: topics, publishing and pushes are theirs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.cloud import pubsub_v1
from google.pubsub_v1.services.publisher.transports.grpc import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports.grpc import SubscriberGrpcTransport

from tests.contract.backends import google_pubsub, google_pubsub_binary
from tests.e2e.local_run import PROJECT, Local, World, news, running_local, until

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.waits("for the clock of a whole system"),
    pytest.mark.timeout(150),
    pytest.mark.skipif(
        google_pubsub_binary() is None,
        reason="Google's Pub/Sub emulator is not installed (Cloud SDK with pubsub-emulator, and Java)",
    ),
]
FUNCTIONS = {"benchkeeper-lifecycle": "workbench-lifecycle", "benchkeeper-tick": "workbench-tick"}
PERSON = "ana.silva@example.com"


class GooglePubSub:
    """Their emulator, with our functions subscribed to its topics through the Eventarc bridge."""

    def __init__(self, where: str, channel: grpc.Channel) -> None:
        self.where = where
        self.publisher = pubsub_v1.PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        self.subscriber = pubsub_v1.SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))

    def take_over(self, local: Local) -> None:
        """Make the topics and pushes there, and take ours away."""
        for function, topic in FUNCTIONS.items():
            name = f"projects/{PROJECT}/subscriptions/eventarc-{function}"
            gone = local.http.delete(f"{local.url}/v1/{name}", timeout=30)
            assert gone.ok, gone.text
            self.subscriber.create_subscription(
                request={
                    "name": name,
                    "topic": self.publisher.create_topic(name=f"projects/{PROJECT}/topics/{topic}").name,
                    "push_config": {"push_endpoint": f"{local.url}/_emulator/eventarc/{function}"},
                    "ack_deadline_seconds": 600,
                    "retry_policy": {
                        "minimum_backoff": timedelta(seconds=1),
                        "maximum_backoff": timedelta(seconds=2),
                    },
                }
            )
        pushing = {f"projects/{PROJECT}/subscriptions/eventarc-{function}" for function in FUNCTIONS}
        local.http.delete(f"{local.url}/_emulator/calls", timeout=30)
        assert pushing.isdisjoint(
            found["name"]
            for found in local.http.get(f"{local.url}/v1/projects/{PROJECT}/subscriptions", timeout=30)
            .json()
            .get("subscriptions", [])
        )

    def publish(self, topic: str, data: bytes) -> None:
        self.publisher.publish(f"projects/{PROJECT}/topics/{topic}", data).result(timeout=30)

    def tick_until(self, holds: Any, *, what: str) -> None:
        """Tick as the scheduler does, until it holds."""
        looked = 0

        def ticked() -> bool:
            nonlocal looked
            looked += 1
            if looked % 5 == 1:
                self.publish("workbench-tick", b'{"sweep": "due"}')
            return bool(holds())

        until(ticked, seconds=60, what=what)


@pytest.fixture
def google() -> Iterator[GooglePubSub]:
    with google_pubsub() as where, grpc.insecure_channel(where) as channel:
        made = GooglePubSub(where, channel)
        yield made
        made.publisher.stop()


def why(world: World) -> str:
    (record,) = world.records()
    return next(c["reason"] for c in record["status"]["conditions"] if c["type"] == "NotebookReady")


def test_a_join_and_a_leave_over_googles_own_pubsub(google: GooglePubSub) -> None:
    with running_local("--no-examples", "--speed", "240") as local, local.world() as world:
        google.take_over(local)
        local.publish(news("joiner", PERSON, groups=("data-analysts@example.com",)), endpoint=google.where)
        google.tick_until(lambda: world.owners("ACTIVE") == [PERSON], what="Ana's is ACTIVE")
        google.tick_until(lambda: why(world) == "Ready", what="Ana is told")

        google.publish("workbench-lifecycle", b"not JSON at all")
        until(lambda: len(world.letters()) == 1, seconds=30, what="the dead letter is kept")
        letter = json.loads(world.letters_bucket.blob(world.letters()[0]).download_as_bytes())
        assert letter["body"] == "not JSON at all"

        local.publish(news("leaver", PERSON), endpoint=google.where)
        google.tick_until(lambda: world.owners("STOPPED") == [PERSON], what="Ana's is STOPPED")
        assert len(world.instances()) == 1
        # A tick of ours may have been on its way at the change; no news ever was.
        pushed = {call["resource"] for call in local.control("GET", "calls")["calls"] if call["method"] == "Push"}
        assert f"projects/{PROJECT}/subscriptions/eventarc-benchkeeper-lifecycle" not in pushed
