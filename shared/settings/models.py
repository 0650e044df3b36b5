"""The shape of config/settings.<env>.yaml and config/profiles.yaml. JSON Schemas for editors are made from these."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from shared.domain.catalog import Assignment
from shared.domain.guard_settings import GuardSettings
from shared.faults import ConfigFault, Loc, dotted, line_of, nearest
from shared.settings.fields import Duration, Email, Strict, duration_text
from shared.settings.profile import ProfileModel

SHORTEST = timedelta(days=7)  # of a retention: a week, in which somebody notices a slip
_LEAST_PATIENCE = timedelta(minutes=15)
_MAX_BUCKET = 63
_BUCKET = r"^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$"


class NetworkModel(Strict):
    """The VPC network and subnetwork of the environments; empty for the project's default network."""

    network: str = Field(default="", pattern=r"^$|^projects/[^/]+/global/networks/[^/]+$")
    subnet: str = Field(default="", pattern=r"^$|^projects/[^/]+/regions/[^/]+/subnetworks/[^/]+$")


class TopicsModel(Strict):
    """Pub/Sub topic ids; those of sources of news stand in config/sources.yaml."""

    tick: str = "workbench-tick"
    dead_letter: str = "workbench-dead-letter"


class RetentionModel(Strict):
    """How long things are kept after somebody left; all count from that moment.

    `personal_data` is how long a dead letter and the record of somebody of whom nothing exists are kept. Less than a week is
    refused unless `allow_short` says that it is meant: a slip here deletes people's files.
    """

    allow_short: bool = False
    instance: Duration = Field(default="30d", validate_default=True)
    snapshot: Duration = Field(default="90d", validate_default=True)
    personal_data: Duration = Field(default="365d", validate_default=True)

    @field_validator("instance", "snapshot", "personal_data")
    @classmethod
    def _long_enough(cls, value: timedelta, info: ValidationInfo) -> timedelta:
        if value < SHORTEST and not info.data.get("allow_short"):
            raise ValueError(
                f"{duration_text(value)} is shorter than {duration_text(SHORTEST)}: what is deleted then cannot be brought back. "
                "Valid: 7d or more; if it is meant, write allow_short: true beside it"
            )
        return value

    @field_validator("personal_data")
    @classmethod
    def _outlives(cls, value: timedelta, info: ValidationInfo) -> timedelta:
        snapshot = info.data.get("snapshot")  # absent when it is a fault itself
        if snapshot is not None and value < snapshot:
            raise ValueError(
                f"personal_data ({duration_text(value)}) must not be shorter than snapshot ({duration_text(snapshot)}): "
                "a record outlives the files that it names"
            )
        return value

    @field_validator("snapshot")
    @classmethod
    def _longer(cls, value: timedelta, info: ValidationInfo) -> timedelta:
        instance = info.data.get("instance")  # absent when it is a fault itself
        if instance is not None and value < instance:
            raise ValueError(
                f"snapshot ({duration_text(value)}) must not be shorter than instance ({duration_text(instance)}): "
                "what was saved of an environment outlives it"
            )
        return value


DomainName = Annotated[str, Field(pattern=r"^([\w-]+\.)+[\w-]{2,}$")]


