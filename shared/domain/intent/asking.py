"""The effect of a request on a record, and the request in words. Pure. The page and the command line share this module.

A request may also show that an idle stop or its warning disturbed a user at work: an extension or a start within ten
minutes. An operator's request may block a user: access ends now, and no source can give it back before the block is lifted.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import assert_never

from msgspec.structs import replace

from shared.domain.intent.restoring import with_restore, with_undo
from shared.domain.intent.wanted import HORIZON, with_hold
from shared.domain.intent.wish import (
    Asked,
    WishKind,
    with_asked_power,
    with_keep_on,
    with_restart,
    with_wish,
    without_wish,
)
from shared.domain.people.facts import BLOCKED, Statement
from shared.domain.record.record import Hold, Power, UserRecord
from shared.domain.record.status import ConditionStatus, ConditionType, Regret, RegretKind, TakenWish
from shared.domain.things.catalog import Catalog
from shared.domain.things.power import PowerCause, PowerReason

_SOON = timedelta(minutes=10)
_KEPT_FOR = timedelta(days=30)
_MOST = 10


def with_regret(before: UserRecord, after: UserRecord, now: datetime) -> UserRecord:
    """Return the record after a request, with a note if the request came soon after a warning or an idle stop."""
    kind = _kind(before, after, now)
    if kind is None:
        return after
    known = [each for each in after.status.notebook.regrets if now - each.at < _KEPT_FOR]
    return after.with_status(regrets=(*known, Regret(kind=kind, at=now))[-_MOST:])


def _kind(before: UserRecord, after: UserRecord, now: datetime) -> RegretKind | None:
    warned, until = before.status.notebook.idle_warned_at, after.spec.keep_on_until
    extends = until is not None and until != before.spec.keep_on_until
    if extends and warned is not None and timedelta(0) <= now - warned <= _SOON:
        return RegretKind.EXTENDED
    starts = before.spec.power is Power.STOPPED and after.spec.power is Power.RUNNING
    ready = before.status.condition(ConditionType.NOTEBOOK_READY)
    if not starts or not before.spec.power_reason.is_idle or ready is None or ready.status is not ConditionStatus.FALSE:
        return None
    return RegretKind.STARTED if now - ready.last_transition_time <= _SOON else None


_LEAST = timedelta(microseconds=1)


def with_block(record: UserRecord, reason: str, now: datetime) -> UserRecord:
    """Return the record of a user who has no access from now on; the same object if the user is already blocked.

    The first reason stays, because a second block would not change the user's access.
    """
    if record.facts.blocked() is not None:
        return record
    return _stated(record, reason, now)


def without_block(record: UserRecord, now: datetime) -> UserRecord:
    """Return the record without its block, so that the statements of the sources count again.

    Return the same object if the user is not blocked.
    """
    return record if record.facts.blocked() is None else _stated(record, None, now)


def _stated(record: UserRecord, reason: str | None, now: datetime) -> UserRecord:
    """Return the record with the newest statement about the block.

    If a slow clock would make the statement older than the previous one, the time of the statement is moved forward.
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


# The page computes the longest time by its own clock, a moment before another machine takes the request up.
_CLOCKS_DIFFER = timedelta(minutes=1)
_ASKED = {  # (wanted power, requested by the user and not by an administrator)
    (Power.RUNNING, True): PowerCause.STARTED_BY_PERSON,
    (Power.RUNNING, False): PowerCause.STARTED_BY_ADMINISTRATOR,
    (Power.STOPPED, True): PowerCause.STOPPED_BY_PERSON,
    (Power.STOPPED, False): PowerCause.STOPPED_BY_ADMINISTRATOR,
}
# Longer than any function runs: a function that listed a request before its removal has ended by then, so its id may be forgotten.
REMEMBERED = timedelta(hours=1)
MAX_TAKEN = 200


