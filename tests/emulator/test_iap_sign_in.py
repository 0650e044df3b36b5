"""The sign-in page: cookies, forms, where it leads, and that nothing can be forged."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import pytest
import requests

from emulator.iap.sessions import SESSION_S, TICKET_S, Sessions
from tests.emulator.iap_kit import Browser, fronted_cloud, hidden

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emulator.app import EmbeddedCloud

ANA, BEN = "ana.silva@example.com", "ben@example.com"
LAB = "abc-dot-europe-west1.notebooks.localhost:9"


@pytest.fixture
def cloud() -> Iterator[EmbeddedCloud]:
    with fronted_cloud() as made:
        yield made


@pytest.fixture
def front(cloud: EmbeddedCloud) -> str:
    return cloud.iap.url


def offer(cloud: EmbeddedCloud, *people: dict[str, str]) -> requests.Response:
    return requests.post(f"{cloud.url}/_emulator/people", json={"people": list(people)}, timeout=10)


# --- the page


def test_the_page_offers_the_people_who_were_told(cloud: EmbeddedCloud, front: str) -> None:
    offer(
        cloud, {"email": "Mia.Chen@example.com", "name": "Mia <b>Chen</b>", "note": "administrator"}
    ).raise_for_status()
    page = Browser().get(f"{front}/_sign_in").text
    assert 'value="mia.chen@example.com"' in page
    assert "Mia &lt;b&gt;Chen&lt;/b&gt;" in page
    assert "administrator" in page
    assert "<script" not in page
    assert (
        requests.get(f"{cloud.url}/_emulator/people", timeout=10).json()["people"][0]["email"] == "mia.chen@example.com"
    )


def test_the_people_may_come_as_a_list_alone(cloud: EmbeddedCloud) -> None:
    said = requests.post(f"{cloud.url}/_emulator/people", json=[{"email": ANA}], timeout=10).json()
    assert said == {"people": [{"email": ANA, "name": ANA, "note": ""}]}
    assert requests.post(f"{cloud.url}/_emulator/people", data="{", timeout=10).status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        {}, {"people": "ana"}, {"people": [{"email": "nobody"}]}, {"people": [{"email": ANA, "age": 3}]},
        {"people": [{"email": ANA, "name": 3}]}, {"people": [], "more": 1}, {"people": [ANA]}, "ana", [3],
    ],
)  # fmt: skip
def test_people_who_make_no_sense_are_refused(cloud: EmbeddedCloud, body: object) -> None:
    answer = requests.post(f"{cloud.url}/_emulator/people", json=body, timeout=10)
    assert answer.status_code == 400
    assert "People:" in answer.json()["error"]["message"]


def test_the_page_lets_nothing_in(front: str) -> None:
    headers = Browser().get(f"{front}/_sign_in").headers
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["form-action"] == "'self'"
    assert re.fullmatch(r"'sha256-[\w+/]{43}='", policy["style-src"])
    assert (headers["Cache-Control"], headers["Referrer-Policy"]) == ("no-store", "same-origin")


def test_every_field_has_a_label_and_the_page_a_language_and_one_heading(cloud: EmbeddedCloud, front: str) -> None:
    offer(cloud, {"email": ANA, "name": "Ana Silva", "note": "analyst"}).raise_for_status()
    page = Browser().get(f"{front}/_sign_in").text
    assert '<html lang="en">' in page
    assert page.count("<h1>") == page.count("<main>") == page.count("<title>") == 1
    fields = re.findall(r'<input id="(\w+)"', page)
    assert fields == re.findall(r'<label for="(\w+)"', page)
    assert "prefers-color-scheme: dark" in page


# --- in and out


def test_nobody_is_sent_to_the_page_and_comes_back_signed_in(front: str) -> None:
    browser = Browser()
    sent = browser.get(f"{front}/fleet?page=2&q=a%20b")
    assert (sent.status, sent.location) == (302, f"/_sign_in?{urlencode({'continue': '/fleet?page=2&q=a%20b'})}")
    page = browser.get(front + sent.location)
    done = browser.post(f"{front}/_sign_in", {**hidden(page.text), "email": " Ana.Silva@Example.com "})
    assert (done.status, done.location) == (303, "/fleet?page=2&q=a%20b")
    cookie = next(
        line for line in done.headers.get_all("Set-Cookie", []) if line.startswith(f"emulated_iap_{front[-5:]}=")
    )
    assert {"HttpOnly", "SameSite=Lax", f"Max-Age={SESSION_S}", "Path=/"} <= set(cookie.split("; "))
    assert "Domain" not in cookie
    assert browser.get(f"{front}/?gcp-iap-mode=IDENTITY").text.count(f"accounts.google.com:{ANA}") == 1


def test_a_form_sent_after_signing_out_is_answered_by_a_page_with_a_link(front: str) -> None:
    answer = Browser().get(f"{front}/notebook/stop", method="POST", headers={"Accept": "text/html,*/*"})
    assert answer.status == 401
    assert "nothing was changed" in answer.text
    assert 'href="/_sign_in?continue=/"' in answer.text


@pytest.mark.parametrize(
    ("method", "accept"), [("GET", "application/json"), ("GET", "*/*"), ("POST", "text/html"), ("DELETE", "text/html")]
)
def test_what_is_no_page_visit_gets_401(front: str, method: str, accept: str) -> None:
    assert Browser().get(f"{front}/", method=method, headers={"Accept": accept}).status == 401


@pytest.mark.parametrize(
    "path", ["/_sign_out", "/_gcp_iap/clear_login_cookie", "/anything?gcp-iap-mode=CLEAR_LOGIN_COOKIE"]
)
def test_signing_out_ends_the_session_and_not_only_the_cookie(front: str, path: str) -> None:
    browser = Browser()
    browser.sign_in(front, ANA)
    kept = Browser(jar={host: dict(cookies) for host, cookies in browser.jar.items()})
    identity = f"{front}/_gcp_iap/identity"
    assert kept.get(identity).status == 200
    assert browser.get(front + path).location.startswith("/_sign_in")
    assert browser.get(identity).status == 302
    assert kept.get(identity).status == 302  # a copy of the cookie is worth nothing either


def test_changing_who_one_is_ends_who_one_was(front: str) -> None:
    browser = Browser()
    browser.sign_in(front, ANA)
    kept = Browser(jar={host: dict(cookies) for host, cookies in browser.jar.items()})
    browser.sign_in(front, BEN)
    assert BEN in browser.get(f"{front}/_gcp_iap/identity").text
    assert kept.get(f"{front}/_gcp_iap/identity").status == 302


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "ana",
        "a@b",
        "a b@example.com",
        'a"@example.com',
        "a@example.com\r\nX: y",
        "<a>@example.com",
        "a@exam/ple.com",
    ],
)
def test_what_is_no_address_is_said_on_the_page(front: str, typed: str) -> None:
    browser = Browser()
    fields = hidden(browser.get(f"{front}/_sign_in?continue=/there").text)
    answer = browser.post(f"{front}/_sign_in", {**fields, "email": typed})
    assert answer.status == 400
    assert 'role="alert"' in answer.text
    assert hidden(answer.text)["continue"] == "/there"
    assert browser.get(f"{front}/").status == 302


def test_an_address_with_letters_of_any_kind_gets_in(front: str) -> None:
    browser = Browser()
    for email in ("ñandú.o'neil+test@sub.example.co", "أحمد@example.com"):
        assert browser.sign_in(front, email).status == 303
        assert browser.get(f"{front}/").status == 503  # signed in; there is no function
        assert Browser.get(browser, f"{front}/_gcp_iap/identity").status == 200


# --- where it leads


@pytest.mark.parametrize(
    "asked",
    [
        "https://evil.example/", "http://evil.example/", "//evil.example/", "/\\evil.example", "\\\\evil.example", "/%5c..", "javascript:alert(1)",
        "http://localhost.evil.example/", "http://evil@localhost/", f"http://evil.example@{LAB}/", f"https://{LAB}/", f"http://{LAB}.evil.example/",
        "/a\nSet-Cookie: x=y", "", "fleet", "/_sign_out", "/_sign_in?continue=/", "http://127.0.0.1:1/", f"http://{LAB}\\@evil.example/",
    ],
)  # fmt: skip
def test_it_leads_nowhere_else(cloud: EmbeddedCloud, front: str, asked: str) -> None:
    cloud.iap.sign_in.may_open = lambda netloc: netloc == LAB
    done = Browser().sign_in(front, ANA, back=asked)
    assert done.status == 303
    assert done.location in {"/", "/%5c.."}


def test_a_host_that_is_known_gets_a_ticket_that_is_good_once(cloud: EmbeddedCloud, front: str) -> None:
    cloud.iap.sign_in.may_open = lambda netloc: netloc == LAB
    browser = Browser()
    done = browser.sign_in(front, ANA, back=f"http://{LAB}/lab/tree/a%20b.ipynb?x=1&ticket=stale")
    found = re.fullmatch(rf"http://{re.escape(LAB)}/lab/tree/a%20b\.ipynb\?x=1&ticket=([\w-]{{32}})", done.location)
    assert found is not None, done.location
    assert cloud.iap.sessions.redeem(found[1], host="other.notebooks.localhost:9") is None
    done = browser.get(
        f"{front}/_sign_in?{urlencode({'continue': f'http://{LAB}/lab'})}"
    )  # signed in: it leads on at once
    ticket = done.location.partition("ticket=")[2]
    session = cloud.iap.sessions.redeem(ticket, host=LAB)
    assert session is not None
    assert session.email == ANA
    assert cloud.iap.sessions.redeem(ticket, host=LAB) is None


# --- forgeries


def test_a_form_from_elsewhere_signs_nobody_in(front: str) -> None:
    browser, other = Browser(), Browser()
    good = hidden(browser.get(f"{front}/_sign_in").text)
    foreign = hidden(other.get(f"{front}/_sign_in").text)
    for fields, headers in [
        ({}, {}),
        ({"mark": "0" * 64}, {}),
        (foreign, {}),  # somebody else's form with this browser's cookie
        (good, {"Origin": "http://evil.example"}),
        (good, {"Origin": "null"}),
    ]:
        assert browser.post(f"{front}/_sign_in", {**fields, "email": ANA}, **headers).status == 403
    assert Browser().post(f"{front}/_sign_in", {**good, "email": ANA}).status == 403  # without the cookie
    assert browser.post(f"{front}/_sign_in", {**good, "email": ANA, "more": "x" * 10_000}).status == 403
    assert browser.get(f"{front}/").status == 302
    assert browser.post(f"{front}/_sign_in", {**good, "email": ANA}, Origin=front).status == 303


def test_a_cookie_cannot_be_forged_changed_or_carried_elsewhere() -> None:
    now = [1000]
    sessions, others = Sessions(now=lambda: now[0]), Sessions(now=lambda: now[0])
    session = sessions.begin(ANA)
    cookie = sessions.cookie(session, place="hub")
    assert sessions.read(cookie, place="hub") == session
    body, _, mark = cookie.partition(".")
    changed = body[:10] + ("A" if body[10] != "A" else "B") + body[11:]
    forged = others.cookie(others.begin(ANA), place="hub")
    for wrong in ["", ".", body, f"{body}.", f"{changed}.{mark}", f"{body}.{mark[:-1]}", forged, f"{cookie}x", "é.é"]:
        assert sessions.read(wrong, place="hub") is None
    assert sessions.read(cookie, place=LAB) is None
    now[0] += SESSION_S - 1
    assert sessions.read(cookie, place="hub") == session
    now[0] += 1
    assert sessions.read(cookie, place="hub") is None


def test_a_ticket_is_over_after_a_minute_or_with_its_session() -> None:
    now = [1000]
    sessions = Sessions(now=lambda: now[0])
    session = sessions.begin(ANA)
    late, ended = sessions.ticket(session, host=LAB), sessions.ticket(session, host=LAB)
    now[0] += TICKET_S
    assert sessions.redeem(late, host=LAB) is None
    ended = sessions.ticket(session, host=LAB)
    sessions.end(session)
    assert sessions.redeem(ended, host=LAB) is None
    assert sessions.redeem("", host=LAB) is None


def test_a_name_that_was_made_to_point_here_is_not_served(cloud: EmbeddedCloud) -> None:
    port = cloud.iap.port
    for host in (f"evil.example:{port}", "localhost:1", "localhost", f"x.localhost:{port}"):
        assert Browser().get(f"http://localhost:{port}/_sign_in", headers={"Host": host}).status == 421


def test_without_a_port_there_is_a_signer_and_no_front() -> None:
    from emulator.app import EmbeddedCloud  # noqa: PLC0415

    with EmbeddedCloud.build() as cloud:
        said = requests.get(f"{cloud.url}/_emulator/iap", timeout=10).json()
    assert said == {"audience": "/projects/100000000001/locations/europe-west1/services/benchkeeper-hub", "url": None}


def test_a_long_address_is_carried_or_refused(front: str) -> None:
    answer = Browser().get(f"{front}/{quote('a' * 3000)}")
    assert answer.status == 302
    assert Browser().get(f"{front}/{'a' * 70_000}").status == 414
