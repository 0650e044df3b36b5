"""The answer to a query of time series: alignment to periods, points as JSON, and pages."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from emulator.errors import ApiError, not_served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from emulator.model.notebooks_activity import Machine

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of a `gce_instance`: its kind, its value's type and its unit.

    `value` takes the machine, the minute, the vCPUs and the response code (empty for a metric without codes). It
    returns the value of that minute; None means no point.
    """

    kind: str
    value_type: str
    unit: str
    value: Callable[[Machine, datetime, int, str], float | None]
    by_code: bool = False


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
    """A `timeSeries.list` request.

    With `start` None, only the newest point is returned; with `period` zero, points are not aligned.

    `group_by` has the fields that a sum over series keeps; None: no sum. `second` is the secondary alignment, (period,
    aligner).
    """

    filter: str
    end: datetime
    start: datetime | None = None
    period: timedelta = timedelta(0)
    aligner: str = "ALIGN_NONE"
    headers_only: bool = False
    page_size: int = 0
    page_token: str = ""
    group_by: tuple[str, ...] | None = None
    second: tuple[timedelta, str] | None = None


def whole_of(fields: dict[str, str]) -> dict[str, str]:
    """Return those fields that all series share, and that every sum therefore keeps."""
    return {name: fields[name] for name in ("metric.type", "resource.type", "resource.labels.project_id")}


def head_of(query: Query, metric: Metric, fields: dict[str, str]) -> dict[str, Any]:
    """Return the JSON of a series without its points."""
    kind, value_type = _result_kind(query, metric)

    def labels(prefix: str) -> dict[str, str]:
        return {name.removeprefix(prefix): value for name, value in fields.items() if name.startswith(prefix)}

    said = labels("metric.labels.")
    return {
        "metric": {"type": fields["metric.type"]} | ({"labels": said} if said else {}),
        "resource": {"type": fields["resource.type"], "labels": labels("resource.labels.")},
        "metricKind": kind,
        "valueType": value_type,
    }


def points_of(query: Query, metric: Metric, values: list[tuple[datetime, float]]) -> list[dict[str, Any]]:
    """Return the points, newest first as the API returns them; only the newest for a query without a start."""
    kind, value_type = _result_kind(query, metric)
    period = MINUTE if query.aligner == "ALIGN_NONE" else query.period
    if query.second is not None:
        period, aligner = query.second
        values = [(end, aligned(aligner, period, found)) for end, found in periods(query.end, period, values)]
    points = [_point(end, value, kind, value_type, period) for end, value in reversed(values)]
    return points if query.start is not None else points[:1]


def check(query: Query, metric: Metric) -> None:
    """Raise `ApiError` (400) for a query that the API refuses for this metric."""
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
    if query.period < MINUTE:
        raise ApiError(
            "INVALID_ARGUMENT",
            "Field aggregation.alignmentPeriod had an invalid value: The alignment period must be at least 60 seconds.",
        )
    if query.second is not None and query.second[1] not in {"ALIGN_MAX", "ALIGN_MEAN", "ALIGN_SUM"}:
        raise not_served(f"The embedded cloud has no second alignment {query.second[1]}.")
    if metric.kind not in _ALIGNERS[query.aligner][0]:
        raise ApiError(
            "INVALID_ARGUMENT",
            f'Field aggregation.perSeriesAligner had an invalid value of "{query.aligner}": The aligner cannot be applied to '
            f"metrics with kind {metric.kind} and value type {metric.value_type}.",
        )


def _result_kind(query: Query, metric: Metric) -> tuple[str, str]:
    _, kind, value_type = _ALIGNERS.get(query.aligner, ((), None, None))
    return kind or metric.kind, value_type or metric.value_type


def periods(
    last: datetime, period: timedelta, raw: list[tuple[datetime, float]]
) -> Iterator[tuple[datetime, list[float]]]:
    """Yield the alignment periods, counted back from the end of the interval, without those that have no point."""
    end: datetime | None = None
    found: list[float] = []
    for at, value in raw:  # oldest first, so a period is looked for only after the end of the one before
        if end is None or at > end:
            if end is not None:
                yield end, found
            end, found = last - ((last - at) // period) * period, []
        found.append(value)
    if end is not None:
        yield end, found


def aligned(aligner: str, period: timedelta, values: list[float]) -> float:
    """Return the value of one alignment period."""
    match aligner:
        case "ALIGN_MEAN":
            return sum(values) / len(values)
        case "ALIGN_MAX":
            return max(values)
        case "ALIGN_RATE":
            return sum(values) / period.total_seconds()
        case _:
            return sum(values)


def _point(end: datetime, value: float, kind: str, value_type: str, period: timedelta) -> dict[str, Any]:
    start = end - period if kind == "DELTA" else end
    shown: dict[str, Any] = {"int64Value": str(int(value))} if value_type == "INT64" else {"doubleValue": value}
    return {"interval": {"startTime": _text(start), "endTime": _text(end)}, "value": shown}


def _text(moment: datetime) -> str:
    utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return utc.isoformat().removesuffix("+00:00") + "Z"


def page_token_of(key: str, first: int) -> str:
    """Return the token of a page that begins at point `first` of the series `key`."""
    return base64.urlsafe_b64encode(json.dumps([key, first]).encode()).decode()


def cursor_of(query: Query) -> tuple[str, int]:
    """Return the series and the point with which the token's page begins; ("", 0) without a token.

    Raise `ApiError` (400) for a token that was not issued here.
    """
    if not query.page_token:
        return "", 0
    try:
        key, first = json.loads(base64.urlsafe_b64decode(query.page_token.encode()))
        return str(key), int(first)
    except (ValueError, binascii.Error, TypeError) as error:
        raise ApiError("INVALID_ARGUMENT", "Field page_token had an invalid value.") from error
