"""Clicks that were written down and not taken up yet, and the last one that was refused: for the analyst's and the manager's page.

A page shows an environment as it would be with what waits, and says that it waits: so nothing jumps when it is taken up.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct

from portal.deps import current
from portal.visit import visit
from shared.domain.intent.asking import asked_text, was_taken
from shared.domain.record.record import UserRecord
from shared.domain.things.errors import BenchkeeperError, Reason
from shared.domain.things.history import StoryKind, StoryLine
from shared.domain.things.identity import UserKey
from shared.engine.news.requests import with_waiting
from shared.engine.ports.inbox import WaitingWish

_REFUSAL_SHOWN = timedelta(hours=1)


class WaitingClick(Struct, frozen=True, kw_only=True):
    """A wish that waits: when the person clicked, and on what. `template` is "" for what is about the notebook."""

    at: datetime
    text: str
    template: str


class Waits(Struct, frozen=True, kw_only=True):
    """What waits, in the order of the clicks. `record` is the person's as it would be with all of it.

    `refused` is the newest wish, if it was refused lately.
    """

    all: tuple[WaitingClick, ...]
    record: UserRecord
    refused: StoryLine | None

    @property
    def notebook(self) -> tuple[WaitingClick, ...]:
        """What is about the notebook."""
        return self.about("")

    @property
    def spark(self) -> tuple[WaitingClick, ...]:
        """What is about Spark environments."""
        return tuple(click for click in self.all if click.template)

    def about(self, template: str) -> tuple[WaitingClick, ...]:
        """Return what is about the Spark environment of a template."""
        return tuple(click for click in self.all if click.template == template)


def waiting_for(user_key: UserKey) -> tuple[WaitingWish, ...]:
    """Return what waits for a person: one listing. A page without it is still worth having, so a failure is only logged.

    Call it before the record is read. A wish that is taken up between the two is in the record then. The other way round it would
    be in neither, and the page would show the environment as it was before the click and look for no news.
    """
    try:
        return current().deps.engine.inbox.waiting(user_key)
    except BenchkeeperError as error:
        visit().reason, visit().detail = error.reason.value, f"wishes: {error.detail}"
        return ()


def waits_of(record: UserRecord, waiting: tuple[WaitingWish, ...]) -> Waits:
    """Return what of the wishes that waited is not in the record yet, and the record with all of it."""
    clicks = [
        WaitingClick(at=each.created_at, text=asked_text(wish.asked), template=wish.asked.template)
        for each in waiting
        if (wish := each.shown) is not None and not was_taken(record, wish.wish_id)
    ]
    return Waits(
        all=tuple(clicks),
        record=with_waiting(record, waiting, current().deps.engine),
        refused=_refused(record, visit().now()),
    )


def _refused(record: UserRecord, now: datetime) -> StoryLine | None:
    newest = next((line for line in reversed(record.status.story) if line.kind is StoryKind.WISH), None)
    if newest is None or newest.ref != Reason.REFUSED.value or now - newest.at > _REFUSAL_SHOWN:
        return None
    return newest
