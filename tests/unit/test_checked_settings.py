"""Settings that were checked before: equal to those checked now, and worth nothing once a file changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

from shared.domain.things.catalog import MasterTemplate
from shared.settings import ConfigError, checked, load_settings
from shared.yaml_lines import load_yaml

CONFIG = Path(__file__).resolve().parents[2] / "config"


@pytest.fixture
def folder(tmp_path):
    copy = shutil.copytree(CONFIG, tmp_path / "config", ignore=shutil.ignore_patterns("checked.*"))
    checked.write(load_settings(env="example", config_dir=copy, environ={}, trust_checked=False))
    return copy


def load(folder, *, trust_checked=True, **environ):
    return load_settings(env="example", config_dir=folder, environ=environ, trust_checked=trust_checked)


def test_kept_settings_equal_those_checked_now(folder):
    assert checked.read(folder, "example") is not None
    assert load(folder) == load(folder, trust_checked=False)


def test_kept_windows_and_personal_accounts_equal_those_checked_now(folder):
    added = (
        "  scientist:\n    title: Scientist\n    machine_type: n2-standard-8\n    identity: personal-service-account\n"
        "    data_group: scientists-data@example.com\n    data_roles: [roles/bigquery.dataViewer]\n    disruption: window\n"
        '    maintenance_window: {days: [wed, mon], start: "22:30", hours: 4, time_zone: Europe/Berlin}\n'
    )
    with (folder / "profiles.yaml").open("a") as file:
        file.write(added)
    wanted = load(folder, trust_checked=False)
    checked.write(wanted)
    assert checked.read(folder, "example") is not None
    assert load(folder) == wanted
    window = load(folder).catalog.profiles["scientist"].window
    assert window is not None
    assert sorted(window.days) == [0, 2]


@pytest.mark.parametrize("name", ["settings.example.yaml", "profiles.yaml", "templates/single-node.yaml"])
def test_a_changed_file_is_checked_again(folder, name):
    with (folder / name).open("a") as file:
        file.write("\nnonsense: [\n")
    assert checked.read(folder, "example") is None


def test_a_fault_made_after_the_check_is_found(folder):
    with (folder / "settings.example.yaml").open("a") as file:
        file.write("\nnonsense: 1\n")
    with pytest.raises(ConfigError, match="unknown key 'nonsense'"):
        load(folder)


def test_a_new_template_is_seen(folder):
    (folder / "templates" / "another.yaml").write_text("config: {}\n")
    assert "another" in load(folder).catalog.masters


def test_masters_are_kept_as_they_are_parsed(folder):
    wanted = {each.digest: load_yaml(each.text)[0] for each in load(folder).catalog.masters.values()}
    assert checked.parsed_masters(folder, "example") == wanted
    (folder / "templates" / "another.yaml").write_text("config: {}\n")
    load(folder)
    assert checked.parsed_masters(folder, "example") == {}  # a file changed


@pytest.mark.parametrize(
    "text", ["config: {a: 2026-12-01}", "config: {1: a}", "config: {a: !!set {b, c}}", "[]", "config: ["]
)
def test_what_json_would_keep_as_something_else_is_not_kept(folder, text):
    wanted = load(folder, trust_checked=False)
    masters = {"odd": MasterTemplate(name="odd", text=text), **wanted.catalog.masters}
    checked.write(replace(wanted, catalog=replace(wanted.catalog, masters=masters)))
    assert checked.read(folder, "example") is not None
    assert masters["odd"].digest not in checked.parsed_masters(folder, "example")
    assert len(checked.parsed_masters(folder, "example")) == len(wanted.catalog.masters)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"digest": 1}', "\x00"])
def test_a_broken_file_counts_for_nothing(folder, content):
    wanted = load(folder, trust_checked=False)
    checked.file_of(folder, "example").write_text(content)
    assert load(folder) == wanted


def test_an_endpoint_on_another_machine_is_refused_for_checked_settings_too(folder):
    with pytest.raises(ConfigError, match="is not http:// on this machine"):
        load(folder, BENCHKEEPER_API_ENDPOINT="http://198.51.100.7:8900")


def test_who_deployed_is_told_by_the_environment_and_never_kept(folder):
    said = {"BENCHKEEPER_DEPLOYED_AT": "2026-11-28T12:00:00Z", "BENCHKEEPER_DEPLOYED_BY": "dev@acme.com"}
    checked.write(load(folder, trust_checked=False, **said))
    assert load(folder).deployed_by == ""
    assert load(folder, **said) == load(folder, trust_checked=False, **said)
    assert load(folder, **said).deployed_by == "dev@acme.com"
