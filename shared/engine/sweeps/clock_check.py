"""A check of this machine's clock: a sweep deletes and cuts by the time, so it must not act on a wrong clock.

The tick's publish time comes from another clock: Pub/Sub set it when the scheduler published. A tick that was delivered late looks
like a clock that is ahead. Skipping that tick is right, too: the next tick does its work.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct

from shared.engine.ports.runtime import Clock

TOLERANCE = timedelta(minutes=5)


def clock_differs(published_at: datetime, clock: Clock) -> timedelta | None:
    """Return the difference between the clock and a tick's publish time if it is too large, else None.

    The difference is negative if the clock is behind.
    """
    ahead = clock.now() - published_at
    return ahead if abs(ahead) > TOLERANCE and abs(ahead) > _tolerance(clock) else None


class ClockWatch(Struct, frozen=True):
    """A moment by the clock and by the machine's own counter of seconds, taken when a sweep begins."""

    started_at: datetime
    started_s: float

    @classmethod
    def begin(cls, clock: Clock) -> ClockWatch:
        """Return a watch that begins now."""
        return cls(clock.now(), clock.monotonic_s())

    def jumped(self, clock: Clock) -> timedelta | None:
        """Return the difference between the clock's advance and the time that passed if it is too large, else None."""
        moved = clock.now() - self.started_at
        passed = clock.monotonic_s() - self.started_s
        if abs(moved - timedelta(seconds=passed)) <= TOLERANCE:
            return None
        jump = moved - timedelta(seconds=passed * clock.speed())
        return jump if abs(jump) > _tolerance(clock) else None


def _tolerance(clock: Clock) -> timedelta:
    """Return the largest accepted difference of clocks.

    The embedded cloud's clock runs faster than the functions: a real second may be a minute there.
    """
    return TOLERANCE * max(1.0, clock.speed())
