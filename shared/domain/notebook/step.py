"""The notebook's half of a plan: the state machine of one instance, as a pure function of the observation.

The cases are decided in this order: a failed observation; an operation that is under way or failed; the state of the
instance against the wanted state. There is only one mutation at a time, because the API refuses a second one.
"""

from __future__ import annotations

from datetime import timedelta
from typing import assert_never

from msgspec.structs import replace

from shared.domain.notebook.creation import (
    after_failed_create,
    create_step,
    goes_elsewhere,
    said_for,
    wait_after,
    with_wait,
)
from shared.domain.notebook.dormancy import away_step
from shared.domain.notebook.leaver import delete, gone
from shared.domain.notebook.replacement import go_back
from shared.domain.notebook.rollback import after_failed_restore
from shared.domain.notebook.states import observed_step, refusable
from shared.domain.notebook.waiting import CUT_AGAIN_AFTER, watched, with_refusal, with_sold_out
from shared.domain.plan.plan import OperationSeen, OperationSight
from shared.domain.plan.step import Scene, Step, unreadable, wait_for
from shared.domain.record.record import Power, Presence, UserRecord
from shared.domain.record.status import ConditionStatus, OperationRef, Verb
from shared.domain.snapshot.copies import newest_ready
from shared.domain.things.errors import (
    BenchkeeperError,
    Reason,
    RetryableError,
)
from shared.domain.things.notebook import (
    MAY_HAVE_RUN,
    RESTING,
    Absent,
    NotebookState,
    NotLooked,
    ObservedNotebook,
    Unreadable,
    is_ours,
)

# Operations that fail for what the profile asks.
_BY_PROFILE = frozenset({Verb.CREATE, Verb.START, Verb.UPDATE})


def notebook_step(record: UserRecord, scene: Scene) -> Step:
    """Return the notebook's half of the plan.

    A notebook that stays in transition for too long needs an administrator.
    """
    return watched(_step(record, scene), scene)


def _step(record: UserRecord, scene: Scene) -> Step:
    seen = scene.seen
    notebook = seen.notebook
    match notebook:
        case NotLooked():
            return gone(record, scene)
        case Unreadable(error=error):
            return _unreadable(record, error)
        case ObservedNotebook() if not is_ours(notebook, record.user_key, record.status.notebook.instance_uid):
            return _not_ours(record, notebook)
        case Absent() | ObservedNotebook():
            record = _of_this_instance(record, notebook)
        case _:
            assert_never(notebook)
    operation = seen.operation
    if isinstance(operation, OperationSeen):
        if not operation.done:
            record = record.with_status(operation=operation.ref)
            return _under_way(record, operation.ref.verb, notebook, scene)
        if operation.error is not None:
            return _operation_failed(record, notebook, operation, scene)
    elif isinstance(operation, Unreadable) and record.status.notebook.operation is not None:
        # The operation's progress is unknown, so no other call is sent meanwhile.
        return _under_way(record, record.status.notebook.operation.verb, notebook, scene)
    record = record.with_status(operation=_kept(record, operation, notebook))
    match notebook:
        case Absent():
            return _absent(record, scene)
        case ObservedNotebook():
            return observed_step(record, notebook, scene)
        case _:
            assert_never(notebook)


def _of_this_instance(record: UserRecord, notebook: Absent | ObservedNotebook) -> UserRecord:
    """Return the record without the properties of an earlier instance of the same name.

    The record may still have these properties, because the pass that created the new instance may have failed to save it.
    """
    if isinstance(notebook, Absent) or record.status.notebook.instance_uid in {"", notebook.uid}:
        return record
    return record.with_status(was_active=False, built_from={})


def _kept(record: UserRecord, operation: OperationSight, notebook: Absent | ObservedNotebook) -> OperationRef | None:
    """Return the finished operation while the instance is still in transition, None otherwise.

    Without the operation's name, all operations of the zone would have to be listed. An operation of an earlier instance of
    the same name is not returned: after a finished deletion, the operation of the new instance must be found.
    """
    if not isinstance(operation, OperationSeen) or isinstance(notebook, Absent):
        return None
    is_on_its_way = notebook.state not in {NotebookState.ACTIVE, *RESTING}
    is_earlier = operation.ref.verb is Verb.DELETE or record.status.notebook.instance_uid not in {"", notebook.uid}
    return operation.ref if is_on_its_way and not is_earlier else None


def _unreadable(record: UserRecord, error: BenchkeeperError) -> Step:
    step = unreadable(
        record,
        error,
        what="The notebook",
        because="The notebook could not be read, so nothing is created, stopped or deleted.",
    )
    return replace(step, record=record.with_status(attempts=record.status.attempts + 1))


def _not_ours(record: UserRecord, notebook: ObservedNotebook) -> Step:
    return Step(
        record=record.with_status(operation=None),
        condition=ConditionStatus.FALSE,
        reason=Reason.NOT_OURS,
        message=f"An instance named {notebook.ref.instance_id} exists that Benchkeeper did not make. "
        "An administrator must rename or remove it.",
        requeue_after=timedelta(hours=1),
        because=("An instance has our name without our labels, so it is not touched.",),
    )


