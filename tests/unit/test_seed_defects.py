"""Defects of Google's example that no other test holds. docs/seed-defects.md has all of them, by number, each with its tests."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from kit.inprocess import WsgiAdapter, impatient, make_bench
from kit.oracle import instances, object_names, template_names
from msgspec.structs import replace

from shared.domain.intent.wanted import new_record
from shared.domain.people.events import Joined, Left
from shared.domain.template.wanted import PutTemplate
from shared.domain.things.catalog import MasterTemplate
from shared.domain.things.identity import UserEmail, parse_email, user_key_for
from shared.engine.news.deliver import deliver
from shared.engine.sweeps.sweeps import sweep
from shared.settings import ConfigError, load_settings
from shared.wiring import wire

ROOT = Path(__file__).resolve().parents[2]
ALL_MASTERS = sorted((ROOT / "config" / "templates").glob("*.yaml"))
MASTERS = [
    path for path in ALL_MASTERS if not MasterTemplate(name="", text=path.read_text(encoding="utf-8")).is_session
]
SCRIPTS = [*sorted(ROOT.glob("*.sh")), *sorted((ROOT / "tests").glob("*.sh")), ROOT / ".ci" / "run"]
ACCESS = yaml.safe_load((ROOT / "config" / "deploy" / "roles.yaml").read_text(encoding="utf-8"))
FUNCTIONS = yaml.safe_load((ROOT / "config" / "deploy" / "functions.yaml").read_text(encoding="utf-8"))["functions"]
SUPPORTED = (2, 2)  # Dataproc images: 2.2 is the oldest that this product ships
ANA = parse_email("ana.silva@example.com")


@pytest.fixture
def bench():
    with impatient():
        yield make_bench()


def join(bench, user: UserEmail, number: int = 1) -> None:
    said = {"event_id": f"join-{number}", "user": user, "occurred_at": bench.now, "effective_at": bench.now}
    deliver(Joined(**said), bench.deps)


def minutes(bench, count: int) -> None:
    for _ in range(count):
        bench.advance(minutes=1)
        sweep("due", bench.deps)


def read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


# --- products: 1, 3, 9, 21, 27


def test_every_call_of_an_environments_life_is_of_the_api_that_is_open(bench, monkeypatch):
    """Notebooks API v1 takes no creates any more; the embedded cloud does not even serve it."""
    paths: list[str] = []
    answer = WsgiAdapter.answer

    def watched(adapter, method, url, headers, body):
        paths.append(urlsplit(url).path)
        return answer(adapter, method, url, headers, body)

    monkeypatch.setattr(WsgiAdapter, "answer", watched)
    join(bench, ANA)
    minutes(bench, 6)
    deliver(Left(event_id="leave", user=ANA, occurred_at=bench.now, effective_at=bench.now), bench.deps)
    minutes(bench, 3)
    bench.advance(days=31)
    minutes(bench, 3)
    made = {call["method"] for call in bench.calls() if call["service"] == "notebooks"}
    assert {"CreateInstance", "StopInstance", "DeleteInstance", "GetOperation"} <= made
    of_notebooks = [path for path in paths if "/locations/" in path and "/sessions" not in path]
    assert len(of_notebooks) > 5
    assert [path for path in of_notebooks if not path.startswith("/v2/projects/")] == []


@pytest.mark.parametrize("path", MASTERS, ids=lambda path: path.stem)
def test_a_shipped_master_asks_for_a_supported_image_and_fetches_no_code(path):
    config = read(path)["config"]
    software = config["softwareConfig"]
    major, minor = software["imageVersion"].partition("-")[0].split(".")[:2]
    assert (int(major), int(minor)) >= SUPPORTED
    assert "ANACONDA" not in software["optionalComponents"]
    assert "initializationActions" not in config  # an unpinned file that somebody else changes
    assert not [key for key in software.get("properties", {}) if "jars" in key or "packages" in key]


def test_a_shipped_profile_names_an_image_that_workbench_keeps():
    for name, profile in read(ROOT / "config" / "profiles.yaml")["profiles"].items():
        assert profile["image"]["project"] == "cloud-notebooks-managed", name
        assert not {"title", "version", "container"} & set(profile.get("metadata", {})), name


@pytest.mark.parametrize("key", ["title", "version", "proxy-url", "proxy-mode", "proxy-user-mail", "dataproc-configs"])
def test_a_profile_cannot_set_what_workbench_sets(tmp_path, key):
    shutil.copytree(ROOT / "config", tmp_path / "config")
    path = tmp_path / "config" / "profiles.yaml"
    data = read(path)
    data["profiles"]["analyst"]["metadata"] = {key: "copied from somebody's instance"}
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_settings(env="local", config_dir=tmp_path / "config", environ={})
    (fault,) = caught.value.faults
    assert fault.field == "profiles.analyst.metadata"
    assert f"'{key}' is Workbench's" in fault.problem


# --- templates: 6, 8, 12, 18


def test_the_account_that_a_master_names_is_the_clusters_and_scopes_are_not_made_up(bench):
    account = "spark-nodes@acme-analytics.iam.gserviceaccount.com"
    data = read(MASTERS[0])
    data["config"]["gceClusterConfig"]["serviceAccount"] = account
    cluster = rendered(bench, MasterTemplate(name="spark", text=yaml.safe_dump(data)))["config"]["gceClusterConfig"]
    assert cluster["serviceAccount"] == account
    assert "serviceAccountScopes" not in cluster


def rendered(bench, master: MasterTemplate) -> dict[str, Any]:
    """What becomes of it for Ana, read back from the bucket."""
    catalog = bench.settings.catalog
    settings = replace(
        bench.settings,
        catalog=replace(catalog, masters={**catalog.masters, master.name: master}),
        network=replace(bench.settings.network, subnet="projects/p/regions/europe-west1/subnetworks/s"),
    )
    templates = wire(settings, log=bench.log, clients=bench.clients).templates
    record = new_record(ANA, bench.now)
    templates.put(record, PutTemplate(template=master.name, digest="d"))
    text = templates.read(record.user_key, master.name)
    assert text is not None
    return yaml.safe_load(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [("ann@corp.co", "ann@corp.com"), ("a@corp.com", "a.b@corp.com"), ("ann@a.com", "ann@a.com.br")],
)
def test_whose_address_begins_like_anothers_sees_the_own_templates_only(bench, one, other):
    """The example listed by the bare address: `ann@corp.co` was offered the template of `ann@corp.com` as well."""
    users = [parse_email(one), parse_email(other)]
    for number, user in enumerate(users):
        record = new_record(user, bench.now)
        bench.deps.templates.put(record, PutTemplate(template="single-node", digest=f"d{number}"))
    for number, user in enumerate(users):
        assert bench.deps.templates.seen(user_key_for(user)).digests == {"single-node": f"d{number}"}
        text = bench.deps.templates.read(user_key_for(user), "single-node")
        assert user in text
        assert users[1 - number] not in text.splitlines()


def test_a_template_that_could_not_be_written_is_written_later_and_nothing_is_left_lying_about(bench):
    bench.fault(
        call="storage.objects.insert",
        resource="*templates/*",
        times=2,
        error={"code": "PERMISSION_DENIED", "message": "no"},
    )
    join(bench, ANA)
    key = user_key_for(ANA)
    assert template_names(bench.cloud, bench.settings.bucket, key) == set()
    for _ in range(4):
        bench.advance(hours=1)
        minutes(bench, 1)
    assert template_names(bench.cloud, bench.settings.bucket, key) == {"personal-auth-cluster", "single-node"}
    folders = {name.partition("/")[0] for name in object_names(bench.cloud, bench.settings.bucket, "")}
    assert folders <= {"records", "due", "templates", "index", "guard"}


def test_a_master_keeps_its_whole_name_however_long(bench):
    """The example cut 47 characters out of `dataproc_master_templates/<name>`: exactly as many as its own file needed."""
    name = "per-auth-cluster-for-the-analysts-of-the-claims-department-with-large-workers-and-local-disks"
    rendered(bench, MasterTemplate(name=name, text=MASTERS[0].read_text(encoding="utf-8")))
    assert template_names(bench.cloud, bench.settings.bucket, user_key_for(ANA)) == {name}


# --- scripts and access: 10, 11, 14


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_ends_at_its_first_failure(path):
    code = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert code[0] == "set -euo pipefail"


def test_no_script_of_ours_is_given_to_a_machine(bench, monkeypatch):
    bodies: list[dict[str, Any]] = []
    answer = WsgiAdapter.answer

    def watched(adapter, method, url, headers, body):
        if method == "POST" and urlsplit(url).path.endswith("/instances"):
            bodies.append(json.loads(body))
        return answer(adapter, method, url, headers, body)

    monkeypatch.setattr(WsgiAdapter, "answer", watched)
    join(bench, ANA)
    (body,) = bodies
    asked = body["gceSetup"]["metadata"]
    assert "idle-timeout-seconds" in asked
    assert [key for key in asked if "script" in key or key == "user-data"] == []


def test_no_account_of_ours_holds_rights_over_machines_or_a_basic_role():
    permissions = [each for role in ACCESS["roles"].values() for each in role["permissions"]]
    assert permissions
    # What a machine says of itself is only read.
    reads = "compute.instances.getGuestAttributes"
    keys = "iam.serviceAccountKeys.list"  # of a leaver's account, for the certificate; none is made or deleted
    ours = ("compute.disks.createSnapshot", "compute.snapshots.", "iam.serviceAccounts.", keys, reads)
    assert [
        each
        for each in permissions
        if each.startswith(("compute.", "iam.", "resourcemanager.")) and not each.startswith(ours)
    ] == []
    # Rights over accounts are for those who give each person one of their own.
    # To run a cluster as an account is bound on that account alone.
    everywhere = [g for g in ACCESS["grants"] if not g.get("when") and g["on"] != "cluster-accounts"]
    assert not [
        g
        for g in everywhere
        for each in ACCESS["roles"].get(g["role"].removeprefix("custom/"), {"permissions": []})["permissions"]
        if each.startswith("iam.")
    ]
    held = {grant["role"] for grant in ACCESS["grants"]}
    assert [role for role in held if role in {"roles/owner", "roles/editor"} or role.lower().endswith("admin")] == []


def test_only_the_functions_are_given_the_bucket_and_none_shares_an_account():
    # The function of each source is the same code with the same account.
    accounts = list({function["entry_point"]: function["account"] for function in FUNCTIONS.values()}.values())
    assert len(set(accounts)) == len(accounts)
    writers = {grant["to"] for grant in ACCESS["grants"] if grant["on"].startswith("bucket/")}
    assert writers == {f"account/{account}" for account in accounts}
    over_the_project = {
        permission
        for grant in ACCESS["grants"]
        if grant["on"] == "project" and grant["role"].startswith("custom/")
        for permission in ACCESS["roles"][grant["role"].removeprefix("custom/")]["permissions"]
    }
    assert over_the_project
    assert [each for each in over_the_project if each.startswith("storage.")] == []


# --- where it is started, what it is written in, where a person is sent: 19, 21, 22


def test_the_configuration_is_found_wherever_a_command_is_started(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    here = load_settings(env="local", environ={})
    monkeypatch.chdir(tmp_path)
    assert load_settings(env="local", environ={}) == here
    assert {path.stem for path in ALL_MASTERS} == set(here.catalog.masters)


def test_each_person_is_sent_to_the_address_that_the_api_gave_their_own_instance(bench):
    users = [ANA, parse_email("ben@example.com")]
    for number, user in enumerate(users):
        join(bench, user, number)
    minutes(bench, 6)
    given = {
        name.rpartition("/")[2]: bench.control("GET", f"/v2/{name}")["proxyUri"] for name in instances(bench.cloud)
    }
    assert len(set(given.values())) == len(users)
    for user in users:
        record = bench.deps.records.load(user_key_for(user)).record
        assert record.status.notebook.proxy_uri == given[record.status.notebook.instance_id]


def test_nothing_here_is_terraform():
    folders = [each for each in ROOT.iterdir() if each.is_dir() and not each.name.startswith(".")]
    assert {"shared", "config", "cli"} <= {each.name for each in folders}
    assert [path for each in folders for path in each.rglob("*.tf")] + list(ROOT.glob("*.tf")) == []
