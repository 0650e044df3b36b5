"""The analyst's page as a person lives with it: every state in words, every button, with and without the script."""

from __future__ import annotations

import re
from datetime import time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from kit.hub import ANA, BEN, MIA, NOBODY, Browser, Hub, hub_settings, make_hub, plain
from kit.life import Life
from kit.official import storage_bucket
from msgspec.structs import replace

from portal.app import create_app
from shared.domain.fleet.fleet import Notes
from shared.domain.fleet.report import Reported, Work
from shared.domain.intent.wish import Asked, Wish, WishKind
from shared.domain.people.events import AccountChanged, AccountState, Joined, Renamed, Woken
from shared.domain.people.sources import DIRECTORY
from shared.domain.record.record import Power
from shared.domain.record.status import ConditionStatus, ConditionType, set_condition
from shared.domain.things.catalog import Hours, IdleSettings
from shared.domain.things.errors import Reason
from shared.domain.things.identity import parse_email, user_key_for
from shared.engine.news.deliver import deliver
from shared.engine.news.requests import take_up
from shared.engine.sweeps.sweeps import sweep

REFRESH = '<noscript><meta http-equiv="refresh"'


def say(hub: Hub, reason: Reason, message: str, status: ConditionStatus = ConditionStatus.FALSE) -> None:
    """Let Ana's record say this of her notebook."""
    conditions = hub.record().status.conditions
    hub.edit(
        ANA, conditions=set_condition(conditions, ConditionType.NOTEBOOK_READY, status, reason, message, hub.bench.now)
    )


def state_of(html: str) -> str:
    """The word beside the notebook's heading."""
    found = re.search(r'<span class="state state-[a-z]+"><span class="dot" aria-hidden="true"></span>([^<]+)<', html)
    assert found is not None
    return found[1]


