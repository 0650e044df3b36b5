"""The people's Spark clusters: found by their label, deleted once, busy ones later."""

from __future__ import annotations

import pytest
from kit.making import ANA, person

from shared.cloud.dataproc.clusters import _state
from shared.domain.spark.actions import CreateCluster
from shared.domain.things.clusters import ClusterOperationSeen, ClusterState, cluster_name
from shared.domain.things.errors import (
    AccessDeniedError,
    BusyError,
    CloudUnavailableError,
    InvalidSpecError,
    NotOursError,
    OperationFailedError,
    QuotaExhaustedError,
    RateLimitedError,
    StockoutError,
    UnknownAnswerError,
    UnknownRefusalError,
)
from shared.domain.things.identity import user_key_for
from shared.domain.things.notebook import LABEL_USER, Absent

KEY = user_key_for(ANA)
OTHER = "ben-0123456789ab"


@pytest.fixture
def clusters(bench):
    _ = bench.deps.policy  # a process reads the policy in force once a minute
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
    monkeypatch.setattr("shared.cloud.dataproc.clusters._PAGE", 2)
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
    with pytest.raises(UnknownRefusalError, match="it is protected"):
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


# --- creating

PERSON = person()


def create(clusters, record=PERSON, *, zone="", request_id="one", template="single-node"):
    action = CreateCluster(
        template=template, name=cluster_name(template, record.user_key), zone=zone, request_id=request_id
    )
    return clusters.create(record, action)


def only(bench):
    (raw,) = bench.control("GET", folder(bench))["clusters"]
    return raw


def test_one_is_made_as_its_template_says_and_its_operation_is_told(bench, clusters):
    operation = create(clusters)
    assert clusters.operation(operation) == ClusterOperationSeen(done=False)
    bench.advance(minutes=2)
    assert clusters.operation(operation) == ClusterOperationSeen(done=True)
    (seen,) = clusters.of(KEY)
    assert (seen.name, seen.state, seen.is_ours) == (cluster_name("single-node", KEY), ClusterState.RUNNING, True)
    assert seen.zone.startswith("europe-west1-")
    assert seen.uuid
    assert seen.ports["JupyterLab"].startswith("https://")
    assert only(bench)["labels"]["benchkeeper-template"] == "single-node"


@pytest.mark.parametrize("zone", ["europe-west1-b", "europe-west1-d"])
def test_a_zone_that_is_named_is_where_it_is(bench, clusters, zone):
    create(clusters, zone=zone)
    assert [cluster.zone for cluster in clusters.of(KEY)] == [zone]


def test_the_same_request_twice_is_one_cluster_and_one_operation(bench, clusters):
    assert create(clusters) == create(clusters)
    assert len(clusters.of(KEY)) == 1


def test_one_that_is_there_already_and_ours_is_success(bench, clusters):
    create(clusters)
    assert create(clusters, request_id="two") == ""
    assert len(clusters.of(KEY)) == 1


@pytest.mark.parametrize(
    "labels",
    [{}, {LABEL_USER: KEY}, {LABEL_USER: OTHER, "managed-by": "benchkeeper"}, {LABEL_USER: KEY, "managed-by": "x"}],
)
def test_one_that_is_there_and_not_ours_is_left_alone(bench, clusters, labels):
    name = cluster_name("single-node", KEY)
    body = {"projectId": bench.settings.project, "clusterName": name, "labels": labels}
    bench.control("POST", folder(bench), body)
    with pytest.raises(NotOursError, match="without our labels"):
        create(clusters)
    assert {k: v for k, v in only(bench).get("labels", {}).items() if not k.startswith("goog-")} == labels
    assert all(not cluster.is_ours for cluster in clusters.of(KEY))


def test_while_the_old_one_goes_its_name_is_not_free(bench, clusters):
    create(clusters)
    bench.advance(minutes=2)
    clusters.delete(cluster_name("single-node", KEY))
    with pytest.raises(BusyError, match="DELETING"):
        create(clusters, request_id="two")
    bench.advance(minutes=2)
    assert create(clusters, request_id="three") != ""


def test_an_answer_that_is_lost_is_found_again_by_the_same_request(bench, clusters):
    bench.fault(call="dataproc.CreateCluster", phase="after", error={"code": "UNAVAILABLE", "message": "lost"})
    with pytest.raises(CloudUnavailableError):
        create(clusters)
    assert create(clusters) != ""
    assert len(clusters.of(KEY)) == 1


