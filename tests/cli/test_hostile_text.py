"""Nothing that others wrote acts on the terminal of who runs the command line: neither in a table nor in an error, nor as markup."""

from __future__ import annotations

import ast
import io
import json
import re
import signal
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cli.local.follow import Line, picture
from cli.main import main
from cli.output import (
    PlainGroup,
    Terminal,
    agreed,
    coloured,
    complain,
    print_array,
    print_csv,
    print_fleet,
    print_json,
    say,
    table,
)
from shared.domain.things.times import parse_time

CLI = Path(__file__).resolve().parents[2] / "cli"
NASTY = "\x1b[2J\x1b]52;c;AAAA\x07\x9b31m\u202eevil\u2066\u200b\r\b[red]bold[/red] [link=http://evil]x[/link] :bomb:\nbenchkeeper: all is well"
# What rich itself sends to a terminal: colours, and its own links.
_OWN = re.compile(r"\x1b\[[0-9;]*m|\x1b\]8;[^\x1b]*\x1b\\|\x1b\[\?25[lh]|\x1b\[[0-9]*[A-K]|\r")


class Screen(Terminal):
    """A terminal that keeps what is sent to it."""

    def __init__(self, **how: Any) -> None:
        super().__init__(file=io.StringIO(), width=200, force_terminal=True, **{"color_system": None, **how})

    @property
    def sent(self) -> str:
        assert isinstance(self.file, io.StringIO)
        return self.file.getvalue()


def is_harmless(sent: str) -> bool:
    """Nothing but letters, ends of lines and rich's own sequences; the injected line is not a line; markup is shown as it is."""
    rest = _OWN.sub("", sent)
    acting = re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]", rest)
    return acting is None and not any(line.strip().startswith("benchkeeper: all is well") for line in rest.split("\n"))


@pytest.mark.parametrize(
    "shown",
    [
        NASTY, Text(NASTY), Text(NASTY, style="bold"), Text.assemble(("a", "red"), NASTY), Padding(Text(NASTY), (0, 0, 0, 2)),
        coloured(NASTY), table([(NASTY, "")], [(NASTY,)], title=NASTY), table([("A", "fold"), ("B", "whole")], [(Text(NASTY), NASTY)]),
    ],
    ids=lambda shown: type(shown).__name__,
)  # fmt: skip
def test_whatever_is_printed_is_harmless(shown: object) -> None:
    screen = Screen()
    screen.print(shown, soft_wrap=True)
    assert is_harmless(screen.sent), screen.sent
    assert r"\x1b[2J" in screen.sent
    assert r"\u202e" in screen.sent
    assert "[red]bold[/red]" in screen.sent
    assert ":bomb:" in screen.sent


def test_what_was_not_cleaned_before_is_cleaned_on_its_way_out() -> None:
    grid = Table()
    grid.add_column(NASTY.replace("\n", " "))
    grid.add_row("\x1b[31m")
    screen = Screen()
    screen.print(grid)
    assert is_harmless(screen.sent), screen.sent


def test_a_live_view_and_a_spinner_are_harmless_too() -> None:
    screen = Screen()
    line = Line(NASTY, "Creating", NASTY, parse_time("2026-11-28T08:00:00Z") - parse_time("2026-11-28T07:00:00Z"), None)
    with Live(console=screen, auto_refresh=False) as live:
        live.update(picture([line], 1), refresh=True)
    with screen.status(NASTY):
        pass
    assert is_harmless(screen.sent), screen.sent


def test_a_link_leads_only_to_an_address() -> None:
    screen = Screen(color_system="truecolor")
    print_fleet([("ana", "p", "nb-ana", "Ready", "http://x\x1b\\\x1b[2J")], screen)
    assert is_harmless(screen.sent), screen.sent
    assert r"\x1b[2J" in screen.sent


@pytest.mark.parametrize(
    "write", [say, complain, lambda text: complain("x", text), lambda text: print_json({"a": text})]
)
def test_lines_complaints_and_json_are_harmless(write, capsys: pytest.CaptureFixture[str]) -> None:
    write(NASTY)
    sent = "".join(capsys.readouterr())
    assert is_harmless(sent), sent
    assert "\n" not in sent.rstrip("\n") or "x" in sent or sent.startswith("{")


def test_json_is_the_same_for_who_reads_it(capsys: pytest.CaptureFixture[str]) -> None:
    print_json([NASTY])
    print_array([{"a": NASTY}, {"b": "ü"}])
    print_array([])
    first, _, rest = capsys.readouterr().out.partition("]\n")
    assert json.loads(first + "]") == [NASTY]
    assert is_harmless(first + rest)
    assert json.loads(rest.removesuffix("[]\n")) == [{"a": NASTY}, {"b": "ü"}]
    assert "ü" in rest


