"""`benchkeeper repair`."""

from __future__ import annotations

import json

import pytest
import requests

from shared.domain.things.identity import parse_email, user_key_for

ANA = "ana.silva@example.com"
PLACE = f"records/{user_key_for(parse_email(ANA))}.json"
BUCKET = "benchkeeper-local"


@pytest.fixture
def joined(terminal):
    """Ana, known, in a bucket that keeps versions as the deployed one does."""
    versioned = {"versioning": {"enabled": True}}
    requests.patch(f"{terminal.cloud.url}/storage/v1/b/{BUCKET}", json=versioned, timeout=10).raise_for_status()
    terminal.run("publish", "joiner", ANA)
    terminal.deliver()
    return terminal


def write(terminal, content: bytes) -> None:
    with terminal.cloud.world.lock:
        terminal.cloud.storage.insert(BUCKET, PLACE, content)


def read(terminal) -> bytes:
    with terminal.cloud.world.lock:
        return terminal.cloud.storage.get(BUCKET, PLACE).content


def delete(terminal) -> None:
    with terminal.cloud.world.lock:
        terminal.cloud.storage.delete(BUCKET, PLACE)


@pytest.mark.parametrize("how", ["damaged", "deleted"])
def test_a_record_comes_back_after_a_look_and_a_yes(joined, how):
    if how == "damaged":
        write(joined, b"{")
        assert "benchkeeper repair" in joined.run("show", ANA, code=1).stderr
    else:
        delete(joined)
    seen = json.loads(joined.run("repair", ANA, "--dry-run", "-o", "json").stdout)
    assert (seen["damaged"], seen["deleted"], seen["presence"]) == (True, how == "deleted", "PRESENT")
    asked = joined.run("repair", ANA, code=2)  # nobody can be asked
    assert "--yes" in asked.stderr
    if how == "damaged":
        assert read(joined) == b"{"
    assert "is restored" in joined.run("repair", ANA, "--yes").stdout
    assert json.loads(joined.run("show", ANA, "-o", "json").stdout)["presence"] == "PRESENT"
    assert "Record put back" in joined.run("history", ANA).stdout
    assert "Nothing is damaged" in joined.run("repair", ANA).stdout


def test_what_cannot_be_repaired_is_said_and_left_as_it_is(joined):
    newer = b'{"version": 99}'
    write(joined, newer)
    for words in (("--yes",), ("--dry-run",)):
        assert "newer version" in joined.run("repair", ANA, *words, code=1).stderr
    assert read(joined) == newer
    assert "No such person" in joined.run("repair", "ben@example.com", code=1).stderr


def test_an_unknown_leaver_is_acknowledged_once(joined):
    joined.run("publish", "leaver", "ana.slva@example.com", "--yes", "--new")
    joined.deliver()
    assert "no longer shown" in joined.run("acknowledge", "ana.slva@example.com").stdout
    assert json.loads(joined.run("acknowledge", "ana.slva@example.com", "-o", "json").stdout)["changed"] is False
    assert "Nothing to acknowledge" in joined.run("acknowledge", ANA).stdout
    assert "No such person" in joined.run("acknowledge", "ben@example.com", code=1).stderr
