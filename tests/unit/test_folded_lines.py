"""What becomes one line with a count while the audit refuses, and what never does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.making import person
from msgspec.structs import replace

from shared.domain.record.audit import chained, entries_in, without_known
from shared.domain.things.history import MAX_WAITING, Call, CallState, StoryKind, StoryLine, folded

T0 = datetime(2026, 3, 2, tzinfo=UTC)
NOBODY: frozenset[str] = frozenset()


def line(number, *, act="StartInstance x", state=CallState.REFUSED, ref="Stockout", after="a"):
    call = Call(id=f"{number}-0", activity=2, state=state, policy="")
    return StoryLine(
        at=T0 + timedelta(minutes=number), kind=StoryKind.CALL, text=act, ref=ref, act=act, refused=state is not CallState.DONE,
        waits=True, after={"presence": after}, call=call,
    )  # fmt: skip


def other(number, kind, text, after="a"):
    return StoryLine(
        at=T0 + timedelta(minutes=number), kind=kind, text=text, waits=True, after={"presence": after}, ref=str(number)
    )


def times(lines):
    return [(each.act or each.text, each.repeats + 1) for each in lines]


def test_few_lines_stay_as_they_are():
    few = tuple(line(number) for number in range(MAX_WAITING))
    assert folded(few) == few


def test_tries_since_the_last_success_become_one_line_with_both_times():
    tries = [line(number) for number in range(37)]
    story = folded((*tries, line(37, state=CallState.DONE), line(38), line(39)))
    assert times(story) == [("StartInstance x", 37), ("StartInstance x", 1), ("StartInstance x", 2)]
    assert story[0].at == T0
    assert story[0].until == T0 + timedelta(minutes=36)
    assert story[0].words == "StartInstance x (37 times until 2026-03-02 00:36 UTC)"
    assert folded((*story, *(line(number) for number in range(40, 80))))[2].repeats == 41


@pytest.mark.parametrize("state", [CallState.DONE, CallState.UNKNOWN, CallState.ASKED])
def test_what_was_or_may_have_been_changed_stays_one_line_each(state):
    story = tuple(line(number, state=state) for number in range(60))
    assert folded(story) == story


@pytest.mark.parametrize("kind", [StoryKind.NEWS, StoryKind.WISH])
def test_news_and_requests_stay_one_line_each(kind):
    story = tuple(other(number, kind, "Moved") for number in range(60))
    assert folded(story) == story


def test_decisions_fold_only_while_the_same_is_wanted():
    flips = tuple(other(n, StoryKind.DECISION, "Access", after="ab"[n % 2]) for n in range(40))
    assert folded(flips) == flips
    steady = folded(tuple(other(n, StoryKind.DECISION, f"Notebook {n % 2}") for n in range(40)))
    assert times(steady) == [("Notebook 0", 20), ("Notebook 1", 20)]


def test_lines_that_do_not_wait_are_left_alone():
    old = replace(line(0), waits=False, call=None, after={})
    assert folded((old, *(line(number) for number in range(1, 40))))[0] == old


def test_a_decision_of_a_lost_pass_is_told_once_and_another_of_the_same_moment_too():
    """The pass that made the first entry was lost; the pass of now decides the same again, and one thing more."""
    record, now = person().with_status(alias="abc"), T0 + timedelta(minutes=9)
    there = tuple(entries_in(chained((other(0, StoryKind.DECISION, "Access"),), record, NOBODY).content))
    same, new = other(9, StoryKind.DECISION, "Access"), other(9, StoryKind.DECISION, "Notebook")
    assert without_known((same, new), there, record, NOBODY, now) == (new,)
    news = other(9, StoryKind.NEWS, "Access")
    assert without_known((same, news), there, record, NOBODY, T0) == (same, news)  # of another moment, of another kind


LINES = st.lists(
    st.tuples(st.sampled_from("xy"), st.sampled_from([CallState.REFUSED, CallState.DONE, CallState.HELD]), st.booleans()),
    min_size=MAX_WAITING + 1, max_size=60,
)  # fmt: skip


@given(drawn=LINES, copied=st.integers(0, 60))
def test_of_what_another_process_copied_unfolded_only_the_rest_is_left(drawn, copied):
    """By call: as many as were made are told, whoever copies first; and in the order of the first of each."""
    told = [line(n, act=f"Start {x}", state=state, after="ab"[flag]) for n, (x, state, flag) in enumerate(drawn)]
    record = person().with_status(alias="abc")
    story = folded(tuple(told))
    assert sum(each.repeats + 1 for each in story) == len(told)
    assert [each for each in story if each.call.state is CallState.DONE] == [
        each for each in told if each.call.state is CallState.DONE
    ]
    there = tuple(entries_in(chained(told[:copied], record, NOBODY).content)) if copied else ()
    left = without_known(story, there, record, NOBODY, T0)
    assert sum(each.repeats + 1 for each in left) == max(len(told) - copied, 0)
    everything = tuple(entries_in(chained(story, record, NOBODY).content))
    assert without_known(told, everything, record, NOBODY, T0) == ()
