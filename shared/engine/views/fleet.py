"""The data of the manager's page: rows that are selected, sorted and counted from one snapshot of the fleet.

Pure, without reads.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

from msgspec import Struct, field

from shared.domain.fleet.fleet import FleetPoint, FleetSnapshot, Standing, needs_person, standing
from shared.domain.people.unknown_leaver import nearest_addresses
from shared.domain.record.record import Presence, RecordRow
from shared.domain.things.identity import UserEmail, UserKey, user_key_for
from shared.domain.things.power import NOTEBOOK
from shared.engine.views.words import access_words, exception_words, status_words

ANY_NEED = "any"
NO_VALUE = "-"  # the filter's value for rows without a profile or without a cost centre


class Column(StrEnum):
    """The columns by which the table of users can be sorted."""

    PERSON = "person"
    PROFILE = "profile"
    COST_CENTER = "cost-center"
    STATE = "state"
    SINCE = "since"
    HOURS = "hours"
    SPARK = "spark"
    NEEDS = "needs"
    ACCESS = "access"
    USED = "used"
    COST = "cost"
    UNTIL = "until"


class View(StrEnum):
    """A view of the table of users.

    The views are users with access, with a running notebook, without recent use, leavers, and exceptions.
    """

    ACCESS = "access"
    RUNNING = "running"
    UNUSED = "unused"
    LEAVERS = "leavers"
    EXCEPTIONS = "exceptions"


UNUSED_FOR = timedelta(days=60)


def _no_cost(_row: RecordRow) -> float | None:
    return None


class Extra(Struct, frozen=True, kw_only=True):
    """The figures that the rows themselves do not have: the last use, the cost of this month, and how long a leaver's data is kept."""

    last_used: Mapping[UserKey, datetime] = field(default_factory=dict)
    cost: Callable[[RecordRow], float | None] = _no_cost
    retention: timedelta | None = None

    def until(self, row: RecordRow) -> datetime | None:
        """Return the end of the user's access, or for a leaver the end of the data.

        Return None if there is no end, while the data is on hold, if the end is unknown, and if the data is gone.
        """
        if row.presence is Presence.PRESENT:
            return row.access_until
        if row.on_hold or row.absent_since is None or self.retention is None or standing(row) is Standing.GONE:
            return None
        return row.absent_since + self.retention


NO_EXTRA = Extra()


class Choice(Struct, frozen=True, kw_only=True):
    """A filter for users; an empty field matches all.

    `text` is searched in address, user key and instance. `state` is the value of a reason (`Creating`). `needs` is the
    value of a reason, or `ANY_NEED`. `profile` and `cost_center` may be `NO_VALUE`.
    """

    text: str = ""
    standing: Standing | None = None
    state: str = ""
    profile: str = ""
    cost_center: str = ""
    needs: str = ""
    presence: Presence | None = None
    view: View | None = None


def chosen(fleet: FleetSnapshot, choice: Choice, extra: Extra = NO_EXTRA) -> list[RecordRow]:
    """Return the rows that match the whole filter, in the snapshot's order."""
    tests = _tests(fleet, choice)
    if choice.view is not None:
        tests.append(in_view(choice.view, fleet.taken_at, extra))
    return [row for row in fleet.rows if all(test(row) for test in tests)]


def in_view(view: View, at: datetime, extra: Extra) -> Callable[[RecordRow], bool]:
    """Return the test for one view. A user whose last use is unknown does not count as unused."""
    long_ago = at - UNUSED_FOR

    def is_unused(row: RecordRow) -> bool:
        used = extra.last_used.get(row.user_key)
        return row.presence is Presence.PRESENT and used is not None and used < long_ago

    match view:
        case View.ACCESS:
            return lambda row: row.presence is Presence.PRESENT
        case View.RUNNING:
            return lambda row: standing(row) is Standing.RUNNING
        case View.UNUSED:
            return is_unused
        case View.LEAVERS:
            return lambda row: row.presence is Presence.ABSENT and row.absent_since is not None
        case View.EXCEPTIONS:
            return lambda row: bool(exception_words(row))
        case _:
            assert_never(view)


def _tests(fleet: FleetSnapshot, choice: Choice) -> list[Callable[[RecordRow], bool]]:
    """Return the tests for the fields that are set: over ten thousand rows, unused tests would cost as much as used ones."""
    tests: list[Callable[[RecordRow], bool]] = []
    if choice.presence is not None:
        tests.append(lambda row: row.presence is choice.presence)
    if choice.profile:
        profile = "" if choice.profile == NO_VALUE else choice.profile
        tests.append(lambda row: (row.profile or "") == profile)
    if choice.cost_center:
        center = "" if choice.cost_center == NO_VALUE else choice.cost_center
        tests.append(lambda row: row.cost_center == center)
    if choice.state:
        tests.append(lambda row: row.reason == choice.state)
    if choice.standing is not None:
        tests.append(lambda row: standing(row) is choice.standing)
    if choice.needs == ANY_NEED:
        tests.append(lambda row: needs_person(row, fleet.blind, fleet.taken_at) is not None)
    elif choice.needs:
        tests.append(lambda row: needs_person(row, fleet.blind, fleet.taken_at) == choice.needs)
    if choice.text:
        wanted = searched(choice.text)
        tests.append(lambda row: wanted in searched(f"{row.email} {row.user_key} {row.instance_id or ''}"))
    return tests


def folded(text: str) -> str:
    """Return the text in the form by which rows are sorted: without case, composed."""
    return text.casefold() if text.isascii() else unicodedata.normalize("NFC", text.casefold())


