"""The proxy before the hub page: what a real function behind it sees, and what comes back."""

from __future__ import annotations

import http.client
import json
import socket
import textwrap
from typing import TYPE_CHECKING, Any

import pytest
import requests
from google.auth import jwt

from tests.emulator.iap_kit import Browser, fronted_cloud

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from emulator.app import EmbeddedCloud

ANA = "ana.silva@example.com"
MAIN = """
import json, os, time
import flask, functions_framework

@functions_framework.http
def hub(request):
    match request.path:
        case "/redirect":
            return flask.redirect("/there?x=1", 303)
        case "/cookies":
            answer = flask.make_response("two")
            answer.set_cookie("one", "1", httponly=True)
            answer.set_cookie("two", "2")
            answer.headers.add("Set-Cookie", request.args.get("raw", "three=3"))
            return answer
        case "/unchanged":
            return flask.Response(status=304, headers={"ETag": '"v1"'})
        case "/big":
            return flask.Response((b"x" * 65536 for _ in range(64)), mimetype="application/octet-stream")
        case "/pieces":
            gate = os.environ["GATE"]
            def pieces():
                yield b"first"
                while not os.path.exists(gate):
                    time.sleep(0.01)
                yield b"last"
            return flask.Response(pieces(), mimetype="text/plain")
        case "/fails":
            raise ValueError("as asked")
    seen = {
        "method": request.method, "path": request.path, "query": request.query_string.decode(), "raw": request.environ["RAW_URI"],
        "headers": [[name, value] for name, value in request.headers.items()], "size": len(request.get_data()),
        "audience": os.environ["BENCHKEEPER_IAP_AUDIENCE"],
    }
    return flask.Response(json.dumps(seen), mimetype="application/json")
"""


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gate") / "open"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, gate: Path) -> Iterator[EmbeddedCloud]:
    source = tmp_path_factory.mktemp("source")
    (source / "main.py").write_text(textwrap.dedent(MAIN))
    with fronted_cloud(log_folder=source) as cloud:
        body = {
            "name": "benchkeeper-hub", "source": str(source), "entry_point": "hub", "signature": "http",
            "environment": {"BENCHKEEPER_IAP_AUDIENCE": cloud.iap.audience, "GATE": str(gate)},
        }  # fmt: skip
        requests.post(
            f"{cloud.url}/_emulator/functions", json=body, headers=cloud.token.headers, timeout=60
        ).raise_for_status()
        yield cloud


@pytest.fixture
def ana(cloud: EmbeddedCloud) -> Browser:
    browser = Browser()
    assert browser.sign_in(cloud.iap.url, ANA).status == 303
    return browser


def seen(
    cloud: EmbeddedCloud, browser: Browser, path: str = "/", **asked: Any
) -> tuple[dict[str, Any], dict[str, str]]:
    answer = browser.get(cloud.iap.url + path, **asked)
    assert answer.status == 200, answer.text
    found = json.loads(answer.body)
    return found, {name.lower(): value for name, value in found["headers"]}


def test_the_function_sees_who_it_is_signed(cloud: EmbeddedCloud, ana: Browser) -> None:
    found, headers = seen(cloud, ana)
    keys = requests.get(f"{cloud.url}/_emulator/iap/public_key", timeout=10).json()
    claims = jwt.decode(headers["x-goog-iap-jwt-assertion"], certs=keys, audience=found["audience"])
    assert claims["email"] == ANA
    assert headers["x-goog-authenticated-user-email"] == f"accounts.google.com:{ANA}"
    assert headers["x-goog-authenticated-user-id"] == claims["sub"]
    assert found["audience"] == "/projects/100000000001/locations/europe-west1/services/benchkeeper-hub"


