"""The update of a record by the outcomes of a plan's actions: operations, conditions, and the time of the next attempt. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from shared.domain.account.actions import DisableAccount
from shared.domain.notebook.actions import (
    CreateInstance,
    DeleteInstance,
    ResizeDisk,
    RestoreData,
    StartInstance,
    StopInstance,
    UpdateInstance,
)
from shared.domain.notebook.creation import after_failed_create, goes_elsewhere, said_for, wait_after, with_wait
from shared.domain.notebook.replacement import go_back
from shared.domain.notebook.rollback import after_refused_restore, after_refused_save
from shared.domain.notebook.waiting import CUT_AGAIN_AFTER, NOT_CUT, with_refusal, with_sold_out
from shared.domain.plan.plan import Action, Plan, Policy
from shared.domain.record.record import Presence, UserRecord
from shared.domain.record.status import ConditionStatus, ConditionType, OperationRef, set_condition
from shared.domain.snapshot.actions import CreateSnapshot, SaveCopy, WriteManifest
from shared.domain.snapshot.copies import with_refused_copy
from shared.domain.snapshot.step import with_snapshot, without_deleted
from shared.domain.spark.actions import CreateCluster
from shared.domain.spark.failures import after_error
from shared.domain.things.clusters import ClusterStatus
from shared.domain.things.errors import (
    BenchkeeperError,
    BusyError,
    CloudUnavailableError,
    InvalidSpecError,
    PermanentError,
    QuotaExhaustedError,
    Reason,
    RetryableError,
    SetUpError,
    StockoutError,
    UnknownRefusalError,
)

_AT_ONCE = timedelta(seconds=5)
_HOUR = timedelta(hours=1)
_FOR_LONG = (
    InvalidSpecError,
    SetUpError,
    UnknownRefusalError,
)  # what a snapshot that is refused at once is not asked for again soon


class Started(Struct, frozen=True):
    """A call that the cloud accepted and works on."""

    operation: OperationRef


class Asked(Struct, frozen=True):
    """An accepted request for a Spark cluster. `operation` is empty if the cluster existed before."""

    operation: str


class Done(Struct, frozen=True):
    """A call that is complete, or that was unnecessary because the wanted state already existed."""


class Failed(Struct, frozen=True):
    """A call that the cloud refused or did not answer. `sent` is False if the guard held the call back."""

    error: BenchkeeperError
    sent: bool = True


Outcome = Started | Asked | Done | Failed


def with_outcomes(plan: Plan, outcomes: Sequence[tuple[Action, Outcome]], policy: Policy, now: datetime) -> UserRecord:
    """Return the record after the plan's actions. A failure is not raised: it becomes a condition and a time for the next attempt."""
    record = plan.record
    failures: list[tuple[Action, BenchkeeperError]] = []
    for action, outcome in outcomes:
        match outcome:
            case Started(operation=operation):
                record = _with_operation(record, action, operation)
            case Asked(operation=name):
                record = _with_cluster_operation(record, action, name)
            case Done():
                record = _with_done(record, action)
            case Failed(error=error):
                failures.append((action, error))
    if not failures:
        return record
    record = record.with_status(attempts=record.status.attempts + 1)
    waits = [_wait(record, action, error, policy) for action, error in failures]
    for (action, error), wait in zip(failures, waits, strict=True):
        record = _with_failure(record, action, error, wait, policy, now)
    change = record.facts.next_change(now)
    # Each failed half of the plan has its own time for the next attempt; the other halves keep theirs.
    failed = {_condition_of(action, record) for action, _ in failures}
    if any(_holds_up(action) and isinstance(error, _FOR_LONG) for action, error in failures):
        failed.add(ConditionType.NOTEBOOK_READY)  # the notebook waits for its snapshot
    others = [when for kind, when in plan.waits.items() if kind not in failed]
    # A wrong configuration is tried again when it is another one, which is looked at each hour.
    looks = [
        min(wait, _HOUR) if isinstance(error, InvalidSpecError) else wait
        for wait, (_, error) in zip(waits, failures, strict=True)
    ]
    due = [now + min(looks), *others, *([change] if change is not None else [])]
    return replace(record, status=record.status.changed(next_attempt_at=min(due)))


