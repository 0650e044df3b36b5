"""Ports of a user's cloud resources: instances, accounts, snapshots, clusters, templates, and evidence of their use.

A method of a port may raise `RetryableError` or `PermanentError` (`shared.domain.things.errors`); any other exception
is a bug. Adapters in `shared.cloud` implement the ports; tests have their own fakes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from shared.domain.things.notebook import ObservedNotebook

if TYPE_CHECKING:
    from shared.domain.fleet.idle import Activity, Sample
    from shared.domain.fleet.outside_jobs import OutsideJob
    from shared.domain.fleet.report import Report
    from shared.domain.plan.plan import AccountSeen, OperationSeen, TemplatesSeen
    from shared.domain.record.record import UserRecord
    from shared.domain.record.status import OperationRef
    from shared.domain.snapshot.actions import WriteManifest
    from shared.domain.spark.actions import CreateCluster
    from shared.domain.spark.leaver import SessionOwner
    from shared.domain.template.sessions import SessionOffer, SessionSeen, WantedSession
    from shared.domain.template.wanted import PutTemplate
    from shared.domain.things.clusters import Cluster, ClusterOperationSeen
    from shared.domain.things.identity import AccountId, UserEmail, UserKey
    from shared.domain.things.notebook import Absent, InstanceRef, NotebookSpec, Patch
    from shared.domain.things.snapshots import SnapshotSeen


class NotebookListing(Struct, frozen=True):
    """The instances of all zones. `unreachable` names the zones that did not answer: an instance missing there may still exist."""

    notebooks: tuple[ObservedNotebook, ...]
    unreachable: frozenset[str]


class Notebooks(Protocol):
    """The port to the Workbench instances.

    A method that changes an instance does not wait for the end of the operation. It returns the started operation; None if nothing had
    to be done.
    """

    def get(self, ref: InstanceRef) -> ObservedNotebook | Absent:
        """Return the instance."""

    def pages(self) -> Iterator[NotebookListing]:
        """Yield the pages of a listing of all zones."""

    def listing(self) -> NotebookListing:
        """Return the project's instances in all zones that answered, and the names of the zones that did not."""

    def operation(self, ref: OperationRef) -> OperationSeen | Absent:
        """Return the operation with this name."""

    def latest_operation(self, ref: InstanceRef) -> OperationRef | None:
        """Return the newest operation on the instance; None if there is none.

        This is for a record that lost the reference in a crash.
        """

    def create(self, spec: NotebookSpec, zone: str, request_id: str) -> OperationRef | None:
        """Create the instance and return the operation. Return None if the instance exists and is ours.

        Raise `NotOursError` if it exists but is not ours.
        """

    def start(self, ref: InstanceRef) -> OperationRef | None:
        """Start the instance and return the operation."""

    def stop(self, ref: InstanceRef) -> OperationRef | None:
        """Stop the instance and return the operation; None if there is nothing to stop."""

    def reset(self, ref: InstanceRef) -> OperationRef | None:
        """Restart the running instance on its machine, and return the operation. The API takes no request id."""

    def resize(self, ref: InstanceRef, disk: str, size_gb: int) -> OperationRef | None:
        """Make the "boot" or the "data" disk larger, and return the operation. A disk is never made smaller."""

    def delete(self, ref: InstanceRef, request_id: str) -> OperationRef | None:
        """Delete the instance and return the operation; None if the instance is already gone."""

    def update(self, ref: InstanceRef, patch: Patch, request_id: str) -> OperationRef | None:
        """Change exactly the fields that `patch` names, and return the operation."""

    def restore(self, ref: InstanceRef, snapshot: str) -> OperationRef | None:
        """Restore the data disk from a snapshot of this project, and return the operation."""


class Accounts(Protocol):
    """The port to the users' own service accounts."""

    def get(self, account_id: AccountId, user_key: UserKey) -> AccountSeen | Absent:
        """Return the account with its IAM policy."""

    def keys(self, account_id: AccountId) -> int:
        """Return the number of keys that users made for the account.

        Keys that Google manages do not count, because they never leave Google.
        """

    def create(self, account_id: AccountId, user_key: UserKey) -> None:
        """Create the account. Idempotent: succeeds if it exists and is ours. Raise `NotOursError` if it is not ours."""

    def share(self, account_id: AccountId, user: UserEmail | None) -> None:
        """Set the account's IAM policy so that only this user (None: no user) may act as the account. A conflicting write is retried."""

    def enable(self, account_id: AccountId) -> None:
        """Enable the account; an enabled one is not an error."""

    def disable(self, account_id: AccountId) -> None:
        """Disable the account; a disabled or missing one is not an error."""

    def delete(self, account_id: AccountId) -> None:
        """Delete the account; a missing one is not an error."""


class Groups(Protocol):
    """The port to the Google groups that carry data roles; their members are the users' service accounts."""

    def has(self, group: str, member: str) -> bool:
        """Return True if `member` (an address) is a direct member."""

    def join(self, group: str, member: str) -> None:
        """Add the member; an existing member is not an error."""

    def leave(self, group: str, member: str) -> None:
        """Remove the member; a missing member or a missing group is not an error."""


