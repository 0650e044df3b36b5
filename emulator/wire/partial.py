"""The partial response that `fields` asks for: `nextPageToken,jobs(state,configuration/labels)`."""

from __future__ import annotations

import re
from typing import Any

from emulator.errors import ApiError

_TOKEN = re.compile(r"[A-Za-z_][\w]*|[(),/*]")


def partial(answer: dict[str, Any], selector: str) -> dict[str, Any]:
    """Return the selected part of an answer; all of it without a selector.

    Raises `ApiError` (400) for an invalid selector.
    """
    if not selector:
        return answer
    tokens = _TOKEN.findall(selector)
    if "".join(tokens) != selector:
        raise _invalid(selector)
    wanted = _fields(tokens, selector)
    if tokens:
        raise _invalid(selector)
    found = _cut(answer, wanted)
    return found if isinstance(found, dict) else {}


def _fields(tokens: list[str], selector: str) -> dict[str, Any]:
    """Consume a list of fields from the tokens. Return a mapping from name to nested fields, {} for a whole field."""
    found: dict[str, Any] = {}
    while True:
        if not tokens or tokens[0] in "(),/":
            raise _invalid(selector)
        path, inner = [tokens.pop(0)], {}
        while tokens[:1] == ["/"]:
            tokens.pop(0)
            if not tokens:
                raise _invalid(selector)
            path.append(tokens.pop(0))
        if tokens[:1] == ["("]:
            tokens.pop(0)
            inner = _fields(tokens, selector)
            if tokens[:1] != [")"]:
                raise _invalid(selector)
            tokens.pop(0)
        for name in reversed(path[1:]):
            inner = {name: inner}
        found[path[0]] = inner
        if tokens[:1] != [","]:
            return found
        tokens.pop(0)


def _cut(value: Any, wanted: dict[str, Any]) -> Any:
    if not wanted or "*" in wanted:
        return value
    if isinstance(value, list):
        return [_cut(each, wanted) for each in value]
    if not isinstance(value, dict):
        return value
    return {name: _cut(value[name], inner) for name, inner in wanted.items() if name in value}


def _invalid(selector: str) -> ApiError:
    return ApiError("INVALID_ARGUMENT", f"Invalid field selection {selector}", reason="invalidParameter")
