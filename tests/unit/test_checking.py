"""The whole check of a configuration: all faults of all files in one go, in the order of files and lines, whatever the files hold."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.checking import check_all
from shared.compute_live import NoAnswerError

CONFIG = Path(__file__).resolve().parents[2] / "config"
SETTINGS = """\
project: acme-analytics
zones: [europe-west1-b, europe-west1-c]
bucket: acme-benchkeeper
people: {domains: [acme.com, example.com]}
network:
  network: projects/acme-analytics/global/networks/analytics
  subnet: projects/acme-analytics/regions/europe-west1/subnetworks/notebooks
"""
PROFILES = """\
default: analyst
assignments:
  - group: data-analysts@example.com
    profile: analyst
profiles:
  analyst:
    title: Analyst
    machine_type: e2-standard-4
    boot_disk: {size_gb: 150, type: PD_BALANCED}
    templates: [spark]
  engineer:
    title: Engineer
    machine_type: n1-standard-8
    accelerator: {type: NVIDIA_TESLA_T4, count: 1}
    image: {project: cloud-notebooks-managed, family: workbench-instances-2603}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "settings.dev.yaml").write_text(SETTINGS)
    (tmp_path / "profiles.yaml").write_text(PROFILES)
    (tmp_path / "templates").mkdir()
    shutil.copy(CONFIG / "templates" / "single-node.yaml", tmp_path / "templates" / "spark.yaml")
    return tmp_path


def checked(folder: Path, ask=None):
    return check_all(env="dev", config_dir=folder, environ={}, ask=None if ask is None else lambda _: ask)


def faults(folder: Path, old: str, new: str, name: str = "profiles.yaml"):
    path = folder / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return [(each.line, each.field) for each in checked(folder).faults]


def test_a_good_configuration_has_neither_faults_nor_notes(folder):
    found = checked(folder)
    assert (found.faults, found.notes) == ([], [])
    assert found.settings.catalog.profiles["engineer"].machine_type == "n1-standard-8"


def test_all_faults_come_at_once_in_the_order_of_files_and_lines(folder):
    """What the shape refuses, names that refer to nothing, impossible values, sizes, and faults of templates, beside each other."""
    (folder / "settings.dev.yaml").write_text(
        "project: acme-analytics\nzones: [europe-west1-b, europe-west1-a]\nbucket: B\nretntion: {}\n"
    )
    (folder / "profiles.yaml").write_text(
        "default: analist\nassignments:\n  - {group: no address, profile: nobody}\nprofiles:\n  analyst:\n"
        "    title: ''\n    machine_type: e2-standrd-4\n    boot_disk: {size_gb: 5, type: pd-balanced}\n"
        "    templates: [spark, sparc]\n    spark: {max_vcpus: 2}\n    disruption: window\n"
    )
    path = folder / "templates" / "spark.yaml"
    path.write_text(path.read_text().replace("idleDeleteTtl: 3600s", "idleDeleteTtl: 1s"))
    shutil.copy(path, folder / "templates" / "another.yaml")
    found = checked(folder)
    assert found.settings is None
    assert [(Path(each.file).name, each.line, each.field) for each in found.faults] == [
        ("settings.dev.yaml", 1, "people.domains"),
        ("settings.dev.yaml", 2, "zones[1]"),
        ("settings.dev.yaml", 3, "bucket"),
        ("settings.dev.yaml", 4, "retntion"),
        ("profiles.yaml", 1, "default"),
        ("profiles.yaml", 3, "assignments[0].group"),
        ("profiles.yaml", 3, "assignments[0].profile"),
        ("profiles.yaml", 6, "profiles.analyst.title"),
        ("profiles.yaml", 7, "profiles.analyst.machine_type"),
        ("profiles.yaml", 8, "profiles.analyst.boot_disk.size_gb"),
        ("profiles.yaml", 8, "profiles.analyst.boot_disk.type"),
        ("profiles.yaml", 9, "profiles.analyst.templates[0]"),
        ("profiles.yaml", 9, "profiles.analyst.templates[1]"),
        ("another.yaml", 12, "config.lifecycleConfig.idleDeleteTtl"),
        ("spark.yaml", 12, "config.lifecycleConfig.idleDeleteTtl"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("e2-standard-4", "e2-standrd-4", "analyst.machine_type"),
        ("e2-standard-4", "e2-standard-5", "analyst.machine_type"),
        ("e2-standard-4", "E2-STANDARD-4", "analyst.machine_type"),
        ("e2-standard-4", "t2a-standard-4", "analyst.machine_type"),
        ("e2-standard-4", "n4-standard-4", "analyst.boot_disk.type"),
        ("type: PD_BALANCED", "type: PD_EXTREME", "analyst.boot_disk.type"),
        ("type: PD_BALANCED", "type: pd-balanced", "analyst.boot_disk.type"),
        ("type: PD_BALANCED", "type: SSD", "analyst.boot_disk.type"),
        ("n1-standard-8", "e2-standard-8", "engineer.accelerator.type"),
        ("count: 1", "count: 3", "engineer.accelerator.count"),
        ("NVIDIA_TESLA_T4", "NVIDIA_TESLA_V100", "engineer.accelerator.type"),
        ("NVIDIA_TESLA_T4", "nvidia_t4", "engineer.accelerator.type"),
        ("NVIDIA_TESLA_T4", "nvidia-tesla-t4", "engineer.accelerator.type"),
        ("workbench-instances-2603", "workbench-instnaces", "engineer.image.family"),
        ("cloud-notebooks-managed", "cloud-notebook-managed", "engineer.image.project"),
    ],
)
def test_what_a_profile_cannot_have_is_refused_at_its_key_with_the_nearest(folder, old, new, field):
    found = faults(folder, old, new)
    assert f"profiles.{field}" in {each for _, each in found}
    assert all(each.hint for each in checked(folder).faults)


