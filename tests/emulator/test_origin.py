"""Each door of the local run against what a web page of another origin can send, and what starts processes against everybody else."""

from __future__ import annotations

import io
import json
import stat
from typing import TYPE_CHECKING, Any

import pytest
import requests
from werkzeug.test import Client
from werkzeug.wrappers import Request

from emulator.__main__ import main
from emulator.app import EmbeddedCloud
from emulator.clock import VirtualClock
from emulator.errors import ApiError
from emulator.host_launch import HEADER as CALLER
from emulator.host_launch import locked
from emulator.jupyter.folders import Folders
from emulator.token import HEADER, ProcessToken
from emulator.wire.origin import comes_from_elsewhere, is_unasked
from tests.emulator.iap_kit import Browser, fronted_cloud

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ANA = "ana.silva@example.com"
BUCKET = "/storage/v1/b?project=p"


def refused(cloud: EmbeddedCloud, path: str = BUCKET, *, status: int, method: str = "POST", **sent: Any) -> str:
    """Send it, see it refused in Google's shape and nothing changed; what it said."""
    before = cloud.world.save()
    sent.setdefault("json", {"name": "made-by-a-page"})
    answer = Client(cloud.wsgi).open(path, method=method, **sent)
    assert answer.status_code == status, answer.text
    error = json.loads(answer.text)["error"]
    assert error["code"] == status
    assert cloud.world.save() == before
    return f"{error['status']}: {error['message']}"


def make(cloud: EmbeddedCloud, **sent: Any) -> int:
    return Client(cloud.wsgi).post(BUCKET, json={"name": "made"}, **sent).status_code


@pytest.fixture
def cloud() -> EmbeddedCloud:
    return EmbeddedCloud.build(clock=VirtualClock(speed=0))


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8900", "127.0.0.1.evil.example", "a.localhost:8900", ""])  # fmt: skip
def test_a_foreign_host_is_refused(cloud: EmbeddedCloud, host: str) -> None:
    said = refused(cloud, status=403, headers={"Host": host})
    assert said.startswith("PERMISSION_DENIED")
    assert "--allow-host" in said
    assert "Valid: 127.0.0.1, localhost" in said


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8900", "localhost:1", "LOCALHOST:8900", "[::1]:8900", "[::1]", "localhost.:8900"])  # fmt: skip
def test_this_machine_s_own_names_are_served(cloud: EmbeddedCloud, host: str) -> None:
    assert make(cloud, headers={"Host": host}) == 200


def test_an_allowed_name_is_served_and_no_other(cloud: EmbeddedCloud) -> None:
    named = EmbeddedCloud.build(clock=VirtualClock(speed=0), names=["Host.Docker.internal"])
    assert make(named, headers={"Host": "host.docker.internal:8900"}) == 200
    refused(named, status=403, headers={"Host": "docker.internal"})
    refused(cloud, status=403, headers={"Host": "host.docker.internal"})


def test_the_host_of_an_absolute_address_counts_too(cloud: EmbeddedCloud) -> None:
    environ = {"RAW_URI": f"http://evil.example{BUCKET}"}
    refused(cloud, status=403, headers={"Host": "127.0.0.1"}, environ_overrides=environ)


@pytest.mark.parametrize(
    "origin",
    ["null", "http://evil.example", "http://localhost:3000", "https://localhost", "http://127.0.0.1:1", "file://", ""],
)
def test_any_origin_but_its_own_is_refused(cloud: EmbeddedCloud, origin: str) -> None:
    for method in ("POST", "GET", "OPTIONS", "PUT", "DELETE"):
        said = refused(cloud, status=403, method=method, headers={"Host": "localhost:8900", "Origin": origin})
        assert "may not call the embedded cloud" in said
        assert "Valid: no Origin header" in said


def test_its_own_origin_is_served(cloud: EmbeddedCloud) -> None:
    own = {"Host": "localhost:8900", "Origin": "http://localhost:8900", "Sec-Fetch-Site": "same-origin"}
    assert make(cloud, headers=own) == 200
    typed = Client(cloud.wsgi).get("/_emulator/", headers={"Host": "localhost", "Sec-Fetch-Site": "none"})
    assert typed.status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site", "anything"])
