"""The environments with a JupyterLab, their owners and states, taken from the models for the gateway."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emulator.errors import ApiError
from emulator.model.disks import DATA, disk_path
from emulator.model.machine_types import ZONES

if TYPE_CHECKING:
    from emulator.model.notebooks_fresh import Instance
    from emulator.services import Services

NOTEBOOKS, CLUSTERS = ".notebooks.localhost", ".dataproc.localhost"
CLUSTER_BASE = "/gateway/default/jupyter/"  # the path under which Component Gateway serves JupyterLab
_PERSONAL = "dataproc:dataproc.personal-auth.user"
_ACTS_AS = "roles/iam.serviceAccountUser"
_REGIONS = sorted({zone.rpartition("-")[0] for zone in ZONES})
_COMING = frozenset(["INITIALIZING", "PROVISIONING", "STARTING", "CREATING", "UPDATING", "UPGRADING"])


@dataclass(frozen=True, slots=True)
class Place:
    """An environment with a JupyterLab. `folder` is its disk's folder below the data folder; None without a disk yet.

    `runs` is True if a JupyterLab should run for the environment, at the path `base` of its `host`. `life` changes
    whenever the environment was stopped and started again, even briefly.
    """

    host: str
    state: str
    runs: bool
    owners: frozenset[str]
    folder: str | None
    base: str = "/"
    life: str = ""
    instance: str = ""  # the full name of a notebook

    @property
    def coming(self) -> bool:
        """Return True while the environment is being created or started."""
        return self.state in _COMING


def look(services: Services) -> dict[str, Place]:
    """Return all environments by host. Call it while holding the world's lock."""
    found = [*_notebooks(services), *_clusters(services)]
    return {place.host: place for place in found}


def _notebooks(services: Services) -> list[Place]:
    services.notebooks.settle()
    return [
        _notebook(services, each)
        for each in services.notebooks.fleet.instances.values()
        if "proxy-url" in each.metadata()
    ]


def _notebook(services: Services, instance: Instance) -> Place:
    disk = services.notebooks.fleet.disks.disks.get(disk_path(instance, DATA))
    label = instance.metadata()["proxy-url"].partition(".")[0]
    return Place(
        host=f"{label}{NOTEBOOKS}",
        state=instance.state,
        runs=instance.state == "ACTIVE" and disk is not None,
        owners=frozenset([instance.owner.lower()] if instance.owner else []),
        folder=f"disks/{disk.gce_id}" if disk is not None else None,
        life=str(instance.active_since),
        instance=instance.name,
    )


def cluster_label(name: str, uuid: str) -> str:
    """Return the first part of a cluster's host."""
    return f"{uuid.replace('-', '')}-dot-{name.split('/')[3]}"


def _clusters(services: Services) -> list[Place]:
    project, places = services.world.project, []
    for region in _REGIONS:
        token = ""
        while True:
            page = services.dataproc.listing(project, region, token=token)
            places += [_cluster(services, region, view) for view in page.get("clusters", []) if _has_jupyter(view)]
            token = page.get("nextPageToken", "")
            if not token:
                break
    return places


def _has_jupyter(view: dict[str, Any]) -> bool:
    config = view["config"]
    components = config.get("softwareConfig", {}).get("optionalComponents", ())
    return "JUPYTER" in components and bool(config.get("endpointConfig", {}).get("enableHttpPortAccess"))


def _cluster(services: Services, region: str, view: dict[str, Any]) -> Place:
    uuid, state = str(view["clusterUuid"]), str(view["status"]["state"])
    name = f"projects/{services.world.project}/regions/{region}/clusters/{view['clusterName']}"
    return Place(
        host=f"{cluster_label(name, uuid)}{CLUSTERS}",
        state=state,
        runs=state == "RUNNING",
        owners=_users_of(services, view["config"]),
        folder=f"clusters/{uuid}",
        base=CLUSTER_BASE,
    )


def _users_of(services: Services, config: dict[str, Any]) -> frozenset[str]:
    """Return the cluster's users. With personal auth there is one user.

    Without personal auth, the users are those mapped to accounts or, without a mapping, those who may act as the
    cluster's account.
    """
    personal = config.get("softwareConfig", {}).get("properties", {}).get(_PERSONAL)
    if personal:
        return frozenset([str(personal).lower()])
    mapped = config.get("securityConfig", {}).get("identityConfig", {}).get("userServiceAccountMapping", {})
    if mapped:
        return frozenset(str(user).lower() for user in mapped)
    account = config.get("gceClusterConfig", {}).get("serviceAccount", "")
    try:
        policy = services.iam.get_policy(f"projects/{services.world.project}/serviceAccounts/{account}")
    except ApiError:
        return frozenset()
    members = [member for row in policy.get("bindings", []) if row["role"] == _ACTS_AS for member in row["members"]]
    return frozenset(each.removeprefix("user:").lower() for each in members if each.startswith("user:"))
