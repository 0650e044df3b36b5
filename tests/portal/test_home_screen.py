"""One screen for the analyst: one primary button, one line of facts, a menu, Google's consent, one's own history, the corner."""

from __future__ import annotations

import re
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from kit.hub import ADMINS, ANA, BEN, MIA, NOBODY, Hub, hub_settings, make_hub, plain
from msgspec.structs import replace

from portal.machine import size_text
from shared.domain.fleet.fleet import Notes
from shared.domain.people.events import Moved
from shared.domain.record.status import ConditionStatus, ConditionType, set_condition
from shared.domain.things.catalog import Disruption, Identity
from shared.domain.things.errors import Reason
from shared.domain.things.identity import user_key_for

KEY = user_key_for(ANA)


class Buttons(HTMLParser):
    """The primary buttons of a page: neither quiet nor a link in a text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.primary: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        kinds = (said.get("class") or "").split()
        if (tag == "button" or "button" in kinds) and not {"outline", "link", "danger"} & set(kinds):
            self.primary.append(said.get("id") or "?")


def facts(html: str) -> str:
    found = re.search(r'id="facts">(.*?)</p>', html, re.DOTALL)
    assert found is not None
    return plain(found[1]).strip()


def say(hub: Hub, reason: Reason, message: str, status: ConditionStatus = ConditionStatus.TRUE) -> None:
    conditions = hub.record().status.conditions
    hub.edit(
        ANA, conditions=set_condition(conditions, ConditionType.NOTEBOOK_READY, status, reason, message, hub.bench.now)
    )


def test_one_primary_button_whatever_the_state(two: Hub) -> None:
    ana = two.browser(ANA)
    assert Buttons(ana.text("/")).primary == ["open-notebook"]
    ana.post("/notebook/stop")
    two.life().minutes(4)
    assert Buttons(ana.text("/")).primary == ["start-notebook"]
    ana.post("/notebook/start")
    assert Buttons(ana.text("/")).primary == []


def test_one_line_of_facts(two: Hub) -> None:
    assert (
        facts(two.browser(ANA).text("/"))
        == "4 vCPU · 16 GB · 100 GB disk · stops after 3 h unused · about 0.02 EUR this month"
    )
    now = two.bench.now
    two.bench.deps.fleet.write_notes(
        Notes(
            taken_at=now,
            idle_stops={KEY: now + timedelta(hours=3)},
            last_used={KEY: now},
            costs={KEY: 4.9},
            costs_month="2026-11",
            costs_at=now,
        )
    )
    ana = two.browser(ANA)
    ana.client.set_cookie("tz", "Europe/Berlin")
    assert facts(ana.text("/")) == (
        "4 vCPU · 16 GB · 100 GB disk · last used 09:08 · stops 12:08 if unused · 4.90 EUR this month"
    )


@pytest.mark.parametrize(
    ("machine", "size"),
    [("e2-standard-4", "4 vCPU · 16 GB"), ("n2-custom-6-20480", "6 vCPU · 20 GB"), ("n1-standard-2", "2 vCPU · 7.5 GB"), ("a2-highgpu-1", "1 vCPU"), ("odd", "")],
)  # fmt: skip
def test_a_size_that_the_name_does_not_give_is_not_invented(machine: str, size: str) -> None:
    assert size_text(machine) == size


@pytest.mark.parametrize(("mode", "begins"), [(Disruption.WHEN_IDLE, True), (Disruption.NOW, False)])
def test_a_move_says_what_comes_and_what_a_stop_begins(mode: Disruption, *, begins: bool) -> None:
    hub = make_hub(hub_settings({"engineer": {"disruption": mode}}))
    life = hub.joined(ANA)
    life.tell(Moved, profile="engineer", profile_said=True)
    say(
        hub,
        Reason.UPDATE_PENDING,
        "Your notebook is running. A change to its machine is made when the notebook is stopped.",
    )
    html = hub.browser(ANA).text("/")
    machine = hub.bench.settings.catalog.profiles["engineer"].machine_type
    assert f"{machine} ({size_text(machine).replace(' · ', ', ')}) from the next start" in plain(html)
    now = hub.bench.settings.catalog.profiles["analyst"]
    assert facts(html).startswith(f"{size_text(now.machine_type)} · {now.data_disk.size_gb} GB disk"), "what runs now"
    assert ("It begins when you stop the notebook" in html) is begins
    assert ('aria-describedby="stop-note"' in html) is begins


def test_what_cannot_work_now_is_not_offered(two: Hub) -> None:
    ana = two.browser(ANA)
    html = ana.text("/")
    assert all(f'id="{name}"' in html for name in ("stop-notebook", "extend", "restart-notebook"))
    ana.post("/notebook/keep-on", until="max")
    html = ana.text("/")
    assert ('id="extend"' in html, "Extended as far as your profile allows." in html) == (False, True)
    ana.post("/notebook/stop")
    html = ana.text("/")
    assert [name for name in ("start-notebook", "stop-notebook", "extend", "restart-notebook", "keep") if f'id="{name}"' in html] == ["start-notebook"]  # fmt: skip


def test_the_extension_is_extended_until_the_longest(two: Hub) -> None:
    ana = two.browser(ANA)
    for hours in (2, 4, 6, 8, 10, 12):
        html = ana.text("/")
        assert ('id="extend"' in html, "as far as your profile" in html) == (True, False)
        ana.post("/notebook/keep-on", until="extend")
        assert two.record().spec.keep_on_until == two.bench.now + timedelta(hours=hours)
    assert "Extended as far as your profile allows." in ana.text("/")


def test_a_start_that_is_done_says_so_in_the_tab(two: Hub) -> None:
    ana = two.browser(ANA)
    assert "<title>Ready · Notebook" in ana.text("/")
    assert 'data-title="Ready"' in ana.text("/parts/notebook")
    two.bench.advance(minutes=11)
    assert "<title>Running · Notebook" in ana.text("/")


class TestConsent:
    """Nothing tells whether the owner agreed to Google's dialog, so the help stays in sight until the owner says so."""

    def hub(self, identity: Identity = Identity.END_USER_CREDENTIALS) -> Hub:
        hub = make_hub(hub_settings({"analyst": {"identity": identity}}))
        hub.joined(ANA)
        return hub

    def test_it_is_open_until_done_and_again_after_a_replacement(self) -> None:
        hub = self.hub()
        ana = hub.browser(ANA)
        html = ana.text("/")
        assert re.search(r'<details id="consent" class="notice" open>', html)
        assert f"<code>{hub.record().status.notebook.instance_id}</code>" in html
        assert ana.post("/preferences/consent").headers["Location"] == "/"
        assert re.search(r'<details id="consent" class="note">', ana.text("/"))
        hub.edit(ANA, instance_id="nb-ana-silva-7bda2560ce1b-2")
        assert re.search(r'<details id="consent" class="notice" open>', ana.text("/"))

    def test_a_notebook_with_an_account_of_its_own_needs_none(self) -> None:
        assert 'id="consent"' not in self.hub(Identity.PERSONAL_SERVICE_ACCOUNT).browser(ANA).text("/")

    def test_a_strange_cookie_is_none_and_a_stranger_gets_none(self) -> None:
        hub = self.hub()
        ana = hub.browser(ANA)
        ana.client.set_cookie("consent", "yes")
        assert 'class="notice" open' in ana.text("/")
        given = hub.browser(NOBODY).post("/preferences/consent").headers.getlist("Set-Cookie")
        assert [each for each in given if each.startswith("consent")] == []


