"""The shape of config/settings.<env>.yaml and config/profiles.yaml. JSON Schemas for editors are made from these."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from shared.domain.catalog import (
    Accelerator,
    Assignment,
    Disk,
    Identity,
    IdleSettings,
    Profile,
    ShieldedVm,
    VmImage,
)
from shared.domain.errors import BenchkeeperError
from shared.domain.identity import parse_email
from shared.faults import ConfigFault, Loc, dotted, line_of, nearest

_DURATION = re.compile(r"^(\d+)\s*([smhd])$")
_LONGEST = timedelta(days=3650)  # dates are added to it
_UNIT = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
# Label rules of Google Cloud; keys that we write ourselves are refused so that nobody overrides the owner of a cost.
_LABEL_KEY = re.compile(r"^[a-z][a-z0-9_-]{0,62}$")
_LABEL_VALUE = re.compile(r"^[a-z0-9_-]{0,63}$")
_OUR_LABELS = {"managed-by", "benchkeeper-user", "benchkeeper-profile", "cost-center"}
# Keys that Workbench overwrites or that decide who gets in (metadata table of the Workbench docs).
_PROTECTED_METADATA = {
    "proxy-mode", "proxy-user-mail", "proxy-url", "proxy-backend-id", "dataproc-configs", "euc-enabled", "framework",
    "notebooks-api", "service-account-mode", "shutdown-script", "startup-script", "title", "user-data", "version",
    "restriction", "idle-timeout-seconds",
}  # fmt: skip


def _duration(raw: Any) -> timedelta:
    if isinstance(raw, timedelta):
        return raw
    match = _DURATION.match(str(raw))
    if match is None:
        raise ValueError(f"'{raw}' is no duration; write a number and a unit: 90s, 30m, 3h or 30d")
    try:
        duration = timedelta(**{_UNIT[match[2]]: int(match[1])})
    except OverflowError:
        duration = timedelta.max
    if duration > _LONGEST:
        raise ValueError(f"'{raw}' is too long; at most {_LONGEST.days}d")
    return duration


def _duration_text(value: timedelta) -> str:
    seconds = int(value.total_seconds())
    return next(
        f"{seconds // n}{unit}" for unit, n in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)) if seconds % n == 0
    )


def _email(raw: Any) -> str:
    try:
        return str(parse_email(raw))
    except BenchkeeperError as error:
        raise ValueError(error.user_message) from error


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(_duration_text, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": r"^\d+\s*[smhd]$"}),
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=False, str_strip_whitespace=True)


class NetworkModel(_Strict):
    """The VPC network and subnetwork of the environments; empty for the project's default network."""

    network: str = Field(default="", pattern=r"^$|^projects/[^/]+/global/networks/[^/]+$")
    subnet: str = Field(default="", pattern=r"^$|^projects/[^/]+/regions/[^/]+/subnetworks/[^/]+$")


class TopicsModel(_Strict):
    """Pub/Sub topic ids."""

    lifecycle: str = "workbench-lifecycle"
    tick: str = "workbench-tick"
    dead_letter: str = "workbench-dead-letter"


class RetentionModel(_Strict):
    """How long things are kept after somebody left."""

    instance: Duration = Field(default="30d", validate_default=True)


class LimitsModel(_Strict):
    """Bounds on what is taken in."""

    message_bytes: int = Field(default=262_144, ge=1_024, le=10_000_000)


class DeploymentModel(_Strict):
    """What a deployment to Google Cloud needs beyond the rest; the functions do not read it."""

    organization: str | None = Field(default=None, pattern=r"^\d{6,20}$")
    billing_export: str | None = Field(
        default=None, pattern=r"^[a-z][a-z0-9-]{4,28}[a-z0-9]\.[A-Za-z0-9_]+\.gcp_billing_export_[A-Za-z0-9_]+$"
    )
    kms_key: str | None = Field(
        default=None, pattern=r"^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$"
    )
    notify: list[Annotated[str, BeforeValidator(_email)]] = []
    publishers: list[Annotated[str, Field(pattern=r"^(user|group|serviceAccount):[^@\s]+@[^@\s]+$")]] = []


