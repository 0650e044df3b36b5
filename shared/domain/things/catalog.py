"""What the administrator offers: profiles, who gets which, and the master templates."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import time, timedelta, tzinfo
from enum import StrEnum
from functools import lru_cache
from typing import Annotated

from msgspec import Meta, Struct, field

from shared.domain.things.errors import UnknownProfileError
from shared.domain.things.identity import Email
from shared.domain.things.structs import to_dict

SESSION_KINDS = ("jupyterSession", "sparkConnectSession")  # fields of a template of serverless sessions, one of the two
_SESSION_KEY = re.compile(rf"^({'|'.join(SESSION_KINDS)})\s*:", re.MULTILINE)


class Identity(StrEnum):
    """As whom the code in a notebook reads data."""

    END_USER_CREDENTIALS = "end-user-credentials"
    PERSONAL_SERVICE_ACCOUNT = "personal-service-account"


class Disk(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A persistent disk: size in GB (10^9 bytes as the API counts), Compute's type name (`PD_BALANCED`)."""

    size_gb: Annotated[int, Meta(ge=10, le=65_536)]
    type: Annotated[str, Meta(pattern=r"^(PD_STANDARD|PD_BALANCED|PD_SSD|PD_EXTREME|HYPERDISK_[A-Z_]+)$")] = (
        "PD_BALANCED"
    )


