"""The way to JupyterLab, with a small server in JupyterLab's place: who gets through, what is carried, and what a person is told."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import textwrap
import threading
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from emulator.app import EmbeddedCloud
from emulator.jupyter.places import _users_of
from emulator.model.notebooks_fresh import PROXY
from shared.domain.fleet.report import report_of
from tests.e2e.local_run import alive
from tests.emulator.iap_kit import Browser
from tests.emulator.jupyter_kit import ZONE, Notebooks, lab_cloud, labs, signed_in, until, up

if TYPE_CHECKING:
    from collections.abc import Iterator

ANA, BEN = "ana.silva@example.com", "ben@example.com"

# Started as JupyterLab is: it listens where it is told, demands its token, and says what it was asked.
FAKE = """
import json, os, socketserver, sys, time
from http.server import BaseHTTPRequestHandler
options = dict(each.split("=", 1) for each in sys.argv if each.startswith("--") and "=" in each)

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def address_string(self):
        return ""
    def log_message(self, *args):
        pass
    def answer(self):
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        if self.headers.get("Authorization") != "token " + os.environ["JUPYTER_TOKEN"]:
            return self.say(403, {})
        if self.path == "/api/kernels?no_track_activity=1":
            return self.say(200, [{"execution_state": "busy"}, {"execution_state": "idle"}])
        if self.path.endswith("/burn"):
            end = time.process_time() + 0.3
            while time.process_time() < end:
                pass
        if self.path.endswith("/die"):
            os._exit(3)
        if self.headers.get("Upgrade") == "websocket":
            self.send_response_only(101)
            self.send_header("Upgrade", "websocket")
            self.send_header("Connection", "Upgrade")
            self.send_header("Sec-WebSocket-Accept", "yes")
            self.end_headers()
            self.wfile.write(b"hello")
            while data := self.rfile.read1(100):
                self.wfile.write(data[::-1])
            self.close_connection = True
            return None
        return self.say(200, {"method": self.command, "path": self.path, "body": body.decode(), "environ": dict(os.environ),
                              "arguments": sys.argv, "headers": self.headers.items(), "cwd": os.getcwd()})
    do_GET = do_POST = do_PUT = do_DELETE = answer
    def say(self, status, what):
        raw = json.dumps(what).encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.send_header("Set-Cookie", "_xsrf=1; Path=/")
        self.end_headers()
        self.wfile.write(raw)

class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

