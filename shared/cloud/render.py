"""Master cluster templates -> a user's own, and the check of masters. Parsed, set, validated; never text substitution.

The oracle is the Dataproc API's own message type (`shared.cloud.dataproc_types`): what it does not know by name is a fault
with its line.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.domain.catalog import MasterTemplate
from shared.domain.errors import InvalidSpecError
from shared.domain.identity import label_value
from shared.domain.record import UserRecord
from shared.faults import ConfigFault, Loc, dotted, line_of, nearest

PERSONAL_AUTH_USER = "dataproc:dataproc.personal-auth.user"
MAX_CLUSTER_NAME = 51
# What Benchkeeper sets for each user; a master that says it too would be overruled without a word.
SET_HERE = ("clusterName", "projectId", "labels", "clusterUuid", "status", "statusHistory", "metrics")


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderTarget:
    """Where the user's clusters will be: project, subnetwork ("" = the default network), and the bucket of Benchkeeper itself.

    Clusters stage their files elsewhere: in what the master names, else in Dataproc's own bucket of the region.
    """

    project: str
    bucket: str
    subnet: str


def render(master: MasterTemplate, record: UserRecord, target: RenderTarget) -> bytes:
    """The user's cluster template as YAML (cluster-export form), valid for the Dataproc API."""
    import yaml

    from shared.yaml_lines import YamlFaultError, load_yaml

    try:
        data, _ = load_yaml(master.text)
    except YamlFaultError as error:
        raise _invalid(master.name, error.problem) from error
    cluster = {key: value for key, value in data.items() if key not in SET_HERE}
    cluster["projectId"] = target.project
    cluster["clusterName"] = cluster_name(master.name, record)
    cluster["labels"] = {
        "managed-by": "benchkeeper",
        "benchkeeper-user": record.user_key,
        "benchkeeper-template": label_value(master.name),
        **({"cost-center": label_value(record.cost_center)} if record.cost_center else {}),
    }
    if dataproc_problem(cluster) is not None:  # before anything is set inside: a section may be no mapping
        raise _invalid(master.name, dataproc_problem(cluster) or "")
    config = _within(cluster, "config")
    if target.bucket in {config.get("configBucket"), config.get("tempBucket")}:
        raise _invalid(
            master.name, f"clusters cannot stage their files in {target.bucket}: who runs one could rewrite records"
        )
    _within(_within(config, "softwareConfig"), "properties")[PERSONAL_AUTH_USER] = record.email
    if target.subnet:
        _within(config, "gceClusterConfig")["subnetworkUri"] = target.subnet
    problem = dataproc_problem(cluster)
    if problem is not None:
        raise _invalid(master.name, problem)
    return yaml.safe_dump(cluster, sort_keys=True, allow_unicode=True, default_flow_style=False, width=10_000).encode()


def cluster_name(template: str, record: UserRecord) -> str:
    """`<template>-<12 hex of the user key>`: lower case, digits, dashes, at most 51 characters."""
    digits = record.user_key.rpartition("-")[2]
    stem = re.sub(r"[^a-z0-9]+", "-", template.lower()).strip("-")[: MAX_CLUSTER_NAME - 1 - len(digits) - 2]
    stem = stem if stem[:1].isalpha() else f"c-{stem}"
    return f"{stem.strip('-')}-{digits}"


def check_masters(masters: Mapping[str, MasterTemplate], folder: str) -> list[ConfigFault]:
    """Everything that is wrong with the masters: file, line, field, nearest valid name."""
    return [fault for master in masters.values() for fault in _check(master, f"{folder}/{master.name}.yaml")]


