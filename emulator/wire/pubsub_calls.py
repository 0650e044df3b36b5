"""The RPCs of Publisher, Subscriber and IAMPolicy as functions from request message to response message."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any

from google.iam.v1 import iam_policy_pb2, policy_pb2
from google.protobuf import empty_pb2, json_format
from google.pubsub_v1.services.publisher.transports.grpc import PublisherGrpcTransport
from google.pubsub_v1.services.publisher.transports.rest_base import _BasePublisherRestTransport
from google.pubsub_v1.services.subscriber.transports.grpc import SubscriberGrpcTransport
from google.pubsub_v1.services.subscriber.transports.rest_base import _BaseSubscriberRestTransport
from google.pubsub_v1.types import pubsub as types

from emulator.clock import real_now
from emulator.model.pages import listed
from emulator.model.pubsub import Delivery, PubSubModel, Subscription, Topic
from emulator.model.pubsub_limits import Draft
from emulator.model.pubsub_names import refuse
from emulator.wire.rpc import Rpc, derive
from emulator.world import CallSpec, World

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from google.protobuf.message import Message as Proto

_PULL_WAIT_S = 3.0
_PULL_LIMIT = 1000
_PAGE = 1000

TopicPb = types.Topic.pb()
SubscriptionPb = types.Subscription.pb()
ReceivedPb = types.ReceivedMessage.pb()
_IAM_REQUESTS = {
    "SetIamPolicy": iam_policy_pb2.SetIamPolicyRequest,
    "GetIamPolicy": iam_policy_pb2.GetIamPolicyRequest,
}
_PERMISSIONS = {
    "CreateTopic": "topics.create", "UpdateTopic": "topics.update", "Publish": "topics.publish",
    "GetTopic": "topics.get", "ListTopics": "topics.list",
    "DeleteTopic": "topics.delete",
    "CreateSubscription": "subscriptions.create", "GetSubscription": "subscriptions.get",
    "UpdateSubscription": "subscriptions.update", "ListSubscriptions": "subscriptions.list",
    "DeleteSubscription": "subscriptions.delete", "ModifyAckDeadline": "subscriptions.consume",
    "Acknowledge": "subscriptions.consume", "Pull": "subscriptions.consume",
    "StreamingPull": "subscriptions.consume", "Seek": "subscriptions.consume",
}  # fmt: skip
_READS = ("Get", "List", "Test")
_RESOURCE_FIELDS = ("name", "topic", "subscription", "project", "resource", "snapshot")


@dataclass(frozen=True, slots=True)
class Served:
    """A served RPC with its message class and function. `StreamingPull` has no function here, because the runtime serves it."""

    rpc: Rpc
    request_class: type[Proto]
    function: Callable[[Any], Proto]
    spec: CallSpec


def served_calls(world: World, model: PubSubModel) -> list[Served]:
    """Return the served unary RPCs of the official clients. Other RPCs get UNIMPLEMENTED over gRPC and 404 over REST."""
    calls = _Calls(world, model)
    found: dict[str, Served] = {}
    publisher = derive(PublisherGrpcTransport, _BasePublisherRestTransport)
    subscriber = derive(SubscriberGrpcTransport, _BaseSubscriberRestTransport)
    for method, rpc in {**publisher, **subscriber}.items():
        function = getattr(calls, _snake(method), None)
        if rpc.kind != "unary_unary" or function is None:
            continue
        request_class = _IAM_REQUESTS[method] if method in _IAM_REQUESTS else rpc.request_type.pb()
        found[method] = Served(rpc, request_class, function, spec_of(method))
    return list(found.values())


def spec_of(method: str) -> CallSpec:
    """Return the description of an RPC for the journal and the faults."""
    permission = f"pubsub.{_PERMISSIONS[method]}" if method in _PERMISSIONS else ""
    mutates = not method.startswith(_READS) and method not in {"Pull", "StreamingPull"}
    return CallSpec("pubsub", method, mutates=mutates, permission=permission)


def resource_of(request: Any) -> str:
    """Return the full name of the request's resource; "" if the request names none."""
    for name in _RESOURCE_FIELDS:
        value = getattr(request, name, "")
        if isinstance(value, str):
            if value:
                return value
        elif value.name:
            return str(value.name)
    return ""


