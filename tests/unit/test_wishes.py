"""What people may ask for: within their profile, once, and said so when it is not to be had."""

from __future__ import annotations

from datetime import timedelta

import pytest
from kit.making import ANALYSTS, ENGINEERS, NOW, ZONES, catalog, group, left, person, policy, profile, with_event
from msgspec.structs import replace

from shared.domain.intent.wanted import with_wanted
from shared.domain.intent.wish import with_asked_power, with_keep_on, with_wish, without_wish
from shared.domain.record.record import Power, Presence
from shared.domain.record.status import ConditionStatus, ConditionType, set_condition
from shared.domain.things.catalog import IdleSettings, MasterTemplate, SparkSettings
from shared.domain.things.clusters import ClusterState, ClusterStatus, ClusterWish
from shared.domain.things.errors import Reason, RefusedError
from shared.domain.things.power import PowerCause, PowerReason

LATER = NOW + timedelta(minutes=5)
ASKED = PowerReason(cause=PowerCause.STARTED_BY_PERSON)
TEMPLATES = ("big", "notes", "spark")


def offering(*names, most=2, **idle):
    settings = IdleSettings(timeout=timedelta(hours=3), max_blind=timedelta(hours=24), **idle)
    made = {"templates": names, "spark": SparkSettings(max_clusters=most), "idle": settings}
    masters = {name: MasterTemplate(name=name, text="config: {}\n") for name in TEMPLATES}
    profiles = {"analyst": profile("analyst", **made), "engineer": profile("engineer", templates=("spark",))}
    return catalog(profiles=profiles, masters=masters)


CATALOG = offering(*TEMPLATES)


def wished(record, *templates, rules=CATALOG, now=NOW):
    for template in templates:
        record = with_wish(record, template, rules, now)
    return record


def there(record, template, **more):
    """As after passes: the template's cluster is there."""
    known = replace(record.status.cluster(template), asked_at=NOW, **more)
    return record.with_status(clusters=tuple(known if c.template == template else c for c in record.status.clusters))


def test_a_wish_names_the_cluster_once_and_is_new_work():
    record = wished(person(), "spark")
    assert record.spec.clusters == (ClusterWish(template="spark", since=NOW),)
    assert record.status.cluster("spark").name.startswith("spark-")
    assert record.status.generation == person().status.generation + 1
    named = ClusterStatus(template="spark", name="as-it-was-named-then")
    assert wished(person(clusters=(named,)), "spark").status.cluster("spark").name == "as-it-was-named-then"


@pytest.mark.parametrize("state", [None, ClusterState.CREATING])
def test_a_second_click_while_it_is_made_changes_nothing(state):
    record = there(wished(person(), "spark"), "spark", state=state)
    assert with_wish(record, "spark", CATALOG, LATER) is record


def test_a_click_on_one_that_runs_is_a_new_wish_for_the_same():
    record = there(wished(person(), "spark"), "spark", seen_running_at=NOW, state=ClusterState.RUNNING)
    again = with_wish(record, "spark", CATALOG, LATER)
    assert again.spec.clusters == (ClusterWish(template="spark", since=LATER),)
    assert len(again.status.clusters) == 1


def test_a_new_wish_forgets_why_the_last_one_failed():
    failed = ClusterStatus(template="spark", name="s", diagnosis="quota", tries=3)
    known = wished(person(clusters=(failed,)), "spark").status.cluster("spark")
    assert (known.diagnosis, known.tries) == ("", 3)


def test_as_many_as_the_profile_says_those_that_go_included():
    record = wished(person(), "spark", "notes")
    with pytest.raises(RefusedError, match="2 clusters wanted and 0 going, 2 allowed") as caught:
        with_wish(record, "big", CATALOG, NOW)
    assert caught.value.user_message.startswith("You may have 2 Spark clusters at a time.")
    going = without_wish(there(record, "spark", seen_running_at=NOW), "spark")
    with pytest.raises(RefusedError, match="1 clusters wanted and 1 going"):
        with_wish(going, "big", CATALOG, NOW)
    assert wished(going, "spark").spec.wish("spark") is not None  # its own place
    gone = without_wish(record, "spark")
    assert {w.template for w in wished(gone, "big").spec.clusters} == {"big", "notes"}


