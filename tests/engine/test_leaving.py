"""The proof of leaving over the embedded cloud: complete once the cloud was asked again, and never for what is still there."""

from __future__ import annotations

import pytest
from kit.inprocess import impatient, make_bench
from kit.leaving import gone_after_s
from kit.life import Life, personal
from kit.spark import SMALL
from msgspec.structs import replace

from shared.domain.people.events import Left
from shared.domain.record.parts import LeavingPath, PathState
from shared.domain.things.identity import parse_email
from shared.engine.news.requests import want_cluster
from shared.engine.reconcile.reconciler import reconcile
from shared.engine.sweeps.due import FEW
from shared.engine.views.certificate import NOT_COVERED, certificate_json, certificate_of

DENIED = {"code": "PERMISSION_DENIED"}
READERS = "data-readers@example.com"


@pytest.fixture(autouse=True)
def _no_waiting():
    with impatient():
        yield


@pytest.fixture
def ana():
    """Ana runs as her own account, in a group, with a Spark cluster and a serverless session."""
    life = Life(make_bench(settings=personal(data_group=READERS)), email=parse_email("ana.silva@example.com"))
    group = {
        "parent": "customers/C046psxkn",
        "groupKey": {"id": READERS},
        "labels": {"cloudidentity.googleapis.com/groups.discussion_forum": ""},
    }
    life.bench.control("POST", "/v1/groups", group)
    life.join(minutes=8)
    want_cluster(life.key, SMALL, life.bench.deps, by="a test")
    life.minutes(5)
    return life


def paths(life):
    leaving = life.record.status.leaving
    assert leaving is not None
    return {each.path: each for each in leaving.paths}


def test_a_leaver_gets_a_certificate_with_both_times_of_each_path(ana):
    assert certificate_of(ana.record) is None
    left_at = ana.bench.now
    ana.leave(minutes=1)
    half = certificate_of(ana.record)
    assert half is not None
    ana.minutes(4)
    found = certificate_of(ana.record)
    assert found is not None
    assert found.complete
    assert found.since == left_at
    assert [row.path for row in found.paths] == [path.value for path in LeavingPath]
    for path, cut in paths(ana).items():
        assert cut.is_verified, path
        assert left_at <= cut.cut_at <= cut.gone_at <= found.complete_at
        if cut.state is PathState.GONE and path is not LeavingPath.SESSIONS:
            assert cut.cut_at < cut.gone_at, f"{path} was asked for again"
    assert "Verified gone" in [line.text for line in ana.record.status.story]
    (took,) = [
        facts["event_to_gone_s"]
        for _, message, facts in ana.bench.log.lines
        if message == "Verified that a leaver has no access"
    ]
    assert took == (found.complete_at - left_at).total_seconds()
    assert certificate_json(found, ana.record)["not_covered"] == list(NOT_COVERED)
    writes = len(ana.bench.calls())
    reconcile(ana.key, ana.bench.deps)
    assert not [call for call in ana.bench.calls()[writes:] if call["mutates"]]


def test_who_comes_back_has_no_certificate_and_the_next_leave_begins_anew(ana):
    ana.leave(minutes=6)
    ana.join(minutes=6)
    assert ana.record.status.leaving is None
    ana.bench.advance(days=1)
    again = ana.bench.now
    ana.leave(minutes=6)
    leaving = ana.record.status.leaving
    assert leaving.since == again
    assert leaving.complete_at is not None


def test_a_stop_that_is_asked_for_again_is_cut_since_the_first_time(ana):
    ana.bench.fault(call="notebooks.StopInstance", operation_error={"code": "INTERNAL", "message": "try later"})
    ana.leave(minutes=1)
    first = paths(ana)[LeavingPath.VM].cut_at
    assert first is not None
    ana.minutes(30)
    stops = [call for call in ana.bench.calls() if call["method"] == "StopInstance"]
    assert len(stops) == 2
    assert paths(ana)[LeavingPath.VM].is_verified
    assert paths(ana)[LeavingPath.VM].cut_at == first


def test_an_account_that_is_disabled_long_after_the_stop_is_told_once_with_the_time_since_the_news(ana):
    ana.bench.fault(call="iam.serviceAccounts.disable", error=DENIED, times=0)
    ana.leave(minutes=8)
    assert ana.record.status.waiting_since is None, "the notebook has stopped"
    ana.bench.cloud.world.faults.clear()
    ana.bench.advance(hours=2)
    ana.minutes(8)
    (took,) = [
        f["event_to_revoked_s"]
        for _, message, f in ana.bench.log.lines
        if message == "Disabled a leaver's service account"
    ]
    assert took > 7200


PLANTED = {
    LeavingPath.VM: ("notebooks.StopInstance", "*"),
    LeavingPath.ACCOUNT: ("iam.serviceAccounts.disable", "*"),
    LeavingPath.BINDINGS: ("iam.serviceAccounts.setIamPolicy", "*"),
    LeavingPath.CLUSTERS: ("dataproc.DeleteCluster", "*"),
    LeavingPath.SESSIONS: ("dataproc.ListSessions", "*"),
    LeavingPath.TEMPLATES: ("storage.objects.delete", "*/templates/*"),
}


