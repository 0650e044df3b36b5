"""The impact of a change on all users, before anything is done. The same code makes the preview and the change itself.

Each user is judged twice with the product's own rules (`with_wanted`, `compare`, `wanted_templates`): by the policy in force and by
the proposed policy, or with and without a message. The difference is the `Effect`. The frozen list of all effects is the `Impact`;
an approval names its digest. The command line, the drift sweep and the approval (`shared.engine.decisions.policy_change`) call
this module.

Cost is hours a month times `hourly_cost` of the profile. `Basis` is the source of the hours: this month, scaled to a
whole month once a week of it is over; or the last measured month; or an assumption (`ASSUMED_HOURS`).

If a change exceeds one of the limits of planned changes (`Limit`), no part of it happens before an approval.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct, field

from shared.domain.people.entitlement import Cause
from shared.domain.plan.guard_settings import GuardSettings
from shared.domain.plan.plan import Policy
from shared.domain.policy.effect import Basis, Effect, Part, StepKind, has_instance
from shared.domain.record.record import Presence, RecordRow, UserRecord
from shared.domain.things.identity import UserKey

# --- the list of all effects


class Impact(Struct, frozen=True):
    """The frozen list of effects, by user key. Built by `impact_of`."""

    entries: tuple[Effect, ...]

    @property
    def digest(self) -> str:
        """Return the identity of the list: 16 hex digits of SHA-256 over (user, cause, parts, kinds of effect) of all effects."""
        bound = [
            [each.user_key, each.cause.value, [p.value for p in each.parts], [s.value for s in each.steps]]
            for each in self.entries
        ]
        return hashlib.sha256(json.dumps(bound, separators=(",", ":")).encode()).hexdigest()[:16]

    @property
    def counts(self) -> Mapping[StepKind, int]:
        """Return the number of users for each kind of effect. Kinds without users are left out."""
        found = Counter(step for each in self.entries for step in each.steps)
        return {kind: found[kind] for kind in StepKind if found[kind]}

    @property
    def takes(self) -> int:
        """Return the number of users who lose something, or whose notebook is replaced or stopped."""
        return sum(each.takes for each in self.entries)

    @property
    def interrupts(self) -> int:
        """Return the number of users whose notebook runs now and is stopped for the change."""
        return sum(each.interrupts for each in self.entries)

    def by_profile(self) -> Mapping[str, int]:
        """Return the number of affected users by profile: their present profile, or the future one if they have none."""
        return _counted(each.profile_before or each.profile_after for each in self.entries)

    def by_group(self) -> Mapping[str, int]:
        """Return the number of affected users by the group that entitles them now, or in the future if none does now."""
        return _counted(each.group_before or each.group_after for each in self.entries)

    def cost(self) -> tuple[float, float, int]:
        """Return the monthly cost before and after the change, and the number of users whose cost is unknown."""
        known = [
            (each.cost_before, each.cost_after)
            for each in self.entries
            if each.cost_before is not None and each.cost_after is not None
        ]
        before, after = (round(sum(pair[side] for pair in known), 2) for side in (0, 1))
        return before, after, len(self.entries) - len(known)


def impact_of(effects: Iterable[Effect | None]) -> Impact:
    """Return the impact of the effects that `effect_of` returned, in any order."""
    return Impact(tuple(sorted((each for each in effects if each is not None), key=lambda each: each.user_key)))


def differing(approved: Impact, now: Impact) -> tuple[Effect, ...]:
    """Return the effects of `now` that are not approved: the approved list lacks them, or has another effect for the user."""
    agreed = {each.bound for each in approved.entries}
    return tuple(each for each in now.entries if each.bound not in agreed)


def _counted(names: Iterable[str]) -> Mapping[str, int]:
    return dict(sorted(Counter(name for name in names if name).items()))


# --- as JSON


def to_json(impact: Impact) -> list[dict[str, Any]]:
    """Return the list in JSON types, with user keys and never with addresses."""
    return [
        {
            "user": each.user_key,
            "cause": each.cause.value,
            "parts": [part.value for part in each.parts],
            "steps": [step.value for step in each.steps],
            "interrupts": each.interrupts,
            "had_access": each.had_access,
            "group": [each.group_before, each.group_after],
            "profile": [each.profile_before, each.profile_after],
            "cost": [each.cost_before, each.cost_after],
            "basis": each.basis.value,
        }
        for each in impact.entries
    ]


def from_json(raw: Iterable[Mapping[str, Any]]) -> Impact:
    """Return the impact that `to_json` wrote. Raise `LookupError`, `TypeError` or `ValueError` for anything else."""
    return impact_of(
        Effect(
            user_key=UserKey(each["user"]),
            cause=Cause(each["cause"]),
            parts=tuple(Part(part) for part in each["parts"]),
            steps=tuple(StepKind(step) for step in each["steps"]),
            interrupts=bool(each["interrupts"]),
            had_access=bool(each["had_access"]),
            group_before=each["group"][0],
            group_after=each["group"][1],
            profile_before=each["profile"][0],
            profile_after=each["profile"][1],
            cost_before=each["cost"][0],
            cost_after=each["cost"][1],
            basis=Basis(each["basis"]),
        )
        for each in raw
    )


class Limit(StrEnum):
    """The kind of limit that applies to a planned change."""

    FLEET = "Fleet"
    GROUP = "Group"
    PROFILE = "Profile"
    LEAVERS = "Leavers"
    CREATIONS = "Creations"
    GUARD = "Guard"


class Excess(Struct, frozen=True):
    """A limit that a change exceeds: `count` users are affected, and `most` are allowed.

    `name` is the name of the group or of the profile, "" for limits of the fleet.
    """

    limit: Limit
    count: int
    most: int
    name: str = ""


class Fleet(Struct):
    """The number of users with access: in total, by group and by profile.

    `leavers` are the users without access who still have resources, by profile.
    """

    size: int = 0
    groups: Counter[str] = field(default_factory=Counter)
    profiles: Counter[str] = field(default_factory=Counter)
    leavers: Counter[str] = field(default_factory=Counter)

    def add_row(self, row: RecordRow) -> None:
        """Count the user of a listing's row, if the user has access."""
        if row.presence is Presence.PRESENT:
            self.size += 1
            self.profiles[row.profile or ""] += 1
            if row.entitled_by:
                self.groups[row.entitled_by] += 1

    def add(self, record: UserRecord) -> None:
        """Count the user of a record: by group and profile if the user has access, else as a leaver if resources remain."""
        if record.spec.presence is Presence.PRESENT:
            self.size += 1
            self.profiles[record.spec.profile or ""] += 1
            if record.spec.entitled_by:
                self.groups[record.spec.entitled_by] += 1
        elif has_instance(record) or record.status.data.snapshots:
            self.leavers[record.spec.profile or ""] += 1


