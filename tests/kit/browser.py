"""The hub page in a real browser: Debian's Chromium, driven by playwright, over the whole system as its processes.

The cloud's clock stands still but where a test lets time pass, so nobody's notebook grows idle while a slow machine draws a page.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from shared.domain.things.identity import parse_email, user_key_for
from tests.e2e.local_run import Local, news, running_local, until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ANALYSTS, ENGINEERS = "data-analysts@example.com", "data-engineers@example.com"
MIA = "mia.chen@example.com"  # the administrator
PATIENCE_S = 60.0  # for a busy machine; what holds sooner is seen sooner
PATIENCE_MS = PATIENCE_S * 1000
_HOME = "Notebook and Spark"
_BERLIN = "Europe/Berlin"
WIDE, PHONE, TALL = 1280, 360, 740
_FAST = 120.0  # virtual seconds a second: a create takes four virtual minutes
# Without what Chromium asks of its maker's servers by itself.
_FLAGS = (
    "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
# What a page does that it should not, said where it is heard; and how far things jumped that nobody had touched.
_WATCH = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`The policy forbids ${event.effectiveDirective}: ${event.blockedURI}`));
window.jumped = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.jumped += entry.value;
}).observe({ type: "layout-shift", buffered: true });
"""
_REFUSED = re.compile(r"the server responded with a status of (\d+)|Response Status Error Code (\d+)")  # Chromium, htmx
_ADDRESS = re.compile(r"[^\s/@?&=]+@[\w-]+(\.[\w-]+)+")


@contextmanager
def started_chromium(*more: str) -> Iterator[Browser]:
    """A browser without a window, perhaps with more flags."""
    expect.set_options(timeout=PATIENCE_MS)
    flags = (*_FLAGS, *more) if os.getuid() else (*_FLAGS, *more, "--no-sandbox")  # Chromium has no sandbox for root
    with sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=CHROMIUM, args=flags)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class House:
    """The whole system, with the page's address."""

    local: Local
    front: str

    @contextmanager
    def time_passes(self, *, speed: float = _FAST) -> Iterator[None]:
        """The cloud's clock runs while you wait in here."""
        self.local.control("POST", "clock", {"speed": speed})
        try:
            yield
        finally:
            self.local.control("POST", "clock", {"speed": 0})

    def later(self, **hours_or_minutes: float) -> None:
        """So much of the cloud's time is over at once."""
        seconds = hours_or_minutes.get("hours", 0) * 3600 + hours_or_minutes.get("minutes", 0) * 60
        self.local.control("POST", "clock", {"advance_seconds": seconds})

    def join(self, *emails: str, group: str = ANALYSTS, **more: Any) -> None:
        """HR says so of each; returns once it is known."""
        self.local.publish(*[news("joiner", email, groups=(group,), **more) for email in emails])
        until(lambda: all(map(self.record, emails)), seconds=PATIENCE_S, what="the news has come")

    def at_work(self, *emails: str, group: str = ANALYSTS) -> None:
        """Each has joined, and has a notebook that runs."""
        self.join(*emails, group=group)
        with self.time_passes():
            for email in emails:
                self.until_ready(email)

    def until_ready(self, email: str) -> None:
        until(
            lambda: self.reasons(email).get("NotebookReady") == "Ready",
            seconds=PATIENCE_S,
            what=lambda: f"{email} is ready: {self.reasons(email)}",
            every=0.2,
        )

    def reasons(self, email: str) -> dict[str, str]:
        """By condition what the person's record says; empty without a record."""
        found = self.record(email)
        return {each["type"]: each["reason"] for each in found.get("status", {}).get("conditions", [])}

    def record(self, email: str) -> dict[str, Any]:
        answer = self.local.http.get(
            f"{self.local.url}/storage/v1/b/benchkeeper-local/o/records%2F{user_key_for(parse_email(email))}.json",
            params={"alt": "media"},
            timeout=30,
        )
        return dict(answer.json()) if answer.ok else {}


@contextmanager
def living_in(*words: str, environment: Mapping[str, str] | None = None) -> Iterator[House]:
    """A system without people, whose time all but stands still."""
    with running_local("--no-examples", "--speed", "0.000001", *words, environment=environment) as local:
        yield House(local, str(local.control("GET", "iap")["url"]))


