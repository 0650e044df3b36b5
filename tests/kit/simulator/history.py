"""Histories as data: drawn with a seed, run, shortened when they fail, and kept in tests/histories.

A step is an object whose first key says what it is: `begin` (an entry as a task, by name), `turns` (who runs until the next
call, by name), `advance`, `fault`, `crash`, `works`, `outside`, `deploy`, `finish_one`, `finish`.
A turn of a task that is not there, or cannot run, is left out, so that a history keeps its meaning when steps are taken away and when new kinds of steps come into being.
"""

from __future__ import annotations

import json
import random
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from kit.machine import FAULTS, GROUPS
from kit.simulator.affairs import AFFAIRS
from kit.simulator.journal import Coverage, Journal
from kit.simulator.scenes import Scene
from kit.simulator.world import SCENES, USERS, Simulation, injected
from kit.spark_machine import SPARK, SPARK_FAULTS
from shared.domain.intent.wish import WishKind

KEPT = Path(__file__).resolve().parents[2] / "histories"
Step = dict[str, Any]
_HANDS = ("stop", "start", "delete", "machine", "label")
_OTHER_HANDS = ("enable", "share", "snapshot")  # on an account or a snapshot
_ALIVE = 3  # at least so many entries at once
_MOST_ALIVE = 6  # where entries are to clash
_LONGEST_PASS_S = 480  # an event function lives 540 s
_ENTRIES = 14  # of a history
_MOST_TURNS = 4000
_CLICKS = ("START", "STOP", "KEEP_ON", "END_KEEP_ON", "START_CLUSTER", "DELETE_CLUSTER")


@dataclass(frozen=True)
class Duel:
    """Two entries that change one thing, one right after the other, each planned from what it saw.

    `before` is how the person stands. `first` (an entry) is held when its next call is `one`; then other hands and time; then `second`
    is held when its next call is `other`. What is between the two in `also` runs to its end.
    """

    before: str
    first: str
    one: str
    hand: str
    seconds: int
    second: str
    other: str
    also: tuple[str, ...] = ()


_INSTANCE, _ACCOUNT = "instances", "serviceAccounts"
# By the kind of what is changed. Which pairs of calls these bring next to each other: `Coverage`.
_DUELS = (
    (_INSTANCE, Duel("runs", "leaver", "stop", "stop", 120, "joiner", "start")),
    (_INSTANCE, Duel("runs", "leaver", "stop", "delete", 1, "joiner", "create")),
    (_INSTANCE, Duel("runs", "leaver", "stop", "label", 60, "joiner", "update")),
    (_INSTANCE, Duel("over", "due", "delete", "start", 120, "wake", "stop")),
    (_INSTANCE, Duel("back", "due", "restore", "", 1, "leaver", "stop")),
    (_INSTANCE, Duel("rests", "joiner", "start", "delete", 1, "wake", "create")),
    (_INSTANCE, Duel("rests", "joiner", "start", "label", 60, "wake", "update")),
    (_INSTANCE, Duel("over", "due", "delete", "", 1, "joiner", "start")),
    (_INSTANCE, Duel("over", "due", "delete", "delete", 1, "joiner", "create")),
    (_INSTANCE, Duel("over", "due", "delete", "label", 60, "joiner", "update")),
    (_INSTANCE, Duel("over", "due", "delete", "delete", 240, "wake", "restore", ("joiner",))),
    (_INSTANCE, Duel("off", "wake", "update", "delete", 1, "wake", "create")),
    (_INSTANCE, Duel("back", "due", "restore", "delete", 1, "wake", "create")),
    (_INSTANCE, Duel("back", "due", "restore", "", 180, "wake", "update", ("wake", "label"))),
    (_INSTANCE, Duel("back", "due", "restore", "stop", 120, "wake", "start", ("wake",))),
    (_ACCOUNT, Duel("last", "due", "delete", "enable", 1, "wake", "disable")),
    (_ACCOUNT, Duel("last", "due", "delete", "", 1, "joiner", "enable")),
    (_ACCOUNT, Duel("last", "due", "delete", "", 1, "joiner", "setIamPolicy")),
    (_ACCOUNT, Duel("last", "due", "delete", "account", 1, "joiner", "create")),
    (_ACCOUNT, Duel("runs", "leaver", "disable", "account", 1, "joiner", "create")),
    (_ACCOUNT, Duel("runs", "leaver", "disable", "", 1, "joiner", "enable", ("wake",))),
    (_ACCOUNT, Duel("rests", "joiner", "enable", "account", 1, "wake", "create")),
    (_ACCOUNT, Duel("rests", "joiner", "enable", "enable", 1, "leaver", "disable")),
    (_ACCOUNT, Duel("rests", "joiner", "enable", "share", 1, "leaver", "setIamPolicy")),
    (_ACCOUNT, Duel("rests", "joiner", "enable", "share", 1, "wake", "setIamPolicy")),
    (_ACCOUNT, Duel("runs", "leaver", "setIamPolicy", "account", 1, "joiner", "create")),
)


