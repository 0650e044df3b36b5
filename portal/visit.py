"""The state of one request: the user, the time, and values that belong to this request alone. It is kept in `flask.g`."""

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
    """The state of one request. `person` and `user_key` are None until the assertion of Identity-Aware Proxy is verified.

    `zone` is the reader's time zone, None if the browser did not tell it. `assertion` is the signed header itself, which a
    request of the user carries. `log_key` is the key for the log: the record's own key once it is known, because the address
    may have changed.
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
        """Return the engine's time, which stays the same throughout the request."""
        if self._now is None:
            self._now = current().deps.engine.clock.now()
        return self._now


def begin(visit: Visit) -> None:
    """Make `visit` the visit of the present request."""
    flask.g.visit = visit


def visit() -> Visit:
    """Return the visit of the present request."""
    found: Visit = flask.g.visit
    return found


def signed_in() -> tuple[UserEmail, UserKey]:
    """Return the address and key of the signed-in user. The guard makes sure that both are known before any route runs."""
    found = visit()
    if found.person is None or found.user_key is None:
        raise AssertionError("a route without the guard")
    return found.person, found.user_key


def admins_only(view: Callable[P, R]) -> Callable[P, R]:
    """Return a route for administrators only: other users get an error page that says so."""

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
