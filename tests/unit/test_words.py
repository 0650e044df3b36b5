"""The table of Google's words: each answer, in the shapes in which it comes, means one thing; an answer that nobody knows means unknown."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from shared.cloud.http.translate import error_of, from_operation, from_status
from shared.cloud.http.transport import Answer
from shared.cloud.http.words import TABLE, Service
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
    Reason,
    RetryableError,
    SetUpError,
    StockoutError,
    UnknownAnswerError,
    UnknownRefusalError,
)

ROOT = Path(__file__).parents[2]
NUMBERS = {
    "INVALID_ARGUMENT": 3,
    "NOT_FOUND": 5,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "FAILED_PRECONDITION": 9,
    "INTERNAL": 13,
}


def answered(
    status: int,
    message: str,
    *,
    code: str = "",
    reason: str = "",
    details: list[Any] | None = None,
    service: Service = Service.COMPUTE,
) -> BenchkeeperError:
    error: dict[str, Any] = {"code": status, "message": message}
    if code:
        error["status"] = code
    if reason:
        error["errors"] = [{"message": message, "domain": "global", "reason": reason}]
    if details:
        error["details"] = details
    return error_of(
        Answer(status=status, headers={}, content=json.dumps({"error": error}).encode()), "call", service=service
    )


def ended(code: str, message: str, *details: Any) -> BenchkeeperError:
    raw = {"code": NUMBERS[code], "message": message, **({"details": list(details)} if details else {})}
    return from_operation(raw, "create instance", service=Service.NOTEBOOKS)


def info(reason: str, **metadata: str) -> dict[str, Any]:
    return {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "compute.googleapis.com",
        "metadata": metadata,
    }


# --- the table itself


def test_each_row_names_its_source_and_can_be_found():
    for row in TABLE:
        assert row.source, row
        assert row.reasons or row.wording or row.when, row
        assert not (row.reasons and row.wording), row  # one round each
        re.compile(row.wording)


def test_no_other_module_of_the_product_classifies_googles_words():
    """A second list would be forgotten when Google changes a word. What the deployment reads is gcloud's output, not an API's."""
    words = re.compile(
        r"does not exist|POOL_EXHAUSTED|QUOTA_EXCEEDED|has not been used|conditionNotMet|currently unavailable"
    )
    found = {
        str(path.relative_to(ROOT))
        for folder in ("shared/cloud", "shared/domain", "shared/engine", "functions", "portal")
        for path in (ROOT / folder).rglob("*.py")
        for line in path.read_text().splitlines()
        if words.search(line) and re.search(r"re\.compile|\.search\(| in (?:str\()?error", line)
    }
    assert found == set()


# --- stockouts

OFFERED = (
    "A {machine} VM instance{more} is currently unavailable in the {zone} zone. Consider trying your request in the {others} zone(s), "
    "which currently has capacity to accommodate your request. Alternatively, you can try your request again with a different VM hardware "
    "configuration or at a later time. For more information, see the troubleshooting documentation."
)
OLD = (
    "The zone 'projects/p/zones/europe-west1-b' does not have enough resources available to fulfill the request.  Try a different zone, or "
    "try again later."
)
MACHINES = [
    ("n1-standard-4", "", "us-central1-b", "us-central1-a, us-central1-f"),
    ("n1-standard-4", " with 2 local SSD(s)", "europe-west1-b", "europe-west1-d"),
    ("a2-highgpu-1g", " with 1 nvidia-tesla-a100 accelerator(s)", "europe-west4-a", "europe-west4-b, europe-west4-c"),
    ("c2d-highmem-2", "", "asia-northeast1-c", "asia-northeast1-a"),
]


@pytest.mark.parametrize(("machine", "more", "zone", "others"), MACHINES)
@pytest.mark.parametrize("shape", [8, 13, 14, "503", "400", "429"])
@pytest.mark.parametrize(
    "prefix", ["", "ZONE_RESOURCE_POOL_EXHAUSTED: ", "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS: "]
)
def test_a_stockout_in_todays_words_names_the_zones_that_have_capacity(machine, more, zone, others, shape, prefix):
    text = prefix + OFFERED.format(machine=machine, more=more, zone=zone, others=others)
    error = (
        answered(int(shape), text)
        if isinstance(shape, str)
        else from_operation({"code": shape, "message": text}, "create")
    )
    assert type(error) is StockoutError
    assert error.zones == tuple(others.split(", "))


@pytest.mark.parametrize(
    "text",
    [
        "A c3-standard-8 VM instance is currently unavailable in the us-east1-a zone. Alternatively, you can try your request again later.",
        "An <e2-medium> VM instance with <local-ssd=3,nvidia-t4=2> is currently unavailable in the <us-east1-a> zone.",
        OLD,
        f"{OLD} '(resource type:compute)'",
        "'NULL:0/NULL:0/NULL:0 (state:STOCKOUT, sub-state: SCHEDULER_STOCKOUT)'",
        "resource pool exhausted",
        "The zone does not currently have sufficient capacity for the requested resources.",
    ],
)
@pytest.mark.parametrize("code", ["RESOURCE_EXHAUSTED", "INTERNAL", "FAILED_PRECONDITION"])
def test_a_stockout_that_names_no_zone(text, code):
    error = ended(code, text)
    assert type(error) is StockoutError
    assert error.zones == ()


def test_structured_details_decide_and_name_the_zones():
    error = ended(
        "INTERNAL",
        "Something went wrong.",
        info("resource_availability", zonesAvailable="us-central1-a,us-central1-f", zone="us-central1-b"),
    )
    assert type(error) is StockoutError
    assert error.zones == ("us-central1-a", "us-central1-f")
    none = ended("RESOURCE_EXHAUSTED", "Something went wrong.", info("resource_availability", zonesAvailable=""))
    assert (type(none), none.zones) == (StockoutError, ())
    both = answered(503, "SERVICE UNAVAILABLE", details=[{"errors": [{"code": "ZONE_RESOURCE_POOL_EXHAUSTED"}]}])
    assert type(both) is StockoutError


def test_details_that_come_as_text_name_the_zones_too():
    """Privatehive/gcp-hosted-github-runner#8: a textual message inside the message."""
    text = (
        'SERVICE UNAVAILABLE: errors:{code:"ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS" error_details:{error_info:{metadatas:{key:"zone" '
        'value:"us-central1-a"} metadatas:{key:"zonesAvailable" value:"us-central1-c,us-central1-f"} reason:"resource_availability"}}}'
    )
    error = answered(503, text)
    assert type(error) is StockoutError
    assert error.zones == ("us-central1-c", "us-central1-f")


