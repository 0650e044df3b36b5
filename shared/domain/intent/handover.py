"""The handover of an address from one user to another: an account is deleted and its address given to a new account. Pure.

The new account is another user: a new key, an empty environment, and no group memberships. Statements after the
deletion are about the new user, even if the log delivers them in another order. If HR states the same person number for both
accounts, both count as one user again. Otherwise an approval is needed for that.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from shared.domain.intent.question import handover_ref
from shared.domain.intent.wanted import HORIZON, new_record
from shared.domain.people.facts import CREATED, DELETED, Facts, Statement
from shared.domain.record.record import Handover, UserRecord
from shared.domain.things.identity import next_holder_key


class Split(Struct, frozen=True, kw_only=True):
    """A record whose address was given to a new account, and the record of the address's new holder."""

    old: UserRecord
    new: UserRecord


def handed_over(record: UserRecord, now: datetime) -> Statement | None:
    """Return the statement that the account was deleted, if a new account was created under the address afterwards.

    Return None otherwise, and if the record already has a handover.
    """
    if record.handover is not None:
        return None
    deleted, created = record.facts.at(DELETED, now), record.facts.at(CREATED, now)
    if deleted is None or deleted.value is not True or created is None:
        return None
    return deleted if created.occurred_at > deleted.occurred_at else None


def with_same_person(record: UserRecord, now: datetime) -> UserRecord:
    """Return the record with its account usable again if HR's person number shows that the new account is the same user's.

    The same number must have been stated before and after the deletion. Otherwise the same object is returned.
    """
    deleted, created = handed_over(record, now), record.facts.at(CREATED, now)
    if deleted is None or created is None:
        return record
    before, after = record.facts.split(deleted.occurred_at)
    number = before.person_id(now)
    if not number or after.person_id(now) != number:
        return record
    return _returned(record, created, now)


def _returned(record: UserRecord, created: Statement, now: datetime) -> UserRecord:
    """Return the record whose account is usable again since the new account was created."""
    returned = replace(created, value=False, withdraws=False)
    return replace(record, facts=record.facts.with_statement(DELETED, returned, now - HORIZON))


def split(record: UserRecord, deleted: Statement, existing: UserRecord | None, now: datetime) -> Split:
    """Return the records of the earlier and the new holder of an address that was given to a new account.

    `existing` is the new holder's record, None if the record must be created.
    """
    at = deleted.occurred_at
    before, later = record.facts.split(at, leaves_since=holder_since(record.facts, at))
    new = existing if existing is not None else _first(record, now)
    merged = new.facts.merged(later, now - HORIZON)
    return Split(
        old=replace(record, facts=before, handover=Handover(to=new.user_key, at=at)),
        new=new if merged is new.facts else replace(new, facts=merged),
    )


def holder_since(facts: Facts, deleted: datetime) -> datetime:
    """Return the time at which the new account was created, or the time of the deletion if the creation is unknown.

    A leave that was published after that time may be about either holder, even if an earlier date is stated.
    """
    made = [s.occurred_at for s in facts.timelines.get(CREATED, ()) if s.value is True and s.occurred_at > deleted]
    return min(made, default=deleted)


def _first(record: UserRecord, now: datetime) -> UserRecord:
    made = new_record(record.email, now)
    return replace(made, user_key=next_holder_key(record.email, record.user_key), predecessor=record.user_key)


def with_earlier_holder(new: UserRecord, joined: UserRecord) -> UserRecord:
    """Return the new holder's record with the facts of `joined`, because both holders are one user. Its resources stay."""
    return replace(new, facts=joined.facts, predecessor=None)


def joined_again(old: UserRecord, new: UserRecord, now: datetime) -> UserRecord | None:
    """Return the old record with all facts of the new holder, if both are one user.

    Return None if HR's person number is unknown or not the same for both, or if `new` does not name `old` as its predecessor.
    """
    number = old.facts.person_id(now)
    if not number or new.facts.person_id(now) != number or new.predecessor != old.user_key:
        return None
    facts: Facts = old.facts.merged(new.facts, now - HORIZON)
    return with_same_person(replace(old, facts=facts, handover=None), now)


def joined_by_word(old: UserRecord, new: UserRecord, now: datetime) -> UserRecord:
    """Return the old record with all facts of the new holder, because an operator stated that both are one user.

    Safe to repeat.
    """
    whole = replace(old, facts=old.facts.merged(new.facts, now - HORIZON), handover=None)
    created = whole.facts.at(CREATED, now)
    if created is None or handed_over(whole, now) is None:
        return whole
    return _returned(whole, created, now)


def is_to_be_joined(old: UserRecord, new: UserRecord, ref: str) -> bool:
    """Return True if `old` and `new` are the consecutive holders of the address in the question `ref`.

    The result is also True if a crash interrupted the join, and only one of the two records has the link.
    """
    if new.handover is not None:
        return False
    if old.handover is None:
        return new.predecessor == old.user_key
    return (
        handover_ref(old.handover) == ref
        and old.handover.to == new.user_key
        and new.predecessor in {None, old.user_key}
    )
