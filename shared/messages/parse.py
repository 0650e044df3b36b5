"""The parser of untrusted bytes into events, for all shapes of incoming messages: the neutral schema, log entries, wakes, ticks.

The content shows the shape, and the topic the source (`Rules.source`). A message that cannot be understood raises
`InvalidMessageError`, and an understood but unsupported message `UnsupportedMessageError`. Both become dead letters with the
text of the error. A message of an unknown shape that looks like a leaver raises with reason `LEAVER_NOT_UNDERSTOOD`.
"""

from __future__ import annotations

import json
import re
from typing import Any

from shared.domain.people.events import Woken, is_cut
from shared.domain.people.groups import GroupEvent
from shared.domain.people.sources import Shape
from shared.domain.things.errors import InvalidMessageError, PoisonError, Reason, UnsupportedMessageError
from shared.domain.things.identity import UserKey, parse_user_key
from shared.domain.things.sweep import Sweep
from shared.messages.google_logs import KNOWN_SERVICES, parse_entry
from shared.messages.hr import parse_neutral
from shared.messages.hr_strict import SCHEMA
from shared.messages.message import (
    HARD_LIMIT,
    Fault,
    Message,
    Parsed,
    Part,
    Rules,
    check_data,
    json_object,
    no_object,
    read_json,
    read_leniently,
    too_large,
)
from shared.messages.table import NOTEBOOKS
from shared.messages.unknown import looks_like_a_leaver, states_a_leaver

WAKE_SCHEMA = "workbench.wake/v1"  # the page sends it after it stored a request
_MAX_PARTS = 10_000
_MESSAGE = frozenset({"schema", "protoPayload"})
_FIRST, _NEXT = re.compile(r"\s*\[\s*"), re.compile(r"\s*,?\s*")  # before the elements of a list, and between them


def parse_message(message: Message, rules: Rules) -> Parsed:
    """Return the content of a message: its events, and a fault for each part that could not be used.

    The result is empty if the message is about no user, or reports an action that was refused. Raise `PoisonError` if the
    whole message is unusable.
    """
    check_data(message, HARD_LIMIT)
    try:
        found = read_json(message.data)
    except InvalidMessageError as error:
        return _not_json(error, message, rules)
    if isinstance(found.value, list):
        bodies = _elements(message.data) if found.twice else None
        if bodies is None:
            bodies = [json.dumps(element, ensure_ascii=False).encode() for element in found.value]
        return _batch(bodies, message, rules)
    if not isinstance(found.value, dict):
        raise no_object(found.value)
    return _parse_object(found.value, found.twice, message, rules)


def _not_json(error: InvalidMessageError, message: Message, rules: Rules) -> Parsed:
    """Return the cuts in nearly valid JSON, with the fault. JSON lines become a batch. Raise `PoisonError` for other data."""
    try:
        found = read_leniently(message.data)
    except InvalidMessageError:
        lines = _lines(message.data)
        if lines is not None:
            return _batch(lines, message, rules)
        raise _leaver_in(error) if states_a_leaver(message.data) else error from None
    if isinstance(found.value, list):
        bodies = _elements(message.data)
        if bodies is not None:
            return _batch(bodies, message, rules)
    if not isinstance(found.value, dict):
        raise error
    try:
        said = _parse_object(found.value, found.twice, message, rules)
    except PoisonError as other:
        raise _leaver_in(error) if other.reason is Reason.LEAVER_NOT_UNDERSTOOD else error from None
    if said.to_directory:
        return said
    cuts = tuple(piece for piece in said.news if not isinstance(piece, Woken | GroupEvent) and is_cut(piece))
    if not cuts:
        raise error
    fault = InvalidMessageError(
        user_message=f"Only the end of access in the message was used. {error.user_message}", detail=error.detail
    )
    return Parsed(news=cuts, faults=(Fault(error=fault, body=message.data, part="json"),), ignored=said.ignored)


def _leaver_in(error: InvalidMessageError) -> InvalidMessageError:
    return InvalidMessageError(
        user_message=f"{error.user_message} It looks like a message about a leaver, who keeps access until the message is sent as JSON.",
        detail=error.detail,
        reason=Reason.LEAVER_NOT_UNDERSTOOD,
    )


