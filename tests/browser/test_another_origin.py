"""A web page of another origin, in a real browser on the user's own machine, against every port of a local run.

The page is served from another port of this machine and under a name that was made to point here (DNS rebinding). The person is signed
in to the hub page in the same browser, so that each request has the cookies that a browser gives it.
"""

from __future__ import annotations

import base64
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from kit.browser import PATIENCE_S, headline, living_in, started_chromium, window
from playwright.sync_api import expect

from tests.e2e.local_run import LIFECYCLE, news, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kit.browser import House
    from playwright.sync_api import Browser, Page, Response

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.timeout(280)]
ANA = "ana.silva@example.com"
REBOUND = "rebound.example"
REFUSED = {400, 401, 403, 421}  # 400: a WebSocket is no request of the API at all; 421: no such host here

# Every way in which a page can send something without being asked first, and those for which the browser asks.
ATTACK = """
async ({urls, body}) => Promise.all(Object.entries(urls).map(async ([kind, url]) => {
  const settled = (work) => work.then(() => "sent", (error) => String(error));
  const form = (enctype) => new Promise((done) => {
    const frame = document.createElement("iframe");
    frame.name = `frame-${Math.random()}`;
    document.body.append(frame);
    const made = document.createElement("form");
    Object.assign(made, {method: "POST", action: url, enctype, target: frame.name});
    const input = document.createElement("input");
    // In text/plain the field makes up JSON: {"a":"=", ...}
    [input.name, input.value] = [body.slice(0, -1) + ', "ignored": "', '"}'];
    made.append(input);
    document.body.append(made);
    frame.onload = () => done("sent");
    made.submit();
  });
  const image = () => new Promise((done) => {
    const made = new Image();
    made.onload = made.onerror = () => done("sent");
    made.src = url;
  });
  const socket = () => new Promise((done) => {
    const made = new WebSocket(url.replace("http:", "ws:"));
    made.onopen = () => done("opened");
    made.onerror = () => done("refused");
  });
  const simple = (method, type) => settled(fetch(url, {
    method, mode: "no-cors", credentials: "include", body: new Blob([body], {type}),
  }));
  switch (kind) {
    case "plain": return simple("POST", "text/plain");
    case "untyped": return simple("POST", "");
    case "urlencoded": return simple("POST", "application/x-www-form-urlencoded");
    case "get": return settled(fetch(url, {mode: "no-cors", credentials: "include"}));
    case "cors": return settled(fetch(url, {
      method: "POST", credentials: "include", body, headers: {"Content-Type": "application/json", "X-Emulator-Token": "guess"},
    }));
    case "put": return settled(fetch(url, {method: "PUT", body, headers: {"Content-Type": "application/json"}}));
    case "delete": return settled(fetch(url, {method: "DELETE"}));
    case "beacon": return String(navigator.sendBeacon(url, new Blob([body], {type: "text/plain"})));
    case "form": return form("application/x-www-form-urlencoded");
    case "form-plain": return form("text/plain");
    case "form-multipart": return form("multipart/form-data");
    case "image": return image();
    case "socket": return socket();
  }
}))
"""
KINDS = (
    "plain", "untyped", "urlencoded", "get", "cors", "put", "delete", "beacon", "form", "form-plain", "form-multipart", "image", "socket",
)  # fmt: skip
ASKED_FIRST = {"cors", "put", "delete"}  # the browser asks by OPTIONS, which is refused, and sends nothing
SENT = tuple(kind for kind in KINDS if kind not in ASKED_FIRST | {"socket"})


class _Nothing(BaseHTTPRequestHandler):
    """An empty page, whatever is asked."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>elsewhere</title>")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with living_in() as made:
        yield made


@pytest.fixture(scope="module")
def rebinding() -> Iterator[Browser]:
    """A browser for which a foreign name points to this machine."""
    with started_chromium(f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1") as made:
        yield made


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[int]:
    """Another port of this machine, with somebody else's page on it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Nothing)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Attack:
    """A page, and the answers that its requests got: by address, their statuses."""

    page: Page
    answers: dict[str, list[int]] = field(default_factory=dict)
    blocked: set[str] = field(
        default_factory=set
    )  # answered, but no picture: the browser keeps even the status to itself

    def watch(self) -> None:
        self.page.on("response", self._take)
        self.page.on("requestfailed", lambda request: self.blocked.add(request.url))

    def _take(self, answer: Response) -> None:
        self.answers.setdefault(answer.url, []).append(answer.status)

    def send(self, url: str, body: str, *kinds: str) -> None:
        """Send it in all these ways at once, and wait until each was answered."""
        sent = {kind: f"{url}{'&' if urlsplit(url).query else '?'}sent-as={kind}" for kind in kinds}
        said = self.page.evaluate(ATTACK, {"urls": sent, "body": body})
        if "socket" in kinds:
            assert said[list(kinds).index("socket")] == "refused"
        awaited = {asked for kind, asked in sent.items() if kind in SENT}
        until(
            lambda: not self._missing(awaited),
            seconds=PATIENCE_S,
            what=lambda: f"these were answered: {self._missing(awaited)}",
        )

    def _missing(self, awaited: set[str]) -> set[str]:
        self.page.evaluate("1")  # lets what was heard be told
        return awaited - {*self.answers, *self.blocked}


