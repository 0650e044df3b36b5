"""What waits for an administrator's word about one person: changed addresses, new accounts, groups that are gone, releases of holds."""

from __future__ import annotations

import contextlib
import secrets
from datetime import timedelta

import pytest
from kit.hub import ADMINS, BEN, MIA, Hub, hub_settings, make_hub
from kit.life import ANA, Life
from kit.oracle import instances
from msgspec.structs import replace

from shared.domain.intent.decision import About, Decision, Verdict
from shared.domain.intent.question import Question, from_json, group_ref, release_of, to_json
from shared.domain.intent.renaming import confirmed
from shared.domain.people.events import AccountChanged, AccountState, GroupChanged, Joined, Left, Renamed
from shared.domain.people.groups import GroupBook, GroupEvent, GroupEventKind
from shared.domain.people.groups import from_json as book_from_json
from shared.domain.people.groups import to_json as book_to_json
from shared.domain.people.sources import DIRECTORY
from shared.domain.plan.guard_settings import GuardSettings
from shared.domain.record.codec import from_json as record_from_json
from shared.domain.record.codec import to_json as record_to_json
from shared.domain.record.record import Presence, UserRecord
from shared.domain.record.status import Notice
from shared.domain.things.errors import CloudUnavailableError, InvalidMessageError
from shared.domain.things.identity import UserKey, parse_email, user_key_for
from shared.engine.decisions.decisions import take_up_decisions
from shared.engine.decisions.questions import both_own, rename_question, same_person_question
from shared.engine.news.deliver import deliver
from shared.engine.news.groups import concerned_by
from shared.engine.reconcile.changing import want_hold
from shared.engine.sweeps.sweeps import sweep

OTTO = parse_email("otto.admin@example.com")
NEW = parse_email("Ñandú O'Neil+new@sub.example.co")
OLD_KEY, NEW_KEY = user_key_for(ANA), user_key_for(NEW)
PLAIN, PLAIN_NEW = parse_email("ana.silva@example.com"), parse_email("ana.lima@example.com")
ANALYSTS = "data-analysts@example.com"
VOTERS = (MIA, OTTO)


@pytest.fixture
def hub() -> Hub:
    return world()


def world(**guard) -> Hub:
    made = make_hub(settings=hub_settings(guard=GuardSettings(**guard)))
    for admin in (OTTO, BEN):
        made.bench.deps.groups.join(ADMINS, admin)
    return made


def ticks(hub: Hub, minutes: int) -> None:
    for _ in range(minutes):
        hub.bench.advance(minutes=1)
        sweep("due", hub.bench.deps)


def record(hub: Hub, key: UserKey) -> UserRecord:
    stored = hub.bench.deps.records.load(key)
    assert stored is not None
    return stored.record


def decide(hub: Hub, question: Question, verdict: Verdict, *, by=(MIA,), assertion: str | None = None) -> None:
    digest = hub.bench.deps.decisions.put_list(to_json(question))
    assert digest == question.digest
    for admin in by:
        hub.bench.deps.decisions.put(
            Decision(
                decision_id=secrets.token_hex(8),
                about=question.about,
                verdict=verdict,
                digest=digest,
                asked_at=hub.bench.now,
                assertion=hub.token(admin) if assertion is None else assertion,
            )
        )


def given(hub: Hub) -> int:
    return len(hub.bench.deps.decisions.waiting())


def effects(hub: Hub) -> list[str]:
    return [
        facts["effect"] for _, said, facts in hub.bench.log.lines if said in {"Approved question", "Rejected question"}
    ]


def no_addresses(hub: Hub) -> bool:
    return not [line for line in hub.bench.log.lines if "@" in str(line)]


# --- changed addresses


def renamed(hub: Hub, *, hours: float = 0.0, event_id: str = "hr-1", old=ANA, new=NEW) -> None:
    at = hub.bench.now + timedelta(hours=hours)
    deliver(
        Renamed(
            event_id=event_id, user=old, new_user=new, confirmed=False, occurred_at=at, effective_at=at, source="hr"
        ),
        hub.bench.deps,
    )


def waiting_rename(hub: Hub, *, old=ANA, new=NEW) -> Question:
    Life(hub.bench, old).join(profile="analyst")
    renamed(hub, old=old, new=new)
    question = rename_question(record(hub, user_key_for(old)))
    assert question is not None
    assert record(hub, user_key_for(new)).claim is not None
    return question


