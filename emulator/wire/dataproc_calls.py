"""The RPCs of Dataproc as functions from a request to a response, both in JSON: the common part of REST and gRPC.

A request is the RPC's request message as JSON (`{"projectId": ..., "cluster": {...}}`), over either protocol.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf import empty_pb2

from emulator.model.dataproc_config import message_type
from emulator.model.dataproc_jobs import TAKES
from emulator.wire.http import read_int
from emulator.wire.rpc import HttpBinding
from emulator.world import CallSpec

if TYPE_CHECKING:
    from emulator.model.dataproc import DataprocModel

CLUSTERS = "google.cloud.dataproc.v1.ClusterController"
SESSION_TEMPLATES = "google.cloud.dataproc.v1.SessionTemplateController"
SESSIONS = "google.cloud.dataproc.v1.SessionController"
JOBS = "google.cloud.dataproc.v1.JobController"
OPERATIONS = "google.longrunning.Operations"
_CLUSTERS = "/v1/projects/{project_id}/regions/{region}/clusters"
_JOBS = "/v1/projects/{project_id}/regions/{region}/jobs"
_CLUSTER = f"{_CLUSTERS}/{{cluster_name}}"
_OPERATION = "/v1/{name=projects/*/regions/*/operations/*}"
_TEMPLATES = "/v1/{parent=projects/*/locations/*}/sessionTemplates"
_TEMPLATE = "/v1/{name=projects/*/locations/*/sessionTemplates/*}"
_SESSIONS = "/v1/{parent=projects/*/locations/*}/sessions"
_SESSION = "/v1/{name=projects/*/locations/*/sessions/*}"
_PAGING = ("filter", "pageSize", "pageToken")


@dataclass(frozen=True, slots=True)
class Method:
    """An RPC: its gRPC service, its first HTTP binding, the message type of its response, and its query parameters over REST."""

    service: str
    binding: HttpBinding
    answer: str
    permission: str
    mutates: bool = False
    query: tuple[str, ...] = ()

    def spec(self, name: str) -> CallSpec:
        """Return the call's description for the journal and the faults."""
        return CallSpec("dataproc", name, mutates=self.mutates, permission=f"dataproc.{self.permission}")


