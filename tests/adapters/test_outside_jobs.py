"""The lists of running jobs over HTTP: whole, or an error; whose each job is; what is no work of a person."""

from __future__ import annotations

from datetime import timedelta

import pytest
from kit.inprocess import make_bench
from kit.life import settings_with
from msgspec.structs import replace

from shared.cloud.http.clients import Clients
from shared.domain.people.domains import People
from shared.domain.things.errors import AccessDeniedError, BenchkeeperError, CloudUnavailableError
from shared.domain.things.times import rfc3339

OWN, OTHER = "benchkeeper-local", "acme-sandbox"
REGION = "projects/benchkeeper-local/regions/europe-west1"
PARENT = "projects/benchkeeper-local/locations/europe-west1"


@pytest.fixture
def bench():
    made = make_bench(settings=settings_with(bigquery_projects=(OWN, OTHER)))
    plant(made, projects=[OTHER])
    yield made
    assert made.cloud.world.faults.unfired() == []


def plant(bench, **body) -> None:
    bench.control("POST", "/_emulator/jobs", body)


def names(jobs) -> list[str]:
    return [job.name.rpartition(" ")[2] for job in jobs]


def test_a_running_query_has_its_owner_and_its_times(bench):
    plant(bench, project=OTHER, user="Ana.Silva@Example.com", job_id="a", pending_seconds=60)
    began = bench.now
    bench.advance(minutes=5)
    (job,) = bench.deps.outside_jobs.queries(OTHER)
    assert job.name == "BigQuery job acme-sandbox:a"
    assert job.addresses == {"ana.silva@example.com"}
    assert (job.created_at, job.running_since) == (began, began + timedelta(minutes=1))
    assert bench.deps.outside_jobs.queries(OWN) == ()


def test_an_address_of_an_alias_domain_is_that_of_the_main_domain():
    people = People(domains=("example.com",), alias_domains={"example.net": "example.com"})
    settings = settings_with(bigquery_projects=(OWN,))
    bench = make_bench(settings=replace(settings, people=people))
    plant(bench, project=OWN, user="ana@example.net", job_id="a")
    (job,) = bench.deps.outside_jobs.queries(OWN)
    assert job.addresses == {"ana@example.com"}


def test_what_waits_is_over_or_is_scheduled_is_not_listed(bench):
    plant(bench, project=OWN, user="ana@example.com", job_id="waits", pending_seconds=3600)
    plant(bench, project=OWN, user="ana@example.com", job_id="over", until=rfc3339(bench.now + timedelta(minutes=1)))
    plant(bench, project=OWN, user="ana@example.com", job_id="scheduled_query_6a8ab00a-0000-2191")
    plant(bench, project=OWN, user="ana@example.com", job_id="t", labels={"data_source_id": "scheduled_query"})
    plant(bench, project=OWN, user="ana@example.com", job_id="runs", labels={"team": "scheduled_query_1"})
    bench.advance(minutes=5)
    assert names(bench.deps.outside_jobs.queries(OWN)) == ["benchkeeper-local:runs"]


def test_all_pages_of_each_list_are_read(bench, monkeypatch):
    monkeypatch.setattr("shared.cloud.outside_jobs._PAGE", 2)
    bench.control("POST", f"/v1/{REGION}/clusters", {"clusterName": "c-1"})
    bench.advance(minutes=2)
    for number in range(5):
        plant(bench, project=OWN, user=f"p{number}@example.com", job_id=f"q{number}")
        plant(bench, cluster="c-1", job_id=f"j{number}")
        session(bench, f"s-00{number}")
    source = bench.deps.outside_jobs
    for jobs in (source.queries(OWN), source.cluster_jobs(), source.sessions()):
        assert len({job.name for job in jobs}) == 5
    assert sum(each["method"] == "jobs.list" for each in bench.calls()) == 3


def session(bench, name: str, *, creator: str = "ana@example.com", **body) -> None:
    with bench.cloud.world.lock:
        made = {"jupyterSession": {"kernel": "PYTHON"}, **body}
        bench.cloud.dataproc.interactive.create(PARENT, name, made, creator=creator)


