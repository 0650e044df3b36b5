"""The simulated deployment: three processes over one embedded cloud, their entries as tasks, and the judge.

An entry is what production runs: the decorated functions `lifecycle` and `tick` with a CloudEvent, or a click on the page (the
engine's door of the page, `wishes.ask`, and the wake-up that follows it).
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import importlib
import json
import pkgutil
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, time, timedelta
from fnmatch import fnmatch
from functools import partial
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import flask
from cloudevents.http import CloudEvent
from msgspec.structs import replace

import shared.cloud
from emulator.faults import Fault, Faults
from functions.lifecycle import lifecycle
from functions.tick import tick
from kit.inprocess import ENDPOINT, START, Bench, KitClock, ListLog, WsgiAdapter, make_bench
from kit.ledger import Ledger
from kit.life import settings_with
from kit.machine import PROFILES, WorldMachine
from kit.mail_judge import TOLD_TO_OPERATORS
from kit.oracle import Sent, must_lose_access, wanted_profile
from kit.simulator.baton import Baton, CrashError, Task
from kit.simulator.desk import PROCESSES, Desk, body_of
from kit.simulator.floods import Floods
from kit.simulator.journal import Coverage, Journal, change, written
from kit.simulator.mails import Mails
from kit.simulator.rosters import Rosters
from kit.simulator.scenes import Scene
from shared import wiring
from shared.cloud.http.clients import Clients, CloudConfig
from shared.domain.fleet.drift import _hour_of
from shared.domain.intent.wish import Asked, WishKind
from shared.domain.people.sources import SHIPPED
from shared.domain.things.errors import BenchkeeperError, NotSignedInError
from shared.domain.things.identity import UserEmail, account_email, account_id_for, parse_email, user_key_for
from shared.domain.things.late import _Late
from shared.domain.things.times import rfc3339
from shared.engine.news.requests import ask
from shared.engine.ports.deps import Deps
from shared.engine.sweeps.sweeps import sweep
from shared.messages.parse import wake_message
from shared.settings import Settings
from shared.wiring import patience_s, wire

USERS = ("ann@example.com", "ann@example.org", "Ñandú.O'Neil@sub.example.co")
SWEEPS = ("due", "idle", "drift")
SCENES: dict[str, type[Scene]] = {scene.name: scene for scene in (Rosters, Mails, Floods)}
_PROCESS = {
    "news": "lifecycle",
    "again": "lifecycle",
    "wake": "lifecycle",
    "click": "hub",
    **dict.fromkeys(SWEEPS, "tick"),
    **PROCESSES,
    **{kind: process for scene in SCENES.values() for kind, process in scene.processes.items()},
}
_TOPIC = "//pubsub.googleapis.com/projects/{project}/topics/{topic}"
_TYPE = "google.cloud.pubsub.topic.v1.messagePublished"
_APP = flask.Flask("simulator")
_HOURS = 3  # after the faults end, all is settled within three sweeps of each kind
_HOURS_OF_A_ROLLOUT = 7  # a wave takes a drift sweep; there are two, and whoever failed before has an hour's patience


class UnsettledError(AssertionError):
    """The world did not come to rest in time."""


# `Simulation._made` gives the baton's locks to the modules that are there, so those that are imported late are imported now.
for _found in pkgutil.walk_packages(shared.cloud.__path__, "shared.cloud."):
    importlib.import_module(_found.name)


def _made_now(deps: Deps) -> dict[str, Any]:
    """Return the parts of `deps` that are made late, made while modules have the baton's locks: later they would get real ones."""

    def made(part: Any) -> Any:
        return part.__getattr__("__class__") and part._made if isinstance(part, _Late) else part

    parts = {name: made(getattr(deps, name)) for name in deps.__struct_fields__}
    mail = deps.mail and replace(deps.mail, **{name: made(getattr(deps.mail, name)) for name in ("server", "chat")})
    return {**parts, "mail": mail, "roster_sources": tuple(made(each) for each in deps.roster_sources)}


