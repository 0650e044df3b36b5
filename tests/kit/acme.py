"""A company's project, `acme-analytics`, and what a deployment must have made of it. Expectations are written out here, not computed."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emulator.app import EmbeddedCloud
from emulator.clock import VirtualClock
from tests.kit.gcp import AdminCloud, Gcloud

ROOT = Path(__file__).resolve().parents[2]
PROJECT, NUMBER, REGION, ORGANIZATION = "acme-analytics", "123456789012", "europe-west1", "987654321098"
BUCKET = f"{PROJECT}-benchkeeper"
ONCALL, PUBLISHER = "oncall@acme.example", "serviceAccount:hr-feed@acme-hr.iam.gserviceaccount.com"
AGENT_PUBSUB = f"serviceAccount:service-{NUMBER}@gcp-sa-pubsub.iam.gserviceaccount.com"
AGENT_IAP = f"serviceAccount:service-{NUMBER}@gcp-sa-iap.iam.gserviceaccount.com"
COMPUTE = f"{NUMBER}-compute@developer.gserviceaccount.com"
HUB_DOOR = f"projects/{PROJECT}/iap_web/cloud_run-{REGION}/services/benchkeeper-hub"
AGENT_VM = f"service-{NUMBER}@gcp-sa-notebooks-vm.iam.gserviceaccount.com"
LABEL = {"managed-by": "benchkeeper"}


def account(name: str) -> str:
    return f"benchkeeper-{name}@{PROJECT}.iam.gserviceaccount.com"


def _member(name: str) -> str:
    return f"serviceAccount:{account(name)}"


@dataclass(frozen=True)
class Ran:
    """One run of ./deploy.sh."""

    code: int
    out: str
    err: str
    writes: list[str]

    def lines(self, mark: str) -> list[str]:
        """The plan's lines with this mark: kind and name."""
        return sorted(line[2:].split("  ")[0] for line in self.out.splitlines() if line.startswith(f"{mark} "))


