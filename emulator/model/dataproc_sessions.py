"""The model of Dataproc session templates, from which JupyterLab starts serverless Spark sessions. No session runs here."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from emulator.clock import rfc3339
from emulator.errors import ApiError
from emulator.model.dataproc_config import (
    check_between,
    check_cluster_labels,
    duration,
    read_message,
    uuid_of,
    zones_of,
)
from emulator.model.filters import fields_filter, labels_of
from emulator.model.notebooks_fresh import digest
from emulator.model.notebooks_rules import invalid
from emulator.model.pages import listed

if TYPE_CHECKING:
    from emulator.world import World

_NAME = re.compile(r"projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+)/sessionTemplates/(?P<id>[^/]*)")
_PARENT = re.compile(r"projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+)")
# The form of session and batch ids (the client's CreateSessionRequest). The client documents none for templates.
_ID = re.compile(r"[a-z0-9-]{4,63}")
_OUTPUT_ONLY = ("createTime", "creator", "updateTime", "uuid")
_LEAST_TTL = timedelta(minutes=10)


class SessionTemplates:
    """The model of all session templates of the project, by full name.

    Calls on templates start no operation: a call's work is done when it returns.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self._templates: dict[str, dict[str, Any]] = {}
        self._serial = 0

    def dump(self) -> Any:
        """Return the state as JSON-able data."""
        return {"serial": self._serial, "templates": list(self._templates.values())}

    def load(self, state: Any) -> None:
        """Restore the state from a result of `dump`; an empty state has no templates."""
        self._serial = state.get("serial", 0)
        self._templates = {row["name"]: row for row in state.get("templates", [])}

    def create(self, parent: str, body: dict[str, Any], *, creator: str) -> dict[str, Any]:
        """Answer `CreateSessionTemplate`. The body's name must be within the parent."""
        self._check_parent(parent)
        asked = _checked(body)
        name = asked.get("name", "")
        if not name.startswith(f"{parent}/sessionTemplates/"):
            raise invalid(f"Invalid session template name: '{name}'. It must begin with '{parent}/sessionTemplates/'.")
        ident = name.rpartition("/")[2]
        if not _ID.fullmatch(ident) or not _NAME.fullmatch(name):
            raise invalid(f"Invalid session template ID: '{ident}'. It must be 4-63 characters of /[a-z][0-9]-/.")
        if name in self._templates:
            text = f"Already exists: Failed to create session template: SessionTemplate {name}"
            raise ApiError("ALREADY_EXISTS", text)
        now = rfc3339(self.world.clock.now())
        self._serial += 1
        uuid = uuid_of(digest(name, self._serial))
        made = asked | {"uuid": uuid, "creator": creator, "createTime": now, "updateTime": now}
        self._templates[name] = made
        return made

    def get(self, name: str) -> dict[str, Any]:
        """Answer `GetSessionTemplate`."""
        return self._find(name)

    def listing(self, parent: str, *, filter_: str = "", size: int = 0, token: str = "") -> dict[str, Any]:
        """Answer `ListSessionTemplates`, ordered by name."""
        self._check_parent(parent)
        passes, prefix = fields_filter(filter_, ("labels.",), labels_of, alone=True), f"{parent}/sessionTemplates/"
        return listed(
            "sessionTemplates",
            [each for name, each in self._templates.items() if name.startswith(prefix) and passes(each)],
            size=size,
            token=token,
            scope=f"sessionTemplates {parent} {filter_}",
            key=lambda template: str(template["name"]),
        )

    def update(self, body: dict[str, Any]) -> dict[str, Any]:
        """Answer `UpdateSessionTemplate`: replace the whole template except for the fields that only the service sets.

        The request has neither a mask nor an etag, and `gcloud ... import` uses it to overwrite a template: the last
        write wins.
        """
        asked = _checked(body)
        before = self._find(asked.get("name", ""))
        kept = {key: before[key] for key in _OUTPUT_ONLY}
        made = asked | kept | {"updateTime": rfc3339(self.world.clock.now())}
        self._templates[made["name"]] = made
        return made

    def delete(self, name: str) -> dict[str, Any]:
        """Answer `DeleteSessionTemplate`: the template is removed at once."""
        del self._templates[self._find(name)["name"]]
        return {}

    # --- inner

    def _check_parent(self, parent: str) -> None:
        match = _PARENT.fullmatch(parent)
        if match is None:
            raise invalid(f"Invalid parent: '{parent}'. It must be projects/PROJECT/locations/REGION.")
        self._check_place(match["project"], match["location"])

    def _check_place(self, project: str, location: str) -> None:
        if project != self.world.project:
            raise ApiError("PERMISSION_DENIED", f"Permission denied on resource project {project}.")
        if not zones_of(location):
            raise ApiError("PERMISSION_DENIED", f"Permission denied on 'locations/{location}' (or it may not exist).")

    def _find(self, name: str) -> dict[str, Any]:
        match = _NAME.fullmatch(name)
        if match is None:
            raise invalid(f"Invalid session template name: '{name}'.")
        self._check_place(match["project"], match["location"])
        if name not in self._templates:
            raise ApiError("NOT_FOUND", f"Not found: SessionTemplate {name}")
        return self._templates[name]


def _checked(body: dict[str, Any]) -> dict[str, Any]:
    """Return the body in canonical form; raise 400 for unknown fields, wrong labels and times to live."""
    asked = read_message("SessionTemplate", body)
    check_cluster_labels(asked.get("labels", {}))
    execution = asked.get("environmentConfig", {}).get("executionConfig", {})
    for field in ("idleTtl", "ttl"):
        if field in execution:
            check_between(f"environment_config.execution_config.{field}", duration(execution[field]), _LEAST_TTL)
    return asked
