"""The translation of Google's errors into `BenchkeeperError`s.

`shared.cloud.http.words` has the table of Google's answers and finds the meaning of an answer; this module builds the error
from it. The text for users is this product's own; from Google's answer it takes only names, such as a zone or a quota.
Google's own text is only logged.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from shared.cloud.http.transport import Answer, NoAnswerError
from shared.cloud.http.words import (
    Meaning,
    Said,
    Service,
    facts_in,
    find,
    limit_of,
    reasons_in,
    texts_in,
    zones_with_capacity,
)
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
    Reason,
    RetryableError,
    SetUpError,
    StockoutError,
    UnknownAnswerError,
    UnknownRefusalError,
)
from shared.domain.things.identity import without_addresses

_MAX_DETAIL = 500
_MAX_TEXT = 8_000  # of an answer's texts, for the table
# google.rpc.Code by number (google/rpc/code.proto), as the error of an operation has it.
_CODES = {
    1: "CANCELLED", 2: "UNKNOWN", 3: "INVALID_ARGUMENT", 4: "DEADLINE_EXCEEDED", 5: "NOT_FOUND", 6: "ALREADY_EXISTS",
    7: "PERMISSION_DENIED", 8: "RESOURCE_EXHAUSTED", 9: "FAILED_PRECONDITION", 10: "ABORTED", 11: "OUT_OF_RANGE", 12: "UNIMPLEMENTED",
    13: "INTERNAL", 14: "UNAVAILABLE", 15: "DATA_LOSS", 16: "UNAUTHENTICATED",
}  # fmt: skip
# An unknown answer with one of these was no judgement of the request: the same request may succeed later.
_MAY_PASS = frozenset({"", "UNKNOWN", "RESOURCE_EXHAUSTED", "INTERNAL", "DATA_LOSS"})
_KINDS = {
    "images/family": "image family", "images": "image", "machineTypes": "machine type", "Machine": "machine type",
    "acceleratorTypes": "accelerator type", "Accelerator": "accelerator type", "diskTypes": "disk type", "Disk": "disk type",
    "networks": "network", "subnetworks": "subnetwork", "zones": "zone", "regions": "region", "reservations": "reservation",
    "resourcePolicies": "resource policy", "cryptoKeys": "key", "snapshots": "snapshot", "autoscalingPolicies": "autoscaling policy",
}  # fmt: skip


def scrub(text: str) -> str:
    """Return the text without addresses, cut to 500 characters, because details are logged."""
    return without_addresses(text)[:_MAX_DETAIL]


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn each error of the transport or of Google's client libraries in the block into a `BenchkeeperError`; other errors pass unchanged.

    `what` names the call in the error's detail.
    """
    try:
        yield
    except Exception as error:
        ours = _ours(error, what)
        if ours is None:
            raise
        raise ours from error


def _ours(error: Exception, what: str) -> BenchkeeperError | None:
    """Return the `BenchkeeperError` for an error of the transport or of Google's client libraries; None for any other error.

    Google's errors are recognised by the module of their class, so that Google's package is imported only if such an error occurs.
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
        return _error(_said_by_client(error), what, str(error.message))
    if isinstance(error, google_errors.RetryError):
        return _unavailable(f"{what}: {scrub(str(error))}")
    if isinstance(error, GoogleAuthError):
        return AccessDeniedError(
            user_message="Benchkeeper could not log in to Google Cloud. Run: gcloud auth application-default login",
            detail=f"{what}: {scrub(str(error))}",
        )
    return None


def from_status(
    status: int, message: str, what: str, *, reason: str = "", service: Service = Service.OTHER
) -> BenchkeeperError:
    """Return the `BenchkeeperError` for an HTTP status, Google's message, and `errors[].reason` if the API gives a reason."""
    reasons = frozenset({reason} if reason else ())
    said = Said(status=status, code=_code_of(status, ""), service=service, reasons=reasons, text=message[:_MAX_TEXT])
    return _error(said, what, message)


