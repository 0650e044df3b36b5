"""The words of every view of the manager's page: no raw name, no word that the page does not use, no long sentence."""

from __future__ import annotations

import pytest
from kit.hub import MIA, Hub, make_hub
from kit.manager_world import full_world, views
from kit.wording import RAW, faults_of, long_sentences, texts_of

from portal.manage.needs import need_of
from shared.domain.people.entitlement import Cause
from shared.domain.things.errors import Reason
from shared.engine.decisions.letters import letter_digest
from shared.engine.views.words import CAUSES, STATUS, status_words


@pytest.fixture(scope="module")
def world() -> Hub:
    return full_world()


@pytest.mark.parametrize("path", views())
def test_the_words_of_each_view(world: Hub, path: str) -> None:
    answer = world.browser(MIA).get(path)
    assert answer.status_code == 200
    assert faults_of(answer.get_data(as_text=True)) == []
    german = world.browser(MIA).get(path, Accept_Language="de").get_data(as_text=True)
    assert texts_of(german) != texts_of(answer.get_data(as_text=True))
    assert long_sentences(german) == []


def test_the_words_of_each_message(world: Hub) -> None:
    for row in world.bench.deps.dead_letters.rows():
        answer = world.browser(MIA).get(f"/manage/messages/{letter_digest(row)}")
        assert answer.status_code == 200
        assert faults_of(answer.get_data(as_text=True)) == []


def test_the_words_of_an_empty_world() -> None:
    hub = make_hub()
    hub.swept()
    for path in (
        "/manage",
        "/manage/people",
        "/manage/costs",
        "/manage/messages",
        "/manage/changes",
        "/manage/attention",
    ):
        assert faults_of(hub.browser(MIA).text(path)) == []


def test_every_state_and_cause_has_words() -> None:
    assert set(STATUS) == set(Reason)
    assert set(CAUSES) == set(Cause)
    assert not RAW & {*STATUS.values(), *CAUSES.values()}
    assert status_words("FromANewerVersion") == need_of("FromANewerVersion").text.replace("Another reason", "Other")


@pytest.mark.parametrize(
    ("html", "fault"),
    [
        ("<p>It is NotEntitled.</p>", "raw name"),
        ("<p>PRESENT, RUNNING (joined)</p>", "raw name"),
        ("<p>Nobody matches.</p>", "'nobody'"),
        (f"<p>{'word ' * 21}.</p>", "21 words"),
        ('<a title="Dead letters">x</a>', "'dead letters'"),
        ("<p>A <b>very</b> " + "long <a>word</a> " * 10 + "</p>", "22 words"),
    ],
)
def test_a_fault_is_found(html: str, fault: str) -> None:
    assert any(fault in each for each in faults_of(f"<main>{html}</main>"))


def test_what_is_quoted_is_not_judged() -> None:
    html = '<main><p class="quoted">NotEntitled</p><code>PRESENT</code><p>Fine.</p></main><footer>Nobody</footer>'
    assert faults_of(html) == []
    assert texts_of(html) == ["Fine."]
