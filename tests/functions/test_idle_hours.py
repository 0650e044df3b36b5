"""Working hours, played for two weeks of people and judged by the tick function: stopped at night, started before who comes."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from kit.activity import say
from kit.joining import ACK, join, state
from kit.life import settings_with

from shared.domain.plan.guard_settings import GuardSettings
from shared.domain.record.record import Power
from shared.domain.record.status import ConditionType
from shared.domain.things.catalog import Hours, IdleSettings
from shared.domain.things.notebook import NotebookState
from shared.domain.things.power import PowerCause, PowerReason
from shared.domain.things.times import rfc3339
from shared.engine.reconcile.changing import want_power

ZONE = ZoneInfo("Europe/Berlin")
HOURS = Hours(days=frozenset(range(5)), start=time(8), end=time(18), zone=ZONE)
TIMEOUT = timedelta(hours=6)
MONDAY = date(2026, 11, 23)


def settings(hours: Hours | None = HOURS) -> Any:
    fields = {"hours": hours, "idle": IdleSettings(timeout=TIMEOUT, max_keep_on=timedelta(hours=12))}
    return settings_with({"analyst": fields}, guard=GuardSettings(creations=1000))


with_hours = pytest.mark.parametrize("functions", [settings()], indirect=True)


def wall(day: date, clock: str) -> datetime:
    return datetime.combine(day, time.fromisoformat(clock), tzinfo=ZONE).astimezone(UTC)


class Office:
    """People with notebooks, and a clock that ticks every ten minutes."""

    def __init__(self, functions: Any, *names: str) -> None:
        self.functions, self.bench = functions, functions.bench
        self.people = {name: join(functions, f"{name}@example.com") for name in names}
        self.until(self.bench.now + timedelta(minutes=20))

    def until(self, moment: datetime) -> None:
        while self.bench.now < moment:
            here = self.bench.now.astimezone(ZONE)
            is_quiet = (
                here.time() < time(5) or here.weekday() > 4 or (here.time() > time(10) and len(self.running()) == 0)
            )
            step = timedelta(minutes=60 if is_quiet else 10)
            self.bench.advance(seconds=min(step, moment - self.bench.now).total_seconds())
            for kind in ("idle", "due"):
                assert self.functions.deliver("tick", {"sweep": kind}) == ACK

    def runs(self, name: str) -> bool:
        return state(self.functions, self.people[name][1]) is NotebookState.ACTIVE

    def running(self) -> set[str]:
        return {name for name in self.people if self.runs(name)}

    def works(self, name: str, day: date, begin: str = "09:00", end: str = "16:30") -> None:
        """Let somebody make requests from one time on the wall to another; announced the day before."""
        times = {"from": rfc3339(wall(day, begin)), "until": rfc3339(wall(day, end))}
        say(self.bench, self.people[name][1].instance_id, requests_per_minute=4, **times)

    def comes(self, name: str, cause: PowerCause = PowerCause.STARTED_BY_PERSON) -> None:
        if not self.runs(name):
            want_power(self.people[name][0], Power.RUNNING, PowerReason(cause=cause), self.bench.deps)

    def day(self, day: date, *names: str) -> None:
        """These people come at nine, and work until half past four."""
        for name in names:
            self.works(name, day)
        self.until(wall(day, "08:50"))
        for name in names:
            self.comes(name)
        self.until(wall(day, "20:30"))


def ahead(functions: Any) -> list[Any]:
    return [
        line["found"].get("started ahead", 0) for line in functions.lines("Finished a sweep") if line["kind"] == "idle"
    ]


@with_hours
def test_unused_notebooks_stop_at_night_after_an_hour_and_who_works_late_is_kept(functions):
    office = Office(functions, "ana", "ben", "cara")
    for name, end in (("ana", "16:00"), ("ben", "18:30"), ("cara", "22:00")):
        office.works(name, MONDAY, end=end)
    office.until(wall(MONDAY, "17:50"))
    assert office.running() == {"ana", "ben", "cara"}
    office.until(wall(MONDAY, "18:50"))
    assert office.running() == {"ben", "cara"}
    assert functions.lines("Warned of an idle stop")
    office.until(wall(MONDAY, "19:50"))
    assert office.running() == {"cara"}
    office.until(wall(MONDAY, "23:30"))
    assert office.running() == set()


@pytest.mark.parametrize("functions", [settings(None)], indirect=True)
def test_without_hours_night_is_as_day_and_nothing_is_remembered(functions):
    office = Office(functions, "ana")
    office.works("ana", MONDAY, end="16:00")
    office.until(wall(MONDAY, "21:30"))
    assert office.running() == {"ana"}
    assert functions.bench.deps.fleet.notes().arrivals == {}


@with_hours
def test_who_came_on_three_of_the_last_five_working_days_finds_the_notebook_running(functions):
    office = Office(functions, "ana", "ben")
    days = [MONDAY + timedelta(days=number) for number in range(12)]
    office.day(days[0], "ana", "ben")
    office.day(days[1], "ana", "ben")
    office.until(wall(days[2], "09:30"))
    assert office.running() == set(), "two days are not enough"
    office.day(days[2] + timedelta(days=1), "ana")
    assert office.running() == set()
    office.until(wall(days[4], "08:20"))
    assert office.running() == set()
    office.until(wall(days[4], "08:55"))
    assert office.running() == {"ana"}
    record = functions.bench.deps.records.load(office.people["ana"][0]).record
    assert record.spec.power_reason.cause is PowerCause.STARTED_AHEAD
    for day in (days[5], days[6]):
        office.until(wall(day, "10:00"))
        assert office.running() == set(), "at the weekend"
    office.until(wall(days[7], "08:55"))
    assert office.running() == {"ana"}, "Monday: Tuesday, Thursday and Friday do not count her as absent"


@with_hours
def test_a_notebook_is_started_once_a_day_and_not_when_its_owner_or_an_administrator_stopped_it(functions):
    office = Office(functions, "ana", "ben")
    days = [MONDAY + timedelta(days=number) for number in range(5)]
    for day in days[:3]:
        office.day(day, "ana", "ben")
    by = PowerReason(cause=PowerCause.STOPPED_BY_ADMINISTRATOR)
    want_power(office.people["ben"][0], Power.STOPPED, by, functions.bench.deps)
    office.until(wall(days[3], "08:50"))
    assert office.running() == {"ana"}
    want_power(
        office.people["ana"][0], Power.STOPPED, PowerReason(cause=PowerCause.STOPPED_BY_PERSON), functions.bench.deps
    )
    office.until(wall(days[3], "12:00"))
    assert office.running() == set()


@with_hours
def test_a_notebook_that_was_started_ahead_and_whose_owner_does_not_come_is_warned_of_and_stopped_after_one_timeout(
    functions,
):
    office = Office(functions, "ana")
    days = [MONDAY + timedelta(days=number) for number in range(5)]
    for day in days[:3]:
        office.day(day, "ana")
    begun, warned = len(ahead(functions)), len(functions.lines("Warned of an idle stop"))
    office.until(wall(days[3], "08:55"))
    assert office.running() == {"ana"}
    key = office.people["ana"][0]
    record = functions.bench.deps.records.load(key).record
    assert record.spec.power_reason.cause is PowerCause.STARTED_AHEAD
    started = record.status.condition(ConditionType.NOTEBOOK_READY).last_transition_time
    while functions.bench.now < started + TIMEOUT - timedelta(minutes=10):
        office.until(functions.bench.now + timedelta(minutes=10))
        assert office.running() == {"ana"}, "not before one timeout"
    assert len(functions.lines("Warned of an idle stop")) == warned + 1
    warned_at = functions.bench.deps.records.load(key).record.status.notebook.idle_warned_at
    assert warned_at is not None
    assert warned_at > started
    office.until(started + TIMEOUT + timedelta(minutes=15))
    assert office.running() == set()
    office.until(wall(days[3], "20:30"))
    assert office.running() == set()
    assert sum(ahead(functions)[begun:]) == 1, "once a day"
    record = functions.bench.deps.records.load(key).record
    assert record.spec.power_reason.cause is PowerCause.IDLE


@with_hours
def test_no_more_are_started_once_there_is_no_machine(functions, monkeypatch):
    monkeypatch.setattr("shared.engine.sweeps.hours._AT_A_TIME", 1)
    names = ("ana", "ben", "cara")
    office = Office(functions, *names)
    days = [MONDAY + timedelta(days=number) for number in range(4)]
    for day in days[:3]:
        office.day(day, *names)
    fault = {
        "call": "notebooks.StartInstance",
        "error": {
            "code": "RESOURCE_EXHAUSTED",
            "message": "Quota 'CPUS' exceeded.  Limit: 24.0 in region europe-west1.",
        },
        "times": 1,
    }
    functions.bench.control("POST", "/_emulator/faults", fault)
    begun = len(ahead(functions))
    office.until(wall(days[3], "08:50"))
    found = [count for count in ahead(functions)[begun:] if count]
    assert found[0] == 1
    assert sum(found) == 3
    office.until(wall(days[3], "10:00"))
    assert office.running() >= {"ben", "cara"}


@with_hours
def test_a_leaver_is_not_started_and_when_they_came_is_forgotten(functions):
    from shared.domain.people.events import Left  # noqa: PLC0415
    from shared.domain.things.identity import parse_email  # noqa: PLC0415
    from shared.engine.news.deliver import deliver  # noqa: PLC0415

    office = Office(functions, "ana")
    days = [MONDAY + timedelta(days=number) for number in range(4)]
    for day in days[:3]:
        office.day(day, "ana")
    assert functions.bench.deps.fleet.notes().arrivals
    now = functions.bench.now
    left = Left(event_id="left", user=parse_email("ana@example.com"), occurred_at=now, effective_at=now)
    deliver(left, functions.bench.deps)
    office.until(wall(days[3], "10:00"))
    assert office.running() == set()
    assert functions.bench.deps.fleet.notes().arrivals == {}
