"""The command `doctor`: it checks everything that the product needs, part by part, and names a remedy for each fault.

It changes nothing.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from typing import Any

import click
from msgspec import Struct
from rich.text import Text

from cli.context import FAILED, App, guarded, output_option, pass_app, stop
from cli.output import console, print_json, say, table
from shared.domain.fleet.fleet import Standing, standing
from shared.domain.policy.policy_codec import policy_digest
from shared.domain.things.errors import AccessDeniedError, BenchkeeperError, CloudUnavailableError
from shared.domain.things.times import rfc3339
from shared.settings import ConfigError

_DEPLOY = "Run ./deploy.sh gcp again: it creates missing resources."
_BACKLOG = "pubsub.googleapis.com/subscription/num_undelivered_messages"
_SINK = "benchkeeper-notebooks"
_OLD = timedelta(minutes=25)  # of the list of everybody, which an idle sweep writes each ten minutes
_MANY, _NEARLY = 1000, 0.9
_SOME = 20
_QUOTAS = {"CPUS", "SSD_TOTAL_GB", "DISKS_TOTAL_GB", "INSTANCES", "N2_CPUS", "E2_CPUS"}


class State(StrEnum):
    """The state of a checked part. `UNKNOWN`: the part could not be checked, or there is nothing to check."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Finding(Struct, frozen=True, kw_only=True):
    """The state of one part. `remedy` is empty if no action is needed."""

    part: str
    state: State
    says: str
    remedy: str = ""


_COLOURS = {State.OK: "green", State.WARNING: "yellow", State.FAILED: "red", State.UNKNOWN: "dim"}


@click.command()
@output_option()
@pass_app
@guarded
def doctor(app: App, output: str) -> None:
    """Check what Benchkeeper needs: login, APIs, roles, sinks, topics, backlog, quota, counter, versions.

    Each fault is shown with its remedy. Nothing is changed. Exit code 1 if a check failed; warnings do not count.
    """
    found = list(examine(app))
    if output == "json":
        print_json([{"part": f.part, "state": f.state.value, "says": f.says, "remedy": f.remedy} for f in found])
    else:
        rows = [(f.part, Text(f.state.value, style=_COLOURS[f.state]), f"{f.says} {f.remedy}".strip()) for f in found]
        console().print(table([("PART", "whole"), ("STATE", "whole"), ("FOUND, AND WHAT TO DO", "fold")], rows))
        failed = sum(f.state is State.FAILED for f in found)
        say(f"{failed} of {len(found)} failed." if failed else "Nothing has failed.")
    if any(f.state is State.FAILED for f in found):
        stop(FAILED)


def examine(app: App) -> Iterator[Finding]:
    """Yield the finding of each part. End early after a faulty configuration or a failed login."""
    yield Finding(part="version", state=State.OK, says=f"Benchkeeper {_version()}, Python {platform.python_version()}.")
    try:
        settings = app.settings
    except ConfigError as error:
        says = f"{len(error.faults)} faults; the first: {error.faults[0]}"
        yield Finding(part="configuration", state=State.FAILED, says=says, remedy="benchkeeper validate-config")
        return
    says = f"Environment {settings.env}, project {settings.project}."
    yield Finding(part="configuration", state=State.OK, says=says)
    login = _looked("login", lambda: _login(app), "Run: gcloud auth application-default login")
    yield login
    if login.state is State.FAILED:
        return
    for part, look, remedy in _PARTS:
        yield _looked(part, partial(look, app), remedy)


def _looked(part: str, look: Callable[[], tuple[State, str, str]], remedy: str) -> Finding:
    """Return the finding of one check. A product or cloud error becomes a finding, too."""
    try:
        state, says, what = look()
    except AccessDeniedError as error:
        return Finding(part=part, state=State.FAILED, says=f"{error.user_message} ({error.detail})", remedy=remedy)
    except CloudUnavailableError as error:
        unknown = State.FAILED if part == "login" else State.UNKNOWN
        return Finding(part=part, state=unknown, says=f"{error.user_message} ({error.detail})", remedy="Try again.")
    except BenchkeeperError as error:
        return Finding(part=part, state=State.FAILED, says=f"{error.user_message} ({error.detail})", remedy=remedy)
    return Finding(part=part, state=state, says=says, remedy=what)


def _version() -> str:
    try:
        return version("benchkeeper")
    except PackageNotFoundError:
        return "(not installed)"


