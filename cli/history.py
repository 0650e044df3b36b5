"""The command `history`: the events of one user's environment, in chronological order.

The record has the latest events, the audit has all.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click
from rich.text import Text

from cli.context import App, Day, guarded, output_option, pass_app
from cli.output import Terminal, console, print_csv, print_json, say
from cli.users import say_unknown, user_key
from shared.domain.things.history import MAX_LINES, StoryKind, StoryLine
from shared.domain.things.times import rfc3339
from shared.engine.views.audit import history_since
from shared.engine.views.words import because_words, line_words
from shared.visible import one_line

_KINDS = {
    StoryKind.NEWS: Text("news", style="blue"),
    StoryKind.WISH: Text("request", style="green"),
    StoryKind.DECISION: Text("decision", style="bold"),
    StoryKind.CALL: Text("call", style="yellow"),
}
_INDENT = len("2026-11-28 14:05  decision   ")  # of what happened, beside the time and the kind
_COLUMNS = ("at", "kind", "text", "because", "ref")


_NAMED = {"request" if kind is StoryKind.WISH else kind.value: kind for kind in StoryKind}


class _Kinds(click.Choice[str]):
    """The option type for the kinds of history lines, by their printed names; `wish` is the earlier name of `request`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return super().convert("request" if value == StoryKind.WISH.value else value, param, ctx)


@click.command()
@click.argument("user")
@click.option(
    "--kind", "kinds", multiple=True, type=_Kinds(list(_NAMED)),
    help="Show only lines of this kind; can be given more than once. Default: all.",
)  # fmt: skip
@click.option(
    "--since", type=Day(times=True), default=None,
    help="Show everything since this day or time (UTC), from the audit. Default: the latest lines, from the record.",
)  # fmt: skip
@output_option("table", "json", "csv")
@pass_app
@guarded
def history(app: App, user: str, kinds: tuple[str, ...], since: datetime | None, output: str) -> None:
    """Show the history of USER's environment: news, requests, decisions with their reasons, calls to the cloud.

    The record keeps the latest lines; --since reads all of them from the audit.
    """
    stored = app.deps.records.load(user_key(app, user))
    if stored is None:
        say_unknown(app, user)
    story: Sequence[StoryLine] = stored.record.status.story
    if since is not None:
        story = history_since(stored.record, app.deps, since.replace(tzinfo=UTC))
    lines = [line for line in story if not kinds or line.kind in {_NAMED[each] for each in kinds}]
    if output == "json":
        print_json([_view(line) for line in lines])
    elif output == "csv":
        print_csv([_view(line) for line in lines], _COLUMNS)
    elif not lines:
        nothing = "Nothing has happened yet." if since is None else "Nothing has happened since then."
        say(nothing if not story else "No line of that kind.")
    else:
        _print_story(lines, console(), is_cut=since is None and len(story) >= MAX_LINES)


def _view(line: StoryLine) -> dict[str, str]:
    return {
        "at": rfc3339(line.at),
        "kind": line.kind.value,
        "text": line.words,
        "because": line.because,
        "ref": line.ref,
    }


def _print_story(lines: list[StoryLine], out: Terminal, *, is_cut: bool) -> None:
    """Print the history. The reason and the reference of an event are printed below it, without truncation."""
    for line in lines:
        head = Text.assemble(f"{line.at:%Y-%m-%d %H:%M}  ", _KINDS[line.kind])
        head.pad_right(_INDENT - len(head))
        for number, part in enumerate(_folded(line_words(line.words), out.width)):
            out.print(Text.assemble(head if number == 0 else " " * _INDENT, part), soft_wrap=True)
        for more in (because_words(line.because), _ref(line.ref)):
            for part in _folded(more, out.width):
                out.print(Text(f"{' ' * _INDENT}{part}", style="dim"), soft_wrap=True)
    older = f" These are the latest {MAX_LINES} lines. All of them: --since 2026-01-01" if is_cut else ""
    out.print(Text(f"Times are UTC.{older}", style="dim"))


def _ref(ref: str) -> str:
    """Return the reference of a line; for an operation, only the last part of its name. JSON and CSV print the full name."""
    return ref.rpartition("/operations/")[2]


def _folded(text: str, width: int) -> list[str]:
    room = max(width - _INDENT, _INDENT)
    return textwrap.wrap(one_line(text), room, break_long_words=False, break_on_hyphens=False)
