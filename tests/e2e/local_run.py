"""The whole system as its processes, started as a user starts it, and an eye on the world that is not the product's own."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import notebooks_v2, pubsub_v1, storage
from google.pubsub_v1.services.publisher.transports.grpc import PublisherGrpcTransport

ROOT = Path(__file__).resolve().parents[2]
PROJECT = "benchkeeper-local"
LIFECYCLE = f"projects/{PROJECT}/topics/workbench-lifecycle"
LETTERS = f"{PROJECT}-letters"
_FIRST_PORT, _LAST_PORT = 20_000, 30_000  # below what the kernel hands out by itself, so that no other test takes it
_START_S = 60.0
# Ctrl-C is heard even where the tests were started with it ignored (nohup, some CI): a child would inherit that.
HEARS_CTRL_C = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
)


def clean_environment(**more: str) -> dict[str, str]:
    """What a child needs of ours, without anything that would point the product or a client elsewhere."""
    kept = {
        key: value
        for key, value in os.environ.items()  # noqa: TID251 - a child process inherits the machine's environment
        if not key.startswith(("BENCHKEEPER_", "CLOUDSDK_", "GOOGLE_", "STORAGE_", "PUBSUB_", "COVERAGE", "PYTEST_"))
    }
    return {**kept, "PYTHONUNBUFFERED": "1", "TERM": "dumb", "COLUMNS": "140", **more}


def free_port() -> int:
    """A port nobody listens on, at random, so that parallel tests do not choose the same."""
    chooser = random.SystemRandom()
    for _ in range(100):
        port = chooser.randrange(_FIRST_PORT, _LAST_PORT, 4)  # the next two are the hub page's and JupyterLab's
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port was found")


def until(holds: Callable[[], bool], *, seconds: float, what: str | Callable[[], str], every: float = 0.1) -> None:
    """Return when `holds`; fail with `what` after so many seconds."""
    pause = threading.Event()
    for _ in range(max(1, int(seconds / every))):
        if holds():
            return
        pause.wait(every)
    pytest.fail(f"after {seconds:g} s it did not come to hold: {what if isinstance(what, str) else what()}")


def alive(pid: int) -> bool:
    """True while there is such a process that is no zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return not Path("/proc/self").exists()


