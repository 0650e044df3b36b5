"""The administrator's offer: profiles, the groups that get each profile, and the master templates."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import time, timedelta, tzinfo
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Annotated, Any, ClassVar

from msgspec import Meta, Struct, field

from shared.domain.things.errors import UnknownProfileError
from shared.domain.things.identity import Email
from shared.domain.things.limits import GroupLimits
from shared.domain.things.structs import to_dict
from shared.domain.things.times import duration_text

SESSION_KINDS = ("jupyterSession", "sparkConnectSession")  # fields of a template of serverless sessions, one of the two
_SESSION_KEY = re.compile(rf"^({'|'.join(SESSION_KINDS)})\s*:", re.MULTILINE)


class Identity(StrEnum):
    """The identity with which the code in a notebook reads data."""

    END_USER_CREDENTIALS = "end-user-credentials"
    PERSONAL_SERVICE_ACCOUNT = "personal-service-account"


class Disk(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A persistent disk: its size in GB as the API counts (10^9 bytes), and its type by Compute Engine's name (`PD_BALANCED`)."""

    size_gb: Annotated[int, Meta(ge=10, le=65_536)]
    type: Annotated[
        str, Meta(pattern=r"^(PD_STANDARD|PD_BALANCED|PD_SSD|PD_EXTREME|HYPERDISK_[A-Z_]+)$", examples=["PD_BALANCED"])
    ] = "PD_BALANCED"


