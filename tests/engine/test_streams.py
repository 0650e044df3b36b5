"""A sweep over many people holds few rows at a time: pages are asked for as they are needed, and what was judged is let go."""

from __future__ import annotations

import gc

import pytest
from kit.inprocess import make_bench
from kit.making import person
from msgspec.structs import replace

from shared.cloud.http import objects
from shared.domain.record.record import RecordRow
from shared.domain.things.identity import instance_id_for, parse_email, user_key_for
from shared.engine.sweeps.fleet import FleetKeeper
from shared.engine.sweeps.sweeps import by_user, sweep

PEOPLE = 30
MOST_ALIVE = 6  # three pages of two


@pytest.fixture
def bench(monkeypatch):
    made = make_bench()
    monkeypatch.setattr(objects, "_PAGE", 2)
    for number in range(PEOPLE):
        email = parse_email(f"person.{number}@example.com")
        like = person()
        status = like.status.changed(instance_id=instance_id_for(email))
        record = replace(like, user_key=user_key_for(email), email=email, status=status)
        made.deps.records.save(record, expected=None)
    return made


def most_rows_alive(bench, work):
    alive, before = [], sum(isinstance(each, RecordRow) for each in gc.get_objects())

    def look():
        alive.append(sum(isinstance(each, RecordRow) for each in gc.get_objects()) - before)

    bench.adapter.around = look
    work()
    bench.adapter.around = lambda: None
    assert len(alive) > PEOPLE / 2  # it was looked at between the pages
    return max(alive)


@pytest.mark.parametrize("kind", ["drift", "idle"])
def test_a_sweep_lets_go_of_the_rows_that_it_has_judged(bench, kind):
    found = []
    most = most_rows_alive(bench, lambda: found.append(sweep(kind, bench.deps, dry_run=True)))
    assert most <= MOST_ALIVE
    assert kind == "idle" or found[0].looked_at == PEOPLE


def test_the_list_for_the_pages_holds_no_row(bench):
    def keep():
        keeper = FleetKeeper(bench.deps, bench.now, counts=True)
        for found in bench.deps.records.listed():
            keeper.add(found)
        keeper.keep(strays=(), blind=frozenset())

    assert most_rows_alive(bench, keep) <= MOST_ALIVE
    assert len(bench.deps.fleet.fleet().rows) == PEOPLE


def test_templates_come_to_their_users_in_the_order_of_the_objects():
    keys = ["a-b-1", "a-1", "a1-2", "b-0"]  # as names with `/` or `.` behind them sort
    assert sorted(f"{key}/" for key in ["a-1", "a-b-1", "a1-2", "b-0"]) == sorted(f"{key}/" for key in keys)
    keys = sorted(keys, key=lambda key: f"{key}/")
    assert keys == sorted(keys, key=lambda key: f"{key}.json")
    rows = [(key, name, f"{key}:{name}") for key in keys for name in ("x", "y") if key != "a1-2"]
    of = by_user(iter(rows))
    got = {
        key: dict(of(key)) for key in keys if key != "a-b-1"
    }  # templates of somebody without a record are passed over
    assert got == {key: {} if key == "a1-2" else {"x": f"{key}:x", "y": f"{key}:y"} for key in keys if key != "a-b-1"}
