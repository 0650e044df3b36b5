"""A policy as plain values and back: the content of `policy/current`, and the settings that a deployment has checked.

`content_of` gives what judges people and nothing else: no project, bucket or endpoint, and no secret, for there is none in it.
`with_content` puts such a content into a policy of this process, which keeps its own wiring: project, bucket, topics.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from shared.domain import catalog as domain
from shared.domain.guard_settings import GuardSettings
from shared.domain.notebook import Network
from shared.domain.people import People
from shared.domain.plan import Policy
from shared.domain.sources import Joiners, May, Shape, Source
from shared.domain.structs import to_dict

# Raise it when a content of this program means something else to older ones. A key that a program does not know is refused.
VERSION = 1


class UnknownContentError(ValueError):
    """The content is of a program that this one does not understand: a newer one, as a rule."""


def content_of(policy: Policy) -> dict[str, Any]:
    """Return the plain values of what judges people."""
    kept = {
        "version": VERSION,
        "catalog": to_dict(policy.catalog),
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
        del source["topic"]  # which topic a source has is the deployment's: messages arrive there
    return made


def digest_of(content: Mapping[str, Any]) -> str:
    """Return 16 hex digits of SHA-256 over the content, whatever the order of its keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def shape_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a content that says what a notebook should be, as a content by itself."""
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
    """Return the process's own policy with another content. Raise `UnknownContentError` if this program cannot judge by it.

    A source that only the content has keeps no topic of this deployment, so nothing arrives for it.
    """
    try:
        known = content_of(own)
        if content["version"] != VERSION or content.keys() - known.keys():
            raise UnknownContentError(f"version {content['version']!r} with {', '.join(sorted(content))}")
        content = {**known, **content}  # an older program's content lacks what was added since
        network = Network(**content["network"])
        topics = {name: source.topic for name, source in own.sources.items()}
        sources = {
            name: source_from({**raw, "topic": topics.get(name, "")}) for name, raw in content["sources"].items()
        }
        return replace(
            own,
            catalog=catalog_from(content["catalog"]),
            zones=tuple(content["zones"]),
            network=network,
            # The own one ends with the own subnetwork (`Settings.policy`).
            template_context=own.template_context.removesuffix(own.network.subnet) + network.subnet,
            retention=timedelta(seconds=content["retention"]),
            snapshot_retention=timedelta(seconds=content["snapshot_retention"]),
            personal_data=timedelta(seconds=content["personal_data"]),
            people=people_from(content["people"]),
            sources=sources,
            guard=guard_from(content["guard"]),
        )
    except UnknownContentError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnknownContentError(f"{type(error).__name__}: {error}") from error


def people_from(raw: Mapping[str, Any]) -> People:
    """Return who is one of the people, of plain values."""
    return People(**{**raw, "domains": tuple(raw["domains"])})


def guard_from(raw: Mapping[str, Any]) -> GuardSettings:
    """Return the guard's settings of their plain values."""
    times = {name: timedelta(seconds=raw[name]) for name in ("approval_lapses", "wait_alone")}
    patience = None if raw["patience"] is None else timedelta(seconds=raw["patience"])
    return GuardSettings(**{**raw, **times, "patience": patience})


def plain(value: object) -> float | str | list[int]:
    """Return what JSON has no form for as a plain value; the `default` of `json.dumps`."""
    match value:
        case timedelta():
            return value.total_seconds()
        case time():
            return value.isoformat()
        case ZoneInfo():
            return value.key
        case frozenset():
            return sorted(value)
        case _:
            raise TypeError(f"{type(value).__name__} cannot be kept")


def catalog_from(raw: Mapping[str, Any]) -> domain.Catalog:
    """Return the catalog of its plain values."""
    return domain.Catalog(
        profiles={name: _profile(profile) for name, profile in raw["profiles"].items()},
        assignments=tuple(domain.Assignment(**each) for each in raw["assignments"]),
        default_profile=raw["default_profile"],
        masters={name: domain.MasterTemplate(**master) for name, master in raw["masters"].items()},
        environments={name: domain.Environment(**each) for name, each in raw["environments"].items()},
    )


def source_from(raw: Mapping[str, Any]) -> Source:
    """Return the source of its plain values."""

    def names(field: str) -> frozenset[str] | None:
        return None if raw[field] is None else frozenset(raw[field])

    return Source(
        name=raw["name"],
        topic=raw["topic"],
        shapes=frozenset(Shape(each) for each in raw["shapes"]),
        may_state=frozenset(May(each) for each in raw["may_state"]),
        profiles=names("profiles"),
        domains=names("domains"),
        joiners=Joiners(raw["joiners"]),
        aliases=raw["aliases"],
    )


def _profile(raw: dict[str, Any]) -> domain.Profile:
    idle = raw["idle"]
    return domain.Profile(
        **{
            **raw,
            "image": domain.VmImage(**raw["image"]),
            "boot_disk": domain.Disk(**raw["boot_disk"]),
            "data_disk": domain.Disk(**raw["data_disk"]),
            "accelerator": domain.Accelerator(**raw["accelerator"]) if raw["accelerator"] else None,
            "shielded": domain.ShieldedVm(**raw["shielded"]),
            "idle": domain.IdleSettings(
                **{**idle, **{name: timedelta(seconds=idle[name]) for name in ("timeout", "max_blind", "max_keep_on")}}
            ),
            "identity": domain.Identity(raw["identity"]),
            "tags": tuple(raw["tags"]),
            "templates": tuple(raw["templates"]),
            "session_templates": tuple(raw["session_templates"]),
            "spark": domain.SparkSettings(
                **{**raw["spark"], "identity": domain.ClusterIdentity(raw["spark"]["identity"])}
            ),
            "disruption": domain.Disruption(raw["disruption"]),
            "window": _window(raw["window"]) if raw["window"] else None,
        }
    )


def _window(raw: dict[str, Any]) -> domain.Window:
    return domain.Window(
        days=frozenset(raw["days"]),
        start=time.fromisoformat(raw["start"]),
        length=timedelta(seconds=raw["length"]),
        zone=ZoneInfo(raw["zone"]),
    )