class TestHistory:
    def test_it_names_nobody_else_and_no_calls(self, two: Hub) -> None:
        two.browser(ANA).post("/notebook/stop")
        two.life().minutes(4)
        two.browser(MIA).post(f"/manage/people/{KEY}/acts/start")
        two.life().minutes(6)
        text = plain(two.browser(ANA).text("/history"))
        assert "Stop the notebook asked for by you" in text
        assert "You stopped your notebook. The notebook is being stopped." in text
        assert "by the person" not in text
        assert "Start the notebook by an administrator" in text
        for word in (str(user_key_for(MIA)), "mia.chen", "instances.create"):
            assert word not in text

    def test_a_source_is_no_administrator(self, two: Hub) -> None:
        """The line about a message names its source, also while it waits for the audit."""
        two.life().tell(Moved, source="hr", attributes={"department": "risk"})
        text = plain(two.browser(ANA).text("/history"))
        assert "Moved by HR" in text
        assert "administrator" not in text

    def test_it_is_ones_own(self, two: Hub) -> None:
        two.browser(ANA).post("/notebook/stop")
        assert "Stop the notebook" not in plain(two.browser(BEN).text("/history"))
        assert two.browser(NOBODY).get("/history").status_code == 403


class TestCorner:
    def test_address_help_zone_and_the_way_out(self, two: Hub) -> None:
        html = two.browser(ANA).text("/")
        corner = html.partition('id="corner"')[2].partition("</details>")[0]
        assert str(ANA) in corner
        assert "Help:" in corner
        assert 'name="zone"' in corner
        assert 'href="/?gcp-iap-mode=CLEAR_LOGIN_COOKIE"' in corner

    def test_the_managers_link_is_for_those_who_have_a_role(self, two: Hub) -> None:
        assert "/manage" not in two.browser(ANA).text("/")
        mia = two.browser(MIA)
        assert ">All people</a>" in mia.text("/"), "somebody without a notebook is asked for a role"
        mia.get("/manage/help")
        two.joined(MIA)
        assert ">All people</a>" in mia.text("/")
        two.bench.deps.groups.leave(ADMINS, MIA)

    def test_the_link_alone_opens_nothing(self, two: Hub) -> None:
        ana = two.browser(ANA)
        ana.client.set_cookie("looks-after", "1")
        assert ">All people</a>" in ana.text("/")
        assert ana.get("/manage/help").status_code == 403


