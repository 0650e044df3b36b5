"""Dead letters used after all: safe however often and in whatever order, and it says what changed."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from kit.inprocess import START, make_bench
from kit.oracle import instances
from kit.reading import news_of
from msgspec.structs import replace

from shared.domain.record.record import Presence
from shared.domain.record.status import ConditionStatus, ConditionType
from shared.domain.things.errors import RateLimitedError, UnknownProfileError
from shared.domain.things.identity import parse_email, user_key_for
from shared.engine.news.dead_letters import attributes_for, keep, letter_of, replay
from shared.engine.news.deliver import deliver

ANA = "ana.silva@example.com"
KEY = user_key_for(parse_email(ANA))
POISON = UnknownProfileError(user_message="There is no profile 'pilot'.", detail="unknown profile")


@pytest.fixture
def bench():
    made = make_bench()
    yield made
    assert made.cloud.world.faults.unfired() == []


def body(kind="joiner", event_id="e1", *, hours=-1.0, **attributes):
    return {
        "schema": "workbench.lifecycle/v1", "event_id": event_id, "type": kind, "user": ANA,
        "occurred_at": (START + timedelta(hours=hours)).isoformat(), "attributes": attributes,
    }  # fmt: skip


def parse(letter):
    source = "" if b"protoPayload" in letter.body else "operator"
    return news_of(letter.body, source=source, message_id=letter.row.letter_id, published=letter.row.sent_at)


def tell(bench, raw):
    for news in news_of(json.dumps(raw).encode(), source="operator", published=bench.now):
        deliver(news, bench.deps)


def kept(bench, raw, *, letter_id="7", function="lifecycle", size=None):
    """Keep a letter as the function does; its row."""
    data = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
    attributes = attributes_for(
        POISON, message_id=letter_id, sent_at=bench.now, size=len(data) if size is None else size,
        function=function, subscription="s", others={},
    )  # fmt: skip
    letter = letter_of(
        body=data, attributes=attributes, message_id=f"9{letter_id}", published_at=bench.now, users=(KEY,)
    )
    keep(letter, bench.deps)
    return next(row for row in bench.deps.dead_letters.rows() if row.letter_id == letter_id)


def record(bench):
    stored = bench.deps.records.load(KEY)
    return None if stored is None else stored.record


def mutations(bench):
    return [call for call in bench.calls() if call["mutates"]]


def test_a_letter_about_somebody_new_is_a_join_to_its_end(bench):
    result = replay(kept(bench, body()), parse, bench.deps)
    assert (result.used, result.text) == (True, f"{ANA}: joined: profile analyst")
    bench.advance(minutes=6)
    assert [found.state for found in instances(bench.cloud).values()] == ["ACTIVE"]
    (row,) = bench.deps.dead_letters.rows()
    assert row.replayed_at == START
    assert row.outcome == result.text


def test_the_same_letter_again_changes_nothing(bench):
    row = kept(bench, body())
    replay(row, parse, bench.deps)
    before = record(bench)
    again = replay(row, parse, bench.deps)
    assert again.text == f"{ANA}: unchanged (known already)"
    assert record(bench) == before


def test_an_old_letter_cannot_bring_back_who_left(bench):
    row = kept(bench, body("joiner", hours=-50))
    tell(bench, body("leaver", "e9", hours=-48))
    result = replay(row, parse, bench.deps)
    assert "a newer message of 2026-11-21 08:00 UTC holds" in result.text
    assert record(bench).spec.presence is Presence.ABSENT
    assert instances(bench.cloud) == {}


def test_what_is_no_letter_of_a_cut_message_or_a_tick_says_why_and_stays(bench):
    cut = replay(kept(bench, body(), letter_id="1", size=300_000), parse, bench.deps)
    tick = replay(kept(bench, {"sweep": "due"}, letter_id="2", function="tick"), parse, bench.deps)
    assert not cut.used
    assert "300,000 bytes" in cut.why
    assert "smaller" in cut.why
    assert not tick.used
    assert "the next tick does the same work" in tick.why
    assert [row.replayed_at for row in bench.deps.dead_letters.rows()] == [None, None]
    assert record(bench) is None


def test_one_that_still_cannot_be_used_stays_and_says_why_now(bench):
    row = kept(bench, body(profile="pilot"))
    result = replay(row, parse, bench.deps)
    assert (result.used, result.reason) == (False, "UnknownProfile")
    assert "analyst, engineer" in result.why
    broken = replay(kept(bench, b"\xff", letter_id="8"), parse, bench.deps)
    assert (broken.used, broken.reason) == (False, "InvalidMessage")
    assert [row.replayed_at for row in bench.deps.dead_letters.rows()] == [None, None]


def test_the_mark_ends_with_the_letter_that_it_names_also_when_that_changes_nothing(bench):
    tell(bench, body(hours=-1))
    row = kept(bench, body("joiner", "e0", hours=-1))
    tell(bench, body("mover", "e2", hours=-0.5))
    mark = record(bench).status.condition(ConditionType.NEWS_UNDERSTOOD)
    assert mark.status is ConditionStatus.FALSE  # e2 states nothing
    assert replay(row, parse, bench.deps).used
    mark = record(bench).status.condition(ConditionType.NEWS_UNDERSTOOD)
    assert mark.status is ConditionStatus.TRUE


def test_a_dry_run_says_the_same_and_changes_nothing(bench):
    row = kept(bench, body("joiner", profile="engineer", cost_center="CC-1"))
    bench.cloud.world.journal.clear()
    foreseen = replay(row, parse, bench.deps, dry_run=True)
    assert mutations(bench) == []
    (change,) = foreseen.changes
    assert change.actions[0].startswith("create instance nb-ana-silva-")
    assert "write template single-node" in change.actions
    done = replay(row, parse, bench.deps)
    assert done.text == foreseen.text == f"{ANA}: joined: profile engineer"
    assert len(instances(bench.cloud)) == 1


def test_a_dry_run_of_a_leaver_plans_the_stop_and_of_poison_still_says_why(bench):
    tell(bench, body(hours=-3))
    for _ in range(6):
        bench.advance(minutes=1)
        tell(bench, body("mover", f"m{bench.now.minute}", hours=bench.now.minute / 60, n=bench.now.minute))
    (change,) = replay(kept(bench, body("leaver", "e5", hours=0)), parse, bench.deps, dry_run=True).changes
    assert change.text == "loses access: left (event e5)"
    assert change.actions[0].startswith("stop instance nb-ana-silva-")
    still = replay(kept(bench, body(profile="pilot"), letter_id="8"), parse, bench.deps, dry_run=True)
    assert (still.used, still.reason) == (False, "UnknownProfile")
    again = replay(kept(bench, body(hours=-3), letter_id="9"), parse, bench.deps, dry_run=True)
    assert again.changes[0].actions == ()
    assert again.text == f"{ANA}: unchanged (known already)"


def test_several_news_of_one_message_are_folded_one_upon_the_other(bench):
    def group(name):
        parameters = {"USER_EMAIL": ANA, "GROUP_EMAIL": f"data-{name}s@example.com"}
        return {
            "eventName": "ADD_GROUP_MEMBER",
            "parameter": [{"name": key, "value": value} for key, value in parameters.items()],
        }

    raw = {
        "insertId": "i", "timestamp": "2026-11-23T07:00:00Z",
        "logName": "organizations/123456789012/logs/cloudaudit.googleapis.com%2Factivity",
        "protoPayload": {"serviceName": "admin.googleapis.com", "metadata": {"event": [group("analyst"), group("engineer")]}},
    }  # fmt: skip
    row = kept(bench, raw)
    said = f"{ANA}: joined: profile analyst; {ANA}: moved: profile analyst to engineer"
    assert replay(row, parse, bench.deps, dry_run=True).text == said
    assert record(bench) is None
    assert replay(row, parse, bench.deps).text == said


@pytest.mark.parametrize("calls", range(0, 26, 2))
def test_who_dies_on_the_way_replays_it_again_to_the_same_end(bench, calls):
    class DiedError(BaseException):
        pass

    row, left = kept(bench, body()), [calls]

    def die():
        left[0] -= 1
        if left[0] == -1:
            raise DiedError

    bench.adapter.around = die
    try:
        replay(row, parse, bench.deps)
    except DiedError:
        bench.adapter.around = lambda: None
        assert replay(row, parse, bench.deps).used
    bench.adapter.around = lambda: None
    (found,) = bench.deps.dead_letters.rows()
    assert found.replayed_at == START
    bench.advance(minutes=6)
    assert [found.state for found in instances(bench.cloud).values()] == ["ACTIVE"]


def test_what_fails_now_is_said_and_tried_another_time(bench):
    class Busy:
        def __getattr__(self, name):
            return getattr(bench.deps.records, name)

        def save(self, *_args, **_more):
            raise RateLimitedError(user_message="Too many requests just now.", detail="429")

    row = kept(bench, body())
    result = replay(row, parse, replace(bench.deps, records=Busy()))
    assert (result.used, result.reason, result.why) == (False, "RateLimited", "Too many requests just now.")
    assert replay(row, parse, bench.deps).used
