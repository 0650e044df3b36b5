"""The notes of `validate-config` and of a deployment's plan on settings that are allowed but should be known."""

from __future__ import annotations

from shared.settings import Settings


def notes(settings: Settings) -> list[str]:
    """Return one line for each such setting."""
    if settings.guard.approvers > 1:
        return []
    alone = (
        "guard.approvers is 1: one administrator alone approves that many people lose access at once, their own access included. "
        "Each such approval is marked as the approver's own (own=true in the log)."
    )
    return [alone]
