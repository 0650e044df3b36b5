"""The execution of a decision about a list of users.

An approval writes a clearance into each record; a rejection marks the cut as a mistake. The present state of each
record decides if the decision still applies to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import StrEnum
from functools import partial

from msgspec import Struct

from shared.domain.intent.batches import Batch, Entry, announced_until
from shared.domain.intent.decision import Decision, Verdict
from shared.domain.intent.guard import steps_of, waits_for_creation, with_kept_in
from shared.domain.intent.wanted import with_wanted
from shared.domain.plan.guard_settings import GuardSettings
from shared.domain.policy.effect import StepKind
from shared.domain.record.cuts import CREATE, IDLE_STOP, OF_NO_CUT, Clearance, CutClass, KeptIn
from shared.domain.record.cuts import StepKind as CutStep
from shared.domain.record.record import Presence, UserRecord
from shared.domain.things.errors import BenchkeeperError
from shared.domain.things.history import StoryKind, StoryLine, told
from shared.domain.things.identity import UserKey
from shared.engine.ports.deps import Deps
from shared.engine.ports.guard import DecidedList, GivenVote, WaitingDecision
from shared.engine.reconcile.changing import change_record

# A policy changes what groups and profiles entitle to; a user's leave is not its effect.
BY_POLICY = frozenset({CutClass.GROUP, CutClass.POLICY})
ACCESS = frozenset({StepKind.LOSES_ACCESS, StepKind.GAINS_ACCESS, StepKind.CHANGES_PROFILE})
_END = "The end of access"
_WHAT = {CREATE: "Creating the environment", IDLE_STOP: "The stop for idleness"}


class Outcome(StrEnum):
    """The outcome for one user of a list."""

    DONE = "done"
    DIFFERENT = "different"  # no longer waiting, or waiting for another reason: the decision does not cover it
    FAILED = "failed"


class Vote(Struct, frozen=True, kw_only=True):
    """A decision that counts.

    `subject` is the key of the deciding user. `concerned` is True if the decision affects that user, which is allowed only in a team of one.
    """

    waiting: WaitingDecision
    decision: Decision
    subject: UserKey
    concerned: bool = False


class Standing(StrEnum):
    """The state of a list by the votes given so far."""

    OPEN = "open"
    APPROVED = "approved"
    REJECTED = "rejected"


def standing_of(
    votes: Sequence[Vote], guard: GuardSettings, now: datetime, *, author_is_known: bool = False, alone: bool = True
) -> Standing:
    """Return the state of a list.

    One rejection rejects the list. An approval needs the votes of `guard.approvers` users, or of one user if the author is known and
    therefore another user. With `alone`, one vote is enough if no user objects within `guard.wait_alone`.
    """
    if any(vote.decision.verdict is Verdict.REJECT for vote in votes):
        return Standing.REJECTED
    approvals = [vote for vote in votes if vote.decision.verdict is Verdict.APPROVE]
    if not approvals:
        return Standing.OPEN
    needed = 1 if author_is_known else guard.approvers
    if len({vote.subject for vote in approvals}) >= needed:
        return Standing.APPROVED
    if not alone:
        return Standing.OPEN
    oldest = min(vote.waiting.created_at for vote in approvals)
    return Standing.APPROVED if now - oldest >= guard.wait_alone else Standing.OPEN


def carried_out(batch: Batch, digest: str, standing: Standing, votes: Sequence[Vote], deps: Deps) -> bool:
    """Write the decision to every record of the list to which it still applies, then note the decision for pages.

    Return False, without a note, if some records could not be written yet.
    """
    verdict = Verdict.APPROVE if standing is Standing.APPROVED else Verdict.REJECT
    by = sorted({vote.subject for vote in votes if vote.decision.verdict is verdict})
    voted_at = min(vote.waiting.created_at for vote in votes if vote.decision.verdict is verdict)
    decided = _Decided(batch=batch, digest=digest, by=by, at=voted_at)
    change = _approving(decided, deps) if verdict is Verdict.APPROVE else _rejecting(decided, deps)
    jobs = [partial(changed, entry.user_key, change(entry), deps) for entry in batch.entries]
    outcomes = Counter(deps.workers.run(jobs))
    deps.log.warning(
        "Approved list" if verdict is Verdict.APPROVE else "Rejected list",
        digest=digest,
        cause=batch.cause.value,
        source=batch.source,
        by=by,
        own=len(by) == 1 and deps.policy.guard.approvers == 1,
        people=len(batch.entries),
        **{outcome.value: outcomes[outcome] for outcome in Outcome},
    )
    if outcomes[Outcome.FAILED]:
        return False
    given = [GivenVote(by=v.subject, verdict=v.decision.verdict, at=v.waiting.created_at) for v in votes]
    deps.guard.note_decided(
        DecidedList(
            digest=digest, verdict=verdict, at=voted_at, cause=batch.cause, source=batch.source, votes=tuple(given)
        )
    )
    return True


def changed(user_key: UserKey, change: Callable[[UserRecord], UserRecord], deps: Deps) -> Outcome:
    """Apply a decision to one record and make its user due. Return FAILED if the record could not be written (the tick tries again)."""
    try:
        accepted = change_record(user_key, change, deps, wakes=True)
    except BenchkeeperError as error:
        deps.log.warning(
            "Decision could not be carried out for a user",
            user=user_key,
            reason=error.reason.value,
            detail=error.detail,
        )
        return Outcome.FAILED
    return Outcome.DONE if accepted is not None and accepted.changed else Outcome.DIFFERENT


class _Decided(Struct, frozen=True, kw_only=True):
    """The decision about a list: the users who decided, and the time of the oldest vote."""

    batch: Batch
    digest: str
    by: Sequence[str]
    at: datetime


def _approving(decided: _Decided, deps: Deps) -> Callable[[Entry], Callable[[UserRecord], UserRecord]]:
    digest, by = decided.digest, decided.by

    def for_one(entry: Entry) -> Callable[[UserRecord], UserRecord]:
        def change(record: UserRecord) -> UserRecord:
            now = deps.clock.now()
            current = _covered(record, entry, decided, deps)
            if current is None or (entry.ref not in OF_NO_CUT and entry.steps and steps_of(current) != entry.steps):
                return record
            waiting = current.status.guard.waiting_cut
            known = current.status.guard.clearance
            if known is not None and known.by == digest:
                return record  # written before a crash
            until = announced_until(entry.ref)
            ref = waiting.ref if waiting is not None and entry.ref not in OF_NO_CUT else entry.ref
            clearance = Clearance(ref=ref, by=digest, until=now + deps.policy.guard.approval_lapses)
            if until is not None:
                clearance = Clearance(ref="", by=digest, until=until)
            line = line_of(
                now, f"{_WHAT.get(entry.ref, _END)} was approved", f"list {digest[:12]}, approved by {' and '.join(by)}"
            )
            return current.with_status(
                clearance=clearance,
                not_before=None if entry.ref == CREATE else current.status.notebook.not_before,
                story=told(current.status.story, [line]),
            )

        return change

    return for_one


def _rejecting(decided: _Decided, deps: Deps) -> Callable[[Entry], Callable[[UserRecord], UserRecord]]:
    digest, by = decided.digest, decided.by

    def for_one(entry: Entry) -> Callable[[UserRecord], UserRecord]:
        def change(record: UserRecord) -> UserRecord:
            now = deps.clock.now()
            current = _covered(record, entry, decided, deps)
            if current is None:
                return record
            waiting = current.status.guard.waiting_cut
            if announced_until(entry.ref) is not None:
                return record  # no access has ended yet, so there is nothing to take back
            ref = waiting.ref if waiting is not None and entry.ref not in OF_NO_CUT else entry.ref
            kept = KeptIn(ref=ref, by=" ".join(by), digest=digest, at=now)
            stays = with_kept_in(current, kept)
            if stays is current:
                return record  # written before a crash
            line = line_of(
                now, f"{_WHAT.get(entry.ref, _END)} was rejected", f"list {digest[:12]}, rejected by {' and '.join(by)}"
            )
            return stays.with_status(story=told(stays.status.story, [line]))

        return change

    return for_one


def _covered(record: UserRecord, entry: Entry, decided: _Decided, deps: Deps) -> UserRecord | None:
    """Return the record with its present wanted state if the decision about `entry` still covers it; None otherwise.

    An announced end of access and an idle stop are covered while the user is entitled, a creation while it waits. A cut
    must have waited without a break since before the decision, for the same class of cause from the same source. A repeated
    statement with a new id does not matter.
    """
    now = deps.clock.now()
    current = with_wanted(record, deps.policy, now)
    until = announced_until(entry.ref)
    if until is not None:
        return current if current.spec.presence is Presence.PRESENT and now < until else None
    if entry.ref == IDLE_STOP:
        return current if current.spec.presence is Presence.PRESENT else None
    if entry.ref == CREATE:
        return current if waits_for_creation(current) is not None and entry.steps == (CutStep.CREATE,) else None
    waiting = current.status.guard.waiting_cut
    if waiting is None or waiting.since > decided.at:
        return None
    return current if (waiting.cause, waiting.source) == (decided.batch.cause, decided.batch.source) else None


def line_of(now: datetime, text: str, because: str) -> StoryLine:
    """Return the history line about a decision."""
    return StoryLine(at=now, kind=StoryKind.DECISION, text=text, because=because)
