"""What becomes of a cluster that could not be made: the zone that Google names is next, and an end says what to do."""

from __future__ import annotations

import pytest
from kit.making import NOW, ZONES, person, policy
from msgspec.structs import replace

from shared.domain.spark.failures import after_error
from shared.domain.things.clusters import AUTO_ZONE, ClusterStatus, ClusterWish
from shared.domain.things.errors import InvalidSpecError, QuotaExhaustedError, Reason, StockoutError

B, C, D = ZONES


def wanting():
    record = person()
    return replace(record, spec=replace(record.spec, clusters=(ClusterWish(template="spark", since=NOW),)))


def known(**changes):
    return ClusterStatus(template="spark", name="spark-1", **{"zone": B, "asked_at": NOW, **changes})


def test_the_zones_that_google_names_come_first_and_foreign_ones_do_not_count():
    error = StockoutError(user_message="none", detail="x", zones=(D, "us-central1-a"))
    record, after = after_error(wanting(), known(), error, policy())
    assert record.spec.wish("spark") is not None
    assert (after.tried_zones, after.offered_zones) == ((AUTO_ZONE, B), (D, "us-central1-a"))
    assert policy().zones_by_offer(after.offered_zones) == (D, B, C)
    assert policy().zones_by_offer(()) == ZONES


def test_after_the_last_zone_the_request_ends_and_nothing_is_remembered_of_the_offer():
    error = StockoutError(user_message="none", detail="x", zones=(D,))
    record, after = after_error(wanting(), known(tried_zones=(AUTO_ZONE, C, D)), error, policy())
    assert record.spec.wish("spark") is None
    assert (after.tried_zones, after.offered_zones, after.reason) == ((), (), Reason.STOCKOUT)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (QuotaExhaustedError(user_message="q", detail="x", quota="'CPUS' (limit 8)"), "The platform's quota 'CPUS' (limit 8) is used up"),
        (QuotaExhaustedError(user_message="q", detail="x"), "The platform's quota is used up"),
        (InvalidSpecError(user_message="No such type.", detail="x"), "No such type. An administrator must correct the template 'spark'."),
        (InvalidSpecError(user_message="No such account.", detail="x", names_account=True), "No such account."),
    ],
)  # fmt: skip
def test_an_end_names_what_is_wrong(error, said):
    record, after = after_error(wanting(), known(), error, policy())
    assert record.spec.wish("spark") is None
    assert after.diagnosis.startswith(said)
    assert after.message == after.diagnosis
