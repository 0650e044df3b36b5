"""The transport over real sockets: kept connections, dead ones, what is sent again and what never, bounds, proxies."""

from __future__ import annotations

import gc
import gzip
import shutil
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from kit.certificate import authority
from kit.inprocess import impatient

from shared.cloud.http import transport
from shared.cloud.http.transport import Answer, NoAnswerError, Transport
from shared.cloud.http.trust import hashed_folder

Reply = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers by the server's script, the last line of it for ever; a connection is kept."""

    protocol_version = "HTTP/1.1"
    server: Any

    def log_message(self, *_: Any) -> None:
        pass

    def reply(self, status: int = 200, content: bytes = b"ok", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def handle_one(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.seen.append((self.command, self.path, dict(self.headers.items()), self.client_address[1]))
        script = self.server.script
        (script.pop(0) if len(script) > 1 else script[0])(self)

    do_GET = do_POST = handle_one  # noqa: N815 - http.server finds them by these names


def answers(status: int = 200, content: bytes = b"ok", **headers: str) -> Reply:
    return lambda handler: handler.reply(status, content, **headers)


def hangs_up(handler: Handler) -> None:
    handler.close_connection = True


class Server(ThreadingHTTPServer):
    """Says when a connection was closed."""

    daemon_threads = True

    def __init__(self, script: list[Reply]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = script
        self.seen: list[Any] = []
        self.closed = threading.Semaphore(0)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.closed.release()


@contextmanager
def serving(*script: Reply) -> Iterator[Server]:
    with Server(list(script or [answers()])) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def url_of(server: Any) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/x"


@contextmanager
def made(**more: Any) -> Iterator[Transport]:
    settings = {"sign": lambda *_: None, "patience_s": 60.0, "trust_env": False, **more}
    one = Transport(**settings)
    with impatient():
        yield one
    one.close()


def test_a_connection_is_kept():
    with serving() as server, made() as one:
        for _ in range(3):
            assert one.send("GET", url_of(server)).content == b"ok"
        assert len({port for *_, port in server.seen}) == 1


def test_one_that_died_between_two_events_is_thrown_away_unused():
    """Nothing is sent twice for it, so a POST that may not be repeated goes through, too."""

    def last(handler: Handler) -> None:
        handler.reply()
        handler.close_connection = True  # as a server that has waited long enough, without saying so

    with serving(last) as server, made() as one:
        for _ in range(3):
            assert one.send("POST", url_of(server), body=b"{}").ok
            assert server.closed.acquire(timeout=60)
        assert len(server.seen) == 3


def test_who_lets_go_of_it_leaves_no_connection_open():
    with serving() as server:
        one = Transport(sign=lambda *_: None, patience_s=0.0, trust_env=False)
        assert one.send("GET", url_of(server)).ok
        del one
        gc.collect()
        assert server.closed.acquire(timeout=60)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_passing_failure_is_sent_again_only_where_the_caller_says_so(status):
    with serving(answers(status), answers(status), answers()) as server, made() as one:
        assert one.send("POST", url_of(server)).status == status
        assert one.send("GET", url_of(server), again=True).ok
        assert len(server.seen) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 412, 501])
def test_what_will_not_pass_is_sent_once(status):
    with serving(answers(status)) as server, made() as one:
        assert one.send("GET", url_of(server), again=True).status == status
        assert len(server.seen) == 1


def test_a_lost_answer_is_asked_for_again_only_where_the_caller_says_so():
    with serving(hangs_up, answers()) as server, made() as one:
        assert one.send("GET", url_of(server), again=True).ok
        assert len(server.seen) == 2
    with serving(hangs_up) as server, made() as one:
        with pytest.raises(NoAnswerError):
            one.send("POST", url_of(server))
        assert len(server.seen) == 1


def test_patience_ends():
    with serving(answers(503)) as server, made(patience_s=0.0) as one:
        assert one.send("GET", url_of(server), again=True).status == 503
        assert len(server.seen) == 1


def test_a_redirect_is_an_answer_and_is_not_followed():
    with serving(answers(302, location="http://127.0.0.1:1/elsewhere")) as server, made() as one:
        assert one.send("GET", url_of(server), again=True).status == 302
        assert len(server.seen) == 1


def test_what_is_packed_is_unpacked():
    with serving(answers(content=gzip.compress(b"text"), content_encoding="gzip")) as server, made() as one:
        assert one.send("GET", url_of(server)).content == b"text"
        assert server.seen[0][2]["accept-encoding"] == "gzip"


def test_an_answer_has_a_bound(monkeypatch):
    monkeypatch.setattr(transport, "MOST_BYTES", 1000)
    bomb = gzip.compress(b"0" * 10_000_000)
    with serving(answers(content=b"0" * 1001), answers(content=bomb, content_encoding="gzip")) as server, made() as one:
        for _ in range(2):
            with pytest.raises(NoAnswerError, match="1000 bytes"):
                one.send("GET", url_of(server))


def cut(content: bytes, said: int, **headers: str) -> Reply:
    """Says that `said` bytes come, and sends these."""

    def reply(handler: Handler) -> None:
        handler.send_response(200)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("content-length", str(said))
        handler.end_headers()
        handler.wfile.write(content)
        handler.close_connection = True

    return reply


def chunks(*parts: bytes, end: bytes = b"0\r\n\r\n") -> Reply:
    def reply(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("transfer-encoding", "chunked")
        handler.end_headers()
        for part in parts:
            handler.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        handler.wfile.write(end)
        handler.close_connection = not end

    return reply


def until_closed(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(b"all of it")
    handler.close_connection = True


@pytest.mark.parametrize(
    "broken",
    [
        cut(b"0" * 10, 11),
        cut(packed := gzip.compress(b"some text")[:-9], len(packed), content_encoding="gzip"),
        cut(b"no gzip", 7, content_encoding="gzip"),
        chunks(b"some", end=b""),
        chunks(b"some", end=b"no number\r\n"),
        lambda handler: handler.wfile.write(b"no HTTP\r\n"),
    ],
    ids=["too short", "packed and cut", "not packed", "chunks cut", "chunks broken", "no HTTP"],
)
def test_an_answer_that_breaks_off_is_none_and_nothing_of_it_is_taken_for_the_next(broken):
    with serving(broken, answers(content=b"next")) as server, made() as one:
        with pytest.raises(NoAnswerError):
            one.send("POST", url_of(server))
        assert one.send("POST", url_of(server)).content == b"next"
        assert len({port for *_, port in server.seen}) == 2


@pytest.mark.parametrize(
    ("reply", "content", "connections_used"),
    [
        (chunks(b"some ", b"text"), b"some text", 1),
        (until_closed, b"all of it", 2),
        (answers(connection="close"), b"ok", 2),
        (answers(204, b""), b"", 1),
    ],
    ids=["chunks", "until it closes", "says that it closes", "nothing"],
)
def test_whole_answers_of_every_length(reply, content, connections_used):
    with serving(reply) as server, made() as one:
        for _ in range(2):
            assert one.send("GET", url_of(server)).content == content
        assert len({port for *_, port in server.seen}) == connections_used


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "http://name.invalid/x", "https://127.0.0.1:1/x"])
def test_whoever_is_not_reached_has_not_answered(url):
    with made() as one, pytest.raises(NoAnswerError):
        one.send("GET", url)


def test_a_name_of_any_letters_arrives_as_it_was_written():
    with serving() as server, made() as one:
        at = url_of(server).removesuffix("/x")
        assert one.send("GET", f"{at}/o/records%2Fa%25b?q=1&r=%C3%91").ok
        assert one.send("GET", f"{at}/o/Ñandú O'Neil+test@sub.example.co").ok
        assert [path for _, path, *_ in server.seen] == [
            "/o/records%2Fa%25b?q=1&r=%C3%91",
            "/o/%C3%91and%C3%BA%20O'Neil+test@sub.example.co",
        ]


def test_a_token_that_is_refused_is_renewed_once():
    tokens = ["old"]

    def sign(_method: str, _url: str, headers: dict[str, str]) -> None:
        headers["authorization"] = tokens[-1]

    with (
        serving(answers(401), answers()) as server,
        made(sign=sign, renew=lambda: tokens.append("new")) as one,
    ):
        assert one.send("POST", url_of(server)).ok
        assert [headers["authorization"] for _, _, headers, _ in server.seen] == ["old", "new"]
    with serving(answers(401)) as server, made(sign=sign, renew=lambda: None) as one:
        assert one.send("GET", url_of(server), again=True).status == 401
        assert len(server.seen) == 2


def test_the_proxy_of_the_environment_is_used_where_it_is_to_be_trusted(monkeypatch):
    with serving() as proxy, serving() as server:
        monkeypatch.setenv("http_proxy", url_of(proxy).removesuffix("/x"))
        monkeypatch.setenv("no_proxy", "")
        with made(trust_env=True) as one:
            assert one.send("GET", "http://example.test/y").ok
        assert proxy.seen[0][1] == "http://example.test/y"
        with made(trust_env=False) as one:
            assert one.send("GET", url_of(server)).ok
        assert (len(proxy.seen), len(server.seen)) == (1, 1)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with made(trust_env=True) as one:
            assert one.send("GET", url_of(server)).ok
        assert len(proxy.seen) == 1


def test_a_certificate_that_nobody_vouches_for_is_no_answer_and_one_of_the_system_is(tmp_path, monkeypatch):
    certificate, key = authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving() as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        url = url_of(server).replace("http://", "https://")
        with made() as one, pytest.raises(NoAnswerError, match="CERTIFICATE_VERIFY_FAILED"):
            one.send("GET", url)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))  # OpenSSL's own variable
        with made() as one:
            for _ in range(2):
                assert one.send("GET", url).content == b"ok"
            with pytest.raises(NoAnswerError, match="CERTIFICATE_VERIFY_FAILED"):
                one.send("GET", url.replace("127.0.0.1", "localhost"))  # it is another's
        assert len(server.seen) == 2
        assert len({port for *_, port in server.seen}) == 1


