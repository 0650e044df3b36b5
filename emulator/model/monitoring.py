"""The time series that Cloud Monitoring has of the instances' VMs, computed from the activity script.

There is at most one point a minute, on the minute, only while the VM is ACTIVE. Points are not stored: a query computes its
points.

The counter of the proxy agent has a series for each response code. The series has a point only in a minute in which
that code was returned, because the agent makes its map of codes anew each minute. Source: google/inverting-proxy,
agent/metrics/metrics.go, read 2026-11-28. So a quiet minute has no point. Google does not document if the counter is visible in a project at all;
`counter` sets both behaviours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from emulator.clock import parse_rfc3339
from emulator.errors import ApiError, not_served
from emulator.model.filters import SeriesFilter, series_filter
from emulator.model.monitoring_query import (
    MINUTE,
    Metric,
    Query,
    aligned,
    check,
    cursor_of,
    head_of,
    page_token_of,
    periods,
    points_of,
    whole_of,
)
from emulator.model.notebooks import NotebooksModel
from emulator.model.notebooks_activity import Machine, Script

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emulator.world import World

_JUST_BEFORE = timedelta(microseconds=1)  # a minute has the value of its end, so that a start is visible early
_MAX_PAGE = 100_000
_KERNELS = ("busy", "idle", "none")
COUNTER_MODES = ("sparse", "zeros", "invisible")
DEFAULT_COUNTER = "sparse"  # as the agent writes
_RESPONSE_CODE = re.compile(r"[1-5]\d\d")


def _cpu(machine: Machine, minute: datetime, vcpus: int, _code: str) -> float:
    return machine.cpu(minute - _JUST_BEFORE, min(DEFAULT_CPU, DEFAULT_CORES / vcpus))


def _cores(machine: Machine, minute: datetime, vcpus: int, code: str) -> float:
    return _cpu(machine, minute, vcpus, code) * vcpus * MINUTE.total_seconds()


def _vcpus(_machine: Machine, _minute: datetime, vcpus: int, _code: str) -> float:
    return vcpus


def _bytes(machine: Machine, minute: datetime, _vcpus: int, _code: str) -> float:
    return machine.bytes_per_second(minute - _JUST_BEFORE, DEFAULT_BYTES) * MINUTE.total_seconds()


def _written(_machine: Machine, _minute: datetime, _vcpus: int, _code: str) -> float:
    return DEFAULT_BYTES * MINUTE.total_seconds()


def _responses(machine: Machine, minute: datetime, _vcpus: int, code: str) -> float | None:
    return machine.requests(minute - _JUST_BEFORE, code) or None


DEFAULT_CPU = 0.01  # the usage of an ACTIVE instance without activity, as a share of its cores
DEFAULT_CORES = 0.08  # and at most so many cores: the agents' work does not grow with the machine
DEFAULT_BYTES = 2_000  # bytes a second over the network and to the disk of an ACTIVE instance without activity
COUNTER = "notebooks.googleapis.com/instance/proxy_agent/response_count"
METRICS: dict[str, Metric] = {
    "compute.googleapis.com/instance/cpu/utilization": Metric("GAUGE", "DOUBLE", "10^2.%", _cpu),
    "compute.googleapis.com/instance/cpu/usage_time": Metric("DELTA", "DOUBLE", "s{CPU}", _cores),
    "compute.googleapis.com/instance/cpu/guest_visible_vcpus": Metric("GAUGE", "DOUBLE", "1", _vcpus),
    "compute.googleapis.com/instance/network/received_bytes_count": Metric("DELTA", "INT64", "By", _bytes),
    "compute.googleapis.com/instance/network/sent_bytes_count": Metric("DELTA", "INT64", "By", _written),
    "compute.googleapis.com/instance/disk/write_bytes_count": Metric("DELTA", "INT64", "By", _written),
    COUNTER: Metric("DELTA", "INT64", "1", _responses, by_code=True),
}


@dataclass(frozen=True, slots=True)
class _Series:
    """A time series: a metric of a machine and, for the counter, of a response code (`code`, "" for other metrics)."""

    metric_type: str
    metric: Metric
    machine: Machine
    code: str

    @property
    def key(self) -> str:
        """The sort key of the series in a paged list."""
        return f"{self.machine.gce_id} {self.code}"

    @property
    def labels(self) -> dict[str, str]:
        """The metric's labels."""
        if self.code:
            return {"response_code": self.code, "response_code_class": f"{self.code[0]}XX"}
        return {"instance_name": self.machine.name.rsplit("/", 1)[1]}

    @property
    def fields(self) -> dict[str, str]:
        """The fields that a filter can name."""
        _, project, _, zone, _, _ = self.machine.name.split("/")
        return {
            "project": project,
            "metric.type": self.metric_type,
            **{f"metric.labels.{key}": value for key, value in self.labels.items()},
            "resource.type": "gce_instance",
            "resource.labels.project_id": project,
            "resource.labels.instance_id": self.machine.gce_id,
            "resource.labels.zone": zone,
        }


