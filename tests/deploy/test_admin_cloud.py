"""The admin cloud is what it says it is: the real gcloud works against it, and it refuses what the real APIs refuse."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from emulator.admin import errors
from emulator.app import EmbeddedCloud
from emulator.model.iam_policy import Policy
from tests.e2e.local_run import until
from tests.kit.gcp import AdminCloud, Gcloud, UnfiredFaultsError
from tests.kit.gcp.sdk import plain_environment

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(240),
    pytest.mark.gcloud,
    pytest.mark.slow,
]
PROJECT, NUMBER, ORGANIZATION, REGION = "acme-analytics", "123456789012", "987654321098", "europe-west1"
IN = f"--project={PROJECT}"
RUNNER = f"bk-runner@{PROJECT}.iam.gserviceaccount.com"
KEY = f"projects/{PROJECT}/locations/{REGION}/keyRings/ring/cryptoKeys/key"
MAIN = """
import base64, os
import functions_framework

@functions_framework.cloud_event
def on_message(event):
    print(os.environ["GREETING"], os.environ["WHERE"], base64.b64decode(event.data["message"]["data"]).decode(), flush=True)
"""


@contextmanager
def started(folder: Path, **options: Any) -> Iterator[AdminCloud]:
    cloud = EmbeddedCloud.build(project=PROJECT, log_folder=folder / "logs")
    with cloud, AdminCloud(cloud, organization=ORGANIZATION, **options) as made:
        yield made


@pytest.fixture
def admin(tmp_path: Path) -> Iterator[AdminCloud]:
    with started(tmp_path, function_environment={"WHERE": "here"}) as made:
        yield made


@pytest.fixture
def gcloud(admin: AdminCloud, tmp_path: Path) -> Gcloud:
    return admin.gcloud(tmp_path / "sdk")


def test_an_etag_is_known_again_in_the_alphabet_of_gcloud() -> None:
    """gcloud writes `-_` where the server wrote `+/`; a policy that does not know it again could never be changed."""

    policy, seen = Policy(serial=980), set()  # the first numbers have neither letter
    for _ in range(50):
        etag = policy.view()["etag"]
        seen |= set(etag)
        policy.put({"etag": etag.replace("+", "-").replace("/", "_")})
    assert seen >= {"+", "/"}


def enable(admin: AdminCloud, *names: str) -> None:
    for name in names:
        admin.ground.enable(f"{name}.googleapis.com")


def together(gcloud: Gcloud, *commands: tuple[str, ...]) -> list[str]:
    """What these commands print; none needs another's effect."""
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda words: gcloud(*words), commands))


def rest(
    admin: AdminCloud, verb: str, service: str, path: str, body: Any = None, *, status: int = 200, **query: str
) -> Any:
    """A call without gcloud."""
    with requests.Session() as session:
        session.trust_env = False
        answer = session.request(
            verb,
            admin.endpoint(service) + path,
            json=body,
            params=query,
            headers={"Authorization": f"Bearer {admin.token}"},
            timeout=30,
        )
    assert answer.status_code == status, answer.text
    return answer.json()


def publish(admin: AdminCloud, topic: str, data: bytes) -> None:
    message = {"data": base64.b64encode(data).decode()}
    rest(admin, "POST", "pubsub", f"v1/{topic}:publish", {"messages": [message]})


def make_account(admin: AdminCloud, name: str = "bk-runner") -> None:
    rest(admin, "POST", "iam", f"v1/projects/{PROJECT}/serviceAccounts", {"accountId": name})


# ---- the commands of a deployment, with the real gcloud


