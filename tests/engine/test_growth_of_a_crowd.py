"""Calls and bytes grow no faster than people: what everybody does at once, what each sweep takes, and what the pages ask for."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

import pytest
from kit.hub import MIA, hub_settings, make_hub
from kit.life import Life

from shared.domain.fleet.fleet import Notes
from shared.domain.plan.guard_settings import GuardSettings
from shared.domain.things.identity import parse_email
from shared.domain.things.notebook import InstanceRef
from shared.engine.sweeps import due as due_sweep
from shared.engine.sweeps.sweeps import sweep

FEW, MANY = 20, 80
ROOM = GuardSettings(per_hour=1000, most=1000, group_share=1.0)
SLACK = 1.02  # a time or a number may be written a digit longer
OF_ALL = ("joining", "drift", "idle", "stopped by hand", "leaving", "own pages", "overview", "table")
OF_ONE = ("quiet tick", "one who joins", "one own page")


class Cost(NamedTuple):
    """What was asked of Google's services, and the bytes of it that went over the wire, both ways."""

    calls: int
    sent: int


class Crowd:
    """So many people in a world, and a counter at the door of the cloud."""

    def __init__(self, size):
        self.hub = make_hub(hub_settings(guard=ROOM))
        self.bench = self.hub.bench
        self.people = [Life(self.bench, parse_email(f"user{number:03}@example.com")) for number in range(size)]
        self.costs = {}
        self._answer, self._found = self.bench.adapter.answer, []
        self.bench.adapter.answer = self._counted

    def _counted(self, method, url, headers, body):
        given = self._answer(method, url, headers, body)
        self._found.append(len(url) + len(body or b"") + len(given.content))
        return given

    def note(self, name, work):
        self._found.clear()
        work()
        self.costs[name] = Cost(len(self._found), sum(self._found))

    def minutes(self, count):
        for _ in range(count):
            self.bench.advance(minutes=1)
            sweep("due", self.bench.deps)

    def join(self):
        for person in self.people:
            person.join(profile="analyst", minutes=0)
        self.minutes(9)

    def stop_by_hand(self):
        for person in self.people:
            status = person.record.status
            self.bench.deps.notebooks.stop(
                InstanceRef(instance_id=status.notebook.instance_id, zone=status.notebook.zone)
            )
        self.bench.advance(minutes=3)
        sweep("drift", self.bench.deps)
        self.minutes(3)

    def leave(self):
        for person in self.people:
            person.leave()
        self.minutes(9)

    def note_for_all(self):
        """What sweeps tell everybody's page: all look idle."""
        now = self.bench.now + timedelta(minutes=1)
        stops = {person.key: now + timedelta(hours=1) for person in self.people}
        self.bench.deps.fleet.write_notes(Notes(taken_at=now, idle_stops=stops))

    def open_own_pages(self, people):
        for person in people:
            assert self.hub.browser(person.email).get("/").status_code == 200

    def manage(self, path):
        assert self.hub.browser(MIA).get(path).status_code == 200


@pytest.fixture(scope="module")
def costs():
    return {size: lived(size) for size in (FEW, MANY)}


def lived(size):
    crowd = Crowd(size)
    sweeps = {kind: lambda kind=kind: sweep(kind, crowd.bench.deps) for kind in ("due", "drift", "idle")}
    crowd.note("joining", crowd.join)
    sweeps["drift"]()  # what the first one keeps for a day
    crowd.bench.advance(minutes=30)
    crowd.note("quiet tick", sweeps["due"])
    crowd.note("drift", sweeps["drift"])
    crowd.note("idle", sweeps["idle"])
    crowd.open_own_pages(crowd.people[:1])  # the process knows the keys of the sign-in from here on
    crowd.note_for_all()
    crowd.note("own pages", lambda: crowd.open_own_pages(crowd.people))
    crowd.note("one own page", lambda: crowd.open_own_pages(crowd.people[1:2]))
    crowd.manage("/manage/messages")
    crowd.note("overview", lambda: crowd.manage("/manage"))
    crowd.note("table", lambda: crowd.manage("/manage/people"))
    crowd.note("stopped by hand", crowd.stop_by_hand)
    crowd.note("one who joins", lambda: Life(crowd.bench, parse_email("late@example.com")).join(profile="analyst"))
    crowd.note("leaving", crowd.leave)
    return crowd.costs


@pytest.fixture(scope="module", autouse=True)
def _shared_work():
    """Both crowds are so large that due sweeps share the work by claims."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(due_sweep, "FEW", FEW // 4)
        yield


@pytest.mark.parametrize("name", OF_ALL)
def test_what_all_cost_grows_no_faster_than_people(costs, name):
    few, many = costs[FEW][name], costs[MANY][name]
    assert many.calls / MANY <= few.calls / FEW
    assert many.sent / MANY <= few.sent / FEW * SLACK


@pytest.mark.parametrize("name", OF_ONE)
def test_what_one_costs_is_the_same_among_many(costs, name):
    few, many = costs[FEW][name], costs[MANY][name]
    assert many.calls <= few.calls
    assert many.sent <= few.sent * SLACK


def test_everything_that_was_counted_is_judged(costs):
    assert costs[FEW].keys() == costs[MANY].keys() == {*OF_ALL, *OF_ONE}