def test_requests_of_another_site_are_refused(cloud: EmbeddedCloud, site: str) -> None:
    for method in ("GET", "POST"):
        said = refused(cloud, status=403, method=method, headers={"Host": "localhost", "Sec-Fetch-Site": site})
        assert "Valid: same-origin, none" in said


FORMS = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "text/json"]


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("path", [BUCKET, "/v1/projects/p/topics/t:publish", "/_emulator/clock", "/_emulator/people", "/_emulator/faults"])  # fmt: skip
def test_a_body_that_does_not_say_that_it_is_json_is_refused(cloud: EmbeddedCloud, kind: str, path: str) -> None:
    said = refused(cloud, path, status=400, json=None, data=b'{"speed": 1}', content_type=kind)
    assert said.startswith("INVALID_ARGUMENT: Invalid Content-Type")
    assert "application/json" in said


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON; charset=UTF-8", "application/merge-patch+json"]
)
def test_a_body_that_says_so_is_taken(cloud: EmbeddedCloud, kind: str) -> None:
    answer = Client(cloud.wsgi).post(BUCKET, data=b'{"name": "made"}', content_type=kind)
    assert answer.status_code == 200


def test_what_is_no_json_stays_what_it_is(cloud: EmbeddedCloud) -> None:
    client = Client(cloud.wsgi)
    client.post(BUCKET, json={"name": "made"})
    text = client.post("/upload/storage/v1/b/made/o?uploadType=media&name=a", data=b"a=b", content_type="text/plain")
    assert text.json is not None
    assert text.json["contentType"] == "text/plain"
    assert client.get("/storage/v1/b/made/o/a?alt=media").data == b"a=b"


# --- what starts processes


def start(cloud: EmbeddedCloud, source: Path, **headers: str) -> Any:
    body = {"name": "f", "source": str(source), "entry_point": "go", "signature": "http"}
    return Client(cloud.wsgi).post("/_emulator/functions", json=body, headers=headers)


def test_only_the_token_starts_and_ends_a_process(cloud: EmbeddedCloud, tmp_path: Path) -> None:
    cloud.token.write(tmp_path)
    for wrong in (
        {},
        {HEADER: ""},
        {HEADER: "guess"},
        {HEADER: ProcessToken().value},
        {"Authorization": cloud.token.value},
    ):
        answer = start(cloud, tmp_path, **wrong)
        assert answer.status_code == 401
        assert answer.json["error"]["status"] == "UNAUTHENTICATED"
        assert HEADER in answer.json["error"]["message"]
        assert str(tmp_path / "token") in answer.json["error"]["message"]
        assert cloud.token.value not in answer.text
    assert Client(cloud.wsgi).delete("/_emulator/functions/f").status_code == 401
    # With it the request is looked at: this folder has no function.
    assert start(cloud, tmp_path, **cloud.token.headers).status_code == 400
    assert Client(cloud.wsgi).delete("/_emulator/functions/f", headers=cloud.token.headers).status_code == 404


def test_the_token_is_for_the_user_alone_and_new_in_each_run(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    first = ProcessToken()
    file = first.write(folder)
    assert file.read_text() == first.value
    file.chmod(0o644)  # somebody opened it up
    second = ProcessToken()
    second.write(folder)
    assert file.read_text() == second.value != first.value
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in folder.iterdir()] == ["token"]


