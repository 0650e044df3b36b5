from __future__ import annotations

import threading
from functools import partial

import pytest

from shared.cloud.workers import ThreadWorkers


def test_results_are_in_the_order_of_the_jobs_although_the_last_ends_first():
    ended = [threading.Event() for _ in range(4)]

    def job(number: int) -> int:
        if number + 1 < len(ended):
            assert ended[number + 1].wait(60)
        ended[number].set()
        return number

    assert ThreadWorkers().run([partial(job, number) for number in range(4)]) == [0, 1, 2, 3]


def test_no_more_jobs_than_asked_for_run_at_a_time():
    running, most, lock, pair = 0, 0, threading.Lock(), threading.Barrier(2)

    def job() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        pair.wait(60)  # passes only when two jobs run
        with lock:
            running -= 1

    ThreadWorkers().run([job] * 8, at_once=2)
    assert most == 2


def test_an_exception_of_a_job_is_raised():
    def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        ThreadWorkers().run([lambda: None, fails, lambda: None])


def test_no_jobs_are_no_work():
    assert ThreadWorkers().run([]) == []