def with_asked(record: UserRecord, asked: Asked, catalog: Catalog, now: datetime, *, by_person: bool) -> UserRecord:
    """Return the record with the request applied; the same object if the request changes nothing.

    Raise `RefusedError` if the request is not allowed; the error's text tells why. LOOK_AGAIN does not change the wanted
    state, because a pass follows every request anyway.
    """
    match asked.kind:
        case WishKind.START | WishKind.STOP:
            power = Power.RUNNING if asked.kind is WishKind.START else Power.STOPPED
            changed = with_asked_power(record, power, catalog, PowerReason(cause=_ASKED[power, by_person]))
            return with_regret(record, changed, now)
        case WishKind.RESTART:
            return with_restart(record, catalog, now)
        case WishKind.RESTORE:
            return with_restore(record, asked.snapshot, catalog, now)
        case WishKind.UNDO_RESTORE:
            return with_undo(record, asked.snapshot, catalog, now)
        case WishKind.KEEP_ON | WishKind.END_KEEP_ON:
            changed = with_keep_on(record, _until(record, asked.until, catalog, now), catalog, now)
            return with_regret(record, changed, now)
        case WishKind.START_CLUSTER:
            return with_wish(record, asked.template, catalog, now)
        case WishKind.DELETE_CLUSTER:
            return without_wish(record, asked.template)
        case WishKind.HOLD | WishKind.RELEASE:
            return with_hold(record, Hold(reason=asked.reason, since=now) if asked.kind is WishKind.HOLD else None)
        case WishKind.BLOCK | WishKind.LIFT:
            return with_block(record, asked.reason, now) if asked.kind is WishKind.BLOCK else without_block(record, now)
        case WishKind.LOOK_AGAIN:
            return record
        case _:
            assert_never(asked.kind)


def _until(record: UserRecord, until: datetime | None, catalog: Catalog, now: datetime) -> datetime | None:
    """Return the time until which the request keeps the notebook on; None if the request names no time.

    A time up to one minute above the longest allowed time is reduced to the longest allowed time, because clocks differ.
    """
    profile = catalog.profiles.get(record.spec.profile or "")
    if until is None or profile is None:
        return until
    longest = now + profile.idle.max_keep_on
    return longest if longest < until <= longest + _CLOCKS_DIFFER else until


_WORDS = {
    WishKind.START: "Start the notebook",
    WishKind.STOP: "Stop the notebook",
    WishKind.RESTART: "Restart the notebook",
    WishKind.RESTORE: "Restore files of an earlier day",
    WishKind.UNDO_RESTORE: "Undo the last restore of files",
    WishKind.KEEP_ON: "Keep the notebook on until {0.until:%Y-%m-%d %H:%M} UTC",
    WishKind.END_KEEP_ON: "No longer keep the notebook on",
    WishKind.START_CLUSTER: "Start the Spark environment {0.template}",
    WishKind.DELETE_CLUSTER: "Delete the Spark environment {0.template}",
    WishKind.HOLD: "Put on hold",
    WishKind.RELEASE: "Released from hold",
    WishKind.LOOK_AGAIN: "Look again now",
    WishKind.BLOCK: "End access now",
    WishKind.LIFT: "Lift the block",
}


def asked_text(asked: Asked) -> str:
    """Return the request in words, for the history and the page."""
    return _WORDS[asked.kind].format(asked)


def was_taken(record: UserRecord, wish_id: str) -> bool:
    """Return True if the record remembers that this request was folded into it."""
    return any(each.wish_id == wish_id for each in record.status.inbox.taken_wishes)


def with_taken(record: UserRecord, wish_ids: list[str], listed: frozenset[str], now: datetime) -> UserRecord:
    """Return the record that also remembers these requests.

    A request is remembered while its object is listed, and for an hour, because by then no function has an older listing.
    """
    kept = [each for each in record.status.inbox.taken_wishes if each.wish_id in listed or now - each.at < REMEMBERED]
    new = [TakenWish(wish_id=wish_id, at=now) for wish_id in wish_ids]
    return replace(record, status=record.status.changed(taken_wishes=(*kept, *new)))
