"""Deployments with the real gcloud, against the administrative services of emulator/admin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.acme import Acme, acme


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Acme]:
    """A company's project, empty."""
    with acme(tmp_path) as found:
        yield found
