"""A restart that somebody asks for, and larger disks: one call each, nothing stopped by us, nothing replaced, files as they were."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import pytest
from kit.life import Life, life, settings_with
from kit.policies import in_force
from msgspec.structs import replace

from shared.domain.record.record import Power
from shared.domain.record.status import ConditionStatus, ConditionType
from shared.domain.things.catalog import Disk
from shared.domain.things.errors import Reason, RefusedError
from shared.engine.news.requests import ask_power, ask_restart
from shared.engine.sweeps.sweeps import sweep
from shared.wiring import wire


@pytest.fixture
def ana() -> Life:
    person = life()
    person.join()
    person.write(b"a notebook")
    return person


def calls(person: Life, method: str) -> int:
    return sum(call["method"] == method for call in person.bench.calls())


def ready(person: Life):
    found = person.condition(ConditionType.NOTEBOOK_READY)
    assert found is not None
    return found


# --- restart


def test_a_restart_is_one_reset_and_no_stop(ana):
    ask_restart(ana.key, ana.bench.deps, by="ana")
    ana.minutes(1)
    assert (ready(ana).status, ready(ana).reason) == (ConditionStatus.FALSE, Reason.STARTING)
    assert ready(ana).message == "Your notebook is restarting."
    ana.minutes(6)
    assert (ready(ana).status, ready(ana).reason) == (ConditionStatus.TRUE, Reason.READY)
    assert (calls(ana, "ResetInstance"), calls(ana, "StopInstance"), calls(ana, "StartInstance")) == (1, 0, 0)
    assert ana.files() == b"a notebook"


def test_a_restart_that_was_asked_for_twice_is_one_and_the_next_is_another(ana):
    for _ in range(3):
        ask_restart(ana.key, ana.bench.deps, by="ana")
    ana.minutes(8)
    assert calls(ana, "ResetInstance") == 1
    ask_restart(ana.key, ana.bench.deps, by="ana")
    ana.minutes(8)
    assert calls(ana, "ResetInstance") == 2


@pytest.mark.parametrize("crash_at", range(14))
def test_a_crash_at_any_call_restarts_once_at_most(ana, crash_at):
    ask_restart(ana.key, ana.bench.deps, by="ana")
    left = crash_at

    def around() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt

    ana.bench.adapter.around = around
    with suppress(KeyboardInterrupt):
        ana.minutes(1)
    ana.bench.adapter.around = lambda: None
    ana.minutes(10)
    assert calls(ana, "ResetInstance") <= 1
    assert ready(ana).status is ConditionStatus.TRUE


def test_what_does_not_run_is_not_restarted(ana):
    ask_power(ana.key, Power.STOPPED, ana.bench.deps, by="ana")
    ana.minutes(5)
    with pytest.raises(RefusedError) as refused:
        ask_restart(ana.key, ana.bench.deps, by="ana")
    assert "nothing to restart" in refused.value.user_message


def test_a_restart_of_a_leaver_is_refused(ana):
    ana.leave()
    with pytest.raises(RefusedError):
        ask_restart(ana.key, ana.bench.deps, by="ana")


def test_a_restart_that_could_not_be_sent_within_an_hour_is_not_sent_later(ana):
    ask_restart(ana.key, ana.bench.deps, by="ana")
    ana.bench.advance(hours=2)
    ana.minutes(8)
    assert calls(ana, "ResetInstance") == 0


@pytest.mark.parametrize("code", ["PERMISSION_DENIED", "UNAVAILABLE", "FAILED_PRECONDITION"])
def test_a_restart_that_is_refused_leaves_the_notebook_as_it_was(ana, code):
    ana.bench.fault(call="notebooks.ResetInstance", error={"code": code, "message": "no"})
    ask_restart(ana.key, ana.bench.deps, by="ana")
    ana.minutes(10)
    assert list(ana.states().values()) == ["ACTIVE"]
    ana.bench.advance(hours=25)
    ana.minutes(10)
    assert ready(ana).status is ConditionStatus.TRUE
    assert calls(ana, "ResetInstance") == 1


# --- larger disks


def grown(person: Life, **disks: Disk) -> None:
    """The same deployment with larger disks in the analysts' profile."""
    bench = person.bench
    wired = wire(settings_with({"analyst": disks}), log=bench.log, clients=bench.clients)
    bench.deps = in_force(replace(wired, clock=bench.deps.clock))


