"""The command `messages`: list, view and replay messages that could not be processed (dead letters)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

import click
from msgspec import Struct
from rich.padding import Padding
from rich.text import Text

from cli.context import FAILED, App, guarded, output_option, pass_app, stop
from cli.output import PlainGroup, Terminal, complain, console, print_array, print_json, say, table
from cli.users import address_forms, no_state, user_key
from shared.domain.people.events import News
from shared.domain.record.marks import bounded
from shared.domain.things.errors import Reason
from shared.domain.things.identity import UserKey, user_key_for
from shared.domain.things.times import parse_time, rfc3339
from shared.engine.news.dead_letters import OURS, Replayed, replay
from shared.engine.ports.inbox import DeadLetter, LetterRow
from shared.engine.views.words import states_named, status_words
from shared.messages.letters import parse_letter

_REASONS = (
    Reason.INVALID_MESSAGE,
    Reason.UNSUPPORTED_MESSAGE,
    Reason.UNKNOWN_PROFILE,
    Reason.NOT_ALLOWED,
    Reason.LEAVER_NOT_UNDERSTOOD,
    Reason.KEY_COLLISION,
    Reason.DELIVERY_ATTEMPTS_EXHAUSTED,
)
_ADVICE = {
    Reason.INVALID_MESSAGE: "The sender must correct the message and send it again. A replay only helps after an upgrade that can read the message.",
    Reason.UNSUPPORTED_MESSAGE: "State its content by hand: benchkeeper publish joiner, mover, leaver or renamed.",
    Reason.UNKNOWN_PROFILE: "Add the profile to config/profiles.yaml and deploy, then: benchkeeper messages replay {id}",
    Reason.NOT_ALLOWED: "The source of this message may not state such facts. To allow it, change config/sources.yaml and deploy, then: "
    "benchkeeper messages replay {id}",
    Reason.LEAVER_NOT_UNDERSTOOD: "A leaver may still have access. Find out who has left, then: benchkeeper publish leaver USER",
    Reason.KEY_COLLISION: "Two addresses have one user key. Look at both: benchkeeper names ADDRESS ADDRESS",
    Reason.DELIVERY_ATTEMPTS_EXHAUSTED: "The message itself may be valid. It is retried automatically. Find the failure in the function's log "
    "and fix it. To retry now: benchkeeper messages replay {id}",
}
_PROGRESS_EVERY = 100


@click.group(name="messages", cls=PlainGroup, invoke_without_command=True)
@output_option("table", "json")
@click.pass_context
def messages_group(context: click.Context, output: str) -> None:
    """List, view and replay messages that could not be processed.

    Without a subcommand: `messages list`.
    """
    if context.invoked_subcommand is None:
        context.invoke(list_letters, output=output)


class _Wanted(Struct, frozen=True, kw_only=True):
    """The filters of a listing; a filter that is None does not apply."""

    since: datetime | None = None
    until: datetime | None = None
    reason: frozenset[str] | None = None
    user: str | None = None
    replayed_too: bool = False

    def rows(self, app: App) -> Iterator[LetterRow]:
        keys = _keys_of(self.user, app) if self.user is not None else frozenset()
        for row in app.deps.dead_letters.rows(since=self.since, until=self.until):
            if (
                (self.reason is None or row.reason in self.reason)
                and (self.user is None or not keys.isdisjoint(row.users))
                and (self.replayed_too or row.replayed_at is None)
            ):
                yield row


def _keys_of(user: str, app: App) -> frozenset[UserKey]:
    """Return all keys by which a dead letter may name the user: the key of the typed text, the record's own key, and the key of the present address."""
    meant = user_key(app, user)
    asked = {user_key_for(form) for form in address_forms(user, app.settings.people)} if "@" in user else {meant}
    stored = app.deps.records.load(meant)
    if stored is None:
        return frozenset(asked)
    return frozenset({*asked, meant, stored.record.user_key, user_key_for(stored.record.email)})


