"""E-mail addresses: one canonical form for grants, parsed strictly; every plausible form for cuts, parsed leniently.

Canonical: NFC, lower case, the domain in Unicode by IDNA 2008, an alias domain replaced by its main domain. A grant is
refused for white space, invisible and compatibility characters (full-width letters), and for a mix of scripts that Unicode TR 39
"Highly Restrictive" does not allow. It is also refused for tagged addresses, service accounts and other organizations' domains.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from shared.domain.people.domains import People
from shared.domain.things.errors import InvalidMessageError
from shared.domain.things.identity import MAX_EMAIL_BYTES, UserEmail, parse_email
from shared.domain.things.late import late

MAX_LOCAL_BYTES = 64  # RFC 5321 4.5.3.1.1
MAX_DOMAIN = 253
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_NAMED = late(lambda: re.compile(r"(?P<name>[^<>]*)<(?P<address>[^<>]+)>"))
# Bounded, so that a long text without an @ is scanned once, not once for each letter.
_ADDRESS = late(lambda: re.compile(r"[^\s<>()\[\]{},;:\"?|/\\=@]{1,64}@[^\s<>()\[\]{},;:\"?|/\\=@]{1,253}"))
_IN_LOCAL = frozenset("._-'&+\u2019")
# Invisible letters and marks (Default_Ignorable_Code_Point beside the format characters).
_IGNORABLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0\u180b\u180c\u180d\u180f") | {
    chr(code) for code in (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))
}
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# The first words of character names, by script; TR 31's recommended scripts. All other scripts are refused.
_SCRIPTS = {
    "LATIN": "Latin", "GREEK": "Greek", "CYRILLIC": "Cyrillic", "ARMENIAN": "Armenian", "HEBREW": "Hebrew", "ARABIC": "Arabic",
    "THAANA": "Thaana", "DEVANAGARI": "Devanagari", "BENGALI": "Bengali", "GURMUKHI": "Gurmukhi", "GUJARATI": "Gujarati",
    "ORIYA": "Oriya", "TAMIL": "Tamil", "TELUGU": "Telugu", "KANNADA": "Kannada", "MALAYALAM": "Malayalam", "SINHALA": "Sinhala",
    "THAI": "Thai", "LAO": "Lao", "TIBETAN": "Tibetan", "MYANMAR": "Myanmar", "GEORGIAN": "Georgian", "ETHIOPIC": "Ethiopic",
    "KHMER": "Khmer", "HANGUL": "Hangul", "HIRAGANA": "Hiragana", "KATAKANA": "Katakana", "BOPOMOFO": "Bopomofo", "CJK": "Han", "IDEOGRAPHIC": "Han",
}  # fmt: skip
_TOGETHER = (
    frozenset({"Latin", "Han", "Hiragana", "Katakana"}),
    frozenset({"Latin", "Han", "Bopomofo"}),
    frozenset({"Latin", "Han", "Hangul"}),
)
_ACCENTS = range(0x300, 0x370)  # accents combine with the letters of any script
SERVICE_ACCOUNTS = ".gserviceaccount.com"


def parse_address(raw: object, people: People) -> UserEmail:
    """Return the canonical form of any address. Raise `InvalidMessageError`, which names the fault, for an invalid address."""
    if not isinstance(raw, str):
        raise bad_address(f"is {type(raw).__name__}, not text")
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", raw.strip()).lower())
    _check_characters(text)
    if len(text.encode("utf-8", "replace")) > MAX_EMAIL_BYTES:
        raise bad_address(f"is longer than {MAX_EMAIL_BYTES} bytes")
    local, at, domain = text.rpartition("@")
    if not at or not local:
        raise bad_address("has no name before an @")
    _check_local(local)
    return UserEmail(f"{local}@{people.main_domain(canonical_domain(domain))}")


def parse_person(raw: object, people: People) -> UserEmail:
    """Return the canonical form of the address of a user to whom access may be given.

    Raise `InvalidMessageError` for any other text, for a service account, for a tagged address, and for an unknown domain.
    """
    email = parse_address(raw, people)
    local, _, domain = email.rpartition("@")
    if is_service_account(email):
        raise bad_address("is a service account's, not a person's")
    if "+" in local:
        raise bad_address("has a tag after a +. That is another name of a mailbox, not an account: remove +…")
    if not people.knows_domain(domain):
        known = ", ".join(people.domains[:8])
        raise bad_address(f"has the domain {domain}, which is not one of the organization's (people.domains: {known})")
    return email


def other_forms(raw: object, email: UserEmail) -> tuple[UserEmail, ...]:
    """Return the other forms of the address under which earlier versions may have stored the user."""
    return tuple(form for form in dict.fromkeys(_older(raw)) if form != email)


def forms_of_cut(raw: object, people: People) -> tuple[UserEmail, ...]:
    """Return every form under which a leaver's address may be known, the most likely first.

    Raise `InvalidMessageError` if no form can be read, or if a display name holds another address. The text is parsed
    leniently: a leaver must not keep access because of a display name, `mailto:`, invisible or full-width characters, an
    alias domain or a plus tag.
    """
    found = dict.fromkeys(_plausible(raw, people))
    if not found:
        parse_address(raw, people)  # raises the error that names the fault
        raise bad_address("cannot be read")
    tagless = {form: None for form in map(_without_tag, found) if form is not None}
    return tuple(found | tagless)


def addresses_in(text: str) -> list[str]:
    """Return the parts of a text that look like addresses: hints at the users whom a message may be about."""
    plain = unicodedata.normalize("NFKC", text)
    return [found.strip("'.") for found in _ADDRESS.findall(plain)]


def is_service_account(email: str) -> bool:
    """Return True for the address of a service account, Google's own agents included."""
    return email.endswith((SERVICE_ACCOUNTS, "@gserviceaccount.com"))


