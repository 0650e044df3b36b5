"""Floods, slips, flapping, and approvals that come late, twice, from the wrong person or after the world moved, in any order.

After every step an oracle that keeps only what was sent and clicked says whether each cut was allowed: by a slot, by an approval of
just that list, or, as far as it can be undone, because nobody decided for hours. BENCHKEEPER_RUNS sets how many worlds are tried.
"""

from __future__ import annotations

import secrets
from datetime import datetime
from functools import partial

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from kit import planted
from kit.beginnings import begun
from kit.guard_judge import Click, GuardJudge
from kit.histories import ARE_THE_SAME, RUNS
from kit.hub import ADMINS, MIA, Hub, hub_settings, make_hub
from kit.inprocess import OneAfterAnother
from kit.life import Life
from kit.oracle import instances
from msgspec.structs import replace

from shared.domain.intent.batches import Batch, batches_of, to_json
from shared.domain.intent.decision import About, Decision, Verdict
from shared.domain.people.events import AccountChanged, AccountState, Joined, LeaveCancelled, Left, LifecycleEvent
from shared.domain.plan.guard_settings import DAY, GuardSettings
from shared.domain.record.record import Presence
from shared.domain.things.errors import BenchkeeperError
from shared.domain.things.identity import UserKey, parse_email, user_key_for
from shared.engine.decisions import decisions
from shared.engine.news.deliver import deliver
from shared.engine.sweeps.sweeps import sweep

PEOPLE = 8
GUARD = GuardSettings(per_hour=2, share=1e-9, group_from=1000)
OTTO, NORAH = parse_email("otto.admin@example.com"), parse_email("norah.stranger@example.com")
NAMES = ["Ñandú.O'Neil@sub.example.co", *(f"user{number}@example.com" for number in range(1, PEOPLE))]
_VOTERS = (MIA, OTTO, NORAH, parse_email(NAMES[1]))
_ADMINS = frozenset({MIA, OTTO, parse_email(NAMES[1])})


class CrashError(BaseException):
    """The process died here."""


