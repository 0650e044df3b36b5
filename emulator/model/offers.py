"""The read calls on Compute Engine's offer: zones, images, networks, and the types of machines, disks and accelerators in a zone.

They use the tables and declarations that also decide if a machine can be created (`machine_types`, `surroundings`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from emulator.model.compute_rules import not_found
from emulator.model.machine_types import ZONES, has_accelerator, has_disk_type, machine_problem
from emulator.model.notebooks_rules import COMPUTE

if TYPE_CHECKING:
    from emulator.model.surroundings import Surroundings

_PATH = re.compile(
    r"projects/(?P<project>[^/]+)/(?:zones/(?P<zone>[^/]+)(?:/(?P<kind>\w+Types)/(?P<name>[^/]+))?"
    r"|global/images/family/(?P<family>[^/]+)|global/networks/[^/]+|regions/[^/]+/subnetworks/[^/]+)"
)


def read_offer(path: str, project: str, surroundings: Surroundings) -> dict[str, Any]:
    """Return the resource at `projects/P/...`; raise 404 if there is no such resource."""
    match = _PATH.fullmatch(path)
    if match is None or not _exists(match, project, surroundings):
        raise not_found(path)
    return {"name": path.rpartition("/")[2], "selfLink": f"{COMPUTE}{path}"}


def _exists(match: re.Match[str], project: str, surroundings: Surroundings) -> bool:
    zone, kind, name = match["zone"], match["kind"], match["name"]
    if match["family"]:
        return surroundings.image_problem({"project": match["project"], "family": match["family"]}) is None
    if zone is None:
        return surroundings.path_problem(match[0], "compute.networks.get") is None
    if match["project"] != project or zone not in ZONES:
        return False
    match kind:
        case None:
            return True
        case "machineTypes":
            return machine_problem(project, zone, name, accelerator="NVIDIA_TESLA_T4") is None
        case "diskTypes":
            return has_disk_type(zone, name)
        case _:
            return kind == "acceleratorTypes" and has_accelerator(zone, name)
