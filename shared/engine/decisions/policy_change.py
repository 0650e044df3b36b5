"""A change of policy: its impact on all users, the wait for approval, and its coming into force (ADR 19).

The hourly drift sweep proposes the files that its revision was deployed with (`keep_policy`); the command line reads the impact
(`impact_of_policy`). A change below the limits is put in force at once, by compare-and-set on the policy that it was judged by. A change
above them waits: all decisions use the policy in force until an approval calls `put_in_force`, or a rejection calls `reject`.

Every step may be repeated after a crash. A proposal that was not put in force is judged again. If an approved list was
stored but its policy was not, the same approval writes both again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from shared.domain.plan.plan import Policy
from shared.domain.policy.effect import Effect
from shared.domain.policy.impact import Impact, differing, excesses, impact_of
from shared.domain.policy.policy_change import Approved, Noted, Outcome, PolicyInForce, Proposal
from shared.domain.policy.policy_codec import UnknownContentError, content_of, digest_of, with_content
from shared.domain.record.waves import Rollout
from shared.domain.things.errors import (
    ConflictError,
    PermanentError,
    Reason,
    RefusedError,
)
from shared.domain.things.identity import UserKey
from shared.engine.decisions.policy_impact import impact_of_policy
from shared.engine.decisions.waves import facts_of, next_rollout
from shared.engine.ports.deps import Deps

_TRIES = 6
_MOST_NAMED = 20


class Proposed(Struct, frozen=True, kw_only=True):
    """The result of proposing a policy, with the proposal if it was judged."""

    outcome: Outcome
    digest: str
    proposal: Proposal | None = None


class PutInForce(Struct, frozen=True, kw_only=True):
    """The result of an approval. `left_out` are the effects that were not approved: not in the list, or changed since."""

    policy: PolicyInForce
    approved: Impact
    left_out: tuple[Effect, ...]


# --- proposing


def keep_policy(deps: Deps) -> Proposed:
    """Propose the files that this process was deployed with, if they are not in force. Called by each drift sweep.

    An earlier revision that still runs does not propose its files again, unless they were deployed again since.
    """
    digest = digest_of(content_of(deps.base_policy))
    current = deps.policies.load()
    if current is not None and current.digest == digest:
        _withdraw_others(current, deps)
        return Proposed(outcome=Outcome.IN_FORCE, digest=digest)
    deployed = _last_deployed(digest, deps)
    proposed = propose(deps.base_policy, deps, deployed=deployed)
    proposal = proposed.proposal
    match proposed.outcome:
        case Outcome.WAITS if proposal is not None:
            deps.log.warning("Held back a policy change", **_facts(proposal))
        case Outcome.REJECTED | Outcome.SUPERSEDED:
            deps.log.warning("Deployed files were not put in force", digest=digest, because=proposed.outcome.value)
        case Outcome.FOREIGN:
            deps.log.error("Policy in force was written by another program", digest=digest)
        case _:
            pass
    return proposed


def _last_deployed(digest: str, deps: Deps) -> Noted | None:
    """Return the last deployment of files with that digest: this revision's own or the noted one. None if neither is known."""
    noted = [deps.policies.deployed(digest), deps.deployed]
    return max((each for each in noted if each is not None and each.digest == digest), key=lambda e: e.at, default=None)


def _withdraw_others(current: PolicyInForce, deps: Deps) -> None:
    """Withdraw the proposal that is already in force, and those made before the files in force were deployed again."""
    proposals = deps.policies.proposals()
    if not proposals:
        return
    deployed = _last_deployed(current.digest, deps)
    older = [each.digest for each in proposals if deployed is not None and each.at < deployed.at]
    superseded = current.followed_by(current.digest, *older)
    if superseded != current.superseded and _put(replace(current, superseded=superseded), current, deps) is None:
        return  # the next sweep tries again
    for digest in {current.digest, *older}:
        deps.policies.withdraw(digest)


def propose(own: Policy, deps: Deps, *, deployed: Noted | None = None) -> Proposed:
    """Put a policy in force if it exceeds no limit; otherwise store it as waiting for approval. Idempotent.

    `deployed` is the note of the last deployment of the policy's files. A policy that was in force before is proposed again only
    if it was deployed after the policy in force. A waiting proposal is judged again if the policy in force has changed
    since. Raise an error if this policy has a proposal but no policy is in force. Raise `ConflictError` if other processes
    keep changing the policy in force.
    """
    author, deployed_at = (deployed.by, deployed.at) if deployed is not None else ("", None)
    content = content_of(own)
    digest = digest_of(content)
    for _ in range(_TRIES):
        current = deps.policies.load()
        settled = _settled(digest, current, deployed, deps)
        if settled is not None:
            return settled
        known = deps.policies.proposal(digest)
        if current is None:
            if known is not None:
                raise _gone()
            first = PolicyInForce(
                digest=digest, content=content, since=deps.clock.now(), by=author, deployed_at=deployed_at
            )
            if _put(first, None, deps):
                return Proposed(outcome=Outcome.PUT, digest=digest)
            continue
        if known is not None and known.excesses and known.base == current.digest:
            return Proposed(outcome=Outcome.WAITS, digest=digest, proposal=known)
        try:
            before = with_content(own, current.content)
        except UnknownContentError:
            return Proposed(outcome=Outcome.FOREIGN, digest=digest)
        judged = impact_of_policy(own, deps, before=before)
        proposal = Proposal(
            digest=digest,
            content=content,
            at=known.at if known is not None else deps.clock.now(),
            author=author or (known.author if known is not None else ""),
            base=current.digest,
            impact=judged.impact,
            excesses=judged.excesses,
            fleet=judged.fleet.size,
            deployed_at=deployed_at,
        )
        deps.policies.propose(proposal)
        if proposal.excesses:
            return Proposed(outcome=Outcome.WAITS, digest=digest, proposal=proposal)
        if _follow(proposal, current, deps):
            return Proposed(outcome=Outcome.PUT, digest=digest, proposal=proposal)
    raise _lost_the_race()


