"""What every answer carries, what a change must come with, and what never stands in an address or a log line."""

from __future__ import annotations

import json
import re
import threading
from html.parser import HTMLParser
from typing import Any

import pytest
from kit.hub import ANA, BEN, NOBODY, Hub, ask, hub_settings, make_hub, path_of
from msgspec.structs import replace
from werkzeug.test import TestResponse

from portal import app as app_module
from portal.app import ROUTES, create_app
from portal.assets import FOLDER
from portal.guard import CSP
from shared.cloud.storage.inbox import StorageInbox
from shared.domain.things.catalog import Environment
from shared.domain.things.identity import user_key_for

POSTS = [route for route in ROUTES if route.method == "POST"]
OWN = [route for route in POSTS if route.name.startswith("home.")]
HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(2)>{{7*7}}' onmouseover=alert(3) x='"


class Tags(HTMLParser):
    """All tags with their attributes, as a browser finds them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []

    @property
    def attributes(self) -> list[tuple[str, str]]:
        return [pair for _, attributes in self.tags for pair in attributes.items()]

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))


def check_headers(answer: TestResponse) -> None:
    headers = answer.headers
    assert headers["Content-Security-Policy"] == CSP
    assert "unsafe" not in CSP
    assert "data:" not in CSP
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "camera=()" in headers["Permissions-Policy"]
    assert headers["Cache-Control"]
    assert re.fullmatch(r"[0-9a-f]{12}", headers["X-Request-Id"])


class TestHeaders:
    def test_every_answer_of_every_route_has_them(self, two: Hub) -> None:
        for who in (ANA, NOBODY, None):
            for route in ROUTES:
                answer = ask(two.browser(who), route)
                check_headers(answer)
                if route.name != "static":
                    assert answer.headers["Cache-Control"] == "no-store"

    def test_errors_have_them_too(self, two: Hub) -> None:
        two.app.view_functions["home.spark_part"] = lambda: 1 / 0
        ana = two.browser(ANA)
        answers = [
            ana.get("/nothing"), ana.client.delete("/", headers=ana.headers), ana.get("/parts/spark"), ana.post("/notebook/stop", csrf="x"),
            ana.get("/assets/nothing.js"), ana.client.post("/notebook/stop", data=b"x" * 70_000, headers=ana.headers),
        ]  # fmt: skip
        assert [answer.status_code for answer in answers] == [404, 405, 500, 403, 404, 413]
        for answer in answers:
            check_headers(answer)
        assert answers[1].headers["Allow"] == "GET, HEAD"

    def test_the_page_holds_its_own_policy(self, two: Hub) -> None:
        """Nothing inline: no script, no style, no handler; every address is of this page, but for JupyterLab's."""
        text = two.browser(ANA).text("/")
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:|<script(?![^>]*\ssrc=)", text)
        assert "hx-on" not in text
        assert set(re.findall(r'(?:src|action|hx-get|hx-post)="([^"/]|/[^"]*)', text))
        foreign = [url for url in re.findall(r'(?:src|href|action)="([^"]*)"', text) if not url.startswith(("/", "#"))]
        console = "https://console.cloud.google.com/vertex-ai/workbench/instances?project=benchkeeper-local"
        assert foreign == [f"https://{two.record(ANA).status.notebook.proxy_uri}", console]
        assert 'rel="noreferrer noopener"' in text

    def test_https_is_kept_to_and_its_cookie_is_bound_to_the_host(self, two: Hub) -> None:
        answer = two.browser(ANA).get("/", X_Forwarded_Proto="https")
        cookie = answer.headers["Set-Cookie"]
        assert cookie.startswith("__Host-hub-csrf=")
        assert {"Secure", "HttpOnly", "Path=/", "SameSite=Strict"} <= set(cookie.split("; "))
        assert "Domain" not in cookie
        assert answer.headers["Strict-Transport-Security"]

    def test_static_files_are_kept_for_ever_by_their_content(self, two: Hub) -> None:
        nobody = two.browser(None)
        (address,) = re.findall(r'href="(/assets/hub\.css\?v=[0-9a-f]{12})"', nobody.text("/"))
        assert nobody.get(address).headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert nobody.get("/assets/hub.css?v=000000000000").headers["Cache-Control"] == "no-cache"
        assert nobody.get("/assets/hub.css").headers["Cache-Control"] == "no-cache"
        for name in ("../app.py", "%2e%2e/app.py", "..%5capp.py", "vendor/../../app.py"):
            assert nobody.get(f"/assets/{name}").status_code in {401, 404}

    def test_no_style_names_what_the_policy_forbids(self, two: Hub) -> None:
        nobody = two.browser(None)
        styles = [path.relative_to(FOLDER).as_posix() for path in sorted(FOLDER.rglob("*.css"))]
        assert len(styles) == 3
        for name in styles:
            named = re.findall(r"url\(([^)]*)\)|@import", nobody.text(f"/assets/{name}"))
            assert [each for each in named if not each.startswith('"/assets/icons/')] == []

    def test_vendored_files_have_their_licence_beside_them(self, two: Hub) -> None:
        nobody = two.browser(None)
        assert "Zero-Clause BSD" in nobody.text("/assets/vendor/htmx.LICENSE.txt")
        assert "MIT License" in nobody.text("/assets/vendor/pico.LICENSE.md")