def test_a_stockout_that_is_called_a_quota_is_a_stockout():
    """GoogleCloudPlatform/ai-on-gke#849."""
    assert type(ended("RESOURCE_EXHAUSTED", f"QUOTA_EXCEEDED: {OLD}")) is StockoutError


# --- the organization

CONSTRAINTS = [
    ("Constraint constraints/compute.storageResourceUseRestrictions violated for project 123.", "constraints/compute.storageResourceUseRestrictions"),
    ("Constraint constraints/compute.vmExternalIpAccess violated for project p. Add instance i to the constraint.", "constraints/compute.vmExternalIpAccess"),
    ("'europe-west9' violates constraint 'constraints/gcp.resourceLocations' on the resource 'projects/p'.", "constraints/gcp.resourceLocations"),
    ('Operation denied by custom org policies: ["customConstraints/custom.n2Only": "Only N2."]', "customConstraints/custom.n2Only"),
    ("Request is disallowed by organization's constraints/gcp.restrictServiceUsage constraint for 'projects/1'.", "constraints/gcp.restrictServiceUsage"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "constraint"), CONSTRAINTS)
@pytest.mark.parametrize("shape", ["412", "400", "403", 9, 3, 7])
def test_a_policy_of_the_organization_is_named(text, constraint, shape):
    reason = "conditionNotMet" if shape == "412" else ""
    error = (
        answered(int(shape), text, reason=reason)
        if isinstance(shape, str)
        else from_operation({"code": shape, "message": text}, "x")
    )
    assert type(error) is SetUpError
    assert error.reason is Reason.ORGANIZATION_POLICY
    assert constraint in error.user_message


