"""The command line at a terminal of 80 columns, in a real pty: no help is cut, no table breaks an address; in a pipe all is plain."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from kit.inprocess import ROOT

from cli.main import EARLIER_NAMES, OPERATIONS, main

ADDRESS = "maria.magdalena.von-und-zu-hohenstein@sub.example.co"
COLUMNS = 80


def leaves(group: click.Group = main, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in sorted(group.commands.items()):
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from leaves(command, (*path, name))


ALL = list(leaves())
IDS = [" ".join(path) for path, _ in ALL]


def in_a_pty(words: list[str], environ: dict[str, str]) -> tuple[str, int]:
    """What the command prints at a terminal of 80 columns, and its exit code."""
    return run_in_a_pty([sys.executable, "-c", "from benchkeeper import run; run()", *words], environ)


def run_in_a_pty(program: list[str], environ: dict[str, str]) -> tuple[str, int]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    made = {"PATH": os.defpath, "LANG": "C.UTF-8", **environ, "TERM": "dumb", "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    made.pop("COLUMNS", None)
    with subprocess.Popen(program, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=made) as child:
        os.close(theirs)
        parts = []
        while True:
            try:
                part = os.read(ours, 65_536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            parts.append(part)
    os.close(ours)
    return b"".join(parts).decode().replace("\r\n", "\n"), child.returncode


@pytest.mark.parametrize(("path", "command"), ALL, ids=IDS)
def test_no_help_is_cut_or_wider_than_the_terminal(path, command):
    context = click.Context(command, info_name=path[-1], terminal_width=COLUMNS)
    text = command.get_help(context)
    assert "..." not in text.replace("[ARGS]...", "").replace("]...", "").replace("PATHS...", "").replace(
        "EMAILS...", ""
    )
    wide = [line for line in text.splitlines() if len(line) > COLUMNS]
    assert wide == [line for line in wide if max(map(len, line.split())) > COLUMNS - 40]


def test_the_whole_help_at_a_terminal():
    text, code = in_a_pty(["--help"], {})
    assert code == 0
    assert "to USER that were not delivered." in text
    assert "..." not in text.replace("[ARGS]...", "")
    operations = text[text.index("Operations:") :]
    assert all(f"  {name} " in operations for name in OPERATIONS)


def test_a_sentence_folds_at_a_terminal_and_columns_stay():
    program = """
from cli.output import say
say("a sentence of many words " * 6)
say("  and one that is indented, and folds below its own beginning, with a wide gap beyond")
say("   12  KEEP   as it is")
"""
    text, code = run_in_a_pty([sys.executable, "-c", program], {})
    assert code == 0
    assert max(map(len, text.splitlines())) <= COLUMNS
    assert "with a wide gap\n    beyond\n   12  KEEP   as it is\n" in text


def test_missing_choices_are_one_sentence(terminal):
    said = " ".join(terminal.run("sweep", code=2).stderr.split())
    assert "Choose from: due, idle, drift, roster (" in said


def test_a_full_disk_is_a_sentence():
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no device that is always full")
    program = [sys.executable, "-c", "from benchkeeper import run; run()", "names", "ana.silva@example.com"]
    made = {"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT), "BENCHKEEPER_ENV": "nowhere"}
    with full.open("w") as nowhere:
        done = subprocess.run(program, stdout=nowhere, stderr=subprocess.PIPE, env=made, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "No space left on device" in done.stderr


@pytest.mark.parametrize("where", ["cli.main", "shared.wiring"])
def test_an_interrupt_while_the_program_loads_is_no_traceback(where):
    program = f"""
