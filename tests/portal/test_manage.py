"""The manager's pages about everybody: figures, the table of people, what needs a person, dead letters, costs, files of each."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import timedelta
from html.parser import HTMLParser
from urllib.parse import unquote_plus

import pytest
from kit.hub import ADMINS, ANA, BEN, MIA, NOBODY, Hub, ask, hub_settings, make_hub, path_of, plain
from kit.life import Life, limited
from kit.official import storage_bucket
from kit.wording import faults_of
from msgspec.structs import replace

from portal.manage import ROUTES
from portal.manage.base import PAGE_ROWS
from shared.domain.fleet.drift import Stray
from shared.domain.fleet.fleet import FleetPoint, FleetSnapshot, Notes
from shared.domain.fleet.idle_days import IdleDay
from shared.domain.fleet.roster import RosterKind
from shared.domain.intent.roles import Roles
from shared.domain.people.events import Joined
from shared.domain.record.record import RecordRow, row_of
from shared.domain.things.clusters import ClusterStatus
from shared.domain.things.identity import InstanceId, instance_id_for, parse_email, user_key_for
from shared.domain.things.limits import GroupLimits
from shared.domain.things.power import NOTEBOOK, Usage
from shared.domain.things.snapshots import Snapshot
from shared.engine.decisions.letters import letter_digest
from shared.engine.ports.inbox import DeadLetter, LetterRow
from shared.engine.ports.roster import ReportRow, RosterReport

GETS = [route for route in ROUTES if route.method == "GET"]
ELSEWHERE = (
    "dead-letters",
    "messages",
    "rosters",
    "manage/help",
    "/audit.",
    "/evidence.",
)  # read live, whatever the sweeps saw
OF_THE_FLEET = [
    r
    for r in GETS
    if "<" not in r.rule and not any(name in r.rule for name in ELSEWHERE) and not r.rule.endswith("/changes")
]


@pytest.fixture
def seen(hub: Hub) -> Hub:
    """Ana and Ben are on their way, and the sweeps have seen them."""
    hub.joined(ANA, minutes=0)
    hub.joined(BEN, minutes=0)
    hub.swept()
    return hub


def people(hub: Hub, *addresses: str, **more) -> list[RecordRow]:
    """Rows like Ana's."""
    like = replace(row_of(hub.record(ANA)), reason="Ready", usage={})
    return [
        replace(like, user_key=user_key_for(email), email=email, instance_id=instance_id_for(email), **more)
        for email in map(parse_email, addresses)
    ]


def show(hub: Hub, rows: list[RecordRow], **more) -> None:
    """Let this be what the sweeps see a minute later."""
    hub.bench.advance(minutes=1)
    hub.bench.deps.fleet.write_fleet(FleetSnapshot(taken_at=hub.bench.now, rows=tuple(rows), **more))


