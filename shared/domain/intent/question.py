"""A question about one user or one group that waits for an administrator, frozen and identified by a digest. Pure.

A question is about one of these: a changed address that no source with authority confirmed; a new account that may belong
to the earlier holder of its address; an assigned group that was deleted; the release of a hold. A decision names the digest
of the question that the page showed. `ref` identifies the fact that was shown: once another fact holds, a decision with
this digest has no effect.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from msgspec import Struct

from shared.domain.intent.batches import MAX_ENTRIES, digest_of
from shared.domain.intent.decision import About
from shared.domain.people.entitlement import ref_of
from shared.domain.people.groups import GroupEvent
from shared.domain.record.record import Handover, Hold, Rejected, UserRecord, WaitingRename
from shared.domain.things.errors import InvalidMessageError
from shared.domain.things.identity import UserEmail, UserKey, parse_user_key
from shared.domain.things.late import late

VERSION = 1
MAX_REJECTED = 10
QUESTIONS = frozenset({About.RENAME, About.SAME_PERSON, About.RELEASE, About.GROUP})
_PEOPLE = {About.RENAME: 2, About.SAME_PERSON: 2, About.RELEASE: 1}
_REF = late(lambda: re.compile(r"[0-9a-f]{16}"))


class Question(Struct, frozen=True, kw_only=True):
    """A question that waits for an answer. `people` are the users concerned; they may not answer the question.

    For a changed address: the user whose record keeps everything, then the key of the new address. For a new account: the
    earlier holder, then the present one. For a release: the user on hold. For a group: all users who would lose access,
    sorted.
    """

    about: About
    people: tuple[UserKey, ...]
    ref: str

    @property
    def digest(self) -> str:
        """Return the identity of the question: 32 hex digits of SHA-256 over its bytes."""
        return digest_of(to_json(self))


def rename_ref(waits: WaitingRename) -> str:
    """Return the ref of a waiting address change: another statement of the same change has another ref."""
    return ref_of("rename", waits.new_email, waits.source, waits.event_id, waits.occurred_at.isoformat())


def pair_ref(new_email: UserEmail) -> str:
    """Return the ref of the claim that a user has a new address. The ref does not depend on the statement's source or time."""
    return ref_of("new-address", new_email)


def event_ref(source: str, event_id: str) -> str:
    """Return the ref of an event of a source."""
    return ref_of("event", source, event_id)


def same_person_ref(predecessor: UserKey) -> str:
    """Return the ref of the question whether the present holder of an address is the same person as the earlier holder."""
    return ref_of("same-person", predecessor)


def handover_ref(handover: Handover) -> str:
    """Return the ref of an account's deletion that was followed by a new account."""
    return ref_of("handover", handover.to, handover.at.isoformat())


def hold_ref(hold: Hold) -> str:
    """Return the ref of a hold. A hold with another reason or another start time has another ref."""
    return ref_of("hold", hold.reason, hold.since.isoformat())


def group_ref(event: GroupEvent) -> str:
    """Return the ref of a change of a group."""
    return ref_of("group", event.source, event.event_id, event.kind.value, event.group)


def release_of(record: UserRecord) -> Question | None:
    """Return the question about releasing the user's hold; None if there is no hold."""
    if record.hold is None:
        return None
    return Question(about=About.RELEASE, people=(record.user_key,), ref=hold_ref(record.hold))


def with_rejected(record: UserRecord, rejected: Rejected) -> tuple[Rejected, ...]:
    """Return the record's rejected claims and one more: at most ten, and only the newest rejection of each claim."""
    others = [each for each in record.rejected if each.ref != rejected.ref]
    return (*others, rejected)[-MAX_REJECTED:]


def is_rejected(known: Iterable[Rejected], *, ref: str, event: str, said_at: datetime) -> bool:
    """Return True if the claim was rejected, and the event is the rejected event or was stated before the rejection."""
    return any(each.ref == ref and (said_at <= each.at or (event != "" and each.event == event)) for each in known)


def is_other_person(record: UserRecord) -> bool:
    """Return True if an operator stated that the present holder of the address and the earlier holder are two people."""
    return record.predecessor is not None and any(
        each.ref == same_person_ref(record.predecessor) for each in record.rejected
    )


def to_json(question: Question) -> bytes:
    """Return the question as bytes for the digest. Equal questions give equal bytes."""
    return json.dumps(
        {
            "version": VERSION,
            "about": question.about.value,
            "people": list(question.people),
            "ref": question.ref,
        },
        separators=(",", ":"),
        sort_keys=True,
    ).encode()


def from_json(raw: bytes) -> Question:
    """Return the question that `to_json` wrote. Raise `InvalidMessageError` for anything else, because the bytes are not trusted."""
    try:
        found: Any = json.loads(raw)
        if found["version"] != VERSION or not isinstance(found["people"], list) or len(found["people"]) > MAX_ENTRIES:
            raise ValueError("another version, or too many")
        question = Question(
            about=About(found["about"]),
            people=tuple(parse_user_key(str(key)) for key in found["people"]),
            ref=str(found["ref"]),
        )
        if question.about not in QUESTIONS or not _REF.fullmatch(question.ref):
            raise ValueError("no question")
        if len(question.people) != _PEOPLE.get(question.about, len(question.people)):
            raise ValueError("too many or too few people")
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidMessageError(
            user_message="This object is not a question.", detail=f"no question: {type(error).__name__}"
        ) from error
    return question
