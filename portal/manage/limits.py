"""The limits by group on the page *Costs*, and as files."""

from __future__ import annotations

from portal.deps import current
from portal.manage.base import fleet, kept
from portal.manage.export import NUMBER, TEXT, TIME, Columns, Sheet, offer
from portal.routes import Route
from shared.domain.fleet.fleet import FleetSnapshot
from shared.domain.things.money import rounded
from shared.engine.views.limits import LimitUse, limits_used
from shared.sheet import Value


def limits_of(seen: FleetSnapshot) -> tuple[LimitUse, ...]:
    """Return the limits by group with the used part of each, computed from the list of all users."""
    catalog = current().deps.engine.policy.catalog
    return kept().get("limits", (seen, catalog), lambda: limits_used(seen.rows, catalog, seen.taken_at))


_LIMITS: Columns = {
    "group": TEXT,
    "max_environments": NUMBER,
    "environments": NUMBER,
    "waiting": NUMBER,
    "waiting_since": TIME,
    "max_monthly_cost": NUMBER,
    "cost": NUMBER,
    "overshoot": NUMBER,
    "running_cost_an_hour": NUMBER,
}


def _limits_sheet() -> Sheet:
    """Return the limits by group, with the used part of each."""
    seen = fleet()
    rows = (
        (
            each.group,
            each.room,
            each.used if each.room is not None else None,
            each.waiting,
            each.waiting_since,
            *_budget(each),
        )
        for each in limits_of(seen)
    )
    more: dict[str, Value] = {"currency": current().deps.currency}
    return Sheet(name="limits", columns=_LIMITS, rows=rows, taken_at=seen.taken_at, more=more)


def _budget(each: LimitUse) -> tuple[Value, ...]:
    if each.spending is None:
        return None, None, None, None
    return each.budget, *(float(rounded(one, 4)) for one in (each.spending.spent, each.overshoot, each.spending.hourly))


ROUTES: tuple[Route, ...] = (
    *offer(
        "/manage/costs/limits",
        "costs_limits",
        "The limits by group, with the used part of each.",
        _LIMITS,
        _limits_sheet,
        more={"currency": TEXT},
    ),
)
