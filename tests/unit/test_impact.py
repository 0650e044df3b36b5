"""What a change does to people, said before it is done."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from kit.inprocess import local_settings
from msgspec.structs import replace

from shared.domain.intent.wanted import new_record, with_event, with_wanted
from shared.domain.notebook.creation import spec_of
from shared.domain.notebook.differences import immutables
from shared.domain.people.entitlement import Cause
from shared.domain.people.events import Joined, Left
from shared.domain.plan.guard_settings import GuardSettings
from shared.domain.policy import impact
from shared.domain.policy.effect import Basis, Part, StepKind, effect_of
from shared.domain.policy.impact import Excess, Fleet, Limit, differing, excesses, impact_of, policy_excesses
from shared.domain.things.catalog import Assignment, Disk, Identity
from shared.domain.things.identity import parse_email
from shared.domain.things.notebook import Network
from shared.domain.things.power import NOTEBOOK, Usage

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
GROUP = "analysts@example.com"
_OWN = local_settings().policy()
POLICY = replace(
    _OWN,
    cuts_wait=False,
    catalog=replace(
        _OWN.catalog,
        assignments=(Assignment(group=GROUP, profile="analyst", priority=1),),
        profiles={name: replace(each, hourly_cost=1.0) for name, each in _OWN.catalog.profiles.items()},
    ),
)


def person(number=0, *, left=False, built=True):
    email = parse_email(f"person.{number}@example.com")
    record = new_record(email, NOW - timedelta(days=40))
    said = {"user": email, "occurred_at": NOW - timedelta(days=30), "effective_at": NOW - timedelta(days=30)}
    record = with_event(record, Joined(event_id="e1", groups=frozenset({GROUP}), **said), NOW)
    record = with_wanted(record, POLICY, NOW - timedelta(days=30))
    if built:
        record = record.with_status(was_active=True, instance_uid="u", built_from=immutables(spec_of(record, POLICY)))
    if left:
        gone = {**said, "occurred_at": NOW - timedelta(days=5), "effective_at": NOW - timedelta(days=5)}
        record = with_wanted(with_event(record, Left(event_id="e2", **gone), NOW), POLICY, NOW - timedelta(days=5))
    return record


def with_profile(**fields):
    profiles = {**POLICY.catalog.profiles, "analyst": replace(POLICY.catalog.profiles["analyst"], **fields)}
    return replace(POLICY, catalog=replace(POLICY.catalog, profiles=profiles))


def with_assignments(*assignments):
    return replace(POLICY, catalog=replace(POLICY.catalog, assignments=assignments))


TYPO = with_assignments(Assignment(group="analyst@example.com", profile="analyst", priority=1))


def steps(record, after):
    effect = effect_of(record, POLICY, after, NOW)
    return set() if effect is None else set(effect.steps)


def test_nothing_changed_is_no_effect():
    assert effect_of(person(), POLICY, POLICY, NOW) is None


def test_a_typo_in_a_group_takes_access_and_says_why():
    effect = effect_of(person(), POLICY, TYPO, NOW)
    assert set(effect.steps) == {StepKind.LOSES_ACCESS}
    assert (effect.cause, effect.parts, effect.group_before) == (Cause.NO_GROUP, (Part.ASSIGNMENTS,), GROUP)
    assert (effect.cost_before, effect.cost_after, effect.basis) == (160.0, 0.0, Basis.ASSUMED)
    assert effect.takes


@pytest.mark.parametrize("interrupts", [True, False])
def test_an_earlier_idle_stop_takes_something_from_whoever_it_interrupts_and_from_nobody_else(interrupts):
    effect = replace(effect_of(person(), POLICY, TYPO, NOW), steps=(StepKind.IDLE_SOONER,), interrupts=interrupts)
    assert effect.takes is interrupts


def test_another_profile_is_what_it_takes_to_get_there():
    after = with_assignments(Assignment(group=GROUP, profile="engineer", priority=1))
    assert {StepKind.CHANGES_PROFILE, StepKind.UPDATED} <= steps(person(), after)


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (with_profile(machine_type="n2-standard-16"), {StepKind.UPDATED}),
        (with_profile(labels={"team": "x"}), {StepKind.PATCHED}),
        (with_profile(identity=Identity.PERSONAL_SERVICE_ACCOUNT), {StepKind.REPLACED}),
        (with_profile(data_disk=Disk(size_gb=500, type="PD_SSD")), {StepKind.REPLACED, StepKind.DISK}),
        (with_profile(templates=()), {StepKind.TEMPLATES}),
        (with_profile(hourly_cost=2.0), set()),
        (with_profile(title="Another"), set()),
        (
            with_profile(idle=replace(POLICY.catalog.profiles["analyst"].idle, timeout=timedelta(minutes=10))),
            {StepKind.IDLE_SOONER, StepKind.PATCHED},
        ),
        (
            with_profile(idle=replace(POLICY.catalog.profiles["analyst"].idle, dormant_after=timedelta(days=40))),
            {StepKind.IDLE_SOONER},
        ),
        (
            replace(POLICY, network=Network(network="projects/p/global/networks/n", subnet="")),
            {StepKind.REPLACED},
        ),
    ],
)
def test_a_changed_profile_says_what_it_does_to_an_instance(after, expected):
    assert steps(person(), after) == expected


def test_nobody_without_an_instance_is_replaced():
    assert steps(person(built=False), with_profile(machine_type="n2-standard-16")) == set()


def test_a_shorter_retention_is_about_leavers_who_have_something():
    after = replace(POLICY, retention=timedelta(days=1))
    assert steps(person(left=True), after) == {StepKind.DELETED_SOONER}
    assert steps(person(left=True, built=False), after) == set()
    assert steps(person(), after) == set()
    assert steps(person(left=True), replace(POLICY, retention=timedelta(days=99))) == set()


def test_news_are_judged_by_the_same_rules():
    record = person()
    told = with_event(record, Left(event_id="e9", user=record.email, occurred_at=NOW, effective_at=NOW), NOW)
    effect = effect_of(record, POLICY, POLICY, NOW, told=told)
    assert (effect.cause, effect.parts, effect.steps) == (Cause.LEFT, (Part.NEWS,), (StepKind.LOSES_ACCESS,))


def test_hours_are_measured_where_they_were():
    used = person().with_status(usage={NOTEBOOK: Usage(month="2026-11", ran_s=195 * 360)})
    effect = effect_of(used, POLICY, TYPO, NOW)  # 19.5 hours in 19.5 days
    assert (effect.cost_before, effect.basis) == (30.0, Basis.MEASURED)
    new = replace(used, created_at=NOW - timedelta(days=2))
    assert effect_of(new, POLICY, TYPO, NOW).basis is Basis.ASSUMED
    before = person().with_status(usage={NOTEBOOK: Usage(month="2026-10", ran_s=3600)})
    assert effect_of(before, POLICY, TYPO, NOW).basis is Basis.LAST_MONTH


def test_the_digest_is_the_same_whatever_the_order_and_changes_with_what_it_binds():
    effects = [effect_of(person(n), POLICY, TYPO, NOW) for n in range(5)]
    whole = impact_of(effects)
    random.shuffle(effects)
    assert impact_of(effects).digest == whole.digest
    assert impact_of(effects[1:]).digest != whole.digest
    dearer = impact_of([replace(effects[0], cost_before=99.0), *effects[1:]])
    assert dearer.digest == whole.digest
    assert impact.from_json(impact.to_json(whole)) == whole


def test_who_differs_from_the_approved_list_is_told():
    effects = [effect_of(person(n), POLICY, TYPO, NOW) for n in range(3)]
    other = replace(effects[2], steps=(StepKind.REPLACED,))
    assert differing(impact_of(effects[:2]), impact_of([*effects[:2], other])) == (other,)


def of_fleet(count, after, **more):
    records, fleet = [person(n, **more) for n in range(count)], Fleet()
    for record in records:
        fleet.add(with_wanted(record, POLICY, NOW))
    return impact_of(effect_of(each, POLICY, after, NOW) for each in records), fleet


def test_of_a_group_of_five_all_may_go_and_of_twelve_six():
    assert excesses(*of_fleet(5, TYPO), GuardSettings()) == ()
    assert excesses(*of_fleet(12, TYPO), GuardSettings()) == (
        Excess(Limit.GROUP, 12, 6, GROUP),
        Excess(Limit.PROFILE, 12, 6, "analyst"),
    )


def test_of_a_fleet_twenty_may_go():
    found = excesses(*of_fleet(21, TYPO), replace(GuardSettings(), group_from=1000))
    assert found == (Excess(Limit.FLEET, 21, 20),)


def test_leavers_are_counted_among_themselves():
    found = excesses(*of_fleet(8, replace(POLICY, retention=timedelta(seconds=1)), left=True), GuardSettings())
    assert found == (Excess(Limit.LEAVERS, 8, 4, "analyst"),)


def test_what_is_given_has_a_limit_of_its_own():
    gained, fleet = of_fleet(4, TYPO)
    gained = impact_of(replace(e, steps=(StepKind.GAINS_ACCESS,), had_access=False) for e in gained.entries)
    assert excesses(gained, fleet, replace(GuardSettings(), creations=3)) == (Excess(Limit.CREATIONS, 4, 3),)
    assert excesses(gained, fleet, replace(GuardSettings(), creations=4)) == ()


def test_what_takes_nothing_is_never_above_a_limit():
    assert excesses(*of_fleet(30, with_profile(labels={"team": "x"})), GuardSettings()) == ()


def test_a_looser_guard_waits_although_it_touches_nobody():
    after = replace(POLICY, guard=replace(POLICY.guard, approvers=1))
    assert policy_excesses(impact_of([]), Fleet(), POLICY, after) == (Excess(Limit.GUARD, 0, 0),)
    assert policy_excesses(impact_of([]), Fleet(), after, POLICY) == ()
