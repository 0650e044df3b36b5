"""The REST API of Compute Engine v1 under `/compute/v1/`: disks, snapshots, their operations, and batches (which gcloud sends).

All errors, including scripted ones, have Compute Engine's own shape. The content of a disk is read and written through
the control API.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from werkzeug.wrappers import Response

from emulator.clock import real_now
from emulator.errors import ApiError
from emulator.model.compute_rules import as_compute
from emulator.model.disks import checksum
from emulator.model.offers import read_offer
from emulator.wire.http import SYSTEM_PARAMETERS, Call, HttpFront, Route
from emulator.wire.storage_batch import batch
from emulator.world import CallSpec, World

if TYPE_CHECKING:
    from emulator.model.compute import ComputeModel
    from emulator.model.surroundings import Surroundings

_Asked = Callable[[Call, dict[str, str]], Any]
_V1 = r"^/compute/v1/"
_GLOBAL = r"(?P<parent>projects/[^/]+/global)"
_ZONE = r"(?P<parent>projects/[^/]+/zones/[^/]+)"
_DISK = r"(?P<path>projects/[^/]+/zones/[^/]+/disks/[^/]+)"
_SNAPSHOT = r"(?P<path>projects/[^/]+/global/snapshots/[^/]+)"
# Reads of what a project offers: path, resource, method.
_OFFERS = (
    (r"projects/[^/]+/zones/[^/]+", "zones", "get"),
    (r"projects/[^/]+/zones/[^/]+/machineTypes/[^/]+", "machineTypes", "get"),
    (r"projects/[^/]+/zones/[^/]+/diskTypes/[^/]+", "diskTypes", "get"),
    (r"projects/[^/]+/zones/[^/]+/acceleratorTypes/[^/]+", "acceleratorTypes", "get"),
    (r"projects/[^/]+/global/images/family/[^/]+", "images", "getFromFamily"),
    (r"projects/[^/]+/global/networks/[^/]+", "networks", "get"),
    (r"projects/[^/]+/regions/[^/]+/subnetworks/[^/]+", "subnetworks", "get"),
)
_LIST = ("filter", "maxResults", "orderBy", "pageToken", "returnPartialSuccess")
# operations.wait: "waits for no more than 2 minutes"; also in real time, so that no caller waits for ever if the clock stands still.
_WAIT = timedelta(minutes=2)


def routes(world: World, model: ComputeModel, surroundings: Surroundings) -> list[Route]:
    """Return the service's routes and the routes of the control API."""
    calls = _Calls(world, model)

    def create_snapshot(call: Call, query: dict[str, str]) -> Any:
        disk, request_id = call.params.get("path", ""), query.get("requestId", "")
        scope = call.params.get("parent") or disk.rpartition("/disks/")[0]
        return model.create_snapshot(scope, call.json(), disk=disk, user=call.principal, request_id=request_id)

    def delete_snapshot(call: Call, query: dict[str, str]) -> Any:
        return model.delete_snapshot(call.params["path"], user=call.principal, request_id=query.get("requestId", ""))

    def get_operation(call: Call, _query: dict[str, str]) -> Any:
        return model.get_operation(_operation(call))

    # verb, path, method, permission, query parameters, handler
    table: list[tuple[str, str, str, str, tuple[str, ...], _Asked]] = [
        ("GET", f"{_ZONE}/disks", "disks.list", "compute.disks.list", _LIST,
         lambda call, query: model.list_disks(call.params["parent"], query)),
        ("GET", r"(?P<parent>projects/[^/]+)/aggregated/disks", "disks.aggregatedList", "compute.disks.list",
         (*_LIST, "includeAllScopes", "serviceProjectNumber"),
         lambda call, query: model.aggregated_disks(call.params["parent"], query)),
        ("GET", _DISK, "disks.get", "compute.disks.get", (), lambda call, _: model.get_disk(call.params["path"])),
        ("DELETE", _DISK, "disks.delete", "compute.disks.delete", ("requestId",),
         lambda call, _: model.delete_disk(call.params["path"])),
        ("POST", f"{_DISK}/createSnapshot", "disks.createSnapshot", "compute.disks.createSnapshot,compute.snapshots.create",
         ("requestId", "guestFlush"), create_snapshot),
        ("POST", f"{_GLOBAL}/snapshots", "snapshots.insert", "compute.snapshots.create,compute.disks.createSnapshot",
         ("requestId",), create_snapshot),
        ("GET", f"{_GLOBAL}/snapshots", "snapshots.list", "compute.snapshots.list", _LIST,
         lambda call, query: model.list_snapshots(call.params["parent"], query)),
        ("GET", _SNAPSHOT, "snapshots.get", "compute.snapshots.get", (), lambda call, _: model.get_snapshot(call.params["path"])),
        ("DELETE", _SNAPSHOT, "snapshots.delete", "compute.snapshots.delete", ("requestId",), delete_snapshot),
        ("POST", f"{_SNAPSHOT}/setLabels", "snapshots.setLabels", "compute.snapshots.setLabels", (),
         lambda call, _: model.set_labels(call.params["path"], call.json(), user=call.principal)),
    ]  # fmt: skip
    table += [
        ("GET", rf"(?P<path>{path})", f"{kind}.{method}", f"compute.{kind}.get", (),
         lambda call, _: read_offer(call.params["path"], world.project, surroundings))
        for path, kind, method in _OFFERS
    ]  # fmt: skip
    found = [calls.route(*row) for row in table]
    for place, service in ((_GLOBAL, "globalOperations"), (_ZONE, "zoneOperations")):
        path = place.replace("<parent>", "<scope>") + r"/operations/(?P<name>[^/]+)"
        found.append(calls.route("GET", path, f"{service}.get", f"compute.{service}.get", (), get_operation))
        wait = calls.route("POST", f"{path}/wait", f"{service}.wait", f"compute.{service}.get", (), get_operation)
        found.append(Route(wait.method, wait.pattern, None, functools.partial(calls.wait, wait.handler)))
    front = HttpFront(world, found)
    found.append(Route("POST", re.compile(r"^/batch/compute/v1$"), None, lambda call: batch(call, front)))
    return found + _control(world, model)


