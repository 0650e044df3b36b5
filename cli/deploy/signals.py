"""The handling of Ctrl-C while a deployment changes something."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPED = 130  # the exit code of a command that a signal ended


@contextmanager
def stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """Set `stop` on Ctrl-C or SIGTERM: no new step starts, and running steps finish. A second signal ends the program at once.

    After the block, the earlier handlers apply again, so that Ctrl-C aborts a question.
    """
    heard = (
        False  # a variable of its own: a second signal in the middle of `stop.set()` must not wait for the event's lock
    )

    def handle(_number: int, _frame: FrameType | None) -> None:
        nonlocal heard
        if heard:
            os._exit(STOPPED)  # the second signal ends the program at once
        heard = True
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
