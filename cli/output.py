"""The output of all commands: tables that fit the terminal, colours by meaning, JSON and CSV for scripts.

All of `cli/` prints through this module (a test holds this), because the output contains names, reasons and errors from
outside.
"""

from __future__ import annotations

import io
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import click
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.padding import Padding
from rich.segment import Segment
from rich.status import Status
from rich.style import Style
from rich.table import Table
from rich.text import Text

from cli.fitted import FittedTable
from shared.engine.views.words import status_words
from shared.sheet import csv_lines
from shared.visible import json_text, one_line, visible

# green: as wanted; yellow: under way; blue: at rest; red: needs attention; dim: gone.
_COLOURS = {
    "green": {"Ready", "True", "ACTIVE", "RUNNING", "PRESENT", "Settled", "Saved"},
    "yellow": {
        "Creating", "Starting", "Stopping", "Deleting", "Updating", "Waiting", "Pending", "UpdatePending", "Busy",
        "PROVISIONING", "STARTING", "INITIALIZING", "STOPPING", "Conflict", "Unknown", "RateLimited", "Saving", "Restoring",
        "Replacing",
    },
    "blue": {"Stopped", "Idle", "STOPPED", "SUSPENDED", "Retained", "OnHold"},
    "red": {
        "Stockout", "QuotaExhausted", "CloudUnavailable", "AccessDenied", "NotOurs", "InvalidSpec", "Stuck",
        "Unreadable", "AccessNotCut", "NotAnswering", "UnknownAnswer", "OrganizationPolicy", "Perimeter", "ApiDisabled", "BillingDisabled",
        "OperationFailed", "UnknownProfile", "Unexpected", "UNREADABLE", "SnapshotFailed", "DataMissing", "Drifted",
    },
    "dim": {"Removed", "Revoked", "NotEntitled", "ABSENT", "NONE"},
}  # fmt: skip


class Terminal(Console):
    """A terminal that prints foreign text as plain text: markup is not interpreted, and control characters have no effect.

    A string or a `Text` is printed on one line, with line ends escaped. Every other object is cleaned segment by segment.
    """

    def __init__(self, **how: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, soft_wrap=False, **how)

    def print(self, *objects: Any, **how: Any) -> None:
        """Print each string or `Text` on one line. Text that is wider than the terminal is not cut; the terminal wraps it."""
        super().print(*map(_on_one_line, objects), **{"crop": False, **how})

    def status(self, status: RenderableType, **how: Any) -> Status:
        """Return a spinner beside a text."""
        return super().status(_on_one_line(status), **how)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield cleaned segments. All output of rich passes through this method, also that of live views."""
        for segment in super().render(renderable, options):
            yield _clean(segment)


def _on_one_line(shown: Any) -> Any:
    match shown:
        case str():
            return Text(one_line(shown))
        case Text():
            return _line(shown)
        case Padding():
            shown.renderable = _on_one_line(shown.renderable)
            shown.expand = False  # a pipe is 100,000 columns wide
            return shown
        case _:
            return shown


def _line(shown: Text) -> Text:
    """Return the text unchanged if it has nothing to escape, else the escaped text with the one style of the whole text."""
    plain = one_line(shown.plain)
    return shown if plain == shown.plain else Text(plain, style=shown.style)


def _clean(segment: Segment) -> Segment:
    if segment.control is not None:
        return segment
    style = segment.style
    if style is not None and style.link is not None and not _is_address(style.link):
        style = style.update_link(None)
    return Segment(visible(segment.text), style)


def _is_address(link: str) -> bool:
    """Return True if the text can be a link. A control character would end the link's escape sequence."""
    return link.isascii() and link.isprintable() and " " not in link


def console(*, stderr: bool = False) -> Terminal:
    """Return the terminal for stdout or stderr.

    If that stream is not a terminal, plain text is printed without folding, unless $COLUMNS sets a width.
    """
    if (sys.stderr if stderr else sys.stdout).isatty():
        return Terminal(stderr=stderr)
    return Terminal(stderr=stderr, width=shutil.get_terminal_size((_NEVER_FOLDED, 0)).columns)


def coloured(word: str) -> Text:
    """Return a state in the colour of its meaning; without a colour if the state is unknown."""
    for style, words in _COLOURS.items():
        if word in words:
            return Text(word, style=style)
    return Text(word)


