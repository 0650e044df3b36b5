"""The error bodies of Google's APIs, as the official clients expect them."""

from __future__ import annotations

from typing import Any

# google.rpc.Code: name -> (number, HTTP status), from google/rpc/code.proto
CODES: dict[str, tuple[int, int]] = {
    "CANCELLED": (1, 499),
    "UNKNOWN": (2, 500),
    "INVALID_ARGUMENT": (3, 400),
    "DEADLINE_EXCEEDED": (4, 504),
    "NOT_FOUND": (5, 404),
    "ALREADY_EXISTS": (6, 409),
    "PERMISSION_DENIED": (7, 403),
    "RESOURCE_EXHAUSTED": (8, 429),
    "FAILED_PRECONDITION": (9, 400),
    "ABORTED": (10, 409),
    "OUT_OF_RANGE": (11, 400),
    "UNIMPLEMENTED": (12, 501),
    "INTERNAL": (13, 500),
    "UNAVAILABLE": (14, 503),
    "UNAUTHENTICATED": (16, 401),
}


class ApiError(Exception):
    """An error response of a Google API.

    `code` is a google.rpc.Code name; `http_status` overrides the usual status (Cloud Storage's 412, 429...); `reason`
    is the JSON-API `errors[].reason` (`conditionNotMet`, `rateLimitExceeded`); `details` are google.rpc detail objects.
    With `both`, the body has both `errors[]` and `status`, as IAM's errors have.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        http_status: int | None = None,
        reason: str | None = None,
        details: list[dict[str, Any]] | None = None,
        both: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.number, usual = CODES[code]
        self.http_status = usual if http_status is None else http_status
        self.message = message
        self.reason = reason
        self.both = both
        self.details = details or []

    def body(self) -> dict[str, Any]:
        """Return `{"error": {...}}` of a One Platform API (`status`, `details`) or, with a `reason`, of the Storage JSON API."""
        error: dict[str, Any] = {"code": self.http_status, "message": self.message}
        if self.reason is None or self.both:
            error["status"] = self.code
        if self.reason is not None:
            error["errors"] = [{"message": self.message, "domain": "global", "reason": self.reason}]
        if self.details:
            error["details"] = self.details
        return {"error": error}


def not_served(text: str, *, reason: str | None = None) -> ApiError:
    """Return the error for a call that the embedded cloud does not serve: UNIMPLEMENTED over gRPC, 404 over HTTP.

    The HTTP status is not 501, because clients, including gcloud, retry a call for half a minute after 501.
    """
    return ApiError("UNIMPLEMENTED", text, http_status=404, reason=reason)
