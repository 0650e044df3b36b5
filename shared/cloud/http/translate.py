"""The translation of Google's errors into ours.

By HTTP status first, and by text if one status has several meanings (409, 429, 403). The wording of stockouts and quotas is
Compute Engine's. How the Workbench operation wraps these errors is not documented, so both text and code are read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from shared.cloud.http.connections import Answer, NoAnswerError
from shared.domain.things.errors import (
    AccessDeniedError,
    BenchkeeperError,
    BusyError,
    CloudUnavailableError,
    ConflictError,
    InvalidSpecError,
    OperationFailedError,
    QuotaExhaustedError,
    RateLimitedError,
    StockoutError,
)
from shared.domain.things.identity import without_addresses

_STOCKOUT = re.compile(
    r"ZONE_RESOURCE_POOL_EXHAUSTED|does not have enough resources available|resource pool exhausted|STOCKOUT"
    r"|does not exist in zone",
    re.IGNORECASE,
)
_QUOTA = re.compile(
    r"QUOTA_EXCEEDED|Quota '[^']*' exceeded|Insufficient '[^']*' quota|quota exceeded|Maximum number of service accounts",
    re.IGNORECASE,
)
# A rate limit says "quota exceeded", too (google.rpc.ErrorInfo reason RATE_LIMIT_EXCEEDED); it is over in a minute.
_RATE = re.compile(r"RATE_LIMIT_EXCEEDED|rateLimitExceeded|\bper (minute|second|\d+ seconds)\b", re.IGNORECASE)
_BUSY = re.compile(r"unable to queue the operation", re.IGNORECASE)
# `errors[].reason` of Compute Engine, which uses 403 for rate limits and 400 for busy resources. The text is read first: other
# APIs give `rateLimitExceeded` for every 429, that of a quota on resources, too.
_RATE_REASONS = frozenset({"rateLimitExceeded", "userRateLimitExceeded"})
_BUSY_REASONS = frozenset({"resourceNotReady", "resourceInUseByAnotherResource"})
_MAX_DETAIL = 500


def scrub(text: str) -> str:
    """Return the text without addresses, cut to 500 characters, because details are logged."""
    return without_addresses(text)[:_MAX_DETAIL]


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Translate errors of Google calls in the block into ours. `what` names the call in the detail."""
    try:
        yield
    except Exception as error:
        ours = _ours(error, what)
        if ours is None:
            raise
        raise ours from error


def _ours(error: Exception, what: str) -> BenchkeeperError | None:
    """Return our error for one of the transport's or of Google's clients; None for any other.

    Google's errors are recognised by the module of their class, so that their package is imported only if one occurs.
    """
    if isinstance(error, NoAnswerError | ConnectionError | TimeoutError):
        return _unavailable(f"{what}: {type(error).__name__}: {scrub(str(error))}")
    whose = {each.__module__.partition(".")[0] for each in type(error).__mro__}
    if "requests" in whose:
        return _unavailable(f"{what}: {type(error).__name__}: {scrub(str(error))}")
    if "google" not in whose:
        return None
    import google.api_core.exceptions as google_errors
    from google.auth.exceptions import GoogleAuthError

    if isinstance(error, google_errors.GoogleAPICallError):
        return from_status(int(error.code or 500), str(error.message), what)
    if isinstance(error, google_errors.RetryError):
        return _unavailable(f"{what}: {scrub(str(error))}")
    if isinstance(error, GoogleAuthError):
        return AccessDeniedError(
            user_message="Benchkeeper could not log in to Google Cloud. Run: gcloud auth application-default login",
            detail=f"{what}: {scrub(str(error))}",
        )
    return None


