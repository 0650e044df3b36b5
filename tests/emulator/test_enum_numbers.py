"""Enums as numbers: Google's generated REST clients send them so, and ask for them so (`$alt=json;enum-encoding=int`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from google.cloud import notebooks_v2
from google.protobuf import json_format

from emulator.model.dataproc_config import message_type
from emulator.model.notebooks_schema import NEWER_VALUES, parse
from emulator.wire.dataproc_calls import message_class
from tests.emulator.data_kit import PROJECT, DataCloud
from tests.emulator.notebooks_cloud import ZONE, NotebooksCloud, running

if TYPE_CHECKING:
    from collections.abc import Iterator

NUMBERS = {"$alt": "json;enum-encoding=int"}
ENUMS: list[tuple[Any, Any]] = [
    (notebooks_v2.AcceleratorConfig.AcceleratorType, lambda v: {"acceleratorConfigs": [{"type": v}]}),
    (notebooks_v2.DiskType, lambda v: {"bootDisk": {"diskType": v}}),
    (notebooks_v2.DiskEncryption, lambda v: {"dataDisks": [{"diskEncryption": v}]}),
    (notebooks_v2.NetworkInterface.NicType, lambda v: {"networkInterfaces": [{"nicType": v}]}),
]
CASES = [
    pytest.param(value, body, id=f"{kind.__name__}.{value.name}") for kind, body in ENUMS for value in kind if value
]


@pytest.fixture
def cloud() -> Iterator[NotebooksCloud]:
    with running() as started:
        yield started


@pytest.mark.parametrize(("value", "body"), CASES)
def test_each_number_is_the_value_of_that_number_in_the_client(value, body):
    by_number = parse("GceSetup", body(int(value)), at="setup")
    assert by_number == parse("GceSetup", body(value.name), at="setup")
    assert by_number == body(value.name)


@pytest.mark.parametrize("number", [6, 7, 99, -1])
def test_a_number_that_no_value_has_is_refused(cloud: NotebooksCloud, number):
    body = {"gceSetup": {"acceleratorConfigs": [{"type": number, "coreCount": "1"}]}}
    answer = cloud.create("ann", body)
    assert answer.status_code == 400
    assert "accelerator_configs[0].type" in answer.json()["error"]["message"]


def test_the_official_client_gets_the_accelerator_that_it_asked_for(cloud: NotebooksCloud):
    kinds = notebooks_v2.AcceleratorConfig.AcceleratorType
    setup = notebooks_v2.GceSetup(
        machine_type="n1-standard-8",
        accelerator_configs=[notebooks_v2.AcceleratorConfig(type_=kinds.NVIDIA_TESLA_T4, core_count=1)],
        boot_disk=notebooks_v2.BootDisk(disk_type=notebooks_v2.DiskType.PD_SSD),
    )
    zone = ZONE.replace("us-east1-b", "us-east1-c")
    instance = notebooks_v2.Instance(gce_setup=setup)
    cloud.client.create_instance(parent=zone, instance_id="ann", instance=instance)
    cloud.wait(300)
    name = f"{zone}/instances/ann"
    assert cloud.raw(name)["gceSetup"]["acceleratorConfigs"] == [{"type": "NVIDIA_TESLA_T4", "coreCount": "1"}]
    assert cloud.client.get_instance(name=name).gce_setup.accelerator_configs[0].type_ == kinds.NVIDIA_TESLA_T4


def test_answers_are_numbers_for_who_asks_and_names_for_others(cloud: NotebooksCloud):
    name = cloud.active("ann")
    plain, numbered = cloud.raw(name), cloud.call("GET", f"/v2/{name}", **NUMBERS).json()
    assert (plain["state"], numbered["state"]) == ("ACTIVE", int(notebooks_v2.State.ACTIVE))
    assert numbered["healthState"] == int(notebooks_v2.HealthState.HEALTHY)
    assert numbered["gceSetup"]["bootDisk"]["diskType"] == int(
        notebooks_v2.DiskType[plain["gceSetup"]["bootDisk"]["diskType"]]
    )
    assert numbered["gceSetup"]["metadata"] == plain["gceSetup"]["metadata"]
    (listed,) = cloud.call("GET", f"/v2/{ZONE}/instances", **NUMBERS).json()["instances"]
    assert listed["state"] == numbered["state"]
    (operation,) = cloud.call("GET", f"/v2/{ZONE}/operations", **NUMBERS).json()["operations"]
    assert isinstance(operation["response"]["state"], int)
    assert isinstance(cloud.raw(operation["name"])["response"]["state"], str)


def test_values_without_a_published_number_keep_their_names():
    body = {"acceleratorConfigs": [{"type": NEWER_VALUES["AcceleratorType"][0]}]}
    assert parse("GceSetup", body, at="setup") == body


def test_dataproc_answers_with_numbers_too():
    cloud = DataCloud.build()
    clusters = f"/v1/{PROJECT}/regions/us-central1/clusters"
    cloud.call(
        "POST", clusters, {"clusterName": "ann-spark", "config": {"softwareConfig": {"optionalComponents": [1]}}}
    )
    cloud.wait(90)
    plain, numbered = cloud.call("GET", f"{clusters}/ann-spark"), cloud.call("GET", f"{clusters}/ann-spark", **NUMBERS)
    assert plain["config"]["softwareConfig"]["optionalComponents"] == ["JUPYTER"]
    assert numbered["config"]["softwareConfig"]["optionalComponents"] == [1]
    assert isinstance(numbered["status"]["state"], int)
    cluster = message_type("Cluster")()
    assert json_format.ParseDict(numbered, cluster) == json_format.ParseDict(plain, message_type("Cluster")())
    operations = f"/v1/{PROJECT}/regions/us-central1/operations"
    for query in ({}, NUMBERS):
        (operation,) = cloud.call("GET", operations, **query)["operations"]
        assert json_format.ParseDict(operation, message_class("Operation")()).done
    assert isinstance(operation["metadata"]["status"]["state"], int)
