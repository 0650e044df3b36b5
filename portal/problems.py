"""The problems of a page, with the words that the user reads: what happened, and what to do now."""

from __future__ import annotations

from datetime import timedelta

from msgspec import Struct
from werkzeug.exceptions import HTTPException

from shared.domain.intent.roles import MAY, Right, Role
from shared.domain.things.errors import (
    AccessDeniedError,
    BenchkeeperError,
    NotSignedInError,
    PermanentError,
    Reason,
    RefusedError,
    RetryableError,
)

_ROLES = {
    Role.OWNER: "owner",
    Role.OPERATOR: "operator",
    Role.HELP_DESK: "help desk",
    Role.AUDITOR: "auditor",
}


class RolesOnlyError(PermanentError):
    """The error of a user without a role who requested a page for roles."""

    reason = Reason.ACCESS_DENIED

    def __init__(self) -> None:
        super().__init__(
            user_message="This page is for administrators.", detail="not a direct member of the group of any role"
        )


class NotYourRoleError(PermanentError):
    """The error of a user whose role does not have the right that the request needs."""

    reason = Reason.ACCESS_DENIED

    def __init__(self, role: Role, right: Right) -> None:
        who = " or ".join(_ROLES[each] for each in Role if right in MAY[each])
        super().__init__(
            user_message=f"You are signed in as {_ROLES[role]}, and this needs another role: {who}.",
            detail=f"role {role.value} without {right.value}",
        )


class NotEntitledError(PermanentError):
    """The error of a user who has no environment but requested its page."""

    reason = Reason.NOT_ENTITLED

    def __init__(self) -> None:
        super().__init__(
            user_message="There is no environment for you: ask the team that grants access to the data platform.",
            detail="not entitled",
        )


class RoleUnreadableError(RetryableError):
    """The error of a failed read of a role's group.

    The user's role is unknown, so the user is treated as having none.
    """

    reason = Reason.UNREADABLE

    def __init__(self) -> None:
        super().__init__(
            user_message="Your role could not be read just now. Try again in a minute.",
            detail="the group of a role could not be read",
            retry_after=timedelta(minutes=1),
        )


class ForgedError(PermanentError):
    """The error of a change that did not come from a form of this page, or came from an outdated form."""

    reason = Reason.REFUSED

    def __init__(
        self,
        detail: str,
        *,
        user_message: str = "This form is out of date, so nothing was changed. Open your page again and repeat it there.",
    ) -> None:
        super().__init__(user_message=user_message, detail=detail)


class TooManyError(RetryableError):
    """The error of a user who sends too many requests."""

    reason = Reason.RATE_LIMITED

    def __init__(self, wait_s: float) -> None:
        super().__init__(
            user_message="You sent too many requests. Wait a moment, then try again.",
            detail="rate limit of one person",
            retry_after=timedelta(seconds=max(1, round(wait_s + 0.5))),
        )


class Problem(Struct, frozen=True, kw_only=True):
    """An error response: status, title and message for people, the reason for metrics, the detail for the log.

    `allow` are the methods for the header `Allow` of a 405.
    """

    status: int
    title: str
    message: str
    reason: str
    detail: str
    retry_after_s: int | None = None
    allow: tuple[str, ...] = ()


_TITLES = {
    400: "The request could not be understood",
    404: "This page does not exist",
    405: "This request does not work here",
    413: "The request is too large",
    415: "The request could not be understood",
}
_MESSAGES = {
    400: "A part of the request is missing or not valid. Open your page again and repeat it there.",
    404: "The address is wrong, or leads to something that is not yours. Go back to your page.",
    405: "This address does not accept that kind of request. Go back to your page.",
    413: "The request was larger than this page accepts. Open your page again and repeat it there.",
    415: "This page accepts only its own forms. Open your page again and repeat it there.",
}


def problem_of(error: Exception) -> Problem:
    """Return the problem that the page and the log show for an error. The page shows no detail of an unexpected error."""
    match error:
        case HTTPException():
            return _http(error)
        case BenchkeeperError():
            status, title = _status(error)
            wait = max(1, round(error.retry_after.total_seconds())) if isinstance(error, RetryableError) else None
            return Problem(
                status=status,
                title=title,
                message=_message(error),
                reason=error.reason.value,
                detail=error.detail,
                retry_after_s=wait,
            )
        case _:
            return Problem(
                status=500,
                title="Something went wrong",
                message="Something went wrong on our side. Try again. If it happens again, send us the reference below.",
                reason=Reason.UNEXPECTED.value,
                detail=f"{type(error).__name__}: {error}",
            )


def _status(error: BenchkeeperError) -> tuple[int, str]:
    match error:
        case NotSignedInError():
            return 401, "Please sign in"
        case RolesOnlyError() | NotYourRoleError():
            return 403, "For administrators"
        case NotEntitledError():
            return 403, "No environment"
        case ForgedError():
            return 403, "Nothing was changed"
        case RefusedError():
            return 409, "That is not possible now"
        case TooManyError():
            return 429, "One moment"
        case RetryableError():
            return 503, "Not available just now"
        case _:
            return 500, "Something went wrong"


def _message(error: BenchkeeperError) -> str:
    """Return the sentence for the user. If Benchkeeper itself lacks a permission, the sentence refers to an administrator."""
    if isinstance(error, AccessDeniedError):
        return (
            "Benchkeeper lacks the permission to read the data of this page. Tell an administrator the reference below."
        )
    return error.user_message


def _http(error: HTTPException) -> Problem:
    status = error.code or 500
    status = 400 if 400 <= status < 500 and status not in _TITLES else status  # noqa: PLR2004 - client errors
    allow = tuple(sorted(getattr(error, "valid_methods", None) or ()))
    return Problem(
        status=status,
        title=_TITLES.get(status, "Something went wrong"),
        message=_MESSAGES.get(status, "Something went wrong on our side. Try again."),
        reason=Reason.REFUSED.value if status < 500 else Reason.UNEXPECTED.value,  # noqa: PLR2004 - server errors
        detail=f"{status} {type(error).__name__}",
        allow=allow,
    )
