"""The policy in force and the proposed policies: the objects below `policy/`, as types and as JSON. Pure.

`policy/current`             the policy in force: all functions judge by this policy, not by their own files
`policy/proposed/<digest>`   a policy that waits for approval, with its impact as it was judged
`policy/approved/<digest>`   the approved list of users; exactly these users may be changed by it
`policy/rejected/<digest>`   a policy that was refused; the same files are never proposed again
`policy/deployed/<digest>`   the last deployment of files with that digest: its author, and a request to go back to these files
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from msgspec import Struct

from shared.domain.policy import impact as impacts
from shared.domain.policy.impact import Excess, Impact, Limit
from shared.domain.policy.policy_codec import digest_of
from shared.domain.record import waves
from shared.domain.record.waves import Rollout

MOST_SUPERSEDED = 50


def bound_digest(digest: str, impact_digest: str) -> str:
    """Return the digest that a decision names: it covers the policy and its list of users."""
    return hashlib.sha256(f"{digest}|{impact_digest}".encode()).hexdigest()[:32]


class PolicyInForce(Struct, frozen=True, kw_only=True):
    """The policy by which all functions judge. `content` is the result of `policy_codec.content_of`.

    `superseded` are the digests that were in force or proposed before, so that the sweep of an older revision does not
    propose its files again. `deployed_at` is the time at which the files were deployed, None if unknown. `rollout` is set
    if the policy changes many notebooks. `generation` is the generation of the object, 0 for a policy that is not
    written yet.
    """

    digest: str
    content: Mapping[str, Any]
    since: datetime
    by: str = ""
    impact_digest: str = ""
    approved_by: tuple[str, ...] = ()
    superseded: tuple[str, ...] = ()
    deployed_at: datetime | None = None
    rollout: Rollout | None = None
    generation: int = 0

    def is_older_than(self, deployed: Noted) -> bool:
        """Return True if the deployment `deployed` is newer than the files of this policy."""
        return deployed.at > (self.deployed_at or self.since)

    def followed_by(self, digest: str, *more: str) -> tuple[str, ...]:
        """Return the digests that are superseded once the policy with the given digest replaces this policy."""
        known = dict.fromkeys((*self.superseded, self.digest, *more))
        return tuple(each for each in known if each != digest)[-MOST_SUPERSEDED:]


class Proposal(Struct, frozen=True, kw_only=True):
    """A policy that is not in force.

    `base` is the digest of the policy in force when `impact` was judged, and `fleet` the number of users who then had access.
    `author` is the account that deployed the proposed policy, "" if unknown. A proposal without `excesses` needs no approval.
    """

    digest: str
    content: Mapping[str, Any]
    at: datetime
    author: str
    base: str
    impact: Impact
    excesses: tuple[Excess, ...] = ()
    fleet: int = 0
    deployed_at: datetime | None = None

    @property
    def decided_by(self) -> str:
        """Return the digest that a decision about this proposal names. It covers the policy and the list of users."""
        return bound_digest(self.digest, self.impact.digest)


class Approved(Struct, frozen=True, kw_only=True):
    """An approval: `impact` has exactly the users who may be changed, each with cause and kinds of step."""

    digest: str
    impact: Impact
    by: tuple[str, ...]
    at: datetime


class Noted(Struct, frozen=True, kw_only=True):
    """A note that the policy with a digest was rejected or deployed: by which account, and when."""

    digest: str
    by: str
    at: datetime


class Outcome(StrEnum):
    """The result of proposing a policy."""

    IN_FORCE = "InForce"  # the policy was in force already
    PUT = "Put"  # the policy is in force now
    WAITS = "Waits"  # for approval
    REJECTED = "Rejected"
    SUPERSEDED = "Superseded"  # a newer policy took its place; only a deployment proposes it again
    FOREIGN = "Foreign"  # the policy in force was written by a program that this one does not understand


def in_force_to_json(policy: PolicyInForce) -> dict[str, Any]:
    """Return the policy in force in JSON types, without the generation."""
    return {
        "version": 1,
        "digest": policy.digest,
        "content": policy.content,
        "since": policy.since.isoformat(),
        "by": policy.by,
        "impact_digest": policy.impact_digest,
        "approved_by": list(policy.approved_by),
        "superseded": list(policy.superseded),
        "deployed_at": _text(policy.deployed_at),
        "rollout": None if policy.rollout is None else waves.to_json(policy.rollout),
    }


def in_force_from_json(raw: Mapping[str, Any], generation: int) -> PolicyInForce:
    """Return the policy that `in_force_to_json` wrote. Raise `LookupError`, `TypeError` or `ValueError` for anything else."""
    return PolicyInForce(
        digest=_digest(raw),
        content=raw["content"],
        since=_time(raw["since"]),
        by=str(raw["by"]),
        impact_digest=str(raw["impact_digest"]),
        approved_by=tuple(str(each) for each in raw["approved_by"]),
        superseded=tuple(str(each) for each in raw["superseded"]),
        deployed_at=_time(raw["deployed_at"]) if raw["deployed_at"] else None,
        rollout=waves.from_json(raw["rollout"]) if raw.get("rollout") else None,  # an earlier program wrote no such key
        generation=generation,
    )


def proposal_to_json(proposal: Proposal) -> dict[str, Any]:
    """Return the proposal in JSON types."""
    return {
        "version": 1,
        "digest": proposal.digest,
        "content": proposal.content,
        "at": proposal.at.isoformat(),
        "author": proposal.author,
        "base": proposal.base,
        "impact_digest": proposal.impact.digest,
        "impact": impacts.to_json(proposal.impact),
        "excesses": [[e.limit.value, e.count, e.most, e.name] for e in proposal.excesses],
        "fleet": proposal.fleet,
        "deployed_at": _text(proposal.deployed_at),
    }


def proposal_from_json(raw: Mapping[str, Any]) -> Proposal:
    """Return the proposal that `proposal_to_json` wrote. Raise `LookupError`, `TypeError` or `ValueError` for anything else."""
    return Proposal(
        digest=_digest(raw),
        content=raw["content"],
        at=_time(raw["at"]),
        author=str(raw["author"]),
        base=str(raw["base"]),
        impact=_impact(raw),
        excesses=tuple(
            Excess(Limit(limit), int(count), int(most), name) for limit, count, most, name in raw["excesses"]
        ),
        fleet=int(raw["fleet"]),
        deployed_at=_time(raw["deployed_at"]) if raw["deployed_at"] else None,
    )


def approved_to_json(approved: Approved) -> dict[str, Any]:
    """Return the approval in JSON types."""
    return {
        "version": 1,
        "digest": approved.digest,
        "impact_digest": approved.impact.digest,
        "impact": impacts.to_json(approved.impact),
        "by": list(approved.by),
        "at": approved.at.isoformat(),
    }


def approved_from_json(raw: Mapping[str, Any]) -> Approved:
    """Return the approval that `approved_to_json` wrote. Raise `LookupError`, `TypeError` or `ValueError` for anything else."""
    return Approved(
        digest=str(raw["digest"]),
        impact=_impact(raw),
        by=tuple(str(each) for each in raw["by"]),
        at=_time(raw["at"]),
    )


def noted_to_json(noted: Noted) -> dict[str, Any]:
    """Return the note in JSON types."""
    return {"version": 1, "digest": noted.digest, "by": noted.by, "at": noted.at.isoformat()}


def noted_from_json(raw: Mapping[str, Any]) -> Noted:
    """Return the note that `noted_to_json` wrote. Raise KeyError, TypeError or ValueError for anything else."""
    return Noted(digest=str(raw["digest"]), by=str(raw["by"]), at=_time(raw["at"]))


def _digest(raw: Mapping[str, Any]) -> str:
    """Return the digest. Raise ValueError if the content has another digest, so that only the approved content is used."""
    digest = str(raw["digest"])
    if digest != digest_of(raw["content"]):
        raise ValueError(f"the content is not that of digest {digest[:40]!r}")
    return digest


def _impact(raw: Mapping[str, Any]) -> Impact:
    found = impacts.from_json(raw["impact"])
    if found.digest != raw["impact_digest"]:
        raise ValueError("the list of people is not that of its digest")
    return found


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
