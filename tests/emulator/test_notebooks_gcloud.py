"""The real gcloud against the Notebooks API: create, list, describe, stop, delete. Real commands, so only a few."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.emulator.notebooks_cloud import ZONE, NotebooksCloud, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATH = os.environ["PATH"]  # noqa: TID251 - a command of the machine is to be found
pytestmark = [pytest.mark.gcloud, pytest.mark.slow]


@pytest.fixture
def cloud() -> Iterator[NotebooksCloud]:
    with running() as started:
        started.world.clock.set_speed(600)  # gcloud waits for operations
        yield started


def gcloud(cloud: NotebooksCloud, folder: Path, *words: str) -> tuple[int, Any, str]:
    environment = {
        "PATH": PATH,
        "HOME": str(folder),
        "CLOUDSDK_CONFIG": str(folder),
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CORE_PROJECT": "benchkeeper-local",
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "true",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_NOTEBOOKS": f"{cloud.url}/",
    }
    done = subprocess.run(
        ["gcloud", "workbench", "instances", *words, "--format=json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, json.loads(done.stdout) if done.stdout.strip() else None, done.stderr


def test_the_life_of_an_instance_by_gcloud(cloud: NotebooksCloud, tmp_path: Path):
    create = (
        "--machine-type=e2-standard-4",
        "--vm-image-project=cloud-notebooks-managed",
        "--vm-image-family=workbench-instances",
    )
    owner = ("--instance-owners=ann@example.com", "--metadata=idle-timeout-seconds=10800", "--labels=team=x")
    code, _, errors = gcloud(cloud, tmp_path, "create", "ann", "--location=us-east1-b", *create, *owner)
    assert code == 0, errors
    name = f"{ZONE}/instances/ann"
    raw = cloud.raw(name)
    assert raw["labels"]["team"] == "x"
    assert raw["gceSetup"]["metadata"]["proxy-user-mail"] == "ann@example.com"
    cloud.wait(240)

    code, listed, errors = gcloud(cloud, tmp_path, "list", "--location=-")
    assert (code, [found["name"] for found in listed]) == (0, [name]), errors

    code, described, errors = gcloud(cloud, tmp_path, "describe", "ann", "--location=us-east1-b")
    assert (code, described["state"]) == (0, "ACTIVE"), errors

    code, _, errors = gcloud(cloud, tmp_path, "stop", "ann", "--location=us-east1-b")
    assert (code, cloud.state(name)) == (0, "STOPPED"), errors

    code, _, errors = gcloud(cloud, tmp_path, "delete", "ann", "--location=us-east1-b")
    assert (code, cloud.call("GET", f"/v2/{name}").status_code) == (0, 404), errors