@dataclass
class Failure:
    """How a history failed: `where` tells one fault from another while a history is shortened."""

    error: BaseException

    @property
    def where(self) -> str:
        frames = traceback.extract_tb(self.error.__traceback__)
        last = frames[-1]
        return f"{type(self.error).__name__} in {Path(last.filename).name}:{last.name}"

    @property
    def text(self) -> str:
        return "".join(traceback.format_exception(self.error)[-6:])


@dataclass
class Ran:
    """What came of a history: the steps as they were, and its measures."""

    steps: list[Step]
    failure: Failure | None
    days: float
    calls: int


def run(
    steps: Sequence[Step] | None, *, seed: str, journal: Journal, coverage: Coverage | None = None, scene: str = ""
) -> Ran:
    """Run a history, or draw one while it runs (`steps` None). Failures of the product are returned, none is raised.

    `scene` draws one of that scene or affair; without it, the seed says what it is of.
    """
    coverage = coverage or Coverage()
    coverage.begin()
    simulation = Simulation(seed=seed, journal=journal, coverage=coverage)
    start = simulation.now
    done: list[Step] = []
    failure = None
    with injected(simulation):
        try:
            if steps is None:
                Draw(seed, simulation, done).all(scene)
            else:
                for step in steps:
                    done.append(step)
                    carry_out(step, simulation)
            simulation.quiesce()
            simulation.close()
        except Exception as error:  # noqa: BLE001 - the finding of this history
            failure = Failure(error)
            journal.note("failure", failure.where)
    return Ran(
        steps=done, failure=failure, days=(simulation.now - start).total_seconds() / 86_400, calls=simulation.calls
    )


def carry_out(step: Step, simulation: Simulation) -> None:  # noqa: C901, PLR0912 - a case a kind of step
    """Do one step."""
    match step:
        case {"turns": turns}:
            for name in turns:
                simulation.turn(name)
        case {"begin": name}:
            simulation.begin(name, step)
        case {"advance": seconds}:
            simulation.advance(seconds)
            simulation.check()
        case {"fault": raw}:
            simulation.fault(raw)
        case {"crash": process}:
            simulation.crash(process)
        case {"works": user}:
            simulation.works(user)
        case {"deploy": image}:
            simulation.desk.deploy(image, step.get("zones", ()))
        case {"scene": name}:
            simulation.open_scene(name)
        case {"in": name, **_more}:
            if name in simulation.scenes:
                simulation.scenes[name].step(step)
        case {"is_cut": user}:
            simulation.is_cut(user)
        case {"outside": user, "what": what}:
            simulation.outside(user, what)
        case {"finish_one": name}:
            while simulation.turn(name):
                pass
        case {"finish": turns}:
            for name in turns:
                simulation.turn(name)
            simulation.finish()
            simulation.check()
        case _:
            raise ValueError(f"no such step: {step}")