class TestNotebook:
    def test_a_first_visit_sees_it_coming_step_by_step(self, hub: Hub) -> None:
        ana = hub.browser(ANA)
        assert ana.get("/").status_code == 403
        life = hub.joined(ANA, minutes=0)
        seen: list[tuple[str, tuple[str, ...]]] = []
        for _ in range(8):
            text = ana.text("/")
            now = tuple(plain(step).strip() for step in re.findall(r'aria-current="step">(.*?)</li>', text))
            if not seen or seen[-1] != (state_of(text), now):
                seen.append((state_of(text), now))
            assert (REFRESH in text) == (state_of(text) == "On its way")
            life.minutes(1)
        assert seen[0] == ("On its way", ("Machine, disks and JupyterLab are set up : under way",))
        assert seen[-1] == ("Running", ())

    def test_running_opens_and_stops_and_says_when_it_stops_by_itself(self, two: Hub) -> None:
        ana = two.browser(ANA)
        text = ana.text("/")
        assert state_of(text) == "Running"
        assert f'href="https://{two.record().status.notebook.proxy_uri}"' in text
        assert "stops after 3 h unused" in plain(text)
        stops = two.bench.now + timedelta(hours=2, minutes=10)
        two.bench.deps.fleet.write_notes(Notes(taken_at=two.bench.now, idle_stops={user_key_for(ANA): stops}))
        assert "stops 10:18 UTC if unused" in plain(ana.text("/"))
        assert "stops after 3 h unused" in plain(two.browser(BEN).text("/"))

    def test_stop_and_start_by_forms_alone(self, two: Hub) -> None:
        """Without the script: a form, the way back, a page that comes again by itself while something moves."""
        ana = two.browser(ANA)
        answer = ana.post("/notebook/stop")
        assert (answer.status_code, answer.headers["Location"]) == (303, "/?said=stop#notebook")
        text = ana.text("/?said=stop")
        assert "Stopping. Your files are kept." in text
        assert (state_of(text), REFRESH in text) == ("Stopping", True)
        assert 'id="open-notebook"' not in text
        assert text.index('id="notebook"') < text.index('class="said"')  # it goes when the script renews the part
        two.life().minutes(4)
        text = ana.text("/")
        assert (state_of(text), REFRESH in text) == ("Stopped", False)
        assert "Stopping. Your files are kept." not in ana.text("/?said=stop")  # it is done
        assert "You stopped your notebook." in text
        assert ana.post("/notebook/start").headers["Location"] == "/?said=start#notebook"
        assert state_of(ana.text("/")) == "Starting"
        two.life().minutes(6)
        assert state_of(ana.text("/")) == "Running"
        assert two.woken == [user_key_for(ANA)] * 2

    def test_the_same_click_again_says_so_and_wakes_nobody(self, two: Hub) -> None:
        ana = two.browser(ANA)
        assert ana.post("/notebook/start").headers["Location"] == "/?said=already#notebook"
        assert "Already requested" in ana.text("/?said=already")
        assert two.woken == []

    def test_the_script_gets_the_changed_part_in_its_place(self, two: Hub) -> None:
        answer = two.browser(ANA).post("/notebook/stop", headers={"HX-Request": "true"})
        text = answer.get_data(as_text=True)
        assert answer.status_code == 200
        assert text.lstrip().startswith('<section id="notebook"')
        assert ("every 3s" in text, "Stopping. Your files" in text) == (True, True)

    def test_nothing_is_asked_while_nothing_moves(self, two: Hub) -> None:
        text = two.browser(ANA).text("/")
        assert re.findall(r"every \d+s", text) == ["every 300s"], "a warning of an idle stop may come"
        assert REFRESH not in text

    def test_an_unchanged_part_is_not_sent_again(self, two: Hub) -> None:
        ana = two.browser(ANA)
        ana.get("/")
        for path in ("/parts/notebook", "/parts/spark"):
            first = ana.get(path)
            again = ana.get(path, If_None_Match=first.headers["ETag"])
            assert (first.status_code, again.status_code, again.data) == (200, 304, b"")
            assert again.headers["ETag"] == first.headers["ETag"]
        two.edit(ANA, proxy_uri="other-dot-europe-west1.notebooks.googleusercontent.com")
        tag = ana.get("/parts/spark").headers["ETag"]
        assert ana.get("/parts/notebook", If_None_Match=tag).status_code == 200

    def test_one_persons_tag_is_of_no_use_to_another(self, two: Hub) -> None:
        tag = two.browser(ANA).get("/parts/notebook").headers["ETag"]
        assert two.browser(BEN).get("/parts/notebook", If_None_Match=tag).status_code == 200

    @pytest.mark.parametrize(
        ("reason", "status", "word", "polls"),
        [
            (Reason.STOCKOUT, ConditionStatus.FALSE, "Delayed", "every 30s"),
            (Reason.QUOTA_EXHAUSTED, ConditionStatus.FALSE, "Delayed", "every 30s"),
            (Reason.ACCESS_DENIED, ConditionStatus.FALSE, "Delayed", "every 30s"),
            (Reason.UNREADABLE, ConditionStatus.UNKNOWN, "Unknown", "every 30s"),
            (Reason.NOT_ANSWERING, ConditionStatus.FALSE, "Not answering", "every 30s"),
            (Reason.ORGANIZATION_POLICY, ConditionStatus.FALSE, "Delayed", "every 30s"),
            (Reason.UPDATING, ConditionStatus.FALSE, "Changing", "every 3s"),
            (Reason.RESTORING, ConditionStatus.FALSE, "Changing", "every 3s"),
            (Reason.DRIFTED, ConditionStatus.TRUE, "Running", ""),
            (Reason.IDLE, ConditionStatus.FALSE, "Stopped", ""),
        ],
    )
    def test_every_state_has_its_word_and_its_reason(
        self, two: Hub, reason: Reason, status: ConditionStatus, word: str, polls: str
    ) -> None:
        say(two, reason, "This is why it is so.", status)
        if reason is Reason.IDLE:
            stored = two.bench.deps.records.load(user_key_for(ANA))
            assert stored is not None
            spec = replace(stored.record.spec, power=Power.STOPPED)
            two.bench.deps.records.save(replace(stored.record, spec=spec), expected=stored)
        text = two.browser(ANA).text("/parts/notebook")
        assert (state_of(text), polls in text) == (word, True)
        assert "This is why it is so." in text

    def test_a_reason_that_nobody_thought_of_is_trouble_and_not_a_broken_page(self, two: Hub) -> None:
        for reason in Reason:
            say(two, reason, "Why.")
            assert two.browser(ANA).get("/").status_code == 200

    def test_a_machine_of_this_machine_is_opened_without_tls(self, two: Hub) -> None:
        two.edit(ANA, proxy_uri="abc-dot-europe-west1.notebooks.localhost:8902")
        assert 'href="http://abc-dot-europe-west1.notebooks.localhost:8902"' in two.browser(ANA).text("/")


