"""The page `/manage/costs`: the costs of this month by profile, cost centre and user."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import flask

from portal.deps import current
from portal.manage.base import PAGE, blueprint, cut, fleet, fleet_page, kept, page_number
from portal.manage.export import NUMBER, TEXT, TIME, Columns, Sheet, offer
from portal.routes import Access, Route
from portal.visit import visit
from shared.domain.fleet.fleet import FleetSnapshot, Notes
from shared.domain.things.errors import BenchkeeperError
from shared.engine.views.costs import Month, Sums, month
from shared.sheet import Value


@blueprint.get("/manage/costs")
def costs() -> flask.Response:
    """Show the page with two calls to the cloud: the hours of all users, and their costs on the bill."""
    seen = fleet()
    found, is_bill_unreadable = _month(seen)
    return fleet_page(
        "manage/costs.html",
        seen,
        month=found,
        persons=cut(found.by_person, page_number(flask.request.args)),
        currency=current().deps.currency,
        is_bill_unreadable=is_bill_unreadable,
    )


def _month(seen: FleetSnapshot) -> tuple[Month, bool]:
    """Return the sums, and True if there may be a bill that could not be read."""
    notes, unreadable = _notes()
    catalog = current().deps.engine.policy.catalog
    return kept().get("month", (seen, catalog, notes), lambda: month(seen, catalog, notes)), unreadable


def _notes() -> tuple[Notes | None, bool]:
    try:
        return current().deps.engine.fleet.notes(), False
    except BenchkeeperError as error:
        visit().reason, visit().detail = error.reason.value, f"notes: {error.detail}"
        return None, True


_FIGURES: Columns = {
    "people": NUMBER,
    "notebook_hours": NUMBER,
    "spark_hours": NUMBER,
    "unpriced_hours": NUMBER,
    "estimate": NUMBER,
    "billed": NUMBER,
}
_MORE: Columns = {"month": TEXT, "currency": TEXT, "billed_at": TIME}


def _figures(sums: Sums) -> tuple[Value, ...]:
    hours = tuple(round(seconds / 3600, 2) for seconds in (sums.notebook_s, sums.spark_s, sums.unpriced_s))
    money = tuple(None if each is None else round(each, 4) for each in (sums.estimate, sums.billed))
    return (sums.people, *hours, *money)


def _sheet(name: str, first: Columns, found: Month, rows: Iterable[Sequence[Value]]) -> Sheet:
    more: dict[str, Value] = {
        "month": f"{found.at:%Y-%m}",
        "currency": current().deps.currency,
        "billed_at": found.billed_at,
    }
    return Sheet(name=f"costs-by-{name}", columns={**first, **_FIGURES}, rows=rows, taken_at=found.at, more=more)


_PROFILE: Columns = {"profile": TEXT}
_COST_CENTER: Columns = {"cost_center": TEXT}
_PERSON: Columns = {"user_key": TEXT, "address": TEXT}


def _by_profile() -> Sheet:
    found, _ = _month(fleet())
    return _sheet("profile", _PROFILE, found, ((name, *_figures(sums)) for name, sums in found.by_profile))


def _by_cost_center() -> Sheet:
    found, _ = _month(fleet())
    return _sheet("cost-center", _COST_CENTER, found, ((name, *_figures(sums)) for name, sums in found.by_cost_center))


def _by_person() -> Sheet:
    found, _ = _month(fleet())
    rows = ((row.user_key, row.email, *_figures(sums)) for row, sums in found.by_person)
    return _sheet("person", _PERSON, found, rows)


def _offered(name: str, first: Columns, endpoint: str, make: Callable[[], Sheet], what: str) -> tuple[Route, Route]:
    return offer(
        f"/manage/costs/{name}", endpoint, f"This month's cost by {what}.", {**first, **_FIGURES}, make, more=_MORE
    )


ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        rule="/manage/costs",
        name="manage.costs",
        summary="What this month has cost.",
        access=Access.READ,
        params=(PAGE,),
    ),
    *_offered("profile", _PROFILE, "costs_profile", _by_profile, "profile"),
    *_offered("cost-center", _COST_CENTER, "costs_center", _by_cost_center, "cost centre"),
    *_offered("person", _PERSON, "costs_person", _by_person, "person"),
)
