"""The sign-in page and the notices in a real browser: no accessibility violation, light and dark, and by keyboard without a script."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from emulator.iap.pages import Person
from tests.emulator.iap_kit import fronted_cloud

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emulator.app import EmbeddedCloud

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.browser,
]
PEOPLE = [Person("ana.silva@example.com", "Ana Silva", "Analyst"), Person("x@example.com", "Joaquín Müller-أحمد " * 4)]


@pytest.fixture(scope="module")
def cloud() -> Iterator[EmbeddedCloud]:
    with fronted_cloud() as made:
        made.iap.sign_in.people = PEOPLE
        yield made


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    sandbox = [] if os.getuid() else ["--no-sandbox"]  # Chromium has none for root
    with playwright.sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        yield browser
        browser.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_no_accessibility_violation(cloud: EmbeddedCloud, chromium: Any, scheme: str, width: int) -> None:
    context = chromium.new_context(color_scheme=scheme, viewport={"width": width, "height": 800}, bypass_csp=True)
    page = context.new_page()
    page.set_default_timeout(10_000)
    looked_at = []
    try:
        page.goto(f"{cloud.iap.url}/")
        looked_at.append(look(page))
        page.get_by_label("E-mail address").fill("nobody@nowhere")  # the browser lets it pass, the page does not
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("alert").wait_for()
        looked_at.append(look(page))
        page.get_by_role("button", name="Ana Silva").click()
        page.get_by_role("heading", name="The hub page is not running").wait_for()
        looked_at.append(look(page))
        page.goto(f"{cloud.iap.url}/_sign_in")
        looked_at.append(look(page))
    finally:
        context.close()
    assert looked_at == [[], [], [], []]


def look(page: Any) -> list[str]:
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "it scrolls sideways"
    found = axe.Axe().run(page).response["violations"]
    return [f"{each['id']}: {[node['html'] for node in each['nodes']]}" for each in found]


def test_by_keyboard_and_without_a_script(cloud: EmbeddedCloud, chromium: Any) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.set_default_timeout(10_000)
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text))
    try:
        page.goto(f"{cloud.iap.url}/fleet?page=2")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_url(f"{cloud.iap.url}/fleet?page=2")
        page.goto(f"{cloud.iap.url}/_sign_in")
        assert (
            page.get_by_text("You are signed in as").text_content()
            == "You are signed in as ana.silva@example.com. Sign out"
        )
        page.get_by_role("link", name="Sign out").click()
        page.goto(f"{cloud.iap.url}/fleet")
        page.get_by_role("heading", name="Sign in").wait_for()
    finally:
        context.close()
    assert [text for text in faults if "Content Security Policy" in text] == []
