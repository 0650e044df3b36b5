"""The copies of files that an idle sweep takes: of machines that ran since their newest copy, a limited number in each sweep."""

from __future__ import annotations

import heapq
from collections.abc import Container
from datetime import datetime

from shared.domain.plan.plan import Policy
from shared.domain.record.record import RecordRow
from shared.domain.snapshot.actions import SaveCopy
from shared.domain.snapshot.copies import with_copy_asked
from shared.domain.things.identity import UserKey
from shared.engine.ports.deps import Deps
from shared.engine.reconcile.changing import change_record
from shared.engine.reconcile.reconciler import reconcile

# In one sweep, which comes each ten minutes; a fleet of more than six thousand running machines gets one in a hundred.
MOST_AT_ONCE = 60
_ONE_IN = 100


class Copies:
    """A collector of the users whose files are to be copied now, fed row by row."""

    def __init__(self, policy: Policy, now: datetime) -> None:
        self._wanting = {name for name, profile in policy.catalog.profiles.items() if profile.snapshots is not None}
        self._now = now
        self._found: list[tuple[datetime, UserKey]] = []

    def add(self, row: RecordRow) -> None:
        """Note a row whose copy is due. Makes no call."""
        if row.copy_from is None or row.copy_from > self._now or row.busy or not row.settled:
            return
        if row.profile in self._wanting:
            self._found.append((row.copy_from, row.user_key))

    def due(self, running: int, *, leave_out: Container[UserKey]) -> list[UserKey]:
        """Return the users whose copies this sweep takes, the longest waiting first. `running` is the number of running machines."""
        most = max(MOST_AT_ONCE, running // _ONE_IN)
        return [key for _, key in heapq.nsmallest(most, (each for each in self._found if each[1] not in leave_out))]


def take_copy(user_key: UserKey, deps: Deps) -> bool:
    """Add a requested copy to the record, then make a pass. Return True if the pass starts a copy.

    After a crash between the two, the tick makes the pass.
    """
    accepted = change_record(
        user_key, lambda record: with_copy_asked(record, deps.policy, deps.clock.now()), deps, wakes=True
    )
    if accepted is None or not accepted.changed:
        return False
    result = reconcile(user_key, deps, stored=accepted.stored)
    return result is not None and any(isinstance(action, SaveCopy) for action in result.plan.actions)
