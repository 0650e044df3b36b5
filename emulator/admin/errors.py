"""The errors of Google's administrative APIs, each in a publicly documented shape, with its source.

Tests also script these errors. Numbers and names are those of this cloud; wording, status, `reason`, `domain` and
`@type` are Google's.
"""

from __future__ import annotations

from emulator.errors import ApiError

_RPC = "type.googleapis.com/google.rpc."
_TITLES = {
    "artifactregistry": "Artifact Registry API", "bigquery": "BigQuery API", "cloudbuild": "Cloud Build API",
    "cloudfunctions": "Cloud Functions API", "cloudkms": "Cloud Key Management Service (KMS) API",
    "cloudscheduler": "Cloud Scheduler API", "compute": "Compute Engine API", "eventarc": "Eventarc API",
    "iam": "Identity and Access Management (IAM) API", "logging": "Cloud Logging API", "monitoring": "Cloud Monitoring API",
    "notebooks": "Notebooks API", "pubsub": "Cloud Pub/Sub API", "run": "Cloud Run Admin API",
}  # fmt: skip


def _details(kind: str, **fields: object) -> dict[str, object]:
    return {"@type": f"{_RPC}{kind}", **fields}


def api_disabled(api: str, project: str) -> ApiError:
    """Return the error for an API that is not enabled. Source: github.com/google-gemini/gemini-cli/issues/1343 (whole body)."""
    title = _TITLES.get(api.partition(".")[0], api)
    url = f"https://console.developers.google.com/apis/api/{api}/overview?project={project}"
    return ApiError(
        "PERMISSION_DENIED",
        f"{title} has not been used in project {project} before or it is disabled. Enable it by visiting {url} then retry. If "
        "you enabled this API recently, wait a few minutes for the action to propagate to our systems and retry.",
        details=[
            _details(
                "ErrorInfo",
                reason="SERVICE_DISABLED",
                domain="googleapis.com",
                metadata={
                    "serviceTitle": title,
                    "consumer": f"projects/{project}",
                    "containerInfo": project,
                    "service": api,
                    "activationUrl": url,
                },
            ),
            _details("LocalizedMessage", locale="en-US", message=f"{title} is disabled. Enable it by visiting {url}"),
            _details("Help", links=[{"description": "Google developers console API activation", "url": url}]),
        ],
    )


def billing_off(number: str, *apis: str) -> ApiError:
    """Return the error for enabling an API in a project without a billing account.

    Source: github.com/kyegomez/zeta/issues/71 (gcloud's whole output).
    """
    names = ",".join(apis)
    subject = f"?error_code=390001&project={number}" + "".join(f"&services={api}" for api in apis)
    return ApiError(
        "FAILED_PRECONDITION",
        f"Billing account for project '{number}' is not found. Billing must be enabled for activation of service(s) "
        f"'{names}' to proceed.",
        details=[
            _details(
                "PreconditionFailure", violations=[{"type": "googleapis.com/billing-enabled", "subject": subject}]
            ),
            _details(
                "ErrorInfo",
                reason="UREQ_PROJECT_BILLING_NOT_FOUND",
                domain="serviceusage.googleapis.com/billing-enabled",
                metadata={"project": number, "services": names},
            ),
        ],
    )


def organization_policy(project: str, member: str) -> ApiError:
    """Return the error for a member outside the permitted organizations.

    Sources: github.com/terraform-google-modules/terraform-example-foundation/issues/1454 (whole details),
    github.com/MicrosoftDocs/azure-docs/issues/117449 (FAILED_PRECONDITION as gcloud prints it).
    """
    return ApiError(
        "FAILED_PRECONDITION",
        "One or more users named in the policy do not belong to a permitted customer.",
        details=[
            _details(
                "PreconditionFailure",
                violations=[
                    {
                        "type": "constraints/iam.allowedPolicyMemberDomains",
                        "subject": f"orgpolicy:projects/{project}?configvalue={member}",
                        "description": f"User {member} is not in permitted organization.",
                    }
                ],
            )
        ],
    )


def permission_denied(permission: str, resource: str) -> ApiError:
    """Return the error for a caller without a permission.

    Message: github.com/CrowdStrike/falcon-integration-gateway/pull/98; the ErrorInfo (reason and domain as newer services send
    it) is INFERRED: no whole body was found.
    """
    return ApiError(
        "PERMISSION_DENIED",
        f"Permission '{permission}' denied on resource '{resource}' (or it may not exist).",
        details=[
            _details(
                "ErrorInfo",
                reason="IAM_PERMISSION_DENIED",
                domain="iam.googleapis.com",
                metadata={"permission": permission, "resource": resource.partition("googleapis.com/")[2] or resource},
            )
        ],
    )