def _settled(digest: str, current: PolicyInForce | None, deployed: Noted | None, deps: Deps) -> Proposed | None:
    """Return the result for a policy that is in force, rejected, or superseded and not deployed again; None if it must be judged."""
    if current is not None and current.digest == digest:
        return Proposed(outcome=Outcome.IN_FORCE, digest=digest)
    if deps.policies.rejected(digest) is not None:
        return Proposed(outcome=Outcome.REJECTED, digest=digest)
    is_wished = deployed is not None and (current is None or current.is_older_than(deployed))
    if current is not None and digest in current.superseded and not is_wished:
        return Proposed(outcome=Outcome.SUPERSEDED, digest=digest)
    return None


def _follow(
    proposal: Proposal, current: PolicyInForce, deps: Deps, *, approved_by: tuple[str, ...] = ()
) -> PolicyInForce | None:
    """Put a proposal in force in place of the policy that it was judged by; return None if another process was faster.

    Also withdraw the proposals that it supersedes.
    """
    older = [each.digest for each in deps.policies.proposals() if each.at < proposal.at]
    policy = PolicyInForce(
        digest=proposal.digest,
        content=proposal.content,
        since=deps.clock.now(),
        by=proposal.author,
        impact_digest=proposal.impact.digest,
        approved_by=approved_by,
        superseded=current.followed_by(proposal.digest, *older),
        deployed_at=proposal.deployed_at,
        rollout=next_rollout(current, proposal, deps.clock.now()),
    )
    put = _put(policy, current, deps)
    if put is None:
        return None
    if put.rollout is not None:
        deps.log.info(
            "Started the next wave of a rollout" if put.rollout.wave else "Rollout began", **facts_of(put.rollout)
        )
    for digest in (*older, proposal.digest):
        deps.policies.withdraw(digest)
    deps.log.info("Put a policy in force", approvers=len(approved_by), **_facts(proposal))
    return put


def _put(policy: PolicyInForce, expected: PolicyInForce | None, deps: Deps) -> PolicyInForce | None:
    try:
        return deps.policies.put(policy, expected=expected)
    except ConflictError:
        return None


def _facts(proposal: Proposal) -> dict[str, object]:
    return {
        "digest": proposal.digest,
        "impact": proposal.impact.digest,
        "people": len(proposal.impact.entries),
        "counts": {kind.value: count for kind, count in proposal.impact.counts.items()},
        "above": [each.limit.value for each in proposal.excesses],
    }


# --- what an approval calls


def waiting(deps: Deps) -> tuple[Proposal, ...]:
    """Return the policies that wait for approval, each with its judged impact, oldest first."""
    return tuple(each for each in deps.policies.proposals() if each.excesses)


def put_in_force(digest: str, deps: Deps, *, impact_digest: str, approved_by: Sequence[str]) -> PutInForce:
    """Put an approved policy in force for exactly the users of the approved list. Idempotent.

    `impact_digest` is that of the list that the users in `approved_by` saw. All users are judged again. A user who is
    not in the list, or whose entry differs by now, is left out of `policy/approved/<digest>` and logged. A user who is
    no longer affected is left out. If the entries that are new or differ are above the limits of a change without
    approval, the policy is not put in force. The new list then waits in place of the old one, and `RefusedError` is
    raised.
    """
    by = tuple(dict.fromkeys(approved_by))
    for _ in range(_TRIES):
        current, proposal = deps.policies.load(), deps.policies.proposal(digest)
        if current is not None and current.digest == digest:
            return _done(current, digest, deps)
        if current is None or proposal is None or deps.policies.rejected(digest) is not None:
            raise _refused("This change is no longer waiting.", f"no policy {digest[:40]} waits")
        before, after = (with_content(deps.base_policy, each) for each in (current.content, proposal.content))
        _check_approval(proposal, before, impact_digest=impact_digest, by=by)
        judged = impact_of_policy(after, deps, before=before)
        left_out = differing(proposal.impact, judged.impact)
        if excesses(impact_of(left_out), judged.fleet, before.guard):
            fresh = replace(proposal, base=current.digest, impact=judged.impact, excesses=judged.excesses)
            deps.policies.propose(replace(fresh, excesses=fresh.excesses or proposal.excesses))
            raise _refused(
                "The change is different now: check the new list, and approve that one.",
                f"{len(left_out)} people are not in the approved list of {digest}",
            )
        agreed = _agreed(proposal.impact, judged.impact)
        deps.policies.approve(Approved(digest=digest, impact=agreed, by=by, at=deps.clock.now()))
        put = _follow(proposal, current, deps, approved_by=by)
        if put is not None:
            _report_left_out(digest, left_out, deps)
            return PutInForce(policy=put, approved=agreed, left_out=left_out)
    raise _lost_the_race()