class SettingsFile(_Strict):
    """config/settings.<env>.yaml: where and how Benchkeeper runs."""

    project: str = Field(pattern=r"^[a-z][a-z0-9-]{4,28}[a-z0-9]$")
    zones: list[str] = Field(min_length=1)
    bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$")
    network: NetworkModel = NetworkModel()
    topics: TopicsModel = TopicsModel()
    retention: RetentionModel = RetentionModel()
    limits: LimitsModel = LimitsModel()
    deployment: DeploymentModel = DeploymentModel()
    api_endpoint: str | None = None

    @field_validator("zones")
    @classmethod
    def _zones(cls, zones: list[str]) -> list[str]:
        for zone in zones:
            if not re.match(r"^[a-z]+-[a-z]+\d+-[a-z]$", zone):
                raise ValueError(f"'{zone}' is no zone name; a zone looks like europe-west1-b")
        if len({zone.rpartition("-")[0] for zone in zones}) > 1:
            raise ValueError("all zones must be of one region: disks and subnetworks do not cross regions")
        if len(set(zones)) != len(zones):
            raise ValueError("a zone stands here twice")
        return zones


class DiskModel(_Strict):
    """A disk of the instance."""

    size_gb: int = Field(ge=10, le=65_536)
    type: str = Field(default="PD_BALANCED", pattern=r"^(PD_STANDARD|PD_BALANCED|PD_SSD|PD_EXTREME|HYPERDISK_[A-Z_]+)$")


class ImageModel(_Strict):
    """Where the image comes from: `family` (its newest) or `name` (one image), never both."""

    project: str = "cloud-notebooks-managed"
    family: str | None = None
    name: str | None = None

    @model_validator(mode="after")
    def _one(self) -> ImageModel:
        if (self.family is None) == (self.name is None):
            raise ValueError("give either a family or a name")
        return self


class AcceleratorModel(_Strict):
    """GPUs of the instance."""

    type: str = Field(pattern=r"^NVIDIA_[A-Z0-9_]+$")
    count: int = Field(default=1, ge=1, le=16)


class ShieldedModel(_Strict):
    """Shielded VM; secure boot refuses unsigned GPU drivers."""

    secure_boot: bool = False
    vtpm: bool = True
    integrity_monitoring: bool = True


class IdleModel(_Strict):
    """When an environment counts as idle."""

    timeout: Duration = Field(default="3h", validate_default=True)
    max_blind: Duration = Field(default="24h", validate_default=True)
    cpu_busy_at: float = Field(default=0.1, gt=0, le=1)

    @field_validator("timeout")
    @classmethod
    def _bounds(cls, value: timedelta) -> timedelta:
        if not timedelta(minutes=10) <= value <= timedelta(minutes=1440):
            raise ValueError("Workbench's own idle timer takes 10 minutes to 24 hours")
        return value


