"""The shape of one profile in config/profiles.yaml, with its times of the week: `maintenance_window` and `hours`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from datetime import time, timedelta
from importlib.resources import files
from typing import Annotated, Any, ClassVar
from zoneinfo import ZoneInfo

from msgspec import Meta

from shared.domain.things.catalog import (
    Accelerator,
    ClusterIdentity,
    Disk,
    Disruption,
    HourlyCost,
    Hours,
    Identity,
    IdleSettings,
    Profile,
    ShieldedVm,
    SnapshotSettings,
    SparkSettings,
    VmImage,
    Window,
)
from shared.domain.things.identity import Email
from shared.domain.things.notebook import REPORTER_KEYS
from shared.settings.values import Strict, check, one_of

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_START = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]")


def _zones() -> list[str]:
    """Return all time zone names of the `tzdata` package, because a machine's own database may differ."""
    return files("tzdata").joinpath("zones").read_text(encoding="utf-8").split()


def _once(value: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(value)) != len(value):
        raise ValueError("a day is listed twice")
    return value


def _clock(raw: Any) -> str:
    if isinstance(raw, int):  # without quotes, YAML 1.1 reads 22:00 as 22 times 60
        raise ValueError('write the time in quotes: "22:00"')  # noqa: TRY004 - a fault of the file
    if not isinstance(raw, str) or not _START.fullmatch(raw):
        raise ValueError(f'\'{raw}\' is not a time; write hours and minutes in quotes, from "00:00" to "23:59"')
    return raw


def _zone(value: str) -> str:
    known = _zones()
    if value not in known:
        close = difflib.get_close_matches(value, known, n=1, cutoff=0.5)
        nearest = f"the nearest name is '{close[0]}'" if close else "a name looks like Europe/Berlin"
        raise ValueError(f"'{value}' is not a time zone; {nearest}")
    return value


class WindowFile(Strict, frozen=True, kw_only=True):
    """The settings of a maintenance window: the time of the week in which a running environment may be stopped for a change."""

    days: Annotated[tuple[Annotated[str, one_of(*_DAYS)], ...], check(_once, min_length=1, max_length=7)]
    start: Annotated[
        str,
        Meta(
            pattern=rf"^{_START.pattern}$",
            description="The time at which the window opens, in that time zone, in quotes.",
            extra={"read": _clock},
        ),
    ]
    hours: Annotated[int, Meta(ge=1, le=24, description="The number of hours for which it is open.")]
    time_zone: Annotated[str, check(_zone)] = "UTC"

    def to_domain(self) -> Window:
        """Return the window as the domain's type."""
        return Window(
            days=frozenset(_DAYS.index(day) for day in self.days),
            start=time.fromisoformat(self.start),
            length=timedelta(hours=self.hours),
            zone=ZoneInfo(self.time_zone),
        )


_CLOCK_TIME = Meta(
    pattern=rf"^{_START.pattern}$", description="A time in that time zone, in quotes.", extra={"read": _clock}
)


class HoursFile(Strict, frozen=True, kw_only=True):
    """The working hours of a profile.

    Outside the working hours an unused environment is stopped after an hour at the latest. Notebooks of users who come on
    most days are started in advance.
    """

    days: Annotated[tuple[Annotated[str, one_of(*_DAYS)], ...], check(_once, min_length=1, max_length=7)]
    start: Annotated[str, _CLOCK_TIME]
    end: Annotated[str, _CLOCK_TIME]
    time_zone: Annotated[str, check(_zone)] = "UTC"

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Yield (field, problem) for hours that end before they begin."""
        if self.end <= self.start:
            yield (
                "end",
                f"the working hours end ({self.end}) before they begin ({self.start}); both must be on the same day",
            )

    def to_domain(self) -> Hours:
        """Return the hours as the domain's type."""
        return Hours(
            days=frozenset(_DAYS.index(day) for day in self.days),
            start=time.fromisoformat(self.start),
            end=time.fromisoformat(self.end),
            zone=ZoneInfo(self.time_zone),
        )