def test_serverless_spark_comes_first(two: Hub) -> None:
    html = two.browser(ANA).text("/parts/spark")
    assert html.index("Spark without a cluster") < html.index('class="rows"')


def test_no_sentence_of_the_screen_is_long_or_says_a_raw_word(two: Hub) -> None:
    html = two.browser(ANA).text("/")
    html = re.sub(r'<p class="line" id="facts">.*?</p>', "", html, flags=re.DOTALL)
    shown = re.sub(r'class="unseen"[^<]*<[^>]*>', "", html.partition("<main")[2].partition("</main>")[0])
    blocks = re.findall(
        r"<(?:p|h\d|button|summary|dt|dd|li)[^>]*>(.*?)</(?:p|h\d|button|summary|dt|dd|li)>", shown, re.DOTALL
    )
    sentences = [one for block in blocks for one in re.split(r"(?<=[.!?]) ", plain(block))]
    assert [each for each in sentences if len(each.split()) > 20] == []
    for word in ("PRESENT", "ABSENT", "ACTIVE", "EndUser", "needs patience", "cannot be seen just now"):
        assert word not in plain(shown)


def test_without_a_profile_the_screen_is_a_page() -> None:
    hub = make_hub()
    hub.joined(ANA)
    catalog = replace(hub.deps.engine.policy.catalog, profiles={})
    engine = replace(hub.deps.engine, base_policy=replace(hub.deps.engine.policy, catalog=catalog))
    from portal.app import create_app  # noqa: PLC0415 - another application

    hub.app = create_app(replace(hub.deps, engine=engine))
    assert facts(hub.browser(ANA).text("/")) == "about 0.02 EUR this month"
