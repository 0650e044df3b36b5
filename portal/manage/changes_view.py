"""The changes that wait for administrators, as pages and scripts show them: users, decisions, and the effect of either verdict.

The kinds of change are users whose cuts wait, a configuration, a halted rollout, and questions about one user or group.
Each kind is a pair of functions in `changes.KINDS` that return `Change`s.

This module makes no decision: the tick carries decisions out, after it has verified their assertions.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

import flask

from portal.deps import current
from portal.manage.changes_meaning import Change, Seen, Unread, Vote, change_of_batch
from portal.visit import signed_in, visit
from shared.domain.intent.batches import Batch, batches_of
from shared.domain.intent.batches import from_json as batch_from_json
from shared.domain.intent.batches import to_json as batch_to_json
from shared.domain.intent.decision import About
from shared.domain.things.errors import BenchkeeperError, InvalidMessageError
from shared.domain.things.identity import UserKey, user_key_for
from shared.engine.ports.deps import Deps
from shared.engine.ports.guard import DecidedList

_MOST_OLDER = 20  # the most lists with a decision that are no longer a batch; each costs a read
_MOST_EARLIER = 5  # the most decided lists of one reason that are compared with those who wait
_DECIDED_FOR = timedelta(days=8)
_KEPT_LISTS = 20
_STORED_S = 3600.0  # the inbox deletes old objects, so a list is stored again after this time
_EXTENSION = "benchkeeper.changes"
NAV_S = 60.0  # the time for which the number beside "Changes" is shown without a new count


class Lists:
    """A cache of the lists that this process stored or read lately, and of the last number of changes. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lists: OrderedDict[str, tuple[float, Batch | None]] = OrderedDict()
        self._count: tuple[float, int] = (float("-inf"), 0)

    def get(self, digest: str, at_s: float) -> Batch | None:
        """Return the list if it was stored or read lately, else None."""
        with self._lock:
            known_at, batch = self._lists.get(digest, (float("-inf"), None))
        return batch if at_s - known_at <= _STORED_S else None

    def has(self, digest: str, at_s: float) -> bool:
        """Return True if the object of this digest was stored or read lately."""
        with self._lock:
            known_at, _ = self._lists.get(digest, (float("-inf"), None))
        return at_s - known_at <= _STORED_S

    def keep(self, digest: str, batch: Batch | None, at_s: float) -> None:
        """Remember a stored list by its digest. `batch` is None for a question."""
        with self._lock:
            self._lists[digest] = at_s, batch
            self._lists.move_to_end(digest)
            while len(self._lists) > _KEPT_LISTS:
                self._lists.popitem(last=False)

    def counted(self, count: int, at_s: float) -> None:
        """Remember the number of waiting changes."""
        with self._lock:
            self._count = at_s, count

    def count(self, at_s: float) -> int:
        """Return the number of waiting changes if it was counted within the last minute, else 0."""
        with self._lock:
            looked_at, count = self._count
        return count if at_s - looked_at <= NAV_S else 0


def attach(extensions: dict[str, Any]) -> None:
    """Give an application a cache of its own, so that two applications share nothing."""
    extensions[_EXTENSION] = Lists()


def lists() -> Lists:
    """Return the present application's cache."""
    found: Lists = flask.current_app.extensions[_EXTENSION]
    return found


# ---- reading


def seen() -> Seen:
    """Read the waiting users and the decisions that wait, by two listings, and return them.

    A failed read is noted in `unread`, and the rest is still shown.
    """
    found, deps = Seen(), _engine()
    try:
        found.waiting = tuple(deps.guard.waiting())
    except BenchkeeperError as error:
        missing(found, Unread.INDEX, error)
    _, own = signed_in()
    try:
        for each in deps.decisions.waiting():
            if each.shown is not None:
                vote = Vote(
                    by=each.shown.by,
                    verdict=each.shown.verdict,
                    at=each.created_at,
                    is_own=each.shown.by == own,
                    about=each.shown.about,
                )
                found.votes.setdefault(each.shown.digest, []).append(vote)
    except BenchkeeperError as error:
        missing(found, Unread.DECISIONS, error)
    return found


def cuts(found: Seen) -> list[Change]:
    """Return the batches of waiting cuts: the present batches, then earlier lists with a decision that is not carried out yet.

    Each batch is stored as it is shown, so that a click is about exactly the list on the page.
    """
    batches = batches_of(found.waiting or ())
    if batches:
        _look_at_decided(found)
    changes = [_present(batch, found) for batch in batches]
    current_ones = {change.digest for change in changes}
    older = [
        digest for digest, votes in found.votes.items() if digest not in current_ones and votes[0].about is About.CUTS
    ]
    for digest in older[:_MOST_OLDER]:
        try:
            batch = stored_list(digest)
        except BenchkeeperError as error:
            missing(found, Unread.LISTS, error)
            continue
        if batch is not None:
            changes.append(change_of_batch(batch, found, is_kept=True, digest=digest))
    return changes


