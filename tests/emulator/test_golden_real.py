"""The embedded cloud against answers that a real project gave: what `./tests/run.sh --real-cloud` recorded, without personal parts."""

from __future__ import annotations

from pathlib import Path

import pytest
from real_cloud.reference import RECORDED, recorded, unlike

REAL = Path(__file__).parents[1] / "data" / "real-cloud"


@pytest.mark.skipif(not REAL.is_dir(), reason="no real project was asked yet (docs/testing.md, A real project)")
@pytest.mark.parametrize("name", RECORDED)
def test_the_embedded_cloud_answers_as_the_real_one(name: str):
    assert recorded(REAL, name) is not None
    assert unlike(REAL)[name] == []