def _moment(_context: click.Context, _parameter: click.Parameter, value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        return parse_time(value)
    except ValueError as error:
        raise click.BadParameter("write a time with its zone, for example 2026-12-01T08:00:00Z") from error


def _reason(_context: click.Context, _parameter: click.Parameter, value: str | None) -> frozenset[str] | None:
    if value is None:
        return None
    meant = states_named(value) & {reason.value for reason in _REASONS}
    if not meant:
        raise click.BadParameter(no_state(value, _REASONS, what="reason"))
    return meant


_FILTERS: list[Callable[[Any], Any]] = [
    click.option("--since", callback=_moment, metavar="TIME", help="Only messages sent at TIME or later (RFC 3339)."),
    click.option("--until", callback=_moment, metavar="TIME", help="Only messages sent before TIME."),
    click.option(
        "--reason",
        callback=_reason,
        help="Only messages with this reason, as shown or by its value: 'profile missing', UnknownProfile.",
    ),
    click.option("--user", metavar="USER", help="Only messages about USER, under any of the addresses."),
]


def _filters(command: Any) -> Any:
    for decorate in reversed(_FILTERS):
        command = decorate(command)
    return command


@messages_group.command(name="list")
@_filters
@click.option("--all", "replayed_too", is_flag=True, help="Also list replayed messages.")
@output_option("table", "json")
@pass_app
@guarded
def list_letters(app: App, /, *, output: str, **asked: Any) -> None:
    """List messages that could not be processed, oldest first, each with its reason."""
    rows = _Wanted(**asked).rows(app)
    if output == "json":
        print_array(_row_view(row) for row in rows)
        return
    out, count = console(), 0
    for count, row in enumerate(rows, start=1):  # noqa: B007 - the last count is the number of letters
        _print_row(row, out)
    say(
        f"{count} message{'' if count == 1 else 's'} could not be processed. Show one: benchkeeper messages show ID"
        if count
        else "No message waits."
    )


def _print_row(row: LetterRow, out: Terminal) -> None:
    """Print a row. The id is never truncated, so that it can be copied; the fault has lines of its own."""
    said = f"replayed {row.replayed_at:%m-%d %H:%M}: {row.outcome}" if row.replayed_at is not None else row.detail
    head = Text.assemble(
        f"{row.sent_at:%m-%d %H:%M:%S} UTC",
        "  ",
        (status_words(row.reason), "dim" if row.replayed_at is not None else "red"),
        "  ",
        (row.letter_id, "bold"),
    )
    out.print(head, soft_wrap=True)
    out.print(Padding(Text(said, style="dim"), (0, 0, 0, 2)))


@messages_group.command()
@click.argument("letter_id", metavar="ID")
@output_option()
@pass_app
@guarded
def show(app: App, letter_id: str, output: str) -> None:
    """Show one message in full, and what to do about it."""
    found = [row for row in _Wanted(replayed_too=True).rows(app) if row.letter_id == letter_id]
    if not found:
        _say_unknown(letter_id)
        stop(FAILED)
    letters = [app.deps.dead_letters.read(row) for row in found]
    if output == "json":
        print_json([_letter_view(letter) for letter in letters] if len(letters) > 1 else _letter_view(letters[0]))
        return
    for letter in letters:
        _print_letter(letter, console())


def _say_unknown(letter_id: str) -> None:
    complain(f"There is no message {letter_id}. List all messages: benchkeeper messages list --all")


def _print_letter(letter: DeadLetter, out: Terminal) -> None:
    row = letter.row
    lines: list[tuple[str, str | Text]] = [
        ("Message", Text(row.letter_id, style="bold")),
        ("Reason", Text(status_words(row.reason), style="red")),
        ("", row.detail),
        ("Sent", rfc3339(row.sent_at)),
        ("Received", rfc3339(letter.received_at)),
        ("From", letter.source or "-"),
        ("Names", ", ".join(row.users) or "no user could be read from it"),
        ("Size", _size(letter)),
    ]
    if row.tries:
        again = f"; again at {rfc3339(row.next_try_at)}" if row.next_try_at is not None else ""
        lines.append(("Tried", f"{row.tries} times automatically{again}"))
    if row.replayed_at is not None:
        lines.append(("Replayed", f"{rfc3339(row.replayed_at)}: {row.outcome}"))
    lines += [(f"  {name}", value) for name, value in sorted(letter.attributes.items()) if name not in OURS]
    grid = table([("", ""), ("", "fold")], lines)
    grid.show_header = False
    out.print(grid)
    out.print()
    for line in _pretty(letter.body).split("\n"):
        out.print(Text(f"  {line}"), soft_wrap=True)  # indented, so that no line of it can be mistaken for one of ours
    if row.replayed_at is None:
        out.print()
        out.print(Text(_advice(row)), soft_wrap=True)  # not wrapped, because the command in it is copied


def _size(letter: DeadLetter) -> str:
    kept = f", of which {len(letter.body):,} are stored: the message cannot be replayed" if letter.is_cut else ""
    return f"{letter.size:,} bytes{kept}"


def _advice(row: LetterRow) -> str:
    if row.function == "tick":
        return "Nothing to do: the next tick does the same work. Inform the sender of such ticks."
    return _ADVICE.get(bounded(row.reason), _ADVICE[Reason.INVALID_MESSAGE]).format(id=row.letter_id)


def _pretty(body: bytes) -> str:
    """Return indented JSON, other text unchanged, and escaped bytes for anything else."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return body.decode(errors="backslashreplace")
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


@messages_group.command(name="replay")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@_filters
@click.option("--all", "every", is_flag=True, help="Replay all messages that were neither replayed nor dismissed.")
@click.option("--as", "replay_as", metavar="SOURCE", help="Read messages without a topic as messages of this source.")
@click.option("--dry-run", is_flag=True, help="Show what would change, without changing anything.")
@output_option()
@pass_app
@guarded
def replay_letters(
    app: App, /, ids: tuple[str, ...], *, every: bool, replay_as: str | None, dry_run: bool, output: str, **filters: Any
) -> None:
    """Process messages again, as if they arrived now. Each message keeps its id and time, so no effect happens twice.

    A message that can now be processed is marked as replayed; the others stay. Exit code 1 if a message still cannot be
    processed.
    """
    filtered = any(value is not None for value in filters.values())
    if sum([bool(ids), filtered, every]) != 1:
        raise click.UsageError("Name the messages: IDs, or filters (--since, --until, --reason, --user), or --all.")
    deps, counted = app.deps, _Counted(missing=set(ids))

    def parse(letter: DeadLetter) -> Sequence[News]:
        settings = app.settings
        if replay_as is not None and replay_as not in settings.sources:
            raise click.UsageError(f"There is no source '{replay_as}'. The sources are: {', '.join(settings.sources)}.")
        return parse_letter(
            letter,
            sources=settings.sources,
            people=settings.people,
            max_bytes=settings.max_message_bytes,
            replay_as=replay_as,
        )

    def results() -> Iterator[Replayed]:
        rows = _Wanted(**filters, replayed_too=bool(ids)).rows(app)
        for row in rows:
            if ids and row.letter_id not in ids:
                continue
            counted.missing.discard(row.letter_id)
            result = replay(row, parse, deps, dry_run=dry_run)
            counted.add(result, quiet=output != "json")
            yield result

    if output == "json":
        print_array(_replayed_view(result) for result in results())
    else:
        out = console()
        for result in results():
            _print_replayed(result, out)
        say(counted.summary(dry_run=dry_run))
    for letter_id in sorted(counted.missing):
        _say_unknown(letter_id)
    if counted.failed or counted.missing:
        stop(FAILED)


class _Counted(Struct):
    """The counts of a replay so far: `used` messages were processed, `failed` were not, `missing` ids are not found yet."""

    missing: set[str]
    used: int = 0
    failed: int = 0

    def add(self, result: Replayed, *, quiet: bool) -> None:
        self.used += result.used
        self.failed += not result.used
        done = self.used + self.failed
        if not quiet and done % _PROGRESS_EVERY == 0:
            say(f"{done} messages so far, {self.failed} of them still cannot be processed.", err=True)

    def summary(self, *, dry_run: bool) -> str:
        if not self.used and not self.failed:
            return "Nothing to replay."
        verb = "could be processed" if dry_run else "replayed"
        return f"{self.used} {verb}, {self.failed} still cannot be processed."


def _print_replayed(result: Replayed, out: Terminal) -> None:
    style = "green" if result.used else "red"
    word = "ok" if result.used else status_words(result.reason)
    out.print(Text.assemble((result.row.letter_id, "bold"), "  ", (word, style)), soft_wrap=True)
    lines = [f"{change.user}: {change.text}" for change in result.changes] or [result.text]
    for line in lines:
        out.print(Padding(Text(line), (0, 0, 0, 2)))
    for action in (action for change in result.changes for action in change.actions):
        out.print(Padding(Text(f"then: {action}", style="dim"), (0, 0, 0, 4)))


def _row_view(row: LetterRow) -> dict[str, Any]:
    return {
        "letter_id": row.letter_id,
        "sent_at": rfc3339(row.sent_at),
        "reason": row.reason,
        "detail": row.detail,
        "function": row.function,
        "users": list(row.users),
        "replayed_at": rfc3339(row.replayed_at) if row.replayed_at is not None else None,
        "outcome": row.outcome,
    }


def _letter_view(letter: DeadLetter) -> dict[str, Any]:
    try:
        body: str | None = letter.body.decode()
    except UnicodeDecodeError:
        body = None
    return {
        **_row_view(letter.row),
        "received_at": rfc3339(letter.received_at),
        "source": letter.source,
        "size": letter.size,
        "cut": letter.is_cut,
        "attributes": dict(letter.attributes),
        "body": body,
        "body_hex": letter.body.hex() if body is None else None,
        "advice": _advice(letter.row) if letter.row.replayed_at is None else "",
    }


def _replayed_view(result: Replayed) -> dict[str, Any]:
    return {
        "letter_id": result.row.letter_id,
        "used": result.used,
        "reason": result.reason,
        "text": result.text,
        "changes": [{"user": c.user, "text": c.text, "actions": list(c.actions)} for c in result.changes],
    }
