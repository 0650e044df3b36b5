"""Real JupyterLabs behind an embedded cloud: its environment (made when it is not there), the cloud, and a cell run over a WebSocket."""

from __future__ import annotations

import json
import subprocess
import textwrap
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import requests

from cli.local.errors import LocalError
from cli.local.jupyter import ensure_jupyter
from emulator.app import EmbeddedCloud
from emulator.clock import VirtualClock
from emulator.jupyter.labs import Options
from tests.emulator.iap_kit import Browser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ZONE = "europe-west1-b"

# Runs in the Jupyter environment, which has a WebSocket client: one kernel, one cell, what it printed.
_CELL = """
import json, sys, uuid, websocket
asked = json.loads(sys.argv[1])
ws = websocket.create_connection(
    asked["url"], host=asked["host"], origin=asked["origin"], cookie=asked["cookie"], timeout=60, suppress_origin=asked["origin"] is None)
head = {"msg_id": uuid.uuid4().hex, "session": uuid.uuid4().hex, "username": "", "msg_type": "execute_request", "version": "5.3"}
content = {"code": asked["code"], "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False}
ws.send(json.dumps({"header": head, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell", "buffers": []}))
printed = ""
while True:
    got = json.loads(ws.recv())
    if got["parent_header"].get("msg_id") != head["msg_id"]:
        continue
    if got["msg_type"] == "stream":
        printed += got["content"]["text"]
    if got["msg_type"] == "error":
        sys.exit("\\n".join(got["content"]["traceback"]))
    if got["msg_type"] == "status" and got["content"]["execution_state"] == "idle":
        break
ws.close()
print(printed, end="")
"""


def jupyter_environment() -> Path:
    """Its Python; skips with the reason where it is neither there nor can be installed."""
    try:
        return ensure_jupyter(lambda _text: None)
    except LocalError as error:
        pytest.skip(f"there is no environment with JupyterLab, and none can be made: {error}")


@contextmanager
def lab_cloud(python: Path, folder: Path, *, speed: float = 600, most: int = 20) -> Iterator[EmbeddedCloud]:
    cloud = EmbeddedCloud.build(clock=VirtualClock(speed=speed))
    cloud.iap.open_at(0)
    options = Options(
        python=python, folder=folder / "jupyter", log_folder=folder / "logs", most=most, every_real_s=0.05
    )
    cloud.gateway.open_at(0, options)
    cloud.gateway.patience_s = 0
    with cloud:
        yield cloud


def until(holds: Callable[[], Any], *, seconds: float = 60, what: object = "it") -> Any:
    pause = threading.Event()
    for _ in range(int(seconds / 0.05)):
        found = holds()
        if found:
            return found
        pause.wait(0.05)
    raise AssertionError(f"after {seconds:g} s it did not come to hold: {what() if callable(what) else what}")


def labs(cloud: EmbeddedCloud) -> dict[str, dict[str, Any]]:
    found = requests.get(f"{cloud.url}/_emulator/jupyter", timeout=10).json()["labs"]
    return {each["host"]: each for each in found}


class Notebooks:
    """The few calls of the Notebooks API, as a client makes them."""

    def __init__(self, cloud: EmbeddedCloud) -> None:
        self.base = f"{cloud.url}/v2/projects/benchkeeper-local/locations/{ZONE}/instances"
        self.cloud = cloud

    def get(self, name: str) -> dict[str, Any]:
        return dict(requests.get(f"{self.base}/{name}", timeout=10).json())

    def create(self, name: str, owner: str, **metadata: str) -> str:
        """Returns its address once it is ACTIVE."""
        body = {"instanceOwners": [owner], **({"gceSetup": {"metadata": metadata}} if metadata else {})}
        requests.post(self.base, params={"instanceId": name}, json=body, timeout=10).raise_for_status()
        self.wait(name, "ACTIVE")
        return f"http://{self.get(name)['proxyUri']}"

    def wait(self, name: str, state: str) -> None:
        until(lambda: self.get(name).get("state") == state, seconds=20, what=lambda: f"{state}: {self.get(name)}")

    def do(self, name: str, verb: str, body: dict[str, Any] | None = None) -> None:
        def tried() -> bool:
            return requests.post(f"{self.base}/{name}:{verb}", json=body or {}, timeout=10).ok

        until(tried, seconds=10, what=f"{verb} is taken")

    def delete(self, name: str) -> None:
        until(lambda: requests.delete(f"{self.base}/{name}", timeout=10).ok, seconds=10, what="the delete is taken")
        until(lambda: requests.get(f"{self.base}/{name}", timeout=10).status_code == 404, seconds=10, what="it is gone")


def up(cloud: EmbeddedCloud, url: str) -> dict[str, Any]:
    """Its row, once its JupyterLab answers."""
    host = url.removeprefix("http://").partition(":")[0]
    return dict(
        until(
            lambda: (row := labs(cloud).get(host)) and row["state"] == "running" and row,
            what=lambda: f"{host}: {labs(cloud)}",
        )
    )


def signed_in(cloud: EmbeddedCloud, email: str) -> Browser:
    browser = Browser()
    assert browser.sign_in(cloud.iap.url, email).status == 303
    return browser


def api(browser: Browser, url: str, method: str, path: str, body: Any = None, **headers: str) -> Any:
    """A call of the page's own script."""
    raw = json.dumps(body).encode() if body is not None else None
    sent = {"Accept": "application/json", "Content-Type": "application/json", "Origin": url, **headers}
    answer = browser.get(f"{url}{path}", method=method, body=raw, headers=sent)
    assert answer.status < 300, (answer.status, answer.text)
    return json.loads(answer.body) if answer.body else None


def cell(
    python: Path, browser: Browser, url: str, code: str, *, base: str = "/", origin: str | None = "", kernel: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a cell in a kernel (a new one without a name) and give what it printed."""
    ident = kernel or api(browser, url, "POST", f"{base}api/kernels", {})["id"]
    host = url.removeprefix("http://")
    jar = browser.jar[host.partition(":")[0]]
    asked = {
        "url": f"ws://127.0.0.1:{host.partition(':')[2]}{base}api/kernels/{ident}/channels", "host": host,
        "origin": url if origin == "" else origin, "cookie": "; ".join(f"{name}={value}" for name, value in jar.items()),
        "code": textwrap.dedent(code),
    }  # fmt: skip
    return subprocess.run(
        [str(python), "-c", _CELL, json.dumps(asked)], capture_output=True, text=True, timeout=90, check=False
    )
