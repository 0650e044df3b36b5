"""Messages that could not be processed, on the page: seen, replayed and dismissed; what a click does, seen in the world afterwards."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from kit.hub import ANA, BEN, LETTER, MIA, Hub, plain
from msgspec.structs import replace

from shared.domain.record.record import Presence
from shared.domain.things.identity import parse_email, user_key_for
from shared.domain.things.times import rfc3339
from shared.engine.decisions.letters import letter_digest
from shared.engine.ports.inbox import DeadLetter, LetterRow
from shared.engine.sweeps.sweeps import sweep


def said(hub: Hub, kind: str, who: str, **more: Any) -> bytes:
    message = {
        "schema": "workbench.lifecycle/v1",
        "event_id": f"late-{kind}",
        "type": kind,
        "user": who,
        "occurred_at": rfc3339(hub.bench.now),
    }
    return json.dumps({**message, **more}).encode()


def keep(hub: Hub, kind: str, who: str = ANA, **more: Any) -> LetterRow:
    """Keep a message of HR that failed, and return its row."""
    row = LetterRow(
        letter_id=f"letter-{kind}", sent_at=hub.bench.now, reason="DeliveryAttemptsExhausted", detail="No attempt succeeded.",
        function="lifecycle", users=(user_key_for(parse_email(who)),), cuts=kind == "leaver",
    )  # fmt: skip
    body = said(hub, kind, who, **more)
    hub.bench.deps.dead_letters.store(
        DeadLetter(
            row=row, source="", received_at=hub.bench.now, body=body, size=len(body), attributes={},
            topic=hub.bench.settings.sources["hr"].topic,
        )
    )  # fmt: skip
    return found(hub, row.letter_id)


def found(hub: Hub, letter_id: str) -> LetterRow:
    return next(row for row in hub.bench.deps.dead_letters.rows() if row.letter_id == letter_id)


def path(row: LetterRow) -> str:
    return f"/manage/messages/{letter_digest(row)}"


def ticks(hub: Hub) -> None:
    hub.bench.advance(minutes=1)
    sweep("due", hub.bench.deps)


@pytest.fixture
def ana(hub: Hub) -> Hub:
    hub.joined(ANA)
    return hub


def test_a_leaver_comes_first_and_the_page_says_what_it_would_have_done_to_whom(ana: Hub) -> None:
    leaver = keep(ana, "leaver")
    ana.bench.advance(minutes=5)
    newer = keep(ana, "mover", profile="engineer")
    ana.swept()
    html = ana.browser(MIA).text("/manage/messages")
    assert html.index(path(leaver)) < html.index(path(newer))
    assert "End access" in html
    assert str(ANA) in html
    today = plain(ana.browser(MIA).text("/manage"))
    assert today.index("1 message about a leaver not processed") < today.index("1 message could not be processed")
    one = plain(ana.browser(MIA).text(path(leaver)))
    assert "It would have End access" in one
    assert "If you replay it now ana.silva@example.com" in one
    assert "stop instance" in one
    assert ana.record().spec.presence is Presence.PRESENT  # looking does nothing


def test_a_leaver_that_could_not_be_read_comes_first_too(ana: Hub) -> None:
    """Such a message names nobody that could be understood, so it is no `cuts`; it still is about a leaver."""
    unread = LetterRow(
        letter_id="unread", sent_at=ana.bench.now, reason="LeaverNotUnderstood", detail="No time.", function="lifecycle",
        users=(user_key_for(ANA),),
    )  # fmt: skip
    ana.keep_letter(unread)
    ana.bench.advance(minutes=5)
    newer = keep(ana, "mover", profile="engineer")
    ana.swept()
    html = ana.browser(MIA).text("/manage/messages")
    assert html.index(path(unread)) < html.index(path(newer))
    assert "End access" in html
    assert "It would have End access" in plain(ana.browser(MIA).text(path(unread)))
    assert "1 message about a leaver not processed" in plain(ana.browser(MIA).text("/manage"))


def test_replay_is_carried_out_by_the_tick_and_once(ana: Hub) -> None:
    row = keep(ana, "leaver")
    answer = ana.browser(MIA).post(f"{path(row)}/replay")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/manage/messages?said=replay")
    assert ana.record().spec.presence is Presence.PRESENT  # the page itself changes nothing
    assert ana.browser(MIA).post(f"{path(row)}/dismiss").headers["Location"].endswith("said=already")
    assert "Replay requested." in ana.browser(MIA).text(path(row))
    ticks(ana)
    assert ana.record().spec.presence is Presence.ABSENT
    after = found(ana, row.letter_id)
    assert after.replayed_at is not None
    assert list(ana.bench.deps.decisions.waiting()) == []
    assert [line["became"] for line in ana.lines("Carried out a decision on a dead letter")] == ["replayed"]
    assert ana.browser(MIA).post(f"{path(row)}/replay").headers["Location"].endswith("said=already")
    ticks(ana)
    assert found(ana, row.letter_id) == after
    assert "No message waits" in ana.browser(MIA).text("/manage/messages")


def test_dismiss_changes_nobody_and_keeps_the_message(ana: Hub) -> None:
    row = keep(ana, "leaver")
    assert ana.browser(MIA).post(f"{path(row)}/dismiss").status_code == 303
    ticks(ana)
    assert ana.record().spec.presence is Presence.PRESENT
    after = found(ana, row.letter_id)
    assert after.outcome == f"dismissed by {user_key_for(MIA)}"
    assert "Dismissed" in ana.browser(MIA).text("/manage/messages?show=all")
    assert "Dismissed" in ana.browser(MIA).text(path(row))


def test_what_still_cannot_be_processed_waits_on_with_the_new_reason(ana: Hub) -> None:
    row = keep(ana, "mover", occurred_at="yesterday")
    one = plain(ana.browser(MIA).text(path(row)))
    assert "The message still cannot be processed" in one
    ana.browser(MIA).post(f"{path(row)}/replay")
    ticks(ana)
    after = found(ana, row.letter_id)
    assert after.replayed_at is None
    assert after.tries == 1
    assert after.reason == "InvalidMessage"
    assert "Message not readable" in ana.browser(MIA).text("/manage/messages")


def test_nobody_decides_about_a_message_about_themselves(ana: Hub) -> None:
    ana.joined(MIA)
    row = keep(ana, "leaver", MIA)
    assert "another administrator must decide" in ana.browser(MIA).text(path(row))
    assert ana.browser(MIA).post(f"{path(row)}/dismiss").status_code == 409
    assert list(ana.bench.deps.decisions.waiting()) == []


def test_who_left_the_group_meanwhile_replays_nothing(ana: Hub) -> None:
    row = keep(ana, "leaver")
    ana.browser(MIA).post(f"{path(row)}/replay")
    ana.bench.deps.groups.leave("hub-admins@example.com", MIA)
    ticks(ana)
    assert ana.record().spec.presence is Presence.PRESENT
    assert found(ana, row.letter_id).replayed_at is None
    assert ana.lines("Dropped a decision")[-1]["reason"] == "NotAdministrator"


@pytest.mark.parametrize("verb", ["nonsense", "delete", "REPLAY"])
def test_there_is_nothing_else_to_do(ana: Hub, verb: str) -> None:
    assert ana.browser(MIA).post(f"{path(keep(ana, 'leaver'))}/{verb}").status_code == 404


@pytest.mark.parametrize("digest", ["0" * 32, "nonsense", "A" * 32, "x" * 300])
def test_unknown_messages_are_not_found(ana: Hub, digest: str) -> None:
    assert ana.browser(MIA).get(f"/manage/messages/{digest}").status_code == 404
    assert ana.browser(MIA).post(f"/manage/messages/{digest}/replay").status_code == 404


def test_a_hostile_message_is_inert_and_a_long_one_is_cut(hub: Hub) -> None:
    evil = b'{"a": "<img src=x onerror=alert(1)>", "long": "' + b"x" * 60_000 + b'"}'
    row = hub.keep_letter(replace(LETTER, letter_id="evil", detail='"><script>alert(1)</script>'), body=evil)
    html = hub.browser(MIA).text(path(row))
    assert "<img src=x" not in html
    assert "<script>alert" not in html
    assert len(html) < 40_000


def test_a_message_that_cannot_be_read_says_so_and_can_be_dismissed(ana: Hub) -> None:
    row = keep(ana, "leaver")
    ana.bench.fault(
        call="storage.objects.get",
        resource="*dead-letters*",
        error={"code": "PERMISSION_DENIED", "message": "no"},
        times=9,
    )
    html = ana.browser(MIA).text(path(row))
    assert "could not be read just now" in html
    assert f"{path(row)}/dismiss" in html


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("/manage/dead-letters", "/manage/messages"),
        ("/manage/dead-letters?show=all", "/manage/messages?show=all"),
        ("/manage/dead-letters.csv", "/manage/messages.csv"),
        ("/manage/dead-letters.json?show=all", "/manage/messages.json?show=all"),
    ],
)
def test_the_addresses_of_earlier_versions_lead_on(hub: Hub, old: str, new: str) -> None:
    answer = hub.browser(MIA).get(old)
    assert (answer.status_code, answer.headers["Location"]) == (303, new)


def test_analysts_see_no_messages(ana: Hub) -> None:
    row = keep(ana, "leaver")
    assert ana.browser(BEN).get(path(row)).status_code == 403
    assert ana.browser(ANA).post(f"{path(row)}/dismiss").status_code == 403
    assert list(ana.bench.deps.decisions.waiting()) == []


def test_a_digest_is_of_one_message(hub: Hub) -> None:
    rows = [LETTER, replace(LETTER, letter_id="other"), replace(LETTER, sent_at=LETTER.sent_at + timedelta(seconds=1))]
    assert len({letter_digest(row) for row in rows}) == 3
    assert letter_digest(LETTER) == letter_digest(replace(LETTER, tries=3, reason="InvalidMessage"))