def test_csv_on_a_terminal_is_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    print_csv([{"a": NASTY, "b": -5}, {"a": "=1\t+2", "b": None}], ["a", "b"])
    sent = capsys.readouterr().out
    assert is_harmless(sent.replace("\nbenchkeeper: all is well", "")), sent
    assert ",-5\n" in sent
    assert "'=1\\t'+2," in sent


def test_a_question_is_harmless(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert agreed(NASTY)
    assert is_harmless(capsys.readouterr().out)


class Interrupted(io.StringIO):
    """A terminal on which Ctrl-C is pressed when the whole question stands there."""

    def flush(self) -> None:
        if self.getvalue().endswith(" "):
            signal.raise_signal(signal.SIGINT)


def test_ctrl_c_while_the_question_is_written_is_no_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    monkeypatch.setattr("sys.stdout", Interrupted())
    try:
        with pytest.raises(click.Abort):
            agreed("Do this?")
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("typed", "is_yes"),
    [("y\n", True), (" YES \r\n", True), ("n\n", False), ("No\n", False), ("\n", False), ("maybe\ny\n", True), ("maybe\n\n", False)],
)  # fmt: skip
def test_only_y_and_yes_are_a_yes(monkeypatch: pytest.MonkeyPatch, typed: str, *, is_yes: bool) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    assert agreed("Do this?") is is_yes


def test_the_end_of_the_input_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("maybe\n"))
    with pytest.raises(click.Abort):
        agreed("Do this?")


@pytest.mark.parametrize(
    "words",
    [("list", NASTY), (f"--{NASTY}",), (NASTY,), ("list", "--output", NASTY), ("hold", "a@example.com"), ("names", NASTY),
     ("publish", "joiner", NASTY), ("history", "a@example.com", "--kind", NASTY), ("sweep", NASTY)],
    ids=lambda words: words[0][:8],
)  # fmt: skip
def test_wrong_use_is_told_in_plain_text(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHKEEPER_API_ENDPOINT", "http://127.0.0.1:1")
    done = CliRunner().invoke(main, list(words))
    assert done.exit_code in {1, 2}
    assert is_harmless(done.output), done.output


def test_an_error_of_a_command_is_told_in_plain_text() -> None:
    @click.group(cls=PlainGroup)
    def group() -> None:
        """Hold one command."""

    @group.command()
    def fails() -> None:
        raise click.ClickException(NASTY)

    done = CliRunner().invoke(group, ["fails"])
    assert done.exit_code == 1
    assert is_harmless(done.output), done.output
    assert r"\x1b[2J" in done.output


# --- nothing prints past cli/output.py

_PRINTERS = {"echo", "secho", "confirm", "prompt", "echo_via_pager", "style", "pause", "progressbar", "clear"}


def printed_past(source: str) -> list[str]:
    """What this source prints with, other than through `cli.output`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name(id="click"), attr=name) if name in _PRINTERS:
                found.append(f"click.{name}")
            case ast.Attribute(
                value=ast.Name(id="sys"), attr="stdout" | "stderr" | "__stdout__" | "__stderr__" as name
            ):
                found.append(f"sys.{name}")
            case ast.Name(id="print" | "breakpoint" | "input" as name):
                found.append(name)
            case ast.ImportFrom(module="click" | "rich" | "rich.console" as module, names=names):
                found += [
                    f"{module}.{each.name}"
                    for each in names
                    if each.name in {*_PRINTERS, "print", "Console", "print_json"}
                ]
            case (
                ast.Attribute(value=ast.Name(id="rich"), attr=name)
                | ast.Attribute(value=ast.Name(id="os"), attr="write" as name)
            ):
                found.append(name)
            case ast.Call(func=ast.Name(id="Console")):
                found.append("Console")
    return found


def test_nothing_in_the_command_line_prints_past_its_one_door() -> None:
    past = {
        str(path.relative_to(CLI)): found
        for path in sorted(CLI.rglob("*.py"))
        if path != CLI / "output.py" and (found := printed_past(path.read_text()))
    }
    assert past == {}


@pytest.mark.parametrize(
    "source",
    ["import click\nclick.echo(1)", "print(1)", "from rich import print", "from rich.console import Console\nConsole()",
     "import sys\nsys.stderr.write('x')", "from click import secho", "import click\nclick.confirm('?')"],
)  # fmt: skip
def test_what_prints_past_it_is_found(source: str) -> None:
    assert printed_past(source)


def test_every_group_of_commands_tells_errors_in_plain_text() -> None:
    assert isinstance(main, PlainGroup)
    for entry in ("deploy", "local"):
        source = (CLI / entry / "__main__.py").read_text()
        assert re.search(r"@click\.(group|command)\(cls=Plain(Group|Command)", source)
