"""The first settings file of an environment, which `./deploy.sh gcp` writes if the environment has none."""

from __future__ import annotations

from pathlib import Path

from shared.yaml_lines import YamlFaultError, load_yaml

# Regions whose zones are not a, b, c (Compute Engine, Regions and zones).
_ZONES = {"europe-west1": "bcd", "us-east1": "bcd", "us-central1": "abcf"}


def settings_text(
    project: str, region: str, organization: str | None = None, domains: tuple[str, ...] = ("example.com",)
) -> str:
    """Return the text of a first settings file; the user adds the rest.

    `domains` are the domains of the assigned groups. Without an `organization`, its line is left out.
    """
    zones = ", ".join(f"{region}-{letter}" for letter in _ZONES.get(region, "abc"))
    told = f'deployment:\n  organization: "{organization}"\n' if organization else ""
    return f"""\
# yaml-language-server: $schema=schema/settings.schema.json
# Written by ./deploy.sh gcp, once. You maintain this file: store it with your configuration. settings.example.yaml shows
# all other settings: the network of the environments, the people who may open the hub page and who run it, the
# organization's logs, the billing export, the addresses that get the alerts.
project: {project}
zones: [{zones}]  # in order of preference
bucket: {project}-benchkeeper
retention:
  instance: 30d  # how long a leaver's stopped environment is kept
  snapshot: 90d  # how long the content of its data disk is kept, from the same moment
  personal_data: 365d  # how long dead letters are kept, and records of people without any resources
people:
  domains: [{", ".join(domains)}]  # of people who may get access; taken from the groups in profiles.yaml
  time_zone: UTC  # in which a date without a time begins and ends
{told}"""


def domains_of_groups(config_dir: Path) -> tuple[str, ...]:
    """Return the domains of the groups that profiles.yaml assigns; `example.com` if the file is invalid or names no groups."""
    try:
        data, _ = load_yaml((config_dir / "profiles.yaml").read_text(encoding="utf-8"))
        groups = [str(each["group"]) for each in data["assignments"]]
    except (OSError, UnicodeDecodeError, YamlFaultError, KeyError, TypeError):
        return ("example.com",)  # the check of the files reports their faults
    return tuple(sorted({group.rpartition("@")[2].lower() for group in groups if "@" in group})) or ("example.com",)


def settings_path(config_dir: Path, env: str) -> Path:
    """Return the path of the environment's settings file."""
    return config_dir / f"settings.{env}.yaml"