def processes_naming(text: str) -> list[int]:
    """Processes with this text in their command line (Linux; elsewhere none are found)."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in command and alive(int(folder.name)):
            found.append(int(folder.name))
    return found


@dataclass
class World:
    """What is really there, asked of the cloud by the official clients; knows nothing of how the product names things."""

    notebooks: notebooks_v2.NotebookServiceClient
    bucket: storage.Bucket
    letters_bucket: storage.Bucket

    def instances(self) -> list[notebooks_v2.Instance]:
        return list(self.notebooks.list_instances(parent=f"projects/{PROJECT}/locations/-"))

    def owners(self, state: str | None = None) -> list[str]:
        """Whose the instances are (those in this state), sorted, with repetitions.

        The API takes `instanceOwners` and gives them back as metadata only.
        """
        return sorted(
            instance.gce_setup.metadata.get("proxy-user-mail", f"nobody: {instance.name}")
            for instance in self.instances()
            if state is None or instance.state.name == state
        )

    def objects(self, prefix: str) -> list[str]:
        return sorted(blob.name for blob in self.bucket.list_blobs(prefix=prefix))

    def letters(self) -> list[str]:
        """The names of the dead letters that are kept, those that were replayed too."""
        return sorted(blob.name for blob in self.letters_bucket.list_blobs(prefix="dead-letters/"))

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(blob.download_as_bytes()) for blob in self.bucket.list_blobs(prefix="records/")]


@dataclass
class Local:
    """A running system."""

    process: subprocess.Popen[str]
    url: str
    lines: list[str] = field(default_factory=list)
    http: requests.Session = field(default_factory=requests.Session)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def said(self, beginning: str) -> list[str]:
        return [line for line in list(self.lines) if line.startswith(beginning)]

    def control(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        answer = self.http.request(method, f"{self.url}/_emulator/{path}", json=body, timeout=30)
        assert answer.ok, answer.text
        return dict(answer.json())

    def functions(self) -> list[dict[str, Any]]:
        return list(self.control("GET", "functions")["functions"])

    def function_pids(self) -> list[int]:
        return [int(found["pid"]) for found in self.functions() if found["pid"] is not None]

    @contextmanager
    def world(self) -> Iterator[World]:
        stored = storage.Client(
            project=PROJECT, credentials=AnonymousCredentials(), client_options={"api_endpoint": self.url}
        )
        clients = World(
            notebooks=notebooks_v2.NotebookServiceClient(
                transport="rest",
                credentials=AnonymousCredentials(),
                client_options=ClientOptions(api_endpoint=self.url),
            ),
            bucket=stored.bucket(PROJECT),
            letters_bucket=stored.bucket(LETTERS),
        )
        try:
            yield clients
        finally:
            clients.notebooks.transport.close()
            stored.close()

    def publish(self, *bodies: Mapping[str, Any], endpoint: str | None = None) -> None:
        """Publish lifecycle messages with the official client; returns when Pub/Sub has them all."""
        with grpc.insecure_channel(endpoint or f"127.0.0.1:{self.port}") as channel:
            client = pubsub_v1.PublisherClient(transport=PublisherGrpcTransport(channel=channel))
            sent = [client.publish(LIFECYCLE, json.dumps(body).encode()) for body in bodies]
            for future in sent:
                future.result(timeout=60)
            client.stop()

    def benchkeeper(
        self, *words: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """The console command, against this system."""
        return subprocess.run(
            [str(Path(sys.executable).with_name("benchkeeper")), *words],
            env=clean_environment(BENCHKEEPER_API_ENDPOINT=self.url, **(environment or {})),
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip


def news(kind: str, user: str, *, groups: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    """A message in the neutral schema."""
    body: dict[str, Any] = {
        "schema": "workbench.lifecycle/v1",
        "event_id": f"{kind}-{user}",
        "type": kind,
        "user": user,
    }
    if groups:
        body["attributes"] = {"groups": list(groups)}
    return body | more


def with_room_for_crowds(folder: Path) -> dict[str, str]:
    """The environment of the local configuration with a guard that lets a whole crowd leave at once."""
    shutil.copytree(ROOT / "config", folder)
    with (folder / "settings.local.yaml").open("a", encoding="utf-8") as file:
        file.write("guard: {per_hour: 1000, most: 1000, group_share: 1.0, creations: 1000}\n")
    return {"BENCHKEEPER_CONFIG_DIR": str(folder)}


@contextmanager
def running_local(
    *words: str,
    port: int | None = None,
    ready: bool = True,
    command: tuple[str, ...] | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path = ROOT,
) -> Iterator[Local]:
    """`python -m cli.local` (or `command`, in `folder`) with these options; ended by SIGINT if the test has not ended it itself."""
    chosen = port if port is not None else free_port()
    process = subprocess.Popen(
        [
            sys.executable, "-c", HEARS_CTRL_C,
            *(command or (sys.executable, "-m", "cli.local")), "--port", str(chosen), *words,
        ],
        cwd=folder, env=clean_environment(**(environment or {})), text=True, encoding="utf-8", start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    local = Local(process, f"http://127.0.0.1:{chosen}")
    local.http.trust_env = False
    reader = threading.Thread(target=_read, args=(process, local.lines), daemon=True)
    reader.start()
    try:
        if ready:
            until(
                lambda: bool(local.said("Benchkeeper is running")) or process.poll() is not None,
                seconds=_START_S,
                what=lambda: f"it is up; it said {local.lines}",
            )
            assert process.poll() is None, local.lines
        yield local
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        reader.join(10)
        if process.stdout is not None:
            process.stdout.close()
        local.http.close()


def _read(process: subprocess.Popen[str], lines: list[str]) -> None:
    for line in process.stdout or ():
        lines.append(line.rstrip("\n"))  # noqa: PERF401 - another thread looks at them one by one
