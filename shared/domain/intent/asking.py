"""The effect of a request on a record, and its words. Pure, and the same for requests of the page and of the command line."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import assert_never

from msgspec.structs import replace

from shared.domain.intent.blocking import with_block, without_block
from shared.domain.intent.regret import with_regret
from shared.domain.intent.restoring import with_restore, with_undo
from shared.domain.intent.wanted import with_hold
from shared.domain.intent.wish import Asked, WishKind
from shared.domain.intent.wishes import with_asked_power, with_keep_on, with_restart, with_wish, without_wish
from shared.domain.record.record import Hold, Power, UserRecord
from shared.domain.record.status import TakenWish
from shared.domain.things.catalog import Catalog
from shared.domain.things.power import PowerCause, PowerReason

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
    """Return the record with the request applied; the same object if that changes nothing.

    Raise `RefusedError`, which says what is allowed. LOOK_AGAIN does not change the wanted state: a pass follows every
    request anyway.
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
    """Return the requested time.

    If it exceeds the longest allowed time only by the usual difference between clocks, return the longest.
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

    A request is remembered as long as a listing may show its object: a request whose object is not listed any more is
    forgotten once no function can still hold an older listing.
    """
    kept = [each for each in record.status.inbox.taken_wishes if each.wish_id in listed or now - each.at < REMEMBERED]
    new = [TakenWish(wish_id=wish_id, at=now) for wish_id in wish_ids]
    return replace(record, status=record.status.changed(taken_wishes=(*kept, *new)))
