"""The profiles' session templates in Dataproc: made, replaced and removed by the hourly sweep, which nothing of it holds up."""

from __future__ import annotations

import pytest
from kit.making import ANALYSTS, joined
from msgspec.structs import replace

from shared.domain.template.sessions import LABEL_DIGEST, offers
from shared.domain.things.catalog import MasterTemplate
from shared.domain.things.errors import AccessDeniedError, InvalidSpecError, NotOursError
from shared.engine.news.intake import accept
from shared.engine.reconcile.reconciler import reconcile
from shared.engine.sweeps.session_templates import sync_sessions
from shared.engine.sweeps.sweeps import sweep
from shared.wiring import wire

PARENT = "/v1/projects/benchkeeper-local/locations/europe-west1/sessionTemplates"
SUBNET = "projects/benchkeeper-local/regions/europe-west1/subnetworks/notebooks"
DENIED = {"code": "PERMISSION_DENIED", "message": "Permission 'dataproc.sessionTemplates.list' denied"}
ONE = "jupyterSession: {displayName: Spark}\n"


def given_profiles(bench, masters=None, **listed):
    """The bench under another configuration: profiles with these session templates, and masters by name."""
    catalog = bench.settings.catalog
    made = {name: MasterTemplate(name=name, text=text) for name, text in (masters or {}).items()}
    profiles = {name: replace(p, session_templates=listed.get(name, ())) for name, p in catalog.profiles.items()}
    catalog = replace(catalog, profiles=profiles, masters={**catalog.masters, **made})
    settings = replace(bench.settings, catalog=catalog)
    bench.settings = settings
    bench.deps = replace(wire(settings, log=bench.log, clients=bench.clients), clock=bench.deps.clock)
    return {offer.profile: offer.session_id for offer in offers(catalog)}


def there(bench):
    """What is in Dataproc, by id."""
    found = bench.control("GET", f"{PARENT}?pageSize=1000").get("sessionTemplates", [])
    return {each["name"].rpartition("/")[2]: each for each in found}


def by_hand(bench, session_id, **body):
    name = f"{PARENT.removeprefix('/v1/')}/{session_id}"
    return bench.control("POST", PARENT, {"name": name, **body})


def changes(bench):
    return [call["method"] for call in bench.calls() if call["service"] == "dataproc" and call["mutates"]]


def test_the_shipped_profiles_have_their_templates_after_the_first_hour(bench):
    summary = sweep("drift", bench.deps)
    assert summary.sessions.found == {"create": 2}
    found = there(bench)
    assert {each["labels"]["benchkeeper-profile"] for each in found.values()} == {"analyst", "engineer"}
    for session_id, each in found.items():
        profile = bench.settings.catalog.profiles[each["labels"]["benchkeeper-profile"]]
        assert each["labels"] == {
            **profile.labels,
            "managed-by": "benchkeeper",
            "benchkeeper-profile": profile.name,
            "benchkeeper-template": "serverless-spark",
            LABEL_DIGEST: each["labels"][LABEL_DIGEST],
        }
        assert each["jupyterSession"]["displayName"] == f"Serverless Spark ({profile.title})"
        execution = each["environmentConfig"]["executionConfig"]
        assert execution["authenticationConfig"]["userWorkloadAuthenticationType"] == "END_USER_CREDENTIALS"
        assert session_id.startswith(f"{profile.name}-serverless-spark-")


def test_the_next_hour_is_one_list_and_nothing_else(bench):
    sweep("drift", bench.deps)
    before = there(bench)
    bench.cloud.world.journal.clear()
    summary = sweep("drift", bench.deps)
    assert [call["method"] for call in bench.calls() if call["service"] == "dataproc"] == ["ListSessionTemplates"]
    assert (summary.sessions.found, summary.sessions.lines) == ({}, [])
    assert there(bench) == before


def test_the_summary_says_it_and_a_dry_run_does_nothing(bench):
    summary = sweep("drift", bench.deps, dry_run=True)
    assert summary.sessions.found == {"create": 2}
    assert all(line.endswith(": create, it does not exist") for line in summary.sessions.lines)
    assert summary.as_facts()["sessions"]["found"] == {"create": 2}
    assert there(bench) == {}
    assert changes(bench) == []
    sweep("drift", bench.deps)
    (swept,) = [facts for _, message, facts in bench.log.lines[-1:] if message == "Finished a sweep"]
    assert swept["sessions"]["wanted"] == 2
    assert "sessions" not in sweep("due", bench.deps).as_facts()