def test_the_project_its_apis_and_who_may_do_what(admin: AdminCloud, gcloud: Gcloud, tmp_path: Path) -> None:
    role, wider = tmp_path / "role.json", tmp_path / "wider.json"
    permissions = ["notebooks.instances.create", "storage.buckets.get"]
    role.write_text(json.dumps({"title": "Benchkeeper", "stage": "GA", "includedPermissions": permissions}))
    wider.write_text(
        json.dumps({"title": "B", "stage": "GA", "includedPermissions": [*permissions, "pubsub.topics.get"]})
    )
    token, described, _ = together(
        gcloud,
        ("auth", "print-access-token"),
        ("projects", "describe", PROJECT, "--format=json"),
        ("services", "enable", "iam.googleapis.com", "pubsub.googleapis.com", "cloudkms.googleapis.com", IN),
    )
    assert token.strip() == admin.token
    assert json.loads(described)["projectNumber"] == NUMBER
    assert json.loads(described)["parent"] == {"type": "organization", "id": ORGANIZATION}
    listed = gcloud.json("services", "list", "--enabled", IN)
    assert {"iam.googleapis.com", "pubsub.googleapis.com"} <= {service["config"]["name"] for service in listed}

    agent = f"service-{NUMBER}@gcp-sa-notebooks.iam.gserviceaccount.com"
    together(
        gcloud,
        ("beta", "services", "identity", "create", "--service=notebooks.googleapis.com", IN),
        ("iam", "service-accounts", "create", "bk-runner", "--display-name=Runs", IN),
        ("iam", "roles", "create", "bkRole", f"--file={role}", IN),
    )
    assert gcloud.json("iam", "service-accounts", "list", IN)[0]["email"] == RUNNER
    member = f"--member=serviceAccount:{RUNNER}"
    later = "expression=request.time < timestamp('2030-01-01T00:00:00Z'),title=later"
    grant = ("projects", "add-iam-policy-binding", PROJECT, member)
    user = ("--role=roles/iam.serviceAccountUser", f"--member=serviceAccount:{agent}")
    gcloud("iam", "service-accounts", "add-iam-policy-binding", RUNNER, *user, IN)
    gcloud(*grant, "--role=roles/logging.viewer", f"--condition={later}")
    assert "prohibited in non-interactive mode" in gcloud.refused(*grant, "--role=roles/monitoring.viewer")
    gcloud(*grant, f"--role=projects/{PROJECT}/roles/bkRole", "--condition=None")
    policy = gcloud.json("iam", "service-accounts", "get-iam-policy", RUNNER, IN)
    assert policy["bindings"] == [{"role": "roles/iam.serviceAccountUser", "members": [f"serviceAccount:{agent}"]}]
    granted = {b["role"]: b for b in gcloud.json("projects", "get-iam-policy", PROJECT)["bindings"]}
    assert granted["roles/logging.viewer"]["condition"]["title"] == "later"
    assert granted[f"projects/{PROJECT}/roles/bkRole"]["members"] == [f"serviceAccount:{RUNNER}"]

    revoke = ("projects", "remove-iam-policy-binding", PROJECT, member)
    gcloud(*revoke, f"--role=projects/{PROJECT}/roles/bkRole", "--condition=None")
    gcloud("iam", "roles", "update", "bkRole", f"--file={wider}", "--quiet", IN)
    assert "pubsub.topics.get" in gcloud.json("iam", "roles", "describe", "bkRole", IN)["includedPermissions"]
    gcloud("iam", "roles", "delete", "bkRole", IN)
    assert gcloud.json("iam", "roles", "list", IN) == []
    assert "in a deleted state" in gcloud.refused("iam", "roles", "create", "bkRole", f"--file={role}", IN)
    assert gcloud.json("iam", "roles", "list", "--show-deleted", IN)[0]["deleted"] is True
    gcloud("iam", "roles", "undelete", "bkRole", IN)
    gcloud("iam", "service-accounts", "delete", RUNNER, IN)

    state = admin.state()
    assert state["accounts"] == {}
    assert "deleted" not in state["roles"][f"projects/{PROJECT}/roles/bkRole"]
    (left,) = [binding for binding in state["project_iam"] if binding["role"] == "roles/logging.viewer"]
    assert left["members"][0].startswith(f"deleted:serviceAccount:{RUNNER}?uid=")
    assert {row.command for row in admin.writes()} >= {"gcloud.services.enable", "gcloud.iam.roles.undelete"}


def test_bucket_topics_subscriptions_and_jobs_are_the_embedded_clouds(
    admin: AdminCloud, gcloud: Gcloud, tmp_path: Path
) -> None:
    enable(admin, "iam", "pubsub", "cloudscheduler", "cloudkms")
    make_account(admin)
    admin.keys.add(KEY)
    rules = tmp_path / "lifecycle.json"
    rule = {"action": {"type": "Delete"}, "condition": {"isLive": False, "numNewerVersions": 5}}
    rules.write_text(json.dumps({"rule": [rule]}))
    member = f"--member=serviceAccount:{RUNNER}"
    agent = gcloud("storage", "service-agent", IN).strip()
    gcloud("kms", "keys", "add-iam-policy-binding", KEY, f"--member=serviceAccount:{agent}",
           "--role=roles/cloudkms.cryptoKeyEncrypterDecrypter")  # fmt: skip
    # gcloud reads the topic while it parses, with the project that it knows by then: --project comes first.
    job = ("pubsub", "bk-due", IN, f"--location={REGION}", "--topic=life", '--message-body={"sweep": "due"}')
    together(
        gcloud,
        ("storage", "buckets", "create", "gs://acme-bk", f"--location={REGION}", "--uniform-bucket-level-access",
         "--public-access-prevention", "--soft-delete-duration=7d", f"--default-encryption-key={KEY}", IN),
        ("pubsub", "topics", "create", "life", "--message-retention-duration=7d", "--labels=app=bk", IN),
        ("pubsub", "topics", "create", "dead", IN),
    )  # fmt: skip
    together(
        gcloud,
        ("storage", "buckets", "update", "gs://acme-bk", "--versioning", f"--lifecycle-file={rules}", "--update-labels=a=b"),
        ("pubsub", "topics", "update", "life", "--message-retention-duration=2d", "--update-labels=env=prod", IN),
        ("pubsub", "topics", "add-iam-policy-binding", "dead", member, "--role=roles/pubsub.publisher", IN),
        ("pubsub", "subscriptions", "create", "keep", "--topic=dead", "--expiration-period=never",
         "--message-retention-duration=31d", "--labels=app=bk", IN),
        ("scheduler", "jobs", "create", *job, "--schedule=* * * * *", "--time-zone=Etc/UTC"),
    )  # fmt: skip
    storage, _, _, topics, _, bucket = together(
        gcloud,
        ("storage", "buckets", "add-iam-policy-binding", "gs://acme-bk", member, "--role=roles/storage.objectUser",
         "--format=json"),
        ("pubsub", "subscriptions", "update", "keep", "--dead-letter-topic=life", "--max-delivery-attempts=20",
         "--ack-deadline=600", "--min-retry-delay=20s", "--max-retry-delay=300s", IN),
        ("scheduler", "jobs", "update", *job, "--schedule=*/5 * * * *"),
        ("pubsub", "topics", "list", "--format=json", IN),
        ("pubsub", "subscriptions", "add-iam-policy-binding", "keep", member, "--role=roles/pubsub.subscriber", IN),
        ("storage", "buckets", "describe", "gs://acme-bk", "--format=json"),
    )  # fmt: skip
    assert {"role": "roles/storage.objectUser", "members": [f"serviceAccount:{RUNNER}"]} in json.loads(storage)[
        "bindings"
    ]
    assert len(json.loads(topics)) == 2
    shown = json.loads(bucket)
    assert (shown["default_kms_key"], shown["versioning_enabled"], shown["labels"]) == (KEY, True, {"a": "b"})
    assert (
        gcloud.json("storage", "buckets", "get-iam-policy", "gs://acme-bk")["bindings"][-1]["role"]
        == "roles/storage.objectUser"
    )
    assert gcloud.json("pubsub", "subscriptions", "list", IN)[0]["ackDeadlineSeconds"] == 600
    assert gcloud.json("scheduler", "jobs", "list", f"--location={REGION}", IN)[0]["schedule"] == "*/5 * * * *"

    state = admin.state()
    kept = state["buckets"]["acme-bk"]
    assert kept["lifecycle"] == {"rule": [rule]}
    assert kept["iamConfiguration"]["publicAccessPrevention"] == "enforced"
    assert state["topics"][f"projects/{PROJECT}/topics/life"]["labels"] == {"app": "bk", "env": "prod"}
    assert state["topics"][f"projects/{PROJECT}/topics/life"]["messageRetentionDuration"] == "172800s"
    subscription = state["subscriptions"][f"projects/{PROJECT}/subscriptions/keep"]
    assert subscription["expirationPolicy"] == {}
    assert subscription["messageRetentionDuration"] == "2678400s"
    assert subscription["deadLetterPolicy"]["maxDeliveryAttempts"] == 20
    assert subscription["iam"] == [{"role": "roles/pubsub.subscriber", "members": [f"serviceAccount:{RUNNER}"]}]
    gcloud("scheduler", "jobs", "delete", "bk-due", f"--location={REGION}", IN)
    assert admin.state()["jobs"] == {}


