"""The requests that wait to be carried out, and the last refused request: for the pages of analysts and managers.

A page shows an environment as if the waiting requests were carried out, and says that they wait. So the page does not
change when a request is folded into the record.
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
    """A request that waits: the time of the click, and the request in words.

    `template` is "" if the request is about the notebook.
    """

    at: datetime
    text: str
    template: str


class Waits(Struct, frozen=True, kw_only=True):
    """The waiting requests, in the order of the clicks. `record` is the user's record as it would be with all of them applied.

    `refused` is the newest request if it was refused within the last hour.
    """

    all: tuple[WaitingClick, ...]
    record: UserRecord
    refused: StoryLine | None

    @property
    def notebook(self) -> tuple[WaitingClick, ...]:
        """The waiting requests about the notebook."""
        return self.about("")

    @property
    def spark(self) -> tuple[WaitingClick, ...]:
        """The waiting requests about Spark environments."""
        return tuple(click for click in self.all if click.template)

    def about(self, template: str) -> tuple[WaitingClick, ...]:
        """Return the waiting requests about the Spark environment of a template, or about the notebook for ""."""
        return tuple(click for click in self.all if click.template == template)


def waiting_for(user_key: UserKey) -> tuple[WaitingWish, ...]:
    """Return the user's waiting requests: one listing. A failure is only logged, because the page is useful without them.

    Call this before the record is read: a request that is folded in between the two reads is then in the record. In the reverse
    order, neither read would have the request. The page would show the environment from before the click, and would not poll.
    """
    try:
        return current().deps.engine.inbox.waiting(user_key)
    except BenchkeeperError as error:
        visit().reason, visit().detail = error.reason.value, f"wishes: {error.detail}"
        return ()


def waits_of(record: UserRecord, waiting: tuple[WaitingWish, ...]) -> Waits:
    """Return the waiting requests that the record does not have yet, and the record as it would be with all of them applied."""
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
