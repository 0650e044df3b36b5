"""The shape of config/deploy/*.yaml: what is deployed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, NamedTuple

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from shared.settings.fields import Duration

_ID = r"^[a-zA-Z][a-zA-Z0-9._~%+-]{2,254}$"  # a Pub/Sub topic's or subscription's id
_FUNCTION = r"^[a-z][a-z0-9-]{0,61}[a-z0-9]$"
_TEXT = Annotated[str, Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class ApisFile(_Strict):
    """config/deploy/apis.yaml: services to turn on, each with what it is for."""

    apis: dict[Annotated[str, Field(pattern=r"^[a-z]+\.googleapis\.com$")], _TEXT]
    optional: dict[
        Annotated[str, Field(pattern=r"^[a-z]+\.googleapis\.com$")], Literal["billing_export", "kms_key", "groups"]
    ] = {}


class AccountModel(_Strict):
    """A service account."""

    id: str = Field(pattern=r"^[a-z][a-z0-9-]{4,28}[a-z0-9]$")
    title: str = Field(min_length=1, max_length=100)
    purpose: str = Field(min_length=1, max_length=256, alias="for")


class AccountsFile(_Strict):
    """config/deploy/accounts.yaml."""

    accounts: dict[str, AccountModel]


class RoleModel(_Strict):
    """A custom role of the project."""

    title: str = Field(min_length=1, max_length=100)
    description: str = Field(min_length=1, max_length=256)
    permissions: list[Annotated[str, Field(pattern=r"^[a-z]+\.[a-zA-Z]+\.[a-zA-Z]+$")]] = Field(min_length=1)


def _not_too_wide(role: str) -> str:
    if role in {"roles/owner", "roles/editor", "roles/viewer"} or role.lower().endswith(("admin", "owner", "editor")):
        raise ValueError(f"'{role}' is wider than anything here needs; name a custom role or a narrower one")
    return role


class GrantModel(_Strict):
    """One binding, added to what is there: `role` for `to` on `on`; with `when` only where that is configured.

    With `prefix` it holds for the objects of a bucket whose names begin so.
    """

    to: str = Field(pattern=r"^(account/[a-z-]+|agent/[a-z-]+)$")
    role: Annotated[
        str, Field(pattern=r"^(custom/[A-Za-z0-9_.]{3,64}|roles/[A-Za-z.]+)$"), AfterValidator(_not_too_wide)
    ]
    on: str = Field(
        pattern=r"^(project|bucket/(records|inbox|letters)|gcf-sources|cluster-accounts|cost-dataset|topic/.+)$"
    )
    prefix: str = Field(default="", pattern=r"^([a-z_]+/)*$")
    when: Literal["personal_accounts", "billing_export"] | None = None


class RolesFile(_Strict):
    """config/deploy/roles.yaml."""

    roles: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]{3,64}$")], RoleModel]
    grants: list[GrantModel]
    withdrawn: list[GrantModel] = []

    @model_validator(mode="after")
    def _known(self) -> RolesFile:
        for grant in self.withdrawn:
            if grant.when is not None or not grant.on.startswith(("bucket/", "topic/")):
                raise ValueError(
                    f"{grant.to} on {grant.on}: only what is on a bucket or a topic is withdrawn, and always"
                )
            if any((grant.to, grant.role, grant.on) == (each.to, each.role, each.on) for each in self.grants):
                raise ValueError(f"{grant.role} of {grant.to} on {grant.on} is granted and withdrawn")
        for grant in (*self.grants, *self.withdrawn):
            kind, _, name = grant.role.partition("/")
            if kind == "custom" and name not in self.roles:
                raise ValueError(f"no custom role '{name}'; there are: {', '.join(sorted(self.roles))}")
        return self


class BucketModel(_Strict):
    """How a bucket keeps things. `delete_after`: objects themselves go, too, at that age; None: they stay."""

    versioning: Literal[True] = True
    soft_delete: Duration
    keep_old_versions: Duration
    delete_after: Duration | None = None

    @field_validator("soft_delete", "keep_old_versions", "delete_after")
    @classmethod
    def _days(cls, value: timedelta | None) -> timedelta | None:
        if value is not None and value < timedelta(days=7):
            raise ValueError("it must be 7d or more: it is what a mistake is mended from")
        return value


class BucketsModel(_Strict):
    """The buckets by what they are for."""

    records: BucketModel
    inbox: BucketModel
    letters: BucketModel


class BucketsFile(_Strict):
    """config/deploy/buckets.yaml."""

    buckets: BucketsModel


def _kept(value: timedelta) -> timedelta:
    if not timedelta(minutes=10) <= value <= timedelta(days=31):
        raise ValueError("Pub/Sub keeps messages for 10m to 31d")
    return value


def _answered(value: timedelta) -> timedelta:
    if not timedelta(seconds=10) <= value <= timedelta(seconds=600):
        raise ValueError("Pub/Sub waits 10s to 600s for an answer")
    return value


Retention = Annotated[Duration, AfterValidator(_kept)]
AckDeadline = Annotated[Duration, AfterValidator(_answered)]


class TopicModel(_Strict):
    """A topic; what was published stays readable for `retention`."""

    retention: Retention


class SubscriptionModel(_Strict):
    """A pull subscription that never expires."""

    topic: str
    retention: Retention
    ack_deadline: AckDeadline


class TopicsFile(_Strict):
    """config/deploy/topics.yaml."""

    topics: dict[Annotated[str, Field(pattern=_ID)], TopicModel]
    subscriptions: dict[Annotated[str, Field(pattern=_ID)], SubscriptionModel] = {}

    @model_validator(mode="after")
    def _topics(self) -> TopicsFile:
        for name, subscription in self.subscriptions.items():
            if subscription.topic not in self.topics:
                raise ValueError(f"subscription '{name}' is for topic '{subscription.topic}', which is not here")
        return self


class DeliveryModel(_Strict):
    """How messages reach a function: the settings of the subscription that Eventarc makes for it."""

    ack_deadline: AckDeadline
    min_backoff: Duration
    max_backoff: Duration
    retention: Retention
    dead_letter_topic: str | None = None
    max_delivery_attempts: int | None = Field(default=None, ge=5, le=100)

    @model_validator(mode="after")
    def _both(self) -> DeliveryModel:
        if (self.dead_letter_topic is None) != (self.max_delivery_attempts is None):
            raise ValueError("dead_letter_topic and max_delivery_attempts go together")
        return self


class Heard(NamedTuple):
    """What a function hears: messages of a topic, and how they reach it."""

    topic: str
    delivery: DeliveryModel


_LONGEST_EVENT, _LONGEST_HTTP = timedelta(seconds=540), timedelta(hours=1)  # facts of the platform


class FunctionModel(_Strict):
    """A function; what is not said here is taken from `defaults`. It hears a topic, or with `http` it is a page."""

    entry_point: str = Field(pattern=r"^[a-z_][a-z0-9_]*$")
    account: str
    http: bool = False
    topic: str | None = None
    delivery: DeliveryModel | None = None
    runtime: str = Field(pattern=r"^python3\d{2}$")
    memory: str = Field(pattern=r"^\d+(Mi|Gi)$")
    cpu: str = Field(pattern=r"^[1248]$")  # a part of a CPU takes one request at a time
    concurrency: int = Field(ge=1, le=1000)
    max_instances: int = Field(ge=1, le=1000)
    timeout: Duration
    ingress: Literal["internal-only", "internal-and-gclb", "all"]

    @field_validator("timeout")
    @classmethod
    def _lives(cls, value: timedelta, info: ValidationInfo) -> timedelta:
        if value > _LONGEST_HTTP:
            raise ValueError("an http function lives 3600s at most")
        if value > _LONGEST_EVENT and not info.data.get("http"):
            raise ValueError("an event function lives 540s at most")
        return value

    @field_validator("ingress")
    @classmethod
    def _from_inside(cls, value: str, info: ValidationInfo) -> str:
        if value == "all" and not info.data.get("http"):
            raise ValueError("'all' is for http functions only: messages come from inside, write internal-only")
        return value

    @model_validator(mode="after")
    def _one_way_in(self) -> FunctionModel:
        if self.http and (self.topic is not None or self.delivery is not None):
            raise ValueError("with http: true it hears no topic; leave out topic and delivery, or http")
        if not self.http and self.heard is None:
            raise ValueError("topic and delivery are both needed, or http: true for a page that people open")
        return self

    @property
    def heard(self) -> Heard | None:
        """The topic that it hears and how; None for a page."""
        return None if self.topic is None or self.delivery is None else Heard(self.topic, self.delivery)


class FunctionsFile(_Strict):
    """config/deploy/functions.yaml."""

    build_account: str
    push_account: str
    functions: dict[Annotated[str, Field(pattern=_FUNCTION)], FunctionModel]
    defaults: dict[str, Any] = {}

    @model_validator(mode="after")
    def _one_page(self) -> FunctionsFile:
        pages = sorted(name for name, function in self.functions.items() if function.http)
        if len(pages) > 1:
            raise ValueError(f"one function may have http: true, not {', '.join(pages)}: hub_access is about one page")
        return self

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("functions"), dict):
            defaults = data.get("defaults") or {}
            data = {
                **data,
                "functions": {name: {**defaults, **(each or {})} for name, each in data["functions"].items()},
            }
        return data


class JobModel(_Strict):
    """A scheduled message."""

    schedule: str
    topic: str
    body: dict[str, Any] = Field(min_length=1)

    @field_validator("schedule")
    @classmethod
    def _cron(cls, value: str) -> str:
        try:
            CronSim(value, datetime(2026, 1, 1, tzinfo=UTC))
        except CronSimError as error:
            raise ValueError(f"'{value}' is no schedule; write five fields, for example */10 * * * *") from error
        return value


class JobsFile(_Strict):
    """config/deploy/jobs.yaml."""

    jobs: dict[Annotated[str, Field(pattern=r"^[a-zA-Z][a-zA-Z0-9_-]{0,499}$")], JobModel]


class SinkModel(_Strict):
    """A log sink into a topic."""

    scope: Literal["project", "organization"]
    topic: str
    filter: str = Field(min_length=1)


class SinksFile(_Strict):
    """config/deploy/sinks.yaml."""

    sinks: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,100}$")], SinkModel]


class MetricsFile(_Strict):
    """config/deploy/metrics.yaml: bodies of log-based metrics by id."""

    metrics: dict[Annotated[str, Field(pattern=r"^benchkeeper/[a-z0-9_-]+$")], dict[str, Any]]


class AlertsFile(_Strict):
    """config/deploy/alerts.yaml: bodies of alert policies by key, which becomes a label."""

    alerts: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")], dict[str, Any]]


class DashboardFile(BaseModel):
    """config/deploy/dashboard.yaml: the body of one dashboard."""

    model_config = ConfigDict(extra="allow")

    displayName: str  # noqa: N815 - the API's own field
    mosaicLayout: dict[str, Any]  # noqa: N815 - same
