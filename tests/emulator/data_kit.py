"""The whole embedded cloud in-process, on a clock that stands still: service accounts, disks, snapshots, restores."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from werkzeug.test import Client

from emulator.app import EmbeddedCloud
from emulator.clock import VirtualClock
from emulator.faults import Fault
from tests.emulator.notebooks_cloud import START

ID = "benchkeeper-local"
PROJECT = f"projects/{ID}"
ZONE = "us-east1-b"
V1 = "/compute/v1"


@dataclass
class DataCloud:
    cloud: EmbeddedCloud
    http: Client = field(init=False)

    def __post_init__(self) -> None:
        self.http = Client(self.cloud.wsgi)

    @classmethod
    def build(cls) -> DataCloud:
        return cls(EmbeddedCloud.build(clock=VirtualClock(start=START, speed=0)))

    def wait(self, seconds: float) -> None:
        self.cloud.world.clock.advance(timedelta(seconds=seconds))

    def call(self, method: str, path: str, body: Any = None, *, expect: int = 200, **query: str) -> Any:
        answer = self.http.open(
            path, method=method, json=body, query_string=query, headers={"Authorization": "Bearer agent@example.com"}
        )
        assert answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json

    def refused(self, method: str, path: str, body: Any = None, *, status: int, **query: str) -> dict[str, Any]:
        error: dict[str, Any] = self.call(method, path, body, expect=status, **query)["error"]
        assert error["code"] == status
        return error

    def fault(self, **fault: Any) -> None:
        self.cloud.world.faults.add(Fault.parse(fault))

    def permissions(self) -> list[str]:
        return [row["permission"] for row in self.cloud.world.journal.listing(mutating_only=False)]

    # --- instances and their disks

    def instance(self, ident: str, body: dict[str, Any] | None = None, *, zone: str = ZONE) -> str:
        """The path of a new ACTIVE instance."""
        self.call("POST", f"/v2/{PROJECT}/locations/{zone}/instances", body or {}, instanceId=ident)
        self.wait(240)
        return f"/v2/{PROJECT}/locations/{zone}/instances/{ident}"

    def stopped(self, ident: str, body: dict[str, Any] | None = None) -> str:
        path = self.instance(ident, body)
        self.call("POST", f"{path}:stop", {})
        self.wait(60)
        return path

    def disk(self, ident: str, role: str = "data-workspace", *, zone: str = ZONE) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", disk_path(ident, role, zone=zone))
        return found

    def write(self, ident: str, content: bytes) -> str:
        """Put it on the data disk; its CRC32C."""
        answer = self.http.put(f"/_emulator/disks/{ZONE}/{ident}-data-workspace", data=content)
        assert answer.status_code == 200, answer.text
        return answer.headers["X-Goog-Hash"]

    def read(self, ident: str) -> bytes:
        answer = self.http.get(f"/_emulator/disks/{ZONE}/{ident}-data-workspace")
        assert answer.status_code == 200, answer.text
        return answer.data

    # --- snapshots

    def insert(self, name: str, ident: str, **more: Any) -> dict[str, Any]:
        body = {"name": name, "sourceDisk": f"{PROJECT}/zones/{ZONE}/disks/{ident}-data-workspace", **more}
        operation: dict[str, Any] = self.call("POST", SNAPSHOTS, body)
        return operation

    def ready(self, name: str, ident: str, **more: Any) -> None:
        self.insert(name, ident, **more)
        self.wait(60)
        assert self.status(name) == "READY"

    def status(self, name: str) -> str:
        return str(self.call("GET", f"{SNAPSHOTS}/{name}")["status"])

    def operation(self, operation: dict[str, Any]) -> dict[str, Any]:
        """The operation now."""
        found: dict[str, Any] = self.call("GET", operation["selfLink"].removeprefix("https://www.googleapis.com"))
        return found

    def restore(self, path: str, snapshot: str) -> dict[str, Any]:
        body = {"snapshot": {"projectId": ID, "snapshotId": snapshot}}
        operation: dict[str, Any] = self.call("POST", f"{path}:restore", body)
        return operation


SNAPSHOTS = f"{V1}/{PROJECT}/global/snapshots"


def disk_path(ident: str, role: str = "data-workspace", *, zone: str = ZONE) -> str:
    return f"{V1}/{PROJECT}/zones/{zone}/disks/{ident}-{role}"
