"""The rosters: complete lists of people, which reveal joiners and leavers whose message never arrived. Pure.

A subscriber cannot notice a lost message. So the members of the assigned groups, and HR's list of employees, are
read each hour and compared with the records. Only differences are stated, as facts of the source `roster`.

Presence in a roster is evidence. Absence is evidence only about a person whom the same roster has listed before, and only if the whole
roster was read: `refusal` says when a reading is not used at all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct, field

from shared.domain.people.entitlement import Cause
from shared.domain.record.record import Presence, RecordRow
from shared.domain.things.catalog import Catalog
from shared.domain.things.identity import UserEmail, UserKey

SMALLEST_PERCENT = 90  # of the last accepted roster, and of the largest one of a week
MOST_NEW, MOST_NEW_PERCENT = (
    100,
    10,
)  # people who would be given something: this many, or this share of all, whichever is more
WEEK = timedelta(days=7)
ALLOWED_FOR = timedelta(days=1)
STALE_AFTER = timedelta(days=2)  # HR's file: an export that stopped must not look like a roster that never changes


class RosterKind(StrEnum):
    """The kind of a roster. The value is the roster's name in objects, messages and metrics."""

    GROUPS = "groups"  # the members of the assigned Google groups, nested groups included
    EMPLOYEES = "employees"  # the file in which HR lists everybody who works here


class Refusal(StrEnum):
    """The reason why a reading is not used. The last accepted reading stays in use."""

    EMPTY = "Empty"
    SHRUNK = "Shrunk"
    MANY_GONE = "ManyGone"
    OLDER = "Older"
    STALE = "Stale"
    UNREADABLE = "Unreadable"
    FAULTY = "Faulty"
    CHANGED = "ChangedWhileRead"


class RosterOutcome(StrEnum):
    """The outcome of handling one difference. The value is the outcome's name in reports and metrics."""

    STATED = "stated"
    STILL_THERE = "still there"  # the roster did not list the person, and one more look found the person
    LEFT = "listed but left"  # HR's file lists a person of whom another source says that they left
    FAILED = "failed"  # tried again in an hour
    WAITS = "would be stated"  # of a reading that is refused, and of a dry run


class Reading(Struct, frozen=True, kw_only=True):
    """A roster as it was read. The roster describes the moment `as_of`, which is never later than the start of the read.

    `people` maps each person's address to the person's groups. In a roster of groups, these are groups that were read
    (`covers`). In a roster of employees, these are the groups that HR's file names, or None if the file has no groups.
    `numbers` are HR's person numbers. `others` counts service accounts and members from outside the organization. `version`
    identifies the file of employees; it is empty for a roster of groups.
    """

    kind: RosterKind
    as_of: datetime
    people: Mapping[UserEmail, tuple[str, ...] | None]
    covers: frozenset[str] = frozenset()
    numbers: Mapping[UserEmail, str] = field(default_factory=dict)
    others: int = 0
    version: str = ""


class Peak(Struct, frozen=True):
    """The largest number of people that a roster listed on a day."""

    day: str
    count: int


