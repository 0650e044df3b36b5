"""The wait before a further attempt. Deterministic: the same user at the same attempt waits the same time, other users differ."""

from __future__ import annotations

import hashlib
from datetime import timedelta

FIRST = timedelta(seconds=30)
LONGEST = timedelta(minutes=30)
A_DAY = timedelta(days=1)


def backoff(attempts: int, *, at_least: timedelta, spread_by: str) -> timedelta:
    """Return a wait that doubles from 30 s up to 30 min, at least `at_least`.

    Up to a quarter is added, which depends on `spread_by` (the user key).

    The spread prevents a thousand users who failed together from being retried together.
    """
    base = max(at_least, min(LONGEST, FIRST * int(2 ** max(0, min(attempts - 1, 10)))))
    share: float = hashlib.sha256(f"{spread_by}:{attempts}".encode()).digest()[0] / 1024
    return base + base * share


def slow_backoff(attempts: int, *, first: timedelta, longest: timedelta, spread_by: str) -> timedelta:
    """Return a wait that doubles from `first` up to `longest`, with the same spread.

    This is for failures that last until a person acts.
    """
    base = min(longest, first * int(2 ** max(0, min(attempts - 1, 10))))
    return backoff(attempts, at_least=base, spread_by=spread_by)
