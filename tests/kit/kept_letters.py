"""Messages that could not be processed, kept as the function keeps them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from kit.inprocess import START
from kit.reading import PEOPLE
from shared.domain.people.sources import SHIPPED
from shared.domain.things.errors import BenchkeeperError, UnknownProfileError
from shared.engine.news.dead_letters import attributes_for, keep, letter_of
from shared.messages.message import Message
from shared.messages.people import people_named
from shared.settings import load_settings
from shared.telemetry import SilentLog
from shared.wiring import wire

PILOT = UnknownProfileError(
    user_message="There is no profile 'pilot'. The profiles are: analyst, engineer.", detail="unknown profile"
)


def hr(user: str, kind: str = "joiner", event_id: str = "e1", **attributes: Any) -> dict[str, Any]:
    """Return a message of the HR schema."""
    return {
        "schema": "workbench.lifecycle/v1", "event_id": event_id, "type": kind, "user": user,
        "occurred_at": (START - timedelta(hours=2)).isoformat(), "attributes": attributes,
    }  # fmt: skip


def keeper_of_letters(environ: Mapping[str, str]) -> Callable[..., None]:
    """Return a function that keeps a letter in the cloud that `environ` names."""
    deps = wire(load_settings(environ=environ), log=SilentLog())

    def add(
        letter_id: str,
        body: Any,
        error: BenchkeeperError = PILOT,
        *,
        minutes: float = 0.0,
        function: str = "lifecycle",
        size: int | None = None,
    ) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = START + timedelta(minutes=minutes)
        attributes = attributes_for(
            error, message_id=letter_id, sent_at=sent, size=len(data) if size is None else size,
            function=function, subscription="projects/p/subscriptions/eventarc-lifecycle", others={"origin": "hr"},
            topic="workbench-operator",
        )  # fmt: skip
        message = Message(data=data, attributes=attributes, message_id=f"9{letter_id}", publish_time=sent)
        keep(
            letter_of(
                body=data, attributes=attributes, message_id=message.message_id, published_at=sent,
                users=tuple(people_named(message, SHIPPED["operator"], PEOPLE)),
            ),
            deps,
        )  # fmt: skip

    return add