def test_a_disk_that_is_left_out_must_fit_too(folder):
    found = faults(
        folder,
        "    machine_type: e2-standard-4\n    boot_disk: {size_gb: 150, type: PD_BALANCED}\n",
        "    machine_type: n4-standard-4\n",
    )
    assert found == [(8, "profiles.analyst.machine_type")] * 2  # both disks
    assert "HYPERDISK_BALANCED" in checked(folder).faults[0].hint


def test_a_subnetwork_of_another_region_is_refused(folder):
    assert faults(folder, "regions/europe-west1", "regions/europe-west4", "settings.dev.yaml") == [
        (7, "network.subnet")
    ]


def test_a_zone_and_a_template_of_another_region_are_seen(folder):
    path = folder / "templates" / "spark.yaml"
    path.write_text(
        path.read_text().replace("    internalIpOnly: true\n", "    internalIpOnly: true\n    zoneUri: us-east1-d\n")
    )
    assert [each.field for each in checked(folder).faults] == ["config.gceClusterConfig.zoneUri"]


@pytest.mark.parametrize("name", ["n9-standard-4", "x4-ultramem-960"])
def test_what_may_be_newer_than_the_table_is_no_fault(folder, name):
    (folder / "profiles.yaml").write_text(PROFILES.replace("e2-standard-4", name))
    found = checked(folder)
    assert found.settings.catalog.profiles["analyst"].machine_type == name
    assert [each.field for each in found.notes] == ["profiles.analyst.machine_type"]


# --- the project is asked


def test_the_project_may_have_what_the_table_does_not_know(folder):
    (folder / "profiles.yaml").write_text(
        PROFILES.replace("e2-standard-4", "e2-standard-64").replace("PD_BALANCED", "PD_EXTREME")
    )
    assert [each.field for each in checked(folder).faults] == [
        "profiles.analyst.machine_type",
        "profiles.analyst.boot_disk.type",
    ]
    found = checked(folder, ask=lambda _: True)
    assert found.faults == []
    assert [each.field for each in found.notes] == ["profiles.analyst.boot_disk.type"]


def test_the_project_may_lack_what_the_table_knows(folder):
    missing = (
        "subnetworks/notebooks",
        "machineTypes/e2-standard-4",
        "diskTypes/pd-balanced",
        "family/workbench-instances-2603",
    )
    found = checked(folder, ask=lambda path: not path.endswith(missing))
    assert {each.field for each in found.faults} >= {
        "network.subnet", "profiles.analyst.machine_type", "profiles.analyst.boot_disk.type", "profiles.engineer.image.family",
        "config.masterConfig.diskConfig.bootDiskType",
    }  # fmt: skip
    assert found.settings is None


def test_without_an_answer_the_table_judges_with_a_note_and_the_text_of_no_answer(folder):
    def refuse(_path: str) -> bool:
        raise NoAnswerError("You lack a permission.")

    found = checked(folder, ask=refuse)
    assert found.faults == []
    assert "You lack a permission" in found.notes[0].problem


def test_a_project_that_never_answers_is_not_asked_on(folder):
    asked = []

    def refuse(path: str) -> bool:
        asked.append(path)
        raise NoAnswerError("Google Cloud did not answer.")

    assert checked(folder, ask=refuse).faults == []
    assert len(asked) == 2


def test_a_template_with_another_ending_is_named(folder):
    (folder / "templates" / "old.yml").write_text("config: {}\n")
    (note,) = checked(folder).notes
    assert note.file.endswith("old.yml")
    assert ".yaml" in note.problem


def test_each_question_is_asked_once_and_in_its_own_place(folder):
    asked: list[str] = []

    def ask(path: str) -> bool:
        asked.append(path)
        return True

    checked(folder, ask=ask)
    assert len(asked) == len(set(asked))
    assert "projects/acme-analytics/zones/europe-west1-b/machineTypes/n2-highmem-4" in asked
    assert "projects/cloud-notebooks-managed/global/images/family/workbench-instances-2603" in asked
    assert "projects/acme-analytics/regions/europe-west1/subnetworks/notebooks" in asked


# --- whatever the files hold

_ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**6) | st.floats(allow_nan=False) | st.text(max_size=8)
    | st.sampled_from(["e2-standard-4", "pd-ssd", "300s", "a/b/c", "europe-west1-b", "analyst"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=6), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip


def places(data, loc=()):
    yield loc
    for key, inner in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield from places(inner, (*loc, key))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_stands_at_a_place_is_a_fault_or_valid_and_never_a_crash(folder, data):
    texts = {
        "settings.dev.yaml": SETTINGS,
        "profiles.yaml": PROFILES,
        "templates/spark.yaml": (CONFIG / "templates" / "personal-auth-cluster.yaml").read_text(),
    }
    name = data.draw(st.sampled_from(sorted(texts)))
    content = copy.deepcopy(yaml.safe_load(texts[name]))
    *way, last = data.draw(st.sampled_from([loc for loc in places(content) if loc]))
    at = content
    for key in way:
        at = at[key]
    at[last] = data.draw(_ANY)
    for each, text in texts.items():
        (folder / each).write_text(
            yaml.safe_dump(content, allow_unicode=True) if each == name else text, encoding="utf-8"
        )
    for ask in (None, lambda _: True):
        found = checked(folder, ask=ask)
        assert (found.settings is None) == bool(found.faults)
        assert all(each.problem and "\n" not in str(each) for each in (*found.faults, *found.notes))
        lines = [(found_.file, found_.line) for found_ in found.faults]
        assert [line for file, line in lines if file.endswith(name)] == sorted(
            line for file, line in lines if file.endswith(name)
        )
