"""User keys of four bits: most people share one with others. No record changes hands, and a leaver is cut or it is loud."""

from __future__ import annotations

import random
from datetime import timedelta
from types import SimpleNamespace

import pytest
from kit.inprocess import Bench, impatient, make_bench

from shared.domain.people.events import AccountChanged, AccountState, Joined, Left, LifecycleEvent, Renamed
from shared.domain.people.sources import DIRECTORY, HR
from shared.domain.record.record import Presence
from shared.domain.things import identity
from shared.domain.things.identity import UserEmail, parse_email, user_key_for
from shared.engine.news.deliver import deliver
from shared.engine.news.lookup import KeyCollisionError, find
from shared.engine.sweeps.sweeps import sweep

PEOPLE = [parse_email(f"person{number}@example.com") for number in range(24)]


@pytest.fixture
def four_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every key is one of sixteen. Names that are made of keys are as they are."""
    real = identity.hashlib.sha256

    def sha256(text: bytes) -> SimpleNamespace:
        digest = real(text).hexdigest()
        is_key = b"@" in text or text.startswith(b"#")
        return SimpleNamespace(hexdigest=lambda: digest[0] + "0" * 63 if is_key else digest)

    monkeypatch.setattr(identity, "hashlib", SimpleNamespace(sha256=sha256))
    monkeypatch.setattr(identity, "_readable", lambda _: "k")


class World:
    """What was told, to whom it belongs, and what was refused aloud."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - the same lives each time
        self.bench: Bench = make_bench()
        self.told: dict[str, frozenset[UserEmail]] = {}  # event id -> the addresses that it may be about
        self.loud: set[str] = set()
        self.numbers = {email: f"4{place}" for place, email in enumerate(PEOPLE)}

    def tell(self, event: LifecycleEvent) -> bool:
        self.bench.advance(seconds=1)
        try:
            deliver(event, self.bench.deps)
        except KeyCollisionError:
            self.loud.add(event.event_id)
            return False
        return True

    def event(self, kind: type[LifecycleEvent], email: UserEmail, **more: object) -> LifecycleEvent:
        event_id = f"e{len(self.told)}"
        names = {email, *(parse_email(more["new_user"]) for _ in "x" if "new_user" in more)}
        self.told[event_id] = frozenset(names)
        now = self.bench.now + timedelta(seconds=1)
        fields = {"source": HR, "occurred_at": now, "effective_at": now, "published_at": now, **more}
        return kind(event_id=event_id, user=email, **fields)


def test_a_leaver_is_cut_or_loud_and_nobody_gets_what_is_anothers(four_bits: None) -> None:
    assert len({user_key_for(email) for email in PEOPLE}) < 17
    with impatient():
        worlds = [World(seed) for seed in range(6)]
        for world in worlds:
            lives(world)
    assert all(world.loud for world in worlds)


def lives(world: World) -> None:
    left: dict[UserEmail, str] = {}
    alias: dict[UserEmail, UserEmail] = {}
    for _ in range(60):
        email = world.chance.choice(PEOPLE)
        match world.chance.randrange(6):
            case 0 | 1:
                number = world.numbers[email] if world.chance.random() < 0.5 else ""
                if world.tell(world.event(Joined, email, person_id=number, explicit=True)):
                    left.pop(email, None)
            case 2:
                event = world.event(Left, email)
                world.tell(event)
                left[email] = event.event_id
            case 3:
                world.tell(world.event(AccountChanged, email, state=AccountState.DELETED, holds=True, source=DIRECTORY))
                world.tell(world.event(AccountChanged, email, state=AccountState.CREATED, holds=True, source=DIRECTORY))
                left.pop(email, None)
            case 4:
                other = parse_email(f"married-{email}")
                if email not in alias and world.tell(
                    world.event(Renamed, email, new_user=other, confirmed=True, source=DIRECTORY)
                ):
                    alias[email] = other
            case _:
                event = world.event(Left, UserEmail(""), person_id=f"9{world.chance.randrange(9)}")
                world.tell(event)
    for _ in range(3):
        world.bench.advance(minutes=1)
        sweep("due", world.bench.deps)
    belongs(world)
    for email, event_id in left.items():
        stored = find(email, world.bench.deps)
        if event_id not in world.loud:
            assert stored is None or stored.record.spec.presence is Presence.ABSENT, email


def belongs(world: World) -> None:
    """Every record is of one person, and holds nothing that was said of another."""
    seen = 0
    for row in world.bench.deps.records.rows():
        stored = world.bench.deps.records.load(row.user_key)
        assert stored is not None
        record = stored.record
        addresses = {record.email, *record.former_emails}
        assert len({address.removeprefix("married-") for address in addresses}) == 1, addresses
        for timeline in record.facts.timelines.values():
            for statement in timeline:
                seen += 1
                assert world.told[statement.event_id] & addresses, (statement, addresses)
    assert seen > 10
