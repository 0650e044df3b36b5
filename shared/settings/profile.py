"""The shape of one profile in config/profiles.yaml."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, Field, field_validator, model_validator
from pydantic.json_schema import SkipJsonSchema

from shared.domain.catalog import (
    Accelerator,
    ClusterIdentity,
    Disk,
    Disruption,
    Identity,
    IdleSettings,
    Profile,
    ShieldedVm,
    SparkSettings,
    VmImage,
)
from shared.settings.fields import Duration, Email, Strict
from shared.settings.windows import WindowModel

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
_CLUSTER_IDENTITY = {
    Identity.END_USER_CREDENTIALS: ClusterIdentity.PERSONAL_AUTH,
    Identity.PERSONAL_SERVICE_ACCOUNT: ClusterIdentity.PERSONAL_SERVICE_ACCOUNT,
}
_BASIC_ROLES = {"roles/owner", "roles/editor", "roles/viewer"}


def _reads_data_only(role: str) -> str:
    """Refuses what lets code in a notebook act as somebody else, give rights away, or see the records."""
    if role in _BASIC_ROLES:
        why = "it holds for everything in the project, the records of people included"
    elif role.startswith(("roles/iam.", "roles/resourcemanager.")):
        why = "who has it can act as other accounts or give rights away"
    elif role.lower().endswith(("admin", "owner", "serviceagent")):
        why = "an administrator's role lets code in a notebook give rights away"
    else:
        return role
    raise ValueError(
        f"'{role}' is refused for data: {why}. Name roles that read data, such as roles/bigquery.dataViewer"
    )


DataRole = Annotated[str, Field(pattern=r"^roles/[A-Za-z][A-Za-z0-9.]*[A-Za-z0-9]$"), AfterValidator(_reads_data_only)]


class DiskModel(Strict):
    """A disk of the instance."""

    size_gb: int = Field(ge=10, le=65_536)
    type: str = Field(default="PD_BALANCED", pattern=r"^(PD_STANDARD|PD_BALANCED|PD_SSD|PD_EXTREME|HYPERDISK_[A-Z_]+)$")


class ImageModel(Strict):
    """Where the image comes from: `family` (its newest) or `name` (one image), never both."""

    project: str = "cloud-notebooks-managed"
    family: str | None = None
    name: str | None = None

    @model_validator(mode="after")
    def _one(self) -> ImageModel:
        if (self.family is None) == (self.name is None):
            raise ValueError("give either a family or a name")
        return self


class AcceleratorModel(Strict):
    """GPUs of the instance."""

    type: str = Field(pattern=r"^NVIDIA_[A-Z0-9_]+$")
    count: int = Field(default=1, ge=1, le=16)


class ShieldedModel(Strict):
    """Shielded VM; secure boot refuses unsigned GPU drivers."""

    secure_boot: bool = False
    vtpm: bool = True
    integrity_monitoring: bool = True


class IdleModel(Strict):
    """When an environment counts as idle."""

    timeout: Duration = Field(default="3h", validate_default=True)
    max_blind: Duration = Field(default="24h", validate_default=True)
    cpu_busy_at: float = Field(default=0.1, gt=0, le=1)
    max_keep_on: Duration = Field(
        default="12h",
        validate_default=True,
        description="How long ahead somebody may ask not to be stopped for idleness.",
    )

    @field_validator("timeout")
    @classmethod
    def _bounds(cls, value: timedelta) -> timedelta:
        if not timedelta(minutes=10) <= value <= timedelta(minutes=1440):
            raise ValueError("Workbench's own idle timer takes 10 minutes to 24 hours")
        return value


class SparkModel(Strict):
    """What Spark clusters people may start on their page."""

    identity: ClusterIdentity | None = Field(
        default=None,
        description="personal-auth: code reads data as the person, by default only Cloud Storage of this project (BigQuery is not "
        "covered), and only while the person keeps `gcloud dataproc clusters enable-personal-auth-session` running. "
        "personal-service-account: code reads data as an account of the person's own. Default: what the notebook's identity says.",
    )
    max_clusters: int = Field(default=2, ge=0, le=20)
    max_vcpus: int = Field(default=64, ge=1, le=10_000, description="Of one cluster, its workers included.")


class ProfileModel(Strict):
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
    data_group: Email | None = Field(
        default=None,
        description="The Google group whose members may read the data; people's own accounts become members.",
    )
    data_roles: list[DataRole] = Field(default=[], description="What a deployment gives that group on the project.")
    disruption: Disruption = Field(
        default=Disruption.WHEN_IDLE, description="When a change may stop an environment that runs."
    )
    maintenance_window: WindowModel | None = None
    service_account: SkipJsonSchema[str | None] = Field(default=None, exclude=True)
    labels: dict[str, str] = Field(default={})
    metadata: dict[str, str] = Field(default={})
    tags: list[str] = Field(default=[])
    templates: list[str] = Field(
        default=[], description="Spark clusters that people may start; config/templates/*.yaml."
    )
    session_templates: list[str] = Field(
        default=[], description="Serverless Spark sessions for the notebook's launcher; config/templates/*.yaml."
    )
    spark: SparkModel = SparkModel()
    hourly_cost: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="List price of a running hour with its disks, in the billing currency; for the dashboard's estimate.",
    )

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

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """(field, problem) of keys that do not go together, each at the key that a person would change."""
        if self.disruption is Disruption.WINDOW and self.maintenance_window is None:
            yield "disruption", "a 'window' needs a maintenance_window that says when"
        if self.disruption is not Disruption.WINDOW and self.maintenance_window is not None:
            yield (
                "maintenance_window",
                f"it has no effect with disruption: {self.disruption.value}; set disruption: window",
            )
        own = ClusterIdentity.PERSONAL_SERVICE_ACCOUNT
        if self.identity is not Identity.PERSONAL_SERVICE_ACCOUNT and self.spark.identity is not own:
            for field in ("data_group", "data_roles"):
                if getattr(self, field):
                    yield field, "it is for identity: personal-service-account; here code reads data as the person"
        elif self.data_roles and self.data_group is None:
            yield "data_roles", "they are given to a data_group; name it"

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
                timeout=self.idle.timeout,
                max_blind=self.idle.max_blind,
                cpu_busy_at=self.idle.cpu_busy_at,
                max_keep_on=self.idle.max_keep_on,
            ),
            identity=self.identity,
            labels=dict(self.labels),
            metadata=dict(self.metadata),
            tags=tuple(self.tags),
            templates=tuple(self.templates),
            hourly_cost=self.hourly_cost,
            disruption=self.disruption,
            window=self.maintenance_window.to_domain() if self.maintenance_window is not None else None,
            data_group=self.data_group,
            session_templates=tuple(self.session_templates),
            spark=SparkSettings(
                identity=self.spark.identity or _CLUSTER_IDENTITY[self.identity],
                max_clusters=self.spark.max_clusters,
                max_vcpus=self.spark.max_vcpus,
            ),
        )
