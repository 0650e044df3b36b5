"""A changed address: whose record stays, what it says afterwards, and which key leads to it. Pure; for intake and for replay.

The record stays where it is, with its key and the names made of it; only its address changes. The other address becomes a key
that leads there. So a person's news meets in one record, whichever address it comes under and in whatever order renames arrive:
an older one than the present address still says that both addresses are one person's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from shared.domain.errors import Reason, UnsupportedMessageError
from shared.domain.events import Renamed
from shared.domain.identity import UserKey, user_key_for
from shared.domain.marks import with_later_news
from shared.domain.record import ConditionType, Presence, UserRecord
from shared.domain.wanted import HORIZON, new_record


@dataclass(frozen=True, slots=True, kw_only=True)
class Renaming:
    """What a changed address comes to.

    `before` is the record that stays, as it was (None: there was none), `record` as it is to be; the same object when it says
    so already. `pointer` is the key that is to lead to it, None when it does; `replaced` is the record that is there now.
    """

    before: UserRecord | None
    record: UserRecord
    pointer: UserKey | None = None
    replaced: UserRecord | None = None


def renaming(event: Renamed, old: UserRecord | None, new: UserRecord | None, now: datetime) -> Renaming:
    """What to make of the records that the two addresses lead to. Raises `UnsupportedMessageError` when both own something."""
    if old is None and new is None:  # so that later news under either address meets in one record
        record = _told(new_record(event.user, now), None, event, now)
        return Renaming(before=None, record=record, pointer=user_key_for(event.new_user))
    if old is None or new is None:
        known = old or new
        if known is None:  # the caller has looked
            raise AssertionError("one of two records is there")
        pointer = user_key_for(event.new_user if old is not None else event.user)
        return Renaming(before=known, record=_told(known, None, event, now), pointer=pointer)
    if old.user_key == new.user_key:
        return Renaming(before=old, record=_told(old, None, event, now))
    kept, replaced = _choose(old, new)
    return Renaming(before=kept, record=_told(kept, replaced, event, now), pointer=replaced.user_key, replaced=replaced)


def _choose(old: UserRecord, new: UserRecord) -> tuple[UserRecord, UserRecord]:
    """(The record that stays, the one that gives way): whose things there are, stays; else the old address's."""
    if not _owns(new):
        return old, new
    if not _owns(old):
        return new, old
    raise UnsupportedMessageError(
        user_message="The old and the new address both have an environment, saved files or a hold, and an address change cannot "
        "make one of two. An administrator decides: publish a leaver message for the one that is to go, wait until its "
        "retention has passed and everything is deleted, then replay this letter.",
        detail=f"{old.user_key} and {new.user_key} both own something",
    )


def _owns(record: UserRecord) -> bool:
    """True when something of the person's is in the cloud, may come to be there, or is on hold."""
    status = record.status
    if record.hold is not None or status.snapshots or status.former is not None or status.restoring is not None:
        return True
    return _is_named(record) and not _is_over(record)


def _is_named(record: UserRecord) -> bool:
    """True when there was something to name: somebody wanted an environment once."""
    return record.status.instance_id is not None or record.status.account_id is not None


def _is_over(record: UserRecord) -> bool:
    """True when all that had a name is gone, and nothing is left to be looked at."""
    status = record.status
    ends = [ConditionType.NOTEBOOK_READY] + ([ConditionType.IDENTITY_READY] if status.account_id is not None else [])
    conditions = [status.condition(kind) for kind in ends]
    return (
        record.spec.presence is Presence.ABSENT
        and status.observed_generation == status.generation
        and status.operation is None
        and status.next_attempt_at is None
        and all(condition is not None and condition.reason is Reason.REMOVED for condition in conditions)
    )


def _told(record: UserRecord, replaced: UserRecord | None, event: Renamed, now: datetime) -> UserRecord:
    """The record with the address that was announced last, and with what was said of the one that it replaces.

    What was said of somebody whose environment has come and gone went with it: an address may have been another person's, and
    an administrator may have ended that one to keep this.
    """
    joins = replaced if replaced is not None and not _is_named(replaced) else None
    facts = record.facts if joins is None else record.facts.merged(joins.facts, now - HORIZON)
    announced = [(event.occurred_at, event.new_user)]
    announced += [(r.email_since, r.email) for r in (record, joins) if r is not None and r.email_since is not None]
    since, email = max(announced)
    if (email, since) == (record.email, record.email_since) and facts is record.facts:
        return record
    # The new owner has to be told to the cloud: a change of what is wanted.
    status = replace(
        record.status,
        last_event_id=event.event_id,
        generation=record.status.generation + (email != record.email),
    )
    return with_later_news(replace(record, email=email, email_since=since, facts=facts, status=status), now)
