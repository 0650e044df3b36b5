"""The drift sweep's decisions from rows and listings alone: which records need a pass, which resources are orphans. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from msgspec import Struct, field

from shared.domain.fleet.seen import Labelled, SeenNotebook
from shared.domain.notebook.differences import OWNER, Change, Differences, compare, is_refused
from shared.domain.notebook.waiting import in_turn, may_disrupt
from shared.domain.plan.plan import Policy
from shared.domain.record.record import Power, Presence, RecordRow
from shared.domain.record.waves import RolloutState
from shared.domain.template.wanted import wanted_templates
from shared.domain.things.catalog import Profile
from shared.domain.things.errors import Reason
from shared.domain.things.identity import UserEmail, UserKey, is_user_key, user_key_of_instance
from shared.domain.things.meter import price_digest_in
from shared.domain.things.notebook import (
    LABEL_MANAGED_BY,
    LABEL_USER,
    MANAGED_BY,
    RESTING,
    InstanceRef,
    NotebookState,
    ObservedNotebook,
    runs_as,
    spec_for,
)
from shared.domain.things.snapshots import SnapshotSeen

# A planned pass this late has lost its entry in the due index; until then the tick is expected to handle it.
LOST_AFTER = timedelta(minutes=5)
_MOST_KEPT = 4096  # comparisons of one sweep; more would mean that notebooks are not alike
# A planned pass this near means work under way. A later one is a date (a later fact, a window) and says nothing about today.
_UNDER_WAY = timedelta(hours=2)
_GLOBAL = "global"  # the place of a snapshot


class Listed(Struct, frozen=True, kw_only=True):
    """The part of the listings about one user: the record's instance, the template digests, and the zones that did not answer.

    `snapshots` are the names of all users' snapshots with our labels, None if they were not listed. `entitling` is the
    digest of the assignments, and `prices` the digest of the prices. A sweep computes both digests once; an empty digest is
    computed for each user. `comparisons` are shared by all users of a sweep.
    """

    notebook: ObservedNotebook | None
    templates: Mapping[str, str]
    unreachable: frozenset[str]
    snapshots: frozenset[str] | None = None
    entitling: str = ""
    prices: str = ""
    comparisons: Comparisons | None = None
    _compared: dict[str, Differences | None] = field(default_factory=dict)

    def differences(self, row: RecordRow, policy: Policy) -> Differences | None:
        """Return the instance's differences whose turn has come, cached by user; None if there is nothing to compare."""
        if row.user_key not in self._compared:
            seen = self.notebook
            known = self.comparisons or Comparisons()
            self._compared[row.user_key] = None if seen is None else known.of(row, seen, policy)
        return self._compared[row.user_key]


def why_pass(row: RecordRow, listed: Listed, policy: Policy, now: datetime) -> str | None:
    """Return the reason why this record needs a pass, in words; None if there is none, or if the tick follows work under way."""
    if not row.settled:
        return "the wanted state was not checked yet"
    if row.next_attempt_at is not None and row.next_attempt_at <= now - LOST_AFTER:
        return "its wake-up was lost"
    if row.entitling_digest != (listed.entitling or policy.entitling_digest()):
        return "the assignments changed"
    wanted = wanted_templates(row, policy)
    if wanted is not None and dict(listed.templates) != wanted:
        return "template objects differ"
    if row.meter and price_digest_in(row.meter) not in {"", listed.prices or policy.catalog.price_digest()}:
        return "its prices changed"
    if row.account_id is not None and _hour_of(row.user_key) == now.hour:
        return "its account is checked once a day"
    soon = row.next_attempt_at is not None and row.next_attempt_at <= now + _UNDER_WAY
    if row.busy or (soon and row.presence is Presence.PRESENT):
        return None  # under way; the tick follows it
    if (
        listed.snapshots is not None
        and row.zone not in listed.unreachable
        and not listed.snapshots.issuperset(row.copies)
    ):
        return "a copy of the files is gone"
    return _why_notebook(row, listed, policy, now)


