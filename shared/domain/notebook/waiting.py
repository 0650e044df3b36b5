"""The waits of a notebook: for its turn in a rollout, for a time at which it may be stopped, for a seat. Pure.

* In a rollout, a change that needs a stop waits for the user's turn. The record notes when the change began and when it worked.
* A change stops a running environment only at the times that its profile allows.
* Without a seat under the limits of the user's groups, nothing is created or started.

`watched` limits the time that a notebook may stay in transition, and then asks for an administrator. For a leaver, a
notebook in transition means that access has not ended yet. `notebook_step` applies `watched` to each step.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from shared.domain.intent.wanted import next_seat_look
from shared.domain.notebook.actions import CreateInstance, RestoreData, StartInstance, UpdateInstance
from shared.domain.notebook.differences import Differences
from shared.domain.plan.plan import OperationSeen, Policy
from shared.domain.plan.step import Scene, Step
from shared.domain.record.record import Power, Presence, UserRecord
from shared.domain.record.status import ConditionStatus
from shared.domain.record.waves import RolloutState, Turn
from shared.domain.things.catalog import Disruption, Profile, Window
from shared.domain.things.errors import BenchkeeperError, QuotaExhaustedError, Reason, StockoutError
from shared.domain.things.identity import UserKey
from shared.domain.things.notebook import (
    RESTING,
    Absent,
    NotebookState,
    NotLooked,
    ObservedNotebook,
    Unreadable,
    is_ours,
)


def in_turn(
    by: Callable[[Policy], Differences | None], policy: Policy, user_key: UserKey, turn: Turn | None
) -> Differences | None:
    """Return the differences by the policy in force; None if the configuration no longer has the profile.

    Differences that need a stop count only once the user's turn has come.

    If the instance also differs from all earlier policies, the differences count at once: not the rollout but a change of the
    user's profile or of the machine caused them.
    """
    found, rollout = by(policy), policy.rollout
    if found is None or not found.disruptive or rollout is None or rollout.admits(user_key, turn):
        return found
    earlier = (by(each) for each in policy.earlier)
    is_right_by_one = any(each is not None and not each.disruptive for each in earlier)
    return found.without_disruptive() if is_right_by_one else found


def builds_by(policy: Policy, profile: str | None) -> Policy:
    """Return the policy by which a notebook is created: `policy`, or during a halted rollout the last earlier one with the profile.

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
    """Return the record with the user's turn marked as refused, because the cloud permanently refused the change."""
    turn = record.status.notebook.turn
    if turn is None or turn.ended_at is not None:
        return record
    return record.with_status(turn=replace(turn, refused=True))


def with_sold_out(record: UserRecord, error: BenchkeeperError, now: datetime) -> UserRecord:
    """Return the record with the user's turn begun anew, if the error is a lack of capacity or quota.

    The time limit of the turn then starts again.
    """
    turn = record.status.notebook.turn
    if turn is None or turn.ended_at is not None or not isinstance(error, StockoutError | QuotaExhaustedError):
        return record
    return record.with_status(turn=replace(turn, sold_out=True, began_at=now))


def with_turn_ended(
    record: UserRecord, notebook: ObservedNotebook, now: datetime, differences: Callable[[], Differences]
) -> UserRecord:
    """Return the record with the end of the user's turn, if the change has worked.

    A change has worked if three things hold. No difference that needs a stop is left. No predecessor and no restore is left.
    The notebook is healthy, and is ACTIVE or should be stopped. The turn does not end if the cloud refused the change.
    """
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


def may_disrupt(profile: Profile, now: datetime) -> bool:
    """Return True if a running environment of this profile may be stopped for a change at `now`.

    A stopped environment may always be changed.
    """
    match profile.disruption:
        case Disruption.NOW:
            return True
        case Disruption.WHEN_IDLE:
            return False
        case Disruption.WINDOW:
            return profile.window is not None and _opened(profile.window, now) is not None


def next_chance(profile: Profile, now: datetime) -> datetime | None:
    """Return the next time at which a running environment may be stopped for a change.

    Return None if the change must wait until the environment is stopped for another reason.
    """
    if profile.disruption is Disruption.NOW:
        return now
    if profile.disruption is Disruption.WHEN_IDLE or profile.window is None:
        return None
    if _opened(profile.window, now) is not None:
        return now
    return min((start for start in _openings(profile.window, now) if start > now), default=None)


def say_when(profile: Profile, now: datetime) -> str:
    """Return in words when the notebook may next be stopped for a change, to complete a sentence for the user."""
    chance = next_chance(profile, now)
    if chance is None:
        return "when the notebook is stopped"
    return "now" if chance <= now else f"in the maintenance window that opens on {chance:%a %Y-%m-%d %H:%M} UTC"


def _opened(window: Window, now: datetime) -> datetime | None:
    return next((start for start in _openings(window, now) if start <= now < start + window.length), None)


def _openings(window: Window, now: datetime) -> list[datetime]:
    """Return the openings around `now`: from yesterday, because a window may still be open, until eight days from today."""
    today = now.astimezone(window.zone).date()
    days = [today + timedelta(days=offset) for offset in range(-1, 9)]
    return [
        datetime.combine(day, window.start, tzinfo=window.zone).astimezone(UTC)
        for day in days
        if day.weekday() in window.days
    ]


