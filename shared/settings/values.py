"""The type `Settings`, the error for an unusable configuration, the kinds of values, and the base class of all file shapes.

A shape is a `msgspec.Struct` that refuses unknown keys. `shared.settings.file` reads files into shapes. A field may have these keys
in `Meta(extra=...)`: `read` is a function from the file's value to the field's value, and `check` a function from the field's
value to the stored value. Both functions raise `ValueError` or `BenchkeeperError`. `one_of` lists the valid values, and
`words` maps texts to values. A shape may have `contradictions()`, which yields (field, problem); `REFUSED`, which maps refused
keys to a reason; and `prepared`, which changes the file's mapping before it is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from msgspec import Meta, Struct, field

from shared.domain.intent.roles import Roles
from shared.domain.people.domains import People
from shared.domain.people.sources import DIRECTORY, HR, OPERATOR, SHIPPED, WAKE, Source
from shared.domain.plan.guard_settings import GuardSettings
from shared.domain.plan.plan import Policy
from shared.domain.things.catalog import Catalog
from shared.domain.things.late import late
from shared.domain.things.notebook import Network
from shared.faults import ConfigFault

COST_DATASET, COST_VIEW = "benchkeeper", "cost_by_user"


class ConfigError(Exception):
    """The error of a configuration that cannot be used. `faults` has all faults of its files."""

    def __init__(self, faults: list[ConfigFault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = faults


class Security(StrEnum):
    """The security of the connection to the mail server."""

    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"  # on this machine only


class MailSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of messages to users. `host` is "" without a mail server. `secret` and `chat_secret` are names of secrets, or ""."""

    sender: str
    host: str
    port: int
    security: Security
    user: str
    secret: str
    chat_secret: str
    about_leavers: tuple[str, ...]
    language: str
    page: str


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The administrator's settings. `api_endpoint` is set for the embedded cloud only.

    `sources` are by name. Until `move_logs_until`, log entries on the topic of a source that may not send them are moved to
    the directory's topic; a deployment sets this time when it redirects the log sink of an older installation.
    `iap_audience` is the audience that the signed header of a page or a request must have; the deployment sets it.
    `named_inbox`, `named_letters` and `named_audit` are the buckets named in the files, None for derived names.
    `deployed_at` and `deployed_by` are the time and the account of the deployment of these files, if known. Running jobs in
    `bigquery_projects` keep a notebook running. `roster_groups` and `roster_employees` are True if that roster is read each
    hour. `messages` is None if users get no messages.
    """

    env: str
    config_dir: Path
    project: str
    zones: tuple[str, ...]
    bucket: str
    topic_tick: str
    topic_dead_letter: str
    network: Network
    retention: timedelta
    snapshot_retention: timedelta
    api_endpoint: str | None
    max_message_bytes: int
    catalog: Catalog
    roles: Roles = field(default_factory=Roles)
    contact: str = ""
    currency: str = "USD"
    billing_export: str | None = None
    iap_audience: str = ""
    personal_data: timedelta = timedelta(days=365)
    sources: Mapping[str, Source] = field(default_factory=lambda: SHIPPED)
    people: People = field(default_factory=People)
    move_logs_until: datetime | None = None
    named_inbox: str | None = None
    named_letters: str | None = None
    named_audit: str | None = None
    guard: GuardSettings = field(default_factory=GuardSettings)
    deployed_at: datetime | None = None
    deployed_by: str = ""
    bigquery_projects: tuple[str, ...] = ()
    roster_groups: bool = False
    roster_employees: bool = False
    topic_notifications: str = "workbench-notifications"
    messages: MailSettings | None = None

    @property
    def inbox_bucket(self) -> str:
        """Return the name of the bucket into which the page writes requests."""
        return self.named_inbox or f"{self.bucket}-inbox"

    @property
    def letters_bucket(self) -> str:
        """Return the name of the bucket of dead letters. Dead letters of earlier versions are in the bucket of records."""
        return self.named_letters or f"{self.bucket}-letters"

    @property
    def audit_bucket(self) -> str:
        """Return the name of the bucket of audit entries and manifests. Its objects are never changed."""
        return self.named_audit or f"{self.bucket}-audit"

    @property
    def all_buckets(self) -> tuple[str, str, str, str]:
        """Return the names of all buckets of an installation, the bucket of records first."""
        return (self.bucket, self.inbox_bucket, self.letters_bucket, self.audit_bucket)

    @property
    def topic_lifecycle(self) -> str:
        """Return the id of the topic for messages of HR."""
        return self.sources[HR].topic

    @property
    def topic_directory(self) -> str:
        """Return the id of the topic for entries of the organization's logs."""
        return self.sources[DIRECTORY].topic

    @property
    def topic_operator(self) -> str:
        """Return the id of the topic for messages that an operator publishes."""
        return self.sources[OPERATOR].topic

    @property
    def topic_wake(self) -> str:
        """Return the id of the topic for wakes, which state no facts."""
        return self.sources[WAKE].topic

    def policy(self) -> Policy:
        """Return the part of the settings that planning needs, with waiting cuts switched on."""
        return Policy(
            catalog=self.catalog,
            zones=self.zones,
            network=self.network,
            retention=self.retention,
            snapshot_retention=self.snapshot_retention,
            personal_data=self.personal_data,
            project=self.project,
            template_context=f"{self.project}|{self.bucket}|{self.network.subnet}",
            people=self.people,
            sources=self.sources,
            guard=self.guard,
            cuts_wait=True,
            tells=self.messages is not None,
        )

    @property
    def cost_view(self) -> str | None:
        """Return the name of the view of costs by user, which a deployment creates; None without a billing export."""
        return None if self.billing_export is None else f"{self.project}.{COST_DATASET}.{COST_VIEW}"

    @property
    def region(self) -> str:
        """Return the region of the preferred zone."""
        return self.zones[0].rpartition("-")[0]


_DURATION = late(lambda: re.compile(r"^(\d+)\s*([smhd])$"))
_LONGEST = timedelta(days=3650)  # durations are added to dates, which overflow above it
_UNIT = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
DURATION_SCHEMA = {"type": "string", "pattern": r"^\d+\s*[smhd]$"}


class Strict(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base class of the parts of a file, in which an unknown key is a fault."""


def check(function: Callable[[Any], Any], **more: Any) -> Meta:
    """Return the metadata of a field whose value is checked by a function. `more` is passed to `msgspec.Meta`."""
    return Meta(extra={"check": function}, **more)


def one_of(*values: object) -> Meta:
    """Return the metadata of a field with these valid values; a fault lists them in this order."""
    return Meta(extra={"one_of": values}, extra_json_schema={"enum": list(values)})


def read_duration(raw: Any) -> timedelta:
    """Return the duration of a text such as `30d`. Raise `ValueError` for any other text, and for more than 3650 days."""
    match = _DURATION.match(str(raw))
    if match is None:
        raise ValueError(f"'{raw}' is not a duration; write a number and a unit: 90s, 30m, 3h or 30d")
    try:
        duration = timedelta(**{_UNIT[match[2]]: int(match[1])})
    except OverflowError:
        duration = timedelta.max
    if duration > _LONGEST:
        raise ValueError(f"'{raw}' is too long; at most {_LONGEST.days}d")
    return duration
