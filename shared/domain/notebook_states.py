"""What to do about an instance that is there and ours, by its state against what is wanted."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from shared.domain.catalog import Identity
from shared.domain.errors import Reason
from shared.domain.notebook import (
    RESTING,
    InstanceRef,
    NotebookDiff,
    NotebookState,
    ObservedNotebook,
    diff,
    labels_for,
    metadata_for,
)
from shared.domain.plan import Policy, StartInstance, StopInstance, UpdateInstance, request_id
from shared.domain.record import ConditionStatus, Power, Presence, UserRecord, Verb
from shared.domain.step import VERB_TEXT, Step, delete, held, wait_for


def observed_step(record: UserRecord, notebook: ObservedNotebook, policy: Policy, now: datetime) -> Step:
    """The step for an instance that was seen and is ours."""
    record = record.with_status(instance_uid=notebook.uid, zone=notebook.ref.zone)
    state = notebook.state
    if state is NotebookState.ACTIVE:
        record = record.with_status(was_active=True, proxy_uri=notebook.proxy_uri, failed_zones=())
        return _active(record, notebook, policy)
    if state in RESTING:
        record = record.with_status(was_active=True)
        return _resting(record, notebook, policy, now)
    return _in_transition(record, notebook, policy, now)


def _in_transition(record: UserRecord, notebook: ObservedNotebook, policy: Policy, now: datetime) -> Step:
    since = notebook.create_time
    stuck = not record.status.was_active and since is not None and now - since > policy.stuck_after
    verb = {
        NotebookState.STOPPING: Verb.STOP,
        NotebookState.SUSPENDING: Verb.STOP,
        NotebookState.DELETED: Verb.DELETE,
        NotebookState.UPGRADING: Verb.UPDATE,
    }.get(notebook.state, Verb.START if record.status.was_active else Verb.CREATE)
    return wait_for(
        verb,
        record,
        notebook,
        policy.poll,
        stuck=f"The notebook has been {notebook.state.value} for too long" if stuck else "",
        because=f"The instance is {notebook.state.value}; nothing can be done until that is over.",
    )


def _active(record: UserRecord, notebook: ObservedNotebook, policy: Policy) -> Step:
    if record.spec.presence is Presence.ABSENT:
        return _stop(record, notebook.ref, (f"Not entitled: {record.spec.because}.",), "Access has ended.")
    if record.spec.power is Power.STOPPED:
        if not record.status.power_settled:
            return _stop(
                record, notebook.ref, (f"To be stopped: {record.spec.power_because}.",), record.spec.power_because
            )
        record = _adopt(record, Power.RUNNING, "started from outside")
    record = record.with_status(power_settled=True, attempts=0, not_before=None)
    changes = _differences(record, notebook, policy)
    message = f"Your notebook is ready.{_consent(record, policy)}"
    if changes.when_stopped:
        message += " Changes to its machine wait until it is stopped."
    if changes.now:
        action = _update(record, notebook.ref, changes, with_stopped=False)
        return Step(
            record=record,
            actions=(action,),
            condition=ConditionStatus.TRUE,
            reason=Reason.READY,
            message=message,
            requeue_after=policy.poll,
            because=(_say(changes),),
        )
    return Step(
        record=record,
        condition=ConditionStatus.TRUE,
        reason=Reason.UPDATE_PENDING if changes.when_stopped else Reason.READY,
        message=message,
    )


def _consent(record: UserRecord, policy: Policy) -> str:
    """With managed end-user credentials the owner agrees once for each instance, in a dialog of the console only.

    Source: Workbench documentation, Create an instance with end-user credentials.
    """
    profile = policy.catalog.profiles.get(record.spec.profile or "")
    if profile is None or profile.identity is not Identity.END_USER_CREDENTIALS:
        return ""
    return " The first time, open it in the Google Cloud console (Open JupyterLab) and agree once."


def _stop(record: UserRecord, ref: InstanceRef, because: tuple[str, ...], message: str) -> Step:
    return Step(
        record=record,
        actions=(StopInstance(ref=ref),),
        condition=ConditionStatus.FALSE,
        reason=Reason.STOPPING,
        message=f"The notebook is being stopped: {message}",
        requeue_after=timedelta(seconds=60),
        because=because,
    )


def _resting(record: UserRecord, notebook: ObservedNotebook, policy: Policy, now: datetime) -> Step:
    if record.spec.presence is Presence.ABSENT:
        return _retained(record, notebook, policy, now)
    if record.spec.power is Power.RUNNING and record.status.power_settled:
        record = _adopt(record, Power.STOPPED, "stopped from outside or by its own idle timer")
    record = record.with_status(proxy_uri=notebook.proxy_uri)
    changes = _differences(record, notebook, policy)
    if changes.now or changes.when_stopped:
        return Step(
            record=record,
            actions=(_update(record, notebook.ref, changes, with_stopped=True),),
            condition=ConditionStatus.FALSE,
            reason=Reason.UPDATING,
            message=VERB_TEXT[Verb.UPDATE],
            requeue_after=policy.poll,
            because=(_say(changes),),
        )
    if record.spec.power is Power.STOPPED:
        return Step(
            record=record.with_status(power_settled=True, attempts=0, not_before=None),
            condition=ConditionStatus.FALSE,
            reason=Reason.IDLE if record.spec.power_because.startswith("idle") else Reason.STOPPED,
            message=f"Your notebook is stopped: {record.spec.power_because}. Your files are kept.",
        )
    waiting = held(record, now)
    if waiting is not None:
        return waiting
    return Step(
        record=record,
        actions=(StartInstance(ref=notebook.ref),),
        condition=ConditionStatus.FALSE,
        reason=Reason.STARTING,
        message=VERB_TEXT[Verb.START],
        requeue_after=policy.poll,
        because=(f"To run: {record.spec.power_because}.",),
    )


def _retained(record: UserRecord, notebook: ObservedNotebook, policy: Policy, now: datetime) -> Step:
    record = record.with_status(power_settled=True)
    if record.hold is not None:
        return Step(
            record=record.with_status(attempts=0),
            condition=ConditionStatus.FALSE,
            reason=Reason.ON_HOLD,
            message=f"Access has ended. The data is on hold since {record.hold.since:%Y-%m-%d} ({record.hold.reason}) and is "
            "kept until it is released.",
            because=("On hold: nothing is deleted, whatever the retention says.",),
        )
    ends = (record.spec.absent_since or now) + policy.retention
    if ends <= now:
        return delete(
            record,
            notebook.ref,
            Reason.DELETING,
            "The retention is over; the notebook and its data are deleted.",
            (f"Not entitled since {record.spec.absent_since:%Y-%m-%d}; the retention is over.",)
            if record.spec.absent_since is not None
            else ("Not entitled.",),
        )
    return Step(
        record=record.with_status(attempts=0),
        condition=ConditionStatus.FALSE,
        reason=Reason.RETAINED,
        message=f"Access has ended. The data is kept until {ends:%Y-%m-%d %H:%M} UTC.",
        requeue_after=ends - now,
    )


def _adopt(record: UserRecord, power: Power, because: str) -> UserRecord:
    """What was wanted had been reached, and somebody changed it since: that is now what is wanted."""
    spec = replace(record.spec, power=power, power_because=because)
    return replace(record, spec=spec).with_status(power_settled=True, generation=record.status.generation + 1)


def _differences(record: UserRecord, notebook: ObservedNotebook, policy: Policy) -> NotebookDiff:
    profile = policy.catalog.profiles.get(record.spec.profile or "")
    if profile is None:  # lost from the configuration: what is there stays as it is
        return NotebookDiff(labels={}, metadata={}, metadata_when_stopped={}, machine_type=None)
    return diff(
        notebook,
        labels=labels_for(profile, record.user_key, record.cost_center),
        metadata=metadata_for(profile),
        machine_type=profile.machine_type,
    )


def _update(record: UserRecord, ref: InstanceRef, changes: NotebookDiff, *, with_stopped: bool) -> UpdateInstance:
    metadata = {**changes.metadata, **(changes.metadata_when_stopped if with_stopped else {})}
    return UpdateInstance(
        ref=ref,
        labels=changes.labels,
        metadata=metadata,
        machine_type=changes.machine_type if with_stopped else None,
        request_id=request_id(record, Verb.UPDATE),
    )


def _say(changes: NotebookDiff) -> str:
    names = [f"label {n}" for n in changes.labels] + [f"metadata {n}" for n in changes.metadata]
    names += [f"metadata {n}" for n in changes.metadata_when_stopped]
    if changes.machine_type is not None:
        names.append("machine type")
    return f"Out of line: {', '.join(sorted(names))}."
