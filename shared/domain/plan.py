"""The plan: what one pass does for one person, and why. Types only; `shared.domain.planner` makes it, `engine` carries it out."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.domain.catalog import Catalog
from shared.domain.errors import BenchkeeperError
from shared.domain.notebook import (
    Absent,
    InstanceRef,
    Network,
    NotebookSight,
    NotebookSpec,
    NotLooked,
    Unreadable,
)
from shared.domain.record import OperationRef, UserRecord, Verb

_REQUESTS = uuid.UUID("6f0b6f6e-6b1c-5a0e-9f57-2a1d8c3f7e10")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the administrator decided, as far as planning needs it. Times are durations.

    `zones` in order of preference. `template_context` changes whenever a rendered template would, beyond its master.
    """

    catalog: Catalog
    zones: tuple[str, ...]
    network: Network
    retention: timedelta
    template_context: str = ""
    poll: timedelta = timedelta(seconds=60)
    stuck_after: timedelta = timedelta(minutes=45)
    confirm_absence_after: timedelta = timedelta(minutes=10)
    capacity_retry: timedelta = timedelta(minutes=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationSeen:
    """An operation as it was read: `error` is set when it is done and failed, already classified."""

    ref: OperationRef
    done: bool
    error: BenchkeeperError | None = None


OperationSight = OperationSeen | Absent | Unreadable | NotLooked


@dataclass(frozen=True, slots=True)
class TemplatesSeen:
    """The user's template objects: name -> the digest they were written with ("" when they carry none)."""

    digests: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Everything that one pass looked at."""

    notebook: NotebookSight
    operation: OperationSight
    templates: TemplatesSeen | Unreadable


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateInstance:
    """Ask for a new instance in a zone."""

    spec: NotebookSpec
    zone: str
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StartInstance:
    """Start a stopped instance."""

    ref: InstanceRef


@dataclass(frozen=True, slots=True, kw_only=True)
class StopInstance:
    """Stop a running instance."""

    ref: InstanceRef


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteInstance:
    """Delete an instance and its disks."""

    ref: InstanceRef
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateInstance:
    """Patch labels, metadata (empty text removes a key) and, when stopped, the machine type."""

    ref: InstanceRef
    labels: Mapping[str, str]
    metadata: Mapping[str, str]
    machine_type: str | None
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PutTemplate:
    """Render a master for this user and write the object."""

    template: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveTemplate:
    """Remove one of the user's template objects."""

    template: str


NotebookAction = CreateInstance | StartInstance | StopInstance | DeleteInstance | UpdateInstance
TemplateAction = PutTemplate | RemoveTemplate
Action = NotebookAction | TemplateAction


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do now (`actions`, in order), why (`because`), and the record as it is once they have been started.

    `requeue_at` is when to look again, None when nothing is pending.
    """

    record: UserRecord
    actions: tuple[Action, ...]
    because: tuple[str, ...]
    requeue_at: datetime | None


def request_id(record: UserRecord, verb: Verb) -> str:
    """A UUID that is the same for the same try: asking twice after a crash is asking once."""
    return str(uuid.uuid5(_REQUESTS, f"{record.user_key}:{record.status.tries}:{verb.value}:{record.status.zone}"))
