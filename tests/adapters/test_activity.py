"""Evidence of use from Cloud Monitoring: joined by the VM's id, never guessed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from kit.making import ANA, ZONES, profile

from shared.domain.things.errors import AccessDeniedError, CloudUnavailableError
from shared.domain.things.identity import InstanceId, UserEmail, instance_id_for, user_key_for
from shared.domain.things.notebook import InstanceRef, Network, ObservedNotebook, spec_for

WINDOW = timedelta(hours=1)
BEN = UserEmail("ben@example.com")


def instance(bench, owner: UserEmail) -> ObservedNotebook:
    spec = spec_for(
        owner=owner,
        user_key=user_key_for(owner),
        instance_id=instance_id_for(owner),
        profile=profile("analyst"),
        cost_center="",
        network=Network(),
    )
    bench.deps.notebooks.create(spec, ZONES[0], "")
    bench.advance(minutes=5)
    return bench.deps.notebooks.get(InstanceRef(instance_id=spec.instance_id, zone=ZONES[0]))


def say(bench, notebook, **what):
    bench.control("POST", "/_emulator/activity", {"instance": notebook.ref.instance_id, **what})


def read(bench, *notebooks, window=WINDOW):
    return bench.deps.activity.read(notebooks, window, bench.now)


def test_a_quiet_machine_is_seen_quiet_over_the_window(bench):
    ana = instance(bench, ANA)
    bench.advance(minutes=90)
    evidence = read(bench, ana)[ana.ref.instance_id]
    assert max(s.value for s in evidence.cpu) < 0.05
    assert evidence.requests is None, "a counter without requests has no points"
    ats = [s.at for s in evidence.cpu]
    assert ats == sorted(ats)
    assert bench.now - ats[0] > timedelta(minutes=45)
    assert bench.now - ats[-1] < timedelta(minutes=15)


def test_work_and_answers_are_seen_on_the_machine_that_does_them(bench):
    ana, ben = instance(bench, ANA), instance(bench, BEN)
    say(bench, ana, cpu=0.9, requests_per_minute=3)
    bench.advance(minutes=40)
    seen = read(bench, ana, ben)
    assert max(s.value for s in seen[ana.ref.instance_id].cpu) > 0.8
    assert max(s.value for s in seen[ana.ref.instance_id].requests) > 0
    assert max(s.value for s in seen[ben.ref.instance_id].cpu) < 0.05
    assert seen[ben.ref.instance_id].requests is None


def test_a_short_burst_is_not_averaged_away(bench):
    ana = instance(bench, ANA)
    bench.advance(minutes=20)
    say(bench, ana, cpu=1.0)
    bench.advance(minutes=1)
    say(bench, ana, cpu=0.0)
    bench.advance(minutes=20)
    assert max(s.value for s in read(bench, ana)[ana.ref.instance_id].cpu) > 0.9


def test_a_machine_without_evidence_says_so_instead_of_looking_idle(bench):
    known = instance(bench, ANA)
    unknown = ObservedNotebook(
        ref=InstanceRef(instance_id=InstanceId("nb-x-0123456789ab"), zone=ZONES[0]),
        state=known.state,
        machine_type="x",
        labels={},
        metadata={},
        gce_instance_id="",
    )
    bench.advance(minutes=30)
    evidence = read(bench, known, unknown)[unknown.ref.instance_id]
    assert (evidence.cpu, evidence.requests) == (None, None)


def test_a_machine_that_just_came_up_has_no_old_samples(bench):
    ana = instance(bench, ANA)
    evidence = read(bench, ana)[ana.ref.instance_id]
    assert all(s.at > ana.create_time for s in evidence.cpu or ())


@pytest.mark.parametrize(
    ("code", "kind"), [("PERMISSION_DENIED", AccessDeniedError), ("UNAVAILABLE", CloudUnavailableError)]
)
@pytest.mark.parametrize("skip", [0, 1])
def test_when_monitoring_does_not_answer_nothing_is_said_of_anybody(bench, code, kind, skip):
    ana = instance(bench, ANA)
    bench.fault(call="monitoring.*", skip=skip, error={"code": code, "message": "no"})
    with pytest.raises(kind):
        read(bench, ana)


def test_many_machines_are_read_in_two_queries_and_by_pages(bench, monkeypatch):
    monkeypatch.setattr("shared.cloud.notebook.activity._BY_ID", 1)
    ana, ben = instance(bench, ANA), instance(bench, BEN)
    bench.advance(minutes=30)
    whole = read(bench, ana, ben)
    monkeypatch.setattr("shared.cloud.notebook.activity._PAGE", 3)
    assert read(bench, ana, ben) == whole
    assert all(evidence.cpu for evidence in whole.values())


def test_nobody_is_read_as_nobody(bench):
    assert read(bench) == {}
