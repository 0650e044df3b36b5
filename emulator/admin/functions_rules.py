"""The rules of Cloud Functions, with the real error texts where they are known, and the update of a function by a mask."""

from __future__ import annotations

import copy
import re

from emulator.admin.ground import Ground, Json
from emulator.errors import ApiError

RUNTIMES = ("python310", "python311", "python312", "python313", "python314")
PUBSUB_EVENT = "google.cloud.pubsub.topic.v1.messagePublished"
_ID = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
_MAX_LABELS = 64
_MEMORY = re.compile(r"(?P<number>\d+(\.\d+)?)(?P<unit>[kMGT]i?)?")
_UNITS = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_SMALLEST_MEMORY = 128 * 2**20 * 0.9
_MAX_EVENT_SECONDS, _MAX_HTTP_SECONDS = 540, 3600
_MAX_CONCURRENCY, _MAX_INSTANCES = 1000, 1000
_RESERVED = re.compile(r"X_GOOGLE_.*|K_SERVICE|K_REVISION|K_CONFIGURATION|PORT|FUNCTION_TARGET|FUNCTION_SIGNATURE_TYPE")
_SETTABLE = {
    "name",
    "description",
    "environment",
    "labels",
    "kmsKeyName",
    "buildConfig",
    "serviceConfig",
    "eventTrigger",
}


def bad(text: str) -> ApiError:
    """Return the error 400 INVALID_ARGUMENT."""
    return ApiError("INVALID_ARGUMENT", text)


def check_id(function_id: str) -> None:
    """Raise 400 for an invalid function name."""
    if _ID.fullmatch(function_id) is None:
        raise bad(
            f"Could not create Cloud Function {function_id}: the name may have lower case letters, digits and hyphens, must "
            "start with a letter, must not end with a hyphen, and has at most 63 characters."
        )


def check_labels(labels: Json) -> None:
    """Raise 400 for invalid labels."""
    if len(labels) > _MAX_LABELS:
        raise bad(f"At most {_MAX_LABELS} labels are allowed, {len(labels)} were given.")
    for key, value in labels.items():
        if _LABEL_KEY.fullmatch(key) is None or _LABEL_VALUE.fullmatch(str(value)) is None:
            raise bad(f"Invalid label {key}={value}: lower case letters, digits, _ and -, at most 63, a letter first.")


def check(function: Json, ground: Ground) -> None:
    """Raise 400 for a function with an invalid runtime, account, topic, limit or variable."""
    check_labels(function.get("labels", {}))
    build, service, trigger = (function.get(key, {}) for key in ("buildConfig", "serviceConfig", "eventTrigger"))
    if build.get("runtime") not in RUNTIMES:
        raise bad(f"Invalid value for runtime: {build.get('runtime')}. It is one of {', '.join(RUNTIMES)}.")
    if not build.get("entryPoint"):
        raise bad("Invalid value for build_config.entry_point: it is needed.")
    _check_builder(build.get("serviceAccount", ""), ground)
    _check_account(service.get("serviceAccountEmail", ""), ground)
    for name in service.get("environmentVariables", {}):
        if _RESERVED.fullmatch(name):
            raise bad(f"The environment variable name {name} is reserved by the system.")
    _check_limits(service, event=bool(trigger))
    if trigger:
        _check_trigger(trigger, ground)


def _check_limits(service: Json, *, event: bool) -> None:
    seconds = int(service.get("timeoutSeconds") or 60)
    longest = _MAX_EVENT_SECONDS if event else _MAX_HTTP_SECONDS
    if not 0 < seconds <= longest:
        raise bad(f"Invalid value for timeout_seconds: {seconds}. It is at most {longest} for this kind of function.")
    concurrency = int(service.get("maxInstanceRequestConcurrency") or 1)
    if not 0 < concurrency <= _MAX_CONCURRENCY:
        raise bad(f"Invalid value for max_instance_request_concurrency: {concurrency} (1 to {_MAX_CONCURRENCY}).")
    if not 0 <= int(service.get("maxInstanceCount") or 0) <= _MAX_INSTANCES:
        raise bad(f"Invalid value for max_instance_count: {service['maxInstanceCount']}.")
    memory = bytes_of(service.get("availableMemory") or "256M")
    cpu = float(service["availableCpu"]) if service.get("availableCpu") else _cpu_for(memory)
    if memory < _SMALLEST_MEMORY:
        raise bad("Invalid value for available_memory: at least 128Mi is needed.")
    if concurrency > 1 and cpu < 1:
        raise bad(
            "Could not create or update Cloud Run service: spec.template.spec.containers.resources.limits.cpu: Invalid value "
            "specified for cpu. Total cpu < 1 is not supported with concurrency > 1."
        )


def _cpu_for(memory: float) -> float:
    """Return the default number of processors for a function's memory, in the steps of the first generation."""
    for limit, cpu in ((256, 1 / 6), (512, 1 / 3), (1024, 0.583)):
        if memory <= limit * 2**20:
            return cpu
    return 1


def bytes_of(text: str) -> float:
    """Return the bytes of a Kubernetes quantity, such as `512Mi`; raise 400 for another text."""
    found = _MEMORY.fullmatch(text)
    if found is None:
        raise bad(f"Invalid value for available_memory: {text}.")
    return float(found["number"]) * _UNITS[found["unit"] or ""]


def _check_account(email: str, ground: Ground) -> None:
    email = email or f"{ground.number}-compute@developer.gserviceaccount.com"
    if not ground.exists(email) or (ground.embedded.iam.account(email) or {}).get("disabled"):
        raise ApiError("NOT_FOUND", f"Service account projects/-/serviceAccounts/{email} was not found or is disabled.")


def _check_builder(name: str, ground: Ground) -> None:
    if name and re.fullmatch(r"projects/[^/]+/serviceAccounts/\S+@\S+", name) is None:
        raise bad(f"Invalid build service account {name}: projects/P/serviceAccounts/EMAIL is needed.")
    _check_account(name.rpartition("/")[2], ground)


def _check_trigger(trigger: Json, ground: Ground) -> None:
    if trigger.get("eventType") != PUBSUB_EVENT:
        raise bad(f"The embedded cloud serves Pub/Sub triggers only, not {trigger.get('eventType')}")
    topic = trigger.get("pubsubTopic", "")
    if topic not in ground.embedded.pubsub.topics:
        raise bad(
            f'Validation failed for trigger: Invalid resource state for "topic": Cloud Pub/Sub topic {topic} not found.'
        )
    _check_account(trigger.get("serviceAccountEmail", ""), ground)


def masked(old: Json, new: Json, mask: str) -> Json:
    """Return `old` with the fields of the update mask replaced by those of `new`, or removed if `new` lacks them.

    Without a mask, all fields of `new` are used. Raise 400 for a field that cannot be set.
    """
    paths = [_camel(path) for path in mask.split(",") if path] or sorted(new)
    result = copy.deepcopy(old)
    for path in paths:
        head, *rest = path.split(".")
        if head not in _SETTABLE:
            raise bad(f"Invalid value for update_mask: {path} is not a field of a function that can be set.")
        target, source = result, new
        for part in [head, *rest][:-1]:
            target, source = target.setdefault(part, {}), source.get(part, {})
        last = path.rpartition(".")[2]
        if last in source:
            target[last] = copy.deepcopy(source[last])
        else:
            target.pop(last, None)
    return result


def _camel(path: str) -> str:
    return re.sub(r"_([a-z])", lambda match: match[1].upper(), path)
