"""What carrying out a plan gave: operations are followed, failures become a condition and a time, nothing is raised."""

from __future__ import annotations

from datetime import timedelta

import pytest
from kit.making import ANALYSTS, NOW, ZONES, after, at, joined, left, notebook, operation, person, policy, seen

from shared.domain.errors import (
    AccessDeniedError,
    BusyError,
    CloudUnavailableError,
    InvalidSpecError,
    NotOursError,
    OperationFailedError,
    QuotaExhaustedError,
    RateLimitedError,
    Reason,
    StockoutError,
)
from shared.domain.notebook import Absent, NotebookState
from shared.domain.outcome import Done, Failed, Started, with_outcomes
from shared.domain.plan import CreateInstance, TemplatesSeen
from shared.domain.planner import make_plan
from shared.domain.record import ConditionStatus, ConditionType, Power, Presence, Verb

HALF_HOUR = timedelta(minutes=30)


def failure(kind, **more):
    return Failed(kind(user_message=f"{kind.__name__} happened.", detail="x", **more))


def create_plan(record=None):
    record = record or person(settled=False)
    return make_plan(record, seen(Absent(), record=record), policy(), NOW)


def start_plan():
    record = person(settled=False, was_active=True)
    return make_plan(record, seen(notebook(NotebookState.STOPPED), record=record), policy(), NOW)


def stop_plan():
    record = person(Presence.ABSENT, Power.STOPPED, settled=False, was_active=True)
    return make_plan(record, seen(notebook(NotebookState.ACTIVE), record=record), policy(), NOW)


def ended(plan, *outcomes):
    return with_outcomes(plan, list(zip(plan.actions, outcomes, strict=True)), policy(), NOW)


def ready(record):
    return record.status.condition(ConditionType.NOTEBOOK_READY)


def test_a_started_operation_is_followed_and_is_a_new_try():
    record = ended(create_plan(), Started(operation(Verb.CREATE)))
    assert record.status.operation == operation(Verb.CREATE)
    assert record.status.tries == 1
    assert record.status.attempts == 0
    assert record.status.next_attempt_at == NOW + timedelta(seconds=60)


def test_a_plan_without_actions_is_its_own_outcome():
    record = person()
    plan = make_plan(record, seen(notebook(), record=record), policy(), NOW)
    assert with_outcomes(plan, [], policy(), NOW) is plan.record


def test_already_so_is_done():
    record = ended(create_plan(), Done())
    assert record.status.operation is None
    assert record.status.tries == 1


@pytest.mark.parametrize(
    ("kind", "at_least"),
    [
        (CloudUnavailableError, timedelta(seconds=30)),
        (RateLimitedError, timedelta(seconds=60)),
        (BusyError, timedelta(seconds=30)),
        (OperationFailedError, timedelta(minutes=2)),
        (QuotaExhaustedError, HALF_HOUR),
        (InvalidSpecError, timedelta(hours=1)),
        (AccessDeniedError, timedelta(hours=1)),
        (NotOursError, timedelta(hours=1)),
    ],
)
def test_a_refused_create_says_why_and_waits(kind, at_least):
    record = ended(create_plan(), failure(kind))
    assert ready(record).reason is kind.reason
    assert ready(record).status is ConditionStatus.FALSE
    assert ready(record).message == f"{kind.__name__} happened."
    assert record.status.condition(ConditionType.RECONCILED).reason is kind.reason
    assert NOW + at_least <= record.status.next_attempt_at <= NOW + at_least * 1.25
    assert record.status.not_before == record.status.next_attempt_at
    assert record.status.attempts == 1
    assert record.status.operation is None


def test_nothing_is_created_before_the_wait_is_over_and_the_reason_stays():
    record = ended(create_plan(), failure(QuotaExhaustedError))
    for minutes, expected in ((1, []), (29, []), (30, [CreateInstance])):
        plan = make_plan(record, seen(Absent(), record=record), policy(), NOW + timedelta(minutes=minutes))
        assert [type(a) for a in plan.actions] == expected
        if not expected:
            assert ready(plan.record).reason is Reason.QUOTA_EXHAUSTED