def _done(current: PolicyInForce, digest: str, deps: Deps) -> PutInForce:
    approved = deps.policies.approved(digest)
    agreed = approved.impact if approved is not None else impact_of([])
    return PutInForce(policy=current, approved=agreed, left_out=())


def _agreed(approved: Impact, now: Impact) -> Impact:
    agreed = {each.bound for each in approved.entries}
    return impact_of(each for each in now.entries if each.bound in agreed)


def _check_approval(proposal: Proposal, before: Policy, *, impact_digest: str, by: tuple[str, ...]) -> None:
    """Raise `RefusedError` if another list was approved than the present one, or if no user other than the author approved.

    An approval of the author alone is enough if the guard in force needs one approver. The proposed guard does not count,
    so that no proposal can lower the number of approvals for itself.
    """
    if impact_digest != proposal.impact.digest:
        raise _refused(
            "The change is different now: check the new list, and approve that one.",
            f"approved was {impact_digest[:40]}, {proposal.impact.digest} waits",
        )
    others = [each for each in by if each.lower() != proposal.author.lower()]
    if not by or (before.guard.approvers > 1 and not others):
        raise _refused(
            "The change must be approved by a person other than the person who deployed it.",
            "approved only by the author",
        )


def _report_left_out(digest: str, left_out: tuple[Effect, ...], deps: Deps) -> None:
    if left_out:
        named: list[UserKey] = [each.user_key for each in left_out[:_MOST_NAMED]]
        deps.log.warning("Left users out of an approved change", digest=digest, people=len(left_out), users=named)


def take_back(current: PolicyInForce, rollout: Rollout, deps: Deps, *, by: Sequence[str]) -> PolicyInForce | None:
    """Put the policy from before the rollout in force again; return None if another process was faster. Idempotent.

    The deployed policy is rejected first, so that no sweep proposes it again. Notebooks that were changed already are changed back, in
    waves if they are many. Raise `RefusedError` if this program cannot read the earlier policy.
    """
    content = rollout.before
    try:
        earlier = with_content(deps.base_policy, content)
    except UnknownContentError as error:
        raise _refused(
            "Another version of Benchkeeper wrote the policy before this one. Deploy its files again instead.",
            f"content of the policy before {current.digest}: {error}"[:300],
        ) from error
    deps.policies.reject(Noted(digest=current.digest, by=" ".join(by), at=deps.clock.now()))
    judged = impact_of_policy(earlier, deps)
    proposal = Proposal(
        digest=digest_of(content),
        content=content,
        at=deps.clock.now(),
        author="",
        base=current.digest,
        impact=judged.impact,
        fleet=judged.fleet.size,
    )
    return _follow(proposal, current, deps, approved_by=tuple(by))


def reject(digest: str, deps: Deps, *, by: str) -> None:
    """Reject a policy, so that it is not proposed again until the files change. Idempotent.

    Raise `RefusedError` if the policy is in force already.
    """
    current = deps.policies.load()
    if current is not None and current.digest == digest:
        raise _refused("This policy is in force already.", f"policy {digest} is in force")
    deps.policies.reject(Noted(digest=digest, by=by, at=deps.clock.now()))
    deps.policies.withdraw(digest)
    deps.log.warning("Policy change was rejected", digest=digest)


def note_deployed(own: Policy, deps: Deps, *, by: str, at: datetime | None = None) -> str:
    """Store a note of the deployment of these files, and return their digest.

    The sweep that proposes the files reads the note. A deployment counts as a request for the files' policy.
    """
    digest = digest_of(content_of(own))
    deps.policies.note_deployed(Noted(digest=digest, by=by, at=at or deps.clock.now()))
    return digest


def _refused(user_message: str, detail: str) -> RefusedError:
    return RefusedError(user_message=user_message, detail=detail)


def _gone() -> PermanentError:
    return PermanentError(
        user_message="The object policy/current is gone. An administrator must restore an older version of it.",
        detail="a policy waits, and none is in force",
        reason=Reason.UNREADABLE,
    )


def _lost_the_race() -> ConflictError:
    return ConflictError(
        user_message="The policy in force is being changed by another process just now; Benchkeeper tries again.",
        detail=f"the policy in force changed under {_TRIES} attempts to write it",
    )
