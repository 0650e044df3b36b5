"""Cold start: the time from starting functions-framework to the first handled event, compared with a function that does nothing.

All functions run in the same server (gunicorn through functions-framework) with compiled modules; the embedded cloud
runs already. The lifecycle function handles a whole join, tick a quiet due tick, dead_letter one dead letter. The
configuration was checked before, as in a deployment (`python -m shared.settings`). `tick, unchecked` checks the
configuration at its start, as from a plain source tree. `storage_hello` is a function that only lists one prefix with
google-cloud-storage. Runs alternate. The time of a TLS context and a token is measured apart, and added to the times of
the product's functions. A ratio is the median over the rounds; each round compares with the time of `hello`, the
function that does nothing, in the same round.
"""

from __future__ import annotations

import http.client
import http.server
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benching import (
    ROOT,
    arguments,
    compiled_environment,
    embedded_cloud,
    free_port,
    header,
    hello_folder,
    judge,
    median,
    news,
    pubsub_message,
    say,
)

from shared.domain.things.times import rfc3339
from shared.settings import project_override_variables

_PATIENCE_S = 60.0
DUE = {"sweep": "due"}


@dataclass
class Function:
    """A function and its measurements: wall seconds, and CPU seconds of all its processes, both until the first answer."""

    name: str
    folder: Path
    topic: str
    message: Callable[[int], dict[str, Any]]
    environment: dict[str, str]
    entry: str = ""
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def run_once(function: Function, number: int) -> None:
    """Start the function, send one event, store the times, and stop the function.

    Raise `RuntimeError` if the function does not listen within a minute, or answers the event with a status of 300 or
    above.
    """
    port = free_port()
    command = [
        str(Path(sys.executable).with_name("functions-framework")), "--target", function.entry or function.name,
        "--source", str(function.folder / "main.py"), "--signature-type", "cloudevent",
        "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    message = {
        **function.message(number),
        "messageId": f"{function.name}-{number}",
        "publishTime": rfc3339(datetime.now(UTC)),
    }
    body = json.dumps({"message": message, "subscription": "projects/p/subscriptions/s"})
    headers = {
        "Content-Type": "application/json",
        "ce-id": f"{function.name}-{number}",
        "ce-source": f"//pubsub.googleapis.com/{function.topic}",
        "ce-specversion": "1.0",
        "ce-type": "google.cloud.pubsub.topic.v1.messagePublished",
    }
    begun = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=function.folder, env=function.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        status = _first_answer(port, body, headers)
        function.wall.append(time.perf_counter() - begun)
        function.cpu.append(_cpu_s(process.pid))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
    if status >= 300:
        raise RuntimeError(f"{function.name} answered {status}")


