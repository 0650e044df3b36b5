"""The clocks: the system's, and the embedded cloud's. Other modules get the current time only from here."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from shared.cloud.http.json import JsonSession
from shared.cloud.http.transport import Headers
from shared.domain.things.times import parse_time

TIME_HEADER = "x-emulator-time"  # a header of the embedded cloud's answers, RFC 3339


class SystemClock:
    """The clock of this machine."""

    def now(self) -> datetime:
        """Return the current time, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        """Return seconds of real time since an arbitrary start."""
        return time.monotonic()

    def speed(self) -> float:
        """Return 1, because this clock follows real time."""
        return 1.0


class AnsweredTime:
    """The time in the embedded cloud's last answer, stored for each thread."""

    def __init__(self) -> None:
        self._told = threading.local()

    def hear(self, headers: Headers) -> None:
        """Store the time (RFC 3339) of an answer for this thread."""
        self._told.last = headers.get(TIME_HEADER, "")

    def last(self) -> str:
        """Return the last time (RFC 3339); empty before the first answer since `forget`."""
        return str(getattr(self._told, "last", ""))

    def forget(self) -> None:
        """Forget the stored time."""
        self._told.last = ""


class EndpointClock:
    """The clock of the embedded cloud, which keeps virtual time."""

    def __init__(self, session: JsonSession, answered: AnsweredTime) -> None:
        self._session = session
        self._answered = answered
        self._working = threading.local()

    @contextmanager
    def told_by_answers(self) -> Iterator[None]:
        """Use the time of the last answer in this context and on this thread; before the first answer, read the clock by a call."""
        self._answered.forget()
        self._working.on = True
        try:
            yield
        finally:
            self._working.on = False

    def now(self) -> datetime:
        """Return the current time, aware, in UTC.

        Within `told_by_answers`, return the time of the last answer, if there is one. Otherwise ask the embedded cloud by a
        call, because its clock may have moved.
        """
        told = self._answered.last() if getattr(self._working, "on", False) else ""
        return parse_time(told or str(self._session.call("GET", "/_emulator/clock")["now"]))

    def monotonic_s(self) -> float:
        """Return seconds of real time since an arbitrary start, which do not follow the virtual clock."""
        return time.monotonic()

    def speed(self) -> float:
        """Return the clock's speed by one call each time, because the speed may change. 0 means that the clock does not advance by itself."""
        return float(self._session.call("GET", "/_emulator/clock")["speed"])
