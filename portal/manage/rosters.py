"""The page `/manage/rosters`: the differences that rosters revealed and no message had stated, and the reason why a roster is not used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import flask

from portal import pages
from portal.deps import current
from portal.manage.base import PAGE, blueprint, cut, page_number
from portal.manage.changes_view import addresses
from portal.manage.export import TEXT, TIME, Columns, Sheet, offer
from portal.routes import Access, Route
from portal.visit import visit
from shared.domain.fleet.roster import RosterKind
from shared.domain.things.errors import BenchkeeperError
from shared.engine.ports.roster import ReportRow, RosterReport
from shared.engine.views.rosters import (
    ALLOWABLE,
    TITLES,
    outcome_words,
    refusal_words,
    reports,
    statements,
)
from shared.sheet import Value


def refused_rosters() -> tuple[str, ...] | None:
    """Return the titles of the rosters whose last reading is not used. Return None if the reports could not be read."""
    try:
        found = reports(current().deps.engine)
    except BenchkeeperError as error:
        visit().reason, visit().detail = error.reason.value, f"rosters: {error.detail}"
        return None
    return tuple(TITLES[kind] for kind, report in found.items() if report is not None and report.refusal)


@blueprint.get("/manage/rosters")
def rosters() -> flask.Response:
    """Show the last reading of each roster, and its differences."""
    found = reports(current().deps.engine)
    rows = [(kind, row) for kind, report in found.items() if report is not None for row in report.rows]
    return pages.page(
        "manage/rosters.html",
        rosters=found,
        titles=TITLES,
        agrees=any(found.values()) and not any(each.refusal for each in found.values() if each is not None),
        refusal_words=refusal_words,
        may_allow=_may_allow,
        outcome_words=outcome_words,
        statements=statements,
        addresses=addresses() if rows else {},
        shown=cut(rows, page_number(flask.request.args)),
    )


def _may_allow(report: RosterReport) -> bool:
    return any(report.refusal == refusal.value for refusal in ALLOWABLE)


COLUMNS: Columns = {"roster": TEXT, "read_at": TIME, "user": TEXT, "stated": TEXT, "outcome": TEXT}


def _sheet() -> Sheet:
    found = reports(current().deps.engine)
    return Sheet(name="rosters", columns=COLUMNS, rows=_values(found), taken_at=visit().now())


def _values(found: dict[RosterKind, RosterReport | None]) -> Iterator[Sequence[Value]]:
    for kind, report in found.items():
        rows: tuple[ReportRow, ...] = report.rows if report is not None else ()
        for row in rows:
            yield (
                kind.value,
                report.read_at if report is not None else None,
                row.user_key,
                " ".join(row.stated),
                row.outcome,
            )


_WHAT = "The differences that rosters revealed and no message had stated."
ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        rule="/manage/rosters",
        name="manage.rosters",
        summary=_WHAT,
        access=Access.READ,
        params=(PAGE,),
    ),
    *offer("/manage/rosters", "rosters", _WHAT, COLUMNS, _sheet),
)
