"""Reports of VMs are doubted: whatever JSON comes, what is taken from it is bounded, and it counts only while it is fresh."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.json import decode, encode
from msgspec.structs import replace

from portal.notebook_view import _as_sold
from shared.domain.fleet.report import Anchor, Report, Reported, Work, is_fresh, remembered, report_of, work_of

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
START = NOW - timedelta(hours=5)
_EARLY, _LATE = (NOW.replace(tzinfo=None) + timedelta(days=days) for days in (-300, 9))
FIELDS = (
    "v",
    "at",
    "boot",
    "up",
    "kernels",
    "terminals",
    "connections",
    "cores",
    "gpu",
    "spark",
    "killed",
    "memory_gb",
    "disk",
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["busy", "idle", "age", "last", "count", "x"]), inner, max_size=4)
    ),
    max_leaves=6,
)
SAID = st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=len(FIELDS)).map(lambda found: {"v": 1, **found})


def keep(
    before: Reported | None, report: Report | None, now: datetime = NOW, started: datetime | None = START
) -> Reported | None:
    return remembered(before, report, started_at=started, cores_busy_at=0.3, gpu_busy_at=0.05, now=now)


@given(JSON | SAID)
def test_whatever_comes_is_bounded_or_is_no_report(raw):
    found = report_of(raw)
    if found is None:
        return
    assert all(
        value is None or 0 <= value <= 100_000
        for value in (found.busy, found.terminals, found.spark, found.connections)
    )
    assert found.cores is None or 0 <= found.cores <= 4_096
    assert found.gpu is None or 0 <= found.gpu <= 1
    assert found.disk is None or 0 <= found.disk <= 100
    assert len(found.boot) <= 64


@given(
    JSON | SAID,
    st.none() | st.datetimes(timezones=st.just(UTC), min_value=_EARLY, max_value=_LATE),
)
def test_what_is_remembered_is_never_in_the_future_nor_before_the_start_and_survives_its_storage(raw, started):
    report = report_of(raw)
    report = None if report is None else replace(report, at=NOW)
    found = keep(None, report, started=started)
    if found is None:
        return
    if found.worked_at is not None:
        assert found.worked_at <= max(NOW, started or NOW)
        assert started is None or found.worked_at >= started
    assert decode(encode(found), type=Reported) == found


def test_a_report_is_fresh_by_the_machines_clock_or_by_the_time_since_its_start():
    anchor = Anchor(boot="ab", up=100, at=NOW - timedelta(hours=1))
    assert is_fresh(Report(at=NOW - timedelta(minutes=3)), None, NOW)
    assert not is_fresh(Report(at=NOW - timedelta(minutes=3, seconds=1)), anchor, NOW)
    assert is_fresh(Report(at=NOW - timedelta(days=9), boot="ab", up=3700), anchor, NOW)
    assert not is_fresh(Report(at=NOW - timedelta(days=9), boot="ab", up=3400), anchor, NOW)
    assert not is_fresh(Report(at=NOW - timedelta(days=9), boot="cd", up=3700), anchor, NOW)
    assert not is_fresh(Report(), None, NOW)


@pytest.mark.parametrize(
    ("report", "work"),
    [
        (Report(busy=1, spark=1, cores=2, gpu=1, kernel_age=9), Work.KERNEL),
        (Report(busy=0, spark=1, cores=2), Work.SPARK),
        (Report(gpu=0.05, cores=2), Work.GPU),
        (Report(gpu=0.04, cores=0.3), Work.CPU),
        (Report(cores=0.29, kernel_age=10, terminal_age=5), Work.TERMINAL_LATELY),
        (Report(kernel_age=10, terminal_age=50), Work.KERNEL_LATELY),
        (Report(busy=0, connections=7), None),
        (Report(), None),
    ],
)
def test_what_a_report_calls_work(report, work):
    found = work_of(report, cores_busy_at=0.3, gpu_busy_at=0.05)
    assert (found[0] if found is not None else None) is work


def test_a_missing_or_old_report_changes_nothing_and_a_start_forgets_everything():
    first = keep(None, Report(at=NOW, boot="ab", up=10, busy=1, killed=3, disk=97))
    assert first is not None
    assert (first.worked_at, first.killed_at, first.disk) == (NOW, NOW, 97)
    later = NOW + timedelta(minutes=10)
    assert keep(first, None, later) == first
    assert keep(first, Report(at=NOW, boot="cd", busy=0), later) == first
    assert keep(first, None, later, started=NOW + timedelta(minutes=5)) is None
    again = keep(first, Report(at=later, boot="ab", up=610, busy=0, killed=3, kernel_age=3600), later)
    assert again is not None
    assert (again.worked_at, again.killed_at, again.anchor) == (NOW, NOW, first.anchor)


def test_the_number_of_kernels_is_known_if_both_counts_are():
    said = [{"busy": 2, "idle": 1}, {"busy": 2}, {"idle": 1}, 3]
    found = [report_of({"v": 1, "kernels": each}) for each in said]
    assert [(each.busy, each.kernels) for each in found] == [(2, 3), (2, None), (None, None), (3, None)]


def test_memory_is_said_as_it_is_sold():
    assert [_as_sold(gb) for gb in (3.8, 7.7, 15.6, 31.3, 62.8, 125.8, 251.7, 23.4, 47.0, 13.1)] == [
        4,
        8,
        16,
        32,
        64,
        128,
        256,
        24,
        48,
        13,
    ]