def deploy_words(source: Path, *more: str) -> tuple[str, ...]:
    return (
        "functions", "deploy", "bk-lifecycle", "--gen2", f"--region={REGION}", "--runtime=python312", f"--source={source}",
        "--entry-point=on_message", "--trigger-topic=life", "--retry", f"--run-service-account={RUNNER}",
        f"--trigger-service-account={RUNNER}", f"--build-service-account=projects/{PROJECT}/serviceAccounts/{RUNNER}",
        "--no-allow-unauthenticated", "--ingress-settings=internal-only", "--concurrency=8", "--cpu=1", "--memory=512Mi",
        "--timeout=120s", "--max-instances=5", IN, *more,
    )  # fmt: skip


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "inner").mkdir(parents=True)
    (folder / "main.py").write_text(MAIN)
    (folder / "requirements.txt").write_text("functions-framework\n")
    (folder / "inner/data.txt").write_text("x")
    (folder / "secret.txt").write_text("not to be uploaded")
    (folder / ".gcloudignore").write_text("secret.txt\n")
    return folder


def test_a_function_is_deployed_runs_and_is_changed_and_deleted(
    admin: AdminCloud, gcloud: Gcloud, source: Path, tmp_path: Path
) -> None:
    enable(admin, "iam", "pubsub", "cloudfunctions", "run", "eventarc", "cloudbuild", "artifactregistry")
    make_account(admin)
    name = f"projects/{PROJECT}/locations/{REGION}/functions/bk-lifecycle"
    topic = f"projects/{PROJECT}/topics/life"
    subscription = f"projects/{PROJECT}/subscriptions/eventarc-bk-lifecycle"
    for short in ("life", "dead"):
        rest(admin, "PUT", "pubsub", f"v1/projects/{PROJECT}/topics/{short}", {})
    gcloud(*deploy_words(source, "--set-env-vars=GREETING=hello", "--update-labels=app=bk"))
    assert {"main.py", "inner/data.txt"} <= set(admin.functions.archives[name])
    assert "secret.txt" not in admin.functions.archives[name]
    made = admin.state()
    assert made["functions"][name]["serviceConfig"]["maxInstanceRequestConcurrency"] == 8
    assert made["functions"][name]["eventTrigger"]["retryPolicy"] == "RETRY_POLICY_RETRY"
    assert made["subscriptions"][subscription]["ackDeadlineSeconds"] == 10
    assert made["subscriptions"][subscription]["retryPolicy"] == {"minimumBackoff": "10s", "maximumBackoff": "600s"}
    publish(admin, topic, b"first")
    log = tmp_path / "logs/bk-lifecycle.log"
    until(lambda: log.is_file() and "hello here first" in log.read_text(), seconds=30, what=log.name)

    gcloud("pubsub", "subscriptions", "update", "eventarc-bk-lifecycle", "--dead-letter-topic=dead", "--ack-deadline=600",
           "--max-delivery-attempts=20", "--min-retry-delay=20s", "--max-retry-delay=300s", IN)  # fmt: skip
    edited = admin.state()["subscriptions"][subscription]
    gcloud(*deploy_words(source, "--set-env-vars=GREETING=goodbye", "--update-labels=app=bk"))
    assert admin.state()["subscriptions"][subscription] == edited
    assert edited["deadLetterPolicy"]["maxDeliveryAttempts"] == 20
    publish(admin, topic, b"second")
    until(lambda: "goodbye here second" in log.read_text(), seconds=30, what=log.name)

    service, member = ("bk-lifecycle", f"--region={REGION}", IN), f"--member=serviceAccount:{RUNNER}"
    _, listed, described, (trigger,) = (
        gcloud("run", "services", "add-iam-policy-binding", *service, member, "--role=roles/run.invoker"),
        gcloud.json("functions", "list", IN),
        gcloud.json("functions", "describe", *service, "--gen2"),
        gcloud.json("eventarc", "triggers", "list", "--location=-", IN),
    )
    assert [row["name"] for row in listed] == [name]
    assert described["serviceConfig"]["environmentVariables"]["GREETING"] == "goodbye"
    assert trigger["transport"]["pubsub"] == {"topic": topic, "subscription": subscription}
    short = trigger["name"].rpartition("/")[2]
    assert gcloud.json("eventarc", "triggers", "describe", short, f"--location={REGION}", IN) == trigger
    assert gcloud.json("run", "services", "describe", *service)["metadata"]["name"] == "bk-lifecycle"
    policy = gcloud.json("run", "services", "get-iam-policy", *service)
    assert policy["bindings"] == [{"role": "roles/run.invoker", "members": [f"serviceAccount:{RUNNER}"]}]

    (source / "main.py").write_text("import no_such_module\n")
    assert "No module named 'no_such_module'" in gcloud.refused(*deploy_words(source))
    assert gcloud.json("functions", "describe", *service, "--gen2")["state"] == "ACTIVE"
    gcloud("functions", "delete", *service, "--gen2", "--quiet")
    left = admin.state()
    assert (left["functions"], left["triggers"], left["run_iam"], left["subscriptions"]) == ({}, {}, {}, {})