def _hour_of(user_key: UserKey) -> int:
    """Return the hour (UTC) at which a user's account is checked each day, because no listing shows who may act as it."""
    return hashlib.sha256(user_key.encode()).digest()[0] % 24


def _why_notebook(row: RecordRow, listed: Listed, policy: Policy, now: datetime) -> str | None:
    if row.zone is None or row.zone in listed.unreachable:
        return None  # a missing row of a listing does not mean absence
    seen = listed.notebook
    if row.presence is Presence.ABSENT:
        return _why_leaver(row, listed)
    if seen is None:
        return _why_gone(row, listed)
    running = seen.state is NotebookState.ACTIVE
    if running != (row.power is Power.RUNNING):
        return f"wanted {row.power.value.lower()}, and the instance is {seen.state.value.lower()}"
    profile = policy.catalog.profiles.get(row.profile or "")
    differences = listed.differences(row, policy)
    if profile is None or differences is None:
        return None
    if _is_to_be_dated(row, profile):
        return "its dormancy is not planned yet"
    # One replacement at a time, as in the plan: a predecessor may be kept until an administrator has looked.
    wanted = differences.disruptive if row.former is None else differences.of(Change.RESTART)
    pending = wanted and not is_refused(differences.disruptive, row.refused)
    if pending and (not running or may_disrupt(profile, now)):
        return f"out of line: {_how(differences)}"
    if differences.of(Change.PATCH):
        return "out of line: patch in place"
    if differences.of(Change.GROW) and not is_refused(differences.of(Change.GROW), row.refused):
        return f"out of line: {Change.GROW.value}"
    if is_to_verify(row, policy):
        return "its change is not verified yet"
    if differences.of(Change.LEFT) and row.reason == Reason.READY:
        return "out of line: cannot be changed, and the owner is not informed yet"
    return None


def _is_to_be_dated(row: RecordRow, profile: Profile) -> bool:
    """Return True if a pass must plan the dormancy warnings of a stopped notebook without hold, predecessor and next pass."""
    is_at_rest = row.power is Power.STOPPED and row.power_settled and row.reason in {Reason.STOPPED, Reason.IDLE}
    is_free = row.next_attempt_at is None and not row.on_hold and row.former is None
    return profile.idle.dormant_after is not None and is_at_rest and is_free


def _why_gone(row: RecordRow, listed: Listed) -> str | None:
    """Return the reason for a pass if the listing has no instance; None for a dormant notebook whose snapshots are not gone."""
    if row.reason != Reason.DORMANT or row.power is not Power.STOPPED:
        return "the instance is gone"
    lost = listed.snapshots is not None and not listed.snapshots.issuperset(row.snapshots)
    return "a snapshot of a dormant notebook is gone" if lost else None


def _why_leaver(row: RecordRow, listed: Listed) -> str | None:
    seen = listed.notebook
    if listed.snapshots is not None and not listed.snapshots.issuperset(row.snapshots):
        return "a snapshot of a leaver is gone"
    if seen is not None and seen.state in RESTING and not row.snapshots:
        return "the files of a leaver are not saved"
    if seen is None or seen.state in RESTING:
        return None  # the end of the retention is a planned pass
    return f"not entitled, and the instance is {seen.state.value.lower()}"


def is_to_verify(row: RecordRow, policy: Policy) -> bool:
    """Return True if the user's turn in a rollout has begun and has not ended: a pass must verify the changed notebook.

    A turn of a rollout that is done does not count. A turn of an earlier rollout counts, so that a pass removes the turn.
    """
    rollout, turn = policy.rollout, row.turn
    if turn is None or turn.ended_at is not None:
        return False
    return rollout is None or rollout.state is not RolloutState.DONE or turn.rollout != rollout.rollout_id


def why_waits(row: RecordRow, listed: Listed, policy: Policy) -> str | None:
    """Return a text about a change that waits for its turn in a rollout or for a stop of the instance; None if none waits."""
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
    """Return a text if the instance differs in properties that can never be changed; None otherwise."""
    seen = listed.notebook
    if row.presence is Presence.ABSENT or seen is None:
        return None
    differences = listed.differences(row, policy)
    return (
        "differs in properties that cannot be changed"
        if differences is not None and differences.of(Change.LEFT)
        else None
    )


