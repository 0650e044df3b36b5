"""Jobs elsewhere, played into the embedded cloud and judged by the tick function: whose notebook they keep, and what a refusal does.

Everybody looks at JupyterLab for some minutes and then waits for a job. Nothing else happens on the machines.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from kit.activity import say
from kit.joining import ACK, join, state
from kit.life import settings_with

from shared.domain.plan.guard_settings import GuardSettings
from shared.domain.things.catalog import IdleSettings
from shared.domain.things.notebook import InstanceRef, NotebookState
from shared.domain.things.times import rfc3339
from shared.engine.sweeps.idle import examine

OWN, OTHER = "acme-analytics", "acme-sandbox"
TIMEOUT = timedelta(hours=3)  # of the profile
GUARD = GuardSettings(group_from=100, creations=1000)
TWO = settings_with({}, guard=GUARD, bigquery_projects=(OWN, OTHER))
NONE = settings_with({}, guard=GUARD)
SHORT = settings_with(
    {"analyst": {"idle": IdleSettings(max_busy=timedelta(hours=2)), "session_templates": ()}},
    guard=GUARD,
    bigquery_projects=(OWN,),
)


def plant(functions, **body: Any) -> None:
    functions.bench.control("POST", "/_emulator/jobs", body)


def arrive(functions, *people: str) -> dict[str, InstanceRef]:
    """Let people join, and look at JupyterLab for five minutes once their notebooks are ready."""
    for project in functions.bench.settings.bigquery_projects:
        plant(functions, projects=[project])
    refs = {name: join(functions, f"{name}@example.com")[1] for name in people}
    for _ in range(6):
        functions.bench.advance(minutes=1)
        assert functions.deliver("tick", {"sweep": "due"}) == ACK
    until = rfc3339(functions.bench.now + timedelta(minutes=5))
    for ref in refs.values():
        say(functions.bench, ref.instance_id, requests_per_minute=4, until=until)
    functions.bench.advance(minutes=1)
    return refs


def live(functions, **by: float) -> None:
    """Let time pass, with a tick every ten minutes."""
    end = functions.bench.now + timedelta(**by)
    while functions.bench.now < end:
        functions.bench.advance(minutes=10)
        for kind in ("idle", "due"):
            assert functions.deliver("tick", {"sweep": kind}) == ACK


def stopped(functions, refs: dict[str, InstanceRef]) -> set[str]:
    return {name for name, ref in refs.items() if state(functions, ref) is not NotebookState.ACTIVE}


def listings(functions) -> list[str]:
    calls = functions.bench.calls()
    return [call["resource"] for call in calls if call["method"] in {"jobs.list", "ListJobs", "ListSessions"}]


@pytest.mark.parametrize("functions", [TWO], indirect=True)
def test_a_query_keeps_its_owner_and_nobody_else(functions):
    begun_before = rfc3339(functions.bench.now - timedelta(minutes=1))
    people = ("ana", "ben", "cara", "dan", "eva", "fay", "gus", "hal")
    refs = arrive(functions, *people)
    plant(functions, project=OTHER, user="Ana@Example.COM")
    for user in ("benn@example.com", "ben@example.com.evil.example", "ben@example.org", "ben.x@example.com"):
        plant(functions, project=OWN, user=user)
    plant(functions, project="acme-unlisted", user="cara@example.com")
    plant(functions, project=OWN, user="dan@example.com", until=rfc3339(functions.bench.now + timedelta(minutes=30)))
    plant(functions, project=OWN, user="eva@example.com", job_id="scheduled_query_6a8ab00a-0000-2191")
    plant(functions, project=OWN, user="fay@example.com", labels={"data_source_id": "scheduled_query"})
    plant(functions, project=OWN, user="gus@example.com", **{"from": begun_before})
    plant(functions, project=OWN, user="hal@example.com", job_id="a", until=rfc3339(functions.bench.now + TIMEOUT / 2))
    live(functions, hours=3, minutes=20)
    assert stopped(functions, refs) == set(people) - {"ana"}
    warned = {line["user"] for line in functions.lines("Warned of an idle stop")}
    assert not any(key.startswith("ana-") for key in warned)
    live(functions, hours=20)
    assert "ana" not in stopped(functions, refs)
    assert examine(user_key(functions, "ana"), functions.bench.deps)["because"].startswith("OutsideJob: BigQuery job")


def user_key(functions, name: str) -> Any:
    return next(row.row.user_key for row in functions.bench.deps.records.listed() if row.row.user_key.startswith(name))


@pytest.mark.parametrize("functions", [TWO], indirect=True)
def test_the_timeout_begins_anew_when_the_job_was_last_seen(functions):
    refs = arrive(functions, "ana")
    ends = functions.bench.now + timedelta(hours=8)
    plant(functions, project=OWN, user="ana@example.com", until=rfc3339(ends))
    while not stopped(functions, refs):
        live(functions, minutes=10)
        assert functions.bench.now < ends + TIMEOUT + timedelta(minutes=20)
    assert functions.bench.now > ends + TIMEOUT - timedelta(hours=1, minutes=10)


@pytest.mark.parametrize("functions", [TWO], indirect=True)
def test_who_starts_a_job_after_the_warning_is_kept(functions):
    refs = arrive(functions, "ana")
    while not functions.lines("Warned of an idle stop"):
        live(functions, minutes=10)
    plant(functions, project=OWN, user="ana@example.com")
    live(functions, hours=2)
    assert stopped(functions, refs) == set()


@pytest.mark.parametrize("functions", [SHORT], indirect=True)
def test_a_job_that_runs_for_max_busy_counts_no_more(functions):
    refs = arrive(functions, "ana", "ben")
    plant(functions, project=OWN, user="ana@example.com")
    live(functions, hours=2)
    plant(functions, project=OWN, user="ben@example.com")
    live(functions, hours=1, minutes=20)
    assert stopped(functions, refs) == {"ana"}
    live(functions, hours=4)
    assert stopped(functions, refs) == {"ana", "ben"}


@pytest.mark.parametrize("functions", [TWO], indirect=True)
@pytest.mark.parametrize(
    ("code", "reason"), [("PERMISSION_DENIED", "AccessDenied"), ("UNAVAILABLE", "CloudUnavailable")]
)
def test_a_project_that_is_refused_leaves_everybody_unknown_within_the_bound_and_it_is_said(functions, code, reason):
    refs = arrive(functions, "ana", "ben")
    plant(functions, project=OWN, user="ana@example.com")
    error = {"code": code, "message": "Access Denied"}
    functions.bench.fault(call="bigquery.jobs.list", resource=f"projects/{OTHER}", error=error, times=0)
    live(functions, hours=4)
    assert stopped(functions, refs) == set()
    unread = f"BigQuery jobs of {OTHER}: {reason}"
    (swept, *_) = [line for line in functions.lines("Finished a sweep") if line.get("unread")]
    assert swept["unread"] == [unread]
    ana, ben = (examine(user_key(functions, name), functions.bench.deps) for name in ("ana", "ben"))
    assert ana["verdict"] == ben["verdict"] == "KEEP"
    assert ana["evidence"]["outside jobs"].startswith("BigQuery job acme-analytics:")
    assert ben["because"] == "NoFreshEvidence: not seen: outside jobs"
    assert ben["evidence"]["outside jobs"] == f"unknown (could not be read: {unread})"
    assert functions.bench.deps.fleet.about().fleet.blind
    live(functions, hours=18)  # 22 hours after the last use
    assert stopped(functions, refs) == set()
    assert functions.lines("Warned of an idle stop") == []
    live(functions, hours=3)
    assert stopped(functions, refs) == {"ben"}


@pytest.mark.parametrize("functions", [TWO], indirect=True)
def test_once_the_list_can_be_read_again_the_rule_goes_on(functions):
    refs = arrive(functions, "ana")
    error = {"code": "UNAVAILABLE", "message": "no"}
    functions.bench.fault(call="bigquery.jobs.list", error=error, times=0)
    live(functions, hours=5)
    assert stopped(functions, refs) == set()
    functions.bench.cloud.world.faults.clear()
    live(functions, minutes=50)
    assert stopped(functions, refs) == {"ana"}


@pytest.mark.parametrize("functions", [NONE], indirect=True)
def test_without_configured_projects_nothing_is_listed_and_nothing_is_unknown(functions):
    refs = arrive(functions, "ana")
    plant(functions, project=functions.bench.settings.project, user="ana@example.com")
    live(functions, hours=3, minutes=20)
    assert stopped(functions, refs) == {"ana"}
    assert not any(call["service"] == "bigquery" for call in functions.bench.calls())


@pytest.mark.parametrize("functions", [TWO], indirect=True)
def test_each_list_is_read_once_a_sweep_and_only_when_somebody_looks_idle(functions):
    arrive(functions, *(f"p{number}" for number in range(4)))
    functions.bench.cloud.world.journal.clear()
    live(functions, hours=2, minutes=10)
    assert listings(functions) == []
    sweeps = []
    for _ in range(3):
        functions.bench.cloud.world.journal.clear()
        live(functions, minutes=10)
        sweeps.append(sorted(listings(functions)))
    region = functions.bench.settings.region
    own = f"projects/{functions.bench.settings.project}/locations/{region}"
    assert {tuple(each) for each in sweeps if each} == {tuple(sorted((f"projects/{OWN}", f"projects/{OTHER}", own)))}


@pytest.mark.parametrize("functions", [SHORT], indirect=True)
def test_lists_of_dataproc_concern_only_who_may_have_something_there(functions):
    """Without clusters and without session templates a refusal of Dataproc's lists is no news."""
    refs = arrive(functions, "ana")
    live(functions, hours=3, minutes=20)
    assert stopped(functions, refs) == {"ana"}
    assert {each for each in listings(functions) if "/" in each} == {f"projects/{OWN}"}


@pytest.mark.parametrize("functions", [NONE], indirect=True)
def test_sessions_that_cannot_be_listed_leave_their_people_unknown(functions):
    refs = arrive(functions, "ana")
    error = {"code": "PERMISSION_DENIED", "message": "no"}
    functions.bench.fault(call="dataproc.ListSessions", error=error, times=0)
    live(functions, hours=5)
    assert stopped(functions, refs) == set()
    assert any(line.get("unread") == ["Spark sessions: AccessDenied"] for line in functions.lines("Finished a sweep"))


@pytest.mark.parametrize("functions", [NONE, TWO], indirect=True)
def test_a_blind_notebook_is_kept_at_its_bound_by_a_job_and_else_stopped(functions):
    functions.bench.control("POST", "/_emulator/monitoring", {"counter": "invisible"})
    refs = arrive(functions, "ana")
    live(functions, hours=20)
    plant(functions, project=OWN, user="ana@example.com")
    live(functions, hours=8)
    listed = bool(functions.bench.settings.bigquery_projects)
    assert stopped(functions, refs) == (set() if listed else {"ana"})