# Letters that Unicode does not decompose into a plain letter and a mark.
_PLAIN = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "\u0131": "i", "ŧ": "t", "þ": "th", "æ": "ae", "œ": "oe"}
)


def searched(text: str) -> str:
    """Return the text in the form that searches compare: without case and without marks, so `Ñandú` is found by `nandu`.

    Addresses and search words are folded in the same way, in any alphabet.
    """
    if text.isascii():
        return text.casefold()
    apart = unicodedata.normalize("NFKD", text.casefold())
    return "".join(each for each in apart if not unicodedata.combining(each)).casefold().translate(_PLAIN)


def ordered(
    fleet: FleetSnapshot,
    rows: Iterable[RecordRow],
    column: Column,
    *,
    descending: bool = False,
    extra: Extra = NO_EXTRA,
) -> list[RecordRow]:
    """Return the rows sorted by one column, rows without a value last in both directions; equal values are sorted by address."""
    value = _values(fleet, extra)[column]
    by_name = sorted(rows, key=_name)
    if column is Column.PERSON:
        return by_name[::-1] if descending else by_name
    known = [(found, row) for row in by_name if (found := value(row)) is not None]
    unknown = [row for row in by_name if value(row) is None]
    known.sort(key=lambda pair: pair[0], reverse=descending)
    return [row for _, row in known] + unknown


def _values(fleet: FleetSnapshot, extra: Extra) -> Mapping[Column, Callable[[RecordRow], str | float | None]]:
    at = fleet.taken_at
    return {
        Column.PERSON: _name,
        Column.PROFILE: lambda row: row.profile or None,
        Column.COST_CENTER: lambda row: row.cost_center or None,
        Column.STATE: lambda row: status_words(row.reason),
        Column.SINCE: lambda row: row.ready_since.timestamp() if row.ready_since is not None else None,
        Column.HOURS: lambda row: ran(row, at).total_seconds() or None,
        Column.SPARK: lambda row: len(row.clusters) or None,
        Column.NEEDS: lambda row: needs_person(row, fleet.blind, fleet.taken_at),
        Column.ACCESS: lambda row: folded(access_words(row)),
        Column.USED: lambda row: _stamp(extra.last_used.get(row.user_key)),
        Column.COST: extra.cost,
        Column.UNTIL: lambda row: _stamp(extra.until(row)),
    }


def _stamp(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def _name(row: RecordRow) -> str:
    return folded(row.email or row.user_key)


def ran(row: RecordRow, at: datetime) -> timedelta:
    """Return the running time of the user's notebook in the month of `at`, up to `at`."""
    usage = row.usage.get(NOTEBOOK)
    return usage.in_month_of(at) if usage is not None else timedelta(0)


class Need(Struct, frozen=True, kw_only=True):
    """A user who needs an administrator's attention, and why: the value of a reason, or `Blind`."""

    row: RecordRow
    why: str


def in_need(fleet: FleetSnapshot, why: str = "") -> list[Need]:
    """Return all users in need, or those for one reason, sorted by reason and address."""
    found = [
        Need(row=row, why=need)
        for row in fleet.rows
        if (need := needs_person(row, fleet.blind, fleet.taken_at)) is not None and why in {"", need}
    ]
    return sorted(found, key=lambda each: (each.why, _name(each.row)))


def point_days(points: Iterable[FleetPoint]) -> list[FleetPoint]:
    """Return the last count of each day (UTC), newest first, so that a table can show two months of hourly counts."""
    last = {point.at.date(): point for point in points}
    return [last[day] for day in sorted(last, reverse=True)]


class Offered(Struct, frozen=True, kw_only=True):
    """The values of each filter that occur in the snapshot."""

    states: tuple[str, ...]
    profiles: tuple[str, ...]
    cost_centers: tuple[str, ...]
    needs: tuple[str, ...]


def offered(fleet: FleetSnapshot) -> Offered:
    """Return the values of each filter that occur in the fleet, sorted."""
    return Offered(
        states=tuple(sorted({row.reason for row in fleet.rows})),
        profiles=tuple(sorted({row.profile or NO_VALUE for row in fleet.rows})),
        cost_centers=tuple(sorted({row.cost_center or NO_VALUE for row in fleet.rows})),
        needs=tuple(
            sorted(
                {need for row in fleet.rows if (need := needs_person(row, fleet.blind, fleet.taken_at)) is not None}
            ),
        ),
    )


def nearest_known(fleet: FleetSnapshot, rows: Iterable[RecordRow]) -> Mapping[UserKey, tuple[RecordRow, ...]]:
    """Return the known users with the nearest addresses, for each unknown leaver among `rows`."""
    unknown = [row for row in rows if row.unknown_since is not None]
    known = {row.email: row for row in fleet.rows if row.unknown_since is None and row.email} if unknown else {}
    return {row.user_key: tuple(known[near] for near in nearest_addresses(row.email, known)) for row in unknown}


def key_of_address(fleet: FleetSnapshot, address: str) -> UserKey | None:
    """Return the user key of the address's current holder; None if there is no holder. The key may come from an earlier address.

    If an account was deleted and made again, the deleted account's record keeps the address. The new account's record takes precedence.
    """
    own = user_key_for(UserEmail(address))
    holders = [row for row in fleet.rows if row.email == address]
    holders.sort(key=lambda row: (row.presence is not Presence.PRESENT, row.user_key == own))
    return holders[0].user_key if holders else None
