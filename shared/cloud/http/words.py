"""The table of Google's answers to failed calls and operations, with the meaning of each for this product.

`find` looks a parsed answer (`Said`) up in the table. No other module in `shared` classifies Google's
texts. A row names its source. Rows are read in three rounds, each in the order of the table:

1. by structured reasons (`ErrorInfo.reason`, `errors[].reason`, codes of Compute Engine, types of violations);
2. by wording, old and new;
3. by HTTP status, or by google.rpc code.

An answer that matches no row means `Meaning.UNKNOWN`: the answer is shown and raises an alert, and its meaning is not
guessed. Ambiguous reasons (`quotaExceeded`, `conditionNotMet`, `forbidden`) are in no row of the first round.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from functools import cache
from typing import Any

from msgspec import Struct, field

from shared.domain.things.late import late


class Service(StrEnum):
    """The Google service that answered; OTHER if the caller does not name the service."""

    NOTEBOOKS = "notebooks"
    COMPUTE = "compute"
    DATAPROC = "dataproc"
    STORAGE = "storage"
    IAM = "iam"
    CLOUD_IDENTITY = "cloudidentity"
    OTHER = ""


class Meaning(StrEnum):
    """The meaning of a failure. `shared.cloud.http.translate` makes an error from each meaning."""

    BUSY = "another change is under way, or the state changed meanwhile"
    STOCKOUT = "no machines in this zone now"
    RATE_LIMIT = "too many calls a minute"
    QUOTA = "a quota on resources is used up"
    PERIMETER = "VPC Service Controls"
    ORGANIZATION_POLICY = "a policy of the organization"
    API_DISABLED = "an API is not enabled"
    BILLING = "billing is off"
    NO_PRINCIPAL = "an account or a member that Google does not know"
    WRONG_HERE = "a value that this zone does not have"
    WRONG_VALUE = "a value that Google does not have or does not accept"
    PERMISSION = "a permission is missing"
    NOT_SIGNED_IN = "no valid credentials"
    CONFLICT = "somebody else was faster"
    MISSING = "what is named does not exist"
    UNAVAILABLE = "Google does not answer as it should"
    INIT_ACTION = "an initialization action of a Dataproc cluster failed"
    FAILED = "an operation failed inside Google; the next may succeed"
    UNKNOWN = "none of these"


class Row(Struct, frozen=True, kw_only=True):
    """A row of `TABLE`: the answers of Google that have one meaning.

    `when` restricts a row to HTTP statuses and google.rpc codes; a row without reasons and wording is found by status or
    code alone. `wording` is a regular expression that ignores case. Its named groups are values that a text for users
    may contain. With `last`, a row that has reasons is read in the third round. With `operations`, the row is only for
    errors of operations.
    """

    means: Meaning
    source: str
    reasons: frozenset[str] = frozenset()
    wording: str = ""
    when: tuple[int | str, ...] = ()
    services: frozenset[Service] = frozenset()
    last: bool = False
    operations: bool = False


_NAME = r"[A-Za-z0-9][\w.\-]{0,99}"
# `projects/p/zones/z/machineTypes/x`, with or without a URL before it: the collection and the last name are captured.
_THING = (
    r"(?P<kind>images/family|images|machineTypes|acceleratorTypes|diskTypes|networks|subnetworks|zones|regions|reservations"
    rf"|resourcePolicies|cryptoKeys|snapshots|autoscalingPolicies)/(?P<value>{_NAME})"
)
_RIGHT = r"[a-z]{2,40}\.[A-Za-z]{2,60}\.[A-Za-z]{2,60}"
_ABSENT = r"(?:was not found|is not found|not found|could not be found|does not exist|do not exist)"
_REFUSES = (400, 404, 412, "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "INTERNAL", "UNKNOWN")

TABLE: tuple[Row, ...] = (
    # --- somebody else's change
    Row(means=Meaning.BUSY, source="magic-modules error_retry_predicates.go L344 (IsWorkbenchQueueError): 409 with this text",
        wording=r"unable to queue the operation"),
    Row(means=Meaning.BUSY, source="Compute Engine errors[].reason of a resource in use; docs/platform-facts.md",
        reasons=frozenset({"resourceNotReady", "resourceInUseByAnotherResource", "RESOURCE_NOT_READY", "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE"}),
        when=(0, 400, 409, 412)),
    Row(means=Meaning.BUSY,
        source="Dataproc DeleteCluster (docs/platform-facts.md); google/rpc/code.proto FAILED_PRECONDITION: not in the state required",
        wording=r"while it has other pending \w+ operations|must be stopped before|cannot be \w+ in state [A-Z]|must be (?:in )?(?:the )?(?:state )?(?:READY|ACTIVE|STOPPED|RUNNING)\b",
        when=(0, 400, 409, 412)),
    # --- capacity: before quotas, because a stockout is also reported as QUOTA_EXCEEDED (GoogleCloudPlatform/ai-on-gke#849)
    Row(means=Meaning.STOCKOUT, source="kubernetes/k8s.io#9834, GoogleCloudPlatform/ai-on-gke#849: code and ErrorInfo of Compute Engine",
        reasons=frozenset({"ZONE_RESOURCE_POOL_EXHAUSTED", "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", "resource_availability", "stockout", "STOCKOUT"})),
    Row(means=Meaning.STOCKOUT,
        source="kubernetes/k8s.io#9834, Privatehive/gcp-hosted-github-runner#8 (503), dstackai/dstack#1386, aip-dev/google.aip.dev#1268",
        wording=r"\bis currently unavailable in\b.{1,80}?\bzone\b|\bcurrently ha(?:s|ve)(?:/have)? capacity"),
    Row(means=Meaning.STOCKOUT,
        source="gcpdiag lint/notebooks and gce match lists; googlefonts/fontbakery-dashboard#81, google/fuzzbench#1101",
        wording=r"ZONE_RESOURCE_POOL_EXHAUSTED|\bresource_availability\b|resource pool exhausted|\bSTOCKOUT\b|do(?:es)? not (?:currently )?have (?:enough|sufficient) (?:resources|capacity)|no more capacity in the zone"),
    # --- rates: over in a minute, though the wording says "quota exceeded"
    Row(means=Meaning.RATE_LIMIT, source="google/api/error_reason.proto",
        reasons=frozenset({"RATE_LIMIT_EXCEEDED", "userRateLimitExceeded"})),
    Row(means=Meaning.RATE_LIMIT, source="GoogleCloudPlatform/python-docs-samples#3482; Cloud Storage: one change a second to an object",
        wording=r"RATE_LIMIT_EXCEEDED|rateLimitExceeded|\bper (?:minute|second|\d+ seconds)\b|exceeded the rate limit",
        when=(403, 429, "RESOURCE_EXHAUSTED")),
    # --- the organization, the project and its perimeter
    Row(means=Meaning.PERIMETER,
        source="google/api/error_reason.proto SECURITY_POLICY_VIOLATED; VPC Service Controls, Troubleshooting (violation type)",
        reasons=frozenset({"SECURITY_POLICY_VIOLATED", "VPC_SERVICE_CONTROLS", "vpcServiceControls"})),
    Row(means=Meaning.PERIMETER,
        source="VPC Service Controls, Troubleshooting: Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: …",
        wording=r"vpcServiceControlsUniqueIdentifier(?:\W{1,4}(?P<value>[\w\-]{1,100}))?|VPC Service Controls"),
    Row(means=Meaning.ORGANIZATION_POLICY,
        source="google/api/error_reason.proto LOCATION_ORG_POLICY_VIOLATED, RESOURCE_USAGE_RESTRICTION_VIOLATED; custom constraints",
        reasons=frozenset({"LOCATION_ORG_POLICY_VIOLATED", "RESOURCE_USAGE_RESTRICTION_VIOLATED", "ORG_RESTRICTION_VIOLATION", "CUSTOM_ORG_POLICY_VIOLATION", "ORG_POLICY_VIOLATION"})),
    Row(means=Meaning.ORGANIZATION_POLICY,
        source="gardener/gardener-extension-provider-gcp#415, hashicorp/terraform-provider-google#13701: 412, 400, operation code 9; terraform-example-foundation#1454 (violation type)",
        wording=r"\b(?P<value>(?:custom)?constraints/[A-Za-z][\w.]{2,80})|organi[sz]ation(?:al|'s)? polic(?:y|ies)\b|\borg polic(?:y|ies)\b|do not belong to a permitted customer"),
    Row(means=Meaning.BILLING, source="google/api/error_reason.proto BILLING_DISABLED; kyegomez/zeta#71; Cloud Storage accountDisabled",
        reasons=frozenset({"BILLING_DISABLED", "UREQ_PROJECT_BILLING_NOT_FOUND", "googleapis.com/billing-enabled", "accountDisabled", "billingNotEnabled"})),
    Row(means=Meaning.BILLING,
        source="Compute Engine and Cloud Storage: This API method requires billing to be enabled; billing account … disabled, absent or closed",
        wording=r"requires? billing to be enabled|billing must be enabled|billing (?:is|has been) (?:disabled|not enabled)|billing account .{0,120}(?:disabled|closed|absent|not found|delinquent)|(?:absent|closed|disabled) billing account|billing is not enabled|not enabled billing"),
    Row(means=Meaning.API_DISABLED,
        source="google/api/error_reason.proto SERVICE_DISABLED; google-gemini/gemini-cli#1343; Compute Engine accessNotConfigured",
        reasons=frozenset({"SERVICE_DISABLED", "accessNotConfigured", "SERVICE_NOT_VISIBLE"})),
    Row(means=Meaning.API_DISABLED, source="google-gemini/gemini-cli#1343 (whole body); older: Access Not Configured",
        wording=r"(?P<value>[A-Z][A-Za-z ]{2,60} API(?: \([A-Z]+\))?) has not been used in project|has not been used in project|it is disabled\. Enable it|\bAPI .{0,60}(?:is not enabled|is disabled|not enabled)|Access Not Configured",
        when=(400, 403, "PERMISSION_DENIED", "FAILED_PRECONDITION")),
    # --- quotas on resources
    Row(means=Meaning.QUOTA, source="google/api/error_reason.proto RESOURCE_QUOTA_EXCEEDED",
        reasons=frozenset({"RESOURCE_QUOTA_EXCEEDED"})),
    Row(means=Meaning.QUOTA,
        source="Compute API: Quota 'GPUS_ALL_REGIONS' exceeded.  Limit: 0.0 globally.; Dataproc: Insufficient 'CPUS' quota. Requested 8.0, available 2.0.",
        wording=rf"Quota '(?P<value>{_NAME})' exceeded|Insufficient '(?P<value2>{_NAME})' quota"),
    Row(means=Meaning.QUOTA,
        source="Compute API code QUOTA_EXCEEDED; IAM: Maximum number of service accounts on project reached; php-google-people-api#45",
        wording=r"QUOTA_EXCEEDED|quota exceeded|exceeded .{0,40}\bquota\b|Maximum number of service accounts|exhausted \(e\.g\. check quota\)"),
    Row(means=Meaning.QUOTA, source="Compute API errors[].reason; a rate limit has it too, and says so in words",
        reasons=frozenset({"quotaExceeded"}), when=(403,), last=True),
    # --- principals
    Row(means=Meaning.NO_PRINCIPAL, source="hashicorp/terraform-provider-google#15042, #15677: a service account made seconds ago",
        wording=r"service ?account.{0,200}?(?:does not exist|not found)",
        when=(400, 404, "INVALID_ARGUMENT", "FAILED_PRECONDITION", "NOT_FOUND"),
        services=frozenset({Service.NOTEBOOKS})),
    Row(means=Meaning.NO_PRINCIPAL,
        source="IAM: User … does not exist., Invalid user; Cloud Identity: a member that does not exist (docs/platform-facts.md)",
        wording=r"does not exist|Invalid user|Unknown service account", when=(400, "INVALID_ARGUMENT", "FAILED_PRECONDITION"),
        services=frozenset({Service.IAM, Service.CLOUD_IDENTITY})),
    # --- a wrong configuration
    Row(means=Meaning.WRONG_HERE,
        source="Compute API; dstackai/dstack#696: Machine type with name 'a3-megagpu-8g' does not exist in zone 'europe-west1-b'.",
        wording=rf"(?P<kind>Machine|Accelerator|Disk) type (?:with name )?'?(?P<value>{_NAME})'? (?:does not exist|was not found|is not available|not found) in (?:the )?zone '?(?P<zone>[\w\-]+)"),
    Row(means=Meaning.WRONG_HERE, source="Compute API: The resource 'projects/p/zones/z/machineTypes/x' was not found",
        wording=rf"zones/(?P<zone>[\w\-]+)/(?P<kind>machineTypes|acceleratorTypes|diskTypes)/(?P<value>{_NAME})['\"`]?[.,]?\s+(?:{_ABSENT}|The referenced resource)",
        when=_REFUSES),
    Row(means=Meaning.WRONG_VALUE,
        source="Compute API: The resource 'projects/cloud-notebooks-managed/global/images/family/x' was not found (operation code 5, HTTP 404)",
        wording=rf"{_THING}['\"`]?[.,]?\s+(?:in \S+ )?(?:{_ABSENT}|The referenced resource)", when=_REFUSES),
    Row(means=Meaning.WRONG_VALUE, source="Compute API: Could not fetch image family; Image family 'x' not found in project",
        wording=rf"(?P<kind>image family|image|machine type|accelerator type|subnetwork|network)(?: with name| named)? ['\"`]?(?P<value>{_NAME})['\"`]? (?:in project \S+ )?{_ABSENT}",
        when=_REFUSES),
    Row(means=Meaning.WRONG_VALUE,
        source="Compute API: [n1-standard-4, nvidia-h100-80gb] features are not compatible for creating instance.",
        wording=r"\[(?P<value>[\w\-.,= ]{1,99})\] features are not compatible"),
    Row(means=Meaning.WRONG_VALUE, source="Compute API: pd-extreme disk type cannot be used by e2-standard-4 machine type.",
        wording=r"\b(?P<value>[\w\-]{1,40}) (?P<kind>disk type) cannot be used"),
    Row(means=Meaning.WRONG_VALUE, source="Compute API: Invalid value for field 'resource.machineType': 'x'",
        wording=r"Invalid value for field '(?:resource\.)?(?P<field>[\w.\[\]]{1,80})'(?::\s*'(?:[^'@]*/)?(?P<value>[\w.\-]{1,99})')?"),
    Row(means=Meaning.INIT_ACTION,
        source="Dataproc, Initialization actions: Initialization action failed. Failed action 'gs://…', see output in: gs://…",
        wording=r"\binit(?:ialization)?(?: action)?\b.{0,300}?\bfailed\b", services=frozenset({Service.DATAPROC}), operations=True),
    # --- what comes back as it is
    Row(means=Meaning.FAILED, source="INFERRED from google/rpc/code.proto NOT_FOUND: the instance of the operation was deleted meanwhile",
        wording=r"Resource '[^']{1,300}/instances/[^'/]{1,99}' was not found", operations=True),
    Row(means=Meaning.FAILED,
        source="google/rpc/code.proto INTERNAL; Compute API: Internal error. Please try again or contact Google Support. (Code: '…')",
        wording=r"\binternal (?:server )?error\b|^\s*internal\.?\s*$|Failed to perform tenant project creation",
        when=("INTERNAL", "UNKNOWN"), operations=True),
    # --- by status or code alone
    Row(means=Meaning.NOT_SIGNED_IN, source="RFC 9110; google/rpc/code.proto", when=(401, "UNAUTHENTICATED")),
    Row(means=Meaning.RATE_LIMIT, source="Compute API errors[].reason", reasons=frozenset({"rateLimitExceeded"}), when=(403,), last=True),
    Row(means=Meaning.PERMISSION, source="IAM: Permission 'p' denied on resource; Compute API: Required 'p' permission for",
        wording=rf"permission:? '?(?P<value>{_RIGHT})|'?(?P<value2>{_RIGHT})'? (?:permission|access|denied)",
        when=(403, "PERMISSION_DENIED")),
    Row(means=Meaning.PERMISSION, source="Compute API SERVICE_ACCOUNT_ACCESS_DENIED: The user does not have access to service account 'a'.",
        wording=r"does not have access to service account", when=(400, 403, "INVALID_ARGUMENT", "PERMISSION_DENIED")),
    Row(means=Meaning.PERMISSION, source="google/rpc/code.proto PERMISSION_DENIED", when=(403, "PERMISSION_DENIED")),
    Row(means=Meaning.MISSING, source="RFC 9110; google/rpc/code.proto NOT_FOUND", when=(404,)),
    Row(means=Meaning.CONFLICT, source="RFC 9110; google/rpc/code.proto ALREADY_EXISTS, ABORTED", when=(409, "ALREADY_EXISTS")),
    Row(means=Meaning.CONFLICT,
        source="Cloud Storage and Compute Engine conditionNotMet: our own precondition; a policy of the organization has 412, too",
        wording=r"pre-?conditions? you specified|\bfingerprint\b|\betag\b|concurrent (?:policy )?changes", when=(409, 412)),
    Row(means=Meaning.CONFLICT, source="Cloud Storage: a 412 answers our own If-Generation-Match", when=(412,),
        services=frozenset({Service.STORAGE})),
    Row(means=Meaning.RATE_LIMIT, source="RFC 6585", when=(429,)),
    Row(means=Meaning.UNAVAILABLE, source="RFC 9110; google/rpc/code.proto", when=(*range(500, 600), "UNAVAILABLE")),
    Row(means=Meaning.FAILED, source="google/rpc/code.proto", when=("ABORTED", "CANCELLED", "DEADLINE_EXCEEDED")),
    Row(means=Meaning.WRONG_VALUE, source="google/rpc/code.proto INVALID_ARGUMENT, OUT_OF_RANGE",
        when=("INVALID_ARGUMENT", "OUT_OF_RANGE")),
)  # fmt: skip


_NOT_FOUND = 404


class Said(Struct, frozen=True, kw_only=True):
    """A parsed answer of Google. `status` is the HTTP status, 0 for an operation. `code` is the google.rpc name.

    `text` has the message and all texts of details.
    `facts` has the metadata of the details by key.
    """

    status: int = 0
    code: str = ""
    service: Service = Service.OTHER
    reasons: frozenset[str] = frozenset()
    text: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


class Found(Struct, frozen=True, kw_only=True):
    """The meaning of an answer, with the values that the wording of a row found in it: plain names, never a URL or an address."""

    means: Meaning
    values: Mapping[str, str] = field(default_factory=dict)


def _admits(row: Row, said: Said) -> bool:
    """Return True if the answer has the status or code and the service of this row.

    The text of a 404 repeats the name of the missing resource, and that name may contain any words. So only rows that
    name 404 or the answer's code match a 404.
    """
    if (row.services and said.service not in row.services) or (row.operations and said.status):
        return False
    if not row.when:
        return said.status != _NOT_FOUND
    return said.status in row.when or said.code in row.when


def find(said: Said) -> Found:
    """Return the meaning of an answer by the table, with the values that a row's wording finds in the answer's text."""
    rows = [row for row in TABLE if _admits(row, said)]
    rounds: Iterator[Iterable[Row]] = iter(
        (
            (row for row in rows if row.reasons and not row.last and row.reasons & said.reasons),
            (row for row in rows if row.wording and _pattern(row.wording).search(said.text)),
            (row for row in rows if not row.wording and (row.reasons & said.reasons if row.last else not row.reasons)),
        )
    )
    row = next((row for each in rounds for row in each), None)
    if row is None:
        return Found(means=Meaning.UNKNOWN)
    return Found(means=row.means, values=_values(row.means, rows, said))


def zones_with_capacity(said: Said) -> tuple[str, ...]:
    """Return the zones that a stockout names as available, in Google's order; empty if it names none."""
    named = said.facts.get("zonesAvailable") or said.facts.get("zonesWithCapacity") or ""
    found = _ZONE.findall(named) or [zone for part in _OFFERED.findall(said.text) for zone in _ZONE.findall(part)]
    return tuple(dict.fromkeys(found))