@pytest.mark.parametrize(("most", "text"), [(0, "0 Spark clusters"), (1, "1 Spark cluster at")])
def test_a_profile_may_allow_one_or_none(most, text):
    rules = offering(*TEMPLATES, most=most)
    record = wished(person(), *TEMPLATES[:most], rules=rules)
    with pytest.raises(RefusedError) as caught:
        with_wish(record, "spark", rules, NOW)
    assert text in caught.value.user_message


@pytest.mark.parametrize(("names", "offered"), [(("notes", "spark"), "notes, spark"), ((), "none")])
def test_what_the_profile_does_not_offer_is_refused_with_what_it_does(names, offered):
    with pytest.raises(RefusedError) as caught:
        with_wish(person(), "big", offering(*names), NOW)
    assert caught.value.user_message == f"Your profile has no Spark environment 'big'. It has: {offered}."
    assert caught.value.reason is Reason.REFUSED


@pytest.mark.parametrize(
    "ask",
    [
        lambda record: with_wish(record, "spark", CATALOG, NOW),
        lambda record: with_keep_on(record, LATER, CATALOG, NOW),
        lambda record: with_asked_power(record, Power.RUNNING, CATALOG, ASKED),
    ],
)
@pytest.mark.parametrize("lost", [False, True])
def test_who_has_no_environment_or_a_profile_that_is_lost_is_told(ask, lost):
    gone = person(Presence.ABSENT, Power.STOPPED)
    record = replace(person(), spec=replace(person().spec, profile="lost")) if lost else gone
    with pytest.raises(RefusedError) as caught:
        ask(record)
    assert ("profile is missing" if lost else "no environment for you") in caught.value.user_message


def test_taking_back_what_was_not_asked_for_changes_nothing():
    record = wished(person(), "spark")
    assert without_wish(record, "notes") is record
    back = without_wish(record, "spark")
    assert (back.spec.clusters, back.status.generation) == ((), record.status.generation + 1)


# --- wishes and news


def test_a_leaver_wants_nothing_any_more():
    kept = with_keep_on(wished(person(), "spark"), LATER, CATALOG, NOW)
    gone = with_wanted(with_event(kept, left("l", -1)), policy(catalog=CATALOG), NOW)
    assert (gone.spec.presence, gone.spec.clusters, gone.spec.keep_on_until) == (Presence.ABSENT, (), None)


def test_a_mover_keeps_what_the_new_profile_offers_and_loses_the_rest():
    record = with_event(wished(person(), "spark", "notes"), group("g", ENGINEERS, -1, member=True))
    moved = with_wanted(record, policy(catalog=CATALOG), NOW)
    assert moved.spec.profile == "engineer"
    assert [w.template for w in moved.spec.clusters] == ["spark"]
    assert moved.status.generation > record.status.generation
    assert with_wanted(moved, policy(catalog=CATALOG), NOW) == moved


def test_a_profile_that_the_configuration_lost_takes_no_wish_away():
    record = replace(wished(person(), "spark"), spec=replace(wished(person(), "spark").spec, profile="lost"))
    rules = policy(catalog=replace(CATALOG, assignments=(replace(CATALOG.assignments[0], profile="lost"),)))
    assert with_wanted(record, rules, NOW).spec.wish("spark") is not None


def test_what_is_wanted_is_derived_the_same_twice():
    record = wished(person(), "spark")
    once = with_wanted(record, policy(catalog=CATALOG), NOW)
    assert once.spec.clusters == record.spec.clusters
    assert with_wanted(once, policy(catalog=CATALOG), LATER) == once
    assert ANALYSTS in once.spec.because


# --- keep on