def _cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process and its children have used so far, before their shutdown."""
    total = 0.0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # a thread that ended between the listing and the look
            total += int((task / "schedstat").read_text().split()[0]) / 1e9
            total += sum(_cpu_s(int(child)) for child in (task / "children").read_text().split())
    return total


def _first_answer(port: int, body: str, headers: dict[str, str]) -> int:
    end = time.perf_counter() + _PATIENCE_S
    while time.perf_counter() < end:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)
        with suppress(ConnectionRefusedError):
            connection.request("POST", "/", body=body, headers=headers)
            answer = connection.getresponse()
            answer.read()
            connection.close()
            return answer.status
        connection.close()
        time.sleep(0.002)
    raise RuntimeError("the function did not listen")


def join(number: int) -> dict[str, Any]:
    # Of yesterday: the embedded cloud's clock stands still, and a join of a time that has not come would only be kept.
    return pubsub_message(news("joiner", f"cold.start{number}@example.com", datetime.now(UTC) - timedelta(days=1)))


def letter(number: int) -> dict[str, Any]:
    return pubsub_message({"n": number}, reason="InvalidMessage", detail="not JSON")


def main() -> None:
    asked = arguments(__doc__)
    rounds = 3 if asked.quick else 9
    header(f"Cold start, {rounds} rounds")
    with ExitStack() as stack:
        hello = stack.enter_context(hello_folder())
        system = stack.enter_context(embedded_cloud(speed=0, functions=False))
        settings = system.settings
        topics = f"projects/{settings.project}/topics"
        plain = compiled_environment(**project_override_variables(settings))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchkeeper-config-")))
        shutil.copytree(settings.config_dir, folder / "config")
        deployed = {**plain, "BENCHKEEPER_CONFIG_DIR": str(folder / "config")}
        subprocess.run(
            [sys.executable, "-m", "shared.settings", settings.env],
            cwd=ROOT,
            env=deployed,
            check=True,
            capture_output=True,
        )
        functions = [
            Function("hello", hello, f"{topics}/hello", lambda n: pubsub_message({"n": n}), plain),
            Function(
                "storage_hello",
                hello,
                f"{topics}/hello",
                lambda n: pubsub_message({"n": n}),
                {**plain, "BUCKET": settings.bucket},
            ),
            Function("lifecycle", ROOT, f"{topics}/{settings.topic_lifecycle}", join, deployed),
            Function("tick", ROOT, f"{topics}/{settings.topic_tick}", lambda _: pubsub_message(DUE), deployed),
            Function("dead_letter", ROOT, f"{topics}/{settings.topic_dead_letter}", letter, deployed),
            Function(
                "tick, unchecked", ROOT, f"{topics}/{settings.topic_tick}", lambda _: pubsub_message(DUE), plain, "tick"
            ),
        ]
        for number in range(rounds + 1):
            for function in functions:
                run_once(function, number)
                if number == 0:  # compiles what was not compiled and warms the disk
                    function.wall.clear()
                    function.cpu.clear()
    more_wall, more_cpu = (list(each) for each in zip(*(secured(plain) for _ in range(rounds)), strict=True))
    for function in functions:
        say(
            f"{function.name:15} {median(function.wall):.3f} s to the first answer "
            f"(fastest {min(function.wall):.3f}), {median(function.cpu):.3f} s of CPU"
        )
    say(
        f"{'TLS and token':15} {median(more_wall):.3f} s, {median(more_cpu):.3f} s of CPU: added to each of the product's functions below"
    )
    hello_times = functions[0].wall
    for function in functions[1:]:
        ours = function.name != "storage_hello"
        wall_s, cpu_s = (median(more_wall), median(more_cpu)) if ours else (0.0, 0.0)
        ratio = median([(mine + wall_s) / bare for mine, bare in zip(function.wall, hello_times, strict=True)])
        of_cpu = (median(function.cpu) + cpu_s) / median(functions[0].cpu)
        if not ours:
            say(f"floor {function.name} / hello: {ratio:.2f}x (what google-cloud-storage alone costs; no bound)")
            continue
        judge(f"RATIO {function.name} / hello", ratio, 1.6)
        judge(f"  aim {function.name} / hello", ratio, 1.4)
        say(f"  of CPU {function.name} / hello: {of_cpu:.2f}x (varies less while other programs run)")


def secured(environment: dict[str, str]) -> tuple[float, float]:
    """Return the extra wall and CPU seconds of a TLS context and a token, measured in a separate process.

    Each call to Google's own addresses needs both. The measured times of the functions do not include them, because the
    embedded cloud uses plain HTTP without tokens. The token comes from a local metadata server.
    """
    # A function has its image's certificates; a developer's machine may name others.
    functions_own = {
        name: value for name, value in environment.items() if name not in {"SSL_CERT_FILE", "SSL_CERT_DIR"}
    }
    with _metadata_server() as host:
        done = subprocess.run(
            [sys.executable, "-c", _SECURED],
            cwd=ROOT,
            env={**functions_own, "GCE_METADATA_HOST": host},
            check=True,
            capture_output=True,
            text=True,
        )
    wall_s, cpu_s = json.loads(done.stdout)
    return wall_s, cpu_s


_SECURED = """
import functions_framework, json, time
from shared.cloud.http.transport import Connections
from shared.cloud.http.clients import MetadataToken
from shared.cloud.http.transport import Transport
wall, cpu = time.perf_counter(), time.process_time()
headers = {}
MetadataToken(Transport(sign=lambda *_: None, patience_s=10, trust_env=False)).sign("GET", "", headers)
assert headers == {"authorization": "Bearer t"}
Connections(trust_env=False, timeout_s=10).trust().first()
print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu]))
"""


@contextmanager
def _metadata_server() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = b'{"access_token": "t", "expires_in": 3599, "token_type": "Bearer"}'
            self.send_response(200)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    main()
