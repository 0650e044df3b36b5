"""Which records need a pass, judged from listings; strays are named, never touched."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.making import NOW, ZONES, catalog, notebook, operation, person, policy, seen

from shared.domain.drift import Listed, strays, why_pass
from shared.domain.identity import UserEmail, instance_id_for, user_key_for
from shared.domain.notebook import LABEL_MANAGED_BY, LABEL_USER, InstanceRef, NotebookState
from shared.domain.planner import make_plan
from shared.domain.record import Power, Presence, Verb, row_of
from shared.domain.template import wanted_templates

S = NotebookState


def listed(record, sight, *, unreachable=(), templates=None):
    return Listed(
        notebooks={} if sight is None else {sight.ref.zone: sight},
        templates=wanted_templates(record, policy()) if templates is None else templates,
        unreachable=frozenset(unreachable),
    )


def why(record, sight, *, rules=None, now=NOW, **more):
    return why_pass(row_of(record), listed(record, sight, **more), rules or policy(), now)


def test_a_world_in_line_needs_no_pass():
    assert why(person(), notebook()) is None
    assert why(person(power=Power.STOPPED), notebook(S.STOPPED)) is None
    assert why(person(Presence.ABSENT, Power.STOPPED), notebook(S.STOPPED)) is None
    assert why(person(Presence.ABSENT, Power.STOPPED), None) is None


GONE = person(Presence.ABSENT, Power.STOPPED)


@pytest.mark.parametrize(
    ("record", "sight", "more", "expected"),
    [
        (person(observed_generation=2), notebook(), {}, "not looked at yet"),
        (person(next_attempt_at=NOW - timedelta(minutes=6)), notebook(), {}, "wake-up was lost"),
        (person(entitling_digest="old"), notebook(), {}, "assignments changed"),
        (person(), notebook(), {"templates": {}}, "template objects differ"),
        (GONE, None, {"templates": {"spark": "x"}}, "template objects differ"),
        (person(), None, {}, "instance is gone"),
        (person(), notebook(S.STOPPED), {}, "wanted RUNNING, and the instance is STOPPED"),
        (person(power=Power.STOPPED), notebook(), {}, "wanted STOPPED, and the instance is ACTIVE"),
        (GONE, notebook(), {}, "not entitled, and the instance is ACTIVE"),
        (person(), notebook(labels={LABEL_USER: "x"}), {}, "labels, metadata or machine differ"),
        (person(power=Power.STOPPED), notebook(S.STOPPED, machine_type="n1"), {}, "labels, metadata or machine differ"),
        (person(), notebook(machine_type="n1-standard-1"), {}, None),  # waits until it is stopped
        (person(), None, {"unreachable": [ZONES[0]]}, None),  # not listed is not absent
        (GONE, notebook(), {"unreachable": [ZONES[0]]}, None),
        (person(operation=operation(Verb.CREATE)), None, {}, None),  # the tick follows it
        (person(next_attempt_at=NOW + timedelta(minutes=1)), None, {}, None),
        (person(next_attempt_at=NOW - timedelta(minutes=4)), None, {}, None),
    ],
)
def test_why_a_record_needs_a_pass(record, sight, more, expected):
    found = why(record, sight, **more)
    assert found is None if expected is None else expected in found


def test_a_profile_that_is_gone_touches_no_templates():
    rules = policy(catalog=catalog(profiles={}))
    record = person(entitling_digest=rules.catalog.entitling_digest())
    assert why(record, notebook(), rules=rules, templates={"anything": "x"}) is None


def test_a_wake_up_at_the_end_of_time_is_not_late():
    last = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert why(person(next_attempt_at=last), notebook()) is None


@given(
    st.sampled_from([(Presence.PRESENT, Power.RUNNING), (Presence.PRESENT, Power.STOPPED), (GONE.spec.presence, Power.STOPPED)]),
    st.none() | st.sampled_from(S),
    st.sampled_from([notebook().metadata, {}]),
    st.sampled_from(["e2-standard-4", "n1-standard-1"]),
)  # fmt: skip
def test_what_a_plan_would_do_at_once_the_sweep_finds(wanted, state, metadata, machine):
    """The sweep may ask for a pass too many, never for one too few."""
    record = person(*wanted, was_active=state is not None)
    sight = None if state is None else notebook(state, metadata=metadata, machine_type=machine)
    observed = seen(sight, record=record) if sight is not None else None
    if observed is None:
        assert (why(record, None) is not None) == (wanted[0] is Presence.PRESENT)
        return
    if make_plan(record, observed, policy(), NOW).actions:
        assert why(record, sight) is not None


def test_strays_are_named_with_their_reason():
    record = person()
    rows = {record.user_key: row_of(record)}
    other = UserEmail("else@example.com")
    elsewhere = replace(notebook(), ref=InstanceRef(instance_id=record.status.instance_id, zone=ZONES[1]))
    recordless = notebook(
        ref=InstanceRef(instance_id=instance_id_for(other), zone=ZONES[0]),
        labels={LABEL_MANAGED_BY: "benchkeeper", LABEL_USER: user_key_for(other)},
    )
    unlabelled = notebook(labels={})
    foreign = notebook(ref=InstanceRef(instance_id="my-own", zone=ZONES[0]), labels={})
    found = strays(rows, (notebook(), elsewhere, recordless, unlabelled, foreign))
    assert [(s.zone, s.name, s.why) for s in found] == [
        (ZONES[1], record.status.instance_id, "is not where its user's record says"),
        (ZONES[0], instance_id_for(other), "carries our labels and has no record"),
        (ZONES[0], record.status.instance_id, "has our name without our labels"),
    ]
