"""The body of a cluster: parsed by the official client's own message type, checked, and filled in as the real API does."""

from __future__ import annotations

import functools
import importlib
import json
import re
from datetime import datetime, timedelta
from typing import Any

from google.protobuf import json_format

from emulator.clock import parse_rfc3339, rfc3339
from emulator.errors import not_served
from emulator.model.machine_types import (
    ZONES,
    accelerator_problem,
    default_disk,
    disk_problem,
    machine_problem,
    machine_type,
)
from emulator.model.notebooks_rules import COMPUTE, check_labels, invalid

PERSONAL_AUTH = "dataproc:dataproc.personal-auth.user"
_ZERO_WORKERS = "dataproc:dataproc.allow.zero.workers"
_NAME = re.compile(r"[a-z](?:[-a-z0-9]{0,49}[a-z0-9])?")  # 51 characters at most
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,40}")
_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_MAX_LABELS = 32
_MACHINE, _IMAGE = "n2-standard-4", "2.2.63-debian12"
_GOOGLES_IMAGES = "projects/cloud-dataproc/"
_DISK = {"bootDiskSizeGb": 1000, "bootDiskType": "pd-standard"}
GROUPS = ("masterConfig", "workerConfig", "secondaryWorkerConfig")
_LONGEST = timedelta(days=14)
# The least times to live; the most is 14 days for all three (the client's LifecycleConfig).
_LEAST = {"idleDeleteTtl": timedelta(minutes=5), "autoDeleteTtl": timedelta(minutes=10)}
_STOPS = ("idleStopTtl", "autoStopTime", "autoStopTtl")


@functools.cache
def message_type(name: str) -> Any:
    """Return the client's message class of that name. The import takes most of a second, so it is only done when needed."""
    return getattr(importlib.import_module("google.cloud.dataproc_v1.types"), name).pb()


def read_message(name: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return the body in canonical form; raise 400 for an unknown field, a wrong value, or two fields of a oneof.

    Keys are sorted, because protobuf returns a map's entries in an order that differs between processes.
    """
    try:
        message = json_format.ParseDict(body, message_type(name)())
    except json_format.ParseError as error:
        raise invalid(f"Invalid JSON payload received. {error}") from error
    asked: dict[str, Any] = json.loads(json_format.MessageToJson(message, sort_keys=True))
    return asked


def check_cluster(body: dict[str, Any], *, project: str, region: str, now: datetime) -> dict[str, Any]:
    """Return the body in canonical form; raise 400 for a wrong name, label, zone or time to live, or for contradicting fields."""
    asked = read_message("Cluster", body)
    name = asked.get("clusterName", "")
    if not _NAME.fullmatch(name):
        raise invalid(f"Invalid cluster name '{name}'. Must be a match of regex '{_NAME.pattern}'.")
    if asked.get("projectId", project) != project:
        raise invalid(f"The project '{asked['projectId']}' of the cluster is not '{project}' of the request.")
    check_cluster_labels(asked.get("labels", {}))
    config = asked.get("config", {})
    zone = zone_of(asked)
    if zone and zone not in zones_of(region):
        raise invalid(f"Zone '{zone}' is not in region '{region}' of the cluster.")
    _check_lifecycle(config.get("lifecycleConfig", {}), now)
    _check_personal_auth(config)
    return asked


def check_cluster_labels(labels: dict[str, str]) -> None:
    """Raise 400 for labels against Google's rules, or more than the 32 that Dataproc accepts (the client's Cluster)."""
    check_labels(labels)
    if len(labels) > _MAX_LABELS:
        raise invalid(f"Too many labels: {len(labels)}, the limit is {_MAX_LABELS}.")


def duration(text: str) -> timedelta:
    """Return the duration of a parsed message's text, such as `7200s`."""
    return timedelta(seconds=float(text.removesuffix("s")))


def check_between(field: str, value: timedelta, least: timedelta) -> None:
    """Raise 400 for a time to live below `least` or above the 14 days that Dataproc accepts."""
    if not least <= value <= _LONGEST:
        seconds = f"{least.total_seconds():.0f}s to {_LONGEST.total_seconds():.0f}s"
        raise invalid(f"Invalid value for {field}: {value.total_seconds():.0f}s. It must be from {seconds}.")


def _check_lifecycle(config: dict[str, Any], now: datetime) -> None:
    for field, least in _LEAST.items():
        if field in config:
            check_between(f"lifecycle_config.{field}", duration(config[field]), least)
    if "autoDeleteTime" in config:
        left = parse_rfc3339(config["autoDeleteTime"]) - now
        check_between("lifecycle_config.autoDeleteTime", left, _LEAST["autoDeleteTtl"])
    for field in _STOPS:
        if field in config:  # refused here, or the cluster would never stop
            raise not_served(f"The embedded cloud does not stop clusters: lifecycleConfig.{field}.")


