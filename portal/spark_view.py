"""The Spark part of a user's page: an environment for each template of the profile."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct

from portal.notebook_view import FAST_S, SLOW_S
from shared.cloud.dataproc.template_size import ClusterSize
from shared.domain.record.record import UserRecord
from shared.domain.things.catalog import Catalog, ClusterIdentity, Environment, Profile
from shared.domain.things.clusters import ClusterState, ClusterStatus, ClusterWish
from shared.engine.views.person import url_of

_LATE = timedelta(minutes=15)  # after this time the page polls a start less often


class SparkPhase(StrEnum):
    """The state of a template's cluster, as the user sees it."""

    OFF = "off"
    STARTING = "starting"
    RUNNING = "running"
    DELETING = "deleting"
    STUCK = "stuck"


WORDS = {
    SparkPhase.OFF: "Not running",
    SparkPhase.STARTING: "Starting",
    SparkPhase.RUNNING: "Running",
    SparkPhase.DELETING: "Deleting",
    SparkPhase.STUCK: "Delayed",
}


class SparkView(Struct, frozen=True, kw_only=True):
    """The view of a template. `diagnosis` is the reason for the end of the last cluster.

    `unused_for` is the time without a job after which a running cluster is deleted. `ends_at` is the time at which the
    cluster is deleted in any case. Both are None if the template does not state them, or if no cluster runs. If `offered`
    is False, the profile no longer offers the template, and its cluster can only be deleted. `size_text` and `price_class`
    are "" if the template does not state them.
    """

    template: str
    title: str
    description: str
    size_text: str
    price_class: str
    hourly_cost: float | None
    phase: SparkPhase
    word: str
    why: str
    since: datetime | None
    unused_for: timedelta | None
    ends_at: datetime | None
    open_url: str
    cluster_name: str
    diagnosis: str
    offered: bool
    can_start: bool
    can_delete: bool
    poll_s: int | None
    personal_auth: bool


def spark_views(
    record: UserRecord, profile: Profile, catalog: Catalog, sizes: Mapping[str, ClusterSize], now: datetime
) -> tuple[SparkView, ...]:
    """Return the templates of the profile in its order, then templates of an earlier profile that still have a cluster."""
    left = [c.template for c in record.status.clusters if c.template not in profile.templates and c.is_there]
    return tuple(
        _view(
            record,
            template,
            profile,
            (catalog.environment(template), sizes.get(template)),
            now,
        )
        for template in (*profile.templates, *left)
    )


def _view(
    record: UserRecord,
    template: str,
    profile: Profile,
    described: tuple[Environment, ClusterSize | None],
    now: datetime,
) -> SparkView:
    environment, size = described
    known, wish = record.status.cluster(template), record.spec.wish(template)
    phase = _phase(known, wish)
    offered = template in profile.templates
    price = size.price_class if size is not None else None
    since, runs = _since(known, wish, phase), phase is SparkPhase.RUNNING and size is not None
    return SparkView(
        template=template,
        title=environment.title,
        description=environment.description,
        size_text=size_text(size),
        price_class=price.value if price is not None else "",
        hourly_cost=environment.hourly_cost,
        phase=phase,
        word=WORDS[phase],
        why=_why(known, phase),
        since=since,
        unused_for=size.unused_for if size is not None and runs else None,
        ends_at=since + size.longest if size is not None and runs and since is not None and size.longest else None,
        open_url=url_of(known.jupyter_url) if known is not None and phase is SparkPhase.RUNNING else "",
        cluster_name=known.name if known is not None else "",
        diagnosis=known.diagnosis if known is not None and phase is SparkPhase.OFF else "",
        offered=offered,
        can_start=offered and phase in {SparkPhase.OFF, SparkPhase.DELETING},
        can_delete=wish is not None,
        poll_s=_poll_s(phase, wish, now),
        personal_auth=profile.spark.identity is ClusterIdentity.PERSONAL_AUTH,
    )


def size_text(size: ClusterSize | None) -> str:
    """Return the size as `3 machines, 12 vCPUs, 48 GB of memory`, without the figures that are unknown.

    GPUs follow if there are any. For a cluster that can grow, the text begins with `at least`. The result is "" if the size is None.
    """
    if size is None:
        return ""
    parts = [f"{size.machines} machine{'s' if size.machines != 1 else ''}"]
    if size.vcpus is not None:
        parts.append(f"{size.vcpus} vCPUs")
    if size.memory_gb is not None:
        parts.append(f"{size.memory_gb:,.4g} GB of memory")
    if size.gpus:
        parts.append(f"{size.gpus} GPU{'s' if size.gpus != 1 else ''}")
    return ("at least " if size.grows else "") + ", ".join(parts)


def _phase(known: ClusterStatus | None, wish: ClusterWish | None) -> SparkPhase:
    if wish is None:
        return SparkPhase.DELETING if known is not None and known.is_there else SparkPhase.OFF
    if known is None:
        return SparkPhase.STARTING
    if known.deleting or known.state is ClusterState.DELETING:
        return SparkPhase.STARTING  # the old cluster is deleted first, then the new cluster is created
    if known.state is ClusterState.RUNNING:
        return SparkPhase.RUNNING
    return (
        SparkPhase.STUCK if known.not_before is not None or known.state is ClusterState.STOPPED else SparkPhase.STARTING
    )


def _why(known: ClusterStatus | None, phase: SparkPhase) -> str:
    if phase in {SparkPhase.OFF, SparkPhase.RUNNING}:
        return ""
    if phase is SparkPhase.DELETING:
        return "Deleting. Files in Cloud Storage stay."
    return (known.message if known is not None else "") or "Starting. The first steps begin within a minute."


def _since(known: ClusterStatus | None, wish: ClusterWish | None, phase: SparkPhase) -> datetime | None:
    if phase is SparkPhase.RUNNING and known is not None:
        return known.seen_running_at
    return wish.since if wish is not None and phase in {SparkPhase.STARTING, SparkPhase.STUCK} else None


def _poll_s(phase: SparkPhase, wish: ClusterWish | None, now: datetime) -> int | None:
    if phase in {SparkPhase.OFF, SparkPhase.RUNNING}:
        return None
    is_late = wish is not None and now - wish.since > _LATE
    return SLOW_S if is_late or phase is SparkPhase.STUCK else FAST_S
