"""Two readers, one description: files that people write and settings that a deployment keeps give the same, or both are refused.

What people write is read by our own walk over msgspec's types (`shared.settings.file`); the oracles are msgspec's own reader of what was
kept, and the JSON Schema that msgspec makes of the same types, judged by jsonschema.
"""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from kit.configurations import write
from kit.inprocess import ROOT

from cli.deploy.models import MetricsFile
from shared.domain.policy.policy_codec import content_of, with_content
from shared.settings import ConfigError, Settings, checked, load_settings
from shared.settings.file import parse_text
from shared.settings.models import ProfilesFile, SettingsFile
from shared.settings.schema import schema_of
from shared.settings.sources import SourcesFile

DRAWN = 200
SHIPPED = sorted(path.name.split(".")[1] for path in (ROOT / "config").glob("settings.*.yaml"))
KINDS = {"settings.drawn.yaml": SettingsFile, "profiles.yaml": ProfilesFile, "sources.yaml": SourcesFile}
CHECKS = {name: jsonschema.Draft202012Validator(json.loads(schema_of(kind))) for name, kind in KINDS.items()}
# None of these is taken for a number or a truth value where one is wanted.
WRONG: tuple[Any, ...] = ([], {}, "no such thing", -1, None, 7.5, [7], {"a": 1}, ["x", "x"], 10**9, [None])


def _both(folder: Path, env: str) -> tuple[Settings, Settings | None]:
    read = load_settings(env=env, config_dir=folder, environ={}, trust_checked=False)
    checked.write(read)
    return read, checked.read(folder, env)


@pytest.mark.parametrize("env", SHIPPED)
def test_a_shipped_configuration_is_kept_as_it_was_read(tmp_path, env):
    folder = shutil.copytree(ROOT / "config", tmp_path / "config", ignore=shutil.ignore_patterns("checked.*"))
    read, kept = _both(folder, env)
    assert kept == read
    assert with_content(read.policy(), content_of(read.policy())) == read.policy()


def test_drawn_configurations_are_kept_as_they_were_read(tmp_path):
    for seed in range(DRAWN):
        read, kept = _both(write(tmp_path / str(seed), seed), "drawn")
        assert kept == read, seed
        assert with_content(read.policy(), content_of(read.policy())) == read.policy(), seed


def test_drawn_configurations_say_all_that_can_be_said(tmp_path):
    """Else the tests above look at less than they seem to."""
    said: set[str] = set()
    for seed in range(DRAWN // 4):
        folder = write(tmp_path / str(seed), seed)
        for name in KINDS:
            if (folder / name).exists():
                said |= _keys(name, yaml.safe_load((folder / name).read_text(encoding="utf-8")))
    for name, check in CHECKS.items():
        wanted = {f"{name}: {key}" for each in check.schema["$defs"].values() for key in each.get("properties", {})}
        assert wanted - said <= {f"settings.drawn.yaml: {key}" for key in NOT_DRAWN}


NOT_DRAWN = (
    "api_endpoint",
    "billing_export",
    "kms_key",
    "publishers",
    "roster_writers",
    "hub_domain",
)  # of the embedded cloud, of a deployment


def _keys(file: str, data: Any) -> set[str]:
    if isinstance(data, list):
        return {key for each in data for key in _keys(file, each)}
    if not isinstance(data, dict):
        return set()
    return {f"{file}: {key}" for key in data} | {key for each in data.values() for key in _keys(file, each)}


def _spoilt(data: Any, draw: random.Random) -> Any:
    """The data with one value, or one key, that is another."""
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
            places.append((node, key))
            if isinstance(value, dict | list):
                walk(value)

    walk(data)
    node, key = draw.choice(places)
    if isinstance(node, dict) and draw.random() < 0.2:
        node[f"{key}x"] = node.pop(key)
    else:
        node[key] = draw.choice(WRONG)
    return data


def test_what_the_schema_refuses_is_a_fault_with_a_line_and_the_rest_is_no_surprise(tmp_path):
    refused = 0
    for seed in range(DRAWN):
        draw = random.Random(seed)  # noqa: S311 - a seed, no secret
        folder = write(tmp_path / str(seed), seed)
        name = draw.choice([name for name in KINDS if (folder / name).exists()])
        text = (folder / name).read_text(encoding="utf-8")
        data = _spoilt(yaml.safe_load(text), draw)
        text = yaml.safe_dump(data, allow_unicode=True, sort_keys=False)
        faults: list[Any] = []
        value = parse_text(folder / name, text, KINDS[name], faults)
        assert (value is None) == bool(faults)
        if not CHECKS[name].is_valid(data):
            refused += 1
            assert faults, text
            assert all(fault.line > 0 and fault.problem for fault in faults)
    assert refused > DRAWN / 2


@pytest.mark.parametrize("place", ["profiles", "domains"])
def test_all_is_said_and_never_meant_by_nothing(tmp_path, place):
    """`domains:` with nothing after it is a slip, not leave to speak about everybody."""
    text = (ROOT / "config" / "sources.yaml").read_text(encoding="utf-8")
    data = yaml.safe_load(text)
    data["sources"]["hr"][place] = None
    faults: list[Any] = []
    assert parse_text(tmp_path / "sources.yaml", yaml.safe_dump(data), SourcesFile, faults) is None
    assert [fault.field for fault in faults] == [f"sources.hr.{place}"]


def test_a_time_zone_that_no_database_has_is_a_fault(tmp_path):
    folder = write(tmp_path / "config", 1)
    path = folder / "settings.drawn.yaml"
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    data["people"]["time_zone"] = "Europe/Berln"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    with pytest.raises(ConfigError, match="'Europe/Berln' is not a time zone"):
        load_settings(env="drawn", config_dir=folder, environ={})


def test_bodies_for_the_api_keep_every_character(tmp_path):
    """`filter: |` ends in a new line, and what is deployed says so."""
    faults: list[Any] = []
    text = 'metrics:\n  benchkeeper/x:\n    filter: |\n      a = 1\n    kept: " as it is "\n'
    found = parse_text(tmp_path / "metrics.yaml", text, MetricsFile, faults)
    assert faults == []
    assert found is not None
    assert found.metrics == {"benchkeeper/x": {"filter": "a = 1\n", "kept": " as it is "}}