def test_sinks_metrics_and_dashboards(admin: AdminCloud, gcloud: Gcloud, tmp_path: Path) -> None:
    enable(admin, "logging", "monitoring")
    metric, board = tmp_path / "metric.json", tmp_path / "board.json"
    kind = {"metricKind": "DELTA", "valueType": "DISTRIBUTION", "unit": "s", "labels": [{"key": "outcome"}]}
    wanted = {
        "description": "How long", "filter": 'resource.type="cloud_run_revision"', "metricDescriptor": kind,
        "valueExtractor": "EXTRACT(jsonPayload.seconds)", "labelExtractors": {"outcome": "EXTRACT(jsonPayload.outcome)"},
        "bucketOptions": {"exponentialBuckets": {"numFiniteBuckets": 64, "growthFactor": 2, "scale": 0.01}},
    }  # fmt: skip
    metric.write_text(json.dumps(wanted))
    tile = {"width": 24, "height": 16, "widget": {"title": "a", "text": {"content": "x", "format": "MARKDOWN"}}}
    layout = {"displayName": "Benchkeeper", "mosaicLayout": {"columns": 48, "tiles": [tile]}}
    board.write_text(json.dumps(layout))
    to = f"pubsub.googleapis.com/projects/{PROJECT}/topics/life"
    of = f"--organization={ORGANIZATION}"
    together(
        gcloud,
        ("logging", "sinks", "create", "bk-audit", to, "--log-filter=severity>=NOTICE", IN),
        ("logging", "sinks", "create", "bk-people", to, "--log-filter=severity>=NOTICE", "--include-children", of),
        ("logging", "metrics", "create", "bk_seconds", f"--config-from-file={metric}", IN),
        ("monitoring", "dashboards", "create", f"--config-from-file={board}", IN),
    )
    (shown,) = gcloud.json("monitoring", "dashboards", "list", IN)
    metric.write_text(json.dumps({**wanted, "description": "How long it took"}))
    board.write_text(json.dumps({**layout, "displayName": "Benches", "etag": shown["etag"]}))
    together(
        gcloud,
        ("logging", "sinks", "update", "bk-audit", "--log-filter=severity>=ERROR", IN),
        ("logging", "metrics", "update", "bk_seconds", f"--config-from-file={metric}", IN),
        ("monitoring", "dashboards", "update", shown["name"], f"--config-from-file={board}", IN),
    )
    sinks, people, metrics, boards = (
        json.loads(text)
        for text in together(
            gcloud,
            ("logging", "sinks", "list", "--format=json", IN),
            ("logging", "sinks", "list", "--format=json", of),
            ("logging", "metrics", "list", "--format=json", IN),
            ("monitoring", "dashboards", "list", "--format=json", IN),
        )
    )
    assert {sink["name"] for sink in sinks} == {"_Required", "_Default", "bk-audit"}
    assert [(sink["name"], sink["includeChildren"], sink["writerIdentity"]) for sink in people if sink["name"] == "bk-people"] == [
        ("bk-people", True, f"serviceAccount:service-org-{ORGANIZATION}@gcp-sa-logging.iam.gserviceaccount.com")
    ]  # fmt: skip
    assert metrics[0]["bucketOptions"]["exponentialBuckets"]["growthFactor"] == 2
    assert [row["displayName"] for row in boards] == ["Benches"]
    state = admin.state()
    assert state["sinks"][f"projects/{PROJECT}/sinks/bk-audit"]["filter"] == "severity>=ERROR"
    assert state["metrics"]["bk_seconds"]["description"] == "How long it took"
    stale = {**layout, "etag": shown["etag"]}
    rest(admin, "PATCH", "monitoring", f"v1/{shown['name']}", stale, status=409)
    together(
        gcloud,
        ("logging", "sinks", "delete", "bk-audit", IN),
        ("logging", "sinks", "delete", "bk-people", of),
        ("logging", "metrics", "delete", "bk_seconds", IN),
        ("monitoring", "dashboards", "delete", shown["name"], IN),
    )
    state = admin.state()
    assert (state["sinks"], state["metrics"], state["dashboards"]) == ({}, {}, {})


