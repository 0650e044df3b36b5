"""The planning of an instance's creation: its spec, the choice of a zone, and the wait after a failed attempt."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from msgspec.json import encode

from shared.domain.notebook.actions import CreateInstance
from shared.domain.notebook.differences import immutables
from shared.domain.notebook.waiting import builds_by
from shared.domain.plan.plan import Policy, request_id
from shared.domain.plan.step import A_DAY, VERB_TEXT, Scene, Step, backoff, slow_backoff, wait_for_identity
from shared.domain.record.record import UserRecord
from shared.domain.record.status import ConditionStatus, ConditionType, Verb
from shared.domain.things.errors import (
    BenchkeeperError,
    InvalidSpecError,
    QuotaExhaustedError,
    Reason,
    RetryableError,
    SetUpError,
    StockoutError,
    UnknownAnswerError,
    UnknownRefusalError,
)
from shared.domain.things.notebook import NotebookSpec, runs_as, spec_for


def spec_of(record: UserRecord, policy: Policy) -> NotebookSpec | None:
    """Return the instance that the user should have; None if the configuration lacks the profile, or no instance is named."""
    profile = policy.catalog.profiles.get(record.spec.profile or "")
    instance_id = record.status.notebook.instance_id
    if profile is None or instance_id is None:
        return None
    return spec_for(
        owner=record.email,
        user_key=record.user_key,
        instance_id=instance_id,
        profile=profile,
        cost_center=record.cost_center,
        network=policy.network,
        service_account=runs_as(profile, record.status.account.account_id, policy.project),
    )


_HOUR = timedelta(hours=1)
_SIX_HOURS = timedelta(hours=6)  # what an administrator of Google Cloud puts right is not seen from here
_HALF_HOUR = timedelta(minutes=30)
_NOTED_FOR = timedelta(days=14)  # how long a page says that files were lost


def config_digest(record: UserRecord, policy: Policy) -> str:
    """Return a digest of the wanted spec, the zones and the project of this user's instance.

    The digest changes if a correction of the configuration changes one of these values.
    """
    spec = spec_of(record, policy)
    return hashlib.sha256(encode([spec, policy.zones, policy.project])).hexdigest()[:16]


def held(record: UserRecord, scene: Scene) -> Step | None:
    """Return a step that waits for `not_before` and keeps the condition that explains the wait; None if no wait is due.

    A configuration that was refused as invalid is checked for changes each hour, and tried again once it has changed.
    """
    notebook = record.status.notebook
    if notebook.not_before is None or notebook.not_before <= scene.now:
        return None
    if notebook.refused_spec and notebook.refused_spec != config_digest(record, scene.policy):
        return None
    ready = record.status.condition(ConditionType.NOTEBOOK_READY)
    wait = notebook.not_before - scene.now
    return Step(
        record=record,
        condition=ConditionStatus.FALSE,
        reason=ready.reason if ready is not None else Reason.WAITING,
        message=ready.message if ready is not None else "Waiting before the next attempt.",
        requeue_after=min(wait, _HOUR) if notebook.refused_spec else wait,
        because=(f"Nothing is tried before {notebook.not_before:%Y-%m-%d %H:%M:%S} UTC.",),
    )


def wait_after(record: UserRecord, error: BenchkeeperError, policy: Policy) -> timedelta:
    """Return the wait after a failed create, start, restore or change.

    After a transient failure the wait grows with each attempt, from seconds to half an hour. If an administrator must act,
    it is half an hour to a day. After a lack of capacity it is at least `policy.capacity_retry`. A growing wait gets up to a
    quarter more, so that users are spread.
    """
    attempts, spread_by = record.status.attempts, record.user_key
    match error:
        case QuotaExhaustedError(is_zero=True) | SetUpError():
            return slow_backoff(attempts, first=_HOUR, longest=_SIX_HOURS, spread_by=spread_by)
        case UnknownAnswerError() | UnknownRefusalError():
            return slow_backoff(attempts, first=_HALF_HOUR, longest=A_DAY, spread_by=spread_by)
        case StockoutError() | QuotaExhaustedError():
            return max(error.retry_after, policy.capacity_retry)
        case RetryableError():
            return backoff(attempts, at_least=error.retry_after, spread_by=spread_by)
        case InvalidSpecError(names_account=False):
            return A_DAY
        case _:
            return _HOUR


def goes_elsewhere(record: UserRecord, error: BenchkeeperError, zone: str, policy: Policy) -> bool:
    """Return True if a failed create in this zone may succeed in another zone that was not tried in this round."""
    return _is_zonal(error) and any(each not in {*record.status.notebook.failed_zones, zone} for each in policy.zones)


def _is_zonal(error: BenchkeeperError) -> bool:
    return isinstance(error, StockoutError) or (isinstance(error, InvalidSpecError) and error.only_here)


def after_failed_create(
    record: UserRecord, error: BenchkeeperError, zone: str, policy: Policy, now: datetime
) -> UserRecord:
    """Return the record after a failed create in this zone.

    The zone is noted if another zone could succeed. The time of the next attempt is set unless another zone is tried at once.
    """
    notebook = record.status.notebook
    if isinstance(error, StockoutError):
        record = record.with_status(offered_zones=error.zones)
    elif isinstance(error, InvalidSpecError) and error.only_here:
        record = record.with_status(wrong_zones=_added(notebook.wrong_zones, zone))
    if _is_zonal(error):
        elsewhere = goes_elsewhere(record, error, zone, policy)
        record = record.with_status(failed_zones=_added(notebook.failed_zones, zone))
        if elsewhere:
            return record
    wait = wait_after(record, error, policy)
    if _is_zonal(error) and not is_wrong_everywhere(record, policy):
        wait = policy.capacity_retry  # a zone that has it is sold out
    return with_wait(record, error, wait, policy, now)


def is_wrong_everywhere(record: UserRecord, policy: Policy) -> bool:
    """Return True if every zone has refused the profile's machine as not available there."""
    return set(policy.zones) <= set(record.status.notebook.wrong_zones)