import sys, signal

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == {where!r}:
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Interrupts())
signal.signal(signal.SIGINT, signal.default_int_handler)
from benchkeeper import run
run()
"""
    made = {"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, env=made, text=True, check=False, stdin=subprocess.DEVNULL
    )
    assert (done.returncode, done.stderr.strip()) == (1, "Aborted!")


@pytest.mark.parametrize(("path", "command"), ALL, ids=IDS)
def test_every_command_has_json(path, command):
    if path == ("demo",) or (isinstance(command, click.Group) and not command.invoke_without_command):
        return  # it runs until Ctrl-C; it only has commands
    if path in {("sweep",), ("import",)} and isinstance(command, click.Group):
        return
    (output,) = [each for each in command.params if "--output" in each.opts]
    assert isinstance(output.type, click.Choice)
    assert "json" in output.type.choices


@pytest.mark.parametrize(
    "words", [("--env", "nope", "list"), ("list", "--env", "nope"), ("list", "--env=nope", "-o", "json")]
)
def test_env_may_stand_anywhere(terminal, words):
    terminal.environ.pop("BENCHKEEPER_ENV")
    said = terminal.run(*words, code=2).stderr
    assert "settings.nope.yaml" in said


def test_env_without_a_name_is_wrong_use(terminal):
    assert "requires an argument" in terminal.run("list", "--env", code=2).stderr


def test_a_word_after_two_dashes_is_no_option(terminal):
    assert "No such person" not in terminal.run("show", "--", "--env", code=2).stderr


@pytest.mark.parametrize(
    ("words", "near"),
    [(("shwo",), "show"), (("lits",), "list"), (("messages", "lst"), "list"), (("spark", "strat"), "start"),
     (("roster", "chek"), "check"), (("publish", "joner"), "joiner")],
)  # fmt: skip
def test_a_typing_error_of_a_command_is_answered_with_the_nearest(terminal, words, near):
    said = terminal.run(*words, code=2).stderr
    assert f"there is no command '{words[-1]}'. Did you mean {near}" in said


def test_a_typing_error_of_a_user_key_is_answered_too(terminal):
    terminal.run("publish", "joiner", "ana.silva@example.com", "--yes")
    terminal.deliver()
    key = json.loads(terminal.run("list", "-o", "json").stdout)[0]["user_key"]
    wrong = f"{key[:-1]}{'0' if key[-1] != '0' else '1'}"
    assert f"Did you mean {key}?" in terminal.run("show", wrong, code=1).stderr


@pytest.mark.parametrize(("earlier", "now"), EARLIER_NAMES.items())
def test_earlier_names_work_and_are_in_no_help(terminal, earlier, now):
    assert (
        terminal.run(earlier, "--help").stdout.split("\n", 1)[1] == terminal.run(now, "--help").stdout.split("\n", 1)[1]
    )
    assert f"  {earlier} " not in terminal.run("--help").stdout


def test_show_alone_lists(terminal):
    terminal.run("publish", "joiner", "ana.silva@example.com", "--yes")
    terminal.deliver()
    assert terminal.run("show").stdout == terminal.run("list").stdout


def test_what_to_do_next_is_said_at_a_terminal_only(terminal):
    words = ["publish", "joiner", "ana.silva@example.com", "--yes"]
    assert "Follow it" not in terminal.run(*words).stdout
    text, code = in_a_pty([*words, "--event-id", "e-2"], terminal.environ)
    assert (code, "Follow it: benchkeeper show ana.silva@example.com" in text) == (0, True)


TABLES = [
    ("list",), ("show",), ("show", ADDRESS), ("history", ADDRESS), ("plan", ADDRESS), ("names", ADDRESS), ("costs",),
    ("costs", ADDRESS), ("costs", "--by", "person"), ("spark", "list", ADDRESS), ("sweep", "drift", "--dry-run"),
    ("roster",), ("policy",), ("waves",), ("messages", "list"), ("activity", ADDRESS), ("as-of", "2026-11-23"),
    ("impact",), ("validate-config",),
]  # fmt: skip


def test_no_table_breaks_an_address_at_a_terminal(terminal):
    terminal.run("publish", "joiner", ADDRESS, "--yes")
    terminal.deliver()
    for _ in range(8):
        terminal.advance(minutes=1)
        terminal.run("sweep", "due")
    terminal.run("sweep", "drift")
    row = json.loads(terminal.run("list", "-o", "json").stdout)[0]
    whole = (row["email"], row["user_key"], row["instance_id"], row["url"])
    for words in TABLES:
        text, code = in_a_pty(list(words), terminal.environ)
        assert code in {0, 1}, (words, text)
        assert "\x1b" not in text, words
        for name in whole:
            broken = [part for part in _halves(name) if part in text]
            assert name in text or not broken, (words, name, text)


def _halves(name: str) -> list[str]:
    """Pieces of a name that stand at a line's end or beginning only if it was broken."""
    middle = len(name) // 2
    return [f"{name[:at]}\n" for at in range(middle, len(name))]


def test_in_a_pipe_a_row_is_one_plain_line(terminal):
    terminal.run("publish", "joiner", ADDRESS, "--yes")
    terminal.deliver()
    terminal.environ.pop("COLUMNS", None)
    lines = terminal.run("list").stdout.splitlines()
    assert len([line for line in lines if ADDRESS in line]) == 1
    assert "\x1b" not in "".join(lines)
