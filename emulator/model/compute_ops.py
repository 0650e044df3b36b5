"""The operations of Compute Engine, zonal or global, each done at its end time."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime, timedelta, timezone
from typing import Any

from emulator.clock import parse_rfc3339, rfc3339
from emulator.model.compute_rules import not_found
from emulator.model.notebooks_fresh import digest
from emulator.model.notebooks_rules import COMPUTE

# Compute Engine writes its times in California's zone, so readers must accept an offset other than Z.
_CALIFORNIA = timezone(timedelta(hours=-7))


def stamp(moment: datetime) -> str:
    """Return a time in the form of Compute Engine, in California's time: `2024-08-26T22:33:27.527-07:00`."""
    return moment.astimezone(_CALIFORNIA).isoformat(timespec="milliseconds")


@dataclass(slots=True)
class ComputeOperation:
    """An operation: `path` is `projects/P/global/operations/O` or `projects/P/zones/Z/operations/O`."""

    path: str
    verb: str
    target: str
    target_id: str
    user: str
    started: datetime
    ends: datetime
    error: dict[str, Any] | None = None
    http_status: int = 200
    request_id: str = ""

    def done(self, now: datetime) -> bool:
        """Return True if the operation has ended, with or without an error."""
        return now >= self.ends

    def view(self, now: datetime) -> dict[str, Any]:
        """Return the REST JSON."""
        done = self.done(now)
        body: dict[str, Any] = {
            "kind": "compute#operation",
            "id": str(10**18 + int(digest(self.path)[:16], 16) % (8 * 10**18)),
            "name": self.path.rpartition("/")[2],
            "operationType": self.verb,
            "targetLink": f"{COMPUTE}{self.target}",
            "targetId": self.target_id,
            "status": "DONE" if done else "RUNNING",
            "user": self.user,
            "progress": 100 if done else 0,
            "insertTime": stamp(self.started),
            "startTime": stamp(self.started),
            "selfLink": f"{COMPUTE}{self.path}",
        }
        scope = self.path.rpartition("/operations/")[0]
        if "/zones/" in scope:
            body["zone"] = f"{COMPUTE}{scope}"
        if done:
            body["endTime"] = stamp(self.ends)
            if self.error is not None:
                body["error"] = {"errors": [self.error]}
                body["httpErrorStatusCode"] = self.http_status
                body["httpErrorMessage"] = self.error["code"].replace("_", " ")
        return body


class ComputeOperations:
    """The store of all operations of Compute Engine, by path."""

    def __init__(self) -> None:
        self._all: dict[str, ComputeOperation] = {}
        self._by_request: dict[tuple[str, str], str] = {}
        self.latest: datetime | None = None  # the end of the operation that ends last

    def start(
        self,
        scope: str,
        verb: str,
        target: str,
        *,
        target_id: str,
        user: str,
        now: datetime,
        ends: datetime,
        request_id: str = "",
    ) -> ComputeOperation:
        """Return a new operation in `scope` (`projects/P/global`, `projects/P/zones/Z`)."""
        mark = digest(scope, verb, target, len(self._all))
        ident = f"operation-{int(now.timestamp() * 1000)}-{mark[:13]}-{mark[13:21]}-{mark[21:29]}"
        path = f"{scope}/operations/{ident}"
        operation = ComputeOperation(path, verb, target, target_id, user, now, ends, request_id=request_id)
        self._all[path] = operation
        self.latest = ends if self.latest is None else max(ends, self.latest)
        if request_id:
            self._by_request[verb, request_id.lower()] = path
        return operation

    def repeated(self, verb: str, request_id: str) -> ComputeOperation | None:
        """Return the operation that a request with the same verb and request id started before; None for a new request."""
        return self._all.get(self._by_request.get((verb, request_id.lower()), "")) if request_id else None

    def find(self, path: str) -> ComputeOperation:
        """Return the operation, or raise 404."""
        found = self._all.get(path)
        if found is None:
            raise not_found(path)
        return found

    def end_badly(self, path: str, at: datetime, error: dict[str, Any]) -> None:
        """Let the operation end at the time `at` with this error; do nothing if there is no such operation."""
        found = self._all.get(path)
        if found is not None:
            found.ends, found.error, found.http_status = at, error, 400

    def dump(self) -> list[dict[str, Any]]:
        """Return the operations as JSON-able data."""
        rows = []
        for operation in self._all.values():
            row = {each.name: getattr(operation, each.name) for each in fields(ComputeOperation)}
            rows.append(row | {key: rfc3339(row[key]) for key in ("started", "ends")})
        return rows

    def load(self, rows: list[dict[str, Any]]) -> None:
        """Restore the state from a result of `dump`."""
        self._all, self._by_request = {}, {}
        for row in rows:
            times = {key: parse_rfc3339(row[key]) for key in ("started", "ends")}
            operation = ComputeOperation(**{**row, **times})
            self._all[operation.path] = operation
            if operation.request_id:
                self._by_request[operation.verb, operation.request_id.lower()] = operation.path
        self.latest = max((operation.ends for operation in self._all.values()), default=None)
