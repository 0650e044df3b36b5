"""The jobs that run elsewhere for the user of a notebook: in BigQuery, on the user's Spark clusters, and in serverless sessions.

Pure. The idle sweep lists the running jobs of all users, and `jobs_of` selects those that keep one user's instance
running.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from msgspec import Struct

from shared.domain.spark.leaver import session_owner
from shared.domain.things.identity import UserKey

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.domain.record.record import UserRecord


class OutsideJob(Struct, frozen=True, kw_only=True):
    """A running job. Its owner is found by one of `addresses` (canonical), by `user_key` (from a label), or by `cluster`.

    `name` is for display. `created_at` is the time at which the job was submitted, and `running_since` the time at which the
    job began to run; each is None if unknown.
    """

    name: str
    created_at: datetime | None
    running_since: datetime | None
    addresses: frozenset[str] = frozenset()
    user_key: str = ""
    cluster: str = ""


class JobOwner(Struct, frozen=True, kw_only=True):
    """The values that identify one user's jobs.

    `addresses` are the present and former addresses of the user, and the address of the user's service account. `clusters`
    are the names of the user's clusters.
    """

    user_key: UserKey
    addresses: frozenset[str]
    clusters: frozenset[str]


def job_owner(record: UserRecord, project: str) -> JobOwner:
    """Return the values that identify the jobs of the record's user in BigQuery and Dataproc."""
    clusters = frozenset(each.name for each in record.status.clusters if each.is_there)
    return JobOwner(user_key=record.user_key, addresses=session_owner(record, project).addresses, clusters=clusters)


def jobs_of(
    owner: JobOwner, jobs: Iterable[OutsideJob], *, started_at: datetime | None, max_busy: timedelta, now: datetime
) -> tuple[str, ...]:
    """Return the names of the jobs that keep the owner's instance running, sorted.

    A job that was submitted before the start of the instance (`started_at`) does not need the instance. A job that began
    `max_busy` ago or earlier does not count, because the job may hang; a job without any known time counts.
    """

    def counts(job: OutsideJob) -> bool:
        is_older = started_at is not None and job.created_at is not None and job.created_at < started_at
        since = job.running_since or job.created_at
        return not is_older and (since is None or now - since < max_busy)

    return tuple(sorted(job.name for job in jobs if _is_of(job, owner) and counts(job)))


def _is_of(job: OutsideJob, owner: JobOwner) -> bool:
    return (
        not job.addresses.isdisjoint(owner.addresses) or job.user_key == owner.user_key or job.cluster in owner.clusters
    )
