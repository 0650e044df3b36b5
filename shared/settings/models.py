"""The shapes of config/settings.<env>.yaml and config/profiles.yaml. Parts that equal a type of the domain use that type."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from msgspec import Meta

from shared.domain.intent.roles import Roles
from shared.domain.plan.guard_settings import GuardSettings
from shared.domain.things.catalog import Assignment, Environment, Prices
from shared.domain.things.identity import Email
from shared.domain.things.notebook import Network
from shared.domain.things.times import duration_text
from shared.settings.messages import MessagesFile
from shared.settings.profile import ProfileFile
from shared.settings.values import Strict, check

SHORTEST = timedelta(days=7)  # the shortest retention: a week gives time to notice a mistake
_MAX_BUCKET = 63
_PROJECT = r"^[a-z][a-z0-9-]{4,28}[a-z0-9]$"
_BUCKET = r"^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$"


class TopicsFile(Strict, frozen=True, kw_only=True):
    """The Pub/Sub topic ids. The topics of message sources are in config/sources.yaml."""

    tick: str = "workbench-tick"
    dead_letter: str = "workbench-dead-letter"
    notifications: str = "workbench-notifications"


class RetentionFile(Strict, frozen=True, kw_only=True):
    """The times for which data is kept. `instance` and `snapshot` are those of a leaver's instance and saved files.

    `personal_data` is the time for which dead letters, and records of users without resources, are kept. A time of less than
    a week is refused unless `allow_short` confirms it, because a mistake here deletes users' files.
    """

    allow_short: bool = False
    instance: timedelta = timedelta(days=30)
    snapshot: timedelta = timedelta(days=90)
    personal_data: timedelta = timedelta(days=365)

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Yield (field, problem) for times that are too short, alone or compared with each other."""
        short = {
            name
            for name in ("instance", "snapshot", "personal_data")
            if getattr(self, name) < SHORTEST and not self.allow_short
        }
        for name in sorted(short):
            text = f"{duration_text(getattr(self, name))} is shorter than {duration_text(SHORTEST)}"
            yield (
                name,
                f"{text}: deleted data cannot be restored. Valid: 7d or more; to confirm a shorter time, write allow_short: true beside it",
            )
        for shorter, longer, why in (
            ("instance", "snapshot", "the saved files of an environment must outlive it"),
            ("snapshot", "personal_data", "a record must outlive the files that it names"),
        ):
            less, more = getattr(self, shorter), getattr(self, longer)
            if more < less and not short & {shorter, longer}:
                text = f"{longer} ({duration_text(more)}) must not be shorter than {shorter} ({duration_text(less)})"
                yield longer, f"{text}: {why}"


DomainName = Annotated[str, Meta(pattern=r"^([\w-]+\.)+[\w-]{2,}$", examples=["example.com"])]


def _lower(value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(domain.lower() for domain in value)


def _lower_names(value: Mapping[str, str]) -> Mapping[str, str]:
    return {alias.lower(): domain.lower() for alias, domain in value.items()}


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ValueError, OSError, KeyError) as error:  # a KeyError means an unknown zone
        raise ValueError(f"'{value}' is not a time zone; a time zone looks like Europe/Berlin") from error
    return value


