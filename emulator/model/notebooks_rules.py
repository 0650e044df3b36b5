"""The rules for names and bodies of Notebooks v2. Errors of create are raised in the order in which the real API checks."""

from __future__ import annotations

import re
from typing import Any

from emulator.errors import ApiError
from emulator.model.machine_types import ZONES

_KNOWN_ZONES = frozenset(ZONES)
COMPUTE = "https://www.googleapis.com/compute/v1/"

_INSTANCE_ID = re.compile(r"^[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?$")
_UUID = re.compile(r"^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$", re.IGNORECASE)
# The real API's rule for the part before the @ is not documented beyond "alias@example.com". An inner space (of a quoted local
# part) is accepted, so that a hostile name reaches the rest of the system.
_EMAIL = re.compile(r"^[^@\s:/](?:[^@\t\r\n\f\v:/]*[^@\s:/])?@[^@\s:/]+\.[^@\s:/]+$")
_TAG = re.compile(r"^[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?$")
_METADATA_KEY = re.compile(r"^[a-zA-Z0-9_-]{1,127}$")
_MACHINE = re.compile(
    r"^(?:(?:https://www\.googleapis\.com/compute/v1/)?(?:projects/[^/]+/)?zones/(?P<zone>[^/]+)/machineTypes/)?(?P<type>[a-z][a-z0-9-]+)$"
)
_NETWORK = re.compile(
    r"^(?:https://www\.googleapis\.com/compute/v1/)?(?:projects/(?P<project>[^/]+)/global/networks/)?(?P<name>[a-z][-a-z0-9]*)$"
)
_SUBNET = re.compile(
    r"^(?:https://www\.googleapis\.com/compute/v1/)?(?:projects/(?P<project>[^/]+)/)?regions/(?P<region>[^/]+)/subnetworks/(?P<name>[a-z][-a-z0-9]*)$"
)
_KMS_KEY = re.compile(r"^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$")
_MAX_LABELS = 64
_MAX_LABEL = 63
# A VM's metadata: 256 KiB a value, 512 KiB in all (Compute Engine's limits).
_MAX_METADATA_VALUE = 256 * 1024
_MAX_METADATA = 512 * 1024


def invalid(text: str) -> ApiError:
    """Return the error 400 INVALID_ARGUMENT."""
    return ApiError("INVALID_ARGUMENT", text)


def check_location(project: str, location: str, *, ours: set[str], wildcard: bool = False) -> None:
    """Raise 403 for another project or an unknown zone, in the real API's words. With `wildcard`, the zone may be `-`."""
    if project not in ours:
        raise ApiError("PERMISSION_DENIED", f"Permission denied on resource project {project}.")
    if location not in _KNOWN_ZONES and not (wildcard and location == "-"):
        raise ApiError("PERMISSION_DENIED", f"Permission denied on 'locations/{location}' (or it may not exist).")


def check_instance_id(instance_id: str) -> None:
    """Raise 400 unless the id has 1 to 63 lower-case letters, digits and dashes, a letter first, no dash last."""
    if not _INSTANCE_ID.match(instance_id):
        raise invalid(
            f'Invalid value for instance_id: "{instance_id}". The instance ID must start with a letter followed by up to 62 '
            "lowercase letters, numbers, or hyphens, and cannot end with a hyphen."
        )


def check_request_id(request_id: str) -> None:
    """Raise 400 for a request id that is not a UUID, and for the zero UUID. A missing request id is valid."""
    if request_id and (not _UUID.match(request_id) or not request_id.strip("0-")):
        raise invalid(
            f'Invalid value for request_id: "{request_id}". It must be a valid UUID other than the zero UUID.'
        )


def _label_like(text: str) -> bool:
    # [\p{Ll}\p{Lo}\p{N}_-]: letters that have no upper case form, digits, underscore, dash
    return all(c in "_-" or c.isnumeric() or (c.isalpha() and not c.isupper() and not c.istitle()) for c in text)


def check_labels(labels: dict[str, str]) -> None:
    """Raise 400 by Google's label rules: at most 64, keys start with a letter, no upper case, no `@`, `.` or `+`."""
    if len(labels) > _MAX_LABELS:
        raise invalid(f"Too many labels: {len(labels)}, the limit is {_MAX_LABELS}.")
    for key, value in labels.items():
        if not 0 < len(key) <= _MAX_LABEL or not _label_like(key) or not key[0].isalpha():
            raise invalid(
                f"Invalid label key: '{key}'. Keys must match [\\p{{Ll}}\\p{{Lo}}][\\p{{Ll}}\\p{{Lo}}\\p{{N}}_-]{{0,62}}."
            )
        if len(value) > _MAX_LABEL or not _label_like(value):
            raise invalid(
                f"Invalid label value: '{value}' for key '{key}'. Values must match [\\p{{Ll}}\\p{{Lo}}\\p{{N}}_-]{{0,63}}."
            )


def check_metadata(metadata: dict[str, str]) -> None:
    """Raise 400 by Compute Engine's rules for metadata keys and sizes."""
    for key, value in metadata.items():
        if not _METADATA_KEY.match(key):
            raise invalid(
                f"Invalid metadata key: '{key}'. Keys must match [a-zA-Z0-9-_]+ and have at most 127 characters."
            )
        if len(value.encode()) > _MAX_METADATA_VALUE:
            raise invalid(f"Value for metadata key '{key}' is too large: maximum size {_MAX_METADATA_VALUE} bytes.")
    if sum(len(key) + len(value.encode()) for key, value in metadata.items()) > _MAX_METADATA:
        raise invalid(f"Metadata is too large: maximum size {_MAX_METADATA} bytes.")


