"""config/deploy/*.yaml: what is shipped is right, and whatever is wrong is named with its file, its place and the nearest valid name."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from cli.deploy import data
from cli.deploy.data import Deployment, load_deployment
from cli.deploy.first import settings_text
from shared.messages.table import render_people_filter
from shared.settings import ConfigError, load_settings

CONFIG = Path(__file__).resolve().parents[2] / "config"
FILES = sorted(path.name for path in (CONFIG / "deploy").iterdir())


@dataclass(frozen=True)
class Company:
    """A copy of the configuration that a test may spoil."""

    config: Path

    def load(self, env: str = "example") -> Deployment:
        return load_deployment(load_settings(env=env, config_dir=self.config, environ={}, trust_checked=False))

    def replace(self, file: str, old: str, new: str) -> int:
        """Put `new` for the one `old`; the line on which it stands now."""
        path = self.config / file
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{file} has {text.count(old)} of {old!r}"
        path.write_text(text.replace(old, new), encoding="utf-8")
        return text.count("\n", 0, text.index(old)) + 1

    def faults(self) -> list[str]:
        """What is said, without the folder's own name."""
        with pytest.raises(ConfigError) as caught:
            self.load()
        return [str(fault).replace(f"{self.config}/", "") for fault in caught.value.faults]


@pytest.fixture
def company(tmp_path: Path) -> Company:
    return Company(shutil.copytree(CONFIG, tmp_path / "config", ignore=shutil.ignore_patterns("checked.*")))


# ---- what is shipped


@pytest.mark.parametrize("env", ["local", "example"])
def test_what_is_shipped_is_right_for_both_environments(company, env):
    found = company.load(env)
    assert set(found.wanted(found.functions)) == {
        "benchkeeper-lifecycle", "benchkeeper-directory", "benchkeeper-operator", "benchkeeper-wake", "benchkeeper-tick",
        "benchkeeper-dead-letter", "benchkeeper-hub",
    }  # fmt: skip
    assert found.page == "benchkeeper-hub"
    assert [name for name, each in found.functions.items() if each.heard is None] == [found.page]
    sources = {"workbench-lifecycle", "workbench-directory", "workbench-operator", "workbench-wake"}
    assert set(found.wanted(found.topics)) == {*sources, "workbench-tick", "workbench-dead-letter"}
    assert {each.topic for each in found.functions.values() if each.entry_point == "lifecycle"} == sources
    assert {each.account for each in found.functions.values() if each.entry_point == "lifecycle"} == {"lifecycle"}
    settings = found.settings
    kept = ("inbox", "letters", "audit")
    assert tuple(found.buckets) == (settings.bucket, *(f"{settings.bucket}-{name}" for name in kept))
    assert set(found.jobs) == {"benchkeeper-due", "benchkeeper-idle", "benchkeeper-drift", "benchkeeper-roster"}
    assert "roles/pubsub.publisher" in {grant.role for grant in found.grants}
    assert found.metrics
    assert found.alerts
    assert found.dashboard["mosaicLayout"]["tiles"]
    assert found.options.organization == "123456789012"


def test_every_shipped_file_is_one_that_is_read(company):
    for name in FILES:
        spoiled = company.config / "deploy" / name
        kept = spoiled.read_bytes()
        spoiled.unlink()
        (said,) = [line for line in company.faults() if line.startswith(f"deploy/{name}: cannot be read")]
        assert said.endswith("It is part of Benchkeeper: restore it.")
        spoiled.write_bytes(kept)
    company.load()


def test_what_a_function_does_not_say_is_taken_from_the_defaults(company):
    functions = company.load().functions
    assert functions["benchkeeper-tick"].concurrency == 1
    assert functions["benchkeeper-lifecycle"].concurrency == 8
    assert functions["benchkeeper-lifecycle"].timeout == timedelta(minutes=9)


# ---- services that not everybody needs


