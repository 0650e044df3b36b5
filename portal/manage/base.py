"""The common parts of the manager's pages: the blueprint, the fleet as the last sweep saw it, the paging of tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Generic, TypeVar

import flask
from flask.blueprints import BlueprintSetupState
from msgspec import Struct

from portal import pages
from portal.deps import current
from portal.manage.kept import Kept
from portal.problems import problem_of
from portal.routes import Param, Place
from portal.visit import visit
from shared.domain.fleet.figures import Figures, figures_of
from shared.domain.fleet.fleet import FleetSnapshot
from shared.domain.things.errors import BenchkeeperError, Reason, RetryableError
from shared.domain.things.identity import UserKey, parse_user_key

T = TypeVar("T")
PAGE_ROWS = 50
_LATE = timedelta(minutes=30)  # the time of three sweeps
_TEXT_LENGTH = 200
_KEPT = "benchkeeper.manage"

blueprint = flask.Blueprint("manage", __name__)
USER_KEY = Param(
    name="user_key",
    place=Place.PATH,
    text="A user key: a readable part and 12 hex digits.",
    schema={"type": "string", "pattern": "^[a-z][a-z0-9-]{0,27}-[0-9a-f]{12}$"},
    required=True,
)
PAGE = Param(
    name="page",
    place=Place.QUERY,
    text=f"The page, {PAGE_ROWS} rows each; a number that is too high means the last page.",
    schema={"type": "integer", "minimum": 1},
)


@blueprint.record_once
def _keep(state: BlueprintSetupState) -> None:
    """Store the cache in the application, not in this module, so that two applications share nothing."""
    state.app.extensions[_KEPT] = Kept()


def kept() -> Kept:
    """Return the present application's cache of figures about the fleet."""
    found: Kept = flask.current_app.extensions[_KEPT]
    return found


class NoFleetError(RetryableError):
    """The error of a fleet index that does not exist yet or could not be read."""

    reason = Reason.UNREADABLE
    default_retry_after = timedelta(seconds=60)


def fleet() -> FleetSnapshot:
    """Return all users as the last sweep saw them: one call to the cloud, whose response is empty if nothing changed.

    Raise `NoFleetError`.
    """
    return _found(current().deps.engine.fleet.fleet)


def figures_now() -> tuple[FleetSnapshot, Figures]:
    """Return the fleet index without its rows, and the figures of all users: one call to the cloud.

    After an upgrade the index has no figures until a sweep writes them; until then the rows are read and counted. Raise
    `NoFleetError`.
    """
    about = _found(current().deps.engine.fleet.about)
    if about.figures is not None and about.figures.today is not None:
        return about.fleet, about.figures
    seen = fleet()
    return seen, kept().get("figures", (seen,), lambda: figures_of(seen))


def _found(read: Callable[[], T | None]) -> T:
    try:
        found = read()
    except BenchkeeperError as error:
        raise NoFleetError(user_message=error.user_message, detail=error.detail, reason=error.reason) from error
    if found is None:
        raise NoFleetError(
            user_message="There is no list of all environments yet: the first sweep writes it within ten minutes.",
            detail="no fleet index yet",
        )
    return found


@blueprint.errorhandler(NoFleetError)
def _no_fleet(error: NoFleetError) -> flask.Response:
    """Show the manager's page without its figures; scripts get the problem as JSON."""
    problem, present = problem_of(error), visit()
    present.reason, present.detail = problem.reason, problem.detail
    if pages.wants_json() or pages.is_htmx():
        return pages.answer_problem(problem, present)
    response = pages.page("manage/no-fleet.html", status=problem.status, problem=problem, request_id=present.request_id)
    response.headers["Retry-After"] = str(problem.retry_after_s)
    return response


def fleet_page(template: str, seen: FleetSnapshot, **values: Any) -> flask.Response:
    """Return a page made from a snapshot.

    The page states the snapshot's time, and a warning is shown if sweeps seem to have stopped.
    """
    is_late = visit().now() - seen.taken_at > _LATE
    return pages.page(template, taken_at=seen.taken_at, is_late=is_late, **values)


def user_key_of(text: str) -> UserKey | None:
    """Return the user key in a URL of ours, or None if the text is not a user key. The caller treats None as an unknown user."""
    try:
        return parse_user_key(text)
    except BenchkeeperError:
        return None


def asked(name: str) -> str:
    """Return a query parameter as one short line."""
    return one_line(flask.request.args.get(name, ""))


def one_line(text: str) -> str:
    """Return a text that a user typed as one printable line of limited length."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[: 2 * _TEXT_LENGTH]).split())[:_TEXT_LENGTH]


class Cut(Struct, Generic[T], frozen=True, kw_only=True):
    """A page of a long table: its rows, its number (from 1), the number of pages, and the number of all rows."""

    rows: Sequence[T]
    page: int
    pages: int
    total: int

    @property
    def first(self) -> int:
        """The number of the first row shown, counted from 1; 0 if the table is empty."""
        return (self.page - 1) * PAGE_ROWS + 1 if self.total else 0

    @property
    def last(self) -> int:
        """The number of the last row shown; 0 if the table is empty."""
        return self.first + len(self.rows) - 1 if self.total else 0


def cut(rows: Sequence[T], page: int) -> Cut[T]:
    """Return the requested page, or the last page if there are fewer."""
    pages_there = max(1, -(-len(rows) // PAGE_ROWS))
    page = max(1, min(page, pages_there))
    return Cut(rows=rows[(page - 1) * PAGE_ROWS : page * PAGE_ROWS], page=page, pages=pages_there, total=len(rows))


def page_number(args: Mapping[str, str]) -> int:
    """Return the page number of a query, or 1 if the text is not a number."""
    text = args.get("page", "")
    return max(1, int(text)) if text.isascii() and text.isdecimal() and len(text) <= 6 else 1  # noqa: PLR2004 - a million pages