def _check_personal_auth(config: dict[str, Any]) -> None:
    """Raise 400 unless the property names one user's address, and no custom image is used with it (docs/platform-facts.md, 6.1).

    The real API's error text is not known.
    """
    user = config.get("softwareConfig", {}).get("properties", {}).get(PERSONAL_AUTH)
    if user is None:
        return
    if not _ADDRESS.fullmatch(user):
        raise invalid(f"Invalid value '{user}' for property '{PERSONAL_AUTH}': it must be an email address.")
    for group in GROUPS:
        image = config.get(group, {}).get("imageUri", "")
        if image and _GOOGLES_IMAGES not in image:
            raise invalid(f"Personal cluster authentication does not support the custom image '{image}' of {group}.")


def group_problem(project: str, zone: str, group: dict[str, Any]) -> str | None:
    """Return why the zone cannot have the machines of an instance group, in Compute Engine's words; None if it can."""
    if not group:
        return None
    name = str(group.get("machineTypeUri", _MACHINE)).rpartition("/")[2]
    wanted = [
        (
            str(each.get("acceleratorTypeUri", "")).rpartition("/")[2].upper().replace("-", "_"),
            int(each.get("acceleratorCount", 0)),
        )
        for each in group.get("accelerators", [])
    ]
    problem = machine_problem(project, zone, name, accelerator=wanted[0][0] if wanted else "")
    machine = machine_type(name)
    if problem is not None or machine is None:
        return problem
    disk = group.get("diskConfig", {}).get("bootDiskType", default_disk(machine)).upper().replace("-", "_")
    problems = [accelerator_problem(project, zone, machine, *each) for each in wanted]
    return next(filter(None, [*problems, disk_problem(machine, disk, boot=True)]), None)


def compute_path(project: str, region: str, key: str, uri: str) -> str:
    """Return the path of a network or subnetwork that a cluster names by URL, path or short name; "" if it names none."""
    if not uri:
        return ""
    tail = uri.partition("projects/")[2]
    if tail:
        return f"projects/{tail}"
    name = uri.rpartition("/")[2]
    return (
        f"projects/{project}/global/networks/{name}"
        if key == "networkUri"
        else f"projects/{project}/regions/{region}/subnetworks/{name}"
    )


@functools.cache
def zones_of(region: str) -> tuple[str, ...]:
    """Return the region's zones."""
    return tuple(zone for zone in ZONES if zone.rpartition("-")[0] == region)


def zone_of(asked: dict[str, Any]) -> str:
    """Return the zone that the caller names by URL, partial URI or short name; "" if the service picks the zone (Auto Zone)."""
    return str(asked.get("config", {}).get("gceClusterConfig", {}).get("zoneUri", "")).rpartition("/")[2]


def filled(asked: dict[str, Any], *, project: str, region: str, zone: str, mark: str, now: datetime) -> dict[str, Any]:
    """Return the resulting cluster: uuid, Google's labels, and zone, network and machines as recorded if the caller did not set them.

    The caller's Hadoop properties are included, but not the hundred that the real API computes.
    """
    name = asked["clusterName"]
    uuid = uuid_of(mark)
    config = asked.get("config", {})
    gce = {key: value for key, value in config.get("gceClusterConfig", {}).items() if value}
    place = f"{COMPUTE}projects/{project}/zones/{zone}"
    labels = {**asked.get("labels", {}), **_googles_labels(name, uuid, region)}
    if not gce.get("zoneUri"):
        labels["goog-dataproc-autozone"] = "enabled"
    network = {} if gce.get("subnetworkUri") else {"networkUri": f"{COMPUTE}projects/{project}/global/networks/default"}
    full: dict[str, Any] = {
        "configBucket": f"dataproc-staging-{region}-{mark[:12]}",
        "tempBucket": f"dataproc-temp-{region}-{mark[:12]}",
        "endpointConfig": {},
        **config,
        "gceClusterConfig": {
            **network,
            "internalIpOnly": True,
            "serviceAccountScopes": ["https://www.googleapis.com/auth/cloud-platform"],
            "shieldedInstanceConfig": {"enableIntegrityMonitoring": True, "enableSecureBoot": True, "enableVtpm": True},
            **gce,
            "zoneUri": place,
        },
        "masterConfig": _group(config.get("masterConfig", {}), place, 1, f"{name}-m"),
        "softwareConfig": {"imageVersion": _IMAGE, "properties": {}, **config.get("softwareConfig", {})},
    }
    full["endpointConfig"].pop("httpPorts", None)  # output only
    full.pop("workerConfig", None)
    workers = _workers(config)
    if workers:  # a single-machine cluster has no such group (inferred)
        full["workerConfig"] = _group(config.get("workerConfig", {}), place, workers, f"{name}-w")
    extra = config.get("secondaryWorkerConfig", {})
    if extra.get("numInstances"):
        full["secondaryWorkerConfig"] = _secondary(extra, place, f"{name}-sw", mark)
    if "lifecycleConfig" in config:
        full["lifecycleConfig"] = _lifecycle(config["lifecycleConfig"], now)
    return {"projectId": project, "clusterName": name, "clusterUuid": uuid, "config": full, "labels": labels}


