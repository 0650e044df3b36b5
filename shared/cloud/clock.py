"""The time. The only module of the product that reads a clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from shared.cloud.http import JsonSession
from shared.domain.times import parse_time


class SystemClock:
    """This machine's clock."""

    def now(self) -> datetime:
        """Aware UTC."""
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        """Real seconds, for the bounds of one process's work."""
        return time.monotonic()

    def speed(self) -> float:
        """Real time."""
        return 1.0


class EndpointClock:
    """The clock of the cloud that the settings name: the embedded one keeps virtual time, and its people live in it."""

    def __init__(self, session: JsonSession) -> None:
        self._session = session

    def now(self) -> datetime:
        """Aware UTC, asked for each time: somebody may move it."""
        return parse_time(str(self._session.call("GET", "/_emulator/clock")["now"]))

    def monotonic_s(self) -> float:
        """Real seconds: work is done in real time, whatever the clock says."""
        return time.monotonic()

    def speed(self) -> float:
        """Asked for each time: somebody may change it. 0 stands still until it is moved."""
        return float(self._session.call("GET", "/_emulator/clock")["speed"])