def test_a_service_that_is_optional_comes_with_its_option_only(company):
    always = set(company.load("local").apis)
    assert set(company.load("example").apis) - always == {"bigquery.googleapis.com", "cloudkms.googleapis.com"}
    path = company.config / "settings.example.yaml"
    path.write_text(re.sub(r"(?m)^  kms_key:.*\n", "", path.read_text(encoding="utf-8")), encoding="utf-8")
    assert set(company.load("example").apis) - always == {"bigquery.googleapis.com"}


ADMINS = "hub:\n  admin_group: platform-team@example.com\n"

# ---- what personal accounts need

SCIENTIST = """
  scientist:
    title: Scientist
    machine_type: n2-standard-8
    identity: personal-service-account
"""
ACCOUNTS_ROLE = "custom/benchkeeper_accounts"
# What messages to users need.
MESSAGES = {
    ("account/notify", "custom/benchkeeper_mails"),
    ("account/notify", "roles/secretmanager.secretAccessor"),
    ("account/notify", "roles/pubsub.publisher"),
    ("account/lifecycle", "roles/pubsub.publisher"),
    ("account/tick", "roles/pubsub.publisher"),
}
COSTS = {("account/tick", "custom/benchkeeper_costs"), ("account/tick", "roles/bigquery.dataViewer")}


def offer(company: Company, *profiles: str) -> Deployment:
    path = company.config / "profiles.yaml"
    path.write_text(path.read_text(encoding="utf-8") + "".join(profiles), encoding="utf-8")
    return company.load("local")


def test_without_personal_accounts_nothing_may_touch_service_accounts(company):
    found = company.load("local")
    assert ACCOUNTS_ROLE not in {grant.role for grant in found.grants}
    assert {(grant.to, grant.role) for grant in found.dormant_grants} == {
        ("account/lifecycle", ACCOUNTS_ROLE),
        ("account/tick", ACCOUNTS_ROLE),
        ("account/hub", f"{ACCOUNTS_ROLE}_look"),
        ("account/tick", "custom/benchkeeper_reports"),
        *COSTS,
        *MESSAGES,
    }
    assert found.dormant_roles == {
        "benchkeeper_accounts",
        "benchkeeper_accounts_look",
        "benchkeeper_costs",
        "benchkeeper_mails",
        "benchkeeper_reports",
    }
    held = {name for name, role in found.roles.items() for each in role.permissions if each.startswith("iam.")}
    assert held == {"benchkeeper_run_as"}
    assert {grant.on for grant in found.grants if grant.role == "custom/benchkeeper_run_as"} == {"cluster-accounts"}
    assert found.data_roles == {}


def test_a_profile_with_personal_accounts_brings_their_role_along(company):
    always = company.load("local")
    found = offer(company, SCIENTIST)
    assert {grant.to for grant in found.grants if grant.role == ACCOUNTS_ROLE} == {"account/lifecycle", "account/tick"}
    assert set(found.roles) - set(always.roles) == {
        "benchkeeper_accounts",
        "benchkeeper_accounts_look",
        "benchkeeper_reports",
    }
    assert {(grant.to, grant.role) for grant in found.dormant_grants} == COSTS | MESSAGES
    assert found.dormant_roles == {"benchkeeper_costs", "benchkeeper_mails"}
    assert set(found.apis) == set(always.apis)


def test_a_data_group_brings_cloud_identity_and_all_roles_that_any_profile_asks_for(company):
    path = company.config / "settings.local.yaml"  # an admin group brings it too
    path.write_text(re.sub(r"(?m)^  \w+_group:.*\n", "", path.read_text(encoding="utf-8")), encoding="utf-8")
    always = set(company.load("local").apis)
    group = "    data_group: readers@example.com\n    data_roles: "
    found = offer(
        company,
        f"{SCIENTIST}{group}[roles/bigquery.jobUser, roles/bigquery.dataViewer]\n",
        f"{SCIENTIST.replace('scientist:', 'trainee:')}{group}[roles/bigquery.dataViewer]\n",
        f"{SCIENTIST.replace('scientist:', 'guest:')}    data_group: guests@example.com\n",
    )
    assert set(found.apis) - always == {"cloudidentity.googleapis.com"}
    assert found.data_roles == {
        "guests@example.com": (),
        "readers@example.com": ("roles/bigquery.dataViewer", "roles/bigquery.jobUser"),
    }


