"""The model of Pub/Sub: topics, subscriptions, publishing, and the state of every delivery. `wire` and the push workers call it.

All code here runs under the world's lock. Settings are stored in the API's JSON form (`pubsub_config`), messages in
`pubsub_queue.Backlog`s. Not served: snapshots, schemas, exactly-once delivery, BigQuery and Cloud Storage
subscriptions. An expiration policy is stored but never enforced, so that no subscription is deleted when the clock is
moved by months.
"""

from __future__ import annotations

import base64
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emulator.clock import real_now
from emulator.errors import ApiError
from emulator.model import pubsub_names as names
from emulator.model.filters import Predicate, message_filter
from emulator.model.pubsub_config import Config, merged, rules_of, subscription_config, topic_config
from emulator.model.pubsub_limits import Draft, check_drafts, checked_ack_ids
from emulator.model.pubsub_names import already_exists, check_name, not_found, refuse
from emulator.model.pubsub_queue import Backlog, Entry, Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from emulator.world import World

_FIRST_ID = 10_000_000_000_000_000
_MAX_EXTENSION_S = 600


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery of a message to a subscriber. `attempt` is 0 if the subscription has no dead-letter policy."""

    subscription: str
    ack_id: str
    message: Message
    attempt: int


@dataclass(slots=True)
class Topic:
    """A topic's settings and IAM policy."""

    config: Config
    policy: Config = field(default_factory=dict)


@dataclass(slots=True)
class Subscription:
    """A subscription's settings, IAM policy and backlog. `accepts` is the predicate of its filter on a message's attributes."""

    config: Config
    backlog: Backlog
    accepts: Predicate
    policy: Config = field(default_factory=dict)

    @property
    def pushes(self) -> bool:
        """Return True if messages are pushed to an endpoint."""
        return bool(self.config["pushConfig"].get("pushEndpoint"))


