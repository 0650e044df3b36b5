"""Two sources of evidence for an idle sweep in addition to Cloud Monitoring: running jobs elsewhere, and the reports of VMs about themselves.

Each list of running jobs is read once a sweep, and only if it may concern a machine that would otherwise be warned about or
stopped. If a list cannot be read, the jobs of all users whom it may concern are unknown; jobs in the other lists count.

Only VMs of profiles with a reporter have reports. Compute Engine lists no guest attributes, so each report is one call.
Reports of instances that would be warned about or stopped are always read. Of the other reports, as many are read as the
quota allows, those that have been unread longest first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from shared.domain.fleet.fleet import Notes
from shared.domain.fleet.idle import AFTER_WARNING, Activity, IdlePolicy, IdleVerdict, Keep, judge_idle, last_sign
from shared.domain.fleet.outside_jobs import JobOwner, OutsideJob, job_owner, jobs_of
from shared.domain.fleet.report import Report, Reported, counts_until, remembered
from shared.domain.things.errors import BenchkeeperError
from shared.domain.things.identity import UserKey
from shared.domain.things.notebook import InstanceRef
from shared.engine.ports.deps import Deps


class Elsewhere(Struct, frozen=True):
    """The names of the jobs elsewhere that keep one machine running. None means unknown, because the lists in `unread` could not be read."""

    jobs: tuple[str, ...] | None
    unread: tuple[str, ...] = ()


class Asked(Struct, frozen=True, kw_only=True):
    """A machine whose jobs elsewhere are searched for. `has_sessions` is True if its profile offers serverless sessions."""

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
                    "Jobs outside the notebook could not be listed",
                    listing=name,
                    reason=error.reason.value,
                    detail=error.detail,
                )
                self._read[name] = None
                self.unread[name] = f"{name}: {error.reason.value}"
        return self._read[name]


def look_elsewhere(asked: Sequence[Asked], deps: Deps, now: datetime) -> Mapping[UserKey, Elsewhere]:
    """Return the jobs elsewhere of each user.

    This costs one read of each user's record, one listing for each BigQuery project, and one each of cluster jobs and
    sessions if needed.
    """
    lists = _Lists(deps)
    owners = deps.workers.run([partial(_owner, each.user_key, deps) for each in asked])
    return {each.user_key: _elsewhere(each, owner, lists, deps, now) for each, owner in zip(asked, owners, strict=True)}


def with_jobs(activity: Activity, there: Elsewhere, last_used: datetime | None, begin: datetime) -> Activity:
    """Return the evidence with the jobs elsewhere.

    Jobs leave no time stamp when they end, so `last_used` from earlier sweeps is the time at which a job was last
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


_AT_ONCE = 600  # reads of a sweep beside those that decide; Compute's quota is some 1,500 a minute


class Reporting(Protocol):
    """A running instance whose VM may report."""

    @property
    def user_key(self) -> UserKey:
        """The key of the machine's owner."""

    @property
    def ref(self) -> InstanceRef:
        """The zone and id of the instance."""

    @property
    def profile(self) -> str:
        """The name of the owner's profile."""

    @property
    def ready_since(self) -> datetime | None:
        """The time since which the instance is ready; None if the instance is not ready."""


