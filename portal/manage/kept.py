"""What is worked out of the whole fleet, kept in the process as long as the fleet's list is the same: sweeps write it every ten minutes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Kept:
    """The newest outcome of each sum, with what it was made of. Safe for several threads; two at once may both work it out."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_name: dict[str, tuple[tuple[object, ...], Any]] = {}

    def get(self, name: str, made_of: tuple[object, ...], make: Callable[[], T]) -> T:
        """Return the outcome of `make`, which depends on nothing but `made_of`: the very same objects give the outcome of before."""
        with self._lock:
            found = self._by_name.get(name)
        if found is not None and _same(found[0], made_of):
            known: T = found[1]
            return known
        value = make()
        with self._lock:
            self._by_name[name] = (made_of, value)
        return value


def _same(before: tuple[object, ...], now: tuple[object, ...]) -> bool:
    return len(before) == len(now) and all(a is b for a, b in zip(before, now, strict=True))
