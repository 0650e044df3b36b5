"""From facts to what is wanted: idempotent, names given once, mistakes in the configuration take nothing away."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.making import (
    ANA,
    ANALYSTS,
    ENGINEERS,
    NOW,
    ZONES,
    account,
    after,
    at,
    catalog,
    group,
    joined,
    left,
    moved,
    person,
    policy,
    with_event,
)
from msgspec.structs import replace

from shared.domain.intent.wanted import with_hold, with_power, with_wanted
from shared.domain.people.events import AccountChanged, AccountState, Left
from shared.domain.record.record import Hold, Power, Presence
from shared.domain.record.status import Notice
from shared.domain.things.identity import instance_id_for, parse_email, user_key_for
from shared.domain.things.power import PowerCause, PowerReason

_NEWS = st.lists(
    st.one_of(
        st.builds(
            joined,
            st.uuids().map(str),
            st.integers(-50, 50),
            effective=st.none() | st.integers(-50, 50),
            groups=st.none() | st.lists(st.sampled_from([ANALYSTS, ENGINEERS]), max_size=2).map(tuple),
            profile=st.sampled_from([None, "", "analyst", "engineer", "lost"]),
            attributes=st.dictionaries(st.sampled_from(["cost_center", "manager"]), st.text(max_size=5)),
        ),
        st.builds(left, st.uuids().map(str), st.integers(-50, 50), effective=st.none() | st.integers(-50, 50)),
        st.builds(group, st.uuids().map(str), st.just(ANALYSTS), st.integers(-50, 50), member=st.booleans()),
        st.builds(account, st.uuids().map(str), st.integers(-50, 50), usable=st.booleans()),
        st.builds(moved, st.uuids().map(str), st.integers(-50, 50), profile=st.just(None), profile_said=st.booleans()),
    ),
    max_size=8,
)


@given(_NEWS, st.lists(st.integers(-60, 60), min_size=1, max_size=4))
def test_asking_again_what_is_wanted_changes_nothing(news, hours):
    record = after(*news)
    for hour in sorted(hours):
        record = with_wanted(record, policy(), at(hour))
        assert with_wanted(record, policy(), at(hour)) == record


def test_who_got_a_new_address_before_anything_was_named_is_named_by_the_first():
    renamed = replace(after(), email=parse_email("new@example.com"), email_since=NOW)
    record = with_wanted(with_event(renamed, joined(groups=(ANALYSTS,))), policy(), NOW)
    assert record.status.notebook.instance_id == f"nb-{record.user_key}" == instance_id_for(ANA)


@given(_NEWS)
def test_who_is_to_have_an_environment_has_a_name_a_zone_and_a_profile(news):
    record = after(*news)
    if record.spec.presence is Presence.PRESENT:
        assert record.status.notebook.instance_id == instance_id_for(record.email)
        assert record.status.notebook.zone in ZONES
        assert record.spec.profile is not None
        assert record.spec.absent_since is None
    else:
        assert record.spec.power is Power.STOPPED
        assert record.spec.absent_since is not None


@given(_NEWS)
def test_hearing_news_twice_is_hearing_it_once(news):
    """An old leave that was dropped beside a newer one may be kept when it is heard again after a joiner that came later.

    It then says from what the user returned, or which joiner never took effect; it changes nothing that is wanted, and once kept it stays.
    """
    record = after(*news)
    again = record
    for event in news:
        again = with_event(again, event)
    dropped = {event.event_id for event in news if isinstance(event, Left)} - _kept(record)
    assert again is record or _kept(again) - _kept(record) <= dropped
    assert with_wanted(again, policy(), NOW).spec == record.spec
    once_more = again
    for event in news:
        once_more = with_event(once_more, event)
    assert once_more is again


def _kept(record):
    return {statement.event_id for timeline in record.facts.timelines.values() for statement in timeline}


def test_a_new_joiner_is_wanted_running_in_the_preferred_zone():
    record = after(joined(groups=(ANALYSTS,), attributes={"cost_center": "CC-1"}))
    assert record.user_key == user_key_for(record.email)
    assert (record.spec.presence, record.spec.power, record.spec.profile) == (
        Presence.PRESENT,
        Power.RUNNING,
        "analyst",
    )
    assert record.status.notebook.zone == ZONES[0]
    assert record.cost_center == "CC-1"
    assert record.is_due(NOW)


def test_a_stored_name_and_zone_are_never_recomputed():
    record = person(instance_id="nb-from-long-ago", zone="europe-west1-d")
    record = with_wanted(with_event(record, moved(groups=(ENGINEERS,))), policy(), NOW)
    assert record.spec.profile == "engineer"
    assert (record.status.notebook.instance_id, record.status.notebook.zone) == ("nb-from-long-ago", "europe-west1-d")


def test_a_mover_raises_the_generation_and_keeps_the_power():
    before = person(power=Power.STOPPED)
    then = with_wanted(with_event(before, moved(groups=(ENGINEERS,))), policy(), NOW)
    assert then.status.generation == before.status.generation + 1
    assert then.spec.power is Power.STOPPED
    assert then.status.notebook.power_settled


def test_news_that_changes_nothing_that_counts_leaves_the_generation():
    before = person()
    then = with_wanted(with_event(before, moved(attributes={"manager": "m@example.com"})), policy(), NOW)
    assert then.status.generation == before.status.generation
    assert then.status.inbox.last_event_id == "m"


def test_a_new_cost_centre_counts():
    before = person()
    then = with_wanted(with_event(before, moved(attributes={"cost_center": "CC-2"})), policy(), NOW)
    assert then.cost_center == "CC-2"
    assert then.status.generation == before.status.generation + 1


def test_a_leaver_starts_anew_what_was_tried():
    before = person(attempts=4, not_before=NOW + timedelta(hours=1), failed_zones=(ZONES[0],))
    then = with_wanted(with_event(before, left()), policy(), NOW)
    assert then.spec.absent_since == NOW
    assert (then.status.attempts, then.status.notebook.not_before, then.status.notebook.failed_zones) == (0, None, ())
    assert not then.status.notebook.power_settled


def test_the_retention_counts_from_the_end_of_entitlement_not_from_the_last_look():
    gone = with_wanted(with_event(person(), left()), policy(), NOW)
    later = with_wanted(gone, policy(), at(48))
    assert later.spec.absent_since == NOW


def test_coming_back_wants_the_environment_running_again():
    back = with_wanted(with_event(person(Presence.ABSENT, Power.STOPPED), joined("again", -0.5)), policy(), NOW)
    assert (back.spec.presence, back.spec.power) == (Presence.PRESENT, Power.RUNNING)
    assert not back.status.notebook.power_settled
    assert back.spec.absent_since is None


def test_a_profile_lost_from_the_configuration_takes_nothing_from_who_has_it():
    before = after(joined(profile="engineer"))
    poorer = policy(catalog=catalog(profiles={"analyst": catalog().profiles["analyst"]}))
    then = with_wanted(before, poorer, NOW)
    assert then.spec == before.spec
    assert then.status.entitling_digest == poorer.catalog.entitling_digest


def test_a_profile_lost_from_the_configuration_does_not_keep_a_leaver():
    before = after(joined(profile="engineer"))
    poorer = policy(catalog=catalog(profiles={"analyst": catalog().profiles["analyst"]}))
    assert with_wanted(with_event(before, left()), poorer, NOW).spec.presence is Presence.ABSENT


def test_a_group_that_is_assigned_no_more_ends_access():
    before = after(joined(groups=(ENGINEERS,)))
    fewer = policy(catalog=catalog(assignments=catalog().assignments[:1]))
    assert with_wanted(before, fewer, NOW).spec.presence is Presence.ABSENT
    assert fewer.catalog.entitling_digest != policy().catalog.entitling_digest


def test_another_power_is_a_new_request():
    before = with_wanted(person(), policy(), NOW)
    then = with_power(before, Power.STOPPED, PowerReason(cause=PowerCause.STOPPED_BY_PERSON))
    assert not then.status.notebook.power_settled
    assert then.status.generation == before.status.generation + 1
    assert then.spec.power_reason.cause is PowerCause.STOPPED_BY_PERSON
    assert with_wanted(then, policy(), NOW) == then


def test_whoever_moves_to_another_group_is_entitled_by_that_one_from_then_on():
    """A group that goes takes access from whoever the record says it entitles."""
    record = with_wanted(after(group("a", ANALYSTS, -2, member=True)), policy(), NOW)
    assert record.spec.entitled_by == ANALYSTS
    record = with_wanted(with_event(record, group("b", ENGINEERS, -1, member=True)), policy(), NOW)
    assert (record.spec.presence, record.spec.entitled_by) == (Presence.PRESENT, ENGINEERS)


def test_a_hold_and_its_release_are_changes_of_what_is_wanted_and_the_same_again_is_none():
    """A pass that was planned before has not seen them: it is told by the generation."""
    before, hold = person(), Hold(reason="case 1", since=NOW)
    held = with_hold(before, hold)
    assert held.status.generation == before.status.generation + 1
    assert with_hold(held, replace(hold, since=at(1))) is held
    assert with_hold(held, None).status.generation == before.status.generation + 2


@pytest.mark.parametrize(("hired", "is_told"), [(-3, False), (-1, True)])
def test_whoever_is_hired_after_the_account_was_deleted_is_named_to_an_administrator(hired, is_told):
    deleted = AccountChanged(
        event_id="d", user=ANA, occurred_at=at(-2), effective_at=at(-2), state=AccountState.DELETED, holds=True
    )
    record = with_wanted(after(joined("j", hired, groups=(ANALYSTS,)), deleted), policy(), NOW)
    assert record.spec.presence is Presence.ABSENT
    assert (Notice.DELETED_BUT_JOINED in record.status.notices) is is_told
