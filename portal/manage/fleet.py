"""The pages `/manage` and `/manage/people`: all users in figures and charts, and as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, time

import flask

from portal import pages
from portal.charts import Chart, Line, line_chart, trend
from portal.deps import current
from portal.manage.base import PAGE, PAGE_ROWS, blueprint, cut, figures_now, fleet, fleet_page, kept, user_key_of
from portal.manage.changes import changes_now
from portal.manage.export import FLAG, NUMBER, TEXT, TIME, Columns, Sheet, offer
from portal.manage.letters import open_letters
from portal.manage.query import Query, filter_params, has_address, query_of
from portal.manage.rosters import refused_rosters
from portal.routes import Access, Place, Route
from portal.visit import visit
from shared.domain.fleet.figures import ReadyDay, running_clusters
from shared.domain.fleet.fleet import FleetPoint, FleetSnapshot, Standing, needs_person, standing
from shared.domain.fleet.idle_days import IdleSaving, about, saving_of
from shared.domain.record.record import RecordRow
from shared.domain.record.status import Notice, RegretKind
from shared.domain.things.identity import UserKey
from shared.engine.views.fleet import (
    Column,
    chosen,
    offered,
    ordered,
    point_days,
    ran,
)
from shared.engine.views.person import last_uses
from shared.sheet import Value

TITLES = {
    Column.PERSON: "Person",
    Column.PROFILE: "Profile",
    Column.COST_CENTER: "Cost centre",
    Column.STATE: "State",
    Column.SINCE: "Ready since",
    Column.HOURS: "Hours this month",
    Column.SPARK: "Spark",
    Column.NEEDS: "Needs a person",
}
# The words for each reason of `needs_person`.
NEEDS = {
    "Stuck": "stuck on the way",
    "QuotaExhausted": "no quota left",
    "AccessNotCut": "access is not cut yet",
    "NotAnswering": "JupyterLab does not answer",
    "UnknownAnswer": "Google's answer is not known",
    "OrganizationPolicy": "a policy of the organization forbids it",
    "Perimeter": "VPC Service Controls forbid it",
    "ApiDisabled": "an API is not enabled",
    "BillingDisabled": "billing is off",
    "NotOurs": "something foreign has their name",
    "AccessDenied": "a permission is missing",
    "InvalidSpec": "the cloud refuses it as wrong",
    "UnknownProfile": "their profile is missing",
    "SnapshotFailed": "files could not be saved",
    "DataMissing": "files are not where they should be",
    "OnHold": "on hold",
    "NewsNotUnderstood": "a message about them was not understood",
    "StillListed": "HR still lists them as active",
    "DeletedButJoined": "HR says joined, the account is deleted",
    "SamePerson": "their address was given to a new account",
    "RenameWaits": "a new address waits to be confirmed",
    "AddressWaits": "their address may become somebody else's",
    "GroupWaits": "the group that gives access is gone",
    "CutWaits": "wait to lose access, with many others",
    "Blind": "use cannot be seen",
    "UnknownLeaver": "a leaver of whom nobody knows",
}

_IN_A_BATCH = Notice.CUT_WAITS.value  # not shown in the overview, which has a line for each batch instead


@blueprint.get("/manage")
def index() -> flask.Response:
    """Show the figures of all users: four calls to the cloud, for any number of users."""
    seen, figures = figures_now()
    waiting_letters = open_letters()
    refused = refused_rosters()
    changes, looked = changes_now()
    return fleet_page(
        "manage/index.html",
        seen,
        view=figures.overview,
        needs={why: count for why, count in figures.overview.needs.items() if not (why == _IN_A_BATCH and changes)},
        strays=len(seen.strays),
        letters=waiting_letters,
        rosters=refused,
        changes=changes,
        changes_unread=looked.unread,
        needs_texts=NEEDS,
        points=_points_chart(seen.points),
        point_days=point_days(seen.points),
        ready=_ready_chart(figures.ready),
        ready_days=figures.ready[::-1],
        saving=_saving(seen),
        regrets={kind.value: figures.regrets.get(kind.value, 0) for kind in RegretKind},
        about=about,
        currency=current().deps.currency,
    )


def _saving(seen: FleetSnapshot) -> IdleSaving | None:
    profiles = current().deps.engine.policy.catalog.profiles
    return saving_of(seen.idle_days, {name: profile.hourly_cost for name, profile in profiles.items()})


def _points_chart(points: Sequence[FleetPoint]) -> Chart | None:
    """Return the chart of environments over time, or None if there are fewer than two counts."""
    if len(points) < 2:  # noqa: PLR2004 - see above
        return None
    lines = [
        Line(name="running", label="running", values=[point.running for point in points]),
        Line(name="resting", label="stopped", values=[point.resting for point in points]),
        Line(name="moving", label="on the way", values=[point.moving for point in points]),
        Line(name="attention", label="need a person", values=[point.attention for point in points]),
    ]
    text = "; ".join(f"{line.label} {trend(line.values)}" for line in lines)
    return line_chart(
        name="points",
        title="Environments over time",
        text=text,
        times=[point.at for point in points],
        lines=lines,
        zone=visit().zone,
    )


def _ready_chart(days: Sequence[ReadyDay]) -> Chart | None:
    if len(days) < 2:  # noqa: PLR2004 - as above
        return None
    lines = [
        Line(name="p50", label="half of them within", values=[day.p50_s / 60 for day in days]),
        Line(name="p95", label="95 of 100 within", values=[day.p95_s / 60 for day in days]),
    ]
    text = "; ".join(f"{line.label}, in minutes: {trend(line.values)}" for line in lines)
    return line_chart(
        name="ready",
        title="Time to ready",
        text=text,
        times=[datetime.combine(day.day, time(12), tzinfo=UTC) for day in days],
        lines=lines,
        zone=None,
        unit=lambda value: f"{value:,.0f} min",
    )


@blueprint.get("/manage/people")
def people() -> flask.Response:
    """Show the table of all users: one call to the cloud."""
    seen = fleet()
    query = query_of(flask.request.args, seen)
    if has_address(flask.request.args):
        return pages.go(flask.url_for("manage.people", **query.args(page=query.page)))
    rows = _rows(seen, query)
    return fleet_page(
        "manage/people.html",
        seen,
        query=query,
        shown=cut(rows, query.page),
        everybody=len(seen.rows),
        offered=kept().get("offered", (seen,), lambda: offered(seen)),
        titles=TITLES,
        needs_texts=NEEDS,
        standing=standing,
        need=lambda row: needs_person(row, seen.blind, seen.taken_at),
        hours=lambda row: ran(row, seen.taken_at).total_seconds() / 3600,
        running_clusters=running_clusters,
        looked_for=user_key_of(query.choice.text),
    )


@blueprint.post("/manage/people")
def search() -> flask.Response:
    """Redirect the search form to the table, whose URL contains no address of a user."""
    query = query_of(flask.request.form, fleet())
    return pages.go(flask.url_for("manage.people", **query.args()))


def _rows(seen: FleetSnapshot, query: Query) -> list[RecordRow]:
    return ordered(seen, chosen(seen, query.choice), query.column, descending=query.descending)


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
}


def _people_sheet() -> Sheet:
    seen = fleet()
    rows, used = _rows(seen, query_of(flask.request.args, seen)), last_uses(current().deps.engine)
    return Sheet(name="people", columns=PEOPLE, rows=_people_values(seen, rows, used), taken_at=seen.taken_at)


def _people_values(
    seen: FleetSnapshot, rows: Sequence[RecordRow], last_used: Mapping[UserKey, datetime]
) -> Iterator[Sequence[Value]]:
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
            last_used.get(row.user_key),
            row.next_attempt_at,
        )


HISTORY: Columns = {"at": TIME, "running": NUMBER, "resting": NUMBER, "moving": NUMBER, "attention": NUMBER}
READY: Columns = {"day": TEXT, "people": NUMBER, "p50_s": NUMBER, "p95_s": NUMBER}
STATES: Columns = {"standing": TEXT, "state": TEXT, "people": NUMBER}
PROFILES: Columns = {
    "profile": TEXT,
    "running": NUMBER,
    "resting": NUMBER,
    "on_the_way": NUMBER,
    "gone": NUMBER,
    "people": NUMBER,
}


def _history_sheet() -> Sheet:
    seen, _ = figures_now()
    rows = ((p.at, p.running, p.resting, p.moving, p.attention) for p in seen.points)
    return Sheet(name="history", columns=HISTORY, rows=rows, taken_at=seen.taken_at)


def _ready_sheet() -> Sheet:
    seen, figures = figures_now()
    rows = ((each.day.isoformat(), each.count, each.p50_s, each.p95_s) for each in figures.ready)
    return Sheet(name="time-to-ready", columns=READY, rows=rows, taken_at=seen.taken_at)


def _states_sheet() -> Sheet:
    seen, figures = figures_now()
    rows = ((where.value, state, count) for where, state, count in figures.overview.states)
    return Sheet(name="states", columns=STATES, rows=rows, taken_at=seen.taken_at)


def _profiles_sheet() -> Sheet:
    seen, figures = figures_now()
    rows: list[tuple[Value, ...]] = [
        (name, *(counts[each] for each in Standing), sum(counts.values()))
        for name, counts in figures.overview.matrix.items()
    ]
    return Sheet(name="profiles", columns=PROFILES, rows=rows, taken_at=seen.taken_at)


_FILTERS = filter_params(Place.QUERY)
ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        rule="/manage",
        name="manage.index",
        summary="Everybody in figures.",
        access=Access.READ,
    ),
    Route(
        method="GET",
        rule="/manage/people",
        name="manage.people",
        summary=f"Everybody as a table, {PAGE_ROWS} a page.",
        access=Access.READ,
        params=(*_FILTERS, PAGE),
        answers={200: "The page.", 303: "The same without an address of a person in it."},
    ),
    Route(
        method="POST",
        rule="/manage/people",
        name="manage.search",
        summary="Look for people; the table is at Location.",
        access=Access.READ,
        params=filter_params(Place.FORM),
        answers={303: "The table is at Location, with nobody's address in it."},
    ),
    *offer("/manage/people", "people", "Everybody.", PEOPLE, _people_sheet, params=_FILTERS),
    *offer("/manage/history", "history", "How many environments there were, by hour.", HISTORY, _history_sheet),
    *offer("/manage/time-to-ready", "ready", "How long joining took, by day.", READY, _ready_sheet),
    *offer("/manage/states", "states", "How many people are in each state.", STATES, _states_sheet),
    *offer(
        "/manage/profiles",
        "profiles",
        "How many people each profile has, by how they stand.",
        PROFILES,
        _profiles_sheet,
    ),
)
