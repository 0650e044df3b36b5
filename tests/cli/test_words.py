"""The words of every command's output for people: the page's words, no names of the code, no house words; JSON and CSV keep the names.

`Terminal.run` judges what each test of this folder prints. Here each command runs once, so that none is left out.
"""

from __future__ import annotations

import csv
import io
import json

import click
import pytest
from click.testing import CliRunner
from kit.kept_letters import PILOT, hr
from kit.wording import RAW, faults_of_output
from rich.cells import cell_len
from rich.padding import Padding
from rich.text import Text

from cli.main import main
from cli.output import Terminal, print_fleet, table
from emulator.faults import Fault
from shared.domain.policy.effect import StepKind as Effect
from shared.domain.record.cuts import StepKind as CutStep
from shared.domain.things.errors import Reason
from shared.engine.views.words import STATUS, STEPS, because_words, in_words, line_words, states_named

ANA, BEN = "ana.silva@example.com", "ben@example.com"
# Each command with words that make it say something. `demo` runs until Ctrl-C.
WORDS = {
    ("acknowledge",): [ANA],
    ("activity",): [ANA],
    ("approve",): ["0123", "--yes"],
    ("as-of",): ["2026-11-23"],
    ("audit", "list"): ["--since", "2026-11-23"],
    ("audit", "verify"): [],
    ("certificate",): [BEN],
    ("costs",): [],
    ("doctor",): [],
    ("erase",): [BEN, "--dry-run"],
    ("evidence",): [ANA],
    ("extend",): [ANA, "--for", "2h"],
    ("guard", "expect"): ["people.csv", "--until", "2026-12-01T18:00:00Z"],
    ("guard", "show"): ["0123"],
    ("history",): [ANA],
    ("hold",): [ANA, "--reason", "case 4711"],
    ("impact",): [],
    ("import", "seed"): [],
    ("list",): [],
    ("messages", "list"): [],
    ("messages", "replay"): ["1", "--dry-run"],
    ("messages", "show"): ["1"],
    ("names",): [ANA],
    ("plan",): [ANA],
    ("policy",): [],
    ("publish", "file"): ["people.csv"],
    ("publish", "joiner"): ["new.hire@example.com"],
    ("publish", "leave-cancelled"): [BEN],
    ("publish", "leaver"): [ANA],
    ("publish", "mover"): [ANA, "--profile", "engineer"],
    ("publish", "renamed"): [ANA, "ana.lima@example.com"],
    ("reconcile",): [ANA],
    ("reject",): ["0123", "--yes"],
    ("release",): [ANA],
    ("repair",): [ANA],
    ("restart",): [ANA],
    ("restore",): [ANA],
    ("roster", "allow"): ["employees", "--people", "3"],
    ("roster", "check"): ["people.csv"],
    ("roster", "drop"): ["people.csv"],
    ("roster", "show"): [],
    ("show",): [ANA],
    ("spark", "delete"): [ANA, "single-node"],
    ("spark", "list"): [ANA],
    ("spark", "start"): [ANA, "single-node"],
    ("start",): [ANA],
    ("state",): ["account-usable", ANA],
    ("stop",): [ANA],
    ("sweep",): ["idle", "--dry-run"],
    ("validate-config",): [],
    ("waves",): [],
}  # fmt: skip


