"""The rosters by messages: a group that names nobody asks for a comparison at once, and the tick makes it once."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from kit.rosters import ANALYSTS, Roster
from msgspec.structs import replace

from shared import wiring
from shared.domain.fleet.roster import RosterKind
from shared.domain.things.times import rfc3339
from shared.telemetry import JsonLog
from tests.functions.conftest import TARGETS, Functions, Letters

ACK = 200
EVENTS = Path(__file__).resolve().parents[1] / "events"


def _own(name: str, *, event: str = "") -> dict:
    body = json.loads((EVENTS / f"{name}.json").read_bytes())
    if event:
        body["protoPayload"]["metadata"]["event"][0]["eventName"] = event
    return body


ASKS = {
    "bulk upload": _own("workspace-group-bulk-upload"),
    "nested group": _own("cloudidentity-nested-group"),
    "deleted group": _own("workspace-add-group-member", event="DELETE_GROUP"),
}


class World:
    """The functions of a deployment that reads rosters, its directory, and what they published."""

    def __init__(self, clients, monkeypatch, *, groups: bool = True) -> None:
        self.roster = Roster.build(groups=groups)
        bench = self.roster.bench
        self.published: list[tuple[str, bytes]] = []
        self.functions = Functions(bench=bench, letters=Letters(bench.deps.dead_letters), clients=clients)
        for target in TARGETS:
            deps = replace(
                bench.deps,
                log=JsonLog(target, stream=self.functions.output),
                dead_letters=self.functions.letters,
                relay=lambda topic, body, _attributes: self.published.append((topic, body)),
            )
            monkeypatch.setitem(wiring._CACHED, target, (bench.settings, deps))

    def tick(self, *, after: timedelta = timedelta()) -> None:
        published = rfc3339(self.roster.bench.now - after)
        assert self.functions.deliver("tick", {"sweep": "roster"}, published=published) == ACK

    def reads(self) -> int:
        return len(self.functions.lines("Compared a roster")) + len(self.functions.lines("Refused a roster"))


@pytest.fixture
def world(clients, monkeypatch):
    made = World(clients, monkeypatch)
    yield made
    assert "@example.com" not in made.functions.output.getvalue()


@pytest.mark.parametrize("name", ASKS)
def test_news_that_names_nobody_asks_for_a_comparison_at_once(world, name):
    assert world.functions.deliver("lifecycle", ASKS[name]) == ACK
    assert world.published == [("workbench-tick", b'{"sweep": "roster"}')]
    assert world.functions.letters.published == []
    (line,) = world.functions.lines("Handled a delivery")
    assert (line["outcome"], line["asked_for"]) == ("ack", "roster")


@pytest.mark.parametrize("name", ["bulk upload", "nested group"])
def test_without_the_roster_it_is_a_dead_letter(clients, monkeypatch, name):
    world = World(clients, monkeypatch, groups=False)
    assert world.functions.deliver("lifecycle", ASKS[name]) == ACK
    assert (world.published, len(world.functions.letters.published)) == ([], 1)


def test_the_members_of_a_nested_group_come_with_the_comparison(world):
    roster = world.roster
    roster.group("interns@example.com")
    roster.add("gil", "ines", group="interns@example.com")
    roster.add("interns@example.com", group=ANALYSTS)
    world.tick()
    assert roster.with_access() == {"gil", "ines"}
    (swept,) = world.functions.lines("Finished a sweep")
    assert (swept["kind"], swept["lost_news"]) == ("roster", 2)


def test_hundreds_who_ask_at_once_cost_one_reading(world):
    world.roster.add("ana")
    world.roster.bench.advance(minutes=1)
    asked = timedelta(seconds=30)
    for _ in range(5):
        world.tick(after=asked)
    assert world.reads() == 1
    world.roster.bench.advance(minutes=1)
    world.tick()
    assert world.reads() == 2


def test_a_roster_that_is_refused_is_one_line_for_the_alarm(world):
    world.tick()
    (line,) = world.functions.lines("Refused a roster")
    assert (line["severity"], line["reason"], line["roster"]) == ("ERROR", "Empty", RosterKind.GROUPS.value)
