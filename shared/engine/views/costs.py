"""The costs of all environments in this month, summed by profile, cost centre or user. Pure.

There are two figures that are never mixed. `billed` comes from the labels on the bill; `estimate` is hours times the prices that the
administrator configured. Hours without a price are shown separately; they are in no estimate and do not count as zero.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from shared.domain.fleet.fleet import FleetSnapshot, Notes
from shared.domain.record.record import RecordRow
from shared.domain.things.catalog import Catalog
from shared.domain.things.identity import UserKey
from shared.domain.things.usage import NOTEBOOK, cluster_usage, month_of


class Sums(Struct):
    """The sums of some users: seconds of notebooks and of Spark clusters, the part of them without a price, and both cost figures.

    `estimate` None: no time used has a price. `billed` None: there is no bill for this month.
    """

    people: int = 0
    notebook_s: float = 0.0
    spark_s: float = 0.0
    unpriced_s: float = 0.0
    estimate: float | None = None
    billed: float | None = None

    def add(self, other: Sums) -> None:
        """Add the figures of `other`."""
        self.people += other.people
        self.notebook_s += other.notebook_s
        self.spark_s += other.spark_s
        self.unpriced_s += other.unpriced_s
        if other.estimate is not None:
            self.estimate = (self.estimate or 0.0) + other.estimate
        if other.billed is not None:
            self.billed = (self.billed or 0.0) + other.billed


class Month(Struct, frozen=True, kw_only=True):
    """The month of `at`: the sums of users with any use or cost, the most expensive first.

    An empty profile or cost centre means none. `stray_bill` is the billed cost of user keys without a record.
    `billed_at` None: there is no bill for this month.
    """

    at: datetime
    total: Sums
    by_profile: tuple[tuple[str, Sums], ...]
    by_cost_center: tuple[tuple[str, Sums], ...]
    by_person: tuple[tuple[RecordRow, Sums], ...]
    billed_at: datetime | None
    stray_bill: float


def month(fleet: FleetSnapshot, catalog: Catalog, notes: Notes | None) -> Month:
    """Return this month as of the snapshot: running resources are counted up to then."""
    bill, prices, at = _bill(notes, fleet.taken_at), _Prices(catalog), fleet.taken_at
    total = Sums()
    profiles: defaultdict[str, Sums] = defaultdict(Sums)
    centers: defaultdict[str, Sums] = defaultdict(Sums)
    persons: list[tuple[RecordRow, Sums]] = []
    for row in fleet.rows:
        one = _of(row, prices, bill, at)
        if not (one.notebook_s or one.spark_s or one.billed):
            continue
        persons.append((row, one))
        for group in (total, profiles[row.profile or ""], centers[row.cost_center]):
            group.add(one)
    known = {row.user_key for row in fleet.rows}
    return Month(
        at=at,
        total=total,
        by_profile=_dearest_first(profiles),
        by_cost_center=_dearest_first(centers),
        by_person=tuple(sorted(persons, key=lambda pair: _dear(pair[1]))),
        billed_at=notes.costs_at if notes is not None and bill is not None else None,
        stray_bill=sum(cost for key, cost in (bill or {}).items() if key not in known),
    )


def _bill(notes: Notes | None, at: datetime) -> Mapping[UserKey, float] | None:
    if notes is None or notes.costs is None or notes.costs_month != month_of(at):
        return None
    return notes.costs


class _Prices:
    """The prices of an hour, by profile for notebooks and by the name of a use for Spark."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._templates = {cluster_usage(name): name for name in (*catalog.masters, *catalog.environments)}

    def of(self, row: RecordRow, use: str) -> float | None:
        """Return the price; None if none is configured."""
        if use == NOTEBOOK:
            profile = self._catalog.profiles.get(row.profile or "")
            return profile.hourly_cost if profile is not None else None
        return self._catalog.environment(self._templates.get(use, use)).hourly_cost


def _of(row: RecordRow, prices: _Prices, bill: Mapping[UserKey, float] | None, at: datetime) -> Sums:
    one = Sums(people=1, billed=None if bill is None else bill.get(row.user_key, 0.0))
    for use, usage in row.usage.items():
        seconds = usage.in_month_of(at).total_seconds()
        if not seconds:
            continue
        if use == NOTEBOOK:
            one.notebook_s += seconds
        else:
            one.spark_s += seconds
        price = prices.of(row, use)
        if price is None:
            one.unpriced_s += seconds
        else:
            one.estimate = (one.estimate or 0.0) + seconds / 3600 * price
    return one


def _dearest_first(groups: Mapping[str, Sums]) -> tuple[tuple[str, Sums], ...]:
    return tuple(sorted(groups.items(), key=lambda item: (*_dear(item[1]), item[0])))


def _dear(sums: Sums) -> tuple[float, float, float]:
    """Return the sort key: the bill first, then the estimate, then the time."""
    return (-(sums.billed or 0.0), -(sums.estimate or 0.0), -(sums.notebook_s + sums.spark_s))