def test_an_approved_address_is_changed_as_if_the_directory_had_said_so(hub):
    question = waiting_rename(hub)
    assert question.people == (OLD_KEY, NEW_KEY)
    decide(hub, question, Verdict.APPROVE, by=VOTERS)
    ticks(hub, 1)
    found = record(hub, NEW_KEY)
    assert (found.user_key, found.email, found.rename, found.former_emails) == (OLD_KEY, NEW, None, (ANA,))
    assert found.spec.presence is Presence.PRESENT
    assert [row.user_key for row in hub.bench.deps.records.rows()] == [OLD_KEY]
    assert given(hub) == 0
    assert effects(hub) == ["done"]
    assert "The changed address was approved" in [line.text for line in found.status.story]
    assert no_addresses(hub)
    ticks(hub, 5)
    assert len(instances(hub.bench.cloud)) == 1


def test_one_approval_alone_waits_until_nobody_objected(hub):
    question = waiting_rename(hub)
    decide(hub, question, Verdict.APPROVE)
    ticks(hub, 14)
    assert record(hub, OLD_KEY).email == ANA
    ticks(hub, 2)
    assert record(hub, OLD_KEY).email == NEW


def test_a_rejected_address_does_not_come_back_and_a_new_statement_does(hub):
    question = waiting_rename(hub)
    decide(hub, question, Verdict.REJECT)
    ticks(hub, 1)
    found = record(hub, OLD_KEY)
    assert (found.email, found.rename, found.spec.presence) == (ANA, None, Presence.PRESENT)
    assert Notice.RENAME_WAITS not in found.status.notices
    assert record(hub, NEW_KEY).claim is None
    assert given(hub) == 0
    renamed(hub)  # the same event, dated anew, as a feed that knows no dates sends it again
    renamed(hub, hours=-1, event_id="hr-0")
    assert record(hub, OLD_KEY).rename is None
    assert record(hub, NEW_KEY).claim is None
    hub.bench.advance(minutes=5)
    renamed(hub, event_id="hr-2")
    again = record(hub, OLD_KEY).rename
    assert again is not None
    assert again.event_id == "hr-2"
    assert no_addresses(hub)


def test_after_a_rejection_the_directory_may_still_say_that_it_is_true(hub):
    decide(hub, waiting_rename(hub), Verdict.REJECT)
    ticks(hub, 1)
    Life(hub.bench, ANA, serial=50).tell(Renamed, new_user=NEW, source=DIRECTORY)
    assert record(hub, NEW_KEY).user_key == OLD_KEY


def test_whoever_is_new_under_the_address_is_given_an_environment_once_it_is_rejected(hub):
    question = waiting_rename(hub)
    Life(hub.bench, NEW).tell(Joined, profile="analyst")
    assert record(hub, NEW_KEY).spec.presence is Presence.ABSENT
    decide(hub, question, Verdict.REJECT)
    ticks(hub, 8)
    assert record(hub, NEW_KEY).spec.presence is Presence.PRESENT
    assert len(instances(hub.bench.cloud)) == 2


def test_a_leave_under_the_new_address_before_the_approval_still_counts_after_it(hub):
    question = waiting_rename(hub)
    decide(hub, question, Verdict.APPROVE, by=VOTERS)
    Life(hub.bench, NEW).tell(Left, source="hr")
    ticks(hub, 2)
    found = record(hub, NEW_KEY)
    assert (found.user_key, found.spec.presence) == (OLD_KEY, Presence.ABSENT)


@pytest.mark.parametrize("verdict", Verdict)
def test_a_decision_about_another_statement_than_the_one_that_waits_changes_nothing(hub, verdict):
    question = waiting_rename(hub)
    hub.bench.advance(minutes=1)
    renamed(hub, event_id="hr-2")
    decide(hub, question, verdict, by=VOTERS)
    ticks(hub, 1)
    found = record(hub, OLD_KEY)
    assert found.email == ANA
    assert found.rename is not None
    assert record(hub, NEW_KEY).claim is not None
    assert (effects(hub), given(hub)) == (["different"], 0)


def test_two_environments_are_not_made_one_by_an_approval_and_a_rejection_keeps_both(hub):
    Life(hub.bench, NEW).join(profile="analyst")
    question = waiting_rename(hub)
    decide(hub, question, Verdict.APPROVE, by=VOTERS)
    ticks(hub, 1)
    assert effects(hub) == ["two-environments"]
    assert {record(hub, key).email for key in (OLD_KEY, NEW_KEY)} == {ANA, NEW}
    assert record(hub, OLD_KEY).rename is not None
    decide(hub, question, Verdict.REJECT)
    ticks(hub, 1)
    assert record(hub, OLD_KEY).rename is None
    assert len(instances(hub.bench.cloud)) == 2


