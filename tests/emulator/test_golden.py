"""The emulator's answers against recorded answers of the real API: the same fields, of the same types and formats."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from kit.shapes import differences

from tests.emulator.notebooks_cloud import ZONE, NotebooksCloud, running

if TYPE_CHECKING:
    from collections.abc import Iterator

GOLDEN = Path(__file__).parents[2] / ".." / "shared" / "golden" / "notebooks-v2-recorded"
pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the recorded answers (../shared/golden) are not here")

# The short-lived operation name's own shape.
OPERATION = re.compile(r"/operations/operation-\d{13}-[0-9a-f]{13}-[0-9a-f]{8}-[0-9a-f]{8}$")


@pytest.fixture
def cloud() -> Iterator[NotebooksCloud]:
    with running() as started:
        started.http.headers["Authorization"] = "Bearer creator@example.com"
        yield started


def recorded(file: str) -> Any:
    return json.loads((GOLDEN / file).read_text(encoding="utf-8"))["body"]


def values(real: dict[str, Any], ours: dict[str, Any], *paths: str) -> None:
    for path in paths:
        a, b = real, ours
        for key in path.split("."):
            a, b = a[key], b[key]
        assert a == b, path


def test_get_is_as_recorded(cloud: NotebooksCloud):
    real, ours = recorded("get-instance.json"), cloud.raw(cloud.active("c7n-notebook-public-default-e84a"))
    assert differences(real, ours) == []
    values(
        real,
        ours,
        "state",
        "healthState",
        "gceSetup.vmImage",
        "gceSetup.bootDisk",
        "gceSetup.dataDisks",
        "gceSetup.tags",
    )
    values(real, ours, "gceSetup.shieldedInstanceConfig", "gceSetup.reservationAffinity", "gceSetup.gpuDriverConfig")
    for key in ("proxy-mode", "notebooks-api", "enable-oslogin", "shutdown-script", "enable-guest-attributes"):
        assert real["gceSetup"]["metadata"][key] == ours["gceSetup"]["metadata"][key]


def test_list_over_all_locations_is_as_recorded(cloud: NotebooksCloud):
    real = recorded("list-instances-all-locations.json")
    cloud.active("c7n-notebook-public-default-e84a")
    cloud.active("c7n-notebook-private-default-e84a", {"gceSetup": {"disablePublicIp": True}})
    ours = cloud.call("GET", "/v2/projects/benchkeeper-local/locations/-/instances").json()
    assert differences(real, ours) == []


def test_a_patch_operation_is_as_recorded(cloud: NotebooksCloud):
    real = recorded("patch-operation.json")
    name = cloud.active("ann")
    ours = cloud.call("PATCH", f"/v2/{name}", {"labels": {"a": "b"}}, updateMask="labels").json()
    assert differences(real, ours) == []
    assert OPERATION.search(real["name"])
    assert OPERATION.search(ours["name"])
    values(real, ours, "done", "metadata.@type", "metadata.verb", "metadata.endpoint", "metadata.apiVersion")
    assert ours["metadata"]["target"] == name


def test_a_stuck_container_instance_is_as_recorded_but_for_what_terraform_and_the_year_changed(cloud: NotebooksCloud):
    real = json.loads((GOLDEN / "gcpdiag-workbench-instances.json").read_text(encoding="utf-8"))["instances"][0]
    image = real["gceSetup"]["containerImage"]
    cloud.create("ann", {"gceSetup": {"containerImage": image, "disablePublicIp": True}})
    cloud.wait(100)
    ours = cloud.call("GET", f"/v2/{ZONE}/instances").json()["instances"][0]
    ignored = ("metadata.", ".thirdPartyProxyUrl", ".creator", ".instanceId", ".minCpuPlatform", ".reservationAffinity")
    found = [line for line in differences(real, ours) if not any(part in line for part in ignored)]
    assert found == []
    values(real, ours, "state", "gceSetup.containerImage")
    assert (
        ours["gceSetup"]["metadata"]["custom-container-payload"]
        == real["gceSetup"]["metadata"]["custom-container-payload"]
    )
