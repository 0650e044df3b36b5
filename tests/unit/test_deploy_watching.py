"""Metrics, alerts and dashboard of config/deploy: right by the APIs' own types and rules, and all of one piece."""

from __future__ import annotations

import re
from itertools import combinations
from string import Template
from typing import Any

import pytest
import yaml
from google.cloud.logging_v2.types import LogMetric
from google.cloud.monitoring_dashboard_v1.types import Dashboard
from google.cloud.monitoring_v3.types import AlertPolicy
from google.protobuf import json_format
from kit.inprocess import ROOT
from kit.log_query import SERVICES, comparisons

FOLDER = ROOT / "config" / "deploy"
OPERATIONS = ROOT / "docs" / "operations.md"
PREFIX = "logging.googleapis.com/user/"
# Cloud Run's own counters and their labels (Cloud Monitoring, Google Cloud metrics P to Z, run).
GOOGLES = {"run.googleapis.com/request_count": {"response_code", "response_code_class"}}
LABEL = re.compile(r'metric\.labels?\.(\w+)="([^"]*)"')
COLUMNS = 48
# One function for each source, of the same code.
OF_SOURCES = ("benchkeeper-lifecycle", "benchkeeper-directory", "benchkeeper-operator", "benchkeeper-wake")
VALUES = dict.fromkeys(
    (
        "project",
        "region",
        "bucket",
        "topic_lifecycle",
        "topic_directory",
        "topic_operator",
        "topic_wake",
        "topic_tick",
        "topic_dead_letter",
        "topic_notifications",
    ),
    "acme-analytics",
)


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load(Template((FOLDER / name).read_text(encoding="utf-8")).substitute(VALUES))


METRICS, ALERTS, DASHBOARD = read("metrics.yaml")["metrics"], read("alerts.yaml")["alerts"], read("dashboard.yaml")
TILES = DASHBOARD["mosaicLayout"]["tiles"]
CONDITIONS = [
    (key, kind, condition[kind])
    for key, alert in ALERTS.items()
    for condition in alert["conditions"]
    for kind in ("conditionThreshold", "conditionAbsent")
    if kind in condition
]


