"""Every view of the manager's page in a browser: no barrier, nothing sticks out, the answers lie where one looks first, one click leads on.

The page runs over the in-process cloud, so that each view has something to show.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from kit.browser import PHONE, TALL, WIDE, faults_of_looks, opened, sideways
from kit.hub import ANA, MIA
from kit.manager_world import LEO, TABS, full_world
from kit.served import served
from playwright.sync_api import expect

from shared.domain.things.identity import user_key_for
from shared.engine.decisions.letters import letter_digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kit.hub import Hub
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.timeout(280)]
SCRIPT = pytest.mark.parametrize("script", [True, False], ids=["with script", "without"])
PERSON, LEAVER = (f"/manage/people/{user_key_for(email)}" for email in (ANA, LEO))
VIEWS = {
    "today": "/manage",
    "people": "/manage/people",
    "leavers": "/manage/people?view=leavers",
    "exceptions": "/manage/people?view=exceptions",
    "no one": "/manage/people?q=nothing",
    "announce": "/manage/people/announce?view=unused",
    "attention": "/manage/attention",
    "costs": "/manage/costs",
    "by profile": "/manage/costs?by=profile",
    "messages": "/manage/messages",
    "all messages": "/manage/messages?show=all",
    "changes": "/manage/changes",
    "rosters": "/manage/rosters",
    **{f"person{tab}": f"{PERSON}{tab}" for tab in TABS},
    "leaver": f"{LEAVER}?tab=access",
    "stop": f"{PERSON}/acts/stop",
    "hold": f"{PERSON}/acts/hold",
}
# The cells of cards whose label is higher than the cell.
_CUT = """() => [...document.querySelectorAll(".as-cards td[data-label]")].filter(cell => cell.scrollHeight > cell.clientHeight + 1)
.map(cell => cell.dataset.label)"""
# What a manager wants to know in ten seconds, and where Today says it.
ANSWERS = {
    "who has access": r"\d+\s+with access",
    "what runs": r"\d+\s+running",
    "what it costs": "this month, estimated",
    "which leavers wait": "leavers with kept data",
    "is Google sold out": "europe-west1-b sold out since",
    "what is dangerous": "message about a leaver not processed",
    "what went wrong": "messages could not be processed",
    "what happened": "new notebooks ready",
}


@pytest.fixture(scope="module")
def hub() -> Hub:
    return full_world()


@pytest.fixture(scope="module")
def front(hub: Hub) -> Iterator[str]:
    with served(hub, MIA) as address:
        yield address


@pytest.mark.parametrize("locale", ["en-GB", "de-DE"])
@pytest.mark.parametrize("name", [*VIEWS, "message"])
def test_no_view_keeps_anybody_out_or_sticks_out(
    chromium: Browser, front: str, hub: Hub, name: str, locale: str
) -> None:
    letter = next(iter(hub.bench.deps.dead_letters.rows()))
    page = opened(chromium, front, VIEWS.get(name) or f"/manage/messages/{letter_digest(letter)}", locale=locale)
    assert page.locator("html").get_attribute("lang") == locale[:2]
    found = faults_of_looks(page, WIDE, PHONE)
    page.context.close()
    assert found == []


def test_no_view_sticks_out_in_german_on_a_phone(chromium: Browser, front: str) -> None:
    page = opened(chromium, front, "/manage", width=PHONE, locale="de-DE")
    over, broken = {}, {}
    for name, path in VIEWS.items():
        page.goto(f"{front}{path}")
        over[name] = sideways(page, PHONE)
        broken[name] = page.evaluate(_CUT)
    page.context.close()
    assert {name: px for name, px in over.items() if px > 0} == {}
    assert {name: labels for name, labels in broken.items() if labels} == {}


@pytest.mark.parametrize(("width", "deepest"), [(WIDE, 900), (PHONE, 2 * TALL)])
def test_the_answers_of_ten_seconds_lie_where_one_looks_first(
    chromium: Browser, front: str, width: int, deepest: int
) -> None:
    page = opened(chromium, front, "/manage", width=width)
    lowest = {}
    for question, text in ANSWERS.items():
        box = page.get_by_role("main").get_by_text(re.compile(text)).first.bounding_box()
        assert box is not None, question
        lowest[question] = box["y"] + box["height"]
    page.context.close()
    assert {question: end for question, end in lowest.items() if end > deepest} == {}


# The question, the link on Today, the heading that follows, and a text that answers there.
CLICKS = [
    ("who has access now and why", "with access", "People", "HR, default profile"),
    ("what does it cost and why did it jump", "this month, estimated", "Costs", "What changed"),
    ("who left and what is kept", "leavers with kept data", "People", "Not verified"),
    ("who does not use it", "Not used for 60 days", "People", "people match."),
    ("who is an exception", "Exceptions", "People", "Data on hold: case 4711"),
    ("what went wrong this week", "messages could not be processed", "Messages", "Leaver not understood"),
]


@SCRIPT
@pytest.mark.parametrize(("question", "link", "heading", "answer"), CLICKS, ids=[each[0] for each in CLICKS])
def test_each_question_is_one_click_from_today(
    chromium: Browser, front: str, script: bool, question: str, link: str, heading: str, answer: str
) -> None:
    page = opened(chromium, front, "/manage", java_script_enabled=script)
    page.get_by_role("main").get_by_role("link").filter(has_text=link).first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(heading)
    expect(page.get_by_role("main")).to_contain_text(answer)
    page.context.close()


@SCRIPT
def test_evidence_of_a_period_is_one_click_from_today(chromium: Browser, front: str, script: bool) -> None:
    page = opened(chromium, front, "/manage", java_script_enabled=script, accept_downloads=True)
    page.get_by_label("From", exact=True).fill("2026-11-01")
    page.get_by_label("to", exact=True).fill("2026-11-30")
    with page.expect_download() as found:
        page.get_by_role("button", name="Download ZIP").click()
    assert found.value.suggested_filename.startswith("benchkeeper-evidence-everybody-")
    page.context.close()


@SCRIPT
def test_evidence_of_a_person_is_on_the_persons_page(chromium: Browser, front: str, script: bool) -> None:
    page = opened(chromium, front, PERSON, java_script_enabled=script, accept_downloads=True)
    with page.expect_download() as found:
        page.get_by_role("link", name="Export").click()
    assert found.value.suggested_filename.startswith(f"benchkeeper-evidence-{user_key_for(ANA)}-")
    page.context.close()


@SCRIPT
def test_the_five_tabs_and_the_tabs_of_a_person(chromium: Browser, front: str, script: bool) -> None:
    page = opened(chromium, front, "/manage", java_script_enabled=script)
    tabs = page.get_by_role("navigation", name="Manage").get_by_role("link")
    assert [each.strip() for each in tabs.all_inner_texts()] == ["Today", "People", "Costs", "Messages", "Changes"]
    for name in ("People", "Costs", "Messages", "Changes", "Today"):
        page.get_by_role("navigation", name="Manage").get_by_role("link", name=name).click()
        expect(page.get_by_role("heading", level=1)).to_have_text(name)
    page.goto(f"{front}{PERSON}")
    parts = page.get_by_role("navigation", name="Parts of this page")
    for name, heading in (
        ("History", "History"),
        ("Access", "Statements"),
        ("Costs", "This month"),
        ("Technical", "Checks"),
        ("Summary", "Saved files"),
    ):
        parts.get_by_role("link", name=name).click()
        expect(page.get_by_role("heading", name=heading, level=2)).to_be_visible()
        expect(parts.get_by_role("link", name=name)).to_have_attribute("aria-current", "page")
    page.context.close()


@SCRIPT
def test_a_message_is_viewed_and_dismissed(chromium: Browser, script: bool) -> None:
    hub = full_world()
    with served(hub, MIA) as address:
        page = opened(chromium, address, "/manage/messages", java_script_enabled=script)
        rows = page.locator("table.messages tbody tr")
        expect(rows.first).to_contain_text("End access")
        rows.first.get_by_role("link", name="View").click()
        expect(page.get_by_role("heading", level=2).first).to_have_text("Leaver not understood")
        page.get_by_role("button", name="Dismiss").click()
        expect(page.locator(".said")).to_contain_text("Dismissed within a minute.")
        expect(rows).to_have_count(5)
        page.context.close()
    (waiting,) = hub.bench.deps.decisions.waiting()
    assert waiting.shown is not None
    assert (waiting.shown.verdict.value, waiting.shown.about.value) == ("REJECT", "LETTER")


def test_everything_on_today_is_reached_by_keyboard(chromium: Browser, front: str) -> None:
    """Tab goes through all links, fields and buttons in the order of the page, each with a visible focus."""
    page = opened(chromium, front, "/manage")
    wanted = page.locator("main a, main button, main summary, main input:not([type=hidden])").count()
    seen: list[str] = []
    for _ in range(3 * wanted):
        page.keyboard.press("Tab")
        at = page.evaluate(
            """() => { const e = document.activeElement; const s = getComputedStyle(e);
            return [e.closest("main") ? [...document.querySelectorAll("main *")].indexOf(e) : -1, s.outlineStyle !== "none" || s.boxShadow !== "none"] }"""
        )
        if at[0] >= 0:
            assert at[1], f"no focus to be seen after {seen[-1:]}"
            seen.append(str(at[0]))
        elif seen:
            break
    assert len(set(seen)) >= wanted
    assert [int(each) for each in seen] == sorted(int(each) for each in seen)
    page.context.close()


def test_people_are_filtered_by_keyboard(chromium: Browser, front: str) -> None:
    page = opened(chromium, front, "/manage/people?view=access")
    page.get_by_label("Search", exact=True).focus()
    page.keyboard.type("person.7@")
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_contain_text("people match.")
    expect(page.get_by_role("link", name="With access")).to_have_attribute("aria-current", "page")
    page.context.close()