class PeopleModel(Strict):
    """Whose addresses are people's, and where they live."""

    domains: list[DomainName] = Field(
        default=[],
        description="The domains of people who may be given something. Needed outside the embedded cloud.",
    )
    alias_domains: dict[DomainName, DomainName] = Field(
        default={}, description="Domains whose addresses are those of another one: {acme.co.uk: acme.com}."
    )
    time_zone: str = Field(default="UTC", description="Where a date without a time begins and ends.")

    @field_validator("domains")
    @classmethod
    def _lower(cls, value: list[str]) -> list[str]:
        return [domain.lower() for domain in value]

    @field_validator("alias_domains")
    @classmethod
    def _known(cls, value: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        domains = info.data.get("domains", [])
        for alias, domain in value.items():
            if domain.lower() not in domains:
                raise ValueError(f"'{domain}', of which '{alias}' is an alias, is not one of people.domains")
            if alias.lower() in domains:
                raise ValueError(f"'{alias}' is one of people.domains and cannot be an alias too")
        return {alias.lower(): domain.lower() for alias, domain in value.items()}

    @field_validator("time_zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ValueError, OSError) as error:
            raise ValueError(f"'{value}' is no time zone; one looks like Europe/Berlin") from error
        return value


class LimitsModel(Strict):
    """Bounds on what is taken in."""

    message_bytes: int = Field(default=262_144, ge=1_024, le=10_000_000)


class DeploymentModel(Strict):
    """What a deployment to Google Cloud needs beyond the rest; the functions do not read it."""

    organization: str | None = Field(default=None, pattern=r"^\d{6,20}$")
    billing_export: str | None = Field(
        default=None, pattern=r"^[a-z][a-z0-9-]{4,28}[a-z0-9]\.[A-Za-z0-9_]+\.gcp_billing_export_[A-Za-z0-9_]+$"
    )
    kms_key: str | None = Field(
        default=None, pattern=r"^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$"
    )
    notify: list[Email] = Field(default=[])
    publishers: list[Annotated[str, Field(pattern=r"^(user|group|serviceAccount):[^@\s]+@[^@\s]+$")]] = Field(
        default=[]
    )
    hub_access: list[Annotated[str, Field(pattern=r"^((user|group):[^@\s]+@[^@\s]+|domain:[^@\s]+\.[^@\s]+)$")]] = (
        Field(
            default=[],
            description="Who may open the hub page: group:…, domain:… or user:…. Nobody named here, nobody gets in.",
        )
    )
    hub_domain: str | None = Field(
        default=None,
        pattern=r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}$",
        description="A domain of yours that leads to the hub page, for example hub.example.com.",
    )


class HubModel(Strict):
    """The page: who may see everybody, and whom to ask."""

    admin_group: Email | None = Field(
        default=None,
        description="The Google group whose direct members see the manager's page. Without it nobody does.",
    )
    contact: str = Field(
        default="", max_length=200, description="Whom to ask, as people read it: a name, an address, a chat room."
    )
    currency: str = Field(default="USD", pattern=r"^[A-Z]{3}$", description="Of hourly_cost and of the billing export.")


class BucketsModel(Strict):
    """Buckets beside that of the records, so that each function writes only where it must. Derived names, unless given."""

    inbox: str | None = Field(
        default=None, pattern=_BUCKET, description="Where the page writes wishes. Default: <bucket>-inbox."
    )
    letters: str | None = Field(
        default=None, pattern=_BUCKET, description="Where dead letters are kept. Default: <bucket>-letters."
    )


class GuardModel(Strict):
    """How much may change for how many people before somebody has to agree to it on the page."""

    per_hour: int = Field(
        default=20, ge=1, le=10_000, description="People who may lose something in an hour, at least."
    )
    share: float = Field(default=0.05, gt=0, le=1, description="Of the fleet: the same, for large ones.")
    most: int = Field(default=200, ge=1, le=10_000, description="People who may lose something in an hour, at most.")
    group_share: float = Field(default=0.5, gt=0, le=1, description="Of those who share a group or a profile.")
    group_from: int = Field(default=6, ge=2, le=10_000, description="From how many on group_share holds.")
    day_factor: int = Field(default=3, ge=1, le=24, description="A day's limit is that many times an hour's.")
    patience: Literal["never"] | Duration = Field(
        default="4h",
        validate_default=True,
        description="After that a leaver who waits is stopped as far as it can be undone; never: not at all.",
    )
    approvers: int = Field(
        default=2,
        ge=1,
        le=2,
        description="How many must approve where nobody knows who asked; where it is known, one other. 1: a team of one.",
    )
    creations: int = Field(default=300, ge=1, le=100_000, description="Environments that may be made in an hour.")
    urgent: int = Field(
        default=5, ge=0, le=10_000, description="Urgent leavers who may lose access in an hour, beside the others."
    )
    approval_lapses: Duration = Field(
        default="24h",
        validate_default=True,
        description="How long an approval holds that is not enough, or is not used.",
    )
    wait_alone: Duration = Field(
        default="15m",
        validate_default=True,
        description="How long the approval of one alone waits for somebody to object.",
    )

    @field_validator("patience")
    @classmethod
    def _patient(cls, value: timedelta | str) -> timedelta | str:
        if isinstance(value, timedelta) and value < _LEAST_PATIENCE:
            raise ValueError(
                f"{duration_text(value)} is too short for somebody to look at a change. "
                f"Valid: {duration_text(_LEAST_PATIENCE)} or more, or never"
            )
        return value

    @model_validator(mode="after")
    def _ordered(self) -> GuardModel:
        if self.most < self.per_hour:
            raise ValueError(f"most ({self.most}) must not be smaller than per_hour ({self.per_hour})")
        return self

    def to_domain(self) -> GuardSettings:
        """In the domain's words."""
        patience = None if isinstance(self.patience, str) else self.patience
        return GuardSettings(**{**dict(self), "patience": patience})


class SettingsFile(Strict):
    """config/settings.<env>.yaml: where and how Benchkeeper runs."""

    project: str = Field(pattern=r"^[a-z][a-z0-9-]{4,28}[a-z0-9]$")
    zones: list[str] = Field(min_length=1)
    bucket: str = Field(pattern=_BUCKET)
    buckets: BucketsModel = BucketsModel()
    network: NetworkModel = NetworkModel()
    topics: TopicsModel = TopicsModel()
    retention: RetentionModel = RetentionModel()
    limits: LimitsModel = LimitsModel()
    people: PeopleModel = PeopleModel()
    deployment: DeploymentModel = DeploymentModel()
    hub: HubModel = HubModel()
    guard: GuardModel = GuardModel()
    api_endpoint: str | None = None

    @model_validator(mode="after")
    def _one_bucket_each(self) -> SettingsFile:
        """One bucket for two purposes would let a function write where it must not; a derived name may be too long."""
        derived = (self.buckets.inbox or f"{self.bucket}-inbox", self.buckets.letters or f"{self.bucket}-letters")
        too_long = next((name for name in derived if len(name) > _MAX_BUCKET), None)
        if too_long is not None:
            raise ValueError(f"'{too_long}' is too long for a bucket's name; name shorter ones under buckets")
        if len({self.bucket, *derived}) < 1 + len(derived):
            raise ValueError("bucket and those under buckets must differ: rights are given by bucket")
        return self

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


class AssignmentModel(Strict):
    """Members of a group get a profile."""

    group: Email
    profile: str
    priority: int = 0

    def to_domain(self) -> Assignment:
        """In the domain's words."""
        return Assignment(group=self.group, profile=self.profile, priority=self.priority)


class EnvironmentModel(Strict):
    """What people read of a template on their page."""

    title: str = Field(min_length=1, max_length=60)
    description: str = Field(default="", max_length=300)
    hourly_cost: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="List price of a running hour, in the billing currency."
    )


