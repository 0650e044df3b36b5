"""What the analyst's page says of money: the bill's word, an estimate that says it is one, or nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from kit.hub import ANA, BEN, MIA, Hub, hub_settings, make_hub, plain
from kit.life import Life

from shared.domain.fleet.fleet import Notes
from shared.domain.things.identity import user_key_for


def notes(hub: Hub, **more: Any) -> None:
    hub.bench.deps.fleet.write_notes(Notes(**{"taken_at": hub.bench.now, **more}))


def test_hours_by_price_are_called_an_estimate(two: Hub) -> None:
    two.bench.advance(hours=10)
    text = plain(two.browser(ANA).text("/"))
    hours = 10 + 8 / 60  # since Google took the order, eight minutes before
    assert f"About {hours * 0.18:.2f} EUR metered, by the configured prices" in text
    assert f"Notebook {hours:.1f} 0.18 EUR {hours * 0.18:.2f} EUR" in text


def test_a_bill_of_this_month_wins(two: Hub) -> None:
    at = two.bench.now - timedelta(hours=5)
    notes(two, costs={user_key_for(ANA): 1234.5}, costs_month="2026-11", costs_at=at)
    text = plain(two.browser(ANA).text("/"))
    assert "1,234.50 EUR billed up to 03:08 UTC (5 h ago)" in text
    assert "metered, by the configured prices" not in text
    assert "None of your costs are on this month's bill yet." in plain(two.browser(BEN).text("/")).replace("&#39;", "'")


def test_a_bill_of_another_month_does_not(two: Hub) -> None:
    notes(two, costs={user_key_for(ANA): 1234.5}, costs_month="2026-10", costs_at=two.bench.now)
    assert "1,234.50" not in two.browser(ANA).text("/")


def test_without_a_price_nothing_is_invented() -> None:
    hub = make_hub(hub_settings({"analyst": {"hourly_cost": None}}))
    hub.joined()
    hub.bench.advance(hours=3)
    text = plain(hub.browser(ANA).text("/"))
    assert "No price is configured so only hours are shown" in text
    assert "not set" in text
    assert hub.browser(ANA).get("/api/me").json["cost"]["estimate"] is None


def test_nothing_has_run_yet(hub: Hub) -> None:
    hub.joined(minutes=0)
    assert "Nothing has run this month" in hub.browser(ANA).text("/")


def test_a_bill_that_cannot_be_read_takes_nothing_else_from_the_page(two: Hub) -> None:
    notes(two, costs={}, costs_month="2026-11")
    two.bench.fault(call="storage.objects.get", resource="*/index/notes*", error={"code": "UNAVAILABLE"}, times=0)
    answer = two.browser(ANA).get("/")
    assert answer.status_code == 200
    assert "The bill could not be read just now." in answer.get_data(as_text=True)
    assert two.lines()[-1]["reason"] == "CloudUnavailable"


def test_thirteen_months_of_ones_own() -> None:
    hub = make_hub()
    Life(hub.bench, ANA).join(profile="analyst")
    hub.bench.advance(days=10)  # into December
    hub.swept()
    ana = hub.browser(ANA)
    assert 'href="/costs"' in ana.text("/")
    text = " ".join(plain(ana.text("/costs")).split())
    assert text.index("December 2026") < text.index("November 2026")
    assert "Not metered before November 2026." in text
    by_manager = " ".join(plain(hub.browser(MIA).text(f"/manage/people/{user_key_for(ANA)}?tab=costs")).split())
    start, end = "Month Cost Notebook hours", "Not metered before"
    assert text[text.index(start) : text.index(end)] in by_manager
    german = " ".join(plain(ana.get("/costs", Accept_Language="de").get_data(as_text=True)).split())
    assert "Dezember 2026" in german
    assert hub.browser(BEN).get("/costs").status_code == 403


def test_months_that_cannot_be_read_are_not_shown_as_nothing(two: Hub) -> None:
    two.bench.fault(call="storage.objects.get", resource="*index/costs*", error={"code": "UNAVAILABLE"}, times=0)
    text = plain(two.browser(ANA).text("/costs"))
    assert "Earlier months could not be read just now." in text
    assert two.lines()[-1]["reason"] == "CloudUnavailable"
