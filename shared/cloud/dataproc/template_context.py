"""The part of the settings that the check of master templates needs, `TemplateContext`, and the checks against it.

These are the checks of zones, buckets, machines, disks, accelerators, and values of one particular cluster.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from shared.cloud.dataproc.cluster_fields import GROUPS
from shared.cloud.dataproc.message_check import section_of, shown
from shared.compute_table import Table, Verdict
from shared.faults import Finding, Loc

_LEAST_DISK_GB = 10
_REGION_IN = re.compile(r"(?:^|/)(?:regions/(?P<region>[^/]+)|zones/(?P<zone>[^/]+))(?:/|$)")
_ADDRESS = re.compile(r"(?<![\w.+-])(?!_HOST@)[\w.+-]+@[\w-]+(\.[\w-]+)+")
_ACCOUNT = ".gserviceaccount.com"
_OWN_BUCKET = re.compile(r"dataproc-(?:staging|temp)-([a-z]+-[a-z]+\d+)-[a-z0-9-]+")
_OLD_BUCKET = re.compile(r"\bdataproc-(?:staging|temp)-[a-z0-9-]+")
# Dataproc names a cluster's machines CLUSTER-m, CLUSTER-m-0, CLUSTER-w-0 and CLUSTER-sw-abcd.
_OLD_HOST = re.compile(r"(?<![\w.-])(?<!gs://)[a-z][a-z0-9-]*-(?:m(?:-\d)?|s?w-[a-z0-9]+)(?=[.:/,;\s]|$)")
# Properties that say where a cluster's own services are.
_OWN_PLACE = re.compile(
    r"(?:resourcemanager|nodemanager|namenode|jobhistory|historyServer|timeline-service)\S*\.\S*(?:hostname|address)$|fs\.default(?:FS|\.name)$"
)
_ANYWHERE = re.compile(r"^(?:0\.0\.0\.0|localhost|127\.|gs:|file:|hdfs:///|\$\{)|^$")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_OF_ONE_PERSON = {"dataproc:dataproc.exclusive.user", "dataproc:dataproc.personal-auth.user"}


class TemplateContext(Struct, frozen=True, kw_only=True):
    """The settings against which master templates are checked. `region` and `zones` are empty if unknown.

    `has_subnet` is True if the settings name a subnetwork. `table` is the shipped table of Google Cloud's machine types and
    versions.
    """

    table: Table
    region: str = ""
    zones: tuple[str, ...] = ()
    has_subnet: bool = False


def place_findings(said: Any, loc: Loc, context: TemplateContext) -> Iterator[Finding]:
    """Yield a fault if a resource name is of another region than the settings'."""
    match = _REGION_IN.search(said) if isinstance(said, str) else None
    if match is None or not context.region:
        return
    region = match["region"] or match["zone"].rpartition("-")[0]
    if region and region != context.region:
        yield Finding(
            loc,
            f"it is in {region}, and the settings' zones are in {context.region}",
            f"Name one of {context.region}, or remove it.",
        )


def bucket_findings(said: Any, loc: Loc, context: TemplateContext) -> Iterator[Finding]:
    """Yield a fault if Dataproc's own bucket of another region is named.

    Yield a note for the bucket that Dataproc uses by default.
    """
    match = _OWN_BUCKET.fullmatch(said) if isinstance(said, str) else None
    if match is None:
        return
    if context.region and match[1] != context.region:
        yield Finding(
            loc,
            f"it is Dataproc's own bucket of {match[1]}, and the settings' zones are in {context.region}",
            "Remove it.",
        )
    else:
        yield Finding(
            loc,
            "it is the bucket that Dataproc creates by default, perhaps of an old project; without this line Dataproc uses its own",
            is_note=True,
        )


