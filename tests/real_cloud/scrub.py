"""Personal parts of answers and reports, replaced by placeholders of the same shape.

The same value has the same placeholder in all files of a run, in the order in which the values were met. Region, zone, times, states and
texts stay. `leaks` finds what a file must not hold; nothing is written that it finds something in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

_ADDRESS = re.compile(r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)+")
_UUID = re.compile(r"(?<![0-9a-fA-F])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![0-9a-fA-F])")
_OPERATION = re.compile(r"(?<=operation-)\d{13}-[0-9a-f]{13}-[0-9a-f]{8}-[0-9a-f]{8}")
_HEX = re.compile(r"(?<![0-9a-fA-F])(?:[0-9a-f]{40}|[0-9a-f]{16})(?![0-9a-fA-F])")
_NUMERIC_ID = re.compile(r"(?<!\d)\d{17,21}(?!\d)")  # of a VM, a disk, a person
_IPV4 = re.compile(r"(?<![\w.])(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?:25[0-5]|2[0-4]\d|1?\d?\d)){3}(?![\w.]*\d)")
_IPV6 = re.compile(
    r"(?<![\w:.])(?:(?:[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}|(?=[0-9a-fA-F:]*::)(?:[0-9a-fA-F]{1,4})?(?::{1,2}[0-9a-fA-F]{1,4})+(?:::)?)(?![\w:])"
)
_TOKEN = re.compile(r"\bya29\.[\w.-]+")
_SSH = re.compile(r"\b(?:ssh-(?:rsa|ed25519)|ecdsa-[\w-]+) [A-Za-z0-9+/=]+(?: [\w.@+-]+)?")
_SERVICE = "gserviceaccount.com"
# Our placeholders, so that a scrubbed text stays as it is.
_OURS = re.compile(
    r"(?:person|account)-\d+@(?:example\.com|project-0000\..*|gcp-sa-.*)|0{12}-compute@.*|service-0{12}@.*|192\.0\.2\.\d+|2001:db8::[0-9a-f]+"
    r"|0{12,}[0-9a-f]{1,4}|0{36,}[0-9a-f]{1,4}|0{8}(?:-0{4}){3}-0{8}\d{4}|10{12,}\d{1,4}|\d{13}-0{9}[0-9a-f]{4}-0{8}-0{8}|token-\d+"
)
PROJECT, NUMBER, RUN = "project-0000", "000000000000", "run0000"
_SHORTEST = 4  # letters of a name that is looked for outside of an address: a shorter one is too often another word


class Scrubber:
    """The placeholders of one run. `names` are texts that are personal wherever they stand (the caller's own name, a domain)."""

    def __init__(self, *, project: str, number: str, run: str, addresses: Iterable[str] = ()) -> None:
        anywhere = {project: PROJECT, run: RUN} | ({number: NUMBER} if number else {})
        words: dict[str, str] = {}
        for address in addresses:
            if not address.endswith(_SERVICE):
                name, _, domain = address.partition("@")
                # OS Login makes a user's name of an address: ana_silva_example_com
                forms = {
                    name: "person",
                    domain: "example.com",
                    _under(address): "person_example_com",
                    _under(name): "person",
                }
                words |= {text: put for text, put in forms.items() if len(text) >= _SHORTEST}
        found = [(re.escape(text), put) for text, put in _longest_first(anywhere)]
        found += [(rf"(?<![A-Za-z0-9]){re.escape(text)}(?![A-Za-z0-9])", put) for text, put in _longest_first(words)]
        self._fixed = [(re.compile(pattern, re.IGNORECASE), put) for pattern, put in found]
        self._given: dict[str, dict[str, str]] = {}

    def text(self, text: str) -> str:
        """Return the text with all personal parts replaced."""
        for pattern, kind, make in _KINDS:
            text = pattern.sub(lambda found, kind=kind, make=make: self._put(kind, found[0], make), text)  # type: ignore[misc]
        for pattern, put in self._fixed:
            text = pattern.sub(put, text)
        return text

    def leaks(self, text: str) -> list[str]:
        """Return what is still personal in a scrubbed text."""
        found = [match[0] for pattern, _, _ in _KINDS for match in pattern.finditer(text)]
        found = [each for each in found if not _OURS.fullmatch(each)]
        return found + [match[0] for pattern, _ in self._fixed for match in pattern.finditer(text)]

    def _put(self, kind: str, found: str, make: Callable[[int, str], str]) -> str:
        if _OURS.fullmatch(found):
            return found
        given = self._given.setdefault(kind, {})
        return given.setdefault(found, make(len(given) + 1, found))


def _under(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "_", text)


def _longest_first(texts: dict[str, str]) -> list[tuple[str, str]]:
    return sorted(texts.items(), key=lambda pair: -len(pair[0]))


def _address(number: int, found: str) -> str:
    """Return an address of the same kind: Google's own agents stay recognisable, as they say who acted."""
    name, _, domain = found.partition("@")
    if not domain.endswith(_SERVICE):
        return f"person-{number}@example.com"
    if re.fullmatch(r"service-\d+", name):
        return f"service-{NUMBER}@{domain}"
    if name.endswith("-compute") and domain.startswith("developer."):
        return f"{NUMBER}-compute@{domain}"
    return (
        f"account-{number}@{domain}" if domain.startswith("gcp-sa-") else f"account-{number}@{PROJECT}.iam.{_SERVICE}"
    )


# Order matters: an address before the numbers in it, a whole id before a part of it.
_KINDS: tuple[tuple[re.Pattern[str], str, Callable[[int, str], str]], ...] = (
    (_TOKEN, "token", lambda number, _: f"token-{number}"),
    (_SSH, "ssh", lambda number, _: f"ssh-key-{number}"),
    (_ADDRESS, "address", _address),
    (_UUID, "uuid", lambda number, _: f"00000000-0000-0000-0000-{number:012d}"),
    (_OPERATION, "operation", lambda number, found: f"{found[:13]}-{number:013x}-00000000-00000000"),
    (_HEX, "hex", lambda number, found: f"{number:0{len(found)}x}"),
    (_NUMERIC_ID, "id", lambda number, found: f"1{number:0{len(found) - 1}d}"),
    (_IPV4, "ip", lambda number, _: f"192.0.2.{number}"),
    (_IPV6, "ipv6", lambda number, _: f"2001:db8::{number:x}"),
)