def _googles_labels(name: str, uuid: str, region: str) -> dict[str, str]:
    # the labels of every cluster (recorded)
    return {
        "goog-dataproc-cluster-name": name,
        "goog-dataproc-cluster-uuid": uuid,
        "goog-dataproc-drz-resource-uuid": f"cluster-{uuid}",
        "goog-dataproc-location": region,
    }


def uuid_of(mark: str) -> str:
    """Return a UUID from 32 hexadecimal digits."""
    return f"{mark[:8]}-{mark[8:12]}-4{mark[12:15]}-8{mark[15:18]}-{mark[18:30]}"


def _lifecycle(asked: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Return the lifecycle as it is read back.

    `ttl` is a oneof that is stored as a time, counted from the request (docs: scheduled deletion).
    """
    kept: dict[str, Any] = {key: asked[key] for key in ("idleDeleteTtl", "autoDeleteTime") if key in asked}
    if "autoDeleteTtl" in asked:
        kept["autoDeleteTime"] = rfc3339(now + duration(asked["autoDeleteTtl"]))
    return kept


def _workers(config: dict[str, Any]) -> int:
    """Return the number of workers.

    A message does not distinguish 0 from unset, so the property that allows zero workers decides.
    """
    count = int(config.get("workerConfig", {}).get("numInstances", 0))
    single = config.get("softwareConfig", {}).get("properties", {}).get(_ZERO_WORKERS) == "true"
    return count if count or single else 2


def workers_of(cluster: dict[str, Any]) -> int:
    """Return the number of primary workers of a cluster that `filled` returned."""
    return int(cluster["config"].get("workerConfig", {}).get("numInstances", 0))


def without_machines(cluster: dict[str, Any]) -> dict[str, Any]:
    """Return the cluster as in the response of a create operation. A recorded response of the real API has no `instanceNames`."""
    config = {
        key: {k: v for k, v in value.items() if k != "instanceNames"} if key.endswith("Config") else value
        for key, value in cluster["config"].items()
    }
    return cluster | {"config": config}


def _group(asked: dict[str, Any], zone: str, usual: int, stem: str) -> dict[str, Any]:
    count = asked.get("numInstances", usual)
    names = [stem] if stem.endswith("-m") and count == 1 else [f"{stem}-{number}" for number in range(count)]
    return {
        "imageUri": f"{COMPUTE}projects/cloud-dataproc/global/images/dataproc-{_IMAGE.replace('.', '-')}",
        "machineTypeUri": f"{zone}/machineTypes/{_MACHINE}",
        "minCpuPlatform": "AUTOMATIC",
        "preemptibility": "NON_PREEMPTIBLE",
        **asked,
        "diskConfig": _DISK | asked.get("diskConfig", {}),
        "numInstances": count,
        "instanceNames": names,
    }


def _secondary(asked: dict[str, Any], zone: str, stem: str, mark: str) -> dict[str, Any]:
    """Return the group of secondary workers: preemptible unless the caller says otherwise, and managed by Compute Engine."""
    group = _group({"preemptibility": "PREEMPTIBLE", **asked}, zone, 0, stem)
    manager = f"dataproc-{mark[:8]}-{stem}"
    return {
        **group,
        "instanceNames": [f"{stem}-{mark[4 * n : 4 * n + 4]}" for n in range(group["numInstances"])],
        "isPreemptible": group["preemptibility"] != "NON_PREEMPTIBLE",
        "managedGroupConfig": {
            "instanceGroupManagerName": manager,
            "instanceGroupManagerUri": f"{zone}/instanceGroupManagers/{manager}",
            "instanceTemplateName": f"dataproc-{mark[8:16]}-{stem}",
        },
    }


def read_request_id(request_id: str) -> None:
    """Raise 400 unless the id is empty or has at most 40 letters, digits, underscores and dashes (docs/platform-facts.md#64-names-and-limits)."""
    if request_id and not _REQUEST_ID.fullmatch(request_id):
        raise invalid(f"Invalid request_id '{request_id}'. It has at most 40 letters, digits, underscores or hyphens.")