def limit_of(said: Said) -> tuple[str, str]:
    """Return a quota's limit and its scope from the answer, such as `("0.0", "globally")`; empty texts if it has none."""
    worded = _LIMIT.search(said.text)
    if worded is not None:
        return worded["limit"].rstrip("."), worded["where"] or ""
    return said.facts.get("limit", ""), ""


_ZONE = late(lambda: re.compile(r"\b[a-z]+-[a-z]+\d+-[a-z]\b"))
_OFFERED = late(
    lambda: re.compile(
        r"(?:request in the|zonesAvailable|zonesWithCapacity)((?:[^A-Za-z]{1,12}|value|zones?|and|or|[a-z]+-[a-z]+\d+-[a-z]\b){1,60})"
    )
)
_LIMIT = late(
    lambda: re.compile(
        r"Limit: (?P<limit>[\d.]{1,20})(?: (?P<where>globally|in (?:region|zone) [\w\-]{1,40}))?", re.IGNORECASE
    )
)


@cache
def _pattern(wording: str) -> re.Pattern[str]:
    return re.compile(wording, re.IGNORECASE | re.DOTALL)


def _values(means: Meaning, rows: Iterable[Row], said: Said) -> Mapping[str, str]:
    """Return the values that a wording of this meaning finds in the text, even if the answer was found by its reason."""
    for row in rows:
        if row.means is means and row.wording:
            for match in _pattern(row.wording).finditer(said.text):
                named = {name.rstrip("2"): text for name, text in match.groupdict().items() if text}
                if named:
                    return named
    return {}


