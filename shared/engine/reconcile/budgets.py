"""The monthly limits of groups: once one is used up, nothing new is created or started for its people until the next month.

Running environments are not stopped. Each sweep that lists all people stores the present cost of each group, and starts
are judged by it: so the limit may be exceeded by the costs between two sweeps. While the sum of a limit cannot be read,
the limit does not apply.
"""

from __future__ import annotations

from datetime import datetime

from shared.domain.fleet.budgets import Spending
from shared.domain.intent.wish import Asked, WishKind
from shared.domain.record.record import UserRecord
from shared.domain.things.errors import BenchkeeperError, RefusedError
from shared.engine.ports.deps import Deps

_STARTS = frozenset({WishKind.START, WishKind.START_CLUSTER})


def used_up(record: UserRecord, deps: Deps, now: datetime) -> tuple[str, ...]:
    """Return the groups of the user whose limit of this month is used up. Makes no call for a user without such a group."""
    found = []
    for group in record.spec.paid_by:
        limit = deps.policy.catalog.budget_of(group)
        try:
            spending = deps.seats.spending(group) if limit is not None else None
        except BenchkeeperError as error:
            deps.log.warning("Spending could not be read", reason=error.reason.value, detail=error.detail)
            continue
        if limit is not None and spending is not None and spending.is_used_up(limit, now):
            found.append(group)
    return tuple(found)


def check_budget(record: UserRecord, asked: Asked, deps: Deps, now: datetime) -> None:
    """Raise `RefusedError` for a request to start a notebook or a Spark cluster of a user whose group has used up its month."""
    groups = used_up(record, deps, now) if asked.kind in _STARTS else ()
    if groups:
        raise RefusedError(
            user_message=f"The monthly budget of {groups[0]} is used up. You can start again next month, or when it is raised.",
            detail=f"{len(groups)} monthly limits are used up",
        )


def keep_spending(found: dict[str, Spending], deps: Deps) -> None:
    """Store the cost of each group, and log once when 80 % or all of a limit is reached."""
    for number, (group, spending) in enumerate(found.items()):
        limit = deps.policy.catalog.budget_of(group)
        try:
            before = deps.seats.spending(group)
            deps.seats.note_spending(group, spending)
        except BenchkeeperError as error:
            deps.log.warning("Spending was not saved", reason=error.reason.value, detail=error.detail)
            continue
        if limit is None:
            continue
        known = before if before is not None and before.month == spending.month else None
        facts = {"assignment": number, "share": round(float(spending.spent) / limit, 3) if limit else 1.0}
        if spending.is_used_up(limit, spending.at) and (known is None or not known.is_used_up(limit, spending.at)):
            deps.log.warning("Budget is used up", **facts)
        elif spending.is_near(limit) and (known is None or not known.is_near(limit)):
            deps.log.warning("Budget is nearly used up", **facts)