def test_an_admin_group_of_the_page_brings_cloud_identity(company):
    path = company.config / "settings.new.yaml"
    path.write_text(settings_text("acme-analytics", "europe-west1"), encoding="utf-8")
    without = set(company.load("new").apis)
    path.write_text(f"{settings_text('acme-analytics', 'europe-west1')}{ADMINS}", encoding="utf-8")
    assert set(company.load("new").apis) - without == {"cloudidentity.googleapis.com"}


def test_costs_are_read_where_a_billing_export_is_named(company):
    found = company.load("example")
    assert {(grant.to, grant.role) for grant in found.grants} >= COSTS
    assert "benchkeeper_costs" in found.roles


# ---- placeholders


def test_placeholders_are_filled_in(company):
    found = company.load()
    assert '"projects/acme-analytics/logs/' in found.sinks["benchkeeper-notebooks"].filter
    assert '"organizations/123456789012/logs/' in found.sinks["benchkeeper-people"].filter
    assert "FROM `acme-billing.billing.gcp_billing_export_v1_012EB3_BC4637_0FC348`" in found.cost_view
    assert "${" not in found.cost_view


def test_a_filter_may_be_rendered_by_the_code_that_reads_what_it_lets_through(company, monkeypatch):
    assert company.load().sinks["benchkeeper-people"].filter == render_people_filter("123456789012")
    monkeypatch.delitem(data.RENDERED, "benchkeeper-people")
    (said,) = company.faults()
    assert "sinks.benchkeeper-people.filter: no rendered filter of the sink 'benchkeeper-people'" in said


def test_names_of_topics_are_those_of_the_settings(company):
    with (company.config / "settings.local.yaml").open("a", encoding="utf-8") as file:
        file.write("topics: {tick: clock, dead_letter: lost, notifications: told}\n")
    sources = company.config / "sources.yaml"
    text = sources.read_text(encoding="utf-8")
    sources.write_text(text.replace("topic: workbench-lifecycle", "topic: news"), encoding="utf-8")
    found = company.load("local")
    assert set(found.topics) == {
        "news",
        "workbench-directory",
        "workbench-operator",
        "workbench-wake",
        "clock",
        "lost",
        "told",
    }
    assert found.functions["benchkeeper-lifecycle"].topic == "news"
    assert set(found.subscriptions) == {"lost-kept"}
    assert {grant.on for grant in found.grants} >= {"topic/lost"}


def test_a_dollar_is_written_twice(company):
    assert "[0-9]{0,2})?$'" in company.load().cost_view
    company.replace("deploy/accounts.yaml", "title: Benchkeeper tick", "title: costs $$5")
    assert company.load().accounts["tick"].title == "costs $5"


def test_a_dollar_alone_is_a_fault(company):
    line = company.replace("deploy/accounts.yaml", "title: Benchkeeper tick", "title: costs $ 5")
    (said,) = company.faults()
    assert said.startswith(f"deploy/accounts.yaml:{line}: no value '$'")


@pytest.mark.parametrize("file", FILES)
def test_a_placeholder_that_nobody_knows_is_named_with_its_line(company, file):
    path = company.config / "deploy" / file
    comment = "--" if file.endswith(".sql") else "#"
    text = path.read_text(encoding="utf-8")
    path.write_text(f"{text}{comment} ${{projekt}}\n", encoding="utf-8")
    (said,) = company.faults()
    lines = text.count("\n") + 1
    assert said.startswith(
        f"deploy/{file}:{lines}: no value '${{projekt}}'. Did you mean 'project'? Valid: billing_export,"
    )