class Reports:
    """A reader of the machines' own reports for one sweep, with what earlier sweeps remembered of reports. `unread` counts failed reads by reason."""

    def __init__(self, notes: Notes, policies: Mapping[str, IdlePolicy], deps: Deps, now: datetime) -> None:
        self._deps, self._now, self._policies, self._notes = deps, now, policies, notes
        profiles = deps.policy.catalog.profiles
        self._profiles = frozenset(name for name in policies if profiles[name].reporter)
        self._held: dict[UserKey, Reported] = dict(notes.reports)
        self._read: set[UserKey] = set()
        self._failed: set[UserKey] = set()
        self.unread: Counter[str] = Counter()

    def has(self, machine: Reporting) -> bool:
        """Return True if the machine's profile has a reporter."""
        return machine.profile in self._profiles

    def failed(self, machine: Reporting) -> bool:
        """Return True if the report could not be read, so that its content is unknown."""
        return machine.user_key in self._failed

    def read(self, machines: Iterable[Reporting]) -> None:
        """Read the reports of these machines, each once per sweep."""
        wanted = [m for m in machines if self.has(m) and m.user_key not in self._read]
        self._read |= {machine.user_key for machine in wanted}
        found = self._deps.workers.run([partial(_read, machine.ref, self._deps) for machine in wanted])
        for machine, report in zip(wanted, found, strict=True):
            if isinstance(report, BenchkeeperError):
                self.unread[report.reason.value] += 1
                self._failed.add(machine.user_key)
            self._take(machine, None if isinstance(report, BenchkeeperError) else report)

    def top_up(self, running: Iterable[Reporting]) -> None:
        """Read the reports of more machines, as many as the quota allows.

        Forget the reports of all machines that are not running.
        """
        mine = [machine for machine in running if self.has(machine)]
        keys = {machine.user_key for machine in mine}
        self._held = {key: held for key, held in self._held.items() if key in keys}
        rest = [machine for machine in mine if machine.user_key not in self._read]
        rest.sort(key=lambda m: held.at.timestamp() if (held := self._held.get(m.user_key)) is not None else 0.0)
        self.read(rest[:_AT_ONCE])
        if self.unread:
            self._deps.log.warning("Reports of machines could not be read", reasons=dict(self.unread))

    def kernels(self, user_key: UserKey) -> int | None:
        """Return the number of the machine's kernels by a report of this sweep; None if unknown."""
        held = self._held.get(user_key)
        return held.kernels if held is not None and held.at == self._now else None

    def kept(self) -> Mapping[UserKey, Reported]:
        """Return the memory of reports to store."""
        return self._held

    def last_outside(self, machine: Reporting) -> datetime | None:
        """Return the last sign of use that earlier sweeps saw, apart from reports; None if they saw none."""
        held = self._held.get(machine.user_key)
        if held is not None and held.outside_at is not None:
            return held.outside_at
        return self._notes.last_used.get(machine.user_key)

    def judge(
        self, machine: Reporting, activity: Activity, policy: IdlePolicy, begin: datetime, now: datetime
    ) -> tuple[Activity, IdleVerdict]:
        """Return the evidence completed by the reports, and the verdict on it.

        A report can only keep an instance running, for at most `max_busy`.

        A machine whose report could not be read is blind at least since `begin`.
        """
        if self.failed(machine):
            activity = replace(activity, report_unread=True, blind_since=activity.blind_since or begin)
        outside = judge_idle(activity, policy, now)
        held = self._held.get(machine.user_key)
        if held is None:
            return activity, outside
        seen = [last_sign(activity, policy, now)[0], self.last_outside(machine)]
        held = replace(held, outside_at=max((at for at in seen if at is not None), default=None), keeps=False)
        until = counts_until(held, policy.max_busy)
        verdict = outside
        if until is not None and now < until - policy.warn_idle and held.worked_at is not None:
            activity = replace(activity, reported_at=held.worked_at)
            verdict = judge_idle(activity, policy, now)
            held = replace(held, keeps=_keeps(verdict) and not _keeps(outside))
        self._held[machine.user_key] = held
        return activity, verdict

    def _take(self, machine: Reporting, report: Report | None) -> None:
        policy = self._policies[machine.profile]
        found = remembered(
            self._held.get(machine.user_key),
            report,
            started_at=machine.ready_since,
            cores_busy_at=policy.cores_busy_at,
            gpu_busy_at=policy.gpu_busy_at,
            now=self._now,
        )
        if found is None:
            self._held.pop(machine.user_key, None)
        else:
            self._held[machine.user_key] = found


def _keeps(verdict: IdleVerdict) -> bool:
    return isinstance(verdict, Keep) and verdict.reason not in AFTER_WARNING


def _read(ref: InstanceRef, deps: Deps) -> Report | BenchkeeperError | None:
    try:
        return deps.reports.of(ref)
    except BenchkeeperError as error:
        return error
