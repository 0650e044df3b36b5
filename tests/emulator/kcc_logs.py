"""Recorded request/response pairs of real APIs (`../shared/golden/kcc-http-logs`), replayed against the embedded cloud."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.emulator.data_kit import ID

FOLDER = Path(__file__).parents[2] / ".." / "shared" / "golden" / "kcc-http-logs"
_REQUEST = re.compile(r"^(?P<verb>[A-Z]+) https://(?P<host>[^/]+)(?P<path>/\S*)$")
_ANSWER = re.compile(r"^(?P<status>\d{3}) [A-Z]")


@dataclass(frozen=True)
class Exchange:
    verb: str
    host: str
    path: str
    query: dict[str, str]
    body: Any
    status: int
    answer: Any


def exchanges(file: str, **known: str) -> list[Exchange]:
    """All pairs of a log; `${projectId}` is ours, other placeholders are filled from `known`."""
    text = (FOLDER / file).read_text(encoding="utf-8")
    for name, value in {"projectId": ID, **known}.items():
        text = text.replace(f"${{{name}}}", value)
    return [_exchange(part.strip()) for part in text.split("\n---\n") if part.strip()]


def _exchange(text: str) -> Exchange:
    blocks = text.split("\n\n")
    first = _REQUEST.match(blocks[0].split("\n")[0])
    at = next(n for n, block in enumerate(blocks) if n and _ANSWER.match(block))
    answer = _ANSWER.match(blocks[at])
    assert first is not None
    assert answer is not None
    path, _, query = first["path"].partition("?")
    return Exchange(
        first["verb"],
        first["host"],
        path,
        dict(pair.split("=", 1) for pair in query.split("&") if pair),
        _json(blocks[1:at]),
        int(answer["status"]),
        _json(blocks[at + 1 :]),
    )


def _json(blocks: list[str]) -> Any:
    text = "\n\n".join(blocks).strip()
    return json.loads(text) if text else None