def bad_address(why: str) -> InvalidMessageError:
    """Return the error for an invalid address. `why` completes "The address …" and must not contain the address."""
    return InvalidMessageError(
        user_message=f"The address {why}. A valid one looks like ana.silva@example.com.", detail=f"user address {why}"
    )


def _plausible(raw: object, people: People) -> Iterator[UserEmail]:
    if not isinstance(raw, str):
        return
    text = _bare(raw)
    for candidate in dict.fromkeys([raw, text, _cleaned(text)]):
        try:
            yield parse_address(candidate, people)
        except InvalidMessageError:
            continue
    yield from _older(text)
    for form in _older(_cleaned(text)):
        local, _, domain = form.rpartition("@")
        yield form
        yield UserEmail(f"{local}@{people.main_domain(domain)}")


def _older(raw: object) -> Iterator[UserEmail]:
    """Yield the forms of an address in earlier versions: with the domain as written, and with the domain in ASCII."""
    try:
        form = parse_email(raw)
    except InvalidMessageError:
        return
    yield form
    local, _, domain = form.rpartition("@")
    try:
        yield UserEmail(f"{local}@{ascii_domain(domain)}")
    except InvalidMessageError:
        return


def _bare(text: str) -> str:
    """Return the address in `Name <address>` or `mailto:address`. Raise `InvalidMessageError` if the name itself holds an address."""
    named = _NAMED.fullmatch(text.strip())
    if named is not None:
        if "@" in named["name"] or "\uff20" in named["name"]:
            raise bad_address("follows a name that is itself an address; write the address alone")
        text = named["address"]
    text = text.strip().strip("\"'<>").strip()
    prefix, _, rest = text.partition(":")
    if prefix.lower() not in {"mailto", "smtp"}:
        return text
    return rest.partition("?")[0] if prefix.lower() == "mailto" else rest


def _cleaned(text: str) -> str:
    """Return the text without invisible characters, white space and a final dot, and with compatibility characters replaced."""
    plain = unicodedata.normalize("NFKC", text)
    kept = "".join(
        c for c in plain if unicodedata.category(c) not in _HIDDEN and c not in _IGNORABLE and not c.isspace()
    )
    return kept.replace("\u3002", ".").rstrip(".")


