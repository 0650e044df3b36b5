"""The people's Spark clusters: found by their label, deleted once, busy ones later."""

from __future__ import annotations

import pytest
from kit.making import ANA

from shared.domain.errors import (
    AccessDeniedError,
    BusyError,
    CloudUnavailableError,
    InvalidSpecError,
    RateLimitedError,
)
from shared.domain.identity import user_key_for
from shared.domain.notebook import LABEL_USER

KEY = user_key_for(ANA)
OTHER = "ben-0123456789ab"


@pytest.fixture
def clusters(bench):
    return bench.deps.clusters


def folder(bench, region="europe-west1"):
    return f"/v1/projects/{bench.settings.project}/regions/{region}/clusters"


def make(bench, name, key=KEY, *, region="europe-west1", running=True):
    body = {"projectId": bench.settings.project, "clusterName": name, "labels": {LABEL_USER: key}}
    bench.control("POST", folder(bench, region), body)
    if running:
        bench.advance(minutes=2)


def states(clusters):
    return {cluster.name: cluster.state.value for cluster in clusters.of(KEY)}


def names(bench):
    return sorted(raw["clusterName"] for raw in bench.control("GET", folder(bench)).get("clusters", []))


def test_only_the_persons_own_are_found_in_whatever_state(bench, clusters):
    assert clusters.of(KEY) == ()
    make(bench, "spark-one")
    make(bench, "spark-theirs", OTHER)
    make(bench, "spark-longer", f"{KEY}0")
    make(bench, "spark-two", running=False)
    assert states(clusters) == {"spark-one": "RUNNING", "spark-two": "CREATING"}


def test_all_pages_are_read(bench, clusters, monkeypatch):
    monkeypatch.setattr("shared.cloud.clusters._PAGE", 2)
    for number in range(5):
        make(bench, f"spark-{number}")
    bench.cloud.world.journal.clear()
    assert [cluster.name for cluster in clusters.of(KEY)] == [f"spark-{number}" for number in range(5)]
    assert len(bench.calls()) == 3


def test_deleting_is_done_when_it_is_gone_or_going(bench, clusters):
    clusters.delete("spark")
    make(bench, "spark")
    make(bench, "spark-theirs", OTHER)
    clusters.delete("spark")
    assert states(clusters) == {"spark": "DELETING"}
    clusters.delete("spark")
    bench.advance(minutes=2)
    assert clusters.of(KEY) == ()
    clusters.delete("spark")
    assert names(bench) == ["spark-theirs"]


def test_one_that_is_being_made_is_deleted_later(bench, clusters):
    make(bench, "spark", running=False)
    with pytest.raises(BusyError, match="CREATING"):
        clusters.delete("spark")
    bench.advance(minutes=2)
    clusters.delete("spark")
    bench.advance(minutes=2)
    assert names(bench) == []


def test_one_that_failed_is_deleted(bench, clusters):
    bench.fault(call="dataproc.CreateCluster", operation_error={"code": "INTERNAL", "message": "oops"})
    make(bench, "spark")
    assert states(clusters) == {"spark": "ERROR"}
    clusters.delete("spark")
    bench.advance(minutes=2)
    assert names(bench) == []


def test_a_refusal_of_one_that_is_settled_is_told_as_it_is(bench, clusters):
    make(bench, "spark")
    bench.fault(call="dataproc.DeleteCluster", error={"code": "FAILED_PRECONDITION", "message": "it is protected"})
    with pytest.raises(InvalidSpecError, match="it is protected"):
        clusters.delete("spark")
    assert names(bench) == ["spark"]


def test_one_that_went_while_it_was_refused_is_done(bench, clusters):
    bench.fault(call="dataproc.DeleteCluster", error={"code": "FAILED_PRECONDITION", "message": "pending operations"})
    clusters.delete("spark")


def test_a_delete_whose_answer_is_lost_is_done_at_the_next_try(bench, clusters):
    make(bench, "spark")
    bench.fault(call="dataproc.DeleteCluster", phase="after", error={"code": "UNAVAILABLE", "message": "lost"})
    with pytest.raises(CloudUnavailableError):
        clusters.delete("spark")
    clusters.delete("spark")
    assert states(clusters) == {"spark": "DELETING"}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": "PERMISSION_DENIED", "message": "denied"}, AccessDeniedError),
        ({"code": "UNAVAILABLE", "message": "down"}, CloudUnavailableError),
        ({"code": "RESOURCE_EXHAUSTED", "message": "slow down"}, RateLimitedError),
    ],
)
@pytest.mark.parametrize("call", ["ListClusters", "DeleteCluster"])
def test_a_refusal_is_an_error_and_not_an_absence(bench, clusters, call, error, kind):
    bench.fault(call=f"dataproc.{call}", error=error)
    with pytest.raises(kind):
        clusters.of(KEY) if call == "ListClusters" else clusters.delete("spark")


def test_each_call_needs_exactly_these_permissions(bench, clusters):
    make(bench, "spark")
    bench.cloud.world.journal.clear()
    clusters.of(KEY)
    clusters.delete("spark")
    clusters.delete("spark")
    assert {call["permission"] for call in bench.calls()} == {
        "dataproc.clusters.list",
        "dataproc.clusters.delete",
        "dataproc.clusters.get",  # only after a refusal, to see whether it is going already
    }
