"""The notices about a user in plain words, for `show` and for the manager's page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from shared.domain.record.status import Notice

_WORDS = {
    Notice.STILL_LISTED: "HR still lists this person as active, although a leaver was announced. Access stays ended. Ask HR. "
    "If the leave was a mistake: benchkeeper publish leave-cancelled {user}",
    Notice.TIE_WENT_TO_LEAVER: "A joiner and a leaver were stated for the same moment. The leaver counts. "
    "If that is wrong: benchkeeper publish joiner {user}",
    Notice.DIRECTORY_OVERRULES: "HR's list of groups differs from the directory. The directory decides.",
    Notice.DELETED_BUT_JOINED: "HR announced a joiner, but the Google account is deleted. Create or restore the account. "
    "If the directory is wrong: benchkeeper state {user} account usable --because TEXT",
    Notice.SAME_PERSON: "This address was given to a new Google account. Decide under Changes whether it is the same person. "
    "The earlier holder's data is kept: benchkeeper show {predecessor}",
    Notice.RENAME_WAITS: "{rename_source} announced the new address {rename_to}, the directory has not. A leave under either address "
    "counts. Decide under Changes, or by hand: benchkeeper publish renamed {user} {rename_to}",
    Notice.SUSPENDED_LONG: "The account has been suspended for longer than a leaver's data is kept. Nothing is deleted meanwhile. "
    "If the person left: benchkeeper publish leaver {user}",
    Notice.ADDRESS_WAITS: "This address may become another person's. No access is given to it until the change of address is decided under Changes. "
    "It waits for 24 hours at most.",
    Notice.GROUP_WAITS: "The group that gives this person access was deleted. Others would lose access too. "
    "Approve or reject it under Changes. For this person alone: benchkeeper publish leaver {user}",
    Notice.CUT_WAITS: "The end of access waits, because it ends for many people at once. Decide under Changes. "
    "Everyone who waits: benchkeeper guard",
    Notice.BLOCKED: "An operator ended the access on {blocked_at} UTC: {blocked_because}. No message can restore the access. "
    "An owner can lift the block on this page.",
    Notice.KEPT_IN: "An administrator marked the end of access as a mistake. New statements about this person count.",
    Notice.NOT_TOLD: "A message to this person, or about them, may not have been delivered ({not_told}). Files are not deleted meanwhile. "
    "Inform the recipient yourself, then run: benchkeeper acknowledge {user}",
}


# On a page, a link replaces a command that only shows something.
_ON_PAGE = {
    Notice.SAME_PERSON: "This address was given to a new Google account. Decide under Changes whether it is the same person. "
    "The earlier holder's data is kept.",
    Notice.CUT_WAITS: "The end of access waits, because it ends for many people at once. Decide under Changes.",
}
_UNDER_CHANGES = frozenset(
    {Notice.SAME_PERSON, Notice.RENAME_WAITS, Notice.ADDRESS_WAITS, Notice.GROUP_WAITS, Notice.CUT_WAITS}
)


class Told(Struct, frozen=True, kw_only=True):
    """A notice on a page. `in_changes` is True if the matter is decided under Changes; `person` is the user key of another user, or ""."""

    text: str
    in_changes: bool = False
    person: str = ""


def to_know(seen: dict[str, Any]) -> list[str]:
    """Return the notices for the result of `shared.engine.views.person.address_view`; empty if there are none."""
    return [each.text for each in _sentences(seen, _WORDS)]


def to_know_on_page(seen: dict[str, Any]) -> list[Told]:
    """Return the notices for a page, with links in place of the commands that only show something."""
    return list(_sentences(seen, {**_WORDS, **_ON_PAGE}, is_page=True))


def _sentences(seen: dict[str, Any], words: Mapping[Notice, str], *, is_page: bool = False) -> Iterator[Told]:
    rename = seen["rename"] or {"new_email": "", "source": ""}
    blocked = seen.get("blocked") or {"at": "", "because": ""}
    for notice in seen["notices"]:
        text = words[Notice(notice)].format(
            user=seen["user"] or seen["user_key"],
            predecessor=seen["predecessor"],
            not_told=", ".join(seen.get("not_told", ())),
            blocked_at=blocked["at"][:16].replace("T", " "),
            blocked_because=blocked["because"] or "the reason was erased",
            rename_to=rename["new_email"],
            rename_source=rename["source"] or "A source",
        )
        person = seen["predecessor"] if notice == Notice.SAME_PERSON else ""
        yield Told(text=text, in_changes=notice in _UNDER_CHANGES, person=person or "")
    if seen["access_until"] is not None:
        moment = f"{seen['access_until'][:16].replace('T', ' ')} UTC"
        over = seen["access_until"] <= seen["now"]
        yield Told(text=f"Access ended on {moment}." if over else f"Access ends on {moment}.")
    if seen["handed_over_to"] is not None:
        text = f"The address was given to a new account on {seen['handed_over_at'][:10]}"
        other = str(seen["handed_over_to"])
        yield Told(text=f"{text}." if is_page else f"{text}: benchkeeper show {other}", person=other)
    if seen["former_addresses"]:
        yield Told(text=f"Earlier addresses: {', '.join(seen['former_addresses'])}.")
