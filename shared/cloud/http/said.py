"""The parsing of a failed answer, and the lookup of its meaning in the table of words (`shared.cloud.http.words`)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from msgspec import Struct, field

from shared.cloud.http.words import TABLE, Meaning, Row, Service

_NOT_FOUND = 404


class Said(Struct, frozen=True, kw_only=True):
    """An answer: `status` is the HTTP status (0 for an operation), `code` the google.rpc name, `text` the message and all texts of details.

    `facts` has the metadata of the details by key.
    """

    status: int = 0
    code: str = ""
    service: Service = Service.OTHER
    reasons: frozenset[str] = frozenset()
    text: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


class Found(Struct, frozen=True, kw_only=True):
    """The meaning of an answer, with the values that its row captured: plain names, never a URL or an address."""

    means: Meaning
    values: Mapping[str, str] = field(default_factory=dict)


def _admits(row: Row, said: Said) -> bool:
    """Return True if the answer has the status or code and the service of this row.

    The text of a 404 repeats the name of what is missing, and that name may contain any words: so only rows for 404
    count.
    """
    if (row.services and said.service not in row.services) or (row.operations and said.status):
        return False
    if not row.when:
        return said.status != _NOT_FOUND
    return said.status in row.when or said.code in row.when


def find(said: Said) -> Found:
    """Return the meaning of an answer by the table, with the values that its words name."""
    rows = [row for row in TABLE if _admits(row, said)]
    rounds: Iterator[Iterable[Row]] = iter(
        (
            (row for row in rows if row.reasons and not row.last and row.reasons & said.reasons),
            (row for row in rows if row.wording and _pattern(row.wording).search(said.text)),
            (row for row in rows if not row.wording and (row.reasons & said.reasons if row.last else not row.reasons)),
        )
    )
    row = next((row for each in rounds for row in each), None)
    if row is None:
        return Found(means=Meaning.UNKNOWN)
    return Found(means=row.means, values=_values(row.means, rows, said))


def zones_with_capacity(said: Said) -> tuple[str, ...]:
    """Return the zones that a stockout names as available, in Google's order; empty if it names none."""
    named = said.facts.get("zonesAvailable") or said.facts.get("zonesWithCapacity") or ""
    found = _ZONE.findall(named) or [zone for part in _OFFERED.findall(said.text) for zone in _ZONE.findall(part)]
    return tuple(dict.fromkeys(found))


def limit_of(said: Said) -> tuple[str, str]:
    """Return a quota's limit and its scope from the answer, such as `("0.0", "globally")`; empty texts if it has none."""
    worded = _LIMIT.search(said.text)
    if worded is not None:
        return worded["limit"].rstrip("."), worded["where"] or ""
    return said.facts.get("limit", ""), ""


_ZONE = re.compile(r"\b[a-z]+-[a-z]+\d+-[a-z]\b")
_OFFERED = re.compile(
    r"(?:request in the|zonesAvailable|zonesWithCapacity)((?:[^A-Za-z]{1,12}|value|zones?|and|or|[a-z]+-[a-z]+\d+-[a-z]\b){1,60})"
)
_LIMIT = re.compile(
    r"Limit: (?P<limit>[\d.]{1,20})(?: (?P<where>globally|in (?:region|zone) [\w\-]{1,40}))?", re.IGNORECASE
)


@cache
def _pattern(wording: str) -> re.Pattern[str]:
    return re.compile(wording, re.IGNORECASE | re.DOTALL)


def _values(means: Meaning, rows: Iterable[Row], said: Said) -> Mapping[str, str]:
    """Return the values that the first matching wording of this meaning captures.

    An answer that was found by its reason has a wording, too.
    """
    for row in rows:
        if row.means is means and row.wording:
            for match in _pattern(row.wording).finditer(said.text):
                named = {name.rstrip("2"): text for name, text in match.groupdict().items() if text}
                if named:
                    return named
    return {}


def texts_in(raw: Any) -> Iterator[str]:
    """Yield all texts of a JSON value, without types and URLs."""
    match raw:
        case str():
            if not raw.startswith(("http://", "https://", "type.googleapis.com/")):
                yield raw
        case dict():
            for value in raw.values():
                yield from texts_in(value)
        case list() | tuple():
            for value in raw:
                yield from texts_in(value)
        case _:
            pass


def reasons_in(raw: Any) -> Iterator[str]:
    """Yield the structured reasons of a JSON value: `reason`, codes of Compute Engine, types and subjects of violations."""
    match raw:
        case dict():
            for key, value in raw.items():
                if key in {"reason", "code", "type", "subject"} and isinstance(value, str):
                    yield value
                else:
                    yield from reasons_in(value)
        case list() | tuple():
            for value in raw:
                yield from reasons_in(value)
        case _:
            pass


def facts_in(raw: Any) -> Iterator[tuple[str, str]]:
    """Yield the metadata of a JSON value's details, key and text, and the parts of Compute Engine's `quotaInfo`."""
    match raw:
        case dict():
            for key, value in raw.items():
                if key in {"metadata", "metadatas", "quotaInfo"} and isinstance(value, dict):
                    yield from (
                        (name, str(each)) for name, each in value.items() if isinstance(each, str | int | float)
                    )
                else:
                    yield from facts_in(value)
        case list() | tuple():
            for value in raw:
                yield from facts_in(value)
        case _:
            pass
