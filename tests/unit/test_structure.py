"""A file and a function of the product fit what a reader can hold."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("functions", "shared", "portal", "cli", "emulator", "benchkeeper")
FILES = [path.relative_to(ROOT) for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
MOST_LINES, MOST_OF_A_FUNCTION = 400, 60


def test_the_product_is_looked_at():
    assert len(FILES) > 300


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_file_is_longer_than_a_reader_holds(folder):
    found = {
        str(path): len((ROOT / path).read_text(encoding="utf-8").splitlines())
        for path in FILES
        if path.parts[0] == folder
    }
    assert {name: lines for name, lines in found.items() if lines > MOST_LINES} == {}


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_function_is_longer_than_a_screen(folder):
    found: dict[str, int] = {}
    for path in (each for each in FILES if each.parts[0] == folder):
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found[f"{path}:{node.name}"] = (node.end_lineno or 0) - node.lineno + 1
    assert {name: lines for name, lines in found.items() if lines > MOST_OF_A_FUNCTION} == {}
