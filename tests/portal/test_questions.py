"""`/manage/changes` about one person or group: it shows as soon as it waits, says what either word does, and a click is about just that."""

from __future__ import annotations

from datetime import timedelta

import pytest
from kit.hub import ADMINS, BEN, MIA, Hub, hub_settings, make_hub, plain
from kit.life import ANA, Life
from kit.oracle import instances

from portal.manage import releases
from portal.manage.changes_api import ROUTES
from portal.routes import JSON
from shared.domain.intent.decision import Verdict
from shared.domain.intent.wish import Asked, WishKind
from shared.domain.people.events import AccountChanged, AccountState, GroupChanged, Joined, Left, Renamed
from shared.domain.people.groups import GroupEvent, GroupEventKind
from shared.domain.people.sources import DIRECTORY
from shared.domain.plan.guard_settings import GuardSettings
from shared.domain.record.record import Presence, UserRecord
from shared.domain.record.status import Notice
from shared.domain.things.identity import UserKey, parse_email, user_key_for
from shared.engine.news.deliver import deliver
from shared.engine.news.requests import ask as wish_for
from shared.engine.reconcile.changing import want_hold
from shared.engine.sweeps.sweeps import sweep

OTTO = parse_email("otto.admin@example.com")
NEW = parse_email("Ñandú O'Neil+new@sub.example.co")
KEY, NEW_KEY = user_key_for(ANA), user_key_for(NEW)
ANALYSTS = "data-analysts@example.com"


def world(**guard) -> Hub:
    hub = make_hub(settings=hub_settings(guard=GuardSettings(**guard)))
    for admin in (OTTO, BEN):
        hub.bench.deps.groups.join(ADMINS, admin)
    Life(hub.bench, ANA).join(profile="analyst")
    return hub


@pytest.fixture
def hub() -> Hub:
    return world()


def ticks(hub: Hub, minutes: int) -> None:
    for _ in range(minutes):
        hub.bench.advance(minutes=1)
        sweep("due", hub.bench.deps)


def record(hub: Hub, key: UserKey = KEY) -> UserRecord:
    stored = hub.bench.deps.records.load(key)
    assert stored is not None
    return stored.record


def renamed(hub: Hub, event_id: str = "hr-1") -> None:
    at = hub.bench.now
    event = Renamed(
        event_id=event_id, user=ANA, new_user=NEW, confirmed=False, occurred_at=at, effective_at=at, source="hr"
    )
    deliver(event, hub.bench.deps)
    hub.swept()


def changes(hub: Hub, by=MIA) -> list[dict]:
    return hub.browser(by).get("/api/changes").json["changes"]


def the_one(hub: Hub, by=MIA) -> dict:
    (found,) = changes(hub, by)
    return found


def click(hub: Hub, digest: str, verdict: str, by=MIA) -> str:
    return hub.browser(by).post(f"/manage/changes/{digest}/{verdict}").headers["Location"].partition("said=")[2]


