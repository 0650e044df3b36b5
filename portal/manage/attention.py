"""The page `/manage/attention`: users whose environment needs an administrator, and resources that belong to no record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import flask

from portal.manage.base import PAGE, asked, blueprint, cut, fleet, fleet_page, kept, page_number
from portal.manage.export import TEXT, Columns, Sheet, offer
from portal.manage.needs import by_danger, need_of
from portal.routes import Access, Param, Place, Route
from shared.domain.fleet.figures import figures_of
from shared.domain.fleet.fleet import FleetSnapshot
from shared.engine.views.fleet import Need, in_need, nearest_known
from shared.sheet import Value

_STRAY = "Stray"


@blueprint.get("/manage/attention")
def attention() -> flask.Response:
    """Show the page *Needs attention*. This takes one call to the cloud."""
    seen, why = fleet(), asked("why")
    view = kept().get("figures", (seen,), lambda: figures_of(seen)).overview
    shown = cut(_by_danger(in_need(seen, why if why in view.needs else "")), page_number(flask.request.args))
    return fleet_page(
        "manage/attention.html",
        seen,
        why=why if why in view.needs else "",
        needs=by_danger(view.needs),
        shown=shown,
        nearest=nearest_known(seen, [each.row for each in shown.rows]),
        strays=seen.strays,
        need_of=need_of,
    )


COLUMNS: Columns = {
    "why": TEXT,
    "user_key": TEXT,
    "address": TEXT,
    "profile": TEXT,
    "name": TEXT,
    "zone": TEXT,
    "state": TEXT,
    "summary": TEXT,
    "nearest": TEXT,
}


def _by_danger(found: list[Need]) -> list[Need]:
    """Return the users in need, the most dangerous reason first; users with the same reason keep their order."""
    order = {why: number for number, why in enumerate(by_danger(dict.fromkeys((each.why for each in found), 1)))}
    return sorted(found, key=lambda each: order[each.why])


def _sheet() -> Sheet:
    seen, why = fleet(), asked("why")
    return Sheet(name="attention", columns=COLUMNS, rows=_values(seen, why), taken_at=seen.taken_at)


def _values(seen: FleetSnapshot, why: str) -> Iterator[Sequence[Value]]:
    found = _by_danger(in_need(seen, why))
    nearest = nearest_known(seen, [each.row for each in found])
    for each in found:
        row = each.row
        near = " ".join(other.email for other in nearest.get(row.user_key, ())) or None
        yield each.why, row.user_key, row.email, row.profile, row.instance_id, row.zone, row.reason, row.summary, near
    if why in {"", _STRAY}:
        for stray in seen.strays:
            yield _STRAY, None, None, None, stray.name, stray.zone, None, stray.why, None


_WHY = Param(
    name="why", place=Place.QUERY, text="Show only this reason, for example Stuck. In a file, Stray is valid, too."
)
ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        rule="/manage/attention",
        name="manage.attention",
        summary="What needs attention.",
        access=Access.READ,
        params=(_WHY, PAGE),
    ),
    *offer("/manage/attention", "attention", "What needs attention.", COLUMNS, _sheet, params=(_WHY,)),
)
