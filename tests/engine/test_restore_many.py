"""A hundred people leave and come back, and a hundred are moved to a larger disk: every byte of everybody is there again."""

from __future__ import annotations

import random

import pytest
from kit.inprocess import impatient
from kit.life import NO_LIMIT, Life, disruptive, life
from kit.oracle import instances
from msgspec.structs import replace

from emulator.model.disks import disk_path
from shared.domain.people.events import Joined, Left, Moved
from shared.domain.things.catalog import Disruption
from shared.domain.things.identity import parse_email, user_key_for
from shared.engine.sweeps.sweeps import sweep

COUNT = 100
NAMES = ["ana", "Ñandú.O'Neil", "李雷", "zoë", "søren.å", "ann+test", "ἀγάπη", "o'brien"]
PATHS = ["notebooks/übung 1.ipynb", "données/été.csv", "日本語/ノート.ipynb", "a\nb", "🙂.py", "plain.txt"]


def crowd(first: Life) -> dict[str, Life]:
    """People whose addresses are as addresses are, all in one world."""
    people = [Life(first.bench, parse_email(f"{NAMES[n % len(NAMES)]}{n}@d{n % 7}.example.com")) for n in range(COUNT)]
    assert len({person.key for person in people}) == COUNT
    return {str(person.email): person for person in people}


def minutes(first: Life, count: int) -> None:
    for _ in range(count):
        first.bench.advance(minutes=1)
        sweep("due", first.bench.deps)


def write_all(people: dict[str, Life]) -> dict[str, bytes]:
    """Random content for each: file names of all alphabets and any bytes, never the same twice."""
    chance = random.Random(20261123)  # noqa: S311 - content, no secret
    written = {}
    for user, person in people.items():
        content = b""
        for path in chance.sample(PATHS, 3):
            content += f"{user}/{path}\x00".encode() + chance.randbytes(chance.randint(0, 2_000))
        person.write(content)
        written[user] = content
    assert len(set(written.values())) == COUNT
    return written


def on_disks(first: Life) -> dict[str, bytes]:
    """What is on the data disks of the instances, by the user key in their labels; two of one person fail."""
    found: dict[str, bytes] = {}
    for instance in instances(first.bench.cloud).values():
        key = instance.body["labels"]["benchkeeper-user"]
        assert key not in found, f"{key} has two"
        found[key] = first.bench.cloud.compute.disks.find_disk(disk_path(instance, "data-workspace")).content
    return found


def by_key(written: dict[str, bytes]) -> dict[str, bytes]:
    return {user_key_for(parse_email(user)): content for user, content in written.items()}


@pytest.mark.timeout(240)
def test_a_hundred_who_return_after_the_retention_have_every_byte():
    with impatient():
        first = life(replace(disruptive(Disruption.WHEN_IDLE), guard=NO_LIMIT))
        people = crowd(first)
        for person in people.values():
            person.tell(Joined)
        minutes(first, 8)
        written = write_all(people)
        before = {instance.body["id"] for instance in instances(first.bench.cloud).values()}
        assert len(before) == COUNT
        for person in people.values():
            person.tell(Left)
        minutes(first, 10)
        first.bench.advance(days=30)
        minutes(first, 10)
        assert instances(first.bench.cloud) == {}
        assert sorted(s.content for s in first.bench.cloud.compute.disks.snapshots.values()) == sorted(written.values())
        for person in people.values():
            person.tell(Joined)
        minutes(first, 20)
        assert on_disks(first) == by_key(written)
        after = instances(first.bench.cloud).values()
        assert {instance.state for instance in after} == {"ACTIVE"}
        assert not before & {instance.body["id"] for instance in after}
        assert first.bench.cloud.compute.disks.snapshots == {}  # nothing is left that bills


@pytest.mark.timeout(240)
def test_a_hundred_movers_have_every_byte_on_a_larger_disk():
    with impatient():
        first = life(disruptive(Disruption.NOW))
        people = crowd(first)
        for person in people.values():
            person.tell(Joined)
        minutes(first, 8)
        written = write_all(people)
        for person in people.values():
            person.tell(Moved, profile="engineer", profile_said=True)
        minutes(first, 40)
        assert on_disks(first) == by_key(written)
        after = instances(first.bench.cloud).values()
        assert {instance.state for instance in after} == {"ACTIVE"}
        assert {instance.body["gceSetup"]["dataDisks"][0]["diskSizeGb"] for instance in after} == {"500"}
        assert {instance.body["labels"]["benchkeeper-profile"] for instance in after} == {"engineer"}
        assert first.bench.cloud.compute.disks.snapshots == {}
