"""A cluster's body: read by the official client's own message type, checked, and filled in as the real API does."""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Callable
from typing import Any

from google.protobuf import json_format

from emulator.errors import ApiError
from emulator.model.notebooks_rules import COMPUTE, check_labels, invalid

_NAME = re.compile(r"[a-z](?:[-a-z0-9]{0,49}[a-z0-9])?")  # 51 characters at most
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,40}")
_TERM = re.compile(r"""\s*(?P<field>[\w.\-]+)\s*=\s*(?P<value>[^\s"]+|"[^"]*")\s*""")
_ACTIVE = ("CREATING", "UPDATING", "RUNNING")
_MACHINE, _IMAGE = "n2-standard-4", "2.2.63-debian12"
_DISK = {"bootDiskSizeGb": 1000, "bootDiskType": "pd-standard"}


@functools.cache
def _cluster_type() -> Any:
    """The message class; it costs most of a second to import, which only who makes a cluster pays."""
    kind = importlib.import_module("google.cloud.dataproc_v1.types.clusters").Cluster
    return type(kind.pb(kind()))


def check_cluster(body: dict[str, Any], *, project: str) -> dict[str, Any]:
    """The body in canonical form; 400 for an unknown field, a wrong value, a wrong name or label."""
    try:
        message = json_format.ParseDict(body, _cluster_type()())
    except json_format.ParseError as error:
        raise invalid(f"Invalid JSON payload received. {error}") from error
    asked: dict[str, Any] = json_format.MessageToDict(message)
    name = asked.get("clusterName", "")
    if not _NAME.fullmatch(name):
        raise invalid(f"Invalid cluster name '{name}'. Must be a match of regex '{_NAME.pattern}'.")
    if asked.get("projectId", project) != project:
        raise invalid(f"The project '{asked['projectId']}' of the cluster is not '{project}' of the request.")
    check_labels(asked.get("labels", {}))
    return asked


def filled(asked: dict[str, Any], *, project: str, region: str, mark: str) -> dict[str, Any]:
    """The cluster that results: uuid, Google's labels, zone, network and machines as recorded, where the caller left them open.

    The hundred Hadoop properties that the real API works out are not there; those that the caller gave are.
    """
    name = asked["clusterName"]
    uuid = f"{mark[:8]}-{mark[8:12]}-4{mark[12:15]}-8{mark[15:18]}-{mark[18:30]}"
    config = asked.get("config", {})
    gce = {key: value for key, value in config.get("gceClusterConfig", {}).items() if value}
    zone = f"{COMPUTE}projects/{project}/zones/" + gce.get("zoneUri", f"{region}-b").rpartition("/")[2]
    labels = {
        **asked.get("labels", {}),
        "goog-dataproc-cluster-name": name,
        "goog-dataproc-cluster-uuid": uuid,
        "goog-dataproc-drz-resource-uuid": f"cluster-{uuid}",
        "goog-dataproc-location": region,
    }
    if not gce.get("zoneUri"):
        labels["goog-dataproc-autozone"] = "enabled"
    network = {} if gce.get("subnetworkUri") else {"networkUri": f"{COMPUTE}projects/{project}/global/networks/default"}
    full = {
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
            "zoneUri": zone,
        },
        "masterConfig": _group(config.get("masterConfig", {}), zone, 1, f"{name}-m"),
        "workerConfig": _group(config.get("workerConfig", {}), zone, 2, f"{name}-w"),
        "softwareConfig": {"imageVersion": _IMAGE, "properties": {}, **config.get("softwareConfig", {})},
    }
    return {"projectId": project, "clusterName": name, "clusterUuid": uuid, "config": full, "labels": labels}


def without_machines(cluster: dict[str, Any]) -> dict[str, Any]:
    """The cluster as a create's operation answers with it: the names of its machines are left out (recorded)."""
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


def read_request_id(request_id: str) -> None:
    """At most 40 letters, digits, underscores and dashes (facts 9)."""
    if request_id and not _REQUEST_ID.fullmatch(request_id):
        raise invalid(f"Invalid request_id '{request_id}'. It has at most 40 letters, digits, underscores or hyphens.")


def read_filter(text: str) -> Callable[[dict[str, Any]], bool]:
    """What `field = value [AND field = value]...` lets through: `status.state`, `clusterName`, `labels.KEY`; `*` is any value."""
    terms: list[tuple[str, str]] = []
    for part in re.split(r"\sAND\s", text) if text.strip() else []:
        match = _TERM.fullmatch(part)
        if match is None or not (
            match["field"] in ("status.state", "clusterName") or match["field"].startswith("labels.")
        ):
            raise ApiError("INVALID_ARGUMENT", f"Invalid filter: '{text}'.")
        terms.append((match["field"], match["value"].strip('"')))
    return lambda view: all(_holds(view, field, value) for field, value in terms)


def _holds(view: dict[str, Any], field: str, value: str) -> bool:
    if field == "status.state":
        state = view["status"]["state"]
        match value:
            case "ACTIVE":
                return state in _ACTIVE
            case "INACTIVE":
                return state not in _ACTIVE
            case _:
                return bool(value in (state, "*"))
    held = view["clusterName"] if field == "clusterName" else view["labels"].get(field.removeprefix("labels."))
    return held is not None and value in (held, "*")