def test_a_create_that_is_not_answered_is_not_waited_for(bench, clusters):
    """The client's own retries go on for five minutes; a function has nine, for everybody."""
    bench.fault(call="dataproc.CreateCluster", error={"code": "UNAVAILABLE", "message": "down"})
    bench.cloud.world.journal.clear()
    with pytest.raises(CloudUnavailableError):
        create(clusters)
    assert [call["method"] for call in bench.calls()] == ["CreateCluster"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": "PERMISSION_DENIED", "message": "denied"}, AccessDeniedError),
        ({"code": "RESOURCE_EXHAUSTED", "message": "slow down"}, RateLimitedError),
        ({"code": "RESOURCE_EXHAUSTED", "message": "Quota 'CPUS' exceeded.  Limit: 8"}, QuotaExhaustedError),
        ({"code": "INVALID_ARGUMENT", "message": "no such image"}, InvalidSpecError),
    ],
)
def test_a_create_that_is_refused_says_why(bench, clusters, error, kind):
    bench.fault(call="dataproc.CreateCluster", error=error)
    with pytest.raises(kind):
        create(clusters)
    assert clusters.of(KEY) == ()


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        ({"code": "UNAVAILABLE", "message": "ZONE_RESOURCE_POOL_EXHAUSTED"}, StockoutError, ""),
        ({"code": "RESOURCE_EXHAUSTED", "message": "Quota 'CPUS' exceeded."}, QuotaExhaustedError, ""),
        (
            {"code": "INTERNAL", "message": "Init action of a@b.example.com failed."},
            OperationFailedError,
            "An initialization action of the Spark cluster failed. Start it again",
        ),
        ({"code": "INTERNAL", "message": ""}, UnknownAnswerError, "Start it again"),
        (
            {"code": "INTERNAL", "message": "Internal error."},
            OperationFailedError,
            "could not finish the operation. Start it again",
        ),
        ({"code": "INVALID_ARGUMENT", "message": "bad disk"}, InvalidSpecError, "refused the request as invalid"),
    ],
)
def test_what_a_create_failed_of_is_in_its_operation(bench, clusters, error, kind, said):
    bench.fault(call="dataproc.CreateCluster", operation_error=error)
    operation = create(clusters)
    bench.advance(minutes=2)
    found = clusters.operation(operation)
    assert found.done
    assert type(found.error) is kind
    assert said in found.error.user_message
    assert "tried again" not in found.error.user_message or kind in {QuotaExhaustedError, StockoutError}
    (seen,) = clusters.of(KEY)
    assert seen.state is ClusterState.ERROR
    assert seen.ports == {}


def test_a_cluster_says_itself_why_it_failed(bench, clusters):
    bench.cloud.world.faults.clear()
    bench.fault(call="dataproc.CreateCluster", payload={"sold_out": True}, resource="*zones/europe-west1-b/*")
    create(clusters, zone="europe-west1-b")
    bench.advance(minutes=2)
    (seen,) = clusters.of(KEY)
    assert isinstance(seen.error, StockoutError)


def test_an_operation_that_is_forgotten_is_absent_and_one_that_is_refused_is_an_error(bench, clusters):
    operation = create(clusters)
    bench.fault(call="dataproc.GetOperation", error={"code": "PERMISSION_DENIED", "message": "no"})
    with pytest.raises(AccessDeniedError):
        clusters.operation(operation)
    bench.cloud.dataproc.delete_operation(operation)
    assert clusters.operation(operation) == Absent()


def test_creating_needs_exactly_these_permissions(bench, clusters):
    bench.cloud.world.journal.clear()
    operation = create(clusters)
    clusters.operation(operation)
    create(clusters, request_id="two")
    needed = {part for call in bench.calls() for part in call["permission"].split(",")}
    assert needed <= {
        "dataproc.clusters.create",
        "dataproc.clusters.get",
        "dataproc.operations.get",
        "iam.serviceAccounts.actAs",
    }
    assert "dataproc.clusters.create" in needed


@pytest.mark.parametrize("raw", [{}, {"state": "NEW_IN_2031"}, {"state": 5}])
def test_a_state_that_is_not_known_is_unknown_and_no_absence(raw):
    assert _state({"status": raw}) is ClusterState.UNKNOWN
