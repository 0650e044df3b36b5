"""Notebooks that nobody uses for long: told of it three times, saved, put away, and brought back byte for byte by the next start."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from kit.inprocess import make_bench
from kit.life import Life, life, settings_with
from msgspec.structs import replace

from shared.domain.intent.asking import with_asked
from shared.domain.intent.wish import Asked, WishKind
from shared.domain.plan.guard_settings import GuardSettings
from shared.domain.record.record import Power
from shared.domain.record.status import ConditionType
from shared.domain.things.catalog import IdleSettings, SnapshotSettings
from shared.domain.things.errors import Reason
from shared.domain.things.identity import parse_email
from shared.domain.things.power import PowerCause, PowerReason
from shared.engine.reconcile.changing import want_hold, want_power
from shared.engine.reconcile.reconciler import reconcile
from shared.engine.sweeps.sweeps import sweep

LIMIT = timedelta(days=60)
FILES = bytes(range(256)) * 40


def settings(limit: timedelta | None = LIMIT, **more: Any) -> Any:
    idle = IdleSettings(dormant_after=limit)
    return settings_with({"analyst": {"idle": idle}}, **more)


def stopped(made: Life) -> Life:
    """Let the person join, write files and stop."""
    made.join()
    made.write(FILES)
    stop(made)
    return made


def stop(made: Life) -> None:
    want_power(made.key, Power.STOPPED, PowerReason(cause=PowerCause.STOPPED_BY_PERSON), made.bench.deps)
    made.minutes(6)
    assert list(made.states().values()) == ["STOPPED"]


def start(made: Life, *, minutes: int = 20) -> None:
    want_power(made.key, Power.RUNNING, PowerReason(cause=PowerCause.STARTED_BY_PERSON), made.bench.deps)
    made.minutes(minutes)


def told(made: Life) -> list[int]:
    return [
        facts["days"]
        for _, said, facts in made.bench.log.lines
        if said == "Warned that an unused notebook will be saved and deleted"
    ]


def said(made: Life) -> str:
    found = made.condition(ConditionType.NOTEBOOK_READY)
    assert found is not None
    return found.message


def reason(made: Life) -> Reason:
    found = made.condition(ConditionType.NOTEBOOK_READY)
    assert found is not None
    return found.reason


def away(made: Life) -> Life:
    for days in (46, 11, 2, 1):
        made.days(days)
    made.minutes(20)
    assert made.states() == {}
    return made


def test_without_the_setting_nothing_is_ever_put_away() -> None:
    made = stopped(life(settings(None)))
    for _ in range(20):
        made.days(30)
        sweep("drift", made.bench.deps)
    assert list(made.states().values()) == ["STOPPED"]
    assert told(made) == []
    assert made.record.status.next_attempt_at is None


def test_it_is_told_14_3_and_1_days_before_saved_deleted_and_comes_back_byte_for_byte() -> None:
    made = stopped(life(settings()))
    made.days(45)
    assert told(made) == []
    made.days(1)
    assert told(made) == [14]
    text = said(made)
    assert "unless you start it before" in text
    assert "Packages and environments outside" in text
    assert "consent" in text
    made.days(11)
    assert told(made) == [14, 3]
    made.days(2)
    assert told(made) == [14, 3, 1]
    assert list(made.states().values()) == ["STOPPED"]
    assert made.snapshots() == {}
    made.days(1)
    made.minutes(20)
    assert made.states() == {}
    assert [each.content for each in made.snapshots().values()] == [FILES]
    assert reason(made) is Reason.DORMANT
    assert made.record.status.next_attempt_at is None
    assert made.manifest()
    reconcile(made.key, made.bench.deps)
    assert len([line for line in made.bench.log.lines if line[1] == "Saved and deleted an unused notebook"]) == 1
    start(made)
    assert list(made.states().values()) == ["ACTIVE"]
    assert made.files() == FILES
    assert made.snapshots() == {}
    assert made.record.status.notebook.dormancy is None
    assert reason(made) is Reason.READY


def test_a_notebook_that_is_away_stays_so_and_costs_no_pass() -> None:
    made = away(stopped(life(settings())))
    for _ in range(3):
        made.days(100)
        summary = sweep("drift", made.bench.deps)
        assert summary.decisions == []
        assert summary.strays == []
    assert made.states() == {}
    assert len(made.snapshots()) == 1


def test_it_is_put_away_again_only_after_the_whole_time() -> None:
    made = away(stopped(life(settings())))
    start(made)
    stop(made)
    made.days(40)
    assert told(made) == [14, 3, 1]
    assert made.files() == FILES
    made.days(6)
    assert told(made) == [14, 3, 1, 14]


def test_a_start_before_the_end_begins_anew() -> None:
    made = stopped(life(settings()))
    made.days(58)
    assert told(made)
    start(made)
    assert made.record.status.notebook.dormancy is None
    stop(made)
    made.days(40)
    assert "put away" not in said(made)
    assert list(made.states().values()) == ["STOPPED"]


def test_who_was_stopped_long_before_it_was_switched_on_is_dated_by_the_hourly_sweep_and_has_fourteen_days() -> None:
    bench = make_bench(settings=settings(None))
    made = stopped(Life(bench))
    made.days(300)
    bench.deps = replace(bench.deps, base_policy=settings().policy())
    sweep("drift", bench.deps)
    assert told(made) == [14]
    for days in (11, 2):
        made.days(days)
        assert list(made.states().values()) == ["STOPPED"]
    made.days(1.1)
    made.minutes(20)
    assert made.states() == {}
    assert told(made) == [14, 3, 1]


def test_warnings_that_come_late_move_the_end() -> None:
    """The ticks stood still from before the first warning until long after the end."""
    made = stopped(life(settings()))
    made.bench.advance(days=200)
    made.minutes(5)
    assert told(made) == [14]
    assert list(made.states().values()) == ["STOPPED"]
    made.bench.advance(days=100)
    made.minutes(5)
    assert told(made) == [14, 3]
    made.bench.advance(days=100)
    made.minutes(5)
    assert told(made) == [14, 3, 1]
    assert list(made.states().values()) == ["STOPPED"]
    made.days(1)
    made.minutes(20)
    assert made.states() == {}


def test_a_longer_limit_takes_warnings_back() -> None:
    made = stopped(life(settings()))
    made.days(50)
    assert told(made) == [14]
    made.bench.deps = replace(made.bench.deps, base_policy=settings(timedelta(days=200)).policy())
    made.days(12)
    assert "put away" not in said(made)
    made.days(100)
    assert list(made.states().values()) == ["STOPPED"]


def test_a_hold_keeps_it() -> None:
    made = stopped(life(settings()))
    made.days(50)
    want_hold(made.key, "case 4711", made.bench.deps)
    for _ in range(4):
        made.days(30)
        sweep("drift", made.bench.deps)
    assert list(made.states().values()) == ["STOPPED"]


def test_after_a_hold_the_warnings_begin_anew() -> None:
    """Whatever was announced before the hold has passed since."""
    made = stopped(life(settings()))
    made.days(50)
    assert told(made) == [14]
    want_hold(made.key, "case 4711", made.bench.deps)
    made.minutes(2)
    assert made.record.status.notebook.dormancy is None
    made.days(60)
    want_hold(made.key, None, made.bench.deps)
    made.minutes(20)
    assert told(made) == [14, 14]
    assert list(made.states().values()) == ["STOPPED"]
    made.days(13)
    assert list(made.states().values()) == ["STOPPED"]


def test_a_leaver_whose_notebook_is_away_keeps_the_files_for_the_retention_and_gets_them_back() -> None:
    made = away(stopped(life(settings())))
    made.leave(minutes=5)
    made.days(80)
    assert [each.content for each in made.snapshots().values()] == [FILES]
    made.join(minutes=20)
    assert made.files() == FILES
    made.leave(minutes=5)
    for _ in range(4):
        made.days(40)
    assert made.snapshots() == {}
    assert made.states() == {}


def test_a_start_at_the_moment_of_the_deletion_loses_nothing() -> None:
    made = stopped(life(settings()))
    for days in (46, 11, 2, 1):
        made.days(days)
        if made.record.status.notebook.dormancy is not None and made.snapshots():
            break
    start(made, minutes=30)
    assert list(made.states().values()) == ["ACTIVE"]
    assert made.files() == FILES


@pytest.mark.parametrize("wait", range(0, 12, 1))
def test_a_start_at_any_minute_of_putting_it_away_loses_nothing(wait: int) -> None:
    made = stopped(life(settings()))
    for days in (46, 11, 2):
        made.days(days)
    made.bench.advance(days=1, minutes=-12)
    made.minutes(wait)
    start(made, minutes=30)
    assert list(made.states().values()) == ["ACTIVE"]
    assert made.files() == FILES


def test_a_snapshot_that_fails_deletes_nothing() -> None:
    made = stopped(life(settings()))
    for days in (46, 11, 2):
        made.days(days)
    fault = {"call": "compute.disks.createSnapshot", "operation_error": {"code": "INTERNAL"}, "times": 3}
    made.bench.control("POST", "/_emulator/faults", fault)
    made.days(1)
    assert list(made.states().values()) == ["STOPPED"]
    for _ in range(6):
        made.days(1)
    made.minutes(30)
    assert made.states() == {}
    start(made)
    assert made.files() == FILES


def test_a_snapshot_that_somebody_deletes_is_said_and_a_start_gives_a_notebook() -> None:
    made = away(stopped(life(settings())))
    disks = made.bench.cloud.compute.disks
    disks.snapshots.clear()
    summary = sweep("drift", made.bench.deps)
    assert [because for _, because in summary.decisions] == ["a snapshot of a dormant notebook is gone"]
    assert "deleted outside Benchkeeper" in said(made)
    start(made)
    assert list(made.states().values()) == ["ACTIVE"]


def test_the_guard_lets_so_many_through_in_an_hour_and_the_rest_wait_with_their_files() -> None:
    bench = make_bench(settings=settings(guard=GuardSettings(per_hour=1, share=0.01, group_share=1.0)))
    bench.deps = replace(bench.deps, base_policy=replace(bench.deps.base_policy, cuts_wait=True))
    lives = [stopped(Life(bench, parse_email(f"p{number}@example.com"))) for number in range(3)]
    sweep("drift", bench.deps)
    for days in (46, 11, 2):
        lives[0].days(days)
    bench.advance(days=1)
    lives[0].minutes(30)
    assert sum(not each.states() for each in lives) == 1
    waiting = next(each for each in lives if each.states())
    assert reason(waiting) is Reason.GUARD_WAITS
    start(waiting)
    assert list(waiting.states().values()) == ["ACTIVE"]
    assert waiting.files() == FILES
    bench.advance(hours=3)
    lives[0].minutes(90)
    assert sum(not each.states() for each in lives) == 2


def test_daily_copies_do_not_keep_a_notebook_and_are_not_lost_with_it() -> None:
    idle = IdleSettings(dormant_after=LIMIT)
    made = stopped(life(settings_with({"analyst": {"idle": idle, "snapshots": SnapshotSettings(keep=3)}})))
    sweep("idle", made.bench.deps)
    made.minutes(10)
    copies = set(made.snapshots())
    assert len(copies) == 1
    for days in (46, 11, 2, 1):
        made.days(days)
        sweep("idle", made.bench.deps)
    made.minutes(20)
    assert made.states() == {}
    assert copies < set(made.snapshots())
    for _ in range(3):
        made.days(50)
        sweep("idle", made.bench.deps)
        sweep("drift", made.bench.deps)
    assert made.states() == {}
    assert copies < set(made.snapshots())
    start(made)
    assert list(made.states().values()) == ["ACTIVE"]
    assert made.files() == FILES


def test_a_restore_that_is_asked_for_while_it_is_away_comes_with_the_start() -> None:
    idle = IdleSettings(dormant_after=LIMIT)
    made = stopped(life(settings_with({"analyst": {"idle": idle, "snapshots": SnapshotSettings(keep=3)}})))
    sweep("idle", made.bench.deps)
    made.minutes(10)
    (copy,) = made.snapshots()
    start(made)
    made.write(b"later")
    stop(made)
    away(made)
    asked = Asked(kind=WishKind.RESTORE, snapshot=copy)
    stored = made.bench.deps.records.load(made.key)
    assert stored is not None
    now, catalog = made.bench.now, made.bench.deps.policy.catalog
    changed = with_asked(stored.record, asked, catalog, now, by_person=True)
    made.bench.deps.records.save(changed, expected=stored)
    made.minutes(5)
    start(made, minutes=60)
    assert list(made.states().values()) == ["ACTIVE"]
    assert made.files() == FILES


def test_a_pass_by_hand_starts_nothing_that_is_away() -> None:
    made = away(stopped(life(settings())))
    for _ in range(3):
        result = reconcile(made.key, made.bench.deps)
        assert result is not None
        assert result.plan.actions == ()
