"""Reads a record for a page. The page never writes one: what is damaged is put back by the pass that is asked for here."""

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
    """The record is damaged, and a pass that puts it back was asked for."""

    reason = Reason.DAMAGED
    default_retry_after = timedelta(seconds=10)


def read_record(user_key: UserKey) -> Stored | None:
    """Load a record as the engine does. For a damaged one ask for a pass and raise `BeingRepairedError`."""
    with asking_for_repair(user_key):
        return current().deps.engine.records.load(user_key)


def holder_of(email: UserEmail) -> UserRecord | None:
    """Load the record of whoever has the address now: not a record of before, from which it was handed over to a new account."""
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
    """Turn a damaged record into a request for a pass, and into an answer that says so."""
    try:
        yield
    except DamagedRecordError as error:
        current().deps.wake(user_key)
        raise BeingRepairedError(
            user_message="What is kept about this environment is damaged and is being put right. Wait a moment, then open the page "
            "again. If it stays so, tell an administrator the number below.",
            detail=error.detail,
        ) from error
