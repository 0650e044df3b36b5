"""The engine's dependencies, `Deps`, and the ports of the process itself: its clock, its log, its workers.

`shared.wiring` or a test builds `Deps`. A method of a port may raise `RetryableError` or `PermanentError`
(`shared.domain.things.errors`); any other exception is a bug. Adapters in `shared.cloud` implement the ports; tests
have their own fakes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from shared.domain.intent.roles import Roles
from shared.domain.people.events import News
from shared.domain.people.groups import GroupBook
from shared.domain.plan.plan import Policy
from shared.domain.policy.policy_change import Noted
from shared.domain.policy.policy_codec import policy_digest

if (
    TYPE_CHECKING
):  # `Deps` is never converted, so nothing reads the types of its fields; each brings what a start has no use for
    from shared.engine.ports.audit import Audit
    from shared.engine.ports.fleet import Costs, FleetIndex
    from shared.engine.ports.guard import Decisions, Guard, Policies, SeatStore
    from shared.engine.ports.inbox import DeadLetter, DeadLetters, Inbox, Relay, SignIn
    from shared.engine.ports.mail import MailPorts
    from shared.engine.ports.records import GroupBooks, Persons, Records
    from shared.engine.ports.resources import (
        Accounts,
        ActivitySource,
        Clusters,
        Groups,
        LiveSessions,
        Notebooks,
        OutsideJobs,
        Reports,
        SessionTemplates,
        Snapshots,
        Templates,
    )
    from shared.engine.ports.roster import Rosters, RosterSource

T = TypeVar("T")


class Clock(Protocol):
    """The port for time: the current time in UTC, and a counter of real seconds."""

    def now(self) -> datetime:
        """Return the current time, aware, in UTC."""

    def monotonic_s(self) -> float:
        """Return seconds of real time since an arbitrary start. Use them for time limits within a process, and never store them."""

    def speed(self) -> float:
        """Return the seconds by which `now` advances in one real second: 1, except with the embedded cloud's clock."""


class Workers(Protocol):
    """The port that runs independent jobs. The engine starts threads only by this port, so that a simulator can control their order."""

    def run(self, jobs: Sequence[Callable[[], T]], *, at_once: int = 8) -> list[T]:
        """Run all jobs, at most `at_once` at a time, and return their results in the order of the jobs.

        If a job raises an exception, raise that exception; jobs that have not started by then are not run.
        """


class Log(Protocol):
    """The port of the structured log: constant messages and facts."""

    def info(self, message: str, **facts: Any) -> None:
        """Log normal work."""

    def warning(self, message: str, **facts: Any) -> None:
        """Log a fact that an administrator should check."""

    def error(self, message: str, **facts: Any) -> None:
        """Log a fact that needs an action of an administrator."""


class Deps(Struct, frozen=True, kw_only=True):
    """The engine's dependencies; built by `shared.wiring` or by a test.

    `base_policy` is the policy of the process's own files; decisions use `policy`. `deployed` is the note of who deployed these
    files and when, if known. `roles` names the groups whose members may act for other users. `roster_sources` are the
    configured rosters. `mail` sends messages to users; None if messages are switched off. `parse_letter` reads the
    message of a dead letter by the sources of a policy; it raises `PoisonError` if the message cannot be used.
    """

    records: Records
    notebooks: Notebooks
    templates: Templates
    accounts: Accounts
    groups: Groups
    snapshots: Snapshots
    clusters: Clusters
    sessions: SessionTemplates
    live_sessions: LiveSessions
    fleet: FleetIndex
    costs: Costs
    activity: ActivitySource
    outside_jobs: OutsideJobs
    reports: Reports
    dead_letters: DeadLetters
    inbox: Inbox
    decisions: Decisions
    sign_in: SignIn
    clock: Clock
    log: Log
    workers: Workers
    books: GroupBooks
    guard: Guard
    seats: SeatStore
    persons: Persons
    relay: Relay
    audit: Audit
    policies: Policies
    rosters: Rosters
    base_policy: Policy
    parse_letter: Callable[[DeadLetter, Policy], Sequence[News]]
    deployed: Noted | None = None
    roles: Roles = Roles()
    roster_sources: tuple[RosterSource, ...] = ()
    mail: MailPorts | None = None
    _digest: dict[str, tuple[Policy, str]] = field(default_factory=dict)  # a cache of the last policy's digest
    # A cache of the last group book with the policy made from it: a pass asks for the policy many times.
    _sorted: dict[str, tuple[GroupBook, Policy, Policy]] = field(default_factory=dict)

    @property
    def policy(self) -> Policy:
        """The policy in force (not always that of the deployed files), together with the news of the assigned groups."""
        base, book = self.policies.in_force(self.base_policy), self.books.current()
        if not book.events and not book.others:
            return base
        known = self._sorted.get("book")
        if known is None or known[0] is not book or known[1] is not base:
            known = (book, base, self.with_book(base))
            self._sorted["book"] = known
        return known[2]

    @property
    def policy_digest(self) -> str:
        """The digest of the policy in force."""
        return self.digest_of(self.policy)

    def digest_of(self, policy: Policy) -> str:
        """Return the digest of a policy, computed once for as long as `policy` returns this object."""
        known = self._digest.get("policy")
        if known is None or known[0] is not policy:
            known = (policy, policy_digest(policy))
            self._digest["policy"] = known
        return known[1]

    def with_book(self, policy: Policy) -> Policy:
        """Return the policy, in force or not, together with the news of the groups that it assigns."""
        assigned = frozenset(each.group for each in policy.catalog.assignments)
        return replace(policy, book=self.books.current().sorted_for(assigned))
