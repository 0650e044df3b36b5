"""The manager's page over ten thousand people: found, sorted, filtered, read as a file; and acts after their plan was read."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import pytest
from kit.browser import MIA, PATIENCE_S, living_in, window
from kit.crowd import REASONS, crowd, put
from msgspec.structs import replace
from playwright.sync_api import Locator, Page, expect

from shared.domain.record import codec
from shared.domain.things.errors import Reason
from shared.domain.things.identity import parse_email, user_key_for
from tests.e2e.local_run import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kit.browser import House, Window
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.timeout(280)]
MANY = 10_000
ANA, BEN = "ana.silva@example.com", "ben.okafor@example.com"
EVERYBODY = MANY + 2
SCRIPT = pytest.mark.parametrize("script", [True, False], ids=["with script", "without"])


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with living_in() as made:
        made.at_work(ANA, BEN)
        like = codec.from_json(made.record(ANA))
        like = replace(like, status=like.status.changed(story=()))
        people = crowd(like, MANY, now=like.created_at)
        put(made.local, people, beside=f"records/{user_key_for(parse_email(ANA))}.json")
        swept = made.local.benchkeeper("sweep", "idle")
        assert swept.returncode == 0, swept.stdout + swept.stderr
        yield made


def rows(page: Page) -> Locator:
    return page.locator("table.people tbody tr")


def search(mine: Window, text: str) -> Page:
    page = mine.page
    page.get_by_label("Search", exact=True).fill(text)
    page.get_by_role("button", name="Show").click()
    return page


@SCRIPT
def test_ten_thousand_people_are_searched_filtered_sorted_and_paged(
    house: House, chromium: Browser, script: bool
) -> None:
    with window(chromium, house, java_script_enabled=script) as mine:
        page = mine.enter(MIA, "/manage/people", heading="People")
        expect(page.get_by_role("main")).to_contain_text(f"{EVERYBODY:,} people.")
        expect(rows(page)).to_have_count(50)

        page.get_by_role("columnheader", name="Cost").get_by_role("link").click()
        page.get_by_role("columnheader", name="Cost").get_by_role("link").click()
        expect(page.get_by_role("columnheader", name="Cost")).to_have_attribute("aria-sort", "descending")
        expect(rows(page).first).to_contain_text(f"person.{MANY - 1:05}@example.com")
        page.get_by_role("link", name="Next", exact=True).click()
        expect(rows(page).first).to_contain_text(f"person.{MANY - 51:05}@example.com")
        page.get_by_role("link", name="Last", exact=True).click()
        expect(rows(page)).to_have_count(EVERYBODY % 50)

        page = search(mine, "person.04321@example.com")
        expect(rows(page)).to_have_count(1)
        expect(rows(page).first).to_contain_text("person.04321@example.com")
        page = search(mine, "person.012")
        expect(page.get_by_role("main")).to_contain_text(f"100 of {EVERYBODY:,} people match.")
        page.get_by_label("Needs attention").select_option("Stuck")
        page.get_by_role("button", name="Show").click()
        expect(page.get_by_role("main")).to_contain_text(f"20 of {EVERYBODY:,} people match.")
        expect(rows(page)).to_have_count(20)
        page = search(mine, "nobody like that")
        expect(page.get_by_role("main")).to_contain_text("No one matches.")


def test_the_rows_that_are_shown_come_as_a_file(house: House, chromium: Browser, tmp_path: Path) -> None:
    with window(chromium, house, accept_downloads=True) as mine:
        page = mine.enter(MIA, "/manage/people", heading="People")
        page.get_by_label("Needs attention").select_option("Stuck")
        page.get_by_role("button", name="Show").click()
        stuck = sum(REASONS[number % len(REASONS)] is Reason.STUCK for number in range(MANY))
        expect(page.get_by_role("main")).to_contain_text(f"{stuck:,} of {EVERYBODY:,} people match.")
        with page.expect_download() as found:
            page.get_by_role("link", name="CSV").click()
        file = tmp_path / "people.csv"
        found.value.save_as(file)
        with file.open(encoding="utf-8-sig", newline="") as lines:
            read = list(csv.DictReader(lines))
        assert len(read) == stuck
        wanted = {
            f"person.{number:05}@example.com" for number in range(MANY) if number % 5 == REASONS.index(Reason.STUCK)
        }
        assert {cell for row in read for cell in row.values() if cell.startswith("person.")} == wanted


def test_what_needs_somebody_is_counted_and_one_click_away(house: House, chromium: Browser) -> None:
    with window(chromium, house) as mine:
        page = mine.enter(MIA, "/manage", heading="Today")
        # Another line stands above it if a drift sweep came in between: this world's clock passes full hours, too.
        needs = page.get_by_role("region", name="Needs attention").get_by_role("listitem")
        stuck = needs.filter(has_text="2,000 Notebooks delayed")
        expect(stuck).to_have_count(1)
        stuck.get_by_role("link").click()
        expect(page.get_by_role("main")).to_contain_text(f"2,000 of {EVERYBODY:,} people match.")


@SCRIPT
def test_a_plan_is_read_before_the_act(house: House, chromium: Browser, script: bool) -> None:
    email = ANA if script else BEN
    with window(chromium, house, java_script_enabled=script) as mine:
        mine.enter(MIA, "/manage/people", heading="People")
        page = search(mine, email)
        page.get_by_role("link", name=email).click()
        expect(page.get_by_role("heading", level=1)).to_have_text(email)
        page.get_by_role("link", name="History").click()
        story = page.locator("table.story tbody tr")
        expect(story.last).to_contain_text("Messages")
        times = story.locator("time").evaluate_all("(all) => all.map((each) => each.dateTime)")
        assert times == sorted(times, reverse=True)
        page.get_by_role("link", name="Cloud calls").click()
        expect(story.first).to_contain_text("Cloud calls")

        page.get_by_role("link", name="Stop …").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Stop the notebook")
        expect(page.get_by_role("region", name="Without this change")).to_contain_text("Nothing changes.")
        expect(page.get_by_role("region", name="With this change").locator("ol.plan li")).to_have_count(1)
        page.get_by_role("link", name="Cancel").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(email)
        assert house.record(email)["spec"]["power"] == "RUNNING"

        page.get_by_role("link", name="Put on hold …").click()
        page.get_by_label("Reason").fill("case 4711")
        page.get_by_role("button", name="Put on hold").click()
        expect(page.get_by_role("main")).to_contain_text("On hold since")
        assert house.record(email)["hold"]["reason"] == "case 4711"

        page.get_by_role("link", name="Stop …").click()
        page.get_by_role("button", name="Stop", exact=True).click()
        expect(page.locator(".said")).to_have_text("Stopping. The files are kept.")
        with house.local.world() as world:
            until(lambda: email in world.owners("STOPPING"), seconds=PATIENCE_S, what=f"{email}'s notebook is stopping")


def test_an_analyst_sees_no_page_of_the_managers(house: House, chromium: Browser) -> None:
    with window(chromium, house) as mine:
        mine.refused.add(403)
        page = mine.enter(BEN)
        expect(page.get_by_role("link", name="All people")).to_have_count(0)
        mine.go("/manage/people")
        expect(page.get_by_role("heading", level=1)).to_have_text("For administrators")
