"""The scripted faults, with counters: a scripted fault that never fires is an error in the test."""

from __future__ import annotations

import fnmatch
import threading
from dataclasses import dataclass, field
from typing import Any, Literal

from emulator.errors import CODES, ApiError

Phase = Literal["before", "after"]
_FIELDS = {"call", "resource", "times", "skip", "phase", "error", "operation_error", "unreachable", "payload"}


@dataclass(slots=True)
class Fault:
    """A scripted fault.

    `call` and `resource` are glob patterns (`notebooks.CreateInstance`, `storage.objects.*`). The fault ignores the
    first `skip` matching calls, and fires for the next `times` (0 = for all that follow). `error` = {code, message,
    http_status?, reason?, details?} refuses the call: in phase `before` nothing happens, in phase `after` the work is
    done and only the response is lost. `operation_error` = {code, message, details?} lets the call start a long-running
    operation that ends with this error. `unreachable` = true makes a list leave out the matching location and name it
    in `unreachable[]`. `payload` holds values whose meaning each service defines.
    """

    call: str
    resource: str = "*"
    times: int = 1
    skip: int = 0
    phase: Phase = "before"
    error: dict[str, Any] | None = None
    operation_error: dict[str, Any] | None = None
    unreachable: bool = False
    payload: dict[str, Any] = field(default_factory=dict)
    seen: int = 0
    fired: int = 0

    @classmethod
    def parse(cls, raw: dict[str, Any]) -> Fault:
        """Return a fault from the control API's JSON. Raise `ApiError` for unknown fields, a missing `call` or an unknown code."""
        unknown = sorted(set(raw) - _FIELDS)
        if unknown:
            raise ApiError("INVALID_ARGUMENT", f"unknown fault fields {unknown}; known: {sorted(_FIELDS)}")
        if not isinstance(raw.get("call"), str):
            raise ApiError("INVALID_ARGUMENT", "a fault needs `call`, for example notebooks.CreateInstance")
        for key in ("error", "operation_error"):
            error = raw.get(key)
            if error is not None and error.get("code") not in CODES:
                raise ApiError("INVALID_ARGUMENT", f"`{key}.code` is one of {sorted(CODES)}")
        return cls(**raw)

    def spent(self) -> bool:
        """Return True if the fault cannot fire again."""
        return self.times > 0 and self.fired >= self.times

    def as_error(self) -> ApiError:
        """Return the error that `error` describes."""
        raw = dict(self.error or {})
        return ApiError(
            raw["code"],
            raw.get("message", "scripted fault"),
            http_status=raw.get("http_status"),
            reason=raw.get("reason"),
            details=raw.get("details"),
        )

    def to_json(self) -> dict[str, Any]:
        """Return all fields as JSON, with the counters `seen` and `fired`."""
        return {name: getattr(self, name) for name in self.__slots__}


class Faults:
    """A thread-safe list of scripted faults, with counters."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Add a fault."""
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._faults.clear()

    def listing(self) -> list[dict[str, Any]]:
        """Return all faults with `seen` and `fired`."""
        with self._lock:
            return [fault.to_json() for fault in self._faults]

    def unfired(self) -> list[dict[str, Any]]:
        """Return the faults that fired less often than `times` or, if `times` is 0, never."""
        with self._lock:
            return [f.to_json() for f in self._faults if f.fired < max(1, f.times)]

    def take(self, call: str, resource: str, *, wanted: str) -> Fault | None:
        """Return the first fault that fires for this call, counted as fired, or None if no fault fires.

        `wanted` is the effect that the fault must have: `before`, `after`, `operation_error`, `unreachable`, or a key
        of its `payload`.
        """
        with self._lock:
            for fault in self._faults:
                if fault.spent() or not self._carries(fault, wanted):
                    continue
                if fnmatch.fnmatchcase(call, fault.call) and fnmatch.fnmatchcase(resource, fault.resource):
                    fault.seen += 1
                    if fault.seen > fault.skip:
                        fault.fired += 1
                        return fault
        return None

    def shown(self, call: str, resource: str, view: dict[str, Any]) -> dict[str, Any]:
        """Return the view with the fields of a scripted fault's `payload.shown` in place of the view's own fields. A null removes a field."""
        fault = self.take(call, resource, wanted="shown")
        return view if fault is None else {k: v for k, v in {**view, **fault.payload["shown"]}.items() if v is not None}

    @staticmethod
    def _carries(fault: Fault, wanted: str) -> bool:
        match wanted:
            case "before" | "after":
                return fault.error is not None and fault.phase == wanted
            case "operation_error":
                return fault.operation_error is not None
            case "unreachable":
                return fault.unreachable
            case _:
                return wanted in fault.payload