@pytest.mark.parametrize("is_anothers", [False, True])
def test_an_address_that_has_no_record_of_its_own_owns_nothing(hub, monkeypatch, is_anothers):
    """There is none, or one of somebody else whose key is the same."""
    waiting_rename(hub)
    waits = record(hub, OLD_KEY)
    another = Life(hub.bench, PLAIN)
    another.join(profile="analyst")
    nobody = replace(waits, rename=replace(waits.rename, new_email=parse_email("nobody@example.com")))
    assert confirmed(nobody) is not None
    stored = hub.bench.deps.records.load(another.key) if is_anothers else None
    monkeypatch.setattr(type(hub.bench.deps.records), "load", lambda *_: stored)
    assert not both_own(nobody, hub.bench.deps)


@pytest.mark.parametrize("verdict", Verdict)
@pytest.mark.parametrize("step", range(0, 60, 3))
def test_a_crash_anywhere_is_made_up_for_by_the_next_tick(verdict, step):
    hub = world()
    question = waiting_rename(hub)
    decide(hub, question, verdict, by=VOTERS)
    hub.bench.advance(minutes=1)
    left = step

    def crash() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise CloudUnavailableError(user_message="gone", detail="the process died")

    hub.bench.adapter.around = crash
    with contextlib.suppress(CloudUnavailableError):
        sweep("due", hub.bench.deps)
    hub.bench.adapter.around = lambda: None
    ticks(hub, 2)
    assert given(hub) == 0
    if verdict is Verdict.APPROVE:
        assert record(hub, NEW_KEY).user_key == OLD_KEY
        assert record(hub, OLD_KEY).email == NEW
    else:
        assert record(hub, OLD_KEY).rename is None
        assert record(hub, NEW_KEY).claim is None


@pytest.mark.parametrize("case", ["an analyst", "the person", "whoever has the new address", "not signed"])
def test_a_word_that_does_not_count_changes_nothing(hub, case):
    question = waiting_rename(hub, old=PLAIN, new=PLAIN_NEW)
    who = {
        "an analyst": parse_email("nobody@example.com"),
        "the person": PLAIN,
        "whoever has the new address": PLAIN_NEW,
        "not signed": MIA,
    }[case]
    if who in {PLAIN, PLAIN_NEW}:
        hub.bench.deps.groups.join(ADMINS, who)
    decide(hub, question, Verdict.REJECT, by=(who,), assertion="x.y.z" if case == "not signed" else None)
    ticks(hub, 1)
    assert record(hub, user_key_for(PLAIN)).rename is not None
    assert given(hub) == 0
    (line,) = hub.lines("Dropped a decision")
    reasons = {"an analyst": "NotAdministrator", "not signed": "NotSigned"}
    assert line["reason"] == reasons.get(case, "Concerned")


def test_a_team_of_one_decides_alone_and_it_is_marked():
    hub = world(approvers=1)
    decide(hub, waiting_rename(hub), Verdict.APPROVE)
    ticks(hub, 1)
    assert record(hub, OLD_KEY).email == NEW
    (line,) = hub.lines("Approved question")
    assert (line["own"], line["by"], line["users"]) == (True, [user_key_for(MIA)], [OLD_KEY, NEW_KEY])


# --- a new account under the address


def account(hub: Hub, life: Life, state: AccountState) -> None:
    hub.bench.advance(minutes=1)
    life.tell(AccountChanged, state=state, holds=True, source=DIRECTORY, published_at=hub.bench.now)


def recreated(hub: Hub, *, after_days: float = 0, new_joins: bool = False) -> Question:
    life = Life(hub.bench, ANA)
    life.join(profile="analyst")
    account(hub, life, AccountState.DELETED)
    ticks(hub, 5)
    if after_days:
        life.days(after_days)
    account(hub, life, AccountState.CREATED)
    old = record(hub, OLD_KEY)
    assert old.handover is not None
    if new_joins:
        hub.bench.advance(minutes=1)
        life.tell(Joined, profile="analyst")
        ticks(hub, 8)
    new = record(hub, old.handover.to)
    assert Notice.SAME_PERSON in new.status.notices
    question = same_person_question(old, new)
    assert question is not None
    assert question.people == (OLD_KEY, new.user_key)
    return question