def cuts_of(digest: str, found: Seen) -> Change | None:
    """Return the list of a digest: the present batch if its digest matches, else the stored list, else None."""
    _look_at_decided(found)
    for batch in batches_of(found.waiting or ()):
        if batch.digest == digest:
            return _present(batch, found)
    stored = stored_list(digest)
    if stored is None:
        return None
    return change_of_batch(stored, found, is_kept=True, digest=digest, earlier=_earlier(stored, found))


def _present(batch: Batch, found: Seen) -> Change:
    return change_of_batch(batch, found, is_kept=_is_stored(batch, found), earlier=_earlier(batch, found))


def _look_at_decided(found: Seen) -> None:
    """Read the lists that were decided lately, by one listing."""
    try:
        found.decided = _engine().guard.decided(since=visit().now() - _DECIDED_FOR)
    except BenchkeeperError as error:
        missing(found, Unread.DECISIONS, error)


def _earlier(batch: Batch, found: Seen) -> list[tuple[DecidedList, Batch]]:
    """Return the latest decided lists of the same reason and source that may bind users of this batch; each costs a read."""
    alike = [each for each in found.decided if (each.cause, each.source) == (batch.cause, batch.source)]
    earlier = []
    for each in alike[-_MOST_EARLIER:]:
        if each.at < batch.since:  # all users of the batch began to wait later
            continue
        try:
            stored = stored_list(each.digest)
        except BenchkeeperError as error:
            missing(found, Unread.LISTS, error)
            continue
        if stored is not None:
            earlier.append((each, stored))
    return earlier


def stored_list(digest: str) -> Batch | None:
    """Return the stored list of this digest, or None if there is no valid list."""
    known = lists().get(digest, _now_s())
    if known is not None:
        return known
    content = _engine().decisions.read_list(digest)
    if content is None:
        return None
    try:
        batch = batch_from_json(content)
    except InvalidMessageError:
        return None
    lists().keep(digest, batch, _now_s())
    return batch


def _is_stored(batch: Batch, found: Seen) -> bool:
    """Store a batch's list and return True; return False if that fails, because the list then cannot be decided about."""
    return is_stored(batch.digest, batch_to_json(batch), found, batch=batch)


def is_stored(digest: str, content: bytes, found: Seen, *, batch: Batch | None = None) -> bool:
    """Store the list that a decision names by its digest, unless it was stored lately. Return False if the list could not be stored."""
    if lists().has(digest, _now_s()):
        return True
    try:
        _engine().decisions.put_list(content)
    except BenchkeeperError as error:
        missing(found, Unread.LISTS, error)
        return False
    lists().keep(digest, batch, _now_s())
    return True


def missing(found: Seen, what: Unread, error: BenchkeeperError) -> None:
    """Note a part that could not be read or stored. The page names the part, and shows the rest."""
    if what not in found.unread:
        found.unread.append(what)
    visit().reason, visit().detail = error.reason.value, f"{what.value}: {error.detail}"


def _now_s() -> float:
    return visit().now().timestamp()


def _engine() -> Deps:
    return current().deps.engine


# ---- the meaning of a change


# ---- the right to decide


def own_keys() -> frozenset[UserKey]:
    """Return the keys under which the reader may be on a list: the address's key, and the key of the record to which that key leads."""
    email, key = signed_in()
    try:
        stored = _engine().records.load(key)
    except BenchkeeperError as error:  # the tick checks again, and does not count the vote of a user on the list
        visit().reason, visit().detail = error.reason.value, f"own record: {error.detail}"
        stored = None
    known = {key, user_key_for(email)}
    return frozenset(known if stored is None else {*known, stored.record.user_key})


def is_concerned(change: Change, keys: Iterable[UserKey]) -> bool:
    """Return True if the reader, who has these `keys`, may not decide because the change concerns the reader.

    The change concerns the users in `change.concerned` or, if that is None, all users on the list.
    """
    own = frozenset(keys)
    if change.concerned is not None:
        return bool(own & change.concerned)
    return any(entry.user_key in own for entry in change.entries)


def addresses() -> Mapping[str, str]:
    """Return the addresses by user key, as the last sweep saw them; empty before the first sweep or if they cannot be read."""
    try:
        fleet = _engine().fleet.fleet()
    except BenchkeeperError as error:
        visit().reason, visit().detail = error.reason.value, f"addresses: {error.detail}"
        return {}
    return {} if fleet is None else {row.user_key: row.email for row in fleet.rows if row.email}
