"""The costs of all environments in a month, summed by kind, profile, cost centre, department or user. Pure.

There are two figures that are never mixed. `billed` comes from the labels on the bill; `estimate` is metered time by
the prices that the administrator configured. Metered time without a price is shown separately; it is not part of an
estimate and does not count as zero. Amounts are exact fractions; pages and files round once, when they show one
(`shared.domain.things.money.rounded`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from fractions import Fraction

from msgspec import Struct
from msgspec.structs import replace

from shared.domain.fleet.fleet import FleetSnapshot, Notes
from shared.domain.fleet.spent import MonthLines, lines_of_row
from shared.domain.record.record import RecordRow
from shared.domain.things.catalog import Catalog
from shared.domain.things.identity import UserKey
from shared.domain.things.meter import Line, MeterKind, What, bounds_of
from shared.domain.things.money import cost_of
from shared.domain.things.power import month_of

_RUNNING = frozenset({MeterKind.NOTEBOOK, MeterKind.SPARK})


class Sums(Struct):
    """The sums of some users: seconds of notebooks and of Spark clusters, the part of them without a price, and both cost figures.

    `storage` is the part of `estimate` for disks without a running machine and for snapshots; `unpriced_storage_s` are
    the seconds of disks and snapshots without a price. `estimate` is None if nothing metered has a price, `billed` is None if there
    is no bill for this month. `estimated` is True if some seconds are from before the meter began.
    """

    people: int = 0
    notebook_s: float = 0.0
    spark_s: float = 0.0
    unpriced_s: float = 0.0
    estimate: Fraction | None = None
    billed: float | None = None
    storage: Fraction | None = None
    unpriced_storage_s: float = 0.0
    estimated: bool = False

    def add(self, other: Sums) -> None:
        """Add the figures of `other`."""
        self.people += other.people
        self.notebook_s += other.notebook_s
        self.spark_s += other.spark_s
        self.unpriced_s += other.unpriced_s
        self.unpriced_storage_s += other.unpriced_storage_s
        self.estimated = self.estimated or other.estimated
        self.estimate = _sum(self.estimate, other.estimate)
        self.storage = _sum(self.storage, other.storage)
        if other.billed is not None:
            self.billed = (self.billed or 0.0) + other.billed

    def count(self, line: Line, cost: Fraction | None) -> None:
        """Add a line and its cost, None without a price."""
        runs = line.what.kind in _RUNNING
        self.estimated = self.estimated or line.estimated
        if line.what.kind is MeterKind.NOTEBOOK:
            self.notebook_s += line.seconds
        elif runs:
            self.spark_s += line.seconds
        if cost is None:
            self.unpriced_s += line.seconds if runs else 0
            self.unpriced_storage_s += 0 if runs else line.seconds
            return
        self.estimate = _sum(self.estimate, cost)
        if not runs:
            self.storage = _sum(self.storage, cost)

    @property
    def is_something(self) -> bool:
        """Return True if anything was metered or billed."""
        return bool(self.notebook_s or self.spark_s or self.billed or self.storage or self.unpriced_storage_s)


def _sum(one: Fraction | None, other: Fraction | None) -> Fraction | None:
    return one if other is None else other if one is None else one + other


class Month(Struct, frozen=True, kw_only=True):
    """A month as of `at`: the sums of users with any use or cost, the most expensive first.

    An empty profile, cost centre or department means none. `stray_bill` is the billed cost of user keys without a
    record. `billed_at` is None if there is no bill for this month. `unpriced` lists the missing prices: ("profile", its
    name), ("template", its name), ("disk", its type) or ("snapshots", ""). A user who is no longer listed has a row
    with only the key.
    """

    at: datetime
    total: Sums
    by_profile: tuple[tuple[str, Sums], ...]
    by_cost_center: tuple[tuple[str, Sums], ...]
    by_person: tuple[tuple[RecordRow, Sums], ...]
    billed_at: datetime | None
    stray_bill: float
    by_department: tuple[tuple[str, Sums], ...] = ()
    by_kind: tuple[tuple[MeterKind, Sums], ...] = ()
    unpriced: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """The month as `2026-11`."""
        return month_of(self.at)


def month(fleet: FleetSnapshot, catalog: Catalog, notes: Notes | None) -> Month:
    """Return this month as of the time of the list of all users. Metered lines that are still open are counted up to that time."""
    at = fleet.taken_at
    bill = _bill(notes, month_of(at))
    found = _Groups(catalog, bill)
    for row in fleet.rows:
        found.add(row, [line for line in lines_of_row(row, at) if line.month == month_of(at)])
    stray = sum(cost for key, cost in (bill or {}).items() if key not in {row.user_key for row in fleet.rows})
    return found.month(at, notes.costs_at if notes is not None and bill is not None else None, stray)


class RowCosts:
    """A function that returns a user's cost of this month by the same rules as `month`.

    Results are cached, so that a table can be sorted by them.
    """

    def __init__(self, catalog: Catalog, notes: Notes | None, at: datetime) -> None:
        self._catalog, self._at = catalog, at
        self._bill = _bill(notes, month_of(at))
        self._known: dict[UserKey, float | None] = {}

    @property
    def is_billed(self) -> bool:
        """Return True if the figures are those of the bill."""
        return self._bill is not None

    def __call__(self, row: RecordRow) -> float | None:
        """Return the billed cost if there is a bill for this month, else the estimate; None if there is neither."""
        if row.user_key not in self._known:
            self._known[row.user_key] = self._cost(row)
        return self._known[row.user_key]

    def _cost(self, row: RecordRow) -> float | None:
        sums, month_name = Sums(), month_of(self._at)
        for line in lines_of_row(row, self._at):
            if line.month == month_name:
                sums.count(line, cost_of(line, self._catalog))
        if self._bill is not None:
            sums.billed = self._bill.get(row.user_key, 0.0)
            return sums.billed if sums.is_something else None
        return None if sums.estimate is None or not sums.is_something else float(sums.estimate)


def past_month(kept: MonthLines, fleet: FleetSnapshot, catalog: Catalog) -> Month:
    """Return the sums of a past month, as sweeps stored them. Addresses come from the present list. There is no bill for a past month."""
    found, rows = _Groups(catalog, None), {row.user_key: row for row in fleet.rows}
    for key, lines in kept.lines.items():
        row = rows.get(key)
        if row is None:
            row = _stranger(key, fleet)
        if row is not None:
            found.add(row, lines)
    return found.month(bounds_of(kept.month)[1] - timedelta(seconds=1), None, 0.0)


def _stranger(key: UserKey, fleet: FleetSnapshot) -> RecordRow | None:
    """Return a row for a user whose record is gone.

    Return None if the list is empty, because the row is made from another row.
    """
    return replace(fleet.rows[0], user_key=key, email="") if fleet.rows else None


class _Groups:
    """A collector of users and their metered lines, which gives the sums of a month."""

    def __init__(self, catalog: Catalog, bill: Mapping[UserKey, float] | None) -> None:
        self._catalog, self._bill = catalog, bill
        self._total = Sums()
        self._by: dict[str, defaultdict[str, Sums]] = {
            name: defaultdict(Sums) for name in ("profile", "center", "department", "kind")
        }
        self._persons: list[tuple[RecordRow, Sums]] = []
        self._unpriced: set[tuple[str, str]] = set()

    def add(self, row: RecordRow, lines: Iterable[Line]) -> None:
        """Add a user; ignore one without use or cost. A bill has no lines, so it counts for the user's present profile and cost centre."""
        person = Sums(people=1)
        groups: dict[tuple[str, str], Sums] = {}

        def group(name: str, value: str) -> Sums:
            return groups.setdefault((name, value), Sums(people=1))

        for line in lines:
            what, cost = line.what, cost_of(line, self._catalog)
            profile = what.profile if what.kind is not MeterKind.SPARK else row.profile or ""
            places = ("profile", profile), ("center", what.cost_center), ("department", what.department)
            for sums in (person, *(group(*place) for place in places), group("kind", what.kind)):
                sums.count(line, cost)
            if cost is None:
                self._unpriced.add(_missing(what))
        if self._bill is not None:
            billed = self._bill.get(row.user_key, 0.0)
            newest = group("profile", row.profile or ""), group("center", row.cost_center)
            for sums in (person, *newest):
                sums.billed = billed
        if not person.is_something:
            return
        self._persons.append((row, person))
        self._total.add(person)
        for (name, value), sums in groups.items():
            self._by[name][value].add(sums)

    def month(self, at: datetime, billed_at: datetime | None, stray: float) -> Month:
        """Return the month with the sums of all added users."""
        kinds = _dearest_first(self._by["kind"])
        return Month(
            at=at,
            total=self._total,
            by_profile=_dearest_first(self._by["profile"]),
            by_cost_center=_dearest_first(self._by["center"]),
            by_department=_dearest_first(self._by["department"]),
            by_kind=tuple((MeterKind(name), sums) for name, sums in kinds),
            by_person=tuple(sorted(self._persons, key=lambda pair: _dear(pair[1]))),
            billed_at=billed_at,
            stray_bill=stray,
            unpriced=tuple(sorted(self._unpriced)),
        )


def _missing(what: What) -> tuple[str, str]:
    match what.kind:
        case MeterKind.NOTEBOOK:
            return "profile", what.profile
        case MeterKind.SPARK:
            return "template", what.profile
        case MeterKind.SNAPSHOTS:
            return "snapshots", ""
        case _:
            return "disk", what.disk_type


def _bill(notes: Notes | None, month_name: str) -> Mapping[UserKey, float] | None:
    if notes is None or notes.costs is None or notes.costs_month != month_name:
        return None
    return notes.costs


def _dearest_first(groups: Mapping[str, Sums]) -> tuple[tuple[str, Sums], ...]:
    return tuple(sorted(groups.items(), key=lambda item: (*_dear(item[1]), item[0])))


def _dear(sums: Sums) -> tuple[float, Fraction, float]:
    """Return the sort key: the bill first, then the estimate, then the time."""
    return (-(sums.billed or 0.0), -(sums.estimate or Fraction(0)), -(sums.notebook_s + sums.spark_s))
