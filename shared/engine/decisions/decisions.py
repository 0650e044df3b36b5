"""The execution of administrators' decisions about many users: check the signature, the right to decide and the list, then act.

Of the data that the page writes, only the assertion signed by Identity-Aware Proxy is trusted. A decision is an object
that is kept until it has taken effect. After a crash the next tick continues: each user's record shows whether the
decision was already applied to it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from enum import StrEnum
from functools import partial

from msgspec.structs import replace

from shared.domain.intent.batches import from_json as batch_from_json
from shared.domain.intent.decision import MAX_BYTES, About, Decision, Verdict, from_json
from shared.domain.intent.question import QUESTIONS
from shared.domain.intent.question import from_json as question_from_json
from shared.domain.intent.roles import MAY, Right
from shared.domain.intent.wanted import with_wanted
from shared.domain.policy.effect import StepKind
from shared.domain.policy.impact import Impact
from shared.domain.policy.policy_change import PolicyInForce, Proposal, bound_digest
from shared.domain.record.cuts import Clearance, CutClass
from shared.domain.record.record import UserRecord
from shared.domain.things.errors import BenchkeeperError, InvalidMessageError, NotSignedInError, RefusedError
from shared.domain.things.history import told
from shared.domain.things.identity import UserKey, parse_email, user_key_for
from shared.engine.decisions import policy_change, questions
from shared.engine.decisions.letters import carry_out_letter, waiting_letter
from shared.engine.decisions.lists import (
    ACCESS,
    BY_POLICY,
    Outcome,
    Standing,
    Vote,
    carried_out,
    changed,
    line_of,
    standing_of,
)
from shared.engine.decisions.questions import Answer
from shared.engine.decisions.waves import facts_of, go_on, halted
from shared.engine.news.groups import role_of
from shared.engine.ports.deps import Deps
from shared.engine.ports.guard import WaitingDecision


class Fault(StrEnum):
    """The reason why a decision does not count. The list is closed, because the value is a metric label."""

    NO_DECISION = "NoDecision"
    NOT_SIGNED = "NotSigned"
    NOT_ADMINISTRATOR = "NotAdministrator"
    NO_LIST = "NoList"
    CONCERNED = "Concerned"  # the user is on the list or requested it: users do not decide about themselves
    LAPSED = "Lapsed"


def try_take_up_decisions(deps: Deps) -> None:
    """Carry out the waiting decisions. A decision that fails now is left to the next tick."""
    try:
        take_up_decisions(deps)
    except BenchkeeperError as error:
        deps.log.warning("Decisions could not be listed", reason=error.reason.value, detail=error.detail)


def take_up_decisions(deps: Deps) -> None:
    """Judge all waiting decisions, list by list, and carry out the lists that are approved or rejected.

    A list that fails is logged and left to the next tick; the other lists are still judged.
    """
    found: dict[tuple[About, str], list[tuple[WaitingDecision, Decision]]] = {}
    for waiting in deps.decisions.waiting():
        decision = _read(waiting, deps)
        if decision is not None:
            found.setdefault((decision.about, decision.digest), []).append((waiting, decision))
    for (about, digest), given in found.items():
        try:
            _one_list(about, digest, given, deps)
        except BenchkeeperError as error:  # continue with the other lists
            deps.log.warning(
                "Decision could not be carried out", digest=digest, reason=error.reason.value, detail=error.detail
            )


def _read(waiting: WaitingDecision, deps: Deps) -> Decision | None:
    try:
        raw = deps.decisions.read(waiting) if waiting.size <= MAX_BYTES else b""
    except BenchkeeperError as error:  # continue with the others
        deps.log.warning("Decision could not be read", reason=error.reason.value, detail=error.detail)
        return None
    if raw is None:
        return None
    try:
        return from_json(raw)
    except InvalidMessageError:
        _drop(waiting, Fault.NO_DECISION, deps)
        return None


def _drop(waiting: WaitingDecision, fault: Fault, deps: Deps, *, by: str = "") -> None:
    deps.log.warning("Dropped a decision", reason=fault.value, by=by)
    deps.decisions.remove(waiting)


def _one_list(about: About, digest: str, given: Sequence[tuple[WaitingDecision, Decision]], deps: Deps) -> None:
    if about is About.POLICY:
        _one_policy(digest, given, deps)
        return
    if about in QUESTIONS:
        _one_question(about, digest, given, deps)
        return
    if about is About.WAVES:
        _one_rollout(digest, given, deps)
        return
    if about is About.LETTER:
        _one_letter(digest, given, deps)
        return
    content = deps.decisions.read_list(digest)
    batch = None
    if content is not None:
        try:
            batch = batch_from_json(content)
        except InvalidMessageError:
            batch = None
    if batch is None:
        for waiting, _ in given:
            _drop(waiting, Fault.NO_LIST, deps)
        return
    votes = _votes(given, batch.people, deps)
    alone = batch.cause is not CutClass.ANNOUNCED  # the announcing user gave the first approval: another must follow
    standing = standing_of(votes, deps.policy.guard, deps.clock.now(), alone=alone)
    if standing is Standing.OPEN:
        return
    if carried_out(batch, digest, standing, votes, deps):
        for vote in votes:
            deps.decisions.remove(vote.waiting)


def _one_question(about: About, digest: str, given: Sequence[tuple[WaitingDecision, Decision]], deps: Deps) -> None:
    """Carry out the decision about one user or group, if the votes decide it (`standing_of`).

    Otherwise nothing happens, unless the question is no longer open: then its decisions are removed.
    """
    content, question = deps.decisions.read_list(digest), None
    if content is not None:
        with contextlib.suppress(InvalidMessageError):
            question = question_from_json(content)
    if question is None or question.about is not about:
        for waiting, _ in given:
            _drop(waiting, Fault.NO_LIST, deps)
        return
    votes, guard = _votes(given, frozenset(question.people), deps), deps.policy.guard
    if about is About.RELEASE:  # the requesting user gave the first approval: one more is needed, and is enough
        guard = replace(guard, approvers=min(guard.approvers, 2))
    standing = standing_of(votes, guard, deps.clock.now(), alone=about is not About.RELEASE)
    if standing is Standing.OPEN:
        if not questions.is_open(question, deps):  # answered, or the state changed meanwhile
            questions.finish(question, deps)
            for vote in votes:
                deps.decisions.remove(vote.waiting)
        return
    verdict = Verdict.APPROVE if standing is Standing.APPROVED else Verdict.REJECT
    by = sorted({vote.subject for vote in votes if vote.decision.verdict is verdict})
    effect = questions.carry_out(Answer(question=question, verdict=verdict, by=by), deps)
    deps.log.warning(
        "Approved question" if verdict is Verdict.APPROVE else "Rejected question",
        digest=digest,
        about=about.value,
        by=by,
        own=len(by) == 1 and guard.approvers == 1,
        users=list(question.people),
        effect=effect.value,
    )
    # Rejections are removed last: approvals that a crash left behind must not count without them.
    for vote in sorted(votes, key=lambda each: each.decision.verdict is Verdict.REJECT):
        deps.decisions.remove(vote.waiting)


def _one_letter(digest: str, given: Sequence[tuple[WaitingDecision, Decision]], deps: Deps) -> None:
    """Replay or dismiss a dead letter, as decided by the first administrator who may decide.

    The other decisions about this dead letter are removed.
    """
    row = waiting_letter(digest, deps)
    if row is None:  # replayed meanwhile, or before a crash
        for waiting, _ in given:
            deps.decisions.remove(waiting)
        return
    votes = _votes(given, frozenset(row.users), deps)
    if not votes:
        return
    first = min(votes, key=lambda vote: vote.waiting.created_at)
    became = carry_out_letter(row, first.decision.verdict, first.subject, deps)
    deps.log.warning(
        "Carried out a decision on a dead letter", letter=row.letter_id, by=first.subject, became=became.value
    )
    for vote in votes:
        deps.decisions.remove(vote.waiting)


def _votes(given: Sequence[tuple[WaitingDecision, Decision]], concerned: frozenset[UserKey], deps: Deps) -> list[Vote]:
    found = (_vote(waiting, decision, concerned, deps) for waiting, decision in given)
    return [vote for vote in found if vote is not None]


def _one_policy(digest: str, given: Sequence[tuple[WaitingDecision, Decision]], deps: Deps) -> None:
    """Put a waiting configuration in force or reject it, if the votes decide it (`standing_of`). After a crash in between, the next tick continues."""
    current = deps.policies.load()
    proposal = next((each for each in deps.policies.proposals() if each.decided_by == digest), None)
    if proposal is None and (current is None or _decided_by(current) != digest):
        for waiting, _ in given:
            _drop(waiting, Fault.NO_LIST, deps)
        return
    if proposal is None:  # already in force: some records of users who lose access may lack the clearance
        approved = deps.policies.approved(current.digest) if current is not None else None
        done = approved is None or _cleared(approved.impact, approved.digest, approved.by, deps)
        for waiting, _ in given if done else ():
            deps.decisions.remove(waiting)
        return
    votes = _votes(given, concerned_by(proposal), deps)
    standing = standing_of(votes, deps.policy.guard, deps.clock.now(), author_is_known=bool(proposal.author))
    if standing is Standing.OPEN:
        return
    verdict = Verdict.APPROVE if standing is Standing.APPROVED else Verdict.REJECT
    by = sorted({vote.subject for vote in votes if vote.decision.verdict is verdict})
    done = True
    if verdict is Verdict.REJECT:
        policy_change.reject(proposal.digest, deps, by=" ".join(by))
    else:
        done = _put_in_force(proposal, by, deps)
    deps.log.warning(
        "Approved policy" if verdict is Verdict.APPROVE else "Rejected policy",
        digest=proposal.digest,
        by=by,
        own=len(by) == 1 and deps.policy.guard.approvers == 1,
        people=len(proposal.impact.entries),
    )
    for vote in votes if done else ():
        deps.decisions.remove(vote.waiting)


def _one_rollout(digest: str, given: Sequence[tuple[WaitingDecision, Decision]], deps: Deps) -> None:
    """Continue a halted rollout, or roll it back, if the votes decide it (`standing_of`).

    If the deploying user is known, one other administrator is enough.
    """
    found = halted(deps)
    if found is None or found[1].decided_by != digest:
        for waiting, _ in given:
            _drop(waiting, Fault.NO_LIST, deps)
        return
    current, rollout = found
    votes = _votes(given, author_of(current), deps)
    standing = standing_of(votes, deps.policy.guard, deps.clock.now(), author_is_known=bool(current.by))
    if standing is Standing.OPEN:
        return
    verdict = Verdict.APPROVE if standing is Standing.APPROVED else Verdict.REJECT
    by = sorted({vote.subject for vote in votes if vote.decision.verdict is verdict})
    if verdict is Verdict.APPROVE:
        go_on(rollout.rollout_id, deps, deps.clock.now())
    else:
        back = policy_change.take_back(current, rollout, deps, by=by)
        if back is None:
            return  # the policy changed meanwhile: the next tick tries again
    deps.log.warning(
        "Approved rollout" if verdict is Verdict.APPROVE else "Rejected rollout", by=by, **facts_of(rollout)
    )
    for vote in votes:
        deps.decisions.remove(vote.waiting)


def author_of(current: PolicyInForce) -> frozenset[UserKey]:
    """Return the user who deployed the policy of a rollout and may not decide about the rollout; empty if unknown.

    That user can always deploy the earlier files instead.
    """
    try:
        return frozenset({user_key_for(parse_email(current.by))})
    except InvalidMessageError:
        return frozenset()


def _decided_by(current: PolicyInForce) -> str:
    return bound_digest(current.digest, current.impact_digest)


def _put_in_force(proposal: Proposal, by: Sequence[str], deps: Deps) -> bool:
    """Put an approved policy in force, and write a clearance for each user who loses access by it.

    Return False if some records could not be written yet. Return True without a change if the policy's effect differs from
    the approved list by now.
    """
    try:
        put = policy_change.put_in_force(
            proposal.digest, deps, impact_digest=proposal.impact.digest, approved_by=tuple(by)
        )
    except RefusedError as error:
        deps.log.warning("Approved policy was not put in force", digest=proposal.digest, detail=error.detail)
        return True
    return _cleared(put.approved, proposal.digest, tuple(by), deps)


def concerned_by(proposal: Proposal) -> frozenset[UserKey]:
    """Return the users who may not decide about a configuration: the user who deployed it, and those whose access it changes.

    Users whose notebook is only changed or replaced may decide; otherwise no user could approve a new image for all
    users.
    """
    keys = {each.user_key for each in proposal.impact.entries if ACCESS & set(each.steps)}
    with contextlib.suppress(InvalidMessageError):
        keys.add(user_key_for(parse_email(proposal.author)))
    return frozenset(keys)


def clear_losers(impact: Impact, digest: str, deps: Deps) -> None:
    """Write a clearance for each user who loses access by a change below the limits, so that the cut happens now.

    If a record cannot be written now, its cut takes a slot later, or waits.
    """
    _cleared(impact, digest, (), deps)


def _cleared(impact: Impact, digest: str, by: Sequence[str], deps: Deps) -> bool:
    """Write a clearance for each user who loses access by the policy in force; return False if some records could not be written yet."""
    losers = [each.user_key for each in impact.entries if StepKind.LOSES_ACCESS in each.steps]

    def tell(user_key: UserKey) -> Outcome:
        def change(record: UserRecord) -> UserRecord:
            now = deps.clock.now()
            current = with_wanted(record, deps.policy, now)
            waiting = current.status.guard.waiting_cut
            if waiting is None or waiting.cause not in BY_POLICY:
                return record
            clearance = Clearance(ref=waiting.ref, by=digest, until=now + deps.policy.guard.approval_lapses)
            names = f", approved by {' and '.join(by)}" if by else ""
            line = line_of(now, "The end of access follows from the configuration", f"policy {digest[:12]}{names}")
            return current.with_status(clearance=clearance, story=told(current.status.story, [line]))

        return changed(user_key, change, deps)

    return Outcome.FAILED not in set(deps.workers.run([partial(tell, key) for key in losers]))


def _vote(waiting: WaitingDecision, decision: Decision, concerned: frozenset[UserKey], deps: Deps) -> Vote | None:
    """Return the decision as a vote. A decision that does not count is removed and logged; return None for it."""
    try:
        subject = deps.sign_in.subject_of(decision.assertion, waiting.created_at)
    except NotSignedInError as error:
        deps.log.warning("Decision had no valid signature", detail=error.detail)
        _drop(waiting, Fault.NOT_SIGNED, deps)
        return None
    key = user_key_for(subject)
    if deps.clock.now() - waiting.created_at > deps.policy.guard.approval_lapses:
        _drop(waiting, Fault.LAPSED, deps, by=key)
        return None
    role = role_of(subject, deps)
    if role is None or Right.DECIDE not in MAY[role]:
        _drop(waiting, Fault.NOT_ADMINISTRATOR, deps, by=key)
        return None
    stored = deps.records.load(key)  # an address may lead to a record under another key
    keys = {key} if stored is None else {key, stored.record.user_key}
    is_concerned = bool(keys & concerned)
    if is_concerned and deps.policy.guard.approvers > 1:
        _drop(waiting, Fault.CONCERNED, deps, by=key)
        return None
    person = key if stored is None else stored.record.user_key  # a user with a changed address counts once
    return Vote(waiting=waiting, decision=decision, subject=person, concerned=is_concerned)
