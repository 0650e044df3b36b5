"""The page `/manage`, Today: figures, what needs attention, the week, and the files of the fleet's counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta

import flask
from msgspec import Struct

from portal.charts import Chart, Line, line_chart, trend
from portal.deps import current
from portal.manage.base import blueprint, figures_now, fleet_page
from portal.manage.changes import changes_now
from portal.manage.export import NUMBER, TEXT, TIME, Columns, Sheet, offer
from portal.manage.messages import Letters, letters_or_none
from portal.manage.needs import by_danger, need_of
from portal.manage.rosters import refused_rosters
from portal.pages import figures, word
from portal.reader import moment_text
from portal.routes import Access, Route
from portal.visit import visit
from shared.domain.fleet.figures import Figures, Today
from shared.domain.fleet.fleet import FleetPoint, FleetSnapshot, Standing
from shared.domain.fleet.spent import MonthTotal
from shared.domain.record.status import Notice
from shared.domain.things.errors import BenchkeeperError
from shared.domain.things.power import month_of
from shared.engine.views.fleet import View, point_days
from shared.engine.views.months import sums_of
from shared.engine.views.words import day_words, sold_out_words
from shared.sheet import Value

FEED_DAYS = 7
_SHOWN_NEEDS = 5  # reasons; the page about all of them has the rest
_GAP = timedelta(hours=2)  # counts further apart are not joined: what was between is not known
_IN_A_BATCH = Notice.CUT_WAITS.value  # not shown among the needs, which have a line for each batch instead


class Happened(Struct, frozen=True, kw_only=True):
    """A line of the feed, the list of the last week's events: a number, a text, and a link to the page about it."""

    count: int
    text: str
    url: str
    is_trouble: bool = False


class Day(Struct, frozen=True, kw_only=True):
    """A day of the feed (UTC) with its lines."""

    title: str
    lines: tuple[Happened, ...]


@blueprint.get("/manage")
def index() -> flask.Response:
    """Show the figures of all users. The number of calls does not depend on the number of users."""
    seen, figures = figures_now()
    found, today = letters_or_none(), figures.today or Today()
    refused = refused_rosters()
    changes, looked = changes_now()
    spent = MonthTotal(month=month_of(seen.taken_at), people=0, lines=today.spent)
    cost = sums_of(spent, current().deps.engine.policy.catalog)
    needs = figures.overview.needs
    dangerous = by_danger({why: count for why, count in needs.items() if not (why == _IN_A_BATCH and changes)})
    return fleet_page(
        "manage/index.html",
        seen,
        people=figures.overview.people,
        today=today,
        running=figures.overview.standings[Standing.RUNNING],
        clusters=figures.overview.clusters,
        cost=cost,
        sold_out=_sold_out(today),
        budgets=_budgets(),
        needs=dict(list(dangerous.items())[:_SHOWN_NEEDS]),
        more_needs=max(0, len(dangerous) - _SHOWN_NEEDS),
        need_of=need_of,
        strays=len(seen.strays),
        letters=None if found is None else len(found.waiting),
        leaver_letters=0 if found is None else sum(row.ends_access for row in found.waiting),
        rosters=refused,
        changes=changes,
        changes_unread=looked.unread,
        feed=feed_of(seen, figures, found),
        points=_points_chart(seen.points),
        point_days=point_days(seen.points),
        views=View,
        currency=current().deps.currency,
    )


def _budgets() -> list[tuple[str, bool]]:
    """Return the groups that have spent at least 80 % of their monthly limit, each with True if the limit is used up.

    This takes one call for each monthly limit. A group whose spending cannot be read is left out.
    """
    engine, now = current().deps.engine, visit().now()
    found = []
    for each in engine.policy.catalog.budgeted:
        limit = engine.policy.catalog.budget_of(each.group)
        try:
            spending = engine.seats.spending(each.group)
        except BenchkeeperError as error:
            visit().reason, visit().detail = error.reason.value, f"spending: {error.detail}"
            continue
        if limit is not None and spending is not None and spending.month == month_of(now) and spending.is_near(limit):
            found.append((each.group, spending.is_used_up(limit, now)))
    return found


