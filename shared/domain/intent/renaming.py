"""The change of an address: the record that stays, its new content, and the key that becomes a pointer to the record. Pure.

Intake and replay call it. The record keeps its key, and the names made from the key; only its address changes. The key of the
other address becomes a pointer to the record. All messages about the user therefore meet in one record, for every address
that a message names and every order of renames. Even a rename that is older than the present address states that both
addresses belong to one user.

A change waits if no source with authority confirms it, the user owns anything, and the address is new to the user. The
record keeps its address and remembers the new one, and a new user under the new address gets nothing for a day. Meanwhile a
cut under either address cuts the owner, whenever the cut arrives.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from shared.domain.intent.question import event_ref, is_rejected, pair_ref, rename_ref, with_rejected
from shared.domain.intent.wanted import HORIZON, new_record
from shared.domain.people.events import Renamed
from shared.domain.record.marks import with_later_news
from shared.domain.record.record import Claim, Presence, Rejected, UserRecord, WaitingRename
from shared.domain.record.status import ConditionType
from shared.domain.things.errors import Reason, UnsupportedMessageError
from shared.domain.things.identity import UserKey, user_key_for

# How long a new user waits under an address that a change may give to another user.
CLAIM = timedelta(hours=24)


class Renaming(Struct, frozen=True, kw_only=True):
    """The result of a changed address.

    `before` is the record that stays, as it was before; None if no record existed. `record` is its new content, the same
    object if nothing changes. `pointer` is the key that must become a pointer to the record, None if no pointer is needed.
    `replaced` is the record that has that key now. If the change waits, `claimed` is the new content of `replaced`, the
    record of the new address.
    """

    before: UserRecord | None
    record: UserRecord
    pointer: UserKey | None = None
    replaced: UserRecord | None = None
    claimed: UserRecord | None = None


def must_wait(event: Renamed, old: UserRecord | None, new: UserRecord | None, now: datetime) -> bool:
    """Return True if the change still needs a confirmation.

    The directory, an operator or an equal person number can confirm it. No confirmation is needed if the user of the old
    address owns nothing, or had the new address before.
    """
    if event.confirmed or old is None or not owns_something(old):
        return False
    if event.new_user in {old.email, *old.former_emails}:  # back to an address that this user had
        return False
    number = old.facts.person_id(now)
    said = {event.person_id, new.facts.person_id(now) if new is not None else ""} - {""}
    return not number or said != {number}


def _was_rejected(event: Renamed, old: UserRecord) -> bool:
    """Return True if an operator rejected this event, or rejected the same new address after this event was stated."""
    return is_rejected(
        old.rejected,
        ref=pair_ref(event.new_user),
        event=event_ref(event.source, event.event_id),
        said_at=event.occurred_at,
    )


def _waiting(event: Renamed, old: UserRecord, new: UserRecord | None, now: datetime) -> Renaming:
    """Return the result for a change that waits: the owner's record and the new address's record.

    Statements that end access for the holder of the new address also end the owner's access, even if they came before the
    change was known. Such a statement may be about an earlier holder. The owner still loses access until the change is
    confirmed or an operator restores access.
    """
    asked = WaitingRename(
        new_email=event.new_user, event_id=event.event_id, source=event.source, occurred_at=event.occurred_at
    )
    known = old.rename
    is_newer = known is None or (asked.new_email, asked.occurred_at) > (known.new_email, known.occurred_at)
    facts = old.facts
    if new is not None:
        # If the new address's user has an environment, older changes of groups concern only that user.
        since = event.occurred_at if owns_something(new) else None
        facts = facts.merged(new.facts.cuts(groups_since=since), now - HORIZON)
    record = old if facts is old.facts else replace(old, facts=facts)
    if is_newer:
        record = with_later_news(replace(record, rename=asked), now)
    before = new if new is not None else new_record(event.new_user, now)
    if not owns_something(before):  # somebody whose access was ended is not let in by a new address
        before = replace(before, facts=before.facts.merged(old.facts.blocks(), now - HORIZON))
    claimed = (
        before if before.claim is not None else replace(before, claim=Claim(owner=old.user_key, until=now + CLAIM))
    )
    return Renaming(before=old, record=record, replaced=new, claimed=claimed)


def renaming(event: Renamed, old: UserRecord | None, new: UserRecord | None, now: datetime) -> Renaming:
    """Return the result of the event for the records of its two addresses; a record is None if it does not exist.

    Raise `UnsupportedMessageError` if both users own resources.
    """
    if old is not None and (new is None or new.user_key != old.user_key) and must_wait(event, old, new, now):
        if _was_rejected(event, old):
            return Renaming(before=old, record=old)
        return _waiting(event, old, new, now)
    if old is None and new is None:  # so that later messages under either address meet in one record
        record = _told(new_record(event.user, now), None, event, now)
        return Renaming(before=None, record=record, pointer=user_key_for(event.new_user))
    if old is None or new is None:
        known = old or new
        if known is None:  # the caller excludes this
            raise AssertionError("one of two records is there")
        pointer = user_key_for(event.new_user if old is not None else event.user)
        return Renaming(before=known, record=_told(known, None, event, now), pointer=pointer)
    if old.user_key == new.user_key:
        return Renaming(before=old, record=_told(old, None, event, now))
    kept, replaced = _choose(old, new)
    return Renaming(before=kept, record=_told(kept, replaced, event, now), pointer=replaced.user_key, replaced=replaced)


def _choose(old: UserRecord, new: UserRecord) -> tuple[UserRecord, UserRecord]:
    """Return the record that stays, and the record that the first one replaces.

    The record that owns resources stays. If neither owns resources, the record of the old address stays. Raise
    `UnsupportedMessageError` if both own resources.
    """
    if not owns_something(new):
        return old, new
    if not owns_something(old):
        return new, old
    raise UnsupportedMessageError(
        user_message="The old and the new address both have an environment, saved files or a hold, and an address change cannot "
        "merge the two. An administrator decides: publish a leaver message for the user who leaves, wait until the "
        "retention has passed and everything is deleted, then replay this message.",
        detail=f"{old.user_key} and {new.user_key} both own resources",
    )


def owns_something(record: UserRecord) -> bool:
    """Return True if a resource of the user exists in the cloud, or may exist or be created there, or if there is a hold."""
    status = record.status
    if (
        record.hold is not None
        or status.data.snapshots
        or status.notebook.former is not None
        or status.data.restoring is not None
    ):
        return True
    return _is_named(record) and not _is_over(record)


def _is_named(record: UserRecord) -> bool:
    """Return True if resources were ever named, because an environment was once wanted."""
    return record.status.notebook.instance_id is not None or record.status.account.account_id is not None


def _is_over(record: UserRecord) -> bool:
    """Return True if all named resources are gone, and no pass is pending."""
    status = record.status
    ends = [ConditionType.NOTEBOOK_READY] + (
        [ConditionType.IDENTITY_READY] if status.account.account_id is not None else []
    )
    conditions = [status.condition(kind) for kind in ends]
    return (
        record.spec.presence is Presence.ABSENT
        and status.observed_generation == status.generation
        and status.notebook.operation is None
        and status.next_attempt_at is None
        and all(condition is not None and condition.reason is Reason.REMOVED for condition in conditions)
    )


def _told(record: UserRecord, replaced: UserRecord | None, event: Renamed, now: datetime) -> UserRecord:
    """Return the record with the newest announced address, and with the facts of the record that it replaces.

    The facts of a replaced record that once had an environment are dropped. The address may have belonged to another
    user, and an administrator may have ended that record to keep this one. Blocks by operators are never dropped.
    """
    joins = replaced if replaced is not None and not _is_named(replaced) else None
    facts = record.facts if joins is None else record.facts.merged(joins.facts, now - HORIZON)
    if replaced is not None:
        facts = facts.merged(replaced.facts.blocks(), now - HORIZON)
    announced = [(event.occurred_at, event.new_user)]
    announced += [(r.email_since, r.email) for r in (record, joins) if r is not None and r.email_since is not None]
    since, email = max(announced)
    others = [record.email, *record.former_emails, event.user, event.new_user]
    others += [joins.email, *joins.former_emails] if joins is not None else []
    former = tuple(sorted({each for each in others if each != email}))
    if (email, since, former) == (record.email, record.email_since, record.former_emails) and facts is record.facts:
        return record
    # The cloud must learn the new owner: a change of what is wanted.
    status = record.status.changed(
        last_event_id=event.event_id,
        generation=record.status.generation + (email != record.email),
    )
    waits = record.rename if record.rename is not None and record.rename.new_email not in {email, *former} else None
    renamed = replace(
        record,
        email=email,
        email_since=since,
        facts=facts,
        status=status,
        former_emails=former,
        rename=waits,
        claim=None,
    )
    return with_later_news(renamed, now)


def confirmed(record: UserRecord) -> Renamed | None:
    """Return the waiting change as a confirmed event; None if no change waits."""
    waits = record.rename
    if waits is None:
        return None
    return Renamed(
        event_id=waits.event_id, user=record.email, new_user=waits.new_email, confirmed=True,
        occurred_at=waits.occurred_at, effective_at=waits.occurred_at, source=waits.source,
    )  # fmt: skip


def led_again(record: UserRecord, other: UserKey) -> Renamed | None:
    """Return an earlier change as an event, so that the key `other` leads to the record again.

    Return None if `other` is not the key of an address of this record, or if the record has no address with another key. The
    event is dated before all others, so it changes nothing but a pointer that a crash left out.
    """
    addresses = (record.email, *record.former_emails)
    given = next((each for each in addresses if user_key_for(each) == other), None)
    known = next((each for each in addresses if user_key_for(each) != other), None)
    if given is None or known is None or record.email_since is None:
        return None
    start = datetime.fromtimestamp(0, UTC)
    return Renamed(
        event_id=record.status.inbox.last_event_id,
        user=known,
        new_user=given,
        confirmed=True,
        occurred_at=start,
        effective_at=start,
    )


def without_rename(record: UserRecord, *, ref: str, by: str, digest: str, now: datetime) -> UserRecord:
    """Return the record without the waiting change that an operator rejected.

    Return the same object if no change or another change waits.
    """
    waits = record.rename
    if waits is None or rename_ref(waits) != ref:
        return record
    rejected = Rejected(
        ref=pair_ref(waits.new_email), event=event_ref(waits.source, waits.event_id), by=by, digest=digest, at=now
    )
    return with_later_news(replace(record, rename=None, rejected=with_rejected(record, rejected)), now)


def without_claim(record: UserRecord, owner: UserRecord) -> UserRecord:
    """Return the new address's record without the owner's claim.

    Return the same object if there is no such claim, or if the owner's change to that address still waits.
    """
    if record.claim is None or record.claim.owner != owner.user_key:
        return record
    if owner.rename is not None and record.is_known_as(owner.rename.new_email):
        return record
    return replace(record, claim=None)
