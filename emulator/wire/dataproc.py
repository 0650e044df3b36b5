"""Dataproc's clusters over REST.

The routes are written out, since the client that has them costs most of a second to import; a test holds them against it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from emulator.wire.http import Call, Route
from emulator.wire.notebooks import read_int, read_query
from emulator.wire.rpc import HttpBinding
from emulator.world import CallSpec

if TYPE_CHECKING:
    from emulator.model.dataproc import DataprocModel

_CLUSTERS = "/v1/projects/{project_id}/regions/{region}/clusters"
BINDINGS = {
    "CreateCluster": HttpBinding("POST", _CLUSTERS, "cluster"),
    "ListClusters": HttpBinding("GET", _CLUSTERS, ""),
    "GetCluster": HttpBinding("GET", f"{_CLUSTERS}/{{cluster_name}}", ""),
    "DeleteCluster": HttpBinding("DELETE", f"{_CLUSTERS}/{{cluster_name}}", ""),
    "GetOperation": HttpBinding("GET", "/v1/{name=projects/*/regions/*/operations/*}", ""),
}
# method -> (mutates, IAM permission)
_CALLS = {
    "CreateCluster": (True, "dataproc.clusters.create"),
    "ListClusters": (False, "dataproc.clusters.list"),
    "GetCluster": (False, "dataproc.clusters.get"),
    "DeleteCluster": (True, "dataproc.clusters.delete"),
    "GetOperation": (False, "dataproc.operations.get"),
}


def routes(model: DataprocModel) -> list[Route]:
    """The service's routes."""
    calls = _Calls(model)
    handlers: dict[str, Callable[[Call], Any]] = {
        "CreateCluster": calls.create,
        "ListClusters": calls.listing,
        "GetCluster": calls.get,
        "DeleteCluster": calls.delete,
        "GetOperation": calls.get_operation,
    }
    return [
        Route(
            binding.verb,
            binding.pattern(),
            CallSpec("dataproc", method, mutates=_CALLS[method][0], permission=_CALLS[method][1]),
            handlers[method],
            _resource,
        )
        for method, binding in BINDINGS.items()
    ]


def _resource(call: Call) -> str:
    """What the journal and the faults name: the cluster (of a create, too), the operation, or the list's parent."""
    if "name" in call.params:
        return call.params["name"]
    parent = f"projects/{call.params['project_id']}/regions/{call.params['region']}"
    name = call.json().get("clusterName", "") if call.request.method == "POST" else call.params.get("cluster_name")
    return parent if name is None else f"{parent}/clusters/{name}"


class _Calls:
    """The handlers."""

    def __init__(self, model: DataprocModel) -> None:
        self._model = model

    def create(self, call: Call) -> Any:
        query = read_query(call, ("requestId", "actionOnFailedPrimaryWorkers"))
        where = (call.params["project_id"], call.params["region"])
        return self._model.create(*where, call.json(), request_id=query.get("requestId", ""))

    def listing(self, call: Call) -> Any:
        query = read_query(call, ("filter", "pageSize", "pageToken"))
        return self._model.listing(
            call.params["project_id"],
            call.params["region"],
            filter_=query.get("filter", ""),
            size=read_int(query, "pageSize"),
            token=query.get("pageToken", ""),
        )

    def get(self, call: Call) -> Any:
        read_query(call, ())
        return self._model.get(_resource(call))

    def delete(self, call: Call) -> Any:
        query = read_query(call, ("requestId", "clusterUuid", "gracefulTerminationTimeout"))
        uuid, request_id = query.get("clusterUuid", ""), query.get("requestId", "")
        return self._model.delete(_resource(call), uuid=uuid, request_id=request_id)

    def get_operation(self, call: Call) -> Any:
        read_query(call, ())
        return self._model.get_operation(call.params["name"])
