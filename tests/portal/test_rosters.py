"""The page of the rosters: what was found, why a list is not used, and the same as CSV and JSON."""

from __future__ import annotations

import csv
import io

import pytest
from kit.hub import ANA, MIA, NOBODY, hub_settings, make_hub, plain

from shared.domain.fleet.roster import RosterKind
from shared.domain.things.errors import CloudUnavailableError
from shared.engine.sweeps.sweeps import sweep

FILE = "rosters/hr.csv"


@pytest.fixture
def hub():
    made = make_hub(hub_settings(roster_employees=True))
    made.make_admin()
    made.swept()
    return made


def drop(hub, text: str) -> None:
    hub.bench.advance(minutes=1)
    bucket = hub.bench.clients.bucket(hub.bench.settings.inbox_bucket)
    bucket.write(FILE, text.encode(), what="drop")
    sweep("roster", hub.bench.deps)


def test_before_the_first_file_it_says_what_to_do(hub):
    text = plain(hub.browser(MIA).text("/manage/rosters"))
    assert "No file yet." in text
    assert "benchkeeper roster check FILE" in text


def test_without_a_roster_it_says_how_to_switch_one_on():
    hub = make_hub(hub_settings(roster_employees=False))
    hub.make_admin()
    assert "No roster is switched on" in plain(hub.browser(MIA).text("/manage/rosters"))


def test_what_was_found_is_a_table_a_csv_and_a_json(hub):
    drop(hub, f"user\n{ANA}\n#rows,1\n")
    browser = hub.browser(MIA)
    text = plain(browser.text("/manage/rosters"))
    assert "works here" in text
    assert "found, and stated" in text
    (row,) = csv.DictReader(io.StringIO(browser.text("/manage/rosters.csv")))
    assert (row["roster"], row["stated"], row["outcome"]) == (
        "employees",
        "'+employment",
        "stated",
    )  # no formula for a spreadsheet
    (same,) = browser.get("/manage/rosters.json").json["rows"]
    assert same["user"] == row["user"]


def test_a_faulty_file_names_its_lines_on_the_page_and_on_the_overview(hub):
    hub.swept()
    drop(hub, "user\n<b>nobody</b>\n#rows,1\n")
    page = hub.browser(MIA).text("/manage/rosters")
    assert "line 2:" in plain(page)
    assert "<b>nobody" not in page
    overview = hub.browser(MIA).text("/manage")
    assert "HR&#39;s list of employees: the last list is not used" in overview


def test_a_list_that_shrank_says_how_it_is_allowed(hub):
    people = [f"p{number}@example.com" for number in range(20)]
    drop(hub, "\n".join(["user", *people, "#rows,20", ""]))
    drop(hub, "\n".join(["user", *people[:10], "#rows,10", ""]))
    assert "benchkeeper roster allow employees --people 10" in plain(hub.browser(MIA).text("/manage/rosters"))


def test_what_cannot_be_read_leaves_the_overview_whole(hub, monkeypatch):
    hub.swept()

    def down(kind: RosterKind) -> None:
        raise CloudUnavailableError(user_message="Cloud Storage does not answer.", detail="503")

    monkeypatch.setattr(hub.deps.engine.rosters.report.__self__, "report", down)
    assert "The rosters could not be read just now" in plain(hub.browser(MIA).text("/manage"))


def test_it_is_for_administrators(hub):
    for path in ("/manage/rosters", "/manage/rosters.csv", "/manage/rosters.json"):
        assert hub.browser(NOBODY).get(path).status_code == 403
