"""Pushes as endpoints see them: body, headers, retries, order, dead letters, tokens, many at once."""

from __future__ import annotations

import base64
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import google.auth.exceptions
import google.auth.transport.requests
import pytest
import requests
from google.oauth2 import id_token

from emulator.clock import VirtualClock, wall_now
from emulator.faults import Fault
from tests.emulator.pubsub_kit import START, Endpoint, PubSubCloud, Seen, endpoint, pubsub_cloud

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def cloud() -> Iterator[PubSubCloud]:
    with pubsub_cloud() as made:
        yield made


@pytest.fixture
def target() -> Iterator[Endpoint]:
    with endpoint() as made:
        yield made


def pushed(cloud: PubSubCloud) -> list[int]:
    return [row["status"] for row in cloud.world.journal.listing(mutating_only=False) if row["method"] == "Push"]


def test_a_push_is_the_documented_envelope(cloud: PubSubCloud, target: Endpoint) -> None:
    topic = cloud.topic("lifecycle")
    name = cloud.subscription("to-function", topic, push_config={"push_endpoint": target.url})
    message_id = cloud.publisher.publish(topic, b"joined", kind="hr").result()
    cloud.until(lambda: bool(target.seen) and not cloud.backlog(name))
    (seen,) = target.seen
    published = seen.json["message"]["publishTime"]
    assert seen.json == {
        "message": {
            "data": "am9pbmVk",
            "attributes": {"kind": "hr"},
            "messageId": message_id,
            "message_id": message_id,
            "publishTime": published,
            "publish_time": published,
        },
        "subscription": name,
    }
    assert published.startswith("2026-03-02T08:0")
    assert seen.headers["Content-Type"] == "application/json"
    assert seen.headers["User-Agent"].startswith("APIs-Google")
    assert seen.headers["Connection"] == "close"
    assert "Authorization" not in seen.headers
    assert pushed(cloud) == [204]


def test_a_message_of_attributes_alone_has_no_data_key(cloud: PubSubCloud, target: Endpoint) -> None:
    topic = cloud.topic("lifecycle")
    cloud.subscription("to-function", topic, push_config={"push_endpoint": target.url})
    cloud.publisher.publish(topic, b"", kind="tick").result()
    cloud.until(lambda: bool(target.seen))
    assert "data" not in target.seen[0].json["message"]


def test_without_wrapper_the_body_is_the_data(cloud: PubSubCloud, target: Endpoint) -> None:
    topic = cloud.topic("lifecycle")
    cloud.subscription("bare", topic, push_config={"push_endpoint": target.url, "no_wrapper": {"write_metadata": True}})
    message_id = cloud.publisher.publish(topic, b'{"a": 1}', kind="hr").result()
    cloud.until(lambda: bool(target.seen))
    assert target.seen[0].body == b'{"a": 1}'
    assert target.seen[0].headers["x-goog-pubsub-message-id"] == message_id
    assert target.seen[0].headers["kind"] == "hr"


@pytest.mark.parametrize("status", [102, 200, 201, 202, 204])
def test_the_documented_codes_acknowledge(cloud: PubSubCloud, status: int) -> None:
    topic = cloud.topic("lifecycle")
    with endpoint(lambda _seen: status) as target:
        name = cloud.subscription("to-function", topic, push_config={"push_endpoint": target.url})
        cloud.publisher.publish(topic, b"x").result()
        cloud.until(lambda: pushed(cloud) == [status])
        assert cloud.backlog(name) == 0


def test_backoff_runs_in_virtual_time_and_doubles_to_the_maximum(target: Endpoint) -> None:
    target.answer = lambda _seen: 500
    with pubsub_cloud(VirtualClock(start=START, speed=0)) as cloud:
        topic = cloud.topic("lifecycle")
        cloud.subscription(
            "to-function",
            topic,
            push_config={"push_endpoint": target.url},
            retry_policy={"minimum_backoff": timedelta(seconds=10), "maximum_backoff": timedelta(seconds=30)},
        )
        cloud.publisher.publish(topic, b"x").result()
        for tries, wait in enumerate([10, 20, 30, 30], start=1):
            cloud.until(lambda tries=tries: len(pushed(cloud)) == tries)
            cloud.world.clock.advance(timedelta(seconds=wait - 0.001))
            with cloud.world.lock:
                assert cloud.model.next_retry() is not None
            cloud.world.clock.advance(timedelta(seconds=0.001))
        cloud.until(lambda: len(pushed(cloud)) == 5)
        assert pushed(cloud) == [500] * 5
        assert len(target.seen) == 5


