"""The manager's page about one person: how it stands, the whole story, and acts with the plan before them."""

from __future__ import annotations

import csv
import io
import re
from typing import Any

import pytest
from kit.hub import ANA, BEN, MIA, Hub, make_hub, plain
from kit.official import storage_bucket
from msgspec.structs import replace

from portal.manage.acts import Act
from shared.domain.people.events import Left, Renamed
from shared.domain.record.record import Power
from shared.domain.record.status import ConditionType
from shared.domain.things.errors import Reason
from shared.domain.things.history import StoryKind, StoryLine
from shared.domain.things.identity import parse_email, user_key_for
from shared.domain.things.snapshots import Snapshot
from shared.domain.things.times import rfc3339
from shared.engine.news.deliver import deliver
from shared.engine.news.requests import take_up, want_cluster
from shared.engine.reconcile.reconciler import preview, reconcile
from shared.engine.sweeps.sweeps import sweep
from shared.engine.views.person import plan_view
from shared.engine.views.preview import preview_after
from shared.engine.views.words import CONDITIONS, line_words

KEY = user_key_for(ANA)
BY = user_key_for(MIA)
PAGE = f"/manage/people/{KEY}"
SMALL = "single-node"


@pytest.fixture
def ana(hub: Hub) -> Hub:
    """Ana's notebook runs."""
    hub.joined(ANA)
    return hub


def section(html: str, heading: str) -> str:
    """The text of the part under a heading."""
    part = html.partition(f'id="{heading}"')[2].partition("</section>")[0].partition(">")[2]
    return " ".join(re.sub(r"<[^>]*>", " ", part).split())


def act(hub: Hub, name: str, **fields: str) -> Any:
    return hub.browser(MIA).post(f"{PAGE}/acts/{name}", **fields)


def passes(hub: Hub) -> None:
    """What the lifecycle function does when it is woken."""
    while hub.woken:
        reconcile(hub.woken.pop(), hub.bench.deps)
    hub.life().minutes(5)


def wishes(hub: Hub) -> list[tuple[str, str]]:
    return [(line.text, line.because) for line in hub.record().status.story if line.kind is StoryKind.WISH]