class TestKeepOn:
    def test_kept_on_and_taken_back(self, two: Hub) -> None:
        ana = two.browser(ANA)
        assert ana.post("/notebook/keep-on", until="2h").headers["Location"] == "/?said=keep#notebook"
        assert two.record().spec.keep_on_until == two.bench.now + timedelta(hours=2)
        assert "Extended until 10:08 UTC (in 2 h)" in plain(ana.text("/"))
        assert "unused" not in plain(ana.text("/").partition('id="facts"')[2].partition("</p>")[0])
        assert ana.post("/notebook/keep-on/cancel").headers["Location"] == "/?said=keep-not#notebook"
        assert two.record().spec.keep_on_until is None
        assert "Extended until" not in ana.text("/")

    def test_tonight_is_the_readers_evening(self, two: Hub) -> None:
        ana = two.browser(ANA)
        ana.client.set_cookie("tz", "America/Sao_Paulo")
        assert "tonight" not in ana.text("/")  # 05:08 there: more than twelve hours ahead
        ana.client.set_cookie("tz", "Europe/Berlin")
        assert "until 20:00 tonight" in ana.text("/")
        ana.post("/notebook/keep-on", until="tonight")
        assert two.record().spec.keep_on_until == two.bench.now.replace(hour=19, minute=0)
        assert "Extended until 20:00 (in 10 h 52 min)" in plain(ana.text("/"))

    @pytest.mark.parametrize("until", ["", "13h", "forever", "2026-12-24", "999999999h"])
    def test_what_is_not_offered_is_refused_with_what_is(self, two: Hub, until: str) -> None:
        answer = two.browser(ANA).post("/notebook/keep-on", until=until)
        assert answer.status_code == 409
        assert "for 12 h, the longest" in answer.get_data(as_text=True)
        assert two.record().spec.keep_on_until is None

    def test_the_longest_is_what_the_profile_says(self) -> None:
        settings = hub_settings()
        idle = replace(settings.catalog.profiles["analyst"].idle, max_keep_on=timedelta(hours=3))
        hub = make_hub(hub_settings({"analyst": {"idle": idle}}))
        hub.joined()
        text = hub.browser(ANA).text("/")
        assert re.findall(r'<option value="([^"]+)">', text) == ["1h", "2h", "max"]
        assert hub.browser(ANA).post("/notebook/keep-on", until="4h").status_code == 409
        assert hub.browser(ANA).post("/notebook/keep-on", until="max").status_code == 303

    def test_a_warning_is_shown_until_it_is_kept_on(self, two: Hub) -> None:
        ana, now = two.browser(ANA), two.bench.now
        two.edit(ANA, idle_warned_at=now)
        two.bench.deps.fleet.write_notes(
            Notes(
                taken_at=now,
                idle_stops={user_key_for(ANA): now + timedelta(minutes=30)},
                last_used={user_key_for(ANA): now - timedelta(hours=2, minutes=30)},
            )
        )
        text = ana.text("/")
        assert "<title>Stops 08:38 · Notebook" in text
        assert "No activity since 05:38 UTC" in plain(text)
        assert "Stops at 08:38 UTC (in 30 min)." in plain(text)
        assert "every 300s" in text, "an open page shows the warning by itself"
        ana.post("/notebook/keep-on", until="extend")
        assert two.record().spec.keep_on_until == now + timedelta(hours=2, minutes=30)
        text = ana.text("/")
        assert "<title>Ready · Notebook" in text
        assert "No activity" not in text
        # Its end is warned of anew: half an hour before it.
        two.bench.advance(hours=2)
        two.edit(ANA, idle_warned_at=two.bench.now)
        assert "Stops at 10:38 UTC (in 30 min)." in plain(ana.text("/"))

    def test_use_after_a_warning_ends_it(self, two: Hub) -> None:
        now, key = two.bench.now, user_key_for(ANA)
        two.edit(ANA, idle_warned_at=now)
        stops = {key: now + timedelta(minutes=30)}
        for last_used, warns in ((now - timedelta(hours=2), True), (now + timedelta(minutes=1), False)):
            two.bench.deps.fleet.write_notes(Notes(taken_at=now, idle_stops=stops, last_used={key: last_used}))
            two.bench.advance(minutes=2)
            assert ("No activity" in two.browser(ANA).text("/")) == warns

    def test_an_extension_goes_no_further_than_the_profile_allows(self) -> None:
        settings = hub_settings()
        idle = replace(settings.catalog.profiles["analyst"].idle, max_keep_on=timedelta(hours=1))
        hub = make_hub(hub_settings({"analyst": {"idle": idle}}))
        hub.joined()
        assert hub.browser(ANA).post("/notebook/keep-on", until="extend").status_code == 303
        assert hub.record().spec.keep_on_until == hub.bench.now + timedelta(hours=1)

    def test_a_moment_that_is_over_is_not_shown(self, two: Hub) -> None:
        ana = two.browser(ANA)
        ana.post("/notebook/keep-on", until="1h")
        two.bench.advance(hours=2)
        assert "Extended until" not in ana.text("/")