@pytest.mark.waits("for three redeliveries, a tenth of a second and more apart")
def test_without_a_policy_the_first_retries_come_fast(cloud: PubSubCloud) -> None:
    answers = iter([500, 503, 429])
    with endpoint(lambda _seen: next(answers, 200)) as target:
        topic = cloud.topic("lifecycle")
        name = cloud.subscription("to-function", topic, push_config={"push_endpoint": target.url})
        cloud.publisher.publish(topic, b"x").result()
        cloud.until(lambda: pushed(cloud) == [500, 503, 429, 200])
        assert cloud.backlog(name) == 0
        assert "deliveryAttempt" not in target.seen[-1].json


@pytest.mark.waits("for redeliveries: a faster clock would run out on a push that is under way")
def test_after_the_last_attempt_a_message_goes_to_the_dead_letter_topic(cloud: PubSubCloud, target: Endpoint) -> None:
    target.answer = lambda _seen: 500
    topic, dead = cloud.topic("lifecycle"), cloud.topic("dead")
    bin_ = cloud.subscription("dead-bin", dead)
    name = cloud.subscription(
        "to-function",
        topic,
        push_config={"push_endpoint": target.url},
        dead_letter_policy={"dead_letter_topic": dead, "max_delivery_attempts": 5},
    )
    cloud.publisher.publish(topic, b"poison", kind="hr").result()
    cloud.until(lambda: cloud.backlog(bin_) == 1)
    assert [seen.json["deliveryAttempt"] for seen in target.seen] == [1, 2, 3, 4, 5]
    assert cloud.backlog(name) == 0
    (got,) = cloud.subscriber.pull(subscription=bin_, max_messages=5).received_messages
    assert got.message.data == b"poison"
    attributes = dict(got.message.attributes)
    assert attributes.pop("CloudPubSubDeadLetterSourceTopicPublishTime").startswith("2026-03-02T08:0")
    assert attributes == {
        "kind": "hr",
        "CloudPubSubDeadLetterSourceDeliveryCount": "5",
        "CloudPubSubDeadLetterSourceSubscription": "to-function",
        "CloudPubSubDeadLetterSourceSubscriptionProject": "benchkeeper-local",
    }


def test_an_ordering_key_keeps_its_order_over_a_refusal(cloud: PubSubCloud) -> None:
    refused: list[str] = []

    def answer(seen: Seen) -> int:
        if seen.data == "3" and not refused:
            refused.append(seen.data)
            return 500
        return 200

    topic = cloud.topic("lifecycle")
    with endpoint(answer) as target:
        name = cloud.subscription(
            "to-function", topic, push_config={"push_endpoint": target.url}, enable_message_ordering=True
        )
        requests.post(
            f"{cloud.url}/v1/{topic}:publish",
            json={"messages": [{"data": _b64(str(n)), "orderingKey": "user-1"} for n in range(1, 7)]},
            timeout=10,
        ).raise_for_status()
        cloud.until(lambda: cloud.backlog(name) == 0)
        assert target.texts == ["1", "2", "3", "3", "4", "5", "6"]
        assert target.seen[0].json["message"]["orderingKey"] == "user-1"


def test_a_hundred_are_in_flight_at_once(cloud: PubSubCloud) -> None:
    all_here = threading.Barrier(100, timeout=10)

    def answer(_seen: Seen) -> int:
        all_here.wait()
        return 200

    topic = cloud.topic("lifecycle")
    with endpoint(answer) as target:
        name = cloud.subscription("to-function", topic, push_config={"push_endpoint": target.url})
        publish_many(cloud, topic, 100)
        cloud.until(lambda: cloud.backlog(name) == 0)
        assert len(target.seen) == 100