class TestPage:
    """What it shows."""

    def test_how_it_stands_and_why(self, ana: Hub) -> None:
        html = ana.browser(MIA).text(PAGE)
        record = ana.record()
        stands = section(html, "status")
        for text in (
            "Access Analyst. HR, default profile",
            "Target running, since access was granted",
            "Now running, e2-standard-4 (4 vCPU, 16 GB), europe-west1-b",
        ):
            assert text in stands
        assert "plan-heading" not in html  # there is none
        technical = ana.browser(MIA).text(f"{PAGE}?tab=technical")
        assert str(record.status.notebook.instance_id) in section(technical, "technical-heading")
        for condition in record.status.conditions:
            assert CONDITIONS[condition.type] in section(technical, "conditions-heading")
        facts = section(ana.browser(MIA).text(f"{PAGE}?tab=access"), "facts-heading")
        assert "Employment (HR) yes" in facts
        assert record.facts.timelines["employment"][0].event_id in facts

    def test_only_what_would_change_something_is_offered(self, ana: Hub) -> None:
        def offered() -> set[str]:
            return {name for name in ("start", "stop") if f"{PAGE}/acts/{name}" in ana.browser(MIA).text(PAGE)}

        assert offered() == {"stop"}
        act(ana, "stop")
        assert offered() == {"start", "stop"}  # under way: it may still be called back
        passes(ana)
        assert offered() == {"start"}
        act(ana, "start")
        assert offered() == {"start", "stop"}

    def test_the_first_visit_gets_the_readers_clock(self, ana: Hub) -> None:
        mia = ana.browser(MIA)
        assert 'data-ask-zone="reload"' in mia.text(PAGE)
        mia.client.set_cookie("tz", "Europe/Berlin")
        assert "data-ask-zone" not in mia.text(PAGE)

    def test_the_whole_story_in_time_order(self, ana: Hub) -> None:
        html = ana.browser(MIA).text(f"{PAGE}?tab=history")
        story = html.partition('id="story"')[2]
        texts = [line_words(line.text) for line in ana.record().status.story]
        places = [story.index(text) for text in dict.fromkeys(texts)]
        assert len(texts) > 4
        assert places == sorted(places, reverse=True), "the newest comes first"

    @pytest.mark.parametrize("kind", StoryKind)
    def test_one_sort_of_line_on_the_page_and_in_the_files(self, ana: Hub, kind: StoryKind) -> None:
        mine = [line for line in ana.record().status.story if line.kind is kind]
        others = {line_words(line.text) for line in ana.record().status.story if line.kind is not kind}
        browser = ana.browser(MIA)
        story = section(browser.text(f"{PAGE}?kind={kind.value}"), "story")
        assert all(line_words(line.text) in story for line in mine)
        assert [text for text in others if text in story] == []
        rows = browser.get(f"{PAGE}/story.json?kind={kind.value}").json["rows"]
        assert [(row["kind"], row["text"], row["because"]) for row in rows] == [
            (kind.value, line.text, line.because) for line in mine
        ]
        lines = csv.DictReader(io.StringIO(browser.text(f"{PAGE}/story.csv?kind={kind.value}")))
        assert [line["text"] for line in lines] == [line.text for line in mine]

    def test_every_table_is_there_as_files(self, ana: Hub) -> None:
        want_cluster(KEY, SMALL, ana.bench.deps, by="the person")
        passes(ana)
        known, now = ana.record().status, ana.bench.now
        assert known.notebook.instance_id is not None
        shot = Snapshot(
            name="snap-1", instance_id=known.notebook.instance_id, zone=known.notebook.zone or "", instance_uid=known.notebook.instance_uid,
            asked_at=now, ready_at=now, size_bytes=3 << 30,
        )  # fmt: skip
        ana.edit(ANA, snapshots=(shot,), saved_in="snap-1")
        browser = ana.browser(MIA)
        html, status = browser.text(PAGE), ana.record().status
        assert f'href="{PAGE}/evidence.zip" download>Export<' in html
        cluster = status.cluster(SMALL)
        expected = {
            "clusters": [(SMALL, cluster.name, "RUNNING", True, cluster.message)],
            "conditions": [
                (c.type.value, c.status.value, c.reason.value, c.message, rfc3339(c.last_transition_time))
                for c in status.conditions
            ],
            "snapshots": [("snap-1", rfc3339(now), rfc3339(now), False, 3 << 30, True, "last")],
        }
        for name, rows in expected.items():
            assert [tuple(row.values()) for row in browser.get(f"{PAGE}/{name}.json").json["rows"]] == rows
            lines = list(csv.reader(io.StringIO(browser.text(f"{PAGE}/{name}.csv"))))
            assert [line[0] for line in lines[1:]] == [row[0] for row in rows]
        hours = browser.get(f"{PAGE}/hours.json").json["rows"]
        assert [row["environment"] for row in hours] == ["Notebook", "Small Spark"]
        assert all(row["hours"] >= 0 and row["hourly_cost"] is not None for row in hours)

    def test_it_is_live_also_where_no_sweep_has_seen_the_person(self, ana: Hub) -> None:
        assert ana.browser(MIA).get("/manage/people").status_code == 503
        ana.life().minutes(3)
        assert "Read live" in ana.browser(MIA).text(PAGE)

    def test_hostile_texts_are_inert(self, ana: Hub) -> None:
        evil = "<img src=x onerror=alert(1)>"
        line = StoryLine(at=ana.bench.now, kind=StoryKind.NEWS, text=evil, because=evil, ref='"><script>')
        ana.edit(ANA, story=(line,), proxy_uri="javascript:alert(1)")
        html = ana.browser(MIA).text(PAGE)
        assert "<img src=x" not in html
        assert "<script>" not in html
        assert "javascript:" not in html

    def test_what_the_cloud_does_not_tell_is_said(self, ana: Hub) -> None:
        ana.bench.fault(call="notebooks.GetInstance", error={"code": "PERMISSION_DENIED", "message": "no"}, times=9)
        html = ana.browser(MIA).text(PAGE)
        assert "Now not known" in section(html, "status")

    def test_a_leaver_with_snapshots_and_hold(self, ana: Hub) -> None:
        ana.left(ANA)
        act(ana, "hold", reason="case 4711")
        html = ana.browser(MIA).text(PAGE)
        assert "On hold" in html
        assert "case 4711" in section(html, "status")
        assert "Left" in section(ana.browser(MIA).text(f"{PAGE}?tab=history"), "story")
        assert f"{PAGE}/acts/start" not in html
        assert f"{PAGE}/acts/release" in html

    def test_the_checks_of_a_leaver_who_had_spark_are_in_order_and_do_not_contradict(self, ana: Hub) -> None:
        want_cluster(KEY, SMALL, ana.bench.deps, by="operator")
        ana.life().minutes(6)
        assert ana.record().status.condition(ConditionType.CLUSTERS_READY) is not None
        assert "End access now" in section(ana.browser(MIA).text(PAGE), "status")
        ana.left(ANA)
        ana.life().minutes(15)
        assert ana.record().status.condition(ConditionType.CLUSTERS_READY) is None
        html = ana.browser(MIA).text(f"{PAGE}?tab=technical")
        checks = section(html, "conditions-heading")
        assert "1 Spark cluster running" not in checks
        assert "Spark templates Yes Removed" in checks
        assert "Notebook Yes Stopped, data kept" in checks
        assert "Saved at " in checks
        assert "End access now" not in section(html, "status")
        story = section(ana.browser(MIA).text(f"{PAGE}?tab=history"), "story")
        assert "Access is not cut yet. The notebook is being stopped." in story
        assert "Access has ended. The notebook is being stopped." not in story
        assert "No access: left (event" in story

    @pytest.mark.parametrize("key", [user_key_for(BEN), "nonsense", "a" * 300, "ana-silva-0123456789ab%0a"])
    def test_unknown_people_are_not_found(self, ana: Hub, key: str) -> None:
        mia = ana.browser(MIA)
        assert mia.get(f"/manage/people/{key}").status_code == 404
        assert mia.get(f"/manage/people/{key}/story.json").status_code == 404
        assert mia.get(f"/manage/people/{key}/acts/stop").status_code == 404
        assert mia.post(f"/manage/people/{key}/acts/stop").status_code == 404

    def test_the_key_of_a_new_address_leads_to_the_persons_own(self, ana: Hub) -> None:
        today = parse_email("ana.souza@example.com")
        ana.life().tell(Renamed, new_user=today)
        answer = ana.browser(MIA).get(f"/manage/people/{user_key_for(today)}")
        assert (answer.status_code, answer.headers["Location"]) == (303, PAGE)


