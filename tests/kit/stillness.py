"""A pytest plugin: which tests wait instead of working. More than half a second of that, twice, fails a test, unless its markers allow it.

A test waits while nothing of it runs or wants to run: not its process, not the programs that it started. That is read of Linux
(`/proc/*/task/*/schedstat`: time on a processor, time in the queue for one), so a machine that is busy with other things does not
make a test look idle, and what passes while the watcher itself cannot run does not count. A thread that ends takes its figures with it:
its time on a processor stays in its process's, and it queued no longer than anybody on this machine did (`/proc/pressure/cpu`).
A test that waited runs once more, and only a second wait fails it: a test that waits by design waits each time, an accident of the
machine (a virtual one that was paused, a lost packet that TCP sends again after a second) does not come twice.
Elsewhere nothing fails, and the report says wall time minus processor time.

Used by tests/conftest.py. The tests of it are in tests/unit/test_stillness.py.
"""

from __future__ import annotations

import math
import os
import resource
import sys
import threading
import time
import traceback
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

MAY_WAIT = (
    "gcloud",
    "browser",
    "jupyter",
    "waits",
)  # markers of tests that wait for what is not ours, or say why they wait
_SHOWN = 10
_FRAMES = 12  # the innermost ones
_LATE = 4  # times its interval: the watcher itself could not run
_A_LIFE_S = 20e-6  # a thread that begins and ends between two looks has used more than this
_PROC = Path("/proc")
_STAT_STATE = 0  # of what follows the name in /proc/PID/stat
_WORKS = frozenset("RD")  # runs or wants to, waits for a disk


@dataclass(frozen=True, slots=True)
class Look:
    """All tasks of a process and of what it started: their time on a processor or in its queue, in seconds."""

    at: float
    spent: dict[tuple[int, int], float]
    reaped_s: float  # processor time of children that have ended
    works: bool
    ended_s: float = 0.0  # processor time of threads of this process that have ended
    queued_s: float = 0.0  # for so long somebody on this machine has stood in the queue, since it started

    @property
    def processes(self) -> set[int]:
        return {pid for pid, _ in self.spent}


def look(root: int, *, without: int = 0, known: Iterable[int] = ()) -> Look:
    """Look at the tree of processes below `root`, but for the task `without`. A process of `known` may have lost its parent."""
    spent: dict[tuple[int, int], float] = {}
    works = False
    ended_s = _of(resource.RUSAGE_SELF) - time.thread_time()
    left, done = [root, *known], set[int]()
    while left:
        pid = left.pop()
        if pid in done:
            continue
        done.add(pid)
        for task in _tasks(pid):
            if task == without:
                continue
            folder = f"{_PROC}/{pid}/task/{task}"
            try:
                runs, queues, _ = _read(f"{folder}/schedstat").split()
                state = _read(f"{folder}/stat").rpartition(")")[2].split()[_STAT_STATE]
                left += map(int, _read(f"{folder}/children").split())
            except (OSError, ValueError):
                continue  # it has ended
            spent[pid, task] = (int(runs) + int(queues)) / 1e9
            works = works or state in _WORKS
            if pid == os.getpid():
                ended_s -= int(runs) / 1e9
    return Look(time.monotonic(), spent, _of(resource.RUSAGE_CHILDREN), works, ended_s, _queued_s())


