"""Values that are made at their first use, because most starts of a function have no use for them.

A user waits for a cold start. Importing adapters and compiling regular expressions only when they are used saves a tenth of its time
(docs/benchmarks.md, Cold start).
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
    """A stand-in that has the attributes of what `make` returns. It calls `make` once, whatever thread asks first.

    Its slots keep an attribute from being set on the stand-in, where the value behind would never see it.
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
    """Return a stand-in for what `make` returns, made at the first access to one of its attributes.

    The stand-in has another identity and class: use only the methods and attributes of what `make` returns.
    """
    return cast("T", _Late(make))
