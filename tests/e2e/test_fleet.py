"""A hundred people join and leave while calls fail and processes die; judged by what is in the cloud, not by what the product says."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.domain.things.identity import parse_email, user_key_for
from tests.e2e.local_run import PROJECT, Local, World, alive, news, running_local, until, with_room_for_crowds

pytestmark = [pytest.mark.e2e, pytest.mark.waits("for the clock of a whole system"), pytest.mark.timeout(280)]

PEOPLE = sorted(f"person.{number:03}@example.com" for number in range(100))
ANALYSTS = ("data-analysts@example.com",)
SEED = 20261123
FUNCTIONS = LIFECYCLE, TICK, DEAD_LETTER = "benchkeeper-lifecycle", "benchkeeper-tick", "benchkeeper-dead-letter"
# Nobody kills these.
OTHERS = tuple(f"benchkeeper-{name}" for name in ("hub", "directory", "notify", "operator", "wake"))
EACH = 2  # templates of an analyst
RECORDS, DUE, TEMPLATES = (f"{PROJECT}/{prefix}/*" for prefix in ("records", "due", "templates"))

DOWN = {"error": {"code": "UNAVAILABLE", "message": "try later"}}
LOST = {**DOWN, "phase": "after"}
SLOW = {"error": {"code": "RESOURCE_EXHAUSTED", "message": "Quota exceeded for reads per minute, slow down"}}
DENIED = {"error": {"code": "PERMISSION_DENIED", "message": "no metrics for you"}}
BUSY = {"error": {"code": "ABORTED", "message": "unable to queue the operation: another one is in progress"}}
SOLD_OUT = {"operation_error": {"code": "RESOURCE_EXHAUSTED", "message": "ZONE_RESOURCE_POOL_EXHAUSTED"}}

Scripted = tuple[
    str, str, dict[str, Any], int, int
]  # call, resource, what happens, how often, the last call it may wait for

# Each waits for calls that are made on a machine of any speed. One success for each of a hundred people is certain of all calls
# here but one: how often an operation is asked for depends on how often there is time to look. Only a create that failed needs
# it (nothing else says why, and its remnant stays until that is known), so there are as many certain looks as creates that fail.
FAILED_CREATES = 6
JOINING: list[Scripted] = [
    ("notebooks.CreateInstance", "*", DOWN, 3, 70),
    ("notebooks.CreateInstance", "*", LOST, 3, 70),
    ("notebooks.CreateInstance", "*", SOLD_OUT, FAILED_CREATES, 70),
    ("notebooks.CreateInstance", "*", BUSY, 1, 70),
    ("notebooks.CreateInstance", "*", SLOW, 1, 70),
    ("notebooks.GetInstance", "*", DOWN, 12, 90),
    ("notebooks.GetOperation", "*", DOWN, 5, FAILED_CREATES),
    ("storage.objects.get", RECORDS, DOWN, 12, 90),
    ("storage.objects.insert", RECORDS, DOWN, 10, 90),
    ("storage.objects.insert", RECORDS, LOST, 10, 90),
    ("storage.objects.insert", RECORDS, SLOW, 3, 90),
    ("storage.objects.insert", DUE, DOWN, 5, 80),
    ("storage.objects.insert", DUE, LOST, 3, 80),
    ("storage.objects.insert", TEMPLATES, DOWN, 5, 70),
    ("storage.objects.insert", TEMPLATES, LOST, 5, 70),
    ("storage.objects.list", "*", DOWN, 3, 10),
]
LEAVING: list[Scripted] = [
    ("notebooks.StopInstance", "*", DOWN, 4, 70),
    ("notebooks.StopInstance", "*", LOST, 4, 70),
    ("notebooks.StopInstance", "*", BUSY, 2, 70),
    ("storage.objects.delete", TEMPLATES, DOWN, 3, 70),
    ("storage.objects.delete", TEMPLATES, LOST, 3, 70),
    ("storage.objects.get", RECORDS, DOWN, 10, 80),
    ("storage.objects.insert", RECORDS, LOST, 10, 80),
]
REMOVING: list[Scripted] = [
    ("notebooks.DeleteInstance", "*", DOWN, 4, 70),
    ("notebooks.DeleteInstance", "*", LOST, 4, 70),
    ("notebooks.DeleteInstance", "*", BUSY, 2, 70),
    ("storage.objects.insert", RECORDS, DOWN, 5, 80),
]


def script(local: Local, faults: list[Scripted], chance: random.Random) -> None:
    for call, resource, what, times, last in faults:
        for _ in range(times):
            local.control(
                "POST", "faults", {"call": call, "resource": resource, "skip": chance.randrange(last), **what}
            )


class Killer:
    """Kills functions with SIGKILL, the whole process group at once, at moments that chance decides."""

    def __init__(self, local: Local, chance: random.Random) -> None:
        self._local, self._chance = local, chance
        self.killed: Counter[str] = Counter()

    def until(self, holds: Callable[[], bool], *, victims: list[str], seconds: float, what: Callable[[], str]) -> None:
        """Wait until `holds` and all `victims` have been killed."""
        pending = list(victims)
        self._chance.shuffle(pending)

        def one_more() -> bool:
            if pending and self._chance.random() < 0.35 and self._kill(pending[-1]):
                pending.pop()
            return holds() and not pending

        until(one_more, seconds=seconds, every=0.4, what=what)

    def _kill(self, name: str) -> bool:
        found = next(function for function in self._local.functions() if function["name"] == name)
        if found["state"] != "running":
            return False
        os.killpg(found["pid"], signal.SIGKILL)
        self.killed[name] += 1
        return True


def nobody_has_two(world: World, state: str | None = None) -> list[str]:
    """Whose instances there are (in this state); never two of one person."""
    instances = world.owners()
    assert len(instances) == len(set(instances)), [who for who, number in Counter(instances).items() if number > 1]
    return world.owners(state) if state else instances


def unfired(local: Local) -> list[dict[str, Any]]:
    return list(local.control("GET", "faults/unfired")["faults"])


def test_a_hundred_join_and_leave_while_calls_fail_and_processes_die(tmp_path: Path) -> None:
    chance = random.Random(SEED)  # noqa: S311 - a seed, so that a failure comes again
    crowded = with_room_for_crowds(tmp_path / "config")
    with running_local("--no-examples", "--speed", "240", environment=crowded) as local, local.world() as world:
        killer = Killer(local, chance)
        # Evidence that cannot be read keeps everybody: on a slow machine nobody is stopped for idleness before the last has joined.
        local.control("POST", "faults", {"call": "monitoring.*", "times": 0, **DENIED})
        everybody_joins(local, world, killer, chance)
        everybody_leaves(local, world, killer, chance)
        retention_passes(local, world, killer, chance)
        restarts = {function["name"]: function["restarts"] for function in local.functions()}
        assert restarts == {**dict.fromkeys(OTHERS, 0), **killer.killed}
        assert min(killer.killed[name] for name in FUNCTIONS) >= 1
        assert world.letters() == []
        pids = [*local.function_pids(), local.process.pid]
    until(lambda: not any(alive(pid) for pid in pids), seconds=20, what="every process has ended")


def everybody_joins(local: Local, world: World, killer: Killer, chance: random.Random) -> None:
    script(local, JOINING, chance)
    local.publish(*[news("joiner", person, groups=ANALYSTS) for person in PEOPLE])
    killer.until(
        lambda: (
            nobody_has_two(world, "ACTIVE") == PEOPLE
            and len(world.objects("templates/")) == len(PEOPLE) * EACH
            and not unfired(local)  # the sweeps go on: each will have looked for metrics, too
        ),
        victims=[LIFECYCLE, LIFECYCLE, LIFECYCLE, TICK, TICK, DEAD_LETTER],
        seconds=120,
        what=lambda: (
            f"all are ACTIVE: {Counter(i.state.name for i in world.instances())}, records {len(world.records())}, "
            f"unfired {unfired(local)}"
        ),
    )
    assert unfired(local) == []
    assert world.owners() == PEOPLE
    assert sorted(record["email"] for record in world.records()) == PEOPLE
    templates = world.objects("templates/")
    assert Counter(name.split("/")[1] for name in templates) == {
        user_key_for(parse_email(person)): EACH for person in PEOPLE
    }
    assert {name.split("/")[0] for name in world.objects("")} <= {
        "records",
        "due",
        "templates",
        "index",
        "guard",
        "policy",
    }


def everybody_leaves(local: Local, world: World, killer: Killer, chance: random.Random) -> None:
    script(local, LEAVING, chance)
    local.publish(*[news("leaver", person) for person in PEOPLE])
    killer.until(
        lambda: nobody_has_two(world, "STOPPED") == PEOPLE and not world.objects("templates/"),
        victims=[LIFECYCLE, TICK],
        seconds=90,
        what=lambda: f"all are STOPPED: {Counter(i.state.name for i in world.instances())}",
    )
    assert unfired(local) == []
    assert world.owners() == PEOPLE  # what they made is still there


def retention_passes(local: Local, world: World, killer: Killer, chance: random.Random) -> None:
    script(local, REMOVING, chance)
    local.control("POST", "clock", {"advance_seconds": 31 * 86_400})
    killer.until(
        lambda: not nobody_has_two(world),
        victims=[TICK],
        seconds=120,
        what=lambda: f"nothing is left: {Counter(i.state.name for i in world.instances())}",
    )
    assert unfired(local) == []
    assert world.objects("templates/") == []
    tombstones = world.records()
    assert sorted(record["email"] for record in tombstones) == PEOPLE
    assert {record["spec"]["presence"] for record in tombstones} == {"ABSENT"}
    assert {name.split("/")[0] for name in world.objects("")} <= {
        "records",
        "due",
        "manifests",
        "index",
        "guard",
        "policy",
    }
    assert len(world.objects("manifests/")) == len(PEOPLE)  # what they made is in snapshots