def test_objects_notebooks_and_time_series_are_the_embedded_clouds(
    admin: AdminCloud, gcloud: Gcloud, tmp_path: Path
) -> None:
    enable(admin, "notebooks", "monitoring")
    rest(admin, "POST", "storage", "b", {"name": "acme-bk"}, project=PROJECT)
    (tmp_path / "one.txt").write_text("one")
    gcloud("storage", "cp", str(tmp_path / "one.txt"), "gs://acme-bk/there/one.txt")
    assert gcloud("storage", "cat", "gs://acme-bk/there/one.txt") == "one"
    instance = {"gceSetup": {"machineType": "e2-standard-4"}}
    parent = f"v2/projects/{PROJECT}/locations/{REGION}-b/instances"
    rest(admin, "POST", "notebooks", parent, instance, instanceId="bench")
    bench = gcloud.json("workbench", "instances", "describe", "bench", f"--location={REGION}-b", IN)
    assert bench["gceSetup"]["machineType"].endswith("/e2-standard-4")
    window = {"interval.startTime": "2026-03-02T08:00:00Z", "interval.endTime": "2026-03-02T09:00:00Z"}
    query = {"filter": 'metric.type="custom.googleapis.com/x"', **window}
    answer = rest(admin, "GET", "monitoring", f"v3/projects/{NUMBER}/timeSeries", status=404, **query)
    assert "Cannot find metric(s) that match type" in answer["error"]["message"]
    rest(admin, "POST", "notebooks", "v2/projects/somebody-elses/locations/-/instances", {}, status=403)


# ---- the calls that a deployment makes without gcloud


def test_alerts_and_channels(admin: AdminCloud) -> None:
    enable(admin, "monitoring", "logging")
    base = f"v3/projects/{PROJECT}"
    mail = {"type": "email", "labels": {"email_address": "ops@acme.example"}, "userLabels": {"app": "bk"}}
    channel = rest(admin, "POST", "monitoring", f"{base}/notificationChannels", mail)
    threshold = {
        "filter": 'resource.type="cloud_run_revision" AND metric.type="logging.googleapis.com/user/bk_lost"',
        "comparison": "COMPARISON_GT", "thresholdValue": 0, "duration": "0s",
        "aggregations": [{"alignmentPeriod": "300s", "perSeriesAligner": "ALIGN_DELTA"}],
    }  # fmt: skip
    policy = {
        "displayName": "Lost messages", "combiner": "OR", "notificationChannels": [channel["name"]],
        "conditions": [{"displayName": "any", "conditionThreshold": threshold}], "userLabels": {"app": "bk"},
    }  # fmt: skip
    refused = rest(admin, "POST", "monitoring", f"{base}/alertPolicies", policy, status=404)
    assert "Cannot find metric that matches type" in refused["error"]["message"]
    metric = {"name": "bk_lost", "filter": "severity>=ERROR"}
    rest(admin, "POST", "logging", f"v2/projects/{PROJECT}/metrics", metric)
    made = rest(admin, "POST", "monitoring", f"{base}/alertPolicies", policy)
    path = f"v3/{made['name']}"
    changed = rest(admin, "PATCH", "monitoring", path, {"enabled": False}, updateMask="enabled")
    assert (changed["enabled"], changed["displayName"]) == (False, "Lost messages")
    listing = f"{base}/alertPolicies"
    assert rest(admin, "GET", "monitoring", listing, filter='user_labels.app="bk"')["alertPolicies"] == [changed]
    assert rest(admin, "GET", "monitoring", listing, filter='user_labels.app="other"') == {}
    rest(admin, "GET", "monitoring", listing, filter="nonsense", status=400)
    rest(admin, "DELETE", "monitoring", f"v3/{channel['name']}", status=400)  # it is used
    rest(admin, "DELETE", "monitoring", path)
    rest(admin, "DELETE", "monitoring", f"v3/{channel['name']}")
    assert (admin.state()["alerts"], admin.state()["channels"]) == ({}, {})


@pytest.mark.parametrize(
    "wrong",
    [
        {"combiner": "SOME"}, {"conditions": []}, {"bogus": 1}, {"userLabels": {"App": "x"}}, {"notificationChannels": ["x"]},
        {"conditions": [{"displayName": "a", "conditionThreshold": {"filter": "x", "comparison": "COMPARISON_GT", "duration": "30s"}}]},
        {"conditions": [{"displayName": "a", "conditionThreshold": {"filter": 'metric.type="x"', "comparison": "COMPARISON_GT", "duration": "60s"}}]},
    ],
)  # fmt: skip
def test_wrong_alerts_are_refused(admin: AdminCloud, wrong: dict[str, Any]) -> None:
    enable(admin, "monitoring")
    absent = {"filter": 'metric.type="a" AND resource.type="b"', "duration": "300s"}
    right = {"displayName": "a", "combiner": "OR", "conditions": [{"displayName": "a", "conditionAbsent": absent}]}
    path = f"v3/projects/{PROJECT}/alertPolicies"
    status = 404 if "notificationChannels" in wrong else 400
    rest(admin, "POST", "monitoring", path, right | wrong, status=status)
    assert admin.state()["alerts"] == {}
    rest(admin, "POST", "monitoring", path, right)


