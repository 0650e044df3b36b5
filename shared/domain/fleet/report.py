"""The report that a VM writes about itself (config/vm/reporter.py).

This module reads and checks a report, and decides how long the report counts and which values sweeps remember. Pure.

The owner may be root on the VM, so a report is not trusted: it can only keep the instance running, and only for
`max_busy` after the last sign of use that was observed from outside.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from msgspec import Struct

from shared.domain.things.late import late
from shared.domain.things.times import parse_time

FRESH = timedelta(minutes=3)  # a report comes every two minutes
MOST_BYTES = 4_096
_BOOT = late(lambda: re.compile(r"^[0-9a-f-]{1,64}\Z"))
_LONGEST_TIME = 40  # characters
_LONGEST_S = 10 * 366 * 86_400
_COUNT = 100_000
_SHOWN_FOR = timedelta(hours=24)
NEARLY_FULL = 90  # percent of the home disk


class Work(StrEnum):
    """The kind of work that a report names. The list is closed: pages and metrics translate it into words."""

    KERNEL = "kernel"
    SPARK = "spark"
    GPU = "gpu"
    CPU = "cpu"
    KERNEL_LATELY = "kernel lately"
    TERMINAL_LATELY = "terminal lately"


class Report(Struct, frozen=True, kw_only=True):
    """A report of a VM. A value is None if the VM did not report the value, or reported an impossible value.

    `at` is the time by the VM's clock, and `up` the number of seconds since the VM's start. Ages are in seconds before the
    report. `busy` counts the busy kernels among all `kernels`. `cores` are CPU cores in use, and `gpu` is the used fraction of a GPU (0 to 1).
    `killed` counts processes that were killed for lack of memory since the start. `disk` is the percentage of the home disk
    that is full.
    """

    at: datetime | None = None
    boot: str = ""
    up: int | None = None
    busy: int | None = None
    kernels: int | None = None
    kernel_age: float | None = None
    terminals: int | None = None
    terminal_age: float | None = None
    connections: int | None = None
    cores: float | None = None
    gpu: float | None = None
    spark: int | None = None
    killed: int | None = None
    memory_gb: float | None = None
    disk: int | None = None


class Anchor(Struct, frozen=True, kw_only=True):
    """The reference for dating the reports of one boot: `at` is the time by our clock at an uptime of `up` seconds.

    Later reports of the boot are dated by their own `up`, so that the VM's clock does not matter.
    """

    boot: str
    up: int
    at: datetime


class Reported(Struct, frozen=True, kw_only=True):
    """The values that sweeps remember from a user's reports.

    `at` is the time of the last fresh report, `boot` the id of the machine's boot in that report, and `work` the work that the
    report names. `worked_at` is the last time of work that any report names. `outside_at` is the time of the last use that was
    observed from outside: reports can keep the instance running until `max_busy` after that time. `keeps` is True if only the
    reports prevented a warning or a stop. `killed_at` is the time at which `killed` last grew. `anchor` dates reports
    (`Anchor`). All other fields are from the last fresh report.
    """

    at: datetime
    boot: str = ""
    anchor: Anchor | None = None
    work: Work | None = None
    worked_at: datetime | None = None
    outside_at: datetime | None = None
    keeps: bool = False
    kernels: int | None = None
    busy: int | None = None
    killed: int = 0
    killed_at: datetime | None = None
    memory_gb: float | None = None
    disk: int | None = None

    def out_of_memory(self, now: datetime) -> bool:
        """Return True if a process was killed for lack of memory in the last 24 hours. A new boot clears `killed_at`."""
        return self.killed_at is not None and now - self.killed_at < _SHOWN_FOR

    @property
    def is_nearly_full(self) -> bool:
        """Return True if at least 90 percent of the home disk is full."""
        return self.disk is not None and self.disk >= NEARLY_FULL


def report_of(raw: object) -> Report | None:
    """Return the report in a decoded JSON value; None if the value is not a report of version 1.

    Impossible parts are left out.
    """
    if not isinstance(raw, dict) or _number(raw.get("v"), 1, 1) is None:
        return None
    at = _moment(raw.get("at"))
    busy, idle, kernel_age = _of(raw.get("kernels"), "busy", "idle", at)
    terminals, _, terminal_age = _of(raw.get("terminals"), "count", "idle", at)
    boot = raw.get("boot")
    return Report(
        at=at,
        boot=boot if isinstance(boot, str) and _BOOT.match(boot) else "",
        up=_whole(raw.get("up"), _LONGEST_S),
        busy=busy,
        kernels=None if busy is None or idle is None else busy + idle,
        kernel_age=kernel_age,
        terminals=terminals,
        terminal_age=terminal_age,
        connections=_whole(raw.get("connections"), _COUNT),
        cores=_number(raw.get("cores"), 0, 4_096),
        gpu=_number(raw.get("gpu"), 0, 1),
        spark=_whole(raw.get("spark"), _COUNT),
        killed=_whole(raw.get("killed"), 10**9),
        memory_gb=_number(raw.get("memory_gb"), 0.1, 100_000),
        disk=_whole(raw.get("disk"), 100),
    )


def _of(part: Any, first: str, second: str, at: datetime | None) -> tuple[int | None, int | None, float | None]:
    """Return the counts `first` and `second` of a part of a report, and the seconds since the last activity.

    Each invalid or missing value is None. A part that is a plain number has only the first count.
    """
    if not isinstance(part, dict):
        return _whole(part, _COUNT), None, None
    age = _number(part.get("age"), 0, _LONGEST_S)
    last = _moment(part.get("last"))
    if age is None and last is not None and at is not None:
        age = _number((at - last).total_seconds(), 0, _LONGEST_S)  # both by the VM's clock
    return _whole(part.get(first), _COUNT), _whole(part.get(second), _COUNT), age


def _number(value: object, least: float, most: float) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        return None
    return float(value)


def _whole(value: object, most: float) -> int | None:
    found = _number(value, 0, most)
    return None if found is None or found != int(found) else int(found)


def _moment(value: object) -> datetime | None:
    if not isinstance(value, str) or len(value) > _LONGEST_TIME:
        return None
    try:
        return parse_time(value)
    except (ValueError, OverflowError):
        return None


def is_fresh(report: Report, anchor: Anchor | None, now: datetime) -> bool:
    """Return True if the report was made within the last three minutes, by the VM's clock or by the time since its start."""
    if report.at is not None and abs(now - report.at) <= FRESH:
        return True
    if anchor is None or report.up is None or not report.boot or report.boot != anchor.boot:
        return False
    return abs((now - anchor.at) - timedelta(seconds=report.up - anchor.up)) <= FRESH