SUBJECT_HASH = "88d0bdcb"  # of the subject CN=127.0.0.1: openssl x509 -subject_hash


def test_a_certificate_of_the_hashed_folder_is_trusted_and_one_of_the_bundle_alone_is_too(tmp_path, monkeypatch):
    certificate, key = authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    folder = tmp_path / "certs"
    folder.mkdir()
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    paths = ssl.get_default_verify_paths()._replace(openssl_capath=str(folder))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    assert hashed_folder() is None  # nothing in it has a hash for its name
    with serving() as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        url = url_of(server).replace("http://", "https://")
        shutil.copy(certificate, folder / f"{SUBJECT_HASH}.0")
        assert hashed_folder() == str(folder)
        with made() as one:
            assert one.send("GET", url).content == b"ok"
            with pytest.raises(NoAnswerError, match="CERTIFICATE_VERIFY_FAILED"):
                one.send("GET", url.replace("127.0.0.1", "localhost"))  # it is another's
        (folder / f"{SUBJECT_HASH}.0").rename(folder / "00000000.0")
        whole = ssl.create_default_context
        bundle = lambda capath=None: whole(capath=capath) if capath else whole(cafile=str(certificate))  # noqa: E731
        monkeypatch.setattr(ssl, "create_default_context", bundle)
        with made() as one:
            for _ in range(2):
                assert one.send("GET", url).content == b"ok"
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert hashed_folder() is None


def test_a_hundred_calls_of_many_threads_use_as_many_connections_as_there_are_threads():
    with serving() as server, made() as one:
        threads = [
            threading.Thread(target=lambda: [one.send("GET", url_of(server)) for _ in range(12)]) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(server.seen) == 96
        assert len({port for *_, port in server.seen}) <= 8


def test_an_answer_says_whether_it_is_one_of_success():
    assert [Answer(status=status, headers={}, content=b"").ok for status in (200, 204, 299, 304, 404)] == [True] * 3 + [
        False
    ] * 2
