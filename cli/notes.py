"""The notes of `validate-config` and of a deployment's plan on settings that are allowed but should be known."""

from __future__ import annotations

from shared.domain.things.catalog import Identity
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


def unseen_note(settings: Settings) -> str:
    """Return the line on profiles whose machines can have no reporter, so that some work is not seen; "" if there are none."""
    profiles = settings.catalog.profiles.items()
    names = [name for name, profile in profiles if profile.identity is Identity.END_USER_CREDENTIALS]
    if not names:
        return ""
    word = "Profile" if len(names) == 1 else "Profiles"
    return (
        f"{word} {', '.join(sorted(names))}: with identity end-user-credentials no reporter can run on the machine, so use is judged from outside. "
        "Not seen: GPU work, a cell that waits or only prints while its tab is closed, memory that ran out, a full disk. "
        'Tell such people to use Extend, or see "A reporter on the VM" in docs/operations.md.'
    )
