"""The control API under `/_emulator/`: clock, journal, faults and the saved world. Its own calls are not in the journal."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from werkzeug.wrappers import Response

from emulator.clock import rfc3339
from emulator.errors import ApiError
from emulator.faults import Fault
from emulator.wire.http import Call, Handler, Route, route

if TYPE_CHECKING:
    from emulator.world import World

_MUTATION_FIELDS = ("time", "service", "method", "resource", "principal", "status")
_YEARS_10 = 10 * 366 * 86_400
_INDEX = """Benchkeeper's embedded cloud, project {project}. Virtual time {now}, speed {speed:g}.

GET    /_emulator/clock             the virtual time and its speed
POST   /_emulator/clock             {{"advance_seconds": 3600}} and/or {{"speed": 60}}
GET    /_emulator/mutations?since=0 the calls that changed something
GET    /_emulator/calls             all calls;  DELETE empties the list
GET    /_emulator/faults            scripted faults;  POST adds one, DELETE removes all
GET    /_emulator/faults/unfired    the faults that should have fired and did not
GET    /_emulator/world             the whole world as JSON;  PUT replaces it
GET    /_emulator/activity          the scripted activity on the instances;  POST adds some
POST   /_emulator/monitoring        {{"counter": "sparse"}}, "zeros" or "invisible": the proxy's counter in quiet minutes;  GET shows it
GET    /_emulator/disks/ZONE/DISK   the content of a disk;  PUT writes it;  GET /_emulator/snapshots/NAME the content of a snapshot
POST   /_emulator/surroundings      {{"networks": [...]}}, subnetworks, images, service_accounts that exist;  GET lists the declared ones
PUT    /_emulator/metadata/ZONE/NAME/computeMetadata/v1/instance/guest-attributes/NAMESPACE/KEY   as for the VM's metadata server
POST   /_emulator/bigquery          {{"table": "project.dataset.view", "columns": [...], "rows": [...]}} for jobs.query
POST   /_emulator/jobs              adds a running job: {{"project": ..., "user": ...}} of BigQuery, {{"cluster": ...}} of Dataproc, from, until
POST   /_emulator/iam               {{"quota": 1000}} service accounts
GET    /_emulator/functions         the running functions;  POST starts one, DELETE /NAME stops it
GET    /_emulator/iap               the front of the hub page;  /iap/public_key: its public keys;  POST /_emulator/people: people for its sign-in
GET    /_emulator/jupyter           the running JupyterLabs
"""


def routes(world: World) -> list[Route]:
    """Return the control API's routes."""
    api = _Control(world)
    table: list[tuple[str, str, Handler]] = [
        ("GET", "/_emulator", api.index),
        ("GET", "/_emulator/", api.index),
        ("GET", "/_emulator/clock", api.clock),
        ("POST", "/_emulator/clock", api.set_clock),
        ("GET", "/_emulator/mutations", api.mutations),
        ("GET", "/_emulator/calls", api.calls),
        ("DELETE", "/_emulator/calls", api.forget_calls),
        ("GET", "/_emulator/faults", api.faults),
        ("POST", "/_emulator/faults", api.add_fault),
        ("DELETE", "/_emulator/faults", api.clear_faults),
        ("GET", "/_emulator/faults/unfired", api.unfired),
        ("GET", "/_emulator/world", api.save),
        ("PUT", "/_emulator/world", api.load),
    ]
    return [route(verb, path, None, handler) for verb, path, handler in table]


