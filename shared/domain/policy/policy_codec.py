"""The conversion of a policy to plain values and back: for `policy/current`, and for the settings that a deployment has checked.

`content_of` returns the part by which users are judged. That part has no project, bucket, endpoint or secret.
`with_content` puts such a content into a policy of this process, which keeps its own project, bucket and topics.

A policy that a release with other bounds accepted is converted without bounds. `msgspec.convert` always checks bounds
(`Meta(ge=…)`, patterns, lengths); `read_unbounded` checks only the types, and refuses unknown keys.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import time, timedelta, tzinfo
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct, ValidationError, convert, inspect
from msgspec.json import Decoder
from msgspec.structs import replace

from shared.domain.people.domains import People
from shared.domain.people.sources import Source
from shared.domain.plan.guard_settings import GuardSettings
from shared.domain.plan.plan import Policy
from shared.domain.things.catalog import Catalog, assignment_content
from shared.domain.things.notebook import Network
from shared.domain.things.structs import to_dict
from shared.domain.things.times import zone_of

T = TypeVar("T")
# Raise this number when a content means something else to older programs. A program refuses a key that it does not know.
VERSION = 1
_DROPPED = frozenset({"cpu_busy_at"})  # of `idle`: until 2026-11-29 the share of all cores; `cores_busy_at` since


class UnknownContentError(ValueError):
    """The error of a policy's content that this program does not understand, usually because a newer program wrote it."""


def content_of(policy: Policy) -> dict[str, Any]:
    """Return the part of a policy by which users are judged, as plain JSON values."""
    kept = {
        "version": VERSION,
        "catalog": to_dict(policy.catalog)
        | {"assignments": [assignment_content(a) for a in policy.catalog.assignments]},
        "zones": policy.zones,
        "network": to_dict(policy.network),
        "retention": policy.retention,
        "snapshot_retention": policy.snapshot_retention,
        "personal_data": policy.personal_data,
        "people": to_dict(policy.people),
        "sources": {name: to_dict(source) for name, source in policy.sources.items()},
        "guard": to_dict(policy.guard),
    }
    made: dict[str, Any] = json.loads(json.dumps(kept, default=plain))
    for source in made["sources"].values():
        del source["topic"]  # the topic of a source belongs to the deployment: messages arrive there
    return made


def digest_of(content: Mapping[str, Any]) -> str:
    """Return 16 hex digits of SHA-256 over the content, independent of the order of its keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def shape_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of the content with only the parts that describe a notebook: the profiles and the network."""
    catalog = {
        "profiles": content["catalog"]["profiles"],
        "assignments": [],
        "default_profile": None,
        "masters": {},
        "environments": {},
    }
    return {"version": content["version"], "catalog": catalog, "network": content["network"]}


def policy_digest(policy: Policy) -> str:
    """Return the digest of a policy's content."""
    return digest_of(content_of(policy))


def with_content(own: Policy, content: Mapping[str, Any]) -> Policy:
    """Return the process's own policy with the given content.

    Raise `UnknownContentError` if this program does not understand the content. A source that is in the content but not in
    this deployment gets an empty topic, so it receives no messages.
    """
    try:
        known = content_of(own)
        if content["version"] != VERSION or content.keys() - known.keys():
            raise UnknownContentError(f"version {content['version']!r} with {', '.join(sorted(content))}")
        topics = {name: source.topic for name, source in own.sources.items()}
        sources = {
            name: {**raw, "topic": topics.get(name, "")}
            for name, raw in content.get("sources", known["sources"]).items()
        }
        # The content of an older program lacks keys that were added later.
        said = read_plain({**known, **content, "sources": sources, "catalog": _catalog(content["catalog"])}, _Content)
        kept = {name: getattr(said, name) for name in _Content.__struct_fields__ if name != "version"}
        # This process's context ends with its own subnetwork (`Settings.policy`).
        context = own.template_context.removesuffix(own.network.subnet) + said.network.subnet
        return replace(own, **kept, template_context=context)
    except UnknownContentError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnknownContentError(f"{type(error).__name__}: {error}") from error


