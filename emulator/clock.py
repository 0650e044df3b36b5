"""The virtual time. No other module of the embedded cloud reads the machine's clock."""

from __future__ import annotations

import functools
import threading
import time
from datetime import UTC, datetime, timedelta


class VirtualClock:
    """A clock that runs `speed` times as fast as real time and can be moved forward. With `speed=0` it only moves by `advance`.

    Threads that wait for virtual time use `wait_until`. `wait_until` returns early if the clock is moved or `poke`d, so
    that the caller checks again. Only `reset` can set the time back.
    """

    def __init__(self, *, start: datetime | None = None, speed: float = 1.0) -> None:
        self._changed = threading.Condition()
        self._base = start if start is not None else datetime.now(UTC)
        self._since = time.monotonic()
        self._speed = speed
        self._changes = 0
        self._paced = False

    @property
    def changes(self) -> int:
        """The number of times that the clock was moved or poked, or its speed was changed.

        Read the number before a check and give it to `wait_until(since=...)`, so that no change in between is missed.
        """
        return self._changes

    @property
    def speed(self) -> float:
        """The virtual seconds per real second."""
        return self._speed

    def now(self) -> datetime:
        """Return the virtual time, aware and in UTC."""
        if not self._speed:
            return self._base
        return self._base + timedelta(seconds=(time.monotonic() - self._since) * self._speed)

    def advance(self, by: timedelta) -> datetime:
        """Move the clock forward by `by`, wake all waiters, and return the new time. Raise `ValueError` for a negative `by`."""
        if by < timedelta(0):
            raise ValueError(f"a clock does not go back: {by}")
        with self._changed:
            self._base = self.now() + by
            self._since = time.monotonic()
            self._changes += 1
            self._changed.notify_all()
            return self._base

    @property
    def paced(self) -> bool:
        """Return True if the speed depends on the operations under way (`emulator/pace.py`)."""
        return self._paced

    def begin_pacing(self) -> None:
        """Let `pace` change the speed until `set_speed` is called."""
        self._paced = True

    def pace(self, speed: float) -> None:
        """Change the speed if pacing has begun and has not been ended by `set_speed`.

        The present speed, set again, wakes no waiter.
        """
        with self._changed:
            if self._paced and speed != self._speed:
                self._turn_to(speed)

    def set_speed(self, speed: float) -> None:
        """Set the speed from now on, and end pacing. Raise `ValueError` for a negative speed."""
        if speed < 0:
            raise ValueError(f"speed is zero or more, not {speed}")
        with self._changed:
            self._paced = False
            self._turn_to(speed)

    def _turn_to(self, speed: float) -> None:
        with self._changed:
            self._base, self._since, self._speed = self.now(), time.monotonic(), speed
            self._changes += 1
            self._changed.notify_all()

    def reset(self, now: datetime) -> None:
        """Set the virtual time, also backwards, and wake all waiters: for a world that is restored from disk."""
        with self._changed:
            self._base, self._since = now, time.monotonic()
            self._changes += 1
            self._changed.notify_all()

    def poke(self) -> None:
        """Wake all waiters, because a condition that they wait for may have changed."""
        with self._changed:
            self._changes += 1
            self._changed.notify_all()

    def wait_until(self, moment: datetime | None, *, at_most_real_s: float = 1.0, since: int | None = None) -> None:
        """Return once `moment` (virtual) has come, the clock was moved or poked, or `at_most_real_s` real seconds passed.

        `since` is an earlier value of `changes`: if there was a change after it, the call returns at once.
        """
        with self._changed:
            if since is not None and since != self._changes:
                return
            remaining = at_most_real_s
            if moment is not None:
                ahead = (moment - self.now()).total_seconds()
                if ahead <= 0:
                    return
                if self._speed > 0:
                    remaining = min(remaining, ahead / self._speed)
            self._changed.wait(remaining)


def real_now() -> float:
    """Return monotonic real seconds, for deadlines in real time such as a push's ack deadline."""
    return time.monotonic()


def wall_now() -> int:
    """Return real Unix seconds, for values that other programs compare with the machine's clock, such as a signed token's `exp`."""
    return int(time.time())


@functools.lru_cache(64)  # a clock that stands still says the same moment at each call
def rfc3339(moment: datetime) -> str:
    """Return RFC 3339 with microseconds and `Z`, as Google's APIs write it."""
    utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return f"{utc.isoformat(timespec='microseconds')[:26]}Z"  # twice as fast as strftime, at each call


def parse_rfc3339(text: str) -> datetime:
    """Return the aware UTC time of an RFC 3339 text; nanoseconds are cut to microseconds.

    Raise `ValueError` for any other text, and for a time without a zone.
    """
    body = text.strip().replace("Z", "+00:00").replace("z", "+00:00")
    if "." in body:
        head, rest = body.split(".", 1)
        digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
        body = f"{head}.{digits[:6].ljust(6, '0')}{rest[len(digits) :]}"
    moment = datetime.fromisoformat(body)
    if moment.tzinfo is None:
        raise ValueError(f"a time needs its zone: {text!r}")
    return moment.astimezone(UTC)
