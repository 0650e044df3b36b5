"""`hub` as Cloud Run starts it: a process of functions-framework with its threads, over the embedded cloud on a port."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from kit.hub import ANA, AUDIENCE, BEN, NOBODY, hub_settings
from kit.inprocess import ROOT, START, Bench, ListLog, WsgiAdapter
from kit.life import Life
from kit.spark import SMALL
from msgspec.structs import replace

import main
from emulator.app import EmbeddedCloud
from emulator.clock import VirtualClock
from functions import hub as entry
from portal.guard import CSP
from shared.cloud.identity.iap import HEADER
from shared.domain.record.record import UserRecord
from shared.domain.things.identity import UserEmail, parse_email, user_key_for
from shared.settings import ENV_AUDIENCE, ENV_CONFIG, project_override_variables
from shared.wiring import make_clients, wire
from tests.functions.repertoire import prepare

pytestmark = pytest.mark.timeout(180)
CARA = parse_email("cara.lind@example.com")
THREADS = 8
_TOKEN = re.compile(r'name="csrf" value="([^"]+)"')
_STYLE = re.compile(r'href="(/[^"]+hub\.css[^"]*)"')


@dataclass
class Deployed:
    """A world in which people have notebooks, and functions as processes."""

    bench: Bench
    logs: Path
    urls: dict[str, str] = field(default_factory=dict)

    def deploy(self, name: str, entry_point: str, *, environment: dict[str, str] | None = None, **more: Any) -> str:
        """Start a function, or start it anew; its address."""
        environment = {
            **project_override_variables(self.bench.settings),
            "PYTHONDONTWRITEBYTECODE": "1",
            **(environment or {}),
        }
        body = {"name": name, "source": str(ROOT), "entry_point": entry_point, "environment": environment, **more}
        answer = requests.post(
            f"{self.bench.cloud.url}/_emulator/functions",
            json=body,
            headers=self.bench.cloud.token.headers,
            timeout=120,
        )
        assert answer.status_code == 200, answer.text
        self.urls[name] = str(answer.json()["url"]).rstrip("/")
        return self.urls[name]

    def deploy_page(self) -> None:
        """Start the page, or start it anew: the first request then finds nothing built."""
        audience = {ENV_AUDIENCE: AUDIENCE}
        self.deploy("benchkeeper-hub", "hub", environment=audience, signature="http", threads=2 * THREADS)

    @property
    def url(self) -> str:
        return self.urls["benchkeeper-hub"]

    def browser(self, email: UserEmail | None, name: str = "benchkeeper-hub") -> requests.Session:
        """A browser whose requests Identity-Aware Proxy has signed; None: somebody went round it."""
        session = requests.Session()
        session.trust_env = False
        hub = self.bench.cloud.functions.destination(name)
        assert hub is not None
        session.headers.update(hub.headers)  # what the front says to the function's own port
        if email is not None:
            session.headers[HEADER] = self.bench.cloud.iap.signer.assertion(email, AUDIENCE)
        return session

    def click(self, browser: requests.Session, path: str, **fields: str) -> requests.Response:
        """Send a form of the page."""
        found = _TOKEN.search(browser.get(f"{self.url}/", timeout=30).text)
        assert found is not None
        data = {"csrf": found[1], **fields}
        return browser.post(f"{self.url}{path}", data=data, timeout=30, allow_redirects=False)

    def record(self, email: UserEmail) -> UserRecord:
        stored = self.bench.deps.records.load(user_key_for(email))
        assert stored is not None
        return stored.record

    def text(self, name: str = "benchkeeper-hub") -> str:
        return (self.logs / f"{name}.log").read_text(encoding="utf-8")

    def lines(self, name: str = "benchkeeper-hub") -> list[dict[str, Any]]:
        """What the function logged; a line that is still being written is left out."""
        whole = self.text(name).rpartition("\n")[0].splitlines()
        return [json.loads(line) for line in whole if line.startswith("{")]

    def line_of(self, answer: requests.Response) -> dict[str, Any]:
        """The one line about this request."""
        request_id = answer.headers["X-Request-Id"]

        def found() -> list[dict[str, Any]]:
            return [line for line in self.lines() if line.get("request") == request_id]

        self.until(lambda: bool(found()))
        (line,) = found()
        return line

    def until(self, holds: Callable[[], bool], *, seconds: float = 30.0) -> None:
        """Wait until it holds, looked at twenty times a second."""
        pause = threading.Event()
        for _ in range(int(seconds * 20)):
            if holds():
                return
            pause.wait(0.05)
        raise AssertionError(f"after {seconds:g} s it did not come to hold")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    logs = tmp_path_factory.mktemp("hub") / "logs"
    cloud = EmbeddedCloud.build(clock=VirtualClock(start=START, speed=1), log_folder=logs)
    with cloud:
        settings = replace(hub_settings(), api_endpoint=cloud.url)
        prepare(cloud, settings)
        log = ListLog()
        deps = wire(settings, log=log)
        bench = Bench(cloud, settings, deps, make_clients(settings), log, WsgiAdapter(cloud))
        for email in (ANA, BEN, CARA):
            Life(bench, email).join(minutes=0)
        Life(bench, ANA).minutes(8)
        made = Deployed(bench=bench, logs=logs)
        made.deploy_page()
        yield made


def test_main_hands_the_decorated_function_on() -> None:
    assert main.hub is entry.hub
    assert "hub" in main.__all__


def test_a_signed_header_opens_ones_own_page(world: Deployed) -> None:
    answer = world.browser(ANA).get(f"{world.url}/", timeout=30)
    assert answer.status_code == 200
    assert answer.headers["Content-Security-Policy"] == CSP
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Your notebook is running" in answer.text
    assert world.record(ANA).status.notebook.proxy_uri in answer.text
    assert world.record(BEN).status.notebook.proxy_uri not in answer.text


def test_who_comes_without_a_header_or_is_not_known_gets_a_kind_page(world: Deployed) -> None:
    unsigned = world.browser(None).get(f"{world.url}/", timeout=30)
    assert (unsigned.status_code, unsigned.headers["Content-Type"]) == (401, "text/html; charset=utf-8")
    assert "Load the page again" in unsigned.text
    forged = world.browser(ANA)
    forged.headers[HEADER] = forged.headers[HEADER][:-8] + "AAAAAAAA"
    assert forged.get(f"{world.url}/", timeout=30).status_code == 401
    stranger = world.browser(NOBODY).get(f"{world.url}/", timeout=30)
    assert stranger.status_code == 403
    assert world.bench.settings.contact in stranger.text
    assert world.line_of(unsigned)["status"] == 401
    assert world.line_of(stranger)["user"] == user_key_for(NOBODY)


def test_static_files_are_served_for_ever_and_asked_for_once(world: Deployed) -> None:
    found = _STYLE.search(world.browser(ANA).get(f"{world.url}/", timeout=30).text)
    assert found is not None
    anybody = world.browser(None)
    style = anybody.get(f"{world.url}{found[1]}", timeout=30)
    assert (style.status_code, style.headers["Content-Type"]) == (200, "text/css; charset=utf-8")
    assert style.content == (ROOT / "portal" / "static" / "hub.css").read_bytes()
    assert "immutable" in style.headers["Cache-Control"]
    again = anybody.get(f"{world.url}{found[1]}", headers={"If-None-Match": style.headers["ETag"]}, timeout=30)
    assert (again.status_code, again.content) == (304, b"")
    folder = found[1].rpartition("/")[0]
    assert anybody.get(f"{world.url}{folder}/..%2f..%2fapp.py", timeout=30).status_code == 404


def test_a_head_has_no_body_and_an_unchanged_part_is_not_sent_again(world: Deployed) -> None:
    ana = world.browser(ANA)
    head = ana.head(f"{world.url}/", timeout=30)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Security-Policy"] == CSP
    part = ana.get(f"{world.url}/parts/spark", timeout=30)
    assert part.status_code == 200
    same = ana.get(f"{world.url}/parts/spark", headers={"If-None-Match": part.headers["ETag"]}, timeout=30)
    assert (same.status_code, same.content) == (304, b"")
    assert [world.line_of(answer)["status"] for answer in (head, part, same)] == [200, 200, 304]


def test_every_request_has_one_line_and_none_names_anybody(world: Deployed) -> None:
    ana = world.browser(ANA)
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    page = ana.get(f"{world.url}/", headers=trace, timeout=30)
    lost = ana.get(f"{world.url}/people/{ANA}?who={ANA}", timeout=30)
    line = world.line_of(page)
    assert (line["message"], line["severity"], line["user"]) == ("Answered request", "INFO", user_key_for(ANA))
    assert (line["route"], line["method"], line["status"]) == ("home.index", "GET", 200)
    assert line["logging.googleapis.com/labels"] == {"component": "hub"}
    assert line["logging.googleapis.com/trace"].endswith("/traces/0af7651916cd43dd8448eb211c80319c")
    assert (world.line_of(lost)["status"], world.line_of(lost)["rule"]) == (404, "")
    assert "@example" not in world.text()


@pytest.mark.waits(
    "for connections that the kernel takes up again after a second, where many come at once to a busy machine"
)
def test_many_at_once_each_see_their_own_from_the_first_request_on(world: Deployed) -> None:
    world.deploy_page()
    people = {email: world.record(email).status.notebook.proxy_uri for email in (ANA, BEN, CARA)}

    def ask(turn: int) -> tuple[bool, requests.Response]:
        email = list(people)[turn % len(people)]
        answer = world.browser(email).get(f"{world.url}/", timeout=60)
        shown = {each for each, uri in people.items() if each in answer.text or (each != email and uri in answer.text)}
        return answer.status_code == 200 and shown == {email}, answer

    with ThreadPoolExecutor(THREADS) as pool:
        asked = list(pool.map(ask, range(4 * THREADS)))
    assert all(own for own, _ in asked)
    assert len({answer.headers["X-Request-Id"] for _, answer in asked}) == 4 * THREADS
    assert [world.line_of(answer)["status"] for _, answer in asked] == [200] * (4 * THREADS)


def test_eight_clicks_at_once_are_one_wish(world: Deployed) -> None:
    browsers = [world.browser(CARA) for _ in range(THREADS)]
    with ThreadPoolExecutor(THREADS) as pool:
        answers = list(pool.map(lambda browser: world.click(browser, f"/spark/{SMALL}/start"), browsers))
    assert [answer.status_code for answer in answers] == [303] * THREADS
    said = sorted(re.sub(r".*said=([a-z-]+).*", r"\1", answer.headers["Location"]) for answer in answers)
    assert said.count("spark-start") == 1
    assert set(said) <= {"spark-start", "busy", "already"}
    waiting = world.bench.deps.inbox.waiting(user_key_for(CARA))
    asked = [each.shown.asked.template for each in waiting if each.shown]
    # Where another test has deployed the lifecycle function, it may have taken the wish up: into the record first.
    assert (asked or [wish.template for wish in world.record(CARA).spec.clusters]) == [SMALL]


def test_a_click_on_stop_reaches_the_lifecycle_function_which_stops_the_notebook(world: Deployed) -> None:
    bench = world.bench
    topic = f"projects/{bench.settings.project}/topics/{bench.settings.topic_wake}"
    ben = Life(bench, BEN)
    assert list(ben.states().values()) == ["ACTIVE"]
    world.deploy("benchkeeper-lifecycle", "lifecycle", topic=topic, environment={ENV_AUDIENCE: AUDIENCE})
    answer = world.click(world.browser(BEN), "/notebook/stop")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/?said=stop#notebook")
    world.until(lambda: list(ben.states().values()) in (["STOPPING"], ["STOPPED"]))

    def handled() -> list[dict[str, Any]]:
        return [row for row in world.lines("benchkeeper-lifecycle") if row.get("users") == [user_key_for(BEN)]]

    world.until(lambda: bool(handled()))
    (delivery,) = handled()
    assert (delivery["message"], delivery["outcome"], delivery["news"]) == ("Handled a delivery", "ack", ["Woken"])
    assert list(Life(bench, ANA).states().values()) == ["ACTIVE"]
    assert "@example" not in world.text("benchkeeper-lifecycle")


def test_a_broken_configuration_is_a_kind_page_and_a_line_with_every_fault(world: Deployed, tmp_path: Path) -> None:
    config = shutil.copytree(ROOT / "config", tmp_path / "config", ignore=shutil.ignore_patterns("checked.*"))
    with (config / "profiles.yaml").open("a", encoding="utf-8") as file:
        file.write("\nnobody_knows: 1\n")
    with (config / "settings.local.yaml").open("a", encoding="utf-8") as file:
        file.write("\nzone: europe-west1-b\n")
    url = world.deploy("broken-hub", "hub", environment={ENV_CONFIG: str(config)}, signature="http")
    answer = world.browser(ANA, "broken-hub").get(f"{url}/", timeout=30)
    assert (answer.status_code, answer.headers["Content-Type"]) == (500, "text/html; charset=utf-8")
    assert answer.headers["Content-Security-Policy"] == CSP
    assert "An administrator must fix it".lower() in answer.text.lower()
    assert "nobody_knows" not in answer.text
    world.until(lambda: any(row["message"] == "Refused a broken configuration" for row in world.lines("broken-hub")))
    line = next(row for row in world.lines("broken-hub") if row["message"] == "Refused a broken configuration")
    assert line["severity"] == "ERROR"
    assert {"profiles.yaml", "settings.local.yaml"} <= {
        name for fault in line["faults"] for name in ("profiles.yaml", "settings.local.yaml") if name in fault
    }
    assert "Traceback" not in world.text("broken-hub")