def test_a_thousand_messages_arrive_once_each(cloud: PubSubCloud, target: Endpoint) -> None:
    topic = cloud.topic("lifecycle")
    name = cloud.subscription("to-function", topic, push_config={"push_endpoint": target.url})
    publish_many(cloud, topic, 1000)
    cloud.until(lambda: cloud.backlog(name) == 0)
    assert sorted(map(int, target.texts)) == list(range(1000))


def test_nobody_listening_is_a_refusal_that_is_retried(cloud: PubSubCloud) -> None:
    topic = cloud.topic("lifecycle")
    with endpoint() as closed:
        url = closed.url
    name = cloud.subscription("to-function", topic, push_config={"push_endpoint": url})
    cloud.publisher.publish(topic, b"x").result()
    cloud.until(lambda: len(pushed(cloud)) >= 2)
    assert set(pushed(cloud)) == {0}
    assert cloud.backlog(name) == 1


def test_a_scripted_fault_loses_the_answer_and_the_message_comes_again(cloud: PubSubCloud, target: Endpoint) -> None:
    cloud.world.faults.add(Fault(call="pubsub.Push", phase="after", error={"code": "UNAVAILABLE"}))
    topic = cloud.topic("lifecycle")
    name = cloud.subscription("to-function", topic, push_config={"push_endpoint": target.url})
    cloud.publisher.publish(topic, b"x").result()
    cloud.until(lambda: len(target.seen) == 2 and cloud.backlog(name) == 0)
    assert pushed(cloud) == [503, 204]
    assert cloud.world.faults.unfired() == []


def test_a_changed_endpoint_takes_over_what_is_left(cloud: PubSubCloud, target: Endpoint) -> None:
    topic = cloud.topic("lifecycle")
    name = cloud.subscription("to-function", topic)
    publish_many(cloud, topic, 3)
    assert cloud.backlog(name) == 3
    changed = {"name": name, "push_config": {"push_endpoint": target.url}}
    cloud.subscriber.update_subscription(request={"subscription": changed, "update_mask": {"paths": ["push_config"]}})
    cloud.until(lambda: cloud.backlog(name) == 0)
    assert sorted(target.texts) == ["0", "1", "2"]


def test_a_push_carries_a_token_that_google_auth_verifies(cloud: PubSubCloud, target: Endpoint) -> None:
    topic = cloud.topic("lifecycle")
    account = "pusher@benchkeeper-local.iam.gserviceaccount.com"
    cloud.subscription(
        "to-function",
        topic,
        push_config={
            "push_endpoint": target.url,
            "oidc_token": {"service_account_email": account, "audience": "https://lifecycle"},
        },
    )
    cloud.publisher.publish(topic, b"x").result()
    cloud.until(lambda: bool(target.seen))
    token = target.seen[0].headers["Authorization"].removeprefix("Bearer ")
    claims = verify(cloud, token, audience="https://lifecycle")
    assert claims["email"] == account
    assert claims["iss"] == "https://accounts.google.com"
    with pytest.raises(ValueError, match="audience"):
        verify(cloud, token, audience="https://other")
    head, body, signature = token.split(".")
    with pytest.raises(google.auth.exceptions.GoogleAuthError):
        verify(cloud, f"{head}.{body[:-8]}{'AAAAAAAA'}.{signature}", audience="https://lifecycle")
    now = wall_now()
    old = cloud.runtime.issuer.sign(account, "https://lifecycle", issued=now - 7200, expires=now - 3600)
    with pytest.raises(google.auth.exceptions.GoogleAuthError, match="expired"):
        verify(cloud, old, audience="https://lifecycle")


def verify(cloud: PubSubCloud, token: str, *, audience: str) -> dict[str, Any]:
    with requests.Session() as session:
        request = google.auth.transport.requests.Request(session)
        certs = f"{cloud.url}/_emulator/oidc/certs"
        return dict(id_token.verify_token(token, request, audience=audience, certs_url=certs))


def publish_many(cloud: PubSubCloud, topic: str, count: int) -> None:
    """One call, so that no batching of the client decides what is measured."""
    body = {"messages": [{"data": _b64(str(number))} for number in range(count)]}
    requests.post(f"{cloud.url}/v1/{topic}:publish", json=body, timeout=30).raise_for_status()


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
