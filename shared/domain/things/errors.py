"""The errors of the product. Each has a reason and two texts.

`user_message` is for the user (page, CLI), `reason` for metrics and conditions (a closed list), `detail` for the log.
Retryable means that the same call may succeed later; `retry_after` says when to try again. Permanent means that the
call fails until a person changes something. Every layer may raise these errors. `engine` plans around them;
`functions/_delivery.py`, the page and the command line handle the others.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum


class Reason(StrEnum):
    """The reason of a condition or an error. The list is closed, because the values are metric labels."""

    # conditions that are fine
    READY = "Ready"
    STOPPED = "Stopped"
    IDLE = "Idle"
    DORMANT = "Dormant"
    REMOVED = "Removed"
    RETAINED = "Retained"
    SAVED = "Saved"
    REVOKED = "Revoked"
    ON_HOLD = "OnHold"
    NOT_ENTITLED = "NotEntitled"
    SETTLED = "Settled"
    # on the way
    CREATING = "Creating"
    STARTING = "Starting"
    STOPPING = "Stopping"
    DELETING = "Deleting"
    UPDATING = "Updating"
    WAITING = "Waiting"
    UPDATE_PENDING = "UpdatePending"
    PENDING = "Pending"
    SAVING = "Saving"
    RESTORING = "Restoring"
    REPLACING = "Replacing"
    # failures, retryable
    CLOUD_UNAVAILABLE = "CloudUnavailable"
    RATE_LIMITED = "RateLimited"
    QUOTA_EXHAUSTED = "QuotaExhausted"
    STOCKOUT = "Stockout"
    CONFLICT = "Conflict"
    BUSY = "Busy"
    UNREADABLE = "Unreadable"
    OPERATION_FAILED = "OperationFailed"
    STUCK = "Stuck"
    SNAPSHOT_FAILED = "SnapshotFailed"
    DATA_MISSING = "DataMissing"
    DRIFTED = "Drifted"
    NOT_ANSWERING = "NotAnswering"
    ACCESS_NOT_CUT = "AccessNotCut"
    UNKNOWN_ANSWER = "UnknownAnswer"
    CLOCK_DIFFERS = "ClockDiffers"
    GUARD_WAITS = "GuardWaits"
    LIMIT_REACHED = "LimitReached"
    UNEXPECTED = "Unexpected"
    # failures, permanent
    INVALID_MESSAGE = "InvalidMessage"
    UNSUPPORTED_MESSAGE = "UnsupportedMessage"
    NOT_ALLOWED = "NotAllowed"
    KEY_COLLISION = "KeyCollision"
    LEAVER_NOT_UNDERSTOOD = "LeaverNotUnderstood"
    UNKNOWN_TOPIC = "UnknownTopic"
    UNKNOWN_PROFILE = "UnknownProfile"
    INVALID_SPEC = "InvalidSpec"
    DAMAGED = "Damaged"
    WRITTEN_BY_NEWER = "WrittenByNewer"
    NOT_OURS = "NotOurs"
    ACCESS_DENIED = "AccessDenied"
    ORGANIZATION_POLICY = "OrganizationPolicy"
    PERIMETER = "Perimeter"
    API_DISABLED = "ApiDisabled"
    BILLING_DISABLED = "BillingDisabled"
    NOT_SIGNED_IN = "NotSignedIn"
    REFUSED = "Refused"
    UNKNOWN_LEAVER = "UnknownLeaver"
    DELIVERY_ATTEMPTS_EXHAUSTED = "DeliveryAttemptsExhausted"


# Reasons of conditions that last until an administrator acts; the first time is logged, and alerts are made of that.
FOR_ADMINISTRATORS = frozenset(
    {
        Reason.STUCK,
        Reason.UNKNOWN_ANSWER,
        Reason.ORGANIZATION_POLICY,
        Reason.PERIMETER,
        Reason.API_DISABLED,
        Reason.BILLING_DISABLED,
        Reason.INVALID_SPEC,
    }
)


class BenchkeeperError(Exception):
    """The base class of Benchkeeper's own errors.

    `reason` classifies the failure for metrics and decisions, `user_message` is shown to people, `detail` is for the log.
    """

    reason: Reason = Reason.UNEXPECTED

    def __init__(self, *, user_message: str, detail: str, reason: Reason | None = None) -> None:
        super().__init__(detail)
        self.user_message = user_message
        self.detail = detail
        if reason is not None:
            self.reason = reason


class RetryableError(BenchkeeperError):
    """A failure after which the same call may succeed later; `retry_after` is the earliest sensible time."""

    default_retry_after = timedelta(seconds=30)

    def __init__(
        self, *, user_message: str, detail: str, retry_after: timedelta | None = None, reason: Reason | None = None
    ) -> None:
        super().__init__(user_message=user_message, detail=detail, reason=reason)
        self.retry_after = self.default_retry_after if retry_after is None else retry_after


class CloudUnavailableError(RetryableError):
    """A failure of Google Cloud: a 5xx answer, or no answer."""

    reason = Reason.CLOUD_UNAVAILABLE


class RateLimitedError(RetryableError):
    """The error for a rate-limited request: 429 without a quota on resources."""

    reason = Reason.RATE_LIMITED
    default_retry_after = timedelta(seconds=60)


class QuotaExhaustedError(RetryableError):
    """The error for an exhausted resource quota of the region or project; another zone does not help.

    `quota` is a text with the quota and its limit, "" if Google does not name them. `is_zero` is True if the limit is 0, so
    that no request succeeds before Google raises the limit.
    """

    reason = Reason.QUOTA_EXHAUSTED
    default_retry_after = timedelta(minutes=30)

    def __init__(self, *, user_message: str, detail: str, quota: str = "", is_zero: bool = False) -> None:
        super().__init__(user_message=user_message, detail=detail)
        self.quota = quota
        self.is_zero = is_zero


class StockoutError(RetryableError):
    """The error for a zone without machines of this type. `zones` are the zones that Google names as available."""

    reason = Reason.STOCKOUT
    default_retry_after = timedelta(seconds=5)

    def __init__(self, *, user_message: str, detail: str, zones: tuple[str, ...] = ()) -> None:
        super().__init__(user_message=user_message, detail=detail)
        self.zones = zones


class ConflictError(RetryableError):
    """The error for a write that failed because another process wrote first (412). The caller reads and plans again."""

    reason = Reason.CONFLICT
    default_retry_after = timedelta(seconds=1)


class BusyError(RetryableError):
    """The error for a call that another operation on this instance blocks (409 unable to queue)."""

    reason = Reason.BUSY
    default_retry_after = timedelta(seconds=30)


class OperationFailedError(RetryableError):
    """The error of a long-running operation that failed, if no other class fits."""

    reason = Reason.OPERATION_FAILED
    default_retry_after = timedelta(minutes=2)


class UnknownAnswerError(RetryableError):
    """A failure that may be temporary, with a text that `shared.cloud.http.words` does not know.

    The call is retried at growing intervals.
    """

    reason = Reason.UNKNOWN_ANSWER
    default_retry_after = timedelta(minutes=30)


class GuardWaitsError(RetryableError):
    """The error for a call that the guard holds back, because the limit of users for this hour is reached."""

    reason = Reason.GUARD_WAITS
    default_retry_after = timedelta(minutes=15)


class PermanentError(BenchkeeperError):
    """A failure that repeats until a person changes something."""

    reason = Reason.INVALID_SPEC


class PoisonError(PermanentError):
    """The error for a message that can never succeed, so that it becomes a dead letter and is not delivered again."""


class InvalidMessageError(PoisonError):
    """The error for a message, or a stored object, that cannot be understood."""

    reason = Reason.INVALID_MESSAGE


class UnsupportedMessageError(PoisonError):
    """The error for a well-formed, known message that this version does not act on."""

    reason = Reason.UNSUPPORTED_MESSAGE


class RosterTellsError(UnsupportedMessageError):
    """The error for a message about a group that names no user. Only the list of the group's members names these users."""


