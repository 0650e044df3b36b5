"""The page `/manage/costs`: the months, the largest changes, and the costs of a month by user, cost centre, department and profile.

`?month=2026-10` selects a past month. Without it, or if nothing is stored for that month, the page shows the present
month.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from fractions import Fraction
from typing import TypeVar

import flask
from msgspec import Struct

from portal.deps import current
from portal.manage.base import PAGE, asked, blueprint, cut, fleet, fleet_page, kept, page_number
from portal.manage.export import FLAG, NUMBER, TEXT, TIME, Columns, Sheet, offer
from portal.manage.limits import limits_of
from portal.months import title_of
from portal.pages import word
from portal.routes import Access, Param, Place, Route
from portal.visit import visit
from shared.domain.fleet.figures import figures_of
from shared.domain.fleet.fleet import FleetSnapshot, Notes
from shared.domain.fleet.idle_days import IdleSaving, about, saving_of
from shared.domain.fleet.spent import MonthTotal
from shared.domain.record.status import RegretKind
from shared.domain.things.errors import BenchkeeperError
from shared.domain.things.meter import month_before
from shared.domain.things.money import rounded
from shared.domain.things.power import month_of
from shared.engine.views.costs import Month, Sums, month, past_month
from shared.engine.views.months import Comparison, CostChange, MonthSum, compare, not_before, thirteen
from shared.sheet import Value


class By(StrEnum):
    """The groups by which costs are shown."""

    PERSON = "person"
    COST_CENTER = "cost-center"
    DEPARTMENT = "department"
    PROFILE = "profile"


GROUPS = {By.PERSON: "Person", By.COST_CENTER: "Cost centre", By.DEPARTMENT: "Department", By.PROFILE: "Profile"}
T = TypeVar("T")
_MONTH_NAME = re.compile(r"^\d{4}-(0[1-9]|1[0-2])$")
_MONTH = Param(name="month", place=Place.QUERY, text="The month, for example `2026-10`. Default: the present month.")


class MonthLine(Struct, frozen=True, kw_only=True):
    """A month in the list of months, the newest first.

    `month` has the form `2026-11`; `cost` is None if unknown. `is_estimated` is True if the cost is an estimate.
    """

    month: str
    cost: float | Fraction | None
    is_estimated: bool

    @property
    def title(self) -> str:
        """The month as `November 2026`."""
        return title_of(self.month)


@blueprint.get("/manage/costs")
def costs() -> flask.Response:
    """Show the page *Costs*: the metered time of all users, the bill, the monthly sums, and the comparison with the previous month."""
    seen = fleet()
    found, is_bill_unreadable = _month(seen)
    by = next((each for each in By if each.value == asked("by")), By.PERSON)
    all_months = months_of(seen)
    months = [_line(each, this_month(seen)[0]) for each in all_months if each.sums is not None]
    groups = kept().get("cost-groups", (found,), lambda: _groups(found))
    compared = comparison_of(seen, found)
    return fleet_page(
        "manage/costs.html",
        seen,
        month=found,
        months=months,
        not_before=title_of(first) if (first := not_before(all_months)) else "",
        title=title_of(found.name),
        is_past=found.name != month_of(seen.taken_at),
        comparison=compared,
        highest=max((float(each.cost or 0) for each in months), default=0.0),
        by=by,
        groups=GROUPS,
        shown=cut(groups[by], page_number(flask.request.args)),
        unpriced=[name or word("none") for kind, name in found.unpriced if kind in {"profile", "template"}],
        unpriced_storage=[name or word("snapshots") for kind, name in found.unpriced if kind in {"disk", "snapshots"}],
        saving=_saving(seen),
        regrets=_regrets(seen),
        about=about,
        currency=current().deps.currency,
        is_bill_unreadable=is_bill_unreadable,
        limits=limits_of(seen),
    )


def _line(each: MonthSum, now: Month) -> MonthLine:
    sums = each.sums or Sums()
    is_billed = each.month == now.name and now.billed_at is not None
    return MonthLine(month=each.month, cost=sums.billed if is_billed else sums.estimate, is_estimated=not is_billed)


def months_of(seen: FleetSnapshot) -> tuple[MonthSum, ...]:
    """Return thirteen months, the newest first.

    If the stored sums cannot be read, all months but the present one are empty.
    """
    now, _ = this_month(seen)
    none: tuple[MonthTotal, ...] = ()
    totals = _readable(current().deps.engine.fleet.month_totals, none, "months")
    return thirteen(now, totals, current().deps.engine.policy.catalog)


def comparison_of(seen: FleetSnapshot, found: Month) -> Comparison | None:
    """Return the comparison of the month with the previous month; None if the previous month is not stored or cannot be read."""
    before = _past(seen, month_before(found.name))
    return None if before is None else compare(before, found, is_whole=found.name != month_of(seen.taken_at))


def _groups(found: Month) -> dict[By, list[tuple[str, str, Sums]]]:
    """Return for each group the rows of the table: label, user key ("" for no user), sums."""
    return {
        By.PERSON: [(row.email or row.user_key, row.user_key, sums) for row, sums in found.by_person],
        By.COST_CENTER: [(name, "", sums) for name, sums in found.by_cost_center],
        By.DEPARTMENT: [(name, "", sums) for name, sums in found.by_department],
        By.PROFILE: [(name, "", sums) for name, sums in found.by_profile],
    }


def _saving(seen: FleetSnapshot) -> IdleSaving | None:
    profiles = current().deps.engine.policy.catalog.profiles
    return saving_of(seen.idle_days, {name: profile.hourly_cost for name, profile in profiles.items()})


def _regrets(seen: FleetSnapshot) -> dict[str, int]:
    found = kept().get("figures", (seen,), lambda: figures_of(seen)).regrets
    return {kind.value: found.get(kind.value, 0) for kind in RegretKind}


def month_of_fleet(seen: FleetSnapshot) -> tuple[Month, Notes | None, bool]:
    """Return (the sums of this month, the sweeps' notes, True if the notes could not be read), by one call. The notes have the bill."""
    notes, unreadable = notes_now()
    catalog = current().deps.engine.policy.catalog
    return kept().get("month", (seen, catalog, notes), lambda: month(seen, catalog, notes)), notes, unreadable


def this_month(seen: FleetSnapshot) -> tuple[Month, bool]:
    """Return the sums of the present month, and True if the notes, which have the bill, could not be read."""
    found, _, unreadable = month_of_fleet(seen)
    return found, unreadable


def _month(seen: FleetSnapshot) -> tuple[Month, bool]:
    """Return the sums of the requested month or else of the present one, and True if the bill of that month could not be read."""
    name = asked("month")
    if _MONTH_NAME.match(name) and name < month_of(seen.taken_at):
        past = _past(seen, name)
        if past is not None:
            return past, False
    return this_month(seen)


def _past(seen: FleetSnapshot, name: str) -> Month | None:
    engine = current().deps.engine
    lines = _readable(lambda: engine.fleet.month(name), None, "month")
    if lines is None:
        return None
    catalog = engine.policy.catalog
    key = f"past {int(name[5:]) % 3}"
    return kept().get(key, (seen, catalog, lines), lambda: past_month(lines, seen, catalog))


def notes_now() -> tuple[Notes | None, bool]:
    """Return (the last uses and costs that sweeps noted, True if they could not be read), by one call. Without notes, the first is None."""
    missing: list[bool] = []
    return _readable(current().deps.engine.fleet.notes_for_tables, None, "notes", missing), bool(missing)


def _readable(read: Callable[[], T], otherwise: T, what: str, missing: list[bool] | None = None) -> T:
    """Return the result of `read`. If the read fails, note the failure for the log and in `missing`, and return `otherwise`."""
    try:
        return read()
    except BenchkeeperError as error:
        visit().reason, visit().detail = error.reason.value, f"{what}: {error.detail}"
        if missing is not None:
            missing.append(True)
        return otherwise


_FIGURES: Columns = {
    "people": NUMBER,
    "notebook_hours": NUMBER,
    "spark_hours": NUMBER,
    "unpriced_hours": NUMBER,
    "estimate": NUMBER,
    "billed": NUMBER,
    "storage": NUMBER,
    "unpriced_storage_hours": NUMBER,
    "is_estimated": FLAG,
}
_UNKNOWN: tuple[Value, ...] = (None,) * len(_FIGURES)
_MORE: Columns = {"month": TEXT, "currency": TEXT, "billed_at": TIME}


def _figures(sums: Sums) -> tuple[Value, ...]:
    hours = tuple(round(seconds / 3600, 2) for seconds in (sums.notebook_s, sums.spark_s, sums.unpriced_s))
    billed = None if sums.billed is None else round(sums.billed, 4)
    money = _amount(sums.estimate), billed, _amount(sums.storage)
    return (sums.people, *hours, *money, round(sums.unpriced_storage_s / 3600, 2), sums.estimated)


def _amount(amount: Fraction | None) -> float | None:
    """Return an amount for a file, rounded to four decimal places; None stays None."""
    return None if amount is None else float(rounded(amount, 4))


def _sheet(name: str, first: Columns, found: Month, rows: Iterable[Sequence[Value]]) -> Sheet:
    more: dict[str, Value] = {
        "month": found.name,
        "currency": current().deps.currency,
        "billed_at": found.billed_at,
    }
    return Sheet(name=f"costs-by-{name}", columns={**first, **_FIGURES}, rows=rows, taken_at=found.at, more=more)


_PROFILE: Columns = {"profile": TEXT}
_COST_CENTER: Columns = {"cost_center": TEXT}
_DEPARTMENT: Columns = {"department": TEXT}
_KIND: Columns = {"kind": TEXT}
_PERSON: Columns = {"user_key": TEXT, "address": TEXT}
_NAME: Columns = {"month": TEXT, "is_over": FLAG, "is_known": FLAG}
_CHANGES: Columns = {
    "by": TEXT,
    "label": TEXT,
    "user_key": TEXT,
    "before": NUMBER,
    "after": NUMBER,
    "change": NUMBER,
    "change_a_day": NUMBER,
    "hours_a_day": NUMBER,
    "storage_a_day": NUMBER,
}
_COMPARED: Columns = {"month": TEXT, "against": TEXT, "is_whole": FLAG, "currency": TEXT}


def _by_profile() -> Sheet:
    found, _ = _month(fleet())
    return _sheet("profile", _PROFILE, found, ((name, *_figures(sums)) for name, sums in found.by_profile))


def _by_cost_center() -> Sheet:
    found, _ = _month(fleet())
    return _sheet("cost-center", _COST_CENTER, found, ((name, *_figures(sums)) for name, sums in found.by_cost_center))


def _by_department() -> Sheet:
    found, _ = _month(fleet())
    return _sheet("department", _DEPARTMENT, found, ((name, *_figures(sums)) for name, sums in found.by_department))


def _by_kind() -> Sheet:
    found, _ = _month(fleet())
    return _sheet("kind", _KIND, found, ((kind.value, *_figures(sums)) for kind, sums in found.by_kind))


def _by_person() -> Sheet:
    found, _ = _month(fleet())
    rows = ((row.user_key, row.email, *_figures(sums)) for row, sums in found.by_person)
    return _sheet("person", _PERSON, found, rows)


def _months() -> Sheet:
    """Return thirteen months; a month that is not stored has no figures."""
    seen = fleet()
    rows = (
        (each.month, each.is_over, each.sums is not None, *(_UNKNOWN if each.sums is None else _figures(each.sums)))
        for each in months_of(seen)
    )
    return Sheet(
        name="costs-by-month",
        columns={**_NAME, **_FIGURES},
        rows=rows,
        taken_at=seen.taken_at,
        more={"currency": current().deps.currency},
    )


def _changes() -> Sheet:
    """Return the change of the total from the previous month, then the ten largest changes for each grouping.

    There are no rows if the previous month is not stored or cannot be read.
    """
    seen = fleet()
    found, _ = _month(seen)
    compared = comparison_of(seen, found)
    rows: list[tuple[Value, ...]] = []
    if compared is not None:
        rows = [("all", *_change(compared.total, ""))]
        for by in ("person", "profile", "cost_center", "department", "kind"):
            changes: tuple[CostChange, ...] = getattr(compared, f"by_{by}")
            rows += [(by, *_change(each, each.key if by == "person" else "")) for each in changes]
    more: dict[str, Value] = {
        "month": found.name,
        "against": month_before(found.name),
        "is_whole": compared.is_whole if compared is not None else False,
        "currency": current().deps.currency,
    }
    return Sheet(name="cost-changes", columns=_CHANGES, rows=rows, taken_at=found.at, more=more)


def _change(change: CostChange, user_key: str) -> tuple[Value, ...]:
    amounts = change.before, change.after, change.change, change.a_day
    return (
        change.label,
        user_key,
        *(_amount(each) for each in amounts),
        round(change.hours, 2),
        _amount(change.storage_a_day),
    )


def _offered(name: str, first: Columns, endpoint: str, make: Callable[[], Sheet], what: str) -> tuple[Route, Route]:
    return offer(
        f"/manage/costs/{name}",
        endpoint,
        f"The cost of a month by {what}.",
        {**first, **_FIGURES},
        make,
        params=(_MONTH,),
        more=_MORE,
    )


_BY = Param(
    name="by",
    place=Place.QUERY,
    text="The key by which the table sums up costs. Default: person.",
    schema={"type": "string", "enum": [each.value for each in By]},
)
ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        rule="/manage/costs",
        name="manage.costs",
        summary="The costs of a month.",
        access=Access.READ,
        params=(_BY, PAGE, _MONTH),
    ),
    *_offered("profile", _PROFILE, "costs_profile", _by_profile, "profile"),
    *_offered("cost-center", _COST_CENTER, "costs_center", _by_cost_center, "cost centre"),
    *_offered("department", _DEPARTMENT, "costs_department", _by_department, "department"),
    *_offered("kind", _KIND, "costs_kind", _by_kind, "what is billed"),
    *_offered("person", _PERSON, "costs_person", _by_person, "person"),
    *offer(
        "/manage/costs/months",
        "costs_months",
        "The costs of thirteen months.",
        {**_NAME, **_FIGURES},
        _months,
        more={"currency": TEXT},
    ),
    *offer(
        "/manage/costs/changes",
        "costs_changes",
        "Show the largest changes since the previous month.",
        _CHANGES,
        _changes,
        params=(_MONTH,),
        more=_COMPARED,
    ),
)
