"""What the product sends itself, beside what Google's own clients send for the same: the same calls, the same of each answer."""

from __future__ import annotations

import base64
import contextlib
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import google.api_core.exceptions as google_errors
import google_crc32c
import pytest
from kit.inprocess import ENDPOINT, Bench, WsgiAdapter, impatient, make_bench
from kit.official import notebooks, storage_bucket
from msgspec.structs import replace

from shared.cloud.http.clients import Clients, CloudConfig
from shared.cloud.http.objects import Unchanged
from shared.cloud.http.translate import from_status
from shared.cloud.notebook.notebooks import WorkbenchNotebooks
from shared.domain.things.errors import BenchkeeperError, CloudUnavailableError
from shared.domain.things.notebook import InstanceRef

NAME = "records/Ñandú O'Neil+test.json"
METADATA = {"holder": "ñ", "empty": ""}
# Google's client says so in each call; the API's own defaults are the same.
_STYLE = {"prettyPrint", "$alt"}


class Wire(WsgiAdapter):
    """Keeps what was sent."""

    def __init__(self, cloud: Any) -> None:
        super().__init__(cloud)
        self.sent: list[tuple[Any, ...]] = []

    def answer(self, method, url, headers, body):
        self.sent.append(said(method, url, {k.lower(): v for k, v in headers.items()}, body))
        return super().answer(method, url, headers, body)


