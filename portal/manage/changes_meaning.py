"""The meaning of a change: the effect of approving and rejecting a list, and the time when a decision takes effect."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from msgspec import Struct, field

from portal.deps import current
from portal.visit import signed_in, visit
from shared.domain.intent.batches import Batch, WaitingPerson, announced_until, batches_of
from shared.domain.intent.decision import About, Verdict
from shared.domain.intent.question import QUESTIONS
from shared.domain.plan.guard_settings import GuardSettings
from shared.domain.record.cuts import IMPATIENT, CutClass, StepKind
from shared.domain.things.identity import UserKey
from shared.engine.ports.guard import DecidedList

# The title of a batch, by the cause that ends access.
TITLES = {
    CutClass.EMPLOYMENT: "People are reported to have left",
    CutClass.ACCOUNT: "Google accounts cannot be used any more",
    CutClass.GROUP: "People are in no group that gives access",
    CutClass.POLICY: "The configuration no longer gives people access",
    CutClass.CREATION: "Many environments are to be created",
    CutClass.IDLE: "Most running notebooks look idle",
    CutClass.ANNOUNCED: "The end of access is announced for people",
}


class Unread(StrEnum):
    """A part of the state that could not be read. The page names that part, and shows the rest."""

    INDEX = "the list of waiting people"
    DECISIONS = "the decisions"
    LISTS = "some of the lists"
    POLICIES = "the waiting configurations"
    QUESTIONS = "the open questions about people and groups"


class Seen(Struct, kw_only=True):
    """The state that one request read. `waiting` is None if the index could not be read. `votes` are by the list's digest."""

    waiting: tuple[WaitingPerson, ...] | None = None
    votes: dict[str, list[Vote]] = field(default_factory=dict)
    decided: tuple[DecidedList, ...] = ()
    unread: list[Unread] = field(default_factory=list)

    def by_key(self) -> Mapping[UserKey, WaitingPerson]:
        """Return the waiting users by key."""
        return {person.user_key: person for person in self.waiting or ()}


STEPS = {
    StepKind.STOP: ("{} notebook is stopped, and deleted after its retention", "{} notebooks are stopped, and deleted after their retention"),
    StepKind.REVOKE: ("{} person's own service account is disabled", "{} people's own service accounts are disabled"),
    StepKind.CREATE: ("{} notebook is created", "{} notebooks are created"),
    StepKind.END_CLUSTERS: ("the Spark clusters of {} person are deleted", "the Spark clusters of {} people are deleted"),
}  # fmt: skip


class Vote(Struct, frozen=True, kw_only=True):
    """A decision about a list, as the page shows it. A decision that waits to take effect is not verified yet."""

    by: str
    verdict: Verdict
    at: datetime
    is_own: bool
    about: About = About.CUTS


class Bound(Struct, frozen=True, kw_only=True):
    """A decision that was carried out about the list `digest`, and the number of waiting users that it covers."""

    digest: str
    verdict: Verdict
    at: datetime
    people: int


class Listed(Protocol):
    """A user on a list, for any kind of change."""

    @property
    def user_key(self) -> UserKey:
        """The user's key."""

    @property
    def ref(self) -> str:
        """The text that identifies the user's cut; "" for a configuration."""

    @property
    def steps(self) -> tuple[StrEnum, ...]:
        """The effects of the change on the user."""


