"""The reader's clock and words, as pure functions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from portal.notebook_view import keep_choices
from portal.pages import money, price
from portal.reader import duration_text, moment_text, relative_text, zone_named, zone_of
from shared.engine.views.person import url_of

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("moment", "zone", "text"),
    [
        (NOW, None, "08:00 UTC"),
        (NOW, BERLIN, "09:00"),
        (NOW + timedelta(days=1), BERLIN, "tomorrow 09:00"),
        (NOW + timedelta(hours=15), None, "23:00 UTC"),
        (NOW + timedelta(hours=15), BERLIN, "tomorrow 00:00"),
        (NOW - timedelta(hours=10), BERLIN, "yesterday 23:00"),
        (NOW + timedelta(days=5), BERLIN, "Sat 28 Nov 09:00"),
        (NOW - timedelta(days=365), None, "Sun 23 Nov 2025 08:00 UTC"),
    ],
)
def test_a_moment_on_the_readers_clock(moment: datetime, zone: ZoneInfo | None, text: str) -> None:
    assert moment_text(moment, NOW, zone) == text


@pytest.mark.parametrize(
    ("apart", "text"),
    [
        (timedelta(0), "now"), (timedelta(seconds=59), "now"), (timedelta(minutes=2), "in 2 min"),
        (timedelta(hours=2, minutes=10), "in 2 h 10 min"), (-timedelta(minutes=5, seconds=50), "5 min ago"),
        (timedelta(days=3, hours=4, minutes=50), "in 3 d 4 h"), (-timedelta(days=2), "2 d ago"),
    ],
)  # fmt: skip
def test_how_far_it_is(apart: timedelta, text: str) -> None:
    assert relative_text(NOW + apart, NOW) == text


def test_durations_have_two_units_at_most() -> None:
    lengths = [
        timedelta(seconds=30),
        timedelta(minutes=45),
        timedelta(hours=3),
        timedelta(hours=3, minutes=1),
        timedelta(days=1),
    ]
    assert [duration_text(length) for length in lengths] == ["30 s", "45 min", "3 h", "3 h 1 min", "1 d"]


def test_a_zone_in_a_cookie_may_be_escaped() -> None:
    assert zone_of({"tz": "America%2FArgentina%2FBuenos_Aires"}) == ZoneInfo("America/Argentina/Buenos_Aires")
    assert zone_of({}) is None
    assert zone_named("posixrules/../../x") is None


@pytest.mark.parametrize(
    ("given", "opened"),
    [
        ("", ""),
        (
            "abc-dot-europe-west1.notebooks.googleusercontent.com",
            "https://abc-dot-europe-west1.notebooks.googleusercontent.com",
        ),
        ("abc.notebooks.localhost:8902", "http://abc.notebooks.localhost:8902"),
        ("http://abc.dataproc.localhost:8902/lab/", "http://abc.dataproc.localhost:8902/lab/"),
        ("https://abc.dataproc.googleusercontent.com/lab/?x=1", "https://abc.dataproc.googleusercontent.com/lab/?x=1"),
        ("http://abc.dataproc.googleusercontent.com/", ""),
        ("notlocalhost", "https://notlocalhost"),
        ("http://localhost.evil.example.com/", ""),
        ("javascript:alert(1)", ""),
        ("ftp://x.localhost/", ""),
        ("https://", ""),
    ],
)
def test_an_address_is_opened_with_tls_but_on_this_machine(given: str, opened: str) -> None:
    assert url_of(given) == opened


def test_choices_are_sorted_and_within_the_longest() -> None:
    for hour in range(24):
        now = NOW.replace(hour=hour)
        for longest in (timedelta(minutes=20), timedelta(hours=1), timedelta(hours=12), timedelta(days=3)):
            found = keep_choices(longest, now, BERLIN)
            untils = [choice.until for choice in found]
            assert untils == sorted(untils)
            assert now < untils[0]
            assert untils[-1] == now + longest
            assert found[-1].code == "max"
            assert len({choice.code for choice in found}) == len(found)


def test_money_has_two_digits_and_small_prices_those_that_matter() -> None:
    assert (money(1234.5, "EUR"), money(0.001, "USD"), price(0.045, "EUR"), price(0.18, "EUR"), price(0, "EUR")) == (
        "1,234.50 EUR", "0.00 USD", "0.045 EUR", "0.18 EUR", "0.00 EUR",
    )  # fmt: skip
