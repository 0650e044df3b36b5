"""Who is entitled to what: every order of add and remove over two groups and HR, and the rules one by one."""

from __future__ import annotations

import itertools

import pytest
from kit.making import (
    ANA,
    ANALYSTS,
    ENGINEERS,
    NOW,
    STRANGERS,
    account,
    after,
    at,
    catalog,
    group,
    joined,
    left,
    moved,
    policy,
    with_event,
)
from msgspec.structs import replace

from shared.domain.intent.wanted import new_record, with_wanted
from shared.domain.intent.wanted import with_event as told
from shared.domain.people.entitlement import Cause, judge_entitlement
from shared.domain.people.events import AccountState, statements_of
from shared.domain.people.facts import Facts
from shared.domain.record.record import Power, Presence
from shared.domain.things.power import PowerCause


def news(kind: str, hour: int):
    event_id = f"{kind}@{hour}"
    match kind.split():
        case ["join"]:
            return joined(event_id, hour, groups=())
        case ["leave"]:
            return left(event_id, hour)
        case [verb, name]:
            return group(event_id, ANALYSTS if name == "analysts" else ENGINEERS, hour, member=verb == "add")
    raise AssertionError(kind)


def oracle(happened: list[tuple[str, int]]) -> str | None:
    """What a person reading the news in the order in which it happened would say."""
    employed, analysts, engineers = True, False, False
    for kind, _ in sorted(happened, key=lambda h: h[1]):
        match kind:
            case "join":
                employed = True  # with an empty list of groups, of which the directory alone decides once it has spoken
            case "leave":
                employed = False
            case "add analysts" | "remove analysts":
                analysts = kind.startswith("add")
            case "add engineers" | "remove engineers":
                engineers = kind.startswith("add")
    if not employed:
        return None
    return "engineer" if engineers else "analyst" if analysts else None


def facts_of(*events) -> Facts:
    facts = Facts.none()
    for event in events:
        for name, statement in statements_of(event):
            facts = facts.with_statement(name, statement)
    return facts


CATALOG = catalog()
KINDS = ["join", "leave", "add analysts", "remove analysts", "add engineers", "remove engineers"]


def test_every_order_of_happening_and_every_order_of_arrival_gives_what_happened():
    """720 histories of all six; each told in order, backwards, and rotated; 6 x 720 tellings agree with the reader."""
    for history in itertools.permutations(KINDS):
        happened = [(kind, hour - len(history)) for hour, kind in enumerate(history)]
        events = [news(kind, hour) for kind, hour in happened]
        expected = oracle(happened)
        tellings = [events, events[::-1], *(events[i:] + events[:i] for i in (1, 2, 3, 4))]
        found = {judge_entitlement(facts_of(*telling), CATALOG, NOW).profile for telling in tellings}
        assert found == {expected}, history


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_every_arrival_of_every_short_history_gives_what_happened(size):
    for history in itertools.permutations(KINDS, size):
        happened = [(kind, hour - size) for hour, kind in enumerate(history)]
        expected = oracle(happened)
        for telling in itertools.permutations([news(kind, hour) for kind, hour in happened]):
            facts = facts_of(*telling)
            assert judge_entitlement(facts, CATALOG, NOW).profile == expected, (history, telling)


