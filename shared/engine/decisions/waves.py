"""The rollout of a change of machines or images through the fleet, wave by wave. Each drift sweep opens, halts or ends it.

The rollout is part of `policy/current`, so each step is one conditional write, and every function sees it within a minute. The decision
to continue after a halt, or to go back, is made in `shared.engine.decisions.decisions`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from shared.domain.fleet.drift import notebook_differences
from shared.domain.fleet.seen import Instances, Seen
from shared.domain.plan.plan import Policy
from shared.domain.policy.policy_change import PolicyInForce, Proposal
from shared.domain.policy.policy_codec import shape_of
from shared.domain.record.record import Power, Presence, RecordRow
from shared.domain.record.waves import (
    FROM,
    Counts,
    Rollout,
    RolloutState,
    Sight,
    Standing,
    begin,
    counts_of,
    judge,
    rank,
    standing_of,
)
from shared.domain.things.errors import BenchkeeperError
from shared.domain.things.notebook import RESTING, NotebookState, ObservedNotebook
from shared.engine.ports.deps import Deps


def next_rollout(current: PolicyInForce, proposal: Proposal, now: datetime) -> Rollout | None:
    """Return the rollout of a policy that replaces `current`; None if it needs none.

    A policy that changes few notebooks continues the rollout under way. A return to the policy from before that rollout
    ends it.
    """
    shaped = [each for each in proposal.impact.entries if each.stops_notebook]
    under_way = (
        current.rollout if current.rollout is not None and current.rollout.state is not RolloutState.DONE else None
    )
    known, wanted = under_way.earlier if under_way is not None else (), shape_of(proposal.content)
    if len(shaped) < FROM:
        return None if under_way is None or wanted in known else under_way
    earlier: list[Mapping[str, Any]] = []
    for shape in (*known, shape_of(current.content)):
        if shape != wanted and shape not in earlier:
            earlier.append(shape)
    said = f"{proposal.digest}|{current.digest}|{now.isoformat()}"
    return begin(
        hashlib.sha256(said.encode()).hexdigest()[:16],
        (each.user_key for each in shaped),
        rather=frozenset(each.user_key for each in shaped if not each.interrupts),
        before=current.content,
        earlier=tuple(earlier),
        now=now,
    )


def keep_waves(deps: Deps, seen: Seen, unreachable: frozenset[str], now: datetime) -> None:
    """Count the state of all users whose turn has come; then open the next wave, or halt or end the rollout under way.

    The rows are listed for this once or twice, and only while a rollout is under way. A failed read or write is left to the next sweep, and
    does not stop the rest of this sweep.
    """
    try:
        _keep_waves(deps, seen, unreachable, now)
    except BenchkeeperError as error:
        deps.log.warning("Rollout could not be advanced", reason=error.reason.value, detail=error.detail)


def _keep_waves(deps: Deps, seen: Seen, unreachable: frozenset[str], now: datetime) -> None:
    if deps.policy.rollout is None or deps.policy.rollout.state is RolloutState.DONE:
        return
    current = deps.policies.load()
    rollout = current.rollout if current is not None else None
    if current is None or rollout is None or rollout.state is RolloutState.DONE:
        return
    policy = deps.policy
    counts = count(rollout, deps.records.rows(), seen, unreachable, policy, now)
    judged = judge(rollout, counts, now)
    if rollout.wave == 0 and not counts.begun and judged.state is RolloutState.OPEN:
        judged = _with_another_first(replace(rollout, counts=counts), judged, deps.records.rows(), seen, policy)
    if judged != rollout:
        deps.policies.put(replace(current, rollout=judged), expected=current)
    match judged.state:
        case RolloutState.HALTED:  # logged at each sweep until an administrator decides
            deps.log.error("Halted a rollout", **facts_of(judged))
        case RolloutState.DONE:
            deps.log.info("Finished a rollout", **facts_of(judged))
        case RolloutState.OPEN if judged.wave != rollout.wave:
            deps.log.info("Started the next wave of a rollout", **facts_of(judged))
        case RolloutState.OPEN:
            deps.log.info("Found a rollout under way", **facts_of(judged))


def go_on(rollout_id: str, deps: Deps, now: datetime) -> None:
    """Continue a halted rollout; users whose change failed are tried again. Idempotent."""
    current = deps.policies.load()
    rollout = current.rollout if current is not None else None
    if (
        current is None
        or rollout is None
        or rollout.rollout_id != rollout_id
        or rollout.state is not RolloutState.HALTED
    ):
        return
    open_again = replace(rollout, state=RolloutState.OPEN, excused_at=now)
    deps.policies.put(replace(current, rollout=open_again), expected=current)
    deps.log.info("Resumed a rollout", **facts_of(open_again))


def halted(deps: Deps) -> tuple[PolicyInForce, Rollout] | None:
    """Return the policy in force together with its rollout; None unless the rollout is halted."""
    current = deps.policies.load()
    if current is None or current.rollout is None or current.rollout.state is not RolloutState.HALTED:
        return None
    return current, current.rollout


def count(
    rollout: Rollout, rows: Iterable[RecordRow], seen: Seen, unreachable: frozenset[str], policy: Policy, now: datetime
) -> Counts:
    """Count the users whose turn has come, by standing, from listings alone."""
    return counts_of(
        standing
        for row in rows
        if row.presence is Presence.PRESENT and rollout.reaches(row.user_key)
        if (standing := _standing(rollout, row, seen, unreachable, policy, now)) is not None
    )


def counts_now(rollout: Rollout, deps: Deps) -> Counts:
    """Return the current counts, by a listing of records and one of instances."""
    seen, unreachable = instances_now(deps)
    return count(rollout, deps.records.rows(), seen, unreachable, deps.policy, deps.clock.now())


def instances_now(deps: Deps) -> tuple[Instances, frozenset[str]]:
    """List all instances, page by page; return them packed, and the zones that did not answer."""
    unreachable: set[str] = set()

    def listed() -> Iterator[ObservedNotebook]:
        for page in deps.notebooks.pages():
            unreachable.update(page.unreachable)
            yield from page.notebooks

    return Instances(listed(), deps.policy), frozenset(unreachable)


def _standing(
    rollout: Rollout, row: RecordRow, seen: Seen, unreachable: frozenset[str], policy: Policy, now: datetime
) -> Standing | None:
    return standing_of(rollout, row.turn, _sight(row, seen, unreachable, policy), now)


def _sight(row: RecordRow, seen: Seen, unreachable: frozenset[str], policy: Policy) -> Sight:
    notebook = seen.get((row.zone or "", row.instance_id or ""))
    if notebook is None:
        is_unknown = row.zone in unreachable
        return Sight(in_line=None, works=None if is_unknown else False)
    differences = notebook_differences(row, notebook, policy)
    works = not row.busy and row.former is None and notebook.is_well
    is_as_wanted = notebook.state is NotebookState.ACTIVE or (notebook.state in RESTING and row.power is Power.STOPPED)
    return Sight(
        in_line=None if differences is None else not differences.disruptive,
        works=works and is_as_wanted,
    )


def _with_another_first(
    rollout: Rollout, judged: Rollout, rows: Iterable[RecordRow], seen: Seen, policy: Policy
) -> Rollout:
    """Return the rollout with another first user, so that a wave of one user can begin; `judged` if no other user is better.

    A user whose notebook is stopped comes first. A user whose notebook runs is taken only if no user's change was counted
    so far.
    """
    waiting = []
    for row in rows:
        notebook = seen.get((row.zone or "", row.instance_id or ""))
        if notebook is None or row.presence is Presence.ABSENT or row.user_key == rollout.first:
            continue
        differences = notebook_differences(row, notebook, policy)
        if differences is not None and differences.disruptive:
            waiting.append((notebook.state not in RESTING, rank(rollout.rollout_id, row.user_key), row.user_key))
    if not waiting:
        return judged
    works, _, key = min(waiting)
    if works and rollout.counts.people:
        return judged  # the present first user's notebook runs, too: wait for one to stop
    return replace(rollout, first=key)


def facts_of(rollout: Rollout) -> dict[str, object]:
    """Return the facts about a rollout for the log."""
    counts = rollout.counts
    return {
        "rollout": rollout.rollout_id,
        "state": rollout.state.value,
        "wave": rollout.wave + 1,
        "waves": len(rollout.sizes),
        "people": rollout.sizes[rollout.wave],
        "of": rollout.sizes[-1],
        "verified": counts.verified,
        "under_way": counts.under_way,
        "failed": counts.failed,
        "waits": counts.waits,
        "sold_out": counts.sold_out,
    }
