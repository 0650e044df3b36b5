"""A notebook as wanted and as observed, in types of this product (no API types)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct, field

from shared.domain.things.catalog import Accelerator, Disk, Identity, Profile, ShieldedVm, VmImage
from shared.domain.things.errors import BenchkeeperError
from shared.domain.things.identity import AccountId, InstanceId, UserEmail, UserKey, account_email, label_value

MANAGED_BY = "benchkeeper"
LABEL_MANAGED_BY = "managed-by"
LABEL_USER = "benchkeeper-user"
LABEL_PROFILE = "benchkeeper-profile"
LABEL_TEMPLATE = "benchkeeper-template"
LABEL_COST_CENTER = "cost-center"

IDLE_TIMEOUT_KEY = "idle-timeout-seconds"
_SCRIPT_KEY, _SCRIPT_RUNS_KEY = "post-startup-script", "post-startup-script-behavior"
REPORTER_KEYS = frozenset({_SCRIPT_KEY, _SCRIPT_RUNS_KEY})


class NotebookState(StrEnum):
    """The states of an instance: `Instance.state` of the Notebooks API v2."""

    UNSPECIFIED = "STATE_UNSPECIFIED"
    STARTING = "STARTING"
    PROVISIONING = "PROVISIONING"
    ACTIVE = "ACTIVE"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"
    DELETED = "DELETED"
    UPGRADING = "UPGRADING"
    INITIALIZING = "INITIALIZING"
    SUSPENDING = "SUSPENDING"
    SUSPENDED = "SUSPENDED"


# `healthState` of an instance whose Jupyter server does not answer (docs/platform-facts.md#29-states).
NOT_WELL = frozenset({"UNHEALTHY", "AGENT_NOT_RUNNING"})
_UNHEALTHY = "UNHEALTHY"
_FRESH = timedelta(minutes=10)  # the agent reports each half minute
RESTING = frozenset({NotebookState.STOPPED, NotebookState.SUSPENDED})
# States that a fresh instance reaches only through ACTIVE: the instance may hold data of the user.
MAY_HAVE_RUN = RESTING | {
    NotebookState.ACTIVE,
    NotebookState.STOPPING,
    NotebookState.SUSPENDING,
    NotebookState.UPGRADING,
}


class InstanceRef(Struct, frozen=True, kw_only=True):
    """The identity of an instance: zone and id, because an id is unique only within its zone."""

    instance_id: InstanceId
    zone: str


class Network(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The full or relative resource names of the VPC network and subnetwork; empty means the API's default network."""

    network: Annotated[
        str,
        Meta(
            pattern=r"^$|^projects/[^/]+/global/networks/[^/]+$",
            examples=["projects/acme-analytics/global/networks/analytics"],
        ),
    ] = ""
    subnet: Annotated[
        str,
        Meta(
            pattern=r"^$|^projects/[^/]+/regions/[^/]+/subnetworks/[^/]+$",
            examples=["projects/acme-analytics/regions/europe-west1/subnetworks/notebooks"],
        ),
    ] = ""


class NotebookSpec(Struct, frozen=True, kw_only=True):
    """The wanted properties of a whole instance. An instance never gets a public IP or a shared service account."""

    instance_id: InstanceId
    owner: UserEmail
    machine_type: str
    image: VmImage
    boot_disk: Disk
    data_disk: Disk
    accelerator: Accelerator | None
    shielded: ShieldedVm
    identity: Identity
    network: Network
    labels: Mapping[str, str]
    metadata: Mapping[str, str]
    tags: tuple[str, ...]
    service_account: str = ""  # the user's own account; empty with end-user credentials


class ObservedNotebook(Struct, frozen=True, kw_only=True):
    """An instance as it was read. Unknown values are empty texts or None.

    `health_at` is the time of the VM's last health report, and `proxy_agent_up` the reported state of the proxy's
    agent. `gce_instance_id` is the numeric id of the VM in Cloud Monitoring. `uid` is the UUID of the instance.
    """

    ref: InstanceRef
    state: NotebookState
    machine_type: str
    labels: Mapping[str, str]
    metadata: Mapping[str, str]
    proxy_uri: str = ""
    health: str = ""
    health_at: datetime | None = None
    proxy_agent_up: bool | None = None
    gce_instance_id: str = ""
    uid: str = ""
    create_time: datetime | None = None
    has_public_ip: bool = False
    owners: tuple[str, ...] | None = None
    service_account: str = ""
    managed_euc: bool | None = None
    network: Network = Network()
    image: VmImage | None = None
    boot_disk: Disk | None = None
    data_disk: Disk | None = None
    accelerators: tuple[Accelerator, ...] = ()
    shielded: ShieldedVm | None = None
    tags: tuple[str, ...] = ()

    @property
    def is_well(self) -> bool:
        """Return False if the instance runs and Google reports that it does not work.

        The health of a stopped instance is outdated, so a stopped instance counts as healthy.
        """
        return self.state is not NotebookState.ACTIVE or self.health not in NOT_WELL

    def answers(self, now: datetime) -> bool:
        """Return False if the instance runs and a fresh report says that JupyterLab does not answer.

        An old report does not count.
        """
        return self.state is not NotebookState.ACTIVE or not is_down(self.health, self.health_at, now)


