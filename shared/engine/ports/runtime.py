"""Ports of the process itself: its clock, its log, its workers.

Every method of a port may raise `RetryableError` or `PermanentError` of `shared.domain.things.errors`, and nothing else on purpose. Adapters in
`shared.cloud` fulfil the ports; tests bring fakes of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Clock(Protocol):
    """The time."""

    def now(self) -> datetime:
        """Aware UTC."""

    def monotonic_s(self) -> float:
        """Real seconds, for the bound of one process's work; never for anything that is saved."""

    def speed(self) -> float:
        """Seconds of `now` in a real second: 1, but for the embedded cloud's clock."""


class Workers(Protocol):
    """Runs jobs that do not depend on each other. Only this port starts threads, so that a simulator can order them."""

    def run(self, jobs: Sequence[Callable[[], T]], *, at_once: int = 8) -> list[T]:
        """Run all jobs, at most `at_once` at a time, and return their results in the order of the jobs.

        An exception of a job is raised; jobs that have not begun by then are left out.
        """


class Log(Protocol):
    """Structured log: a constant message and facts."""

    def info(self, message: str, **facts: Any) -> None:
        """Log normal work."""

    def warning(self, message: str, **facts: Any) -> None:
        """Worth a look."""

    def error(self, message: str, **facts: Any) -> None:
        """Somebody must act."""
