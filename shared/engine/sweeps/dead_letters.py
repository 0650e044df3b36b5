"""The sweep of dead letters: replays of messages whose deliveries all failed, and marks that are missing on records.

An exhausted delivery says nothing about the message: every attempt failed because of Google Cloud, a missing permission, or
an unreadable record. So such dead letters are replayed, with a back-off stored on the dead letter, until they succeed or
the message proves unusable. Those that state a leave come first, then the oldest. Called by the `tick` function after its
sweep.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from datetime import datetime, timedelta

from msgspec import Struct, field
from msgspec.structs import replace

from shared.domain.things.errors import BenchkeeperError, Reason
from shared.engine.news.dead_letters import POISON, Parse, mark_people, replay
from shared.engine.ports.deps import Deps
from shared.engine.ports.inbox import LetterRow

MOST = 100  # dead letters that one sweep replays, and as many that it marks
_DEADLINE = timedelta(seconds=90)  # this sweep follows another one, and an event function lives 540 s
_FIRST = timedelta(minutes=10)
_LONGEST, _LONGEST_OF_LEAVERS = timedelta(hours=6), timedelta(hours=1)
_SETTLE = timedelta(minutes=5)  # the function that stored a recent dead letter may still be marking records


class LettersSwept(Struct):
    """The result of one sweep. `waiting` counts the exhausted dead letters that remain; `failed` counts failed replays by reason.

    `left_over` counts due dead letters that were not reached in time, `marked` the records that got a missing mark. `oldest_leaver` is the age of the oldest
    remaining dead letter that states a leave.
    """

    replayed: int = 0
    waiting: int = 0
    left_over: int = 0
    marked: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    oldest_leaver: timedelta = timedelta(0)


def sweep_letters(parse: Parse, deps: Deps) -> LettersSwept:
    """Replay the exhausted dead letters that are due, and write the missing marks. Safe to repeat and to run concurrently.

    One sweep replays and marks at most `MOST` dead letters each, and begins no replay after its deadline.
    """
    done = LettersSwept()
    started, now = deps.clock.monotonic_s(), deps.clock.now()
    rows = [row for row in deps.dead_letters.rows() if row.replayed_at is None]
    exhausted = [row for row in rows if row.reason == Reason.DELIVERY_ATTEMPTS_EXHAUSTED]
    due = sorted((row for row in exhausted if _is_due(row, now)), key=lambda row: (not row.cuts, row.sent_at))
    used: set[str] = set()
    for number, row in enumerate(due):
        if number >= MOST or deps.clock.monotonic_s() - started >= _DEADLINE.total_seconds():
            done.left_over = len(due) - number
            break
        if _replayed(row, parse, deps, done):
            used.add(row.place)
    waiting = [row for row in exhausted if row.place not in used]
    pending = [row for row in rows if row.marks_pending and row.place not in used and now - row.sent_at >= _SETTLE]
    done.marked = sum(mark_people(row, deps) for row in pending[:MOST])
    done.waiting = len(waiting)
    done.oldest_leaver = max((now - row.sent_at for row in waiting if row.cuts), default=timedelta(0))
    _log(done, deps)
    return done


def _is_due(row: LetterRow, now: datetime) -> bool:
    return row.next_try_at is None or row.next_try_at <= now


def _replayed(row: LetterRow, parse: Parse, deps: Deps, done: LettersSwept) -> bool:
    """Replay one dead letter; return False if it must be tried again. A failure does not stop the other replays."""
    try:
        result = replay(row, parse, deps)
    except Exception as error:  # noqa: BLE001 - per-letter isolation: counted, logged, and the dead letter is tried again
        reason, detail = Reason.UNEXPECTED.value, repr(error)
    else:
        if result.used:
            done.replayed += 1
            deps.log.info("Replayed a dead letter", letter=row.letter_id, tries=row.tries + 1, users=list(row.users))
            return True
        reason, detail = result.reason, result.why
    done.failed[reason] += 1
    poison = reason in POISON
    tries = row.tries + 1
    tried = replace(row, tries=tries, next_try_at=None if poison else deps.clock.now() + _wait(row, tries))
    deps.log.warning(
        "Dead letter could not be replayed", letter=row.letter_id, tries=tries, reason=reason, detail=detail
    )
    try:
        deps.dead_letters.note_try(
            tried, reason=reason if poison else row.reason, detail=detail if poison else row.detail
        )
    except BenchkeeperError as error:
        deps.log.warning(
            "Replay attempt was not saved", letter=row.letter_id, reason=error.reason.value, detail=error.detail
        )
    return poison


def _wait(row: LetterRow, tries: int) -> timedelta:
    """Return the back-off: ten minutes, doubled at each try up to an hour for a leaver and six hours for others.

    Up to a quarter is added, depending on the dead letter's id.
    """
    longest = _LONGEST_OF_LEAVERS if row.cuts else _LONGEST
    base = min(longest, _FIRST * int(2 ** min(tries - 1, 10)))
    share: float = hashlib.sha256(f"{row.letter_id}:{tries}".encode("utf-8", "surrogatepass")).digest()[0] / 1024
    return base + base * share


def _log(done: LettersSwept, deps: Deps) -> None:
    deps.log.info(
        "Swept dead letters",
        replayed=done.replayed,
        waiting=done.waiting,
        left_over=done.left_over,
        marked=done.marked,
        failed=dict(done.failed),
        oldest_leaver_s=round(done.oldest_leaver.total_seconds(), 1),
    )
