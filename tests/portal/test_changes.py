"""`/manage/changes`: who waits, who may decide, and that a click is about just the list that was on the page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import timedelta

import pytest
from kit.beginnings import begun
from kit.hub import ADMINS, ANA, MIA, SAMPLES, Hub, ask, hub_settings, make_hub, plain
from kit.life import Life
from kit.official import storage_bucket
from kit.oracle import instances
from msgspec.structs import replace

from portal.manage import changes, changes_api
from portal.routes import JSON
from shared.domain.intent.batches import Batch, batches_of
from shared.domain.intent.decision import Verdict
from shared.domain.people.events import Joined, LeaveCancelled, Left, Moved
from shared.domain.plan.guard_settings import GuardSettings
from shared.domain.record.cuts import CutClass
from shared.domain.record.record import Presence
from shared.domain.things.identity import UserEmail, UserKey, parse_email, user_key_for
from shared.engine.decisions.decisions import take_up_decisions
from shared.engine.decisions.policy_change import note_deployed
from shared.engine.decisions.policy_change import waiting as policy_waiting
from shared.engine.ports.guard import DecidedList, GivenVote
from shared.engine.reconcile.reconciler import reconcile
from shared.engine.sweeps.sweeps import sweep
from shared.wiring import wire

FEW = GuardSettings(per_hour=3, share=1e-9)
OTTO = parse_email("otto.admin@example.com")
PEOPLE = [parse_email(f"user{number}@example.com") for number in range(9)]
ODD = parse_email("Ñandú.O'Neil+test@sub.example.co")
DENIED = {"code": "PERMISSION_DENIED", "message": "no"}
AWAY = {"code": "UNAVAILABLE", "message": "away"}


def flooded(guard: GuardSettings = FEW, *, emails=PEOPLE, source: str = "hr") -> Hub:
    """Everybody joined and left at once; more than the guard allows."""
    hub = make_hub(settings=hub_settings(guard=guard))
    begun(hub.bench, ("flooded", guard, tuple(emails), source), lambda: flood(hub, emails, source), for_all=True)
    return hub


def flood(hub: Hub, emails: Iterable[UserEmail], source: str) -> None:
    hub.bench.deps.groups.join(ADMINS, OTTO)
    lives = [Life(hub.bench, email) for email in emails]
    for life in lives:
        life.tell(Joined, profile="analyst")
    ticks(hub, 7)
    hub.swept()
    for life in lives:
        life.tell(Left, source=source)
    hub.swept()


@pytest.fixture
def hub() -> Hub:
    return flooded()


def ticks(hub: Hub, minutes: int) -> None:
    for _ in range(minutes):
        hub.bench.advance(minutes=1)
        sweep("due", hub.bench.deps)


def batch_of(hub: Hub) -> Batch:
    (batch,) = batches_of(hub.bench.deps.guard.waiting())
    return batch


def is_cut(hub: Hub, key: UserKey) -> bool:
    stored = hub.bench.deps.records.load(key)
    assert stored is not None
    return stored.record.spec.presence is Presence.ABSENT


def clock(hub: Hub) -> str:
    return f"{hub.bench.now:%H:%M}"


def given(hub: Hub) -> list[tuple[str, Verdict, str]]:
    """The decisions that wait: by whom, what, about which list."""
    return [(d.shown.by, d.shown.verdict, d.shown.digest) for d in hub.bench.deps.decisions.waiting() if d.shown]


def test_nothing_of_it_is_in_anybodys_way_while_nothing_waits() -> None:
    hub = make_hub()
    hub.joined(ANA)
    hub.swept()
    assert "No change waits for approval." in hub.browser(MIA).text("/manage/changes")
    html = hub.browser(MIA).text("/manage")
    assert "decide" not in html
    assert "waiting</span></strong>" not in html
    assert hub.browser(MIA).get("/api/changes").json["changes"] == []


def test_a_batch_is_on_the_overview_in_the_navigation_and_on_its_own_page(hub: Hub) -> None:
    batch, mia = batch_of(hub), hub.browser(MIA)
    line = plain(mia.text("/manage"))
    assert "6 people lose access after approval" in line
    assert "Changes 1 waiting" in plain(mia.text("/manage/people"))
    html = mia.text("/manage/changes")
    text = plain(html)
    assert "People are reported to have left: 6 people wait" in text
    assert "6 notebooks are stopped, and deleted after their retention." in text
    assert "6 people keep access." in text
    assert "Decided so far Nothing" in text
    assert f"/manage/changes/{batch.digest}" in html
    one = mia.text(f"/manage/changes/{batch.digest}")
    for entry in batch.entries:
        assert f"/manage/people/{entry.user_key}" in one
    assert "Those who still wait after 4 h are stopped" in plain(one)


def test_the_overview_has_a_line_for_the_batch_and_none_for_its_people(hub: Hub) -> None:
    line = plain(hub.browser(MIA).text("/manage"))
    assert "People wait to lose access" not in line
    assert "Nothing at present" not in line
    assert "People wait to lose access 6" in plain(hub.browser(MIA).text("/manage/attention"))


def test_the_page_of_somebody_who_waits_says_so_and_later_that_they_were_kept_in(hub: Hub) -> None:
    batch, mia = batch_of(hub), hub.browser(MIA)
    path = f"/manage/people/{batch.entries[0].user_key}"
    assert "The end of access waits, because it ends for many people at once." in plain(mia.text(path))
    mia.post(f"/manage/changes/{batch.digest}/reject")
    ticks(hub, 2)
    assert "An administrator marked the end of access as a mistake" in plain(mia.text(path))


def test_the_page_of_somebody_who_waits_does_not_contradict_itself(hub: Hub) -> None:
    key = min(batch_of(hub).people)
    html = hub.browser(MIA).text(f"/manage/people/{key}")
    text = plain(html)
    assert "Access Still has access: its end waits. Left the company Target running" in text
    assert "No access." not in text
    assert "benchkeeper guard" not in html
    assert '<a href="/manage/changes">See what waits under Changes</a>' in html
    assert "End access now" in text
    hub.browser(MIA).post(f"/manage/changes/{batch_of(hub).digest}/reject")
    ticks(hub, 2)
    assert "Access Kept by an administrator, although access would have ended." in plain(
        hub.browser(MIA).text(f"/manage/people/{key}")
    )


def test_the_whole_list_is_a_file(hub: Hub) -> None:
    batch = batch_of(hub)
    mia = hub.browser(MIA)
    rows = mia.get(f"/manage/changes/{batch.digest}/people.json").json["rows"]
    assert [row["user_key"] for row in rows] == [entry.user_key for entry in batch.entries]
    assert {(row["cause"], row["source"], row["steps"], row["waits"]) for row in rows} == {
        ("Employment", "hr", "Stop", True)
    }
    assert mia.text(f"/manage/changes/{batch.digest}/people.csv").count("\n") == 7


def test_two_who_approve_on_the_page_let_the_list_pass(hub: Hub) -> None:
    batch = batch_of(hub)
    for admin in (MIA, OTTO):
        browser = hub.browser(admin)
        confirm = browser.text(f"/manage/changes/{batch.digest}/approve")
        assert "Approve this list" in confirm
        assert "6 people lose access." in confirm
        answer = browser.post(f"/manage/changes/{batch.digest}/approve")
        assert answer.status_code == 303
        assert answer.headers["Location"] == f"/manage/changes/{batch.digest}?said=approved"
        assert "processed within a minute" in browser.text(answer.headers["Location"])
    ticks(hub, 3)
    assert all(is_cut(hub, key) for key in batch.people)
    assert given(hub) == []
    (line,) = hub.lines("Approved list")
    assert line["by"] == sorted([user_key_for(MIA), user_key_for(OTTO)])
    assert "No change waits for approval." in hub.browser(MIA).text("/manage/changes")


def test_one_approval_is_shown_with_when_it_takes_effect(hub: Hub) -> None:
    batch, mia, otto = batch_of(hub), hub.browser(MIA), hub.browser(OTTO)
    mia.post(f"/manage/changes/{batch.digest}/approve")
    ticks(hub, 2)
    mine, other = plain(mia.text("/manage/changes")), plain(otto.text("/manage/changes"))
    assert "Approved by you" in mine
    assert f"Approved by {user_key_for(MIA)}" in other
    assert "unless someone objects, or as soon as another administrator approves it." in other
    found = otto.get("/api/changes").json["changes"][0]
    assert found["takes_effect_at"] is not None
    assert [vote["is_own"] for vote in found["votes"]] == [False]
    ticks(hub, 16)
    assert all(is_cut(hub, key) for key in batch.people)


def test_a_rejection_keeps_everybody_in(hub: Hub) -> None:
    batch = batch_of(hub)
    answer = hub.browser(OTTO).post(f"/manage/changes/{batch.digest}/reject")
    assert "said=rejected" in answer.headers["Location"]
    assert "The rejection takes effect within a minute" in plain(
        hub.browser(MIA).text(f"/manage/changes/{batch.digest}")
    )
    ticks(hub, 3)
    assert not any(is_cut(hub, key) for key in batch.people)
    assert "No change waits for approval." in hub.browser(MIA).text("/manage/changes")


def test_a_second_click_changes_nothing(hub: Hub) -> None:
    batch, mia = batch_of(hub), hub.browser(MIA)
    mia.post(f"/manage/changes/{batch.digest}/approve")
    again = mia.post(f"/manage/changes/{batch.digest}/approve")
    assert again.headers["Location"].endswith("?said=already")
    assert given(hub) == [(user_key_for(MIA), Verdict.APPROVE, batch.digest)]
    mia.post(f"/manage/changes/{batch.digest}/reject")  # a change of mind counts
    ticks(hub, 2)
    assert not any(is_cut(hub, key) for key in batch.people)


@pytest.mark.parametrize("second", [OTTO, MIA], ids=["by the same administrator", "by another"])
def test_an_approval_after_a_rejection_is_no_vote_and_is_told_so(hub: Hub, second) -> None:
    batch = batch_of(hub)
    place = f"/manage/changes/{batch.digest}"
    hub.browser(OTTO).post(f"{place}/reject")
    assert "/approve" not in hub.browser(second).text(place)
    late = hub.browser(second).post(f"{place}/approve")
    assert late.headers["Location"].endswith("?said=too-late")
    assert "This was rejected before, and one rejection is enough" in hub.browser(second).text(f"{place}?said=too-late")
    assert given(hub) == [(user_key_for(OTTO), Verdict.REJECT, batch.digest)]


def test_a_click_is_about_the_list_that_was_shown_whatever_waits_by_then(hub: Hub) -> None:
    """Between the look and the click one person is let back in, and another one comes to wait."""
    shown, mia = batch_of(hub), hub.browser(MIA)
    mia.text("/manage/changes")
    back = next(life for life in (Life(hub.bench, email) for email in PEOPLE) if life.key in shown.people)
    back.serial = 500
    hub.bench.advance(minutes=1)
    back.tell(LeaveCancelled, source="hr")
    late = Life(hub.bench, parse_email("late@example.com"))
    late.tell(Joined, profile="analyst")
    ticks(hub, 7)
    late.tell(Left, source="hr")
    now = batch_of(hub)
    assert (back.key in now.people, late.key in now.people) == (False, True)
    for admin in (MIA, OTTO):
        answer = hub.browser(admin).post(f"/manage/changes/{shown.digest}/approve")
        assert answer.status_code == 303
    assert {digest for _, _, digest in given(hub)} == {shown.digest}
    text = plain(hub.browser(MIA).text(f"/manage/changes/{shown.digest}"))
    assert "This list is out of date" in text
    assert "5 still waiting" in text
    assert sorted(each["digest"] for each in mia.get("/api/changes").json["changes"]) == sorted(
        [shown.digest, now.digest]
    )
    ticks(hub, 3)
    assert all(is_cut(hub, key) for key in shown.people - {back.key})
    assert not is_cut(hub, back.key)
    assert not is_cut(hub, late.key)


def test_a_decided_list_shows_its_decisions_and_the_next_one_names_them_where_they_bind() -> None:
    """A decision is written to each record, and each person leaves the list with their own next pass."""
    hub = flooded(emails=[parse_email(f"user{number}@example.com") for number in range(16)])
    shown, mia, otto = batch_of(hub), hub.browser(MIA), hub.browser(OTTO)
    mia.post(f"/manage/changes/{shown.digest}/approve")
    hub.bench.advance(minutes=1)
    otto.post(f"/manage/changes/{shown.digest}/reject")
    take_up_decisions(hub.bench.deps)  # written to every record; nobody has had a pass yet
    decided = plain(mia.text(f"/manage/changes/{shown.digest}"))
    assert "Approved by you" in decided
    assert f"Rejected by {user_key_for(OTTO)}" in decided
    assert "This was decided. It takes effect for one person after the other, within minutes." in decided
    assert "Approve …" not in decided
    assert "Without a decision" not in decided
    first = min(shown.people)
    reconcile(first, hub.bench.deps)
    now = batch_of(hub)
    assert now.people == shown.people - {first}
    after = plain(mia.text(f"/manage/changes/{now.digest}"))
    assert f"An earlier list was rejected {clock(hub)}" in after
    assert f"That applies to {len(now.people)} people here." in after
    assert "Decided so far Nothing" not in after
    assert "Approve …" not in after
    old_html = otto.text(f"/manage/changes/{shown.digest}")
    old = plain(old_html)
    assert "Rejected by you" in old
    assert "This list is out of date, so nothing can be decided here. See the present list" in old
    assert f'href="/manage/changes/{now.digest}"' in old_html
    assert "Approve …" not in old
    assert "Reject …" not in old
    assert "Approve this list" not in otto.text(f"/manage/changes/{shown.digest}/approve")
    one = mia.get(f"/api/changes/{now.digest}").json
    assert (one["is_decided"], one["bound_by"][0]["digest"]) == (True, shown.digest)
    ticks(hub, 2)
    assert not any(is_cut(hub, key) for key in shown.people)
    over = plain(mia.text(f"/manage/changes/{shown.digest}"))
    assert "Approved by you" in over
    assert "no one waits for this reason any more" in over


def test_a_person_who_waits_anew_is_bound_by_no_earlier_decision(hub: Hub) -> None:
    """The same people leave again after a rejection: that is another matter, and the page says nothing of the old decision."""
    shown, mia = batch_of(hub), hub.browser(MIA)
    mia.post(f"/manage/changes/{shown.digest}/reject")
    ticks(hub, 2)
    for number, email in enumerate(each for each in PEOPLE if user_key_for(each) in shown.people):
        life = Life(hub.bench, email)
        life.serial = 700 + number
        life.tell(Left, source="hr")
    now = batch_of(hub)
    text = plain(mia.text(f"/manage/changes/{now.digest}"))
    assert now.digest != shown.digest
    assert "Decided so far Nothing" in text
    assert "Approve …" in text


def test_old_notes_of_decisions_are_removed_by_the_next(hub: Hub) -> None:
    guard, like = hub.bench.deps.guard, DecidedList(
        digest="a" * 32, verdict=Verdict.REJECT, at=hub.bench.now, cause=CutClass.EMPLOYMENT, source="hr",
        votes=(GivenVote(by=user_key_for(MIA), verdict=Verdict.REJECT, at=hub.bench.now),),
    )  # fmt: skip
    guard.note_decided(like)
    guard.note_decided(like)
    assert guard.decided(since=hub.bench.now - timedelta(days=1)) == (like,)
    later = replace(like, digest="b" * 32, at=hub.bench.now + timedelta(days=20))
    guard.note_decided(later)
    assert guard.decided(since=hub.bench.now - timedelta(days=90)) == (later,)


def test_without_a_decision_people_leave_the_list_as_the_limits_get_room(hub: Hub) -> None:
    """What the page says about waiting is what happens."""
    before = batch_of(hub)
    text = plain(hub.browser(MIA).text(f"/manage/changes/{before.digest}"))
    assert "People lose access one after the other, as the limits of the hour and of the day allow." in text
    assert "Those who still wait after 4 h are stopped" in text
    assert hub.browser(MIA).get(f"/api/changes/{before.digest}").json["takes_access"] is True
    ticks(hub, 95)
    after = batch_of(hub)
    assert before.people > after.people
    assert all(is_cut(hub, key) for key in before.people - after.people)


def test_the_list_that_was_shown_is_found_by_another_process(hub: Hub) -> None:
    """The page runs in several; a list is kept in the inbox, under its own digest."""
    from portal.app import create_app  # noqa: PLC0415 - only here

    shown = batch_of(hub)
    hub.browser(MIA).text("/manage")
    hub.app = create_app(hub.deps)
    life = next(Life(hub.bench, e) for e in PEOPLE if user_key_for(e) in shown.people)
    life.serial = 500
    hub.bench.advance(minutes=1)
    life.tell(LeaveCancelled, source="hr")
    text = plain(hub.browser(OTTO).text(f"/manage/changes/{shown.digest}"))
    assert "5 still waiting" in text


def test_a_list_that_the_inbox_forgot_is_stored_again_as_it_is_shown(hub: Hub) -> None:
    """Whoever lost a group may wait for longer than the inbox keeps things."""
    batch, mia = batch_of(hub), hub.browser(MIA)
    mia.text("/manage/changes")
    bucket = storage_bucket(hub.bench.clients, hub.bench.settings.inbox_bucket)
    bucket.blob(f"lists/{batch.digest}.json").delete()
    hub.bench.advance(hours=2)
    mia.text("/manage/changes")
    assert bucket.blob(f"lists/{batch.digest}.json").exists()


def test_whoever_is_on_the_list_cannot_decide_about_it(hub: Hub) -> None:
    batch = batch_of(hub)
    email = next(email for email in PEOPLE if user_key_for(email) in batch.people)
    hub.bench.deps.groups.join(ADMINS, email)
    own = hub.browser(email)
    page = own.text(f"/manage/changes/{batch.digest}")
    assert "You are on this list yourself, so others must decide about it." in page
    assert "Approve …" not in page
    assert "Approve this list" not in own.text(f"/manage/changes/{batch.digest}/approve")
    for path in (f"/manage/changes/{batch.digest}/approve", f"/manage/changes/{batch.digest}/reject"):
        assert own.post(path).status_code == 409
    answer = own.send(f"/api/changes/{batch.digest}/approve")
    assert (answer.status_code, answer.json["detail"]) == (
        409,
        "You are on this list yourself, so others must decide about it. Nothing was changed.",
    )
    assert given(hub) == []


def test_a_team_of_one_decides_at_once_even_about_itself() -> None:
    hub = flooded(GuardSettings(per_hour=3, share=1e-9, approvers=1))
    batch = batch_of(hub)
    email = next(email for email in PEOPLE if user_key_for(email) in batch.people)
    hub.bench.deps.groups.join(ADMINS, email)
    own = hub.browser(email)
    assert "one approval is enough here" in plain(own.text(f"/manage/changes/{batch.digest}"))
    assert own.post(f"/manage/changes/{batch.digest}/approve").status_code == 303
    ticks(hub, 2)
    assert all(is_cut(hub, key) for key in batch.people)
    (line,) = hub.lines("Approved list")
    assert line["own"] is True


def test_nobody_decides_about_a_list_on_which_nobody_waits_any_more(hub: Hub) -> None:
    answer = hub.browser(MIA).post(f"/manage/changes/{SAMPLES['digest']}/approve")
    assert answer.headers["Location"].endswith("?said=over")
    assert "Nobody on this list waits any more" in hub.browser(MIA).text(answer.headers["Location"])
    assert given(hub) == []


@pytest.mark.parametrize("digest", ["f" * 32, "nothing", "..%2f..", "F" * 32, "0" * 65])
def test_a_digest_that_nobody_was_shown_is_nothing(hub: Hub, digest: str) -> None:
    mia = hub.browser(MIA)
    assert mia.get(f"/manage/changes/{digest}").status_code == 404
    assert mia.post(f"/manage/changes/{digest}/approve").status_code == 404
    assert mia.send(f"/api/changes/{digest}/approve").status_code == 404
    assert mia.get(f"/manage/changes/{batch_of(hub).digest}/delete").status_code == 404


class TestWhatCannotBeRead:
    def test_an_unreadable_index_is_said_and_the_rest_works(self, hub: Hub) -> None:
        batch, mia = batch_of(hub), hub.browser(MIA)
        mia.text("/manage/changes")
        hub.bench.fault(call="storage.objects.list", resource="*", error=DENIED, times=1)
        html = mia.text("/manage/changes")
        assert "The list of waiting people could not be read just now" in html
        assert "No change waits for approval." not in html
        hub.bench.fault(call="storage.objects.list", resource="*", error=DENIED, times=1)
        one = plain(mia.text(f"/manage/changes/{batch.digest}"))
        assert "The list of waiting people could not be read" in one
        hub.bench.fault(call="storage.objects.list", resource="*", error=DENIED, times=1)
        assert mia.post(f"/manage/changes/{batch.digest}/reject").headers["Location"].endswith("?said=rejected")
        ticks(hub, 2)
        assert not any(is_cut(hub, key) for key in batch.people)

    def test_a_list_that_cannot_be_stored_cannot_be_decided_about(self, hub: Hub) -> None:
        batch, mia = batch_of(hub), hub.browser(MIA)
        hub.bench.fault(call="storage.objects.insert", resource="*lists/*", error=DENIED, times=0)
        assert mia.get("/manage/changes").status_code == 200
        assert "could not be stored just now" in mia.text(f"/manage/changes/{batch.digest}")
        assert mia.post(f"/manage/changes/{batch.digest}/approve").status_code == 409
        hub.bench.cloud.world.faults.clear()
        assert mia.post(f"/manage/changes/{batch.digest}/approve").status_code == 303

    def test_the_pages_do_without_the_fleet(self, hub: Hub) -> None:
        storage_bucket(hub.bench.clients).blob("index/fleet.json.gz").upload_from_string(b"damaged")
        batch, mia = batch_of(hub), hub.browser(MIA)
        for path in ("/manage/changes", f"/manage/changes/{batch.digest}", "/api/changes"):
            assert mia.get(path).status_code == 200


def test_names_are_text_wherever_they_stand() -> None:
    hub = flooded(emails=[*PEOPLE, ODD])
    mia = hub.browser(MIA)
    assert user_key_for(ODD) in batch_of(hub).people
    html = mia.text("/manage/changes") + mia.text(f"/manage/changes/{batch_of(hub).digest}")
    assert "o&#39;neil+test@sub.example.co" in html
    assert "o'neil+test" not in html


def test_people_who_lost_a_group_wait_without_end() -> None:
    hub = flooded(emails=())
    lives = [Life(hub.bench, email) for email in PEOPLE]
    for life in lives:
        life.tell(Joined, profile="analyst")
    ticks(hub, 7)
    hub.swept()
    for life in lives:
        life.tell(Moved, groups=(), profile=None, profile_said=True)
    text = plain(hub.browser(MIA).text("/manage/changes"))
    assert "People lose access one after the other, as the limits of the hour and of the day allow." in text
    assert hub.browser(MIA).get("/api/changes").json["changes"][0]["patience_ends"] is None


def test_who_was_stopped_after_the_guards_patience_is_counted() -> None:
    hub = flooded(emails=[parse_email(f"user{number}@example.com") for number in range(16)])
    for _ in range(26):
        hub.bench.advance(minutes=10)
        sweep("due", hub.bench.deps)
    found = [each for each in hub.browser(MIA).get("/api/changes").json["changes"] if each["undone"]]
    assert found
    assert "already stopped can be used again." in " ".join(found[0]["rejecting"])


class TestScripts:
    def test_what_the_page_shows_as_json(self, hub: Hub) -> None:
        jsonschema = pytest.importorskip("jsonschema")
        batch, mia = batch_of(hub), hub.browser(MIA)
        schemas = {
            route.name: dict(route.schema or {})
            for route in (*changes.ROUTES, *changes_api.ROUTES)
            if route.media == JSON
        }
        found = mia.get("/api/changes").json
        jsonschema.validate(found, schemas["manage.api_changes"])
        assert [each["digest"] for each in found["changes"]] == [batch.digest]
        one = mia.get(f"/api/changes/{batch.digest}").json
        jsonschema.validate(one, schemas["manage.api_change"])
        assert [row["user_key"] for row in one["rows"]] == [entry.user_key for entry in batch.entries]

    def test_a_script_decides(self, hub: Hub) -> None:
        batch = batch_of(hub)
        answer = hub.browser(MIA).send(f"/api/changes/{batch.digest}/reject")
        assert (answer.status_code, answer.json["outcome"]) == (200, "rejected")
        assert hub.browser(MIA).send(f"/api/changes/{batch.digest}/reject").json["outcome"] == "already"
        ticks(hub, 2)
        assert not any(is_cut(hub, key) for key in batch.people)

    @pytest.mark.parametrize(
        ("headers", "kind"),
        [
            ({}, "application/json"),
            ({"X-Benchkeeper": "page"}, "application/json"),
            ({"X-Benchkeeper": "script"}, "text/plain"),
            ({"X-Benchkeeper": "script"}, "application/x-www-form-urlencoded"),
            ({"X-Benchkeeper": "script", "Origin": "https://evil.example.com"}, "application/json"),
            ({"X-Benchkeeper": "script", "Sec-Fetch-Site": "cross-site"}, "application/json"),
            ({"X-Benchkeeper": "script", "Sec-Fetch-Site": "same-site"}, "application/json"),
        ],
    )
    def test_what_a_page_of_another_site_could_send_is_refused(self, hub: Hub, headers, kind) -> None:
        mia = hub.browser(MIA)
        path = f"/api/changes/{batch_of(hub).digest}/approve"
        answer = mia.client.post(path, data="{}", content_type=kind, headers={**mia.headers, **headers})
        assert answer.status_code == 403
        assert given(hub) == []

    def test_no_other_site_is_ever_allowed_to_ask(self, hub: Hub) -> None:
        mia = hub.browser(MIA)
        asked = {"Origin": "https://evil.example.com", "Access-Control-Request-Headers": "x-benchkeeper"}
        answer = mia.client.options("/api/changes", headers={**mia.headers, **asked})
        assert answer.status_code == 405
        assert not [name for name, _ in answer.headers if name.lower().startswith("access-control")]

    def test_a_form_of_the_page_is_not_let_in_as_a_script_nor_a_script_as_a_form(self, hub: Hub) -> None:
        mia, batch = hub.browser(MIA), batch_of(hub)
        assert mia.post(f"/api/changes/{batch.digest}/approve").status_code == 403
        assert mia.send(f"/manage/changes/{batch.digest}/approve").status_code == 403


def test_only_administrators_see_or_decide_anything(hub: Hub) -> None:
    for route in (*changes.ROUTES, *changes_api.ROUTES):
        assert ask(hub.browser(ANA), route).status_code == 403, route.name
        assert ask(hub.browser(None), route).status_code == 401, route.name


def test_nothing_in_the_log_is_an_address(hub: Hub) -> None:
    hub.browser(MIA).post(f"/manage/changes/{batch_of(hub).digest}/approve")
    (line,) = hub.lines("Stored a decision from the page")
    assert (line["by"], line["verdict"]) == (user_key_for(MIA), "APPROVE")
    assert not re.search(r"@example\.com", json.dumps([facts for _, _, facts in hub.bench.log.lines], default=str))


def test_an_approval_that_came_too_late_to_be_signed_for_does_not_count(hub: Hub) -> None:
    """The page wrote it and cannot be asked again; the tick judges by the time at which the object was made."""
    batch = batch_of(hub)
    hub.browser(MIA, iat=int((hub.bench.now - timedelta(minutes=5)).timestamp())).post(
        f"/manage/changes/{batch.digest}/reject"
    )
    ticks(hub, 20)
    assert not any(is_cut(hub, key) for key in batch.people)


# --- a configuration that waits


def _typo(hub, people):
    """A revision with a letter wrong in a group; the people who would lose access by it."""
    wrong = tuple(replace(each, group=f"x{each.group}") for each in hub.bench.settings.catalog.assignments)
    catalog = replace(hub.bench.settings.catalog, assignments=wrong, default_profile=None)
    made = wire(replace(hub.bench.settings, catalog=catalog), log=hub.bench.log, clients=hub.bench.clients)
    deps = replace(made, clock=hub.bench.deps.clock)
    for person in people:
        person.tell(Joined, groups=frozenset({"data-analysts@example.com"}))
    ticks(hub, 7)
    sweep("drift", hub.bench.deps)
    note_deployed(deps.base_policy, deps, by="deployer@example.com")
    sweep("drift", deps)
    return deps


def test_a_configuration_that_waits_is_shown_with_what_it_does_and_decided_about():
    hub = make_hub()
    people = [hub.life(parse_email(f"user{number}@example.com")) for number in range(8)]
    deps = _typo(hub, people)
    browser = hub.browser(MIA)
    listing = plain(browser.text("/manage/changes"))
    assert "The deployed configuration affects many people: 8 people wait" in listing
    assert "deployed by deployer@example.com" in listing
    assert "8 people lose access." in listing
    assert "The configuration in force stays." in listing
    (proposal,) = policy_waiting(deps)
    page = plain(browser.text(f"/manage/changes/{proposal.decided_by}"))
    assert "loses access" in page
    answer = browser.post(f"/manage/changes/{proposal.decided_by}/approve")
    assert answer.status_code == 303
    for _ in range(8):
        hub.bench.advance(minutes=1)
        sweep("due", deps)
    assert {i.state for i in instances(hub.bench.cloud).values()} == {"STOPPED"}
    assert "No change waits for approval." in plain(browser.text("/manage/changes"))


def test_who_deployed_it_or_loses_by_it_cannot_click():
    hub = make_hub()
    people = [hub.life(parse_email(f"user{number}@example.com")) for number in range(7)]
    people.append(hub.life(MIA))
    deps = _typo(hub, people)
    (proposal,) = policy_waiting(deps)
    browser = hub.browser(MIA)
    assert "others must decide about it" in plain(browser.text(f"/manage/changes/{proposal.decided_by}"))
    assert browser.post(f"/manage/changes/{proposal.decided_by}/approve").status_code == 409
    assert hub.bench.deps.decisions.waiting() == ()


# --- announced beforehand


def test_an_announcement_is_a_list_that_another_administrator_approves(hub: Hub) -> None:
    mia, otto = hub.browser(MIA), hub.browser(OTTO)
    script = {**mia.headers, "X-Benchkeeper": "script"}
    until = (hub.bench.now + timedelta(hours=5)).isoformat()
    body = {"people": [user_key_for(PEOPLE[0]), user_key_for(PEOPLE[1])], "until": until}
    answer = mia.client.post("/api/announcements", json=body, headers=script)
    assert answer.status_code == 200, answer.text
    assert answer.json["people"] == 2
    page = plain(otto.text(f"/manage/changes/{answer.json['digest']}"))
    assert "The end of access is announced for people" in page
    assert "without taking a slot" in page
    assert otto.post(f"/manage/changes/{answer.json['digest']}/approve").status_code == 303
    ticks(hub, 2)
    approved = [line for line in hub.lines("Approved list") if line["cause"] == "Announced"]
    assert [line["people"] for line in approved] == [2]


@pytest.mark.parametrize(
    "body",
    [
        {}, [], {"people": [], "until": "2026-11-23T12:00:00Z"}, {"people": ["x y"], "until": "2026-11-23T12:00:00Z"},
        {"people": ["ana-0123456789ab"], "until": "tomorrow"}, {"people": ["ana-0123456789ab"], "until": "2020-01-01T00:00:00Z"},
        {"people": ["ana-0123456789ab"], "until": "2099-01-01T00:00:00Z"}, {"people": "ana", "until": "2026-11-23T12:00:00Z"},
    ],
)  # fmt: skip
def test_an_announcement_that_says_nothing_usable_is_refused(hub: Hub, body) -> None:
    mia = hub.browser(MIA)
    answer = mia.client.post("/api/announcements", json=body, headers={**mia.headers, "X-Benchkeeper": "script"})
    assert answer.status_code == 409, answer.text
    assert "Nothing was announced." in answer.json["detail"]
    assert hub.bench.deps.decisions.waiting() == ()


def test_only_administrators_announce_and_only_as_scripts_do(hub: Hub) -> None:
    body = {"people": [user_key_for(PEOPLE[0])], "until": (hub.bench.now + timedelta(hours=5)).isoformat()}
    for email, headers in ((ANA, {"X-Benchkeeper": "script"}), (MIA, {})):
        browser = hub.browser(email)
        answer = browser.client.post("/api/announcements", json=body, headers={**browser.headers, **headers})
        assert answer.status_code == 403
    assert hub.bench.deps.decisions.waiting() == ()
