"""The real gcloud against Dataproc: list and describe clusters, import, list and describe session templates."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.emulator.data_kit import ID
from tests.emulator.notebooks_cloud import NotebooksCloud, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATH = os.environ["PATH"]  # noqa: TID251 - a command of the machine is to be found
pytestmark = [pytest.mark.gcloud, pytest.mark.slow]
REGION = "europe-west1"


@pytest.fixture
def cloud() -> Iterator[NotebooksCloud]:
    with running() as started:
        yield started


def gcloud(cloud: NotebooksCloud, folder: Path, *words: str) -> Any:
    environment = {
        "PATH": PATH,
        "HOME": str(folder),
        "CLOUDSDK_CONFIG": str(folder),
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CORE_PROJECT": ID,
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "true",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_DATAPROC": f"{cloud.url}/",
    }
    done = subprocess.run(
        ["gcloud", *words, "--format=json"], env=environment, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout.strip() else None


def test_clusters_by_gcloud(cloud: NotebooksCloud, tmp_path: Path):
    here = f"--region={REGION}"
    path = f"/v1/projects/{ID}/regions/{REGION}/clusters"
    config = {
        "endpointConfig": {"enableHttpPortAccess": True},
        "softwareConfig": {"optionalComponents": ["JUPYTER"]},
        "lifecycleConfig": {"idleDeleteTtl": "1209600s"},
    }
    for name, labels in (("ann-spark", {"team": "x"}), ("ben-spark", {})):
        made = cloud.call("POST", path, {"clusterName": name, "labels": labels, "config": config})
        assert made.status_code == 200, made.text
    cloud.wait(90)
    listed = gcloud(cloud, tmp_path, "dataproc", "clusters", "list", here, "--filter=labels.team = x")
    assert [each["clusterName"] for each in listed] == ["ann-spark"]
    described = gcloud(cloud, tmp_path, "dataproc", "clusters", "describe", "ann-spark", here)
    assert described["status"]["state"] == "RUNNING"
    assert described["config"]["lifecycleConfig"]["idleDeleteTtl"] == "1209600s"
    assert described["config"]["endpointConfig"]["httpPorts"]["JupyterLab"].endswith("/gateway/default/jupyter/lab/")
    cloud.world.clock.set_speed(600)  # gcloud waits for the operation
    gcloud(cloud, tmp_path, "dataproc", "clusters", "delete", "ann-spark", here)
    assert cloud.call("GET", f"{path}/ann-spark").status_code == 404


def test_session_templates_by_gcloud(cloud: NotebooksCloud, tmp_path: Path):
    words, here = ("beta", "dataproc", "session-templates"), f"--location={REGION}"
    source = tmp_path / "template.yaml"
    source.write_text("jupyterSession: {kernel: PYTHON, displayName: PySpark}\nlabels: {team: x}\n", encoding="utf-8")
    gcloud(cloud, tmp_path, *words, "import", "pyspark", here, f"--source={source}")
    source.write_text("jupyterSession: {kernel: SCALA, displayName: Spark}\n", encoding="utf-8")
    gcloud(cloud, tmp_path, *words, "import", "pyspark", here, f"--source={source}")  # overwrites
    (listed,) = gcloud(cloud, tmp_path, *words, "list", here)
    described = gcloud(cloud, tmp_path, *words, "describe", "pyspark", here)
    assert listed == described
    assert described["name"] == f"projects/{ID}/locations/{REGION}/sessionTemplates/pyspark"
    assert described["jupyterSession"] == {"kernel": "SCALA", "displayName": "Spark"}
    assert "labels" not in described
    gcloud(cloud, tmp_path, *words, "delete", "pyspark", here)
    assert gcloud(cloud, tmp_path, *words, "list", here) == []
