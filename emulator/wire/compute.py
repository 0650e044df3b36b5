"""Compute Engine v1 over REST under `/compute/v1/`: disks, snapshots, their operations, and batches (what gcloud sends).

Refusals, scripted ones too, have Compute Engine's own shape. What is on a disk is read and written through the control API.
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
from emulator.wire.http import Call, HttpFront, Route
from emulator.wire.notebooks import SYSTEM_PARAMETERS
from emulator.wire.storage_batch import batch
from emulator.world import CallSpec, World

if TYPE_CHECKING:
    from emulator.model.compute import ComputeModel

Resource = Callable[[Call], str]
_V1 = r"^/compute/v1/"
_GLOBAL = r"(?P<parent>projects/[^/]+/global)"
_ZONE = r"(?P<parent>projects/[^/]+/zones/[^/]+)"
_DISK = r"(?P<path>projects/[^/]+/zones/[^/]+/disks/[^/]+)"
_SNAPSHOT = r"(?P<path>projects/[^/]+/global/snapshots/[^/]+)"
_LIST = ("filter", "maxResults", "orderBy", "pageToken", "returnPartialSuccess")
# operations.wait: "waits for no more than 2 minutes"; the same in real time, so that a clock that stands still holds nobody for ever.
_WAIT = timedelta(minutes=2)


def routes(world: World, model: ComputeModel) -> list[Route]:
    """Return the service's routes and those of the control API."""
    calls = _Calls(world, model)
    table: list[tuple[str, str, str, Callable[[Call], Any], str]] = [
        ("GET", f"{_ZONE}/disks", "disks.list", calls.list_disks, "compute.disks.list"),
        ("GET", _DISK, "disks.get", calls.get_disk, "compute.disks.get"),
        ("DELETE", _DISK, "disks.delete", calls.delete_disk, "compute.disks.delete"),
        (
            "POST", f"{_DISK}/createSnapshot", "disks.createSnapshot", calls.create_snapshot,
            "compute.disks.createSnapshot,compute.snapshots.create",
        ),
        (
            "POST", f"{_GLOBAL}/snapshots", "snapshots.insert", calls.insert_snapshot,
            "compute.snapshots.create,compute.disks.createSnapshot",
        ),
        ("GET", f"{_GLOBAL}/snapshots", "snapshots.list", calls.list_snapshots, "compute.snapshots.list"),
        ("GET", _SNAPSHOT, "snapshots.get", calls.get_snapshot, "compute.snapshots.get"),
        ("DELETE", _SNAPSHOT, "snapshots.delete", calls.delete_snapshot, "compute.snapshots.delete"),
        ("POST", f"{_SNAPSHOT}/setLabels", "snapshots.setLabels", calls.set_labels, "compute.snapshots.setLabels"),
    ]  # fmt: skip
    found = [calls.route(verb, path, method, handler, permission) for verb, path, method, handler, permission in table]
    for place, service in ((_GLOBAL, "globalOperations"), (_ZONE, "zoneOperations")):
        path = place.replace("<parent>", "<scope>") + r"/operations/(?P<name>[^/]+)"
        found.append(calls.route("GET", path, f"{service}.get", calls.get_operation, f"compute.{service}.get"))
        wait = calls.route("POST", f"{path}/wait", f"{service}.wait", calls.get_operation, f"compute.{service}.get")
        found.append(Route(wait.method, wait.pattern, None, functools.partial(calls.wait, wait.handler)))
    front = HttpFront(world, found)
    found.append(Route("POST", re.compile(r"^/batch/compute/v1$"), None, lambda call: batch(call, front)))
    return found + _control(world, model)


class _Calls:
    """The handlers."""

    def __init__(self, world: World, model: ComputeModel) -> None:
        self._world = world
        self._model = model

    def route(self, verb: str, path: str, method: str, handler: Callable[[Call], Any], permission: str) -> Route:
        """Return a route that journals by itself, since even a scripted refusal takes Compute Engine's shape."""
        mutates = verb in ("POST", "DELETE") and not method.endswith(".wait")
        spec = CallSpec("compute", method, mutates=mutates, permission=permission)
        return Route(verb, re.compile(f"{_V1}{path}$"), None, functools.partial(self._perform, spec, handler))

    def _perform(self, spec: CallSpec, handler: Callable[[Call], Any], call: Call) -> Any:
        try:
            return self._world.perform(spec, _resource(call), call.principal, lambda: handler(call))
        except ApiError as error:
            raise as_compute(error) from error

    def list_disks(self, call: Call) -> Any:
        return self._model.list_disks(call.params["parent"], _query(call, _LIST))

    def get_disk(self, call: Call) -> Any:
        _query(call, ())
        return self._model.get_disk(call.params["path"])

    def delete_disk(self, call: Call) -> Any:
        _query(call, ("requestId",))
        return self._model.delete_disk(call.params["path"])

    def create_snapshot(self, call: Call) -> Any:
        path = call.params["path"]
        scope = path.rpartition("/disks/")[0]
        request_id = _query(call, ("requestId", "guestFlush")).get("requestId", "")
        return self._model.create_snapshot(scope, call.json(), disk=path, user=call.principal, request_id=request_id)

    def insert_snapshot(self, call: Call) -> Any:
        request_id = _query(call, ("requestId",)).get("requestId", "")
        scope = call.params["parent"]
        return self._model.create_snapshot(scope, call.json(), user=call.principal, request_id=request_id)

    def list_snapshots(self, call: Call) -> Any:
        return self._model.list_snapshots(call.params["parent"], _query(call, _LIST))

    def get_snapshot(self, call: Call) -> Any:
        _query(call, ())
        return self._model.get_snapshot(call.params["path"])

    def delete_snapshot(self, call: Call) -> Any:
        request_id = _query(call, ("requestId",)).get("requestId", "")
        return self._model.delete_snapshot(call.params["path"], user=call.principal, request_id=request_id)

    def set_labels(self, call: Call) -> Any:
        _query(call, ())
        return self._model.set_labels(call.params["path"], call.json(), user=call.principal)

    def get_operation(self, call: Call) -> Any:
        _query(call, ())
        return self._model.get_operation(_operation(call))

    def wait(self, look: Callable[[Call], Any], call: Call) -> Any:
        """operations.wait: best effort by contract; on a clock that stands still it answers at once."""
        clock = self._world.clock
        last, patience = clock.now() + _WAIT, real_now() + _WAIT.total_seconds()
        while clock.speed > 0 and clock.now() < last and real_now() < patience:
            seen = clock.changes
            try:
                with self._world.lock:
                    ends = self._model.operation_ends(_operation(call))
            except ApiError:
                break  # `look` says so
            if clock.now() >= ends:
                break
            clock.wait_until(min(ends, last), since=seen)
        return look(call)


def _operation(call: Call) -> str:
    return f"{call.params['scope']}/operations/{call.params['name']}"


def _resource(call: Call) -> str:
    """Return what the journal and the faults name: the disk, the snapshot (of an insert, too), the operation, or the list's parent."""
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
    """Return the bytes as they are, with their CRC32C in the header that Cloud Storage uses for it."""
    headers = {"X-Goog-Hash": f"crc32c={checksum(content)}"}
    return Response(content, content_type="application/octet-stream", headers=headers)