class ProfileModel(_Strict):
    """One kind of environment."""

    title: str = Field(min_length=1, max_length=60)
    machine_type: str = Field(pattern=r"^[a-z][a-z0-9]*-[a-z0-9-]+$")
    image: ImageModel = ImageModel(family="workbench-instances-2603")
    boot_disk: DiskModel = DiskModel(size_gb=150)
    data_disk: DiskModel = DiskModel(size_gb=100)
    accelerator: AcceleratorModel | None = None
    shielded: ShieldedModel = ShieldedModel()
    idle: IdleModel = IdleModel()
    identity: Identity = Identity.END_USER_CREDENTIALS
    service_account: SkipJsonSchema[str | None] = Field(default=None, exclude=True)
    labels: dict[str, str] = {}
    metadata: dict[str, str] = {}
    tags: list[str] = []
    templates: list[str] = []
    hourly_cost: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="List price of a running hour with its disks, in the billing currency; for the dashboard's estimate.",
    )

    @field_validator("identity")
    @classmethod
    def _built(cls, value: Identity) -> Identity:
        if value is Identity.PERSONAL_SERVICE_ACCOUNT:
            raise ValueError(
                "personal-service-account is not built in this version: nothing would make or guard the accounts. "
                "Use end-user-credentials"
            )
        return value

    @field_validator("service_account")
    @classmethod
    def _shared(cls, value: str | None) -> str | None:
        if value is not None:
            raise ValueError(
                "a service account shared by users is refused: code would read data as the account, not as the person. "
                "Remove it and set identity"
            )
        return value

    @field_validator("labels")
    @classmethod
    def _labels(cls, value: dict[str, str]) -> dict[str, str]:
        for key, text in value.items():
            if key in _OUR_LABELS:
                raise ValueError(f"the label '{key}' is written by Benchkeeper")
            if not _LABEL_KEY.match(key) or not _LABEL_VALUE.match(text):
                raise ValueError(
                    f"'{key}: {text}' breaks Google Cloud's label rules (a-z, 0-9, _ and -, 63 characters)"
                )
        return value

    @field_validator("metadata", mode="before")
    @classmethod
    def _metadata(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        for key, text in value.items():
            if key in _PROTECTED_METADATA:
                raise ValueError(f"the metadata key '{key}' is Workbench's or Benchkeeper's own")
            if not isinstance(text, str):
                raise ValueError(f"'{key}' must be a text in quotes, for example \"true\"")  # noqa: TRY004 - pydantic wants ValueError
        return value

    def to_domain(self, name: str) -> Profile:
        """In the domain's words."""
        return Profile(
            name=name,
            title=self.title,
            machine_type=self.machine_type,
            image=VmImage(project=self.image.project, family=self.image.family, name=self.image.name),
            boot_disk=Disk(size_gb=self.boot_disk.size_gb, type=self.boot_disk.type),
            data_disk=Disk(size_gb=self.data_disk.size_gb, type=self.data_disk.type),
            accelerator=None
            if self.accelerator is None
            else Accelerator(type=self.accelerator.type, count=self.accelerator.count),
            shielded=ShieldedVm(
                secure_boot=self.shielded.secure_boot,
                vtpm=self.shielded.vtpm,
                integrity_monitoring=self.shielded.integrity_monitoring,
            ),
            idle=IdleSettings(
                timeout=self.idle.timeout, max_blind=self.idle.max_blind, cpu_busy_at=self.idle.cpu_busy_at
            ),
            identity=self.identity,
            labels=dict(self.labels),
            metadata=dict(self.metadata),
            tags=tuple(self.tags),
            templates=tuple(self.templates),
            hourly_cost=self.hourly_cost,
        )


class AssignmentModel(_Strict):
    """Members of a group get a profile."""

    group: Annotated[str, BeforeValidator(_email)]
    profile: str
    priority: int = 0

    def to_domain(self) -> Assignment:
        """In the domain's words."""
        return Assignment(group=self.group, profile=self.profile, priority=self.priority)


class ProfilesFile(_Strict):
    """config/profiles.yaml: what is offered, and to whom."""

    default: str | None = None
    assignments: list[AssignmentModel] = []
    profiles: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")], ProfileModel] = Field(min_length=1)
    _lines: dict[Loc, int] = PrivateAttr(default_factory=dict)

    @property
    def lines(self) -> dict[Loc, int]:
        """The line of every key, once the file was read."""
        return self._lines

    @lines.setter
    def lines(self, value: dict[Loc, int]) -> None:
        self._lines = value

    @field_validator("assignments")
    @classmethod
    def _once(cls, value: list[AssignmentModel]) -> list[AssignmentModel]:
        groups = [a.group for a in value]
        twice = sorted({g for g in groups if groups.count(g) > 1})
        if twice:
            raise ValueError(f"the group '{twice[0]}' is assigned twice")
        return value

    def fault(self, path: Path, loc: Loc, problem: str, valid: Iterable[str]) -> ConfigFault:
        """A fault at a place of this file."""
        word = problem.split("'")[1] if "'" in problem else ""
        return ConfigFault(str(path), line_of(self._lines, loc), dotted(loc), problem, nearest(word, valid))
