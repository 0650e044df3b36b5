"""The automatic speed of the clock, if none is set: fast until five minutes after the last operation, otherwise real time.

So a user does not wait four minutes for a notebook, and an idle notebook is not stopped while its user reads a page for
some minutes.
"""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emulator.services import Services

FAST = 60.0  # virtual seconds per real second: a create takes four real seconds
# The product learns the end of an operation by its next scheduled pass: until then the clock stays fast, too.
_AFTER = timedelta(minutes=5)
_EVERY_REAL_S = 0.1


class Pace:
    """The thread that sets the clock's speed, as long as the clock is paced. If a caller sets a speed, pacing ends."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, if the clock is paced."""
        if self._services.world.clock.paced:
            self._ending.clear()
            self._thread = threading.Thread(target=self._run, name="pace", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop the thread; the clock keeps its present speed. Safe to call twice."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def turn(self) -> None:
        """Make the clock fast until five minutes after the end of the last operation, then real time; no change if the clock is not paced."""
        services, clock = self._services, self._services.world.clock
        with services.world.lock:
            ends = (
                services.notebooks.fleet.agenda.latest,
                services.dataproc.latest,
                services.compute.disks.operations.latest,
            )
            latest = max((each for each in ends if each is not None), default=None)
            clock.pace(FAST if latest is not None and clock.now() < latest + _AFTER else 1.0)

    def _run(self) -> None:
        while self._services.world.clock.paced and not self._ending.wait(_EVERY_REAL_S):
            self.turn()
