"""The script that runs on a VM, as a process of its own against a metadata server and a JupyterLab that are there, odd, or gone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from kit.acme import ROOT

from emulator.app import EmbeddedCloud
from shared.domain.fleet.report import MOST_BYTES, Report, report_of

SCRIPT = ROOT / "config" / "vm" / "reporter.py"
ATTRIBUTE = "/computeMetadata/v1/instance/guest-attributes/benchkeeper/activity"
MOST_MEMORY_KB = 25 * 1024
NOWHERE = "127.0.0.1:9"  # discard: nobody listens


@dataclass
class Server:
    """A server that answers GET by path, and keeps what is put."""

    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    puts: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    put_status: int = 200
    address: str = ""


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append(self.path)
            status, body = server.answers.get(self.path.partition("?")[0], (404, b"{}"))
            self._answer(status, body)

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            server.puts.append((self.path, dict(self.headers), body))
            self._answer(server.put_status, b"")

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: Any) -> None:
            """Stay quiet."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    server.address = f"127.0.0.1:{httpd.server_address[1]}"
    try:
        yield server
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


@pytest.fixture
def metadata() -> Iterator[Server]:
    with serving(Server()) as server:
        yield server


@pytest.fixture
def jupyter() -> Iterator[Server]:
    with serving(Server()) as server:
        yield server


def says(server: Server, *, kernels: Any = (), terminals: Any = ()) -> None:
    server.answers = {
        "/api/kernels": (200, json.dumps(kernels).encode()),
        "/api/terminals": (200, json.dumps(terminals).encode()),
    }


def kernel(state: str, ago: timedelta) -> dict[str, str]:
    return {"execution_state": state, "last_activity": (datetime.now(UTC) - ago).isoformat().replace("+00:00", "Z")}  # noqa: TID251


