"""The page `/manage/people/announce`, which announces the end of access of many people.

An administrator chooses these people by a filter, and another administrator approves the list.

The page shows the present list with its digest, and the form sends the digest back. If the list has changed meanwhile,
the form is refused, so that only people who were shown are announced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, timedelta

import flask

from portal import pages
from portal.manage.base import PAGE, blueprint, cut, one_line, page_number
from portal.manage.changes_api import LONGEST, announce
from portal.manage.changes_view import own_keys
from portal.manage.people import known_now, rows_of
from portal.manage.person_tables import moment_of
from portal.manage.query import Query, filter_params, query_of
from portal.routes import Access, Param, Place, Route
from portal.visit import visit
from shared.domain.intent.batches import digest_of
from shared.domain.record.record import Presence, RecordRow
from shared.domain.things.errors import RefusedError
from shared.engine.views.words import access_words

_USUAL = timedelta(days=7)
_LIST, _UNTIL = "list", "until"


@blueprint.get("/manage/people/announce")
def announce_many() -> flask.Response:
    """Show the people whom the filter selects now, and the form. Nothing is changed."""
    rows, query = _chosen(flask.request.args)
    now = visit().now()
    return pages.page(
        "manage/announce.html",
        query=query,
        total=len(rows),
        shown=cut(rows, page_number(flask.request.args)),
        listed=_digest(rows),
        is_own=bool(own_keys() & {row.user_key for row in rows}),
        first_day=(now + timedelta(days=1)).date(),
        usual_day=(now + _USUAL).date(),
        last_day=(now + LONGEST - timedelta(days=1)).date(),
        access_words=access_words,
    )


@blueprint.post("/manage/people/announce")
def perform_announce() -> flask.Response:
    """Announce the list that was shown, and redirect to the list, where another administrator approves it.

    Raise `RefusedError` if the list has changed since, or if the reader is on it.
    """
    rows, _ = _chosen(flask.request.form)
    if not rows or _digest(rows) != one_line(flask.request.form.get(_LIST, "")):
        raise RefusedError(
            user_message="The list has changed since you saw it. Open it again. Nothing was announced.",
            detail="an announcement of another list",
        )
    if own_keys() & {row.user_key for row in rows}:
        raise RefusedError(
            user_message="You are on this list yourself. Exclude yourself, or ask a colleague. Nothing was announced.",
            detail="an announcement of oneself",
        )
    day = moment_of(one_line(flask.request.form.get(_UNTIL, "")))
    until = datetime.combine(day.date(), time.max, UTC).replace(microsecond=0) if day is not None else None
    digest = announce([row.user_key for row in rows], until)
    return pages.go(flask.url_for("manage.change", digest=digest, said="approved"))


def _chosen(asked: Mapping[str, str]) -> tuple[list[RecordRow], Query]:
    """Return the people with access whom the filter selects, and the filter."""
    known = known_now()
    query = query_of(asked, known.seen)
    return [row for row in rows_of(known, query) if row.presence is Presence.PRESENT], query


def _digest(rows: Sequence[RecordRow]) -> str:
    return digest_of("\n".join(sorted(row.user_key for row in rows)).encode())


ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        rule="/manage/people/announce",
        name="manage.announce_many",
        summary="The people whom an announcement would name.",
        access=Access.ACT,
        params=(*filter_params(Place.QUERY), PAGE),
        answers={200: "The page."},
    ),
    Route(
        method="POST",
        rule="/manage/people/announce",
        name="manage.perform_announce",
        summary="Announce that these people will lose access.",
        access=Access.ACT,
        params=(
            *filter_params(Place.FORM),
            Param(name=_LIST, place=Place.FORM, text="The digest of the list that the page has shown.", required=True),
            Param(
                name=_UNTIL,
                place=Place.FORM,
                text="The last day (UTC).",
                schema={"type": "string", "format": "date"},
                required=True,
            ),
        ),
        answers={
            303: "Stored. Location is the list, which another administrator must approve.",
            403: "The user's role does not allow it, or the form is out of date.",
            409: "The list has changed, names the user, or the day is not valid. The response says which.",
        },
    ),
)
