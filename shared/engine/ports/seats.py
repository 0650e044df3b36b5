"""The port of the seats: the users who count under a group's limit, and those who wait for a place."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from shared.domain.fleet.budgets import Spending
from shared.domain.things.identity import UserKey


class Seat(Struct, frozen=True, kw_only=True):
    """A seat that was taken at least once. `holder` is empty while it is free, `at` is Cloud Storage's own time of the last change.

    `generation` is that of the object; the next change must name it.
    """

    number: int
    holder: UserKey
    at: datetime
    generation: int


class SeatWaiter(Struct, frozen=True, kw_only=True):
    """A user who waits for a seat since `since` and last tried to take one at `at`."""

    holder: UserKey
    since: datetime
    at: datetime


class Seats(Struct, frozen=True, kw_only=True):
    """The seats of a limited group and its waiting users, by one listing.

    `counted` are the marks of `SeatStore.note_counted`: all members who had an environment have a seat.
    """

    seats: tuple[Seat, ...] = ()
    waiters: tuple[SeatWaiter, ...] = ()
    counted: frozenset[str] = frozenset()

    @property
    def held(self) -> tuple[Seat, ...]:
        """The seats that have a holder."""
        return tuple(seat for seat in self.seats if seat.holder)

    def of(self, holder: UserKey) -> Seat | None:
        """Return the user's seat; None if the user has none."""
        return next((seat for seat in self.held if seat.holder == holder), None)


class SeatStore(Protocol):
    """The stored seats. Groups are named by their addresses. Every method may raise `BenchkeeperError`, and nothing else on purpose."""

    def look(self, group: str) -> Seats:
        """Return the seats of a group and its waiting users, by one listing."""

    def take(self, group: str, number: int, holder: UserKey, *, expected: Seat | None) -> int | None:
        """Give the seat to a user if it is as `expected` (None: it was never taken), and return the seat's new generation.

        Return None if another process was quicker.
        """

    def free(self, group: str, seat: Seat) -> None:
        """Free the seat if it is as it was read. The object stays, so that no later claim can mistake it for an earlier state."""

    def note_counted(self, group: str, mark: str) -> None:
        """Store that all members who had an environment when the group became limited have a seat. Idempotent."""

    def wait(self, group: str, waiter: SeatWaiter) -> None:
        """Note that a user waits; it replaces the user's earlier note."""

    def wait_no_more(self, group: str, holder: UserKey) -> None:
        """Remove the user's note; a missing note is not an error."""

    def spending(self, group: str) -> Spending | None:
        """Return the cost of a group's people by the last sweep; None before the first sweep. Cached for a minute."""

    def note_spending(self, group: str, spending: Spending) -> None:
        """Store the cost of a group's people; the last write wins, because each counts all people."""

    def all(self, groups: tuple[str, ...]) -> Iterator[tuple[str, Seats]]:
        """Yield (group, its seats) for each of these groups, by one listing in all."""
