"""A leaver of whom nobody knows: a leave was stated for an address without a record, so perhaps another address was meant.

The record stays as a tombstone, whatever becomes of this. It is shown to an operator until somebody acknowledges it or it is 30
days old, for a slip of the pen may mean that somebody who left still has access. `shared.domain.record.record.row_of` says who it is.
"""

from __future__ import annotations

from datetime import timedelta

from shared.domain.people.facts import ACCOUNT, ACCOUNT_STATES, EMPLOYMENT, GROUP, Facts

SHOWN_FOR = timedelta(days=30)


def states_only_a_leave(facts: Facts) -> bool:
    """Return True if the facts say that somebody left, or that their account cannot be used, and never gave anything."""
    timelines = facts.timelines
    ends = {EMPLOYMENT, ACCOUNT, *ACCOUNT_STATES}
    if not ends & timelines.keys():
        return False
    return all(
        (name in ends or name.startswith(GROUP)) and all(each.withdraws for each in timeline)
        for name, timeline in timelines.items()
    )
