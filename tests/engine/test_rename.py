"""A changed address keeps the environment: one person, one record, one instance, in whatever order the news comes."""

from __future__ import annotations

import json
from datetime import timedelta
from itertools import permutations

import pytest
from kit.inprocess import START, impatient, make_bench
from kit.oracle import instances, object_names
from kit.reading import news_of

from shared.domain.people.events import Joined, Left, Moved, Renamed
from shared.domain.record.record import Presence
from shared.domain.record.status import ConditionStatus, ConditionType
from shared.domain.things.errors import AccessDeniedError, UnsupportedMessageError
from shared.domain.things.identity import parse_email, user_key_for
from shared.engine.news.dead_letters import attributes_for, keep, letter_of, replay
from shared.engine.news.deliver import deliver
from shared.engine.reconcile.changing import want_hold
from shared.engine.sweeps.sweeps import sweep

A, B, C, D = (parse_email(f"{name}@example.com") for name in ("ana.silva", "ana.lima", "a.lima", "lima"))
KEYS = KEY_A, KEY_B, KEY_C, KEY_D = tuple(map(user_key_for, (A, B, C, D)))
DENIED = {"code": "PERMISSION_DENIED", "message": "not now"}


@pytest.fixture
def bench():
    with impatient():
        made = make_bench()
        yield made
    assert made.cloud.world.faults.unfired() == []
    assert not [line for line in made.log.lines if "@" in str(line)]


def news(kind, user, hours, **more):
    at = START + timedelta(hours=hours)
    name = f"{kind.__name__}-{user_key_for(user)}-{hours}"
    return kind(event_id=name, user=user, occurred_at=at, effective_at=at, **more)


def renamed(user, new_user, hours=-1.0):
    return news(Renamed, user, hours, new_user=new_user)


def tell(bench, *pieces):
    for piece in pieces:
        deliver(piece, bench.deps)


def minutes(bench, count):
    for _ in range(count):
        bench.advance(minutes=1)
        sweep("due", bench.deps)


def record(bench, key):
    stored = bench.deps.records.load(key)
    return None if stored is None else stored.record


def objects(bench, prefix="records/"):
    stored = bench.cloud.storage.buckets.get(bench.settings.bucket).live
    return {name: json.loads(stored[name].content) for name in object_names(bench.cloud, bench.settings.bucket, prefix)}


def the_one(bench, *keys):
    """The record to which all these keys lead; there is no other."""
    found = [record(bench, key) for key in keys]
    assert [row.user_key for row in bench.deps.records.rows()] == [found[0].user_key]
    assert all(each == found[0] for each in found)
    return found[0]


def names(bench):
    return sorted(found.name.rpartition("/")[2] for found in instances(bench.cloud).values())


def join(bench, user=A, hours=-24.0):
    tell(bench, news(Joined, user, hours))
    minutes(bench, 6)


def test_the_environment_is_kept(bench):
    join(bench)
    before = names(bench)
    tell(bench, renamed(A, B))
    found = the_one(bench, KEY_A, KEY_B)
    assert (found.user_key, found.email, found.email_since) == (KEY_A, B, START - timedelta(hours=1))
    assert found.spec.presence is Presence.PRESENT
    assert objects(bench)[f"records/{KEY_B}.json"] == {"version": 4, "moved_to": KEY_A}
    minutes(bench, 30)
    assert names(bench) == before == [f"nb-{KEY_A}"]
    assert all(
        name.startswith(f"templates/{KEY_A}/")
        for name in object_names(bench.cloud, bench.settings.bucket, "templates/")
    )


def test_the_same_news_again_changes_nothing(bench):
    join(bench)
    tell(bench, renamed(A, B))
    bench.cloud.world.journal.clear()
    tell(bench, renamed(A, B), renamed(A, B))
    assert [call for call in bench.calls() if call["mutates"]] == []


def test_an_older_address_does_not_come_back(bench):
    join(bench)
    tell(bench, renamed(A, C, -1), renamed(A, B, -2))
    assert the_one(bench, KEY_A, KEY_B, KEY_C).email == C


def test_the_first_address_can_come_back(bench):
    join(bench)
    tell(bench, renamed(A, B, -2), renamed(B, A, -1))
    assert the_one(bench, KEY_A, KEY_B).email == A
    tell(bench, renamed(A, B, -2), renamed(A, C, -0.5))
    assert the_one(bench, KEY_A, KEY_B, KEY_C).email == C


@pytest.mark.parametrize("order", [*permutations(range(4))])
def test_a_chain_comes_to_the_same_in_every_order(bench, order):
    said = [news(Joined, A, -24), renamed(A, B, -3), renamed(B, C, -2), renamed(C, D, -1)]
    tell(bench, *(said[number] for number in order))
    minutes(bench, 6)
    found = the_one(bench, *KEYS)
    assert (found.email, found.spec.presence) == (D, Presence.PRESENT)
    assert len(names(bench)) == 1


