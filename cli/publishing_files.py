"""The command `publish file`: many messages at once.

All faults are reported before the first message is sent; a dry run previews the effect of each message.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
from msgspec import Struct, field

from cli.context import FAILED, WRONG_USE, App, guarded, output_option, pass_app, stop
from cli.foreseeing import PersonPlan, about, foresee, unknown_people
from cli.output import agreed, complain, console, print_csv, print_json, say, say_next, table
from cli.progress import Progress
from cli.publishing import somebody_there
from cli.users import did_you_mean
from shared.cloud.publish import publish_all
from shared.domain.intent.changes import ChangeKind
from shared.domain.people.events import Joined, Left, Moved, News
from shared.domain.people.sources import OPERATOR, Shape, Source
from shared.domain.things.errors import BenchkeeperError, PoisonError, Reason, UnsupportedMessageError
from shared.engine.reconcile.guard import sizes_now
from shared.messages.files import MOST_ROWS, Row, RowFault, read_rows
from shared.messages.message import Message, Rules
from shared.messages.parse import parse_message

_COLUMNS = ("user", "lines", "kinds", "change", "plan")
_MOST_NAMED = 10
_COUNTED = {
    ChangeKind.JOINS: "joins",
    ChangeKind.MOVES: "moves",
    ChangeKind.LEAVES: "leaves",
    ChangeKind.LATER: "takes effect later",
    ChangeKind.NOTED: "noted, without another effect",
    ChangeKind.NOTHING_NEW: "nothing new",
}


class Content(Struct, kw_only=True):
    """The content of the files: messages with their news, and every fault.

    `seen` counts all messages, also those with faults. `not_acted_on` counts log entries of kinds that this version
    knows but does not use. Such entries are sent, and become dead letters.
    """

    rows: list[tuple[Row, tuple[News, ...]]] = field(default_factory=list)
    faults: list[RowFault] = field(default_factory=list)
    seen: int = 0
    not_acted_on: int = 0


@click.command(name="file")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--as",
    "source_name",
    default=OPERATOR,
    show_default=True,
    metavar="SOURCE",
    help="Read the messages as messages of this source.",
)
@click.option("--dry-run", is_flag=True, help="Show what each message would change, without sending anything.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@output_option("text", "json", "csv")
@pass_app
@guarded
def publish_file(app: App, paths: tuple[Path, ...], source_name: str, output: str, *, dry_run: bool, yes: bool) -> None:
    """Publish the messages in files: CSV, a JSON list, JSON lines or single messages, of the neutral schema.

    The first line of a CSV names the columns: type, user, person_id, event_id, occurred_at, effective_time, access_until,
    groups, profile, cost_center, reason, new_user; any other column is an attribute. Groups in a cell are separated by a space,
    | or ;. A message without an event_id gets one made of its content, so that publishing the same file twice gives the same
    events. With --as directory the files hold log entries. If there is a fault, nothing is sent.
    """
    source = source_named(app, source_name)
    content = read_content(app, paths, source)
    if content.faults:
        say_faults(content, output)
        stop(WRONG_USE)
    if content.not_acted_on:
        say(
            f"{content.not_acted_on:,} log entries are of kinds that Benchkeeper does not use; each becomes a dead letter.",
            err=True,
        )
    if dry_run:
        _dry_run(app, content, output)
        return
    if output == "csv":
        raise click.UsageError("CSV is for --dry-run.")
    if not yes:
        _ask(app, content, source, output)
    _send(app, content, source, output)


def source_named(app: App, name: str) -> Source:
    """Return the source of that name. Raise `UsageError` for an unknown name."""
    sources = app.settings.sources
    if name not in sources:
        raise click.UsageError(f"there is no source '{name}'. The sources are: {', '.join(sources)}.")
    return sources[name]


def read_content(app: App, paths: Sequence[Path], source: Source) -> Content:
    """Return the content of the files, read as messages of `source`.

    A message that the intake would refuse or use only in part is a fault.
    """
    settings, deps = app.settings, app.deps
    rules = Rules(source=source, people=settings.people, max_bytes=settings.max_message_bytes)
    content, said_at = Content(), deps.clock.now() - timedelta(microseconds=MOST_ROWS * len(paths))
    with Progress(deps.clock, "Messages read") as progress:
        for path in paths:
            found = read_rows(path.name, path.read_bytes())
            content.seen += len(found.rows)
            content.faults += found.faults
            for row in found.rows[:MOST_ROWS]:
                progress.advance()
                said_at += timedelta(microseconds=1)  # a later row has a later time, as when it is sent
                message = Message(
                    data=row.data,
                    attributes={},
                    message_id=f"{row.file}-{row.line}",
                    publish_time=said_at,
                    topic=source.topic,
                )
                _judge(app, row, message, rules, content)
    content.faults.sort(key=lambda fault: (fault.file, fault.line))
    return content


def _judge(app: App, row: Row, message: Message, rules: Rules, content: Content) -> None:
    """Read a message by the rules of the intake, and add it to `content` as a row or as a fault.

    A message is a fault if the intake would refuse it or use only a part of it. A log entry of a kind that is not used
    is no fault: it becomes a row without news.
    """
    problems: list[str] = []
    news: tuple[News, ...] = ()
    try:
        parsed = parse_message(message, rules)
        news = parsed.news
        problems += [f"{fault.error.detail.rstrip('.')}." for fault in parsed.faults]
        for piece in news:
            if isinstance(piece, Joined | Moved) and piece.profile:
                app.settings.catalog.profile(piece.profile)
    except UnsupportedMessageError as error:
        if error.reason is Reason.NOT_ALLOWED or Shape.GOOGLE_LOGS not in rules.source.shapes:
            problems.append(error.user_message)
        else:  # as when it first came: it must not keep the leavers in the same log from being sent
            content.not_acted_on += 1
    except PoisonError as error:
        problems.append(error.user_message)
    content.faults += [RowFault(file=row.file, line=row.line, problem=problem) for problem in problems]
    if not problems:
        content.rows.append((row, news))


def say_faults(content: Content, output: str) -> None:
    """Print all faults, and a sentence that nothing was sent."""
    if output == "json":
        print_json([{"file": f.file, "line": f.line, "problem": f.problem} for f in content.faults])
    else:
        for fault in content.faults:
            say(str(fault), err=True)
    count = len(content.faults)
    complain(
        f"{count:,} fault{'' if count == 1 else 's'}; {len(content.rows):,} of {content.seen:,} messages could be used. Nothing was "
        "sent. Correct or remove these lines, and publish again."
    )


# --- a dry run


def _dry_run(app: App, content: Content, output: str) -> None:
    deps = app.deps
    with Progress(deps.clock, "Messages looked up", total=len(content.rows)) as progress:
        plans = foresee(content.rows, deps, advance=progress.advance)
    counts = Counter(kind for plan in plans for kind in plan.kinds)
    refused = sum(len(plan.refused) for plan in plans)
    if output == "json":
        print_json(
            {
                "messages": len(content.rows),
                "people": len(plans),
                "counts": {**{kind.value: counts[kind] for kind in ChangeKind}, "refused": refused},
                "plans": [_view(plan) for plan in plans],
            }
        )
    elif output == "csv":
        print_csv((_cells(plan) for plan in plans), _COLUMNS)
    else:
        _print_plans(plans)
        say(_summary(len(content.rows), len(plans), counts, refused))
        for line in _limits(app, content):
            say(line)
    if refused:
        stop(FAILED)


def _summary(messages: int, people: int, counts: Counter[ChangeKind], refused: int) -> str:
    parts = [f"{words}: {counts[kind]:,}" for kind, words in _COUNTED.items() if counts[kind]]
    parts += [f"refused: {refused:,}"] if refused else []
    said = ", ".join(parts) or "nothing"
    return (
        f"{messages:,} message{'' if messages == 1 else 's'} about {people:,} {'person' if people == 1 else 'people'}. "
        f"{said[0].upper()}{said[1:]}. Nothing was sent."
    )


def _print_plans(plans: Iterable[PersonPlan]) -> None:
    rows: list[tuple[str, str]] = []
    for plan in plans:
        rows.append(
            (plan.user, "; ".join([*plan.texts, *(f"refused: {why}" for why in plan.refused)]) or "nothing new")
        )
        rows += [("", f"then: {action}") for action in plan.actions]
    console().print(table([("USER", "fold"), ("CHANGE", "fold")], rows))


def _view(plan: PersonPlan) -> dict[str, Any]:
    return {
        "user": plan.user,
        "lines": [f"{row.file}:{row.line}" for row in plan.rows],
        "kinds": [kind.value for kind in plan.kinds],
        "changes": list(plan.texts),
        "actions": list(plan.actions),
        "refused": list(plan.refused),
    }


def _cells(plan: PersonPlan) -> dict[str, str]:
    refused = ["refused"] if plan.refused else []
    return {
        "user": plan.user,
        "lines": " ".join(f"{row.file}:{row.line}" for row in plan.rows),
        "kinds": " ".join([*(kind.value for kind in plan.kinds), *refused]),
        "change": "; ".join([*plan.texts, *plan.refused]),
        "plan": "; ".join(plan.actions),
    }


# --- sending


def _ask(app: App, content: Content, source: Source, output: str) -> None:
    if not somebody_there():
        complain(
            "No question was asked, because stdin is not a terminal, and nothing was sent. Use --yes to send, or --dry-run for a preview."
        )
        stop(WRONG_USE)
    err = output == "json"
    kinds = Counter(type(piece).__name__.lower() for _, news in content.rows for piece in news)
    for line in (*_what_is_known(app, content), *_limits(app, content)):
        say(line, err=err)
    counted = ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items())) or "no news about any person"
    count = len(content.rows)
    question = f"Publish {count:,} message{'' if count == 1 else 's'} ({counted}) as {source.name}?"
    if not agreed(question, err=err):
        complain("Nothing was sent. To see the effect of each message, use --dry-run.")
        stop(FAILED)


def _what_is_known(app: App, content: Content) -> Iterator[str]:
    """Yield sentences about unknown users in messages other than joiners, because their addresses may be typing errors."""
    try:
        unknown = unknown_people([piece for _, news in content.rows for piece in news], app.deps)
    except BenchkeeperError as error:
        yield f"Not looked up: {error.user_message}"
        return
    for user, near in unknown[:_MOST_NAMED]:
        yield f"No such person: {user}. {did_you_mean(near) if near else ''}".rstrip()
    if len(unknown) > _MOST_NAMED:
        yield f"{len(unknown) - _MOST_NAMED:,} more are not known; --dry-run shows all."


def _limits(app: App, content: Content) -> Iterator[str]:
    """Yield a sentence on the guard's limit if more than one user in the files leaves."""
    leaving = {piece.user or piece.person_id for _, news in content.rows for piece in news if isinstance(piece, Left)}
    if len(leaving) < 2:  # noqa: PLR2004 - a single leaver needs no limit
        return
    try:
        limit = app.deps.policy.guard.per_hour_of(sizes_now(app.deps).everybody)
    except BenchkeeperError as error:
        yield f"The limit of an hour could not be read: {error.user_message}"
        return
    share = f"{app.deps.policy.guard.group_share:.0%} of a group"
    yield f"{len(leaving):,} people leave. At most {limit:,} people, and {share}, lose access in an hour; others wait for an approval."