class TestNobody:
    @pytest.mark.parametrize("path", ["/", "/parts/notebook", "/parts/spark"])
    def test_who_is_not_known_is_told_whom_to_ask(self, hub: Hub, path: str) -> None:
        answer = hub.browser(NOBODY).get(path)
        assert answer.status_code == 403
        assert "data-platform@example.com" in answer.get_data(as_text=True)
        assert "HX-Refresh" not in answer.headers
        asked_by_script = hub.browser(NOBODY).get(path, **{"HX-Request": "true"})
        assert asked_by_script.headers["HX-Refresh"] == "true"  # a page is no part of a page

    def test_who_left_is_told_how_long_the_files_are_kept(self, two: Hub) -> None:
        two.left(ANA)
        answer = two.browser(ANA).get("/")
        text = plain(answer.get_data(as_text=True))
        assert answer.status_code == 403
        assert "Your access has ended" in text
        assert "at least until Wed 23 Dec" in text
        assert two.browser(ANA).post("/notebook/start").status_code == 403
        assert two.browser(ANA).get("/api/me").status_code == 403
        two.bench.advance(days=40)
        assert "at least until" not in two.browser(ANA).text("/")

    def test_who_has_a_role_and_no_notebook_sees_their_work_first(self, hub: Hub) -> None:
        html = hub.browser(MIA).get("/").get_data(as_text=True)
        text = plain(html.partition("<main")[2])
        assert text.index("All people and their notebooks") < text.index("You have no notebook of your own")
        assert 'class="button" href="/manage"' in html
        assert "not on the access list" not in text
        assert "Your work here" not in hub.browser(NOBODY).get("/").get_data(as_text=True)

    def test_without_a_contact_no_sentence_breaks(self) -> None:
        hub = make_hub(hub_settings(contact=""))
        text = plain(hub.browser(NOBODY).text("/"))
        assert "Otherwise ask the team that grants access to the data platform." in text

    def test_a_profile_that_the_configuration_lost_is_a_page(self, two: Hub) -> None:
        catalog = replace(two.deps.engine.policy.catalog, profiles={})
        engine = replace(two.deps.engine, base_policy=replace(two.deps.engine.policy, catalog=catalog))
        two.app = create_app(replace(two.deps, engine=engine))
        ana = two.browser(ANA)
        assert ana.get("/").status_code == 200
        assert 'action="/notebook/stop"' not in ana.text("/")
        assert ana.post("/notebook/stop").status_code == 409