def _of(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def _queued_s() -> float:
    try:
        return int(_read(f"{_PROC}/pressure/cpu").partition("total=")[2].split()[0]) / 1e6
    except (OSError, ValueError, IndexError):
        return time.monotonic()  # the machine does not say: perhaps all the time


def _tasks(pid: int) -> list[int]:
    try:
        return [int(name) for name in os.listdir(f"{_PROC}/{pid}/task")]  # noqa: PTH208 - 20 times a second
    except OSError:
        return []


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - 20 times a second
        return file.read()


def waited_between(before: Look, after: Look, *, within_s: float = math.inf) -> float:
    """How long nothing worked between two looks, at least. Looks further apart than `within_s` say that the machine stood still."""
    if after.at - before.at > within_s:
        return 0.0
    if before.works or after.works or before.processes != after.processes or before.reaped_s != after.reaped_s:
        return 0.0
    worked = sum(seconds - before.spent.get(task, 0.0) for task, seconds in after.spent.items())
    ended_s = after.ended_s - before.ended_s
    if ended_s > _A_LIFE_S or before.spent.keys() - after.spent.keys():
        worked += max(0.0, ended_s) + after.queued_s - before.queued_s
    return max(0.0, after.at - before.at - worked)


class Watcher(threading.Thread):
    """Adds up how long the test that runs has been waiting."""

    def __init__(self, *, every_s: float, short_s: float, most_s: float) -> None:
        super().__init__(daemon=True, name="stillness")
        self._every_s, self._short_s, self._most_s = every_s, short_s, most_s
        self.stood = ""  # where the test stood when it had waited for too long
        self._wakes = threading.Event()
        self._ends = False
        self._began: float | None = None
        self._last: Look | None = None
        self._waited = 0.0
        self._lock = threading.Lock()

    def begin(self) -> None:
        with self._lock:
            self._began, self._last, self._waited, self.stood = time.monotonic(), None, 0.0, ""

    def end(self) -> float:
        with self._lock:
            self._began = None
            return self._waited

    @property
    def waited(self) -> float:
        """How long it was so far, in seconds."""
        return self._waited

    def close(self) -> None:
        self._ends = True
        self._wakes.set()
        self.join()

    def run(self) -> None:
        me = threading.get_native_id()
        while not self._ends:
            self._wakes.wait(self._every_s)
            with self._lock:
                if self._began is None or time.monotonic() - self._began < self._short_s:
                    continue
                found = look(os.getpid(), without=me, known=self._last.processes if self._last else ())
                if self._last is not None:
                    self._waited += waited_between(self._last, found, within_s=self._every_s * _LATE)
                    if self._waited > self._most_s and not self.stood:
                        self.stood = _where(threading.main_thread())
                self._last = found


@dataclass(eq=False)  # pytest keeps plugins in dictionaries
class Stillness:
    """The plugin: one watcher a process that runs tests; the process that reports knows what the others found."""

    most_s: float = 0.5
    every_s: float = 0.05
    short_s: float = 0.2  # tests that end sooner are not looked at
    watcher: Watcher | None = None
    waits: int = 0  # of the test that runs: so many of its phases waited for too long
    found: list[tuple[float, float, str]] = field(default_factory=list)

    def pytest_sessionstart(self) -> None:
        if (_PROC / "self/schedstat").exists():
            self.watcher = Watcher(every_s=self.every_s, short_s=self.short_s, most_s=self.most_s)
            self.watcher.start()

    def pytest_sessionfinish(self) -> None:
        if self.watcher is not None:
            self.watcher.close()
            self.watcher = None

    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        """Run a test, and once more when waiting is all that was wrong with it."""
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for _ in range(2):
            self.waits = 0
            reports = runtestprotocol(item, nextitem=nextitem, log=False)
            if not self.waits or sum(report.failed for report in reports) != self.waits:
                break
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        return (yield from self._watched(item, "the test"))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, Any, Any]:
        return (yield from self._watched(item, "its fixtures"))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, Any, Any]:
        return (yield from self._watched(item, "the end of its fixtures"))

    def _watched(self, item: pytest.Item, what: str) -> Generator[None, Any, Any]:
        began, spent = time.monotonic(), _processor_s()
        if self.watcher is not None:
            self.watcher.begin()
        try:
            answer = yield
        finally:
            waited = self.watcher.end() if self.watcher is not None else 0.0
            idle = time.monotonic() - began - (_processor_s() - spent)
            if idle > self.short_s:
                item.user_properties.append(("idle", (idle, waited)))
        if waited > self.most_s and not any(item.get_closest_marker(name) for name in MAY_WAIT):
            self.waits += 1
            pytest.fail(
                f"{what} waited {waited:.1f} s in which nothing ran. Wait on a condition, inject a clock or shorten an interval; "
                f"only tests with one of the markers {', '.join(MAY_WAIT)} may wait. It stood here:\n{self.watcher.stood if self.watcher else ''}",
                pytrace=False,
            )
        return answer

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown":
            idle = [value for name, value in report.user_properties if name == "idle"]
            if idle:
                self.found.append((sum(each[0] for each in idle), sum(each[1] for each in idle), report.nodeid))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say which tests took the longest without working."""
        if not self.found or os.environ.get("PYTEST_XDIST_WORKER"):  # noqa: TID251 - xdist says so
            return
        terminalreporter.section(f"wall time minus processor time, of that nothing ran (the first {_SHOWN})")
        for idle, waited, test in sorted(self.found, reverse=True)[:_SHOWN]:
            terminalreporter.write_line(f"{idle:6.2f}s {waited:6.2f}s  {test}")


def _where(thread: threading.Thread) -> str:
    frame = sys._current_frames().get(thread.ident or 0)
    return "".join(traceback.format_stack(frame)[-_FRAMES:]) if frame is not None else ""


def _processor_s() -> float:
    """The processor time of this process and of children that have ended."""
    return _of(resource.RUSAGE_SELF) + _of(resource.RUSAGE_CHILDREN)
