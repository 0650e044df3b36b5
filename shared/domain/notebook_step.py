"""What to do about the notebook: the state machine of one instance, as a pure function of what was seen.

Read it as a table: first what could not be seen, then an operation that is under way or failed, then the state of the
instance against what is wanted. Only one mutation at a time: the API refuses a second.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import assert_never

from shared.domain.backoff import backoff
from shared.domain.errors import (
    BenchkeeperError,
    QuotaExhaustedError,
    Reason,
    RetryableError,
    StockoutError,
)
from shared.domain.notebook import (
    RESTING,
    Absent,
    InstanceRef,
    NotebookDiff,
    NotebookState,
    NotLooked,
    ObservedNotebook,
    Unreadable,
    diff,
    is_ours,
    labels_for,
    metadata_for,
    spec_for,
)
from shared.domain.plan import (
    Action,
    CreateInstance,
    DeleteInstance,
    Observed,
    OperationSeen,
    Policy,
    StartInstance,
    StopInstance,
    UpdateInstance,
    request_id,
)
from shared.domain.record import ConditionStatus, Power, Presence, UserRecord, Verb

_VERB_REASON = {
    Verb.CREATE: Reason.CREATING,
    Verb.START: Reason.STARTING,
    Verb.STOP: Reason.STOPPING,
    Verb.DELETE: Reason.DELETING,
    Verb.UPDATE: Reason.UPDATING,
}
_VERB_TEXT = {
    Verb.CREATE: "Being created; this takes a few minutes.",
    Verb.START: "Your notebook is starting.",
    Verb.STOP: "The notebook is being stopped.",
    Verb.DELETE: "The notebook is being deleted.",
    Verb.UPDATE: "The notebook is being updated.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One half of a plan: the record after it, the actions, the condition that then holds, when to look again, and why."""

    record: UserRecord
    condition: ConditionStatus
    reason: Reason
    message: str
    actions: tuple[Action, ...] = ()
    requeue_after: timedelta | None = None
    because: tuple[str, ...] = ()


def notebook_step(record: UserRecord, seen: Observed, policy: Policy, now: datetime) -> Step:
    """The notebook's half of the plan."""
    notebook = seen.notebook
    match notebook:
        case NotLooked():
            return _gone(record, "There is no notebook.")
        case Unreadable(error=error):
            return _unreadable(record, error)
        case ObservedNotebook() if not is_ours(notebook, record.user_key, record.status.instance_uid):
            return _not_ours(record, notebook)
        case Absent() | ObservedNotebook():
            pass
        case _:
            assert_never(notebook)
    operation = seen.operation
    if isinstance(operation, OperationSeen):
        if not operation.done:
            record = record.with_status(operation=operation.ref)
            return _under_way(record, operation.ref.verb, notebook, policy, now)
        if operation.error is not None:
            return _operation_failed(record, notebook, operation, policy, now)
    elif isinstance(operation, Unreadable) and record.status.operation is not None:
        # What it does is unknown, so nothing is sent into it; the state below may still tell that it is over.
        return _under_way(record, record.status.operation.verb, notebook, policy, now)
    record = record.with_status(operation=None)
    match notebook:
        case Absent():
            return _absent(record, policy, now)
        case ObservedNotebook():
            return _observed(record, notebook, policy, now)
        case _:
            assert_never(notebook)


def _unreadable(record: UserRecord, error: BenchkeeperError) -> Step:
    at_least = error.retry_after if isinstance(error, RetryableError) else timedelta(minutes=5)
    return Step(
        record=record.with_status(attempts=record.status.attempts + 1),
        condition=ConditionStatus.UNKNOWN,
        reason=Reason.UNREADABLE,
        message=f"The notebook could not be looked at. {error.user_message}",
        requeue_after=backoff(record.status.attempts + 1, at_least=at_least, spread_by=record.user_key),
        because=("The notebook could not be read, so nothing is created, stopped or deleted.",),
    )


