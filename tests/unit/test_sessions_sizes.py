"""What profiles may offer: clusters up to their bound, session templates whose labels fit. Faults have file, line and what is valid."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from kit.inprocess import ROOT

from shared.cloud.dataproc.template_size import size_of
from shared.domain.things.catalog import MasterTemplate
from shared.settings import ConfigError
from shared.wiring import checked_settings

SETTINGS = "project: acme-analytics\nzones: [europe-west1-b]\nbucket: acme-benchkeeper\npeople: {domains: [acme.com]}\n"
PROFILES = """\
profiles:
  analyst:
    title: Analyst
    machine_type: e2-standard-4
    spark: {max_vcpus: 16}
    templates: [spark]
"""
CLUSTER = """\
config:
  lifecycleConfig: {idleDeleteTtl: 7200s, autoDeleteTtl: 172800s}
  masterConfig: {machineTypeUri: n2-standard-4}
  workerConfig:
    numInstances: 2
    machineTypeUri: n2-standard-4
"""
SESSION = "jupyterSession: {kernel: PYTHON}\n"


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "settings.dev.yaml").write_text(SETTINGS)
    (tmp_path / "profiles.yaml").write_text(PROFILES)
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "spark.yaml").write_text(CLUSTER)
    return tmp_path


def faults(folder: Path, cluster: str | None = None, profiles: str | None = None):
    if cluster is not None:
        (folder / "templates" / "spark.yaml").write_text(cluster)
    if profiles is not None:
        (folder / "profiles.yaml").write_text(profiles)
    try:
        checked_settings(env="dev", config_dir=folder)
    except ConfigError as error:
        return error.faults
    return []


@pytest.mark.parametrize("env", ["local", "example"])
def test_what_is_shipped_is_within_its_bounds(env, tmp_path):
    copy = shutil.copytree(ROOT / "config", tmp_path / "config", ignore=shutil.ignore_patterns("checked.*"))
    assert checked_settings(env=env, config_dir=copy).catalog.profiles


def test_a_cluster_up_to_the_bound_is_offered_and_one_above_is_a_fault(folder):
    assert faults(folder) == []
    (fault,) = faults(folder, profiles=PROFILES.replace("16", "11"))
    assert (fault.file, fault.line, fault.field) == (
        str(folder / "profiles.yaml"),
        6,
        "profiles.analyst.templates[0]",
    )
    assert fault.problem == "the clusters of 'spark' have 12 vCPUs, and this profile allows 11"
    assert "spark.max_vcpus" in fault.hint


def test_each_profile_has_its_own_bound(folder):
    other = "  engineer: {title: E, machine_type: e2-standard-4, spark: {max_vcpus: 4}, templates: [spark]}\n"
    (fault,) = faults(folder, profiles=PROFILES + other)
    assert (fault.line, fault.field) == (7, "profiles.engineer.templates[0]")


def test_what_no_profile_offers_has_no_bound(folder):
    (folder / "templates" / "huge.yaml").write_text(CLUSTER.replace("numInstances: 2", "numInstances: 2000"))
    (folder / "templates" / "strange.yaml").write_text(CLUSTER.replace("n2-standard-4", "z9-odd"))
    assert faults(folder) == []


@pytest.mark.parametrize(
    ("change", "vcpus"),
    [
        (("numInstances: 2", "numInstances: 3"), 16),
        (("numInstances: 2\n", ""), 12),  # two, where nothing is said
        (("numInstances: 2", "numInstances: 0"), 12),  # which is the same to the API
        (("    machineTypeUri: n2-standard-4", "    machineTypeUri: n2-custom-6-32768"), 16),
        (("    machineTypeUri: n2-standard-4", "    machineTypeUri: projects/p/zones/z/machineTypes/n2-highmem-2"), 8),
        (("config:", "config:\n  secondaryWorkerConfig: {numInstances: 1}"), 16),
        (("config:", "config:\n  secondaryWorkerConfig: {numInstances: 2, machineTypeUri: n2-standard-2}"), 16),
        (("config:", "config:\n  secondaryWorkerConfig: {preemptibility: SPOT}"), 12),
    ],
)
def test_all_machines_count(folder, change, vcpus):
    text = CLUSTER.replace(*change)
    assert text != CLUSTER
    assert size_of(MasterTemplate(name="spark", text=text)).vcpus == vcpus
    assert faults(folder, text, PROFILES.replace("16", str(vcpus))) == []
    (fault,) = faults(folder, text, PROFILES.replace("16", str(vcpus - 1)))
    assert f"{vcpus} vCPUs" in fault.problem


@pytest.mark.parametrize(
    ("change", "line", "field"),
    [
        (("{machineTypeUri: n2-standard-4}", "{machineTypeUri: z9-odd}"), 3, "masterConfig.machineTypeUri"),
        (("{machineTypeUri: n2-standard-4}", "{numInstances: 1}"), 3, "masterConfig.machineTypeUri"),
        (("  masterConfig: {machineTypeUri: n2-standard-4}\n", ""), 1, "masterConfig.machineTypeUri"),
        (("    machineTypeUri: n2-standard-4", "    machineTypeUri: n2-megamem"), 6, "workerConfig.machineTypeUri"),
        (("numInstances: 2", 'numInstances: "200"'), 5, "workerConfig.numInstances"),
        (("numInstances: 2", "numInstances: 200.0"), 5, "workerConfig.numInstances"),
        (
            ("config:", "config:\n  autoscalingConfig: {policyUri: projects/p/regions/r/autoscalingPolicies/a}"), 2,
            "autoscalingConfig.policyUri",
        ),
        (("config:", "config:\n  auxiliaryNodeGroups: [{nodeGroup: {roles: [DRIVER]}}]"), 2, "auxiliaryNodeGroups"),
        (
            (
                "config:",
                "config:\n  secondaryWorkerConfig:\n    numInstances: 4\n    instanceFlexibilityPolicy: {instanceSelectionList: []}",
            ), 4, "secondaryWorkerConfig.instanceFlexibilityPolicy",
        ),
    ],
)  # fmt: skip
def test_a_size_that_cannot_be_told_is_a_fault_where_it_stands(folder, change, line, field):
    text = CLUSTER.replace(*change)
    assert text != CLUSTER
    (fault,) = faults(folder, text, PROFILES.replace("16", "10000"))
    assert (fault.file, fault.line) == (str(folder / "templates" / "spark.yaml"), line)
    assert fault.field == f"config.{field}"
    assert fault.hint


def test_a_cluster_on_gke_has_no_size_here(folder):
    text = CLUSTER + "virtualClusterConfig: {}\n"
    assert [fault.field for fault in faults(folder, text)] == ["virtualClusterConfig"]


def test_a_single_machine_needs_no_workers(folder):
    text = (
        "config:\n  lifecycleConfig: {idleDeleteTtl: 7200s, autoDeleteTtl: 172800s}\n"
        "  masterConfig: {machineTypeUri: e2-standard-16}\n"
        '  softwareConfig: {properties: {"dataproc:dataproc.allow.zero.workers": "true"}}\n'
    )
    assert faults(folder, text) == []


# --- session templates of a profile ---


def test_a_profile_names_session_templates_as_such(folder):
    (folder / "templates" / "sparkless.yaml").write_text(SESSION)
    assert faults(folder, profiles=PROFILES + "    session_templates: [sparkless]\n") == []
    (fault,) = faults(folder, profiles=PROFILES + "    session_templates: [spark]\n")
    assert (fault.line, fault.hint) == (7, "Name it under templates.")
    (fault,) = faults(folder, profiles=PROFILES.replace("[spark]", "[sparkless]"))
    assert (fault.line, fault.hint) == (6, "Name it under session_templates.")


@pytest.mark.parametrize("label", ["benchkeeper-template", "benchkeeper-digest"])
def test_labels_that_tell_session_templates_apart_are_ours(folder, label):
    (folder / "templates" / "sparkless.yaml").write_text(SESSION)
    labelled = f"{PROFILES}    labels:\n      team: x\n      {label}: mine\n"
    (fault,) = faults(folder, profiles=f"{labelled}    session_templates: [sparkless]\n")
    assert (fault.line, fault.field) == (9, f"profiles.analyst.labels.{label}")


@pytest.mark.parametrize(("number", "right"), [(28, True), (29, False)])
def test_labels_must_fit_beside_ours(folder, number, right):
    (folder / "templates" / "sparkless.yaml").write_text(SESSION)
    labels = ", ".join(f"l{n}: x" for n in range(number))
    found = faults(folder, profiles=f"{PROFILES}    labels: {{{labels}}}\n    session_templates: [sparkless]\n")
    assert [(fault.line, fault.hint) for fault in found] == ([] if right else [(7, "Valid: at most 28.")])
    assert faults(folder, profiles=f"{PROFILES}    labels: {{{labels}}}\n") == []
