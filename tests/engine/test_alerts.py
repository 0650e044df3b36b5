"""An alert is made of a line of the log: no crash loses the line, wherever the process ends."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import timedelta

import pytest
from kit.inprocess import Bench, impatient, make_bench
from kit.life import Life, settings_with
from kit.machine import CrashError
from kit.oracle import object_names
from msgspec.structs import replace

from shared.domain.things.identity import parse_email
from shared.domain.things.power import PowerCause
from shared.engine.reconcile.reconciler import reconcile


@pytest.fixture(autouse=True)
def _no_waiting():
    with impatient():
        yield


def refused() -> Life:
    """A create that is refused for good."""
    life = Life(make_bench(), email=parse_email("ana.silva@example.com"))
    life.bench.fault(
        call="notebooks.CreateInstance", times=0, error={"code": "INVALID_ARGUMENT", "message": "no such image"}
    )
    stop = NoPass(life.bench)
    with contextlib.suppress(CrashError):
        life.join(minutes=0)
    stop.over()
    return life


class NoPass:
    """News are taken, and the process ends before the pass."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        bench.adapter.around = self

    def __call__(self) -> None:
        if object_names(self.bench.cloud, self.bench.settings.bucket, "records/"):
            raise CrashError

    def over(self) -> None:
        self.bench.adapter.around = lambda: None


def broken() -> Life:
    """A notebook that its user was told is kept on, and that somebody stops."""
    life = Life(make_bench(settings=settings_with()), email=parse_email("ana.silva@example.com"))
    life.join()
    stored = life.bench.deps.records.load(life.key)
    until = life.bench.now + timedelta(hours=5)
    spec = replace(stored.record.spec, keep_on_until=until)
    life.bench.deps.records.save(replace(stored.record, spec=spec), expected=stored)
    life.bench.cloud.notebooks.stop_outside(life.only().name)
    life.bench.advance(minutes=3)
    return life


CASES: dict[str, tuple[Callable[[], Life], str]] = {
    "needs an administrator": (refused, "Found a condition for an administrator"),
    "a broken promise": (broken, "Notebook stopped before its extension ended"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_crash_before_or_after_any_call_loses_no_alert(case: str) -> None:
    make, message = CASES[case]
    number, crashed, moments = 0, True, 0
    while crashed:
        number += 1
        life, left = make(), [number]
        life.bench.log.lines.clear()

        def around(left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise CrashError

        life.bench.adapter.around = around
        try:
            reconcile(life.key, life.bench.deps)
            crashed = False
        except CrashError:
            moments += 1
        life.bench.adapter.around = lambda: None
        reconcile(life.key, life.bench.deps)
        life.minutes(3)
        told = [facts for _, said, facts in life.bench.log.lines if said == message]
        assert told, f"lost at moment {number}"
        assert len(told) <= 2, "an alert may come twice, not with each pass"
    assert moments > 5
    if case == "a broken promise":
        assert life.record.spec.power_reason.cause is PowerCause.STOPPED_OUTSIDE
