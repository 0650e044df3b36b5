"""The time series that Cloud Monitoring has of the instances' VMs, computed from the activity script.

There is at most one point a minute, on the minute, only while the VM is ACTIVE. Points are not stored: a query computes its
points.

The counter of the proxy agent has a series for each response code, and a point only in a minute in which that code was
returned: the agent makes its map of codes anew each minute (google/inverting-proxy, agent/metrics/metrics.go, read 2026-11-28).
So a quiet minute has no point. Whether the counter is visible in a project at all is not documented; `counter` switches both.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from emulator.clock import parse_rfc3339
from emulator.errors import ApiError, not_served
from emulator.model.filters import series_filter
from emulator.model.notebooks import NotebooksModel
from emulator.model.notebooks_activity import Machine, Script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from emulator.world import World

_MINUTE = timedelta(minutes=1)
_JUST_BEFORE = timedelta(microseconds=1)  # a minute has the value of its end, so that a start is visible early
_MAX_PAGE = 100_000
_KERNELS = ("busy", "idle", "none")
COUNTER_MODES = ("sparse", "zeros", "invisible")
DEFAULT_COUNTER = "zeros"  # the product's idle rule still waits for zeros in quiet minutes; the agent writes `sparse`
_RESPONSE_CODE = re.compile(r"[1-5]\d\d")


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of a `gce_instance`: its kind, its value's type and its unit.

    `value` returns the value of a machine's minute from the machine, the minute, its vCPUs and the response code (empty for metrics
    that have no series by code); None is no point.
    """

    kind: str
    value_type: str
    unit: str
    value: Callable[[Machine, datetime, int, str], float | None]
    by_code: bool = False


def _cpu(machine: Machine, minute: datetime, _vcpus: int, _code: str) -> float:
    return machine.cpu(minute - _JUST_BEFORE, DEFAULT_CPU)


def _cores(machine: Machine, minute: datetime, vcpus: int, code: str) -> float:
    return _cpu(machine, minute, vcpus, code) * vcpus * _MINUTE.total_seconds()


def _vcpus(_machine: Machine, _minute: datetime, vcpus: int, _code: str) -> float:
    return vcpus


def _responses(machine: Machine, minute: datetime, _vcpus: int, code: str) -> float | None:
    return machine.requests(minute - _JUST_BEFORE, code) or None


DEFAULT_CPU = 0.01  # the usage of an ACTIVE instance without activity
COUNTER = "notebooks.googleapis.com/instance/proxy_agent/response_count"
METRICS: dict[str, Metric] = {
    "compute.googleapis.com/instance/cpu/utilization": Metric("GAUGE", "DOUBLE", "10^2.%", _cpu),
    "compute.googleapis.com/instance/cpu/usage_time": Metric("DELTA", "DOUBLE", "s{CPU}", _cores),
    "compute.googleapis.com/instance/cpu/guest_visible_vcpus": Metric("GAUGE", "DOUBLE", "1", _vcpus),
    COUNTER: Metric("DELTA", "INT64", "1", _responses, by_code=True),
}
# aligner -> (accepted kinds, kind and type of the result; None = unchanged)
_ALIGNERS: dict[str, tuple[tuple[str, ...], str | None, str | None]] = {
    "ALIGN_MEAN": (("GAUGE",), "GAUGE", "DOUBLE"),
    "ALIGN_MAX": (("GAUGE",), "GAUGE", None),
    "ALIGN_SUM": (("GAUGE", "DELTA"), None, None),
    "ALIGN_DELTA": (("DELTA",), "DELTA", None),
    "ALIGN_RATE": (("DELTA",), "GAUGE", "DOUBLE"),
}


@dataclass(frozen=True, slots=True)
class Query:
    """A `timeSeries.list` request. With `start` None, only the newest point; with `period` zero, no alignment."""

    filter: str
    end: datetime
    start: datetime | None = None
    period: timedelta = timedelta(0)
    aligner: str = "ALIGN_NONE"
    headers_only: bool = False
    page_size: int = 0
    page_token: str = ""


