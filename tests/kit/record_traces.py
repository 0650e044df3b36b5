"""Record what people and machines do on a real jupyter_server, once a second, for tests/functions/test_idle_played.py.

Run by hand, in the JupyterLab environment; the recordings are committed. `chrt` (as root) keeps other load out of the CPU seconds:

    chrt -f 5 .venv-jupyter/bin/python tests/kit/record_traces.py            # all, five minutes
    chrt -f 5 .venv-jupyter/bin/python tests/kit/record_traces.py nohup tmux

Each second holds the requests that went through the proxy in it, the CPU seconds of all processes of the person so far (also of those
that left the server's tree), the bytes that came over the network so far, and what config/vm/reporter.py reads of the server. What
cannot be recorded here is written by hand: GPU load, jobs elsewhere.
"""

from __future__ import annotations

import http.server
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests" / "data" / "idle-traces"
SECONDS = 15
SETTLES_S = 5  # a kernel that starts uses CPU: not what is recorded
MARK = "BENCHKEEPER_TRACE"
RATE = 3_000_000  # bytes a second of the download

BURN = "import time\nend = time.time() + 60\nwhile time.time() < end: pass"
HALF = "import time\nwhile True:\n    end = time.time() + 0.05\n    while time.time() < end: pass\n    time.sleep(0.05)"
PRINT = "import time\nfor n in range(60): print(n, flush=True); time.sleep(0.5)"
SLEEP = "import time; time.sleep(60)"


