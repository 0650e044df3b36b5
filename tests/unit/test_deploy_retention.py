"""That a retention becomes shorter is said in the plan, against what is in force."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest
from kit.planning import World, as_words
from msgspec.structs import replace

from cli.deploy.kinds import functions
from cli.deploy.retention import LABEL, noted, shortened
from cli.deploy.step import Mark

DAY = 86_400


def listed(world: World, label: str | None) -> list[dict[str, Any]]:
    (name,) = [name for name, wanted in world.deployment.functions.items() if wanted.topic == "workbench-lifecycle"]
    labels = {} if label is None else {LABEL: label}
    return [{"name": f"projects/p/locations/r/functions/{name}", "labels": labels}, {"name": "p/other"}]


def said(world: World, label: str | None, **changes: timedelta) -> list[tuple[str, str]]:
    settings = replace(world.deployment.settings, **changes)
    deployment = replace(world.deployment, settings=settings)
    return list(shortened(dataclasses.replace(world, deployment=deployment).target(), listed(world, label)))


def test_what_becomes_shorter_is_said_and_nothing_else(world: World) -> None:
    force = f"{90 * DAY}_{90 * DAY}_{400 * DAY}"
    found = dict(
        said(
            world,
            force,
            retention=timedelta(days=30),
            snapshot_retention=timedelta(days=120),
            personal_data=timedelta(hours=4801),
        )
    )
    assert set(found) == {"instance", "personal_data"}
    assert found["instance"].startswith("shortened from 90d to 30d: the notebooks of people who left longer ago")
    assert found["instance"].endswith("cannot be restored")
    assert "from 400d to 4801h" in found["personal_data"]


def test_the_same_and_longer_is_not_said(world: World) -> None:
    assert said(world, noted(world.deployment.settings)) == []
    assert said(world, f"{DAY}_{DAY}_{DAY}") == []


@pytest.mark.parametrize("label", [None, "", "30d", "1_2", "a_b_c", "1_2_3_4"])
def test_what_is_in_force_and_not_noted_is_not_known(world: World, label: str | None) -> None:
    ((kind, text),) = said(world, label)
    assert kind == ""
    assert "is not known" in text


def test_without_the_function_nothing_is_in_force(world: World) -> None:
    assert list(shortened(world.target(), [{"name": "p/other"}])) == []


def test_it_is_noted_at_one_function_and_shown_in_the_plan(world: World) -> None:
    world.answers = {
        "functions list --v2": listed(world, f"{3650 * DAY}_{3650 * DAY}_{3650 * DAY}")[1:], "eventarc triggers list": [],
        "run services": {}, "pubsub subscriptions": [], "beta run domain-mappings list": [], "beta iap": {},
    }  # fmt: skip
    plan = world.plan(functions.functions)
    notes = [as_words(do) for step in plan.values() for do in step.work if isinstance(do, tuple) and LABEL in str(do)]
    assert len(notes) == 1
    assert f"{LABEL}={noted(world.deployment.settings)}" in notes[0]
    assert [key for key in plan if key.startswith("retention")] == []


def test_the_plan_has_a_line_for_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functions, "shortened", lambda _target, _listed: [("instance", "shortened from 90d to 30d")])
    world.answers = {
        "functions list --v2": [], "eventarc triggers list": [], "run services": {}, "pubsub subscriptions": [],
        "beta run domain-mappings list": [], "beta iap": {},
    }  # fmt: skip
    step = world.plan(functions.functions)["retention instance"]
    assert (step.mark, step.because, step.acts) == (Mark.KEEP, "shortened from 90d to 30d", False)
