"""The journal of calls, with one row for each call. Tests count calls with it, and users can see in it which calls changed something."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, NamedTuple

_KEPT = 200_000


class Entry(NamedTuple):
    """A call: its time (virtual, RFC 3339), service and method (`storage`, `objects.insert`), resource, caller and status.

    `permission` is the permission that the call needs; several are separated by commas
    (`storage.objects.create,storage.objects.delete` for an overwrite).
    """

    time: str
    service: str
    method: str
    resource: str
    principal: str
    status: int
    mutates: bool
    permission: str


class Journal:
    """A thread-safe list of the last 200,000 calls."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: deque[Entry] = deque(maxlen=_KEPT)
        self._count = 0

    def record(self, entry: Entry) -> None:
        """Append a row."""
        with self._lock:
            self._entries.append(entry)
            self._count += 1

    def clear(self) -> None:
        """Remove all rows."""
        with self._lock:
            self._entries.clear()
            self._count = 0

    def listing(self, *, mutating_only: bool) -> list[dict[str, Any]]:
        """Return the stored rows in order, all of them or only the mutating ones."""
        with self._lock:
            return [entry._asdict() for entry in self._entries if entry.mutates or not mutating_only]

    @property
    def count(self) -> int:
        """The number of calls since the start or the last clear."""
        return self._count
