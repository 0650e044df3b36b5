"""The creation of an instance: its spec, its zone, and what must exist first."""

from __future__ import annotations

from datetime import timedelta

from shared.domain.notebook.actions import CreateInstance
from shared.domain.notebook.differences import immutables
from shared.domain.notebook.turns import builds_by
from shared.domain.plan.plan import Policy, request_id
from shared.domain.plan.step import VERB_TEXT, Scene, Step, held, wait_for_identity
from shared.domain.record.record import UserRecord
from shared.domain.record.status import ConditionStatus, Verb
from shared.domain.things.errors import Reason
from shared.domain.things.notebook import NotebookSpec, runs_as, spec_for


def spec_of(record: UserRecord, policy: Policy) -> NotebookSpec | None:
    """Return the instance that the user should have; None if the profile is missing in the configuration."""
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


def zones_left(record: UserRecord, policy: Policy) -> list[str]:
    """Return the zones that were not sold out in this round."""
    return [zone for zone in policy.zones if zone not in record.status.notebook.failed_zones]


def create_step(record: UserRecord, scene: Scene, because: tuple[str, ...]) -> Step:
    """Return a step that creates the instance of the record, in its zone or the next one, or that waits for what must exist first."""
    policy = scene.policy
    waiting = held(record, scene.now)
    if waiting is not None:
        return waiting
    if not scene.identity_ready:
        return wait_for_identity(record, policy)
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
    if not left:  # every zone was tried; the wait is over, so start again
        record = record.with_status(failed_zones=())
        left = list(policy.zones)
    said = f"{zone} had no machines, so {left[0]} is next." if zone != left[0] else f"{zone} again."
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
