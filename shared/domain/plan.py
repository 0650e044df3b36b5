"""The plan: what one pass does for one person, and why. Types only; `shared.domain.planner` makes it, `engine` carries it out."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta

from msgspec import Struct, field

from shared.domain.catalog import Catalog
from shared.domain.errors import BenchkeeperError
from shared.domain.groups import GroupBook
from shared.domain.guard_settings import GuardSettings
from shared.domain.identity import AccountId, UserEmail
from shared.domain.keeping import Snapshot, SnapshotSeen
from shared.domain.notebook import (
    Absent,
    InstanceRef,
    Network,
    NotebookSight,
    NotebookSpec,
    NotLooked,
    Patch,
    Unreadable,
)
from shared.domain.people import People
from shared.domain.record import ConditionType, OperationRef, UserRecord, Verb
from shared.domain.sources import SHIPPED, Source
from shared.domain.spark import Cluster, ClusterOperationSeen
from shared.domain.waves import Rollout

_REQUESTS = uuid.UUID("6f0b6f6e-6b1c-5a0e-9f57-2a1d8c3f7e10")


class Policy(Struct, frozen=True, kw_only=True):
    """What the administrator decided, as far as planning needs it. Times are durations.

    `personal_data` is how long a dead letter and the record of somebody of whom nothing exists are kept.
    `retention` is how long a leaver's instance is kept, `snapshot_retention` how long what was on its data disk; both count
    from the end of entitlement. `people`, `sources` and `book` say whose word counts, about whom, and what became of groups. `guard` has the
    limits of changes that touch many; without `cuts_wait` a cut is what the facts say, as in a what-if. While a `rollout` is under
    way, `earlier` are the policies by which a notebook may still be right. `zones` in order of preference. `template_context` changes whenever a rendered template would, beyond its master.
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

    def entitling_groups(self) -> frozenset[str]:
        """Return the addresses of all groups that entitle: those that are assigned, and what else these are or were called."""
        return self.book.reached(frozenset(each.group for each in self.catalog.assignments))

    def entitling_digest(self) -> str:
        """Return what changes whenever the same facts could entitle to something else: assignments, default, profiles, groups."""
        catalog = self.catalog.entitling_digest()
        if not self.book.events:
            return catalog
        return hashlib.sha256(f"{catalog}|{self.book.digest_text()}".encode()).hexdigest()[:16]


class OperationSeen(Struct, frozen=True, kw_only=True):
    """An operation as it was read: `error` is set when it is done and failed, already classified."""

    ref: OperationRef
    done: bool
    error: BenchkeeperError | None = None


OperationSight = OperationSeen | Absent | Unreadable | NotLooked


class TemplatesSeen(Struct, frozen=True):
    """The user's template objects: name -> the digest they were written with ("" when they carry none)."""

    digests: Mapping[str, str]


class AccountSeen(Struct, frozen=True, kw_only=True):
    """The person's own service account as it was read.

    `is_ours` = its description says that we made it for this person. `shared_with` are all members that its policy lets do
    something with it, by role. `in_groups` says of each group that was asked about whether it is a direct member.
    """

    is_ours: bool
    disabled: bool
    shared_with: Mapping[str, tuple[str, ...]]
    in_groups: Mapping[str, bool] = field(default_factory=dict)


AccountSight = AccountSeen | Absent | Unreadable | NotLooked
SnapshotSight = SnapshotSeen | Absent | Unreadable


class ClustersSeen(Struct, frozen=True):
    """The person's Spark clusters."""

    clusters: tuple[Cluster, ...]


class SparkSessionsSeen(Struct, frozen=True):
    """The ids of the person's serverless Spark sessions that run or are being made."""

    sessions: tuple[str, ...]


class Observed(Struct, frozen=True, kw_only=True):
    """Everything that one pass looked at.

    `snapshots` has a sight for each that the record names, `cluster_operations` one for each create of a cluster whose outcome
    is not seen otherwise.
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


class CreateInstance(Struct, frozen=True, kw_only=True):
    """Ask for a new instance in a zone."""

    spec: NotebookSpec
    zone: str
    request_id: str


class StartInstance(Struct, frozen=True, kw_only=True):
    """Start a stopped instance."""

    ref: InstanceRef


class StopInstance(Struct, frozen=True, kw_only=True):
    """Stop a running instance."""

    ref: InstanceRef


class DeleteInstance(Struct, frozen=True, kw_only=True):
    """Delete an instance and its disks."""

    ref: InstanceRef
    request_id: str


class UpdateInstance(Struct, frozen=True, kw_only=True):
    """Patch an instance; `disruptive` says in words which changes of it only a stopped instance takes."""

    ref: InstanceRef
    patch: Patch
    disruptive: str
    request_id: str


class RestoreData(Struct, frozen=True, kw_only=True):
    """Put what a snapshot holds onto the instance's data disk, in place of what is there."""

    ref: InstanceRef
    snapshot: str


