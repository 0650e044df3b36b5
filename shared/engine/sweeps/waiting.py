"""The hourly check of the index of waiting users, called by the drift sweep.

It logs each batch, writes missing entries, and removes outdated ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial

from shared.domain.intent.batches import WaitingPerson, batches_of
from shared.domain.record.cuts import CutClass
from shared.domain.record.record import RecordRow
from shared.domain.record.status import Notice
from shared.domain.things.errors import BenchkeeperError
from shared.domain.things.identity import UserKey
from shared.engine.ports.deps import Deps
from shared.engine.reconcile.guard import entry_of

_MOST = 400  # entries that one sweep compares with their records; over some hours all entries are compared
_YOUNG = timedelta(hours=1)  # the index is written before the record: a younger entry may belong to a running pass


def keep_waiting(
    deps: Deps, now: datetime, *, rows: Iterable[RecordRow] = (), dry_run: bool = False
) -> dict[str, float]:
    """Log one line for each batch, write missing entries, and remove those of users who no longer wait.

    Return the sweep's measures. `rows` are the rows of users who wait by their records. With `dry_run`, the index is not
    changed.

    Makes one listing, and one read for each of at most 400 entries that are older than an hour; the choice differs each hour. If the index
    cannot be read, this is logged and there are no measures: an unread index must not count as empty.
    """
    try:
        waiting = list(deps.guard.waiting())
    except BenchkeeperError as error:
        deps.log.warning("Waiting users could not be listed", reason=error.reason.value, detail=error.detail)
        return {}
    if not dry_run:
        waiting += _missing(waiting, rows, deps)
        over = _over(waiting, deps, now)
        waiting = [person for person in waiting if person.user_key not in over]
    undone = {person.user_key for person in waiting if person.undoable_done}
    for batch in batches_of(waiting):
        deps.log.warning(
            "Found a waiting batch of cuts",
            digest=batch.digest,
            cause=batch.cause.value,
            source=batch.source,
            people=len(batch.entries),
            oldest_s=round((now - batch.since).total_seconds(), 1),
            undone=len(batch.people & undone),
        )
    oldest = min((person.since for person in waiting), default=now)
    return {"cuts_waiting": len(waiting), "oldest_cut_wait_s": round((now - oldest).total_seconds(), 1)}


def _missing(waiting: Iterable[WaitingPerson], rows: Iterable[RecordRow], deps: Deps) -> list[WaitingPerson]:
    """Write the entries that the index lost or that cannot be read, so that each wait is visible. Return them."""
    listed = {person.user_key for person in waiting if person.cause is not CutClass.IDLE}
    found = []
    for row in rows:
        if Notice.CUT_WAITS not in row.notices or row.user_key in listed:
            continue
        try:
            stored = deps.records.load(row.user_key)
            entry = entry_of(stored.record) if stored is not None else None
            if entry is not None:
                deps.guard.note_waiting(entry)
                found.append(entry)
        except BenchkeeperError as error:
            deps.log.warning(
                "Missing entry of a waiting user could not be written",
                user=row.user_key,
                reason=error.reason.value,
                detail=error.detail,
            )
    return found


def _over(waiting: list[WaitingPerson], deps: Deps, now: datetime) -> frozenset[UserKey]:
    """Remove the entries of users who no longer wait, among the entries chosen for this hour, and return these users."""

    def turn(person: WaitingPerson) -> str:
        return hashlib.sha256(f"{now:%Y%m%d%H}|{person.user_key}".encode()).hexdigest()

    # Records do not hold waiting idle stops: the idle sweep maintains those entries.
    known = (person for person in waiting if person.cause is not CutClass.IDLE and now - person.since >= _YOUNG)
    old = sorted(known, key=turn)[:_MOST]
    found = deps.workers.run([partial(_is_over, person, deps) for person in old])
    return frozenset(person.user_key for person, is_over in zip(old, found, strict=True) if is_over)


def _is_over(person: WaitingPerson, deps: Deps) -> bool:
    """Remove the entry and return True if nothing waits by the record. If the record cannot be read, the entry stays."""
    try:
        stored = deps.records.load(person.user_key)
        status = stored.record.status if stored is not None else None
        if status is not None and (status.guard.waiting_cut is not None or status.guard.waiting_listed):
            return False
        deps.guard.forget_waiting(person.user_key)
    except BenchkeeperError as error:
        deps.log.warning(
            "Entry of a waiting user could not be checked",
            user=person.user_key,
            reason=error.reason.value,
            detail=error.detail,
        )
        return False
    deps.log.info("Removed the entry of a user who waited no longer", user=person.user_key)
    return True
