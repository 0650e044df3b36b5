"""The lines of a user's history: what came in, the calls to the cloud and their answers, and changed conditions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec.structs import replace

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
from shared.domain.plan.plan import Action, Plan
from shared.domain.reconcile.outcome import Asked, Done, Failed, Outcome, Started
from shared.domain.record.record import UserRecord
from shared.domain.record.status import ConditionType
from shared.domain.things.errors import Reason
from shared.domain.things.history import StoryKind, StoryLine, told
from shared.domain.things.identity import without_addresses

# `RECONCILED` follows from the others; that a pass is still at work is not worth a line.
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
    line = StoryLine(at=now, kind=StoryKind.NEWS, text=_news_text(record, event), because=because, ref=event.event_id)
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
        story=told(after.status.story, [StoryLine(at=now, kind=StoryKind.WISH, text=text, because=because)])
    )


def with_chronicle(
    before: UserRecord, after: UserRecord, plan: Plan, outcomes: Sequence[tuple[Action, Outcome]], now: datetime
) -> UserRecord:
    """Return the record after a pass with lines about its calls and changed conditions; unchanged if there are none."""
    calls = [
        _call(action, outcome, plan, now)
        for action, outcome in outcomes
        if not (action.is_routine and isinstance(outcome, Done))
    ]
    lines = [line for line in calls if not _is_old_refusal(line, before.status.story)]
    lines += _ended_clusters(before, after, now)
    for kind in sorted(_TOLD):
        old, new = before.status.condition(kind), after.status.condition(kind)
        if new is None or new.reason in _ON_THE_WAY:
            continue
        if old is None or (old.status, old.reason) != (new.status, new.reason):
            text = f"{_NAMES[kind]}: {new.reason.value}"
            lines.append(StoryLine(at=now, kind=StoryKind.DECISION, text=text, because=new.message))
    if not lines:
        return after
    return after.with_status(story=told(after.status.story, [_without_hold_addresses(line, after) for line in lines]))


def _ended_clusters(before: UserRecord, after: UserRecord, now: datetime) -> list[StoryLine]:
    """Return a line with the reason for each Spark cluster that the pass no longer keeps, though its user did not take the request back."""
    lines = []
    for wish in before.spec.clusters:
        if after.spec.wish(wish.template) is None:
            known = after.status.cluster(wish.template)
            because = (known.diagnosis if known is not None else "") or "It ended by itself and is not made again."
            text = f"Spark environment {wish.template}: ended"
            lines.append(StoryLine(at=now, kind=StoryKind.DECISION, text=text, because=because))
    return lines


def _without_hold_addresses(line: StoryLine, record: UserRecord) -> StoryLine:
    """Return the line without addresses in the hold's reason, which may name other people."""
    if record.hold is None or record.hold.reason not in line.because:
        return line
    return replace(line, because=line.because.replace(record.hold.reason, without_addresses(record.hold.reason)))


def _is_old_refusal(line: StoryLine, story: tuple[StoryLine, ...]) -> bool:
    """Return True if the last line about the same action is the same refusal, so that a repeated refusal is told once."""
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
