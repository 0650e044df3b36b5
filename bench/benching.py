"""The common parts of the benchmarks: a system to measure, messages, statistics, and the line with OK or MISSED."""

from __future__ import annotations

import argparse
import base64
import json
import os
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import requests  # noqa: E402 - the tree comes first on sys.path

from cli.local.ports import Ports  # noqa: E402
from cli.local.system import LocalSystem  # noqa: E402
from shared.domain.plan.guard_settings import GuardSettings  # noqa: E402
from shared.settings import Settings, load_settings  # noqa: E402

HELLO = '''import os

import functions_framework


@functions_framework.cloud_event
def hello(event):
    """Do nothing, so that only the server's own cost is measured."""


@functions_framework.cloud_event
def storage_hello(event):
    """List objects once with Google's own client, as its documentation shows: the least cost of a function with that client."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    endpoint = {"api_endpoint": os.environ["BENCHKEEPER_API_ENDPOINT"]}
    client = storage.Client(project="p", credentials=AnonymousCredentials(), client_options=endpoint)
    list(client.bucket(os.environ["BUCKET"]).list_blobs(prefix="due/"))
'''


def arguments(text: str | None) -> argparse.Namespace:
    """Return the parsed arguments. `--quick` measures smaller numbers of everything.

    The first line of `text`, the docstring of a benchmark, becomes the description in the help.
    """
    parser = argparse.ArgumentParser(description=(text or "").partition("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="measure with smaller numbers, for a quick check; do not quote the figures"
    )
    return parser.parse_args()


def say(text: str = "") -> None:
    """Print a line at once, even if the output is a pipe."""
    print(text, flush=True)


def judge(what: str, value: float, bound: float, *, at_least: bool = False, unit: str = "x") -> None:
    """Print the result: the figure, its bound, and OK or MISSED."""
    met = value >= bound if at_least else value <= bound
    limit = f"{'at least' if at_least else 'at most'} {bound:g}{unit}"
    say(f"{what}: {value:,.2f}{unit} ({limit}) {'OK' if met else 'MISSED'}")


def percentile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile; `share` is a fraction of 1."""
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 1, round(share * len(ordered) + 0.5) - 1))]


def median(values: Sequence[float]) -> float:
    """Return the median of the values."""
    return statistics.median(values)


def timed(work: Callable[[], Any]) -> float:
    """Run `work` and return the real seconds that it took."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def free_port() -> int:
    """Return a port of 127.0.0.1 on which no program listens at present."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def compiled_environment(**more: str) -> dict[str, str]:
    """Return this process's environment variables and `more`, without `PYTHONDONTWRITEBYTECODE`.

    So a process that is started with them uses and writes compiled modules, as an installed program does.
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, **more}


@contextmanager
def hello_folder() -> Iterator[Path]:
    """Yield a folder with the functions of the baselines: `hello` does nothing, `storage_hello` lists objects once."""
    with tempfile.TemporaryDirectory(prefix="benchkeeper-hello-") as folder:
        (Path(folder) / "main.py").write_text(HELLO)
        yield Path(folder)


@contextmanager
def embedded_cloud(*, speed: float, functions: bool) -> Iterator[LocalSystem]:
    """Yield the embedded cloud, started as by `./deploy.sh local --no-examples`; without `functions`, only buckets and topics exist."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="benchkeeper-bench-") as data:
        settings = local_settings(port, Path(data) / "config")
        ports = Ports(cloud=port, hub=free_port(), jupyter=free_port())
        system = LocalSystem(settings, ports, speed=speed, data=Path(data) / "data")
        system.start()
        try:
            if functions:
                system.deploy()
            else:
                _bucket_and_topics(system, settings)
            yield system
        finally:
            system.stop()


# The guard is on in benchmarks, with room for crowds: what it costs is measured, that it stops a flood is not.
MANY = 5_000
ROOM = GuardSettings(per_hour=MANY, most=MANY, group_share=1.0, creations=MANY)
_ROOM_YAML = f"\nguard: {{per_hour: {MANY}, most: {MANY}, group_share: 1.0, creations: {MANY}}}\n"


def local_settings(port: int, folder: Path) -> Settings:
    """Return the shipped local settings for an embedded cloud at this port, with limits raised for many users.

    The files are written to `folder`, for the functions' processes.
    """
    shutil.copytree(ROOT / "config", folder)
    with (folder / "settings.local.yaml").open("a") as file:
        file.write(_ROOM_YAML)
    endpoint = {"BENCHKEEPER_API_ENDPOINT": f"http://127.0.0.1:{port}"}
    return load_settings(env="local", config_dir=folder, environ=endpoint)


def _bucket_and_topics(system: LocalSystem, settings: Settings) -> None:
    project = settings.project
    made = [
        requests.post(f"{system.url}/storage/v1/b?project={project}", json={"name": bucket}, timeout=30)
        for bucket in settings.all_buckets
    ]
    made += [
        requests.put(f"{system.url}/v1/projects/{project}/topics/{topic}", json={}, timeout=30)
        for topic in (settings.topic_lifecycle, settings.topic_tick, settings.topic_dead_letter)
    ]
    for answer in made:
        answer.raise_for_status()


def news(kind: str, user: str, moment: datetime | None = None) -> dict[str, Any]:
    """Return the body of a message about a user, in the schema `workbench.lifecycle/v1`. `kind` is the type, such as `joiner`."""
    body: dict[str, Any] = {
        "schema": "workbench.lifecycle/v1",
        "event_id": f"bench-{kind}-{user}",
        "type": kind,
        "user": user,
        "attributes": {"groups": ["data-analysts@example.com"], "cost_center": "CC-4410"} if kind == "joiner" else {},
    }
    if moment is not None:
        body["occurred_at"] = moment.isoformat()
    return body


def pubsub_message(body: dict[str, Any], **attributes: str) -> dict[str, Any]:
    """Return a message in the form of the Pub/Sub API."""
    message: dict[str, Any] = {"data": base64.b64encode(json.dumps(body).encode()).decode()}
    return {**message, "attributes": attributes} if attributes else message


def publish(system: LocalSystem, topic: str, messages: Sequence[dict[str, Any]], *, batch: int = 100) -> None:
    """Publish messages to a topic over REST, `batch` messages in each call."""
    url = f"{system.url}/v1/projects/{system.settings.project}/topics/{topic}:publish"
    with requests.Session() as http:
        for start in range(0, len(messages), batch):
            http.post(url, json={"messages": messages[start : start + batch]}, timeout=60).raise_for_status()


def object_names(system: LocalSystem, prefix: str) -> list[dict[str, Any]]:
    """Return the objects below a prefix as the API's JSON, with names and times."""
    url = f"{system.url}/storage/v1/b/{system.settings.bucket}/o"
    found: list[dict[str, Any]] = []
    query = {"prefix": prefix, "maxResults": "1000"}
    while True:
        answer = requests.get(url, params=query, timeout=60)
        answer.raise_for_status()
        page = answer.json()
        found += page.get("items", [])
        if "nextPageToken" not in page:
            return found
        query["pageToken"] = page["nextPageToken"]


def wait_until(done: Callable[[], bool], *, patience_s: float, every_s: float = 0.02) -> bool:
    """Return True once `done` returns True; return False after `patience_s` seconds."""
    end = time.perf_counter() + patience_s
    while time.perf_counter() < end:
        if done():
            return True
        time.sleep(every_s)
    return False


def header(title: str) -> None:
    """Print the title, the time and the machine."""
    python = sys.version.split()[0]
    say(f"# {title}   {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores, Python {python}")
