"""Ports of the process itself: its clock, its log, its workers.

Every method of a port may raise `RetryableError` or `PermanentError` of `shared.domain.things.errors`, and nothing else on
purpose. Adapters in `shared.cloud` implement the ports; tests bring fakes of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Clock(Protocol):
    """The clock: the current time, and the real seconds of this process."""

    def now(self) -> datetime:
        """Return the current time, aware, in UTC."""

    def monotonic_s(self) -> float:
        """Return real seconds, to bound the work of one process; never for anything that is saved."""

    def speed(self) -> float:
        """Return the number of seconds by which `now` advances in a real second.

        It is 1, except for the embedded cloud's clock.
        """


class Workers(Protocol):
    """A runner of independent jobs. Only this port starts threads, so that a simulator can order them."""

    def run(self, jobs: Sequence[Callable[[], T]], *, at_once: int = 8) -> list[T]:
        """Run all jobs, at most `at_once` at a time, and return their results in the order of the jobs.

        If a job raises an exception, raise it; jobs that have not begun by then are left out.
        """


class Log(Protocol):
    """A structured log: constant messages and facts."""

    def info(self, message: str, **facts: Any) -> None:
        """Log normal work."""

    def warning(self, message: str, **facts: Any) -> None:
        """Log something that an administrator should look at."""

    def error(self, message: str, **facts: Any) -> None:
        """Log something that an administrator must act on."""
