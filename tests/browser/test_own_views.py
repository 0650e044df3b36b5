"""The owner's views in a browser, English and German: six answers lie where one looks first, nothing keeps anybody out or sticks out.

The page runs over the in-process cloud.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from kit.browser import PHONE, TALL, WIDE, barriers, faults_of_looks, opened, sideways, unfold
from kit.hub import ANA, make_hub
from kit.served import served
from playwright.sync_api import expect

from shared.domain.fleet.fleet import Notes
from shared.domain.things.identity import user_key_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.timeout(280)]
LOCALES = pytest.mark.parametrize("locale", ["en-GB", "de-DE"])
VIEWS = {"home": "/", "home, the menu open": "/", "history": "/history", "months of cost": "/costs"}
# What an analyst wants to know in ten seconds, and where the screen says it: English, German.
ANSWERS = {
    "is it on": ("Running", "Läuft"),
    "how do I get in": ("Open JupyterLab", "JupyterLab öffnen"),
    "how big": ("4 vCPU · 16 GB", "4 vCPU · 16 GB"),
    "when does it stop": (r"stops .* if unused", r"stoppt .* ohne Nutzung|stoppt .* wenn unbenutzt|stoppt .*"),
    "what did it cost": (r"EUR this month", r"EUR diesen Monat"),
    "what if it hangs": ("Restart and more", "Neu starten und mehr"),
}


# A picture without words, and a block that is wider than any window.
_PLANTED = """() => { const wide = document.createElement("p"); wide.style.width = "9000px"; wide.textContent = "x";
document.querySelector("main").append(document.createElement("img"), wide); }"""


@pytest.fixture(scope="module")
def front() -> Iterator[str]:
    hub = make_hub()
    hub.joined(ANA)
    key, now = user_key_for(ANA), hub.bench.now
    hub.bench.deps.fleet.write_notes(
        Notes(taken_at=now, idle_stops={key: now + timedelta(hours=3)}, last_used={key: now})
    )
    with served(hub, ANA) as address:
        yield address


@LOCALES
@pytest.mark.parametrize("script", [True, False], ids=["with script", "without"])
@pytest.mark.parametrize(("width", "deepest"), [(WIDE, 900), (PHONE, 2 * TALL)])
def test_the_six_answers_lie_where_one_looks_first(
    chromium: Browser, front: str, width: int, deepest: int, locale: str, script: bool
) -> None:
    page = opened(chromium, front, "/", width=width, locale=locale, java_script_enabled=script)
    lowest = {}
    for question, texts in ANSWERS.items():
        said = re.compile(texts[locale == "de-DE"])
        found = page.get_by_role("main").get_by_text(said).filter(visible=True).first
        expect(found).to_be_visible()
        box = found.bounding_box()
        assert box is not None, question
        lowest[question] = box["y"] + box["height"]
    page.context.close()
    assert len(lowest) == 6
    assert {question: end for question, end in lowest.items() if end > deepest} == {}


@LOCALES
@pytest.mark.parametrize("name", VIEWS)
def test_no_view_keeps_anybody_out_or_sticks_out(chromium: Browser, front: str, name: str, locale: str) -> None:
    page = opened(chromium, front, VIEWS[name], locale=locale)
    assert page.locator("html").get_attribute("lang") == locale[:2]
    if "menu" in name:
        unfold(page, "more")
    found = faults_of_looks(page, WIDE, PHONE)
    page.context.close()
    assert found == []


def test_a_barrier_is_found(chromium: Browser, front: str) -> None:
    page = opened(chromium, front, "/costs")
    page.evaluate(_PLANTED)
    assert any("image-alt" in each for each in barriers(page))
    assert sideways(page, PHONE) > 0
    page.context.close()


def test_the_own_months_by_keyboard(chromium: Browser, front: str) -> None:
    page = opened(chromium, front, "/")
    link = page.locator("#own-months")
    for _ in range(60):
        if link.evaluate("each => each === document.activeElement"):
            break
        page.keyboard.press("Tab")
    expect(link).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("What your notebook and Spark cost")
    page.get_by_role("link", name="Back to your notebook").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#notebook")).to_be_visible()
    page.context.close()
