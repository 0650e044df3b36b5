"""The manager's pages in German: nothing of them is missing, nothing of them is English, for each role and each kind of view."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from kit.german import PAGES, WORDS, bare_texts, english_in, german, sentences_of, template_texts
from kit.hub import ADMINS, ANA, BEN, MIA, Hub, hub_settings, make_hub
from kit.manager_world import TABS, full_world, views
from msgspec.structs import replace

from portal.language import entries_of
from portal.manage import (
    acts,
    changes,
    changes_meaning,
    costs,
    messages,
    needs,
    people,
    person,
    policy_changes,
    questions,
    waves,
)
from shared.domain.fleet.fleet import FleetSnapshot
from shared.domain.intent.roles import Role, Roles
from shared.domain.people.events import AccountChanged, AccountState, GroupChanged, Joined, Left, Renamed
from shared.domain.people.groups import GroupEvent, GroupEventKind
from shared.domain.people.sources import DIRECTORY
from shared.domain.plan.guard_settings import GuardSettings
from shared.domain.things.catalog import Disruption, VmImage
from shared.domain.things.identity import parse_email, user_key_for
from shared.engine.decisions.letters import letter_digest
from shared.engine.decisions.policy_change import note_deployed, put_in_force, waiting
from shared.engine.news.deliver import deliver
from shared.engine.reconcile.changing import want_hold
from shared.engine.sweeps.sweeps import sweep
from shared.engine.views import certificate, notices, rosters, words
from shared.wiring import wire

ROOT = Path(__file__).parents[2]
OF_MANAGERS = sorted((PAGES / "manage").glob("*.html"))
OTTO = parse_email("otto.admin@example.com")
NEW = parse_email("Ñandú O'Neil+new@sub.example.co")
ROLES = Roles(
    owner=ADMINS, operator="hub-ops@example.com", help_desk="hub-help@example.com", auditor="hub-audit@example.com"
)
# The words of a page that code keeps, as they are shown: with a capital, with a full stop, with a number, each as the page does it.
SAID: list[Mapping[Any, Any]] = [
    people.TITLES, people.VIEWS, people.EMPTY, person.TABS, person.TEXTS, person.KINDS, person.SNAPSHOTS, changes.TEXTS, changes.WORDS,
    changes_meaning.TITLES, questions.TITLES, messages.TEXTS, messages.ADVICE, waves.COUNTED, costs.GROUPS, rosters.TITLES,
    rosters.REFUSALS, rosters.OUTCOMES, words.STATUS, words.CAUSES, words.NOTEBOOK, words.CLUSTER, words.CONDITIONS, words.HOLDS,
]  # fmt: skip


def missing(texts: Iterable[str]) -> list[str]:
    return [part for text in texts for part, known in WORDS.told(text) if not known and part]


def capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


# ---- nothing is missing


def test_each_text_of_a_template_has_its_german() -> None:
    texts = set(template_texts(OF_MANAGERS))
    assert len(texts) > 300
    assert sorted(texts - entries_of("de").keys()) == []


def test_no_text_of_these_templates_stands_outside_a_translation() -> None:
    assert {path.name: bare_texts(path) for path in OF_MANAGERS if bare_texts(path)} == {}


def test_each_word_that_code_keeps_for_a_page_has_its_german() -> None:
    texts = [text for said in SAID for text in said.values()]
    texts += [text for need in [*needs.NEEDS.values(), needs.need_of("")] for text in (need.text, need.advice)]
    texts += [
        text for each in [*acts.WORDS.values(), acts.RELEASE_OF_TWO] for text in (each.title, each.text, each.button)
    ]
    texts += [words.fact_words(name) for name in words._FACTS] + [
        words.fact_words("group:g"),
        words.fact_words("cost:x"),
    ]
    texts += [why for why in words.POWER.values() if why]
    texts += [each.value.capitalize() for each in changes_meaning.Unread]
    texts += [capital(text) for text in [*certificate._TEXTS.values(), *certificate.NOT_COVERED]]
    texts += [*certificate._STATES.values(), policy_changes.TITLE, waves.TITLE]
    texts += [
        f"{capital(text.format(number))}."
        for steps in (changes_meaning.STEPS, policy_changes.STEPS)
        for pair in steps.values()
        for text, number in zip(pair, ("1", "1,234"), strict=True)
    ]
    assert missing(texts) == []


def test_each_notice_has_its_german() -> None:
    values = {name: f"{name}@example.com" for name in ("user", "predecessor", "rename_to")}
    values |= {"not_told": "first", "blocked_at": "2026-11-29 10:00", "blocked_because": "case 4711. See Legal."}
    for source in ("hr", "A source"):
        texts = [text.format(**values, rename_source=source) for text in notices._WORDS.values()]
        assert missing(texts) == []


def test_each_refusal_has_its_german() -> None:
    texts = [
        text.removeprefix("7 ").strip()  # after a reason that is a sentence of its own
        for path in sorted((ROOT / "portal/manage").glob("*.py"))
        if path.name not in {"changes_api.py", "releases.py"}  # scripts read these
        for text in sentences_of(path)
        if text[-1:] in {".", "!"}
    ]
    assert len(texts) > 40
    assert missing(text for text in texts if " " in text) == []


# ---- nothing is English


@pytest.fixture(scope="module")
def world() -> Hub:
    return full_world()


def shown(hub: Hub, by: str, paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    browser = german(hub, by)
    for path in paths:
        answer = browser.get(path)
        assert answer.status_code in {200, 403, 404, 503}, path
        yield path, answer.get_data(as_text=True)


def english(hub: Hub, by: str, paths: Iterable[str]) -> dict[str, list[str]]:
    return {path: found for path, html in shown(hub, by, paths) if (found := english_in(html))}


def test_every_view(world: Hub) -> None:
    letters = [f"/manage/messages/{letter_digest(row)}" for row in world.bench.deps.dead_letters.rows()]
    paths = [*views(), "/manage/costs?by=department", *letters]
    assert english(world, MIA, paths) == {}
    html = german(world, MIA).text("/manage")
    assert '<html lang="de">' in html
    assert "In europe-west1-b gibt es keine Maschinen seit " in html
    assert "Sa. 21. Nov." in html


def test_a_column_of_a_card_has_the_name_of_the_table(world: Hub) -> None:
    html = german(world, MIA).text("/manage/people")
    assert 'data-label="Zugang durch"' in html
    assert "60 Tage unbenutzt" in html
    assert 'class="state state-running"' in html


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.AUDITOR, Role.HELP_DESK])
def test_what_each_role_sees(role: Role) -> None:
    hub = make_hub(hub_settings(roles=ROLES))
    email = parse_email(f"{role.value.lower().replace('_', '-')}@example.com")
    hub.bench.deps.groups.join(dict(ROLES.groups())[role], email)
    hub.joined(ANA)
    hub.swept()
    of_ana = f"/manage/people/{user_key_for(ANA)}"
    paths = [
        "/manage",
        "/manage/people",
        "/manage/help",
        "/manage/help?said=no-one",
        "/manage/changes",
        "/manage/messages",
    ]
    paths += [
        *(f"{of_ana}{tab}" for tab in TABS),
        *(f"{of_ana}/acts/{act}" for act in ("stop", "hold", "block", "lift")),
    ]
    assert english(hub, email, paths) == {}


def test_each_act_and_what_it_says() -> None:
    hub = make_hub()
    hub.joined(ANA)
    of_ana, browser = f"/manage/people/{user_key_for(ANA)}", german(hub, MIA)
    for act in ("stop", "hold", "release", "reconcile", "block", "lift", "restart"):
        assert english_in(browser.text(f"{of_ana}/acts/{act}")) == [], act
        answer = browser.post(f"{of_ana}/acts/{act}", reason="case 4711")
        assert english_in(browser.text(answer.headers.get("Location", of_ana))) == [], act
        hub.life().minutes(3)
    for reason in ("", "ask ana.silva@example.com"):
        refused = browser.post(f"{of_ana}/acts/hold", reason=reason)
        assert (refused.status_code, english_in(refused.get_data(as_text=True))) == (409, [])
    assert (
        english(hub, MIA, [f"{of_ana}?tab=history", f"{of_ana}?said=busy", *(f"{of_ana}{tab}" for tab in TABS)]) == {}
    )
    for said in person.Said:
        assert english_in(browser.text(f"{of_ana}?said={said.value}")) == [], said


def test_before_the_first_sweep_and_with_nobody() -> None:
    hub = make_hub()
    paths = ["/manage", "/manage/people", "/manage/costs", "/manage/attention", "/manage/messages", "/manage/changes"]
    assert "Gerade nicht verfügbar" in german(hub, MIA).text("/manage")
    assert english(hub, MIA, paths) == {}
    hub.bench.deps.fleet.write_fleet(FleetSnapshot(taken_at=hub.bench.now - timedelta(hours=2), rows=()))
    assert english(hub, MIA, [*paths, *(f"/manage/people?view={view}" for view in people.View)]) == {}


def changes_of(hub: Hub, by: str = MIA) -> list[str]:
    """Return the pages of the changes that wait, of both verdicts, and of a change that is decided about."""
    digests = [each["digest"] for each in hub.browser(by).get("/api/changes").json["changes"]]  # type: ignore[arg-type]
    assert digests
    pages = [f"/manage/changes/{digest}{verdict}" for digest in digests for verdict in ("", "/approve", "/reject")]
    return ["/manage", "/manage/changes", *pages, *(f"{pages[0]}?said={said.value}" for said in changes.Said)]


def test_a_batch_of_cuts() -> None:
    hub = make_hub(settings=hub_settings(guard=GuardSettings(per_hour=3, share=1e-9)))
    hub.bench.deps.groups.join(ADMINS, OTTO)
    lives = [hub.life(parse_email(f"user{number}@example.com")) for number in range(9)]
    for life in lives:
        life.tell(Joined, profile="analyst")
    for _ in range(7):
        hub.bench.advance(minutes=1)
        sweep("due", hub.bench.deps)
    hub.swept()
    for life in lives:
        life.tell(Left, source="hr")
    hub.swept()
    assert english(hub, MIA, changes_of(hub)) == {}
    assert " Personen warten" in german(hub, MIA).text("/manage/changes")
    batch = changes_of(hub)[2]
    hub.browser(OTTO).post(f"{batch}/approve")
    assert english(hub, MIA, [batch]) == {}
    assert english(hub, MIA, [f"/manage/people/{lives[0].key}{tab}" for tab in TABS]) == {}
    announced = german(hub, MIA)
    refused = announced.post("/manage/people/announce", list="0" * 32, until="2026-12-01")
    assert (refused.status_code, english_in(refused.get_data(as_text=True))) == (409, [])


def test_a_configuration_and_its_waves() -> None:
    def files(name: str) -> dict[str, dict[str, object]]:
        return {"analyst": {"image": VmImage(project="p", name=name), "disruption": Disruption.NOW}}

    hub = make_hub(settings=hub_settings(files("old")))
    for number in range(8):
        hub.life(parse_email(f"user{number}@example.com")).join(profile="analyst")
    sweep("drift", hub.bench.deps)
    wired = wire(hub_settings(files("new")), log=hub.bench.log, clients=hub.bench.clients)
    deps = replace(wired, clock=hub.bench.deps.clock)
    note_deployed(deps.base_policy, deps, by="deployer@example.com")
    sweep("drift", deps)
    (proposal,) = waiting(deps)
    assert english(hub, MIA, changes_of(hub)) == {}
    put_in_force(proposal.digest, deps, impact_digest=proposal.impact.digest, approved_by=("otto",))
    hub.bench.deps.policies.load()
    hub.bench.fault(
        call="notebooks.CreateInstance",
        times=0,
        operation_error={"code": "INVALID_ARGUMENT", "message": "The image does not boot."},
    )
    html = german(hub, MIA).text("/manage/changes")
    assert "Welle 1 von 3" in html
    assert english_in(html) == []
    for _ in range(2):
        sweep("drift", deps)
        for minutes in (*[1] * 15, 44, 1):
            hub.bench.advance(minutes=minutes)
            sweep("due", deps)
    sweep("idle", deps)
    hub.bench.deps.policies.load()
    assert "Rollout angehalten" in german(hub, MIA).text("/manage/changes")
    assert english(hub, MIA, changes_of(hub)) == {}


def questioned() -> Hub:
    hub = make_hub()
    for admin in (OTTO, BEN):
        hub.bench.deps.groups.join(ADMINS, admin)
    hub.life(ANA).join(profile="analyst")
    return hub


def tell(hub: Hub, event: Any) -> None:
    deliver(event, hub.bench.deps)
    hub.swept()


def test_a_new_address_and_two_environments() -> None:
    hub = questioned()
    at = hub.bench.now
    renamed = Renamed(
        event_id="hr-1", user=ANA, new_user=NEW, confirmed=False, occurred_at=at, effective_at=at, source="hr"
    )
    tell(hub, renamed)
    assert english(hub, MIA, [*changes_of(hub), f"/manage/people/{user_key_for(ANA)}"]) == {}
    hub.life(NEW).join(profile="analyst")
    hub.swept()
    assert english(hub, MIA, changes_of(hub)) == {}


def test_a_group_that_is_gone() -> None:
    hub, group = questioned(), "data-analysts@example.com"
    for number in range(3):
        life = hub.life(parse_email(f"p{number}@example.com"))
        life.tell(GroupChanged, group=group, member=True, source=DIRECTORY)
    for _ in range(8):
        hub.bench.advance(minutes=1)
        sweep("due", hub.bench.deps)
    at = hub.bench.now
    tell(hub, GroupEvent(kind=GroupEventKind.DELETED, group=group, occurred_at=at, event_id="g", source=DIRECTORY))
    assert "3 Personen verlieren den Zugang" in german(hub, MIA).text("/manage/changes")
    assert english(hub, MIA, changes_of(hub)) == {}


def test_a_new_account_under_an_old_address() -> None:
    hub = questioned()
    life = hub.life(ANA)
    life.serial = 20
    for state in (AccountState.DELETED, AccountState.CREATED):
        hub.bench.advance(minutes=1)
        life.tell(AccountChanged, state=state, holds=True, source=DIRECTORY, published_at=hub.bench.now)
    hub.swept()
    assert english(hub, MIA, changes_of(hub)) == {}
    paths = [f"/manage/people/{hub.record(ANA).user_key}{tab}" for tab in TABS]
    assert english(hub, MIA, ["/manage", "/manage/changes", "/manage/people", *paths]) == {}


def test_a_hold_and_its_release() -> None:
    hub = questioned()
    want_hold(user_key_for(ANA), "case 4711", hub.bench.deps)
    release = f"/manage/people/{user_key_for(ANA)}/acts/release"
    browser = german(hub, MIA)
    assert english_in(browser.text(release)) == []
    assert english_in(browser.text(browser.post(release).headers["Location"])) == []
    assert english(hub, MIA, changes_of(hub, OTTO)) == {}
    assert "case 4711" in german(hub, MIA).text("/manage/changes")


def test_rosters() -> None:
    for switched in (False, True):
        hub = make_hub(hub_settings(roster_employees=switched))
        hub.joined(BEN)
        hub.swept()
        assert english(hub, MIA, ["/manage/rosters"]) == {}
    bucket = hub.bench.clients.bucket(hub.bench.settings.inbox_bucket)
    for lines in (["user", ANA, "#rows,1", ""], ["user", "nobody", "#rows,1", ""], ["user", "#rows,0", ""]):
        hub.bench.advance(minutes=1)
        bucket.write("rosters/hr.csv", "\n".join(lines).encode(), what="drop")
        sweep("roster", hub.bench.deps)
        assert english(hub, MIA, ["/manage/rosters", "/manage"]) == {}


def test_what_scripts_read_stays_english(world: Hub) -> None:
    plainly = world.browser(MIA)
    plainly.client.set_cookie("tz", "Europe/Berlin")
    for path in (
        "/manage/people.csv",
        "/manage/attention.json",
        "/manage/messages.csv",
        "/api/changes",
        "/manage/states.csv",
    ):
        assert german(world, MIA).text(path) == plainly.text(path), path


def test_what_somebody_typed_is_not_translated() -> None:
    assert WORDS.short("Profile Stopped requested by name") == "Profil Stopped namentlich angefordert"
    assert WORDS.short("Data on hold: Stopped. With a point") == "Daten unter Hold: Stopped. With a point"
    assert WORDS.short("1,234 people lose access.") == "1.234 Personen verlieren den Zugang."
