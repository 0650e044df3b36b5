"""The new instance as the real API fills it in, and the two views of an instance: the results of get and list."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from emulator.model.machine_types import default_disk, machine_type
from emulator.model.notebooks_rules import machine_url, network_urls

DEFAULT_MACHINE = "e2-standard-4"
DEFAULT_BOOT_GB, DEFAULT_DATA_GB = "150", "100"
_SCOPES = ["https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/userinfo.email"]
_SYSTEM_TAGS = ["deeplearning-vm", "notebook-instance"]
# The agent's health reports (docs/platform-facts.md#44-what-can-be-seen-from-outside).
_REPORT_EVERY = timedelta(seconds=30)
_PLANS_PER_LIFE = 1_000_000
PROXY = ".notebooks.googleusercontent.com"
_HEALTH = ("system_health", "docker_status", "jupyterlab_status", "jupyterlab_api_status")
# The keys that only Google writes (docs/platform-facts.md#5-metadata-keys-of-workbench). In recorded instances Terraform sets the
# other keys of the "protected" table at creation (`title`, `framework`, `serial-port-logging-enable`...), so a user's value stays if
# Google writes none.
GOOGLE_ONLY = frozenset(
    [
        "data-disk-uri",
        "disable-check-xsrf",
        "euc-enabled",
        "instance-region",
        "notebooks-api",
        "notebooks-api-version",
        "proxy-backend-id",
        "proxy-byoid-url",
        "proxy-mode",
        "proxy-registration-url",
        "proxy-status",
        "proxy-url",
        "proxy-user-mail",
        "report-event-url",
        "resource-url",
        "service-account-mode",
        "shutdown-script",
        "version",
        "custom-container-image",
        "custom-container-payload",
    ]
)


def digest(*parts: object) -> str:
    """Return 64 hex digits that depend only on the given parts, so that ids look random but are the same in every run."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()


def stamp(moment: datetime) -> str:
    """Return RFC 3339 with nanoseconds, as this API writes (`2026-08-12T17:28:57.651511852Z`), so readers must accept nine digits."""
    utc = moment.astimezone(UTC)
    return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond:06d}{(utc.microsecond * 7919 + utc.second) % 999 + 1:03d}Z"


@dataclass(slots=True)
class Instance:
    """An instance: `body` is the part of the REST JSON that does not depend on time; the rest is added when it is read.

    `plan` is the number of the present series of state changes; events of an older plan are ignored. `vm_exists` is
    True once the VM exists; `active_since` is None unless ACTIVE. `owner` is a separate field, because reads do not
    return it.
    """

    name: str
    serial: int
    body: dict[str, Any]
    state: str
    created: datetime
    updated: datetime
    plan: int = 0
    owner: str = ""
    vm_exists: bool = False
    active_since: datetime | None = None

    @property
    def project(self) -> str:
        """The project in the name."""
        return self.name.split("/")[1]

    @property
    def zone(self) -> str:
        """The zone in the name."""
        return self.name.split("/")[3]

    @property
    def short(self) -> str:
        """The instance id."""
        return self.name.rsplit("/", 1)[1]

    @property
    def gce_id(self) -> str:
        """The numeric id of the VM."""
        return str(self.body["gceSetup"]["instanceId"])

    def metadata(self) -> dict[str, str]:
        """Return the VM's metadata."""
        found: dict[str, str] = self.body["gceSetup"]["metadata"]
        return found


def _google_metadata(name: str, instance: dict[str, Any], *, backend: str, version: str) -> dict[str, str]:
    region = name.split("/")[3].rpartition("-")[0]
    url = f"https://notebooks.googleapis.com/v2/{name}"
    found = {
        "version": version,
        "resource-url": url,
        "shutdown-script": "/opt/deeplearning/bin/shutdown_script.sh",
        "notebooks-api-version": "v2",
        "notebooks-api": "PROD",
        "new-proxy-agent-enabled": "true",
        "report-event-url": f"{url}:reportInfoSystem",
        "instance-region": region,
        "disable-swap-binaries": "true",
        "proxy-mode": "service_account",
    }
    if not instance.get("disableProxyAccess"):
        found["proxy-url"] = f"{backend}-dot-{region}{PROXY}"
        found["proxy-backend-id"] = backend
        found["proxy-registration-url"] = f"https://{region}.notebooks.cloud.google.com/tun/m/{digest(region)[:40]}"
    if instance.get("enableThirdPartyIdentity"):
        found["proxy-byoid-url"] = f"{backend}-dot-{region}.notebooks.byoid.googleusercontent.com"
    if instance.get("instanceOwners"):
        found["proxy-mode"] = "mail"
        found["proxy-user-mail"] = instance["instanceOwners"][0]
    if instance.get("enableManagedEuc"):
        found |= {"euc-enabled": "true", "disable-ssh": "true", "block-project-ssh-keys": "true"}
    container = instance.get("gceSetup", {}).get("containerImage")
    if container is not None:
        found["custom-container-image"] = "true"
        found["custom-container-payload"] = f"{container['repository']}:{container.get('tag', 'latest')}"
    return found