def _not_ours(record: UserRecord, notebook: ObservedNotebook) -> Step:
    return Step(
        record=record.with_status(operation=None),
        condition=ConditionStatus.FALSE,
        reason=Reason.NOT_OURS,
        message=f"An instance named {notebook.ref.instance_id} exists that Benchkeeper did not make. "
        "An administrator must rename or remove it.",
        requeue_after=timedelta(hours=1),
        because=("An instance has our name without our labels: hands off.",),
    )


def _under_way(
    record: UserRecord, verb: Verb, notebook: Absent | ObservedNotebook, policy: Policy, now: datetime
) -> Step:
    operation = record.status.operation
    stuck = operation is not None and now - operation.started_at > policy.stuck_after
    return Step(
        record=record,
        condition=ConditionStatus.FALSE,
        reason=Reason.STUCK if stuck else _VERB_REASON[verb],
        message=f"Google Cloud has not finished to {verb.value} the notebook; an administrator should look."
        if stuck
        else _progress(verb, notebook),
        requeue_after=policy.poll * 10 if stuck else policy.poll,
        because=(f"The operation to {verb.value} the instance is under way.",),
    )


_STAGES = {
    NotebookState.INITIALIZING: "Being created: the machine is set up.",
    NotebookState.STARTING: "Being created: the machine starts.",
    NotebookState.PROVISIONING: "Being created: JupyterLab is installed.",
}


def _progress(verb: Verb, notebook: Absent | ObservedNotebook) -> str:
    """How far it is, in words; a create passes three stages in a few minutes."""
    if verb is Verb.CREATE and isinstance(notebook, ObservedNotebook):
        return _STAGES.get(notebook.state, _VERB_TEXT[verb])
    return _VERB_TEXT[verb]


def _operation_failed(
    record: UserRecord, notebook: Absent | ObservedNotebook, operation: OperationSeen, policy: Policy, now: datetime
) -> Step:
    error = operation.error
    if error is None:  # the caller has looked
        raise AssertionError("an operation without an error did not fail")
    record = record.with_status(operation=None, attempts=record.status.attempts + 1)
    wait = _retry_after(record, error, policy)
    if operation.ref.verb is not Verb.CREATE:
        return _waiting(record, error, wait, now, f"The operation to {operation.ref.verb.value} the instance failed.")
    zone = record.status.zone or policy.zones[0]
    if isinstance(error, StockoutError):
        record = record.with_status(failed_zones=tuple(dict.fromkeys([*record.status.failed_zones, zone])))
        if not _zones_left(record, policy):
            record = record.with_status(not_before=now + policy.capacity_retry)
    else:
        record = record.with_status(not_before=now + wait)
    because = f"The create in {zone} failed: {error.reason.value}."
    # A remnant of a failed create was never ACTIVE and holds no data: it goes before anything else is tried.
    if isinstance(notebook, ObservedNotebook):
        if notebook.state is NotebookState.ACTIVE or record.status.was_active:
            return _observed(record, notebook, policy, now)
        return _delete(
            record, notebook.ref, error.reason, error.user_message, (because, "Its remnant is removed first.")
        )
    step = _absent(record, policy, now)
    if step.actions or record.spec.presence is Presence.ABSENT:
        return replace(step, because=(because, *step.because))
    return replace(step, reason=error.reason, message=error.user_message, because=(because, *step.because))


def _retry_after(record: UserRecord, error: BenchkeeperError, policy: Policy) -> timedelta:
    if isinstance(error, QuotaExhaustedError):
        return max(error.retry_after, policy.capacity_retry)
    at_least = error.retry_after if isinstance(error, RetryableError) else timedelta(hours=1)
    return backoff(record.status.attempts, at_least=at_least, spread_by=record.user_key)


