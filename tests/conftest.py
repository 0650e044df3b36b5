"""For all tests: Hypothesis without deadlines, because a deadline measures the machine and not the code; the longest test first."""

from __future__ import annotations

import signal
import threading

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("benchkeeper", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("benchkeeper")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(
        key=lambda item: "test_fleet" not in item.nodeid
    )  # so that two workers end together; the rest stays in random order


def pytest_configure() -> None:
    """Hear SIGINT, so that the programs that tests start hear it too: `nohup` and `&` leave it ignored, and children inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)
