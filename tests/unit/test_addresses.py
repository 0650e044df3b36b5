"""Whose address is it? Ten thousand spellings, judged by Unicode's own tables as fontTools and confusable_homoglyphs bring them.

The oracle is TR 39 section 5.2 (resolved script sets) over Script_Extensions; the product judges by the names of characters. Where the
two differ, the product may only be the stricter one, and not for the letters that people's names are written with.
"""

from __future__ import annotations

import random
import sys
import unicodedata

import idna
import pytest
from confusable_homoglyphs import confusables
from fontTools import unicodedata as tables
from idna import idnadata

from shared.domain.people.domains import People
from shared.domain.things.errors import InvalidMessageError
from shared.messages.addresses import forms_of_cut, parse_address, parse_person, script_of

PEOPLE = People(
    domains=("example.com", "münchen.example", "sub.example.co"),
    alias_domains={"example.org": "example.com", "alias.münchen.example": "münchen.example"},
)
NAMES = (
    "ana.silva", "ñandú.o'neil", "jürgen.groß", "zoë-müller_2", "søren.ærø", "łukasz.żółć", "đặng.thị", "иван.петров", "юлія.їжак",
    "γιώργος.παπάς", "山田.太郎", "さくら.ー", "김.민준", "陳.小明", "יעל.כהן", "محمد.علي", "अनिल.कुमार", "สมชาย.ใจ", "\u0563\u0578\u057c.\u0570\u0561\u0575", "გია",
)  # fmt: skip
SPELLINGS = 10_000
# TR 39, table 1a: a Han letter goes with the writing systems that use it.
_AUGMENTED = {
    "Hani": {"Hanb", "Jpan", "Kore"},
    "Hira": {"Jpan"},
    "Kana": {"Jpan"},
    "Hang": {"Kore"},
    "Bopo": {"Hanb"},
}
_COMMON = {"Zyyy", "Zinh"}
# Younger tables bind each accent to some scripts. No two letters look alike by an accent alone, so they may stand on any letter.
_ACCENTS = {chr(code) for code in range(0x300, 0x363)}


def is_highly_restrictive(text: str) -> bool:
    """TR 39: one script, or one of the writing systems with Han letters, with Latin letters beside it."""
    return bool(_resolved(text)) or bool(
        _resolved("".join(c for c in text if "Latn" not in tables.script_extension(c)))
        & {"Jpan", "Hanb", "Kore", "everything"}
    )


def _resolved(text: str) -> set[str]:
    """The scripts that every character of the text goes with; "everything" while none is bound to a script."""
    found: set[str] | None = None
    for c in text:
        scripts = set(tables.script_extension(c))
        if scripts & _COMMON or c in _ACCENTS:
            continue
        for script in tuple(scripts):
            scripts |= _AUGMENTED.get(script, set())
        found = scripts if found is None else found & scripts
    return {"everything"} if found is None else found


def canonical(spelling: str) -> str | None:
    try:
        return parse_address(spelling, PEOPLE)
    except InvalidMessageError:
        return None


def test_ten_thousand_ways_to_write_an_address_are_one_address() -> None:
    chance = random.Random(39)  # noqa: S311 - the same spellings each time, nothing is kept secret
    domains = {
        "example.com": ("example.com", "example.org"),
        "münchen.example": (
            "münchen.example",
            "xn--mnchen-3ya.example",
            "alias.münchen.example",
            "mu\u0308nchen.example",
        ),
        "sub.example.co": ("sub.example.co",),
    }
    tried = 0
    while tried < SPELLINGS:
        name, domain = chance.choice(NAMES), chance.choice(tuple(domains))
        spelling = f"{name}@{chance.choice(domains[domain])}"
        form = chance.choice(("NFC", "NFD"))
        spelling = unicodedata.normalize(form, spelling)
        # Only letters that come back: ß has no capital of its own in str.upper(), and a capital ẞ is another letter.
        spelling = "".join(
            c.upper() if len(c.upper()) == 1 and c.upper().lower() == c and chance.random() < 0.4 else c
            for c in spelling
        )
        spelling = chance.choice(("", " ", "\t", "\n")) + spelling + chance.choice(("", " ", "\r\n"))
        wanted = f"{name}@{domain}"
        assert canonical(spelling) == wanted, ascii(spelling)
        assert canonical(wanted) == wanted
        assert forms_of_cut(spelling, PEOPLE)[0] == wanted, ascii(spelling)
        tried += 1


