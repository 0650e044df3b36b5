"""Settings that were checked before: a cold start need not import the checker for files that a deployment has checked.

`python -m shared.settings [ENV]` checks everything and writes `config/checked.<env>.json`: the settings as plain values, and a
digest over every file they came from and over the code that checks. Where anything differs, the file counts for nothing and the
full check is done. It is made for a deployment and never committed; leaving it out costs a fifth of a second a cold start.
"""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.domain.notebook import Network
from shared.domain.policy_codec import catalog_from, guard_from, people_from, plain, source_from
from shared.domain.structs import to_dict

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
    "domain/guard_settings.py",
    "domain/policy_codec.py",
)


def file_of(folder: Path, env: str) -> Path:
    """Where the checked settings of an environment are kept."""
    return folder / f"checked.{env}.json"


def digest_of(folder: Path, env: str) -> str:
    """Return what changes with every file that the settings come from, and with the code that reads them."""
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
    values = to_dict(settings)
    del values["config_dir"], values["env"], values["iap_audience"], values["move_logs_until"]
    del values["deployed_at"], values["deployed_by"]
    path = file_of(settings.config_dir, settings.env)
    made = {"digest": digest_of(settings.config_dir, settings.env), "settings": values}
    path.write_text(json.dumps(made, default=plain, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return path


def read(folder: Path, env: str) -> dict[str, Any] | None:
    """Return the fields of `Settings` but `env` and `config_dir`; None when nothing is kept or something changed since."""
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
        "catalog": catalog_from(values["catalog"]),
        "sources": {name: source_from(each) for name, each in values["sources"].items()},
        "people": people_from(values["people"]),
        "guard": guard_from(values["guard"]),
    }