@dataclass
class Draw:
    """Draws a history while it runs, so that it knows who is alive."""

    seed: str
    simulation: Simulation
    done: list[Step]
    count: int = 0
    about: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)  # noqa: S311 - a seed that replays, no secret
        # In half of the histories all entries but one in eight are about one person.
        self.together = self.rng.random() < 0.5
        self.person = self.pick(USERS)
        self.scene: Scene | None = None
        # In half of them a task that is about to change something waits for another that is about to change the same thing.
        self.clashes = self.rng.random() < 0.5
        self.up: list[str] = []  # whose turns come next, one after the other
        self.stalls = 0
        self.hands = True  # whether other hands are at work
        self.longest_s = 86_400 * 31  # nothing happens for so long at most
        self.wanted: list[dict[str, Any]] = []  # entries to come before those that are drawn
        self.oldest: datetime | None = None

    def pick(self, items: Sequence[Any]) -> Any:
        return items[int(self.rng.random() * len(items))]

    def all(self, scene: str = "") -> None:
        """Draw the whole history: some people have worked here for a while, then things happen at once."""
        has_scene, drawn = self.rng.random() < 0.25, self.pick(sorted(SCENES))
        affair = next((each for each in AFFAIRS if each.__name__ == scene), None)
        if scene in SCENES or (has_scene and not scene):
            self.open(scene or drawn)
        settled = self.pick((0, 2, 3)) if self.scene is None or not self.scene.is_alone else 0
        for user in USERS[:settled]:
            self.begin({"entry": "news", **self.news(user), "kind": "joiner", "groups": [self.pick(GROUPS[:2])]})
        if self.count:
            self.calm()
        x = self.rng.random()
        if self.scene is not None:
            self.scene.draw(self)
        elif affair is not None:
            affair(self)
        elif x < 0.4:
            self.duel()
        elif x < 0.7:
            self.past()
        else:
            self.pick(AFFAIRS)(self)
        entries = self.count + _ENTRIES - 6
        while self.count < entries:
            while len(self.roots()) < (_MOST_ALIVE if self.clashes else _ALIVE):
                self.begin(self.entry())
            self.turns(1 + int(self.rng.random() * 40))
            self.between()
        self.turns(_MOST_TURNS, until_done=True)

    def open(self, name: str) -> None:
        """Switch a part of the deployment on, for the whole history."""
        self.step({"scene": name})
        self.scene = self.simulation.scenes[name]
        self.person = self.pick(self.simulation.people)

    def duel(self) -> None:
        """Two entries meet at one thing."""
        kind, duel = self.pick(_DUELS)
        group = GROUPS[1] if kind == _ACCOUNT else GROUPS[0]  # an engineer has an account, which comes before all else
        self.stand(duel.before, group)
        self.entry_of(duel.first, group)
        one = self.until(kind, duel.one)
        for _ in range(5 if duel.first == "due" else 0):
            if not one:
                self.step({"advance": 60})
                self.entry_of(duel.first, group)
                one = self.until(kind, duel.one)
        if duel.hand:
            self.step({"outside": self.person, "what": duel.hand})
        also = self.simulation.baton.tasks.copy()
        for what in duel.also:
            if what == "label":
                self.step({"outside": self.person, "what": what})
            else:
                self.entry_of(what, group)
                self.until("", "", but=set(also))
        if duel.seconds:
            self.step({"advance": duel.seconds})
        self.entry_of(duel.second, group)
        other = self.until(kind, duel.other, but=set(also))
        names = [name for name in (one, other) if name]
        self.step({"turns": names if self.rng.random() < 0.5 else names[::-1]})

    def stand(self, how: str, group: str) -> None:
        """Bring the person into that state: entitled and running, or gone for so long."""
        self.entry_of("joiner", group)
        self.minutes(6)
        self.step({"works": self.person})
        if how == "off":
            self.step({"outside": self.person, "what": "label"})
            self.step({"advance": 50})
        if how in {"runs", "off"}:
            return
        self.entry_of("leaver", group)
        self.minutes(5)
        if how == "rests":
            return
        self.step({"advance": 86_400 * (31 if how == "back" else 30) - 300})
        if how == "over":
            return
        self.minutes(7)
        if how == "back":
            self.entry_of("joiner", group)
            self.minutes(2)
        else:
            self.step({"advance": 86_400 * 60 - 120})

    def entry_of(self, what: str, group: str) -> None:
        """Begin an entry about the person."""
        if what in {"joiner", "mover", "leaver"}:
            groups = None if what == "leaver" else [group]
            news = {
                "user": self.person,
                "kind": what,
                "groups": groups,
                "profile": "absent",
                "said_ago": 0,
                "holds_in": 0,
            }
            self.begin({"entry": "news", **news})
        else:
            self.begin({"entry": what, "user": self.person} if what == "wake" else {"entry": what})

    def until(self, kind: str, how: str, but: set[str] = frozenset()) -> str:  # type: ignore[assignment]
        """Run the tasks but some until one is about to change something so. "": they came to their ends."""
        tasks = self.simulation.baton.tasks
        names: list[str] = []
        self.done.append({"turns": names})
        for _ in range(_MOST_TURNS):
            can_run = [name for name in self.simulation.baton.runnable() if name not in but]
            found = [n for n in can_run if kind and tasks[n].how == how and tasks[n].changes.startswith(f"{kind}/")]
            if found or not can_run:
                return found[0] if found else ""
            names.append(self.pick(can_run))
            self.simulation.turn(names[-1])
        return ""

    def past(self) -> None:
        """Perhaps the person has left, long ago or nearly so, and come back; has moved; or has Spark clusters."""
        if self.rng.random() < 0.4:
            return
        news = {"entry": "news", "user": self.person, "profile": "absent", "said_ago": 0, "holds_in": 0}
        group = self.pick(GROUPS[:2])
        match self.pick(("leaver", "leaver", "mover", "cluster")):
            case "leaver":
                self.begin({**news, "kind": "leaver", "groups": None})
                self.minutes(self.pick((1, 3, 6)))
                self.step({"advance": 86_400 * self.pick((29, 30, 31, 61, 91))})
                self.minutes(self.pick((0, 0, 1, 2, 3, 5)))
                back, again = (
                    {**news, "kind": kind, "groups": groups} for kind, groups in (("joiner", [group]), ("leaver", None))
                )
                self.wanted = [{"entry": "due"}, back, again, {"entry": self.pick(("due", "drift"))}, back]
                if self.rng.random() < 0.5:
                    self.begin(back)
                    self.minutes(self.pick((0, 1, 3, 4, 5)))
                    self.wanted = [{"entry": "due"}, again, {"entry": "due"}, back]
            case "mover":
                self.begin({**news, "kind": "mover", "groups": [group]})
                self.minutes(self.pick((0, 1, 2, 3, 5)))
                self.wanted = [
                    {"entry": "due"}, {**news, "kind": "leaver", "groups": None},
                    {"entry": "click", "user": self.person, "kind": self.pick(("START", "STOP"))},
                    {**news, "kind": "joiner", "groups": [self.pick(GROUPS[:2])]}, {"entry": "wake", "user": self.person},
                ]  # fmt: skip
            case _:
                template = self.pick(SPARK)
                self.begin({"entry": "click", "user": self.person, "kind": "START_CLUSTER", "template": template})
                self.minutes(self.pick((0, 1, 3)))

    def held(self, entry: dict[str, Any], kind: str, how: str) -> str:
        """Begin an entry, and let it run until it is about to change something so. Return its task, "" if it came to its end."""
        others = set(self.simulation.baton.tasks)
        self.begin(entry)
        return self.until(kind, how, but=others)

    def alone(self, entry: dict[str, Any]) -> None:
        """Let an entry run to its end, while all others are held."""
        self.held(entry, "", "")

    def shuffle(self, names: list[str], count: int) -> None:
        """So many turns of these tasks, in any order."""
        if names:
            turns = [self.pick(names) for _ in range(count)]
            self.step({"turns": turns})

    def until_stored(self, name: str, prefix: str) -> bool:
        """Run one task until it is about to write an object of that prefix. False: it came to its end."""
        tasks = self.simulation.baton.tasks
        names: list[str] = []
        self.done.append({"turns": names})
        while name in tasks and len(names) < _MOST_TURNS:
            if tasks[name].writes.startswith(prefix):
                return True
            names.append(name)
            if not self.simulation.turn(name):
                break
        return False

    def finish(self) -> None:
        """Let the tasks come to their ends, in any order."""
        self.turns(_MOST_TURNS, until_done=True)

    def minutes(self, count: int) -> None:
        """The tasks end; then so many minutes pass, each with its sweep."""
        self.finish()
        for _ in range(count):
            self.step({"advance": 60})
            self.begin({"entry": "due"})
            self.turns(_MOST_TURNS, until_done=True)

    def step(self, step: Step) -> None:
        self.done.append(step)
        carry_out(step, self.simulation)

    def roots(self) -> set[str]:
        return {task.root for task in self.simulation.baton.tasks.values()}

    def begin(self, entry: dict[str, Any]) -> None:
        self.count += 1
        self.step({"begin": f"e{self.count}", **entry})

    def user(self) -> str:
        if self.together and self.rng.random() < 7 / 8:
            return self.person
        user: str = self.pick(self.simulation.people)
        return user

    def news(self, user: str) -> dict[str, Any]:
        kind = self.pick(("joiner", "joiner", "mover", "leaver"))
        groups = self.pick((None, [], [GROUPS[0]], [GROUPS[1]], list(GROUPS[:2]), [GROUPS[2]]))
        profile = self.pick(("absent", "absent", "analyst", "engineer", None))
        if kind == "joiner" and profile is None:
            profile = "absent"
        said_ago, holds_in = self.pick((0, 0, 0, 60, 3600, 90_000)), self.pick((0, 0, 0, 0, 1800, 259_200))
        return {
            "user": user, "kind": kind, "groups": groups, "profile": profile, "said_ago": said_ago, "holds_in": holds_in,
        }  # fmt: skip

    def entry(self) -> dict[str, Any]:
        if self.wanted:
            return self.wanted.pop(0)
        if self.scene is not None and (self.scene.is_alone or self.rng.random() < 0.6):
            found = self.scene.entry(self)
            if found is not None:
                return found
        what = self.pick(
            ("news", "news", "news", "again", "due", "due", "due", "drift", "idle", "wake", "click", "click", "desk")
        )
        if what == "desk":
            return self.of_the_desk()
        if self.simulation.wakes and what in {"wake", "due"}:
            return {"entry": "wake", "user": self.simulation.wakes.pop(0)}
        if what == "again":
            sent = list(self.simulation.sent_by)
            return {"entry": "again", "of": self.pick(sent)} if sent else {"entry": "due"}
        if what == "news":
            return {"entry": "news", **self.news(self.user())}
        if what == "wake":
            return {"entry": "wake", "user": self.user()}
        if what == "click":
            kind = self.pick(_CLICKS)
            template = {"template": self.pick(SPARK)} if kind.endswith("CLUSTER") else {}
            return {"entry": "click", "user": self.user(), "kind": WishKind(kind).value, **template}
        return {"entry": what}

    def of_the_desk(self) -> dict[str, Any]:
        what = self.pick(("hold", "release", "replay", "decide", "park", "park"))
        pending = [sent.event_id for sent in self.simulation.judge.pending]
        if what == "park":
            return {"entry": "park", "of": self.pick(pending)} if pending else {"entry": "drift"}
        if what in {"hold", "release"}:
            reason = {"reason": "case"} if what == "hold" else {}
            return {"entry": what, "user": self.user(), **reason}
        return {"entry": what}

    def turns(self, count: int, *, until_done: bool = False) -> None:
        """Let the tasks run turn by turn, as the seed says; the names that were drawn become one step."""
        names: list[str] = []
        self.done.append({"finish" if until_done else "turns": names})
        baton = self.simulation.baton
        stays = self.pick((0.0, 0.3, 0.8))  # how often the same task goes on
        for _ in range(count):
            can_run = baton.runnable()
            if not can_run:
                break
            stay = bool(names) and self.rng.random() < stays and names[-1] in can_run
            if self.clashes and not until_done and self.all_wait(can_run):
                break
            names.append(names[-1] if stay and not self.clashes else self.next_of(can_run))
            self.simulation.turn(names[-1])
        baton.check_not_stuck()
        if until_done:
            self.simulation.finish()
            self.simulation.check()

    def all_wait(self, can_run: list[str]) -> bool:
        """Return True, a few times, if each task is about to change something that no other one is: more may begin, and happen."""
        changes = [self.simulation.baton.tasks[name].changes for name in can_run]
        if self.up or not all(changes) or len(set(changes)) < len(changes):
            return False
        self.stalls += 1
        return self.stalls % 5 != 0

    def next_of(self, can_run: list[str]) -> str:
        """Return whose turn it is. Where entries are to clash, two that change one thing do so one after the other."""
        tasks = self.simulation.baton.tasks
        while self.up:
            name = self.up.pop()
            if name in can_run:
                return name
        if self.clashes:
            about: dict[str, list[str]] = {}
            for name in can_run:
                about.setdefault(tasks[name].changes, []).append(name)
            reading = about.pop("", [])
            meet = [names for names in about.values() if len({tasks[name].root for name in names}) > 1]
            if meet:
                first, *self.up = sorted(self.pick(meet), key=lambda _: self.rng.random())
                return first
            can_run = reading or can_run
        name = self.pick(can_run)
        assert isinstance(name, str)
        return name

    def between(self) -> None:
        """Perhaps something happens between two turns: time, a fault, a crash, other hands; or all entries end and much time passes."""
        x = self.rng.random()
        if self.oldest is None or len(self.roots()) < 2:
            self.oldest = self.simulation.now
        elif (self.simulation.now - self.oldest).total_seconds() > _LONGEST_PASS_S:
            self.turns(_MOST_TURNS, until_done=True)
        if (
            self.hands and self.clashes and self.rng.random() < 0.3
        ):  # what they were planned from changes while they wait
            self.step({"outside": self.person, "what": self.pick(("stop", "start", "delete", "enable", "share"))})
            self.step({"advance": self.pick((20, 60, 120))})
        if x < 0.35:
            self.step({"advance": self.pick((1, 5, 20, 60))})
        elif x < 0.55:
            self.step({"fault": self.pick((*FAULTS, *SPARK_FAULTS))})
        elif x < 0.62:
            self.step(
                {"crash": self.pick(("lifecycle", "tick", "hub", "lifecycle", "tick", "hub", "cli", "dead_letter"))}
            )
        elif x < 0.67:
            if self.hands:
                self.step({"outside": self.user(), "what": self.pick((*_HANDS, *_OTHER_HANDS))})
        elif x < 0.85:
            self.turns(_MOST_TURNS, until_done=True)
            passes = self.pick((60, 180, 600, 3600, 86_400, 86_400 * 16, 86_400 * 31))
            self.step({"advance": min(passes, self.longest_s)})
            if self.rng.random() < 0.5:
                self.calm()

    def calm(self) -> None:
        """A few minutes as they mostly are; then everybody works who can."""
        self.turns(_MOST_TURNS, until_done=True)
        for minute in range(6):
            self.step({"advance": 60})
            self.step({"begin": f"c{self.count}.{minute}", "entry": "due"})
            self.turns(_MOST_TURNS, until_done=True)
        for user in self.simulation.people:
            self.step({"works": user})


