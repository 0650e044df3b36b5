"""What was asked of the cloud: one row a call. Tests count calls by it, and people read what changed."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

_KEPT = 200_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One call: when (virtual, RFC 3339), which (`storage`, `objects.insert`), on what, by whom, with what outcome.

    `permission` is what the caller needs for it; several with commas between them (`storage.objects.create,storage.objects.delete`
    for an overwrite).
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
    """The last 200,000 calls; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: deque[Entry] = deque(maxlen=_KEPT)
        self._count = 0

    def record(self, entry: Entry) -> None:
        """Append one."""
        with self._lock:
            self._entries.append(entry)
            self._count += 1

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._entries.clear()
            self._count = 0

    def listing(self, *, mutating_only: bool) -> list[dict[str, Any]]:
        """All kept rows in order, or only the mutating ones."""
        with self._lock:
            return [asdict(e) for e in self._entries if e.mutates or not mutating_only]

    @property
    def count(self) -> int:
        """How many calls there have been since the start or the last clear."""
        return self._count
