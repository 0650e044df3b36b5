"""From what carrying out a plan gave to the record that is saved. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from shared.domain.backoff import backoff
from shared.domain.errors import (
    BenchkeeperError,
    QuotaExhaustedError,
    RetryableError,
    StockoutError,
)
from shared.domain.plan import (
    Action,
    CreateInstance,
    DeleteInstance,
    Plan,
    Policy,
    PutTemplate,
    RemoveTemplate,
    StartInstance,
)
from shared.domain.record import (
    ConditionStatus,
    ConditionType,
    OperationRef,
    UserRecord,
    set_condition,
)


@dataclass(frozen=True, slots=True)
class Started:
    """The cloud said yes and works on it."""

    operation: OperationRef


@dataclass(frozen=True, slots=True)
class Done:
    """It is so now, or was so already."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The cloud said no, or nothing."""

    error: BenchkeeperError


Outcome = Started | Done | Failed


def with_outcomes(plan: Plan, outcomes: Sequence[tuple[Action, Outcome]], policy: Policy, now: datetime) -> UserRecord:
    """The record after the plan's actions. Failures become conditions and a time for the next attempt; nothing is raised."""
    record = plan.record
    failures: list[tuple[Action, BenchkeeperError]] = []
    for action, outcome in outcomes:
        match outcome:
            case Started(operation=operation):
                record = record.with_status(operation=operation, tries=record.status.tries + 1)
            case Done():
                if isinstance(action, CreateInstance | DeleteInstance):
                    record = record.with_status(tries=record.status.tries + 1)
            case Failed(error=error):
                failures.append((action, error))
    if not failures:
        return record
    record = record.with_status(attempts=record.status.attempts + 1)
    waits = [_wait(record, action, error, policy) for action, error in failures]
    for (action, error), wait in zip(failures, waits, strict=True):
        record = _with_failure(record, action, error, wait, policy, now)
    change = record.facts.next_change(now)
    soonest = now + min(waits)
    return replace(
        record,
        status=replace(record.status, next_attempt_at=min(soonest, change) if change is not None else soonest),
    )


def _wait(record: UserRecord, action: Action, error: BenchkeeperError, policy: Policy) -> timedelta:
    creates = isinstance(action, CreateInstance)  # an instance that exists cannot go to another zone
    match error:
        case StockoutError() if creates and any(
            z not in {*record.status.failed_zones, record.status.zone} for z in policy.zones
        ):
            return error.retry_after
        case StockoutError() | QuotaExhaustedError():
            return max(error.retry_after, policy.capacity_retry)
        case RetryableError():
            return backoff(record.status.attempts, at_least=error.retry_after, spread_by=record.user_key)
        case _:
            return timedelta(hours=1)


def _with_failure(
    record: UserRecord, action: Action, error: BenchkeeperError, wait: timedelta, policy: Policy, now: datetime
) -> UserRecord:
    is_template = isinstance(action, PutTemplate | RemoveTemplate)
    if isinstance(action, CreateInstance) and isinstance(error, StockoutError):
        zones = tuple(dict.fromkeys([*record.status.failed_zones, action.zone]))
        record = record.with_status(failed_zones=zones)
        if all(zone in zones for zone in policy.zones):
            record = record.with_status(not_before=now + wait)
    elif isinstance(action, CreateInstance | StartInstance):
        record = record.with_status(not_before=now + wait)
    kind = ConditionType.TEMPLATES_READY if is_template else ConditionType.NOTEBOOK_READY
    conditions = record.status.conditions
    for changed in (kind, ConditionType.RECONCILED):
        conditions = set_condition(conditions, changed, ConditionStatus.FALSE, error.reason, error.user_message, now)
    return record.with_status(conditions=conditions)