def said_state(state: str) -> Text:
    """Return the page's word for a notebook's state (the value of the enum), in the colour of its meaning."""
    return Text(status_words(state), style=coloured(state).style)


def say(message: str, *, err: bool = False) -> None:
    """Print a sentence on stdout or on stderr: folded between words at a terminal, otherwise on one line."""
    click.echo(_folded(one_line(message), err=err), err=err)


def say_next(message: str) -> None:
    """Print a hint on the next step, only if the output is a terminal."""
    if sys.stdout.isatty():
        say(message)


def _folded_error(text: str) -> str:
    """Return an error's text, folded so that it fits after click's `Error: `."""
    prefix = "Error: "
    return _folded(prefix + text, err=True).removeprefix(prefix)


def _folded(text: str, *, err: bool) -> str:
    if not (sys.stderr if err else sys.stdout).isatty():
        return text
    width = shutil.get_terminal_size().columns
    if cell_len(text) <= width:
        return text  # spaces between columns stay as they are
    indent = " " * (len(text) - len(text.lstrip(" ")) + 2)
    return textwrap.fill(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def complain(message: str, *more: str) -> None:
    """Print a sentence on stderr, and further lines below it."""
    red = "red" if sys.stderr.isatty() else None
    click.secho(_folded(f"benchkeeper: {one_line(message)}", err=True), err=True, fg=red)
    for line in more:
        click.secho(_folded(f"  {one_line(line)}", err=True), err=True, fg=red)


def forget_output() -> None:
    """Discard the text that is buffered for stdout: writing it would fail again when Python ends."""
    sys.stdout = io.StringIO()


def agreed(question: str, *, err: bool = False) -> bool:
    """Return True if the person at the terminal answers yes, False for no. With `err`, ask on stderr.

    The caller must make sure that there is a terminal. Raise `click.Abort` for Ctrl-C and at the end of the input.
    `click.confirm` is not used: its `input()` writes the question and drops a Ctrl-C that arrives meanwhile, so a *y*
    that follows would be accepted.
    """
    while True:
        try:
            click.echo(f"{_folded(f'{one_line(question)} [y/N]:', err=err)} ", nl=False, err=err)
            answer = sys.stdin.readline()
        except KeyboardInterrupt:
            raise click.Abort from None
        if not answer:
            raise click.Abort
        said = answer.strip().lower()
        if said in {"y", "yes"}:
            return True
        if said in {"n", "no", ""}:
            return False
        click.echo("Answer y or n.", err=err)


def print_json(data: Any) -> None:
    """Print indented JSON. Letters outside ASCII are not escaped, but control characters are."""
    click.echo(json_text(data, indent=2))


def print_array(items: Iterable[Mapping[str, Any]]) -> None:
    """Print a JSON array item by item, as the items come."""
    opening = "["
    for item in items:
        click.echo(f"{opening}\n{json_text(item, indent=2)}", nl=False)
        opening = ","
    click.echo("[]" if opening == "[" else "\n]")


def print_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Print CSV with a header, as the page exports it. Control characters are escaped, because the output may go to a terminal."""
    click.echo(visible(csv_lines([columns], end="\n")), nl=False)
    for row in rows:
        click.echo(visible(csv_lines([[row.get(column) for column in columns]], end="\n")), nl=False)


@contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        if error.ctx is None:
            raise
        # One line: what is wrong, and where the valid use is described. The usage text before it would hide both.
        said = error.format_message()
        if isinstance(error, click.MissingParameter):
            said = " ".join(said.split())  # click lists the choices in lines of their own
        told = f"{one_line(said)} ({error.ctx.command_path} --help tells more.)"
        raise click.UsageError(_folded_error(told)) from error
    except click.ClickException as error:
        vars(error)["message"] = _folded_error(
            one_line(error.message)
        )  # click prints this attribute; it is declared final, and there is no other way to change it
        raise


class PlainCommand(click.Command):
    """A command whose usage errors are printed as plain text, whatever was typed or read."""

    def make_context(self, *arguments: Any, **more: Any) -> click.Context:
        """Parse the arguments. Usage errors are printed as plain text."""
        with _plain_errors():
            return super().make_context(*arguments, **more)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command and its subcommands. Usage errors are printed as plain text."""
        with _plain_errors():
            return super().invoke(ctx)


class PlainGroup(PlainCommand, click.Group):
    """A group whose usage errors are plain text, and whose help shows whole sentences.

    For a mistyped command, the group suggests the nearest command.
    """

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each command with the first sentence of its help, folded and not cut."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows: dict[str, list[tuple[str, str]]] = {}
        for name, command in found:
            if command is not None and not command.hidden:
                heading = self.heading_of(name)
                rows.setdefault(heading, []).append((name, command.get_short_help_str(limit=_WHOLE_SENTENCE)))
        for heading in sorted(rows):
            with formatter.section(heading):
                formatter.write_dl(rows[heading])

    def heading_of(self, _name: str) -> str:
        """Return the heading under which the help lists a command."""
        return "Commands"

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command. For an unknown name, raise a usage error that suggests the nearest names."""
        name = args[0]
        if self.get_command(ctx, name) is None and not ctx.resilient_parsing and not name.startswith("-"):
            near = get_close_matches(name, self.list_commands(ctx), n=2, cutoff=0.5)
            asked = f" Did you mean {' or '.join(near)}?" if near else ""
            raise click.UsageError(f"there is no command '{name}'.{asked}", ctx)
        return super().resolve_command(ctx, args)


_WHOLE_SENTENCE = 10_000  # characters
_NEVER_FOLDED = 100_000  # characters
# A notebook's address has 73 characters: with other columns it needs a wide terminal.
_WIDE = 165


def print_fleet(rows: Sequence[tuple[str, str | None, str | None, str, str | None]], out: Terminal) -> None:
    """Print rows of (user, profile, instance, value of a state, address).

    Values that do not fit beside the user get lines of their own; nothing is truncated.
    """
    cells = [(user, profile or "-", said_state(state), instance or "-") for user, profile, instance, state, _ in rows]
    addresses = [Text(url or "-", style=Style(link=url) if url else "") for *_, url in rows]
    columns = [("USER", "whole"), ("PROFILE", "whole"), ("STATE", "whole"), ("INSTANCE", "whole")]
    if out.width >= _WIDE:
        out.print(table([*columns, ("URL", "")], [(*cell, url) for cell, url in zip(cells, addresses, strict=True)]))
        return
    needs = [max([len(name), *(cell_len(str(cell[i])) for cell in cells)]) for i, (name, _) in enumerate(columns)]
    beside = next(n for n in (4, 3, 1) if n == 1 or sum(needs[:n]) + 2 * (n - 1) <= out.width)
    out.print(_in_line([Text(name, style="bold") for name, _ in columns[:beside]], needs), soft_wrap=True)
    for cell, address in zip(cells, addresses, strict=True):
        texts = [each if isinstance(each, Text) else Text(each) for each in cell]
        out.print(_in_line(texts[:beside], needs), soft_wrap=True)
        if beside == 1:
            out.print(Text.assemble("  ", _in_line(texts[1:3], needs[1:])), soft_wrap=True)
        below = [*([texts[3]] if beside < len(columns) else []), *([address] if address.plain != "-" else [])]
        for each in below:
            out.print(Text.assemble("  ", each), style="dim", soft_wrap=True)


def _in_line(texts: Sequence[Text], widths: Sequence[int]) -> Text:
    """Return the texts in columns, without trailing blanks."""
    parts = [
        each for text, width in zip(texts, widths, strict=False) for each in (text, " " * (width - text.cell_len + 2))
    ]
    return Text.assemble(*parts[:-1])


def table(columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[str | Text]], *, title: str = "") -> Table:
    """Return a table that never breaks a word.

    Columns are (heading, overflow): `whole` is never folded, all others between words.
    """
    cells = [[_line(cell) if isinstance(cell, Text) else Text(one_line(cell)) for cell in row] for row in rows]
    headings = [one_line(heading) for heading, _ in columns]
    return FittedTable(headings, cells, [overflow == "whole" for _, overflow in columns], title=one_line(title))


def said_size(size: int) -> str:
    """Return a size such as `12.3 GB`, with units of 10^9 bytes as the APIs count."""
    for unit, factor in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"
