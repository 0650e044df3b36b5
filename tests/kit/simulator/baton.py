"""The baton: real threads, exactly one of which runs. The driver says who is next, before and after each cloud call.

The driver (the thread that made the `Baton`) calls `begin` and `turn`. A task's thread calls `pause` around each cloud call,
`run` when it hands jobs to `Workers`, and the locks of `locks` where the product takes a lock.
"""

from __future__ import annotations

import sys
import threading
import traceback
from _thread import allocate_lock
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, TypeVar

T = TypeVar("T")

# The modules whose lock is held across a call on purpose, and why. A task waits there until the lock is free.
HELD_ON_PURPOSE = {
    "shared.cloud.storage.fleet_index": "several requests at once wait for one download of a large object",
    "shared.cloud.storage.policies": "the policy in force is read once a minute by one thread; the others need its answer",
}


class CrashError(BaseException):
    """The process of this task died."""


class StuckError(AssertionError):
    """A task waits for what another one holds across a cloud call, or no task can run."""


class Task:
    """One entry, or one worker of an entry. `root` is the name of the entry. `waits` says that it can run again; None: it can."""

    def __init__(self, name: str, process: str, work: Callable[[], object], parent: Task | None) -> None:
        self.name = name
        self.process = process
        self.parent = parent
        self.root = name if parent is None else parent.root
        self.waits: Callable[[], bool] | None = None
        self.is_done = self.is_dying = False
        self.how = self.changes = ""  # how the next call changes which of the cloud's objects; "" for a read
        self.writes = ""  # the object of Cloud Storage that the next call writes
        self.error: BaseException | None = None
        self.turns = self.drawn = 0
        self.go = allocate_lock()
        self.go.acquire()
        self.thread = threading.Thread(target=self._run, args=(work,), name=f"sim-{name}", daemon=True)

    def _run(self, work: Callable[[], object]) -> None:
        self.go.acquire()
        try:
            if not self.is_dying:
                work()
        except BaseException as error:  # noqa: BLE001 - the driver judges it
            self.error = error
        self.is_done = True
        self.back.release()

    back: Any  # the driver's lock, set by the baton

    @property
    def can_run(self) -> bool:
        return not self.is_done and (self.is_dying or self.waits is None or self.waits())

    def stack(self) -> str:
        frame = sys._current_frames().get(self.thread.ident or 0)
        return "" if frame is None else "".join(traceback.format_stack(frame)[-14:])


