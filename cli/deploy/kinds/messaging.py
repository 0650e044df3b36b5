"""The topics, the subscriptions that belong to no function, and the scheduled messages."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from cli.deploy.models import JobModel, SubscriptionModel
from cli.deploy.step import Mark, Step, differs, same
from cli.deploy.target import BENCHKEEPER, OURS, Target

_PUBSUB = "pubsub.googleapis.com"
_SCHEDULER = "cloudscheduler.googleapis.com"
_LABEL = f"{OURS}={BENCHKEEPER}"


def seconds(value: timedelta) -> str:
    """Return a duration as the APIs write it: `600s`."""
    return f"{int(value.total_seconds())}s"


def topics(target: Target) -> Iterator[Step]:
    """Yield a step for each topic."""
    seen = {_last(each["name"]): each for each in target.read(_PUBSUB, "pubsub", "topics", "list", otherwise=[])}
    for name, wanted in target.deployment.wanted(target.deployment.topics).items():
        key, keeps = f"topic {name}", f"--message-retention-duration={seconds(wanted.retention)}"
        found = seen.get(name)
        if found is None:
            work = [("pubsub", "topics", "create", name, keeps, f"--labels={_LABEL}")]
            yield Step(key=key, mark=Mark.CREATE, because=f"keeps messages {_words(wanted.retention)}", work=work)
            continue
        why = []
        if found.get("messageRetentionDuration") != seconds(wanted.retention):
            why.append(f"retention {differs(seconds(wanted.retention), found.get('messageRetentionDuration'))}")
        if found.get("labels", {}).get(OURS) != BENCHKEEPER:
            why.append("it lacks Benchkeeper's label")
        change = [("pubsub", "topics", "update", name, keeps, f"--update-labels={_LABEL}")]
        yield Step(key=key, mark=Mark.CHANGE, because=", ".join(why), work=change) if why else same(key)


def subscriptions(target: Target) -> Iterator[Step]:
    """Yield a step for each subscription that belongs to no function."""
    listed = target.read(_PUBSUB, "pubsub", "subscriptions", "list", otherwise=[])
    seen = {_last(each["name"]): each for each in listed}
    for name, wanted in target.deployment.subscriptions.items():
        key, found = f"subscription {name}", seen.get(name)
        words = (
            f"--ack-deadline={int(wanted.ack_deadline.total_seconds())}", "--expiration-period=never",
            f"--message-retention-duration={seconds(wanted.retention)}",
        )  # fmt: skip
        if found is None:
            create = (
                "pubsub",
                "subscriptions",
                "create",
                name,
                f"--topic={wanted.topic}",
                *words,
                f"--labels={_LABEL}",
            )
            because = f"stores the messages of {wanted.topic} for {_words(wanted.retention)}"
            needs = (f"topic {wanted.topic}",)
            yield Step(key=key, mark=Mark.CREATE, because=because, work=[create], needs=needs)
            continue
        if found.get("topic") != target.topic(wanted.topic):
            # A subscription cannot change its topic, and we must not discard its messages.
            because = f"it is of topic {_last(found.get('topic', ''))}: read its messages, delete it, run this again"
            yield Step(key=key, mark=Mark.KEEP, because=because)
            continue
        why = _subscription_differences(wanted, found)
        change = [("pubsub", "subscriptions", "update", name, *words, f"--update-labels={_LABEL}")]
        yield Step(key=key, mark=Mark.CHANGE, because=", ".join(why), work=change) if why else same(key)


def _subscription_differences(wanted: SubscriptionModel, found: Mapping[str, Any]) -> list[str]:
    why = []
    if found.get("ackDeadlineSeconds") != int(wanted.ack_deadline.total_seconds()):
        why.append(f"ack deadline {differs(seconds(wanted.ack_deadline), found.get('ackDeadlineSeconds'))}")
    if found.get("messageRetentionDuration") != seconds(wanted.retention):
        why.append(f"retention {differs(seconds(wanted.retention), found.get('messageRetentionDuration'))}")
    if found.get("expirationPolicy", {"ttl": "2678400s"}).get("ttl"):
        why.append("it would expire if unused")
    if found.get("labels", {}).get(OURS) != BENCHKEEPER:
        why.append("it lacks Benchkeeper's label")
    return why


def jobs(target: Target) -> Iterator[Step]:
    """Yield a step for each scheduled message.

    Each step waits for all functions and deliveries, so that no tick is sent before a function listens.
    """
    where = f"--location={target.region}"
    listed = target.read(_SCHEDULER, "scheduler", "jobs", "list", where, otherwise=[])
    seen = {_last(each["name"]): each for each in listed}
    for name, wanted in target.deployment.jobs.items():
        key, found, body = f"job {name}", seen.get(name), json.dumps(wanted.body)
        words = (
            where, f"--schedule={wanted.schedule}", f"--topic={target.topic(wanted.topic)}", f"--message-body={body}",
            "--time-zone=Etc/UTC",
        )  # fmt: skip
        needs = (f"topic {wanted.topic}", "function", "delivery")
        if found is None:
            work = [("scheduler", "jobs", "create", "pubsub", name, *words)]
            yield Step(key=key, mark=Mark.CREATE, because=f"{wanted.schedule} UTC: {body}", work=work, needs=needs)
            continue
        why = _job_differences(wanted, found, target.topic(wanted.topic))
        change: list[tuple[str, ...]] = [("scheduler", "jobs", "update", "pubsub", name, *words)] if why else []
        if found.get("state") == "PAUSED":
            why.append("it is paused")
            change.append(("scheduler", "jobs", "resume", name, where))
        yield Step(key=key, mark=Mark.CHANGE, because=", ".join(why), work=change, needs=needs) if why else same(key)


def _job_differences(wanted: JobModel, found: Mapping[str, Any], topic: str) -> list[str]:
    goes = found.get("pubsubTarget", {})
    why = []
    if found.get("schedule") != wanted.schedule:
        why.append(f"schedule {differs(wanted.schedule, found.get('schedule'))}")
    if found.get("timeZone") != "Etc/UTC":
        why.append(f"time zone {differs('Etc/UTC', found.get('timeZone'))}")
    if goes.get("topicName") != topic:
        why.append(f"topic {differs(topic, goes.get('topicName'))}")
    if base64.b64decode(goes.get("data", "")).decode(errors="replace") != json.dumps(wanted.body):
        why.append("its message differs")
    return why


def _last(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _words(value: timedelta) -> str:
    return f"{value.days} days" if value.days else f"{int(value.total_seconds() // 60)} minutes"
