"""Topics, subscriptions, publishing and pulling through the official client, REST and gcloud."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import requests
from google.api_core import exceptions
from google.iam.v1 import policy_pb2
from google.protobuf import duration_pb2, field_mask_pb2, timestamp_pb2

from emulator.clock import VirtualClock
from emulator.errors import ApiError
from emulator.model.filters import message_filter
from tests.emulator.pubsub_kit import PROJECT, START, PubSubCloud, pubsub_cloud

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Deprecated for production; here it lets a test look without waiting.
pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag is deprecated:DeprecationWarning")


@pytest.fixture
def cloud() -> Iterator[PubSubCloud]:
    with pubsub_cloud() as made:
        yield made


def pull(cloud: PubSubCloud, subscription: str, count: int = 10) -> list[Any]:
    return list(
        cloud.subscriber.pull(
            request={"subscription": subscription, "max_messages": count, "return_immediately": True}
        ).received_messages
    )


def send(cloud: PubSubCloud, topic: str, *texts: str, **attributes: str) -> list[str]:
    return [cloud.publisher.publish(topic, text.encode(), **attributes).result() for text in texts]


def rest(cloud: PubSubCloud, verb: str, path: str, body: Any = None) -> requests.Response:
    return requests.request(verb, f"{cloud.url}/v1/{path}", json=body, timeout=10)


# ---- topics


def test_a_topic_is_kept_with_its_settings(cloud: PubSubCloud) -> None:
    made = cloud.publisher.create_topic(
        request={
            "name": f"{PROJECT}/topics/lifecycle",
            "labels": {"app": "benchkeeper"},
            "kms_key_name": "projects/p/locations/l/keyRings/r/cryptoKeys/k",
            "message_storage_policy": {"allowed_persistence_regions": ["europe-west1"]},
        }
    )
    assert cloud.publisher.get_topic(topic=made.name) == made
    assert [topic.name for topic in cloud.publisher.list_topics(project=PROJECT)] == [made.name]
    assert rest(cloud, "GET", f"{PROJECT}/topics/lifecycle").json()["labels"] == {"app": "benchkeeper"}


def test_a_taken_name_is_409_and_a_missing_one_404(cloud: PubSubCloud) -> None:
    topic = cloud.topic("lifecycle")
    with pytest.raises(
        exceptions.AlreadyExists, match=r"Resource already exists in the project \(resource=lifecycle\)"
    ):
        cloud.publisher.create_topic(name=topic)
    with pytest.raises(exceptions.NotFound, match=r"Resource not found \(resource=nothing\)"):
        cloud.publisher.get_topic(topic=f"{PROJECT}/topics/nothing")
    with pytest.raises(exceptions.NotFound):
        cloud.subscription("lost", f"{PROJECT}/topics/nothing")


@pytest.mark.parametrize("name", ["ab", "1abc", "googly", "a b c", "a" * 256, "ümlaut", "x/y/z"])
def test_names_are_checked(cloud: PubSubCloud, name: str) -> None:
    with pytest.raises(exceptions.InvalidArgument):
        cloud.publisher.create_topic(name=f"{PROJECT}/topics/{name}")


def test_a_deleted_topic_leaves_its_subscriptions_with_their_messages(cloud: PubSubCloud) -> None:
    topic = cloud.topic("lifecycle")
    name = cloud.subscription("reader", topic)
    send(cloud, topic, "one")
    cloud.publisher.delete_topic(topic=topic)
    assert cloud.subscriber.get_subscription(subscription=name).topic == "_deleted-topic_"
    assert [got.message.data for got in pull(cloud, name)] == [b"one"]
    with pytest.raises(exceptions.NotFound):
        cloud.publisher.publish(topic, b"two").result()


def test_lists_come_in_pages(cloud: PubSubCloud) -> None:
    for number in range(7):
        cloud.topic(f"topic-{number}")
    pages = [
        [topic.name[-1] for topic in page.topics]
        for page in cloud.publisher.list_topics(request={"project": PROJECT, "page_size": 3}).pages
    ]
    assert pages == [["0", "1", "2"], ["3", "4", "5"], ["6"]]


# ---- publish


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([], "at least one message"),
        ([{}], "One or more messages in the publish request is empty"),
        ([{"data": "YQ=="}] * 1001, "1001 in the request, but the maximum value is 1000"),
        ([{"data": "YQ==", "attributes": {"k": "x" * 1025}}], "longer than 1024"),
        ([{"data": "YQ==", "attributes": {"": "x"}}], "Invalid attribute key"),
        ([{"data": "YQ==", "attributes": {f"k{n}": "x" for n in range(101)}}], "maximum value is 100"),
        ([{"data": "YQ==", "orderingKey": "x" * 1025}], "ordering key"),
        ([{"data": base64.b64encode(bytes(10_000_001)).decode()}], "10000000 bytes"),
        ([{"data": "YQ==", "bogus": 1}], 'Unknown name "bogus"'),
    ],
)
def test_a_bad_publish_is_refused_whole(cloud: PubSubCloud, messages: list[Any], text: str) -> None:
    topic = cloud.topic("lifecycle")
    name = cloud.subscription("reader", topic)
    answer = rest(cloud, "POST", f"{topic}:publish", {"messages": messages})
    assert answer.status_code == 400
    assert text in answer.json()["error"]["message"]
    assert answer.json()["error"]["status"] == "INVALID_ARGUMENT"
    assert cloud.backlog(name) == 0


def test_unknown_query_parameters_and_fields_are_refused(cloud: PubSubCloud) -> None:
    assert rest(cloud, "PUT", f"{PROJECT}/topics/lifecycle", {"bogus": 1}).status_code == 400
    assert rest(cloud, "GET", f"{PROJECT}/topics?bogus=1").status_code == 400
    assert rest(cloud, "GET", f"{PROJECT}/topics?pageSize=5&alt=json&prettyPrint=false").status_code == 200


# ---- subscriptions


def test_defaults_are_the_services(cloud: PubSubCloud) -> None:
    topic = cloud.topic("lifecycle")
    got = rest(cloud, "PUT", f"{PROJECT}/subscriptions/reader", {"topic": topic}).json()
    assert got == {
        "name": f"{PROJECT}/subscriptions/reader",
        "topic": topic,
        "pushConfig": {},
        "ackDeadlineSeconds": 10,
        "messageRetentionDuration": "604800s",
        "expirationPolicy": {"ttl": "2678400s"},
        "state": "ACTIVE",
    }


@pytest.mark.parametrize(
    "settings",
    [
        {"ackDeadlineSeconds": 9},
        {"ackDeadlineSeconds": 601},
        {"messageRetentionDuration": "599s"},
        {"messageRetentionDuration": "2678401s"},
        {"expirationPolicy": {"ttl": "3600s"}},
        {"deadLetterPolicy": {"deadLetterTopic": f"{PROJECT}/topics/lifecycle", "maxDeliveryAttempts": 4}},
        {"deadLetterPolicy": {"deadLetterTopic": f"{PROJECT}/topics/lifecycle", "maxDeliveryAttempts": 101}},
        {"retryPolicy": {"minimumBackoff": "601s"}},
        {"retryPolicy": {"minimumBackoff": "20s", "maximumBackoff": "10s"}},
        {"pushConfig": {"pushEndpoint": "not-a-url"}},
        {"labels": {"Upper": "x"}},
        {"filter": "attributes.kind ="},
        {"bogus": True},
    ],
)
def test_bad_settings_are_refused(cloud: PubSubCloud, settings: dict[str, Any]) -> None:
    topic = cloud.topic("lifecycle")
    answer = rest(cloud, "PUT", f"{PROJECT}/subscriptions/reader", {"topic": topic, **settings})
    assert answer.status_code == 400, answer.text
    assert rest(cloud, "GET", f"{PROJECT}/subscriptions/reader").status_code == 404


def test_an_update_changes_what_its_mask_names(cloud: PubSubCloud) -> None:
    topic = cloud.topic("lifecycle")
    name = cloud.subscription("reader", topic, labels={"a": "b"}, ack_deadline_seconds=20)
    changed = cloud.subscriber.update_subscription(
        subscription={
            "name": name,
            "ack_deadline_seconds": 60,
            "retry_policy": {"minimum_backoff": duration_pb2.Duration(seconds=1)},
        },
        update_mask=field_mask_pb2.FieldMask(paths=["retry_policy"]),
    )
    assert changed.ack_deadline_seconds == 20
    assert changed.labels == {"a": "b"}
    assert changed.retry_policy.minimum_backoff == timedelta(seconds=1)
    for path in ("filter", "topic", "no_such_field"):
        with pytest.raises(exceptions.InvalidArgument, match="Invalid update_mask"):
            cloud.subscriber.update_subscription(
                subscription={"name": name}, update_mask=field_mask_pb2.FieldMask(paths=[path])
            )
    answer = rest(
        cloud, "PATCH", name, {"subscription": {"ackDeadlineSeconds": 30}, "updateMask": "ackDeadlineSeconds"}
    )
    assert answer.json()["ackDeadlineSeconds"] == 30


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ('attributes.kind = "hr"', "ab"),
        ('attributes.kind != "hr"', "cd"),
        ("attributes:test", "bd"),
        ('attributes.kind = "hr" AND NOT attributes:test', "a"),
        ('hasPrefix(attributes.kind, "gr") OR attributes:test', "bcd"),
        ('(attributes.kind = "hr" OR attributes.kind = "group") AND -attributes:test', "ac"),
        ('attributes."kind" = "h\\u0072"', "ab"),
    ],
)
def test_filters_let_through_what_they_say(cloud: PubSubCloud, text: str, passes: str) -> None:
    topic = cloud.topic("lifecycle")
    name = cloud.subscription("reader", topic, filter=text)
    send(cloud, topic, "a", kind="hr")
    send(cloud, topic, "b", kind="hr", test="1")
    send(cloud, topic, "c", kind="group")
    send(cloud, topic, "d", test="")
    assert "".join(got.message.data.decode() for got in pull(cloud, name)) == passes


@pytest.mark.parametrize(
    "text",
    [
        "bad filter(", "attributes", "attributes.k = v", 'attributes.a = "1" AND attributes.b = "2" OR attributes:c',
        'attributes.k == "v"', "()", "hasPrefix(attributes.k)", '"k" = "v"', 'attributes.k = "v" attributes:x',
        "NOT", "x" * 257, "%", 'attributes.k = "\\UFFFFFFFF"',
    ],
)  # fmt: skip
def test_bad_filters_are_refused(text: str) -> None:
    with pytest.raises(ApiError, match="filter"):
        message_filter(text)


# ---- pull


def test_pull_ack_and_nack(cloud: PubSubCloud) -> None:
    topic = cloud.topic("lifecycle")
    name = cloud.subscription("reader", topic)
    ids = send(cloud, topic, "one", "two", kind="hr")
    first, second = pull(cloud, name)
    assert [first.message.message_id, second.message.message_id] == ids
    assert first.message.publish_time.year == 2026
    assert first.delivery_attempt == 0
    assert pull(cloud, name) == []
    cloud.subscriber.acknowledge(subscription=name, ack_ids=[first.ack_id])
    cloud.subscriber.modify_ack_deadline(subscription=name, ack_ids=[second.ack_id], ack_deadline_seconds=0)
    cloud.until(lambda: len(got := pull(cloud, name)) == 1 and got[0].message.data == b"two")
    assert cloud.backlog(name) == 1
    with pytest.raises(exceptions.InvalidArgument, match="invalid ack ID"):
        cloud.subscriber.acknowledge(subscription=name, ack_ids=["nonsense"])
    with pytest.raises(exceptions.InvalidArgument):
        pull(cloud, name, 0)


@pytest.mark.waits("for a deadline of a real second, the shortest that Pub/Sub takes")
def test_a_late_message_comes_again_after_its_real_deadline(cloud: PubSubCloud) -> None:
    topic = cloud.topic("lifecycle")
    name = cloud.subscription("reader", topic)
    send(cloud, topic, "one")
    (got,) = pull(cloud, name)
    cloud.subscriber.modify_ack_deadline(subscription=name, ack_ids=[got.ack_id], ack_deadline_seconds=1)
    cloud.until(lambda: bool(pull(cloud, name)), seconds=5)


def test_a_waiting_pull_is_woken_by_a_message(cloud: PubSubCloud) -> None:
    topic = cloud.topic("lifecycle")
    name = cloud.subscription("reader", topic)
    found: list[bytes] = []

    def wait() -> None:
        got = cloud.subscriber.pull(subscription=name, max_messages=1).received_messages
        found.extend(one.message.data for one in got)

    waiting = threading.Thread(target=wait)
    waiting.start()
    send(cloud, topic, "one")
    waiting.join(timeout=10)
    assert found == [b"one"]


def test_a_push_subscription_cannot_be_pulled(cloud: PubSubCloud) -> None:
    topic = cloud.topic("lifecycle")
    name = cloud.subscription("pushed", topic, push_config={"push_endpoint": "http://127.0.0.1:1/"})
    with pytest.raises(exceptions.FailedPrecondition):
        pull(cloud, name)


def test_a_refused_message_takes_later_ones_of_its_key_along(cloud: PubSubCloud) -> None:
    topic = cloud.topic("lifecycle")
    name = cloud.subscription("reader", topic, enable_message_ordering=True)
    body = {"messages": [{"data": base64.b64encode(t).decode(), "orderingKey": "u"} for t in (b"1", b"2", b"3")]}
    assert rest(cloud, "POST", f"{topic}:publish", body).ok
    one, two, _three = pull(cloud, name)
    cloud.subscriber.acknowledge(subscription=name, ack_ids=[two.ack_id])
    cloud.subscriber.modify_ack_deadline(subscription=name, ack_ids=[one.ack_id], ack_deadline_seconds=0)
    found: list[bytes] = []

    def collect() -> bool:
        found.extend(got.message.data for got in pull(cloud, name))
        return len(found) == 3

    cloud.until(collect)
    assert found == [b"1", b"2", b"3"]


def test_streaming_pull_of_the_official_subscriber(cloud: PubSubCloud) -> None:
    topic = cloud.topic("lifecycle")
    name = cloud.subscription("reader", topic)
    found: list[str] = []
    enough = threading.Event()

    def take(message: Any) -> None:
        found.append(message.data.decode())
        if message.data == b"7" and found.count("7") == 1:
            message.nack()
        else:
            message.ack()
        if len(found) == 201:
            enough.set()

    future = cloud.subscriber.subscribe(name, callback=take)
    try:
        for start in (0, 100):
            body = {
                "messages": [{"data": base64.b64encode(str(n).encode()).decode()} for n in range(start, start + 100)]
            }
            assert rest(cloud, "POST", f"{topic}:publish", body).ok
        assert enough.wait(15)
        cloud.until(lambda: cloud.backlog(name) == 0)
    finally:
        future.cancel()
        future.result(timeout=10)
    assert sorted(found, key=int) == sorted([*map(str, range(200)), "7"], key=int)


def test_seek_replays_what_was_retained_and_purges_what_is_old() -> None:
    with pubsub_cloud(VirtualClock(start=START, speed=0)) as cloud:
        topic = cloud.topic("lifecycle")
        name = cloud.subscription("reader", topic, retain_acked_messages=True)
        send(cloud, topic, "old")
        cloud.world.clock.advance(timedelta(minutes=5))
        send(cloud, topic, "new")
        cloud.subscriber.acknowledge(subscription=name, ack_ids=[got.ack_id for got in pull(cloud, name)])
        assert pull(cloud, name) == []
        back = timestamp_pb2.Timestamp()
        back.FromDatetime(START + timedelta(minutes=1))
        cloud.subscriber.seek(request={"subscription": name, "time": back})
        assert [got.message.data for got in pull(cloud, name)] == [b"new"]
        cloud.world.clock.advance(timedelta(minutes=5))
        back.FromDatetime(cloud.world.clock.now())
        cloud.subscriber.seek(request={"subscription": name, "time": back})
        assert pull(cloud, name) == []


def test_what_is_older_than_the_retention_is_gone() -> None:
    with pubsub_cloud(VirtualClock(start=START, speed=0)) as cloud:
        topic = cloud.topic("lifecycle")
        name = cloud.subscription("reader", topic, message_retention_duration=timedelta(hours=1))
        send(cloud, topic, "old")
        cloud.world.clock.advance(timedelta(minutes=61))
        cloud.until(lambda: cloud.backlog(name) == 0)


def test_snapshots_are_not_served(cloud: PubSubCloud) -> None:
    assert rest(cloud, "GET", f"{PROJECT}/snapshots").status_code == 404
    with pytest.raises(exceptions.MethodNotImplemented):
        cloud.subscriber.create_snapshot(
            name=f"{PROJECT}/snapshots/snap", subscription=f"{PROJECT}/subscriptions/reader"
        )


# ---- the rest


def test_iam_policies_have_etags(cloud: PubSubCloud) -> None:
    topic = cloud.topic("lifecycle")
    empty = cloud.publisher.get_iam_policy(request={"resource": topic})
    binding = policy_pb2.Binding(role="roles/pubsub.publisher", members=["user:a@example.com"])
    changed = policy_pb2.Policy(bindings=[binding], etag=empty.etag)
    kept = cloud.publisher.set_iam_policy(request={"resource": topic, "policy": changed})
    assert list(kept.bindings) == [binding]
    assert kept.etag != empty.etag
    with pytest.raises(exceptions.Aborted):
        cloud.publisher.set_iam_policy(request={"resource": topic, "policy": changed})
    assert rest(cloud, "GET", f"{topic}:getIamPolicy?options.requestedPolicyVersion=3").json()["bindings"]


def test_a_saved_world_delivers_what_was_not_acknowledged() -> None:
    with pubsub_cloud() as cloud:
        topic = cloud.topic("lifecycle")
        dead = cloud.topic("dead")
        policy = {"dead_letter_topic": dead, "max_delivery_attempts": 5}
        name = cloud.subscription("reader", topic, filter="attributes:kind", dead_letter_policy=policy)
        send(cloud, topic, "done", "open", kind="hr")
        done, _open = pull(cloud, name)
        cloud.subscriber.acknowledge(subscription=name, ack_ids=[done.ack_id])
        state = json.loads(json.dumps(cloud.world.save()))
    with pubsub_cloud(state=state) as cloud:
        send(cloud, topic, "filtered")
        later = send(cloud, topic, "new", kind="hr")
        got = pull(cloud, name)
        assert [(one.message.data, one.delivery_attempt) for one in got] == [(b"open", 2), (b"new", 1)]
        assert int(later[0]) > int(got[0].message.message_id)


def test_calls_are_journalled_with_resource_and_outcome(cloud: PubSubCloud) -> None:
    topic = cloud.topic("lifecycle")
    rest(cloud, "PUT", topic)
    rows = [
        (row["service"], row["method"], row["resource"], row["status"], row["mutates"])
        for row in cloud.world.journal.listing(mutating_only=False)
    ]
    assert rows == [("pubsub", "CreateTopic", topic, 200, True), ("pubsub", "CreateTopic", topic, 409, True)]


@pytest.mark.gcloud
@pytest.mark.slow
def test_gcloud_publishes_and_pulls(cloud: PubSubCloud, tmp_path: Path) -> None:
    def gcloud(*arguments: str) -> Any:
        environment = {
            **os.environ,  # noqa: TID251 - gcloud needs PATH and HOME
            "CLOUDSDK_CONFIG": str(tmp_path),
            "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
            "CLOUDSDK_CORE_PROJECT": "benchkeeper-local",
            "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
            "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
            "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "true",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB": f"{cloud.url}/",
        }
        done = subprocess.run(
            ["gcloud", "pubsub", *arguments, "--format=json"],
            env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    gcloud("topics", "create", "lifecycle", "--labels=app=benchkeeper")
    gcloud(
        "subscriptions", "create", "reader", "--topic=lifecycle", "--ack-deadline=30", "--expiration-period=never",
        "--min-retry-delay=10s", "--max-retry-delay=600s", '--message-filter=attributes.kind = "hr"',
    )  # fmt: skip
    gcloud("topics", "publish", "lifecycle", "--message=hello", "--attribute=kind=hr")
    (got,) = gcloud("subscriptions", "pull", "reader", "--auto-ack")
    assert base64.b64decode(got["message"]["data"]) == b"hello"
    made = cloud.subscriber.get_subscription(subscription=f"{PROJECT}/subscriptions/reader")
    assert (made.ack_deadline_seconds, made.filter) == (30, 'attributes.kind = "hr"')
    assert cloud.backlog(made.name) == 0
