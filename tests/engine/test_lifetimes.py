"""What is left of a person goes when its lifetime is over, by hand or by itself; and whoever was cut stays cut."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.inprocess import local_settings
from kit.life import Life, life, personal
from kit.official import storage_bucket
from kit.oracle import object_names
from msgspec.structs import replace

from shared.domain.intent.lifetimes import ERASED, Kept, cutting, reduced
from shared.domain.people.entitlement import judge_entitlement
from shared.domain.people.events import (
    AccountChanged,
    AccountState,
    GroupChanged,
    Joined,
    Left,
    LifecycleEvent,
    Moved,
    Renamed,
    statements_of,
)
from shared.domain.people.facts import Facts
from shared.domain.things.errors import ConflictError
from shared.domain.things.identity import UserEmail, parse_email, user_key_for
from shared.domain.things.times import parse_time
from shared.engine.news.intake import accept
from shared.engine.ports.inbox import DeadLetter, LetterRow
from shared.engine.reconcile.changing import want_hold
from shared.engine.sweeps.lifetimes import Over, erase, keep_lifetimes, look
from shared.engine.sweeps.sweeps import sweep

BEN = parse_email("ben.okafor@example.com")
YEAR = 365
GROUP = "data-analysts@example.com"
CATALOG = local_settings().catalog


def gone(person: Life, *, days: int = 91) -> Life:
    """Somebody who left so long ago that nothing exists any more."""
    person.join(groups=(GROUP,), attributes={"cost_center": "CC-9"})
    person.leave(minutes=5)
    person.days(31)
    person.days(days - 31)
    assert person.states() == {}
    assert person.snapshots() == {}
    return person


def letter(person: Life, ident: str, *users: UserEmail, sent: datetime, replayed: bool = False) -> None:
    row = LetterRow(
        letter_id=ident, sent_at=sent, reason="InvalidMessage", detail="d", users=tuple(map(user_key_for, users))
    )
    letters = person.bench.deps.dead_letters
    body = b'{"user": "somebody@example.com"}'
    letters.store(DeadLetter(row=row, source="s", received_at=sent, body=body, size=len(body), attributes={}))
    if replayed:
        (kept,) = [each for each in letters.rows() if each.letter_id == ident]
        letters.mark_replayed(kept, sent, "done")


def letters(person: Life) -> set[str]:
    return {row.letter_id for row in person.bench.deps.dead_letters.rows()}


def everything_kept(person: Life) -> str:
    """All names and contents in the bucket, as one text."""
    bucket = storage_bucket(person.bench.clients)
    names = object_names(person.bench.cloud, person.bench.settings.bucket, "")
    return "\n".join(
        f"{name} {bucket.blob(name).download_as_bytes().decode()} {bucket.get_blob(name).metadata}" for name in names
    )


# --- by hand


def test_what_is_left_of_a_person_is_erased_and_the_cut_stays() -> None:
    person = gone(life(email=BEN))
    letter(person, "about-ben", BEN, sent=person.bench.now)
    letter(person, "about-two", BEN, parse_email("ana.silva@example.com"), sent=person.bench.now)
    assert "ben.okafor@example.com" in everything_kept(person)
    assert object_names(person.bench.cloud, person.bench.settings.bucket, f"manifests/{person.key}/")
    done = erase(person.key, person.bench.deps)
    assert done.kept is None
    assert [row.letter_id for row in done.letters] == ["about-ben"]
    assert done.shared_letters == 1
    assert letters(person) == {"about-two"}
    kept = everything_kept(person)
    for word in ("ben.okafor@example.com", "CC-9", "manifests/", GROUP, f"{person.key}-1"):
        assert word not in kept, word
    record = person.record
    assert (record.email, record.status.story, record.spec.profile, record.cost_center) == (ERASED, (), None, "")
    # A joiner that was sent before the leaver, and comes now, brings nobody back.
    late = Joined(
        event_id="late",
        user=BEN,
        occurred_at=person.bench.now - timedelta(days=100),
        effective_at=person.bench.now - timedelta(days=100),
        groups=(GROUP,),
        profile="analyst",
    )
    accept(late, person.bench.deps)
    person.minutes(5)
    assert person.states() == {}


def test_letters_under_either_address_of_a_person_go() -> None:
    person = gone(life(email=BEN))
    new = parse_email("ben.cole@example.com")
    now = person.bench.now
    accept(Renamed(event_id="r", user=BEN, new_user=new, occurred_at=now, effective_at=now), person.bench.deps)
    person.minutes(2)
    letter(person, "first", BEN, sent=now)
    letter(person, "both", BEN, new, sent=now)
    letter(person, "second", new, sent=now)
    assert {row.letter_id for row in erase(user_key_for(new), person.bench.deps).letters} == {"first", "second", "both"}
    assert letters(person) == set()
    assert person.record.email == ERASED


def test_erasing_again_finds_nothing() -> None:
    person = gone(life(email=BEN))
    erase(person.key, person.bench.deps)
    before = person.bench.deps.records.load(person.key)
    assert look(person.key, person.bench.deps)[0].is_empty
    assert erase(person.key, person.bench.deps).is_empty
    assert person.bench.deps.records.load(person.key) == before


def test_who_is_erased_and_comes_back_gets_an_environment_under_the_address() -> None:
    person = gone(life(email=BEN))
    erase(person.key, person.bench.deps)
    person.join(groups=(GROUP,))
    assert list(person.states().values()) == ["ACTIVE"]
    assert person.record.email == BEN
    assert person.only().body["gceSetup"]["metadata"]["proxy-user-mail"] == BEN


def test_a_drift_sweep_leaves_a_reduced_record_alone() -> None:
    person = gone(life(email=BEN))
    erase(person.key, person.bench.deps)
    before = person.bench.deps.records.load(person.key)
    person.bench.advance(days=30)
    summary = sweep("drift", person.bench.deps)
    assert summary.decisions == []
    assert person.bench.deps.records.load(person.key) == before


def test_nothing_is_erased_while_something_is_there() -> None:
    person = life(email=BEN)
    person.join()
    assert erase(person.key, person.bench.deps).kept is Kept.ENTITLED
    person.leave()
    person.minutes(10)
    assert erase(person.key, person.bench.deps).kept is Kept.EXISTS
    person.days(31)
    assert person.states() == {}
    assert erase(person.key, person.bench.deps).kept is Kept.EXISTS  # the snapshot
    assert person.record.email == BEN


def test_a_hold_an_announcement_and_what_cannot_be_read_keep_everything() -> None:
    person = gone(life(personal(), email=BEN))
    deps = person.bench.deps
    want_hold(person.key, "audit", deps)
    person.minutes(3)
    assert erase(person.key, deps).kept is Kept.ON_HOLD
    want_hold(person.key, None, deps)
    person.minutes(3)
    person.bench.fault(call="iam.serviceAccounts.get", error={"code": "PERMISSION_DENIED"})
    assert erase(person.key, deps).kept is Kept.UNREADABLE
    returns = person.bench.now + timedelta(days=9)
    person.tell(Joined, groups=(GROUP,))
    person.tell(Left)
    person.minutes(60)
    assert person.bench.cloud.world.faults.unfired() == []
    accept(Joined(event_id="later", user=BEN, occurred_at=person.bench.now, effective_at=returns), deps)
    person.minutes(2)
    assert erase(person.key, deps).kept in {Kept.ANNOUNCED, Kept.EXISTS}


def test_what_is_still_to_take_effect_keeps_the_record() -> None:
    person = gone(life(email=BEN))
    now = person.bench.now
    accept(Joined(event_id="next", user=BEN, occurred_at=now, effective_at=now + timedelta(days=9)), person.bench.deps)
    person.minutes(2)
    assert erase(person.key, person.bench.deps).kept is Kept.ANNOUNCED


def test_news_in_the_same_moment_is_not_lost() -> None:
    person = gone(life(email=BEN))
    deps = person.bench.deps
    found, stored = look(person.key, deps)
    assert found.record
    assert stored is not None
    person.tell(Joined, groups=(GROUP,))  # between the look and the write
    with pytest.raises(ConflictError):
        deps.records.save(reduced(stored.record, person.bench.now), expected=stored)
    person.minutes(8)
    assert list(person.states().values()) == ["ACTIVE"]


@pytest.mark.parametrize("crash_at", range(12))
def test_a_crash_at_any_call_is_made_good_by_the_next_try(crash_at: int) -> None:
    person = gone(life(email=BEN))
    letter(person, "about-ben", BEN, sent=person.bench.now)
    left = crash_at

    def around() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt

    person.bench.adapter.around = around
    with pytest.raises(KeyboardInterrupt):
        erase(person.key, person.bench.deps)
    person.bench.adapter.around = lambda: None
    erase(person.key, person.bench.deps)
    assert "ben.okafor@example.com" not in everything_kept(person)
    assert letters(person) == set()


# --- by itself


def test_the_drift_sweep_reduces_a_tombstone_when_its_lifetime_is_over() -> None:
    person = gone(life(email=BEN))
    left = person.record.spec.absent_since
    assert left is not None
    person.bench.advance(seconds=(left + timedelta(days=YEAR) - person.bench.now).total_seconds() - 60)
    assert sweep("drift", person.bench.deps).measures["erased_people"] == 0
    assert person.record.email == BEN
    person.bench.advance(minutes=2)
    dry = sweep("drift", person.bench.deps, dry_run=True)
    assert dry.measures["erased_people"] == 1
    assert person.record.email == BEN
    assert sweep("drift", person.bench.deps).measures["erased_people"] == 1
    assert person.record.email == ERASED
    assert "ben.okafor" not in json.dumps(person.bench.deps.records.load(person.key).record.facts.timelines.__repr__())
    assert sweep("drift", person.bench.deps).measures["erased_people"] == 0


def test_a_hold_outlasts_the_lifetime() -> None:
    person = gone(life(email=BEN))
    want_hold(person.key, "audit", person.bench.deps)
    person.days(YEAR + 1)
    assert sweep("drift", person.bench.deps).measures["erased_people"] == 0
    assert person.record.email == BEN


def test_an_unread_letter_goes_only_when_it_can_concern_nobody() -> None:
    person = gone(life(email=BEN))
    old, other = person.bench.now, parse_email("ana.silva@example.com")
    here = Life(person.bench, other)
    here.tell(Joined, groups=(GROUP,))
    letter(person, "read", other, sent=old, replayed=True)
    letter(person, "unread-of-ben", BEN, sent=old)
    letter(person, "unread-of-ana", other, sent=old)
    letter(person, "unread-of-both", BEN, other, sent=old)
    letter(person, "unread-of-nobody", sent=old)
    letter(person, "unread-of-a-stranger", parse_email("who@example.com"), sent=old)
    person.bench.advance(days=YEAR - 1)
    letter(person, "young", other, sent=person.bench.now, replayed=True)
    before = letters(person)
    sweep("drift", person.bench.deps)
    assert letters(person) == before
    person.bench.advance(days=2)
    sweep("drift", person.bench.deps)  # reduces Ben's record, and so the letter about him alone may go in the next one
    summary = sweep("drift", person.bench.deps)
    assert letters(person) == {"unread-of-ana", "unread-of-both", "unread-of-nobody", "unread-of-a-stranger", "young"}
    assert summary.measures["overdue_letters"] == 4
    assert (
        "WARNING",
        "Kept dead letters that were not replayed in their lifetime",
        {"letters": 4},
    ) in person.bench.log.lines


def test_one_failure_holds_up_nobody() -> None:
    person = gone(life(email=BEN))
    person.bench.advance(days=YEAR)
    over = Over(person.bench.deps.policy.personal_data, person.bench.now)
    for row in person.bench.deps.records.rows():
        over.add(row)
    person.bench.fault(call="storage.objects.list", resource="*", error={"code": "PERMISSION_DENIED"})
    assert keep_lifetimes(person.bench.deps, over, dry_run=False)["erased_people"] == 1
    person.bench.fault(call="storage.objects.get", resource="*records/*", error={"code": "PERMISSION_DENIED"})
    assert keep_lifetimes(person.bench.deps, over, dry_run=False)["erased_people"] == 0
    assert person.bench.cloud.world.faults.unfired() == []


# --- what a reduced record still says


MOMENT = parse_time("2026-01-01T00:00:00Z")
DAYS = st.integers(0, 200).map(lambda day: MOMENT + timedelta(days=day))


@st.composite
def events(draw: st.DrawFn) -> LifecycleEvent:
    at = draw(DAYS)
    common = {"event_id": str(draw(st.integers(0, 10**6))), "user": BEN, "occurred_at": at, "effective_at": at}
    groups = st.none() | st.sampled_from([(), (GROUP,), ("other@example.com",)])
    match draw(st.sampled_from([Joined, Moved, Left, GroupChanged, AccountChanged])):
        case kind if kind is Joined:
            return Joined(
                **common,
                groups=draw(groups),
                profile=draw(st.sampled_from([None, "", "analyst"])),
                attributes={"cost_center": "x"},
            )
        case kind if kind is Moved:
            profile = draw(st.sampled_from([None, "analyst"]))
            return Moved(**common, groups=draw(groups), profile=profile, profile_said=draw(st.booleans()))
        case kind if kind is Left:
            return Left(**common)
        case kind if kind is GroupChanged:
            return GroupChanged(
                **common, group=draw(st.sampled_from([GROUP, "other@example.com"])), member=draw(st.booleans())
            )
        case _:
            return AccountChanged(**common, state=draw(st.sampled_from(AccountState)), holds=draw(st.booleans()))


def folded(facts: Facts, said: list[LifecycleEvent]) -> Facts:
    for event in said:
        for name, statement in statements_of(event):
            facts = facts.with_statement(name, statement)
    return facts


@given(st.lists(events(), max_size=8), st.lists(events(), max_size=4))
def test_no_late_message_gives_what_it_would_not_have_given_before(
    said: list[LifecycleEvent], late: list[LifecycleEvent]
) -> None:
    catalog = CATALOG
    now = MOMENT + timedelta(days=400)
    facts = folded(Facts.none(), said)
    short = cutting(facts, now)
    assert not judge_entitlement(short, catalog, now).entitled
    assert cutting(short, now) == short
    if judge_entitlement(facts, catalog, now).entitled:
        return
    # What was said before anything that is known, whenever it comes.
    first = min((event.occurred_at for event in said), default=now)
    old = [
        replace(event, occurred_at=first - timedelta(days=1), effective_at=first - timedelta(days=1)) for event in late
    ]
    before = judge_entitlement(folded(facts, old), catalog, now).entitled
    after = judge_entitlement(folded(short, old), catalog, now).entitled
    assert before or not after
    # And what is said later counts as if nothing had been forgotten of what cuts.
    new = [*old, Left(event_id="new", user=BEN, occurred_at=now, effective_at=now)]
    assert not judge_entitlement(folded(short, new), catalog, now).entitled
