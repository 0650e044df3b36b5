"""Ports of the guard against mass changes (slots, the policy in force, decisions made on the page), and of seats.

The port of the seats names the users who count under a group's limit, and those who wait for a place. A method of a
port may raise `RetryableError` or `PermanentError` (`shared.domain.things.errors`); any other exception is a bug.
Adapters in `shared.cloud` implement the ports; tests have their own fakes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct, field

from shared.domain.intent.decision import ShownDecision, Verdict
from shared.domain.record.cuts import CutClass
from shared.domain.things.identity import UserKey

if TYPE_CHECKING:
    from shared.domain.fleet.spent import Spending
    from shared.domain.intent.batches import WaitingPerson
    from shared.domain.intent.decision import Decision
    from shared.domain.plan.plan import Policy
    from shared.domain.policy.policy_change import Approved, Noted, PolicyInForce, Proposal


class WaitingDecision(Struct, frozen=True, kw_only=True):
    """A stored decision that is not yet carried out, as a listing shows it.

    `created_at` is its object's creation time by Cloud Storage's clock. `place` locates the object for the adapter.
    `shown` is the page's note beside the decision, for display only: it is not verified, so no decision depends on it.
    """

    created_at: datetime
    size: int
    place: str
    shown: ShownDecision | None = None


class Slot(Struct, frozen=True, kw_only=True):
    """A claimed slot. `window` and `number` make its name, and `holder` is the user who claimed it.

    `at` is the time of the claim by Cloud Storage's clock. `generation` is that of the object; the next claim of this slot
    must name it.
    """

    window: str
    number: int
    holder: UserKey
    at: datetime
    generation: int


class GivenVote(Struct, frozen=True, kw_only=True):
    """A decision that counted: the key of the deciding user, the verdict, and the creation time of the decision's object."""

    by: str
    verdict: Verdict
    at: datetime


class DecidedList(Struct, frozen=True, kw_only=True):
    """A list that was decided, as pages show it. `verdict` was written to the records; `at` is the time of its oldest vote. `cause` and `source` are stored because they cannot be derived from the digest."""

    digest: str
    verdict: Verdict
    at: datetime
    cause: CutClass
    source: str
    votes: tuple[GivenVote, ...]


class FleetSizes(Struct, frozen=True, kw_only=True):
    """The numbers of users who are entitled to an environment: in total, by profile, and by the group that entitles them."""

    everybody: int = 0
    profiles: Mapping[str, int] = field(default_factory=dict)
    groups: Mapping[str, int] = field(default_factory=dict)


class Guard(Protocol):
    """The store of the guard's state: slots (a limited number per window), users who wait, decided lists, and the size of the fleet."""

    def slots(self, source: str) -> tuple[Slot, ...]:
        """Return the slots claimed for statements of this source, by one listing. Expired slots are included until `free` removes them."""

    def slot(self, source: str, window: str, number: int) -> Slot | None:
        """Return the slot with this name; None if it was never claimed or was removed."""

    def claim(self, source: str, window: str, number: int, holder: UserKey, *, expected: Slot | None) -> bool:
        """Claim a free slot (`expected` is None) or replace an expired one. Return False if another process was quicker."""

    def all_slots(self) -> Iterator[tuple[str, Slot]]:
        """Yield the slots of all sources, each with the source's folder, by one listing."""

    def free(self, source: str, slot: Slot) -> None:
        """Remove an expired slot; a slot that was claimed again meanwhile stays."""

    def sizes(self) -> FleetSizes | None:
        """Return the sizes from the last sweep; None before the first sweep or if they are damaged. Cached for minutes."""

    def write_sizes(self, sizes: FleetSizes) -> None:
        """Store the sizes."""

    def note_waiting(self, waiting: WaitingPerson) -> None:
        """Store the user's entry, so that `waiting` finds it."""

    def forget_waiting(self, user_key: UserKey, *, idle: bool = False) -> None:
        """Remove the entry of a waiting cut or, with `idle`, of a waiting idle stop; a missing entry is not an error."""

    def waiting(self) -> Iterator[WaitingPerson]:
        """Yield the entries of all waiting users, by one listing."""

    def note_decided(self, decided: DecidedList) -> None:
        """Store that a list was decided, and remove notes that are too old to be shown. Idempotent."""

    def decided(self, *, since: datetime) -> tuple[DecidedList, ...]:
        """Return the lists decided since that time, the oldest first, by one listing."""


