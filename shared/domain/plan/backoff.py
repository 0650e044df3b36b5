"""How long to wait before trying again. Deterministic: the same user at the same attempt waits the same, others differ."""

from __future__ import annotations

import hashlib
from datetime import timedelta

FIRST = timedelta(seconds=30)
LONGEST = timedelta(minutes=30)


def backoff(attempts: int, *, at_least: timedelta, spread_by: str) -> timedelta:
    """30 s doubling up to 30 min, never under `at_least`, plus up to a quarter more taken from `spread_by` (the user key).

    The spread keeps a thousand users who failed together from coming back together.
    """
    base = max(at_least, min(LONGEST, FIRST * int(2 ** max(0, min(attempts - 1, 10)))))
    share: float = hashlib.sha256(f"{spread_by}:{attempts}".encode()).digest()[0] / 1024
    return base + base * share
