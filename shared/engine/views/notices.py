"""The notices about a user in plain words, for `show` and for the manager's page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shared.domain.record.status import Notice

_WORDS = {
    Notice.STILL_LISTED: "HR's feed lists this person as active although a leaver was announced; the leave stands. Ask HR. "
    "If it was a mistake: benchkeeper publish leave-cancelled {user}",
    Notice.TIE_WENT_TO_LEAVER: "A joiner and a leaver were said for the same moment; the leaver counts. "
    "If that is wrong: benchkeeper publish joiner {user}",
    Notice.DIRECTORY_OVERRULES: "HR's list of groups says otherwise than the directory, which decides for each group that it has "
    "spoken about.",
    Notice.DELETED_BUT_JOINED: "HR says joined, but the Google account is deleted. Create or undelete the account; if the directory "
    "is wrong: benchkeeper state {user} account usable --because TEXT",
    Notice.SAME_PERSON: "The address was given to a new Google account. Whether it is the same person is not known; what the former "
    "holder had is kept: benchkeeper show {predecessor}. Approve (the same person) or reject (another one) under Changes.",
    Notice.RENAME_WAITS: "The source {rename_source} announced a new address, {rename_to}, and the directory has not. A leave under "
    "either address counts. Approve or reject it under Changes; by hand, if it is true: benchkeeper publish renamed {user} {rename_to}",
    Notice.SUSPENDED_LONG: "The account has been suspended for longer than a leaver's things are kept. Nothing is deleted while it "
    "is only suspended; if the person left: benchkeeper publish leaver {user}",
    Notice.ADDRESS_WAITS: "This address may become somebody else's by a change that waits. Nothing is given to it before that is "
    "decided under Changes, or for 24 hours at most.",
    Notice.GROUP_WAITS: "The group that gives this person access is gone. Others would lose access too, so nobody has: approve it under "
    "Changes, or reject it if it is a mistake. For one person alone: benchkeeper publish leaver {user}",
    Notice.CUT_WAITS: "Access is to end, and so it is for many others at once: it waits for room, or until administrators decide. "
    "All who wait: benchkeeper guard. To decide: the page Changes.",
    Notice.BLOCKED: "An operator ended the access on {blocked_at} UTC: {blocked_because}. No message brings it back; an owner lifts it on "
    "the person's page.",
    Notice.KEPT_IN: "Access was to end, and an administrator said that this was a mistake. Whatever is said of this person anew counts.",
    Notice.NOT_TOLD: "A message to this person, or about them ({not_told}), reached nobody, or it is not known whether it did; files are not deleted "
    "meanwhile. Tell them yourself, then take note: benchkeeper acknowledge {user}",
}


def to_know(seen: dict[str, Any]) -> list[str]:
    """Return the notices for the result of `shared.engine.views.person.address_view`; empty if there are none."""
    return list(_sentences(seen))


def _sentences(seen: dict[str, Any]) -> Iterator[str]:
    rename = seen["rename"] or {"new_email": "", "source": ""}
    blocked = seen.get("blocked") or {"at": "", "because": ""}
    for notice in seen["notices"]:
        yield _WORDS[Notice(notice)].format(
            user=seen["user"] or seen["user_key"],
            predecessor=seen["predecessor"],
            not_told=", ".join(seen.get("not_told", ())),
            blocked_at=blocked["at"][:16].replace("T", " "),
            blocked_because=blocked["because"] or "the reason was erased",
            rename_to=rename["new_email"],
            rename_source=rename["source"] or "of an earlier version",
        )
    if seen["access_until"] is not None:
        moment = f"{seen['access_until'][:16].replace('T', ' ')} UTC"
        over = seen["access_until"] <= seen["now"]
        yield f"Access ended on {moment}." if over else f"Access ends on {moment}."
    if seen["handed_over_to"] is not None:
        yield (
            f"The address was given to a new account on {seen['handed_over_at'][:10]}: benchkeeper show {seen['handed_over_to']}"
        )
    if seen["former_addresses"]:
        yield f"Earlier addresses: {', '.join(seen['former_addresses'])}."