class Policies(Protocol):
    """The store of the policy in force and of proposed policies: objects below `policy/` (`shared.domain.policy.policy_change`)."""

    def in_force(self, own: Policy) -> Policy:
        """Return the policy to judge by: `own` with its content replaced by the content in force, or `own` if no policy is in force yet.

        A pass calls this many times; the policy is read at most once a minute.
        """

    def load(self) -> PolicyInForce | None:
        """Read the policy in force now; return None if there never was one."""

    def put(self, policy: PolicyInForce, *, expected: PolicyInForce | None) -> PolicyInForce:
        """Store `policy` as the policy in force and return it as stored. `expected` is the policy in force as it was read; None if there was none.

        Raise `ConflictError` if another policy came into force since.
        """

    def proposals(self) -> tuple[Proposal, ...]:
        """Return the proposals that are not in force, oldest first."""

    def proposal(self, digest: str) -> Proposal | None:
        """Return the proposal with that digest; None if there is none."""

    def propose(self, proposal: Proposal) -> None:
        """Store a proposal; it replaces an earlier one with the same digest."""

    def withdraw(self, digest: str) -> None:
        """Remove a proposal; a missing one is not an error."""

    def approved(self, digest: str) -> Approved | None:
        """Return the approved list for the policy with that digest; None if no list was approved."""

    def approve(self, approved: Approved) -> None:
        """Store the approved list; it replaces an earlier one."""

    def rejected(self, digest: str) -> Noted | None:
        """Return the note of the account that rejected the policy with that digest; None if the policy was not rejected."""

    def reject(self, noted: Noted) -> None:
        """Store the note of a rejection."""

    def deployed(self, digest: str) -> Noted | None:
        """Return the note of the last deployment of files with that digest; None if there is no note."""

    def note_deployed(self, noted: Noted) -> None:
        """Store the note of a deployment."""


class Decisions(Protocol):
    """The store of decisions about many users, which are made on the page.

    The page may create and read decisions; only the process that carries out a decision may remove it.
    """

    def put(self, decision: Decision, *, by: str = "") -> None:
        """Create the decision's object. Idempotent: an existing object is never overwritten. `by` is stored with the decision, for display only."""

    def put_list(self, content: bytes) -> str:
        """Store a frozen list, and return its digest. Idempotent."""

    def waiting(self) -> tuple[WaitingDecision, ...]:
        """Return the waiting decisions in the order of creation; if there are very many, only the oldest ones."""

    def read(self, waiting: WaitingDecision) -> bytes | None:
        """Return the object's content; None if the object is gone. Do not trust the content: any writer of the bucket may have created the object."""

    def read_list(self, digest: str) -> bytes | None:
        """Return the list with this digest; None if there is none."""

    def remove(self, waiting: WaitingDecision) -> None:
        """Remove the decision's object; a missing one is not an error."""


class Seat(Struct, frozen=True, kw_only=True):
    """A seat that was taken at least once. `holder` is empty while the seat is free; `at` is the time of the last change by Cloud Storage's clock.

    `generation` is that of the object; the next change must name it.
    """

    number: int
    holder: UserKey
    at: datetime
    generation: int


class SeatWaiter(Struct, frozen=True, kw_only=True):
    """A user who has waited for a seat since `since` and last tried to take a seat at `at`."""

    holder: UserKey
    since: datetime
    at: datetime


class Seats(Struct, frozen=True, kw_only=True):
    """The seats of a limited group and its waiting users, by one listing.

    `counted` are the marks that `SeatStore.note_counted` stored. A mark states that all members who had an environment have a seat.
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
    """The store of the seats of limited groups. Groups are named by their addresses. Every method may raise `BenchkeeperError`; any other exception is a bug."""

    def look(self, group: str) -> Seats:
        """Return the seats of a group and its waiting users, by one listing."""

    def take(self, group: str, number: int, holder: UserKey, *, expected: Seat | None) -> int | None:
        """Give the seat to a user if it is as `expected` (None: it was never taken), and return the seat's new generation.

        Return None if another process was quicker.
        """

    def free(self, group: str, seat: Seat) -> None:
        """Free the seat if its object is unchanged since it was read.

        The object stays, because its generation tells a later claim from an earlier one.
        """

    def note_counted(self, group: str, mark: str) -> None:
        """Store that all members who had an environment when the group became limited have a seat. Idempotent."""

    def wait(self, group: str, waiter: SeatWaiter) -> None:
        """Store a note that the user waits, in place of the user's earlier note."""

    def wait_no_more(self, group: str, holder: UserKey) -> None:
        """Remove the user's note; a missing note is not an error."""

    def spending(self, group: str) -> Spending | None:
        """Return the cost of a group's users, as the last sweep stored it; None before the first sweep. Cached for a minute."""

    def note_spending(self, group: str, spending: Spending) -> None:
        """Store the cost of a group's users. The last write wins, because each write has the complete sum."""

    def all(self, groups: tuple[str, ...]) -> Iterator[tuple[str, Seats]]:
        """Yield (group, its seats) for each of these groups, with a single listing for all groups."""
