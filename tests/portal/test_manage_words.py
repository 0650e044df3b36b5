"""The words of every view of the manager's page: no raw name, no word that the page does not use, no long sentence."""

from __future__ import annotations

from datetime import timedelta

import pytest
from kit.hub import ANA, MIA, Hub, make_hub
from kit.wording import RAW, faults_of, texts_of
from msgspec.structs import replace

from portal.manage.acts import Act
from portal.manage.needs import NEEDS, need_of
from shared.domain.fleet.drift import Stray
from shared.domain.fleet.fleet import FleetPoint, FleetSnapshot, Notes
from shared.domain.fleet.idle_days import IdleDay
from shared.domain.people.entitlement import Cause
from shared.domain.record.record import Presence, RecordRow, row_of
from shared.domain.record.status import Notice
from shared.domain.things.errors import Reason
from shared.domain.things.identity import instance_id_for, parse_email, user_key_for
from shared.domain.things.usage import NOTEBOOK, Usage
from shared.engine.decisions.letters import letter_digest
from shared.engine.ports.inbox import LetterRow
from shared.engine.views.fleet import Column, View
from shared.engine.views.words import CAUSES, STATUS, status_words

LEO = parse_email("leo.former@example.com")
TABS = ("", "?tab=history", "?tab=access", "?tab=costs", "?tab=technical")


def of_every_kind(hub: Hub) -> list[RecordRow]:
    """A row of each reason, each cause, each notice, and of each that needs attention otherwise."""
    now, like = hub.bench.now, replace(row_of(hub.record(ANA)), usage={NOTEBOOK: Usage(month="2026-11", ran_s=7200)})
    changes: list[dict] = [{"reason": reason.value} for reason in Reason]
    changes += [{"cause": cause, "reason": "Ready"} for cause in Cause]
    changes += [{"notices": (notice,), "reason": "Ready"} for notice in Notice]
    changes += [
        {"presence": Presence.ABSENT, "reason": "Retained", "absent_since": now - timedelta(days=2), "proved_at": now},
        {"presence": Presence.ABSENT, "reason": "Retained", "absent_since": now - timedelta(days=1)},
        {"presence": Presence.ABSENT, "reason": "NotEntitled", "unknown_since": now},
        {"on_hold": True, "hold_reason": "case 4711", "reason": "Ready"},
        {"marked": True, "reason": "Ready"},
        {"reason": "Stockout", "sold_out": ("europe-west1-b",), "sold_out_since": now - timedelta(hours=3)},
        {"profile": None, "reason": "Waiting"},
        {"profile": "lost", "reason": "Ready", "access_until": now + timedelta(days=9)},
    ]
    rows = []
    for number, change in enumerate(changes):
        email = parse_email(f"person.{number}@example.com")
        rows.append(
            replace(like, user_key=user_key_for(email), email=email, instance_id=instance_id_for(email), **change)
        )
    return rows


@pytest.fixture(scope="module")
def world() -> Hub:
    """Everything that the pages may have to show."""
    hub = make_hub()
    for email in (ANA, LEO):
        hub.joined(email)
    hub.left(LEO)
    hub.swept()
    hub.bench.advance(minutes=1)
    now = hub.bench.now
    rows = of_every_kind(hub)
    points = tuple(
        FleetPoint(at=now - timedelta(hours=h), running=9 - h, resting=h, moving=1, attention=2) for h in (9, 8, 1)
    )
    hub.bench.deps.fleet.write_fleet(
        FleetSnapshot(
            taken_at=now,
            rows=tuple(rows),
            strays=(Stray(name="nb-left", zone="europe-west1-c", why="has no record"),),
            blind=frozenset({rows[0].user_key}),
            points=points,
            idle_days={
                now.date().isoformat(): IdleDay(stops=3, stopped_s={"analyst": 7200, "lost": 60}, kernels=1, unknown=1)
            },
        )
    )
    used = {row.user_key: now - timedelta(days=number) for number, row in enumerate(rows)}
    hub.bench.deps.fleet.write_notes(Notes(taken_at=now, last_used=used))
    for number, reason in enumerate(
        ("UnknownProfile", "InvalidMessage", "LeaverNotUnderstood", "NotAllowed", "DeliveryAttemptsExhausted")
    ):
        hub.keep_letter(letter(hub, number, reason))
    return hub


def letter(hub: Hub, number: int, reason: str) -> LetterRow:
    return LetterRow(
        letter_id=f"m-{number}", sent_at=hub.bench.now - timedelta(hours=number), reason=reason, detail="No such profile.",
        users=(user_key_for(ANA),), cuts=number == 2,
    )  # fmt: skip


def views() -> list[str]:
    people = f"/manage/people/{user_key_for(ANA)}"
    leaver = f"/manage/people/{user_key_for(LEO)}"
    return [
        "/manage",
        *(f"/manage/people?view={view.value}" for view in View),
        "/manage/people",
        "/manage/people?page=2",
        *(f"/manage/people?sort={column.value}&order=down" for column in Column),
        "/manage/people?q=nothing",
        *(f"/manage/people?needs={why}" for why in (*NEEDS, "any")),
        "/manage/attention",
        *(f"/manage/attention?why={why}" for why in NEEDS),
        "/manage/costs",
        "/manage/costs?by=cost-center",
        "/manage/costs?by=profile",
        "/manage/messages",
        "/manage/messages?show=all",
        "/manage/changes",
        "/manage/rosters",
        *(f"{who}{tab}" for who in (people, leaver) for tab in TABS),
        *(
            f"{people}/acts/{act.value}"
            for act in Act
            if act not in {Act.RESTORE, Act.UNDO_RESTORE, Act.DELETE_CLUSTER}
        ),
    ]


@pytest.mark.parametrize("path", views())
def test_the_words_of_each_view(world: Hub, path: str) -> None:
    answer = world.browser(MIA).get(path)
    assert answer.status_code == 200
    assert faults_of(answer.get_data(as_text=True)) == []


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
