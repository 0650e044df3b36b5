"""The pass over one user, `reconcile`, which makes the cloud match the record.

Requests, sweeps and messages change a user's resources through `reconcile`. The exceptions are `news.fail_closed`, for a
leaver whose record cannot be used, and `sweeps.lifetimes`, which erases what is left of a leaver.

A pass publishes the mails that are due. The record is the outbox: a mail that no process claims is published again by a
later pass.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct

from shared.domain.account.actions import DisableAccount
from shared.domain.intent.wanted import with_wanted
from shared.domain.plan.plan import Action, Observed, OperationSeen, Plan
from shared.domain.reconcile.leaving import with_leaving
from shared.domain.reconcile.mails import to_publish
from shared.domain.reconcile.metering import metered
from shared.domain.reconcile.outcome import Done, Outcome, with_outcomes
from shared.domain.reconcile.planner import make_plan
from shared.domain.record.record import Presence, UserRecord
from shared.domain.record.status import ConditionStatus, ConditionType
from shared.domain.things.errors import BenchkeeperError, ConflictError, Reason
from shared.domain.things.history import StoryLine
from shared.domain.things.identity import UserKey
from shared.domain.things.notebook import NotLooked
from shared.engine.ports.deps import Deps
from shared.engine.ports.records import Stored
from shared.engine.reconcile.audit import copy_out, save, waits, with_known, with_mails_due
from shared.engine.reconcile.changing import due_soon
from shared.engine.reconcile.executor import carry_out
from shared.engine.reconcile.guard import wanted_in_a_pass, with_listing, with_room
from shared.engine.reconcile.history import with_chronicle, with_intents
from shared.engine.reconcile.observer import observe
from shared.engine.reconcile.repair import load_mended
from shared.engine.reconcile.seats import give_back, with_seats


def publish_due(record: UserRecord, before: UserRecord, deps: Deps) -> None:
    """Publish the mails of a saved record that are due, unless messages are switched off.

    After a failure, the remaining mails wait for a later pass.
    """
    if deps.mail is None or not deps.base_policy.tells:
        return
    for mail in to_publish(record, before, deps.clock.now()):
        try:
            deps.mail.notifications.publish(record, mail)
        except BenchkeeperError as error:
            deps.log.warning(
                "Mail could not be published",
                user=record.user_key,
                stage=mail.stage.value,
                reason=error.reason.value,
                detail=error.detail,
            )
            return


_TRIES = 6
# A planned wake-up is not moved for less than this: an early pass costs little, a new hint costs a call.
SLACK = timedelta(seconds=90)
# A user who needs a pass at the next tick stays due at the time that has passed: this needs no new hint and, if nothing else
# changed, no write. Not for longer than `_STAYS_DUE`: it would look like a sweep that does not reach its users.
_NEXT_TICK = timedelta(minutes=1)
_STAYS_DUE = timedelta(minutes=5)


class Result(Struct, frozen=True, kw_only=True):
    """The result of one pass. `requeue_at` is None if nothing is pending."""

    record: UserRecord
    plan: Plan
    requeue_at: datetime | None


class Preview(Struct, frozen=True, kw_only=True):
    """A plan that was not carried out, with the stored record and the observation."""

    record: UserRecord
    observed: Observed
    plan: Plan


def preview(user_key: UserKey, deps: Deps) -> Preview | None:
    """Return the plan that `reconcile` would carry out now; None if there is no record."""
    stored = deps.records.load(user_key)
    if stored is None:
        return None
    now = deps.clock.now()
    record = with_seats(wanted_in_a_pass(stored.record, deps, now), deps, now, claims=False)
    seen = observe(record, deps)
    return Preview(record=stored.record, observed=seen, plan=make_plan(record, seen, deps.policy, now))


def reconcile(user_key: UserKey, deps: Deps, *, stored: Stored | None = None, thorough: bool = False) -> Result | None:
    """Make one pass for one user: observe, plan, carry out, save. Return None if there is no record.

    Use `thorough` after a listing showed a difference: then the snapshots that the record lists as READY are read, too.
    `stored` avoids the first read if the caller has just written the record. If another process writes in between, the
    pass is repeated on the newer record, because every action is safe to repeat. Raise `ConflictError` if that happens
    several times in a row.
    """
    known: dict[str, StoryLine] = {}
    for _ in range(_TRIES):
        if stored is None:
            stored = load_mended(user_key, deps)
        if stored is None:
            return None
        result = _pass(stored, deps, known, thorough=thorough)
        if result is not None:
            return result
        stored = None
    raise ConflictError(
        user_message="This person's record is being changed by another process just now; Benchkeeper tries again.",
        detail=f"record of {user_key} changed under {_TRIES} passes",
    )


def _pass(stored: Stored, deps: Deps, known: dict[str, StoryLine], *, thorough: bool) -> Result | None:
    """Make one pass; return None if another process wrote meanwhile.

    Calls are in the record before they are made (R18). `known` gets their outcomes, for the next try.
    """
    now, policy = deps.clock.now(), deps.policy  # one policy, even if another comes into force in the middle of a pass
    loaded = with_known(stored.record, known)
    wanted = with_wanted(loaded, policy, now)
    record = with_room(wanted, deps, now)
    if record is not wanted:
        record = with_wanted(record, policy, now)
    record = with_seats(record, deps, now)
    seen = observe(record, deps, thorough=thorough)
    plan = make_plan(record, seen, policy, now)
    intents: tuple[StoryLine, ...] = ()
    if plan.actions:
        base = plan.record if _is_written_first(plan, stored) else due_soon(loaded, deps)
        base, intents = with_intents(base, plan, seen, now, over=stored.generation, policy=deps.digest_of(policy))
        try:
            stored = save(base, stored, deps)
        except ConflictError:
            return None
    outcomes = carry_out(plan, deps)
    after = with_outcomes(plan, outcomes, policy, now)
    after = with_leaving(loaded, after, seen, outcomes, now, poll=policy.poll)
    after = metered(loaded, after, seen, policy, now)
    if intents:
        after = _with_saved_history(after, stored.record)
    done_at = deps.clock.now() if intents else now
    after = with_chronicle(record, after, plan, outcomes, now, intents=intents, done_at=done_at)
    known.update({line.call.id: line for line in after.status.story if line.call is not None and not line.is_under_way})
    after = _keep_wake_up(after, stored.record, now)
    try:
        if (
            waits(after) and not stored.record.status.audit.alias
        ):  # of an earlier program: once, the pseudonym comes first
            stored = save(after, stored, deps)
            after = stored.record
        after = copy_out(after, stored.record, deps, now)
        after = with_listing(_keep_wake_up(after, stored.record, now), deps)
        after = _keep_wake_up(with_mails_due(after, stored.record, deps), stored.record, now)
        if after != stored.record:
            after = save(after, stored, deps).record
    except ConflictError:
        return None
    give_back(loaded, after, deps)
    publish_due(after, loaded, deps)
    _log_progress(record, seen, after, deps, now)
    _log_uncut(after, deps)
    _log_revoked(record, outcomes, deps, now)
    _log_gone(loaded, after, deps)
    return Result(record=after, plan=plan, requeue_at=after.status.next_attempt_at)


def _with_saved_history(after: UserRecord, saved: UserRecord) -> UserRecord:
    """Return the record with the history and the pseudonym that were saved before the calls."""
    return after.with_status(story=saved.status.story, alias=saved.status.audit.alias)


def _is_written_first(plan: Plan, stored: Stored) -> bool:
    """Return True if the plan's record must be saved before the cloud is called; if not, only the intents are added to the record.

    Zone and id name an instance: if they are saved before the create, a crash cannot leave an unknown instance. The same holds for a
    snapshot, and for a cluster whose request is taken back meanwhile.
    A deletion or a restore cannot be undone: the write fails if the user came back or was put on hold meanwhile.
    An instance that is stopped only for a change must not look as if a user had stopped it. The same holds for an instance that is
    stopped at the end of access, if the user is entitled again before this pass is over.
    The build of an instance replaces its predecessor's in the record: an old value would cause one replacement after another.
    An account or a group membership that no record names would outlive every leave.
    """
    before, after = stored.record.status, plan.record.status
    moves = (before.notebook.zone, before.notebook.instance_id) != (after.notebook.zone, after.notebook.instance_id)
    pauses = before.notebook.power_settled and not after.notebook.power_settled
    rebuilds = bool(before.notebook.built_from) and before.notebook.built_from != after.notebook.built_from
    leaves = stored.record.spec.presence is Presence.PRESENT and plan.record.spec.presence is Presence.ABSENT
    names = (before.account.account_id, before.account.data_groups) != (
        after.account.account_id,
        after.account.data_groups,
    )
    return bool(plan.actions) and (
        moves or pauses or rebuilds or leaves or names or any(action.written_first for action in plan.actions)
    )


def _log_progress(before: UserRecord, seen: Observed, after: UserRecord, deps: Deps, now: datetime) -> None:
    """Log a failed operation, and log once that the wanted state was reached after news. Metrics are based on these lines."""
    operation = seen.operation
    if (
        isinstance(operation, OperationSeen)
        and operation.error is not None
        and before.status.notebook.operation is not None
    ):
        error = operation.error
        deps.log.warning(
            "Operation failed",
            user=before.user_key,
            verb=operation.ref.verb.value,
            reason=error.reason.value,
            detail=error.detail,
        )
    since = before.status.waiting_since
    if since is None or after.status.waiting_since is not None:
        return
    waited = round((now - since).total_seconds(), 1)
    profile = after.spec.profile or ""
    ready = after.status.condition(ConditionType.NOTEBOOK_READY)
    if after.spec.presence is Presence.ABSENT:
        if not isinstance(seen.notebook, NotLooked):  # without an instance nothing was stopped
            deps.log.info(
                "Stopped the notebook of a leaver", user=after.user_key, profile=profile, event_to_stopped_s=waited
            )
    elif ready is not None and ready.status is ConditionStatus.TRUE:
        deps.log.info("Notebook became ready", user=after.user_key, profile=profile, event_to_ready_s=waited)


def _log_uncut(after: UserRecord, deps: Deps) -> None:
    """Log each condition by which a leaver's access is not cut. Each pass logs it again; an alert policy counts these lines."""
    for condition in after.status.conditions:
        if condition.reason is Reason.ACCESS_NOT_CUT and condition.type is not ConditionType.RECONCILED:
            deps.log.error("Access was not cut", user=after.user_key, profile=after.spec.profile or "")