# Label rules of Google Cloud. Keys that we write ourselves are refused, so that a profile cannot change whom a cost belongs to.
_LABEL_KEY = re.compile(r"^[a-z][a-z0-9_-]{0,62}$")
_LABEL_VALUE = re.compile(r"^[a-z0-9_-]{0,63}$")
_OUR_LABELS = {"managed-by", "benchkeeper-user", "benchkeeper-profile", "cost-center"}
# Keys that Workbench overwrites or that decide who has access (metadata table of the Workbench docs).
_PROTECTED_METADATA = {
    "proxy-mode", "proxy-user-mail", "proxy-url", "proxy-backend-id", "dataproc-configs", "euc-enabled", "framework",
    "notebooks-api", "service-account-mode", "shutdown-script", "startup-script", "title", "user-data", "version",
    "restriction", "idle-timeout-seconds",
}  # fmt: skip
_CLUSTER_IDENTITY = {
    Identity.END_USER_CREDENTIALS: ClusterIdentity.PERSONAL_AUTH,
    Identity.PERSONAL_SERVICE_ACCOUNT: ClusterIdentity.PERSONAL_SERVICE_ACCOUNT,
}
_BASIC_ROLES = {"roles/owner", "roles/editor", "roles/viewer"}


def _reads_data_only(role: str) -> str:
    """Return the role. Raise `ValueError` if the role is too powerful to be given to code in a notebook.

    Such a role would let the code act as another account, grant rights, or read the records.
    """
    if role in _BASIC_ROLES:
        why = "it applies to everything in the project, including the records"
    elif role.startswith(("roles/iam.", "roles/resourcemanager.")):
        why = "its holders can act as other accounts or grant rights"
    elif role.lower().endswith(("admin", "owner", "serviceagent")):
        why = "with an administrator's role, code in a notebook could grant rights"
    else:
        return role
    raise ValueError(
        f"'{role}' is refused for data: {why}. Name roles that read data, such as roles/bigquery.dataViewer"
    )


DataRole = Annotated[
    str,
    check(
        _reads_data_only, pattern=r"^roles/[A-Za-z][A-Za-z0-9.]*[A-Za-z0-9]$", examples=["roles/bigquery.dataViewer"]
    ),
]


def _our_labels(value: Mapping[str, str]) -> Mapping[str, str]:
    for key, text in value.items():
        if key in _OUR_LABELS:
            raise ValueError(f"the label '{key}' is written by Benchkeeper")
        if not _LABEL_KEY.match(key) or not _LABEL_VALUE.match(text):
            raise ValueError(f"'{key}: {text}' breaks Google Cloud's label rules (a-z, 0-9, _ and -, 63 characters)")
    return value


def _metadata(raw: Any) -> Mapping[str, str]:
    if not isinstance(raw, dict):
        raise ValueError("should be a mapping (key: value)")  # noqa: TRY004 - a fault of the file
    for key, text in raw.items():
        if key in _PROTECTED_METADATA:
            raise ValueError(f"the metadata key '{key}' is Workbench's or Benchkeeper's own")
        if not isinstance(text, str):
            raise ValueError(f"'{key}' must be a text in quotes, for example \"true\"")  # noqa: TRY004 - a fault of the file
    return {str(key).strip(): text.strip() for key, text in raw.items()}


class SparkFile(Strict, frozen=True, kw_only=True):
    """The limits and the identity of the Spark clusters that users may start on their page."""

    identity: Annotated[
        ClusterIdentity | None,
        Meta(
            description="personal-auth: code reads data as the person, by default only Cloud Storage of this project (BigQuery is not "
            "covered), and only while the person keeps `gcloud dataproc clusters enable-personal-auth-session` running. "
            "personal-service-account: code reads data as an account of the person's own. "
            "Default: what the notebook's identity says."
        ),
    ] = None
    max_clusters: Annotated[int, Meta(ge=0, le=20)] = 2
    max_vcpus: Annotated[
        int, Meta(ge=1, le=10_000, description="The maximum vCPUs of a cluster, including its workers.")
    ] = 64