NOT_CUT = "Access is not cut yet."
CUT_AGAIN_AFTER = timedelta(minutes=10)  # the longest wait before a leaver's cut is tried again
_CUT_WITHIN = timedelta(minutes=15)  # a stop takes a minute or two, and a create that must end first about five


def watched(step: Step, scene: Scene) -> Step:
    """Return the step, with the time since which the notebook has been in transition noted in the step's record.

    If the transition takes too long, the step asks for an administrator; for an entitled user only if it has no actions
    itself. The step of an instance that is not ours does not change.
    """
    record, notebook = step.record, scene.seen.notebook
    leaves = record.spec.presence is Presence.ABSENT
    match notebook:
        case Absent() | NotLooked():
            return replace(step, record=record.with_status(unsettled_since=None))
        case Unreadable():
            return _unseen(step, scene) if leaves and not record.status.notebook.power_settled else step
        case ObservedNotebook() if not is_ours(notebook, record.user_key, record.status.notebook.instance_uid):
            return step
        case ObservedNotebook():
            pass
    if not _is_unsettled(record, notebook):
        return replace(step, record=record.with_status(unsettled_since=None))
    since = record.status.notebook.unsettled_since or scene.now
    step = replace(step, record=record.with_status(unsettled_since=since))
    if leaves:
        return _not_cut(step, notebook, since, scene)
    seen = scene.seen.operation
    is_awaited = isinstance(seen, Unreadable) or (isinstance(seen, OperationSeen) and not seen.done)
    if not record.status.notebook.was_active and not is_awaited and notebook.create_time is not None:
        since = min(since, notebook.create_time)
    if scene.now - since <= scene.policy.stuck_after or step.actions:
        return step
    what = (
        "runs without an address"
        if notebook.state is NotebookState.ACTIVE
        else "has been in a state that Benchkeeper does not know"
        if notebook.state is NotebookState.UNSPECIFIED
        else f"has been {notebook.state.value}"
    )
    return replace(
        step,
        condition=ConditionStatus.FALSE,
        reason=Reason.STUCK,
        message=f"The notebook {what} for too long; an administrator should look.",
        requeue_after=scene.policy.poll * 10,
    )


def _is_unsettled(record: UserRecord, notebook: ObservedNotebook) -> bool:
    if record.spec.presence is Presence.ABSENT:
        return notebook.state not in RESTING
    if notebook.state is NotebookState.ACTIVE:
        return not notebook.proxy_uri
    return notebook.state not in RESTING


def _since(record: UserRecord, first_seen: datetime) -> datetime:
    """Return the time since which a leaver's access should have ended: not earlier than the end of entitlement."""
    return max(first_seen, record.spec.absent_since or first_seen)


def _not_cut(step: Step, notebook: ObservedNotebook, first_seen: datetime, scene: Scene) -> Step:
    late = scene.now - _since(step.record, first_seen) > _CUT_WITHIN
    state = "in an unknown state" if notebook.state is NotebookState.UNSPECIFIED else notebook.state.value
    why = f"The notebook is {state}, and its stop takes too long; an administrator should look."
    return replace(
        step,
        reason=Reason.ACCESS_NOT_CUT if late else step.reason,
        message=f"{NOT_CUT} {why if late else step.message}",
        requeue_after=min(step.requeue_after or scene.policy.poll, scene.policy.poll * 2),
    )


def _unseen(step: Step, scene: Scene) -> Step:
    since = step.record.spec.absent_since
    if since is None or scene.now - since <= _CUT_WITHIN:
        return step
    return replace(step, reason=Reason.ACCESS_NOT_CUT, message=f"It is not known if access is cut. {step.message}")


_BRINGS = (CreateInstance, StartInstance, UpdateInstance, RestoreData)


def held_for_seat(step: Step, record: UserRecord, policy: Policy, now: datetime) -> Step:
    """Return the notebook's step, or a waiting step if the notebook has no seat yet.

    Only a step that creates, starts, updates or restores needs a seat. `record` is the record before the step.
    """
    if not record.asks_for_seats or (not record.missing_seats and record.status.guard.seat_wait is None):
        return step
    if not any(isinstance(action, _BRINGS) for action in step.actions):
        return step
    look = next_seat_look(record, now)
    return Step(
        record=record,
        condition=ConditionStatus.FALSE,
        reason=Reason.LIMIT_REACHED,
        message=_said(record, policy),
        requeue_after=None if look is None else look - now,
        because=("There is no free place under the limit of a group.",),
    )


def _said(record: UserRecord, policy: Policy) -> str:
    wait = record.status.guard.seat_wait
    then = "Your notebook is created when a place becomes free. You need to do nothing."
    if wait is not None and wait.spent:
        return f"The monthly budget of {wait.spent[0]} is used up. Your notebook is created next month, or when the budget is raised."
    if wait is None or not wait.is_full:
        return f"It could not be checked whether there is room for another notebook. {then}"
    rooms = [(group, policy.catalog.room_of(group)) for group in wait.groups]
    taken = " ".join(_taken(group, room) for group, room in rooms if room)
    none = " ".join(f"{group} gets no more notebooks at present." for group, room in rooms if not room)
    return " ".join(each for each in (taken, none, then) if each)


def _taken(group: str, room: int) -> str:
    return f"The only notebook of {group} is taken." if room == 1 else f"All {room} notebooks of {group} are taken."
