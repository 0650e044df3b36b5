"""The limits by group with the used part of each, from the rows of the list of all users.

Pure, without reads. Pages and commands show the result.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from fractions import Fraction

from msgspec import Struct

from shared.domain.fleet.spent import Spending, SpendingCount
from shared.domain.record.record import RecordRow
from shared.domain.things.catalog import Catalog

SWEEPS_EVERY = timedelta(
    minutes=10
)  # the interval of the sweeps that add up the costs of groups; starts are judged by the last sum


class LimitUse(Struct, frozen=True, kw_only=True):
    """A group with a limit: `used` of `room` notebooks, and the number of users who wait for a place or for the next month's budget.

    The first of these users has waited since `waiting_since`. `room` is None if the number of notebooks is not limited.
    `used` may exceed `room`, because no user loses a notebook to a limit. `budget` is the monthly limit of the cost of
    the group's users, None for no limit; `spending` is their present cost.
    """

    group: str
    room: int | None
    used: int
    waiting: int
    waiting_since: datetime | None
    budget: float | None
    spending: Spending | None

    @property
    def over(self) -> int:
        """The number of notebooks above the limit: notebooks from before the limit, or of users who came from other groups."""
        return 0 if self.room is None else max(0, self.used - self.room)

    @property
    def is_used_up(self) -> bool:
        """Return True once the month's budget is used up."""
        return (
            self.budget is not None and self.spending is not None and self.spending.spent >= Fraction(str(self.budget))
        )

    @property
    def is_near(self) -> bool:
        """Return True once 80 % of the month's budget is spent."""
        return self.budget is not None and self.spending is not None and self.spending.is_near(self.budget)

    @property
    def overshoot(self) -> Fraction:
        """The most that running environments cost between two sweeps.

        The limit may be exceeded by this amount before starts are refused.
        """
        return (
            Fraction(0)
            if self.spending is None
            else self.spending.hourly * Fraction(SWEEPS_EVERY // timedelta(seconds=1), 3600)
        )


def limits_used(rows: Iterable[RecordRow], catalog: Catalog, at: datetime) -> tuple[LimitUse, ...]:
    """Return the groups with a limit of notebooks or of costs, each with the used part, in the order of the configuration."""
    groups = [a.group for a in catalog.assignments if a in catalog.limited or a in catalog.budgeted]
    used, waits = dict.fromkeys(groups, 0), {group: list[datetime]() for group in groups}
    count = SpendingCount(catalog, at)
    for row in rows if groups else ():
        count.add(row)
        for group in row.limits.seats:
            if group in used:
                used[group] += 1
        if (wait := row.limits.wait) is not None:
            for group in dict.fromkeys((*wait.groups, *wait.spent)):
                if group in waits:
                    waits[group].append(wait.since)
    spending = count.spending()
    return tuple(
        LimitUse(
            group=group,
            room=catalog.room_of(group),
            used=used[group],
            waiting=len(waits[group]),
            waiting_since=min(waits[group], default=None),
            budget=catalog.budget_of(group),
            spending=spending.get(group),
        )
        for group in groups
    )
