"""Who may see everybody: the direct members of the admin group."""

from __future__ import annotations

import threading
from collections import OrderedDict
from enum import Enum

from shared.domain.things.errors import BenchkeeperError
from shared.domain.things.identity import UserEmail, user_key_for
from shared.engine.ports.deps import Deps

# Somebody who leaves the group is out of the page within a minute; Cloud Identity is asked once a minute and person.
KEPT_S = 60.0
_MAX_KEPT = 2_000


class Admission(Enum):
    """Whether somebody is an administrator. `UNKNOWN`: the group could not be read, so nobody is let in."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class Admins:
    """Asks the group, and remembers the answer for `KEPT_S`. An answer that could not be had is not remembered."""

    def __init__(self, deps: Deps, group: str | None) -> None:
        self._deps = deps
        self._group = group
        self._lock = threading.Lock()
        self._kept: OrderedDict[UserEmail, tuple[float, Admission]] = OrderedDict()

    def admit(self, email: UserEmail) -> Admission:
        """Whether this person is a direct member. Never raises: what cannot be read is `UNKNOWN`, and is logged."""
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
        """Return True when this person is known to be an administrator without asking anybody: for links that cost nothing."""
        return self.remembered(email) is Admission.YES

    def remembered(self, email: UserEmail) -> Admission | None:
        """Return the answer that is still fresh, without asking anybody; None when there is none."""
        with self._lock:
            found = self._kept.get(email)
        if found is None or self._deps.clock.monotonic_s() - found[0] > KEPT_S:
            return None
        return found[1]
