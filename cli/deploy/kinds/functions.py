"""The functions, who may call them, and the subscriptions that Eventarc makes for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cli.deploy.failures import DeployError
from cli.deploy.gcloud import Do
from cli.deploy.kinds.access import has
from cli.deploy.kinds.messaging import seconds
from cli.deploy.models import DeliveryModel, FunctionModel
from cli.deploy.step import Mark, Step, differs, same
from cli.deploy.target import BENCHKEEPER, OURS, Target

_FUNCTIONS, _EVENTARC, _PUBSUB, _RUN = (
    f"{name}.googleapis.com" for name in ("cloudfunctions", "eventarc", "pubsub", "run")
)
SOURCE = "benchkeeper-source"  # label: the digest of what was uploaded
_INGRESS = {"internal-only": "ALLOW_INTERNAL_ONLY", "internal-and-gclb": "ALLOW_INTERNAL_AND_GCLB"}
_SHORT = 12  # of a digest: enough to tell two apart
_INVOKER = "roles/run.invoker"
_SUBSCRIBER = "roles/pubsub.subscriber"


def functions(target: Target) -> Iterator[Step]:
    """For each function: itself, its caller, and how messages are delivered to it."""
    listed = target.read(_FUNCTIONS, "functions", "list", "--v2", f"--regions={target.region}", otherwise=[])
    seen = {each["name"].rsplit("/", 1)[1]: each for each in listed}
    triggers = target.read(_EVENTARC, "eventarc", "triggers", "list", f"--location={target.region}", otherwise=[])
    for name, wanted in target.deployment.functions.items():
        found = seen.get(name)
        subscription = _subscription(found, triggers)
        yield _function(target, name, wanted, found, has_trigger=subscription is not None)
        yield _caller(target, name, found)
        yield _delivery(target, name, wanted, subscription)


# ---- the function itself


def _function(
    target: Target, name: str, wanted: FunctionModel, found: Mapping[str, Any] | None, *, has_trigger: bool
) -> Step:
    key = f"function {name}"
    needs = ("account", "role", "access", "agent", "bucket", f"topic {wanted.topic}")
    if found is None:
        because = f"{wanted.entry_point} on {wanted.topic}"
        work = [_command(target, name, wanted)]
        return Step(key=key, mark=Mark.CREATE, because=because, work=work, needs=needs)
    topic = found.get("eventTrigger", {}).get("pubsubTopic")
    if topic != target.topic(wanted.topic):
        because = (
            f"it hears {topic}, not {wanted.topic}; a trigger cannot be moved: delete the function, run this again"
        )
        return Step(key=key, mark=Mark.KEEP, because=because)
    why = _differences(target, wanted, found)
    if not has_trigger:
        why.append("its trigger is gone")
    if not why:
        return same(key)
    work = [_command(target, name, wanted)]
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
    ours = {key: variables.get(key) for key in environment(target)}
    pairs: Sequence[tuple[str, object, object]] = (
        ("state", "ACTIVE", found.get("state")),
        ("source", target.archive.digest[:_SHORT], found.get("labels", {}).get(SOURCE, "")[:_SHORT]),
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


# ---- how messages are delivered


def _delivery(target: Target, name: str, wanted: FunctionModel, subscription: str | None) -> Step:
    """Eventarc's subscription, made right. It has no dead letter and gives up after a day as Eventarc makes it."""
    key, because = f"delivery {name}", _in_words(wanted.delivery)

    def work() -> list[Do]:
        current = _subscription_of(target, name)
        agent = f"serviceAccount:{target.agent('pubsub')}"
        words = (current, f"--member={agent}", f"--role={_SUBSCRIBER}")
        forward = ("pubsub", "subscriptions", "add-iam-policy-binding", *words)
        update = _update(current, wanted.delivery)
        return [update, forward] if wanted.delivery.dead_letter_topic else [update]

    needs = (f"function {name}", "access")
    if subscription is None:
        return Step(key=key, mark=Mark.CREATE, because=because, work=work, needs=needs)
    listed = target.read(_PUBSUB, "pubsub", "subscriptions", "list", otherwise=[])
    seen: Mapping[str, Any] = next((each for each in listed if each["name"].endswith(f"/{subscription}")), {})
    why = _delivery_differences(target, wanted.delivery, seen)
    if wanted.delivery.dead_letter_topic and not _may_forward(target, subscription):
        why.append("Pub/Sub may not forward from it")
    return Step(key=key, mark=Mark.CHANGE, because=", ".join(why), work=work, needs=needs) if why else same(key)


