"""The log sinks, log-based metrics, dashboard, alert policies and notification channels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

from cli.deploy.failures import NotThereError
from cli.deploy.gcloud import Call, Command, Do, FileWord
from cli.deploy.kinds.access import has
from cli.deploy.models import SinkModel
from cli.deploy.step import Mark, Step, same
from cli.deploy.target import BENCHKEEPER, OURS, Target

_LOGGING, _MONITORING, _PUBSUB = "logging.googleapis.com", "monitoring.googleapis.com", "pubsub.googleapis.com"
_PUBLISHER = "roles/pubsub.publisher"
_BODY = "benchkeeper-body"  # label: the digest of the body that was applied last
_ALERT = "benchkeeper-alert"


# ---- sinks


def sinks(target: Target) -> Iterator[Step]:
    """Yield the steps of each sink: the sink, its right to publish to its topic, and the end of its right to publish to HR's topic.

    In an earlier version, all sinks published to HR's topic. Without an organization, sinks of the organization get no
    steps.
    """
    seen = _seen_sinks(target)
    for name, wanted in target.deployment.sinks.items():
        where = scope_words(target, wanted.scope)
        if where is not None:  # without an organization, its sinks are not wanted
            found = seen.get(f"{wanted.scope} {name}")
            yield from _sink(target, name, wanted, found, where)
            yield from _former_writer(target, name, wanted, found)


def sinks_that_move(target: Target) -> list[str]:
    """Return the sinks that still publish to HR's topic and get another topic by this plan."""
    old = f"pubsub.googleapis.com/{target.topic(target.deployment.settings.topic_lifecycle)}"
    seen = _seen_sinks(target)
    return [
        name
        for name, wanted in target.deployment.sinks.items()
        if wanted.topic != target.deployment.settings.topic_lifecycle
        and seen.get(f"{wanted.scope} {name}", {}).get("destination") == old
    ]


def _seen_sinks(target: Target) -> dict[str, dict[str, Any]]:
    """Return the present sinks, by scope and name."""
    seen: dict[str, dict[str, Any]] = {}
    for scope in sorted({sink.scope for sink in target.deployment.sinks.values()}):
        where = scope_words(target, scope)
        if where is not None:
            found = target.read(_LOGGING, "logging", "sinks", "list", *where, otherwise=[], project=scope == "project")
            seen |= {f"{scope} {each['name']}": each for each in found}
    return seen


def scope_words(target: Target, scope: str) -> tuple[str, ...] | None:
    """Return gcloud's arguments for a sink's project or organization; None for an organization that is not configured."""
    if scope == "project":
        return ()
    organization = target.deployment.options.organization
    return (f"--organization={organization}",) if organization else None


def _sink(
    target: Target, name: str, wanted: SinkModel, found: Mapping[str, Any] | None, where: tuple[str, ...]
) -> Iterator[Step]:
    key, goes = f"sink {name}", f"pubsub.googleapis.com/{target.topic(wanted.topic)}"
    words = (name, goes, f"--log-filter={wanted.filter}", *where)
    # A function must listen to the topic first: its subscription begins when it is made, and does not get earlier messages.
    needs = (f"topic {wanted.topic}", "function", "delivery")
    if found is None:
        because = f"of the {wanted.scope}, to {wanted.topic}"
        yield Step(
            key=key, mark=Mark.CREATE, because=because, work=[("logging", "sinks", "create", *words)], needs=needs
        )
    elif (found.get("destination"), found.get("filter"), bool(found.get("disabled"))) != (goes, wanted.filter, False):
        update = ("logging", "sinks", "update", *words, "--no-disabled")
        yield Step(
            key=key, mark=Mark.CHANGE, because="its filter, destination or state differs", work=[update], needs=needs
        )
    else:
        yield same(key)
    yield _writer(target, name, wanted, found, where)


def _writer(
    target: Target, name: str, wanted: SinkModel, found: Mapping[str, Any] | None, where: tuple[str, ...]
) -> Step:
    key = f"writer {name}"

    def add(member: str) -> list[Command | Call]:
        return [
            ("pubsub", "topics", "add-iam-policy-binding", wanted.topic, f"--member={member}", f"--role={_PUBLISHER}")
        ]

    def work() -> list[Command | Call]:
        described = target.gcloud.read("logging", "sinks", "describe", name, *where, project=not where)
        return add(described["writerIdentity"])

    if found is not None:
        policy: Mapping[str, Any] = {}
        with suppress(NotThereError):  # deleted by hand: this run makes it again
            policy = target.read(_PUBSUB, "pubsub", "topics", "get-iam-policy", wanted.topic, otherwise={})
        if has(policy, _PUBLISHER, found.get("writerIdentity", "")):
            return same(key)
    because = f"its identity may publish to {wanted.topic}"
    needs, lane = (f"sink {name}", f"topic {wanted.topic}"), f"topic/{wanted.topic}"
    return Step(key=key, mark=Mark.CREATE, because=because, work=[work], needs=needs, lane=lane)