class PeopleFile(Strict, frozen=True, kw_only=True):
    """The users' domains and time zone."""

    domains: Annotated[
        tuple[DomainName, ...],
        check(_lower, description="The domains of people who may get access. Required outside the embedded cloud."),
    ] = ()
    alias_domains: Annotated[
        Mapping[DomainName, DomainName],
        check(_lower_names, description="Domains that are aliases of another domain: {acme.co.uk: acme.com}."),
    ] = {}
    time_zone: Annotated[
        str, check(_zone, description="The time zone in which a date without a time begins and ends.")
    ] = "UTC"

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Yield (field, problem) for an alias of a domain that is not configured, and for an alias that is also a domain."""
        for alias, domain in self.alias_domains.items():
            if domain not in self.domains:
                yield "alias_domains", f"'{domain}', of which '{alias}' is an alias, is not one of people.domains"
            elif alias in self.domains:
                yield "alias_domains", f"'{alias}' is one of people.domains and cannot be an alias too"


class LimitsFile(Strict, frozen=True, kw_only=True):
    """The limits on incoming messages."""

    message_bytes: Annotated[int, Meta(ge=1_024, le=10_000_000)] = 262_144


class DeploymentFile(Strict, frozen=True, kw_only=True):
    """The settings of a deployment to Google Cloud. The functions use only `organization` and `billing_export`."""

    organization: Annotated[str, Meta(pattern=r"^\d{6,20}$", examples=["123456789012"])] | None = None
    billing_export: (
        Annotated[
            str,
            Meta(
                pattern=r"^[a-z][a-z0-9-]{4,28}[a-z0-9]\.[A-Za-z0-9_]+\.gcp_billing_export_[A-Za-z0-9_]+$",
                examples=["acme-billing.billing.gcp_billing_export_v1_012EB3_BC4637_0FC348"],
            ),
        ]
        | None
    ) = None
    kms_key: (
        Annotated[
            str,
            Meta(
                pattern=r"^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$",
                examples=["projects/acme-analytics/locations/europe-west1/keyRings/data/cryptoKeys/benchkeeper"],
            ),
        ]
        | None
    ) = None
    notify: tuple[Email, ...] = ()
    publishers: tuple[
        Annotated[
            str,
            Meta(
                pattern=r"^(user|group|serviceAccount):[^@\s]+@[^@\s]+$",
                examples=["serviceAccount:hr-feed@acme-hr.iam.gserviceaccount.com"],
            ),
        ],
        ...,
    ] = ()
    roster_writers: Annotated[
        tuple[
            Annotated[
                str,
                Meta(
                    pattern=r"^(user|group|serviceAccount):[^@\s]+@[^@\s]+$",
                    examples=["serviceAccount:hr-feed@acme-hr.iam.gserviceaccount.com"],
                ),
            ],
            ...,
        ],
        Meta(
            description="The members who may upload HR's list of employees. They may only create objects below rosters/ in the inbox."
        ),
    ] = ()
    hub_access: Annotated[
        tuple[
            Annotated[
                str,
                Meta(
                    pattern=r"^((user|group):[^@\s]+@[^@\s]+|domain:[^@\s]+\.[^@\s]+)$",
                    examples=["group:data-analysts@example.com"],
                ),
            ],
            ...,
        ],
        Meta(
            description="The members who may open the hub page: group:…, domain:… or user:…. If the list is empty, nobody can open it."
        ),
    ] = ()
    hub_domain: (
        Annotated[
            str,
            Meta(
                pattern=r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}$",
                examples=["notebooks.example.com"],
                description="A domain of yours that leads to the hub page, for example hub.example.com.",
            ),
        ]
        | None
    ) = None


def _no_project_twice(value: tuple[str, ...]) -> tuple[str, ...]:
    twice = sorted({project for project in value if value.count(project) > 1})
    if twice:
        raise ValueError(f"the project '{twice[0]}' is listed twice")
    return value


class IdleFile(Strict, frozen=True, kw_only=True):
    """The sources of evidence of use in addition to the instances themselves; the limits are in the profiles."""

    bigquery_projects: Annotated[
        tuple[Annotated[str, Meta(pattern=_PROJECT, examples=["acme-analytics"])], ...],
        check(
            _no_project_twice,
            description="The projects in which people's BigQuery jobs run: a running job keeps its owner's notebook. Needs "
            "bigquery.jobs.listAll in each of them.",
        ),
    ] = ()


class RosterFile(Strict, frozen=True, kw_only=True):
    """The rosters, which are read each hour, so that a joiner or leaver whose message was lost is still found."""

    groups: Annotated[
        bool,
        Meta(
            description="Read all members of the assigned groups from Cloud Identity, nested groups too. Needs the role Groups Reader."
        ),
    ] = False
    employees: Annotated[
        bool,
        Meta(description="Read the newest file below rosters/ in the inbox bucket: HR's list of all employees."),
    ] = False


class HubFile(Strict, frozen=True, kw_only=True):
    """The settings of the page: the groups with roles, and the contact for users."""

    admin_group: Annotated[
        Email | None,
        Meta(
            description="The Google group of the owners: its direct members see and do everything on the manager's page."
        ),
    ] = None
    operator_group: Annotated[
        Email | None,
        Meta(description="The group of the operators: they may do everything except lift a block."),
    ] = None
    help_desk_group: Annotated[
        Email | None,
        Meta(
            description="The group of the help desk: its members find people, and start, stop and restart their notebooks."
        ),
    ] = None
    auditor_group: Annotated[
        Email | None,
        Meta(description="The group of the auditors: its members see everything and change nothing."),
    ] = None
    contact: Annotated[
        str, Meta(max_length=200, description="The contact that pages and mails name: a name, an address, a chat room.")
    ] = ""
    currency: Annotated[
        str,
        Meta(
            pattern=r"^[A-Z]{3}$",
            examples=["EUR"],
            description="The currency of hourly_cost and of the billing export.",
        ),
    ] = "USD"

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Yield (field, problem) for a group that has two roles: its members would get only the first role."""
        seen: set[str] = set()
        for key in ("admin_group", "operator_group", "help_desk_group", "auditor_group"):
            group = getattr(self, key)
            if group is not None and group in seen:
                yield key, f"'{group}' has another role already; give each role a group of its own"
            seen.add(group or "")

    def roles(self) -> Roles:
        """Return the groups of the roles."""
        return Roles(
            owner=self.admin_group,
            operator=self.operator_group,
            help_desk=self.help_desk_group,
            auditor=self.auditor_group,
        )