@pytest.mark.parametrize("order", [*permutations(range(3))])
def test_there_and_back_and_away_comes_to_the_same_in_every_order(bench, order):
    join(bench)
    said = [renamed(A, B, -3), renamed(B, A, -2), renamed(A, C, -1)]
    tell(bench, *(said[number] for number in order))
    assert the_one(bench, KEY_A, KEY_B, KEY_C).email == C
    assert names(bench) == [f"nb-{KEY_A}"]


@pytest.mark.parametrize("user", [A, B])
def test_a_leaver_under_either_address_is_stopped(bench, user):
    join(bench)
    tell(bench, renamed(A, B, -2), news(Left, user, -1))
    assert the_one(bench, KEY_A, KEY_B).spec.presence is Presence.ABSENT
    minutes(bench, 6)
    assert "ACTIVE" not in {found.state for found in instances(bench.cloud).values()}


@pytest.mark.parametrize("user", [A, B])
def test_a_joiner_under_either_address_gets_what_is_there(bench, user):
    join(bench)
    tell(bench, renamed(A, B, -2), news(Joined, user, -1, attributes={"cost_center": "CC-5"}))
    minutes(bench, 6)
    assert the_one(bench, KEY_A, KEY_B).cost_center == "CC-5"
    assert names(bench) == [f"nb-{KEY_A}"]


@pytest.mark.parametrize("user", [A, B])
def test_nothing_is_made_for_a_stranger_until_news_entitles_them(bench, user):
    tell(bench, renamed(A, B))
    minutes(bench, 6)
    assert the_one(bench, KEY_A, KEY_B).spec.presence is Presence.ABSENT
    assert names(bench) == []
    tell(bench, news(Joined, user, -0.5))
    minutes(bench, 6)
    found = the_one(bench, KEY_A, KEY_B)
    assert (found.email, names(bench)) == (B, [found.status.notebook.instance_id])


def test_what_was_said_under_the_new_address_counts(bench):
    join(bench)
    tell(bench, news(Moved, B, -0.5, attributes={"cost_center": "CC-7"}), news(Left, B, -0.2), renamed(A, B, -1))
    found = the_one(bench, KEY_A, KEY_B)
    assert (found.cost_center, found.spec.presence) == ("CC-7", Presence.ABSENT)


def test_what_was_said_later_under_the_old_address_counts_more(bench):
    join(bench, hours=-1)
    tell(bench, news(Left, B, -2), renamed(A, B, -3))
    assert the_one(bench, KEY_A, KEY_B).spec.presence is Presence.PRESENT


def test_an_environment_under_the_new_address_is_kept_when_the_old_one_has_none(bench):
    join(bench, B)
    tell(bench, news(Moved, A, -30, attributes={"cost_center": "CC-8"}), renamed(A, B))
    found = the_one(bench, KEY_A, KEY_B)
    assert (found.user_key, found.email, found.cost_center) == (KEY_B, B, "CC-8")
    assert names(bench) == [f"nb-{KEY_B}"]


def test_two_environments_are_for_an_administrator_and_nothing_changes(bench):
    join(bench)
    join(bench, B)
    before = objects(bench)
    with pytest.raises(UnsupportedMessageError) as caught:
        tell(bench, renamed(A, B))
    assert "leaver message" in caught.value.user_message
    assert "@" not in caught.value.user_message + caught.value.detail
    assert objects(bench) == before


@pytest.mark.parametrize(("goes", "stays"), [(A, B), (B, A)])
def test_after_one_of_two_environments_has_ended_the_other_is_kept(bench, goes, stays):
    join(bench)
    join(bench, B)
    tell(bench, news(Left, goes, 1))
    for _ in range(12):
        bench.advance(days=60)
        minutes(bench, 15)
    tell(bench, renamed(A, B))
    found = the_one(bench, KEY_A, KEY_B)
    assert (found.user_key, found.email) == (user_key_for(stays), B)
    assert found.spec.presence is Presence.PRESENT  # the leaver message ended the other one
    assert names(bench) == [f"nb-{user_key_for(stays)}"]


def test_a_hold_does_not_give_way(bench):
    join(bench)
    tell(bench, news(Moved, B, -5, attributes={"cost_center": "CC-7"}))
    want_hold(KEY_B, "case 4711", bench.deps)
    with pytest.raises(UnsupportedMessageError):
        tell(bench, renamed(A, B))
    assert record(bench, KEY_B).hold.reason == "case 4711"


@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("written", [KEY_A, KEY_B])
@pytest.mark.parametrize("known", [False, True])
def test_a_crash_at_any_write_loses_nothing(bench, phase, written, known):
    join(bench)
    if known:
        tell(bench, news(Moved, B, -0.5, attributes={"cost_center": "CC-7"}))
    bench.fault(call="storage.objects.insert", resource=f"*/records/{written}.json", phase=phase, error=DENIED)
    with pytest.raises(AccessDeniedError):
        tell(bench, renamed(A, B))
    tell(bench, renamed(A, B))
    found = the_one(bench, KEY_A, KEY_B)
    assert (found.email, found.cost_center) == (B, "CC-7" if known else "")
    assert names(bench) == [f"nb-{KEY_A}"]


def interrupted(bench, number, neighbour):
    """`neighbour` happens before or after a call: at half `number` of those that follow."""
    halves = iter(range(number + 1))

    def around():
        if next(halves, None) == number:
            bench.adapter.around = lambda: None
            neighbour()

    bench.adapter.around = around