def test_jobs_of_a_cluster_have_its_name_and_their_times(bench):
    bench.control("POST", f"/v1/{REGION}/clusters", {"clusterName": "c-1"})
    bench.advance(minutes=2)
    plant(bench, cluster="c-1", job_id="j")
    plant(bench, cluster="c-1", job_id="over", until=rfc3339(bench.now + timedelta(minutes=1)))
    began = bench.now
    bench.advance(minutes=5)
    (job,) = bench.deps.outside_jobs.cluster_jobs()
    assert (job.name, job.cluster, job.addresses) == ("Spark job j", "c-1", frozenset())
    assert (job.created_at, job.running_since) == (began, began + timedelta(seconds=5))


def test_a_session_belongs_to_its_creator_its_user_and_its_label(bench):
    began = bench.now
    session(bench, "s-ana", user="Ben@example.com", labels={"benchkeeper-user": "ana-0123456789ab"})
    session(bench, "s-bot", creator="principal://iam.googleapis.com/locations/global/workforcePools/p/subject/x")
    session(bench, "s-over")
    bench.control("POST", f"/v1/{PARENT}/sessions/s-over:terminate", {})
    ana, bot = bench.deps.outside_jobs.sessions()
    assert (ana.name, ana.created_at) == ("Spark session s-ana", began)
    assert ana.addresses == {"ana@example.com", "ben@example.com"}
    assert (ana.user_key, bot.addresses) == ("ana-0123456789ab", frozenset())


@pytest.mark.parametrize(
    ("code", "kind"), [("PERMISSION_DENIED", AccessDeniedError), ("UNAVAILABLE", CloudUnavailableError)]
)
def test_a_list_that_is_refused_on_any_page_is_an_error(bench, monkeypatch, code, kind):
    monkeypatch.setattr("shared.cloud.outside_jobs._PAGE", 1)
    for number in range(2):
        plant(bench, project=OWN, user="ana@example.com", job_id=f"q{number}")
    bench.fault(call="bigquery.jobs.list", skip=1, error={"code": code, "message": "no"})
    with pytest.raises(kind):
        bench.deps.outside_jobs.queries(OWN)
    assert bench.deps.outside_jobs.queries(OTHER) == ()
    for call, read in (
        ("dataproc.ListJobs", bench.deps.outside_jobs.cluster_jobs),
        ("dataproc.ListSessions", bench.deps.outside_jobs.sessions),
    ):
        bench.fault(call=call, error={"code": code, "message": "no"})
        with pytest.raises(kind):
            read()


def test_a_project_that_nobody_knows_is_an_error(bench):
    with pytest.raises(BenchkeeperError):
        bench.deps.outside_jobs.queries("not-known")


RUNNING = {"jobReference": {"jobId": "x"}, "state": "RUNNING", "statistics": {"creationTime": "1"}}


@pytest.mark.parametrize(
    ("page", "kind"),
    [
        ({"jobs": [RUNNING]}, AccessDeniedError),  # redacted: the caller lacks bigquery.jobs.listAll
        ({"unreachable": ["europe-west5"], "jobs": []}, CloudUnavailableError),
    ],
)
def test_a_list_that_is_not_whole_is_an_error(bench, monkeypatch, page, kind):
    answering(bench, monkeypatch, page)
    with pytest.raises(kind):
        bench.deps.outside_jobs.queries(OWN)


def test_a_job_of_a_workforce_identity_is_nobodys_and_hides_nothing(bench, monkeypatch):
    page = {"jobs": [{**RUNNING, "principal_subject": "principal://iam/p/subject/x"}, {**RUNNING, "state": "DONE"}]}
    answering(bench, monkeypatch, page)
    (job,) = bench.deps.outside_jobs.queries(OWN)
    assert (job.addresses, job.running_since) == (frozenset(), None)


def answering(bench, monkeypatch, page) -> None:
    """Answer each listing with this page, as BigQuery may and the embedded cloud never does."""
    session = Clients.json(bench.clients, "bigquery")
    monkeypatch.setattr(session, "call", lambda *_args, **_more: page)