def texts_in(raw: Any) -> Iterator[str]:
    """Yield all texts of a JSON value, without types and URLs."""
    match raw:
        case str():
            if not raw.startswith(("http://", "https://", "type.googleapis.com/")):
                yield raw
        case dict():
            for value in raw.values():
                yield from texts_in(value)
        case list() | tuple():
            for value in raw:
                yield from texts_in(value)
        case _:
            pass


def reasons_in(raw: Any) -> Iterator[str]:
    """Yield the structured reasons of a JSON value: `reason`, codes of Compute Engine, types and subjects of violations."""
    match raw:
        case dict():
            for key, value in raw.items():
                if key in {"reason", "code", "type", "subject"} and isinstance(value, str):
                    yield value
                else:
                    yield from reasons_in(value)
        case list() | tuple():
            for value in raw:
                yield from reasons_in(value)
        case _:
            pass


def facts_in(raw: Any) -> Iterator[tuple[str, str]]:
    """Yield the metadata in a JSON value's details as (key, text), and the fields of Compute Engine's `quotaInfo`."""
    match raw:
        case dict():
            for key, value in raw.items():
                if key in {"metadata", "metadatas", "quotaInfo"} and isinstance(value, dict):
                    yield from (
                        (name, str(each)) for name, each in value.items() if isinstance(each, str | int | float)
                    )
                else:
                    yield from facts_in(value)
        case list() | tuple():
            for value in raw:
                yield from facts_in(value)
        case _:
            pass
