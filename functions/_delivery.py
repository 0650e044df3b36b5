"""The one place that turns a CloudEvent into a message, and an error into ack or nack.

Every entry point but `hub` handles its event inside `handling`. A cloud_event function can ack its message only by returning,
and nack its message only by raising an exception. A message that can never succeed (`PoisonError`) is published to the
dead-letter topic with its reason, and acked. Any other error, and a failed publish, nacks the message, so that Pub/Sub
delivers the message again.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import flask
from cloudevents.http import CloudEvent
from msgspec import Struct, field

from shared import telemetry
from shared.domain.fleet.roster import RosterKind
from shared.domain.people.sources import Source, source_of_topic
from shared.domain.things.errors import (
    BenchkeeperError,
    InvalidMessageError,
    PoisonError,
    Reason,
    RetryableError,
    RosterTellsError,
)
from shared.domain.things.sweep import Sweep
from shared.domain.things.times import parse_time, rfc3339
from shared.engine.ports.deps import Deps
from shared.messages.message import PART_OF, PART_PUBLISHED, Message, Rules
from shared.settings import Settings
from shared.wiring import piece_of_work, process_deps


class UnknownTopicError(RetryableError):
    """The error of a message on a topic that belongs to no source."""

    reason = Reason.UNKNOWN_TOPIC


class Delivery(Struct):
    """A delivery: one message arriving at a function, with the settings and ports that the function uses.

    `known` is the part of the message that is decoded so far: the whole message once `message` was read. `component` is the
    function's name. `subscription` is "" and `attempt` 0 if the event does not state them. `facts` are added to the
    delivery's one log line.
    """

    event: CloudEvent
    known: Message
    component: str
    subscription: str
    attempt: int
    settings: Settings
    deps: Deps
    facts: dict[str, Any] = field(default_factory=dict)
    _is_read: bool = False

    @property
    def topic(self) -> str:
        """Return the full name of the message's topic, from the CloudEvent's source; "" if the source names no topic."""
        name = str(self.event.get("source") or "").removeprefix("//pubsub.googleapis.com/")
        return name if "/topics/" in name else ""

    @property
    def rules(self) -> Rules:
        """Return the rules for parsing the message, with its source from the policy in force.

        Raise `UnknownTopicError` if no source has the topic. The message is then nacked, so it is delivered again until a
        deployment adds the topic.
        """
        policy = self.deps.policy
        source = source_of_topic(self.topic, policy.sources.values()) if self.topic else None
        if source is None:
            raise UnknownTopicError(
                user_message="The message arrived on a topic that config/sources.yaml does not list. Deploy the configuration that lists it.",
                detail=f"unknown topic {self.topic[:200] or str(self.event.get('source'))[:200]!r}",
            )
        until = self.settings.move_logs_until
        return Rules(
            source=source,
            people=policy.people,
            max_bytes=self.settings.max_message_bytes,
            moves_logs=until is not None and self.deps.clock.now() < until,
        )

    def relay_part(self, source: Source, body: bytes, number: int) -> None:
        """Publish a part of a batch as a message of its own, on the same topic."""
        message = self.message
        attributes = {
            **message.attributes,
            PART_OF: f"{message.origin_id}/{number}",
            PART_PUBLISHED: rfc3339(message.first_published),
        }
        self.deps.relay(source.topic, body, attributes)

    def dead_letter(self, error: BenchkeeperError, body: bytes, part: str) -> None:
        """Publish an unusable part of the message as a dead letter of its own.

        For a `RosterTellsError`, request a roster sweep instead, if the roster of groups is switched on.
        """
        message = self.message
        alone = Message(
            data=body,
            attributes=message.attributes,
            message_id=f"{message.message_id}.{part}",
            publish_time=message.publish_time,
        )
        _publish_letter(error, alone, self)

    @property
    def reads_groups(self) -> bool:
        """Return True if the settings switch on the roster of groups."""
        return any(source.kind is RosterKind.GROUPS for source in self.deps.roster_sources)

    def ask_for_roster(self) -> None:
        """Publish a tick that requests a roster sweep now, before the next hourly tick."""
        self.deps.relay(self.settings.topic_tick, json.dumps({"sweep": Sweep.ROSTER.value}).encode(), {})
        self.facts["asked_for"] = Sweep.ROSTER.value

    @property
    def message(self) -> Message:
        """Return the Pub/Sub message, decoded on first use, so that `handling` handles an error of decoding."""
        if not self._is_read:
            self.known = _decode(self.event, self.deps)
            self._is_read = True
        return self.known


@contextmanager
def handling(event: CloudEvent, component: str) -> Iterator[Delivery]:
    """Yield the delivery of an event, turn an error of the `with` block into a dead letter or a nack, and log one line.

    A `PoisonError` is not raised again: the message is acked, unless the dead letter cannot be published. For a
    `RosterTellsError`, a roster sweep is requested instead of a dead letter, if the roster of groups is switched on. Every
    other exception is raised again, which nacks the message.
    """
    settings, deps = process_deps(component)
    started = deps.clock.monotonic_s()
    header = flask.request.headers.get("traceparent") or flask.request.headers.get("X-Cloud-Trace-Context")
    delivery = Delivery(
        event=event,
        known=_bare_message(event, deps),
        component=component,
        subscription=_subscription(event),
        attempt=_attempt(event),
        settings=settings,
        deps=deps,
    )
    outcome, reason = "ack", ""
    with piece_of_work(deps), telemetry.trace(header, settings.project):
        try:
            yield delivery
        except PoisonError as error:
            outcome, reason = "dead-letter", error.reason.value
            if isinstance(error, RosterTellsError) and delivery.reads_groups:
                outcome = "ack"
            try:
                _dead_letter(error, delivery)
            except BaseException:
                outcome = "nack"
                raise
        except UnknownTopicError as error:
            outcome, reason = "nack", error.reason.value
            deps.log.error("Received a message on an unknown topic", detail=error.detail)
            raise
        except BenchkeeperError as error:
            outcome, reason = "nack", error.reason.value
            delivery.facts["detail"] = error.detail
            raise
        except Exception as error:
            outcome, reason = "nack", "Unexpected"
            delivery.facts["detail"] = f"{type(error).__name__}: {error}"
            raise
        finally:
            tell = deps.log.info if outcome == "ack" else deps.log.warning
            tell(
                "Handled a delivery",
                outcome=outcome,
                reason=reason,
                message_id=delivery.known.message_id,
                attempt=delivery.attempt,
                duration_ms=round((deps.clock.monotonic_s() - started) * 1000, 1),
                **delivery.facts,
            )


def _dead_letter(error: BenchkeeperError, delivery: Delivery) -> None:
    delivery.facts["detail"] = error.detail
    _publish_letter(error, delivery.known, delivery)


def _publish_letter(error: BenchkeeperError, message: Message, delivery: Delivery) -> None:
    from shared.engine.news.dead_letters import attributes_for  # noqa: PLC0415 - a usual delivery has no use for it

    if isinstance(error, RosterTellsError) and delivery.reads_groups:
        delivery.ask_for_roster()
        return
    if error.reason is Reason.LEAVER_NOT_UNDERSTOOD:
        delivery.deps.log.error(
            "Message about a leaver was not understood", message_id=message.message_id, detail=error.detail
        )
    delivery.deps.dead_letters.publish(
        body=message.data[: delivery.settings.max_message_bytes],
        attributes=attributes_for(
            error,
            message_id=message.message_id,
            sent_at=message.publish_time,
            size=len(message.data),
            function=delivery.component,
            subscription=delivery.subscription,
            others=message.attributes,
            topic=delivery.topic.rpartition("/")[2],
        ),
    )


def _envelope(event: CloudEvent) -> Mapping[str, Any]:
    """Return the Pub/Sub envelope in the event's data; an empty mapping if the data is not a mapping.

    Broken JSON in a binary CloudEvent arrives as bytes, and an event of another sender may have any data.
    """
    data = event.get_data()
    return data if isinstance(data, Mapping) else {}


def _subscription(event: CloudEvent) -> str:
    return str(_envelope(event).get("subscription", ""))


def _attempt(event: CloudEvent) -> int:
    raw = _envelope(event).get("deliveryAttempt")
    return raw if isinstance(raw, int) else 0


def _bare_message(event: CloudEvent, deps: Deps) -> Message:
    """Return the message with undecoded data, which suffices for the log line and a dead letter."""
    data = event.get_data()
    raw = data if isinstance(data, bytes) else json.dumps(data, default=str).encode()
    return Message(data=raw, attributes={}, message_id=str(event["id"]), publish_time=_event_time(event, deps))


def _event_time(event: CloudEvent, deps: Deps) -> datetime:
    """Return the event's time, or the present time if the event states no time.

    The event's time is the same at each delivery. That matters because id and time identify a dead letter.
    """
    try:
        return parse_time(str(event.get("time")))
    except ValueError:
        return deps.clock.now()


def _decode(event: CloudEvent, deps: Deps) -> Message:
    message = _envelope(event).get("message")
    if not isinstance(message, Mapping):
        raise InvalidMessageError(
            user_message="The delivery carries no Pub/Sub message.", detail="event data without a message object"
        )
    attributes = message.get("attributes")
    try:
        data = base64.b64decode(str(message.get("data") or ""), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidMessageError(
            user_message="The Pub/Sub message's data is not base64.", detail=f"data is not base64: {error}"
        ) from error
    return Message(
        data=data,
        attributes={str(k): str(v) for k, v in attributes.items()} if isinstance(attributes, Mapping) else {},
        message_id=str(message.get("messageId") or event["id"]),
        publish_time=_publish_time(message, deps),
    )


def _publish_time(message: Mapping[str, Any], deps: Deps) -> datetime:
    raw = message.get("publishTime") or message.get("publish_time")
    try:
        return parse_time(str(raw))
    except ValueError:
        return deps.clock.now()
