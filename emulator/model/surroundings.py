"""The parts of a project that a new machine refers to and that are not created here: networks, subnetworks, images, accounts.

A project begins with the network `default` and its subnetwork in each region. The control API declares further parts.
Compute Engine refuses a machine that names any other part, so the machine's operation fails: `problem_of` returns the
error.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from emulator.errors import CODES, ApiError
from emulator.model.machine_types import ZONES, accelerator_problem, disk_problem, machine_problem, machine_type
from emulator.model.notebooks_rules import COMPUTE

if TYPE_CHECKING:
    from collections.abc import Callable

    from emulator.world import World

Status = dict[str, Any]  # a google.rpc.Status: the error of an operation
_WORKBENCH = "cloud-notebooks-managed"
# docs/platform-facts.md#1-what-can-still-be-created and the release notes of Workbench, read 2026-08
_FAMILIES = frozenset(["workbench-instances", "workbench-instances-2603"])
_RELEASE = re.compile(r"workbench-instances(?:-\d{4})?-v(?P<day>\d{8})(?:-[a-z0-9-]+)?")
_GOOGLES_ACCOUNT = re.compile(
    r"(?:service-)?(?P<number>\d+)(?:-compute@developer|@[a-z0-9-]+\.iam)\.gserviceaccount\.com"
)
_KINDS = {
    "networks": re.compile(r"projects/[^/]+/global/networks/[^/]+"),
    "subnetworks": re.compile(r"projects/[^/]+/regions/[^/]+/subnetworks/[^/]+"),
    "images": re.compile(r"projects/[^/]+/global/images/(?:family/)?[^/]+"),
    "service_accounts": re.compile(r"[^@/\s]+@[^@/\s]+"),
}
# https://docs.cloud.google.com/compute/docs/cpu-platforms, read 2026-11-29
_CPU_PLATFORMS = frozenset(
    [
        "AMD Genoa", "AMD Milan", "AMD Rome", "AMD Turin", "Ampere Altra", "AUTOMATIC", "Intel Broadwell", "Intel Cascade Lake",
        "Intel Emerald Rapids", "Intel Granite Rapids", "Intel Haswell", "Intel Ice Lake", "Intel Ivy Bridge",
        "Intel Sandy Bridge", "Intel Sapphire Rapids", "Intel Skylake",
    ]
)  # fmt: skip
_CHOOSES_CPU = frozenset(
    ["N1", "N2", "N2D", "C2", "C2D", "M1", "M2", "M3", "G2", "A2"]
)  # series with a choice of platform
_CONFIDENTIAL = frozenset(["N2D", "C2D", "C3D", "C4D"])  # series with AMD SEV


def refused(code: str, text: str) -> Status:
    """Return the error with which an operation ends."""
    return {"code": CODES[code][0], "message": text}


class Surroundings:
    """A register of the declared parts of the project. Its methods check a machine against them and against the hardware tables."""

    def __init__(self, world: World, knows_account: Callable[[str], bool]) -> None:
        self._world = world
        self._knows_account = knows_account
        self._declared: dict[str, set[str]] = {kind: set() for kind in _KINDS}

    def dump(self) -> Any:
        """Return the declared parts as JSON-able data."""
        return {kind: sorted(names) for kind, names in self._declared.items()}

    def load(self, state: Any) -> None:
        """Restore the state from a result of `dump`."""
        self._declared = {kind: set(state.get(kind, ())) for kind in _KINDS}

    def declare(self, body: dict[str, Any]) -> dict[str, Any]:
        """Add networks, subnetworks, images and service accounts that exist, in this project or another. Return all declared parts.

        `projects/P/global/images/*` means all images of a project. Raise `ApiError` (400) for an unknown kind or an
        invalid name.
        """
        for kind, names in body.items():
            form = _KINDS.get(kind)
            if form is None:
                raise ApiError("INVALID_ARGUMENT", f"unknown field {kind!r}; valid: {sorted(_KINDS)}")
            if not isinstance(names, list) or not all(isinstance(name, str) and form.fullmatch(name) for name in names):
                raise ApiError("INVALID_ARGUMENT", f"`{kind}` is a list of names like {form.pattern}")
        for kind, names in body.items():
            self._declared[kind] |= set(names)
        state: dict[str, Any] = self.dump()
        return state

    # --- the checks

    def problem_of(self, zone: str, setup: dict[str, Any], *, platform: str | None) -> Status | None:
        """Return the error with which Compute Engine refuses the machine of a filled `gceSetup`; None if the machine is accepted.

        `platform` is the minimum CPU platform in the request, None if the request has none.
        """
        return (
            self.hardware_problem(zone, setup, platform=platform)
            or self.image_problem(setup.get("vmImage"))
            or self._network(setup["networkInterfaces"][0])
            or self.account_problem(setup["serviceAccounts"][0]["email"])
        )

    def hardware_problem(self, zone: str, setup: dict[str, Any], *, platform: str | None) -> Status | None:
        """Return the error for hardware that does not exist or does not fit together; None if there is no such problem.

        The hardware is machine type, accelerators, disks and CPU platform.
        """
        name = setup["machineType"].rpartition("/")[2]
        accelerators = setup.get("acceleratorConfigs", [])
        first = accelerators[0]["type"] if accelerators else ""
        problem = machine_problem(self._world.project, zone, name, accelerator=first)
        machine = machine_type(name)
        if problem is not None or machine is None:
            return refused("INVALID_ARGUMENT", problem or "")
        for each in accelerators:
            problem = accelerator_problem(
                self._world.project, zone, machine, each["type"], int(each.get("coreCount", "0"))
            )
            if problem is not None:
                return refused("NOT_FOUND" if problem.endswith("was not found") else "INVALID_ARGUMENT", problem)
        disks = [(setup["bootDisk"], True), *((disk, False) for disk in setup["dataDisks"])]
        for disk, boot in disks:
            problem = disk_problem(machine, disk["diskType"], boot=boot)
            if problem is not None:
                return refused("INVALID_ARGUMENT", problem)
        return _cpu_problem(setup, machine.series, name, platform)

    def image_problem(self, image: dict[str, Any] | None) -> Status | None:
        """Return the error for an image, or the newest image of a family, that cannot be used; None for a usable image.

        For an image of another project, the error is that of a missing permission: the caller cannot tell a hidden
        image from a missing one.
        """
        if image is None:
            return None
        family = image.get("family")
        path = f"projects/{image['project']}/global/images/" + (
            f"family/{family}" if family else str(image.get("name"))
        )
        declared = {path, f"projects/{image['project']}/global/images/*"} & self._declared["images"]
        if declared or (image["project"] == _WORKBENCH and self._is_released(image)):
            return None
        if image["project"] in {_WORKBENCH, self._world.project}:
            return refused("NOT_FOUND", f"The resource '{path}' was not found")
        return refused("PERMISSION_DENIED", f"Required 'compute.images.useReadOnly' permission for '{path}'")

    def _is_released(self, image: dict[str, Any]) -> bool:
        if image.get("family"):
            return image["family"] in _FAMILIES
        release = _RELEASE.fullmatch(str(image.get("name")))
        return release is not None and release["day"] <= f"{self._world.clock.now():%Y%m%d}"

    def _network(self, nic: dict[str, Any]) -> Status | None:
        network, subnet = (nic[key].removeprefix(COMPUTE) for key in ("network", "subnet"))
        for path, permission in ((network, "compute.networks.use"), (subnet, "compute.subnetworks.use")):
            problem = self.path_problem(path, permission)
            if problem is not None:
                return problem
        return None

    def path_problem(self, path: str, permission: str) -> Status | None:
        """Return the error for a network or subnetwork that cannot be used; None for a usable one.

        For another project, the error is that of a missing permission: the caller cannot tell a hidden network from a
        missing one.
        """
        if path in self._declared["networks"] | self._declared["subnetworks"]:
            return None
        _, project, scope, *rest = path.split("/")
        ours = project == self._world.project
        in_region = scope == "global" or any(zone.startswith(f"{rest[0]}-") for zone in ZONES)
        if ours and rest[-1] == "default" and in_region:
            return None
        if ours:
            return refused("NOT_FOUND", f"The resource '{path}' was not found")
        return refused("PERMISSION_DENIED", f"Required '{permission}' permission for '{path}'")

    def account_problem(self, email: str) -> Status | None:
        """Return the error for a service account that a machine cannot run as; None for a usable account."""
        if email in self._declared["service_accounts"] or self._knows_account(email):
            return None
        agent = _GOOGLES_ACCOUNT.fullmatch(email)
        if agent is not None and agent["number"] == self._world.project_number:
            return None
        return refused("NOT_FOUND", f"The resource '{email}' of type 'serviceAccount' was not found.")


def _cpu_problem(setup: dict[str, Any], series: str, machine: str, platform: str | None) -> Status | None:
    if platform is not None and platform not in _CPU_PLATFORMS:
        text = f"Invalid value for field 'resource.minCpuPlatform': '{platform}'. The specified CPU platform does not exist."
        return refused("INVALID_ARGUMENT", text)
    if platform is not None and series not in _CHOOSES_CPU:
        text = f"Setting minimum CPU platform is not supported for the selected machine type {machine}."
        return refused("INVALID_ARGUMENT", text)
    confidential = setup.get("confidentialInstanceConfig", {}).get("confidentialInstanceType")
    if confidential and series not in _CONFIDENTIAL:
        return refused(
            "INVALID_ARGUMENT", f"[{confidential}, {machine}] features are not compatible for creating instance."
        )
    return None
