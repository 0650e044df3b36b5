"""What sweeps keep for the pages; and that nothing they cannot keep holds up a sweep."""

from __future__ import annotations

from datetime import timedelta

import pytest
from kit.inprocess import impatient
from kit.official import storage_bucket
from kit.spark import SMALL, spark_life
from msgspec.structs import replace

from shared.domain.fleet.figures import figures_of
from shared.domain.fleet.fleet import Standing, standing
from shared.domain.fleet.idle import Activity, Sample
from shared.domain.record.record import Power
from shared.domain.things.errors import CloudUnavailableError
from shared.engine.news.requests import ask_power, keep_on
from shared.engine.sweeps.sweeps import sweep


@pytest.fixture(autouse=True)
def _no_waiting():
    with impatient():
        yield


@pytest.fixture
def someone():
    return spark_life()


def at_work(someone, *, ago):
    """Metrics of somebody who worked last `ago` ago, by what the sweep would read."""

    class Seen:
        def read(self, notebooks, window, now):
            count = int(window / timedelta(minutes=1))
            moments = [now - timedelta(minutes=count - n) for n in range(count + 1)]
            cpu = tuple(Sample(at, 0.9 if abs(now - at - ago) < timedelta(seconds=30) else 0.0) for at in moments)
            activity = Activity(cpu=cpu, requests=tuple(Sample(at, 0.0) for at in moments))
            return {notebook.ref.instance_id: activity for notebook in notebooks}

        def transfers(self, notebooks, _window, _now):
            return {notebook.ref.instance_id: () for notebook in notebooks}

    someone.bench.deps = replace(someone.bench.deps, activity=Seen())


def test_sweeps_keep_everybodys_row_and_count_once_an_hour(someone):
    sweep("drift", someone.bench.deps)
    fleet = someone.bench.deps.fleet.fleet()
    (row,) = fleet.rows
    assert (row.user_key, row.email, standing(row)) == (someone.key, someone.email, Standing.RUNNING)
    assert fleet.taken_at == someone.bench.now
    assert [p.running for p in fleet.points] == [1]
    someone.want(minutes=5)
    sweep("idle", someone.bench.deps)
    fleet = someone.bench.deps.fleet.fleet()
    assert fleet.rows[0].clusters == {SMALL: "RUNNING"}
    assert len(fleet.points) == 1  # the idle sweep counts nothing
    someone.bench.advance(hours=1)
    sweep("drift", someone.bench.deps)
    assert len(someone.bench.deps.fleet.fleet().points) == 2


def test_what_one_sweep_did_not_look_at_stays_as_the_other_saw_it(someone):
    class Blind:
        def read(self, notebooks, _window, _now):
            return {notebook.ref.instance_id: Activity() for notebook in notebooks}

    someone.bench.deps = replace(someone.bench.deps, activity=Blind())
    someone.bench.advance(hours=6)
    sweep("idle", someone.bench.deps)
    assert someone.bench.deps.fleet.fleet().blind == {someone.key}
    sweep("drift", someone.bench.deps)
    assert someone.bench.deps.fleet.fleet().blind == {someone.key}


def test_a_dry_run_keeps_nothing(someone):
    for kind in ("idle", "drift"):
        sweep(kind, someone.bench.deps, dry_run=True)
    assert someone.bench.deps.fleet.fleet() is None
    assert someone.bench.deps.fleet.notes() is None


class BrokenIndex:
    """The port `FleetIndex` that cannot be reached."""

    def _fail(self, *_args):
        raise CloudUnavailableError(user_message="down", detail="503")

    fleet = about = notes = draft = write_fleet = write_notes = _fail


@pytest.mark.parametrize("kind", ["idle", "drift"])
def test_a_sweep_does_its_work_although_nothing_can_be_kept(someone, kind):
    someone.bench.deps = replace(someone.bench.deps, fleet=BrokenIndex())
    ask_power(someone.key, Power.STOPPED, someone.bench.deps, by=someone.key)
    summary = sweep(kind, someone.bench.deps)
    assert summary.failed == {}
    if kind == "drift":
        assert list(someone.states().values()) == ["STOPPING"]
    said = [
        facts["what"] for _, message, facts in someone.bench.log.lines if message == "Data for the pages was not saved"
    ]
    assert said[0] == "fleet"


