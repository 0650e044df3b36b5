"""The rules and errors of Compute Engine: names, labels, locations, and its own shape of errors."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

from emulator.errors import ApiError
from emulator.model.machine_types import ZONES
from emulator.model.notebooks_rules import check_labels, check_request_id

# google.rpc.Code -> the `reason` that clients read, for errors that have a code only (scripted faults).
REASONS = {
    "INVALID_ARGUMENT": "invalid",
    "NOT_FOUND": "notFound",
    "ALREADY_EXISTS": "alreadyExists",
    "PERMISSION_DENIED": "forbidden",
    "UNAUTHENTICATED": "authError",
    "RESOURCE_EXHAUSTED": "rateLimitExceeded",
    "FAILED_PRECONDITION": "resourceNotReady",
    "ABORTED": "resourceNotReady",
    "UNIMPLEMENTED": "notImplemented",
}
_OTHER_REASON = "backendError"
_NAME = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
_DISK = re.compile(
    r"^(?:https?://[^/]+/(?:compute/)?v1/)?(?:projects/(?P<project>[^/]+)/)?zones/(?P<zone>[^/]+)/disks/(?P<disk>[^/]+)$"
)
_NO_LABELS = "42WmSpB8rSM="  # the fingerprint of real resources without labels
_REGIONS = frozenset(zone.rpartition("-")[0] for zone in ZONES)
_CONTINENTS = {"us": "us", "europe": "eu", "asia": "asia"}


def as_compute(error: ApiError) -> ApiError:
    """Return the same error in Compute Engine's shape: `errors[]` with a `reason`, no `status`."""
    if error.reason is not None:
        return error
    reason = REASONS.get(error.code, _OTHER_REASON)
    return ApiError(
        error.code, error.message, http_status=error.http_status, reason=reason, details=error.details or None
    )


def invalid(field: str, value: Any, why: str) -> ApiError:
    """Return the error 400 `invalid`."""
    return ApiError("INVALID_ARGUMENT", f"Invalid value for field '{field}': '{value}'. {why}", reason="invalid")


def required(field: str) -> ApiError:
    """Return the error 400 `required`."""
    return ApiError("INVALID_ARGUMENT", f"Required field '{field}' not specified", reason="required")


def not_found(path: str) -> ApiError:
    """Return the error 404 `notFound`."""
    return ApiError("NOT_FOUND", f"The resource '{path}' was not found", reason="notFound")


def already_exists(path: str) -> ApiError:
    """Return the error 409 `alreadyExists`."""
    return ApiError("ALREADY_EXISTS", f"The resource '{path}' already exists", reason="alreadyExists")


def not_ready(path: str) -> ApiError:
    """Return the error 400 `resourceNotReady`."""
    return ApiError("FAILED_PRECONDITION", f"The resource '{path}' is not ready", reason="resourceNotReady")


def in_use(path: str, user: str) -> ApiError:
    """Return the error 400 `resourceInUseByAnotherResource`."""
    text = f"The disk resource '{path}' is already being used by '{user}'"
    return ApiError("FAILED_PRECONDITION", text, reason="resourceInUseByAnotherResource")


def stale_labels() -> ApiError:
    """Return the error 412 `conditionNotMet`."""
    text = "Labels fingerprint either invalid or resource labels have changed"
    return ApiError("FAILED_PRECONDITION", text, http_status=412, reason="conditionNotMet")


def check_name(name: Any) -> str:
    """Return the name if it is valid by RFC 1035; raise 400 otherwise."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise invalid("resource.name", name, f"Must be a match of regex '{_NAME.pattern}'")
    return name


def read_labels(labels: Any) -> dict[str, str]:
    """Return the labels if they follow Google's rules; raise 400 otherwise."""
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise invalid("resource.labels", "", "Labels are a map of texts.")
    try:
        check_labels(labels)
    except ApiError as error:
        raise invalid("resource.labels", "", error.message) from error
    return {str(key): str(value) for key, value in labels.items()}


def read_request_id(request_id: str) -> str:
    """Return the request id if it is a UUID or empty; raise 400 otherwise."""
    try:
        check_request_id(request_id)
    except ApiError as error:
        raise invalid("requestId", request_id, "Must be a valid UUID.") from error
    return request_id


def check_zone(zone: str) -> str:
    """Return the zone if Google has it; raise 400 otherwise."""
    if zone not in ZONES:
        raise invalid("zone", zone, "Unknown zone.")
    return zone


def read_disk(text: Any, *, project: str) -> str:
    """Return the path of a disk from its full or partial URL; raise 400 for another text."""
    match = _DISK.match(text) if isinstance(text, str) else None
    if match is None:
        raise invalid("resource.sourceDisk", text, "The URL is malformed.")
    return f"projects/{match['project'] or project}/zones/{check_zone(match['zone'])}/disks/{match['disk']}"


def storage_location(asked: Any, zone: str) -> str:
    """Return the storage location of a snapshot: the requested location, by default the multi-region of the disk; raise 400 if it is unknown."""
    region = zone.rpartition("-")[0]
    if asked in (None, []):
        return _CONTINENTS.get(region.partition("-")[0], region)
    if not isinstance(asked, list) or len(asked) > 1:
        raise invalid("resource.storageLocations", asked, "Only one storage location can be specified.")
    if asked[0] not in _REGIONS and asked[0] not in _CONTINENTS.values():
        raise invalid("resource.storageLocations", asked[0], "Unknown storage location.")
    return str(asked[0])


def same_bytes(sent: Any, held: str) -> bool:
    """Return True if both base64 texts encode the same bytes. gcloud sends the alphabet with `-_`."""
    return isinstance(sent, str) and sent.replace("-", "+").replace("_", "/") == held


def fingerprint(labels: dict[str, str]) -> str:
    """Return the fingerprint of labels, a value that changes with them: eight bytes in base64."""
    if not labels:
        return _NO_LABELS
    return base64.b64encode(hashlib.sha256(json.dumps(labels, sort_keys=True).encode()).digest()[:8]).decode()
