"""The failures of gcloud, each as one line of cause and one line of remedy.

This module reads gcloud's output. `shared.cloud.http.words` reads the answers of the APIs that the product itself
calls.
"""

from __future__ import annotations

import re

from msgspec import Struct


class DeployError(Exception):
    """An error that needs action by the deploying user. `cause` and `remedy` are a line each; `said` is gcloud's own text, for the log."""

    def __init__(self, cause: str, remedy: str, *, said: str = "") -> None:
        super().__init__(f"{cause} {remedy}".strip())
        self.cause, self.remedy, self.said = cause, remedy, said


class NotThereError(DeployError):
    """The error of a missing resource. In a plan without a login, the read of any single resource raises it."""


class ThereAlreadyError(DeployError):
    """The error of a create command whose resource exists already."""


class NotYetError(DeployError):
    """The error of a failure that may be temporary, so a step or read is retried.

    Examples: a new account or service is not yet known everywhere, the cloud did not answer, or another program changed
    the resource.
    """


class NoAccessError(DeployError):
    """The error of a permission that the deploying account lacks."""


class NoLoginError(DeployError):
    """The error of a missing login, or of a missing gcloud.

    The project cannot be read, so a dry run plans for an empty project.
    """


class _Known(Struct, frozen=True):
    pattern: re.Pattern[str]
    kind: type[DeployError]
    cause: str
    remedy: str


def _known(pattern: str, cause: str, remedy: str, kind: type[DeployError] = DeployError) -> _Known:
    return _Known(re.compile(pattern, re.IGNORECASE | re.DOTALL), kind, cause, remedy)


