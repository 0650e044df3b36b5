"""The configuration: every fault of every file in one go, each with file, line, field and the nearest valid key."""

from __future__ import annotations

import json
import os
import shutil
from datetime import time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import jsonschema
import pytest
import yaml

from shared.cloud.dataproc.template_schema import template_schema
from shared.domain.plan.guard_settings import GuardSettings
from shared.domain.things.catalog import Disruption, Identity, Window
from shared.settings import (
    ConfigError,
    checked,
    config_dir_from,
    env_from,
    load_settings,
    project_override_variables,
)
from shared.settings.file import parse_text
from shared.settings.models import ProfilesFile, SettingsFile
from shared.settings.schema import schema_of
from shared.settings.sources import SourcesFile
from shared.wiring import checked_settings
from shared.yaml_lines import YamlFaultError, load_yaml

CONFIG = Path(__file__).resolve().parents[2] / "config"
SCHEMAS = CONFIG / "schema"

SETTINGS = """\
project: acme-analytics
zones: [europe-west1-b, europe-west1-c]
bucket: acme-benchkeeper
people: {domains: [acme.com, example.com]}
"""
PROFILES = """\
default: analyst
assignments:
  - group: data-analysts@example.com
    profile: analyst
profiles:
  analyst:
    title: Analyst
    machine_type: e2-standard-4
    templates: [spark]
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "settings.dev.yaml").write_text(SETTINGS)
    (tmp_path / "profiles.yaml").write_text(PROFILES)
    (tmp_path / "templates").mkdir()
    shutil.copy(CONFIG / "templates" / "single-node.yaml", tmp_path / "templates" / "spark.yaml")
    return tmp_path


def load(folder: Path, **environ: str):
    return load_settings(env="dev", config_dir=folder, environ=environ)


def faults_of(folder: Path, **environ: str):
    with pytest.raises(ConfigError) as caught:
        load(folder, **environ)
    return caught.value.faults


def the_fault(folder: Path, **environ: str):
    (fault,) = faults_of(folder, **environ)
    return fault


# --- what is shipped ---


@pytest.mark.parametrize("env", sorted(p.name.split(".")[1] for p in CONFIG.glob("settings.*.yaml")))
def test_the_shipped_configuration_is_valid(env):
    settings = checked_settings(env=env, config_dir=CONFIG)
    assert settings.catalog.default_profile == "analyst"
    assert {a.group: a.profile for a in settings.catalog.assignments} == {
        "data-analysts@example.com": "analyst",
        "data-engineers@example.com": "engineer",
    }
    assert all(p.identity is Identity.END_USER_CREDENTIALS for p in settings.catalog.profiles.values())
    assert (settings.api_endpoint is None) == (env != "local")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("settings", lambda: schema_of(SettingsFile)),
        ("profiles", lambda: schema_of(ProfilesFile)),
        ("sources", lambda: schema_of(SourcesFile)),
        ("template", template_schema),
    ],
)
def test_the_editors_schema_is_what_the_program_checks(name, expected):
    """BENCHKEEPER_WRITE_SCHEMAS=1 writes them anew."""
    path = SCHEMAS / f"{name}.schema.json"
    if os.environ.get("BENCHKEEPER_WRITE_SCHEMAS"):  # noqa: TID251 - a switch of this test, not of the product
        path.write_text(expected(), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == expected()
    jsonschema.Draft202012Validator.check_schema(json.loads(expected()))


@pytest.mark.parametrize("model", [SettingsFile, ProfilesFile, SourcesFile])
def test_the_defaults_that_an_editor_shows_fit_their_own_schema(model):
    schema = json.loads(schema_of(model))
    for owner in [schema, *schema.get("$defs", {}).values()]:
        for field in owner.get("properties", {}).values():
            if "default" in field:
                jsonschema.Draft202012Validator({**field, "$defs": schema.get("$defs", {})}).validate(field["default"])


@pytest.mark.parametrize(
    "path",
    [
        *sorted(CONFIG.glob("settings.*.yaml")),
        CONFIG / "profiles.yaml",
        CONFIG / "sources.yaml",
        *sorted((CONFIG / "templates").glob("*.yaml")),
    ],
    ids=lambda p: p.name,
)
def test_what_is_shipped_fits_its_schema_and_a_typo_does_not(path):
    kind = "template" if path.parent.name == "templates" else path.name.split(".")[0]
    schema = json.loads((SCHEMAS / f"{kind}.schema.json").read_text(encoding="utf-8"))
    check = jsonschema.Draft202012Validator(schema)
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert [e.message for e in check.iter_errors(data)] == []
    assert not check.is_valid({**data, "optioimage-versionnalComponents": 1})
    if kind != "template":
        line = path.read_text(encoding="utf-8").splitlines()[0]
        assert line == f"# yaml-language-server: $schema=schema/{kind}.schema.json"


# --- what the settings say ---


def test_settings_say_what_the_files_say(folder):
    settings = load(folder)
    assert (settings.env, settings.project, settings.zones, settings.region) == (
        "dev",
        "acme-analytics",
        ("europe-west1-b", "europe-west1-c"),
        "europe-west1",
    )
    assert (settings.retention, settings.snapshot_retention) == (timedelta(days=30), timedelta(days=90))
    assert settings.api_endpoint is None
    profile = settings.catalog.profiles["analyst"]
    assert (profile.idle.timeout, profile.shielded.vtpm, profile.templates) == (timedelta(hours=3), True, ("spark",))
    policy = settings.policy()
    assert (policy.zones, policy.retention) == (settings.zones, settings.retention)
    assert (policy.snapshot_retention, policy.project) == (settings.snapshot_retention, settings.project)
    assert settings.project in policy.template_context


@pytest.mark.parametrize(("text", "days"), [("90d", 90), ("48h", 2), ("2880m", 2), ("172800s", 2), ("7 d", 7)])
def test_durations_have_units(folder, text, days):
    (folder / "settings.dev.yaml").write_text(f"{SETTINGS}retention: {{allow_short: true, instance: {text}}}\n")
    assert load(folder).retention == timedelta(days=days)


def test_a_week_is_long_enough_and_less_has_to_be_meant(folder):
    (folder / "settings.dev.yaml").write_text(
        f"{SETTINGS}retention: {{instance: 7d, snapshot: 7d, personal_data: 7d}}\n"
    )
    assert load(folder).personal_data == timedelta(days=7)
    short = "{personal_data: 3s, snapshot: 2s, instance: 1s, allow_short: true}"
    (folder / "settings.dev.yaml").write_text(f"{SETTINGS}retention: {short}\n")
    settings = load(folder)
    assert (settings.retention, settings.snapshot_retention) == (timedelta(seconds=1), timedelta(seconds=2))
    assert settings.policy().personal_data == timedelta(seconds=3)


def test_the_environment_names_environment_folder_and_endpoint(folder):
    environ = {
        "BENCHKEEPER_ENV": "dev",
        "BENCHKEEPER_CONFIG_DIR": str(folder),
        "BENCHKEEPER_API_ENDPOINT": "http://localhost:9000/",
    }
    settings = load_settings(environ=environ)
    assert (settings.env, settings.config_dir, settings.api_endpoint) == ("dev", folder, "http://localhost:9000")
    assert project_override_variables(settings) == {**environ, "BENCHKEEPER_API_ENDPOINT": "http://localhost:9000"}
    assert (env_from({}), config_dir_from({})) == ("local", CONFIG)


# --- faults, one by one: (what is appended to or replaced in the file) -> line, field, problem, hint ---

IN_SETTINGS = [
    ("retension: {instance: 30d}\n", 5, "retension", "unknown key 'retension'", "Did you mean 'retention'?"),
    ("retention: {instanse: 30d}\n", 5, "retention.instanse", "unknown key 'instanse'", "Did you mean 'instance'?"),
    ("retention:\n  instance: 30 days\n", 6, "retention.instance", "'30 days' is not a duration", ""),
    ("retention: {instance: 30}\n", 5, "retention.instance", "write a number and a unit", ""),
    ("retention: {instance: -1d}\n", 5, "retention.instance", "'-1d' is not a duration", ""),
    ("retention: {instance: 99999999999d}\n", 5, "retention.instance", "at most 3650d", ""),
    ("retention: {instance: 3651d}\n", 5, "retention.instance", "at most 3650d", ""),
    ("retention:\n  instance: 30d\n  snapshot: 29d\n", 7, "retention.snapshot", "snapshot (29d) must not be shorter than instance (30d)", ""),
    ("retention: {instance: 91d}\n", 5, "retention.snapshot", "snapshot (90d) must not be shorter than instance (91d)", ""),
    ("retention: {snapshot: 90 days}\n", 5, "retention.snapshot", "'90 days' is not a duration", ""),
    ("retention: {instance: 6d}\n", 5, "retention.instance", "6d is shorter than 7d", ""),
    ("retention: {instance: 604799s}\n", 5, "retention.instance", "write allow_short: true beside it", ""),
    ("retention:\n  instance: 7d\n  snapshot: 30s\n", 7, "retention.snapshot", "30s is shorter than 7d", ""),
    ("retention: {personal_data: 1h}\n", 5, "retention.personal_data", "1h is shorter than 7d", ""),
    ("retention: {personal_data: 89d}\n", 5, "retention.personal_data", "personal_data (89d) must not be shorter than snapshot (90d)", ""),
    ("retention: {allow_short: false, instance: 1d}\n", 5, "retention.instance", "1d is shorter than 7d", ""),
    ("retention: {allow_short: perhaps}\n", 5, "retention.allow_short", "", ""),
    ("retention: []\n", 5, "retention", "a mapping (key: value)", ""),
    ("deployment:\n  organization: acme.com\n", 6, "deployment.organization", "pattern", ""),
    ("deployment:\n  billing_export: billing\n", 6, "deployment.billing_export", "pattern", ""),
    ("deployment:\n  notify: [on-call]\n", 6, "deployment.notify[0]", "no name before an @", ""),
    ("deployment:\n  publishers: [allUsers]\n", 6, "deployment.publishers[0]", "pattern", ""),
    ("idle: {bigquery_projects: [acme-sandbox, Acme]}\n", 5, "idle.bigquery_projects[1]", "pattern", ""),
    ("idle: {bigquery_projects: [acme-sandbox, acme-sandbox]}\n", 5, "idle.bigquery_projects", "'acme-sandbox' is listed twice", ""),
    ("idle: {bigquery_project: [acme-sandbox]}\n", 5, "idle.bigquery_project", "unknown key", "Did you mean 'bigquery_projects'?"),
    ("bucket: again\n", 5, "", "the key 'bucket' is listed twice", ""),
    ("network: {subnet: notebooks}\n", 5, "network.subnet", "pattern", ""),
    ("limits: {message_bytes: 10}\n", 5, "limits.message_bytes", "greater than or equal to 1024", ""),
    ("limits: {message_bytes: much}\n", 5, "limits.message_bytes", "not 'much'", ""),
    ("topics: {tick: 7}\n", 5, "topics.tick", "not 7", ""),
    ("7: seven\n", 5, "", "", ""),
    ("? [a, b]\n: c\n", 5, "", "", ""),
    ("x: [\n", 6, "", "", ""),
    ("x: !!python/object:os.system {}\n", 5, "", "begins with !. Put it into quotes", ""),
    ("x: &a [*a]\n", 0, "", "an alias (*) stands inside of its own anchor", ""),
    ("---\nanother: document\n", 5, "", "", ""),
    ("x: \x07\n", 5, "", "the character U+0007 is not allowed. Remove it", ""),
    ("x: 2026-13-45\n", 0, "", "that does not exist (month must be in 1..12). Put it into quotes", ""),
    ("idle:\n", 5, "idle", "should be a mapping (key: value), not empty", ""),
    ("idle: 2026-01-01\n", 5, "idle", "not 2026-01-01", ""),
    ("topics: {tick: true}\n", 5, "topics.tick", "should be a valid string, not true", ""),
]  # fmt: skip


def test_the_projects_whose_queries_keep_a_notebook_survive_a_deployments_check(folder):
    (folder / "settings.dev.yaml").write_text(SETTINGS + "idle: {bigquery_projects: [acme-analytics, acme-sandbox]}\n")
    settings = load_settings(env="dev", config_dir=folder, environ={}, trust_checked=False)
    assert settings.bigquery_projects == ("acme-analytics", "acme-sandbox")
    checked.write(settings)
    assert checked.read(folder, "dev") == settings


@pytest.mark.parametrize(("added", "line", "field", "problem", "hint"), IN_SETTINGS)
def test_a_fault_of_the_settings_names_its_place(folder, added, line, field, problem, hint):
    (folder / "settings.dev.yaml").write_text(SETTINGS + added)
    fault = the_fault(folder)
    assert fault.file == str(folder / "settings.dev.yaml")
    assert (fault.line, fault.field) == (line, field) or not field
    assert fault.line == line
    assert problem in fault.problem
    assert hint in fault.hint
    assert str(fault).startswith(f"{fault.file}:{line}:" if line else f"{fault.file}:")


@pytest.mark.parametrize(
    ("old", "new", "line", "problem"),
    [
        ("zones: [europe-west1-b, europe-west1-c]", "zones: []", 2, "at least 1"),
        ("zones: [europe-west1-b, europe-west1-c]", "zones: europe-west1-b", 2, "valid list"),
        ("zones: [europe-west1-b, europe-west1-c]", "zones: [europe-west1]", 2, "'europe-west1' is not a zone"),
        ("europe-west1-c]", "us-central1-a]", 2, "one region"),
        ("europe-west1-c]", "europe-west1-b]", 2, "is listed twice"),
        ("project: acme-analytics", "project: Acme", 1, "pattern"),
        ("project: acme-analytics", "project:", 1, "valid string"),
        ("project: acme-analytics\n", "", 1, "is missing"),
        ("bucket: acme-benchkeeper", "bucket: A_B", 3, "pattern"),
    ],
)
def test_a_wrong_value_of_the_settings_names_its_line(folder, old, new, line, problem):
    (folder / "settings.dev.yaml").write_text(SETTINGS.replace(old, new))
    fault = the_fault(folder)
    assert fault.line == line
    assert problem in fault.problem


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "problem", "hint"),
    [
        ("title:", "titel:", 7, "profiles.analyst.titel", "unknown key 'titel'", "Did you mean 'title'?"),
        (
            "machine_type: e2-standard-4",
            "machine_type: 4 cores",
            8,
            "profiles.analyst.machine_type",
            "pattern",
            "",
        ),
        ("[spark]", "[sparks]", 9, "profiles.analyst.templates[0]", "no template 'sparks'", "Did you mean 'spark'?"),
        ("profile: analyst", "profile: analist", 4, "assignments[0].profile", "no profile 'analist'", "'analyst'"),
        ("default: analyst", "default: nobody", 1, "default", "no profile 'nobody'", "Valid: analyst."),
        ("group: data-analysts@example.com", "group: analysts", 3, "assignments[0].group", "address", ""),
        ("    profile: analyst", "    profil: analyst", 4, "assignments[0].profil", "unknown key", "'profile'"),
        ("title: Analyst", "title: ''", 7, "profiles.analyst.title", "at least 1", ""),
    ],
)
def test_a_fault_of_the_profiles_names_its_place(folder, old, new, line, field, problem, hint):
    (folder / "profiles.yaml").write_text(PROFILES.replace(old, new))
    fault = next(f for f in faults_of(folder) if f.field == field)
    assert (fault.file, fault.line) == (str(folder / "profiles.yaml"), line)
    assert problem in fault.problem
    assert hint in fault.hint


@pytest.mark.parametrize(
    ("added", "field", "problem"),
    [
        ("data_group: scientists@example.com", "data_group", "it is for identity: personal-service-account"),
        ("data_roles: [roles/bigquery.dataViewer]", "data_roles", "it is for identity: personal-service-account"),
        ("data_roles: [roles/owner]", "data_roles[0]", "it applies to everything in the project"),
        ("data_roles: [roles/viewer]", "data_roles[0]", "it applies to everything in the project"),
        ("data_roles: [roles/iam.serviceAccountUser]", "data_roles[0]", "act as other accounts or grant rights"),
        ("data_roles: [roles/resourcemanager.folderMover]", "data_roles[0]", "grant rights"),
        ("data_roles: [roles/bigquery.admin]", "data_roles[0]", "an administrator's role"),
        ("data_roles: [roles/iap.tunnelResourceAdmin]", "data_roles[0]", "an administrator's role"),
        ("data_roles: [roles/notebooks.serviceAgent]", "data_roles[0]", "an administrator's role"),
        ("data_roles: [bigquery.dataViewer]", "data_roles[0]", "pattern"),
        ("disruption: window", "disruption", "needs a maintenance_window"),
        ("disruption: never", "disruption", "'never' is not one of the values: 'now', 'when-idle' or 'window'"),
        ('maintenance_window: {days: [mon], start: "22:00", hours: 2}', "maintenance_window", "no effect with disruption: when-idle"),
        ("maintenance_window: {days: [], start: '22:00', hours: 2}", "maintenance_window.days", "at least 1"),
        ("maintenance_window: {days: [mon, mon], start: '22:00', hours: 2}", "maintenance_window.days", "a day is listed twice"),
        ("maintenance_window: {days: [funday], start: '22:00', hours: 2}", "maintenance_window.days[0]", "'funday' is not one of the values"),
        ("maintenance_window: {days: [mon], start: 22:00, hours: 2}", "maintenance_window.start", 'write the time in quotes: "22:00"'),
        ("maintenance_window: {days: [mon], start: '24:00', hours: 2}", "maintenance_window.start", "'24:00' is not a time"),
        ("maintenance_window: {days: [mon], start: '22:00', hours: 25}", "maintenance_window.hours", "less than or equal to 24"),
        ("maintenance_window: {days: [mon], start: '22:00', hours: 0}", "maintenance_window.hours", "greater than or equal to 1"),
        ("maintenance_window: {days: [mon], start: '22:00', hours: 2, time_zone: Europe/Berln}", "maintenance_window.time_zone", "'Europe/Berln' is not a time zone; the nearest name is 'Europe/Berlin'"),
        ("maintenance_window: {days: [mon], start: '22:00', hours: 2, time_zone: /etc/localtime}", "maintenance_window.time_zone", "is not a time zone"),
        ("maintenance_window: {days: [mon], start: '22:00', hours: 2, time_zone: localtime}", "maintenance_window.time_zone", "'localtime' is not a time zone"),
        ("maintenance_window: {days: [mon], start: '22:00', hours: 2, timezone: UTC}", "maintenance_window.timezone", "unknown key 'timezone'"),
        ("identity: shared", "identity", "'shared' is not one of the values"),
        ("service_account: bot@x.iam.gserviceaccount.com", "service_account", "shared by users is refused"),
        ('metadata: {proxy-mode: "none"}', "metadata", "'proxy-mode' is Workbench's or Benchkeeper's own"),
        ('metadata: {idle-timeout-seconds: "60"}', "metadata", "own"),
        ('metadata: {startup-script: "curl"}', "metadata", "own"),
        ("metadata: {notebook-disable-root: true}", "metadata", "must be a text in quotes"),
        ("metadata: []", "metadata", "a mapping"),
        ("labels: {managed-by: me}", "labels", "written by Benchkeeper"),
        ("labels: {cost-center: cc1}", "labels", "written by Benchkeeper"),
        ("labels: {Team: x}", "labels", "label rules"),
        ("labels: {team: Big Team}", "labels", "label rules"),
        ("idle: {timeout: 5m}", "idle.timeout", "10 minutes to 24 hours"),
        ("idle: {timeout: 25h}", "idle.timeout", "10 minutes to 24 hours"),
        ("idle: {cpu_busy_at: 0.2}", "idle.cpu_busy_at", "cores_busy_at: 0.3"),
        ("idle: {cores_busy_at: 0}", "idle.cores_busy_at", "greater than 0"),
        ("idle: {max_busy: 0s}", "idle.max_busy", "longer than zero"),
        ("idle: {max_blind: 0h}", "idle.max_blind", "longer than zero"),
        ("idle: {timeout: 13h}", "idle.max_keep_on", "Valid: up to 11h"),
        ("idle: {timeout: 2h, max_keep_on: 23h}", "idle.max_keep_on", "Valid: up to 22h"),
        ("image: {family: a, name: b}", "image", "either a family or an image"),
        ("image: {project: p}", "image", "either a family or an image"),
        ("data_disk: {size_gb: 1}", "data_disk.size_gb", "greater than or equal to 10"),
        ("data_disk: {size_gb: 100, type: SSD}", "data_disk.type", "pattern"),
        ("accelerator: {type: T4}", "accelerator.type", "pattern"),
        ("accelerator: {type: NVIDIA_TESLA_T4, cnt: 2}", "accelerator.cnt", "unknown key 'cnt'"),
    ],
)  # fmt: skip
def test_a_fault_of_a_profile_names_field_and_line(folder, added, field, problem):
    (folder / "profiles.yaml").write_text(f"{PROFILES}    {added}\n")
    fault = the_fault(folder)
    assert (fault.line, fault.field) == (10, f"profiles.analyst.{field}")
    assert problem in fault.problem


def test_data_roles_without_a_group_have_nobody_to_go_to(folder):
    added = "    identity: personal-service-account\n    data_roles: [roles/bigquery.dataViewer]\n"
    (folder / "profiles.yaml").write_text(f"{PROFILES}{added}")
    fault = the_fault(folder)
    assert (fault.line, fault.field) == (11, "profiles.analyst.data_roles")
    assert fault.problem == "they are given to the members of a data_group; set data_group, too"


@pytest.mark.parametrize("group", [None, "Scientists-Data@example.com"])
def test_a_personal_account_may_have_a_group_that_carries_its_rights(folder, group):
    added = "    identity: personal-service-account\n" + (f"    data_group: {group}\n" if group else "")
    (folder / "profiles.yaml").write_text(f"{PROFILES}{added}")
    profile = load(folder).catalog.profiles["analyst"]
    assert profile.identity is Identity.PERSONAL_SERVICE_ACCOUNT
    assert profile.data_group == (group.lower() if group else None)


@pytest.mark.parametrize("disruption", [Disruption.NOW, Disruption.WHEN_IDLE])
def test_a_change_may_wait_until_nobody_works(folder, disruption):
    assert load(folder).catalog.profiles["analyst"].disruption is Disruption.WHEN_IDLE
    (folder / "profiles.yaml").write_text(f"{PROFILES}    disruption: {disruption.value}\n")
    profile = load(folder).catalog.profiles["analyst"]
    assert (profile.disruption, profile.window) == (disruption, None)


def test_a_maintenance_window_opens_in_its_own_time_zone(folder):
    window = '{days: [sun, mon], start: "22:30", hours: 4, time_zone: Europe/Berlin}'
    (folder / "profiles.yaml").write_text(f"{PROFILES}    disruption: window\n    maintenance_window: {window}\n")
    profile = load(folder).catalog.profiles["analyst"]
    assert profile.disruption is Disruption.WINDOW
    assert profile.window == Window(
        days=frozenset({6, 0}), start=time(22, 30), length=timedelta(hours=4), zone=ZoneInfo("Europe/Berlin")
    )


@pytest.mark.parametrize("zone", ["", ", time_zone: UTC"])
def test_without_a_time_zone_it_is_utc(folder, zone):
    window = f'{{days: [sat], start: "00:00", hours: 24{zone}}}'
    (folder / "profiles.yaml").write_text(f"{PROFILES}    disruption: window\n    maintenance_window: {window}\n")
    found = load(folder).catalog.profiles["analyst"].window
    assert found is not None
    assert found.zone == ZoneInfo("UTC")


def test_a_group_that_is_assigned_twice_is_named(folder):
    twice = "  - {group: Data-Analysts@example.com, profile: analyst}\nprofiles:"
    (folder / "profiles.yaml").write_text(PROFILES.replace("profiles:", twice))
    assert "'data-analysts@example.com' is assigned twice" in the_fault(folder).problem


def test_the_nearest_key_is_found_inside_lists_and_mappings(folder):
    (folder / "profiles.yaml").write_text(f"{PROFILES}    boot_disk: {{size_gb: 100, typ: PD_SSD}}\n")
    fault = the_fault(folder)
    assert (fault.field, fault.line) == ("profiles.analyst.boot_disk.typ", 10)
    assert fault.hint == "Did you mean 'type'? Valid: size_gb, type."


def test_the_refused_service_account_is_not_offered(folder):
    (folder / "profiles.yaml").write_text(f"{PROFILES}    service_acount: x\n")
    assert "service_account" not in the_fault(folder).hint
    assert "service_account" not in (SCHEMAS / "profiles.schema.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://notebooks.googleapis.com",
        "http://10.0.0.7:8900",
        "http://example.com",
        "https://127.0.0.1:8900",
        "http://127.0.0.1.example.com:8900",
        "http://localhost@example.com/",
        "127.0.0.1:8900",
        "http://[::1",
        "file:///etc/passwd",
    ],
)
def test_an_endpoint_of_ones_own_is_on_this_machine_only(folder, endpoint):
    fault = the_fault(folder, BENCHKEEPER_API_ENDPOINT=endpoint)
    assert fault.file == "$BENCHKEEPER_API_ENDPOINT"
    assert endpoint in fault.problem
    (folder / "settings.dev.yaml").write_text(f"{SETTINGS}api_endpoint: '{endpoint}'\n")
    assert the_fault(folder).file == str(folder / "settings.dev.yaml")


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:8900", "http://localhost:1", "http://[::1]:8900/"])
def test_an_endpoint_on_this_machine_is_taken(folder, endpoint):
    assert load(folder, BENCHKEEPER_API_ENDPOINT=endpoint).api_endpoint == endpoint.rstrip("/")


def test_a_missing_file_says_which_environments_there_are(folder):
    with pytest.raises(ConfigError) as caught:
        load_settings(env="prd", config_dir=folder, environ={})
    (fault,) = caught.value.faults
    assert (fault.problem, fault.hint) == ("the file does not exist", "The environments that exist here are: dev.")


def test_an_empty_folder_says_everything_that_is_missing(tmp_path):
    problems = [(Path(f.file).name, f.problem) for f in faults_of(tmp_path)]
    assert problems == [
        ("settings.dev.yaml", "the file does not exist"),
        ("profiles.yaml", "the file does not exist"),
        ("templates", "the folder does not exist"),
    ]


@pytest.mark.parametrize("name", ["settings.dev.yaml", "profiles.yaml", "templates/spark.yaml"])
def test_a_file_that_is_no_text_is_a_fault(folder, name):
    (folder / name).write_bytes(b"title: \xff\xfe")
    assert any(Path(f.file).name == Path(name).name and "cannot be read" in f.problem for f in faults_of(folder))


@pytest.mark.parametrize("text", ["", "just text", "- a\n- b\n", "7", "null", "# only a comment\n"])
@pytest.mark.parametrize("name", ["settings.dev.yaml", "profiles.yaml"])
def test_a_file_that_is_no_mapping_is_a_fault(folder, name, text):
    (folder / name).write_text(text)
    fault = the_fault(folder)
    assert (Path(fault.file).name, fault.line) == (name, 1)
    assert "a mapping (key: value) is needed" in fault.problem


def test_all_faults_of_all_files_come_at_once(folder):
    (folder / "settings.dev.yaml").write_text("projct: acme-analytics\nzones: [nowhere]\nbucket: B\n")
    (folder / "profiles.yaml").write_text(PROFILES.replace("title:", "titel:").replace("default: analyst", "defalt: x"))
    master = (folder / "templates" / "spark.yaml").read_text()
    (folder / "templates" / "spark.yaml").write_text(
        master.replace("optionalComponents", "optioimage-versionnalComponents")
    )
    with pytest.raises(ConfigError) as caught:
        checked_settings(env="dev", config_dir=folder)
    found = {(Path(f.file).name, f.field) for f in caught.value.faults}
    assert found == {
        ("settings.dev.yaml", "project"),
        ("settings.dev.yaml", "projct"),
        ("settings.dev.yaml", "zones"),
        ("settings.dev.yaml", "bucket"),
        ("settings.dev.yaml", "people.domains"),
        ("profiles.yaml", "defalt"),
        ("profiles.yaml", "profiles.analyst.title"),
        ("profiles.yaml", "profiles.analyst.titel"),
        ("spark.yaml", "config.softwareConfig.optioimage-versionnalComponents"),
    }
    assert all(str(f) in str(caught.value) for f in caught.value.faults)


@pytest.mark.parametrize("name", ["two words", "\u00e9t\u00e9", "a@b", "x" * 101])
def test_a_template_needs_a_name_that_an_object_can_have(folder, name):
    shutil.copy(folder / "templates" / "spark.yaml", folder / "templates" / f"{name}.yaml")
    fault = the_fault(folder)
    assert Path(fault.file).stem == name
    assert "name" in fault.problem


# --- YAML with lines ---


def test_keys_and_items_have_their_lines():
    data, lines = load_yaml("a: 1\nb:\n  - x\n  - c: 2\n")
    assert data == {"a": 1, "b": ["x", {"c": 2}]}
    assert lines[("a",)] == 1
    assert lines[("b", 1, "c")] == 4


@pytest.mark.parametrize("depth", [9, 25])
def test_a_bomb_of_anchors_is_refused_at_once(depth):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, depth)]
    with pytest.raises(YamlFaultError, match="too many"):
        load_yaml("\n".join(lines))


def test_an_anchor_that_is_used_twice_is_fine():
    data, _ = load_yaml("a: &x {k: 1}\nb: *x\nc: {<<: *x, l: 2}\n")
    assert data == {"a": {"k": 1}, "b": {"k": 1}, "c": {"k": 1, "l": 2}}


def test_nesting_without_end_is_refused():
    with pytest.raises(YamlFaultError):
        load_yaml("a: " + "[" * 5000)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("guard: {approvers: 3}", "guard.approvers"),
        ("guard: {per_hour: 0}", "should be greater than or equal to 1, not 0"),
        ("guard: {creations: 100001}", "should be less than or equal to 100000, not 100001"),
        ("guard: {share: 0}", "should be greater than 0, not 0"),
        ("guard: {group_share: 1.01}", "should be less than or equal to 1, not 1.01"),
        ("guard: {patience: 1s}", "is too short for an administrator to examine a change"),
        ("guard: {most: 5}", "most (5) must not be smaller than per_hour (20)"),
        ("guard: {per_hours: 5}", "per_hour"),
    ],
)
def test_a_limit_that_cannot_be_is_a_fault(text, said):
    faults = []
    base = "project: some-project\nzones: [europe-west1-b]\nbucket: some-bucket\n"
    assert parse_text(Path("settings.x.yaml"), f"{base}{text}\n", SettingsFile, faults) is None
    assert said in str(faults[0])


def test_limits_are_read_from_the_settings():
    base = "project: some-project\nzones: [europe-west1-b]\nbucket: some-bucket\n"
    text = f"{base}guard: {{approvers: 1, patience: never}}\n"
    found = parse_text(Path("settings.x.yaml"), text, SettingsFile, [])
    assert found is not None
    assert (found.guard.approvers, found.guard.patience) == (1, None)
    assert parse_text(Path("settings.x.yaml"), base, SettingsFile, []).guard == GuardSettings()


def test_bytes_that_are_no_text_have_their_line_and_a_folder_has_no_advice_about_text(folder):
    path = folder / "settings.dev.yaml"
    path.write_bytes(SETTINGS.encode() + b"x: \xff\n")
    fault = the_fault(folder)
    assert (fault.line, fault.problem) == (SETTINGS.count("\n") + 1, "cannot be read: it is not UTF-8 text")
    path.unlink()
    path.mkdir()
    assert str(the_fault(folder)) == f"{path}: cannot be read: Is a directory."
