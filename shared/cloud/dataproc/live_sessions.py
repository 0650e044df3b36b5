"""The adapter to serverless interactive Spark sessions in Dataproc, to find and end those of leavers.

Plain REST (ADR 5).

The API's list can be filtered by state and labels, but not by creator (the client's `ListSessionsRequest`). So all running sessions
are listed, and their owners are matched here: by `creator`, by `user`, or by our label.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.cloud.http.clients import Clients
from shared.domain.spark.leaver import SessionOwner
from shared.domain.things.errors import BusyError, InvalidSpecError, UnknownRefusalError
from shared.domain.things.notebook import LABEL_USER

_PAGE = 200
_RUNNING = ("ACTIVE", "CREATING")


class DataprocLiveSessions:
    """The adapter of the port `LiveSessions` for the one region of the templates and the notebooks."""

    def __init__(self, clients: Clients, *, project: str, region: str) -> None:
        self._clients = clients
        self._parent = f"projects/{project}/locations/{region}"

    def of(self, owner: SessionOwner) -> tuple[str, ...]:
        """Return the owner's running sessions of the region, from all pages. A session in a state unknown to this version is left out."""
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
        """Terminate the session; a session that is missing, ending or ended is not an error.

        Dataproc may refuse this during creation. Then raise `BusyError`, so that the next pass tries again.
        """
        path = f"/v1/{self._parent}/sessions/{name}"
        try:
            self._clients.json("dataproc").call_or_none(
                "POST", f"{path}:terminate", body={}, what=f"terminate session {name}"
            )
        except (BusyError, InvalidSpecError, UnknownRefusalError) as error:
            raw = self._clients.json("dataproc").call_or_none("GET", path)
            if raw is not None and raw.get("state") in _RUNNING:
                raise BusyError(
                    user_message="The Spark session cannot be ended just now; Benchkeeper tries again.",
                    detail=error.detail,
                ) from error


def _is_of(raw: Mapping[str, Any], user_key: str, addresses: set[str]) -> bool:
    people = {str(raw.get(field, "")).casefold() for field in ("creator", "user")}
    return not people.isdisjoint(addresses) or raw.get("labels", {}).get(LABEL_USER) == user_key