class Cells(HTMLParser):
    """The rows of the table of people, as texts; all headings with their order; all links."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.order: dict[str, str] = {}
        self.links: list[str] = []
        self._cell: list[str] | None = None
        self._sort = ""
        self._in_body = False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        names = dict(attrs)
        if tag == "a":
            self.links.append(names.get("href") or "")
        if tag == "tbody":
            self._in_body = True
        if tag == "tr" and self._in_body:
            self.rows.append([])
        if tag in {"td", "th"}:
            self._cell, self._sort = [], names.get("aria-sort") or ""

    def handle_endtag(self, tag):
        if tag == "tbody":
            self._in_body = False
        if tag in {"td", "th"} and self._cell is not None:
            text = " ".join("".join(self._cell).split())
            if self._in_body:
                self.rows[-1].append(text)
            elif self._sort:
                self.order[text.rstrip("▲▼")] = self._sort
            self._cell = None

    def handle_data(self, data):
        if self._cell is not None:
            self._cell.append(data)


def shown(hub: Hub, path: str) -> list[str]:
    """Whom the table shows, in its order."""
    answer = hub.browser(MIA).get(path)
    assert answer.status_code == 200
    return [row[0] for row in Cells(answer.get_data(as_text=True)).rows]


@pytest.mark.parametrize("route", OF_THE_FLEET, ids=lambda route: route.name)
def test_before_the_first_sweep_every_page_says_when_there_is_something(hub: Hub, route) -> None:
    answer = ask(hub.browser(MIA), route)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "60")
    assert "within ten minutes" in answer.get_data(as_text=True)
    if route.rule.endswith(".json"):
        assert answer.json["reason"] == "Unreadable"


@pytest.mark.parametrize("route", OF_THE_FLEET, ids=lambda route: route.name)
def test_a_list_that_cannot_be_read_is_no_empty_list(seen: Hub, route) -> None:
    for name in ("fleet", "fleet-about"):
        storage_bucket(seen.bench.clients).blob(f"index/{name}.json.gz").upload_from_string(b"damaged")
    answer = ask(seen.browser(MIA), route)
    assert answer.status_code == 503
    assert "damaged" in answer.get_data(as_text=True)


def test_the_overview_reads_no_list_of_people(seen: Hub) -> None:
    storage_bucket(seen.bench.clients).blob("index/fleet.json.gz").upload_from_string(b"damaged")
    assert seen.browser(MIA).get("/manage").status_code == 200


def test_after_an_upgrade_the_overview_is_counted_from_the_list(seen: Hub) -> None:
    said = plain(seen.browser(MIA).text("/manage"))
    storage_bucket(seen.bench.clients).blob("index/fleet-about.json.gz").delete()
    assert plain(seen.browser(MIA).text("/manage")) == said


def test_figures_lead_to_the_people_that_they_count(seen: Hub) -> None:
    rows = [
        *people(seen, "a@example.com", "b@example.com"),
        *people(seen, "c@example.com", reason="Stuck"),
        *people(seen, "d@example.com", reason="Stopped", profile="engineer", on_hold=True),
        *people(seen, "e@example.com", reason="Removed", profile=None),
    ]
    show(seen, rows, blind=frozenset({rows[0].user_key}))
    html = seen.browser(MIA).text("/manage")
    expected = {
        "/manage/people?view=running": 2,
        "/manage/people?needs=Stuck": 1,
        "/manage/people?needs=Blind": 1,
        "/manage/people?view=access": 5,
        "/manage/people": 5,
    }
    links = Cells(html).links
    for link, count in expected.items():
        assert link in links
        assert len(shown(seen, link)) == count, link


def test_the_page_says_of_when_it_is_and_when_that_is_too_long_ago(seen: Hub) -> None:
    seen.bench.advance(minutes=7)
    html = seen.browser(MIA).text("/manage")
    assert "7 min ago" in html
    assert "seem to have stopped" not in html
    seen.bench.advance(hours=2)
    assert "seem to have stopped" in seen.browser(MIA).text("/manage/people")


def test_pictures_have_words_and_figures_beside_them(seen: Hub) -> None:
    now = seen.bench.now
    points = tuple(
        FleetPoint(at=now - timedelta(hours=h), running=100 - h, resting=h, moving=1, attention=0)
        for h in range(50, 0, -1)
    )
    rows = people(seen, "a@example.com", ready_at=now, ready_took_s=240.0)
    rows += people(seen, "b@example.com", ready_at=now - timedelta(days=2), ready_took_s=600.0)
    show(seen, rows, points=points)
    days = seen.browser(MIA).text("/manage").partition("The last count of each day")[2].partition("</table>")[0]
    assert 'data-label="Need attention"' in days  # on a phone each day is a card with named figures
    html = seen.browser(MIA).text("/manage")
    assert html.count('<svg class="chart"') == 1
    assert "running from 50 to 99" in html
    assert "1 new notebook ready, median 4 min" in plain(html)
    assert "style=" not in html
    days = [row for row in Cells(html).rows if row and row[0].startswith("2026-11-2")]
    assert any(row[0] == "2026-11-22" and len(row) == 5 for row in days)


def test_one_point_is_no_picture_and_nobody_is_no_table(seen: Hub) -> None:
    show(seen, [])
    html = seen.browser(MIA).text("/manage")
    assert "No one has access yet." in html
    assert '<svg class="chart"' not in html
    assert "No one has access yet." in seen.browser(MIA).text("/manage/people")
    assert "Nothing needs attention." in seen.browser(MIA).text("/manage/attention")
    assert "Nothing has run this month" in seen.browser(MIA).text("/manage/costs")


class TestTable:
    """The table of people."""

    @pytest.fixture
    def many(self, seen: Hub) -> Hub:
        names = [f"person.{number:03}@example.com" for number in range(PAGE_ROWS * 2 + 7)]
        rows = people(seen, *names)
        rows = [
            replace(r, cost_center=f"CC-{n % 3}", profile="engineer" if n % 2 else "analyst")
            for n, r in enumerate(rows)
        ]
        show(seen, rows)
        return seen

    def test_pages_hold_everybody_once(self, many: Hub) -> None:
        pages = [shown(many, f"/manage/people?page={number}") for number in (1, 2, 3)]
        assert [len(page) for page in pages] == [PAGE_ROWS, PAGE_ROWS, 7]
        assert len({name for page in pages for name in page}) == PAGE_ROWS * 2 + 7
        assert shown(many, "/manage/people?page=99") == pages[2]
        assert shown(many, "/manage/people?page=-1") == shown(many, "/manage/people?page=x") == pages[0]

    def test_links_between_pages_keep_what_was_asked_for(self, many: Hub) -> None:
        links = Cells(many.browser(MIA).text("/manage/people?profile=analyst&sort=cost-center&order=down")).links
        assert "/manage/people?profile=analyst&sort=cost-center&order=down&page=2" in links
        assert "/manage/people.csv?profile=analyst&sort=cost-center&order=down" in links

    @pytest.mark.parametrize("column", ["access", "state", "used", "cost", "until"])
    def test_every_column_sorts_and_says_so(self, many: Hub, column: str) -> None:
        up, down = (
            Cells(many.browser(MIA).text(f"/manage/people?sort={column}{order}")).order for order in ("", "&order=down")
        )
        assert sorted(up.values()) == ["ascending", *["none"] * 5]
        assert [name for name, way in up.items() if way == "ascending"] == [
            name for name, way in down.items() if way == "descending"
        ]

    def test_a_second_click_on_a_heading_turns_it(self, many: Hub) -> None:
        first = Cells(many.browser(MIA).text("/manage/people?sort=state")).links
        assert "/manage/people?sort=state&order=down" in first
        assert (
            "/manage/people?sort=state" in Cells(many.browser(MIA).text("/manage/people?sort=state&order=down")).links
        )

    def test_ten_thousand_people_cost_two_calls(self, many: Hub) -> None:
        show(many, people(many, *(f"p{number}@example.com" for number in range(10_000))))
        browser = many.browser(MIA)
        browser.get("/manage/people")
        before = len(many.bench.calls())
        answer = browser.get("/manage/people?q=p99&sort=hours&order=down")
        assert answer.status_code == 200
        assert "111 of 10,000 people match" in answer.get_data(as_text=True)
        calls = many.bench.calls()[before:]
        assert [(call["service"], call["method"]) for call in calls] == [("storage", "objects.get")] * 2

    def test_what_is_asked_for_wrongly_still_shows_people(self, many: Hub) -> None:
        assert (
            len(shown(many, "/manage/people?sort=nonsense&order=sideways&standing=flying&presence=maybe")) == PAGE_ROWS
        )


class TestSearch:
    """No address of a person ever stands in the address of a page."""

    @pytest.mark.parametrize(
        ("typed", "asked"),
        [
            (ANA, user_key_for(ANA)),
            (f"  {ANA.upper()} ", user_key_for(ANA)),
            ("nobody.here@example.com", user_key_for(parse_email("nobody.here@example.com"))),
            ("silva@exam", "silva"),
            ("@example.com", "example.com"),
            ("@", ""),
            ("a@b@c", "a"),
            ("ana silva", "ana silva"),
            ("José\r\n  Gonçalves", "José Gonçalves"),
            ("x" * 500, "x" * 200),
        ],
    )
    def test_the_form_leads_to_an_address_without_one(self, seen: Hub, typed: str, asked: str) -> None:
        answer = seen.browser(MIA).post("/manage/people", q=typed, standing="running")
        assert answer.status_code == 303
        location = answer.headers["Location"]
        assert "@" not in location
        assert "%40" not in location
        assert answer.request.path == "/manage/people"
        query = dict(pair.split("=", 1) for pair in location.partition("?")[2].split("&"))
        assert unquote_plus(query.get("q", "")) == asked
        assert query["standing"] == "running"

    def test_a_whole_address_finds_its_person(self, seen: Hub) -> None:
        answer = seen.browser(MIA).post("/manage/people", q=ANA)
        assert shown(seen, answer.headers["Location"]) == [ANA]

    @pytest.mark.parametrize("typed", ["ñandu", "NANDU", "nandú", "o'neil", "ÑANDÚ.O"])
    def test_accents_and_case_are_not_told_apart(self, seen: Hub, typed: str) -> None:
        odd = "ñandú.o'neil+test@sub.example.co"
        show(seen, people(seen, odd, "zoe@example.com"))
        assert shown(seen, seen.browser(MIA).post("/manage/people", q=typed).headers["Location"]) == [odd]

    def test_who_was_renamed_is_found_by_the_address_of_today(self, seen: Hub) -> None:
        today = parse_email("ana.souza@example.com")
        show(seen, [replace(row_of(seen.record(ANA)), email=today)])
        answer = seen.browser(MIA).post("/manage/people", q=today)
        assert answer.headers["Location"] == f"/manage/people?q={user_key_for(ANA)}"
        assert shown(seen, answer.headers["Location"]) == [today]

    @pytest.mark.parametrize("name", ["q", "profile", "cost_center", "state", "needs"])
    def test_an_address_that_somebody_typed_into_the_bar_does_not_stay_there(self, seen: Hub, name: str) -> None:
        answer = seen.browser(MIA).get(f"/manage/people?{name}=ana.silva%40example.com")
        assert answer.status_code == 303
        assert "silva%40" not in answer.headers["Location"]
        assert "silva@" not in answer.headers["Location"]

    def test_who_is_in_no_list_yet_can_be_looked_at(self, seen: Hub) -> None:
        late = parse_email("late.comer@example.com")
        html = seen.browser(MIA).text(seen.browser(MIA).post("/manage/people", q=late).headers["Location"])
        assert f"/manage/people/{user_key_for(late)}" in Cells(html).links

    def test_neither_links_nor_the_log_hold_an_address(self, seen: Hub) -> None:
        show(seen, people(seen, *(f"p{n}@example.com" for n in range(120)), cost_center="boss@example.com"))
        browser = seen.browser(MIA)
        for route in GETS:
            html = browser.get(path_of(route))
            if html.content_type.startswith("text/html"):
                assert [link for link in Cells(html.get_data(as_text=True)).links if "@" in link or "%40" in link] == []
        assert "@" not in json.dumps(seen.lines())


class TestFiles:
    """Every table as CSV and JSON."""

    def test_a_file_has_the_rows_of_the_page_with_its_filters_and_order(self, seen: Hub) -> None:
        rows = people(seen, *(f"p{number:02}@example.com" for number in range(70)))
        show(seen, [replace(row, profile="engineer" if n % 2 else "analyst") for n, row in enumerate(rows)])
        asked = "?profile=engineer&sort=person&order=down"
        page = shown(seen, f"/manage/people{asked}")
        browser = seen.browser(MIA)
        answer = browser.get(f"/manage/people.csv{asked}")
        lines = list(csv.DictReader(io.StringIO(answer.get_data(as_text=True))))
        made = browser.get(f"/manage/people.json{asked}").json
        assert [line["address"] for line in lines] == [row["address"] for row in made["rows"]] == page
        assert len(page) == 35
        assert list(made["rows"][0]) == list(lines[0])
        assert answer.headers["Content-Disposition"].startswith('attachment; filename="benchkeeper-people-2026-11-23T')
        assert "T" in made["taken_at"]

    def test_no_cell_is_a_formula(self, seen: Hub) -> None:
        nasty = ['=HYPERLINK("http://evil","x")', "+1", "-1", "@SUM(A1)", "\tx", " =1+1"]
        rows = people(seen, *(f"n{number}@example.com" for number in range(len(nasty))))
        show(seen, [replace(row, cost_center=text, summary=text) for row, text in zip(rows, nasty, strict=True)])
        text = seen.browser(MIA).text("/manage/people.csv")
        lines = list(csv.DictReader(io.StringIO(text)))
        assert [line["cost_center"] for line in lines] == [f"'{cell}" for cell in nasty]
        made = json.loads(seen.browser(MIA).text("/manage/people.json"))
        assert [row["cost_center"] for row in made["rows"]] == nasty

    def test_files_are_sent_in_pieces(self, seen: Hub) -> None:
        show(seen, people(seen, *(f"p{number}@example.com" for number in range(900))))
        browser = seen.browser(MIA)
        for ending in ("csv", "json"):
            answer = browser.client.get(f"/manage/people.{ending}", headers=browser.headers)
            pieces = list(answer.response)
            answer.close()
            assert len(pieces) > 4
        assert len(json.loads(b"".join(pieces))["rows"]) == 900

    @pytest.mark.parametrize(
        "route", [r for r in GETS if r.rule.endswith(".json") and r.schema is not None], ids=lambda route: route.name
    )
    def test_json_is_as_described_also_when_empty(self, seen: Hub, route) -> None:
        jsonschema = pytest.importorskip("jsonschema")
        now = seen.bench.now
        full = people(
            seen, "a@example.com", ready_since=now, ready_at=now, ready_took_s=1.5, on_hold=True, summary="=x"
        )
        usage = {NOTEBOOK: Usage(month="2026-11", ran_s=7200)}
        point = FleetPoint(at=now, running=1, resting=0, moving=0, attention=0)
        stray = Stray(name="nb-x", zone="europe-west1-b", why="has no record")
        show(seen, [replace(full[0], usage=usage)], points=(point,), strays=(stray,))
        letter(seen, "1")
        shot = Snapshot(name="s", instance_id=InstanceId("nb-a"), zone="europe-west1-b", instance_uid="1", asked_at=now)
        found = ReportRow(user_key=full[0].user_key, stated=("+employment",), outcome="stated")
        report = RosterReport(kind="employees", read_at=now, people=1, rows=(found,))
        seen.bench.deps.rosters.write_report(RosterKind.EMPLOYEES, report)
        seen.edit(ANA, snapshots=(shot,), clusters=(ClusterStatus(template="single-node", name="c"),))
        rows = ask(seen.browser(MIA), route).json
        jsonschema.validate(rows, dict(route.schema))
        # She has access; there is no month before; no group is limited.
        nothing = {"manage.certificate_json", "manage.costs_changes_json", "manage.costs_limits_json"}
        assert rows["rows"] or route.name in nothing, route.name
        show(seen, [])
        jsonschema.validate(ask(seen.browser(MIA), route).json, dict(route.schema))


def letter(
    hub: Hub, letter_id: str, *, hours: float = 1, users=(), detail: str = "There is no such profile."
) -> LetterRow:
    now = hub.bench.now
    row = LetterRow(
        letter_id=letter_id,
        sent_at=now - timedelta(hours=hours),
        reason="UnknownProfile",
        detail=detail,
        function="lifecycle",
        users=tuple(users),
    )
    hub.bench.deps.dead_letters.store(
        DeadLetter(row=row, source="s", received_at=now, body=b"{}", size=2, attributes={})
    )
    return next(each for each in hub.bench.deps.dead_letters.rows() if each.letter_id == letter_id)


class TestDeadLetters:
    """Messages that could not be used."""

    def test_the_newest_first_with_whose_they_are_and_how_to_use_them(self, hub: Hub) -> None:
        older = letter(hub, "111", hours=5, detail="<script>alert(1)</script>")
        row = letter(hub, "222", hours=2, users=[user_key_for(ANA)])
        html = hub.browser(MIA).text("/manage/messages")
        assert html.index(letter_digest(row)) < html.index(letter_digest(older))  # the newest first
        assert f"/manage/messages/{letter_digest(row)}" in Cells(html).links
        assert f"/manage/people/{user_key_for(ANA)}" in Cells(html).links
        assert "<script>alert" not in html

    def test_those_that_were_used_are_under_all(self, hub: Hub) -> None:
        row = letter(hub, "111")
        hub.bench.deps.dead_letters.mark_replayed(row, hub.bench.now, "joined")
        assert "No message waits" in hub.browser(MIA).text("/manage/messages")
        assert "Replayed" in hub.browser(MIA).text("/manage/messages?show=all")
        assert hub.browser(MIA).get("/manage/messages.json").json["rows"] == []
        assert len(hub.browser(MIA).get("/manage/messages.json?show=all").json["rows"]) == 1

    def test_a_flood_is_bounded_and_the_newest_are_shown(self, seen: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("portal.manage.messages._MOST", 3)
        for number in range(5):
            letter(seen, f"old-{number}", hours=24 * 3)
        row = letter(seen, "new", hours=1)
        html = seen.browser(MIA).text("/manage/messages")
        assert f"/manage/messages/{letter_digest(row)}" in html
        assert html.count(">View<") == 1
        assert "in the last 1 d" in html

    def test_unreadable_letters_take_no_figures_away(self, seen: Hub) -> None:
        letter(seen, "111")
        error = {"code": "PERMISSION_DENIED", "message": "no"}
        seen.bench.fault(call="storage.objects.list", error=error)
        html = seen.browser(MIA).text("/manage")
        assert "Messages could not be read just now." in html
        assert "/manage/people?view=running" in html
        assert seen.lines()[-1]["reason"] == "AccessDenied"


class TestAttention:
    """What needs a person."""

    def test_reasons_people_strays_and_letters(self, seen: Hub) -> None:
        stuck = people(seen, "stuck@example.com", reason="Stuck", summary="It has been on the way for an hour.")
        held = people(seen, "held@example.com", on_hold=True)
        fine = people(seen, "fine@example.com")
        stray = Stray(name="nb-left-behind", zone="europe-west1-c", why="carries our labels and has no record")
        show(seen, [*stuck, *held, *fine], strays=(stray,))
        letter(seen, "111")
        html = seen.browser(MIA).text("/manage/attention")
        table = [row[0] for row in Cells(html).rows if len(row) == 4]
        assert table == ["stuck@example.com"]
        assert "nb-left-behind" in html
        assert "1 orphan: an instance or snapshot without an owner" in plain(seen.browser(MIA).text("/manage"))
        assert "1 notebooks delayed" in plain(seen.browser(MIA).text("/manage"))
        only = seen.browser(MIA).text("/manage/attention?why=Stuck")
        assert [row[0] for row in Cells(only).rows if len(row) == 4] == ["stuck@example.com"]
        made = seen.browser(MIA).get("/manage/attention.json").json["rows"]
        assert [(row["why"], row["address"] or row["name"]) for row in made] == [
            ("Stuck", "stuck@example.com"),
            ("Stray", "nb-left-behind"),
        ]

    def test_a_leaver_of_whom_nobody_knows_stands_there_with_whom_may_be_meant(self, seen: Hub) -> None:
        slip = people(seen, "ana.slva@example.com", unknown_since=seen.bench.now)
        known = people(seen, "ana.silva@example.com")
        far = people(seen, "who.knows@example.com", unknown_since=seen.bench.now)
        old = people(seen, "ana.sila@example.com", unknown_since=seen.bench.now - timedelta(days=31))
        show(seen, [*slip, *known, *far, *old])
        html = seen.browser(MIA).text("/manage/attention?why=UnknownLeaver")
        rows = {row[0]: row[3] for row in Cells(html).rows if len(row) == 4}
        assert set(rows) == {"ana.slva@example.com", "who.knows@example.com"}
        assert "ana.silva@example.com" in rows["ana.slva@example.com"]
        assert "No similar address is known" in rows["who.knows@example.com"]
        assert f"/manage/people/{known[0].user_key}" in html
        assert "benchkeeper acknowledge" in html
        made = seen.browser(MIA).get("/manage/attention.json").json["rows"]
        assert {row["address"]: row["nearest"] for row in made} == {
            "ana.slva@example.com": "ana.silva@example.com",
            "who.knows@example.com": None,
        }


class TestCosts:
    """What the month has cost."""

    def used(self, hub: Hub, address: str, hours: float, **more) -> RecordRow:
        return people(hub, address, usage={NOTEBOOK: Usage(month="2026-11", ran_s=int(hours * 3600))}, **more)[0]

    def test_an_estimate_says_that_it_is_one_and_what_has_no_price(self, seen: Hub) -> None:
        show(seen, [self.used(seen, "a@example.com", 10), self.used(seen, "b@example.com", 4, profile="lost")])
        html = seen.browser(MIA).text("/manage/costs?by=profile")
        assert "metered, by the configured prices" in html
        assert "4.0 hours are not included: no hourly_cost for lost." in plain(html)
        rows = {row[0]: row for row in Cells(html).rows}
        assert rows["analyst"][2] == "1.80 EUR"
        assert rows["lost"][2:] == ["not known", "4.0", "0.0", "4.0"]
        made = seen.browser(MIA).get("/manage/costs/profile.json").json
        assert [(row["profile"], row["estimate"], row["billed"]) for row in made["rows"]] == [
            ("analyst", 1.8, None),
            ("lost", None, None),
        ]

    def test_the_bill_where_there_is_one(self, seen: Hub) -> None:
        row = self.used(seen, "a@example.com", 10)
        show(seen, [row])
        now = seen.bench.now
        notes = Notes(taken_at=now, costs={row.user_key: 12.5}, costs_month="2026-11", costs_at=now)
        seen.bench.deps.fleet.write_notes(notes)
        html = seen.browser(MIA).text("/manage/costs")
        assert "12.50 EUR" in html
        assert "billed up to" in html
        assert seen.browser(MIA).get("/manage/costs/person.json").json["rows"][0]["billed"] == 12.5

    def test_limits_by_group_say_what_is_used_and_who_waits(self) -> None:
        limits = {"data-analysts@example.com": GroupLimits(max_environments=1)}
        hub = make_hub(limited(limits, hub_settings()))
        for name in ("one", "two", "three"):
            life = Life(hub.bench, parse_email(f"{name}@example.com"))
            life.tell(Joined, groups=("data-analysts@example.com",))
            life.minutes(10)
        hub.swept()
        html = hub.browser(MIA).text("/manage/costs")
        row = next(row for row in Cells(html).rows if row[0] == "data-analysts@example.com")
        assert row[1] == "1 of 1"
        assert row[2] == "no limit"
        assert row[3].startswith("2 people, since")
        assert faults_of(html) == []
        made = hub.browser(MIA).get("/manage/costs/limits.json").json["rows"]
        assert [(each["group"], each["environments"], each["max_environments"], each["waiting"]) for each in made] == [
            ("data-analysts@example.com", 1, 1, 2)
        ]
        assert "limit is reached" in plain(hub.browser(MIA).text("/manage"))
        assert "Waiting for a place" in plain(hub.browser(MIA).text("/manage/people?needs=LimitReached"))
        waiting = plain(hub.browser(parse_email("two@example.com")).text("/"))
        assert "The only notebook of data-analysts@example.com is taken." in waiting

    def test_months_before_the_meter_are_not_zero(self, seen: Hub) -> None:
        show(seen, [self.used(seen, "a@example.com", 10)])
        assert "Not metered before November 2026." in plain(seen.browser(MIA).text("/manage/costs"))
        made = seen.browser(MIA).get("/manage/costs/months.json").json["rows"]
        assert len(made) == 13
        assert [(each["month"], each["is_known"], each["notebook_hours"]) for each in made[:2]] == [
            ("2026-11", True, 10.0),
            ("2026-10", False, None),
        ]

    def test_a_persons_months_are_on_the_page_of_the_person(self) -> None:
        hub = make_hub()
        life = Life(hub.bench, ANA)
        life.join(profile="analyst")
        hub.bench.advance(days=10)
        hub.swept()
        html = " ".join(plain(hub.browser(MIA).text(f"/manage/people/{user_key_for(ANA)}?tab=costs")).split())
        assert "December 2026" in html
        assert "November 2026" in html
        assert "Not metered before November 2026." in html

    def test_today_shows_what_costs_shows(self, seen: Hub) -> None:
        show(seen, [self.used(seen, "a@example.com", 10), self.used(seen, "b@example.com", 3, profile="engineer")])
        shown = re.search(r"([\d.]+ EUR)\s*metered", plain(seen.browser(MIA).text("/manage/costs")))
        assert shown is not None
        assert f"{shown[1]} this month, estimated" in " ".join(plain(seen.browser(MIA).text("/manage")).split())


class TestWho:
    """Members of the admin group, and nobody else; `test_access.py` asks every route for every visitor."""

    def test_whoever_leaves_the_group_is_out_within_a_minute(self, seen: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        assert seen.browser(MIA).get("/manage").status_code == 200
        seen.bench.deps.groups.leave(ADMINS, MIA)
        monkeypatch.setattr("portal.roles.KEPT_S", -1.0)
        assert seen.browser(MIA).get("/manage").status_code == 403

    def test_others_learn_nothing_of_who_exists(self, seen: Hub) -> None:
        texts = set()
        for key in (user_key_for(BEN), user_key_for(NOBODY), "nonsense"):
            answer = seen.browser(ANA).get(f"/manage/people/{key}")
            assert answer.status_code == 403
            shown = answer.get_data(as_text=True).partition("Reference:")[0]
            texts.add(re.sub(r'name="(csrf|back)" value="[^"]*"', "", shown))
        assert len(texts) == 1

    def test_without_an_admin_group_there_is_no_manager(self) -> None:
        hub = make_hub(hub_settings(roles=Roles()))
        assert hub.browser(MIA).get("/manage").status_code == 403


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_looking_changes_nothing(seen: Hub, method: str) -> None:
    seen.keep_letter()
    before = seen.record(ANA), seen.record(BEN)
    seen.bench.cloud.world.journal.clear()
    mia = seen.browser(MIA)
    for route in GETS:
        answer = mia.client.open(path_of(route), method=method, headers=mia.headers, buffered=True)
        assert answer.status_code in {200, 303}, route.name
    assert (seen.record(ANA), seen.record(BEN)) == before
    assert [call for call in seen.bench.calls() if call["mutates"]] == []
    assert seen.woken == []


def test_a_new_list_is_worked_out_anew(seen: Hub) -> None:
    """What is kept of one list is not shown for the next one; bill and list change each on their own."""
    show(seen, people(seen, "a@example.com", usage={NOTEBOOK: Usage(month="2026-11", ran_s=7200)}))
    browser = seen.browser(MIA)
    assert Cells(browser.text("/manage/costs?by=profile")).rows[-1][1] == "1"
    assert len(browser.get("/manage/states.json").json["rows"]) == 1
    assert browser.get("/manage/costs/person.json").json["rows"][0]["billed"] is None
    row = people(seen, "a@example.com")[0]
    now = seen.bench.now
    notes = Notes(taken_at=now, costs={row.user_key: 3.5}, costs_month="2026-11", costs_at=now)
    seen.bench.deps.fleet.write_notes(notes)
    assert browser.get("/manage/costs/person.json").json["rows"][0]["billed"] == 3.5
    show(seen, [row, *people(seen, "b@example.com", "c@example.com", reason="Stopped")])
    assert [row["people"] for row in browser.get("/manage/states.json").json["rows"]] == [1, 2]
    assert browser.get("/manage/costs/person.json").json["rows"][0]["notebook_hours"] == 0
    assert make_hub().app.extensions["benchkeeper.manage"] is not seen.app.extensions["benchkeeper.manage"]


class TestIdleStops:
    def test_what_they_bring_and_cost_is_said_with_what_is_not_known(self, hub: Hub) -> None:
        life = hub.joined(ANA)
        stopped = {"analyst": 90_000 * 40, "scientist": 7_200}
        days = {"2026-11-20": IdleDay(stops=9, stopped_s=stopped, kernels=4, unknown=7)}
        seen = hub.bench.deps.fleet.fleet() or FleetSnapshot(taken_at=hub.bench.now, rows=())
        hub.bench.deps.fleet.write_fleet(replace(seen, taken_at=hub.bench.now, idle_days=days))
        text = " ".join(plain(hub.browser(MIA).text("/manage/costs")).split())
        assert "At most 180 EUR saved since 2026-11-20" in text
        assert "9, about 1,000 hours stopped" in text
        assert "Disks still cost money" in text
        assert "About 2 hours: their profile has no hourly_cost." in text
        assert "4 with 2 stops; not known for 7" in text
        hub.edit(ANA, idle_warned_at=hub.bench.now)
        ana = hub.browser(ANA)
        ana.post("/notebook/keep-on", until="2h")
        hub.take_up(user_key_for(ANA))
        life.minutes(1)
        hub.swept()
        text = " ".join(plain(hub.browser(MIA).text("/manage/costs")).split())
        assert "Extensions 1 within ten minutes of a warning" in text
        assert "Started again 0 within ten minutes of a stop" in text
