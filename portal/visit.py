"""One request: who asks, since when, and what belongs to it alone. Kept in `flask.g`."""

from __future__ import annotations

from datetime import datetime
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar
from zoneinfo import ZoneInfo

import flask
from msgspec import Struct

from portal.admins import Admission
from portal.deps import current
from portal.problems import AdminsOnlyError, GroupUnreadableError
from shared.domain.things.identity import UserEmail, UserKey

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")


class Visit(Struct, kw_only=True):
    """`person` and `user_key` are None until Identity-Aware Proxy's word was checked; `zone` is the reader's, None: not told.

    `assertion` is the signed header itself, which a wish carries. `log_key` goes into the log: the record's own key once it is known (an address may have changed since).
    """

    request_id: str
    started_s: float
    csrf: str = ""
    assertion: str = ""
    person: UserEmail | None = None
    user_key: UserKey | None = None
    log_key: UserKey | None = None
    zone: ZoneInfo | None = None
    reason: str = ""
    detail: str = ""
    _now: datetime | None = None

    def now(self) -> datetime:
        """Return the engine's time, the same all through the request."""
        if self._now is None:
            self._now = current().deps.engine.clock.now()
        return self._now


def begin(visit: Visit) -> None:
    """Make it the present request's."""
    flask.g.visit = visit


def visit() -> Visit:
    """Return the present request's."""
    found: Visit = flask.g.visit
    return found


def signed_in() -> tuple[UserEmail, UserKey]:
    """Who asks. The guard has seen to it that there is somebody before any route runs."""
    found = visit()
    if found.person is None or found.user_key is None:
        raise AssertionError("a route without the guard")
    return found.person, found.user_key


def admins_only(view: Callable[P, R]) -> Callable[P, R]:
    """Return a route for administrators: others get a page that says so, whatever they asked for."""

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        email, _ = signed_in()
        match current().admins.admit(email):
            case Admission.YES:
                return view(*args, **kwargs)
            case Admission.NO:
                raise AdminsOnlyError
            case Admission.UNKNOWN:
                raise GroupUnreadableError

    return guarded
