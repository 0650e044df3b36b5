"""The page `/manage/costs`: the months, what changed, and the costs of this month by user, cost centre and profile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from enum import StrEnum

import flask
from msgspec import Struct

from portal.deps import current
from portal.manage.base import PAGE, asked, blueprint, cut, fleet, fleet_page, kept, page_number
from portal.manage.export import NUMBER, TEXT, TIME, Columns, Sheet, offer
from portal.routes import Access, Param, Place, Route
from portal.visit import visit
from shared.domain.fleet.figures import figures_of
from shared.domain.fleet.fleet import FleetSnapshot, Notes
from shared.domain.fleet.idle_days import IdleSaving, about, saving_of
from shared.domain.record.status import RegretKind
from shared.domain.things.errors import BenchkeeperError
from shared.engine.views.costs import Month, Sums, month
from shared.sheet import Value


class By(StrEnum):
    """The groups by which costs are shown."""

    PERSON = "person"
    COST_CENTER = "cost-center"
    PROFILE = "profile"


GROUPS = {By.PERSON: "Person", By.COST_CENTER: "Cost centre", By.PROFILE: "Profile"}


class MonthLine(Struct, frozen=True, kw_only=True):
    """A month in the list of months, the newest first: `2026-11`, its cost (None: unknown), and whether the cost is an estimate."""

    month: str
    cost: float | None
    is_estimated: bool

    @property
    def title(self) -> str:
        """The month as `November 2026`."""
        return f"{datetime.strptime(self.month, '%Y-%m'):%B %Y}"  # noqa: DTZ007 - a month has no time zone


class ChangeLine(Struct, frozen=True, kw_only=True):
    """What one group cost in the last two months. `user_key` is set for a user."""

    label: str
    before: float
    after: float
    user_key: str = ""

    @property
    def change(self) -> float:
        """The difference."""
        return self.after - self.before


@blueprint.get("/manage/costs")
def costs() -> flask.Response:
    """Show the page with two calls to the cloud: the hours of all users, and their costs on the bill."""
    seen = fleet()
    found, is_bill_unreadable = _month(seen)
    by = next((each for each in By if each.value == asked("by")), By.PERSON)
    months = months_of(found)
    groups = kept().get("cost-groups", (found,), lambda: _groups(found))
    return fleet_page(
        "manage/costs.html",
        seen,
        month=found,
        months=months,
        changes=changes_of(found),
        highest=max((each.cost or 0.0 for each in months), default=0.0),
        by=by,
        groups=GROUPS,
        shown=cut(groups[by], page_number(flask.request.args)),
        unpriced=[name or "none" for name, sums in found.by_profile if sums.unpriced_s],
        saving=_saving(seen),
        regrets=_regrets(seen),
        about=about,
        currency=current().deps.currency,
        is_bill_unreadable=is_bill_unreadable,
    )


def months_of(found: Month) -> list[MonthLine]:
    """Return the months whose costs are known, the newest first: at most thirteen."""
    is_billed = found.billed_at is not None
    cost = found.total.billed if is_billed else found.total.estimate
    return [MonthLine(month=f"{found.at:%Y-%m}", cost=cost, is_estimated=not is_billed)]


def changes_of(_found: Month) -> list[ChangeLine]:
    """Return the ten groups whose cost changed most from the month before; empty while only one month is known."""
    return []


def _groups(found: Month) -> dict[By, list[tuple[str, str, Sums]]]:
    """Return for each group the rows of the table: label, user key ("" for no user), sums."""
    return {
        By.PERSON: [(row.email or row.user_key, row.user_key, sums) for row, sums in found.by_person],
        By.COST_CENTER: [(name, "", sums) for name, sums in found.by_cost_center],
        By.PROFILE: [(name, "", sums) for name, sums in found.by_profile],
    }


def _saving(seen: FleetSnapshot) -> IdleSaving | None:
    profiles = current().deps.engine.policy.catalog.profiles
    return saving_of(seen.idle_days, {name: profile.hourly_cost for name, profile in profiles.items()})


def _regrets(seen: FleetSnapshot) -> dict[str, int]:
    found = kept().get("figures", (seen,), lambda: figures_of(seen)).regrets
    return {kind.value: found.get(kind.value, 0) for kind in RegretKind}


def month_of_fleet(seen: FleetSnapshot) -> tuple[Month, Notes | None, bool]:
    """Return the sums of this month, the sweeps' notes, and True if there may be a bill that could not be read: one call."""
    notes, unreadable = _notes()
    catalog = current().deps.engine.policy.catalog
    return kept().get("month", (seen, catalog, notes), lambda: month(seen, catalog, notes)), notes, unreadable


def _month(seen: FleetSnapshot) -> tuple[Month, bool]:
    found, _, unreadable = month_of_fleet(seen)
    return found, unreadable


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


_BY = Param(
    name="by",
    place=Place.QUERY,
    text="The groups of the table. Default: person.",
    schema={"type": "string", "enum": [each.value for each in By]},
)
ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        rule="/manage/costs",
        name="manage.costs",
        summary="What this month has cost.",
        access=Access.READ,
        params=(_BY, PAGE),
    ),
    *_offered("profile", _PROFILE, "costs_profile", _by_profile, "profile"),
    *_offered("cost-center", _COST_CENTER, "costs_center", _by_cost_center, "cost centre"),
    *_offered("person", _PERSON, "costs_person", _by_person, "person"),
)
