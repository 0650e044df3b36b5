"""The joins per second, compared with JupyterHub's spawns per second: three alternating runs, of which the medians count.

The peer is JupyterHub 6.1.1 with a SQLite file, a spawner that starts nothing and is ready at once, 50 clients and at most 100
spawns at a time. Each client creates a user and spawns until the server is reported as ready. Benchkeeper is the whole system as
`./deploy.sh local` starts it: joiners go through Pub/Sub push into a real functions-framework process, until each has a record and
an instance was created. JupyterHub is installed once in bench/peers/.venv, its proxy in bench/peers/node_modules; without npm the
benchmark is skipped.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import requests
from benching import (
    arguments,
    embedded_cloud,
    free_port,
    header,
    judge,
    median,
    news,
    object_names,
    publish,
    pubsub_message,
    say,
    wait_until,
)

HERE = Path(__file__).resolve().parent
PYTHON, PROXY = HERE / ".venv/bin/python", HERE / "node_modules/.bin/configurable-http-proxy"
_CLIENTS = 50
_PATIENCE_S = 600.0
_CLOCK = "X-Emulator-Time"  # the embedded cloud's clock, in each of its answers


def set_up() -> str | None:
    """Install JupyterHub and its proxy if they are not installed. Return the reason why the benchmark cannot run, or None."""
    if shutil.which("npm") is None:
        return "npm is not installed, and JupyterHub's proxy comes from it"
    commands = [
        [sys.executable, "-m", "venv", str(HERE / ".venv")],
        [
            str(PYTHON),
            "-m",
            "pip",
            "install",
            "-qq",
            "--disable-pip-version-check",
            "-r",
            str(HERE / "requirements.txt"),
        ],
        [
            "npm",
            "install",
            "--silent",
            "--no-save",
            "--no-package-lock",
            "--prefix",
            str(HERE),
            "configurable-http-proxy@5.3.0",
        ],
    ]
    for command in [] if PROXY.exists() and (HERE / ".venv/bin/jupyterhub").exists() else commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"{' '.join(command[:3])} failed: {done.stderr.strip()[-300:]}"
    return None


class _Ready(BaseHTTPRequestHandler):
    """The HTTP handler of all servers of the null spawner: it answers 200, so that JupyterHub takes a server as ready."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def peer() -> Iterator[tuple[int, str]]:
    """Yield the port of a new JupyterHub's API, and a token for it. Raise `RuntimeError` if it is not up within a minute."""
    answers = ThreadingHTTPServer(("127.0.0.1", 0), _Ready)
    threading.Thread(target=answers.serve_forever, daemon=True).start()
    port, token = free_port(), secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="benchkeeper-peer-") as folder:
        environment = os.environ | {
            "PEER_FOLDER": folder, "PEER_PORT": str(free_port()), "PEER_HUB_PORT": str(port), "PEER_PROXY_PORT": str(free_port()),
            "PEER_ANSWERS": str(answers.server_port), "PEER_TOKEN": token, "PEER_PROXY": str(PROXY),
        }  # fmt: skip
        log = Path(folder) / "log"
        with log.open("wb") as out:
            hub = subprocess.Popen(
                [str(PYTHON), "-m", "jupyterhub", "-f", str(HERE / "jupyterhub_config.py")],
                cwd=folder, env=environment, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        try:
            if not wait_until(lambda: _is_up(port), patience_s=60):
                raise RuntimeError(f"JupyterHub did not start: {log.read_text()[-2000:]}")
            yield port, token
        finally:
            hub.terminate()
            with suppress(subprocess.TimeoutExpired):
                hub.wait(30)
            with suppress(ProcessLookupError):  # its proxy, too
                os.killpg(hub.pid, signal.SIGKILL)
            hub.wait()
            answers.shutdown()
            answers.server_close()


def _is_up(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/hub/api/", timeout=2).ok
    except requests.RequestException:
        return False


def spawns(count: int) -> float:
    """Return the spawns per second, including the creation of users."""
    local = threading.local()
    with peer() as (port, token):

        def call(method: str, path: str) -> tuple[int, bytes]:
            if not hasattr(local, "http"):
                local.http = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
            local.http.request(method, f"/hub/api{path}", headers={"Authorization": f"token {token}"})
            answer = local.http.getresponse()
            return answer.status, answer.read()

        def spawn(number: int) -> None:
            user = f"/users/person-{number}"
            status, said = call("POST", user)
            assert status == 201, said
            status, said = call("POST", f"{user}/server")
            while status == 202:  # under way
                known = json.loads(call("GET", user)[1])
                status = 201 if known["servers"].get("", {}).get("ready") else 202
                time.sleep(0.05)
            assert status == 201, said

        begun = time.perf_counter()
        with ThreadPoolExecutor(_CLIENTS) as clients:
            list(clients.map(spawn, range(count)))
        took = time.perf_counter() - begun
    say(f"JupyterHub: {count:,} spawns in {took:.1f} s = {count / took:.1f} a second")
    return count / took


def joins(count: int) -> float:
    """Return the joins per second, from the first publish until the last instance was requested.

    That moment is the instance's `createTime` by the embedded cloud's clock, which runs at real speed here. The time at which a
    listing shows the instance says nothing about the product, because the embedded cloud lists an instance five seconds after its
    creation.
    """
    moment = datetime.now(UTC) - timedelta(days=1)
    messages = [pubsub_message(news("joiner", f"person.{number}@example.com", moment)) for number in range(count)]
    with embedded_cloud(speed=1, functions=True) as system:
        url = f"{system.url}/v2/projects/{system.settings.project}/locations/-/instances"

        def page(token: str = "") -> requests.Response:
            return requests.get(url, params={"pageSize": "1000", "pageToken": token}, timeout=60)

        def created() -> list[datetime]:
            found: list[datetime] = []
            token = ""
            while True:
                answer = page(token).json()
                found += [datetime.fromisoformat(made["createTime"]) for made in answer.get("instances", [])]
                token = answer.get("nextPageToken", "")
                if not token:
                    return found

        begun = datetime.fromisoformat(page().headers[_CLOCK])
        publish(system, system.settings.topic_lifecycle, messages)
        if not wait_until(lambda: len(created()) >= count, patience_s=_PATIENCE_S, every_s=1):
            raise RuntimeError(f"only {len(created())} of {count} instances; see {system.log_file}")
        took = (max(created()) - begun).total_seconds()
        records = len(object_names(system, "records/"))
        if records < count:
            raise RuntimeError(f"{count} instances and only {records} records; see {system.log_file}")
    say(f"Benchkeeper: {count:,} joins in {took:.1f} s = {count / took:.1f} a second")
    return count / took


def main() -> None:
    asked = arguments(__doc__)
    count, rounds = (100, 1) if asked.quick else (1_000, 3)
    header(f"Joins beside JupyterHub's spawns, {count:,} people")
    why_not = set_up()
    if why_not is not None:
        say(f"skipped: {why_not}")
        return
    ours, theirs = [], []
    for _ in range(rounds):
        theirs.append(spawns(count))
        ours.append(joins(count))
    say(f"medians: {median(ours):.1f} joins, {median(theirs):.1f} spawns a second")
    judge("RATIO joins / spawns", median(ours) / median(theirs), 2.5, at_least=True)


if __name__ == "__main__":
    main()