def error_of(answer: Answer, what: str, *, service: Service = Service.OTHER) -> BenchkeeperError:
    """Return the `BenchkeeperError` for an answer that is not a success."""
    try:
        error = json.loads(answer.content)["error"]
        message = str(error["message"])
    except (ValueError, KeyError, TypeError):
        return from_status(answer.status, answer.content[:300].decode(errors="replace"), what, service=service)
    details = error.get("details", [])
    said = Said(
        status=answer.status,
        code=_code_of(answer.status, str(error.get("status", ""))),
        service=service,
        reasons=frozenset(reasons_in([error.get("errors", []), details])),
        text=" ".join([message, *texts_in(details)])[:_MAX_TEXT],
        facts=dict(facts_in(details)),
    )
    return _error(said, what, f"{message} {details or ''}".strip())


def from_operation(error: dict[str, Any], what: str, *, service: Service = Service.OTHER) -> BenchkeeperError:
    """Return the `BenchkeeperError` for the `error` of a finished operation (google.rpc.Status as JSON)."""
    code, details = error.get("code"), error.get("details", [])
    message = str(error.get("message", ""))
    said = Said(
        code=_CODES.get(code, "") if isinstance(code, int) else str(code or ""),
        service=service,
        reasons=frozenset(reasons_in(details)),
        text=" ".join([message, *texts_in(details)])[:_MAX_TEXT],
        facts=dict(facts_in(details)),
    )
    return _error(said, f"{what}: operation ended with code {code}", f"{message} {details or ''}".strip())


def _said_by_client(error: Any) -> Said:
    """Return the parts of an error of Google's clients. Its details are messages, whose text contains the reasons."""
    status = int(error.code or 500)
    known = getattr(error.grpc_status_code, "name", "") if getattr(error, "grpc_status_code", None) is not None else ""
    details = [str(each) for each in error.details or ()]
    reasons = [*reasons_in(list(error.errors or ())), *([error.reason] if error.reason else [])]
    return Said(
        status=status,
        code=_code_of(status, known),
        reasons=frozenset(reasons),
        text=" ".join([str(error.message), *details])[:_MAX_TEXT],
        facts={str(key): str(value) for key, value in (error.metadata or {}).items()},
    )


def _code_of(status: int, code: str) -> str:
    """Return the google.rpc code; INVALID_ARGUMENT for a 400 without a code, and "" for any other status without a code."""
    return code or ("INVALID_ARGUMENT" if status == 400 else "")  # noqa: PLR2004 - Bad Request


_ALWAYS: Mapping[Meaning, tuple[type[RetryableError], str]] = {
    Meaning.BUSY: (BusyError, "The resource is busy with another change; Benchkeeper tries again."),
    Meaning.RATE_LIMIT: (
        RateLimitedError,
        "Google Cloud limits the rate of requests; Benchkeeper tries again in a minute.",
    ),
    Meaning.CONFLICT: (
        ConflictError,
        "Another program changed the resource at the same time; Benchkeeper tries again.",
    ),
    Meaning.UNAVAILABLE: (CloudUnavailableError, "Google Cloud does not answer just now; Benchkeeper tries again."),
    Meaning.FAILED: (OperationFailedError, "Google Cloud could not finish the operation; Benchkeeper tries again."),
    Meaning.INIT_ACTION: (OperationFailedError, "An initialization action of the Spark cluster failed."),
}


def _error(said: Said, what: str, message: str) -> BenchkeeperError:
    found = find(said)
    name = found.values.get("value", "")
    detail = f"{what}: {f'{said.status} ' if said.status else ''}{scrub(message)}"
    if found.means in _ALWAYS:
        kind, text = _ALWAYS[found.means]
        return kind(user_message=text, detail=detail)
    match found.means:
        case Meaning.STOCKOUT:
            text = "Google Cloud has no such machines in this zone just now; Benchkeeper tries again."
            return StockoutError(user_message=text, detail=detail, zones=zones_with_capacity(said))
        case Meaning.QUOTA:
            return _quota(said, name, detail)
        case Meaning.PERIMETER | Meaning.ORGANIZATION_POLICY | Meaning.API_DISABLED | Meaning.BILLING:
            return _set_up(said, found.means, name, detail)
        case Meaning.NO_PRINCIPAL | Meaning.WRONG_HERE | Meaning.WRONG_VALUE | Meaning.MISSING:
            return _wrong_value(found.means, found.values, detail)
        case Meaning.PERMISSION | Meaning.NOT_SIGNED_IN:
            missing = said.facts.get("permission") or name or "that the log names"
            return AccessDeniedError(
                user_message="Benchkeeper is not allowed to do this in Google Cloud. An administrator must grant the permission "
                f"{missing}.",
                detail=detail,
                is_forbidden=found.means is Meaning.PERMISSION,
            )
        case _:
            return _unknown(said, detail)


