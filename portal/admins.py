"""The check for administrators: the direct members of the admin group."""

from __future__ import annotations

import threading
from collections import OrderedDict
from enum import Enum

from shared.domain.things.errors import BenchkeeperError
from shared.domain.things.identity import UserEmail, user_key_for
from shared.engine.ports.deps import Deps

# A user who leaves the group loses access within a minute. Cloud Identity is asked at most once a minute for each user.
KEPT_S = 60.0
_MAX_KEPT = 2_000


class Admission(Enum):
    """The answer to "is this user an administrator?". `UNKNOWN`: the group could not be read, so the user is not admitted."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class Admins:
    """A cache of group membership: each answer is kept for `KEPT_S` seconds. A failed read is not kept."""

    def __init__(self, deps: Deps, group: str | None) -> None:
        self._deps = deps
        self._group = group
        self._lock = threading.Lock()
        self._kept: OrderedDict[UserEmail, tuple[float, Admission]] = OrderedDict()

    def admit(self, email: UserEmail) -> Admission:
        """Return YES if the user is a direct member of the group. Never raises: a failed read is logged and gives `UNKNOWN`."""
        if self._group is None:
            return Admission.NO
        known = self.remembered(email)
        if known is not None:
            return known
        try:
            answer = Admission.YES if self._deps.groups.has(self._group, email) else Admission.NO
        except BenchkeeperError as error:
            self._deps.log.warning(
                "Admin group was unreadable", user=user_key_for(email), reason=error.reason.value, detail=error.detail
            )
            return Admission.UNKNOWN
        with self._lock:
            self._kept[email] = (self._deps.clock.monotonic_s(), answer)
            self._kept.move_to_end(email)
            while len(self._kept) > _MAX_KEPT:
                self._kept.popitem(last=False)
        return answer

    def is_known(self, email: UserEmail) -> bool:
        """Return True if the cache says that this user is an administrator. No call is made, so links on a page may depend on it."""
        return self.remembered(email) is Admission.YES

    def remembered(self, email: UserEmail) -> Admission | None:
        """Return the cached answer while it is fresh, else None. No call is made."""
        with self._lock:
            found = self._kept.get(email)
        if found is None or self._deps.clock.monotonic_s() - found[0] > KEPT_S:
            return None
        return found[1]
