"""The check that no profile offers clusters larger than the profile allows.

Called with the whole configuration (`shared.checking.check_all`).

An unknown or unlimited size is a fault: a machine type whose name has no size, or workers that an autoscaling policy
adds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from shared.cloud.dataproc.message_check import section_of
from shared.cloud.dataproc.template_size import machine_size, size_of
from shared.domain.things.catalog import MasterTemplate, SparkSettings
from shared.faults import ConfigFault, Loc, Place, dotted, line_of

_GROUPS = ("masterConfig", "workerConfig", "secondaryWorkerConfig")
_SIZED = "Valid: a type whose name contains the vCPUs, such as n2-standard-8 or n2-custom-8-32768."


def check_sizes(profiles: Place, masters: Mapping[str, MasterTemplate], folder: Path) -> list[ConfigFault]:
    """Return the faults: each offer that is too large (in profiles.yaml), and each setting that makes an offered template's size unknown or unlimited.

    The fault of a setting names the template's own file.
    """
    offers = [
        (name, index, template.strip())
        for name in profiles.section("profiles")
        for index, template in enumerate(profiles.items("profiles", name, "templates"))
        if isinstance(template, str) and template.strip() in masters and not masters[template.strip()].is_session
    ]
    unbounded = {name: _unbounded(masters[name], folder) for name in sorted({template for *_, template in offers})}
    faults = [fault for found in unbounded.values() for fault in found]
    for name, index, template in offers:
        most = profiles.at("profiles", name, "spark", "max_vcpus")
        most = most if isinstance(most, int) else SparkSettings().max_vcpus
        size = None if unbounded[template] else size_of(masters[template])
        if size is not None and size.vcpus is not None and size.vcpus > most:
            problem = f"the clusters of '{template}' have {size.vcpus} vCPUs, and this profile allows {most}"
            hint = "Make the template smaller, raise spark.max_vcpus of the profile, or leave the template out."
            faults.append(profiles.fault(("profiles", name, "templates", index), problem, hint))
    return faults


def _unbounded(master: MasterTemplate, folder: Path) -> list[ConfigFault]:
    """Return a fault for each setting that makes a template's size unknown or unlimited; none for invalid YAML, which `check_masters` reports."""
    from shared.yaml_lines import YamlFaultError, load_yaml

    try:
        data, lines = load_yaml(master.text)
    except YamlFaultError:
        return []
    path = str(folder / "templates" / f"{master.name}.yaml")
    return [
        ConfigFault(path, line_of(lines, loc), dotted(loc), problem, hint) for loc, problem, hint in _problems(data)
    ]


def _problems(data: Mapping[str, Any]) -> Iterator[tuple[Loc, str, str]]:
    if "virtualClusterConfig" in data:
        yield ("virtualClusterConfig",), "the size of a cluster on GKE is not known", "Write a cluster with config."
    config = section_of(data, "config")
    if section_of(config, "autoscalingConfig").get("policyUri"):
        yield (
            ("config", "autoscalingConfig", "policyUri"),
            "an autoscaling policy leaves the cluster without a maximum size, which profiles limit",
            "Remove it and set numInstances.",
        )
    if config.get("auxiliaryNodeGroups"):
        yield ("config", "auxiliaryNodeGroups"), "the size of node groups is not counted", "Remove them."
    for name in _GROUPS:
        yield from _group_problems(config, name, _machines(config, name))


def _machines(config: Mapping[str, Any], name: str) -> int:
    """Return the number of machines of a group; by default one master and two workers, or no worker if zero are allowed."""
    properties = section_of(config, "softwareConfig", "properties")
    alone = str(properties.get("dataproc:dataproc.allow.zero.workers", "")).lower() == "true"
    usual = {"masterConfig": 1, "workerConfig": 0 if alone else 2}
    said = section_of(config, name).get("numInstances")
    return said if isinstance(said, int) and said else usual.get(name, 0)


def _group_problems(config: Mapping[str, Any], name: str, machines: int) -> Iterator[tuple[Loc, str, str]]:
    group = section_of(config, name)
    said = group.get("numInstances")
    if said is not None and not isinstance(said, int):
        yield (
            ("config", name, "numInstances"),
            f"{said!r} is not a whole number",
            "Write a number without quotes, such as 2.",
        )
        return
    if not machines:
        return
    if "instanceFlexibilityPolicy" in group:
        yield (
            ("config", name, "instanceFlexibilityPolicy"),
            "a choice of machine types leaves the cluster without a fixed size, which profiles limit",
            "Remove it and set machineTypeUri.",
        )
    machine_type = str(group.get("machineTypeUri", ""))
    if name == "secondaryWorkerConfig" and not machine_type:
        return  # same type as the primary workers
    if machine_size(machine_type)[0] is None:
        what = f"the vCPUs of '{machine_type}' are not known" if machine_type else "the machine type is missing"
        yield ("config", name, "machineTypeUri"), f"{what}, and profiles limit the size of a cluster", _SIZED
