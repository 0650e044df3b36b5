"""What idle stops bring and cost: counted as far as it was seen, summed with prices, rounded to what is known."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import pytest
from kit.making import NOW, catalog, person
from msgspec.structs import replace

from shared.domain.fleet.idle_days import MOST_DAYS, IdleCount, IdleDay, about, saving_of
from shared.domain.intent.asking import with_asked
from shared.domain.intent.wish import Asked, WishKind
from shared.domain.record.record import Power, UserRecord, row_of
from shared.domain.record.status import ConditionStatus, ConditionType, RegretKind, set_condition
from shared.domain.things.errors import Reason
from shared.domain.things.power import PowerCause, PowerReason

TODAY = NOW.date().isoformat()
IDLE = PowerReason(cause=PowerCause.IDLE, since=NOW - timedelta(hours=3))


def rested(reason: Reason = Reason.IDLE, *, since: datetime = NOW, cause: PowerReason = IDLE) -> UserRecord:
    record = person(power=Power.STOPPED)
    conditions = set_condition((), ConditionType.NOTEBOOK_READY, ConditionStatus.FALSE, reason, "Stopped.", since)
    return replace(record, spec=replace(record.spec, power=Power.STOPPED, power_reason=cause)).with_status(
        conditions=conditions
    )


def counted(*records: UserRecord) -> IdleCount:
    count = IdleCount()
    for record in records:
        count.add(row_of(record))
    return count


def test_hours_are_counted_between_two_sweeps_and_no_more_than_half_an_hour_of_a_gap():
    count = counted(rested(), rested(), rested(Reason.STOPPED))
    days = count.days({}, NOW - timedelta(minutes=10), NOW)
    assert days == {TODAY: IdleDay(stopped_s={"analyst": 1200})}
    days = count.days(days, NOW - timedelta(days=3), NOW)
    assert days[TODAY].stopped_s == {"analyst": 1200 + 2 * 1800}
    assert count.days(days, NOW + timedelta(minutes=5), NOW)[TODAY] == days[TODAY]


def test_stops_and_their_kernels_are_counted_and_unknown_is_not_none():
    count = counted()
    for kernels in (2, 0, None):
        count.add_stop(kernels)
    assert count.days({}, NOW, NOW) == {TODAY: IdleDay(stops=3, kernels=2, unknown=1)}


def test_only_the_last_days_are_kept():
    days = {date.fromordinal(number).isoformat(): IdleDay(stops=1) for number in range(730_000, 730_100)}
    kept = counted().days(days, NOW, NOW)
    assert len(kept) == MOST_DAYS
    assert max(kept) == TODAY


def test_the_sum_says_which_hours_have_no_price():
    days = {
        "2026-11-22": IdleDay(stops=2, stopped_s={"analyst": 36_000, "scientist": 7_200}, kernels=3),
        TODAY: IdleDay(stops=1, stopped_s={"analyst": 3_600}, unknown=1),
    }
    found = saving_of(days, {"analyst": 0.5, "scientist": None})
    assert found is not None
    assert (found.since, found.stops, found.kernels, found.unknown) == (date(2026, 11, 22), 3, 3, 1)
    assert (found.hours, found.cost, found.unpriced_hours) == (13.0, 5.5, 2.0)
    assert saving_of({}, {}) is None


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, 0), (0.4, 0), (7.6, 8), (99.4, 99), (104, 100), (1_949, 1_900), (1_951, 2_000), (123_456, 120_000)],
)
def test_an_estimate_has_two_digits_that_count(value, said):
    assert about(value) == said


def asked(record: UserRecord, kind: WishKind, now: datetime = NOW, **more: Any) -> list[RegretKind]:
    found = with_asked(record, Asked(kind=kind, **more), catalog(), now, by_person=True)
    return [each.kind for each in found.status.notebook.regrets]


@pytest.mark.parametrize(
    ("warned", "kinds"),
    [
        (timedelta(minutes=10), [RegretKind.EXTENDED]),
        (timedelta(minutes=11), []),
        (-timedelta(minutes=1), []),
        (None, []),
    ],
)
def test_an_extension_within_ten_minutes_of_a_warning_is_noted(warned, kinds):
    record = person(idle_warned_at=NOW - warned if warned is not None else None)
    assert asked(record, WishKind.KEEP_ON, until=NOW + timedelta(hours=2)) == kinds
    assert asked(record, WishKind.STOP) == []


@pytest.mark.parametrize(
    ("record", "kinds"),
    [
        (rested(since=NOW - timedelta(minutes=10)), [RegretKind.STARTED]),
        (rested(since=NOW - timedelta(minutes=11)), []),
        (rested(cause=PowerReason(cause=PowerCause.STOPPED_BY_PERSON)), []),
        (person(), []),
    ],
)
def test_a_start_within_ten_minutes_of_an_idle_stop_is_noted(record, kinds):
    assert asked(record, WishKind.START) == kinds


def test_no_more_than_ten_of_the_last_thirty_days_are_remembered():
    record = rested(since=NOW)
    for number in range(40):
        now = NOW + timedelta(days=number)
        record = with_asked(record, Asked(kind=WishKind.START), catalog(), now, by_person=True)
        again = rested(since=now + timedelta(days=1))
        record = replace(record, spec=again.spec).with_status(conditions=again.status.conditions)
    assert len(record.status.notebook.regrets) == 10
