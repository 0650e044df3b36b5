"""Personal Spark clusters, level-triggered: clicks, crashes, sold-out zones, time to live, leavers. The cloud itself is judged."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta

import pytest
from kit.inprocess import impatient
from kit.life import personal
from kit.machine import CrashError
from kit.making import ANA
from kit.official import storage_bucket
from kit.spark import LARGE, SMALL, DeafClusters, lag_by, spark_life, spark_settings
from msgspec.structs import replace

from shared.domain.record.status import ConditionType
from shared.domain.things.catalog import ClusterIdentity, Identity
from shared.domain.things.clusters import AUTO_ZONE, cluster_name
from shared.domain.things.errors import Reason, RefusedError
from shared.domain.things.identity import account_email, account_id_for
from shared.engine.news.requests import drop_cluster, want_cluster
from shared.engine.reconcile.changing import want_hold
from shared.engine.reconcile.reconciler import preview, reconcile
from shared.engine.sweeps.sweeps import sweep

ZONES = ("europe-west1-b", "europe-west1-c", "europe-west1-d")
QUOTA = {"code": "RESOURCE_EXHAUSTED", "message": "Quota 'CPUS' exceeded.  Limit: 24.0 in region europe-west1."}


@pytest.fixture(autouse=True)
def _no_waiting():
    with impatient():
        yield


@pytest.fixture
def someone():
    """Every fault that was scripted must have fired."""
    made = spark_life()
    yield made
    assert made.bench.cloud.world.faults.unfired() == []


def around(someone, at, what):
    """`what` once, between the first two calls after which `at(someone)` is so."""
    done = []

    def look():
        if done:
            return
        done.append("looking")  # that is calls, too
        if at(someone):
            what()
        else:
            done.clear()

    someone.bench.adapter.around = look


@contextmanager
def crash(someone, when):
    """The process dies as soon as `when` is so."""

    def die():
        raise CrashError

    around(someone, when, die)
    try:
        yield
    finally:
        someone.bench.adapter.around = lambda: None


# --- the plain way


def test_a_click_makes_one_and_it_is_ready_in_minutes(someone):
    someone.want()
    assert someone.spark() == {SMALL: "CREATING"}
    assert someone.known().reason is Reason.CREATING
    someone.minutes(3)
    assert someone.spark() == {SMALL: "RUNNING"}
    known = someone.known()
    assert (known.reason, known.message, known.diagnosis) == (Reason.READY, "Running.", "")
    assert known.jupyter_url.startswith("https://")
    assert "/jupyter/lab" in known.jupyter_url
    assert someone.condition(ConditionType.CLUSTERS_READY).reason is Reason.READY
    assert someone.condition(ConditionType.RECONCILED).reason is Reason.SETTLED


def test_it_is_what_the_persons_template_says_with_name_labels_and_an_end(someone):
    someone.want()
    (cluster,) = someone.there()
    body = cluster.body
    assert body["clusterName"] == cluster_name(SMALL, someone.key) == someone.known().name
    assert len(body["clusterName"]) <= 51
    labels = {k: v for k, v in body["labels"].items() if not k.startswith("goog-")}
    mine = {"managed-by": "benchkeeper", "benchkeeper-user": someone.key, "benchkeeper-template": SMALL}
    assert {name: labels.get(name) for name in mine} == mine
    lifecycle = body["config"]["lifecycleConfig"]
    assert lifecycle["idleDeleteTtl"] == "3600s"
    assert lifecycle.keys() & {"autoDeleteTtl", "autoDeleteTime"}
    assert body["config"]["softwareConfig"]["properties"]["dataproc:dataproc.personal-auth.user"] == ANA


def test_a_second_click_reuses_the_one_that_runs(someone):
    someone.want(minutes=3)
    (before,) = someone.there()
    someone.want(minutes=3)
    (after,) = someone.there()
    assert after.body["clusterUuid"] == before.body["clusterUuid"]
    assert someone.calls_of("CreateCluster") == 1


def test_delete_removes_it_and_nothing_is_remembered_of_what_it_was(someone):
    someone.want(minutes=3)
    someone.drop(minutes=3)
    assert someone.spark() == {}
    known = someone.known()
    assert (known.is_there, known.state, known.jupyter_url, known.diagnosis) == (False, None, "", "")
    reconcile(someone.key, someone.bench.deps)
    assert someone.condition(ConditionType.CLUSTERS_READY) is None


def test_two_templates_are_two_clusters_and_a_third_wish_is_refused():
    someone = spark_life(spark_settings(max_clusters=1))
    someone.want(SMALL, minutes=3)
    with pytest.raises(RefusedError, match="1 allowed"):
        someone.want(LARGE)
    someone.drop(SMALL)
    with pytest.raises(RefusedError, match="1 going"):  # it still costs money
        someone.want(LARGE)
    someone.minutes(3)
    someone.want(LARGE, minutes=3)
    assert someone.spark() == {LARGE: "RUNNING"}


def test_a_template_that_the_profile_lacks_is_refused(someone):
    with pytest.raises(RefusedError, match="no template 'nothing'"):
        someone.want("nothing")
    assert someone.wishes() == []


def test_a_quiet_person_costs_no_call_to_dataproc(someone):
    someone.bench.cloud.world.journal.clear()
    for _ in range(3):
        someone.bench.advance(hours=2)
        reconcile(someone.key, someone.bench.deps)
    assert someone.spark_calls() == []
    someone.want(minutes=3)
    someone.drop(minutes=4)
    someone.bench.cloud.world.journal.clear()
    reconcile(someone.key, someone.bench.deps)
    assert someone.spark_calls() == []


def test_somebody_with_a_running_one_is_looked_at_each_quarter_of_an_hour_and_no_more(someone):
    someone.want(minutes=4)
    someone.bench.cloud.world.journal.clear()
    someone.minutes(45)
    assert 3 <= someone.calls_of("ListClusters") <= 4
    assert someone.spark() == {SMALL: "RUNNING"}


# --- its own end


def test_one_that_ended_by_its_idle_time_is_not_made_again_and_is_no_error(someone):
    someone.want(minutes=4)
    someone.bench.advance(hours=2)
    someone.minutes(20)
    assert someone.spark() == {}
    assert someone.wishes() == []
    known = someone.known()
    assert (known.is_there, known.diagnosis) == (False, "")
    someone.bench.advance(hours=5)
    someone.minutes(20)
    assert someone.calls_of("CreateCluster") == 1


def test_one_that_is_seen_going_by_itself_is_not_made_again(someone):
    someone.want(minutes=4)
    (cluster,) = someone.there()
    someone.bench.cloud.world.clock.advance(cluster.expires - someone.bench.now + timedelta(seconds=5))
    reconcile(someone.key, someone.bench.deps)
    assert someone.spark() == {SMALL: "DELETING"}
    assert someone.wishes() == []
    someone.minutes(30)
    assert someone.spark() == {}
    assert someone.calls_of("CreateCluster") == 1


def test_one_that_ran_and_ended_while_nobody_looked_is_not_made_again(someone):
    someone.want()
    someone.bench.advance(hours=6)
    someone.minutes(20)
    assert (someone.spark(), someone.wishes()) == ({}, [])
    assert someone.calls_of("CreateCluster") == 1


def test_a_click_on_one_that_ended_unseen_makes_a_new_one(someone):
    someone.want(minutes=4)
    someone.bench.advance(hours=3)
    someone.want(minutes=4)
    assert someone.spark() == {SMALL: "RUNNING"}
    assert someone.calls_of("CreateCluster") == 2


def test_after_its_own_end_a_click_makes_a_new_one(someone):
    for _ in range(3):
        someone.want(minutes=4)
        assert someone.spark() == {SMALL: "RUNNING"}
        someone.bench.advance(hours=3)
        someone.minutes(20)
        assert someone.spark() == {}


# --- clicks at odd moments


def test_two_clicks_at_once_make_one(someone):
    again = []

    def neighbour():
        again.append(someone.want())

    around(someone, lambda s: s.known() is not None and s.known().asked_at is not None, neighbour)
    try:
        someone.want()
    finally:
        someone.bench.adapter.around = lambda: None
    assert again
    someone.minutes(4)
    assert someone.spark() == {SMALL: "RUNNING"}


def test_a_click_during_its_deletion_waits_and_then_makes_a_new_one(someone):
    someone.want(minutes=4)
    (old,) = someone.there()
    someone.drop()
    assert someone.spark() == {SMALL: "DELETING"}
    someone.want()
    assert someone.known().message == "The old cluster is being deleted; the new cluster follows."
    assert someone.calls_of("CreateCluster") == 1
    someone.minutes(6)
    (new,) = someone.there()
    assert someone.spark() == {SMALL: "RUNNING"}
    assert new.body["clusterUuid"] != old.body["clusterUuid"]


def test_a_click_while_its_own_end_goes_on_waits_and_then_makes_a_new_one(someone):
    someone.want(minutes=4)
    (cluster,) = someone.there()
    someone.bench.cloud.world.clock.advance(cluster.expires - someone.bench.now + timedelta(seconds=5))
    someone.want(minutes=6)
    assert someone.spark() == {SMALL: "RUNNING"}


def test_delete_during_the_create_deletes_it_as_soon_as_that_can_be(someone):
    someone.want()
    someone.drop()
    assert someone.known().message == "The cluster is deleted as soon as its creation has ended."
    someone.minutes(6)
    assert someone.spark() == {}
    assert someone.calls_of("CreateCluster") == 1


def test_delete_and_start_during_the_create_keep_it(someone):
    someone.want()
    someone.drop()
    someone.want(minutes=4)
    assert someone.spark() == {SMALL: "RUNNING"}
    assert someone.calls_of("CreateCluster") == 1


@pytest.mark.parametrize("lag", [0, 4])
def test_a_wish_taken_back_at_the_very_moment_of_the_create_leaves_nothing(lag):
    """Between the write that names the cluster and the create, the owner deletes: nobody may forget what comes."""
    someone = spark_life()
    lag_by(someone, timedelta(minutes=lag))
    around(
        someone,
        lambda s: s.known() is not None and s.known().asked_at is not None,
        lambda: drop_cluster(someone.key, SMALL, someone.bench.deps, by=someone.key),
    )
    try:
        someone.want()
    finally:
        someone.bench.adapter.around = lambda: None
    assert someone.wishes() == []
    assert someone.spark() == {SMALL: "CREATING"}
    someone.minutes(15)
    assert someone.spark() == {}


# --- crashes, lost answers, blindness


@pytest.mark.parametrize("after_create", [False, True])
@pytest.mark.parametrize("taken_back", [False, True])
def test_a_crash_around_the_create_costs_nothing(someone, after_create, taken_back):
    def moment(s):
        asked = s.known() is not None and s.known().asked_at is not None
        return bool(s.there()) if after_create else asked

    with pytest.raises(CrashError), crash(someone, moment):
        someone.want()
    assert someone.known().operation == ""
    assert bool(someone.there()) is after_create
    if taken_back:
        someone.drop()
    someone.minutes(15)
    assert someone.spark() == ({} if taken_back else {SMALL: "RUNNING"})
    assert someone.calls_of("CreateCluster") <= 2


def test_a_crash_before_the_first_write_is_made_up_for_by_the_tick(someone):
    want_cluster(someone.key, SMALL, someone.bench.deps, by=someone.key)
    assert someone.spark() == {}
    someone.minutes(5)
    assert someone.spark() == {SMALL: "RUNNING"}


@pytest.mark.parametrize("taken_back", [False, True])
def test_an_answer_that_is_lost_makes_no_second_one_and_no_orphan(someone, taken_back):
    error = {"code": "UNAVAILABLE", "message": "lost"}
    someone.bench.fault(call="dataproc.CreateCluster", phase="after", error=error, times=3)
    lag_by(someone, timedelta(seconds=50))
    someone.want()
    if taken_back:
        someone.drop()
    for _ in range(3):  # what of the scripted trouble is left
        reconcile(someone.key, someone.bench.deps)
        someone.minutes(1)
    someone.bench.cloud.world.faults.clear()
    someone.minutes(20)
    assert someone.spark() == ({} if taken_back else {SMALL: "RUNNING"})


def test_a_list_that_lags_makes_nobody_ask_for_a_second(someone):
    lag_by(someone, timedelta(minutes=6))
    someone.want(minutes=5)
    assert someone.calls_of("CreateCluster") == 1
    assert someone.known().reason is Reason.CREATING
    someone.minutes(3)
    assert someone.known().reason is Reason.READY


def test_an_operation_that_google_has_forgotten_holds_up_nothing(someone):
    lag_by(someone, timedelta(minutes=3))
    someone.want()
    someone.bench.cloud.dataproc.delete_operation(someone.known().operation)
    someone.minutes(6)
    assert someone.known().reason is Reason.READY
    assert someone.calls_of("CreateCluster") == 1


def test_a_create_of_which_nothing_comes_ends_the_wish(someone):
    """Somebody else deleted it, and its operation, before it was ever seen to run."""
    someone.want()
    someone.bench.cloud.dataproc._clusters.clear()
    someone.bench.cloud.dataproc._operations.clear()
    someone.minutes(5)
    assert someone.wishes() == [SMALL]  # the list may lag
    someone.minutes(10)
    assert someone.wishes() == []
    assert someone.calls_of("CreateCluster") == 1


@pytest.mark.parametrize("error", ["PERMISSION_DENIED", "UNAVAILABLE"])
def test_while_clusters_cannot_be_listed_nothing_is_done(someone, error):
    someone.want(minutes=4)
    someone.bench.fault(call="dataproc.ListClusters", error={"code": error, "message": "no"}, times=0)
    someone.bench.cloud.world.journal.clear()
    someone.drop(minutes=20)
    someone.want(LARGE, minutes=20)
    assert [c["method"] for c in someone.spark_calls() if c["mutates"]] == []
    assert someone.spark() == {SMALL: "RUNNING"}
    assert someone.condition(ConditionType.CLUSTERS_READY).reason is Reason.UNREADABLE
    someone.bench.cloud.world.faults.clear()
    someone.minutes(40)
    assert someone.spark() == {LARGE: "RUNNING"}


def test_while_the_operation_cannot_be_read_nothing_is_done_about_a_failure_that_says_nothing(someone):
    someone.bench.fault(call="dataproc.CreateCluster", operation_error={"code": "INTERNAL", "message": ""})
    someone.bench.fault(call="dataproc.GetOperation", error={"code": "PERMISSION_DENIED", "message": "no"}, times=0)
    someone.want(minutes=10)
    assert someone.spark() == {SMALL: "ERROR"}
    assert someone.wishes() == [SMALL]
    assert someone.calls_of("DeleteCluster") == 0
    someone.minutes(60)  # it costs money all the while
    assert (someone.spark(), someone.wishes()) == ({}, [])


# --- trouble


def test_sold_out_goes_from_auto_zone_through_the_zones_one_after_the_other(someone):
    someone.sell_out(*ZONES[:2])
    someone.bench.fault(call="dataproc.CreateCluster", resource=f"*zones/{ZONES[2]}/*", payload={"sold_out": True})
    zones, states = [], []
    someone.want()
    for _ in range(40):
        for cluster in someone.there():
            (label,) = someone.spark().values()
            states.append(label)
            if not zones or zones[-1] != (cluster.body["clusterUuid"], someone.zone()):
                zones.append((cluster.body["clusterUuid"], someone.zone()))
        if someone.spark() == {SMALL: "RUNNING"}:
            break
        someone.minutes(1)
    # Auto Zone came to the last of the region, which is no more tried than what it had found full.
    assert zones[0][1] == ZONES[2]
    assert len({uuid for uuid, _ in zones}) == len(zones) >= 2
    assert "DELETING" in states  # what failed goes first


def test_a_zone_that_is_sold_out_is_left_for_the_next_after_the_remnant_is_gone(someone):
    """Auto Zone is told to fail, so that the zones of the policy are asked by name."""
    someone.sell_out("*")
    someone.want(minutes=3)
    assert someone.known().tried_zones[0] == AUTO_ZONE
    someone.bench.cloud.world.faults.clear()
    someone.minutes(8)
    assert someone.spark() == {SMALL: "RUNNING"}
    assert someone.zone() in ZONES
    assert someone.known().tried_zones == ()


def test_all_sold_out_ends_the_wish_with_a_diagnosis(someone):
    someone.sell_out("*")
    someone.want(minutes=40)
    assert (someone.spark(), someone.wishes()) == ({}, [])
    known = someone.known()
    assert known.reason is Reason.STOCKOUT
    assert known.message == known.diagnosis
    assert known.diagnosis.startswith("No zone of the region")
    tried = someone.calls_of("CreateCluster")
    assert len(ZONES) <= tried <= len(ZONES) + 1
    someone.minutes(60)
    assert someone.calls_of("CreateCluster") == tried
    someone.bench.cloud.world.faults.clear()
    someone.want(minutes=4)
    assert someone.spark() == {SMALL: "RUNNING"}
    assert someone.known().diagnosis == ""


@pytest.mark.parametrize(
    ("error", "reason", "said"),
    [
        (QUOTA, Reason.QUOTA_EXHAUSTED, "quota 'CPUS' (limit 24.0 in region europe-west1) is used up"),
        (
            {"code": "INTERNAL", "message": "Initialization failed on m."},
            Reason.OPERATION_FAILED,
            "initialization action",
        ),
        ({"code": "INVALID_ARGUMENT", "message": "no such image"}, Reason.INVALID_SPEC, "in the log"),
        ({"code": "PERMISSION_DENIED", "message": "x"}, None, ""),
    ],
)
def test_one_that_failed_is_removed_and_told_in_our_words(someone, error, reason, said):
    someone.bench.fault(call="dataproc.CreateCluster", operation_error=error)
    someone.want(minutes=8)
    assert (someone.spark(), someone.wishes()) == ({}, [])
    known = someone.known()
    assert reason is None or known.reason is reason
    assert said in known.diagnosis
    assert known.diagnosis
    assert known.message == known.diagnosis
    assert ("DECISION".lower(), f"Spark environment {SMALL}: ended", known.diagnosis) in someone.story()
    assert [f["reason"] for _, m, f in someone.bench.log.lines if m == "Spark cluster failed"] == [known.reason.value]
    someone.minutes(60)
    assert someone.calls_of("CreateCluster") == 1
    someone.want(minutes=4)
    assert someone.spark() == {SMALL: "RUNNING"}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (QUOTA, Reason.QUOTA_EXHAUSTED),
        ({"code": "INVALID_ARGUMENT", "message": "no such image"}, Reason.INVALID_SPEC),
        ({"code": "PERMISSION_DENIED", "message": "denied"}, Reason.ACCESS_DENIED),
    ],
)
def test_one_that_is_refused_at_once_is_told_and_not_tried_again(someone, error, reason):
    someone.bench.fault(call="dataproc.CreateCluster", error=error)
    someone.want()
    assert (someone.spark(), someone.wishes()) == ({}, [])
    known = someone.known()
    assert (known.reason, known.message) == (reason, known.diagnosis)
    assert "tried again" not in known.message
    assert someone.condition(ConditionType.CLUSTERS_READY).message == known.diagnosis
    someone.minutes(90)
    assert someone.calls_of("CreateCluster") == 1
    someone.want(minutes=4)
    assert someone.spark() == {SMALL: "RUNNING"}


def test_what_may_pass_is_tried_again_within_the_hour(someone):
    error = {"code": "RESOURCE_EXHAUSTED", "message": "slow down"}
    someone.bench.fault(call="dataproc.CreateCluster", error=error, times=2)
    someone.want()
    assert someone.wishes() == [SMALL]
    assert someone.known().reason is Reason.RATE_LIMITED
    someone.minutes(12)
    assert someone.spark() == {SMALL: "RUNNING"}


@pytest.mark.parametrize("deaf", [False, True])
def test_what_does_not_pass_within_the_hour_ends_the_wish_with_a_diagnosis(someone, deaf):
    if deaf:
        someone.bench.deps = replace(someone.bench.deps, clusters=DeafClusters(someone.bench.deps.clusters))
    else:
        error = {"code": "RESOURCE_EXHAUSTED", "message": "slow down"}
        someone.bench.fault(call="dataproc.CreateCluster", error=error, times=0)
    someone.want(minutes=55)
    assert someone.wishes() == [SMALL]
    someone.minutes(60)
    assert someone.wishes() == []
    assert "for an hour" in someone.known().diagnosis
    tried = someone.calls_of("CreateCluster")
    someone.minutes(60)
    assert someone.calls_of("CreateCluster") == tried


def test_a_failed_ones_old_operation_is_not_taken_for_the_answer_to_a_new_wish(someone):
    """The answer was lost, so the first try did not count: a second with the same request id would get the old failure."""
    someone.bench.fault(call="dataproc.CreateCluster", operation_error=QUOTA)
    with pytest.raises(CrashError), crash(someone, lambda s: bool(s.there())):
        someone.want()
    someone.minutes(10)
    assert someone.wishes() == []
    someone.want(minutes=5)
    assert someone.spark() == {SMALL: "RUNNING"}


def test_a_delete_that_is_refused_is_tried_again(someone):
    someone.want(minutes=4)
    someone.bench.fault(call="dataproc.DeleteCluster", error={"code": "UNAVAILABLE", "message": "no"}, times=2)
    someone.drop(minutes=15)
    assert someone.spark() == {}


def test_a_neighbours_cluster_of_our_name_is_left_alone_and_told(someone):
    name = cluster_name(SMALL, someone.key)
    folder = f"/v1/projects/{someone.bench.settings.project}/regions/europe-west1/clusters"
    someone.bench.control("POST", folder, {"projectId": someone.bench.settings.project, "clusterName": name})
    someone.bench.advance(minutes=3)
    someone.want(minutes=20)
    (theirs,) = [c["clusterName"] for c in someone.bench.control("GET", folder)["clusters"]]
    assert theirs == name
    assert someone.wishes() == []
    assert someone.known().reason is Reason.NOT_OURS
    assert "administrator" in someone.known().diagnosis
    assert someone.calls_of("DeleteCluster") == 0


def test_one_with_the_persons_label_and_without_ours_is_left_alone_too(someone):
    name = cluster_name(SMALL, someone.key)
    folder = f"/v1/projects/{someone.bench.settings.project}/regions/europe-west1/clusters"
    body = {
        "projectId": someone.bench.settings.project,
        "clusterName": name,
        "labels": {"benchkeeper-user": someone.key},
    }
    someone.bench.control("POST", folder, body)
    someone.bench.advance(minutes=3)
    someone.want(minutes=20)
    assert someone.known().reason is Reason.NOT_OURS
    assert (someone.calls_of("CreateCluster"), someone.calls_of("DeleteCluster")) == (1, 0)  # one is theirs


# --- leavers, movers, holds


@pytest.mark.parametrize("minutes", [0, 1, 4])
def test_a_leavers_clusters_are_deleted_at_whatever_stage(someone, minutes):
    someone.want(SMALL)
    someone.want(LARGE, minutes=minutes)
    someone.leave(minutes=15)
    assert someone.spark() == {}
    assert someone.condition(ConditionType.CLUSTERS_REMOVED).reason is Reason.REMOVED


def test_a_leavers_cluster_that_the_list_does_not_show_yet_is_deleted_too(someone):
    lag_by(someone, timedelta(minutes=4))
    someone.want()
    someone.leave(minutes=1)
    assert someone.spark() == {SMALL: "CREATING"}
    assert someone.condition(ConditionType.CLUSTERS_REMOVED).reason is Reason.DELETING
    someone.minutes(15)
    assert someone.spark() == {}


def test_who_comes_back_before_the_deletion_keeps_no_old_cluster(someone):
    someone.want(minutes=4)
    someone.bench.fault(call="dataproc.DeleteCluster", error={"code": "UNAVAILABLE", "message": "no"}, times=4)
    someone.leave()
    assert someone.spark() == {SMALL: "RUNNING"}
    someone.bench.cloud.world.faults.clear()
    someone.join(minutes=10)
    assert someone.wishes() == []
    assert someone.spark() == {}


def test_a_hold_keeps_a_leavers_cluster_until_it_is_released(someone):
    someone.want(minutes=4)
    want_hold(someone.key, "case 1", someone.bench.deps)
    someone.leave(minutes=10)
    assert someone.spark() == {SMALL: "RUNNING"}
    want_hold(someone.key, None, someone.bench.deps)
    someone.minutes(10)
    assert someone.spark() == {}


def test_a_hold_keeps_it_when_its_owner_comes_back_or_deletes_it(someone):
    someone.want(minutes=4)
    want_hold(someone.key, "case 1", someone.bench.deps)
    someone.leave(minutes=5)
    someone.join(minutes=5)
    assert someone.spark() == {SMALL: "RUNNING"}
    assert someone.known().reason is Reason.ON_HOLD
    want_hold(someone.key, None, someone.bench.deps)
    someone.minutes(20)
    assert someone.spark() == {}


def test_whose_new_profile_lacks_the_template_loses_the_cluster():
    settings = spark_settings()
    engineer = replace(settings.catalog.profiles["engineer"], templates=(LARGE,))
    catalog = replace(settings.catalog, profiles={**settings.catalog.profiles, "engineer": engineer})
    someone = spark_life(replace(settings, catalog=catalog))
    someone.want(SMALL)
    someone.want(LARGE, minutes=4)
    someone.move(profile="engineer", profile_said=True, minutes=10)
    assert someone.spark() == {LARGE: "RUNNING"}
    assert someone.wishes() == [LARGE]


# --- as whom it runs


def own_clusters(**more):
    own = {"identity": ClusterIdentity.PERSONAL_SERVICE_ACCOUNT, "max_clusters": 2}
    settings = spark_settings(**own, **more)
    assert settings.catalog.profiles["analyst"].identity is Identity.END_USER_CREDENTIALS
    return settings


def test_with_an_account_of_ones_own_that_comes_first_and_the_cluster_runs_as_it():
    someone = spark_life(own_clusters(), minutes=0)
    someone.bench.fault(call="iam.serviceAccounts.*", error={"code": "PERMISSION_DENIED", "message": "no"}, times=0)
    someone.want(minutes=2)
    assert someone.spark() == {}
    assert someone.known().message == "Your own service account is being set up first."
    someone.bench.cloud.world.faults.clear()
    someone.minutes(75)
    account = account_email(account_id_for(someone.key), someone.bench.settings.project)
    assert someone.account()["bindings"] == [
        {"role": "roles/iam.serviceAccountUser", "members": [f"user:{someone.email}"]}
    ]
    someone.want(minutes=4)
    (cluster,) = someone.there()
    config = cluster.body["config"]
    assert config["gceClusterConfig"]["serviceAccount"] == account
    mapping = config["securityConfig"]["identityConfig"]["userServiceAccountMapping"]
    assert mapping == {someone.email: account}
    assert "dataproc:dataproc.personal-auth.user" not in config["softwareConfig"]["properties"]


def test_another_identity_renders_the_templates_anew():
    someone = spark_life()
    before = template_text(someone)
    assert "personal-auth.user" in before
    someone.bench.deps = rewired(someone, own_clusters())
    sweep("drift", someone.bench.deps)
    someone.minutes(10)
    after = template_text(someone)
    assert "userServiceAccountMapping" in after
    assert "personal-auth.user" not in after


def rewired(someone, settings):
    from kit.inprocess import KitClock  # noqa: PLC0415 - only here

    from shared.wiring import wire  # noqa: PLC0415 - only here

    deps = wire(settings, log=someone.bench.log, clients=someone.bench.clients)
    return replace(deps, clock=KitClock(someone.bench.cloud))


def template_text(someone):
    blob = storage_bucket(someone.bench.clients).blob(f"templates/{someone.key}/{SMALL}.yaml")
    return blob.download_as_bytes().decode()


# --- the plan, the bill


def test_what_plan_prints_is_what_the_pass_does(someone):
    want_cluster(someone.key, SMALL, someone.bench.deps, by=someone.key)
    for _ in range(6):
        planned = preview(someone.key, someone.bench.deps)
        done = reconcile(someone.key, someone.bench.deps)
        assert planned.plan.actions == done.plan.actions
        assert planned.plan.because == done.plan.because
        someone.bench.advance(minutes=1)


def test_the_time_that_it_ran_is_kept_for_the_estimate(someone):
    someone.want(minutes=4)
    (cluster,) = someone.there()
    someone.minutes(60)
    ran = someone.record.status.usage[f"spark:{SMALL}"].in_month_of(someone.bench.now)
    real = someone.bench.now - cluster.ready
    assert timedelta(0) <= real - ran <= timedelta(seconds=151)  # one look
    someone.minutes(60)
    assert someone.spark() == {}
    usage = someone.record.status.usage[f"spark:{SMALL}"]
    assert usage.since is None
    real = cluster.expires - cluster.ready
    assert timedelta(minutes=-1) <= timedelta(seconds=usage.ran_s) - real <= timedelta(minutes=16)


def test_a_person_with_everything_personal_gets_a_cluster_as_that_account_too():
    someone = spark_life(personal(spark=own_clusters().catalog.profiles["analyst"].spark))
    someone.want(minutes=5)
    assert someone.spark() == {SMALL: "RUNNING"}
