"""Rollouts of good and bad images, sold-out zones, another change in the middle, people who come, go, rest and work, in any order.

An oracle that looks at the cloud alone says after every step how many may have been interrupted, and who never.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from kit.beginnings import begun
from kit.histories import ARE_THE_SAME, RUNS
from kit.inprocess import KitClock, OneAfterAnother, make_bench
from kit.life import Life, settings_with
from kit.oracle import instances
from msgspec.structs import replace

from shared.domain.fleet import drift
from shared.domain.notebook import states as notebook_states
from shared.domain.plan.guard_settings import GuardSettings
from shared.domain.policy.policy_change import Outcome
from shared.domain.record.record import Power, Presence
from shared.domain.record.waves import Rollout, RolloutState, Standing
from shared.domain.things.catalog import Disruption, VmImage
from shared.domain.things.identity import parse_email
from shared.domain.things.notebook import LABEL_USER
from shared.domain.things.power import PowerCause, PowerReason
from shared.engine.decisions import waves as engine
from shared.engine.decisions.policy_change import keep_policy, put_in_force, take_back, waiting
from shared.engine.decisions.waves import go_on, halted
from shared.engine.reconcile.changing import want_power
from shared.engine.sweeps.sweeps import sweep
from shared.wiring import wire

PEOPLE = 10
NAMES = ["Ñandú.O'Neil@sub.example.co", *(f"user{number}@example.com" for number in range(1, PEOPLE))]
ROOM = GuardSettings(per_hour=1000, most=1000, group_share=1.0)
BROKEN = {"code": "INVALID_ARGUMENT", "message": "The image does not boot."}
SOLD_OUT = {"code": "UNAVAILABLE", "message": "ZONE_RESOURCE_POOL_EXHAUSTED: try a different zone, or try again later."}


def files(image: str, mode: Disruption) -> Any:
    return settings_with({"analyst": {"image": VmImage(project="p", name=image), "disruption": mode}}, guard=ROOM)


class WavesMachine(RuleBasedStateMachine):
    """Ten people, one fleet, and files that change."""

    def __init__(self) -> None:
        super().__init__()
        self.names = 0
        self.mode = Disruption.NOW
        self.nothing_was_made = False  # since the last files were deployed

    @initialize(mode=st.sampled_from([Disruption.NOW, Disruption.WHEN_IDLE]))
    def begin(self, mode: Disruption) -> None:
        self.mode = mode
        self.bench = make_bench(settings=files("image0", mode))
        self.deps = replace(self.bench.deps, workers=OneAfterAnother())
        self.people = [Life(self.bench, parse_email(name)) for name in NAMES]
        begun(self.bench, (type(self).__name__, mode), self._settle)
        for person in self.people:
            person.serial = 1
        self.away: set[int] = set()  # who has nothing, or was touched by something else since the last rollout began
        self.rested: set[int] = set()  # whose notebook was stopped by themselves since then
        self._note()

    def _settle(self) -> None:
        """Everybody is at work, with files of their own."""
        for person in self.people:
            person.join(profile="analyst", minutes=0)
        self._minutes(8)
        for number, person in enumerate(self.people):
            person.write(f"files of {number}".encode())
        sweep("drift", self.deps)

    # --- what happens

    @rule(fails=st.sampled_from([None, None, BROKEN, SOLD_OUT]))
    def deploys(self, fails: Any) -> None:
        self.names += 1
        wired = wire(files(f"image{self.names}", self.mode), log=self.bench.log, clients=self.bench.clients)
        self.deps = replace(wired, clock=KitClock(self.bench.cloud), workers=OneAfterAnother())
        if keep_policy(self.deps).outcome is Outcome.WAITS:
            (proposal,) = waiting(self.deps)
            put_in_force(proposal.digest, self.deps, impact_digest=proposal.impact.digest, approved_by=("boss",))
        self._heals()
        if fails is not None:
            self.bench.fault(call="notebooks.CreateInstance", times=0, operation_error=fails)
        self._note()
        self.nothing_was_made = fails is not None

    @rule()
    def heals(self) -> None:
        self._heals()

    def _heals(self) -> None:
        self.nothing_was_made = False
        self.bench.cloud.world.faults.clear()

    @rule(hours=st.integers(1, 3))
    def hours(self, hours: int) -> None:
        for _ in range(hours):
            sweep("drift", self.deps)
            self.checks()
            for minutes in (*[1] * 14, 45, 1):
                self._minutes(1, minutes)
                self.checks()

    @rule(number=st.integers(0, PEOPLE - 1), runs=st.booleans())
    def rests_or_works(self, number: int, runs: bool) -> None:
        power = Power.RUNNING if runs else Power.STOPPED
        want_power(self.people[number].key, power, PowerReason(cause=PowerCause.STOPPED_BY_PERSON), self.deps)
        self.rested.add(number)
        self._minutes(3)

    @rule(number=st.integers(0, PEOPLE - 1))
    def leaves_or_returns(self, number: int) -> None:
        person = self.people[number]
        if person.record.spec.presence is Presence.PRESENT:
            person.leave()
        else:
            person.join(profile="analyst", minutes=0)
        self.away.add(number)
        self.rested.add(number)
        self._minutes(3)

    @rule(back=st.booleans())
    def decides(self, back: bool) -> None:
        found = halted(self.deps)
        if found is None:
            return
        current, rollout = found
        if back:
            take_back(current, rollout, self.deps, by=("boss",))
            self._heals()
            self._note()
        else:
            go_on(rollout.rollout_id, self.deps, self.bench.now)

    def _minutes(self, count: int, each: int = 1) -> None:
        for _ in range(count):
            self.bench.advance(minutes=each)
            sweep("due", self.deps)

    # --- what must hold

    def _note(self) -> None:
        """A rollout begins: who has which image now, and works."""
        self.images = {number: self._image(number) for number in range(PEOPLE)}
        self.away.clear()
        self.rested = {n for n in range(PEOPLE) if not self._works(n)}

    def _own(self, number: int) -> list[Any]:
        """Return the instances of a person, the newest last; while one is replaced there are two."""
        key = self.people[number].key
        found = [i for i in instances(self.bench.cloud).values() if i.body["labels"].get(LABEL_USER) == key]
        return sorted(found, key=lambda i: i.serial)

    def _image(self, number: int) -> str:
        own = self._own(number)
        return own[-1].body["gceSetup"]["vmImage"]["name"] if own else ""

    def _works(self, number: int) -> bool:
        return any(i.state == "ACTIVE" for i in self._own(number))

    def _rollout(self) -> Rollout | None:
        current = self.deps.policies.load()
        return None if current is None else current.rollout

    @invariant()
    def checks(self) -> None:
        self._no_more_than_the_wave_is_interrupted()
        self._nobody_at_work_is_interrupted()
        self._no_wave_opens_on_nothing()

    def _no_wave_opens_on_nothing(self) -> None:
        rollout = self._rollout()
        if rollout is not None and self.nothing_was_made and not self.away:
            assert rollout.wave == 0, rollout.counts

    def _no_more_than_the_wave_is_interrupted(self) -> None:
        rollout = self._rollout()
        if rollout is None or rollout.state is RolloutState.DONE:
            return
        touched = [n for n in range(PEOPLE) if n not in self.away and self._image(n) != self.images[n]]
        # The first person may be of a later wave by rank, and may have been another before.
        assert len(touched) <= rollout.sizes[rollout.wave] + 2, (rollout.sizes, rollout.wave, touched)

    def _nobody_at_work_is_interrupted(self) -> None:
        if self.mode is Disruption.NOW:
            return
        for number in set(range(PEOPLE)) - self.rested - self.away:
            assert self._works(number), number
            assert self._image(number) == self.images[number], number

    def _is_over(self) -> bool:
        rollout = self._rollout()
        wanted = self.deps.policy.catalog.profiles["analyst"].image.name
        present = (n for n, p in enumerate(self.people) if p.record.spec.presence is Presence.PRESENT)
        is_open = rollout is not None and rollout.state is not RolloutState.DONE
        return not is_open and all(self._image(n) == wanted for n in present)

    def teardown(self) -> None:
        """Everything heals, and whoever is entitled has the last files, and their own."""
        if not hasattr(self, "people"):
            return
        self._heals()
        for number in range(PEOPLE):
            if self.people[number].record.spec.presence is Presence.PRESENT:
                want_power(
                    self.people[number].key, Power.STOPPED, PowerReason(cause=PowerCause.STOPPED_BY_PERSON), self.deps
                )
        self.rested = set(range(PEOPLE))
        for _ in range(14):
            found = halted(self.deps)
            if found is not None:
                go_on(found[1].rollout_id, self.deps, self.bench.now)
            self.hours(1)
            if self._is_over():
                break
        current = self.deps.policies.load()
        wanted = self.deps.policy.catalog.profiles["analyst"].image.name
        assert current is not None
        assert current.rollout is None or current.rollout.state is not RolloutState.HALTED
        for number, person in enumerate(self.people):
            if person.record.spec.presence is Presence.ABSENT:
                continue
            assert self._image(number) == wanted or person.record.status.notebook.refused, (
                number,
                self._image(number),
                wanted,
            )
            assert person.files() == f"files of {number}".encode(), number


def _settings(examples):
    return settings(
        max_examples=examples, stateful_step_count=8, deadline=None, suppress_health_check=list(HealthCheck),
        database=None, print_blob=True, phases=[Phase.explicit, Phase.generate], report_multiple_bugs=False,
    )  # fmt: skip


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("shard", range(2))
def test_a_rollout_interrupts_no_more_than_its_wave_and_reaches_everybody(shard):
    machine = type(f"Shard{shard}", (WavesMachine,), {})
    if ARE_THE_SAME:
        machine = seed(20261129 + shard)(machine)
    run_state_machine_as_test(machine, settings=_settings(max(1, RUNS // 50)))


# --- planted faults: a machine that cannot catch these proves nothing


def _everybody_at_once(monkeypatch):
    monkeypatch.setattr(Rollout, "admits", lambda *_: True)


def _never_halts(monkeypatch):
    judged = engine.standing_of

    def standing(*asked):
        found = judged(*asked)
        return Standing.VERIFIED if found is Standing.FAILED else found

    monkeypatch.setattr(engine, "standing_of", standing)


def _stops_who_works(monkeypatch):
    for module in (notebook_states, drift):
        monkeypatch.setattr(module, "may_disrupt", lambda *_: True)


PLANTS = {
    "everybody at once": (_everybody_at_once, Disruption.NOW, None),
    "never halts": (_never_halts, Disruption.NOW, BROKEN),
    "stops who works": (_stops_who_works, Disruption.WHEN_IDLE, None),
}


def _lived(mode, fails, plant=lambda: None):
    machine = WavesMachine()
    machine.begin(mode=mode)
    plant()
    machine.deploys(fails=fails)
    machine.hours(3)


@pytest.mark.parametrize("plant", PLANTS)
def test_the_machine_catches_a_planted_fault(monkeypatch, plant):
    change, mode, fails = PLANTS[plant]
    with pytest.raises(AssertionError):
        _lived(mode, fails, lambda: change(monkeypatch))


@pytest.mark.parametrize("plant", PLANTS)
def test_without_the_fault_the_same_history_is_allowed(plant):
    _, mode, fails = PLANTS[plant]
    _lived(mode, fails)
