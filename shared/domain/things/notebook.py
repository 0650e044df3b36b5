"""What a notebook should be and what was seen of it, in this product's words (no API types)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
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
LABEL_COST_CENTER = "cost-center"

IDLE_TIMEOUT_KEY = "idle-timeout-seconds"


class NotebookState(StrEnum):
    """`Instance.state` of the Notebooks API v2."""

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
RESTING = frozenset({NotebookState.STOPPED, NotebookState.SUSPENDED})
# States that a fresh instance reaches only through ACTIVE: there may be somebody's data on it.
MAY_HAVE_RUN = RESTING | {
    NotebookState.ACTIVE,
    NotebookState.STOPPING,
    NotebookState.SUSPENDING,
    NotebookState.UPGRADING,
}


class InstanceRef(Struct, frozen=True, kw_only=True):
    """Where an instance is: the zone is part of its name."""

    instance_id: InstanceId
    zone: str


class Network(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Full or relative resource names of the VPC network and subnetwork; empty = the API's default network."""

    network: Annotated[str, Meta(pattern=r"^$|^projects/[^/]+/global/networks/[^/]+$")] = ""
    subnet: Annotated[str, Meta(pattern=r"^$|^projects/[^/]+/regions/[^/]+/subnetworks/[^/]+$")] = ""


class NotebookSpec(Struct, frozen=True, kw_only=True):
    """A whole instance as it should be. Never a public IP, never a shared service account."""

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
    service_account: str = ""  # the person's own; empty with end-user credentials


class ObservedNotebook(Struct, frozen=True, kw_only=True):
    """What a read gave; empty texts and None when unknown.

    `gce_instance_id` is the VM's numeric id, the join key to Cloud Monitoring, `uid` the instance's own UUID.
    """

    ref: InstanceRef
    state: NotebookState
    machine_type: str
    labels: Mapping[str, str]
    metadata: Mapping[str, str]
    proxy_uri: str = ""
    health: str = ""
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
        """True unless it runs and Google says that it does not work. Of one that rests the last word says nothing."""
        return self.state is not NotebookState.ACTIVE or self.health not in NOT_WELL


class Patch(Struct, frozen=True, kw_only=True):
    """What to change on an instance: None and empty mappings leave alone, an empty text removes a key.

    The maps are merged by the API; `tags` and `accelerators` are whole lists.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    machine_type: str | None = None
    accelerators: tuple[Accelerator, ...] | None = None
    shielded: ShieldedVm | None = None
    tags: tuple[str, ...] | None = None
    disable_public_ip: bool = False


class Absent(Struct, frozen=True):
    """It was looked for, successfully, and is not there."""


class Unreadable(Struct, frozen=True):
    """It could not be read. Not knowing is not absence: nothing is created, stopped or deleted on this."""

    error: BenchkeeperError


class NotLooked(Struct, frozen=True):
    """Nobody looked, because the record says that there can be nothing yet."""


NotebookSight = Absent | ObservedNotebook | Unreadable | NotLooked


def labels_for(profile: Profile, user_key: UserKey, cost_center: str) -> dict[str, str]:
    """Return the labels that carry cost to a person: user key, profile, cost centre, managed-by, and the profile's own."""
    labels = dict(profile.labels)
    labels |= {LABEL_MANAGED_BY: MANAGED_BY, LABEL_USER: user_key, LABEL_PROFILE: label_value(profile.name)}
    if cost_center:
        labels[LABEL_COST_CENTER] = label_value(cost_center)
    return labels


def metadata_for(profile: Profile) -> dict[str, str]:
    """Return the metadata keys that we own: the profile's, and the VM's own idle switch-off."""
    return {**profile.metadata, IDLE_TIMEOUT_KEY: str(int(profile.idle.timeout.total_seconds()))}


def runs_as(profile: Profile, account_id: AccountId | None, project: str) -> str:
    """Return the address of the service account that code runs as; empty with end-user credentials, or before there is a name for one."""
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
    """Return the instance that this person should have. `service_account` is the person's own, where the profile says so."""
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
    """Return True when it is the very instance that we knew (`uid`), or its labels say that we made it for this user.

    The uid comes first so that somebody who removes a label does not make us let go of a running instance.
    """
    if known_uid and seen.uid == known_uid:
        return True
    return seen.labels.get(LABEL_MANAGED_BY) == MANAGED_BY and seen.labels.get(LABEL_USER) == user_key
