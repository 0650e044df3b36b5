"""Messages as the lifecycle function reads them, for tests that have no function: the shipped sources, the local people."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from shared.domain.people.domains import People
from shared.domain.people.events import News
from shared.domain.people.sources import DIRECTORY, HR, SHIPPED
from shared.messages.message import Message, Parsed, Rules
from shared.messages.parse import parse_message
from shared.settings import load_settings

CONFIG = Path(__file__).resolve().parents[2] / "config"
PEOPLE: People = load_settings(env="local", config_dir=CONFIG, environ={}).people


def rules(source: str = HR, *, max_bytes: int = 100_000, people: People = PEOPLE, moves_logs: bool = False) -> Rules:
    return Rules(source=SHIPPED[source], people=people, max_bytes=max_bytes, moves_logs=moves_logs)


def read(
    body: bytes,
    *,
    source: str = "",
    published: datetime | None = None,
    message_id: str = "m",
    people: People = PEOPLE,
    max_bytes: int = 100_000,
) -> Parsed:
    """What the function makes of it; a log entry comes from the directory, all else from HR, unless said otherwise."""
    from_logs = b'"protoPayload"' in body and b"notebooks.googleapis.com" not in body
    message = Message(
        data=body, attributes={}, message_id=message_id, publish_time=published or datetime(2026, 11, 23, tzinfo=UTC)
    )
    return parse_message(message, rules(source or (DIRECTORY if from_logs else HR), people=people, max_bytes=max_bytes))


def news_of(body: bytes, **more: object) -> tuple[News, ...]:
    """The news alone; raises what the message's only fault is."""
    parsed = read(body, **more)
    if parsed.faults and not parsed.news:
        raise parsed.faults[0].error
    return parsed.news
