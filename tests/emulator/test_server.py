"""One port for HTTP/1.1 and gRPC, the process around it, and the world on disk."""

from __future__ import annotations

import gc
import gzip
import http.client
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from google.cloud import pubsub_v1
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from werkzeug.test import Client
from werkzeug.wrappers import Response

from emulator import keep
from emulator.app import EmbeddedCloud
from emulator.clock import VirtualClock, real_now
from emulator.keep import BadDataError, Keeper
from emulator.wire.http import HttpFront
from emulator.wire.server import Server
from emulator.wire.streaming import PortInUseError, StreamingServer
from emulator.world import CallSpec
from tests.emulator.storage_kit import START, storage_client, storage_world

ROOT = Path(__file__).parents[2]


@pytest.fixture
def cloud():
    with EmbeddedCloud.build(clock=VirtualClock(start=START, speed=0)) as made:
        yield made


@pytest.fixture
def echo():
    """A server whose application answers with what it was sent."""

    def app(request):
        body = request.get_data()
        answer = {
            "method": request.method,
            "uri": request.environ["RAW_URI"],
            "size": len(body),
            "head": body[:40].decode("latin-1"),
        }
        return Response(json.dumps(answer))

    server = Server(app, grpc_handlers=[])
    server.start()
    yield server
    server.stop()


def test_http_and_grpc_on_one_port(cloud):
    channel = grpc.insecure_channel(f"127.0.0.1:{cloud.port}")
    publisher = pubsub_v1.PublisherClient(transport=PublisherGrpcTransport(channel=channel))
    publisher.create_topic(name="projects/benchkeeper-local/topics/news")
    client = storage_client(cloud.url)
    client.create_bucket("records-local").blob("a").upload_from_string(b"x")
    assert [t.name for t in publisher.list_topics(project="projects/benchkeeper-local")] == [
        "projects/benchkeeper-local/topics/news"
    ]
    services = {(row["service"], row["status"]) for row in cloud.world.journal.listing(mutating_only=True)}
    assert {service for service, status in services if status == 200} == {"pubsub", "storage"}
    client.close()
    channel.close()


def test_a_large_message_passes_the_port_unharmed():
    def reverse(request: bytes, _context: grpc.ServicerContext) -> bytes:
        return request[::-1]

    handler = grpc.method_handlers_generic_handler(
        "test.Echo", {"Reverse": grpc.unary_unary_rpc_method_handler(reverse)}
    )
    server = Server(lambda _request: Response("x"), grpc_handlers=[handler])
    server.start()
    with grpc.insecure_channel(
        f"127.0.0.1:{server.port}",
        options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
    ) as channel:
        data = os.urandom(9 << 20)
        assert channel.unary_unary("/test.Echo/Reverse")(data, timeout=20) == data[::-1]
        with pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary("/test.Echo/Other")(b"", timeout=20)
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    server.stop()


def test_in_process_use_starts_no_thread():
    before = set(threading.enumerate())
    cloud = EmbeddedCloud.build(clock=VirtualClock(start=START, speed=0))
    browser = Client(cloud.wsgi)
    assert browser.post("/storage/v1/b?project=p", json={"name": "in-process"}).status_code == 200
    assert browser.get("/storage/v1/b/in-process").get_json()["timeCreated"].startswith("2026-03-02T08:00:00")
    assert set(threading.enumerate()) == before


def test_nothing_is_left_after_stop():
    before = set(threading.enumerate())
    cloud = EmbeddedCloud.build(clock=VirtualClock(start=START, speed=0))
    cloud.start()
    port = cloud.port
    idle = socket.create_connection(("127.0.0.1", port))
    cloud.stop()
    cloud.stop()
    assert set(threading.enumerate()) <= before
    idle.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_a_connection_serves_many_requests(echo):
    connection = http.client.HTTPConnection("127.0.0.1", echo.port)
    sockets = set()
    for index in range(5):
        connection.request("PUT", f"/x%2Fy?i={index}", body=b"b" * index)
        answer = json.loads(connection.getresponse().read())
        sockets.add(id(connection.sock))
        assert (answer["uri"], answer["size"]) == (f"/x%2Fy?i={index}", index)
    assert len(sockets) == 1
    connection.close()


def test_chunked_and_gzipped_bodies(echo):
    connection = http.client.HTTPConnection("127.0.0.1", echo.port)
    connection.request("POST", "/", body=iter([b"hello ", b"world"]), encode_chunked=True)
    assert json.loads(connection.getresponse().read())["head"] == "hello world"
    connection.request("POST", "/", body=gzip.compress(b"packed"), headers={"Content-Encoding": "gzip"})
    assert json.loads(connection.getresponse().read())["head"] == "packed"
    connection.request("POST", "/", body=b"not gzip", headers={"Content-Encoding": "gzip"})
    assert connection.getresponse().status == 400
    connection.close()