def test_a_letter_that_only_looks_alike_is_refused_or_is_a_whole_word_of_its_script() -> None:
    chance = random.Random(39)  # noqa: S311 - see above
    refused = accepted = 0
    for _ in range(SPELLINGS):
        name = chance.choice(NAMES)
        at = chance.randrange(len(name))
        like = confusables.is_confusable(name[at], greedy=True)
        if not like:
            continue
        other = chance.choice(like[0]["homoglyphs"])["c"]
        spelling = f"{name[:at]}{other}{name[at + 1 :]}@example.com"
        found = canonical(spelling)
        if found is None:
            refused += 1
            continue
        accepted += 1
        local = found.rpartition("@")[0]
        assert is_highly_restrictive(local), ascii(spelling)
        assert unicodedata.normalize("NFKC", local) == local, ascii(spelling)
        assert canonical(found) == found, ascii(spelling)
    assert refused > SPELLINGS // 3
    assert accepted > 0  # the two apostrophes: two addresses, each of one script


def test_whatever_is_accepted_is_a_fixed_point_and_of_one_script() -> None:
    """Letters of all that IDNA 2008 allows, thrown together: from one script, and from two."""
    chance = random.Random(5892)  # noqa: S311 - see above
    allowed = [
        chr(code)
        for packed in idnadata.codepoint_classes["PVALID"]
        for code in range(packed >> 32, packed & 0xFFFFFFFF)
    ]
    by_script: dict[str, list[str]] = {}
    for c in allowed:
        if unicodedata.category(c)[0] in "LMN":
            by_script.setdefault(tables.script(c), []).append(c)
    scripts = sorted(by_script)
    accepted = refused = 0
    for _ in range(SPELLINGS):
        chosen = chance.sample(scripts, chance.choice((1, 1, 2)))
        local = "".join(chance.choice(by_script[chance.choice(chosen)]) for _ in range(chance.randint(1, 8)))
        found = canonical(f"{local}@example.com")
        if found is None:
            refused += 1
            continue
        accepted += 1
        assert is_highly_restrictive(found.rpartition("@")[0]), ascii(local)
        assert canonical(found) == found, ascii(local)
    assert accepted > SPELLINGS // 50
    assert refused > SPELLINGS // 5


def test_no_letter_digit_or_mark_of_unicode_counts_for_a_script_that_it_is_not_of() -> None:
    """All of them, not a sample. "" goes with every script, "?" is refused."""
    codes = {tables.script_name(code): code for code in ("Latn", "Grek", "Cyrl", "Armn", "Hebr", "Arab", "Thaa", "Deva", "Beng", "Guru",
        "Gujr", "Orya", "Taml", "Telu", "Knda", "Mlym", "Sinh", "Thai", "Laoo", "Tibt", "Mymr", "Geor", "Ethi", "Khmr", "Hang", "Hira",
        "Kana", "Bopo", "Hani")}  # fmt: skip
    wrong, judged = [], 0
    for c in map(chr, range(sys.maxunicode + 1)):
        if unicodedata.category(c)[0] not in "LM" and unicodedata.category(c) != "Nd":
            continue
        if c in _ACCENTS or unicodedata.normalize("NFKC", c) != c or (script := script_of(c)) == "?":
            continue
        judged += 1
        scripts = set(tables.script_extension(c))
        if not scripts <= _COMMON and (not script or codes[script] not in scripts):
            wrong.append(f"{ord(c):04x} counts as {script or 'any'}, is of {scripts}")
    assert wrong == []
    assert judged > 90_000  # Han letters alone are more


@pytest.mark.parametrize("name", NAMES)
def test_the_oracle_lets_real_names_pass(name: str) -> None:
    assert is_highly_restrictive(name)
    assert parse_person(f"{name}@example.com", PEOPLE) == f"{name}@example.com"


def test_domains_are_those_that_idna_2008_knows() -> None:
    """Labels of random allowed letters: what the package encodes and decodes again, and nothing else."""
    chance = random.Random(2008)  # noqa: S311 - see above
    allowed = [
        chr(code)
        for packed in idnadata.codepoint_classes["PVALID"]
        for code in range(packed >> 32, packed & 0xFFFFFFFF)
    ]
    latin = [c for c in allowed if tables.script(c) == "Latn"]
    taken = 0
    for _ in range(2000):
        label = "".join(
            chance.choice(latin if chance.random() < 0.8 else allowed) for _ in range(chance.randint(1, 10))
        )
        found = canonical(f"ana@{label}.example")
        try:
            encoded = idna.encode(label).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            assert found is None, ascii(label)
            continue
        if found is not None:
            taken += 1
            assert canonical(f"ana@{encoded}.example") == found
            assert is_highly_restrictive(found.rpartition("@")[2].partition(".")[0])
    assert taken > 100