def reporter() -> Any:
    spec = importlib.util.spec_from_file_location("reporter", ROOT / "config" / "vm" / "reporter.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Source(http.server.BaseHTTPRequestHandler):
    """Something to download from, at a steady rate; `sent` counts the bytes of all."""

    sent = 0

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"x" * (RATE // 10))
                Source.sent += RATE // 10
                time.sleep(0.1)
        except OSError:
            pass

    def log_message(self, *_args: Any) -> None:
        """Stay quiet."""


class Lab:
    """A jupyter_server with a person in front of it, whose requests are counted."""

    def __init__(self, folder: str, port: int) -> None:
        self.at = f"127.0.0.1:{port}"
        self.requests = 0
        self.mark = uuid.uuid4().hex
        self.sockets: list[Any] = []
        environ = {**os.environ, MARK: self.mark, "JUPYTER_TOKEN": "", "HOME": folder, "SHELL": "/bin/bash"}
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "jupyter", "server", "--no-browser", f"--port={port}", "--ip=127.0.0.1", "--allow-root",
                f"--ServerApp.root_dir={folder}", "--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True",
            ],
            env=environ, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        for _ in range(200):
            try:
                self.ask("GET", "/api/status")
                break
            except OSError:
                time.sleep(0.1)
        self.requests = 0

    def ask(self, verb: str, path: str, body: Any = None) -> Any:
        """A request of the browser, through the proxy."""
        self.requests += 1
        data = None if body is None else json.dumps(body).encode()
        request = Request(
            f"http://{self.at}{path}", data=data, method=verb, headers={"Content-Type": "application/json"}
        )
        with urlopen(request, timeout=5) as answer:  # noqa: S310
            raw = answer.read()
        return json.loads(raw) if raw else None

    def kernel(self) -> str:
        return str(self.ask("POST", "/api/kernels", {"name": "python3"})["id"])

    def connect(self, kernel: str) -> Any:
        import websocket  # noqa: PLC0415 - only in the JupyterLab environment

        made = websocket.create_connection(f"ws://{self.at}/api/kernels/{kernel}/channels", timeout=20)
        self.requests += 1
        self.sockets.append(made)
        return made

    def execute(self, socket: Any, code: str) -> None:
        head = {
            "msg_id": uuid.uuid4().hex,
            "session": uuid.uuid4().hex,
            "username": "",
            "msg_type": "execute_request",
            "version": "5.3",
        }
        content = {"code": code, "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False}
        socket.send(
            json.dumps(
                {
                    "header": head,
                    "parent_header": {},
                    "metadata": {},
                    "content": content,
                    "channel": "shell",
                    "buffers": [],
                }
            )
        )

    def run_and_close(self, code: str) -> None:
        """Run a cell, and close the tab."""
        socket = self.connect(self.kernel())
        self.execute(socket, code)
        time.sleep(1)
        socket.close()

    def in_terminal(self, command: str) -> None:
        """Type a command into a terminal, and close the tab."""
        import websocket  # noqa: PLC0415 - as above

        name = self.ask("POST", "/api/terminals")["name"]
        socket = websocket.create_connection(f"ws://{self.at}/terminals/websocket/{name}", timeout=20)
        self.requests += 1
        time.sleep(1)
        socket.send(json.dumps(["stdin", command + "\r"]))
        time.sleep(1)
        socket.close()

    def cpu_s(self) -> float:
        """Return the CPU seconds of all processes of the person, by a mark in their environment."""
        total, ticks = 0.0, os.sysconf("SC_CLK_TCK")
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if f"{MARK}={self.mark}".encode() in (folder / "environ").read_bytes():
                    fields = (folder / "stat").read_text().rpartition(")")[2].split()
                    total += sum(map(int, fields[11:15])) / ticks
            except (OSError, ValueError, IndexError):
                continue
        return total

    def end(self) -> None:
        """End the server, and what left its tree; only what carries this person's mark."""
        self.process.terminate()
        self.process.wait(10)
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if f"{MARK}={self.mark}".encode() in (folder / "environ").read_bytes():
                    os.kill(int(folder.name), 9)
            except OSError:
                continue


# What is done at the beginning (with the port of the source of downloads), and each second; whether that is work.
def edit(lab: Lab, second: int) -> None:
    lab.ask("PUT", "/api/contents/a.py", {"type": "file", "format": "text", "content": f"n = {second}\n"})


def over_websocket(lab: Lab, second: int) -> None:
    if second % 2:
        lab.execute(lab.sockets[0], f"sum(range({second} * 100_000))")


def poll(lab: Lab, second: int) -> None:
    lab.ask("GET", ("/api/kernels", "/api/sessions", "/api/terminals")[second % 3])


def code_server(lab: Lab, second: int) -> None:
    lab.ask("GET", f"/api/contents/?second={second}")


def nothing(_lab: Lab, _second: int) -> None:
    """Do nothing."""


def python(code: str) -> str:
    return f"{sys.executable} -c '{code}'".replace("\n", "\\n").replace("-c '", "-c $'")


def load(port: int) -> str:
    return f"import urllib.request\nfound = urllib.request.urlopen('http://127.0.0.1:{port}/')\nwhile found.read(100_000): pass"


TRACES: dict[str, tuple[str, bool, Any, Any, dict[str, Any]]] = {
    "edits": ("edits without running anything", True, lambda lab, _: lab.kernel(), edit, {}),
    "websocket": ("runs cells over a websocket alone", True, lambda lab, _: lab.connect(lab.kernel()), over_websocket, {}),
    "output": ("output with the tab closed", True, lambda lab, _: lab.run_and_close(PRINT), nothing, {}),
    "polling": ("a tab that polls, and an idle kernel", False, lambda lab, _: lab.run_and_close("1"), poll, {}),
    "bare": ("a bare kernel", False, lambda lab, _: lab.kernel(), nothing, {}),
    "download": ("a download in a closed tab", True, lambda lab, port: lab.run_and_close(load(port)), nothing, {}),
    "query": ("waits for BigQuery", True, lambda lab, _: lab.run_and_close(SLEEP), nothing, {"job": "query"}),
    "nohup": ("nohup on one core, terminal closed", True, lambda lab, _: lab.in_terminal(f"nohup {python(BURN)} & exit"), nothing, {}),
    "tmux": ("half a core in a session of its own", True, lambda lab, _: lab.in_terminal(f"setsid {python(HALF)} & exit"), nothing, {}),
    "vscode": ("VS Code over the proxy", True, lambda lab, _: lab.kernel(), code_server, {}),
    "gpu": ("a GPU job that the CPU waits for, tab closed", True, lambda lab, _: lab.run_and_close(SLEEP), nothing, {"gpu": 0.9}),
    "weekend": ("a weekend away", False, lambda lab, _: lab.run_and_close("1"), nothing, {}),
}  # fmt: skip


def record(name: str, port: int, source: int) -> None:
    what, works, begin, each, by_hand = TRACES[name]
    module = reporter()
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(folder, port)
        ticks = []
        try:
            first_bytes = Source.sent
            begin(lab, source)
            time.sleep(SETTLES_S)
            lab.requests, start, cpu = 0, time.monotonic(), lab.cpu_s()
            for second in range(1, SECONDS + 1):
                each(lab, second)
                time.sleep(max(0.0, start + second - time.monotonic()))
                asked, lab.requests = lab.requests, 0
                ticks.append(
                    {
                        "t": round(time.monotonic() - start, 2),
                        "requests": asked,
                        "cpu_s": round(lab.cpu_s() - cpu, 2),
                        "bytes": Source.sent - first_bytes,
                        "kernels": module.kernels(lab.at),
                        "terminals": module.terminals(lab.at),
                    }
                )
        finally:
            lab.end()
    found = {"what": what, "works": works, **by_hand, "ticks": ticks}
    text = json.dumps(found, separators=(",", ":")).replace('{"t"', '\n{"t"')
    (FOLDER / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")
    sys.stdout.write(f"{name}: {ticks[-1]}\n")


def main() -> None:
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Source)
    httpd.daemon_threads = True
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(sys.argv[1:] or TRACES):
        record(name, 18_760 + number, httpd.server_address[1])


if __name__ == "__main__":
    main()
