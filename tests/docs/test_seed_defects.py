"""The list of the seed's defects against the tests that it names: nothing is left out, nothing is named that is not there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "seed-defects.md").read_text(encoding="utf-8")
COUNT = 28
VERDICTS = {"Prevented", "Cannot occur", "Open in part"}
START = re.compile(r"(?m)^\*\*(\d+)\. ([^*]+)\*\* \*([^*]+)\.\*$")
NAMED = re.compile(r"`(tests/[^`:]+\.py)::(test_\w+)`")


def entries(text: str) -> list[tuple[int, str, str]]:
    """Number, verdict and text of each, in the order in which they stand."""
    starts = list(START.finditer(text))
    ends = [*(found.start() for found in starts[1:]), len(text)]
    return [(int(s[1]), s[3], text[s.end() : end]) for s, end in zip(starts, ends, strict=True)]


ENTRIES = entries(TEXT)
TESTS = sorted({found.groups() for found in NAMED.finditer(TEXT)})


@cache
def names_in(path: Path) -> frozenset[str]:
    """Names of the test functions at the top of a module, as pytest would collect them; a parametrised one once."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )


def faults(text: str) -> list[str]:
    """What is wrong with the list as a list."""
    found = entries(text)
    numbers = [number for number, _, _ in found]
    wrong = [] if numbers == list(range(1, COUNT + 1)) else [f"the numbers are {numbers}"]
    for number, verdict, body in found:
        if verdict not in VERDICTS:
            wrong.append(f"{number} says '{verdict}'")
        if verdict != "Cannot occur" and not NAMED.search(body):
            wrong.append(f"{number} names no test")
        if verdict == "Open in part" and "Still so: " not in body and "](limits.md)" not in body:
            wrong.append(f"{number} does not say what is open")
    return wrong


def test_every_defect_is_there_once_and_in_order_with_its_tests_or_why_not():
    assert faults(TEXT) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"**17. ": "**16. "}, "the numbers are"),
        ({"**28. ": "28. "}, "the numbers are"),
        ({"*Cannot occur.*": "*Perhaps.*"}, "22 says 'Perhaps'"),
        ({"*Cannot occur.*": "*Prevented.*", "::test_nothing_here_is_terraform": ""}, "22 names no test"),
        ({"Still so: our own": "Our own"}, "14 does not say what is open"),
    ],
)
def test_a_wrong_list_is_noticed(changes, says):
    text = TEXT
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    assert any(says in fault for fault in faults(text))


@pytest.mark.parametrize(("file", "name"), TESTS, ids=lambda part: part.removesuffix(".py").rpartition("/")[2])
def test_every_test_that_is_named_is_there(file, name):
    assert name in names_in(ROOT / file)


def test_nothing_looks_like_a_test_and_is_not_read_as_one():
    spans = re.findall(r"`([^`]*(?:::|test_)[^`]*)`", TEXT)
    assert len(spans) > COUNT
    assert [span for span in spans if not NAMED.fullmatch(f"`{span}`")] == ["tests/docs/test_seed_defects.py"]


def test_every_regression_test_that_was_written_for_the_list_is_in_it():
    own = "tests/unit/test_seed_defects.py"
    assert {name for file, name in TESTS if file == own} == names_in(ROOT / own)


def test_lines_are_short():
    assert [line for line in TEXT.splitlines() if len(line) > 140] == []
