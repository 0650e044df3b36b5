"""The page `/manage/dead-letters`: messages that could not be used. Replay is done by the command line; the page says how."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import islice

import flask
from msgspec import Struct

from portal import pages
from portal.deps import current
from portal.manage.base import PAGE, blueprint, cut, page_number
from portal.manage.export import FLAG, TEXT, TIME, Columns, Sheet, offer
from portal.routes import Access, Param, Place, Route
from portal.visit import visit
from shared.domain.things.errors import BenchkeeperError
from shared.engine.ports.inbox import LetterRow
from shared.sheet import Value

_MOST = 1_000  # the size of a page of the bucket's listing, which is one call
_SPANS = (timedelta(days=90), timedelta(days=7), timedelta(days=1))
_ALL = "all"


class Letters(Struct, frozen=True, kw_only=True):
    """The dead letters, newest first. `span` is the time covered; `is_cut` is True if there are more, possibly newer, dead letters."""

    rows: tuple[LetterRow, ...]
    span: timedelta
    is_cut: bool

    @property
    def waiting(self) -> tuple[LetterRow, ...]:
        """The dead letters that were not replayed."""
        return tuple(row for row in self.rows if row.replayed_at is None)


def letters() -> Letters:
    """Return the newest dead letters, by at most three bounded listings. If there are too many, a shorter time is covered.

    A listing begins with the oldest dead letter. A span with too many of them therefore does not reach the newest.
    """
    source, now = current().deps.engine.dead_letters, visit().now()
    found: list[LetterRow] = []
    for span in _SPANS:
        found = list(islice(source.rows(since=now - span), _MOST + 1))
        if len(found) <= _MOST:
            return Letters(rows=tuple(reversed(found)), span=span, is_cut=False)
    return Letters(rows=tuple(reversed(found[:_MOST])), span=_SPANS[-1], is_cut=True)


def open_letters() -> int | None:
    """Return the number of waiting dead letters, or None if they could not be read; the rest of the page is still shown."""
    try:
        return len(letters().waiting)
    except BenchkeeperError as error:
        visit().reason, visit().detail = error.reason.value, f"dead letters: {error.detail}"
        return None


@blueprint.get("/manage/dead-letters")
def dead_letters() -> flask.Response:
    """Show the waiting dead letters, or all of them."""
    found = letters()
    with_used = flask.request.args.get("show") == _ALL
    rows = found.rows if with_used else found.waiting
    return pages.page(
        "manage/letters.html",
        letters=found,
        with_used=with_used,
        shown=cut(rows, page_number(flask.request.args)),
        args={"show": _ALL} if with_used else {},
    )


COLUMNS: Columns = {
    "sent_at": TIME,
    "reason": TEXT,
    "detail": TEXT,
    "users": TEXT,
    "function": TEXT,
    "letter_id": TEXT,
    "replayed_at": TIME,
    "outcome": TEXT,
}


def _sheet() -> Sheet:
    found = letters()
    rows = found.rows if flask.request.args.get("show") == _ALL else found.waiting
    return Sheet(
        name="dead-letters",
        columns=COLUMNS,
        rows=_values(rows),
        taken_at=visit().now(),
        more={"is_cut": found.is_cut},
    )


def _values(rows: Sequence[LetterRow]) -> Iterator[Sequence[Value]]:
    for row in rows:
        users = " ".join(row.users)
        yield row.sent_at, row.reason, row.detail, users, row.function, row.letter_id, row.replayed_at, row.outcome


_SHOW = Param(
    name="show",
    place=Place.QUERY,
    text="all: with those that were used since.",
    schema={"type": "string", "enum": [_ALL]},
)
ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        rule="/manage/dead-letters",
        name="manage.dead_letters",
        summary="Messages that could not be used.",
        access=Access.READ,
        params=(_SHOW, PAGE),
    ),
    *offer(
        "/manage/dead-letters",
        "dead_letters",
        "Messages that could not be used.",
        COLUMNS,
        _sheet,
        params=(_SHOW,),
        more={"is_cut": FLAG},
    ),
)
