"""The planning step for an instance that exists and is ours. Its state is compared with the wanted state."""

from __future__ import annotations

from datetime import timedelta

from msgspec.structs import replace

from shared.domain.notebook.actions import StartInstance, UpdateInstance
from shared.domain.notebook.creation import held, lost_note, spec_of
from shared.domain.notebook.differences import (
    NO_DIFFERENCES,
    Change,
    Difference,
    Differences,
    compare,
    digest,
    growing,
    growth_step,
    is_refused,
    joined,
    restart_step,
    say,
    with_grown,
)
from shared.domain.notebook.dormancy import dormancy_step, next_warning, said_of, with_dormancy
from shared.domain.notebook.leaver import retained, stop
from shared.domain.notebook.replacement import is_to_restore, may_be_restore, replace_step, restore_step
from shared.domain.notebook.rollback import failed_note, left_during, rollback_step
from shared.domain.notebook.waiting import (
    in_turn,
    may_disrupt,
    next_chance,
    say_when,
    with_turn,
    with_turn_ended,
    without_old_turn,
)
from shared.domain.plan.plan import OperationSeen, Policy, request_id
from shared.domain.plan.step import VERB_TEXT, WHAT_STAYS, Scene, Step, patience, wait_for, wait_for_identity
from shared.domain.record.parts import PlannedChange
from shared.domain.record.record import Power, Presence, UserRecord
from shared.domain.record.status import ConditionStatus, Verb
from shared.domain.things.catalog import Profile
from shared.domain.things.errors import Reason
from shared.domain.things.notebook import RESTING, NotebookState, ObservedNotebook, Patch, Unreadable
from shared.domain.things.power import PowerCause, PowerReason

_ANSWERS_WITHIN = timedelta(minutes=5)
_GOING = frozenset({NotebookState.DELETED, NotebookState.UNSPECIFIED})


def observed_step(record: UserRecord, notebook: ObservedNotebook, scene: Scene) -> Step:
    """Return the step for an instance that was observed and belongs to this user."""
    record = _seen(record, notebook)
    state = notebook.state
    if state is not NotebookState.ACTIVE and state not in RESTING:
        return _in_transition(record, notebook, scene)
    record = record.with_status(was_active=True)
    if state is NotebookState.ACTIVE:
        record = record.with_status(
            proxy_uri=notebook.proxy_uri,
            failed_zones=(),
            wrong_zones=(),
            offered_zones=(),
            refused_spec="",
            dormancy=None,
        )
    if record.spec.presence is Presence.ABSENT:
        if state is NotebookState.ACTIVE:
            because = f"No access: {record.spec.because}."
            return stop(record, notebook.ref, (because,), "", scene)
        return _left(record, notebook, scene)
    if is_to_restore(record, notebook):
        step = restore_step(record, notebook, scene)
        if step is not None:
            return step
        record = _restored(record, scene)
    record, step = rollback_step(record, notebook, scene)
    if step is not None:
        return step
    record = without_old_turn(record, scene.policy)
    spec = spec_of(record, scene.policy)
    record = with_grown(record, notebook, spec) if spec is not None else record
    record = with_turn_ended(record, notebook, scene.now, lambda: differences_of(record, notebook, scene.policy))
    is_news = record.status.observed_generation != record.status.generation and not record.status.notebook.power_settled
    if (
        record.spec.power is Power.RUNNING
        and is_news
        and (state is NotebookState.ACTIVE or record.status.data.snapshots)
    ):
        record = record.with_status(settles_at=scene.now + scene.policy.confirm_absence_after)
    if state is NotebookState.ACTIVE:
        return _active(record, notebook, scene)
    return _resting(record, notebook, scene)


def _left(record: UserRecord, notebook: ObservedNotebook, scene: Scene) -> Step:
    """Return the step for the stopped instance of a leaver. An unread operation that may be a restore is read again."""
    step = retained(left_during(record, notebook, scene), notebook, scene)
    seen = scene.seen.operation
    if step.record.status.data.restoring is None or not isinstance(seen, Unreadable):
        return step
    wait = patience(record, seen.error, _ANSWERS_WITHIN)
    return replace(step, requeue_after=min(wait, step.requeue_after or wait))


