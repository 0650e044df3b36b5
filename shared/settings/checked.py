"""Settings that were checked before: a cold start need not import the checker for files that a deployment has checked.

`python -m shared.settings [ENV]` checks everything and writes `config/checked.<env>.json`: the settings as plain values, and a
digest over every file they came from and over the code that checks. Where anything differs, the file counts for nothing and the
full check is done. It is made for a deployment and never committed; without it a cold start takes some 40 ms longer.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from shared.domain.policy.policy_codec import plain, read_plain
from shared.domain.things.structs import to_dict
from shared.settings.values import Settings

_SHARED = Path(__file__).resolve().parents[1]
# What decides whether settings are right and what they become.
_CODE = (
    "settings/*.py",
    "yaml_lines.py",
    "faults.py",
    "domain/things/catalog.py",
    "domain/things/identity.py",
    "domain/things/notebook.py",
    "domain/things/times.py",
    "domain/people/sources.py",
    "domain/people/domains.py",
    "domain/plan/guard_settings.py",
    "domain/policy/policy_codec.py",
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


# What is told by where the files are, and by the environment: never kept.
_NOT_KEPT = ("config_dir", "env", "iap_audience", "move_logs_until", "deployed_at", "deployed_by")


def write(settings: Settings) -> Path:
    """Keep these settings, which were just checked."""
    values = {name: value for name, value in to_dict(settings).items() if name not in _NOT_KEPT}
    path = file_of(settings.config_dir, settings.env)
    made = {"digest": digest_of(settings.config_dir, settings.env), "settings": values}
    path.write_text(json.dumps(made, default=plain, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return path


def read(folder: Path, env: str) -> Settings | None:
    """Return the settings that are kept, without what the environment says; None if none are, or something changed since."""
    try:
        kept = json.loads(file_of(folder, env).read_text(encoding="utf-8"))
        if kept["digest"] != digest_of(folder, env):
            return None
        return read_plain({**kept["settings"], "config_dir": str(folder), "env": env}, Settings)
    except (OSError, ValueError, KeyError, TypeError):
        return None