def excesses(impact: Impact, fleet: Fleet, guard: GuardSettings) -> tuple[Excess, ...]:
    """Return the limits that a planned change exceeds. A change that exceeds no limit needs no approval."""
    most = guard.per_hour_of(fleet.size)
    found = [Excess(Limit.FLEET, impact.takes, most)] if impact.takes > most else []
    taken = [each for each in impact.entries if each.takes]
    shared = (
        (Limit.GROUP, Counter(e.group_before for e in taken if e.had_access and e.group_before), fleet.groups),
        (Limit.PROFILE, Counter(e.profile_before for e in taken if e.had_access), fleet.profiles),
        (Limit.LEAVERS, Counter(e.profile_before for e in taken if not e.had_access), fleet.leavers),
    )
    for limit, counts, sizes in shared:
        for name, count in sorted(counts.items()):
            allowed = guard.per_hour_of_group(sizes[name])
            if allowed is not None and count > allowed:
                found.append(Excess(limit, count, allowed, name))
    gains = impact.counts.get(StepKind.GAINS_ACCESS, 0)
    return (*found, Excess(Limit.CREATIONS, gains, guard.creations)) if gains > guard.creations else tuple(found)


def policy_excesses(impact: Impact, fleet: Fleet, before: Policy, after: Policy) -> tuple[Excess, ...]:
    """Return the limits that a new policy exceeds, judged by the guard in force (`before.guard`).

    A new policy with a looser guard always needs an approval; otherwise a change could remove its own limit.
    """
    found = excesses(impact, fleet, before.guard)
    return (*found, Excess(Limit.GUARD, 0, 0)) if after.guard.is_looser_than(before.guard) else found
