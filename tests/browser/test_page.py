"""The analyst's page as a person uses it: live, by keyboard, without JavaScript, on another clock, and when access ends meanwhile."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from kit.browser import (
    PATIENCE_S,
    headline,
    jumped,
    living_in,
    spark_card,
    unfold,
    window,
)
from playwright.sync_api import Locator, Page, expect

from tests.e2e.local_run import news, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kit.browser import House
    from playwright.sync_api import Browser, Route

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.timeout(280)]
SAO_PAULO = "America/Sao_Paulo"
MOST_JUMP = 0.05  # web.dev calls a page good below 0.1


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with living_in() as made:
        yield made


def test_a_first_notebook_comes_while_one_looks_and_nothing_jumps(house: House, chromium: Browser) -> None:
    house.join("ana.silva@example.com")
    with window(chromium, house) as mine:
        page = mine.enter("ana.silva@example.com")
        expect(headline(page)).to_have_text("On its way")
        expect(page.locator("#notebook [aria-current=step]")).to_have_count(1)
        page.evaluate("window.same = true")
        unfold(page, "corner")
        zone = page.get_by_label("Time zone")
        zone.focus()
        with house.time_passes():
            expect(headline(page)).to_contain_text("Running")
        expect(page.locator("#live")).to_contain_text("Your notebook is running.")
        expect(zone).to_be_focused()
        assert page.evaluate("window.same") is True, "the page was loaded anew"
        assert jumped(page) < MOST_JUMP


def test_a_stop_and_a_start_move_nothing_and_keep_the_focus(house: House, chromium: Browser) -> None:
    house.at_work("ben.okafor@example.com")
    with window(chromium, house) as mine:
        page = mine.enter("ben.okafor@example.com")
        page.get_by_role("button", name="Stop", exact=True).click()
        expect(page.locator("#notebook .said")).to_be_visible()
        expect(page.locator("#notebook")).to_be_focused()
        with house.time_passes():
            expect(headline(page)).to_contain_text("Stopped")
        expect(page.locator("#notebook")).to_be_focused()
        page.locator("#start-notebook").click()
        expect(headline(page)).to_contain_text("Starting")
        card = spark_card(page, "Small Spark")
        card.get_by_role("button", name="Start").click()
        expect(card.get_by_role("progressbar")).to_be_visible()
        card.get_by_role("button", name="Delete …").focus()
        with house.time_passes():
            expect(headline(page)).to_contain_text("Running")
            expect(card.locator(".state")).to_have_text("Running")
        expect(card.get_by_role("button", name="Delete …")).to_be_focused()
        assert jumped(page) < MOST_JUMP


TOLD = """
window.told = [];
window.Notification = class {
  static permission = "default";
  static async requestPermission() { this.permission = "granted"; return this.permission; }
  constructor(title, options) { window.told.push(`${title}: ${options.body}`); }
};
Object.defineProperty(document, "hidden", { get: () => window.away === true });
"""


def test_who_allows_it_is_told_in_another_tab_that_the_notebook_is_ready(house: House, chromium: Browser) -> None:
    house.join("gil.stern@example.com")
    with window(chromium, house) as mine:
        mine.page.add_init_script(TOLD)
        page = mine.enter("gil.stern@example.com")
        expect(headline(page)).to_have_text("On its way")
        expect(page.locator("#tell")).to_be_hidden()  # in the menu
        unfold(page, "more")
        page.get_by_role("button", name="Allow notifications").click()
        expect(page.get_by_role("button", name="Allow notifications")).to_be_hidden()
        page.evaluate("window.away = true")
        with house.time_passes():
            expect(headline(page)).to_contain_text("Running")
        assert page.evaluate("window.told") == ["Ready: Your notebook is running."]


CHI = "chi.lee@example.com"


def spec(house: House, email: str) -> dict[str, Any]:
    return dict(house.record(email)["spec"])


def test_kept_on_until_a_moment_on_the_readers_clock_and_not(house: House, chromium: Browser) -> None:
    house.at_work("chi.lee@example.com")
    with window(chromium, house, timezone_id=SAO_PAULO) as mine:
        page = mine.enter("chi.lee@example.com")
        expect(page.locator("#zone")).to_have_value(SAO_PAULO)
        unfold(page, "more")
        page.get_by_label("Extend", exact=True).select_option("for 2 hours")
        page.get_by_role("button", name="Extend", exact=True).click()
        kept = page.locator("#notebook .line", has=page.get_by_role("button", name="Resume the normal idle shutdown"))
        expect(kept).to_be_visible()
        until(lambda: spec(house, CHI).get("keep_on_until"), seconds=PATIENCE_S, what="the wish was taken up")
        until_utc = datetime.fromisoformat(house.record("chi.lee@example.com")["spec"]["keep_on_until"])
        there = until_utc.astimezone(ZoneInfo(SAO_PAULO))
        expect(kept.locator("time")).to_contain_text(f"{there:%H:%M}")
        expect(kept).to_contain_text("(in 2 h")
        page.get_by_role("button", name="Resume the normal idle shutdown").click()
        expect(kept).to_have_count(0)
        until(lambda: spec(house, CHI).get("keep_on_until") is None, seconds=PATIENCE_S, what="the wish was taken up")


def test_one_more_than_allowed_is_refused_in_words(house: House, chromium: Browser) -> None:
    house.at_work("eva.maler@example.com")
    with window(chromium, house) as mine:
        mine.refused.add(409)
        page = mine.enter("eva.maler@example.com")
        spark_card(page, "Small Spark").get_by_role("button", name="Start").click()
        expect(spark_card(page, "Small Spark").locator(".state")).to_have_text("Starting")
        spark_card(page, "Spark for larger tables").get_by_role("button", name="Start").click()
        expect(page.get_by_role("alert")).to_contain_text("That is not possible now.")
        expect(spark_card(page, "Spark for larger tables").locator(".state")).to_have_text("Not running")


def test_somebody_without_an_environment_reads_whom_to_ask(house: House, chromium: Browser) -> None:
    with window(chromium, house) as mine:
        mine.refused.add(403)
        page = mine.enter("noah.weber@example.com", heading="You do not have a notebook yet")
        expect(page.get_by_role("main")).to_contain_text("ask the data platform team (data-platform@example.com)")


@pytest.mark.parametrize("sees_it_by", ["a click", "coming back to the tab"])
def test_who_leaves_while_the_page_is_open_is_told(house: House, chromium: Browser, sees_it_by: str) -> None:
    email = f"leo.{sees_it_by[2:4]}mm@example.com"
    house.at_work(email)
    with window(chromium, house) as mine:
        mine.refused.add(403)
        page = mine.enter(email)
        house.local.publish(news("leaver", email, event_id=f"{email}-left"))
        until(lambda: house.record(email)["spec"]["presence"] == "ABSENT", seconds=PATIENCE_S, what="the news has come")
        if sees_it_by == "a click":
            page.get_by_role("button", name="Stop", exact=True).click()
        else:
            page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        expect(page.get_by_role("heading", level=1)).to_have_text("Your access has ended")
        expect(page.get_by_role("button", name="Stop", exact=True)).to_have_count(0)


@pytest.mark.parametrize("late", ["hub.css", "pico.min.css"])
def test_a_style_that_comes_late_leaves_nothing_that_the_policy_forbids(
    house: House, chromium: Browser, late: str
) -> None:
    """Who asks for the looks of the page meanwhile (a tool, an extension) gets no half of the styles."""
    email = "ida.berg@example.com"
    house.at_work(email)
    with window(chromium, house) as mine:
        page = mine.enter(email)
        held: list[Route] = []
        page.route(re.compile(rf"/{late}"), lambda each: held.append(each))  # noqa: PLW0108 - it must have attributes
        with page.expect_request(re.compile(rf"/{late}")):
            page.goto(f"{house.front}/", wait_until="commit")
        page.wait_for_function("document.querySelector('#until')")
        looks = "getComputedStyle(document.querySelector('#until')).backgroundImage"
        assert "data:" not in page.evaluate(looks)
        for each in held:
            each.continue_()
        page.wait_for_load_state()
        assert "/assets/icons/chevron.svg" in page.evaluate(looks)


def test_by_keyboard_alone(house: House, chromium: Browser) -> None:
    email = "fay.keys@example.com"
    house.at_work(email)
    with window(chromium, house) as mine:
        page, press = mine.page, mine.page.keyboard.press
        page.goto(f"{house.front}/")
        tab_to(page, page.get_by_label("E-mail address"))
        page.keyboard.type(email)
        mine.people.append(email)
        press("Enter")
        mine.settled()
        press("Tab")
        expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
        press("Enter")
        tab_to(page, page.get_by_role("link", name="Open JupyterLab"))
        tab_to(page, page.get_by_role("button", name="Stop", exact=True))
        press("Enter")
        expect(headline(page)).to_contain_text("Stopping")
        with house.time_passes():
            expect(headline(page)).to_contain_text("Stopped")
        tab_to(page, page.locator("#start-notebook"))
        press("Space")
        expect(headline(page)).to_contain_text("Starting")
        card = spark_card(page, "Small Spark")
        tab_to(page, card.get_by_role("button", name="Start"))
        press("Enter")
        expect(card.locator(".state")).to_have_text("Starting")
        tab_to(page, card.get_by_role("button", name="Delete …"))
        press("Enter")
        tab_to(page, card.get_by_role("button", name="Delete it now"))
        press("Enter")
        with house.time_passes():
            expect(card.locator(".state")).to_have_text("Not running")


def tab_to(page: Page, wanted: Locator) -> None:
    """Press Tab until it is there, and see that one sees where one is."""
    expect(wanted).to_be_visible()
    for _ in range(30):
        page.keyboard.press("Tab")
        if wanted.evaluate("(element) => element === document.activeElement"):
            style = "getComputedStyle(document.activeElement)"
            assert page.evaluate(f"{style}.outlineStyle !== 'none' || {style}.boxShadow !== 'none'"), "no focus is seen"
            return
    pytest.fail(f"Tab does not lead to {wanted}")


def test_without_javascript(house: House, chromium: Browser) -> None:
    email = "gil.plain@example.com"
    house.join(email)
    with window(chromium, house, java_script_enabled=False) as mine:
        page = mine.enter(email)
        expect(headline(page)).to_have_text("On its way")
        with house.time_passes():
            expect(headline(page)).to_contain_text("Running")  # the page loads itself anew
        assert page.get_by_role("link", name="Open JupyterLab").get_attribute("href")

        unfold(page, "more")
        page.get_by_label("Extend", exact=True).select_option("for 1 hour")
        page.get_by_role("button", name="Extend", exact=True).click()
        expect(page.locator(".said")).to_have_text(said("Extended."))
        page.get_by_role("button", name="Resume the normal idle shutdown").click()
        expect(page.locator(".said")).to_have_text(
            said("The extension was removed: the normal idle shutdown applies again.")
        )

        page.get_by_role("button", name="Stop", exact=True).click()
        expect(page.locator(".said")).to_have_text(said("Stopping. Your files are kept."))
        at_last(house, headline(page), "Stopped")
        page.locator("#start-notebook").click()
        expect(page.locator(".said")).to_have_text(said("Starting. This usually takes 3 minutes."))

        card = spark_card(page, "Small Spark")
        card.get_by_role("button", name="Start").click()
        at_last(house, card.locator(".state"), "Running")
        expect(card.get_by_role("link", name="Open JupyterLab")).to_be_visible()
        expect(card.get_by_role("button", name="Delete it now")).not_to_be_visible()
        card.get_by_role("button", name="Delete …").click()
        card.get_by_role("button", name="Delete it now").click()
        at_last(house, card.locator(".state"), "Not running")

        unfold(page, "corner")
        page.get_by_label("Time zone").fill("Europe/Berlin")
        page.get_by_role("button", name="Set").click()
        expect(page.locator("#zone")).to_have_value("Europe/Berlin")


def said(words: str) -> re.Pattern[str]:
    """The words of a click, and behind them nothing but the request, while it waits to be taken up."""
    return re.compile(rf"^\s*{re.escape(words)}(\s*Requested at [^:]+:\d\d[^:]*: [^.]+\.)?\s*$")


def at_last(house: House, place: Locator, text: str) -> None:
    """The page loads itself anew while something is on its way; loading it by hand as well would meet that on a slow machine."""
    with house.time_passes():
        expect(place).to_contain_text(text)
