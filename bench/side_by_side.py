"""This repository compared with well-kept projects of the field: number and length of files and functions, and lines with comments.

`python bench/side_by_side.py` downloads the named releases, counts them and this repository in the same way, and prints the table
of docs/architecture.md. The length of a function includes its signature and its docstring; empty lines never count.
"""

from __future__ import annotations

import ast
import io
import statistics
import subprocess
import sys
import tempfile
import tokenize
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PEERS = {"kopf": "1.45.2", "httpx": "0.28.1", "jupyterhub-kubespawner": "7.1.0"}
OURS = {"Benchkeeper": ("functions", "shared", "portal", "cli"), "its embedded cloud": ("emulator",)}


def downloaded(name: str, version: str, folder: Path) -> Path:
    """Return the unpacked wheel of a release."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet"]
    subprocess.run([*command, "--dest", str(folder), f"{name}=={version}"], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder / "unpacked")
    return folder / "unpacked"


def lengths(text: str) -> Iterator[int]:
    """Yield the number of non-empty lines of each function of a file."""
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            yield sum(bool(line.strip()) for line in lines[node.lineno - 1 : node.end_lineno])


def commented(text: str) -> int:
    """Return the number of lines of a file with a comment."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return sum(token.type == tokenize.COMMENT for token in tokens)


def row(name: str, files: list[Path]) -> str:
    """Return one project's row of the Markdown table, computed from its non-empty files."""
    texts = [path.read_text(encoding="utf-8") for path in files]
    texts = [text for text in texts if text.strip()]
    sizes = [sum(bool(line.strip()) for line in text.splitlines()) for text in texts]
    functions = [length for text in texts for length in lengths(text)]
    share = 100 * sum(map(commented, texts)) / sum(sizes)
    return (
        f"| {name} | {len(texts)} | {statistics.median(sizes):.0f} | {max(sizes)} | {statistics.median(functions):.0f} "
        f"| {max(functions)} | {share:.0f} % |"
    )


def main() -> None:
    """Print the Markdown table that compares this repository with the other projects."""
    print("| | files | median file | longest | median function | longest | lines with a comment |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, folders in OURS.items():
        print(row(name, [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]))
    for name, version in PEERS.items():
        with tempfile.TemporaryDirectory() as folder:
            print(row(f"{name} {version}", sorted(downloaded(name, version, Path(folder)).rglob("*.py"))))


if __name__ == "__main__":
    main()
