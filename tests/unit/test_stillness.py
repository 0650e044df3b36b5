"""A test that waits is told from one that works, also on a machine that is busy."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from kit.stillness import Look, look, waited_between

ROOT = Path(__file__).resolve().parents[2]
needs_proc = pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="it is read of Linux")
ME = (1, 1)


def seen(
    at: float, *, spent: float = 0.0, works: bool = False, reaped_s: float = 0.0, ended_s: float = 0.0,
    queued_s: float = 0.0, threads: Mapping[int, float] = {}, **more: float,
) -> Look:  # fmt: skip
    tasks = {
        ME: spent,
        **{(1, number): s for number, s in threads.items()},
        **{(int(name[1:]), 1): s for name, s in more.items()},
    }
    return Look(at, tasks, reaped_s, works, ended_s, queued_s)


def test_what_passed_while_nothing_ran_was_waiting():
    assert waited_between(seen(1.0), seen(3.0)) == 2.0
    assert waited_between(seen(1.0, spent=5.0), seen(3.0, spent=5.5)) == 1.5


def test_what_passed_while_the_watcher_could_not_run_is_not_waiting():
    assert waited_between(seen(1.0), seen(3.0), within_s=1.9) == 0.0
    assert waited_between(seen(1.0), seen(3.0), within_s=2.0) == 2.0


def test_a_thread_or_a_program_of_the_tests_that_works_is_work():
    assert waited_between(seen(1.0, p7=2.0), seen(3.0, p7=4.5)) == 0.0


def test_a_thread_that_ended_had_worked_and_may_have_stood_in_the_queue_as_long_as_anybody():
    threads = {2: 0.0}
    assert waited_between(seen(1.0, threads=threads), seen(3.0, ended_s=0.5, queued_s=1.0)) == 0.5
    assert waited_between(seen(1.0), seen(3.0, ended_s=0.5, queued_s=1.0)) == 0.5, (
        "it began and ended between the looks"
    )
    assert waited_between(seen(1.0, threads=threads), seen(3.0, ended_s=1.5, queued_s=2.0)) == 0.0
    assert waited_between(seen(1.0, threads=threads), seen(3.0, threads=threads, queued_s=1.0)) == 2.0, "none ended"


@needs_proc
def test_the_processor_time_of_a_thread_that_ended_is_seen():
    before = look(os.getpid())

    def work() -> None:
        end = time.thread_time() + 0.05
        while time.thread_time() < end:
            pass

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    while (os.getpid(), thread.native_id) in (after := look(os.getpid())).spent:
        pass  # the system ends it a little later than Python
    assert after.ended_s - before.ended_s > 0.04
    assert after.queued_s >= before.queued_s > 0.0


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            seen(1.0),
            seen(3.0, works=True),
        ),  # it stands in the queue for a processor, which is counted once it has left it
        (seen(1.0, works=True), seen(3.0)),
        (seen(1.0), seen(3.0, p7=0.0)),  # what begins or ends between two looks is not seen whole
        (seen(1.0, p7=0.0), seen(3.0)),
        (seen(1.0), seen(3.0, reaped_s=0.1)),
    ],
)
def test_what_may_have_worked_did_not_wait(before, after):
    assert waited_between(before, after) == 0.0


@needs_proc
def test_the_tree_of_processes_is_seen():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        found = look(os.getpid())
        assert {os.getpid(), child.pid} <= found.processes
        child.communicate(b"\n")
    assert child.pid not in look(os.getpid()).processes


TESTS = """
import threading, time
import pytest

def wait(config):
    watcher = config.pluginmanager.get_plugin("stillness").watcher
    while watcher.waited < 0.06:
        threading.Event().wait(0.01)

@pytest.fixture
def slow_to_come(pytestconfig):
    wait(pytestconfig)

def test_waits(pytestconfig):
    wait(pytestconfig)

def test_its_fixture_waits(slow_to_come):
    pass

waited = []

def test_waits_by_accident(pytestconfig):
    if not waited:
        waited.append(1)
        wait(pytestconfig)

def test_fails_and_waits(pytestconfig):
    waited.append(2)
    wait(pytestconfig)
    assert waited.count(2) > 1, "its own fault"

@pytest.mark.browser
def test_may_wait(pytestconfig):
    wait(pytestconfig)

def test_works():
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
"""
CONFTEST = """
from kit.stillness import Stillness

def pytest_configure(config):
    config.addinivalue_line("markers", "browser: it may wait")
    config.pluginmanager.register(Stillness(most_s=0.05, every_s=0.005, short_s=0.0), "stillness")
"""


@needs_proc
def test_a_test_that_waits_fails_and_one_that_works_or_may_wait_does_not(tmp_path):
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", str(tmp_path), "-p", "no:randomly", "-q", "-rfEp", str(tmp_path)],
        env={"PATH": os.defpath, "PYTHONPATH": str(ROOT / "tests"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    ends = {line.split(" - ")[0] for line in done.stdout.splitlines() if line.startswith(("PASSED", "FAILED", "ERROR"))}
    assert ends == {
        "FAILED test_it.py::test_waits", "ERROR test_it.py::test_its_fixture_waits",
        "PASSED test_it.py::test_waits_by_accident", "FAILED test_it.py::test_fails_and_waits",
        "PASSED test_it.py::test_may_wait", "PASSED test_it.py::test_works",
    }, done.stdout  # fmt: skip
    assert "the test waited" in done.stdout
    assert "its fixtures waited" in done.stdout
    assert "its own fault" in done.stdout, "what fails by itself is not run again"
    assert done.stdout.count("threading.Event().wait(0.01)") >= 2, "where it stood is said"