Server(options["--ServerApp.sock"], Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What stands for the Jupyter environment's Python: it runs the small server instead of the file that it is given."""
    script = tmp_path_factory.mktemp("fake") / "python"
    script.write_text(f"#!{sys.executable}\n" + textwrap.dedent(FAKE))
    script.chmod(0o755)
    return script


@pytest.fixture(scope="module")
def cloud(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedCloud]:
    with lab_cloud(python, tmp_path_factory.mktemp("labs"), speed=3000) as made:
        yield made


@pytest.fixture(scope="module")
def url(cloud: EmbeddedCloud) -> str:
    made = Notebooks(cloud).create("ana", ANA)
    up(cloud, made)
    return made


@pytest.fixture
def ana(cloud: EmbeddedCloud, url: str) -> Browser:
    browser = signed_in(cloud, ANA)
    assert browser.arrive(f"{url}/").status == 200
    return browser


def asked(browser: Browser, url: str, **how: Any) -> dict[str, Any]:
    answer = browser.get(url, **how)
    assert answer.status == 200, answer.text
    return dict(json.loads(answer.body))


# --- who gets through


def test_the_apis_report_the_gateway(cloud: EmbeddedCloud, url: str) -> None:
    instance = Notebooks(cloud).get("ana")
    assert instance["proxyUri"] == instance["gceSetup"]["metadata"]["proxy-url"] == url.removeprefix("http://")
    (listed,) = requests.get(f"{cloud.url}/v2/projects/benchkeeper-local/locations/-/instances", timeout=10).json()[
        "instances"
    ]
    assert listed["proxyUri"] == instance["proxyUri"]
    backend = instance["gceSetup"]["metadata"]["proxy-backend-id"]
    assert instance["proxyUri"] == f"{backend}-dot-europe-west1.notebooks.localhost:{cloud.gateway.port}"
    saved = json.dumps(
        requests.get(f"{cloud.url}/_emulator/world", timeout=10).json()["models"]["notebooks"]["instances"]
    )
    assert PROXY in saved  # what is saved does not depend on where this process happens to listen
    assert ".notebooks.localhost" not in saved


def test_without_jupyter_the_apis_report_googles_hosts() -> None:
    with EmbeddedCloud.build() as cloud:
        cloud.world.clock.set_speed(3000)
        made = Notebooks(cloud).create("ana", ANA)
        assert made.endswith(PROXY)
        assert requests.get(f"{cloud.url}/_emulator/jupyter", timeout=10).json() == {"port": 0, "labs": []}


def test_nobody_is_asked_to_sign_in_and_comes_back_without_a_ticket_in_the_address(
    cloud: EmbeddedCloud, url: str
) -> None:
    browser = Browser()
    sent = browser.get(f"{url}/lab?reset&x=a%20b")
    assert sent.status == 302
    assert sent.location.startswith(f"{cloud.iap.url}/_sign_in?")
    back = parse_qs(urlsplit(sent.location).query)["continue"][0]
    assert back == f"{url}/lab?reset&x=a%20b"
    entered = browser.sign_in(cloud.iap.url, ANA, back=back)
    assert entered.location.startswith(f"{url}/lab?")
    arrived = browser.get(entered.location)
    assert (arrived.status, arrived.location) == (303, "/lab?reset=&x=a+b")
    (cookie,) = arrived.headers.get_all("Set-Cookie", [])
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
    assert "Domain" not in cookie  # of this host alone
    assert arrived.headers["Referrer-Policy"] == "no-referrer"
    assert asked(browser, url + arrived.location)["path"] == "/lab?reset=&x=a+b"
    again = Browser().get(entered.location)  # the ticket was used
    assert (again.status, again.headers["Set-Cookie"]) == (303, None)


@pytest.mark.parametrize(
    "how", [{"headers": {"Accept": "application/json"}}, {"method": "POST"}, {"headers": {"Upgrade": "websocket"}}]
)
def test_what_is_no_page_visit_gets_401(url: str, how: dict[str, Any]) -> None:
    assert Browser().get(f"{url}/api/kernels", **how).status == 401


def test_somebody_else_is_told_that_it_is_not_theirs_and_not_whose_it_is(cloud: EmbeddedCloud, url: str) -> None:
    ben = signed_in(cloud, BEN)
    answer = ben.arrive(f"{url}/lab")
    assert answer.status == 403
    assert "This environment is not yours" in answer.text
    assert "ana" not in answer.text.replace(url, "")
    assert f'href="{cloud.iap.url}/_sign_out?continue=' in answer.text
    assert ben.get(f"{url}/api/status", headers={"Accept": "*/*"}).status == 403


def test_a_cookie_of_one_host_is_worth_nothing_at_another(cloud: EmbeddedCloud, url: str, ana: Browser) -> None:
    other = Notebooks(cloud).create("ana-2", ANA)
    up(cloud, other)
    host, other_host = (urlsplit(each).hostname for each in (url, other))
    ana.jar[str(other_host)] = dict(ana.jar[str(host)])
    assert ana.get(f"{other}/lab").status == 302
    ana.jar[str(other_host)] = dict(ana.jar["localhost"])
    assert ana.get(f"{other}/lab").status == 302
    Notebooks(cloud).delete("ana-2")


def test_signing_out_at_the_front_closes_the_environment(cloud: EmbeddedCloud, url: str, ana: Browser) -> None:
    assert ana.get(f"{url}/lab").status == 200
    ana.get(f"{cloud.iap.url}/_sign_out")
    assert ana.get(f"{url}/lab").status == 302


def test_a_forged_or_foreign_cookie_does_not_get_through(cloud: EmbeddedCloud, url: str, ana: Browser) -> None:
    name = f"emulated_gateway_{cloud.gateway.port}"
    host = str(urlsplit(url).hostname)
    good = ana.jar[host][name]
    body, _, mark = good.partition(".")
    for wrong in ("", "x", body, f"{body}.{mark[::-1]}", f"{body[::-1]}.{mark}", good + "0"):
        assert Browser(jar={host: {name: wrong}}).get(f"{url}/lab").status == 302
    assert Browser(jar={host: {name: good}}).get(f"{url}/lab").status == 200


def test_a_host_that_is_none_of_ours_is_not_served(cloud: EmbeddedCloud, ana: Browser) -> None:
    port = cloud.gateway.port
    for host in (f"localhost:{port}", f"evil.example:{port}", "x.notebooks.localhost:1", f"notebooks.localhost:{port}"):
        assert ana.get(f"http://localhost:{port}/", headers={"Host": host}).status == 421
    # One that could be: it leads to the sign-in, which leads nowhere else.
    unknown = f"http://0000-dot-europe-west1.notebooks.localhost:{port}/"
    sent = ana.get(unknown)
    assert sent.status == 302
    assert ana.sign_in(cloud.iap.url, BEN, back=unknown).location == "/"


def test_what_changes_something_must_come_from_its_own_pages(url: str, ana: Browser) -> None:
    for method in ("POST", "PUT", "DELETE"):
        for headers in (
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
        ):
            assert ana.get(f"{url}/api/contents/x", method=method, headers=headers).status == 403
        assert (
            asked(
                ana, f"{url}/api/contents/x", method=method, headers={"Origin": url, "Sec-Fetch-Site": "same-origin"}
            )["method"]
            == method
        )
    assert ana.get(f"{url}/lab", headers={"Sec-Fetch-Site": "cross-site"}).status == 200  # a link from elsewhere


# --- what is carried


def test_the_server_gets_its_token_and_nothing_of_the_gateways(url: str, ana: Browser) -> None:
    host = str(urlsplit(url).hostname)
    ana.jar[host]["theme"] = "dark"
    sent = {
        "Authorization": "token guessed",
        "X-Forwarded-For": "1.2.3.4",
        "X-Goog-Iap-Jwt-Assertion": "x",
        "X-XSRFToken": "1",
    }
    found = asked(ana, f"{url}/a%2Fb?x=%20", headers=sent)
    headers = {name.lower(): value for name, value in found["headers"]}
    assert found["path"] == "/a%2Fb?x=%20"
    assert headers["authorization"] == f"token {found['environ']['JUPYTER_TOKEN']}"
    assert headers["host"] == url.removeprefix("http://")
    assert "theme=dark" in headers["cookie"]
    assert "emulated" not in headers["cookie"]
    assert headers["x-xsrftoken"] == "1"
    assert not {"x-forwarded-for", "x-goog-iap-jwt-assertion"} & set(headers)


def test_a_person_s_code_sees_a_home_on_the_disk_and_nothing_of_ours(
    cloud: EmbeddedCloud, python: Path, url: str, ana: Browser
) -> None:
    found = asked(ana, f"{url}/")
    environ, arguments = found["environ"], " ".join(found["arguments"])
    disk = environ["HOME"]
    assert found["cwd"] == disk
    assert Path(disk).parent.name == "disks"
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
        assert environ[name].startswith(disk)
    assert not environ["JUPYTER_RUNTIME_DIR"].startswith(disk)  # the kernels' keys are on no disk
    assert environ["PATH"].startswith(f"{python.parent}:")
    assert f"--ServerApp.root_dir={disk}" in arguments
    assert environ["JUPYTER_TOKEN"] not in arguments  # every user of the machine sees arguments
    assert not [name for name in environ if name.startswith(("BENCHKEEPER", "PYTEST", "GOOGLE", "VIRTUAL_ENV"))]
    private = Path(environ["JUPYTER_RUNTIME_DIR"]).parent
    assert private.stat().st_mode & 0o077 == 0
    assert environ["JUPYTER_TOKEN"] not in json.dumps(labs(cloud))


def test_a_websocket_is_carried_both_ways(url: str, ana: Browser) -> None:
    host = url.removeprefix("http://")
    cookie = "; ".join(f"{name}={value}" for name, value in ana.jar[host.partition(":")[0]].items())
    head = f"GET /api/kernels/1/channels HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"

    def opened(more: str, first: bytes = b"") -> socket.socket:
        made = socket.create_connection(("127.0.0.1", int(host.partition(":")[2])), timeout=20)
        made.sendall(f"{head}{more}\r\n".encode() + first)
        return made

    with opened(f"Origin: {url}\r\n", b"abc") as channel, channel.makefile("rb") as reader:
        assert reader.readline() == b"HTTP/1.1 101 Switching Protocols\r\n"
        headers = b"".join(iter(reader.readline, b"\r\n"))
        assert b"Sec-WebSocket-Accept: yes\r\n" in headers
        assert headers.count(b"Upgrade: websocket\r\n") == headers.count(b"Connection: Upgrade\r\n") == 1
        assert reader.read(8) == b"hellocba"
        channel.sendall(b"xyz")
        assert reader.read(3) == b"zyx"
        channel.shutdown(socket.SHUT_WR)
        assert reader.read() == b""
    for origin in ("Origin: http://evil.example\r\n", "Origin: null\r\n", "Sec-Fetch-Site: cross-site\r\n"):
        with opened(origin) as channel, channel.makefile("rb") as reader:
            assert reader.readline().startswith(b"HTTP/1.1 403")


# --- what comes and goes


def test_a_server_that_dies_is_started_again_with_pauses(cloud: EmbeddedCloud, url: str, ana: Browser) -> None:
    before = up(cloud, url)
    assert ana.get(f"{url}/die").status == 503
    until(lambda: up(cloud, url)["starts"] == before["starts"] + 1, what="it is started again")
    assert ana.get(f"{url}/").status == 200
    ana.get(f"{url}/die")
    waiting = until(lambda: (got := ana.get(f"{url}/")).status == 503 and got, what="it is down for a while")
    assert "JupyterLab is starting" in waiting.text
    assert waiting.headers["Retry-After"] == "3"
    assert f'href="{url}/">Look again</a>' in waiting.text
    until(lambda: up(cloud, url)["starts"] == before["starts"] + 2, what="it is started again")


def test_who_comes_too_early_waits_for_the_page(python: Path, tmp_path: Path) -> None:
    with lab_cloud(python, tmp_path, speed=0) as cloud:
        cloud.gateway.patience_s = 30
        base = Notebooks(cloud).base
        requests.post(base, params={"instanceId": "ana"}, json={"instanceOwners": [ANA]}, timeout=10).raise_for_status()
        cloud.world.clock.advance(timedelta(minutes=2))
        url = f"http://{Notebooks(cloud).get('ana')['proxyUri']}"
        host = str(urlsplit(url).hostname)
        until(lambda: cloud.gateway.labs.place(host), what="it is seen")
        browser = signed_in(cloud, ANA)
        answers: list[int] = []
        visit = threading.Thread(target=lambda: answers.append(browser.arrive(f"{url}/lab").status))
        visit.start()
        visit.join(0.3)
        assert answers == []  # it is not ACTIVE yet
        cloud.world.clock.advance(timedelta(minutes=3))
        visit.join(30)
        assert answers == [200]
        # A script of a page does not wait, and nobody waits for what is stopped.
        Notebooks(cloud).do("ana", "stop")
        cloud.world.clock.advance(timedelta(minutes=3))
        until(lambda: (place := cloud.gateway.labs.place(host)) and place.state == "STOPPED", what="it is seen")
        assert "is stopped" in browser.get(f"{url}/lab").text


def test_one_that_cannot_start_is_tried_again_and_takes_nothing_down(tmp_path: Path) -> None:
    with lab_cloud(Path("/bin/false"), tmp_path, speed=3000, most=1) as cloud:
        notebooks = Notebooks(cloud)
        first = notebooks.create("ana", ANA)
        until(lambda: labs(cloud) and next(iter(labs(cloud).values()))["starts"] >= 2, what="it is tried again")
        assert "JupyterLab is starting" in signed_in(cloud, ANA).arrive(f"{first}/lab").text
        # Above the limit there is no further one, and the page says so.
        second = notebooks.create("ben", BEN)
        ben = signed_in(cloud, BEN)
        until(lambda: "No room for JupyterLab" in ben.arrive(f"{second}/lab").text, what="it is seen")
        assert ben.arrive(f"{second}/lab").status == 503
        assert len(labs(cloud)) == 1


def test_stop_start_and_delete(cloud: EmbeddedCloud) -> None:
    notebooks = Notebooks(cloud)
    url = notebooks.create("ben", BEN)
    first = up(cloud, url)
    ben = signed_in(cloud, BEN)
    ben.arrive(f"{url}/")
    disk = Path(asked(ben, f"{url}/")["environ"]["HOME"])
    (disk / "kept.txt").write_text("hello")
    notebooks.do("ben", "stop")
    until(lambda: not alive(first["pid"]), what="its process ended")
    notebooks.wait("ben", "STOPPED")
    page = ben.get(f"{url}/lab")
    assert (page.status, "Your environment is stopped" in page.text) == (503, True)
    notebooks.do("ben", "start")
    notebooks.wait("ben", "ACTIVE")
    assert up(cloud, url)["pid"] != first["pid"]
    assert (disk / "kept.txt").read_text() == "hello"
    notebooks.delete("ben")
    until(lambda: not disk.exists(), what="its disk is gone")
    assert ben.get(f"{url}/lab").status == 404


def test_one_that_was_down_between_two_looks_is_another_machine(cloud: EmbeddedCloud) -> None:
    notebooks = Notebooks(cloud)
    url = notebooks.create("ben", BEN)
    first = up(cloud, url)["pid"]
    notebooks.do("ben", "reset")  # a minute of virtual time: a fiftieth of a second here
    until(lambda: up(cloud, url)["pid"] != first, what="a new process")
    notebooks.delete("ben")


def test_a_restored_disk_has_the_snapshot_s_files(cloud: EmbeddedCloud) -> None:
    notebooks = Notebooks(cloud)
    url = notebooks.create("ben", BEN)
    up(cloud, url)
    ben = signed_in(cloud, BEN)
    ben.arrive(f"{url}/")
    disk = Path(asked(ben, f"{url}/")["environ"]["HOME"])
    (disk / "kept.txt").write_text("before")
    (disk / "link").symlink_to("nowhere")
    os.mkfifo(disk / "pipe")
    compute = f"{cloud.url}/compute/v1/projects/benchkeeper-local"
    body = {"name": "ben-snapshot", "sourceDisk": f"projects/benchkeeper-local/zones/{ZONE}/disks/ben-data-workspace"}
    requests.post(f"{compute}/global/snapshots", json=body, timeout=10).raise_for_status()
    snapshot = requests.get(f"{compute}/global/snapshots/ben-snapshot", timeout=10).json()
    frozen = disk.parents[1] / "snapshots" / snapshot["id"]
    until(frozen.exists, what="the snapshot has its files")
    (disk / "kept.txt").write_text("after")
    notebooks.do("ben", "restore", {"snapshot": {"projectId": "benchkeeper-local", "snapshotId": "ben-snapshot"}})
    until(lambda: not disk.exists(), what="the old disk is gone")
    up(cloud, url)
    restored = Path(asked(ben, f"{url}/")["environ"]["HOME"])
    assert (restored / "kept.txt").read_text() == "before"
    assert (restored / "link").is_symlink()
    assert not (restored / "pipe").exists()
    notebooks.delete("ben")
    assert (frozen / "kept.txt").read_text() == "before"
    requests.delete(f"{compute}/global/snapshots/ben-snapshot", timeout=10).raise_for_status()
    until(lambda: not frozen.exists(), what="the snapshot's files are gone")


@pytest.mark.parametrize(
    ("config", "users"),
    [
        (
            {"softwareConfig": {"properties": {"dataproc:dataproc.personal-auth.user": "Ana@example.com"}}},
            {"ana@example.com"},
        ),
        (
            {"securityConfig": {"identityConfig": {"userServiceAccountMapping": {ANA: "a@b.iam", BEN: "c@d.iam"}}}},
            {ANA, BEN},
        ),
        ({"gceClusterConfig": {"serviceAccount": "ben-123@benchkeeper-local.iam.gserviceaccount.com"}}, {BEN}),
        ({"gceClusterConfig": {"serviceAccount": "nobody@benchkeeper-local.iam.gserviceaccount.com"}}, set()),
        ({}, set()),
    ],
)
def test_whose_a_cluster_is(config: dict[str, Any], users: set[str]) -> None:
    cloud = EmbeddedCloud.build()
    name = "projects/benchkeeper-local/serviceAccounts/ben-123@benchkeeper-local.iam.gserviceaccount.com"
    cloud.iam.create("benchkeeper-local", {"accountId": "ben-123"})
    bindings = [
        {"role": "roles/iam.serviceAccountUser", "members": [f"user:{BEN}", "group:all@example.com"]},
        {"role": "roles/iam.serviceAccountTokenCreator", "members": [f"user:{ANA}"]},
    ]
    cloud.iam.set_policy(name, {"policy": {"bindings": bindings}})
    assert _users_of(cloud, config) == users


def test_what_a_person_does_is_measured_as_the_agents_would(cloud: EmbeddedCloud, url: str, ana: Browser) -> None:
    gce_id = Notebooks(cloud).get("ana")["gceSetup"]["instanceId"]

    def responses() -> int:
        with cloud.world.lock:
            measured = cloud.notebooks.machines()[gce_id].measured.values()
            return sum(held.responses.get("200", 0) for held in measured)

    def busy() -> float:
        with cloud.world.lock:
            return sum(held.busy for held in cloud.notebooks.machines()[gce_id].measured.values())

    seen = until(responses, what="the first answers are counted")
    work = busy()
    for _ in range(3):
        asked(ana, f"{url}/burn")
    until(lambda: responses() >= seen + 3, what=lambda: f"three more than {seen}: {responses()}")
    if sys.platform == "linux":
        until(lambda: busy() > work, what="the CPU time is measured")
    with cloud.world.lock:
        machine = cloud.notebooks.machines()[gce_id]
        assert machine.kernels(cloud.world.clock.now()) == "busy"
        assert "200" in machine.codes()


def test_a_machine_with_a_script_reports_as_the_script_would(cloud: EmbeddedCloud, url: str) -> None:
    """What the product reads of it; and no machine without a script reports."""
    script = (Path(__file__).parents[2] / "config" / "vm" / "reporter.py").read_text()
    written = set(re.findall(r'^        "(\w+)": (?:lambda|gpu|spark)', script, re.MULTILINE))
    up(cloud, Notebooks(cloud).create("reports", ANA, **{"post-startup-script": "gs://acme-scripts/reporter.py"}))

    def said(name: str) -> str | None:
        path = f"{cloud.url}/compute/v1/projects/benchkeeper-local/zones/{ZONE}/instances/{name}/getGuestAttributes"
        answer = requests.get(path, params={"queryPath": "benchkeeper/activity"}, timeout=10)
        return answer.json()["queryValue"]["items"][0]["value"] if answer.ok else None

    text = until(lambda: said("reports"), what="a report")
    raw = json.loads(text)
    assert set(raw) <= {"v", "at"} | written
    found = report_of(raw)
    assert found is not None
    assert (found.busy, found.kernels) == (1, 2)
    assert found.at is not None
    assert abs(found.at - cloud.world.clock.now()) < timedelta(hours=2)  # the clock of the cloud, which runs fast here
    assert found.up is not None
    assert found.disk is not None
    until(lambda: (said("reports") or text) != text, what="another report, two minutes later")
    assert said("ana") is None
    Notebooks(cloud).delete("reports")
