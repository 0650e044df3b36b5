"""`import seed` over an embedded cloud: people come over once, templates become drafts, and the example's bucket stays as it is."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime

import pytest
import yaml
from kit.oracle import instances

from emulator.faults import Fault
from shared.domain.things.identity import parse_email, user_key_for
from shared.seed_templates import BUCKET_MARK, USER_MARK

BUCKET = "personal_dataproc_notebooks"
NANDU, ANA, ANN, OLD = (
    "Ñandú.O'Neil@sub.example.co", "ana.silva@example.com", "ana.silva@example.org", "gone@example.com",
)  # fmt: skip
LISTED_AT = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
MASTER = f"""\
clusterName: CLUSTER_NAME
config:
  softwareConfig:
    imageVersion: 1.5-ubuntu18
    optioimage-versionnalComponents: [ANACONDA, JUPYTER]
    properties: {{"dataproc:dataproc.personal-auth.user": {USER_MARK}}}
  initializationActions:
    - executableFile: gs://{BUCKET_MARK}/enable_spark_bq.sh
"""


def as_made(user: str) -> str:
    return MASTER.replace(USER_MARK, user).replace(BUCKET_MARK, BUCKET)


@pytest.fixture
def seed(terminal, tmp_path, monkeypatch):
    """The example as somebody left it: a bucket, a list of users, a folder to work in."""
    storage = terminal.cloud.storage
    storage.buckets.create({"name": BUCKET}, project="benchkeeper-local")
    storage.insert(BUCKET, "dataproc_master_templates/per-auth-cluster.yaml", MASTER.encode())
    storage.insert(BUCKET, "enable_spark_bq.sh", b"echo")
    for user, text in ((NANDU, as_made(NANDU)), (ANA, as_made(ANA) + "# by hand\n"), (OLD, as_made(OLD)), ("x", "")):
        storage.insert(BUCKET, f"dataproc_generated_templates/{user}.yaml", text.encode())
    terminal.advance(hours=1)
    monkeypatch.chdir(tmp_path)
    listed = tmp_path / "prod.tfvars"
    listed.write_bytes(
        f'notebook_users_list = [\r\n  "{NANDU}",\r\n  "{ANA}",\r\n  "{ANN}", "{ANA}",\r\n]\r\n'.encode()
    )
    os.utime(listed, (LISTED_AT.timestamp(), LISTED_AT.timestamp()))
    return terminal


def run(terminal, *words: str, code: int = 0):
    return terminal.run("import", "seed", "--bucket", BUCKET, "--users", "prod.tfvars", *words, code=code)


def deliver_all(terminal):
    while terminal.deliver():
        pass


def world(terminal) -> dict:
    state = terminal.cloud.storage.dump()
    ours = next(bucket for bucket in state["buckets"] if bucket["name"] == "benchkeeper-local")
    return {"records": ours, "instances": instances(terminal.cloud)}


def theirs(terminal):
    return next(bucket for bucket in terminal.cloud.storage.dump()["buckets"] if bucket["name"] == BUCKET)


def shown(terminal, user: str) -> dict:
    return json.loads(terminal.run("show", user, "--output", "json").stdout)


def test_everybody_on_the_list_comes_over_and_the_examples_bucket_stays_as_it_is(seed, tmp_path):
    before = theirs(seed)
    said = run(seed).stdout
    deliver_all(seed)
    assert theirs(seed) == before
    assert len(instances(seed.cloud)) == 3
    for user in (NANDU, ANA, ANN):
        assert (shown(seed, user)["presence"], shown(seed, user)["profile"]) == ("PRESENT", "analyst")
    written = (tmp_path / "imported" / "per-auth-cluster.yaml").read_text(encoding="utf-8")
    config = yaml.safe_load(written)["config"]
    assert config["softwareConfig"]["imageVersion"] == "2.2-debian12"
    assert config["initializationActions"][0]["executableFile"] == f"gs://{BUCKET}/enable_spark_bq.sh"
    kept = tmp_path / "imported" / "edited" / f"{user_key_for(parse_email(ANA))}.yaml"
    assert kept.read_text(encoding="utf-8") == as_made(ANA) + "# by hand\n"
    assert "3 people announced as joiners." in said
    assert "prod.tfvars:4: ana.silva@example.com is listed again" in said
    assert "optioimage-versionnalComponents" in said
    assert f"at most one of them had an environment: {ANA}, {ANN}" in said


def test_it_fits_a_terminal_of_80_columns(seed):
    seed.environ["COLUMNS"] = "80"
    lines = run(seed, "--dry-run").stdout.splitlines()
    tables = [line for line in lines if line.startswith(("USER", "NAME")) or "2026-11-" in line]
    assert len(tables) >= 5
    assert max(len(line) for line in tables) <= 80


def test_a_dry_run_says_the_same_and_does_nothing(seed, tmp_path):
    def of_interest(text: str) -> dict:
        raw = json.loads(text)
        for person in raw["people"]:
            del person["message_id"]
        for each in [*raw["templates"], *raw["generated"]]:
            each.pop("outcome", None)
            each.pop("saved", None)
        del raw["dry_run"]
        return raw

    dry = run(seed, "--dry-run", "--output", "json").stdout
    assert seed.deliver() == 0
    assert not (tmp_path / "imported").exists()
    assert "would be announced" in run(seed, "--dry-run").stdout
    wet = run(seed, "--output", "json").stdout
    assert of_interest(dry) == of_interest(wet)
    assert all(person["message_id"] for person in json.loads(wet)["people"])


def test_the_date_is_that_of_the_users_template_else_of_the_list(seed):
    people = {p["user"]: p for p in json.loads(run(seed, "--dry-run", "-o", "json").stdout)["people"]}
    assert people[ANA]["dated_by"] == people[NANDU.lower()]["dated_by"] == "template"
    assert people[ANA]["occurred_at"].startswith("2026-11-23T08:00")
    assert (people[ANN]["dated_by"], people[ANN]["occurred_at"]) == ("list", LISTED_AT.isoformat())


def test_what_a_person_should_look_at_is_told_apart(seed):
    made = {m["name"]: m for m in json.loads(run(seed, "-o", "json").stdout)["generated"]}
    assert {name: (m["listed"], m["edited"]) for name, m in made.items()} == {
        NANDU: (True, False),
        ANA: (True, True),
        OLD: (False, False),
        "x": (False, True),
    }
    deliver_all(seed)
    seed.run("show", OLD, code=1)  # said, not imported


def test_two_runs_are_one(seed, tmp_path):
    run(seed)
    deliver_all(seed)
    seed.advance(minutes=6)
    seed.run("sweep", "due")
    before = world(seed)
    draft = tmp_path / "imported" / "per-auth-cluster.yaml"
    draft.write_text("# changed by hand\n", encoding="utf-8")
    assert "exists and differs: not changed" in run(seed).stdout
    deliver_all(seed)
    assert world(seed) == before
    assert draft.read_text(encoding="utf-8") == "# changed by hand\n"


def test_newer_news_that_somebody_left_stands(seed):
    seed.run("publish", "leaver", ANN, "--yes", "--new")
    deliver_all(seed)
    run(seed)
    deliver_all(seed)
    assert shown(seed, ANN)["presence"] == "ABSENT"
    assert shown(seed, ANA)["presence"] == "PRESENT"


def test_a_profile_for_all(seed):
    run(seed, "--profile", "engineer")
    deliver_all(seed)
    assert shown(seed, ANA)["profile"] == "engineer"
    assert "There is no profile 'x'" in run(seed, "--profile", "x", code=1).stderr


def test_a_bad_list_stops_it_before_anything_is_done(seed, tmp_path):
    (tmp_path / "users.txt").write_text(f"{ANA}\nana\nben.example.com\n", encoding="utf-8")
    result = seed.run("import", "seed", "--bucket", BUCKET, "--users", "users.txt", code=2)
    assert "users.txt:2:" in result.stderr
    assert "users.txt:3:" in result.stderr
    assert seed.deliver() == 0
    assert not (tmp_path / "imported").exists()


def test_a_bucket_that_cannot_be_read_is_said_with_what_is_missing(seed, tmp_path):
    seed.cloud.world.faults.add(
        Fault.parse(
            {
                "call": "storage.objects.list",
                "error": {"code": "PERMISSION_DENIED", "message": "no", "http_status": 403, "reason": "forbidden"},
            }
        )
    )
    result = run(seed, code=1)
    assert f"gs://{BUCKET} cannot be read" in result.stderr
    assert "storage.objects.list" in result.stderr
    assert seed.deliver() == 0
    missing = seed.run("import", "seed", "--bucket", "none-of-that-name", "--users", "prod.tfvars", code=1)
    assert "There is no bucket gs://none-of-that-name" in missing.stderr
    assert not (tmp_path / "imported").exists()
    assert seed.cloud.world.faults.unfired() == []


def test_a_template_that_cannot_be_mended_is_said_and_the_rest_goes_on(seed, tmp_path):
    folder = "dataproc_master_templates"
    seed.cloud.storage.insert(BUCKET, f"{folder}/broken.yaml", b"config: [")
    seed.cloud.storage.insert(BUCKET, f"{folder}/typo.yaml", b"config: {mastrConfig: {}}")
    result = run(seed)
    assert "To be fixed by hand: line 1" in result.stderr
    assert "mastrConfig" in result.stderr
    assert "masterConfig" in result.stderr
    assert sorted(p.name for p in (tmp_path / "imported").glob("*.yaml")) == ["per-auth-cluster.yaml", "typo.yaml"]


def test_other_folders_of_the_example_can_be_named(seed):
    seed.cloud.storage.insert(BUCKET, "m/a.yaml", MASTER.encode())
    raw = json.loads(run(seed, "--dry-run", "-o", "json", "--masters", "m/", "--generated", "g").stdout)
    assert [t["template"] for t in raw["templates"]] == ["a"]
    assert raw["generated"] == []
    assert {p["dated_by"] for p in raw["people"]} == {"list"}


def test_whom_the_intake_would_refuse_is_listed_and_not_announced(seed, tmp_path):
    robot, guest, tagged = "robot@p.iam.gserviceaccount.com", "guest@elsewhere.example", "ana+test@example.com"
    (tmp_path / "prod.tfvars").write_text(f'notebook_users_list = ["{robot}",\n "{ANN}", "{guest}", "{tagged}"]\n')
    result = run(seed, code=1)
    for user, line in ((robot, 1), (guest, 2), (tagged, 2)):
        assert f"prod.tfvars:{line}: {user} is not announced." in result.stderr
    assert seed.deliver() == 1
    assert [row["email"] for row in json.loads(seed.run("list", "-o", "json").stdout)] == [ANN]
    report = json.loads(run(seed, "--dry-run", "-o", "json", code=1).stdout)
    assert [each["user"] for each in report["refused"]] == [robot, guest, tagged]
    assert [each["user"] for each in report["people"]] == [ANN]
