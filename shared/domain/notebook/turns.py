"""The part of a rollout that is about one user.

It has the change that waits for the turn, its start, and the time at which it was observed to work.

Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from msgspec.structs import replace

from shared.domain.notebook.differences import Differences
from shared.domain.plan.plan import Policy
from shared.domain.record.record import Power, UserRecord
from shared.domain.record.waves import RolloutState, Turn
from shared.domain.things.errors import BenchkeeperError, QuotaExhaustedError, StockoutError
from shared.domain.things.identity import UserKey
from shared.domain.things.notebook import NotebookState, ObservedNotebook


def in_turn(
    by: Callable[[Policy], Differences | None], policy: Policy, user_key: UserKey, turn: Turn | None
) -> Differences | None:
    """Return the differences by the policy in force; None if the configuration no longer has the profile.

    Differences that need a stop count only once the user's turn has come.

    If the instance is also wrong by all earlier policies, the rollout does not matter: the user moved, or the machine
    was changed by hand.
    """
    found, rollout = by(policy), policy.rollout
    if found is None or not found.disruptive or rollout is None or rollout.admits(user_key, turn):
        return found
    earlier = (by(each) for each in policy.earlier)
    is_right_by_one = any(each is not None and not each.disruptive for each in earlier)
    return found.without_disruptive() if is_right_by_one else found


def builds_by(policy: Policy, profile: str | None) -> Policy:
    """Return the policy by which a new notebook is created: the last earlier one that knows the profile while a rollout is halted.

    A joiner therefore does not get the change that has just failed.
    """
    if policy.rollout is None or policy.rollout.state is not RolloutState.HALTED:
        return policy
    known = (each for each in reversed(policy.earlier) if profile in each.catalog.profiles)
    return next(known, policy)


def without_old_turn(record: UserRecord, policy: Policy) -> UserRecord:
    """Return the record without the turn of a rollout that is no longer the latest."""
    turn = record.status.notebook.turn
    if turn is None or (policy.rollout is not None and turn.rollout == policy.rollout.rollout_id):
        return record
    return record.with_status(turn=None)


def with_turn(record: UserRecord, policy: Policy, now: datetime) -> UserRecord:
    """Return the record with the start of the user's change noted, if a rollout is under way."""
    rollout, turn = policy.rollout, record.status.notebook.turn
    if rollout is None or rollout.state is RolloutState.DONE:
        return record
    if turn is not None and turn.rollout == rollout.rollout_id and turn.ended_at is None and not turn.refused:
        return record
    return record.with_status(turn=Turn(rollout=rollout.rollout_id, began_at=now))


def with_refusal(record: UserRecord) -> UserRecord:
    """Return the record of a user who keeps the old notebook, because the cloud permanently refused the change."""
    turn = record.status.notebook.turn
    if turn is None or turn.ended_at is not None:
        return record
    return record.with_status(turn=replace(turn, refused=True))


def with_sold_out(record: UserRecord, error: BenchkeeperError, now: datetime) -> UserRecord:
    """Return the record of a user who waits for a machine that Google does not have now: the time limit starts again."""
    turn = record.status.notebook.turn
    if turn is None or turn.ended_at is not None or not isinstance(error, StockoutError | QuotaExhaustedError):
        return record
    return record.with_status(turn=replace(turn, sold_out=True, began_at=now))


def with_turn_ended(
    record: UserRecord, notebook: ObservedNotebook, now: datetime, differences: Callable[[], Differences]
) -> UserRecord:
    """Return the record with the end of a change that has worked: no step is left, and the notebook is healthy."""
    status, turn = record.status, record.status.notebook.turn
    if turn is None or turn.ended_at is not None or turn.refused:
        return record
    if turn.sold_out and notebook.state is NotebookState.ACTIVE:
        turn = replace(turn, sold_out=False, began_at=now)
        record = record.with_status(turn=turn)
    is_as_wanted = notebook.state is NotebookState.ACTIVE or record.spec.power is Power.STOPPED
    is_whole = status.notebook.former is None and status.data.restoring is None
    if not is_whole or not is_as_wanted or not notebook.is_well or differences().disruptive:
        return record
    return record.with_status(turn=replace(turn, ended_at=now))
