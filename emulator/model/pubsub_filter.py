"""Subscription filters: `attributes.type = "joined" AND NOT attributes:test`, parsed once, applied to every message.

The grammar is the documented one: `attributes:k`, `attributes.k = "v"`, `!=`, `hasPrefix(attributes.k, "p")`, `NOT` or `-`,
`AND`, `OR`, parentheses. AND and OR mixed on one level without parentheses are refused, as the service does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NoReturn

from emulator.errors import ApiError

Attributes = Mapping[str, str]
Predicate = Callable[[Attributes], bool]

MAX_FILTER_BYTES = 256
_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*")|(?P<word>[A-Za-z0-9_][A-Za-z0-9_\-]*)|(?P<symbol>!=|[().,:=\-]))""",
    re.DOTALL,
)
_ESCAPE = re.compile(
    r"\\(?:u(?P<u4>[0-9a-fA-F]{4})|U(?P<u8>[0-9a-fA-F]{8})|x(?P<hex>[0-9a-fA-F]{2})|(?P<oct>[0-7]{3})|(?P<char>.))",
    re.DOTALL,
)
_CONTROL = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def parse_filter(text: str) -> Predicate:
    """Return the predicate that `text` means; an empty filter lets everything through. Raises INVALID_ARGUMENT."""
    if not text.strip():
        return lambda _attributes: True
    if len(text.encode()) > MAX_FILTER_BYTES:
        raise ApiError("INVALID_ARGUMENT", f"Invalid filter: longer than {MAX_FILTER_BYTES} bytes.")
    return _Parser(text).parse()


class _Parser:
    """Recursive descent over the tokens of one filter."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._tokenize()
        self._at = 0

    def _tokenize(self) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        position = 0
        end = len(self._text.rstrip())
        while position < end:
            match = _TOKEN.match(self._text, position)
            if match is None or match.lastgroup is None:
                self._fail(f"unexpected character at {position}")
            found.append((match.lastgroup, match[match.lastgroup]))
            position = match.end()
        return found

    def _fail(self, why: str) -> NoReturn:
        raise ApiError("INVALID_ARGUMENT", f"Invalid filter syntax (filter={self._text}): {why}.")

    def _peek(self) -> str:
        """Return the next token when it is a word or symbol; a string literal never looks like one."""
        if self._at >= len(self._tokens):
            return ""
        kind, token = self._tokens[self._at]
        return token if kind != "string" else '"'

    def _take(self, wanted: str) -> None:
        if self._peek() != wanted:
            self._fail(f"expected {wanted!r}, found {self._peek() or 'the end'!r}")
        self._at += 1

    def parse(self) -> Predicate:
        """Return the whole filter."""
        predicate = self._expression()
        if self._at != len(self._tokens):
            self._fail(f"unexpected {self._peek()!r}")
        return predicate

    def _expression(self) -> Predicate:
        terms = [self._term()]
        joined_by = self._peek()
        while self._peek() in {"AND", "OR"}:
            if self._peek() != joined_by:
                self._fail("AND and OR need parentheses when they are combined")
            self._at += 1
            terms.append(self._term())
        if len(terms) == 1:
            return terms[0]
        if joined_by == "AND":
            return lambda attributes: all(term(attributes) for term in terms)
        return lambda attributes: any(term(attributes) for term in terms)

    def _term(self) -> Predicate:
        match self._peek():
            case "NOT" | "-":
                self._at += 1
                inner = self._term()
                return lambda attributes: not inner(attributes)
            case "(":
                self._at += 1
                predicate = self._expression()
                self._take(")")
                return predicate
            case "hasPrefix":
                return self._has_prefix()
            case _:
                return self._comparison()

    def _has_prefix(self) -> Predicate:
        self._take("hasPrefix")
        self._take("(")
        self._take("attributes")
        self._take(".")
        key = self._key()
        self._take(",")
        prefix = self._string()
        self._take(")")
        return lambda attributes: key in attributes and attributes[key].startswith(prefix)

    def _comparison(self) -> Predicate:
        self._take("attributes")
        if self._peek() == ":":
            self._at += 1
            present = self._key()
            return lambda attributes: present in attributes
        self._take(".")
        key = self._key()
        operator = self._peek()
        if operator not in {"=", "!="}:
            self._fail(f"expected '=' or '!=', found {operator or 'the end'!r}")
        self._at += 1
        value = self._string()
        if operator == "=":
            return lambda attributes: attributes.get(key) == value
        return lambda attributes: attributes.get(key) != value

    def _key(self) -> str:
        if self._at < len(self._tokens) and self._tokens[self._at][0] == "word":
            self._at += 1
            return self._tokens[self._at - 1][1]
        return self._string()

    def _string(self) -> str:
        if self._at >= len(self._tokens) or self._tokens[self._at][0] != "string":
            self._fail(f"expected a string literal, found {self._peek() or 'the end'!r}")
        self._at += 1
        try:
            return _ESCAPE.sub(_unescape, self._tokens[self._at - 1][1][1:-1])
        except (ValueError, OverflowError):
            self._fail("an escape names no Unicode character")


def _unescape(match: re.Match[str]) -> str:
    code = match["u4"] or match["u8"] or match["hex"]
    if code is not None:
        return chr(int(code, 16))
    if match["oct"] is not None:
        return chr(int(match["oct"], 8))
    return _CONTROL.get(match["char"], match["char"])
