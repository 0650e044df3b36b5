"""Waiting grows, is bounded, and spreads people who failed together."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from kit.making import person

from shared.domain.plan.step import FIRST, LONGEST, backoff, patience
from shared.domain.things.errors import CloudUnavailableError

ZERO = timedelta(0)


@given(st.integers(-3, 10_000), st.integers(0, 7200), st.text(max_size=20))
def test_a_wait_is_never_under_what_was_asked_for_and_at_most_a_quarter_over(attempts, at_least_s, user):
    at_least = timedelta(seconds=at_least_s)
    wait = backoff(attempts, at_least=at_least, spread_by=user)
    assert wait >= max(at_least, FIRST)
    assert wait <= max(at_least, LONGEST) * 1.25
    assert wait == backoff(attempts, at_least=at_least, spread_by=user)


def test_waits_double_up_to_the_longest():
    floors = [timedelta(seconds=s) for s in (30, 30, 60, 120, 240, 480, 960, 1800, 1800)]
    for attempts, floor in enumerate(floors):
        assert floor <= backoff(attempts, at_least=ZERO, spread_by="ana") <= floor * 1.25


def test_a_read_that_fails_again_and_again_is_repeated_less_and_less():
    error = CloudUnavailableError(user_message="down", detail="503")
    for attempts, floor in enumerate(timedelta(seconds=s) for s in (30, 60, 120, 240)):
        assert floor <= patience(person(attempts=attempts), error, ZERO) <= floor * 1.25


def test_people_who_failed_together_come_back_apart():
    waits = {backoff(8, at_least=ZERO, spread_by=f"user-{n}") for n in range(1000)}
    assert len(waits) > 200
    assert max(waits) - min(waits) > LONGEST * 0.2