def _with_operation(record: UserRecord, action: Action, operation: OperationRef) -> UserRecord:
    """Return the record with the started operation, if the operation is about the present instance.

    An operation of a predecessor is not remembered, because the predecessor's state shows the result.
    """
    record = record.with_status(tries=record.status.tries + 1)
    if (
        isinstance(action, StopInstance | DeleteInstance)
        and action.ref.instance_id != record.status.notebook.instance_id
    ):
        return record
    return record.with_status(operation=operation)


def _with_cluster_operation(record: UserRecord, action: Action, name: str) -> UserRecord:
    known = record.status.cluster(action.template) if isinstance(action, CreateCluster) else None
    if known is None:
        return record
    return _with_cluster(record, replace(known, operation=name, tries=known.tries + 1))


def _with_cluster(record: UserRecord, known: ClusterStatus) -> UserRecord:
    others = [c for c in record.status.clusters if c.template != known.template]
    return record.with_status(clusters=tuple(sorted([*others, known], key=lambda c: c.template)))


def _with_refused_cluster(
    record: UserRecord, action: CreateCluster, error: BenchkeeperError, wait: timedelta, policy: Policy, now: datetime
) -> UserRecord:
    """Return the record after the cloud refused to create a cluster.

    The cluster is tried in another zone or at another time, or the request ends with a diagnosis for the user.
    """
    known = record.status.cluster(action.template)
    if known is None:
        return record
    known = replace(known, operation="", reason=error.reason, message=error.user_message)
    if not isinstance(error, CloudUnavailableError):  # the cloud may have created the cluster and lost the answer
        known = replace(known, asked_at=None)
    if isinstance(error, RetryableError) and not isinstance(error, StockoutError | QuotaExhaustedError):
        return _with_cluster(record, replace(known, not_before=now + wait))
    was_seen = record.status.observed_generation == record.status.generation
    record, known = after_error(record, known, error, policy)
    if was_seen:
        record = record.with_status(observed_generation=record.status.generation)
    return _with_cluster(record, known)


def _with_done(record: UserRecord, action: Action) -> UserRecord:
    match action:
        case CreateInstance():  # the instance existed: another pass created it, perhaps from another spec
            return record.with_status(tries=record.status.tries + 1, built_from={})
        case DeleteInstance():
            return record.with_status(tries=record.status.tries + 1)
        case WriteManifest(snapshot=snapshot, deleted_at=None):
            return with_snapshot(record, replace(snapshot, manifest=True))
        case WriteManifest(snapshot=snapshot):
            return without_deleted(record, snapshot.name)
        case _:
            return record


def _is_given_up(record: UserRecord, action: Action, error: BenchkeeperError, policy: Policy) -> bool:
    """Return True if the cloud permanently refused the action, and the user can go back to an earlier state at once."""
    if not isinstance(error, PermanentError):
        return False
    if isinstance(action, CreateInstance):
        return record.status.notebook.former is not None and not goes_elsewhere(record, error, action.zone, policy)
    rollback = record.status.data.rollback
    if isinstance(action, RestoreData):
        return rollback is not None and not rollback.goes_back
    if _holds_up(action):
        return rollback is not None and not rollback.before
    return isinstance(action, ResizeDisk) or (isinstance(action, UpdateInstance) and bool(action.disruptive))


def _holds_up(action: Action) -> bool:
    """Return True if the notebook waits for the snapshot. It never waits for a copy."""
    return isinstance(action, CreateSnapshot) and not isinstance(action, SaveCopy)


