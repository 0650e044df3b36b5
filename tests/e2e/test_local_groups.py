"""What an administrator makes elsewhere is there in the local system: the groups that carry the data roles of profiles."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.e2e.local_run import ROOT, running_local

pytestmark = [pytest.mark.e2e, pytest.mark.waits("for the clock of a whole system"), pytest.mark.timeout(180)]

SCIENTIST = """
  scientist:
    title: Scientist
    machine_type: n2-standard-8
    identity: personal-service-account
    data_group: scientists-data@example.com
    data_roles: [roles/bigquery.dataViewer]
"""


def test_data_groups_are_made_and_found_again_after_a_restart(tmp_path: Path) -> None:
    config = shutil.copytree(ROOT / "config", tmp_path / "config", ignore=shutil.ignore_patterns("checked.*"))
    with (config / "profiles.yaml").open("a", encoding="utf-8") as file:
        file.write(SCIENTIST)
    words = ("--no-examples", "--data", str(tmp_path / "data"))
    names = []
    for _ in range(2):
        with running_local(*words, environment={"BENCHKEEPER_CONFIG_DIR": str(config)}) as local:
            query = {"groupKey.id": "scientists-data@example.com"}
            answer = local.http.get(f"{local.url}/v1/groups:lookup", params=query, timeout=30)
            assert answer.ok, answer.text
            names.append(answer.json()["name"])
    assert names[0] == names[1]
