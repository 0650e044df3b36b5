"""How long what is known of a person stays once nothing of the person exists: `retention.personal_data`. Pure.

What must outlive it is what cuts (R7): without it a joiner message that comes late would bring back somebody who left. So a record is
not deleted, it is *reduced*: to its key and to the statements that take something away, each with its time and without the id, which
others chose. Address, history, profile, cost centre and everything that was given are gone.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from msgspec.structs import replace

from shared.domain.people.employment import standing_leaves
from shared.domain.people.facts import (
    ACCESS_UNTIL,
    ACCOUNT,
    ACCOUNT_STATES,
    DEFAULT,
    EMPLOYMENT,
    GROUP,
    REQUEST,
    ROSTER,
    Facts,
    Statement,
    Timeline,
    with_guards,
)
from shared.domain.plan.plan import ClustersSeen, Observed
from shared.domain.record.record import Power, Presence, RecordRow, Spec, UserRecord
from shared.domain.record.status import ConditionStatus, ConditionType, NotebookStatus, Status, set_condition
from shared.domain.things.errors import Reason
from shared.domain.things.identity import UserEmail
from shared.domain.things.notebook import Absent, NotLooked, Unreadable
from shared.domain.things.power import PowerCause, PowerReason

_CUTTING = frozenset({ACCOUNT, ACCESS_UNTIL, *ACCOUNT_STATES})
ERASED = UserEmail("")  # the address of a record that was reduced; news gives it one again


class Kept(StrEnum):
    """Why a person's data cannot be erased now."""

    ENTITLED = "Entitled"
    ANNOUNCED = "Announced"
    ON_HOLD = "OnHold"
    EXISTS = "Exists"
    UNDER_WAY = "UnderWay"
    UNREADABLE = "Unreadable"


_NAMELESS = "erased-"


def is_over(since: datetime, lifetime: timedelta, now: datetime) -> bool:
    """Return True if what dates from `since` has outlived its lifetime."""
    return since + lifetime <= now


def is_erased(record: UserRecord) -> bool:
    """Return True for a record that was reduced, and of which nobody spoke since."""
    return record.email == ERASED


def may_be_over(row: RecordRow, lifetime: timedelta, now: datetime) -> bool:
    """Return True if a listing says that the record is a tombstone past its lifetime. A hint: `why_kept` decides on the record."""
    return (
        row.presence is Presence.ABSENT
        and row.email != ERASED
        and not row.on_hold
        and row.absent_since is not None
        and is_over(row.absent_since, lifetime, now)
    )


def why_kept(record: UserRecord, seen: Observed, now: datetime) -> Kept | None:
    """Return what forbids to erase, None if nothing does. What could not be read forbids it: unknown is not absent (R4)."""
    if record.spec.presence is Presence.PRESENT:
        return Kept.ENTITLED
    if record.facts.next_change(now) is not None:
        return Kept.ANNOUNCED
    if record.hold is not None:
        return Kept.ON_HOLD
    status = record.status
    if status.notebook.operation is not None or status.generation != status.observed_generation:
        return Kept.UNDER_WAY
    sights = [seen.notebook, seen.former, seen.account, seen.clusters, seen.templates, *seen.snapshots.values()]
    if any(isinstance(sight, Unreadable) for sight in sights):
        return Kept.UNREADABLE
    things = [seen.notebook, seen.former, seen.account, *seen.snapshots.values()]
    if not all(isinstance(sight, Absent | NotLooked) for sight in things):
        return Kept.EXISTS
    if isinstance(seen.clusters, ClustersSeen) and seen.clusters.clusters:
        return Kept.EXISTS
    return None


def reduced(record: UserRecord, now: datetime) -> UserRecord:
    """Return what must stay of a tombstone: the key, since when, and the facts that cut. Of a reduced one it is the same."""
    status = record.status
    gone = set_condition(
        (), ConditionType.NOTEBOOK_READY, ConditionStatus.FALSE, Reason.REMOVED, "There is no notebook.", now
    )
    since = record.spec.absent_since or now
    return UserRecord(
        user_key=record.user_key,
        email=ERASED,
        facts=cutting(record.facts, now),
        spec=Spec(
            presence=Presence.ABSENT,
            power=Power.STOPPED,
            power_reason=PowerReason(cause=PowerCause.NOT_ENTITLED),
            profile=None,
            because="the person's data was erased",
            absent_since=since,
        ),
        status=Status(
            generation=status.generation,
            observed_generation=status.generation,
            notebook=NotebookStatus(power_settled=True),
            entitling_digest=status.entitling_digest,
            conditions=gone,
        ),
        created_at=since,
        # Whose the address is now, and was: without it news about the next holder would be about this person again.
        handover=record.handover,
        predecessor=record.predecessor,
        rejected=tuple(replace(each, by="") for each in record.rejected),
    )


def cutting(facts: Facts, now: datetime) -> Facts:
    """Return the newest statement about each fact, as far as it takes something away.

    A list of groups and a request are kept as an empty list and as withdrawn, at their own times: so an older list or request that
    comes late gives nothing either. Any newer statement decides as ever.
    """
    kept: dict[str, Timeline] = {}
    forgotten = facts.forgotten
    for name, timeline in facts.timelines.items():
        forgotten = with_guards(forgotten, name, (s for s in timeline if not s.event_id.startswith(_NAMELESS)))
        newest = max(timeline, key=Statement.rank, default=None)
        if newest is None:
            continue
        if name == EMPLOYMENT:  # a feed may have gone on confirming somebody whose leave stands
            leaves = standing_leaves(timeline, now)
            if leaves:
                kept[name] = tuple(_bare(leave) for leave in leaves)
            continue
        if name == ROSTER:
            newest = replace(newest, value=(), withdraws=False)
        elif name in {REQUEST, DEFAULT}:
            newest = replace(newest, value=None, withdraws=True)
        elif not newest.withdraws or not (name in _CUTTING or name.startswith(GROUP)):
            continue
        kept[name] = (_bare(newest),)
    return Facts(MappingProxyType(kept), forgotten)


def _bare(statement: Statement) -> Statement:
    """Without what others wrote: the id, the author that was claimed."""
    return replace(statement, event_id=_nameless(statement.event_id), says="")


def _nameless(event_id: str) -> str:
    """Something that tells ids apart and says nothing: some feeds put the address into the id."""
    if event_id.startswith(_NAMELESS):
        return event_id
    return f"{_NAMELESS}{hashlib.sha256(event_id.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"
