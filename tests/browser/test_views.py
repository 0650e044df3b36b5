"""Every view, light and dark, wide and on a small phone, with the longest names and other scripts: nobody is kept out, nothing sticks out."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
import yaml
from kit.browser import ENGINEERS, MIA, barriers, headline, living_in, sideways, spark_card, unfold, window
from playwright.sync_api import Page, expect

from portal.app import CHANGES_AT_ONCE
from shared.domain.things.identity import parse_email, user_key_for
from tests.e2e.local_run import ROOT, news, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kit.browser import House, Window
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(290)]
WIDE, PHONE = 1280, 360
GERMAN = "donaudampfschifffahrtsgesellschaftskapitaen.mueller@rechtsschutzversicherungsgesellschaften.example.com"
PORTUGUESE = "joão.gonçalves-magalhães@example.com"
ARABIC = "محمد.الفارسي@example.com"
NAMES = {
    "single-node": ("بيئة سبارك صغيرة للتجارب", "جهاز واحد مع سبارك وجوبيتر لاب، للتجارب وللجداول الصغيرة."),
    "personal-auth-cluster": (
        "Rindfleischetikettierungsüberwachungsaufgabenübertragungsges",
        "Für Grundstücksverkehrsgenehmigungszuständigkeitsübertragungsverordnungen und anderes, das sehr lange Namen trägt.",
    ),
    "large-cluster": (
        "Ambiente para análises anticonstitucionalissimamente grandes",
        "Sete máquinas com muita memória, para junções de terabytes. Exclua-o quando não precisar mais dele.",
    ),
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with living_in(environment={"BENCHKEEPER_CONFIG_DIR": str(named(tmp_path_factory.mktemp("names")))}) as made:
        people = [{"email": email, "name": name, "note": NAMES["large-cluster"][0]} for email, name in (
            (GERMAN, "Kapitän Müller-Lüdenscheidt " * 3), (PORTUGUESE, "João Gonçalves"), (ARABIC, "محمد الفارسي"),
        )]  # fmt: skip
        made.local.control("POST", "people", {"people": people})
        yield made


def named(folder: Path) -> Path:
    """The configuration with names that are hard to fit."""
    made = folder / "config"
    shutil.copytree(ROOT / "config", made)
    for file, change in (("profiles.yaml", _named_profiles), ("settings.local.yaml", _named_settings)):
        content = yaml.safe_load((made / file).read_text(encoding="utf-8"))
        change(content)
        (made / file).write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return made


def _named_profiles(content: dict) -> None:
    for template, (title, description) in NAMES.items():
        content["environments"][template] |= {"title": title, "description": description}
    content["profiles"]["engineer"]["title"] = "Bundesdatenverarbeitungsinfrastrukturbeauftragte und -helfer"


def _named_settings(content: dict) -> None:
    content["people"]["domains"].append(GERMAN.rpartition("@")[2])
    content["hub"]["contact"] = (
        "فريق منصة البيانات, Datenplattformbetriebsverantwortungsgemeinschaft (data-platform@example.com)"
    )


@dataclass
class Views:
    """What is wrong with which view of one window."""

    page: Page
    names: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)

    def look(self, name: str) -> None:
        """At the view as it is: wide and light, on a phone and dark."""
        self.names.append(name)
        for width, scheme in (WIDE, "light"), (PHONE, "dark"):
            over = sideways(self.page, width)
            if over > 0:
                self.found.append(f"{name}: {over} px too wide at {width}")
            self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            self.found += [f"{name}, {scheme}, {width} px: {each}" for each in barriers(self.page)]


@pytest.fixture
def mine(house: House, chromium: Browser) -> Iterator[Window]:
    with window(chromium, house) as made:
        made.refused |= {400, 403, 404, 409, 429, 500, 503}
        yield made


def enter(mine: Window, email: str) -> Page:
    """By the button of the page: a field for addresses takes no letters of other scripts in a browser."""
    mine.people.append(email)
    page = mine.go("/")
    page.get_by_role("button").filter(has_text=email).click()
    mine.settled()
    return page


def test_signing_in_and_what_is_not_there(house: House, mine: Window) -> None:
    page = mine.go("/")
    views = Views(page)
    views.look("sign-in")
    page.get_by_label("E-mail address").fill("nobody@nowhere")
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("alert").wait_for()
    views.look("no address")
    mine.enter("nora.none@example.com", heading="You do not have a notebook yet")
    views.look("nobody known")
    mine.go("/_sign_in")
    views.look("signed in already")
    mine.go("/nothing/here")
    views.look("404")
    mine.go("/manage")
    views.look("for administrators")
    denied = {"code": "PERMISSION_DENIED", "message": "no"}
    house.local.control("POST", "faults", {"call": "storage.objects.get", "resource": "*/records/*", "error": denied})
    mine.go("/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Something went wrong")
    views.look("500")
    until(lambda: asks_too_much(mine), seconds=60, what="it is too much", every=0.01)
    views.look("429")
    assert views.found == []


def asks_too_much(mine: Window) -> bool:
    """True once the page says so: one change a second is given back, so a slow machine needs more than one round."""
    page = mine.go("/")
    for _ in range(2 * CHANGES_AT_ONCE):
        if page.context.request.post(f"{mine.house.front}/preferences/time-zone").status == 429:
            break
    unfold(page, "corner")
    page.get_by_role("button", name="Set").click()
    return page.get_by_role("heading", level=1).inner_text() == "One moment"


def test_the_notebook_in_every_state(house: House, mine: Window) -> None:
    house.join(GERMAN, group=ENGINEERS)
    page = enter(mine, GERMAN)
    views = Views(page)
    expect(headline(page)).to_have_text("On its way")
    views.look("on its way")
    with house.time_passes():
        expect(headline(page)).to_contain_text("Running")
    views.look("running")
    unfold(page, "more")
    views.look("menu")
    page.get_by_role("button", name="Extend", exact=True).click()
    expect(page.get_by_role("button", name="Resume the normal idle shutdown")).to_be_visible()
    views.look("kept on")
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(headline(page)).to_contain_text("Stopping")
    views.look("stopping")
    with house.time_passes():
        expect(headline(page)).to_contain_text("Stopped")
    views.look("stopped")
    house.local.control("POST", "faults", {"call": "notebooks.StartInstance", "times": 1, "operation_error": {
        "code": "RESOURCE_EXHAUSTED", "message": "Quota 'CPUS' exceeded. Limit: 24.0 in region europe-west1."}})  # fmt: skip
    page.locator("#start-notebook").click()
    expect(headline(page)).to_contain_text("Starting")
    views.look("starting")
    with house.time_passes():
        expect(page.locator("#notebook .state")).to_have_text("Delayed")
    views.look("no quota")
    house.local.publish(news("leaver", GERMAN))
    until(lambda: house.record(GERMAN)["spec"]["presence"] == "ABSENT", seconds=60, what="the news has come")
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your access has ended")
    views.look("access has ended")
    assert views.found == []


def test_spark_in_every_state(house: House, mine: Window) -> None:
    house.at_work(PORTUGUESE)
    page = enter(mine, PORTUGUESE)
    views = Views(page)
    card = spark_card(page, NAMES["single-node"][0])
    views.look("nothing runs")
    card.get_by_role("button", name="Start").click()
    expect(card.get_by_role("progressbar")).to_be_visible()
    views.look("it comes")
    spark_card(page, NAMES["personal-auth-cluster"][0]).get_by_role("button", name="Start").click()
    expect(page.get_by_role("alert")).to_contain_text("That is not possible now.")
    views.look("one more is refused")
    with house.time_passes():
        expect(card.locator(".state")).to_have_text("Running")
    card.get_by_text("Data that code on the cluster can read").click()
    card.get_by_role("button", name="Delete …").click()
    views.look("it runs, with everything open")
    card.get_by_role("button", name="Delete it now").click()
    expect(card.locator(".state")).to_have_text("Deleting")
    views.look("it goes")
    with house.time_passes():
        expect(card.locator(".state")).to_have_text("Not running")
    house.local.control("POST", "faults", {"call": "dataproc.CreateCluster", "times": 1, "operation_error": {
        "code": "INVALID_ARGUMENT", "message": "Initialization action failed. " + "gs://bucket/" + "verylongname" * 8}})  # fmt: skip
    card.get_by_role("button", name="Start").click()
    with house.time_passes():
        expect(card).to_contain_text("The last cluster ended.")
    views.look("it failed")
    assert views.found == []


def test_every_view_of_the_manager(house: House, mine: Window) -> None:
    house.local.http.delete(f"{house.local.url}/storage/v1/b/benchkeeper-local/o/index%2Ffleet.json.gz", timeout=30)
    page = mine.enter(MIA, "/manage/people", heading="Not available just now")
    views = Views(page)
    views.look("no list yet")
    house.at_work(ARABIC)
    centre = {"cost_center": "Kostenstellenverantwortungsbereichsleitung-4711", "groups": [ENGINEERS]}
    house.join("späte.ankunft@example.com", attributes=centre)
    key = user_key_for(parse_email(ARABIC))
    held = house.local.benchkeeper("hold", ARABIC, "--reason", "تدقيق 2026-17 Rindfleischetikettierungsüberwachung")
    assert held.returncode == 0, held.stderr
    for sweep in ("drift", "idle"):
        assert house.local.benchkeeper("sweep", sweep).returncode == 0
    house.local.publish({"schema": "workbench.lifecycle/v1", "event_id": "bad", "type": "joiner"})
    until(lambda: "1 message" in mine.go("/manage").get_by_role("main").inner_text(), seconds=60, what="a dead letter")
    views.look("overview")
    for path in ("people", "people?q=nobody", "people?needs=any", "attention", "messages", "costs"):
        mine.go(f"/manage/{path}")
        expect(page.locator("main h1")).to_be_visible()
        views.look(path)
    for path in (
        "",
        "?tab=access",
        "?tab=technical",
        "?kind=call",
        *(f"/acts/{act}" for act in ("start", "stop", "hold", "release", "reconcile")),
    ):
        mine.go(f"/manage/people/{key}{path}")
        expect(page.locator("main h1")).to_be_visible()
        views.look(f"person{path}")
    mine.go(f"/manage/people/{key}/acts/hold")
    page.get_by_label("Reason").fill("ask ana.silva@example.com")
    page.get_by_role("button", name="Put on hold").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("That is not possible now")
    views.look("refused")
    mine.go("/manage/people/nobody-123456789abc")
    views.look("person that is not there")
    assert views.found == []
