"""The lines of a user's history, for the intake and for passes.

This module makes the lines about messages, holds, calls to the cloud with their outcomes, and changed conditions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec.structs import replace

from shared.domain.notebook.actions import StopInstance
from shared.domain.people.events import (
    AccountChanged,
    AccountState,
    AccountUsable,
    GroupChanged,
    Joined,
    LeaveCancelled,
    Left,
    LifecycleEvent,
    Moved,
    Renamed,
)
from shared.domain.plan.plan import Action, Observed, Plan
from shared.domain.reconcile.outcome import Asked, Done, Failed, Outcome, Started
from shared.domain.record.audit import access_of
from shared.domain.record.record import Presence, UserRecord
from shared.domain.record.status import ConditionType
from shared.domain.things.errors import Reason
from shared.domain.things.history import CAUSES, Call, CallState, StoryKind, StoryLine, told
from shared.domain.things.identity import without_addresses
from shared.domain.things.notebook import Absent, ObservedNotebook, Unreadable

# `RECONCILED` follows from the other conditions, and would only add lines about passes that are not finished.
_TOLD = frozenset(ConditionType) - {ConditionType.RECONCILED}
_NAMES = {
    ConditionType.NOTEBOOK_READY: "Notebook",
    ConditionType.TEMPLATES_READY: "Templates",
    ConditionType.IDENTITY_READY: "Identity",
    ConditionType.DATA_SAVED: "Data",
    ConditionType.COPIES_KEPT: "Copies",
    ConditionType.CLUSTERS_READY: "Spark",
    ConditionType.CLUSTERS_REMOVED: "Spark",
    ConditionType.SESSIONS_ENDED: "Spark sessions",
    ConditionType.NEWS_UNDERSTOOD: "News",
}
# For these reasons the sentence changes with every pass without saying anything new, so no line is written.
_ON_THE_WAY = frozenset({Reason.WAITING, Reason.PENDING})
# (while it holds, once it is over)
_ACCOUNT_WORDS = {
    AccountState.SUSPENDED: ("suspended", "unsuspended"),
    AccountState.ARCHIVED: ("archived", "unarchived"),
    AccountState.DELETED: ("deleted", "undeleted"),
    AccountState.DISABLED: ("disabled by Google", "enabled"),
    AccountState.CREATED: ("created", "not created"),
}


def with_news(record: UserRecord, event: LifecycleEvent, now: datetime) -> UserRecord:
    """Return the record with a line about the message that changed it."""
    says = f"; says {event.says}" if event.says else ""
    because = f"source {event.source}{says}" if event.source else ""
    line = StoryLine(
        at=now,
        kind=StoryKind.NEWS,
        text=_news_text(record, event),
        because=because,
        ref=event.event_id,
        by=event.source,
    )
    return record.with_status(story=told(record.status.story, [line]))


def _news_text(record: UserRecord, event: LifecycleEvent) -> str:
    match event:
        case Joined():
            return "Joined"
        case Moved():
            return "Moved"
        case Left(cause=cause):
            return f"Left: {without_addresses(cause)}" if cause else "Left"
        case GroupChanged(group=group, member=member):
            return f"{'Member of' if member else 'No longer in'} {group}"
        case LeaveCancelled():
            return "Leave cancelled"
        case AccountChanged(state=state, holds=holds):
            return f"Account {_ACCOUNT_WORDS[state][0 if holds else 1]}"
        case AccountUsable():
            return "Account stated to be usable"
        case Renamed():
            return (
                "The address changed" if record.rename is None and record.claim is None else "A change of address waits"
            )


def with_hold_told(before: UserRecord, after: UserRecord, by: str, now: datetime) -> UserRecord:
    """Return the record with a line about a hold that was set or released; return it unchanged if nothing changed."""
    if after is before:
        return after
    text = "Put on hold" if after.hold is not None else "Released from hold"
    because = (
        f"{without_addresses(after.hold.reason)}; asked for by {by}" if after.hold is not None else f"asked for by {by}"
    )
    return after.with_status(
        story=told(after.status.story, [StoryLine(at=now, kind=StoryKind.WISH, text=text, because=because, by=by)])
    )


def with_intents(
    base: UserRecord, plan: Plan, seen: Observed, now: datetime, *, over: int, policy: str
) -> tuple[UserRecord, tuple[StoryLine, ...]]:
    """Return the record with a line for each call that is to be made, and these lines. The caller saves the record before the first call.

    `over` is the generation of the record that this record is written over: together with the number of the call, it
    forms the call's id. `policy` is the digest of the policy in force.
    """
    before, after = {**access_of(base), **_seen_as(seen)}, access_of(plan.record)
    lines = []
    for number, action in enumerate(plan.actions):
        by, event = _caused_by(action, plan.record, base.status.story)
        call = Call(
            id=f"{over}-{number}",
            activity=int(action.does()),
            state=CallState.ASKED,
            policy=policy,
            event=event,
            before=before,
        )
        lines.append(
            StoryLine(
                at=now,
                kind=StoryKind.CALL,
                text=action.describe(),
                because=" ".join(plan.because),
                act=action.key,
                by=by,
                after=after,
                call=call,
            )
        )
    story = told(base.status.story, lines)
    return base.with_status(story=story), story[len(story) - len(lines) :]


def _seen_as(seen: Observed) -> dict[str, str]:
    match seen.notebook:
        case ObservedNotebook(state=state):
            return {"notebook": state.value}
        case Absent():
            return {"notebook": "ABSENT"}
        case Unreadable():
            return {"notebook": "UNREADABLE"}
        case _:
            return {}


def _caused_by(action: Action, record: UserRecord, story: Sequence[StoryLine]) -> tuple[str, str]:
    """Return the author of the call, and the id of the event or request that caused it.

    The cause is the last news or request, except for an idle stop, which Benchkeeper itself causes.
    """
    if isinstance(action, StopInstance) and record.spec.power_reason.is_idle:
        return "benchkeeper idle sweep", ""
    line = next((line for line in reversed(story) if line.kind in CAUSES), None)
    return (line.by, line.ref) if line is not None else ("", "")


def with_chronicle(
    before: UserRecord,
    after: UserRecord,
    plan: Plan,
    outcomes: Sequence[tuple[Action, Outcome]],
    now: datetime,
    *,
    intents: Sequence[StoryLine] = (),
    done_at: datetime | None = None,
) -> UserRecord:
    """Return the record after a pass with new lines in its history; unchanged if there are none.

    The lines are about the pass's calls, ended Spark clusters, changed conditions, and verified removal of a leaver's access.
    If there are none of these, a change of access gets a line.
    `intents` are the lines of the calls in the record that was saved before the calls; these lines get the outcomes.
    """
    calls = [_call(action, outcome, plan, now) for action, outcome in outcomes]
    if intents:
        after = _with_answers(before, after, intents, calls, outcomes, done_at or now)
        lines = []
    else:
        lines = [
            line
            for line, (action, outcome) in zip(calls, outcomes, strict=True)
            if not _is_old_refusal(line, before.status.story) and not (action.is_routine and isinstance(outcome, Done))
        ]
    lines += _ended_clusters(before, after, now)
    for kind in sorted(_TOLD):
        old, new = before.status.condition(kind), after.status.condition(kind)
        if new is None or new.reason in _ON_THE_WAY:
            continue
        if old is None or (old.status, old.reason) != (new.status, new.reason):
            text = f"{_NAMES[kind]}: {new.reason.value}"
            lines.append(StoryLine(at=now, kind=StoryKind.DECISION, text=text, because=new.message))
    gone, earlier = after.status.leaving, before.status.leaving
    if gone is not None and gone.complete_at is not None and (earlier is None or earlier.complete_at is None):
        because = "Each access path was checked again after it was cut, and nothing was left."
        lines.append(StoryLine(at=now, kind=StoryKind.DECISION, text="Verified gone", because=because))
    if not lines and not intents and _access(before) != _access(after):
        text = f"Access: {after.spec.profile or 'yes'}" if after.spec.presence is Presence.PRESENT else "Access: none"
        lines.append(StoryLine(at=now, kind=StoryKind.DECISION, text=text, because=after.spec.because))
    if not lines:
        return after
    return after.with_status(story=told(after.status.story, [_without_hold_addresses(line, after) for line in lines]))


def _access(record: UserRecord) -> Mapping[str, str]:
    return {name: text for name, text in access_of(record).items() if name != "power"}


def _with_answers(
    before: UserRecord,
    after: UserRecord,
    intents: Sequence[StoryLine],
    calls: Sequence[StoryLine],
    outcomes: Sequence[tuple[Action, Outcome]],
    done_at: datetime,
) -> UserRecord:
    """Return the record in which the lines of intents have the outcomes of their calls."""
    answered: dict[str, StoryLine] = {}
    for intent, line, (action, outcome) in zip(intents, calls, outcomes, strict=True):
        if intent.call is None:
            continue
        state, is_routine = CallState.DONE, action.is_routine and isinstance(outcome, Done)
        if isinstance(outcome, Failed):
            state = CallState.REFUSED if outcome.sent else CallState.HELD
        told_line = _without_hold_addresses(line, after)
        answered[intent.call.id] = replace(
            intent,
            text=told_line.text,
            because=told_line.because,
            ref=told_line.ref,
            refused=told_line.refused,
            again=_is_old_refusal(line, before.status.story) or is_routine,
            call=replace(intent.call, state=state, done_at=done_at),
        )
    story = (answered.get(line.call.id, line) if line.call is not None else line for line in after.status.story)
    return after.with_status(story=tuple(story))


def _ended_clusters(before: UserRecord, after: UserRecord, now: datetime) -> list[StoryLine]:
    """Return a line with the reason for each Spark cluster that ended without a request of its user."""
    lines = []
    for wish in before.spec.clusters:
        if after.spec.wish(wish.template) is None:
            known = after.status.cluster(wish.template)
            because = (
                known.diagnosis if known is not None else ""
            ) or "The cluster ended by itself and is not created again."
            text = f"Spark environment {wish.template}: ended"
            lines.append(StoryLine(at=now, kind=StoryKind.DECISION, text=text, because=because))
    return lines


def _without_hold_addresses(line: StoryLine, record: UserRecord) -> StoryLine:
    """Return the line without addresses in the hold's reason, which may name other people."""
    if record.hold is None or record.hold.reason not in line.because:
        return line
    return replace(line, because=line.because.replace(record.hold.reason, without_addresses(record.hold.reason)))


def _is_old_refusal(line: StoryLine, story: tuple[StoryLine, ...]) -> bool:
    """Return True if the last line about the same action is the same refusal, so that a repeated refusal is recorded once."""
    last = next((old for old in reversed(story) if old.act and old.act == line.act), None)
    return line.refused and last is not None and last.refused and last.ref == line.ref


def _call(action: Action, outcome: Outcome, plan: Plan, now: datetime) -> StoryLine:
    text, because, ref, refused = action.describe(), " ".join(plan.because), "", False
    match outcome:
        case Started(operation=operation):
            ref = operation.name
        case Asked(operation=name):
            ref = name
        case Failed(error=error):
            text, because, ref, refused = f"{text}: refused", error.user_message, error.reason.value, True
        case Done():
            pass
    return StoryLine(at=now, kind=StoryKind.CALL, text=text, because=because, ref=ref, act=action.key, refused=refused)
