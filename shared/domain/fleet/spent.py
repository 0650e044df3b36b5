"""The metered lines of users up to a moment, and their sums over all users: every page shows costs from these. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from shared.domain.record.record import RecordRow, UserRecord
from shared.domain.things.meter import Line, Meter, MeterKind, What, is_priced, lines_until, merged
from shared.domain.things.meter_text import meter_from
from shared.domain.things.usage import NOTEBOOK, Usage, month_of

_MERGED_AT_ONCE = 500


def machine_in_use(record: UserRecord) -> What:
    """Return the machine and disk that are metered for the notebook, or were last; without names if none ever was."""
    meter = record.status.meter
    counted = [*(each.what for each in meter.open[::-1]), *(line.what for line in meter.lines[::-1])]
    own = (what for what in counted if what.kind is MeterKind.NOTEBOOK and what.machine)
    return next(own, What(kind=MeterKind.NOTEBOOK))


def lines_of_row(row: RecordRow, at: datetime) -> tuple[Line, ...]:
    """Return all metered lines of a listed user, up to `at`. Without a meter they are estimated from the hours counted this month."""
    return _lines(meter_from(row.meter), row.usage, row.profile or "", row.cost_center, at)


def lines_of_record(record: UserRecord, at: datetime) -> tuple[Line, ...]:
    """Return all lines that a record has, up to `at`: of this and the last month, and of entries that were open before."""
    status = record.status
    return _lines(status.meter, status.usage, record.spec.profile or "", record.cost_center, at)


def _lines(meter: Meter, usage: Mapping[str, Usage], profile: str, center: str, at: datetime) -> tuple[Line, ...]:
    if meter.lines or meter.open:
        return lines_until(meter, at)
    lines = []
    for name, used in usage.items():
        seconds = int(used.in_month_of(at).total_seconds())
        kind = MeterKind.NOTEBOOK if name == NOTEBOOK else MeterKind.SPARK
        thing = profile if kind is MeterKind.NOTEBOOK else name.partition(":")[2]
        if seconds:
            what = What(kind=kind, profile=thing, cost_center=center)
            lines.append(Line(month=month_of(at), what=what, seconds=seconds, units=seconds, estimated=True))
    return tuple(lines)


class SpentCount:
    """A sum of the lines of the present month, fed row by row.

    Seconds and money stay exact; the payers are not kept.
    """

    def __init__(self, at: datetime) -> None:
        self._at, self._month = at, month_of(at)
        self._lines: tuple[Line, ...] = ()
        self._new: list[Line] = []

    def add(self, row: RecordRow) -> None:
        """Add the lines of a user."""
        if not row.meter and not row.usage:
            return
        self._new += (line for line in lines_of_row(row, self._at) if line.month == self._month)
        if len(self._new) >= _MERGED_AT_ONCE:
            self._merge()

    def lines(self) -> tuple[Line, ...]:
        """Return the summed lines. Their number does not grow with the number of users."""
        self._merge()
        return self._lines

    def _merge(self) -> None:
        self._lines, self._new = merged([*self._lines, *self._new], _key), []


def _key(line: Line) -> object:
    what = line.what
    return (what.kind, True) if is_priced(line) else (what.kind, False, what.profile, what.disk_type)
