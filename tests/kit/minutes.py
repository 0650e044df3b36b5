"""Minutes of a world without trouble, in which most sweeps would list nothing."""

from __future__ import annotations

from datetime import UTC

from kit.inprocess import Bench
from kit.oracle import object_names
from shared.engine.sweeps.sweeps import sweep


def minute(bench: Bench) -> None:
    """Move the clock by a minute and run its sweep, but not one that would list nothing.

    Such a sweep makes two listing calls and nothing else (tests/engine/test_growth.py), and scripted faults count calls: use this
    function only where there are none.
    """
    bench.advance(minutes=1)
    if _has_work(bench):
        sweep("due", bench.deps)


def _has_work(bench: Bench) -> bool:
    now = f"due/{bench.now.astimezone(UTC):%Y%m%dT%H%M%SZ}0"
    is_due = any(name < now for name in object_names(bench.cloud, bench.settings.bucket, "due/"))
    return is_due or bool(object_names(bench.cloud, bench.settings.inbox_bucket, "wishes/"))
