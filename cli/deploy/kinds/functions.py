"""The functions and their permitted callers: the delivering account, or Identity-Aware Proxy for a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

from cli.deploy.failures import NotThereError
from cli.deploy.gcloud import Command, Do
from cli.deploy.kinds import delivery, hub, observing
from cli.deploy.kinds.access import has
from cli.deploy.kinds.messaging import seconds
from cli.deploy.models import FunctionModel, Heard
from cli.deploy.retention import LABEL, is_noted_at, noted, shortened
from cli.deploy.step import Mark, Step, differs, same
from cli.deploy.target import BENCHKEEPER, OURS, Target
from shared.domain.things.times import parse_time, rfc3339
from shared.settings import ENV_DEPLOYED_AT, ENV_DEPLOYED_BY, ENV_MOVE_LOGS

_FUNCTIONS, _RUN = "cloudfunctions.googleapis.com", "run.googleapis.com"
SOURCE = "benchkeeper-source"  # label: the digest of the upload
_INGRESS = {
    "internal-only": "ALLOW_INTERNAL_ONLY",
    "internal-and-gclb": "ALLOW_INTERNAL_AND_GCLB",
    "all": "ALLOW_ALL",
}
_SHORT = 12  # the number of digits of a digest that are enough to tell two apart
_INVOKER = "roles/run.invoker"
MOVED_FOR = timedelta(days=7)  # the time for which HR's topic keeps messages


def functions(target: Target) -> Iterator[Step]:
    """Yield the steps of each function: the function, its caller, and its delivery or the users who may open it.

    Also yield a note for each retention that this deployment shortens, or a note that the present retention is not
    known.
    """
    listed = target.read(_FUNCTIONS, "functions", "list", "--v2", f"--regions={target.region}", otherwise=[])
    seen = {each["name"].rsplit("/", 1)[1]: each for each in listed}
    for name, wanted in target.deployment.wanted(target.deployment.functions).items():
        found, heard = seen.get(name), wanted.heard
        if heard is None:
            yield _page(target, name, wanted, found)
            yield _called_by_proxy(target, name, found)
            yield from hub.steps(target, name, found)
        else:
            yield _function(target, name, wanted, heard, found)
            yield _called_by_push(target, name, found)
            yield delivery.step(target, name, heard, found)
    for kind, said in shortened(target, listed):
        yield Step(key=f"retention {kind}".strip(), mark=Mark.KEEP, because=said)


# ---- the function itself


def _function(target: Target, name: str, wanted: FunctionModel, heard: Heard, found: Mapping[str, Any] | None) -> Step:
    key = f"function {name}"
    needs = (*_NEEDS, f"topic {heard.topic}")
    if found is None:
        because = f"{wanted.entry_point} on {heard.topic}"
        made = [_command(target, name, wanted, None)]
        return Step(key=key, mark=Mark.CREATE, because=because, work=made, needs=needs)
    topic = found.get("eventTrigger", {}).get("pubsubTopic")
    if topic != target.topic(heard.topic):
        because = f"its trigger has the topic {topic}, not {heard.topic}, and cannot be changed: delete the function, run this again"
        return Step(key=key, mark=Mark.KEEP, because=because)
    why = _differences(target, name, wanted, found)
    if delivery.subscription_behind(target, found) is None:
        why.append("its trigger is missing")
    if not why:
        return same(key)
    # A redeployed function may get a new trigger, with a new subscription as Eventarc makes it.
    work: list[Do] = [_command(target, name, wanted, found), lambda: delivery.missing(target, name, heard)]
    return Step(key=key, mark=Mark.CHANGE, because=", ".join(why), work=work, needs=needs)


_NEEDS = ("account", "role", "access", "agent", "bucket")
_PROPOSES = "tick"  # the drift sweep of this function proposes the files
_TAKES_WISHES = frozenset({"lifecycle", "tick"})  # the entry points that verify the signature of the page's proxy


def _page(target: Target, name: str, wanted: FunctionModel, found: Mapping[str, Any] | None) -> Step:
    key = f"function {name}"
    if found is None:
        made = [_command(target, name, wanted, None)]
        return Step(key=key, mark=Mark.CREATE, because=f"{wanted.entry_point}, a page", work=made, needs=_NEEDS)
    trigger = found.get("eventTrigger")
    if trigger:
        because = f"its trigger has the topic {trigger.get('pubsubTopic')}, but it should serve a page: delete the function, run this again"
        return Step(key=key, mark=Mark.KEEP, because=because)
    why = _differences(target, name, wanted, found)
    if not why:
        return same(key)
    # A redeployed service may have lost the proxy, so the same step turns the proxy on again.
    work: list[Do] = [_command(target, name, wanted, found), lambda: hub.missing(target, name)]
    return Step(key=key, mark=Mark.CHANGE, because=", ".join(why), work=work, needs=_NEEDS)


def environment(
    target: Target, name: str, wanted: FunctionModel, found: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """Return the environment variables of a function.

    The page, and the functions that handle the page's requests, must know the audience for which the proxy signs (IAP,
    Signed headers: Cloud Run). `found` is the present function.
    """
    seen = {"BENCHKEEPER_ENV": target.deployment.settings.env}
    page = target.deployment.page
    if page is not None and (name == page or wanted.entry_point in _TAKES_WISHES):
        seen["BENCHKEEPER_IAP_AUDIENCE"] = f"/projects/{target.number}/locations/{target.region}/services/{page}"
    if wanted.heard is not None and wanted.heard.topic == target.deployment.settings.topic_lifecycle:
        until = moves_logs_until(target, found)
        if until is not None:
            seen[ENV_MOVE_LOGS] = until
    return seen


def moves_logs_until(target: Target, found: Mapping[str, Any] | None) -> str | None:
    """Return the time until which HR's function forwards log entries to the directory's topic; None if no forwarding is needed.

    In an earlier version the sinks published to HR's topic. If a sink still does so, this run changes the sink, and
    entries in transit are forwarded for seven days. A later run keeps that time while it is in the future.
    """
    if observing.sinks_that_move(target):
        return rfc3339((target.now + MOVED_FOR).replace(microsecond=0))
    if found is None:
        return None
    variables = found.get("serviceConfig", {}).get("environmentVariables", {})
    kept = str(variables.get(ENV_MOVE_LOGS, ""))
    try:
        return kept if parse_time(kept) > target.now else None
    except ValueError:
        return None


def _command(target: Target, name: str, wanted: FunctionModel, found: Mapping[str, Any] | None) -> Command:
    build = f"projects/{target.project}/serviceAccounts/{target.account(target.deployment.build_account)}"
    seen = environment(target, name, wanted, found) | _deployed(target, wanted)
    variables = ",".join(f"{key}={value}" for key, value in seen.items())
    trigger: tuple[str, ...] = ("--trigger-http",)
    if wanted.heard is not None:
        push = target.account(target.deployment.push_account)
        trigger = (f"--trigger-topic={wanted.heard.topic}", "--retry", f"--trigger-service-account={push}")
    return (
        "functions", "deploy", name, "--gen2", f"--region={target.region}", f"--runtime={wanted.runtime}",
        f"--source={target.archive.folder}", f"--entry-point={wanted.entry_point}", *trigger,
        f"--run-service-account={target.account(wanted.account)}", f"--build-service-account={build}",
        "--no-allow-unauthenticated", f"--ingress-settings={wanted.ingress}",
        f"--concurrency={wanted.concurrency}", f"--cpu={wanted.cpu}", f"--memory={wanted.memory}",
        f"--max-instances={wanted.max_instances}", f"--timeout={seconds(wanted.timeout)}",
        f"--set-env-vars={variables}", f"--update-labels={','.join(_labels(target, wanted))}",
    )  # fmt: skip


def _deployed(target: Target, wanted: FunctionModel) -> dict[str, str]:
    """Return the variables with the deploying user and the time, for the function that proposes the files (ADR 19).

    They change with each deployment, so they do not count as a difference. Return {} for other functions, and if gcloud
    names no account.
    """
    if wanted.entry_point != _PROPOSES or not target.deployer:
        return {}
    return {ENV_DEPLOYED_AT: rfc3339(target.now.replace(microsecond=0)), ENV_DEPLOYED_BY: target.deployer}


def _labels(target: Target, wanted: FunctionModel) -> list[str]:
    labels = [f"{OURS}={BENCHKEEPER}", f"{SOURCE}={target.archive.digest}"]
    return [*labels, f"{LABEL}={noted(target.deployment.settings)}"] if is_noted_at(wanted, target) else labels


def _differences(target: Target, name: str, wanted: FunctionModel, found: Mapping[str, Any]) -> list[str]:
    build, service, trigger = (found.get(key, {}) for key in ("buildConfig", "serviceConfig", "eventTrigger"))
    variables = service.get("environmentVariables", {})
    # Other variables are the platform's (LOG_EXECUTION_ID). One of ours too many could point the functions to other resources.
    told = {ENV_DEPLOYED_AT, ENV_DEPLOYED_BY}
    ours = {key: value for key, value in variables.items() if key.startswith("BENCHKEEPER_") and key not in told}
    pairs: list[tuple[str, object, object]] = [
        ("state", "ACTIVE", found.get("state")),
        ("source", target.archive.digest[:_SHORT], found.get("labels", {}).get(SOURCE, "")[:_SHORT]),
        ("label", BENCHKEEPER, found.get("labels", {}).get(OURS)),
        ("builder", target.account(target.deployment.build_account), build.get("serviceAccount", "").rsplit("/", 1)[-1]),
        ("runtime", wanted.runtime, build.get("runtime")),
        ("entry point", wanted.entry_point, build.get("entryPoint")),
        ("account", target.account(wanted.account), service.get("serviceAccountEmail")),
        ("ingress", _INGRESS[wanted.ingress], service.get("ingressSettings")),
        ("concurrency", wanted.concurrency, service.get("maxInstanceRequestConcurrency")),
        ("cpu", wanted.cpu, service.get("availableCpu")),
        ("memory", wanted.memory, service.get("availableMemory")),
        ("most instances", wanted.max_instances, service.get("maxInstanceCount")),
        ("timeout", int(wanted.timeout.total_seconds()), service.get("timeoutSeconds")),
        ("environment", environment(target, name, wanted, found), ours),
    ]  # fmt: skip
    if wanted.heard is not None:
        push = target.account(target.deployment.push_account)
        pairs.append(("retry", "RETRY_POLICY_RETRY", trigger.get("retryPolicy")))
        pairs.append(("caller", push, trigger.get("serviceAccountEmail")))
    return [f"{what} {differs(needs, has)}" for what, needs, has in pairs if needs != has]


# ---- the permitted callers


def _called_by_push(target: Target, name: str, found: Mapping[str, Any] | None) -> Step:
    member = f"serviceAccount:{target.account(target.deployment.push_account)}"
    return _caller(target, name, found, member, because="only the delivering account")


def _called_by_proxy(target: Target, name: str, found: Mapping[str, Any] | None) -> Step:
    """Return the step that lets only the proxy's service agent call the service.

    Google creates that agent on request.
    """
    member = f"serviceAccount:{target.agent('iap')}"
    ask: Command = ("beta", "services", "identity", "create", "--service=iap.googleapis.com")
    return _caller(target, name, found, member, ask, because="only Identity-Aware Proxy")


def _caller(
    target: Target, name: str, found: Mapping[str, Any] | None, member: str, *first: Command, because: str
) -> Step:
    """Return the step that lets only `member` call the service, and removes public access.

    `first` are commands that run before the binding is added.
    """
    key, where = f"caller {name}", f"--region={target.region}"
    policy: Mapping[str, Any] = {}
    if found is not None:
        with suppress(NotThereError):  # deleted by hand: the function is redeployed first
            policy = target.read(_RUN, "run", "services", "get-iam-policy", name, where, otherwise={})
    public = [each for each in ("allUsers", "allAuthenticatedUsers") if has(policy, _INVOKER, each)]
    work: list[Do] = [
        ("run", "services", "remove-iam-policy-binding", name, where, f"--member={each}", f"--role={_INVOKER}")
        for each in public
    ]
    if not has(policy, _INVOKER, member):
        add = ("run", "services", "add-iam-policy-binding", name, where, f"--member={member}", f"--role={_INVOKER}")
        work += [*first, add]
    if not work:
        return same(key)
    mark = Mark.CHANGE if public else Mark.CREATE
    why = "everyone can call it" if public else because
    return Step(key=key, mark=mark, because=why, work=work, needs=(f"function {name}",), lane=key)
