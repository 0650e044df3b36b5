"""The search for the users named in a message that could not be used. `functions.dead_letter` marks the records of known users.

The body is not trusted. Users are taken from the events of the message, if it can be parsed, and always from the fields that
have a user's address in known shapes. In unknown shapes, every text that looks like an address counts. Only a valid address
counts, and a record is marked only if it has that address.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shared.domain.people.domains import People
from shared.domain.people.events import News, Renamed, Woken
from shared.domain.people.groups import GroupEvent
from shared.domain.people.sources import Source
from shared.domain.things.errors import InvalidMessageError
from shared.domain.things.identity import UserEmail, UserKey, user_key_for
from shared.messages.addresses import addresses_in, forms_of_cut
from shared.messages.google_logs import member_of_removal
from shared.messages.hr import is_leaver
from shared.messages.hr_strict import SCHEMA
from shared.messages.message import HARD_LIMIT, Message, Rules, Several, read_leniently
from shared.messages.parse import parse_message
from shared.messages.table import ADMIN, BY_NAME, CLOUD_IDENTITY, LOGIN
from shared.messages.unknown import texts_about_people, users_in

_FAMILY = SCHEMA.rpartition("/")[0] + "/"  # other versions of the schema have the user in the same place
_MOST = 50  # users of one message; a log entry may carry hundreds of events


def people_named(message: Message, source: Source, people: People) -> dict[UserKey, UserEmail]:
    """Return the addresses of at most 50 users named in a message, by user key, in the order of the message.

    For a wake, the address is "".
    """
    found: dict[UserKey, UserEmail] = {}
    try:
        for key, email in _named(message, Rules(source=source, people=people, max_bytes=HARD_LIMIT)):
            found.setdefault(key, email)
            if len(found) >= _MOST:
                break
    except Exception:  # noqa: BLE001 - whatever the message holds: the users found so far are better than none
        return found
    return found


def _named(message: Message, rules: Rules) -> Iterator[tuple[UserKey, UserEmail]]:
    try:
        news: tuple[News, ...] = parse_message(message, rules).news
    except Exception:  # noqa: BLE001 - whatever the message holds: its dead letter must be kept, so this may not fail
        news = ()
    for piece in news:
        yield from _keys(piece)
    for raw in _texts(message.data):
        for email in _emails(raw, rules.people):
            yield user_key_for(email), email


def _texts(data: bytes) -> Iterator[object]:
    """Yield the texts that may be addresses: from known fields, with all values of duplicate keys; else from invalid JSON."""
    try:
        found = read_leniently(data)
        every = read_leniently(data, all_values=True) if found.twice else found
    except InvalidMessageError:
        yield from users_in(data)
        return
    yield from _places(found.value)
    if found.twice:
        yield from _places(every.value)


def _emails(raw: object, people: People) -> tuple[UserEmail, ...]:
    """Return the forms of an address; for a text that is not an address, the forms of each address in it."""
    try:
        return forms_of_cut(raw, people)
    except InvalidMessageError:
        pass
    found: dict[UserEmail, None] = {}
    for each in addresses_in(raw) if isinstance(raw, str) else ():
        try:
            found |= dict.fromkeys(forms_of_cut(each, people))
        except InvalidMessageError:
            continue
    return tuple(found)


def _keys(piece: News) -> Iterator[tuple[UserKey, UserEmail]]:
    match piece:
        case Woken():
            yield piece.user_key, UserEmail("")
        case GroupEvent():
            return
        case Renamed():
            yield user_key_for(piece.user), piece.user
            yield user_key_for(piece.new_user), piece.new_user
        case _:
            for email in (piece.user, *piece.also_known_as) if piece.user else ():
                yield user_key_for(email), email


def _places(body: Any) -> Iterator[object]:
    if isinstance(body, list):
        for element in body[:_MOST]:
            yield from _places(element)
        return
    if not isinstance(body, dict):
        return
    if str(body.get("schema")).startswith(_FAMILY):
        yield from _of_neutral(body)
        return
    payload = body.get("protoPayload")
    metadata = payload.get("metadata") if isinstance(payload, dict) else None
    if not isinstance(payload, dict) or not isinstance(metadata, dict):
        yield from texts_about_people(body)
        return
    service = str(payload.get("serviceName"))
    if service in {ADMIN, LOGIN}:
        events = metadata.get("event")
        for event in events if isinstance(events, list) else [events]:
            if isinstance(event, dict):
                yield from _of_event(event)
    elif service == CLOUD_IDENTITY:
        delta = metadata.get("membershipDelta")
        yield member_of_removal(delta.get("member") if isinstance(delta, dict) else None)


def _of_neutral(body: dict[str, Any]) -> Iterator[object]:
    """Yield the user's address; for a leaver without a plain address, every text that may be an address."""
    user = body.get("user")
    if isinstance(user, str) and "@" in user:
        yield user
    elif isinstance(user, Several):
        yield from texts_about_people(user)
    elif is_leaver(body):
        yield from texts_about_people(body)


def _of_event(event: dict[str, Any]) -> Iterator[object]:
    """Yield the user's address in a known event; for an unknown event, the parameters that name users in Google's logs."""
    known = BY_NAME.get(str(event.get("eventName")))
    names = {known.user} if known is not None and known.user else {"USER_EMAIL", "affected_email_address"}
    parameters = event.get("parameter")
    for parameter in parameters if isinstance(parameters, list) else ():
        if isinstance(parameter, dict) and str(parameter.get("name")) in names:
            yield parameter.get("value")
            several = parameter.get("multiStrValue")
            yield from several[:_MOST] if isinstance(several, list) else ()