class TestForgery:
    """A change is only taken from a form of the page."""

    @pytest.mark.parametrize("route", POSTS, ids=lambda route: route.name)
    def test_without_the_token_nothing_changes(self, two: Hub, route: Any) -> None:
        before = two.record(ANA)
        for token in ("", "x" * 43, "é"):
            ana = two.browser(ANA)
            ana.get("/")
            answer = ana.post(path_of(route), csrf=token)
            assert answer.status_code == 403
        assert (two.record(ANA), two.woken) == (before, [])

    @pytest.mark.parametrize(
        "headers",
        [
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Origin": "https://evil.example.com"},
            {"Origin": "null"},
            {"Origin": "http://localhost.evil.example.com"},
        ],
        ids=str,
    )
    def test_another_site_with_a_true_token_is_refused(self, two: Hub, headers: dict[str, str]) -> None:
        ana = two.browser(ANA)
        assert ana.post("/notebook/stop", headers=headers).status_code == 403
        assert two.woken == []

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"},
            {"Sec-Fetch-Site": "none"},
            {"Origin": "http://hub.example.com", "X-Forwarded-Host": "hub.example.com"},
        ],
        ids=str,
    )
    def test_the_page_itself_is_taken(self, two: Hub, headers: dict[str, str]) -> None:
        assert two.browser(ANA).post("/notebook/stop", headers=headers).status_code == 303
        assert two.woken == [user_key_for(ANA)]

    def test_the_script_may_send_the_token_in_a_header(self, two: Hub) -> None:
        ana = two.browser(ANA)
        ana.get("/")
        headers = {"X-CSRF-Token": ana.token, "HX-Request": "true"}
        assert ana.post("/notebook/stop", csrf="", headers=headers).status_code == 200

    def test_somebody_elses_token_is_no_token(self, two: Hub) -> None:
        ben = two.browser(BEN)
        ben.get("/")
        ana = two.browser(ANA)
        ana.get("/")
        assert ana.post("/notebook/stop", csrf=ben.token).status_code == 403

    def test_a_cookie_that_nobody_of_us_made_is_replaced(self, two: Hub) -> None:
        ana = two.browser(ANA)
        ana.client.set_cookie("hub-csrf", "short")
        ana.get("/")
        assert (len(ana.token), ana.post("/notebook/stop").status_code) == (43, 303)

    def test_the_form_that_is_out_of_date_says_what_to_do(self, two: Hub) -> None:
        ana = two.browser(ANA)
        text = ana.post("/notebook/stop", csrf="old").get_data(as_text=True)
        assert "out of date" in text
        assert 'href="/"' in text


