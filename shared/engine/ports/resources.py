"""Ports of what a person has in the cloud: instances, accounts, saved files, clusters, templates, and what is seen of their use.

Every method of a port may raise `RetryableError` or `PermanentError` of `shared.domain.things.errors`, and nothing else on purpose. Adapters in
`shared.cloud` fulfil the ports; tests bring fakes of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from msgspec import Struct

from shared.domain.fleet.idle import Activity
from shared.domain.plan.plan import AccountSeen, OperationSeen, TemplatesSeen
from shared.domain.record.record import UserRecord
from shared.domain.record.status import OperationRef
from shared.domain.snapshot.actions import WriteManifest
from shared.domain.spark.actions import CreateCluster
from shared.domain.spark.sessions import SessionOwner
from shared.domain.template.actions import PutTemplate
from shared.domain.template.sessions import SessionOffer, SessionSeen, WantedSession
from shared.domain.things.clusters import Cluster, ClusterOperationSeen
from shared.domain.things.identity import AccountId, UserEmail, UserKey
from shared.domain.things.notebook import Absent, InstanceRef, NotebookSpec, ObservedNotebook, Patch
from shared.domain.things.snapshots import SnapshotSeen


class NotebookListing(Struct, frozen=True):
    """Instances of all zones; `unreachable` names the zones that could not be asked, where absence means nothing."""

    notebooks: tuple[ObservedNotebook, ...]
    unreachable: frozenset[str]


class Notebooks(Protocol):
    """Workbench instances."""

    def get(self, ref: InstanceRef) -> ObservedNotebook | Absent:
        """One instance."""

    def pages(self) -> Iterator[NotebookListing]:
        """Yield the pages of a listing of all zones."""

    def listing(self) -> NotebookListing:
        """All instances of the project."""

    def operation(self, ref: OperationRef) -> OperationSeen | Absent:
        """Return an operation by name."""

    def latest_operation(self, ref: InstanceRef) -> OperationRef | None:
        """Return the newest operation on an instance whose own reference was lost in a crash."""

    def create(self, spec: NotebookSpec, zone: str, request_id: str) -> OperationRef | None:
        """Start a create; None when the instance is there already and ours. `NotOursError` when it is somebody else's."""

    def start(self, ref: InstanceRef) -> OperationRef | None:
        """Start a start."""

    def stop(self, ref: InstanceRef) -> OperationRef | None:
        """Start a stop; None when there is nothing to stop."""

    def delete(self, ref: InstanceRef, request_id: str) -> OperationRef | None:
        """Start a delete; None when it is gone already."""

    def update(self, ref: InstanceRef, patch: Patch, request_id: str) -> OperationRef | None:
        """Start a patch of exactly what `patch` names."""

    def restore(self, ref: InstanceRef, snapshot: str) -> OperationRef | None:
        """Start to put what a snapshot of this project holds onto the data disk."""


class Accounts(Protocol):
    """The people's own service accounts."""

    def get(self, account_id: AccountId, user_key: UserKey) -> AccountSeen | Absent:
        """Return the account with its policy."""

    def create(self, account_id: AccountId, user_key: UserKey) -> None:
        """Make it; there already and ours is success. `NotOursError` when it is somebody else's."""

    def share(self, account_id: AccountId, user: UserEmail | None) -> None:
        """Make its policy let this person act as it and nobody else; None: nobody. Read, change, write, again on conflict."""

    def enable(self, account_id: AccountId) -> None:
        """Enable it; enabled already is done."""

    def disable(self, account_id: AccountId) -> None:
        """Disabled already, or gone, is done."""

    def delete(self, account_id: AccountId) -> None:
        """Gone already is done."""


class Groups(Protocol):
    """Google groups that carry data roles; their members are service accounts of people."""

    def has(self, group: str, member: str) -> bool:
        """Return True when `member` (an address) is a direct member."""

    def join(self, group: str, member: str) -> None:
        """Member already is done."""

    def leave(self, group: str, member: str) -> None:
        """No member, or no such group, is done."""


class Snapshots(Protocol):
    """Snapshots of data disks, and their manifests."""

    def get(self, name: str) -> SnapshotSeen | Absent:
        """One snapshot."""

    def create(self, name: str, source: InstanceRef, labels: Mapping[str, str]) -> None:
        """Start one of the instance's data disk; there already is success. It is done when it is seen READY."""

    def delete(self, name: str) -> None:
        """Start to delete one; gone already is done."""

    def rows(self) -> Iterator[SnapshotSeen]:
        """All that carry our labels."""

    def write_manifest(self, user_key: UserKey, manifest: WriteManifest) -> None:
        """Write the object `manifests/<user_key>/<snapshot>.json`; the same content twice is the same object."""

    def manifests(self, user_key: UserKey) -> Iterator[str]:
        """Return the snapshots of which a person has manifests."""

    def forget_manifest(self, user_key: UserKey, name: str) -> None:
        """Delete the manifest of a snapshot; a missing one is not an error."""


class Clusters(Protocol):
    """The people's Spark clusters."""

    def of(self, user_key: UserKey) -> tuple[Cluster, ...]:
        """All that carry this person's label, in whatever state."""

    def create(self, record: UserRecord, action: CreateCluster) -> str:
        """Start a create from the person's rendered template; the operation's name, empty when it is there already and ours.

        `NotOursError` when it is somebody else's.
        """

    def operation(self, name: str) -> ClusterOperationSeen | Absent:
        """Return an operation by name."""

    def delete(self, name: str) -> None:
        """Start to delete one; gone or going already is done. `BusyError` while it is being made or changed."""


class SessionTemplates(Protocol):
    """Templates of serverless Spark sessions, which belong to profiles."""

    def render(self, offer: SessionOffer) -> WantedSession:
        """Return what the configuration makes of an offer. `InvalidSpecError` when its master is wrong."""

    def rows(self) -> Iterator[SessionSeen]:
        """All of the project's region, others' too."""

    def create(self, wanted: WantedSession) -> None:
        """Make it; there already and ours is success. `NotOursError` when it is somebody else's."""

    def update(self, wanted: WantedSession) -> None:
        """Replace what it says; gone is left to the next sweep."""

    def remove(self, session_id: str) -> None:
        """Gone already is done."""


class LiveSessions(Protocol):
    """Serverless Spark sessions that run."""

    def of(self, owner: SessionOwner) -> tuple[str, ...]:
        """Return the ids of this owner's sessions that run or are being made."""

    def end(self, name: str) -> None:
        """Start to terminate one; gone, ending or ended already is done."""


class Templates(Protocol):
    """The users' rendered template objects."""

    def seen(self, user_key: UserKey) -> TemplatesSeen:
        """Return what is there for one user."""

    def put(self, record: UserRecord, action: PutTemplate) -> None:
        """Render the master for this user and write the object."""

    def remove(self, user_key: UserKey, template: str) -> None:
        """Remove one object; not being there is fine."""

    def rows(self) -> Iterator[tuple[UserKey, str, str]]:
        """(user, template, digest) of all objects."""


class Vm(Protocol):
    """A machine that evidence is asked of."""

    @property
    def ref(self) -> InstanceRef:
        """The instance."""

    @property
    def gce_instance_id(self) -> str:
        """The VM's numeric id; empty: not known."""


class ActivitySource(Protocol):
    """Evidence of use."""

    def read(self, notebooks: Sequence[Vm], window: timedelta, now: datetime) -> Mapping[str, Activity]:
        """Evidence per instance id over the last `window`, put together when it is asked for; an instance of which nothing could be read carries that in its evidence."""