def _parse_object(body: dict[str, Any], twice: frozenset[str], message: Message, rules: Rules) -> Parsed:
    if body.get("schema") == WAKE_SCHEMA:
        return Parsed(news=(_wake(body, message),))
    payload = body.get("protoPayload")
    if isinstance(payload, dict):
        if twice:  # Google writes no duplicate keys, so this entry is not Google's
            return Parsed(news=(), faults=(_twice_in_log(message),))
        if payload.get("serviceName") != NOTEBOOKS and Shape.GOOGLE_LOGS not in rules.source.shapes:
            if rules.moves_logs and payload.get("serviceName") in KNOWN_SERVICES:
                return Parsed(to_directory=True)
            raise _not_its_shape("log entries", rules)
        if len(message.data) > rules.max_bytes:
            raise too_large(message, rules.max_bytes)
        return parse_entry(body, message, rules)
    if "schema" in body:
        if Shape.NEUTRAL not in rules.source.shapes:
            raise _not_its_shape(f"messages of the schema {SCHEMA}", rules)
        return parse_neutral(body, twice, message, rules)
    if len(message.data) > rules.max_bytes:
        raise too_large(message, rules.max_bytes)
    keys = ", ".join(sorted(map(str, body))[:8]) or "nothing"
    leaver = looks_like_a_leaver(body)
    raise InvalidMessageError(
        user_message=f"The message has an unknown shape (its fields: {keys[:200]}). "
        f'Send {{"schema": "{SCHEMA}", ...}} or a Workspace or Cloud Identity log entry.'
        + (
            " It looks like a message about a leaver, who keeps access until the message is sent in a known shape."
            if leaver
            else ""
        ),
        detail=f"unknown shape with fields {keys[:200]}",
        reason=Reason.LEAVER_NOT_UNDERSTOOD if leaver else None,
    )


def _twice_in_log(message: Message) -> Fault:
    error = InvalidMessageError(
        user_message="The log entry has a duplicate key, so Google did not write it. The entry was not used.",
        detail="duplicate JSON key in a log entry",
    )
    return Fault(error=error, body=message.data, part="keys")


def _not_its_shape(what: str, rules: Rules) -> PoisonError:
    source = rules.source
    return UnsupportedMessageError(
        user_message=f"The source '{source.name}' (topic {source.topic}) may not send {what}. config/sources.yaml says what each "
        "source may send; publish it on the topic of a source that may send it.",
        detail=f"source {source.name} sent {what}",
        reason=Reason.NOT_ALLOWED,
    )


def _lines(data: bytes) -> list[bytes] | None:
    """Return the unchanged bytes of each JSON line, even of broken lines; None if the data is not at least two JSON lines.

    Data counts as JSON lines if each line is an object, or if some line is a whole message. No line of a broken multi-line
    object is a whole message.
    """
    text = _text(data)
    if text is None:
        return None
    lines = [_bytes(line) for line in re.split(r"[\r\n]+", text) if line.strip()]
    values = [_value(line) for line in lines]
    if len(lines) > 1 and (
        all(isinstance(value, dict) for value in values)
        or any(isinstance(value, dict) and not _MESSAGE.isdisjoint(value) for value in values)
    ):
        return lines
    return None


def _elements(data: bytes) -> list[bytes] | None:
    """Return the unchanged bytes of each element of a JSON list; None if the list is empty or cannot be split."""
    text = _text(data)
    begins = _FIRST.match(text or "")
    if text is None or begins is None:
        return None
    decoder = json.JSONDecoder(strict=False, parse_int=str)
    found: list[bytes] = []
    at = begins.end()
    try:
        while not text.startswith("]", at):
            _, end = decoder.raw_decode(text, at)
            found.append(_bytes(text[at:end]))
            between = _NEXT.match(text, end)
            at = end if between is None else between.end()
    except (ValueError, RecursionError):
        return None
    return found or None