class TestNewAddress:
    def test_it_shows_what_either_word_does(self, hub: Hub) -> None:
        renamed(hub)
        found = the_one(hub)
        assert (found["about"], found["cause"], found["source"], found["people"]) == ("RENAME", "NewAddress", "hr", 1)
        mia = hub.browser(MIA)
        for path in ("/manage/changes", f"/manage/changes/{found['digest']}"):
            text = plain(mia.text(path))
            assert "A new address waits to be confirmed" in text
            assert "o&#39;neil+test@sub.example.co becomes ñandú o&#39;neil+new@sub.example.co" in text
            assert "belongs to another person" in text
            assert "Once 2 people approve it" in text
            assert "Everything stays as it is." in text
        assert "Approve this" in mia.text(f"/manage/changes/{found['digest']}/approve")
        assert "A new address waits to be confirmed" in plain(mia.text("/manage"))
        assert mia.get(f"/manage/changes/{found['digest']}/people.json").json["rows"][0]["user_key"] == KEY
        assert "Decide under Changes" in plain(mia.text(f"/manage/people/{KEY}"))

    def test_two_who_approve_change_the_address(self, hub: Hub) -> None:
        renamed(hub)
        digest = the_one(hub)["digest"]
        assert [click(hub, digest, "approve", by) for by in (MIA, OTTO)] == ["approved", "approved"]
        ticks(hub, 2)
        assert record(hub, NEW_KEY).user_key == KEY
        hub.swept()
        assert changes(hub) == []
        assert "decided already" in plain(hub.browser(MIA).text(f"/manage/changes/{digest}"))
        assert click(hub, digest, "approve") == "over"

    def test_one_rejection_is_enough(self, hub: Hub) -> None:
        renamed(hub)
        digest = the_one(hub)["digest"]
        click(hub, digest, "approve")
        click(hub, digest, "reject", OTTO)
        ticks(hub, 2)
        assert record(hub).rename is None
        assert changes(hub) == []  # the fleet index still names the person; the record says otherwise
        renamed(hub)
        assert changes(hub) == []

    def test_another_statement_is_another_question(self, hub: Hub) -> None:
        renamed(hub)
        digest = the_one(hub)["digest"]
        hub.bench.advance(minutes=1)
        renamed(hub, "hr-2")
        assert the_one(hub)["digest"] != digest
        assert click(hub, digest, "approve") == "over"

    def test_two_environments_cannot_be_approved_and_the_page_says_why(self, hub: Hub) -> None:
        Life(hub.bench, NEW).join(profile="analyst")
        renamed(hub)
        found = the_one(hub)
        mia = hub.browser(MIA)
        text = mia.text(f"/manage/changes/{found['digest']}")
        assert "two environments cannot be merged" in plain(text)
        assert "Approve …" not in text
        assert "Approve this" not in mia.text(f"/manage/changes/{found['digest']}/approve")
        assert click(hub, found["digest"], "approve") == "cannot"
        assert hub.bench.deps.decisions.waiting() == ()
        assert click(hub, found["digest"], "reject") == "rejected"

    def test_whoever_is_concerned_cannot_decide(self) -> None:
        hub = make_hub(settings=hub_settings(guard=GuardSettings()))
        hub.bench.deps.groups.join(ADMINS, BEN)
        Life(hub.bench, BEN).join(profile="analyst")
        Life(hub.bench, BEN, serial=50).tell(Renamed, new_user=NEW, confirmed=False, source="hr")
        hub.swept()
        digest = the_one(hub)["digest"]
        assert "It concerns you yourself" in plain(hub.browser(BEN).text(f"/manage/changes/{digest}"))
        assert hub.browser(BEN).post(f"/manage/changes/{digest}/approve").status_code == 409

    def test_what_cannot_be_read_is_said_and_takes_nothing_else_from_the_page(self, hub: Hub) -> None:
        renamed(hub)
        hub.bench.fault(
            call="storage.objects.get", resource=f"*{KEY}*", error={"code": "UNAVAILABLE", "message": "away"}, times=0
        )
        answer = hub.browser(MIA).get("/api/changes")
        hub.bench.cloud.world.faults.clear()
        assert answer.status_code == 200
        assert answer.json["changes"] == []
        assert answer.json["unread"]


class TestNewAccount:
    def asked(self, hub: Hub) -> dict:
        life = Life(hub.bench, ANA, serial=20)
        for state in (AccountState.DELETED, AccountState.CREATED):
            hub.bench.advance(minutes=1)
            life.tell(AccountChanged, state=state, holds=True, source=DIRECTORY, published_at=hub.bench.now)
        hub.swept()
        return the_one(hub)

    def test_the_same_person_has_the_old_files(self, hub: Hub) -> None:
        found = self.asked(hub)
        assert (found["about"], found["cause"], found["people"]) == ("SAME_PERSON", "NewAccount", 2)
        for by in (MIA, OTTO):
            click(hub, found["digest"], "approve", by)
        ticks(hub, 8)
        assert record(hub).handover is None
        assert record(hub).spec.presence is Presence.PRESENT
        assert changes(hub) == []

    def test_another_person_is_not_asked_about_again(self, hub: Hub) -> None:
        found = self.asked(hub)
        click(hub, found["digest"], "reject")
        ticks(hub, 2)
        hub.swept()
        assert changes(hub) == []
        assert record(hub).handover is not None


class TestGroup:
    def test_a_group_that_is_gone(self, hub: Hub) -> None:
        people = [Life(hub.bench, parse_email(f"p{number}@example.com")) for number in range(3)]
        for person in people:
            person.tell(GroupChanged, group=ANALYSTS, member=True, source=DIRECTORY)
        ticks(hub, 7)
        hub.bench.advance(minutes=1)
        event = GroupEvent(
            kind=GroupEventKind.DELETED, group=ANALYSTS, occurred_at=hub.bench.now, event_id="g", source=DIRECTORY
        )
        deliver(event, hub.bench.deps)
        hub.swept()
        found = the_one(hub)
        assert (found["about"], found["cause"], found["people"]) == ("GROUP", "GroupGone", 3)
        assert "3 people lose access" in " ".join(found["approving"])
        one = hub.browser(MIA).get(f"/api/changes/{found['digest']}").json
        assert {row["user_key"] for row in one["rows"]} == {person.key for person in people}
        for by in (MIA, OTTO):
            click(hub, found["digest"], "approve", by)
        ticks(hub, 3)
        assert {person.record.spec.presence for person in people} == {Presence.ABSENT}
        hub.swept()
        assert changes(hub) == []