def _metadata(name: str, instance: dict[str, Any], *, backend: str, version: str) -> dict[str, str]:
    defaults = {"serial-port-logging-enable": "true", "enable-oslogin": "TRUE", "enable-guest-attributes": "TRUE"}
    if "containerImage" not in instance.get("gceSetup", {}):
        defaults["enable-jupyterlab4"] = "true"
    asked = {
        k: v for k, v in instance.get("gceSetup", {}).get("metadata", {}).items() if k not in GOOGLE_ONLY and v != ""
    }
    return defaults | asked | _google_metadata(name, instance, backend=backend, version=version)


def _disk(asked: dict[str, Any], size: str, machine: str) -> dict[str, Any]:
    kind = machine_type(machine.rpartition("/")[2])
    disk_type = default_disk(kind) if kind is not None else "PD_STANDARD"
    return {"diskSizeGb": size, "diskType": disk_type, "diskEncryption": "GMEK"} | asked


def _service_account(instance: dict[str, Any], project_number: str) -> str:
    if instance.get("enableManagedEuc"):
        return f"service-{project_number}@gcp-sa-notebooks-vm.iam.gserviceaccount.com"
    asked = instance.get("gceSetup", {}).get("serviceAccounts", [])
    return str(asked[0]["email"]) if asked else f"{project_number}-compute@developer.gserviceaccount.com"


def _nic(project: str, zone: str, asked: dict[str, Any], *, public: bool, mark: str) -> dict[str, Any]:
    network, subnet = network_urls(project, zone, asked)
    nic: dict[str, Any] = {"network": network, "subnet": subnet}
    if "nicType" in asked:
        nic["nicType"] = asked["nicType"]
    if public:
        own = f"34.{int(mark[0:2], 16)}.{int(mark[2:4], 16)}.{int(mark[4:6], 16)}"
        nic["accessConfigs"] = asked.get("accessConfigs") or [{"externalIp": own}]
    return nic


def _gce_setup(name: str, instance: dict[str, Any], *, project_number: str, mark: str, version: str) -> dict[str, Any]:
    _, project, _, zone, _, _ = name.split("/")
    asked = instance.get("gceSetup", {})
    machine = machine_url(project, zone, asked.get("machineType", DEFAULT_MACHINE))
    setup: dict[str, Any] = {
        "machineType": machine,
        "serviceAccounts": [{"email": _service_account(instance, project_number), "scopes": list(_SCOPES)}],
        "bootDisk": _disk(asked.get("bootDisk", {}), DEFAULT_BOOT_GB, machine),
        "dataDisks": [_disk(disk, DEFAULT_DATA_GB, machine) for disk in asked.get("dataDisks") or [{}]],
        "shieldedInstanceConfig": asked.get(
            "shieldedInstanceConfig", {"enableVtpm": True, "enableIntegrityMonitoring": True}
        ),
        "networkInterfaces": [
            _nic(project, zone, nic, public=not asked.get("disablePublicIp"), mark=mark)
            for nic in asked.get("networkInterfaces") or [{}]
        ],
        "tags": [*_SYSTEM_TAGS, *(tag for tag in asked.get("tags", []) if tag not in _SYSTEM_TAGS)],
        "metadata": _metadata(name, instance, backend=mark[16:32], version=version),
        "gpuDriverConfig": asked.get("gpuDriverConfig", {}),
        "reservationAffinity": asked.get("reservationAffinity", {"consumeReservationType": "RESERVATION_NONE"}),
        "minCpuPlatform": asked.get("minCpuPlatform", "Intel Broadwell"),
        # 19 digits at most: a Compute Engine id is an unsigned 64-bit number
        "instanceId": str(10**18 + int(mark[32:46], 16) % (8 * 10**18)),
    }
    if "containerImage" in asked:
        setup["containerImage"] = {"tag": "latest"} | asked["containerImage"]
    else:
        setup["vmImage"] = asked.get("vmImage") or {
            "project": "cloud-notebooks-managed",
            "family": "workbench-instances-2603",
        }
    for key in ("acceleratorConfigs", "disablePublicIp", "enableIpForwarding", "confidentialInstanceConfig"):
        if asked.get(key):
            setup[key] = asked[key]
    return setup


