"""The seats of limited groups (the policy limits how many members get an environment), and the monthly limits of groups.

A seat is an object with a fixed name. Every claim takes the lowest free number, and names the generation that was read. A
seat that is given back stays as an object without a holder. So a claim succeeds only if no other claim did since the
listing. Even if many processes claim at the same time, or a process dies, no more seats are given than there is room for. A
repeated claim finds its own seat. A user who already has an environment always takes a seat, even beyond the limit: no user
loses an environment because of a limit.

Once a monthly limit is used up, nothing new is created or started for the group's people until the next month. Running
environments are not stopped. Each sweep that lists all people stores the present cost of each group, by which starts are
judged. So the limit may be exceeded by the costs between two sweeps. While the sum of a limit cannot be read, the limit
does not apply.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta

from msgspec import Struct

from shared.domain.fleet.spent import Spending
from shared.domain.intent.wanted import LOOKS_WITHIN
from shared.domain.intent.wish import Asked, WishKind
from shared.domain.record.cuts import SeatWait
from shared.domain.record.record import Presence, RecordRow, UserRecord
from shared.domain.things.errors import BenchkeeperError, ConflictError, RefusedError
from shared.domain.things.identity import UserKey
from shared.engine.ports.deps import Deps
from shared.engine.ports.guard import Seat, Seats, SeatWaiter
from shared.engine.ports.records import ListedRow

_STARTS = frozenset({WishKind.START, WishKind.START_CLUSTER})


def used_up(record: UserRecord, deps: Deps, now: datetime) -> tuple[str, ...]:
    """Return the groups of the user whose limit of this month is used up. Makes no call for a group without a limit.

    A group whose cost cannot be read is logged and left out.
    """
    found = []
    for group in record.spec.paid_by:
        limit = deps.policy.catalog.budget_of(group)
        try:
            spending = deps.seats.spending(group) if limit is not None else None
        except BenchkeeperError as error:
            deps.log.warning("Spending could not be read", reason=error.reason.value, detail=error.detail)
            continue
        if limit is not None and spending is not None and spending.is_used_up(limit, now):
            found.append(group)
    return tuple(found)


def check_budget(record: UserRecord, asked: Asked, deps: Deps, now: datetime) -> None:
    """Raise `RefusedError` for a request to start a notebook or Spark cluster, if a group of the user has reached its monthly limit."""
    groups = used_up(record, deps, now) if asked.kind in _STARTS else ()
    if groups:
        raise RefusedError(
            user_message=f"The monthly budget of {groups[0]} is used up. You can start again next month, or when it is raised.",
            detail=f"{len(groups)} monthly limits are used up",
        )


def keep_spending(found: dict[str, Spending], deps: Deps) -> None:
    """Store the cost of each group, and log once when 80 % or all of a limit is reached."""
    for number, (group, spending) in enumerate(found.items()):
        limit = deps.policy.catalog.budget_of(group)
        try:
            before = deps.seats.spending(group)
            deps.seats.note_spending(group, spending)
        except BenchkeeperError as error:
            deps.log.warning("Spending was not saved", reason=error.reason.value, detail=error.detail)
            continue
        if limit is None:
            continue
        known = before if before is not None and before.month == spending.month else None
        facts = {"assignment": number, "share": round(float(spending.spent) / limit, 3) if limit else 1.0}
        if spending.is_used_up(limit, spending.at) and (known is None or not known.is_used_up(limit, spending.at)):
            deps.log.warning("Budget was used up", **facts)
        elif spending.is_near(limit) and (known is None or not known.is_near(limit)):
            deps.log.warning("Budget was nearly used up", **facts)


_ROUNDS = 200  # in each of them another process changed a seat
_STILL_WAITS = 4 * LOOKS_WITHIN  # a note that was not renewed for so long is of a user who no longer waits
_YOUNG = timedelta(hours=1)  # a seat is taken before the record says so; longer than any pass


def with_seats(record: UserRecord, deps: Deps, now: datetime, *, claims: bool = True) -> UserRecord:
    """Return the record with the seats that the user has now, and with the limits for which the user waits, if any.

    No seat is read if the user has all seats. Without `claims`, for a preview, nothing is claimed. If the seats cannot be
    read, a user without an environment waits, and the record of any other user is unchanged.
    """
    held = tuple(group for group in record.status.guard.seats if group in record.spec.limited_by)
    missing = record.missing_seats
    full: tuple[str, ...] | None = ()
    spent = used_up(record, deps, now) if record.spec.paid_by and record.asks_for_seats else ()
    try:
        if missing and record.asks_for_seats:
            full = _full(record, missing, deps, now, claims=claims)
        elif claims:
            for group in missing:
                _take(group, record.user_key, deps)
    except BenchkeeperError as error:
        deps.log.error(
            "Seats could not be read or claimed", user=record.user_key, reason=error.reason.value, detail=error.detail
        )
        if not record.asks_for_seats:
            return record  # the environment stays as it is, and the seat is taken at the next look
        full = None
    if full == ():
        held = (*held, *missing)
        if not spent:
            return _with(record, held, wait=None)
    known = record.status.guard.seat_wait
    if known is None and claims:
        limit = "cost" if spent else "environments"
        deps.log.warning(
            "Held back a user at a limit", user=record.user_key, profile=record.spec.profile or "", limit=limit
        )
    since = now if known is None else known.since
    groups = missing if full is None else full
    wait = SeatWait(groups=groups, since=since, is_full=full is not None, spent=spent)
    return _with(record, held, wait=wait)


def _with(record: UserRecord, seats: tuple[str, ...], *, wait: SeatWait | None) -> UserRecord:
    known = record.status.guard
    asks = known.asks_seat and wait is not None
    seats = tuple(sorted(seats))
    if (known.seats, known.asks_seat, known.seat_wait) == (seats, asks, wait):
        return record
    return record.with_status(seats=seats, asks_seat=asks, seat_wait=wait)


def _full(
    record: UserRecord, groups: Iterable[str], deps: Deps, now: datetime, *, claims: bool
) -> tuple[str, ...] | None:
    """Claim a seat of each group, or none at all if a group is full. Return the groups that are full for this user; None if unknown."""
    asks = _Asking(record, deps, now)
    seen = {group: deps.seats.look(group) for group in groups}
    if not all(asks.is_counted(group, seats, claims=claims) for group, seats in seen.items()):
        if claims:
            asks.wait(seen)
        return None
    full = [group for group, seats in seen.items() if not asks.has_room(group, seats)]
    if not claims:
        return tuple(full)
    got: list[tuple[str, Seat]] = []
    for group, seats in () if full else seen.items():
        seat = asks.claimed(group, seats)
        if seat is None:
            full.append(group)
            break
        got.append((group, seat))
    if full:  # a user who waits for another seat keeps none
        for group, seat in got:
            deps.seats.free(group, seat)
    asks.wait(full)
    return tuple(full)


class _Asking(Struct, frozen=True):
    """The request of one user for seats, at one moment."""

    record: UserRecord
    deps: Deps
    now: datetime

    @property
    def key(self) -> UserKey:
        """The user's key."""
        return self.record.user_key

    @property
    def since(self) -> datetime:
        """The time since which the user waits."""
        wait = self.record.status.guard.seat_wait
        return self.now if wait is None else wait.since

    def is_counted(self, group: str, seats: Seats, *, claims: bool) -> bool:
        """Return True if all members who had an environment when the limit was set have a seat. Each of them gets a seat in the next pass.

        Until that is the case, each call lists the rows of all records. Then a mark is stored, so that later calls for the
        same set of limited groups list nothing.
        """
        policy = self.deps.policy
        mark = hashlib.sha256(" ".join(sorted(each.group for each in policy.catalog.limited)).encode()).hexdigest()[:16]
        if mark in seats.counted:
            return True
        entitling = policy.entitling_digest()
        for found in self.deps.records.listed():
            if not isinstance(found, ListedRow) or found.row.presence is Presence.ABSENT:
                continue
            row = found.row
            if row.limits.is_due or (row.entitling_digest != entitling and row.user_key != self.key):
                return False
        if claims:
            self.deps.seats.note_counted(group, mark)
        return True

    def has_room(self, group: str, seats: Seats) -> bool:
        """Return True if the user may have a seat: there are more free seats than users who waited before this user.

        A user who has a seat always may; so may each user of a group without a limit.
        """
        room = self.deps.policy.catalog.room_of(group)
        if room is None or seats.of(self.key) is not None:
            return True
        seated = {seat.holder for seat in seats.held} | {self.key}
        before = [
            each
            for each in seats.waiters
            if each.holder not in seated
            and self.now - each.at < _STILL_WAITS
            and (each.since, each.holder) < (self.since, self.key)
        ]
        return room - len(seats.held) > len(before)

    def wait(self, groups: Iterable[str]) -> None:
        """Note that the user waits, so that no later user is served first."""
        for group in groups:
            self.deps.seats.wait(group, SeatWaiter(holder=self.key, since=self.since, at=self.now))

    def claimed(self, group: str, seats: Seats) -> Seat | None:
        """Claim a seat and return it; None if there is no room. Raise an error if other processes keep taking seats."""
        for _ in range(_ROUNDS):
            if not self.has_room(group, seats):
                return None
            seat = _taken(group, seats, self.key, self.deps)
            if seat is not None:
                return seat
            seats = self.deps.seats.look(group)
        raise _crowded(self.key)


