"""The limits for one user: a token bucket for each user, and one action at a time for each environment.

The state of both limits is kept in the process, so an instance that is added under load has its own. The limits are not a
quota: they prevent a browser that sends too many requests from affecting other users.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from shared.domain.things.identity import UserKey
from shared.engine.ports.deps import Clock

_MAX_KEPT = 10_000


class Buckets:
    """A rate limit with a token bucket for each user: `per_minute` requests in the long run, `burst` at once."""

    def __init__(self, clock: Clock, *, per_minute: float, burst: int) -> None:
        self._clock = clock
        self._rate = per_minute / 60
        self._burst = float(burst)
        self._lock = threading.Lock()
        self._left: OrderedDict[UserKey, tuple[float, float]] = OrderedDict()

    def wait_s(self, key: UserKey) -> float:
        """Return 0 and count the request if it is allowed, else the seconds until the next request is allowed."""
        now = self._clock.monotonic_s()
        with self._lock:
            left, at = self._left.pop(key, (self._burst, now))
            left = min(self._burst, left + (now - at) * self._rate)
            wait = 0.0 if left >= 1 else (1 - left) / self._rate
            self._left[key] = (left - 1 if wait == 0 else left, now)
            while len(self._left) > _MAX_KEPT:  # the bucket that was unused for the longest time is full again anyway
                self._left.popitem(last=False)
        return wait


class Flights:
    """The set of environments for which a click is being handled at this moment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._going: set[tuple[UserKey, str]] = set()

    @contextmanager
    def one(self, user_key: UserKey, environment: str) -> Iterator[bool]:
        """Yield True for the first click, False for a click that comes while the first is still being handled."""
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
