"""The real adapters and official clients over the embedded cloud, in one process, without a socket or a thread."""

from __future__ import annotations

import contextlib
import functools
import http
import io
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests
from msgspec.structs import replace
from urllib3 import HTTPResponse
from werkzeug.wrappers import Request

from emulator.app import EmbeddedCloud
from emulator.clock import VirtualClock
from emulator.faults import Fault
from kit.skipped_time import impatient
from shared.cloud.http.clients import Clients, CloudConfig
from shared.cloud.http.transport import Answer
from shared.domain.things.identity import UserKey
from shared.engine.ports.deps import Deps
from shared.engine.ports.records import Stored
from shared.settings import Settings, load_settings
from shared.wiring import patience_s, wire

START = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[2]
ENDPOINT = "http://127.0.0.1:1"  # never connected to


@functools.cache
def _variable(header: str) -> str:
    """The name of a header in WSGI."""
    key = header.upper().replace("-", "_")
    return key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}"


class WsgiAdapter(requests.adapters.BaseAdapter):
    """Answers requests from the embedded cloud's WSGI application."""

    def __init__(self, cloud: EmbeddedCloud) -> None:
        super().__init__()
        self._cloud = cloud
        # Called before and after each call, for crashes and neighbours at a chosen moment.
        self.around: Callable[[], None] = lambda: None

    def send(self, request, **_options):
        body = request.body or b""
        if hasattr(body, "read"):
            body = body.read()
        if isinstance(body, str):
            body = body.encode()
        headers = {
            name: value.decode() if isinstance(value, bytes) else str(value) for name, value in request.headers.items()
        }
        answer = self.answer(request.method, request.url, headers, body)
        made = requests.Response()
        made.status_code = answer.status
        made.headers = requests.structures.CaseInsensitiveDict(answer.headers)
        made.encoding = requests.utils.get_encoding_from_headers(made.headers)
        made.reason = http.HTTPStatus(answer.status).phrase
        made.url = request.url
        made.request = request
        made.raw = HTTPResponse(
            body=io.BytesIO(answer.content), headers=answer.headers, status=answer.status, preload_content=False
        )
        return made

    def ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        """`answer`, looked up at each call, so that a test may watch it."""
        return self.answer(method, url, headers, body)

    def answer(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        """The product's own door: one request, one answer."""
        path, _, query = url[url.index("/", len("https://")) :].partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "RAW_URI": f"{path}?{query}" if query else path,
            "QUERY_STRING": query,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "1",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body or b""),
            "wsgi.errors": sys.stderr,
            "CONTENT_LENGTH": str(len(body or b"")),
        }
        for name, value in headers.items():
            environ[_variable(name)] = value
        watched = "/_emulator/" not in url
        if watched:
            self.around()
        found = self._cloud.wsgi.respond(Request(environ))
        if watched:
            self.around()
        content = b"" if method == "HEAD" or found.status_code in {204, 304} else found.get_data()
        said = {name.lower(): value for name, value in found.headers.items()}
        return Answer(status=found.status_code, headers=said, content=content)

    def close(self) -> None:
        pass


class ListLog:
    """Keeps what was logged."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []
        self._lock = threading.Lock()

    def _add(self, severity: str, message: str, facts: dict[str, Any]) -> None:
        with self._lock:
            self.lines.append((severity, message, facts))

    def info(self, message: str, **facts: Any) -> None:
        self._add("INFO", message, facts)

    def warning(self, message: str, **facts: Any) -> None:
        self._add("WARNING", message, facts)

    def error(self, message: str, **facts: Any) -> None:
        self._add("ERROR", message, facts)


class KitClock:
    """The embedded cloud's clock without a call for each look."""

    def __init__(self, cloud: EmbeddedCloud) -> None:
        self._cloud = cloud

    def now(self) -> datetime:
        return self._cloud.world.clock.now()

    def monotonic_s(self) -> float:
        return time.monotonic()

    def speed(self) -> float:
        return self._cloud.world.clock.speed


class MemoryDeadLetters:
    """Keeps what was published; Pub/Sub itself is not part of this kit."""

    def __init__(self) -> None:
        self.published: list[tuple[bytes, dict[str, str]]] = []

    def publish(self, *, body, attributes):
        self.published.append((body, dict(attributes)))


