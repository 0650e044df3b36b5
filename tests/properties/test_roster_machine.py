"""People come and go in the directory, messages are lost, late or doubled, readings fail or leave people out, in any order.

The directory itself is the oracle: after a good reading whoever was ever listed has access exactly if they are a member; and no wrong
reading changes anybody's access.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from kit import planted
from kit.histories import ARE_THE_SAME, RUNS
from kit.inprocess import OneAfterAnother
from kit.rosters import ANALYSTS, Absences, LeavesOut, Roster
from msgspec.structs import replace

from shared.domain.fleet.roster import Allowed, RosterKind
from shared.domain.people.events import GroupChanged
from shared.domain.plan.guard_settings import GuardSettings
from shared.domain.things.identity import parse_email, user_key_for
from shared.engine.news.deliver import deliver
from shared.engine.sweeps.sweeps import sweep

NAMES = ["Ñandú.O'Neil@sub.example.co", *(f"user{number}@example.com" for number in range(1, 6))]
PEOPLE = st.sampled_from(NAMES)
NESTED = "team@example.com"
FAILS = {"code": "UNAVAILABLE", "message": "busy"}
ROOM = GuardSettings(per_hour=1000, most=1000, group_share=1.0)


class RosterMachine(RuleBasedStateMachine):
    """Six people, a group with a group inside it, and a log that loses messages."""

    @initialize(walked=st.booleans())
    def begin(self, walked: bool) -> None:
        self.roster = Roster.build()
        bench = self.roster.bench
        policy = replace(bench.deps.base_policy, guard=ROOM)
        self.deps = replace(bench.deps, base_policy=policy, workers=OneAfterAnother())
        self.roster.group(NESTED)
        self.roster.add(NESTED)
        self.direct: set[str] = set()
        self.nested: set[str] = set()
        self.absences = Absences()
        self.told: dict[str, bool] = {}  # by the newest message that arrived
        self.listed: set[str] = set()  # whom a reading that was used has listed
        self.late: list[GroupChanged] = []
        self.walked = walked
        self.number = 0

    @property
    def members(self) -> set[str]:
        return self.direct | self.nested

    @rule(person=PEOPLE, inside=st.booleans(), arrives=st.sampled_from(["now", "late", "never", "twice"]))
    def changes(self, person: str, inside: bool, arrives: str) -> None:
        place, group = (self.nested, NESTED) if inside else (self.direct, ANALYSTS)
        was = person in self.members
        self.roster.bench.advance(minutes=1)
        if person in place:
            self.roster.remove(parse_email(person), group=group)
            place.discard(person)
        else:
            self.roster.add(parse_email(person), group=group)
            place.add(person)
        self.absences.note(person, ANALYSTS, person in self.members, self.roster.bench.now)
        if inside or was is (person in self.members):
            return  # the log names nobody of a nested group; what changes nothing is not told
        self.number += 1
        event = GroupChanged(
            event_id=f"m{self.number}", user=parse_email(person), group=ANALYSTS, member=person in self.members,
            occurred_at=self.roster.bench.now, effective_at=self.roster.bench.now, source="directory",
        )  # fmt: skip
        if arrives == "late":
            self.late.append(event)
        elif arrives != "never":
            for _ in range(2 if arrives == "twice" else 1):
                deliver(event, self.deps)
            self.told[person] = event.member

    @rule()
    def a_late_message_comes(self) -> None:
        if not self.late:
            return
        event = self.late.pop(0)
        before = self.access()
        deliver(event, self.deps)
        newest = self.newest_about(event.user)
        if newest is not None and newest > event.occurred_at:
            assert self.access() == before  # newer news, or a newer roster, stands
        else:
            person = next(name for name in NAMES if parse_email(name) == event.user)
            self.told[person] = event.member

    @rule()
    def a_good_reading(self) -> None:
        self.compare()
        if not self.members:
            return  # nobody at all is refused
        expected = {name for name in NAMES if self.expects(name)}
        self.listed |= self.members
        self.told |= {name: name in self.members for name in self.listed}
        assert self.access() == expected

    @rule(kind=st.sampled_from(["a page fails", "forbidden", "left out", "crash"]), data=st.data())
    def a_wrong_reading(self, kind: str, data: st.DataObject) -> None:
        before = self.access()
        if kind == "left out":
            self.compare(without=data.draw(st.sets(PEOPLE, min_size=1)))
            assert before - self.access() <= {name for name in NAMES if name not in self.members}
            return
        faults = self.roster.bench.cloud.world.faults
        code = {"code": "PERMISSION_DENIED"} if kind == "forbidden" else FAILS
        for method in ("searchTransitiveMemberships", "list"):
            self.roster.bench.fault(
                call=f"cloudidentity.memberships.{method}", error=code, times=0, skip=kind == "crash"
            )
        self.compare(keeps_faults=True)
        faults.clear()
        if kind != "crash":
            assert self.access() == before

    def compare(self, *, without: frozenset[str] | set[str] = frozenset(), keeps_faults: bool = False) -> None:
        bench = self.roster.bench
        bench.advance(hours=1)
        if self.walked and not keeps_faults:
            for method in ("searchTransitiveMemberships", "checkTransitiveMembership"):
                bench.fault(call=f"cloudidentity.memberships.{method}", error={"code": "PERMISSION_DENIED"}, times=0)
        allowed = Allowed(people=len(self.members - without), by="mia", at=bench.now)
        self.deps.rosters.allow(RosterKind.GROUPS, allowed)
        deps = self.deps
        if without:
            deps = replace(deps, roster_sources=(LeavesOut(deps.roster_sources[0], without),))
        sweep("roster", deps)
        if not keeps_faults:
            bench.cloud.world.faults.clear()
        if without and self.roster.report().refusal == "":
            self.listed |= self.members - without
        if without:
            self.told |= {name: self.expects(name) for name in self.listed}

    def expects(self, name: str) -> bool:
        """Whether the person has access after a good reading."""
        if name in self.members or name in self.listed:
            return name in self.members
        return self.told.get(name, False)

    def access(self) -> set[str]:
        sweep("due", self.deps)
        return {name for name in NAMES if self.roster.has_access(parse_email(name))}

    def newest_about(self, email: str) -> object:
        stored = self.deps.records.load(user_key_for(parse_email(email)))
        said = None if stored is None else stored.record.facts.at(f"group:{ANALYSTS}", self.roster.bench.now)
        return None if said is None else said.occurred_at

    @invariant()
    def no_roster_cuts_a_member(self) -> None:
        for name in NAMES if hasattr(self, "roster") else ():
            stored = self.deps.records.load(user_key_for(parse_email(name)))
            if stored is not None:
                self.absences.no_false_cut(stored.record, self.roster.bench.now)

    @invariant()
    def every_member_who_was_told_or_listed_has_access(self) -> None:
        if not hasattr(self, "roster"):
            return
        for name in NAMES:
            if name in self.members and self.told.get(name):
                assert self.roster.has_access(parse_email(name)), name


def test_a_lost_message_is_found_and_a_wrong_roster_cuts_nobody():
    run_state_machine_as_test(
        RosterMachine,
        settings=settings(
            max_examples=max(8, RUNS // 100), stateful_step_count=25, deadline=None, derandomize=ARE_THE_SAME,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


@pytest.mark.parametrize("plant", ["no second look", "absence of strangers"])
def test_the_machine_catches_a_planted_fault(monkeypatch, plant):
    if plant == "no second look":
        planted.no_second_look(monkeypatch)
    machine = RosterMachine()
    machine.begin(walked=False)
    machine.changes(person=NAMES[1], inside=False, arrives="now")
    machine.changes(person=NAMES[2], inside=False, arrives="now")
    machine.a_good_reading()
    if plant == "absence of strangers":
        machine.changes(person=NAMES[3], inside=False, arrives="now")
        monkeypatch.setattr(
            type(machine.deps.rosters.load(RosterKind.GROUPS).state), "known_groups", lambda *_: frozenset()
        )
        machine.changes(person=NAMES[3], inside=False, arrives="never")
        with pytest.raises(AssertionError):
            machine.a_good_reading()
        return
    data = type("Data", (), {"draw": lambda *_: {NAMES[2]}})()
    with pytest.raises(AssertionError):
        machine.a_wrong_reading(kind="left out", data=data)
