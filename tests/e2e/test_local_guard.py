"""A flood of leavers on a local run: some stop, the others wait, and two administrators let the list pass from the command line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from cli.local.people import ADMINISTRATORS
from tests.e2e.local_run import ROOT, Local, clean_environment, news, running_local, until

pytestmark = [pytest.mark.e2e, pytest.mark.waits("for the clock of a whole system"), pytest.mark.timeout(280)]
PEOPLE = [f"p{number}@example.com" for number in range(12)]
ANALYSTS = "data-analysts@example.com"


def benchkeeper(local: Local, *words: str) -> str:
    environment = clean_environment(BENCHKEEPER_API_ENDPOINT=f"http://127.0.0.1:{local.port}", COLUMNS="80")
    done = subprocess.run(
        [sys.executable, "-c", "from cli.main import main; main()", *words],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def running(local: Local) -> int:
    with local.world() as world:
        return len(world.owners("ACTIVE"))


def waiting(local: Local) -> list[str]:
    with local.world() as world:
        return world.objects("guard/waiting/")


def test_two_administrators_let_a_list_pass() -> None:
    with running_local("--no-examples", "--speed", "120") as local:
        local.publish(*[news("joiner", email, groups=(ANALYSTS,)) for email in PEOPLE])
        until(lambda: running(local) == len(PEOPLE), seconds=120, what="everybody has a notebook")
        benchkeeper(local, "sweep", "drift")  # counts the people: half of a profile go in an hour
        # From here on no hour passes before the approvals have worked: it would bring room for those who wait.
        local.control("POST", "clock", {"speed": 0})
        local.publish(*[news("leaver", email) for email in PEOPLE])
        until(lambda: len(waiting(local)) == len(PEOPLE) // 2, seconds=60, what="half of them wait")
        (change,) = json.loads(benchkeeper(local, "guard", "--output", "json"))["changes"]
        seen: dict[str, Any] = {name: change[name] for name in ("cause", "source", "people", "undone")}
        assert seen == {"cause": "Employment", "source": "hr", "people": 6, "undone": 0}
        assert re.search(r"Employment +hr +6 ", benchkeeper(local, "guard"))
        for admin in ADMINISTRATORS:
            assert "processed within a minute" in benchkeeper(
                local, "approve", change["digest"], "--yes", "--as", admin
            )
        local.control("POST", "clock", {"speed": 20})
        until(lambda: running(local) == 0, seconds=120, what="everybody is stopped")
        until(lambda: waiting(local) == [], seconds=60, what="nobody waits")
        assert benchkeeper(local, "guard") == "Nothing waits.\n"
        # A release is asked for by one administrator and approved by the other.
        benchkeeper(local, "hold", PEOPLE[0], "--reason", "case 4711")
        asked = json.loads(benchkeeper(local, "release", PEOPLE[0], "--output", "json"))
        assert asked["hold"] == "case 4711"
        (change,) = json.loads(benchkeeper(local, "guard", "--output", "json"))["changes"]
        assert (change["about"], change["digest"], change["needs_another"]) == ("RELEASE", asked["waits"], True)
        benchkeeper(local, "approve", asked["waits"], "--yes", "--as", ADMINISTRATORS[1])

        def is_released() -> bool:
            return json.loads(benchkeeper(local, "show", PEOPLE[0], "--output", "json"))["hold"] is None

        until(is_released, seconds=60, what="the hold has ended")
