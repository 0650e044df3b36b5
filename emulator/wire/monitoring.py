"""The REST API of Cloud Monitoring v3 (`timeSeries.list`) and of the activity script."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

from emulator.clock import parse_rfc3339
from emulator.errors import ApiError, not_served
from emulator.model.monitoring import MonitoringModel
from emulator.model.monitoring_query import Query
from emulator.wire.http import Call, Route, read_int, read_query
from emulator.world import CallSpec, World

_KNOWN = (
    "filter",
    "interval.startTime",
    "interval.endTime",
    "aggregation.alignmentPeriod",
    "aggregation.perSeriesAligner",
    "aggregation.crossSeriesReducer",
    "aggregation.groupByFields",
    "secondaryAggregation.alignmentPeriod",
    "secondaryAggregation.perSeriesAligner",
    "orderBy",
    "view",
    "pageSize",
    "pageToken",
)
_DURATION = re.compile(r"^(\d+)(?:\.\d+)?s$")


def _moment(query: dict[str, str], name: str) -> datetime | None:
    text = query.get(name, "")
    if not text:
        return None
    try:
        return parse_rfc3339(text)
    except ValueError:
        raise ApiError(
            "INVALID_ARGUMENT", f"Invalid value at '{name}' (type.googleapis.com/google.protobuf.Timestamp), \"{text}\""
        ) from None


def _period(query: dict[str, str], which: str = "aggregation") -> timedelta:
    text = query.get(f"{which}.alignmentPeriod", "0s")
    found = _DURATION.match(text)
    if found is None:
        raise ApiError(
            "INVALID_ARGUMENT",
            f"Invalid value at 'aggregation.alignment_period' (type.googleapis.com/google.protobuf.Duration), \"{text}\"",
        )
    return timedelta(seconds=int(found[1]))


def _view(query: dict[str, str]) -> str:
    view = query.get("view", "FULL")
    if view not in {"FULL", "HEADERS"}:
        raise ApiError("INVALID_ARGUMENT", f"Invalid value at 'view' (TYPE_ENUM), \"{view}\"")
    return view


def _list_time_series(world: World, model: MonitoringModel, call: Call) -> dict[str, Any]:
    if call.params["project"] not in {world.project, world.project_number}:
        raise ApiError(
            "PERMISSION_DENIED",
            f"Permission monitoring.timeSeries.list denied (or the resource may not exist): {call.params['project']}.",
        )
    query = read_query(call, _KNOWN)
    end = _moment(query, "interval.endTime")
    if end is None:
        raise ApiError(
            "INVALID_ARGUMENT", "Field interval.end_time had an invalid value: The end time must be specified."
        )
    reducer = query.get("aggregation.crossSeriesReducer", "REDUCE_NONE")
    if reducer not in {"REDUCE_NONE", "REDUCE_SUM"} or query.get("orderBy"):
        raise not_served("The embedded cloud reduces series by REDUCE_SUM only, and orders none.")
    aligner = query.get("aggregation.perSeriesAligner") or "ALIGN_NONE"
    second = query.get("secondaryAggregation.perSeriesAligner") or "ALIGN_NONE"
    if aligner == "ALIGN_NONE" and (reducer != "REDUCE_NONE" or second != "ALIGN_NONE"):
        raise ApiError(
            "INVALID_ARGUMENT",
            "Field aggregation.perSeriesAligner had an invalid value: It must be specified for a reduction or a second aggregation.",
        )
    return model.time_series(
        Query(
            filter=query.get("filter", ""),
            end=end,
            start=_moment(query, "interval.startTime"),
            period=_period(query),
            aligner=aligner,
            group_by=tuple(filter(None, [query.get("aggregation.groupByFields", "")]))
            if reducer == "REDUCE_SUM"
            else None,
            second=(_period(query, "secondaryAggregation"), second) if second != "ALIGN_NONE" else None,
            headers_only=_view(query) == "HEADERS",
            page_size=read_int(query, "pageSize"),
            page_token=query.get("pageToken", ""),
        )
    )


def _say(world: World, model: MonitoringModel, call: Call) -> dict[str, Any]:
    with world.lock:
        said = model.say(call.json())
        world.touch()
    return said


def _said(world: World, model: MonitoringModel) -> dict[str, Any]:
    with world.lock:
        return {"activity": model.said()}


def _configure(world: World, model: MonitoringModel, call: Call) -> dict[str, Any]:
    with world.lock:
        settings = model.configure(call.json())
        world.touch()
    return settings


def routes(world: World, model: MonitoringModel) -> list[Route]:
    """Return the route of the time series, and the routes of the control API."""
    spec = CallSpec("monitoring", "ListTimeSeries", permission="monitoring.timeSeries.list")
    return [
        Route(
            "GET",
            re.compile(r"^/v3/projects/(?P<project>[^/]+)/timeSeries$"),
            spec,
            lambda call: _list_time_series(world, model, call),
            "projects/{project}",
        ),
        Route("POST", re.compile(r"^/_emulator/activity$"), None, lambda call: _say(world, model, call)),
        Route("GET", re.compile(r"^/_emulator/activity$"), None, lambda _: _said(world, model)),
        Route("POST", re.compile(r"^/_emulator/monitoring$"), None, lambda call: _configure(world, model, call)),
        Route("GET", re.compile(r"^/_emulator/monitoring$"), None, lambda _: model.settings()),
    ]
