"""For all tests: what their markers ask for, in which order they run, what a failing one says, and no waiting. See docs/testing.md."""

from __future__ import annotations

import os
import shutil
import signal
import socketserver
import threading
from collections.abc import Generator, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers
from kit.histories import ARE_THE_SAME
from kit.skipped_time import impatient
from kit.stillness import Stillness

# Without deadlines: those measure the machine and not the code.
settings.register_profile("benchkeeper", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("benchkeeper")
if ARE_THE_SAME:
    # Hypothesis draws some numbers and words from the constants of the modules that are loaded: the same seed would begin
    # another history in another order of tests, and after each change of a constant anywhere.
    providers._get_local_constants = providers.Constants

# By marker: the programs of which a test needs one, and what to do where there is none.
_NEEDS = {
    "gcloud": (("gcloud",), "the Google Cloud SDK is not installed: `gcloud` is not on the PATH"),
    "browser": (("chromium", "chromium-browser"), "Chromium is not installed: apt-get install chromium"),
}
# The longest tests, by the beginning of what follows `tests/`: they begin first, so that all workers end together.
_LONG = (
    "properties/", "e2e/test_fleet.py", "deploy/", "engine/test_guard.py", "emulator/test_jupyter_life.py",
)  # fmt: skip


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for name, (programs, missing) in _NEEDS.items():
        if not any(map(shutil.which, programs)):
            for item in items:
                if item.get_closest_marker(name):
                    item.add_marker(pytest.mark.skip(reason=missing))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))  # noqa: TID251 - xdist says so
    items[:] = dealt(items, workers)


def dealt(items: list[pytest.Item], workers: int) -> list[pytest.Item]:
    """Order tests so that each worker's part (xdist cuts the list into equal ones) begins with its share of the long ones.

    The rest stays as it was: in random order.
    """
    long = [item for item in items if item.nodeid.removeprefix("tests/").startswith(_LONG)]
    chosen = set(long)
    short = iter([item for item in items if item not in chosen])
    made: list[pytest.Item] = []
    for worker in range(workers):
        mine = long[worker::workers]
        end = len(items) * (worker + 1) // workers
        made += mine
        while len(made) < end and (item := next(short, None)) is not None:
            made.append(item)
    return made + list(short)


def pytest_configure(config: pytest.Config) -> None:
    """Hear SIGINT, so that the programs that tests start hear it too: `nohup` and `&` leave it ignored, and children inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.pluginmanager.register(Stillness(), "stillness")
    # Five by default: the sixth of many threads that connect at once loses its first packet, which TCP sends again after a second.
    socketserver.TCPServer.request_queue_size = 128


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_retries() -> Iterator[None]:
    """Let no Google client of this process sleep before it tries again."""
    with impatient():
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say with each failure how to see it again, alone and with the same random numbers."""
    report = yield
    if report.failed:
        report.sections.append(("To run it alone", alone(item)))
    return report


def alone(item: pytest.Item) -> str:
    """The command that runs this test and no other."""
    runs = os.environ.get("BENCHKEEPER_RUNS")  # noqa: TID251 - run.sh passes --runs on
    seed: Any = item.config.getoption("randomly_seed", default=None)
    same = f" --randomly-seed={seed}" if isinstance(seed, int) else ""
    return f"{f'BENCHKEEPER_RUNS={runs} ' if runs else ''}.venv/bin/python -m pytest{same} '{item.nodeid}'"
