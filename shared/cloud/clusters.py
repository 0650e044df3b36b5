"""The people's Spark clusters in Dataproc, found by the label that their templates give them. Plain REST (ADR 5)."""

from __future__ import annotations

from shared.cloud.clients import Clients
from shared.domain.errors import BusyError, InvalidSpecError
from shared.domain.identity import UserKey
from shared.domain.keeping import Cluster
from shared.domain.notebook import LABEL_USER

_PAGE = 200
_DELETING = "DELETING"
_UNSETTLED = frozenset({"CREATING", "UPDATING", "STARTING", "STOPPING", "REPAIRING", "SCHEDULED"})


class DataprocClusters:
    """The port `Clusters`: those of one region, in which the templates make them."""

    def __init__(self, clients: Clients, *, project: str, region: str) -> None:
        self._clients = clients
        self._clusters = f"/v1/projects/{project}/regions/{region}/clusters"

    def of(self, user_key: UserKey) -> tuple[Cluster, ...]:
        """All pages of those that carry the person's label."""
        query = {"filter": f"labels.{LABEL_USER} = {user_key}", "pageSize": _PAGE}
        found: list[Cluster] = []
        token = ""
        while True:
            page = self._clients.json("dataproc").call(
                "GET", self._clusters, params={**query, **({"pageToken": token} if token else {})}
            )
            found += [
                Cluster(name=str(raw["clusterName"]), state=str(raw.get("status", {}).get("state", "")))
                for raw in page.get("clusters", [])
            ]
            token = page.get("nextPageToken", "")
            if not token:
                return tuple(found)

    def delete(self, name: str) -> None:
        """Gone or going already is done; one that is still being made or changed is `BusyError`.

        Dataproc refuses both of the latter with the same 400, so the state decides.
        """
        path = f"{self._clusters}/{name}"
        try:
            self._clients.json("dataproc").call_or_none("DELETE", path)
        except InvalidSpecError as error:
            raw = self._clients.json("dataproc").call_or_none("GET", path)
            state = _DELETING if raw is None else str(raw.get("status", {}).get("state", ""))
            if state == _DELETING:
                return
            if state in _UNSETTLED:
                raise BusyError(
                    user_message="The Spark cluster is busy with another change; it is tried again.",
                    detail=f"delete cluster {name}: it is {state}",
                ) from error
            raise