class CreateSnapshot(Struct, frozen=True, kw_only=True):
    """Save the data disk of an instance."""

    name: str
    source: InstanceRef
    labels: Mapping[str, str]


class DeleteSnapshot(Struct, frozen=True, kw_only=True):
    """Delete a snapshot; its manifest then says when."""

    name: str


class WriteManifest(Struct, frozen=True, kw_only=True):
    """Write down what a snapshot holds, or (`deleted_at`) that it was deleted."""

    snapshot: Snapshot
    deleted_at: datetime | None = None


class CreateAccount(Struct, frozen=True, kw_only=True):
    """Make the person's own service account."""

    account_id: AccountId


class ShareAccount(Struct, frozen=True, kw_only=True):
    """Let this person, and nobody else, act as the account; None: nobody at all."""

    account_id: AccountId
    user: UserEmail | None


class EnableAccount(Struct, frozen=True, kw_only=True):
    """Let the account be used again."""

    account_id: AccountId


class DisableAccount(Struct, frozen=True, kw_only=True):
    """End what the account can do, at once, whoever holds tokens for it."""

    account_id: AccountId


class DeleteAccount(Struct, frozen=True, kw_only=True):
    """Delete the person's own service account."""

    account_id: AccountId


class JoinGroup(Struct, frozen=True, kw_only=True):
    """Make the account a member of the group that carries the profile's data roles."""

    account_id: AccountId
    group: str


class LeaveGroup(Struct, frozen=True, kw_only=True):
    """Take the account out of a group."""

    account_id: AccountId
    group: str


class CreateCluster(Struct, frozen=True, kw_only=True):
    """Ask for a Spark cluster of a template; `zone` empty = Dataproc picks one that has machines."""

    template: str
    name: str
    zone: str
    request_id: str


class DeleteCluster(Struct, frozen=True, kw_only=True):
    """Delete one of the person's Spark clusters."""

    name: str


class EndSession(Struct, frozen=True, kw_only=True):
    """Terminate one of a leaver's serverless Spark sessions."""

    name: str


class PutTemplate(Struct, frozen=True, kw_only=True):
    """Render a master for this user and write the object."""

    template: str
    digest: str


class RemoveTemplate(Struct, frozen=True, kw_only=True):
    """Remove one of the user's template objects."""

    template: str


NotebookAction = CreateInstance | StartInstance | StopInstance | DeleteInstance | UpdateInstance | RestoreData
TemplateAction = PutTemplate | RemoveTemplate
AccountAction = CreateAccount | ShareAccount | EnableAccount | DisableAccount | DeleteAccount | JoinGroup | LeaveGroup
KeepingAction = CreateSnapshot | DeleteSnapshot | WriteManifest
ClusterAction = CreateCluster | DeleteCluster
Action = NotebookAction | TemplateAction | AccountAction | KeepingAction | ClusterAction | EndSession


class Plan(Struct, frozen=True, kw_only=True):
    """What to do now (`actions`, in order), why (`because`), and the record as it is once they have been started.

    `requeue_at` is when to look again, None when nothing is pending: the earliest of `waits`, which has it for each half of the
    plan by the condition that it keeps, and of the next fact that takes effect.
    """

    record: UserRecord
    actions: tuple[Action, ...]
    because: tuple[str, ...]
    requeue_at: datetime | None
    waits: Mapping[ConditionType, datetime] = field(default_factory=dict)


def request_id(record: UserRecord, verb: Verb, about: str = "") -> str:
    """Return a UUID that is the same for the same try: asking twice after a crash is asking once."""
    parts = f"{record.user_key}:{record.status.tries}:{verb.value}:{record.status.zone}{about and ':' + about}"
    return str(uuid.uuid5(_REQUESTS, parts))