# Written out, because the client that has them takes most of a second to import; a test compares both.
METHODS: dict[str, Method] = {
    "CreateCluster": Method(
        CLUSTERS, HttpBinding("POST", _CLUSTERS, "cluster"), "Operation", "clusters.create", mutates=True,
        query=("requestId", "actionOnFailedPrimaryWorkers"),
    ),
    "GetCluster": Method(CLUSTERS, HttpBinding("GET", _CLUSTER, ""), "Cluster", "clusters.get"),
    "ListClusters": Method(
        CLUSTERS, HttpBinding("GET", _CLUSTERS, ""), "ListClustersResponse", "clusters.list", query=_PAGING
    ),
    "DeleteCluster": Method(
        CLUSTERS, HttpBinding("DELETE", _CLUSTER, ""), "Operation", "clusters.delete", mutates=True,
        query=("requestId", "clusterUuid", "gracefulTerminationTimeout"),
    ),
    "SubmitJob": Method(
        JOBS, HttpBinding("POST", f"{_JOBS}:submit", "*"), "Job", "jobs.create", mutates=True
    ),
    "GetJob": Method(JOBS, HttpBinding("GET", f"{_JOBS}/{{job_id}}", ""), "Job", "jobs.get"),
    "ListJobs": Method(
        JOBS, HttpBinding("GET", _JOBS, ""), "ListJobsResponse", "jobs.list",
        query=(*_PAGING, "clusterName", "jobStateMatcher"),
    ),
    "GetOperation": Method(OPERATIONS, HttpBinding("GET", _OPERATION, ""), "Operation", "operations.get"),
    "ListOperations": Method(
        OPERATIONS, HttpBinding("GET", "/v1/{name=projects/*/regions/*/operations}", ""), "ListOperationsResponse",
        "operations.list", query=_PAGING,
    ),
    "DeleteOperation": Method(
        OPERATIONS, HttpBinding("DELETE", _OPERATION, ""), "Empty", "operations.delete", mutates=True
    ),
    "CreateSessionTemplate": Method(
        SESSION_TEMPLATES, HttpBinding("POST", _TEMPLATES, "session_template"), "SessionTemplate",
        "sessionTemplates.create", mutates=True,
    ),
    "UpdateSessionTemplate": Method(
        SESSION_TEMPLATES,
        HttpBinding(
            "PATCH", "/v1/{session_template.name=projects/*/locations/*/sessionTemplates/*}", "session_template"
        ),
        "SessionTemplate", "sessionTemplates.update", mutates=True,
    ),
    "GetSessionTemplate": Method(
        SESSION_TEMPLATES, HttpBinding("GET", _TEMPLATE, ""), "SessionTemplate", "sessionTemplates.get"
    ),
    "ListSessionTemplates": Method(
        SESSION_TEMPLATES, HttpBinding("GET", _TEMPLATES, ""), "ListSessionTemplatesResponse",
        "sessionTemplates.list", query=_PAGING,
    ),
    "DeleteSessionTemplate": Method(
        SESSION_TEMPLATES, HttpBinding("DELETE", _TEMPLATE, ""), "Empty", "sessionTemplates.delete", mutates=True
    ),
    "CreateSession": Method(
        SESSIONS, HttpBinding("POST", _SESSIONS, "session"), "Operation", "sessions.create", mutates=True,
        query=("sessionId", "requestId"),
    ),
    "GetSession": Method(SESSIONS, HttpBinding("GET", _SESSION, ""), "Session", "sessions.get"),
    "ListSessions": Method(
        SESSIONS, HttpBinding("GET", _SESSIONS, ""), "ListSessionsResponse", "sessions.list", query=_PAGING
    ),
    "TerminateSession": Method(
        SESSIONS, HttpBinding("POST", f"{_SESSION}:terminate", "*"), "Operation", "sessions.terminate", mutates=True
    ),
    "DeleteSession": Method(
        SESSIONS, HttpBinding("DELETE", _SESSION, ""), "Operation", "sessions.delete", mutates=True,
        query=("requestId",),
    ),
}  # fmt: skip


def message_class(name: str) -> Any:
    """Return the protobuf class of a request or an answer by its name, such as `Operation`."""
    if name == "Empty":
        return empty_pb2.Empty
    message = getattr(importlib.import_module("google.longrunning.operations_pb2"), name, None)
    return message or message_type(name)


Request = dict[str, Any]
Function = Callable[[Request, str], dict[str, Any]]


def resource_of(asked: Request) -> str:
    """Return the resource for the journal and the faults: cluster, template or session (also of a create), job, operation, or a list's parent."""
    template = asked.get("sessionTemplate")
    if template is not None:
        return str(template.get("name", asked.get("parent", "")))
    if "session" in asked:
        return f"{asked.get('parent', '')}/sessions/{asked.get('sessionId', '')}"
    if "projectId" not in asked:
        return str(asked.get("name", asked.get("parent", "")))
    parent = f"projects/{asked['projectId']}/regions/{asked.get('region', '')}"
    if "jobId" in asked:
        return f"{parent}/jobs/{asked['jobId']}"
    name = asked.get("clusterName", asked["cluster"].get("clusterName", "") if "cluster" in asked else None)
    return parent if name is None else f"{parent}/clusters/{name}"


