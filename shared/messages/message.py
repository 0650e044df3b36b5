"""The types of `shared.messages`: a message as it arrived, the rules for parsing it, and the result.

`allowed` checks the kinds of facts that a source may state.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from shared.domain.people.domains import People
from shared.domain.people.events import News
from shared.domain.people.sources import May, Source
from shared.domain.things.errors import InvalidMessageError, PoisonError, Reason, UnsupportedMessageError
from shared.domain.things.times import parse_time

# Pub/Sub's limit. The limit in the settings is for grants; a leaver is parsed up to this size.
HARD_LIMIT = 10_000_000
# Attributes of the parts into which a batch is split: the id of the batch's message, and its publish time.
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
        """Return the id that replaces a missing `event_id`; for a part of a batch, the batch's id with the part's number."""
        return self.attributes.get(PART_OF) or self.message_id

    @property
    def first_published(self) -> datetime:
        """Return the time at which the content was first published; for a part of a batch, the batch's publish time.

        The result is never later than the message's own publish time.
        """
        try:
            said = parse_time(self.attributes.get(PART_PUBLISHED, ""))
        except ValueError:
            return self.publish_time
        return min(said, self.publish_time)


class Rules(Struct, frozen=True, kw_only=True):
    """The rules for parsing a message: its source, the users' domains, and the largest size. A leave may be larger.

    `moves_logs` is True in the first days after an upgrade: log entries on a wrong topic are moved to the directory's topic.
    """

    source: Source
    people: People
    max_bytes: int
    moves_logs: bool = False


class Fault(Struct, frozen=True, kw_only=True):
    """A part of a message that could not be used and becomes its own dead letter. `part` identifies the part in the message."""

    error: PoisonError
    body: bytes
    part: str


class Part(Struct, frozen=True, kw_only=True):
    """A message to publish: the elements of a batch that are about one user, with the number of the user in the batch."""

    body: bytes
    number: int


class Parsed(Struct, frozen=True, kw_only=True):
    """The result of parsing a message. `faults` are parts that could not be used. `parts` must be published one by one.

    `to_directory` is True if the whole message must be moved to the directory's topic. `sender_faults` names faults that the
    sender should fix, although the content was used. `ignored` has a reason for each part of the message that is not about
    a user.
    """

    news: tuple[News, ...] = ()
    faults: tuple[Fault, ...] = ()
    parts: tuple[Part, ...] = ()
    to_directory: bool = False
    sender_faults: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


class Json(Struct, frozen=True):
    """A JSON value, and the keys that occur twice in one of its objects."""

    value: Any
    twice: frozenset[str]


def read_json(data: bytes) -> Json:
    """Return the JSON value of UTF-8, UTF-16 or UTF-32 bytes. Raise `InvalidMessageError` for invalid JSON."""
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
        if b"\\u" in data:  # half a surrogate pair is not text: it could not be encoded again
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise InvalidMessageError(
            user_message=f"The message is not JSON: {error}.", detail=f"not JSON: {error}"
        ) from error
    return Json(value, frozenset(twice))


class Several(list[Any]):
    """The values of a key that occurs several times in one object."""


def read_leniently(data: bytes, *, all_values: bool = False) -> Json:
    """Return the value of nearly valid JSON, for cuts and names only. Raise `InvalidMessageError` for other bytes.

    Undecodable bytes and halves of surrogate pairs become U+FFFD, invalid numbers become null, and control characters
    are allowed in texts. With `all_values` a duplicate key has `Several` values, otherwise the last.
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
    """Return the JSON object of a message.

    Raise `InvalidMessageError` for other JSON or invalid JSON, duplicate keys, no data, and more than `max_bytes` bytes.
    """
    check_data(message, max_bytes)
    found = read_json(message.data)
    if found.twice:
        raise keys_twice(found.twice)
    if not isinstance(found.value, dict):
        raise no_object(found.value)
    return found.value


def check_data(message: Message, max_bytes: int) -> None:
    """Raise `InvalidMessageError` for a message without data or with too much data."""
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
    """Return the error for an object with a duplicate key."""
    key = min(twice)[:60]
    return InvalidMessageError(
        user_message=f"The key '{key}' occurs twice in the message, so its meaning is unclear. Write each key once.",
        detail=f"duplicate JSON key {key!r}",
    )


def no_object(value: object) -> InvalidMessageError:
    """Return the error for a JSON value that is not an object."""
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


def allowed(rules: Rules, what: May) -> None:
    """Raise `UnsupportedMessageError` with reason `NOT_ALLOWED` if the source may not state that kind of fact."""
    source = rules.source
    if source.may(what):
        return
    may = ", ".join(sorted(source.may_state)) or "nothing, because it only requests passes"
    raise UnsupportedMessageError(
        user_message=f"The source '{source.name}' (topic {source.topic}) may not state {what.value}. It may state {may}. "
        "config/sources.yaml says what each source may state.",
        detail=f"source {source.name} may not state {what.value}",
        reason=Reason.NOT_ALLOWED,
    )