def said(method: str, url: str, headers: dict[str, str], body: bytes | None) -> tuple[Any, ...]:
    """A request without what may differ: boundaries, the order of parameters, and defaults that are said."""
    parts = urlsplit(url)
    query = {
        name: value.lower() if name == "versions" else value
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
        if name not in _STYLE
    }
    content: Any = body or b""
    if "multipart" in headers.get("content-type", ""):
        boundary = re.search(r'boundary="?([^"]+)"?', headers["content-type"])[1]
        _, about, data, _ = content.split(f"--{boundary}".encode())
        content = (json.loads(about.partition(b"\r\n\r\n")[2]), data.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n"))
    elif content:
        content = json.loads(content)
    return method, unquote(parts.path), query, content


@pytest.fixture
def bench() -> Bench:
    made = make_bench()
    wire = Wire(made.cloud)
    config = CloudConfig(project=made.settings.project, bucket=made.settings.bucket, api_endpoint=ENDPOINT)
    made.adapter, made.clients = wire, Clients(config, mount=wire, door=wire.answer)
    with impatient():
        yield made


def _uploaded(blob: Any, content: bytes, **more: Any) -> int:
    blob.metadata = METADATA
    blob.upload_from_string(content, content_type="application/json", **more)
    return int(blob.generation)


def _patched(blob: Any) -> None:
    blob.metadata = {"outcome": "done"}
    blob.patch()


# Each row: what the product does, and what Google's client does for the same. The object is there at `g`.
ROWS: dict[str, tuple[Callable[[Any, int], Any], Callable[[Any, int], Any]]] = {
    "read": (
        lambda ours, _: ours.get(NAME, what="x").content,
        lambda theirs, _: theirs.blob(NAME).download_as_bytes(),
    ),
    "read a generation": (
        lambda ours, g: ours.get(NAME, what="x", generation=g).content,
        lambda theirs, g: theirs.blob(NAME, generation=g).download_as_bytes(),
    ),
    "create": (
        lambda ours, _: ours.write("new", b"{}", metadata=METADATA, expected=0, what="x") > 0,
        lambda theirs, _: _uploaded(theirs.blob("new"), b"{}", if_generation_match=0) > 0,
    ),
    "replace": (
        lambda ours, g: ours.write(NAME, b"\x00\xff", metadata=METADATA, expected=g, what="x") > 0,
        lambda theirs, g: _uploaded(theirs.blob(NAME), b"\x00\xff", if_generation_match=g) > 0,
    ),
    "write over": (
        lambda ours, _: ours.write(NAME, b"", metadata=METADATA, what="x") > 0,
        lambda theirs, _: _uploaded(theirs.blob(NAME), b"") > 0,
    ),
    "delete": (lambda ours, _: ours.delete(NAME, what="x"), lambda theirs, _: theirs.blob(NAME).delete()),
    "delete a generation": (
        lambda ours, g: ours.delete(NAME, expected=g, what="x"),
        lambda theirs, g: theirs.blob(NAME).delete(if_generation_match=g),
    ),
    "note": (
        lambda ours, _: ours.note(NAME, {"outcome": "done"}, what="x"),
        lambda theirs, _: _patched(theirs.blob(NAME)),
    ),
    "list": (
        lambda ours, _: [(o.name, dict(o.metadata)) for o in ours.objects(prefix="r", fields="name,metadata", what="x")],
        lambda theirs, _: [
            (b.name, b.metadata)
            for b in theirs.list_blobs(prefix="r", fields="items(name,metadata),nextPageToken", page_size=1000)
        ],
    ),
    "list some": (
        lambda ours, _: [o.name for o in ours.objects(prefix="r", start_offset="r", end_offset="s", most=1, what="x")],
        lambda theirs, _: [
            b.name
            for b in theirs.list_blobs(
                prefix="r", start_offset="r", end_offset="s", max_results=1, fields="items(name),nextPageToken"
            )
        ],
    ),
    "list versions": (
        lambda ours, _: [
            (o.name, o.generation, o.created_at, o.deleted_at)
            for o in ours.objects(prefix="r", versions=True, fields="name,generation,timeCreated,timeDeleted", what="x")
        ],
        lambda theirs, _: [
            (b.name, b.generation, b.time_created, b.time_deleted)
            for b in theirs.list_blobs(
                prefix="r", versions=True, page_size=1000, fields="items(name,generation,timeCreated,timeDeleted),nextPageToken"
            )
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_cloud_storage_is_asked_as_googles_client_asks(bench, row):
    found = []
    for does, bucket in zip(ROWS[row], (bench.clients.bucket(), storage_bucket(bench.clients)), strict=True):
        bench.clients.bucket().delete(NAME, what="x")
        bench.clients.bucket().delete("new", what="x")
        generation = bench.clients.bucket().write(NAME, b'{"a":1}', metadata=METADATA, what="x")
        bench.adapter.sent.clear()
        found.append((does(bucket, generation), without_generation(bench.adapter.sent, generation)))
    assert found[0][1] == found[1][1]
    if row != "list versions":  # of the first one's world there are more by then
        assert found[0][0] == found[1][0]


def without_generation(sent: list[tuple[Any, ...]], generation: int) -> list[tuple[Any, ...]]:
    return [
        (method, path, {k: "g" if v == str(generation) else v for k, v in query.items()}, content)
        for method, path, query, content in sent
    ]


@pytest.mark.parametrize(
    ("code", "status"),
    [("PERMISSION_DENIED", 403), ("RESOURCE_EXHAUSTED", 429), ("INTERNAL", 500), ("UNAVAILABLE", 503)],
)  # fmt: skip
@pytest.mark.parametrize("call", ["objects.get", "objects.insert", "objects.list", "objects.delete"])
def test_a_failure_is_the_same_error(bench, call, code, status):
    """And is tried again as often: until it is over, or at once not at all."""
    row = {"objects.get": "read", "objects.insert": "replace", "objects.list": "list", "objects.delete": "delete"}[call]
    generation = bench.clients.bucket().write(NAME, b"{}", what="x")
    again = code != "PERMISSION_DENIED"
    seen = []
    for times in (1, 3):
        for does, bucket in zip(ROWS[row], (bench.clients.bucket(), storage_bucket(bench.clients)), strict=True):
            bench.clients.bucket().write(NAME, b"{}", what="x") if row == "delete" else None
            generation = bench.clients.bucket().look(NAME, what="x").generation
            bench.fault(call=f"storage.{call}", times=times if again else 1, error={"code": code, "message": "no"})
            before = len(bench.adapter.sent)
            try:
                does(bucket, generation)
                outcome = "done"
            except google_errors.GoogleAPICallError as error:
                outcome = type(from_status(int(error.code), str(error.message), "x")).__name__
            except BenchkeeperError as error:
                outcome = type(error).__name__
            seen.append((outcome, len(bench.adapter.sent) - before))
            bench.cloud.world.faults.clear()
    assert seen[0] == seen[1], (seen, status)
    assert seen[2] == seen[3], (seen, status)


@pytest.mark.parametrize("expected", [0, 1])
def test_a_write_at_another_generation_writes_nothing(bench, expected):
    bucket = bench.clients.bucket()
    first = bucket.write(NAME, b"1", what="x")
    assert bucket.write(NAME, b"2", expected=expected, what="x") is None
    assert bucket.get(NAME, what="x").content == b"1"
    assert bucket.look(NAME, what="x").generation == first


def test_what_is_known_is_not_sent_again_and_what_is_missing_is_none(bench):
    bucket = bench.clients.bucket()
    generation = bucket.write(NAME, b"1", what="x")
    assert isinstance(bucket.read(NAME, known=generation, what="x"), Unchanged)
    assert bucket.read(NAME, known=generation - 1, what="x").content == b"1"
    assert bucket.read("nothing", what="x") is None
    assert bucket.look("nothing", what="x") is None
    bucket.delete("nothing", what="x")
    bucket.note("nothing", {}, what="x")


def test_a_listing_goes_on_page_by_page(bench, monkeypatch):
    bucket = bench.clients.bucket()
    for number in range(7):
        bucket.write(f"r/{number}/x", b"", what="x")
    monkeypatch.setattr("shared.cloud.http.objects._PAGE", 3)
    assert [o.name for o in bucket.objects(prefix="r/", what="x")] == [f"r/{n}/x" for n in range(7)]
    assert bucket.folders("r/", what="x") == [f"r/{n}/" for n in range(7)]
    assert [o.name for o in bucket.objects(prefix="r/", most=2, what="x")] == ["r/0/x", "r/1/x"]


def test_damaged_bytes_are_an_error(bench, monkeypatch):
    bench.clients.bucket().write(NAME, b"1", what="x")
    answer = WsgiAdapter.answer

    def damaged(self, *asked):
        found = answer(self, *asked)
        wrong = base64.b64encode(int(google_crc32c.value(b"2")).to_bytes(4, "big")).decode()
        return replace(found, headers={**found.headers, "x-goog-hash": f"crc32c={wrong},md5=abc=="})

    monkeypatch.setattr(WsgiAdapter, "answer", damaged)
    with pytest.raises(CloudUnavailableError, match="CRC32C"):
        bench.clients.bucket().get(NAME, what="x")


REF = InstanceRef(zone="europe-west1-b", instance_id="nb-x")
PATH = f"projects/benchkeeper-local/locations/{REF.zone}/instances/{REF.instance_id}"
ASKS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "start": (lambda ours: ours.start(REF), lambda theirs: theirs.start_instance(request={"name": PATH})),
    "stop": (lambda ours: ours.stop(REF), lambda theirs: theirs.stop_instance(request={"name": PATH})),
    "delete": (
        lambda ours: ours.delete(REF, "6f0b6f6e-6b1c-4a0e-9f57-2a1d8c3f7e10"),
        lambda theirs: theirs.delete_instance(
            request={"name": PATH, "request_id": "6f0b6f6e-6b1c-4a0e-9f57-2a1d8c3f7e10"}
        ),
    ),
}


@pytest.mark.parametrize("row", ASKS)
def test_workbench_is_asked_as_googles_client_asks(bench, row):
    ours = WorkbenchNotebooks(bench.clients, project="benchkeeper-local", clock=bench.deps.clock)
    found = []
    for does, asked in zip(ASKS[row], (ours, notebooks(bench.clients)), strict=True):
        bench.adapter.sent.clear()
        with contextlib.suppress(BenchkeeperError, google_errors.NotFound):
            does(asked)
        found.append([(method, path, query, content or {}) for method, path, query, content in bench.adapter.sent])
    assert found[0] == found[1]