def targets(house: House) -> list[tuple[str, str]]:
    """Address and body: what would start a process, cut a person off, move the clock, overwrite a record, sign somebody out."""
    url, project = house.local.url, "benchkeeper-local"
    left = news("leaver", ANA, occurred_at="2026-11-27T08:00:00Z")
    message = {"data": base64.b64encode(json.dumps(left).encode()).decode()}
    envelope = {"message": {**message, "messageId": "1", "publishTime": "2026-11-27T08:00:00Z"}, "subscription": "s"}
    event = {
        "specversion": "1.0", "id": "1", "source": f"//pubsub.googleapis.com/{LIFECYCLE}", "data": envelope,
        "type": "google.cloud.pubsub.topic.v1.messagePublished",
    }  # fmt: skip
    function = {"name": "theirs", "source": str(Path(__file__).parent), "entry_point": "x", "signature": "http"}
    found: list[tuple[str, Any]] = [
        (f"{url}/v1/{LIFECYCLE}:publish", {"messages": [message]}),
        (f"{url}/_emulator/functions", function),
        (f"{url}/_emulator/clock", {"advance_seconds": 3600}),
        (f"{url}/_emulator/people", {"people": []}),
        (f"{url}/_emulator/world", {}),
        (f"{url}/_emulator/eventarc/benchkeeper-lifecycle", envelope),
        (f"{url}/upload/storage/v1/b/{project}/o?uploadType=media&name=records/theirs.json", {}),
        (f"{url}/storage/v1/b?project={project}", {"name": "theirs"}),
        (f"{house.front}/_sign_in", {"email": "eve@example.com"}),
        (f"{house.front}/_sign_out", {}),
        (f"{house.front}/notebook/stop", {}),
    ]
    found += [(each["url"], event) for each in house.local.functions()]
    return [(where, json.dumps(body)) for where, body in found]


def state(house: House) -> dict[str, Any]:
    """All that a request could have changed: the world, the calls that changed it, the clock, the processes, whom the sign-in offers.

    The clock all but stands still: some microseconds are no change.
    """
    control = house.local.control
    clock = control("GET", "clock")
    return {
        "world": {**control("GET", "world"), "now": None},
        "mutations": control("GET", "mutations")["next"],
        "clock": {**clock, "now": clock["now"].partition(".")[0]},
        "processes": sorted((each["name"], each["pid"]) for each in house.local.functions()),
        "people": control("GET", "people"),
    }


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", REBOUND])
def test_a_page_of_another_origin_changes_nothing(house: House, rebinding: Browser, elsewhere: int, host: str) -> None:
    house.join(ANA)
    house.local.control("POST", "clock", {"advance_seconds": 60})
    with window(rebinding, house, service_workers="block") as mine:
        mine.enter(ANA)
        mine.page.goto("about:blank")
        page = mine.page.context.new_page()
        page.goto(f"http://{host}:{elsewhere}/")
        attack = Attack(page)
        attack.watch()
        before = settled_state(house)
        for url, body in targets(house):
            attack.send(url, body, *KINDS)
        assert settled_state(house) == before
        seen = {status for statuses in attack.answers.values() for status in statuses}
        assert seen <= REFUSED
        assert len({*attack.answers, *attack.blocked}) >= len(targets(house)) * len(SENT)
        page.close()
        # What the other page asked for, and what the browser said of it, is not what the person's own page is held to.
        mine.complaints.clear()
        mine.asked.clear()
        mine.go("/")  # she is still signed in
        expect(headline(mine.page)).not_to_be_empty()


@pytest.mark.parametrize("port", ["cloud", "front"])
def test_a_name_that_was_made_to_point_here_is_not_served(house: House, rebinding: Browser, port: str) -> None:
    address = urlsplit(house.local.url if port == "cloud" else house.front)
    context = rebinding.new_context()
    try:
        page = context.new_page()
        attack = Attack(page)
        before = settled_state(house)
        first = page.goto(f"http://{REBOUND}:{address.port}/_emulator/clock")
        assert first is not None
        assert first.status in REFUSED
        # From here the port is the page's own origin: nothing but the name tells them apart.
        attack.watch()
        for path, body in (
            (f"/v1/{LIFECYCLE}:publish", "{}"),
            ("/_emulator/clock", '{"speed": 9}'),
            ("/_sign_out", "{}"),
        ):
            attack.send(
                f"http://{REBOUND}:{address.port}{path}", body, "cors", "plain", "put", "delete", "get", "socket"
            )
        assert settled_state(house) == before
        assert {status for statuses in attack.answers.values() for status in statuses} <= REFUSED
        assert len(attack.answers) == 3 * 5
    finally:
        context.close()


def settled_state(house: House) -> dict[str, Any]:
    """The state once nothing moves any more: of what was under way before, the last delivery may still be answered."""
    seen = [state(house)]

    def rests() -> bool:
        seen.append(state(house))
        return seen[-1] == seen[-2]

    until(rests, seconds=PATIENCE_S, what="the system comes to rest", every=0.5)
    return seen[-1]