def _sold_out(today: Today) -> list[str]:
    present = visit()
    now, zone = present.now(), present.zone
    return [
        sold_out_words(each.zone, moment_text(each.since, now, zone) if each.since is not None else "", each.people)
        for each in today.sold_out
    ]


def feed_of(seen: FleetSnapshot, figures: Figures, found: Letters | None) -> list[Day]:
    """Return the days of the last week, newest first. Days without an event are left out."""
    last = seen.taken_at.date()
    sources = _Week(seen, figures, found)
    days = (last - timedelta(days=number) for number in range(FEED_DAYS))
    return [Day(title=_title(day, last), lines=lines) for day in days if (lines := sources.lines(day))]


def _title(day: date, last: date) -> str:
    near = {0: "Today", 1: "Yesterday"}.get((last - day).days)
    return near or day_words(datetime(day.year, day.month, day.day, tzinfo=visit().zone))


class _Week:
    """The counts of the last days, by day."""

    def __init__(self, seen: FleetSnapshot, figures: Figures, found: Letters | None) -> None:
        self._idle = seen.idle_days
        self._left: Mapping[str, int] = figures.today.left if figures.today is not None else {}
        self._ready = {each.day: each for each in figures.ready}
        self._letters: dict[date, int] = {}
        self._attention: dict[date, int] = {}
        for row in found.rows if found is not None else ():
            day = row.sent_at.date()
            self._letters[day] = self._letters.get(day, 0) + 1
        for point in seen.points:
            day = point.at.date()
            self._attention[day] = max(self._attention.get(day, 0), point.attention)

    def lines(self, day: date) -> tuple[Happened, ...]:
        """Return the lines of one day, trouble first."""
        iso = day.isoformat()
        idle, ready = self._idle.get(iso), self._ready.get(day)
        url = flask.url_for
        found = (
            (self._letters.get(day, 0), "{} could not be processed", ("message", "messages"), url("manage.messages", show="all"), True),
            (self._attention.get(day, 0), "{} needed attention at the peak", ("person", "people"), url("manage.attention"), True),
            (self._left.get(iso, 0), "{} lost access", ("person", "people"), url("manage.people", view=View.LEAVERS.value), False),
            (
                ready.count if ready is not None else 0,
                f"{{}} ready, median {ready.p50_s / 60:.0f} min" if ready is not None else "",
                ("new notebook", "new notebooks"),
                url("manage.people", view=View.RUNNING.value),
                False,
            ),
            (idle.stops if idle is not None else 0, "{} stopped unused", ("notebook", "notebooks"), url("manage.costs") + "#idle", False),
        )  # fmt: skip
        return tuple(
            Happened(count=count, text=text.format(words[count != 1]), url=url, is_trouble=is_trouble)
            for count, text, words, url, is_trouble in found
            if count
        )


def _points_chart(points: Sequence[FleetPoint]) -> Chart | None:
    """Return the chart of notebooks over time, or None if there are fewer than two counts."""
    if len(points) < 2:  # noqa: PLR2004 - see above
        return None
    lines = [
        Line(name="running", label=word("running"), values=[point.running for point in points]),
        Line(name="resting", label=word("stopped"), values=[point.resting for point in points]),
        Line(name="moving", label=word("on the way"), values=[point.moving for point in points]),
        Line(name="attention", label=word("need attention"), values=[point.attention for point in points]),
    ]
    text = "; ".join(f"{line.label} {word(trend(line.values))}" for line in lines)
    return line_chart(
        name="points",
        title=word("Notebooks over time"),
        text=text,
        times=[point.at for point in points],
        lines=lines,
        zone=visit().zone,
        unit=lambda value: figures(f"{value:,.0f}"),
        gap=_GAP,
        day=word,
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


ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        rule="/manage",
        name="manage.index",
        summary="Today: figures, what needs attention, the week.",
        access=Access.READ,
    ),
    *offer("/manage/history", "history", "The number of environments, by hour.", HISTORY, _history_sheet),
    *offer("/manage/time-to-ready", "ready", "The time that joining took, by day.", READY, _ready_sheet),
    *offer("/manage/states", "states", "The number of people in each state.", STATES, _states_sheet),
    *offer(
        "/manage/profiles",
        "profiles",
        "The number of people of each profile, by standing.",
        PROFILES,
        _profiles_sheet,
    ),
)
