"""Fold news into the record: one conditional write, and the intent is durable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from shared.domain.errors import ConflictError, Reason
from shared.domain.events import Joined, LifecycleEvent, Moved, Renamed
from shared.domain.identity import UserKey, user_key_for
from shared.domain.record import ConditionType, Hold, Power, UserRecord
from shared.domain.renaming import Renaming, renaming
from shared.domain.wanted import new_record, with_event, with_hold, with_power, with_wanted
from shared.engine.chronicle import with_hold_told, with_news
from shared.engine.ports import Deps, Stored
from shared.engine.repair import load_mended

_TRIES = 8
# A pass follows at once; should the process die before, the tick takes over this much later.
SAFETY = timedelta(seconds=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What became of a piece of news or a wish: `changed` is False for a duplicate or something overruled by later news."""

    stored: Stored
    changed: bool


def accept(event: LifecycleEvent, deps: Deps) -> Accepted:
    """Fold one event into its user's record. Raises `UnknownProfileError` for a profile that does not exist (poison)."""
    if isinstance(event, Renamed):
        return _accept_renaming(event, deps)
    if isinstance(event, Joined | Moved) and event.profile:
        deps.policy.catalog.profile(event.profile)
    user_key = user_key_for(event.user)
    for _ in range(_TRIES):
        now = deps.clock.now()
        stored = load_mended(user_key, deps, if_missing=True)
        before = stored.record if stored is not None else new_record(event.user, now)
        folded = with_event(before, event, now)
        if folded is before and stored is not None:
            deps.log.info("Ignored news that changes nothing", user=before.user_key, event_id=event.event_id)
            return Accepted(stored=stored, changed=False)
        wanted = with_wanted(with_news(folded, event, now), deps.policy, now)
        saved = _save(_due_soon(wanted, deps), stored, deps)
        if saved is not None:
            return Accepted(stored=saved, changed=True)
    raise _lost_the_race(user_key)


def _accept_renaming(event: Renamed, deps: Deps) -> Accepted:
    """Give the person's record the new address, and lead the other key to it.

    The record is written first: what was said under the other address is in it before the pointer takes that one's place. It
    is written then even if it says all that already: of two renames at once that would lead to each other, one meets a
    generation that it did not read. A crash between the two writes is repaired by the redelivery.
    """
    changed = False
    for _ in range(_TRIES):
        now = deps.clock.now()
        keys = (user_key_for(email) for email in (event.user, event.new_user))
        old, new = (load_mended(key, deps, if_missing=True) for key in keys)
        asked = renaming(event, old.record if old else None, new.record if new else None, now)
        kept = next((s for s in (old, new) if s is not None and s.record is asked.before), None)
        replaced = next((s for s in (old, new) if s is not None and s.record is asked.replaced), None)
        if asked.record is not asked.before or replaced is not None:
            news = with_news(asked.record, event, now)
            kept = _save(_due_soon(with_wanted(news, deps.policy, now), deps), kept, deps)
            if kept is None:
                continue
            changed = True
        if kept is None:
            raise AssertionError("a record that was not there is a change")
        if asked.pointer is not None and not _point(asked.pointer, kept, replaced, deps):
            continue
        _log_renaming(event, asked, deps, changed=changed)
        return Accepted(stored=kept, changed=changed)
    raise _lost_the_race(user_key_for(event.user))


def _point(user_key: UserKey, to: Stored, replaced: Stored | None, deps: Deps) -> bool:
    try:
        deps.records.point(user_key, to.record.user_key, expected=replaced)
    except ConflictError:
        return False
    return True


def _log_renaming(event: Renamed, asked: Renaming, deps: Deps, *, changed: bool) -> None:
    if not changed:
        deps.log.info("Ignored news that changes nothing", user=asked.record.user_key, event_id=event.event_id)
        return
    took_over = asked.replaced.user_key if asked.replaced is not None else ""
    deps.log.info("Changed the address", user=asked.record.user_key, event_id=event.event_id, took_over=took_over)


def want_power(user_key: UserKey, power: Power, *, because: str, deps: Deps) -> Stored | None:
    """Ask for another power state of a person's environment; None when there is no record."""
    return _wanted(user_key, lambda record: with_power(record, power, because=because), deps)


def want_hold(user_key: UserKey, reason: str | None, deps: Deps, *, by: str = "the command line") -> Stored | None:
    """Put a person's data on hold for a reason, or release it (None); None when there is no record. Safe to repeat."""
    hold = Hold(reason=reason, since=deps.clock.now()) if reason is not None else None
    now = deps.clock.now()
    stored = _wanted(user_key, lambda record: with_hold_told(record, with_hold(record, hold), by, now), deps)
    if stored is not None:
        deps.log.warning(
            "Put on hold" if hold is not None else "Released from hold", user=user_key, because=reason or ""
        )
    return stored


def is_decided(record: UserRecord) -> bool:
    """True when a deletion was decided before: a hold that comes then may be too late."""
    ready = record.status.condition(ConditionType.NOTEBOOK_READY)
    return ready is not None and ready.reason is Reason.DELETING


def change_record(
    user_key: UserKey, change: Callable[[UserRecord], UserRecord], deps: Deps, *, wakes: bool, mends: bool = True
) -> Accepted | None:
    """Write a change of one person's record; None when there is no record.

    `change` gives the same object for no change. With `wakes` a pass follows soon; with `mends` a damaged record is put back.
    """
    for _ in range(_TRIES):
        stored = load_mended(user_key, deps) if mends else deps.records.load(user_key)
        if stored is None:
            return None
        changed = change(stored.record)
        if changed is stored.record:
            return Accepted(stored=stored, changed=False)
        saved = _save(_due_soon(changed, deps) if wakes else changed, stored, deps)
        if saved is not None:
            return Accepted(stored=saved, changed=True)
    raise _lost_the_race(user_key)


def _wanted(user_key: UserKey, change: Callable[[UserRecord], UserRecord], deps: Deps) -> Stored | None:
    accepted = change_record(user_key, change, deps, wakes=True)
    return accepted.stored if accepted is not None else None


def _due_soon(record: UserRecord, deps: Deps) -> UserRecord:
    """Never later than `SAFETY` from now; an earlier time that is set already stands."""
    soon = deps.clock.now() + SAFETY
    planned = record.status.next_attempt_at
    return replace(
        record, status=replace(record.status, next_attempt_at=min(planned, soon) if planned is not None else soon)
    )


def _save(record: UserRecord, stored: Stored | None, deps: Deps) -> Stored | None:
    try:
        return deps.records.save(record, expected=stored)
    except ConflictError:
        return None


def _lost_the_race(user_key: UserKey) -> ConflictError:
    return ConflictError(
        user_message="This person's record is being changed by somebody else just now; it is tried again.",
        detail=f"record of {user_key} changed under {_TRIES} attempts to write it",
    )
