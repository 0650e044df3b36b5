"""Serverless Spark sessions of a leaver are ended, those of others are not, and nobody else's pass pays for it."""

from __future__ import annotations

import pytest
from kit.inprocess import impatient, local_settings, make_bench
from kit.oracle import instances
from msgspec.structs import replace

from shared.domain.people.events import Joined, Left
from shared.domain.record.status import ConditionStatus, ConditionType
from shared.domain.things.catalog import Identity
from shared.domain.things.errors import Reason
from shared.domain.things.identity import account_email, account_id_for, parse_email, user_key_for
from shared.domain.things.notebook import LABEL_USER
from shared.engine.news.deliver import deliver
from shared.engine.reconcile.changing import want_hold
from shared.engine.reconcile.reconciler import preview
from shared.engine.sweeps.sweeps import sweep

ANA, BEN = parse_email("ana.silva@example.com"), parse_email("ben@example.com")
KEY = user_key_for(ANA)


@pytest.fixture
def bench():
    with impatient():
        made = make_bench()
        yield made
        assert made.cloud.world.faults.unfired() == []


def said(bench, kind, number, user=ANA):
    event = kind(event_id=f"e{number}", user=user, occurred_at=bench.now, effective_at=bench.now)
    return deliver(event, bench.deps)


def minutes(bench, count):
    for _ in range(count):
        bench.advance(minutes=1)
        sweep("due", bench.deps)


def parent(bench):
    return f"projects/{bench.settings.project}/locations/{bench.settings.region}"


def start(bench, ident, creator, **body):
    with bench.cloud.world.lock:
        bench.cloud.dataproc.interactive.create(
            parent(bench), ident, {"jupyterSession": {"kernel": "PYTHON"}, **body}, creator=creator
        )


def states(bench):
    with bench.cloud.world.lock:
        found = bench.cloud.dataproc.interactive.listing(parent(bench)).get("sessions", [])
    return {raw["name"].rpartition("/")[2]: raw["state"] for raw in found}


def condition(bench, kind=ConditionType.SESSIONS_ENDED):
    return bench.deps.records.load(KEY).record.status.condition(kind)


def listings(bench):
    return sum(call["method"] == "ListSessions" for call in bench.calls())


def joined(bench):
    said(bench, Joined, 1)
    minutes(bench, 5)


def test_all_of_a_leaver_are_ended_whoever_made_them_and_those_of_others_stay(bench):
    joined(bench)
    start(bench, "by-creator", "Ana.Silva@Example.com")
    start(bench, "by-user", "portal@example.com", user=ANA)
    start(bench, "by-label", "agent@example.com", labels={LABEL_USER: KEY})
    start(bench, "of-ben", BEN, user=BEN)
    start(bench, "of-one-alike", "ana.silva@example.com.evil.org")
    bench.advance(minutes=2)
    start(bench, "just-made", ANA)
    said(bench, Left, 2)
    assert condition(bench).reason is Reason.STOPPING
    minutes(bench, 3)
    mine = ("by-creator", "by-user", "by-label", "just-made")
    assert [states(bench)[ident] for ident in mine] == ["TERMINATED"] * 4
    assert {ident: state for ident, state in states(bench).items() if ident not in mine} == {
        "of-ben": "ACTIVE", "of-one-alike": "ACTIVE",
    }  # fmt: skip
    assert condition(bench).status is ConditionStatus.TRUE


def test_a_pass_of_somebody_present_lists_none_and_a_leavers_only_until_none_is_left(bench):
    joined(bench)
    minutes(bench, 3)
    assert listings(bench) == 0
    start(bench, "ana-1", ANA)
    bench.cloud.world.journal.clear()
    said(bench, Left, 2)
    minutes(bench, 4)
    assert 2 <= listings(bench) <= 4
    bench.cloud.world.journal.clear()
    bench.advance(days=10)
    minutes(bench, 5)
    sweep("drift", bench.deps)
    assert listings(bench) == 0


def test_a_session_that_a_kernel_starts_while_the_notebook_stops_is_ended_too(bench):
    joined(bench)
    said(bench, Left, 2)
    assert condition(bench).status is ConditionStatus.FALSE  # none is there, but the notebook is not down yet
    start(bench, "ana-late", ANA)
    minutes(bench, 4)
    assert states(bench) == {"ana-late": "TERMINATED"}
    assert condition(bench).status is ConditionStatus.TRUE


@pytest.mark.parametrize("code", ["PERMISSION_DENIED", "UNAVAILABLE"])
@pytest.mark.parametrize("call", ["dataproc.ListSessions", "dataproc.TerminateSession"])
def test_trouble_with_sessions_holds_up_no_stop(bench, call, code):
    joined(bench)
    start(bench, "ana-1", ANA)
    bench.fault(call=call, error={"code": code, "message": "no"}, times=0)
    said(bench, Left, 2)
    minutes(bench, 3)
    assert [i.state for i in instances(bench.cloud).values()] == ["STOPPED"]
    assert condition(bench).status is not ConditionStatus.TRUE
    bench.cloud.world.faults.clear()
    bench.advance(hours=2)
    minutes(bench, 2)
    assert states(bench) == {"ana-1": "TERMINATED"}


def test_one_that_ends_in_between_is_no_error_and_one_that_is_gone_neither(bench):
    joined(bench)
    for ident in ("ana-1", "ana-2"):
        start(bench, ident, ANA)
    with bench.cloud.world.lock:
        bench.cloud.dataproc.interactive.terminate(f"{parent(bench)}/sessions/ana-1")
    bench.deps.live_sessions.end("ana-1")
    bench.deps.live_sessions.end("nobody")
    bench.deps.live_sessions.end("ana-2")
    assert set(states(bench).values()) == {"TERMINATING"}


def test_a_hold_keeps_data_and_no_session(bench):
    joined(bench)
    start(bench, "ana-1", ANA)
    want_hold(KEY, "case 17", bench.deps)
    said(bench, Left, 2)
    minutes(bench, 2)
    assert states(bench) == {"ana-1": "TERMINATED"}


def test_who_returns_keeps_theirs_and_the_plan_says_what_would_be_ended(bench):
    joined(bench)
    said(bench, Left, 2)
    minutes(bench, 4)
    bench.advance(minutes=1)
    said(bench, Joined, 3)
    minutes(bench, 5)
    assert condition(bench) is None
    start(bench, "ana-1", ANA)
    bench.advance(minutes=1)
    bench.fault(call="dataproc.TerminateSession", error={"code": "UNAVAILABLE", "message": "down"})
    said(bench, Left, 4)
    assert "end Spark session ana-1" in [action.describe() for action in preview(KEY, bench.deps).plan.actions]


def test_those_that_run_as_the_persons_own_account_are_theirs():
    with impatient():
        settings = local_settings()
        own = replace(settings.catalog.profiles["analyst"], identity=Identity.PERSONAL_SERVICE_ACCOUNT)
        catalog = replace(settings.catalog, profiles={**settings.catalog.profiles, "analyst": own})
        bench = make_bench(settings=replace(settings, catalog=catalog))
        said(bench, Joined, 1)
        minutes(bench, 8)
        start(bench, "ana-1", account_email(account_id_for(KEY), settings.project))
        said(bench, Left, 2)
        minutes(bench, 2)
        assert states(bench) == {"ana-1": "TERMINATED"}
