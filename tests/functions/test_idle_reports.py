"""What VMs say of themselves, written into the embedded cloud and judged by the tick function: it keeps, within a bound, and never stops."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from kit.activity import say, tell, write
from kit.joining import ACK, join, state
from kit.life import settings_with

from shared.domain.plan.guard_settings import GuardSettings
from shared.domain.things.catalog import Identity, IdleSettings
from shared.domain.things.identity import UserKey
from shared.domain.things.notebook import NotebookState
from shared.domain.things.times import rfc3339

TIMEOUT, MAX_BUSY = timedelta(hours=3), timedelta(hours=8)
LATE = timedelta(minutes=15)  # after a timeout a stop comes by then


def settings(reporter: str = "gs://acme-notebook-scripts/reporter.py") -> Any:
    idle = IdleSettings(timeout=TIMEOUT, max_busy=MAX_BUSY)
    fields = {"identity": Identity.PERSONAL_SERVICE_ACCOUNT, "reporter": reporter, "idle": idle}
    return settings_with({"analyst": fields}, guard=GuardSettings(group_from=100, creations=1000))


with_reporter = pytest.mark.parametrize("functions", [settings()], indirect=True)


class Person:
    """One person whose notebook is ready, and who has just looked at JupyterLab."""

    def __init__(self, functions: Any, name: str = "ana") -> None:
        self.functions, self.bench = functions, functions.bench
        self.key, self.ref = join(functions, f"{name}@example.com")
        for _ in range(8):
            self.bench.advance(minutes=1)
            assert functions.deliver("tick", {"sweep": "due"}) == ACK
        assert self.runs
        say(
            self.bench,
            self.ref.instance_id,
            requests_per_minute=4,
            until=rfc3339(self.bench.now + timedelta(minutes=5)),
        )
        self.seen = self.bench.now + timedelta(minutes=5)  # from outside

    @property
    def runs(self) -> bool:
        return state(self.functions, self.ref) is NotebookState.ACTIVE

    def live(self, until: datetime, report: Callable[[], None] = lambda: None) -> datetime | None:
        """Let time pass with a tick every ten minutes, and a report shortly before each. Return when the notebook stopped."""
        while self.bench.now < until:
            self.bench.advance(minutes=9)
            if self.runs:
                report()
            self.bench.advance(minutes=1)
            for kind in ("idle", "due"):
                assert self.functions.deliver("tick", {"sweep": kind}) == ACK
            if not self.runs:
                return self.bench.now
        return None


def held(person: Person) -> Any:
    return person.bench.deps.fleet.notes().reports.get(person.key)


@with_reporter
def test_the_script_is_named_in_the_metadata_of_the_instance(functions):
    person = Person(functions)
    seen = functions.bench.deps.notebooks.get(person.ref)
    assert seen.metadata["post-startup-script"] == "gs://acme-notebook-scripts/reporter.py"
    assert seen.metadata["post-startup-script-behavior"] == "download_and_run_every_start"


@pytest.mark.parametrize(
    "said",
    [
        {"kernels": {"busy": 1, "idle": 0, "age": 90_000}},
        {"kernels": {"busy": 0, "idle": 1, "age": 30}},
        {"kernels": None, "terminals": {"count": 1, "age": 30}},
        {"kernels": None, "gpu": 0.7},
        {"spark": 1},
        {"cores": 0.9},
    ],
    ids=["silent cell", "output", "terminal", "GPU", "Spark", "CPU"],
)
@with_reporter
def test_work_that_nobody_sees_from_outside_keeps_and_is_told(functions, said):
    person = Person(functions)
    assert person.live(person.seen + 2 * TIMEOUT, lambda: tell(person.bench, person.ref, **said)) is None
    assert held(person).keeps
    assert not functions.lines("Warned of an idle stop")
    found = functions.bench.deps.fleet.notes().last_used[person.key]
    assert functions.bench.now - found < timedelta(hours=1, minutes=10)


@with_reporter
def test_work_that_ends_is_followed_by_the_timeout_and_the_stop(functions):
    person = Person(functions)
    ends = person.seen + TIMEOUT
    assert person.live(ends, lambda: tell(person.bench, person.ref, kernels={"busy": 1, "idle": 0})) is None
    ended = functions.bench.now

    def idle() -> None:
        tell(
            person.bench,
            person.ref,
            kernels={"busy": 0, "idle": 1, "age": (functions.bench.now - ended).total_seconds()},
        )

    stopped = person.live(ended + 2 * TIMEOUT, idle)
    assert stopped is not None
    assert ended + TIMEOUT - timedelta(minutes=10) <= stopped <= ended + TIMEOUT + LATE
    (day,) = functions.bench.deps.fleet.about().fleet.idle_days.values()
    assert (day.stops, day.kernels, day.unknown) == (1, 1, 0)


@pytest.mark.parametrize("functions", [settings(""), settings()], indirect=True, ids=["no reporter", "a reporter"])
def test_a_report_of_nothing_and_none_at_all_stop_when_the_rule_from_outside_does(functions):
    person = Person(functions)
    quiet = {"kernels": {"busy": 0, "idle": 1, "age": 80_000}, "terminals": {"count": 0}, "cores": 0.02}
    stopped = person.live(person.seen + 2 * TIMEOUT, lambda: tell(person.bench, person.ref, **quiet))
    assert stopped is not None
    assert person.seen + TIMEOUT <= stopped <= person.seen + TIMEOUT + LATE
    assert person.live(stopped + timedelta(hours=1)) is not None
    (day,) = functions.bench.deps.fleet.about().fleet.idle_days.values()
    has_reporter = bool(functions.bench.deps.policy.catalog.profiles["analyst"].reporter)
    assert (day.stops, day.kernels, day.unknown) == ((1, 1, 0) if has_reporter else (1, 0, 1))


@with_reporter
def test_a_report_of_nothing_never_stops_who_is_seen_at_work_from_outside(functions):
    person = Person(functions)
    say(functions.bench, person.ref.instance_id, cpu=0.5)
    quiet = {"kernels": {"busy": 0, "idle": 1, "age": 80_000}, "cores": 0.0}
    assert person.live(person.seen + 2 * TIMEOUT, lambda: tell(person.bench, person.ref, **quiet)) is None


@with_reporter
def test_a_report_keeps_for_max_busy_after_the_last_sign_from_outside_and_no_longer(functions):
    """Also one that is made up: the person is root on the machine."""
    person = Person(functions)
    lies = {
        "kernels": {"busy": 99_999, "idle": 0, "age": 0},
        "spark": 7,
        "gpu": 1,
        "cores": 4000,
        "terminals": {"count": 1, "age": 0},
    }
    stopped = person.live(person.seen + 3 * MAX_BUSY, lambda: tell(person.bench, person.ref, **lies))
    assert stopped is not None
    assert person.seen + MAX_BUSY - LATE <= stopped <= person.seen + MAX_BUSY + LATE
    assert functions.lines("Warned of an idle stop")


@with_reporter
def test_who_is_seen_at_work_from_outside_begins_the_bound_anew(functions):
    person = Person(functions)
    again = person.seen + MAX_BUSY - timedelta(hours=1)
    say(
        functions.bench,
        person.ref.instance_id,
        requests_per_minute=4,
        **{"from": rfc3339(again), "until": rfc3339(again + LATE)},
    )
    busy = {"kernels": {"busy": 1, "idle": 0}}
    stopped = person.live(person.seen + 3 * MAX_BUSY, lambda: tell(person.bench, person.ref, **busy))
    assert stopped is not None
    assert again + MAX_BUSY <= stopped <= again + LATE + MAX_BUSY + LATE


@with_reporter
def test_three_of_ten_reports_that_are_lost_change_nothing(functions):
    person, count = Person(functions), iter(range(10_000))

    def report() -> None:
        if next(count) % 10 not in {1, 2, 7}:
            tell(person.bench, person.ref, kernels={"busy": 1, "idle": 0})

    assert person.live(person.seen + 2 * TIMEOUT, report) is None


@pytest.mark.parametrize(
    "told",
    [
        lambda now: {"at": rfc3339(now - timedelta(minutes=4))},
        lambda now: {"at": rfc3339(now + timedelta(minutes=5))},
        lambda _: {"at": "9999-12-31T23:59:59Z"},
        lambda _: {"at": None},
        lambda _: {"at": 0},
        lambda _: {"at": "x" * 300},
        lambda _: {"v": 2},
        lambda _: {"v": "1"},
        lambda _: {"kernels": {"busy": -1, "idle": 0}},
        lambda _: {"kernels": {"busy": "1", "idle": 0}},
        lambda _: {"kernels": {"busy": True, "idle": 0}},
        lambda _: {"kernels": {"busy": 1.5, "idle": 0}},
        lambda _: {"kernels": {"busy": 0, "idle": 1, "age": -5}},
        lambda _: {"kernels": [1], "gpu": 70, "cores": -3, "spark": 1e99},
    ],
)
@with_reporter
def test_what_cannot_be_or_is_old_is_no_report(functions, told):
    person = Person(functions)
    report = lambda: tell(  # noqa: E731
        person.bench, person.ref, **{"kernels": {"busy": 1, "idle": 0}, **told(functions.bench.now)}
    )
    stopped = person.live(person.seen + 2 * TIMEOUT, report)
    assert stopped is not None
    assert person.seen + TIMEOUT <= stopped <= person.seen + TIMEOUT + LATE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{",
        "[" * 4000,
        '{"v":1,"at":NaN}',
        '{"v":1,"kernels":{"busy":1e400}}',
        "x" * 5000,
        "{" + " " * 5000 + "}",
        "\ud7ff\x00",
    ],
)
@with_reporter
def test_an_attribute_that_is_no_report_breaks_nothing(functions, text):
    person = Person(functions)
    stopped = person.live(person.seen + 2 * TIMEOUT, lambda: write(person.bench, person.ref, text))
    assert stopped is not None
    assert stopped <= person.seen + TIMEOUT + LATE
    assert held(person) is None


@with_reporter
def test_a_clock_that_jumps_on_the_machine_does_not_silence_it(functions):
    """The wall clock is two days ahead from the second report on; the time since the start goes on."""
    person = Person(functions)
    begun, jump = functions.bench.now, timedelta(0)

    def report() -> None:
        nonlocal jump
        now = functions.bench.now
        up = int((now - begun).total_seconds()) + 300
        tell(person.bench, person.ref, at=rfc3339(now + jump), up=up, kernels={"busy": 1, "idle": 0})
        jump = timedelta(days=2)

    assert person.live(person.seen + 2 * TIMEOUT, report) is None


@with_reporter
def test_an_old_report_of_the_same_boot_does_not_become_new_by_its_uptime(functions):
    person = Person(functions)
    begun = functions.bench.now
    stuck: list[str] = []

    def report() -> None:
        up = int((functions.bench.now - begun).total_seconds()) + 300
        told = {"v": 1, "at": rfc3339(functions.bench.now), "boot": "ab", "up": up, "kernels": {"busy": 1, "idle": 0}}
        if len(stuck) < 2:
            stuck.append(json.dumps(told))
        write(person.bench, person.ref, stuck[-1])

    stopped = person.live(person.seen + 3 * TIMEOUT, report)
    assert stopped is not None
    assert stopped <= person.seen + TIMEOUT + timedelta(minutes=40)


@with_reporter
def test_a_report_that_we_may_not_read_keeps_within_the_bound_of_blindness_and_is_said(functions):
    person = Person(functions)
    fault = {"call": "compute.instances.getGuestAttributes", "error": {"code": "PERMISSION_DENIED"}, "times": 0}
    functions.bench.control("POST", "/_emulator/faults", fault)
    assert person.live(person.seen + 2 * TIMEOUT) is None
    assert any(
        "reports of 1 machines" in text
        for line in functions.lines("Finished a sweep")
        for text in line.get("unread", ())
    )
    stopped = person.live(person.seen + timedelta(hours=30))
    assert stopped is not None
    assert stopped >= person.seen + timedelta(hours=24)


@pytest.mark.parametrize("functions", [settings("")], indirect=True)
def test_nobody_asks_where_there_is_no_reporter(functions):
    person = Person(functions)
    person.live(person.seen + TIMEOUT + LATE)
    assert not [call for call in functions.bench.calls() if call["method"] == "instances.getGuestAttributes"]


@with_reporter
def test_memory_that_ran_out_and_a_full_disk_are_remembered_until_the_next_start(functions):
    person = Person(functions)
    tell(functions.bench, person.ref, killed=0, memory_gb=15.6, disk=96.5)
    assert functions.deliver("tick", {"sweep": "idle"}) == ACK
    assert (held(person).killed_at, held(person).disk) == (None, None)
    functions.bench.advance(minutes=10)
    tell(functions.bench, person.ref, killed=1, memory_gb=15.6, disk=97)
    assert functions.deliver("tick", {"sweep": "idle"}) == ACK
    assert (held(person).killed_at, held(person).disk) == (functions.bench.now, 97)
    at = functions.bench.now
    functions.bench.advance(minutes=10)
    tell(functions.bench, person.ref, killed=1, boot="0b053e1e-9a01")
    assert functions.deliver("tick", {"sweep": "idle"}) == ACK
    assert held(person).killed_at == at
    functions.bench.advance(minutes=10)
    tell(functions.bench, person.ref, killed=0, boot="11111111-2222")
    assert functions.deliver("tick", {"sweep": "idle"}) == ACK
    assert held(person).killed_at is None


@with_reporter
def test_the_quota_of_reads_bounds_what_a_sweep_asks_and_nobody_is_left_out_for_long(functions, monkeypatch):
    monkeypatch.setattr("shared.engine.sweeps.idle_elsewhere._AT_ONCE", 2)
    people = [Person(functions, name) for name in ("ana", "ben", "cara", "dan", "eva")]
    seen: set[UserKey] = set()
    for _ in range(3):
        functions.bench.advance(minutes=1)
        for person in people:
            tell(functions.bench, person.ref, kernels={"busy": 1, "idle": 0})
        before = len([call for call in functions.bench.calls() if call["method"] == "instances.getGuestAttributes"])
        assert functions.deliver("tick", {"sweep": "idle"}) == ACK
        after = len([call for call in functions.bench.calls() if call["method"] == "instances.getGuestAttributes"])
        assert after - before <= 2
        seen |= functions.bench.deps.fleet.notes().reports.keys()
    assert seen == {person.key for person in people}