class ProfilesFile(Strict):
    """config/profiles.yaml: what is offered, and to whom."""

    default: str | None = None
    assignments: list[AssignmentModel] = Field(default=[])
    profiles: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")], ProfileModel] = Field(min_length=1)
    environments: dict[str, EnvironmentModel] = Field(default={}, description="By template: what people read of it.")
    _lines: dict[Loc, int] = PrivateAttr(default_factory=dict)

    @property
    def lines(self) -> dict[Loc, int]:
        """The line of every key, once the file was read."""
        return self._lines

    @lines.setter
    def lines(self, value: dict[Loc, int]) -> None:
        self._lines = value

    def line(self, loc: Loc) -> int:
        """Return the line of a place, or of the nearest thing around it."""
        return line_of(self._lines, loc)

    @field_validator("assignments")
    @classmethod
    def _once(cls, value: list[AssignmentModel]) -> list[AssignmentModel]:
        groups = [a.group for a in value]
        twice = sorted({g for g in groups if groups.count(g) > 1})
        if twice:
            raise ValueError(f"the group '{twice[0]}' is assigned twice")
        return value

    def fault(self, path: Path, loc: Loc, problem: str, valid: Iterable[str]) -> ConfigFault:
        """Return a fault at a place of this file."""
        word = problem.split("'")[1] if "'" in problem else ""
        return ConfigFault(str(path), self.line(loc), dotted(loc), problem, nearest(word, valid))
