"""Settings that were checked before: a cold start need not import the checker for files that a deployment has checked.

`python -m shared.settings [ENV]` checks everything and writes `config/checked.<env>.json`: the settings as plain values, and a
digest over every file they came from and over the code that checks. Where anything differs, the file counts for nothing and the
full check is done. It is made for a deployment and never committed; leaving it out costs a fifth of a second a cold start.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from datetime import time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from shared.domain import catalog as domain
from shared.domain.notebook import Network
from shared.domain.people import People
from shared.domain.sources import Joiners, May, Shape, Source

if TYPE_CHECKING:
    from shared.settings import Settings

_SHARED = Path(__file__).resolve().parents[1]
# What decides whether settings are right and what they become.
_CODE = (
    "settings/*.py",
    "yaml_lines.py",
    "faults.py",
    "domain/catalog.py",
    "domain/identity.py",
    "domain/sources.py",
    "domain/people.py",
)


def file_of(folder: Path, env: str) -> Path:
    """Where the checked settings of an environment are kept."""
    return folder / f"checked.{env}.json"


def digest_of(folder: Path, env: str) -> str:
    """Changes with every file that the settings come from, and with the code that reads them."""
    paths = [folder / f"settings.{env}.yaml", folder / "profiles.yaml"]
    paths += [path for path in (folder / "sources.yaml",) if path.exists()]
    paths += [*sorted((folder / "templates").glob("*.yaml"))]
    paths += [path for pattern in _CODE for path in sorted(_SHARED.glob(pattern))]
    total = hashlib.sha256()
    for path in paths:
        raw = path.read_bytes()
        total.update(f"{path.name} {len(raw)}\n".encode() + raw)
    return total.hexdigest()


def write(settings: Settings) -> Path:
    """Keep these settings, which were just checked."""
    values = asdict(settings)
    del values["config_dir"], values["env"], values["iap_audience"], values["move_logs_until"]
    path = file_of(settings.config_dir, settings.env)
    made = {"digest": digest_of(settings.config_dir, settings.env), "settings": values}
    path.write_text(json.dumps(made, default=_plain, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return path


def read(folder: Path, env: str) -> dict[str, Any] | None:
    """The fields of `Settings` but `env` and `config_dir`; None when nothing is kept or something changed since."""
    try:
        kept = json.loads(file_of(folder, env).read_text(encoding="utf-8"))
        if kept["digest"] != digest_of(folder, env):
            return None
        values: dict[str, Any] = kept["settings"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return {
        **values,
        "zones": tuple(values["zones"]),
        "network": Network(**values["network"]),
        "retention": timedelta(seconds=values["retention"]),
        "snapshot_retention": timedelta(seconds=values["snapshot_retention"]),
        "personal_data": timedelta(seconds=values["personal_data"]),
        "catalog": _catalog(values["catalog"]),
        "sources": {name: _source(each) for name, each in values["sources"].items()},
        "people": People(**{**values["people"], "domains": tuple(values["people"]["domains"])}),
    }


def _plain(value: object) -> float | str | list[int]:
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


def _catalog(raw: dict[str, Any]) -> domain.Catalog:
    return domain.Catalog(
        profiles={name: _profile(profile) for name, profile in raw["profiles"].items()},
        assignments=tuple(domain.Assignment(**each) for each in raw["assignments"]),
        default_profile=raw["default_profile"],
        masters={name: domain.MasterTemplate(**master) for name, master in raw["masters"].items()},
        environments={name: domain.Environment(**each) for name, each in raw["environments"].items()},
    )


def _source(raw: dict[str, Any]) -> Source:
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
                timeout=timedelta(seconds=idle["timeout"]),
                max_blind=timedelta(seconds=idle["max_blind"]),
                cpu_busy_at=idle["cpu_busy_at"],
                max_keep_on=timedelta(seconds=idle["max_keep_on"]),
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