# ---- planted faults


ACCOUNTS = "Did you mean 'tick'? Valid: build, dead-letter, hub, lifecycle, notify, push, tick."
TOPICS = (
    "Valid: workbench-dead-letter, workbench-directory, workbench-lifecycle, workbench-notifications, "
    "workbench-operator, workbench-tick, workbench-wake."
)
# file, what stands there, what is put there, the field that is named, what is said of it
PLANTED: dict[str, tuple[str, str, str, str, str]] = {
    "apis: unknown key": ("apis", "optional:", "optionl:", "optionl", "Did you mean 'optional'? Valid: apis, optional."),
    "apis: no service": ("apis", "run.googleapis.com:", "run:", "apis.run", "string should match"),
    "apis: no option": (
        "apis", "com: billing_export", "com: billing", "optional.bigquery.googleapis.com",
        "'billing' is not one of the values: 'billing_export', 'kms_key', 'groups' or 'messages'",
    ),
    "accounts: unknown key": (
        "accounts", "{id: benchkeeper-push, title: Benchkeeper push, for", "{id: benchkeeper-push, title: push, fro",
        "accounts.push.fro", "unknown key 'fro'. Did you mean 'for'? Valid: for, id, title, when.",
    ),
    "accounts: an id that IAM does not take": (
        "accounts", "id: benchkeeper-build", "id: Build", "accounts.build.id", "string should match pattern",
    ),
    "accounts: one that another file names is gone": (
        "accounts", "  push:", "  pusch:", "push_account", "no account 'push'. Did you mean 'pusch'?",
    ),
    "roles: unknown key": (
        "roles", "    title: Benchkeeper records", "    titel: Benchkeeper records", "roles.benchkeeper_objects.titel",
        "Did you mean 'title'? Valid: description, permissions, title.",
    ),
    "roles: no permission": (
        "roles", "- notebooks.instances.stop\n", "- notebooks.stop\n", "roles.benchkeeper_notebooks.permissions[5]",
        "string should match",
    ),
    **{
        f"roles: {role}": ("roles", "role: roles/logging.logWriter", f"role: {role}", "grants[33].role", "has more permissions than needed")
        for role in (
            "roles/editor", "roles/owner", "roles/viewer", "roles/storage.admin", "roles/iam.securityAdmin",
            "roles/storage.objectAdmin", "roles/pubsub.editor",
        )
    },
    "roles: a custom role that is not defined": (
        "roles", "role: custom/benchkeeper_letters", "role: custom/benchkeeper_leters", "",
        "no custom role 'benchkeeper_leters'; there are: benchkeeper_accounts, benchkeeper_accounts_look, benchkeeper_audit, benchkeeper_audit_list, benchkeeper_audit_log,",
    ),
    "roles: a bare on": (
        "roles", '{to: account/dead-letter, role: custom/benchkeeper_letters, "on": bucket/letters}',
        "{to: account/dead-letter, role: custom/benchkeeper_letters, on: bucket/letters}", "grants[23].on", "is missing",
    ),
    "roles: a condition that nobody knows": (
        "roles", '{to: account/tick, role: custom/benchkeeper_accounts, "on": project, when: personal_accounts}',
        '{to: account/tick, role: custom/benchkeeper_accounts, "on": project, when: always}', "grants[17].when",
        "'always' is not one of the values: 'personal_accounts', 'billing_export' or 'messages'",
    ),
    "buckets: unknown key": ("buckets", "soft_delete", "softdelete", "buckets.records.softdelete", "Did you mean 'soft_delete'?"),
    "buckets: versioning is not a choice": ("buckets", "versioning: true", "versioning: false", "buckets.records.versioning", "'False' is not one of the values: True"),
    "buckets: no duration": ("buckets", "keep_old_versions: 30d", "keep_old_versions: long", "buckets.records.keep_old_versions", "long"),
    "buckets: one is left out": ("buckets", "  letters:", "  lettres:", "buckets.letters", "is missing"),
    "buckets: objects that go at once": (
        "buckets", "delete_after: 7d", "delete_after: 1d", "buckets.inbox.delete_after", "it must be 7d or more",
    ),
    "roles: on a bucket that nobody knows": ("roles", '"on": bucket/inbox}', '"on": bucket/outbox}', "grants[1].on", "should match"),
    "roles: granted and withdrawn": (
        "roles", 'custom/benchkeeper_objects, "on": bucket/records}\n  - {to: account/hub', 'custom/benchkeeper_records_look, "on": bucket/records}\n  - {to: account/hub',
        "", "is granted and withdrawn",
    ),
    "topics: unknown key": (
        "topics", "{retention: 10m}", "{retension: 10m}", "topics.workbench-tick.retension", "Did you mean 'retention'?",
    ),
    "topics: an id that Pub/Sub does not take": ("topics", "${topic_tick}:", "1st:", "topics.1st", "string should match"),
    "topics: a subscription of no topic": (
        "topics", '{topic: "${topic_dead_letter}"', "{topic: lost", "",
        "subscription 'workbench-dead-letter-kept' is for topic 'lost', which is not here",
    ),
    "functions: unknown key": (
        "functions", "    concurrency: 1 ", "    concurency: 1 ", "functions.benchkeeper-tick.concurency",
        "Did you mean 'concurrency'?",
    ),
    "functions: unknown key of all": (
        "functions", "  memory: 512Mi", "  memori: 512Mi", "functions.benchkeeper-lifecycle.memori", "Did you mean 'memory'?",
    ),
    "functions: an account that is not there": (
        "functions", "account: tick\n", "account: tik\n", "functions.benchkeeper-tick.account", f"no account 'tik'. {ACCOUNTS}",
    ),
    "functions: a builder that is not there": (
        "functions", "build_account: build", "build_account: bild", "build_account", "no account 'bild'. Did you mean 'build'?",
    ),
    "functions: a topic that is not there": (
        "functions", "topic: ${topic_lifecycle}", "topic: workbench-lifecicle", "functions.benchkeeper-lifecycle.topic",
        f"no topic 'workbench-lifecicle'. Did you mean 'workbench-lifecycle'? {TOPICS}",
    ),
    "functions: attempts without a dead letter": (
        "functions", "      dead_letter_topic: ${topic_dead_letter}\n      max_delivery_attempts: 100\n", "      max_delivery_attempts: 100\n",
        "functions.benchkeeper-lifecycle.delivery", "dead_letter_topic and max_delivery_attempts must be set together",
    ),
    "functions: a dead letter without attempts": (
        "functions", "      max_delivery_attempts: 100\n", "", "functions.benchkeeper-lifecycle.delivery",
        "dead_letter_topic and max_delivery_attempts must be set together",
    ),
    **{
        f"functions: {attempts} attempts": (
            "functions", "attempts: 100\n", f"attempts: {attempts}\n",
            "functions.benchkeeper-lifecycle.delivery.max_delivery_attempts", f"not {attempts}",
        )
        for attempts in (0, 4, 101)
    },
    "functions: longer than it may live": (
        "functions", "timeout: 540s", "timeout: 541s", "functions.benchkeeper-lifecycle.timeout", "an event function may run for at most 540s",
    ),
    "functions: a part of a CPU": ("functions", 'cpu: "1"', 'cpu: "0.5"', "functions.benchkeeper-lifecycle.cpu", "not '0.5'"),
    "functions: open to the internet": (
        "functions", "ingress: internal-only", "ingress: all", "functions.benchkeeper-lifecycle.ingress",
        "'all' is for http functions only: for messages, write internal-only",
    ),
    "functions: a page that hears a topic": (
        "functions", "    http: true ", "    topic: ${topic_tick}\n    http: true ", "functions.benchkeeper-hub",
        "with http: true it has no topic; remove topic and delivery, or http",
    ),
    "functions: neither a topic nor a page": (
        "functions", "    topic: ${topic_tick}\n", "", "functions.benchkeeper-tick",
        "topic and delivery are both needed, or http: true for a page that people open",
    ),
    "functions: a page that lives too long": (
        "functions", "    timeout: 60s", "    timeout: 3601s", "functions.benchkeeper-hub.timeout", "an http function may run for at most 3600s",
    ),
    "functions: two pages": (
        "functions", "    topic: ${topic_directory}\n    delivery: *news\n", "    http: true\n", "",
        "one function may have http: true, not benchkeeper-directory, benchkeeper-hub",
    ),
    "functions: a runtime that is none": (
        "functions", "runtime: python313 ", "runtime: nodejs22 ", "functions.benchkeeper-lifecycle.runtime", "not 'nodejs22'",
    ),
    "jobs: unknown key": (
        "jobs", 'benchkeeper-due: {schedule: "* * * * *", topic', 'benchkeeper-due: {schedule: "* * * * *", topik',
        "jobs.benchkeeper-due.topik", "Did you mean 'topic'? Valid: body, schedule, topic.",
    ),
    "jobs: a message without data": ("jobs", "body: {sweep: idle}", "body: {}", "jobs.benchkeeper-idle.body", "at least 1 item"),
    "jobs: four fields": (
        "jobs", '"*/10 * * * *"', '"*/10 * * *"', "jobs.benchkeeper-idle.schedule",
        "'*/10 * * *' is not a schedule; write five fields, for example */10 * * * *",
    ),
    "jobs: a topic that is not there": (
        "jobs", '"0 * * * *", topic: "${topic_tick}"', '"0 * * * *", topic: workbench-tik', "jobs.benchkeeper-drift.topic",
        f"no topic 'workbench-tik'. Did you mean 'workbench-tick'? {TOPICS}",
    ),
    "sinks: unknown key": (
        "sinks", "    scope: project", "    scop: project", "sinks.benchkeeper-notebooks.scop",
        "Did you mean 'scope'? Valid: filter, scope, topic.",
    ),
    "sinks: no scope": (
        "sinks", "scope: organization", "scope: folder", "sinks.benchkeeper-people.scope",
        "'folder' is not one of the values: 'project' or 'organization'",
    ),
    "metrics: unknown key": ("metrics", "metrics:\n", "metrix: {}\nmetrics:\n", "metrix", "Did you mean 'metrics'?"),
    "metrics: somebody else's name": (
        "metrics", "  benchkeeper/dead_letters:", "  dead_letters:", "metrics.dead_letters", "string should match",
    ),
    "alerts: unknown key": ("alerts", "alerts:\n", "alertz: {}\nalerts:\n", "alertz", "Did you mean 'alerts'?"),
    "alerts: a key that is no label": ("alerts", "  no-due-sweep:", "  No due sweep:", "alerts.No due sweep", "string should match"),
    "dashboard: no name": ("dashboard", "displayName:", "displayname:", "displayName", "is missing"),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_named_with_file_field_and_what_is_valid(company, name):
    file, old, new, field, said = PLANTED[name]
    path = company.config / "deploy" / f"{file}.yaml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    faults = company.faults()
    where = re.compile(rf"deploy/\w+\.yaml(:\d+)?: {re.escape(field)}" + (":" if field else ""))
    assert any(where.match(line) and said in line for line in faults), faults


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("roles", "role: roles/logging.logWriter", "role: roles/editor"),
        ("buckets", "soft_delete: 30d       ", "soft_delete: soon"),
        ("jobs", '"*/10 * * * *"', '"often"'),
        ("sinks", "scope: organization", "scope: folder"),
    ],
)
def test_the_line_is_the_one_of_the_fault(company, file, old, new):
    line = company.replace(f"deploy/{file}.yaml", old, new)
    (said,) = company.faults()
    assert said.startswith(f"deploy/{file}.yaml:{line}: ")


