"""The lookup of the argument USER, which is an address in any accepted form, or a user key.

Every command that takes USER uses this module, and its texts for unknown users. A damaged record is not handled here: its
key is returned, and the command reports or restores the record.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import NoReturn

import click

from cli.context import FAILED, App, stop
from cli.output import complain, say
from shared.domain.people.domains import People
from shared.domain.people.unknown_leaver import nearest_addresses
from shared.domain.record.record import RecordRow
from shared.domain.things.errors import (
    BenchkeeperError,
    DamagedRecordError,
    InvalidMessageError,
    NewerRecordError,
    Reason,
)
from shared.domain.things.identity import UserEmail, UserKey, parse_email, parse_user_key, user_key_for
from shared.domain.things.times import rfc3339
from shared.engine.ports.deps import Deps
from shared.engine.ports.records import Stored
from shared.engine.views.words import STATUS
from shared.messages.addresses import other_forms, parse_address, parse_person

_MOST_HOLDERS = 20


def user_key(app: App, text: str) -> UserKey:
    """Return the key of the record that `text` names. Raise `UsageError` if `text` is neither an address nor a user key.

    An address that was given to a new account stands for its present holder, and a line on stderr names the former
    holder. An unknown address gives the key that its record would have.
    """
    try:
        if "@" not in text:
            return parse_user_key(text.strip())
        forms = address_forms(text, app.settings.people)
    except InvalidMessageError as error:
        raise click.UsageError(error.user_message) from error
    deps = app.deps
    for form in forms:
        try:
            stored = deps.records.load(user_key_for(form))
            if stored is not None and stored.record.is_known_as(form):
                return _present_holder(form, stored, deps).record.user_key
        except (DamagedRecordError, NewerRecordError):
            return user_key_for(form)  # the command itself reports the error
    return user_key_for(forms[0])


def address_forms(text: str, people: People) -> tuple[UserEmail, ...]:
    """Return the canonical form, then the forms under which earlier versions stored the user.

    Raise `InvalidMessageError` for a text that is no address.
    """
    try:
        email = parse_address(text, people)
    except InvalidMessageError:
        return (parse_email(text),)  # earlier versions accepted addresses that would be refused today
    return (email, *other_forms(text, email))


def _present_holder(form: UserEmail, stored: Stored, deps: Deps) -> Stored:
    former = stored
    for _ in range(_MOST_HOLDERS):
        handover = stored.record.handover
        if handover is None:
            break
        following = deps.records.load(handover.to)
        if following is None:
            break
        former, stored = stored, following
    if stored is not former and former.record.handover is not None:
        say(
            f"{form} was given to a new account ({rfc3339(former.record.handover.at)[:10]}); this is its present holder. "
            f"The former one: benchkeeper show {former.record.user_key}",
            err=True,
        )
    return stored


def say_unknown(app: App, text: str, *, announce: bool = True) -> NoReturn:
    """Print that the user is unknown, with the nearest known addresses, and exit with code 1.

    Joining is suggested only if no known address is near and the address would be accepted. Otherwise a typing error
    would create a record. Without `announce`, joining is never suggested.
    """
    complain(unknown(app, text, announce=announce))
    stop(FAILED)


def unknown(app: App, text: str, *, announce: bool = True) -> str:
    """Return the text about an unknown user, with advice if there is any.

    The advice is the nearest known names; else, for an address and with `announce`, the command that announces the user
    or the reason why a joiner would be refused.
    """
    said = f"No such person: {text}."
    if "@" not in text:
        alike = get_close_matches(text.strip(), (row.user_key for row in known_rows(app.deps)), n=2, cutoff=0.8)
        return f"{said} {did_you_mean(alike) if alike else 'All people: benchkeeper list'}"
    people = app.settings.people
    near = nearest_addresses(address_forms(text, people)[0], known_addresses(app.deps))
    if near:
        return f"{said} {did_you_mean(near)}"
    if not announce:
        return said
    try:
        email = parse_person(text, people)
    except BenchkeeperError as error:
        return f"{said} {error.user_message}"
    return f"{said} Announce them: benchkeeper publish joiner {email}"


def did_you_mean(near: Iterable[str]) -> str:
    """Return the question that offers the nearest known names."""
    return f"Did you mean {' or '.join(near)}?"


def no_state(text: str, usual: Iterable[Reason], *, what: str = "state") -> str:
    """Return the sentences for an unknown state, with the nearest word or name and the common words."""
    reasons = tuple(usual)
    words = [STATUS[each] for each in reasons]
    known = {each.casefold(): each for each in (*(reason.value for reason in reasons), *words)}
    near = [repr(known[each]) for each in get_close_matches(text.casefold(), known, n=1, cutoff=0.5)]
    hint = f" {did_you_mean(near)}" if near else ""
    return f"there is no {what} '{text}'.{hint} Usual: {', '.join(map(repr, sorted(words)))}."


def known_addresses(deps: Deps) -> list[str]:
    """Return the addresses of all known users, except users known only from a leave."""
    return [row.email for row in known_rows(deps)]


def known_rows(deps: Deps) -> Iterator[RecordRow]:
    """Yield the rows of all users with an address, except users known only from a leave."""
    for row in deps.records.rows():
        if row.email and row.unknown_since is None:
            yield row
