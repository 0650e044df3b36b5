"""The help desk: find a person by address, see the state of the notebook, and start, stop or restart it.

The page shows the content of the person's own page, and one line for a ticket. History, facts and costs are not shown
to the help desk.
"""

from __future__ import annotations

from datetime import datetime

import flask
from msgspec import Struct

from portal import pages
from portal.deps import current
from portal.manage.base import blueprint, one_line
from portal.mine import Mine, is_entitled, mine
from portal.notebook_view import NotebookView
from portal.reader import moment_text
from portal.reading import holder_of
from portal.routes import Access, Param, Place, Route
from portal.visit import visit
from shared.domain.people.entitlement import Cause
from shared.domain.record.record import UserRecord
from shared.domain.record.status import ConditionType
from shared.domain.things.errors import InvalidMessageError
from shared.engine.ports.inbox import WaitingWish
from shared.messages.addresses import parse_address

_WHO = "who"
_NOT_FOUND, _NOT_WHOLE = "no-one", "not-whole"


class Diagnosis(Struct, frozen=True, kw_only=True):
    """The state of a person's notebook, for the help desk. `line` is the text for a ticket and contains no address."""

    headline: str
    why: str
    line: str
    notebook: NotebookView | None = None


@blueprint.get("/manage/help")
def help_desk() -> flask.Response:
    """Show the search form."""
    said = flask.request.args.get("said")
    return pages.page("manage/help.html", is_unknown=said == _NOT_FOUND, is_part=said == _NOT_WHOLE)


@blueprint.post("/manage/help")
def find() -> flask.Response:
    """Redirect to the person whose address was typed, or back to the form if the address is unknown or incomplete.

    The address does not appear in a URL, because browsers and logs keep URLs.
    """
    typed = one_line(flask.request.form.get(_WHO, ""))
    try:
        record = holder_of(parse_address(typed, current().deps.engine.policy.people))
    except InvalidMessageError:
        return pages.go(flask.url_for("manage.help_desk", said=_NOT_WHOLE))
    if record is None:
        return pages.go(flask.url_for("manage.help_desk", said=_NOT_FOUND))
    return pages.go(flask.url_for("manage.person", user_key=record.user_key))


def help_page(record: UserRecord, waiting: tuple[WaitingWish, ...], said: str) -> flask.Response:
    """Return a person's page for the help desk."""
    own = mine(record, waiting) if is_entitled(record) else None
    return pages.page(
        "manage/help-person.html", record=record, mine=own, found=_diagnosis(record, own), said=said, now=visit().now()
    )


def _diagnosis(record: UserRecord, own: Mine | None) -> Diagnosis:
    if own is None:
        blocked = record.spec.cause is Cause.BLOCKED
        why = "An operator ended the access. Only an owner can restore it." if blocked else "No access, so no notebook."
        return Diagnosis(
            headline="No access", why=why, line=f"{record.user_key} · no access · {record.spec.cause.value}"
        )
    view = own.notebook
    return Diagnosis(headline=view.word, why=view.why, line=_line(record, view), notebook=view)


def _line(record: UserRecord, view: NotebookView) -> str:
    """Return the state in one line for a ticket.

    Times are in UTC, because readers of tickets may be in any time zone.
    """
    now = visit().now()
    ready = record.status.condition(ConditionType.NOTEBOOK_READY)

    def at(what: str, when: datetime | None) -> str:
        return f"{what} {moment_text(when, now, None)}" if when is not None else ""

    report = view.report
    parts = [
        str(record.user_key),
        view.word.lower(),
        ready.reason.value if ready is not None else "",
        view.machine,
        record.status.notebook.zone or "",
        at("since", view.since),
        at("last used", view.last_used),
        at("stops", view.stops_at),
        "memory ran out" if report is not None and report.killed_at is not None else "",
        f"disk {report.disk} % full" if report is not None and report.disk else "",
        f"{record.status.attempts} failures in a row" if record.status.attempts else "",
        f"env {current().deps.env}" if current().deps.env else "",
    ]
    return " · ".join(part for part in parts if part)


_ADDRESS = Param(
    name=_WHO, place=Place.FORM, text="The person's whole address.", schema={"type": "string"}, required=True
)
_SAID = Param(
    name="said",
    place=Place.QUERY,
    text="The code of the message at the top of the page.",
    schema={"type": "string", "enum": [_NOT_FOUND, _NOT_WHOLE]},
)
ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        rule="/manage/help",
        name="manage.help_desk",
        summary="Find a person, for the help desk.",
        access=Access.FIND,
        params=(_SAID,),
    ),
    Route(
        method="POST",
        rule="/manage/help",
        name="manage.find",
        summary="Find a person by address.",
        access=Access.FIND,
        params=(_ADDRESS,),
        answers={
            303: "Location is the person's page. For an unknown or invalid address it is the form, with a message."
        },
    ),
)
