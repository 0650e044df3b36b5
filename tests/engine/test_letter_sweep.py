"""Letters of exhausted deliveries are used by themselves once the trouble is over: leavers first, with a back-off, without end."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from kit.inprocess import impatient, make_bench
from kit.reading import PEOPLE

from shared.domain.people.sources import HR, SHIPPED
from shared.domain.record.record import Presence
from shared.domain.record.status import ConditionType
from shared.domain.things.identity import parse_email, user_key_for
from shared.engine.news.dead_letters import FORWARDED, keep, letter_of
from shared.engine.sweeps import dead_letters as letter_sweep
from shared.engine.sweeps.dead_letters import sweep_letters
from shared.messages.letters import parse_letter, states_a_leave
from shared.messages.message import Message
from shared.messages.people import people_named

ANA, BEN = "ana.silva@example.com", "ben@example.com"
DOWN = {"code": "PERMISSION_DENIED", "message": "denied"}


@pytest.fixture
def bench():
    with impatient():
        made = make_bench()
        yield made
        assert made.cloud.world.faults.unfired() == []


def kept(bench, kind, user, letter_id, **attributes):
    """A letter as Pub/Sub forwards it after the last attempt, kept as the function keeps it."""
    raw = {
        "schema": "workbench.lifecycle/v1", "event_id": f"e{letter_id}", "type": kind, "user": user,
        "occurred_at": bench.now.isoformat(), "attributes": attributes,
    }  # fmt: skip
    message = Message(data=json.dumps(raw).encode(), attributes={}, message_id=letter_id, publish_time=bench.now)
    letter = letter_of(
        body=message.data,
        attributes={f"{FORWARDED}Subscription": "workbench-lifecycle-push"},
        message_id=letter_id,
        published_at=bench.now,
        users=tuple(people_named(message, SHIPPED[HR], PEOPLE)),
        cuts=states_a_leave(message, SHIPPED[HR], PEOPLE),
    )
    keep(letter, bench.deps)


def swept(bench):
    return sweep_letters(news_of, bench.deps)


def news_of(letter):
    return parse_letter(letter, sources=SHIPPED, people=PEOPLE, max_bytes=100_000)


def rows(bench):
    return {row.letter_id: row for row in bench.deps.dead_letters.rows()}


def record(bench, user=ANA):
    stored = bench.deps.records.load(user_key_for(parse_email(user)))
    return stored.record if stored is not None else None


def mark(bench):
    return record(bench).status.condition(ConditionType.NEWS_UNDERSTOOD)


def test_a_leaver_whose_message_was_used_up_is_cut_when_the_bucket_answers_again(bench):
    kept(bench, "joiner", ANA, "1")
    assert (swept(bench).replayed, record(bench).spec.presence) == (1, Presence.PRESENT)
    bench.advance(minutes=1)
    kept(bench, "leaver", ANA, "2")
    assert mark(bench).reason == "DeliveryAttemptsExhausted"
    bench.fault(call="storage.objects.get", resource="*/records/*", times=0, error=DOWN)
    bench.advance(hours=5)
    waiting = swept(bench)
    assert (waiting.replayed, waiting.waiting, dict(waiting.failed)) == (0, 1, {"AccessDenied": 1})
    assert waiting.oldest_leaver == timedelta(hours=5)
    bench.cloud.world.faults.clear()
    bench.advance(minutes=15)
    done = swept(bench)
    assert (done.replayed, done.waiting, done.oldest_leaver) == (1, 0, timedelta(0))
    assert record(bench).spec.presence is Presence.ABSENT
    assert mark(bench).status == "True"
    assert rows(bench)["2"].replayed_at == bench.now


def test_the_back_off_is_kept_on_the_letter_and_shorter_for_a_leaver(bench):
    kept(bench, "joiner", BEN, "1")
    kept(bench, "leaver", ANA, "2")
    bench.fault(call="storage.objects.get", resource="*/records/*", times=0, error=DOWN)
    waits = {"1": [], "2": []}
    for _ in range(300):
        before = rows(bench)
        swept(bench)
        for letter_id, row in rows(bench).items():
            assert (row.reason, row.replayed_at) == ("DeliveryAttemptsExhausted", None)
            if row.tries > before[letter_id].tries:
                waits[letter_id].append((row.next_try_at - bench.now) / timedelta(minutes=1))
        bench.advance(minutes=10)
    for found, longest in ((waits["1"], 360), (waits["2"], 60)):
        assert all(10 <= wait <= longest * 1.25 for wait in found)
        assert found[0] < 13
        assert found[-1] >= longest  # without end
    assert len(waits["2"]) > len(waits["1"]) > 5
    bench.cloud.world.faults.clear()


def test_one_sweep_takes_leavers_first_then_the_oldest_and_leaves_the_rest(bench, monkeypatch):
    monkeypatch.setattr(letter_sweep, "MOST", 2)
    for letter_id, kind, user in (("1", "joiner", "c@example.com"), ("2", "joiner", BEN), ("3", "leaver", ANA)):
        kept(bench, kind, user, letter_id)
        bench.advance(minutes=1)
    first = swept(bench)
    assert (first.replayed, first.left_over, first.waiting) == (2, 1, 1)
    assert {i for i, row in rows(bench).items() if row.replayed_at is not None} == {"1", "3"}
    assert swept(bench).replayed == 1


def test_a_message_that_is_itself_to_blame_becomes_an_ordinary_letter(bench):
    kept(bench, "joiner", ANA, "1", profile="nosuch")
    assert dict(swept(bench).failed) == {"UnknownProfile": 1}
    row = rows(bench)["1"]
    assert (row.reason, row.next_try_at, row.replayed_at) == ("UnknownProfile", None, None)
    assert "nosuch" in row.detail
    bench.cloud.world.journal.clear()
    again = swept(bench)
    assert (again.replayed, again.waiting, dict(again.failed)) == (0, 0, {})
    assert [c["method"] for c in bench.calls() if c["resource"].endswith("-letters")] == ["objects.list"]


def test_a_crash_between_use_and_note_uses_it_twice_to_the_same_end(bench):
    kept(bench, "joiner", ANA, "1")
    bench.fault(call="storage.objects.patch", resource="*/dead-letters/*", error={"code": "PERMISSION_DENIED"})
    assert swept(bench).replayed == 0
    before = record(bench)
    bench.advance(minutes=15)
    assert swept(bench).replayed == 1
    assert record(bench).facts == before.facts


def test_what_nobody_foresaw_holds_up_no_other_letter(bench):
    kept(bench, "leaver", ANA, "1")
    kept(bench, "joiner", BEN, "2")

    def parse(letter):
        if letter.row.letter_id == "1":
            raise ZeroDivisionError
        return news_of(letter)

    done = sweep_letters(parse, bench.deps)
    assert (done.replayed, dict(done.failed)) == (1, {"Unexpected": 1})


@pytest.mark.parametrize(
    ("kind", "expected"), [("leaver", True), ("joiner", False), ("mover", False), ("nonsense", False)]
)
def test_a_letter_that_states_a_leave_says_so(bench, kind, expected):
    kept(bench, kind, ANA, "1")
    assert rows(bench)["1"].cuts is expected