class TestZone:
    def test_without_a_zone_it_is_utc_and_says_so(self, two: Hub) -> None:
        text = two.browser(ANA).text("/")
        assert '<time datetime="2026-11-23T08:04:00Z">08:04 UTC</time>' in text
        assert 'data-ask-zone="reload"' in text

    def test_times_in_sentences_are_on_the_readers_clock_too(self, two: Hub) -> None:
        """What is no time stays as it is written, and markup stays text."""
        say(
            two,
            Reason.IDLE,
            "Idle since Mon 2026-11-23 06:10 UTC <b>or</b> 2026-11-25 00:00:30 UTC, not 2026-13-99 10:00 UTC.",
        )
        ana = two.browser(ANA)
        sentence = "Idle since {} &lt;b&gt;or&lt;/b&gt; {}, not 2026-13-99 10:00 UTC."
        assert sentence.format("06:10 UTC", "Wed 25 Nov 00:00 UTC") in plain(ana.text("/"))
        ana.client.set_cookie("tz", "America/Sao_Paulo")
        text = ana.text("/")
        assert sentence.format("03:10", "tomorrow 21:00") in plain(text)
        assert '<time datetime="2026-11-23T06:10:00Z">03:10</time>' in text

    def test_the_form_in_the_footer_sets_it(self, two: Hub) -> None:
        ana = two.browser(ANA)
        answer = ana.post("/preferences/time-zone", zone="Asia/Kolkata", back="/")
        assert (answer.status_code, answer.headers["Location"]) == (303, "/")
        text = ana.text("/")
        assert '<time datetime="2026-11-23T08:04:00Z">13:34</time>' in text
        assert 'value="Asia/Kolkata"' in text
        assert "data-ask-zone" not in text

    @pytest.mark.parametrize(
        "zone", ["Mars/Base", "../../etc/passwd", "/etc/localtime", "", "Europe", "A" * 65, "Europe/Berlin\n"]
    )
    def test_what_is_no_zone_is_refused_and_as_a_cookie_ignored(self, two: Hub, zone: str) -> None:
        ana = two.browser(ANA)
        answer = ana.post("/preferences/time-zone", zone=zone, back="/history")
        assert (answer.status_code, "Set-Cookie" in answer.headers) == (409, False)
        html = answer.get_data(as_text=True)
        assert "<h1>No such time zone</h1>" in html
        assert f'id="zone-again" name="zone" value="{zone[:64].strip()}' in html
        assert '<input type="hidden" name="back" value="/history">' in html
        ana.client.set_cookie("tz", zone)
        assert "08:04 UTC" in ana.text("/")

    @pytest.mark.parametrize(
        "back",
        [
            "//evil.example.com",
            "https://evil.example.com",
            "/\\evil.example.com",
            "/nothing",
            "javascript:x",
            "",
            "/\r\nx",
        ],
    )
    def test_the_way_back_is_never_another_site(self, two: Hub, back: str) -> None:
        answer = two.browser(ANA).post("/preferences/time-zone", zone="UTC", back=back)
        assert answer.headers["Location"] == "/"


def test_api_me_says_what_the_page_shows(two: Hub) -> None:
    ana: Browser = two.browser(ANA)
    me = ana.get("/api/me").json
    assert me["user_key"] == user_key_for(ANA)
    assert (me["notebook"]["phase"], me["notebook"]["can_stop"], me["notebook"]["idle_timeout"]) == (
        "ready",
        True,
        10_800,
    )
    assert me["notebook"]["open_url"] in ana.text("/")
    assert [spark["phase"] for spark in me["spark"]] == ["off"] * len(me["spark"])
    assert all(spark["title"] in ana.text("/") for spark in me["spark"])


class TestDamagedRecord:
    """The page writes no record: it asks for the pass that puts one back."""

    @pytest.mark.parametrize("who", ["owner", "manager"])
    def test_a_pass_is_asked_for_and_then_the_page_is_there_again(self, two: Hub, who: str) -> None:
        key = user_key_for(ANA)
        email, path = (ANA, "/") if who == "owner" else (MIA, f"/manage/people/{key}")
        place = storage_bucket(two.bench.clients).blob(f"records/{key}.json")
        place.upload_from_string(b"{")
        answer = two.browser(email).get(path)
        assert (answer.status_code, two.woken) == (503, [key])
        assert "is being repaired" in answer.get_data(as_text=True)
        assert place.download_as_bytes() == b"{"
        deliver(Woken(event_id="w", user_key=key, occurred_at=two.bench.now), two.bench.deps)
        assert two.browser(email).get(path).status_code == 200