class Change(Struct, frozen=True, kw_only=True):
    """A change that waits for a decision. `entries` are the frozen list that the digest names.

    `still` is the number of users who still wait for exactly this change, None if that could not be read. `undone` is
    the number of waiting users whose environment is stopped already. `since` is None if the list is no longer a batch.
    `is_kept` is True if the list is stored, so that it can be decided about.

    `author` is the user who deployed a configuration. The users in `concerned` may not decide; None means all users on the
    list. `cannot_approve` is the reason why the change cannot be approved by anyone. `needs_another` is True if a second
    administrator must approve, even if there is no objection for a long time.

    `given` are the decisions about this list that were carried out. `bound_by` are carried out decisions, about this or an
    earlier list, that apply to users who still wait. `is_outdated` is True if another list replaced this one. `present` is
    the digest of the list that waits now for the same reason, "" if no list does.
    """

    about: About
    digest: str
    title: str
    cause: str
    source: str
    entries: tuple[Listed, ...]
    still: int | None
    undone: int
    since: datetime | None
    patience_ends: datetime | None
    votes: tuple[Vote, ...]
    approving: tuple[str, ...]
    rejecting: tuple[str, ...]
    is_kept: bool
    takes_effect_at: datetime | None
    author: str = ""
    concerned: frozenset[UserKey] | None = None
    cannot_approve: str = ""
    needs_another: bool = False
    given: tuple[Vote, ...] = ()
    bound_by: tuple[Bound, ...] = ()
    present: str = ""
    is_outdated: bool = False

    @property
    def is_decided(self) -> bool:
        """Return True if carried-out decisions cover all users who still wait. They take effect with each user's next pass."""
        return bool(self.still) and sum(each.people for each in self.bound_by) >= (self.still or 0)

    @property
    def is_question(self) -> bool:
        """Return True if the change is about one user or group, not a list of users."""
        return self.about in QUESTIONS

    @property
    def takes_access(self) -> bool:
        """Return True if the users on the list lose access unless the list is rejected."""
        return self.about is About.CUTS and self.cause not in {CutClass.CREATION.value, CutClass.IDLE.value}

    @property
    def people(self) -> int:
        """The number of users on the list."""
        return len(self.entries)

    @property
    def is_current(self) -> bool:
        """Return True if the list is the one that waits now."""
        return self.since is not None

    @property
    def is_rejected(self) -> bool:
        """Return True if an administrator rejected the list; one rejection is enough."""
        return any(vote.verdict is Verdict.REJECT for vote in self.votes)

    def own(self) -> Verdict | None:
        """Return the reader's last decision about the list; None if there is none."""
        return next((vote.verdict for vote in reversed(self.votes) if vote.is_own), None)


def change_of_batch(
    batch: Batch, found: Seen, *, is_kept: bool, digest: str = "", earlier: Sequence[tuple[DecidedList, Batch]] = ()
) -> Change:
    """Return a batch as the page shows it: the waiting users, the effect of approving and rejecting, the decisions so far.

    `earlier` are lists of the same reason and source about which decisions were carried out.
    """
    digest, guard, waiting = digest or batch.digest, current().deps.engine.policy.guard, found.by_key()
    wait = [e for e in batch.entries if waits_for(e, waiting.get(e.user_key))]
    still = [waiting[e.user_key] for e in wait if e.user_key in waiting]
    alike = [each for each in batches_of(found.waiting or ()) if _kind(each) == _kind(batch)]
    is_current = any(each.digest == digest for each in alike)
    since = batch.since if is_current else None
    undone = sum(person.undoable_done for person in still)
    votes = tuple(found.votes.get(digest, ()))
    counted = Counter(step for entry in batch.entries for step in entry.steps)
    return Change(
        about=About.CUTS,
        digest=digest,
        title=TITLES[batch.cause],
        cause=batch.cause.value,
        source=batch.source,
        entries=batch.entries,
        still=None if found.waiting is None else len(wait),
        undone=undone,
        since=since,
        patience_ends=patience_ends(batch.cause, since, guard),
        votes=votes,
        approving=_approving(counted, batch, _prices(still)),
        rejecting=_rejecting(batch, undone),
        is_kept=is_kept,
        takes_effect_at=takes_effect_at(votes, guard) if batch.cause is not CutClass.ANNOUNCED else None,
        needs_another=batch.cause is CutClass.ANNOUNCED and needs_another(votes, guard.approvers),
        given=_given(digest, found),
        bound_by=tuple(bound_by(still, earlier, guard)),
        present="" if is_current or not alike else alike[0].digest,
        is_outdated=found.waiting is not None and not is_current and batch.cause is not CutClass.ANNOUNCED,
    )


def _kind(batch: Batch | DecidedList) -> tuple[CutClass, str]:
    return batch.cause, batch.source


def _given(digest: str, found: Seen) -> tuple[Vote, ...]:
    _, own = signed_in()
    return tuple(
        Vote(by=vote.by, verdict=vote.verdict, at=vote.at, is_own=vote.by == own)
        for each in found.decided
        if each.digest == digest
        for vote in each.votes
    )


def bound_by(
    still: Iterable[WaitingPerson], earlier: Sequence[tuple[DecidedList, Batch]], guard: GuardSettings
) -> Iterator[Bound]:
    """Yield the decisions that cover users who still wait, the newest first. A user counts for the newest decision only.

    The rule is that of `shared.engine.decisions.lists`: the user has waited since before the decision, for the same
    reason from the same source. An approval must also name the effects on the user, and must not have lapsed.
    """
    left = {person.user_key: person for person in still}
    for decided, batch in sorted(earlier, key=lambda each: each[0].at, reverse=True):
        steps = {entry.user_key: entry.steps for entry in batch.entries}
        is_rejected = decided.verdict is Verdict.REJECT
        if not is_rejected and visit().now() >= decided.at + guard.approval_lapses:
            continue
        bound = [
            key
            for key, person in left.items()
            if key in steps
            and person.since <= decided.at
            and (person.cause, person.source) == _kind(decided)
            and (is_rejected or person.steps == steps[key])
        ]
        for key in bound:
            del left[key]
        if bound:
            yield Bound(digest=decided.digest, verdict=decided.verdict, at=decided.at, people=len(bound))


