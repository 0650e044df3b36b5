"""Many addresses, among them near-equal ones: every name is valid and no two people share one.

`check(count)` is what the benchmark calls with a million.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from shared.domain.things.identity import instance_id_for, parse_email, user_key_for

SEED = 20_261_123
_VALID = re.compile(r"[a-z][a-z0-9-]{0,46}[a-z0-9]")
_FIRST = (
    "ana",
    "ann",
    "\u00f1and\u00fa",
    "o'neil",
    "bj\u00f6rn",
    "li",
    "m\u00fcller",
    "\u5f20\u4f1f",
    "jean-luc",
    "7of9",
    "x",
)
_LAST = (
    "silva",
    "o'brien",
    "smith",
    "ng",
    "\u0438\u0432\u0430\u043d\u043e\u0432",
    "de la cruz",
    "sm\u00eeth",
    "smit",
    "smithe",
)
_DOMAINS = ("a.com", "b.com", "example.com", "example.co", "sub.example.co", "b\u00fccher.example", "a-b.com", "ab.com")
_SEPARATORS = (".", "_", "-", "+", "", "..")


def addresses(count: int) -> Iterator[str]:
    """`count` different addresses; each drawn one is followed by its nearest relatives."""
    dice = random.Random(SEED)  # noqa: S311 - a repeatable choice of cases
    given: set[str] = set()
    number = 0
    while len(given) < count:
        number += 1
        first, last, domain = dice.choice(_FIRST), dice.choice(_LAST), dice.choice(_DOMAINS)
        tail = str(number) if dice.random() < 0.9 else "0" * 30 + str(number)
        stem = f"{first}{dice.choice(_SEPARATORS)}{last}{tail}"
        for raw in (*_relatives(stem, domain, dice), f"{'long' * 8}{stem}@{domain}"):
            email = parse_email(raw)
            if email not in given and len(given) < count:
                given.add(email)
                yield email


def _relatives(stem: str, domain: str, dice: random.Random) -> Iterator[str]:
    """The same name at two domains, a dot moved, a letter doubled, a tag added, an accent taken off."""
    cut = dice.randrange(1, len(stem))
    yield f"{stem}@{domain}"
    yield f"{stem}@{dice.choice(_DOMAINS)}"
    yield f"{stem[:cut]}.{stem[cut:]}@{domain}".replace(" .", ".").replace(". ", ".")
    yield f"{stem[:cut].rstrip()}{stem[cut - 1]}{stem[cut:].lstrip()}@{domain}"
    yield f"{stem}+{dice.randrange(100)}@{domain}"
    yield f"{stem}@{domain}".replace("\u00f1", "n").replace("\u00f6", "o").replace("\u00fc", "u")


def check(count: int) -> int:
    """How many different ids `count` different addresses have; raises on the first invalid one."""
    ids: set[str] = set()
    for email in addresses(count):
        instance_id = instance_id_for(parse_email(email))
        if not _VALID.fullmatch(instance_id) or instance_id != f"nb-{user_key_for(parse_email(email))}":
            raise AssertionError(f"{email!r} gave {instance_id!r}")
        ids.add(instance_id)
    return len(ids)


def test_twenty_thousand_addresses_have_as_many_valid_names():
    assert check(20_000) == 20_000


def test_the_generated_addresses_would_show_a_name_made_from_the_local_part():
    drawn = list(addresses(2_000))
    assert len({email.rpartition("@")[0] for email in drawn}) < 0.9 * len(drawn)
    assert len({re.sub(r"[^a-z0-9]", "", email.rpartition("@")[0]) for email in drawn}) < 0.7 * len(drawn)
