"""The state of one request: the user, the time, and values that belong to this request alone. It is kept in `flask.g`."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import flask
from msgspec import Struct

from portal.deps import current
from portal.language import ENGLISH
from shared.domain.intent.roles import MAY, Right, Role
from shared.domain.things.identity import UserEmail, UserKey


class Visit(Struct, kw_only=True):
    """The state of one request. `person` and `user_key` are None until the assertion of Identity-Aware Proxy is verified.

    `zone` is the reader's time zone, None if the browser did not send one; `language` is one of `LANGUAGES`.
    `assertion` is the signed header itself, which is stored with a request of the user. `log_key` is the key for the
    log: the record's own key once it is known, because the address may have changed. `reason` and `detail` describe a failure for the log;
    both are "" if nothing failed. `csrf` is the token of this response's forms.
    """

    request_id: str
    started_s: float
    csrf: str = ""
    assertion: str = ""
    person: UserEmail | None = None
    user_key: UserKey | None = None
    log_key: UserKey | None = None
    zone: ZoneInfo | None = None
    language: str = ENGLISH
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


def role() -> Role | None:
    """Return the visitor's role if it is in the cache, else None. No call is made.

    On a route for roles, the guard has already looked the role up.
    """
    found = visit().person
    return current().roles.remembered(found) if found is not None else None


def may(right: Right) -> bool:
    """Return True if the visitor's role, as far as it is known, has this right."""
    found = role()
    return found is not None and right in MAY[found]


def require(right: Right) -> None:
    """Raise an error unless the visitor's role has this right, as `RolesSeen.require` does."""
    email, _ = signed_in()
    current().roles.require(email, right)
