"""The reads of records for a page. The page never writes a record: if one is damaged, the page requests a pass that restores it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from portal.deps import current
from shared.domain.record.record import UserRecord
from shared.domain.things.errors import DamagedRecordError, Reason, RetryableError
from shared.domain.things.identity import UserEmail, UserKey, user_key_for
from shared.engine.ports.records import Stored


class BeingRepairedError(RetryableError):
    """The error of a damaged record. A pass that restores it has been requested."""

    reason = Reason.DAMAGED
    default_retry_after = timedelta(seconds=10)


def read_record(user_key: UserKey) -> Stored | None:
    """Load a record as the engine does. Return None if there is none.

    If the record is damaged, request a pass and raise `BeingRepairedError`.
    """
    with asking_for_repair(user_key):
        return current().deps.engine.records.load(user_key)


def holder_of(email: UserEmail) -> UserRecord | None:
    """Load the record of the address's present holder, following a handover to a new account.

    Return None if there is none.
    """
    stored = read_record(user_key_for(email))
    if stored is None or not stored.record.is_known_as(email):
        return None
    seen = {stored.record.user_key}
    while (handover := stored.record.handover) is not None and handover.to not in seen:
        seen.add(handover.to)
        stored = read_record(handover.to)
        if stored is None:
            return None
    return stored.record


@contextmanager
def asking_for_repair(user_key: UserKey) -> Iterator[None]:
    """Turn `DamagedRecordError` into a request for a pass that restores the record, and raise `BeingRepairedError`."""
    try:
        yield
    except DamagedRecordError as error:
        current().deps.wake(user_key)
        raise BeingRepairedError(
            user_message="The record of this environment is damaged and is being repaired. Wait a moment, then open the page "
            "again. If it happens again, tell an administrator the reference below.",
            detail=error.detail,
        ) from error
