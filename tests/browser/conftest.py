"""One browser for each module of journeys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from kit.browser import started_chromium

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with started_chromium() as made:
        yield made
