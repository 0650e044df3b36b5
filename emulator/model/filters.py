"""The filters of lists, time series and subscriptions: one parser, and the comparisons of each service.

    either     = both { OR both }
    both       = term { AND term }        every service except Pub/Sub takes a space for AND
    term       = [NOT] ( "(" either ")" | comparison )

Each service has a parser of its own, which defines the comparisons. An invalid filter gives 400 INVALID_ARGUMENT.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from emulator.errors import ApiError

Predicate = Callable[[Mapping[str, Any]], bool]

MAX_FILTER_BYTES = 256
_ESCAPE = re.compile(
    r"\\(?:u(?P<u4>[0-9a-fA-F]{4})|U(?P<u8>[0-9a-fA-F]{8})|x(?P<hex>[0-9a-fA-F]{2})|(?P<oct>[0-7]{3})|(?P<char>.))",
    re.DOTALL,
)
_CONTROL = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


class Parser:
    """A recursive-descent parser of one filter; each service's subclass reads its comparisons."""

    word = r"[A-Za-z_][\w.\-]*"
    text = r'"(?:[^"\\]|\\.)*"(?=[\s),.=!]|$)'
    marks = r"!=|[=:(),.\-]"
    refusal = "Invalid filter: '{text}': {why}."
    reason: str | None = None
    spaces_join = True  # AND may be left out
    mixes = True  # AND and OR on one level need no parentheses: AND binds more tightly
    nests = True  # NOT and parentheses are allowed

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._is_flat = True  # terms joined by AND alone: each of them must hold
        self._tokens: list[tuple[str, str]] = []
        token = re.compile(rf"\s*(?:(?P<text>{self.text})|(?P<word>{self.word})|(?P<mark>{self.marks}))", re.DOTALL)
        position, end = 0, len(text.rstrip())
        while position < end:
            match = token.match(text, position)
            if match is None or match.lastgroup is None:
                raise self.refuse(f"unexpected character at {position}")
            self._tokens.append((match.lastgroup, match[match.lastgroup]))
            position = match.end()

    def parse(self) -> Predicate:
        """Return the predicate of the whole filter. Raise `ApiError` (400) for an invalid filter, as all methods that read tokens do."""
        predicate = self._either()
        if self._at < len(self._tokens):
            raise self.refuse(f"unexpected {self.peek()!r}")
        return predicate

    def comparison(self) -> Predicate:
        """Read a comparison, and return its predicate. Each subclass implements this method."""
        raise NotImplementedError

    def refuse(self, why: str) -> ApiError:
        """Return the error for this filter."""
        return ApiError("INVALID_ARGUMENT", self.refusal.format(text=self._text, why=why), reason=self.reason)

    def peek(self) -> str:
        """Return the next word or symbol, a quote for a quoted text, "" at the end."""
        kind, token = self._tokens[self._at] if self._at < len(self._tokens) else ("end", "")
        return '"' if kind == "text" else token

    def skips(self, *wanted: str) -> str:
        """Consume and return the next word or symbol if it is one of these, else return ""."""
        found = self.peek()
        if found not in wanted:
            return ""
        self._at += 1
        return found

    def take(self, *wanted: str) -> str:
        """Consume and return the next word or symbol, which must be one of these."""
        if self.peek() not in wanted:
            raise self.refuse(f"expected {' or '.join(wanted)}, found {self.peek() or 'the end'!r}")
        return self.skips(*wanted)

    def take_kind(self, kind: str) -> str:
        """Return the next token, which must be a `word` or a `text`."""
        if self._at >= len(self._tokens) or self._tokens[self._at][0] != kind:
            raise self.refuse(f"expected a {kind}, found {self.peek() or 'the end'!r}")
        self._at += 1
        return self._tokens[self._at - 1][1]

    def string(self) -> str:
        """Return the next quoted text without its quotes and escapes."""
        try:
            return _ESCAPE.sub(_unescape, self.take_kind("text")[1:-1])
        except (ValueError, OverflowError):
            raise self.refuse("an escape names no Unicode character") from None

    def _either(self) -> Predicate:
        parts, joined = [self._both()], False
        while self.skips("OR"):
            joined, self._is_flat = True, False
            parts.append(self._both())
        if joined and not self.mixes and any(len(part) > 1 for part in parts):
            raise self.refuse("AND and OR need parentheses when they are combined")
        return lambda row: any(all(term(row) for term in part) for part in parts)

    def _both(self) -> list[Predicate]:
        terms = [self._term()]
        while self.skips("AND") or (self.spaces_join and self.peek() not in {"", "OR", ")"}):
            terms.append(self._term())
        return terms

    def _term(self) -> Predicate:
        if self.nests and self.skips("NOT", "-"):
            self._is_flat = False
            inner = self._term()
            return lambda row: not inner(row)
        if self.nests and self.skips("("):
            self._is_flat = False
            inner = self._either()
            self.take(")")
            return inner
        return self.comparison()