def waits_for(entry: Listed, person: WaitingPerson | None) -> bool:
    """Return True if the user still waits for exactly the cut and the steps that the list names.

    For a waiting configuration the result is always True. For an announcement it is True until the announced time.
    """
    if not entry.ref:
        return True
    until = announced_until(entry.ref)
    if until is not None:
        return visit().now() < until
    return person is not None and (person.ref, person.steps) == (entry.ref, entry.steps)


def patience_ends(cause: CutClass, since: datetime | None, guard: GuardSettings) -> datetime | None:
    """Return the time at which the reversible steps are taken without an approval.

    Return None if the batch waits without a limit.
    """
    if since is None or guard.patience is None or cause not in IMPATIENT:
        return None
    return since + guard.patience


def takes_effect_at(votes: Sequence[Vote], guard: GuardSettings, *, author_is_known: bool = False) -> datetime | None:
    """Return the time at which a list that was approved and not rejected takes effect without a further approval.

    Return None if there is no approval, if there is a rejection, or if enough administrators approved, so that there is no wait.
    """
    approvals = [vote for vote in votes if vote.verdict is Verdict.APPROVE]
    needed = 1 if author_is_known else guard.approvers
    if not approvals or len(approvals) != len(votes) or len({vote.by for vote in approvals}) >= needed:
        return None
    return min(vote.at for vote in approvals) + guard.wait_alone


def needs_another(votes: Sequence[Vote], needed: int) -> bool:
    """Return True if fewer than `needed` administrators approved. Waiting does not replace the missing approval."""
    return len({vote.by for vote in votes if vote.verdict is Verdict.APPROVE}) < needed


def _approving(counted: Mapping[StepKind, int], batch: Batch, prices: Mapping[str, float]) -> tuple[str, ...]:
    lines = [STEPS[kind][counted[kind] != 1].format(f"{counted[kind]:,}") for kind in StepKind if counted[kind]]
    count = len(batch.entries)
    match batch.cause:
        case CutClass.CREATION:
            if prices:
                hourly = sum(prices.values())
                lines.append(f"an hour in which all of them run costs about {hourly:,.2f} {current().deps.currency}")
        case CutClass.ANNOUNCED:
            until = announced_until(batch.entries[0].ref) if batch.entries else None
            if until is not None:
                lines = [
                    f"each of them who loses access until {until:%Y-%m-%d %H:%M} UTC loses it at once, without taking a slot"
                ]
        case CutClass.IDLE:
            lines = [f"{count:,} {'notebook is' if count == 1 else 'notebooks are'} stopped now; files are kept"]
        case _:
            lines.insert(0, f"{count:,} {'person loses' if count == 1 else 'people lose'} access")
    return tuple(f"{line[0].upper()}{line[1:]}." for line in lines)


def _rejecting(batch: Batch, undone: int) -> tuple[str, ...]:
    count = len(batch.entries)
    people = f"{count:,} {'person' if count == 1 else 'people'}"
    match batch.cause:
        case CutClass.CREATION:
            gets = "gets" if count == 1 else "get"
            return (
                f"{people} {gets} no environment, although they are entitled to one, until access ends and begins again.",
            )
        case CutClass.ANNOUNCED:
            take = "takes a slot" if count == 1 else "take slots"
            return (f"{people} {take} like everybody else if they lose access.",)
        case CutClass.IDLE:
            notebooks, are = ("notebook", "is") if count == 1 else ("notebooks", "are")
            return (f"The {notebooks} of {people} {are} not stopped for idleness in the next twelve hours.",)
        case _:
            pass
    lines = [f"{people} {'keeps' if count == 1 else 'keep'} access. Earlier statements about them no longer end it."]
    if undone:
        which = "notebook that was" if undone == 1 else "notebooks that were"
        lines.append(f"{undone:,} {which} already stopped can be used again.")
    lines.append("New statements about any of them count.")
    return tuple(lines)


def _prices(people: Iterable[WaitingPerson]) -> Mapping[str, float]:
    """Return the hourly cost of each user's notebook, for the users whose profile has a price."""
    profiles = current().deps.engine.policy.catalog.profiles
    found = {person.user_key: profiles[person.profile].hourly_cost for person in people if person.profile in profiles}
    return {key: cost for key, cost in found.items() if cost is not None}
