"""The steps of sending a message by hand: look up its user, show the changes, ask, send. `publish` and `state` use it.

A message is first read by the intake's own rules for an operator, so that no message is sent that would become a dead
letter. The shown texts are never parsed: decisions use kinds of change and lists of addresses.
"""

from __future__ import annotations

import json
import sys
import uuid
from typing import Any

import click
from msgspec import Struct, field
from msgspec.structs import replace

from cli.context import FAILED, WRONG_USE, App, stop
from cli.looking import Looked, NotLookedUp, look_up
from cli.output import agreed, complain, console, print_json, say, say_next, table
from cli.progress import Progress
from cli.users import did_you_mean
from shared.cloud.publish import publish as publish_message
from shared.domain.intent.changes import ChangeKind
from shared.domain.people.events import Joined, LifecycleEvent, Moved
from shared.domain.people.sources import OPERATOR
from shared.domain.things.errors import InvalidMessageError
from shared.domain.things.identity import parse_user_key
from shared.messages.hr_strict import SCHEMA
from shared.messages.message import Message, Rules
from shared.messages.parse import parse_message


class Consent(Struct, frozen=True, kw_only=True):
    """The consents that the options give: to skip the question, to accept an unknown user, to skip the lookup."""

    yes: bool = False
    new: bool = False
    blind: bool = False


class Draft(Struct, frozen=True, kw_only=True):
    """A message to be sent. `said` is its kind as typed, for example `leave-cancelled`."""

    said: str
    body: dict[str, Any]

    @property
    def data(self) -> bytes:
        """The message's bytes."""
        return json.dumps(self.body, ensure_ascii=False).encode()


class Details(Struct, kw_only=True):
    """The optional fields of a message. A field that is None or an empty text is not stated; `no_end` states that access has no end."""

    event_id: str | None = None
    effective_time: str | None = None
    person_id: str = ""
    reason: str = ""
    new_user: str = ""
    account: str = ""
    access_until: str | None = None
    no_end: bool = False
    urgent: bool = False
    attributes: dict[str, Any] = field(default_factory=dict)


def draft(said: str, user: str, details: Details) -> Draft:
    """Return a draft of the message in the schema `SCHEMA`, with a new event id unless `details` has one."""
    body: dict[str, Any] = {
        "schema": SCHEMA,
        "event_id": details.event_id or f"manual-{uuid.uuid4()}",
        "type": said.replace("-", "_"),
        "user": user,
        "attributes": details.attributes,
    }
    named = {
        "effective_time": details.effective_time,
        "access_until": details.access_until,
        "person_id": details.person_id,
        "reason": details.reason,
        "new_user": details.new_user,
        "account": details.account,
    }
    body |= {name: value for name, value in named.items() if value}
    if details.urgent:
        body["urgent"] = True
    if details.no_end:
        body["access_until"] = None
    return Draft(said=said, body=body)


def publish_by_hand(app: App, message: Draft, consent: Consent, output: str, *, asks: bool = True) -> None:
    """Look up the user, show the changes, ask, and send.

    `--yes` skips the question, and sends even a message that would change nothing. Without `asks`, ask only if a known
    address differs by one or two letters and `--new` is not given. Exit with code 1 if the user or a group is unknown
    and `--new` is not given. If the records cannot be read, send only with `--blind`. Raise the intake's error for a
    message that the intake would refuse.
    """
    message = _with_address(app, message)
    event = _read(app, message)
    _check_profile(app, event)
    if app.settings.api_endpoint is not None:
        _ = app.clients  # fails at once if the embedded cloud was not started
    try:
        with Progress(app.deps.clock, "Reading the groups of all people") as progress:
            looked = look_up(event, app.deps, advance=progress.advance)
    except NotLookedUp as error:
        _without_a_look(app, message, consent, output, error)
        return
    refused = looked.refused(is_joiner=isinstance(event, Joined))
    if refused and not consent.new:
        complain(*refused, "Nothing was sent. If this is intended, use --new.")
        stop(FAILED)
    if looked.error is not None:
        raise looked.error
    _show(looked, err=output == "json")
    if looked.says_nothing_new and not consent.yes:
        _say_known(message, looked, output)
        return
    if (asks or (looked.near and not consent.new)) and not consent.yes:
        _ask(message, event, looked, output)
    _send(app, message, output, _view(looked))


