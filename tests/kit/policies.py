"""Policies in force, whatever their impact."""

from __future__ import annotations

from shared.domain.policy.policy_change import PolicyInForce
from shared.domain.policy.policy_codec import content_of, digest_of
from shared.engine.ports.deps import Deps


def in_force(deps: Deps) -> Deps:
    """Put the files of these dependencies in force, as if everybody had agreed."""
    content = content_of(deps.base_policy)
    policy = PolicyInForce(digest=digest_of(content), content=content, since=deps.clock.now())
    deps.policies.put(policy, expected=deps.policies.load())
    return deps
