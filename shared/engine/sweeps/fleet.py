"""Keeps what sweeps saw for the pages: the fleet, when idle notebooks stop, what people cost. A failure holds up no sweep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TypeVar

from msgspec.structs import replace

from shared.domain.fleet.drift import Stray
from shared.domain.fleet.figures import FigureCount
from shared.domain.fleet.fleet import FleetSnapshot, Notes, with_point
from shared.domain.things.errors import BenchkeeperError, PermanentError, Reason
from shared.domain.things.identity import UserKey
from shared.domain.things.usage import month_of
from shared.engine.ports.deps import Deps
from shared.engine.ports.fleet import FleetDraft
from shared.engine.ports.records import ListedRow
from shared.engine.reconcile.guard import SizeCount, tidy_slots

T = TypeVar("T")


class FleetKeeper:
    """Keeps the rows of one sweep for the pages, as they stream by.

    `counts`: count, too, how many environments there are. What the sweep does not look at stays as the last one saw it.
    """

    def __init__(self, deps: Deps, now: datetime, *, counts: bool = False) -> None:
        self._deps, self._now, self._counts = deps, now, counts
        self._sizes = SizeCount()
        self._before = FleetSnapshot(taken_at=now, rows=())
        self._draft: FleetDraft | None = None
        _kept(self._begin, "fleet", deps)
        self._figures = FigureCount(self._before.blind, now)

    def _begin(self) -> None:
        about = _readable(self._deps.fleet.about)
        self._before = about.fleet if about is not None else self._before
        self._draft = self._deps.fleet.draft()

    def add(self, listed: ListedRow) -> None:
        """Take in a row; no call."""
        self._sizes.add(listed.row)
        if self._draft is not None:
            self._draft.add(listed)
        self._figures.add(listed.row)

    def keep(self, *, strays: tuple[Stray, ...] | None = None, blind: frozenset[UserKey] | None = None) -> None:
        """Write all of it. None: not looked at."""
        _kept(lambda: self._write(strays, blind), "fleet", self._deps)

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
            ),
            self._figures.figures(blind),
        )


def keep_idle_stops(deps: Deps, now: datetime, stops: Mapping[UserKey, datetime]) -> None:
    """Keep when running notebooks will be stopped for idleness."""

    def keep() -> None:
        before = _readable(deps.fleet.notes) or Notes(taken_at=now)
        deps.fleet.write_notes(replace(before, taken_at=now, idle_stops=stops))

    _kept(keep, "idle stops", deps)


def keep_costs(deps: Deps, now: datetime) -> None:
    """Keep what people cost this month, where a billing export is configured."""

    def keep() -> None:
        month = month_of(now)
        costs = deps.costs.month(month)
        if costs is None:
            return
        before = _readable(deps.fleet.notes) or Notes(taken_at=now)
        deps.fleet.write_notes(replace(before, taken_at=now, costs=costs, costs_month=month, costs_at=now))

    _kept(keep, "costs", deps)


def _readable(read: Callable[[], T | None]) -> T | None:
    """Return what is there; None when it is damaged, so that writing it anew mends it."""
    try:
        return read()
    except PermanentError as error:
        if error.reason is not Reason.UNREADABLE:
            raise
        return None


def _kept(keep: Callable[[], None], what: str, deps: Deps) -> None:
    """Pages tell how old what they show is; the next sweep tries again."""
    try:
        keep()
    except BenchkeeperError as error:
        deps.log.warning("Not kept for the pages", what=what, reason=error.reason.value, detail=error.detail)