def _subscription_of(target: Target, name: str) -> str:
    """The id of the subscription behind a function's trigger, as it is now."""
    function = target.gcloud.read("functions", "describe", name, "--v2", f"--region={target.region}")
    triggers = target.gcloud.read("eventarc", "triggers", "list", f"--location={target.region}") or []
    subscription = _subscription(function, triggers)
    if subscription is None:
        raise DeployError(f"Function {name} has no trigger.", "Run this again: it is deployed anew.")
    return subscription


def _subscription(function: Mapping[str, Any] | None, triggers: Sequence[Mapping[str, Any]]) -> str | None:
    trigger = (function or {}).get("eventTrigger", {}).get("trigger", "")
    for each in triggers:
        if each["name"] == trigger:
            return str(each["transport"]["pubsub"]["subscription"]).rsplit("/", 1)[1]
    return None


def _update(subscription: str, wanted: DeliveryModel) -> tuple[str, ...]:
    words: tuple[str, ...] = ()
    if wanted.dead_letter_topic is not None:
        words = (
            f"--dead-letter-topic={wanted.dead_letter_topic}",
            f"--max-delivery-attempts={wanted.max_delivery_attempts}",
        )
    return (
        "pubsub", "subscriptions", "update", subscription, f"--ack-deadline={int(wanted.ack_deadline.total_seconds())}",
        f"--min-retry-delay={seconds(wanted.min_backoff)}", f"--max-retry-delay={seconds(wanted.max_backoff)}",
        f"--message-retention-duration={seconds(wanted.retention)}", "--expiration-period=never", *words,
    )  # fmt: skip


def _delivery_differences(target: Target, wanted: DeliveryModel, seen: Mapping[str, Any]) -> list[str]:
    retry, dead = seen.get("retryPolicy", {}), seen.get("deadLetterPolicy", {})
    topic = target.topic(wanted.dead_letter_topic) if wanted.dead_letter_topic is not None else None
    pairs: Sequence[tuple[str, object, object]] = (
        ("ack deadline", int(wanted.ack_deadline.total_seconds()), seen.get("ackDeadlineSeconds")),
        ("least delay", seconds(wanted.min_backoff), retry.get("minimumBackoff")),
        ("most delay", seconds(wanted.max_backoff), retry.get("maximumBackoff")),
        ("retention", seconds(wanted.retention), seen.get("messageRetentionDuration")),
        ("dead letter", topic, dead.get("deadLetterTopic")),
        ("attempts", wanted.max_delivery_attempts, dead.get("maxDeliveryAttempts")),
        ("expires after", None, seen.get("expirationPolicy", {}).get("ttl")),
    )
    return [f"{what} {differs(needs, has_)}" for what, needs, has_ in pairs if needs != has_]


def _may_forward(target: Target, subscription: str) -> bool:
    policy = target.read(_PUBSUB, "pubsub", "subscriptions", "get-iam-policy", subscription, otherwise={})
    return has(policy, _SUBSCRIBER, f"serviceAccount:{target.agent('pubsub')}")


def _in_words(wanted: DeliveryModel) -> str:
    if wanted.dead_letter_topic is None:
        return "tried again until it is stored"
    return f"dead letter after {wanted.max_delivery_attempts} attempts, never expires"
