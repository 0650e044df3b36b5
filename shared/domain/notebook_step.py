"""What to do about the notebook: the state machine of one instance, as a pure function of what was seen.

Read it as a table: first what could not be seen, then an operation that is under way or failed, then the state of the
instance against what is wanted. Only one mutation at a time: the API refuses a second.
"""

from __future__ import annotations

from dataclasses import replace
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
    MAY_HAVE_RUN,
    Absent,
    NotLooked,
    ObservedNotebook,
    Unreadable,
    is_ours,
    spec_for,
)
from shared.domain.notebook_states import observed_step
from shared.domain.plan import (
    CreateInstance,
    Observed,
    OperationSeen,
    Policy,
    request_id,
)
from shared.domain.record import ConditionStatus, Presence, UserRecord, Verb
from shared.domain.step import VERB_TEXT, Step, delete, held, wait_for


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
            return observed_step(record, notebook, policy, now)
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
    return wait_for(
        verb,
        record,
        notebook,
        policy.poll,
        stuck=f"Google Cloud has not finished to {verb.value} the notebook" if stuck else "",
        because=f"The operation to {verb.value} the instance is under way.",
    )


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
    # A remnant of a failed create was never ACTIVE and holds no data: it goes before anything else is tried. Only a state on
    # the way to the first ACTIVE says so; what stops or rests has run, seen by us or not.
    if isinstance(notebook, ObservedNotebook):
        if notebook.state in MAY_HAVE_RUN or record.status.was_active:
            return observed_step(record, notebook, policy, now)
        return delete(
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
    waiting = held(record, now)
    if waiting is not None:
        return waiting
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
        message=VERB_TEXT[Verb.CREATE],
        requeue_after=policy.poll,
        because=because,
    )