@pytest.mark.parametrize(
    ("events", "profile", "because"),
    [
        ([], None, "no group"),
        ([joined(groups=(ANALYSTS,))], "analyst", ANALYSTS),
        ([joined(groups=(ANALYSTS, ENGINEERS))], "engineer", ENGINEERS),
        ([joined(groups=(STRANGERS,))], None, "1 group, none of which entitles"),
        ([joined(groups=(STRANGERS, "b@x.com"))], None, "2 groups, none of which entitles"),
        ([joined(groups=())], None, "no group"),
        ([joined()], "analyst", "default profile"),
        ([joined(profile="")], "analyst", "default profile"),
        ([joined(profile="engineer")], "engineer", "asked for by hand"),
        ([joined(profile="engineer", groups=(ANALYSTS,))], "engineer", "asked for by hand"),
        ([joined(profile="", groups=(ENGINEERS,))], "engineer", ENGINEERS),
        ([joined(profile="engineer"), moved(profile=None, profile_said=True)], None, "no group"),
        ([joined(profile="engineer"), moved(profile="analyst", profile_said=True)], "analyst", "asked for by hand"),
        ([joined(profile="engineer"), moved(groups=(ANALYSTS,))], "engineer", "asked for by hand"),
        ([group("g", ANALYSTS, -3, member=True)], "analyst", ANALYSTS),
        ([group("g", ANALYSTS, -3, member=True), left()], None, "left"),
        ([joined(groups=(ANALYSTS,)), group("g", ANALYSTS, -3, member=False)], None, "no group"),
        ([joined(groups=()), group("g", ENGINEERS, -3, member=True)], "engineer", ENGINEERS),
        ([group("g", ENGINEERS, -3, member=True), joined("j", -2, groups=(ANALYSTS,))], "engineer", ENGINEERS),
        ([group("g", ANALYSTS, -3, member=False), joined("j", -2, groups=(ANALYSTS,))], None, "no group"),
        ([replace(group("g", ANALYSTS, -3, member=False), source="operator"), joined("j", -2, groups=(ANALYSTS,))], "analyst", ANALYSTS),
        ([joined(groups=(ANALYSTS,)), account("s", -3, usable=False)], None, "suspended"),
        ([joined(profile="engineer"), account("s", -3, usable=False)], None, "suspended"),
        ([joined(), account("s", -3, usable=False), account("u", -2, usable=True)], "analyst", "default"),
        ([account("s", -3, usable=False), group("g", ANALYSTS, -2, member=True)], None, "suspended"),
        ([joined(), left()], None, "left"),
        ([joined(), left(), group("g", ENGINEERS, -0.5, member=True)], None, "left"),
        ([joined(), left(), account("u", -0.5, usable=True)], None, "left"),
        ([joined(), left(), moved("m", -0.5, profile="engineer", profile_said=True)], None, "left"),
        ([joined(), left(), joined("again", -0.5)], "analyst", "default"),
        ([left(hours=-1), joined("late", -2)], None, "left"),
        ([left(hours=-1), joined("same-moment", -1)], None, "left"),
        ([joined("same-moment", -1), left(hours=-1)], None, "left"),
    ],
)  # fmt: skip
def test_the_rules_one_by_one(events, profile, because):
    for telling in (events, events[::-1]):
        entitlement = judge_entitlement(after(*telling).facts, catalog(), NOW)
        assert entitlement.profile == profile
        assert because in entitlement.because
        assert entitlement.entitled is (profile is not None)


@pytest.mark.parametrize(
    ("states", "cause"),
    [
        ([AccountState.SUSPENDED], Cause.ACCOUNT_SUSPENDED),
        ([AccountState.SUSPENDED, AccountState.DELETED], Cause.ACCOUNT_DELETED),
        ([AccountState.SUSPENDED, AccountState.ARCHIVED], Cause.ACCOUNT_ARCHIVED),
        ([AccountState.SUSPENDED, AccountState.DISABLED], Cause.ACCOUNT_DISABLED),
        ([AccountState.SUSPENDED, AccountState.ARCHIVED, AccountState.DELETED], Cause.ACCOUNT_DELETED),
    ],
)
def test_a_suspended_account_that_is_also_deleted_is_no_pause(states, cause):
    said = [
        replace(account(state.value, -3 + 0.1 * number, usable=False), state=state)
        for number, state in enumerate(states)
    ]
    for telling in itertools.permutations([joined(groups=(ANALYSTS,)), *said]):
        assert judge_entitlement(after(*telling).facts, catalog(), NOW).cause is cause


def test_the_reason_names_the_event_that_decides():
    facts = after(joined("hr-1", groups=()), group("ws-7", ANALYSTS, -3, member=True)).facts
    assert "ws-7" in judge_entitlement(facts, catalog(), NOW).because


def test_without_a_default_whoever_names_no_profile_gets_what_the_groups_give():
    bare = catalog(default_profile=None)
    assert judge_entitlement(after(joined()).facts, bare, NOW).profile is None
    assert "no default" in judge_entitlement(after(joined()).facts, bare, NOW).because
    asked = after(joined(profile="", groups=(ENGINEERS,))).facts
    assert judge_entitlement(asked, bare, NOW).profile == "engineer"


def test_groups_of_equal_priority_are_decided_by_name_whatever_their_order():
    made = catalog()
    equal = tuple(replace(a, priority=5) for a in made.assignments)
    facts = after(joined(groups=(ANALYSTS, ENGINEERS))).facts
    for order in (equal, equal[::-1]):
        assert judge_entitlement(facts, catalog(assignments=order), NOW).profile == "analyst"


def test_an_unknown_profile_is_named_and_entitles_to_nothing_new():
    entitlement = judge_entitlement(after(joined(profile="analyst")).facts, catalog(profiles={}), NOW)
    assert entitlement.unknown_profile == "analyst"
    assert not entitlement.entitled


def test_nothing_known_entitles_to_nothing():
    assert not judge_entitlement(Facts.none(), catalog(), NOW).entitled


# --- movers and leavers by groups ---


def test_leaving_one_entitling_group_while_in_a_second_is_a_mover():
    before = after(joined(groups=(ANALYSTS, ENGINEERS)))
    then = with_wanted(with_event(before, group("g", ENGINEERS, -1, member=False)), policy(), NOW)
    assert (before.spec.profile, then.spec.profile) == ("engineer", "analyst")
    assert then.spec.presence is Presence.PRESENT
    assert then.spec.power is Power.RUNNING
    assert then.status.notebook.instance_id == before.status.notebook.instance_id