def _seen(record: UserRecord, notebook: ObservedNotebook) -> UserRecord:
    """Return the record with the instance's uid and zone, and without notes on saved files that the observation disproves."""
    if record.status.notebook.instance_uid != notebook.uid and not record.status.data.saved_in:
        # First observation, so the disk is new: saved files must be restored, even if the pass that created the instance could not
        # save its record.
        of_others = [s for s in record.status.data.snapshots if s.instance_uid != notebook.uid]
        saved = [s.name for s in of_others if s.ready_at is not None and not s.lost]
        record = record.with_status(saved_in=saved[-1] if saved else "")
    if notebook.state not in RESTING | _GOING and record.status.data.is_copied:
        record = record.with_status(is_copied=False)
    status = record.status
    snapshot = status.snapshot(status.data.saved_in)
    still = notebook.state in RESTING | _GOING
    if snapshot is not None and snapshot.instance_uid == notebook.uid and not still:
        record = record.with_status(saved_in="")
    if status.data.restoring is not None and status.data.restoring.instance_uid != notebook.uid:
        record = record.with_status(restoring=None)
    return record.with_status(instance_uid=notebook.uid, zone=notebook.ref.zone)


def _restored(record: UserRecord, scene: Scene) -> UserRecord:
    """Return the record after a restore. If no restore was observed to succeed, the predecessor is kept for examination."""
    seen = scene.seen.operation
    asked = record.status.data.restoring
    done = isinstance(seen, OperationSeen) and seen.done and asked is not None and may_be_restore(seen.ref, asked)
    former = record.status.notebook.former
    if not done and former is not None:
        record = record.with_status(former=replace(former, touched=True))
        record = record.with_status(files_of=None)
    return record.with_status(saved_in="", restoring=None)


def _in_transition(record: UserRecord, notebook: ObservedNotebook, scene: Scene) -> Step:
    verb = {
        NotebookState.STOPPING: Verb.STOP,
        NotebookState.SUSPENDING: Verb.STOP,
        NotebookState.DELETED: Verb.DELETE,
        NotebookState.UPGRADING: Verb.UPDATE,
    }.get(notebook.state, Verb.START if record.status.notebook.was_active else Verb.CREATE)
    if record.status.data.restoring is not None and record.spec.presence is Presence.PRESENT:
        verb = Verb.RESTORE
    return wait_for(
        verb,
        record,
        notebook,
        scene.policy.poll,
        stuck="",
        because=f"The instance is {notebook.state.value.lower()}; no change is possible before that has ended.",
    )


def _active(record: UserRecord, notebook: ObservedNotebook, scene: Scene) -> Step:
    """Return the step for an ACTIVE instance, which is ready only if it has an address and JupyterLab is not down."""
    step = _running(record, notebook, scene)
    now, answers = scene.now, notebook.answers(scene.now)
    since = None if answers else step.record.status.notebook.unwell_since or now
    step = replace(step, record=step.record.with_status(unwell_since=since))
    if step.condition is not ConditionStatus.TRUE:
        return step
    if not notebook.proxy_uri:
        message = "The machine runs; Google Cloud has not assigned its address yet."
        return _not_ready(step, Reason.STARTING, message, scene.policy.poll)
    if since is None:
        return step
    if now - since < _ANSWERS_WITHIN:
        message = "The machine runs; JupyterLab does not answer yet."
        return _not_ready(step, Reason.STARTING, message, scene.policy.poll)
    message = "Your notebook is running, but JupyterLab does not answer. Restart it: your files are kept, everything in its memory is lost."
    return _not_ready(step, Reason.NOT_ANSWERING, message, _ANSWERS_WITHIN)


def _not_ready(step: Step, reason: Reason, message: str, wait: timedelta) -> Step:
    """Return the step of an instance that runs but is not known to be reachable; the next pass is at most `wait` away."""
    wait = min(wait, step.requeue_after or wait)
    return replace(step, condition=ConditionStatus.FALSE, reason=reason, message=message, requeue_after=wait)


