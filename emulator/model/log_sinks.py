"""The sinks of Cloud Logging, of the project and of its organization. They do not export any entry here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from emulator.clock import rfc3339
from emulator.errors import ApiError

if TYPE_CHECKING:
    from emulator.world import World

_SINK = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_DESTINATION = re.compile(
    r"pubsub\.googleapis\.com/projects/[^/]+/topics/[^/]+|storage\.googleapis\.com/[^/]+"
    r"|bigquery\.googleapis\.com/projects/[^/]+/datasets/[^/]+|logging\.googleapis\.com/projects/\S+"
)
_OWN = ("_Required", "_Default")


class Sinks:
    """A store of log sinks by full name (`projects/P/sinks/S`, `organizations/O/sinks/S`), with the API's methods.

    Only `organization` is accepted as an organization; with None, no organization is. With `any_organization`, every
    organization is accepted.
    """

    def __init__(
        self, world: World, *, project: str, number: str, organization: str | None, any_organization: bool = False
    ) -> None:
        self._world = world
        self._project = project
        self._number = number
        self._organization = organization
        self._any = any_organization
        self.by_name: dict[str, dict[str, Any]] = {}

    def dump(self) -> Any:
        """Return the state as JSON-able data."""
        return dict(self.by_name)

    def load(self, state: Any) -> None:
        """Restore the state from a result of `dump`."""
        self.by_name = dict(state)

    def check_parent(self, name: str) -> None:
        """Raise 403 unless the parent is this project or an accepted organization."""
        kind, _, rest = name.partition("/")
        owner = rest.partition("/")[0]
        ours = {self._project, self._number} if kind == "projects" else {self._organization}
        if kind not in {"projects", "organizations"} or (
            owner not in ours and not (self._any and kind == "organizations")
        ):
            raise ApiError("PERMISSION_DENIED", "The caller does not have permission")

    def create(self, parent: str, body: dict[str, Any], *, unique: bool) -> dict[str, Any]:
        """Answer `sinks.create`.

        Like the real service, the model does not check that the sink may write to the destination.
        """
        self.check_parent(parent)
        short = str(body.get("name", ""))
        if _SINK.fullmatch(short) is None:
            raise ApiError("INVALID_ARGUMENT", f"Invalid sink name: {short!r}")
        name = f"{parent}/sinks/{short}"
        if name in self.by_name or short in _OWN:
            raise ApiError("ALREADY_EXISTS", f"Sink {short} already exists")
        _check(body)
        if body.get("includeChildren") and parent.startswith("projects/"):
            raise ApiError("INVALID_ARGUMENT", "include_children is only for sinks of organizations and folders")
        now = rfc3339(self._world.clock.now())
        stamps = {"createTime": now, "updateTime": now, "resourceName": name}
        self.by_name[name] = {**body, **stamps, "writerIdentity": self._writer(parent, unique=unique)}
        return self.by_name[name]

    def _writer(self, parent: str, *, unique: bool) -> str:
        if parent.startswith("organizations/"):
            owner = parent.partition("/")[2]
            return f"serviceAccount:service-org-{owner}@gcp-sa-logging.iam.gserviceaccount.com"
        if unique:
            return f"serviceAccount:service-{self._number}@gcp-sa-logging.iam.gserviceaccount.com"
        return "serviceAccount:cloud-logs@system.gserviceaccount.com"

    def update(self, name: str, body: dict[str, Any], *, mask: str) -> dict[str, Any]:
        """Answer `sinks.update` for the fields of the mask (without a mask: destination, filter and children)."""
        changed = dict(self.get(name))
        paths = (mask or "destination,filter,includeChildren").split(",")
        for path in (re.sub(r"_([a-z])", lambda m: m[1].upper(), part) for part in paths):
            if path in body:
                changed[path] = body[path]
            else:
                changed.pop(path, None)
        _check(changed)
        self.by_name[name] = changed | {"updateTime": rfc3339(self._world.clock.now())}
        return self.by_name[name]

    def listing(self, parent: str) -> dict[str, Any]:
        """Answer `sinks.list`, including the two sinks that every project and organization has."""
        self.check_parent(parent)
        made = [sink for name, sink in sorted(self.by_name.items()) if name.startswith(f"{parent}/sinks/")]
        return {"sinks": [_own(parent, short) for short in _OWN] + made}

    def delete(self, name: str) -> dict[str, Any]:
        """Answer `sinks.delete`."""
        self.get(name)
        del self.by_name[name]
        return {}

    def get(self, name: str) -> dict[str, Any]:
        """Answer `sinks.get`; raise 404 for a missing sink."""
        self.check_parent(name)
        parent, _, short = name.rpartition("/sinks/")
        if name not in self.by_name and short in _OWN:
            return _own(parent, short)
        if name not in self.by_name:
            raise ApiError("NOT_FOUND", f"Sink {short} does not exist")
        return self.by_name[name]


def _own(parent: str, short: str) -> dict[str, Any]:
    bucket = f"logging.googleapis.com/{parent}/locations/global/buckets/{short}"
    return {"name": short, "destination": bucket, "resourceName": f"{parent}/sinks/{short}"}


def _check(sink: dict[str, Any]) -> None:
    if _DESTINATION.fullmatch(str(sink.get("destination", ""))) is None:
        raise ApiError("INVALID_ARGUMENT", f"Unsupported sink destination: {sink.get('destination')!r}")
    names = [exclusion.get("name") for exclusion in sink.get("exclusions", [])]
    if len(names) != len(set(names)) or not all(names):
        raise ApiError("INVALID_ARGUMENT", "Every exclusion of a sink needs a name of its own")
