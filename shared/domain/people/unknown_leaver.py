"""The unknown leaver: a leave was stated for an address without a record, so perhaps another address was meant.

The record stays as a tombstone in any case. An operator sees it until it is acknowledged or 30 days old, because a typing error may
mean that a user who left still has access. `shared.domain.record.record.row_of` marks unknown leavers.
"""

from __future__ import annotations

from datetime import timedelta

from shared.domain.people.facts import ACCOUNT, ACCOUNT_STATES, EMPLOYMENT, GROUP, Facts

SHOWN_FOR = timedelta(days=30)


def states_only_a_leave(facts: Facts) -> bool:
    """Return True if the facts state a leave or an unusable account, and none ever gave access."""
    timelines = facts.timelines
    ends = {EMPLOYMENT, ACCOUNT, *ACCOUNT_STATES}
    if not ends & timelines.keys():
        return False
    return all(
        (name in ends or name.startswith(GROUP)) and all(each.withdraws for each in timeline)
        for name, timeline in timelines.items()
    )
