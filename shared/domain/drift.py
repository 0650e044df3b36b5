"""Which records need a pass, judged from listings alone: no record is read and no instance is asked for by name.

The sweep that uses it may be wrong in one direction only: a pass that was not needed changes nothing.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from shared.domain.differences import Change, Differences, compare, say
from shared.domain.disruption import may_disrupt
from shared.domain.errors import Reason
from shared.domain.identity import UserEmail, UserKey, is_user_key, user_key_of_instance
from shared.domain.keeping import SnapshotSeen
from shared.domain.notebook import (
    LABEL_MANAGED_BY,
    LABEL_USER,
    MANAGED_BY,
    RESTING,
    NotebookState,
    ObservedNotebook,
    runs_as,
    spec_for,
)
from shared.domain.plan import Policy
from shared.domain.record import Power, Presence, RecordRow
from shared.domain.template import wanted_templates
from shared.domain.turns import in_turn
from shared.domain.waves import RolloutState

# A wake-up this late has lost its hint; until then the tick is trusted to come to it.
LOST_AFTER = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """What the listings show of one user: the instance that the record names, template digests, the zones that did not answer.

    `snapshots` are the names of everybody's snapshots with our labels, None when they were not listed. `entitling` is the digest
    of the assignments, once for a whole sweep; empty: it is worked out here.
    """

    notebook: ObservedNotebook | None
    templates: Mapping[str, str]
    unreachable: frozenset[str]
    snapshots: frozenset[str] | None = None
    entitling: str = ""
    _compared: dict[str, Differences | None] = field(default_factory=dict, compare=False, repr=False)

    def differences(self, row: RecordRow, policy: Policy) -> Differences | None:
        """What differs of that row's instance; three questions about it are one comparison."""
        if row.user_key not in self._compared:
            seen = self.notebook
            self._compared[row.user_key] = None if seen is None else differences_of(row, seen, policy)
        return self._compared[row.user_key]


def why_pass(row: RecordRow, listed: Listed, policy: Policy, now: datetime) -> str | None:
    """Why this record needs a pass, None when nothing is out of line as far as the listings tell."""
    if not row.settled:
        return "what is wanted was not looked at yet"
    if row.next_attempt_at is not None and row.next_attempt_at <= now - LOST_AFTER:
        return "its wake-up was lost"
    if row.entitling_digest != (listed.entitling or policy.entitling_digest()):
        return "the assignments changed"
    wanted = wanted_templates(row, policy)
    if wanted is not None and dict(listed.templates) != wanted:
        return "template objects differ"
    if row.account_id is not None and _hour_of(row.user_key) == now.hour:
        return "its account is looked at once a day"
    if row.busy or (row.next_attempt_at is not None and row.presence is Presence.PRESENT):
        return None  # under way; the tick follows it
    return _why_notebook(row, listed, policy, now)


def _hour_of(user_key: UserKey) -> int:
    """The hour of the day (UTC) at which somebody's account is looked at: no listing shows who may act as it."""
    return hashlib.sha256(user_key.encode()).digest()[0] % 24


def _why_notebook(row: RecordRow, listed: Listed, policy: Policy, now: datetime) -> str | None:
    if row.zone is None or row.zone in listed.unreachable:
        return None  # not listed is not absent
    seen = listed.notebook
    if row.presence is Presence.ABSENT:
        return _why_leaver(row, listed)
    if seen is None:
        return "the instance is gone"
    running = seen.state is NotebookState.ACTIVE
    if running != (row.power is Power.RUNNING):
        return f"wanted {row.power.value}, and the instance is {seen.state.value}"
    profile = policy.catalog.profiles.get(row.profile or "")
    differences = listed.differences(row, policy)
    if profile is None or differences is None:
        return None
    pending = differences.disruptive and say(differences.disruptive) != row.refused
    if pending and (not running or may_disrupt(profile, now)):
        return f"out of line: {_how(differences)}"
    if differences.of(Change.PATCH):
        return "out of line: patch in place"
    if is_to_verify(row, policy):
        return "its change is to be verified"
    if differences.of(Change.LEFT) and row.reason == Reason.READY:
        return "out of line: cannot be changed, to be said"
    return None


def _why_leaver(row: RecordRow, listed: Listed) -> str | None:
    seen = listed.notebook
    if listed.snapshots is not None and not listed.snapshots.issuperset(row.snapshots):
        return "a snapshot of a leaver is gone"
    if seen is not None and seen.state in RESTING and not row.snapshots:
        return "the files of a leaver are not saved"
    if seen is None or seen.state in RESTING:
        return None  # the end of the retention is a planned wake-up
    return f"not entitled, and the instance is {seen.state.value}"


def is_to_verify(row: RecordRow, policy: Policy) -> bool:
    """Return True if somebody's change has begun in a rollout, and was not seen to have worked; once more when that is over."""
    rollout, turn = policy.rollout, row.turn
    if turn is None or turn.ended_at is not None:
        return False
    return rollout is None or rollout.state is not RolloutState.DONE or turn.rollout != rollout.rollout_id


def why_waits(row: RecordRow, listed: Listed, policy: Policy) -> str | None:
    """What an environment will be stopped for when it may be, or when its turn comes; None when nothing waits for that."""
    seen = listed.notebook
    if row.presence is Presence.ABSENT or seen is None:
        return None
    differences = listed.differences(row, policy)
    if differences is None:
        return None
    if differences.held:
        return "waits for its turn in a rollout"
    waits = differences.disruptive and seen.state is NotebookState.ACTIVE
    return f"waits to be stopped: {_how(differences)}" if waits else None


