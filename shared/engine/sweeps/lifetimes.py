"""The erasure of personal data of users who no longer have resources.

`benchkeeper erase` erases the data of one user; `sweep_drift` erases the data whose lifetime is over, of all users.

Safe to repeat, because the data beside the record is erased first: a crash leaves a record that is found again. The record
is reduced last, and only if it is unchanged since it was read.

A dead letter past its lifetime is deleted if it was replayed, or if it names users and all of them are erased. Any other unread dead
letter stays, however old: it may state the leave of a user who still has access. Such dead letters are counted and logged until they
are replayed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta

from msgspec import Struct

from shared.domain.intent.lifetimes import ERASED, Kept, is_erased, is_over, may_be_over, reduced, why_kept
from shared.domain.plan.plan import Activity
from shared.domain.record.audit import CutCall
from shared.domain.record.record import RecordRow, UserRecord
from shared.domain.things.errors import BenchkeeperError, ConflictError
from shared.domain.things.history import CallState
from shared.domain.things.identity import UserKey, user_key_for
from shared.engine.ports.deps import Deps
from shared.engine.ports.inbox import LetterRow
from shared.engine.ports.records import DueHint, Stored
from shared.engine.reconcile.audit import note_cuts
from shared.engine.reconcile.observer import observe

_MOST_A_SWEEP = 500  # tombstones; the next sweep continues
_FAR = timedelta(days=3650)


class Erasure(Struct, frozen=True, kw_only=True):
    """The personal data of a user that still exists, or that was erased. `kept` is the reason why nothing may be erased; the other fields are then empty.

    `record` is True for a record that is not reduced yet. `letters` are dead letters that name only this user, `shared_letters` counts
    those that also name others. `manifests` and `templates` are names of objects, `hints` the user's entries in the due index.
    """

    user_key: UserKey
    kept: Kept | None = None
    record: bool = False
    letters: tuple[LetterRow, ...] = ()
    shared_letters: int = 0
    manifests: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    hints: tuple[DueHint, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Return True if there is nothing to erase."""
        return not (self.record or self.letters or self.manifests or self.templates or self.hints)


def look(user_key: UserKey, deps: Deps) -> tuple[Erasure, Stored | None]:
    """Return the data that erasing would remove, and the record as it was read (None: there is no record)."""
    stored = deps.records.load(user_key)
    own = stored.record.user_key if stored is not None else user_key
    if stored is not None:
        kept = why_kept(stored.record, observe(stored.record, deps), deps.clock.now())
        if kept is not None:
            return Erasure(user_key=own, kept=kept), stored
    keys = {user_key, own}  # a dead letter names the key of the address in its message
    if stored is not None and not is_erased(stored.record):
        keys.add(user_key_for(stored.record.email))
    naming = [row for row in deps.dead_letters.rows() if keys & set(row.users)]
    found = Erasure(
        user_key=own,
        record=stored is not None and not is_erased(stored.record),
        letters=tuple(row for row in naming if keys.issuperset(row.users)),
        shared_letters=sum(not keys.issuperset(row.users) for row in naming),
        manifests=tuple(deps.snapshots.manifests(own)),
        templates=tuple(deps.templates.seen(own).digests),
        hints=tuple(hint for hint in deps.records.due(deps.clock.now() + _FAR) if hint.user_key == own),
    )
    return found, stored


def erase(user_key: UserKey, deps: Deps) -> Erasure:
    """Erase the remaining data of a user, unless there is a reason to keep it. Return what was erased, or that reason.

    Raise `ConflictError` if the record changes meanwhile.
    """
    found, stored = look(user_key, deps)
    if found.kept is not None:
        return found
    for row in found.letters:
        deps.dead_letters.forget(row)
    _forget(found.user_key, found.manifests, found.templates, deps, whose=_alias(stored) or found.user_key)
    for hint in found.hints:
        deps.records.drop_hint(hint)
    if stored is not None and found.record:
        _forget_number(stored.record, deps)
        deps.records.save(reduced(stored.record, deps.clock.now()), expected=stored)
    if not found.is_empty:
        deps.log.info("Erased personal data", user=found.user_key, letters=len(found.letters))
    return found


