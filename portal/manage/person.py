"""The page `/manage/people/<user_key>`, made from the record and the cloud as they are now.

It has a head with status and acts, and the tabs Summary, History, Access, Costs and Technical.
"""

from __future__ import annotations

from enum import StrEnum

import flask
from werkzeug.exceptions import NotFound

from portal import pages
from portal.deps import current
from portal.files_view import files_view
from portal.machine import named_machine
from portal.manage.base import USER_KEY, asked, blueprint, user_key_of
from portal.manage.helping import help_page
from portal.manage.person_tables import KIND, clusters_of, cost_of, kind_named, record_of, told
from portal.mine import notes_of
from portal.months import months_of_cost, title_of
from portal.notebook_view import report_view
from portal.reading import asking_for_repair
from portal.routes import Access, Param, Place, Route
from portal.visit import may, visit
from portal.waits import waiting_for, waits_of
from shared.domain.fleet.fleet import standing
from shared.domain.intent.roles import Right
from shared.domain.people.entitlement import judge_entitlement
from shared.domain.record.record import row_of
from shared.domain.things.history import StoryKind
from shared.domain.things.snapshots import SnapshotKind
from shared.engine.ports.inbox import WaitingWish
from shared.engine.reconcile.reconciler import preview
from shared.engine.views import words
from shared.engine.views.audit import history_page
from shared.engine.views.certificate import NOT_COVERED, certificate_of
from shared.engine.views.notices import to_know_on_page
from shared.engine.views.person import address_view, observed_view, plan_view, url_of


class Tab(StrEnum):
    """A tab of the page."""

    SUMMARY = "summary"
    HISTORY = "history"
    ACCESS = "access"
    COSTS = "costs"
    TECHNICAL = "technical"


TABS = {
    Tab.SUMMARY: "Summary",
    Tab.HISTORY: "History",
    Tab.ACCESS: "Access",
    Tab.COSTS: "Costs",
    Tab.TECHNICAL: "Technical",
}


class Said(StrEnum):
    """The code of the message that the page shows after an act; the URL of the page that follows carries it."""

    START = "start"
    STOP = "stop"
    RESTART = "restart"
    RESTORE = "restore"
    UNDO_RESTORE = "undo-restore"
    HOLD = "hold"
    HOLD_LATE = "hold-late"
    RELEASE = "release"
    RELEASE_ASKED = "release-asked"
    RECONCILE = "reconcile"
    DELETE_CLUSTER = "delete-cluster"
    BLOCK = "block"
    LIFT = "lift"
    ALREADY = "already"
    BUSY = "busy"


TEXTS = {
    Said.START: "Starting. This usually takes 3 minutes.",
    Said.STOP: "Stopping. The files are kept.",
    Said.RESTART: "Restarting. Files are kept, memory is lost.",
    Said.RESTORE: "Restoring files. The present ones are saved first and kept for seven days.",
    Said.UNDO_RESTORE: "Undoing the last restore. The present files are saved first.",
    Said.HOLD: "On hold. No data of this person is deleted until the hold is released.",
    Said.HOLD_LATE: "On hold. A deletion had begun before: check in a few minutes that everything is there.",
    Said.RELEASE: "Hold released. Data past its retention is deleted at the next tick.",
    Said.RELEASE_ASKED: "Release requested. It takes effect once another administrator approves it under Changes.",
    Said.RECONCILE: "Check requested. The result is under History within a minute.",
    Said.DELETE_CLUSTER: "Deleting the Spark cluster.",
    Said.BLOCK: "Access ends now. Everything is stopped within a minute, and no message can restore it.",
    Said.LIFT: "The block is lifted. Statements of HR, the groups and the directory count again.",
    Said.ALREADY: "Already set. Nothing was changed.",
    Said.BUSY: "Your last click is still in progress. Nothing was changed.",
}
KINDS = {
    StoryKind.NEWS: "Messages",
    StoryKind.WISH: "Requests",
    StoryKind.DECISION: "Decisions",
    StoryKind.CALL: "Cloud calls",
}
SNAPSHOTS = {
    SnapshotKind.LAST: "Last state",
    SnapshotKind.DAILY: "Daily copy",
    SnapshotKind.BEFORE: "Before a restore",
}


