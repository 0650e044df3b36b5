"""The runbook against what it speaks about: every command parses, every name exists, every sum is right.

gcloud's own parser reads the gcloud commands (`gcloud meta lint-gcloud-commands`): it runs none of them and asks nobody.
"""

from __future__ import annotations

import json
import math
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from kit.inprocess import impatient, make_bench
from kit.official import storage_bucket
from kit.oracle import instances

from cli.deploy.__main__ import main as deploy
from cli.local.__main__ import main as local
from cli.main import main as benchkeeper
from shared.domain.people.events import Joined
from shared.domain.record.status import ConditionType
from shared.domain.things.errors import Reason
from shared.domain.things.identity import parse_email
from shared.engine.news.deliver import deliver
from shared.engine.sweeps.sweeps import sweep
from shared.settings.file import parse_text
from shared.settings.models import DeploymentFile, SettingsFile
from tests.kit.gcp import sdk

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "config" / "deploy"
TEXT = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
BLOCKS = [
    re.sub(r"(?m)^ +```$", "", block)
    for block in re.findall(r"(?m)^ *```bash(?: not-run)?\n(.*?)^ *```", TEXT, flags=re.DOTALL)
]
PROSE = re.sub(r"(?ms)^ *```bash(?: not-run)?\n.*?^ *```", "", TEXT)
SPANS = [re.sub(r"\s+", " ", span) for span in re.findall(r"`([^`]+)`", PROSE)]
OTHERS = {
    "bq", "cd", "do", "done", "echo", "export", "for", "git", "grep", "jq", "read", "split", "terraform", "while",
}  # fmt: skip
VARIABLES = {
    "PROJECT": "acme-analytics", "REGION": "europe-west1", "BUCKET": "acme-analytics-benchkeeper", "NUMBER": "123456789012",
    "FILTER": "severity=ERROR", "name": "tick",
}  # fmt: skip
PLACES = {"OTHER_PROJECT": "acme-other", "OTHER_REGION": "europe-west4"}
REDIRECTIONS = {">", ">>", "<"}
FILLED = {"USER": "ana.silva@example.com", "FILE": "news.json", "FILES": "news.json", "entries-*.json": "news.json"}
GOOGLES_ROLES = {  # names from the role reference of IAM
    "artifactregistry.writer", "bigquery.dataViewer", "bigquery.jobUser", "bigquery.resourceViewer", "bigquery.user", "cloudfunctions.admin",
    "cloudkms.admin", "cloudscheduler.admin", "compute.networkUser", "compute.viewer", "dataproc.viewer", "dataproc.worker", "eventarc.viewer",
    "iam.roleAdmin", "iam.serviceAccountAdmin", "iam.serviceAccountTokenCreator", "iam.serviceAccountUser",
    "iam.serviceAccountViewer", "iap.admin", "iap.httpsResourceAccessor", "logging.configWriter", "logging.viewer",
    "monitoring.editor", "monitoring.viewer", "notebooks.viewer", "pubsub.admin", "pubsub.publisher",
    "resourcemanager.projectIamAdmin", "run.admin", "run.invoker", "secretmanager.admin", "serviceusage.serviceUsageAdmin", "storage.admin",
    "storage.objectViewer",
}  # fmt: skip
NOT_OURS = {"workbench-notebooks-deployer"}  # the seed's name ends so
TIMES = "\N{MULTIPLICATION SIGN}"
TICKS = {
    "benchkeeper-due": 43_200,
    "benchkeeper-idle": 4_320,
    "benchkeeper-drift": 720,
    "benchkeeper-roster": 720,
}  # in 30 days


def commands(block: str) -> Iterator[list[str]]:
    """Each simple command of a block, in words: pipes, lists, loops and `$(...)` taken apart."""
    for line in block.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        lexer.commenters = ""
        words: list[str] = []
        separator = ""
        for word in lexer:
            if set(word) <= set("|&;()<>"):
                separator = word
                if word not in REDIRECTIONS:
                    yield words
                    words = []
            elif separator in REDIRECTIONS:
                separator = ""  # the file that follows
            else:
                words.append(word)
        yield words


