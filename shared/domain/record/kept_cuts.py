"""The storage of calls that cut a user, if the audit cannot be written and the user has no usable record.

Audit entries usually wait in the user's record. If the record is missing or cannot be written, the calls wait in an object below
`audit-waiting/` in the bucket of records. The hourly sweep writes the entries and then removes the object. The call ids
depend only on the content, so an entry that was already written is found, even after a crash.
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
        """Return True if the object was written before the calls were made. Another object then has the outcomes."""
        return all(call.state is CallState.ASKED for call in self.calls)


def kept_json(cuts: KeptCuts) -> bytes:
    """Return the content of the object for these calls, as JSON bytes."""
    return msgspec.json.encode(cuts)


def kept_from_json(content: bytes) -> KeptCuts:
    """Return the calls that `kept_json` wrote. Raise `InvalidMessageError` for any other content."""
    try:
        return msgspec.json.decode(content, type=KeptCuts)
    except msgspec.MsgspecError as error:
        raise InvalidMessageError(
            user_message="An entry that waits for the audit cannot be read.", detail=f"kept cuts: {error}"
        ) from error


def kept_name(cuts: KeptCuts) -> str:
    """Return the object's name, from the time and a digest of the content. Equal calls have the same name."""
    return f"{KEPT}{cuts.at:%Y-%m-%dT%H%M%S.%f}-{_digest(cuts)}.json"


def call_ids(cuts: KeptCuts) -> tuple[str, ...]:
    """Return the call ids for the audit entries, in the order of the calls."""
    return tuple(f"{ALONE}-{_digest(cuts)}-{number}" for number in range(1, len(cuts.calls) + 1))


def _digest(cuts: KeptCuts) -> str:
    return digest_of(kept_json(cuts))[:16]
