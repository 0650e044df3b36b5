"""gcloud's token in REST calls: asked for once, and once more when an hour has passed."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cli.deploy.failures import DeployError
from cli.deploy.gcloud import Call, Gcloud

# Prints the tokens token-1, token-2 …, and keeps what it was asked.
GCLOUD = """
import pathlib, sys
here = pathlib.Path(__file__).parent
with (here / "journal").open("a") as journal:
    journal.write(" ".join(sys.argv[1:3]) + "\\n")
if sys.argv[1:3] == ["auth", "print-access-token"]:
    print(f"token-{(here / 'journal').read_text().count('auth')}")
else:
    print((here / "endpoint").read_text())
"""
EXPIRED = {
    "error": {"code": 401, "status": "UNAUTHENTICATED", "message": "Request had invalid authentication credentials."}
}
POST = Call("monitoring", "POST", "v3/projects/acme-analytics/alertPolicies", {"displayName": "x"})


class Hourly(ThreadingHTTPServer):
    """Monitoring, which takes the tokens of `good`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.good = {"token-1"}
        self.got: list[tuple[str, object]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Hourly

    def do_POST(self) -> None:
        token = self.headers["Authorization"].removeprefix("Bearer ")
        self.server.got.append((token, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
        taken = token in self.server.good
        raw = json.dumps({"name": "a/1"} if taken else EXPIRED).encode()
        self.send_response(200 if taken else 401)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def monitoring() -> Iterator[Hourly]:
    with Hourly() as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield server
        server.shutdown()
        serving.join()


@pytest.fixture
def gcloud(tmp_path: Path, monitoring: Hourly) -> Gcloud:
    path = tmp_path / "gcloud"
    path.write_text(f"#!{sys.executable} -IS\n{GCLOUD}")
    path.chmod(0o755)
    (tmp_path / "endpoint").write_text(f"http://127.0.0.1:{monitoring.server_address[1]}/")
    return Gcloud("acme-analytics", executable=str(path))


def tokens(folder: Path) -> int:
    return (folder / "journal").read_text().count("auth print-access-token")


def test_a_token_is_asked_for_once(gcloud, monitoring, tmp_path):
    assert [gcloud.call(POST), gcloud.do(POST)] == [{"name": "a/1"}] * 2
    assert [token for token, _ in monitoring.got] == ["token-1", "token-1"]
    assert tokens(tmp_path) == 1


def test_a_token_that_is_an_hour_old_is_asked_for_anew_and_the_call_is_made_again(gcloud, monitoring, tmp_path):
    gcloud.call(POST)
    monitoring.good = {"token-2"}
    assert gcloud.call(POST) == {"name": "a/1"}
    assert monitoring.got == [(token, {"displayName": "x"}) for token in ("token-1", "token-1", "token-2")]
    gcloud.call(POST)
    assert monitoring.got[-1][0] == "token-2"
    assert tokens(tmp_path) == 2


def test_whoever_is_logged_out_is_told_so_after_one_new_token(gcloud, monitoring, tmp_path):
    monitoring.good = set()
    with pytest.raises(DeployError, match="You are not logged in to Google Cloud") as caught:
        gcloud.call(POST)
    assert caught.value.remedy == "Run: gcloud auth login"
    assert [token for token, _ in monitoring.got] == ["token-1", "token-2"]
    assert tokens(tmp_path) == 2
