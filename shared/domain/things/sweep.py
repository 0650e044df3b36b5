"""The kinds of sweep. A further kind is a row here; mypy and a test of jobs, metrics and alerts name what it needs besides."""

from __future__ import annotations

from enum import StrEnum


class Sweep(StrEnum):
    """A scheduled pass over many people. The value is what a tick says, and the label of metrics."""

    DUE = "due"  # each minute: whose time has come
    IDLE = "idle"  # each ten minutes: what nobody uses
    DRIFT = "drift"  # each hour: what differs from the record

    @property
    def tends_dead_letters(self) -> bool:
        """True if dead letters are looked after behind it. The due sweep is to cost one listing when nothing is due."""
        return self is not Sweep.DUE