def test_expect_100_continue(echo):
    with socket.create_connection(("127.0.0.1", echo.port), timeout=10) as raw:
        raw.sendall(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert raw.recv(1024) == b"HTTP/1.1 100 Continue\r\n\r\n"
        raw.sendall(b"abc")
        assert b'"size": 3' in raw.recv(4096)


def test_a_preface_that_arrives_in_pieces_and_junk(echo):
    with socket.create_connection(("127.0.0.1", echo.port), timeout=10) as raw:
        raw.sendall(b"PR")
        raw.sendall(b"I * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        assert raw.recv(9)[3] == 4  # the gRPC server's SETTINGS frame
    with socket.create_connection(("127.0.0.1", echo.port), timeout=10) as raw:
        raw.sendall(b"\x16\x03\x01 tls?\r\n\r\n")
        assert b"400" in raw.recv(4096)
    connection = http.client.HTTPConnection("127.0.0.1", echo.port)
    connection.request("GET", "/still-there")
    assert connection.getresponse().status == 200
    connection.close()


def test_three_hundred_connections_at_once(echo):
    open_ones = [http.client.HTTPConnection("127.0.0.1", echo.port, timeout=30) for _ in range(300)]

    def ask(connection: http.client.HTTPConnection) -> int:
        connection.request("GET", "/")
        return len(connection.getresponse().read())

    with ThreadPoolExecutor(50) as pool:
        for connection in open_ones:
            connection.connect()
        assert all(pool.map(ask, open_ones))
    for connection in open_ones:
        connection.close()


@pytest.mark.parametrize("kind", [Server, StreamingServer])
def test_a_caller_that_goes_away_before_the_answer_leaves_no_socket_open(kind):
    asked, gone = threading.Event(), threading.Event()

    def app(request):
        asked.set()
        assert gone.wait(30)
        return Response(request.path)

    server = kind(app)
    server.start()
    gc.disable()  # it would close what was forgotten, with a warning in somebody else's test
    try:
        caller = socket.create_connection(("127.0.0.1", server.port))
        caller.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        assert asked.wait(30)
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        caller.close()  # a reset: nothing can be sent from now on
        gone.set()
        server.stop()
        sockets = [each for each in gc.get_objects() if isinstance(each, socket.socket)]
        assert not [each for each in sockets if each._closed and each.fileno() >= 0]
    finally:
        gc.enable()


def test_only_loopback_is_bound(echo):
    assert echo._http.server_address[0] == "127.0.0.1"


def test_a_port_that_is_taken(echo):
    with pytest.raises(PortInUseError, match=f"Port {echo.port} of 127.0.0.1 cannot be used"):
        Server(lambda _request: Response("x"), port=echo.port)


def test_a_kept_world_comes_back(tmp_path):
    world, model = storage_world()
    keeper = Keeper(world, tmp_path)
    model.buckets.create({"name": "kept-one", "versioning": {"enabled": True}}, project="p")
    old = model.insert("kept-one", "x", b"\x00one", body={"metadata": {"a": "b"}})
    new = model.insert("kept-one", "x", b"two")
    keeper.save()
    assert [path.name for path in tmp_path.iterdir()] == ["world.json"]

    again, kept = storage_world(VirtualClock(speed=0))
    Keeper(again, tmp_path)
    assert again.clock.now() == START
    assert kept.get("kept-one", "x") == new
    assert kept.get("kept-one", "x", generation=old.generation).content == b"\x00one"
    assert kept.insert("kept-one", "y", b"").generation > new.generation


def test_changes_are_saved_while_it_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(keep, "_EVERY_REAL_S", 0.01)
    world, model = storage_world()
    keeper = Keeper(world, tmp_path)
    keeper.start()
    create = CallSpec("storage", "buckets.insert", mutates=True)
    world.perform(create, "kept-one", "anonymous", lambda: model.buckets.create({"name": "kept-one"}, project="p"))
    deadline = real_now() + 10
    while not (tmp_path / "world.json").exists() and real_now() < deadline:
        threading.Event().wait(0.01)
    again, kept = storage_world()
    Keeper(again, tmp_path)
    keeper.stop()
    assert list(kept.buckets.by_name) == ["kept-one"]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"project": "benchkeeper-local"}', '{"project": "other", "version": 1}']
)
def test_a_folder_that_holds_something_else_is_refused_and_left_alone(content, tmp_path):
    (tmp_path / "world.json").write_text(content)
    with pytest.raises(BadDataError, match=r"world\.json"):
        Keeper(storage_world()[0], tmp_path)
    assert (tmp_path / "world.json").read_text() == content


def _process(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "emulator", *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _listening(process: subprocess.Popen[str]) -> str:
    ready, _, _ = select.select([process.stdout], [], [], 60)
    assert ready, "it does not say that it listens"
    return process.stdout.readline().split()[-1]


@pytest.mark.e2e
def test_the_process_keeps_its_world_and_ends_on_sigterm(tmp_path):
    with _process("--port", "0", "--data", str(tmp_path), "--speed", "60") as process:
        client = storage_client(_listening(process))
        client.create_bucket("records-local").blob("a").upload_from_string(b"x")
        process.send_signal(signal.SIGTERM)
        assert (process.wait(20), process.stderr.read()) == (0, "")
        client.close()
    with _process("--port", "0", "--data", str(tmp_path), "--speed", "60") as process:
        url = _listening(process)
        client = storage_client(url)
        assert client.bucket("records-local").blob("a").download_as_bytes() == b"x"
        client.close()
        with _process("--port", url.rsplit(":", 1)[1]) as second:
            assert second.wait(30) == 2
            assert "--port" in second.stderr.read()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


@pytest.mark.parametrize(
    "words", [["--port", "70000"], ["--port", "x"], ["--speed", "-1"], ["--speed", "nan"], ["--nonsense"]]
)
def test_wrong_arguments_are_refused(words, capsys):
    from emulator.__main__ import main  # noqa: PLC0415 - a program's own module

    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert capsys.readouterr().err


def test_what_the_front_does_not_serve_is_404():
    world, _ = storage_world()
    answer = Client(HttpFront(world, [])).get("/nowhere")
    assert (answer.status_code, answer.get_json()["error"]["status"]) == (404, "NOT_FOUND")
