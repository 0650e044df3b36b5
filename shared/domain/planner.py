"""`make_plan`: record + what was seen + policy + now -> what to do, and why. Pure.

The notebook and the templates are planned apart, so that trouble with one never holds up the other.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from shared.domain.backoff import backoff
from shared.domain.errors import Reason, RetryableError
from shared.domain.notebook import Unreadable
from shared.domain.notebook_step import notebook_step
from shared.domain.plan import Observed, Plan, Policy, PutTemplate, RemoveTemplate, TemplatesSeen
from shared.domain.record import ConditionStatus, ConditionType, UserRecord, set_condition
from shared.domain.step import Step
from shared.domain.template import wanted_templates
from shared.domain.wanted import with_wanted

_SOON = timedelta(hours=1)


def make_plan(record: UserRecord, seen: Observed, policy: Policy, now: datetime) -> Plan:
    """The plan for one person. Calling it changes nothing; `plan USER` prints it, `reconcile` carries it out."""
    record = with_wanted(record, policy, now)
    notebook = notebook_step(record, seen, policy, now)
    record = _with_condition(notebook, ConditionType.NOTEBOOK_READY, now)
    templates = _template_step(record, seen.templates, policy)
    record = _with_condition(templates, ConditionType.TEMPLATES_READY, now)
    if record.status.power_settled:
        record = record.with_status(waiting_since=None)
    if not isinstance(seen.notebook, Unreadable):
        record = record.with_status(observed_generation=record.status.generation)
    waits = [now + s.requeue_after for s in (notebook, templates) if s.requeue_after is not None]
    change = record.facts.next_change(now)
    requeue_at = min([*waits, *([change] if change is not None else [])], default=None)
    actions = (*notebook.actions, *templates.actions)
    record = replace(record, status=replace(record.status, next_attempt_at=requeue_at))
    record = _with_reconciled(record, requeue_at, now, acting=bool(actions))
    return Plan(record=record, actions=actions, because=(*notebook.because, *templates.because), requeue_at=requeue_at)


def _with_reconciled(record: UserRecord, requeue_at: datetime | None, now: datetime, *, acting: bool) -> UserRecord:
    """Work is under way, or nothing is to be done, perhaps until a date that is far off (the end of a retention)."""
    if acting or (requeue_at is not None and requeue_at - now <= _SOON):
        status, reason, message = ConditionStatus.FALSE, Reason.WAITING, "Work is under way."
    else:
        status, reason, message = ConditionStatus.TRUE, Reason.SETTLED, "Nothing is left to do."
        if requeue_at is not None:
            message = f"Nothing is to be done before {requeue_at:%Y-%m-%d %H:%M} UTC."
    conditions = set_condition(record.status.conditions, ConditionType.RECONCILED, status, reason, message, now)
    return record.with_status(conditions=conditions)


def _with_condition(step: Step, kind: ConditionType, now: datetime) -> UserRecord:
    conditions = set_condition(step.record.status.conditions, kind, step.condition, step.reason, step.message, now)
    return step.record.with_status(conditions=conditions)


def _template_step(record: UserRecord, seen: TemplatesSeen | Unreadable, policy: Policy) -> Step:
    if isinstance(seen, Unreadable):
        wait = seen.error.retry_after if isinstance(seen.error, RetryableError) else timedelta(minutes=10)
        return Step(
            record=record,
            condition=ConditionStatus.UNKNOWN,
            reason=Reason.UNREADABLE,
            message=seen.error.user_message,
            requeue_after=backoff(record.status.attempts + 1, at_least=wait, spread_by=record.user_key),
            because=("The template objects could not be read, so none is touched.",),
        )
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
    removals = [RemoveTemplate(template=n) for n in sorted(set(seen.digests) - set(wanted))]
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
