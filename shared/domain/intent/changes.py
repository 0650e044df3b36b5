"""The comparison of a user's record before and after a message. The result is a kind of change and one line of text.

The preview of a replay (`benchkeeper messages replay`) shows both. Pure.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from shared.domain.people.events import LifecycleEvent, Renamed, statements_of
from shared.domain.people.facts import EMPLOYMENT
from shared.domain.people.statements import Statement
from shared.domain.record.record import Presence, UserRecord


class ChangeKind(StrEnum):
    """The kind of change that an event makes to a user's record."""

    JOINS = "joins"
    MOVES = "moves"
    LEAVES = "leaves"
    LATER = "later"  # the event takes effect at a future moment
    NOTED = "noted"  # a fact is new, but the wanted state stays the same
    NOTHING_NEW = "nothing-new"


def kind_of(before: UserRecord | None, after: UserRecord, event: LifecycleEvent, now: datetime) -> ChangeKind:
    """Return the kind of change that `event` makes to `before`; `after` is the record with the event and its wanted state."""
    was_present = before is not None and before.spec.presence is Presence.PRESENT
    is_present = after.spec.presence is Presence.PRESENT
    if is_present != was_present:
        return ChangeKind.JOINS if is_present else ChangeKind.LEAVES
    if before is None:
        return ChangeKind.LATER if event.effective_at > now else ChangeKind.NOTED
    if after is before:
        return ChangeKind.NOTHING_NEW
    if (before.email, before.cost_center) != (after.email, after.cost_center):
        return ChangeKind.MOVES
    if is_present and before.spec.profile != after.spec.profile:
        return ChangeKind.MOVES
    if not says_something_new(before, after, event, now):
        return ChangeKind.NOTHING_NEW
    return ChangeKind.LATER if event.effective_at > now else ChangeKind.NOTED


def says_something_new(before: UserRecord, after: UserRecord, event: LifecycleEvent, now: datetime) -> bool:
    """Return True if the event changes what the facts of the record say, now or later.

    A statement with a new id that only repeats a valid statement is not new. If this or another statement is still to take
    effect, a statement is new unless a known one has the same value and takes effect at the same time.
    """
    if isinstance(event, Renamed):
        return (before.email, before.rename, before.claim) != (after.email, after.rename, after.claim)
    return any(_is_new(before, name, statement, now) for name, statement in statements_of(event))


def _is_new(before: UserRecord, name: str, statement: Statement, now: datetime) -> bool:
    timeline = before.facts.timelines.get(name, ())
    if any(kept.is_same(statement) for kept in timeline):
        return False
    if statement.effective_at > now or any(kept.effective_at > now for kept in timeline):
        return not any((k.value, k.effective_at) == (statement.value, statement.effective_at) for k in timeline)
    if name == EMPLOYMENT:
        return before.facts.employment(now).employed is not statement.value
    held = before.facts.at(name, now)
    if held is None:  # no statement yet: the account counts as usable, and there is no request
        return statement.value not in {None, False} if not isinstance(statement.value, tuple) else True
    return held.value != statement.value


def what_changed(before: UserRecord | None, after: UserRecord, event: LifecycleEvent, now: datetime) -> str:
    """Return the changes of the wanted state in words.

    If there are none, return the reason: already known, overruled, not yet effective, or no effect.
    """
    differences = _differences(before, after)
    if isinstance(event, Renamed) and (before is None or before.email != after.email):
        differences.insert(0, "address changed")
    if differences:
        return "; ".join(differences)
    if before is None:
        return f"noted; still not entitled ({after.spec.because})"
    newer = _newer(after, event)
    stands = f"a newer message of {_say(newer)} holds" if newer is not None else ""
    if before.facts == after.facts:
        return f"unchanged ({stands})" if stands and not _is_known(after, event) else "unchanged (known already)"
    if event.effective_at > now:
        return f"noted; takes effect on {_say(event.effective_at)}"
    return f"noted; {stands or 'the wanted state does not change'}"


def _differences(before: UserRecord | None, after: UserRecord) -> list[str]:
    was_present = before is not None and before.spec.presence is Presence.PRESENT
    is_present = after.spec.presence is Presence.PRESENT
    said: list[str] = []
    if is_present and not was_present:
        said.append(f"joined: profile {after.spec.profile}")
    elif was_present and not is_present:
        said.append(f"loses access: {after.spec.because}")
    elif before is not None and is_present and before.spec.profile != after.spec.profile:
        said.append(f"moved: profile {before.spec.profile} to {after.spec.profile}")
    if before is not None and before.cost_center != after.cost_center:
        said.append(f"cost centre {before.cost_center or 'none'} to {after.cost_center or 'none'}")
    return said


def _newer(after: UserRecord, event: LifecycleEvent) -> datetime | None:
    """Return the time of the newest statement that overrules a part of the event; None if no statement does."""
    if isinstance(event, Renamed):
        return None if after.email == event.new_user else after.email_since
    return max(
        (
            kept.occurred_at
            for name, statement in statements_of(event)
            for kept in after.facts.timelines.get(name, ())
            if kept.rank() > statement.rank()
        ),
        default=None,
    )


def _is_known(after: UserRecord, event: LifecycleEvent) -> bool:
    if isinstance(event, Renamed):
        return after.email == event.new_user
    return all(
        any(kept.is_same(statement) for kept in after.facts.timelines.get(name, ()))
        for name, statement in statements_of(event)
    )


def _say(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
