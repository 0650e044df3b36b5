"""`benchkeeper erase`: refuses in clear words, asks, and says what it erases."""

from __future__ import annotations

import json

import pytest

from shared.domain.intent.lifetimes import Kept
from shared.domain.things.identity import UserKey
from shared.engine.sweeps.lifetimes import Erasure
from shared.engine.sweeps.sweeps import sweep
from shared.settings import load_settings
from shared.telemetry import SilentLog
from shared.wiring import wire
from tests.cli.conftest import Terminal

ANA = "ana.silva@example.com"


def deps(terminal: Terminal):
    return wire(load_settings(environ=terminal.environ), log=SilentLog())


def minutes(terminal: Terminal, count: int = 8) -> None:
    for _ in range(count):
        terminal.advance(minutes=1)
        sweep("due", deps(terminal))


@pytest.fixture
def left(terminal: Terminal) -> Terminal:
    """Ana has left, and nothing of her exists any more."""
    terminal.run("publish", "joiner", ANA)
    terminal.deliver()
    minutes(terminal)
    terminal.run("publish", "leaver", ANA, "--yes")
    terminal.deliver()
    minutes(terminal)
    for days in (31, 60):
        terminal.advance(days=days)
        minutes(terminal)
    return terminal


def test_it_says_what_it_would_erase_and_erases_it(left: Terminal) -> None:
    said = left.run("erase", ANA, "--dry-run").stdout
    assert "Of ana.silva@example.com:" in said
    assert "the record's address, history and facts, except those that ended access" in said
    assert "1 manifest of a deleted snapshot" in said
    assert ANA in left.run("list").stdout
    assert "Erased." in left.run("erase", ANA, "--yes").stdout
    assert ANA not in left.run("list").stdout
    assert "Erased. Only the user key of ana.silva@example.com" in left.run("erase", ANA, "--yes").stdout
    shown = json.loads(left.run("show", ANA, "-o", "json").stdout)
    assert (shown["user"], shown["entitled"], shown["conditions"][0]["reason"]) == ("", False, "Removed")


def test_as_json(left: Terminal) -> None:
    seen = json.loads(left.run("erase", ANA, "--dry-run", "-o", "json").stdout)
    assert (seen["erased"], seen["record"], seen["kept"], len(seen["manifests"])) == (False, True, None, 1)
    assert json.loads(left.run("erase", ANA, "--yes", "-o", "json").stdout)["erased"] is True
    assert "was erased: there is nothing to certify" in left.run("certificate", ANA, code=1).stderr


def test_without_anybody_to_ask_it_erases_nothing(left: Terminal) -> None:
    assert "Use --yes" in left.run("erase", ANA, code=2).stderr
    assert ANA in left.run("list").stdout


def test_a_no_is_a_no(left: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.erasing.has_somebody", lambda: True)
    monkeypatch.setattr("cli.erasing.agreed", lambda _question: False)
    assert "Nothing was erased." in left.run("erase", ANA, code=1).stderr
    assert ANA in left.run("list").stdout


def test_who_is_entitled_is_not_erased(terminal: Terminal) -> None:
    terminal.run("publish", "joiner", ANA)
    terminal.deliver()
    said = terminal.run("erase", ANA, "--yes", code=1).stderr
    assert "is entitled to an environment" in said
    assert json.loads(terminal.run("erase", ANA, "--yes", "-o", "json", code=1).stdout)["kept"] == "Entitled"


def test_of_whom_nothing_is_known_nothing_is_erased(terminal: Terminal) -> None:
    assert "No such person: who@example.com." in terminal.run("erase", "who@example.com", "--yes", code=1).stderr
    terminal.run("erase", "no address", code=2)


@pytest.mark.parametrize("kept", Kept)
def test_each_reason_has_a_sentence(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, kept: Kept) -> None:
    found = Erasure(user_key=UserKey("ana"), kept=kept)
    monkeypatch.setattr("cli.erasing.look", lambda _key, _deps: (found, None))
    said = terminal.run("erase", ANA, "--yes", code=1).stderr
    assert said.startswith("benchkeeper: ")
    assert said.rstrip().endswith((".", ANA))
    assert "{" not in said
