"""How much one person may ask for: a token bucket each, and one action at a time for each environment.

Both live in the process: an instance that is added under load brings buckets of its own. They keep one browser that runs wild
from costing others anything; they are no quota.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from shared.domain.things.identity import UserKey
from shared.engine.ports.runtime import Clock

_MAX_KEPT = 10_000


class Buckets:
    """`per_minute` on the long run, `burst` at once, for each key."""

    def __init__(self, clock: Clock, *, per_minute: float, burst: int) -> None:
        self._clock = clock
        self._rate = per_minute / 60
        self._burst = float(burst)
        self._lock = threading.Lock()
        self._left: OrderedDict[UserKey, tuple[float, float]] = OrderedDict()

    def wait_s(self, key: UserKey) -> float:
        """0 when one more is fine (and counted); else the seconds until it is."""
        now = self._clock.monotonic_s()
        with self._lock:
            left, at = self._left.pop(key, (self._burst, now))
            left = min(self._burst, left + (now - at) * self._rate)
            wait = 0.0 if left >= 1 else (1 - left) / self._rate
            self._left[key] = (left - 1 if wait == 0 else left, now)
            while (
                len(self._left) > _MAX_KEPT
            ):  # the one that was not heard of for the longest time is full again anyway
                self._left.popitem(last=False)
        return wait


class Flights:
    """The environments for which a click is being worked on just now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._going: set[tuple[UserKey, str]] = set()

    @contextmanager
    def one(self, user_key: UserKey, environment: str) -> Iterator[bool]:
        """Give True for the first, False for who comes while the first is still inside."""
        key = (user_key, environment)
        with self._lock:
            first = key not in self._going
            self._going.add(key)
        try:
            yield first
        finally:
            if first:
                with self._lock:
                    self._going.discard(key)