def functions(model: DataprocModel) -> dict[str, Function]:
    """Return the function of each method, which takes a request and the caller. The functions run under the world's lock."""
    calls = _Calls(model)
    return {
        "CreateCluster": calls.create_cluster,
        "GetCluster": lambda asked, _: model.get(resource_of(asked)),
        "ListClusters": calls.list_clusters,
        "DeleteCluster": calls.delete_cluster,
        "SubmitJob": calls.submit_job,
        "GetJob": lambda asked, _: model.jobs.get(_region(model, asked), asked.get("jobId", "")),
        "ListJobs": calls.list_jobs,
        "GetOperation": lambda asked, _: model.get_operation(asked.get("name", "")),
        "ListOperations": lambda asked, _: model.list_operations(asked.get("name", ""), **_paging(asked)),
        "DeleteOperation": lambda asked, _: model.delete_operation(asked.get("name", "")),
        "CreateSessionTemplate": calls.create_template,
        "UpdateSessionTemplate": lambda asked, _: model.sessions.update(asked.get("sessionTemplate", {})),
        "GetSessionTemplate": lambda asked, _: model.sessions.get(asked.get("name", "")),
        "ListSessionTemplates": lambda asked, _: model.sessions.listing(asked.get("parent", ""), **_paging(asked)),
        "DeleteSessionTemplate": lambda asked, _: model.sessions.delete(asked.get("name", "")),
        "CreateSession": calls.create_session,
        "GetSession": lambda asked, _: model.interactive.get(asked.get("name", "")),
        "ListSessions": lambda asked, _: model.interactive.listing(asked.get("parent", ""), **_paging(asked)),
        "TerminateSession": lambda asked, _: model.interactive.terminate(
            asked.get("name", ""), request_id=asked.get("requestId", "")
        ),
        "DeleteSession": lambda asked, _: model.interactive.delete(
            asked.get("name", ""), request_id=asked.get("requestId", "")
        ),
    }


def _region(model: DataprocModel, asked: Request) -> str:
    return model.region(asked.get("projectId", ""), asked.get("region", ""))


def _paging(asked: Request) -> dict[str, Any]:
    size = read_int({"pageSize": str(asked.get("pageSize", 0))}, "pageSize")
    return {"filter_": asked.get("filter", ""), "size": size, "token": asked.get("pageToken", "")}


class _Calls:
    """The functions of RPCs whose request has more than a name."""

    def __init__(self, model: DataprocModel) -> None:
        self._model = model

    def create_cluster(self, asked: Request, principal: str) -> dict[str, Any]:
        del principal
        where = (asked.get("projectId", ""), asked.get("region", ""))
        return self._model.create(*where, asked.get("cluster", {}), request_id=asked.get("requestId", ""))

    def list_clusters(self, asked: Request, principal: str) -> dict[str, Any]:
        del principal
        return self._model.listing(asked.get("projectId", ""), asked.get("region", ""), **_paging(asked))

    def delete_cluster(self, asked: Request, principal: str) -> dict[str, Any]:
        del principal
        uuid, request_id = asked.get("clusterUuid", ""), asked.get("requestId", "")
        return self._model.delete(resource_of(asked), uuid=uuid, request_id=request_id)

    def submit_job(self, asked: Request, principal: str) -> dict[str, Any]:
        del principal
        ends, request_id = self._model.world.clock.now() + TAKES, asked.get("requestId", "")
        return self._model.submit(_region(self._model, asked), asked.get("job", {}), ends=ends, request_id=request_id)

    def list_jobs(self, asked: Request, principal: str) -> dict[str, Any]:
        del principal
        chosen = {"cluster": asked.get("clusterName", ""), "matcher": asked.get("jobStateMatcher", "")}
        return self._model.jobs.listing(_region(self._model, asked), **chosen, **_paging(asked))

    def create_template(self, asked: Request, principal: str) -> dict[str, Any]:
        template = asked.get("sessionTemplate", {})
        return self._model.sessions.create(asked.get("parent", ""), template, creator=principal)

    def create_session(self, asked: Request, principal: str) -> dict[str, Any]:
        return self._model.interactive.create(
            asked.get("parent", ""),
            asked.get("sessionId", ""),
            asked.get("session", {}),
            creator=principal,
            request_id=asked.get("requestId", ""),
        )