def test_datasets_and_views(admin: AdminCloud) -> None:
    enable(admin, "bigquery")
    base = f"bigquery/v2/projects/{PROJECT}/datasets"
    dataset = {"datasetReference": {"projectId": PROJECT, "datasetId": "bk"}, "location": "EU", "labels": {"app": "bk"}}
    rest(admin, "GET", "bigquery", f"{base}/bk", status=404)
    rest(admin, "POST", "bigquery", base, dataset)
    rest(admin, "POST", "bigquery", base, dataset, status=409)
    reference = {"projectId": PROJECT, "datasetId": "bk", "tableId": "costs"}
    view = {"tableReference": reference, "view": {"query": "SELECT 1 AS one", "useLegacySql": False}}
    rest(admin, "POST", "bigquery", f"{base}/bk/tables", view)
    view["view"]["query"] = "SELECT 2 AS two"
    rest(admin, "PUT", "bigquery", f"{base}/bk/tables/costs", view)
    rest(admin, "POST", "bigquery", f"{base}/bk/tables", {"tableReference": {}, "view": {"query": ""}}, status=400)
    rest(admin, "DELETE", "bigquery", f"{base}/bk", status=400)
    state = admin.state()
    assert state["tables"]["bk.costs"]["view"]["query"] == "SELECT 2 AS two"
    assert state["datasets"]["bk"]["location"] == "EU"
    rest(admin, "PATCH", "bigquery", f"{base}/bk", {"location": "US"}, status=400)


# ---- what is refused


def test_an_api_that_is_off_refuses_every_call(admin: AdminCloud, gcloud: Gcloud) -> None:
    said = gcloud.refused("pubsub", "topics", "list", IN)
    assert "SERVICE_DISABLED" in said
    assert "Cloud Pub/Sub API has not been used in project acme-analytics before" in said
    for service, path in [
        ("iam", "serviceAccounts"),
        ("pubsub", "topics"),
        ("logging", "sinks"),
        ("monitoring", "dashboards"),
    ]:
        version = {"logging": "v2"}.get(service, "v1")
        answer = rest(admin, "GET", service, f"{version}/projects/{PROJECT}/{path}", status=403)
        (info,) = [detail for detail in answer["error"]["details"] if detail["@type"].endswith("ErrorInfo")]
        assert (info["reason"], info["metadata"]["service"]) == ("SERVICE_DISABLED", f"{service}.googleapis.com")
    admin.ground.propagation = 2
    gcloud("services", "enable", "pubsub.googleapis.com", IN)
    for status in (403, 403, 200):
        rest(admin, "GET", "pubsub", f"v1/projects/{PROJECT}/topics", status=status)


def test_without_billing_or_a_login_nothing_is_made(admin: AdminCloud, gcloud: Gcloud) -> None:
    admin.ground.billing = False
    assert "UREQ_PROJECT_BILLING_NOT_FOUND" in gcloud.refused("services", "enable", "pubsub.googleapis.com", IN)
    assert "pubsub.googleapis.com" not in admin.state()["apis"]
    assert "billingEnabled" not in rest(admin, "GET", "cloudbilling", f"v1/projects/{PROJECT}/billingInfo")
    rest(admin, "GET", "cloudresourcemanager", "v1/projects/somebody-elses", status=403)
    admin.token = "another"  # noqa: S105 - a token that the cloud does not know
    answer = rest(admin, "GET", "cloudresourcemanager", f"v1/projects/{PROJECT}", status=401)
    assert answer["error"]["status"] == "UNAUTHENTICATED"


def test_nobody_is_granted_anything_before_he_is_known_everywhere(admin: AdminCloud) -> None:
    enable(admin, "iam", "pubsub")
    rest(admin, "PUT", "pubsub", f"v1/projects/{PROJECT}/topics/life", {})
    bindings = [{"role": "roles/pubsub.publisher", "members": [f"serviceAccount:{RUNNER}"]}]
    topic = f"v1/projects/{PROJECT}/topics/life:setIamPolicy"
    answer = rest(admin, "POST", "pubsub", topic, {"policy": {"bindings": bindings}}, status=400)
    assert answer["error"]["message"] == f"Service account {RUNNER} does not exist."
    admin.ground.propagation = 1
    make_account(admin)
    rest(admin, "POST", "pubsub", topic, {"policy": {"bindings": bindings}}, status=400)
    rest(admin, "POST", "pubsub", topic, {"policy": {"bindings": bindings}})
    agent = f"serviceAccount:service-{NUMBER}@gcp-sa-eventarc.iam.gserviceaccount.com"
    granted = [{"role": "roles/pubsub.viewer", "members": [agent]}]
    rest(admin, "POST", "pubsub", topic, {"policy": {"bindings": granted}}, status=400)
    enable(admin, "eventarc")
    rest(admin, "POST", "pubsub", topic, {"policy": {"bindings": granted}})


def test_a_policy_that_was_changed_in_between_is_not_overwritten(admin: AdminCloud) -> None:
    path = f"v1/projects/{PROJECT}"
    first = rest(admin, "POST", "cloudresourcemanager", f"{path}:getIamPolicy", {})
    one = {**first, "bindings": [*first["bindings"], {"role": "roles/viewer", "members": ["user:a@acme.example"]}]}
    rest(admin, "POST", "cloudresourcemanager", f"{path}:setIamPolicy", {"policy": one})
    answer = rest(admin, "POST", "cloudresourcemanager", f"{path}:setIamPolicy", {"policy": first}, status=409)
    assert answer["error"]["status"] == "ABORTED"
    last = rest(admin, "POST", "cloudresourcemanager", f"{path}:getIamPolicy", {})
    for wrong in (
        {"role": "roles/viewer", "members": ["bob"]},
        {"role": "viewer", "members": ["user:a@acme.example"]},
        {"role": f"projects/{PROJECT}/roles/none", "members": ["user:a@acme.example"]},
        {"role": "roles/viewer", "members": ["user:a@acme.example"], "condition": {"title": "t", "expression": "true"}},
    ):
        policy = {**last, "bindings": [*last["bindings"], wrong]}
        rest(admin, "POST", "cloudresourcemanager", f"{path}:setIamPolicy", {"policy": policy}, status=400)
    assert [b["role"] for b in admin.state()["project_iam"]] == ["roles/owner", "roles/viewer"]


