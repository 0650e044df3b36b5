"""Every failure the product knows, each with three texts.

`user_message` is for the person (page, CLI), `reason` for metrics and conditions (bounded), `detail` for the log.
Retryable means: the same call may succeed later, and `retry_after` says when to try. Permanent means: not without a change by
somebody. Raised by adapters and the edge, handled in `engine` and in `functions/_delivery.py` only.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum


class Reason(StrEnum):
    """Why something is as it is. Bounded on purpose: it is a metric label and a condition's reason."""

    # conditions that are fine
    READY = "Ready"
    STOPPED = "Stopped"
    IDLE = "Idle"
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
    CLOCK_DIFFERS = "ClockDiffers"
    GUARD_WAITS = "GuardWaits"
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
    NOT_SIGNED_IN = "NotSignedIn"
    REFUSED = "Refused"
    UNKNOWN_LEAVER = "UnknownLeaver"
    DELIVERY_ATTEMPTS_EXHAUSTED = "DeliveryAttemptsExhausted"


class BenchkeeperError(Exception):
    """Base of all failures that the product names."""

    reason: Reason = Reason.UNEXPECTED

    def __init__(self, *, user_message: str, detail: str, reason: Reason | None = None) -> None:
        super().__init__(detail)
        self.user_message = user_message
        self.detail = detail
        if reason is not None:
            self.reason = reason


class RetryableError(BenchkeeperError):
    """The same may succeed later; `retry_after` is the earliest sensible time."""

    default_retry_after = timedelta(seconds=30)

    def __init__(
        self, *, user_message: str, detail: str, retry_after: timedelta | None = None, reason: Reason | None = None
    ) -> None:
        super().__init__(user_message=user_message, detail=detail, reason=reason)
        self.retry_after = self.default_retry_after if retry_after is None else retry_after


class CloudUnavailableError(RetryableError):
    """Google answered 5xx, or did not answer."""

    reason = Reason.CLOUD_UNAVAILABLE


class RateLimitedError(RetryableError):
    """Too many requests just now (429 without a quota on resources)."""

    reason = Reason.RATE_LIMITED
    default_retry_after = timedelta(seconds=60)


class QuotaExhaustedError(RetryableError):
    """A resource quota of the region or project is used up; another zone does not help."""

    reason = Reason.QUOTA_EXHAUSTED
    default_retry_after = timedelta(minutes=30)


class StockoutError(RetryableError):
    """The zone has no machines of this type now; another zone may."""

    reason = Reason.STOCKOUT
    default_retry_after = timedelta(seconds=5)


class ConflictError(RetryableError):
    """Somebody wrote first (412): read again and plan again."""

    reason = Reason.CONFLICT
    default_retry_after = timedelta(seconds=1)


class BusyError(RetryableError):
    """An operation is under way on this instance (409 unable to queue)."""

    reason = Reason.BUSY
    default_retry_after = timedelta(seconds=30)


class OperationFailedError(RetryableError):
    """A long-running operation ended with an error that names no better class."""

    reason = Reason.OPERATION_FAILED
    default_retry_after = timedelta(minutes=2)


class GuardWaitsError(RetryableError):
    """The guard lets only so many people have this in an hour, and there is no room just now."""

    reason = Reason.GUARD_WAITS
    default_retry_after = timedelta(minutes=15)


class PermanentError(BenchkeeperError):
    """Not without a change by somebody."""

    reason = Reason.INVALID_SPEC


class PoisonError(PermanentError):
    """The message itself can never succeed: it goes to the dead-letter topic. Everything else is delivered again."""


class InvalidMessageError(PoisonError):
    """A message that can never be understood."""

    reason = Reason.INVALID_MESSAGE


class UnsupportedMessageError(PoisonError):
    """A message that is well-formed and known, and that this version does not act on."""

    reason = Reason.UNSUPPORTED_MESSAGE


class UnknownProfileError(PoisonError):
    """A profile was asked for that the configuration does not have."""

    reason = Reason.UNKNOWN_PROFILE


class InvalidSpecError(PermanentError):
    """The cloud refuses the request as wrong (400)."""

    reason = Reason.INVALID_SPEC


class DamagedRecordError(PermanentError):
    """The object of a user key says nothing that can be read; an older version of it may be put back.

    `user_key` is the key of that object. It differs from the key that was asked for when a pointer led there.
    """

    reason = Reason.DAMAGED

    def __init__(self, *, user_message: str, detail: str, user_key: str = "") -> None:
        super().__init__(user_message=user_message, detail=detail)
        self.user_key = user_key


class NewerRecordError(PermanentError):
    """A record was written by a newer program: this one must not rewrite it. `user_key` is the key of its object."""

    reason = Reason.WRITTEN_BY_NEWER

    def __init__(self, *, user_message: str, detail: str, user_key: str = "") -> None:
        super().__init__(user_message=user_message, detail=detail)
        self.user_key = user_key


class NotOursError(PermanentError):
    """A resource has our name and is not ours: hands off."""

    reason = Reason.NOT_OURS


class NotSignedInError(PermanentError):
    """Whoever asks for a page did not come through Identity-Aware Proxy, or its word does not hold."""

    reason = Reason.NOT_SIGNED_IN


class RefusedError(PermanentError):
    """Somebody asked for what their profile, or the moment, does not allow; the text says what is allowed."""

    reason = Reason.REFUSED


class AccessDeniedError(PermanentError):
    """A permission is missing (401, 403)."""

    reason = Reason.ACCESS_DENIED