def test_who_is_said_to_be_the_same_person_has_the_old_files(hub):
    question = recreated(hub)
    (name,) = [i.short for i in instances(hub.bench.cloud).values()]
    decide(hub, question, Verdict.APPROVE, by=VOTERS)
    ticks(hub, 8)
    found = record(hub, question.people[1])
    assert (found.user_key, found.handover, found.predecessor) == (OLD_KEY, None, None)
    assert found.spec.presence is Presence.PRESENT
    assert {i.short: i.state for i in instances(hub.bench.cloud).values()} == {name: "ACTIVE"}
    assert found.status.notices == ()
    assert given(hub) == 0
    assert no_addresses(hub)
    life = Life(hub.bench, ANA, serial=90)
    hub.bench.advance(minutes=1)
    life.tell(Left)
    assert record(hub, OLD_KEY).spec.presence is Presence.ABSENT


def test_who_left_before_the_account_was_made_anew_is_not_let_in_by_an_approval(hub):
    life = Life(hub.bench, ANA)
    life.join(profile="analyst")
    hub.bench.advance(minutes=1)
    life.tell(Left)
    account(hub, life, AccountState.DELETED)
    account(hub, life, AccountState.CREATED)
    old = record(hub, OLD_KEY)
    assert old.handover is not None
    question = same_person_question(old, record(hub, old.handover.to))
    assert question is not None
    decide(hub, question, Verdict.APPROVE, by=VOTERS)
    ticks(hub, 3)
    assert record(hub, OLD_KEY).handover is None
    assert record(hub, OLD_KEY).spec.presence is Presence.ABSENT


def test_who_is_said_to_be_another_person_is_not_asked_about_any_more(hub):
    question = recreated(hub)
    decide(hub, question, Verdict.REJECT)
    ticks(hub, 2)
    old, new = (record(hub, key) for key in question.people)
    assert new.status.notices == ()
    assert (new.predecessor, old.handover is not None) == (OLD_KEY, True)
    assert same_person_question(old, new) is None
    ticks(hub, 5)
    sweep("drift", hub.bench.deps)
    assert record(hub, new.user_key).status.notices == ()
    for verdict in Verdict:  # answered already
        decide(hub, question, verdict, by=VOTERS)
        ticks(hub, 1)
    assert len(record(hub, new.user_key).rejected) == 1
    assert record(hub, OLD_KEY).handover is not None
    assert given(hub) == 0


def test_of_two_with_an_environment_each_none_is_given_the_others(hub):
    question = recreated(hub, new_joins=True)
    decide(hub, question, Verdict.APPROVE, by=VOTERS)
    ticks(hub, 2)
    assert effects(hub) == ["two-environments"]
    assert record(hub, question.people[1]).user_key != OLD_KEY
    assert record(hub, OLD_KEY).handover is not None


@pytest.mark.parametrize("step", range(0, 60, 3))
def test_a_crash_between_joining_and_leading_is_made_up_for(step):
    hub = world()
    question = recreated(hub)
    decide(hub, question, Verdict.APPROVE, by=VOTERS)
    hub.bench.advance(minutes=1)
    left = step

    def crash() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise CloudUnavailableError(user_message="gone", detail="the process died")

    hub.bench.adapter.around = crash
    with contextlib.suppress(CloudUnavailableError):
        sweep("due", hub.bench.deps)
    hub.bench.adapter.around = lambda: None
    ticks(hub, 2)
    assert record(hub, question.people[1]).user_key == OLD_KEY
    assert given(hub) == 0


# --- releases of holds


def held(hub: Hub, reason: str = "case 4711", *, email=ANA) -> Question:
    if hub.bench.deps.records.load(user_key_for(email)) is None:
        Life(hub.bench, email).join(profile="analyst")
    stored = want_hold(user_key_for(email), reason, hub.bench.deps)
    assert stored is not None
    question = release_of(stored.record)
    assert question is not None
    return question


