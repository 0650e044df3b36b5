"""Values that are made at their first use: once, whatever thread asks, and never by an import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from shared.domain.things.late import late

ROOT = Path(__file__).resolve().parents[2]
# Every module of the product is imported; then each late value says whether something has used it.
ALL = """
import gc, importlib, json, pkgutil
import functions, shared
from shared.domain.things import late
for package in (shared, functions):
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(found.name)
values = [each for each in gc.get_objects() if type(each) is late._Late]
print(json.dumps([len(values), [each._make.__code__.co_filename for each in values if each._made is not None]]))
"""


class Thing:
    def __init__(self, number: int) -> None:
        self.number = number

    def doubled(self) -> int:
        return 2 * self.number


def test_it_is_made_at_the_first_use_and_once():
    made: list[int] = []

    def make() -> Thing:
        made.append(len(made))
        return Thing(21)

    thing = late(make)
    assert made == []
    assert (thing.number, thing.doubled(), thing.doubled()) == (21, 42, 42)
    assert made == [0]


def test_threads_that_ask_at_once_get_the_same():
    together, made, got = threading.Barrier(16), [], []

    def make() -> Thing:
        made.append(threading.current_thread().name)
        return Thing(len(made))

    thing = late(make)

    def ask() -> None:
        together.wait(60)
        got.append(thing.number)

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert got == [1] * 16
    assert len(made) == 1


def test_what_cannot_be_made_is_tried_again_at_the_next_use():
    answers = iter([OSError("no network"), Thing(7)])

    def make() -> Thing:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    thing = late(make)
    with pytest.raises(OSError, match="no network"):
        thing.doubled()
    assert thing.doubled() == 14


def test_an_attribute_that_the_value_lacks_is_missing_by_its_own_words():
    with pytest.raises(AttributeError, match="'Thing' object has no attribute 'halved'"):
        late(lambda: Thing(1)).halved  # type: ignore[attr-defined]  # noqa: B018 - what the access raises is the point


def test_no_attribute_is_set_on_the_stand_in():
    thing = late(lambda: Thing(1))
    with pytest.raises(AttributeError, match="number"):
        thing.number = 2
    assert thing.number == 1


def test_no_import_uses_a_late_value():
    done = subprocess.run(
        [sys.executable, "-c", ALL], cwd=ROOT, env={"PATH": os.defpath, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    count, used = json.loads(done.stdout)
    assert count > 20, "the script finds no late values any more"
    assert used == []