def _running(record: UserRecord, notebook: ObservedNotebook, scene: Scene) -> Step:
    if record.spec.power is Power.STOPPED:
        if not record.status.notebook.power_settled:
            why = record.spec.power_reason
            return stop(record, notebook.ref, (f"To be stopped: {why}.",), why.stopping(), scene)
        record = _adopt(record, Power.RUNNING, PowerCause.STARTED_OUTSIDE)
    restart = restart_step(record, notebook, scene.policy, scene.now)
    if restart is not None:
        return restart
    if record.status.notebook.settles_at is None or record.status.notebook.settles_at <= scene.now:
        record = record.with_status(power_settled=True, settles_at=None)
    record = record.with_status(attempts=0, not_before=None)
    differences = differences_of(record, notebook, scene.policy)
    record = _without_old_refusal(record, differences, scene.policy)
    profile = scene.policy.catalog.profiles.get(record.spec.profile or "")
    notes = f"{_notes(record, differences, profile, scene)}{_of_the_past(record, scene)}"
    message = f"Your notebook is running.{notes}"
    if differences.patch != Patch():
        return Step(
            record=record,
            actions=(_update(record, notebook, differences.patch, ""),),
            condition=ConditionStatus.TRUE,
            reason=Reason.READY,
            message=message,
            requeue_after=scene.policy.poll,
            because=(f"Out of line: {say(differences.of(Change.PATCH))}.",),
        )
    if growing(differences, record.status.notebook.refused):
        return growth_step(record, notebook, differences, scene.policy)
    pending = _pending(record, differences)
    record = _with_planned(record, pending, profile, scene)
    if not pending or profile is None:
        drifted = bool(differences.of(Change.LEFT) or differences.disruptive)
        reason = Reason.DRIFTED if drifted else Reason.READY
        because = _because_held(differences)
        return Step(record=record, condition=ConditionStatus.TRUE, reason=reason, message=message, because=because)
    if may_disrupt(profile, scene.now) and scene.identity_ready:
        # Not settled: the change must end in a running notebook again.
        begun = with_turn(record, scene.policy, scene.now).with_status(power_settled=False)
        step = stop(begun, notebook.ref, (), "A change is made to the notebook; then it starts again.", scene)
        return replace(step, because=(f"Out of line, and may be stopped now: {say(pending)}.",))
    chance = next_chance(profile, scene.now)
    return Step(
        record=record,
        condition=ConditionStatus.TRUE,
        reason=Reason.UPDATE_PENDING,
        message=message,
        requeue_after=max(chance - scene.now, scene.policy.poll) if chance is not None else None,
        because=(f"Out of line, to be changed {say_when(profile, scene.now)}: {say(pending)}.",),
    )


def _with_planned(
    record: UserRecord, pending: tuple[Difference, ...], profile: Profile | None, scene: Scene
) -> UserRecord:
    """Return the record with the change that waits for a stop, for a mail to the user; without one if no mails are sent."""
    planned = None
    if pending and profile is not None and scene.policy.tells:
        replaces = any(item.change is Change.REPLACE for item in pending)
        planned = PlannedChange(what=digest(pending), at=next_chance(profile, scene.now), replaces=replaces)
    return record if planned == record.status.mail.change else record.with_status(change=planned)


def _pending(record: UserRecord, differences: Differences) -> tuple[Difference, ...]:
    """Return the differences that need a stop; none if the cloud refused them. With a predecessor, no replacement is returned."""
    if is_refused(differences.disruptive, record.status.notebook.refused):
        return ()
    return differences.disruptive if record.status.notebook.former is None else differences.of(Change.RESTART)


def _because_held(differences: Differences) -> tuple[str, ...]:
    return (f"Waits for its turn in a rollout: {say(differences.held)}.",) if differences.held else ()


def _notes(record: UserRecord, differences: Differences, profile: Profile | None, scene: Scene) -> str:
    """Return a note for the user about differences that are not fixed now; "" if there are no such differences."""
    refused = record.status.notebook.refused
    if is_refused(differences.disruptive, refused) or is_refused(differences.of(Change.GROW), refused):
        return " A change to its machine was refused by Google Cloud; an administrator should look."
    if record.status.notebook.former is not None and record.status.notebook.former.touched:
        return (
            f" The former instance {record.status.notebook.former.instance_id} is kept; an administrator should look."
        )
    if differences.disruptive and profile is not None:
        stays = f" {WHAT_STAYS}" if differences.of(Change.REPLACE) else ""
        return f" A change to its machine is made {say_when(profile, scene.now)}.{stays}"
    if differences.of(Change.LEFT):
        return (
            " The notebook differs from its profile in properties that cannot be changed; an administrator should look."
        )
    return ""


def _of_the_past(record: UserRecord, scene: Scene) -> str:
    return f"{lost_note(record, scene.now)}{failed_note(record, scene.now)}"


