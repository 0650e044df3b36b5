"""The guard of the idle sweep: if most running instances look idle at once, the evidence is probably wrong.

Then no instance is stopped until an administrator approves or the guard's patience is over. A stop can be undone, and an instance that is
truly idle must not cost money forever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from shared.domain.fleet.idle import Stop
from shared.domain.intent.batches import WaitingPerson
from shared.domain.intent.guard import may_be_stopped_idle
from shared.domain.record.cuts import IDLE_STOP, CutClass, StepKind
from shared.domain.things.identity import UserKey
from shared.engine.ports.deps import Deps
from shared.engine.sweeps.idle_look import Judged, Machine, is_night


def held_back(
    to_act: Mapping[UserKey, Judged], running: Sequence[Machine], deps: Deps, now: datetime
) -> frozenset[UserKey]:
    """Return the users whose instances are idle but must not be stopped by this sweep.

    `to_act` has the verdicts other than `Keep` on `running` machines. Outside of working hours, most machines are
    expected to be idle. The index of waiting users is also brought up to date, with one listing.
    """
    profiles = deps.policy.catalog.profiles
    by_day = {m.user_key for m in running if m.profile not in profiles or not is_night(profiles[m.profile], now)}
    stops = {key: each for key, each in to_act.items() if isinstance(each.verdict, Stop) and key in by_day}
    known = {each.user_key: each for each in deps.guard.waiting() if each.cause is CutClass.IDLE}
    is_mass = len(stops) >= deps.policy.guard.group_from and 2 * len(stops) > len(by_day)
    held = {key for key in stops if _waits(key, known.get(key), deps, now)} if is_mass else set()
    for key in known.keys() - held:
        deps.guard.forget_waiting(key, idle=True)
    for key in sorted(held - known.keys()):
        deps.guard.note_waiting(
            WaitingPerson(
                user_key=key,
                ref=IDLE_STOP,
                steps=(StepKind.STOP,),
                cause=CutClass.IDLE,
                source="",
                since=now,
                profile=stops[key].machine.profile or "",
            )
        )
    if held:
        deps.log.error("Idle stops wait", people=len(held), running=len(by_day))
    return frozenset(held)


def _waits(key: UserKey, known: WaitingPerson | None, deps: Deps, now: datetime) -> bool:
    patience = deps.policy.guard.patience
    stored = deps.records.load(key)
    decided = None if stored is None else may_be_stopped_idle(stored.record, now)
    if decided is not None:
        return not decided
    return known is None or patience is None or now - known.since < patience