def test_a_violation_in_the_details_is_a_policy_of_the_organization():
    violation = {"type": "constraints/iam.allowedPolicyMemberDomains", "subject": "orgpolicy:projects/p"}
    error = answered(
        400, "Precondition check failed.", code="FAILED_PRECONDITION", details=[{"violations": [violation]}]
    )
    assert error.reason is Reason.ORGANIZATION_POLICY
    assert "constraints/iam.allowedPolicyMemberDomains" in error.user_message


def test_a_precondition_of_our_own_is_a_conflict_only_where_we_send_one():
    text = "At least one of the pre-conditions you specified did not hold."
    assert type(answered(412, text, reason="conditionNotMet", service=Service.STORAGE)) is ConflictError
    assert type(answered(412, "anything", service=Service.STORAGE)) is ConflictError
    assert (
        type(answered(412, "Labels fingerprint either invalid or changed", reason="conditionNotMet")) is ConflictError
    )
    assert type(answered(412, "A new kind of refusal.", reason="conditionNotMet")) is UnknownRefusalError


# --- the project

OFF = (
    "Notebooks API has not been used in project acme before or it is disabled. Enable it by visiting "
    "https://console.developers.google.com/apis/api/notebooks.googleapis.com/overview?project=acme then retry."
)


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (answered(403, OFF), "Notebooks API"),
        (answered(403, OFF, reason="accessNotConfigured"), "Notebooks API"),
        (
            answered(403, "No.", details=[info("SERVICE_DISABLED", service="compute.googleapis.com")]),
            "compute.googleapis.com",
        ),
        (
            answered(403, "No.", details=[info("SERVICE_DISABLED", serviceTitle="Cloud Dataproc API", service="x")]),
            "Cloud Dataproc API",
        ),
        (
            ended(
                "FAILED_PRECONDITION", "Compute Engine API has not been used in project 12 before or it is disabled."
            ),
            "Compute Engine API",
        ),
        (ended("PERMISSION_DENIED", "Access Not Configured."), "An API"),
    ],
)
def test_an_api_that_is_off_is_named(error, named):
    assert error.reason is Reason.API_DISABLED
    assert named in error.user_message
    assert "http" not in error.user_message


@pytest.mark.parametrize(
    "error",
    [
        answered(403, "Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: aB3-x_9"),
        answered(
            403,
            "Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: aB3-x_9",
            reason="vpcServiceControls",
        ),
        answered(403, "vpcServiceControlsUniqueIdentifier:aB3-x_9", details=[info("SECURITY_POLICY_VIOLATED")]),
        ended(
            "PERMISSION_DENIED",
            "Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: aB3-x_9.",
        ),
    ],
)
def test_a_perimeter_is_named_with_its_identifier(error):
    assert error.reason is Reason.PERIMETER
    assert "aB3-x_9" in error.user_message


@pytest.mark.parametrize(
    "error",
    [
        answered(403, "This API method requires billing to be enabled. Please enable billing on project #1 by visiting https://x then retry."),
        answered(403, "No.", details=[info("BILLING_DISABLED", consumer="projects/1")]),
        answered(403, "The billing account for the owning project is disabled in state absent", reason="accountDisabled", service=Service.STORAGE),
        answered(403, "The project to be billed is associated with a closed billing account.", service=Service.STORAGE),
        answered(400, "Billing account for project '1' is not found. Billing must be enabled.", code="FAILED_PRECONDITION"),
        ended("FAILED_PRECONDITION", "Billing is disabled for the project."),
    ],
)  # fmt: skip
def test_billing_that_is_off_is_said(error):
    assert error.reason is Reason.BILLING_DISABLED
    assert "illing" in error.user_message
    assert "http" not in error.user_message