class Accelerator(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """GPUs: the API's type name (`NVIDIA_TESLA_T4`) and how many."""

    type: Annotated[str, Meta(pattern=r"^NVIDIA_[A-Z0-9_]+$")]
    count: Annotated[int, Meta(ge=1, le=16)] = 1


class VmImage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the VM's image comes from: a family (newest) or one name, never both."""

    project: str = "cloud-notebooks-managed"
    family: str | None = None
    name: str | None = None

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """(field, problem) of keys that do not go together; the field is empty for the whole."""
        if (self.family is None) == (self.name is None):
            yield "", "give either a family or a name"


class ShieldedVm(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Shielded VM switches. Secure boot refuses unsigned GPU drivers, so it is the administrator's choice."""

    secure_boot: bool = False
    vtpm: bool = True
    integrity_monitoring: bool = True


_WORKBENCH_TIMER = (timedelta(minutes=10), timedelta(hours=24))  # the bounds of its own idle timer


class IdleSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When an environment counts as idle: see `shared.domain.fleet.idle` for what each bound means.

    `max_keep_on` is how long ahead somebody may ask not to be stopped.
    """

    timeout: timedelta = timedelta(hours=3)
    max_blind: timedelta = timedelta(hours=24)
    cpu_busy_at: Annotated[float, Meta(gt=0, le=1)] = 0.1
    max_keep_on: Annotated[
        timedelta, Meta(description="How long ahead somebody may ask not to be stopped for idleness.")
    ] = timedelta(hours=12)

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """(field, problem) of values that Workbench would refuse."""
        least, most = _WORKBENCH_TIMER
        if not least <= self.timeout <= most:
            yield "timeout", "Workbench's own idle timer takes 10 minutes to 24 hours"


class ClusterIdentity(StrEnum):
    """As whom the code on a Spark cluster reads data.

    `PERSONAL_AUTH`: as the person, but by default only objects in Cloud Storage of the same project, and only while a tool of
    the person's own keeps a session open (docs/platform-facts.md, 6.1). `PERSONAL_SERVICE_ACCOUNT`: as the person's own account.
    """

    PERSONAL_AUTH = "personal-auth"
    PERSONAL_SERVICE_ACCOUNT = "personal-service-account"


class SparkSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What people of a profile may start: how many clusters at a time, how many vCPUs each may have, and as whom they run."""

    identity: ClusterIdentity = ClusterIdentity.PERSONAL_AUTH
    max_clusters: int = 2
    max_vcpus: int = 64


HourlyCost = Annotated[
    float,
    Meta(
        ge=0,
        le=sys.float_info.max,  # finite
        description="List price of a running hour with its disks, in the billing currency; for the dashboard's estimate.",
    ),
]


class Environment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What people read of a template: its title, a plain description, what a running hour costs (None: nobody said)."""

    title: Annotated[str, Meta(min_length=1, max_length=60)]
    description: Annotated[str, Meta(max_length=300)] = ""
    hourly_cost: HourlyCost | None = None


class Disruption(StrEnum):
    """When a change may stop an environment that runs. One that rests is changed at once."""

    NOW = "now"
    WHEN_IDLE = "when-idle"
    WINDOW = "window"


class Window(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A maintenance window: opens at `start` (local time in `zone`) on each of `days` (Monday is 0), for `length`."""

    days: frozenset[int]
    start: time
    length: timedelta
    zone: tzinfo


class Profile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A kind of environment. `metadata` holds Workbench's own keys (`notebook-disable-terminal`, ...) as texts.

    `hourly_cost` is what a running hour costs by the price list, None when nobody said. `window` is there with
    `Disruption.WINDOW`. `data_group` is the Google group whose members may read the data: with a personal service account,
    the account becomes a member. `templates` are the Spark clusters that a person may start, `session_templates` the serverless
    sessions that show up in the launcher.
    """

    name: str
    title: str
    machine_type: str
    image: VmImage
    boot_disk: Disk
    data_disk: Disk
    idle: IdleSettings
    identity: Identity
    accelerator: Accelerator | None = None
    shielded: ShieldedVm = ShieldedVm()
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    hourly_cost: float | None = None
    disruption: Disruption = Disruption.WHEN_IDLE
    window: Window | None = None
    data_group: str | None = None
    spark: SparkSettings = SparkSettings()
    session_templates: tuple[str, ...] = ()

    @property
    def needs_account(self) -> bool:
        """True when something of a person with this profile runs as a service account of their own."""
        return (
            self.identity is Identity.PERSONAL_SERVICE_ACCOUNT
            or self.spark.identity is ClusterIdentity.PERSONAL_SERVICE_ACCOUNT
        )


class Assignment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Members of `group` get `profile`; the highest `priority` wins among the groups that a person holds."""

    group: Email
    profile: str
    priority: int = 0


@lru_cache(maxsize=256)  # a sweep asks for each of everybody's templates
def _digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class MasterTemplate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Dataproc cluster or session template as the administrator wrote it; `digest` changes whenever its text does."""

    name: str
    text: str

    @property
    def is_session(self) -> bool:
        """True for a template of serverless sessions, which is known by its top-level keys; a cluster has `config`."""
        return _SESSION_KEY.search(self.text) is not None

    @property
    def digest(self) -> str:
        """16 hex digits of SHA-256 over the text."""
        return _digest_of(self.text)


class Catalog(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All profiles by name, the assignments, the default for people who asked without naming one, the masters by name.

    `environments` has what people read of a template, where the administrator wrote it.
    """

    profiles: Mapping[str, Profile]
    assignments: tuple[Assignment, ...]
    default_profile: str | None
    masters: Mapping[str, MasterTemplate]
    environments: Mapping[str, Environment] = field(default_factory=dict)

    def environment(self, template: str) -> Environment:
        """Return what people read of a template; its own name where nobody wrote anything."""
        return self.environments.get(template) or Environment(title=template)

    def profile(self, name: str) -> Profile:
        """Return the profile of that name; `UnknownProfileError` names those that exist."""
        try:
            return self.profiles[name]
        except KeyError:
            known = ", ".join(sorted(self.profiles)) or "none"
            raise UnknownProfileError(
                user_message=f"There is no profile '{name}'. The profiles are: {known}.",
                detail=f"unknown profile {name!r}; known: {known}",
            ) from None

    def assignment_for(self, group: str) -> Assignment | None:
        """Return what membership of `group` gives, None when the group entitles to nothing."""
        return next((a for a in self.assignments if a.group == group), None)

    def entitling_digest(self) -> str:
        """Return what changes whenever the same facts could entitle to something else: assignments, default, profile names."""
        text = json.dumps(
            [[to_dict(a) for a in self.assignments], self.default_profile, sorted(self.profiles)], sort_keys=True
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]
