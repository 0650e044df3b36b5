"""The directory beside the messages: people come and go in groups, news of it are lost, and readings fail or leave people out.

At rest the directory itself is the oracle: whoever a reading has listed is in a group exactly if the directory says so.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from kit.machine import GROUPS
from kit.oracle import Sent
from kit.rosters import Absences, LeavesOut, Roster
from kit.simulator.scenes import Scene
from shared.domain.fleet.roster import Allowed, RosterKind, RosterOutcome
from shared.domain.people.sources import FROM_ROSTER
from shared.domain.things.identity import parse_email, user_key_for

if TYPE_CHECKING:
    from kit.simulator.baton import Task
    from kit.simulator.history import Draw
    from kit.simulator.world import Simulation
    from shared.engine.ports.deps import Deps

STAYS = "zoe.stays@example.com"  # a roster of nobody is refused
_PAGES = ("searchTransitiveMemberships", "checkTransitiveMembership", "list", "lookup")
_ERRORS = ({"code": "UNAVAILABLE"}, {"code": "PERMISSION_DENIED"})


class _Read:
    """A reading under way: who has been listed by it for sure, if it comes to a good end, and is the only one."""

    def __init__(self, members: set[tuple[str, str]], alone: bool, at: datetime) -> None:
        self.members, self.alone, self.at = members, alone, at


class Rosters(Scene):
    """See the module. `left_out` are the people whom readings leave out for now."""

    name = "rosters"
    processes = {"roster": "tick", "member": "lifecycle", "allow": "cli"}  # noqa: RUF012
    options = {"roster_groups": True, "roster_employees": False}  # noqa: RUF012

    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation)
        self.absences = Absences()
        self.left_out: set[str] = set()
        self.listed: set[tuple[str, str]] = set()
        self._reads: dict[str, _Read] = {}

    def begin(self) -> None:
        self.simulation.bystanders = (STAYS,)
        self.directory = Roster(self.simulation.bench)
        with self.simulation.undisturbed():
            for group in GROUPS[:2]:
                self.directory.group(group)
        self._member(STAYS, GROUPS[0], member=True)

    def wired(self, deps: Deps) -> Deps:
        sources = tuple(LeavesOut(source, self.left_out) for source in deps.roster_sources)
        return replace(deps, roster_sources=sources)

    @property
    def members(self) -> set[tuple[str, str]]:
        known = {(str(parse_email(user)), group) for user in self.simulation.everybody for group in GROUPS[:2]}
        return {(user, group) for user, group in known if self.absences.is_in(user, group)}

    # --- a history

    def draw(self, draw: Draw) -> None:
        """Some are in the directory, and a first reading is the baseline; then the person's own story."""
        for user in draw.simulation.people[: draw.pick((1, 2, 3))]:
            self._draw_change(draw, user, draw.pick(GROUPS[:2]), member=True)
        draw.begin({"entry": "roster"})
        draw.minutes(draw.pick((2, 6)))
        if draw.rng.random() < 0.4:  # the directory leaves out who is there, and nobody is cut
            draw.step({"in": self.name, "leave_out": [draw.person]})
            draw.begin({"entry": "allow"})
            draw.finish()
            draw.wanted = [{"entry": "roster"}, {"entry": "due"}, {"entry": "roster"}]

    def entry(self, draw: Draw) -> dict[str, Any] | None:
        x = draw.rng.random()
        if x < 0.25:
            return {"entry": "roster"}
        if x < 0.4:
            group = draw.pick(GROUPS[:2])
            user = str(parse_email(draw.user()))
            return self._draw_change(draw, user, group, member=(user, group) not in self.members)
        if x < 0.45:
            draw.step({"in": self.name, "leave_out": [draw.user()] if draw.rng.random() < 0.5 else []})
        elif x < 0.5:
            call = {"call": f"cloudidentity.memberships.{draw.pick(_PAGES)}", "error": draw.pick(_ERRORS)}
            draw.step({"fault": {**call, "times": draw.pick((1, 1, 0))}})
        elif x < 0.55:
            return {"entry": "allow"}
        return None

    def _draw_change(self, draw: Draw, user: str, group: str, *, member: bool) -> dict[str, Any] | None:
        """The directory changes; in half of the cases the message of it is lost."""
        draw.step({"in": self.name, "user": user, "group": group, "member": member})
        if draw.rng.random() < 0.5:
            return None
        said = {"entry": "member", "user": user, "group": group, "member": member}
        if draw.rng.random() < 0.5:
            return said
        draw.begin(said)
        return None

    def work(self, name: str, entry: dict[str, Any]) -> Callable[[], object] | None:
        match entry["entry"]:
            case "roster":
                alone = not self._reads
                for read in self._reads.values():
                    read.alone = False
                out = {str(parse_email(user)) for user in self.left_out}
                members = {(user, group) for user, group in self.members if user not in out}
                self._reads[name] = _Read(members, alone, self.simulation.now)
                return self.simulation.tick_of("roster", name)
            case "member":
                return partial(self.simulation.deliver, self._said(name, entry))
            case _:
                return self._allow

    def _said(self, name: str, entry: dict[str, Any]) -> Sent:
        now = self.simulation.now
        attributes = {"group": entry["group"], "member": entry["member"]}
        sent = Sent(
            event_id=name, kind="member", user=str(parse_email(entry["user"])), occurred=now, effective=now,
            attributes=attributes, published=now, explicit=False, source="directory",
        )  # fmt: skip
        self.simulation.sends(name, sent)
        return sent

    def _allow(self) -> None:
        deps = self.simulation.deps_of("cli")
        people = len({user for user, _ in self.members})
        deps.rosters.allow(RosterKind.GROUPS, Allowed(people=people, by="mia", at=deps.clock.now()))

    def step(self, step: dict[str, Any]) -> None:
        if "leave_out" in step:
            self.left_out.clear()
            self.left_out.update(step["leave_out"])
            self._not_listed({str(parse_email(user)) for user in self.left_out})
        else:
            self._member(step["user"], step["group"], member=step["member"])

    def _member(self, user: str, group: str, *, member: bool) -> None:
        if self.absences.is_in(user, group) is member:
            return
        with self.simulation.undisturbed():
            change = self.directory.add if member else self.directory.remove
            change(str(parse_email(user)), group=group)
        self.absences.note(user, group, member, self.simulation.now)
        if not member:
            self._not_listed({str(parse_email(user))})

    def _not_listed(self, users: set[str]) -> None:
        for read in self._reads.values():
            read.members = {(user, group) for user, group in read.members if user not in users}

    # --- the judge

    def ended(self, task: Task) -> None:
        read = self._reads.pop(task.name, None)
        if read is None or task.error is not None or not read.alone:
            return
        report = self.simulation.bench.deps.rosters.report(RosterKind.GROUPS)
        if report is None or report.read_at < read.at or report.refusal:
            return
        if not {RosterOutcome.FAILED.value, RosterOutcome.STILL_THERE.value} & set(report.found):
            self.listed |= read.members

    def check(self) -> None:
        """No reading has cut whoever was a member since it began."""
        deps, now = self.simulation.bench.deps, self.simulation.now
        for user in self.simulation.everybody:
            stored = deps.records.load(user_key_for(parse_email(user)))
            if stored is not None:
                self.absences.no_false_cut(stored.record, now)

    def quiet(self) -> None:
        self.left_out.clear()

    def hour(self, name: str) -> None:
        for kind in ("allow", "roster"):
            self.simulation.begin(f"{name}.{kind}", {"entry": kind})
            self.simulation.finish()

    def settled(self) -> None:
        """A lost joiner and a lost leaver have been found: the directory's word is the last one about whom it lists, or has listed."""
        simulation = self.simulation
        report = simulation.bench.deps.rosters.report(RosterKind.GROUPS)
        assert report is not None
        assert not report.refusal, f"the roster is refused although nothing is wrong: {report}"
        members, now = self.members, simulation.now
        for user in simulation.everybody:
            stored = simulation.bench.deps.records.load(user_key_for(parse_email(user)))
            for group in GROUPS[:2]:
                is_in = (str(parse_email(user)), group) in members
                said = stored.record.facts.at(f"group:{group}", now) if stored is not None else None
                # Perhaps a reading that met another one has listed them, perhaps not.
                by_roster = said is not None and said.source == FROM_ROSTER and said.value is not True
                if is_in or by_roster or (str(parse_email(user)), group) in self.listed:
                    sent = Sent(
                        event_id=f"directory {user} {group}", kind="member", user=str(parse_email(user)), occurred=now, effective=now,
                        attributes={"group": group, "member": is_in}, explicit=False, source="directory",
                    )  # fmt: skip
                    simulation.judge.sent.append(sent)
