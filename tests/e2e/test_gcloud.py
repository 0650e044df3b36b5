"""By hand: the real gcloud, and curl alone, drive the running product; what somebody stops by hand stays stopped."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.local_run import LIFECYCLE, PROJECT, Local, World, clean_environment, news, running_local, until

pytestmark = [pytest.mark.e2e, pytest.mark.waits("for the clock of a whole system"), pytest.mark.timeout(180)]
ANA, BEN, CLEO = "ana.silva@example.com", "ben@example.com", "cleo@example.com"  # one for each test
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@pytest.fixture(scope="module")
def local() -> Iterator[Local]:
    with running_local("--no-examples", "--speed", "240") as started:
        yield started


def gcloud(local: Local, folder: Path, *words: str) -> str:
    environment = clean_environment(
        HOME=str(folder),
        CLOUDSDK_CONFIG=str(folder / "gcloud"),
        CLOUDSDK_AUTH_DISABLE_CREDENTIALS="true",
        CLOUDSDK_CORE_PROJECT=PROJECT,
        CLOUDSDK_CORE_DISABLE_PROMPTS="1",
        CLOUDSDK_CORE_DISABLE_USAGE_REPORTING="true",
        CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK="true",
        CLOUDSDK_API_ENDPOINT_OVERRIDES_NOTEBOOKS=f"{local.url}/",
        CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB=f"{local.url}/",
    )
    done = subprocess.run(["gcloud", *words], env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def states(world: World, person: str) -> list[str]:
    """The states of all instances that are somebody's."""
    return [each.state.name for each in world.instances() if each.gce_setup.metadata.get("proxy-user-mail") == person]


def record_of(world: World, person: str) -> dict[str, Any]:
    return next(record for record in world.records() if record["email"] == person)


def reason(world: World, person: str) -> str:
    conditions = record_of(world, person)["status"]["conditions"]
    return next((c["reason"] for c in conditions if c["type"] == "NotebookReady"), "")


@pytest.mark.gcloud
def test_gcloud_publishes_looks_and_stops_and_the_stop_is_kept(local: Local, tmp_path: Path) -> None:
    with local.world() as world:
        message = json.dumps(news("joiner", ANA, groups=("data-analysts@example.com",)))
        gcloud(local, tmp_path, "pubsub", "topics", "publish", "workbench-lifecycle", f"--message={message}")
        until(lambda: states(world, ANA) == ["ACTIVE"], seconds=60, what="Ana's is ACTIVE")
        until(lambda: reason(world, ANA) == "Ready", seconds=30, what="Ana is told")

        everything = json.loads(
            gcloud(local, tmp_path, "workbench", "instances", "list", "--location=-", "--format=json")
        )
        (listed,) = [each for each in everything if each["gceSetup"]["metadata"]["proxy-user-mail"] == ANA]
        _, _, _, zone, _, name = listed["name"].split("/")
        where = (name, f"--location={zone}")
        described = json.loads(gcloud(local, tmp_path, "workbench", "instances", "describe", *where, "--format=json"))
        assert described["state"] == "ACTIVE"
        assert described["gceSetup"]["metadata"]["proxy-user-mail"] == ANA
        assert described["gceSetup"]["disablePublicIp"] is True

        gcloud(local, tmp_path, "workbench", "instances", "stop", *where)
        assert states(world, ANA) == ["STOPPED"]
        until(lambda: reason(world, ANA) == "Stopped", seconds=60, what=lambda: f"it is adopted: {reason(world, ANA)}")
        assert record_of(world, ANA)["spec"]["power"] == "STOPPED"

        # Every way of looking again leaves it so.
        for words in (("reconcile", ANA), ("sweep", "drift"), ("sweep", "due"), ("reconcile", ANA)):
            done = local.benchkeeper(*words)
            assert done.returncode == 0, done.stdout + done.stderr
        assert states(world, ANA) == ["STOPPED"]
        starts = [call for call in local.control("GET", "calls")["calls"] if call["method"] == "StartInstance"]
        assert starts == []


@needs_curl
def test_curl_alone_announces_a_joiner(local: Local) -> None:
    data = base64.b64encode(json.dumps(news("joiner", BEN)).encode()).decode()
    done = subprocess.run(
        ["curl", "-sS", "--fail", "--noproxy", "*", "-X", "POST", f"{local.url}/v1/{LIFECYCLE}:publish",
         "-H", "Content-Type: application/json", "-d", json.dumps({"messages": [{"data": data}]})],
        env=clean_environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["messageIds"]) == 1
    with local.world() as world:
        until(lambda: states(world, BEN) == ["ACTIVE"], seconds=60, what="Ben's is ACTIVE")


def test_the_command_announces_a_joiner_and_a_leaver_and_shows_them(local: Local) -> None:
    with local.world() as world:
        done = local.benchkeeper("publish", "joiner", CLEO, "--profile", "analyst")
        assert done.returncode == 0, done.stderr
        until(lambda: states(world, CLEO) == ["ACTIVE"], seconds=60, what="Cleo's is ACTIVE")
        until(lambda: reason(world, CLEO) == "Ready", seconds=30, what="Cleo is told")
        rows = json.loads(local.benchkeeper("list", "--output", "json").stdout)
        assert len([row for row in rows if CLEO in row.values()]) == 1
        assert local.benchkeeper("publish", "leaver", CLEO, "--yes").returncode == 0
        until(lambda: states(world, CLEO) == ["STOPPED"], seconds=60, what="Cleo's is STOPPED")
