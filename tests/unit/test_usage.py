"""How long something ran in a month: against an oracle that counts minutes one by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.things.power import Usage, cluster_usage, month_of, month_start, with_running

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_nothing_is_written_while_nothing_changes():
    usage = with_running({}, "x", NOON, runs=True)
    assert with_running(usage, "x", NOON + HOUR, runs=True) is usage
    ended = with_running(usage, "x", NOON + HOUR, runs=False)
    assert with_running(ended, "x", NOON + 2 * HOUR, runs=False) is ended
    never: dict[str, Usage] = {}
    assert with_running(never, "x", NOON, runs=False) is never


def test_runs_of_a_month_add_up_and_the_present_one_counts_to_now():
    usage = {}
    for start in (0, 3, 6):
        usage = with_running(usage, "x", NOON + start * HOUR, runs=True)
        if start != 6:
            usage = with_running(usage, "x", NOON + (start + 1) * HOUR, runs=False)
    assert usage["x"].in_month_of(NOON + 8 * HOUR) == 4 * HOUR


def test_a_run_over_the_turn_of_the_month_counts_in_both():
    eve = datetime(2026, 11, 30, 22, 0, tzinfo=UTC)
    usage = with_running({}, "x", eve, runs=True)
    assert usage["x"].in_month_of(eve + HOUR) == HOUR
    assert usage["x"].in_month_of(eve + 5 * HOUR) == 3 * HOUR
    ended = with_running(usage, "x", eve + 5 * HOUR, runs=False)
    assert (ended["x"].month, ended["x"].ran_s) == ("2026-12", 3 * 3600)


def test_last_months_hours_are_not_this_months():
    usage = with_running(with_running({}, "x", NOON, runs=True), "x", NOON + HOUR, runs=False)
    later = NOON + timedelta(days=20)
    assert usage["x"].in_month_of(later) == timedelta(0)
    again = with_running(usage, "x", later, runs=True)
    assert (again["x"].month, again["x"].ran_s) == ("2026-12", 0)


def test_one_name_is_not_anothers():
    usage = with_running({}, cluster_usage("a"), NOON, runs=True)
    both = with_running(usage, cluster_usage("b"), NOON, runs=True)
    assert both[cluster_usage("a")] is usage[cluster_usage("a")]
    assert set(both) == {"spark:a", "spark:b"}


@given(
    st.lists(st.tuples(st.integers(1, 60 * 24 * 9), st.booleans()), max_size=25),
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - as hypothesis wants
)
def test_the_sum_is_what_was_seen_minute_by_minute(looks, start):
    """The oracle walks through time: between two looks it ran as the earlier one saw it. No clocks of months here."""
    now = start.replace(second=0, microsecond=0)
    usage, runs, spans = {}, False, []
    for minutes, sees in looks:
        spans.append((now, now + timedelta(minutes=minutes), runs))
        now += timedelta(minutes=minutes)
        usage, runs = with_running(usage, "x", now, runs=sees), sees
    first = now.replace(day=1, hour=0, minute=0)
    ran = sum(
        (max(timedelta(0), end - max(begin, first)) for begin, end, running in spans if running), start=timedelta(0)
    )
    assert (usage["x"].in_month_of(now) if "x" in usage else timedelta(0)) == ran


@pytest.mark.parametrize(
    "moment", [NOON, datetime(2026, 12, 1, tzinfo=UTC), datetime(2026, 2, 28, 23, 59, 59, 999999, UTC)]
)
def test_a_month_begins_with_its_first_moment(moment):
    start = month_start(moment)
    assert start <= moment
    assert month_of(start) == month_of(moment) == moment.strftime("%Y-%m")
    assert month_of(start - timedelta(microseconds=1)) != month_of(moment)