def _snake(method: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", method).lower()


def received(delivery: Delivery) -> Any:
    """Return a `ReceivedMessage` of the delivery."""
    message = delivery.message
    answer = ReceivedPb(ack_id=delivery.ack_id, delivery_attempt=delivery.attempt)
    answer.message.data = message.data
    answer.message.message_id = message.id
    answer.message.ordering_key = message.ordering_key
    answer.message.attributes.update(message.attributes)
    answer.message.publish_time.FromDatetime(message.publish_time)
    return answer


def _config(message: Any) -> dict[str, Any]:
    config: dict[str, Any] = json_format.MessageToDict(message)
    return config


def _page(held: Mapping[str, Topic] | Mapping[str, Subscription], request: Any, kind: str) -> dict[str, Any]:
    """Return the requested page of a project's topics or subscriptions, ordered by name."""
    prefix = f"{request.project}/{kind}/"
    return listed(
        kind,
        [each.config for name, each in held.items() if name.startswith(prefix)],
        size=request.page_size or _PAGE,
        token=request.page_token,
        scope=prefix,
        key=lambda config: str(config["name"]),
    )


class _Calls:
    """The functions, named like the RPCs in snake case. They run under the world's lock."""

    def __init__(self, world: World, model: PubSubModel) -> None:
        self._world = world
        self._model = model

    def create_topic(self, request: Any) -> Proto:
        return self._topic(self._model.create_topic(_config(request)))

    def update_topic(self, request: Any) -> Proto:
        return self._topic(self._model.update_topic(_config(request.topic), list(request.update_mask.paths)))

    def get_topic(self, request: Any) -> Proto:
        return self._topic(self._model.topic(request.topic).config)

    def list_topics(self, request: Any) -> Proto:
        page = _page(self._model.topics, request, "topics")
        topics = map(self._topic, page.get("topics", ()))
        return types.ListTopicsResponse.pb()(topics=topics, next_page_token=page.get("nextPageToken", ""))

    def delete_topic(self, request: Any) -> Proto:
        self._model.delete_topic(request.topic)
        return empty_pb2.Empty()

    def publish(self, request: Any) -> Proto:
        drafts = [Draft(m.data, dict(m.attributes), m.ordering_key) for m in request.messages]
        return types.PublishResponse.pb()(message_ids=self._model.publish(request.topic, drafts))

    def create_subscription(self, request: Any) -> Proto:
        return self._subscription(self._model.create_subscription(_config(request)))

    def get_subscription(self, request: Any) -> Proto:
        return self._subscription(self._model.subscription(request.subscription).config)

    def update_subscription(self, request: Any) -> Proto:
        config = _config(request.subscription)
        return self._subscription(self._model.update_subscription(config, list(request.update_mask.paths)))

    def list_subscriptions(self, request: Any) -> Proto:
        page = _page(self._model.subscriptions, request, "subscriptions")
        found = map(self._subscription, page.get("subscriptions", ()))
        return types.ListSubscriptionsResponse.pb()(subscriptions=found, next_page_token=page.get("nextPageToken", ""))

    def delete_subscription(self, request: Any) -> Proto:
        self._model.delete_subscription(request.subscription)
        return empty_pb2.Empty()

    def pull(self, request: Any) -> Proto:
        if request.max_messages <= 0:
            refuse("The max_messages must be greater than zero.")
        model = self._model
        limit = min(request.max_messages, _PULL_LIMIT)
        until = real_now() + (0 if request.return_immediately else _PULL_WAIT_S)
        model.pullable(request.subscription)
        deliveries = model.lease(request.subscription, limit=limit)
        while not deliveries and (left := until - real_now()) > 0:
            model.changed.wait(left)  # releases the world's lock in the meantime
            model.pullable(request.subscription)
            deliveries = model.lease(request.subscription, limit=limit)
        return types.PullResponse.pb()(received_messages=map(received, deliveries))

    def acknowledge(self, request: Any) -> Proto:
        self._model.acknowledge(request.subscription, request.ack_ids)
        return empty_pb2.Empty()

    def modify_ack_deadline(self, request: Any) -> Proto:
        self._model.modify_ack_deadline(request.subscription, request.ack_ids, request.ack_deadline_seconds)
        return empty_pb2.Empty()

    def seek(self, request: Any) -> Proto:
        if request.WhichOneof("target") != "time":
            refuse("The seek request must have a time: there are no snapshots here.")
        self._model.seek(request.subscription, request.time.ToDatetime(tzinfo=UTC))
        return types.SeekResponse.pb()()

    def set_iam_policy(self, request: Any) -> Proto:
        return self._policy(self._model.set_policy(request.resource, _config(request.policy)))

    def get_iam_policy(self, request: Any) -> Proto:
        return self._policy(self._model.policy(request.resource))

    def _topic(self, config: dict[str, Any]) -> Any:
        return json_format.ParseDict(config, TopicPb())

    def _subscription(self, config: dict[str, Any]) -> Any:
        return json_format.ParseDict(config, SubscriptionPb())

    def _policy(self, policy: dict[str, Any]) -> Any:
        return json_format.ParseDict(policy, policy_pb2.Policy())
