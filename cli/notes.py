"""The notes of `validate-config` and of a deployment's plan on settings that are allowed but unusual."""

from __future__ import annotations

from datetime import timedelta

from shared.domain.things.catalog import Identity
from shared.engine.views.limits import SWEEPS_EVERY
from shared.settings import Settings


def notes(settings: Settings) -> list[str]:
    """Return one line for each setting that is allowed but unusual."""
    return [*_alone(settings), *_money(settings)]


def _money(settings: Settings) -> list[str]:
    """Return a line for each monthly limit, with the amount by which it may be exceeded.

    A start is judged by the sum of the last sweep, so spending can pass the limit until the next sweep. If the profile
    has no price, the line says that its hours do not count.
    """
    found = []
    for each in settings.catalog.budgeted:
        profile, limits = settings.catalog.profiles.get(each.profile), each.limits
        price = None if profile is None else profile.hourly_cost
        if limits is None or limits.max_monthly_cost is None:
            continue
        said = f"max_monthly_cost of {each.group} is {limits.max_monthly_cost:,.2f} {settings.currency}. "
        if price is None:
            found.append(f"{said}Profile {each.profile} has no hourly_cost, so its hours do not count.")
            continue
        step = price * (SWEEPS_EVERY / timedelta(hours=1))
        most = limits.max_environments
        all_of_them = "" if most is None else f", {most * step:,.2f} with all {most}"
        found.append(
            f"{said}Starts end within ten minutes after it is reached: each running notebook of {each.profile} costs "
            f"{step:,.2f} more until then{all_of_them}, and {price:,.2f} an hour until it is stopped."
        )
    return found


def _alone(settings: Settings) -> list[str]:
    if settings.guard.approvers > 1:
        return []
    alone = (
        "guard.approvers is 1: one administrator alone approves that many people lose access at once, their own access included. "
        "Each such approval is marked as the approver's own (own=true in the log)."
    )
    return [alone]


def unseen_note(settings: Settings) -> str:
    """Return the line that names profiles whose machines cannot run the reporter, so that some activity is not seen.

    Return "" if there are none.
    """
    profiles = settings.catalog.profiles.items()
    names = [name for name, profile in profiles if profile.identity is Identity.END_USER_CREDENTIALS]
    if not names:
        return ""
    word = "Profile" if len(names) == 1 else "Profiles"
    return (
        f"{word} {', '.join(sorted(names))}: with identity end-user-credentials no reporter can run on the machine, so use is only observed from outside. "
        "Not seen: GPU work, a cell that waits or only prints while its tab is closed, memory that ran out, a full disk. "
        'Tell such people to use Extend, or see "A reporter on the VM" in docs/operations.md.'
    )
