"""The events that state the differences between a roster and the records. Reads records, writes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from typing import Any

from msgspec import Struct

from shared.domain.fleet.roster import Difference, Reading, RosterKind, RosterOutcome, RosterState
from shared.domain.people.events import GroupChanged, Joined, LeaveCancelled, Left, LifecycleEvent, Moved, is_cut
from shared.domain.people.facts import EMPLOYMENT, GROUP, ROSTER
from shared.domain.people.sources import FROM_ROSTER
from shared.domain.record.record import UserRecord
from shared.domain.things.identity import UserEmail, UserKey
from shared.engine.news.lookup import find
from shared.engine.ports.deps import Deps


class Found(Struct):
    """A difference between a roster and the records, with the events to state, grants before cuts. A difference without events is only reported."""

    key: UserKey
    events: tuple[LifecycleEvent, ...]
    outcome: RosterOutcome

    @property
    def stated(self) -> tuple[str, ...]:
        """The facts in words that reports show, for example `-analysts@example.com`."""
        return tuple(_word(event) for event in self.events)

    @property
    def cuts(self) -> tuple[LifecycleEvent, ...]:
        """The events that take something away."""
        return tuple(event for event in self.events if is_cut(event))


def confirmed(key: UserKey, difference: Difference, reading: Reading, state: RosterState, deps: Deps) -> Found | None:
    """Read the person's record, and return the difference to state; None if the record agrees with the roster or has newer news."""
    stored = find(difference.email, deps)
    if stored is None:
        events = tuple(_of_a_stranger(difference, reading, deps))
        return Found(key=key, events=events, outcome=RosterOutcome.WAITS) if events else None
    record = stored.record
    # A person may be listed under a former address: the directory's list may be older than the change of address.
    under = [form for form in (record.email, *record.former_emails) if form in reading.people]
    listed = frozenset(group for form in under for group in reading.people[form] or ())
    before = state.known_groups(record.user_key)
    facts = _Compared(record=record, listed=listed if under else None, before=before, reading=reading)
    if reading.kind is RosterKind.EMPLOYEES:
        return _employment(facts, deps)
    events = (*_groups(facts, deps, member=True), *_groups(facts, deps, member=False))
    return Found(key=record.user_key, events=events, outcome=RosterOutcome.WAITS) if events else None


class _Compared(Struct, frozen=True, kw_only=True):
    """A person's record with the roster's groups: those listed now (None: not listed) and before (None: never listed)."""

    record: UserRecord
    listed: frozenset[str] | None
    before: frozenset[str] | None
    reading: Reading


def _of_a_stranger(difference: Difference, reading: Reading, deps: Deps) -> Iterator[LifecycleEvent]:
    """Yield the events of a person without a record, whose first message was lost."""
    made = partial(_event, reading, difference.email)
    if reading.kind is RosterKind.EMPLOYEES:
        yield _joined(reading, difference.email)
        return
    for group in difference.listed or ():
        if deps.policy.catalog.assignment_for(group) is not None:
            yield GroupChanged(group=group, member=True, **made(f"{GROUP}{group}"))


def _groups(facts: _Compared, deps: Deps, *, member: bool) -> Iterator[LifecycleEvent]:
    """Yield the events for groups that only the directory's list has (`member` is True), or that only the record has.

    A group about which the record has newer news is left out. The absence of a person whom this roster never listed states
    nothing.
    """
    now, book, reading = deps.clock.now(), deps.policy.book, facts.reading
    held = facts.record.facts.groups(now, book)
    identities = {book.identity(group, statement.occurred_at): statement for group, statement in held.items()}
    for group in sorted(reading.covers):
        identity = book.identity(group, now)
        is_listed = group in (facts.listed or ())
        if identity is None or is_listed is not member or (identity in identities) is member:
            continue
        if not member and facts.before is None:
            continue  # this roster never listed the person: absence says nothing
        newest = identities.get(identity) or facts.record.facts.at(f"{GROUP}{group}", now)
        if newest is not None and newest.occurred_at >= reading.as_of:
            continue  # news that is newer than the roster
        yield GroupChanged(group=group, member=member, **_event(reading, facts.record.email, f"{GROUP}{group}"))


def _employment(facts: _Compared, deps: Deps) -> Found | None:
    """Return the difference between HR's list and the record; None if they agree, the record has newer news, or the person was never listed."""
    record, reading, now = facts.record, facts.reading, deps.clock.now()
    found = partial(Found, key=record.user_key)
    employment = record.facts.employment(now)
    decides = employment.decides
    is_newer = decides is not None and decides.occurred_at >= reading.as_of
    event = _event(reading, record.email, EMPLOYMENT)
    if facts.listed is None:
        if facts.before is None or employment.employed is False or is_newer:
            return None
        return found(events=(Left(cause="not in HR's list any more", **event),), outcome=RosterOutcome.WAITS)
    if employment.employed is False:
        if decides is None or is_newer:
            return None
        if decides.source != FROM_ROSTER:
            return found(events=(), outcome=RosterOutcome.LEFT)
        return found(events=(LeaveCancelled(**event),), outcome=RosterOutcome.WAITS)
    if employment.employed is None:
        return found(events=(_joined(reading, record.email),), outcome=RosterOutcome.WAITS)
    named = reading.people.get(record.email)
    said = record.facts.at(ROSTER, now)
    if named is None or facts.before is None or (said is not None and said.occurred_at >= reading.as_of):
        return None
    if said is not None and said.value == named:
        return None
    changed = Moved(groups=named, **_event(reading, record.email, ROSTER))
    return found(events=(changed,), outcome=RosterOutcome.WAITS)


def _joined(reading: Reading, email: UserEmail) -> Joined:
    event = _event(reading, email, EMPLOYMENT)
    return Joined(groups=reading.people[email], confirms=True, person_id=reading.numbers.get(email, ""), **event)


def _event(reading: Reading, email: UserEmail, fact: str) -> dict[str, Any]:
    """Return the common fields of an event. Its id is the same when the same reading is compared again."""
    text = f"{reading.kind.value}|{reading.as_of.isoformat()}|{reading.version}|{email}|{fact}"
    return {
        "event_id": f"roster-{hashlib.sha256(text.encode()).hexdigest()[:24]}",
        "user": email,
        "occurred_at": reading.as_of,
        "effective_at": reading.as_of,
        "source": FROM_ROSTER,
    }


def _word(event: LifecycleEvent) -> str:
    match event:
        case GroupChanged(group=group, member=member):
            return f"{'+' if member else '-'}{group}"
        case Left():
            return "-employment"
        case Moved():
            return "groups"
        case _:
            return "+employment"