def _without_tag(email: UserEmail) -> UserEmail | None:
    local, _, domain = email.rpartition("@")
    name, plus, _ = local.partition("+")
    return UserEmail(f"{name}@{domain}") if plus and name else None


def _check_characters(text: str) -> None:
    for c in text:
        if c.isspace():
            raise bad_address("holds white space")
        if unicodedata.category(c) in _HIDDEN or c in _IGNORABLE:
            raise bad_address("holds control or invisible characters")
    if unicodedata.normalize("NFKC", text) != text:
        raise bad_address("holds full-width or other compatibility characters")


def _check_local(local: str) -> None:
    if len(local.encode()) > MAX_LOCAL_BYTES:
        raise bad_address(f"has a name of more than {MAX_LOCAL_BYTES} bytes before the @")
    for c in local:
        if not (c in _IN_LOCAL or unicodedata.category(c)[0] in "LM" or unicodedata.category(c) == "Nd"):
            raise bad_address(f"holds {unicodedata.name(c, 'a character').lower()} in the name before the @")
    if local.startswith((".", *_marks(local[:1]))) or local.endswith(".") or ".." in local:
        raise bad_address("has a dot in the wrong place")
    check_scripts(local)


def _marks(first: str) -> tuple[str, ...]:
    """Return the character if it is a combining mark, which must not come first; otherwise nothing."""
    return (first,) if first and unicodedata.category(first).startswith("M") else ()


def check_scripts(text: str) -> None:
    """Raise `InvalidMessageError` for letters of an unusual script, or a mix of scripts (TR 39, Highly Restrictive)."""
    if text.isascii():
        return
    scripts = {script for c in text if (script := script_of(c))}
    if "?" in scripts:
        raise bad_address("holds letters of a script that is not in common use")
    if len(scripts) > 1 and not any(scripts <= together for together in _TOGETHER):
        raise bad_address(f"mixes letters of {' and '.join(sorted(scripts))}")


def script_of(c: str) -> str:
    """Return the script of a character: "" if it may occur with any script (digits, marks, dots), "?" if it is unusual."""
    category = unicodedata.category(c)
    if c.isascii():
        return "Latin" if c.isalpha() else ""
    if category[0] not in "LM" and category != "Nd":
        return ""
    first, _, rest = unicodedata.name(c, "").partition(" ")
    if first in {"COMBINING", "EXTENDED"}:  # accents and letters above others; digits of other languages
        first = rest.partition(" ")[0]
        if ord(c) in _ACCENTS and first not in _SCRIPTS:
            return ""
    return _SCRIPTS.get(first.partition("-")[0], "?")


def canonical_domain(domain: str) -> str:
    """Return the domain in Unicode. Raise `InvalidMessageError` if it cannot be a host name, or if a label mixes scripts."""
    ascii_name = ascii_domain(domain)
    if "xn--" not in ascii_name:
        return ascii_name
    import idna  # noqa: PLC0415 - only for a domain that is not ASCII: a cold start need not load its tables

    try:
        shown = idna.decode(ascii_name)
    except (idna.IDNAError, UnicodeError) as error:
        raise bad_address("has no valid domain after the @") from error
    for label in shown.split("."):
        check_scripts(label)
    return unicodedata.normalize("NFC", shown)


def ascii_domain(domain: str) -> str:
    """Return the domain in ASCII; other letters are encoded by IDNA 2008. Raise `InvalidMessageError` if it is no host name."""
    name = domain
    if not domain.isascii() or "xn--" in domain:
        import idna  # noqa: PLC0415 - see above

        try:
            name = idna.encode(domain).decode("ascii")
        except (idna.IDNAError, UnicodeError) as error:
            raise bad_address("has no valid domain after the @") from error
    labels = name.split(".")
    if (
        len(labels) < 2  # noqa: PLR2004 - name.tld
        or len(name) > MAX_DOMAIN
        or not all(_LABEL.fullmatch(label) for label in labels)
        or any(label[2:4] == "--" and not label.startswith("xn--") for label in labels)
        or labels[-1].isdigit()
    ):
        raise bad_address("has no valid domain after the @")
    return name
