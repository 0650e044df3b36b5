"""An upgrade: what an earlier version wrote is read, and over people who are settled nothing is written until something happens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from kit.inprocess import Bench
from kit.oracle import instances
from kit.predecessor import SETTLED, predecessor
from kit.reading import read

from shared.domain.record.record import UserRecord
from shared.domain.record.status import ConditionStatus, ConditionType
from shared.domain.things.errors import Reason
from shared.domain.things.identity import parse_email, user_key_for
from shared.engine.news.deliver import deliver
from shared.engine.sweeps.sweeps import sweep

# As the earlier version left them: the reason of the notebook's condition, and whether something is due.
PEOPLE = {
    "back.bea": (Reason.READY, False), "engineer.ed": (Reason.IDLE, True), "gone.gus": (Reason.RETAINED, True),
    "held.hana": (Reason.ON_HOLD, False), "idle.ina": (Reason.IDLE, False), "left.hugo": (Reason.RETAINED, True),
    "left.lea": (Reason.RETAINED, True), "moved.mo": (Reason.IDLE, True), "never.known": (Reason.NOT_ENTITLED, False),
    "odd_tag": (Reason.READY, False), "ready.one": (Reason.READY, False), "ready.two": (Reason.READY, False),
    "under.way": (Reason.CREATING, True),
}  # fmt: skip
# What a sweep keeps for itself and for the page; written by each drift sweep, and by an idle sweep that met news.
INDEXES = ("index/", "guard/sizes", "policy/current")


def record_of(bench: Bench, name: str) -> UserRecord:
    stored = bench.deps.records.load(user_key_for(parse_email(f"{name}@example.com")))
    assert stored is not None
    return stored.record


def reason_of(record: UserRecord) -> Reason:
    (found,) = [each.reason for each in record.status.conditions if each.type is ConditionType.NOTEBOOK_READY]
    return found


def changes(bench: Bench) -> list[tuple[str, str]]:
    """What was changed in the cloud since the last look, but for the index objects."""
    journal = bench.cloud.world.journal
    found = [(str(call["method"]), str(call["resource"])) for call in journal.listing(mutating_only=True)]
    journal.clear()
    bucket = f"{bench.settings.bucket}/"
    return [each for each in found if not each[1].removeprefix(bucket).startswith(INDEXES)]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return predecessor(tmp_path)


def test_everybody_is_read_as_they_were(bench: Bench) -> None:
    rows = {row.user_key for row in bench.deps.records.rows()}
    assert rows == {user_key_for(parse_email(f"{name}@example.com")) for name in PEOPLE}
    found = {name: record_of(bench, name) for name in PEOPLE}
    assert {
        name: (reason_of(record), record.status.next_attempt_at is not None) for name, record in found.items()
    } == PEOPLE
    hold = found["held.hana"].hold
    assert hold is not None
    assert hold.reason == "audit 2026-17"


def test_whoever_was_under_way_arrives_and_leavers_are_deleted_when_their_time_comes(bench: Bench) -> None:
    for kind in ("due", "idle", "drift"):
        sweep(kind, bench.deps)
    for _ in range(15):
        bench.advance(minutes=1)
        sweep("due", bench.deps)
    ready = [
        each.status
        for name in ("under.way", *(name for name, (reason, _) in PEOPLE.items() if reason is Reason.READY))
        for each in record_of(bench, name).status.conditions
        if each.type is ConditionType.NOTEBOOK_READY
    ]
    assert ready == [ConditionStatus.TRUE] * 5
    bench.advance(days=95)
    for _ in range(15):
        bench.advance(minutes=1)
        sweep("due", bench.deps)
    after = {name: reason_of(record_of(bench, name)) for name in PEOPLE}
    assert {name for name, reason in after.items() if reason is Reason.REMOVED} == {"gone.gus", "left.hugo", "left.lea"}
    assert after["held.hana"] is Reason.ON_HOLD


def test_the_timer_of_earlier_versions_is_set_anew_while_the_notebook_runs(bench: Bench) -> None:
    """Workbench's own timer stopped people who had been told that their notebook was kept on."""
    running = {name for name, instance in instances(bench.cloud).items() if instance.state == "ACTIVE"}
    sweep("drift", bench.deps)
    bench.advance(minutes=2)
    sweep("due", bench.deps)
    after = instances(bench.cloud)
    assert running
    assert {name for name in running if after[name].state != "ACTIVE"} == set()
    assert {after[name].metadata()["idle-timeout-seconds"] for name in running} == {"54000"}


@pytest.mark.parametrize(
    "people", [100, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])], ids="{:,} people".format
)
def test_over_settled_people_nothing_is_written_until_something_happens(tmp_path: Path, people: int) -> None:
    bench = predecessor(tmp_path, copies=people, timers_set=True)
    # Whose time comes meanwhile; the hint of the unknown leaver is removed when it comes.
    others = [f"{name}@example.com" for name, (_, due) in PEOPLE.items() if due or name == "never.known"]
    for first in (True, False):
        bench.advance(minutes=10)
        for kind in ("due", "idle", "drift"):
            summary = sweep(kind, bench.deps)
            assert (summary.failed, summary.left_over) == ({}, 0)
            found = [
                each
                for each in changes(bench)
                if not any(str(user_key_for(parse_email(other))) in each[1] for other in others)
            ]
            if first:  # the templates of those who are no copies are of an earlier renderer, and are written anew once
                found = [each for each in found if "copy-" in each[1]]
            else:  # the hint that a pass left, had it crashed between intent and outcome, goes when its time comes
                found = [each for each in found if (each[0], "copy-" in each[1]) != ("objects.delete", False)]
            assert found == []
    # Something happens: the one whom it concerns is changed, and nobody else.
    email = parse_email("copy.00042@example.com")
    body = {"schema": "workbench.lifecycle/v1", "event_id": "first-news", "type": "leaver", "user": email}
    for piece in read(json.dumps(body).encode(), published=bench.now).news:
        deliver(piece, bench.deps)
    touched = changes(bench)
    assert any("records/" in resource for _, resource in touched)
    assert any("instances/" in resource for _, resource in touched) == (
        42 % len(SETTLED) == 0
    )  # one that runs is stopped
    assert [
        each
        for each in touched
        if not any(part in each[1] for part in ("copy-00042", "/guard/slots/", "-audit/audit/"))
    ] == []