def from_status(status: int, message: str, what: str, *, reason: str = "") -> BenchkeeperError:
    """Return our error for an HTTP status, Google's message, and its `errors[].reason` if the API gives one."""
    detail = f"{what}: {status} {scrub(message)}"
    if status in {403, 429} and _RATE.search(message):
        return _slow_down(detail)
    by_text = _from_text(message, detail)
    if by_text is not None and status != 404:  # noqa: PLR2004 - Not Found
        return by_text
    match status:
        case 400 if reason in _BUSY_REASONS:
            return BusyError(user_message="It is busy with another change; it is tried again.", detail=detail)
        case 403 if reason in _RATE_REASONS:
            return _slow_down(detail)
        case 403 if reason == "quotaExceeded":
            return QuotaExhaustedError(user_message=_QUOTA_TEXT, detail=detail)
        case 401 | 403:
            return AccessDeniedError(
                user_message="Benchkeeper is not allowed to do this in Google Cloud. An administrator must grant the "
                "permission that the log names.",
                detail=detail,
            )
        case 409 | 412:
            return ConflictError(user_message="Somebody changed it at the same time; it is tried again.", detail=detail)
        case 429:
            return _slow_down(detail)
        case _ if status >= 500:  # noqa: PLR2004 - server errors
            return _unavailable(detail)
        case _:
            return InvalidSpecError(user_message=f"Google Cloud refused the request: {scrub(message)}", detail=detail)


def error_of(answer: Answer, what: str) -> BenchkeeperError:
    """Return our error for an answer without success."""
    try:
        error = json.loads(answer.content)["error"]
        message = f"{error['message']} {error.get('details', '')}".strip()
    except (ValueError, KeyError, TypeError):
        return from_status(answer.status, answer.content[:300].decode(errors="replace"), what)
    return from_status(answer.status, message, what, reason=_reason(error))


def _reason(error: Mapping[str, Any]) -> str:
    """Return the first `errors[].reason`, which Compute Engine and Cloud Storage give; empty for other APIs."""
    try:
        return str(error["errors"][0]["reason"])
    except (KeyError, TypeError, IndexError):
        return ""


def from_operation(error: dict[str, Any], what: str) -> BenchkeeperError:
    """Return our error for the `error` of a finished operation (google.rpc.Status as JSON)."""
    message = f"{error.get('message', '')} {error.get('details', '')}"
    detail = f"{what}: operation ended with code {error.get('code')}: {scrub(message)}"
    by_text = _from_text(message, detail)
    if by_text is not None:
        return by_text
    match int(error.get("code") or 2):
        case 7 | 16:
            return AccessDeniedError(
                user_message="Google Cloud could not build it: a permission is missing. An administrator "
                "must look at the log.",
                detail=detail,
            )
        case 8:
            return QuotaExhaustedError(user_message=_QUOTA_TEXT, detail=detail)
        case 3 | 9:
            return InvalidSpecError(
                user_message=f"Google Cloud could not build it: {scrub(message).strip()}", detail=detail
            )
        case _:
            return OperationFailedError(user_message="Google Cloud could not finish; it is tried again.", detail=detail)


_QUOTA_TEXT = "The project's quota in this region is used up. It is tried again every 30 minutes; an administrator can raise the quota."


def _from_text(message: str, detail: str) -> BenchkeeperError | None:
    if _BUSY.search(message):
        return BusyError(user_message="The notebook is busy with another change; it is tried again.", detail=detail)
    if _STOCKOUT.search(message):
        return StockoutError(
            user_message="Google Cloud has no such machines in this zone just now; another zone is tried.",
            detail=detail,
        )
    if _QUOTA.search(message):
        return QuotaExhaustedError(user_message=_QUOTA_TEXT, detail=detail)
    return None


def _unavailable(detail: str) -> CloudUnavailableError:
    return CloudUnavailableError(
        user_message="Google Cloud does not answer just now; it is tried again.", detail=detail
    )


def _slow_down(detail: str) -> RateLimitedError:
    return RateLimitedError(
        user_message="Google Cloud asks to slow down; it is tried again in a minute.", detail=detail
    )
