"""The metered lines of users up to a moment, and the sums of these lines over all users, for the costs on the pages. Pure.

The module also has the lines of past months, which the drift sweep stores, and the sums of each group with a monthly limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from fractions import Fraction

from msgspec import Struct

from shared.domain.record.record import RecordRow, UserRecord
from shared.domain.things.catalog import Catalog
from shared.domain.things.identity import UserKey
from shared.domain.things.meter import (
    MONTHS,
    Line,
    Meter,
    MeterKind,
    What,
    bounds_of,
    is_priced,
    lines_until,
    merged,
    meter_from,
)
from shared.domain.things.money import cost_of, price_of
from shared.domain.things.power import NOTEBOOK, Usage, month_of

_MERGED_AT_ONCE = 500


def machine_in_use(record: UserRecord) -> What:
    """Return the machine and disk that are metered for the notebook now, or were metered last; empty names if none were."""
    meter = record.status.meter
    counted = [*(each.what for each in meter.open[::-1]), *(line.what for line in meter.lines[::-1])]
    own = (what for what in counted if what.kind is MeterKind.NOTEBOOK and what.machine)
    return next(own, What(kind=MeterKind.NOTEBOOK))


def lines_of_row(row: RecordRow, at: datetime) -> tuple[Line, ...]:
    """Return all metered lines of a listed user, up to `at`.

    For a user without metered lines, the lines are estimated from the hours counted this month.
    """
    return _lines(meter_from(row.meter), row.usage, row.profile or "", row.cost_center, at)


def lines_of_record(record: UserRecord, at: datetime) -> tuple[Line, ...]:
    """Return all metered lines of a record, up to `at`; if there are none, lines estimated from this month's hours."""
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
    """A counter of rows that adds up the lines of the present month.

    Seconds and money stay exact. The sums do not distinguish users, cost centres and departments.
    """

    def __init__(self, at: datetime) -> None:
        self._at, self._month = at, month_of(at)
        self._lines: tuple[Line, ...] = ()
        self._new: list[Line] = []

    def add(self, row: RecordRow) -> None:
        """Add the present month's lines of the row's user."""
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


SETTLES_DAYS = (
    3  # for so many days of a month, each drift sweep stores the month before anew: late news may still change it
)


class MonthLines(Struct, frozen=True, kw_only=True):
    """The lines of each user in `month` (`2026-11`), as of `taken_at`. Users without a line are left out."""

    month: str
    taken_at: datetime
    lines: Mapping[UserKey, tuple[Line, ...]]


class MonthTotal(Struct, frozen=True, kw_only=True):
    """The lines of a month, added up by kind, profile, cost centre and department. `people` is the number of users with a line."""

    month: str
    people: int
    lines: tuple[Line, ...]

    @property
    def is_estimated(self) -> bool:
        """Return True if the total contains seconds from before metering began."""
        return any(line.estimated for line in self.lines)


def added_up(lines: Iterable[Line]) -> tuple[Line, ...]:
    """Return the lines of many users, added up so that seconds and money stay exact.

    Lines without a price are added up apart from the others and by type of disk, so that they can be priced later.
    """

    def key(line: Line) -> object:
        what = line.what
        priced = is_priced(line)
        return what.kind, what.profile, what.cost_center, what.department, priced, "" if priced else what.disk_type

    return merged(list(lines), key)


def with_total(totals: Iterable[MonthTotal], new: MonthTotal) -> tuple[MonthTotal, ...]:
    """Return the totals with a month inserted or replaced: the last twelve months that are over, oldest first."""
    by_month = {total.month: total for total in totals} | {new.month: new}
    return tuple(by_month[month] for month in sorted(by_month))[-(MONTHS - 1) :]


def is_to_store(now: datetime, last_sweep: datetime) -> bool:
    """Return True if a sweep must store the lines of the last month now.

    The lines are stored in the first three days of a month, and once more by the first sweep after these days.
    """
    settled = bounds_of(month_of(now))[0] + timedelta(days=SETTLES_DAYS)
    return now < settled or last_sweep < settled


_RUNNING = frozenset({MeterKind.NOTEBOOK, MeterKind.SPARK})
NEAR = Fraction(8, 10)  # of the limit: from there on people are warned


class Spending(Struct, frozen=True, kw_only=True):
    """The cost of a group's users in `month` up to `at`, and the hourly cost of their running resources at that time.

    Both costs are in the billing currency.
    """

    month: str
    at: datetime
    spent: Fraction
    hourly: Fraction

    def is_used_up(self, limit: float, now: datetime) -> bool:
        """Return True if this is the spending of the month of `now`, and has reached the limit."""
        return self.month == month_of(now) and self.spent >= Fraction(str(limit))

    def is_near(self, limit: float) -> bool:
        """Return True once 80 % of the limit is spent."""
        return self.spent >= NEAR * Fraction(str(limit))


class SpendingCount:
    """A counter of rows that adds up the cost of each group with a monthly limit. Users outside these groups are ignored."""

    def __init__(self, catalog: Catalog, at: datetime) -> None:
        self._catalog, self._at = catalog, at
        self._sums = {each.group: [Fraction(0), Fraction(0)] for each in catalog.budgeted}

    def add(self, row: RecordRow) -> None:
        """Add the costs of the row's user to the groups that pay for the user."""
        groups = [group for group in row.limits.paid_by if group in self._sums]
        if not groups:
            return
        month = month_of(self._at)
        lines = (line for line in lines_of_row(row, self._at) if line.month == month)
        spent = sum((cost_of(line, self._catalog) or Fraction(0) for line in lines), Fraction(0))
        running = (each.what for each in meter_from(row.meter).open if each.what.kind in _RUNNING)
        hourly = sum((Fraction(what.price or price_of(what, self._catalog) or 0) for what in running), Fraction(0))
        for group in groups:
            self._sums[group][0] += spent
            self._sums[group][1] += hourly

    def spending(self) -> dict[str, Spending]:
        """Return the sums by group, in the order of the configuration."""
        month = month_of(self._at)
        return {
            group: Spending(month=month, at=self._at, spent=spent, hourly=hourly)
            for group, (spent, hourly) in self._sums.items()
        }
