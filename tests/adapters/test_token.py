"""Tokens of the metadata server: kept until shortly before their end, asked for by one thread, renewed when refused."""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from kit.inprocess import impatient

from shared.cloud.http import clients as tokens
from shared.cloud.http.clients import Clients, CloudConfig, MetadataToken, is_on_google_cloud
from shared.cloud.http.transport import Answer, NoAnswerError, Transport
from shared.domain.things.errors import AccessDeniedError, CloudUnavailableError

ASKED = "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token"


class Metadata:
    """The metadata server, and Cloud Storage behind it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.used: list[str] = []
        self.said: Answer | None = None
        self.lifetime_s = 3599
        self.refuses: set[str] = set()
        self.down = False

    def answer(self, _method: str, url: str, headers: dict[str, str], _body: bytes | None) -> Answer:
        if not url.startswith(ASKED):
            self.used.append(headers["authorization"])
            status = 401 if headers["authorization"] in self.refuses else 200
            return Answer(status=status, headers={}, content=b"{}")
        assert headers["metadata-flavor"] == "Google"
        assert "authorization" not in headers
        self.asked.append(url)
        if self.down:
            raise NoAnswerError("no route")
        content = {"access_token": f"t{len(self.asked)}", "expires_in": self.lifetime_s, "token_type": "Bearer"}
        return self.said or Answer(status=200, headers={}, content=json.dumps(content).encode())


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("K_SERVICE", "benchkeeper-lifecycle")
    monkeypatch.delenv("GCE_METADATA_HOST", raising=False)
    with impatient():
        yield Metadata()


def clients_of(server: Metadata) -> Clients:
    return Clients(CloudConfig(project="p", bucket="b", api_endpoint=None), door=server.answer)


def test_a_function_asks_once_for_many_calls(server):
    clients = clients_of(server)
    for _ in range(5):
        clients.json("notebooks").call("GET", "/v2/x")
    assert (server.asked, server.used) == ([ASKED], ["Bearer t1"] * 5)


def test_many_threads_ask_once(server):
    clients = clients_of(server)
    threads = [threading.Thread(target=clients.json("iam").call, args=("GET", "/v1/x")) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(server.asked), len(server.used)) == (1, 16)


def test_shortly_before_its_end_there_is_another(server, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(tokens, "time", SimpleNamespace(monotonic=lambda: now[0]))
    token = MetadataToken(Transport(sign=lambda *_: None, patience_s=0.0, door=server.answer))
    for now[0] in (0.0, 3358.0, 3360.0):
        headers: dict[str, str] = {}
        token.sign("GET", "x", headers)
    assert (headers, len(server.asked)) == ({"authorization": "Bearer t2"}, 2)


def test_one_that_is_refused_is_renewed_and_the_call_sent_once_more(server):
    clients = clients_of(server)
    server.refuses = {"Bearer t1"}
    assert clients.json("iam").call("POST", "/v1/x", body={}) == {}
    assert server.used == ["Bearer t1", "Bearer t2"]


def test_a_metadata_server_that_does_not_answer_is_a_passing_failure(server):
    server.down = True
    with pytest.raises(CloudUnavailableError):
        clients_of(server).json("iam").call("GET", "/v1/x")
    assert server.used == []


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (Answer(status=404, headers={}, content=b"no account"), Exception),
        (Answer(status=403, headers={}, content=b"no"), AccessDeniedError),
        (Answer(status=200, headers={}, content=b"<html>"), CloudUnavailableError),
        (Answer(status=200, headers={}, content=b'{"access_token": "x"}'), CloudUnavailableError),
    ],
)
def test_what_is_no_token_is_never_sent(server, said, error):
    server.said = said
    with pytest.raises(error):
        clients_of(server).json("iam").call("GET", "/v1/x")
    assert server.used == []


@pytest.mark.parametrize(
    ("environ", "is_there"),
    [
        ({}, False),
        ({"K_SERVICE": ""}, False),
        ({"K_SERVICE": "benchkeeper-tick"}, True),
        ({"K_SERVICE": "benchkeeper-tick", "GOOGLE_APPLICATION_CREDENTIALS": "/key.json"}, False),
    ],
)
def test_elsewhere_google_auth_finds_the_credentials(environ, is_there):
    assert is_on_google_cloud(environ) is is_there
