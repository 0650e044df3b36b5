"""The data that sweeps store for the pages: the fleet, the times of idle stops, the users' costs. A failure stops no sweep."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from msgspec.structs import replace

from shared.domain.fleet.drift import Stray
from shared.domain.fleet.figures import FigureCount
from shared.domain.fleet.fleet import FleetSnapshot, Notes, with_point
from shared.domain.fleet.idle_days import IdleCount
from shared.domain.fleet.spent import SpendingCount, is_to_store
from shared.domain.things.errors import BenchkeeperError, PermanentError, Reason
from shared.domain.things.identity import UserKey
from shared.domain.things.meter import lines_until, meter_from, month_before
from shared.domain.things.power import month_of
from shared.engine.ports.deps import Deps
from shared.engine.ports.fleet import FleetDraft, MonthDraft
from shared.engine.ports.records import ListedRow
from shared.engine.reconcile.guard import SizeCount, tidy_slots
from shared.engine.reconcile.seats import keep_spending

T = TypeVar("T")


class FleetKeeper:
    """A collector of one sweep's rows for the pages.

    With `counts`, the sweep also stores a point of the fleet's figures and the lines of the last month, and removes old slots.
    Parts that the sweep does not observe stay as the last sweep stored them.
    """

    def __init__(self, deps: Deps, now: datetime, *, counts: bool = False) -> None:
        self._deps, self._now, self._counts = deps, now, counts
        self._sizes = SizeCount()
        self.idle = IdleCount()
        self._before = FleetSnapshot(taken_at=now, rows=())
        self._draft: FleetDraft | None = None
        self._month: MonthDraft | None = None
        _kept(self._begin, "fleet", deps)
        self._figures = FigureCount(self._before.blind, now)
        self._spending = SpendingCount(deps.policy.catalog, now)

    @property
    def blind_before(self) -> frozenset[UserKey]:
        """The users without evidence of use, as the last sweep stored them."""
        return self._before.blind

    def _begin(self) -> None:
        about = _readable(self._deps.fleet.about)
        self._before = about.fleet if about is not None else self._before
        self._draft = self._deps.fleet.draft()
        if self._counts and is_to_store(self._now, self._before.taken_at if about is not None else self._now):
            last = month_before(month_of(self._now))
            self._month = self._deps.fleet.month_draft(last, self._now)

    def add(self, listed: ListedRow) -> None:
        """Add a row. Makes no call."""
        self._sizes.add(listed.row)
        self.idle.add(listed.row)
        if self._draft is not None:
            self._draft.add(listed)
        if self._month is not None and listed.row.meter:
            self._month.add(listed.row.user_key, lines_until(meter_from(listed.row.meter), self._now))
        self._figures.add(listed.row)
        self._spending.add(listed.row)

    def keep(self, *, strays: tuple[Stray, ...] | None = None, blind: frozenset[UserKey] | None = None) -> None:
        """Write the fleet's sizes, the fleet list, the cost of each group with a monthly limit, and the lines of the last month if they are due.

        An argument of None was not observed, so the earlier value stays. A failure is only logged.
        """
        _kept(lambda: self._write(strays, blind), "fleet", self._deps)
        keep_spending(self._spending.spending(), self._deps)
        if self._month is not None:
            _kept(self._month.write, "the last month", self._deps)

    def _write(self, strays: tuple[Stray, ...] | None, blind: frozenset[UserKey] | None) -> None:
        self._deps.guard.write_sizes(self._sizes.sizes())
        if self._counts:
            tidy_slots(self._deps, self._now)
        if self._draft is None:
            return
        before = self._before
        self._draft.write(
            FleetSnapshot(
                taken_at=self._now,
                rows=(),
                strays=before.strays if strays is None else strays,
                blind=before.blind if blind is None else blind,
                points=with_point(before.points, self._figures.point()) if self._counts else before.points,
                idle_days=self.idle.days(before.idle_days, before.taken_at, self._now),
            ),
            self._figures.figures(blind),
        )


def keep_use(deps: Deps, now: datetime, seen: Notes) -> None:
    """Store the observations of an idle sweep in the notes for the pages, for example the times of planned stops and the last uses.

    The costs in the notes are not changed. A failure is only logged.
    """

    def keep() -> None:
        before = _readable(deps.fleet.notes) or Notes(taken_at=now)
        deps.fleet.write_notes(
            replace(
                before,
                taken_at=now,
                idle_stops=seen.idle_stops,
                last_used=seen.last_used,
                looked=seen.looked,
                counter_seen=seen.counter_seen,
                reports=seen.reports,
                arrivals=seen.arrivals,
                started_ahead=seen.started_ahead,
            )
        )

    _kept(keep, "use", deps)


def notes_before(deps: Deps, now: datetime) -> Notes | None:
    """Return the notes of earlier sweeps, empty if there are none or they are damaged; None if they could not be read now."""
    try:
        return _readable(deps.fleet.notes) or Notes(taken_at=now)
    except BenchkeeperError as error:
        deps.log.warning("Notes of the sweeps could not be read", reason=error.reason.value, detail=error.detail)
        return None


def keep_costs(deps: Deps, now: datetime) -> None:
    """Store the users' costs of this month, if a billing export is configured."""

    def keep() -> None:
        month = month_of(now)
        costs = deps.costs.month(month)
        if costs is None:
            return
        before = _readable(deps.fleet.notes) or Notes(taken_at=now)
        deps.fleet.write_notes(replace(before, taken_at=now, costs=costs, costs_month=month, costs_at=now))

    _kept(keep, "costs", deps)


def _readable(read: Callable[[], T | None]) -> T | None:
    """Return the stored object; None if it is damaged, so that the next write replaces it."""
    try:
        return read()
    except PermanentError as error:
        if error.reason is not Reason.UNREADABLE:
            raise
        return None


def _kept(keep: Callable[[], None], what: str, deps: Deps) -> None:
    """Run `keep`, and only log its failure: pages show the age of their data, and the next sweep tries again."""
    try:
        keep()
    except BenchkeeperError as error:
        deps.log.warning("Data for the pages was not saved", what=what, reason=error.reason.value, detail=error.detail)