class BucketsFile(Strict, frozen=True, kw_only=True):
    """The names of the buckets for requests, dead letters and the audit, None for a name derived from `bucket`.

    The buckets are separate, so that each function gets write access only to the buckets that it needs.
    """

    inbox: (
        Annotated[
            str,
            Meta(
                pattern=_BUCKET,
                examples=["acme-analytics-benchkeeper"],
                description="The bucket for requests from the page. Default: <bucket>-inbox.",
            ),
        ]
        | None
    ) = None
    letters: (
        Annotated[
            str,
            Meta(
                pattern=_BUCKET,
                examples=["acme-analytics-benchkeeper"],
                description="The bucket for dead letters. Default: <bucket>-letters.",
            ),
        ]
        | None
    ) = None
    audit: (
        Annotated[
            str,
            Meta(
                pattern=_BUCKET,
                examples=["acme-analytics-benchkeeper"],
                description="The bucket for the audit. Default: <bucket>-audit.",
            ),
        ]
        | None
    ) = None


def _of_one_region(zones: tuple[str, ...]) -> tuple[str, ...]:
    for zone in zones:
        if not re.match(r"^[a-z]+-[a-z]+\d+-[a-z]$", zone):
            raise ValueError(f"'{zone}' is not a zone; a zone looks like europe-west1-b")
    if len({zone.rpartition("-")[0] for zone in zones}) > 1:
        raise ValueError("all zones must be in one region: disks and subnetworks do not cross regions")
    if len(set(zones)) != len(zones):
        raise ValueError("a zone is listed twice")
    return zones


class SettingsFile(Strict, frozen=True, kw_only=True):
    """The shape of config/settings.<env>.yaml: the place and mode in which Benchkeeper runs."""

    project: Annotated[str, Meta(pattern=_PROJECT, examples=["acme-analytics"])]
    zones: Annotated[tuple[str, ...], check(_of_one_region, min_length=1)]
    bucket: Annotated[str, Meta(pattern=_BUCKET, examples=["acme-analytics-benchkeeper"])]
    buckets: BucketsFile = BucketsFile()
    network: Network = Network()
    topics: TopicsFile = TopicsFile()
    retention: RetentionFile = RetentionFile()
    limits: LimitsFile = LimitsFile()
    people: PeopleFile = PeopleFile()
    deployment: DeploymentFile = DeploymentFile()
    hub: HubFile = HubFile()
    guard: GuardSettings = GuardSettings()
    idle: IdleFile = IdleFile()
    roster: RosterFile = RosterFile()
    messages: MessagesFile | None = None
    api_endpoint: str | None = None

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Yield ("", problem) if a derived bucket name is too long, or if two buckets are the same.

        With one bucket for two purposes, a function would get too many rights.
        """
        named = {"inbox": self.buckets.inbox, "letters": self.buckets.letters, "audit": self.buckets.audit}
        derived = tuple(name or f"{self.bucket}-{purpose}" for purpose, name in named.items())
        too_long = next((name for name in derived if len(name) > _MAX_BUCKET), None)
        if too_long is not None:
            yield "", f"'{too_long}' is too long for a bucket's name; name shorter ones under buckets"
        elif len({self.bucket, *derived}) < 1 + len(derived):
            yield "", "bucket and those under buckets must differ: rights are given by bucket"


def _once(value: tuple[Assignment, ...]) -> tuple[Assignment, ...]:
    groups = [each.group for each in value]
    twice = sorted({group for group in groups if groups.count(group) > 1})
    if twice:
        raise ValueError(f"the group '{twice[0]}' is assigned twice")
    return value


class ProfilesFile(Strict, frozen=True, kw_only=True):
    """The shape of config/profiles.yaml: the offered profiles, and the groups that get them."""

    default: str | None = None
    assignments: Annotated[tuple[Assignment, ...], check(_once)] = ()
    profiles: Annotated[
        Mapping[Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,30}$", examples=["analyst"])], ProfileFile],
        Meta(min_length=1),
    ]
    environments: Annotated[
        Mapping[str, Environment], Meta(description="The texts about each template that people read, by template name.")
    ] = {}
    prices: Annotated[Prices, Meta(description="List prices of storage that is billed while no machine runs.")] = (
        Prices()
    )