@pytest.mark.parametrize("file", [name for name in FILES if name.endswith(".yaml")])
def test_broken_yaml_is_named_with_its_line(company, file):
    path = company.config / "deploy" / file
    path.write_text(path.read_text(encoding="utf-8") + "\nx: [\n", encoding="utf-8")
    assert any(re.match(rf"deploy/{file}:\d+: ", line) for line in company.faults())


def test_all_faults_of_all_files_are_told_at_once(company):
    for file, old, new in [
        ("roles", "role: roles/logging.logWriter", "role: roles/editor"),
        ("buckets", "soft_delete: 30d       ", "soft_delete: soon"),
        ("jobs", '"*/10 * * * *"', '"often"'),
        ("jobs", "body: {sweep: drift}", "body: {}"),
        ("sinks", "scope: project", "scope: folder"),
        ("metrics", "metrics:\n", "# ${nobody}\nmetrics:\n"),
        ("topics", "{retention: 10m}", "{retention: 10}"),
    ]:
        company.replace(f"deploy/{file}.yaml", old, new)
    faults = company.faults()
    files = [line.split(":")[0] for line in faults]
    assert sorted(files) == sorted(
        f"deploy/{name}.yaml" for name in ("roles", "buckets", "jobs", "jobs", "sinks", "metrics", "topics")
    )