@dataclass(frozen=True, slots=True)
class _Series:
    """A time series: a metric of a machine and, for the counter, of a response code."""

    metric_type: str
    metric: Metric
    machine: Machine
    code: str

    @property
    def key(self) -> str:
        """The key that orders series over the pages of a list."""
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
    """The time series of the machines of the world's `NotebooksModel`. `lag` is the time until a point becomes visible.

    The default is 240 s, because the documentation of Google's metrics says of cpu/utilization "sampled every 60 seconds, after
    sampling data is not visible for up to 240 seconds". A reader that works with the worst case works.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.lag = timedelta(seconds=240)
        self.counter = DEFAULT_COUNTER

    def dump(self) -> Any:
        """Return lag and counter mode only: the notebooks model keeps the scripts, with the machines."""
        return {"lag": self.lag.total_seconds(), "counter": self.counter}

    def load(self, state: Any) -> None:
        """Replace the state by a result of `dump`."""
        self.lag = timedelta(seconds=state["lag"])
        self.counter = state.get("counter", DEFAULT_COUNTER)

    def settings(self) -> dict[str, Any]:
        """Return the switches of the control API."""
        return {"counter": self.counter, "lag_seconds": self.lag.total_seconds()}

    def configure(self, body: dict[str, Any]) -> dict[str, Any]:
        """Set the mode of the proxy counter: `sparse` as on Google Cloud, `zeros` in quiet minutes, too, or `invisible`."""
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
        """Script the activity on an instance; 400 for unknown fields and bad values, 404 for an unknown instance."""
        unknown = sorted(set(body) - {"instance", "cpu", "requests_per_minute", "kernels", "from", "until"})
        if unknown:
            raise ApiError("INVALID_ARGUMENT", f"unknown activity fields {unknown}")
        if not isinstance(body.get("instance"), str):
            raise ApiError("INVALID_ARGUMENT", "an activity needs `instance`: an instance's id or full name")
        instance = self._notebooks().resolve(body["instance"])
        script = Script(
            since=_time(body, "from") or self.world.clock.now(),
            until=_time(body, "until"),
            cpu=_number(body, "cpu", at_most=1.0),
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
        metric_type, meant = series_filter(query.filter)
        metric = METRICS.get(metric_type)
        if metric is None or (metric_type == COUNTER and self.counter == "invisible"):
            raise ApiError(
                "NOT_FOUND",
                f'Cannot find metric(s) that match type = "{metric_type}". If a metric was created recently, it could take up to 10 minutes to become available. Please try again soon.',
            )
        _check(query, metric)
        begin, skipped = _cursor(query)
        budget = min(query.page_size or _MAX_PAGE, _MAX_PAGE)
        found: list[dict[str, Any]] = []
        token = ""
        for series in self._all_series(metric_type, metric):
            if series.key < begin or not meant(series.fields):
                continue
            points = self._points(query, series)
            first = skipped if series.key == begin else 0
            if not points[first:]:
                continue
            if budget <= 0:
                token = _token(series.key, first)
                break
            taken = points[first:] if query.headers_only else points[first : first + budget]
            found.append(_view(query, series, taken))
            budget -= 1 if query.headers_only else len(taken)
            if first + len(taken) < len(points):
                token = _token(series.key, first + len(taken))
                break
        result: dict[str, Any] = {"timeSeries": found} if found else {}
        if token:
            result["nextPageToken"] = token
        return result | {"unit": metric.unit}

    def _all_series(self, metric_type: str, metric: Metric) -> Iterator[_Series]:
        """Yield all series of the metric, ordered by their keys."""
        machines = [machine for machine in self._notebooks().machines().values() if machine.spans]
        for machine in sorted(machines, key=lambda machine: machine.gce_id):
            if not metric.by_code:
                yield _Series(metric_type, metric, machine, "")
                continue
            codes = machine.codes()
            if self.counter == "zeros" and "200" not in codes:
                codes = sorted([*codes, "200"])
            for code in codes:
                yield _Series(metric_type, metric, machine, code)

    def _points(self, query: Query, series: _Series) -> list[dict[str, Any]]:
        """Return the points, newest first as the API returns them."""
        metric, machine = series.metric, series.machine
        zero = 0 if metric.by_code and self.counter == "zeros" else None
        values = ((m, metric.value(machine, m, vcpus, series.code)) for m, vcpus in self._minutes(query, machine))
        raw = [(minute, known) for minute, value in values if (known := zero if value is None else value) is not None]
        kind, value_type = _result_kind(query, metric)
        if query.aligner == "ALIGN_NONE":
            points = [_point(minute, value, kind, value_type, _MINUTE) for minute, value in raw]
        else:
            points = [
                _point(end, _aligned(query, values), kind, value_type, query.period)
                for end, values in _periods(query, raw)
            ]
        points.reverse()
        return points if query.start is not None else points[:1]

    def _minutes(self, query: Query, machine: Machine) -> Iterator[tuple[datetime, int]]:
        """Yield the full minutes in (start, end] in which the machine was up and whose point is visible by now, oldest first.

        Each comes with the machine's vCPUs.
        """
        visible = min(query.end, self.world.clock.now() - self.lag)
        for begun, ended, vcpus in machine.spans:
            low = begun if query.start is None else max(begun, query.start)
            high = visible if ended is None else min(visible, ended)
            minute = low.replace(second=0, microsecond=0) + _MINUTE
            while minute <= high:
                yield minute, vcpus
                minute += _MINUTE


def _view(query: Query, series: _Series, points: list[dict[str, Any]]) -> dict[str, Any]:
    kind, value_type = _result_kind(query, series.metric)
    labels = {key: series.fields[f"resource.labels.{key}"] for key in ("project_id", "instance_id", "zone")}
    view: dict[str, Any] = {
        "metric": {"type": series.metric_type, "labels": series.labels},
        "resource": {"type": "gce_instance", "labels": labels},
        "metricKind": kind,
        "valueType": value_type,
    }
    return view if query.headers_only else view | {"points": points}


def _check(query: Query, metric: Metric) -> None:
    if query.start is not None and query.start >= query.end:
        raise ApiError(
            "INVALID_ARGUMENT",
            "Field interval.start_time had an invalid value: The start time must be before the end time for the interval.",
        )
    if query.page_size < 0:
        raise ApiError("INVALID_ARGUMENT", f"Field page_size had an invalid value of {query.page_size}.")
    if query.aligner == "ALIGN_NONE":
        return
    if query.aligner not in _ALIGNERS:
        raise ApiError(
            "INVALID_ARGUMENT", f'Field aggregation.perSeriesAligner had an invalid value of "{query.aligner}".'
        )
    if query.period < _MINUTE:
        raise ApiError(
            "INVALID_ARGUMENT",
            "Field aggregation.alignmentPeriod had an invalid value: The alignment period must be at least 60 seconds.",
        )
    if metric.kind not in _ALIGNERS[query.aligner][0]:
        raise ApiError(
            "INVALID_ARGUMENT",
            f'Field aggregation.perSeriesAligner had an invalid value of "{query.aligner}": The aligner cannot be applied to '
            f"metrics with kind {metric.kind} and value type {metric.value_type}.",
        )


def _result_kind(query: Query, metric: Metric) -> tuple[str, str]:
    _, kind, value_type = _ALIGNERS.get(query.aligner, ((), None, None))
    return kind or metric.kind, value_type or metric.value_type


def _periods(query: Query, raw: list[tuple[datetime, float]]) -> Iterator[tuple[datetime, list[float]]]:
    """Yield the alignment periods, counted back from the end of the interval, without those that have no point."""

    def period_end(entry: tuple[datetime, float]) -> datetime:
        return query.end - ((query.end - entry[0]) // query.period) * query.period

    for end, entries in itertools.groupby(raw, period_end):
        yield end, [value for _, value in entries]


def _aligned(query: Query, values: list[float]) -> float:
    match query.aligner:
        case "ALIGN_MEAN":
            return sum(values) / len(values)
        case "ALIGN_MAX":
            return max(values)
        case "ALIGN_RATE":
            return sum(values) / query.period.total_seconds()
        case _:
            return sum(values)


def _point(end: datetime, value: float, kind: str, value_type: str, period: timedelta) -> dict[str, Any]:
    start = end - period if kind == "DELTA" else end
    shown: dict[str, Any] = {"int64Value": str(int(value))} if value_type == "INT64" else {"doubleValue": value}
    return {"interval": {"startTime": _text(start), "endTime": _text(end)}, "value": shown}


def _text(moment: datetime) -> str:
    utc = moment.astimezone(UTC)
    return f"{utc:%Y-%m-%dT%H:%M:%S}Z" if not utc.microsecond else f"{utc:%Y-%m-%dT%H:%M:%S.%f}Z"


def _token(key: str, first: int) -> str:
    return base64.urlsafe_b64encode(json.dumps([key, first]).encode()).decode()


def _cursor(query: Query) -> tuple[str, int]:
    if not query.page_token:
        return "", 0
    try:
        key, first = json.loads(base64.urlsafe_b64decode(query.page_token.encode()))
        return str(key), int(first)
    except (ValueError, binascii.Error, TypeError) as error:
        raise ApiError("INVALID_ARGUMENT", "Field page_token had an invalid value.") from error


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
    """Return the counts by response code; a plain number counts responses with 200."""
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
