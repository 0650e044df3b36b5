"""A machine that does not exist, does not fit, or names something that does not exist, is refused with Google's words and in its place.

Workbench hands the machine to Compute Engine, so its create is accepted and the operation fails. Dataproc refuses at the call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from google.cloud import notebooks_v2

from emulator.model.machine_types import (
    ZONES,
    accelerator_problem,
    compute_name,
    default_disk,
    disk_problem,
    machine_problem,
    machine_type,
)
from tests.emulator.data_kit import ID, PROJECT, DataCloud
from tests.emulator.notebooks_cloud import ZONE, NotebooksCloud, running

if TYPE_CHECKING:
    from collections.abc import Iterator

COMPUTE = "https://www.googleapis.com/compute/v1/"
BASE = f"projects/{ID}"
T4 = [{"type": "NVIDIA_TESLA_T4", "coreCount": "1"}]


@pytest.fixture
def cloud() -> Iterator[NotebooksCloud]:
    with running() as started:
        yield started


def refusal(cloud: NotebooksCloud, setup: dict[str, Any], *, zone: str = ZONE) -> dict[str, Any]:
    """The error of the operation that the call started."""
    answer = cloud.create("ann", {"gceSetup": setup}, zone=zone)
    assert answer.status_code == 200, answer.text
    cloud.wait(600)
    operation = cloud.raw(answer.json()["name"])
    assert operation["done"]
    assert cloud.state(f"{zone}/instances/ann") != "ACTIVE"
    assert not any(disk for disk in cloud.world.models["compute"].dump()["disks"])
    error: dict[str, Any] = operation["error"]
    assert operation["metadata"]["statusMessage"] == error["message"]
    return error


def missing_type(name: str, zone: str = "us-east1-b") -> str:
    url = f"{COMPUTE}{BASE}/zones/{zone}/machineTypes/{name}"
    words = f"Machine type with name '{name}' does not exist in zone '{zone}'."
    return f"Invalid value for field 'resource.machineType': '{url}'. {words}"


@pytest.mark.parametrize(
    ("setup", "code", "text"),
    [
        ({"machineType": "e2-standrd-4"}, 3, missing_type("e2-standrd-4")),
        ({"machineType": "n2-standard-3"}, 3, missing_type("n2-standard-3")),
        ({"machineType": "t2a-standard-4"}, 3, missing_type("t2a-standard-4")),
        ({"machineType": "n2-custom-3-8192"}, 3, missing_type("n2-custom-3-8192")),
        ({"machineType": "custom-2-100"}, 3, missing_type("custom-2-100")),
        (
            {"acceleratorConfigs": T4},
            3,
            "[nvidia-tesla-t4, e2-standard-4] features are not compatible for creating instance.",
        ),
        (
            {"machineType": "n1-standard-4", "acceleratorConfigs": T4},
            5,
            f"The resource '{BASE}/zones/us-east1-b/acceleratorTypes/nvidia-tesla-t4' was not found",
        ),
        (
            {"machineType": "n1-standard-4", "acceleratorConfigs": [{"type": "NVIDIA_L4", "coreCount": "1"}]},
            3,
            "[nvidia-l4, n1-standard-4] features are not compatible for creating instance.",
        ),
        (
            {"machineType": "g2-standard-8", "acceleratorConfigs": [{"type": "NVIDIA_L4", "coreCount": "2"}]},
            3,
            "[nvidia-l4, g2-standard-8] features are not compatible for creating instance.",
        ),
        (
            {"bootDisk": {"diskType": "PD_EXTREME"}},
            3,
            "pd-extreme disk type cannot be used by e2-standard-4 machine type.",
        ),
        (
            {"machineType": "n4-standard-4", "dataDisks": [{"diskType": "PD_SSD"}]},
            3,
            "pd-ssd disk type cannot be used by n4-standard-4 machine type.",
        ),
        (
            {"dataDisks": [{"diskType": "HYPERDISK_BALANCED"}]},
            3,
            "hyperdisk-balanced disk type cannot be used by e2-standard-4 machine type.",
        ),
        (
            {"vmImage": {"project": "cloud-notebooks-managed", "family": "workbench-instances-1999"}},
            5,
            "The resource 'projects/cloud-notebooks-managed/global/images/family/workbench-instances-1999' was not found",
        ),
        (
            {"vmImage": {"project": "cloud-notebooks-managed", "name": "workbench-instances-2603-v20991231"}},
            5,
            "The resource 'projects/cloud-notebooks-managed/global/images/workbench-instances-2603-v20991231' was not found",
        ),
        ({"vmImage": {"project": ID, "name": "mine"}}, 5, f"The resource '{BASE}/global/images/mine' was not found"),
        (
            {"vmImage": {"project": "theirs", "family": "f"}},
            7,
            "Required 'compute.images.useReadOnly' permission for 'projects/theirs/global/images/family/f'",
        ),
        (
            {"networkInterfaces": [{"network": "inside"}]},
            5,
            f"The resource '{BASE}/global/networks/inside' was not found",
        ),
        (
            {"networkInterfaces": [{"subnet": f"{BASE}/regions/us-east1/subnetworks/typo"}]},
            5,
            f"The resource '{BASE}/regions/us-east1/subnetworks/typo' was not found",
        ),
        (
            {"networkInterfaces": [{"subnet": "projects/host/regions/us-east1/subnetworks/s"}]},
            7,
            "Required 'compute.subnetworks.use' permission for 'projects/host/regions/us-east1/subnetworks/s'",
        ),
        (
            {"serviceAccounts": [{"email": f"nobody@{ID}.iam.gserviceaccount.com"}]},
            5,
            f"The resource 'nobody@{ID}.iam.gserviceaccount.com' of type 'serviceAccount' was not found.",
        ),
        (
            {"minCpuPlatform": "Intel Ice Lake"},
            3,
            "Setting minimum CPU platform is not supported for the selected machine type e2-standard-4.",
        ),
        (
            {"machineType": "n2-standard-4", "minCpuPlatform": "Intel Ice Cream"},
            3,
            "Invalid value for field 'resource.minCpuPlatform': 'Intel Ice Cream'. The specified CPU platform does not exist.",
        ),
        (
            {"confidentialInstanceConfig": {"confidentialInstanceType": "SEV"}},
            3,
            "[SEV, e2-standard-4] features are not compatible for creating instance.",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_the_operation_in_googles_words(cloud: NotebooksCloud, setup, code, text):
    assert refusal(cloud, setup) == {"code": code, "message": text}


def test_what_was_declared_or_made_is_there(cloud: NotebooksCloud):
    known = {
        "networks": [f"{BASE}/global/networks/inside"],
        "subnetworks": ["projects/host/regions/us-east1/subnetworks/s"],
        "images": [f"{BASE}/global/images/mine"],
        "service_accounts": ["robot@other.iam.gserviceaccount.com"],
    }
    assert cloud.call("POST", "/_emulator/surroundings", known).status_code == 200
    assert cloud.call("GET", "/_emulator/surroundings").json() == known
    setup = {
        "networkInterfaces": [{"network": "inside", "subnet": known["subnetworks"][0]}],
        "vmImage": {"project": ID, "name": "mine"},
        "serviceAccounts": [{"email": known["service_accounts"][0]}],
    }
    cloud.world.load(cloud.world.save())
    cloud.active("ann", {"gceSetup": setup})
    assert cloud.call("POST", f"/v1/{PROJECT}/serviceAccounts", {"accountId": "robots"}).status_code == 200
    own = [{"email": f"robots@{ID}.iam.gserviceaccount.com"}]
    name = cloud.active("ben", {"gceSetup": {"serviceAccounts": own}})
    assert cloud.state(name) == "ACTIVE"
    assert cloud.state(name.replace("instances/ben", "instances/ann")) == "ACTIVE"


@pytest.mark.parametrize(
    "body",
    [{"colours": []}, {"networks": ["inside"]}, {"images": "x"}, {"service_accounts": [3]}, {"networks": [None]}],
)
def test_a_bad_declaration_is_refused_and_changes_nothing(cloud: NotebooksCloud, body):
    assert (
        cloud.call(
            "POST", "/_emulator/surroundings", {"networks": ["projects/p/global/networks/n"], **body}
        ).status_code
        == 400
    )
    assert not any(cloud.call("GET", "/_emulator/surroundings").json().values())


def test_a_patch_to_what_does_not_fit_fails_and_changes_nothing(cloud: NotebooksCloud):
    name = cloud.stopped("ann", {"gceSetup": {"bootDisk": {"diskType": "PD_SSD"}}})
    before = cloud.raw(name)["gceSetup"]
    for machine, text in (
        ("n2-standard-3", missing_type("n2-standard-3")),
        ("c4-standard-8", "pd-ssd disk type cannot be used by c4-standard-8 machine type."),
    ):
        answer = cloud.call(
            "PATCH", f"/v2/{name}", {"gceSetup": {"machineType": machine}}, updateMask="gce_setup.machine_type"
        )
        assert answer.status_code == 200
        cloud.wait(60)
        assert cloud.raw(answer.json()["name"])["error"] == {"code": 3, "message": text}
    assert cloud.raw(name)["gceSetup"] == before


# --- the tables


def test_every_documented_zone_has_machines_and_every_series_has_disks_and_a_boot_disk():
    for zone in ZONES:
        assert machine_problem(ID, zone, "e2-standard-4") is None or machine_problem(ID, zone, "n4-standard-4") is None
    for name in ("e2-micro", "n1-standard-1", "n4-standard-2", "g2-standard-4", "c3-standard-4-lssd", "m4-megamem-28"):
        machine = machine_type(name)
        assert machine is not None
        assert disk_problem(machine, default_disk(machine), boot=True) is None


@pytest.mark.parametrize(
    ("name", "vcpus"),
    [
        ("e2-medium", 2), ("f1-micro", 1), ("a2-highgpu-4g", 48), ("c3-standard-192-metal", 192), ("custom-4-15360", 4),
        ("n2-custom-8-32768", 8), ("n2-custom-2-40960-ext", 2), ("custom-1-3840", 1),
    ],
)  # fmt: skip
def test_machine_types_have_their_vcpus(name, vcpus):
    machine = machine_type(name)
    assert machine is not None
    assert machine.vcpus == vcpus


@pytest.mark.parametrize(
    "name",
    [
        "", "e2", "e2-standard", "e2-standard-64", "n1-highmem-1", "n2-highcpu-128", "custom-2-1000", "e2-custom-34-65536",
        "n2-custom-34-65536", "c2-custom-4-16384", "n2-custom-2-40960", "e2-standard-04", "N2-STANDARD-4", "n2_standard_4",
    ],
)  # fmt: skip
def test_these_are_no_machine_types(name):
    assert machine_type(name) is None


def test_each_accelerator_of_the_api_has_a_place_or_a_machine_that_brings_it():
    kinds = [kind for kind in notebooks_v2.AcceleratorConfig.AcceleratorType if kind]
    n1, nowhere = machine_type("n1-standard-4"), []
    assert n1 is not None
    for kind in kinds:
        problems = {accelerator_problem(ID, zone, n1, kind.name, 1) for zone in ZONES}
        if None not in problems and not all("not compatible" in str(problem) for problem in problems):
            nowhere.append(kind.name)
        assert compute_name(kind.name) in str(problems) or None in problems
    assert nowhere == []


@pytest.mark.parametrize("zone", ["me-west1-b", "me-west1-c"])
def test_some_zones_have_n1_with_a_t4_only(zone):
    assert machine_problem(ID, zone, "n1-standard-4") == missing_type("n1-standard-4", zone)
    assert machine_problem(ID, zone, "n1-standard-4", accelerator="NVIDIA_TESLA_T4") is None


# --- Dataproc

CLUSTERS = f"/v1/{PROJECT}/regions/us-central1/clusters"


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"masterConfig": {"machineTypeUri": "n2-standard-3"}}, missing_type("n2-standard-3", "us-central1-a")),
        ({"workerConfig": {"machineTypeUri": "e2-standrd-4"}}, missing_type("e2-standrd-4", "us-central1-a")),
        (
            {"masterConfig": {"machineTypeUri": "e2-standard-4", "diskConfig": {"bootDiskType": "pd-extreme"}}},
            "pd-extreme disk type cannot be used by e2-standard-4 machine type.",
        ),
        (
            {
                "gceClusterConfig": {"zoneUri": "us-central1-f"},
                "masterConfig": {
                    "machineTypeUri": "n1-standard-4",
                    "accelerators": [{"acceleratorTypeUri": "nvidia-tesla-k80", "acceleratorCount": 1}],
                },
            },
            f"The resource '{BASE}/zones/us-central1-f/acceleratorTypes/nvidia-tesla-k80' was not found",
        ),
        ({"gceClusterConfig": {"networkUri": "typo"}}, f"The resource '{BASE}/global/networks/typo' was not found"),
        (
            {"gceClusterConfig": {"subnetworkUri": "typo"}},
            f"The resource '{BASE}/regions/us-central1/subnetworks/typo' was not found",
        ),
    ],
)
def test_dataproc_refuses_at_the_call(config, text):
    cloud = DataCloud.build()
    error = cloud.refused("POST", CLUSTERS, {"clusterName": "ann", "config": config}, status=400)
    assert (error["status"], error["message"]) == ("INVALID_ARGUMENT", text)
    assert cloud.call("GET", CLUSTERS) == {}


def test_auto_zone_takes_a_zone_that_has_the_machine_type():
    cloud = DataCloud.build()
    config = {
        "masterConfig": {"machineTypeUri": "g4-standard-48"},
        "softwareConfig": {"properties": {"dataproc:dataproc.allow.zero.workers": "true"}},
    }
    cloud.call("POST", CLUSTERS, {"clusterName": "ann", "config": config})
    assert cloud.call("GET", f"{CLUSTERS}/ann")["config"]["gceClusterConfig"]["zoneUri"].endswith("/us-central1-b")


def test_a_cluster_of_an_unknown_account_ends_in_error():
    cloud = DataCloud.build()
    email = f"nobody@{ID}.iam.gserviceaccount.com"
    body = {"clusterName": "ann", "config": {"gceClusterConfig": {"serviceAccount": email}}}
    operation = cloud.call("POST", CLUSTERS, body)
    cloud.wait(90)
    error = cloud.call("GET", f"/v1/{operation['name']}")["error"]
    assert error["message"] == f"The resource '{email}' of type 'serviceAccount' was not found."
    assert cloud.call("GET", f"{CLUSTERS}/ann")["status"]["state"] == "ERROR"