def test_a_hold_is_released_once_another_administrator_agrees_and_never_by_waiting(hub):
    question = held(hub)
    decide(hub, question, Verdict.APPROVE)
    ticks(hub, 60)
    assert record(hub, OLD_KEY).hold is not None
    decide(hub, question, Verdict.APPROVE)  # the same administrator once more
    ticks(hub, 2)
    assert record(hub, OLD_KEY).hold is not None
    decide(hub, question, Verdict.APPROVE, by=(OTTO,))
    ticks(hub, 1)
    assert record(hub, OLD_KEY).hold is None
    assert given(hub) == 0
    (line,) = hub.lines("Released a hold")
    assert line["by"] == sorted([user_key_for(MIA), user_key_for(OTTO)])


def test_one_other_administrator_is_enough_however_many_must_approve_elsewhere():
    hub = world(approvers=3)
    decide(hub, held(hub), Verdict.APPROVE, by=VOTERS)
    ticks(hub, 1)
    assert record(hub, OLD_KEY).hold is None


def test_a_rejected_release_is_over_and_may_be_asked_for_again(hub):
    question = held(hub)
    decide(hub, question, Verdict.APPROVE)
    decide(hub, question, Verdict.REJECT, by=(OTTO,))
    ticks(hub, 1)
    assert given(hub) == 0
    assert record(hub, OLD_KEY).hold is not None
    decide(hub, question, Verdict.APPROVE, by=VOTERS)
    ticks(hub, 1)
    assert record(hub, OLD_KEY).hold is None


def test_a_hold_with_another_reason_voids_the_release(hub):
    question = held(hub)
    decide(hub, question, Verdict.APPROVE)
    other = held(hub, "case 4712")
    assert other.digest != question.digest
    decide(hub, question, Verdict.APPROVE, by=(OTTO,))
    ticks(hub, 1)
    assert record(hub, OLD_KEY).hold is not None
    assert (effects(hub), given(hub)) == (["different"], 0)


def test_nothing_of_a_leaver_is_deleted_before_the_release_is_approved(hub):
    question = held(hub)
    Life(hub.bench, ANA, serial=50).tell(Left)
    decide(hub, question, Verdict.APPROVE)
    for _ in range(3):
        hub.bench.advance(days=31)
        decide(hub, question, Verdict.APPROVE)  # asked for again: a request that nobody agreed to lapses
        ticks(hub, 8)
    assert len(instances(hub.bench.cloud)) == 1
    decide(hub, question, Verdict.APPROVE, by=(OTTO,))
    ticks(hub, 12)
    assert len(instances(hub.bench.cloud)) == 0


def test_nobody_releases_their_own_hold(hub):
    hub.bench.deps.groups.join(ADMINS, PLAIN)
    decide(hub, held(hub, email=PLAIN), Verdict.APPROVE, by=(PLAIN, MIA))
    ticks(hub, 1)
    assert record(hub, user_key_for(PLAIN)).hold is not None
    assert [line["reason"] for line in hub.lines("Dropped a decision")] == ["Concerned"]


def test_a_question_that_names_others_than_the_fact_is_about_answers_nothing(hub):
    """Only a page that was taken over could store one: to keep somebody off the list of those concerned."""
    other = user_key_for(BEN)
    rename = waiting_rename(hub)
    release = held(hub)
    decide(hub, replace(rename, people=(OLD_KEY, other)), Verdict.APPROVE, by=VOTERS)
    decide(hub, replace(rename, people=(OLD_KEY, other)), Verdict.REJECT, by=VOTERS)
    ticks(hub, 1)
    assert record(hub, OLD_KEY).rename is not None
    decide(hub, rename, Verdict.APPROVE, by=VOTERS)
    ticks(hub, 1)
    assert record(hub, NEW_KEY).user_key == OLD_KEY
    decide(hub, replace(release, people=(NEW_KEY,)), Verdict.APPROVE, by=VOTERS)  # leads to the same record
    ticks(hub, 1)
    assert record(hub, OLD_KEY).hold is not None
    assert given(hub) == 0


# --- groups


def group_of(hub: Hub, count: int = 4) -> list[Life]:
    people = [
        Life(hub.bench, ANA),
        *(Life(hub.bench, parse_email(f"p{number}@example.com")) for number in range(count - 1)),
    ]
    for person in people:
        person.tell(GroupChanged, group=ANALYSTS, member=True, source=DIRECTORY)
    ticks(hub, 8)
    assert {person.record.spec.presence for person in people} == {Presence.PRESENT}
    return people