def _resting(record: UserRecord, notebook: ObservedNotebook, scene: Scene) -> Step:
    if record.spec.power is Power.RUNNING and record.status.notebook.power_settled:
        record = _adopt(record, Power.STOPPED, PowerCause.STOPPED_OUTSIDE)
    record = record.with_status(proxy_uri=notebook.proxy_uri)
    differences = differences_of(record, notebook, scene.policy)
    record = _without_old_refusal(record, differences, scene.policy)
    pending = _pending(record, differences)
    record = _with_planned(record, (), None, scene)
    replaced = tuple(item for item in pending if item.change is Change.REPLACE)
    if pending:
        record = with_turn(record, scene.policy, scene.now)
    if replaced:
        return replace_step(record, notebook, pending, scene)
    if record.spec.power is Power.STOPPED:
        record = with_dormancy(record, scene)
        step = dormancy_step(record, notebook, scene)
        if step is not None:
            return step
    record = record.with_status(saved_in="")  # the user is entitled and the files are on the disk: no copy is needed
    patch = joined(differences.patch, differences.patch_at_rest if pending else Patch())
    if patch != Patch():
        items = differences.of(Change.PATCH) + tuple(pending)
        return Step(
            record=record,
            actions=(_update(record, notebook, patch, digest(differences.disruptive) if pending else ""),),
            condition=ConditionStatus.FALSE,
            reason=Reason.UPDATING,
            message=VERB_TEXT[Verb.UPDATE],
            requeue_after=scene.policy.poll,
            because=(f"Out of line: {say(items)}.",),
        )
    if growing(differences, record.status.notebook.refused):
        return growth_step(record, notebook, differences, scene.policy)
    if record.spec.power is Power.STOPPED:
        profile = scene.policy.catalog.profiles.get(record.spec.profile or "")
        notes = f"{_notes(record, differences, profile, scene)}{_of_the_past(record, scene)}"
        return Step(
            record=record.with_status(power_settled=True, attempts=0, not_before=None),
            condition=ConditionStatus.FALSE,
            reason=Reason.IDLE if record.spec.power_reason.is_idle else Reason.STOPPED,
            message=f"{record.spec.power_reason.stopped()} Your files are kept.{notes}{said_of(record, scene)}",
            requeue_after=next_warning(record, scene),
            because=_because_held(differences),
        )
    return _to_start(record, notebook, scene)


def _to_start(record: UserRecord, notebook: ObservedNotebook, scene: Scene) -> Step:
    waiting = held(record, scene)
    if waiting is not None:
        return waiting
    if not scene.identity_ready:
        return wait_for_identity(record, scene.policy)
    if record.status.notebook.former is not None and record.status.notebook.former.is_remnant:
        return Step(
            record=record,
            condition=ConditionStatus.FALSE,
            reason=Reason.WAITING,
            message="Your notebook could not be replaced; it starts unchanged in a few minutes.",
            requeue_after=scene.policy.poll,
            because=("The rest of an unfinished replacement is deleted first: a user has only one notebook.",),
        )
    return Step(
        record=record,
        actions=(StartInstance(ref=notebook.ref),),
        condition=ConditionStatus.FALSE,
        reason=Reason.STARTING,
        message=VERB_TEXT[Verb.START],
        requeue_after=scene.policy.poll,
        because=(f"To run: {record.spec.power_reason}.",),
    )


def _adopt(record: UserRecord, power: Power, cause: PowerCause) -> UserRecord:
    """Return the record with the observed power as the wanted power.

    The wanted power had been reached, and the power was then changed from outside.
    """
    spec = replace(record.spec, power=power, power_reason=PowerReason(cause=cause))
    return replace(record, spec=spec).with_status(power_settled=True, generation=record.status.generation + 1)


def differences_of(record: UserRecord, notebook: ObservedNotebook, policy: Policy) -> Differences:
    """Return the differences between the instance and its wanted spec.

    If the configuration does not have the profile, there are no differences, so the instance is not changed. Changes of a
    rollout do not count before the user's turn.
    """

    def by(one: Policy) -> Differences | None:
        spec = spec_of(record, one)
        return None if spec is None else compare(notebook, spec, record.status.notebook.built_from)

    return in_turn(by, policy, record.user_key, record.status.notebook.turn) or NO_DIFFERENCES


def refusable(record: UserRecord, notebook: ObservedNotebook, policy: Policy) -> str:
    """Return the digest by which a refusal is remembered: of larger disks, or if there are none, of changes that need a stop."""
    differences = differences_of(record, notebook, policy)
    return digest(differences.of(Change.GROW) or differences.disruptive)


def _without_old_refusal(record: UserRecord, differences: Differences, policy: Policy) -> UserRecord:
    """Return the record without the remembered refusal, if the change is no longer wanted or the rollout was continued.

    In a continued rollout, the change is tried again.
    """
    turn, rollout = record.status.notebook.turn, policy.rollout
    is_tried_again = turn is not None and turn.refused and rollout is not None and rollout.excuses(turn)
    is_wanted = bool(differences.disruptive or differences.of(Change.GROW))
    return record if is_wanted and not is_tried_again else record.with_status(refused="")


def _update(record: UserRecord, notebook: ObservedNotebook, patch: Patch, disruptive: str) -> UpdateInstance:
    return UpdateInstance(
        ref=notebook.ref, patch=patch, disruptive=disruptive, request_id=request_id(record, Verb.UPDATE)
    )
