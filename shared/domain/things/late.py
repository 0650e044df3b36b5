"""Values that are made when they are first used, because most starts of a function do not need them.

A user waits for a cold start. Importing adapters and compiling regular expressions only at the first use makes a cold start a
tenth shorter (docs/benchmarks.md, Cold start).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

T = TypeVar("T")
# One lock for all: modules that are imported late may teach msgspec the same types, which two threads must not do at once (docs/traps.md).
# No module may use a late value while it is imported: a thread that waits for this lock would hold the lock of that import.
_LOCK = threading.RLock()


class _Late:
    """A stand-in with the attributes of the result of `make`, which is called only once, even with several threads.

    The slots prevent attributes from being set on the stand-in, because the value itself would not get them.
    """

    __slots__ = ("_made", "_make")

    def __init__(self, make: Callable[[], object]) -> None:
        self._make = make
        self._made: object = None

    def __getattr__(self, name: str) -> Any:
        if self._made is None:
            with _LOCK:
                if self._made is None:
                    self._made = self._make()
        return getattr(self._made, name)


def late(make: Callable[[], T]) -> T:
    """Return a stand-in for the result of `make`, which is called at the first access to one of its attributes.

    The stand-in is not the result itself: compare neither identity nor class, and use only methods and attributes.
    """
    return cast("T", _Late(make))
