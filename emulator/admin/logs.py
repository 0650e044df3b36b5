"""The configuration of Cloud Logging: sinks of the project and of its organization, and log-based metrics."""

from __future__ import annotations

import re
from urllib.parse import unquote

from emulator.admin.ground import Ask, Ground, Handler, Json
from emulator.errors import ApiError
from emulator.model.log_sinks import Sinks

_METRIC = re.compile(r"[A-Za-z0-9_.,+!*',()%/-]{1,100}")
_EXTRACTOR = re.compile(r"(REGEXP_)?EXTRACT\(.+\)", re.DOTALL)
_LABEL = re.compile(r"[a-z][a-z0-9_]{0,99}")
_BUCKETS = {"linearBuckets", "exponentialBuckets", "explicitBuckets"}
_MAX_LABELS = 10


class Logs:
    """A service with the log sinks and the log-based metrics, stored by name."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._sinks = Sinks(
            ground.embedded.world, project=ground.project, number=ground.number, organization=ground.organization
        )
        self.metrics: dict[str, Json] = {}

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by method id.

        Each method of sinks has three ids: gcloud calls those of projects and of organizations, other clients may call
        the one for any parent.
        """
        found: dict[str, Handler] = {
            "logging.projects.metrics.create": self.create_metric,
            "logging.projects.metrics.get": self._metric,
            "logging.projects.metrics.list": self.list_metrics,
            "logging.projects.metrics.update": self.update_metric,
            "logging.projects.metrics.delete": self.delete_metric,
        }
        for of in ("logging.sinks", "logging.projects.sinks", "logging.organizations.sinks"):
            found |= {
                f"{of}.create": self._create_sink,
                f"{of}.get": lambda ask: self._sinks.get(ask.of("sinkName")),
                f"{of}.list": lambda ask: self._sinks.listing(ask.of("parent")),
                f"{of}.update": self._update_sink,
                f"{of}.patch": self._update_sink,
                f"{of}.delete": lambda ask: self._sinks.delete(ask.of("sinkName")),
            }
        return found

    @property
    def sinks(self) -> dict[str, Json]:
        """The sinks by full name."""
        return self._sinks.by_name

    def _create_sink(self, ask: Ask) -> Json:
        return self._sinks.create(ask.of("parent"), ask.body, unique=ask.query.get("uniqueWriterIdentity") == "True")

    def _update_sink(self, ask: Ask) -> Json:
        return self._sinks.update(ask.of("sinkName"), ask.body, mask=ask.query.get("updateMask", ""))

    # ---- metrics

    def create_metric(self, ask: Ask) -> Json:
        """Answer `metrics.create`."""
        name = str(ask.body.get("name", ""))
        if _METRIC.fullmatch(name) is None:
            raise ApiError("INVALID_ARGUMENT", f"Invalid metric name: {name!r}")
        if name in self.metrics:
            raise ApiError("ALREADY_EXISTS", f"Metric {name} already exists")
        self.metrics[name] = self._kept(ask.body) | {"createTime": self._ground.now(), "updateTime": self._ground.now()}
        return self.metrics[name]

    def update_metric(self, ask: Ask) -> Json:
        """Answer `metrics.update`: replace the whole metric; its kind and value type cannot change."""
        old = self._metric(ask)
        new = self._kept(ask.body)
        if old["name"] != new["name"]:
            raise ApiError("INVALID_ARGUMENT", "The name of a metric cannot be changed")
        for key in ("metricKind", "valueType"):
            if old["metricDescriptor"][key] != new["metricDescriptor"][key]:
                raise ApiError(
                    "INVALID_ARGUMENT", f"Cannot change the {key} of a metric from {old['metricDescriptor'][key]}"
                )
        self.metrics[new["name"]] = new | {"createTime": old["createTime"], "updateTime": self._ground.now()}
        return self.metrics[new["name"]]

    def list_metrics(self, ask: Ask) -> Json:
        """Answer `metrics.list`."""
        del ask
        found = [metric for _, metric in sorted(self.metrics.items())]
        return {"metrics": found} if found else {}

    def delete_metric(self, ask: Ask) -> Json:
        """Answer `metrics.delete`."""
        del self.metrics[self._metric(ask)["name"]]
        return {}

    def _metric(self, ask: Ask) -> Json:
        # The API's own rule: an id with a slash is percent-encoded in a metricName (LogMetric.name, nginx%2Frequests).
        name = unquote(ask.of("metricName").partition("/metrics/")[2])
        if name not in self.metrics:
            raise ApiError("NOT_FOUND", f"Metric {name} does not exist")
        return self.metrics[name]

    def _kept(self, body: Json) -> Json:
        _check_metric(body)
        kind = {"metricKind": "DELTA", "valueType": "INT64"} | body.get("metricDescriptor", {})
        where = f"logging.googleapis.com/user/{body['name']}"
        kind |= {"type": where, "name": f"projects/{self._ground.project}/metricDescriptors/{where}"}
        kept = {key: value for key, value in body.items() if key not in ("createTime", "updateTime", "version")}
        return {
            **kept,
            "metricDescriptor": kind,
            "resourceName": f"projects/{self._ground.project}/metrics/{body['name']}",
        }


def _check_metric(metric: Json) -> None:
    if not metric.get("filter"):
        raise ApiError("INVALID_ARGUMENT", "A metric needs a filter")
    kind, extractors = metric.get("metricDescriptor", {}), metric.get("labelExtractors", {})
    labels = {label.get("key") for label in kind.get("labels", [])}
    if labels != set(extractors):
        raise ApiError(
            "INVALID_ARGUMENT", f"Label extractors and labels differ: {sorted(labels ^ set(extractors), key=str)}"
        )
    if len(labels) > _MAX_LABELS or any(_LABEL.fullmatch(str(label)) is None for label in labels):
        raise ApiError("INVALID_ARGUMENT", f"Invalid labels: {sorted(labels, key=str)}")
    distribution = kind.get("valueType") == "DISTRIBUTION"
    if distribution != bool(metric.get("valueExtractor")):
        raise ApiError("INVALID_ARGUMENT", "A value extractor is needed for a DISTRIBUTION metric, and for no other")
    for text in [*extractors.values(), *filter(None, [metric.get("valueExtractor")])]:
        if _EXTRACTOR.fullmatch(text) is None:
            raise ApiError("INVALID_ARGUMENT", f"Invalid extractor expression: {text!r}")
    options = metric.get("bucketOptions")
    if options and (not distribution or len(_BUCKETS & set(options)) != 1):
        raise ApiError("INVALID_ARGUMENT", "bucketOptions are for a DISTRIBUTION metric, with one kind of buckets")
    if distribution and kind.get("metricKind", "DELTA") != "DELTA":
        raise ApiError("INVALID_ARGUMENT", "A log-based metric is of the kind DELTA")