def _waiting(record: UserRecord, error: BenchkeeperError, wait: timedelta, now: datetime, because: str) -> Step:
    return Step(
        record=record.with_status(not_before=now + wait),
        condition=ConditionStatus.FALSE,
        reason=error.reason,
        message=error.user_message,
        requeue_after=wait,
        because=(because,),
    )


def _zones_left(record: UserRecord, policy: Policy) -> list[str]:
    return [zone for zone in policy.zones if zone not in record.status.failed_zones]


def _absent(record: UserRecord, policy: Policy, now: datetime) -> Step:
    if record.spec.presence is Presence.ABSENT:
        step = _gone(record, "There is no notebook.")
        # Somebody who planned from an older record may still be creating: look once more, later.
        first = record.status.observed_generation != record.status.generation
        return replace(step, requeue_after=policy.confirm_absence_after if first else None)
    held = _held(record, now)
    if held is not None:
        return held
    because = ["There is no instance yet."]
    if record.status.was_active:
        because = ["The instance was deleted from outside; a new one takes its place."]
    zone = record.status.zone or policy.zones[0]
    if zone in record.status.failed_zones or zone not in policy.zones:
        left = _zones_left(record, policy)
        if not left:  # every zone was tried; the wait is over, so start again
            record = record.with_status(failed_zones=())
            left = list(policy.zones)
        because.append(f"{zone} had no machines, so {left[0]} is next." if zone != left[0] else f"{zone} again.")
        zone = left[0]
    record = record.with_status(
        zone=zone, was_active=False, instance_uid="", proxy_uri="", not_before=None, power_settled=False
    )
    return _create(record, policy, tuple(because))


def _held(record: UserRecord, now: datetime) -> Step | None:
    """Waiting for `not_before`, with the condition that explains it left as it is."""
    not_before = record.status.not_before
    if not_before is None or not_before <= now:
        return None
    ready = next((c for c in record.status.conditions if c.type.value == "NotebookReady"), None)
    return Step(
        record=record,
        condition=ConditionStatus.FALSE,
        reason=ready.reason if ready is not None else Reason.WAITING,
        message=ready.message if ready is not None else "Waiting before the next attempt.",
        requeue_after=not_before - now,
        because=(f"Nothing is tried before {not_before:%Y-%m-%d %H:%M:%S} UTC.",),
    )


def _gone(record: UserRecord, message: str) -> Step:
    return Step(
        record=record.with_status(
            operation=None,
            was_active=False,
            instance_uid="",
            proxy_uri="",
            not_before=None,
            attempts=0,
            power_settled=True,
        ),
        condition=ConditionStatus.FALSE,
        reason=Reason.REMOVED if record.status.instance_id is not None else Reason.NOT_ENTITLED,
        message=message,
    )


def _create(record: UserRecord, policy: Policy, because: tuple[str, ...]) -> Step:
    status = record.status
    if status.instance_id is None or status.zone is None or record.spec.profile is None:
        raise AssertionError("a record that wants an environment has a name, a zone and a profile")
    if record.spec.profile not in policy.catalog.profiles:
        return Step(
            record=record,
            condition=ConditionStatus.FALSE,
            reason=Reason.UNKNOWN_PROFILE,
            message=f"The profile '{record.spec.profile}' does not exist any more. An administrator must restore it.",
            requeue_after=timedelta(hours=1),
            because=("The profile is gone from the configuration, so nothing is created.",),
        )
    spec = spec_for(
        owner=record.email,
        user_key=record.user_key,
        instance_id=status.instance_id,
        profile=policy.catalog.profile(record.spec.profile),
        cost_center=record.cost_center,
        network=policy.network,
    )
    return Step(
        record=record,
        actions=(CreateInstance(spec=spec, zone=status.zone, request_id=request_id(record, Verb.CREATE)),),
        condition=ConditionStatus.FALSE,
        reason=Reason.CREATING,
        message=_VERB_TEXT[Verb.CREATE],
        requeue_after=policy.poll,
        because=because,
    )