def why_left(row: RecordRow, listed: Listed, policy: Policy) -> str | None:
    """That an instance reads otherwise than it was asked for, in what can never be changed; None when it does not."""
    seen = listed.notebook
    if row.presence is Presence.ABSENT or seen is None:
        return None
    differences = listed.differences(row, policy)
    return "differs in what cannot be changed" if differences is not None and differences.of(Change.LEFT) else None


def _how(differences: Differences) -> str:
    return (Change.REPLACE if differences.of(Change.REPLACE) else Change.RESTART).value


def differences_of(row: RecordRow, seen: ObservedNotebook, policy: Policy) -> Differences | None:
    """What differs, as far as the listings tell and it is the person's turn; None for a profile that is lost from the configuration."""
    return in_turn(lambda one: notebook_differences(row, seen, one), policy, row.user_key, row.turn)


def notebook_differences(row: RecordRow, seen: ObservedNotebook, policy: Policy) -> Differences | None:
    """The same, whoever's turn it is."""
    profile = policy.catalog.profiles.get(row.profile or "")
    if profile is None or row.instance_id is None:
        return None
    spec = spec_for(
        owner=UserEmail(row.email),
        user_key=row.user_key,
        instance_id=row.instance_id,
        profile=profile,
        cost_center=row.cost_center,
        network=policy.network,
        service_account=runs_as(profile, row.account_id, policy.project),
    )
    return compare(seen, spec, row.built_from)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stray:
    """An instance that belongs to no record as it should: reported, never deleted on its own."""

    name: str
    zone: str
    why: str


def strays(rows: Mapping[UserKey, RecordRow], notebooks: tuple[ObservedNotebook, ...]) -> list[Stray]:
    """Instances that carry our labels without a record, sit in another zone than their record says, or have our name only.

    What a replacement takes the place of is known to the record, so it is none.
    """
    found = []
    for notebook in notebooks:
        key = notebook.labels.get(LABEL_USER, "")
        ours = notebook.labels.get(LABEL_MANAGED_BY) == MANAGED_BY
        named = user_key_of_instance(notebook.ref.instance_id)
        row = rows.get(UserKey(key)) if ours else None
        why = None
        if ours and row is None:
            why = "carries our labels and has no record"
        elif row is not None and (notebook.ref.zone, notebook.ref.instance_id) not in {
            (row.zone, row.instance_id),
            row.former,
        }:
            why = "is not where its user's record says"
        elif not ours and named is not None and named in rows:
            why = "has our name without our labels"
        if why is not None:
            found.append(Stray(name=notebook.ref.instance_id, zone=notebook.ref.zone, why=why))
    return found


def without_record(
    rows: Mapping[UserKey, RecordRow],
    notebooks: Iterable[ObservedNotebook],
    snapshots: Iterable[SnapshotSeen],
    rowless: Iterable[UserKey],
) -> list[UserKey]:
    """Return the keys whose record may be damaged or gone: they carry our labels, or their object has no row. Sorted."""
    labelled = [notebook.labels for notebook in notebooks] + [snapshot.labels for snapshot in snapshots]
    ours = {labels.get(LABEL_USER, "") for labels in labelled if labels.get(LABEL_MANAGED_BY) == MANAGED_BY}
    keys = {UserKey(key) for key in ours if is_user_key(key)} | set(rowless)
    return sorted(keys - set(rows))


def stray_snapshots(rows: Mapping[UserKey, RecordRow], snapshots: Iterable[SnapshotSeen]) -> list[Stray]:
    """Snapshots that carry our labels and that no record names: reported, for they bill."""
    found = []
    for snapshot in snapshots:
        row = rows.get(UserKey(snapshot.labels.get(LABEL_USER, "")))
        if row is None or snapshot.name not in row.snapshots:
            why = "is a snapshot with our labels that no record names"
            found.append(Stray(name=snapshot.name, zone="global", why=why))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many environments of a profile are in a state, and what they cost an hour (None: not estimated)."""

    profile: str
    state: str
    count: int
    hourly_cost: float | None


def census(
    rows: Iterable[RecordRow],
    by_name: Mapping[tuple[str, str], ObservedNotebook],
    unreachable: frozenset[str],
    policy: Policy,
) -> list[Count]:
    """Environments by profile and state. Every profile has its running ones counted, so that none reads as 0 and not as nothing.

    The state is the instance's own; MISSING where somebody entitled has none, UNREACHABLE where its zone did not answer.
    """
    found: Counter[tuple[str, str]] = Counter()
    for row in rows:
        seen = by_name.get((row.zone or "", row.instance_id or ""))
        if seen is not None:
            state = seen.state.value
        elif row.zone in unreachable:
            state = "UNREACHABLE"
        elif row.presence is Presence.PRESENT:
            state = "MISSING"
        else:
            continue  # a tombstone
        found[row.profile or "", state] += 1
    profiles = policy.catalog.profiles
    for name in profiles:
        found[name, NotebookState.ACTIVE.value] += 0
    counts = []
    for (name, state), count in sorted(found.items()):
        price = profiles[name].hourly_cost if name in profiles and state == NotebookState.ACTIVE.value else None
        cost = None if price is None else round(price * count, 4)
        counts.append(Count(profile=name, state=state, count=count, hourly_cost=cost))
    return counts


@dataclass(frozen=True, slots=True)
class Waits:
    """How long the news that waits longest has waited: of who is to get an environment, of who is to lose it."""

    ready: timedelta
    stopped: timedelta


def longest_waits(rows: Iterable[RecordRow], now: datetime) -> Waits:
    """Zero where nobody waits."""
    longest = dict.fromkeys(Presence, timedelta(0))
    for row in rows:
        if row.waiting_since is not None:
            longest[row.presence] = max(longest[row.presence], now - row.waiting_since)
    return Waits(ready=longest[Presence.PRESENT], stopped=longest[Presence.ABSENT])
