"""Eight people of whom many are said to have left, and administrators who approve and reject: in time, late, twice, and who may not.

The judge is that of the guard's state machine (kit/guard_judge.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from kit.guard_judge import Click, GuardJudge
from kit.hub import ADMINS, MIA
from kit.machine import GROUPS
from kit.oracle import Sent, wanted_profile
from kit.rosters import Roster
from kit.simulator.scenes import Scene
from shared.domain.intent.batches import Batch, batches_of, to_json
from shared.domain.intent.decision import About, Decision, Verdict
from shared.domain.intent.roles import Roles
from shared.domain.plan.guard_settings import GuardSettings
from shared.domain.things.identity import UserKey, parse_email, user_key_for

if TYPE_CHECKING:
    from kit.simulator.baton import Task
    from kit.simulator.history import Draw
    from kit.simulator.world import Simulation

CROWD = ("Ñandú.O'Neil@sub.example.co", *(f"user{number}@example.com" for number in range(1, 8)))
GUARD = GuardSettings(per_hour=2, share=1e-9, group_from=1000)
OTTO, NORAH = "otto.admin@example.com", "norah.stranger@example.com"
_ADMINS = (str(MIA), OTTO, CROWD[1])
_VOTERS = (str(MIA), OTTO, str(MIA), OTTO, NORAH, CROWD[1])
_HR = {"profile": "absent", "said_ago": 0, "holds_in": 0}


class Floods(Scene):
    """See the module."""

    name = "floods"
    is_alone = True
    processes = {"vote": "hub"}  # noqa: RUF012
    options = {"guard": GUARD, "roles": Roles(owner=ADMINS)}  # noqa: RUF012

    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation)
        simulation.lives_with(CROWD)
        self.lists: list[Batch] = []
        self.judge = GuardJudge(
            deps=lambda: simulation.bench.deps,
            guard=GUARD,
            people={user_key_for(parse_email(user)): partial(self._states, user) for user in CROWD},
            sources=("hr",),
            seen_within=timedelta(minutes=10),
            looks_at_instances=False,  # an entry is perhaps about to stop one
        )

    def _states(self, user: str) -> set[str]:
        return {instance.state for instance in self.simulation.judge.of(user)}

    def begin(self) -> None:
        with self.simulation.undisturbed():
            directory = Roster(self.simulation.bench)
            directory.group(ADMINS)
            directory.add(*(parse_email(admin) for admin in _ADMINS), group=ADMINS)

    # --- a history

    def draw(self, draw: Draw) -> None:
        """Everybody is at work; then many are said to have left, or one slips and is put right."""
        draw.hands = False  # whoever waits is stopped and no more, but by other hands
        draw.longest_s = 86_400  # deletions have a limit of their own, and would take days
        for user in CROWD:
            draw.begin({"entry": "news", "user": user, "kind": "joiner", "groups": [GROUPS[0]], **_HR})
        draw.calm()
        self._flood(draw)

    def _flood(self, draw: Draw) -> None:
        for user in CROWD:
            if draw.rng.random() < 0.7:
                draw.begin(self._leaves(user))
                if draw.rng.random() < 0.3:
                    draw.turns(10)

    def _leaves(self, user: str) -> dict[str, Any]:
        return {"entry": "news", "user": user, "kind": "leaver", "groups": None, **_HR}

    def entry(self, draw: Draw) -> dict[str, Any] | None:
        x = draw.rng.random()
        if x < 0.35:
            verdict = draw.pick(("APPROVE", "APPROVE", "APPROVE", "REJECT"))
            return {"entry": "vote", "by": draw.pick(_VOTERS), "verdict": verdict, "of": draw.pick((0, 0, 0, 1, 2, 5))}
        if x < 0.45:
            user = draw.pick(CROWD)
            return {"entry": "news", "user": user, "kind": "joiner", "groups": [GROUPS[0]], **_HR}
        if x < 0.55:
            return self._leaves(draw.pick(CROWD))
        if x < 0.6:
            self._flood(draw)
        if x < 0.7:  # what waits, waits for hours
            draw.finish()
            for _ in range(draw.pick((2, 9))):
                draw.step({"advance": 1800})
                draw.begin({"entry": "due"})
                draw.finish()
        return {"entry": draw.pick(("due", "due", "drift", "idle"))}

    def work(self, name: str, entry: dict[str, Any]) -> Callable[[], object] | None:
        return partial(self._vote, name, entry)

    def _vote(self, name: str, entry: dict[str, Any]) -> None:
        """Open the page, which keeps the lists as they are, and click: about a list of now (`of` 0), or of long ago."""
        deps = self.simulation.deps_of("hub")
        for batch in batches_of(deps.guard.waiting()):
            deps.decisions.put_list(to_json(batch))
            self.lists.append(batch)
        if self.lists:
            batch = self.lists[-1 - entry["of"] % len(self.lists)]
            self._click(name, batch, entry["by"], Verdict(entry["verdict"]))

    def _click(self, name: str, batch: Batch, by: str, verdict: Verdict) -> None:
        """Decide. It counts from the moment of the click, also if the page's process dies in it."""
        key, now = user_key_for(parse_email(by)), self.simulation.now
        made = Decision(
            decision_id=hashlib.sha256(name.encode()).hexdigest()[:16], about=About.CUTS, verdict=verdict,
            digest=batch.digest, asked_at=now, assertion=f"signed:{by}",
        )  # fmt: skip
        counts = by in _ADMINS and key not in batch.people
        self.judge.clicks.append(Click(batch, verdict, key, now, counts))
        self.simulation.deps_of("hub").decisions.put(made)

    # --- the judge

    @property
    def news_at(self) -> dict[UserKey, datetime]:
        """When something was said last about each person."""
        return {
            user_key_for(parse_email(sent.user)): sent.occurred
            for sent in sorted(self.simulation.judge.sent, key=lambda sent: sent.occurred)
        }

    def check(self) -> None:
        now = self.simulation.now
        self.judge.cuts_are_allowed(now)
        self.judge.windows_have_room(now)

    def ended(self, task: Task) -> None:  # noqa: ARG002 - the scene's
        self.check()

    def hour(self, name: str) -> None:
        """Whoever waits is approved by both administrators: a true change of any size passes."""
        simulation = self.simulation
        for number in range(3):
            for batch in batches_of(simulation.bench.deps.guard.waiting()):
                for voter in (str(MIA), OTTO):
                    vote = {"entry": "vote", "by": voter, "verdict": "APPROVE", "of": 0}
                    simulation.begin(f"{name}.{number}.{batch.digest[:8]}.{voter}", vote)
                    simulation.finish()
            for minute in range(3):
                simulation.advance(60)
                simulation.begin(f"{name}.{number}.{minute}", {"entry": "due"})
                simulation.finish()

    def settled(self) -> None:
        """Nobody waits any more. Whoever was rejected, and of whom nothing was said since, stays."""
        simulation = self.simulation
        self.judge.rejected_stay(self.news_at, simulation.now)
        assert list(simulation.bench.deps.guard.waiting()) == []
        news_at = self.news_at
        for user in CROWD:
            email = parse_email(user)
            stored = simulation.bench.deps.records.load(user_key_for(email))
            if stored is None:
                continue
            kept = max((kept.at for kept in stored.record.status.guard.kept_in), default=None)
            said_since = kept is not None and news_at[user_key_for(email)] > kept
            if kept is not None and not said_since and not self.judge.approved_beside(stored.record, kept):
                after = kept + timedelta(microseconds=1)  # a rejection follows what it rejects, also within one moment
                sent = Sent(
                    event_id=f"rejected {user}", kind="leave_cancelled", user=str(email), occurred=after, effective=after,
                    attributes={}, source="operator",
                )  # fmt: skip
                simulation.judge.sent.append(sent)
            if wanted_profile(simulation.judge.sent, str(email), simulation.now) is not None:
                assert stored.record.status.guard.waiting_cut is None, f"{email} is entitled, and waits to be cut"
