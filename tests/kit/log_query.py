"""Cloud Logging as far as log-based metrics use it: entries made of the product's lines, filters, extractors. Strict: what it does
not know is an error, never "no match".

Filters (docs: Logging query language): comparisons joined by AND and OR with parentheses, each `path="text"`, `path=("a" OR "b")` or
`path=true`; `=` compares whole texts and takes no notice of case. Extractors (docs: LogMetric): `EXTRACT(path)` and `REGEXP_EXTRACT(path, "one (group)")`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

# Which service a component's lines come from; gen2 functions log as Cloud Run revisions.
SERVICES = {
    "lifecycle": "benchkeeper-lifecycle",
    "tick": "benchkeeper-tick",
    "dead_letter": "benchkeeper-dead-letter",
    "notify": "benchkeeper-notify",
}
_LABELS = "logging.googleapis.com/labels"
_TRACE = "logging.googleapis.com/trace"
_TOKEN = re.compile(r'\s*(?:(?P<text>"(?:[^"\\]|\\.)*")|(?P<mark>!=|>=|<=|=~|!~|[=<>():,-])|(?P<word>[A-Za-z_][\w.]*))')
_EXTRACT = re.compile(r"EXTRACT\(([\w.]+)\)")
_REGEXP = re.compile(r'REGEXP_EXTRACT\(([\w.]+), "((?:[^"\\]|\\.)*)"\)')


class QueryError(Exception):
    """A filter or an extractor that this reader does not know."""


def entry_of(line: str) -> dict[str, Any]:
    """The LogEntry that Cloud Logging makes of one line of a function's output."""
    payload = json.loads(line)
    labels = payload.pop(_LABELS)
    entry = {
        "severity": payload.pop("severity"),
        "labels": labels,
        "resource": {
            "type": "cloud_run_revision",
            "labels": {"service_name": SERVICES[labels["component"]], "project_id": "p", "location": "l"},
        },
        "jsonPayload": payload,
    }
    if _TRACE in payload:
        entry["trace"] = payload.pop(_TRACE)
    return entry


def matches(query: str, entry: dict[str, Any]) -> bool:
    """True when the entry is in the filter. AND binds closer than OR."""
    tokens = _tokens(query)
    if not tokens:
        raise QueryError("an empty filter")
    found = _either(tokens, entry)
    if tokens:
        raise QueryError(f"more than a filter: {tokens[:3]}")
    return found


def _either(tokens: list[tuple[str, str]], entry: dict[str, Any]) -> bool:
    found = _all(tokens, entry)
    while tokens[:1] == [("word", "OR")]:
        tokens.pop(0)
        found = _all(tokens, entry) or found
    return found


def _all(tokens: list[tuple[str, str]], entry: dict[str, Any]) -> bool:
    found = _one(tokens, entry)
    while tokens[:1] == [("word", "AND")]:
        tokens.pop(0)
        found = _one(tokens, entry) and found
    return found


def _one(tokens: list[tuple[str, str]], entry: dict[str, Any]) -> bool:
    if tokens[:1] == [("mark", "(")]:
        tokens.pop(0)
        found = _either(tokens, entry)
        if _take(tokens, "mark") != ")":
            raise QueryError(f"no ) before {tokens[:3]}")
        return found
    path, texts = _comparison(tokens)
    wanted = {text.casefold() for text in texts}
    return any(_as_text(value).casefold() in wanted for value in _found(path, entry))


def _as_text(value: object) -> str:
    return json.dumps(value) if isinstance(value, bool) else str(value)


def comparisons(query: str) -> list[tuple[str, tuple[str, ...]]]:
    """A filter's comparisons: (path, the texts of which it is to be one)."""
    tokens = _tokens(query)
    found = []
    while tokens:
        found.append(_comparison(tokens))
        if tokens and (_take(tokens, "word") != "AND" or not tokens):
            raise QueryError(f"comparisons are joined by AND: {query!r}")
    if not found:
        raise QueryError("an empty filter")
    return found


def _comparison(tokens: list[tuple[str, str]]) -> tuple[str, tuple[str, ...]]:
    path, mark = _take(tokens, "word"), _take(tokens, "mark")
    if mark != "=":
        raise QueryError(f"{mark} after {path}")
    if tokens[:1] in ([("word", "true")], [("word", "false")]):
        return path, (tokens.pop(0)[1],)
    if tokens[:1] != [("mark", "(")]:
        return path, (json.loads(_take(tokens, "text")),)
    tokens.pop(0)
    texts = [_take(tokens, "text")]
    while tokens[:1] == [("word", "OR")]:
        tokens.pop(0)
        texts.append(_take(tokens, "text"))
    if _take(tokens, "mark") != ")":
        raise QueryError(f"no ) after the texts of {path}")
    return path, tuple(json.loads(text) for text in texts)


def _tokens(query: str) -> list[tuple[str, str]]:
    found, at = [], 0
    while query[at:].strip():
        match = _TOKEN.match(query, at)
        if match is None:
            raise QueryError(f"cannot be read from here: {query[at:]!r}")
        found.append((str(match.lastgroup), match[str(match.lastgroup)]))
        at = match.end()
    return found


def _take(tokens: list[tuple[str, str]], kind: str) -> str:
    if not tokens or tokens[0][0] != kind:
        raise QueryError(f"wanted a {kind}, not {tokens[:1]}")
    return tokens.pop(0)[1]


def _found(path: str, entry: dict[str, Any]) -> list[Any]:
    """The values at a path; a comparison with a list holds if one of its elements does (docs: Logging query language)."""
    values: list[Any] = [entry]
    for part in path.split("."):
        inside = [each for value in values for each in (value if isinstance(value, list) else [value])]
        values = [each[part] for each in inside if isinstance(each, dict) and part in each]
    return values


def extract(expression: str, entry: dict[str, Any]) -> str | None:
    """What an extractor takes out of an entry, None when nothing is there."""
    plain = _EXTRACT.fullmatch(expression)
    pattern = _REGEXP.fullmatch(expression)
    if plain is None and pattern is None:
        raise QueryError(f"no extractor: {expression!r}")
    path = (plain or pattern)[1]
    values = _found(path, entry)
    if not values or isinstance(values[0], dict | list | None):
        return None
    text = values[0] if isinstance(values[0], str) else json.dumps(values[0])
    if pattern is None:
        return text
    compiled = re.compile(json.loads(f'"{pattern[2]}"'))
    if compiled.groups != 1:
        raise QueryError(f"exactly one group is needed: {expression!r}")
    match = compiled.search(text)
    return match[1] if match is not None else None


@dataclass(frozen=True, slots=True)
class Point:
    """One thing that a metric counted (value 1) or measured."""

    labels: tuple[tuple[str, str], ...]
    value: float

    def __getitem__(self, label: str) -> str:
        return dict(self.labels)[label]


def measure(metric: dict[str, Any], lines: Iterable[str]) -> list[Point]:
    """What a log-based metric makes of lines. A value that cannot be had or is no number is left out, as in Cloud Logging."""
    found = []
    for line in lines:
        entry = entry_of(line)
        if not matches(metric["filter"], entry):
            continue
        labels = {key: extract(each, entry) or "" for key, each in metric.get("labelExtractors", {}).items()}
        value = "1"
        if metric["metricDescriptor"]["valueType"] == "DISTRIBUTION":
            value = extract(metric["valueExtractor"], entry) or ""
        try:
            found.append(Point(tuple(sorted(labels.items())), float(value)))
        except ValueError:
            continue
    return found
