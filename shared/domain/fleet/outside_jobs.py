"""The jobs that run elsewhere for the user of a notebook.

They are BigQuery jobs, jobs of the user's Spark clusters, and serverless sessions.

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
    """A running job. It belongs to a user by one of `addresses` (canonical), by the user key of a label, or by its cluster.

    `name` is for people. `created_at` is when the job was submitted and `running_since` when it began to run; None if
    unknown.
    """

    name: str
    created_at: datetime | None
    running_since: datetime | None
    addresses: frozenset[str] = frozenset()
    user_key: str = ""
    cluster: str = ""


class JobOwner(Struct, frozen=True, kw_only=True):
    """The names by which one user's jobs are recognised.

    They are all present and former addresses of the user and of the user's service account, and the names of the
    clusters.
    """

    user_key: UserKey
    addresses: frozenset[str]
    clusters: frozenset[str]


def job_owner(record: UserRecord, project: str) -> JobOwner:
    """Return the marks by which the record's user is known to BigQuery and Dataproc."""
    clusters = frozenset(each.name for each in record.status.clusters if each.is_there)
    return JobOwner(user_key=record.user_key, addresses=session_owner(record, project).addresses, clusters=clusters)


def jobs_of(
    owner: JobOwner, jobs: Iterable[OutsideJob], *, started_at: datetime | None, max_busy: timedelta, now: datetime
) -> tuple[str, ...]:
    """Return the names of the jobs that keep the owner's instance running, which was started at `started_at`.

    A job that was submitted before that start does not need the instance. A job that has run for `max_busy` does not
    count, because it may hang.
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