def fresh(
    name: str, instance: dict[str, Any], *, serial: int, now: datetime, creator: str, project_number: str, version: str
) -> Instance:
    """Return a new instance in INITIALIZING from a checked create body. Raise `ApiError` 400 for an invalid machine, network or subnet."""
    project = name.split("/")[1]
    mark = digest(name, serial)
    region = name.split("/")[3].rpartition("-")[0]
    labels = {
        **instance.get("labels", {}),
        "consumer-project-id": project,
        "consumer-project-number": project_number,
        "notebooks-product": "workbench-instances",
        "resource-name": name.rsplit("/", 1)[1],
    }
    if instance.get("enableManagedEuc"):
        labels["notebooks-managed-euc"] = "true"
    body: dict[str, Any] = {
        "name": name,
        "gceSetup": _gce_setup(name, instance, project_number=project_number, mark=mark, version=version),
        "id": f"{mark[:8]}-{mark[8:12]}-4{mark[13:16]}-8{mark[17:20]}-{mark[20:32]}",
        "labels": labels,
        "satisfiesPzi": True,
    }
    if "@" in creator:
        body["creator"] = creator
    if instance.get("enableThirdPartyIdentity"):
        body["thirdPartyProxyUrl"] = f"{mark[16:32]}-dot-{region}.notebooks.byoid.googleusercontent.com"
    for key in ("disableProxyAccess", "enableThirdPartyIdentity", "enableManagedEuc", "enableDeletionProtection"):
        if instance.get(key):
            body[key] = True
    owner = instance.get("instanceOwners", [""])[0]
    # Instances of the same name never share a plan number, so events of an old instance are void for the new one.
    return Instance(name, serial, body, "INITIALIZING", now, now, plan=serial * _PLANS_PER_LIFE, owner=owner)


def full_view(instance: Instance, now: datetime, gateway: str = "") -> dict[str, Any]:
    """Return the present result of get.

    With `gateway` (the end of a host name, with a port), JupyterLab's URL uses it, not Google's host.
    """
    return _view(instance, now, dict(instance.body["gceSetup"]), gateway)


def list_view(instance: Instance, now: datetime, gateway: str = "") -> dict[str, Any]:
    """Return the present result of list, without `vmImage` and the disks' types (recorded 2026-08-12)."""
    setup = dict(instance.body["gceSetup"])
    setup.pop("vmImage", None)
    setup["bootDisk"] = {key: value for key, value in setup["bootDisk"].items() if key != "diskType"}
    setup["dataDisks"] = [{k: v for k, v in disk.items() if k != "diskType"} for disk in setup["dataDisks"]]
    return _view(instance, now, setup, gateway)


def _view(instance: Instance, now: datetime, setup: dict[str, Any], gateway: str) -> dict[str, Any]:
    body = {**instance.body, "gceSetup": setup, "state": instance.state, "createTime": stamp(instance.created)}
    if not instance.vm_exists:
        setup.pop("instanceId", None)
        setup["networkInterfaces"] = [
            {key: value for key, value in nic.items() if key != "accessConfigs"} for nic in setup["networkInterfaces"]
        ]
        if "proxy-url" in setup["metadata"]:
            setup["metadata"] = {
                k: v for k, v in setup["metadata"].items() if k not in {"proxy-url", "proxy-backend-id"}
            }
    elif "proxy-url" in setup["metadata"]:
        if gateway:
            local = setup["metadata"]["proxy-url"].removesuffix(PROXY) + gateway
            setup["metadata"] = {**setup["metadata"], "proxy-url": local}
        body["proxyUri"] = setup["metadata"]["proxy-url"]
    updated = instance.updated
    if instance.active_since is not None:
        reported = instance.active_since + ((now - instance.active_since) // _REPORT_EVERY) * _REPORT_EVERY
        # A health report changes updateTime, which is therefore no sign of use (docs/platform-facts.md#44-what-can-be-seen-from-outside).
        updated = max(updated, reported)
        body["healthState"] = "HEALTHY"
        body["healthInfo"] = {**dict.fromkeys(_HEALTH, "1"), "last_updated": f"{reported:%Y-%m-%dT%H:%M:%S}+00:00"}
    body["updateTime"] = stamp(updated)
    return body