class Baton:
    """`tasks` are those that are not done, in the order of their beginning."""

    def __init__(self) -> None:
        self.tasks: dict[str, Task] = {}
        self.stuck: StuckError | None = None
        self._back = allocate_lock()
        self._back.acquire()
        self._here = threading.local()

    @property
    def current(self) -> Task | None:
        """The task whose thread this is; None for the driver."""
        task: Task | None = getattr(self._here, "task", None)
        return task

    @property
    def who(self) -> str:
        """The name of the current task, for the journal."""
        return self.current.name if self.current is not None else "driver"

    def begin(self, name: str, process: str, work: Callable[[], object], parent: Task | None = None) -> Task:
        """Make a task. It runs nothing before its first turn."""

        def mine() -> None:
            self._here.task = task
            work()

        task = Task(name, process, mine, parent)
        task.back = self._back
        self.tasks[name] = task
        task.thread.start()
        return task

    def runnable(self) -> list[str]:
        """The names of the tasks that can run, in the order of their beginning."""
        return [task.name for task in self.tasks.values() if task.can_run]

    def turn(self, name: str) -> Task | None:
        """Let a task run until its next pause or its end. None: there is no such task, or it cannot run."""
        task = self.tasks.get(name)
        if task is None or not task.can_run:
            return None
        task.waits = None
        task.turns += 1
        task.go.release()
        self._back.acquire()
        if task.is_done:
            task.thread.join()
            del self.tasks[name]
        if self.stuck is not None:
            raise self.stuck
        return task

    def check_not_stuck(self) -> None:
        """Raise when there are tasks and none can run."""
        if self.tasks and not self.runnable():
            stacks = "\n".join(f"--- {task.name}\n{task.stack()}" for task in self.tasks.values())
            raise StuckError(f"no task can run\n{stacks}")

    def pause(self, until: Callable[[], bool] | None = None) -> None:
        """Give the baton back, and return when it is this task's turn again. No-op for the driver."""
        task = self.current
        if task is None:
            return
        if task.is_dying:
            raise CrashError
        task.waits = until
        self._back.release()
        task.go.acquire()
        if task.is_dying:
            raise CrashError

    def crash(self, process: str) -> list[str]:
        """Let all tasks of a process die where they are, without one more call. Return the names of those entries."""
        mine = [task for task in self.tasks.values() if task.process == process]
        for task in mine:
            task.is_dying = True
        for task in reversed(mine):
            self.turn(task.name)
        return [task.name for task in mine if task.parent is None]

    def end(self) -> None:
        """Let everything die, when a history failed: no thread outlives it."""
        self.stuck = None
        for task in reversed(list(self.tasks.values())):
            task.is_dying = True
            task.go.release()
            self._back.acquire()
            task.thread.join()
        self.tasks.clear()

    # --- the port `Workers`

    def run(self, jobs: Sequence[Callable[[], T]], *, at_once: int = 8) -> list[T]:
        """Run jobs as sub-tasks of the current task; one after another where the driver itself asks."""
        parent = self.current
        if parent is None or len(jobs) < 2:
            return [job() for job in jobs]
        waiting = deque(enumerate(jobs))
        results: dict[int, T] = {}

        def work() -> None:
            while waiting:
                number, job = waiting.popleft()
                results[number] = job()

        children = [
            self.begin(f"{parent.name}.{number}", parent.process, work, parent)
            for number in range(min(at_once, len(jobs)))
        ]
        self.pause(until=partial(_all_done, children))
        for child in children:
            if child.error is not None:
                raise child.error
        return [results[number] for number in range(len(jobs))]

    # --- locks

    def threading_for(self, module: str) -> SimpleNamespace:
        """Return what a module of the product takes for `threading`: its locks know the baton."""
        own = {"Lock": partial(SimLock, self, module), "RLock": partial(SimLock, self, module, is_reentrant=True)}
        return SimpleNamespace(**{**vars(threading), **own})


def _all_done(tasks: Sequence[Task]) -> bool:
    return all(task.is_done for task in tasks)


class SimLock:
    """A lock of the product. Waiting for one that is held across a call is a failure, but for those of `HELD_ON_PURPOSE`."""

    def __init__(self, baton: Baton, module: str, *, is_reentrant: bool = False) -> None:
        self._baton = baton
        self._module = module
        self._is_reentrant = is_reentrant
        self._owner: object = None
        self._owner_task: Task | None = None
        self._depth = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:  # noqa: ARG002 - as Python's locks have it
        """Take the lock. False if it is held and `blocking` is False; `timeout` is not waited for."""
        mine: object = self._baton.current or self._baton
        if not blocking and self._owner is not None and not (self._is_reentrant and self._owner is mine):
            return False
        if self._owner is mine and not self._is_reentrant:
            self._fail("a task waits for its own lock")
        while self._owner is not None and self._owner is not mine:
            if self._module not in HELD_ON_PURPOSE:
                self._fail("a task waits for a lock that is held across a call")
            if self._baton.current is None:
                self._fail("the driver waits for a lock that a task holds across a call")
            self._baton.pause(until=lambda: self._owner is None)
        self._owner, self._owner_task = mine, self._baton.current
        self._depth += 1
        return True

    def _fail(self, what: str) -> None:
        holder = self._owner_task
        there = holder.stack() if holder is not None else "the driver"
        here = "".join(traceback.format_stack()[-14:-2])
        error = StuckError(
            f"{what}: {self._module}, {self._baton.who} waits:\n{here}\n"
            f"{holder.name if holder is not None else 'the driver'} holds:\n{there}"
        )
        self._baton.stuck = error
        raise error

    def release(self) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._owner = self._owner_task = None

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()
