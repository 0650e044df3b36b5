"""docs/drift.md against the tests that it names: no row without a test, no mutation without a row."""

from __future__ import annotations

import ast
import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from shared.domain.things.errors import Reason
from tests.engine.test_mutations import MUTATIONS, End

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "drift.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.splitlines()
    if line.startswith("| ") and not line.startswith(("| ---", "| what somebody"))
]
COMPLETE = {  # these hold the list of mutations itself
    "test_what_one_hand_changes_is_put_right_or_said",
    "test_every_field_that_a_patch_or_a_replacement_may_change_has_its_entry",
    "test_every_label_and_metadata_key_of_ours_has_its_entry",
    "test_an_entry_for_everybody_who_has_the_thing",
}
SAYS = {  # what a row must say of an end: (noticed by, what is done)
    End.MENDED: ("sweep", "patched in place|taken away in place|written again|stop, patch, start|the same"),
    End.RESTARTED: ("sweep", "stop, patch, start|the same"),
    End.WAITS: ("sweep", "waits|the same"),
    End.MENDED_LATER: ("pass", "set right"),
    End.SAID: ("sweep", "left, counted"),
    End.SAID_LATER: ("pass", "left, and said"),
}


def held_by(row: list[str]) -> list[str]:
    return re.findall(r"`([^`]+)`", row[4])


def named_tests() -> set[str]:
    tree = ast.parse((ROOT / "tests" / "engine" / "test_mutations.py").read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_the_table_is_read_whole():
    assert len(ROWS) == TEXT.count("\n| ") - 2
    assert {len(row) for row in ROWS} == {5}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:50])
def test_every_row_names_what_holds_it_and_a_reason_that_exists(row):
    names = held_by(row)
    assert names
    for name in names:
        if name.startswith("test_"):
            assert name in named_tests()
        else:
            assert [m for m in MUTATIONS if fnmatchcase(m.name, name)], f"no mutation is called {name}"
    reasons = {reason.value for reason in Reason}
    assert set(re.findall(r"\b[A-Z]\w+", row[3])) <= reasons


def test_every_mutation_and_every_test_has_its_row():
    spans = [name for row in ROWS for name in held_by(row)]
    for mutation in MUTATIONS:
        assert len([span for span in spans if fnmatchcase(mutation.name, span)]) == 1, mutation.name
    assert {span for span in spans if span.startswith("test_")} == named_tests() - COMPLETE


def test_a_row_says_what_the_mutation_shows():
    for row in ROWS:
        for mutation in MUTATIONS:
            if not any(fnmatchcase(mutation.name, span) for span in held_by(row)):
                continue
            for end in mutation.ends.values():
                noticed, done = SAYS[end]
                assert noticed in row[1], (mutation.name, end)
                assert re.search(done, row[2]), (mutation.name, end)
