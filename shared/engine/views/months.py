"""Thirteen months of costs, and the comparison of two months: the largest changes and their causes.

Pure, without reads. Pages and commands show the result.

Example: `compare(earlier, later)` takes two results of `month` or `past_month` (`shared.engine.views.costs`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from fractions import Fraction

from msgspec import Struct

from shared.domain.fleet.spent import MonthTotal
from shared.domain.things.catalog import Catalog
from shared.domain.things.meter import MONTHS, Line, bounds_of, month_before
from shared.domain.things.money import cost_of
from shared.engine.views.costs import Month, Sums

TOP = 10
_DAY = timedelta(days=1)


class MonthSum(Struct, frozen=True, kw_only=True):
    """The sums of one of the thirteen months. `sums` is None if nothing is stored for the month.

    `is_over` is True if the month has ended.
    """

    month: str
    sums: Sums | None
    is_over: bool


def thirteen(now: Month, totals: Iterable[MonthTotal], catalog: Catalog) -> tuple[MonthSum, ...]:
    """Return this month and the twelve before it, the newest first. Months before metering have `sums` None."""
    stored = {total.month: total for total in totals}
    found = [MonthSum(month=now.name, sums=now.total, is_over=False)]
    name = now.name
    for _ in range(MONTHS - 1):
        name = month_before(name)
        total = stored.get(name)
        found.append(MonthSum(month=name, sums=None if total is None else sums_of(total, catalog), is_over=True))
    return tuple(found)


def not_before(months: Iterable[MonthSum]) -> str:
    """Return the first month with data (`2026-11`), before which nothing was metered; "" if all thirteen have data."""
    oldest = list(months)[::-1]
    if oldest and oldest[0].sums is not None:
        return ""
    return next((each.month for each in oldest if each.sums is not None), "")


def months_of_person(
    lines: Iterable[Line], of_month: Callable[[str], Sequence[Line] | None], now: str, catalog: Catalog
) -> tuple[MonthSum, ...]:
    """Return thirteen months of one user, the newest first. `lines` are the lines in the record, `of_month` reads a past month.

    A month for which the record has lines is not read. `sums` is None for a month that is not stored.
    """
    known: dict[str, list[Line]] = {now: []}
    for line in lines:
        known.setdefault(line.month, []).append(line)
    found, name = [], now
    for _ in range(MONTHS):
        of_this = known[name] if name in known else of_month(name)
        sums = None if of_this is None else Sums(people=1)
        for line in of_this or ():
            if sums is not None:
                sums.count(line, cost_of(line, catalog))
        found.append(MonthSum(month=name, sums=sums, is_over=name != now))
        name = month_before(name)
    return tuple(found)


def sums_of(total: MonthTotal, catalog: Catalog) -> Sums:
    """Return the sums of a stored month."""
    sums = Sums(people=total.people)
    for line in total.lines:
        sums.count(line, cost_of(line, catalog))
    return sums


class CostChange(Struct, frozen=True, kw_only=True):
    """The change of one user, profile, cost centre, department or kind from one month to another.

    `label` is the name (for a user the address, or the key if there is no address), `key` is the user's key, else the label.
    `before` and `after` are the amounts of the two months. `a_day` is the change of the amount per day, which is a fair
    comparison if the later month is not over. `hours` is the change of running hours per day, `storage_a_day` the part
    of `a_day` that is storage.
    """

    label: str
    key: str
    before: Fraction
    after: Fraction
    a_day: Fraction
    hours: float
    storage_a_day: Fraction

    @property
    def change(self) -> Fraction:
        """The difference of the amounts."""
        return self.after - self.before


class Comparison(Struct, frozen=True, kw_only=True):
    """A comparison of one month with another: the total change, and the largest changes by user, profile, cost centre, department and kind.

    `is_whole` is False while the later month is not over.
    """

    before: str
    after: str
    is_whole: bool
    total: CostChange
    by_person: tuple[CostChange, ...]
    by_profile: tuple[CostChange, ...]
    by_cost_center: tuple[CostChange, ...]
    by_department: tuple[CostChange, ...]
    by_kind: tuple[CostChange, ...]


def compare(before: Month, after: Month, *, is_whole: bool = False, top: int = TOP) -> Comparison:
    """Return the changes from one month to another: the `top` largest of each group, sorted by the absolute change per day.

    `is_whole` is True if the later month is over.
    """
    days = _days(before, whole=True), _days(after, whole=is_whole)

    def groups(one: Iterable[tuple[str, Sums]], other: Iterable[tuple[str, Sums]]) -> tuple[CostChange, ...]:
        old, new = dict(one), dict(other)
        changes = (_change(name, name, old.get(name), new.get(name), days) for name in {**old, **new})
        return _largest(changes, top)

    return Comparison(
        before=before.name,
        after=after.name,
        is_whole=is_whole,
        total=_change("", "", before.total, after.total, days),
        by_person=_persons(before, after, days, top),
        by_profile=groups(before.by_profile, after.by_profile),
        by_cost_center=groups(before.by_cost_center, after.by_cost_center),
        by_department=groups(before.by_department, after.by_department),
        by_kind=groups(before.by_kind, after.by_kind),
    )


def _days(month: Month, *, whole: bool) -> Fraction:
    """Return the number of days of the month that have passed, at least one hour."""
    start, end = bounds_of(month.name)
    passed = (end if whole else month.at) - start
    return max(Fraction(passed // timedelta(seconds=1), _DAY // timedelta(seconds=1)), Fraction(1, 24))


def _persons(before: Month, after: Month, days: tuple[Fraction, Fraction], top: int) -> tuple[CostChange, ...]:
    old = {row.user_key: (row, sums) for row, sums in before.by_person}
    new = {row.user_key: (row, sums) for row, sums in after.by_person}
    changes = []
    for key in {**old, **new}:
        row = (new.get(key) or old[key])[0]
        pair = old[key][1] if key in old else None, new[key][1] if key in new else None
        changes.append(_change(row.email or key, key, *pair, days))
    return _largest(changes, top)


def _change(label: str, key: str, old: Sums | None, new: Sums | None, days: tuple[Fraction, Fraction]) -> CostChange:
    old, new = old or Sums(), new or Sums()
    before, after = old.estimate or Fraction(0), new.estimate or Fraction(0)
    stored = (new.storage or Fraction(0)) / days[1] - (old.storage or Fraction(0)) / days[0]
    hours = (new.notebook_s + new.spark_s) / float(days[1]) - (old.notebook_s + old.spark_s) / float(days[0])
    return CostChange(
        label=label,
        key=key,
        before=before,
        after=after,
        a_day=after / days[1] - before / days[0],
        hours=hours / 3600,
        storage_a_day=stored,
    )


def _largest(changes: Iterable[CostChange], top: int) -> tuple[CostChange, ...]:
    moved = [change for change in changes if change.a_day or change.change]
    return tuple(sorted(moved, key=lambda each: (-abs(each.a_day), each.label))[:top])
