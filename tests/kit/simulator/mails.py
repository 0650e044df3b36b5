"""Messages to users: what passes publish comes once, twice, late or in any order, and the mail server fails at each verb.

The judge of one person's mails is that of the state machine (kit/mail_judge.py). The mail server is a real one on loopback.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from functions.notify import notify
from kit.mail import MESSAGES, mail_host
from kit.mail_judge import FAILURES, Judged, MailJudge
from kit.oracle import wanted_profile
from kit.simulator.scenes import Scene
from shared.domain.record.parts import NOT_TOLD, Mail
from shared.domain.record.record import Presence, UserRecord
from shared.domain.things.errors import CloudUnavailableError
from shared.domain.things.identity import parse_email, user_key_for
from shared.engine.news.dead_letters import take_note
from shared.messages.mail_words import message_id
from shared.messages.notification import notification

if TYPE_CHECKING:
    from kit.simulator.baton import Task
    from kit.simulator.history import Draw
    from kit.simulator.world import Simulation
    from shared.engine.ports.deps import Deps

_HR = {"profile": "absent", "said_ago": 0, "holds_in": 0}


class Topic:
    """The topic of notifications. `is_down`: publishing fails."""

    def __init__(self, simulation: Simulation, whose: dict[str, str]) -> None:
        self._simulation, self._whose = simulation, whose
        self.published: list[bytes] = []
        self.late: list[int] = []  # what was published and not taken yet
        self.is_down = False

    def publish(self, record: UserRecord, mail: Mail) -> None:
        self._simulation.baton.pause()
        if self.is_down:
            raise CloudUnavailableError(user_message="down", detail="down")
        self._whose[message_id(record.user_key, mail)] = record.email
        self.late.append(len(self.published))
        self.published.append(notification(record, mail, project=self._simulation.bench.settings.project))
        self._simulation.baton.pause()


class Mails(Scene):
    """See the module."""

    name = "mails"
    processes = {"notify": "notify", "note": "hub"}  # noqa: RUF012

    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation)
        self._open = ExitStack()
        self.host = self._open.enter_context(mail_host())
        self.host.accepted = Judged(self._judge)
        self.options = {"messages": replace(MESSAGES, port=self.host.port)}
        self._whose: dict[str, str] = {}  # message id -> the address of whom the mail is about
        self.topic = Topic(simulation, self._whose)
        self.untold: list[tuple[str, str, dict[str, Any]]] = []
        self._judges = {str(parse_email(user)): self._judge_of(user) for user in simulation.people}

    def _judge_of(self, user: str) -> MailJudge:
        return MailJudge(
            states=lambda: {i.state for i in self.simulation.judge.of(user)},
            files=partial(self._files, user),
            has_access=partial(self._has_access, user),
        )

    def wired(self, deps: Deps) -> Deps:
        return replace(deps, mail=replace(deps.mail, notifications=self.topic)) if deps.mail is not None else deps

    # --- a history

    def draw(self, draw: Draw) -> None:
        """The person works here, and perhaps leaves for long, while the mail server fails or works."""
        draw.hands = False  # nobody is told of what other hands do
        news = {"entry": "news", "user": draw.person, **_HR}
        draw.begin({**news, "kind": "joiner", "groups": ["data-analysts@example.com"]})
        draw.minutes(6)
        draw.step({"works": draw.person})
        if draw.rng.random() < 0.5:
            self._draw_server(draw)
        draw.begin({**news, "kind": "leaver", "groups": None})
        draw.minutes(draw.pick((1, 3, 6)))
        if draw.rng.random() < 0.3:  # back before anybody could be told
            draw.begin({**news, "kind": "joiner", "groups": ["data-analysts@example.com"]})
            return
        for days in (77, 11, 2, 2)[: draw.pick((0, 2, 3, 4))]:
            draw.step({"advance": 86_400 * days})
            self._draw_all(draw)
            draw.minutes(3)
        draw.wanted = [{"entry": "due"}, {"entry": "drift"}, {"entry": "due"}]

    def _draw_server(self, draw: Draw) -> None:
        draw.step({"in": self.name, "fails": draw.pick((None, "lost", *map(list, FAILURES)))})

    def _draw_all(self, draw: Draw) -> None:
        """All that was published comes, one after the other."""
        draw.finish()
        for number in list(self.topic.late):
            draw.begin({"entry": "notify", "of": number})
        draw.finish()

    def entry(self, draw: Draw) -> dict[str, Any] | None:
        x = draw.rng.random()
        if self.topic.late and x < 0.4:
            return {"entry": "notify", "of": draw.pick(self.topic.late)}
        if self.topic.published and x < 0.5:  # once more
            return {"entry": "notify", "of": int(draw.rng.random() * len(self.topic.published))}
        if x < 0.6:
            self._draw_server(draw)
        elif x < 0.64:
            draw.step({"in": self.name, "down": draw.rng.random() < 0.5})
        elif x < 0.68:
            return {"entry": "note", "user": draw.user()}
        return None

    def work(self, name: str, entry: dict[str, Any]) -> Callable[[], object] | None:
        if entry["entry"] == "note":
            return partial(self._note, entry["user"])
        if entry["of"] >= len(self.topic.published):
            return None
        return partial(self._notify, entry["of"], name)

    def _notify(self, number: int, name: str) -> None:
        simulation = self.simulation
        body, topic = self.topic.published[number], simulation.bench.settings.topic_notifications
        simulation.handle(notify, body, topic, f"n-{name}", simulation.now)
        if number in self.topic.late:
            self.topic.late.remove(number)

    def _note(self, user: str) -> None:
        key, deps = user_key_for(parse_email(user)), self.simulation.deps_of("hub")
        stored = deps.records.load(key)
        if stored is not None and any(mail.state in NOT_TOLD for mail in stored.record.status.mail.mails):
            self._judges[str(parse_email(user))].warned = True
            take_note(key, deps, by="mia@example.com")

    def step(self, step: dict[str, Any]) -> None:
        if "down" in step:
            self.topic.is_down = step["down"]
            return
        how = step["fails"]
        self.host.hangs_up_after = how == "lost"
        self.host.answers = dict([how]) if isinstance(how, list) else {}

    # --- the judge

    def _files(self, user: str) -> bool:
        cloud, key = self.simulation.bench.cloud, user_key_for(parse_email(user))
        cloud.compute.disks.sweep(self.simulation.now)
        mine = any(s.labels.get("benchkeeper-user") == key for s in cloud.compute.disks.snapshots.values())
        return mine or bool(self.simulation.judge.of(user))

    def _has_access(self, user: str) -> bool:
        """Return True for whoever is entitled whatever comes of the messages under way, and by the record."""
        judge, now = self.simulation.judge, self.simulation.now
        taken = [sent for sent in judge.sent if sent not in judge.pending]
        user = str(parse_email(user))
        if wanted_profile(judge.sent, user, now) is None or wanted_profile(taken, user, now) is None:
            return False
        with self.simulation.undisturbed():
            stored = self.simulation.bench.deps.records.load(user_key_for(parse_email(user)))
        return stored is not None and stored.record.spec.presence is Presence.PRESENT

    def _judge(self, mail: Any) -> None:
        """Called by the server's thread, while the sender waits for the answer."""
        named = str(mail.parsed["Message-ID"]).strip("<>").rpartition("@")[0]
        judge = self._judges[self._whose[named]]
        self._look()
        judge.judge(mail)
        self.simulation.journal.note("mail", self.simulation.now.isoformat(), str(mail.parsed["Subject"]), named)

    def _look(self) -> None:
        missing = self.simulation.judge.ledger.missing()
        for user, judge in self._judges.items():
            if self._has_access(user):
                judge.warned = False
            is_kept = None if user not in self.simulation.judge.ledger.newest else user not in missing
            judge.look(knows_files=lambda is_kept=is_kept: is_kept)

    def check(self) -> None:
        self._look()
        for judge in self._judges.values():
            judge.is_told()

    def ended(self, task: Task) -> None:  # noqa: ARG002 - the scene's
        self.check()

    def quiet(self) -> None:
        self.step({"fails": None})
        self.step({"down": False})

    def minute(self, name: str) -> None:
        for number in list(self.topic.late):
            self.simulation.begin(f"{name}.notify{number}", {"entry": "notify", "of": number})
            self.simulation.finish()

    def settled(self) -> None:
        for user, judge in self._judges.items():
            stored = self.simulation.bench.deps.records.load(user_key_for(parse_email(user)))
            judge.is_at_rest(stored.record.status.mail.mails if stored is not None else (), self.untold)

    def close(self) -> None:
        self._open.close()
