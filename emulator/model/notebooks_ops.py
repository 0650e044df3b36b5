"""The long-running operations of the Notebooks API, and the schedule of future events.

No machine runs: state is computed when it is read.

An operation is separate from its instance: after the end of an operation, the instance may still be in transition.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from emulator.clock import parse_rfc3339, rfc3339
from emulator.errors import CODES, ApiError
from emulator.model.notebooks_fresh import digest, stamp

if TYPE_CHECKING:
    from datetime import datetime

_TYPE = "type.googleapis.com/google.cloud.notebooks.v2."


@dataclass(slots=True)
class Operation:
    """An operation. `error` is the google.rpc.Status with which it ended or will end, `response` the packed result."""

    name: str
    endpoint: str
    verb: str
    target: str
    created: datetime
    request_id: str = ""
    ended: datetime | None = None
    cancelled: bool = False
    error: dict[str, Any] | None = None
    response: dict[str, Any] | None = None
    payload: dict[str, Any] = field(default_factory=dict)

    def view(self) -> dict[str, Any]:
        """Return the REST JSON, as recorded: `done` is present even if it is false."""
        metadata: dict[str, Any] = {
            "@type": f"{_TYPE}OperationMetadata",
            "createTime": stamp(self.created),
            "target": self.target,
            "verb": self.verb,
            "requestedCancellation": self.cancelled,
            "apiVersion": "v2",
            "endpoint": self.endpoint,
        }
        body: dict[str, Any] = {"name": self.name, "metadata": metadata, "done": self.ended is not None}
        if self.ended is not None:
            metadata["endTime"] = stamp(self.ended)
            if self.error is not None:
                metadata["statusMessage"] = self.error["message"]
                body["error"] = self.error
            else:
                body["response"] = self.response
        return body


def status_of(scripted: dict[str, Any]) -> dict[str, Any]:
    """Return the google.rpc.Status of a scripted `operation_error` {code, message, details?}."""
    status: dict[str, Any] = {"code": CODES[scripted["code"]][0], "message": scripted.get("message", "scripted fault")}
    if scripted.get("details"):
        status["details"] = scripted["details"]
    return status


def packed(instance: dict[str, Any]) -> dict[str, Any]:
    """Return an instance as the `response` of an operation."""
    return {"@type": f"{_TYPE}Instance", **instance}


EMPTY = {"@type": "type.googleapis.com/google.protobuf.Empty"}


@dataclass(frozen=True, slots=True, order=True)
class Event:
    """A future event at `at`: a `state` for the plan `plan` of the instance `name`, or the `finish` of an operation."""

    at: datetime
    serial: int
    kind: str = field(compare=False)
    name: str = field(compare=False)
    plan: int = field(compare=False, default=0)
    state: str = field(compare=False, default="")


class Agenda:
    """A queue of future events, ordered by time."""

    def __init__(self) -> None:
        self._heap: list[Event] = []
        self._serial = 0
        self.latest: datetime | None = None  # of all events, also of those that were taken

    def add(self, at: datetime, kind: str, name: str, *, plan: int = 0, state: str = "") -> None:
        """Add an event. Events of the same moment happen in the order in which they were added."""
        self._serial += 1
        self.latest = at if self.latest is None else max(at, self.latest)
        heapq.heappush(self._heap, Event(at, self._serial, kind, name, plan, state))

    def due(self, now: datetime) -> datetime | None:
        """Return the time of the next event if it is due at `now`, else None."""
        return self._heap[0].at if self._heap and self._heap[0].at <= now else None

    def take(self) -> Event:
        """Remove and return the next event."""
        return heapq.heappop(self._heap)

    def dump(self) -> list[list[Any]]:
        """Return JSON-able rows, ordered by time."""
        return [[rfc3339(e.at), e.kind, e.name, e.plan, e.state] for e in sorted(self._heap)]

    def load(self, rows: list[list[Any]]) -> None:
        """Restore the state from a result of `dump`."""
        self._heap, self._serial = [], 0
        for at, kind, name, plan, state in rows:
            self.add(parse_rfc3339(at), kind, name, plan=plan, state=state)


class Operations:
    """The store of all operations of the service, by name."""

    def __init__(self) -> None:
        self._all: dict[str, Operation] = {}
        self._running: dict[str, str] = {}
        self._by_request: dict[tuple[str, str, str], str] = {}
        self._serial = 0

    def start(self, endpoint: str, verb: str, target: str, *, now: datetime, request_id: str = "") -> Operation:
        """Return a new operation on `target`, which must have no running operation."""
        self._serial += 1
        location = target.rsplit("/", 2)[0]
        mark = digest(target, verb, self._serial)
        ident = f"operation-{int(now.timestamp() * 1000)}-{mark[:13]}-{mark[13:21]}-{mark[21:29]}"
        operation = Operation(f"{location}/operations/{ident}", endpoint, verb, target, now, request_id)
        self._all[operation.name] = operation
        self._running[target] = operation.name
        if request_id:
            self._by_request[endpoint, target, request_id.lower()] = operation.name
        return operation

    def repeated(self, endpoint: str, target: str, request_id: str) -> Operation | None:
        """Return the operation that a call with this endpoint, target and request id started before; None for a new request."""
        return self._all.get(self._by_request.get((endpoint, target, request_id.lower()), "")) if request_id else None

    def check_free(self, target: str) -> None:
        """Raise 409 while an operation on `target` runs. Terraform retries on these words (docs/platform-facts.md#26-operations)."""
        running = self._running.get(target)
        if running is not None:
            raise ApiError(
                "ABORTED", f"unable to queue the operation: operation {running} on '{target}' is in progress."
            )

    def end(
        self, operation: Operation, *, now: datetime, error: dict[str, Any] | None, response: dict[str, Any] | None
    ) -> None:
        """Mark an operation as done, with its response or its error."""
        operation.ended, operation.error, operation.response = now, error, response
        if self._running.get(operation.target) == operation.name:
            del self._running[operation.target]

    def abandon(self, target: str, *, now: datetime) -> None:
        """End the running operation on `target` with 404, because the target is gone; do nothing if no operation runs."""
        running = self._all.get(self._running.get(target, ""))
        if running is not None:
            gone = {"code": 5, "message": f"Resource '{target}' was not found"}
            self.end(running, now=now, error=gone, response=None)

    def find(self, name: str) -> Operation | None:
        """Return the operation; None for an unknown name."""
        return self._all.get(name)

    def get(self, name: str) -> Operation:
        """Return the operation, or raise 404."""
        found = self._all.get(name)
        if found is None:
            raise ApiError("NOT_FOUND", f"Resource '{name}' was not found")
        return found

    def listing(self, parent: str) -> list[Operation]:
        """Return the operations of a location, newest first. A parent that ends in `/locations/-` means the whole project."""
        prefix = parent[:-1] if parent.endswith("/locations/-") else f"{parent}/"
        return [operation for name, operation in reversed(self._all.items()) if name.startswith(prefix)]

    def dump(self) -> list[dict[str, Any]]:
        """Return the operations as JSON-able data."""
        rows = []
        for operation in self._all.values():
            row = {each.name: getattr(operation, each.name) for each in fields(Operation)}
            row["created"] = rfc3339(operation.created)
            row["ended"] = rfc3339(operation.ended) if operation.ended else None
            rows.append(row)
        return rows

    def load(self, rows: list[dict[str, Any]]) -> None:
        """Restore the state from a result of `dump`."""
        self._all, self._running, self._by_request = {}, {}, {}
        for row in rows:
            ended = parse_rfc3339(row["ended"]) if row["ended"] else None
            operation = Operation(**{**row, "created": parse_rfc3339(row["created"]), "ended": ended})
            self._all[operation.name] = operation
            if ended is None:
                self._running[operation.target] = operation.name
            if operation.request_id:
                self._by_request[operation.endpoint, operation.target, operation.request_id.lower()] = operation.name
        self._serial = len(rows)
