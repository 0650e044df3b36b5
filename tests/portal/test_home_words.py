"""The words of the owner's pages in the states of a notebook: no raw name, no word that the page does not use, no long sentence."""

from __future__ import annotations

import pytest
from kit.hub import ANA, MIA, NOBODY, Hub, make_hub
from kit.wording import faults_of, long_sentences, texts_of

from shared.domain.people.events import Moved
from shared.domain.record.status import ConditionStatus, ConditionType, set_condition
from shared.domain.things.errors import Reason

OWN = ("/", "/history", "/costs")


def coming(hub: Hub) -> None:
    hub.joined(ANA, minutes=2)


def running(hub: Hub) -> None:
    hub.joined(ANA)


def stopped(hub: Hub) -> None:
    hub.joined(ANA)
    hub.browser(ANA).post("/notebook/stop")
    hub.life().minutes(5)


def moved(hub: Hub) -> None:
    hub.joined(ANA).tell(Moved, profile="engineer", profile_said=True)
    hub.life().minutes(2)


def sold_out(hub: Hub) -> None:
    hub.joined(ANA)
    said = "Google Cloud has no such machines in this zone just now; Benchkeeper tries again."
    conditions = set_condition(
        hub.record().status.conditions,
        ConditionType.NOTEBOOK_READY,
        ConditionStatus.FALSE,
        Reason.STOCKOUT,
        said,
        hub.bench.now,
    )
    hub.edit(ANA, conditions=conditions)


def left(hub: Hub) -> None:
    hub.joined(ANA)
    hub.left(ANA)


STATES = (coming, running, stopped, moved, sold_out, left)


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_the_words_of_the_own_pages(state) -> None:
    hub = make_hub()
    state(hub)
    for path in OWN:
        answer = hub.browser(ANA).get(path)
        assert answer.status_code == (403 if state is left else 200)
        html = answer.get_data(as_text=True)
        assert texts_of(html)
        assert faults_of(html) == [], path
        german = hub.browser(ANA).get(path, Accept_Language="de").get_data(as_text=True)
        assert long_sentences(german) == [], path


def test_the_words_for_who_has_nothing(hub: Hub) -> None:
    for email in (NOBODY, MIA):
        assert faults_of(hub.browser(email).text("/")) == []


def test_the_words_of_what_goes_wrong(two: Hub) -> None:
    missing, refused = two.browser(ANA).get("/nothing/here"), two.browser(ANA).get("/manage")
    two.bench.fault(call="storage.objects.get", resource="*/records/*", error={"code": "PERMISSION_DENIED"}, times=0)
    broken = two.browser(ANA).get("/")
    for answer, status in ((missing, 404), (refused, 403), (broken, 500)):
        assert answer.status_code == status
        html = answer.get_data(as_text=True)
        assert "Reference:" in html
        assert faults_of(html) == []
    for path in ("/nothing/here", "/manage"):
        german = two.browser(ANA).get(path, Accept_Language="de").get_data(as_text=True)
        assert "Kennung:" in german
        assert 'lang="en"' not in german.split("<main", 1)[-1]
