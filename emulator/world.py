"""The world: clock, faults, journal and the services, and the one door through which every call goes."""

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
    """A caller who asked to be judged as the account of this address; any other caller may do everything."""

    __slots__ = ()


class Access(Protocol):
    """Judges the calls of a `Judged` caller. Both raise PERMISSION_DENIED."""

    def judge(self, account: str, spec: CallSpec, resource: str) -> None:
        """Judge the call as a whole, before it runs."""

    def require(self, account: str, permission: str, service: str, resource: str) -> None:
        """One more permission, which only the state tells."""


class Model(Protocol):
    """A service's state: what `World.save` writes and `World.load` reads back. JSON-able."""

    def dump(self) -> Any:
        """Return the state as JSON-able data."""

    def load(self, state: Any) -> None:
        """Replace the state by one that `dump` gave."""


@dataclass(frozen=True, slots=True)
class CallSpec:
    """What a call is: `service.method`, whether it changes the world, and the IAM permission it always needs.

    More than one permission stand in one text with commas between them, as in the journal. Without `locks` the work runs outside
    the world's lock: it starts a process, or makes further calls.
    """

    service: str
    method: str
    mutates: bool = False
    permission: str = ""
    locks: bool = True

    @property
    def name(self) -> str:
        """`notebooks.CreateInstance`, the form that faults match."""
        return f"{self.service}.{self.method}"


class World:
    """All state of the embedded cloud. Models are changed only while `lock` is held; `perform` holds it."""

    def __init__(self, *, clock: VirtualClock, project: str = "benchkeeper-local") -> None:
        self.clock = clock
        self.project = project
        self.project_number = "100000000001"
        self.faults = Faults()
        self.journal = Journal()
        self.lock = threading.RLock()
        self.models: dict[str, Model] = {}
        self.changes = 0  # grows with each change; what keeps the world on disk looks at it
        self.access: Access | None = None
        self._needs: list[str] | None = None  # permissions of the call that runs now; used only while `lock` is held
        self._asking: tuple[str, str, str] | None = (
            None  # a judged caller of that call, its service and resource; likewise
        )

    def touch(self) -> None:
        """Note a change that came by no mutating call (a background thread's), so that it is saved soon."""
        with self.lock:
            self.changes += 1

    def need(self, permission: str, *, on: str = "") -> None:
        """Note that the call which runs now needs this permission too. Models say it where only the state tells (an overwrite).

        `on` is what it is needed on, where that is not the call's own resource. A judged caller without it is refused here.
        """
        if self._needs is not None:
            self._needs.append(permission)
        if self._asking is not None and self.access is not None:
            account, service, resource = self._asking
            self.access.require(account, permission, service, on or resource)

    def perform(self, spec: CallSpec, resource: str, principal: str, work: Callable[[], T]) -> T:
        """Run `work` as the call `spec` on `resource`: scripted faults, the lock, one journal row. Raises `ApiError`."""
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
        """Become the world that `save` gave."""
        if state.get("version") != 1:
            raise ApiError("INVALID_ARGUMENT", f"a saved world of version 1 is needed, not {state.get('version')!r}")
        with self.lock:
            self.clock.reset(parse_rfc3339(state["now"]))
            for name, model in self.models.items():
                if name in state["models"]:
                    model.load(state["models"][name])
            self.changes += 1