class _Control:
    """The handlers of the control API."""

    def __init__(self, world: World) -> None:
        self._world = world

    def index(self, call: Call) -> Response:
        """Return an overview of the control API as plain text."""
        del call
        clock = self._world.clock
        text = _INDEX.format(project=self._world.project, now=rfc3339(clock.now()), speed=clock.speed)
        return Response(text, content_type="text/plain; charset=utf-8")

    def clock(self, call: Call) -> dict[str, Any]:
        """Return the virtual time, the speed, and True as `paced` if the speed depends on the operations under way."""
        del call
        clock = self._world.clock
        return {"now": rfc3339(clock.now()), "speed": clock.speed, "paced": clock.paced}

    def set_clock(self, call: Call) -> dict[str, Any]:
        """Move the clock, change its speed, or both; return the result of `clock`. Raise 400 for invalid values."""
        body = call.json()
        unknown = sorted(set(body) - {"advance_seconds", "speed"})
        if unknown or not body:
            raise _wrong(f"unknown fields {unknown}" if unknown else "nothing to do", "`advance_seconds` and `speed`")
        advance = _number(body, "advance_seconds", highest=_YEARS_10)
        speed = _number(body, "speed", highest=1_000_000)
        if speed is not None:
            self._world.clock.set_speed(speed)
        if advance is not None:
            self._world.clock.advance(timedelta(seconds=advance))
        return self.clock(call)

    def mutations(self, call: Call) -> dict[str, Any]:
        """Return the mutating calls from index `since` on; `next` is the index for the next request. Raise 400 for an invalid index."""
        raw = call.query("since", "0")
        if not raw.isdecimal():
            raise _wrong(f"since={raw!r}", "an index, 0 or more")
        rows = self._world.journal.listing(mutating_only=True)
        shown = [{key: row[key] for key in _MUTATION_FIELDS} for row in rows[int(raw) :]]
        return {"mutations": shown, "next": len(rows)}

    def calls(self, call: Call) -> dict[str, Any]:
        """Return all calls."""
        del call
        return {"calls": self._world.journal.listing(mutating_only=False)}

    def forget_calls(self, call: Call) -> dict[str, Any]:
        """Empty the journal."""
        del call
        self._world.journal.clear()
        return {}

    def faults(self, call: Call) -> dict[str, Any]:
        """Return the scripted faults with their counters."""
        del call
        return {"faults": self._world.faults.listing()}

    def add_fault(self, call: Call) -> dict[str, Any]:
        """Add a scripted fault, and return it as JSON. Raise 400 for an invalid fault."""
        fault = Fault.parse(_checked_fault(call.json()))
        self._world.faults.add(fault)
        return fault.to_json()

    def clear_faults(self, call: Call) -> dict[str, Any]:
        """Remove all faults."""
        del call
        self._world.faults.clear()
        return {}

    def unfired(self, call: Call) -> dict[str, Any]:
        """Return the faults that should have fired but did not."""
        del call
        return {"faults": self._world.faults.unfired()}

    def save(self, call: Call) -> dict[str, Any]:
        """Return the world as JSON."""
        del call
        return self._world.save()

    def load(self, call: Call) -> dict[str, Any]:
        """Replace the world, and return the clock. If the new world cannot be read, raise 400: the present world stays."""
        state = call.json()
        with self._world.lock:
            before = self._world.save()
            try:
                self._world.load(state)
            except (ApiError, KeyError, TypeError, ValueError, AttributeError) as error:
                self._world.load(before)
                if isinstance(error, ApiError):
                    raise
                raise _wrong(f"{type(error).__name__}: {error}", "what GET /_emulator/world gave") from error
        return self.clock(call)


def _wrong(what: str, valid: str) -> ApiError:
    return ApiError("INVALID_ARGUMENT", f"Not understood: {what}. Valid: {valid}.")


def _number(body: dict[str, Any], key: str, *, highest: float) -> float | None:
    value = body.get(key)
    if value is None:
        return None
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or not 0 <= value <= highest
    ):
        raise _wrong(f"{key}={value!r}", f"a number from 0 to {highest:g}")
    return float(value)


def _checked_fault(raw: dict[str, Any]) -> dict[str, Any]:
    """Return the fault's JSON without its counters. Raise `ApiError` for values of the wrong kind, and for a fault without an effect.

    Unknown fields are left to `Fault.parse`, which refuses them.
    """
    for key in ("times", "skip"):
        value = raw.get(key, 0)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise _wrong(f"{key}={value!r}", "a whole number, 0 or more")
    if raw.get("phase", "before") not in {"before", "after"}:
        raise _wrong(f"phase={raw['phase']!r}", "`before` or `after`")
    if not isinstance(raw.get("resource", "*"), str):
        raise _wrong(f"resource={raw['resource']!r}", "a glob pattern")
    if not isinstance(raw.get("unreachable", False), bool):
        raise _wrong(f"unreachable={raw['unreachable']!r}", "true or false")
    for key in ("error", "operation_error", "payload"):
        if not isinstance(raw.get(key, {}), dict | None):
            raise _wrong(f"{key}={raw[key]!r}", "an object")
    if not (raw.get("error") or raw.get("operation_error") or raw.get("unreachable") or raw.get("payload")):
        raise _wrong("a fault without an effect", "one of `error`, `operation_error`, `unreachable`, `payload`")
    for key in ("seen", "fired"):
        raw.pop(key, None)  # so that a result of GET can be posted again
    return raw
