"""The model of the Notebooks API v2: the rules of each call. `wire/notebooks.py` calls it under the world's lock.

All methods take and return the REST API's JSON. State that depends on time is computed when it is read.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from emulator.errors import ApiError
from emulator.model.machine_types import ZONES
from emulator.model.notebooks_fleet import Fleet, Timings
from emulator.model.notebooks_fresh import Instance, digest, fresh, full_view, list_view
from emulator.model.notebooks_patch import changed_body, read_mask
from emulator.model.notebooks_restore import RESTORE_FROM, restore_source
from emulator.model.notebooks_rules import (
    check_create,
    check_instance_id,
    check_location,
    check_request_id,
    invalid,
)
from emulator.model.notebooks_schema import parse
from emulator.model.pages import listed

if TYPE_CHECKING:
    from emulator.faults import Fault
    from emulator.model.disks import Disks
    from emulator.model.notebooks_activity import Machine, Script
    from emulator.model.notebooks_ops import Operation
    from emulator.model.surroundings import Status, Surroundings
    from emulator.world import World

# AIP-155 only promises that a request id is remembered for at least an hour.
_REQUEST_MEMORY = timedelta(hours=1)
_ORDERS = ("", "name", "name desc")


@dataclass(frozen=True, slots=True)
class Image:
    """The newest image: an instance whose `version` metadata differs can be upgraded."""

    version: str = "20260809-2130-rc0"
    name: str = "workbench-instances-2603-v20260809"


@dataclass(frozen=True, slots=True)
class _Verb:
    """The effect of a call: the states through which the instance goes, as (offset, state), and the end of the operation."""

    endpoint: str
    verb: str
    done: timedelta
    steps: tuple[tuple[timedelta, str], ...] = ()
    payload: dict[str, Any] = field(default_factory=dict)


class NotebooksModel:
    """The model of all instances of the project and of their operations. Tests may set `timings`, `image` and `restore_from`."""

    def __init__(self, world: World, disks: Disks, surroundings: Surroundings) -> None:
        self.world = world
        self.surroundings = surroundings
        self.fleet = Fleet(disks)
        self.image = Image()
        self.restore_from: frozenset[str] = RESTORE_FROM

    @property
    def timings(self) -> Timings:
        """The durations of operations."""
        return self.fleet.timings

    def dump(self) -> Any:
        """Return the state as JSON-able data."""
        return self.fleet.dump()

    def load(self, state: Any) -> None:
        """Restore the state from a result of `dump`.

        The disks are empty until Compute Engine's state is loaded afterwards, if the saved world has that state.
        """
        self.fleet.load(state)
        self.fleet.disks.begin_anew(list(self.fleet.instances.values()))

    # --- reads

    def get(self, name: str) -> dict[str, Any]:
        """Answer `GetInstance`."""
        view = full_view(self._find(name), self._now(), self.fleet.gateway)
        return self.world.faults.shown("notebooks.GetInstance", name, view)

    def list_instances(
        self, parent: str, *, page_size: int = 0, page_token: str = "", order_by: str = "", filter_: str = ""
    ) -> dict[str, Any]:
        """Answer `ListInstances`; `locations/-` lists all zones.

        A new instance appears after the list lag. Faults make locations unreachable.
        """
        location = self._check_parent(parent, wildcard=True)
        if order_by not in _ORDERS:
            raise invalid(f"Invalid order_by: '{order_by}'. Supported values are 'name', 'name desc' and ''.")
        if filter_:
            raise invalid(f"Invalid filter: '{filter_}'.")  # the syntax is not documented and no client sends a filter
        now = self._now()
        shown = [
            i
            for i in self.fleet.instances.values()
            if location in ("-", i.zone) and now >= i.created + self.timings.list_lag
        ]
        unreachable = self._unreachable(parent, location, {i.zone for i in shown})
        shown = [i for i in shown if i.zone not in unreachable]
        result = listed(
            "instances",
            shown,
            size=page_size,
            token=page_token,
            scope=f"{parent} {order_by}",
            key=(lambda i: i.name) if order_by else (lambda i: i.serial),
            descending=order_by.endswith("desc"),
            view=lambda i: self.world.faults.shown(
                "notebooks.ListInstances", i.name, list_view(i, now, self.fleet.gateway)
            ),
        )
        if unreachable:
            result["unreachable"] = [f"projects/{self.world.project}/locations/{zone}" for zone in sorted(unreachable)]
        return result

    def _unreachable(self, parent: str, location: str, used: set[str]) -> set[str]:
        places = [location] if location != "-" else [*sorted(used), *(zone for zone in ZONES if zone not in used)]
        project = parent.split("/")[1]
        return {
            zone
            for zone in places
            if self.world.faults.take(
                "notebooks.ListInstances", f"projects/{project}/locations/{zone}", wanted="unreachable"
            )
        }

    # --- changes; each returns the operation's JSON

    def create(
        self, parent: str, instance_id: str, body: Any, *, request_id: str = "", creator: str = ""
    ) -> dict[str, Any]:
        """Answer `CreateInstance`. A get shows the instance at once; it becomes ACTIVE after its operation is done, unless that fails."""
        zone = self._check_parent(parent)
        check_instance_id(instance_id)
        check_request_id(request_id)
        name = f"projects/{self.world.project}/locations/{zone}/instances/{instance_id}"
        now = self._now()
        earlier = self._repeated("CreateInstance", name, request_id, now)
        if earlier is not None:
            return earlier.view()
        asked = parse("Instance", body, at="instance")
        check_create(asked)
        for named in asked.get("gceSetup", {}).get("serviceAccounts", []):
            account = f"projects/{self.world.project}/serviceAccounts/{named.get('email', '')}"
            self.world.need("iam.serviceAccounts.actAs", on=account)
        if name in self.fleet.instances:
            raise ApiError("ALREADY_EXISTS", f"Resource '{name}' already exists")
        self.fleet.serial += 1
        instance = fresh(
            name,
            asked,
            serial=self.fleet.serial,
            now=now,
            creator=creator,
            project_number=self.world.project_number,
            version=self.image.version,
        )
        self.fleet.admit(instance)
        times = self.timings
        platform = asked.get("gceSetup", {}).get("minCpuPlatform")
        problem = self.surroundings.problem_of(zone, instance.body["gceSetup"], platform=platform)
        if problem is not None:
            verb = _Verb("CreateInstance", "create", times.starting)
            return self._run(instance, verb, now=now, request_id=request_id, problem=problem)
        verb = _Verb(
            "CreateInstance",
            "create",
            times.create_done,
            ((times.starting, "STARTING"), (times.provisioning, "PROVISIONING"), (times.active, "ACTIVE")),
        )
        return self._run(instance, verb, now=now, request_id=request_id)

    def patch(self, name: str, body: Any, *, mask: str, request_id: str = "") -> dict[str, Any]:
        """Answer `UpdateInstance`: change the fields in the mask, if they may be changed in this state.

        The path names the instance. `name` in the body is not read: gcloud sends the short name there.
        """
        check_request_id(request_id)
        instance, now = self._find(name), self._now()
        earlier = self._repeated("UpdateInstance", name, request_id, now)
        if earlier is not None:
            return earlier.view()
        paths = read_mask(mask)
        asked = parse("Instance", body, at="instance")
        self.fleet.operations.check_free(name)
        changed = changed_body(instance, asked, paths)
        platform = asked.get("gceSetup", {}).get("minCpuPlatform")
        problem = self.surroundings.hardware_problem(instance.zone, changed["gceSetup"], platform=platform)
        verb = _Verb("UpdateInstance", "update", self.timings.update, payload={"body": changed})
        return self._run(instance, verb, now=now, request_id=request_id, problem=problem)

    def delete(self, name: str, *, request_id: str = "") -> dict[str, Any]:
        """Answer `DeleteInstance`. The instance is listed until the operation is done, and never in the state DELETED."""
        check_request_id(request_id)
        now = self._now()
        earlier = self._repeated("DeleteInstance", name, request_id, now)
        if earlier is not None:
            return earlier.view()
        instance = self._find(name)
        self.fleet.operations.check_free(name)
        if instance.body.get("enableDeletionProtection"):
            raise ApiError(
                "FAILED_PRECONDITION", f"Instance '{name}' has deletion protection enabled and cannot be deleted."
            )
        steps = () if instance.state == "STOPPED" else ((timedelta(0), "STOPPING"),)
        verb = _Verb("DeleteInstance", "delete", self.timings.delete, steps, {"revert": instance.state})
        return self._run(instance, verb, now=now, request_id=request_id)

    def stop(self, name: str) -> dict[str, Any]:
        """Answer `StopInstance`. For a stopped instance the operation changes nothing, as in Compute Engine.

        The response of the Notebooks API in that case is not documented; the resulting instance is the same.
        """
        instance = self._ready(name)
        if instance.state in {"STOPPED", "STOPPING"}:
            return self._run(instance, _Verb("StopInstance", "stop", self.timings.nothing), now=self._now())
        steps = ((timedelta(0), "STOPPING"), (self.timings.stop, "STOPPED"))
        verb = _Verb("StopInstance", "stop", self.timings.stop, steps, {"revert": instance.state})
        return self._run(instance, verb, now=self._now())

    def start(self, name: str) -> dict[str, Any]:
        """Answer `StartInstance`. For an instance that runs or is starting, the operation changes nothing (see `stop`)."""
        instance, times = self._ready(name), self.timings
        if instance.state == "STOPPING":  # the guest is shutting down: no operation is running
            raise self._wrong_state(instance, "started", "STOPPED")
        if instance.state != "STOPPED":
            return self._run(instance, _Verb("StartInstance", "start", times.nothing), now=self._now())
        steps = (
            (timedelta(0), "STARTING"),
            (times.start_provisioning, "PROVISIONING"),
            (times.start_active, "ACTIVE"),
        )
        return self._run(
            instance, _Verb("StartInstance", "start", times.start_done, steps, {"revert": "STOPPED"}), now=self._now()
        )

    def reset(self, name: str) -> dict[str, Any]:
        """Answer `ResetInstance`: power-cycle the VM. The VM must be running."""
        instance = self._running(name, "reset")
        steps = ((timedelta(0), "STARTING"), (self.timings.reset, "ACTIVE"))
        verb = _Verb("ResetInstance", "reset", self.timings.reset, steps, {"revert": "ACTIVE"})
        return self._run(instance, verb, now=self._now())

    def upgrade(self, name: str) -> dict[str, Any]:
        """Answer `UpgradeInstance`: upgrade to the newest image. The VM must be running (docs/platform-facts.md#211-upgrades)."""
        instance = self._running(name, "upgraded")
        if instance.metadata().get("version") == self.image.version:
            raise ApiError("FAILED_PRECONDITION", "Current and latest available image are the same")
        version = instance.metadata()["version"]
        snapshot = f"projects/{instance.project}/global/snapshots/{instance.short}-{digest(instance.name, version)[:8]}"
        history = {"snapshot": snapshot, "version": version, "targetVersion": self.image.version, "action": "UPGRADE"}
        steps = ((timedelta(0), "UPGRADING"), (self.timings.upgrade, "ACTIVE"))
        payload = {"revert": "ACTIVE", "history": history}
        return self._run(
            instance, _Verb("UpgradeInstance", "upgrade", self.timings.upgrade, steps, payload), now=self._now()
        )

    def resize_disk(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        """Answer `ResizeDisk` for one of `bootDisk`, `dataDisk`; a disk can only grow."""
        if set(body) not in ({"bootDisk"}, {"dataDisk"}):
            raise invalid("Exactly one of boot_disk and data_disk must be specified.")
        instance = self._ready(name)
        key, asked = next(iter(body.items()))
        disk = parse("BootDisk" if key == "bootDisk" else "DataDisk", asked, at=f"request.{key}")
        changed = copy.deepcopy(instance.body)
        held = changed["gceSetup"]["bootDisk"] if key == "bootDisk" else changed["gceSetup"]["dataDisks"][0]
        if int(disk.get("diskSizeGb", "0")) <= int(held["diskSizeGb"]):
            raise invalid(f"The new size of {key} must be larger than {held['diskSizeGb']} GB.")
        held["diskSizeGb"] = disk["diskSizeGb"]
        verb = _Verb("ResizeDisk", "resize_disk", self.timings.update, payload={"body": changed})
        return self._run(instance, verb, now=self._now())

    def restore(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        """Answer `RestoreInstance`: the data disk is replaced when the operation is done; the machine and the rest stay."""
        instance = self._ready(name)
        source = restore_source(body, self.fleet.disks, project=self.world.project, now=self._now())
        if instance.state not in self.restore_from:
            raise self._wrong_state(instance, "restored", " or ".join(sorted(self.restore_from)))
        takes = self.timings.restore
        steps = () if instance.state == "STOPPED" else ((timedelta(0), "STOPPING"), (takes, instance.state))
        payload = {"revert": instance.state, "snapshot": source.path}
        return self._run(instance, _Verb("RestoreInstance", "restore", takes, steps, payload), now=self._now())

    def stop_outside(self, text: str) -> str:
        """Stop the VM without the API: it is STOPPED at once, without an operation. Return the instance's name."""
        instance, now = self.resolve(text), self._now()
        self.fleet.plan(instance, [(now, "STOPPED")], now=now)
        return instance.name

    def delete_outside(self, text: str) -> str:
        """Delete the instance without the API, at once. Return its name."""
        instance, now = self.resolve(text), self._now()
        self.fleet.remove(instance, now)
        self.fleet.operations.abandon(instance.name, now=now)
        return instance.name

    # --- for Monitoring and the control routes

    def resolve(self, text: str) -> Instance:
        """Return an instance by full name or id. Raise 404 if there is none, 400 if several zones have that id."""
        self._now()
        if "/" in text:
            return self.fleet.find(text)
        found = [i for i in self.fleet.instances.values() if i.short == text]
        if not found:
            raise ApiError("NOT_FOUND", f"Resource '{text}' was not found")
        if len(found) > 1:
            raise invalid(f"'{text}' is in several zones; give the full name: {sorted(i.name for i in found)}")
        return found[0]

    def say(self, instance: Instance, script: Script) -> None:
        """Script the activity on an instance."""
        self.fleet.say(instance, script)

    def machines(self) -> dict[str, Machine]:
        """Return all VMs by numeric id, including those deleted in the last six weeks."""
        self._now()
        return self.fleet.machines

    # --- inner

    def find(self, name: str) -> Instance:
        """Return the instance after all due changes, or raise 404 or 403."""
        return self._find(name)

    def settle(self) -> datetime:
        """Apply all due changes, and return the virtual time."""
        return self._now()

    def _now(self) -> datetime:
        now = self.world.clock.now()
        self.fleet.settle(now)
        return now

    def _find(self, name: str) -> Instance:
        self._now()
        _, project, _, zone, *_ = name.split("/")
        check_location(project, zone, ours={self.world.project})
        return self.fleet.find(name)

    def _check_parent(self, parent: str, *, wildcard: bool = False) -> str:
        _, project, _, location = parent.split("/")
        check_location(project, location, ours={self.world.project}, wildcard=wildcard)
        return location

    def _ready(self, name: str) -> Instance:
        instance = self._find(name)
        self.fleet.operations.check_free(name)
        return instance

    def _running(self, name: str, done: str) -> Instance:
        instance = self._ready(name)
        if instance.state != "ACTIVE":
            raise self._wrong_state(instance, done, "ACTIVE")
        return instance

    def _wrong_state(self, instance: Instance, done: str, needed: str) -> ApiError:
        text = f"Instance '{instance.name}' cannot be {done} in state {instance.state}; it must be {needed}."
        return ApiError("FAILED_PRECONDITION", text)

    def _repeated(self, endpoint: str, name: str, request_id: str, now: datetime) -> Operation | None:
        earlier = self.fleet.operations.repeated(endpoint, name, request_id)
        return earlier if earlier is not None and now - earlier.created < _REQUEST_MEMORY else None

    def _run(
        self, instance: Instance, verb: _Verb, *, now: datetime, request_id: str = "", problem: Status | None = None
    ) -> dict[str, Any]:
        """Start the operation, and return its JSON. With a `problem`, the operation ends with that error.

        With a scripted `operation_error`, the instance does not reach the states planned from the operation's end on.
        """
        fault: Fault | None = self.world.faults.take(
            f"notebooks.{verb.endpoint}", instance.name, wanted="operation_error"
        )
        operation = self.fleet.operations.start(verb.endpoint, verb.verb, instance.name, now=now, request_id=request_id)
        operation.payload = dict(verb.payload)
        operation.error = problem
        steps = verb.steps
        if fault is not None:
            operation.payload |= fault.payload
            steps = tuple(step for step in steps if step[0] < verb.done)
        if steps:
            self.fleet.plan(instance, [(now + after, state) for after, state in steps], now=now)
        self.fleet.run(operation, until=now + verb.done, fault=fault.operation_error if fault is not None else None)
        return operation.view()
