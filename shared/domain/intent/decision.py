"""A decision that an administrator made on the page: an object that the page may create but never change.

That is rule R20 of docs/architecture.md. The page writes the decision with the assertion that Identity-Aware Proxy signed.
The tick reads the decision, verifies who decided, and acts. A decision names the digest of a frozen list, so it does not
cover changes after the list was frozen.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum

from msgspec import Struct

from shared.domain.things.errors import InvalidMessageError
from shared.domain.things.late import late

VERSION = 1
MAX_BYTES = 20_000
_TIME = "%Y%m%dT%H%M%S.%fZ"
_ID = late(lambda: re.compile(r"[0-9a-f]{16,32}"))
DIGEST = late(lambda: re.compile(r"[0-9a-f]{16,64}"))


class About(StrEnum):
    """The subject of a decision."""

    CUTS = "CUTS"  # users whose cuts wait
    POLICY = "POLICY"  # another configuration
    WAVES = "WAVES"  # a halted rollout: it goes on, or back
    RENAME = "RENAME"  # a changed address that no source with authority confirmed
    SAME_PERSON = "SAME_PERSON"  # a new account under an address: does it belong to the same user?
    GROUP = "GROUP"  # an assigned group that was deleted
    RELEASE = "RELEASE"  # the release of a hold
    LETTER = "LETTER"  # a message that could not be processed: replay it, or dismiss it


class Verdict(StrEnum):
    """The administrator's answer in a decision."""

    APPROVE = "APPROVE"
    REJECT = "REJECT"


class Decision(Struct, frozen=True, kw_only=True):
    """A decision as the page wrote it. Its content is not trusted before the assertion is verified.

    `asked_at` is the time by the page's clock, for display only; the product uses the creation time of the object.
    """

    decision_id: str
    about: About
    verdict: Verdict
    digest: str
    asked_at: datetime
    assertion: str

    @property
    def name(self) -> str:
        """Return the name of the decision's object. Names sort by time."""
        return f"{self.asked_at.astimezone(UTC).strftime(_TIME)}-{self.decision_id}"


class ShownDecision(Struct, frozen=True, kw_only=True):
    """A decision as a listing shows it, without the assertion: a reader of listings cannot reuse the decision. `by` is a user key."""

    about: About
    verdict: Verdict
    digest: str
    by: str


def to_note(decision: Decision, *, by: str) -> dict[str, str]:
    """Return the decision as custom metadata of its object, without the assertion. `by` is a user key."""
    return {
        "about": decision.about.value,
        "verdict": decision.verdict.value,
        "digest": decision.digest,
        "by": by,
    }


def from_note(note: Mapping[str, str] | None) -> ShownDecision | None:
    """Return the decision that `to_note` wrote; None for anything else."""
    try:
        found = note or {}
        shown = ShownDecision(
            about=About(found["about"]), verdict=Verdict(found["verdict"]), digest=found["digest"], by=found["by"]
        )
    except (KeyError, ValueError):
        return None
    return shown if DIGEST.fullmatch(shown.digest) else None


def to_json(decision: Decision) -> bytes:
    """Return the content of the decision's object, as JSON bytes with the assertion."""
    return json.dumps(
        {
            "version": VERSION,
            "id": decision.decision_id,
            "about": decision.about.value,
            "verdict": decision.verdict.value,
            "digest": decision.digest,
            "asked_at": decision.asked_at.astimezone(UTC).isoformat(),
            "assertion": decision.assertion,
        }
    ).encode()


def from_json(raw: bytes) -> Decision:
    """Return the decision that `to_json` wrote. Raise `InvalidMessageError` for anything else, because the bytes are not trusted."""
    try:
        if len(raw) > MAX_BYTES:
            raise ValueError("too large")
        found = json.loads(raw)
        decision = Decision(
            decision_id=found["id"],
            about=About(found["about"]),
            verdict=Verdict(found["verdict"]),
            digest=found["digest"],
            asked_at=datetime.fromisoformat(found["asked_at"]),
            assertion=found["assertion"],
        )
        if found["version"] != VERSION or decision.asked_at.tzinfo is None or not isinstance(decision.assertion, str):
            raise ValueError("another form")
        if not _ID.fullmatch(decision.decision_id) or not DIGEST.fullmatch(decision.digest):
            raise ValueError("an id or a digest of another form")
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise InvalidMessageError(
            user_message="This object is not a valid decision.", detail=f"no decision: {type(error).__name__}"
        ) from error
    return decision
