"""Where many users are due, sweeps at the same time share them by claims; and nobody is left behind for a claim's sake."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from kit.inprocess import KitClock, OneAfterAnother, impatient, make_bench
from kit.life import Life, settings_with
from kit.oracle import object_names
from msgspec.structs import replace

from shared.domain.plan.guard_settings import GuardSettings
from shared.domain.record.status import ConditionStatus, ConditionType
from shared.domain.things.identity import parse_email
from shared.engine.ports.records import DueClaim
from shared.engine.sweeps import due as due_sweep
from shared.engine.sweeps.due import LAPSE, part_of, sweep_due

PEOPLE = 24
ROOM = GuardSettings(per_hour=1000, most=1000, group_share=1.0)
LEFT = "left to another sweep"
DENIED = {"code": "PERMISSION_DENIED"}


class Crowd:
    """So many people who joined; their notebooks are made, and everybody is due for a look."""

    def __init__(self, count=PEOPLE):
        self.bench = make_bench(settings=settings_with(guard=ROOM))
        self.bench.deps = replace(self.bench.deps, workers=OneAfterAnother())
        self.people = [Life(self.bench, parse_email(f"user{number}@example.com")) for number in range(count)]
        for person in self.people:
            person.join(profile="analyst", minutes=0)
        self.bench.advance(minutes=6)
        self.bench.cloud.world.journal.clear()

    def sweep(self):
        return sweep_due(self.bench.deps)

    def ready(self):
        return {
            person.key
            for person in self.people
            if (found := person.condition(ConditionType.NOTEBOOK_READY)) and found.status is ConditionStatus.TRUE
        }

    def looks(self):
        """How often each notebook was looked at."""
        return Counter(call["resource"] for call in self.bench.calls() if call["method"] == "GetInstance")

    def claims(self):
        return object_names(self.bench.cloud, self.bench.settings.bucket, "due/.claims/")

    def of_part(self, part):
        return {person.key for person in self.people if part_of(person.key) == part}


@pytest.fixture
def crowd(monkeypatch):
    monkeypatch.setattr(due_sweep, "FEW", 4)
    return Crowd()


def meanwhile(crowd, at, work):
    """Let `work` happen once, when the sweep that runs makes its `at`th look at a notebook."""
    done = []

    def look():
        if not done and sum(crowd.looks().values()) >= at:
            done.append(True)
            work()

    crowd.bench.adapter.around = look
    return done


@pytest.mark.parametrize("at", [1, 7, 20])
def test_two_sweeps_at_the_same_time_look_at_each_user_once(crowd, at):
    found = []
    done = meanwhile(crowd, at, lambda: found.append(crowd.sweep()))
    first = crowd.sweep()
    assert done
    assert crowd.ready() == {person.key for person in crowd.people}
    assert set(crowd.looks().values()) == {1}
    assert first.looked_at + found[0].looked_at == PEOPLE
    assert crowd.claims() == set()


def test_a_third_sweep_leaves_the_work_to_the_two(crowd):
    bench, thirds = crowd.bench, []
    assert bench.deps.records.claim_due(3, "another sweep").holder == "another sweep"
    meanwhile(crowd, 2, lambda: thirds.append(crowd.sweep()))
    crowd.sweep()
    assert thirds[0].looked_at == 0
    assert thirds[0].found[LEFT] >= PEOPLE - 2  # the first was done by then, and at most one is under way


def test_what_lies_with_a_sweep_that_died_is_done_when_its_claim_lapses(crowd):
    part = part_of(crowd.people[0].key)
    crowd.bench.deps.records.claim_due(part, "a sweep that died")
    first = crowd.sweep()
    assert crowd.ready() == {person.key for person in crowd.people} - crowd.of_part(part)
    assert first.found[LEFT] == len(crowd.of_part(part))
    crowd.bench.advance(seconds=LAPSE.total_seconds())
    second = crowd.sweep()
    assert crowd.ready() == {person.key for person in crowd.people}
    assert LEFT not in second.found
    assert crowd.claims() == set()


def test_few_users_who_are_due_cost_no_call_more_and_still_leave_a_part_to_its_holder(monkeypatch):
    monkeypatch.setattr(due_sweep, "FEW", 4)
    crowd = Crowd(4)
    crowd.sweep()
    assert [call for call in crowd.bench.calls() if ".claims" in call["resource"]] == []
    lists = [call for call in crowd.bench.calls() if call["method"] == "objects.list"]
    assert len(lists) == 2  # of what is due, and of the inbox

    crowd = Crowd(4)
    part = part_of(crowd.people[0].key)
    crowd.bench.deps.records.claim_due(part, "another sweep")
    assert crowd.sweep().found[LEFT] == len(crowd.of_part(part))
    assert crowd.ready() == {person.key for person in crowd.people} - crowd.of_part(part)


@pytest.mark.parametrize("call", ["storage.objects.insert", "storage.objects.get"])
@pytest.mark.parametrize("phase", ["before", "after"])
def test_where_nothing_can_be_claimed_the_work_is_done_all_the_same(crowd, call, phase):
    crowd.bench.fault(call=call, resource="*/due/.claims/*", error=DENIED, times=0, phase=phase)
    crowd.sweep()
    assert crowd.ready() == {person.key for person in crowd.people}
    assert set(crowd.looks().values()) == {1}


def test_a_claim_whose_answer_was_lost_is_known_as_ones_own(crowd):
    lost = {"code": "UNAVAILABLE"}
    crowd.bench.fault(call="storage.objects.insert", resource="*/due/.claims/*", error=lost, phase="after")
    with impatient():
        summary = crowd.sweep()
    assert crowd.bench.cloud.world.faults.unfired() == []
    assert crowd.ready() == {person.key for person in crowd.people}
    assert LEFT not in summary.found


def test_a_claim_that_cannot_be_let_go_of_lapses(crowd):
    crowd.bench.fault(call="storage.objects.delete", resource="*/due/.claims/*", error=DENIED, times=0)
    crowd.sweep()
    assert crowd.ready() == {person.key for person in crowd.people}
    stayed = crowd.claims()
    assert stayed
    crowd.bench.advance(seconds=LAPSE.total_seconds())
    for person in crowd.people:
        person.leave()
    crowd.bench.advance(minutes=2)
    summary = crowd.sweep()  # a claim that lapsed and cannot be removed holds up nobody
    assert summary.looked_at == PEOPLE
    assert LEFT not in summary.found


@pytest.mark.parametrize("skip", [1, 3])
def test_a_second_look_that_fails_leaves_the_older_list(crowd, skip):
    crowd.bench.fault(
        call="storage.objects.list", resource=f"{crowd.bench.settings.bucket}*", error=DENIED, skip=skip, times=1
    )
    crowd.sweep()
    assert crowd.ready() == {person.key for person in crowd.people}
    assert crowd.bench.cloud.world.faults.unfired() == []


def test_a_clock_that_is_ahead_takes_over_too_early_and_does_no_harm(crowd):
    class Ahead(KitClock):
        def now(self):
            return super().now() + timedelta(minutes=4)

    bench = crowd.bench
    claim = bench.deps.records.claim_due(part_of(crowd.people[0].key), "a sweep that is at work")
    summary = sweep_due(replace(bench.deps, clock=Ahead(bench.cloud)))
    assert (summary.looked_at, summary.failed) == (PEOPLE, {})
    bench.deps.records.release_due(claim)
    assert crowd.ready() == {person.key for person in crowd.people}
    assert set(crowd.looks().values()) == {1}


def test_a_claim_is_of_the_sweep_that_was_first_until_it_lets_go(crowd):
    records = crowd.bench.deps.records
    first = records.claim_due(7, "one")
    assert records.claim_due(7, "two") == first
    assert next(iter(records.due_and_claims(crowd.bench.now))) == first
    records.release_due(first)
    second = records.claim_due(7, "two")
    assert (second.part, second.holder) == (7, "two")
    records.release_due(first)  # of a sweep that was away for long: the claim is another's by now
    assert [each for each in records.due_and_claims(crowd.bench.now) if isinstance(each, DueClaim)] == [second]
