"""Act as an account with the grants that a deployment gives it, over the in-process cloud. What docs/threats.md says is attempted so.

`deploy_access(bench)` makes accounts, roles and grants by the deployment's own steps (`cli.deploy.kinds`): the commands that they
would give gcloud are carried out on the embedded cloud. Nothing of config/deploy is copied here. `acting(bench, email)` then gives
sessions and the product's own dependencies whose calls the cloud judges by those grants.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from msgspec.structs import replace

from cli.deploy.archive import Archive
from cli.deploy.data import Deployment, load_deployment
from cli.deploy.failures import NotThereError
from cli.deploy.gcloud import Call, Command, FileWord, Gcloud
from cli.deploy.kinds import access, observing
from cli.deploy.run import carry_out
from cli.deploy.target import Target
from emulator.wire.http import JUDGED_TOKEN
from kit.inprocess import ENDPOINT, Bench, KitClock, WsgiAdapter
from kit.official import session
from shared.cloud.http.clients import Clients, CloudConfig
from shared.engine.ports.deps import Deps
from shared.settings import Settings
from shared.wiring import wire

TIMEOUT_S = 10


class CloudGcloud(Gcloud):
    """Carries out on the embedded cloud what the steps of access would give gcloud; any other command is an error."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench.settings.project)
        self._bench = bench

    def read(self, *words: str, project: bool = True) -> Any:  # noqa: ARG002 - the signature of gcloud
        match words:
            case ("iam", "service-accounts", "list"):
                return self._ask("GET", f"/v1/projects/{self.project}/serviceAccounts?pageSize=100").get("accounts", [])
            case ("iam", "roles", "list", "--show-deleted"):
                return self._ask("GET", f"/v1/projects/{self.project}/roles").get("roles", [])
            case ("iam", "roles", "describe", name):
                return self._ask("GET", f"/v1/projects/{self.project}/roles/{name}")
            case ("logging", "sinks", "list", *_):
                return []
            case ("logging", "sinks", "describe", name, *_):
                return {"writerIdentity": f"serviceAccount:{writer_of(name)}"}
            case (*group, "get-iam-policy", name):
                return self._policy(group, name)
        raise AssertionError(f"nobody knows: {words}")

    def do(self, do: Command | Call) -> Any:
        assert isinstance(do, tuple), do
        words = [word for word in do if isinstance(word, str)]
        match words:
            case ["iam", "service-accounts", "create", account_id, *_]:
                self._ask("POST", f"/v1/projects/{self.project}/serviceAccounts", {"accountId": account_id})
            case ["iam", "roles", "create", role_id]:
                (file,) = [word for word in do if isinstance(word, FileWord)]
                body = {"roleId": role_id, "role": json.loads(file.text)}
                self._ask("POST", f"/v1/projects/{self.project}/roles", body)
            case ["logging", "sinks", *_]:
                pass  # this cloud has no log router; who may write where is what counts here
            case [*group, "add-iam-policy-binding", name, member, role]:
                self._bind(group, name, member, role, "")
            case [*group, "add-iam-policy-binding", name, member, role, condition]:
                self._bind(group, name, member, role, condition.removeprefix("--condition="))
            case [*group, "remove-iam-policy-binding", name, member, role]:
                self._unbind(group, name, member, role)
            case _:
                raise AssertionError(f"nobody knows: {words}")

    def _ask(self, verb: str, path: str, body: Any = None) -> Any:
        answer = session(self._bench.clients).request(verb, f"{ENDPOINT}{path}", json=body, timeout=TIMEOUT_S)
        if answer.status_code == requests.codes.not_found:
            raise NotThereError(answer.text, "")
        assert answer.ok, f"{verb} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def _policy(self, group: Sequence[str], name: str) -> Any:
        match list(group):
            case ["projects"]:
                options = {"options": {"requestedPolicyVersion": 3}}
                return self._ask("POST", f"/v1/projects/{name}:getIamPolicy", options)
            case ["storage", "buckets"]:
                return self._ask("GET", f"/storage/v1/b/{name.removeprefix('gs://')}/iam")
            case ["pubsub", "topics"]:
                return self._ask("GET", f"/v1/projects/{self.project}/topics/{name}:getIamPolicy")
        raise AssertionError(f"nobody knows the policies of {group}")

    def _set(self, group: Sequence[str], name: str, policy: dict[str, Any]) -> None:
        match list(group):
            case ["projects"]:
                self._ask("POST", f"/v1/projects/{name}:setIamPolicy", {"policy": policy})
            case ["storage", "buckets"]:
                self._ask("PUT", f"/storage/v1/b/{name.removeprefix('gs://')}/iam", policy)
            case ["pubsub", "topics"]:
                self._ask("POST", f"/v1/projects/{self.project}/topics/{name}:setIamPolicy", {"policy": policy})

    def _bind(self, group: Sequence[str], name: str, member: str, role: str, condition: str) -> None:
        policy = self._policy(group, name)
        binding: dict[str, Any] = {"role": _word(role), "members": [_word(member)]}
        if condition not in {"", "None"}:
            title, _, expression = condition.removeprefix("title=").partition(",expression=")
            binding["condition"] = {"title": title, "expression": expression}
            policy["version"] = 3
        policy["bindings"] = [*policy.get("bindings", []), binding]
        self._set(group, name, policy)

    def _unbind(self, group: Sequence[str], name: str, member: str, role: str) -> None:
        policy = self._policy(group, name)
        for binding in policy.get("bindings", []):
            if binding["role"] == _word(role):
                binding["members"] = [each for each in binding["members"] if each != _word(member)]
        self._set(group, name, policy)