def _unescape(match: re.Match[str]) -> str:
    code = match["u4"] or match["u8"] or match["hex"]
    if code is not None:
        return chr(int(code, 16))
    if match["oct"] is not None:
        return chr(int(match["oct"], 8))
    return _CONTROL.get(match["char"], match["char"])


class _Attributes(Parser):
    """The filter of Pub/Sub: `attributes:k`, `attributes.k = "v"`, `!=`, `hasPrefix(attributes.k, "p")`.

    A row is a message's attributes.
    """

    word = r"[A-Za-z0-9_][A-Za-z0-9_\-]*"
    refusal = "Invalid filter syntax (filter={text}): {why}."
    spaces_join = False
    mixes = False

    def comparison(self) -> Predicate:
        if self.skips("hasPrefix"):
            self.take("(")
            key = self._key(".")
            self.take(",")
            prefix = self.string()
            self.take(")")
            return lambda row: key in row and row[key].startswith(prefix)
        if self._after("attributes") == ":":
            present = self._key(":")
            return lambda row: present in row
        key = self._key(".")
        if self.take("=", "!=") == "=":
            value = self.string()
            return lambda row: row.get(key) == value
        other = self.string()
        return lambda row: row.get(key) != other

    def _after(self, word: str) -> str:
        following = self._tokens[self._at + 1][1] if self._at + 1 < len(self._tokens) else ""
        return following if self.peek() == word else ""

    def _key(self, mark: str) -> str:
        self.take("attributes")
        self.take(mark)
        return self.string() if self.peek() == '"' else self.take_kind("word")


def message_filter(text: str) -> Predicate:
    """Return the predicate on a message's attributes; an empty filter accepts all messages. Raise 400 for an invalid filter."""
    if not text.strip():
        return lambda _attributes: True
    if len(text.encode()) > MAX_FILTER_BYTES:
        raise ApiError("INVALID_ARGUMENT", f"Invalid filter: longer than {MAX_FILTER_BYTES} bytes.")
    return _Attributes(text).parse()


_SERIES_FIELD = re.compile(r"^(?:project|metric\.type|metric\.labels?\.\w+|resource\.type|resource\.labels?\.\w+)$")
_FUNCTIONS: dict[str, Callable[[str, list[str]], bool]] = {
    "one_of": lambda value, wanted: value in wanted,
    "starts_with": lambda value, wanted: value.startswith(wanted[0]),
    "ends_with": lambda value, wanted: value.endswith(wanted[0]),
    "has_substring": lambda value, wanted: wanted[0] in value,
}


class _Series(Parser):
    """The filter of Monitoring: `field = "v"`, `!=`, `:`, and functions such as `starts_with` as a value. A row maps field names to values."""

    refusal = 'Field filter had an invalid value of "{text}": {why}.'

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.metric_types: set[str] = set()
        self._instances: list[frozenset[str]] = []

    @property
    def instances(self) -> frozenset[str] | None:
        """The ids of the only VMs whose series can match; None if the filter names no ids, or only under NOT, OR or in parentheses."""
        return frozenset.intersection(*self._instances) if self._is_flat and self._instances else None

    def comparison(self) -> Predicate:
        name = self.take_kind("word").replace(".label.", ".labels.")
        if not _SERIES_FIELD.match(name):
            raise self.refuse(f"unknown field '{name}'")
        op, function = self.take("=", "!=", ":"), "one_of"
        if self.peek() == '"':
            wanted = [self.string()]
        else:
            function = self.take(*_FUNCTIONS)
            self.take("(")
            wanted = [self.string()]
            while self.skips(","):
                wanted.append(self.string())
            self.take(")")
        if name == "metric.type" and op == "=" and function == "one_of":
            self.metric_types |= set(wanted)
        if name == "resource.labels.instance_id" and op == "=" and function == "one_of":
            self._instances.append(frozenset(wanted))
        test = _FUNCTIONS["has_substring" if op == ":" else function]
        return lambda row: (name in row and test(row[name], wanted)) != (op == "!=")


class SeriesFilter(NamedTuple):
    """The filter of a time series query: the one metric type that it must name, and the predicate on a series.

    `instances` are the ids of the only VMs whose series can match, None if any VM can match.
    """

    metric_type: str
    matches: Predicate
    instances: frozenset[str] | None