@dataclass
class Window:
    """One person's browser: what it complains of, and each address that it asked for."""

    house: House
    page: Page
    zone: str = ""  # "" without a script
    people: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    refused: set[int] = field(default_factory=set)  # statuses that a test provokes

    def enter(self, email: str, path: str = "/", *, heading: str = _HOME) -> Page:
        """Go to a page as somebody who has to sign in first."""
        self.people.append(email)
        self.page.goto(f"{self.house.front}{path}")
        self.page.get_by_label("E-mail address").fill(email)
        self.page.get_by_role("button", name="Sign in", exact=True).click()
        expect(self.page.get_by_role("heading", level=1)).to_have_text(heading)
        if (
            self.zone and self.page.locator("body").get_attribute("data-ask-zone") != ""
        ):  # "": it asks without loading anew
            self.settled()
        return self.page

    def settled(self) -> None:
        """The script has told the page the reader's time zone, and so loaded it anew."""
        expect(self.page.locator("#zone")).to_have_value(self.zone)

    def go(self, path: str) -> Page:
        self.page.goto(f"{self.house.front}{path}")
        return self.page

    def opened(self, link: Locator) -> Page:
        """The tab that a link opens."""
        with self.page.context.expect_page(timeout=PATIENCE_MS) as found:
            link.click()
        return found.value

    def faults(self) -> list[str]:
        """Complaints that no test provoked, requests to other machines, and people's addresses in what was asked for."""
        found = [text for text in self.complaints if not self._provoked(text)]
        for url in self.asked:
            host = urlsplit(url).hostname or ""
            if url.startswith("http") and host != "localhost" and not host.endswith(".localhost"):
                found.append(f"it asked another host: {url}")
            plain = unquote(unquote(url))
            if _ADDRESS.search(plain) or any(email.partition("@")[0] in plain for email in self.people):
                found.append(f"somebody's address stands in {url}")
        return found

    def _provoked(self, text: str) -> bool:
        status = _REFUSED.search(text)
        return status is not None and int(status[1] or status[2]) in self.refused


@contextmanager
def window(chromium: Browser, house: House, **options: Any) -> Iterator[Window]:
    """A person's browser; when all went well, it is held to have had nothing to complain of."""
    context = chromium.new_context(**{"timezone_id": _BERLIN, "viewport": {"width": 1280, "height": 900}, **options})
    context.set_default_timeout(PATIENCE_MS)
    if options.get("java_script_enabled", True):
        context.add_init_script(_WATCH)
    zone = options.get("timezone_id", _BERLIN) if options.get("java_script_enabled", True) else ""
    made = Window(house, context.new_page(), zone)
    context.on("console", lambda said: made.complaints.append(said.text) if said.type in {"error", "warning"} else None)
    context.on("weberror", lambda said: made.complaints.append(str(said.error)))
    context.on("request", lambda request: made.asked.append(request.url))
    try:
        yield made
        faults = made.faults()
        assert not faults, "\n".join(faults)
    finally:
        context.close()


def jumped(page: Page) -> float:
    """The cumulative layout shift since the page was loaded, without what follows a click at once."""
    return float(page.evaluate("window.jumped"))


def opened(chromium: Browser, front: str, path: str, *, width: int = WIDE, **options: object) -> Page:
    """A page in a context of its own, in Berlin's time, once nothing is loaded any more."""
    height = 900 if width == WIDE else TALL
    context = chromium.new_context(viewport={"width": width, "height": height}, timezone_id=_BERLIN, **options)
    page = context.new_page()
    page.goto(f"{front}{path}")
    page.wait_for_load_state("networkidle")
    return page


def sideways(page: Page, width: int) -> int:
    """By how many pixels the page is wider than a window of this width."""
    page.set_viewport_size({"width": width, "height": 740})
    until(lambda: page.evaluate("window.innerWidth") == width, seconds=PATIENCE_S, what="the window has its size")
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def barriers(page: Page) -> list[str]:
    """What axe-core finds that keeps somebody out."""
    found = Axe().run(page).response["violations"]
    return [f"{each['id']}: {[node['html'][:160] for node in each['nodes']]}" for each in found]


def headline(page: Page) -> Locator:
    """The word beside the notebook's heading."""
    return page.locator("#notebook .card-head .state")


def unfold(page: Page, menu: str) -> None:
    """Open a menu of the page, as a person does before using what is in it: `corner`, or `more` of the notebook."""
    place = page.locator(f"#{menu}")
    if place.get_attribute("open") is None:
        page.locator(f"#{menu}-menu").click()


def spark_card(page: Page, title: str) -> Locator:
    return page.locator("#spark li", has=page.get_by_role("heading", name=title))


def faults_of_looks(page: Page, *widths: int) -> list[str]:
    """What keeps somebody out of the page or sticks out of it, at each width, light and dark."""
    found = []
    for width in widths:
        over = sideways(page, width)
        found += [f"{over} px too wide at {width}"] if over > 0 else []
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            found += [f"{scheme}, {width} px: {each}" for each in barriers(page)]
    return found
