"""`publish`: messages going in."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cli.context import App, guarded, output_option, pass_app
from cli.output import print_json, say
from shared.cloud.publish import publish as publish_message
from shared.domain.errors import BenchkeeperError
from shared.domain.identity import parse_email
from shared.domain.times import parse_time
from shared.messages.hr import SCHEMA


@click.group(name="publish")
def publish() -> None:
    """Announce a joiner, a mover, a leaver or a changed address."""


def _moment(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    try:
        return parse_time(value).isoformat()
    except ValueError as error:
        raise click.BadParameter("write a time with its zone, for example 2026-12-01T08:00:00Z") from error


def _address(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    try:
        return parse_email(value)
    except BenchkeeperError as error:
        raise click.BadParameter(error.user_message) from error


_COMMON: list[Callable[[Any], Any]] = [
    click.argument("user", callback=_address),
    click.option(
        "--effective-time", callback=_moment, metavar="TIME", help="From when it holds (RFC 3339); default now."
    ),
    click.option("--event-id", metavar="ID", help="Default: a new one. The same id twice is one event."),
    output_option(),
    pass_app,
    guarded,
]


def _common(command: Any) -> Any:
    for decorate in reversed(_COMMON):
        command = decorate(command)
    return command


_DETAILS: list[Callable[[Any], Any]] = [
    click.option("--profile", metavar="NAME", help="Ask for this profile by hand."),
    click.option("--group", "groups", multiple=True, metavar="ADDRESS", help="All groups of the person; repeat it."),
    click.option("--cost-center", metavar="CODE", help="Shown on the bill."),
]


def _details(command: Any) -> Any:
    for decorate in reversed(_DETAILS):
        command = decorate(command)
    return command


@publish.command()
@_details
@_common
def joiner(
    app: App, user: str, profile: str | None, groups: tuple[str, ...], cost_center: str | None, **rest: Any
) -> None:
    """USER works here now. Without --profile and --group the default profile is asked for."""
    attributes = _attributes(profile, groups, cost_center)
    _send(app, "joiner", user, attributes, **rest)


@publish.command()
@click.option("--no-profile", is_flag=True, help="Withdraw what was asked for by hand.")
@_details
@_common
def mover(
    app: App,
    user: str,
    profile: str | None,
    groups: tuple[str, ...],
    cost_center: str | None,
    *,
    no_profile: bool,
    **rest: Any,
) -> None:
    """Something about USER changed; only what is said is changed."""
    if no_profile and profile:
        raise click.UsageError("--profile and --no-profile exclude each other.")
    attributes = _attributes(profile, groups, cost_center)
    if no_profile:
        attributes["profile"] = None
    if not attributes:
        raise click.UsageError("Say what changed: --profile, --no-profile, --group or --cost-center.")
    _send(app, "mover", user, attributes, **rest)


@publish.command()
@click.option("--reason", default="", help="Kept with the event.")
@_common
def leaver(app: App, user: str, reason: str, **rest: Any) -> None:
    """USER works here no longer: stopped at once, deleted after the retention."""
    _send(app, "leaver", user, {}, reason=reason, **rest)


@publish.command()
@click.argument("user", callback=_address)
@click.argument("new_user", callback=_address)
@click.option("--event-id", metavar="ID", help="Default: a new one. The same id twice is one event.")
@output_option()
@pass_app
@guarded
def renamed(app: App, user: str, new_user: str, event_id: str | None, output: str) -> None:
    """USER's address is NEW_USER from now on: the same person, environment and files.

    Either address means the person afterwards.
    """
    if user == new_user:
        raise click.UsageError("USER and NEW_USER are the same address.")
    _send(app, "renamed", user, {}, effective_time=None, event_id=event_id, output=output, new_user=new_user)


@publish.command(name="file")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@pass_app
@guarded
def publish_file(app: App, paths: tuple[Path, ...]) -> None:
    """Publish the content of files as it is (any of the shapes that are understood)."""
    for path in paths:
        message_id = publish_message(
            app.clients,
            project=app.settings.project,
            topic=app.settings.topic_operator,
            body=path.read_bytes(),
            attributes={},
        )
        say(f"Published {path.name} as message {message_id}.")


def _attributes(profile: str | None, groups: tuple[str, ...], cost_center: str | None) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    if profile:
        attributes["profile"] = profile
    if groups:
        attributes["groups"] = list(groups)
    if cost_center:
        attributes["cost_center"] = cost_center
    return attributes


def _send(
    app: App,
    kind: str,
    user: str,
    attributes: dict[str, Any],
    *,
    effective_time: str | None,
    event_id: str | None,
    output: str,
    reason: str = "",
    new_user: str = "",
) -> None:
    profile = attributes.get("profile")
    if profile:
        app.settings.catalog.profile(profile)  # refuse here what would only come back as a dead letter
    message: dict[str, Any] = {
        "schema": SCHEMA,
        "event_id": event_id or f"manual-{uuid.uuid4()}",
        "type": kind,
        "user": user,
        "attributes": attributes,
    }
    if effective_time:
        message["effective_time"] = effective_time
    if reason:
        message["reason"] = reason
    if new_user:
        message["new_user"] = new_user
    topic = app.settings.topic_operator
    body = json.dumps(message, ensure_ascii=False).encode()
    message_id = publish_message(app.clients, project=app.settings.project, topic=topic, body=body, attributes={})
    if output == "json":
        print_json({"message_id": message_id, "topic": topic, "message": message})
    else:
        say(f"Published {kind} {user} to {topic} (message {message_id}). Follow it: benchkeeper show {user}")
