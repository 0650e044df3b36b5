"""`waves`: how far a change of notebooks is, and that `impact` says beforehand that it goes in waves."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Terminal
from tests.cli.test_impact import edit, message, people, write

OLD, NEW = "family: workbench-instances-2603", "family: workbench-instances-2609"


def fleet(terminal: Terminal, tmp_path, count: int = 8) -> None:
    """People with the default profile, whose notebooks run."""
    joiners = [message(user) for user in people(count)]
    terminal.run("publish", "file", write(tmp_path / "joiners.jsonl", joiners), "--yes")
    assert terminal.deliver() == count
    ticks(terminal, 7)
    terminal.run("sweep", "drift", "--propose")


def ticks(terminal: Terminal, minutes: int) -> None:
    for _ in range(minutes):
        terminal.advance(minutes=1)
        terminal.run("sweep", "due")


def test_without_a_change_there_is_nothing_to_show(terminal: Terminal) -> None:
    assert "No rollout is under way" in terminal.run("waves").stdout
    assert json.loads(terminal.run("waves", "--output", "json").stdout) == {"rollout": None}


def test_impact_says_that_it_goes_in_waves(terminal: Terminal, tmp_path) -> None:
    fleet(terminal, tmp_path)
    edit(terminal, OLD, NEW)
    assert "The 8 notebooks are changed in waves, up to 1, 2, 8" in terminal.run("impact").stdout


def test_it_shows_how_far_a_change_is(terminal: Terminal, tmp_path) -> None:
    path = Path(terminal.environ["BENCHKEEPER_CONFIG_DIR"]) / "settings.local.yaml"
    path.write_text(path.read_text(encoding="utf-8") + "\nguard:\n  group_share: 1.0\n", encoding="utf-8")
    fleet(terminal, tmp_path)
    edit(terminal, OLD, NEW)
    terminal.run("sweep", "drift", "--propose")
    shown = terminal.run("waves").stdout
    assert "under way." in shown
    assert "not opened yet" in shown
    assert "1  wait until the notebook is stopped" in shown
    found = json.loads(terminal.run("waves", "--output", "json").stdout)["rollout"]
    assert (found["state"], found["wave"], found["sizes"], found["waits"]) == ("Open", 1, [1, 2, 8], 1)
    assert found["digest"] is None  # nothing is to be decided