def _former_writer(target: Target, name: str, wanted: SinkModel, found: Mapping[str, Any] | None) -> Iterator[Step]:
    """Yield the step that ends a sink's right to publish to HR's topic, once the sink publishes to another topic.

    In an earlier version, all sinks published to HR's topic.
    """
    old = target.deployment.settings.topic_lifecycle
    if found is None or wanted.topic == old:
        return
    policy: Mapping[str, Any] = {}
    with suppress(NotThereError):
        policy = target.read(_PUBSUB, "pubsub", "topics", "get-iam-policy", old, otherwise={})
    member = str(found.get("writerIdentity", ""))
    if not has(policy, _PUBLISHER, member):
        return
    words = (f"--member={member}", f"--role={_PUBLISHER}")
    yield Step(
        key=f"former-writer {name}", mark=Mark.DELETE, because=f"the sink now publishes to {wanted.topic}",
        work=[("pubsub", "topics", "remove-iam-policy-binding", old, *words)], needs=(f"sink {name}",),
        lane=f"topic/{old}",
    )  # fmt: skip


# ---- metrics


def metrics(target: Target) -> Iterator[Step]:
    """Yield a step for each log-based metric."""
    seen = {each["name"]: each for each in target.read(_LOGGING, "logging", "metrics", "list", otherwise=[])}
    for name, body in target.deployment.metrics.items():
        key, found = f"metric {name}", seen.get(name)
        # A metric has no labels: the digest of the applied body stands at the end of its description.
        wanted = {**body, "description": f"{body.get('description', '')} [{digest(body)}]".strip()}
        file = FileWord("--config-from-file", json.dumps(wanted))
        if found is None:
            because = str(body.get("description", ""))
            yield Step(key=key, mark=Mark.CREATE, because=because, work=[("logging", "metrics", "create", name, file)])
        elif not covers(found, wanted):
            change = [("logging", "metrics", "update", name, file)]
            yield Step(key=key, mark=Mark.CHANGE, because="it differs", work=change)
        else:
            yield same(key)


def digest(body: Mapping[str, Any]) -> str:
    """Return the first 12 hex digits of the body's SHA-256, which fit into a label and change with the body."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:12]


def covers(seen: object, wanted: object) -> bool:
    """Return True if `seen` has all content of `wanted`; servers may add more, and leave out what is empty.

    Numbers are compared by value, because JSON has int64 as text.
    """
    if isinstance(wanted, Mapping):
        return isinstance(seen, Mapping) and all(
            covers(seen[key], value) if key in seen else not value for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(seen, list) and len(seen) == len(wanted) and all(map(covers, seen, wanted))
    if isinstance(wanted, float | int) and not isinstance(wanted, bool):
        return isinstance(seen, int | float | str) and _number(seen) == float(wanted)  # int64 is a string in JSON
    return seen == wanted


def _number(raw: float | str) -> float | None:
    try:
        return float(raw)
    except ValueError:
        return None


# ---- dashboard


def dashboard(target: Target) -> Iterator[Step]:
    """Yield the step for Benchkeeper's dashboard, which is found by its label."""
    body = dict(target.deployment.dashboard)
    key, labels = "dashboard benchkeeper", {OURS: BENCHKEEPER, _BODY: digest(body)}
    found = _ours(target.read(_MONITORING, "monitoring", "dashboards", "list", otherwise=[]))
    wanted = {**body, "labels": labels}
    if found is None:
        work: list[Do] = [lambda: _new_dashboard(target, wanted)]
        yield Step(key=key, mark=Mark.CREATE, because=str(body["displayName"]), work=work, needs=("metric",))
    elif covers(found, wanted):
        yield same(key)
    else:
        # The etag names the version that was read, so that an edit in the meantime is not overwritten.
        file = FileWord("--config-from-file", json.dumps({**wanted, "etag": found.get("etag", "")}))
        change = [("monitoring", "dashboards", "update", found["name"], file)]
        yield Step(key=key, mark=Mark.CHANGE, because="it differs", work=change, needs=("metric",))


