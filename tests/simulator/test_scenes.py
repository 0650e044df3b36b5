"""The simulator's scenes: rosters, messages to users, floods of leavers, and buckets that refuse. Each catches what it is for."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from kit import planted
from kit.simulator.affairs import AFFAIRS, refusing
from kit.simulator.history import SCENES, Ran, run
from kit.simulator.journal import Journal

from shared.engine.decisions import decisions
from shared.engine.reconcile import reconciler
from shared.engine.sweeps import roster_news

ROOT = Path(__file__).resolve().parents[2]
HISTORIES = 6
PLANTED = 40  # at most so many until the fault is caught


def _ran(scene: str, number: int) -> Ran:
    return run(None, seed=f"{scene}/{number}", journal=Journal(), scene=scene)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("scene", [*SCENES, "refusing"])
def test_histories_of_a_scene_hold(scene: str) -> None:
    for number in range(HISTORIES):
        ran = _ran(scene, number)
        assert ran.failure is None, f"{scene}/{number}: {ran.failure.text}"


def test_a_history_without_the_first_step_knows_nothing_of_a_scene() -> None:
    steps: list[dict[str, Any]] = [
        {"begin": "e1", "entry": "roster"},
        {"in": "rosters", "leave_out": []},
        {"begin": "e2", "entry": "notify", "of": 0},
        {"begin": "e3", "entry": "vote", "by": "mia.chen@example.com", "verdict": "APPROVE", "of": 0},
        {"finish": []},
    ]
    assert run(steps, seed="s", journal=Journal()).failure is None


@pytest.mark.parametrize("scene", SCENES)
def test_a_seed_gives_the_same_journal_whatever_the_hash_seed(scene: str) -> None:
    def last_line(hash_seed: int) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "kit.simulator", "--seed", "7", "--histories", "1", "--scene", scene, "--no-kept"],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=1500,
            env={**os.environ, "PYTHONPATH": "tests:.", "PYTHONHASHSEED": str(hash_seed)},  # noqa: TID251 - of a child
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()[-1]

    with ThreadPoolExecutor(2) as pool:
        assert len(set(pool.map(last_line, (1, 2)))) == 1


def test_the_affairs_have_the_refusing_bucket() -> None:
    assert refusing in AFFAIRS


# --- planted faults


def _absence_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost leaver is never found."""
    groups = roster_news._groups
    monkeypatch.setattr(
        roster_news, "_groups", lambda facts, deps, *, member: groups(facts, deps, member=True) if member else ()
    )


def _presence_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost joiner is never found."""
    groups = roster_news._groups
    monkeypatch.setattr(
        roster_news, "_groups", lambda facts, deps, *, member: () if member else groups(facts, deps, member=False)
    )


def _approvals_do_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A true flood never passes."""
    monkeypatch.setattr(decisions, "standing_of", lambda *_, **__: decisions.Standing.OPEN)


def _the_evidence_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is done before the audit has taken it, so a bucket that refuses delays the cut."""
    carry_out = reconciler.carry_out

    def careful(plan: Any, deps: Any) -> Any:
        if plan.actions:
            deps.audit.put(f"audit/{deps.clock.now():%Y-%m-%d}/first-1.jsonl", b"{}")
        return carry_out(plan, deps)

    monkeypatch.setattr(reconciler, "carry_out", careful)


# Where the search begins: the first history that caught it when this was written.
PLANTS = [
    ("rosters", planted.no_second_look, 12), ("rosters", _absence_says_nothing, 10), ("rosters", _presence_says_nothing, 0),
    ("mails", planted.claims_are_taken_back, 28), ("mails", planted.an_answer_that_did_not_come_is_a_refusal, 28),
    ("mails", planted.sent_without_a_look, 2), ("mails", planted.deleted_without_a_warning, 0),
    ("floods", planted.no_limit, 0), ("floods", planted.one_is_enough, 2), ("floods", _approvals_do_nothing, 2),
    ("refusing", _the_evidence_comes_first, 0),
]  # fmt: skip


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("scene", "plant", "first"), PLANTS)
def test_a_planted_fault_is_caught(scene: str, plant: Any, first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    assert any(_ran(scene, number % PLANTED).failure for number in range(first, first + PLANTED))
