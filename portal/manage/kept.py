"""The cache of figures that are computed from the whole fleet. A figure is cached until the fleet index changes, which is about every ten minutes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Kept:
    """A cache of the latest result of each computation, with its inputs.

    Thread-safe; two threads may compute the same result.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_name: dict[str, tuple[tuple[object, ...], Any]] = {}

    def get(self, name: str, made_of: tuple[object, ...], make: Callable[[], T]) -> T:
        """Return the cached result if `made_of` are the same objects as in the last call, else the result of `make`.

        `make` must depend on nothing but `made_of`.
        """
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