class Accelerator(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The GPUs of a machine: the type by the API's name (`NVIDIA_TESLA_T4`), and the number of GPUs."""

    type: Annotated[str, Meta(pattern=r"^NVIDIA_[A-Z0-9_]+$", examples=["NVIDIA_TESLA_T4"])]
    count: Annotated[int, Meta(ge=1, le=16)] = 1


class VmImage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The source of the VM's image: a family (its newest image) or a single image by name, never both."""

    project: str = "cloud-notebooks-managed"
    family: str | None = None
    name: str | None = None

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Yield ("", problem) unless exactly one of family and name is set."""
        if (self.family is None) == (self.name is None):
            yield "", "name either a family or an image"


class ShieldedVm(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The Shielded VM switches. Secure boot refuses unsigned GPU drivers, so the administrator decides about secure boot."""

    secure_boot: bool = False
    vtpm: bool = True
    integrity_monitoring: bool = True


LEAST_DORMANT = timedelta(days=30)
_WORKBENCH_TIMER = (timedelta(minutes=10), timedelta(hours=24))  # the bounds of Workbench's own idle timer


class IdleSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits by which an environment counts as idle. `shared.domain.fleet.idle` explains the limits.

    `max_keep_on` is the longest time for which a user may extend the running time of an environment.
    """

    REFUSED: ClassVar[Mapping[str, str]] = {
        "cpu_busy_at": "is cores_busy_at now, in CPU cores and not as a share of all of them: one busy core of sixteen would "
        "not count as work. Remove the line, or write cores_busy_at: 0.3"
    }

    timeout: timedelta = timedelta(hours=3)
    max_blind: timedelta = timedelta(hours=24)
    max_busy: Annotated[
        timedelta,
        Meta(description="How long a job elsewhere (BigQuery, Spark) may run and still keep the notebook running."),
    ] = timedelta(hours=24)
    cores_busy_at: Annotated[
        float, Meta(gt=0, le=256, description="The number of CPU cores in use from which a machine counts as busy.")
    ] = 0.3
    max_keep_on: Annotated[
        timedelta,
        Meta(description="How far ahead a user may extend the notebook, so that it is not stopped for idleness."),
    ] = timedelta(hours=12)

    dormant_after: Annotated[
        timedelta | None,
        Meta(
            description="A stopped notebook that was unused for this time is put away: its files are saved and its machine is deleted, until "
            "its owner starts it. Without this setting, no notebook is put away."
        ),
    ] = None

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Yield (field, problem) for each limit that is zero, too short for the warnings of dormancy, or refused by Workbench."""
        for name in ("max_blind", "max_busy"):
            if not getattr(self, name):
                yield name, f"{name} must be longer than zero"
        if self.dormant_after is not None and self.dormant_after < LEAST_DORMANT:
            problem = f"{duration_text(self.dormant_after)} is too short: people are warned 14, 3 and 1 days before"
            yield "dormant_after", f"{problem}. Valid: {duration_text(LEAST_DORMANT)} or more"
        least, most = _WORKBENCH_TIMER
        if not least <= self.timeout <= most:
            yield "timeout", "Workbench's own idle timer takes 10 minutes to 24 hours"
        elif self.timeout + self.max_keep_on > most:
            both = f"{duration_text(self.timeout)} and {duration_text(self.max_keep_on)}"
            problem = f"timeout and max_keep_on together are longer than 24 hours ({both}), and Workbench's own timer takes no more"
            yield "max_keep_on", f"{problem}. Valid: up to {duration_text(most - self.timeout)} beside this timeout"

    @property
    def workbench_timer(self) -> timedelta:
        """Return the time for Workbench's own idle timer.

        Workbench's timer observes only kernels, so it is a fallback that acts no sooner than the idle rule.
        """
        return min(max(3 * self.timeout, self.timeout + self.max_keep_on), _WORKBENCH_TIMER[1])


class SnapshotSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The copies of a user's files: the newest `keep` are kept, at most one for each day on which the machine ran."""

    keep: Annotated[
        int,
        Meta(
            ge=1,
            le=60,
            description="The number of copies of a person's files that are kept; at most one is taken on a day.",
        ),
    ] = 7


class ClusterIdentity(StrEnum):
    """The identity with which the code on a Spark cluster reads data.

    `PERSONAL_AUTH`: the user's own identity. By default this identity gives access only to Cloud Storage of the same project, and
    only while a tool of the user keeps a session open (docs/platform-facts.md, 6.1).
    `PERSONAL_SERVICE_ACCOUNT`: the service account of the user.
    """

    PERSONAL_AUTH = "personal-auth"
    PERSONAL_SERVICE_ACCOUNT = "personal-service-account"


class SparkSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The Spark limits of a profile: clusters at a time, vCPUs of each cluster, and the identity that the clusters run as."""

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
    """The texts about a template that users read: its title, a plain description, and the price of a running hour (None if not stated)."""

    title: Annotated[str, Meta(min_length=1, max_length=60)]
    description: Annotated[str, Meta(max_length=300)] = ""
    hourly_cost: HourlyCost | None = None


Price = Annotated[float, Meta(ge=0, le=sys.float_info.max)]
DiskType = Annotated[str, Meta(pattern=r"^(PD_STANDARD|PD_BALANCED|PD_SSD|PD_EXTREME|HYPERDISK_[A-Z_]+)$")]


class Prices(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The list prices of storage without a running machine, in the billing currency.

    An item without a price is shown without a cost. The prices do not apply to the disks of a running machine, which are part
    of its `hourly_cost`.
    """

    disk_gb_month: Annotated[
        Mapping[DiskType, Price],
        Meta(
            description="The price of a GB of disk for a calendar month, by disk type. It applies to stopped notebooks and to leavers."
        ),
    ] = field(default_factory=dict)
    snapshot_gb_month: Annotated[
        Price | None, Meta(description="The price of a GB (2^30 bytes) of snapshots for a calendar month.")
    ] = None


class Disruption(StrEnum):
    """The time at which a change may stop a running environment. An environment that is stopped is changed at once."""

    NOW = "now"
    WHEN_IDLE = "when-idle"
    WINDOW = "window"


class Window(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A maintenance window, which opens at `start` (local time in `zone`) on each of `days` (Monday is 0) for `length`."""

    days: frozenset[int]
    start: time
    length: timedelta
    zone: tzinfo


class Hours(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The working hours of a profile: from `start` until `end` on each of `days` (Monday is 0).

    Times are local to `zone`.
    """

    days: frozenset[int]
    start: time
    end: time
    zone: tzinfo


class Profile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A kind of environment. `metadata` holds Workbench's own keys (`notebook-disable-terminal`, ...) as texts.

    `hourly_cost` is the list price of a running hour, None if it is not stated. `window` is set with
    `Disruption.WINDOW`. `data_group` is the Google group whose members may read the data; a personal service account becomes
    a member of it. `snapshots` has the number of copies of the files, None for no copies. `reporter` is the address
    (`gs://...`) of the script that reports the VM's activity, "" for no reports. Outside `hours`, an unused environment is
    stopped sooner; with None, there are no working hours. `templates` are the Spark clusters that a user may start, and
    `session_templates` the serverless sessions that the launcher shows.
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
    snapshots: SnapshotSettings | None = None
    reporter: str = ""
    hours: Hours | None = None

    @property
    def needs_account(self) -> bool:
        """Return True if the notebook or the Spark clusters of this profile run as a personal service account."""
        return (
            self.identity is Identity.PERSONAL_SERVICE_ACCOUNT
            or self.spark.identity is ClusterIdentity.PERSONAL_SERVICE_ACCOUNT
        )


class Assignment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The profile that members of `group` get. Among the groups of a user, the assignment with the highest `priority` applies.

    `limits` apply to all members of the group, even to those who get their profile from another group.
    """

    group: Email
    profile: str
    priority: int = 0
    limits: GroupLimits | None = None


def assignment_content(assignment: Assignment) -> dict[str, Any]:
    """Return an assignment as plain values.

    An assignment without limits has no key `limits`, so that earlier programs can still read the values.
    """
    content: dict[str, Any] = to_dict(assignment)
    if assignment.limits is None:
        del content["limits"]
    return content


@lru_cache(maxsize=256)  # a sweep asks for every template of every user
def _digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class MasterTemplate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Dataproc cluster or session template as the administrator wrote it; `digest` changes whenever the text changes."""

    name: str
    text: str

    @property
    def is_session(self) -> bool:
        """Return True if the template's text has a top-level key of serverless sessions (`SESSION_KINDS`)."""
        return _SESSION_KEY.search(self.text) is not None

    @property
    def digest(self) -> str:
        """Return the first 16 hex digits of the text's SHA-256."""
        return _digest_of(self.text)


class Catalog(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """All profiles by name, the assignments, the default profile for joiners without a named profile, the master templates by name.

    `environments` has the texts that the administrator wrote about templates, by template. `prices` are the prices of storage.
    """

    profiles: Mapping[str, Profile]
    assignments: tuple[Assignment, ...]
    default_profile: str | None
    masters: Mapping[str, MasterTemplate]
    environments: Mapping[str, Environment] = field(default_factory=dict)
    prices: Prices = field(default_factory=Prices)

    def price_digest(self) -> str:
        """Return eight hex digits that change whenever a price changes."""
        text = json.dumps(
            [
                {name: profile.hourly_cost for name, profile in self.profiles.items()},
                {name: each.hourly_cost for name, each in self.environments.items()},
                to_dict(self.prices),
            ],
            sort_keys=True,
        )
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def environment(self, template: str) -> Environment:
        """Return the texts that users read about a template; by default, only the template's name as title."""
        return self.environments.get(template) or Environment(title=template)

    def profile(self, name: str) -> Profile:
        """Return the profile of that name. Raise `UnknownProfileError`, which names the existing profiles, if there is none."""
        try:
            return self.profiles[name]
        except KeyError:
            known = ", ".join(sorted(self.profiles)) or "none"
            raise UnknownProfileError(
                user_message=f"There is no profile '{name}'. The profiles are: {known}.",
                detail=f"unknown profile {name!r}; known: {known}",
            ) from None

    @property
    def limited(self) -> tuple[Assignment, ...]:
        """Return the assignments whose group has a limit of environments."""
        return tuple(a for a in self.assignments if a.limits is not None and a.limits.max_environments is not None)

    def room_of(self, group: str) -> int | None:
        """Return the number of members of a group who may have an environment at once; None for no limit."""
        assigned = self.assignment_for(group)
        return None if assigned is None or assigned.limits is None else assigned.limits.max_environments

    @property
    def budgeted(self) -> tuple[Assignment, ...]:
        """Return the assignments whose group has a monthly limit of cost."""
        return tuple(a for a in self.assignments if a.limits is not None and a.limits.max_monthly_cost is not None)

    def budget_of(self, group: str) -> float | None:
        """Return the monthly cost limit of a group's members; None for no limit."""
        assigned = self.assignment_for(group)
        return None if assigned is None or assigned.limits is None else assigned.limits.max_monthly_cost

    def assignment_for(self, group: str) -> Assignment | None:
        """Return the assignment of `group`; None if the group entitles to nothing."""
        return next((a for a in self.assignments if a.group == group), None)

    @cached_property  # asked for with each user; nothing of a catalog changes
    def entitling_digest(self) -> str:
        """Return the digest of the assignments with their limits, the default profile and the profile names."""
        text = json.dumps(
            [[assignment_content(a) for a in self.assignments], self.default_profile, sorted(self.profiles)],
            sort_keys=True,
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]
