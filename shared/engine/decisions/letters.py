"""The execution of an administrator's decision about one dead letter: replay it or dismiss it.

Called by `shared.engine.decisions.decisions`. One administrator is enough, because a replay states only what the message's
own source may state. A dismissed message is kept and can be replayed by the command line. An administrator whom the message
names may do neither, unless the policy needs only one approver.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum

from msgspec.structs import replace

from shared.domain.intent.batches import digest_of
from shared.domain.intent.decision import Verdict
from shared.domain.things.errors import Reason
from shared.engine.news.dead_letters import POISON, end_marks, replay
from shared.engine.ports.deps import Deps
from shared.engine.ports.inbox import LetterRow


class Became(StrEnum):
    """The result for one dead letter. The value is written to the log, so the list is closed."""

    REPLAYED = "replayed"
    DISMISSED = "dismissed"
    FAILED = "failed"


def letter_digest(row: LetterRow) -> str:
    """Return the digest that identifies a dead letter on a page and in a decision. A second delivery of a message has the same digest."""
    return digest_of(json.dumps(["letter", row.letter_id, row.sent_at.isoformat()]).encode())


def letter_named(digest: str, rows: Sequence[LetterRow]) -> LetterRow | None:
    """Return the dead letter with that digest; None if there is none."""
    return next((row for row in rows if letter_digest(row) == digest), None)


def waiting_letter(digest: str, deps: Deps) -> LetterRow | None:
    """Return the waiting dead letter with that digest, by one listing; None if there is none."""
    return next(
        (row for row in deps.dead_letters.rows() if row.replayed_at is None and letter_digest(row) == digest), None
    )


def carry_out_letter(row: LetterRow, verdict: Verdict, by: str, deps: Deps) -> Became:
    """Replay or dismiss a dead letter. Safe to repeat: an event that was folded in before has no effect.

    A replay that fails is noted on the dead letter, which keeps waiting, with the new reason. But a dead letter of
    exhausted deliveries keeps its reason, by which the sweep finds it, unless the message itself proved unusable.
    """
    if verdict is Verdict.REJECT:
        end_marks(row, deps)
        deps.dead_letters.mark_replayed(row, deps.clock.now(), f"dismissed by {by}")
        return Became.DISMISSED
    parse = deps.parse_letter
    result = replay(row, lambda letter: parse(letter, deps.policy), deps)
    if result.used:
        return Became.REPLAYED
    tells = result.reason in POISON or row.reason != Reason.DELIVERY_ATTEMPTS_EXHAUSTED  # the sweep goes on with those
    reason, detail = (result.reason, result.why) if tells else (row.reason, row.detail)
    deps.dead_letters.note_try(replace(row, tries=row.tries + 1), reason=reason, detail=detail)
    return Became.FAILED