class PubSubModel:
    """The model of all topics and subscriptions.

    When a message may have become deliverable, `changed` (a condition on the world's lock, for waiting pulls) is
    notified and `on_change` is called, under the lock.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.topics: dict[str, Topic] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self.changed = threading.Condition(world.lock)
        self.on_change: Callable[[], None] = lambda: None
        self._last_id = _FIRST_ID

    # ---- topics

    def create_topic(self, config: Config) -> Config:
        """Return a new topic; raise 409 if the name is taken."""
        kept = topic_config(config)
        if kept["name"] in self.topics:
            raise already_exists(kept["name"])
        self.topics[kept["name"]] = Topic(kept)
        return kept

    def topic(self, name: str) -> Topic:
        """Return the topic, or raise 404."""
        if name not in self.topics:
            check_name(name, "topics")
            raise not_found(name)
        return self.topics[name]

    def update_topic(self, config: Config, paths: list[str]) -> Config:
        """Update the topic's fields that the mask `paths` names, and return its configuration."""
        topic = self.topic(config.get("name", ""))
        topic.config = topic_config(merged("Topic", topic.config, config, paths))
        return topic.config

    def delete_topic(self, name: str) -> None:
        """Remove the topic. Its subscriptions remain, now with the topic `_deleted-topic_`, and can still be read."""
        self.topic(name)
        del self.topics[name]
        for subscription in self._of_topic(name):
            subscription.config = {**subscription.config, "topic": names.DELETED_TOPIC}

    def _of_topic(self, name: str) -> list[Subscription]:
        return [sub for sub in self.subscriptions.values() if sub.config["topic"] == name]

    # ---- publish

    def publish(self, topic: str, drafts: list[Draft]) -> list[str]:
        """Accept all messages or none, and return their ids. Each subscription gets the messages that pass its filter."""
        self.topic(topic)
        check_drafts(drafts)
        ids = self._accept(topic, drafts)
        self._announce()
        return ids

    def _accept(self, topic: str, drafts: list[Draft]) -> list[str]:
        now = self.world.clock.now()
        stamped = now.replace(microsecond=now.microsecond // 1000 * 1000)
        messages: list[Message] = []
        for draft in drafts:
            self._last_id += 1
            messages.append(Message(str(self._last_id), draft.data, draft.attributes, draft.ordering_key, stamped))
        for subscription in self._of_topic(topic):
            for message in messages:
                if subscription.accepts(message.attributes):
                    subscription.backlog.add(message)
        return [message.id for message in messages]

    def _announce(self) -> None:
        self.changed.notify_all()
        self.on_change()

    # ---- subscriptions

    def create_subscription(self, config: Config) -> Config:
        """Return a new subscription; raise 404 without its topic or dead-letter topic, 409 if the name is taken."""
        for output_only in ("detached", "state", "topicMessageRetentionDuration"):
            config.pop(output_only, None)
        kept = subscription_config(config)
        accepts = message_filter(kept.get("filter", ""))
        if kept["name"] in self.subscriptions:
            raise already_exists(kept["name"])
        self.topic(kept.get("topic", ""))
        self._check_dead_letter_topic(kept)
        self.subscriptions[kept["name"]] = Subscription(kept, Backlog(kept["name"], rules_of(kept)), accepts)
        return kept

    def _check_dead_letter_topic(self, config: Config) -> None:
        if "deadLetterPolicy" in config:
            self.topic(config["deadLetterPolicy"]["deadLetterTopic"])

    def subscription(self, name: str) -> Subscription:
        """Return the subscription, or raise 404."""
        if name not in self.subscriptions:
            check_name(name, "subscriptions")
            raise not_found(name)
        return self.subscriptions[name]

    def update_subscription(self, config: Config, paths: list[str]) -> Config:
        """Update the subscription's fields that the mask `paths` names, and return its configuration."""
        subscription = self.subscription(config.get("name", ""))
        kept = subscription_config(merged("Subscription", subscription.config, config, paths))
        self._check_dead_letter_topic(kept)
        subscription.config = kept
        subscription.backlog.rules = rules_of(kept)
        self._announce()
        return kept

    def delete_subscription(self, name: str) -> None:
        """Remove the subscription and its backlog."""
        self.subscription(name)
        del self.subscriptions[name]
        self._announce()

    def seek(self, name: str, moment: datetime) -> None:
        """Acknowledge all messages published before `moment`, and redeliver those retained since."""
        self.subscription(name).backlog.seek(moment)
        self._announce()

    # ---- delivery

    def pullable(self, name: str) -> Subscription:
        """Return the subscription; raise FAILED_PRECONDITION if it is a push subscription."""
        subscription = self.subscription(name)
        if subscription.pushes:
            raise ApiError("FAILED_PRECONDITION", "This method is not supported for this subscription type.")
        return subscription

    def lease(
        self, name: str, *, limit: int, ack_deadline_s: float | None = None, per_key: int | None = None
    ) -> list[Delivery]:
        """Return up to `limit` messages, leased until their (real) ack deadline. Expired leases are ended first."""
        subscription = self.subscription(name)
        self._take_back(subscription)
        seconds = subscription.config["ackDeadlineSeconds"] if ack_deadline_s is None else ack_deadline_s
        backlog = subscription.backlog
        taken = backlog.lease(self.world.clock.now(), limit=limit, deadline=real_now() + seconds, per_key=per_key)
        counted = backlog.rules.max_attempts > 0
        return [Delivery(name, entry.ack_id, entry.message, entry.attempts if counted else 0) for entry in taken]

    def acknowledge(self, name: str, ack_ids: Iterable[str]) -> None:
        """Acknowledge messages. Like the service, ignore an id whose lease is over. Raise 400 for an invalid id."""
        subscription = self.subscription(name)
        self._take_back(subscription)
        for ack_id in checked_ack_ids(ack_ids):
            subscription.backlog.ack(ack_id)
        self._announce()

    def modify_ack_deadline(self, name: str, ack_ids: Iterable[str], seconds: int) -> None:
        """Set the leases' ends to `seconds` from now (real time).

        With 0 the leases end, and the messages are redelivered.
        """
        if not 0 <= seconds <= _MAX_EXTENSION_S:
            refuse(f"Invalid ack deadline given (ack_deadline_secs={seconds}).")
        subscription = self.subscription(name)
        self._take_back(subscription)
        backlog = subscription.backlog
        for ack_id in checked_ack_ids(ack_ids):
            entry = backlog.leased(ack_id)
            if entry is None:
                continue
            if seconds:
                backlog.extend(ack_id, real_now() + seconds)
            else:
                self._nack(subscription, entry)
        self._announce()

    def settle(self, delivery: Delivery, *, acked: bool) -> None:
        """Apply the response to a push. Do nothing if the subscription is gone or the lease is over."""
        subscription = self.subscriptions.get(delivery.subscription)
        if subscription is None:
            return
        entry = subscription.backlog.leased(delivery.ack_id)
        if entry is None:
            return
        if acked:
            subscription.backlog.ack(delivery.ack_id)
        else:
            self._nack(subscription, entry)
        self._announce()

    def take_back_late(self) -> None:
        """End the leases whose ack deadline has passed, and discard messages past the retention.

        A message of a push subscription that was never delivered is not discarded.
        """
        now = self.world.clock.now()
        for subscription in list(self.subscriptions.values()):
            if self._take_back(subscription) or subscription.backlog.wake(now):
                self._announce()
            # A push that was never tried before the clock was moved by months does not count as old.
            subscription.backlog.discard_old(now, untried_too=not subscription.pushes)

    def _take_back(self, subscription: Subscription) -> bool:
        late = subscription.backlog.overdue(real_now())
        for entry in late:
            if entry.ack_id:  # an earlier message of its ordering key may have ended this lease too
                self._nack(subscription, entry)
        return bool(late)

    def _nack(self, subscription: Subscription, entry: Entry) -> None:
        backlog = subscription.backlog
        target = subscription.config.get("deadLetterPolicy", {}).get("deadLetterTopic", "")
        if not backlog.exhausted(entry) or target not in self.topics:
            backlog.nack(entry, self.world.clock.now())
            return
        backlog.drop(entry)
        name = subscription.config["name"]
        message = entry.message
        origin = {
            "CloudPubSubDeadLetterSourceDeliveryCount": str(entry.attempts),
            "CloudPubSubDeadLetterSourceSubscription": names.short(name),
            "CloudPubSubDeadLetterSourceSubscriptionProject": names.project_of(name),
            "CloudPubSubDeadLetterSourceTopicPublishTime": names.milliseconds(message.publish_time),
        }
        # Not `publish`: Google adds its four attributes even if a publisher would exceed the limit with them.
        self._accept(target, [Draft(message.data, {**message.attributes, **origin}, message.ordering_key)])

    def next_retry(self) -> datetime | None:
        """Return the virtual time at which the next message of any subscription becomes ready; None if none waits."""
        moments = [sub.backlog.next_retry() for sub in self.subscriptions.values()]
        return min((moment for moment in moments if moment is not None), default=None)

    def next_deadline(self) -> float | None:
        """Return the real time at which the next lease of any subscription may end; None if there is no lease."""
        moments = [sub.backlog.next_deadline() for sub in self.subscriptions.values()]
        return min((moment for moment in moments if moment is not None), default=None)

    # ---- policies

    def holder(self, name: str) -> Topic | Subscription:
        """Return the topic or subscription of that name, to read or set its IAM policy."""
        return self.subscription(name) if "/subscriptions/" in name else self.topic(name)

    def set_policy(self, name: str, policy: Config) -> Config:
        """Replace the IAM policy; raise 409 if `policy` has an etag that is not the present one."""
        holder = self.holder(name)
        given = policy.get("etag")
        if given and given != self.policy(name)["etag"]:
            raise ApiError("ABORTED", "There were concurrent policy changes. Please retry the whole read-modify-write with exponential backoff.")  # fmt: skip
        number = int.from_bytes(base64.b64decode(self.policy(name)["etag"])) + 1
        etag = base64.b64encode(number.to_bytes(8)).decode()
        holder.policy = {**policy, "version": policy.get("version", 1) or 1, "etag": etag}
        return holder.policy

    def policy(self, name: str) -> Config:
        """Return the IAM policy; an empty policy with an etag if none was set."""
        return self.holder(name).policy or {"version": 1, "etag": base64.b64encode((0).to_bytes(8)).decode()}

    # ---- persistence

    def dump(self) -> Any:
        """Return the state as JSON-able data, including unacknowledged messages with their attempts."""
        return {
            "last_id": self._last_id,
            "topics": [{"config": t.config, "policy": t.policy} for t in self.topics.values()],
            "subscriptions": [
                {"config": s.config, "policy": s.policy, "backlog": s.backlog.dump()}
                for s in self.subscriptions.values()
            ],
        }

    def load(self, state: Any) -> None:
        """Restore the state from a result of `dump`. Leases are over, so leased messages are delivered again."""
        self._last_id = state["last_id"]
        self.topics = {raw["config"]["name"]: Topic(raw["config"], raw["policy"]) for raw in state["topics"]}
        self.subscriptions = {}
        for raw in state["subscriptions"]:
            config = raw["config"]
            backlog = Backlog(config["name"], rules_of(config))
            backlog.load(raw["backlog"])
            accepts = message_filter(config.get("filter", ""))
            self.subscriptions[config["name"]] = Subscription(config, backlog, accepts, raw["policy"])
        self._announce()