def leaves(group: click.Group, path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    found = set()
    for name, command in group.commands.items():
        found |= leaves(command, (*path, name)) if isinstance(command, click.Group) else {(*path, name)}
    return found


def test_no_command_is_left_out():
    assert set(WORDS) == leaves(main) - {("demo",)}


@pytest.fixture
def world(terminal, letters):
    """One who waits for a machine, one who left, a message that could not be processed."""
    for email in (ANA, BEN):
        terminal.run("publish", "joiner", email, "--profile", "analyst", "--yes")
    terminal.deliver()
    for _ in range(8):
        terminal.advance(minutes=1)
        terminal.run("sweep", "due")
    terminal.run("publish", "leaver", BEN, "--yes")
    terminal.deliver()
    sold_out = {"call": "notebooks.StartInstance", "times": 0, "error": {"code": "RESOURCE_EXHAUSTED", "message": "ZONE_RESOURCE_POOL_EXHAUSTED"}}  # fmt: skip
    terminal.cloud.world.faults.add(Fault.parse(sold_out))
    letters("1", hr(ANA, attributes={"profile": "pilot"}), PILOT)
    return terminal


def test_every_command_speaks_in_words(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "people.csv").write_text("email,type\nana.silva@example.com,leaver\nnobody,leaver\n")
    heard = {}
    for path, words in WORDS.items():
        result = CliRunner().invoke(main, [*path, *words], env=world.environ)
        heard[path] = f"{result.output}\n{result.stderr}"
        assert result.exit_code in {0, 1, 2}, heard[path]
    assert [path for path, said in heard.items() if not said.strip()] == []
    found = {path: faults_of_output(said, WORDS[path]) for path, said in heard.items()}
    assert {path: faults for path, faults in found.items() if faults} == {}
    assert "Profile missing" in heard["messages", "show"]
    assert "Running" in heard["list",]
    assert "Not started" in heard["spark", "list"]


@pytest.mark.parametrize("line", ["list: NotEntitled", "is PRESENT", "Nobody matches.", "dead letters", "It stands."])
def test_a_fault_is_found(line):
    assert len(faults_of_output(line)) >= 1


def test_what_was_typed_and_headings_are_no_faults():
    assert faults_of_output("No reason NotEntitled.", ["--reason", "NotEntitled"]) == []
    assert faults_of_output("GROUP  COST") == []


def test_the_list_shows_words_and_takes_words_and_names(world):
    assert "Running" in world.run("list").stdout
    for asked in ("running", "Ready", "READY", "Running"):
        rows = json.loads(world.run("list", "--state", asked, "-o", "json").stdout)
        assert [(row["email"], row["state"]) for row in rows] == [(ANA, "Ready")]
    table = csv.DictReader(io.StringIO(world.run("list", "--state", "running", "-o", "csv").stdout))
    assert [row["state"] for row in table] == ["Ready"]
    assert [row["email"] for row in json.loads(world.run("list", "--access", "no", "-o", "json").stdout)] == [BEN]
    for typed, near in (
        ("runing", "'Running'"),
        ("redy", "'Ready'"),
        ("waiting for machine", "'Waiting for a machine'"),
    ):
        assert f"Did you mean {near}?" in world.run("list", "--state", typed, code=2).stderr
    assert (
        "Did you mean 'Profile missing'?" in world.run("messages", "list", "--reason", "profil missing", code=2).stderr
    )
    assert "1 message could" in world.run("messages", "list", "--reason", "profile missing").stdout


def test_states_are_named_by_word_and_by_name():
    for reason, word in STATUS.items():
        assert reason.value in states_named(word.upper())
        assert states_named(reason.value.lower()) >= {reason.value}
    assert states_named("of no such kind") == frozenset()


def test_a_sentence_with_a_name_says_the_word():
    assert in_words("Spark sessions: AccessDenied") == "Spark sessions: Permission missing"
    assert in_words("The create in zone-a failed: Stockout.") == "The create in zone-a failed: Waiting for a machine."
    assert in_words("Ready. McDonald is NotAReason.") == "Ready. McDonald is NotAReason."
    long = {each.value for each in Reason} & RAW
    assert [each for each in long if in_words(each) == each] == []


def test_a_line_about_a_condition_says_the_word_and_any_other_line_stays():
    assert line_words("Notebook: Stockout") == "Notebook: Waiting for a machine"
    assert line_words("Spark: AccessDenied") == "Spark: Access denied"
    assert [line_words(text) for text in ("Ready", "Note: a word")] == ["Ready", "Note: a word"]


def test_a_source_is_said_in_words():
    assert because_words("source hr") == "by HR"
    assert because_words("source operator; says mia@example.com") == "by an operator; says mia@example.com"
    assert because_words("source payroll") == "source payroll"


def test_every_step_of_a_change_has_words():
    assert {*CutStep, *Effect} <= set(STEPS)


def test_a_name_of_wide_characters_moves_no_column():
    out = Terminal(width=80)
    rows = [
        ("李.小龙@example.com", "analyst", "nb-x", "ACTIVE", None),
        ("ana@example.com", "analyst", "nb-a", "ACTIVE", None),
    ]
    with out.capture() as fleet:
        print_fleet(rows, out)
    with out.capture() as shown:
        out.print(table([("USER", "whole"), ("X", "")], [(user, "analyst") for user, *_ in rows]))
    for text in (fleet.get(), shown.get()):
        found = {cell_len(line.partition("analyst")[0]) for line in text.splitlines()[1:]}
        assert len(found) == 1, text


def test_what_is_indented_is_not_filled_up_in_a_pipe():
    out = Terminal(width=100_000)
    with out.capture() as shown:
        out.print(Padding(Text("words"), (0, 0, 0, 2)))
    assert shown.get() == "  words\n"
