"""*End access now*: it beats every statement of every source, until an owner lifts it, and nobody does either for themselves."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from kit.hub import ADMINS, ANA, BEN, MIA, Hub, hub_settings, make_hub
from kit.machine import GROUPS
from kit.making import NOW, after, joined, policy

from shared.domain.intent.asking import with_asked
from shared.domain.intent.lifetimes import cutting
from shared.domain.intent.roles import Roles
from shared.domain.intent.wanted import with_wanted
from shared.domain.intent.wish import Asked, Wish, WishKind
from shared.domain.people.entitlement import Cause
from shared.domain.people.events import (
    AccessUntil,
    AccountChanged,
    AccountState,
    AccountUsable,
    GroupChanged,
    Joined,
    LeaveCancelled,
    Left,
    Moved,
    Renamed,
)
from shared.domain.people.sources import DIRECTORY, FROM_ROSTER, HR, OPERATOR
from shared.domain.plan.guard_settings import GuardSettings
from shared.domain.record import codec
from shared.domain.record.record import Presence, UserRecord
from shared.domain.things.errors import BenchkeeperError
from shared.domain.things.identity import UserEmail, parse_email, user_key_for
from shared.engine.news.deliver import deliver
from shared.engine.news.requests import Fault, take_up
from shared.engine.sweeps.sweeps import sweep

OPERATORS, HELPERS, AUDITORS = "operators@example.com", "help@example.com", "auditors@example.com"
OLGA, HANA = parse_email("olga.petrov@example.com"), parse_email("hana.novak@example.com")
BLOCK = Asked(kind=WishKind.BLOCK, reason="case 4711")
LIFT = Asked(kind=WishKind.LIFT, reason="case 4711 is closed")
OTHERS = (ANA, parse_email("ana.mendes@example.com"), parse_email("a.silva@example.com"))


@pytest.fixture
def hub() -> Hub:
    roles = Roles(owner=ADMINS, operator=OPERATORS, help_desk=HELPERS, auditor=AUDITORS)
    made = make_hub(hub_settings(roles=roles))
    for group, member in ((OPERATORS, OLGA), (HELPERS, HANA)):
        made.bench.deps.groups.join(group, member)
    made.joined(ANA)
    return made


def asks(hub: Hub, asked: Asked, by: UserEmail, about: UserEmail = ANA) -> list[str]:
    """Take up a request as the page would write it; return why requests were dropped."""
    hub.serial = getattr(hub, "serial", 0) + 1
    wish = Wish(
        wish_id=f"{hub.serial:016x}",
        user_key=user_key_for(about),
        asked=asked,
        as_administrator=True,
        asked_at=hub.bench.now,
        assertion=hub.token(by),
    )
    hub.bench.deps.inbox.put(wish)
    take_up(wish.user_key, hub.bench.deps)
    return [facts["reason"] for facts in hub.lines("Dropped a request")]


def test_access_ends_at_once_and_an_owner_gives_it_back(hub: Hub) -> None:
    assert asks(hub, BLOCK, OLGA) == []
    blocked = hub.record()
    assert (blocked.spec.presence, blocked.spec.cause) == (Presence.ABSENT, Cause.BLOCKED)
    assert blocked.status.guard.waiting_cut is None
    hub.life().minutes(3)
    assert [instance.state for instance in hub.life().mine().values()] == ["STOPPED"]
    assert asks(hub, LIFT, MIA) == []
    hub.life().minutes(12)
    assert (hub.record().spec.presence, hub.record().status.notebook.power_settled) == (Presence.PRESENT, True)


def test_it_waits_for_no_room() -> None:
    settings = hub_settings(roles=Roles(owner=ADMINS), guard=GuardSettings(per_hour=1, most=1))
    hub = make_hub(settings)
    for email in (ANA, BEN):
        hub.joined(email)
    for email in (ANA, BEN):
        asks(hub, BLOCK, MIA, email)
    assert [hub.record(email).spec.presence for email in (ANA, BEN)] == [Presence.ABSENT] * 2


@pytest.mark.parametrize(
    ("asked", "by", "about", "fault"),
    [
        (BLOCK, HANA, ANA, Fault.NOT_ROLE),
        (LIFT, OLGA, ANA, Fault.NOT_ROLE),
        (BLOCK, ANA, ANA, Fault.NOT_ADMINISTRATOR),
        (BLOCK, OLGA, OLGA, Fault.OWN_CASE),
        (BLOCK, MIA, MIA, Fault.OWN_CASE),
        (LIFT, MIA, MIA, Fault.OWN_CASE),
    ],
)
def test_who_may_not(hub: Hub, asked: Asked, by: UserEmail, about: UserEmail, fault: Fault) -> None:
    if about != ANA:
        hub.joined(about)
    if asked is LIFT:
        stored = hub.bench.deps.records.load(user_key_for(about))
        assert stored is not None
        now = hub.bench.now
        changed = with_asked(stored.record, BLOCK, hub.bench.deps.policy.catalog, now, by_person=False)
        hub.bench.deps.records.save(changed, expected=stored)
    before = hub.record(about).facts
    assert asks(hub, asked, by, about) == [fault]
    assert hub.record(about).facts == before


def test_nobody_lifts_their_own_under_an_earlier_address(hub: Hub) -> None:
    hub.joined(MIA)
    asks(hub, BLOCK, OLGA, MIA)
    life, other = hub.life(MIA), parse_email("mia.weber@example.com")
    life.serial = 50
    life.tell(Renamed, new_user=other, source=DIRECTORY)
    hub.bench.deps.groups.join(ADMINS, other)
    for who in (MIA, other):
        assert asks(hub, LIFT, who, MIA)[-1] == Fault.OWN_CASE
    assert hub.record(MIA).spec.presence is Presence.ABSENT


def _statements(dice: random.Random, hub: Hub) -> Iterator[Any]:
    """Whatever sources say of three addresses of one person, dated back, ahead or now, and again."""
    makers: tuple[Callable[..., Any], ...] = (
        lambda **who: Joined(profile=dice.choice(["analyst", "engineer", None]), **who),
        lambda **who: Joined(groups=(dice.choice(GROUPS),), confirms=dice.random() < 0.5, **who),
        lambda **who: Moved(groups=(dice.choice(GROUPS),), **who),
        lambda **who: Moved(profile="engineer", profile_said=True, **who),
        lambda **who: Moved(access_until=AccessUntil(at=None), **who),
        Left,
        LeaveCancelled,
        lambda **who: GroupChanged(group=dice.choice(GROUPS), member=True, **who),
        lambda **who: AccountChanged(state=dice.choice(list(AccountState)), holds=dice.random() < 0.5, **who),
        AccountUsable,
        lambda **who: Renamed(new_user=dice.choice(OTHERS), confirmed=dice.random() < 0.5, **who),
    )
    said: list[Any] = []
    for number in range(200):
        if said and dice.random() < 0.1:
            yield dice.choice(said)
            continue
        at = hub.bench.now + timedelta(minutes=dice.choice([0, 0, 0, -500, -5, 5, 60]))
        who = {
            "event_id": f"e{number}",
            "user": dice.choice(OTHERS) if dice.random() < 0.4 else ANA,
            "occurred_at": at,
            "effective_at": at + timedelta(minutes=dice.choice([0, 0, -60, 30])),
            "source": dice.choice([HR, DIRECTORY, OPERATOR, FROM_ROSTER]),
            "person_id": dice.choice(["", "", "4711", "4712"]),
        }
        said.append(dice.choice(makers)(**who))
        yield said[-1]


@pytest.mark.parametrize("seed", range(6))
def test_two_hundred_statements_later_access_is_off(hub: Hub, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - a history that repeats
    asks(hub, BLOCK, OLGA)
    blocked = set(OTHERS[:1])
    for event in _statements(dice, hub):
        try:
            deliver(event, hub.bench.deps)
        except BenchkeeperError:
            continue  # a letter that nobody can use changes nothing either
        finally:
            if dice.random() < 0.2:
                hub.bench.advance(minutes=dice.choice([1, 10, 600]))
                sweep("due", hub.bench.deps)
        for email in blocked:
            _is_off(hub, email)
    hub.bench.advance(days=40)
    for _ in range(6):
        hub.bench.advance(minutes=1)
        sweep("due", hub.bench.deps)
    _is_off(hub, ANA)


def _is_off(hub: Hub, email: UserEmail) -> None:
    """The record that the address leads to, and whoever had the address before, gives nothing."""
    key: Any = user_key_for(email)
    while key is not None:
        stored = hub.bench.deps.records.load(key)
        assert stored is not None
        assert stored.record.spec.presence is Presence.ABSENT, key
        assert stored.record.facts.blocked() is not None, key
        key = stored.record.handover.to if stored.record.handover is not None else None


def _blocked(record: UserRecord) -> UserRecord:
    rules = policy()
    return with_wanted(with_asked(record, BLOCK, rules.catalog, NOW, by_person=False), rules, NOW)


def test_it_outlives_the_data_of_the_person() -> None:
    record = _blocked(after(joined()))
    short = cutting(record.facts, NOW)
    left = short.blocked()
    assert left is not None
    assert (left.value, "4711" in repr(short)) == ("", False)


def test_a_second_word_changes_nothing_and_a_clock_that_runs_behind_loses_no_word() -> None:
    catalog = policy().catalog
    record = _blocked(after(joined()))
    assert with_asked(record, BLOCK, catalog, NOW, by_person=False) is record
    lifted = with_asked(record, LIFT, catalog, NOW - timedelta(minutes=1), by_person=False)
    assert lifted.facts.blocked() is None
    assert with_asked(lifted, LIFT, catalog, NOW, by_person=False) is lifted
    again = with_asked(lifted, BLOCK, catalog, NOW, by_person=False)
    assert again.facts.blocked() is not None


def test_an_older_program_refuses_the_record() -> None:
    record = _blocked(after(joined()))
    raw = codec.to_json(record)
    assert raw["version"] == codec.VERSION_WITH_BLOCKS
    assert codec.from_json(raw) == record


def say(hub: Hub, kind: Any, user: UserEmail = ANA, source: str = DIRECTORY, **more: Any) -> None:
    """One more statement, ten minutes after the last one."""
    hub.serial = getattr(hub, "serial", 0) + 1
    hub.bench.advance(minutes=10)
    now = hub.bench.now
    deliver(
        kind(event_id=f"s{hub.serial}", user=user, occurred_at=now, effective_at=now, source=source, **more),
        hub.bench.deps,
    )


def settle(hub: Hub) -> None:
    """A day and more passes, in which whatever waits for a decision has its time."""
    for _ in range(2):
        hub.bench.advance(hours=25)
        for _ in range(4):
            hub.bench.advance(minutes=1)
            sweep("due", hub.bench.deps)


def test_a_new_account_under_a_blocked_address_gets_nothing(hub: Hub) -> None:
    asks(hub, BLOCK, OLGA)
    say(hub, AccountChanged, state=AccountState.DELETED, holds=True)
    say(hub, AccountChanged, state=AccountState.CREATED, holds=True)
    say(hub, Joined, source=OPERATOR, profile="engineer")
    assert hub.record().handover is not None
    settle(hub)
    _is_off(hub, ANA)


@pytest.mark.parametrize(("joins", "confirmed"), [("before", False), ("after", True), ("after", False)])
def test_a_new_address_lets_nobody_in(hub: Hub, joins: str, *, confirmed: bool) -> None:
    """HR announces an address for somebody whose access was ended, and a joiner under it."""
    asks(hub, BLOCK, OLGA)
    other = OTHERS[1]
    if joins == "before":
        say(hub, Joined, other, source=HR)
    say(hub, Renamed, new_user=other, confirmed=confirmed, source=DIRECTORY if confirmed else HR)
    say(hub, Joined, other, source=HR)
    settle(hub)
    found = hub.record(other)
    if joins == "before":
        # Somebody works under that address, and nobody with authority said that it is the same person: not cut by a mistake of HR.
        assert found.spec.presence is Presence.PRESENT
        return
    assert (found.spec.presence, found.facts.blocked() is not None) == (Presence.ABSENT, True)


def test_an_address_that_was_blocked_once_carries_it_into_who_stays(hub: Hub) -> None:
    """The blocked person's environment is long gone; the new address, which has one, turns out to be theirs."""
    asks(hub, BLOCK, OLGA)
    hub.life().days(31)
    hub.life().days(95)
    other = OTHERS[1]
    hub.joined(other)
    say(hub, Renamed, new_user=other, confirmed=True)
    settle(hub)
    assert hub.record(other).spec.presence is Presence.ABSENT
