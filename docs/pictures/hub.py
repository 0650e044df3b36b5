"""The script that makes docs/pictures/hub-*.png: screenshots of the hub page in Chromium, while the whole system runs on this machine.

Chromium must be installed (Debian: apt-get install chromium). Run it from the project's root: .venv/bin/python
docs/pictures/hub.py
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from kit.browser import (  # noqa: E402 - the path comes first
    ANALYSTS,
    CHROMIUM,
    ENGINEERS,
    MIA,
    PATIENCE_S,
    House,
    headline,
    living_in,
    spark_card,
    started_chromium,
    window,
)
from playwright.sync_api import Browser, Page, expect  # noqa: E402

from tests.e2e.local_run import until  # noqa: E402

FOLDER = Path(__file__).parent
ANA = "ana.silva@example.com"
HOURS, AN_HOUR = 8, 6
NAMES = ("ben.okafor", "chi.lee", "eva.maler", "fay.keys", "gil.serra", "hana.sato", "ivo.horvat", "jana.kral")
PEOPLE = [f"{name}{number or ''}@example.com" for number in range(HOURS * AN_HOUR // len(NAMES)) for name in NAMES]
NO_QUOTA = {
    "call": "notebooks.CreateInstance",
    "times": 2,
    "error": {"code": "RESOURCE_EXHAUSTED", "message": "Quota 'CPUS' exceeded. Limit: 24.0 in region europe-west1."},
}
MOST_BYTES = 150_000
WIDE, PHONE = {"width": 1000, "height": 800}, {"width": 390, "height": 800}


def main() -> None:
    """Make the pictures of an analyst's page, of the same page on a phone, and of the manager's page."""
    if CHROMIUM is None:
        raise SystemExit("Chromium is not installed: apt-get install chromium")
    with living_in() as house, started_chromium() as chromium:
        house.at_work(ANA)
        analyst(house, chromium)
        manager(house, chromium)


def analyst(house: House, chromium: Browser) -> None:
    """Make two pictures of a running notebook: with a Spark environment that starts, and on a phone with one that runs."""
    with window(chromium, house, **look(WIDE, "light")) as mine:
        page = mine.enter(ANA)
        house.later(minutes=95)
        spark_card(page, "Small Spark").get_by_role("button", name="Start").click()
        expect(spark_card(page, "Small Spark").get_by_role("progressbar")).to_be_visible()
        expect(headline(page)).to_contain_text("Running")
        picture(page, "hub-analyst", up_to="#spark")
    with house.time_passes(), window(chromium, house, **look(PHONE, "light")) as mine:
        page = mine.enter(ANA)
        expect(spark_card(page, "Small Spark").locator(".state")).to_have_text("Running")
        picture(page, "hub-phone", height=PHONE["height"])


def manager(house: House, chromium: Browser) -> None:
    """Make the picture of the manager's page in dark colours, after a simulated working day with joiners, idle stops and a used-up quota."""
    for hour in range(HOURS):
        here = PEOPLE[hour * AN_HOUR : (hour + 1) * AN_HOUR]
        for number, email in enumerate(here):
            groups = [ENGINEERS if number % 3 == 0 else ANALYSTS]
            house.join(email, attributes={"groups": groups, "cost_center": f"CC-{4400 + number}"})
        if hour == HOURS - 1:
            house.local.control("POST", "faults", NO_QUOTA)
        with house.time_passes(speed=600):
            until(lambda here=here: all(map(house.reasons, here)), seconds=PATIENCE_S, what="they are known")  # type: ignore[misc]
            until_later(house, minutes=60)
    held = house.local.benchkeeper("hold", PEOPLE[0], "--reason", "case 4711")
    swept = house.local.benchkeeper("sweep", "idle")
    if held.returncode or swept.returncode:
        raise SystemExit(held.stderr + swept.stderr)
    with window(chromium, house, **look(WIDE, "dark")) as mine:
        page = mine.enter(MIA, "/manage", heading="Today")
        picture(page, "hub-manager", up_to="main")


def until_later(house: House, *, minutes: float) -> None:
    """Wait until the embedded cloud's clock has advanced by so many minutes."""
    begun = now(house)
    wanted = timedelta(minutes=minutes)
    until(lambda: now(house) - begun >= wanted, seconds=PATIENCE_S, what="an hour is over", every=0.5)


def now(house: House) -> datetime:
    """Return the time of the embedded cloud's clock."""
    return datetime.fromisoformat(house.local.control("GET", "clock")["now"])


def look(size: dict[str, int], scheme: str) -> dict[str, Any]:
    """Return the options of a window for a picture."""
    return {"viewport": size, "color_scheme": scheme, "timezone_id": "Europe/Berlin"}


def picture(page: Page, name: str, *, up_to: str = "", height: int = 0) -> None:
    """Write a picture from the page's top to the end of the element `up_to`, or with this height in pixels."""
    page.reload()  # in the reader's time zone, with every image there, and no button touched
    if up_to:
        box = page.locator(up_to).bounding_box()
        height = round(box["y"] + box["height"]) + 16 if box is not None else height
    width = page.viewport_size["width"] if page.viewport_size is not None else 0
    target = FOLDER / f"{name}.png"
    page.screenshot(path=target, full_page=True, clip={"x": 0, "y": 0, "width": width, "height": height})
    size = target.stat().st_size
    if size > MOST_BYTES:
        raise SystemExit(f"{target.name} has {size:,} bytes, more than {MOST_BYTES:,}")
    sys.stdout.write(f"wrote {target.relative_to(ROOT)}, {size:,} bytes\n")


if __name__ == "__main__":
    main()
