"""One project's whole life: from nothing, again, a message through it, outside edits, a new version, taken down."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.e2e.local_run import until
from tests.kit.acme import BUCKET, COMPUTE, ONCALL, ORGANIZATION, PROJECT, PUBLISHER, REGION, Acme, account, acme, audit

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900), pytest.mark.gcloud]

_ALLOWED = (".py", ".yaml", ".binpb", "dataproc/types.json", "requirements.txt", "checked.prod.json")
_TEXTS = "config/messages/"


def test_from_nothing_again_edited_and_taken_down(tmp_path: Path) -> None:
    with acme(tmp_path) as project:
        empty = project.admin.state()
        plan = project.gcp("--dry-run")
        assert plan.writes == []
        assert project.admin.state() == empty
        assert not (project.config / "settings.prod.yaml").exists()

        bystander(project)
        made = project.gcp()
        # What was planned is what was done: the services, then the rest; Google's own agents come with their services.
        assert made.lines("+") == [line for line in plan.lines("+") if not line.startswith("agent ")]
        state = project.admin.state()
        assert audit(state) == [], "\n".join(audit(state))
        assert bystander_is_there(state)
        archives_are_the_allow_list(project)
        for name, plant in PLANTED.items():
            broken = copy.deepcopy(state)
            plant(broken)
            assert audit(broken), f"nobody noticed: {name}"

        again = project.gcp()
        assert again.writes == []
        assert again.lines("+") == again.lines("~") == []
        assert "as it should be" in again.out

        a_notebook_comes_to_be(project)

        edit_from_outside(project)
        assert audit(project.admin.state())
        mended = project.gcp()
        assert sorted(mended.lines("~") + mended.lines("+")) == sorted(EDITED)
        assert audit(project.admin.state()) == []

        down = project.destroy()
        buckets = {f"bucket {BUCKET}{each}" for each in ("", "-inbox", "-letters", "-audit")}
        assert set(down.lines("!")) == {*buckets, "environments people's"}
        left = project.admin.state()
        what_stays(left)
        assert bystander_is_there(left)
        assert (
            [n.state for n in project.cloud.notebooks.listing()] == ["ACTIVE"]
            if hasattr(project.cloud.notebooks, "listing")
            else True
        )
        assert project.destroy().writes == []


def bystander(project: Acme) -> None:
    """Somebody who has a role already, and must keep it."""
    words = ("--member=user:somebody@acme.example", "--role=roles/viewer", "--condition=None")
    project.gcloud("projects", "add-iam-policy-binding", PROJECT, *words)


def bystander_is_there(state: dict[str, Any]) -> bool:
    return any(
        b["role"] == "roles/viewer" and "user:somebody@acme.example" in b["members"] for b in state["project_iam"]
    )


def archives_are_the_allow_list(project: Acme) -> None:
    for names in project.admin.functions.archives.values():
        assert {"main.py", "requirements.txt", "functions/lifecycle.py", "config/profiles.yaml"} <= set(names)
        assert "config/checked.prod.json" in names
        tops = {name.split("/")[0] for name in names}
        assert tops - {"portal"} == {"main.py", "requirements.txt", "functions", "shared", "config"}
        code = [name for name in names if not name.startswith("portal/")]
        assert [name for name in code if not name.endswith((*_ALLOWED, "/")) and not name.startswith(_TEXTS)] == []
        assert not any("__pycache__" in name or "/." in name for name in names)
        assert not any("deploy/" in name or "schema/" in name or "examples/" in name for name in names)


def a_notebook_comes_to_be(project: Acme) -> None:
    """A message that the real gcloud published, through the embedded Pub/Sub, to the functions that gcloud deployed."""
    person = "Ñandú.O'Neil@Example.com"
    message = {"schema": "workbench.lifecycle/v1", "event_id": "e-1", "type": "joiner", "user": person}
    words = (f"--message={json.dumps(message)}", f"--project={PROJECT}")
    project.gcloud("pubsub", "topics", "publish", "workbench-lifecycle", *words)
    project.cloud.world.clock.set_speed(60)
    until(lambda: states(project) == ["ACTIVE"], seconds=60, what=lambda: f"the notebook is ACTIVE: {states(project)}")
    project.cloud.world.clock.set_speed(1)


def states(project: Acme) -> list[str]:
    words = ("workbench", "instances", "list", "--location=-", f"--project={PROJECT}")
    return [each["state"] for each in project.gcloud.json(*words)]


def _function(state: dict[str, Any], name: str) -> dict[str, Any]:
    return next(f for n, f in state["functions"].items() if n.endswith(f"/benchkeeper-{name}"))


def _subscription(state: dict[str, Any], name: str) -> dict[str, Any]:
    return next(s for n, s in state["subscriptions"].items() if n.endswith(f"/eventarc-benchkeeper-{name}"))


def _service(state: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return next(p for n, p in state["run_iam"].items() if n.endswith(f"/benchkeeper-{name}"))


# Each of these must be noticed.
PLANTED: dict[str, Callable[[dict[str, Any]], object]] = {
    "--retry was dropped": lambda s: _function(s, "lifecycle")["eventTrigger"].update(
        retryPolicy="RETRY_POLICY_DO_NOT_RETRY"
    ),
    "an editor of the project": lambda s: s["project_iam"].append(
        {"role": "roles/editor", "members": [f"serviceAccount:{account('tick')}"]}
    ),
    "no dead letter": lambda s: _subscription(s, "lifecycle").pop("deadLetterPolicy"),
    "it expires": lambda s: _subscription(s, "lifecycle").update(expirationPolicy={"ttl": "2678400s"}),
    "Pub/Sub may not forward": lambda s: _subscription(s, "tick").update(iam=[]),
    "anybody may call": lambda s: _service(s, "tick")[0]["members"].append("allUsers"),
    "the internet may call": lambda s: _function(s, "tick")["serviceConfig"].update(ingressSettings="ALLOW_ALL"),
    "anybody may call the page": lambda s: _service(s, "hub")[0]["members"].append("allUsers"),
    "the page without its proxy": lambda s: s["proxied"].clear(),
    "a page that believes another's signatures": lambda s: _function(s, "hub")["serviceConfig"][
        "environmentVariables"
    ].update(BENCHKEEPER_IAP_AUDIENCE="/projects/1/locations/europe-west1/services/benchkeeper-hub"),
    "a page that may stop environments": lambda s: s["roles"][f"projects/{PROJECT}/roles/benchkeeper_hub_look"][
        "includedPermissions"
    ].append("notebooks.instances.stop"),
    "clusters as anybody": lambda s: s["project_iam"].append(
        {"role": "roles/iam.serviceAccountUser", "members": [f"serviceAccount:{account('tick')}"]}
    ),
    "one account for two": lambda s: _function(s, "tick")["serviceConfig"].update(
        serviceAccountEmail=account("lifecycle")
    ),
    "a public bucket": lambda s: s["buckets"][BUCKET]["iam"].append(
        {"role": "roles/storage.objectViewer", "members": ["allUsers"]}
    ),
    "no versions": lambda s: s["buckets"][BUCKET].update(versioning={"enabled": False}),
    "an empty tick": lambda s: next(iter(s["jobs"].values()))["pubsubTarget"].update(data=""),
    "a role too wide": lambda s: s["roles"].update({"projects/acme-analytics/roles/extra": {}}),
    "a build that reads everything": lambda s: [b.pop("condition", None) for b in s["project_iam"]],
    "a sink without rights": lambda s: next(t for n, t in s["topics"].items() if n.endswith("wake")).update(iam=[]),
    "a page that writes records": lambda s: s["buckets"][BUCKET]["iam"].append(
        {"role": f"projects/{PROJECT}/roles/benchkeeper_objects", "members": [f"serviceAccount:{account('hub')}"]}
    ),
    "a page that speaks as HR": lambda s: next(t for n, t in s["topics"].items() if n.endswith("lifecycle"))[
        "iam"
    ].append({"role": "roles/pubsub.publisher", "members": [f"serviceAccount:{account('hub')}"]}),
    "wishes that can be changed": lambda s: s["buckets"][f"{BUCKET}-inbox"]["iam"].append(
        {"role": f"projects/{PROJECT}/roles/benchkeeper_marks", "members": [f"serviceAccount:{account('hub')}"]}
    ),
}


def edit_from_outside(project: Acme) -> None:
    """What people do in the console."""
    p, r = f"--project={PROJECT}", f"--region={REGION}"
    role = ("--role=roles/run.invoker", r, p)
    service = "benchkeeper-lifecycle"
    subscription = f"eventarc-{service}"
    for words in (
        ("run", "services", "add-iam-policy-binding", service, "--member=allUsers", *role),
        ("beta", "run", "services", "update", "benchkeeper-hub", "--no-iap", r, p),
        ("pubsub", "subscriptions", "update", subscription, "--clear-dead-letter-policy", p),
        ("iam", "roles", "update", "benchkeeper_sweeps", "--add-permissions=notebooks.instances.setIamPolicy", p),
        ("scheduler", "jobs", "pause", "benchkeeper-due", f"--location={REGION}", p),
        ("storage", "buckets", "update", f"gs://{BUCKET}", "--no-versioning", p),
        ("logging", "metrics", "delete", "benchkeeper/dead_letters", p),
        ("projects", "remove-iam-policy-binding", PROJECT, f"--member=serviceAccount:{account('tick')}",
         f"--role=projects/{PROJECT}/roles/benchkeeper_sweeps", "--condition=None"),
    ):  # fmt: skip
        project.gcloud(*words)


EDITED = [
    "access tick: benchkeeper_sweeps on project", f"bucket {BUCKET}", "caller benchkeeper-hub", "caller benchkeeper-lifecycle",
    "delivery benchkeeper-lifecycle", "job benchkeeper-due", "metric benchkeeper/dead_letters", "proxy benchkeeper-hub",
    "role benchkeeper_sweeps",
]  # fmt: skip


def what_stays(state: dict[str, Any]) -> None:
    for kind in (
        "functions",
        "topics",
        "subscriptions",
        "jobs",
        "sinks",
        "metrics",
        "alerts",
        "dashboards",
        "accounts",
        "run_iam",
        "proxied",
        "proxy_iam",
    ):
        assert not state[kind], kind
    assert all(role.get("deleted") for role in state["roles"].values())
    assert BUCKET in state["buckets"]
    bindings = [*state["project_iam"], *state["buckets"][BUCKET]["iam"], *state["agents_iam"].get(COMPUTE, [])]
    ours = [m for b in bindings for m in b["members"] if "benchkeeper" in m]
    assert ours == []


@pytest.mark.slow
def test_an_installation_of_an_earlier_version_is_brought_up_to_date(tmp_path: Path) -> None:
    """Its sink went to HR's topic, its page wrote records and spoke on that topic, and its letters were kept beside the records."""
    with acme(tmp_path) as project:
        project.gcp()
        as_an_earlier_version_left_it(project)
        assert audit(project.admin.state())
        done = project.gcp()
        assert done.lines("-") == [
            "former-writer benchkeeper-notebooks",
            "withdrawn dead-letter: benchkeeper_letters on bucket/records",
            "withdrawn hub: benchkeeper_objects on bucket/records",
            "withdrawn hub: pubsub.publisher on topic/workbench-lifecycle",
        ]
        state = project.admin.state()
        assert audit(state) == [], "\n".join(audit(state))
        until_when = moves_logs_until(state)
        assert until_when is not None
        again = project.gcp()
        assert again.writes == []
        assert moves_logs_until(project.admin.state()) == until_when


