"""The time. The only module of the product that reads a clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from shared.cloud.http.connections import Headers
from shared.cloud.http.json import JsonSession
from shared.domain.things.times import parse_time

TIME_HEADER = "x-emulator-time"  # of the embedded cloud's answers, RFC 3339


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


class AnsweredTime:
    """The time that the embedded cloud's answers tell, each thread its own: what a thread was told last."""

    def __init__(self) -> None:
        self._told = threading.local()

    def hear(self, headers: Headers) -> None:
        """Note what an answer tells."""
        self._told.last = headers.get(TIME_HEADER, "")

    def last(self) -> str:
        """RFC 3339; empty before the first answer since `forget`."""
        return str(getattr(self._told, "last", ""))

    def forget(self) -> None:
        """Forget what was told before."""
        self._told.last = ""


class EndpointClock:
    """The clock of the cloud that the settings name: the embedded one keeps virtual time, and its people live in it."""

    def __init__(self, session: JsonSession, answered: AnsweredTime) -> None:
        self._session = session
        self._answered = answered
        self._working = threading.local()

    @contextmanager
    def told_by_answers(self) -> Iterator[None]:
        """In this context and on this thread, the time is what the last answer told; before the first one it is asked for."""
        self._answered.forget()
        self._working.on = True
        try:
            yield
        finally:
            self._working.on = False

    def now(self) -> datetime:
        """Aware UTC. Elsewhere it is asked for each time: somebody may have moved it."""
        told = self._answered.last() if getattr(self._working, "on", False) else ""
        return parse_time(told or str(self._session.call("GET", "/_emulator/clock")["now"]))

    def monotonic_s(self) -> float:
        """Real seconds: work is done in real time, whatever the clock says."""
        return time.monotonic()

    def speed(self) -> float:
        """Asked for each time: somebody may change it. 0 stands still until it is moved."""
        return float(self._session.call("GET", "/_emulator/clock")["speed"])