def _under_way(record: UserRecord, verb: Verb, notebook: Absent | ObservedNotebook, scene: Scene) -> Step:
    operation = record.status.notebook.operation
    stuck = operation is not None and scene.now - operation.started_at > scene.policy.stuck_after
    return wait_for(
        verb,
        record,
        notebook,
        scene.policy.poll,
        stuck=f"Google Cloud takes too long to {verb.value} the notebook" if stuck else "",
        because=f"The operation to {verb.value} the instance is under way.",
    )


def _operation_failed(
    record: UserRecord, notebook: Absent | ObservedNotebook, operation: OperationSeen, scene: Scene
) -> Step:
    error = operation.error
    if error is None:  # the caller excludes this
        raise AssertionError("an operation without an error did not fail")
    policy, now = scene.policy, scene.now
    record = with_sold_out(record, error, now).with_status(operation=None, attempts=record.status.attempts + 1)
    verb = operation.ref.verb
    said = said_for(record, error) if verb in _BY_PROFILE else error.user_message
    if verb is not Verb.CREATE:
        if (
            verb in {Verb.UPDATE, Verb.RESIZE}
            and isinstance(notebook, ObservedNotebook)
            and not isinstance(error, RetryableError)
        ):
            record = with_refusal(record).with_status(refused=refusable(record, notebook, policy))
        turns = False
        if verb is Verb.RESTORE:
            record, turns = after_failed_restore(record.with_status(restoring=None), error)
        wait = policy.poll if turns else wait_after(record, error, policy)
        if record.status.data.rollback is not None:
            wait = min(wait, policy.capacity_retry)  # the user has no notebook meanwhile
        if record.spec.presence is Presence.ABSENT:
            wait = min(wait, CUT_AGAIN_AFTER)
        record = with_wait(record, error, wait, policy, now)
        return _waiting(record, error.reason, said, wait, f"The operation to {verb.value} the instance failed.")
    zone = record.status.notebook.zone or policy.zones[0]
    elsewhere = goes_elsewhere(record, error, zone, policy)
    record = after_failed_create(record, error, zone, policy, now)
    because = f"The create in {zone} failed: {error.reason.value}."
    # A remnant of a failed create was never ACTIVE and holds no data: it is deleted before anything else is tried. Only a state on
    # the way to the first ACTIVE proves that; an instance that stops or is stopped has run, observed by us or not.
    remnant = notebook if isinstance(notebook, ObservedNotebook) else None
    if remnant is not None and (remnant.state in MAY_HAVE_RUN or record.status.notebook.was_active):
        return observed_step(record, remnant, scene)
    if record.status.notebook.former is not None and not isinstance(error, RetryableError) and not elsewhere:
        return _back(record, remnant, error.reason, said, because)
    if remnant is not None:
        return delete(record, remnant.ref, error.reason, said, (because, "Its remnant is removed first."))
    step = _absent(record, scene)
    if step.actions or record.spec.presence is Presence.ABSENT:
        return replace(step, because=(because, *step.because))
    return replace(step, reason=error.reason, message=said, because=(because, *step.because))


def _back(record: UserRecord, remnant: ObservedNotebook | None, reason: Reason, said: str, because: str) -> Step:
    """Return the step after a replacement that cannot be created: the user gets the predecessor back."""
    return Step(
        record=go_back(record, remnant),
        condition=ConditionStatus.FALSE,
        reason=reason,
        message=f"Your notebook could not be replaced and comes back unchanged. {said}",
        requeue_after=timedelta(seconds=5),
        because=(because, "The former instance takes its place again."),
    )


def _waiting(record: UserRecord, reason: Reason, said: str, wait: timedelta, because: str) -> Step:
    return Step(
        record=record,
        condition=ConditionStatus.FALSE,
        reason=reason,
        message=said,
        requeue_after=min(wait, timedelta(hours=1)) if record.status.notebook.refused_spec else wait,
        because=(because,),
    )


def _absent(record: UserRecord, scene: Scene) -> Step:
    if record.spec.presence is Presence.ABSENT:
        step = gone(record, scene)
        # A pass that planned from an older record may still be creating the instance: look once more, later.
        first = record.status.observed_generation != record.status.generation
        return replace(step, requeue_after=scene.policy.confirm_absence_after if first else None)
    dormancy = record.status.notebook.dormancy
    is_away = dormancy is not None and dormancy.away_since is not None
    if is_away and record.spec.power is Power.STOPPED:
        return away_step(record, scene)
    is_lost = record.status.notebook.was_active and not is_away
    if not record.status.data.saved_in or isinstance(scene.seen.snapshots.get(record.status.data.saved_in), Absent):
        record = record.with_status(saved_in=newest_ready(record, scene))
        if is_lost:
            older = record.status.snapshot(record.status.data.saved_in)
            record = record.with_status(lost_at=scene.now, files_of=older.ready_at if older is not None else None)
    record = record.with_status(was_active=False, unsettled_since=None, unwell_since=None)
    because = "There is no instance yet."
    if is_lost:
        because = "The instance was deleted from outside; a new one takes its place."
    elif record.status.notebook.former is not None:
        because = "The replacement does not exist yet."
    return create_step(record, scene, (because,))
