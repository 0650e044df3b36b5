"""The effect of a change of policy, or of a message, on one user, before anything is done."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from shared.domain.intent.wanted import with_wanted
from shared.domain.notebook.creation import spec_of
from shared.domain.notebook.differences import Change, Difference, compare, immutables
from shared.domain.people.entitlement import Cause
from shared.domain.plan.plan import Policy
from shared.domain.record.record import Power, Presence, UserRecord
from shared.domain.record.status import ConditionStatus, ConditionType
from shared.domain.snapshot.step import is_paused
from shared.domain.template.wanted import wanted_templates
from shared.domain.things.catalog import Profile
from shared.domain.things.identity import UserKey
from shared.domain.things.notebook import InstanceRef, NotebookSpec, NotebookState, ObservedNotebook
from shared.domain.things.power import NOTEBOOK, month_of, month_start

ASSUMED_HOURS = 160.0  # twenty days of eight hours: for a user whose hours were not measured yet
MONTH = timedelta(days=30)
_ENOUGH = timedelta(days=7)  # the part of a month that must be over before it is scaled to the whole
_DISKS = frozenset({"boot disk", "data disk"})


class StepKind(StrEnum):
    """The kind of effect on one user."""

    LOSES_ACCESS = "LosesAccess"
    GAINS_ACCESS = "GainsAccess"
    CHANGES_PROFILE = "ChangesProfile"
    REPLACED = "Replaced"  # a new instance takes the place of the old one; the files are restored onto it
    UPDATED = "Updated"  # stopped, changed, started
    PATCHED = "Patched"  # changed while it runs
    DISK = "Disk"
    TEMPLATES = "Templates"
    CLUSTERS_END = "ClustersEnd"
    DATA_ROLES = "DataRoles"  # another group may read the data
    IDLE_SOONER = "IdleSooner"
    DELETED_SOONER = "DeletedSooner"
    DATA_DELETED_SOONER = "DataDeletedSooner"


# Each of these takes something from the user. IDLE_SOONER does so only if the notebook runs now.
TAKES = frozenset(
    {
        StepKind.LOSES_ACCESS,
        StepKind.REPLACED,
        StepKind.UPDATED,
        StepKind.CLUSTERS_END,
        StepKind.DATA_ROLES,
        StepKind.DELETED_SOONER,
        StepKind.DATA_DELETED_SOONER,
    }
)


_STOPS = frozenset({StepKind.LOSES_ACCESS, StepKind.REPLACED, StepKind.UPDATED, StepKind.IDLE_SOONER})


class Part(StrEnum):
    """The part of the policy from which an effect comes. `NEWS` is a message, not a part of the policy."""

    ASSIGNMENTS = "Assignments"
    DEFAULT_PROFILE = "DefaultProfile"
    PROFILES = "Profiles"
    TEMPLATES = "Templates"
    NETWORK = "Network"
    ZONES = "Zones"
    RETENTION = "Retention"
    PEOPLE = "People"
    SOURCES = "Sources"
    GROUPS = "Groups"
    GUARD = "Guard"
    NEWS = "News"


_ENTITLING = frozenset({Part.ASSIGNMENTS, Part.DEFAULT_PROFILE, Part.PROFILES, Part.GROUPS})
_SHAPING = frozenset({Part.PROFILES, Part.NETWORK, Part.ASSIGNMENTS, Part.DEFAULT_PROFILE, Part.GROUPS})


_FROM: Mapping[StepKind, frozenset[Part]] = {
    StepKind.LOSES_ACCESS: _ENTITLING,
    StepKind.GAINS_ACCESS: _ENTITLING,
    StepKind.CHANGES_PROFILE: _ENTITLING,
    StepKind.REPLACED: _SHAPING,
    StepKind.UPDATED: _SHAPING,
    StepKind.PATCHED: _SHAPING,
    StepKind.DISK: _SHAPING,
    StepKind.TEMPLATES: _SHAPING | {Part.TEMPLATES},
    StepKind.CLUSTERS_END: _ENTITLING,
    StepKind.DATA_ROLES: _ENTITLING,
    StepKind.IDLE_SOONER: _ENTITLING,
    StepKind.DELETED_SOONER: frozenset({Part.RETENTION}),
    StepKind.DATA_DELETED_SOONER: frozenset({Part.RETENTION}),
}


class Basis(StrEnum):
    """The origin of the running hours that a cost estimate uses."""

    MEASURED = "Measured"
    LAST_MONTH = "LastMonth"
    ASSUMED = "Assumed"


class Effect(Struct, frozen=True, kw_only=True):
    """The effect of a change on one user: the kinds of effect (`steps`), and the parts of the policy from which they come (`parts`).

    The groups and profiles are the entitling group and the profile before and after the change, "" for none. `basis` is the origin of
    the hours behind the costs. `cause` is the reason why the user is entitled or not, once the change is in force. `interrupts` is True if the
    notebook runs now and is stopped for the change. Costs are for a month, None without a price; the cost is 0 for a
    user without access.
    """

    user_key: UserKey
    cause: Cause
    parts: tuple[Part, ...]
    steps: tuple[StepKind, ...]
    interrupts: bool = False
    had_access: bool = True
    group_before: str = ""
    group_after: str = ""
    profile_before: str = ""
    profile_after: str = ""
    cost_before: float | None = None
    cost_after: float | None = None
    basis: Basis = Basis.ASSUMED

    @property
    def takes(self) -> bool:
        """Return True if the user loses something, or if the notebook is replaced or stopped.

        The guard's limits count the users with such effects.
        """
        return bool(TAKES & set(self.steps)) or (StepKind.IDLE_SOONER in self.steps and self.interrupts)

    @property
    def stops_notebook(self) -> bool:
        """Return True if the notebook must be stopped to be updated or replaced. Such a change of many notebooks is rolled out in waves."""
        return bool({StepKind.REPLACED, StepKind.UPDATED} & set(self.steps))

    @property
    def bound(self) -> tuple[object, ...]:
        """Return the fields that an approval covers: user, cause, parts and kinds of effect."""
        return (self.user_key, self.cause, self.parts, self.steps)


def effect_of(
    record: UserRecord,
    before: Policy,
    after: Policy,
    now: datetime,
    *,
    told: UserRecord | None = None,
    seen: ObservedNotebook | None = None,
) -> Effect | None:
    """Return the effect of a changed policy or of a message on one user. Return None if there is no effect.

    `told` is the record after the message, None for a change of policy. Without `seen`, the instance is assumed to be as the
    policy in force wants it, with the immutable properties that the record remembers.
    """
    # A waiting cut counts as a cut: the effect is what the policy gives, whether there is room for it now or not.
    old = with_wanted(record, replace(before, cuts_wait=False), now)
    new = with_wanted(told if told is not None else record, replace(after, cuts_wait=False), now)
    had, has = (each.spec.presence is Presence.PRESENT for each in (old, new))
    if had and has:
        steps = _steps_of_present(old, new, before, after, seen)
    elif has:
        steps = {StepKind.GAINS_ACCESS}
    else:
        steps = {StepKind.LOSES_ACCESS} if had else _steps_of_absent(old, before, after, seen)
        if had and any(cluster.is_there for cluster in old.status.clusters):
            steps.add(StepKind.CLUSTERS_END)
    if not steps:
        return None
    changed = changed_parts(before, after)
    parts = {Part.NEWS} if told is not None else {part for step in steps for part in _FROM[step] & changed}
    hours, basis = hours_a_month(old, now)
    return Effect(
        user_key=record.user_key,
        cause=new.spec.cause,
        parts=tuple(sorted(parts)),
        steps=tuple(sorted(steps)),
        interrupts=had and bool(_STOPS & steps) and _runs(old, seen),
        had_access=had,
        group_before=old.spec.entitled_by if had else "",
        group_after=new.spec.entitled_by if has else "",
        profile_before=old.spec.profile or "",
        profile_after=(new.spec.profile or "") if has else "",
        cost_before=_cost(old, before, hours),
        cost_after=_cost(new, after, hours),
        basis=basis,
    )


def changed_parts(before: Policy, after: Policy) -> frozenset[Part]:
    """Return the parts in which two policies differ."""
    pairs: Mapping[Part, tuple[object, object]] = {
        Part.ASSIGNMENTS: (before.catalog.assignments, after.catalog.assignments),
        Part.DEFAULT_PROFILE: (before.catalog.default_profile, after.catalog.default_profile),
        Part.PROFILES: (before.catalog.profiles, after.catalog.profiles),
        Part.TEMPLATES: (
            (before.catalog.masters, before.catalog.environments),
            (after.catalog.masters, after.catalog.environments),
        ),
        Part.NETWORK: (before.network, after.network),
        Part.ZONES: (before.zones, after.zones),
        Part.RETENTION: (
            (before.retention, before.snapshot_retention, before.personal_data),
            (after.retention, after.snapshot_retention, after.personal_data),
        ),
        Part.PEOPLE: (before.people, after.people),
        Part.SOURCES: (before.sources, after.sources),
        Part.GROUPS: (before.book, after.book),
        Part.GUARD: (before.guard, after.guard),
    }
    return frozenset(part for part, (old, new) in pairs.items() if old != new)


def _steps_of_present(
    old: UserRecord, new: UserRecord, before: Policy, after: Policy, seen: ObservedNotebook | None
) -> set[StepKind]:
    steps: set[StepKind] = set()
    if old.spec.profile != new.spec.profile:
        steps.add(StepKind.CHANGES_PROFILE)
    wanted = wanted_templates(new, after)
    if wanted is not None and wanted != wanted_templates(old, before):
        steps.add(StepKind.TEMPLATES)
    wished = {wish.template for wish in new.spec.clusters}
    if any(wish.template not in wished for wish in old.spec.clusters):
        steps.add(StepKind.CLUSTERS_END)
    was = before.catalog.profiles.get(old.spec.profile or "")
    becomes = after.catalog.profiles.get(new.spec.profile or "")
    if was is not None and becomes is not None:
        steps |= _steps_of_profile(was, becomes)
    return steps | _steps_of_instance(old, new, before, after, seen)


def _steps_of_profile(was: Profile, becomes: Profile) -> set[StepKind]:
    """Return the effects of changed profile settings that no instance shows: data group, idle limits and hours."""
    steps: set[StepKind] = set()
    group = was.data_group if was.needs_account else None
    if group is not None and (not becomes.needs_account or becomes.data_group != group):
        steps.add(StepKind.DATA_ROLES)
    limits = ((was.idle.timeout, becomes.idle.timeout), (was.idle.max_blind, becomes.idle.max_blind))
    if any(after < before for before, after in (*limits, (was.idle.max_busy, becomes.idle.max_busy))):
        steps.add(StepKind.IDLE_SOONER)
    old, new = was.idle.dormant_after, becomes.idle.dormant_after
    if new is not None and (old is None or new < old):
        steps.add(StepKind.IDLE_SOONER)
    if becomes.hours is not None and was.hours != becomes.hours:
        steps.add(StepKind.IDLE_SOONER)
    return steps


def _steps_of_instance(
    old: UserRecord, new: UserRecord, before: Policy, after: Policy, seen: ObservedNotebook | None
) -> set[StepKind]:
    """Return the changes that the instance needs beyond those that the policy in force requires anyway."""
    have, want = spec_of(old, before), spec_of(new, after)
    if have is None or want is None or (seen is None and not has_instance(old)):
        return set()
    built = old.status.notebook.built_from or immutables(have)
    seen = seen or _as_built(have, old)
    found = set(compare(seen, want, built).items) - set(compare(seen, have, built).items)
    return {step for each in found for step in _steps_for(each)}


def _steps_for(difference: Difference) -> set[StepKind]:
    match difference.change:
        case Change.REPLACE:
            return {StepKind.REPLACED} | ({StepKind.DISK} if difference.what in _DISKS else set())
        case Change.RESTART:
            return {StepKind.UPDATED}
        case Change.PATCH | Change.GROW:
            return {StepKind.PATCHED}
        case Change.LEFT:
            return set()


def _as_built(spec: NotebookSpec, record: UserRecord) -> ObservedNotebook:
    """Return the instance as the policy in force wants it. Properties that never change come from `built_from` instead."""
    return ObservedNotebook(
        ref=InstanceRef(zone=record.status.notebook.zone or "", instance_id=spec.instance_id),
        state=NotebookState.ACTIVE,
        machine_type=spec.machine_type,
        labels=spec.labels,
        metadata=spec.metadata,
        accelerators=(spec.accelerator,) if spec.accelerator is not None else (),
        shielded=spec.shielded,
        tags=spec.tags,
    )


def _steps_of_absent(record: UserRecord, before: Policy, after: Policy, seen: ObservedNotebook | None) -> set[StepKind]:
    if record.hold is not None or is_paused(record):
        return set()
    steps: set[StepKind] = set()
    if after.retention < before.retention and (seen is not None or has_instance(record)):
        steps.add(StepKind.DELETED_SOONER)
    if after.snapshot_retention < before.snapshot_retention and any(not s.lost for s in record.status.data.snapshots):
        steps.add(StepKind.DATA_DELETED_SOONER)
    return steps


def has_instance(record: UserRecord) -> bool:
    """Return True if the record says that an instance existed at least once."""
    return record.status.notebook.was_active or bool(record.status.notebook.instance_uid)


def _runs(record: UserRecord, seen: ObservedNotebook | None) -> bool:
    if seen is not None:
        return seen.state is NotebookState.ACTIVE
    ready = record.status.condition(ConditionType.NOTEBOOK_READY)
    return record.spec.power is Power.RUNNING and ready is not None and ready.status is ConditionStatus.TRUE


def hours_a_month(record: UserRecord, now: datetime) -> tuple[float, Basis]:
    """Return the expected number of running hours in a month, and the origin of that number."""
    usage = record.status.usage.get(NOTEBOOK)
    over = now - max(month_start(now), record.created_at)
    if usage is not None and usage.month == month_of(now) and over >= _ENOUGH:
        return usage.in_month_of(now) / over * (MONTH / timedelta(hours=1)), Basis.MEASURED
    if usage is not None and usage.month != month_of(now) and usage.ran_s:
        return usage.ran_s / 3600, Basis.LAST_MONTH
    return ASSUMED_HOURS, Basis.ASSUMED


def _cost(record: UserRecord, policy: Policy, hours: float) -> float | None:
    if record.spec.presence is Presence.ABSENT:
        return 0.0
    profile = policy.catalog.profiles.get(record.spec.profile or "")
    return None if profile is None or profile.hourly_cost is None else round(hours * profile.hourly_cost, 2)