def _wait(record: UserRecord, action: Action, error: BenchkeeperError, policy: Policy) -> timedelta:
    if _is_given_up(record, action, error, policy):
        return _AT_ONCE
    if isinstance(action, CreateCluster) and isinstance(error, StockoutError):
        return error.retry_after
    if isinstance(action, CreateInstance) and goes_elsewhere(record, error, action.zone, policy):
        return _AT_ONCE
    wait = wait_after(record, error, policy)
    if isinstance(action, StopInstance | DisableAccount) and record.spec.presence is Presence.ABSENT:
        return min(wait, CUT_AGAIN_AFTER)  # tried for ever: access must end
    if not isinstance(action, CreateInstance | StartInstance | UpdateInstance | RestoreData):
        # Nothing else waits for a correction of the profile.
        return min(wait, _HOUR) if isinstance(error, InvalidSpecError) else wait
    return wait


def _with_failure(
    record: UserRecord, action: Action, error: BenchkeeperError, wait: timedelta, policy: Policy, now: datetime
) -> UserRecord:
    given_up = _is_given_up(record, action, error, policy)
    if isinstance(action, CreateInstance | StartInstance | UpdateInstance):
        record = with_sold_out(record, error, now)
    if isinstance(action, CreateInstance) and given_up:
        record = go_back(record, None)
    elif isinstance(action, CreateInstance):
        record = after_failed_create(record, error, action.zone, policy, now)
    elif isinstance(action, StartInstance):
        record = with_wait(record, error, wait, policy, now)
    elif isinstance(action, RestoreData):
        record = _after_refused_restore(record, error, now)
        record = record if given_up else with_wait(record, error, wait, policy, now)
    elif isinstance(action, CreateSnapshot):
        record = _after_refused_snapshot(record, action, error, now + wait, now)
    elif isinstance(action, UpdateInstance) and given_up:
        record = with_refusal(record).with_status(refused=action.disruptive)
    elif isinstance(action, ResizeDisk) and given_up:
        record = record.with_status(refused=action.change)
    if isinstance(action, CreateCluster):
        record = _with_refused_cluster(record, action, error, wait, policy, now)
    kind = _condition_of(action, record)
    reason, text = _said(record, action, error)
    if isinstance(action, CreateCluster) and (known := record.status.cluster(action.template)) is not None:
        text = known.message  # a request that has ended is not tried again
    conditions = record.status.conditions
    for changed in (kind, ConditionType.RECONCILED):
        conditions = set_condition(conditions, changed, ConditionStatus.FALSE, reason, text, now)
    return record.with_status(conditions=conditions)


def _after_refused_restore(record: UserRecord, error: BenchkeeperError, now: datetime) -> UserRecord:
    if isinstance(error, CloudUnavailableError):  # the cloud may have begun it, and lost the answer
        return record
    if isinstance(error, BusyError):
        return record.with_status(restoring=None)  # the operation that blocked the call is not the restore
    return after_refused_restore(record, error, now)


def _after_refused_snapshot(
    record: UserRecord, action: CreateSnapshot, error: BenchkeeperError, again: datetime, now: datetime
) -> UserRecord:
    if isinstance(action, SaveCopy):
        return with_refused_copy(record, action.name, error, now)
    ended = after_refused_save(record, error, now)
    if ended is not None:
        return ended
    return record.with_status(not_before=again) if isinstance(error, _FOR_LONG) else record


def _said(record: UserRecord, action: Action, error: BenchkeeperError) -> tuple[Reason, str]:
    """Return the reason of a failed action, and the text for the condition."""
    if isinstance(action, CreateInstance | StartInstance | UpdateInstance):
        return error.reason, said_for(record, error)
    if isinstance(action, StopInstance) and record.spec.presence is Presence.ABSENT:
        ready = record.status.condition(action.condition)
        is_late = ready is not None and ready.reason is Reason.ACCESS_NOT_CUT
        return Reason.ACCESS_NOT_CUT if is_late else error.reason, f"{NOT_CUT} {error.user_message}"
    return error.reason, error.user_message


def _condition_of(action: Action, record: UserRecord) -> ConditionType:
    """Return the condition that reports the action's failure. For a leaver, clusters have another condition."""
    leaves = record.spec.presence is Presence.ABSENT
    if action.condition is ConditionType.CLUSTERS_READY and leaves:
        return ConditionType.CLUSTERS_REMOVED
    return action.condition