class Snapshots(Protocol):
    """The port to the snapshots of data disks, and to their manifests."""

    def get(self, name: str) -> SnapshotSeen | Absent:
        """Return the snapshot."""

    def create(self, name: str, source: InstanceRef, labels: Mapping[str, str]) -> None:
        """Start a snapshot of the instance's data disk. Idempotent: succeeds if it exists and is ours. Raise `NotOursError` if it is not ours.

        The snapshot is done once it is observed READY.
        """

    def delete(self, name: str) -> None:
        """Start to delete the snapshot; a missing one is not an error."""

    def rows(self) -> Iterator[SnapshotSeen]:
        """Yield all snapshots that carry our labels."""

    def write_manifest(self, user_key: UserKey, manifest: WriteManifest) -> None:
        """Write the object `manifests/<user_key>/<snapshot>.json`. Idempotent: the same content gives the same object."""

    def manifests(self, user_key: UserKey) -> Iterator[str]:
        """Yield the names of the snapshots for which the user has manifests."""

    def forget_manifest(self, user_key: UserKey, name: str) -> None:
        """Delete the manifest of a snapshot; a missing one is not an error."""


class Clusters(Protocol):
    """The port to the users' Spark clusters."""

    def of(self, user_key: UserKey) -> tuple[Cluster, ...]:
        """Return all clusters with this user's label, in any state."""

    def create(self, record: UserRecord, action: CreateCluster) -> str:
        """Create a cluster from the user's rendered template. Return the operation's name; empty if the cluster exists and is ours.

        Raise `NotOursError` if it exists but is not ours.
        """

    def operation(self, name: str) -> ClusterOperationSeen | Absent:
        """Return the operation with this name."""

    def delete(self, name: str) -> None:
        """Start to delete the cluster; a cluster that is missing or being deleted is not an error.

        Raise `BusyError` while the cluster is being created or changed.
        """


class SessionTemplates(Protocol):
    """The port to the templates of serverless Spark sessions, which belong to profiles."""

    def render(self, offer: SessionOffer) -> WantedSession:
        """Return the session template for an offer, rendered from the configuration. Raise `InvalidSpecError` if its master is invalid."""

    def rows(self) -> Iterator[SessionSeen]:
        """Yield all session templates of the project's region, including those that are not ours."""

    def create(self, wanted: WantedSession) -> None:
        """Create the template. Idempotent: succeeds if it exists and is ours.

        Raise `NotOursError` if it is not ours.
        """

    def update(self, wanted: WantedSession) -> None:
        """Replace the template's content; a missing template is left to the next sweep."""

    def remove(self, session_id: str) -> None:
        """Delete the template; a missing one is not an error."""


class LiveSessions(Protocol):
    """The port to the running serverless Spark sessions."""

    def of(self, owner: SessionOwner) -> tuple[str, ...]:
        """Return the ids of this owner's sessions that run or are being created."""

    def end(self, name: str) -> None:
        """Start to terminate the session; a session that is missing, ending or ended is not an error."""


class Templates(Protocol):
    """The store of the users' rendered Spark templates."""

    def seen(self, user_key: UserKey) -> TemplatesSeen:
        """Return the template objects of one user."""

    def put(self, record: UserRecord, action: PutTemplate) -> None:
        """Render the master for this user and write the object."""

    def remove(self, user_key: UserKey, template: str) -> None:
        """Remove the object; a missing one is not an error."""

    def rows(self) -> Iterator[tuple[UserKey, str, str]]:
        """Yield (user, template, digest) of all objects."""


class Vm(Protocol):
    """A virtual machine whose activity is read."""

    @property
    def ref(self) -> InstanceRef:
        """The zone and id of the VM's instance."""

    @property
    def gce_instance_id(self) -> str:
        """The VM's numeric id; "" if unknown."""


class ActivitySource(Protocol):
    """The source of evidence of the instances' use, in practice Cloud Monitoring."""

    def read(self, notebooks: Sequence[Vm], window: timedelta, now: datetime) -> Mapping[str, Activity]:
        """Return a mapping from instance id to the evidence of use in the last `window`. Each value is computed when it is read.

        If nothing could be read for an instance, its evidence says so.
        """

    def transfers(
        self, notebooks: Sequence[Vm], window: timedelta, now: datetime
    ) -> Mapping[str, tuple[Sample, ...] | None]:
        """Return the bytes per second over the network or to the disk in the last `window`, by instance id.

        A value is None if it is unknown.
        """


class Reports(Protocol):
    """The reader of the reports that VMs write about themselves. A report is not trusted, because the VM's owner may write it."""

    def of(self, ref: InstanceRef) -> Report | None:
        """Return the VM's last report; None if there is no report, or if it cannot be parsed."""


class OutsideJobs(Protocol):
    """The reader of all users' running jobs outside the instances.

    Each call reads a whole list, and raises an error if it is incomplete.
    """

    @property
    def projects(self) -> tuple[str, ...]:
        """The projects whose BigQuery jobs may be listed; empty if none is configured."""

    def queries(self, project: str) -> tuple[OutsideJob, ...]:
        """Return the running BigQuery jobs of a project, without scheduled queries and other transfers."""

    def cluster_jobs(self) -> tuple[OutsideJob, ...]:
        """Return the active jobs of all Spark clusters of the region."""

    def sessions(self) -> tuple[OutsideJob, ...]:
        """Return the serverless Spark sessions of the region that run or are being created."""
