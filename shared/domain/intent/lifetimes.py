"""The lifetime of a user's data once the user has no resources any more: `retention.personal_data`. Pure.

Statements that end access must be stored for longer (rule R7 of docs/architecture.md), because a late joiner message would
otherwise give access again. So a record is not deleted but *reduced* to its key and to the statements that end access. Each
statement keeps its time and loses its id, because the sender chose the id. Address, history, profile, cost centre and all
statements that give access are removed.
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
    BLOCKED,
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
ERASED = UserEmail("")  # the address of a reduced record; a new message brings an address again


class Kept(StrEnum):
    """The reason why a user's data cannot be erased now."""

    ENTITLED = "Entitled"
    ANNOUNCED = "Announced"
    ON_HOLD = "OnHold"
    EXISTS = "Exists"
    UNDER_WAY = "UnderWay"
    UNREADABLE = "Unreadable"


_NAMELESS = "erased-"


def is_over(since: datetime, lifetime: timedelta, now: datetime) -> bool:
    """Return True if the lifetime of an item that dates from `since` is over."""
    return since + lifetime <= now


def is_erased(record: UserRecord) -> bool:
    """Return True if the user's data was erased and no message about the user has arrived since."""
    return record.email == ERASED


def may_be_over(row: RecordRow, lifetime: timedelta, now: datetime) -> bool:
    """Return True if a listing shows a tombstone past its lifetime. This is a hint: `why_kept` decides on the record."""
    return (
        row.presence is Presence.ABSENT
        and row.email != ERASED
        and not row.on_hold
        and row.absent_since is not None
        and is_over(row.absent_since, lifetime, now)
    )


def why_kept(record: UserRecord, seen: Observed, now: datetime) -> Kept | None:
    """Return the reason why the user's data must not be erased now, or None if the data may be erased.

    An unreadable resource is such a reason: unknown is not absent (rule R4 of docs/architecture.md).
    """
    if record.spec.presence is Presence.PRESENT:
        return Kept.ENTITLED
    if record.facts.next_change(now) is not None:
        return Kept.ANNOUNCED
    if record.hold is not None:
        return Kept.ON_HOLD
    status = record.status
    copies = any(line.waits for line in status.story)  # into the audit: once the pseudonym is gone, nobody can
    if status.notebook.operation is not None or status.generation != status.observed_generation or copies:
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
    """Return the part of a tombstone that must stay: the key, the end of entitlement, and the facts that end access.

    The links to the present and the earlier holder of the address stay, and so do rejected claims.

    Reducing a reduced record changes nothing.
    """
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
        # The present and the earlier holder of the address. Without them, messages about the next holder would count for this user again.
        handover=record.handover,
        predecessor=record.predecessor,
        rejected=tuple(replace(each, by="") for each in record.rejected),
    )


def cutting(facts: Facts, now: datetime) -> Facts:
    """Return the facts reduced to the statements that end access: the newest of each fact, and all leaves that still hold.

    A list of groups becomes an empty list, and a request a withdrawn request, each with its own time. An older list or
    request that arrives late then gives no access. A newer statement decides as usual.
    """
    kept: dict[str, Timeline] = {}
    forgotten = facts.forgotten
    for name, timeline in facts.timelines.items():
        forgotten = with_guards(forgotten, name, (s for s in timeline if not s.event_id.startswith(_NAMELESS)))
        newest = max(timeline, key=Statement.rank, default=None)
        if newest is None:
            continue
        if name == EMPLOYMENT:  # a feed may have confirmed a user after a leave that still holds
            leaves = standing_leaves(timeline, now)
            if leaves:
                kept[name] = tuple(_bare(leave) for leave in leaves)
            continue
        if name == ROSTER:
            newest = replace(newest, value=(), withdraws=False)
        elif name in {REQUEST, DEFAULT}:
            newest = replace(newest, value=None, withdraws=True)
        elif name == BLOCKED and newest.withdraws:
            newest = replace(newest, value="")  # blocked still; the reason is text that an operator wrote
        elif not newest.withdraws or not (name in _CUTTING or name.startswith(GROUP)):
            continue
        kept[name] = (_bare(newest),)
    return Facts(MappingProxyType(kept), forgotten)


def _bare(statement: Statement) -> Statement:
    """Return the statement without the text that its sender wrote: the id and the claimed author."""
    return replace(statement, event_id=_nameless(statement.event_id), says="")


def _nameless(event_id: str) -> str:
    """Return a digest in place of an event id, because some feeds put the user's address into the id."""
    if event_id.startswith(_NAMELESS):
        return event_id
    return f"{_NAMELESS}{hashlib.sha256(event_id.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"
