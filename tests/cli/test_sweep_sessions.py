"""`benchkeeper sweep drift` says what it does, or would do, about session templates."""

from __future__ import annotations

from emulator.faults import Fault


def test_a_dry_sweep_names_them_and_a_real_one_makes_them(terminal):
    said = terminal.run("sweep", "drift", "--dry-run").stdout
    assert said.count(": create, it does not exist.") == 2
    assert "Session template analyst-serverless-spark-" in said
    assert "Session template" in terminal.run("sweep", "drift").stdout
    assert "Session template" not in terminal.run("sweep", "drift").stdout


def test_one_that_fails_is_a_failed_sweep(terminal):
    fault = Fault.parse({"call": "dataproc.CreateSessionTemplate", "error": {"code": "INVALID_ARGUMENT"}})
    terminal.cloud.world.faults.add(fault)
    said = terminal.run("sweep", "drift", code=1).stdout
    assert ": failed, Configuration refused by Google." in said
    assert ": create, it does not exist." in said