def test_keeping_on_is_bounded_by_the_profile():
    rules = offering(*TEMPLATES, max_keep_on=timedelta(hours=2))
    until = NOW + timedelta(hours=2)
    record = with_keep_on(person(), until, rules, NOW)
    assert record.spec.keep_on_until == until
    assert with_keep_on(record, until, rules, LATER) is record
    with pytest.raises(RefusedError, match="keep on until") as caught:
        with_keep_on(person(), until + timedelta(seconds=1), rules, NOW)
    assert "2 hours at most" in caught.value.user_message
    assert with_keep_on(record, None, rules, NOW).spec.keep_on_until is None
    assert with_keep_on(person(), None, rules, NOW) == person()


@pytest.mark.parametrize("ago", [0, 1, 600])
def test_a_moment_that_is_over_is_refused(ago):
    with pytest.raises(RefusedError, match="keep on until"):
        with_keep_on(person(), NOW - timedelta(seconds=ago), CATALOG, NOW)


def test_a_stop_ends_keeping_on_and_a_start_does_not():
    record = with_keep_on(person(), LATER, CATALOG, NOW)
    assert with_asked_power(record, Power.STOPPED, CATALOG, ASKED).spec.keep_on_until is None
    stopped = replace(record, spec=replace(record.spec, power=Power.STOPPED))
    assert with_asked_power(stopped, Power.RUNNING, CATALOG, ASKED).spec.keep_on_until == LATER


# --- power


def stands(record, status, reason):
    conditions = set_condition((), ConditionType.NOTEBOOK_READY, status, reason, "x", NOW)
    return record.with_status(conditions=conditions)


def test_asking_again_while_it_is_under_way_or_reached_changes_nothing():
    under_way = person(settled=False)
    assert with_asked_power(under_way, Power.RUNNING, CATALOG, ASKED) is under_way
    reached = stands(person(), ConditionStatus.TRUE, Reason.READY)
    assert with_asked_power(reached, Power.RUNNING, CATALOG, ASKED) is reached
    rests = stands(person(power=Power.STOPPED), ConditionStatus.FALSE, Reason.IDLE)
    assert with_asked_power(rests, Power.STOPPED, CATALOG, ASKED) is rests


@pytest.mark.parametrize("reason", [Reason.STOPPED, Reason.IDLE, Reason.PENDING])
def test_one_that_rests_by_other_hands_is_started_anew(reason):
    """Wanted RUNNING and reached once, then stopped from outside: a click is a new request."""
    record = stands(person(not_before=LATER), ConditionStatus.FALSE, reason)
    asked = with_asked_power(record, Power.RUNNING, CATALOG, ASKED)
    assert not asked.status.notebook.power_settled
    assert asked.status.notebook.not_before is None
    assert asked.status.generation == record.status.generation + 1
    assert asked.spec.power_reason == ASKED
    assert asked.status.notebook.zone == ZONES[0]


def test_the_other_power_is_a_new_request():
    asked = with_asked_power(person(), Power.STOPPED, CATALOG, ASKED)
    assert (asked.spec.power, asked.status.notebook.power_settled) == (Power.STOPPED, False)


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (PowerReason(cause=PowerCause.STOPPED_BY_PERSON), "You stopped your notebook."),
        (PowerReason(cause=PowerCause.STOPPED_BY_ADMINISTRATOR), "An administrator stopped your notebook."),
        (PowerReason(cause=PowerCause.IDLE, since=NOW), f"nobody has used it since {NOW:%Y-%m-%d %H:%M} UTC."),
        (PowerReason(cause=PowerCause.UNSEEN, since=NOW), "no activity data has been available since"),
        (PowerReason(cause=PowerCause.OTHER, words="by hand"), "Your notebook is stopped: by hand."),
        (PowerReason(cause=PowerCause.JOINED), "Your notebook is stopped: joined."),
    ],
    ids=lambda value: value if isinstance(value, str) else value.cause,
)
def test_the_owner_is_told_why_the_notebook_rests(reason, said):
    assert said in reason.stopped()