def test_a_subnetwork_of_the_settings_is_where_sessions_run(bench):
    network = replace(bench.settings.network, subnet=SUBNET)
    bench.settings = replace(bench.settings, network=network)
    given_profiles(bench, analyst=("serverless-spark",))
    sync_sessions(bench.deps)
    (each,) = there(bench).values()
    assert each["environmentConfig"]["executionConfig"]["subnetworkUri"] == SUBNET
    assert sync_sessions(bench.deps).found == {}


def test_a_changed_master_or_label_replaces_and_a_dropped_one_removes(bench):
    ids = given_profiles(bench, {"one": ONE + "description: a\n"}, analyst=("one",), engineer=("one",))
    sync_sessions(bench.deps)
    uuids = {session_id: each["uuid"] for session_id, each in there(bench).items()}
    given_profiles(bench, {"one": ONE}, analyst=("one",), engineer=("one",))
    assert sync_sessions(bench.deps).found == {"update": 2}
    found = there(bench)
    assert {session_id: each["uuid"] for session_id, each in found.items()} == uuids
    assert all("description" not in each for each in found.values())
    given_profiles(bench, {"one": ONE}, analyst=("one",))  # the name is the analysts' alone now
    assert sync_sessions(bench.deps).found == {"update": 1, "remove": 1}
    (left,) = there(bench).values()
    assert left["jupyterSession"]["displayName"] == "Spark"
    assert left["name"].endswith(ids["analyst"])
    given_profiles(bench)
    assert sync_sessions(bench.deps).found == {"remove": 1}
    assert there(bench) == {}


def test_what_somebody_changed_by_hand_is_put_right(bench):
    ids = given_profiles(bench, {"one": ONE}, analyst=("one",))
    sync_sessions(bench.deps)
    before = there(bench)[ids["analyst"]]
    execution = {"authenticationConfig": {"userWorkloadAuthenticationType": "SERVICE_ACCOUNT"}}
    edited = {**before, "environmentConfig": {"executionConfig": execution}}
    bench.control("PATCH", f"{PARENT}/{ids['analyst']}", edited)
    synced = sync_sessions(bench.deps)
    (line,) = synced.lines
    assert "userWorkloadAuthenticationType was changed outside Benchkeeper" in line
    after = there(bench)[ids["analyst"]]
    assert after["environmentConfig"] == before["environmentConfig"]


def test_somebody_elses_is_left_alone_and_told(bench):
    ids = given_profiles(bench, {"one": ONE}, analyst=("one",))
    by_hand(bench, ids["analyst"], description="mine")
    by_hand(bench, "somebodys", labels={"team": "x"})
    before = there(bench)
    synced = sync_sessions(bench.deps)
    assert synced.found == {"not ours": 1}
    assert there(bench) == before
    (line,) = [
        facts
        for _, message, facts in bench.log.lines
        if message == "Left a session template of another owner unchanged"
    ]
    assert (line["template"], line["reason"]) == (ids["analyst"], "NotOurs")


def test_a_copy_of_ours_under_another_name_stays_when_ours_goes(bench):
    ids = given_profiles(bench, {"one": ONE}, analyst=("one",))
    sync_sessions(bench.deps)
    labels = there(bench)[ids["analyst"]]["labels"]
    by_hand(bench, "my-own-spark", labels=labels)
    given_profiles(bench)
    assert sync_sessions(bench.deps).found == {"remove": 1}
    assert set(there(bench)) == {"my-own-spark"}


def test_all_pages_are_seen(bench, monkeypatch):
    monkeypatch.setattr("shared.cloud.dataproc.sessions._PAGE", 2)
    for number in range(5):
        by_hand(bench, f"others-{number}")
    given_profiles(bench, {"one": ONE}, analyst=("one",))
    sync_sessions(bench.deps)
    assert len(list(bench.deps.sessions.rows())) == 6
    assert sync_sessions(bench.deps).found == {}


# --- failures hold up nothing else ---


def test_a_list_that_is_refused_changes_nothing_and_the_sweep_goes_on(bench):
    reconcile(accept(joined(groups=(ANALYSTS,)), bench.deps)[0].stored.record.user_key, bench.deps)
    sync_sessions(bench.deps)
    before = there(bench)
    given_profiles(bench)
    bench.fault(call="dataproc.ListSessionTemplates", error=DENIED)
    summary = sweep("drift", bench.deps)
    assert summary.sessions.failed == {"AccessDenied": 1}
    assert (summary.looked_at, summary.failed) == (1, {})
    assert there(bench) == before
    assert bench.log.lines[-1][1] == "Finished a sweep"


