"""The limits of planned changes. If a change exceeds one of them, no part of it happens before an approval. Pure."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

from msgspec import Struct, field

from shared.domain.plan.guard_settings import GuardSettings
from shared.domain.plan.plan import Policy
from shared.domain.policy.effect import StepKind, has_instance
from shared.domain.policy.impact import Impact
from shared.domain.record.record import Presence, RecordRow, UserRecord


class Limit(StrEnum):
    """The kind of limit by which a planned change is measured."""

    FLEET = "Fleet"
    GROUP = "Group"
    PROFILE = "Profile"
    LEAVERS = "Leavers"
    CREATIONS = "Creations"
    GUARD = "Guard"


class Excess(Struct, frozen=True):
    """A limit that a change exceeds: the number of users and the allowed number. `name` is the group's or the profile's."""

    limit: Limit
    count: int
    most: int
    name: str = ""


class Fleet(Struct):
    """The number of users with access: in total, by group and by profile.

    `leavers` are those with remaining resources, by profile.
    """

    size: int = 0
    groups: Counter[str] = field(default_factory=Counter)
    profiles: Counter[str] = field(default_factory=Counter)
    leavers: Counter[str] = field(default_factory=Counter)

    def add_row(self, row: RecordRow) -> None:
        """Count one user with access, by the row of a listing."""
        if row.presence is Presence.PRESENT:
            self.size += 1
            self.profiles[row.profile or ""] += 1
            if row.entitled_by:
                self.groups[row.entitled_by] += 1

    def add(self, record: UserRecord) -> None:
        """Count one user, judged by the policy in force."""
        if record.spec.presence is Presence.PRESENT:
            self.size += 1
            self.profiles[record.spec.profile or ""] += 1
            if record.spec.entitled_by:
                self.groups[record.spec.entitled_by] += 1
        elif has_instance(record) or record.status.data.snapshots:
            self.leavers[record.spec.profile or ""] += 1


def excesses(impact: Impact, fleet: Fleet, guard: GuardSettings) -> tuple[Excess, ...]:
    """Return the limits that a planned change exceeds; if there are none, the change needs no approval."""
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
    """Return the limits that another policy exceeds, by the guard in force.

    A looser guard always waits for an approval; otherwise a change could remove its own limit.
    """
    found = excesses(impact, fleet, before.guard)
    return (*found, Excess(Limit.GUARD, 0, 0)) if after.guard.is_looser_than(before.guard) else found
