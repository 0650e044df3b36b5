"""The plan of one pass for one user: its actions and their reasons.

The module has types only. `shared.domain.reconcile.planner` makes the plan, and `shared.engine` carries the plan out.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import IntEnum
from operator import attrgetter
from typing import ClassVar

from msgspec import Struct, field

from shared.domain.people.domains import People
from shared.domain.people.groups import GroupBook
from shared.domain.people.sources import SHIPPED, Source
from shared.domain.plan.guard_settings import GuardSettings
from shared.domain.record.record import UserRecord
from shared.domain.record.status import ConditionType, OperationRef, Verb
from shared.domain.record.waves import Rollout
from shared.domain.things.catalog import Catalog
from shared.domain.things.clusters import Cluster, ClusterOperationSeen
from shared.domain.things.errors import BenchkeeperError
from shared.domain.things.notebook import (
    Absent,
    Network,
    NotebookSight,
    NotLooked,
    Unreadable,
)
from shared.domain.things.snapshots import SnapshotSeen

_REQUESTS = uuid.UUID("6f0b6f6e-6b1c-5a0e-9f57-2a1d8c3f7e10")


class Policy(Struct, frozen=True, kw_only=True):
    """The part of the administrator's decisions that planning needs. Times are durations.

    `personal_data` is the time for which dead letters, and records without resources, are kept. `retention` is the time for
    which a leaver's instance is kept, and `snapshot_retention` the time for which its files are kept; both count from the end
    of entitlement. `people`, `sources` and `book` have the accepted users, the sources, and the changes of groups.
    `guard` has the limits of changes that affect many users. Without `cuts_wait` a cut takes effect at once, as in a
    preview. While a `rollout` is under way, `earlier` has the older policies that a notebook may still follow. `zones`
    are in order of preference. `tells` is True if messages to users are switched on; then nothing is deleted without a
    warning. `template_context` changes if anything but a master would change a rendered template. `poll` is the time
    between two reads of an operation. An operation or a transition that takes longer than `stuck_after` needs an
    administrator. A missing resource counts as gone after `confirm_absence_after`. `capacity_retry` is the wait after a
    stockout.
    """

    catalog: Catalog
    zones: tuple[str, ...]
    network: Network
    retention: timedelta
    snapshot_retention: timedelta = timedelta(days=90)
    personal_data: timedelta = timedelta(days=365)
    project: str = ""
    template_context: str = ""
    poll: timedelta = timedelta(seconds=60)
    stuck_after: timedelta = timedelta(minutes=45)
    confirm_absence_after: timedelta = timedelta(minutes=10)
    capacity_retry: timedelta = timedelta(minutes=30)
    people: People = field(default_factory=People)
    sources: Mapping[str, Source] = field(default_factory=lambda: SHIPPED)
    book: GroupBook = field(default_factory=GroupBook)
    guard: GuardSettings = field(default_factory=GuardSettings)
    cuts_wait: bool = False
    rollout: Rollout | None = None
    earlier: tuple[Policy, ...] = ()
    tells: bool = False

    def entitling_groups(self) -> frozenset[str]:
        """Return the addresses of all groups that entitle: every present and former address of the assigned groups."""
        return self.book.reached(frozenset(each.group for each in self.catalog.assignments))

    def zones_by_offer(self, offered: tuple[str, ...]) -> tuple[str, ...]:
        """Return all zones of the policy: first the `offered` zones in their order, then the rest in order of preference."""
        first = tuple(zone for zone in offered if zone in self.zones)
        return first + tuple(zone for zone in self.zones if zone not in first)

    def entitling_digest(self) -> str:
        """Return a digest that changes if the same facts could entitle a user to something else.

        It covers the assignments, the default profile, the profile names and the group events.
        """
        catalog = self.catalog.entitling_digest
        if not self.book.events:
            return catalog
        return hashlib.sha256(f"{catalog}|{self.book.digest_text()}".encode()).hexdigest()[:16]


class OperationSeen(Struct, frozen=True, kw_only=True):
    """An operation as it was read: `error` is set if the operation is done and failed, already classified."""

    ref: OperationRef
    done: bool
    error: BenchkeeperError | None = None


OperationSight = OperationSeen | Absent | Unreadable | NotLooked


class TemplatesSeen(Struct, frozen=True):
    """The user's template objects: a mapping from name to the digest with which the object was written ("" if it has none)."""

    digests: Mapping[str, str]


