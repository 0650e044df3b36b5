"""The block of a user: an operator's statement that access ends now.

It overrides every statement of any source until it is lifted. Pure.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec.structs import replace

from shared.domain.intent.wanted import HORIZON
from shared.domain.people.facts import BLOCKED, Statement
from shared.domain.record.record import UserRecord

_LEAST = timedelta(microseconds=1)


def with_block(record: UserRecord, reason: str, now: datetime) -> UserRecord:
    """Return the record of a user who has no access from now on; the same object if the user is already blocked.

    The first reason stays, because a second block would not change anybody's access.
    """
    if record.facts.blocked() is not None:
        return record
    return _stated(record, reason, now)


def without_block(record: UserRecord, now: datetime) -> UserRecord:
    """Return the record for which the statements of the sources count again; the same object if it is not blocked."""
    return record if record.facts.blocked() is None else _stated(record, None, now)


def _stated(record: UserRecord, reason: str | None, now: datetime) -> UserRecord:
    """Return the record with the newest statement about the block.

    Its time is moved forward if a slow clock would make it older than the last.
    """
    known = [said.occurred_at + _LEAST for said in record.facts.timelines.get(BLOCKED, ())]
    at = max([now, *known])
    statement = Statement(
        event_id=f"page-{at:%Y%m%dT%H%M%S.%f}",
        occurred_at=at,
        effective_at=now,
        value=reason,
        withdraws=reason is not None,
    )
    return replace(record, facts=record.facts.with_statement(BLOCKED, statement, now - HORIZON))
