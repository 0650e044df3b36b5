"""What people and machines do, played into the embedded cloud's inputs and judged by the tick function: the verdict is the instance's state.

Twelve traces of a real jupyter_server (../shared/golden) and twelve written by hand. The recorded ones are stretched: their idle limit of
six seconds is the profile's three hours. Everybody is in one world, so that each trace is judged beside all others.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest
from kit.activity import say, tell
from kit.joining import ACK, join
from kit.life import settings_with
from kit.oracle import instances
from kit.spark import SMALL
from msgspec import Struct
from msgspec.structs import replace

from emulator.model.monitoring import MonitoringModel
from emulator.model.monitoring_query import Query
from shared.cloud.notebook.activity import MonitoringActivity
from shared.domain.plan.guard_settings import GuardSettings
from shared.domain.things.catalog import Identity
from shared.domain.things.clusters import cluster_name
from shared.domain.things.identity import user_key_of_instance
from shared.domain.things.notebook import InstanceRef, NotebookState
from shared.engine.news.requests import want_cluster

TRACES = Path(__file__).parents[2] / ".." / "shared" / "golden" / "jupyter-traces"
STRETCH = timedelta(hours=3) / 6  # of a recorded second
AGENTS, AGENTS_MOST = 0.01, 0.16  # what runs on an instance by itself: a share of all cores, and so many cores at most
PROJECT = "acme-sandbox"  # of people's queries
TIMEOUT, LATE = timedelta(hours=3), timedelta(minutes=15)


class Spell(Struct, frozen=True):
    """What goes on for so many minutes. `works`: the truth, which no rule sees."""

    minutes: float
    works: bool = False
    cores: float = 0.0
    requests: int = 0  # a minute
    bytes_per_second: float | None = None
    job: str = ""  # that runs meanwhile: "query", "cluster" or "session"


def recorded() -> dict[str, list[Spell]]:
    found = {}
    for number in range(1, 13):
        trace = json.loads((TRACES / f"{number}.json").read_text(encoding="utf-8"))
        spells = []
        for before, after in pairwise(trace["ticks"]):
            seconds = after["t"] - before["t"]
            spells.append(
                Spell(
                    seconds * STRETCH.total_seconds() / 60,
                    works=trace["want"] == "KEEP",
                    cores=max(0.0, (after["cpu_s"]["all"] - before["cpu_s"]["all"]) / seconds),
                    requests=2 if after["proxy_last_activity"] != before["proxy_last_activity"] else 0,
                    job="cluster" if trace["external"] else "",
                )
            )
        found[f"{number} {trace['what']}"] = spells
    return found


OPENED = Spell(30, works=True, cores=0.5, requests=6)  # everybody looks at JupyterLab first
BY_HAND: dict[str, list[Spell]] = {
    "edits without running anything": [OPENED, Spell(400, works=True, cores=0.05, requests=3)],
    "a long lunch": [
        OPENED,
        Spell(160),
        Spell(10, works=True, requests=4),
        Spell(160),
        Spell(60, works=True, requests=4),
    ],
    "a download in a closed tab": [OPENED, Spell(390, works=True, cores=0.1, bytes_per_second=2e6)],
    "nohup on one core": [OPENED, Spell(390, works=True, cores=1.0)],
    "tmux, half a core": [OPENED, Spell(390, works=True, cores=0.5)],
    "VS Code over the proxy": [OPENED, Spell(390, works=True, cores=0.1, requests=1)],
    "a weekend away": [OPENED, Spell(420)],
    "a bare kernel": [OPENED, Spell(420, cores=0.01)],
    "output over a websocket alone": [OPENED, Spell(390, works=True, cores=0.02)],
    "waiting for a query elsewhere": [OPENED, Spell(390, works=True, cores=0.01, job="query")],
    "a serverless session at work": [OPENED, Spell(390, works=True, cores=0.01, job="session")],
    "a tab that polls": [OPENED, Spell(390, cores=0.01, requests=1)],
}
# Written down before the first run, with why: from outside, silent work looks like no work and an open tab like work.
STOPPED_AT_WORK = {
    "3 printing cell, tab closed": "it prints: no request, hardly any CPU",
    "output over a websocket alone": "an open websocket is one answer, and hardly any CPU",
}
KEPT_THOUGH_IDLE = {
    "6 tab + idle kernel left open (hidden tab)": "an open tab polls",
    "7 idle terminal window left open": "an open tab polls",
    "a tab that polls": "an open tab polls",
}


def played(
    functions,
    traces: dict[str, list[Spell]],
    vcpus: int,
    report: Callable[[str, InstanceRef, timedelta], None] | None = None,
) -> dict[str, datetime | None]:
    """Play all traces at once, with a tick every ten minutes. Return when each instance stopped; None: it runs on.

    `report` lets the machine of a trace report, so long after the trace began.
    """
    bench = functions.bench
    emails = {name: f"p{number}@example.com" for number, name in enumerate(traces)}
    refs = {name: join(functions, email)[1] for name, email in emails.items()}
    for _ in range(6):
        bench.advance(minutes=1)
        assert functions.deliver("tick", {"sweep": "due"}) == ACK
    with_cluster = {name for name, spells in traces.items() if any(spell.job == "cluster" for spell in spells)}
    for name in with_cluster:
        assert want_cluster(user_key_of_instance(refs[name].instance_id), SMALL, bench.deps, by="a test") is not None
    for _ in range(5 if with_cluster else 0):
        bench.advance(minutes=1)
        assert functions.deliver("tick", {"sweep": "due"}) == ACK
    begin = bench.now
    for name, spells in traces.items():
        script(functions, refs[name].instance_id, emails[name], spells, vcpus)
    stopped: dict[str, datetime | None] = dict.fromkeys(traces)
    longest = max(sum(spell.minutes for spell in spells) for spells in traces.values())
    while bench.now < begin + timedelta(minutes=longest):
        bench.advance(minutes=10)
        for name, ref in refs.items() if report is not None else ():
            if stopped[name] is None:
                report(name, ref, bench.now - begin)
        for kind in ("idle", "due"):
            assert functions.deliver("tick", {"sweep": kind}) == ACK
        states = {each.short: each.state for each in instances(bench.cloud).values()}
        for name, ref in refs.items():
            if stopped[name] is None and states[ref.instance_id] != NotebookState.ACTIVE:
                stopped[name] = bench.now
    return {**stopped, "": begin}


def script(functions, instance_id: str, email: str, spells: list[Spell], vcpus: int) -> None:
    """Say beforehand what goes on on one machine, and elsewhere for its owner."""
    at = functions.bench.now
    for spell in spells:
        until = at + timedelta(minutes=spell.minutes)
        times = {"from": at.isoformat(), "until": until.isoformat()}
        cpu = min(1.0, min(AGENTS, AGENTS_MOST / vcpus) + spell.cores / vcpus)
        say(functions.bench, instance_id, cpu=cpu, requests_per_minute=spell.requests, **times)
        if spell.job:
            run(functions, spell.job, instance_id, email, **times)
        if spell.bytes_per_second is not None:
            say(functions.bench, instance_id, bytes_per_second=spell.bytes_per_second, **times)
        at = until


def run(functions, kind: str, instance_id: str, email: str, **times: str) -> None:
    """Run a job elsewhere of the person, between two times; a session begins at once and stays."""
    bench = functions.bench
    if kind == "query":
        bench.control("POST", "/_emulator/jobs", {"project": PROJECT, "user": email, **times})
    elif kind == "cluster":
        cluster = cluster_name(SMALL, user_key_of_instance(instance_id))
        bench.control("POST", "/_emulator/jobs", {"cluster": cluster, **times})
    else:
        parent = f"projects/{bench.settings.project}/locations/{bench.settings.region}"
        with bench.cloud.world.lock:
            bench.cloud.dataproc.interactive.create(
                parent, f"s-{instance_id}"[:60], {"jupyterSession": {"kernel": "PYTHON"}}, creator=email
            )


def last_work(spells: list[Spell], begin: datetime) -> datetime:
    at = last = begin
    for spell in spells:
        at += timedelta(minutes=spell.minutes)
        last = at if spell.works or spell.requests or spell.cores >= 0.3 else last
    return last


def machine(vcpus: int, projects: tuple[str, ...] = (PROJECT,)):
    fields = {"machine_type": f"{'e2' if vcpus <= 32 else 'n2'}-standard-{vcpus}"}
    guard = GuardSettings(group_from=100, creations=1000)
    settings = settings_with({"analyst": fields}, guard=guard, bigquery_projects=projects)
    return pytest.param(settings, vcpus, id=f"{vcpus} vCPU")


def all_traces() -> dict[str, list[Spell]]:
    return {**(recorded() if TRACES.is_dir() else {}), **BY_HAND}


@pytest.mark.parametrize(
    ("functions", "vcpus"), [machine(2), machine(4), machine(16), machine(96)], indirect=["functions"]
)
def test_who_works_is_kept_and_who_does_not_is_stopped_but_for_what_is_written_down(functions, vcpus):
    traces = all_traces()
    stopped = played(functions, traces, vcpus)
    begin = stopped.pop("")
    ends = {name: begin + timedelta(minutes=sum(spell.minutes for spell in spells)) for name, spells in traces.items()}
    works = {name for name, spells in traces.items() if spells[-1].works}
    at_work = {name for name in works if (at := stopped[name]) is not None and at <= ends[name]}
    assert at_work == STOPPED_AT_WORK.keys() & traces.keys()
    idle = traces.keys() - works - KEPT_THOUGH_IDLE.keys()
    late = {
        name for name in idle if (at := stopped[name]) is None or at > last_work(traces[name], begin) + TIMEOUT + LATE
    }
    early = {
        name for name in idle if (at := stopped[name]) is not None and at < last_work(traces[name], begin) + TIMEOUT
    }
    assert (late, early) == (set(), set())
    kept = {
        name for name in KEPT_THOUGH_IDLE.keys() & traces.keys() if (at := stopped[name]) is None or at > ends[name]
    }
    assert kept == KEPT_THOUGH_IDLE.keys() & traces.keys()
    warned = [line["user"] for line in functions.lines("Warned of an idle stop")]
    assert len(warned) >= sum(at is not None for at in stopped.values())


@pytest.mark.parametrize(("functions", "vcpus"), [machine(4), machine(16)], indirect=["functions"])
def test_where_the_counter_is_not_visible_nobody_is_stopped_before_the_bound_and_it_is_said(functions, vcpus):
    functions.bench.control("POST", "/_emulator/monitoring", {"counter": "invisible"})
    stopped = played(functions, BY_HAND, vcpus)
    stopped.pop("")
    assert set(stopped.values()) == {None}
    assert functions.bench.deps.fleet.about().fleet.blind
    assert functions.bench.deps.fleet.notes().counter_seen == {}


@pytest.mark.parametrize(("functions", "vcpus"), [machine(4)], indirect=["functions"])
def test_few_series_are_asked_for(functions, vcpus, monkeypatch):
    """Cloud Monitoring bills the series that it returns: one a running instance and sweep, on average, is the bound."""
    series: list[int] = []
    source = MonitoringActivity.page_of

    def counted(self, *args, **kwargs):
        found = source(self, *args, **kwargs)
        series.append(len((found or {}).get("timeSeries", [])))
        return found

    monkeypatch.setattr(MonitoringActivity, "page_of", counted)
    played(functions, BY_HAND, vcpus)
    running = [line["running"] for line in functions.lines("Finished a sweep") if line["kind"] == "idle"]
    assert 0 < sum(series) <= sum(running)


# --- evidence that comes otherwise than it mostly does

FEW = ("a long lunch", "nohup on one core", "a download in a closed tab", "a weekend away", "a bare kernel")
Points = list[dict[str, Any]]


def _shuffled(points: Points) -> Points:
    return points[1::2] + points[::2][::-1]


def _twice(points: Points) -> Points:
    return [point for point in points for _ in range(2)]


def odd(monkeypatch, change: Callable[[Points, str], Points]) -> list[int]:
    """Let Cloud Monitoring return the points of each series changed. Returns how often that was."""
    times = [0]
    answer = MonitoringModel.time_series

    def changed(self: MonitoringModel, query: Query) -> dict[str, Any]:
        found = answer(self, query)
        for series in found.get("timeSeries", []):
            times[0] += 1
            series["points"] = change(series["points"], query.filter)
        return {**found, "timeSeries": [each for each in found.get("timeSeries", []) if each["points"]]}

    monkeypatch.setattr(MonitoringModel, "time_series", changed)
    return times


def judged(functions, vcpus: int, names: tuple[str, ...] = FEW) -> None:
    """Whoever works is kept, and whoever does not is stopped in time."""
    traces = {name: BY_HAND[name] for name in names}
    stopped = played(functions, traces, vcpus)
    begin = stopped.pop("")
    for name, spells in traces.items():
        if spells[-1].works:
            assert stopped[name] is None, f"{name} was stopped at work"
        else:
            at, since = stopped[name], last_work(spells, begin)
            assert at is not None, f"{name} was not stopped"
            assert since + TIMEOUT <= at <= since + TIMEOUT + LATE, (
                f"{name} was stopped {at - since} after its last use"
            )


@pytest.mark.parametrize(("functions", "vcpus"), [machine(4, ())], indirect=["functions"])
@pytest.mark.parametrize("change", [_shuffled, _twice], ids=["out of order", "each point twice"])
def test_the_order_and_number_of_points_do_not_matter(functions, vcpus, change, monkeypatch):
    times = odd(monkeypatch, lambda points, _: change(points))
    judged(functions, vcpus)
    assert times[0]


@pytest.mark.parametrize(("functions", "vcpus"), [machine(4, ())], indirect=["functions"])
@pytest.mark.parametrize("said", [None, {"doubleValue": "NaN"}, {"stringValue": "?"}], ids=["gap", "NaN", "no number"])
def test_cpu_that_is_missing_for_a_while_is_unknown_and_not_none(functions, vcpus, said, monkeypatch):
    """Twenty minutes of each two hours cannot be seen: nobody is stopped for that, and no work is overlooked that can be seen."""

    def missing(point: dict[str, Any]) -> bool:
        moment = datetime.fromisoformat(point["interval"]["endTime"])
        return moment.hour % 2 == 0 and moment.minute < 20

    def change(points: Points, asked: str) -> Points:
        if "cpu/usage_time" not in asked:
            return points
        if said is None:
            return [point for point in points if not missing(point)]
        return [{**point, "value": said} if missing(point) else point for point in points]

    times = odd(monkeypatch, change)
    traces = {name: BY_HAND[name] for name in FEW}
    stopped = played(functions, traces, vcpus)
    stopped.pop("")
    assert set(stopped.values()) == {None}
    assert times[0]
    assert functions.bench.deps.fleet.about().fleet.blind


@pytest.mark.parametrize(("functions", "vcpus"), [machine(4, ())], indirect=["functions"])
@pytest.mark.parametrize("code", ["101", "304", "408", "502"])
def test_a_request_is_use_whatever_it_was_answered(functions, vcpus, code, monkeypatch):
    counted = MonitoringModel.say

    def with_code(self: MonitoringModel, body: dict[str, Any]) -> dict[str, Any]:
        requests = body.get("requests_per_minute")
        return counted(self, body | ({"requests_per_minute": {code: requests}} if requests else {}))

    monkeypatch.setattr(MonitoringModel, "say", with_code)
    judged(functions, vcpus, (*FEW, "edits without running anything", "VS Code over the proxy"))


@pytest.mark.parametrize(("functions", "vcpus"), [machine(4, ())], indirect=["functions"])
@pytest.mark.parametrize(
    "moment", ["2026-12-31T20:50:00+00:00", "2027-02-28T22:55:00+00:00", "2028-02-29T21:00:00+00:00"]
)
def test_the_end_of_a_month_and_of_a_year_is_a_time_as_any_other(functions, vcpus, moment):
    bench = functions.bench
    bench.advance(seconds=(datetime.fromisoformat(moment) - bench.now).total_seconds())
    judged(functions, vcpus)


@pytest.mark.parametrize(("functions", "vcpus"), [machine(4, ())], indirect=["functions"])
def test_a_counter_that_appears_late_is_believed_from_then_on(functions, vcpus):
    functions.bench.control("POST", "/_emulator/monitoring", {"counter": "invisible"})
    appears = timedelta(hours=5)

    def report(_name: str, _ref: InstanceRef, passed: timedelta) -> None:
        if passed >= appears:
            functions.bench.control("POST", "/_emulator/monitoring", {"counter": "sparse"})

    traces = {name: BY_HAND[name] for name in FEW}
    stopped = played(functions, traces, vcpus, report)
    begin = stopped.pop("")
    for name, spells in traces.items():
        at = stopped[name]
        if spells[-1].works:
            assert at is None, name
        else:  # warned once the counter is there, and stopped half an hour later
            assert at is not None, name
            due = max(last_work(spells, begin) + TIMEOUT, begin + appears)
            assert due <= at <= due + timedelta(minutes=45), name


@pytest.mark.parametrize(("functions", "vcpus"), [machine(4, ())], indirect=["functions"])
def test_a_whole_weekend_away_is_stopped_once_and_a_job_over_the_weekend_is_kept(functions, vcpus):
    days = 60 * 62
    traces = {
        "away": [OPENED, Spell(days)],
        "a job of two cores": [OPENED, Spell(days, works=True, cores=2.0)],
    }
    stopped = played(functions, traces, vcpus)
    begin = stopped.pop("")
    assert stopped["a job of two cores"] is None
    opened = begin + timedelta(minutes=OPENED.minutes)
    assert stopped["away"] is not None
    assert opened + TIMEOUT <= stopped["away"] <= opened + TIMEOUT + LATE
    ends = [line for line in functions.bench.calls() if line["method"] == "StopInstance"]
    assert len(ends) == 1


# Our own recordings (tests/kit/record_traces.py), with what the machine's reporter read each second.
OWN = Path(__file__).parents[1] / "data" / "idle-traces"
# Written down before the first run, with why; docs/limits.md says the same.
OWN_STOPPED_AT_WORK = {
    "websocket": "an open websocket is one answer, and hardly any CPU",
    "output": "it prints: no request, hardly any CPU",
    "gpu": "the GPU is not seen from outside, and the CPU waits for it",
}
OWN_KEPT_THOUGH_IDLE = {"polling": "an open tab polls; a report can only keep"}
REPORTERS = ("none", "each", "30 % dropped")


def own() -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(OWN.glob("*.json"))}


def spells_of(trace: dict[str, Any]) -> list[Spell]:
    """The trace stretched, after half an hour in which its owner looked at JupyterLab."""
    spells = [replace(OPENED, works=trace["works"])]
    for before, after in pairwise([{"t": 0.0, "cpu_s": 0.0, "bytes": trace["ticks"][0]["bytes"]}, *trace["ticks"]]):
        seconds = after["t"] - before["t"]
        rate = (after["bytes"] - before["bytes"]) / seconds
        spells.append(
            Spell(
                seconds * STRETCH.total_seconds() / 60,
                works=trace["works"],
                cores=max(0.0, (after["cpu_s"] - before["cpu_s"]) / seconds),
                requests=2 * after["requests"],
                bytes_per_second=rate or None,
                job=trace.get("job", ""),
            )
        )
    return spells


def reporting(functions, traces: dict[str, dict[str, Any]], how: str) -> Callable[[str, InstanceRef, timedelta], None]:
    """A reporter for each machine: what was read in that second of the recording, its ages stretched as well."""
    count = dict.fromkeys(traces, 0)

    def report(name: str, ref: InstanceRef, passed: timedelta) -> None:
        count[name] += 1
        if how == "30 % dropped" and count[name] * 7 % 10 < 3:
            return
        seconds = max(0.0, (passed - timedelta(minutes=OPENED.minutes)) / STRETCH)
        ticks = traces[name]["ticks"]
        tick = next((each for each in ticks if each["t"] >= seconds), ticks[-1])
        said = {kind: _stretched(tick[kind]) for kind in ("kernels", "terminals")}
        tell(functions.bench, ref, **said, gpu=traces[name].get("gpu"), up=int(passed.total_seconds()) + 600)

    return report


def _stretched(part: dict[str, int]) -> dict[str, int]:
    return {name: int(n * STRETCH.total_seconds()) if name == "age" else n for name, n in part.items()}


def own_machine(vcpus: int, counter: str, how: str):
    fields = {"machine_type": f"e2-standard-{vcpus}"}
    if how != "none":
        fields |= {"identity": Identity.PERSONAL_SERVICE_ACCOUNT, "reporter": "gs://acme-scripts/reporter.py"}
    guard = GuardSettings(group_from=100, creations=1000)
    settings = settings_with({"analyst": fields}, guard=guard, bigquery_projects=(PROJECT,))
    is_in_each_run = (vcpus, counter) == (4, "sparse")
    marks = () if is_in_each_run else (pytest.mark.slow,)
    return pytest.param(settings, vcpus, counter, how, id=f"{vcpus} vCPU, {counter}, {how}", marks=marks)


@pytest.mark.parametrize(
    ("functions", "vcpus", "counter", "how"),
    [own_machine(*each) for each in product((2, 4, 16), ("sparse", "invisible"), REPORTERS)],
    indirect=["functions"],
)
def test_own_recordings_are_judged_right_but_for_what_is_written_down(functions, vcpus, counter, how):
    functions.bench.control("POST", "/_emulator/monitoring", {"counter": counter})
    found = own()
    assert len(found) == 12
    traces = {name: spells_of(trace) for name, trace in found.items()}
    stopped = played(functions, traces, vcpus, None if how == "none" else reporting(functions, found, how))
    begin = stopped.pop("")
    if counter == "invisible":  # nobody is stopped before the bound of blindness, whatever the machines say
        assert set(stopped.values()) == {None}
        assert functions.bench.deps.fleet.about().fleet.blind
        return
    works = {name for name, trace in found.items() if trace["works"]}
    wrong = {name for name in works if stopped[name] is not None}
    assert wrong == (OWN_STOPPED_AT_WORK.keys() if how == "none" else set())
    assert {name for name in found.keys() - works if stopped[name] is None} == OWN_KEPT_THOUGH_IDLE.keys()
    for name in found.keys() - works - OWN_KEPT_THOUGH_IDLE.keys():
        last = last_work(
            traces[name], begin
        )  # the tab is closed, and the kernel has started: stretched, that is an hour of CPU
        assert last + TIMEOUT <= stopped[name] <= last + TIMEOUT + LATE