def test_a_link_that_lies_in_the_token_s_place_is_not_written_through(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("as it was")
    (tmp_path / "token").symlink_to(other)
    made = ProcessToken()
    made.write(tmp_path)
    assert other.read_text() == "as it was"
    assert not (tmp_path / "token").is_symlink()


def test_a_run_that_finds_the_port_taken_leaves_the_token_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with EmbeddedCloud.build() as running:
        running.token.write(tmp_path)
        assert main(["--port", str(running.port), "--data", str(tmp_path)]) == 2
    assert (tmp_path / "token").read_text() == running.token.value
    assert "cannot be used" in capsys.readouterr().err


def test_a_function_s_own_port_takes_calls_of_its_host_alone() -> None:
    seen: list[str] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        seen.extend(name for name in environ if "CALLER" in name)
        start_response("200 OK", [])
        return [b"in"]

    key = "k" * 64
    client = Client(locked(app, key))
    for headers in ({}, {CALLER: ""}, {CALLER: "k" * 63}, {CALLER: "\xff"}):
        answer = client.post("/", data=b"{}", headers=headers)
        assert answer.status_code == 403
        assert "Publish to the function's topic" in answer.text
    assert client.post("/", headers={CALLER: key}).text == "in"
    assert seen == []  # the function does not see the key


def test_a_doctored_world_leads_no_disk_out_of_its_folder(tmp_path: Path) -> None:
    folders = Folders(tmp_path / "jupyter")
    assert folders.path("disks/123") == tmp_path / "jupyter" / "disks" / "123"
    for outside in ("disks/../../x", "/etc", "disks/..", "clusters/../../jupyter-2/x", ""):
        with pytest.raises(OSError, match="leads out of"):
            folders.path(outside)


# --- the page's own door


@pytest.fixture
def front() -> Iterator[EmbeddedCloud]:
    with fronted_cloud() as cloud:
        yield cloud


FOREIGN = [
    {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://localhost:1"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
]  # fmt: skip


@pytest.mark.parametrize("headers", FOREIGN)
def test_a_page_of_another_site_reaches_nothing_behind_the_sign_in(
    front: EmbeddedCloud, headers: dict[str, str]
) -> None:
    browser = Browser()
    assert browser.sign_in(front.iap.url, ANA).status == 303
    assert browser.post(f"{front.iap.url}/stop", {}, **headers).status == 403
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", **headers}
    assert browser.get(f"{front.iap.url}/ws", headers=upgrade).status == 403
    if "Sec-Fetch-Mode" in headers:
        assert browser.get(f"{front.iap.url}/", headers=headers).status == 403
    # The person is still signed in: 503, since no function runs here.
    assert browser.get(f"{front.iap.url}/").status == 503


def test_a_link_of_another_site_may_lead_here(front: EmbeddedCloud) -> None:
    browser = Browser()
    browser.sign_in(front.iap.url, ANA)
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert browser.get(f"{front.iap.url}/", headers=followed).status == 503
    assert browser.post(f"{front.iap.url}/stop", {}, **followed).status == 403


@pytest.mark.parametrize("path", ["/_sign_out", "/_gcp_iap/clear_login_cookie", "/?gcp-iap-mode=CLEAR_LOGIN_COOKIE"])
def test_another_site_signs_nobody_out_by_itself(front: EmbeddedCloud, path: str) -> None:
    browser = Browser()
    browser.sign_in(front.iap.url, ANA)
    moved = {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate"}
    answer = browser.get(f"{front.iap.url}{path}", headers=moved)
    assert answer.status == 403
    assert "You are still signed in." in answer.text
    assert browser.get(f"{front.iap.url}/").status == 503
    assert browser.get(f"{front.iap.url}{path}", headers={**moved, "Sec-Fetch-User": "?1"}).status == 303
    assert "Sign in" in browser.get(f"{front.iap.url}/_sign_in").text


def test_a_program_that_is_no_browser_is_from_nowhere() -> None:
    environ: dict[str, Any] = {"REQUEST_METHOD": "POST", "HTTP_HOST": "localhost:1", "wsgi.input": io.BytesIO()}
    assert not comes_from_elsewhere(Request(environ))
    assert not is_unasked(Request(environ))


def test_a_real_connection_is_held_to_it_too() -> None:
    with EmbeddedCloud.build() as cloud:
        answer = requests.post(f"{cloud.url}{BUCKET}", json={"name": "b"}, headers={"Host": "evil.example"}, timeout=10)
        assert answer.status_code == 403
        assert answer.json()["error"]["status"] == "PERMISSION_DENIED"
        assert requests.get(f"{cloud.url}/storage/v1/b?project=p", timeout=10).json().get("items", []) == []


def test_an_error_of_the_token_has_the_shape_of_google() -> None:
    with pytest.raises(ApiError) as found:
        ProcessToken().check(Request({"wsgi.input": io.BytesIO()}))
    assert found.value.body()["error"]["code"] == 401
