"""`hourly_cost` of a profile: a number from 0 on, in the settings as in what a deployment keeps of them; else a fault with its line."""

from __future__ import annotations

import shutil

import pytest
from kit.inprocess import ROOT

from shared.settings import ConfigError, checked, load_settings


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(ROOT / "config", tmp_path / "config")
    return tmp_path / "config"


def with_cost(folder, text: str) -> int:
    """The shipped profiles with this cost for analysts; gives the line."""
    path = folder / "profiles.yaml"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    analyst = lines.index("  analyst:\n")
    at = next(i for i, line in enumerate(lines) if i > analyst and "hourly_cost:" in line)
    lines[at] = f"    hourly_cost: {text}\n" if text else ""
    path.write_text("".join(lines), encoding="utf-8")
    return at + 1


def load(folder):
    return load_settings(env="local", config_dir=folder, environ={}, trust_checked=True)


@pytest.mark.parametrize(("text", "expected"), [("0.5", 0.5), ("3", 3.0), ("0", 0.0), ("", None)])
def test_it_is_read_and_survives_what_a_deployment_keeps(folder, text, expected):
    with_cost(folder, text)
    settings = load(folder)
    assert settings.catalog.profiles["analyst"].hourly_cost == expected
    checked.write(settings)
    assert checked.read(folder, "local") is not None
    assert load(folder) == settings


@pytest.mark.parametrize("text", ["-0.1", ".nan", ".inf", "free"])
def test_what_is_no_price_is_a_fault_with_its_line(folder, text):
    line = with_cost(folder, text)
    with pytest.raises(ConfigError) as caught:
        load(folder)
    (fault,) = caught.value.faults
    assert (fault.line, fault.field) == (line, "profiles.analyst.hourly_cost")