def _ours(dashboards: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    return next((each for each in dashboards if each.get("labels", {}).get(OURS) == BENCHKEEPER), None)


def _new_dashboard(target: Target, wanted: Mapping[str, Any]) -> list[Command | Call]:
    """Return the call that creates the dashboard, unless the dashboard exists by now.

    The API chooses the dashboard's name, so a retry after a lost response would create a second dashboard.
    """
    if _ours(target.gcloud.read("monitoring", "dashboards", "list") or []) is not None:
        return []
    return [("monitoring", "dashboards", "create", FileWord("--config-from-file", json.dumps(wanted)))]


# ---- alerts


def channels(target: Target) -> Iterator[Step]:
    """Yield a step for each address that gets the alerts, and a step for each channel of Benchkeeper whose address is no longer configured."""
    seen = _addresses(target)
    wanted = target.deployment.options.notify
    for address in wanted:
        key = f"channel {address}"
        if address in seen:
            yield same(key)
        else:
            work = [lambda address=address: _new_channel(target, address)]
            yield Step(key=key, mark=Mark.CREATE, because="gets the alerts", work=work)
    for address in sorted(seen.keys() - set(wanted)):
        forget = Call("monitoring", "DELETE", f"v3/{seen[address]}")
        key = f"former-channel {address}"
        yield Step(key=key, mark=Mark.DELETE, because="no longer configured", work=[forget], needs=("alert",))


def _addresses(target: Target) -> dict[str, str]:
    """Return a mapping from address to the name of Benchkeeper's channel."""
    listed = listed_by_label(target, "notificationChannels")
    return {each["labels"]["email_address"]: each["name"] for each in listed if "email_address" in each["labels"]}


def _new_channel(target: Target, address: str) -> list[Command | Call]:
    """Return the call that creates the channel, unless the channel exists by now.

    The API chooses the channel's name, so a retry after a lost response would create a second channel.
    """
    if address in _addresses(target):
        return []
    body = {
        "type": "email",
        "displayName": f"Benchkeeper: {address}",
        "labels": {"email_address": address},
        "userLabels": {OURS: BENCHKEEPER},
    }
    return [Call("monitoring", "POST", f"v3/projects/{target.project}/notificationChannels", body)]


def alerts(target: Target) -> Iterator[Step]:
    """Yield a step for each alert policy, found by its label."""
    seen = _policies(target)
    addresses, wanted_addresses = _addresses(target), set(target.deployment.options.notify)
    told = {name for address, name in addresses.items() if address in wanted_addresses}
    complete = addresses.keys() >= wanted_addresses
    for name, body in target.deployment.alerts.items():
        key, found = f"alert {name}", seen.get(name)
        wanted = {**body, "userLabels": {OURS: BENCHKEEPER, _ALERT: name, _BODY: digest(body)}}
        work = [lambda name=name, wanted=wanted: _applied(target, name, wanted)]
        needs = ("metric", "channel")
        if found is None:
            because = str(body.get("displayName", ""))
            yield Step(key=key, mark=Mark.CREATE, because=because, work=work, needs=needs)
        elif covers(found, wanted) and complete and told == set(found.get("notificationChannels", [])):
            yield same(key)
        else:
            because = "it differs" if not covers(found, wanted) else "its notification channels differ"
            yield Step(key=key, mark=Mark.CHANGE, because=because, work=work, needs=needs)


def _policies(target: Target) -> dict[str, dict[str, Any]]:
    """Return Benchkeeper's alert policies, by the label that names the policy."""
    return {each["userLabels"].get(_ALERT, ""): each for each in listed_by_label(target, "alertPolicies")}


def _applied(target: Target, name: str, body: Mapping[str, Any]) -> list[Command | Call]:
    """Return the call that creates or changes the policy, with the present channels.

    The policies are listed first, so that a retry after a lost response does not create a second policy.
    """
    wanted = set(target.deployment.options.notify)
    told = sorted(channel for address, channel in _addresses(target).items() if address in wanted)
    found = _policies(target).get(name)
    whole = {**body, "notificationChannels": told}
    if found is not None:
        return [Call("monitoring", "PATCH", f"v3/{found['name']}", whole)]
    return [Call("monitoring", "POST", f"v3/projects/{target.project}/alertPolicies", whole)]


def listed_by_label(target: Target, what: str) -> list[dict[str, Any]]:
    """Return all resources with Benchkeeper's label, from all pages; none if Cloud Monitoring is off.

    `what` is the collection's name in the API, such as `alertPolicies`.
    """
    found: list[dict[str, Any]] = []
    page = ""
    while True:
        path = f"v3/projects/{target.project}/{what}?{urlencode({'pageSize': 100, 'pageToken': page})}"
        answer = target.ask(_MONITORING, Call("monitoring", "GET", path), {})
        found += [each for each in answer.get(what, []) if each.get("userLabels", {}).get(OURS) == BENCHKEEPER]
        page = answer.get("nextPageToken", "")
        if not page:
            return found