def _take(group: str, key: UserKey, deps: Deps) -> None:
    """Take a seat for a user who has an environment, even if there is no room. Raise an error if other processes keep taking seats."""
    for _ in range(_ROUNDS):
        if _taken(group, deps.seats.look(group), key, deps) is not None:
            return
    raise _crowded(key)


def _taken(group: str, seats: Seats, key: UserKey, deps: Deps) -> Seat | None:
    """Take the user's own seat again, so that no sweep frees it as outdated, or else take the lowest free seat.

    Return None if another process was quicker.
    """
    known = {seat.number: seat for seat in seats.seats}
    own = seats.of(key)
    number = (
        own.number
        if own is not None
        else next(n for n in range(len(known) + 1) if n not in known or not known[n].holder)
    )
    generation = deps.seats.take(group, number, key, expected=known.get(number))
    if generation is None:
        return None
    return Seat(number=number, holder=key, at=deps.clock.now(), generation=generation)


def _crowded(key: UserKey) -> ConflictError:
    return ConflictError(
        user_message="Many people of this group are joining at the same time, so no place was reserved yet; Benchkeeper tries again.",
        detail=f"the seats changed under every claim of {key}",
    )


def give_back(before: UserRecord, after: UserRecord, deps: Deps) -> None:
    """Give back the seats and remove the notes that the saved record no longer names. After a failure, the hourly sweep does the rest."""
    waited = before.status.guard.seat_wait.groups if before.status.guard.seat_wait is not None else ()
    waits = after.status.guard.seat_wait.groups if after.status.guard.seat_wait is not None else ()
    key = before.user_key
    try:
        for group in sorted(set(before.status.guard.seats) - set(after.status.guard.seats)):
            own = deps.seats.look(group).of(key)
            if own is not None:
                deps.seats.free(group, own)
        for group in sorted(set(waited) - set(waits)):
            deps.seats.wait_no_more(group, key)
    except BenchkeeperError as error:
        deps.log.warning("Seats were not given back", user=key, reason=error.reason.value, detail=error.detail)


