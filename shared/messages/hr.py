"""The parser of the neutral schema `workbench.lifecycle/v1` into news. A leaver is parsed leniently, all else strictly.

A known user is cut by a message that plainly states the leave, even if other parts of it are faulty; the faulty rest is reported.
Fields: schema, event_id, type (joiner, mover, leaver, leave_cancelled, renamed), user, person_id, occurred_at, effective_time,
access_until, attributes (groups, add_groups, remove_groups, profile, cost_center, any others), reason, new_user, account, by.
"""

from __future__ import annotations

from typing import Any

from shared.domain.things.errors import InvalidMessageError, Reason
from shared.messages.hr_leaver import Leaver
from shared.messages.hr_reader import PLAIN, SCHEMA, breaks
from shared.messages.hr_strict import Strict
from shared.messages.message import Message, Parsed, Rules, keys_twice, too_large
from shared.messages.unknown import looks_like_a_leaver

TYPES = ("joiner", "mover", "leaver", "leave_cancelled", "renamed", "account")


def parse_neutral(body: dict[str, Any], twice: frozenset[str], message: Message, rules: Rules) -> Parsed:
    """Return the news in a message of the neutral schema. Raise `PoisonError` if it cannot be used at all."""
    try:
        return _read(body, twice, message, rules)
    except InvalidMessageError as error:
        if not is_leaver(body):
            raise
        raise InvalidMessageError(
            user_message=f"{error.user_message} The message is about a leaver, who keeps access until a correct message is sent.",
            detail=error.detail,
            reason=Reason.LEAVER_NOT_UNDERSTOOD,
        ) from error


def is_leaver(body: dict[str, Any]) -> bool:
    """Return True if the type is a leaver's, or if the type is unknown and another field looks like a leaver's."""
    kind = _kind(body)
    return kind == "leaver" or (kind not in TYPES and looks_like_a_leaver(body))


def _kind(body: dict[str, Any]) -> str:
    return str(body.get("type")).strip().lower()


def _read(body: dict[str, Any], twice: frozenset[str], message: Message, rules: Rules) -> Parsed:
    if body.get("schema") != SCHEMA:
        raise InvalidMessageError(
            user_message=f"The schema '{str(body.get('schema'))[:60]}' is not known; this version reads '{SCHEMA}'.",
            detail=f"unknown schema {str(body.get('schema'))[:60]!r}",
        )
    kind = _kind(body)
    if kind == "leaver" and not twice & PLAIN:
        return Leaver(body, message, rules, twice).parsed()
    if twice:
        raise keys_twice(twice)
    if len(message.data) > rules.max_bytes:
        raise too_large(message, rules.max_bytes)
    if kind not in TYPES:
        raise breaks(f"type: '{str(body.get('type'))[:40]}' is not one of {', '.join(TYPES)}")
    return Strict(body, message, rules).parsed(kind)