def test_one_that_fails_holds_up_no_other(bench):
    ids = given_profiles(bench, {"one": ONE}, analyst=("one",), engineer=("one",))
    bench.fault(call="dataproc.CreateSessionTemplate", resource=f"*{ids['analyst']}", error={"code": "UNAVAILABLE"})
    synced = sync_sessions(bench.deps)
    assert (synced.found, synced.failed) == ({"create": 1}, {"CloudUnavailable": 1})
    assert f"{ids['analyst']}: failed, CloudUnavailable" in synced.lines
    assert set(there(bench)) == {ids["engineer"]}
    assert sync_sessions(bench.deps).found == {"create": 1}
    assert set(there(bench)) == set(ids.values())


def test_a_master_that_became_wrong_takes_nothing_away(bench):
    ids = given_profiles(bench, {"one": ONE, "two": ONE}, analyst=("one",), engineer=("two",))
    sync_sessions(bench.deps)
    before = there(bench)[ids["analyst"]]
    given_profiles(bench, {"one": "jupyterSession: {kernel: RUST}\n", "two": ONE}, analyst=("one",))
    synced = sync_sessions(bench.deps)
    assert (synced.found, synced.failed) == ({"remove": 1}, {"InvalidSpec": 1})
    assert there(bench) == {ids["analyst"]: before}


def test_a_bucket_of_records_is_no_place_to_stage(bench):
    execution = f"environmentConfig: {{executionConfig: {{stagingBucket: {bench.settings.bucket}}}}}\n"
    given_profiles(bench, {"one": ONE + execution}, analyst=("one",))
    assert sync_sessions(bench.deps).failed == {"InvalidSpec": 1}
    assert there(bench) == {}


def test_a_lost_answer_is_made_good_by_the_next_hour(bench):
    ids = given_profiles(bench, {"one": ONE}, analyst=("one",))
    bench.fault(call="dataproc.CreateSessionTemplate", phase="after", error={"code": "UNAVAILABLE"})
    assert sync_sessions(bench.deps).failed == {"CloudUnavailable": 1}
    assert set(there(bench)) == set(ids.values())
    assert sync_sessions(bench.deps).lines == []


# --- the adapter by itself: somebody is faster ---


@pytest.fixture
def wanted(bench):
    given_profiles(bench, {"one": ONE}, analyst=("one",))
    (offer,) = offers(bench.settings.catalog)
    return bench.deps.sessions.render(offer)


def test_made_twice_is_made_once(bench, wanted):
    bench.deps.sessions.create(wanted)
    before = there(bench)
    bench.deps.sessions.create(wanted)
    assert there(bench) == before


def test_another_ones_under_the_same_name_is_not_taken_for_ours(bench, wanted):
    by_hand(bench, wanted.session_id, description="mine")
    with pytest.raises(NotOursError) as caught:
        bench.deps.sessions.create(wanted)
    assert wanted.session_id in caught.value.user_message
    assert there(bench)[wanted.session_id]["description"] == "mine"


def test_gone_meanwhile_is_done(bench, wanted):
    bench.deps.sessions.remove(wanted.session_id)
    bench.deps.sessions.update(wanted)
    assert there(bench) == {}


@pytest.mark.parametrize(
    ("call", "what"),
    [
        ("CreateSessionTemplate", lambda s, w: s.create(w)),
        ("UpdateSessionTemplate", lambda s, w: s.update(w)),
        ("DeleteSessionTemplate", lambda s, w: s.remove(w.session_id)),
        ("ListSessionTemplates", lambda s, _: list(s.rows())),
    ],
)
def test_a_refusal_is_an_error_and_not_an_absence(bench, wanted, call, what):
    bench.fault(call=f"dataproc.{call}", error=DENIED)
    with pytest.raises(AccessDeniedError):
        what(bench.deps.sessions, wanted)


def test_what_the_api_refuses_is_an_error_of_what_is_asked(bench, wanted):
    broken = replace(wanted, body={**wanted.body, "labels": {"Team": "x"}})
    with pytest.raises(InvalidSpecError):
        bench.deps.sessions.create(broken)


def test_what_a_newer_service_adds_is_no_difference(bench, wanted):
    bench.deps.sessions.create(wanted)
    call = bench.clients.json("dataproc").call

    def newer(method, path, **more):
        answer = call(method, path, **more)
        for each in answer.get("sessionTemplates", []):
            each["fieldOfTomorrow"] = {"x": 1}
            each["jupyterSession"]["kernel"] = "KERNEL_OF_TOMORROW"
        return answer

    bench.clients.json("dataproc").call = newer
    assert sync_sessions(bench.deps).found == {}
