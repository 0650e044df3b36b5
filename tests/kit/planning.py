"""A project as a plan sees it: answers to what is asked of gcloud, and things as they are when nothing is to be done."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cli.deploy.archive import Archive
from cli.deploy.data import Deployment, load_deployment
from cli.deploy.failures import DeployError, NoAccessError, NotThereError
from cli.deploy.gcloud import Call, Command, Do, FileWord, Gcloud
from cli.deploy.step import Mark, Step
from cli.deploy.target import Target
from shared.settings import load_settings

CONFIG = Path(__file__).resolve().parents[2] / "config"


NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)


PROJECT, NUMBER, REGION = "acme-analytics", "123456789012", "europe-west1"


BUCKET, KEY = f"{PROJECT}-benchkeeper", f"projects/{PROJECT}/locations/{REGION}/keyRings/data/cryptoKeys/benchkeeper"


DIGEST = "0123456789abcdef0123456789abcdef"


LABEL = {"managed-by": "benchkeeper"}


PUBLISHER = "serviceAccount:hr-feed@acme-hr.iam.gserviceaccount.com"


PUBSUB = f"serviceAccount:service-{NUMBER}@gcp-sa-pubsub.iam.gserviceaccount.com"


VM = f"service-{NUMBER}@gcp-sa-notebooks-vm.iam.gserviceaccount.com"


ABSENT, DENIED = NotThereError("it is not there", ""), NoAccessError("You lack a permission: x.", "")


def account(name: str) -> str:
    return f"benchkeeper-{name}@{PROJECT}.iam.gserviceaccount.com"


def member(name: str) -> str:
    return f"serviceAccount:{account(name)}"


class Answers(Gcloud):
    """Answers what it is asked by how the question begins, the longest beginning first; what it was not told of is an error."""

    def __init__(self, answers: Mapping[str, Any] | None = None) -> None:
        super().__init__(PROJECT)
        self.answers = dict(answers or {})
        self.asked: list[str] = []

    def read(self, *words: str, project: bool = True) -> Any:  # noqa: ARG002 - the signature of gcloud
        return self._answer(" ".join(words))

    def call(self, call: Call) -> Any:
        assert call.verb == "GET", f"a plan changes something: {call}"
        return self._answer(f"{call.verb} {call.path}")

    def do(self, do: Any) -> Any:
        raise AssertionError(f"a plan changes something: {do}")

    def _answer(self, question: str) -> Any:
        self.asked.append(question)
        begins = max((key for key in self.answers if question.startswith(key)), key=len, default=None)
        assert begins is not None, f"nobody knows: {question}"
        answer = self.answers[begins]
        if isinstance(answer, DeployError):
            raise answer
        return copy.deepcopy(answer)


@dataclass
class World:
    """What is there, and what is planned for it."""

    deployment: Deployment
    answers: dict[str, Any] = field(default_factory=dict)
    off: frozenset[str] = frozenset()
    now: datetime = NOW

    def target(self) -> Target:
        return Target(
            deployment=self.deployment, gcloud=Answers({"logging sinks list": [], "logging sinks list --organization": [], **self.answers}), number=NUMBER, archive=Archive(Path("/upload"), DIGEST),
            now=self.now, off=self.off,
        )  # fmt: skip

    def plan(self, *kinds: Callable[[Target], Iterable[Step]]) -> dict[str, Step]:
        target = self.target()
        steps = [step for kind in kinds for step in kind(target)]
        assert len({step.key for step in steps}) == len(steps)
        return {step.key: step for step in steps}


def asked_for(*work: Do) -> list[Command | Call]:
    """Commands and calls, with what the functions among them ask for as the project is now."""
    return [do for each in work for do in (each() if callable(each) else [each])]


def commands(step: Step) -> list[str]:
    """All that a step would do, in words."""
    return [as_words(do) for do in asked_for(*step.work)]


def as_words(do: Command | Call) -> str:
    if isinstance(do, Call):
        return str(do)
    return " ".join(word if isinstance(word, str) else f"{word.flag}=FILE" for word in do)


def words_of(step: Step) -> list[str]:
    """The words of the one command of a step."""
    (do,) = asked_for(*step.work)
    assert isinstance(do, tuple)
    return [word for word in do if isinstance(word, str)]


def body_of(step: Step) -> dict[str, Any]:
    """What a step puts into a file or a call."""
    (do,) = asked_for(*step.work)
    if isinstance(do, Call):
        return dict(do.body or {})
    (file,) = [word for word in do if isinstance(word, FileWord)]
    return json.loads(file.text)


def marks(plan: Mapping[str, Step]) -> dict[str, Mark]:
    return {key: step.mark for key, step in plan.items()}


def policy(*pairs: tuple[str, str]) -> dict[str, Any]:
    return {"bindings": [{"role": role, "members": [who]} for role, who in pairs], "etag": "x"}


def changed(value: Any, *path: Any, to: Any = None) -> Any:
    """A copy with one place changed; None takes it away."""
    made = copy.deepcopy(value)
    inside = made
    for part in path[:-1]:
        inside = inside[part]
    if to is None:
        del inside[path[-1]]
    else:
        inside[path[-1]] = to
    return made


def an_account(name: str, purpose: str) -> dict[str, Any]:
    return {"email": account(name), "displayName": f"Benchkeeper {name}", "description": purpose, "uniqueId": "1"}


PUSH = an_account("push", "delivers messages to the functions")


SWEEPS = {
    "name": f"projects/{PROJECT}/roles/benchkeeper_sweeps", "title": "Benchkeeper sweeps", "stage": "GA",
    "description": "List all Workbench instances and snapshots, and read the use of the instances and the running Spark jobs.",
}  # fmt: skip


def a_bucket() -> dict[str, Any]:
    return {
        "name": BUCKET, "location": "EUROPE-WEST1", "projectNumber": NUMBER, "labels": {**LABEL, "team": "data"},
        "iamConfiguration": {"publicAccessPrevention": "enforced", "uniformBucketLevelAccess": {"enabled": True, "lockedTime": "x"}},
        "versioning": {"enabled": True}, "softDeletePolicy": {"retentionDurationSeconds": "2592000", "effectiveTime": "x"},
        "lifecycle": {"rule": [{"action": {"type": "Delete"}, "condition": {"daysSinceNoncurrentTime": 30, "isLive": False}}]},
        "encryption": {"defaultKmsKeyName": KEY},
    }  # fmt: skip


KEPT = {
    "name": f"projects/{PROJECT}/subscriptions/workbench-dead-letter-kept", "ackDeadlineSeconds": 60, "labels": LABEL,
    "topic": f"projects/{PROJECT}/topics/workbench-dead-letter", "messageRetentionDuration": "2678400s", "expirationPolicy": {},
}  # fmt: skip


AUDIENCE = f"/projects/{NUMBER}/locations/{REGION}/services/benchkeeper-hub"


TRIGGER = f"projects/{PROJECT}/locations/{REGION}/triggers/benchkeeper-tick-1"


def a_function() -> dict[str, Any]:
    return {
        "name": f"projects/{PROJECT}/locations/{REGION}/functions/benchkeeper-tick", "state": "ACTIVE",
        "labels": {**LABEL, "benchkeeper-source": DIGEST, "deployment-tool": "cli-gcloud"},
        "buildConfig": {
            "runtime": "python313", "entryPoint": "tick", "build": "x",
            "serviceAccount": f"projects/{PROJECT}/serviceAccounts/{account('build')}",
        },
        "serviceConfig": {
            "serviceAccountEmail": account("tick"), "ingressSettings": "ALLOW_INTERNAL_ONLY", "maxInstanceRequestConcurrency": 1,
            "availableCpu": "1", "availableMemory": "1Gi", "maxInstanceCount": 4, "timeoutSeconds": 540, "uri": "x",
            "environmentVariables": {"BENCHKEEPER_ENV": "example", "LOG_EXECUTION_ID": "true", "BENCHKEEPER_IAP_AUDIENCE": AUDIENCE},
        },
        "eventTrigger": {
            "trigger": TRIGGER, "pubsubTopic": f"projects/{PROJECT}/topics/workbench-tick", "retryPolicy": "RETRY_POLICY_RETRY",
            "serviceAccountEmail": account("push"),
        },
    }  # fmt: skip


IAP = f"serviceAccount:service-{NUMBER}@gcp-sa-iap.iam.gserviceaccount.com"


COMPUTE = f"{NUMBER}-compute@developer.gserviceaccount.com"


def a_page() -> dict[str, Any]:
    return {
        "name": f"projects/{PROJECT}/locations/{REGION}/functions/benchkeeper-hub", "state": "ACTIVE",
        "labels": {**LABEL, "benchkeeper-source": DIGEST, "deployment-tool": "cli-gcloud"},
        "buildConfig": {
            "runtime": "python313", "entryPoint": "hub", "build": "x",
            "serviceAccount": f"projects/{PROJECT}/serviceAccounts/{account('build')}",
        },
        "serviceConfig": {
            "serviceAccountEmail": account("hub"), "ingressSettings": "ALLOW_ALL", "maxInstanceRequestConcurrency": 16,
            "availableCpu": "1", "availableMemory": "1Gi", "maxInstanceCount": 5, "timeoutSeconds": 60, "uri": "x",
            "environmentVariables": {
                "BENCHKEEPER_ENV": "example", "LOG_EXECUTION_ID": "true",
                "BENCHKEEPER_IAP_AUDIENCE": AUDIENCE,
            },
        },
    }  # fmt: skip


def a_mapping(
    domain: str = "notebooks.example.com", route: str = "benchkeeper-hub", ready: str = "True"
) -> dict[str, Any]:
    return {
        "metadata": {"name": domain}, "spec": {"routeName": route},
        "status": {
            "conditions": [{"type": "Ready", "status": ready}],
            "resourceRecords": [{"name": "notebooks", "type": "CNAME", "rrdata": "ghs.googlehosted.com."}],
        },
    }  # fmt: skip


def a_sink(world: World, scope: str = "project") -> dict[str, Any]:
    name = "benchkeeper-notebooks" if scope == "project" else "benchkeeper-people"
    return {
        "name": name, "destination": f"pubsub.googleapis.com/projects/{PROJECT}/topics/{world.deployment.sinks[name].topic}",
        "filter": world.deployment.sinks[name].filter, "writerIdentity": "serviceAccount:writer@gcp-sa-logging.iam.gserviceaccount.com",
    }  # fmt: skip


CHANNELS, ALERTS = (f"GET v3/projects/{PROJECT}/{what}" for what in ("notificationChannels", "alertPolicies"))


CHANNEL = {
    "name": f"projects/{PROJECT}/notificationChannels/1", "labels": {"email_address": "data-platform-oncall@example.com"}, "userLabels": LABEL,
}  # fmt: skip


def company_deployment() -> Deployment:
    """The example's settings: everything optional is there."""
    return load_deployment(load_settings(env="example", config_dir=CONFIG, environ={}, trust_checked=False))
