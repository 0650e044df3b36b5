from __future__ import annotations

import pytest
from kit.inprocess import make_bench


@pytest.fixture
def bench():
    """A world of its own; every fault that was scripted must have fired."""
    made = make_bench()
    yield made
    assert made.cloud.world.faults.unfired() == []