@pytest.mark.parametrize("content", [b"", b"nonsense"])
def test_a_damaged_index_is_mended_by_the_next_sweeps(someone, content):
    """The first sweep that finds it cannot say what others saw, so it begins anew."""
    bucket = storage_bucket(someone.bench.clients)
    for name in ("fleet", "notes"):
        bucket.blob(f"index/{name}.json.gz").upload_from_string(content)
    for kind in ("drift", "idle", "drift"):
        someone.bench.advance(minutes=10)
        sweep(kind, someone.bench.deps)
    assert [row.user_key for row in someone.bench.deps.fleet.fleet().rows] == [someone.key]
    assert someone.bench.deps.fleet.notes() is not None


class Bills:
    """The port `Costs` of a month of which the bill is known."""

    def __init__(self, month, costs):
        self.known = {month: costs}

    def month(self, month):
        return self.known.get(month)


def test_the_drift_sweep_keeps_the_bill_with_its_month(someone):
    """Pages show costs only beside the month that they are of."""
    month = f"{someone.bench.now:%Y-%m}"
    someone.bench.deps = replace(someone.bench.deps, costs=Bills(month, {someone.key: 12.5}))
    sweep("drift", someone.bench.deps)
    notes = someone.bench.deps.fleet.notes()
    assert (notes.costs, notes.costs_month, notes.costs_at) == ({someone.key: 12.5}, month, someone.bench.now)


# --- idleness


def test_people_can_read_when_they_will_be_stopped(someone):
    at_work(someone, ago=timedelta(hours=1))
    someone.bench.advance(hours=4)
    sweep("idle", someone.bench.deps)
    stops = someone.bench.deps.fleet.notes().idle_stops
    assert set(stops) == {someone.key}
    assert abs(stops[someone.key] - (someone.bench.now + timedelta(hours=2))) <= timedelta(minutes=1)


def test_who_asked_to_be_kept_on_is_kept_until_then_and_not_longer(someone):
    someone.bench.advance(hours=6)
    at_work(someone, ago=timedelta(hours=5))
    until = someone.bench.now + timedelta(hours=2)
    keep_on(someone.key, until, someone.bench.deps, by=someone.key)
    sweep("idle", someone.bench.deps)
    assert list(someone.states().values()) == ["ACTIVE"]
    assert someone.bench.deps.fleet.notes().idle_stops[someone.key] == until
    someone.bench.advance(hours=1, minutes=31)
    sweep("idle", someone.bench.deps)
    assert someone.record.status.notebook.idle_warned_at == someone.bench.now, "half an hour before"
    someone.bench.advance(minutes=30)
    sweep("idle", someone.bench.deps)
    assert list(someone.states().values()) == ["STOPPING"]


def test_a_stop_by_hand_ends_keeping_on(someone):
    keep_on(someone.key, someone.bench.now + timedelta(hours=8), someone.bench.deps, by=someone.key)
    ask_power(someone.key, Power.STOPPED, someone.bench.deps, by=someone.key)
    someone.minutes(6)
    ask_power(someone.key, Power.RUNNING, someone.bench.deps, by=someone.key)
    someone.minutes(6)
    assert list(someone.states().values()) == ["ACTIVE"]
    someone.bench.advance(hours=6)
    at_work(someone, ago=timedelta(hours=5))
    sweep("idle", someone.bench.deps)
    someone.bench.advance(minutes=30)
    sweep("idle", someone.bench.deps)
    assert list(someone.states().values()) == ["STOPPING"]


# --- hours


def test_the_notebooks_hours_and_how_long_joining_took_are_kept(someone):
    record = someone.record
    assert 0 < record.status.ready_took_s < 8 * 60
    someone.minutes(60)
    ask_power(someone.key, Power.STOPPED, someone.bench.deps, by=someone.key)
    someone.minutes(10)
    (instance,) = someone.mine().values()
    assert instance.state == "STOPPED"
    usage = someone.record.status.usage["notebook"]
    assert usage.since is None
    assert timedelta(minutes=60) <= timedelta(seconds=usage.ran_s) <= timedelta(minutes=72)
    assert someone.record.status.ready_took_s == record.status.ready_took_s
    assert someone.record.status.ready_at == record.status.ready_at
    sweep("drift", someone.bench.deps)
    (counted,) = figures_of(someone.bench.deps.fleet.fleet()).ready
    assert (counted.day, counted.count) == (record.status.ready_at.date(), 1)
