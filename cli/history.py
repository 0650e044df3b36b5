"""The command `history`: the events of one user's environment, in order of time: the latest from the record, all from the audit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import click
from rich.text import Text

from cli.context import App, guarded, output_option, pass_app
from cli.output import Terminal, console, print_csv, print_json, say, table
from cli.users import say_unknown, user_key
from shared.domain.things.history import MAX_LINES, StoryKind, StoryLine
from shared.domain.things.times import rfc3339
from shared.engine.views.audit import history_since

_KINDS = {
    StoryKind.NEWS: Text("news", style="blue"),
    StoryKind.WISH: Text("asked for", style="green"),
    StoryKind.DECISION: Text("decision", style="bold"),
    StoryKind.CALL: Text("call", style="yellow"),
}
_COLUMNS = ("at", "kind", "text", "because", "ref")


@click.command()
@click.argument("user")
@click.option(
    "--kind", "kinds", multiple=True, type=click.Choice([kind.value for kind in StoryKind]),
    help="Show only lines of this kind; can be given more than once. Default: all.",
)  # fmt: skip
@click.option(
    "--since", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"]), default=None,
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
    lines = [line for line in story if not kinds or line.kind.value in kinds]
    if output == "json":
        print_json([_view(line) for line in lines])
    elif output == "csv":
        print_csv([_view(line) for line in lines], _COLUMNS)
    elif not lines:
        nothing = "Nothing has happened yet." if since is None else "Nothing has happened since then."
        say(nothing if not story else "No line of that sort.")
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
    """Print the history. The reason and the reference of an event are long, so they are printed below it on lines of their own."""
    rows: list[tuple[str | Text, ...]] = []
    for line in lines:
        rows.append((f"{line.at:%Y-%m-%d %H:%M}", _KINDS[line.kind], line.words))
        rows += [("", "", Text(more, style="dim")) for more in (line.because, line.ref) if more]
    out.print(table([("WHEN (UTC)", "whole"), ("", "whole"), ("WHAT", "fold")], rows))
    if is_cut:
        older = f"These are the latest {MAX_LINES} lines. All of them: --since 2026-01-01"
        out.print(Text(older, style="dim"))