@dataclass
class Acme:
    """The project, the cloud around it, and a copy of the configuration."""

    cloud: EmbeddedCloud
    admin: AdminCloud
    config: Path
    folder: Path
    environment: dict[str, str]

    @property
    def gcloud(self) -> Gcloud:
        return Gcloud(self.environment, self.folder)

    def deploy(self, *words: str, expect: int = 0, **more: str) -> Ran:
        """`./deploy.sh`, behind its set-up."""
        before = len(self.admin.writes())
        done = subprocess.run(
            [sys.executable, "-m", "cli.deploy", *words],
            env=self.environment | more, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == expect, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        writes = [f"{row.service} {row.verb} {row.path}" for row in self.admin.writes()[before:]]
        return Ran(done.returncode, done.stdout, done.stderr, writes)

    def gcp(self, *words: str, expect: int = 0) -> Ran:
        return self.deploy("gcp", "--project", PROJECT, "--region", REGION, "--yes", *words, expect=expect)

    def destroy(self, *words: str) -> Ran:
        return self.deploy("destroy", "--project", PROJECT, "--yes", *words)

    def settings(self, text: str) -> None:
        """More lines for the settings file."""
        path = self.config / "settings.prod.yaml"
        path.write_text(path.read_text() + text)


@contextmanager
def acme(folder: Path, *, organization: str | None = None) -> Iterator[Acme]:
    """A project with billing, no services on, and nothing in it. Virtual time runs as real time does."""
    config = folder / "config"
    shutil.copytree(ROOT / "config", config)
    with EmbeddedCloud.build(clock=VirtualClock(), project=PROJECT, log_folder=folder / "logs") as cloud:
        environment = {"BENCHKEEPER_API_ENDPOINT": cloud.url, "PYTHONDONTWRITEBYTECODE": "1"}
        with AdminCloud(
            cloud, project=PROJECT, number=NUMBER, organization=organization, function_environment=environment
        ) as admin:
            child = admin.environment(folder / "gcloud")
            child |= {"BENCHKEEPER_CONFIG_DIR": str(config), "COLUMNS": "100", "PYTHONUTF8": "1"}
            child["PATH"] = f"{child['PATH']}{os.pathsep}{Path(sys.executable).parent}"
            yield Acme(cloud, admin, config, folder, child)


# ---- what must be there


def audit(state: dict[str, Any], *, costs: bool = False) -> list[str]:
    """What is wrong with a deployed project; nothing when all is as it must be. `costs`: a billing export is named."""
    return [
        *_functions(state), *_page(state), *_deliveries(state), *_access(state, costs=costs), *_bucket(state), *_topics(state), *_jobs(state), *_watching(state)
    ]  # fmt: skip


def _unlike(what: str, has: object, needs: object) -> list[str]:
    return [] if has == needs else [f"{what}: {has!r}, not {needs!r}"]


_FUNCTIONS = {  # entry point, account, topic, concurrency, memory
    "benchkeeper-lifecycle": ("lifecycle", "lifecycle", "workbench-lifecycle", 8, "512Mi"),
    "benchkeeper-directory": ("lifecycle", "lifecycle", "workbench-directory", 8, "512Mi"),
    "benchkeeper-operator": ("lifecycle", "lifecycle", "workbench-operator", 8, "512Mi"),
    "benchkeeper-wake": ("lifecycle", "lifecycle", "workbench-wake", 8, "512Mi"),
    "benchkeeper-tick": ("tick", "tick", "workbench-tick", 1, "1Gi"),
    "benchkeeper-dead-letter": ("dead_letter", "dead-letter", "workbench-dead-letter", 8, "512Mi"),
}


def _short(found: dict[str, Any]) -> dict[str, Any]:
    return {name.rsplit("/", 1)[-1]: value for name, value in found.items()}


def _functions(state: dict[str, Any]) -> Iterator[str]:
    functions, run = _short(state["functions"]), _short(state["run_iam"])
    yield from _unlike("functions", sorted(functions), sorted([*_FUNCTIONS, "benchkeeper-hub"]))
    for name, (entry, identity, topic, concurrency, memory) in _FUNCTIONS.items():
        found = functions.get(name, {})
        build, service, trigger = (found.get(key, {}) for key in ("buildConfig", "serviceConfig", "eventTrigger"))
        has = {
            "generation": found.get("environment"),
            "runtime": build.get("runtime"),
            "entry": build.get("entryPoint"),
            "builder": build.get("serviceAccount", "").rsplit("/", 1)[-1],
            "account": service.get("serviceAccountEmail"),
            "ingress": service.get("ingressSettings"),
            "concurrency": service.get("maxInstanceRequestConcurrency"),
            "memory": service.get("availableMemory"),
            "timeout": service.get("timeoutSeconds"),
            "environment": service.get("environmentVariables", {}).get("BENCHKEEPER_ENV"),
            "retry": trigger.get("retryPolicy"),
            "topic": trigger.get("pubsubTopic", "").rsplit("/", 1)[-1],
            "caller": trigger.get("serviceAccountEmail"),
        }
        needs = {
            "generation": "GEN_2", "runtime": "python313", "entry": entry, "builder": account("build"),
            "account": account(identity), "ingress": "ALLOW_INTERNAL_ONLY", "concurrency": concurrency, "memory": memory,
            "timeout": 540, "environment": "prod", "retry": "RETRY_POLICY_RETRY", "topic": topic, "caller": account("push"),
        }  # fmt: skip
        for key, value in needs.items():
            yield from _unlike(f"{name} {key}", has[key], value)
        invokers = [{"role": "roles/run.invoker", "members": [_member("push")]}]
        yield from _unlike(f"{name} may be called by", run.get(name), invokers)


def _page(state: dict[str, Any]) -> Iterator[str]:
    """The hub page: the proxy in front, nobody round it. Who passes the proxy is each test's own affair."""
    found = _short(state["functions"]).get("benchkeeper-hub", {})
    build, service = (found.get(key, {}) for key in ("buildConfig", "serviceConfig"))
    ours = {
        key: value for key, value in service.get("environmentVariables", {}).items() if key.startswith("BENCHKEEPER_")
    }
    has = {
        "entry": build.get("entryPoint"), "builder": build.get("serviceAccount", "").rsplit("/", 1)[-1],
        "account": service.get("serviceAccountEmail"), "ingress": service.get("ingressSettings"),
        "concurrency": service.get("maxInstanceRequestConcurrency"), "memory": service.get("availableMemory"),
        "most instances": service.get("maxInstanceCount"), "kept instances": service.get("minInstanceCount", 0),
        "timeout": service.get("timeoutSeconds"), "trigger": found.get("eventTrigger"), "environment": ours,
        "called by": _short(state["run_iam"]).get("benchkeeper-hub"), "proxied": [_last(name) for name in state["proxied"]],
    }  # fmt: skip
    needs = {
        "entry": "hub", "builder": account("build"), "account": account("hub"), "ingress": "ALLOW_ALL", "concurrency": 16,
        "memory": "1Gi", "most instances": 5, "kept instances": 0, "timeout": 60, "trigger": None,
        "environment": {
            "BENCHKEEPER_ENV": "prod",
            "BENCHKEEPER_IAP_AUDIENCE": f"/projects/{NUMBER}/locations/{REGION}/services/benchkeeper-hub",
        },
        "called by": [{"role": "roles/run.invoker", "members": [AGENT_IAP]}], "proxied": ["benchkeeper-hub"],
    }  # fmt: skip
    for key, value in needs.items():
        yield from _unlike(f"benchkeeper-hub {key}", has[key], value)


def _last(name: str) -> str:
    return name.rsplit("/", 1)[-1]


_DELIVERY = {  # retention, dead letter topic, attempts
    "benchkeeper-lifecycle": ("604800s", "workbench-dead-letter", 100),
    "benchkeeper-directory": ("604800s", "workbench-dead-letter", 100),
    "benchkeeper-operator": ("604800s", "workbench-dead-letter", 100),
    "benchkeeper-wake": ("3600s", "workbench-dead-letter", 20),
    "benchkeeper-tick": ("600s", "workbench-dead-letter", 20),
    "benchkeeper-dead-letter": ("2678400s", None, None),
}


def _deliveries(state: dict[str, Any]) -> Iterator[str]:
    by_name = _short(state["subscriptions"])
    for name, (retention, dead, attempts) in _DELIVERY.items():
        found = by_name.get(f"eventarc-{name}", {})
        policy = found.get("deadLetterPolicy", {})
        has = {
            "ack deadline": found.get("ackDeadlineSeconds"),
            "expiry": found.get("expirationPolicy"),
            "retry": found.get("retryPolicy"),
            "retention": found.get("messageRetentionDuration"),
            "dead letter": policy.get("deadLetterTopic", "/").rsplit("/", 1)[-1] or None,
            "attempts": policy.get("maxDeliveryAttempts"),
            "forwarder": found.get("iam"),
        }
        forwarder = [{"role": "roles/pubsub.subscriber", "members": [AGENT_PUBSUB]}] if dead else []
        needs = {
            "ack deadline": 600, "expiry": {}, "retry": {"minimumBackoff": "10s", "maximumBackoff": "600s"},
            "retention": retention, "dead letter": dead, "attempts": attempts, "forwarder": forwarder,
        }  # fmt: skip
        for key, value in needs.items():
            yield from _unlike(f"delivery to {name}, {key}", has[key], value)


def _access(state: dict[str, Any], *, costs: bool) -> Iterator[str]:
    roles = {name.rsplit("/", 1)[-1] for name in state["roles"]}
    ours = {
        "benchkeeper_objects", "benchkeeper_records_look", "benchkeeper_page_wishes", "benchkeeper_lists", "benchkeeper_inbox", "benchkeeper_letters",
        "benchkeeper_letters_look", "benchkeeper_letter_notes", "benchkeeper_letters_care", "benchkeeper_marks", "benchkeeper_find", "benchkeeper_notebooks", "benchkeeper_sweeps", "benchkeeper_data",
        "benchkeeper_clusters", "benchkeeper_run_as", "benchkeeper_sessions", "benchkeeper_hub_look", "benchkeeper_audit",
        "benchkeeper_audit_list", "benchkeeper_audit_log",
    }  # fmt: skip
    if costs:
        ours.add("benchkeeper_costs")
    yield from _unlike("custom roles", roles, ours)
    look = state["roles"].get(f"projects/{PROJECT}/roles/benchkeeper_hub_look", {}).get("includedPermissions", [])
    yield from _unlike("what the page may change", [each for each in look if not each.endswith((".get", ".list"))], [])
    custom = f"projects/{PROJECT}/roles/"
    held = {
        (binding["role"].removeprefix(custom), member, binding.get("condition", {}).get("expression", ""))
        for binding in state["project_iam"]
        for member in binding["members"]
        if not binding["role"].endswith(".serviceAgent") and (binding["role"], member) not in _BYSTANDERS
    }
    sources = f'resource.name.startsWith("projects/_/buckets/gcf-v2-sources-{NUMBER}-")'
    expected = {
        ("benchkeeper_notebooks", _member("lifecycle"), ""),
        ("benchkeeper_notebooks", _member("tick"), ""),
        ("benchkeeper_data", _member("lifecycle"), ""),
        ("benchkeeper_data", _member("tick"), ""),
        ("benchkeeper_clusters", _member("lifecycle"), ""),
        ("benchkeeper_clusters", _member("tick"), ""),
        ("benchkeeper_sweeps", _member("tick"), ""),
        ("benchkeeper_audit_log", _member("tick"), ""),
        ("benchkeeper_find", _member("lifecycle"), ""),
        ("benchkeeper_sessions", _member("tick"), ""),
        ("benchkeeper_hub_look", _member("hub"), ""),
        ("roles/logging.logWriter", _member("build"), ""),
        ("roles/artifactregistry.writer", _member("build"), ""),
        ("roles/storage.objectViewer", _member("build"), sources),
    }
    if costs:
        expected.add(("benchkeeper_costs", _member("tick"), ""))
    yield from _unlike("held on the project", sorted(held), sorted(expected))
    acting = sorted(m for b in state["agents_iam"].get(AGENT_VM, []) for m in b["members"])
    groups = ["group:data-analysts@example.com", "group:data-engineers@example.com"]
    yield from _unlike("act as the agent", acting, sorted([_member("lifecycle"), _member("tick"), *groups]))
    running = {(b["role"].removeprefix(custom), m) for b in state["agents_iam"].get(COMPUTE, []) for m in b["members"]}
    makers = {("benchkeeper_run_as", _member("lifecycle")), ("benchkeeper_run_as", _member("tick"))}
    yield from _unlike("make clusters that run as the Compute default account", sorted(running), sorted(makers))
    for email, found in state["accounts"].items():
        yield from _unlike(f"act as {email}", found["iam"], [])
    yield from _unlike(
        "accounts",
        sorted(state["accounts"]),
        sorted(map(account, ("lifecycle", "tick", "dead-letter", "hub", "push", "build"))),
    )


_BYSTANDERS = {  # were there before us and must stay
    ("roles/viewer", "user:somebody@acme.example"),
    ("roles/owner", "user:owner@acme.example"),
}


_ACCESS = {  # what our accounts hold on each bucket
    BUCKET: {
        ("benchkeeper_objects", _member("lifecycle")), ("benchkeeper_objects", _member("tick")),
        ("benchkeeper_marks", _member("dead-letter")), ("benchkeeper_records_look", _member("hub")),
    },
    f"{BUCKET}-inbox": {
        ("benchkeeper_inbox", _member("lifecycle")), ("benchkeeper_inbox", _member("tick")),
        ("benchkeeper_page_wishes", _member("hub")),
        ("benchkeeper_lists", _member("hub")),
    },
    f"{BUCKET}-letters": {
        ("benchkeeper_letters", _member("dead-letter")), ("benchkeeper_letter_notes", _member("dead-letter")),
        ("benchkeeper_letters_look", _member("hub")),
        ("benchkeeper_letters_care", _member("tick")),
    },
    f"{BUCKET}-audit": {
        ("benchkeeper_audit", _member("lifecycle")), ("benchkeeper_audit", _member("tick")),
        ("benchkeeper_audit_list", _member("tick")), ("benchkeeper_records_look", _member("hub")),
    },
}  # fmt: skip
_KEEPS = {  # soft delete, lifecycle
    BUCKET: ("2592000", [{"daysSinceNoncurrentTime": 30, "isLive": False}]),
    f"{BUCKET}-inbox": ("604800", [{"daysSinceNoncurrentTime": 7, "isLive": False}, {"age": 7, "isLive": True}]),
    f"{BUCKET}-letters": ("2592000", [{"daysSinceNoncurrentTime": 30, "isLive": False}]),
    f"{BUCKET}-audit": ("7776000", [{"daysSinceNoncurrentTime": 30, "isLive": False}]),
}
_WITHOUT_VERSIONS = {f"{BUCKET}-audit"}


def _bucket(state: dict[str, Any]) -> Iterator[str]:
    for name, (soft_delete, lifecycle) in _KEEPS.items():
        found = state["buckets"].get(name, {})
        access = found.get("iamConfiguration", {})
        uniform = access.get("uniformBucketLevelAccess", {}).get("enabled")
        yield from _unlike(f"bucket {name} uniform", uniform, needs=True)
        yield from _unlike(f"bucket {name} public", access.get("publicAccessPrevention"), "enforced")
        has = found.get("versioning", {}).get("enabled", False)
        yield from _unlike(f"bucket {name} versions", has, name not in _WITHOUT_VERSIONS)
        kept = found.get("softDeletePolicy", {}).get("retentionDurationSeconds")
        yield from _unlike(f"bucket {name} soft delete", kept, soft_delete)
        yield from _unlike(f"bucket {name} label", found.get("labels"), LABEL)
        yield from _unlike(f"bucket {name} location", found.get("location"), "EUROPE-WEST1")
        actions = [rule["condition"] for rule in found.get("lifecycle", {}).get("rule", [])]
        yield from _unlike(f"bucket {name} lifecycle", actions, lifecycle)
        held = {(b["role"].rsplit("/", 1)[-1], m) for b in found.get("iam", []) for m in b["members"]}
        custom = {(role, member) for role, member in held if not member.startswith("project")}
        starts = {
            b["role"].rsplit("/", 1)[-1]: b.get("condition", {}).get("expression", "")
            for b in found.get("iam", [])
            if b["role"].endswith("benchkeeper_lists")
        }
        only = f'resource.name.startsWith("projects/_/buckets/{name}/objects/lists/")'
        yield from _unlike(f"read in the bucket {name}", set(starts.values()) - {only}, set())
        yield from _unlike(f"held on the bucket {name}", sorted(custom), sorted(_ACCESS[name]))


def _topics(state: dict[str, Any]) -> Iterator[str]:
    topics = _short(state["topics"])
    week = dict.fromkeys(("lifecycle", "directory", "operator", "dead-letter"), "604800s")
    keeps = {f"workbench-{name}": value for name, value in {**week, "wake": "86400s", "tick": "600s"}.items()}
    yield from _unlike("topics keep", {n: t.get("messageRetentionDuration") for n, t in topics.items()}, keeps)
    for name, topic in topics.items():
        yield from _unlike(f"{name} label", topic.get("labels"), LABEL)
    publishers = {m for b in topics.get("workbench-dead-letter", {}).get("iam", []) for m in b["members"]}
    yield from _unlike(
        "publish dead letters",
        sorted(publishers),
        sorted([AGENT_PUBSUB, *map(_member, ("lifecycle", "tick", "dead-letter"))]),
    )
    waking = {
        (b["role"], m)
        for b in topics.get("workbench-wake", {}).get("iam", [])
        for m in b["members"]
        if "benchkeeper" in m
    }
    yield from _unlike("wake", waking, {("roles/pubsub.publisher", _member("hub"))})
    for name in ("lifecycle", "directory", "operator", "tick"):
        speaking = {m for b in topics.get(f"workbench-{name}", {}).get("iam", []) for m in b["members"]}
        ours = [m for m in speaking if m.startswith("serviceAccount:benchkeeper-")]
        yield from _unlike(
            f"of ours speak as {name}", [m for m in ours if "gcp-sa-logging" not in m], [_member("lifecycle")]
        )
    kept = _short(state["subscriptions"]).get("workbench-dead-letter-kept", {})
    has = (kept.get("topic", "").rsplit("/", 1)[-1], kept.get("messageRetentionDuration"), kept.get("expirationPolicy"))
    yield from _unlike("the kept dead letters", has, ("workbench-dead-letter", "2678400s", {}))


def _jobs(state: dict[str, Any]) -> Iterator[str]:
    has = {
        name: (job["schedule"], job["timeZone"], job["state"], json.loads(base64.b64decode(job["pubsubTarget"].get("data", "")) or "{}"))
        for name, job in _short(state["jobs"]).items()
    }  # fmt: skip
    needs = {
        f"benchkeeper-{sweep}": (schedule, "Etc/UTC", "ENABLED", {"sweep": sweep})
        for sweep, schedule in (
            ("due", "* * * * *"),
            ("idle", "*/10 * * * *"),
            ("drift", "0 * * * *"),
            ("roster", "30 * * * *"),
        )
    }
    yield from _unlike("jobs", has, needs)


def _watching(state: dict[str, Any]) -> Iterator[str]:
    sinks = _short(state["sinks"])
    for name in {"benchkeeper-notebooks", *sinks}:
        sink = sinks.get(name, {})
        topic = {"benchkeeper-people": "workbench-directory"}.get(name, "workbench-wake")
        writers = {m for b in _short(state["topics"]).get(topic, {}).get("iam", []) for m in b["members"]}
        goes = f"pubsub.googleapis.com/projects/{PROJECT}/topics/{topic}"
        yield from _unlike(f"sink {name} goes to", sink.get("destination"), goes)
        if sink.get("writerIdentity") not in writers:
            yield f"sink {name} may not publish"
    wanted = {path: (ROOT / "config" / "deploy" / path).read_text() for path in ("metrics.yaml", "alerts.yaml")}
    for metric in state["metrics"]:
        if f"\n  {metric}:\n" not in wanted["metrics.yaml"]:
            yield f"metric {metric} is not wanted"
    yield from _unlike("metrics", len(state["metrics"]), wanted["metrics.yaml"].count("\n  benchkeeper/"))
    yield from _unlike("alerts", len(state["alerts"]), wanted["alerts.yaml"].count("\n    displayName:"))
    yield from _unlike("dashboards", len(state["dashboards"]), 1)
