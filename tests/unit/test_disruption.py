"""When a running environment may be stopped for a change: to the second, in the window's own time, over clock changes and midnight."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.making import NOW, profile

from shared.domain.notebook.waiting import may_disrupt, next_chance, say_when
from shared.domain.things.catalog import Disruption, Window

BERLIN = ZoneInfo("Europe/Berlin")
SECOND = timedelta(seconds=1)
ALL_DAYS = frozenset(range(7))


def in_window(start: time, hours: float, *, days: frozenset[int] = ALL_DAYS, zone=BERLIN):
    window = Window(days=days, start=start, length=timedelta(hours=hours), zone=zone)
    return profile("analyst", disruption=Disruption.WINDOW, window=window)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_now_is_always_and_when_idle_is_never():
    always, never = profile("analyst", disruption=Disruption.NOW), profile("analyst", disruption=Disruption.WHEN_IDLE)
    assert (may_disrupt(always, NOW), next_chance(always, NOW), say_when(always, NOW)) == (True, NOW, "now")
    assert (may_disrupt(never, NOW), next_chance(never, NOW)) == (False, None)
    assert say_when(never, NOW) == "when the notebook is stopped"


def test_a_window_that_nobody_wrote_down_never_opens():
    lost = profile("analyst", disruption=Disruption.WINDOW, window=None)
    assert (may_disrupt(lost, NOW), next_chance(lost, NOW)) == (False, None)
    assert say_when(lost, NOW) == "when the notebook is stopped"


# 2026-11-23 is a Monday; Berlin is an hour before UTC in winter.
NIGHT = in_window(time(22, 0), 4, days=frozenset({0, 2}))  # Monday and Wednesday, over midnight
OPENS_MONDAY, OPENS_WEDNESDAY = utc("2026-11-23T21:00:00"), utc("2026-11-25T21:00:00")
CLOSES = timedelta(hours=4)


@pytest.mark.parametrize(
    ("now", "chance"),
    [
        (OPENS_MONDAY - SECOND, OPENS_MONDAY),
        (OPENS_MONDAY, OPENS_MONDAY),
        (OPENS_MONDAY + timedelta(hours=2), OPENS_MONDAY + timedelta(hours=2)),  # on Tuesday, in Monday's window
        (OPENS_MONDAY + CLOSES - SECOND, OPENS_MONDAY + CLOSES - SECOND),
        (OPENS_MONDAY + CLOSES, OPENS_WEDNESDAY),
        (OPENS_WEDNESDAY + CLOSES, OPENS_MONDAY + timedelta(days=7)),
        (OPENS_WEDNESDAY - timedelta(days=1), OPENS_WEDNESDAY),  # Tuesday at 22:00: another day
    ],
)
def test_a_window_over_midnight_opens_and_closes_to_the_second(now, chance):
    assert next_chance(NIGHT, now) == chance
    assert may_disrupt(NIGHT, now) is (chance == now)


def test_the_same_day_of_the_next_week_is_found():
    weekly = in_window(time(8, 0), 1, days=frozenset({0}), zone=UTC)
    just_over = utc("2026-11-23T09:00:00")
    assert next_chance(weekly, just_over) == utc("2026-11-30T08:00:00")


def test_the_day_is_that_of_the_windows_own_zone():
    early = in_window(time(0, 30), 1, days=frozenset({1}))  # Tuesday 00:30 in Berlin is Monday 23:30 in UTC
    assert may_disrupt(early, utc("2026-11-23T23:30:00"))
    assert not may_disrupt(early, utc("2026-11-24T23:30:00"))


def test_yesterday_is_that_of_the_windows_own_zone():
    """Late on Monday in New York it is Tuesday in UTC; what opened there on Sunday night is open still."""
    sunday = in_window(time(23, 30), 24, days=frozenset({6}), zone=ZoneInfo("America/New_York"))
    monday_night = datetime(2026, 11, 23, 23, 0, tzinfo=ZoneInfo("America/New_York"))
    assert monday_night.astimezone(UTC).weekday() == 1
    assert may_disrupt(sunday, monday_night.astimezone(UTC))
    assert not may_disrupt(sunday, monday_night.astimezone(UTC) + timedelta(minutes=30))


@pytest.mark.parametrize(
    ("start", "hours", "opens"),
    [
        # 2026-03-29: 02:00 becomes 03:00. 2026-10-25: 03:00 becomes 02:00.
        (time(1, 0), 3, "2026-03-29T00:00:00"),
        (time(4, 0), 1, "2026-03-29T02:00:00"),
        (time(1, 0), 3, "2026-10-24T23:00:00"),
        (time(4, 0), 1, "2026-10-25T03:00:00"),
        (time(2, 30), 1, "2026-10-25T00:30:00"),  # twice on the clock, once a window
    ],
)
def test_over_a_clock_change_it_opens_by_the_clock_on_the_wall_and_is_as_long_as_ever(start, hours, opens):
    sunday = in_window(start, hours, days=frozenset({6}))
    opening, length = utc(opens), timedelta(hours=hours)
    for now, is_open in [
        (opening - SECOND, False),
        (opening, True),
        (opening + length - SECOND, True),
        (opening + length, False),
    ]:
        assert may_disrupt(sunday, now) is is_open, now


def test_a_window_at_an_hour_that_the_clock_leaves_out_opens_all_the_same():
    skipped = in_window(time(2, 30), 1, days=frozenset({6}))
    chance = next_chance(skipped, utc("2026-03-28T12:00:00"))
    assert chance == utc("2026-03-29T01:30:00")  # 03:30 summer time, which is 02:30 by the time before
    assert may_disrupt(skipped, chance)


def test_the_next_opening_is_said_with_its_day():
    assert say_when(NIGHT, NOW) == "in the maintenance window that opens on Mon 2026-11-23 21:00 UTC"
    assert say_when(NIGHT, OPENS_MONDAY) == "now"


moments = st.datetimes(min_value=datetime(2026, 1, 1), max_value=datetime(2027, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
profiles = st.builds(
    lambda mode, days, start, minutes, zone: profile(
        "analyst",
        disruption=mode,
        window=Window(days=days, start=start, length=timedelta(minutes=minutes), zone=zone),
    ),
    st.sampled_from(Disruption),
    st.frozensets(st.integers(0, 6), min_size=1),
    st.times(),
    st.integers(1, 24 * 60),
    st.sampled_from([UTC, BERLIN, ZoneInfo("America/New_York"), ZoneInfo("Pacific/Auckland")]),
)


@given(profiles, moments)
def test_it_may_be_now_exactly_when_the_next_chance_is_now(candidate, now):
    chance = next_chance(candidate, now)
    assert may_disrupt(candidate, now) is (chance == now)
    if chance is None:
        assert candidate.disruption is Disruption.WHEN_IDLE
        return
    assert now <= chance <= now + timedelta(days=7, hours=2)
    assert may_disrupt(candidate, chance)
    assert (say_when(candidate, now) == "now") is (chance == now)


@given(profiles, moments, st.floats(0, 1, exclude_max=True))
def test_before_the_next_chance_there_is_none(candidate, now, share):
    chance = next_chance(candidate, now)
    if chance is not None and chance > now:
        between = now + (chance - now) * share
        assert not may_disrupt(candidate, between) or between == chance