@pytest.mark.parametrize("path", PLANTED)
def test_what_is_not_cut_is_not_verified(ana, path):
    call, resource = PLANTED[path]
    ana.bench.fault(call=call, resource=resource, error=DENIED, times=0)
    ana.leave(minutes=8)
    found = certificate_of(ana.record)
    assert found is not None
    assert not found.complete
    row = next(row for row in found.paths if row.path == path.value)
    assert (row.result, row.verified_at) == ("not verified", None)
    assert row.says not in {"gone", "there was none"}
    ana.bench.cloud.world.faults.clear()
    ana.bench.advance(hours=2)
    ana.minutes(8)
    assert certificate_of(ana.record).complete


def test_a_session_through_the_proxy_of_a_notebook_that_runs_again_is_not_verified(ana):
    ana.leave(minutes=6)
    assert certificate_of(ana.record).complete
    ana.bench.cloud.notebooks.fleet.set_state(ana.only(), "ACTIVE", ana.bench.now)
    ana.bench.fault(call="notebooks.StopInstance", error=DENIED, times=0)
    reconcile(ana.key, ana.bench.deps)
    rows = {row.path: row.result for row in certificate_of(ana.record).paths}
    assert rows["proxy-session"] == rows["vm"] == "not verified"
    assert not certificate_of(ana.record).complete


def test_the_page_of_somebody_whose_cut_waits_is_not_shut():
    settings = personal()
    guard = replace(settings.guard, per_hour=1, most=1)
    bench = make_bench(settings=replace(settings, guard=guard))
    crowd = [Life(bench, email=parse_email(f"p{n}@example.com")) for n in range(12)]
    for each in crowd:
        each.join(minutes=1)
    for each in crowd:
        each.tell(Left)
    waiting = [each for each in crowd if each.record.status.guard.waiting_cut is not None]
    assert waiting
    for each in waiting:
        found = certificate_of(each.record)
        assert found is not None
        assert not found.complete
        assert {row.result for row in found.paths} == {"not verified"}
        assert "approval" in found.note


def test_who_leaves_before_the_notebook_was_ready_left_then_and_not_when_they_joined():
    life = Life(make_bench(settings=personal()), email=parse_email("ana.silva@example.com"))
    life.bench.cloud.iam.quota = 0
    life.join(minutes=30)
    left_at = life.bench.now
    life.leave(minutes=3)
    found = certificate_of(life.record)
    assert found.complete
    assert found.since == left_at
    (took,) = [
        facts["event_to_gone_s"]
        for _, message, facts in life.bench.log.lines
        if message == "Verified that a leaver has no access"
    ]
    assert took <= 60


@pytest.mark.parametrize(("people", "wakes"), [(FEW + 60, False), (40, True)])
def test_news_to_verified_gone_is_quick(people, wakes):
    """So many at once that sweeps share them, and some with wake-ups. bench/gone.py has a thousand of each."""
    took = gone_after_s(people, wakes=wakes)
    assert len(took) == people
    assert took[int(0.99 * people) - 1] <= (90 if wakes else 180)
    assert took[0] > 0


def iam_account(life):
    (found,) = [each for each in life.bench.cloud.iam._accounts.values() if each.email.startswith("nb-")]
    return found


def row_of(life, path):
    found = certificate_of(life.record)
    return next(row for row in found.paths if row.path == path.value), found


def test_keys_that_somebody_made_are_counted_and_dead(ana):
    iam_account(ana).user_keys = 2
    ana.leave(minutes=6)
    row, found = row_of(ana, LeavingPath.BINDINGS)
    assert found.complete
    assert row.says.startswith("gone: 2 keys that somebody made for the account cannot be used")
    assert certificate_json(found, ana.record)["keys"] == 2
    ana.bench.cloud.world.journal.clear()
    reconcile(ana.key, ana.bench.deps)
    assert "serviceAccounts.keys.list" not in [call["method"] for call in ana.bench.calls()], "asked once"


def test_a_key_on_an_account_that_somebody_enabled_again_is_not_verified(ana):
    iam_account(ana).user_keys = 1
    ana.leave(minutes=6)
    assert certificate_of(ana.record).complete
    iam_account(ana).disabled = False
    ana.bench.fault(call="iam.serviceAccounts.disable", error=DENIED, times=0)
    reconcile(ana.key, ana.bench.deps, thorough=True)
    row, found = row_of(ana, LeavingPath.BINDINGS)
    assert (row.result, found.complete) == ("not verified", False)
    ana.bench.cloud.world.faults.clear()
    ana.bench.advance(hours=2)
    ana.minutes(6)
    assert certificate_of(ana.record).complete


def test_keys_that_cannot_be_listed_prove_nothing(ana):
    ana.bench.fault(call="iam.serviceAccounts.keys.list", error=DENIED, times=0)
    ana.leave(minutes=8)
    row, found = row_of(ana, LeavingPath.BINDINGS)
    assert (row.result, row.says, found.complete) == ("not verified", "could not be checked (Keys)", False)
    assert iam_account(ana).disabled, "nothing is delayed"
    ana.bench.cloud.world.faults.clear()
    reconcile(ana.key, ana.bench.deps)  # as the daily look at accounts makes it
    assert certificate_of(ana.record).complete