class TestPlanBefore:
    """The confirm page: the plan as it is, and as it would be."""

    def test_stopping_shows_the_stop_and_does_nothing(self, ana: Hub) -> None:
        before = ana.record()
        html = ana.browser(MIA).text(f"{PAGE}/acts/stop")
        assert "Nothing changes." in section(html, "before")
        assert f"stop instance {before.status.notebook.instance_id}" in section(html, "after")
        assert ana.record() == before

    def test_what_is_so_already_is_said(self, ana: Hub) -> None:
        html = ana.browser(MIA).text(f"{PAGE}/acts/start")
        assert "Already set." in section(html, "after")

    def test_what_would_be_refused_has_no_button(self, ana: Hub) -> None:
        ana.left(ANA)
        html = ana.browser(MIA).text(f"{PAGE}/acts/start")
        assert "This would be refused" in section(html, "after")
        assert ">Start</button>" not in html

    def test_a_hold_takes_the_deletion_out_of_the_plan(self, ana: Hub) -> None:
        """Foreseen on the day on which the retention of a leaver has passed."""
        ana.left(ANA)
        ana.bench.advance(days=31)
        html = ana.browser(MIA).text(f"{PAGE}/acts/hold")
        assert "delete instance" in section(html, "before")
        assert "delete instance" not in section(html, "after")

    @pytest.mark.parametrize("name", [Act.START, Act.STOP, Act.DELETE_CLUSTER, Act.RECONCILE, Act.HOLD])
    def test_the_plan_after_is_the_plan_once_it_was_done(self, ana: Hub, name: Act) -> None:
        """The oracle is the engine: the same act done, and its plan made anew."""
        want_cluster(KEY, SMALL, ana.bench.deps, by=KEY)
        ana.life().minutes(5)
        if name is Act.START:
            act(ana, "stop")
            passes(ana)
        fields = {"template": SMALL} if name is Act.DELETE_CLUSTER else {}
        html = ana.browser(MIA).text(f"{PAGE}/acts/{name.value}" + (f"?template={SMALL}" if fields else ""))
        foreseen = section(html, "after")
        ana.loses_wake_ups = True
        act(ana, name.value, reason="case 1", **fields)
        take_up(KEY, ana.bench.deps)
        made = preview(KEY, ana.bench.deps)
        assert made is not None
        view = plan_view(made.plan)
        for action in view["actions"]:
            assert action in foreseen
        assert view["actions"] or "Nothing changes." in foreseen or "This is noted. Nothing is started" in foreseen
        if name in {Act.STOP, Act.START, Act.DELETE_CLUSTER}:
            assert view["actions"]

    def test_one_look_at_the_cloud_serves_both_plans(self, ana: Hub) -> None:
        ana.bench.cloud.world.journal.clear()
        preview(KEY, ana.bench.deps)
        alone = len(ana.bench.calls())
        ana.bench.cloud.world.journal.clear()
        assert preview_after(KEY, lambda record: record, ana.bench.deps) is not None
        assert len(ana.bench.calls()) == alone
        assert preview_after(user_key_for(BEN), lambda record: record, ana.bench.deps) is None