def size(person: Life, disk: str) -> int:
    setup = person.only().body["gceSetup"]
    found = setup["bootDisk"] if disk == "boot" else setup["dataDisks"][0]
    return int(found["diskSizeGb"])


@pytest.mark.parametrize("rests", [False, True])
def test_a_larger_data_disk_is_one_call_and_no_other_machine(ana, rests):
    if rests:
        ask_power(ana.key, Power.STOPPED, ana.bench.deps, by="ana")
        ana.minutes(5)
    grown(ana, data_disk=Disk(size_gb=200, type="PD_BALANCED"))
    before = ana.only().short
    sweep("drift", ana.bench.deps)
    assert rests or ready(ana).status is ConditionStatus.TRUE, "who works is not interrupted"
    assert rests or "after the next start" in ready(ana).message
    ana.minutes(5)
    for _ in range(3):
        ana.bench.advance(hours=1)
        sweep("drift", ana.bench.deps)
        ana.minutes(2)
    assert (ana.only().short, size(ana, "data"), ana.files()) == (before, 200, b"a notebook")
    assert (calls(ana, "ResizeDisk"), calls(ana, "CreateInstance")) == (1, 1)
    assert list(ana.states().values()) == ["STOPPED" if rests else "ACTIVE"]


def test_both_disks_grow_one_after_the_other(ana):
    grown(ana, data_disk=Disk(size_gb=200, type="PD_BALANCED"), boot_disk=Disk(size_gb=300, type="PD_BALANCED"))
    sweep("drift", ana.bench.deps)
    ana.minutes(8)
    sweep("drift", ana.bench.deps)
    ana.minutes(8)
    assert (size(ana, "data"), size(ana, "boot"), calls(ana, "ResizeDisk"), calls(ana, "CreateInstance")) == (
        200,
        300,
        2,
        1,
    )


def test_a_smaller_disk_changes_nothing(ana):
    grown(ana, data_disk=Disk(size_gb=50, type="PD_BALANCED"))
    sweep("drift", ana.bench.deps)
    ana.minutes(5)
    assert (size(ana, "data"), calls(ana, "ResizeDisk"), calls(ana, "CreateInstance")) == (100, 0, 1)


def test_another_type_of_disk_is_another_machine(ana):
    ask_power(ana.key, Power.STOPPED, ana.bench.deps, by="ana")
    ana.minutes(5)
    grown(ana, data_disk=Disk(size_gb=200, type="PD_SSD"))
    sweep("drift", ana.bench.deps)
    ana.minutes(15)
    assert calls(ana, "ResizeDisk") == 0
    assert calls(ana, "CreateInstance") == 2


@pytest.mark.parametrize("hours", [1, 30])
def test_a_larger_disk_that_is_refused_is_not_asked_for_again_and_the_notebook_runs_on(ana, hours):
    ana.bench.fault(
        call="notebooks.ResizeDisk",
        times=0,
        error={"code": "INVALID_ARGUMENT", "message": "Disk size must be less than 1."},
    )
    grown(ana, data_disk=Disk(size_gb=200, type="PD_BALANCED"))
    sweep("drift", ana.bench.deps)
    ana.minutes(5)
    for _ in range(hours):
        ana.bench.advance(hours=1)
        sweep("drift", ana.bench.deps)
        ana.minutes(1)
    assert list(ana.states().values()) == ["ACTIVE"]
    assert size(ana, "data") == 100
    assert calls(ana, "CreateInstance") == 1
    assert calls(ana, "ResizeDisk") <= 1 + hours // 24
    ana.bench.cloud.world.faults.clear()
    grown(ana, data_disk=Disk(size_gb=250, type="PD_BALANCED"))
    ana.bench.advance(hours=25)
    sweep("drift", ana.bench.deps)
    ana.minutes(5)
    assert size(ana, "data") == 250, "another wish is tried"


def test_a_restart_and_a_larger_disk_at_once_are_both_done(ana):
    grown(ana, data_disk=Disk(size_gb=200, type="PD_BALANCED"))
    ask_restart(ana.key, ana.bench.deps, by="ana")
    sweep("drift", ana.bench.deps)
    ana.minutes(10)
    sweep("drift", ana.bench.deps)
    ana.minutes(5)
    assert (size(ana, "data"), calls(ana, "ResetInstance"), calls(ana, "CreateInstance")) == (200, 1, 1)
    assert ready(ana).status is ConditionStatus.TRUE
    assert ana.record.spec.restart_at + timedelta(hours=1) > ana.bench.now
