"""The kinds of sweep.

To add a kind, add a member to `Sweep`. mypy and a test of jobs, metrics and alerts then report the missing parts.
"""

from __future__ import annotations

from enum import StrEnum


class Sweep(StrEnum):
    """The kind of a sweep, a scheduled pass over many users. The value is its name in a tick and a label of metrics."""

    DUE = "due"  # each minute: records whose time has come
    IDLE = "idle"  # each ten minutes: environments that are not used
    DRIFT = "drift"  # each hour: differences from the record
    ROSTER = "roster"  # each hour: differences from the lists of everybody

    @property
    def tends_dead_letters(self) -> bool:
        """Return True if this sweep handles dead letters at its end.

        The due sweep does not handle them, because it should cost a single listing if nothing is due. The roster sweep does
        not handle them, because it takes long.
        """
        return self in {Sweep.IDLE, Sweep.DRIFT}
