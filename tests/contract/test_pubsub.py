"""What the product relies on in Pub/Sub, asked of our embedded cloud and of Google's own emulator alike."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import grpc
import pytest
import requests
from google.api_core import exceptions
from google.cloud import pubsub_v1
from google.pubsub_v1.services.publisher.transports.grpc import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports.grpc import SubscriberGrpcTransport

from tests.contract.backends import embedded, google_pubsub
from tests.emulator.pubsub_kit import Endpoint, Seen, endpoint

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.waits("for redeliveries: Google's emulator has no other clock than the real one"),
]
PROJECT = "projects/benchkeeper-local"
SOON = {"minimum_backoff": timedelta(seconds=1), "maximum_backoff": timedelta(seconds=1)}


@dataclass
class PubSub:
    where: str
    publisher: pubsub_v1.PublisherClient
    subscriber: pubsub_v1.SubscriberClient

    def topic(self) -> str:
        return self.publisher.create_topic(name=f"{PROJECT}/topics/t-{uuid.uuid4().hex[:12]}").name

    def subscription(self, topic: str, push_to: Endpoint | None = None, **settings: Any) -> str:
        """A subscription that lives as long as its test (`Endpoint` gone = pushes fail, and end with the topic's emulator)."""
        request: dict[str, Any] = {"name": f"{PROJECT}/subscriptions/s-{uuid.uuid4().hex[:12]}", "topic": topic}
        if push_to is not None:
            request["push_config"] = {"push_endpoint": push_to.url} | settings.pop("push", {})
        return self.subscriber.create_subscription(request=request | settings).name

    def publish(self, topic: str, *texts: str, **more: Any) -> list[str]:
        return [self.publisher.publish(topic, text.encode(), **more).result(timeout=30) for text in texts]

    def pull(self, subscription: str, expected: int) -> list[Any]:
        """So many messages at least, or what came in ten seconds; acknowledged."""
        found: list[Any] = []
        for _ in range(20):
            answer = self.subscriber.pull(subscription=subscription, max_messages=100, timeout=30)
            if answer.received_messages:
                ids = [one.ack_id for one in answer.received_messages]
                self.subscriber.acknowledge(subscription=subscription, ack_ids=ids)
                found += [one.message for one in answer.received_messages]
            if len(found) >= expected:
                break
        return found


@pytest.fixture(scope="module", params=["embedded", "google-pubsub-emulator"])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    with {"embedded": embedded, "google-pubsub-emulator": google_pubsub}[request.param]() as where:
        yield where


@pytest.fixture
def pubsub(backend: str) -> Iterator[PubSub]:
    with grpc.insecure_channel(backend) as channel:
        publisher = pubsub_v1.PublisherClient(
            pubsub_v1.types.BatchSettings(max_latency=0),
            pubsub_v1.types.PublisherOptions(enable_message_ordering=True),
            transport=PublisherGrpcTransport(channel=channel),
        )
        subscriber = pubsub_v1.SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        yield PubSub(backend, publisher, subscriber)
        publisher.stop()
        for found in list(subscriber.list_subscriptions(project=PROJECT)):
            subscriber.delete_subscription(subscription=found.name)


def until(condition: Callable[[], bool], *, seconds: float = 30) -> None:
    pause = threading.Event()
    for _ in range(int(seconds * 20)):
        if condition():
            return
        pause.wait(0.05)
    pytest.fail(f"after {seconds:g} s it did not come to hold")


class Script:
    """Answers of a push endpoint by the message's text: in order, the last one for ever."""

    def __init__(self, **statuses: list[int]) -> None:
        self._statuses = statuses

    def __call__(self, seen: Seen) -> int:
        left = self._statuses.get(seen.data, [204])
        return left.pop(0) if len(left) > 1 else left[0]


def test_a_name_is_taken_once_and_missing_is_404(pubsub: PubSub) -> None:
    topic = pubsub.topic()
    with pytest.raises(exceptions.AlreadyExists):
        pubsub.publisher.create_topic(name=topic)
    with pytest.raises(exceptions.NotFound):
        pubsub.publisher.get_topic(topic=f"{PROJECT}/topics/not-there")
    with pytest.raises(exceptions.NotFound):
        pubsub.publish(f"{PROJECT}/topics/not-there", "x")
    with pytest.raises(exceptions.NotFound):
        pubsub.subscription(f"{PROJECT}/topics/not-there")


def test_a_message_without_anything_in_it_is_refused(pubsub: PubSub) -> None:
    with pytest.raises(exceptions.InvalidArgument):
        pubsub.publish(pubsub.topic(), "")


def test_what_is_published_is_pulled_with_its_attributes(pubsub: PubSub) -> None:
    topic = pubsub.topic()
    name = pubsub.subscription(topic)
    (sent,) = pubsub.publish(topic, "Ñandú", kind="hr")
    (got,) = pubsub.pull(name, 1)
    assert (got.message_id, got.data.decode(), dict(got.attributes)) == (sent, "Ñandú", {"kind": "hr"})


def test_every_subscription_gets_every_message(pubsub: PubSub) -> None:
    topic = pubsub.topic()
    first, second = pubsub.subscription(topic), pubsub.subscription(topic)
    sent = pubsub.publish(topic, "a", "b")
    for name in (first, second):
        assert sorted(one.message_id for one in pubsub.pull(name, 2)) == sorted(sent)


def test_what_is_not_acknowledged_comes_again(pubsub: PubSub) -> None:
    topic = pubsub.topic()
    name = pubsub.subscription(topic)
    pubsub.publish(topic, "a")
    (first,) = pubsub.subscriber.pull(subscription=name, max_messages=1, timeout=30).received_messages
    pubsub.subscriber.modify_ack_deadline(subscription=name, ack_ids=[first.ack_id], ack_deadline_seconds=0)
    (again,) = pubsub.pull(name, 1)
    assert again.message_id == first.message.message_id


def test_curl_can_publish(pubsub: PubSub) -> None:
    topic = pubsub.topic()
    name = pubsub.subscription(topic)
    body = {"messages": [{"data": "aGVsbG8=", "attributes": {"a": "b"}}]}
    answer = requests.post(f"http://{pubsub.where}/v1/{topic}:publish", json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    (got,) = pubsub.pull(name, 1)
    assert ([got.message_id], got.data, dict(got.attributes)) == (answer.json()["messageIds"], b"hello", {"a": "b"})


def test_a_push_is_an_envelope_with_message_and_subscription(pubsub: PubSub) -> None:
    topic = pubsub.topic()
    with endpoint() as target:
        name = pubsub.subscription(topic, target)
        (sent,) = pubsub.publish(topic, "hello", kind="hr")
        until(lambda: bool(target.seen))
        envelope = target.seen[0].json
    assert envelope["subscription"] == name
    message = envelope["message"]
    assert (message["messageId"], message["data"], message["attributes"]) == (sent, "aGVsbG8=", {"kind": "hr"})
    assert message["publishTime"].endswith("Z")


def test_a_refused_push_comes_again_until_it_is_taken(pubsub: PubSub) -> None:
    topic = pubsub.topic()
    with endpoint(Script(a=[500, 503, 204])) as target:
        pubsub.subscription(topic, target, retry_policy=SOON)
        pubsub.publish(topic, "a")
        until(lambda: len(target.seen) == 3)
    assert len({seen.json["message"]["messageId"] for seen in target.seen}) == 1


def test_an_ordering_key_keeps_its_order_over_a_refusal(pubsub: PubSub) -> None:
    topic = pubsub.topic()
    with endpoint(Script(b=[500, 204])) as target:
        pubsub.subscription(topic, target, enable_message_ordering=True, retry_policy=SOON)
        pubsub.publish(topic, "a", "b", "c", ordering_key="ana")
        until(lambda: target.texts[-1:] == ["c"])
    taken = [text for number, text in enumerate(target.texts) if (number, text) != (target.texts.index("b"), "b")]
    assert taken == ["a", "b", "c"]


def test_a_push_names_the_ordering_key(pubsub: PubSub) -> None:
    topic = pubsub.topic()
    with endpoint() as target:
        pubsub.subscription(topic, target, enable_message_ordering=True)
        pubsub.publish(topic, "a", ordering_key="ana")
        until(lambda: bool(target.seen))
        assert target.seen[0].json["message"].get("orderingKey") == "ana"


def test_after_its_attempts_a_message_goes_to_the_dead_letter_topic(pubsub: PubSub) -> None:
    topic, dead = pubsub.topic(), pubsub.topic()
    grave = pubsub.subscription(dead)
    with endpoint(lambda _seen: 500) as target:
        policy = {"dead_letter_topic": dead, "max_delivery_attempts": 5}
        name = pubsub.subscription(topic, target, dead_letter_policy=policy, retry_policy=SOON)
        pubsub.publish(topic, "poison", kind="hr")
        (letter,) = pubsub.pull(grave, 1)
    assert len(target.seen) == 5
    assert letter.data == b"poison"
    source = name.rpartition("/")[2]
    assert dict(letter.attributes) | {
        "kind": "hr",
        "CloudPubSubDeadLetterSourceSubscription": source,
        "CloudPubSubDeadLetterSourceDeliveryCount": "5",
    } == dict(letter.attributes)


def test_a_push_counts_its_attempts_when_there_is_a_dead_letter_policy(pubsub: PubSub) -> None:
    topic = pubsub.topic()
    with endpoint(Script(a=[500, 204])) as target:
        policy = {"dead_letter_topic": pubsub.topic(), "max_delivery_attempts": 5}
        pubsub.subscription(topic, target, dead_letter_policy=policy, retry_policy=SOON)
        pubsub.publish(topic, "a")
        until(lambda: len(target.seen) == 2)
        assert [seen.json.get("deliveryAttempt") for seen in target.seen] == [1, 2]


def test_a_push_without_data_has_no_data_key(pubsub: PubSub) -> None:
    topic = pubsub.topic()
    with endpoint() as target:
        pubsub.subscription(topic, target)
        pubsub.publish(topic, "", kind="hr")
        until(lambda: bool(target.seen))
        assert "data" not in target.seen[0].json["message"]


def test_success_acknowledges(pubsub: PubSub) -> None:
    assert pushes_of(pubsub, 200, 201, 204) == [1, 1, 1]


def test_202_acknowledges(pubsub: PubSub) -> None:
    assert pushes_of(pubsub, 202) == [1]


def pushes_of(pubsub: PubSub, *statuses: int) -> list[int]:
    """How often messages that are answered so are pushed, by the time another one that came later was refused twice."""
    topic = pubsub.topic()
    texts = [f"asked{status}" for status in statuses]
    script = Script(**{text: [status] for text, status in zip(texts, statuses, strict=True)}, later=[500, 500, 204])
    with endpoint(script) as target:
        pubsub.subscription(topic, target, retry_policy=SOON)
        pubsub.publish(topic, *texts)
        until(lambda: set(texts) <= set(target.texts))
        pubsub.publish(topic, "later")
        until(lambda: target.texts.count("later") == 3)
        return [target.texts.count(text) for text in texts]


def test_many_pushes_are_in_flight_at_once(pubsub: PubSub) -> None:
    topic, together, passed = pubsub.topic(), threading.Barrier(10, timeout=5), []

    def answer(seen: Seen) -> int:
        try:
            together.wait()
        except threading.BrokenBarrierError:
            return 204  # the others never came: taken, so that nothing is retried
        passed.append(seen.data)
        return 204

    with endpoint(answer) as target:
        pubsub.subscription(topic, target)
        pubsub.publish(topic, *"abcdefghij")
        until(lambda: len(target.seen) >= 10 or together.broken)
        until(lambda: len(passed) == 10 or together.broken)
    assert sorted(passed) == list("abcdefghij")


def test_a_changed_endpoint_takes_over(pubsub: PubSub) -> None:
    topic = pubsub.topic()
    with endpoint(lambda _seen: 500) as old, endpoint() as new:
        name = pubsub.subscription(topic, old, retry_policy=SOON)
        pubsub.publish(topic, "a")
        until(lambda: bool(old.seen))
        change = {"name": name, "push_config": {"push_endpoint": new.url}}
        pubsub.subscriber.update_subscription(
            request={"subscription": change, "update_mask": {"paths": ["push_config"]}}
        )
        until(lambda: new.texts == ["a"])


def test_a_filter_keeps_messages_out(pubsub: PubSub) -> None:
    topic = pubsub.topic()
    name = pubsub.subscription(topic, filter='attributes.kind = "hr"')
    pubsub.publish(topic, "out", kind="other")
    pubsub.publish(topic, "in", kind="hr")
    assert [one.data for one in pubsub.pull(name, 1)] == [b"in"]


def test_a_filter_that_is_none_is_refused(pubsub: PubSub) -> None:
    with pytest.raises(exceptions.InvalidArgument):
        pubsub.subscription(pubsub.topic(), filter="bad filter(")


def test_a_push_carries_a_token_for_its_service_account(pubsub: PubSub) -> None:
    topic = pubsub.topic()
    with endpoint() as target:
        token = {"oidc_token": {"service_account_email": "push@benchkeeper-local.iam.gserviceaccount.com"}}
        pubsub.subscription(topic, target, push=token)
        pubsub.publish(topic, "a")
        until(lambda: bool(target.seen))
        assert target.seen[0].headers.get("Authorization", "").startswith("Bearer ey")
