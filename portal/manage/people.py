"""The page `/manage/people`: the table of all users, by view."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import flask
from msgspec import Struct

from portal import pages
from portal.deps import current
from portal.manage.base import PAGE, PAGE_ROWS, blueprint, cut, fleet, fleet_page, kept, user_key_of
from portal.manage.costs import notes_now
from portal.manage.export import FLAG, NUMBER, TEXT, TIME, Columns, Sheet, offer
from portal.manage.needs import need_of
from portal.manage.query import Query, filter_params, has_address, query_of
from portal.routes import Access, Place, Route
from shared.domain.fleet.figures import running_clusters
from shared.domain.fleet.fleet import FleetSnapshot, needs_person, standing
from shared.domain.record.record import Presence, RecordRow
from shared.engine.views.costs import RowCosts
from shared.engine.views.fleet import Column, Extra, View, chosen, in_view, offered, ordered, ran
from shared.engine.views.words import access_words, exception_words, exceptions, status_words
from shared.sheet import Value

TITLES = {
    Column.PERSON: "Person",
    Column.ACCESS: "Access by",
    Column.STATE: "Status",
    Column.USED: "Last used",
    Column.COST: "Cost",
    Column.UNTIL: "Until",
}
VIEWS = {
    None: "Everyone",
    View.ACCESS: "With access",
    View.RUNNING: "Running",
    View.UNUSED: "Not used 60 days",
    View.LEAVERS: "Leavers",
    View.EXCEPTIONS: "Exceptions",
}
# The text of each empty view: why it is empty, and the next step.
EMPTY = {
    View.ACCESS: "No one has access. People appear here when HR or a Google group adds them.",
    View.RUNNING: "No notebook runs at the moment.",
    View.UNUSED: "Everyone with a known last use has used the notebook within 60 days.",
    View.LEAVERS: "No one has lost access yet.",
    View.EXCEPTIONS: "No exceptions. Everyone has what the rules give them, and no data is on hold.",
}


class Known(Struct, frozen=True, kw_only=True):
    """The fleet, and as `extra` the last uses, this month's costs and the retention. `is_billed` is True if a bill was read."""

    seen: FleetSnapshot
    is_billed: bool
    extra: Extra


def known_now() -> Known:
    """Return the content of the table, with two calls to the cloud, however many users there are."""
    seen = fleet()
    notes, _ = notes_now()
    policy = current().deps.engine.policy
    retention = max(policy.retention, policy.snapshot_retention)
    costs = kept().get(
        "row-costs", (seen, policy.catalog, notes), lambda: RowCosts(policy.catalog, notes, seen.taken_at)
    )
    last_used = notes.last_used if notes is not None else {}
    extra = kept().get("extra", (costs, retention), lambda: Extra(last_used=last_used, cost=costs, retention=retention))
    return Known(seen=seen, is_billed=costs.is_billed, extra=extra)


@blueprint.get("/manage/people")
def people() -> flask.Response:
    """Show the table of all users, by two calls to the cloud. A URL with an address redirects to the same query without it."""
    known = known_now()
    seen, extra = known.seen, known.extra
    query = query_of(flask.request.args, seen)
    if has_address(flask.request.args):
        return pages.go(flask.url_for("manage.people", **query.args(page=query.page)))
    view = query.choice.view
    return fleet_page(
        "manage/people.html",
        seen,
        query=query,
        view=view,
        views=VIEWS,
        counts=kept().get("views", (seen, extra), lambda: _counts(seen, extra)),
        shown=cut(rows_of(known, query), query.page),
        everybody=len(seen.rows),
        offered=kept().get("offered", (seen,), lambda: offered(seen)),
        titles=TITLES,
        empty=EMPTY,
        need_of=need_of,
        needs=lambda row: needs_person(row, seen.blind, seen.taken_at),
        standing=standing,
        status_words=status_words,
        access_words=access_words,
        exceptions=exceptions,
        used=lambda row: extra.last_used.get(row.user_key),
        cost=extra.cost,
        until=extra.until,
        is_billed=known.is_billed,
        no_use=_without_use(seen, extra) if view is View.UNUSED else 0,
        currency=current().deps.currency,
        looked_for=user_key_of(query.choice.text),
    )