def program(words: list[str]) -> list[str]:
    """Without shell keywords and assignments in front."""
    while words and (words[0] in {"do", "while", "export"} or re.fullmatch(r"[A-Za-z_]+=\S*", words[0])):
        if words[0] == "export":
            return []
        words = words[1:]
    return words


def joined(block: str) -> str:
    """A query over several lines in quotes is one word."""
    return re.sub(r"'[^']*'", lambda quoted: re.sub(r"\s*\n\s*", " ", quoted.group()), block.replace("\\\n", " "))


IN_BLOCKS = [found for block in BLOCKS for words in commands(joined(block)) if (found := program(words))]
IN_PROSE = [shlex.split(span) for span in SPANS if re.match(r"(benchkeeper|gcloud|\./deploy\.sh|bq) \S", span)]
ALL = IN_BLOCKS + IN_PROSE


def of(name: str) -> list[list[str]]:
    return [words[1:] for words in ALL if words[0] == name]


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))


def spelled(words: list[str]) -> str:
    return " ".join(words)


# --- commands


def test_the_runbook_has_commands_and_only_known_programs():
    assert len(IN_BLOCKS) > 80
    assert {words[0] for words in ALL} <= {"benchkeeper", "gcloud", "./deploy.sh", *OTHERS}


def parse(command: click.Command, name: str, words: list[str], parent: click.Context | None = None) -> None:
    """Parse as click would before it calls anything; a group goes on with its command."""
    with command.make_context(name, list(words), parent=parent) as context:
        if isinstance(command, click.Group):
            rest = [*context._protected_args, *context.args]
            if not rest and command.invoke_without_command:
                return
            sub_name, sub, left = command.resolve_command(context, rest)
            assert sub is not None
            parse(sub, str(sub_name), left, context)


