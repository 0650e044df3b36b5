"""A sweep by a wrong clock destroys nothing and cuts nobody."""

from __future__ import annotations

from datetime import timedelta

import pytest
from kit.inprocess import START, make_bench
from kit.oracle import instances

from shared.domain.people.events import Joined, Left
from shared.domain.things.identity import parse_email
from shared.engine.news.deliver import deliver
from shared.engine.sweeps.sweeping import ClockWatch, clock_differs
from shared.engine.sweeps.sweeps import sweep


class Clock:
    """Both clocks by hand."""

    def __init__(self, speed=1.0):
        self.at, self.seconds, self.rate = START, 0.0, speed

    def now(self):
        return self.at

    def monotonic_s(self):
        return self.seconds

    def speed(self):
        return self.rate

    def pass_(self, *, seconds, jump=0.0):
        self.seconds += seconds
        self.at += timedelta(seconds=seconds * self.rate + jump)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("minutes", "speed", "wrong"), [(5, 1, False), (5.01, 1, True), (299, 60, False), (301, 60, True)]
)
def test_a_clock_five_minutes_off_the_publish_time_is_wrong_in_either_direction(minutes, speed, wrong, sign):
    clock, ahead = Clock(speed), timedelta(minutes=minutes * sign)
    assert clock_differs(clock.at - ahead, clock) == (ahead if wrong else None)


@pytest.mark.parametrize("speed", [0, 1, 60])
def test_a_clock_that_goes_on_as_time_passes_has_not_jumped(speed):
    clock = Clock(speed)
    watch = ClockWatch.begin(clock)
    for _ in range(10):
        clock.pass_(seconds=50)
        assert watch.jumped(clock) is None


@pytest.mark.parametrize("jump", [301, -301, 86_400 * 40])
def test_a_jump_is_noticed(jump):
    clock = Clock()
    watch = ClockWatch.begin(clock)
    clock.pass_(seconds=30, jump=jump)
    assert watch.jumped(clock) == timedelta(seconds=jump)


@pytest.mark.parametrize("kind", ["due", "drift", "idle"])
def test_a_clock_that_jumps_while_a_sweep_lists_has_it_touch_nobody(kind):
    bench = make_bench()
    email = parse_email("ana.silva@example.com")
    key = deliver(Joined(event_id="e", user=email, occurred_at=bench.now, effective_at=bench.now), bench.deps)
    bench.advance(minutes=5)
    sweep("due", bench.deps)
    (path,) = instances(bench.cloud)
    bench.control("POST", "/_emulator/activity", {"instance": f"nb-{key}", "cpu": 0.0})
    bench.control("POST", "/_emulator/monitoring", {"counter": "zeros"})
    left = bench.now + timedelta(minutes=1)
    deliver(Left(event_id="f", user=email, occurred_at=left, effective_at=left), bench.deps)
    bench.advance(hours=4)  # a stop is long due by then, for idleness and for the leave
    calls = [0]

    def jump():
        calls[0] += 1
        if calls[0] == 2:  # after the first listing
            bench.advance(days=40)

    bench.adapter.around = jump
    summary = sweep(kind, bench.deps)
    assert instances(bench.cloud)[path].state == "ACTIVE"
    assert (summary.acted, summary.left_over) == (0, 2 if kind == "idle" else 1)  # idle: the stop and the copy
    skipped = [facts for _, message, facts in bench.log.lines if message == "Ended a sweep early"]
    assert [(facts["kind"], facts["reason"]) for facts in skipped] == [(kind, "ClockDiffers")]
    assert summary.found["left out: the clock jumped"] == summary.left_over
    bench.adapter.around = lambda: None
    sweep("due", bench.deps)
    bench.advance(minutes=2)
    assert instances(bench.cloud)[path].state == "STOPPED"