def _counts(seen: FleetSnapshot, extra: Extra) -> Mapping[View | None, int]:
    tests = {view: in_view(view, seen.taken_at, extra) for view in View}
    return {None: len(seen.rows), **{view: sum(map(test, seen.rows)) for view, test in tests.items()}}


def _without_use(seen: FleetSnapshot, extra: Extra) -> int:
    """Return the number of users with access whose last use is unknown."""
    return sum(row.presence is Presence.PRESENT and row.user_key not in extra.last_used for row in seen.rows)


@blueprint.post("/manage/people")
def search() -> flask.Response:
    """Redirect the search form to the table, whose URL contains no address of a user."""
    query = query_of(flask.request.form, fleet())
    return pages.go(flask.url_for("manage.people", **query.args()))


def rows_of(known: Known, query: Query) -> list[RecordRow]:
    """Return the rows that the query selects, in its order."""
    seen, extra = known.seen, known.extra
    return ordered(seen, chosen(seen, query.choice, extra), query.column, descending=query.descending, extra=extra)


PEOPLE: Columns = {
    "user_key": TEXT,
    "address": TEXT,
    "profile": TEXT,
    "cost_center": TEXT,
    "presence": TEXT,
    "power": TEXT,
    "standing": TEXT,
    "state": TEXT,
    "summary": TEXT,
    "needs": TEXT,
    "ready_since": TIME,
    "ready_took_s": NUMBER,
    "notebook_hours": NUMBER,
    "spark_clusters": NUMBER,
    "spark_running": NUMBER,
    "instance": TEXT,
    "zone": TEXT,
    "on_hold": FLAG,
    "keep_on_until": TIME,
    "last_used": TIME,
    "next_attempt_at": TIME,
    "access_by": TEXT,
    "until": TIME,
    "cost": NUMBER,
    "absent_since": TIME,
    "proved_at": TIME,
    "exception": TEXT,
}


def _people_sheet() -> Sheet:
    known = known_now()
    rows = rows_of(known, query_of(flask.request.args, known.seen))
    return Sheet(name="people", columns=PEOPLE, rows=_people_values(known, rows), taken_at=known.seen.taken_at)


def _people_values(known: Known, rows: Sequence[RecordRow]) -> Iterator[Sequence[Value]]:
    seen, extra = known.seen, known.extra
    for row in rows:
        yield (
            row.user_key,
            row.email,
            row.profile,
            row.cost_center,
            row.presence.value,
            row.power.value,
            standing(row).value,
            row.reason,
            row.summary,
            needs_person(row, seen.blind, seen.taken_at),
            row.ready_since,
            row.ready_took_s,
            round(ran(row, seen.taken_at).total_seconds() / 3600, 2),
            len(row.clusters),
            running_clusters(row),
            row.instance_id,
            row.zone,
            row.on_hold,
            row.keep_on_until,
            extra.last_used.get(row.user_key),
            row.next_attempt_at,
            access_words(row),
            extra.until(row),
            extra.cost(row),
            row.absent_since,
            row.proved_at,
            exception_words(row),
        )


_FILTERS = filter_params(Place.QUERY)
ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        rule="/manage/people",
        name="manage.people",
        summary=f"All people as a table, {PAGE_ROWS} per page.",
        access=Access.READ,
        params=(*_FILTERS, PAGE),
        answers={200: "The page.", 303: "The search text without addresses of people."},
    ),
    Route(
        method="POST",
        rule="/manage/people",
        name="manage.search",
        summary="Search for people. Location is the table.",
        access=Access.READ,
        params=filter_params(Place.FORM),
        answers={303: "Location is the table; its URL has no address of a person."},
    ),
    *offer("/manage/people", "people", "All people.", PEOPLE, _people_sheet, params=_FILTERS),
)