@pytest.mark.parametrize("words", of("benchkeeper"), ids=spelled)
def test_benchkeeper_takes_every_command(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("prod.tfvars", "news.json", "leavers.csv"):
        (tmp_path / name).write_text("", encoding="utf-8")
    parse(benchkeeper, "benchkeeper", [FILLED.get(word, word) for word in words])


def test_a_wrong_benchkeeper_command_is_noticed():
    with pytest.raises(click.UsageError):
        parse(benchkeeper, "benchkeeper", ["dead-letter", "list", "--sinse", "2026-11-23T08:00:00Z"])
    with pytest.raises(click.UsageError):
        parse(benchkeeper, "benchkeeper", ["histroy", "ana.silva@example.com"])


@pytest.mark.parametrize("words", of("./deploy.sh"), ids=spelled)
def test_deploy_takes_every_command(words):
    verb, *rest = words
    if not rest:
        usage = subprocess.run([ROOT / "deploy.sh", "--help"], capture_output=True, text=True, check=True, timeout=60)
        assert f"./deploy.sh {verb} " in usage.stdout.replace("\n", " \n")
    elif verb == "local":
        parse(local, "local", rest)
    else:
        parse(deploy, "./deploy.sh", [PLACES.get(word, VARIABLES.get(word.removeprefix("$"), word)) for word in words])


def test_a_wrong_deploy_command_is_noticed():
    with pytest.raises(click.UsageError):
        parse(deploy, "./deploy.sh", ["gcp", "--project", "acme-analytics", "--dryrun"])
    with pytest.raises(click.UsageError):
        parse(deploy, "./deploy.sh", ["destroy", "--project", "$PROJECT"])


def said_by_gcloud(folder: Path, commands_: list[str]) -> dict[str, str]:
    """What gcloud's own parser says against each command ("" = nothing); it runs none of them."""
    if sdk.GCLOUD is None:
        pytest.skip("gcloud is not installed")
    file = folder / "commands.json"
    file.write_text(json.dumps([{"command_string": text} for text in commands_]), encoding="utf-8")
    done = subprocess.run(
        [sdk.GCLOUD, "meta", "lint-gcloud-commands", f"--commands-file={file}"],
        env=sdk.plain_environment(CLOUDSDK_CONFIG=str(folder / "gcloud"), HOME=str(folder)),
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    if "Invalid choice" in done.stderr:
        pytest.skip("this gcloud has no linter for commands")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == len(commands_)
    return {each["command_string"]: each["error_message"] or "" for each in found if not each["success"]}


def as_typed(words: list[str]) -> str:
    """For the linter: it would take a word after a flag without a value for that value, and `#` for a comment in quotes too."""
    filled = [re.sub(r"\$(\w+)", lambda name: VARIABLES[name[1]], word).replace("#", "%23") for word in words]
    filled = [word.replace("HOST_PROJECT", "acme-network") for word in filled]  # a project's id has no capitals
    filled.sort(key=lambda word: word.startswith("--") + (word.startswith("--") and "=" not in word))
    return shlex.join(["gcloud", *filled])


def test_gcloud_takes_every_command(tmp_path):
    wanted = sorted({as_typed(words) for words in of("gcloud")})
    assert len(wanted) > 40
    assert said_by_gcloud(tmp_path, wanted) == {}


def test_a_wrong_gcloud_command_is_noticed(tmp_path):
    wrong = [
        "gcloud pubsub subscriptions rewind X",
        "gcloud pubsub subscriptions seek X --to=2026-11-22T08:00:00Z",
        "gcloud pubsub subscriptions seek X Y --time=2026-11-22T08:00:00Z",
    ]
    assert set(said_by_gcloud(tmp_path, wrong)) == set(wrong)


# --- names


def anchors() -> set[str]:
    heads = re.findall(r"(?m)^#+ (.+)$", PROSE)
    return {re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-") for head in heads}


def test_every_link_inside_leads_to_a_section_and_every_section_is_reached():
    links = set(re.findall(r"\]\(#([^)]+)\)", PROSE))
    assert links <= anchors()
    assert anchors() - links <= {"operations", "contents", "what-a-person-sees-first"}


def test_the_sections_that_messages_of_the_deployment_name_are_there():
    named = set()
    for path in (ROOT / "cli" / "deploy").rglob("*.py"):
        source = re.sub(r'"\s*\n\s*f?"', "", path.read_text(encoding="utf-8"))
        named |= set(re.findall(r"docs/operations\.md, ([A-Z][a-z]*(?: [a-z]+)+)", source))
    assert named >= {"Who may deploy", "A quota rise", "Cost by user", "Who may act as the agent"}
    assert {name.lower().replace(" ", "-") for name in named} <= anchors()


def test_who_may_deploy_names_a_role_for_every_service_that_the_deployment_asks():
    section = TEXT.partition("\n## Who may deploy\n")[2].partition("\n## ")[0]
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "cli" / "deploy").rglob("*.py"))
    asked = set(re.findall(r'\(\s*(?:"[a-z]+\.googleapis\.com", |api, |_[A-Z]+, )?"([a-z]+)",\s*"[a-z-]+"', sources))
    asked |= set(re.findall(r'Call\(\s*"([a-z]+)"', sources))
    services = asked & set(services_by_group())
    assert services >= {
        "pubsub",
        "storage",
        "iam",
        "functions",
        "run",
        "scheduler",
        "logging",
        "monitoring",
        "bigquery",
    }
    assert [service for service in sorted(services) if f"`roles/{services_by_group()[service]}." not in section] == []


def services_by_group() -> dict[str, str]:
    """gcloud's groups and REST services that the deployment may use, with the service whose roles they take."""
    return {
        "services": "serviceusage", "projects": "resourcemanager", "iam": "iam", "storage": "storage", "pubsub": "pubsub",
        "functions": "cloudfunctions", "run": "run", "eventarc": "eventarc", "scheduler": "cloudscheduler",
        "logging": "logging", "monitoring": "monitoring", "kms": "cloudkms", "workbench": "notebooks", "bigquery": "bigquery",
    }  # fmt: skip


def test_every_alert_stands_in_the_first_table_under_its_own_name():
    for key, alert in read("alerts.yaml")["alerts"].items():
        assert f'| alert "{alert["displayName"]}" | [{key}](#{key}) |' in TEXT


def test_every_alert_section_says_what_where_what_to_do_and_when_it_ends():
    for key in read("alerts.yaml")["alerts"]:
        section = TEXT.partition(f"### {key}\n")[2].partition("\n#")[0]
        for part in ("**Means.**", "**Look here", "**Ends**"):
            assert part in section, f"{key}: {part}"
        assert "**Do.**" in section or "do.**" in section, key


def test_every_file_that_is_named_exists():
    paths = {span for span in SPANS if re.fullmatch(r"(config|docs|cli|tests|shared)/[\w./-]+", span)}
    assert len(paths) > 8
    written_by_deploy = {"config/settings.prod.yaml"}
    assert [path for path in sorted(paths - written_by_deploy) if not (ROOT / path).exists()] == []


def deployed() -> set[str]:
    """Everything that a deployment gives a name that begins with ours."""
    values = {
        "topic_lifecycle": "workbench-lifecycle",
        "topic_directory": "workbench-directory",
        "topic_operator": "workbench-operator",
        "topic_wake": "workbench-wake",
        "topic_tick": "workbench-tick",
        "topic_dead_letter": "workbench-dead-letter",
        "topic_notifications": "workbench-notifications",
    }
    topics = read("topics.yaml")
    names = [*topics["topics"], *topics["subscriptions"]]
    names = [re.sub(r"\$\{(\w+)\}", lambda found: values[found[1]], name) for name in names]
    accounts = [account["id"] for account in read("accounts.yaml")["accounts"].values()]
    return {
        *names, *accounts, *read("functions.yaml")["functions"], *read("jobs.yaml")["jobs"], *read("sinks.yaml")["sinks"],
        *read("roles.yaml")["roles"],
    }  # fmt: skip


def test_every_topic_function_account_job_sink_and_role_of_ours_is_deployed():
    labels = {"benchkeeper-user", "benchkeeper-profile"}  # on every environment
    named = set(re.findall(r"\b(?:workbench|benchkeeper)[-_][a-z_-]+[a-z]\b", TEXT)) - labels
    named = {name for name in named if name not in NOT_OURS}
    assert len(named) > 10
    assert sorted(named - deployed()) == []
    text = (ROOT / "shared" / "domain" / "things" / "notebook.py").read_text(encoding="utf-8")
    assert all(f'"{label}"' in text for label in labels)


def test_every_predefined_role_is_one_of_googles():
    """A role with a typing error would not be found by anything else here."""
    named = set(re.findall(r"(?<!/)roles/([A-Za-z.]+[A-Za-z])", TEXT))
    assert len(named) > 15
    assert sorted(named - GOOGLES_ROLES) == []


def test_every_log_line_that_is_searched_for_is_written_by_the_product():
    sources = "".join(
        path.read_text(encoding="utf-8") for part in ("shared", "functions") for path in (ROOT / part).rglob("*.py")
    )
    asked = {
        text
        for found in re.findall(r'jsonPayload\.message=(\([^)]*\)|"[^"]+")', TEXT)
        for text in re.findall(r'"([^"]+)"', found)
    }
    assert len(asked) > 4
    assert [text for text in sorted(asked) if f'"{text}"' not in sources] == []


def test_every_reason_that_a_condition_can_have_is_in_the_decision_tree():
    tree_text = PROSE.partition("\n## A stuck user\n")[2].partition("\n## A quota rise\n")[0]
    told = set(re.findall(r"`([A-Z][A-Za-z]+)`", tree_text))
    # `Settled` is of `Reconciled` alone and good news.
    assert {reason.value for reason in Reason} - told == {Reason.SETTLED.value}
    assert told <= {reason.value for reason in Reason} | {kind.value for kind in ConditionType}


def test_every_setting_that_is_named_is_one():
    fields = set(DeploymentFile.__struct_fields__)
    named = set(re.findall(r"`deployment\.(\w+)`", TEXT))
    assert named == fields
    assert (
        parse_text(ROOT / "x.yaml", "project: acme-analytics\nzones: [europe-west1-b]\nbucket: abc\n", SettingsFile, [])
        is not None
    )


# --- numbers


def number(text: str) -> float:
    return float(text.replace(",", "").replace("$", ""))


def value(expression: str) -> float:
    """A sum of products and quotients, left to right."""
    total = 0.0
    for term in expression.split(" + "):
        first, *rest = re.split(rf" ([{TIMES}÷]) ", term)
        result = number(first)
        for sign, operand in zip(rest[::2], rest[1::2], strict=True):
            result = result * number(operand) if sign == TIMES else result / number(operand)
        total += result
    return total


SUMS = [(left, right) for left, right in re.findall(rf"`([\d,.$ {TIMES}÷+]+) = (\$[\d.,]+)`", TEXT)]


@pytest.mark.parametrize(("left", "right"), SUMS)
def test_a_sum_is_right(left, right):
    assert math.isclose(value(left), number(right), abs_tol=0.0006)


def test_the_total_is_the_sum_of_the_table():
    table = TEXT.partition("| what | a month, without free tier | free |\n")[2].partition("\n\n")[0]
    rows = [number(right) for _, right in re.findall(r"`([^`]+) = (\$[\d.,]+)`", table)]
    assert len(rows) > 10
    totals = [number(right) for left, right in SUMS if " + " in left]
    assert math.isclose(sum(rows), totals[0], abs_tol=0.0006)


def test_the_numbers_of_the_estimate_are_those_of_the_deployment():
    jobs = read("jobs.yaml")["jobs"]
    assert {name: job["schedule"] for name, job in jobs.items()} == {
        "benchkeeper-due": "* * * * *", "benchkeeper-idle": "*/10 * * * *", "benchkeeper-drift": "0 * * * *",
        "benchkeeper-roster": "30 * * * *",
    }  # fmt: skip
    ticks = sum(TICKS.values())
    assert f"{ticks:,} a month" in TEXT.replace("\n", " ")
    # Hints and wishes; people and letters in two buckets; those, what lies in the bucket, policies, letters past their lifetime, slots, who
    # waits, manifests, what is in none, and what waits for the audit.
    listings = 2 * TICKS["benchkeeper-due"] + 4 * TICKS["benchkeeper-idle"] + 12 * TICKS["benchkeeper-drift"]
    assert f"{listings:,} {TIMES} $0.005" in TEXT
    assert f"Scheduler, {len(jobs)} jobs | `{len(jobs)} {TIMES}" in TEXT
    conditions = sum(len(alert["conditions"]) for alert in read("alerts.yaml")["alerts"].values())
    assert f"Alerts, {conditions} conditions | `{conditions} {TIMES}" in TEXT
    functions = read("functions.yaml")
    tick = functions["defaults"] | functions["functions"]["benchkeeper-tick"]
    assert (tick["cpu"], tick["memory"]) == ("1", "1Gi")


def test_lines_are_short():
    assert [line for line in TEXT.splitlines() if len(line) > 120] == []


# --- what it promises


def test_who_lost_the_record_and_is_announced_again_gets_the_same_instance():
    with impatient():
        bench = make_bench()
        ana = parse_email("ana.silva@example.com")

        def announce(event_id: str) -> None:
            news = Joined(event_id=event_id, user=ana, occurred_at=bench.now, effective_at=bench.now)
            deliver(news, bench.deps)
            for _ in range(6):
                bench.advance(minutes=1)
                sweep("due", bench.deps)

        announce("e1")
        before = {instance.body["id"]: instance.state for instance in instances(bench.cloud).values()}
        assert list(before.values()) == ["ACTIVE"]
        bucket = storage_bucket(bench.clients)
        for blob in list(bucket.list_blobs()):
            blob.delete()
        announce("e2")
        assert {instance.body["id"]: instance.state for instance in instances(bench.cloud).values()} == before
        (row,) = bench.deps.records.rows()
        assert (row.email, row.reason) == (ana, Reason.READY.value)
