"""The reports that VMs write about themselves, in the guest attribute `benchkeeper/activity`.

Plain REST, one call for each VM.

Any process of the VM may write the attribute, so the text is not trusted: one that is too long, not JSON, or of another
version is no report.
"""

from __future__ import annotations

import json
from typing import Any

from shared.cloud.http.clients import Clients
from shared.domain.fleet.report import MOST_BYTES, Report, report_of
from shared.domain.things.notebook import InstanceRef

NAMESPACE, KEY = "benchkeeper", "activity"


class GuestReports:
    """The adapter of the port `Reports`."""

    def __init__(self, clients: Clients, *, project: str) -> None:
        self._clients = clients
        self._project = f"/compute/v1/projects/{project}"

    def of(self, ref: InstanceRef) -> Report | None:
        """Return the report by one GET; None for 404, the answer for a VM without the attribute and for a missing VM."""
        path = f"{self._project}/zones/{ref.zone}/instances/{ref.instance_id}/getGuestAttributes"
        found = self._clients.json("compute").call_or_none("GET", path, params={"queryPath": f"{NAMESPACE}/"})
        return None if found is None else _report(found)


def _report(found: dict[str, Any]) -> Report | None:
    query = found.get("queryValue")
    items = query.get("items") if isinstance(query, dict) else None
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict) and (item.get("namespace"), item.get("key")) == (NAMESPACE, KEY):
            value = item.get("value")
            if not isinstance(value, str) or len(value.encode(errors="replace")) > MOST_BYTES:
                return None
            try:
                return report_of(json.loads(value))
            except (ValueError, RecursionError):
                return None
    return None
