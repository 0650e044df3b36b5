"""Is this machine's clock to be trusted? A sweep destroys and cuts by the time, so a wrong clock must not let it.

The tick's publish time is another clock's word: Pub/Sub set it when the scheduler published. A tick that was delivered late looks
like a clock that is ahead. Skipping is right for it too: the next tick does its work.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct

from shared.engine.ports.runtime import Clock

TOLERANCE = timedelta(minutes=5)


def clock_differs(published_at: datetime, clock: Clock) -> timedelta | None:
    """Return by how much the clock is ahead of a tick's publish time (negative: behind) if that is too much, else None."""
    ahead = clock.now() - published_at
    return ahead if abs(ahead) > TOLERANCE and abs(ahead) > _tolerance(clock) else None


class ClockWatch(Struct, frozen=True):
    """A moment by the clock and by the machine's own counter of seconds, taken when a sweep begins."""

    started_at: datetime
    started_s: float

    @classmethod
    def begin(cls, clock: Clock) -> ClockWatch:
        """Start to watch."""
        return cls(clock.now(), clock.monotonic_s())

    def jumped(self, clock: Clock) -> timedelta | None:
        """Return by how much the clock has moved otherwise than time passed if that is too much, else None."""
        moved = clock.now() - self.started_at
        passed = clock.monotonic_s() - self.started_s
        if abs(moved - timedelta(seconds=passed)) <= TOLERANCE:
            return None
        jump = moved - timedelta(seconds=passed * clock.speed())
        return jump if abs(jump) > _tolerance(clock) else None


def _tolerance(clock: Clock) -> timedelta:
    """Return how far a clock may be off. The embedded cloud's runs faster than the functions do: what takes a second is a minute there."""
    return TOLERANCE * max(1.0, clock.speed())
