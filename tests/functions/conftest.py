"""The real functions-framework apps over the in-process cloud: what is posted, what is answered, what is in the world."""

from __future__ import annotations

import base64
import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import functions_framework
import pytest
from flask.testing import FlaskClient
from kit.inprocess import Bench, MemoryDeadLetters, make_bench
from msgspec.structs import replace

from shared import wiring
from shared.domain.things.errors import CloudUnavailableError
from shared.domain.things.times import rfc3339
from shared.engine.ports.inbox import DeadLetter, LetterRow
from shared.telemetry import JsonLog

MAIN = Path(__file__).resolve().parents[2] / "main.py"
TYPE = "google.cloud.pubsub.topic.v1.messagePublished"
SUBSCRIPTION = "projects/benchkeeper-local/subscriptions/workbench-lifecycle-push"
TARGETS = ("lifecycle", "tick", "dead_letter", "notify")  # of what hears messages
HUB = "hub"
TOPICS = "//pubsub.googleapis.com/projects/benchkeeper-local/topics/"
TOPIC_OF = {
    "lifecycle": "workbench-lifecycle",
    "tick": "workbench-tick",
    "dead_letter": "workbench-dead-letter",
    "notify": "workbench-notifications",
}


class Letters(MemoryDeadLetters):
    """Publishes into a list (or not at all: `down`), stores and lists in the cloud."""

    def __init__(self, stored: Any) -> None:
        super().__init__()
        self.down = False
        self._stored = stored

    def publish(self, *, body, attributes):
        if self.down:
            raise CloudUnavailableError(user_message="Pub/Sub does not answer.", detail="publish: 503")
        super().publish(body=body, attributes=attributes)

    def store(self, letter: DeadLetter) -> None:
        self._stored.store(letter)

    def rows(self, **between: Any) -> Iterator[LetterRow]:
        return self._stored.rows(**between)

    def read(self, row: LetterRow) -> DeadLetter:
        return self._stored.read(row)

    def mark_replayed(self, row: LetterRow, at: datetime, outcome: str) -> None:
        self._stored.mark_replayed(row, at, outcome)

    def note_marked(self, row: LetterRow) -> None:
        self._stored.note_marked(row)

    def note_try(self, row: LetterRow, *, reason: str, detail: str) -> None:
        self._stored.note_try(row, reason=reason, detail=detail)

    def forget(self, row: LetterRow) -> None:
        self._stored.forget(row)

    def kept(self) -> list[DeadLetter]:
        """All that are stored, whole, oldest first."""
        return [self.read(row) for row in self.rows()]


@dataclass
class Functions:
    """The three functions of one deployment, and the world that they work in."""

    bench: Bench
    letters: Letters
    clients: dict[str, FlaskClient]
    output: io.StringIO = field(default_factory=io.StringIO)

    def lines(self, message: str | None = None) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.output.getvalue().splitlines()]
        return [line for line in found if message is None or line["message"] == message]

    def post(self, target: str, headers: dict[str, str], data: bytes) -> int:
        return self.clients[target].post("/", headers=headers, data=data).status_code

    def binary(self, target: str, data: bytes, **headers: str) -> int:
        return self.post(
            target,
            {
                "ce-id": "770011",
                "ce-source": f"{TOPICS}{TOPIC_OF[target]}",
                "ce-specversion": "1.0",
                "ce-type": TYPE,
                "content-type": "application/json",
                **headers,
            },
            data,
        )

    def deliver(self, target: str, body: Any, *, topic: str = "", **more: Any) -> int:
        """A Pub/Sub message as Eventarc brings it: a binary CloudEvent around the whole envelope.

        A log entry about people comes from the directory, all else from HR, unless said otherwise.
        """
        if not topic and target == "lifecycle" and is_of_directory(body):
            topic = "workbench-directory"
        headers = {"ce-source": f"{TOPICS}{topic}"} if topic else {}
        more = {"published": rfc3339(self.bench.now - timedelta(seconds=1.5)), **more}
        return self.binary(target, json.dumps(envelope(body, **more)).encode(), **headers)


def is_of_directory(body: Any) -> bool:
    payload = body.get("protoPayload") if isinstance(body, dict) else None
    return isinstance(payload, dict) and payload.get("serviceName") != "notebooks.googleapis.com"


def envelope(
    body: Any,
    *,
    attributes: dict[str, str] | None = None,
    message_id: str = "770011",
    attempt: int = 1,
    published: str = "2026-11-23T07:59:58.5Z",
) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    message = {
        "attributes": attributes or {},
        "messageId": message_id,
        "message_id": message_id,
        "publishTime": published,
        "publish_time": published,
    }
    if data:
        message["data"] = base64.b64encode(data).decode()
    return {"subscription": SUBSCRIPTION, "message": message, "deliveryAttempt": attempt}


@pytest.fixture(scope="session")
def clients() -> Iterator[dict[str, FlaskClient]]:
    """Apps as the framework builds them; what it does to the process's logging is taken back."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    made = {}
    for target in (*TARGETS, HUB):
        app = functions_framework.create_app(target, str(MAIN))
        app.config["PROPAGATE_EXCEPTIONS"] = False  # as a server answers: an error is a 500
        made[target] = app.test_client()
    yield made
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def functions(clients, monkeypatch, request) -> Iterator[Functions]:
    """One deployment; its settings are the fixture's parameter, if it has one."""
    bench = make_bench(settings=getattr(request, "param", None))
    made = Functions(bench=bench, letters=Letters(bench.deps.dead_letters), clients=clients)
    for target in TARGETS:
        log = JsonLog(target, stream=made.output)
        deps = replace(bench.deps, log=log, dead_letters=made.letters)
        monkeypatch.setitem(wiring._CACHED, target, (bench.settings, deps))
    yield made
    assert bench.cloud.world.faults.unfired() == []
    assert "@example.com" not in made.output.getvalue()
    assert "@example.org" not in made.output.getvalue()
