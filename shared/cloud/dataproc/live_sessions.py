"""Serverless interactive Spark sessions in Dataproc: found and ended for leavers. Plain REST (ADR 5).

The list can be filtered by state and labels, not by who made a session (the client's `ListSessionsRequest`). So those that run are
listed, and whose each is, is told here: by `creator`, by `user`, or by our label.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.cloud.http.clients import Clients
from shared.domain.spark.sessions import SessionOwner
from shared.domain.things.errors import BusyError, InvalidSpecError
from shared.domain.things.notebook import LABEL_USER

_PAGE = 200
_RUNNING = ("ACTIVE", "CREATING")


class DataprocLiveSessions:
    """The port `LiveSessions`: those of one region, to which the templates and the notebooks belong."""

    def __init__(self, clients: Clients, *, project: str, region: str) -> None:
        self._clients = clients
        self._parent = f"projects/{project}/locations/{region}"

    def of(self, owner: SessionOwner) -> tuple[str, ...]:
        """All pages of the sessions that run in the region. A state that this version does not know is not among them."""
        query = {"filter": " OR ".join(f"state = {state}" for state in _RUNNING), "pageSize": _PAGE}
        addresses = {address.casefold() for address in owner.addresses}
        found: list[str] = []
        token = ""
        while True:
            page = self._clients.json("dataproc").call(
                "GET", f"/v1/{self._parent}/sessions", params={**query, **({"pageToken": token} if token else {})}
            )
            found += [
                str(raw["name"]).rpartition("/")[2]
                for raw in page.get("sessions", [])
                if raw.get("state") in _RUNNING and _is_of(raw, owner.user_key, addresses)
            ]
            token = page.get("nextPageToken", "")
            if not token:
                return tuple(found)

    def end(self, name: str) -> None:
        """Look at what Dataproc refuses to terminate: one that still runs is tried again (it may not while it is being made)."""
        path = f"/v1/{self._parent}/sessions/{name}"
        try:
            self._clients.json("dataproc").call_or_none(
                "POST", f"{path}:terminate", body={}, what=f"terminate session {name}"
            )
        except InvalidSpecError as error:
            raw = self._clients.json("dataproc").call_or_none("GET", path)
            if raw is not None and raw.get("state") in _RUNNING:
                raise BusyError(
                    user_message="The Spark session cannot be ended just now; it is tried again.", detail=error.detail
                ) from error


def _is_of(raw: Mapping[str, Any], user_key: str, addresses: set[str]) -> bool:
    people = {str(raw.get(field, "")).casefold() for field in ("creator", "user")}
    return not people.isdisjoint(addresses) or raw.get("labels", {}).get(LABEL_USER) == user_key