class TestAnAddressOfTwoPeople:
    @pytest.fixture
    def handed_over(self, two: Hub) -> Hub:
        """Ana's account is deleted, another Ana Silva gets the address and joins."""
        life = two.life(ANA)
        for serial, state, minutes in ((200, AccountState.DELETED, 5), (210, AccountState.CREATED, 1)):
            life.serial = serial
            life.tell(AccountChanged, state=state, holds=True, source=DIRECTORY)
            life.minutes(minutes)
        return two

    def test_the_new_holder_sees_their_own_page_and_never_the_other_ones(self, handed_over: Hub) -> None:
        old = handed_over.record(ANA)
        assert old.handover is not None
        before = handed_over.browser(ANA).get("/")
        assert before.status_code == 403
        life = handed_over.life(ANA)
        life.serial = 300
        life.tell(Joined)
        new = handed_over.bench.deps.records.load(old.handover.to)
        assert new is not None
        for _ in range(8):
            handed_over.bench.advance(minutes=1)
            sweep("due", handed_over.bench.deps)
        assert handed_over.browser(ANA).get("/").status_code == 200
        mine = handed_over.browser(ANA).get("/api/me").get_json()
        assert mine["user_key"] == new.record.user_key != old.user_key

    def test_a_wish_for_the_former_holders_record_is_not_theirs(self, handed_over: Hub) -> None:
        old = handed_over.record(ANA)
        wish = Wish(
            wish_id="0123456789abcdef",
            user_key=old.user_key,
            asked=Asked(kind=WishKind.START),
            as_administrator=False,
            asked_at=handed_over.bench.now,
            assertion=handed_over.token(ANA),
        )
        handed_over.bench.deps.inbox.put(wish)
        take_up(old.user_key, handed_over.bench.deps)
        [dropped] = handed_over.lines("Dropped a request")
        assert dropped["reason"] == "NotTheirs"

    def test_the_manager_is_led_to_the_present_holder(self, handed_over: Hub) -> None:
        old = handed_over.record(ANA)
        assert old.handover is not None
        handed_over.swept()
        found = handed_over.browser(MIA).post("/manage/people", q=ANA)
        assert str(old.handover.to) in found.headers["Location"]


def test_an_address_that_waits_for_a_change_is_told_so(two: Hub) -> None:
    hired = parse_email("ana.costa@example.com")
    renamed = Renamed(
        event_id="hr-1",
        user=ANA,
        new_user=hired,
        occurred_at=two.bench.now,
        effective_at=two.bench.now,
        source="hr",
        confirmed=False,
    )
    deliver(renamed, two.bench.deps)
    two.life(hired).tell(Joined)
    answer = two.browser(hired).get("/")
    text = plain(answer.get_data(as_text=True))
    assert answer.status_code == 403
    assert "Your environment waits" in text
    assert "access has ended" not in text


class TestReport:
    """What the machine says of itself, on the page."""

    def shown(self, hub: Hub, **what: Any) -> str:
        now = hub.bench.now
        said = Reported(**{"at": now - timedelta(minutes=1), **what})
        hub.bench.deps.fleet.write_notes(Notes(taken_at=now, reports={user_key_for(ANA): said}))
        return plain(hub.browser(ANA).text("/"))

    def test_memory_that_ran_out_is_said_with_what_to_do(self, two: Hub) -> None:
        text = self.shown(two, killed=1, killed_at=two.bench.now - timedelta(minutes=9), memory_gb=15.6)
        assert "A kernel was stopped: out of memory (16 GB)." in text
        assert "ask for a larger machine" in text
        assert "out of memory" not in self.shown(two, killed=1, killed_at=two.bench.now - timedelta(hours=25))
        assert "A kernel was stopped: out of memory." in self.shown(two, killed=1, killed_at=two.bench.now)

    def test_a_disk_that_is_nearly_full_is_said(self, two: Hub) -> None:
        assert "Disk 97 % full." in self.shown(two, disk=97)
        assert "% full" not in self.shown(two, disk=89)
        assert "% full" not in self.shown(two, disk=97, at=two.bench.now - timedelta(hours=2))

    def test_what_keeps_it_on_is_said_with_its_end_to_the_owner_and_to_the_administrator(self, two: Hub) -> None:
        seen = two.bench.now - timedelta(hours=9)
        said = {"work": Work.KERNEL, "worked_at": two.bench.now, "outside_at": seen, "keeps": True}
        text = self.shown(two, **said)
        assert "A kernel is busy" in text
        assert "Only this keeps the notebook running, until" in text
        managed = plain(two.browser(MIA).text(f"/manage/people/{user_key_for(ANA)}?tab=technical"))
        assert "Kept running since" in managed
        assert "That alone keeps" not in self.shown(two, **{**said, "outside_at": two.bench.now - timedelta(days=2)})

    def test_a_stopped_notebook_says_nothing(self, two: Hub) -> None:
        say(two, Reason.STOPPED, "It is stopped.")
        assert "The machine says" not in self.shown(two, disk=97, killed=1, killed_at=two.bench.now)


