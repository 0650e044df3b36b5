"""Keeps what sweeps saw for the pages: the fleet, when idle notebooks stop, what people cost. A failure holds up no sweep."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from shared.domain.drift import Stray
from shared.domain.errors import BenchkeeperError, PermanentError, Reason
from shared.domain.fleet import FleetSnapshot, Notes, point_of, with_point
from shared.domain.identity import UserKey
from shared.domain.record import RecordRow
from shared.domain.usage import month_of
from shared.engine.guard import sizes_of, tidy_slots
from shared.engine.ports import Deps

T = TypeVar("T")


def keep_fleet(
    deps: Deps,
    rows: Iterable[RecordRow],
    now: datetime,
    *,
    strays: tuple[Stray, ...] | None = None,
    blind: frozenset[UserKey] | None = None,
    counts: bool = False,
) -> None:
    """Keep the rows as they were listed, and with `counts` how many there are. What was not looked at (None) stays as it was."""
    kept = tuple(rows)

    def keep() -> None:
        deps.guard.write_sizes(sizes_of(kept))
        if counts:
            tidy_slots(deps, now)
        before = _readable(deps.fleet.fleet) or FleetSnapshot(taken_at=now, rows=())
        unseen = before.blind if blind is None else blind
        deps.fleet.write_fleet(
            FleetSnapshot(
                taken_at=now,
                rows=kept,
                strays=before.strays if strays is None else strays,
                blind=unseen,
                points=with_point(before.points, point_of(kept, unseen, now)) if counts else before.points,
            )
        )

    _kept(keep, "fleet", deps)


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
    """What is there; None when it is damaged, so that writing it anew mends it."""
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