def run(command: str, tmp_path: Path, *, environ: dict[str, str] | None = None, **options: str) -> Any:
    given = {"run": str(tmp_path / "run"), "home": str(tmp_path), **options}
    words = [word for name, value in given.items() for word in (f"--{name}", value)]
    return subprocess.run(
        [sys.executable, "-I", str(SCRIPT), command, *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environ,
    )


def reported(server: Server) -> Report:
    path, headers, body = server.puts[-1]
    assert path == ATTRIBUTE
    assert headers["Metadata-Flavor"] == "Google"
    assert len(body) < 1000 < MOST_BYTES
    found = report_of(json.loads(body))
    assert found is not None
    return found


def proc(tmp_path: Path, *, up: float, busy: int = 0, killed: int = 0) -> str:
    """A /proc of a machine with 16 GB that is up for so many seconds, of which `busy` hundredths were CPU."""
    folder = tmp_path / "proc"
    (folder / "sys/kernel/random").mkdir(parents=True, exist_ok=True)
    (folder / "sys/kernel/random/boot_id").write_text("0b053e1e-9a01-42dd-a84f-2330fe144973\n")
    (folder / "uptime").write_text(f"{up} 100.0\n")
    (folder / "stat").write_text(f"cpu  {busy} 0 0 999 999 0 0 0 0 0\n")
    (folder / "vmstat").write_text(f"nr_free_pages 1\noom_kill {killed}\n")
    (folder / "meminfo").write_text("MemTotal:       16374460 kB\nMemFree: 1 kB\n")
    return str(folder)


def test_it_tells_kernels_terminals_memory_and_disk_and_asks_without_being_noticed(tmp_path, metadata, jupyter):
    says(
        jupyter,
        kernels=[
            kernel("busy", timedelta(hours=1)),
            kernel("idle", timedelta(minutes=2)),
            kernel("starting", timedelta(hours=2)),
        ],
        terminals=[{"name": "1", "last_activity": "2020-01-01T00:00:00Z"}],
    )
    where = {"metadata": metadata.address, "jupyter": jupyter.address, "proc": proc(tmp_path, up=4000, killed=2)}
    done = run("report", tmp_path, **where)
    assert (done.returncode, done.stderr) == (0, "")
    found = reported(metadata)
    assert (found.busy, found.kernels, found.terminals, found.killed, found.memory_gb) == (1, 3, 1, 2, 15.6)
    assert found.kernel_age is not None
    assert 115 <= found.kernel_age <= 180
    assert found.terminal_age is not None
    assert found.terminal_age > 24 * 3600
    assert found.up == 4000
    assert found.boot.startswith("0b053e1e")
    assert found.disk is not None
    used = shutil.disk_usage(tmp_path)
    assert abs(found.disk - 100 * used.used / (used.used + used.free)) <= 2
    assert all(path.endswith("?no_track_activity=1") for path in jupyter.asked)


def test_cores_are_what_was_used_since_the_report_before_whatever_the_clock_says(tmp_path, metadata, jupyter):
    says(jupyter)
    where = {"metadata": metadata.address, "jupyter": jupyter.address}
    run("report", tmp_path, **where, proc=proc(tmp_path, up=1000, busy=5_000))
    assert reported(metadata).cores is None
    run("report", tmp_path, **where, proc=proc(tmp_path, up=1120, busy=5_000 + 2 * 120 * os.sysconf("SC_CLK_TCK")))
    assert reported(metadata).cores == 2.0
    run("report", tmp_path, **where, proc=proc(tmp_path, up=30, busy=1))  # started anew
    assert reported(metadata).cores is None


def test_a_time_stamp_from_before_the_clock_was_put_back_says_nothing(tmp_path, metadata, jupyter):
    says(jupyter, kernels=[kernel("idle", -timedelta(hours=5)), {"execution_state": "idle", "last_activity": "soon"}])
    run("report", tmp_path, metadata=metadata.address, jupyter=jupyter.address)
    found = reported(metadata)
    assert (found.busy, found.kernels, found.kernel_age) == (0, 2, None)


@pytest.mark.parametrize(
    "answer", [(500, b""), (200, b"not json"), (200, b"{}"), (200, b"[1, 2]"), (403, b"[]"), (200, b"[" * 100_000)]
)
def test_a_jupyterlab_that_is_unwell_leaves_kernels_unknown_and_the_rest_told(tmp_path, metadata, jupyter, answer):
    jupyter.answers = {"/api/kernels": answer, "/api/terminals": answer}
    done = run("report", tmp_path, metadata=metadata.address, jupyter=jupyter.address, proc=proc(tmp_path, up=9))
    assert done.returncode == 0
    found = reported(metadata)
    assert (found.busy, found.kernels, found.terminals) == (None, None, None)
    assert (found.killed, found.up) == (0, 9)


def test_a_jupyterlab_that_is_down_is_no_failure(tmp_path, metadata):
    assert run("report", tmp_path, metadata=metadata.address, jupyter=NOWHERE).returncode == 0
    assert reported(metadata).busy is None


def test_a_metadata_server_that_is_down_or_refuses_is_said_and_is_no_failure(tmp_path, metadata, jupyter):
    says(jupyter)
    done = run("report", tmp_path, metadata=NOWHERE, jupyter=jupyter.address)
    assert done.returncode == 0
    assert "tried again in two minutes" in done.stderr
    metadata.put_status = 503
    done = run("report", tmp_path, metadata=metadata.address, jupyter=jupyter.address)
    assert done.returncode == 0
    assert "answered 503" in done.stderr


def test_a_disk_that_takes_nothing_does_not_keep_it_from_telling(tmp_path, metadata, jupyter):
    says(jupyter)
    done = subprocess.run(
        [sys.executable, "-I", str(SCRIPT), "report", "--metadata", metadata.address, "--jupyter", jupyter.address, "--run",
         "/dev/full", "--home", str(tmp_path)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert reported(metadata).busy == 0


def test_a_machine_of_which_nothing_can_be_read_still_says_so(tmp_path, metadata):
    gone = str(tmp_path / "gone")
    assert run("report", tmp_path, metadata=metadata.address, jupyter=NOWHERE, proc=gone, home=gone).returncode == 0
    found = reported(metadata)
    assert (found.busy, found.cores, found.killed, found.disk) == (None, None, None, None)


def test_it_takes_less_than_25_mb(tmp_path, metadata, jupyter):
    says(jupyter, kernels=[{**kernel("idle", timedelta(0)), "name": "x" * 500} for _ in range(400)])
    python = shutil.which("python3", path="/usr/bin:/bin") or sys.executable
    words = [python, "-I", str(SCRIPT), "report", "--metadata", metadata.address, "--jupyter", jupyter.address]
    # A process that is forked from this large one would count its memory, so a small one starts it.
    measure = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
    measure += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    command = [python, "-I", "-c", measure, *words, "--run", str(tmp_path), "--home", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert reported(metadata).kernels == 400
    assert 0 < int(done.stdout) < MOST_MEMORY_KB


def test_a_shell_may_run_it_and_it_installs_itself_where_memory_is(tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    said = tmp_path / "said"
    (tools / "systemctl").write_text(f'#!/bin/sh\necho "$@" >> {said}\n')
    (tools / "systemctl").chmod(0o755)
    if not Path("/usr/bin/python3").exists():
        pytest.skip("this machine has no /usr/bin/python3, which a Workbench VM has")
    for _ in range(2):
        subprocess.run(
            ["/bin/sh", str(SCRIPT), "install", "--run", str(tmp_path / "run")],
            env={"PATH": f"{tools}:/usr/bin:/bin"},
            check=True,
            timeout=60,
        )
    script = tmp_path / "run" / "benchkeeper" / "reporter.py"
    assert script.read_text() == SCRIPT.read_text()
    timer = (tmp_path / "run/systemd/system/activity-reporter.timer").read_text()
    assert "OnUnitActiveSec=120s" in timer
    assert "OnCalendar" not in timer
    service = (tmp_path / "run/systemd/system/activity-reporter.service").read_text()
    assert f"ExecStart=/usr/bin/python3 -I {script} report" in service
    assert said.read_text().splitlines() == ["daemon-reload", "restart activity-reporter.timer"] * 2


def test_the_embedded_clouds_metadata_route_takes_what_it_sends(tmp_path, jupyter):
    """The real script, a real port, the real adapter's call: what the VM says is read where the product reads it."""
    import requests  # noqa: PLC0415

    says(jupyter, kernels=[kernel("busy", timedelta(0))])
    with EmbeddedCloud.build() as cloud:
        path = f"projects/{cloud.world.project}/locations/europe-west1-b"
        body = {"gceSetup": {"machineType": "e2-standard-4"}}
        made = requests.post(f"{cloud.url}/v2/{path}/instances?instanceId=vm-1", json=body, timeout=10)
        made.raise_for_status()
        cloud.world.clock.advance(timedelta(minutes=10))
        where = f"127.0.0.1:{cloud.port}/_emulator/metadata/europe-west1-b/vm-1"
        done = run("report", tmp_path, metadata=where, jupyter=jupyter.address)
        assert (done.returncode, done.stderr) == (0, "")
        address = f"{cloud.url}/compute/v1/projects/{cloud.world.project}/zones/europe-west1-b/instances/vm-1/getGuestAttributes"
        (item,) = requests.get(address, params={"queryPath": "benchkeeper/"}, timeout=10).json()["queryValue"]["items"]
        assert (item["namespace"], item["key"]) == ("benchkeeper", "activity")
        assert json.loads(item["value"])["kernels"]["busy"] == 1
        assert requests.get(address, params={"queryPath": "other/"}, timeout=10).status_code == 404