def _waves(content: Content) -> list[list[Row]]:
    """Return the messages in waves. A wave is sent once the previous wave was accepted, so that a later row about a user gets a later publish time."""
    waves: dict[int, list[Row]] = {0: []}
    told: Counter[str] = Counter()
    for row, news in content.rows:
        people = {about(piece) for piece in news}
        number = max((told[person] for person in people), default=0)
        waves.setdefault(number, []).append(row)
        for person in people:
            told[person] = number + 1
    return [waves[number] for number in sorted(waves)]


def _send(app: App, content: Content, source: Source, output: str) -> None:
    rows = [row for wave in _waves(content) for row in wave]
    total, sent = len(rows), []
    try:
        with Progress(app.deps.clock, "Messages sent", total=total) as progress:
            for wave in _waves(content):
                bodies = (row.data for row in wave)
                for message_id in publish_all(
                    app.clients, project=app.settings.project, topic=source.topic, bodies=bodies
                ):
                    sent.append(message_id)
                    progress.advance()
    except BenchkeeperError as error:
        complain(
            f"{len(sent):,} of {total:,} messages were sent, then: {error.user_message}",
            "Publish the same files again: messages that were sent before are recognised by their event ids and have no further effect.",
        )
        stop(FAILED)
    if output == "json":
        messages = [
            {"file": row.file, "line": row.line, "message_id": message_id}
            for row, message_id in zip(rows, sent, strict=True)
        ]
        print_json({"published": total, "topic": source.topic, "messages": messages})
    else:
        say(f"Published {total:,} message{'' if total == 1 else 's'} to {source.topic}.")
        say_next("Each change: benchkeeper history USER. People who wait for an approval: benchkeeper guard")
