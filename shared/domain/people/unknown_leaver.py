"""The unknown leaver: a leave was stated for an address without a record, perhaps because of a typing error.

The record stays as a tombstone in any case. The page shows it to operators until it is acknowledged or 30 days old: after a
typing error, a user who left may still have access. `shared.domain.record.record.row_of` marks unknown leavers.
`nearest_addresses` suggests similar addresses; the command line uses it for "did you mean", too.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from functools import lru_cache

from shared.domain.people.facts import ACCOUNT, ACCOUNT_STATES, EMPLOYMENT, GROUP, Facts

SHOWN_FOR = timedelta(days=30)


def states_only_a_leave(facts: Facts) -> bool:
    """Return True if the facts state a leave or an unusable account, and apart from that only removals from groups."""
    timelines = facts.timelines
    ends = {EMPLOYMENT, ACCOUNT, *ACCOUNT_STATES}
    if not ends & timelines.keys():
        return False
    return all(
        (name in ends or name.startswith(GROUP)) and all(each.withdraws for each in timeline)
        for name, timeline in timelines.items()
    )


MOST_EDITS = 2


def nearest_addresses(address: str, known: Iterable[str], limit: int = 3) -> tuple[str, ...]:
    """Return at most `limit` known addresses at a distance of 1 or 2, the nearest first, then by alphabet.

    The distance is the number of letters to insert, delete or replace, in the name before the last @ and in the domain together.
    The address itself is never in the result. The search is fast for ten thousand addresses: length and letters exclude most of them.
    """
    local, domain, local_letters, domain_letters = _parts(address)
    found: list[tuple[int, str]] = []
    for other in known:
        other_local, other_domain, others, domains_others = _parts(other)
        differ = (others ^ local_letters).bit_count() + (domains_others ^ domain_letters).bit_count()
        if differ > 2 * MOST_EDITS or abs(len(other_local) - len(local)) > MOST_EDITS:
            continue  # an edit changes two letters at most
        edits = edit_distance(domain, other_domain, MOST_EDITS)
        if edits <= MOST_EDITS:
            edits += edit_distance(local, other_local, MOST_EDITS - edits)
        if 0 < edits <= MOST_EDITS:
            found.append((edits, other))
    return tuple(other for _, other in sorted(set(found))[:limit])


def edit_distance(one: str, other: str, most: int) -> int:
    """Return the Levenshtein distance, or `most + 1` if it is larger than `most`."""
    if one == other:
        return 0
    if abs(len(one) - len(other)) > most:
        return most + 1
    row = list(range(len(other) + 1))
    for number, letter in enumerate(one, start=1):
        before, row[0] = row[0], number
        for column, other_letter in enumerate(other, start=1):
            before, row[column] = (
                row[column],
                min(row[column] + 1, row[column - 1] + 1, before + (letter != other_letter)),
            )
        if min(row) > most:  # a row never gets smaller
            return most + 1
    return min(row[-1], most + 1)


@lru_cache(maxsize=200_000)
def _parts(address: str) -> tuple[str, str, int, int]:
    """Return the name before the last @, the domain, and the letters of the name and of the domain as bit masks."""
    local, _, domain = address.rpartition("@")
    return local, domain, _letters(local), _letters(domain)


def _letters(text: str) -> int:
    """Return the set of letters as a bit mask of 64 bits; several letters may share a bit."""
    mask = 0
    for letter in set(text):
        mask |= 1 << (ord(letter) & 63)
    return mask
