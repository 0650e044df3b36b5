"""The search of an idle sweep for jobs elsewhere, for the machines that would otherwise be warned about or stopped.

Each list of running jobs is read once a sweep, and only if it may concern one of these machines. If a list cannot be
read, the jobs of all users whom it may concern are unknown; jobs in the other lists still count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from shared.domain.fleet.idle import Activity
from shared.domain.fleet.outside_jobs import JobOwner, OutsideJob, job_owner, jobs_of
from shared.domain.things.errors import BenchkeeperError
from shared.domain.things.identity import UserKey
from shared.engine.ports.deps import Deps


class Elsewhere(Struct, frozen=True):
    """The jobs elsewhere that keep one machine, by name; None: unknown, because the lists in `unread` could not be read."""

    jobs: tuple[str, ...] | None
    unread: tuple[str, ...] = ()


class Asked(Struct, frozen=True, kw_only=True):
    """A machine whose jobs elsewhere are searched for. `has_sessions`: its profile offers serverless sessions."""

    user_key: UserKey
    started_at: datetime | None
    max_busy: timedelta
    has_sessions: bool


class _Lists:
    """The lists of running jobs, each read at most once; `unread` has those that could not be read, with the reason."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._read: dict[str, tuple[OutsideJob, ...] | None] = {}
        self.unread: dict[str, str] = {}

    def of(self, name: str, read: Callable[[], tuple[OutsideJob, ...]]) -> tuple[OutsideJob, ...] | None:
        if name not in self._read:
            try:
                self._read[name] = read()
            except BenchkeeperError as error:
                self._deps.log.warning(
                    "Jobs elsewhere could not be listed", listing=name, reason=error.reason.value, detail=error.detail
                )
                self._read[name] = None
                self.unread[name] = f"{name}: {error.reason.value}"
        return self._read[name]


def look_elsewhere(asked: Sequence[Asked], deps: Deps, now: datetime) -> Mapping[UserKey, Elsewhere]:
    """Return the jobs elsewhere of each user.

    This costs one listing for each BigQuery project, and one each of cluster jobs and sessions if needed.
    """
    lists = _Lists(deps)
    owners = deps.workers.run([partial(_owner, each.user_key, deps) for each in asked])
    return {each.user_key: _elsewhere(each, owner, lists, deps, now) for each, owner in zip(asked, owners, strict=True)}


def with_jobs(activity: Activity, there: Elsewhere, last_used: datetime | None, begin: datetime) -> Activity:
    """Return the evidence with the jobs elsewhere.

    They leave no time stamp when they end, so `last_used` from earlier sweeps is the time at which the last of them was
    seen. An instance whose jobs are unknown is blind at least since `begin`.
    """
    since = activity.blind_since if there.jobs is not None else activity.blind_since or begin
    return replace(activity, outside_jobs=there.jobs, jobs_seen_at=last_used, blind_since=since)


def _owner(user_key: UserKey, deps: Deps) -> JobOwner | BenchkeeperError | None:
    """Return the marks of the user's jobs; None without a record; the error if the record cannot be read."""
    try:
        stored = deps.records.load(user_key)
    except BenchkeeperError as error:
        return error
    return None if stored is None else job_owner(stored.record, deps.policy.project)


def _elsewhere(
    asked: Asked, owner: JobOwner | BenchkeeperError | None, lists: _Lists, deps: Deps, now: datetime
) -> Elsewhere:
    if owner is None:
        return Elsewhere(())
    if isinstance(owner, BenchkeeperError):
        return Elsewhere(None, (f"the record: {owner.reason.value}",))
    source = deps.outside_jobs
    reads: dict[str, Callable[[], tuple[OutsideJob, ...]]] = {
        f"BigQuery jobs of {project}": partial(source.queries, project) for project in source.projects
    }
    if owner.clusters:
        reads["Spark jobs"] = source.cluster_jobs
    if asked.has_sessions:
        reads["Spark sessions"] = source.sessions
    found: set[str] = set()
    unread = []
    for name, read in reads.items():
        jobs = lists.of(name, read)
        if jobs is None:
            unread.append(lists.unread[name])
        else:
            found.update(jobs_of(owner, jobs, started_at=asked.started_at, max_busy=asked.max_busy, now=now))
    return Elsewhere(tuple(sorted(found)) if found or not unread else None, tuple(unread))