def check_tags(tags: list[str]) -> None:
    """Raise 400 for tags that are not RFC 1035 names."""
    for tag in tags:
        if not _TAG.match(tag):
            raise invalid(f"Invalid tag: '{tag}'. Tags must match [a-z]([-a-z0-9]{{0,61}}[a-z0-9])?.")


def machine_url(project: str, zone: str, text: str) -> str:
    """Return the full URL of a machine type that is given by name, partial or full URL. Raise 400 if it is malformed or of another zone."""
    found = _MACHINE.match(text)
    if found is None or (found["zone"] or zone) != zone:
        raise invalid(f"Invalid machine type: '{text}'.")
    return f"{COMPUTE}projects/{project}/zones/{zone}/machineTypes/{found['type']}"


def network_urls(project: str, zone: str, nic: dict[str, Any]) -> tuple[str, str]:
    """Return the full URLs of network and subnet. A missing network is `default`, a missing subnet the network's auto subnet.

    Raise 400 for a malformed network or subnet, and for a subnet of another region.
    """
    region = zone.rpartition("-")[0]
    network = _NETWORK.match(nic.get("network", "default"))
    if network is None:
        raise invalid(f"Invalid network: '{nic['network']}'.")
    host = network["project"] or project
    subnet = _SUBNET.match(nic.get("subnet", f"projects/{host}/regions/{region}/subnetworks/{network['name']}"))
    if subnet is None:
        raise invalid(f"Invalid subnet: '{nic['subnet']}'.")
    if subnet["region"] != region:
        raise invalid(f"Subnetwork '{nic['subnet']}' is not in region '{region}' of the instance.")
    return (
        f"{COMPUTE}projects/{host}/global/networks/{network['name']}",
        f"{COMPUTE}projects/{subnet['project'] or project}/regions/{region}/subnetworks/{subnet['name']}",
    )


def check_disk(disk: dict[str, Any], which: str) -> None:
    """Raise 400 for a size out of bounds, a malformed KMS key, or only one of CMEK and key."""
    size = int(disk.get("diskSizeGb", "100"))
    if not 10 <= size <= 65536:  # noqa: PLR2004 - Compute Engine's bounds for a disk, in GB
        raise invalid(f"Invalid value for {which}.disk_size_gb: {size}.")
    if (disk.get("diskEncryption") == "CMEK") != bool(disk.get("kmsKey")):
        raise invalid(f"{which}: kms_key must be set if and only if disk_encryption is CMEK.")
    if disk.get("kmsKey") and not _KMS_KEY.match(disk["kmsKey"]):
        raise invalid(f"Invalid value for {which}.kms_key: '{disk['kmsKey']}'.")


def _at_most_one(holder: dict[str, Any], key: str, label: str) -> None:
    if len(holder.get(key, [])) > 1:
        raise invalid(f"At most one element is allowed in {label}, found {len(holder[key])}.")


def check_identity(instance: dict[str, Any], setup: dict[str, Any]) -> None:
    """Raise 400 for owners, service accounts and managed end-user credentials that contradict each other."""
    _at_most_one(instance, "instanceOwners", "instance_owners")
    _at_most_one(setup, "serviceAccounts", "gce_setup.service_accounts")
    for owner in instance.get("instanceOwners", []):
        if not _EMAIL.match(owner):
            raise invalid(f"Invalid instance owner: '{owner}'. Format: alias@example.com.")
    for account in setup.get("serviceAccounts", []):
        if not _EMAIL.match(account.get("email", "")):
            raise invalid(f"Invalid service account email: '{account.get('email', '')}'.")
    if not instance.get("enableManagedEuc"):
        return
    if setup.get("serviceAccounts"):
        raise invalid("A service account cannot be specified when managed end user credentials are enabled.")
    if instance.get("enableThirdPartyIdentity"):
        raise invalid("Third party identity is not supported when managed end user credentials are enabled.")


def check_create(instance: dict[str, Any]) -> None:
    """Raise `ApiError` (400) unless a create body, as `notebooks_schema.parse` returns it, follows all rules.

    URLs are checked when they are built.
    """
    setup = instance.get("gceSetup", {})
    check_identity(instance, setup)
    for key, label in (
        ("acceleratorConfigs", "gce_setup.accelerator_configs"),
        ("dataDisks", "gce_setup.data_disks"),
        ("networkInterfaces", "gce_setup.network_interfaces"),
    ):
        _at_most_one(setup, key, label)
    check_labels(instance.get("labels", {}))
    check_metadata(setup.get("metadata", {}))
    check_tags(setup.get("tags", []))
    check_disk(setup.get("bootDisk", {}), "gce_setup.boot_disk")
    for disk in setup.get("dataDisks", []):
        check_disk(disk, "gce_setup.data_disks")
    check_accelerators(setup)
    check_images(setup)


def check_accelerators(setup: dict[str, Any]) -> None:
    """Raise 400 for an accelerator without a type or with a count below one."""
    for config in setup.get("acceleratorConfigs", []):
        if "type" not in config or int(config.get("coreCount", "0")) < 1:
            raise invalid("An accelerator config needs a type and a core_count of at least 1.")


def check_images(setup: dict[str, Any]) -> None:
    """Raise 400 for a VM image without a project and a name or family, or a container image without a repository."""
    vm_image, container = setup.get("vmImage"), setup.get("containerImage")
    if vm_image is not None and not (vm_image.get("project") and (vm_image.get("name") or vm_image.get("family"))):
        raise invalid("vm_image needs a project and either a name or a family.")
    if container is not None and not container.get("repository"):
        raise invalid("container_image needs a repository.")
