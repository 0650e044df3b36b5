"""A change of machines or images goes in waves: a bad one meets few people, a good one reaches everybody."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from kit.beginnings import begun
from kit.inprocess import KitClock, make_bench
from kit.life import disruptive
from kit.oracle import instances
from msgspec.structs import replace

from shared.domain.people.events import Joined, Left
from shared.domain.plan.guard_settings import GuardSettings
from shared.domain.policy.policy_change import Outcome
from shared.domain.policy.policy_codec import policy_digest
from shared.domain.record.record import Power
from shared.domain.record.status import ConditionType
from shared.domain.record.waves import RolloutState
from shared.domain.things.catalog import Assignment, Disruption, VmImage
from shared.domain.things.identity import parse_email, user_key_for
from shared.domain.things.power import PowerCause, PowerReason
from shared.engine.decisions.policy_change import keep_policy, note_deployed, propose, put_in_force, take_back, waiting
from shared.engine.decisions.waves import go_on, halted
from shared.engine.news.deliver import deliver
from shared.engine.reconcile.changing import want_power
from shared.engine.reconcile.reconciler import preview
from shared.engine.sweeps.sweeps import sweep
from shared.wiring import wire

PEOPLE = 24
GROUP = "analysts@example.com"
ADMIN = "admin@example.com"
OLD, NEW, LATER = (VmImage(project="p", name=name) for name in ("old", "new", "later"))
# Cutting is not what is tried here.
ROOM = GuardSettings(group_share=1.0, creations=1000)


def files(image=OLD, mode=Disruption.NOW, machine="n2-standard-4", **more):
    made = disruptive(mode, image=image, machine_type=machine, **more)
    assigned = (Assignment(group=GROUP, profile="analyst", priority=1),)
    return replace(made, catalog=replace(made.catalog, assignments=assigned), guard=ROOM)


def person(number):
    return parse_email(f"ana.{number}@example.com")


def key(number):
    return user_key_for(person(number))


class World:
    """A fleet that was built from the old image, and a revision of the functions with other files."""

    def __init__(self, settings=None, people=PEOPLE):
        self.bench = make_bench(settings=settings or files())
        self.people = people
        self.deps = self.bench.deps
        begun(self.bench, ("waves", self.bench.settings, people), self.settle, for_all=True)

    def settle(self):
        for number in range(self.people):
            self.join(number)
        self.minutes(8)
        sweep("drift", self.deps)

    def join(self, number):
        event = Joined(
            event_id=f"j{number}", user=person(number), occurred_at=self.bench.now, groups=frozenset({GROUP}),
            effective_at=self.bench.now,
        )  # fmt: skip
        deliver(event, self.deps)

    def leave(self, number):
        event = Left(
            event_id=f"l{number}", user=person(number), occurred_at=self.bench.now, effective_at=self.bench.now
        )
        deliver(event, self.deps)

    def deploy(self, settings, *, approved=True):
        """Another revision with other files, proposed and approved, but nothing done yet."""
        wired = wire(settings, log=self.bench.log, clients=self.bench.clients)
        self.deps = replace(wired, clock=KitClock(self.bench.cloud))
        done = keep_policy(self.deps)
        if approved and done.outcome is Outcome.WAITS:
            (proposal,) = waiting(self.deps)
            put_in_force(proposal.digest, self.deps, impact_digest=proposal.impact.digest, approved_by=(ADMIN,))
        return done

    def minutes(self, count):
        for _ in range(count):
            self.bench.advance(minutes=1)
            sweep("due", self.deps)

    def hour(self):
        """One drift sweep, and what follows of it in an hour."""
        sweep("drift", self.deps)
        self.minutes(15)  # a replacement takes ten
        self.bench.advance(minutes=44)
        self.minutes(1)

    def images(self):
        found = Counter()
        for number in range(self.people):
            instance_id = self.deps.records.load(key(number)).record.status.notebook.instance_id
            (body,) = (i.body for name, i in instances(self.bench.cloud).items() if name.endswith(f"/{instance_id}"))
            found[body["gceSetup"]["vmImage"]["name"]] += 1
        return dict(found)

    @property
    def rollout(self):
        return self.deps.policies.load().rollout

    def said(self, message):
        return [facts for _, text, facts in self.bench.log.lines if text == message]

    def running(self):
        return sum(i.state == "ACTIVE" for i in instances(self.bench.cloud).values())


def broken(world):
    """From now on no instance can be created."""
    error = {"code": "INVALID_ARGUMENT", "message": "The image does not boot."}
    world.bench.fault(call="notebooks.CreateInstance", times=0, operation_error=error)


def test_a_good_image_reaches_everybody_wave_by_wave():
    world = World()
    world.deploy(files(NEW))
    assert world.rollout.sizes == (1, 2, 6, 24)
    seen = []
    for _ in range(6):
        world.hour()
        seen.append(world.images().get("new", 0))
        assert world.running() >= PEOPLE - 1  # everybody comes back
    assert seen[0] == 1
    assert seen == sorted(seen)
    assert seen[1] in {2, 3}  # whoever is first may be of a later wave by rank
    assert seen[2] in {6, 7}
    assert seen[3] == 24
    assert world.rollout.state is RolloutState.DONE
    assert world.rollout.earlier == ()
    assert [facts["wave"] for facts in world.said("Started the next wave of a rollout")] == [2, 3, 4]
    assert len(world.said("Finished a rollout")) == 1


def test_only_those_whose_turn_it_is_are_interrupted():
    world = World()
    world.deploy(files(NEW))
    sweep("drift", world.deps)
    for _ in range(12):
        world.minutes(1)
        assert world.running() >= PEOPLE - 1
    assert world.images()["old"] == PEOPLE - 1
    assert "Waits for its turn in a rollout" in " ".join(preview(key(waits(world)), world.deps).plan.because)


def body(world, number):
    instance_id = world.deps.records.load(key(number)).record.status.notebook.instance_id
    (found,) = (i.body for name, i in instances(world.bench.cloud).items() if name.endswith(f"/{instance_id}"))
    return found


def machine(world, number):
    return body(world, number)["gceSetup"]["machineType"].rpartition("/")[2]


def waits(world):
    """Somebody whose turn has not come."""
    return next(n for n in range(world.people) if not world.rollout.reaches(key(n)))


def test_a_broken_image_stops_at_the_first_one():
    world = World()
    world.deploy(files(NEW))
    broken(world)
    for _ in range(4):
        world.hour()
    assert world.rollout.state is RolloutState.HALTED
    assert (world.rollout.wave, world.rollout.counts.failed) == (0, 1)
    assert world.images() == {"old": PEOPLE}
    assert world.running() == PEOPLE  # the first one has the former notebook back
    assert len(world.said("Halted a rollout")) == 3  # at each sweep, until somebody decides


def test_whoever_joins_while_it_is_halted_is_given_what_worked():
    world = World()
    world.deploy(files(NEW))
    broken(world)
    for _ in range(2):
        world.hour()
    assert world.rollout.state is RolloutState.HALTED
    world.bench.cloud.world.faults.clear()
    world.join(PEOPLE)
    world.people += 1
    world.minutes(8)
    assert world.images() == {"old": PEOPLE + 1}


def test_going_back_is_the_policy_of_before_and_the_files_are_not_proposed_again():
    world = World()
    old = policy_digest(world.bench.deps.base_policy)
    world.deploy(files(NEW))
    broken(world)
    for _ in range(2):
        world.hour()
    world.bench.cloud.world.faults.clear()
    current, rollout = halted(world.deps)
    put = take_back(current, rollout, world.deps, by=("boss",))
    assert (put.digest, put.rollout, put.approved_by) == (old, None, ("boss",))
    for _ in range(2):
        world.hour()
    assert world.images() == {"old": PEOPLE}
    assert world.running() == PEOPLE
    assert world.deps.policies.load().digest == old
    assert keep_policy(world.deps).outcome is Outcome.REJECTED


def test_going_back_from_the_third_wave_takes_those_who_went_along_in_waves_too():
    world = World()
    world.deploy(files(NEW))
    for _ in range(3):
        world.hour()
    changed = world.images()["new"]
    assert changed >= 6
    broken(world)
    for _ in range(3):
        world.hour()
    assert world.rollout.state is RolloutState.HALTED
    world.bench.cloud.world.faults.clear()
    take_back(*halted(world.deps), world.deps, by=("boss",))
    assert world.rollout.sizes[0] == 1
    world.hour()
    assert world.images()["new"] == changed - 1
    for _ in range(5):
        world.hour()
    assert world.images() == {"old": PEOPLE}


def test_going_on_forgets_who_failed_until_then():
    world = World()
    world.deploy(files(NEW))
    broken(world)
    for _ in range(2):
        world.hour()
    rollout_id = world.rollout.rollout_id
    world.bench.cloud.world.faults.clear()
    go_on("another", world.deps, world.bench.now)
    assert world.rollout.state is RolloutState.HALTED
    go_on(rollout_id, world.deps, world.bench.now)
    excused_at = world.rollout.excused_at
    world.bench.advance(minutes=1)
    go_on(rollout_id, world.deps, world.bench.now)  # nothing is halted any more
    assert world.rollout.excused_at == excused_at
    for _ in range(8):
        world.hour()
    assert world.rollout.state is not RolloutState.HALTED
    assert world.images() == {"new": PEOPLE}  # the first one was tried again, too


def test_a_rollout_that_nobody_has_begun_counts_nobody():
    world = World()
    world.deploy(files(NEW))
    assert (world.rollout.counts.people, world.rollout.counts.begun) == (0, 0)


def test_sold_out_zones_wait_and_do_not_count():
    world = World()
    world.deploy(files(NEW))
    error = {
        "code": "UNAVAILABLE",
        "message": "ZONE_RESOURCE_POOL_EXHAUSTED: try a different zone, or try again later.",
    }
    world.bench.fault(call="notebooks.CreateInstance", times=0, operation_error=error)
    for _ in range(3):
        world.hour()
    assert world.rollout.state is RolloutState.OPEN
    assert world.rollout.counts.failed == 0
    assert world.rollout.counts.sold_out == 1
    world.bench.cloud.world.faults.clear()
    for _ in range(6):
        world.hour()
    assert world.images() == {"new": PEOPLE}


def test_nobody_at_work_is_interrupted_and_the_first_one_is_somebody_who_rests():
    world = World(files(mode=Disruption.WHEN_IDLE))
    world.deploy(files(NEW, Disruption.WHEN_IDLE))
    world.hour()
    assert world.images() == {"old": PEOPLE}
    assert world.running() == PEOPLE
    rests = next(n for n in range(PEOPLE) if key(n) != world.rollout.first)
    want_power(key(rests), Power.STOPPED, PowerReason(cause=PowerCause.STOPPED_BY_PERSON), world.deps)
    world.minutes(3)
    for _ in range(2):
        world.hour()
    assert world.rollout.first == key(rests)
    assert world.images()["new"] == 1
    assert world.running() == PEOPLE - 1


def test_a_mover_and_a_machine_changed_by_hand_do_not_wait():
    world = World()
    world.deploy(files(NEW))
    other = waits(world)
    assert machine(world, other) == "n2-standard-4"
    body(world, other)["gceSetup"]["machineType"] = "e2-standard-32"
    world.hour()
    assert machine(world, other) == "n2-standard-4"


@pytest.mark.parametrize("then", [files(LATER), files(LATER, machine="n2-standard-8")], ids=["image", "machine"])
def test_another_change_in_the_middle_begins_anew_and_takes_nobody_at_once(then):
    world = World()
    world.deploy(files(NEW))
    for _ in range(2):
        world.hour()
    world.deploy(then)
    sweep("drift", world.deps)
    world.minutes(20)
    assert world.images()["later"] == 1
    assert len(world.rollout.earlier) == 2
    for _ in range(6):
        world.hour()
    assert world.images() == {"later": PEOPLE}


def test_a_change_of_something_else_in_the_middle_leaves_the_rollout_as_it_is():
    world = World()
    world.deploy(files(NEW))
    before = world.rollout
    other = replace(files(NEW), retention=timedelta(days=60))
    assert world.deploy(other).outcome is Outcome.PUT
    assert world.rollout == before
    sweep("drift", world.deps)
    world.minutes(20)
    assert world.images() == {"old": PEOPLE - 1, "new": 1}


def test_the_earlier_files_deployed_again_end_it():
    world = World()
    world.deploy(files(NEW))
    for _ in range(2):
        world.hour()
    old = files()
    wired = wire(old, log=world.bench.log, clients=world.bench.clients)
    world.deps = replace(wired, clock=KitClock(world.bench.cloud))
    note_deployed(world.deps.base_policy, world.deps, by="x@example.com")
    propose(
        world.deps.base_policy, world.deps, deployed=world.deps.policies.deployed(policy_digest(world.deps.base_policy))
    )
    assert world.rollout is None
    for _ in range(2):
        world.hour()
    assert world.images() == {"old": PEOPLE}


def test_few_are_changed_without_waves():
    world = World(people=5)
    assert world.deploy(files(NEW)).outcome is Outcome.PUT
    assert world.rollout is None
    world.hour()
    assert world.images() == {"new": 5}


def test_when_the_first_one_leaves_another_is_first():
    world = World()
    world.deploy(files(NEW))
    first = next(n for n in range(PEOPLE) if key(n) == world.rollout.first)
    world.leave(first)
    world.minutes(3)
    world.people = [n for n in range(PEOPLE) if n != first]
    sweep("drift", world.deps)
    world.minutes(20)
    assert world.rollout.first != key(first)
    changed = [n for n in world.people if world.deps.records.load(key(n)).record.status.notebook.turn is not None]
    assert len(changed) == 1


def test_an_earlier_revision_judges_by_the_same_rollout():
    world = World()
    former = world.deps
    world.deploy(files(NEW))
    former.policies.load()  # a minute later: the process reads the policy in force again
    for number in range(PEOPLE):
        plans = [preview(key(number), deps).plan for deps in (former, world.deps)]
        assert plans[0].actions == plans[1].actions
    assert former.policy.rollout == world.deps.policy.rollout


def test_a_neighbour_who_writes_the_policy_leaves_the_wave_to_the_next_sweep(monkeypatch):
    world = World()
    world.deploy(files(NEW))
    world.hour()
    put = world.deps.policies.put

    def late(policy, *, expected):
        put(expected, expected=expected)
        return put(policy, expected=expected)

    with monkeypatch.context() as patch:
        patch.setattr(
            type(world.deps.policies), "put", lambda _self, policy, *, expected: late(policy, expected=expected)
        )
        sweep("drift", world.deps)
    assert world.rollout.wave == 0
    sweep("drift", world.deps)
    assert world.rollout.wave == 1


def said_to(world, user_key):
    return world.deps.records.load(user_key).record.status.condition(ConditionType.NOTEBOOK_READY).message


def test_what_is_said_of_a_refusal_ends_with_the_rollout():
    world = World()
    world.deploy(files(NEW))
    broken(world)
    for _ in range(2):
        world.hour()
    world.bench.cloud.world.faults.clear()
    (refused,) = (row.user_key for row in world.deps.records.rows() if row.turn is not None)
    assert "refused by Google Cloud" in said_to(world, refused)
    take_back(*halted(world.deps), world.deps, by=("boss",))
    world.hour()
    record = world.deps.records.load(refused).record
    assert record.status.notebook.turn is None
    assert "refused by Google Cloud" not in said_to(world, refused)


def test_however_many_changes_come_before_anybody_has_one_nobody_is_taken_along_at_once():
    """All have the first image still, by which they stay right until their turn."""
    world = World(files(mode=Disruption.WHEN_IDLE), people=8)
    for number in range(12):
        world.deploy(files(VmImage(project="p", name=f"try{number}"), Disruption.WHEN_IDLE))
    for number in range(8):
        want_power(key(number), Power.STOPPED, PowerReason(cause=PowerCause.STOPPED_BY_PERSON), world.deps)
    world.minutes(3)
    world.hour()
    assert world.images() == {"old": 7, "try11": 1}


def test_whose_change_was_refused_is_changed_when_something_else_is_wanted_and_left_alone_until_then():
    """Also where only a listing is looked at, which shows no image."""
    world = World(people=4)
    world.deploy(files(NEW))
    broken(world)
    world.hour()
    world.hour()
    world.bench.cloud.world.faults.clear()
    assert world.images() == {"old": 4}
    assert sweep("drift", world.deps).decisions == []
    world.deploy(files(LATER))
    for _ in range(2):
        world.hour()
    assert world.images() == {"later": 4}


def test_a_rollout_that_cannot_be_read_holds_up_nothing_else_of_the_sweep():
    world = World(people=8)
    world.deploy(files(NEW))
    world.bench.fault(
        call="storage.objects.get",
        resource="*policy/current",
        times=1,
        error={"code": "PERMISSION_DENIED", "message": ""},
    )
    summary = sweep("drift", world.deps)
    assert summary.looked_at == 8
    world.bench.fault(
        call="storage.objects.insert",
        resource="*policy/current",
        times=1,
        error={"code": "PERMISSION_DENIED", "message": ""},
    )
    world.minutes(15)
    assert sweep("drift", world.deps).looked_at == 8
    assert [facts["reason"] for facts in world.said("Rollout could not be advanced")] == ["AccessDenied"]
    sweep("drift", world.deps)
    assert world.rollout.wave == 1