class MonitoringModel:
    """The model of the time series of the machines in the world's `NotebooksModel`. `lag` is the time until a point becomes visible.

    The default is 240 s, because the documentation of Google's metrics says of cpu/utilization "sampled every 60
    seconds, after sampling data is not visible for up to 240 seconds". So tests run with the worst case.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.lag = timedelta(seconds=240)
        self.counter = DEFAULT_COUNTER

    def dump(self) -> Any:
        """Return lag and counter mode only: the notebooks model stores the scripts, with the machines."""
        return {"lag": self.lag.total_seconds(), "counter": self.counter}

    def load(self, state: Any) -> None:
        """Restore the state from a result of `dump`."""
        self.lag = timedelta(seconds=state["lag"])
        self.counter = state.get("counter", DEFAULT_COUNTER)

    def settings(self) -> dict[str, Any]:
        """Return the settings that the control API can change."""
        return {"counter": self.counter, "lag_seconds": self.lag.total_seconds()}

    def configure(self, body: dict[str, Any]) -> dict[str, Any]:
        """Set the mode of the proxy counter: `sparse` as on Google Cloud, `zeros` with points of 0 in quiet minutes, or `invisible`.

        Raise `ApiError` (400) for any other body.
        """
        if set(body) != {"counter"} or body["counter"] not in COUNTER_MODES:
            raise ApiError("INVALID_ARGUMENT", f"`counter` is one of {COUNTER_MODES}, and there is no other switch")
        self.counter = str(body["counter"])
        return self.settings()

    def _notebooks(self) -> NotebooksModel:
        for model in self.world.models.values():
            if isinstance(model, NotebooksModel):
                return model
        raise not_served("This world has no notebooks to watch.")

    # --- the script

    def say(self, body: dict[str, Any]) -> dict[str, Any]:
        """Script the activity on an instance.

        Raise 400 for unknown fields and bad values, 404 for an unknown instance.
        """
        unknown = sorted(
            set(body) - {"instance", "cpu", "bytes_per_second", "requests_per_minute", "kernels", "from", "until"}
        )
        if unknown:
            raise ApiError("INVALID_ARGUMENT", f"unknown activity fields {unknown}")
        if not isinstance(body.get("instance"), str):
            raise ApiError("INVALID_ARGUMENT", "an activity needs `instance`: an instance's id or full name")
        instance = self._notebooks().resolve(body["instance"])
        script = Script(
            since=_time(body, "from") or self.world.clock.now(),
            until=_time(body, "until"),
            cpu=_number(body, "cpu", at_most=1.0),
            bytes_per_second=_number(body, "bytes_per_second", at_most=1e12),
            requests_per_minute=_counts(body, "requests_per_minute"),
            kernels=body.get("kernels"),
        )
        if script.kernels not in (None, *_KERNELS):
            raise ApiError("INVALID_ARGUMENT", f"`kernels` is one of {_KERNELS}")
        if script.until is not None and script.until <= script.since:
            raise ApiError("INVALID_ARGUMENT", "`until` comes after `from`")
        self._notebooks().say(instance, script)
        return {"instance": instance.name, **script.to_json()}

    def said(self) -> list[dict[str, Any]]:
        """Return all scripted activity, in order for each instance."""
        machines = self._notebooks().machines().values()
        return [{"instance": machine.name, **script.to_json()} for machine in machines for script in machine.scripts]

    # --- the query

    def time_series(self, query: Query) -> dict[str, Any]:
        """Answer `timeSeries.list` with pages of at most `page_size` points (or series, if only headers are requested)."""
        asked = series_filter(query.filter)
        metric_type = asked.metric_type
        metric = METRICS.get(metric_type)
        if metric is None or (metric_type == COUNTER and self.counter == "invisible"):
            raise ApiError(
                "NOT_FOUND",
                f'Cannot find metric(s) that match type = "{metric_type}". If a metric was created recently, it could take up to 10 minutes to become available. Please try again soon.',
            )
        check(query, metric)
        begin, skipped = cursor_of(query)
        budget = min(query.page_size or _MAX_PAGE, _MAX_PAGE)
        found: list[dict[str, Any]] = []
        token = ""
        for key, head, points in self._rows(query, metric, asked, begin):
            first = skipped if key == begin else 0
            if not points[first:]:
                continue
            if budget <= 0:
                token = page_token_of(key, first)
                break
            taken = points[first:] if query.headers_only else points[first : first + budget]
            found.append(head if query.headers_only else head | {"points": taken})
            budget -= 1 if query.headers_only else len(taken)
            if first + len(taken) < len(points):
                token = page_token_of(key, first + len(taken))
                break
        result: dict[str, Any] = {"timeSeries": found} if found else {}
        if token:
            result["nextPageToken"] = token
        return result | {"unit": metric.unit}

    def _rows(
        self, query: Query, metric: Metric, asked: SeriesFilter, begin: str
    ) -> Iterator[tuple[str, dict[str, Any], list[dict[str, Any]]]]:
        """Yield (key, series without points, points newest first), ordered by key: each series, or each sum of several.

        Keys before `begin` are left out. The iterator is lazy, so that a page of many series only computes its own points.
        """
        every = (
            series for series in self._all_series(metric, asked) if query.group_by is not None or series.key >= begin
        )
        found = (series for series in every if asked.matches(series.fields))
        if query.group_by is None:
            for series in found:
                values = self._values(query, series)
                yield series.key, head_of(query, metric, series.fields), points_of(query, metric, values)
            return
        groups: dict[str, tuple[dict[str, str], list[_Series]]] = {}
        for series in found:
            kept = {name: series.fields.get(name, "") for name in query.group_by}
            key = " ".join(kept.values())
            if key >= begin:
                groups.setdefault(key, ({**whole_of(series.fields), **kept}, []))[1].append(series)
        for key in sorted(groups):
            fields, members = groups[key]
            sums: dict[datetime, float] = {}
            for end, value in (each for series in members for each in self._values(query, series)):
                sums[end] = sums.get(end, 0.0) + value
            yield key, head_of(query, metric, fields), points_of(query, metric, sorted(sums.items()))

    def _all_series(self, metric: Metric, asked: SeriesFilter) -> Iterator[_Series]:
        """Yield the series of the metric that the filter can match, ordered by their keys."""
        metric_type, known = asked.metric_type, self._notebooks().machines()
        ids = sorted(known if asked.instances is None else asked.instances & known.keys())
        for machine in (known[gce_id] for gce_id in ids if known[gce_id].spans):
            if not metric.by_code:
                yield _Series(metric_type, metric, machine, "")
                continue
            codes = machine.codes()
            if self.counter == "zeros" and "200" not in codes:
                codes = sorted([*codes, "200"])
            for code in codes:
                yield _Series(metric_type, metric, machine, code)

    def _values(self, query: Query, series: _Series) -> list[tuple[datetime, float]]:
        """Return the values by the end of their minute or period, oldest first."""
        metric, code, value_of = series.metric, series.code, series.metric.value
        zero = 0 if metric.by_code and self.counter == "zeros" else None
        minutes = list(self._minutes(query, series.machine))
        if not minutes:
            return []
        machine = series.machine.during(minutes[0][0] - MINUTE, minutes[-1][0])
        raw = []
        # Without scripts and measurements all minutes of a machine size are alike: one is computed.
        alike: dict[int, float | None] | None = None if machine.scripts or machine.measured else {}
        for minute, vcpus in minutes:
            if alike is None:
                value = value_of(machine, minute, vcpus, code)
            elif vcpus in alike:
                value = alike[vcpus]
            else:
                value = alike[vcpus] = value_of(machine, minute, vcpus, code)
            if value is None:
                value = zero
            if value is not None:
                raw.append((minute, value))
        if query.aligner == "ALIGN_NONE":
            return raw
        return [
            (end, aligned(query.aligner, query.period, found)) for end, found in periods(query.end, query.period, raw)
        ]

    def _minutes(self, query: Query, machine: Machine) -> Iterator[tuple[datetime, int]]:
        """Yield the full minutes in (start, end] in which the machine was up and whose point is visible by now, oldest first.

        Each comes with the machine's vCPUs.
        """
        visible = min(query.end, self.world.clock.now() - self.lag)
        for begun, ended, vcpus in machine.spans:
            low = begun if query.start is None else max(begun, query.start)
            high = visible if ended is None else min(visible, ended)
            minute = low.replace(second=0, microsecond=0) + MINUTE
            while minute <= high:
                yield minute, vcpus
                minute += MINUTE


def _time(body: dict[str, Any], key: str) -> datetime | None:
    text = body.get(key)
    if text is None:
        return None
    try:
        return parse_rfc3339(str(text))
    except ValueError as error:
        raise ApiError("INVALID_ARGUMENT", f"`{key}` is an RFC 3339 time with its zone: {text!r}") from error


def _number(body: dict[str, Any], key: str, *, at_most: float) -> float | None:
    value = body.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= at_most:
        raise ApiError("INVALID_ARGUMENT", f"`{key}` is a number from 0 to {at_most}")
    return float(value)


def _counts(body: dict[str, Any], key: str) -> dict[str, int] | None:
    """Return the counts by response code, None if the key is absent; a plain number counts responses with 200.

    Raise 400 for an invalid code or count.
    """
    said = body.get(key)
    if said is None:
        return None
    counts = said if isinstance(said, dict) else {"200": said}
    for code, count in counts.items():
        if not _RESPONSE_CODE.fullmatch(code) or isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise ApiError(
                "INVALID_ARGUMENT",
                f'`{key}` is a whole number, zero or more, or such numbers by response code: {{"200": 3, "304": 1}}',
            )
    return counts