def _forget(
    user_key: UserKey, manifests: Collection[str], templates: Collection[str], deps: Deps, *, whose: str
) -> None:
    for name in manifests:
        deps.snapshots.forget_manifest(user_key, name)
    for name in templates:
        deps.templates.remove(user_key, name)
    words = [*("forget the manifest of a snapshot" for _ in manifests), *("remove a template" for _ in templates)]
    delete, done = int(Activity.DELETE), CallState.DONE
    cuts = [CutCall(kind="Erase", text=each, activity=delete, state=done) for each in words]
    note_cuts({whose: cuts}, "the person's data was erased", deps)


def _alias(stored: Stored | None) -> str:
    return stored.record.status.audit.alias if stored is not None else ""


def _forget_number(record: UserRecord, deps: Deps) -> None:
    number = record.facts.person_id(deps.clock.now())
    if number:
        deps.persons.forget(number, record.user_key)


class Over:
    """A collector of the tombstones that may be past their lifetime, and of the erased users, fed row by row."""

    def __init__(self, lifetime: timedelta, now: datetime) -> None:
        self._lifetime, self._now = lifetime, now
        self.tombstones: list[UserKey] = []
        self.erased: set[UserKey] = set()

    def add(self, row: RecordRow) -> None:
        """Add a row."""
        if row.email == ERASED:
            self.erased.add(row.user_key)
        elif len(self.tombstones) < _MOST_A_SWEEP and may_be_over(row, self._lifetime, self._now):
            self.tombstones.append(row.user_key)


def keep_lifetimes(deps: Deps, found: Over, *, dry_run: bool) -> dict[str, float]:
    """Delete the dead letters and reduce the tombstones whose lifetime is over; return measures for the sweep's log line.

    With `dry_run`, only count them. An unread dead letter stays, and is counted as overdue, unless all users whom it names
    are erased. A failure for one user does not stop the others: it is logged, and the next sweep tries again.
    """
    lifetime = deps.policy.personal_data
    removed = overdue = 0
    for letter in _letters(deps, lifetime):
        if letter.replayed_at is None and not _concerns_nobody(letter, found.erased):
            overdue += 1
            continue
        if not dry_run:
            deps.dead_letters.forget(letter)
        removed += 1
    if overdue:
        deps.log.warning("Kept dead letters that were not replayed in their lifetime", letters=overdue)
    erased = sum(dry_run or _reduce(key, deps) for key in found.tombstones)
    return {"removed_letters": removed, "overdue_letters": overdue, "erased_people": erased}


def _letters(deps: Deps, lifetime: timedelta) -> Iterator[LetterRow]:
    now = deps.clock.now()
    try:
        yield from [row for row in deps.dead_letters.rows(until=now - lifetime) if is_over(row.sent_at, lifetime, now)]
    except BenchkeeperError as error:
        deps.log.warning("Dead letters could not be listed", reason=error.reason.value, detail=error.detail)


def _concerns_nobody(letter: LetterRow, erased: set[UserKey]) -> bool:
    """Return True if all users whom the dead letter names are erased. A dead letter without names may concern any user."""
    return bool(letter.users) and erased.issuperset(letter.users)


def _reduce(key: UserKey, deps: Deps) -> bool:
    """Erase a user's data as `erase` does, except dead letters, which have a lifetime of their own. Return True if the data was erased."""
    try:
        stored = deps.records.load(key)
        if stored is None or stored.record.user_key != key or is_erased(stored.record):
            return False
        kept = why_kept(stored.record, observe(stored.record, deps), deps.clock.now())
        if kept is not None:
            deps.log.info("Kept a tombstone past its lifetime", user=key, because=kept.value)
            return False
        manifests, templates = tuple(deps.snapshots.manifests(key)), tuple(deps.templates.seen(key).digests)
        _forget(key, manifests, templates, deps, whose=_alias(stored) or key)
        _forget_number(stored.record, deps)
        deps.records.save(reduced(stored.record, deps.clock.now()), expected=stored)
    except ConflictError:
        return False  # a message changed the record at this moment; the next sweep tries again
    except BenchkeeperError as error:
        deps.log.warning("Personal data could not be erased", user=key, reason=error.reason.value, detail=error.detail)
        return False
    deps.log.info("Erased personal data", user=key, letters=0)
    return True
