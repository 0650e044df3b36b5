"""The change of one user's record by one conditional write, which is tried again if another process wrote first.

Called for messages, requests and commands. The caller decides whether a pass follows soon.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from msgspec import Struct
from msgspec.structs import replace

from shared.domain.intent.wanted import with_hold, with_power
from shared.domain.record.record import Hold, Power, UserRecord
from shared.domain.record.status import ConditionType
from shared.domain.things.errors import ConflictError, Reason
from shared.domain.things.identity import UserKey
from shared.domain.things.power import PowerReason
from shared.engine.ports.deps import Deps
from shared.engine.ports.records import Stored
from shared.engine.reconcile.audit import save as save_sealed
from shared.engine.reconcile.audit import waits
from shared.engine.reconcile.history import with_hold_told
from shared.engine.reconcile.repair import load_mended

_TRIES = 8


# A pass follows at once; if the process dies before it, the tick makes the pass this much later.
SAFETY = timedelta(seconds=60)


class Accepted(Struct, frozen=True, kw_only=True):
    """The result of accepting a message or request: `changed` is False if it was a duplicate or was overruled by later news."""

    stored: Stored
    changed: bool


def want_power(user_key: UserKey, power: Power, reason: PowerReason, deps: Deps) -> Stored | None:
    """Set the wanted power state of a user's environment, and return the written record; None if there is no record."""
    return _wanted(user_key, lambda record: with_power(record, power, reason), deps)


def want_hold(user_key: UserKey, reason: str | None, deps: Deps, *, by: str = "the command line") -> Stored | None:
    """Put a user's data on hold, or release the hold (`reason` is None), and return the written record.

    Return None if there is no record. Safe to repeat.
    """
    hold = Hold(reason=reason, since=deps.clock.now()) if reason is not None else None
    now = deps.clock.now()
    stored = _wanted(user_key, lambda record: with_hold_told(record, with_hold(record, hold), by, now), deps)
    if stored is not None:
        deps.log.warning("Put on hold" if hold is not None else "Released a hold", user=user_key, because=reason or "")
    return stored


def is_decided(record: UserRecord) -> bool:
    """Return True if a deletion was already decided, so that a hold set now may be too late."""
    ready = record.status.condition(ConditionType.NOTEBOOK_READY)
    return ready is not None and ready.reason is Reason.DELETING


def change_record(
    user_key: UserKey, change: Callable[[UserRecord], UserRecord], deps: Deps, *, wakes: bool, mends: bool = True
) -> Accepted | None:
    """Write a change of one user's record; return None if there is no record.

    `change` returns the same object for no change, and is called again if another process wrote meanwhile. With `wakes`, a
    pass follows soon; also if the changed record has lines that are not yet in the audit. With `mends`, a damaged record is
    repaired first. Raise `ConflictError` after several lost writes.
    """
    for _ in range(_TRIES):
        stored = load_mended(user_key, deps) if mends else deps.records.load(user_key)
        if stored is None:
            return None
        changed = change(stored.record)
        if changed is stored.record:
            return Accepted(stored=stored, changed=False)
        saved = save(due_soon(changed, deps) if wakes or waits(changed) else changed, stored, deps)
        if saved is not None:
            return Accepted(stored=saved, changed=True)
    raise lost_the_race(user_key)


def _wanted(user_key: UserKey, change: Callable[[UserRecord], UserRecord], deps: Deps) -> Stored | None:
    accepted = change_record(user_key, change, deps, wakes=True)
    return accepted.stored if accepted is not None else None


def due_soon(record: UserRecord, deps: Deps) -> UserRecord:
    """Return the record with a next attempt no later than `SAFETY` from now; keep an earlier time."""
    soon = deps.clock.now() + SAFETY
    planned = record.status.next_attempt_at
    return replace(
        record, status=record.status.changed(next_attempt_at=min(planned, soon) if planned is not None else soon)
    )


def save(record: UserRecord, stored: Stored | None, deps: Deps) -> Stored | None:
    """Write the record over `stored`; return None if another process wrote in between."""
    try:
        return save_sealed(record, stored, deps)
    except ConflictError:
        return None


def lost_the_race(user_key: UserKey) -> ConflictError:
    """Return the error for a record that other processes kept changing; the caller tries again later."""
    return ConflictError(
        user_message="This person's record is being changed by another process just now; Benchkeeper tries again.",
        detail=f"record of {user_key} changed under {_TRIES} attempts to write it",
    )
