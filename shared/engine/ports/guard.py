"""Ports of the guard against mass changes: slots, the policy in force, decisions that were given on the page.

Every method of a port may raise `RetryableError` or `PermanentError` of `shared.domain.things.errors`, and nothing else on purpose. Adapters in
`shared.cloud` fulfil the ports; tests bring fakes of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Protocol

from msgspec import Struct, field

from shared.domain.intent.batches import WaitingPerson
from shared.domain.intent.decision import Decision, ShownDecision
from shared.domain.plan.plan import Policy
from shared.domain.policy.policy_change import Approved, Noted, PolicyInForce, Proposal
from shared.domain.things.identity import UserKey


class WaitingDecision(Struct, frozen=True, kw_only=True):
    """A decision's object. `created_at` is Cloud Storage's own time. `place` is where the adapter finds it.

    `shown` is what the page noted beside it, for pages alone: nobody verified it, so nothing is decided by it.
    """

    created_at: datetime
    size: int
    place: str
    shown: ShownDecision | None = None


class Slot(Struct, frozen=True, kw_only=True):
    """A place that was claimed: `window` and `number` make its name, `holder` is who took it, `at` is Cloud Storage's own time.

    `generation` is that of the object, which whoever takes the place next must name.
    """

    window: str
    number: int
    holder: UserKey
    at: datetime
    generation: int


class FleetSizes(Struct, frozen=True, kw_only=True):
    """How many people are to have an environment: all, by profile, and by the group that entitles them."""

    everybody: int = 0
    profiles: Mapping[str, int] = field(default_factory=dict)
    groups: Mapping[str, int] = field(default_factory=dict)


class Guard(Protocol):
    """What the guard keeps: slots, of which so many may be taken in a window; who waits; how large the fleet is."""

    def slots(self, source: str) -> tuple[Slot, ...]:
        """Return all slots that were ever taken by what this source said, those that are over too, by one listing."""

    def slot(self, source: str, window: str, number: int) -> Slot | None:
        """Return one slot, by its name; None: nobody took it, or it was removed."""

    def claim(self, source: str, window: str, number: int, holder: UserKey, *, expected: Slot | None) -> bool:
        """Take a slot: a free one (None), or in the place of one that is over. False: somebody else was quicker."""

    def all_slots(self) -> Iterator[tuple[str, Slot]]:
        """Return the slots of all sources, each with the source's folder, by one listing."""

    def free(self, source: str, slot: Slot) -> None:
        """Remove a slot that is over; one that somebody took meanwhile stays."""

    def sizes(self) -> FleetSizes | None:
        """Return the sizes as a sweep counted them last; None before the first one, or if they are damaged. Kept for minutes."""

    def write_sizes(self, sizes: FleetSizes) -> None:
        """Keep the sizes."""

    def note_waiting(self, waiting: WaitingPerson) -> None:
        """Keep that somebody waits, where `waiting` finds it."""

    def forget_waiting(self, user_key: UserKey, *, idle: bool = False) -> None:
        """Forget that a cut waits, or with `idle` a stop for idleness; a missing one is not an error."""

    def waiting(self) -> Iterator[WaitingPerson]:
        """Return who waits, by one listing."""


class Policies(Protocol):
    """The policy in force, and what became of proposed ones: objects below `policy/` (`shared.domain.policy.policy_change`)."""

    def in_force(self, own: Policy) -> Policy:
        """Return what to judge by: the content in force in the process's own policy; the own one where none is in force yet.

        Asked for many times in a pass; it reads at most once a minute.
        """

    def load(self) -> PolicyInForce | None:
        """Read the policy in force now; None if there never was one."""

    def put(self, policy: PolicyInForce, *, expected: PolicyInForce | None) -> PolicyInForce:
        """Put it in force if what is in force is still `expected` (None: nothing); raise `ConflictError` otherwise."""

    def proposals(self) -> tuple[Proposal, ...]:
        """Return what was proposed and is not in force, oldest first."""

    def proposal(self, digest: str) -> Proposal | None:
        """Return the proposal of that digest."""

    def propose(self, proposal: Proposal) -> None:
        """Keep a proposal, in place of an earlier one of the same digest."""

    def withdraw(self, digest: str) -> None:
        """Remove a proposal; a missing one is not an error."""

    def approved(self, digest: str) -> Approved | None:
        """Return the list that was agreed to for the policy of that digest."""

    def approve(self, approved: Approved) -> None:
        """Keep the list, in place of an earlier one."""

    def rejected(self, digest: str) -> Noted | None:
        """Return who rejected the policy of that digest; None if nobody did."""

    def reject(self, noted: Noted) -> None:
        """Keep that it was rejected."""

    def deployed(self, digest: str) -> Noted | None:
        """Return who deployed files with that digest last; None if no deployment noted it."""

    def note_deployed(self, noted: Noted) -> None:
        """Keep who deployed it."""


class Decisions(Protocol):
    """Decisions of the page about many people. The page may create and read them; only who takes them up may remove them."""

    def put(self, decision: Decision, *, by: str = "") -> None:
        """Create the decision's object. Idempotent; nothing is ever overwritten. `by` is noted beside it, for pages alone."""

    def put_list(self, content: bytes) -> str:
        """Keep a frozen list, and return its digest. Idempotent."""

    def waiting(self) -> tuple[WaitingDecision, ...]:
        """Return what waits, in the order of creation; the oldest ones where there are very many."""

    def read(self, waiting: WaitingDecision) -> bytes | None:
        """Return the object's content, which anybody who may create objects wrote; None if the object is gone."""

    def read_list(self, digest: str) -> bytes | None:
        """Return the list with this digest; None if there is none."""

    def remove(self, waiting: WaitingDecision) -> None:
        """Remove the object; a missing one is not an error."""