class TestActs:
    """What a POST does, seen in the world afterwards; who did it is in the story and in the log."""

    def test_stop_and_start(self, ana: Hub) -> None:
        answer = act(ana, "stop")
        assert (answer.status_code, answer.headers["Location"]) == (303, f"{PAGE}?said=stop")
        assert ana.woken == [KEY]
        passes(ana)
        assert list(ana.life().states().values()) == ["STOPPED"]
        assert act(ana, "start").headers["Location"].endswith("said=start")
        passes(ana)
        assert list(ana.life().states().values()) == ["ACTIVE"]
        assert wishes(ana) == [
            ("Stop the notebook", f"asked for by {BY}"),
            ("Start the notebook", f"asked for by {BY}"),
        ]
        assert [facts["by"] for facts in ana.lines("Stored a request from the page")] == [BY, BY]

    def test_twice_is_once(self, ana: Hub) -> None:
        act(ana, "stop")
        assert act(ana, "stop").headers["Location"].endswith("said=already")
        assert len(wishes(ana)) == 1
        assert ana.woken == [KEY]
        assert "Nothing was changed." in ana.browser(MIA).text(f"{PAGE}?said=already")

    def test_hold_and_release(self, ana: Hub) -> None:
        assert act(ana, "hold", reason="case  4711\n").headers["Location"].endswith("said=hold")
        record = ana.record()
        assert record.hold is not None
        assert record.hold.reason == "case 4711"
        assert act(ana, "hold", reason="case 4711").headers["Location"].endswith("said=already")
        other = parse_email("otto.admin@example.com")
        ana.make_admin(other)
        path = f"{PAGE}/acts/release"
        for by in (MIA, other):
            assert ana.browser(by).post(path).headers["Location"].endswith("said=release-asked")
        sweep("due", ana.bench.deps)
        assert ana.record().hold is None
        assert act(ana, "release").headers["Location"].endswith("said=already")
        both = " and ".join(sorted([BY, user_key_for(other)]))
        assert wishes(ana) == [
            ("Put on hold", f"case 4711; asked for by {BY}"),
            ("Released from hold", f"asked for by {both}"),
        ]

    @pytest.mark.parametrize("reason", ["", "   ", "x" * 201, "a\x07b", "ask ana.silva@example.com"])
    def test_a_hold_needs_a_reason_without_people(self, ana: Hub, reason: str) -> None:
        answer = act(ana, "hold", reason=reason)
        assert answer.status_code == 409
        assert ana.record().hold is None
        assert "@" not in str(ana.lines())

    def test_a_hold_that_may_come_too_late_says_so(self, ana: Hub) -> None:
        conditions = tuple(c for c in ana.record().status.conditions if c.type is not ConditionType.NOTEBOOK_READY)
        ready = ana.record().status.condition(ConditionType.NOTEBOOK_READY)
        assert ready is not None
        ana.edit(ANA, conditions=(*conditions, replace(ready, reason=Reason.DELETING)))
        assert act(ana, "hold", reason="case 1").headers["Location"].endswith("said=hold-late")
        assert "A deletion had begun before" in ana.browser(MIA).text(f"{PAGE}?said=hold-late")

    def test_looking_again_mends_what_somebody_removed(self, ana: Hub) -> None:
        stored = storage_bucket(ana.bench.clients).blob(f"templates/{KEY}/{SMALL}.yaml")
        stored.delete()
        assert act(ana, "reconcile").headers["Location"].endswith("said=reconcile")
        assert ana.woken == [KEY]
        assert wishes(ana) == [("Look again now", f"asked for by {BY}")]
        assert ana.lines("Accepted a request") == [{"user": KEY, "wish": "Look again now", "by": BY}]
        passes(ana)
        assert stored.exists()

    def test_a_wake_up_that_is_lost_is_made_good_by_the_tick(self, ana: Hub) -> None:
        stored = storage_bucket(ana.bench.clients).blob(f"templates/{KEY}/{SMALL}.yaml")
        stored.delete()
        ana.loses_wake_ups = True
        act(ana, "reconcile")
        assert not stored.exists()
        assert "not started yet: Look again now." in plain(ana.browser(MIA).text(PAGE))
        ana.life().minutes(1)
        assert "not started yet" not in ana.browser(MIA).text(PAGE)
        assert stored.exists()

    def test_deleting_a_cluster(self, ana: Hub) -> None:
        want_cluster(KEY, SMALL, ana.bench.deps, by=KEY)
        ana.life().minutes(5)
        page = ana.browser(MIA).text(PAGE)
        assert f"{PAGE}/acts/delete-cluster?template={SMALL}" in page
        html = ana.browser(MIA).text(f"{PAGE}/acts/delete-cluster?template={SMALL}")
        assert "delete Spark cluster" in section(html, "after")
        assert act(ana, "delete-cluster", template=SMALL).status_code == 303
        passes(ana)
        assert ana.bench.deps.clusters.of(KEY) == ()
        assert act(ana, "delete-cluster", template=SMALL).status_code == 404

    @pytest.mark.parametrize("template", ["", "no-such", "../x", "large-cluster"])
    def test_a_cluster_that_the_person_does_not_have(self, ana: Hub, template: str) -> None:
        assert act(ana, "delete-cluster", template=template).status_code == 404
        assert ana.browser(MIA).get(f"{PAGE}/acts/delete-cluster?template={template}").status_code == 404

    @pytest.mark.parametrize("name", ["nonsense", "delete", "STOP", ""])
    def test_there_are_no_other_acts(self, ana: Hub, name: str) -> None:
        assert act(ana, name).status_code == 404
        assert ana.browser(MIA).get(f"{PAGE}/acts/{name}").status_code == 404

    def test_a_leaver_is_not_started(self, ana: Hub) -> None:
        ana.left(ANA)
        assert act(ana, "start").status_code == 409
        assert ana.record().spec.power is Power.STOPPED

    def test_a_click_while_another_is_worked_on_does_nothing(self, ana: Hub) -> None:
        portal = ana.app.extensions["benchkeeper"]
        with portal.flights.one(KEY, "notebook"):
            assert act(ana, "stop").headers["Location"].endswith("said=busy")
        assert wishes(ana) == []
        assert act(ana, "stop").headers["Location"].endswith("said=stop")

    @pytest.mark.parametrize("name", list(Act))
    def test_without_the_forms_token_nothing_happens(self, ana: Hub, name: Act) -> None:
        before = ana.record()
        answer = ana.browser(MIA).post(f"{PAGE}/acts/{name.value}", csrf="A" * 43, reason="x", template=SMALL)
        assert answer.status_code == 403
        assert ana.record() == before
        assert ana.woken == []

    @pytest.mark.parametrize("name", list(Act))
    def test_who_is_no_administrator_changes_nothing(self, ana: Hub, name: Act) -> None:
        before = ana.record()
        for who in (ANA, BEN):
            answer = ana.browser(who).post(f"{PAGE}/acts/{name.value}", reason="x", template=SMALL)
            assert answer.status_code == 403
        assert ana.record() == before
        assert ana.woken == []


def test_somebody_who_was_never_seen_by_a_pass_has_a_page() -> None:
    """News came in, and nothing more: the record has no condition, no instance was looked for."""
    hub = make_hub()
    hub.life().tell(Left)
    assert hub.bench.deps.notebooks.listing().notebooks == ()
    html = hub.browser(MIA).text(PAGE)
    assert "No access. Left the company" in section(html, "status")
    assert (
        section(html, "spark-heading") == "Spark clusters No Spark clusters. The person starts them on the home page."
    )


def test_what_there_is_to_know_of_an_address_stands_on_the_page(ana: Hub) -> None:
    hired = parse_email("ana.costa@example.com")
    now = ana.bench.now
    deliver(
        Renamed(
            event_id="hr-1", user=ANA, new_user=hired, occurred_at=now, effective_at=now, source="hr", confirmed=False
        ),
        ana.bench.deps,
    )
    text = section(ana.browser(MIA).text(PAGE), "status")
    assert "hr announced the new address ana.costa@example.com, the directory has not." in text