def _quota(said: Said, metric: str, detail: str) -> QuotaExhaustedError:
    metric = metric or _short(said.facts.get("metricName") or said.facts.get("quota_metric") or "")
    limit, where = limit_of(said)
    limited = f" (limit {limit}{' ' if where else ''}{where})" if limit else ""
    quota = f"'{metric}'{limited}" if metric else limited.strip()
    return QuotaExhaustedError(
        user_message=f"The project's quota{' ' if quota else ''}{quota} is used up. An administrator can ask Google for more.",
        detail=detail,
        quota=quota,
        is_zero=_is_zero(limit),
    )


def _is_zero(limit: str) -> bool:
    try:
        return float(limit) == 0
    except ValueError:
        return False


def _short(metric: str) -> str:
    """Return the last part of a metric's name, if it is a plain name."""
    name = metric.rpartition("/")[2]
    return name if name.replace("_", "").replace("-", "").isalnum() else ""


def _set_up(said: Said, means: Meaning, name: str, detail: str) -> SetUpError:
    api = name or said.facts.get("serviceTitle", "") or said.facts.get("service", "")
    match means:
        case Meaning.ORGANIZATION_POLICY:
            reason = Reason.ORGANIZATION_POLICY
            text = f"A policy of the organization forbids the request{f' ({name})' if name else ''}. An administrator must ask for an exception."
        case Meaning.PERIMETER:
            reason = Reason.PERIMETER
            text = f"VPC Service Controls forbid the request{f' (identifier {name})' if name else ''}. An administrator must let Benchkeeper through the perimeter."
        case Meaning.API_DISABLED:
            reason = Reason.API_DISABLED
            text = f"{api or 'An API'} is not enabled in the project. An administrator must enable it."
        case _:
            reason = Reason.BILLING_DISABLED
            text = "Billing is off for the project. An administrator must link a billing account."
    return SetUpError(user_message=text, detail=detail, reason=reason)


def _wrong_value(means: Meaning, values: Mapping[str, str], detail: str) -> InvalidSpecError:
    value, zone, field = values.get("value", ""), values.get("zone", ""), values.get("field", "")
    kind = _KINDS.get(values.get("kind", ""), values.get("kind", "").lower())
    if means is Meaning.NO_PRINCIPAL:
        text = (
            "Google Cloud does not know an account that the request names. An administrator finds its name in the log."
        )
    elif value and kind:
        text = (
            f"Google Cloud does not have {kind} '{value}', or does not accept it{f' in zone {zone}' if zone else ''}."
        )
    elif field:
        named = f"'{value}' as " if value else ""
        text = f"Google Cloud does not accept {named}{field}."
    elif value:
        text = f"Google Cloud does not accept the combination of {value}."
    elif means is Meaning.MISSING:
        text = "Something that the request names does not exist in Google Cloud. An administrator finds the name in the log."
    else:
        text = "Google Cloud refused the request as invalid. An administrator finds the reason in the log."
    return InvalidSpecError(
        user_message=text,
        detail=detail,
        only_here=means is Meaning.WRONG_HERE,
        names_account=means is Meaning.NO_PRINCIPAL,
    )


def _unknown(said: Said, detail: str) -> UnknownAnswerError | UnknownRefusalError:
    named = said.code or (str(said.status) if said.status else "no code")
    text = f"Google Cloud refused the request for a reason that Benchkeeper does not know ({named}). An administrator finds the answer in the log."
    if said.code in _MAY_PASS and said.status in {0, 429}:
        return UnknownAnswerError(user_message=text, detail=detail)
    return UnknownRefusalError(user_message=text, detail=detail)


def _unavailable(detail: str) -> CloudUnavailableError:
    return CloudUnavailableError(user_message=_ALWAYS[Meaning.UNAVAILABLE][1], detail=detail)