class TestDormancy:
    """A notebook that nobody uses for long: what the owner reads, and the button that brings it back."""

    def test_the_warning_the_rest_and_the_way_back(self) -> None:
        idle = IdleSettings(dormant_after=timedelta(days=60))
        hub = make_hub(hub_settings({"analyst": {"idle": idle}}))
        life = hub.joined(ANA)
        ana = hub.browser(ANA)
        ana.post("/notebook/stop")
        hub.take_up(user_key_for(ANA))
        life.minutes(5)
        assert "put away" not in plain(ana.text("/"))
        life.days(46)
        text = plain(ana.text("/"))
        assert "It is put away" in text
        assert "unless you start it before" in text
        assert "Packages and environments outside of your home directory are lost" in text
        put_away(life)
        text = ana.text("/")
        assert state_of(text) == "Put away"
        assert "Your notebook was put away" in plain(text)
        assert hub.record().spec.power is Power.STOPPED, "looking changes nothing"
        ana.post("/notebook/start")
        hub.take_up(user_key_for(ANA))
        assert "Your files are restored" in plain(ana.text("/"))
        life.minutes(20)
        assert state_of(ana.text("/")) == "Running"

    def test_the_owner_reads_what_is_kept_and_lost_and_has_one_button(self) -> None:
        hub, life = dormant()
        life.write(b"years of work")
        ana = hub.browser(ANA)
        put_away(life, first=46)
        for path in ("/", "/parts/notebook"):  # the whole page, and what a script replaces in it
            text = ana.text(path)
            assert '<button id="start-notebook" type="submit">Bring my notebook back</button>' in text
            assert "open-notebook" not in text
            said = plain(text)
            assert "because nobody used it" in said
            assert "Every file of your home directory is saved" in said
            assert "a few minutes longer than a normal start" in said
            assert "Packages and environments outside of your home directory are lost" in said
            assert "consent in the Google Cloud console" in said
        assert "<title>Put away · Notebook" in ana.text("/")
        assert life.mine() == {}
        ana.post("/notebook/start")  # the form, as a browser without scripts sends it
        hub.take_up(user_key_for(ANA))
        life.minutes(20)
        assert life.files() == b"years of work"

    def test_where_the_saved_files_are_gone_nothing_is_promised(self) -> None:
        hub, life = dormant()
        put_away(life, first=46)
        life.bench.cloud.compute.disks.snapshots.clear()
        life.bench.advance(minutes=70)
        sweep("drift", life.bench.deps)
        text = plain(hub.browser(ANA).text("/"))
        assert "Its saved files were deleted outside Benchkeeper" in text
        assert "Bring my notebook back" not in text
        assert "Every file of your home directory is saved" not in text


def dormant() -> tuple[Hub, Life]:
    """A person whose notebook is stopped, and may become dormant."""
    idle = IdleSettings(dormant_after=timedelta(days=60))
    hub = make_hub(hub_settings({"analyst": {"idle": idle}}))
    life = hub.joined(ANA)
    hub.browser(ANA).post("/notebook/stop")
    hub.take_up(user_key_for(ANA))
    life.minutes(5)
    return hub, life


def put_away(life: Life, first: int = 0) -> None:
    """The days of the warnings pass, and the notebook is put away."""
    for days in (first, 11, 2, 1):
        life.days(days)
    life.minutes(20)


def test_working_hours_are_said_where_a_notebook_stops_by_itself() -> None:
    hours = Hours(days=frozenset({0, 4}), start=time(8), end=time(18, 30), zone=ZoneInfo("Europe/Berlin"))
    hub = make_hub(hub_settings({"analyst": {"hours": hours}}))
    hub.joined(ANA)
    text = plain(hub.browser(ANA).text("/"))
    assert "Outside of Mon, Fri 08:00 to 18:30 (Europe/Berlin) it stops after an hour unused." in text
