"""Real JupyterLabs: they come and go with their environments, their files with the disks, and nothing is left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

from emulator.iap.pages import Person
from tests.e2e.local_run import alive, processes_naming
from tests.emulator.jupyter_kit import (
    ZONE,
    Notebooks,
    api,
    cell,
    jupyter_environment,
    lab_cloud,
    labs,
    signed_in,
    until,
    up,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emulator.app import EmbeddedCloud

pytestmark = [pytest.mark.e2e, pytest.mark.jupyter, pytest.mark.timeout(240)]
ANA, BEN = "ana.silva@example.com", "ben@example.com"
ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def python() -> Path:
    return jupyter_environment()


@pytest.fixture(scope="module")
def cloud(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedCloud]:
    with lab_cloud(python, tmp_path_factory.mktemp("labs")) as made:
        yield made


def test_a_person_from_nothing_to_a_cell_and_back_after_a_stop(cloud: EmbeddedCloud, python: Path) -> None:
    notebooks = Notebooks(cloud)
    url = notebooks.create("ana", ANA)
    first = up(cloud, url)
    ana, ben = signed_in(cloud, ANA), signed_in(cloud, BEN)
    page = ana.arrive(f"{url}/lab")
    assert page.status == 200
    assert "<title>JupyterLab</title>" in page.text
    assert api(ana, url, "GET", "/api/status")["kernels"] == 0
    # Others: nobody is asked who they are, somebody else is told that it is not theirs, and not whose it is.
    assert ben.arrive(f"{url}/lab").status == 403
    assert ANA not in ben.arrive(f"{url}/lab").text
    assert ben.get(f"{url}/api/status", headers={"Accept": "application/json"}).status == 403
    # A cell, over the WebSocket.
    done = cell(
        python,
        ana,
        url,
        "open('kept.txt', 'w').write('hello'); import os; print(os.getcwd(), os.environ.get('JUPYTER_TOKEN'))",
    )
    assert done.returncode == 0, done.stderr
    assert "/disks/" in done.stdout
    kernel = api(ana, url, "GET", "/api/kernels")[0]["id"]
    for origin in ("http://evil.example", "null", "http://other.notebooks.localhost:1"):
        assert "403" in cell(python, ana, url, "1", origin=origin, kernel=kernel).stderr
    refused = cell(python, ben, url, "1", origin=url, kernel=kernel)
    assert refused.returncode != 0
    assert "403" in refused.stderr
    # Stop: the process goes. Start: another process, the same file.
    notebooks.do("ana", "stop")
    until(lambda: not alive(first["pid"]), what="its process ended")
    notebooks.wait("ana", "STOPPED")
    stopped = ana.arrive(f"{url}/lab")
    assert (stopped.status, "Your environment is stopped" in stopped.text) == (503, True)
    notebooks.do("ana", "start")
    notebooks.wait("ana", "ACTIVE")
    assert up(cloud, url)["pid"] != first["pid"]
    assert api(ana, url, "GET", "/api/contents/kept.txt")["content"] == "hello"
    # A crash: started again.
    now = up(cloud, url)
    os.kill(now["pid"], signal.SIGKILL)
    until(lambda: (row := up(cloud, url))["starts"] == 2 and row["pid"] != now["pid"], what="it is started again")
    assert api(ana, url, "GET", "/api/contents/kept.txt")["content"] == "hello"


def test_files_go_with_the_disk_and_come_with_the_snapshot(cloud: EmbeddedCloud) -> None:
    notebooks = Notebooks(cloud)
    url = notebooks.create("ben", BEN)
    up(cloud, url)
    ben = signed_in(cloud, BEN)
    ben.arrive(f"{url}/lab")
    root = cloud.gateway.labs._options.folder
    api(ben, url, "PUT", "/api/contents/kept.txt", {"type": "file", "format": "text", "content": "before"})
    compute = f"{cloud.url}/compute/v1/projects/benchkeeper-local"
    body = {"name": "ben-snapshot", "sourceDisk": f"projects/benchkeeper-local/zones/{ZONE}/disks/ben-data-workspace"}
    requests.post(f"{compute}/global/snapshots", json=body, timeout=10).raise_for_status()
    snapshot = f"{compute}/global/snapshots/ben-snapshot"
    until(
        lambda: requests.get(snapshot, timeout=10).json()["status"] == "READY", seconds=20, what="the snapshot is READY"
    )
    ident = requests.get(snapshot, timeout=10).json()["id"]
    until((root / "snapshots" / ident / "kept.txt").exists, what="the snapshot has the file")
    api(ben, url, "PUT", "/api/contents/kept.txt", {"type": "file", "format": "text", "content": "after"})
    before = up(cloud, url)["pid"]
    notebooks.do("ben", "restore", {"snapshot": {"projectId": "benchkeeper-local", "snapshotId": "ben-snapshot"}})
    until(lambda: up(cloud, url)["pid"] != before, what="a new server over the new disk")
    notebooks.wait("ben", "ACTIVE")
    assert api(ben, url, "GET", "/api/contents/kept.txt")["content"] == "before"
    # A deleted instance's disk and its files are gone; the snapshot's stay as long as it does.
    folders = set((root / "disks").iterdir())
    notebooks.delete("ben")
    until(lambda: len(folders - set((root / "disks").iterdir())) == 1, what="its folder is gone")
    assert (root / "snapshots" / ident / "kept.txt").read_text() == "before"
    assert ben.get(f"{url}/lab").status == 404
    requests.delete(snapshot, timeout=10).raise_for_status()
    until(lambda: not (root / "snapshots" / ident).exists(), what="the snapshot's folder is gone")


def test_a_cluster_with_jupyter_is_its_users_alone(cloud: EmbeddedCloud, python: Path) -> None:
    clusters = f"{cloud.url}/v1/projects/benchkeeper-local/regions/europe-west1/clusters"
    software = {"optionalComponents": ["JUPYTER"], "properties": {"dataproc:dataproc.personal-auth.user": ANA}}
    body = {
        "clusterName": "spark-ana",
        "config": {"endpointConfig": {"enableHttpPortAccess": True}, "softwareConfig": software},
    }
    requests.post(clusters, json=body, timeout=30).raise_for_status()
    found = until(
        lambda: (
            (body := requests.get(f"{clusters}/spark-ana", timeout=10).json())["status"]["state"] == "RUNNING" and body
        )
    )
    page = found["config"]["endpointConfig"]["httpPorts"]["JupyterLab"]
    url, _, path = page.removeprefix("http://").partition("/")
    url = f"http://{url}"
    assert url.partition(":")[2].partition(":")[0].endswith(".dataproc.localhost")
    up(cloud, url)
    ana, ben = signed_in(cloud, ANA), signed_in(cloud, BEN)
    opened = ana.arrive(page)
    assert (opened.status, "<title>JupyterLab</title>" in opened.text) == (200, True)
    assert ben.arrive(page).status == 403
    assert ana.arrive(f"{url}/").status == 200
    assert ana.get(f"{url}/yarn/").status == 404
    done = cell(python, ana, url, "print(6 * 7)", base=f"/{path.removesuffix('lab/')}")
    assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr
    pid = up(cloud, url)["pid"]
    until(lambda: requests.delete(f"{clusters}/spark-ana", timeout=10).ok, what="the delete is taken")
    until(
        lambda: not alive(pid) and not labs(cloud).get(url.removeprefix("http://").partition(":")[0]), what="it is gone"
    )
    until(lambda: not list((cloud.gateway.labs._options.folder / "clusters").iterdir()), what="its files are gone")


@pytest.mark.browser
def test_a_real_browser_signs_in_opens_it_and_runs_a_cell(cloud: EmbeddedCloud) -> None:
    tool = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    url = Notebooks(cloud).create("chi", "chi.lee@example.com")
    cloud.iap.sign_in.people = [Person("chi.lee@example.com", "Chi Lee", "Analyst")]
    cloud.gateway.patience_s = 60  # the page itself waits for JupyterLab
    with tool.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=[] if os.getuid() else ["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(60_000)
        page.goto(f"{url}/lab")
        page.get_by_role("button", name="Chi Lee").click()
        page.locator(".jp-LauncherCard[data-category=Notebook]").first.click()
        assert page.url.startswith(f"{url}/lab")
        assert "ticket" not in page.url
        page.locator(".jp-Notebook .cm-content").first.click()
        page.keyboard.type("print(6 * 7)")
        cell = page.locator(".jp-Notebook .cm-content", has_text="print(6 * 7)").first
        answer = page.locator(".jp-OutputArea-output", has_text="42").first
        cell.wait_for()
        # JupyterLab forgets a cell that is run before there is a kernel, and its indicator says "idle" then too: run it again.
        for _ in range(40):
            cell.click()
            page.keyboard.press("Control+Enter")
            try:
                answer.wait_for(timeout=3_000)
                break
            except tool.TimeoutError:
                continue
        assert answer.is_visible(), page.locator(".jp-Notebook").first.inner_text()
        browser.close()
    cloud.gateway.patience_s = 0
    Notebooks(cloud).delete("chi")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found through /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_the_embedded_cloud(python: Path, tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "emulator", "--port", "0", "--speed", "600", "--data", str(tmp_path), "--hub-port", "0",
         "--jupyter", str(python)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        base = process.stdout.readline().split()[-1]

        class Cloud:
            url = base
            iap = type("Front", (), {"url": requests.get(f"{base}/_emulator/iap", timeout=10).json()["url"]})

        notebooks = Notebooks(Cloud)  # type: ignore[arg-type]
        url = notebooks.create("ana", ANA)
        pid = up(Cloud, url)["pid"]  # type: ignore[arg-type]
        ana = signed_in(Cloud, ANA)  # type: ignore[arg-type]
        ana.arrive(f"{url}/lab")
        # A kernel that is busy outside of Python's reach, what it put into the background in a session of its own, and a terminal.
        marked = f"98765{number.value:02}"  # the other of the two tests may run beside this one
        code = f"""
            import subprocess, sys, os
            subprocess.Popen(["sleep", "{marked}4"], start_new_session=True)
            subprocess.Popen(["sh", "-c", "(setsid sleep {marked}3 &)"])
            print(os.getpid())
        """
        done = cell(python, ana, url, code)
        assert done.returncode == 0, done.stderr
        kernel = int(done.stdout)
        api(ana, url, "POST", "/api/terminals", {})
        until(lambda: len(processes_naming(f"sleep {marked}")) == 2, what="both sleep")
        left = [pid, kernel, *processes_naming(f"sleep {marked}"), *processes_naming(str(tmp_path))]
        process.send_signal(number)
        process.wait(30)
    until(
        lambda: not any(alive(each) for each in left), seconds=20, what=lambda: [each for each in left if alive(each)]
    )
    assert processes_naming(str(tmp_path)) == []
    kept = json.loads((tmp_path / "world.json").read_text()) if number == signal.SIGTERM else None
    assert kept is None or "jupyter" not in kept["models"]
    texts = [path.read_text(errors="replace") for path in (tmp_path / "logs").glob("jupyter-*.log")]
    assert texts
    assert all("token=" not in text for text in texts)
