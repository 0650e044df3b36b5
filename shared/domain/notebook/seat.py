"""The step of a notebook that has no seat under its groups' limits yet: until then, nothing is created or started.

Pure.
"""

from __future__ import annotations

from datetime import datetime

from shared.domain.intent.limits import next_seat_look
from shared.domain.notebook.actions import CreateInstance, RestoreData, StartInstance, UpdateInstance
from shared.domain.plan.plan import Policy
from shared.domain.plan.step import Step
from shared.domain.record.record import UserRecord
from shared.domain.record.status import ConditionStatus
from shared.domain.things.errors import Reason

_BRINGS = (CreateInstance, StartInstance, UpdateInstance, RestoreData)


def held_for_seat(step: Step, record: UserRecord, policy: Policy, now: datetime) -> Step:
    """Return the notebook's step, or a waiting step if the notebook has no seat yet.

    `record` is the record before the step.
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
    then = "Yours is made when one becomes free. There is nothing to do."
    if wait is not None and wait.spent:
        return (
            f"The monthly budget of {wait.spent[0]} is used up. Yours is made next month, or when the budget is raised."
        )
    if wait is None or not wait.is_full:
        return f"It could not be checked whether there is room for another notebook. {then}"
    rooms = [(group, policy.catalog.room_of(group)) for group in wait.groups]
    taken = " ".join(_taken(group, room) for group, room in rooms if room)
    none = " ".join(f"{group} gets no more notebooks at present." for group, room in rooms if not room)
    return " ".join(each for each in (taken, none, then) if each)


def _taken(group: str, room: int) -> str:
    return f"The only notebook of {group} is taken." if room == 1 else f"All {room} notebooks of {group} are taken."
