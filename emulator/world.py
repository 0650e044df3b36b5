"""The world: clock, faults, journal and services. Every call goes through `World.perform`."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from emulator.clock import VirtualClock, parse_rfc3339, rfc3339
from emulator.errors import ApiError
from emulator.faults import Faults
from emulator.journal import Entry, Journal

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Judged(str):
    """The account of a caller whose permissions are checked. Calls of all other callers are allowed."""

    __slots__ = ()


class Access(Protocol):
    """The check of the calls of a `Judged` caller. Both methods raise PERMISSION_DENIED for a missing permission."""

    def judge(self, account: str, spec: CallSpec, resource: str) -> None:
        """Check the call as a whole, before it runs."""

    def require(self, account: str, permission: str, service: str, resource: str) -> None:
        """Check one more permission, which the call needs because of the present state."""


class Model(Protocol):
    """The state of a service, which `World.save` writes and `World.load` reads back as JSON-able data."""

    def dump(self) -> Any:
        """Return the state as JSON-able data."""

    def load(self, state: Any) -> None:
        """Restore the state from a result of `dump`."""


@dataclass(frozen=True, slots=True)
class CallSpec:
    """The description of a call: `service.method`, whether it changes the world, and the IAM permission that it always needs.

    Several permissions are one text, separated by commas, as in the journal. Without `locks` the work runs outside the world's
    lock, because it starts a process or makes further calls.
    """

    service: str
    method: str
    mutates: bool = False
    permission: str = ""
    locks: bool = True

    @property
    def name(self) -> str:
        """The name that faults match, such as `notebooks.CreateInstance`."""
        return f"{self.service}.{self.method}"


class World:
    """The whole state of the embedded cloud. Models are only changed while `lock` is held; `perform` holds it if `CallSpec.locks` is set."""

    def __init__(self, *, clock: VirtualClock, project: str = "benchkeeper-local") -> None:
        self.clock = clock
        self.project = project
        self.project_number = "100000000001"
        self.faults = Faults()
        self.journal = Journal()
        self.lock = threading.RLock()
        self.models: dict[str, Model] = {}
        self.changes = 0  # grows with each change; the keeper of the world on disk reads it
        self.access: Access | None = None
        self._needs: list[str] | None = None  # permissions of the present call; only used while `lock` is held
        self._asking: tuple[str, str, str] | None = (
            None  # a judged caller of that call, its service and resource; only used while `lock` is held
        )

    def touch(self) -> None:
        """Count a change that a background thread made, so that it is saved soon. `perform` counts mutating calls."""
        with self.lock:
            self.changes += 1

    def need(self, permission: str, *, on: str = "") -> None:
        """Check that the caller also has this permission.

        Models call this if the state decides which permission a call needs, as for an overwrite.

        `on` is the resource of the permission, if it is not the call's own. A judged caller without the permission is refused
        here.
        """
        if self._needs is not None:
            self._needs.append(permission)
        if self._asking is not None and self.access is not None:
            account, service, resource = self._asking
            self.access.require(account, permission, service, on or resource)

    def perform(self, spec: CallSpec, resource: str, principal: str, work: Callable[[], T]) -> T:
        """Run `work` as the call `spec` on `resource`, with scripted faults and one journal row; under the lock if `spec.locks` is set.

        Raise the `ApiError` of the work, of a scripted fault, or of a permission that a judged caller lacks.
        """
        status, needs = 200, [spec.permission]
        try:
            fault = self.faults.take(spec.name, resource, wanted="before")
            if fault is not None:
                raise fault.as_error()
            result = self._locked(spec, resource, principal, needs, work) if spec.locks else work()
            fault = self.faults.take(spec.name, resource, wanted="after")
            if fault is not None:
                raise fault.as_error()
        except ApiError as error:
            status = error.http_status
            raise
        except Exception:
            status = 500
            raise
        finally:
            self.journal.record(
                Entry(
                    time=rfc3339(self.clock.now()),
                    service=spec.service,
                    method=spec.method,
                    resource=resource,
                    principal=principal,
                    status=status,
                    mutates=spec.mutates,
                    permission=",".join(dict.fromkeys(name for name in needs if name)),
                )
            )
        return result

    def _locked(self, spec: CallSpec, resource: str, principal: str, needs: list[str], work: Callable[[], T]) -> T:
        with self.lock:
            outer, asking = self._needs, self._asking
            self._needs, self._asking = needs, None
            try:
                if isinstance(principal, Judged) and self.access is not None:
                    self.access.judge(principal, spec, resource)
                    self._asking = (principal, spec.service, resource)
                result = work()
            finally:
                self._needs, self._asking = outer, asking
            if spec.mutates:
                self.changes += 1
            return result

    def save(self) -> dict[str, Any]:
        """Return the whole world as JSON-able data."""
        with self.lock:
            return {
                "version": 1,
                "project": self.project,
                "now": rfc3339(self.clock.now()),
                "models": {name: model.dump() for name, model in self.models.items()},
            }

    def load(self, state: dict[str, Any]) -> None:
        """Restore the world from a result of `save`. Raise `ApiError` (400) for another version of saved worlds."""
        if state.get("version") != 1:
            raise ApiError("INVALID_ARGUMENT", f"a saved world of version 1 is needed, not {state.get('version')!r}")
        with self.lock:
            self.clock.reset(parse_rfc3339(state["now"]))
            for name, model in self.models.items():
                if name in state["models"]:
                    model.load(state["models"][name])
            self.changes += 1
