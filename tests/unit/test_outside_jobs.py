"""Which running jobs elsewhere keep a user's instance: whose they are, and when they count."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from kit.making import ANA, person
from msgspec.structs import replace

from shared.domain.fleet.idle import Activity
from shared.domain.fleet.outside_jobs import JobOwner, OutsideJob, job_owner, jobs_of
from shared.domain.things.clusters import ClusterStatus
from shared.domain.things.identity import AccountId, UserEmail, user_key_for
from shared.engine.sweeps.idle_elsewhere import Elsewhere, with_jobs

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
STARTED = NOW - timedelta(days=4)
DAY = timedelta(hours=24)
OWNER = JobOwner(user_key=user_key_for(ANA), addresses=frozenset({"ana@example.com"}), clusters=frozenset({"c-ana"}))


def job(**fields) -> OutsideJob:
    begun = NOW - timedelta(hours=1)
    made = OutsideJob(name="q", created_at=begun, running_since=begun, addresses=frozenset({"ana@example.com"}))
    return replace(made, **fields)


def test_a_machine_whose_jobs_are_unknown_is_blind_since_then_and_one_whose_jobs_are_known_as_it_was():
    begin, earlier = NOW - timedelta(minutes=20), NOW - timedelta(hours=2)
    for blind_since, jobs, expected in (
        (None, None, begin),
        (earlier, None, earlier),
        (None, (), None),
        (earlier, ("q",), earlier),
    ):
        found = with_jobs(Activity(blind_since=blind_since), Elsewhere(jobs), None, begin)
        assert (found.outside_jobs, found.blind_since) == (jobs, expected)


def names(*jobs: OutsideJob, started_at: datetime | None = STARTED) -> tuple[str, ...]:
    return jobs_of(OWNER, jobs, started_at=started_at, max_busy=DAY, now=NOW)


NOBODY = {"addresses": frozenset()}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"addresses": frozenset({"other@example.com", "ana@example.com"})},
        {**NOBODY, "user_key": user_key_for(ANA)},
        {**NOBODY, "cluster": "c-ana"},
        {"created_at": STARTED, "running_since": NOW - timedelta(hours=23, minutes=59)},
        {"running_since": None},
        {"created_at": None, "running_since": None},
        {"created_at": NOW - timedelta(days=2), "running_since": NOW - timedelta(hours=2)},  # it waited for slots
    ],
)
def test_a_job_of_the_user_counts(fields):
    assert names(job(**fields)) == ("q",)


@pytest.mark.parametrize(
    "fields",
    [
        {"addresses": frozenset({"anna@example.com"})},
        {"addresses": frozenset({"ana@example.com.evil.example"})},
        {"addresses": frozenset({"ana@example.org"})},
        NOBODY,
        {**NOBODY, "user_key": user_key_for(UserEmail("ana@example.org"))},
        {**NOBODY, "cluster": "c-ana-2"},
        {"created_at": STARTED - timedelta(seconds=1)},
        {"running_since": NOW - DAY},
        {"running_since": NOW - timedelta(days=3), "created_at": NOW - timedelta(days=3)},
        {"running_since": None, "created_at": NOW - timedelta(days=3)},
    ],
)
def test_a_job_of_somebody_else_an_older_and_a_long_one_do_not(fields):
    assert names(job(**fields)) == ()


def test_without_a_known_start_no_job_is_older():
    old = job(created_at=STARTED - timedelta(days=1), running_since=NOW - timedelta(hours=1))
    assert names(old, started_at=None) == ("q",)


def test_the_owner_is_known_by_every_address_the_own_account_and_clusters_that_are_there():
    known = person().with_status(
        account_id=AccountId("nb-ana-0123456789ab"),
        clusters=(
            ClusterStatus(template="t", name="t-there", asked_at=NOW),
            ClusterStatus(template="u", name="u-gone"),
        ),
    )
    known = replace(known, former_emails=(UserEmail("ana.old@example.com"),))
    found = job_owner(known, "acme-analytics")
    account = "nb-ana-0123456789ab@acme-analytics.iam.gserviceaccount.com"
    assert found.addresses == {known.email, "ana.old@example.com", account}
    assert found.clusters == {"t-there"}
