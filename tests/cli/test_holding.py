"""`benchkeeper hold` and `release`."""

from __future__ import annotations

import json

import pytest

ANA = "ana.silva@example.com"


def test_a_hold_is_set_changed_shown_and_released(terminal):
    terminal.run("publish", "joiner", ANA)
    terminal.deliver()
    assert "on hold since" in terminal.run("hold", ANA, "--reason", "case 4711").stdout
    first = json.loads(terminal.run("show", ANA, "-o", "json").stdout)["hold"]
    assert first["reason"] == "case 4711"
    terminal.advance(hours=2)
    terminal.run("hold", ANA, "--reason", "cases 4711  and\n4712")
    changed = json.loads(terminal.run("show", ANA, "-o", "json").stdout)["hold"]
    assert changed == {"reason": "cases 4711 and 4712", "since": first["since"]}
    assert "On hold" in terminal.run("show", ANA).stdout
    released = terminal.run("release", ANA)
    assert "is not on hold" in released.stdout
    assert "No other administrator was asked: this embedded cloud has no hub page." in released.stderr
    assert json.loads(terminal.run("release", ANA, "-o", "json").stdout) == {"user": ANA, "hold": None}
    assert "On hold" not in terminal.run("show", ANA).stdout


def test_nobody_unknown_is_held(terminal):
    assert "No such person" in terminal.run("hold", ANA, "--reason", "case 1", code=1).stderr
    assert "No such person" in terminal.run("release", ANA, code=1).stderr


@pytest.mark.parametrize("reason", ["", "  ", "x" * 201, "a\x00b"])
def test_a_reason_is_a_short_text(terminal, reason):
    if "\x00" in reason:
        reason = reason.replace("\x00", "\x07")
    assert "give the reason in 1 to 200 characters" in terminal.run("hold", ANA, "--reason", reason, code=2).stderr
