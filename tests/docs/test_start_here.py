"""docs/start-here.md and CONTRIBUTING.md: every file and function that a newcomer is sent to is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "start-here.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
TOP = ("functions", "cli", "portal", "shared", "emulator", "config", "tests", "docs", "bench")
RECIPES = {
    "An event", "A field of a profile", "A table on a page", "A sweep", "An action in the cloud", "A message to a user", "A mail to a user",
    "A kind of resource", "An API of the embedded cloud",
}  # fmt: skip


def paths(text: str) -> set[str]:
    """Return what stands in code marks and looks like a path of this repository."""
    return {span for span in re.findall(r"`([\w./-]+)`", text) if span.startswith(tuple(f"{top}/" for top in TOP))}


def recipes() -> dict[str, str]:
    """Return the text of each recipe by its heading."""
    _, _, rest = TEXT.partition("\n## Recipes\n")
    parts = re.split(r"(?m)^### (.+)$", rest)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def names_in(path: Path) -> set[str]:
    """Return the names of all functions and classes of a module, methods too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}


@pytest.mark.parametrize("text", [TEXT, CONTRIBUTING], ids=["start-here", "contributing"])
def test_every_path_that_is_named_exists(text: str):
    assert paths(text)
    assert [path for path in sorted(paths(text)) if not (ROOT / path).exists()] == []


def test_there_is_a_recipe_for_each_usual_change_with_files_and_a_test():
    assert set(recipes()) == RECIPES
    for title, text in recipes().items():
        assert len([path for path in paths(text) if not path.startswith("tests/")]) >= 3, title
        assert [path for path in paths(text) if path.startswith("tests/")], title


def test_every_function_of_the_journey_is_in_its_file():
    steps = re.findall(r"\| `([\w/]+\.py)` \| `(\w+)` \|", TEXT)
    assert len(steps) >= 12
    assert [f"{path}: {name}" for path, name in steps if name not in names_in(ROOT / path)] == []


def test_what_a_recipe_says_to_follow_is_there():
    followed = re.findall(r"Follow `(\w+)` with `git grep`", TEXT)
    assert followed
    product = [path.read_text(encoding="utf-8") for path in (ROOT / "shared").rglob("*.py")]
    for word in followed:
        assert sum(word in source for source in product) >= 2, word
