"""Dataproc clusters, as far as a leaver's own ones are found and deleted: create, get, list, delete, and their operations.

Nothing runs: states follow from the moments and the time at which a cluster is looked at. No jobs, no scaling, no idle deletion.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from emulator.clock import parse_rfc3339, rfc3339
from emulator.errors import CODES, ApiError
from emulator.model.dataproc_config import check_cluster, filled, read_filter, read_request_id, without_machines
from emulator.model.notebooks_fresh import digest
from emulator.model.notebooks_pages import page_of
from emulator.model.notebooks_rules import ZONES, invalid

if TYPE_CHECKING:
    from emulator.world import World

_TYPE = "type.googleapis.com/google.cloud.dataproc.v1."
_REGIONS = frozenset(zone.rpartition("-")[0] for zone in ZONES)


@dataclass(slots=True)
class DataprocTimings:
    """How long things take, in virtual time."""

    create: timedelta = timedelta(seconds=90)
    delete: timedelta = timedelta(seconds=60)


@dataclass(slots=True)
class Cluster:
    """One cluster: CREATING until `ready`, then RUNNING, or ERROR with an `error`; DELETING from `deleting` until `gone`."""

    name: str
    body: dict[str, Any]
    created: datetime
    ready: datetime
    error: dict[str, Any] | None = None
    deleting: datetime | None = None
    gone: datetime | None = None

    def history(self, now: datetime) -> list[tuple[str, datetime]]:
        """The states it has had until now, with their beginnings; the last is the present one."""
        states = [("CREATING", self.created), ("RUNNING" if self.error is None else "ERROR", self.ready)]
        if self.deleting is not None:
            states.append(("DELETING", self.deleting))
        return [state for state in states if state[1] <= now]

    def state(self, now: datetime) -> str:
        """The present one."""
        return self.history(now)[-1][0]

    def view(self, now: datetime) -> dict[str, Any]:
        """The REST JSON."""
        rows = [{"state": state, "stateStartTime": rfc3339(at)} for state, at in self.history(now)]
        if self.error is not None and now >= self.ready:
            rows[1]["detail"] = str(self.error["message"])
        return self.body | {"status": rows[-1]} | ({"statusHistory": rows[:-1]} if len(rows) > 1 else {})


@dataclass(slots=True)
class ClusterOperation:
    """One operation on a cluster; done at `ends`, with the `error` if there is one."""

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

    def view(self, now: datetime) -> dict[str, Any]:
        """The REST JSON, as recorded: `done` is there only when it is true."""
        done = now >= self.ends
        state = "DONE" if done else "PENDING" if now <= self.started else "RUNNING"
        since = self.ends if done else self.started
        metadata: dict[str, Any] = {
            "@type": f"{_TYPE}ClusterOperationMetadata",
            "clusterName": self.cluster,
            "clusterUuid": self.uuid,
            "description": self.description,
            "operationType": self.kind,
            "status": {"innerState": state, "state": state, "stateStartTime": rfc3339(since)},
        }
        if state != "PENDING":
            before = ("PENDING", "RUNNING") if done else ("PENDING",)
            metadata["statusHistory"] = [{"state": each, "stateStartTime": rfc3339(self.started)} for each in before]
        body: dict[str, Any] = {"name": self.name, "metadata": metadata}
        if done:
            body["done"] = True
            body |= {"error": self.error} if self.error is not None else {"response": self.response}
        return body


class DataprocModel:
    """All clusters of the project by full name, and their operations. `timings` may be set by tests."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.timings = DataprocTimings()
        self._clusters: dict[str, Cluster] = {}
        self._operations: dict[str, ClusterOperation] = {}
        self._serial = 0

    def dump(self) -> Any:
        """JSON-able state."""
        return {
            "serial": self._serial,
            "clusters": [_row(each) for each in self._clusters.values()],
            "operations": [_row(each) for each in self._operations.values()],
        }

    def load(self, state: Any) -> None:
        """Become what `dump` gave."""
        self._serial = state["serial"]
        self._clusters = {row["name"]: Cluster(**_read(row)) for row in state["clusters"]}
        self._operations = {row["name"]: ClusterOperation(**_read(row)) for row in state["operations"]}

    def create(self, project: str, region: str, body: dict[str, Any], *, request_id: str = "") -> dict[str, Any]:
        """CreateCluster: RUNNING when its operation is done, ERROR when that fails; an ERROR cluster stays until it is deleted."""
        parent, now = self._check(project, region), self._now()
        earlier = self._repeated("CREATE", request_id)
        if earlier is not None:
            return earlier.view(now)
        asked = check_cluster(body, project=project)
        name = f"{parent}/clusters/{asked['clusterName']}"
        if name in self._clusters:
            raise ApiError("ALREADY_EXISTS", f"Already exists: Failed to create cluster: Cluster {name}")
        self._serial += 1
        made = filled(asked, project=project, region=region, mark=digest(name, self._serial))
        cluster = Cluster(name, made, now, now + self.timings.create)
        self._clusters[name] = cluster
        workers = made["config"]["workerConfig"]["numInstances"]
        operation = self._start(cluster, "CREATE", f"Create cluster with {workers} workers", cluster.ready, request_id)
        cluster.error = operation.error
        operation.response = {"@type": f"{_TYPE}Cluster", **without_machines(made)}
        return operation.view(now)

    def get(self, name: str) -> dict[str, Any]:
        """GetCluster."""
        return self._find(name).view(self._now())

    def listing(
        self, project: str, region: str, *, filter_: str = "", size: int = 0, token: str = ""
    ) -> dict[str, Any]:
        """ListClusters, in the order of their names."""
        parent, now = self._check(project, region), self._now()
        passes = read_filter(filter_)
        views = [each.view(now) for name, each in self._clusters.items() if name.startswith(f"{parent}/clusters/")]
        page, following = page_of(
            [view for view in views if passes(view)],
            size=size,
            token=token,
            scope=f"clusters {parent} {filter_}",
            key=lambda view: str(view["clusterName"]),
        )
        found: dict[str, Any] = {"clusters": page} if page else {}
        return found | ({"nextPageToken": following} if following else {})

    def delete(self, name: str, *, uuid: str = "", request_id: str = "") -> dict[str, Any]:
        """DeleteCluster: by name, and by uuid if one is given; not while it is being made or deleted."""
        now = self._now()
        earlier = self._repeated("DELETE", request_id)
        if earlier is not None:
            return earlier.view(now)
        cluster = self._find(name)
        if uuid and uuid != cluster.body["clusterUuid"]:
            raise ApiError("NOT_FOUND", f"Not found: Cluster {name} with UUID {uuid}")
        if cluster.state(now) in ("CREATING", "DELETING"):
            text = f"Cannot delete cluster '{name}' while it has other pending cluster operations."
            raise ApiError("FAILED_PRECONDITION", text)
        operation = self._start(cluster, "DELETE", "Delete cluster", now + self.timings.delete, request_id)
        operation.response = {"@type": "type.googleapis.com/google.protobuf.Empty"}
        if operation.error is None:
            cluster.deleting, cluster.gone = now, operation.ends
        return operation.view(now)

    def get_operation(self, name: str) -> dict[str, Any]:
        """GetOperation."""
        _, project, _, region, *_ = name.split("/")
        self._check(project, region)
        found = self._operations.get(name)
        if found is None:
            raise ApiError("NOT_FOUND", f"Not found: Operation {name}")
        return found.view(self._now())

    # --- inner

    def _now(self) -> datetime:
        now = self.world.clock.now()
        for name in [each.name for each in self._clusters.values() if each.gone is not None and each.gone <= now]:
            del self._clusters[name]
        return now

    def _check(self, project: str, region: str) -> str:
        if project != self.world.project:
            raise ApiError("PERMISSION_DENIED", f"Permission denied on resource project {project}.")
        if region not in _REGIONS:
            raise invalid(f"Region '{region}' is invalid or not supported.")
        return f"projects/{project}/regions/{region}"

    def _find(self, name: str) -> Cluster:
        _, project, _, region, *_ = name.split("/")
        self._check(project, region)
        self._now()
        found = self._clusters.get(name)
        if found is None:
            raise ApiError("NOT_FOUND", f"Not found: Cluster {name}")
        return found

    def _repeated(self, kind: str, request_id: str) -> ClusterOperation | None:
        read_request_id(request_id)
        if not request_id:
            return None
        same = (each for each in self._operations.values() if (each.kind, each.request_id) == (kind, request_id))
        return next(same, None)

    def _start(
        self, cluster: Cluster, kind: str, description: str, ends: datetime, request_id: str
    ) -> ClusterOperation:
        """A new operation; a scripted `operation_error` is what it will end with."""
        now, parent = self._now(), cluster.name.rpartition("/clusters/")[0]
        mark = digest(cluster.name, kind, len(self._operations))
        ident = f"{mark[:8]}-{mark[8:12]}-3{mark[12:15]}-8{mark[15:18]}-{mark[18:30]}"
        operation = ClusterOperation(
            f"{parent}/operations/{ident}",
            kind,
            description,
            str(cluster.body["clusterName"]),
            str(cluster.body["clusterUuid"]),
            now,
            ends,
            request_id,
        )
        method = {"CREATE": "dataproc.CreateCluster", "DELETE": "dataproc.DeleteCluster"}[kind]
        fault = self.world.faults.take(method, cluster.name, wanted="operation_error")
        if fault is not None and fault.operation_error is not None:
            told = fault.operation_error
            operation.error = {"code": CODES[told["code"]][0], "message": told.get("message", "scripted fault")}
        self._operations[operation.name] = operation
        return operation


_TIMES = ("created", "ready", "deleting", "gone", "started", "ends")


def _row(each: Cluster | ClusterOperation) -> dict[str, Any]:
    row = {known.name: getattr(each, known.name) for known in fields(each)}
    return row | {key: rfc3339(row[key]) for key in _TIMES if row.get(key)}


def _read(row: dict[str, Any]) -> dict[str, Any]:
    return row | {key: parse_rfc3339(row[key]) for key in _TIMES if row.get(key)}
