"""Retries of the transport and of the Google clients that take no time. tests/conftest.py has them for all tests of a process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from google.api_core.retry import retry_base, retry_unary

from shared.cloud.http import transport


class SkippedTime:
    """A `time` module whose sleep takes no time and is over all the same: what waits until a deadline comes to its end at once.

    Each thread has its own, so that the waiting of one uses up nobody else's patience.
    """

    def __init__(self) -> None:
        self._skipped = threading.local()

    def monotonic(self) -> float:
        return time.monotonic() + self._so_far()

    def sleep(self, seconds: float) -> None:
        self._skipped.s = self._so_far() + seconds

    def _so_far(self) -> float:
        return float(getattr(self._skipped, "s", 0.0))


@contextmanager
def impatient() -> Iterator[None]:
    """The retries of the transport and of the Google clients without their waiting: neither a scripted fault nor a long patience costs a real second."""
    kept = [(module, module.time) for module in (retry_base, retry_unary, transport)]
    skipped = SkippedTime()
    for module, _ in kept:
        module.time = skipped
    try:
        yield
    finally:
        for module, before in kept:
            module.time = before