class SeatKeeper:
    """The hourly comparison of all seats with all records. The seats are listed first, the rows of the records come after."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        groups = tuple(each.group for each in deps.policy.catalog.limited)
        self._seats: Mapping[str, Seats] = {}
        self._holders: dict[UserKey, frozenset[str]] = {}
        self._waits: dict[UserKey, frozenset[str]] = {}
        if not groups:
            return
        try:
            self._seats = dict(deps.seats.all(groups))
        except BenchkeeperError as error:
            deps.log.warning("Seats could not be listed", reason=error.reason.value, detail=error.detail)

    def add(self, row: RecordRow) -> None:
        """Collect the seats that a record names, and those for which it waits."""
        if row.limits.seats:
            self._holders[row.user_key] = frozenset(row.limits.seats)
        if row.limits.wait is not None:
            self._waits[row.user_key] = frozenset(row.limits.wait.groups)

    def keep(self, now: datetime, rowless: Collection[UserKey]) -> None:
        """Free the seats that no record names, claim a seat for each record that names one it does not hold, and remove stale notes.

        A seat or note of the last hour stays, because it is stored before the record says so. The seats of `rowless` stay,
        because the listing had no rows of these users. An error of one group is logged.
        """
        unknown = frozenset(rowless)
        for group, seats in self._seats.items():
            try:
                self._keep(group, seats, now, unknown)
            except BenchkeeperError as error:
                self._deps.log.warning("Seats were not saved", reason=error.reason.value, detail=error.detail)

    def _keep(self, group: str, seats: Seats, now: datetime, unknown: frozenset[UserKey]) -> None:
        nobody: frozenset[str] = frozenset()
        store, taken = self._deps.seats, {seat.holder for seat in seats.held}
        for seat in seats.held:
            is_named = group in self._holders.get(seat.holder, nobody) or seat.holder in unknown
            if not is_named and now - seat.at >= _YOUNG:
                store.free(group, seat)
                self._deps.log.info("Freed a seat", user=seat.holder)
        for key, held in self._holders.items():
            if group in held and key not in taken:
                _take(group, key, self._deps)
                self._deps.log.info("Claimed a missing seat", user=key)
        for waiter in seats.waiters:
            if group not in self._waits.get(waiter.holder, nobody) and now - waiter.at >= _YOUNG:
                store.wait_no_more(group, waiter.holder)
