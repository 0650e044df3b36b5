"""The executor of a plan.

Steps run in the order of their dependencies, four at a time; a failed step only blocks the steps that need it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from msgspec import Struct, field

from cli.deploy.failures import DeployError, NotThereError, NotYetError, ThereAlreadyError
from cli.deploy.gcloud import PATIENCE_S, Call, Command, Gcloud
from cli.deploy.step import Mark, Step

_WORKERS = 4


class Done(Struct, frozen=True):
    """The result of a step. `error` is None if the step did not fail.

    `blocked_by` names the reason why the step was not tried, "" if it was tried. `took_s` is the duration in seconds.
    `note` is set if there was nothing left to do.
    """

    step: Step
    took_s: float
    error: DeployError | None = None
    blocked_by: str = ""
    note: str = ""


class Outcome(Struct):
    """The results of all steps that change something, in the order in which they ended."""

    done: list[Done] = field(default_factory=list)

    @property
    def failed(self) -> list[Done]:
        """The failed steps, which need attention."""
        return [each for each in self.done if each.error is not None]

    @property
    def left(self) -> list[Done]:
        """The steps that were not tried, because a step that they need had failed or the run was stopped."""
        return [each for each in self.done if each.blocked_by]


def carry_out(
    steps: Sequence[Step],
    gcloud: Gcloud,
    *,
    started: Callable[[Step], None],
    ended: Callable[[Done], None],
    stop: threading.Event,
) -> Outcome:
    """Run every step that changes something, and return the results. `started` and `ended` are called from this thread.

    Once `stop` is set, running steps finish and no further step starts. A `DeployError` of a step is a result, not an
    exception.
    """
    waiting = {step.key: step for step in steps if step.acts}
    if len(waiting) != sum(step.acts for step in steps):
        raise AssertionError("two steps have one key")
    return _Crew(waiting, gcloud, started, ended, stop).work()


class _Crew:
    """The state and the loop of one run. `_failed` maps each failed or blocked step to the failed step that is the cause."""

    def __init__(
        self,
        waiting: dict[str, Step],
        gcloud: Gcloud,
        started: Callable[[Step], None],
        ended: Callable[[Done], None],
        stop: threading.Event,
    ) -> None:
        self._waiting, self._gcloud, self._stop = waiting, gcloud, stop
        self._needs = {key: _needed(step, waiting) for key, step in waiting.items()}
        self._started, self._ended = started, ended
        self._busy: dict[Future[Done], Step] = {}
        self._failed: dict[str, str] = {}
        self._outcome = Outcome()

    def work(self) -> Outcome:
        """Run until no step waits and no step is running, and return the outcome. Raise `AssertionError` if steps wait for each other."""
        with ThreadPoolExecutor(max_workers=_WORKERS) as pool:
            while self._waiting or self._busy:
                self._start(pool)
                self._block()
                if self._busy:
                    self._collect()
                elif self._stop.is_set():
                    for key in list(self._waiting):
                        self._leave(key, "a run that is not stopped")
                elif self._waiting and not self._ready():
                    raise AssertionError(f"steps wait for each other: {sorted(self._waiting)}")
        return self._outcome

    def _start(self, pool: ThreadPoolExecutor) -> None:
        for step in self._ready():
            if len(self._busy) >= _WORKERS or self._stop.is_set():
                return
            del self._waiting[step.key]
            self._started(step)
            self._busy[pool.submit(_one, step, self._gcloud, self._stop)] = step

    def _ready(self) -> list[Step]:
        """Return the steps that may start now, at most one for each lane."""
        lanes = {step.lane for step in self._busy.values() if step.lane}
        found = []
        for key, step in self._waiting.items():
            if self._needs[key] or (step.lane and step.lane in lanes):
                continue
            found.append(step)
            if step.lane:
                lanes.add(step.lane)
        return found

    def _block(self) -> None:
        """Give up the steps that need a failed step, directly or through other steps."""
        while blocked := [key for key in self._waiting if self._needs[key] & self._failed.keys()]:
            cause = self._failed[min(self._needs[blocked[0]] & self._failed.keys())]
            self._failed[blocked[0]] = cause
            self._leave(blocked[0], cause)

    def _leave(self, key: str, cause: str) -> None:
        self._tell(Done(self._waiting.pop(key), 0.0, blocked_by=cause))

    def _collect(self) -> None:
        finished, _ = wait(self._busy, return_when=FIRST_COMPLETED)
        for future in finished:
            done = future.result()
            del self._busy[future]
            if done.error is not None:
                self._failed[done.step.key] = done.step.key
            else:
                for waited in self._needs.values():
                    waited.discard(done.step.key)
            self._tell(done)

    def _tell(self, done: Done) -> None:
        self._outcome.done.append(done)
        self._ended(done)


def _needed(step: Step, all_steps: Iterable[str]) -> set[str]:
    """Return the keys that a step waits for: the named keys, and all keys of a named kind."""
    return {key for key in all_steps if key != step.key and (key in step.needs or key.split(" ", 1)[0] in step.needs)}


def _one(step: Step, gcloud: Gcloud, stop: threading.Event) -> Done:
    """Run a step and return its result. After a temporary error, the part that failed is retried for up to two minutes."""
    began = time.perf_counter()
    work, notes = list(step.work), set[str]()
    for pause_s in (*PATIENCE_S, None):
        try:
            while work:
                first = work[0]
                for do in first() if callable(first) else [first]:
                    notes.add(_do(do, step, gcloud))
                work.pop(0)
            return Done(step, time.perf_counter() - began, note=" ".join(sorted(notes)).strip())
        except NotYetError as error:
            if pause_s is None or stop.wait(pause_s):
                return Done(step, time.perf_counter() - began, error)
        except DeployError as error:
            return Done(step, time.perf_counter() - began, error)
    raise AssertionError("the last pass returns")


def _do(do: Command | Call, step: Step, gcloud: Gcloud) -> str:
    """Carry out a command or call. Return a note if there was nothing left to do, else ""."""
    try:
        gcloud.do(do)
    except ThereAlreadyError:
        # An earlier try succeeded although its response was lost, or another deployer was faster.
        return "it existed already: the next run compares it"
    except NotThereError:
        if step.mark is not Mark.DELETE:
            raise
        return "it was already deleted"
    return ""