def moves_logs_until(state: dict[str, Any]) -> str | None:
    variables = {n: _function(state, n)["serviceConfig"]["environmentVariables"] for n in ("lifecycle", "directory")}
    assert "BENCHKEEPER_MOVE_LOGS_UNTIL" not in variables["directory"]
    return variables["lifecycle"].get("BENCHKEEPER_MOVE_LOGS_UNTIL")


def as_an_earlier_version_left_it(project: Acme) -> None:
    p, news, bucket = f"--project={PROJECT}", "workbench-lifecycle", f"gs://{BUCKET}"
    writer = project.gcloud.json("logging", "sinks", "describe", "benchkeeper-notebooks", p)["writerIdentity"]
    old_topic = f"pubsub.googleapis.com/projects/{PROJECT}/topics/{news}"
    page, letters = (f"--member=serviceAccount:{account(name)}" for name in ("hub", "dead-letter"))
    role = f"--role=projects/{PROJECT}/roles/benchkeeper"
    for words in (
        ("logging", "sinks", "update", "benchkeeper-notebooks", old_topic, p),
        ("pubsub", "topics", "add-iam-policy-binding", news, f"--member={writer}", PUBLISHES, p),
        ("pubsub", "topics", "add-iam-policy-binding", news, page, PUBLISHES, p),
        ("storage", "buckets", "add-iam-policy-binding", bucket, page, f"{role}_objects", p),
        ("storage", "buckets", "add-iam-policy-binding", bucket, letters, f"{role}_letters", p),
    ):
        project.gcloud(*words)