def no_such_project(project: str) -> ApiError:
    """Return the error for a project that does not exist or that the caller may not see; both look alike.

    Source: github.com/GoogleCloudPlatform/k8s-config-connector/issues/273 (`The caller does not have permission`).
    """
    del project
    return ApiError("PERMISSION_DENIED", "The caller does not have permission")


def user_project_denied(project: str, api: str) -> ApiError:
    """Return the error for a caller without the right to use the project for the call.

    Sources: github.com/google-github-actions/auth/issues/250 (message, Help),
    github.com/GoogleCloudPlatform/pbmm-on-gcp-onboarding/issues/379 (ErrorInfo).
    """
    url = f"https://console.developers.google.com/iam-admin/iam/project?project={project}"
    return ApiError(
        "PERMISSION_DENIED",
        f"Caller does not have required permission to use project {project}. Grant the caller the "
        "roles/serviceusage.serviceUsageConsumer role, or a custom role with the serviceusage.services.use permission, by "
        f"visiting {url} and then retry. Propagation of the new permission may take a few minutes.",
        details=[
            _details("Help", links=[{"description": "Google developer console IAM admin", "url": url}]),
            _details(
                "ErrorInfo",
                reason="USER_PROJECT_DENIED",
                domain="googleapis.com",
                metadata={"consumer": f"projects/{project}", "service": api},
            ),
        ],
    )


def not_logged_in(method: str, api: str) -> ApiError:
    """Return the error for a missing, wrong or expired token.

    Source: github.com/googleapis/google-cloud-python/issues/15080 (whole text).
    """
    return ApiError(
        "UNAUTHENTICATED",
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid "
        "authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
        details=[
            _details(
                "ErrorInfo",
                reason="ACCESS_TOKEN_EXPIRED",
                domain="googleapis.com",
                metadata={"method": method, "service": api},
            )
        ],
    )


def quota(
    api: str, number: str, *, metric: str = "Write requests", limit: str = "Write requests per minute"
) -> ApiError:
    """Return the error for a call above the rate limit.

    Sources: github.com/GoogleCloudPlatform/python-docs-samples/issues/3482 (message); reason and domain:
    google/api/error_reason.proto of googleapis (RATE_LIMIT_EXCEEDED).
    """
    return ApiError(
        "RESOURCE_EXHAUSTED",
        f"Quota exceeded for quota metric '{metric}' and limit '{limit}' of service '{api}' for consumer "
        f"'project_number:{number}'.",
        details=[
            _details(
                "ErrorInfo",
                reason="RATE_LIMIT_EXCEEDED",
                domain="googleapis.com",
                metadata={"service": api, "consumer": f"projects/{number}", "quota_metric": f"{api}/{metric}"},
            )
        ],
    )


def quota_used_up() -> ApiError:
    """Return the error for an exceeded quota of resources, not of calls.

    Source: github.com/rapidwebltd/php-google-people-api/issues/45 (whole body).
    """
    return ApiError(
        "RESOURCE_EXHAUSTED",
        "Resource has been exhausted (e.g. check quota).",
        details=[
            _details(
                "QuotaFailure", violations=[{"subject": "QUOTA_EXCEEDED", "description": "FBS quota limit exceeded"}]
            )
        ],
    )


def unavailable() -> ApiError:
    """Return a temporary error.

    Source: google/rpc/code.proto of googleapis (UNAVAILABLE, 503), with the front ends' usual text.
    """
    return ApiError("UNAVAILABLE", "The service is currently unavailable.")


def concurrent_change() -> ApiError:
    """Return the error for a policy that was changed in between. Source: github.com/DataBiosphere/leonardo/pull/737 (whole body)."""
    return ApiError(
        "ABORTED",
        "There were concurrent policy changes. Please retry the whole read-modify-write with exponential backoff.",
    )


def bucket_of_another() -> ApiError:
    """Return the error for a bucket name that is taken. Source: github.com/GoogleCloudPlatform/mlops-with-vertex-ai/issues/26."""
    return ApiError(
        "ALREADY_EXISTS",
        "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select "
        "a different name and try again.",
        reason="conflict",
    )


def bucket_denied(who: str, bucket: str, permission: str = "storage.buckets.get") -> ApiError:
    """Return the error for a bucket of another project, or one that the caller may not see.

    INFERRED from the Storage JSON API's usual wording: no whole body was found.
    """
    return ApiError(
        "PERMISSION_DENIED",
        f"{who} does not have {permission} access to the Google Cloud Storage bucket. Permission '{permission}' denied on "
        f"resource '//storage.googleapis.com/projects/_/buckets/{bucket}' (or it may not exist).",
        reason="forbidden",
    )
