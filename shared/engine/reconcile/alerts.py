"""The log lines on which alerts are based, logged before the record that causes them is written.

`shared.engine.reconcile.audit.save` calls this. If the log line came after the write, a crash between the two would lose
the alert for good, because the next pass sees nothing new. So an alert is raised at least once, and a second time if the
write was lost to another process or to a crash.
"""

from __future__ import annotations

from shared.domain.record.parts import NOT_TOLD, Mail, Trouble
from shared.domain.record.record import UserRecord
from shared.domain.record.status import ConditionType
from shared.domain.things.errors import FOR_ADMINISTRATORS
from shared.domain.things.power import PowerCause
from shared.engine.ports.deps import Deps


def log_alerts(before: UserRecord, after: UserRecord, deps: Deps) -> None:
    """Log the alerts about `after`.

    An alert is logged for each fact in `after` that `before`, the record as last written, does not have.
    """
    _log_needs(before, after, deps)
    _log_broken_promise(before, after, deps)
    _log_dormancy(before, after, deps)
    _log_failed_clusters(before, after, deps)
    if after.status.mail is not before.status.mail:
        _log_not_told(after, before, deps)


def _log_needs(before: UserRecord, after: UserRecord, deps: Deps) -> None:
    """Log each condition that an administrator must fix, unless `before` has the condition with the same reason.

    `RECONCILED` is not logged, because it only sums up the other conditions.
    """
    for condition in after.status.conditions:
        earlier = before.status.condition(condition.type)
        if condition.type is ConditionType.RECONCILED or condition.reason not in FOR_ADMINISTRATORS:
            continue
        if earlier is None or earlier.reason is not condition.reason:
            deps.log.warning(
                "Found a condition for an administrator",
                user=after.user_key,
                about=condition.type.value,
                reason=condition.reason.value,
            )


def _log_broken_promise(before: UserRecord, after: UserRecord, deps: Deps) -> None:
    """Log a stop of a notebook although its user was told that it keeps running.

    The stop came from outside, or from Workbench's own timer.
    """
    now = deps.clock.now()
    until, cause = before.spec.keep_on_until, after.spec.power_reason.cause
    is_news = cause is not before.spec.power_reason.cause
    if is_news and cause is PowerCause.STOPPED_OUTSIDE and until is not None and until > now:
        deps.log.error(
            "Notebook stopped before its extension ended",
            user=after.user_key,
            profile=after.spec.profile or "",
            until=until.isoformat(),
        )


def _log_dormancy(before: UserRecord, after: UserRecord, deps: Deps) -> None:
    """Log each new warning that the user's unused notebook will be saved and deleted, and that it was."""
    known, found = before.status.notebook.dormancy, after.status.notebook.dormancy
    if found is None:
        return
    for days in set(found.warned) - set(known.warned if known is not None else ()):
        deps.log.warning(
            "Warned that an unused notebook will be saved and deleted",
            user=after.user_key,
            profile=after.spec.profile or "",
            days=days,
        )
    if found.away_since is not None and (known is None or known.away_since is None):
        deps.log.warning("Saved and deleted an unused notebook", user=after.user_key, profile=after.spec.profile or "")


def _log_failed_clusters(before: UserRecord, after: UserRecord, deps: Deps) -> None:
    """Log each Spark cluster whose request was removed with a diagnosis of the cluster's failure."""
    for wish in before.spec.clusters:
        known = after.status.cluster(wish.template)
        if after.spec.wish(wish.template) is None and known is not None and known.diagnosis:
            deps.log.warning(
                "Spark cluster failed", user=after.user_key, template=wish.template, reason=known.reason.value
            )


def _log_not_told(record: UserRecord, before: UserRecord, deps: Deps) -> None:
    """Log each mail that now counts as not delivered, or as perhaps not delivered."""
    known = {_named(mail) for mail in before.status.mail.mails if mail.state in NOT_TOLD}
    for mail in record.status.mail.mails:
        if mail.state in NOT_TOLD and _named(mail) not in known:
            _tell_operator(record, mail, deps)


def _tell_operator(record: UserRecord, mail: Mail, deps: Deps) -> None:
    """Log a mail that did not reach its reader, or perhaps did not; an alert counts these lines."""
    deps.log.error(
        "Mail did not reach its reader",
        user=record.user_key,
        stage=mail.stage.value,
        state=mail.state.value,
        reason=mail.trouble.value or Trouble.CRASHED.value,
    )


def _named(mail: Mail) -> tuple[str, str]:
    return mail.stage.value, mail.episode
