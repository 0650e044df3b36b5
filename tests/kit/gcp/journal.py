"""What was called, and what shall go wrong: the rows that a test looks at, and the faults that it scripts."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import Any

from emulator.errors import ApiError

# Calls that are no GET and yet change nothing that anybody could see.
_READS = re.compile(
    r":(getIamPolicy|testIamPermissions|queryGrantableRoles|queryAuditableServices|queryTestablePermissions|lintPolicy"
    r"|generateUploadUrl|generateDownloadUrl|batchGet|pull|acknowledge|modifyAckDeadline)$|/upload/|/batch$|entries:list$"
)
_COMMAND = re.compile(r"command/(\S+)")


@dataclass(frozen=True, slots=True)
class Row:
    """One call: `path` without the service's prefix and query; `command` is gcloud's (`gcloud.pubsub.topics.create`) or empty."""

    service: str
    verb: str
    path: str
    query: str
    body: Any
    status: int
    command: str

    @property
    def mutates(self) -> bool:
        """True when the call asks for a change."""
        return mutates(self.verb, self.path)


def mutates(verb: str, path: str) -> bool:
    """True when `VERB path` asks for a change."""
    return verb != "GET" and _READS.search(path) is None


def command_of(agent: str) -> str:
    """The gcloud command that a `User-Agent` names."""
    found = _COMMAND.search(agent)
    return found[1] if found else ""


@dataclass(slots=True)
class _Scripted:
    error: ApiError
    service: str
    pattern: re.Pattern[str] | None  # None: every call that changes something
    skip: int
    times: int | None  # None: from then on always
    after: bool
    fired: int = 0

    def takes(self, service: str, verb: str, path: str) -> bool:
        if self.pattern is None:
            return mutates(verb, path)
        return service == self.service and self.pattern.search(f"{verb} {path}") is not None

    def describe(self) -> str:
        times = "every time" if self.times is None else f"{self.times} more"
        what = f"{self.service} {self.pattern.pattern}" if self.pattern else "a mutating call"
        return f"{what}: {self.error.code} {self.error.message[:60]!r}, {times}, after {self.skip} more calls"


class Faults:
    """Scripted refusals, in the order in which they were scripted. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._scripted: list[_Scripted] = []

    def add(self, error: ApiError, match: tuple[str, str] | None, *, skip: int, times: int | None, after: bool) -> None:
        """Script a fault; `match` None takes every call that changes something."""
        service, pattern = match or ("", None)
        with self._lock:
            compiled = None if pattern is None else re.compile(pattern)
            self._scripted.append(_Scripted(error, service, compiled, skip, times, after))

    def take(self, service: str, verb: str, path: str) -> tuple[ApiError, bool] | None:
        """The error that this call gets, and whether the call is carried out first."""
        with self._lock:
            for scripted in self._scripted:
                if scripted.times == 0 or not scripted.takes(service, verb, path):
                    continue
                if scripted.skip:
                    scripted.skip -= 1
                    continue
                scripted.fired += 1
                if scripted.times is not None:
                    scripted.times -= 1
                return scripted.error, scripted.after
        return None

    def unfired(self) -> list[str]:
        """What was scripted and did not happen, in words."""
        with self._lock:
            return [it.describe() for it in self._scripted if (it.fired == 0 if it.times is None else it.times > 0)]