def _how(differences: Differences) -> str:
    return (Change.REPLACE if differences.of(Change.REPLACE) else Change.RESTART).value


def differences_of(row: RecordRow, seen: ObservedNotebook, policy: Policy) -> Differences | None:
    """Return the differences whose turn has come; None if the row names no instance, or the configuration lacks its profile."""
    return Comparisons().of(row, seen, policy)


class Comparisons:
    """A cache of comparisons: notebooks that are alike are compared once.

    Two notebooks are alike, and have the same differences, if three things hold. Both have the same shape (`SeenNotebook`)
    and service account. Both rows have the same profile, cost centre and `built_from`. Both have the right user label and
    owner. Other notebooks are compared one by one, and so is each notebook of a user with a personal service account. At
    most 4096 results are kept.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], Differences | None] = {}
        self._kept: list[object] = []  # kept alive, so that no other object gets the same `id()`

    def of(self, row: RecordRow, seen: ObservedNotebook, policy: Policy) -> Differences | None:
        """Return the differences whose turn has come; None if the row names no instance, or the configuration lacks its profile."""
        return in_turn(lambda one: self._by(row, seen, one), policy, row.user_key, row.turn)

    def _by(self, row: RecordRow, seen: ObservedNotebook, policy: Policy) -> Differences | None:
        if (
            not isinstance(seen, SeenNotebook)
            or row.account_id is not None
            or seen.labels.get(LABEL_USER) != row.user_key
            or (seen.owners is not None and seen.owners != (row.email,))
            or row.built_from.get(OWNER, row.email) != row.email
        ):
            return notebook_differences(row, seen, policy)
        alike = (
            id(policy), id(seen.shape), row.instance_id is None, row.profile, row.cost_center, seen.owners is None, seen.service_account,
            *[text for what, text in row.built_from.items() if what != OWNER], *row.built_from,
        )  # fmt: skip
        if alike in self._known:
            return self._known[alike]
        found = notebook_differences(row, seen, policy)
        if len(self._known) < _MOST_KEPT:
            self._known[alike] = found
            self._kept += (policy, seen.shape)
        return found


def notebook_differences(row: RecordRow, seen: ObservedNotebook, policy: Policy) -> Differences | None:
    """Return all differences, even before their turn; None if the row names no instance, or the configuration lacks its profile."""
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


class Stray(Struct, frozen=True, kw_only=True):
    """An orphan: a labelled resource that no record names, or an instance with our name but without our labels."""

    name: str
    zone: str
    why: str


class StrayCheck:
    """The search for orphans, by comparison of the listings with the rows.

    Orphans are instances and snapshots with our labels that no record names. A labelled predecessor that a record names is
    not an orphan. An instance with the name of a user's instance but without our labels is an orphan if that user has a row.
    """

    def __init__(
        self, notebooks: Iterable[Labelled | ObservedNotebook], snapshots: Iterable[SnapshotSeen] = ()
    ) -> None:
        self._labelled: dict[str, list[InstanceRef]] = {}
        self._named: dict[str, list[InstanceRef]] = {}
        self._saved: dict[str, set[str]] = {}
        self._without_row: set[str] = set()
        self._found: list[Stray] = []
        for notebook in notebooks:
            named = user_key_of_instance(notebook.ref.instance_id)
            if notebook.labels.get(LABEL_MANAGED_BY) == MANAGED_BY:
                self._labelled.setdefault(notebook.labels.get(LABEL_USER, ""), []).append(notebook.ref)
            elif named is not None:
                self._named.setdefault(named, []).append(notebook.ref)
        for snapshot in snapshots:
            key = snapshot.labels.get(LABEL_USER, "")
            self._saved.setdefault(key, set()).add(snapshot.name)
            if snapshot.labels.get(LABEL_MANAGED_BY) == MANAGED_BY:
                self._without_row.add(key)

    def add(self, row: RecordRow) -> None:
        """Note as orphans the user's labelled resources that the row does not name, and the user's instances without our labels."""
        key = row.user_key
        for ref in self._labelled.pop(key, ()):
            if (ref.zone, ref.instance_id) not in {(row.zone, row.instance_id), row.former}:
                self._note(ref, "is not where its user's record says")
        for ref in self._named.pop(key, ()):
            self._note(ref, "has our name without our labels")
        for name in self._saved.pop(key, set()).difference(row.snapshots, row.copies):
            self._note_snapshot(name)
        self._without_row.discard(key)

    def strays(self) -> list[Stray]:
        """Return the orphans: instances by name, then snapshots by name. Call after the last row was added."""
        for refs in self._labelled.values():
            for ref in refs:
                self._note(ref, "carries our labels and has no record")
        self._without_row |= self._labelled.keys()
        for names in self._saved.values():
            for name in names:
                self._note_snapshot(name)
        self._labelled, self._saved = {}, {}
        return sorted(self._found, key=lambda stray: (stray.zone == _GLOBAL, stray.name, stray.zone))

    def without_record(self, rowless: Iterable[UserKey]) -> list[UserKey]:
        """Return the keys of users with labelled resources but without a row, and the `rowless` keys. Call after `strays`."""
        return sorted({UserKey(key) for key in self._without_row if is_user_key(key)} | set(rowless))

    def _note(self, ref: InstanceRef, why: str) -> None:
        self._found.append(Stray(name=ref.instance_id, zone=ref.zone, why=why))

    def _note_snapshot(self, name: str) -> None:
        why = "is a snapshot with our labels that no record names"
        self._found.append(Stray(name=name, zone=_GLOBAL, why=why))


class Count(Struct, frozen=True, kw_only=True):
    """The number of environments of a profile in a state, and their total hourly cost (None: not estimated)."""

    profile: str
    state: str
    count: int
    hourly_cost: float | None


class Census:
    """A counter of environments by profile and state: the instance's state, UNREACHABLE if its zone did not answer, or MISSING."""

    def __init__(self) -> None:
        self._found: Counter[tuple[str, str]] = Counter()

    def add(self, row: RecordRow, seen: ObservedNotebook | None, unreachable: frozenset[str]) -> None:
        """Count one environment. A user who is entitled to none does not count if the zone answered and has no instance."""
        if seen is not None:
            state = seen.state.value
        elif row.zone in unreachable:
            state = "UNREACHABLE"
        elif row.presence is Presence.PRESENT:
            state = "MISSING"
        else:
            return
        self._found[row.profile or "", state] += 1

    def counts(self, policy: Policy) -> list[Count]:
        """Return the counts, sorted by profile and state. Every profile has a count of running instances, even if it is 0."""
        profiles, found = policy.catalog.profiles, self._found.copy()
        for name in profiles:
            found[name, NotebookState.ACTIVE.value] += 0
        counts = []
        for (name, state), count in sorted(found.items()):
            price = profiles[name].hourly_cost if name in profiles and state == NotebookState.ACTIVE.value else None
            cost = None if price is None else round(price * count, 4)
            counts.append(Count(profile=name, state=state, count=count, hourly_cost=cost))
        return counts


class LongestWaits:
    """A counter that finds the longest current waits, each since the message that caused it. Waits for a limit do not count."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._longest = dict.fromkeys(Presence, timedelta(0))

    def add(self, row: RecordRow) -> None:
        """Count the wait of the row's user, if the user waits."""
        if row.waiting_since is not None and row.reason != Reason.LIMIT_REACHED:
            waits = self._now - row.waiting_since
            self._longest[row.presence] = max(self._longest[row.presence], waits)

    @property
    def ready(self) -> timedelta:
        """Return the longest wait for an environment; zero if no user waits."""
        return self._longest[Presence.PRESENT]

    @property
    def stopped(self) -> timedelta:
        """Return the longest wait for the end of an environment; zero if no user waits."""
        return self._longest[Presence.ABSENT]
