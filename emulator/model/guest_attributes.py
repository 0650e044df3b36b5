"""The guest attributes of Compute Engine VMs, with the rules of their names and sizes. They are deleted with their VM.

Any process of the VM writes them through its metadata server; here the control API takes the place of that server.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from emulator.errors import ApiError
from emulator.model.notebooks_rules import COMPUTE

if TYPE_CHECKING:
    from emulator.model.notebooks import NotebooksModel
    from emulator.model.notebooks_fresh import Instance

_NAME = re.compile(r"^[A-Za-z0-9_-]{1,127}$")
_MOST_BYTES = 256 * 1024


class GuestAttributes:
    """The model of guest attributes, stored by the VM's numeric id and by `namespace/key`."""

    def __init__(self, notebooks: NotebooksModel) -> None:
        self._notebooks = notebooks
        self._held: dict[str, dict[str, str]] = {}

    def dump(self) -> Any:
        """Return the state as JSON-able data."""
        return {
            vm: dict(held)
            for vm, held in self._held.items()
            if vm in {each.gce_id for each in self._notebooks.fleet.instances.values()}
        }

    def load(self, state: Any) -> None:
        """Restore the state from a result of `dump`."""
        self._held = {vm: dict(held) for vm, held in (state or {}).items()}

    def read(self, project: str, zone: str, name: str, query: str) -> dict[str, Any]:
        """Answer `instances.getGuestAttributes` for a namespace (`benchkeeper/`), a key (`benchkeeper/activity`) or all (empty).

        Raise 404 if there is no such attribute, or if guest attributes are switched off.
        """
        instance = self._instance(project, zone, name)
        prefix = query.removeprefix("/")
        held = self._held.get(instance.gce_id, {})
        is_exact = bool(prefix) and not prefix.endswith("/")
        items = [
            {"namespace": path.partition("/")[0], "key": path.partition("/")[2], "value": value}
            for path, value in sorted(held.items())
            if (path == prefix if is_exact else path.startswith(prefix))
        ]
        if not self._is_on(instance) or not items:
            raise ApiError("NOT_FOUND", f"The resource '{query}' of type 'Guest Attribute' was not found.")
        link = f"{COMPUTE}projects/{project}/zones/{zone}/instances/{name}"
        return {
            "kind": "compute#guestAttributes",
            "queryPath": query,
            "queryValue": {"items": items},
            "selfLink": f"{link}/guestAttributes/{query}",
        }

    def write(self, project: str, zone: str, name: str, path: str, value: str) -> None:
        """Write an attribute as a process of the VM would.

        Raise 403 if guest attributes are switched off, 404 for a VM that is not running, 400 for an invalid name or too
        much content.
        """
        instance = self._instance(project, zone, name)
        namespace, _, key = path.partition("/")
        if not _NAME.match(namespace) or not _NAME.match(key):
            raise ApiError("INVALID_ARGUMENT", f"Invalid guest attribute '{path}'.")
        if not self._is_on(instance):
            raise ApiError("PERMISSION_DENIED", "Guest attributes endpoint access is disabled.")
        if instance.state != "ACTIVE":
            raise ApiError("NOT_FOUND", f"The machine of '{name}' does not run.")
        held = {**self._held.get(instance.gce_id, {}), path: value}
        if sum(len(value.encode()) for value in held.values()) > _MOST_BYTES:
            raise ApiError("INVALID_ARGUMENT", "The guest attributes of a VM take 256 KB at most.")
        self._held[instance.gce_id] = held

    def _instance(self, project: str, zone: str, name: str) -> Instance:
        self._notebooks.settle()
        found = self._notebooks.fleet.instances.get(f"projects/{project}/locations/{zone}/instances/{name}")
        if found is None or not found.vm_exists:
            text = f"The resource 'projects/{project}/zones/{zone}/instances/{name}' was not found"
            raise ApiError("NOT_FOUND", text)
        return found

    @staticmethod
    def _is_on(instance: Instance) -> bool:
        return str(instance.metadata().get("enable-guest-attributes", "")).lower() == "true"
