"""The check of master templates of clusters: the kind of the file, its fields, their values, and the lifetime of a cluster.

All faults are found at once. A field that Benchkeeper ignores or adds gives a note. The limits are Dataproc's
(docs/platform-facts.md, 4.3).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from shared.cloud.dataproc.cluster_fields import GROUPS, JUPYTER, OUTPUT_ONLY, PERSONAL_AUTH_USER, SET_HERE
from shared.cloud.dataproc.message_check import GONE, seconds_of, section_of, shape_findings
from shared.cloud.dataproc.template_context import (
    TemplateContext,
    bucket_findings,
    machine_findings,
    of_one_cluster,
    place_findings,
)
from shared.cloud.dataproc.types import CLUSTER
from shared.cloud.dataproc.versions import cluster_image
from shared.domain.things.catalog import SESSION_KINDS
from shared.faults import Finding, Loc

_DAY_S = 86_400
_MOST_S = 14 * _DAY_S
# Seconds: the least of each time to live [PY: clusters.py LifecycleConfig].
_LEAST_S = {"idleDeleteTtl": 300, "autoDeleteTtl": 600, "idleStopTtl": 300, "autoStopTtl": 600}
_NEEDED = {"idleDeleteTtl": "7200s", "autoDeleteTtl": "172800s"}
_LIFECYCLE: Loc = ("config", "lifecycleConfig")
_MAPPING: Loc = ("config", "securityConfig", "identityConfig", "userServiceAccountMapping")


def cluster_findings(data: Mapping[str, Any], context: TemplateContext) -> Iterator[Finding]:
    """Yield all faults and notes of a master template of clusters. For a file that describes something else, yield only that fault."""
    kind = other_kind(data)
    if kind is not None:
        yield kind
        return
    for key in SET_HERE:
        if key in data:
            yield Finding(
                (key,), f"'{key}' is ignored: Benchkeeper sets it for each user, or Dataproc itself", is_note=True
            )
    config = section_of(data, "config")
    for loc in OUTPUT_ONLY:
        if loc[-1] in section_of(config, *map(str, loc[:-1])):
            yield Finding(("config", *loc), f"'{loc[-1]}' is ignored: only Dataproc writes it", is_note=True)
    for key in ("runtimeConfig", "environmentConfig"):
        if key in data:
            yield Finding((key,), f"unknown field '{key}'", "It belongs to a template of serverless sessions.")
    yield from shape_findings(data, CLUSTER, left_out=SET_HERE)
    yield from _values(data, config, context)
    yield from _software(config, context, data.get("clusterName"))
    yield from _lifecycle(config)
    yield from _added(config)


def other_kind(data: Mapping[str, Any]) -> Finding | None:
    """Return the finding for a file that clearly describes something other than one cluster; None for any other file."""
    written = next((kind for kind in SESSION_KINDS if kind in data), None)
    if written is not None:  # the kind is decided by the text alone
        return Finding(
            (written,),
            f"'{written}' is not at the beginning of a line, or is in quotes",
            f"Write {written}: on a separate line.",
        )
    if "config" in data or "virtualClusterConfig" in data:
        return None
    return next((Finding((key,), problem, hint) for key, problem, hint in _KINDS if key in data), None)


_CLUSTER, _OWN_FILE = "Write a cluster with config.", "Write each cluster to a separate file."
_SESSIONS = "this is a template of serverless sessions without its kind"
_KIND_FIRST = "Write jupyterSession: {} at the top, and name it under session_templates."
_BATCHES = ("pysparkBatch", "sparkBatch", "sparkSqlBatch", "sparkRBatch")
_IN_CONFIG = (*GROUPS, "gceClusterConfig", "softwareConfig", "lifecycleConfig", "endpointConfig")
# (a key at the top of a file without `config`, the kind of such a file, what to do). The first key that is found decides.
_KINDS: tuple[tuple[str, str, str], ...] = (
    ("apiVersion", "this is a Kubernetes manifest, not a cluster template", _CLUSTER),
    *((key, "this is a batch, not a cluster template", _CLUSTER) for key in _BATCHES),
    ("runtimeConfig", _SESSIONS, _KIND_FIRST),
    ("environmentConfig", _SESSIONS, _KIND_FIRST),
    ("clusters", "this is a list of clusters", _OWN_FILE),
    ("cluster", "this is a request to the API, not a template", "Move the content of cluster to the top of the file."),
    ("placement", "this is a workflow template, not a cluster template", _CLUSTER),
    ("jobs", "this is a workflow template, not a cluster template", _CLUSTER),
    ("basicAlgorithm", "this is an autoscaling policy, not a cluster template", _CLUSTER),
    ("gceSetup", "this is a Workbench instance, not a cluster template", _CLUSTER),
    ("resources", "this is a list of resources, not a cluster template", _OWN_FILE),
    ("resource", "this is Terraform, not a cluster template", _CLUSTER),
    *((key, f"'{key}' belongs under config", "Write config: at the top, and move it below.") for key in _IN_CONFIG),
)


def not_a_mapping(text: str) -> Finding | None:
    """Return the finding about YAML that is a list or has several documents; None if neither is the case."""
    if re.search(r"^---\s*$", text.strip().removeprefix("---"), re.MULTILINE):
        return Finding((), "the file has several documents", "Write each template to a separate file.")
    if re.match(r"(\s*#[^\n]*\n|\s)*[-\[]", text):
        return Finding((), "this is a list; a template describes one cluster", "Write each cluster to a separate file.")
    return None


def _values(data: Mapping[str, Any], config: Mapping[str, Any], context: TemplateContext) -> Iterator[Finding]:
    masters = section_of(config, "masterConfig").get("numInstances")
    if isinstance(masters, int) and masters not in {1, 3}:
        yield Finding(
            ("config", "masterConfig", "numInstances"),
            f"{masters} masters are not possible",
            f"Did you mean {3 if masters > 1 else 1}? Valid: 1 or 3.",
        )
    gce, loc = section_of(config, "gceClusterConfig"), ("config", "gceClusterConfig")
    zone = gce.get("zoneUri")
    if isinstance(zone, str) and zone:
        yield from _zone(zone, (*loc, "zoneUri"), context)
    yield from place_findings(gce.get("subnetworkUri"), (*loc, "subnetworkUri"), context)
    if gce.get("networkUri") and gce.get("subnetworkUri"):
        yield Finding(
            (*loc, "networkUri"),
            "'subnetworkUri' is given, too, and Dataproc accepts only one of the two",
            "Remove networkUri.",
        )
    elif gce.get("networkUri") and context.has_subnet:
        yield Finding(
            (*loc, "networkUri"),
            "it is ignored: the settings name network.subnet, and Dataproc accepts only one of the two",
            is_note=True,
        )
    for bucket in ("configBucket", "tempBucket"):
        yield from bucket_findings(config.get(bucket), ("config", bucket), context)
    yield from machine_findings(config, ("config",), context)
    mapping = section_of(data, *map(str, _MAPPING))
    if mapping:
        yield Finding(_MAPPING, "it names people; Benchkeeper sets it for each user", "Remove it.")
    yield from of_one_cluster(gce.get("metadata"), (*loc, "metadata"), data.get("clusterName"))


def _zone(said: str, loc: Loc, context: TemplateContext) -> Iterator[Finding]:
    zone = said.rpartition("/")[2]
    verdict = context.table.zone(zone)
    if verdict is not None and not verdict.is_note:
        yield Finding(loc, verdict.problem, verdict.hint)
    elif context.region and zone.rpartition("-")[0] != context.region:
        near = context.zones[0] if context.zones else context.region
        yield Finding(
            loc,
            f"'{zone}' is in another region than the settings' zones",
            f"Did you mean '{near}'? You can also remove it: Benchkeeper sets the zone.",
        )


def _software(config: Mapping[str, Any], context: TemplateContext, cluster: Any) -> Iterator[Finding]:
    software, loc = section_of(config, "softwareConfig"), ("config", "softwareConfig")
    version = software.get("imageVersion")
    if isinstance(version, str) and version and (verdict := cluster_image(context.table, version)) is not None:
        yield Finding((*loc, "imageVersion"), verdict.problem, verdict.hint, verdict.is_note)
    components = software.get("optionalComponents")
    for index, each in enumerate(components if isinstance(components, list) else []):
        here = (*loc, "optionalComponents", index)
        if each == "COMPONENT_UNSPECIFIED":
            yield Finding(here, f"'{each}' is not a component", "Remove it.")
        elif isinstance(each, str) and each in GONE:
            yield Finding(here, f"'{each}' is not possible: {GONE[each]}", "Remove it.")
    properties = software.get("properties")
    if isinstance(properties, dict) and PERSONAL_AUTH_USER in properties:
        yield Finding((*loc, "properties", PERSONAL_AUTH_USER), "is set by Benchkeeper for each user", "Remove it.")
        properties = {key: value for key, value in properties.items() if key != PERSONAL_AUTH_USER}
    yield from of_one_cluster(properties, (*loc, "properties"), cluster)
    for key in properties if isinstance(properties, dict) else ():
        if ":" not in str(key):  # [PY: clusters.py SoftwareConfig.properties]
            first = str(key).partition(".")[0]
            yield Finding(
                (*loc, "properties", str(key)),
                "the file is missing: a property is written FILE:PROPERTY",
                f"Did you mean '{first}:{key}'?",
            )


def _lifecycle(config: Mapping[str, Any]) -> Iterator[Finding]:
    lifecycle = section_of(config, "lifecycleConfig")
    if "autoDeleteTime" in lifecycle and lifecycle["autoDeleteTime"] is not None:
        problem = "a fixed time deletes all users' clusters at once, and none can be started after it"
        yield Finding(
            (*_LIFECYCLE, "autoDeleteTime"),
            problem,
            "Write autoDeleteTtl in its place, for example autoDeleteTtl: 172800s.",
        )
    if lifecycle.get("autoStopTime") is not None:
        yield Finding(
            (*_LIFECYCLE, "autoStopTime"),
            "a fixed time is the same for all users' clusters",
            "Write autoStopTtl.",
        )
    for field, least in _LEAST_S.items():
        seconds = seconds_of(lifecycle.get(field))
        if seconds is not None and not least <= seconds <= _MOST_S:
            near = least if seconds < least else _MOST_S
            yield Finding(
                (*_LIFECYCLE, field),
                f"{lifecycle[field]} is not possible",
                f"The nearest is {near}s. Valid: {least}s to {_MOST_S}s.",
            )
    yield from _missing_limits(lifecycle)


def _missing_limits(lifecycle: Mapping[str, Any]) -> Iterator[Finding]:
    never = "a forgotten cluster would cost money for ever"
    absent = [
        field
        for field in _NEEDED
        if field not in lifecycle and not (field == "autoDeleteTtl" and lifecycle.get("autoDeleteTime"))
    ]
    for field, example in _NEEDED.items():
        if field in lifecycle and lifecycle[field] is None:
            hint = f"For example {field}: {example}. Valid: {_LEAST_S[field]}s to {_MOST_S}s."
            yield Finding((*_LIFECYCLE, field), f"is empty: {never}", hint)
    if absent:
        said = " and ".join(f"{field}: {_NEEDED[field]}" for field in absent)
        yield Finding(_LIFECYCLE, f"needs {' and '.join(absent)}: {never}", f"For example {said}.")
    idle, age = (seconds_of(lifecycle.get(field)) for field in _NEEDED)
    if idle is not None and age is not None and age < idle <= _MOST_S:
        yield Finding((*_LIFECYCLE, "idleDeleteTtl"), "it has no effect: autoDeleteTtl comes first", is_note=True)


def _added(config: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield a note for each setting that Benchkeeper adds, as Dataproc Hub did. Without them, the page has no link to the cluster."""
    endpoint = config.get("endpointConfig")
    access = endpoint.get("enableHttpPortAccess") if isinstance(endpoint, dict) else None
    if access is None or access is False:
        loc: Loc = (
            ("config", "endpointConfig") if access is None else ("config", "endpointConfig", "enableHttpPortAccess")
        )
        yield Finding(
            loc,
            "Benchkeeper turns enableHttpPortAccess on, as Dataproc Hub did, because the page could not link to the cluster otherwise",
            is_note=True,
        )
    components = section_of(config, "softwareConfig").get("optionalComponents")
    if components is None or (isinstance(components, list) and JUPYTER not in components):
        yield Finding(
            ("config", "softwareConfig", "optionalComponents"),
            f"Benchkeeper adds {JUPYTER}, as Dataproc Hub did",
            is_note=True,
        )
