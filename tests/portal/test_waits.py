"""A click that waits to be taken up, and one that was refused: what the page says of either."""

from __future__ import annotations

from datetime import timedelta

import pytest
from kit.hub import ANA, BEN, MIA, Hub, plain

from shared.domain.people.events import Left
from shared.domain.record.record import Power
from shared.domain.things.identity import user_key_for

SMALL = "single-node"
WAITS = "Requested at 08:08 UTC (now) :"


@pytest.fixture
def ana(two: Hub) -> Hub:
    """Nobody hears of a click before a tick."""
    two.loses_wake_ups = True
    return two


def test_a_click_on_the_notebook_waits_in_its_part_and_the_part_looks_again(ana: Hub) -> None:
    browser = ana.browser(ANA)
    assert browser.post("/notebook/stop").headers["Location"] == "/?said=stop#notebook"
    part = browser.text("/parts/notebook")
    assert f"{WAITS} Stop the notebook." in plain(part)
    assert "every 3s" in part
    assert "Requested at" not in browser.text("/parts/spark")
    assert '<noscript><meta http-equiv="refresh"' in browser.text("/")
    assert ana.record().spec.power is Power.RUNNING
    ana.life().minutes(1)
    assert "Requested at" not in browser.text("/")
    assert ana.record().spec.power is Power.STOPPED


def test_a_click_on_spark_waits_in_its_part(ana: Hub) -> None:
    browser = ana.browser(ANA)
    browser.post(f"/spark/{SMALL}/start")
    part = browser.text("/parts/spark")
    assert f"{WAITS} Start the Spark environment {SMALL}." in plain(part)
    assert "every 3s" in part
    assert "Requested at" not in browser.text("/parts/notebook")
    assert [each["text"] for each in browser.get("/api/me").json["waiting"]] == [f"Start the Spark environment {SMALL}"]


def test_the_script_gets_the_part_with_the_wish_that_waits(ana: Hub) -> None:
    answer = ana.browser(ANA).post("/notebook/stop", headers={"HX-Request": "true"})
    assert f"{WAITS} Stop the notebook." in plain(answer.get_data(as_text=True))


def test_a_second_click_before_the_first_was_taken_up_is_one_too_many(ana: Hub) -> None:
    browser = ana.browser(ANA)
    places = [browser.post("/notebook/stop").headers["Location"] for _ in range(2)]
    assert places == ["/?said=stop#notebook", "/?said=already#notebook"]
    assert ana.woken == [user_key_for(ANA)]


@pytest.mark.parametrize("moment", range(8))
@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/parts/notebook", "Your notebook is stopping"),
        (f"/manage/people/{user_key_for(ANA)}?tab=history", "Stop the notebook"),
    ],
)
def test_a_click_that_is_taken_up_while_the_page_is_made_is_in_the_record_or_waits(
    ana: Hub, moment: int, path: str, says: str
) -> None:
    """Else the page would show a notebook that runs, and look for no news."""
    reader = ana.browser(ANA if path.startswith("/parts") else MIA)
    reader.get(path)
    ana.browser(ANA).post("/notebook/stop")
    ana.taken_up_at(moment, user_key_for(ANA))
    text = reader.text(path)
    ana.bench.adapter.around = lambda: None
    assert says in text


def test_nobody_sees_what_another_asked_for(ana: Hub) -> None:
    ana.browser(ANA).post("/notebook/stop")
    assert "Requested at" not in ana.browser(BEN).text("/")


def test_the_manager_sees_what_waits_for_a_person(ana: Hub) -> None:
    ana.browser(ANA).post("/notebook/stop")
    page = f"/manage/people/{user_key_for(ANA)}"
    ana.browser(MIA).post(f"{page}/acts/hold", reason="case 1")
    text = plain(ana.browser(MIA).text(page))
    assert "Requested 08:08 UTC (now), not started yet: Stop the notebook." in text
    assert "not started yet: Put on hold." in text


def test_what_could_not_be_followed_says_why_for_an_hour(ana: Hub) -> None:
    browser = ana.browser(ANA)
    browser.post("/notebook/keep-on", until="1h")
    ana.bench.advance(hours=2)
    ana.take_up(user_key_for(ANA))
    text = plain(browser.text("/"))
    assert "Your last click was refused. That time has passed. Choose a later one." in text
    ana.bench.advance(seconds=timedelta(hours=1).total_seconds() + 1)
    assert "could not be followed" not in browser.text("/")


def test_a_newer_click_takes_the_refusals_place(ana: Hub) -> None:
    browser = ana.browser(ANA)
    browser.post("/notebook/keep-on", until="1h")
    ana.bench.advance(hours=2)
    ana.take_up(user_key_for(ANA))
    browser.post("/notebook/stop")
    ana.take_up(user_key_for(ANA))
    assert "could not be followed" not in browser.text("/")


def test_a_page_without_what_waits_is_still_a_page(ana: Hub) -> None:
    ana.browser(ANA).post("/notebook/stop")
    denied = {"code": "PERMISSION_DENIED", "message": "no"}
    ana.bench.fault(call="storage.objects.list", resource=f"{ana.bench.settings.inbox_bucket}*", error=denied)
    answer = ana.browser(ANA).get("/")
    assert answer.status_code == 200
    assert ana.lines()[-1]["reason"] == "AccessDenied"


def test_a_wish_of_who_left_meanwhile_gives_nothing_back(ana: Hub) -> None:
    ana.browser(ANA).post("/notebook/stop")
    ana.browser(ANA).post("/notebook/start")
    life = ana.life()
    life.serial = 50
    life.tell(Left)
    ana.take_up(user_key_for(ANA))
    assert ana.record().spec.power is Power.STOPPED
    assert ana.browser(ANA).get("/").status_code == 403
