"""How large a cluster is, by its template alone."""

from __future__ import annotations

from datetime import timedelta

import pytest

from shared.cloud.dataproc.template_size import ClusterSize, PriceClass, machine_size, size_of
from shared.domain.things.catalog import MasterTemplate

ALONE = "  softwareConfig: {properties: {'dataproc:dataproc.allow.zero.workers': 'true'}}\n"


def of(text: str) -> ClusterSize | None:
    return size_of(MasterTemplate(name="t", text=text))


# vCPUs and GB of memory as Compute Engine's pages of machine families have them.
@pytest.mark.parametrize(
    ("machine_type", "vcpus", "memory_gb"),
    [
        ("n2-standard-4", 4, 16), ("n2-highmem-16", 16, 128), ("n2-highcpu-8", 8, 8), ("e2-standard-4", 4, 16),
        ("n1-standard-4", 4, 15), ("n1-highmem-2", 2, 13), ("n1-highcpu-16", 16, 14.4), ("c3-highcpu-22", 22, 44),
        ("c4-standard-8", 8, 30), ("e2-medium", 2, 4), ("g2-standard-8", 8, 32), ("c3-standard-8-lssd", 8, 32),
        ("n2-custom-6-20480", 6, 20), ("custom-2-5120", 2, 5), ("n2-custom-2-40960-ext", 2, 40),
        ("https://www.googleapis.com/compute/v1/projects/p/zones/z/machineTypes/n2-standard-2", 2, 8),
    ],
)  # fmt: skip
def test_a_machine_type_says_its_size(machine_type: str, vcpus: int, memory_gb: float) -> None:
    found = machine_size(machine_type)
    assert found[0] == vcpus
    assert found[1] == pytest.approx(memory_gb)


@pytest.mark.parametrize(
    ("machine_type", "vcpus"), [("m1-ultramem-40", 40), ("a2-highgpu-1g", None), ("", None), ("x9-weird", None)]
)
def test_what_a_name_does_not_say_is_not_invented(machine_type: str, vcpus: int | None) -> None:
    assert machine_size(machine_type) == (vcpus, None)


def test_master_and_workers_are_added_up() -> None:
    text = """config:
  masterConfig: {numInstances: 1, machineTypeUri: n2-standard-4}
  workerConfig: {numInstances: 2, machineTypeUri: n2-highmem-8}
  secondaryWorkerConfig: {numInstances: 3, machineTypeUri: n2-standard-2}
"""
    assert of(text) == ClusterSize(machines=6, vcpus=4 + 16 + 6, memory_gb=16 + 128 + 24)


def test_when_dataproc_deletes_a_cluster_by_itself() -> None:
    text = f"config:\n  masterConfig: {{machineTypeUri: n2-standard-4}}\n  lifecycleConfig: {{idleDeleteTtl: 3600s, autoDeleteTtl: soon}}\n{ALONE}"
    found = of(text)
    assert found is not None
    assert (found.unused_for, found.longest) == (timedelta(hours=1), None)


def test_one_machine_is_one_machine() -> None:
    text = f"config:\n  masterConfig: {{machineTypeUri: n2-standard-4}}\n{ALONE}"
    assert of(text) == ClusterSize(machines=1, vcpus=4, memory_gb=16)


def test_without_a_word_dataproc_makes_two_workers_of_a_kind_that_nobody_named() -> None:
    assert of("config:\n  masterConfig: {machineTypeUri: n2-standard-4}\n") == ClusterSize(
        machines=3, vcpus=None, memory_gb=None
    )


def test_gpus_are_counted_on_each_machine() -> None:
    text = """config:
  masterConfig: {machineTypeUri: n1-standard-4}
  workerConfig:
    numInstances: 2
    machineTypeUri: n1-standard-8
    accelerators: [{acceleratorTypeUri: nvidia-tesla-t4, acceleratorCount: 2}]
  autoscalingConfig: {policyUri: projects/p/regions/r/autoscalingPolicies/a}
"""
    found = of(text)
    assert found is not None
    assert (found.gpus, found.grows) == (4, True)


@pytest.mark.parametrize(
    ("vcpus", "more", "price"),
    [
        (8, {}, PriceClass.LOW), (9, {}, PriceClass.MEDIUM), (32, {}, PriceClass.MEDIUM), (33, {}, PriceClass.HIGH),
        (4, {"gpus": 1}, PriceClass.MEDIUM), (8, {"grows": True}, PriceClass.MEDIUM), (64, {"gpus": 4}, PriceClass.HIGH),
        (None, {}, None),
    ],
)  # fmt: skip
def test_the_price_class_follows_the_size(vcpus: int | None, more: dict[str, int], price: PriceClass | None) -> None:
    assert ClusterSize(machines=2, vcpus=vcpus, memory_gb=None, **more).price_class is price


@pytest.mark.parametrize("text", ["jupyterSession: {kernel: PYTHON}\n", "config: [", "\t"])
def test_what_is_no_cluster_has_no_size(text: str) -> None:
    assert of(text) is None


def test_a_section_that_is_no_mapping_is_as_if_it_were_not_there() -> None:
    found = of("config: {masterConfig: [1], workerConfig: {numInstances: many}}\n")
    assert found == ClusterSize(machines=3, vcpus=None, memory_gb=None)
