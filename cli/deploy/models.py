"""The models of config/deploy/*.yaml, which describe what is deployed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NamedTuple

from cronsim import CronSim, CronSimError
from msgspec import Meta, field

from shared.settings.values import Strict, check, one_of

_Id = Annotated[str, Meta(pattern=r"^[a-zA-Z][a-zA-Z0-9._~%+-]{2,254}$")]  # a Pub/Sub topic's or subscription's id
_FunctionName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,61}[a-z0-9]$")]
_Api = Annotated[str, Meta(pattern=r"^[a-z]+\.googleapis\.com$")]
_Text = Annotated[str, Meta(min_length=1)]


class ApisFile(Strict, frozen=True, kw_only=True):
    """The file config/deploy/apis.yaml: services to turn on, each with its purpose.

    A service in `optional` is only turned on if the part that it names is configured.
    """

    apis: Mapping[_Api, _Text]
    optional: Mapping[_Api, Annotated[str, one_of("billing_export", "kms_key", "groups", "messages")]] = {}


# A part that only some installations have.
When = Annotated[str, one_of("messages")] | None


class AccountModel(Strict, frozen=True, kw_only=True):
    """A service account. `purpose` (`for` in the file) becomes its description; `when` names the part that needs it, None for always."""

    id: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{4,28}[a-z0-9]$")]
    title: Annotated[str, Meta(min_length=1, max_length=100)]
    purpose: Annotated[str, Meta(min_length=1, max_length=256)] = field(name="for")
    when: When = None


class AccountsFile(Strict, frozen=True, kw_only=True):
    """The file config/deploy/accounts.yaml."""

    accounts: Mapping[str, AccountModel]


class RoleModel(Strict, frozen=True, kw_only=True):
    """A custom role of the project."""

    title: Annotated[str, Meta(min_length=1, max_length=100)]
    description: Annotated[str, Meta(min_length=1, max_length=256)]
    permissions: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^[a-z]+\.[a-zA-Z]+\.[a-zA-Z]+$")], ...], Meta(min_length=1)
    ]


def _not_too_wide(role: str) -> str:
    if role in {"roles/owner", "roles/editor", "roles/viewer"} or role.lower().endswith(("admin", "owner", "editor")):
        raise ValueError(f"'{role}' has more permissions than needed; name a custom role or a narrower one")
    return role


class GrantModel(Strict, frozen=True, kw_only=True):
    """A grant: the binding of `role` to the member `to` on the resource `on`.

    With `when`, the grant is only made if that part is configured. With `prefix`, the grant only applies to the objects
    of a bucket whose names have this prefix; with `all_but`, only to the objects whose names do not have it.
    """

    to: Annotated[str, Meta(pattern=r"^(account/[a-z-]+|agent/[a-z-]+)$")]
    role: Annotated[str, check(_not_too_wide, pattern=r"^(custom/[A-Za-z0-9_.]{3,64}|roles/[A-Za-z.]+)$")]
    on: Annotated[
        str,
        Meta(
            pattern=r"^(project|bucket/(records|inbox|letters|audit)|gcf-sources|cluster-accounts|cost-dataset|secrets|topic/.+)$"
        ),
    ]
    prefix: Annotated[str, Meta(pattern=r"^([a-z_]+/)*$")] = ""
    all_but: Annotated[str, Meta(pattern=r"^([a-z_]+/)*$")] = ""
    when: Annotated[str, one_of("personal_accounts", "billing_export", "messages")] | None = None


class RolesFile(Strict, frozen=True, kw_only=True):
    """The file config/deploy/roles.yaml."""

    roles: Mapping[Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.]{3,64}$")], RoleModel]
    grants: tuple[GrantModel, ...]
    withdrawn: tuple[GrantModel, ...] = ()

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Yield (field, problem) for grants that contradict each other, and for custom roles that do not exist."""
        for grant in self.withdrawn:
            if grant.when is not None or not grant.on.startswith(("bucket/", "topic/")):
                yield (
                    "",
                    f"{grant.to} on {grant.on}: only a grant on a bucket or a topic can be withdrawn, and without `when`",
                )
            if any((grant.to, grant.role, grant.on) == (each.to, each.role, each.on) for each in self.grants):
                yield "", f"{grant.role} of {grant.to} on {grant.on} is granted and withdrawn"
        for grant in self.grants:  # a role of a withdrawn grant may be one that only earlier versions had
            kind, _, name = grant.role.partition("/")
            if kind == "custom" and name not in self.roles:
                yield "", f"no custom role '{name}'; there are: {', '.join(sorted(self.roles))}"


