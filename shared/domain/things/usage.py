"""The running time of a resource in a calendar month (UTC), from which its cost is estimated. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from msgspec import Struct

NOTEBOOK = "notebook"


def cluster_usage(template: str) -> str:
    """Return the name under which the running time of a template's clusters is kept."""
    return f"spark:{template}"


class Usage(Struct, frozen=True, kw_only=True, gc=False):
    """The seconds of ended runs in `month` (`2026-11`), and the start of the present run (None: the resource does not run)."""

    month: str
    ran_s: int = 0
    since: datetime | None = None

    def in_month_of(self, now: datetime) -> timedelta:
        """Return the running time in the month of `now`, up to `now`."""
        ended = self.ran_s if self.month == month_of(now) else 0
        running = now - max(self.since, month_start(now)) if self.since is not None else timedelta(0)
        return timedelta(seconds=ended) + max(running, timedelta(0))


def month_of(now: datetime) -> str:
    """Return the month as `2026-11`."""
    return f"{now.year:04}-{now.month:02}"  # a twentieth of the time of strftime


def month_start(now: datetime) -> datetime:
    """Return the first moment of the month."""
    return now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def with_running(usage: Mapping[str, Usage], name: str, now: datetime, *, runs: bool) -> Mapping[str, Usage]:
    """Return the usage after `name` was observed to run or not; the same object if nothing changes, so that nothing is written.

    A run ends when its end is observed. So a run is counted too long by at most the time between two observations.
    """
    known = usage.get(name)
    if runs == (known is not None and known.since is not None):
        return usage
    if runs:
        kept = known.ran_s if known is not None and known.month == month_of(now) else 0
        return {**usage, name: Usage(month=month_of(now), ran_s=kept, since=now)}
    if known is None:
        return usage
    return {**usage, name: Usage(month=month_of(now), ran_s=int(known.in_month_of(now).total_seconds()))}
