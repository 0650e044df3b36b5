"""The data of a cluster and of an operation on it: their state at a given time, and their saved form.

No machine runs.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from emulator.clock import parse_rfc3339, rfc3339
from emulator.model.dataproc_config import duration

TYPE = "type.googleapis.com/google.cloud.dataproc.v1."
# (full name, uuid) -> `scheme://host[:port]`, from which the cluster's web pages are served.
Gateway = Callable[[str, str], str]

# The names and paths in descriptions of clusters (docs: component gateways; describe output of image 2.x with JUPYTER in
# NVIDIA/spark-rapids-tools' test data). Further pages of an image are not modelled.
_PAGES = {
    "HDFS NameNode": "/hdfs/dfshealth.html",
    "MapReduce Job History": "/jobhistory/",
    "Spark History Server": "/sparkhistory/",
    "Tez": "/apphistory/tez-ui/",
    "YARN Application Timeline": "/apphistory/",
    "YARN ResourceManager": "/yarn/",
}
_JUPYTER_PAGES = {"Jupyter": "/gateway/default/jupyter/", "JupyterLab": "/gateway/default/jupyter/lab/"}


@dataclass(slots=True)
class Cluster:
    """A cluster. It is CREATING until `ready`, then RUNNING, or ERROR with an `error`; it is DELETING from `deleting` until `gone`.

    At `expires` Dataproc deletes the cluster according to its lifecycleConfig. Jobs keep the cluster until
    `worked_until`; with `works`, a job never ends.
    """

    name: str
    body: dict[str, Any]
    created: datetime
    ready: datetime
    error: dict[str, Any] | None = None
    deleting: datetime | None = None
    gone: datetime | None = None
    expires: datetime | None = None
    worked_until: datetime | None = None
    works: bool = False

    def history(self, now: datetime) -> list[tuple[str, datetime]]:
        """Return the states until now with their start times; the last is the present state."""
        states = [("CREATING", self.created), ("RUNNING" if self.error is None else "ERROR", self.ready)]
        if self.deleting is not None:
            states.append(("DELETING", self.deleting))
        return [state for state in states if state[1] <= now]

    def state(self, now: datetime) -> str:
        """Return the present state."""
        return self.history(now)[-1][0]

    def view(self, now: datetime, gateway: Gateway | None = None) -> dict[str, Any]:
        """Return the REST JSON. The web pages and the start of idleness appear once the cluster is RUNNING (both inferred)."""
        rows = [{"state": state, "stateStartTime": rfc3339(at)} for state, at in self.history(now)]
        if self.error is not None and now >= self.ready:
            rows[1]["detail"] = str(self.error["message"])
        seen = self.body | {"status": rows[-1]} | ({"statusHistory": rows[:-1]} if len(rows) > 1 else {})
        if self.error is None and now >= self.ready:
            seen["config"] = self.body["config"] | self._of_a_running_one(now, gateway)
        return seen

    def work(self, until: datetime | None) -> None:
        """Note that a job runs until `until` (None: it never ends).

        The idle time counts from the end of the last job.
        """
        if until is None:
            self.works = True
        else:
            self.worked_until = max(until, self.worked_until or until)
        self.expires = self.deletion_moment()

    def _idle_from(self) -> datetime | None:
        """Return the time at which the cluster became or becomes idle; None if a job never ends."""
        return None if self.works else max(self.ready, self.worked_until or self.ready)

    def _of_a_running_one(self, now: datetime, gateway: Gateway | None) -> dict[str, Any]:
        config, more, idle = self.body["config"], {}, self._idle_from()
        if "lifecycleConfig" in config and idle is not None and idle <= now:
            more["lifecycleConfig"] = config["lifecycleConfig"] | {"idleStartTime": rfc3339(idle)}
        if config["endpointConfig"].get("enableHttpPortAccess"):
            more["endpointConfig"] = config["endpointConfig"] | {"httpPorts": self._pages(gateway)}
        return more

    def _pages(self, gateway: Gateway | None) -> dict[str, str]:
        jupyter = "JUPYTER" in self.body["config"]["softwareConfig"].get("optionalComponents", ())
        pages = _JUPYTER_PAGES if jupyter else {}
        if gateway is not None:  # the gateway leads to a JupyterLab, not to Hadoop
            base = gateway(self.name, str(self.body["clusterUuid"])).rstrip("/")
            return {title: base + path for title, path in pages.items()}
        region = self.name.split("/")[3]
        mark = base64.b32encode(uuid.UUID(self.body["clusterUuid"]).bytes).decode().rstrip("=").lower()
        base = f"https://{mark}-dot-{region}.dataproc.googleusercontent.com"
        return {title: base + path for title, path in sorted((_PAGES | pages).items())}

    def deletion_moment(self) -> datetime | None:
        """Return the time at which its lifecycleConfig deletes the cluster; None for never.

        Idle time counts from RUNNING or from the end of the last job, age from creation. A cluster with an error does
        not count as idle. The cluster is never deleted while it is CREATING.
        """
        config, moments = self.body["config"].get("lifecycleConfig", {}), []
        idle = self._idle_from()
        if "idleDeleteTtl" in config and self.error is None and idle is not None:
            moments.append(idle + duration(config["idleDeleteTtl"]))
        if "autoDeleteTime" in config:
            moments.append(parse_rfc3339(config["autoDeleteTime"]))
        if "autoDeleteTtl" in config:  # worlds saved before this time was computed at creation
            moments.append(self.created + duration(config["autoDeleteTtl"]))
        return max(min(moments), self.ready) if moments else None


@dataclass(slots=True)
class ClusterOperation:
    """An operation on a cluster. It is done at `ends`, successfully if `error` is None."""

    name: str
    kind: str
    description: str
    cluster: str
    uuid: str
    started: datetime
    ends: datetime
    request_id: str = ""
    error: dict[str, Any] | None = None
    response: dict[str, Any] | None = None
    warnings: list[str] = field(default_factory=list)

    def view(self, now: datetime) -> dict[str, Any]:
        """Return the REST JSON, as recorded: `done` is only present if it is true."""
        done = now >= self.ends
        state = "DONE" if done else "PENDING" if now <= self.started else "RUNNING"
        since = self.ends if done else self.started
        metadata: dict[str, Any] = {
            "@type": f"{TYPE}ClusterOperationMetadata",
            "clusterName": self.cluster,
            "clusterUuid": self.uuid,
            "description": self.description,
            "operationType": self.kind,
            "status": {"innerState": state, "state": state, "stateStartTime": rfc3339(since)},
        }
        if state != "PENDING":
            before = ("PENDING", "RUNNING") if done else ("PENDING",)
            metadata["statusHistory"] = [{"state": each, "stateStartTime": rfc3339(self.started)} for each in before]
        if self.warnings:
            metadata["warnings"] = self.warnings
        body: dict[str, Any] = {"name": self.name, "metadata": metadata}
        if done:
            body["done"] = True
            body |= {"error": self.error} if self.error is not None else {"response": self.response}
        return body


_TIMES = ("created", "ready", "deleting", "gone", "expires", "worked_until", "started", "ends")


def row_of(each: Cluster | ClusterOperation) -> dict[str, Any]:
    """Return the cluster's or operation's state as JSON-able data."""
    row = {known.name: getattr(each, known.name) for known in fields(each)}
    return row | {key: rfc3339(row[key]) for key in _TIMES if row.get(key)}


def cluster_of(row: dict[str, Any]) -> Cluster:
    """Return the cluster of a result of `row_of`.

    A row that was saved before clusters could expire gets its time of expiry now.
    """
    cluster = Cluster(**_with_times(row))
    if "expires" not in row:
        cluster.expires = cluster.deletion_moment()
    return cluster


def operation_of(row: dict[str, Any]) -> ClusterOperation:
    """Return the operation of a result of `row_of`."""
    return ClusterOperation(**_with_times(row))


def _with_times(row: dict[str, Any]) -> dict[str, Any]:
    return row | {key: parse_rfc3339(row[key]) for key in _TIMES if row.get(key)}
