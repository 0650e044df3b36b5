"""What operators and administrators do in a simulated deployment: holds, letters that nobody could deliver, deployments and decisions.

Each is an entry as a task like the product's own, or (a deployment) a step between two turns.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from functions.dead_letter import dead_letter
from kit.life import settings_with
from kit.machine import PROFILES
from kit.oracle import Sent
from shared.domain.people.events import News
from shared.domain.record.waves import RolloutState
from shared.domain.things.catalog import VmImage
from shared.domain.things.identity import parse_email, user_key_for
from shared.domain.things.times import rfc3339
from shared.engine.decisions.policy_change import put_in_force, take_back, waiting
from shared.engine.decisions.waves import go_on, halted
from shared.engine.news.dead_letters import FORWARDED, replay
from shared.engine.ports.inbox import DeadLetter
from shared.engine.reconcile.changing import is_decided, want_hold
from shared.messages.letters import parse_letter

if TYPE_CHECKING:
    from kit.simulator.world import Simulation

PROCESSES = {"hold": "cli", "release": "cli", "replay": "cli", "decide": "cli", "park": "dead_letter"}
_SUBSCRIPTION = "projects/p/subscriptions/eventarc-europe-west1-benchkeeper-lifecycle-sub-1"
_BOSS = ("boss@example.com",)


class Desk:
    """The operators of one simulation. `parked` are the messages that became letters, by name, until they were used."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self.parked: dict[str, Sent] = {}
        self.image = ""
        self._holds: dict[str, int] = {}  # the generation of the record in which somebody's hold was changed last
        self._releases: set[str] = set()  # the names of releases that are under way

    def work(self, name: str, entry: dict[str, Any]) -> Callable[[], object] | None:
        """Return what an entry does; None if what it is about is not there."""
        match entry["entry"]:
            case "hold" | "release":
                return partial(self._hold, name, str(parse_email(entry["user"])), entry.get("reason"))
            case "replay":
                return self._replay
            case "decide":
                return partial(self._decide, back=bool(entry.get("back")))
            case "park":
                sent = self._simulation.sent_by.get(entry["of"])
                if sent is None or sent.kind == "member" or sent not in self._simulation.judge.pending:
                    return None
                return partial(self._park, sent)
            case _:
                raise ValueError(f"no such entry: {entry}")

    # --- holds

    def _hold(self, name: str, user: str, reason: str | None) -> None:
        judge = self._simulation.judge
        if reason is None:
            self._releases.add(name)
            judge.on_hold.discard(user)
            judge.ledger.held.pop(user, None)
        try:
            stored = want_hold(user_key_for(parse_email(user)), reason, self._simulation.deps_of("cli"))
        finally:
            self._releases.discard(name)
        if stored is None or stored.generation < self._holds.get(user, 0):
            return
        self._holds[user] = stored.generation
        if reason is None:
            judge.on_hold.discard(user)
            judge.ledger.held.pop(user, None)
        else:
            judge.on_hold.add(user)
            if not is_decided(stored.record) and not self._releases:
                judge.ledger.hold(user)

    def release_the_rest(self) -> list[dict[str, Any]]:
        """Return the entries that release whom nobody knows to be on hold: the answer was lost."""
        known = {str(parse_email(user)) for user in self._holds}
        return [{"entry": "release", "user": user} for user in sorted(known - self._simulation.judge.on_hold)]

    # --- letters

    def _park(self, sent: Sent) -> None:
        """Hand the message to `dead_letter` as Pub/Sub forwards it after its last attempt."""
        assert sent.published is not None
        simulation = self._simulation
        attributes = {
            f"{FORWARDED}Subscription": _SUBSCRIPTION,
            f"{FORWARDED}TopicPublishTime": rfc3339(sent.published),
            f"{FORWARDED}DeliveryCount": "5",
        }
        topic = simulation.bench.settings.topic_dead_letter
        body = body_of(sent)
        simulation.handle(dead_letter, body, topic, f"d-{sent.event_id}", simulation.now, attributes=attributes)
        self.parked[sent.event_id] = sent

    def _replay(self) -> None:
        """Replay all letters, as `benchkeeper messages replay` does."""
        deps = self._simulation.deps_of("cli")

        def parse(letter: DeadLetter) -> Sequence[News]:
            policy = deps.policy
            return parse_letter(letter, sources=policy.sources, people=policy.people, max_bytes=1 << 18)

        for row in [row for row in deps.dead_letters.rows() if row.replayed_at is None]:
            replay(row, parse, deps)

    def look_at_letters(self) -> None:
        """Take what was replayed for delivered."""
        if not self.parked:
            return
        pending = self._simulation.judge.pending
        for row in self._simulation.bench.deps.dead_letters.rows():
            sent = self.parked.get(row.letter_id.removeprefix("d-"))
            if row.replayed_at is not None and sent is not None:
                del self.parked[sent.event_id]
                if sent in pending:
                    pending.remove(sent)

    # --- deployments

    def deploy(self, image: str, zones: Sequence[str]) -> None:
        """Start a revision with other files in each process; what runs goes on with the former one."""
        self.image = image
        profiles = {name: {**fields, "image": VmImage(project="p", name=image)} for name, fields in PROFILES.items()}
        more: dict[str, Any] = {"zones": tuple(zones)} if zones else {}
        self._simulation.deploy(settings_with(profiles, **self._simulation.options, **more))

    def _decide(self, *, back: bool) -> None:
        """Agree to every policy that waits; let a halted rollout go on, or go back."""
        deps = self._simulation.deps_of("cli")
        for proposal in waiting(deps):
            put_in_force(proposal.digest, deps, impact_digest=proposal.impact.digest, approved_by=_BOSS)
        found = halted(deps)
        if found is not None and back:
            take_back(*found, deps, by=_BOSS)
        elif found is not None:
            go_on(found[1].rollout_id, deps, deps.clock.now())

    def images_match(self, profiles: dict[str, str | None]) -> None:
        """Hold that a rollout came to its end, and that whoever may be interrupted has the image in force."""
        if not self.image:
            return
        deps, judge = self._simulation.bench.deps, self._simulation.judge
        current = deps.policies.load()
        rollout = current.rollout if current is not None else None
        assert rollout is None or rollout.state is not RolloutState.HALTED, f"halted: {rollout}"
        wanted = deps.policy.catalog.profiles["engineer"].image.name
        for user, profile in profiles.items():
            stored = deps.records.load(user_key_for(parse_email(user)))
            if profile != "engineer" or stored is None or stored.record.status.notebook.refused:
                continue
            for instance in judge.without_kept(user, judge.of(user)):
                found = instance.body["gceSetup"]["vmImage"].get("name")
                assert found == wanted, f"{user} has {found}, and {wanted} is in force: {rollout}"


def body_of(sent: Sent) -> bytes:
    """Return the message as it was published."""
    return json.dumps(
        {
            "schema": "workbench.lifecycle/v1",
            "event_id": sent.event_id,
            "type": sent.kind,
            "user": sent.user,
            "occurred_at": sent.occurred.isoformat(),
            "effective_time": sent.effective.isoformat(),
            "attributes": sent.attributes,
        }
    ).encode()