class TestTooMuch:
    def test_one_person_may_change_so_much_and_others_are_not_held_up(self, two: Hub, monkeypatch: Any) -> None:
        seconds = [0.0]
        monkeypatch.setattr(type(two.bench.deps.clock), "monotonic_s", lambda _self: seconds[0])
        monkeypatch.setattr(app_module, "CHANGES_AT_ONCE", 3)
        two.app = create_app(two.deps)
        ana = two.browser(ANA)
        assert [ana.post("/notebook/stop").status_code for _ in range(5)] == [303, 303, 303, 429, 429]
        refused = ana.post("/notebook/stop")
        assert refused.headers["Retry-After"] == "2"
        assert "Wait a moment" in refused.get_data(as_text=True)
        assert ana.get("/").status_code == 200
        assert two.browser(BEN).post("/notebook/stop").status_code == 303
        seconds[0] = 1.0
        assert [ana.post("/notebook/stop").status_code for _ in range(2)] == [303, 429]
        seconds[0] = 1_000.0
        assert [ana.post("/notebook/stop").status_code for _ in range(4)] == [303, 303, 303, 429]

    def test_reading_has_a_bound_too(self, two: Hub, monkeypatch: Any) -> None:
        monkeypatch.setattr(app_module, "READS_AT_ONCE", 2)
        monkeypatch.setattr(app_module, "READS_PER_MINUTE", 0.001)
        two.app = create_app(two.deps)
        ana = two.browser(ANA)
        assert [ana.get("/").status_code for _ in range(3)] == [200, 200, 429]
        assert ana.get("/assets/hub.css").status_code == 200

    def test_two_clicks_at_once_are_one(self, two: Hub, monkeypatch: Any) -> None:
        """The second comes while the first is inside: it does nothing and says so. After it, the same click is none either."""
        inside, go_on = threading.Event(), threading.Event()
        real = StorageInbox.put

        def slowly(*args: Any) -> None:
            inside.set()
            assert go_on.wait(30)
            real(*args)

        monkeypatch.setattr(StorageInbox, "put", slowly)
        first, second = two.browser(ANA), two.browser(ANA)
        first.get("/")
        second.get("/")
        places: list[str] = []
        thread = threading.Thread(target=lambda: places.append(first.post("/notebook/stop").headers["Location"]))
        thread.start()
        assert inside.wait(30)
        assert second.post("/notebook/stop").headers["Location"] == "/?said=busy#notebook"
        go_on.set()
        thread.join()
        assert places == ["/?said=stop#notebook"]
        assert second.post("/notebook/stop").headers["Location"] == "/?said=already#notebook"
        assert two.woken == [user_key_for(ANA)]

    def test_another_environment_is_not_in_the_way(self, two: Hub) -> None:
        with two.app.app_context():
            from portal.deps import current  # noqa: PLC0415

            flights = current().flights
        with flights.one(user_key_for(ANA), "notebook") as first:
            assert first
            ana = two.browser(ANA)
            assert ana.post("/notebook/stop").headers["Location"] == "/?said=busy#notebook"
            assert ana.post("/spark/single-node/start").headers["Location"] == "/?said=spark-start#spark"
            assert two.browser(BEN).post("/notebook/stop").headers["Location"] == "/?said=stop#notebook"