class UnknownProfileError(PoisonError):
    """The error for a profile that the configuration does not have."""

    reason = Reason.UNKNOWN_PROFILE


class InvalidSpecError(PermanentError):
    """The error for a request that the cloud refuses as invalid, because of a wrong configuration.

    `only_here` is True if the value may be valid in another zone. `names_account` is True if the request names an account
    that Google does not know, or does not know yet.
    """

    reason = Reason.INVALID_SPEC

    def __init__(
        self,
        *,
        user_message: str,
        detail: str,
        reason: Reason | None = None,
        only_here: bool = False,
        names_account: bool = False,
    ) -> None:
        super().__init__(user_message=user_message, detail=detail, reason=reason)
        self.only_here = only_here
        self.names_account = names_account


class UnknownRefusalError(PermanentError):
    """A refusal with a text that `shared.cloud.http.words` does not know. The text is shown and raises an alert."""

    reason = Reason.UNKNOWN_ANSWER


class SetUpError(PermanentError):
    """A refusal because of the setup of the organization or project. `reason` names a policy, a perimeter, an API or billing."""


class DamagedRecordError(PermanentError):
    """The error for a damaged object of a user key. An older version of the object may be put back.

    `user_key` is the key of that object. It differs from the requested key if a pointer led to the object.
    """

    reason = Reason.DAMAGED

    def __init__(self, *, user_message: str, detail: str, user_key: str = "") -> None:
        super().__init__(user_message=user_message, detail=detail)
        self.user_key = user_key


class NewerRecordError(PermanentError):
    """The error for a record of a newer program, which this program must not rewrite. `user_key` is the key of its object."""

    reason = Reason.WRITTEN_BY_NEWER

    def __init__(self, *, user_message: str, detail: str, user_key: str = "") -> None:
        super().__init__(user_message=user_message, detail=detail)
        self.user_key = user_key


class NotOursError(PermanentError):
    """The error for a resource that has our name but does not carry our label. Such a resource is never changed."""

    reason = Reason.NOT_OURS


class NotSignedInError(PermanentError):
    """The error for a request that did not come through Identity-Aware Proxy, or whose token is not valid."""

    reason = Reason.NOT_SIGNED_IN


class RefusedError(PermanentError):
    """The error for a request that the user's rights, profile or present state do not allow. The text tells the user why."""

    reason = Reason.REFUSED


class AccessDeniedError(PermanentError):
    """The error for a missing permission (`is_forbidden`, 403), or for missing or invalid credentials."""

    reason = Reason.ACCESS_DENIED

    def __init__(self, *, user_message: str, detail: str, is_forbidden: bool = False) -> None:
        super().__init__(user_message=user_message, detail=detail)
        self.is_forbidden = is_forbidden
