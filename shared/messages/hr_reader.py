"""The common base of both readers of the neutral schema: the fields of a message, its times, and its user."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from msgspec import Struct

from shared.domain.things.errors import InvalidMessageError
from shared.domain.things.times import parse_time, to_utc, zone_of
from shared.messages.message import Message, Rules

MAX_EVENT_ID, MAX_REASON, MAX_PERSON_ID = 256, 1000, 128
MAX_ATTRIBUTES, MAX_NAME, MAX_TEXT = 64, 128, 1024
MAX_LIST, MAX_ITEM, MAX_GROUPS = 100, 256, 200
SCHEMA = "workbench.lifecycle/v1"


CLOCKS_DIFFER = timedelta(minutes=5)


# The keys that must be unique in a leaver: a duplicate of one leaves open who leaves.
PLAIN = frozenset({"schema", "type", "user", "person_id"})


UNREADABLE = "\ufffd"


BASIC_DATE = re.compile(r"\d{8}", re.ASCII)


OTHER_DATE = re.compile(r"(\d\d?)[./](\d\d?)[./](\d{4})", re.ASCII)


LOCAL_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?", re.ASCII)


MONTHS = 12


DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


DATE_WITH_ZONE = re.compile(r"(\d{4}-\d\d-\d\d)(Z|[+-]\d\d:\d\d)", re.ASCII)


def breaks(why: str) -> InvalidMessageError:
    """Return the error for a message that violates the schema."""
    return InvalidMessageError(user_message=f"The message breaks {SCHEMA}: {why}.", detail=why)


class Reader(Struct):
    """The fields of one message. Each method raises `InvalidMessageError` for an invalid field."""

    body: dict[str, Any]
    message: Message
    rules: Rules

    def text(self, name: str, most: int, *, needed: bool = False, where: Mapping[str, Any] | None = None) -> str:
        """Return a text without surrounding white space; empty if the field is missing and not needed."""
        raw = (self.body if where is None else where).get(name)
        if raw is None and not needed:
            return ""
        if not isinstance(raw, str):
            raise breaks(f"{name}: Input should be a valid string" if raw is not None else f"{name}: Field required")
        text = raw.strip()
        if needed and not text:
            raise breaks(f"{name}: String should have at least 1 character")
        if len(text) > most:
            raise breaks(f"{name}: String should have at most {most} characters")
        if not is_shown(text):
            raise breaks(f"{name}: holds control or invisible characters")
        return text

    def person_id(self) -> str:
        """Return HR's number of the user, written as a text or a whole number."""
        raw = self.field("person_id")
        if isinstance(raw, int) and not isinstance(raw, bool):
            return str(raw)
        raw = self.plain_number(raw) if isinstance(raw, str) else raw
        number = self.text("person_id", MAX_PERSON_ID, where={"person_id": raw})
        if UNREADABLE in number:
            raise breaks("person_id: holds characters that could not be read")
        return number

    def plain_number(self, raw: str) -> str:
        """Return a person number with full-width and other compatibility characters replaced by plain ones."""
        return unicodedata.normalize("NFKC", raw)

    def field(self, name: str) -> Any:
        """Return a field from the message, or from its attributes under its name or the aliases that the source configures."""
        if name in self.body:
            return self.body[name]
        attributes = self.body.get("attributes")
        if not isinstance(attributes, dict):
            return None
        names = [name, *(alias for alias, means in (self.rules.source.aliases or {}).items() if means == name)]
        return next((attributes[each] for each in names if each in attributes), None)

    def user(self) -> object:
        """Return the address of the user as it was written."""
        if self.body.get("user") is None:
            raise breaks("user: Field required, the person's address")
        return self.body["user"]

    def says(self) -> str:
        """Return the author that the message claims; no decision depends on it."""
        raw = self.body.get("by")
        return raw.strip()[:254] if isinstance(raw, str) and is_shown(raw.strip()) else ""

    def published(self) -> datetime:
        """Return when this message was first published."""
        return self.message.first_published.astimezone(UTC)

    def moment(self, name: str, raw: object, *, day_ends: bool) -> datetime:
        """Return a time with its zone; for a bare date, the beginning or the end of that day in the users' time zone."""
        if not isinstance(raw, str):
            raise breaks(f"{name}: Input should be a time, for example 2026-12-01T08:00:00Z, or a date, 2026-12-01")
        text = raw.strip()
        try:
            if DATE.fullmatch(text):
                return self._day(date.fromisoformat(text), day_ends=day_ends)
            zoned = DATE_WITH_ZONE.fullmatch(text)
            if zoned is not None:
                begins = parse_time(f"{zoned[1]}T00:00:00{zoned[2]}")
                return to_utc(begins + timedelta(days=1)) if day_ends else begins
            return parse_time(text)
        except (ValueError, OverflowError) as error:
            raise breaks(f"{name}: '{text[:40]}' is no time with a zone and no date: {error}") from error

    def _day(self, day: date, *, day_ends: bool) -> datetime:
        zone = zone_of(self.rules.people.time_zone)
        return to_utc(datetime.combine(day + timedelta(days=1) if day_ends else day, time(), zone))

    def bounded(self, occurred_at: datetime) -> tuple[datetime, datetime | None]:
        """Return the time at which the news was stated, and the claimed time.

        The latter is None unless it lies in the future and is not trusted.
        """
        published = self.published()
        if occurred_at > published + CLOCKS_DIFFER:
            return published, occurred_at
        return occurred_at, None


def shown_name(name: str) -> str:
    """Return the name of an attribute; raise `InvalidMessageError` if it cannot be shown."""
    if not name or len(name) > MAX_NAME or not is_shown(name):
        raise breaks(f"attributes: a name must have 1 to {MAX_NAME} visible characters")
    return name


def is_shown(text: str) -> bool:
    """Return True for a text without control characters and halves of surrogate pairs."""
    return text.isprintable()
