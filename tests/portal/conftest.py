"""One page over a world of its own, for each test."""

from __future__ import annotations

import pytest
from kit.hub import ANA, BEN, Hub, make_hub


@pytest.fixture
def hub() -> Hub:
    """Nobody is there yet."""
    return make_hub()


@pytest.fixture
def two(hub: Hub) -> Hub:
    """Ana and Ben have running notebooks."""
    hub.joined(ANA, minutes=0)
    hub.joined(BEN)
    return hub
