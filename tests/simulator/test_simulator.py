"""The simulator: a seed replays a run byte for byte, a kept history means the same for ever, and it catches what it is for."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from kit.simulator.baton import Baton, SimLock, StuckError
from kit.simulator.history import KEPT, read, run, shortened
from kit.simulator.journal import Journal
from msgspec.structs import replace

from shared.cloud.http.objects import Bucket
from shared.domain.notebook import leaver, replacement, states
from shared.domain.snapshot import step as saving
from shared.engine.reconcile import observer, reconciler

ROOT = Path(__file__).resolve().parents[2]
FEW = 3
# The first of these that is not the Python of the tests runs the simulator too.
PYTHONS = ("python3.12", "python3.13", "python3.14", "python3.11")


def _digest(python: str = sys.executable, **environ: str) -> str:
    """The last line of a run of its own process."""
    done = subprocess.run(
        [python, "-m", "kit.simulator", "--seed", "7", "--histories", str(FEW)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=1500,  # on a machine that is busy: what is asked is the digest, not the time
        env={**os.environ, "PYTHONPATH": "tests:.", **environ},  # noqa: TID251 - of a child
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith("journal sha256 ")
    return last


@pytest.mark.timeout(1800)
def test_a_seed_gives_the_same_journal_whatever_the_hash_seed_the_time_zone_and_the_load():
    alone = _digest(PYTHONHASHSEED="1", TZ="UTC")
    with ThreadPoolExecutor(2) as pool:  # two at once are each other's load
        others = [
            pool.submit(_digest, PYTHONHASHSEED=str(number), TZ=zone)
            for number, zone in ((2, "Asia/Kolkata"), (3, "America/St_Johns"))
        ]
        assert {alone} == {each.result() for each in others}


@pytest.mark.timeout(1800)
def test_a_second_python_gives_the_same_journal():
    mine = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for name in PYTHONS:
        found = shutil.which(name)
        if name == mine or found is None:
            continue
        if subprocess.run([found, "-c", "import flask, google.protobuf, hypothesis"], check=False).returncode == 0:
            assert _digest(found) == _digest()
            return
    pytest.skip("no second Python with the packages of the tests is installed")


@pytest.mark.parametrize("path", sorted(KEPT.glob("*.json")), ids=lambda path: path.stem)
def test_a_kept_history_holds(path):
    seed, steps = read(path)
    ran = run(steps, seed=seed, journal=Journal())
    assert ran.failure is None, ran.failure.text


def test_a_history_that_was_drawn_replays_to_the_same_journal():
    drawn, replayed = Journal(), Journal()
    ran = run(None, seed="replay/1", journal=drawn)
    assert ran.failure is None, ran.failure.text
    assert run(ran.steps, seed="replay/1", journal=replayed).failure is None
    assert replayed.hexdigest() == drawn.hexdigest()


def test_another_seed_gives_another_journal():
    assert len({_of(seed).hexdigest() for seed in ("a/1", "a/2")}) == 2


def _of(seed: str) -> Journal:
    journal = Journal()
    run(None, seed=seed, journal=journal)
    return journal


def test_entries_are_interleaved_between_calls():
    trace = io.StringIO()
    run(None, seed="a/2", journal=Journal(trace))
    who = [line.split('"')[3].split(".")[0] for line in trace.getvalue().splitlines() if line.startswith('["call"')]
    changes = sum(a != b for a, b in pairwise(who) if "driver" not in {a, b})
    assert changes > len(who) / 10


def test_a_turn_of_a_task_that_is_not_there_is_left_out():
    steps: list[dict[str, Any]] = [
        {"turns": ["e9", "e9"]},
        {"begin": "e1", "entry": "again", "of": "e9"},
        {"finish": ["e1"]},
    ]
    assert run(steps, seed="s", journal=Journal()).failure is None


@pytest.mark.timeout(1800)
def test_some_histories_hold():
    for number in range(25):
        ran = run(None, seed=f"default/{number}", journal=Journal())
        assert ran.failure is None, ran.failure.text


# --- what it is for


def _last_write_wins(monkeypatch):
    """A record is written whatever was written in between: the lost update that only two at once can show."""
    write = Bucket.write

    def careless(self, name, content, *, expected=None, **more):
        return write(
            self, name, content, expected=None if name.startswith("records/") and expected else expected, **more
        )

    monkeypatch.setattr(Bucket, "write", careless)


def _delete_without_saving(monkeypatch):
    monkeypatch.setattr(leaver, "save_data", lambda record, *_: saving.Saving(record=record, done=True))


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("plant", [_last_write_wins, _delete_without_saving])
def test_a_planted_fault_is_caught(plant, monkeypatch):
    plant(monkeypatch)
    assert any(run(None, seed=f"planted/{number}", journal=Journal()).failure for number in range(60))


# --- faults that only interleaved entries show: the kept history still catches each


def _written_late(monkeypatch, same):
    """The record is not written first for what `same` makes look as if the record had said so already."""
    written_first = reconciler._is_written_first

    def careless(plan, stored):
        return written_first(plan, replace(stored, record=same(stored.record, plan.record)))

    monkeypatch.setattr(reconciler, "_is_written_first", careless)


def _end_of_access_is_written_late(monkeypatch):
    def same(old, new):
        return replace(old, spec=replace(old.spec, presence=new.spec.presence)).with_status(power_settled=False)

    _written_late(monkeypatch, same)


def _snapshots_go_before_the_disk_is_safe(monkeypatch):
    why_over = saving._why_over

    def hasty(record, snapshot, scene):
        return why_over(record.with_status(power_settled=True), snapshot, scene)

    monkeypatch.setattr(saving, "_why_over", hasty)


def _any_operation_is_taken_for_the_restore(monkeypatch):
    for module in (replacement, states, observer):
        monkeypatch.setattr(module, "may_be_restore", lambda *_: True)


def _snapshots_that_are_about_to_be_taken_are_forgotten(monkeypatch):
    monkeypatch.setattr(saving, "_may_come", lambda *_: False)


ONLY_INTERLEAVED = {
    "two-movers-at-once": _end_of_access_is_written_late,
    "returned-while-it-was-deleted": _snapshots_go_before_the_disk_is_safe,
    "stop-taken-for-the-restore": _any_operation_is_taken_for_the_restore,
    "snapshot-asked-for-and-forgotten": _snapshots_that_are_about_to_be_taken_are_forgotten,
}


@pytest.mark.parametrize("name", ONLY_INTERLEAVED)
def test_a_kept_history_catches_its_fault_again(name, monkeypatch):
    ONLY_INTERLEAVED[name](monkeypatch)
    seed, steps = read(KEPT / f"{name}.json")
    assert run(steps, seed=seed, journal=Journal()).failure is not None


def test_a_failing_history_is_shortened(monkeypatch):
    _last_write_wins(monkeypatch)
    for number in range(60):
        seed = f"planted/{number}"
        ran = run(None, seed=seed, journal=Journal())
        if ran.failure is not None:
            break
    assert ran.failure is not None
    short = shortened(ran.steps, ran.failure.where, seed=seed, most_runs=40)
    assert len(short) < len(ran.steps)
    again = run(short, seed=seed, journal=Journal()).failure
    assert again is not None
    assert again.where == ran.failure.where


# --- the baton


def test_waiting_for_a_lock_that_is_held_across_a_call_is_a_failure_with_both_stacks():
    baton = Baton()
    lock = SimLock(baton, "a.module")

    def holds_across_a_call() -> None:
        with lock:
            baton.pause()

    for name in ("first", "second"):
        baton.begin(name, "p", holds_across_a_call)
    baton.turn("first")
    with pytest.raises(StuckError, match=r"(?s)second waits:.*holds_across_a_call.*first holds:.*holds_across_a_call"):
        baton.turn("second")
    baton.end()


def test_workers_are_sub_tasks_whose_results_are_in_order():
    baton, order, results = Baton(), [], []

    def job(number: int) -> int:
        baton.pause()
        order.append(number)
        return number

    baton.begin("sweep", "p", lambda: results.extend(baton.run([partial(job, number) for number in range(3)])))
    baton.turn("sweep")
    assert baton.runnable() == ["sweep.0", "sweep.1", "sweep.2"]
    for name in ("sweep.0", "sweep.1", "sweep.2", "sweep.2", "sweep.0", "sweep.1", "sweep"):
        assert baton.turn(name) is not None
    assert (order, results) == ([2, 0, 1], [0, 1, 2])


def test_a_crash_ends_every_task_of_a_process_without_one_more_call():
    baton, calls = Baton(), []

    def entry() -> None:
        baton.pause()
        calls.append(1)

    baton.begin("mine", "lifecycle", entry)
    baton.begin("other", "tick", entry)
    baton.turn("mine")
    baton.turn("other")
    assert baton.crash("lifecycle") == ["mine"]
    assert baton.runnable() == ["other"]
    baton.turn("other")
    assert calls == [1]
