"""Clicks that were written down and not taken up yet, and the last one that was refused: for the analyst's and the manager's page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from portal.deps import current
from portal.visit import visit
from shared.domain.asking import asked_text, was_taken
from shared.domain.errors import BenchkeeperError, Reason
from shared.domain.record import UserRecord
from shared.domain.story import StoryKind, StoryLine
from shared.domain.wish import Asked

_REFUSAL_SHOWN = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingClick:
    """A wish that waits: when the person clicked, and on what."""

    at: datetime
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """What waits, by the part of the page that it is about. `refused` is the newest wish, if it was refused lately."""

    notebook: tuple[WaitingClick, ...]
    spark: tuple[WaitingClick, ...]
    refused: StoryLine | None

    @property
    def all(self) -> tuple[WaitingClick, ...]:
        """Everything that waits."""
        return tuple(sorted([*self.notebook, *self.spark], key=lambda click: click.at))


def waits_of(record: UserRecord) -> Waits:
    """Return what waits for a person: one listing. A page without it is still worth having, so a failure is only logged."""
    clicks: list[tuple[Asked, WaitingClick]] = []
    try:
        for each in current().deps.engine.inbox.waiting(record.user_key):
            wish = each.shown
            if wish is not None and not was_taken(record, wish.wish_id):
                clicks.append((wish.asked, WaitingClick(at=each.created_at, text=asked_text(wish.asked))))
    except BenchkeeperError as error:
        visit().reason, visit().detail = error.reason.value, f"wishes: {error.detail}"
    return Waits(
        notebook=tuple(click for asked, click in clicks if not asked.template),
        spark=tuple(click for asked, click in clicks if asked.template),
        refused=_refused(record, visit().now()),
    )


def _refused(record: UserRecord, now: datetime) -> StoryLine | None:
    newest = next((line for line in reversed(record.status.story) if line.kind is StoryKind.WISH), None)
    if newest is None or newest.ref != Reason.REFUSED.value or now - newest.at > _REFUSAL_SHOWN:
        return None
    return newest