@pytest.mark.parametrize("number", range(16))
def test_two_renames_at_once_that_would_lead_to_each_other(bench, number):
    tell(bench, news(Moved, A, -5, attributes={"cost_center": "CC-1"}), news(Moved, B, -4, attributes={"desk": "7"}))
    interrupted(bench, number, lambda: tell(bench, renamed(B, A, -1)))
    tell(bench, renamed(A, B, -2))
    bench.adapter.around = lambda: None
    tell(bench, renamed(B, A, -1))  # should there have been fewer calls
    found = the_one(bench, KEY_A, KEY_B)
    assert (found.email, found.cost_center, found.facts.attribute("desk", bench.now)) == (A, "CC-1", "7")


@pytest.mark.parametrize("number", range(16))
def test_two_renames_at_once_whose_first_writes_were_made_before(bench, number):
    """Nothing is left to say in either record; still the two must not lead to each other."""
    tell(bench, news(Moved, A, -5, attributes={"cost_center": "CC-1"}), news(Moved, B, -4, attributes={"desk": "7"}))
    one, other = renamed(A, B, -2), renamed(B, A, -1)
    for piece, pointer in [(one, KEY_B), (other, KEY_A)] * 2:
        bench.fault(call="storage.objects.insert", resource=f"*/records/{pointer}.json", error=DENIED)
        with pytest.raises(AccessDeniedError):
            tell(bench, piece)
    interrupted(bench, number, lambda: tell(bench, other))
    tell(bench, one)
    bench.adapter.around = lambda: None
    found = the_one(bench, KEY_A, KEY_B)
    assert (found.email, found.cost_center, found.facts.attribute("desk", bench.now)) == (A, "CC-1", "7")


@pytest.mark.parametrize("number", range(16))
@pytest.mark.parametrize("user", [A, B])
def test_news_in_the_middle_of_a_rename_is_not_lost(bench, number, user):
    join(bench)
    tell(bench, news(Moved, B, -4, attributes={"desk": "7"}))
    interrupted(bench, number, lambda: tell(bench, news(Moved, user, -1, attributes={"cost_center": "CC-9"})))
    tell(bench, renamed(A, B, -2))
    bench.adapter.around = lambda: None
    found = the_one(bench, KEY_A, KEY_B)
    assert (found.email, found.cost_center, found.facts.attribute("desk", bench.now)) == (B, "CC-9", "7")


def parse(letter):
    return news_of(letter.body, source="operator", published=letter.row.sent_at)


def kept(bench, *, users, error, hours=-1.0):
    """A letter with the rename of A to B; its row."""
    body = json.dumps(
        {"schema": "workbench.lifecycle/v1", "event_id": "r", "type": "renamed", "user": A, "new_user": B,
         "occurred_at": (START + timedelta(hours=hours)).isoformat()}
    ).encode()  # fmt: skip
    attributes = attributes_for(
        error, message_id="7", sent_at=bench.now, size=len(body), function="lifecycle", subscription="s", others={}
    )
    keep(letter_of(body=body, attributes=attributes, message_id="97", published_at=bench.now, users=users), bench.deps)
    (row,) = bench.deps.dead_letters.rows()
    return row


def mark(bench, key):
    return record(bench, key).status.condition(ConditionType.NEWS_UNDERSTOOD)


OLD_VERSION = UnsupportedMessageError(user_message="Not acted on.", detail="not acted on")


def test_a_letter_of_an_older_version_is_replayed_to_its_end(bench):
    join(bench)
    row = kept(bench, users=(KEY_A,), error=OLD_VERSION)
    foreseen = replay(row, parse, bench.deps, dry_run=True)
    assert foreseen.text == f"{A}: address changed"
    assert record(bench, KEY_B) is None
    done = replay(row, parse, bench.deps)
    assert (done.used, done.text) == (True, foreseen.text)
    assert the_one(bench, KEY_A, KEY_B).email == B
    assert mark(bench, KEY_A).status is ConditionStatus.TRUE
    assert replay(row, parse, bench.deps).text == f"{A}: unchanged (known already)"


def test_a_letter_with_an_older_address_says_that_a_newer_one_stands(bench):
    join(bench)
    tell(bench, renamed(A, C, -0.5))
    row = kept(bench, users=(KEY_A,), error=OLD_VERSION)
    for dry_run in (True, False):
        said = replay(row, parse, bench.deps, dry_run=dry_run)
        assert said.text == f"{A}: unchanged (a newer message of 2026-11-23 07:30 UTC holds)"


def test_a_letter_about_a_taken_on_address_marks_the_person_and_once(bench):
    join(bench)
    tell(bench, renamed(A, B))
    kept(bench, users=(KEY_B, KEY_A), error=OLD_VERSION)
    assert mark(bench, KEY_A).status is ConditionStatus.FALSE
    assert the_one(bench, KEY_A, KEY_B).status.inbox.last_letter_id == "7"
    assert objects(bench)[f"records/{KEY_B}.json"] == {"version": 4, "moved_to": KEY_A}