class OneAfterAnother:
    """The port `Workers` without threads: what comes at a chosen call comes at the same one each time."""

    def run(self, jobs, *, at_once=8):  # noqa: ARG002 - the port's
        return [job() for job in jobs]


@dataclass
class Bench:
    """One world and the product in it."""

    cloud: EmbeddedCloud
    settings: Settings
    deps: Deps
    clients: Clients
    log: ListLog
    adapter: WsgiAdapter
    foreign: list[dict[str, Any]] = field(default_factory=list)  # changes by other hands, as the journal has them
    # The records as last read, with the object of each.
    known: dict[UserKey, tuple[Any, Stored]] = field(default_factory=dict)

    def stored(self, key: UserKey) -> Stored | None:
        """A person's record as the product reads it: read once for each object that is written, however often a test looks."""
        live = self.cloud.storage.buckets.get(self.settings.bucket).live.get(f"records/{key}.json")
        written, stored = self.known.get(key, (None, None))
        if live is None or written is not live:
            stored = self.deps.records.load(key)
            # A pointer leads to another record, which changes while the pointer stays.
            if live is not None and stored is not None and stored.record.user_key == key:
                self.known[key] = live, stored
        return stored

    @contextlib.contextmanager
    def other_hands(self) -> Iterator[None]:
        """While it lasts, what is called is not of the product."""
        journal = self.cloud.world.journal
        before = journal.count
        try:
            yield
        finally:
            if journal.count > before:
                made = list(journal._entries)[before - journal.count :]
                self.foreign += [entry._asdict() for entry in made if entry.mutates]

    @property
    def now(self) -> datetime:
        return self.cloud.world.clock.now()

    def advance(self, **by: float) -> None:
        self.cloud.world.clock.advance(timedelta(**by))

    def fault(self, **raw: Any) -> None:
        self.cloud.world.faults.add(Fault.parse(raw))

    def calls(self) -> list[dict[str, Any]]:
        return self.cloud.world.journal.listing(mutating_only=False)

    def control(self, method: str, path: str, body: Any = None) -> Any:
        return self.clients.json("control").call(method, path, body=body)


def make_bench(*, settings: Settings | None = None, start: datetime = START, component: str = "tick") -> Bench:
    """A world and the product in it, with the patience that `component` has when it is deployed."""
    cloud = EmbeddedCloud.build(clock=VirtualClock(start=start, speed=0))
    settings = settings or local_settings()
    adapter = WsgiAdapter(cloud)
    config = CloudConfig(
        project=settings.project, bucket=settings.bucket, api_endpoint=ENDPOINT, patience_s=patience_s(component)
    )
    clients = Clients(config, mount=adapter, door=adapter.ask)
    for bucket in settings.all_buckets:
        clients.json("control").call(
            "POST", f"/storage/v1/b?project={settings.project}", body={"name": bucket, "versioning": {"enabled": True}}
        )
    clients.json("control").call("POST", "/_emulator/surroundings", body=_surroundings(settings))
    cloud.world.journal.clear()
    log = ListLog()
    deps = replace(wire(settings, log=log, clients=clients), clock=KitClock(cloud))
    return Bench(cloud=cloud, settings=settings, deps=deps, clients=clients, log=log, adapter=adapter)


def _surroundings(settings: Settings) -> dict[str, list[str]]:
    """The network of the settings, and the projects of images whose names the tests make up."""
    network = settings.network
    return {
        "networks": [network.network] if network.network else [],
        "subnetworks": [network.subnet] if network.subnet else [],
        "images": [f"projects/{project}/global/images/*" for project in ("p", "my-images")],
    }


@functools.cache
def _as_they_stand() -> Settings:
    return load_settings(env="local", config_dir=ROOT / "config", environ={})


def local_settings(**changes: Any) -> Settings:
    """The settings of this tree, read once a process; nobody changes them in place."""
    return replace(_as_they_stand(), api_endpoint=ENDPOINT, **changes)


__all__ = [
    "ENDPOINT", "ROOT", "START", "Bench", "KitClock", "ListLog", "MemoryDeadLetters", "OneAfterAnother", "WsgiAdapter", "impatient", "local_settings",
    "make_bench",
]  # fmt: skip
