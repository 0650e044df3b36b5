"""From the sign-in to a cell that ran, and back to the files after a stop: a real JupyterLab behind the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from kit.browser import headline, living_in, spark_card, window
from playwright.sync_api import Page, expect

from tests.emulator.jupyter_kit import jupyter_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kit.browser import House
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.jupyter, pytest.mark.timeout(280)]
ANA = "ana.silva@example.com"
BEN = "ben.okafor@example.com"


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    jupyter_environment()
    with living_in("--with-jupyter") as made:
        yield made


def run_cell(lab: Page, code: str, printed: str) -> None:
    """A new notebook from the launcher, one cell, and what it prints."""
    lab.locator(".jp-LauncherCard[data-category=Notebook]").first.click()
    expect(lab.get_by_role("button", name="Python 3 (ipykernel) | Idle")).to_be_visible()  # sooner, it runs nothing
    cell = lab.locator(".jp-Notebook:visible .cm-content").first
    cell.click()
    lab.keyboard.insert_text(code)
    lab.keyboard.press("Shift+Enter")
    expect(lab.locator(".jp-Notebook:visible .jp-OutputArea-output").first).to_have_text(printed)


def test_from_the_sign_in_to_a_cell_and_back_to_the_file(house: House, chromium: Browser) -> None:
    house.join(ANA)
    with window(chromium, house) as mine:
        page = mine.enter(ANA)
        expect(headline(page)).to_have_text("On its way")
        expect(page.locator("#notebook .stages li").first).to_contain_text("You were given access")
        with house.time_passes():
            expect(headline(page)).to_contain_text("Running")
        lab = mine.opened(page.get_by_role("link", name="Open JupyterLab"))
        run_cell(lab, "print(6 * 7, open('kept.txt', 'w').write('still here'))", "42 10\n")
        lab.close()

        page.get_by_role("button", name="Stop", exact=True).click()
        expect(page.locator("#notebook .said")).to_contain_text("Stopping. Your files are kept.")
        with house.time_passes():
            expect(headline(page)).to_contain_text("Stopped")
        expect(page.locator("#notebook .why")).to_contain_text("Your files are kept.")
        expect(page.get_by_role("link", name="Open JupyterLab")).to_have_count(0)

        page.locator("#start-notebook").click()
        with house.time_passes():
            expect(headline(page)).to_contain_text("Running")
        lab = mine.opened(page.get_by_role("link", name="Open JupyterLab"))
        # JupyterLab would bring back the tab of a notebook that was never saved, and ask for its kernel: begin with the launcher.
        lab.goto(f"{lab.url.partition('/lab')[0]}/lab?reset")
        run_cell(lab, "print(open('kept.txt').read())", "still here\n")


def test_spark_starts_opens_is_used_again_and_goes(house: House, chromium: Browser) -> None:
    house.at_work(BEN)
    with window(chromium, house) as mine:
        page = mine.enter(BEN)
        card = spark_card(page, "Small Spark")
        card.get_by_role("button", name="Start").click()
        expect(card.get_by_role("progressbar")).to_be_visible()
        with house.time_passes():
            expect(card.locator(".state")).to_have_text("Running")
        link = card.get_by_role("link", name="Open JupyterLab")
        address = link.get_attribute("href")
        assert address == _gateway_address(house)
        lab = mine.opened(link)
        run_cell(lab, "print(6 * 7)", "42\n")
        lab.close()

        # It is there: a second page, opened later, offers the same one and no second start.
        page.reload()
        expect(card.get_by_role("link", name="Open JupyterLab")).to_have_attribute("href", str(address))
        expect(card.get_by_role("button", name="Start")).to_have_count(0)

        card.get_by_role("button", name="Delete …").click()
        expect(card).to_contain_text("Data on its disks is lost")
        assert _gateway_address(house) == address
        card.get_by_role("button", name="Delete it now").click()
        with house.time_passes():
            expect(card.locator(".state")).to_have_text("Not running")
        assert _clusters(house) == []


def _clusters(house: House) -> list[dict[str, object]]:
    path = "/v1/projects/benchkeeper-local/regions/europe-west1/clusters"
    return list(house.local.http.get(house.local.url + path, timeout=30).json().get("clusters", []))


def _gateway_address(house: House) -> str:
    """Where Dataproc says that JupyterLab is."""
    (cluster,) = _clusters(house)
    ports = cluster["config"]["endpointConfig"]["httpPorts"]  # type: ignore[index]
    return str(ports["JupyterLab"])
