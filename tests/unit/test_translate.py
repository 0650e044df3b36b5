"""Google's errors become ours: by status, by text where one status means several things, and without addresses."""

from __future__ import annotations

from datetime import timedelta

import google.api_core.exceptions as google_errors
import google.auth.exceptions
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from shared.cloud.http.translate import from_operation, from_status, scrub, translated
from shared.domain.things.errors import (
    AccessDeniedError,
    BenchkeeperError,
    BusyError,
    CloudUnavailableError,
    ConflictError,
    InvalidSpecError,
    OperationFailedError,
    PermanentError,
    QuotaExhaustedError,
    RateLimitedError,
    RetryableError,
    StockoutError,
    UnknownAnswerError,
    UnknownRefusalError,
)

STOCKOUT = (
    "The zone 'projects/p/zones/europe-west1-b' does not have enough resources available to fulfill the request. "
    "Try a different zone, or try again later."
)
QUOTA = "Quota 'CPUS' exceeded.  Limit: 24.0 in region europe-west1."
RATE = (
    "Quota exceeded for quota metric 'Requests' and limit 'Requests per minute' of service "
    "'notebooks.googleapis.com' for consumer 'project_number:1'."
)


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, "Invalid value", InvalidSpecError),
        (400, STOCKOUT, StockoutError),
        (400, "Machine type with name 'a3-megagpu-8g' does not exist in zone 'europe-west1-b'.", InvalidSpecError),
        (400, "Insufficient 'NVIDIA_T4_GPUS' quota.", QuotaExhaustedError),
        (401, "Request had invalid authentication credentials", AccessDeniedError),
        (403, "Permission 'notebooks.instances.create' denied", AccessDeniedError),
        (403, QUOTA, QuotaExhaustedError),
        (404, "not found", InvalidSpecError),
        (404, "Quota 'x' exceeded", InvalidSpecError),  # a name that merely reads like one
        (409, "Resource already exists", ConflictError),
        (409, "unable to queue the operation", BusyError),
        (412, "At least one of the pre-conditions you specified did not hold.", ConflictError),
        (429, "Too many requests", RateLimitedError),
        (429, QUOTA, QuotaExhaustedError),
        (429, RATE, RateLimitedError),
        (429, "The object b/o exceeded the rate limit for object mutation operations.", RateLimitedError),
        (429, "The project is over its quota. [{'reason': 'rateLimitExceeded'}] quota exceeded", RateLimitedError),
        (500, "internal", CloudUnavailableError),
        (502, "bad gateway", CloudUnavailableError),
        (503, "unavailable", CloudUnavailableError),
        (503, "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", StockoutError),
        (504, "deadline", CloudUnavailableError),
        (418, "teapot", UnknownRefusalError),
    ],
)
def test_a_status_and_its_text_are_one_class(status, message, kind):
    error = from_status(status, message, "create x")
    assert type(error) is kind
    assert error.detail.startswith(f"create x: {status} ")
    assert error.user_message


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ({"code": 8, "message": STOCKOUT}, StockoutError),
        ({"code": 14, "message": "ZONE_RESOURCE_POOL_EXHAUSTED"}, StockoutError),
        ({"code": 13, "message": "failed", "details": [{"reason": "resource pool exhausted"}]}, StockoutError),
        ({"code": 8, "message": QUOTA}, QuotaExhaustedError),
        ({"code": 9, "message": "QUOTA_EXCEEDED"}, QuotaExhaustedError),
        ({"code": 8, "message": "something is used up"}, UnknownAnswerError),
        ({"code": 7, "message": "denied"}, AccessDeniedError),
        ({"code": 16, "message": "who?"}, AccessDeniedError),
        ({"code": 3, "message": "no such image"}, InvalidSpecError),
        ({"code": 9, "message": "not now"}, UnknownRefusalError),
        ({"code": 13, "message": "internal"}, OperationFailedError),
        ({"code": 4, "message": "deadline"}, OperationFailedError),
        ({"code": 0, "message": "?"}, UnknownAnswerError),
        ({}, UnknownAnswerError),
    ],
)
def test_an_operations_error_is_one_class(raw, kind):
    assert type(from_operation(raw, "create instance")) is kind


SERVICE_ACCOUNTS = "Maximum number of service accounts on project reached. [{'retryDelay': '86401s'}]"