def queries() -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(title, the filter, the widget's part that it stands in) of every chart."""
    found = []
    for tile in TILES:
        widget = tile["widget"]
        parts = [*widget.get("xyChart", {}).get("dataSets", []), *filter(None, [widget.get("scorecard")])]
        found += [(widget["title"], part["timeSeriesQuery"]["timeSeriesFilter"], part) for part in parts]
    return found


def metric_of(text: str) -> str:
    (metric,) = re.findall(r'metric\.type="([^"]+)"', text)
    assert metric.startswith(PREFIX) or metric in GOOGLES
    assert 'resource.type="cloud_run_revision"' in text
    return metric.removeprefix(PREFIX)


def is_distribution(metric: str) -> bool:
    return metric not in GOOGLES and METRICS[metric]["metricDescriptor"]["valueType"] == "DISTRIBUTION"


def labels_of(metric: str) -> set[str]:
    if metric in GOOGLES:
        return GOOGLES[metric]
    return {label["key"] for label in METRICS[metric]["metricDescriptor"].get("labels", [])}


# --- metrics


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_what_the_api_takes(name):
    body = METRICS[name]
    json_format.ParseDict(body, LogMetric.pb(LogMetric()))  # an unknown field or a wrong value is an error
    descriptor = body["metricDescriptor"]
    assert descriptor["metricKind"] == "DELTA"
    assert labels_of(name) == set(body.get("labelExtractors", {}))
    assert len(body["description"]) <= 8000
    assert ("valueExtractor" in body) == ("bucketOptions" in body) == (descriptor["valueType"] == "DISTRIBUTION")
    assert descriptor["valueType"] in {"DISTRIBUTION", "INT64"}
    bounds = body.get("bucketOptions", {}).get("explicitBuckets", {}).get("bounds", [])
    assert bounds == sorted(set(bounds))
    assert len(bounds) < 200  # buckets of a log-based metric


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_looks_only_at_functions_that_are_deployed(name):
    said = dict(comparisons(METRICS[name]["filter"]))
    assert said["resource.type"] == ("cloud_run_revision",)
    functions = read("functions.yaml")["functions"]
    assert set(said["resource.labels.service_name"]) <= set(functions)
    by_code = {each["entry_point"]: service for service, each in reversed(functions.items()) if not each.get("http")}
    assert by_code == SERVICES  # functions of the same code write the same lines
    said_of = set(said["resource.labels.service_name"])
    assert not said_of & set(OF_SOURCES) or set(OF_SOURCES) <= said_of
    assert said["jsonPayload.message"]


def test_every_metric_is_seen_or_watched():
    charted = {metric_of(query["filter"]) for _, query, _ in queries()}
    watched = {metric_of(condition["filter"]) for _, _, condition in CONDITIONS}
    assert (charted | watched) - set(GOOGLES) == set(METRICS)


# --- alerts


@pytest.mark.parametrize("key", ALERTS)
def test_an_alert_is_what_the_api_takes_and_says_what_it_means(key):
    alert = ALERTS[key]
    json_format.ParseDict(alert, AlertPolicy.pb(AlertPolicy()))
    assert {"userLabels", "notificationChannels", "name"}.isdisjoint(alert)  # the driver's
    assert alert["severity"] in {"CRITICAL", "ERROR", "WARNING"}
    assert alert["combiner"] == "OR"
    text = alert["documentation"]["content"]
    assert alert["documentation"]["mimeType"] == "text/markdown"
    assert text.endswith(f"Runbook: docs/operations.md#{key}")
    assert 100 < len(text.encode()) <= 10_240
    assert len(alert["conditions"]) <= 6
    assert seconds(alert["alertStrategy"]["autoClose"]) >= 1800


def seconds(text: str) -> int:
    assert re.fullmatch(r"\d+s", text)
    return int(text[:-1])


@pytest.mark.parametrize(("key", "kind", "condition"), CONDITIONS)
def test_a_condition_keeps_monitorings_rules(key, kind, condition):
    metric = metric_of(condition["filter"])
    (aggregation,) = condition["aggregations"]
    assert {name for name, _ in LABEL.findall(condition["filter"])} <= labels_of(metric)
    assert aggregation["perSeriesAligner"] == "ALIGN_DELTA"  # what both counters and distributions take
    assert seconds(aggregation["alignmentPeriod"]) >= 60
    assert seconds(aggregation["alignmentPeriod"]) <= 25 * 3600
    assert seconds(condition["duration"]) % 60 == 0
    reducer = aggregation["crossSeriesReducer"]
    if kind == "conditionAbsent":
        assert 120 <= seconds(condition["duration"]) <= 23.5 * 3600
        assert (reducer, "groupByFields" in aggregation) == (
            "REDUCE_SUM",
            False,
        )  # else each old revision would be missed
        return
    assert condition["comparison"] in {"COMPARISON_GT", "COMPARISON_LT"}
    if not is_distribution(metric):
        assert reducer == "REDUCE_SUM"
    elif reducer.startswith("REDUCE_PERCENTILE"):
        # A percentile is estimated inside a bucket: only a bound is exact.
        assert condition["thresholdValue"] in METRICS[metric]["bucketOptions"]["explicitBuckets"]["bounds"]
    else:
        assert reducer == "REDUCE_MEAN"


def test_the_values_that_alerts_ask_for_are_ones_that_are_logged():
    from shared.domain.things.errors import Reason  # noqa: PLC0415 - beside what it checks

    known = {
        "reason": {reason.value for reason in Reason},
        "kind": {"due", "idle", "drift", "roster"},
        "outcome": {"ack", "nack", "dead-letter"},
        "response_code": {"401"},
        "response_code_class": {"5xx"},
        "what": {
            text
            for name in ("benchkeeper/failures", "benchkeeper/intake_alarms")
            for text in dict(comparisons(METRICS[name]["filter"]))["jsonPayload.message"]
        },
    }
    asked = [pair for _, _, condition in CONDITIONS for pair in LABEL.findall(condition["filter"])]
    assert asked
    assert [(label, value) for label, value in asked if value not in known[label]] == []


@pytest.mark.skipif(not OPERATIONS.exists(), reason="the runbook is not written yet")
@pytest.mark.parametrize("key", ALERTS)
def test_the_runbook_has_the_section_that_an_alert_names(key):
    heads = re.findall(r"^#+ (.+)$", OPERATIONS.read_text(encoding="utf-8"), re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-") for head in heads}
    named = set(re.findall(r'<a (?:id|name)="([^"]+)"', OPERATIONS.read_text(encoding="utf-8")))
    assert key in anchors | named


def test_an_alert_on_googles_own_counters_looks_at_our_page_only():
    asked = [condition["filter"] for _, _, condition in CONDITIONS if metric_of(condition["filter"]) in GOOGLES]
    functions = read("functions.yaml")["functions"]
    (page,) = (name for name, each in functions.items() if each.get("http"))
    assert asked
    assert all(f'resource.label.service_name="{page}"' in each for each in asked)


# --- dashboard


def test_the_dashboard_is_what_the_api_takes():
    json_format.ParseDict(DASHBOARD, Dashboard.pb(Dashboard()))
    assert set(DASHBOARD) == {"displayName", "mosaicLayout"}
    assert DASHBOARD["mosaicLayout"]["columns"] == COLUMNS
    assert len(TILES) <= 100


def test_the_tiles_fill_the_width_and_none_lies_on_another():
    cells = []
    for tile in TILES:
        left, top = tile.get("xPos", 0), tile.get("yPos", 0)
        assert left + tile["width"] <= COLUMNS
        cells.append({(x, y) for x in range(left, left + tile["width"]) for y in range(top, top + tile["height"])})
    assert all(a.isdisjoint(b) for a, b in combinations(cells, 2))
    height = max(y for cell in cells for _, y in cell) + 1
    assert sum(map(len, cells)) == COLUMNS * height


@pytest.mark.parametrize(("title", "query", "part"), queries())
def test_a_chart_asks_for_what_its_metric_has(title, query, part):
    metric = metric_of(query["filter"])
    aggregation = query["aggregation"]
    assert aggregation["perSeriesAligner"] == "ALIGN_DELTA"
    reducers = (
        {"REDUCE_MEAN", "REDUCE_PERCENTILE_50", "REDUCE_PERCENTILE_99"} if is_distribution(metric) else {"REDUCE_SUM"}
    )
    assert aggregation["crossSeriesReducer"] in reducers
    grouped = {field.removeprefix("metric.label.") for field in aggregation.get("groupByFields", [])}
    assert grouped <= labels_of(metric)
    assert {name for name, _ in LABEL.findall(query["filter"])} <= labels_of(metric)
    left = {
        f.removeprefix("metric.label.") for f in query.get("secondaryAggregation", aggregation).get("groupByFields", [])
    }
    assert left <= grouped
    assert set(re.findall(r"\$\{metric\.labels\.(\w+)\}", part.get("legendTemplate", ""))) == left
    assert len(title) <= 100


@pytest.mark.parametrize(("title", "query", "part"), queries())
def test_a_mean_is_taken_of_one_series_a_label_before_anything_is_added_up(title, query, part):
    """The mean over profiles that are not told apart would be no number of anything."""
    metric = metric_of(query["filter"])
    if query["aggregation"]["crossSeriesReducer"] == "REDUCE_MEAN":
        fixed = {name for name, _ in LABEL.findall(query["filter"])}
        grouped = {field.removeprefix("metric.label.") for field in query["aggregation"].get("groupByFields", [])}
        assert fixed | grouped == labels_of(metric)


def test_the_red_lines_of_the_charts_are_where_the_alerts_are():
    alerts = {
        (metric_of(c["filter"]), c["thresholdValue"]) for _, kind, c in CONDITIONS if kind == "conditionThreshold"
    }
    for tile in TILES:
        chart = tile["widget"].get("xyChart") or tile["widget"].get("scorecard") or {}
        shown = {metric_of(query["filter"]) for title, query, _ in queries() if title == tile["widget"].get("title")}
        for line in chart.get("thresholds", []):
            assert any((metric, line["value"]) in alerts for metric in shown), tile["widget"]["title"]


def test_what_the_dashboard_must_show_is_there():
    shown = {metric_of(query["filter"]).removeprefix("benchkeeper/") for _, query, _ in queries()}
    assert shown >= {
        "environments",
        "event_to_ready_seconds",
        "oldest_due_seconds",
        "dead_letters",
        "blind_instances",
        "running_cost_per_hour",
    }
    percentiles = {
        query["aggregation"]["crossSeriesReducer"] for _, query, _ in queries() if "event_to_ready" in query["filter"]
    }
    assert percentiles == {"REDUCE_PERCENTILE_50", "REDUCE_PERCENTILE_99"}