def _a_week(value: timedelta | None) -> timedelta | None:
    if value is not None and value < timedelta(days=7):
        raise ValueError("it must be 7d or more, so that a mistake can be repaired")
    return value


def _not_kept(value: timedelta | None) -> timedelta | None:
    if value is not None:
        raise ValueError("only the audit has objects that are never changed; remove the key")
    return value


class BucketModel(Strict, frozen=True, kw_only=True):
    """The retention of a bucket. `delete_after` is the age at which live objects are deleted, None for never.

    Deleted objects can be restored for `soft_delete`, and replaced versions are kept for `keep_old_versions`. `retention`
    is the age below which Cloud Storage refuses to delete or replace an object; it needs a bucket without versions.
    """

    soft_delete: Annotated[timedelta, check(_a_week)]
    keep_old_versions: Annotated[timedelta, check(_a_week)]
    delete_after: Annotated[timedelta | None, check(_a_week)] = None
    versioning: Annotated[bool, one_of(True)] = True  # noqa: FBT003 - the only valid value
    retention: Annotated[timedelta | None, check(_not_kept)] = None


class AuditBucketModel(BucketModel, frozen=True, kw_only=True):
    """The retention of the bucket of the audit, whose objects are never replaced."""

    versioning: Annotated[bool, one_of(False)] = False  # noqa: FBT003 - the only valid value
    retention: Annotated[timedelta | None, check(_a_week)] = None


class BucketsModel(Strict, frozen=True, kw_only=True):
    """The buckets by purpose."""

    records: BucketModel
    inbox: BucketModel
    letters: BucketModel
    audit: AuditBucketModel


class BucketsFile(Strict, frozen=True, kw_only=True):
    """The file config/deploy/buckets.yaml."""

    buckets: BucketsModel


def _kept(value: timedelta) -> timedelta:
    if not timedelta(minutes=10) <= value <= timedelta(days=31):
        raise ValueError("Pub/Sub keeps messages for 10m to 31d")
    return value


def _answered(value: timedelta) -> timedelta:
    if not timedelta(seconds=10) <= value <= timedelta(seconds=600):
        raise ValueError("the ack deadline of Pub/Sub is 10s to 600s")
    return value


Retention = Annotated[timedelta, check(_kept)]
AckDeadline = Annotated[timedelta, check(_answered)]


class TopicModel(Strict, frozen=True, kw_only=True):
    """A topic. Published messages can be read again for `retention`."""

    retention: Retention
    when: When = None


class SubscriptionModel(Strict, frozen=True, kw_only=True):
    """A pull subscription that never expires."""

    topic: str
    retention: Retention
    ack_deadline: AckDeadline


class TopicsFile(Strict, frozen=True, kw_only=True):
    """The file config/deploy/topics.yaml."""

    topics: Mapping[_Id, TopicModel]
    subscriptions: Mapping[_Id, SubscriptionModel] = {}

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Yield (field, problem) for each subscription whose topic is not in the file."""
        for name, subscription in self.subscriptions.items():
            if subscription.topic not in self.topics:
                yield "", f"subscription '{name}' is for topic '{subscription.topic}', which is not here"


class DeliveryModel(Strict, frozen=True, kw_only=True):
    """The delivery of messages to a function: the settings of the subscription that Eventarc makes for it."""

    ack_deadline: AckDeadline
    min_backoff: timedelta
    max_backoff: timedelta
    retention: Retention
    dead_letter_topic: str | None = None
    max_delivery_attempts: Annotated[int, Meta(ge=5, le=100)] | None = None

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Yield (field, problem) for keys that contradict each other."""
        if (self.dead_letter_topic is None) != (self.max_delivery_attempts is None):
            yield "", "dead_letter_topic and max_delivery_attempts must be set together"


class Heard(NamedTuple):
    """The topic that triggers a function, and the settings of the delivery."""

    topic: str
    delivery: DeliveryModel


_LONGEST_EVENT, _LONGEST_HTTP = timedelta(seconds=540), timedelta(hours=1)  # limits of the platform