def test_what_the_caller_claims_to_be_does_not_get_through(cloud: EmbeddedCloud, ana: Browser) -> None:
    good = cloud.iap.signer.assertion("mia.chen@example.com", cloud.iap.audience)
    claimed = {
        "X-Goog-IAP-JWT-Assertion": good, "x-goog-authenticated-user-email": "accounts.google.com:mia.chen@example.com",
        "X_Goog_Authenticated_User_Id": "1", "X-Serverless-Authorization": f"Bearer {good}", "X-Goog-Anything": "1",
        "Forwarded": "for=1.2.3.4", "X-Forwarded-For": "1.2.3.4", "X-Forwarded-Proto": "gopher", "X-Forwarded-Host": "evil.example",
        "Connection": "keep-alive, X-Secret", "X-Secret": "1", "X-Kept": "1", "Proxy-Authorization": "Basic x", "TE": "trailers",
    }  # fmt: skip
    found, headers = seen(cloud, ana, headers=claimed)
    text = json.dumps(found)
    assert good not in text
    assert "mia.chen" not in text
    ours = {"x-goog-iap-jwt-assertion", "x-goog-authenticated-user-email", "x-goog-authenticated-user-id"}
    assert {name for name in headers if name.startswith("x-goog-")} == ours
    assert (
        headers["x-forwarded-for"] == "1.2.3.4, 127.0.0.1"
    )  # appended, as on Google Cloud: the first entry is the caller's word
    assert (headers["x-forwarded-proto"], headers["x-forwarded-host"]) == (
        "http",
        cloud.iap.url.removeprefix("http://"),
    )
    assert headers["host"] == cloud.iap.url.removeprefix("http://")
    assert headers["x-kept"] == "1"
    assert not {"forwarded", "x-serverless-authorization", "x-secret", "proxy-authorization", "te"} & set(headers)


def test_the_proxys_own_cookie_stays_with_it(cloud: EmbeddedCloud, ana: Browser) -> None:
    _, headers = seen(cloud, ana)
    assert "cookie" not in headers
    ana.jar["localhost"] |= {"theme": "dark", "a": "b=c"}
    _, headers = seen(cloud, ana)
    assert headers["cookie"] == "theme=dark; a=b=c"
    name = cloud.iap.sign_in.cookie
    answer = ana.get(f"{cloud.iap.url}/cookies?raw={name}=stolen")
    assert [line.split(";")[0] for line in answer.headers.get_all("Set-Cookie", [])] == ["one=1", "two=2"]


