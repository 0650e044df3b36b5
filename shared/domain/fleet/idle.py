"""The idle rule: observed activity decides if a running instance is kept, its user is warned, or the instance is stopped.

Pure. The sweep gathers an `Activity` from all available sources and calls `judge_idle`. The rule stops an instance for
idleness only on fresh, successful evidence; an unknown value (None) never counts as zero. Each clause is justified by traces
that were recorded on a real server and on which other idle rules fail (docs/traps.md).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Iterable

WARN_IDLE = timedelta(minutes=30)  # before every stop for idleness its user is warned

_BOOTS = timedelta(minutes=5)  # after a start, for what the machine does by itself


class Reason(StrEnum):
    """The reason for a verdict. The list is closed, for conditions and metrics."""

    STARTED_RECENTLY = "StartedRecently"
    KERNEL_BUSY = "KernelBusy"
    KERNEL_ACTIVITY = "KernelActivity"
    TERMINAL_ACTIVITY = "TerminalActivity"
    SERVER_ACTIVITY = "ServerActivity"
    PROXIED_REQUESTS = "ProxiedRequests"
    CPU_BUSY = "CpuBusy"
    TRANSFER = "Transfer"
    GPU_BUSY = "GpuBusy"
    OUTSIDE_JOB = "OutsideJob"
    REPORTED = "Reported"
    NO_FRESH_EVIDENCE = "NoFreshEvidence"
    WARNED = "Warned"  # that nobody uses it
    WARNED_BLIND = "WarnedBlind"  # that its use is not known
    ASKED_FOR = "AskedFor"
    IDLE = "Idle"
    MAX_BLIND = "MaxBlind"


AFTER_WARNING = frozenset({Reason.WARNED, Reason.WARNED_BLIND})  # kept only for the time that a warning gives
UNSEEN = frozenset({Reason.NO_FRESH_EVIDENCE, Reason.WARNED_BLIND})  # kept because evidence is missing


class KernelState(StrEnum):
    """The states of a kernel: Jupyter's `execution_state`.

    `starting` is the normal state of a kernel without any connection yet; it is not a sign of work.
    """

    IDLE = "idle"
    BUSY = "busy"
    STARTING = "starting"
    RESTARTING = "restarting"
    DEAD = "dead"
    UNKNOWN = "unknown"


# An unknown state is not idle: the kernel may work, within the same bound as `busy`.
_MAY_WORK = frozenset({KernelState.BUSY, KernelState.UNKNOWN})


class Silence(StrEnum):
    """The meaning of a proxy counter without data points.

    The counter writes no zeros: it has one series for each response code that was seen.

    The values name the missing evidence in words; with `MEANS_NONE`, nothing is missing.
    """

    MEANS_NONE = ""
    NEVER_SEEN = "requests (the proxy's counter was not seen in this project for a week)"
    AGENT_SILENT = "requests (the proxy's agent does not report that it works)"


class Kernel(Struct, frozen=True):
    """A kernel. Output and the start and end of a cell update `last_activity`; a silent cell does not update it meanwhile."""

    state: KernelState
    last_activity: datetime | None = None
    connections: int | None = None


class Terminal(Struct, frozen=True):
    """A terminal. Output updates only its `last_activity`, even if no browser tab shows the terminal."""

    last_activity: datetime | None = None


class Sample(Struct, frozen=True):
    """A measured value: a rate at `at`, or a count for the time up to `at`.

    Rates are CPU cores in use, bytes per second, or the used fraction of a GPU (0 to 1).
    """

    at: datetime
    value: float


class Activity(Struct, frozen=True):
    """The known activity of one running instance. None means unknown. Samples are oldest first and cover the whole machine.

    `observed_at` is the time of the last successful read of `kernels`, `terminals`, `sessions` and `server_last_activity`.
    `blind_since` is the time since which a source that a stop needs (kernels, or the metric that replaces them) has been
    refused or silent. If it is None, the rule uses the latest of `started_at`, `observed_at` and the newest samples of
    `cpu`, `requests` and `gpu`. `cpu` is the use of the whole machine in cores, because JupyterLab's child processes do not
    include a process started with `nohup`. `transfers` are bytes per second over the network or to the disk; empty if a stop
    does not need them. `gpu` is empty for a machine without a GPU. `requests` has no samples for times without requests;
    `silence` says if a missing sample means no requests. `outside_jobs` are the names of running jobs elsewhere (Spark,
    BigQuery) that need this server. `jobs_seen_at` is the time at which an earlier sweep saw such a job. `reported_at` is
    the time of the last work in the VM's own reports, as far as these count (`shared.domain.fleet.report`). `report_unread`
    is True if the report could not be read now. `connections` and `sessions` are only displayed: an open tab is not work.
    """

    started_at: datetime | None = None
    observed_at: datetime | None = None
    kernels: tuple[Kernel, ...] | None = None
    terminals: tuple[Terminal, ...] | None = None
    sessions: int | None = None
    server_last_activity: datetime | None = None
    proxy_last_activity: datetime | None = None
    requests: tuple[Sample, ...] | None = None
    silence: Silence = Silence.NEVER_SEEN
    cpu: tuple[Sample, ...] | None = None
    transfers: tuple[Sample, ...] | None = ()
    gpu: tuple[Sample, ...] | None = ()
    outside_jobs: tuple[str, ...] | None = ()
    jobs_seen_at: datetime | None = None
    reported_at: datetime | None = None
    report_unread: bool = False
    blind_since: datetime | None = None
    warned_at: datetime | None = None


class IdlePolicy(Struct, frozen=True):
    """The limits by which an instance counts as idle. Raise `ValueError` for limits that are too small or contradict each other.

    `idle_timeout` is the time without activity after which an instance is stopped. A machine counts as busy from the values
    `cores_busy_at`, `transfer_busy_at` (bytes per second) and `gpu_busy_at` (a fraction, 0 to 1) on. `warn_idle` is the time between
    a warning and a stop for idleness. `max_busy` is the longest time for which a busy kernel counts without output and CPU
    use, and for which a job elsewhere counts. `max_blind` is the longest time for which a blind instance is kept; the user is
    warned at least `warn_before` before the stop. `grace` is the time after a start in which nothing is stopped. `freshness`
    is the greatest age of evidence, longer than the delay of metrics. Samples further apart than `max_gap` leave a hole in
    the evidence.
    """

    idle_timeout: timedelta
    cores_busy_at: float = 0.3
    transfer_busy_at: float = 500_000
    gpu_busy_at: float = 0.05
    max_busy: timedelta = timedelta(hours=24)
    max_blind: timedelta = timedelta(hours=24)
    warn_before: timedelta = timedelta(hours=1)
    warn_idle: timedelta = WARN_IDLE
    grace: timedelta = timedelta(minutes=15)
    freshness: timedelta = timedelta(minutes=10)
    max_gap: timedelta = timedelta(minutes=5)

    def __post_init__(self) -> None:
        if min(self.idle_timeout, self.max_busy, self.max_blind, self.freshness, self.max_gap) <= timedelta(0):
            raise ValueError("idle_timeout, max_busy, max_blind, freshness and max_gap must be longer than zero")
        if min(self.warn_before, self.warn_idle, self.grace) < timedelta(0) or self.warn_before > self.max_blind:
            raise ValueError(
                "warn_before, warn_idle and grace must not be negative, and warn_before must be within max_blind"
            )

    @property
    def warn_after(self) -> timedelta:
        """Return the time without any sign of work after which the user is warned: at least half the timeout."""
        return max(self.idle_timeout - self.warn_idle, self.idle_timeout / 2)


class Keep(Struct, frozen=True):
    """A verdict: leave the instance running. `detail` says in words which activity was observed or which evidence is missing."""

    reason: Reason
    detail: str


class Warn(Struct, frozen=True):
    """A verdict: leave the instance running and note `warned_at`.

    The user is told that the instance will be stopped at `stop_at` unless activity is observed.
    """

    stop_at: datetime
    because: Reason
    detail: str


class Stop(Struct, frozen=True):
    """A verdict: stop the instance. Nothing has happened since `since` (for `MAX_BLIND`: nothing could be observed)."""

    since: datetime
    because: Reason


IdleVerdict = Keep | Warn | Stop


def judge_idle(activity: Activity, policy: IdlePolicy, now: datetime) -> IdleVerdict:
    """Return the verdict: keep, warn or stop.

    Any recent sign of work keeps the instance running, even if all other values are old. The instance is stopped for
    idleness only on evidence without gaps. A blind instance is stopped after `max_blind` and a warning.
    """
    if activity.started_at is not None and now - activity.started_at < policy.grace:
        return Keep(Reason.STARTED_RECENTLY, f"started at {activity.started_at.isoformat()}")
    working = _work_now(activity, policy, now)
    if working is not None:
        return working
    last, reason = last_sign(activity, policy, now)
    if last is not None and now - last < policy.warn_after:
        return Keep(reason, f"at {last.isoformat()}")
    missing = _missing(activity, policy, now, last)
    if missing and (last is None or now - last >= policy.idle_timeout):
        return _judge_blind(activity, policy, now, last=last, missing=missing)
    if missing:
        return Keep(reason, f"at {last.isoformat()}" if last is not None else "")
    return _judge_unused(activity, policy, now, since=last if last is not None else now - policy.idle_timeout)


def last_sign(activity: Activity, policy: IdlePolicy, now: datetime) -> tuple[datetime | None, Reason]:
    """Return the last moment of activity and its kind. The moment is `now` if the instance is busy at present.

    Return (None, `IDLE`) if no activity was observed.
    """
    working = _work_now(activity, policy, now)
    if working is not None:
        return now, working.reason
    return max(_signs(activity, policy, now), default=(None, Reason.IDLE), key=lambda sign: sign[0])


def last_use(activity: Activity, policy: IdlePolicy, now: datetime) -> datetime | None:
    """Return the last moment at which the instance was used; None if no use was observed.

    Unlike in `last_sign`, the start does not count: JupyterLab's server counts its own start as activity, and a booting machine
    uses CPU.
    """
    if activity.started_at is None:
        return last_sign(activity, policy, now)[0]
    booted, server = activity.started_at + _BOOTS, activity.server_last_activity

    def later(samples: tuple[Sample, ...] | None) -> tuple[Sample, ...] | None:
        return None if samples is None else tuple(sample for sample in samples if sample.at > booted)

    used = replace(
        activity,
        started_at=None,
        server_last_activity=server if server is not None and server > booted else None,
        cpu=later(activity.cpu),
        transfers=later(activity.transfers),
    )
    return last_sign(used, policy, now)[0]


def _judge_unused(activity: Activity, policy: IdlePolicy, now: datetime, *, since: datetime) -> IdleVerdict:
    """Return the verdict after inactivity since `since`: warn, keep, and stop once `idle_timeout` and `warn_idle` have passed."""
    detail = f"nothing since {since.isoformat()}"
    warned = activity.warned_at
    if policy.warn_idle and (warned is None or warned <= since):
        return Warn(
            stop_at=max(since + policy.idle_timeout, now + policy.warn_idle), because=Reason.IDLE, detail=detail
        )
    if now - since >= policy.idle_timeout and (warned is None or now - warned >= policy.warn_idle):
        return Stop(since=since, because=Reason.IDLE)
    return Keep(Reason.WARNED, detail)


def stops_at(activity: Activity, policy: IdlePolicy, now: datetime) -> datetime | None:
    """Return the time at which the instance will be stopped if no more activity is observed.

    Return None while the instance is busy, or if the time is unknown. A warning always fits before the returned time.
    """
    last = max((at for at, _ in _signs(activity, policy, now)), default=None)
    if last is None or _work_now(activity, policy, now) is not None or _missing(activity, policy, now, last):
        return None
    grace = activity.started_at + policy.grace if activity.started_at is not None else now
    warned = activity.warned_at if activity.warned_at is not None and activity.warned_at > last else now
    return max(last + policy.idle_timeout, grace, warned + policy.warn_idle)


def _sees_jupyter(activity: Activity, policy: IdlePolicy, now: datetime) -> bool:
    """Return True if kernels and terminals were both read recently."""
    if activity.kernels is None or activity.terminals is None or activity.observed_at is None:
        return False
    return now - activity.observed_at <= policy.freshness


def _work_now(activity: Activity, policy: IdlePolicy, now: datetime) -> Keep | None:
    """Return a verdict to keep for work that leaves no time stamp: a job elsewhere, a silent cell.

    Return None if there is no such work, or if only kernels could show it and they were not read recently.
    """
    if activity.outside_jobs:
        return Keep(Reason.OUTSIDE_JOB, ", ".join(activity.outside_jobs))
    if activity.kernels is None or activity.observed_at is None or now - activity.observed_at > policy.freshness:
        return None
    for kernel in activity.kernels:
        if kernel.state not in _MAY_WORK:
            continue
        # A stuck kernel can be busy for ever. If its cell computes, the CPU keeps the instance, whatever the time stamp.
        if kernel.last_activity is None or now - kernel.last_activity < policy.max_busy:
            return Keep(Reason.KERNEL_BUSY, f"a kernel is {kernel.state.value}")
    return None


def _signs(activity: Activity, policy: IdlePolicy, now: datetime) -> Iterable[tuple[datetime, Reason]]:
    """Yield every known moment of activity with its kind. Requests count only if Jupyter was not read recently."""
    if activity.started_at is not None:
        yield activity.started_at, Reason.STARTED_RECENTLY
    for kernel in activity.kernels or ():
        if kernel.last_activity is not None:
            yield kernel.last_activity, Reason.KERNEL_ACTIVITY
    for terminal in activity.terminals or ():
        if terminal.last_activity is not None:
            yield terminal.last_activity, Reason.TERMINAL_ACTIVITY
    if activity.server_last_activity is not None:
        yield activity.server_last_activity, Reason.SERVER_ACTIVITY
    if activity.jobs_seen_at is not None:
        yield activity.jobs_seen_at, Reason.OUTSIDE_JOB
    if activity.reported_at is not None:
        yield activity.reported_at, Reason.REPORTED
    yield from ((s.at, Reason.CPU_BUSY) for s in activity.cpu or () if s.value >= policy.cores_busy_at)
    yield from ((s.at, Reason.TRANSFER) for s in activity.transfers or () if s.value >= policy.transfer_busy_at)
    yield from ((s.at, Reason.GPU_BUSY) for s in activity.gpu or () if s.value >= policy.gpu_busy_at)
    # The pings of an open tab also go through the proxy (trace 6): requests count only if Jupyter itself was not read.
    if not _sees_jupyter(activity, policy, now):
        if activity.proxy_last_activity is not None:
            yield activity.proxy_last_activity, Reason.PROXIED_REQUESTS
        yield from ((s.at, Reason.PROXIED_REQUESTS) for s in activity.requests or () if s.value > 0)


def _missing(activity: Activity, policy: IdlePolicy, now: datetime, last: datetime | None) -> list[str]:
    """Return the sources that lack data since the last sign of work (`last`) or, if that is shorter, within `idle_timeout`."""
    begin = max(now - policy.idle_timeout, last) if last is not None else now - policy.idle_timeout
    missing = []
    if not _covers(activity.cpu, policy, begin, now):
        missing.append("cpu")
    if activity.transfers is None or (activity.transfers and not _covers(activity.transfers, policy, begin, now)):
        missing.append("transfers")
    if activity.gpu is None or (activity.gpu and not _covers(activity.gpu, policy, begin, now)):
        missing.append("gpu")
    if activity.outside_jobs is None:
        missing.append("outside jobs")
    if activity.report_unread:
        missing.append("the machine's own report")
    if not _sees_jupyter(activity, policy, now):
        if activity.silence is Silence.MEANS_NONE:
            pass  # none were made
        elif activity.blind_since is not None or not _covers(activity.requests, policy, begin, now):
            missing.append(activity.silence.value)
    return missing


def _covers(samples: tuple[Sample, ...] | None, policy: IdlePolicy, begin: datetime, now: datetime) -> bool:
    """Return True if samples cover the time from `begin` to now without a hole. The newest may be as old as `freshness`."""
    if not samples:
        return False
    moments = sorted(sample.at for sample in samples if begin - policy.max_gap <= sample.at <= now)
    if not moments or moments[0] > begin + policy.max_gap or now - moments[-1] > policy.freshness:
        return False
    return all(later - earlier <= policy.max_gap for earlier, later in pairwise(moments))


def _judge_blind(
    activity: Activity, policy: IdlePolicy, now: datetime, *, last: datetime | None, missing: list[str]
) -> IdleVerdict:
    """Return the verdict for a blind instance: keep, warn from `warn_before` before the end of `max_blind`, or stop.

    The stop needs a warning that is at least `warn_before` old. Any later sign of work restarts the count.
    """
    detail = f"not seen: {', '.join(missing)}"
    begun = activity.blind_since if activity.blind_since is not None else _last_seen(activity)
    if begun is None:
        return Keep(Reason.NO_FRESH_EVIDENCE, detail)
    begun = max(begun, last) if last is not None else begun
    limit = begun + policy.max_blind
    if now < limit - policy.warn_before:
        return Keep(Reason.NO_FRESH_EVIDENCE, detail)
    warned = activity.warned_at
    if warned is None or warned < begun:
        return Warn(stop_at=max(limit, now + policy.warn_before), because=Reason.MAX_BLIND, detail=detail)
    if now >= limit and now - warned >= policy.warn_before:
        return Stop(since=begun, because=Reason.MAX_BLIND)
    return Keep(Reason.WARNED_BLIND, detail)


def _last_seen(activity: Activity) -> datetime | None:
    """Return the latest of the start, Jupyter's last read, and the newest samples of CPU, requests and GPU; None if unknown."""
    seen = [activity.started_at, activity.observed_at]
    seen += [samples[-1].at for samples in (activity.cpu, activity.requests, activity.gpu) if samples]
    return max((moment for moment in seen if moment is not None), default=None)