class SimClock(KitClock):
    """Virtual time alone: what measures real seconds is told virtual ones."""

    def monotonic_s(self) -> float:
        return (self.now() - START).total_seconds()


class SimSignIn:
    """The port `SignIn` with a signature that is the same each time; Google's are not, as ECDSA draws a number."""

    def identify(self, headers: Any) -> UserEmail:
        return self.subject_of(self.assertion(headers), START)

    def assertion(self, headers: Any) -> str:
        return str(headers.get("assertion", ""))

    def subject_of(self, assertion: str, at: datetime) -> UserEmail:  # noqa: ARG002 - the port's
        said, _, who = assertion.partition(":")
        if said != "signed":
            raise NotSignedInError(user_message="Sign in.", detail="no assertion")
        return parse_email(who)


class SimLog(ListLog):
    """The kit's log, whose lines go into the journal."""

    def __init__(self, simulation: Simulation) -> None:
        super().__init__()
        self._simulation = simulation

    def _add(self, severity: str, message: str, facts: dict[str, Any]) -> None:
        self._simulation.journal.note("log", self._simulation.baton.who, severity, message, facts)
        mails = self._simulation.scenes.get("mails")
        if isinstance(mails, Mails) and message in TOLD_TO_OPERATORS:
            mails.untold.append((severity, message, facts))
        if severity == "ERROR" and facts.get("reason") == "Unexpected":
            self._simulation.unexpected.append(f"{message}: {facts}")


class SimAdapter(WsgiAdapter):
    """The embedded cloud's door with the hook: the baton goes round before and after each call, and the journal has it."""

    def __init__(self, simulation: Simulation, adapter: WsgiAdapter) -> None:
        super().__init__(adapter._cloud)
        self._simulation = simulation

    def send(self, request: Any, **options: Any) -> Any:
        """Google's own clients come this way. They write the entries of a map in an order that differs from process to process."""
        if request.body and str(request.headers.get("content-type", "")).startswith("application/json"):
            request.body = json.dumps(json.loads(request.body), sort_keys=True).encode()
            request.headers["content-length"] = str(len(request.body))
        return super().send(request, **options)

    def answer(self, method: str, url: str, headers: Any, body: bytes | None) -> Any:
        simulation, baton = self._simulation, self._simulation.baton
        parts = urlsplit(url)
        asked = parts.path + (f"?{parts.query}" if parts.query else "")
        if baton.current is not None:
            baton.current.how, baton.current.changes = change(method, asked, body or b"")
            baton.current.writes = written(method, body or b"")
        baton.pause()
        journal = simulation.bench.cloud.world.journal
        count = journal.count
        answer = super().answer(method, url, headers, body)
        if baton.current is not None:
            baton.current.how = baton.current.changes = baton.current.writes = ""
        if method == "POST" and answer.status == 200 and b'"name": "records/' in (body or b"")[:400]:
            simulation.note_starts()
        simulation.journal.note("call", baton.who, method, asked, body or b"", answer.status, answer.content)
        task = baton.current
        if task is not None:
            simulation.calls += 1
            simulation.look_at(task, body or b"")
            if journal.count > count:
                entry = journal._entries[-1]
                simulation.coverage.note(task.root, f"{entry.service}.{entry.method}", entry.resource)
        baton.pause()
        return answer


