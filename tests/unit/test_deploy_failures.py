"""What gcloud says when something goes wrong, and what a person is told: one line of cause, one of remedy, and the right kind.

The texts are gcloud 528's own: it was run against the administrative services of emulator/admin, which answered with the bodies of
emulator/admin/errors.py. They are shortened where a text goes on about something else; the person's address stands for
gcloud's `[None]`, which it prints for a plain access token. Texts of another origin name their source.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from cli.deploy.failures import (
    DeployError,
    NoAccessError,
    NoLoginError,
    NotThereError,
    NotYetError,
    ThereAlreadyError,
    failure,
)

ACTIVATION = (
    " has not been used in project acme-analytics before or it is disabled. Enable it by visiting "
    "https://console.developers.google.com/apis/api/pubsub.googleapis.com/overview?project=acme-analytics then retry. If you enabled "
    "this API recently, wait a few minutes for the action to propagate to our systems and retry."
)
MODIFICATION = (
    'ERROR: Policy modification failed. For a binding with condition, run "gcloud alpha iam policies lint-condition" to '
    "identify issues in condition.\n"
)
DENIED_ON = "[me@acme.example] does not have permission to access {what} (or it may not exist): "
NETWORK = (
    "\nThis may be due to network connectivity issues. Please check your network settings, and the status of the service you are "
    "trying to reach."
)
CRASH = (
    "\n\nIf you would like to report this issue, please run the following command:\n  gcloud feedback\n\n"
    "To check gcloud for common problems, please run the following command:\n  gcloud info --run-diagnostics\n"
)


@dataclass(frozen=True)
class Said:
    """What gcloud printed, and what is to be made of it."""

    text: str
    kind: type[DeployError]
    cause: str
    remedy: str = ""


def on(what: str) -> str:
    return DENIED_ON.format(what=what)


LOGIN = "You are not logged in to Google Cloud."
QUOTA = "A quota of project acme-analytics is used up."
NOBODY = "A service account is not known everywhere yet."
NO_ANSWER = "Google Cloud gave an unexpected answer."
MEANWHILE = "Another program changed the same resource at the same time."
BEFORE = "It exists already"

TOLD: dict[str, Said] = {
    "not logged in": Said(
        "ERROR: (gcloud.projects.describe) You do not currently have an active account selected.\nPlease run:\n\n"
        "  $ gcloud auth login\n\nto obtain new credentials.\n",
        NoLoginError, LOGIN, "gcloud auth login",
    ),
    "a domain of somebody else": Said(
        "ERROR: (gcloud.beta.run.domain-mappings.create) The provided domain does not appear to be verified for the current account so a "
        "domain mapping cannot be created. Visit [https://cloud.google.com/run/docs/mapping-custom-domains/] for more information.\n"
        "You currently have no verified domains.\n",
        DeployError, "You have not verified the domain of `hub_domain`.", "gcloud domains verify DOMAIN",
    ),
    "an expired token": Said(
        "ERROR: (gcloud.projects.describe) UNAUTHENTICATED: Request had invalid authentication credentials. Expected OAuth 2 access "
        "token, login cookie or other valid authentication credential.\n- '@type': type.googleapis.com/google.rpc.ErrorInfo\n"
        "  reason: ACCESS_TOKEN_EXPIRED\n",
        NoLoginError, LOGIN, "gcloud auth login",
    ),
    # googlecloudsdk/core/credentials/exceptions.py: TokenRefreshError
    "a login that has run out": Said(
        "ERROR: (gcloud.projects.describe) There was a problem refreshing your current auth tokens: ('invalid_grant: Bad Request', "
        "{'error': 'invalid_grant', 'error_description': 'Bad Request'})\nPlease run:\n\n  $ gcloud auth login\n",
        NoLoginError, LOGIN, "gcloud auth login",
    ),
    "no project that may be seen": Said(
        "ERROR: (gcloud.projects.describe) " + on("projects instance [acme-analytics]") + "The caller does not have permission.\n",
        DeployError, "There is no project acme-analytics, or you have no access to it.", "gcloud projects list",
    ),
    "a project that a service does not know": Said(
        "ERROR: (gcloud.pubsub.topics.list) Projects instance [acme-analytics] not found: Requested project not found or user does "
        "not have access to it (project=acme-analytics). Make sure to specify the unique project identifier.\n",
        DeployError, "There is no project acme-analytics, or you have no access to it.", "gcloud projects list",
    ),
    "billing is off": Said(
        "ERROR: (gcloud.services.enable) FAILED_PRECONDITION: Billing account for project '123456789012' is not found. Billing must "
        "be enabled for activation of service(s) 'cloudkms.googleapis.com' to proceed.\n"
        "- '@type': type.googleapis.com/google.rpc.ErrorInfo\n  domain: serviceusage.googleapis.com/billing-enabled\n"
        "  reason: UREQ_PROJECT_BILLING_NOT_FOUND\n",
        DeployError, "Billing is off for project acme-analytics.", "gcloud billing projects link acme-analytics",
    ),
    "a service is off": Said(
        "ERROR: (gcloud.pubsub.topics.list) " + on("projects instance [acme-analytics]") + "Cloud Pub/Sub API" + ACTIVATION + "\n",
        NotYetError, "A service of project acme-analytics is off: pubsub.googleapis.com.", "gcloud services enable pubsub.googleapis.com",
    ),
    "a policy of the organization": Said(
        MODIFICATION + "ERROR: (gcloud.projects.add-iam-policy-binding) FAILED_PRECONDITION: One or more users named in the policy do "
        "not belong to a permitted customer.\n- '@type': type.googleapis.com/google.rpc.PreconditionFailure\n  violations:\n"
        "  - description: User group:x@other.example is not in permitted organization.\n"
        "    subject: orgpolicy:projects/acme-analytics?configvalue=group:x@other.example\n"
        "    type: constraints/iam.allowedPolicyMemberDomains\n",
        DeployError, "A policy of the organization forbids it.", "acme-analytics",
    ),
    "calls too many": Said(
        "ERROR: Failed to create topic [projects/acme-analytics/topics/t1]: Quota exceeded for quota metric 'Write requests' and limit "
        "'Write requests per minute' of service 'pubsub.googleapis.com' for consumer 'project_number:123456789012'.\n"
        "ERROR: (gcloud.pubsub.topics.create) Failed to create the following: [t1].\n",
        DeployError, QUOTA, "Quotas",
    ),
    "things too many": Said(
        "ERROR: (gcloud.iam.service-accounts.create) RESOURCE_EXHAUSTED: Resource has been exhausted (e.g. check quota).\n",
        DeployError, QUOTA, "Quotas",
    ),
    "no permission to make": Said(
        "ERROR: (gcloud.iam.service-accounts.create) " + on("projects instance [acme-analytics]")
        + "Permission 'iam.serviceAccounts.create' denied on resource 'projects/acme-analytics' (or it may not exist).\n"
        "- '@type': type.googleapis.com/google.rpc.ErrorInfo\n  reason: IAM_PERMISSION_DENIED\n",
        NoAccessError, "You lack a permission: iam.serviceAccounts.create.", "Ask an owner of project acme-analytics",
    ),
    "no permission to use the project": Said(
        "ERROR: (gcloud.services.list) " + on("projects instance [acme-analytics]")
        + "Caller does not have required permission to use project acme-analytics. Grant the caller the "
        "roles/serviceusage.serviceUsageConsumer role, or a custom role with the serviceusage.services.use permission, by visiting "
        "https://console.developers.google.com/iam-admin/iam/project?project=acme-analytics and then retry.\n",
        NoAccessError, "You lack a permission: serviceusage.services.use.", "Who may deploy",
    ),
    "no permission for the organization's sinks": Said(
        "ERROR: (gcloud.logging.sinks.list) " + on("organizations instance [987654321098]")
        + "Permission 'logging.sinks.list' denied on resource 'organizations/987654321098' (or it may not exist).\n",
        NoAccessError, "You lack a permission: logging.sinks.list.",
    ),
    "no permission that is named": Said(
        "ERROR: (gcloud.run.services.get-iam-policy) PERMISSION_DENIED: The caller does not have permission.\n",
        NoAccessError, "You lack a permission: gcloud does what.",
    ),
    "an account that is new": Said(
        MODIFICATION + "ERROR: (gcloud.projects.add-iam-policy-binding) INVALID_ARGUMENT: Service account "
        "new@acme-analytics.iam.gserviceaccount.com does not exist.\n",
        NotYetError, NOBODY,
    ),
    "an account that is new to a bucket": Said(
        "ERROR: (gcloud.storage.buckets.add-iam-policy-binding) HTTPError 400: Service account "
        "new@acme-analytics.iam.gserviceaccount.com does not exist.\n",
        NotYetError, NOBODY,
    ),
    "Eventarc's agent is new": Said(
        "ERROR: (gcloud.functions.deploy) INVALID_ARGUMENT: Validation failed for trigger projects/acme-analytics/locations/europe-west1/"
        'triggers/benchkeeper-tick-1: Invalid resource state for "": Permission denied while using the Eventarc Service Agent. If you '
        "recently started to use Eventarc, it may take a few minutes before all necessary permissions are propagated to the Service "
        "Agent. Otherwise, verify that it has Eventarc Service Agent role.\n",
        NotYetError, "The service agent of Eventarc has no rights yet",
    ),
    "an answer that is lost": Said(
        "ERROR: (gcloud.pubsub.topics.list) HttpError accessing <https://pubsub.googleapis.com/v1/projects/acme-analytics/topics?alt=json>"
        ': response: <{\'status\': 503}>, content <{"error":{"code":503,"message":"The service is currently unavailable.","status":'
        '"UNAVAILABLE"}}>' + NETWORK,
        NotYetError, NO_ANSWER,
    ),
    "an inner error": Said(
        "ERROR: (gcloud.pubsub.topics.list) HttpError accessing <https://pubsub.googleapis.com/v1/projects/acme-analytics/topics?alt=json>"
        ': response: <{\'status\': 500}>, content <{"error":{"code":500,"message":"Internal error encountered.","status":"INTERNAL"}}>' + NETWORK,
        NotYetError, NO_ANSWER,
    ),
    "no network": Said(
        "ERROR: gcloud crashed (ConnectionError): HTTPConnectionPool(host='pubsub.googleapis.com', port=443): Max retries exceeded with "
        "url: /v1/projects/acme-analytics/topics?alt=json (Caused by NewConnectionError('<urllib3.connection.HTTPConnection object>: "
        "Failed to establish a new connection: [Errno 111] Connection refused'))" + CRASH,
        NotYetError, NO_ANSWER,
    ),
    "two who write one policy": Said(
        "ERROR: (gcloud.projects.add-iam-policy-binding) Resource in projects [acme-analytics:setIamPolicy] is the subject of a "
        "conflict: There were concurrent policy changes. Please retry the whole read-modify-write with exponential backoff.\n",
        NotYetError, MEANWHILE,
    ),
    "two who write one bucket's policy": Said(
        "ERROR: (gcloud.storage.buckets.add-iam-policy-binding) HTTPError 412: At least one of the pre-conditions you specified did "
        "not hold.\n",
        NotYetError, MEANWHILE,
    ),
    "somebody else's bucket": Said(
        "Creating gs://acme-analytics-benchkeeper/...\nERROR: (gcloud.storage.buckets.create) HTTPError 409: The requested bucket name is "
        "not available. The bucket namespace is shared by all users of the system. Please select a different name and try again.\n",
        DeployError, "Another project already has a bucket of this name.", "`bucket` of the settings file",
    ),
    "a topic that is there": Said(
        "ERROR: Failed to create topic [projects/acme-analytics/topics/t-a]: Resource already exists in the project (resource=t-a).\n"
        "ERROR: (gcloud.pubsub.topics.create) Failed to create the following: [t-a].\n",
        ThereAlreadyError, BEFORE,
    ),
    "an account that is there": Said(
        "ERROR: (gcloud.iam.service-accounts.create) Resource in projects [acme-analytics] is the subject of a conflict: Service account "
        "acct-aa already exists within project projects/acme-analytics.\n",
        ThereAlreadyError, BEFORE,
    ),
    "a role that is there": Said(
        "ERROR: (gcloud.iam.roles.create) Resource in projects [acme-analytics] is the subject of a conflict: A role named role_a in "
        "projects/acme-analytics already exists.\n",
        ThereAlreadyError, BEFORE,
    ),
    "a sink that is there": Said(
        "ERROR: (gcloud.logging.sinks.create) Resource in projects [acme-analytics] is the subject of a conflict: Sink sink-a already "
        "exists\n",
        ThereAlreadyError, BEFORE,
    ),
    "a job that is there": Said(
        "ERROR: (gcloud.scheduler.jobs.create.pubsub) ALREADY_EXISTS: Job projects/acme-analytics/locations/europe-west1/jobs/job-a "
        "already exists.\n",
        ThereAlreadyError, BEFORE,
    ),
}  # fmt: skip

# Each has words of another cause in it.
WRONG: dict[str, Said] = {
    "a group that nobody has": Said(
        MODIFICATION + "ERROR: (gcloud.projects.add-iam-policy-binding) INVALID_ARGUMENT: Group x@other.example does not exist.\n",
        DeployError, "A member named in the configuration does not exist: x@other.example.", "config/profiles.yaml",
    ),
    "our own bucket, whose answer was lost": Said(
        "Creating gs://acme-analytics-benchkeeper/...\nERROR: (gcloud.storage.buckets.create) HTTPError 409: Your previous request to "
        "create the named bucket succeeded and you already own it.\n",
        ThereAlreadyError, BEFORE,
    ),
    "no permission to list what a project has": Said(
        "ERROR: (gcloud.pubsub.topics.list) " + on("projects instance [acme-analytics]") + "The caller does not have permission.\n",
        NoAccessError, "You lack a permission",
    ),
    "a role that is new": Said(
        MODIFICATION + "ERROR: (gcloud.projects.add-iam-policy-binding) INVALID_ARGUMENT: Role (projects/acme-analytics/roles/"
        "benchkeeper_sweeps) does not exist in the resource's hierarchy.\n",
        NotYetError, "A custom role is not known everywhere yet.",
    ),
    "an account that is new to IAM itself": Said(
        "ERROR: (gcloud.iam.service-accounts.add-iam-policy-binding) NOT_FOUND: Unknown service account: "
        "projects/acme-analytics/serviceAccounts/new@acme-analytics.iam.gserviceaccount.com.\n",
        NotYetError, NOBODY,
    ),
    "an argument that is wrong for ever": Said(
        "ERROR: (gcloud.functions.deploy) INVALID_ARGUMENT: Could not use serviceAccount of another project.\n",
        DeployError, "gcloud does what failed: ERROR: (gcloud.functions.deploy) INVALID_ARGUMENT",
    ),
}  # fmt: skip


def told(said: Said) -> DeployError:
    return failure(said.text, project="acme-analytics", what="gcloud does what")


def check(said: Said) -> None:
    error = told(said)
    assert type(error) is said.kind, error
    assert error.cause.startswith(said.cause)
    assert said.remedy in error.remedy
    assert "\n" not in error.cause + error.remedy
    assert error.said == said.text


@pytest.mark.parametrize("name", TOLD)
def test_a_cause_and_a_remedy_of_the_right_kind(name):
    check(TOLD[name])


@pytest.mark.parametrize("name", WRONG)
def test_a_cause_that_looks_like_another(name):
    check(WRONG[name])


# ---- unknown is not absent

ABSENT = {
    "bucket": "ERROR: (gcloud.storage.buckets.describe) gs://acme-analytics-benchkeeper not found: 404.\n",
    "bucket's policy": "ERROR: (gcloud.storage.buckets.get-iam-policy) gs://acme-analytics-benchkeeper not found: 404.\n",
    "topic": "ERROR: (gcloud.pubsub.topics.describe) NOT_FOUND: Resource not found (resource=nope).\n",
    "topic's policy": "ERROR: (gcloud.pubsub.topics.get-iam-policy) NOT_FOUND: Resource not found (resource=nope).\n",
    "role": "ERROR: (gcloud.iam.roles.describe) NOT_FOUND: The role named projects/acme-analytics/roles/nope_role was not found.\n",
    "function": (
        "ERROR: (gcloud.functions.describe) ResponseError: status=[404], code=[Ok], message=[Resource 'projects/acme-analytics/locations/"
        "europe-west1/functions/nope' was not found]\n"
    ),
    "service": "ERROR: (gcloud.run.services.get-iam-policy) NOT_FOUND: Resource 'nope' of kind 'SERVICE' does not exist.\n",
    "job": (
        "ERROR: (gcloud.scheduler.jobs.delete) NOT_FOUND: Job projects/acme-analytics/locations/europe-west1/jobs/nope not found.\n"
    ),
    "sink": "ERROR: (gcloud.logging.sinks.delete) NOT_FOUND: Sink nope does not exist.\n",
    "metric": "ERROR: (gcloud.logging.metrics.delete) NOT_FOUND: Metric nope does not exist.\n",
    "dashboard": "ERROR: (gcloud.monitoring.dashboards.delete) NOT_FOUND: Could not find projects/123456789012/dashboards/nope.\n",
    "view": 'HTTPError 404: {"error": {"code": 404, "message": "Not found: Table acme-analytics:benchkeeper.cost_by_user", "status": "NOT_FOUND"}}',
    "dataset": 'HTTPError 404: {"error": {"code": 404, "message": "Not found: Dataset acme-analytics:benchkeeper", "status": "NOT_FOUND"}}',
}  # fmt: skip


@pytest.mark.parametrize("what", ABSENT)
def test_what_is_absent_is_absent_and_not_hidden(what):
    error = failure(ABSENT[what], project="acme-analytics", what="gcloud storage buckets describe")
    assert type(error) is NotThereError
    assert error.cause == "gcloud storage buckets describe: it does not exist."


@pytest.mark.parametrize(
    "text",
    [
        (
            "ERROR: Failed to delete subscription [projects/acme-analytics/subscriptions/nope]: Resource not found (resource=nope).\n"
            "ERROR: (gcloud.pubsub.subscriptions.delete) Failed to delete the following: [nope].\n"
        ),
        "ERROR: (gcloud.projects.remove-iam-policy-binding) Policy bindings with the specified principal and role not found!\n",
        # The wording of the service itself since regions are named in it.
        (
            "ERROR: (gcloud.run.services.get-iam-policy) NOT_FOUND: Resource 'nope' of kind 'SERVICE' in region 'europe-west1' in project "
            "'acme-analytics' does not exist.\n"
        ),
        "ERROR: (gcloud.run.services.describe) Cannot find service [nope]\n",
        "ERROR: (gcloud.beta.iap.web.get-iam-policy) NOT_FOUND: Requested entity was not found.\n",
    ],
)
def test_what_is_absent_in_other_words_is_absent(text):
    assert type(failure(text, project="acme-analytics", what="gcloud does what")) is NotThereError


BUCKET_403 = (
    on("b instance [acme-analytics-benchkeeper]")
    + "me@acme.example does not have {permission} access to the Google Cloud Storage bucket. Permission '{permission}' denied on "
    "resource '//storage.googleapis.com/projects/_/buckets/acme-analytics-benchkeeper' (or it may not exist).\n"
)
HIDDEN = {
    "storage.buckets.get": "ERROR: (gcloud.storage.buckets.describe) " + BUCKET_403,
    "storage.buckets.getIamPolicy": "ERROR: (gcloud.storage.buckets.get-iam-policy) " + BUCKET_403,
    "iam.serviceAccounts.getIamPolicy": (
        "ERROR: (gcloud.iam.service-accounts.get-iam-policy) PERMISSION_DENIED: Permission '{permission}' denied on resource "
        "'projects/acme-analytics/serviceAccounts/nope@acme-analytics.iam.gserviceaccount.com' (or it may not exist).\n"
    ),
    "resourcemanager.projects.getIamPolicy": (
        "ERROR: (gcloud.projects.get-iam-policy) " + on("projects instance [acme-analytics:getIamPolicy]")
        + "Permission '{permission}' denied on resource '//cloudresourcemanager.googleapis.com/projects/acme-analytics' (or it may not "
        "exist).\n"
    ),
    # BigQuery: Access Denied, as its error table words it.
    "bigquery.datasets.get": (
        'HTTPError 403: {{"error": {{"code": 403, "message": "Access Denied: Dataset acme-billing:billing: Permission {permission} denied '
        'on dataset acme-billing:billing (or it may not exist).", "errors": [{{"reason": "accessDenied"}}]}}}}'
    ),
}  # fmt: skip


@pytest.mark.parametrize("permission", HIDDEN)
def test_what_may_not_be_seen_is_neither_absent_nor_another_project(permission):
    error = failure(HIDDEN[permission].format(permission=permission), project="acme-analytics", what="gcloud reads")
    assert type(error) is NoAccessError
    assert permission in error.cause
    assert "no project" not in error.cause


# ---- what is not known


def test_what_is_not_known_keeps_the_first_line_of_gclouds_own():
    said = (
        "WARNING: something else\nERROR: Failed to create topic [projects/acme-analytics/topics/t-z]: The frobnicator is set to an "
        "unsupported value.\nERROR: (gcloud.pubsub.topics.create) Failed to create the following: [t-z].\n"
    )
    error = failure(said, project="acme-analytics", what="gcloud pubsub topics create")
    assert type(error) is DeployError
    assert error.cause.endswith("topics/t-z]: The frobnicator is set to an unsupported value.")
    assert error.said == said


def test_a_crash_of_gcloud_is_told_as_it_says():
    said = f"ERROR: gcloud crashed (TypeError): 'NoneType' object is not subscriptable{CRASH}"
    error = failure(said, project="acme-analytics", what="gcloud run services get-iam-policy")
    assert type(error) is DeployError
    assert "gcloud crashed (TypeError): 'NoneType' object is not subscriptable" in error.cause


@pytest.mark.parametrize(
    ("said", "line"),
    [("no such thing\nat all\n", "at all"), ("", ""), ("\n \n", ""), ("ERROR: " + "x" * 5000, "x" * 293)],
)
def test_whatever_is_said_a_line_comes_of_it(said, line):
    error = failure(said, project="acme-analytics", what="gcloud does what")
    assert type(error) is DeployError
    assert error.cause.startswith("gcloud does what failed: ")
    assert error.cause.endswith(line)
    assert len(error.cause) <= 330
