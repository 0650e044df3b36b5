"""The adapter that runs the engine's work on threads. No other module of the product starts threads for the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


class ThreadWorkers:
    """The adapter of the port `Workers`. Calls to Google take most of a job's time, so more jobs than cores run at once."""

    def run(self, jobs: Sequence[Callable[[], T]], *, at_once: int = 8) -> list[T]:
        """Run all jobs, each on a thread, and return their results in the order of the jobs. A single job runs on the caller's thread.

        If a job raises an exception, raise that exception; jobs that have not started by then are not run.
        """
        if len(jobs) <= 1:  # most sweeps have one user or none
            return [job() for job in jobs]
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(max_workers=min(at_once, len(jobs))) as pool:
            return list(pool.map(lambda job: job(), jobs))