class ProfileFile(Strict, frozen=True, kw_only=True):
    """The settings of a profile, a kind of environment."""

    REFUSED: ClassVar[Mapping[str, str]] = {
        "service_account": "a service account shared by users is refused: code would read data as the account, not as the person. "
        "Remove it and set identity"
    }

    title: Annotated[str, Meta(min_length=1, max_length=60)]
    machine_type: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9]*-[a-z0-9-]+$", examples=["e2-standard-4"])]
    image: VmImage = VmImage(family="workbench-instances-2603")
    boot_disk: Disk = Disk(size_gb=150)
    data_disk: Disk = Disk(size_gb=100)
    accelerator: Accelerator | None = None
    shielded: ShieldedVm = ShieldedVm()
    idle: IdleSettings = IdleSettings()
    identity: Identity = Identity.END_USER_CREDENTIALS
    data_group: Annotated[
        Email | None,
        Meta(description="The Google group whose members may read the data; people's own accounts become members."),
    ] = None
    data_roles: Annotated[
        tuple[DataRole, ...], Meta(description="The roles on the project that a deployment grants to that group.")
    ] = ()
    disruption: Annotated[
        Disruption, Meta(description="The time at which a change may stop a running environment.")
    ] = Disruption.WHEN_IDLE
    maintenance_window: WindowFile | None = None
    hours: HoursFile | None = None
    labels: Annotated[Mapping[str, str], check(_our_labels)] = {}
    metadata: Annotated[Mapping[str, str], Meta(extra={"read": _metadata})] = {}
    tags: tuple[str, ...] = ()
    templates: Annotated[
        tuple[str, ...], Meta(description="Spark clusters that people may start; config/templates/*.yaml.")
    ] = ()
    session_templates: Annotated[
        tuple[str, ...],
        Meta(description="Serverless Spark sessions for the notebook's launcher; config/templates/*.yaml."),
    ] = ()
    reporter: Annotated[
        str,
        Meta(
            pattern=r"^$|^gs://[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]/[A-Za-z0-9._/-]{1,500}$",
            examples=["gs://acme-notebook-scripts/reporter.py"],
            description="The address of the uploaded config/vm/reporter.py: the machine then reports its activity, processes killed for lack of memory, "
            "and how full the disk is. Only with identity: personal-service-account.",
        ),
    ] = ""
    spark: SparkFile = SparkFile()
    snapshots: Annotated[
        SnapshotSettings | None,
        Meta(
            description="Copies of people's files, one for each day on which the machine ran. If left out, none are taken."
        ),
    ] = None
    hourly_cost: HourlyCost | None = None

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Yield (field, problem) for keys that contradict each other, each at the key that an administrator would change."""
        if self.disruption is Disruption.WINDOW and self.maintenance_window is None:
            yield "disruption", "'window' needs a maintenance_window"
        if self.disruption is not Disruption.WINDOW and self.maintenance_window is not None:
            yield (
                "maintenance_window",
                f"it has no effect with disruption: {self.disruption.value}; set disruption: window",
            )
        yield from self._contradictions_of_reporter()
        own = ClusterIdentity.PERSONAL_SERVICE_ACCOUNT
        if self.identity is not Identity.PERSONAL_SERVICE_ACCOUNT and self.spark.identity is not own:
            for field in ("data_group", "data_roles"):
                if getattr(self, field):
                    yield field, "it is for identity: personal-service-account; here code reads data as the person"
        elif self.data_roles and self.data_group is None:
            yield "data_roles", "they are given to the members of a data_group; set data_group, too"

    def _contradictions_of_reporter(self) -> Iterator[tuple[str, str]]:
        if not self.reporter:
            return
        if self.identity is not Identity.PERSONAL_SERVICE_ACCOUNT:
            yield (
                "reporter",
                "it needs identity: personal-service-account. With end-user credentials Workbench runs no script of ours",
            )
        for key in REPORTER_KEYS & self.metadata.keys():
            yield "metadata", f"'{key}' is used to install the reporter; remove one of the two"
        if self.metadata.get("enable-guest-attributes", "TRUE").upper() != "TRUE":
            yield "metadata", "without enable-guest-attributes the reporter has nowhere to write to"

    def to_domain(self, name: str) -> Profile:
        """Return the profile as the domain's type."""
        said = {field: getattr(self, field) for field in Profile.__struct_fields__ if hasattr(self, field)}
        window, identity = self.maintenance_window, self.spark.identity or _CLUSTER_IDENTITY[self.identity]
        spark = SparkSettings(identity=identity, max_clusters=self.spark.max_clusters, max_vcpus=self.spark.max_vcpus)
        return Profile(
            **{
                **said,
                "name": name,
                "spark": spark,
                "window": None if window is None else window.to_domain(),
                "hours": None if self.hours is None else self.hours.to_domain(),
            }
        )
