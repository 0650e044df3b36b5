"""The reports that VMs write about themselves, as read and remembered by an idle sweep.

Only VMs of profiles with a reporter have any.

Compute Engine lists no guest attributes, so each report is one call. Reports of instances that would be warned about or
stopped are always read. Of the others, as many are read as the quota allows, the longest unread first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Protocol

from msgspec.structs import replace

from shared.domain.fleet.fleet import Notes
from shared.domain.fleet.idle import Activity, IdlePolicy, IdleVerdict, Keep, Reason, judge_idle, last_sign
from shared.domain.fleet.report import Report, Reported, counts_until, remembered
from shared.domain.things.errors import BenchkeeperError
from shared.domain.things.identity import UserKey
from shared.domain.things.notebook import InstanceRef
from shared.engine.ports.deps import Deps

_AT_ONCE = 600  # reads of a sweep beside those that decide; Compute's quota is some 1,500 a minute


class Reporting(Protocol):
    """A running instance whose VM may report."""

    @property
    def user_key(self) -> UserKey:
        """The owner."""

    @property
    def ref(self) -> InstanceRef:
        """The instance."""

    @property
    def profile(self) -> str:
        """The name of the owner's profile."""

    @property
    def ready_since(self) -> datetime | None:
        """The time since which the instance is ready; None if the instance is not ready."""


class Reports:
    """The reports of one sweep, with what earlier sweeps remembered. `unread` counts the reads that failed, by reason."""

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
        """Return True if the report could not be read: its content is then unknown."""
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

        Reports can only keep an instance running, for `max_busy`.

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
    return isinstance(verdict, Keep) and verdict.reason is not Reason.WARNED


def _read(ref: InstanceRef, deps: Deps) -> Report | BenchkeeperError | None:
    try:
        return deps.reports.of(ref)
    except BenchkeeperError as error:
        return error