class GuardMachine(RuleBasedStateMachine):
    """See the module."""

    hub: Hub

    def __init__(self) -> None:
        super().__init__()
        self.hub = make_hub(settings=hub_settings(guard=GUARD))
        self.hub.bench.deps = replace(self.hub.bench.deps, workers=OneAfterAnother())
        for admin in sorted(_ADMINS):
            self.hub.bench.deps.groups.join(ADMINS, admin)
        self.people = [Life(self.hub.bench, parse_email(name)) for name in NAMES]
        self.judge = GuardJudge(
            deps=lambda: self.hub.bench.deps,
            guard=GUARD,
            stored=self.hub.bench.stored,
            people={person.key: lambda person=person: set(person.states().values()) for person in self.people},
        )
        self.lists: list[Batch] = []
        self.pending: list[LifecycleEvent] = []
        self.entitled = {person.key: True for person in self.people}
        self.news_at: dict[UserKey, datetime] = {}
        self.serial = 0

    @property
    def now(self) -> datetime:
        return self.hub.bench.now

    @initialize()
    def begin(self) -> None:
        """Everybody is at work."""
        begun(self.hub.bench, type(self).__name__, self._settle)
        for person in self.people:
            person.serial = 1

    def _settle(self) -> None:
        for person in self.people:
            person.tell(Joined, profile="analyst")
        for _ in range(6):
            self.hub.bench.advance(minutes=1)
            sweep("due", self.hub.bench.deps)

    # --- what happens

    def _say(self, person: Life, kind: type[LifecycleEvent], source: str, **more: object) -> None:
        self.serial += 1
        self.hub.bench.advance(seconds=1)
        event = kind(
            event_id=f"e{self.serial}",
            user=person.email,
            occurred_at=self.now,
            effective_at=self.now,
            source=source,
            **more,
        )
        self.news_at[person.key] = self.now
        self.pending.append(event)
        self._deliver(event)

    def _deliver(self, event: LifecycleEvent) -> None:
        try:
            deliver(event, self.hub.bench.deps)
        except (BenchkeeperError, CrashError):
            return
        self.pending.remove(event)

    def _leave(self, person: Life, source: str) -> None:
        self.entitled[person.key] = False
        if source == "hr":
            self._say(person, Left, source)
        else:
            self._say(person, AccountChanged, source, state=AccountState.DELETED, holds=True)

    @rule(
        who=st.sets(st.integers(0, PEOPLE - 1), min_size=3, max_size=PEOPLE),
        source=st.sampled_from(["hr", "directory"]),
    )
    def flood(self, who: set[int], source: str) -> None:
        """Many are said to have left."""
        for number in sorted(who):
            self._leave(self.people[number], source)

    @rule(number=st.integers(0, PEOPLE - 1), source=st.sampled_from(["hr", "directory"]))
    def one_leaves(self, number: int, source: str) -> None:
        """Somebody leaves; if nobody else does, at once."""
        person = self.people[number]
        standing = [s for s in self.hub.bench.deps.guard.slots(source) if self.now - s.at < DAY]
        self._leave(person, source)
        if not standing and not self.hub.bench.cloud.world.faults.listing():
            assert person.record.spec.presence is Presence.ABSENT, "somebody waits who is alone"

    @rule(number=st.integers(0, PEOPLE - 1), times=st.integers(1, 4))
    def comes_back(self, number: int, times: int) -> None:
        """Somebody is let back in, perhaps after some coming and going."""
        person = self.people[number]
        for turn in range(times):
            if turn:
                self._leave(person, "hr")
            self.entitled[person.key] = True
            self._say(person, AccountChanged, "directory", state=AccountState.DELETED, holds=False)
            self._say(person, LeaveCancelled, "hr")

    @rule(minutes=st.sampled_from([1, 3, 20, 61]))
    def ticks(self, minutes: int) -> None:
        """Time passes with the scheduler's ticks in it: a minute at a time at the end."""
        for step in (minutes - 2, 1, 1) if minutes > 2 else (1,) * minutes:
            self.hub.bench.advance(minutes=step)
            sweep("due", self.hub.bench.deps)
            self.cuts_are_allowed()

    @rule(hours=st.sampled_from([3, 5, 25]))
    def long(self, hours: int) -> None:
        """Nobody looks at the page for hours."""
        for _ in range(hours * 2):
            self.hub.bench.advance(minutes=30)
            sweep("due", self.hub.bench.deps)
            self.cuts_are_allowed()

    @rule()
    def drift(self) -> None:
        """The hourly sweep."""
        sweep("drift", self.hub.bench.deps)

    @rule(after=st.integers(0, 25), number=st.integers(0, PEOPLE - 1))
    def crash(self, after: int, number: int) -> None:
        """The process dies between two calls, of a delivery or of a tick."""
        left = [after]

        def around() -> None:
            left[0] -= 1
            if left[0] == -1:
                raise CrashError

        self.hub.bench.adapter.around = around
        try:
            if number % 2:
                self._leave(self.people[number], "hr")
            else:
                sweep("due", self.hub.bench.deps)
        except CrashError:
            pass
        finally:
            self.hub.bench.adapter.around = lambda: None
        for event in list(self.pending):
            self._deliver(event)

    @rule()
    def somebody_opens_the_page(self) -> None:
        """The lists as they are now can be decided about from now on, however late."""
        for batch in batches_of(self.hub.bench.deps.guard.waiting()):
            self.hub.bench.deps.decisions.put_list(to_json(batch))
            self.lists.append(batch)

    @rule(
        which=st.sampled_from([0, 0, 0, 0, 1, 2, 5]),
        by=st.sampled_from(_VOTERS),
        verdict=st.sampled_from([Verdict.APPROVE, Verdict.APPROVE, Verdict.APPROVE, Verdict.REJECT]),
        twice=st.booleans(),
        then=st.sampled_from([0, 1, 16]),
    )
    def decides(self, which: int, by: str, verdict: Verdict, twice: bool, then: int) -> None:
        """Somebody clicks: an administrator, a stranger, or somebody on the list; about a list of now or of long ago."""
        if not which or not self.lists:
            self.somebody_opens_the_page()
        if not self.lists:
            return
        batch = self.lists[-1 - which % len(self.lists)]
        for _ in range(1 + twice):
            self._click(batch, by, verdict)
        if then:
            self.ticks(then)

    def _click(self, batch: Batch, by: str, verdict: Verdict) -> None:
        key = user_key_for(parse_email(by))
        made = Decision(
            decision_id=secrets.token_hex(8), about=About.CUTS, verdict=verdict, digest=batch.digest, asked_at=self.now,
            assertion=self.hub.token(by),
        )  # fmt: skip
        self.hub.bench.deps.decisions.put(made)
        counts = by in _ADMINS and key not in batch.people
        self.judge.clicks.append(Click(batch, verdict, key, self.now, counts))

    # --- what must hold

    @invariant()
    def cuts_are_allowed(self) -> None:
        self.judge.cuts_are_allowed(self.now)

    @invariant()
    def no_window_holds_more_than_its_room(self) -> None:
        self.judge.windows_have_room(self.now)

    @invariant()
    def a_rejected_person_stays(self) -> None:
        self.judge.rejected_stay(self.news_at, self.now)

    @invariant()
    def nobody_who_is_entitled_is_without_access(self) -> None:
        """No mistake of the guard's own: an entitled person is never cut, and never waits."""
        for person in self.people:
            if self.entitled[person.key] and not any(event.user == person.email for event in self.pending):
                record = person.record
                assert record.spec.presence is Presence.PRESENT, f"{person.key} is entitled and has nothing"
                assert record.status.guard.waiting_cut is None

    def teardown(self) -> None:
        """A true change of any size passes after one approval: everybody who is to go is gone, and nobody else."""
        if not self.news_at and not self.judge.clicks:
            return
        deps = self.hub.bench.deps
        for event in list(self.pending):
            self._deliver(event)
        assert not self.pending
        self.ticks(3)
        for _ in range(3):
            for batch in batches_of(deps.guard.waiting()):
                deps.decisions.put_list(to_json(batch))
                for voter in (MIA, OTTO):
                    self._click(batch, voter, Verdict.APPROVE)
            self.ticks(3)
            self.ticks(3)
        self.hub.bench.advance(minutes=61)
        sweep("drift", deps)  # forgets whom a crash left in the index
        assert list(deps.guard.waiting()) == []
        self.hub.bench.advance(minutes=5)
        sweep("due", deps)
        sweep("due", deps)
        states = {i.short: i.state for i in instances(self.hub.bench.cloud).values()}
        for person in self.people:
            record = person.record
            rejected_at = max((kept.at for kept in record.status.guard.kept_in), default=None)
            # What was said since a rejection is another matter, and counts; so does what was said beside it and approved since.
            is_kept = (
                rejected_at is not None
                and self.news_at.get(person.key, rejected_at) <= rejected_at
                and not self.judge.approved_beside(record, rejected_at)
            )
            is_in = self.entitled[person.key] or is_kept
            assert (record.spec.presence is Presence.PRESENT) is is_in, f"{person.key}: {record.spec}"
            if not is_in:
                assert set(person.states().values()) <= {"STOPPED", "STOPPING"}, states


