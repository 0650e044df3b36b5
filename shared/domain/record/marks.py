"""The mark that a dead letter leaves on the record of the user whom it names: the condition `NewsUnderstood`.

The mark shows that a message about the user was not used. It does not change the wanted state and starts no pass.
"""

from __future__ import annotations

from datetime import UTC, datetime

from shared.domain.record.record import UserRecord
from shared.domain.record.status import ConditionStatus, ConditionType, set_condition
from shared.domain.things.errors import Reason

_LONGEST = 300  # characters quoted from a dead letter
_KNOWN = frozenset(reason.value for reason in Reason)
_BEFORE_EVERYTHING = datetime.min.replace(tzinfo=UTC)


def bounded(reason: str) -> Reason:
    """Return the `Reason` of a dead letter. An unknown text, which only another sender can write, becomes `InvalidMessage`."""
    return Reason(reason) if reason in _KNOWN else Reason.INVALID_MESSAGE


def with_letter(
    record: UserRecord, letter_id: str, sent_at: datetime, *, reason: str, detail: str, now: datetime
) -> UserRecord:
    """Return the record marked with a dead letter.

    Return the same object if this dead letter or a newer one marked the record before. So a second delivery does not mark the
    record again, even if the mark was removed in between.
    """
    status = record.status
    if (sent_at, letter_id) <= (status.inbox.last_letter_at or _BEFORE_EVERYTHING, status.inbox.last_letter_id):
        return record
    text = (
        f"A message about this person could not be used: {detail[:_LONGEST].rstrip('. ')}. "
        f"To see it: benchkeeper messages show {letter_id}"
    )
    marked = record.with_status(last_letter_id=letter_id, last_letter_at=sent_at)
    return _with(marked, ConditionStatus.FALSE, bounded(reason), text, now)


def with_later_news(record: UserRecord, now: datetime) -> UserRecord:
    """Return the record with its mark ended by a later message that was used; the same object if there is no mark to end."""
    text = f"Later news was used. Dead letter {record.status.inbox.last_letter_id}, sent before it, was not."
    return _ended(record, text, now)


def with_letter_used(record: UserRecord, letter_id: str, now: datetime) -> UserRecord:
    """Return the record with its mark ended by the replay of this dead letter; the same object if no open mark names it."""
    if record.status.inbox.last_letter_id != letter_id:
        return record
    return _ended(record, f"Dead letter {letter_id} was replayed.", now)


def _ended(record: UserRecord, text: str, now: datetime) -> UserRecord:
    mark = record.status.condition(ConditionType.NEWS_UNDERSTOOD)
    if mark is None or mark.status is not ConditionStatus.FALSE:
        return record
    return _with(record, ConditionStatus.TRUE, Reason.SETTLED, text, now)


def _with(record: UserRecord, status: ConditionStatus, reason: Reason, text: str, now: datetime) -> UserRecord:
    kind = ConditionType.NEWS_UNDERSTOOD
    return record.with_status(conditions=set_condition(record.status.conditions, kind, status, reason, text, now))