def is_down(health: str, health_at: datetime | None, now: datetime) -> bool:
    """Return True if this report says that JupyterLab does not answer, and is recent or undated."""
    return health == _UNHEALTHY and (health_at is None or now - health_at <= _FRESH)


class Patch(Struct, frozen=True, kw_only=True):
    """A change of an instance. None and empty mappings leave a value as it is; an empty text removes a key.

    The API merges the maps; `tags` and `accelerators` are whole lists.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    machine_type: str | None = None
    accelerators: tuple[Accelerator, ...] | None = None
    shielded: ShieldedVm | None = None
    tags: tuple[str, ...] | None = None
    disable_public_ip: bool = False


class Absent(Struct, frozen=True):
    """An observation: the read succeeded, and the resource does not exist."""


class Unreadable(Struct, frozen=True):
    """An observation that failed. A failed read does not mean absence: nothing is created, stopped or deleted because of it."""

    error: BenchkeeperError


class NotLooked(Struct, frozen=True):
    """The absence of an observation: the pass did not read the resource, for example because the record names none."""


NotebookSight = Absent | ObservedNotebook | Unreadable | NotLooked


def labels_for(profile: Profile, user_key: UserKey, cost_center: str) -> dict[str, str]:
    """Return the labels of a user's instance: `managed-by`, user key, profile, cost centre, and the labels of the profile."""
    labels = dict(profile.labels)
    labels |= {LABEL_MANAGED_BY: MANAGED_BY, LABEL_USER: user_key, LABEL_PROFILE: label_value(profile.name)}
    if cost_center:
        labels[LABEL_COST_CENTER] = label_value(cost_center)
    return labels


def metadata_for(profile: Profile) -> dict[str, str]:
    """Return the metadata that we own: the profile's, the time of the VM's own idle timer, and a reporter's script, if any."""
    timer = {IDLE_TIMEOUT_KEY: str(int(profile.idle.workbench_timer.total_seconds()))}
    script = (
        {_SCRIPT_KEY: profile.reporter, _SCRIPT_RUNS_KEY: "download_and_run_every_start"} if profile.reporter else {}
    )
    return {**profile.metadata, **script, **timer}


def runs_as(profile: Profile, account_id: AccountId | None, project: str) -> str:
    """Return the address of the service account that code runs as.

    Return "" with end-user credentials, and until the account has an id.
    """
    if profile.identity is not Identity.PERSONAL_SERVICE_ACCOUNT or account_id is None:
        return ""
    return account_email(account_id, project)


def spec_for(
    *,
    owner: UserEmail,
    user_key: UserKey,
    instance_id: InstanceId,
    profile: Profile,
    cost_center: str,
    network: Network,
    service_account: str = "",
) -> NotebookSpec:
    """Return the instance that this user should have. `service_account` is the user's own account, if the profile wants one."""
    return NotebookSpec(
        instance_id=instance_id,
        owner=owner,
        machine_type=profile.machine_type,
        image=profile.image,
        boot_disk=profile.boot_disk,
        data_disk=profile.data_disk,
        accelerator=profile.accelerator,
        shielded=profile.shielded,
        identity=profile.identity,
        network=network,
        labels=labels_for(profile, user_key, cost_center),
        metadata=metadata_for(profile),
        tags=profile.tags,
        service_account=service_account,
    )


def is_ours(seen: ObservedNotebook, user_key: UserKey, known_uid: str) -> bool:
    """Return True if the instance has the `uid` that we know, or if its labels say that we made it for this user.

    The uid is compared first, so that an instance whose label was removed is still managed.
    """
    if known_uid and seen.uid == known_uid:
        return True
    return seen.labels.get(LABEL_MANAGED_BY) == MANAGED_BY and seen.labels.get(LABEL_USER) == user_key
