"""The adapter to the users' Spark clusters in Dataproc, found by the label that their templates set.

Clusters are created with the official client, which knows every field of a cluster. Reads and deletes are plain REST, which
needs no import (ADR 5).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from shared.cloud.dataproc.cluster_render import personal_cluster
from shared.cloud.dataproc.target import RenderTarget
from shared.cloud.http.clients import Clients
from shared.cloud.http.translate import from_operation, translated
from shared.cloud.http.words import Service
from shared.domain.record.record import UserRecord
from shared.domain.spark.actions import CreateCluster
from shared.domain.things.catalog import Catalog
from shared.domain.things.clusters import FAILED, Cluster, ClusterOperationSeen, ClusterState
from shared.domain.things.errors import (
    BenchkeeperError,
    BusyError,
    InvalidSpecError,
    NotOursError,
    OperationFailedError,
    UnknownAnswerError,
    UnknownRefusalError,
)
from shared.domain.things.identity import UserKey
from shared.domain.things.notebook import LABEL_MANAGED_BY, LABEL_USER, MANAGED_BY, Absent

_PAGE = 200
_TIMEOUT_S = 60
_UNSETTLED = frozenset(
    {
        ClusterState.CREATING,
        ClusterState.UPDATING,
        ClusterState.STARTING,
        ClusterState.STOPPING,
        ClusterState.REPAIRING,
        ClusterState.SCHEDULED,
    }
)


class DataprocClusters:
    """The adapter of the port `Clusters` for the region of the templates.

    `catalog` and `target` are functions that are called at each use, because the policy in force may change.
    """

    def __init__(
        self,
        clients: Clients,
        *,
        project: str,
        region: str,
        catalog: Callable[[], Catalog],
        target: Callable[[], RenderTarget],
    ) -> None:
        self._clients = clients
        self._project, self._region = project, region
        self._catalog, self._target = catalog, target
        self._clusters = f"/v1/projects/{project}/regions/{region}/clusters"

    def of(self, user_key: UserKey) -> tuple[Cluster, ...]:
        """Return the clusters with the user's label, from all pages."""
        query = {"filter": f"labels.{LABEL_USER} = {user_key}", "pageSize": _PAGE}
        found: list[Cluster] = []
        token = ""
        while True:
            page = self._clients.json("dataproc").call(
                "GET", self._clusters, params={**query, **({"pageToken": token} if token else {})}
            )
            found += [_seen(raw) for raw in page.get("clusters", [])]
            token = page.get("nextPageToken", "")
            if not token:
                return tuple(found)

    def create(self, record: UserRecord, action: CreateCluster) -> str:
        """Create the cluster and return the operation's name; "" if the cluster exists and is ours.

        The template is rendered again, so that the cluster has the content of the user's template object and the user's
        present address. Raise `BusyError` while a cluster of that name is being deleted, and `NotOursError` for a cluster of
        that name that is not ours.
        """
        from google.api_core.exceptions import Conflict
        from google.cloud.dataproc_v1 import Cluster as ClusterMessage
        from google.protobuf import json_format

        body = personal_cluster(self._catalog().masters[action.template], record, self._target(), zone=action.zone)
        message = json_format.ParseDict(body, ClusterMessage.pb(ClusterMessage()))
        with translated(f"create cluster {action.name}"):
            try:
                started = self._clients.clusters(self._region).create_cluster(
                    request={
                        "project_id": self._project,
                        "region": self._region,
                        "cluster": message,
                        "request_id": action.request_id,
                    },
                    retry=None,  # the client's own retry lasts five minutes on a 503; the next pass tries again
                    timeout=_TIMEOUT_S,
                )
            except Conflict:  # 409, AlreadyExists among them
                return self._there_already(record.user_key, action.name)
        return str(started.operation.name)

    def _there_already(self, user_key: UserKey, name: str) -> str:
        """Return "" if the existing cluster is ours or is gone by now. The next pass observes the cluster, or tries again.

        Raise `BusyError` for a cluster being deleted, whose name is not free yet, and `NotOursError` for a cluster that
        is not ours.
        """
        raw = self._clients.json("dataproc").call_or_none("GET", f"{self._clusters}/{name}")
        if raw is not None and _state(raw) is ClusterState.DELETING:
            raise BusyError(
                user_message="The old Spark cluster of that name is still being deleted; Benchkeeper tries again.",
                detail=f"create cluster {name}: one of that name is DELETING",
            )
        labels = raw.get("labels", {}) if raw is not None else {}
        if raw is None or (labels.get(LABEL_USER) == user_key and labels.get(LABEL_MANAGED_BY) == MANAGED_BY):
            return ""
        raise NotOursError(
            user_message=f"A Spark cluster named '{name}' exists that Benchkeeper did not create. An administrator must delete it, if "
            "it is not needed.",
            detail=f"cluster {name} exists without our labels",
        )

    def operation(self, name: str) -> ClusterOperationSeen | Absent:
        """Return the operation; `Absent` if Dataproc no longer has it, because Dataproc removes operations some time after their end."""
        raw = self._clients.json("dataproc").call_or_none("GET", f"/v1/{name}")
        if raw is None:
            return Absent()
        error = raw.get("error")
        return ClusterOperationSeen(
            done=bool(raw.get("done")),
            error=_failure(error) if error else None,
        )

    def delete(self, name: str) -> None:
        """Delete the cluster; a cluster that is missing or being deleted is not an error.

        Raise `BusyError` for a cluster that is being created or changed.

        Dataproc answers with the same 400 if a cluster is being deleted or changed, so the state decides.
        """
        path = f"{self._clusters}/{name}"
        try:
            self._clients.json("dataproc").call_or_none("DELETE", path)
        except (BusyError, InvalidSpecError, UnknownRefusalError) as error:
            raw = self._clients.json("dataproc").call_or_none("GET", path)
            state = ClusterState.DELETING if raw is None else _state(raw)
            if state is ClusterState.DELETING:
                return
            if state in _UNSETTLED:
                raise BusyError(
                    user_message="The Spark cluster is busy with another change; Benchkeeper tries again.",
                    detail=f"delete cluster {name}: it is {state}",
                ) from error
            raise


