"""What a piece of news did to a person's record, in a line: for `dead-letter replay`, from the record before and after. Pure."""

from __future__ import annotations

from datetime import datetime

from shared.domain.events import LifecycleEvent, Renamed, statements_of
from shared.domain.record import Presence, UserRecord


def what_changed(before: UserRecord | None, after: UserRecord, event: LifecycleEvent, now: datetime) -> str:
    """What is wanted now and was not before; else why nothing is: known already, overruled, still to come, of no effect."""
    differences = _differences(before, after)
    if isinstance(event, Renamed) and (before is None or before.email != after.email):
        differences.insert(0, "address changed")
    if differences:
        return "; ".join(differences)
    if before is None:
        return f"noted; still not entitled ({after.spec.because})"
    newer = _newer(after, event)
    stands = f"newer news of {_say(newer)} stands" if newer is not None else ""
    if before.facts == after.facts:
        return f"unchanged ({stands})" if stands and not _is_known(after, event) else "unchanged (known already)"
    if event.effective_at > now:
        return f"noted; takes effect on {_say(event.effective_at)}"
    return f"noted; {stands or 'what is wanted stays as it is'}"


def _differences(before: UserRecord | None, after: UserRecord) -> list[str]:
    was_present = before is not None and before.spec.presence is Presence.PRESENT
    is_present = after.spec.presence is Presence.PRESENT
    said: list[str] = []
    if is_present and not was_present:
        said.append(f"joined: profile {after.spec.profile}")
    elif was_present and not is_present:
        said.append(f"left: {after.spec.because}")
    elif before is not None and is_present and before.spec.profile != after.spec.profile:
        said.append(f"moved: profile {before.spec.profile} to {after.spec.profile}")
    if before is not None and before.cost_center != after.cost_center:
        said.append(f"cost centre {before.cost_center or 'none'} to {after.cost_center or 'none'}")
    return said


def _newer(after: UserRecord, event: LifecycleEvent) -> datetime | None:
    """When the newest was said of what overrules something that the event states."""
    if isinstance(event, Renamed):
        return None if after.email == event.new_user else after.email_since
    return max(
        (
            kept.occurred_at
            for name, statement in statements_of(event)
            for kept in after.facts.timelines.get(name, ())
            if kept.rank() > statement.rank()
        ),
        default=None,
    )


def _is_known(after: UserRecord, event: LifecycleEvent) -> bool:
    if isinstance(event, Renamed):
        return after.email == event.new_user
    return all(
        any(kept.is_same(statement) for kept in after.facts.timelines.get(name, ()))
        for name, statement in statements_of(event)
    )


def _say(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
