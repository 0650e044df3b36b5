"""The roles of users who look after others: each visitor's rights, by the groups of the settings."""

from __future__ import annotations

import threading
from collections import OrderedDict

from msgspec import Struct

from portal.problems import NotYourRoleError, RolesOnlyError, RoleUnreadableError
from portal.routes import Access
from shared.domain.intent.roles import MAY, Right, Role
from shared.domain.things.errors import BenchkeeperError
from shared.domain.things.identity import UserEmail, user_key_for
from shared.engine.news.groups import role_of
from shared.engine.ports.deps import Deps

# A user who leaves a group loses the role within a minute. Cloud Identity is asked at most once a minute for each user.
KEPT_S = 60.0
_MAX_KEPT = 2_000
# The right that a route requires; a route for all visitors, or for all signed-in users, requires none.
NEEDED: dict[Access, Right] = {
    Access.FIND: Right.FIND,
    Access.READ: Right.READ,
    Access.HELP: Right.HELP,
    Access.ACT: Right.ACT,
    Access.DECIDE: Right.DECIDE,
    Access.OWN: Right.OWN,
}


class _Known(Struct, frozen=True):
    at_s: float
    role: Role | None


class RolesSeen:
    """A cache of roles: each answer is cached for `KEPT_S` seconds, a failed read never."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._lock = threading.Lock()
        self._kept: OrderedDict[UserEmail, _Known] = OrderedDict()

    def of(self, email: UserEmail) -> Role | None:
        """Return the user's role; None if there is none.

        Raise `RoleUnreadableError` if a group could not be read. The caller then treats the user as having no role.
        """
        known = self._fresh(email)
        if known is not None:
            return known.role
        try:
            role = role_of(email, self._deps)
        except BenchkeeperError as error:
            self._deps.log.warning(
                "Role of a user could not be read",
                user=user_key_for(email),
                reason=error.reason.value,
                detail=error.detail,
            )
            raise RoleUnreadableError from error
        with self._lock:
            self._kept[email] = _Known(self._deps.clock.monotonic_s(), role)
            self._kept.move_to_end(email)
            while len(self._kept) > _MAX_KEPT:
                self._kept.popitem(last=False)
        return role

    def remembered(self, email: UserEmail) -> Role | None:
        """Return the role in the cache, else None. No call is made, so it can be used for the links on every page."""
        known = self._fresh(email)
        return known.role if known is not None else None

    def require(self, email: UserEmail, right: Right) -> Role:
        """Return the user's role if it has this right.

        Raise `RolesOnlyError` for a user without a role, `NotYourRoleError` for another role, `RoleUnreadableError` if the role is unknown.
        """
        role = self.of(email)
        if role is None:
            raise RolesOnlyError
        if right not in MAY[role]:
            raise NotYourRoleError(role, right)
        return role

    def _fresh(self, email: UserEmail) -> _Known | None:
        with self._lock:
            found = self._kept.get(email)
        return None if found is None or self._deps.clock.monotonic_s() - found.at_s > KEPT_S else found
