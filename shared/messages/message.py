"""A message as it came, the rules that it is read by, and what reading it gives. For the rest of `shared.messages`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from shared.domain.people.domains import People
from shared.domain.people.events import News
from shared.domain.people.sources import Source
from shared.domain.things.errors import InvalidMessageError, PoisonError
from shared.domain.things.times import parse_time

# What Pub/Sub takes at most. A larger limit of the settings is for grants; a leaver is read up to here.
HARD_LIMIT = 10_000_000
# Written on the messages that a batch is taken apart into: the message that it came in, and when that was published.
PART_OF, PART_PUBLISHED = "benchkeeper-part-of", "benchkeeper-part-published"


class Message(Struct, frozen=True, kw_only=True):
    """A Pub/Sub message as it arrived: raw `data`, attributes, its id and publish time. `topic` is the full name, if known."""

    data: bytes
    attributes: Mapping[str, str]
    message_id: str
    publish_time: datetime
    topic: str = ""

    @property
    def origin_id(self) -> str:
        """The id that stands in for a missing `event_id`: of a part of a batch, the batch's with the part's number."""
        return self.attributes.get(PART_OF) or self.message_id

    @property
    def first_published(self) -> datetime:
        """When what it says was first published: of a part of a batch, the batch's time. A sender can only date it back."""
        try:
            said = parse_time(self.attributes.get(PART_PUBLISHED, ""))
        except ValueError:
            return self.publish_time
        return min(said, self.publish_time)


class Rules(Struct, frozen=True, kw_only=True):
    """By which a message is read: whose word it is, whose addresses are people's, how large it may be.

    `moves_logs`: log entries on a topic that may not bring them are moved on to the directory's, for an upgrade's first days.
    """

    source: Source
    people: People
    max_bytes: int
    moves_logs: bool = False


class Fault(Struct, frozen=True, kw_only=True):
    """A part of a message that could not be used: it becomes a dead letter of its own. `part` tells the parts apart."""

    error: PoisonError
    body: bytes
    part: str


class Part(Struct, frozen=True, kw_only=True):
    """A message of its own, made of the elements of a batch that are about one person."""

    body: bytes
    number: int


class Parsed(Struct, frozen=True, kw_only=True):
    """What a message says. `faults` could not be used; `parts` are to be published one by one; `to_directory`: moved on whole.

    `sender_faults` are what the sender should mend, by name; what they are about was used all the same.
    `ignored` says why parts of it concern nobody, by name.
    """

    news: tuple[News, ...] = ()
    faults: tuple[Fault, ...] = ()
    parts: tuple[Part, ...] = ()
    to_directory: bool = False
    sender_faults: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


class Json(Struct, frozen=True):
    """A JSON value, and the keys that stand twice in one object somewhere in it."""

    value: Any
    twice: frozenset[str]


def read_json(data: bytes) -> Json:
    """Return the JSON value of UTF-8, UTF-16 or UTF-32 bytes. Raises `InvalidMessageError` for what is not JSON."""
    twice: set[str] = set()

    def whole(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                twice.add(key)
            found[key] = value
        return found

    try:
        text = data.decode(json.detect_encoding(data))
        value = json.loads(text, parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=whole)
        if b"\\u" in data:  # half a surrogate pair is no text: it could not be written down again
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise InvalidMessageError(
            user_message=f"The message is not JSON: {error}.", detail=f"not JSON: {error}"
        ) from error
    return Json(value, frozenset(twice))


class Several(list[Any]):
    """The values of a key that stands several times in one object."""


def read_leniently(data: bytes, *, all_values: bool = False) -> Json:
    """Return the value of what is nearly JSON, for cuts and names only. Raises `InvalidMessageError` if there is none.

    Bytes that are no text and halves of surrogate pairs become U+FFFD, numbers that are none become null, and control characters
    may stand in texts. With `all_values` a key that stands several times has `Several` values, else the last.
    """
    twice: set[str] = set()

    def whole(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key not in found:
                found[key] = value
                continue
            twice.add(key)
            before = found[key]
            values = before if isinstance(before, Several) else [before]
            found[key] = Several([*values, value]) if all_values else value
        return found

    try:
        value = json.loads(
            data.decode(json.detect_encoding(data), "replace"),
            strict=False,
            parse_constant=_nothing,
            parse_float=_or_none(_finite),
            parse_int=_or_none(int),
            object_pairs_hook=whole,
        )
        if b"\\u" in data:
            value = _whole_texts(value)
    except (ValueError, RecursionError) as error:
        raise InvalidMessageError(
            user_message=f"The message is not JSON: {error}.", detail=f"not JSON: {error}"
        ) from error
    return Json(value, frozenset(twice))


def _whole_texts(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
        case list():
            return type(value)(map(_whole_texts, value))
        case dict():
            return {_whole_texts(key): _whole_texts(each) for key, each in value.items()}
        case _:
            return value


def _nothing(_: str) -> None:
    return None


def _or_none(read: Callable[[str], float]) -> Callable[[str], float | None]:
    def number(text: str) -> float | None:
        try:
            return read(text)
        except ValueError:
            return None

    return number


def json_object(message: Message, max_bytes: int) -> dict[str, Any]:
    """Return the JSON object of a message of at most so many bytes; keys that stand twice are refused."""
    check_data(message, max_bytes)
    found = read_json(message.data)
    if found.twice:
        raise keys_twice(found.twice)
    if not isinstance(found.value, dict):
        raise no_object(found.value)
    return found.value


def check_data(message: Message, max_bytes: int) -> None:
    """Raise `InvalidMessageError` for a message without data, or with too much of it."""
    if not message.data:
        raise InvalidMessageError(
            user_message="The message has no data, only attributes. Put the JSON into the message's data.",
            detail=f"message without data; attributes {sorted(message.attributes)[:8]}",
        )
    if len(message.data) > max_bytes:
        raise too_large(message, max_bytes)


def too_large(message: Message, max_bytes: int) -> InvalidMessageError:
    """Return the error for a message that is too large."""
    return InvalidMessageError(
        user_message=f"The message is {len(message.data):,} bytes; at most {max_bytes:,} are read.",
        detail=f"message of {len(message.data)} bytes, limit {max_bytes}",
    )


def keys_twice(twice: frozenset[str]) -> InvalidMessageError:
    """Return the error for an object in which a key stands twice."""
    key = min(twice)[:60]
    return InvalidMessageError(
        user_message=f"The key '{key}' stands twice in the message, so what it says is not plain. Write each key once.",
        detail=f"duplicate JSON key {key!r}",
    )


def no_object(value: object) -> InvalidMessageError:
    """Return the error for JSON that is no object."""
    return InvalidMessageError(
        user_message="The message is JSON, but not an object.", detail=f"JSON {type(value).__name__}, not an object"
    )


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is too large a number")
    return number
