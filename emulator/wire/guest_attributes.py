"""The guest attributes of Compute Engine: `instances.getGuestAttributes`, and the metadata server's write under the control API.

All errors, including scripted ones, have Compute Engine's own shape.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from werkzeug.wrappers import Response

from emulator.errors import ApiError
from emulator.model.compute_rules import as_compute
from emulator.wire.http import Call, Route, read_query
from emulator.world import CallSpec

if TYPE_CHECKING:
    from emulator.model.guest_attributes import GuestAttributes
    from emulator.world import World

_READ = re.compile(r"^/compute/v1/(?P<instance>projects/[^/]+/zones/[^/]+/instances/[^/]+)/getGuestAttributes$")
_WRITE = re.compile(
    r"^/_emulator/metadata/(?P<zone>[^/]+)/(?P<name>[^/]+)"
    r"/computeMetadata/v1/instance/guest-attributes/(?P<attribute>[^/]+/[^/]+)$"
)


def routes(world: World, model: GuestAttributes) -> list[Route]:
    """Return two routes: one reads guest attributes, one writes a guest attribute."""
    spec = CallSpec("compute", "instances.getGuestAttributes", permission="compute.instances.getGuestAttributes")

    def read(call: Call) -> Any:
        path = call.params["instance"]
        _, project, _, zone, _, name = path.split("/")

        def found() -> dict[str, Any]:
            query = read_query(call, ("queryPath", "variableKey"))
            return model.read(project, zone, name, query.get("queryPath", ""))

        try:
            return world.perform(spec, path, call.principal, found)
        except ApiError as error:
            raise as_compute(error) from error

    def write(call: Call) -> Response:
        if call.request.headers.get("Metadata-Flavor") != "Google":
            raise ApiError("PERMISSION_DENIED", "Missing Metadata-Flavor:Google header.")
        try:
            value = call.request.get_data().decode()
        except UnicodeDecodeError as error:
            raise ApiError("INVALID_ARGUMENT", "A guest attribute is text in UTF-8.") from error
        with world.lock:
            model.write(world.project, call.params["zone"], call.params["name"], call.params["attribute"], value)
            world.touch()
        return Response("", content_type="text/html")

    return [Route("GET", _READ, None, read), Route("PUT", _WRITE, None, write)]