@pytest.mark.parametrize(
    ("error", "permission"),
    [
        (answered(403, "Permission 'notebooks.instances.create' denied on resource '//x' (or it may not exist)."), "notebooks.instances.create"),
        (answered(403, "Required 'compute.snapshots.get' permission for 'projects/p'"), "compute.snapshots.get"),
        (answered(403, "No.", details=[info("IAM_PERMISSION_DENIED", permission="iam.serviceAccounts.actAs")]), "iam.serviceAccounts.actAs"),
        (answered(403, "The caller does not have permission"), "that the log names"),
    ],
)  # fmt: skip
def test_a_missing_permission_is_named(error, permission):
    assert type(error) is AccessDeniedError
    assert error.is_forbidden
    assert permission in error.user_message
    assert not answered(401, "Request had invalid authentication credentials.").is_forbidden


# --- wrong values


@pytest.mark.parametrize("machine", ["e2-standrd-4", "n2-standard-3", "a3-megagpu-8g"])
@pytest.mark.parametrize("zone", ["europe-west1-b", "us-central1-f"])
@pytest.mark.parametrize("shape", ["400", 3, 5, 9, 13])
def test_a_machine_type_that_a_zone_lacks_is_a_wrong_value_of_that_zone(machine, zone, shape):
    text = f"Machine type with name '{machine}' does not exist in zone '{zone}'."
    error = (
        answered(int(shape), text) if isinstance(shape, str) else from_operation({"code": shape, "message": text}, "x")
    )
    assert type(error) is InvalidSpecError
    assert error.only_here
    assert machine in error.user_message
    assert zone in error.user_message


