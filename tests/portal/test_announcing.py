"""The end of access of many people is announced from a filter: seen, planned, and approved by another administrator."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kit.hub import ANA, BEN, MIA, Hub, plain
from kit.wording import faults_of

from portal.manage.changes_meaning import _rejecting
from shared.domain.intent.batches import Batch, Entry
from shared.domain.people.events import Left
from shared.domain.record.cuts import CutClass
from shared.domain.record.record import Presence
from shared.domain.things.identity import parse_email, user_key_for
from shared.engine.sweeps.sweeps import sweep

OTTO = parse_email("otto.admin@example.com")
PAGE = "/manage/people/announce"


@pytest.fixture
def seen(two: Hub) -> Hub:
    two.make_admin(OTTO)
    two.swept()
    return two


def listed(hub: Hub, path: str = PAGE) -> str:
    found = re.search(r'name="list" value="([0-9a-f]+)"', hub.browser(MIA).text(path))
    assert found is not None
    return found[1]


def announce(hub: Hub, **fields: str) -> Any:
    until = (hub.bench.now + timedelta(days=7)).date().isoformat()
    return hub.browser(MIA).post(PAGE, **{"until": until, "view": "access", **fields})


def test_the_filter_leads_to_a_plan_and_the_plan_to_an_approval(seen: Hub) -> None:
    people = seen.browser(MIA).text("/manage/people?view=access&q=ana")
    assert f'href="{PAGE}?q=ana&amp;view=access"' in people
    html = seen.browser(MIA).text(f"{PAGE}?view=access&q=ana")
    assert "1 person" in plain(html)
    assert str(BEN) not in html
    assert faults_of(html) == []
    answer = announce(seen, q="ana", list=listed(seen, f"{PAGE}?view=access&q=ana"))
    assert answer.status_code == 303
    digest = answer.headers["Location"].rpartition("/")[2].partition("?")[0]
    assert seen.record(ANA).spec.presence is Presence.PRESENT  # an announcement ends nothing by itself
    change = plain(seen.browser(OTTO).text(f"/manage/changes/{digest}"))
    assert "ana.silva@example.com" in change
    assert "ben.okafor" not in change
    assert "1 person takes a slot like everybody else if they lose access." in change
    assert seen.browser(OTTO).post(f"/manage/changes/{digest}/approve").status_code == 303
    seen.bench.advance(minutes=1)
    sweep("due", seen.bench.deps)
    assert seen.record(ANA).status.guard.clearance is not None
    assert seen.record(BEN).status.guard.clearance is None
    life = seen.life(ANA)
    life.serial = 50
    life.tell(Left)
    life.minutes(2)
    assert seen.record(ANA).spec.presence is Presence.ABSENT


def test_a_list_that_changed_since_it_was_seen_is_refused(seen: Hub) -> None:
    shown = listed(seen)
    seen.joined(parse_email("carla.new@example.com"))
    seen.swept()
    answer = announce(seen, list=shown)
    assert answer.status_code == 409
    assert list(seen.bench.deps.decisions.waiting()) == []


@pytest.mark.parametrize("until", ["", "yesterday", "2026-11-01", "2027-11-01", "' or 1=1"])
def test_a_day_that_is_not_valid_announces_nothing(seen: Hub, until: str) -> None:
    assert announce(seen, list=listed(seen), until=until).status_code == 409
    assert list(seen.bench.deps.decisions.waiting()) == []


def test_nobody_announces_themselves(seen: Hub) -> None:
    seen.joined(MIA)
    seen.swept()
    html = seen.browser(MIA).text(PAGE)
    assert "You are on this list yourself" in html
    assert "Announce</button>" not in html
    assert announce(seen, list="0" * 32).status_code == 409


def test_who_has_no_access_is_on_no_list(seen: Hub) -> None:
    seen.left(BEN)
    seen.swept()
    html = seen.browser(MIA).text(PAGE)
    assert str(ANA) in html
    assert str(BEN) not in html
    assert "No one with access matches" in seen.browser(MIA).text(f"{PAGE}?view=leavers")


def test_only_who_may_act_announces(seen: Hub) -> None:
    assert seen.browser(BEN).get(PAGE).status_code == 403
    assert seen.browser(BEN).post(PAGE, list="x", until="2026-12-01").status_code == 403
    assert user_key_for(BEN) in seen.browser(MIA).text(PAGE)


@pytest.mark.parametrize(
    ("cause", "of_one", "of_two"),
    [
        (CutClass.CREATION, "1 person gets no environment", "2 people get no environment"),
        (CutClass.ANNOUNCED, "1 person takes a slot", "2 people take slots"),
        (CutClass.IDLE, "The notebook of 1 person is not stopped", "The notebooks of 2 people are not stopped"),
    ],
)
def test_a_list_of_one_is_spoken_of_in_the_singular(cause: CutClass, of_one: str, of_two: str) -> None:
    entries = tuple(Entry(user_key=user_key_for(email), ref="r", steps=()) for email in (ANA, BEN))
    since = datetime(2026, 11, 30, tzinfo=UTC)
    said = [_rejecting(Batch(cause=cause, source="hr", entries=entries[:count], since=since), 0)[0] for count in (1, 2)]
    assert [text.startswith(each) for text, each in zip(said, (of_one, of_two), strict=True)] == [True, True]
