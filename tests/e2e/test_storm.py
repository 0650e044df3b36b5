"""A small storm, as `bench/storm.py` makes a large one: nothing lost, nothing doubled, every poison listed; and the judge can say no."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace

import pytest
from kit.inprocess import START
from kit.storm import COPIES, Published, replay_log, survive
from kit.storm_events import Drop, make_storm, questions
from kit.storm_judge import Evidence, canonical, differences, faults_of

from shared.domain.people import facts

SEED = 20261123
EVENTS, PEOPLE = 300, 15


pytestmark = pytest.mark.waits("for redeliveries, by a clock that runs beside many threads")


@pytest.fixture(scope="module")
def storm() -> tuple[Evidence, list[Published]]:
    log: list[Published] = []
    return survive(make_storm(EVENTS, PEOPLE, SEED, START), SEED, on_published=log.extend), log


def test_nothing_is_lost_nothing_is_doubled_and_every_poison_is_listed(storm):
    evidence, _ = storm
    assert faults_of(evidence) == []
    poisoned = [drop for drop in evidence.published.values() if drop.reason]
    assert len(evidence.letters) == len(poisoned) == COPIES * EVENTS // 20
    assert {drop.reason for drop in poisoned} == {
        "InvalidMessage",
        "UnsupportedMessage",
        "UnknownProfile",
        "NotAllowed",
    }


def test_it_was_a_storm(storm):
    evidence, _ = storm
    assert len(evidence.published) == COPIES * EVENTS
    for trouble in ("ack lost", "died before it began"):
        assert evidence.counts[f"lifecycle: {trouble}"] > 0
    assert evidence.counts["dead_letter: nack"] > 0
    assert evidence.counts["faults that did not fire"] == 0
    assert len(evidence.made) >= PEOPLE // 4


def test_the_log_on_an_empty_world_gives_the_same_world(storm):
    evidence, log = storm
    assert len(log) == EVENTS
    assert differences(canonical(evidence.final), canonical(replay_log(log))) == []


# --- the judge can say no


def deciding(drops: list[Drop]) -> set[bytes]:
    """Messages that nothing overrules: the last word on some question."""
    last: dict[tuple[str, str], Drop] = {}
    for drop in drops:
        for question, takes_away in questions(drop.sent) if drop.sent is not None else ():
            place = (drop.sent.user, question)
            kept = last.get(place)
            if kept is None or (drop.sent.occurred, takes_away) > (kept.sent.occurred, True):
                last[place] = drop
    return {drop.data for drop in last.values()}


def test_messages_that_are_acked_and_not_used_are_missed():
    drops = make_storm(60, 3, SEED, START)
    victims = set(sorted(deciding(drops))[:3])
    evidence = survive(drops, SEED, spoil=lambda data: data in victims)
    spoilt = sum(number for what, number in evidence.counts.items() if what.endswith(": spoilt"))
    assert spoilt >= len(victims) * COPIES
    ids = {drop.sent.event_id for drop in drops if drop.data in victims}
    lost = {fault.split()[2] for fault in faults_of(evidence) if fault.startswith("lost: event")}
    assert lost == ids


def test_a_fold_in_which_the_last_to_arrive_wins_is_found(monkeypatch):
    monkeypatch.setattr(facts, "fold", lambda _timeline, statement, _horizon: (statement,))
    evidence = survive(make_storm(60, 3, SEED, START), SEED)
    assert any(fault.startswith("lost") for fault in faults_of(evidence))


def only(evidence: Evidence, part: str) -> str:
    (fault,) = faults_of(evidence)
    assert part in fault
    return fault


def test_a_letter_too_few_too_many_or_with_another_reason_is_found(storm):
    evidence, _ = storm
    first, *others = evidence.letters
    good = next(message_id for message_id, drop in evidence.published.items() if not drop.reason)
    only(replace(evidence, letters=others), "is listed 0 times")
    only(replace(evidence, letters=[first, *evidence.letters]), "is listed 2 times")
    only(replace(evidence, letters=[(first[0], "Ready", first[2]), *others]), "says ('Ready'")
    only(replace(evidence, letters=[(first[0], first[1], "?"), *others]), "'?'")
    only(replace(evidence, letters=[(good, "InvalidMessage", ""), *evidence.letters]), "(good) is listed 1 times")
    only(replace(evidence, letters=[("0", "InvalidMessage", ""), *evidence.letters]), "no message that was published")


def test_a_second_instance_or_one_for_somebody_else_is_found(storm):
    evidence, _ = storm
    (owner, _), *_ = evidence.made.items()
    only(replace(evidence, made=evidence.made + Counter({owner: 1})), f"2 instances were made for {owner}")
    only(replace(evidence, made=evidence.made + Counter({"ghost@example.com": 1})), "whom nothing ever entitled")
    more = {**evidence.final.instances, "another": (owner, "ACTIVE", ())}
    assert owner in only(replace(evidence, final=replace(evidence.final, instances=more)), "'ACTIVE'")
    ghost = {**evidence.settled.instances, "another": ("ghost@example.com", "STOPPED", ())}
    only(replace(evidence, settled=replace(evidence.settled, instances=ghost)), "nothing was said of them")


def test_what_is_missing_or_wrong_in_the_world_is_found(storm):
    evidence, _ = storm
    view = evidence.final
    name, (owner, _, labels) = next(each for each in view.instances.items() if each[1][1] == "ACTIVE")
    stopped = {**view.instances, name: (owner, "STOPPED", labels)}
    only(replace(evidence, final=replace(view, instances=stopped)), "is to have one")
    template, *others = view.templates
    fewer = {name: view.templates[name] for name in others}
    assert template
    only(replace(evidence, final=replace(view, templates=fewer)), "has the templates")
    records = copy.deepcopy(view.records)
    records[owner]["cost_center"] = "CC-0"
    only(replace(evidence, final=replace(view, records=records)), "'CC-0'")
    gone = {user: record for user, record in evidence.settled.records.items() if user != owner}
    only(replace(evidence, settled=replace(evidence.settled, records=gone)), "of whom there is no record")


def test_a_fact_that_is_gone_or_that_nobody_sent_is_found(storm):
    evidence, _ = storm
    for change, part in (("gone", "lost: event"), ("invented", "which nobody sent")):
        records = copy.deepcopy(evidence.settled.records)
        record = next(record for record in records.values() if record["facts"].get("employment"))
        if change == "gone":
            record["facts"]["employment"] = []
        else:
            record["facts"]["employment"][0]["event_id"] = "nobody"
        found = faults_of(replace(evidence, settled=replace(evidence.settled, records=records)))
        assert any(part in fault for fault in found)


def test_worlds_that_differ_differ(storm):
    world = canonical(storm[0].final)
    other = copy.deepcopy(world)
    assert differences(world, other) == []
    other["people"][min(other["people"])]["profile"] = "pilot"
    assert len(differences(world, other)) == 1
    other["templates"]["templates/nobody/x.yaml"] = "0"
    assert len(differences(world, other)) == 2
