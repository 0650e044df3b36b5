"""The patch of an instance: the fields that may change by its update mask, and the resulting body.

Source: docs/platform-facts.md#27-what-a-patch-may-change.
"""

from __future__ import annotations

import copy
import re
from typing import Any

from emulator.errors import ApiError
from emulator.model.notebooks_fresh import GOOGLE_ONLY, Instance
from emulator.model.notebooks_rules import (
    check_accelerators,
    check_images,
    check_labels,
    check_metadata,
    check_tags,
    invalid,
    machine_url,
)

_SETUP = {
    "min_cpu_platform": "minCpuPlatform",
    "metadata": "metadata",
    "machine_type": "machineType",
    "accelerator_configs": "acceleratorConfigs",
    "gpu_driver_config": "gpuDriverConfig",
    "shielded_instance_config": "shieldedInstanceConfig",
    "reservation_affinity": "reservationAffinity",
    "tags": "tags",
    "container_image": "containerImage",
    "disable_public_ip": "disablePublicIp",
}
_LEAVES = {
    "accelerator_configs": {"type", "core_count"},
    "gpu_driver_config": {"enable_gpu_driver", "custom_gpu_driver_path"},
    "shielded_instance_config": {"enable_secure_boot", "enable_vtpm", "enable_integrity_monitoring"},
    "reservation_affinity": {"consume_reservation_type", "key", "values"},
    "container_image": {"repository", "tag"},
}
_TOP = {
    "labels": "labels",
    "disable_proxy_access": "disableProxyAccess",
    "enable_deletion_protection": "enableDeletionProtection",
}
_NEEDS_STOP = {"machine_type", "accelerator_configs", "shielded_instance_config", "container_image"}
_NEEDS_STOP_METADATA = re.compile(
    r"^(disable-mixer|notebook-disable-(terminal|downloads|nbconvert|root)|enable-jupyterlab4(-preview)?|geminicli-.*)$"
)
_AT_CREATION_ONLY = {
    "install-monitoring-agent",
    "install-nvidia-driver",
    "serial-port-logging-enable",
    "report-notebook-metrics",
}
_SYSTEM_LABELS = {
    "consumer-project-id",
    "consumer-project-number",
    "notebooks-product",
    "resource-name",
    "notebooks-managed-euc",
}


def read_mask(text: str) -> list[str]:
    """Return the paths of an update mask in snake_case. Raise 400 if it is empty or names a field that cannot be changed."""
    paths = [re.sub(r"([A-Z])", lambda found: "_" + found.group(1).lower(), path.strip()) for path in text.split(",")]
    paths = [path for path in paths if path]
    if not paths:
        raise invalid("update_mask must be specified and non-empty.")
    for path in paths:
        _check_path(path)
    return paths


def _check_path(path: str) -> None:
    head, _, rest = path.partition(".")
    if head == "gce_setup":
        if not rest:
            raise invalid("the notebooks API does not support gce_setup as a valid mask; name the fields inside of it.")
        field, _, leaf = rest.partition(".")
        if rest == "data_disks.resource_policies":
            return
        if field in _SETUP and (not leaf or field == "metadata" or leaf in _LEAVES.get(field, ())):
            return
    elif path in _TOP or (head == "labels" and rest):
        return
    raise invalid(f"Invalid update_mask: field '{path}' is immutable or does not exist.")


def _metadata_change(instance: Instance, asked: dict[str, str], paths: list[str]) -> dict[str, str]:
    keys = {path.split(".", 2)[2] for path in paths if path.startswith("gce_setup.metadata.")}
    if "gce_setup.metadata" not in paths:
        asked = {key: asked.get(key, "") for key in keys}
    check_metadata(asked)
    current = instance.metadata()
    changed = {key: value for key, value in asked.items() if current.get(key, "") != value and key not in GOOGLE_ONLY}
    fixed = _AT_CREATION_ONLY | (
        {"post-startup-script", "post-startup-script-url"} if "enableManagedEuc" in instance.body else set()
    )
    for key in changed:
        if key in fixed:
            raise invalid(f"Metadata key '{key}' can only be set when the instance is created.")
        if _NEEDS_STOP_METADATA.match(key):
            _require_stopped(instance, f"metadata key '{key}'")
    return changed


