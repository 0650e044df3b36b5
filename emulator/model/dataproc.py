"""The model of Dataproc clusters and their operations: create, get, list, label, delete, and deletion by idleness or age.

Nothing runs: states follow from the times of a cluster and the time of the read. Scaling and stopping are not modelled.
Jobs are in `dataproc_jobs.py`, session templates in `dataproc_sessions.py`, interactive sessions in
`dataproc_interactive.py`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from emulator.errors import CODES, ApiError
from emulator.model.dataproc_cluster import (
    TYPE,
    Cluster,
    ClusterOperation,
    Gateway,
    cluster_of,
    operation_of,
    row_of,
)
from emulator.model.dataproc_config import (
    GROUPS,
    check_cluster,
    compute_path,
    filled,
    group_problem,
    read_request_id,
    without_machines,
    workers_of,
    zone_of,
    zones_of,
)
from emulator.model.dataproc_interactive import InteractiveSessions
from emulator.model.dataproc_jobs import ClusterJobs
from emulator.model.dataproc_sessions import SessionTemplates
from emulator.model.filters import fields_filter, labels_of
from emulator.model.notebooks_fresh import digest
from emulator.model.notebooks_rules import invalid
from emulator.model.pages import listed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emulator.model.surroundings import Surroundings
    from emulator.world import World

# The error of a delete while another operation runs, in the real API's words for `delete` (FAILED_PRECONDITION,
# github.com/DataBiosphere/leonardo/pull/1823). It is not documented if a cluster can be deleted while it is CREATING. Two
# reports say that it was done (apache/airflow issue 61947, cdapio/cdap pull 15947) and differ on how the create's operation
# ends then. So this model takes the stricter way: the caller must wait.
_PENDING = {"CREATING": "create", "DELETING": "delete"}
_ACTIVE = ("CREATING", "UPDATING", "RUNNING")  # INACTIVE is every other state (the client's ListClustersRequest)
_NO_IMAGE = (
    "No image specified. Using the default image version. It is recommended to select a specific image version in production, as "
    "the default image version may change at any time."
)
_OLD_FILTERS = {"operation_state_matcher": "status.state", "cluster_name": "clusterName"}
_METHODS = {"CREATE": "CreateCluster", "DELETE": "DeleteCluster"}


@dataclass(slots=True)
class DataprocTimings:
    """The durations of operations, in virtual time."""

    create: timedelta = timedelta(seconds=90)
    delete: timedelta = timedelta(seconds=60)


class DataprocModel:
    """The model of all clusters of the project, by full name, and of their operations. Tests may set `timings`.

    If `gateway(full name, uuid)` is set, it returns the base (`scheme://host[:port]`) of a cluster's web pages,
    replacing Google's; only the Jupyter pages are then reported. `gateway` must not call back into the world.
    """

    def __init__(self, world: World, surroundings: Surroundings) -> None:
        self.world = world
        self.surroundings = surroundings
        self.timings = DataprocTimings()
        self.gateway: Gateway | None = None
        self.sessions = SessionTemplates(world)
        self.interactive = InteractiveSessions(world)
        self.jobs = ClusterJobs(world)
        self._clusters: dict[str, Cluster] = {}
        self._operations: dict[str, ClusterOperation] = {}
        self._serial = 0
        self._latest: datetime | None = None

    @property
    def latest(self) -> datetime | None:
        """The end of the operation that ends last, among clusters and sessions; None if there is no operation yet."""
        return max((each for each in (self._latest, self.interactive.latest) if each is not None), default=None)

    def dump(self) -> Any:
        """Return the state as JSON-able data."""
        return {
            "serial": self._serial,
            "clusters": [row_of(each) for each in self._clusters.values()],
            "operations": [row_of(each) for each in self._operations.values()],
            "session_templates": self.sessions.dump(),
            "interactive_sessions": self.interactive.dump(),
            "jobs": self.jobs.dump(),
        }

    def load(self, state: Any) -> None:
        """Restore the state from a result of `dump`. An older state may lack session templates, interactive sessions and jobs."""
        self._serial = state["serial"]
        self._clusters = {row["name"]: cluster_of(row) for row in state["clusters"]}
        self._operations = {row["name"]: operation_of(row) for row in state["operations"]}
        self._latest = max((operation.ends for operation in self._operations.values()), default=None)
        self.sessions.load(state.get("session_templates", {}))
        self.interactive.load(state.get("interactive_sessions", {}))
        self.jobs.load(state.get("jobs", []))

    def create(self, project: str, region: str, body: dict[str, Any], *, request_id: str = "") -> dict[str, Any]:
        """Answer `CreateCluster`. The cluster is RUNNING once its operation is done, or ERROR if the operation fails.

        An ERROR cluster stays until it is deleted. The machines run as the account that the cluster names, or as
        Compute Engine's default account; the caller needs actAs on that account.
        """
        parent, now = self._check(project, region), self._now()
        earlier = self._repeated("CREATE", request_id)
        if earlier is not None:
            return earlier.view(now)
        asked = check_cluster(body, project=project, region=region, now=now)
        named = asked.get("config", {}).get("gceClusterConfig", {}).get("serviceAccount")
        account = named or f"{self.world.project_number}-compute@developer.gserviceaccount.com"
        self.world.need("iam.serviceAccounts.actAs", on=f"projects/{project}/serviceAccounts/{account}")
        name = f"{parent}/clusters/{asked['clusterName']}"
        if name in self._clusters:
            raise ApiError("ALREADY_EXISTS", f"Already exists: Failed to create cluster: Cluster {name}")
        zones = self._zones(project, region, asked)
        self._serial += 1
        zone, stockout = self._place(project, zones, asked["clusterName"])
        mark = digest(name, self._serial)
        made = filled(asked, project=project, region=region, zone=zone, mark=mark, now=now)
        cluster = Cluster(name, made, now, now + self.timings.create)
        self._clusters[name] = cluster
        text = f"Create cluster with {workers_of(made)} workers"
        operation = self._start(cluster, "CREATE", text, cluster.ready, request_id)
        operation.error = operation.error or stockout or self.surroundings.account_problem(account)
        cluster.error = operation.error
        if not asked.get("config", {}).get("softwareConfig", {}).get("imageVersion"):
            operation.warnings = [_NO_IMAGE]
        cluster.expires = cluster.deletion_moment()
        operation.response = {"@type": f"{TYPE}Cluster", **without_machines(made)}
        return operation.view(now)

    def get(self, name: str) -> dict[str, Any]:
        """Answer `GetCluster`."""
        return self._find(name).view(self._now(), self.gateway)

    def listing(
        self, project: str, region: str, *, filter_: str = "", size: int = 0, token: str = ""
    ) -> dict[str, Any]:
        """Answer `ListClusters`, ordered by name."""
        parent, now = self._check(project, region), self._now()
        passes, prefix = (
            fields_filter(filter_, ("status.state", "clusterName", "labels."), _cluster_fields),
            f"{parent}/clusters/",
        )
        views = [each.view(now, self.gateway) for name, each in self._clusters.items() if name.startswith(prefix)]
        return listed(
            "clusters",
            [view for view in views if passes(view)],
            size=size,
            token=token,
            scope=f"clusters {parent} {filter_}",
            key=lambda view: str(view["clusterName"]),
        )

    def delete(self, name: str, *, uuid: str = "", request_id: str = "") -> dict[str, Any]:
        """Answer `DeleteCluster`, by name, and by uuid if given. The call is refused while the cluster is being created or deleted."""
        now = self._now()
        earlier = self._repeated("DELETE", request_id)
        if earlier is not None:
            return earlier.view(now)
        cluster = self._find(name)
        if uuid and uuid != cluster.body["clusterUuid"]:
            raise ApiError("NOT_FOUND", f"Not found: Cluster {name} with UUID {uuid}")
        pending = _PENDING.get(cluster.state(now))
        if pending is not None:
            short = cluster.body["clusterName"]
            text = f"Cannot delete cluster '{short}' while it has other pending {pending} operations."
            raise ApiError("FAILED_PRECONDITION", text)
        operation = self._start(cluster, "DELETE", "Delete cluster", now + self.timings.delete, request_id)
        operation.response = {"@type": "type.googleapis.com/google.protobuf.Empty"}
        if operation.error is None:
            cluster.deleting, cluster.gone = now, operation.ends
            self.jobs.lose(cluster.name, now)
        return operation.view(now)

    # --- jobs

    def region(self, project: str, region: str) -> str:
        """Apply all due changes, and return the full name of the region. The jobs of its clusters are in `jobs`."""
        self._now()
        return self._check(project, region)

    def submit(self, parent: str, body: dict[str, Any], *, ends: datetime | None, **more: Any) -> dict[str, Any]:
        """Answer `SubmitJob` on a cluster of the region `parent`; the job runs until `ends` (None: it never ends)."""
        name = str(body.get("placement", {}).get("clusterName", ""))
        if not name:
            raise invalid("Must specify cluster name in placement.")
        cluster = self._find(f"{parent}/clusters/{name}")
        state = cluster.state(self._now())
        if state != "RUNNING":
            raise ApiError("FAILED_PRECONDITION", f"Cluster {name} is in state {state} and cannot accept jobs.")
        self.world.need("dataproc.clusters.use", on=cluster.name)
        job = self.jobs.submit(cluster, body, ends=ends, **more)
        cluster.work(ends)
        return job

    # --- operations

    def get_operation(self, name: str) -> dict[str, Any]:
        """Answer `GetOperation`, of clusters and of interactive sessions."""
        of_a_session = self.interactive.get_operation(name)
        if of_a_session is not None:
            return of_a_session
        return self._find_operation(name).view(self._now())

    def list_operations(self, name: str, *, filter_: str = "", size: int = 0, token: str = "") -> dict[str, Any]:
        """Answer `ListOperations` of `projects/P/regions/R/operations`, ordered by name, with the operations of clusters only."""
        self._check(*_place_of(name))
        now = self._now()
        known = ("clusterName", "operationType", "status.state")
        passes = fields_filter(_from_json(filter_), known, _operation_fields)
        views = [each.view(now) for key, each in self._operations.items() if key.startswith(f"{name}/")]
        return listed(
            "operations",
            [view for view in views if passes(view)],
            size=size,
            token=token,
            scope=f"operations {name} {filter_}",
            key=lambda view: str(view["name"]),
        )

    def delete_operation(self, name: str) -> dict[str, Any]:
        """Answer `DeleteOperation`: the operation is no longer listed, but its work continues."""
        del self._operations[self._find_operation(name).name]
        return {}

    # --- inner

    def _now(self) -> datetime:
        """Return the time, after all due changes: expired clusters are deleted, and deleted clusters are removed."""
        now = self.world.clock.now()
        for each in list(self._clusters.values()):
            if each.deleting is None and each.expires is not None and each.expires <= now:
                each.deleting, each.gone = each.expires, each.expires + self.timings.delete
                self.jobs.lose(each.name, each.expires)
            if each.gone is not None and each.gone <= now:
                del self._clusters[each.name]
        return now

    def _check(self, project: str, region: str) -> str:
        if project != self.world.project:
            raise ApiError("PERMISSION_DENIED", f"Permission denied on resource project {project}.")
        if not zones_of(region):
            raise invalid(f"Region '{region}' is invalid or not supported.")
        return f"projects/{project}/regions/{region}"

    def _zones(self, project: str, region: str, asked: dict[str, Any]) -> tuple[str, ...]:
        """Return those zones that have the cluster's machines: the named zone or, without a name (Auto Zone), all zones of the region.

        If there is none, or the network cannot be used, raise 400 with Compute Engine's words: the real API refuses such a
        create at once (hashicorp/terraform-provider-google#5860).
        """
        named, config = zone_of(asked), asked.get("config", {})
        problem: str | None = None
        fit: list[str] = []
        for zone in (named,) if named else zones_of(region):
            found = next(
                (text for group in GROUPS if (text := group_problem(project, zone, config.get(group, {})))), None
            )
            problem = problem or found
            if found is None:
                fit.append(zone)
        if not fit and problem is not None:
            raise invalid(problem)
        gce = config.get("gceClusterConfig", {})
        for key, permission in (("networkUri", "compute.networks.use"), ("subnetworkUri", "compute.subnetworks.use")):
            path = compute_path(project, region, key, gce.get(key, ""))
            refusal = self.surroundings.path_problem(path, permission) if path else None
            if refusal is not None:
                raise invalid(refusal["message"])
        return tuple(fit)

    def _place(self, project: str, zones: tuple[str, ...], cluster: str) -> tuple[str, dict[str, Any] | None]:
        """Return the first zone that is not scripted as `sold_out`, and None; if all zones are, the last zone and the operation's error.

        Code and text are those of observed operations: github.com/kestra-io/plugin-gcp/issues/698.
        """
        zone = ""
        for zone in zones:
            place = f"projects/{project}/zones/{zone}/clusters/{cluster}"
            if self.world.faults.take("dataproc.CreateCluster", place, wanted="sold_out") is None:
                return zone, None
        text = (
            f"Error Code: UNAVAILABLE, errorSource: COMPUTE_ENGINE, Error Message: The zone 'projects/{project}/zones/{zone}' "
            "does not have enough resources available to fulfill the request.  Try a different zone, or try again later."
        )
        return zone, {"code": CODES["UNAVAILABLE"][0], "message": text}

    def _find(self, name: str) -> Cluster:
        self._check(*_place_of(name))
        self._now()
        found = self._clusters.get(name)
        if found is None:
            raise ApiError("NOT_FOUND", f"Not found: Cluster {name}")
        return found

    def _find_operation(self, name: str) -> ClusterOperation:
        self._check(*_place_of(name))
        found = self._operations.get(name)
        if found is None:
            raise ApiError("NOT_FOUND", f"Not found: Operation {name}")
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
        """Return a new operation, which will end with an error if an `operation_error` is scripted."""
        now, parent = self._now(), cluster.name.rpartition("/clusters/")[0]
        self._serial += 1
        mark = digest(cluster.name, kind, self._serial)
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
        fault = self.world.faults.take(f"dataproc.{_METHODS[kind]}", cluster.name, wanted="operation_error")
        if fault is not None and (told := fault.operation_error) is not None:
            operation.error = {"code": CODES[told["code"]][0], "message": told.get("message", "scripted fault")}
        self._operations[operation.name] = operation
        self._latest = ends if self._latest is None else max(ends, self._latest)
        return operation


def _place_of(name: str) -> tuple[str, str]:
    """Return project and region of a full name; raise 400 if the name is in no region."""
    match name.split("/"):
        case ["projects", project, "regions", region, _, *_]:
            return project, region
        case _:
            raise invalid(f"Invalid resource name: '{name}'. It begins with projects/PROJECT/regions/REGION/.")


def _cluster_fields(view: Mapping[str, Any]) -> dict[str, Any]:
    state = view["status"]["state"]
    group = "ACTIVE" if state in _ACTIVE else "INACTIVE"
    return {**labels_of(view), "clusterName": view["clusterName"], "status.state": state, "status.state as": (group,)}


def _from_json(text: str) -> str:
    """Return the filter expression for an older JSON form; raise 400 if the form is invalid.

    gcloud sends `{}`, or `{"operation_state_matcher": "ACTIVE", "cluster_name": "c"}`.
    """
    if not text.startswith("{"):
        return text
    try:
        asked = json.loads(text)
    except ValueError as error:
        raise invalid(f"Invalid filter: '{text}': {error}.") from error
    terms = []
    for key, value in asked.items():
        if key not in _OLD_FILTERS or not isinstance(value, str):
            raise invalid(f"Invalid filter: '{text}': unknown field '{key}'.")
        terms.append(f"{_OLD_FILTERS[key]} = {json.dumps(value)}")
    return " AND ".join(terms)


def _operation_fields(view: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an operation; github.com/cdapio/cdap/pull/11683 shows filters by the first two."""
    made = view["metadata"]
    return {
        "clusterName": made["clusterName"],
        "operationType": made["operationType"],
        "status.state": made["status"]["state"],
        "status.state as": ("NON_ACTIVE" if made["status"]["state"] == "DONE" else "ACTIVE",),
    }