@pytest.mark.parametrize(
    ("status", "reason", "message", "kind"),
    [
        (400, "resourceNotReady", "The resource 's' is not ready", BusyError),
        (400, "resourceInUseByAnotherResource", "The resource 's' is already being used by 'd'", BusyError),
        (400, "invalid", "Invalid value for field 'resource.name'", InvalidSpecError),
        (403, "rateLimitExceeded", "Rate Limit Exceeded", RateLimitedError),
        (403, "userRateLimitExceeded", "User Rate Limit Exceeded", RateLimitedError),
        (403, "quotaExceeded", "Quota 'SNAPSHOTS' exceeded.  Limit: 1000.0 globally.", QuotaExhaustedError),
        (403, "quotaExceeded", "no more of these", QuotaExhaustedError),
        (403, "quotaExceeded", "Quota exceeded for limit 'Read requests per 100 seconds'", RateLimitedError),
        (403, "forbidden", "Required 'compute.snapshots.get' permission for 's'", AccessDeniedError),
        (412, "conditionNotMet", "Labels fingerprint either invalid or changed", ConflictError),
        (429, "rateLimitExceeded", SERVICE_ACCOUNTS, QuotaExhaustedError),
        (429, "rateLimitExceeded", "slow down", RateLimitedError),
        (409, "alreadyExists", "The resource 's' already exists", ConflictError),
    ],
)
def test_a_reason_tells_apart_what_the_text_does_not(status, reason, message, kind):
    assert type(from_status(status, message, "x", reason=reason)) is kind


def test_what_google_says_about_a_wrong_request_reaches_the_log_alone():
    for error in (from_operation({"code": 3, "message": "no such image"}, "x"), from_status(400, "no such image", "x")):
        assert "no such image" in error.detail
        assert "no such image" not in error.user_message


def test_waits_fit_the_class():
    assert from_status(429, RATE, "x").retry_after == timedelta(minutes=1)
    assert from_status(429, QUOTA, "x").retry_after == timedelta(minutes=30)
    assert from_status(503, "x", "x").retry_after == timedelta(seconds=30)


RAISED = [
    (google_errors.ServiceUnavailable("down"), CloudUnavailableError),
    (google_errors.Forbidden("no"), AccessDeniedError),
    (google_errors.Conflict("unable to queue the operation"), BusyError),
    (google_errors.TooManyRequests(RATE), RateLimitedError),
    (google_errors.BadRequest("bad"), InvalidSpecError),
    (google_errors.RetryError("deadline of 60.0s exceeded", cause=None), CloudUnavailableError),
    (google.auth.exceptions.DefaultCredentialsError("no credentials"), AccessDeniedError),
    (requests.ConnectionError("refused"), CloudUnavailableError),
    (requests.Timeout("slow"), CloudUnavailableError),
    (ConnectionResetError("reset"), CloudUnavailableError),
    (TimeoutError("slow"), CloudUnavailableError),
]


@pytest.mark.parametrize(("raised", "kind"), RAISED, ids=lambda v: type(v).__name__ if isinstance(v, Exception) else "")
def test_what_clients_raise_comes_out_as_ours_with_its_cause(raised, kind):
    with pytest.raises(kind) as caught, translated("read x"):
        raise raised
    assert caught.value.__cause__ is raised
    assert caught.value.detail.startswith("read x")


def test_a_mistake_of_our_own_is_not_blamed_on_the_cloud():
    with pytest.raises(KeyError), translated("read x"):
        raise KeyError("ours")


@given(st.integers(400, 599), st.text(max_size=80))
def test_every_error_of_the_cloud_is_retryable_or_permanent_and_has_its_texts(status, message):
    error = from_status(status, message, "x")
    assert isinstance(error, RetryableError) != isinstance(error, PermanentError)
    assert isinstance(error, BenchkeeperError)
    assert error.user_message
    assert len(error.detail) < 600


@pytest.mark.parametrize(
    "text",
    [
        "user ana.silva@example.com has no access",
        "user:ana.silva@example.com",
        "<ana.silva@example.com>",
        "'ana.silva@example.com'",
        'name="ana.silva@example.com",',
    ],
)
def test_no_address_is_left_in_a_detail(text):
    assert "ana" not in scrub(text)
    assert "<address>" in scrub(text)
    assert "ana" not in from_status(403, text, "x").detail
    assert "ana" not in from_operation({"code": 7, "message": text}, "x").detail


def test_a_text_without_addresses_stays():
    assert scrub("projects/p/zones/b @ 7") == "projects/p/zones/b @ 7"
    assert len(scrub("x" * 10_000)) == 500
