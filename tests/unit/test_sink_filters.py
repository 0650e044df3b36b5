"""The rendered filters of the sinks over entries of logs: what states something is exported, in the log that it comes in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from kit.cases import CASES, ORGANIZATION
from kit.log_query import matches
from kit.reading import read

from shared.domain.things.errors import PoisonError
from shared.messages.google_logs import KNOWN_SERVICES
from shared.messages.log_entry import is_refused
from shared.messages.table import EVENTS, NOTEBOOKS, LogEvent, render_notebooks_filter, render_people_filter

HERE = Path(__file__).resolve()
EVENT_FILES = sorted((HERE.parents[1] / "events").glob("*.json"))
SHARED = HERE.parents[3] / "shared"
PEOPLE = render_people_filter(ORGANIZATION)
START = datetime(2026, 11, 20, 9, tzinfo=UTC)


def entry_of(event: LogEvent, *, organization: str = ORGANIZATION, log: str = "") -> dict[str, Any]:
    return {
        "logName": f"organizations/{organization}/logs/cloudaudit.googleapis.com%2F{log or event.log}",
        "protoPayload": {"serviceName": event.service, "methodName": event.method},
    }


def entries(bodies: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    for body in bodies:
        raw = json.loads(body)
        if isinstance(raw, dict) and raw.get("protoPayload", {}).get("serviceName") in KNOWN_SERVICES:
            yield raw


def states_something(entry: dict[str, Any]) -> bool:
    """True if the product takes news from the entry when it comes from the directory."""
    if is_refused(entry):
        return False
    try:
        return bool(read(json.dumps(entry).encode()).news)
    except PoisonError:
        return False


def judged(bodies: Iterator[bytes]) -> int:
    """Assert that everything that states something is exported. Returns how many did."""
    found = 0
    for entry in entries(bodies):
        if entry["protoPayload"]["serviceName"] == NOTEBOOKS or not states_something(entry):
            continue
        found += 1
        assert matches(PEOPLE, entry), entry["protoPayload"]["methodName"]
    return found


def test_the_kinds_of_input_are_exported() -> None:
    made = (case.make("ana.silva@example.com", lambda hours: START + timedelta(hours=hours)) for case in CASES.values())
    assert judged(said.body for messages in made for said in messages) > 30


def test_the_recorded_entries_are_exported() -> None:
    assert judged(path.read_bytes() for path in EVENT_FILES) >= 8


@pytest.mark.skipif(not SHARED.is_dir(), reason="the cases are not beside this clone")
def test_the_entries_beside_the_project_are_exported() -> None:
    cases = sorted((SHARED / "cases").glob("[0-9o]*/*.json"))
    assert judged(path.read_bytes() for path in cases) >= 30
    login = [
        path for path in cases if path.parent.name.startswith("07-") and b"login.googleapis.com" in path.read_bytes()
    ]
    assert login
    assert all(matches(PEOPLE, json.loads(path.read_bytes())) for path in login)
    assert judged(path.read_bytes() for path in sorted((SHARED / "events").glob("*.json"))) >= 4


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_an_event_is_exported_as_the_table_says_and_in_its_log_alone(event: LogEvent) -> None:
    assert matches(PEOPLE, entry_of(event)) is event.exported
    other = "data_access" if event.log == "activity" else "activity"
    assert not matches(PEOPLE, entry_of(event, log=other))
    assert not matches(PEOPLE, entry_of(event, organization="210987654321"))


def test_notebooks_are_exported_when_an_operation_ends() -> None:
    query = render_notebooks_filter("acme-bench")
    name = "projects/acme-bench/logs/cloudaudit.googleapis.com%2Factivity"
    ended = {"logName": name, "protoPayload": {"serviceName": NOTEBOOKS}, "operation": {"last": True}}
    assert matches(query, ended)
    assert not matches(query, {**ended, "operation": {"first": True}})
    assert not matches(query, {**ended, "logName": "projects/another/logs/cloudaudit.googleapis.com%2Factivity"})