def _seen(raw: Mapping[str, Any]) -> Cluster:
    state, config, labels = _state(raw), raw.get("config", {}), raw.get("labels", {})
    detail = str(raw.get("status", {}).get("detail", ""))
    return Cluster(
        name=str(raw["clusterName"]),
        state=state,
        uuid=str(raw.get("clusterUuid", "")),
        zone=str(config.get("gceClusterConfig", {}).get("zoneUri", "")).rpartition("/")[2],
        error=_failure({"code": 13, "message": detail}) if state in FAILED and detail else None,
        ports={str(name): str(url) for name, url in config.get("endpointConfig", {}).get("httpPorts", {}).items()},
        is_ours=labels.get(LABEL_MANAGED_BY) == MANAGED_BY,
    )


def _failure(error: dict[str, Any]) -> BenchkeeperError:
    """Return the error for a failed create.

    A failed create is not retried automatically, so the user is told what to do.
    """
    known = from_operation(error, "create cluster", service=Service.DATAPROC)
    if not isinstance(known, OperationFailedError | UnknownAnswerError):
        return known
    return type(known)(
        user_message=f"{known.user_message.replace('; Benchkeeper tries again', '')} Start it again; if it fails again, ask an administrator.",
        detail=known.detail,
    )


def _state(raw: Mapping[str, Any]) -> ClusterState:
    """Return the cluster's state; UNKNOWN for a state that this version does not know."""
    try:
        return ClusterState(raw.get("status", {}).get("state", "UNKNOWN"))
    except ValueError:
        return ClusterState.UNKNOWN
