"""The adapter to the metered lines of past months, one object `index/costs/<month>.json.gz` each, with all sums in `totals.json.gz`.

The drift sweep writes these objects in the first days of the next month. After that they are not written again, so
processes cache the months that they have read.
"""

from __future__ import annotations

import gzip
import re
import zlib
from datetime import datetime, timedelta
from typing import TypeVar

from msgspec import DecodeError, Raw, Struct, ValidationError
from msgspec.json import Decoder, encode

from shared.cloud.http.clients import Clients
from shared.domain.fleet.spent import SETTLES_DAYS, MonthLines, MonthTotal, added_up, with_total
from shared.domain.things.errors import PermanentError, Reason
from shared.domain.things.identity import UserKey
from shared.domain.things.meter import MONTHS, Line, bounds_of, month_before

_FOLDER = "index/costs/"
_TOTALS = f"{_FOLDER}totals.json.gz"
_MONTH = re.compile(r"^\d{4}-(0[1-9]|1[0-2])$")
_MOST_KEPT = 3  # months in a process: one against another, and one more
_PACKED_AT_ONCE = 200


class _Totals(Struct, frozen=True, kw_only=True):
    totals: tuple[MonthTotal, ...]
    version: int = 1


class _Packed(Struct, frozen=True, kw_only=True):
    """A month whose lines are not parsed yet."""

    lines: dict[UserKey, Raw]


_LINES, _SUMS = Decoder(MonthLines), Decoder(_Totals)
_PACKED, _OF_ONE = Decoder(_Packed), Decoder(tuple[Line, ...])
T = TypeVar("T")


class StorageMonths:
    """The reader and writer of past months' metered lines. Thread-safe: cached values are replaced, never changed."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._kept: dict[str, MonthLines] = {}

    def totals(self) -> tuple[MonthTotal, ...]:
        """Return the stored sums by one read, oldest first."""
        return self._totals()[0]

    def _totals(self) -> tuple[tuple[MonthTotal, ...], int]:
        found = self._clients.bucket().get(_TOTALS, what="read the sums of the months")
        if found is None:
            return (), 0
        try:
            return _SUMS.decode(gzip.decompress(found.content)).totals, found.generation
        except (OSError, EOFError, zlib.error, DecodeError, ValidationError):
            return (), found.generation  # damaged: the next write replaces it

    def month(self, month: str) -> MonthLines | None:
        """Return the lines of a month, by at most one read, because the process caches the last months; None if none are stored."""
        if not _MONTH.match(month):
            return None
        known = self._kept.get(month)
        if known is not None:
            return known
        lines = self._read(month, _LINES)
        if lines is None:
            return None
        if lines.taken_at >= bounds_of(month)[1] + timedelta(days=SETTLES_DAYS - 1):
            rest = list(self._kept.items())[-(_MOST_KEPT - 1) :]
            self._kept = {**dict(rest), month: lines}
        return lines

    def about(self, month: str, user_key: UserKey) -> tuple[Line, ...] | None:
        """Return one user's lines in a month; None if no lines of that month are stored. The lines of other users are not parsed."""
        if not _MONTH.match(month):
            return None
        known = self._kept.get(month)
        if known is not None:
            return known.lines.get(user_key, ())
        found = self._read(month, _PACKED)
        if found is None:
            return None
        packed = found.lines.get(user_key)
        return () if packed is None else _OF_ONE.decode(packed)

    def _read(self, month: str, decoder: Decoder[T]) -> T | None:
        found = self._clients.bucket().get(_name(month), what=f"read the lines of {month}")
        if found is None:
            return None
        try:
            return decoder.decode(gzip.decompress(found.content))
        except (OSError, EOFError, zlib.error, DecodeError, ValidationError) as error:
            raise PermanentError(
                user_message=f"The stored costs of {month} cannot be read. An administrator must restore an older version of {_name(month)}.",
                detail=f"unreadable {_name(month)}: {type(error).__name__}: {error}",
                reason=Reason.UNREADABLE,
            ) from error

    def draft(self, month: str, taken_at: datetime) -> MonthDraft:
        """Return an empty draft for a month's lines. Makes no call."""
        return MonthDraft(self._clients, self, month, taken_at)


class MonthDraft:
    """The adapter of the port `MonthDraft`: the object's bytes grow user by user, compressed, so that memory does not limit their number."""

    def __init__(self, clients: Clients, months: StorageMonths, month: str, taken_at: datetime) -> None:
        self._clients, self._months, self._month = clients, months, month
        self._gzip = zlib.compressobj(6, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
        head = encode({"month": month, "taken_at": taken_at})[:-1] + b',"lines":{'
        self._parts = [self._gzip.compress(head)]
        self._texts: list[bytes] = []
        self._people, self._sums = 0, tuple[Line, ...]()
        self._waiting: list[Line] = []

    def add(self, user_key: UserKey, lines: tuple[Line, ...]) -> None:
        """Add a user's lines; lines of other months are ignored. Makes no call."""
        own = [line for line in lines if line.month == self._month]
        if not own:
            return
        self._texts.append((b"," if self._people else b"") + encode(user_key) + b":" + encode(own))
        self._people += 1
        self._waiting += own
        if len(self._texts) >= _PACKED_AT_ONCE:
            self._pack()

    def _pack(self) -> None:
        self._parts.append(self._gzip.compress(b"".join(self._texts)))
        self._sums = added_up([*self._sums, *self._waiting])
        self._texts, self._waiting = [], []

    def write(self) -> None:
        """Store the lines of the month, then the sums of all months, by three calls.

        One more call deletes the month that is now older than the last thirteen. A conflict about the sums is retried once. After a
        second conflict, the other writer's sums stay, and the next sweep of the month stores them.
        """
        self._pack()
        content = b"".join((*self._parts, self._gzip.compress(b"}}"), self._gzip.flush()))
        bucket = self._clients.bucket()
        bucket.write(_name(self._month), content, content_type="application/gzip", what="write the lines of a month")
        new = MonthTotal(month=self._month, people=self._people, lines=self._sums)
        totals: tuple[MonthTotal, ...] = ()
        for _ in range(2):
            totals, generation = self._months._totals()  # noqa: SLF001 - one module
            packed = gzip.compress(encode(_Totals(totals=with_total(totals, new))), 6, mtime=0)
            if bucket.write(
                _TOTALS,
                packed,
                content_type="application/gzip",
                expected=generation,
                what="write the sums of the months",
            ):
                break
        oldest = self._month
        for _ in range(MONTHS - 1):
            oldest = month_before(oldest)
        if totals and totals[0].month <= oldest:
            bucket.delete(_name(oldest), what="delete a month that nobody can ask for")


def _name(month: str) -> str:
    return f"{_FOLDER}{month}.json.gz"
