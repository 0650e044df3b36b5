"""What people cost by BigQuery's `jobs.query`: the real view over a small export, behind the shape of the REST API."""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager

import pytest
from kit.bills import PROJECT, VIEW, BigQuery, Bill, serving
from kit.inprocess import ListLog

from shared.cloud.costs import BigQueryCosts
from shared.cloud.http.clients import Clients, CloudConfig
from shared.domain.things.errors import (
    AccessDeniedError,
    CloudUnavailableError,
    InvalidSpecError,
    PermanentError,
    RateLimitedError,
    Reason,
)
from shared.domain.things.identity import parse_email, user_key_for
from shared.domain.things.notebook import LABEL_MANAGED_BY, LABEL_PROFILE, LABEL_USER, MANAGED_BY

KEYS = [user_key_for(parse_email(f"person{number}@example.com")) for number in range(7)]


def bill(number: int, cost: float, profile: str = "analyst", **more) -> Bill:
    labels = {LABEL_MANAGED_BY: MANAGED_BY, LABEL_USER: KEYS[number], LABEL_PROFILE: profile}
    return Bill(cost=cost, labels=labels, **more)


BILLS = [
    bill(0, 10.0, credits=(-1.0, -2.5)),
    bill(0, 4.25, service="Notebooks"),
    bill(0, 7.0, "engineer"),
    bill(0, 3.0, month="202610"),
    bill(1, 0.1),
    bill(1, 0.2),
    bill(2, 5.0, currency="USD"),
    bill(3, 5.0, currency="USD"),
    bill(3, 2.0),
    bill(4, 1.0, credits=(-1.0,)),
    bill(5, 40.0, project="another-project"),
    Bill(cost=99.0, labels={LABEL_MANAGED_BY: MANAGED_BY, LABEL_PROFILE: "analyst"}),
]


def oracle(month: str, currency: str) -> dict[str, float]:
    """Added up by hand from the export's rows."""
    found: dict[str, float] = defaultdict(float)
    for each in BILLS:
        if (each.month, each.currency, each.project) == (month, currency, PROJECT) and LABEL_USER in each.labels:
            found[each.labels[LABEL_USER]] += each.net
    return {key: round(net, 6) for key, net in found.items()}


@pytest.fixture
def log():
    return ListLog()


@contextmanager
def costs_from(service: BigQuery, log: ListLog, currency: str = "EUR"):
    with serving(service) as address:
        clients = Clients(CloudConfig(project=PROJECT, bucket="b", api_endpoint=address))
        try:
            yield BigQueryCosts(clients, project=PROJECT, view=VIEW, currency=currency, log=log)
        finally:
            clients.close()


def test_everybodys_month_is_one_query_net_of_credits(log):
    service = BigQuery(BILLS)
    with costs_from(service, log) as costs:
        found = costs.month("2026-11")
    assert found == oracle("202611", "EUR")
    assert found == {KEYS[0]: 17.75, KEYS[1]: 0.3, KEYS[3]: 2.0, KEYS[4]: 0.0}
    assert (len(service.asked), service.looks) == (1, 0)


def test_another_month_is_another_sum(log):
    with costs_from(BigQuery(BILLS), log) as costs:
        assert costs.month("2026-10") == oracle("202610", "EUR") == {KEYS[0]: 3.0}
        assert costs.month("2026-09") == {}
    assert log.lines == []


def test_currencies_are_not_mixed_and_what_is_left_out_is_in_the_log(log):
    with costs_from(BigQuery(BILLS), log) as costs:
        costs.month("2026-11")
    (line,) = log.lines
    assert line == (
        "WARNING",
        "Left out costs in other currencies",
        {"month": "2026-11", "shown": "EUR", "totals": {"USD": 10.0}},
    )
    with costs_from(BigQuery(BILLS), log, "USD") as costs:
        assert costs.month("2026-11") == oracle("202611", "USD") == {KEYS[2]: 5.0, KEYS[3]: 5.0}


def test_all_pages_are_read_where_the_job_runs(log):
    service = BigQuery(BILLS, page_size=2)
    with costs_from(service, log) as costs:
        assert costs.month("2026-11") == oracle("202611", "EUR")
    assert (len(service.asked), service.looks) == (1, 2)


@pytest.mark.parametrize("waits", [1, 3, 4])
def test_a_query_that_takes_its_time_is_waited_for(log, waits):
    service = BigQuery(BILLS, waits=waits, page_size=4)
    with costs_from(service, log) as costs:
        assert costs.month("2026-11") == oracle("202611", "EUR")
    assert len(service.asked) == 1
    assert service.looks == waits + 1


def test_a_query_that_takes_too_long_is_left_to_the_next_sweep(log):
    service = BigQuery(BILLS, waits=1000)
    with costs_from(service, log) as costs, pytest.raises(CloudUnavailableError, match="still runs"):
        costs.month("2026-11")
    assert service.looks == 4


def test_the_month_is_a_parameter_and_the_bytes_are_bounded(log):
    service = BigQuery(BILLS)
    with costs_from(service, log) as costs:
        assert costs.month("2026-11' OR 'a' = 'a") == {}
    (asked,) = service.asked
    assert "OR 'a'" not in asked["query"]
    assert 10 * 1024**3 <= int(asked["maximumBytesBilled"]) <= 100 * 1024**3
    assert asked["timeoutMs"] < 60_000  # less than a call may take


@pytest.mark.parametrize(
    ("refusal", "raised", "reason", "says"),
    [
        (
            (403, {"message": "Access Denied: User does not have permission to query table", "errors": [{"reason": "accessDenied"}]}),
            AccessDeniedError, Reason.ACCESS_DENIED, "permission",
        ),
        ((403, {"message": "Exceeded rate limits", "errors": [{"reason": "rateLimitExceeded"}]}), RateLimitedError, Reason.RATE_LIMITED, ""),
        ((400, {"message": "Unrecognized name: net_cost", "errors": [{"reason": "invalidQuery"}]}), InvalidSpecError, Reason.INVALID_SPEC, "in the log"),
        ((503, {"message": "Backend error"}), CloudUnavailableError, Reason.CLOUD_UNAVAILABLE, ""),
        ((404, {"message": f"Not found: Table {VIEW}"}), PermanentError, Reason.INVALID_SPEC, "deploy.sh gcp"),
        (
            (500, {"message": "Query exceeded limit for bytes billed: 53687091200. 64424509440 or higher required."}),
            PermanentError, Reason.REFUSED, "larger than what Benchkeeper reads",
        ),
    ],
)  # fmt: skip
def test_a_refusal_is_an_error_that_says_what_to_do(log, refusal, raised, reason, says):
    service = BigQuery(BILLS, refusal=refusal)
    with costs_from(service, log) as costs:
        with pytest.raises(raised) as caught:
            costs.month("2026-11")
        assert caught.value.reason is reason
        assert says in caught.value.user_message
        assert service.refusal is None
        assert costs.month("2026-11") == oracle("202611", "EUR")


def test_a_refusal_in_the_middle_is_no_half_sum(log):
    service = BigQuery(BILLS, page_size=2)
    with costs_from(service, log) as costs:
        page = service.results
        service.results = lambda job, query: page(job, {**query, "location": "US"})
        with pytest.raises(PermanentError, match="404"):
            costs.month("2026-11")
    assert service.looks == 0


def test_without_a_billing_export_nothing_is_asked(bench):
    assert bench.settings.cost_view is None
    assert bench.deps.costs.month("2026-11") is None
    assert bench.calls() == []
