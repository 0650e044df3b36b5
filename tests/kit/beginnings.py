"""The world that many histories begin with: it comes to be once, and is copied from then on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from emulator.journal import Entry
from kit.inprocess import Bench


@dataclass(frozen=True, slots=True)
class _Begun:
    """What a beginning left: the cloud, its journal, what was logged, changes by other hands, and what its maker knows."""

    named: object
    world: str
    calls: list[Entry]
    lines: list[tuple[str, str, dict[str, Any]]]
    foreign: list[dict[str, Any]]
    known: Any


_OF_ALL: list[_Begun] = []
_OF_ONE: list[_Begun] = []  # of the test that runs: in another one, a planted fault may have had a part in it
_TEST = [""]


def begun(bench: Bench, named: object, work: Callable[[], Any], *, for_all: bool = False) -> Any:
    """Let `work` change a world that nothing has happened in yet, or bring back what came of it the first time.

    `named` equals all that the work depends on; with `for_all`, that is all in every test of this process. Return what the work
    returned the first time, which nobody may change. What the product's process kept in memory is not brought back: it is as
    after a start.
    """
    test = os.environ.get("PYTEST_CURRENT_TEST", "")  # noqa: TID251 - pytest says so
    if [test] != _TEST:
        _TEST[:] = [test]
        _OF_ONE.clear()
    made = _OF_ALL if for_all else _OF_ONE
    journal = bench.cloud.world.journal
    found = next((each for each in made if each.named == named), None)
    if found is None:
        known = work()
        world = json.dumps(bench.cloud.world.save())
        made.append(_Begun(named, world, list(journal._entries), list(bench.log.lines), list(bench.foreign), known))
        return known
    bench.cloud.world.load(json.loads(found.world))
    for call in found.calls:
        journal.record(call)
    bench.log.lines += found.lines
    bench.foreign += found.foreign
    return found.known