def test_leaving_a_lower_group_while_in_a_higher_changes_nothing_that_counts():
    before = after(joined(groups=(ANALYSTS, ENGINEERS)))
    then = with_wanted(with_event(before, group("g", ANALYSTS, -1, member=False)), policy(), NOW)
    assert then.spec == before.spec
    assert then.status.generation == before.status.generation


def test_leaving_the_last_group_is_leaving():
    before = after(joined(groups=(ANALYSTS,)))
    then = with_wanted(with_event(before, group("g", ANALYSTS, -1, member=False)), policy(), NOW)
    assert then.spec.presence is Presence.ABSENT
    assert then.spec.absent_since == NOW
    assert then.spec.profile == "analyst"  # the tombstone says what it was


# --- dates to come ---


def profile_at(hour: float, *events) -> str | None:
    facts = after(*events).facts
    return judge_entitlement(facts, catalog(), at(hour)).profile


def test_a_joiner_of_a_later_date_gets_nothing_before_it():
    event = joined("j", -5, effective=10, groups=(ANALYSTS,))
    assert [profile_at(h, event) for h in (0, 9.99, 10, 100)] == [None, None, "analyst", "analyst"]
    assert after(event).facts.next_change(NOW) == at(10)


def test_a_leaver_of_a_later_date_keeps_everything_until_then():
    events = joined("j", -50), left("l", -5, effective=10)
    assert [profile_at(h, *events) for h in (0, 9.99, 10, 100)] == ["analyst", "analyst", None, None]
    assert after(*events).facts.next_change(NOW) == at(10)


def test_a_leaver_of_a_later_date_is_taken_back_by_a_later_joiner():
    events = joined("j", -50), left("l", -5, effective=10), joined("stays", -4)
    for telling in itertools.permutations(events):
        assert [profile_at(h, *telling) for h in (0, 10, 100)] == ["analyst"] * 3


def test_a_leaver_is_brought_forward_by_a_later_leaver():
    events = joined("j", -50), left("l", -5, effective=10), left("sooner", -4, effective=5)
    for telling in itertools.permutations(events):
        assert [profile_at(h, *telling) for h in (0, 5, 10)] == ["analyst", None, None]


def test_a_leaver_is_put_off_by_a_later_leaver():
    """The second leaver was stated while the first was still to come, so the first never takes effect."""
    events = joined("j", -50), left("l", -5, effective=10), left("later", -4, effective=20)
    for telling in itertools.permutations(events):
        assert [profile_at(h, *telling) for h in (0, 10, 19, 20)] == ["analyst", "analyst", "analyst", None]


def test_a_leaver_is_put_off_by_a_joiner_and_a_new_leaver():
    events = joined("j", -50), left("l", -5, effective=10), joined("stays", -4), left("then", -3, effective=20)
    for telling in itertools.permutations(events):
        assert [profile_at(h, *telling) for h in (0, 10, 19, 20)] == ["analyst", "analyst", "analyst", None]


def test_a_joiner_of_a_later_date_is_taken_back_by_a_later_leaver():
    events = joined("j", -5, effective=10), left("never-comes", -4)
    for telling in itertools.permutations(events):
        assert [profile_at(h, *telling) for h in (0, 10, 100)] == [None] * 3


def test_a_tombstone_is_not_resurrected_by_a_late_joiner_of_a_later_date():
    events = joined("j", -50), left("l", -1), joined("late", -5, effective=10)
    for telling in itertools.permutations(events):
        assert [profile_at(h, *telling) for h in (0, 10, 100)] == [None] * 3


def test_a_second_leave_that_is_dated_back_brings_nobody_in_whom_the_first_kept_out():
    """The joiner was still to come when the first leave was said, and has begun when the second is."""
    record = new_record(ANA, at(0))
    joiner = replace(joined("j", 0, effective=0.5, groups=(ANALYSTS,)), explicit=True)
    first = replace(left("l1", -24, effective=-23.5), published_at=at(0.1))
    second = replace(left("l2", -1, effective=-0.5), published_at=at(24))
    for event, hour in ((joiner, 0), (first, 0.1), (second, 24)):
        record = told(record, event, at(hour))
        assert with_wanted(record, policy(), at(hour)).spec.presence is Presence.ABSENT
    assert with_wanted(record, policy(), at(25)).spec.presence is Presence.ABSENT


def test_the_names_stay_when_somebody_comes_back():
    gone = after(joined(groups=(ANALYSTS,)), left())
    back = with_wanted(with_event(gone, joined("again", -0.5, groups=(ANALYSTS,))), policy(), NOW)
    assert gone.spec.presence is Presence.ABSENT
    assert back.spec.presence is Presence.PRESENT
    assert back.spec.power_reason.cause is PowerCause.JOINED
    assert back.email == ANA
