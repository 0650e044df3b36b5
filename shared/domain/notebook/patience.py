"""The limits of patience: a notebook that stays in transition for too long needs an administrator.

For a leaver, it means that access is not cut yet. `notebook_step` applies it to each step.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec.structs import replace

from shared.domain.plan.plan import OperationSeen
from shared.domain.plan.step import Scene, Step
from shared.domain.record.record import Presence, UserRecord
from shared.domain.record.status import ConditionStatus
from shared.domain.things.errors import Reason
from shared.domain.things.notebook import (
    RESTING,
    Absent,
    NotebookState,
    NotLooked,
    ObservedNotebook,
    Unreadable,
    is_ours,
)

NOT_CUT = "Access is not cut yet."
CUT_AGAIN_AFTER = timedelta(minutes=10)  # the longest wait before a leaver's cut is tried again
_CUT_WITHIN = timedelta(minutes=15)  # a stop takes a minute or two, and a create that must end first about five


def watched(step: Step, scene: Scene) -> Step:
    """Return the step with the time since which the notebook has been in transition.

    If that is too long, the step asks for an administrator.
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
    """Return the time since which a leaver's access should have been cut.

    It is never a time at which the user was still entitled.
    """
    return max(first_seen, record.spec.absent_since or first_seen)


def _not_cut(step: Step, notebook: ObservedNotebook, first_seen: datetime, scene: Scene) -> Step:
    late = scene.now - _since(step.record, first_seen) > _CUT_WITHIN
    state = "in an unknown state" if notebook.state is NotebookState.UNSPECIFIED else notebook.state.value
    why = f"The notebook is {state}, and has been on its way for too long; an administrator should look."
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
