"""The conversion of facts to JSON and back."""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType

from msgspec import convert

from shared.domain.people.facts import TIMELINES, Facts
from shared.domain.people.statements import (
    Force,
    Statement,
    Value,
)


def to_json(facts: Facts) -> dict[str, object]:
    """Return all timelines in JSON types, for the record. Fields that later versions added are left out if they are empty."""
    return {name: [_statement_to_json(s) for s in timeline] for name, timeline in sorted(facts.timelines.items())}


def _statement_to_json(s: Statement) -> dict[str, object]:
    raw: dict[str, object] = {
        "event_id": s.event_id,
        "occurred_at": s.occurred_at.isoformat(),
        "effective_at": s.effective_at.isoformat(),
        "value": list(s.value) if isinstance(s.value, tuple) else s.value,
        "withdraws": s.withdraws,
    }
    if s.source:
        raw["source"] = s.source
    if s.says:
        raw["says"] = s.says
    if s.published_at is not None:
        raw["published_at"] = s.published_at.isoformat()
    if s.claimed_at is not None:
        raw["claimed_at"] = s.claimed_at.isoformat()
    if s.explicit:
        raw["explicit"] = True
    if s.undated:
        raw["undated"] = True
    if s.force is not Force.SAYS:
        raw["force"] = s.force.value
    return raw


def from_json(raw: object, forgotten: Iterable[object] = ()) -> Facts:
    """Return the facts that `to_json` wrote, with the given digests of forgotten statements. Raise `ValueError` for other input."""
    return Facts(MappingProxyType(convert(raw, TIMELINES)), tuple(map(str, forgotten)))


def is_sourced(facts: Facts) -> bool:
    """Return True if the facts use fields that earlier versions cannot read: sources, forces, or forgotten statements."""
    return bool(facts.forgotten) or any(
        s.source or s.force is not Force.SAYS for timeline in facts.timelines.values() for s in timeline
    )


def parse_value(raw: object) -> Value:
    """Return a JSON value as a fact's value: scalars stay, a list becomes a tuple of texts, any other value becomes its text."""
    match raw:
        case None | bool() | int() | float() | str():
            return raw
        case list() | tuple():
            return tuple(str(item) for item in raw)
        case _:
            return repr(raw)
