"""The planner: `make_plan` decides the actions and their reasons from a record, the observation, the policy and `now`.

Pure.

The notebook, the user's account, saved files, clusters, sessions and templates are planned separately. So a leaver's access
ends by the other ways even if the instance cannot be read. Creates and starts wait until the account is ready.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from shared.domain.account.step import identity_step
from shared.domain.intent.guard import next_look
from shared.domain.intent.wanted import next_seat_look, with_wanted
from shared.domain.notebook.replacement import former_step
from shared.domain.notebook.step import notebook_step
from shared.domain.notebook.waiting import held_for_seat
from shared.domain.plan.plan import Action, Observed, Plan, Policy, TemplatesSeen
from shared.domain.plan.step import Scene, Step, unreadable
from shared.domain.record.record import Power, Presence, UserRecord
from shared.domain.record.status import ConditionStatus, ConditionType, set_condition
from shared.domain.snapshot.copies import copies_step
from shared.domain.snapshot.step import keeping_step
from shared.domain.spark.leaver import sessions_step
from shared.domain.spark.step import spark_step
from shared.domain.template.wanted import PutTemplate, RemoveTemplate, wanted_templates
from shared.domain.things.errors import Reason
from shared.domain.things.notebook import NotebookState, NotLooked, ObservedNotebook, Unreadable
from shared.domain.things.power import NOTEBOOK, with_running
from shared.domain.things.snapshots import Former

_SOON = timedelta(hours=1)
_NEVER = datetime.max.replace(tzinfo=UTC)


def make_plan(record: UserRecord, seen: Observed, policy: Policy, now: datetime) -> Plan:
    """Return the plan for one user. Pure: `plan USER` prints the plan, and `reconcile` carries it out."""
    record = with_wanted(record, policy, now)
    scene = Scene(seen=seen, policy=policy, now=now)
    # A kind of resource is planned only if the record, the profile or the observation names a resource of that kind.
    identity, ready = identity_step(record, scene) if _has_account(record, policy) else (None, True)
    record = _with_condition(record, identity, ConditionType.IDENTITY_READY, now)
    scene = replace(scene, identity_ready=ready)
    before = record.status.notebook.former
    notebook = held_for_seat(notebook_step(record, scene), record, policy, now)
    record = _with_condition(record, notebook, ConditionType.NOTEBOOK_READY, now)
    record, former, former_wait, former_because = _former_step(record, scene, before)
    leaves = record.spec.presence is Presence.ABSENT
    keeping = keeping_step(record, scene) if _has_kept(record) else None
    record = _with_condition(record, keeping, ConditionType.DATA_SAVED, now)
    record, copies = copies_step(record, scene)
    record = _with_condition(record, copies, ConditionType.COPIES_KEPT, now)
    about, other = (ConditionType.CLUSTERS_REMOVED, ConditionType.CLUSTERS_READY)[:: 1 if leaves else -1]
    record = _with_condition(record, None, other, now)
    clusters = None if isinstance(seen.clusters, NotLooked) else spark_step(record, seen.clusters, scene)
    record = _with_condition(record, clusters, about, now)
    sessions = None if isinstance(seen.sessions, NotLooked) else sessions_step(record, seen.sessions, scene)
    if sessions is not None or not leaves:
        record = _with_condition(record, sessions, ConditionType.SESSIONS_ENDED, now)
    templates = None
    if not isinstance(seen.templates, NotLooked):
        templates = _template_step(record, seen.templates, policy)
        record = _with_condition(record, templates, ConditionType.TEMPLATES_READY, now)
    record = _with_usage(record, seen, now)
    record = _with_end_of_waiting(record, now) if _is_reached(record, notebook) else record
    if not isinstance(seen.notebook, Unreadable):
        record = record.with_status(observed_generation=record.status.generation)
    halves = {
        ConditionType.NOTEBOOK_READY: notebook,
        ConditionType.IDENTITY_READY: identity,
        about: clusters,
        ConditionType.SESSIONS_ENDED: sessions,
        ConditionType.TEMPLATES_READY: templates,
        ConditionType.DATA_SAVED: keeping,
        ConditionType.COPIES_KEPT: copies,
    }
    steps = [step for step in halves.values() if step is not None]
    waits = {k: now + s.requeue_after for k, s in halves.items() if s is not None and s.requeue_after is not None}
    waits |= _wait_of_account(record, scene, identity)
    if former_wait is not None:
        waits[ConditionType.NOTEBOOK_READY] = min(waits.get(ConditionType.NOTEBOOK_READY, _NEVER), now + former_wait)
    settles_at = record.status.notebook.settles_at
    settles = settles_at if settles_at is not None and settles_at > now else None
    looks = (record.next_change(now), next_look(record, policy, now), next_seat_look(record, now))
    later = [moment for moment in looks if moment is not None]
    requeue_at = min([*waits.values(), *later, *([settles] if settles is not None else [])], default=None)
    # The notebook's actions come first: for a leaver that is the stop. An instance has one change at a time.
    actions = tuple(action for step in steps for action in step.actions) + former
    record = replace(record, status=record.status.changed(next_attempt_at=requeue_at))
    # A running Spark cluster is observed from time to time: that does not count as work under way.
    only_looks = clusters is not None and clusters.condition is ConditionStatus.TRUE
    work = [when for kind, when in waits.items() if not (only_looks and kind is about)]
    record = _with_reconciled(record, min([*work, *later], default=None), now, acting=bool(actions))
    because = tuple(line for step in steps for line in step.because) + former_because
    return Plan(record=record, actions=actions, because=because, requeue_at=requeue_at, waits=waits)


def _wait_of_account(record: UserRecord, scene: Scene, identity: Step | None) -> dict[ConditionType, datetime]:
    """Return the time of the next pass for the account, by its condition; empty if no pass is needed.

    The time is computed after the other parts of the plan, because these parts may no longer need the account.
    """
    if identity is None or identity.actions:
        return {}
    after, _ = identity_step(record, scene)
    is_news = after is not None and bool(after.actions)
    return {ConditionType.IDENTITY_READY: scene.now + scene.policy.poll} if is_news else {}


def _has_kept(record: UserRecord) -> bool:
    """Return True if the record names snapshots other than copies, or if a leaver's record names any snapshot.

    An entitled user's copies are planned separately, because nothing waits for a copy.
    """
    leaves = record.spec.presence is Presence.ABSENT
    return any(leaves or not snapshot.is_copy for snapshot in record.status.data.snapshots)


def _has_account(record: UserRecord, policy: Policy) -> bool:
    profile = policy.catalog.profiles.get(record.spec.profile or "")
    return record.status.account.account_id is not None or (profile is not None and profile.needs_account)


def _former_step(
    record: UserRecord, scene: Scene, looked_at: Former | None
) -> tuple[UserRecord, tuple[Action, ...], timedelta | None, tuple[str, ...]]:
    if record.status.notebook.former is None:
        return record, (), None, ()
    return former_step(record, scene, looked_at)


def _with_usage(record: UserRecord, seen: Observed, now: datetime) -> UserRecord:
    """Return the record with the running time of the notebook, unchanged if the notebook was not observed."""
    if isinstance(seen.notebook, Unreadable | NotLooked):
        return record
    runs = isinstance(seen.notebook, ObservedNotebook) and seen.notebook.state is NotebookState.ACTIVE
    return record.with_status(usage=with_running(record.status.usage, NOTEBOOK, now, runs=runs))


def _is_reached(record: UserRecord, notebook: Step) -> bool:
    """Return True if the state that the last message requires is reached.

    The state is a ready notebook, or a notebook that was observed to be stopped.
    """
    is_to_run = record.spec.presence is Presence.PRESENT and record.spec.power is Power.RUNNING
    return notebook.condition is ConditionStatus.TRUE or (record.status.notebook.power_settled and not is_to_run)


def _with_end_of_waiting(record: UserRecord, now: datetime) -> UserRecord:
    """Return the record without `waiting_since`, because the wanted state is reached.

    If the notebook is ready, the record gets the time of that, and the seconds since the message.
    """
    since, ready = record.status.waiting_since, record.status.condition(ConditionType.NOTEBOOK_READY)
    took, ready_at = record.status.ready_took_s, record.status.ready_at
    is_ready = record.spec.presence is Presence.PRESENT and ready is not None and ready.status is ConditionStatus.TRUE
    if since is not None and is_ready:
        took, ready_at = round((now - since).total_seconds(), 1), now
    return record.with_status(waiting_since=None, ready_took_s=took, ready_at=ready_at)


def _with_reconciled(record: UserRecord, requeue_at: datetime | None, now: datetime, *, acting: bool) -> UserRecord:
    """Return the record with the condition `Reconciled`: False while actions or a pass within the next hour are due."""
    if acting or (requeue_at is not None and requeue_at - now <= _SOON):
        status, reason, message = ConditionStatus.FALSE, Reason.WAITING, "Work is under way."
    else:
        status, reason, message = ConditionStatus.TRUE, Reason.SETTLED, "Nothing is left to do."
        if requeue_at is not None:
            message = f"Nothing is planned before {requeue_at:%Y-%m-%d %H:%M} UTC."
    conditions = set_condition(record.status.conditions, ConditionType.RECONCILED, status, reason, message, now)
    return record.with_status(conditions=conditions)


def _with_condition(record: UserRecord, step: Step | None, kind: ConditionType, now: datetime) -> UserRecord:
    """Return the step's record with the step's condition; without a step, the record without that condition."""
    if step is None:
        kept = tuple(c for c in record.status.conditions if c.type != kind)
        return record.with_status(conditions=kept)
    conditions = set_condition(step.record.status.conditions, kind, step.condition, step.reason, step.message, now)
    return step.record.with_status(conditions=conditions)


def _template_step(record: UserRecord, seen: TemplatesSeen | Unreadable, policy: Policy) -> Step:
    if isinstance(seen, Unreadable):
        untouched = "The template objects could not be read, so none is touched."
        return unreadable(record, seen.error, what="The templates", because=untouched, otherwise=timedelta(minutes=10))
    wanted = wanted_templates(record, policy)
    if wanted is None:
        return Step(
            record=record,
            condition=ConditionStatus.UNKNOWN,
            reason=Reason.UNKNOWN_PROFILE,
            message=f"The profile '{record.spec.profile}' does not exist any more.",
            because=("The profile is gone from the configuration, so no template is touched.",),
        )
    puts = [PutTemplate(template=n, digest=d) for n, d in sorted(wanted.items()) if seen.digests.get(n) != d]
    unwanted = () if record.is_undecided else sorted(set(seen.digests) - set(wanted))
    removals = [RemoveTemplate(template=n) for n in unwanted]
    because = [f"Template {p.template} is missing or out of date." for p in puts]
    because += [f"Template {r.template} is not wanted any more." for r in removals]
    return Step(
        record=record,
        actions=(*puts, *removals),
        condition=ConditionStatus.TRUE if wanted else ConditionStatus.FALSE,
        reason=Reason.READY if wanted else Reason.REMOVED,
        message=f"{len(wanted)} template{'s' if len(wanted) != 1 else ''} ready." if wanted else "No templates.",
        because=tuple(because),
    )
