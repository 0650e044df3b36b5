"""The backlog of one subscription: messages that are ready, leased, or waiting for a retry, and their order.

Retries wait in virtual time. Leases (ack deadlines) end in real time, because the work that they cover runs in real time.

A message with an ordering key goes through its key's `_Line`. The leased messages of a key form one batch. If one is nacked,
all messages after it in the line return too, acknowledged or not.
"""

from __future__ import annotations

import base64
import heapq
import itertools
import secrets
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from emulator.clock import parse_rfc3339, rfc3339

_QUICKEST = timedelta(milliseconds=100)
_SLOWEST = timedelta(seconds=60)
_MAX_DOUBLINGS = 30


@dataclass(frozen=True, slots=True)
class Message:
    """A published message; `publish_time` is virtual, cut to milliseconds."""

    id: str
    data: bytes
    attributes: dict[str, str]
    ordering_key: str
    publish_time: datetime

    def to_json(self) -> dict[str, Any]:
        """Return the message in its saved form."""
        return {
            "id": self.id,
            "data": base64.b64encode(self.data).decode(),
            "attributes": self.attributes,
            "orderingKey": self.ordering_key,
            "publishTime": rfc3339(self.publish_time),
        }

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Message:
        """Return the message of a result of `to_json`."""
        return cls(
            id=raw["id"],
            data=base64.b64decode(raw["data"]),
            attributes=dict(raw["attributes"]),
            ordering_key=raw["orderingKey"],
            publish_time=parse_rfc3339(raw["publishTime"]),
        )


@dataclass(frozen=True, slots=True)
class Rules:
    """The delivery rules of a subscription. `retry` is the shortest and the longest backoff.

    Without `retry`, the backoff doubles from 0.1 s to 60 s. With `max_attempts` 0, no message is dead-lettered.
    """

    ordered: bool
    retention: timedelta
    retain_acked: bool
    max_attempts: int
    retry: tuple[timedelta, timedelta] | None

    def backoff(self, attempts: int) -> timedelta:
        """Return the wait after the `attempts`-th failed delivery, in virtual time."""
        low, high = self.retry if self.retry is not None else (_QUICKEST, _SLOWEST)
        # A minimum of zero would stay zero when doubled, and a broken endpoint would be called without pause.
        doubled: timedelta = max(low, _QUICKEST) * 2 ** min(attempts - 1, _MAX_DOUBLINGS)
        return min(high, doubled)


@dataclass(slots=True, eq=False)
class Entry:
    """A message in one subscription. `ack_id` is set while it is leased, until the real moment `deadline`.

    Before the virtual time `not_before`, it is not delivered. `line` is None for a message without an ordering key.
    """

    message: Message
    attempts: int = 0
    not_before: datetime | None = None
    ack_id: str = ""
    deadline: float = 0.0
    acked: bool = False
    line: _Line | None = None


@dataclass(slots=True, eq=False)
class _Line:
    """The messages of one ordering key, oldest first. `outstanding` of them are leased.

    `queued` is True while the line is ready or delayed. Before `not_before`, none of its messages is delivered.
    """

    key: str
    entries: deque[Entry] = field(default_factory=deque)
    outstanding: int = 0
    queued: bool = False
    not_before: datetime | None = None