def _settings(examples: int):
    return settings(
        max_examples=examples, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck),
        database=None, print_blob=True, phases=[Phase.explicit, Phase.generate], report_multiple_bugs=False,
    )  # fmt: skip


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("shard", range(2))
def test_above_the_limit_nothing_happens_that_nobody_approved(shard):
    machine = type(f"Shard{shard}", (GuardMachine,), {})
    if ARE_THE_SAME:
        machine = seed(20261128 + shard)(machine)
    run_state_machine_as_test(machine, settings=_settings(max(1, RUNS // 20)))


# --- planted faults: a machine that cannot catch these proves nothing


def _anybody_approves(monkeypatch):
    def vote(waiting, decision, concerned, deps):
        return decisions.Vote(waiting=waiting, decision=decision, subject=user_key_for(NORAH))

    monkeypatch.setattr(decisions, "_vote", vote)
    monkeypatch.setattr(decisions, "standing_of", planted.approved_by_any)


def _approves(by: str, machine: GuardMachine) -> None:
    machine.flood(set(range(2, PEOPLE)), "hr")
    machine.somebody_opens_the_page()
    machine.decides(which=1, by=by, verdict=Verdict.APPROVE, twice=False, then=3)


def _lived(machine: GuardMachine, history) -> None:
    history(machine)
    machine.cuts_are_allowed()
    machine.no_window_holds_more_than_its_room()


PLANTS = {
    "no limit": (planted.no_limit, lambda machine: machine.flood(set(range(PEOPLE)), "hr")),
    "a stranger approves": (_anybody_approves, partial(_approves, NORAH)),
    "one alone approves at once": (planted.one_is_enough, partial(_approves, MIA)),
}


@pytest.mark.parametrize("plant", PLANTS)
def test_the_machine_catches_a_planted_fault(monkeypatch, plant):
    change, history = PLANTS[plant]
    machine = GuardMachine()
    machine.begin()
    change(monkeypatch)
    with pytest.raises(AssertionError):
        _lived(machine, history)


@pytest.mark.parametrize("plant", PLANTS)
def test_without_the_fault_the_same_history_is_allowed(plant):
    machine = GuardMachine()
    machine.begin()
    _lived(machine, PLANTS[plant][1])