@pytest.mark.parametrize(
    ("message", "names"),
    [
        ("The resource 'projects/cloud-notebooks-managed/global/images/family/workbench-2019' was not found", ("image family", "workbench-2019")),
        ("The resource 'https://www.googleapis.com/compute/v1/projects/x/global/images/family/old' was not found", ("image family", "old")),
        ("The resource 'projects/p/global/images/v20200101' was not found", ("image", "v20200101")),
        ("The resource 'projects/p/regions/europe-west1/subnetworks/lab' was not found", ("subnetwork", "lab")),
        ("The resource 'projects/p/global/networks/nowhere' was not found", ("network", "nowhere")),
        ("Invalid value for field 'resource.disks[0].initializeParams.diskType': 'x/pd-odd'. Unknown.", ("diskType", "pd-odd")),
        ("pd-extreme disk type cannot be used by e2-standard-4 machine type.", ("disk type", "pd-extreme")),
        ("[t4=2, e2-standard-4] features are not compatible for creating instance.", ("t4=2, e2-standard-4",)),
        ("[n1-standard-4, nvidia-h100-80gb] features are not compatible for creating instance.", ("n1-standard-4, nvidia-h100-80gb",)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("shape", ["400", "404", 5, 9])
def test_a_wrong_value_is_named_and_nothing_else_of_googles_text(message, names, shape):
    if shape == "404" and not message.startswith("The resource"):
        shape = "400"
    error = (
        answered(int(shape), message)
        if isinstance(shape, str)
        else from_operation({"code": shape, "message": message}, "x")
    )
    assert type(error) is InvalidSpecError
    assert not error.only_here
    assert all(name in error.user_message for name in names)
    assert "http" not in error.user_message
    assert "projects/" not in error.user_message


@pytest.mark.parametrize(
    ("message", "named", "is_zero"),
    [
        ("Quota 'GPUS_ALL_REGIONS' exceeded.  Limit: 0.0 globally.", "'GPUS_ALL_REGIONS' (limit 0.0 globally)", True),
        (
            "Quota 'CPUS' exceeded.  Limit: 24.0 in region europe-west1.",
            "'CPUS' (limit 24.0 in region europe-west1)",
            False,
        ),
        (
            "Quota 'NVIDIA_T4_GPUS' exceeded. Limit: 1 in region us-east1.",
            "'NVIDIA_T4_GPUS' (limit 1 in region us-east1)",
            False,
        ),
        ("Insufficient 'SSD_TOTAL_GB' quota. Requested 500.0, available 12.0.", "'SSD_TOTAL_GB'", False),
    ],
)
@pytest.mark.parametrize("shape", ["403", "429", 8, 13])
def test_a_quota_is_named_with_its_limit(message, named, is_zero, shape):
    error = (
        answered(int(shape), message)
        if isinstance(shape, str)
        else from_operation({"code": shape, "message": message}, "x")
    )
    assert type(error) is QuotaExhaustedError
    assert named in error.user_message
    assert error.is_zero is is_zero


def test_a_quota_in_structured_details_is_named():
    quota = {
        "quotaInfo": {
            "metricName": "compute.googleapis.com/gpus_all_regions",
            "limitName": "GPUS-ALL-REGIONS",
            "limit": 0,
        }
    }
    error = answered(403, "No.", details=[info("RESOURCE_QUOTA_EXCEEDED"), quota])
    assert type(error) is QuotaExhaustedError
    assert "'gpus_all_regions' (limit 0)" in error.user_message
    assert error.is_zero


# --- unknown, and what passes


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ended("INTERNAL", "The flux capacitor is full."), UnknownAnswerError),
        (ended("RESOURCE_EXHAUSTED", "The flux capacitor is full."), UnknownAnswerError),
        (ended("FAILED_PRECONDITION", "The flux capacitor is full."), UnknownRefusalError),
        (ended("NOT_FOUND", "The flux capacitor is empty."), UnknownRefusalError),
        (answered(400, "The flux capacitor is full.", code="FAILED_PRECONDITION"), UnknownRefusalError),
        (answered(412, "The flux capacitor is full."), UnknownRefusalError),
        (answered(418, "teapot"), UnknownRefusalError),
        (from_operation({}, "x"), UnknownAnswerError),
    ],
)
def test_an_answer_that_nobody_knows_is_unknown(error, kind):
    assert type(error) is kind
    assert error.reason is Reason.UNKNOWN_ANSWER
    assert "flux" not in error.user_message
    assert "does not know" in error.user_message
    assert isinstance(error, RetryableError) != isinstance(error, PermanentError)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (
            ended("INTERNAL", "Internal error. Please try again or contact Google Support. (Code: '-1')"),
            OperationFailedError,
        ),
        (
            from_operation({"code": 10, "message": "Failed to perform tenant project creation"}, "x"),
            OperationFailedError,
        ),
        (
            from_operation(
                {"code": 5, "message": "Resource 'projects/p/locations/z/instances/nb-x' was not found"}, "x"
            ),
            OperationFailedError,
        ),
        (
            answered(400, "The user does not have access to service account 'a'.", code="INVALID_ARGUMENT"),
            AccessDeniedError,
        ),
        (from_operation({"code": 14, "message": "come back"}, "x"), CloudUnavailableError),
        (answered(503, "The service is currently unavailable."), CloudUnavailableError),
        (answered(500, "Internal error encountered.", code="INTERNAL"), CloudUnavailableError),
        (answered(409, "unable to queue the operation", service=Service.NOTEBOOKS), BusyError),
        (
            answered(429, "Quota exceeded for quota metric 'W' and limit 'W per minute' of service 's'"),
            RateLimitedError,
        ),
        (answered(429, "No.", details=[info("RATE_LIMIT_EXCEEDED", quota_limit="W")]), RateLimitedError),
    ],
)
def test_what_passes_by_itself_is_told_apart(error, kind):
    assert type(error) is kind


@pytest.mark.parametrize(
    "text",
    [
        "See https://console.cloud.google.com/x for ana.silva@example.com",
        "Constraint constraints/x.y violated, see https://console.cloud.google.com/x",
        "Invalid value for field 'resource.name': 'https://evil.example/ana@example.com'. Nope.",
        "Quota 'CPUS' exceeded. See https://x.example. Limit: 1.0",
        "Notebooks API has not been used in project p. Visit https://x.example",
    ],
)
@pytest.mark.parametrize("status", [400, 403, 404, 409, 412, 429, 500])
def test_no_text_for_people_has_an_address_of_a_page_or_of_a_person(text, status):
    for error in (
        answered(status, text),
        from_status(status, text, "x"),
        from_operation({"code": status % 17, "message": text}, "x"),
    ):
        assert "http" not in error.user_message
        assert "@" not in error.user_message + error.detail