def gone_group(hub: Hub) -> GroupEvent:
    hub.bench.advance(minutes=1)
    event = GroupEvent(
        kind=GroupEventKind.DELETED, group=ANALYSTS, occurred_at=hub.bench.now, event_id="g-1", source=DIRECTORY
    )
    deliver(event, hub.bench.deps)
    (kept,) = hub.bench.deps.books.load().book.events
    assert kept.waits
    return kept


def group_question(hub: Hub, people: list[Life], event: GroupEvent) -> Question:
    return Question(about=About.GROUP, people=tuple(sorted(person.key for person in people)), ref=group_ref(event))


def test_a_group_that_is_gone_takes_access_once_that_is_approved(hub):
    people = group_of(hub, 8)
    question = group_question(hub, people, gone_group(hub))
    assert {person.record.spec.presence for person in people} == {Presence.PRESENT}
    decide(hub, question, Verdict.APPROVE, by=VOTERS)
    ticks(hub, 4)
    assert {person.record.spec.presence for person in people} == {Presence.ABSENT}
    assert {i.state for i in instances(hub.bench.cloud).values()} == {"STOPPED"}
    assert given(hub) == 0


def test_a_group_whose_end_is_rejected_entitles_on_until_something_else_is_said(hub):
    people = group_of(hub)
    decide(hub, group_question(hub, people, gone_group(hub)), Verdict.REJECT)
    ticks(hub, 6)
    assert {person.record.spec.presence for person in people} == {Presence.PRESENT}
    assert {person.record.status.notices for person in people} == {()}
    deliver(replace_waits(hub), hub.bench.deps)  # the same event again
    assert {person.record.spec.presence for person in people} == {Presence.PRESENT}
    assert {person.record.status.notices for person in people} == {()}
    hub.bench.advance(minutes=1)
    people[0].tell(GroupChanged, group=ANALYSTS, member=False, source=DIRECTORY)
    assert people[0].record.spec.presence is Presence.ABSENT


def replace_waits(hub: Hub) -> GroupEvent:
    (kept,) = hub.bench.deps.books.load().book.events
    return GroupEvent(
        kind=kept.kind, group=kept.group, occurred_at=kept.occurred_at, event_id=kept.event_id, source=kept.source
    )


class FlakyRecords:
    """The records, of which one read fails: the `fails_at`th."""

    def __init__(self, records, fails_at: int) -> None:
        self._records, self._left = records, fails_at

    def __getattr__(self, name: str):
        return getattr(self._records, name)

    def load(self, key):
        self._left -= 1
        if self._left == 0:
            raise CloudUnavailableError(user_message="Not now.", detail="scripted")
        return self._records.load(key)


@pytest.mark.parametrize("fails_at", range(1, 5))
def test_the_only_member_of_a_group_that_is_gone_is_cut_though_a_read_fails(hub, fails_at):
    (person,) = group_of(hub, 1)
    hub.bench.advance(minutes=1)
    event = GroupEvent(
        kind=GroupEventKind.DELETED, group=ANALYSTS, occurred_at=hub.bench.now, event_id="g-1", source=DIRECTORY
    )
    flaky = replace(hub.bench.deps, records=FlakyRecords(hub.bench.deps.records, fails_at))
    try:
        deliver(event, flaky)
    except CloudUnavailableError:
        deliver(event, hub.bench.deps)  # Pub/Sub brings it again
    ticks(hub, 2)
    assert person.record.spec.presence is Presence.ABSENT


@pytest.mark.parametrize("verdict", Verdict)
def test_a_word_about_a_group_of_which_nothing_is_known_any_more_changes_nothing(hub, verdict):
    people = group_of(hub)
    question = group_question(hub, people, gone_group(hub))
    stored = hub.bench.deps.books.load()
    hub.bench.deps.books.save(replace(stored.book, events=()), expected=stored)
    decide(hub, question, verdict, by=VOTERS)
    ticks(hub, 6)
    assert {person.record.spec.presence for person in people} == {Presence.PRESENT}
    assert effects(hub) == ["different"]
    assert given(hub) == 0


@pytest.mark.parametrize(("others", "read"), [(199, True), (200, False)])
def test_of_two_hundred_members_each_is_looked_at_and_of_more_all_count(hub, others, read):
    """Whoever has no record any more loses nothing; among so many that wait anyway nobody is looked for."""
    people = group_of(hub, 1)
    event = GroupEvent(
        kind=GroupEventKind.DELETED,
        group=ANALYSTS,
        occurred_at=hub.bench.now,
        event_id="g",
        source=DIRECTORY,
        waits=True,
    )
    (row,) = [each for each in hub.bench.deps.records.rows() if each.user_key == people[0].key]
    rows = [row, *(replace(row, user_key=UserKey(f"gone-{number}")) for number in range(others))]
    found = concerned_by(event, GroupBook(events=(event,)), hub.bench.deps, rows)
    assert found == ([row.user_key] if read else [each.user_key for each in rows])


