"""The clock without a speed: fast while an operation is under way, else real; and what is measured of a JupyterLab."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from emulator.app import EmbeddedCloud
from emulator.clock import VirtualClock
from emulator.jupyter.labs import cpu_seconds, snapshot
from emulator.model.notebooks_activity import Machine
from emulator.pace import FAST, Pace
from tests.emulator.data_kit import PROJECT, ZONE, DataCloud
from tests.emulator.notebooks_cloud import START

BEGUN = datetime(2026, 8, 12, 9, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def cloud() -> DataCloud:
    clock = VirtualClock(start=START, speed=1)
    clock.begin_pacing()
    return DataCloud(EmbeddedCloud.build(clock=clock))


def speed(cloud: DataCloud) -> float:
    Pace(cloud.cloud).turn()
    return cloud.cloud.world.clock.speed


def test_the_clock_runs_fast_only_while_an_operation_is_under_way_and_shortly_after(cloud: DataCloud):
    assert speed(cloud) == 1
    cloud.call("POST", f"/v2/{PROJECT}/locations/{ZONE}/instances", {}, instanceId="ann")
    assert speed(cloud) == FAST
    cloud.wait(239)
    assert speed(cloud) == FAST
    cloud.wait(301)
    assert speed(cloud) == 1
    cloud.call("POST", f"/v2/{PROJECT}/locations/{ZONE}/instances/ann:stop", {})
    assert speed(cloud) == FAST
    cloud.wait(60 + 300)
    assert speed(cloud) == 1


@pytest.mark.parametrize(
    ("path", "query", "body"),
    [
        ("regions/us-central1/clusters", {}, {"clusterName": "ann"}),
        ("locations/us-central1/sessions", {"sessionId": "ann-1"}, {"jupyterSession": {"kernel": "PYTHON"}}),
    ],
)
def test_clusters_and_sessions_count_too(cloud: DataCloud, path, query, body):
    cloud.call("POST", f"/v1/{PROJECT}/{path}", body, **query)
    assert speed(cloud) == FAST


def test_a_snapshot_counts_too(cloud: DataCloud):
    cloud.instance("ann")
    cloud.wait(3600)
    assert speed(cloud) == 1
    cloud.insert("s1", "ann")
    assert speed(cloud) == FAST


@pytest.mark.parametrize(
    ("path", "query", "body"),
    [
        (f"/v2/{PROJECT}/locations/{ZONE}/instances", {"instanceId": "ben"}, {}),
        (f"/v1/{PROJECT}/regions/us-central1/clusters", {}, {"clusterName": "ann"}),
        (
            f"/v1/{PROJECT}/locations/us-central1/sessions",
            {"sessionId": "ann-1"},
            {"jupyterSession": {"kernel": "PYTHON"}},
        ),
        ("snapshot", {}, {}),
    ],
)
def test_an_operation_counts_after_a_restart_too(cloud: DataCloud, path, query, body):
    cloud.instance("ann")
    cloud.wait(3600)
    if path == "snapshot":
        cloud.insert("s1", "ann")
    else:
        cloud.call("POST", path, body, **query)
    clock = VirtualClock(start=START, speed=1)
    clock.begin_pacing()
    again = DataCloud(EmbeddedCloud.build(clock=clock))
    again.cloud.world.load(cloud.cloud.world.save())
    assert speed(again) == FAST


def test_a_speed_that_somebody_sets_stays(cloud: DataCloud):
    assert cloud.call("GET", "/_emulator/clock")["paced"] is True
    assert cloud.call("POST", "/_emulator/clock", {"speed": 7})["paced"] is False
    cloud.call("POST", f"/v2/{PROJECT}/locations/{ZONE}/instances", {}, instanceId="ann")
    assert speed(cloud) == 7


def test_a_clock_with_a_speed_is_never_paced():
    cloud = DataCloud(EmbeddedCloud.build(clock=VirtualClock(start=START, speed=5)))
    cloud.call("POST", f"/v2/{PROJECT}/locations/{ZONE}/instances", {}, instanceId="ann")
    assert speed(cloud) == 5


# --- what is measured


def machine() -> Machine:
    return Machine("1", f"{PROJECT}/locations/{ZONE}/instances/ann")


def test_measured_use_is_spread_over_its_minutes_and_comes_on_top_of_the_default():
    made = machine()
    made.measure(BEGUN + MINUTE / 2, BEGUN + 2 * MINUTE, utilization=0.5, responses={"200": 3})
    made.measure(BEGUN + 2 * MINUTE, BEGUN + 2 * MINUTE + MINUTE / 2, utilization=1.0, responses={"200": 1, "304": 2})
    assert made.cpu(BEGUN, 0.01) == pytest.approx(0.51)
    assert made.cpu(BEGUN + MINUTE, 0.01) == pytest.approx(0.51)
    assert made.cpu(BEGUN + 2 * MINUTE, 0.01) == 1.0
    assert made.cpu(BEGUN + 3 * MINUTE, 0.01) == 0.01
    assert [made.requests(BEGUN + n * MINUTE, "200") for n in range(4)] == [0, 0, 4, 0]
    assert made.codes() == ["200", "304"]
    again = Machine.from_json(made.to_json())
    assert again == made
    made.forget(BEGUN + 3 * MINUTE)
    assert sorted(made.measured) == [BEGUN + 3 * MINUTE]


def test_a_script_takes_precedence_over_what_was_measured(cloud: DataCloud):
    cloud.instance("ann")
    (held,) = cloud.cloud.notebooks.machines().values()
    now = cloud.cloud.world.clock.now()
    held.measure(now, now + MINUTE, utilization=0.5, responses={"200": 3})
    cloud.call("POST", "/_emulator/activity", {"instance": "ann", "cpu": 0.2, "requests_per_minute": 9})
    assert held.cpu(now + MINUTE / 2, 0.01) == 0.2
    assert held.requests(now + MINUTE / 2, "200") == 9


def test_measured_kernels_feed_workbenchs_own_timer():
    made = machine()
    assert made.note_kernels(BEGUN, "idle")
    assert not made.note_kernels(BEGUN + MINUTE, "idle")
    assert made.note_kernels(BEGUN + 5 * MINUTE, "busy")
    assert made.note_kernels(BEGUN + 7 * MINUTE, "idle")
    assert made.idle_until(BEGUN, BEGUN + 16 * MINUTE, 10 * MINUTE) is None
    assert made.idle_until(BEGUN, BEGUN + 17 * MINUTE, 10 * MINUTE) == BEGUN + 17 * MINUTE


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_the_cpu_time_of_a_process_has_that_of_all_below_it():
    burn = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\nprint(flush=True)\ninput()"
    code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}])"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdout.readline()  # the child has burnt its time
        alive = cpu_seconds(snapshot(), process.pid)
        assert alive >= 0.3
        assert cpu_seconds(snapshot(), 2**22 + 1) == 0
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(30)