def _delete(record: UserRecord, ref: InstanceRef, reason: Reason, message: str, because: tuple[str, ...]) -> Step:
    return Step(
        record=record,
        actions=(DeleteInstance(ref=ref, request_id=request_id(record, Verb.DELETE)),),
        condition=ConditionStatus.FALSE,
        reason=reason,
        message=message,
        requeue_after=timedelta(seconds=60),
        because=because,
    )


def _observed(record: UserRecord, notebook: ObservedNotebook, policy: Policy, now: datetime) -> Step:
    record = record.with_status(instance_uid=notebook.uid, zone=notebook.ref.zone)
    state = notebook.state
    if state is NotebookState.ACTIVE:
        record = record.with_status(was_active=True, proxy_uri=notebook.proxy_uri, failed_zones=())
        return _active(record, notebook, policy)
    if state in RESTING:
        record = record.with_status(was_active=True)
        return _resting(record, notebook, policy, now)
    return _in_transition(record, notebook, policy, now)


def _in_transition(record: UserRecord, notebook: ObservedNotebook, policy: Policy, now: datetime) -> Step:
    since = notebook.create_time
    stuck = not record.status.was_active and since is not None and now - since > policy.stuck_after
    verb = {
        NotebookState.STOPPING: Verb.STOP,
        NotebookState.SUSPENDING: Verb.STOP,
        NotebookState.DELETED: Verb.DELETE,
        NotebookState.UPGRADING: Verb.UPDATE,
    }.get(notebook.state, Verb.START if record.status.was_active else Verb.CREATE)
    return Step(
        record=record,
        condition=ConditionStatus.FALSE,
        reason=Reason.STUCK if stuck else _VERB_REASON[verb],
        message=f"The notebook has been {notebook.state.value} for too long; an administrator should look."
        if stuck
        else _progress(verb, notebook),
        requeue_after=policy.poll * 10 if stuck else policy.poll,
        because=(f"The instance is {notebook.state.value}; nothing can be done until that is over.",),
    )


def _active(record: UserRecord, notebook: ObservedNotebook, policy: Policy) -> Step:
    if record.spec.presence is Presence.ABSENT:
        return _stop(record, notebook.ref, (f"Not entitled: {record.spec.because}.",), "Access has ended.")
    if record.spec.power is Power.STOPPED:
        if not record.status.power_settled:
            return _stop(
                record, notebook.ref, (f"To be stopped: {record.spec.power_because}.",), record.spec.power_because
            )
        record = _adopt(record, Power.RUNNING, "started from outside")
    record = record.with_status(power_settled=True, attempts=0, not_before=None)
    changes = _differences(record, notebook, policy)
    message = "Your notebook is ready."
    if changes.when_stopped:
        message += " Changes to its machine wait until it is stopped."
    if changes.now:
        action = _update(record, notebook.ref, changes, with_stopped=False)
        return Step(
            record=record,
            actions=(action,),
            condition=ConditionStatus.TRUE,
            reason=Reason.READY,
            message=message,
            requeue_after=policy.poll,
            because=(_say(changes),),
        )
    return Step(
        record=record,
        condition=ConditionStatus.TRUE,
        reason=Reason.UPDATE_PENDING if changes.when_stopped else Reason.READY,
        message=message,
    )


def _stop(record: UserRecord, ref: InstanceRef, because: tuple[str, ...], message: str) -> Step:
    return Step(
        record=record,
        actions=(StopInstance(ref=ref),),
        condition=ConditionStatus.FALSE,
        reason=Reason.STOPPING,
        message=f"The notebook is being stopped: {message}",
        requeue_after=timedelta(seconds=60),
        because=because,
    )