# What names something of another file is checked against it.
ACROSS: dict[str, tuple[str, str, str, str]] = {
    "a grant to an account that is not there": ("roles", "{to: account/tick, role: custom/benchkeeper_sweeps", "{to: account/tik, role: custom/benchkeeper_sweeps", "no account 'tik'"),
    "a grant to an agent that nobody knows": ("roles", "{to: agent/pubsub", "{to: agent/pubsup", "agent 'pubsup'"),
    "a grant on a topic that is not there": ("roles", '{to: agent/pubsub, role: roles/pubsub.publisher, "on": "topic/${topic_dead_letter}"}', '{to: agent/pubsub, role: roles/pubsub.publisher, "on": topic/lost}', "no topic 'lost'"),
    "a grant on an account, which nothing carries out": ("roles", '{to: account/build, role: roles/logging.logWriter, "on": project}', '{to: account/build, role: roles/logging.logWriter, "on": account/tick}', "account/tick"),
    "a sink into a topic that is not there": ("sinks", "    scope: project\n    topic: ${topic_wake}", "    scope: project\n    topic: lost", "no topic 'lost'"),
    "a schedule with a minute 61": ("jobs", '"0 * * * *"', '"61 * * * *"', "'61 * * * *' is not a schedule"),
    "a schedule of words": ("jobs", '"0 * * * *"', '"every day at noon please"', "is not a schedule"),
    "a topic that keeps nothing": ("topics", "{retention: 10m}", "{retention: 1m}", "retention"),
    "a topic that keeps for longer than Pub/Sub does": ("topics", "{retention: 10m}", "{retention: 32d}", "10m to 31d"),
    "an ack deadline that is too long": ("topics", "ack_deadline: 60s", "ack_deadline: 601s", "10s to 600s"),
    "an ack deadline that Pub/Sub does not take": ("topics", "ack_deadline: 60s", "ack_deadline: 5s", "ack_deadline"),
    "old versions that go at once": ("buckets", "keep_old_versions: 7d", "keep_old_versions: 12h", "keep_old_versions"),
}  # fmt: skip


@pytest.mark.parametrize("name", ACROSS)
def test_what_gcloud_would_refuse_is_refused_here(company, name):
    file, old, new, said = ACROSS[name]
    company.replace(f"deploy/{file}.yaml", old, new)
    assert any(said in line for line in company.faults())
