"""The idle rule on twelve traces of a real jupyter_server (facts: recorded 2026-11-23); other rules fail on most of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from shared.domain.fleet.idle import (
    Activity,
    IdlePolicy,
    Keep,
    Kernel,
    KernelState,
    Reason,
    Sample,
    Stop,
    Terminal,
    Warn,
    judge_idle,
)

TRACES = Path(__file__).parents[2] / ".." / "shared" / "golden" / "jupyter-traces"
pytestmark = pytest.mark.skipif(not TRACES.is_dir(), reason="the recorded traces (../shared/golden) are not here")

BEGIN = datetime(2026, 11, 23, tzinfo=UTC)
# The traces run at one tick a second against an idle limit of six, so the bounds are in seconds, too.
POLICY = IdlePolicy(
    idle_timeout=timedelta(seconds=6),
    cores_busy_at=0.5,
    warn_idle=timedelta(0),
    max_busy=timedelta(minutes=5),
    max_blind=timedelta(seconds=20),
    warn_before=timedelta(seconds=4),
    grace=timedelta(0),
    freshness=timedelta(seconds=2.5),
    max_gap=timedelta(seconds=2.5),
)


def at(seconds: float | None) -> datetime | None:
    return None if seconds is None else BEGIN + timedelta(seconds=seconds)


class Gatherer:
    """What a sweep would know at each tick, and remember from the ticks before."""

    def __init__(self, trace: dict[str, Any]) -> None:
        self.trace = trace
        self.known = Activity(cpu=())
        self.cpu_before: tuple[float, float] | None = None

    def look(self, tick: dict[str, Any]) -> Activity:
        used = float(tick["cpu_s"]["all"])
        samples = self.known.cpu or ()
        if self.cpu_before is not None:
            since, before = self.cpu_before
            samples = (*samples, Sample(at(tick["t"]), (used - before) / (tick["t"] - since)))
        self.cpu_before = (tick["t"], used)
        jobs = tuple(name for name, state in self.trace["external"].items() if state == "RUNNING")
        self.known = replace(
            self.known, cpu=samples, outside_jobs=jobs, proxy_last_activity=at(tick["proxy_last_activity"])
        )
        probe = tick["probe"]
        if "error" in probe:
            since = self.known.blind_since or at(tick["t"])
            self.known = replace(self.known, kernels=None, terminals=None, server_last_activity=None, blind_since=since)
        else:
            self.known = replace(
                self.known,
                observed_at=at(tick["t"]),
                blind_since=None,
                kernels=tuple(
                    Kernel(KernelState(k["execution_state"]), at(k["last_activity"]), k["connections"])
                    for k in probe["kernels"]
                ),
                terminals=tuple(Terminal(at(t["last_activity"])) for t in probe["terminals"]),
                sessions=len(probe["sessions"]),
                server_last_activity=at(probe["status"]["last_activity"]),
            )
        return self.known


def verdicts(number: int) -> list[tuple[float, Any]]:
    trace = json.loads((TRACES / f"{number}.json").read_text(encoding="utf-8"))
    gatherer, found = Gatherer(trace), []
    for tick in trace["ticks"]:
        verdict = judge_idle(gatherer.look(tick), POLICY, at(tick["t"]))
        found.append((tick["t"], verdict))
        if isinstance(verdict, Warn):
            gatherer.known = replace(gatherer.known, warned_at=at(tick["t"]))
    return found


def last_real_activity(number: int) -> float:
    """By the machine itself where the prober was refused."""
    trace = json.loads((TRACES / f"{number}.json").read_text(encoding="utf-8"))
    seen = [tick.get("truth", tick["probe"]) for tick in trace["ticks"]]
    stamps = [s["status"]["last_activity"] for s in seen if "status" in s]
    stamps += [k["last_activity"] for s in seen for k in s.get("kernels", [])]
    stamps += [t["last_activity"] for s in seen for t in s.get("terminals", [])]
    return max(stamps)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (1, Reason.KERNEL_ACTIVITY),
        (2, Reason.KERNEL_BUSY),
        (3, Reason.KERNEL_BUSY),
        (4, Reason.TERMINAL_ACTIVITY),
        (5, Reason.CPU_BUSY),
        (10, Reason.PROXIED_REQUESTS),
        (12, Reason.OUTSIDE_JOB),
    ],
)
def test_work_is_kept_at_every_tick(number, reason):
    found = verdicts(number)
    assert [verdict for _, verdict in found if not isinstance(verdict, Keep)] == []
    assert found[-1][1].reason in {reason, Reason.SERVER_ACTIVITY}


@pytest.mark.parametrize("number", [6, 7, 8, 9])
def test_idleness_is_stopped_but_not_before_its_time(number):
    found = verdicts(number)
    stops = [(t, verdict) for t, verdict in found if isinstance(verdict, Stop)]
    assert stops
    assert all(t >= last_real_activity(number) + 6 for t, _ in stops)
    first = found.index(stops[0])
    assert all(isinstance(verdict, Stop) for _, verdict in found[first:])
    assert {verdict.because for _, verdict in stops} == {Reason.IDLE}


def test_a_blind_instance_is_stopped_at_the_limit_only_and_after_a_warning():
    found = verdicts(11)
    trace = json.loads((TRACES / "11.json").read_text(encoding="utf-8"))
    blind = next(tick["t"] for tick in trace["ticks"] if "error" in tick["probe"])
    warnings = [t for t, verdict in found if isinstance(verdict, Warn)]
    stops = [(t, verdict) for t, verdict in found if isinstance(verdict, Stop)]
    assert len(warnings) == 1
    assert warnings[0] >= blind + 16
    assert stops
    assert stops[0][0] >= max(blind + 20, warnings[0] + 4)
    assert stops[0][1].because is Reason.MAX_BLIND


def test_the_recordings_say_what_this_test_expects_of_them():
    wants = {n: json.loads((TRACES / f"{n}.json").read_text(encoding="utf-8"))["want"] for n in range(1, 13)}
    assert {n for n, want in wants.items() if want == "KEEP"} == {1, 2, 3, 4, 5, 10, 12}