def work_of(report: Report, *, cores_busy_at: float, gpu_busy_at: float) -> tuple[Work, timedelta] | None:
    """Return the latest work that the report names, and its age at the time of the report.

    Return None if the report names no work.
    """
    if report.busy:
        return Work.KERNEL, timedelta(0)
    if report.spark:
        return Work.SPARK, timedelta(0)
    if report.gpu is not None and report.gpu >= gpu_busy_at:
        return Work.GPU, timedelta(0)
    if report.cores is not None and report.cores >= cores_busy_at:
        return Work.CPU, timedelta(0)
    ages = [(report.kernel_age, Work.KERNEL_LATELY), (report.terminal_age, Work.TERMINAL_LATELY)]
    known = [(age, work) for age, work in ages if age is not None]
    if not known:
        return None
    age, work = min(known)
    return work, timedelta(seconds=age)


def remembered(
    before: Reported | None,
    report: Report | None,
    *,
    started_at: datetime | None,
    cores_busy_at: float,
    gpu_busy_at: float,
    now: datetime,
) -> Reported | None:
    """Return the values to remember after this report; `before` are the values remembered so far.

    `report` is None if there is no report. A report that is not fresh counts as missing, and a missing report changes
    nothing. Values from before the last start (`started_at`) are dropped.
    """
    if before is not None and started_at is not None and before.at < started_at:
        before = None
    if report is None or not is_fresh(report, before.anchor if before is not None else None, now):
        return before
    found = work_of(report, cores_busy_at=cores_busy_at, gpu_busy_at=gpu_busy_at)
    worked_at = before.worked_at if before is not None else None
    if found is not None:
        moment = max(now - found[1], started_at) if started_at is not None else now - found[1]
        worked_at = max(moment, worked_at) if worked_at is not None else moment
    anchor = before.anchor if before is not None else None
    if report.boot and report.up is not None and (anchor is None or anchor.boot != report.boot):
        anchor = Anchor(boot=report.boot, up=report.up, at=now)
    kills, killed_at = (
        (before.killed, before.killed_at) if before is not None and before.boot == report.boot else (0, None)
    )
    killed = report.killed if report.killed is not None else kills
    return Reported(
        at=now,
        boot=report.boot,
        anchor=anchor,
        work=found[0] if found is not None else None,
        worked_at=worked_at,
        outside_at=before.outside_at if before is not None else None,
        keeps=before.keeps if before is not None else False,
        kernels=report.kernels,
        busy=report.busy,
        killed=killed,
        killed_at=now if killed > kills else killed_at,
        memory_gb=report.memory_gb,
        disk=report.disk,
    )


def counts_until(reported: Reported, max_busy: timedelta) -> datetime | None:
    """Return the time until which reports can keep the instance running; None without any sign of use from outside."""
    return None if reported.outside_at is None else reported.outside_at + max_busy
