"""A message that cannot be used, through the whole system: it is kept, its person is marked, and it is used once it can be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.local_run import ROOT, Local, news, running_local, until

pytestmark = [pytest.mark.e2e, pytest.mark.waits("for the clock of a whole system"), pytest.mark.timeout(120)]
ANA = "ana.silva@example.com"


def asked(local: Local, *words: str) -> Any:
    return json.loads(local.benchkeeper(*words, "-o", "json").stdout)


def mark(local: Local) -> list[tuple[str, str]]:
    conditions = asked(local, "show", ANA)["conditions"]
    return [(c["status"], c["reason"]) for c in conditions if c["type"] == "NewsUnderstood"]


def knowing_pilot(config: Path) -> dict[str, str]:
    """The environment of a configuration that has the profile."""
    shutil.copytree(ROOT / "config", config)
    raw = yaml.safe_load((config / "profiles.yaml").read_text(encoding="utf-8"))
    raw["profiles"]["pilot"] = {**raw["profiles"]["engineer"], "title": "Pilot"}
    (config / "profiles.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    return {"BENCHKEEPER_CONFIG_DIR": str(config)}


def test_a_letter_marks_its_person_and_is_used_after_its_cause_is_gone(tmp_path: Path) -> None:
    with running_local("--no-examples", "--speed", "240") as local, local.world() as world:
        local.publish(news("joiner", ANA))
        until(lambda: world.owners("ACTIVE") == [ANA], seconds=60, what="Ana's is ACTIVE")
        local.publish(news("mover", ANA, attributes={"profile": "pilot"}))
        until(lambda: len(world.letters()) == 1, seconds=30, what="the letter is kept")
        until(lambda: mark(local) == [("False", "UnknownProfile")], seconds=30, what=lambda: f"a mark: {mark(local)}")
        # No hourly sweep may come in between: by the configuration of the functions, which would be in force again.
        local.control("POST", "clock", {"speed": 0})
        (letter,) = asked(local, "dead-letter", "list", "--user", ANA)
        assert "pilot" in letter["detail"]
        still = local.benchkeeper("dead-letter", "replay", letter["letter_id"])
        assert still.returncode == 1, still.stderr
        assert "analyst, engineer" in still.stdout

        mended = knowing_pilot(tmp_path / "config")
        proposed = local.benchkeeper(
            "sweep", "drift", "--propose", environment=mended
        )  # harmless, so it is in force at once
        assert proposed.returncode == 0, proposed.stderr
        done = local.benchkeeper("dead-letter", "replay", "--reason", "UnknownProfile", environment=mended)
        assert done.returncode == 0, done.stderr
        assert "moved: profile analyst to pilot" in done.stdout
        assert mark(local) == [("True", "Settled")]
        assert asked(local, "dead-letter", "list") == []
        assert len(world.letters()) == 1  # kept as replayed