def _check(master: MasterTemplate, path: str) -> list[ConfigFault]:
    from shared.yaml_lines import YamlFaultError, load_yaml

    try:
        data, lines = load_yaml(master.text)
    except YamlFaultError as error:
        return [ConfigFault(path, error.line, "", error.problem, "")]
    faults: list[ConfigFault] = []
    from shared.cloud.dataproc_types import cluster_type

    _unknown_fields(data, cluster_type().DESCRIPTOR, (), path, lines, faults)
    faults += [
        ConfigFault(path, line_of(lines, (key,)), key, f"'{key}' is set by Benchkeeper for each user", "Remove it.")
        for key in SET_HERE
        if key in data
    ]
    if PERSONAL_AUTH_USER in _section(data, "config", "softwareConfig", "properties"):
        loc: Loc = ("config", "softwareConfig", "properties", PERSONAL_AUTH_USER)
        problem = "is set by Benchkeeper for each user"
        faults.append(ConfigFault(path, line_of(lines, loc), dotted(loc), problem, "Remove it."))
    return faults or _check_values(data, lines, path)


def _check_values(data: dict[str, Any], lines: dict[Loc, int], path: str) -> list[ConfigFault]:
    problem = dataproc_problem(data)
    if problem is not None:
        return [ConfigFault(path, 0, "", problem, "See the Dataproc API's Cluster message.")]
    lifecycle = _section(data, "config", "lifecycleConfig")
    if "idleDeleteTtl" in lifecycle and {"autoDeleteTtl", "autoDeleteTime"} & set(lifecycle):
        return []
    return [
        ConfigFault(
            path,
            line_of(lines, ("config", "lifecycleConfig")),
            "config.lifecycleConfig",
            "needs idleDeleteTtl and autoDeleteTtl: a forgotten cluster must not bill for ever",
            "For example idleDeleteTtl: 7200s and autoDeleteTtl: 172800s.",
        )
    ]


def _within(parent: dict[str, Any], key: str) -> dict[str, Any]:
    """The section of that name; one that is missing or was left empty is made."""
    if not parent.get(key):  # null, {} and []: the API's own reader takes all three as empty
        parent[key] = {}
    section: dict[str, Any] = parent[key]
    return section


def _section(data: Any, *path: str) -> dict[str, Any]:
    """A nested mapping; empty when it, or something above it, is no mapping."""
    for part in path:
        data = data.get(part) if isinstance(data, dict) else None
    return data if isinstance(data, dict) else {}


def _unknown_fields(
    value: Any, descriptor: Any, loc: Loc, path: str, lines: dict[Loc, int], faults: list[ConfigFault]
) -> None:
    """Walk data and message type together; the type's field names are the valid keys."""
    if not isinstance(value, dict) or descriptor.full_name.startswith("google.protobuf."):
        return
    fields = {field.json_name: field for field in descriptor.fields}
    for key, inner in value.items():
        here = (*loc, str(key))
        field = fields.get(str(key))
        if field is None:
            close = difflib.get_close_matches(str(key), fields, n=1, cutoff=0.4)
            hint = f"Did you mean '{close[0]}'?" if close else nearest(str(key), fields)
            faults.append(ConfigFault(path, line_of(lines, here), dotted(here), f"unknown field '{key}'", hint))
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            items = inner if isinstance(inner, list) else [inner]
            for index, item in enumerate(items):
                where = (*here, index) if isinstance(inner, list) else here
                _unknown_fields(item, field.message_type, where, path, lines, faults)


def dataproc_problem(cluster: Mapping[str, Any]) -> str | None:
    """What the Dataproc API's own type says against it, None when it takes it."""
    from google.protobuf import json_format

    from shared.cloud.dataproc_types import cluster_type

    try:
        json_format.ParseDict(dict(cluster), cluster_type()())
    except (json_format.ParseError, TypeError, ValueError, AttributeError) as error:
        return str(error).replace("\n", " ")
    return None


def _invalid(name: str, problem: str) -> InvalidSpecError:
    return InvalidSpecError(
        user_message=f"The cluster template '{name}' is not valid; an administrator must mend it.",
        detail=f"template {name}: {problem}",
    )
