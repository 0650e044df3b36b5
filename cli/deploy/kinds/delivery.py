"""The delivery of messages to a function, by the subscription that Eventarc makes for its trigger.

The subscription's settings are corrected afterwards (docs/adr/0008).

As Eventarc makes it, the subscription has no dead-letter topic and drops messages after a day.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cli.deploy.failures import DeployError, NotThereError
from cli.deploy.gcloud import Call, Command
from cli.deploy.kinds.access import has
from cli.deploy.kinds.messaging import seconds
from cli.deploy.models import DeliveryModel, Heard
from cli.deploy.step import Mark, Step, differs, same
from cli.deploy.target import Target

_EVENTARC, _PUBSUB = "eventarc.googleapis.com", "pubsub.googleapis.com"
_SUBSCRIBER = "roles/pubsub.subscriber"


def step(target: Target, name: str, wanted: Heard, found: Mapping[str, Any] | None) -> Step:
    """Return the step for the subscription behind a function.

    `found` is the function, None if it does not exist yet. If the subscription is gone or reads a deleted topic, the step
    only says what to do.
    """
    key, needs = f"delivery {name}", (f"function {name}", "access")
    subscription = subscription_behind(target, found) if found is not None else None
    if subscription is None:
        because = _in_words(wanted.delivery)
        return Step(
            key=key, mark=Mark.CREATE, because=because, work=[lambda: missing(target, name, wanted)], needs=needs
        )
    listed = target.read(_PUBSUB, "pubsub", "subscriptions", "list", otherwise=[])
    seen = next((each for each in listed if each["name"].endswith(f"/{subscription}")), None)
    again = f"delete function {name}, run this again"
    if seen is None:
        return Step(
            key=key, mark=Mark.KEEP, because=f"its subscription was deleted, so the function gets no messages: {again}"
        )
    if seen.get("topic") != target.topic(wanted.topic):
        # Its remaining messages are delivered; we must not discard them.
        because = f"its topic was deleted and created again, and this subscription gets nothing from the new one: once it is empty {again}"
        return Step(key=key, mark=Mark.KEEP, because=because)
    policy: Mapping[str, Any] = {}
    if wanted.delivery.dead_letter_topic:
        policy = target.read(_PUBSUB, "pubsub", "subscriptions", "get-iam-policy", subscription, otherwise={})
    why = _differences(target, wanted.delivery, seen, policy)
    if not why:
        return same(key)
    return Step(
        key=key, mark=Mark.CHANGE, because=", ".join(why), work=[lambda: missing(target, name, wanted)], needs=needs
    )


def subscription_behind(target: Target, function: Mapping[str, Any]) -> str | None:
    """Return the id of the subscription behind a function's trigger, as it was when the plan was made.

    Return None if there was no trigger, or no subscription behind it.
    """
    listed = target.read(_EVENTARC, "eventarc", "triggers", "list", f"--location={target.region}", otherwise=[])
    return _subscription(function, listed)


def missing(target: Target, name: str, wanted: Heard) -> list[Command | Call]:
    """Return the commands that correct the subscription.

    The subscription is read again, because a redeployment may have made a new one. Raise `DeployError` if the function
    has no trigger or the subscription is gone.
    """
    function = target.gcloud.read("functions", "describe", name, "--v2", f"--region={target.region}")
    triggers = target.gcloud.read("eventarc", "triggers", "list", f"--location={target.region}") or []
    subscription = _subscription(function, triggers)
    if subscription is None:
        raise DeployError(f"Function {name} has no trigger.", "Run this again, which deploys the function again.")
    try:
        seen = target.gcloud.read("pubsub", "subscriptions", "describe", subscription)
        policy = target.gcloud.read("pubsub", "subscriptions", "get-iam-policy", subscription) or {}
    except NotThereError as error:
        remedy = f"Delete it (gcloud functions delete {name} --gen2 --region={target.region}) and run this again."
        raise DeployError(f"The subscription of function {name} is gone.", remedy, said=error.said) from error
    work: list[Command | Call] = []
    if _differences(target, wanted.delivery, seen, None):
        work.append(_update(subscription, wanted.delivery))
    if wanted.delivery.dead_letter_topic and not _may_forward(target, policy):
        member = f"--member={_forwarder(target)}"
        work.append(
            ("pubsub", "subscriptions", "add-iam-policy-binding", subscription, member, f"--role={_SUBSCRIBER}")
        )
    return work


def _subscription(function: Mapping[str, Any], triggers: Sequence[Mapping[str, Any]]) -> str | None:
    trigger = function.get("eventTrigger", {}).get("trigger", "")
    for each in triggers:
        if each["name"] == trigger:
            subscription = str(each.get("transport", {}).get("pubsub", {}).get("subscription", ""))
            return subscription.rsplit("/", 1)[-1] or None
    return None


def _update(subscription: str, wanted: DeliveryModel) -> tuple[str, ...]:
    words: tuple[str, ...] = ("--clear-dead-letter-policy",)
    if wanted.dead_letter_topic is not None:
        words = (
            f"--dead-letter-topic={wanted.dead_letter_topic}",
            f"--max-delivery-attempts={wanted.max_delivery_attempts}",
        )
    return (
        "pubsub", "subscriptions", "update", subscription, f"--ack-deadline={int(wanted.ack_deadline.total_seconds())}",
        f"--min-retry-delay={seconds(wanted.min_backoff)}", f"--max-retry-delay={seconds(wanted.max_backoff)}",
        f"--message-retention-duration={seconds(wanted.retention)}", "--expiration-period=never", *words,
    )  # fmt: skip


def _differences(
    target: Target, wanted: DeliveryModel, seen: Mapping[str, Any], policy: Mapping[str, Any] | None
) -> list[str]:
    """Return the differences in words. With `policy` None, the permission to forward dead letters is not compared."""
    retry, dead = seen.get("retryPolicy", {}), seen.get("deadLetterPolicy", {})
    topic = target.topic(wanted.dead_letter_topic) if wanted.dead_letter_topic is not None else None
    pairs: Sequence[tuple[str, object, object]] = (
        ("ack deadline", int(wanted.ack_deadline.total_seconds()), seen.get("ackDeadlineSeconds")),
        ("least delay", seconds(wanted.min_backoff), retry.get("minimumBackoff")),
        ("most delay", seconds(wanted.max_backoff), retry.get("maximumBackoff")),
        ("retention", seconds(wanted.retention), seen.get("messageRetentionDuration")),
        ("dead letter", topic, dead.get("deadLetterTopic")),
        ("attempts", wanted.max_delivery_attempts, dead.get("maxDeliveryAttempts")),
        ("expires after", None, seen.get("expirationPolicy", {"ttl": "2678400s"}).get("ttl")),
    )
    why = [f"{what} {differs(needs, has_)}" for what, needs, has_ in pairs if needs != has_]
    if policy is not None and wanted.dead_letter_topic is not None and not _may_forward(target, policy):
        why.append("Pub/Sub may not forward from it")
    return why


def _may_forward(target: Target, policy: Mapping[str, Any]) -> bool:
    return has(policy, _SUBSCRIBER, _forwarder(target))


def _forwarder(target: Target) -> str:
    return f"serviceAccount:{target.agent('pubsub')}"


def _in_words(wanted: DeliveryModel) -> str:
    if wanted.dead_letter_topic is None:
        return "retried until it is stored"
    return f"dead letter after {wanted.max_delivery_attempts} attempts, never expires"