class FunctionModel(Strict, frozen=True, kw_only=True):
    """A function; missing keys are taken from `defaults`.

    A function is triggered by a topic, or with `http` it serves a page.
    """

    entry_point: Annotated[str, Meta(pattern=r"^[a-z_][a-z0-9_]*$")]
    account: str
    runtime: Annotated[str, Meta(pattern=r"^python3\d{2}$")]
    memory: Annotated[str, Meta(pattern=r"^\d+(Mi|Gi)$")]
    cpu: Annotated[str, Meta(pattern=r"^[1248]$")]  # a part of a CPU takes one request at a time
    concurrency: Annotated[int, Meta(ge=1, le=1000)]
    max_instances: Annotated[int, Meta(ge=1, le=1000)]
    timeout: timedelta
    ingress: Annotated[str, one_of("internal-only", "internal-and-gclb", "all")]
    http: bool = False
    topic: str | None = None
    delivery: DeliveryModel | None = None
    when: When = None

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Yield (field, problem) for values that the platform refuses for this kind of function."""
        if self.timeout > _LONGEST_HTTP:
            yield "timeout", "an http function may run for at most 3600s"
        elif self.timeout > _LONGEST_EVENT and not self.http:
            yield "timeout", "an event function may run for at most 540s"
        if self.ingress == "all" and not self.http:
            yield "ingress", "'all' is for http functions only: for messages, write internal-only"
        if self.http and (self.topic is not None or self.delivery is not None):
            yield "", "with http: true it has no topic; remove topic and delivery, or http"
        if not self.http and self.heard is None:
            yield "", "topic and delivery are both needed, or http: true for a page that people open"

    @property
    def heard(self) -> Heard | None:
        """The topic and delivery of the function; None for a page."""
        return None if self.topic is None or self.delivery is None else Heard(self.topic, self.delivery)


class FunctionsFile(Strict, frozen=True, kw_only=True):
    """The file config/deploy/functions.yaml."""

    build_account: str
    push_account: str
    functions: Mapping[_FunctionName, FunctionModel]
    defaults: Mapping[str, Any] = {}

    @classmethod
    def prepared(cls, raw: dict[str, Any]) -> dict[str, Any]:
        """Return the file's content with the defaults filled in for each function; malformed content is returned unchanged."""
        functions, defaults = raw.get("functions"), raw.get("defaults") or {}
        if not isinstance(functions, dict) or not isinstance(defaults, dict):
            return raw
        filled = {
            name: {**defaults, **(each or {})} if isinstance(each, dict | None) else each
            for name, each in functions.items()
        }
        return {**raw, "functions": filled}

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Yield (field, problem) if there is more than one page."""
        pages = sorted(name for name, function in self.functions.items() if function.http)
        if len(pages) > 1:
            yield "", f"one function may have http: true, not {', '.join(pages)}: hub_access is about one page"


def _cron(value: str) -> str:
    try:
        CronSim(value, datetime(2026, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        raise ValueError(f"'{value}' is not a schedule; write five fields, for example */10 * * * *") from error
    return value


class JobModel(Strict, frozen=True, kw_only=True):
    """A scheduled message: `schedule` is unix-cron in UTC, `body` the JSON that is published to `topic`."""

    schedule: Annotated[str, check(_cron)]
    topic: str
    body: Annotated[Mapping[str, Any], Meta(min_length=1)]


class JobsFile(Strict, frozen=True, kw_only=True):
    """The file config/deploy/jobs.yaml."""

    jobs: Mapping[Annotated[str, Meta(pattern=r"^[a-zA-Z][a-zA-Z0-9_-]{0,499}$")], JobModel]


class SinkModel(Strict, frozen=True, kw_only=True):
    """A log sink that publishes to a topic."""

    scope: Annotated[str, one_of("project", "organization")]
    topic: str
    filter: Annotated[str, Meta(min_length=1)]


class SinksFile(Strict, frozen=True, kw_only=True):
    """The file config/deploy/sinks.yaml."""

    sinks: Mapping[Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,100}$")], SinkModel]


class MetricsFile(Strict, frozen=True, kw_only=True):
    """The file config/deploy/metrics.yaml: bodies of log-based metrics by id."""

    metrics: Mapping[Annotated[str, Meta(pattern=r"^benchkeeper/[a-z0-9_-]+$")], Mapping[str, Any]]


class AlertsFile(Strict, frozen=True, kw_only=True):
    """The file config/deploy/alerts.yaml: bodies of alert policies by key, which becomes a label."""

    alerts: Mapping[Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,62}$")], Mapping[str, Any]]


class DashboardFile(Strict, frozen=True, kw_only=True):
    """The file config/deploy/dashboard.yaml. `body` is the whole file: a dashboard in the API's format."""

    displayName: str  # noqa: N815 - the API's own field
    mosaicLayout: Mapping[str, Any]  # noqa: N815 - same
    body: Mapping[str, Any]

    @classmethod
    def prepared(cls, raw: dict[str, Any]) -> dict[str, Any]:
        """Return the two required keys, and the whole file as `body`."""
        needed: dict[str, Any] = {name: raw[name] for name in ("displayName", "mosaicLayout") if name in raw}
        return needed | {"body": raw}
