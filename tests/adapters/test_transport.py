"""The transport over real sockets: kept connections, dead ones, what is sent again and what never, bounds, proxies."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import urllib3
from kit.inprocess import impatient

from shared.cloud import transport
from shared.cloud.transport import Answer, Transport

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
        with pytest.raises(urllib3.exceptions.HTTPError):
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
            with pytest.raises(urllib3.exceptions.HTTPError, match="1000 bytes"):
                one.send("GET", url_of(server))


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