class RosterState(Struct, frozen=True, kw_only=True):
    """The state of a roster: the time of the last accepted reading, and all users with a record whom the roster has listed.

    `known` maps a person's key to the groups that were listed last, as positions in `groups`. The tuple is empty for a person
    who was listed earlier and is not listed now. `count` and `version` belong to the last accepted reading. `peaks` are the
    largest counts of recent days.
    """

    as_of: datetime | None = None
    count: int = 0
    version: str = ""
    peaks: tuple[Peak, ...] = ()
    groups: tuple[str, ...] = ()
    known: Mapping[UserKey, tuple[int, ...]] = field(default_factory=dict)

    def known_groups(self, key: UserKey) -> frozenset[str] | None:
        """Return the groups in which the person was listed last; None if this roster never listed the person."""
        known = self.known.get(key)
        return None if known is None else frozenset(self.groups[place] for place in known)

    def smallest(self, now: datetime) -> int:
        """Return the smallest number of people with which a reading is accepted at `now` without an operator.

        The number is nine tenths of the largest count of the last week, rounded up. It is lower than that count in any case,
        so that one missing person is not too many, even in a team of five.
        """
        since = (now - WEEK).date().isoformat()
        highest = max([self.count, *(peak.count for peak in self.peaks if peak.day >= since)])
        return min(-(-highest * SMALLEST_PERCENT // 100), max(highest - 1, 0))


class Allowed(Struct, frozen=True, kw_only=True):
    """An operator's statement that a roster with about `people` people is right, although many people are missing from it."""

    people: int
    by: str
    at: datetime

    def covers(self, reading: Reading, now: datetime) -> bool:
        """Return True if the reading's size is within one per cent of the stated size, and the statement is less than a day old."""
        return abs(len(reading.people) - self.people) * 100 <= self.people and self.at <= now < self.at + ALLOWED_FOR


def refusal(reading: Reading, state: RosterState, now: datetime, allowed: Allowed | None = None) -> Refusal | None:
    """Return the reason why the whole reading must not be used; None if the reading may be used.

    The function finds the reasons `EMPTY`, `OLDER`, `STALE` and `SHRUNK`; the caller finds the others. The caller uses
    `MANY_GONE` if HR's file would cut more people than the guard allows in an hour: such a file is probably wrong, and no
    other source can confirm it. For groups, the directory is queried about each person once more.
    """
    if not reading.people:
        return Refusal.EMPTY
    if state.as_of is not None and reading.as_of < state.as_of:
        return Refusal.OLDER
    if now - reading.as_of > STALE_AFTER:
        return Refusal.STALE
    if len(reading.people) < state.smallest(now) and not (allowed is not None and allowed.covers(reading, now)):
        return Refusal.SHRUNK
    return None


class Difference(Struct, frozen=True, kw_only=True):
    """A person about whom roster and record may differ; the record itself decides.

    `listed` are the groups of the reading; None if the reading does not list the person. `before` are the groups of the
    last listing; None if this roster never listed the person, so that absence proves nothing.
    """

    user_key: UserKey | None
    email: UserEmail
    listed: tuple[str, ...] | None
    before: frozenset[str] | None


def differences(
    reading: Reading,
    state: RosterState,
    rows: Iterator[RecordRow],
    catalog: Catalog,
    keys: dict[UserEmail, UserKey],
) -> Iterator[Difference]:
    """Yield a difference for each person about whom a fact may have to be stated, from the rows of all records.

    No record is read. A person whose row agrees with the roster is skipped. The function fills `keys` with the address and
    the key of every user who has a record.
    """
    unseen = set(reading.people)
    for row in rows:
        email = UserEmail(row.email)
        if email:
            keys[email] = row.user_key
        is_listed = email in unseen
        unseen.discard(email)
        before = state.known_groups(row.user_key)
        if not email or (not is_listed and before is None):
            continue  # an erased record has no address; the roster does not know others
        listed = reading.people[email] if is_listed else None
        named = None if not is_listed else (listed or ())
        if _may_differ(row, named, before, reading, catalog):
            yield Difference(user_key=row.user_key, email=email, listed=named, before=before)
    for email in sorted(unseen):
        named = reading.people[email] or ()
        if reading.kind is RosterKind.EMPLOYEES or any(catalog.assignment_for(group) is not None for group in named):
            yield Difference(user_key=None, email=email, listed=named, before=None)


# Ends of access about which a membership says nothing: the groups count again once the end is taken back.
_BY_GROUP = frozenset({Cause.GROUP, Cause.NO_GROUP, Cause.UNKNOWN})


def _may_differ(
    row: RecordRow, listed: tuple[str, ...] | None, before: frozenset[str] | None, reading: Reading, catalog: Catalog
) -> bool:
    if reading.kind is RosterKind.EMPLOYEES:
        if listed is None:
            return row.cause is not Cause.LEFT
        return row.cause is Cause.LEFT or (before is not None and before != frozenset(listed))
    if before is not None and before != frozenset(listed or ()):
        return True
    if row.cause not in _BY_GROUP:
        return False
    best = best_group(listed or (), catalog)
    if row.presence is Presence.PRESENT and row.entitled_by and row.entitled_by not in reading.covers:
        return False  # a group that this roster did not read
    return (row.entitled_by if row.presence is Presence.PRESENT else "") != best


def best_group(groups: tuple[str, ...], catalog: Catalog) -> str:
    """Return the group that entitles a member of these groups, by the rule of `judge_entitlement`; "" if no group entitles."""
    entitling = [found for group in groups if (found := catalog.assignment_for(group)) is not None]
    return min(entitling, key=lambda a: (-a.priority, a.group)).group if entitling else ""


def accepted(
    reading: Reading, state: RosterState, now: datetime, undone: Collection[UserKey], keys: Mapping[UserEmail, UserKey]
) -> RosterState:
    """Return the state after an accepted reading. `keys` has the key of every user who has a record.

    A user in `undone` (the difference was not stated yet, or was not confirmed) is remembered as before, so that the next
    reading finds the same difference. A person without a record is not remembered, because there is no access to end.
    """
    groups = tuple(sorted(reading.covers | {g for found in reading.people.values() for g in found or ()}))
    place = {group: number for number, group in enumerate(groups)}
    known: dict[UserKey, tuple[int, ...]] = {}
    for email, key in keys.items():
        if key in undone:
            kept = state.known_groups(key)
            if kept is not None:
                known[key] = tuple(sorted(place[group] for group in kept if group in place))
            continue
        if email in reading.people:
            known[key] = tuple(sorted(place[group] for group in reading.people[email] or ()))
        elif key in state.known:
            known[key] = ()
    day, count = now.date().isoformat(), len(reading.people)
    earlier = {peak.day: peak.count for peak in state.peaks if peak.day >= (now - WEEK).date().isoformat()}
    earlier[day] = max(count, earlier.get(day, 0))
    return RosterState(
        as_of=reading.as_of,
        count=count,
        version=reading.version,
        peaks=tuple(Peak(each, earlier[each]) for each in sorted(earlier)),
        groups=groups,
        known=known,
    )