def test_a_server_that_says_when_is_heeded():
    record = ended(create_plan(), failure(RateLimitedError, retry_after=timedelta(minutes=7)))
    assert record.status.next_attempt_at >= NOW + timedelta(minutes=7)


def test_waits_grow_with_failures_in_a_row():
    record, waits = person(settled=False), []
    for _ in range(10):
        record = ended(create_plan(record.with_status(not_before=None)), failure(CloudUnavailableError))
        waits.append(record.status.next_attempt_at - NOW)
    assert waits[0] < timedelta(seconds=40)
    assert HALF_HOUR <= waits[-1] <= HALF_HOUR * 1.25
    assert record.status.attempts == 10


def test_a_refused_stockout_goes_through_the_zones_and_then_waits():
    record, zones = person(settled=False), []
    for _ in ZONES:
        plan = create_plan(record)
        zones.append(plan.actions[0].zone)
        record = ended(plan, failure(StockoutError))
        if len(zones) < len(ZONES):
            assert record.status.next_attempt_at <= NOW + timedelta(minutes=1)
            assert record.status.not_before is None
    assert zones == list(ZONES)
    assert record.status.not_before == NOW + HALF_HOUR
    assert record.status.next_attempt_at == NOW + HALF_HOUR


def test_a_start_that_finds_no_machine_waits_for_it_since_another_zone_does_not_help():
    record = ended(start_plan(), failure(StockoutError))
    assert record.status.failed_zones == ()
    assert record.status.zone == ZONES[0]
    assert record.status.next_attempt_at == NOW + HALF_HOUR
    held = make_plan(record, seen(notebook(NotebookState.STOPPED), record=record), policy(), NOW + timedelta(minutes=5))
    assert held.actions == ()
    assert ready(held.record).reason is Reason.STOCKOUT


def test_a_stop_that_failed_is_not_held_back():
    record = ended(stop_plan(), failure(CloudUnavailableError))
    assert record.status.not_before is None
    assert record.status.next_attempt_at <= NOW + timedelta(seconds=38)
    again = make_plan(record, seen(notebook(), record=record), policy(), NOW + timedelta(seconds=40))
    assert [type(a).__name__ for a in again.actions] == ["StopInstance"]


def test_a_failed_template_blames_the_templates_and_not_the_notebook():
    record = person(settled=False)
    plan = make_plan(record, seen(Absent(), templates=TemplatesSeen({})), policy(), NOW)
    assert [type(a).__name__ for a in plan.actions] == ["CreateInstance", "PutTemplate"]
    done = ended(plan, Started(operation(Verb.CREATE)), failure(InvalidSpecError))
    assert ready(done).reason is Reason.CREATING
    assert done.status.condition(ConditionType.TEMPLATES_READY).reason is Reason.INVALID_SPEC
    assert done.status.operation == operation(Verb.CREATE)
    assert done.status.not_before is None


def test_with_several_failures_the_soonest_attempt_counts():
    record = person(settled=False)
    plan = make_plan(record, seen(Absent(), templates=TemplatesSeen({})), policy(), NOW)
    done = ended(plan, failure(QuotaExhaustedError), failure(CloudUnavailableError))
    assert done.status.next_attempt_at < NOW + timedelta(minutes=2)
    assert done.status.not_before == NOW + HALF_HOUR


def test_a_date_that_comes_before_the_next_attempt_is_not_slept_through():
    record = after(joined(groups=(ANALYSTS,)), left("l", -1, effective=0.1))
    plan = make_plan(record, seen(Absent(), record=record), policy(), NOW)
    done = ended(plan, failure(QuotaExhaustedError))
    assert done.status.next_attempt_at == at(0.1)