class Judge(WorldMachine):
    """What the state machine says of the world, without its rules: its oracle, its invariants, its rest."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.ledger = Ledger(bench)
        self.sent: list[Sent] = []
        self.pending: list[Sent] = []
        self.rested: set[str] = set()
        self.two_by_others: set[str] = set()
        self.unwanted_since: dict[str, datetime] = {}
        self.noticed: dict[str, datetime] = {}
        self.on_hold: set[str] = set()
        self.known_as: dict[str, list[str]] = {}
        self.tells = False

    def _busy(self) -> list[str]:
        """With messages to users, a record has a time for its next mail, which may be near."""
        return (
            [str(row.user_key) for row in self.bench.deps.records.rows() if row.busy] if self.tells else super()._busy()
        )

    def noticed_since(self, user: str) -> datetime:
        """Return when the record says that access ended: no sweep may come for months, and news said together may come one by one."""
        stored = self.bench.deps.records.load(user_key_for(parse_email(user)))
        since = stored.record.spec.absent_since if stored is not None else None
        return since or self.bench.now


class Simulation:
    """One history's world. `turn_of` is asked at each turn of the quiet phase; until then the history says who is next."""

    def __init__(self, *, seed: str, journal: Journal, coverage: Coverage) -> None:
        self.seed = seed
        self.journal = journal
        self.coverage = coverage
        self.baton = Baton()
        self.calls = 0
        self.unexpected: list[str] = []
        self.sent_by: dict[str, Sent] = {}
        self.entries: dict[str, dict[str, Any]] = {}
        self.wakes: list[str] = []
        self.unseen: set[str] = (
            set()
        )  # whose account other hands changed: no listing shows it, a sweep comes once a day
        self.people: tuple[str, ...] = USERS
        self.bystanders: tuple[str, ...] = ()  # about whom no history draws anything
        self.options: dict[str, Any] = {}  # settings
        self.scenes: dict[str, Scene] = {}
        self._deps: dict[str, Deps] = {}
        with self._made():
            self.bench = make_bench(settings=settings_with(PROFILES))
            self.bench.log = SimLog(self)  # type: ignore[assignment]
            self.adapter = SimAdapter(self, self.bench.adapter)
            self.bench.adapter = self.adapter
            project = self.bench.settings.project
            for topic in (self.bench.settings.topic_dead_letter, self.bench.settings.topic_wake):
                self.bench.control("PUT", f"/v1/projects/{project}/topics/{topic}", body={})
            self.bench.cloud.world.journal.clear()
            self.bench.clients, self.bench.deps = self._wired("tick")
        self.judge = Judge(self.bench)
        self.desk = Desk(self)
        for process in ("lifecycle", "tick", "hub"):
            self._start(process)

    @contextlib.contextmanager
    def _made(self) -> Iterator[None]:
        """While the product is put together its modules get the baton's locks."""
        changed = {
            name: module
            for name, module in list(sys.modules.items())
            if name.startswith(("shared.cloud.", "portal.")) and getattr(module, "threading", None) is threading
        }
        for name, module in changed.items():
            module.threading = self.baton.threading_for(name)  # type: ignore[attr-defined]
        try:
            yield
        finally:
            for module in changed.values():
                module.threading = threading  # type: ignore[attr-defined]

    def _wired(self, component: str) -> tuple[Clients, Deps]:
        settings = self.bench.settings
        config = CloudConfig(
            project=settings.project, bucket=settings.bucket, api_endpoint=ENDPOINT, patience_s=patience_s(component)
        )
        clients = Clients(config, mount=self.adapter, door=self.adapter.ask)
        clients.transport()
        wired = wire(settings, log=SimLog(self), clients=clients)
        deps = replace(
            replace(wired, **_made_now(wired)),
            clock=SimClock(self.bench.cloud),
            workers=self.baton,
            sign_in=SimSignIn(),
        )
        for scene in self.scenes.values():
            deps = scene.wired(deps)
        return clients, deps

    def _start(self, process: str) -> None:
        with self._made():
            _, deps = self._wired(process)
        # The page's and the functions' clocks are the cloud's, which they also keep what they read by.
        for part in (deps.policies, deps.books, deps.guard, deps.notebooks):
            part._clock = deps.clock
        self._deps[process] = deps
        wiring._CACHED[process] = (self.bench.settings, deps)

    def deps_of(self, process: str) -> Deps:
        """Return what a process works with; it starts with its first entry."""
        return self._deps[process]

    def deploy(self, settings: Settings) -> None:
        """Start each process anew with other settings, beside what runs."""
        self.bench.settings = settings
        with self._made():
            self.bench.clients, self.bench.deps = self._wired("tick")
        for process in list(self._deps):
            self._start(process)
        self.journal.note("deploy")

    # --- scenes

    def open_scene(self, name: str) -> None:
        """Switch a part of the deployment on. It is for the beginning of a history, before anything is known."""
        if name in self.scenes:
            return
        scene = SCENES[name](self)
        scene.begin()
        self.scenes[name] = scene
        self.options |= scene.options
        self.judge.tells = "mails" in self.scenes
        self.deploy(settings_with(PROFILES, **self.options))

    def lives_with(self, people: tuple[str, ...]) -> None:
        """From now on the history is about these people."""
        self.people = self.judge.users = people

    @property
    def everybody(self) -> tuple[str, ...]:
        return (*self.people, *self.bystanders)

    def scene_of(self, kind: str) -> Scene | None:
        """Return the scene that a kind of entry belongs to, if it is open."""
        return next((scene for scene in self.scenes.values() if kind in scene.processes), None)

    @property
    def now(self) -> datetime:
        return self.bench.now

    def random(self, *about: object) -> str:
        """Hexadecimal digits that follow from the history and the task alone."""
        task = self.baton.current
        if task is not None:
            task.drawn += 1
        drawn = task.drawn if task is not None else self.calls
        return hashlib.sha256(repr((self.seed, self.baton.who, drawn, about)).encode()).hexdigest()

    # --- entries

    def begin(self, name: str, entry: dict[str, Any]) -> None:
        """Begin an entry as a task. One whose message is not there (it was left out of the history) begins nothing."""
        kind = entry["entry"]
        match kind:
            case "news":
                sent = self._news(name, entry)
                work = partial(self.deliver, sent)
            case "again":
                if entry["of"] not in self.sent_by:
                    return
                work = partial(self.deliver, self.sent_by[entry["of"]])
            case "wake":
                key = user_key_for(parse_email(entry["user"]))
                work = partial(self.handle, lifecycle, wake_message(key), SHIPPED["wake"].topic, f"w-{name}", self.now)
            case "click":
                work = partial(self._click, entry)
            case "due" | "idle" | "drift":
                work = self.tick_of(kind, name)
            case _:
                scene = self.scene_of(kind)
                if scene is None and kind not in PROCESSES:
                    return  # its scene is not open
                own = scene.work(name, entry) if scene is not None else self.desk.work(name, entry)
                if own is None:
                    return
                work = own
        if _PROCESS[kind] not in self._deps:
            self._start(_PROCESS[kind])
        self.entries[name] = entry
        self.journal.note("begin", name, entry)
        self.baton.begin(name, _PROCESS[kind], work)

    def _news(self, name: str, entry: dict[str, Any]) -> Sent:
        attributes: dict[str, Any] = {}
        if entry["groups"] is not None and entry["kind"] != "leaver":
            attributes["groups"] = entry["groups"]
        if entry["profile"] != "absent" and entry["kind"] != "leaver":
            attributes["profile"] = entry["profile"]
        occurred = self.now - timedelta(seconds=entry["said_ago"])
        if occurred.astimezone(UTC).time() == time():  # a day, no moment
            occurred -= timedelta(seconds=1)
        sent = Sent(
            event_id=name,
            kind=entry["kind"],
            user=str(parse_email(entry["user"])),
            occurred=occurred,
            effective=occurred + timedelta(seconds=entry["holds_in"]),
            attributes=attributes,
            published=self.now,
        )
        self.sends(name, sent)
        return sent

    def sends(self, name: str, sent: Sent) -> None:
        """Note that a message was published: Pub/Sub brings it until it is taken."""
        self.judge.sent.append(sent)
        self.judge.pending.append(sent)
        self.sent_by[name] = sent

    def tick_of(self, kind: str, name: str) -> Callable[[], None]:
        """Return a tick of that sweep."""
        body = json.dumps({"sweep": kind}).encode()
        return partial(self.handle, tick, body, "workbench-tick", f"t-{name}", self.now)

    def deliver(self, sent: Sent) -> None:
        """Hand a message to the function `lifecycle`, until it is taken."""
        assert sent.published is not None
        # With an even number no event that nobody reads stands beside it, whose letter Google's own client would publish.
        log = None
        if sent.kind == "member":
            log = self.judge.body_of_log(dataclasses.replace(sent, event_id=f"e{2 * int(sent.event_id[1:])}"))
        topic = SHIPPED["hr" if log is None else "directory"].topic
        self.handle(lifecycle, body_of(sent) if log is None else log, topic, sent.event_id, sent.published)
        with contextlib.suppress(ValueError):
            self.judge.pending.remove(sent)

    def handle(
        self,
        function: Callable[[CloudEvent], None],
        body: bytes,
        topic: str,
        message_id: str,
        published: datetime,
        *,
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        """Hand a function its CloudEvent, as Eventarc does. Raises what the function raises: a nack."""
        about = {
            "id": message_id,
            "source": _TOPIC.format(project=self.bench.settings.project, topic=topic),
            "type": _TYPE,
            "time": rfc3339(published),
        }
        message = {
            "data": base64.b64encode(body).decode(), "messageId": message_id, "publishTime": rfc3339(published),
            "attributes": dict(attributes or {}),
        }  # fmt: skip
        event = CloudEvent(
            about, {"message": message, "subscription": "projects/p/subscriptions/s", "deliveryAttempt": 1}
        )
        with _APP.test_request_context():
            function(event)

    def _click(self, entry: dict[str, Any]) -> None:
        user = parse_email(entry["user"])
        kind = WishKind(entry["kind"])
        until = self.now + timedelta(hours=2) if kind is WishKind.KEEP_ON else None
        asked = Asked(kind=kind, template=entry.get("template", ""), until=until)
        if kind is WishKind.STOP:  # it counts from the moment of the click, also when the page's process dies in it
            self.judge.rested.add(str(user))
        answer = ask(user_key_for(user), asked, self._deps["hub"], subject=user, assertion=f"signed:{user}")
        if answer is not None and answer.changed:
            self.wakes.append(entry["user"])

    def note_starts(self) -> None:
        """Note whose record was written while another task was about to start or create an instance of theirs.

        No call to Google can be bound to the record's state. So a replacement may begin while the old instance starts: two run until
        the next pass, which stops the former.
        """
        for task in self.baton.tasks.values():
            if task is not self.baton.current and task.how in {"start", "create"} and "instances/" in task.changes:
                self.judge.two_by_others |= {
                    user
                    for user in map(str, map(parse_email, self.everybody))
                    if str(user_key_for(parse_email(user))) in task.changes
                }

    def look_at(self, task: Task, body: bytes) -> None:
        """Note of whom an idle sweep writes the record: they may be stopped for idleness, by this entry or a later one."""
        if self.entries.get(task.root, {}).get("entry") == "idle":
            for user in self.everybody:
                if f'"records/{user_key_for(parse_email(user))}.json"'.encode() in body:
                    self.judge.rested.add(str(parse_email(user)))

    # --- steps

    def turn(self, name: str) -> bool:
        """One turn of a task; judge how it ended. False: it could not run."""
        task = self.baton.turn(name)
        if task is None:
            return False
        if task.is_done and task.parent is None:
            self._ended(task)
        return True

    def _ended(self, task: Task) -> None:
        self.journal.note("end", task.name, type(task.error).__name__)
        if task.error is not None and not isinstance(task.error, (BenchkeeperError, CrashError)):
            raise task.error
        if self.unexpected:
            raise AssertionError(self.unexpected[0])
        with self.undisturbed():
            self.desk.look_at_letters()
            for scene in self.scenes.values():
                scene.ended(task)

    def finish(self) -> None:
        """Let all tasks come to their ends, in turns."""
        while self.baton.tasks:
            self.baton.check_not_stuck()
            for name in self.baton.runnable():
                self.turn(name)

    def advance(self, seconds: float) -> None:
        self.judge._note_unwanted()
        self._check_scenes()
        self.bench.advance(seconds=seconds)
        self.journal.note("advance", seconds)

    def fault(self, raw: dict[str, Any]) -> None:
        self.bench.cloud.world.faults.add(Fault.parse(dict(raw)))
        self.journal.note("fault", raw)

    def crash(self, process: str) -> None:
        """A process dies with all its entries, and starts anew."""
        self.journal.note("crash", process, self.baton.crash(process))
        self._start(process)

    def works(self, user: str) -> None:
        with self.undisturbed():
            self.judge.ledger.write(str(parse_email(user)))

    def outside(self, user: str, what: str) -> None:
        if what == "account":
            key = user_key_for(parse_email(user))
            email = account_email(account_id_for(key), self.bench.settings.project)
            path = f"/v1/projects/{self.bench.settings.project}/serviceAccounts/{email}"
            with self.undisturbed():
                self.bench.clients.json("iam").call_or_none("DELETE", path)
            self.unseen.add(user)
        elif what in {"enable", "share", "snapshot"}:
            self.judge.outside_of_notebooks(user=user, what=what)
            self.unseen.add(user)
        else:
            self.judge.outside(user=user, what=what)

    @contextlib.contextmanager
    def undisturbed(self) -> Iterator[None]:
        world = self.bench.cloud.world
        faults, world.faults = world.faults, Faults()
        try:
            with self.bench.other_hands():
                yield
        finally:
            world.faults = faults

    def check(self) -> None:
        """What always holds."""
        with self.undisturbed():
            self._check_scenes()  # first: what is missing is forgotten by the next
            self.judge.data_is_kept()
            self.judge.never_two()

    def _check_scenes(self) -> None:
        with self.undisturbed():
            for scene in self.scenes.values():
                scene.check()

    def is_cut(self, user: str) -> None:
        """Hold that whoever is known to have left is cut, although a bucket that no cut needs refuses everything.

        Nothing is held while an entry is at work, or where another call may have failed.
        """
        user, judge = str(parse_email(user)), self.judge
        buckets = {*self.bench.settings.all_buckets} - {self.bench.settings.bucket}
        faults = self.bench.cloud.world.faults.listing()
        others = [each for each in faults if not any(fnmatch(name, each["resource"]) for name in buckets)]
        if not self.baton.tasks and not others and must_lose_access(judge.sent, user, self.now):
            judge.access_is_cut(user)

    # --- quiet

    def quiesce(self) -> None:
        """No more trouble: what was not acked comes again, the schedule goes on, and within three sweeps of each kind all is settled."""
        self.finish()
        self.bench.cloud.world.faults.clear()
        for scene in self.scenes.values():
            scene.quiet()
        judge = self.judge
        number = 0
        for _ in range(5):
            for sent in [each for each in judge.pending if each.event_id not in self.desk.parked]:
                number += 1
                name = f"redelivery{number}"
                self.entries[name] = {"entry": "again"}
                self.baton.begin(name, "lifecycle", partial(self.deliver, sent))
            self.finish()
            if self.desk.parked:
                self.begin(f"replay{number}", {"entry": "replay"})
                self.finish()
        assert not judge.pending, "a message is not taken although nothing is wrong"
        for number, entry in enumerate(self.desk.release_the_rest()):
            self.begin(f"release{number}", entry)
        self.finish()
        for user in sorted(self.unseen):
            self.begin(f"look.{user}", {"entry": "wake", "user": user})
            self.finish()
        judge.two_by_others = {str(parse_email(user)) for user in self.everybody}  # whom other hands gave a second one
        for hour in range(_HOURS_OF_A_ROLLOUT if self.desk.image else _HOURS):
            if self.desk.image:
                self.begin(f"q{hour}.decide", {"entry": "decide"})
                self.finish()
            for scene in self.scenes.values():
                scene.hour(f"q{hour}.{scene.name}")
            self._minutes_of(f"q{hour}.a", 9)
            judge.two_by_others.clear()
            self.advance(35 * 60)
            self._sweeps(f"q{hour}", "idle", "drift")
            self._minutes_of(f"q{hour}.b", 16)
        for number in range(2):
            wait = judge.longest_wait()
            if wait:
                self.advance(int(wait.total_seconds()) + 60)
                self._minutes_of(f"late{number}.a", 9)
                self._sweeps(f"late{number}", "idle", "drift")
                self._minutes_of(f"late{number}.b", 16)
        self._is_settled()

    def _minutes_of(self, name: str, count: int) -> None:
        for minute in range(count):
            self.advance(60)
            self._sweeps(f"{name}{minute}", "due")
            for scene in self.scenes.values():
                scene.minute(f"{name}{minute}.{scene.name}")
            self.check()

    def _sweeps(self, name: str, *kinds: str) -> None:
        for kind in kinds:
            self.begin(f"{name}.{kind}", {"entry": kind})
        self.finish()

    def _is_settled(self) -> None:
        judge = self.judge
        keys = [user_key_for(parse_email(user)) for user in self.people]
        for hour in range(len(keys)):  # in one hour of the day a sweep always wants to look at somebody's account
            if all(_hour_of(key) != self.now.hour for key in keys):
                break
            self.advance(44 * 60)
            self._minutes_of(f"look{hour}", 16)
        summary = sweep("drift", self.bench.deps, dry_run=True)
        if summary.decisions or judge._busy():
            raise UnsettledError(f"not settled after {_HOURS} sweeps of each kind: {summary.decisions} {judge._busy()}")
        with self.undisturbed():
            for scene in self.scenes.values():
                scene.settled()
        judge.world_matches()
        judge.facts_are_allowed()
        users = sorted({sent.user for sent in judge.sent})
        profiles = {user: wanted_profile(judge.sent, user, self.now) for user in users}
        self.desk.images_match(profiles)
        judge.spark_matches(profiles)
        judge.audit_is_whole()

    def close(self) -> None:
        """Put the whole world into the journal: every object's bytes and metadata, and what each service knows."""
        world = self.bench.cloud.world
        with world.lock:
            for name in sorted(world.models):
                self.journal.note("world", name, world.models[name].dump())


@contextlib.contextmanager
def injected(simulation: Simulation) -> Iterator[None]:
    """Randomness and waiting of the product's modules come from the simulation while it runs."""
    secrets = SimpleNamespace(token_hex=lambda size: (simulation.random("hex") * 2)[: 2 * size])
    waited = threading.local()

    def sleep(seconds: float) -> None:
        waited.s = getattr(waited, "s", 0.0) + seconds

    waiting = SimpleNamespace(monotonic=lambda: getattr(waited, "s", 0.0), sleep=sleep)
    drawing = SimpleNamespace(uniform=lambda a, b: a + (b - a) * int(simulation.random("uniform")[:8], 16) / 2**32)
    changes = (
        ("shared.engine.news.requests", "secrets", secrets),
        ("shared.engine.reconcile.audit", "secrets", secrets),
        ("shared.cloud.http.objects", "secrets", secrets),
        ("shared.engine.decisions.waves", "FROM", 2),  # three people are a fleet here
        ("shared.cloud.http.transport", "time", waiting),
        ("shared.cloud.http.transport", "random", drawing),
    )
    kept = [(importlib.import_module(name), attribute) for name, attribute, _ in changes]
    before = [getattr(module, attribute) for module, attribute in kept]
    for (module, attribute), (_, _, value) in zip(kept, changes, strict=True):
        setattr(module, attribute, value)
    cached = dict(wiring._CACHED)
    try:
        yield
    finally:
        for (module, attribute), value in zip(kept, before, strict=True):
            setattr(module, attribute, value)
        wiring._CACHED.clear()
        wiring._CACHED.update(cached)
        simulation.baton.end()
        for scene in simulation.scenes.values():
            scene.close()


__all__ = ["SWEEPS", "USERS", "Simulation", "UnsettledError", "injected"]
