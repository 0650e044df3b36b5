"""The filter language of Cloud Monitoring, as far as time series are chosen by it: a small recursive descent parser.

filter  = term { AND term | OR term }        AND binds closer than OR
term    = [NOT] ( "(" filter ")" | field op value )
op      = "=" | "!=" | ":"
value   = text | one_of(text, ...) | starts_with(text) | ends_with(text) | has_substring(text)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from emulator.errors import ApiError

_TOKEN = re.compile(r'\s*(?:(?P<text>"(?:[^"\\]|\\.)*")|(?P<op>!=|=|:)|(?P<mark>[(),])|(?P<word>[A-Za-z_][\w.\-]*))')
_FIELD = re.compile(r"^(?:project|metric\.type|metric\.labels?\.\w+|resource\.type|resource\.labels?\.\w+)$")
_FUNCTIONS: dict[str, Callable[[str, list[str]], bool]] = {
    "one_of": lambda value, wanted: value in wanted,
    "starts_with": lambda value, wanted: value.startswith(wanted[0]),
    "ends_with": lambda value, wanted: value.endswith(wanted[0]),
    "has_substring": lambda value, wanted: wanted[0] in value,
}

Predicate = Callable[[Mapping[str, str]], bool]


@dataclass(frozen=True, slots=True)
class Filter:
    """A parsed filter: the metric type that it must name, and whether a series (its fields by name) is meant."""

    metric_type: str
    matches: Predicate


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(self._read(text))
        self._at = 0
        self.metric_types: list[str] = []

    def _refuse(self, why: str) -> ApiError:
        return ApiError("INVALID_ARGUMENT", f'Field filter had an invalid value of "{self._text}": {why}')

    def _read(self, text: str) -> Iterator[tuple[str, str]]:
        at = 0
        while text[at:].strip():
            found = _TOKEN.match(text, at)
            if found is None or found.lastgroup is None:
                raise self._refuse(f"could not parse the filter at position {at}.")
            yield found.lastgroup, found[found.lastgroup]
            at = found.end()

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "")

    def _take(self, kind: str, wanted: str | None = None) -> str:
        found, text = self._peek()
        if found != kind or (wanted is not None and text != wanted):
            raise self._refuse(f"expected {wanted or kind} but found '{text}'.")
        self._at += 1
        return text

    def whole(self) -> Predicate:
        result = self._either()
        if self._peek()[0] != "end":
            raise self._refuse(f"unexpected '{self._peek()[1]}'.")
        return result

    def _either(self) -> Predicate:
        parts = [self._both()]
        while self._peek() == ("word", "OR"):
            self._at += 1
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else lambda fields: any(part(fields) for part in parts)

    def _both(self) -> Predicate:
        parts = [self._term()]
        while self._peek()[0] == "word" and self._peek()[1] != "OR":
            if self._peek()[1] == "AND":
                self._at += 1
            parts.append(self._term())
        return parts[0] if len(parts) == 1 else lambda fields: all(part(fields) for part in parts)

    def _term(self) -> Predicate:
        if self._peek() == ("word", "NOT"):
            self._at += 1
            inner = self._term()
            return lambda fields: not inner(fields)
        if self._peek() == ("mark", "("):
            self._at += 1
            inner = self._either()
            self._take("mark", ")")
            return inner
        return self._comparison()

    def _comparison(self) -> Predicate:
        name = self._take("word")
        if not _FIELD.match(name):
            raise self._refuse(f"unknown field '{name}'.")
        name = name.replace(".label.", ".labels.")
        op = self._take("op")
        function, wanted = self._value()
        if op == ":":
            function = "has_substring"
        if name == "metric.type" and op == "=" and function == "one_of":
            self.metric_types += wanted
        test = _FUNCTIONS[function]
        return lambda fields: (name in fields and test(fields[name], wanted)) != (op == "!=")

    def _value(self) -> tuple[str, list[str]]:
        if self._peek()[0] == "text":
            return "one_of", [self._string()]
        name = self._take("word")
        if name not in _FUNCTIONS:
            raise self._refuse(f"unknown function '{name}'; a value is quoted.")
        self._take("mark", "(")
        values = [self._string()]
        while self._peek() == ("mark", ","):
            self._at += 1
            values.append(self._string())
        self._take("mark", ")")
        return name, values

    def _string(self) -> str:
        return re.sub(r"\\(.)", r"\1", self._take("text")[1:-1])


def parse_filter(text: str) -> Filter:
    """Return the filter of a time series query; 400 for bad syntax, an unknown field, or when it does not name one metric type."""
    parser = _Parser(text)
    if not text.strip():
        raise ApiError("INVALID_ARGUMENT", "Field filter is required and had no value.")
    matches = parser.whole()
    if len(set(parser.metric_types)) != 1:
        raise ApiError(
            "INVALID_ARGUMENT",
            f'Field filter had an invalid value of "{text}": must specify a restriction on "metric.type" in the filter; '
            "see https://cloud.google.com/monitoring/api/v3/filters.",
        )
    return Filter(parser.metric_types[0], matches)