class AccountSeen(Struct, frozen=True, kw_only=True):
    """The user's own service account as it was read.

    `is_ours` is True if the account's description says that we made it for this user. `shared_with` maps each role of the
    account's policy to the members that have the role. `in_groups` maps each queried group to True if the account is a
    direct member. `keys` is the number of keys that users made for the account, None if unknown.
    """

    is_ours: bool
    disabled: bool
    shared_with: Mapping[str, tuple[str, ...]]
    in_groups: Mapping[str, bool] = field(default_factory=dict)
    keys: int | None = None


AccountSight = AccountSeen | Absent | Unreadable | NotLooked
SnapshotSight = SnapshotSeen | Absent | Unreadable


class ClustersSeen(Struct, frozen=True):
    """The user's Spark clusters."""

    clusters: tuple[Cluster, ...]


class SparkSessionsSeen(Struct, frozen=True):
    """The ids of the user's serverless Spark sessions that run or are being created."""

    sessions: tuple[str, ...]


class Observed(Struct, frozen=True, kw_only=True):
    """All observations of one pass.

    `snapshots` has an observation for each snapshot that the record names. `cluster_operations` has an observation for each
    create operation of a cluster whose outcome is not known otherwise.
    """

    notebook: NotebookSight
    operation: OperationSight
    templates: TemplatesSeen | Unreadable | NotLooked
    former: NotebookSight = field(default_factory=NotLooked)
    account: AccountSight = field(default_factory=NotLooked)
    snapshots: Mapping[str, SnapshotSight] = field(default_factory=dict)
    clusters: ClustersSeen | Unreadable | NotLooked = field(default_factory=NotLooked)
    cluster_operations: Mapping[str, ClusterOperationSeen | Absent | Unreadable] = field(default_factory=dict)
    sessions: SparkSessionsSeen | Unreadable | NotLooked = field(default_factory=NotLooked)


class Activity(IntEnum):
    """The effect of an action on the user's access, as an activity number of OCSF class 3001."""

    CREATE = 1
    ENABLE = 2  # also: start, change, make larger
    DISABLE = 5
    DELETE = 6


class Action(Struct, frozen=True):
    """A change to request from the cloud. A new kind of action needs a subclass, and a call in `shared.engine.reconcile.executor`.

    `condition` is the condition that reports the action's failure. `target` is the attribute path to the name of the changed
    resource. `activity` is for the audit. If `written_first` is True, the record is saved before the request is sent. Such an
    action cannot be undone or repeated, or only the record has the name of the new resource. If `is_routine` is True, the
    action happens every day, so its success is not a line of the history.
    """

    condition: ClassVar[ConditionType]
    target: ClassVar[str]
    activity: ClassVar[Activity]
    words: ClassVar[str] = ""
    written_first: ClassVar[bool] = False
    is_routine: ClassVar[bool] = False

    @property
    def key(self) -> str:
        """Return the kind and the target of the action. The history recognises a repeated action by this key."""
        return f"{type(self).__name__} {attrgetter(self.target)(self)}"

    def does(self) -> Activity:
        """Return the effect of this action on the user's access."""
        return self.activity

    def describe(self) -> str:
        """Return the action in words, for plans and the history: `words` formatted with the action as `{0}`."""
        return self.words.format(self)


class Plan(Struct, frozen=True, kw_only=True):
    """The plan of one pass.

    `actions` are in order, `because` has the reasons, and `record` is the record after the actions have been started.

    `requeue_at` is the time of the next pass: the earliest of `waits`, of the next fact that takes effect, and of the next
    check for room, for a seat or for the settled power. It is None if nothing is pending. `waits` has the time for each half
    of the plan that waits, by the condition of that half.
    """

    record: UserRecord
    actions: tuple[Action, ...]
    because: tuple[str, ...]
    requeue_at: datetime | None
    waits: Mapping[ConditionType, datetime] = field(default_factory=dict)


def request_id(record: UserRecord, verb: Verb, about: str = "") -> str:
    """Return a UUID that is the same for each repetition of one try, so that a repeated request takes effect once."""
    parts = f"{record.user_key}:{record.status.tries}:{verb.value}:{record.status.notebook.zone}{about and ':' + about}"
    return str(uuid.uuid5(_REQUESTS, parts))
