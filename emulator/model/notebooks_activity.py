"""The scripted activity of users and machines on the instances, and the intervals in which each VM was running.

Activity is stored by the VM's numeric id. So a new instance of the same name has no old activity, and the metrics of a
deleted instance stay readable, as in the real Cloud Monitoring.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from emulator.clock import parse_rfc3339, rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping

Kernels = Literal["busy", "idle", "none"]
_OLD_VCPUS = 4  # of saved worlds of older versions, which do not say: the default machine type


@dataclass(frozen=True, slots=True)
class Script:
    """A scripted activity from `since` until `until` (None: open). A measure that is None is not scripted."""

    since: datetime
    until: datetime | None
    cpu: float | None = None
    requests_per_minute: Mapping[str, int] | None = None  # by response code
    kernels: Kernels | None = None
    bytes_per_second: float | None = None  # received over the network

    def covers(self, moment: datetime) -> bool:
        """Return True if the moment is within [since, until)."""
        return self.since <= moment and (self.until is None or moment < self.until)

    def to_json(self) -> dict[str, Any]:
        """Return the script in the JSON form of the control route, without the instance."""
        found: dict[str, Any] = {"from": rfc3339(self.since), "until": rfc3339(self.until) if self.until else None}
        counts = None if self.requests_per_minute is None else dict(self.requests_per_minute)
        return found | {
            "cpu": self.cpu,
            "bytes_per_second": self.bytes_per_second,
            "requests_per_minute": counts,
            "kernels": self.kernels,
        }


@dataclass(slots=True)
class Measured:
    """A measured minute of a machine: the busy seconds of all its vCPUs together, the measured `seconds`, and the responses by code."""

    busy: float = 0.0
    seconds: float = 0.0
    responses: dict[str, int] = field(default_factory=dict)


class Span(NamedTuple):
    """An interval in which a VM was ACTIVE; `ended` is None while the VM is ACTIVE. `vcpus` can change while the VM is stopped."""

    begun: datetime
    ended: datetime | None
    vcpus: int


@dataclass(slots=True)
class Machine:
    """A VM: its name, the intervals in which it was ACTIVE (the last may be open), and its scripts in order of arrival.

    `kernel_changes` are the measured changes of the kernels' state with their times; None: unknown.
    """

    gce_id: str
    name: str
    spans: list[Span] = field(default_factory=list)
    scripts: list[Script] = field(default_factory=list)
    measured: dict[datetime, Measured] = field(default_factory=dict)  # by the end of the minute
    kernel_changes: list[tuple[datetime, Kernels | None]] = field(default_factory=list)

    def measure(self, since: datetime, until: datetime, *, utilization: float, responses: Mapping[str, int]) -> None:
        """Note the measured utilization (0 to 1) from `since` to `until`, and the responses of that time."""
        begun = since
        while begun < until:
            minute = _minute_of(begun)
            ended = min(minute, until)
            seconds = (ended - begun).total_seconds()
            held = self.measured.setdefault(minute, Measured())
            held.busy += utilization * seconds
            held.seconds += seconds
            begun = ended
        if responses:
            held = self.measured.setdefault(_minute_of(until), Measured())
            for code, count in responses.items():
                held.responses[code] = held.responses.get(code, 0) + count

    def note_kernels(self, at: datetime, kernels: Kernels | None) -> bool:
        """Note the measured state of the kernels; None: unknown from now on. Return True if it changed."""
        if kernels == (self.kernel_changes[-1][1] if self.kernel_changes else None):
            return False
        self.kernel_changes.append((at, kernels))
        return True

    def forget(self, before: datetime) -> None:
        """Delete the measured minutes before a time, which is the end of Monitoring's retention."""
        self.measured = {minute: held for minute, held in self.measured.items() if minute >= before}

    def up(self, at: datetime, *, vcpus: int) -> None:
        """Note that the VM is ACTIVE from `at` on, with `vcpus` vCPUs."""
        if not self.spans or self.spans[-1].ended is not None:
            self.spans.append(Span(at, None, vcpus))

    def down(self, at: datetime) -> None:
        """Note that the VM stopped being ACTIVE at `at`."""
        if self.spans and self.spans[-1].ended is None:
            self.spans[-1] = self.spans[-1]._replace(ended=at)

    def during(self, since: datetime, until: datetime) -> Machine:
        """Return the machine with only the scripts of an interval, so that reading its minutes one by one is fast."""
        scripts = [
            script
            for script in self.scripts
            if script.since <= until and (script.until is None or script.until > since)
        ]
        return replace(self, scripts=scripts)

    def _measured_at(self, moment: datetime) -> Measured | None:
        return self.measured.get(_minute_of(moment)) if self.measured else None

    def codes(self) -> list[str]:
        """Return the response codes that were scripted or measured, sorted."""
        scripted = {code for script in self.scripts for code in script.requests_per_minute or ()}
        return sorted(scripted | {code for held in self.measured.values() for code in held.responses})

    def cpu(self, moment: datetime, default: float) -> float:
        """Return the utilization at a moment, from 0 to 1. The last script takes precedence over measurements.

        The `default`, the load of a machine without its user's work, is added to a measured use.
        """
        said = next((s.cpu for s in reversed(self.scripts) if s.cpu is not None and s.covers(moment)), None)
        if said is not None:
            return said
        held = self._measured_at(moment)
        return min(1.0, default + held.busy / held.seconds) if held is not None and held.seconds else default

    def bytes_per_second(self, moment: datetime, default: float) -> float:
        """Return the bytes received from the network per second at a moment. The last script takes precedence."""
        said = (
            s.bytes_per_second for s in reversed(self.scripts) if s.bytes_per_second is not None and s.covers(moment)
        )
        found = next(said, None)
        return default if found is None else found

    def requests(self, moment: datetime, code: str) -> int:
        """Return the responses of this code through the proxy in the minute of a moment; 0 unless scripted or measured."""
        said = (
            s.requests_per_minute
            for s in reversed(self.scripts)
            if s.requests_per_minute is not None and s.covers(moment)
        )
        held = self._measured_at(moment)
        return next(said, held.responses if held is not None else {}).get(code, 0)

    def kernels(self, moment: datetime) -> Kernels | None:
        """Return the state of the kernels, or None if it is neither scripted nor measured."""
        said = next((s.kernels for s in reversed(self.scripts) if s.kernels is not None and s.covers(moment)), None)
        if said is not None:
            return said
        return next((kernels for at, kernels in reversed(self.kernel_changes) if at <= moment), None)

    def watched(self) -> bool:
        """Return True if any state of the kernels was scripted or measured."""
        return bool(self.kernel_changes) or any(script.kernels is not None for script in self.scripts)

    def idle_until(self, since: datetime, now: datetime, timeout: timedelta) -> datetime | None:
        """Return the first moment in (since, now] at which the kernels had been idle for `timeout`, as scripted or measured.

        Return None if there is no such moment.
        """
        edges = {since, now} | {at for at, _ in self.kernel_changes if since < at < now}
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
            "measured": [[rfc3339(at), each.busy, each.seconds, each.responses] for at, each in self.measured.items()],
            "kernels": [[rfc3339(at), kernels] for at, kernels in self.kernel_changes],
        }

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Machine:
        """Return the machine of a result of `to_json`."""
        spans = [
            Span(parse_rfc3339(a), parse_rfc3339(b) if b else None, vcpus[0] if vcpus else _OLD_VCPUS)
            for a, b, *vcpus in row["spans"]
        ]
        scripts = [script_from_json(script) for script in row["scripts"]]
        measured = {parse_rfc3339(at): Measured(*values) for at, *values in row.get("measured", [])}
        changes = [(parse_rfc3339(at), kernels) for at, kernels in row.get("kernels", [])]
        return cls(row["gce_id"], row["name"], spans, scripts, measured, changes)


def _minute_of(moment: datetime) -> datetime:
    """Return the end of the minute that contains a moment. A moment on the full minute belongs to the next minute."""
    return moment.replace(second=0, microsecond=0) + timedelta(minutes=1)


def script_from_json(row: dict[str, Any]) -> Script:
    """Return the script of a result of `Script.to_json`. Saved worlds of older versions have a plain number of requests."""
    said = row.get("requests_per_minute")
    return Script(
        since=parse_rfc3339(row["from"]),
        until=parse_rfc3339(row["until"]) if row.get("until") else None,
        cpu=row.get("cpu"),
        bytes_per_second=row.get("bytes_per_second"),
        requests_per_minute={"200": said} if isinstance(said, int) else said,
        kernels=row.get("kernels"),
    )
