"""`history --since`, `audit`, `certificate`, `evidence` and `as-of` as a person types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Terminal

ANA = "ana.silva@example.com"


def minutes(terminal: Terminal, count: int) -> None:
    for _ in range(count):
        terminal.advance(minutes=1)
        terminal.run("sweep", "due")


@pytest.fixture
def left(terminal: Terminal) -> Terminal:
    """Ana came and left; Ben stays."""
    for user in (ANA, "ben@example.com"):
        terminal.run("publish", "joiner", user)
    terminal.deliver()
    minutes(terminal, 6)
    terminal.advance(days=1)
    terminal.run("publish", "leaver", ANA, "--yes")
    terminal.deliver()
    minutes(terminal, 5)
    terminal.run("sweep", "drift")  # which writes the manifest of the day before
    return terminal


def test_a_leaver_from_history_to_evidence(left: Terminal, tmp_path) -> None:
    told = json.loads(left.run("history", ANA, "--since", "2026-01-01", "-o", "json").stdout)
    assert told[0]["text"] == "Joined"
    assert "Verified gone" in [line["text"] for line in told]
    found = json.loads(left.run("certificate", ANA, "-o", "json").stdout)
    assert found["complete"]
    assert len(found["paths"]) == 8
    assert (
        "ben@example.com has access: there is nothing to certify"
        in left.run("certificate", "ben@example.com", code=1).stderr
    )
    assert "Nothing was altered" in left.run("audit", "verify").stdout
    assert ANA not in left.run("audit", "list", "-o", "csv").stdout
    day = left.cloud.world.clock.now().date().isoformat()
    then = json.loads(left.run("as-of", day, "-o", "json").stdout)
    assert [(row["user"], row["profile"]) for row in then] == [("ben@example.com", "analyst")]
    assert "in the future" in left.run("as-of", "2099-01-01", code=2).stderr
    for out in (tmp_path / "all.zip", tmp_path / "folder"):
        assert "2 records" in left.run("evidence", "--all", "--out", str(out)).stdout
        assert "nothing was altered" in left.run("evidence", "verify", str(out)).stdout
    (one,) = (tmp_path / "folder").glob("facts.csv")
    one.write_bytes(one.read_bytes()[:-1] + b"x")
    assert "facts.csv was altered" in left.run("evidence", "verify", str(tmp_path / "folder"), code=1).stderr
    _nowhere_to_write(left, tmp_path)
    left.run("evidence", code=2)
    left.run("evidence", ANA, "--all", code=2)
    left.run("evidence", "verify", str(tmp_path / "nothing"), code=1)


def _nowhere_to_write(left: Terminal, tmp_path) -> None:
    """A place that cannot be written is a sentence, not a traceback, and is found before anything is read."""
    assert "does not exist" in left.run("evidence", "--all", "--out", str(tmp_path / "none" / "x.zip"), code=2).stderr
    assert "is a folder" in left.run("evidence", "--all", "--out", str(_made(tmp_path / "made.zip")), code=2).stderr
    (tmp_path / "file").write_text("x")
    assert "is a file" in left.run("evidence", "--all", "--out", str(tmp_path / "file"), code=2).stderr
    assert "is not empty" in left.run("evidence", "--all", "--out", str(tmp_path), code=2).stderr
    assert "cannot be written" in left.run("evidence", "--all", "--out", str(tmp_path / "file" / "x"), code=1).stderr


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
