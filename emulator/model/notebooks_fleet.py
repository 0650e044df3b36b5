"""The instances over time: their states, the effects of ended operations, and changes made outside the API.

There is no thread: `settle(now)` applies all due changes in order of time, each with its own moment.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from emulator.clock import parse_rfc3339, rfc3339
from emulator.errors import ApiError
from emulator.model.disks import Disks
from emulator.model.machine_types import vcpus_of
from emulator.model.notebooks_activity import Kernels, Machine, Script
from emulator.model.notebooks_fresh import Instance, full_view, stamp
from emulator.model.notebooks_ops import EMPTY, Agenda, Operation, Operations, packed, status_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Cloud Monitoring keeps the points of Google's own metrics for six weeks, so a deleted VM is remembered as long.
_REMEMBERED = timedelta(weeks=6)
_NO_MACHINE = ("INITIALIZING",)


@dataclass(slots=True)
class Timings:
    """The durations of operations, in virtual time. A new instance is usable after four minutes; its operation is done before that."""

    starting: timedelta = timedelta(seconds=10)
    provisioning: timedelta = timedelta(seconds=60)
    active: timedelta = timedelta(seconds=240)
    create_done: timedelta = timedelta(seconds=150)
    list_lag: timedelta = timedelta(seconds=5)
    stop: timedelta = timedelta(seconds=60)
    start_provisioning: timedelta = timedelta(seconds=40)
    start_done: timedelta = timedelta(seconds=90)
    start_active: timedelta = timedelta(seconds=120)
    reset: timedelta = timedelta(seconds=60)
    delete: timedelta = timedelta(seconds=60)
    update: timedelta = timedelta(seconds=10)
    upgrade: timedelta = timedelta(seconds=300)
    restore: timedelta = timedelta(seconds=90)
    nothing: timedelta = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Observed:
    """The use of a machine since `since`: utilization from 0 to 1, responses by code, and the present state of its kernels."""

    since: datetime
    utilization: float
    responses: Mapping[str, int]
    kernels: Kernels | None


class Fleet:
    """The store of all instances, their operations and machines. It applies the changes of states and disks at their times.

    `gateway`, if set, is the suffix of JupyterLab's host names (`.notebooks.localhost:PORT`), replacing Google's host.
    """

    def __init__(self, disks: Disks | None = None) -> None:
        self.disks = Disks() if disks is None else disks
        self.instances: dict[str, Instance] = {}
        self.operations = Operations()
        self.agenda = Agenda()
        self.machines: dict[str, Machine] = {}
        self.timings = Timings()
        self.serial = 0
        self.gateway = ""
        self._watched: set[str] = set()
        self._gone: deque[tuple[datetime, str]] = deque()

    def say(self, instance: Instance, script: Script) -> None:
        """Add a script to the instance's activity."""
        machine = self.machines[instance.gce_id]
        machine.scripts.append(script)
        if machine.watched():
            self._watched.add(machine.gce_id)

    def observe(self, instance: Instance, observed: Observed, *, until: datetime) -> None:
        """Store the use of the instance's machine that was measured until the time `until`."""
        machine = self.machines[instance.gce_id]
        begun = max(observed.since, instance.active_since or until)
        machine.measure(begun, until, utilization=observed.utilization, responses=observed.responses)
        machine.forget(until - _REMEMBERED)
        if machine.note_kernels(until, observed.kernels):
            self._watched.add(machine.gce_id)

    def find(self, name: str) -> Instance:
        """Return the instance, or raise 404."""
        found = self.instances.get(name)
        if found is None:
            raise ApiError("NOT_FOUND", f"Resource '{name}' was not found")
        return found

    def admit(self, instance: Instance) -> None:
        """Add a new instance and its machine."""
        self.instances[instance.name] = instance
        self.machines[instance.gce_id] = Machine(instance.gce_id, instance.name)

    def plan(self, instance: Instance, steps: Iterable[tuple[datetime, str]], *, now: datetime) -> None:
        """Plan these states for the instance, replacing an earlier plan. A step that is due at `now` is taken at once."""
        instance.plan += 1
        for at, state in steps:
            if at <= now:
                self.set_state(instance, state, at)
            else:
                self.agenda.add(at, "state", instance.name, plan=instance.plan, state=state)

    def run(self, operation: Operation, *, until: datetime, fault: dict[str, Any] | None = None) -> Operation:
        """Let the operation end at `until`, and return it; with a scripted fault, it fails."""
        if fault is not None:
            operation.error = status_of(fault)
        self.agenda.add(until, "finish", operation.name)
        return operation

    def settle(self, now: datetime) -> None:
        """Apply all changes that were due until `now`."""
        while True:
            due = self.agenda.due(now)
            if self._native_idle_stops(now if due is None else due):
                continue  # these stops may have put earlier events on the agenda
            if due is None:
                return
            event = self.agenda.take()
            if event.kind == "finish":
                self._finish(event.name, event.at)
                continue
            instance = self.instances.get(event.name)
            if instance is not None and instance.plan == event.plan:
                self.set_state(instance, event.state, event.at)

    def set_state(self, instance: Instance, state: str, at: datetime) -> None:
        """Set the instance's state, and apply its effects on the VM."""
        instance.state, instance.updated = state, max(at, instance.updated)
        machine = self.machines[instance.gce_id]
        if state not in _NO_MACHINE and not instance.vm_exists:
            instance.vm_exists = True
            self.disks.attach(instance, at)
        if state == "ACTIVE":
            instance.active_since = at
            machine.up(at, vcpus=vcpus_of(instance.body["gceSetup"]["machineType"]))
        else:
            instance.active_since = None
            machine.down(at)

    def remove(self, instance: Instance, at: datetime) -> None:
        """Remove the instance and its disks. The history of its machine stays readable for at least six weeks."""
        self.machines[instance.gce_id].down(at)
        self.disks.drop(instance, at)
        del self.instances[instance.name]
        self._gone.append((at, instance.gce_id))
        while self._gone[0][0] < at - _REMEMBERED:
            self.machines.pop(self._gone.popleft()[1], None)

    def _finish(self, name: str, at: datetime) -> None:
        operation = self.operations.find(name)
        if operation is None or operation.ended is not None:
            return
        instance = self.instances.get(operation.target)
        if instance is None:
            gone = {"code": 5, "message": f"Resource '{operation.target}' was not found"}
            self.operations.end(operation, now=at, error=gone, response=None)
        elif operation.error is not None:
            self._fail(operation, instance, at)
            self.operations.end(operation, now=at, error=operation.error, response=None)
        else:
            response = None
            try:
                response = self._complete(operation, instance, at)
            except ApiError as refused:  # the snapshot was deleted before it could be restored
                operation.error = {"code": refused.number, "message": refused.message}
                self._fail(operation, instance, at)
            self.operations.end(operation, now=at, error=operation.error, response=response)

    def _fail(self, operation: Operation, instance: Instance, at: datetime) -> None:
        """Apply the effects of a failure: a failed create leaves a remnant, unless scripted otherwise.

        Any other failed operation restores the previous state.
        """
        if operation.verb == "create":
            if operation.payload.get("remnant", True) is False:
                self.remove(instance, at)
        elif "revert" in operation.payload:
            self.plan(instance, [(at, str(operation.payload["revert"]))], now=at)
            if operation.payload.get("disk_lost"):  # scripted: a restore that failed after deleting the old data disk
                self.disks.lose(instance, at)

    def _complete(self, operation: Operation, instance: Instance, at: datetime) -> dict[str, Any]:
        if operation.verb == "delete":
            self.remove(instance, at)
            return dict(EMPTY)
        if "body" in operation.payload:
            instance.body = operation.payload.pop("body")
            instance.updated = at
            self.disks.follow(instance)
        if "snapshot" in operation.payload:
            self.disks.restore(instance, operation.payload["snapshot"], at)
        if "history" in operation.payload:
            entry = {**operation.payload["history"], "state": "SUCCEEDED", "createTime": stamp(at)}
            instance.body.setdefault("upgradeHistory", []).append(entry)
            instance.metadata()["version"] = entry["targetVersion"]
        return packed(full_view(instance, at, self.gateway))

    def _native_idle_stops(self, until: datetime) -> bool:
        """Apply Workbench's own idle shutdown, which watches only kernels. Return True if an instance was stopped.

        The shutdown acts only if the state of the kernels was scripted or measured, and guest attributes are on.
        Source: docs/platform-facts.md#41-workbenchs-own-idle-shutdown. An absent or empty `idle-timeout-seconds` is
        off: an empty value removes the key, and the docs call that off.
        """
        stopped = False
        for gce_id in self._watched:
            machine = self.machines.get(gce_id)
            instance = self.instances.get(machine.name) if machine is not None else None
            if (
                machine is None
                or instance is None
                or instance.gce_id != machine.gce_id
                or instance.active_since is None
            ):
                continue
            metadata = instance.metadata()
            seconds = metadata.get("idle-timeout-seconds", "")
            if (
                not seconds.isdigit()
                or not int(seconds)
                or metadata.get("enable-guest-attributes", "").lower() != "true"
            ):
                continue
            moment = machine.idle_until(instance.active_since, until, timedelta(seconds=int(seconds)))
            if moment is not None:
                self.plan(instance, [(moment, "STOPPING"), (moment + self.timings.stop, "STOPPED")], now=moment)
                stopped = True
        return stopped

    def dump(self) -> dict[str, Any]:
        """Return the state as JSON-able data."""
        rows = []
        for instance in self.instances.values():
            row = {each.name: getattr(instance, each.name) for each in fields(Instance)}
            for key in ("created", "updated", "active_since"):
                row[key] = rfc3339(row[key]) if row[key] is not None else None
            rows.append(row)
        return {
            "serial": self.serial,
            "instances": rows,
            "operations": self.operations.dump(),
            "agenda": self.agenda.dump(),
            "machines": [machine.to_json() for machine in self.machines.values()],
            "gone": [[rfc3339(at), gce_id] for at, gce_id in self._gone],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Restore the state from a result of `dump`."""
        self.serial = state["serial"]
        self.instances = {}
        for row in state["instances"]:
            times = {
                key: parse_rfc3339(row[key]) if row[key] else None for key in ("created", "updated", "active_since")
            }
            kept = {
                key: value for key, value in row.items() if key != "policy"
            }  # saved worlds of older versions have it
            self.instances[row["name"]] = Instance(**{**kept, **times})
        self.operations.load(state["operations"])
        self.agenda.load(state["agenda"])
        self.machines = {row["gce_id"]: Machine.from_json(row) for row in state["machines"]}
        self._watched = {key for key, machine in self.machines.items() if machine.watched()}
        self._gone = deque((parse_rfc3339(at), gce_id) for at, gce_id in state["gone"])