# The first match is used. The texts are those that gcloud 528 prints for the recorded error bodies (tests/kit/gcp/errors.py).
_KNOWN = (
    _known(
        r"no active account|do not currently have an active account|reauthentication|invalid_grant|"
        r"UNAUTHENTICATED|invalid authentication credentials|There was a problem refreshing",
        "You are not logged in to Google Cloud.",
        "Run: gcloud auth login",
        NoLoginError,
    ),
    _known(
        r"UREQ_PROJECT_BILLING|billing account .{0,80}not found|billing to be enabled|billing must be enabled|"
        r"BILLING_DISABLED|billing account for the owning project is disabled|delinquent",
        "Billing is off for project {project}.",
        "Link a billing account: gcloud billing projects link {project} --billing-account=ACCOUNT_ID",
    ),
    _known(
        r"SERVICE_DISABLED|has not been used in project|API .{0,60}not enabled|it is disabled\. Enable it",
        "A service of project {project} is off: {service}.",
        "Run this again (services are turned on first, which can take minutes), or: gcloud services enable {service} "
        "--project={project}",
        NotYetError,
    ),
    _known(
        r"service account .{0,200}does not exist|Identity Pool does not exist|Unknown service account",
        "A service account is not known everywhere yet.",
        "Run this again in a minute.",
        NotYetError,
    ),
    _known(
        r"Role \S{1,120} does not exist in the resource",
        "A custom role is not known everywhere yet.",
        "Run this again in a minute.",
        NotYetError,
    ),
    _known(
        r"(Group|User|Principal|Domain) \S{1,200} does not exist|of type \"(group|user)\" is not",
        "A member named in the configuration does not exist: {member}.",
        "Correct `assignments` or `data_group` in config/profiles.yaml, or `deployment` in the settings file.",
    ),
    _known(
        r"provided domain does not appear to be verified",
        "You have not verified the domain of `hub_domain`.",
        "Run: gcloud domains verify DOMAIN, then this again (docs/operations.md, The hub page).",
    ),
    _known(
        r"Permission denied while using the Eventarc Service Agent",
        "The service agent of Eventarc has no rights yet: it gets them some minutes after its service was turned on.",
        "Run this again in a few minutes.",
        NotYetError,
    ),
    _known(
        r"allowedPolicyMemberDomains|constraints/|organization policy|orgpolicy|violates constraint",
        "A policy of the organization forbids it.",
        "Ask an administrator of organization policies to allow this for project {project}.",
    ),
    _known(
        r"RESOURCE_EXHAUSTED|Quota exceeded|quota .{0,60}exceeded|RATE_LIMIT_EXCEEDED|rateLimitExceeded",
        "A quota of project {project} is used up.",
        "Wait a minute and run this again; if it happens again, request a higher quota: console > IAM & Admin > Quotas (docs/operations.md, "
        "A quota rise)",
    ),
    _known(
        r"IAM_PERMISSION_DENIED|USER_PROJECT_DENIED|Permission '[a-zA-Z.]+' denied|required permission to use project",
        "You lack a permission: {permission}.",
        "Ask an owner of project {project} for it, or for the roles in docs/operations.md, Who may deploy.",
        NoAccessError,
    ),
    _known(
        r"(?<!in )\bprojects? (instance )?\S{0,60} ?(not found|does not exist|is not found)|"
        r"gcloud\.projects\.describe\).{0,200}(does not have permission|PERMISSION_DENIED|forbidden|403)",
        "There is no project {project}, or you have no access to it.",
        "Check the id (gcloud projects list) and your account (gcloud auth list).",
    ),
    _known(
        r"PERMISSION_DENIED|does not have .{0,80}(permission|access)|IAM_PERMISSION_DENIED|forbidden|"
        r"Permission .{0,120} denied|HTTPError 403",
        "You lack a permission: {permission}.",
        "Ask an owner of project {project} for it, or for the roles in docs/operations.md, Who may deploy.",
        NoAccessError,
    ),
    _known(
        r"bucket name is not available|not available.{0,80}bucket namespace",
        "Another project already has a bucket of this name.",
        "Choose another in `bucket` of the settings file.",
    ),
    _known(
        r"ALREADY_EXISTS|already exists|you already own it|HTTPError 409.{0,200}(exist|duplicate)",
        "It exists already: it was created after the plan was made.",
        "Run this again: the next run compares the resource.",
        ThereAlreadyError,
    ),
    _known(
        r"UNAVAILABLE|HTTPError 50[023]|Internal error|backend error|INTERNAL\b|Connection(Error| refused| reset)|timed out",
        "Google Cloud gave an unexpected answer.",
        "Run this again; it continues where it stopped.",
        NotYetError,
    ),
    _known(
        r"ABORTED|concurrent policy changes|HTTPError 412|conditionNotMet|FINGERPRINT_MISMATCH|unable to queue the operation",
        "Another program changed the same resource at the same time.",
        "Run this again.",
        NotYetError,
    ),
)  # fmt: skip
_NOT_THERE = re.compile(
    r"NOT_FOUND|not found: 404|HTTPError 404|does not exist|was not found|notFound|Resource not found|principal and role not found"
    r"|Cannot find (service|domain mapping)",
    re.IGNORECASE,
)
_PERMISSION = re.compile(
    r"\b([a-z]+\.[A-Za-z]+\.[A-Za-z]+) permission|permission:?\s+'?([a-z]+(?:\.[A-Za-z]+){1,2})|'([a-z]+\.[A-Za-z]+\.[A-Za-z]+)'|\b([a-z]+\.[a-zA-Z]+\.[a-zA-Z]+) (?:access|denied)"
)
_MEMBER = re.compile(r"(?:Group|User|Principal|Domain) (\S+) does not exist")
_SERVICE = re.compile(r"\b([a-z]+\.googleapis\.com)\b")


def failure(said: str, *, project: str, what: str) -> DeployError:
    """Return the error for gcloud's output; `what` describes the command.

    The cause of an unknown error is gcloud's first line that begins with ERROR, or else its last line.
    """
    for known in _KNOWN:
        if known.pattern.search(said):
            words = {
                "project": project,
                "service": _first(_SERVICE, said, "unnamed"),
                "permission": _first(_PERMISSION, said, what),
                "member": _first(_MEMBER, said, "a member"),
            }
            return known.kind(known.cause.format(**words), known.remedy.format(**words), said=said)
    if _NOT_THERE.search(said):
        return NotThereError(
            f"{what}: it does not exist.", "Run this again; if it happens again, see docs/operations.md.", said=said
        )
    line = next(
        (text for text in said.splitlines() if text.startswith("ERROR")), said.strip().splitlines()[-1:] or [""]
    )
    text = line if isinstance(line, str) else line[0]
    return DeployError(
        f"{what} failed: {text[:300]}", "Fix the cause and run this again; it continues where it stopped.", said=said
    )


def _first(pattern: re.Pattern[str], text: str, otherwise: str) -> str:
    match = pattern.search(text)
    return next((group for group in match.groups() if group), otherwise) if match is not None else otherwise