def test_calls_and_fields_that_do_not_exist_are_refused(admin: AdminCloud) -> None:
    enable(admin, "iam", "logging", "pubsub")
    path = f"v1/projects/{PROJECT}/serviceAccounts"
    answer = rest(admin, "POST", "iam", path, {"accountId": "bk-runner", "serviceAccount": {"bogus": 1}}, status=400)
    assert answer["error"]["message"] == (
        "Invalid JSON payload received. Unknown name \"bogus\" at 'service_account': Cannot find field."
    )
    rest(admin, "POST", "iam", path, {"accountId": 5}, status=400)
    rest(admin, "GET", "iam", path, status=400, bogus="1")
    rest(admin, "GET", "iam", f"v1/projects/{PROJECT}/bogus", status=404)
    rest(admin, "GET", "pubsub", f"v1/projects/{PROJECT}/bogus", status=404)
    rest(admin, "POST", "iam", f"{path}/{RUNNER}/keys", {}, status=405)
    metric = {"name": "a", "filter": "x", "labelExtractors": {"k": "EXTRACT(a)"}}
    rest(admin, "POST", "logging", f"v2/projects/{PROJECT}/metrics", metric, status=400)
    for role_id, permission in [
        ("ab", "iam.roles.get"),
        ("bk-role", "iam.roles.get"),
        ("bkRole", "iam.roles"),
        ("bkRole", "no.a.b"),
    ]:
        body = {"roleId": role_id, "role": {"title": "t", "includedPermissions": [permission]}}
        rest(admin, "POST", "iam", f"v1/projects/{PROJECT}/roles", body, status=400)
    assert (admin.state()["roles"], admin.state()["accounts"], admin.writes()) == ({}, {}, [])


@pytest.mark.parametrize(
    "wrong",
    [
        ("buildConfig", "runtime", "python27"), ("serviceConfig", "serviceAccountEmail", f"no@{PROJECT}.iam.gserviceaccount.com"),
        ("eventTrigger", "pubsubTopic", f"projects/{PROJECT}/topics/none"), ("serviceConfig", "availableCpu", "0.5"),
        ("serviceConfig", "timeoutSeconds", 600), ("labels", "App", "x"), ("serviceConfig", "environmentVariables", {"PORT": "1"}),
        ("buildConfig", "serviceAccount", RUNNER),
    ],
)  # fmt: skip
def test_wrong_functions_are_refused(admin: AdminCloud, wrong: tuple[str, str, Any]) -> None:
    enable(admin, "iam", "pubsub", "cloudfunctions")
    make_account(admin)
    rest(admin, "PUT", "pubsub", f"v1/projects/{PROJECT}/topics/life", {})
    builder = f"projects/{PROJECT}/serviceAccounts/{RUNNER}"
    function: dict[str, dict[str, Any]] = {
        "buildConfig": {"runtime": "python312", "entryPoint": "f", "serviceAccount": builder},
        "serviceConfig": {"serviceAccountEmail": RUNNER, "maxInstanceRequestConcurrency": 8, "availableCpu": "1"},
        "eventTrigger": {
            "eventType": "google.cloud.pubsub.topic.v1.messagePublished",
            "pubsubTopic": f"projects/{PROJECT}/topics/life",
            "serviceAccountEmail": RUNNER,
        },
        "labels": {},
    }
    path = f"v2/projects/{PROJECT}/locations/{REGION}/functions"
    part, key, value = wrong
    broken = function | {part: function[part] | {key: value}}
    status = 404 if key == "serviceAccountEmail" else 400
    rest(admin, "POST", "cloudfunctions", path, broken, status=status, functionId="bk")
    assert admin.state()["functions"] == {}
    rest(admin, "POST", "cloudfunctions", path, function, status=400, functionId="Upper")
    done = rest(admin, "POST", "cloudfunctions", path, function, functionId="bk")  # right, but nothing was uploaded
    assert "was not uploaded" in rest(admin, "GET", "cloudfunctions", f"v2/{done['name']}")["error"]["message"]
    assert admin.state()["functions"][f"{path.removeprefix('v2/')}/bk"]["state"] == "FAILED"


# ---- faults, worlds, the warm gcloud


def test_faults_fire_where_they_were_scripted(admin: AdminCloud, gcloud: Gcloud) -> None:
    enable(admin, "iam", "pubsub")
    error = errors.permission_denied("pubsub.topics.create", f"//pubsub.googleapis.com/projects/{PROJECT}")
    admin.fail(("pubsub", "PUT */topics/*"), error, skip=1)
    rest(admin, "PUT", "pubsub", f"v1/projects/{PROJECT}/topics/one", {})
    said = gcloud.refused("pubsub", "topics", "create", "two", IN)
    assert "Permission 'pubsub.topics.create' denied on resource" in said
    admin.fail_call(2, errors.concurrent_change(), after=True)
    make_account(admin, "bk-first")
    rest(admin, "POST", "iam", f"v1/projects/{PROJECT}/serviceAccounts", {"accountId": "bk-second"}, status=409)
    assert sorted(admin.state()["topics"]) == [f"projects/{PROJECT}/topics/one"]
    assert len(admin.state()["accounts"]) == 2  # its answer was lost, not the account
    assert admin.unfired() == []


def test_a_fault_that_does_not_fire_fails_the_test(tmp_path: Path) -> None:
    with pytest.raises(UnfiredFaultsError, match="currently unavailable"), started(tmp_path) as admin:
        admin.fail(("iam", "DELETE *"), errors.unavailable())


