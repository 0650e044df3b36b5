"""The metered lines of all users in months that are over, as the drift sweep stores them. Types and sums only; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from msgspec import Struct

from shared.domain.things.identity import UserKey
from shared.domain.things.meter import MONTHS, Line, bounds_of, is_priced, merged
from shared.domain.things.usage import month_of

SETTLES_DAYS = (
    3  # for so many days of a month, each drift sweep stores the month before anew: late news may still change it
)


class MonthLines(Struct, frozen=True, kw_only=True):
    """The lines of each user in `month` (`2026-11`), as of `taken_at`. Users without a line are not in it."""

    month: str
    taken_at: datetime
    lines: Mapping[UserKey, tuple[Line, ...]]


class MonthTotal(Struct, frozen=True, kw_only=True):
    """The lines of a month, added up by kind, profile, cost centre and department; `people` had at least one."""

    month: str
    people: int
    lines: tuple[Line, ...]

    @property
    def is_estimated(self) -> bool:
        """Return True if it contains seconds from before metering began."""
        return any(line.estimated for line in self.lines)


def added_up(lines: Iterable[Line]) -> tuple[Line, ...]:
    """Return the lines of many users, added up so that seconds and money stay exact.

    Lines without a price stay separate, so that they can be priced later.
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
    """Return True if the last month is to be stored now: in the first days, or later if no sweep ran in these days."""
    settled = bounds_of(month_of(now))[0] + timedelta(days=SETTLES_DAYS)
    return now < settled or last_sweep < settled
