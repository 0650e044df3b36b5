"""What Compute Engine offers, as its reads answer: zones, the types of machines, disks and accelerators in a zone, images, networks.

Only the machine types that have been used most; a project has the network `default` and its subnetwork in each region.
"""

from __future__ import annotations

import re
from typing import Any

from emulator.model.compute_rules import not_found
from emulator.model.notebooks_rules import COMPUTE, ZONES

_SIZES = {
    "e2-standard": "2 4 8 16 32", "e2-highmem": "2 4 8 16", "e2-highcpu": "2 4 8 16 32",
    "n1-standard": "1 2 4 8 16 32 64 96", "n1-highmem": "2 4 8 16 32 64 96", "n1-highcpu": "2 4 8 16 32 64 96",
    "n2-standard": "2 4 8 16 32 48 64 80 96 128", "n2-highmem": "2 4 8 16 32 48 64 80 96 128", "n2-highcpu": "2 4 8 16 32 48 64 80 96",
    "n2d-standard": "2 4 8 16 32 48 64 80 96 128 224", "c2-standard": "4 8 16 30 60", "g2-standard": "4 8 12 16 24 32 48 96",
}  # fmt: skip
_NAMES = {
    "machineTypes": {f"{kind}-{size}" for kind, sizes in _SIZES.items() for size in sizes.split()}
    | {"e2-micro", "e2-small", "e2-medium"},
    "diskTypes": {"pd-standard", "pd-balanced", "pd-ssd", "pd-extreme", "hyperdisk-balanced"},
    "acceleratorTypes": {"nvidia-tesla-t4", "nvidia-l4"},
}
_CUSTOM = re.compile(r"(?:(?:e2|n1|n2|n2d)-)?custom-\d+-\d+(?:-ext)?")
_IMAGES = {"cloud-notebooks-managed": {"workbench-instances", "workbench-instances-2603"}}
_PATH = re.compile(
    r"projects/(?P<project>[^/]+)/(?:zones/(?P<zone>[^/]+)(?:/(?P<kind>\w+Types)/(?P<name>[^/]+))?"
    r"|global/images/family/(?P<family>[^/]+)|global/networks/(?P<network>[^/]+)"
    r"|regions/(?P<region>[^/]+)/subnetworks/(?P<subnet>[^/]+))"
)


def read_offer(path: str, project: str) -> dict[str, Any]:
    """Return the resource at `projects/P/...`; 404 if the project has none."""
    match = _PATH.fullmatch(path)
    if match is None or not _exists(match, project):
        raise not_found(path)
    return {"name": path.rpartition("/")[2], "selfLink": f"{COMPUTE}{path}"}


def _exists(match: re.Match[str], project: str) -> bool:
    if match["family"]:
        return match["family"] in _IMAGES.get(match["project"], set())
    if match["project"] != project:
        return False
    if match["zone"]:
        name, kind = match["name"], match["kind"]
        is_custom = kind == "machineTypes" and _CUSTOM.fullmatch(name) is not None
        return match["zone"] in ZONES and (kind is None or is_custom or name in _NAMES.get(kind, set()))
    if match["network"]:
        return match["network"] == "default"
    return match["subnet"] == "default" and any(zone.startswith(f"{match['region']}-") for zone in ZONES)
