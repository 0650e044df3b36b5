"""The scripted activity of users and machines on the instances, and the times in which each VM was running.

It is keyed by the VM's numeric id. So a new instance of the same name has no old activity, and the metrics of a deleted
instance stay readable, as in the real Cloud Monitoring.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from emulator.clock import parse_rfc3339, rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

Kernels = Literal["busy", "idle", "none"]
_OLD_VCPUS = 4  # of saved worlds of older versions, which do not say: the default machine type


@dataclass(frozen=True, slots=True)
class Script:
    """The activity from `since` until `until` (None: open). A measure that is None is not scripted."""

    since: datetime
    until: datetime | None
    cpu: float | None = None
    requests_per_minute: Mapping[str, int] | None = None  # by response code
    kernels: Kernels | None = None

    def covers(self, moment: datetime) -> bool:
        """Return True within [since, until)."""
        return self.since <= moment and (self.until is None or moment < self.until)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON that the control route takes, without the instance."""
        found: dict[str, Any] = {"from": rfc3339(self.since), "until": rfc3339(self.until) if self.until else None}
        counts = None if self.requests_per_minute is None else dict(self.requests_per_minute)
        return found | {"cpu": self.cpu, "requests_per_minute": counts, "kernels": self.kernels}


class Span(NamedTuple):
    """An interval in which a VM was ACTIVE; `ended` is None while it is. `vcpus` can change while the VM is stopped."""

    begun: datetime
    ended: datetime | None
    vcpus: int


@dataclass(slots=True)
class Machine:
    """A VM: its name, the intervals in which it was ACTIVE (the last may be open), and its scripts in order of arrival."""

    gce_id: str
    name: str
    spans: list[Span] = field(default_factory=list)
    scripts: list[Script] = field(default_factory=list)

    def up(self, at: datetime, *, vcpus: int) -> None:
        """Note that the VM is ACTIVE from now on."""
        if not self.spans or self.spans[-1].ended is not None:
            self.spans.append(Span(at, None, vcpus))

    def down(self, at: datetime) -> None:
        """Note that the VM is no longer ACTIVE."""
        if self.spans and self.spans[-1].ended is None:
            self.spans[-1] = self.spans[-1]._replace(ended=at)

    def codes(self) -> list[str]:
        """Return the response codes that any script names, sorted."""
        return sorted({code for script in self.scripts for code in script.requests_per_minute or ()})

    def cpu(self, moment: datetime, default: float) -> float:
        """Return the utilization at a moment, 0 to 1. The last script takes precedence."""
        said = next((s.cpu for s in reversed(self.scripts) if s.cpu is not None and s.covers(moment)), None)
        return default if said is None else said

    def requests(self, moment: datetime, code: str) -> int:
        """Return the responses of this code through the proxy in the minute of a moment; 0 unless scripted."""
        said = (
            s.requests_per_minute
            for s in reversed(self.scripts)
            if s.requests_per_minute is not None and s.covers(moment)
        )
        return next(said, {}).get(code, 0)

    def kernels(self, moment: datetime) -> Kernels | None:
        """Return the state of the kernels, or None if it is not scripted."""
        return next((s.kernels for s in reversed(self.scripts) if s.kernels is not None and s.covers(moment)), None)

    def watched(self) -> bool:
        """Return True if any script has a state of kernels."""
        return any(script.kernels is not None for script in self.scripts)

    def idle_until(self, since: datetime, now: datetime, timeout: timedelta) -> datetime | None:
        """Return the first moment in (since, now] at which the kernels were scripted as not busy for `timeout` without a break."""
        edges = {since, now}
        for script in self.scripts:
            edges |= {edge for edge in (script.since, script.until) if edge is not None and since < edge < now}
        begun: datetime | None = None
        ordered = sorted(edges)
        for start, end in itertools.pairwise(ordered):
            if self.kernels(start) not in {"idle", "none"}:
                begun = None
                continue
            begun = begun or start
            if end - begun >= timeout:
                return begun + timeout
        return None

    def to_json(self) -> dict[str, Any]:
        """Return the machine as JSON-able data, for `dump`."""
        return {
            "gce_id": self.gce_id,
            "name": self.name,
            "spans": [[rfc3339(a), rfc3339(b) if b else None, vcpus] for a, b, vcpus in self.spans],
            "scripts": [script.to_json() for script in self.scripts],
        }

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Machine:
        """Return the machine of a result of `to_json`."""
        spans = [
            Span(parse_rfc3339(a), parse_rfc3339(b) if b else None, vcpus[0] if vcpus else _OLD_VCPUS)
            for a, b, *vcpus in row["spans"]
        ]
        return cls(row["gce_id"], row["name"], spans, [script_from_json(script) for script in row["scripts"]])


def script_from_json(row: dict[str, Any]) -> Script:
    """Return the script of a result of `Script.to_json`. Saved worlds of older versions have a plain number of requests."""
    said = row.get("requests_per_minute")
    return Script(
        since=parse_rfc3339(row["from"]),
        until=parse_rfc3339(row["until"]) if row.get("until") else None,
        cpu=row.get("cpu"),
        requests_per_minute={"200": said} if isinstance(said, int) else said,
        kernels=row.get("kernels"),
    )