def test_an_approval_that_leaves_somebody_out_changes_nothing(hub):
    people = group_of(hub)
    decide(hub, group_question(hub, people[1:], gone_group(hub)), Verdict.APPROVE, by=VOTERS)
    ticks(hub, 6)
    assert {person.record.spec.presence for person in people} == {Presence.PRESENT}
    assert effects(hub) == ["different"]


@pytest.mark.parametrize("verdict", Verdict)
@pytest.mark.parametrize("step", range(0, 90, 6))
def test_a_crash_in_the_middle_of_a_group_leaves_nobody_out(verdict, step):
    hub = world()
    people = group_of(hub)
    decide(hub, group_question(hub, people, gone_group(hub)), verdict, by=VOTERS)
    hub.bench.advance(minutes=1)
    left = step

    def crash() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise CloudUnavailableError(user_message="gone", detail="the process died")

    hub.bench.adapter.around = crash
    with contextlib.suppress(CloudUnavailableError):
        sweep("due", hub.bench.deps)
    hub.bench.adapter.around = lambda: None
    ticks(hub, 3)
    present = Presence.ABSENT if verdict is Verdict.APPROVE else Presence.PRESENT
    assert {person.record.spec.presence for person in people} == {present}
    assert {person.record.status.notices for person in people} == {()}
    assert given(hub) == 0


def test_a_book_that_an_earlier_version_reads_judges_nothing_by_what_was_rejected(hub):
    people = group_of(hub)
    event = gone_group(hub)
    book = hub.bench.deps.books.load().book.decided(event, agreed=False)
    raw = book_to_json(book)
    assert [each["waits"] for each in raw["events"]] == [True]
    assert book_from_json(raw) == book
    assert not book.waits
    assert book.digest_text() != book.decided(event, agreed=True).digest_text()
    assert len(people) == 4


# --- forms


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"[]", b"{}", b"\xff", b'{"version":2,"about":"RELEASE","people":["a-000000000000"],"ref":"0000000000000000"}',
        b'{"version":1,"about":"CUTS","people":["a-000000000000"],"ref":"0000000000000000"}',
        b'{"version":1,"about":"RELEASE","people":[],"ref":"0000000000000000"}',
        b'{"version":1,"about":"RENAME","people":["a-000000000000"],"ref":"0000000000000000"}',
        b'{"version":1,"about":"RELEASE","people":["a@example.com"],"ref":"0000000000000000"}',
        b'{"version":1,"about":"RELEASE","people":["a-000000000000"],"ref":"../x"}',
        b'{"version":1,"about":"RELEASE","people":7,"ref":"0000000000000000"}',
    ],
)  # fmt: skip
def test_other_bytes_are_no_question(raw):
    with pytest.raises(InvalidMessageError):
        from_json(raw)


def test_a_question_reads_back_and_its_digest_is_of_people_and_fact(hub):
    question = held(hub)
    assert from_json(to_json(question)) == question
    assert held(hub, "another").digest != question.digest
    assert b"@" not in to_json(question)


def test_a_decision_of_one_kind_says_nothing_of_a_question_of_another(hub):
    question = held(hub)
    hub.bench.deps.decisions.put_list(to_json(question))
    for about in (About.CUTS, About.RENAME):
        hub.bench.deps.decisions.put(
            Decision(
                decision_id=secrets.token_hex(8),
                about=about,
                verdict=Verdict.APPROVE,
                digest=question.digest,
                asked_at=hub.bench.now,
                assertion=hub.token(MIA),
            )
        )
    take_up_decisions(hub.bench.deps)
    assert [line["reason"] for line in hub.lines("Dropped a decision")] == ["NoList"] * 2
    assert record(hub, OLD_KEY).hold is not None


def test_what_was_rejected_is_kept_in_the_record(hub):
    decide(hub, waiting_rename(hub), Verdict.REJECT)
    ticks(hub, 1)
    found = record(hub, OLD_KEY)
    (rejected,) = found.rejected
    assert rejected.by == user_key_for(MIA)
    assert record_from_json(record_to_json(found)) == found