def _text(data: bytes) -> str | None:
    """Return the text of the bytes, or None if they cannot be decoded. `_bytes` restores bytes that are not valid UTF-8."""
    encoding = json.detect_encoding(data)
    try:
        return data.decode(encoding, "surrogateescape" if encoding.startswith("utf-8") else "strict")
    except ValueError:
        return None


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _value(body: bytes) -> Any:
    try:
        return read_leniently(body).value
    except InvalidMessageError:
        return None


def _batch(bodies: list[bytes], message: Message, rules: Rules) -> Parsed:
    """Return one part for each user in a batch, so that a failure for one user does not affect other users.

    An element that names no user becomes a part of its own. A batch about one user is parsed at once. Raise
    `InvalidMessageError` for an empty batch, and for a batch of more than `_MAX_PARTS` elements.
    """
    if len(bodies) > _MAX_PARTS:
        raise InvalidMessageError(
            user_message=f"The message is a list of {len(bodies):,} messages; at most {_MAX_PARTS:,} are accepted.",
            detail=f"a batch of {len(bodies)}",
        )
    if not bodies:
        raise no_object(bodies)
    by_person: dict[object, list[bytes]] = {}
    for number, body in enumerate(bodies):
        by_person.setdefault(_person_of(_value(body)) or number, []).append(body)
    if len(by_person) == 1:
        return _together(bodies, message, rules)
    return Parsed(
        parts=tuple(
            Part(body=group[0] if len(group) == 1 else b"[" + b", ".join(group) + b"]", number=number)
            for number, group in enumerate(by_person.values())
        )
    )


def _person_of(element: Any) -> object:
    if not isinstance(element, dict):
        return None
    user, number = element.get("user"), element.get("person_id")
    return user.strip().lower() if isinstance(user, str) else number if isinstance(number, str | int) else None


def _together(bodies: list[bytes], message: Message, rules: Rules) -> Parsed:
    """Return the events and faults of the elements about one user. An unusable element becomes a fault."""
    whole = Parsed()
    for number, body in enumerate(bodies):
        element = _value(body)
        alone = Message(
            data=body, attributes=message.attributes, message_id=message.message_id,
            publish_time=message.publish_time, topic=message.topic,
        )  # fmt: skip
        try:
            said = parse_message(alone, rules) if isinstance(element, dict | None) else _no_element(element)
        except PoisonError as error:
            said = Parsed(faults=(Fault(error=error, body=body, part=str(number)),))
        whole = Parsed(
            news=whole.news + said.news,
            faults=whole.faults + said.faults,
            to_directory=whole.to_directory or said.to_directory,
            sender_faults=whole.sender_faults + said.sender_faults,
            ignored=whole.ignored + said.ignored,
        )
    return whole


def _no_element(element: Any) -> Parsed:
    raise no_object(element)


def wake_message(user_key: UserKey) -> bytes:
    """Return the bytes of a wake, which requests a pass for this user now. The message has no address."""
    return json.dumps({"schema": WAKE_SCHEMA, "user_key": user_key}).encode()


def _wake(body: dict[str, Any], message: Message) -> Woken:
    user_key = body.get("user_key")
    if set(body) != {"schema", "user_key"} or not isinstance(user_key, str):
        raise InvalidMessageError(
            user_message=f'A wake-up is {{"schema": "{WAKE_SCHEMA}", "user_key": "..."}} and nothing else.',
            detail=f"wake-up with fields {sorted(map(str, body))[:8]}",
        )
    return Woken(event_id=message.message_id, user_key=parse_user_key(user_key), occurred_at=message.publish_time)


def parse_tick(message: Message) -> Sweep:
    """Return the sweep that a tick requests. Raise `InvalidMessageError` for anything else."""
    body = json_object(message, 4096)
    asked = body.get("sweep")
    kind = next((each for each in Sweep if each.value == asked), None)
    if kind is None:
        *most, last = (f'{{"sweep": "{each.value}"}}' for each in Sweep)
        raise InvalidMessageError(
            user_message=f"A tick is {', '.join(most)} or {last}.",
            detail=f"tick asks for sweep {str(asked)[:40]!r}",
        )
    return kind
