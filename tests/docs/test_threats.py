"""docs/threats.md: each row names a test, and the test is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "threats.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::([\w:]+)`", TEXT)))


def names_in(path: Path) -> set[str]:
    """Tests by name, those of a class as `Class::name`."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{each.name}" for each in node.body if isinstance(each, ast.FunctionDef)}
    return found


def test_every_test_that_is_named_is_there() -> None:
    assert len(NAMED) > 15
    assert [f"{path}::{name}" for path, name in NAMED if name not in names_in(ROOT / path)] == []


def test_every_row_names_one() -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("| ") and "---" not in line]
    bare = [row for row in rows if "tests/" not in row and "| the same |" not in row and "| test |" not in row]
    assert [row.split("|")[1].strip() for row in bare] == ["who owns the project"]