class TestRelease:
    def held(self, hub: Hub, reason: str = "case 4711") -> None:
        want_hold(KEY, reason, hub.bench.deps)

    def asked(self, hub: Hub, by=MIA) -> str:
        browser = hub.browser(by)
        browser.get(f"/manage/people/{KEY}/acts/release")
        return browser.post(f"/manage/people/{KEY}/acts/release").headers["Location"].partition("said=")[2]

    def test_a_release_waits_for_another_administrator(self, hub: Hub) -> None:
        self.held(hub)
        page = plain(hub.browser(MIA).text(f"/manage/people/{KEY}/acts/release"))
        assert "Another administrator has to approve it" in page
        assert self.asked(hub) == "release-asked"
        assert self.asked(hub) == "already"
        ticks(hub, 30)
        assert record(hub).hold is not None
        found = the_one(hub, OTTO)
        assert (found["about"], found["needs_another"], found["takes_effect_at"]) == ("RELEASE", True, None)
        assert [vote["by"] for vote in found["votes"]] == [user_key_for(MIA)]
        text = plain(hub.browser(OTTO).text("/manage/changes"))
        assert "Once another administrator approves it" in text
        assert "case 4711" in text
        assert click(hub, found["digest"], "approve", MIA) == "already"
        assert click(hub, found["digest"], "approve", OTTO) == "approved"
        ticks(hub, 1)
        assert record(hub).hold is None
        assert changes(hub) == []
        assert "@" not in str(hub.bench.log.lines)

    def test_who_asks_for_the_same_release_second_approves_it(self, hub: Hub) -> None:
        self.held(hub)
        assert [self.asked(hub, by) for by in (MIA, OTTO)] == ["release-asked", "release-asked"]
        ticks(hub, 1)
        assert record(hub).hold is None

    def test_another_hold_voids_it(self, hub: Hub) -> None:
        self.held(hub)
        self.asked(hub)
        digest = the_one(hub)["digest"]
        self.held(hub, "case 4712")
        assert changes(hub) == []
        assert click(hub, digest, "approve", OTTO) == "over"
        ticks(hub, 2)
        assert hub.bench.deps.decisions.waiting() == ()
        assert record(hub).hold is not None

    def test_a_wish_of_the_page_alone_releases_nothing(self, hub: Hub) -> None:
        """A stolen account of the page has one administrator's assertion; that is not two."""
        self.held(hub)
        answer = wish_for(
            KEY,
            Asked(kind=WishKind.RELEASE),
            hub.bench.deps,
            subject=MIA,
            assertion=hub.token(MIA),
            as_administrator=True,
        )
        assert answer is not None
        ticks(hub, 2)
        assert record(hub).hold is not None
        assert any(line.ref == "Refused" for line in record(hub).status.story)

    def test_a_team_of_one_releases_at_once(self) -> None:
        hub = world(approvers=1)
        self.held(hub)
        assert self.asked(hub) == "release"
        assert record(hub).hold is None
        assert changes(hub) == []

    def test_a_script_asks(self, hub: Hub) -> None:
        jsonschema = pytest.importorskip("jsonschema")
        (route,) = releases.ROUTES
        mia = hub.browser(MIA)
        assert mia.send("/api/releases", body={"user_key": KEY}).json["outcome"] == "over"
        self.held(hub)
        for outcome in ("approved", "already"):
            done = mia.send("/api/releases", body={"user_key": KEY}).json
            jsonschema.validate(done, dict(route.schema or {}))
            assert (done["outcome"], done["digest"]) == (outcome, the_one(hub)["digest"])
        for body in ({}, {"user_key": "nobody-000000000000"}, {"user_key": 7}, []):
            assert mia.send("/api/releases", body=body).status_code == 409

    def test_the_answers_are_as_described(self, hub: Hub) -> None:
        jsonschema = pytest.importorskip("jsonschema")
        self.held(hub)
        self.asked(hub)
        schemas = {route.name: dict(route.schema or {}) for route in ROUTES if route.media == JSON}
        mia = hub.browser(MIA)
        jsonschema.validate(mia.get("/api/changes").json, schemas["manage.api_changes"])
        jsonschema.validate(mia.get(f"/api/changes/{the_one(hub)['digest']}").json, schemas["manage.api_change"])

    def test_a_release_of_a_leaver_deletes_what_is_long_over(self, hub: Hub) -> None:
        self.held(hub)
        Life(hub.bench, ANA, serial=50).tell(Left)
        hub.bench.advance(days=200)
        ticks(hub, 5)
        assert len(instances(hub.bench.cloud)) == 1
        for by in (MIA, OTTO):
            self.asked(hub, by)
        ticks(hub, 12)
        assert len(instances(hub.bench.cloud)) == 0


def test_questions_stand_beside_lists_and_a_list_that_was_decided_about_is_none(hub: Hub) -> None:
    renamed(hub)
    question = the_one(hub)["digest"]
    click(hub, question, "approve")
    assert [each["about"] for each in changes(hub)] == ["RENAME"]
    assert [vote["verdict"] for vote in the_one(hub)["votes"]] == [Verdict.APPROVE.value]
    assert the_one(hub)["takes_effect_at"] is not None
    late = Life(hub.bench, parse_email("late@example.com"))
    late.tell(Joined, profile="analyst")
    assert Notice.RENAME_WAITS in record(hub).status.notices
    ticks(hub, int(timedelta(minutes=16) / timedelta(minutes=1)))
    assert record(hub, NEW_KEY).user_key == KEY
