"""The page `/manage/messages`: messages that could not be processed.

The page shows the effect that each message would have had, and the buttons View, Replay and Dismiss.

The page itself changes nothing: a click creates a decision that names the message by its digest, and the tick carries the decision out.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator, Sequence
from datetime import timedelta
from enum import StrEnum
from itertools import islice

import flask
from msgspec import Struct
from werkzeug.exceptions import NotFound

from portal import pages
from portal.deps import current
from portal.manage.base import PAGE, asked, blueprint, cut, page_number
from portal.manage.changes_view import addresses, own_keys
from portal.manage.export import FLAG, TEXT, TIME, Columns, Sheet, offer
from portal.routes import Access, Param, Place, Route
from portal.visit import signed_in, visit
from shared.domain.intent.decision import DIGEST, About, Decision, Verdict
from shared.domain.things.errors import BenchkeeperError, Reason, RefusedError
from shared.engine.decisions.letters import letter_digest, letter_named
from shared.engine.news.dead_letters import OURS, Replayed, replay
from shared.engine.ports.inbox import DeadLetter, LetterRow
from shared.engine.views.words import status_words
from shared.sheet import Value

_MOST = 1_000  # the size of a page of the bucket's listing, which is one call
_SPANS = (timedelta(days=90), timedelta(days=7), timedelta(days=1))
_ALL = "all"
_SHOWN_BYTES = 20_000  # of a message's body


class Verb(StrEnum):
    """An act of an administrator on a message; the last word of the URL of its button."""

    REPLAY = "replay"
    DISMISS = "dismiss"


class Said(StrEnum):
    """The code of the sentence that the page shows after a click."""

    REPLAY = "replay"
    DISMISS = "dismiss"
    ALREADY = "already"


_VERDICTS = {Verb.REPLAY: Verdict.APPROVE, Verb.DISMISS: Verdict.REJECT}
TEXTS = {
    Said.REPLAY: "Replay requested. The result is here within a minute.",
    Said.DISMISS: "Dismissed within a minute. The message is kept under All.",
    Said.ALREADY: "This was requested before, or is done already.",
}
# What to do about a message, by its reason.
ADVICE = {
    Reason.INVALID_MESSAGE: "Ask the sender to correct the message and send it again.",
    Reason.UNSUPPORTED_MESSAGE: "Publish the intended change with benchkeeper publish, then dismiss the message.",
    Reason.UNKNOWN_PROFILE: "Add the profile to the configuration and deploy, then replay the message.",
    Reason.NOT_ALLOWED: "If this source may make such statements, change config/sources.yaml and deploy. Then replay the message.",
    Reason.LEAVER_NOT_UNDERSTOOD: "Find out who left: that person may still have access. Publish the leaver, then dismiss the message.",
    Reason.KEY_COLLISION: "Two addresses have one user key. Compare them: benchkeeper names ADDRESS ADDRESS",
    Reason.DELIVERY_ATTEMPTS_EXHAUSTED: "Benchkeeper tries again by itself. Replay the message to try now.",
}
_ADVICE = {reason.value: text for reason, text in ADVICE.items()}


class Letters(Struct, frozen=True, kw_only=True):
    """The dead letters of the last `span`, those about leavers first, then the newest.

    `is_cut` is True if the span has more dead letters, which are newer.
    """

    rows: tuple[LetterRow, ...]
    span: timedelta
    is_cut: bool

    @property
    def waiting(self) -> tuple[LetterRow, ...]:
        """The dead letters that were neither replayed nor dismissed."""
        return tuple(row for row in self.rows if row.replayed_at is None)


def letters() -> Letters:
    """Return the dead letters of the longest span in `_SPANS` that has at most `_MOST` of them; each span costs a listing.

    If even the shortest span has more, return the oldest ones of that span, because a listing begins with the oldest.
    """
    source, now = current().deps.engine.dead_letters, visit().now()
    found: list[LetterRow] = []
    for span in _SPANS:
        found = list(islice(source.rows(since=now - span), _MOST + 1))
        if len(found) <= _MOST:
            return Letters(rows=_in_order(found), span=span, is_cut=False)
    return Letters(rows=_in_order(found[:_MOST]), span=_SPANS[-1], is_cut=True)


def letters_or_none() -> Letters | None:
    """Return the dead letters, or None if they could not be read; the rest of the page is still shown."""
    try:
        return letters()
    except BenchkeeperError as error:
        visit().reason, visit().detail = error.reason.value, f"dead letters: {error.detail}"
        return None


def _in_order(rows: Sequence[LetterRow]) -> tuple[LetterRow, ...]:
    newest_first = rows[::-1]
    return tuple(sorted(newest_first, key=lambda row: not (row.ends_access and row.replayed_at is None)))


def meant_words(row: LetterRow) -> str:
    """Return the effect that a message would have had in words, as far as its row shows it."""
    if row.ends_access:
        return "End access"
    if row.function == "tick":
        return "Run a scheduled check"
    return "Change a person" if row.users else "Not known"


@blueprint.get("/manage/messages")
def messages() -> flask.Response:
    """Show the waiting messages, or all of them."""
    found, said = letters(), asked("said")
    with_used = asked("show") == _ALL
    rows = found.rows if with_used else found.waiting
    return pages.page(
        "manage/messages.html",
        letters=found,
        with_used=with_used,
        shown=cut(rows, page_number(flask.request.args)),
        args={"show": _ALL} if with_used else {},
        digest_of=letter_digest,
        reason_words=status_words,
        meant_words=meant_words,
        addresses=addresses() if rows else {},
        said=TEXTS[Said(said)] if said in set(Said) else "",
    )


@blueprint.get("/manage/messages/<letter>")
def message(letter: str) -> flask.Response:
    """Show one message, its effect if it were replayed now, and the buttons."""
    row, engine = _row_of(letter), current().deps.engine
    found = _read(row)
    foreseen = (
        replay(row, lambda letter: engine.parse_letter(letter, engine.policy), engine, dry_run=True)
        if row.replayed_at is None
        else Replayed(row=row, used=False)
    )
    return pages.page(
        "manage/message.html",
        row=row,
        digest=letter,
        letter=found,
        body=_body(found) if found is not None else "",
        attributes=sorted(
            (name, text) for name, text in (found.attributes if found is not None else {}).items() if name not in OURS
        ),
        foreseen=foreseen,
        reason_words=status_words,
        meant_words=meant_words,
        advice=_ADVICE.get(row.reason, ""),
        addresses=addresses(),
        why_not=_objection(row),
        verdict=_asked_for(letter),
        is_tick=row.function == "tick",
    )


@blueprint.post("/manage/messages/<letter>/<verb>")
def handle_message(letter: str, verb: str) -> flask.Response:
    """Store the decision to replay or dismiss a message, and redirect to the list. Raise `RefusedError` if it is about the reader."""
    chosen = next((each for each in Verb if each.value == verb), None)
    if chosen is None:
        raise NotFound
    row = _row_of(letter)
    portal, (_, key) = current(), signed_in()
    said = Said(chosen.value)
    with portal.flights.one(key, f"letter:{letter}") as first:
        why_not = _objection(row)
        if why_not:
            raise RefusedError(user_message=f"{why_not} Nothing was changed.", detail="may not decide about a message")
        if not first or row.replayed_at is not None or _asked_for(letter):
            said = Said.ALREADY
        else:
            _decide(letter, _VERDICTS[chosen])
    return pages.go(flask.url_for("manage.messages", said=said.value))


def _decide(digest: str, verdict: Verdict) -> None:
    deps, present = current().deps.engine, visit()
    _, key = signed_in()
    decision = Decision(
        decision_id=secrets.token_hex(8),
        about=About.LETTER,
        verdict=verdict,
        digest=digest,
        asked_at=present.now(),
        assertion=present.assertion,
    )
    deps.decisions.put(decision, by=key)
    deps.log.info("Stored a decision from the page", digest=digest, verdict=verdict.value, by=key)


def _row_of(digest: str) -> LetterRow:
    """Return the message of a digest, by one to three listings. Raise 404 if there is no such message in them."""
    row = letter_named(digest, letters().rows) if DIGEST.fullmatch(digest) else None
    if row is None:
        raise NotFound
    return row


def _objection(row: LetterRow) -> str:
    """Return the reason why the reader may not decide about a message, or "" if the reader may."""
    if current().deps.engine.policy.guard.approvers > 1 and own_keys() & set(row.users):
        return "This message is about you, so another administrator must decide about it."
    return ""


def _asked_for(digest: str) -> Verdict | None:
    """Return the requested decision that is not carried out yet; None without a decision, or if decisions cannot be read."""
    try:
        waiting = [each.shown for each in current().deps.engine.decisions.waiting()]
    except BenchkeeperError as error:
        visit().reason, visit().detail = error.reason.value, f"decisions: {error.detail}"
        return None
    return next((shown.verdict for shown in waiting if shown is not None and shown.digest == digest), None)


def _read(row: LetterRow) -> DeadLetter | None:
    """Return the whole message, or None if it cannot be read; the rest of the page is still shown."""
    try:
        return current().deps.engine.dead_letters.read(row)
    except BenchkeeperError as error:
        visit().reason, visit().detail = error.reason.value, f"dead letter: {error.detail}"
        return None


def _body(letter: DeadLetter) -> str:
    """Return indented JSON, other text unchanged, and escaped bytes for anything else; of a long body only the beginning."""
    text = letter.body.decode(errors="backslashreplace")
    with contextlib.suppress(ValueError, RecursionError):
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    return text if len(text) <= _SHOWN_BYTES else f"{text[:_SHOWN_BYTES]} …"


@blueprint.get("/manage/dead-letters")
@blueprint.get("/manage/dead-letters.csv", endpoint="old_messages_csv")
@blueprint.get("/manage/dead-letters.json", endpoint="old_messages_json")
def old_messages() -> flask.Response:
    """Redirect URLs of earlier versions."""
    ending = flask.request.path.removeprefix("/manage/dead-letters")
    show = _ALL if asked("show") == _ALL else None
    return pages.go(flask.url_for(f"manage.messages{ending.replace('.', '_')}", show=show))


COLUMNS: Columns = {
    "sent_at": TIME,
    "reason": TEXT,
    "detail": TEXT,
    "users": TEXT,
    "function": TEXT,
    "letter_id": TEXT,
    "replayed_at": TIME,
    "outcome": TEXT,
}


def _sheet() -> Sheet:
    found = letters()
    rows = found.rows if flask.request.args.get("show") == _ALL else found.waiting
    return Sheet(
        name="messages",
        columns=COLUMNS,
        rows=_values(rows),
        taken_at=visit().now(),
        more={"is_cut": found.is_cut},
    )


def _values(rows: Sequence[LetterRow]) -> Iterator[Sequence[Value]]:
    for row in rows:
        users = " ".join(row.users)
        yield row.sent_at, row.reason, row.detail, users, row.function, row.letter_id, row.replayed_at, row.outcome


_SHOW = Param(
    name="show",
    place=Place.QUERY,
    text="all: include messages that were replayed or dismissed.",
    schema={"type": "string", "enum": [_ALL]},
)
_SAID = Param(
    name="said",
    place=Place.QUERY,
    text="The code of the message at the top of the page, after a click.",
    schema={"type": "string", "enum": [said.value for said in Said]},
)
_LETTER = Param(
    name="letter",
    place=Place.PATH,
    text="The digest of a message in the list: 32 hex digits.",
    schema={"type": "string", "pattern": "^[0-9a-f]{16,64}$"},
    required=True,
)
_VERB = Param(
    name="verb",
    place=Place.PATH,
    text="The act: replay or dismiss.",
    schema={"type": "string", "enum": [verb.value for verb in Verb]},
    required=True,
)
ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        rule="/manage/messages",
        name="manage.messages",
        summary="Messages that could not be processed.",
        access=Access.READ,
        params=(_SHOW, _SAID, PAGE),
    ),
    Route(
        method="GET",
        rule="/manage/messages/<letter>",
        name="manage.message",
        summary="One message, and the effect of a replay.",
        access=Access.READ,
        params=(_LETTER,),
        answers={200: "The page.", 404: "There is no such message."},
    ),
    Route(
        method="POST",
        rule="/manage/messages/<letter>/<verb>",
        name="manage.handle_message",
        summary="Replay or dismiss a message.",
        access=Access.DECIDE,
        params=(_LETTER, _VERB),
        answers={
            303: "Stored, or requested before. Location is the list.",
            403: "The user's role does not allow it, or the form is out of date.",
            404: "There is no such message.",
            409: "The message is about the user.",
        },
    ),
    *(
        Route(
            method="GET",
            rule=f"/manage/dead-letters{ending}",
            name=f"manage.old_messages{ending.replace('.', '_')}",
            summary="The URL of earlier versions.",
            access=Access.READ,
            params=(_SHOW,),
            answers={303: "Location is the list of messages."},
        )
        for ending in ("", ".csv", ".json")
    ),
    *offer(
        "/manage/messages",
        "messages",
        "Messages that could not be processed.",
        COLUMNS,
        _sheet,
        params=(_SHOW,),
        more={"is_cut": FLAG},
    ),
)