def _resting(record: UserRecord, notebook: ObservedNotebook, policy: Policy, now: datetime) -> Step:
    if record.spec.presence is Presence.ABSENT:
        return _retained(record, notebook, policy, now)
    if record.spec.power is Power.RUNNING and record.status.power_settled:
        record = _adopt(record, Power.STOPPED, "stopped from outside or by its own idle timer")
    record = record.with_status(proxy_uri=notebook.proxy_uri)
    changes = _differences(record, notebook, policy)
    if changes.now or changes.when_stopped:
        return Step(
            record=record,
            actions=(_update(record, notebook.ref, changes, with_stopped=True),),
            condition=ConditionStatus.FALSE,
            reason=Reason.UPDATING,
            message=_VERB_TEXT[Verb.UPDATE],
            requeue_after=policy.poll,
            because=(_say(changes),),
        )
    if record.spec.power is Power.STOPPED:
        return Step(
            record=record.with_status(power_settled=True, attempts=0, not_before=None),
            condition=ConditionStatus.FALSE,
            reason=Reason.IDLE if record.spec.power_because.startswith("idle") else Reason.STOPPED,
            message=f"Your notebook is stopped: {record.spec.power_because}. Your files are kept.",
        )
    held = _held(record, now)
    if held is not None:
        return held
    return Step(
        record=record,
        actions=(StartInstance(ref=notebook.ref),),
        condition=ConditionStatus.FALSE,
        reason=Reason.STARTING,
        message=_VERB_TEXT[Verb.START],
        requeue_after=policy.poll,
        because=(f"To run: {record.spec.power_because}.",),
    )


def _retained(record: UserRecord, notebook: ObservedNotebook, policy: Policy, now: datetime) -> Step:
    record = record.with_status(power_settled=True)
    ends = (record.spec.absent_since or now) + policy.retention
    if ends <= now:
        return _delete(
            record,
            notebook.ref,
            Reason.DELETING,
            "The retention is over; the notebook and its data are deleted.",
            (f"Not entitled since {record.spec.absent_since:%Y-%m-%d}; the retention is over.",)
            if record.spec.absent_since is not None
            else ("Not entitled.",),
        )
    return Step(
        record=record.with_status(attempts=0),
        condition=ConditionStatus.FALSE,
        reason=Reason.RETAINED,
        message=f"Access has ended. The data is kept until {ends:%Y-%m-%d %H:%M} UTC.",
        requeue_after=ends - now,
    )


def _adopt(record: UserRecord, power: Power, because: str) -> UserRecord:
    """What was wanted had been reached, and somebody changed it since: that is now what is wanted."""
    spec = replace(record.spec, power=power, power_because=because)
    return replace(record, spec=spec).with_status(power_settled=True, generation=record.status.generation + 1)


def _differences(record: UserRecord, notebook: ObservedNotebook, policy: Policy) -> NotebookDiff:
    profile = policy.catalog.profiles.get(record.spec.profile or "")
    if profile is None:  # lost from the configuration: what is there stays as it is
        return NotebookDiff(labels={}, metadata={}, metadata_when_stopped={}, machine_type=None)
    return diff(
        notebook,
        labels=labels_for(profile, record.user_key, record.cost_center),
        metadata=metadata_for(profile),
        machine_type=profile.machine_type,
    )


def _update(record: UserRecord, ref: InstanceRef, changes: NotebookDiff, *, with_stopped: bool) -> UpdateInstance:
    metadata = {**changes.metadata, **(changes.metadata_when_stopped if with_stopped else {})}
    return UpdateInstance(
        ref=ref,
        labels=changes.labels,
        metadata=metadata,
        machine_type=changes.machine_type if with_stopped else None,
        request_id=request_id(record, Verb.UPDATE),
    )


def _say(changes: NotebookDiff) -> str:
    names = [f"label {n}" for n in changes.labels] + [f"metadata {n}" for n in changes.metadata]
    names += [f"metadata {n}" for n in changes.metadata_when_stopped]
    if changes.machine_type is not None:
        names.append("machine type")
    return f"Out of line: {', '.join(sorted(names))}."
