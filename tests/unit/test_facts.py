"""Facts fold to the same answers in every order of arrival, as a brute-force oracle over all statements gives them."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from shared.domain.intent.lifetimes import cutting
from shared.domain.people.facts import (
    EMPLOYMENT,
    GROUP,
    ROSTER,
    Facts,
    Statement,
    answer,
    fold,
    next_change,
)
from shared.domain.people.facts_json import from_json, parse_value, to_json
from shared.domain.people.statements import MAX_FORGOTTEN, MOST_LAST, fold_briefly

START = datetime(2026, 11, 23, tzinfo=UTC)
HOURS = range(-1, 8)


def hour(number: int) -> datetime:
    return START + timedelta(hours=number)


def statement(event_id: str, occurred: int, effective: int, *, member: bool) -> Statement:
    return Statement(
        event_id=event_id,
        occurred_at=hour(occurred),
        effective_at=hour(effective),
        value=member,
        withdraws=not member,
    )


_STATEMENTS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 6), st.booleans()),
    max_size=7,
).map(lambda raw: [statement(f"e{i}", o, e, member=m) for i, (o, e, m) in enumerate(raw)])


def said_last(statements: list[Statement], now: datetime) -> bool | None:
    """The oracle: among all statements in effect, the one said last; at a tie whoever withdraws.

    One that was still to come when something newer was said never takes effect.
    """
    in_effect = [
        s
        for s in statements
        if s.effective_at <= now and not any(s.occurred_at < n.occurred_at < s.effective_at for n in statements)
    ]
    if not in_effect:
        return None
    last = max(s.occurred_at for s in in_effect)
    return not any(s.withdraws for s in in_effect if s.occurred_at == last)


@given(_STATEMENTS, st.randoms(use_true_random=False))
def test_any_order_with_duplicates_gives_what_was_said_last(statements, dice):
    arrived = statements + [dice.choice(statements) for _ in statements if dice.random() < 0.5]
    dice.shuffle(arrived)
    timeline: tuple[Statement, ...] = ()
    for one in arrived:
        timeline = fold(timeline, one)
    for number in HOURS:
        decided = answer(timeline, hour(number))
        assert (None if decided is None else decided.value) == said_last(statements, hour(number))


@given(_STATEMENTS, st.randoms(use_true_random=False))
def test_the_timeline_itself_is_the_same_for_every_order(statements, dice):
    shuffled = list(statements)
    dice.shuffle(shuffled)
    one: tuple[Statement, ...] = ()
    other: tuple[Statement, ...] = ()
    for first, second in zip(statements, shuffled, strict=True):
        one, other = fold(one, first), fold(other, second)
    assert one == other


def test_what_never_comes_ends_nothing_of_what_was_said_before():
    """The second was still to come when the third was said, and the third is still to come."""
    timeline = ()
    for said, horizon in (
        (statement("first", 0, 0, member=True), -1),
        (statement("second", 1, 5, member=False), 0),
        (statement("third", 2, 90, member=False), 1),
        (statement("fourth", 6, 91, member=False), 5),
    ):
        timeline = fold(timeline, said, hour(horizon))
    assert answer(timeline, hour(6)).event_id == "first"


@given(
    st.lists(st.tuples(st.integers(1, 40), st.sampled_from([0, 0, 0, 30, 600]), st.booleans()), min_size=6, max_size=60)
)
def test_however_much_is_said_little_is_kept_and_every_answer_is_as_if_all_were(said):
    """Minutes apart, for now or for later, as the news arrives: now, and at every moment to come."""
    now, everything, timeline = START, [], ()
    for number, (wait, later, member) in enumerate(said):
        now += timedelta(minutes=wait)
        one = replace(
            statement(f"e{number:02}", 0, 0, member=member),
            occurred_at=now,
            effective_at=now + timedelta(minutes=later),
        )
        everything.append(one)
        timeline = fold_briefly(timeline, one, now - timedelta(hours=1))
        assert len(timeline) <= MOST_LAST + 2
        for moment in (now, *(s.effective_at for s in everything if s.effective_at > now)):
            decided = answer(timeline, moment)
            assert (None if decided is None else decided.value) == said_last(everything, moment)


def test_of_three_of_one_moment_the_one_that_decides_until_a_later_one_begins_is_kept():
    """What is to come is taken back by what is said before it begins; until that begins, the one that had begun decides."""
    timeline = ()
    for said, horizon in (
        (statement("first", 0, 0, member=False), -1),
        (statement("begins soon", 1, 2, member=True), 0),
        (statement("to come", 1, 50, member=False), 0),
        (statement("to come too", 1, 51, member=False), 0),
        (statement("later", 3, 60, member=False), 1),
    ):
        timeline = fold_briefly(timeline, said, hour(horizon))
    assert answer(timeline, hour(4)).event_id == "begins soon"


@given(_STATEMENTS)
def test_hearing_it_all_again_changes_nothing(statements):
    timeline: tuple[Statement, ...] = ()
    for one in statements:
        timeline = fold(timeline, one)
    for one in statements:
        assert fold(timeline, one) is timeline


@given(_STATEMENTS)
def test_between_two_changes_the_answer_stays(statements):
    timeline: tuple[Statement, ...] = ()
    for one in statements:
        timeline = fold(timeline, one)
    now = hour(-1)
    while (change := next_change([timeline], now)) is not None:
        assert change > now
        assert answer(timeline, now) == answer(timeline, change - timedelta(microseconds=1))
        now = change
    assert answer(timeline, now) == answer(timeline, hour(1000))


def test_a_postponed_leave_replaces_the_first_date():
    first = statement("leaves at 3", 1, 3, member=False)
    later = statement("leaves at 6 instead", 2, 6, member=False)
    for order in ((first, later), (later, first)):
        timeline = fold((), statement("joined", 0, 0, member=True))
        for one in order:
            timeline = fold(timeline, one)
        assert answer(timeline, hour(4)).value is True
        assert answer(timeline, hour(6)).value is False


def test_what_can_never_decide_again_is_not_kept():
    timeline: tuple[Statement, ...] = ()
    for number in range(200):
        timeline = fold(timeline, statement(f"e{number}", number, number, member=number % 2 == 0), hour(number - 24))
        assert len(timeline) <= 26
    assert answer(timeline, hour(199)).event_id == "e199"
    assert fold(timeline, statement("e3", 3, 3, member=False), hour(175)) is timeline  # heard again, long after


@given(_STATEMENTS, st.integers(0, 7), st.randoms(use_true_random=False))
def test_forgetting_changes_no_answer_from_the_horizon_on(statements, horizon, dice):
    dice.shuffle(statements)
    forgetful: tuple[Statement, ...] = ()
    for one in statements:
        forgetful = fold(forgetful, one, hour(horizon))
    # What is said about the future from behind the horizon is forgotten with it; messages do not come from so far back.
    recent = [s for s in statements if s.effective_at <= hour(horizon) or s.occurred_at >= hour(horizon)]
    if recent == statements:
        for number in range(horizon, 9):
            decided = answer(forgetful, hour(number))
            assert (None if decided is None else decided.value) == said_last(statements, hour(number))


def test_lists_of_the_same_moment_decide_together_however_much_is_said_for_later():
    """Of two lists the one that leaves a group out wins the tie: it is not dropped for lists that are to come."""
    facts = Facts.none()
    for event_id, occurred, effective, listed in [
        ("without", 0, 0, ()),
        ("with", 0, 0, GROUPS),
        ("later", 1, 72, GROUPS),
        ("later too", 2, 73, GROUPS),
        ("much later", 3, 74, GROUPS),
    ]:
        said = replace(statement(event_id, occurred, effective, member=bool(listed)), value=tuple(listed))
        facts = facts.with_statement(ROSTER, said, hour(0))
        assert facts.groups(hour(occurred)) == {}


# --- groups: a roster speaks about every group, a message about one only about that one ---

GROUPS = ("a@x.com", "b@x.com")
_GROUP_NEWS = st.lists(
    st.tuples(st.sampled_from(["roster", *GROUPS]), st.integers(0, 5), st.integers(0, 6), st.integers(0, 3)), max_size=7
)


def held_by_oracle(news: list[tuple[str, int, int, int]], now: int) -> set[str]:
    """For each group: what the directory said last, if it said anything; else the later of roster and own message."""
    held = set()
    for bit, name in enumerate(GROUPS):
        latest: dict[str, tuple[int, bool]] = {}
        holding = [
            (o, not (mask & 1) if k == name else not (mask >> bit & 1), "directory" if k == name and mask & 2 else k)
            for k, o, e, mask in news
            if k in {name, "roster"} and e <= now and not any(o < o2 < e for k2, o2, _, _ in news if k2 == k)
        ]
        for occurred, withdraws, who in holding:
            # At the same moment the one that takes away wins, two rosters included.
            latest[who] = max(latest.get(who, (-9, False)), (occurred, withdraws))
        decides = [latest["directory"]] if "directory" in latest else list(latest.values())
        if decides and not max(decides)[1]:
            held.add(name)
    return held


@given(_GROUP_NEWS, st.randoms(use_true_random=False))
def test_groups_held_are_those_said_last_for_each_group(news, dice):
    arrived = list(enumerate(news))
    dice.shuffle(arrived)
    facts = Facts.none()
    for index, (kind, occurred, effective, mask) in arrived:
        members = tuple(g for bit, g in enumerate(GROUPS) if mask >> bit & 1)
        name, value = (ROSTER, members) if kind == "roster" else (f"{GROUP}{kind}", bool(mask & 1))
        said = Statement(
            event_id=f"e{index}",
            occurred_at=hour(occurred),
            effective_at=hour(effective),
            value=value,
            withdraws=value is False,
            source="directory" if kind != "roster" and mask & 2 else "operator",
        )
        facts = facts.with_statement(name, said)
    for number in HOURS:
        assert set(facts.groups(hour(number))) == held_by_oracle(news, number)


@given(_STATEMENTS, st.integers(0, 8))
def test_merging_is_as_if_all_had_been_said_of_one_person(statements, share):
    one, other, whole = Facts.none(), Facts.none(), Facts.none()
    for number, each in enumerate(statements):
        whole = whole.with_statement("employment", each)
        if number < share:
            one = one.with_statement("employment", each)
        else:
            other = other.with_statement("employment", each)
    assert one.merged(other) == whole
    assert whole.merged(other) is whole


def test_facts_are_immutable_and_a_duplicate_gives_the_same_object():
    nothing = Facts.none()
    one = nothing.with_statement("employment", statement("e1", 0, 0, member=True))
    assert nothing.timelines == {}
    assert one.with_statement("employment", statement("e1", 0, 0, member=True)) is one
    assert nothing.next_change(hour(0)) is None
    assert one.attribute("cost_center", hour(3)) is None


@given(_STATEMENTS)
def test_facts_survive_their_json(statements):
    facts = Facts.none()
    for index, one in enumerate(statements):
        facts = facts.with_statement(f"{GROUP}{index % 2}", one)
    assert from_json(to_json(facts)) == facts


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (0.5, 0.5),
        ("x", "x"),
        (["x", 1, None], ("x", "1", "None")),
        ([], ()),
        ({"a": 1}, "{'a': 1}"),
    ],
)
def test_any_json_value_is_kept_as_a_fact(raw, value):
    assert parse_value(raw) == value


def test_every_order_of_four_statements_gives_one_timeline():
    statements = [
        statement("join", 0, 0, member=True),
        statement("leave-later", 1, 5, member=False),
        statement("stay", 2, 2, member=True),
        statement("leave-late", 3, 6, member=False),
    ]
    timelines = set()
    for order in itertools.permutations(statements):
        timeline: tuple[Statement, ...] = ()
        for one in order:
            timeline = fold(timeline, one)
        timelines.add(timeline)
    (timeline,) = timelines
    assert [answer(timeline, hour(h)).event_id for h in (0, 2, 5, 6)] == ["join", "stay", "stay", "leave-late"]
    assert [s.event_id for s in fold(timeline, statement("back", 200, 200, member=True), hour(205))] == ["back"]


def test_an_erased_record_knows_duplicates_without_a_date():
    joiner = replace(statement("j", 0, 0, member=True), undated=True, source="operator")
    facts = Facts.none().with_statement(EMPLOYMENT, joiner)
    facts = facts.with_statement(EMPLOYMENT, replace(statement("l", 2, 2, member=False), source="operator"))
    kept = cutting(facts, hour(5))
    again = replace(joiner, occurred_at=hour(6), effective_at=hour(6))
    assert kept.with_statement(EMPLOYMENT, again) is kept
    assert kept.with_statement(EMPLOYMENT, replace(again, event_id="j2")) is not kept
    assert cutting(kept, hour(5)) == kept


def test_what_is_remembered_of_dropped_statements_is_bounded():
    facts = Facts.none()
    for number in range(MAX_FORGOTTEN + 40):
        said = replace(statement(f"m{number}", number, number, member=True), undated=True)
        facts = facts.with_statement(f"{GROUP}a", said, hour(1000))
    assert len(facts.forgotten) == MAX_FORGOTTEN


@pytest.mark.parametrize(("newer", "cut"), [(False, {"group:a@x.com"}), (True, set()), (None, {"group:a@x.com"})])
def test_a_removal_is_a_cut_until_it_is_taken_back(newer, cut):
    facts = Facts.none()
    for number, member in enumerate([False, newer] if newer is not None else [False]):
        said = replace(statement(f"e{number}", number, number, member=member), source="directory")
        facts = facts.with_statement("group:a@x.com", said)
    assert set(facts.cuts().timelines) == cut