PUBLISHES = "--role=roles/pubsub.publisher"


@pytest.mark.slow
def test_with_everything_that_is_optional(tmp_path: Path) -> None:
    with acme(tmp_path, organization=ORGANIZATION) as project:
        key = f"projects/{PROJECT}/locations/{REGION}/keyRings/data/cryptoKeys/benchkeeper"
        project.admin.keys.add(key)
        (project.config / "settings.prod.yaml").write_text(
            f"""\
project: {PROJECT}
zones: [{REGION}-b]
bucket: {BUCKET}
people: {{domains: [acme-analytics.com]}}
deployment:
  organization: "{ORGANIZATION}"
  notify: [{ONCALL}]
  publishers: ["{PUBLISHER}"]
  kms_key: {key}
  billing_export: acme-analytics.billing.gcp_billing_export_v1_012EB3_BC4637_0FC348
"""
        )
        project.gcloud("services", "enable", "bigquery.googleapis.com", f"--project={PROJECT}")
        a_billing_export(project)
        project.gcp()
        state = project.admin.state()
        publisher = {"role": "roles/pubsub.publisher", "members": [PUBLISHER]}
        topic = state["topics"][f"projects/{PROJECT}/topics/workbench-lifecycle"]
        assert any(PUBLISHER in binding["members"] for binding in topic["iam"]), publisher
        assert sorted(n.split("/")[-1] for n in state["sinks"]) == ["benchkeeper-notebooks", "benchkeeper-people"]
        assert state["buckets"][BUCKET]["encryption"] == {"defaultKmsKeyName": key}
        assert len(state["channels"]) == 1
        assert all(len(alert["notificationChannels"]) == 1 for alert in state["alerts"].values())
        assert audit(state, costs=True) == [], "\n".join(audit(state, costs=True))
        assert [n for n in state["tables"] if n.endswith("cost_by_user")]
        reader = {"role": "READER", "userByEmail": account("tick")}
        assert reader in state["datasets"]["benchkeeper"]["access"]
        again = project.gcp()
        assert again.writes == []
        assert "authorized cost_by_user" in again.lines("!")

        let_the_view_read(project)
        assert "authorized cost_by_user" not in project.gcp().lines("!")
        project.destroy()
        left = project.admin.state()["datasets"]["benchkeeper"]["access"]
        assert left == [each for each in state["datasets"]["benchkeeper"]["access"] if each != reader]


def a_billing_export(project: Acme) -> None:
    """A dataset in the EU, as the billing account's owner made it."""
    answer = requests.post(
        f"{project.admin.endpoint('bigquery')}bigquery/v2/projects/{PROJECT}/datasets",
        json={"datasetReference": {"projectId": PROJECT, "datasetId": "billing"}, "location": "EU"},
        headers={"Authorization": f"Bearer {project.admin.token}"},
        timeout=30,
    )
    assert answer.ok, answer.text


def let_the_view_read(project: Acme) -> None:
    """What the export's owner does once, in the console (Sharing, Authorize views)."""
    where = f"{project.admin.endpoint('bigquery')}bigquery/v2/projects/{PROJECT}/datasets/billing"
    headers = {"Authorization": f"Bearer {project.admin.token}"}
    access = requests.get(where, headers=headers, timeout=30).json()["access"]
    view = {"projectId": PROJECT, "datasetId": "benchkeeper", "tableId": "cost_by_user"}
    answer = requests.patch(where, json={"access": [*access, {"view": view}]}, headers=headers, timeout=30)
    assert answer.ok, answer.text
