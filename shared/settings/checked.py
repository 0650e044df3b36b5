"""The cache of checked settings, so that a cold start need not check files again that a deployment has checked.

`python -m shared.settings [ENV]` checks all files and writes `config/checked.<env>.json`: the settings as plain values, and a
digest over all configuration files and the code that checks. If the digest differs, the cache is ignored and all files
are checked. The cache is written for a deployment and is never committed. Without the cache, a cold start takes about
40 ms longer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.domain.policy.policy_codec import plain, read_plain
from shared.domain.things.structs import to_dict
from shared.settings.values import Settings

_SHARED = Path(__file__).resolve().parents[1]
# The code that decides whether settings are valid and what values they get.
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
    """Return the path of the checked settings of an environment."""
    return folder / f"checked.{env}.json"


def digest_of(folder: Path, env: str) -> str:
    """Return a digest of the files from which the settings come, and of the code that reads them."""
    paths = [folder / f"settings.{env}.yaml", folder / "profiles.yaml"]
    paths += [path for path in (folder / "sources.yaml",) if path.exists()]
    paths += [*sorted((folder / "templates").glob("*.yaml"))]
    paths += [path for pattern in _CODE for path in sorted(_SHARED.glob(pattern))]
    total = hashlib.sha256()
    for path in paths:
        raw = path.read_bytes()
        total.update(f"{path.name} {len(raw)}\n".encode() + raw)
    return total.hexdigest()


# The master templates of the settings that this process has read, by folder and environment: hashing all files twice is a tenth of
# a cold start's work. A master is looked up by the digest of its text, so masters of earlier files are never taken for present ones.
_MASTERS: dict[tuple[Path, str], Mapping[str, Any]] = {}

# Settings that come from the files' folder and from the environment: never stored.
_NOT_KEPT = ("config_dir", "env", "iap_audience", "move_logs_until", "deployed_at", "deployed_by")


def write(settings: Settings) -> Path:
    """Store these settings, which were just checked, and return the file's path."""
    values = {name: value for name, value in to_dict(settings).items() if name not in _NOT_KEPT}
    path = file_of(settings.config_dir, settings.env)
    made = {
        "digest": digest_of(settings.config_dir, settings.env),
        "settings": values,
        "masters": {each.digest: data for each in settings.catalog.masters.values() if (data := _as_json(each.text))},
    }
    path.write_text(json.dumps(made, default=plain, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return path


def read(folder: Path, env: str) -> Settings | None:
    """Return the stored settings; None if there are none, if they cannot be read, or if a file has changed since.

    Settings that come only from environment variables have their default values.
    """
    _MASTERS.pop((folder, env), None)
    try:
        kept = _kept(folder, env)
        if kept is None:
            return None
        _MASTERS[folder, env] = dict(kept["masters"])
        return read_plain({**kept["settings"], "config_dir": str(folder), "env": env}, Settings)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def parsed_masters(folder: Path, env: str) -> Mapping[str, Any]:
    """Return the parsed master templates by digest, from the last result of `read`; empty if `read` returned no settings."""
    return _MASTERS.get((folder, env), {})


def _kept(folder: Path, env: str) -> dict[str, Any] | None:
    kept: dict[str, Any] = json.loads(file_of(folder, env).read_text(encoding="utf-8"))
    return kept if kept["digest"] == digest_of(folder, env) else None


def _as_json(text: str) -> dict[str, Any] | None:
    """Return the data of a YAML text; None for data that JSON cannot express exactly, such as times or numbers as keys."""
    from shared.yaml_lines import YamlFaultError, load_yaml  # noqa: PLC0415 - a cold start has no use for it

    try:
        data, _ = load_yaml(text)
        return data if repr(json.loads(json.dumps(data))) == repr(data) else None
    except (YamlFaultError, TypeError, ValueError):
        return None