def _with_address(app: App, message: Draft) -> Draft:
    """Return the message with a typed user key replaced by the user's present address, because messages name users by address.

    Exit with code 1 if the address is not known.
    """
    key = message.body["user"]
    if "@" in key:
        return message
    stored = app.deps.records.load(parse_user_key(key))
    if stored is None or not stored.record.email:
        complain(f"The address of {key} is not known. All people: benchkeeper list")
        stop(FAILED)
    return replace(message, body={**message.body, "user": stored.record.email})


def _read(app: App, message: Draft) -> LifecycleEvent:
    """Return the event that the intake would read.

    Raise `UsageError` if the intake would refuse the message, use only a part of it, or read no event from it.
    """
    settings = app.settings
    topic = settings.topic_operator
    raw = Message(
        data=message.data, attributes={}, message_id="by-hand", publish_time=app.deps.clock.now(), topic=topic
    )
    rules = Rules(source=settings.sources[OPERATOR], people=settings.people, max_bytes=settings.max_message_bytes)
    try:
        parsed = parse_message(raw, rules)
    except InvalidMessageError as error:
        raise click.UsageError(error.user_message) from error
    for fault in parsed.faults:
        raise click.UsageError(fault.error.user_message)
    for piece in parsed.news:
        if isinstance(piece, LifecycleEvent):
            return piece
    raise click.UsageError("USER and NEW_USER are the same address.")


def _check_profile(app: App, event: LifecycleEvent) -> None:
    """Raise `UnknownProfileError` for an unknown profile, because the message would become a dead letter."""
    if isinstance(event, Joined | Moved) and event.profile:
        app.settings.catalog.profile(event.profile)


def _without_a_look(app: App, message: Draft, consent: Consent, output: str, why: NotLookedUp) -> None:
    """Send without a lookup if `--blind` is given, else exit with code 1.

    The option is for operators who may publish but not read the records, and for operators who cannot wait until an
    outage ends.
    """
    said = f"The user could not be looked up: {why}"
    if not consent.blind:
        complain(said, "Nothing was sent. If you are sure of the address, use --blind.")
        stop(FAILED)
    say(said, err=True)
    _send(app, message, output, None)


def _show(looked: Looked, *, err: bool) -> None:
    grid = table([("", ""), ("", "fold")], list(looked.lines()))
    grid.show_header = False
    console(stderr=err).print(grid)


def _say_known(message: Draft, looked: Looked, output: str) -> None:
    said = "This is already known, so nothing was sent. To send it anyway, use --yes."
    if output == "json":
        print_json({"message_id": None, "topic": None, "message": message.body, "looked_up": _view(looked)})
        say(said, err=True)
    else:
        say(said)


def _ask(message: Draft, event: LifecycleEvent, looked: Looked, output: str) -> None:
    if not somebody_there():
        if looked.near:
            complain(f"A known address differs by one or two characters. {did_you_mean(looked.near)}")
        complain("No question was asked, because stdin is not a terminal, and nothing was sent. Use --yes to send it.")
        stop(WRONG_USE)
    hint = f"A similar address is known: {', '.join(looked.near)}. " if looked.near else ""
    if not agreed(f"{hint}Publish {message.said} {event.user}?", err=output == "json"):
        complain("Nothing was sent.")
        stop(FAILED)


def somebody_there() -> bool:
    """Return True if stdin is a terminal, so that a user can answer a question."""
    return sys.stdin.isatty()


def _send(app: App, message: Draft, output: str, looked_up: dict[str, Any] | None) -> None:
    topic = app.settings.topic_operator
    message_id = publish_message(
        app.clients, project=app.settings.project, topic=topic, body=message.data, attributes={}
    )
    if output == "json":
        print_json({"message_id": message_id, "topic": topic, "message": message.body, "looked_up": looked_up})
        return
    user = message.body["user"]
    say(f"Published {message.said} {user} to {topic} (message {message_id}).")
    say_next(f"Follow it: benchkeeper show {user}")


def _view(looked: Looked) -> dict[str, Any]:
    return {
        "known": looked.is_known,
        "user_key": looked.record.user_key if looked.record is not None else None,
        "near": list(looked.near),
        "unknown_groups": list(looked.unknown_groups),
        "nothing_new": looked.says_nothing_new,
        "changes": [
            {
                "user": change.user,
                "user_key": change.user_key,
                "kind": (change.kind or ChangeKind.NOTED).value,
                "text": change.text,
                "actions": list(change.actions),
                "because": list(change.because),
            }
            for change in looked.changes
        ],
    }
