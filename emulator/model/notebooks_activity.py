"""What people and machines do on the instances, as a script says it, and when each VM was running.

Keyed by the VM's numeric id, so that an instance of the same name made anew starts with a clean sheet and the metrics of a
deleted one stay readable, as in the real Cloud Monitoring.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from emulator.clock import parse_rfc3339, rfc3339

if TYPE_CHECKING:
    from datetime import datetime, timedelta

Kernels = Literal["busy", "idle", "none"]


@dataclass(frozen=True, slots=True)
class Script:
    """What goes on from `since` until `until` (None: open); a measure that is None is not spoken of."""

    since: datetime
    until: datetime | None
    cpu: float | None = None
    requests_per_minute: int | None = None
    kernels: Kernels | None = None

    def covers(self, moment: datetime) -> bool:
        """Return True within [since, until)."""
        return self.since <= moment and (self.until is None or moment < self.until)

    def to_json(self) -> dict[str, Any]:
        """As the control route takes it, without the instance."""
        found: dict[str, Any] = {"from": rfc3339(self.since), "until": rfc3339(self.until) if self.until else None}
        return found | {key: getattr(self, key) for key in ("cpu", "requests_per_minute", "kernels")}


@dataclass(slots=True)
class Machine:
    """One VM: where it is, the stretches in which it was ACTIVE (the last may be open), and the scripts in the order said."""

    gce_id: str
    name: str
    spans: list[tuple[datetime, datetime | None]] = field(default_factory=list)
    scripts: list[Script] = field(default_factory=list)

    def up(self, at: datetime) -> None:
        """Note that it is ACTIVE from now on."""
        if not self.spans or self.spans[-1][1] is not None:
            self.spans.append((at, None))

    def down(self, at: datetime) -> None:
        """Note that it is no longer ACTIVE."""
        if self.spans and self.spans[-1][1] is None:
            self.spans[-1] = (self.spans[-1][0], at)

    def cpu(self, moment: datetime, default: float) -> float:
        """Return the utilization at a moment, 0 to 1; the last said wins."""
        said = next((s.cpu for s in reversed(self.scripts) if s.cpu is not None and s.covers(moment)), None)
        return default if said is None else said

    def requests(self, moment: datetime) -> int:
        """Return the requests through the proxy in the minute of a moment; none unless a script says so."""
        said = (
            s.requests_per_minute
            for s in reversed(self.scripts)
            if s.requests_per_minute is not None and s.covers(moment)
        )
        return next(said, None) or 0

    def kernels(self, moment: datetime) -> Kernels | None:
        """Return what the kernels do, None when no script speaks of them."""
        return next((s.kernels for s in reversed(self.scripts) if s.kernels is not None and s.covers(moment)), None)

    def watched(self) -> bool:
        """Return True when any script speaks of kernels."""
        return any(script.kernels is not None for script in self.scripts)

    def idle_until(self, since: datetime, now: datetime, timeout: timedelta) -> datetime | None:
        """Return the first moment in (since, now] at which the kernels have been scripted as not busy for `timeout` on end."""
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
        """For `dump`."""
        return {
            "gce_id": self.gce_id,
            "name": self.name,
            "spans": [[rfc3339(a), rfc3339(b) if b else None] for a, b in self.spans],
            "scripts": [script.to_json() for script in self.scripts],
        }

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Machine:
        """From what `to_json` gave."""
        spans = [(parse_rfc3339(a), parse_rfc3339(b) if b else None) for a, b in row["spans"]]
        return cls(row["gce_id"], row["name"], spans, [script_from_json(script) for script in row["scripts"]])


def script_from_json(row: dict[str, Any]) -> Script:
    """From `Script.to_json`."""
    return Script(
        since=parse_rfc3339(row["from"]),
        until=parse_rfc3339(row["until"]) if row.get("until") else None,
        cpu=row.get("cpu"),
        requests_per_minute=row.get("requests_per_minute"),
        kernels=row.get("kernels"),
    )
