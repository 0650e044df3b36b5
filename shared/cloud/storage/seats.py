"""The adapter to the seats of limited groups in the bucket of records.

`guard/limits/<digest of the group>/seats/<number>` empty; metadata names the holder, if there is one
`guard/limits/<digest of the group>/waiting/<user_key>` empty; metadata says since when the user waits
`guard/limits/<digest of the group>/counted/<mark>` empty; all users who had an environment have been given a seat
`guard/limits/<digest of the group>/spending` empty; metadata has the group's cost this month
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from fractions import Fraction
from itertools import groupby
from typing import TYPE_CHECKING

from shared.cloud.http.clients import Clients
from shared.cloud.http.objects import Listed
from shared.domain.fleet.budgets import Spending
from shared.domain.things.identity import UserKey
from shared.engine.ports.seats import Seat, Seats, SeatWaiter

if TYPE_CHECKING:
    from shared.engine.ports.runtime import Clock

_KEEP_S = 60.0
_FOLDER = "guard/limits/"
_NAME = re.compile(r"guard/limits/(?P<group>[0-9a-f]{16})/(?P<kind>seats|waiting|counted)/(?P<name>[^/]+)")
_FIELDS = "name,generation,timeCreated,metadata"
_EMPTY = "application/octet-stream"


class StorageSeats:
    """The adapter of the port `SeatStore` over Cloud Storage."""

    def __init__(self, clients: Clients, *, clock: Clock) -> None:
        self._clients = clients
        self._clock = clock
        self._spending: dict[str, tuple[float, Spending | None]] = {}

    def look(self, group: str) -> Seats:
        """Return the seats by one listing; an object that is neither a seat nor a waiting user is left out."""
        return _seats(self._objects(f"{_FOLDER}{_digest(group)}/"))

    def all(self, groups: tuple[str, ...]) -> Iterator[tuple[str, Seats]]:
        """Yield the seats by one listing of all groups."""
        listed = self._objects(_FOLDER)
        found = {key: _seats(each) for key, each in groupby(listed, lambda one: one.name.split("/")[2])}
        yield from ((group, found.get(_digest(group), Seats())) for group in groups)

    def take(self, group: str, number: int, holder: UserKey, *, expected: Seat | None) -> int | None:
        """Take the seat by one conditional write."""
        return self._write(group, number, holder, 0 if expected is None else expected.generation)

    def free(self, group: str, seat: Seat) -> None:
        """Free the seat by one conditional write."""
        self._write(group, seat.number, UserKey(""), seat.generation)

    def _write(self, group: str, number: int, holder: UserKey, expected: int) -> int | None:
        return self._clients.bucket().write(
            f"{_FOLDER}{_digest(group)}/seats/{number:06}",
            b"",
            content_type=_EMPTY,
            metadata={"holder": holder},
            expected=expected,
            what=f"change a seat of {holder or 'nobody'}",
        )

    def note_counted(self, group: str, mark: str) -> None:
        """Write the mark by one call."""
        self._clients.bucket().write(
            f"{_FOLDER}{_digest(group)}/counted/{mark}", b"", content_type=_EMPTY, what="note that seats were counted"
        )

    def spending(self, group: str) -> Spending | None:
        """Return the sum by one read of its object's metadata, cached for a minute.

        Return None for a damaged one, which the next sweep replaces.
        """
        now, known = self._clock.monotonic_s(), self._spending.get(group)
        if known is not None and now - known[0] < _KEEP_S:
            return known[1]
        listed = self._clients.bucket().look(f"{_FOLDER}{_digest(group)}/spending", what="look at what a group cost")
        found = None if listed is None else _read_spending(listed.metadata)
        self._spending[group] = now, found
        return found

    def note_spending(self, group: str, spending: Spending) -> None:
        """Write the sum by one call."""
        self._clients.bucket().write(
            f"{_FOLDER}{_digest(group)}/spending",
            b"",
            content_type=_EMPTY,
            metadata={
                "month": spending.month,
                "at": spending.at.isoformat(),
                "spent": str(spending.spent),
                "hourly": str(spending.hourly),
            },
            what="note what a group cost",
        )
        self._spending[group] = self._clock.monotonic_s(), spending

    def wait(self, group: str, waiter: SeatWaiter) -> None:
        """Write the note by one call."""
        self._clients.bucket().write(
            f"{_FOLDER}{_digest(group)}/waiting/{waiter.holder}",
            b"",
            content_type=_EMPTY,
            metadata={"since": waiter.since.isoformat()},
            what=f"note that {waiter.holder} waits for a seat",
        )

    def wait_no_more(self, group: str, holder: UserKey) -> None:
        """Delete the note by one call."""
        self._clients.bucket().delete(
            f"{_FOLDER}{_digest(group)}/waiting/{holder}", what=f"forget that {holder} waits for a seat"
        )

    def _objects(self, prefix: str) -> Iterator[Listed]:
        return self._clients.bucket().objects(prefix=prefix, fields=_FIELDS, what="list seats")


def _digest(group: str) -> str:
    return hashlib.sha256(group.encode()).hexdigest()[:16]


def _seats(listed: Iterable[Listed]) -> Seats:
    seats, waiters, counted = [], [], set()
    for each in listed:
        match = _NAME.fullmatch(each.name)
        if match is None or each.created_at is None:
            continue
        if match["kind"] == "seats" and match["name"].isdecimal():
            holder = UserKey(each.metadata.get("holder", ""))
            seats.append(Seat(number=int(match["name"]), holder=holder, at=each.created_at, generation=each.generation))
        elif match["kind"] == "waiting":
            since = _time(each.metadata.get("since", "")) or each.created_at
            waiters.append(SeatWaiter(holder=UserKey(match["name"]), since=since, at=each.created_at))
        elif match["kind"] == "counted":
            counted.add(match["name"])
    return Seats(seats=tuple(seats), waiters=tuple(waiters), counted=frozenset(counted))


def _read_spending(raw: Mapping[str, str]) -> Spending | None:
    try:
        at = datetime.fromisoformat(raw["at"])
        return Spending(month=raw["month"], at=at, spent=Fraction(raw["spent"]), hourly=Fraction(raw["hourly"]))
    except (KeyError, ValueError, ZeroDivisionError):
        return None


def _time(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None