def series_filter(text: str) -> SeriesFilter:
    """Return the parsed filter of a time series query. Raise 400 for an invalid filter, or if it does not name exactly one metric type."""
    if not text.strip():
        raise ApiError("INVALID_ARGUMENT", "Field filter is required and had no value.")
    parser = _Series(text)
    matches = parser.parse()
    if len(parser.metric_types) != 1:
        raise parser.refuse(
            'must specify a restriction on "metric.type" in the filter; see https://cloud.google.com/monitoring/api/v3/filters'
        )
    return SeriesFilter(parser.metric_types.pop(), matches, parser.instances)


_OPERATORS: dict[str, Callable[[str | None, str], bool]] = {
    "=": lambda held, asked: held == asked,
    "!=": lambda held, asked: held != asked,
    ":": lambda held, asked: held is not None and (asked == "*" or asked.lower() in held.lower()),
    "eq": lambda held, asked: held is not None and re.fullmatch(asked, held) is not None,
    "ne": lambda held, asked: held is None or re.fullmatch(asked, held) is None,
}
_COMPUTE_FIELDS = (
    "name",
    "id",
    "status",
    "description",
    "sourceDisk",
    "sourceDiskId",
    "zone",
    "snapshotType",
    "type",
    "labels.",
)


class _Compute(Parser):
    """The filter of Compute Engine: `=`, `!=`, `:`, and `eq` and `ne` with a regular expression for the whole value.

    A row is a resource.
    """

    word = r"""[^\s()=!:"']+"""
    refusal = "Invalid value for field 'filter': '{text}'. Invalid list filter expression: {why}."
    reason = "invalid"
    text = r""""(?:[^"\\]|\\.)*"|'[^']*'"""

    def comparison(self) -> Predicate:
        field = self.take_kind("word")
        if not _is_known(field, _COMPUTE_FIELDS):
            raise self.refuse(f"unknown field '{field}'")
        operator = self.take(*_OPERATORS)
        value = self.take_kind("word") if self.peek() != '"' else self.string()
        if operator in ("eq", "ne"):
            try:
                re.compile(value)
            except re.error as error:
                raise self.refuse(str(error)) from error
        compare = _OPERATORS[operator]
        return lambda row: compare(_compute_value(row, field), value)

    def string(self) -> str:
        """Return the next quoted text.

        Only the quote itself is escaped, because gcloud sends regular expressions with their own backslashes.
        """
        return self.take_kind("text")[1:-1].replace('\\"', '"')


def _compute_value(row: Mapping[str, Any], field: str) -> str | None:
    value = {**row, **labels_of(row)}.get(field)
    return None if value is None else str(value)


def resource_filter(text: str) -> Predicate:
    """Return the predicate on a disk or snapshot; an empty filter accepts all."""
    return _Compute(text).parse() if text.strip() else lambda _row: True


class _Fields(Parser):
    """The filter of `field = value`, where `*` is any value. A row is the fields by name.

    The clients of Dataproc also document comparisons of `create_time` and AIP-160's parentheses; the embedded cloud refuses
    them.
    """

    word = r"[\w.*][\w.*\-]*"
    text = r'"[^"]*"(?=\s|$)'
    nests = False

    def __init__(self, text: str, known: tuple[str, ...], *, alone: bool, either: bool) -> None:
        super().__init__(text)
        self._known = known
        self._alone = alone
        if not either and ("word", "OR") in self._tokens:
            raise self.refuse("OR is not known here")

    def comparison(self) -> Predicate:
        field = self.take_kind("word")
        if not _is_known(field, self._known):
            raise self.refuse(f"unknown field '{field}'")
        if self._alone and self.peek() != "=":
            return lambda row: field in row
        self.take("=")
        value = self.string() if self.peek() == '"' else self.take_kind("word")
        return lambda row: field in row and value in ("*", row[field], *row.get(f"{field} as", ()))


def _is_known(field: str, known: tuple[str, ...]) -> bool:
    return any(field != each and field.startswith(each) if each.endswith(".") else field == each for each in known)


def labels_of(row: Mapping[str, Any], key: str = "labels", field: str = "labels.") -> dict[str, str]:
    """Return a resource's labels as fields."""
    return {f"{field}{name}": value for name, value in row.get(key, {}).items()}


def fields_filter(
    text: str,
    known: tuple[str, ...],
    fields: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    *,
    alone: bool = False,
    either: bool = False,
) -> Predicate:
    """Return the predicate on a resource by its `fields`; an empty filter accepts all.

    `known` are the fields that may be named; `labels.` stands for any label. With `alone`, a field may appear without a
    value; it then only has to be present. With `either`, OR is supported, and AND binds more tightly.
    """
    if not text.strip():
        return lambda _row: True
    test = _Fields(text, known, alone=alone, either=either).parse()
    return lambda row: test(fields(row))