# --- shortening


def shortened(steps: list[Step], where: str, *, seed: str, most_runs: int = 200) -> list[Step]:
    """Leave out steps, and then halves of turns, as long as the same fault comes; at most so many runs."""
    left = [most_runs]

    def fails(tried: list[Step]) -> bool:
        left[0] -= 1
        failure = run(tried, seed=seed, journal=Journal()).failure
        return failure is not None and failure.where == where

    steps = _less(steps, fails, left)
    for index, step in enumerate(steps):
        for key in ("turns", "finish"):
            if step.get(key):

                def with_turns(
                    turns: list[Any], at: int = index, key: str = key, steps: list[Step] = steps
                ) -> list[Step]:
                    return [*steps[:at], {key: turns}, *steps[at + 1 :]]

                if left[0] > 0:
                    steps = with_turns(_less(step[key], lambda turns, make=with_turns: fails(make(turns)), left))
    return steps


def _less(items: list[Any], fails: Callable[[list[Any]], bool], left: list[int]) -> list[Any]:
    """Return the items without the runs of them that the fault does not need: halves first, single ones last."""
    size = max(1, len(items) // 2)
    while left[0] > 0:
        at = 0
        while at < len(items) and left[0] > 0:
            tried = items[:at] + items[at + size :]
            if fails(tried):
                items = tried
            else:
                at += size
        if size == 1:
            break
        size = max(1, size // 2)
    return items


def keep(ran: Ran, *, seed: str, folder: Path = KEPT) -> Path:
    """Write a failed history down, shortened; it runs first from now on."""
    assert ran.failure is not None
    short = shortened(ran.steps, ran.failure.where, seed=seed)
    path = folder / f"{seed.replace('/', '-')}.json"
    content = {"version": 1, "seed": seed, "failed": ran.failure.where, "steps": short}
    folder.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return path


def read(path: Path) -> tuple[str, list[Step]]:
    """The seed and the steps of a kept history."""
    content = json.loads(path.read_text())
    if content["version"] != 1:
        raise ValueError(f"{path.name} has version {content['version']}, not 1")
    return content["seed"], content["steps"]