@pytest.mark.parametrize(
    "error",
    [
        errors.api_disabled("pubsub.googleapis.com", PROJECT), errors.billing_off(NUMBER, "pubsub.googleapis.com"),
        errors.organization_policy(PROJECT, "a@other.example"), errors.no_such_project("x"),
        errors.user_project_denied(PROJECT, "pubsub.googleapis.com"), errors.not_logged_in("M", "pubsub.googleapis.com"),
        errors.bucket_of_another(), errors.bucket_denied("a@acme.example", "b"),
    ],
    ids=lambda error: f"{error.http_status}-{error.message[:20]}",
)  # fmt: skip
def test_gcloud_says_each_error_in_its_own_words(admin: AdminCloud, gcloud: Gcloud, error: errors.ApiError) -> None:
    storage = error.reason is not None
    words = (
        ("storage", "buckets", "create", "gs://acme-bk") if storage else ("services", "enable", "pubsub.googleapis.com")
    )
    admin.fail(("storage" if storage else "serviceusage", "POST *"), error, times=None)
    said = gcloud.refused(*words, IN)
    assert error.message.partition(".")[0] in " ".join(said.split())


def test_gcloud_gets_over_a_failure_that_passes_and_tells_of_a_quota(admin: AdminCloud, gcloud: Gcloud) -> None:
    enable(admin, "iam")
    admin.fail(("iam", "GET *"), errors.unavailable())
    assert gcloud.json("iam", "service-accounts", "list", IN) == []
    for error in (errors.quota_used_up(), errors.quota("iam.googleapis.com", NUMBER)):
        admin.fail(("iam", "GET *"), error)
        assert "RESOURCE_EXHAUSTED" in gcloud.refused("iam", "service-accounts", "list", IN)
    assert [row.status for row in admin.journal if row.service == "iam"] == [503, 200, 429, 429]


def test_two_worlds_made_alike_are_equal_and_a_difference_is_seen(tmp_path: Path) -> None:
    def world(name: str, *, label: str) -> dict[str, Any]:
        with started(tmp_path / name) as admin:
            enable(admin, "iam", "pubsub", "monitoring")
            make_account(admin)
            rest(admin, "PUT", "pubsub", f"v1/projects/{PROJECT}/topics/life", {"labels": {"app": label}})
            board = {"displayName": "B", "gridLayout": {}}
            rest(admin, "POST", "monitoring", f"v1/projects/{PROJECT}/dashboards", board)
            return admin.state()

    first = world("one", label="a")
    assert json.loads(json.dumps(first)) == first
    assert world("two", label="a") == first
    assert world("three", label="b") != first


def test_the_warm_gcloud_does_what_the_real_one_does(admin: AdminCloud, tmp_path: Path) -> None:
    enable(admin, "pubsub")
    cold, warm = admin.gcloud(tmp_path / "cold", warm=False), admin.gcloud(tmp_path / "warm")
    assert warm.environment["PATH"] != cold.environment["PATH"]
    for words in (("projects", "describe", PROJECT, "--format=json"), ("projects", "describe", "other")):
        one, other = cold.run(*words), warm.run(*words)
        assert one.code == other.code
        assert one.out == other.out
        assert one.err.replace("/cold/", "/warm/") == other.err
    rows = [row for row in admin.journal if row.command == "gcloud.projects.describe"]
    assert len(rows) == 4
    assert len({row.path for row in rows}) == 2


def test_a_warm_command_ends_with_its_client(admin: AdminCloud, tmp_path: Path) -> None:
    enable(admin, "pubsub")
    gcloud = admin.gcloud(tmp_path / "sdk")
    admin.fail(("pubsub", "GET *"), errors.unavailable(), times=1)  # gcloud waits a second and more, then asks again
    with subprocess.Popen(
        ["gcloud", "pubsub", "topics", "list", IN],
        env=gcloud.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        until(lambda: any(row.status == 503 for row in admin.journal), seconds=30, what="the first try")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == -signal.SIGTERM
        assert process.stdout is not None
        assert b"Traceback" not in process.stdout.read()  # its end: nobody holds the pipe any more
    assert [row.status for row in admin.journal if row.service == "pubsub"] == [503]


def test_no_environment_of_the_person_reaches_gcloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDSDK_CORE_PROJECT", "the-persons-own")
    assert "CLOUDSDK_CORE_PROJECT" not in plain_environment()


# ---- the page's door


def test_the_proxys_account_is_there_once_somebody_asks_for_it(admin: AdminCloud, gcloud: Gcloud) -> None:
    enable(admin, "iap")
    agent = f"--member=serviceAccount:service-{NUMBER}@gcp-sa-iap.iam.gserviceaccount.com"
    grant = ("projects", "add-iam-policy-binding", PROJECT, agent, "--role=roles/viewer", "--condition=None")
    assert "does not exist" in gcloud.refused(*grant)
    gcloud("beta", "services", "identity", "create", "--service=iap.googleapis.com", f"--project={PROJECT}")
    assert all("gcp-sa-iap" not in str(binding) for binding in admin.state()["project_iam"])  # it is given no role
    gcloud(*grant)


def test_a_service_that_is_not_there_has_no_door(admin: AdminCloud, gcloud: Gcloud) -> None:
    enable(admin, "iap", "run")
    where = ("--resource-type=cloud-run", "--service=nobody", f"--region={REGION}", f"--project={PROJECT}")
    assert "NOT_FOUND" in gcloud.refused("beta", "iap", "web", "get-iam-policy", *where)
    described = ("run", "services", "describe", "nobody", f"--region={REGION}", f"--project={PROJECT}")
    assert "Cannot find service" in gcloud.refused(*described)
    assert admin.state()["proxy_iam"] == {}
