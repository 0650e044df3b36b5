"""The settings file of an environment that has none yet."""

from __future__ import annotations

from pathlib import Path

# Regions whose zones are not a, b, c (Compute Engine, Regions and zones).
_ZONES = {"europe-west1": "bcd", "us-east1": "bcd", "us-central1": "abcf"}


def settings_text(project: str, region: str, organization: str | None = None) -> str:
    """A settings file with what can be told from project and region; a person adds the rest."""
    zones = ", ".join(f"{region}-{letter}" for letter in _ZONES.get(region, "abc"))
    told = f'deployment:\n  organization: "{organization}"\n' if organization else ""
    return f"""\
# yaml-language-server: $schema=schema/settings.schema.json
# Written by ./deploy.sh gcp, yours from now on: keep it with your configuration. What else may stand here is shown in
# settings.example.yaml: the network of the environments, who may open the hub page and whose members run it, the
# organization's logs, the billing export, who gets the alerts.
project: {project}
zones: [{zones}]  # in order of preference
bucket: {project}-benchkeeper
retention:
  instance: 30d  # how long a leaver's stopped environment is kept
  snapshot: 90d  # how long what was on its data disk is kept, from the same moment
  personal_data: 365d  # how long dead letters, and records of people of whom nothing exists any more, are kept
{told}"""


def settings_path(config_dir: Path, env: str) -> Path:
    """Where it is."""
    return config_dir / f"settings.{env}.yaml"
