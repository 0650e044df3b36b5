"""Each kind of sweep is scheduled, measured and watched, or is an exception that is named here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from shared.domain.things.sweep import Sweep

DEPLOY = Path(__file__).parents[2] / "config" / "deploy"
# The alert on sweeps that do not come is on the due sweep: the others come by the same schedule, topic and function.
WATCHED_BY_ANOTHER = {Sweep.IDLE, Sweep.DRIFT, Sweep.ROSTER}


def kinds_in(name: str) -> set[str]:
    """The kinds that the filters of a file name."""
    text = (DEPLOY / name).read_text(encoding="utf-8")
    named = re.findall(r'(?:jsonPayload|metric\.label)\.kind=(\(.*?\)|"\w+")', text, flags=re.DOTALL)
    return {kind for each in named for kind in re.findall(r'"(\w+)"', each)}


def test_each_kind_has_one_job_and_no_job_asks_for_another():
    jobs = yaml.safe_load((DEPLOY / "jobs.yaml").read_text(encoding="utf-8"))["jobs"].values()
    asked = [job["body"]["sweep"] for job in jobs if "sweep" in job["body"]]
    assert sorted(asked) == sorted(kind.value for kind in Sweep)


@pytest.mark.parametrize("name", ["metrics.yaml", "alerts.yaml"])
def test_filters_name_no_kind_that_is_none(name):
    assert kinds_in(name) <= {kind.value for kind in Sweep}


def test_each_kind_is_in_a_metric_of_its_own():
    assert kinds_in("metrics.yaml") == {kind.value for kind in Sweep}


def test_each_kind_is_watched_or_said_not_to_be():
    assert kinds_in("alerts.yaml") == {kind.value for kind in set(Sweep) - WATCHED_BY_ANOTHER}


def test_the_metric_of_ended_sweeps_names_all_kinds():
    metrics = yaml.safe_load((DEPLOY / "metrics.yaml").read_text(encoding="utf-8"))["metrics"]
    (label,) = metrics["benchkeeper/sweeps"]["metricDescriptor"]["labels"]
    assert {word.strip(",") for word in label["description"].split()} - {"or"} == {kind.value for kind in Sweep}
