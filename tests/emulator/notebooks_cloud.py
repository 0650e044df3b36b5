"""A running cloud on a frozen clock, with what the tests of Notebooks and Monitoring need at hand."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import requests
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import notebooks_v2

from emulator.app import EmbeddedCloud
from emulator.clock import VirtualClock
from emulator.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emulator.model.log_entries import LogEntries
    from emulator.model.notebooks import NotebooksModel
    from emulator.world import World

PROJECT = "projects/benchkeeper-local"
ZONE = f"{PROJECT}/locations/us-east1-b"
OTHER_ZONE = f"{PROJECT}/locations/europe-west1-c"
START = datetime(2026, 8, 12, 17, 28, 57, 651511, tzinfo=UTC)


@dataclass
class NotebooksCloud:
    world: World
    model: NotebooksModel
    url: str
    http: requests.Session
    client: notebooks_v2.NotebookServiceClient
    logs: LogEntries

    def wait(self, seconds: float) -> None:
        self.world.clock.advance(timedelta(seconds=seconds))

    def call(self, method: str, path: str, body: Any = None, **params: str) -> requests.Response:
        return self.http.request(method, self.url + path, json=body, params=params, timeout=30)

    def create(
        self, ident: str, body: dict[str, Any] | None = None, *, zone: str = ZONE, **params: str
    ) -> requests.Response:
        return self.call("POST", f"/v2/{zone}/instances", body or {}, instanceId=ident, **params)

    def active(self, ident: str, body: dict[str, Any] | None = None, *, zone: str = ZONE) -> str:
        """The full name of a new instance that is ACTIVE."""
        answer = self.create(ident, body, zone=zone)
        assert answer.status_code == 200, answer.text
        self.wait(240)
        return f"{zone}/instances/{ident}"

    def stopped(self, ident: str, body: dict[str, Any] | None = None) -> str:
        name = self.active(ident, body)
        self.client.stop_instance(request={"name": name})
        self.wait(60)
        return name

    def raw(self, name: str) -> dict[str, Any]:
        """GET, as plain JSON: for an instance or an operation."""
        answer = self.call("GET", f"/v2/{name}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def state(self, name: str) -> str:
        return str(self.raw(name)["state"])

    def fault(self, **fault: Any) -> None:
        self.world.faults.add(Fault.parse(fault))

    def say(self, **activity: Any) -> requests.Response:
        return self.call("POST", "/_emulator/activity", activity)


@contextmanager
def running() -> Iterator[NotebooksCloud]:
    """The whole embedded cloud, on a clock that stands still."""
    with EmbeddedCloud.build(clock=VirtualClock(start=START, speed=0)) as whole:
        client = notebooks_v2.NotebookServiceClient(
            transport="rest",
            credentials=AnonymousCredentials(),
            client_options=ClientOptions(api_endpoint=whole.url),
        )
        session = requests.Session()
        session.trust_env = False
        try:
            yield NotebooksCloud(whole.world, whole.notebooks, whole.url, session, client, whole.log_entries)
        finally:
            session.close()
            client.transport.close()