class Backlog:
    """The messages of one subscription: those not yet acknowledged, and acknowledged ones that are retained for a seek.

    Not thread-safe: it is used under the world's lock.
    """

    def __init__(self, name: str, rules: Rules) -> None:
        self.rules = rules
        # An acknowledgement for an earlier subscription of this name must not match a message of this one.
        self._prefix = f"{name.rsplit('/', 1)[-1]}-{secrets.token_hex(4)}"
        self._numbers = itertools.count(1)
        self.entries: OrderedDict[str, Entry] = OrderedDict()
        self.retained: OrderedDict[str, Message] = OrderedDict()
        self._leased: dict[str, Entry] = {}
        self._leases: list[tuple[float, str]] = []
        self._ready: deque[Entry | _Line] = deque()
        self._delayed: list[tuple[datetime, int, Entry | _Line]] = []
        self._lines: dict[str, _Line] = {}

    # ---- in

    def add(self, message: Message, *, attempts: int = 0, not_before: datetime | None = None) -> None:
        """Add a message at the end of the backlog."""
        entry = Entry(message, attempts, not_before)
        self.entries[message.id] = entry
        if not (self.rules.ordered and message.ordering_key):
            self._queue(entry, not_before)
            return
        line = self._lines.setdefault(message.ordering_key, _Line(message.ordering_key))
        entry.line = line
        line.entries.append(entry)
        if not line.queued and line.outstanding == 0:
            line.queued = True
            self._queue(line, not_before)

    def _queue(self, item: Entry | _Line, not_before: datetime | None) -> None:
        if not_before is None:
            self._ready.append(item)
        else:
            heapq.heappush(self._delayed, (not_before, next(self._numbers), item))

    # ---- out

    def lease(self, now: datetime, *, limit: int, deadline: float, per_key: int | None = None) -> list[Entry]:
        """Return up to `limit` messages, leased until the real moment `deadline`; at most `per_key` of one key (None = no limit)."""
        self.wake(now)
        taken: list[Entry] = []
        while self._ready and len(taken) < limit:
            item = self._ready.popleft()
            if isinstance(item, Entry):
                if item.message.id in self.entries and not item.ack_id:
                    self._out(item, deadline)
                    taken.append(item)
                continue
            item.queued = False
            room = limit - len(taken) if per_key is None else min(per_key, limit - len(taken))
            waiting = (entry for entry in item.entries if not entry.acked)
            for entry in list(itertools.islice(waiting, room)):
                self._out(entry, deadline)
                item.outstanding += 1
                taken.append(entry)
        return taken

    def wake(self, now: datetime) -> bool:
        """Make the messages ready whose wait has ended by `now`. Return True if any message became ready."""
        before = len(self._ready)
        while self._delayed and self._delayed[0][0] <= now:
            self._ready.append(heapq.heappop(self._delayed)[2])
        return len(self._ready) > before

    def _out(self, entry: Entry, deadline: float) -> None:
        entry.attempts += 1
        entry.not_before = None
        entry.ack_id = f"{self._prefix}:{next(self._numbers)}"
        self._leased[entry.ack_id] = entry
        self._set_deadline(entry, deadline)

    def _set_deadline(self, entry: Entry, deadline: float) -> None:
        entry.deadline = deadline
        heapq.heappush(self._leases, (deadline, entry.ack_id))

    # ---- answers

    def leased(self, ack_id: str) -> Entry | None:
        """Return the message that is leased under `ack_id`, or None if that lease is over."""
        return self._leased.get(ack_id)

    def extend(self, ack_id: str, deadline: float) -> bool:
        """Extend a lease to the real moment `deadline`. Return False if the lease is over."""
        entry = self._leased.get(ack_id)
        if entry is None:
            return False
        self._set_deadline(entry, deadline)
        return True

    def ack(self, ack_id: str) -> bool:
        """Acknowledge a message. Return False if the lease is over: the message has been or will be delivered again."""
        entry = self._leased.pop(ack_id, None)
        if entry is None:
            return False
        entry.ack_id = ""
        entry.acked = True
        if self.rules.retain_acked:
            self.retained[entry.message.id] = entry.message
        self._leave(entry)
        return True

    def drop(self, entry: Entry) -> None:
        """Remove a leased message that was sent to the dead-letter topic."""
        self._leased.pop(entry.ack_id, None)
        entry.ack_id = ""
        entry.acked = True
        self._leave(entry)

    def _leave(self, entry: Entry) -> None:
        line = entry.line
        if line is None:
            self.entries.pop(entry.message.id, None)
            return
        line.outstanding -= 1
        while line.entries and line.entries[0].acked:
            self.entries.pop(line.entries.popleft().message.id, None)
        self._settle(line)

    def _settle(self, line: _Line) -> None:
        """Make a line ready again if none of its messages is leased. Remove it if it is empty."""
        if line.outstanding or line.queued:
            return
        if not line.entries:
            self._lines.pop(line.key, None)
            return
        line.queued = True
        self._queue(line, line.not_before)
        line.not_before = None

    def exhausted(self, entry: Entry) -> bool:
        """Return True if the dead-letter policy allows no further delivery."""
        return 0 < self.rules.max_attempts <= entry.attempts

    def nack(self, entry: Entry, now: datetime) -> None:
        """Deliver a leased message again after its backoff, and all messages after it in its line."""
        self._leased.pop(entry.ack_id, None)
        entry.ack_id = ""
        entry.not_before = now + self.rules.backoff(entry.attempts)
        line = entry.line
        if line is None:
            self._queue(entry, entry.not_before)
            return
        line.outstanding -= 1
        behind = itertools.dropwhile(lambda other: other is not entry, line.entries)
        for later in behind:
            later.acked = False
            if later.ack_id:
                self._leased.pop(later.ack_id, None)
                later.ack_id = ""
                line.outstanding -= 1
        line.not_before = entry.not_before
        self._settle(line)

    # ---- time

    def overdue(self, real: float) -> list[Entry]:
        """Return the leased messages whose ack deadline has passed; the caller nacks them."""
        late: list[Entry] = []
        while self._leases and self._leases[0][0] <= real:
            _, ack_id = heapq.heappop(self._leases)
            entry = self._leased.get(ack_id)
            if entry is not None and entry.deadline <= real:
                late.append(entry)
        return late

    def discard_old(self, now: datetime, *, untried_too: bool) -> int:
        """Discard unleased messages older than the retention, and return how many. Retained messages are discarded, too, but not counted.

        Messages that were never delivered are only discarded with `untried_too`. A message with an ordering key is only
        discarded if it is the first of its key, and no message of the key is leased.
        """
        horizon = now - self.rules.retention
        gone = 0
        for message_id, entry in list(
            itertools.takewhile(lambda e: e[1].message.publish_time < horizon, self.entries.items())
        ):
            if not entry.ack_id and (untried_too or entry.attempts) and self._remove_waiting(message_id, entry):
                gone += 1
        while self.retained and next(iter(self.retained.values())).publish_time < horizon:
            self.retained.popitem(last=False)
        return gone

    def _remove_waiting(self, message_id: str, entry: Entry) -> bool:
        line = entry.line
        if line is None:
            del self.entries[message_id]
            return True
        if line.outstanding or not line.entries or line.entries[0] is not entry:
            return False
        line.entries.popleft()
        del self.entries[message_id]
        return True

    def next_retry(self) -> datetime | None:
        """Return the virtual time at which the next delayed message becomes ready; None if none is delayed."""
        return self._delayed[0][0] if self._delayed else None

    def next_deadline(self) -> float | None:
        """Return the real time at which the next lease may end; None if there is no lease.

        If that lease was already settled or extended, no lease ends at the returned time.
        """
        return self._leases[0][0] if self._leases else None

    def has_ready(self, now: datetime) -> bool:
        """Return True if `lease` may find a message."""
        return bool(self._ready) or bool(self._delayed and self._delayed[0][0] <= now)

    # ---- whole

    def seek(self, moment: datetime) -> None:
        """Acknowledge messages published before `moment`, and restore those retained from then on. All leases end."""
        messages = {**self.retained, **{key: e.message for key, e in self.entries.items() if not e.acked}}
        ordered = sorted(messages.values(), key=lambda message: int(message.id))
        self._clear()
        for message in ordered:
            if message.publish_time >= moment:
                self.add(message)
            elif self.rules.retain_acked:
                self.retained[message.id] = message

    def _clear(self) -> None:
        for held in (self.entries, self.retained, self._leased, self._leases, self._ready, self._delayed, self._lines):
            held.clear()

    def dump(self) -> dict[str, Any]:
        """Return the retained messages, and the unacknowledged ones with attempts and waiting times. Leases are not saved."""
        waiting = [
            {
                **entry.message.to_json(),
                "attempts": entry.attempts,
                "notBefore": rfc3339(entry.not_before) if entry.not_before is not None else None,
            }
            for entry in self.entries.values()
            if not entry.acked
        ]
        return {"messages": waiting, "retained": [message.to_json() for message in self.retained.values()]}

    def load(self, state: dict[str, Any]) -> None:
        """Restore the state from a result of `dump`."""
        self._clear()
        for raw in state["messages"]:
            not_before = parse_rfc3339(raw["notBefore"]) if raw["notBefore"] else None
            self.add(Message.from_json(raw), attempts=raw["attempts"], not_before=not_before)
        for raw in state["retained"]:
            message = Message.from_json(raw)
            self.retained[message.id] = message
