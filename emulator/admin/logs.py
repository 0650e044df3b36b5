"""The configuration of Cloud Logging: sinks of the project and of its organization, and log-based metrics."""

from __future__ import annotations

import re
from urllib.parse import unquote

from emulator.admin.ground import Ask, Ground, Handler, Json
from emulator.errors import ApiError

_SINK = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_METRIC = re.compile(r"[A-Za-z0-9_.,+!*',()%/-]{1,100}")
_DESTINATION = re.compile(
    r"pubsub\.googleapis\.com/projects/[^/]+/topics/[^/]+|storage\.googleapis\.com/[^/]+"
    r"|bigquery\.googleapis\.com/projects/[^/]+/datasets/[^/]+|logging\.googleapis\.com/projects/\S+"
)
_EXTRACTOR = re.compile(r"(REGEXP_)?EXTRACT\(.+\)", re.DOTALL)
_LABEL = re.compile(r"[a-z][a-z0-9_]{0,99}")
_BUCKETS = {"linearBuckets", "exponentialBuckets", "explicitBuckets"}
_OWN = ("_Required", "_Default")
_MAX_LABELS = 10


class Logs:
    """The sinks by full name (`projects/P/sinks/S`, `organizations/O/sinks/S`), and the metrics by name."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self.sinks: dict[str, Json] = {}
        self.metrics: dict[str, Json] = {}

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by method id. gcloud calls the methods of the parent's kind; other clients may call the general ones."""
        found: dict[str, Handler] = {
            "logging.projects.metrics.create": self.create_metric,
            "logging.projects.metrics.get": self._metric,
            "logging.projects.metrics.list": self.list_metrics,
            "logging.projects.metrics.update": self.update_metric,
            "logging.projects.metrics.delete": self.delete_metric,
        }
        for of in ("logging.sinks", "logging.projects.sinks", "logging.organizations.sinks"):
            found |= {
                f"{of}.create": self.create_sink,
                f"{of}.get": lambda ask: self._sink(ask.of("sinkName")),
                f"{of}.list": self.list_sinks,
                f"{of}.update": self.update_sink,
                f"{of}.patch": self.update_sink,
                f"{of}.delete": self.delete_sink,
            }
        return found

    # ---- sinks

    def _check_parent(self, name: str) -> None:
        kind, _, rest = name.partition("/")
        if kind == "organizations" and rest.partition("/")[0] != self._ground.organization:
            raise ApiError("PERMISSION_DENIED", "The caller does not have permission")

    def create_sink(self, ask: Ask) -> Json:
        """Answer `sinks.create`. Like the real service, it does not check if the destination lets the sink write."""
        parent, body = ask.of("parent"), ask.body
        self._check_parent(parent)
        short = str(body.get("name", ""))
        if _SINK.fullmatch(short) is None:
            raise ApiError("INVALID_ARGUMENT", f"Invalid sink name: {short!r}")
        name = f"{parent}/sinks/{short}"
        if name in self.sinks or short in _OWN:
            raise ApiError("ALREADY_EXISTS", f"Sink {short} already exists")
        _check_sink(body)
        if body.get("includeChildren") and parent.startswith("projects/"):
            raise ApiError("INVALID_ARGUMENT", "include_children is only for sinks of organizations and folders")
        writer = self._writer(parent, unique=ask.query.get("uniqueWriterIdentity") == "True")
        stamps = {"createTime": self._ground.now(), "updateTime": self._ground.now(), "resourceName": name}
        self.sinks[name] = {**body, **stamps, "writerIdentity": writer}
        return self.sinks[name]

    def _writer(self, parent: str, *, unique: bool) -> str:
        if parent.startswith("organizations/"):
            return f"serviceAccount:service-org-{self._ground.organization}@gcp-sa-logging.iam.gserviceaccount.com"
        if unique:
            return f"serviceAccount:service-{self._ground.number}@gcp-sa-logging.iam.gserviceaccount.com"
        return "serviceAccount:cloud-logs@system.gserviceaccount.com"

    def update_sink(self, ask: Ask) -> Json:
        """Answer `sinks.update` for the fields of the mask (without a mask: destination, filter and children)."""
        name = ask.of("sinkName")
        sink = self._sink(name)
        mask = ask.query.get("updateMask") or "destination,filter,includeChildren"
        changed = dict(sink)
        for path in (re.sub(r"_([a-z])", lambda m: m[1].upper(), part) for part in mask.split(",")):
            if path in ask.body:
                changed[path] = ask.body[path]
            else:
                changed.pop(path, None)
        _check_sink(changed)
        self.sinks[name] = changed | {"updateTime": self._ground.now()}
        return self.sinks[name]

    def list_sinks(self, ask: Ask) -> Json:
        """Answer `sinks.list`, including the two sinks that every project and organization has."""
        parent = ask.of("parent")
        self._check_parent(parent)
        bucket = f"logging.googleapis.com/{parent}/locations/global/buckets/"
        own = [{"name": name, "destination": bucket + name, "resourceName": f"{parent}/sinks/{name}"} for name in _OWN]
        made = [sink for name, sink in sorted(self.sinks.items()) if name.startswith(f"{parent}/sinks/")]
        return {"sinks": own + made}

    def delete_sink(self, ask: Ask) -> Json:
        """Answer `sinks.delete`."""
        self._sink(ask.of("sinkName"))
        del self.sinks[ask.of("sinkName")]
        return {}

    def _sink(self, name: str) -> Json:
        self._check_parent(name)
        if name not in self.sinks:
            raise ApiError("NOT_FOUND", f"Sink {name.rpartition('/')[2]} does not exist")
        return self.sinks[name]

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


def _check_sink(sink: Json) -> None:
    if _DESTINATION.fullmatch(str(sink.get("destination", ""))) is None:
        raise ApiError("INVALID_ARGUMENT", f"Unsupported sink destination: {sink.get('destination')!r}")
    names = [exclusion.get("name") for exclusion in sink.get("exclusions", [])]
    if len(names) != len(set(names)) or not all(names):
        raise ApiError("INVALID_ARGUMENT", "Every exclusion of a sink needs a name of its own")


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