def _tab() -> Tab:
    """Return the tab in the URL. A parameter of the history (kind of line, older part) selects the tab History."""
    known = next((tab for tab in Tab if tab.value == asked("tab")), None)
    return known or (Tab.HISTORY if asked("kind") or asked("before") else Tab.SUMMARY)


@blueprint.get("/manage/people/<user_key>")
def person(user_key: str) -> flask.Response:
    """Show the record and everything that a pass observes, read live; the plan is what a pass would do now.

    A visitor who may not read all of it gets the help desk's page.
    """
    key = user_key_of(user_key)
    if key is None:
        raise NotFound
    waiting = waiting_for(key)
    if not may(Right.READ):
        return _for_help_desk(user_key, waiting)
    with asking_for_repair(key):
        found = preview(key, current().deps.engine)
    if found is None:
        raise NotFound
    record = found.record
    if record.user_key != user_key:  # the key of an address that the user took on later
        return pages.go(flask.url_for("manage.person", user_key=record.user_key))
    said, kind = asked("said"), kind_named(asked("kind"))
    part = history_page(record, current().deps.engine, before=asked("before"))
    engine, now = current().deps.engine, visit().now()
    row = row_of(record)
    notes, _ = notes_of(key)
    reported = notes.reports.get(key) if notes is not None else None
    profile = engine.policy.catalog.profiles.get(record.spec.profile or "")
    return pages.page(
        "manage/person.html",
        tab=_tab(),
        tabs=TABS,
        words=words,
        snapshots=SNAPSHOTS,
        profile=profile,
        named_machine=named_machine,
        now=now,
        record=record,
        row=row,
        standing=standing(row),
        entitlement=judge_entitlement(record.facts, engine.policy.catalog, now, engine.policy.book),
        blocked=record.facts.blocked(),
        groups=sorted(record.facts.groups(now)),
        notices=to_know_on_page(address_view(record, now)),
        observed=observed_view(found),
        report=report_view(reported, profile, now),
        plan=plan_view(found.plan),
        address=url_of(record.status.notebook.proxy_uri),
        saved=files_view(record, engine.policy.catalog.profiles.get(record.spec.profile or ""), now, visit().zone),
        clusters=clusters_of(record),
        cost=cost_of(record),
        months=months_of_cost(record) if _tab() is Tab.COSTS else None,
        title_of=title_of,
        story=[words.line_in_words(line) for line in told(part.lines, kind)[::-1]],
        older=part.older,
        certificate=certificate_of(record),
        not_covered=NOT_COVERED,
        kinds=KINDS,
        kind=kind,
        said=TEXTS[Said(said)] if said in set(Said) else "",
        waits=waits_of(record, waiting),
    )


def _for_help_desk(user_key: str, waiting: tuple[WaitingWish, ...]) -> flask.Response:
    record, said = record_of(user_key), asked("said")
    if record.user_key != user_key:
        return pages.go(flask.url_for("manage.person", user_key=record.user_key))
    return help_page(record, waiting, TEXTS[Said(said)] if said in set(Said) else "")


_TAB = Param(
    name="tab",
    place=Place.QUERY,
    text="The tab of the page. Default: summary.",
    schema={"type": "string", "enum": [tab.value for tab in Tab]},
)
_SAID = Param(
    name="said",
    place=Place.QUERY,
    text="The code of the message at the top of the page, after an act.",
    schema={"type": "string", "enum": [said.value for said in Said]},
)
_BEFORE = Param(
    name="before",
    place=Place.QUERY,
    text="The start of an older part of the history: the name of an audit object. Any other text is ignored.",
    schema={"type": "string"},
)
_NOBODY = {404: "No such person."}
ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        rule="/manage/people/<user_key>",
        name="manage.person",
        summary="One person: status, history, access, costs.",
        access=Access.FIND,
        params=(USER_KEY, _TAB, KIND, _BEFORE, _SAID),
        answers={200: "The page.", 303: "The person's record has another key. Location is its page.", **_NOBODY},
    ),
)