def test_answers_come_back_as_they_are(cloud: EmbeddedCloud, ana: Browser) -> None:
    url = cloud.iap.url
    redirect = ana.get(f"{url}/redirect")
    assert (redirect.status, redirect.location) == (303, "/there?x=1")
    assert len(ana.get(f"{url}/cookies").headers.get_all("Set-Cookie", [])) == 3
    unchanged = ana.get(f"{url}/unchanged", headers={"If-None-Match": '"v1"'})
    assert (unchanged.status, unchanged.body, unchanged.headers["ETag"]) == (304, b"", '"v1"')
    assert unchanged.headers["Content-Type"] is None
    head = ana.get(f"{url}/", method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert int(head.headers["Content-Length"]) > 0
    assert ana.get(f"{url}/fails").status == 500
    assert len(ana.get(f"{url}/big").body) == 64 * 65536


@pytest.mark.parametrize("target", ["/a%2Fb/%C3%A9?x=%20+&y", "/;p=1//two", "/?"])
def test_the_path_is_carried_byte_for_byte(cloud: EmbeddedCloud, ana: Browser, target: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", cloud.iap.port, timeout=30)
    cookie = "; ".join(f"{name}={value}" for name, value in ana.jar["localhost"].items())
    connection.request("GET", target, headers={"Host": cloud.iap.url.removeprefix("http://"), "Cookie": cookie})
    assert json.loads(connection.getresponse().read())["raw"] == target
    connection.close()


def test_bodies_go_through_in_both_forms_and_the_connection_is_kept(cloud: EmbeddedCloud, ana: Browser) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", cloud.iap.port, timeout=30)
    cookie = "; ".join(f"{name}={value}" for name, value in ana.jar["localhost"].items())
    headers = {"Host": cloud.iap.url.removeprefix("http://"), "Cookie": cookie}
    connection.connect()
    before = connection.sock
    pieces = (b"y" * 1000 for _ in range(500))
    for body, chunked, size in [(b"x" * 3_000_000, False, 3_000_000), (pieces, True, 500_000), (b"", False, 0)]:
        connection.request("POST", "/form", body=body, headers=headers, encode_chunked=chunked)
        found = json.loads(connection.getresponse().read())
        assert (found["method"], found["path"], found["size"]) == ("POST", "/form", size)
    connection.request("GET", "/big", headers=headers)
    assert len(connection.getresponse().read()) == 64 * 65536
    assert connection.sock is before  # one connection all the time
    connection.close()


def test_an_answer_is_passed_on_while_it_is_being_made(cloud: EmbeddedCloud, ana: Browser, gate: Path) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", cloud.iap.port, timeout=30)
    cookie = "; ".join(f"{name}={value}" for name, value in ana.jar["localhost"].items())
    connection.request("GET", "/pieces", headers={"Host": cloud.iap.url.removeprefix("http://"), "Cookie": cookie})
    answer = connection.getresponse()
    assert answer.read(5) == b"first"  # the rest is not made yet: the gate is closed
    gate.touch()
    assert answer.read() == b"last"
    connection.close()


@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: 3\r\nContent-Length: 4", "Content-Length: 3\r\nTransfer-Encoding: chunked", "Transfer-Encoding: gzip, chunked",
        "Content-Length: -1", "Content-Length: +3", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    ],
)  # fmt: skip
def test_a_request_with_two_lengths_is_refused(cloud: EmbeddedCloud, ana: Browser, head: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", cloud.iap.port, timeout=30)
    connection.connect()
    host = cloud.iap.url.removeprefix("http://")
    connection.sock.sendall(f"POST / HTTP/1.1\r\nHost: {host}\r\n{head}\r\n\r\n0\r\n\r\n".encode())
    answer = http.client.HTTPResponse(connection.sock)
    answer.begin()
    assert answer.status == 400
    answer.close()
    connection.close()


@pytest.mark.parametrize(("cookie", "first"), [(True, b"HTTP/1.1 100"), (False, b"HTTP/1.1 401")])
def test_a_body_that_nobody_wants_is_not_asked_for(
    cloud: EmbeddedCloud, ana: Browser, cookie: bool, first: bytes
) -> None:
    host = cloud.iap.url.removeprefix("http://")
    cookies = "; ".join(f"{name}={value}" for name, value in ana.jar["localhost"].items()) if cookie else "a=b"
    head = (
        f"POST /form HTTP/1.1\r\nHost: {host}\r\nCookie: {cookies}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", cloud.iap.port), timeout=30) as client, client.makefile("rb") as reader:
        client.sendall(head.encode())
        assert reader.readline().startswith(first)
        if cookie:
            assert reader.readline() == b"\r\n"
            client.sendall(b"hello")
            assert reader.readline().startswith(b"HTTP/1.1 200")
        else:
            assert b"Connection: close\r\n" in reader.read()


@pytest.mark.parametrize("kind", ["SIGNATURE", "AUDIENCE", "PAST_EXPIRATION"])
def test_the_front_sends_wrong_headers_when_asked_to_test(cloud: EmbeddedCloud, ana: Browser, kind: str) -> None:
    path = f"/?gcp-iap-mode=SECURE_TOKEN_TEST&iap-secure-token-test-type={kind}"
    found, headers = seen(cloud, ana, path)
    keys = requests.get(f"{cloud.url}/_emulator/iap/public_key", timeout=10).json()
    with pytest.raises(ValueError, match=r"signature|audience|expired"):
        jwt.decode(headers["x-goog-iap-jwt-assertion"], certs=keys, audience=found["audience"])
    refused = ana.get(f"{cloud.iap.url}/?gcp-iap-mode=SECURE_TOKEN_TEST&iap-secure-token-test-type=MOON")
    assert refused.status == 400
    assert "FUTURE_ISSUE" in refused.text


def test_a_function_that_is_not_up_is_said_kindly() -> None:
    with fronted_cloud() as cloud:
        browser = Browser()
        browser.sign_in(cloud.iap.url, ANA)
        answer = browser.get(f"{cloud.iap.url}/fleet?a=1&b=2")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "3")
    assert "<h1>The hub page is not running</h1>" in answer.text
    assert 'href="/fleet?a=1&amp;b=2">Look again</a>' in answer.text