def _login(app: App) -> tuple[State, str, str]:
    app.clients.bucket().look("index/fleet-about.json.gz", what="look at the bucket")
    embedded = app.settings.api_endpoint is not None
    return State.OK, "The embedded cloud requires no login." if embedded else "Google accepts the login.", ""


def _records(app: App) -> tuple[State, str, str]:
    count = sum(1 for _ in islice(app.deps.records.rows(), _MANY))
    return State.OK, f"{count if count < _MANY else 'More than 1,000'} records can be listed.", ""


def _notebooks(app: App) -> tuple[State, str, str]:
    unreachable: set[str] = set()
    for page in app.deps.notebooks.pages():
        unreachable.update(page.unreachable)
    if unreachable:
        return State.WARNING, f"Zones that do not answer: {', '.join(sorted(unreachable))}.", "Google's status page."
    return State.OK, "Instances can be listed.", ""


def _snapshots(app: App) -> tuple[State, str, str]:
    sum(1 for _ in islice(app.deps.snapshots.rows(), 1))
    return State.OK, "Snapshots can be listed.", ""


def _topics(app: App) -> tuple[State, str, str]:
    settings = app.settings
    names = {source.topic for source in settings.sources.values()} | {settings.topic_tick, settings.topic_dead_letter}
    ask = app.clients.json("pubsub")
    missing = [
        n for n in sorted(names) if ask.call_or_none("GET", f"/v1/projects/{settings.project}/topics/{n}") is None
    ]
    if missing:
        return State.FAILED, f"Missing topics: {', '.join(missing)}.", _DEPLOY
    read = {topic.rpartition("/")[2] for topic in _read_topics(app)}
    silent = sorted(names - read)
    if silent:
        return State.FAILED, f"Topics without a subscription: {', '.join(silent)}.", _DEPLOY
    return State.OK, f"{len(names)} topics, each with a subscription.", ""


def _read_topics(app: App) -> Iterator[str]:
    """Yield the topic of each subscription of the project."""
    token: str | None = None
    while True:
        params = {"pageSize": _MANY, "pageToken": token}
        path = f"/v1/projects/{app.settings.project}/subscriptions"
        page = app.clients.json("pubsub").call("GET", path, params=params)
        yield from (str(each.get("topic", "")) for each in page.get("subscriptions", []))
        token = page.get("nextPageToken")
        if not token:
            return


def _backlog(app: App) -> tuple[State, str, str]:
    now = app.deps.clock.now()
    series = _series(app, _BACKLOG, now)
    waits = {each["resource"]["labels"].get("subscription_id", "?"): _newest(each) for each in series}
    ours = {name: count for name, count in waits.items() if count is not None}
    if not ours:
        return State.UNKNOWN, "Cloud Monitoring has no metrics of subscriptions.", ""
    late = {name: count for name, count in sorted(ours.items()) if count > _MANY}
    if late:
        said = ", ".join(f"{name}: {count:,}" for name, count in late.items())
        return State.WARNING, f"Messages wait: {said}.", "docs/operations.md, the alert oldest-message."
    return State.OK, f"At most {max(ours.values()):,} messages wait at a subscription.", ""


def _series(app: App, metric: str, now: datetime) -> list[dict[str, Any]]:
    params = {
        "filter": f'metric.type="{metric}"',
        "interval.startTime": rfc3339(now - timedelta(minutes=10)),
        "interval.endTime": rfc3339(now),
    }
    path = f"/v3/projects/{app.settings.project}/timeSeries"
    answer = app.clients.json("monitoring").call_or_none("GET", path, params=params)  # 404: no such metric yet
    found: list[dict[str, Any]] = (answer or {}).get("timeSeries", [])
    return found


def _newest(series: dict[str, Any]) -> int | None:
    points = series.get("points", [])
    value = points[0].get("value", {}) if points else {}
    return int(value["int64Value"]) if "int64Value" in value else None


def _sink(app: App) -> tuple[State, str, str]:
    if app.settings.api_endpoint is not None:
        return State.UNKNOWN, "The embedded cloud needs no sinks.", ""
    path = f"/v2/projects/{app.settings.project}/sinks/{_SINK}"
    if app.clients.json("logging").call_or_none("GET", path) is None:
        return State.FAILED, f"Sink {_SINK} is missing, so the end of an operation is noticed a minute later.", _DEPLOY
    return State.OK, f"Sink {_SINK} exists.", ""