def _log_revoked(before: UserRecord, outcomes: list[tuple[Action, Outcome]], deps: Deps, now: datetime) -> None:
    """Log once that a leaver's service account was disabled, with the seconds since the news."""
    since = before.status.waiting_since or before.spec.absent_since
    if since is None or before.spec.presence is Presence.PRESENT:
        return
    if any(isinstance(action, DisableAccount) and isinstance(outcome, Done) for action, outcome in outcomes):
        waited = round((now - since).total_seconds(), 1)
        deps.log.info(
            "Disabled a leaver's service account",
            user=before.user_key,
            profile=before.spec.profile or "",
            event_to_revoked_s=waited,
        )


def _log_gone(before: UserRecord, after: UserRecord, deps: Deps) -> None:
    """Log once that a leaver has no access left, with the seconds since the news."""
    leaving, earlier = after.status.leaving, before.status.leaving
    if leaving is None or leaving.complete_at is None or (earlier is not None and earlier.complete_at is not None):
        return
    took = round((leaving.complete_at - leaving.since).total_seconds(), 1)
    deps.log.info(
        "Verified that a leaver has no access",
        user=after.user_key,
        profile=after.spec.profile or "",
        event_to_gone_s=took,
    )


def _keep_wake_up(after: UserRecord, before: UserRecord, now: datetime) -> UserRecord:
    """Return the record with the time of its earlier next attempt if the new time is nearly the same.

    The due index has a hint for the earlier time, so no new hint is written. An earlier time that is over stays for a few
    minutes if the user needs a pass at the next tick.
    """
    planned, wanted = before.status.next_attempt_at, after.status.next_attempt_at
    if planned is None or wanted is None or planned == wanted:
        return after
    if planned <= now:
        same = wanted <= now + _NEXT_TICK and now < planned + _STAYS_DUE
    else:
        same = timedelta(0) <= wanted - planned <= SLACK
    return after.with_status(next_attempt_at=planned) if same else after