def _require_stopped(instance: Instance, what: str) -> None:
    if instance.state != "STOPPED":
        raise ApiError(
            "FAILED_PRECONDITION",
            f"Instance '{instance.name}' must be stopped before {what} can be changed; it is {instance.state}.",
        )


def _merge(current: dict[str, str], change: dict[str, str]) -> dict[str, str]:
    """Return the merged map: an empty value removes its key (Terraform's mergeMaps relies on it)."""
    return {key: value for key, value in {**current, **change}.items() if value != "" or key not in change}


def changed_body(instance: Instance, asked: dict[str, Any], paths: list[str]) -> dict[str, Any]:
    """Return the body of the instance after the update. Raise `ApiError` if the state or the rules forbid the change."""
    _check_one_way(asked, paths)
    body = copy.deepcopy(instance.body)
    setup, wanted = body["gceSetup"], asked.get("gceSetup", {})
    for path in paths:
        head, _, rest = path.partition(".")
        if head == "labels":
            _labels(body, asked.get("labels", {}), rest)
        elif head != "gce_setup":
            _put(body, _TOP[path], asked.get(_TOP[path]))
        elif rest.split(".")[0] in _NEEDS_STOP:
            _require_stopped(instance, f"gce_setup.{rest}")
    if any(path.startswith("gce_setup.metadata") for path in paths):
        setup["metadata"] = _merge(setup["metadata"], _metadata_change(instance, wanted.get("metadata", {}), paths))
    for path in paths:
        head, _, rest = path.partition(".")
        if head == "gce_setup" and not rest.startswith("metadata"):
            _setup_field(instance, setup, wanted, rest)
    check_accelerators(setup)
    check_images(setup)
    return body


def _check_one_way(asked: dict[str, Any], paths: list[str]) -> None:
    """Raise 400 for a change that re-enables a public address or the proxy's access.

    Source: the discovery document, 2026-10-06.
    """
    for path, holder in (("gce_setup.disable_public_ip", asked.get("gceSetup", {})), ("disable_proxy_access", asked)):
        key = _TOP.get(path) or _SETUP[path.rpartition(".")[2]]
        if path in paths and not holder.get(key):
            raise invalid(f"{path} can only be set to true on update: it cannot be re-enabled.")


def _labels(body: dict[str, Any], asked: dict[str, str], only: str) -> None:
    change = {only: asked.get(only, "")} if only else asked
    change = {key: value for key, value in change.items() if key not in _SYSTEM_LABELS}
    merged = _merge(body["labels"], change)
    check_labels(merged)
    body["labels"] = merged


def _put(holder: dict[str, Any], key: str, value: Any) -> None:
    if value in (None, False, [], {}):
        holder.pop(key, None)
    else:
        holder[key] = value


def _setup_field(instance: Instance, setup: dict[str, Any], wanted: dict[str, Any], path: str) -> None:
    field, _, leaf = path.partition(".")
    if path == "data_disks.resource_policies":
        policies = [disk.get("resourcePolicies", []) for disk in wanted.get("dataDisks", [{}])]
        _put(setup["dataDisks"][0], "resourcePolicies", policies[0])
        return
    key = _SETUP[field]
    value = wanted.get(key)
    if field == "machine_type":
        setup[key] = machine_url(instance.project, instance.zone, value or "")
    elif field == "tags":
        check_tags(value or [])
        setup[key] = [*setup["tags"][:2], *(tag for tag in value or [] if tag not in setup["tags"][:2])]
    elif field == "accelerator_configs":
        if len(value or []) > 1:
            raise invalid("At most one element is allowed in gce_setup.accelerator_configs.")
        _put(setup, key, value)
    elif field == "disable_public_ip":
        _put(setup, key, value)
        setup["networkInterfaces"][0].pop("accessConfigs", None)
    elif leaf:
        camel = re.sub(r"_([a-z])", lambda found: found.group(1).upper(), leaf)
        current = setup.setdefault(key, {})
        _put(current, camel, (value or {}).get(camel))
    elif field == "container_image" and "vmImage" in setup:
        raise invalid("An instance with a VM image cannot be given a container image.")
    elif field in {"gpu_driver_config", "shielded_instance_config"}:
        setup[key] = value or {}
    else:
        _put(setup, key, value)