class TestSilence:
    def test_no_address_and_nothing_that_somebody_typed_in_a_log_line(self, two: Hub) -> None:
        two.app.view_functions["home.spark_part"] = lambda: 1 / 0
        two.bench.log.lines.clear()
        for who in (ANA, BEN, NOBODY, None):
            browser = two.browser(who)
            for route in ROUTES:
                ask(browser, route)
            browser.get("/typed-by-somebody?said=typed-by-somebody")
            browser.post("/spark/typed-by-somebody/start", until="typed-by-somebody")
            browser.get("/parts/spark")
        said = json.dumps(two.bench.log.lines, default=str)
        assert [
            word for word in ("@", "typed-by-somebody", two.browser(ANA).headers.popitem()[1][-40:]) if word in said
        ] == []

    def test_one_line_for_each_request(self, two: Hub) -> None:
        two.bench.log.lines.clear()
        answer = two.browser(ANA).get("/parts/spark")
        (line,) = two.lines()
        assert line.pop("ms") >= 0
        assert line == {
            "route": "home.spark_part",
            "rule": "/parts/spark",
            "method": "GET",
            "status": 200,
            "user": user_key_for(ANA),
            "request": answer.headers["X-Request-Id"],
        }

    def test_no_address_in_any_address(self, two: Hub) -> None:
        text = two.browser(ANA).text("/")
        urls = re.findall(r'(?:href|src|action|hx-get|hx-post)="([^"]*)"', text)
        assert [url for url in urls if "@" in url or "ana.silva" in url] == []
        for route in OWN:
            location = ask(two.browser(ANA), route).headers.get("Location", "")
            assert "@" not in location

    def test_an_error_tells_the_person_one_thing_and_the_log_another(self, two: Hub) -> None:
        def broken() -> str:
            raise KeyError("the secret inside")

        two.app.view_functions["home.spark_part"] = broken
        answer = two.browser(ANA).get("/parts/spark")
        text = answer.get_data(as_text=True)
        assert "secret" not in text
        assert answer.headers["X-Request-Id"] in text
        line = two.lines()[-1]
        assert (line["reason"], line["detail"]) == ("Unexpected", "KeyError: 'the secret inside'")

    @pytest.mark.parametrize("accept", ["application/json", "text/html"])
    def test_a_record_that_cannot_be_read_is_an_error_that_says_so(self, two: Hub, accept: str) -> None:
        two.bench.fault(call="storage.objects.get", error={"code": "PERMISSION_DENIED"}, times=0)
        answer = two.browser(ANA).get("/", Accept=accept)
        assert answer.status_code == 500
        assert "Tell an administrator the reference below" in answer.get_data(as_text=True)
        assert answer.content_type.startswith("application/problem+json" if "json" in accept else "text/html")


def test_hostile_names_are_inert() -> None:
    settings = hub_settings()
    catalog = settings.catalog
    named = Environment(title=HOSTILE, description=HOSTILE, hourly_cost=1.0)
    settings = replace(
        settings,
        contact=HOSTILE,
        catalog=replace(
            catalog,
            environments=dict.fromkeys(catalog.masters, named),
            profiles={name: replace(each, title=HOSTILE) for name, each in catalog.profiles.items()},
        ),
    )
    hub = make_hub(settings)
    hub.joined(ANA)
    hub.edit(ANA, story=())
    for path in ("/", "/parts/notebook", "/parts/spark", "/nothing"):
        text = hub.browser(ANA).text(path)
        found = Tags()
        found.feed(text)
        assert [name for name, _ in found.attributes if name.startswith("on")] == []
        assert [attributes for tag, attributes in found.tags if tag == "script" and "src" not in attributes] == []
        assert {attributes["src"].partition("?")[0] for tag, attributes in found.tags if tag == "img"} <= {
            "/assets/icons/benchkeeper.svg",
            "/assets/icons/consent.svg",
        }
        assert "{{7*7}}" in text or path == "/parts/notebook"
    assert hub.browser(ANA).get("/api/me").json["spark"][0]["title"] == HOSTILE
    assert "&lt;script&gt;" in hub.browser(ANA).text("/")
    assert "&lt;script&gt;" in hub.browser(NOBODY).text("/")


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "http://evil.example.com/",
        "https://user@evil.example.com/",
        "//",
        "ht tp://x",
        "https://[",
    ],
)
def test_an_address_that_is_none_is_no_link(two: Hub, address: str) -> None:
    two.edit(ANA, proxy_uri=address)
    text = two.browser(ANA).text("/parts/notebook")
    assert "Open JupyterLab<" not in text
    assert address not in text
