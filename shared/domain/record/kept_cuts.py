"""Calls that cut users whose records cannot be written, kept while the audit refuses their entries.

Audit entries usually wait in the user's record. If the record is missing or cannot be written, they wait in an object of this kind, below
`audit-waiting/` in the bucket of records. The hourly sweep writes the entries and then removes the object. The call ids depend only on
the content, so written entries are recognised, whichever process wrote them and wherever it crashed.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from msgspec import Struct

from shared.domain.record.audit import ALONE, CutCall, digest_of
from shared.domain.things.errors import InvalidMessageError
from shared.domain.things.history import CallState

KEPT = "audit-waiting/"


class KeptCuts(Struct, frozen=True, kw_only=True):
    """Calls about one user, made at one moment for one reason. `key` is the user's key, or the pseudonym of an erased user."""

    key: str
    because: str
    at: datetime
    calls: tuple[CutCall, ...]

    @property
    def is_intent(self) -> bool:
        """Return True if the object was written before the calls were made. Another object has their outcomes."""
        return all(call.state is CallState.ASKED for call in self.calls)


def kept_json(cuts: KeptCuts) -> bytes:
    """Return the object's content."""
    return msgspec.json.encode(cuts)


def kept_from_json(content: bytes) -> KeptCuts:
    """Return the cuts of an object. Raise `InvalidMessageError` for any other content."""
    try:
        return msgspec.json.decode(content, type=KeptCuts)
    except msgspec.MsgspecError as error:
        raise InvalidMessageError(
            user_message="An entry that waits for the audit cannot be read.", detail=f"kept cuts: {error}"
        ) from error


def kept_name(cuts: KeptCuts) -> str:
    """Return the object's name: the same cuts have the same name."""
    return f"{KEPT}{cuts.at:%Y-%m-%dT%H%M%S.%f}-{_digest(cuts)}.json"


def call_ids(cuts: KeptCuts) -> tuple[str, ...]:
    """Return the ids of the calls' entries, in order."""
    return tuple(f"{ALONE}-{_digest(cuts)}-{number}" for number in range(1, len(cuts.calls) + 1))


def _digest(cuts: KeptCuts) -> str:
    return digest_of(kept_json(cuts))[:16]