def writer_of(sink: str) -> str:
    """The identity that a sink writes with."""
    return f"{sink}-writer@gcp-sa-logging.iam.gserviceaccount.com"


def _word(flag: str) -> str:
    return flag.partition("=")[2]


class _Acting(WsgiAdapter):
    """Every call bears the account's token."""

    def __init__(self, bench: Bench, email: str) -> None:
        super().__init__(bench.cloud)
        self._email = email

    def answer(self, method, url, headers, body):
        return super().answer(method, url, {**headers, "Authorization": f"Bearer {JUDGED_TOKEN}{self._email}"}, body)


@dataclass
class Acting:
    """An account at work: `deps` are the product's own, `ask` sends anything."""

    bench: Bench
    email: str
    clients: Clients
    deps: Deps

    def ask(self, verb: str, path: str, *, body: Any = None, **more: Any) -> requests.Response:
        """One call; `body` goes as JSON."""
        return session(self.clients).request(verb, f"{ENDPOINT}{path}", json=body, timeout=TIMEOUT_S, **more)

    def publish(self, topic: str, data: str = "eA==") -> int:
        """The status of a publish of base64 data."""
        project = self.bench.settings.project
        return self.ask(
            "POST", f"/v1/projects/{project}/topics/{topic}:publish", body={"messages": [{"data": data}]}
        ).status_code


def make_topics(bench: Bench, deployment: Deployment) -> None:
    """The topics of a deployment, each with a subscription that reads it."""
    project = bench.settings.project
    for topic in deployment.topics:
        for path, body in (
            (f"topics/{topic}", {}),
            (f"subscriptions/{topic}-read", {"topic": f"projects/{project}/topics/{topic}"}),
        ):
            answer = session(bench.clients).put(
                f"{ENDPOINT}/v1/projects/{project}/{path}", json=body, timeout=TIMEOUT_S
            )
            assert answer.ok, answer.text


def _make_uniform(bench: Bench, buckets: Sequence[str]) -> None:
    """Give buckets uniform access as a deployment makes them: without it no binding may have a condition."""
    for name in buckets:
        body = {"iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}}}
        answer = session(bench.clients).patch(f"{ENDPOINT}/storage/v1/b/{name}", json=body, timeout=TIMEOUT_S)
        assert answer.ok, answer.text


def deploy_access(bench: Bench, *, publishers: Sequence[str] = ()) -> Target:
    """Make topics, accounts, roles and grants as a deployment does; returns where they are.

    `publishers` are those of the settings: who may announce people.
    """
    deployment = load_deployment(bench.settings)
    options = replace(deployment.options, publishers=tuple(publishers))
    deployment = replace(deployment, options=options)
    make_topics(bench, deployment)
    _make_uniform(bench, [deployment.bucket_named(name) for name in ("records", "inbox", "letters")])
    target = Target(
        deployment=deployment,
        gcloud=CloudGcloud(bench),
        number=bench.cloud.world.project_number,
        archive=Archive(Path("/upload"), "0" * 32),
        now=bench.now,
    )
    for kinds in ((access.accounts, access.roles), (access.grants, observing.sinks)):
        steps = [step for kind in kinds for step in kind(target)]
        _carry_out(target, [step for step in steps if step.acts])
        target = replace(target, _kept=type(target._kept)())  # what was read is old by now
    return target


def _carry_out(target: Target, steps: Iterable[Any]) -> None:
    """One after another, needs left aside: what is needed is there."""
    outcome = carry_out(
        [replace(step, needs=(), lane="one") for step in steps],
        target.gcloud,
        started=lambda _step: None,
        ended=lambda _done: None,
        stop=threading.Event(),
    )
    assert not outcome.failed, outcome.failed


def acting(bench: Bench, email: str, *, settings: Settings | None = None) -> Acting:
    """Whoever has the account's key, and the product's own code run by it."""
    settings = settings or bench.settings
    config = CloudConfig(project=settings.project, bucket=settings.bucket, api_endpoint=ENDPOINT)
    adapter = _Acting(bench, email)
    clients = Clients(config, mount=adapter, door=adapter.answer)
    deps = replace(wire(settings, log=bench.log, clients=clients), clock=KitClock(bench.cloud))
    return Acting(bench, email, clients, deps)
