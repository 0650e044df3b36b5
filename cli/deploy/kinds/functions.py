"""The functions, and who may call them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from cli.deploy.failures import NotThereError
from cli.deploy.gcloud import Do
from cli.deploy.kinds import delivery
from cli.deploy.kinds.access import has
from cli.deploy.kinds.messaging import seconds
from cli.deploy.models import FunctionModel
from cli.deploy.step import Mark, Step, differs, same
from cli.deploy.target import BENCHKEEPER, OURS, Target

_FUNCTIONS, _RUN = "cloudfunctions.googleapis.com", "run.googleapis.com"
SOURCE = "benchkeeper-source"  # label: the digest of what was uploaded
_INGRESS = {"internal-only": "ALLOW_INTERNAL_ONLY", "internal-and-gclb": "ALLOW_INTERNAL_AND_GCLB"}
_SHORT = 12  # of a digest: enough to tell two apart
_INVOKER = "roles/run.invoker"


def functions(target: Target) -> Iterator[Step]:
    """For each function: itself, its caller, and how messages are delivered to it."""
    listed = target.read(_FUNCTIONS, "functions", "list", "--v2", f"--regions={target.region}", otherwise=[])
    seen = {each["name"].rsplit("/", 1)[1]: each for each in listed}
    for name, wanted in target.deployment.functions.items():
        found = seen.get(name)
        yield _function(target, name, wanted, found)
        yield _caller(target, name, found)
        yield delivery.step(target, name, wanted, found)


# ---- the function itself


def _function(target: Target, name: str, wanted: FunctionModel, found: Mapping[str, Any] | None) -> Step:
    key = f"function {name}"
    needs = ("account", "role", "access", "agent", "bucket", f"topic {wanted.topic}")
    if found is None:
        because = f"{wanted.entry_point} on {wanted.topic}"
        made = [_command(target, name, wanted)]
        return Step(key=key, mark=Mark.CREATE, because=because, work=made, needs=needs)
    topic = found.get("eventTrigger", {}).get("pubsubTopic")
    if topic != target.topic(wanted.topic):
        because = (
            f"it hears {topic}, not {wanted.topic}; a trigger cannot be moved: delete the function, run this again"
        )
        return Step(key=key, mark=Mark.KEEP, because=because)
    why = _differences(target, wanted, found)
    if delivery.subscription_behind(target, found) is None:
        why.append("its trigger is gone")
    if not why:
        return same(key)
    # A function that is deployed anew may come with a new trigger, and that with a subscription as Eventarc makes it.
    work: list[Do] = [_command(target, name, wanted), lambda: delivery.missing(target, name, wanted)]
    return Step(key=key, mark=Mark.CHANGE, because=", ".join(why), work=work, needs=needs)


def environment(target: Target) -> dict[str, str]:
    """What the functions see of the outside."""
    return {"BENCHKEEPER_ENV": target.deployment.settings.env}


def _command(target: Target, name: str, wanted: FunctionModel) -> tuple[str, ...]:
    build = f"projects/{target.project}/serviceAccounts/{target.account(target.deployment.build_account)}"
    variables = ",".join(f"{key}={value}" for key, value in environment(target).items())
    return (
        "functions", "deploy", name, "--gen2", f"--region={target.region}", f"--runtime={wanted.runtime}",
        f"--source={target.archive.folder}", f"--entry-point={wanted.entry_point}",
        f"--trigger-topic={wanted.topic}", "--retry",
        f"--run-service-account={target.account(wanted.account)}",
        f"--trigger-service-account={target.account(target.deployment.push_account)}",
        f"--build-service-account={build}",
        "--no-allow-unauthenticated", f"--ingress-settings={wanted.ingress}",
        f"--concurrency={wanted.concurrency}", f"--cpu={wanted.cpu}", f"--memory={wanted.memory}",
        f"--max-instances={wanted.max_instances}", f"--timeout={seconds(wanted.timeout)}",
        f"--set-env-vars={variables}", f"--update-labels={OURS}={BENCHKEEPER},{SOURCE}={target.archive.digest}",
    )  # fmt: skip


def _differences(target: Target, wanted: FunctionModel, found: Mapping[str, Any]) -> list[str]:
    build, service, trigger = (found.get(key, {}) for key in ("buildConfig", "serviceConfig", "eventTrigger"))
    variables = service.get("environmentVariables", {})
    # Others are the platform's (LOG_EXECUTION_ID); one of ours too many would send the functions elsewhere.
    ours = {key: value for key, value in variables.items() if key.startswith("BENCHKEEPER_")}
    pairs: Sequence[tuple[str, object, object]] = (
        ("state", "ACTIVE", found.get("state")),
        ("source", target.archive.digest[:_SHORT], found.get("labels", {}).get(SOURCE, "")[:_SHORT]),
        ("label", BENCHKEEPER, found.get("labels", {}).get(OURS)),
        (
            "builder",
            target.account(target.deployment.build_account),
            build.get("serviceAccount", "").rsplit("/", 1)[-1],
        ),
        ("runtime", wanted.runtime, build.get("runtime")),
        ("entry point", wanted.entry_point, build.get("entryPoint")),
        ("retry", "RETRY_POLICY_RETRY", trigger.get("retryPolicy")),
        ("caller", target.account(target.deployment.push_account), trigger.get("serviceAccountEmail")),
        ("account", target.account(wanted.account), service.get("serviceAccountEmail")),
        ("ingress", _INGRESS[wanted.ingress], service.get("ingressSettings")),
        ("concurrency", wanted.concurrency, service.get("maxInstanceRequestConcurrency")),
        ("cpu", wanted.cpu, service.get("availableCpu")),
        ("memory", wanted.memory, service.get("availableMemory")),
        ("most instances", wanted.max_instances, service.get("maxInstanceCount")),
        ("timeout", int(wanted.timeout.total_seconds()), service.get("timeoutSeconds")),
        ("environment", environment(target), ours),
    )
    return [f"{what} {differs(needs, has)}" for what, needs, has in pairs if needs != has]


# ---- who may call it


def _caller(target: Target, name: str, found: Mapping[str, Any] | None) -> Step:
    """Only the delivering account may call; whoever else was let in is named."""
    key, member = f"caller {name}", f"serviceAccount:{target.account(target.deployment.push_account)}"
    where = f"--region={target.region}"
    policy: Mapping[str, Any] = {}
    if found is not None:
        with suppress(NotThereError):  # deleted by hand: the function is deployed anew first
            policy = target.read(_RUN, "run", "services", "get-iam-policy", name, where, otherwise={})
    public = [each for each in ("allUsers", "allAuthenticatedUsers") if has(policy, _INVOKER, each)]
    work = [
        ("run", "services", "remove-iam-policy-binding", name, where, f"--member={each}", f"--role={_INVOKER}")
        for each in public
    ]
    if not has(policy, _INVOKER, member):
        add = ("run", "services", "add-iam-policy-binding", name, where, f"--member={member}", f"--role={_INVOKER}")
        work.append(add)
    if not work:
        return same(key)
    because = "anybody could call it" if public else "the delivering account, and nobody else"
    mark = Mark.CHANGE if public else Mark.CREATE
    return Step(key=key, mark=mark, because=because, work=work, needs=(f"function {name}",), lane=key)
