"""Carries out a plan: in the order that steps need each other, four at a time, one failure holding up only what needs it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from cli.deploy.failures import DeployError, NotYetError, ThereAlreadyError
from cli.deploy.gcloud import Do, Gcloud
from cli.deploy.step import Step

_WORKERS = 4
_WAITS_S = (1, 2, 4, 8, 16, 30, 60)  # what is not known everywhere yet: two minutes in all


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a step: `error` None = done; `blocked_by` = the failed step that it needs."""

    step: Step
    took_s: float
    error: DeployError | None = None
    blocked_by: str = ""
    note: str = ""


@dataclass(slots=True)
class Outcome:
    """What became of all of them."""

    done: list[Done] = field(default_factory=list)

    @property
    def failed(self) -> list[Done]:
        """Those that a person must look at."""
        return [each for each in self.done if each.error is not None]

    @property
    def left(self) -> list[Done]:
        """Those that were not tried, since what they need had failed."""
        return [each for each in self.done if each.blocked_by]


def carry_out(
    steps: Sequence[Step],
    gcloud: Gcloud,
    *,
    started: Callable[[Step], None],
    ended: Callable[[Done], None],
    stop: threading.Event,
) -> Outcome:
    """Run every step that changes something. `started` and `ended` are told from this thread."""
    waiting = {step.key: step for step in steps if step.acts}
    if len(waiting) != sum(step.acts for step in steps):
        raise AssertionError("two steps have one key")
    needs = {key: _needed(step, waiting) for key, step in waiting.items()}
    busy: dict[Future[Done], Step] = {}
    outcome, failed = Outcome(), dict[str, str]()
    with ThreadPoolExecutor(max_workers=_WORKERS) as pool:
        while waiting or busy:
            for step in _ready(waiting, needs, busy.values(), failed):
                if len(busy) >= _WORKERS or stop.is_set():
                    break
                del waiting[step.key]
                started(step)
                busy[pool.submit(_one, step, gcloud, stop)] = step
            for key in [key for key in waiting if needs[key] & failed.keys()]:
                step = waiting.pop(key)
                cause = min(needs[key] & failed.keys())
                failed[key] = failed[cause]
                _tell(Done(step, 0.0, blocked_by=failed[cause]), outcome, ended)
            if not busy:
                if waiting and not stop.is_set() and not _ready(waiting, needs, (), failed):
                    raise AssertionError(f"steps wait for each other: {sorted(waiting)}")
                if stop.is_set() or not waiting:
                    break
                continue
            finished, _ = wait(busy, return_when=FIRST_COMPLETED)
            for future in finished:
                done = future.result()
                del busy[future]
                if done.error is not None:
                    failed[done.step.key] = done.step.key
                else:
                    _settle(done.step.key, needs)
                _tell(done, outcome, ended)
    return outcome


def _tell(done: Done, outcome: Outcome, ended: Callable[[Done], None]) -> None:
    outcome.done.append(done)
    ended(done)


def _needed(step: Step, all_steps: Iterable[str]) -> set[str]:
    """The keys that a step waits for: named ones, and all of a kind that is named."""
    return {key for key in all_steps if key != step.key and (key in step.needs or key.split(" ", 1)[0] in step.needs)}


def _settle(key: str, needs: dict[str, set[str]]) -> None:
    for waited in needs.values():
        waited.discard(key)


def _ready(
    waiting: dict[str, Step], needs: dict[str, set[str]], busy: Iterable[Step], failed: dict[str, str]
) -> list[Step]:
    lanes = {step.lane for step in busy if step.lane}
    found = []
    for key, step in waiting.items():
        if needs[key] or key in failed or (step.lane and step.lane in lanes):
            continue
        found.append(step)
        lanes.add(step.lane)
        lanes.discard("")
    return found


def _one(step: Step, gcloud: Gcloud, stop: threading.Event) -> Done:
    """One step, patiently: what is not known everywhere yet is asked again, from the command that failed."""
    began = time.perf_counter()
    work: list[Do] | None = None
    note = ""
    for pause_s in (*_WAITS_S, None):
        try:
            if work is None:
                work = list(step.work() if callable(step.work) else step.work)
            while work:
                try:
                    gcloud.do(work[0])
                except ThereAlreadyError:
                    # A try before was done though its answer was lost, or somebody else was faster.
                    note = "it was there already: the next run compares it"
                work.pop(0)
            return Done(step, time.perf_counter() - began, note=note)
        except NotYetError as error:
            if pause_s is None or stop.wait(pause_s):
                return Done(step, time.perf_counter() - began, error)
        except DeployError as error:
            return Done(step, time.perf_counter() - began, error)
    raise AssertionError("the last pass returns")