def _quota(app: App) -> tuple[State, str, str]:
    if app.settings.api_endpoint is not None:
        return State.UNKNOWN, "The embedded cloud has no quotas of a region.", ""
    path = f"/compute/v1/projects/{app.settings.project}/regions/{app.settings.region}"
    found = app.clients.json("compute").call("GET", path)
    full = [
        f"{each['metric']} {each['usage']:g} of {each['limit']:g}"
        for each in found.get("quotas", [])
        if each.get("metric") in _QUOTAS and each.get("limit") and each.get("usage", 0) >= _NEARLY * each["limit"]
    ]
    if full:
        remedy = "Ask Google for more: console, IAM & Admin > Quotas."
        return State.WARNING, f"Quotas nearly used up in {app.settings.region}: {', '.join(full)}.", remedy
    return State.OK, f"No quota of {app.settings.region} is nearly used up.", ""


def _sweeps(app: App) -> tuple[State, str, str]:
    fleet = app.deps.fleet.about()
    if fleet is None:
        return (
            State.WARNING,
            "No sweep has listed all people yet.",
            "Wait ten minutes; then see the alert no-due-sweep.",
        )
    age = app.deps.clock.now() - fleet.taken_at
    says = f"The last sweep listed all people {age // timedelta(minutes=1)} minutes ago."
    if age > _OLD:
        return State.FAILED, says, "docs/operations.md, the alert no-due-sweep; benchkeeper sweep idle runs one now."
    return State.OK, says, ""


def _counter(app: App) -> tuple[State, str, str]:
    fleet = app.deps.fleet.fleet()
    if fleet is None:
        return State.UNKNOWN, "No sweep has examined the notebooks yet.", ""
    running = [row for row in fleet.rows if standing(row) is Standing.RUNNING]
    blind = [row for row in running if row.user_key in fleet.blind]
    says = f"The use of {len(running) - len(blind)} of {len(running)} running notebooks can be seen."
    if blind:
        return State.WARNING, says, f"benchkeeper activity {blind[0].email or blind[0].user_key}"
    return State.OK, says, ""


def _jobs(app: App) -> tuple[State, str, str]:
    """Return the state, text and remedy for the permission to list running BigQuery jobs.

    Each project of `idle.bigquery_projects` is asked, with this command's login.
    """
    jobs, unread = app.deps.outside_jobs, []
    for project in jobs.projects:
        try:
            jobs.queries(project)
        except BenchkeeperError as error:
            unread.append((project, error))
    if not jobs.projects:
        return State.OK, "No running query keeps a notebook: idle.bigquery_projects is empty.", ""
    if not unread:
        return State.OK, f"Running queries of {', '.join(jobs.projects)} can be listed.", ""
    says = " ".join(f"{project}: {error.user_message} ({error.detail})" for project, error in unread)
    if all(isinstance(error, CloudUnavailableError) for _, error in unread):
        return State.UNKNOWN, says, "Try again."
    return State.WARNING, f"It is not known whose queries are running. {says}", _LISTS


def _letters(app: App) -> tuple[State, str, str]:
    waiting = sum(1 for row in islice(app.deps.dead_letters.rows(), _SOME) if row.replayed_at is None)
    if waiting:
        count = f"{waiting} or more" if waiting == _SOME else str(waiting)
        return State.WARNING, f"Messages that could not be processed: {count}.", "benchkeeper messages list"
    return State.OK, "Every message could be processed.", ""


def _policy(app: App) -> tuple[State, str, str]:
    own, in_force = policy_digest(app.settings.policy()), app.deps.policy_digest
    if own != in_force:
        return (
            State.WARNING,
            "The configuration files are not the policy in force.",
            "benchkeeper policy; benchkeeper impact",
        )
    return State.OK, f"The configuration files are in force ({own}).", ""


_LISTS = "docs/operations.md, Jobs elsewhere. Until the list can be read, notebooks of people with possible jobs are not stopped before idle.max_blind."
_ROLES = "docs/operations.md, Permissions, says which role the account needs."
_PARTS: tuple[tuple[str, Callable[[App], tuple[State, str, str]], str], ...] = (
    ("records", _records, _ROLES),
    ("Notebooks API", _notebooks, _ROLES),
    ("Compute API", _snapshots, _ROLES),
    ("topics", _topics, _ROLES),
    ("backlog", _backlog, _ROLES),
    ("sinks", _sink, _ROLES),
    ("quota", _quota, _ROLES),
    ("sweeps", _sweeps, _ROLES),
    ("counter", _counter, _ROLES),
    ("jobs elsewhere", _jobs, _LISTS),
    ("messages", _letters, _ROLES),
    ("policy", _policy, _ROLES),
)