def with_wait(
    record: UserRecord, error: BenchkeeperError, wait: timedelta, policy: Policy, now: datetime
) -> UserRecord:
    """Return the record that allows no further attempt for `wait`, or until an invalid configuration is corrected."""
    is_wrong = (
        isinstance(error, InvalidSpecError)
        and not error.names_account
        and (not error.only_here or is_wrong_everywhere(record, policy))
    )
    return record.with_status(not_before=now + wait, refused_spec=config_digest(record, policy) if is_wrong else "")


def _added(zones: tuple[str, ...], zone: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*zones, zone]))


def said_for(record: UserRecord, error: BenchkeeperError) -> str:
    """Return the error's text for the user. The text for an invalid value names the profile with that value."""
    if isinstance(error, InvalidSpecError) and not error.names_account and record.spec.profile is not None:
        return f"{error.user_message} An administrator must correct the profile '{record.spec.profile}'."
    return error.user_message


def lost_note(record: UserRecord, now: datetime) -> str:
    """Return a note about the files of an instance that was deleted outside Benchkeeper in the last 14 days; "" otherwise."""
    notebook = record.status.notebook
    if notebook.lost_at is None or now - notebook.lost_at > _NOTED_FOR:
        return ""
    gone = f" The notebook was deleted outside Benchkeeper, which was noticed on {notebook.lost_at:%Y-%m-%d %H:%M} UTC."
    if notebook.files_of is None:
        return f"{gone} There was no saved copy of its files, so they are lost."
    return f"{gone} Its files are those of {notebook.files_of:%Y-%m-%d %H:%M} UTC; later changes are lost."


def zones_left(record: UserRecord, policy: Policy) -> list[str]:
    """Return the zones that did not fail in this round. The zones that Google named as available come first."""
    notebook = record.status.notebook
    return [zone for zone in policy.zones_by_offer(notebook.offered_zones) if zone not in notebook.failed_zones]


def create_step(record: UserRecord, scene: Scene, because: tuple[str, ...]) -> Step:
    """Return a step that creates the record's instance, in its zone or in the next zone.

    The step only waits if an earlier failure forbids an attempt now, if the user's own account is not ready, or if the
    configuration does not have the profile.
    """
    policy = scene.policy
    waiting = held(record, scene)
    if waiting is not None:
        return waiting
    if not scene.identity_ready:
        return wait_for_identity(record, policy)
    if record.status.notebook.refused_spec:  # another configuration, or a day later: every zone counts again
        record = record.with_status(wrong_zones=(), failed_zones=(), refused_spec="")
    record, where = _in_a_zone(record, policy)
    record = record.with_status(
        was_active=False, instance_uid="", proxy_uri="", not_before=None, power_settled=False, restoring=None
    )
    spec = spec_of(record, builds_by(policy, record.spec.profile))
    if spec is None:
        return _without_profile(record)
    record = record.with_status(built_from=immutables(spec))
    zone = record.status.notebook.zone or policy.zones[0]
    files = " Your files come back after that." if record.status.data.saved_in else ""
    files += lost_note(record, scene.now)
    return Step(
        record=record,
        actions=(CreateInstance(spec=spec, zone=zone, request_id=request_id(record, Verb.CREATE)),),
        condition=ConditionStatus.FALSE,
        reason=Reason.CREATING,
        message=f"{VERB_TEXT[Verb.CREATE]}{files}",
        requeue_after=policy.poll,
        because=(*because, *where),
    )


def _in_a_zone(record: UserRecord, policy: Policy) -> tuple[UserRecord, tuple[str, ...]]:
    zone = record.status.notebook.zone or policy.zones[0]
    if zone not in record.status.notebook.failed_zones and zone in policy.zones:
        return record.with_status(zone=zone), ()
    left = zones_left(record, policy)
    if not left:  # every zone was tried; the wait is over, so start again with those that may have what is wanted
        wrong = tuple(each for each in record.status.notebook.wrong_zones if each in policy.zones)
        record = record.with_status(failed_zones=() if set(policy.zones) <= set(wrong) else wrong)
        left = zones_left(record, policy)
    said = f"{zone} could not, so {left[0]} is next." if zone != left[0] else f"{zone} again."
    return record.with_status(zone=left[0]), (said,)


def _without_profile(record: UserRecord) -> Step:
    return Step(
        record=record,
        condition=ConditionStatus.FALSE,
        reason=Reason.UNKNOWN_PROFILE,
        message=f"The profile '{record.spec.profile}' does not exist any more. An administrator must restore it.",
        requeue_after=timedelta(hours=1),
        because=("The profile is gone from the configuration, so nothing is created.",),
    )