def _catalog(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the catalogue of a content without the obsolete keys that only earlier versions wrote."""
    profiles = {
        name: {**raw, "idle": {key: value for key, value in raw["idle"].items() if key not in _DROPPED}}
        if "idle" in raw
        else raw
        for name, raw in content["profiles"].items()
    }
    return {**content, "profiles": profiles}


def plain(value: object) -> float | str | list[int]:
    """Return a plain value for a value that JSON cannot express; raise `TypeError` for an unknown type. Use as the `default` of `json.dumps`."""
    match value:
        case timedelta():
            return value.total_seconds()
        case time():
            return value.isoformat()
        case tzinfo():
            return str(value)  # of a ZoneInfo its name
        case frozenset():
            return sorted(value)
        case _:
            raise TypeError(f"{type(value).__name__} cannot be kept")


def read_plain(raw: object, kind: type[T]) -> T:
    """Return plain values, as `plain` made them, as a value of type `kind`.

    Raise `ValueError` or `TypeError` for any other input, and `ValueError` for an unknown key.

    A value outside the bounds of its type is accepted, because an earlier release with other bounds may have written
    it.
    """
    try:
        return convert(raw, kind, strict=False, dec_hook=_from_plain)  # not strict: a duration is a number of seconds
    except ValidationError:
        return read_unbounded(raw, kind, _from_plain)


def _from_plain(kind: type, raw: Any) -> object:
    if kind is tzinfo:
        return zone_of(raw)
    if kind is Path:
        return Path(raw)
    raise NotImplementedError(kind)


class _Content(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The stored part of a policy, with the topics of this deployment."""

    version: int
    catalog: Catalog
    zones: tuple[str, ...]
    network: Network
    retention: timedelta
    snapshot_retention: timedelta
    personal_data: timedelta
    people: People
    sources: Mapping[str, Source]
    guard: GuardSettings


# msgspec must learn the types now: if two threads learn them at once, the process ends (docs/traps.md).
Decoder(_Content, dec_hook=_from_plain)


_PLAIN: Mapping[type, type] = {
    inspect.StrType: str,
    inspect.IntType: int,
    inspect.FloatType: float,
    inspect.BoolType: bool,
    inspect.TimeType: time,
    inspect.TimeDeltaType: timedelta,
}
_MANY: Mapping[type, Callable[[Any], Any]] = {
    inspect.ListType: list,
    inspect.VarTupleType: tuple,
    inspect.FrozenSetType: frozenset,
}


def read_unbounded(raw: object, kind: type[T], hook: Callable[[type, Any], Any]) -> T:
    """Return plain values as a value of type `kind`, without a check of its bounds (`Meta`).

    Types are checked, and unknown keys refused. `hook` converts the types that msgspec does not know. Raise `ValueError` or
    `TypeError` for values of other types.
    """
    found: T = _read(raw, inspect.type_info(kind), hook)
    return found


def _read(raw: Any, kind: inspect.Type, hook: Callable[[type, Any], Any]) -> Any:
    match kind:
        case inspect.Metadata(type=inner):
            return _read(raw, inner, hook)
        case inspect.StructType(cls=made, fields=fields):
            known = {field.encode_name: field for field in fields}
            unknown = _mapping(raw).keys() - known.keys()
            if unknown:
                raise ValueError(f"unknown keys: {', '.join(sorted(unknown))}")
            return made(**{known[key].name: _read(value, known[key].type, hook) for key, value in raw.items()})
        case inspect.DictType(key_type=key_type, value_type=value_type):
            return {_read(key, key_type, hook): _read(value, value_type, hook) for key, value in _mapping(raw).items()}
        case (
            inspect.ListType(item_type=item)
            | inspect.VarTupleType(item_type=item)
            | inspect.FrozenSetType(item_type=item)
        ):
            return _MANY[type(kind)](_read(each, item, hook) for each in convert(raw, list[Any]))
        case inspect.UnionType(types=types):
            if raw is None and any(isinstance(each, inspect.NoneType) for each in types):
                return None
            return _read(raw, next(each for each in types if not isinstance(each, inspect.NoneType)), hook)
        case inspect.AnyType():
            return raw
        case inspect.EnumType(cls=words):
            return words(raw)
        case inspect.CustomType(cls=made):
            return hook(made, raw)
        case _:
            return convert(raw, _PLAIN[type(kind)], strict=False)


def _mapping(raw: Any) -> Mapping[str, Any]:
    return convert(raw, dict[str, Any])