def machine_findings(config: Mapping[str, Any], loc: Loc, context: TemplateContext) -> Iterator[Finding]:
    """Yield the faults and notes of machine types, disks and accelerators of all groups of a cluster."""
    zone = str(section_of(config, "gceClusterConfig").get("zoneUri") or "").rpartition("/")[2]
    zones = (zone,) if zone else context.zones
    workers = section_of(config, "workerConfig").get("machineTypeUri")
    for name in GROUPS:
        group, here = section_of(config, name), (*loc, name)
        said = group.get("machineTypeUri") or (workers if name == "secondaryWorkerConfig" else None)
        machine = said.rpartition("/")[2] if isinstance(said, str) else ""
        if group.get("machineTypeUri") and machine:
            yield from place_findings(said, (*here, "machineTypeUri"), context)
            yield from _judged(context.table.machine(machine, zones), (*here, "machineTypeUri"))
        size = section_of(group, "diskConfig").get("bootDiskSizeGb")
        if isinstance(size, int) and 0 < size < _LEAST_DISK_GB:
            hint = f"Valid: {_LEAST_DISK_GB} or more."
            yield Finding((*here, "diskConfig", "bootDiskSizeGb"), f"{size} GB are too small", hint)
        disk = section_of(group, "diskConfig").get("bootDiskType")
        if isinstance(disk, str) and disk:
            yield from _judged(
                context.table.disk(disk.rpartition("/")[2], machine, zones, boots=True),
                (*here, "diskConfig", "bootDiskType"),
            )
        yield from _accelerators(group.get("accelerators"), (*here, "accelerators"), machine, zones, context.table)


def _accelerators(listed: Any, loc: Loc, machine: str, zones: tuple[str, ...], table: Table) -> Iterator[Finding]:
    for index, each in enumerate(listed if isinstance(listed, list) else []):
        said, count = (
            (each.get("acceleratorTypeUri"), each.get("acceleratorCount", 1)) if isinstance(each, dict) else (None, 1)
        )
        if isinstance(said, str) and isinstance(count, int):
            verdict = table.accelerator(said.rpartition("/")[2], count, machine, zones)
            yield from _judged(verdict, (*loc, index, "acceleratorTypeUri"))


def _judged(verdict: Verdict | None, loc: Loc) -> Iterator[Finding]:
    if verdict is not None:
        yield Finding(loc, verdict.problem, verdict.hint, verdict.is_note)


def of_one_cluster(values: Any, loc: Loc, cluster: Any = None) -> Iterator[Finding]:
    """Yield a fault for each property or metadata value that refers to one particular old cluster.

    Such a value names a person, a machine, a bucket or the cluster itself.

    `cluster` is the old cluster's name if the file still has it.
    """
    for key, value in values.items() if isinstance(values, dict) else ():
        problem = _named(str(key), str(value), cluster) if isinstance(value, str) else ""
        if problem:
            yield Finding((*loc, str(key)), f"{problem}, and would be on every user's cluster", "Remove it.")


def _named(key: str, value: str, cluster: Any) -> str:
    if key in _OF_ONE_PERSON:
        return f"it names one person, {shown(value)}"
    address = _ADDRESS.search(value)
    if address is not None and not address[0].endswith(_ACCOUNT):
        return f"it names one person, '{address[0]}'"
    if (bucket := _OLD_BUCKET.search(value)) is not None:
        return f"it names the bucket of an old cluster, '{bucket[0]}'"
    if (uuid := _UUID.search(value)) is not None:
        return f"it names one old cluster, '{uuid[0]}'"
    if isinstance(cluster, str) and cluster and re.search(rf"(?<![\w-]){re.escape(cluster)}(?![\w])", value):
        return f"it names one old cluster, '{cluster}'"
    if (host := _OLD_HOST.search(value)) is not None:
        return f"it names a machine of an old cluster, '{host[0]}'"
    if _OWN_PLACE.search(key) is not None and _ANYWHERE.match(value) is None:
        return f"it names a machine of an old cluster, {shown(value)}"
    return ""
