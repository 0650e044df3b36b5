"""Working hours by the clock on the wall: who came, who is expected, and whose notebook starts when, over weekends and summer time."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.fleet.hours import LEAD, arrival_of, expected, is_open, starts_now, with_arrival
from shared.domain.fleet.idle import Sample
from shared.domain.things.catalog import Hours
from shared.domain.things.identity import UserKey

BERLIN = Hours(days=frozenset(range(5)), start=time(8), end=time(18, 30), zone=ZoneInfo("Europe/Berlin"))
KOLKATA = Hours(days=frozenset({0, 2}), start=time(9), end=time(17), zone=ZoneInfo("Asia/Kolkata"))


def utc(day: int, hour: int, minute: int = 0, month: int = 11) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("hours", "moment", "open_"),
    [
        (BERLIN, utc(23, 7), True),  # Monday 08:00
        (BERLIN, utc(23, 6, 59), False),
        (BERLIN, utc(23, 17, 29), True),
        (BERLIN, utc(23, 17, 30), False),
        (BERLIN, utc(21, 10), False),  # Saturday
        (BERLIN, utc(6, 6, month=7), True),  # in summer 08:00 is two hours before UTC
        (BERLIN, utc(6, 5, 59, month=7), False),
        (KOLKATA, utc(23, 3, 30), True),
        (KOLKATA, utc(24, 3, 30), False),
        (KOLKATA, utc(22, 20), False),  # Monday 01:30
    ],
)
def test_when_the_hours_are(hours, moment, open_):
    assert is_open(hours, moment) is open_


def test_an_arrival_is_the_first_request_of_the_day_within_or_shortly_before_the_hours():
    now = utc(23, 12)
    at = [utc(22, 9), utc(23, 1), utc(23, 7, 35), utc(23, 9)]  # Sunday, 02:00, 08:35, 10:00
    assert arrival_of([Sample(each, 3) for each in at], BERLIN, now) == utc(23, 7, 30)
    assert arrival_of([Sample(at[2], 0)], BERLIN, now) is None
    assert arrival_of([Sample(at[1], 3)], BERLIN, now) is None
    assert arrival_of([], BERLIN, now) is None


def test_the_first_arrival_of_each_of_the_last_ten_days_is_kept():
    known: tuple[datetime, ...] = ()
    for day in range(1, 20):
        for hour in (10, 8, 12):
            known = with_arrival(known, utc(day, hour), BERLIN)
    assert known == tuple(utc(day, 8) for day in range(10, 20))


def test_who_came_on_three_of_the_last_five_working_days_is_expected_at_the_earliest_of_their_times():
    came = (utc(16, 8, 10), utc(18, 7, 40), utc(20, 9))  # Monday, Wednesday, Friday
    assert expected(came, BERLIN, utc(23, 5)) == utc(23, 7, 40)
    assert expected(came[1:], BERLIN, utc(23, 5)) is None
    assert expected(came, BERLIN, utc(21, 5)) is None, "a Saturday"
    assert expected(came, BERLIN, utc(24, 5)) is None, "the Monday of last week is six working days ago"
    assert expected((*came, utc(23, 8)), BERLIN, utc(24, 5)) == utc(24, 7, 40)
    assert expected(came, BERLIN, utc(23, 5) + timedelta(days=60)) is None


def test_what_was_8_30_on_the_wall_stays_8_30_over_the_change_of_summer_time():
    summer = tuple(utc(day, 6, 30, month=10) for day in (21, 22, 23))  # 08:30 in Berlin, until 25 October
    assert expected(summer, BERLIN, utc(26, 3, month=10)) == utc(26, 7, 30, month=10)
    winter = tuple(utc(day, 7, 30, month=3) for day in (25, 26, 27))  # until 29 March
    assert expected(winter, BERLIN, utc(30, 3, month=3)) == utc(30, 6, 30, month=3)


def key(number: int) -> UserKey:
    return UserKey(f"u{number:04d}")


def run(waiting: list[tuple[datetime, UserKey]], begin: datetime, most: int) -> dict[UserKey, datetime]:
    """When each is started, with a sweep every ten minutes."""
    started: dict[UserKey, datetime] = {}
    for step in range(6 * 8):
        now = begin + step * timedelta(minutes=10)
        left = [(at, each) for at, each in waiting if each not in started]
        chosen = starts_now(left, now, most)
        assert len(chosen) <= most
        started |= dict.fromkeys(chosen, now)
    return started


def test_one_person_is_started_twenty_to_ten_minutes_before():
    at = utc(23, 8)
    (moment,) = run([(at, key(1))], utc(23, 5, 3), most=60).values()
    assert at - LEAD - timedelta(minutes=10) < moment <= at - LEAD + timedelta(minutes=10)


def test_a_crowd_that_comes_at_the_same_time_is_spread_over_the_time_before():
    at = utc(23, 8)
    started = run([(at, key(number)) for number in range(300)], utc(23, 5), most=60)
    assert len(started) == 300
    assert max(started.values()) <= at - timedelta(minutes=10)
    assert min(started.values()) >= at - timedelta(minutes=80)


@given(st.lists(st.integers(0, 240), max_size=80), st.integers(1, 12))
def test_nobody_is_started_twice_or_hours_early_and_all_are_who_can_be(minutes, most):
    begin = utc(23, 5)
    waiting = [(begin + timedelta(minutes=each), key(number)) for number, each in enumerate(minutes)]
    started = run(waiting, begin, most)
    for at, each in waiting:
        if each in started:
            assert at - timedelta(hours=2) <= started[each] <= at + timedelta(minutes=30)
    if len(waiting) <= most:
        assert len(started) == len(waiting)


def test_whoever_is_long_overdue_is_not_waited_for():
    assert starts_now([(utc(23, 7), key(1))], utc(23, 7, 31), 60) == []
