"""What Compute Engine offers, by the shipped table and by the project: typing errors are faults, what may be newer is a note."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from emulator.model import machine_types
from shared.cloud.dataproc.versions import cluster_image
from shared.compute_live import NoAnswerError, live
from shared.compute_table import FILE, table
from shared.wiring import checked_settings

CONFIG = Path(__file__).resolve().parents[2] / "config"
ZONE = "europe-west1-b"


def test_the_table_says_of_which_day_it_is_and_whence():
    raw = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    assert raw["date"] == table().date
    assert table().source
    assert checked_settings(env="local", config_dir=CONFIG)


def test_the_table_fits_itself():
    shipped = table()
    families = {kind.family for kind in shipped.machines.values()}
    assert families == set(shipped.disks) - {"a3-ultragpu"}  # a class that differs from its family
    assert {family for listed in shipped.zones.values() for family in listed.split()} <= families
    assert {brings.gpu for brings in shipped.built_in.values()} <= set(shipped.accelerators)
    assert set(shipped.built_in) <= set(shipped.classes)
    assert set(shipped.not_bootable) <= set(shipped.all_disks)
    assert set(machine_types.ZONES) == set(shipped.zones)
    assert all(shipped.machine(name) is None for name in shipped.machines)
    for kind in shipped.accelerators.values():
        assert {zone.rpartition("-")[0] for zone in kind.zones.split()} <= {
            zone.rpartition("-")[0] for zone in shipped.zones
        }


@pytest.mark.parametrize(
    "name",
    ["e2-standard-4", "e2-medium", "n2-standard-8", "n2-highmem-4", "n1-standard-4", "c3-standard-4-lssd", "g2-standard-12",
     "a2-highgpu-1g", "a2-ultragpu-8g", "n2-custom-8-32768", "custom-4-16384", "e2-custom-2-4096", "n2-custom-2-20480-ext"],
)  # fmt: skip
def test_a_machine_type_of_the_table_is_valid(name):
    assert table().machine(name) is None


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("e2-standrd-4", "e2-standard-4"),
        ("n2-standard-3", "n2-standard-4"),
        ("n2-standard-512", "n2-standard-128"),
        ("e2-standard-64", "e2-standard-32"),
        ("E2-Standard-4", "e2-standard-4"),
        ("e2standard-4", "e2-standard-4"),
        ("nn2-standard-4", "n2-standard-4"),
        ("e2-medum", "e2-medium"),
        ("a2-highgpu-3g", "a2-highgpu-4g"),
        ("n2-custom-3-8192", "n2-custom-4-16384"),
        ("n2-custom-8-200000", "n2-custom-8-65536"),
        ("n2-custom-34-65536", "n2-custom-36-147456"),
        ("e2-custom-2-65536-ext", "e2-custom-2-16384"),
        ("n2-custom-8-32000", "n2-custom-8-32000"),
    ],
)
def test_a_machine_type_that_cannot_be_gets_the_nearest_that_can(name, nearest):
    verdict = table().machine(name)
    if name == nearest:  # 32,000 is a multiple of 256
        assert verdict is None
        return
    assert not verdict.is_note
    assert f"Did you mean '{nearest}'?" in verdict.hint
    assert table().machine(nearest) is None


def test_a_family_without_custom_types_says_what_it_has():
    verdict = table().machine("c2-custom-4-8192")
    assert "no custom types" in verdict.hint
    assert not verdict.is_note


@pytest.mark.parametrize("name", ["n5-standard-4", "c9-highmem-8", "e3-medium", "x4-ultramem-960", "a4x-highgpu-4g"])
def test_what_may_be_newer_than_the_table_is_a_note(name):
    verdict = table().machine(name)
    assert verdict.is_note
    assert str(table().date) in verdict.problem
    assert "--live" in verdict.hint


def test_a_family_that_some_zones_lack_is_a_note_and_one_that_all_lack_a_fault():
    verdict = table().machine("g4-standard-48", ["europe-west1-c", ZONE])
    assert verdict.is_note
    assert ZONE in verdict.problem
    assert "europe-west1-c" not in verdict.problem
    verdict = table().machine("t2a-standard-4", [ZONE, "europe-west1-c"])
    assert not verdict.is_note
    assert "standard-4'" in verdict.hint
    assert "--live" in verdict.hint


@pytest.mark.parametrize(
    ("zone", "is_note", "hint"),
    [
        ("europe-west1-a", False, "'europe-west1-b'"),
        ("europe-wset1-b", False, "'europe-west1-b'"),
        ("us-centrl1-a", False, "'us-central1-a'"),
        ("europe-west21-b", True, "--live"),
    ],
)
def test_a_zone_that_is_not_there_gets_the_nearest(zone, is_note, hint):
    verdict = table().zone(zone)
    assert verdict.is_note is is_note
    assert hint in verdict.hint


@pytest.mark.parametrize(
    ("name", "count", "machine", "hint"),
    [
        ("NVIDIA_TESLA_T4", 1, "e2-standard-4", "It fits n1."),
        ("NVIDIA_L4", 1, "n1-standard-4", "It fits g2."),
        ("NVIDIA_TESLA_T4", 1, "f1-micro", "It fits n1."),
        ("nvidia-tesla-t4", 1, "n2-standard-4", "It fits n1."),
        ("NVIDIA_TESLA_T4", 3, "n1-standard-4", "nearest number is 2"),
        ("NVIDIA_TESLA_T4", 1, "n1-standard-96", "at most 48 vCPUs"),
        ("NVIDIA_L4", 2, "g2-standard-4", "nearest number is 1"),
        ("NVIDIA_TESLA_T5", 1, "n1-standard-4", "'NVIDIA_TESLA_T4'"),
        ("nvidia-tesla-t44", 1, "n1-standard-4", "'nvidia-tesla-t4'"),
    ],
)
def test_an_accelerator_that_cannot_be_says_what_can(name, count, machine, hint):
    verdict = table().accelerator(name, count, machine)
    assert hint in verdict.hint
    assert not verdict.is_note


def test_an_accelerator_that_may_be_newer_is_a_note():
    assert table().accelerator("NVIDIA_QUANTUM_9000", 1, "n1-standard-4").is_note
    assert table().accelerator("NVIDIA_TESLA_T4", 4, "n1-standard-16") is None
    assert table().accelerator("nvidia-l4", 1, "g2-standard-8") is None


@pytest.mark.parametrize(
    ("name", "machine", "hint"),
    [
        ("PD_EXTREME", "e2-standard-4", "Valid: PD_STANDARD, PD_BALANCED, PD_SSD."),
        ("pd-balanced", "n4-standard-4", "'hyperdisk-balanced'"),
        ("PD_SDD", "e2-standard-4", "'PD_SSD'"),
        ("pd_ssd", "e2-standard-4", "'pd-ssd'"),
        ("ssd", "e2-standard-4", "'pd-ssd'"),
    ],
)
def test_a_disk_type_that_cannot_be_says_what_can(name, machine, hint):
    verdict = table().disk(name, machine)
    assert hint in verdict.hint
    assert not verdict.is_note


def test_a_disk_may_need_vcpus_or_be_unable_to_boot():
    assert table().disk("PD_EXTREME", "n2-standard-64") is None
    assert not table().disk("PD_EXTREME", "n2-standard-8").is_note
    assert "cannot be a boot disk" in table().disk("PD_EXTREME", "n2-standard-64", boots=True).problem


def test_an_accelerator_is_in_some_zones_only():
    assert table().accelerator("NVIDIA_TESLA_T4", 1, "n1-standard-4", [ZONE]) is None
    assert not table().accelerator("NVIDIA_TESLA_V100", 1, "n1-standard-4", [ZONE]).is_note
    assert table().accelerator("NVIDIA_TESLA_P100", 1, "n1-standard-4", [ZONE, "europe-west1-c"]).is_note


@pytest.mark.parametrize(
    ("project", "family", "is_note", "hint"),
    [
        ("cloud-notebooks-managed", "workbench-instnaces", False, "'workbench-instances'"),
        ("cloud-notebooks-managed", "workbench-instances-260", False, "'workbench-instances-2603'"),
        ("cloud-notebooks-managed", "workbench-instances-2703", True, "--live"),
        ("cloud-notebook-managed", "workbench-instances", False, "'cloud-notebooks-managed'"),
    ],
)
def test_an_image_family_that_is_not_there(project, family, is_note, hint):
    verdict = table().image(project, family)
    assert verdict.is_note is is_note
    assert hint in verdict.hint
    assert table().image("acme-images", family) is None


@pytest.mark.parametrize(
    ("version", "is_note", "hint"),
    [
        ("1.5-ubuntu18", False, "'2.2-debian12'"),
        ("2.2-debian11", False, "'2.2-debian12'"),
        ("latest", False, "2.2-debian12"),
        ("4.0-debian14", True, "outdated"),
    ],
)
def test_an_image_version_of_clusters_that_is_not_there(version, is_note, hint):
    verdict = cluster_image(table(), version)
    assert verdict.is_note is is_note
    assert hint in verdict.hint
    assert [cluster_image(table(), each) for each in ("2.2", "2.2-debian12", "2.1.7-debian11")] == [None] * 3


# --- what the embedded cloud refuses, the table refuses, and nothing more: the two have tables of their own


def test_the_embedded_cloud_has_the_same_machine_types_in_the_same_zones():
    for name in table().machines:
        for zone in machine_types.ZONES[::5]:
            refused = machine_types.machine_problem("p", zone, name, accelerator="NVIDIA_TESLA_T4") is not None
            assert refused is (table().machine(name, [zone]) is not None), (name, zone)


def test_the_embedded_cloud_takes_the_same_disks_and_accelerators():
    for name in list(table().machines)[::3]:
        machine = machine_types.machine_type(name)
        for disk in table().all_disks:
            for boots in (False, True):
                refused = machine_types.disk_problem(machine, disk.upper().replace("-", "_"), boot=boots) is not None
                assert refused is (table().disk(disk, name, boots=boots) is not None), (name, disk, boots)
        for kind in table().accelerators.values():
            for count in (1, 2, 3, 4, 8, 16):
                refused = machine_types.accelerator_problem("p", "europe-west4-b", machine, kind.api, count) is not None
                judged = table().accelerator(kind.api, count, name, ["europe-west4-b"])
                assert refused is (judged is not None), (name, kind.api, count)


@pytest.mark.parametrize("family", ["e2", "n1", "n2", "n2d", "n4", "c2"])
def test_the_embedded_cloud_takes_the_same_custom_types(family):
    for vcpus in (1, 2, 3, 4, 6, 32, 34, 36, 80, 96, 128, 130):
        for mb in (512, 1024, 4096, 5000, vcpus * 1024, vcpus * 4096, vcpus * 8192, vcpus * 9216):
            for end in ("", "-ext"):
                name = f"{family}-custom-{vcpus}-{mb}{end}"
                assert (machine_types.machine_type(name) is None) is (table().machine(name) is not None), name


# --- the project's answer wins


def project(has: set[str], *, fails: str = ""):
    """Return a judge whose project has these paths (below its own), and its zone."""
    asked = []

    def ask(path: str) -> bool:
        asked.append(path)
        if fails and fails in path:
            raise NoAnswerError("You lack a permission.")
        return path.removeprefix("projects/acme-analytics/") in {f"zones/{ZONE}", *has}

    judge = live(table(), ask, "acme-analytics")
    return judge, asked


def test_a_type_newer_than_the_table_is_valid_where_the_project_has_it():
    judge, _ = project({f"zones/{ZONE}/machineTypes/n5-standard-4", f"zones/{ZONE}/machineTypes/n2-standard-3"})
    assert judge.machine("n5-standard-4", [ZONE]) is None
    assert judge.machine("n2-standard-3", [ZONE]) is None
    assert not judge.why_not


def test_what_the_project_lacks_is_a_fault_with_the_nearest_of_the_table():
    judge, _ = project(set())
    for name in ("e2-standard-4", "n5-standard-4"):
        verdict = judge.machine(name, [ZONE])
        assert not verdict.is_note
        assert ZONE in verdict.problem
    assert "'e2-standard-4'" in judge.machine("e2-standrd-4", [ZONE]).hint
    assert not judge.disk("PD_SSD", "e2-standard-4", [ZONE]).is_note
    assert not judge.accelerator("NVIDIA_TESLA_T4", 1, "n1-standard-4", [ZONE]).is_note
    assert not judge.image("cloud-notebooks-managed", "workbench-instances").is_note
    assert not judge.subnet("projects/acme-analytics/regions/europe-west1/subnetworks/notebooks").is_note


def test_what_only_some_zones_have_is_a_note():
    judge, _ = project({"zones/europe-west1-c", f"zones/{ZONE}/machineTypes/e2-standard-4"})
    verdict = judge.machine("e2-standard-4", [ZONE, "europe-west1-c"])
    assert verdict.is_note
    assert "europe-west1-c" in verdict.problem
    assert ZONE in verdict.hint


def test_a_misfit_by_the_table_is_a_note_where_the_project_has_both():
    judge, _ = project({f"zones/{ZONE}/diskTypes/pd-extreme", f"zones/{ZONE}/acceleratorTypes/nvidia-tesla-t4"})
    assert judge.disk("PD_EXTREME", "e2-standard-4", [ZONE]).is_note
    assert judge.accelerator("NVIDIA_TESLA_T4", 1, "e2-standard-4", [ZONE]).is_note


def test_without_an_answer_the_table_judges_and_says_so():
    judge, asked = project(set(), fails="machineTypes")
    assert judge.machine("e2-standard-4", [ZONE]) is None
    assert not judge.machine("e2-standrd-4", [ZONE]).is_note
    assert judge.why_not == "You lack a permission."
    assert len(asked) == len(set(asked))


def test_a_project_without_googles_own_zones_was_not_reached():
    judge = live(table(), lambda _: False, "acme-analytics")
    assert judge.zone(ZONE) is None
    assert judge.machine("e2-standard-4", [ZONE]) is None
    assert "acme-analytics" in judge.why_not
    assert not judge.zone("europe-west1-a").is_note


def test_a_name_cannot_leave_its_place_in_the_address():
    judge, asked = project(set())
    judge.machine("e2 standard?x=1#", [ZONE])
    assert all(not set(path) & set(" ?#") for path in asked)
