"""The costs of each group with a monthly limit, summed row by row over its people. Pure."""

from __future__ import annotations

from datetime import datetime
from fractions import Fraction

from msgspec import Struct

from shared.domain.fleet.spent import lines_of_row
from shared.domain.record.record import RecordRow
from shared.domain.things.catalog import Catalog
from shared.domain.things.meter import MeterKind
from shared.domain.things.meter_text import meter_from
from shared.domain.things.money import cost_of, price_of
from shared.domain.things.usage import month_of

_RUNNING = frozenset({MeterKind.NOTEBOOK, MeterKind.SPARK})
NEAR = Fraction(8, 10)  # of the limit: from there on people are warned


class Spending(Struct, frozen=True, kw_only=True):
    """The cost of a group's people in `month` up to `at`, and the hourly cost of what they run at that time.

    In the billing currency.
    """

    month: str
    at: datetime
    spent: Fraction
    hourly: Fraction

    def is_used_up(self, limit: float, now: datetime) -> bool:
        """Return True if the limit of the month of `now` is reached."""
        return self.month == month_of(now) and self.spent >= Fraction(str(limit))

    def is_near(self, limit: float) -> bool:
        """Return True from 80 % of the limit on."""
        return self.spent >= NEAR * Fraction(str(limit))


class SpendingCount:
    """The running sums, one for each group with a monthly limit. Rows of users in none of these groups are ignored."""

    def __init__(self, catalog: Catalog, at: datetime) -> None:
        self._catalog, self._at = catalog, at
        self._sums = {each.group: [Fraction(0), Fraction(0)] for each in catalog.budgeted}

    def add(self, row: RecordRow) -> None:
        """Add a row to the groups that pay for the user."""
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