class _Calls:
    """The handlers of Compute Engine's calls, which write the journal and give errors in that API's shape."""

    def __init__(self, world: World, model: ComputeModel) -> None:
        self._world = world
        self._model = model

    def route(
        self, verb: str, path: str, method: str, permission: str, known: tuple[str, ...], handler: _Asked
    ) -> Route:
        """Return a route that writes the journal itself, so that scripted errors, too, get Compute Engine's shape."""
        mutates = verb in ("POST", "DELETE") and not method.endswith(".wait")
        spec = CallSpec("compute", method, mutates=mutates, permission=permission)
        return Route(verb, re.compile(f"{_V1}{path}$"), None, functools.partial(self._perform, spec, known, handler))

    def _perform(self, spec: CallSpec, known: tuple[str, ...], handler: _Asked, call: Call) -> Any:
        try:
            return self._world.perform(
                spec, _resource(call), call.principal, lambda: handler(call, _query(call, known))
            )
        except ApiError as error:
            raise as_compute(error) from error

    def wait(self, look: Callable[[Call], Any], call: Call) -> Any:
        """Wait for an operation, and return the response of `look`. As in the API, the wait is best effort: it may end before the operation.

        If the clock stands still, the wait ends at once.
        """
        clock = self._world.clock
        last, patience = clock.now() + _WAIT, real_now() + _WAIT.total_seconds()
        while clock.speed > 0 and clock.now() < last and real_now() < patience:
            seen = clock.changes
            try:
                with self._world.lock:
                    ends = self._model.operation_ends(_operation(call))
            except ApiError:
                break  # `look` raises the same error
            if clock.now() >= ends:
                break
            clock.wait_until(min(ends, last), since=seen)
        return look(call)


def _operation(call: Call) -> str:
    return f"{call.params['scope']}/operations/{call.params['name']}"


def _resource(call: Call) -> str:
    """Return the resource for the journal and the faults: disk, snapshot (also of an insert), operation, or a list's parent."""
    if "scope" in call.params:
        return _operation(call)
    if "path" in call.params:
        return call.params["path"]
    if call.request.method == "POST":
        return f"{call.params['parent']}/snapshots/{call.json().get('name', '')}"
    return call.params["parent"]


def _query(call: Call, known: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in call.request.args.items():
        if name in known:
            found[name] = str(value)
        elif name not in SYSTEM_PARAMETERS:
            text = f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter.'
            raise ApiError("INVALID_ARGUMENT", text, reason="badRequest")
    return found


def _control(world: World, model: ComputeModel) -> list[Route]:
    disk = re.compile(r"^/_emulator/disks/(?P<zone>[^/]+)/(?P<name>[^/]+)$")
    snapshot = re.compile(r"^/_emulator/snapshots/(?P<name>[^/]+)$")

    def path(call: Call) -> str:
        return f"projects/{world.project}/zones/{call.params['zone']}/disks/{call.params['name']}"

    def read(call: Call) -> Response:
        with world.lock:
            return _content(model.content(path(call)))

    def write(call: Call) -> Response:
        content = call.request.get_data()
        with world.lock:
            model.write(path(call), content)
            world.touch()
        return _content(content)

    def frozen(call: Call) -> Response:
        with world.lock:
            return _content(model.snapshot_content(f"projects/{world.project}/global/snapshots/{call.params['name']}"))

    return [
        Route("GET", disk, None, read),
        Route("PUT", disk, None, write),
        Route("GET", snapshot, None, frozen),
    ]


def _content(content: bytes) -> Response:
    """Return the bytes unchanged, with their CRC32C in Cloud Storage's header `X-Goog-Hash`."""
    headers = {"X-Goog-Hash": f"crc32c={checksum(content)}"}
    return Response(content, content_type="application/octet-stream", headers=headers)
